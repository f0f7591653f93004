//! A rate over time, as a picture that needs nothing else.

use maud::{Markup, html};
use readable::Size;

use crate::api::RateCourse;

/// The picture, with its figures in words; nothing if there are too few points for a line.
pub(super) fn plot(course: &RateCourse) -> Markup {
    let rates = &course.bytes_per_second;
    let most = rates.iter().copied().max().unwrap_or(0);
    if rates.len() < 2 || most == 0 {
        return html! {};
    }
    let least = rates.iter().copied().min().unwrap_or(0);
    let seconds = u64::from(course.step_seconds) * rates.len() as u64;
    let label = format!(
        "Rate over {}: at most {}/s, at least {}/s",
        crate::text::seconds(seconds),
        Size(most),
        Size(least)
    );
    let (line, area) = lines(rates, most);
    html! {
        h2 { "Rate" }
        figure.plot {
            svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } preserveAspectRatio="none" role="img" aria-label=(label) {
                polygon.area points=(area) {}
                polyline.line points=(line) {}
            }
            figcaption { (label) }
        }
    }
}

/// Of the picture, in its own units.
const WIDTH: u64 = 600;
const HEIGHT: u64 = 100;

/// The line from left to right, and the area below it.
fn lines(rates: &[u64], most: u64) -> (String, String) {
    let last = rates.len().saturating_sub(1).max(1) as u64;
    let points = (0_u64..).zip(rates).map(|(index, rate)| {
        let height = u128::from(*rate) * u128::from(HEIGHT) / u128::from(most.max(1));
        let y = HEIGHT.saturating_sub(u64::try_from(height).unwrap_or(HEIGHT));
        format!("{},{y}", index * WIDTH / last)
    });
    let line = points.collect::<Vec<_>>().join(" ");
    let area = format!("0,{HEIGHT} {line} {WIDTH},{HEIGHT}");
    (line, area)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn course(rates: &[u64]) -> RateCourse {
        RateCourse {
            step_seconds: 2,
            bytes_per_second: rates.to_vec(),
        }
    }

    #[test]
    fn the_line_is_in_the_picture_and_the_figures_are_in_words() {
        for none in [&[][..], &[5], &[0, 0, 0]] {
            assert_eq!(plot(&course(none)).0, "");
        }
        let (line, area) = lines(&[0, 50, 100, u64::MAX / 2], u64::MAX / 2);
        assert_eq!(line, "0,100 200,100 400,100 600,0");
        assert_eq!(area, "0,100 0,100 200,100 400,100 600,0 600,100");
        let shown = plot(&course(&[10_000_000, 20_000_000])).0;
        assert!(shown.contains("Rate over 4 s: at most 20"), "{shown}");
    }
}
