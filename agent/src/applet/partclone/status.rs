//! The progress line that FOG's reporter reads: `status.fog` in the system's temporary directory, with
//! one line of seven fields. FOG's own partclone writes it at every update of its display.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use image::Geometry;

use super::figures::Figures;

/// Where the line goes. That it cannot be written is no reason to fail.
pub(super) struct StatusFile(PathBuf);

impl StatusFile {
    /// The file that FOG's reporter reads.
    pub(super) fn of_fog() -> Self {
        Self(std::env::temp_dir().join("status.fog"))
    }

    /// Replaces the line.
    pub(super) fn write(&self, progress: &image::Progress, geometry: &Geometry, elapsed: Duration) {
        drop(self.replace(&line(progress, geometry, elapsed)));
    }

    /// By renaming, as everybody may write to that directory: a link there is not followed, and a
    /// reader never sees half a line.
    fn replace(&self, line: &str) -> io::Result<()> {
        let new = self.0.with_extension(format!("fog.{}", std::process::id()));
        drop(fs::remove_file(&new));
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(&new)?;
        writeln!(file, "{line}")?;
        fs::rename(&new, &self.0)
    }
}

/// Rate per minute, elapsed, remaining, position and size of the device, percent of the used blocks,
/// size in bytes.
fn line(progress: &image::Progress, geometry: &Geometry, elapsed: Duration) -> String {
    let figures = Figures::of(progress, elapsed);
    let size = geometry.device_size;
    // Of the device as far as that is known: the share of the used blocks.
    let done = u128::from(progress.blocks_done) * u128::from(size);
    let position = done / u128::from(progress.blocks_total.max(1));
    format!(
        "{}@{}@{}@{}@{}@{:>6}@{size}.000000",
        rate(figures.rate),
        figures.elapsed,
        figures.remaining,
        amount(u64::try_from(position).unwrap_or(size)),
        amount(size),
        format!("{}.{:02}", figures.percent / 100, figures.percent % 100),
    )
}

/// Bytes in powers of 1000, two decimals, six characters and the unit.
pub(in crate::applet) fn rate(bytes: u64) -> String {
    let (unit, name) = unit(bytes, 1000, ["byte", "KB", "MB", "GB", "TB", "PB"]);
    let hundredths = u128::from(bytes) * 100 / u128::from(unit);
    let number = format!("{}.{:02}", hundredths / 100, hundredths % 100);
    format!("{number:>6}{name}")
}

/// Bytes in powers of 1024, with as many decimals as the power.
pub(in crate::applet) fn amount(bytes: u64) -> String {
    let (unit, name) = unit(bytes, 1024, ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]);
    let decimals = unit.ilog2() / 10;
    let scale = 10_u128.pow(decimals);
    let number = u128::from(bytes) * scale / u128::from(unit);
    match decimals {
        0 => format!("{number} {name}"),
        _ => format!(
            "{}.{:0width$} {name}",
            number / scale,
            number % scale,
            width = usize::try_from(decimals).unwrap_or_default()
        ),
    }
}

fn unit(bytes: u64, base: u64, names: [&'static str; 6]) -> (u64, &'static str) {
    let (mut unit, mut name) = (1_u64, names[0]);
    for next in &names[1..] {
        if bytes / unit < base {
            break;
        }
        unit *= base;
        name = next;
    }
    (unit, name)
}

#[cfg(test)]
mod tests {
    use image_writer::Recipe;

    use super::*;

    #[test]
    fn line_has_the_seven_fields() {
        let recipe = Recipe::v2(1 << 20, vec![true; 16]);
        let image = recipe.write(|_| vec![0; 1 << 20]);
        let geometry = image_writer::verify(&image[..]).unwrap().geometry;
        let progress = image::Progress {
            blocks_done: 4,
            blocks_total: 16,
            output_len: 4 << 20,
            ..image::Progress::default()
        };
        assert_eq!(
            line(&progress, &geometry, Duration::from_secs(10)),
            " 25.16MB@00:00:10@00:00:30@4.00 MiB@16.00 MiB@ 25.00@16777216.000000"
        );
    }

    #[test]
    fn numbers_have_the_decimals_of_fog() {
        assert_eq!(rate(403_540_000), "403.54MB");
        assert_eq!(rate(8_230_000), "  8.23MB");
        assert_eq!(rate(0), "  0.00byte");
        assert_eq!(amount(1536), "1.5 KiB");
        assert_eq!(amount(16 << 20), "16.00 MiB");
        assert_eq!(amount(5 << 30), "5.000 GiB");
        assert_eq!(amount(77), "77 B");
    }

    #[test]
    fn links_are_replaced_and_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let victim = directory.path().join("victim");
        fs::write(&victim, "mine").unwrap();
        let file = StatusFile(directory.path().join("status.fog"));
        std::os::unix::fs::symlink(&victim, &file.0).unwrap();
        file.replace("a@b").unwrap();
        file.replace("c@d").unwrap();
        assert_eq!(fs::read_to_string(&file.0).unwrap(), "c@d\n");
        assert_eq!(fs::read_to_string(&victim).unwrap(), "mine");
    }
}
