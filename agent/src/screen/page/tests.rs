//! Pages as a terminal shows them: each is drawn on one, and its cells are looked at.

use super::super::state::{Countdown, Wait, Warning};
use super::*;
use imaging::tap::meter::Bottleneck;
use vt100::{Color, Parser};

const SIZES: [(usize, usize); 2] = [(80, 25), (160, 50)];

fn draw(state: &State, log: &[&str], now: Instant, (columns, rows): (usize, usize)) -> Parser {
    let log: VecDeque<String> = log.iter().map(|line| (*line).to_owned()).collect();
    let page = page(View {
        state,
        log: &log,
        now,
        columns,
        rows,
    });
    assert_eq!(page.len(), rows);
    assert!(page.iter().all(|row| row.len() <= columns), "{page:?}");
    let size = |n: usize| u16::try_from(n).unwrap();
    let mut terminal = Parser::new(size(rows), size(columns), 0);
    for (index, row) in page.iter().enumerate() {
        let line = index + 1;
        let text = format!("\x1b[{line};1H{}", row.to_ansi());
        terminal.process(text.as_bytes());
    }
    terminal
}

/// The lines, without the blanks at their ends.
fn lines(terminal: &Parser) -> Vec<String> {
    let (_, columns) = terminal.screen().size();
    let rows = terminal.screen().rows(0, columns);
    rows.map(|row| row.trim_end().to_owned()).collect()
}

#[track_caller]
fn line_of(terminal: &Parser, text: &str) -> u16 {
    let lines = lines(terminal);
    let at = lines.iter().position(|line| line.contains(text));
    let at = at.unwrap_or_else(|| panic!("{text:?} in\n{}", lines.join("\n")));
    u16::try_from(at).unwrap()
}

fn is_solid(terminal: &Parser, line: u16, column: u16) -> bool {
    let cell = terminal.screen().cell(line, column).unwrap();
    cell.inverse() || cell.bgcolor() != Color::Default
}

/// The colours of a line, if they are the same from its first to its last cell.
fn colours(terminal: &Parser, line: u16) -> Option<(Color, Color)> {
    let (_, columns) = terminal.screen().size();
    let of = |column| {
        let cell = terminal.screen().cell(line, column).unwrap();
        (cell.fgcolor(), cell.bgcolor())
    };
    let first = of(0);
    (0..columns)
        .all(|column| of(column) == first)
        .then_some(first)
}

const RED: Color = Color::Idx(1);
const GREEN: Color = Color::Idx(2);
const YELLOW: Color = Color::Idx(3);
const BLUE: Color = Color::Idx(4);

fn running(now: Instant) -> State {
    let part = |name: &str, mib: u64| Part {
        name: name.into(),
        len: mib << 20,
    };
    State {
        host: "LAB-01".into(),
        server: "http://10.0.0.5/fog/".into(),
        image: "win11lab".into(),
        disk: "/dev/sda 8.6 GB QEMU".into(),
        phase: "receive",
        activity: "receiving and writing".into(),
        stage: Some(Stage::Receive),
        machines: 1,
        parts: vec![
            part("d1p1.img", 100),
            part("d1p2.img", 400),
            part("d1p3.img", 700),
        ],
        transfer: Some(Transfer {
            stream: 2,
            streams: 3,
            name: "d1p2.img".into(),
            copied: 300 << 20,
            total: 1200 << 20,
            rate: f64::from(50 << 20),
            wire_rate: f64::from(20 << 20),
            elapsed: Duration::from_secs(6),
            at: now,
            is_done: false,
            remaining: Some(Duration::from_secs(18)),
            bottleneck: Some(Bottleneck::Disk),
        }),
        has_shell: true,
        ..State::default()
    }
}

#[test]
fn a_running_deploy_shows_all_there_is_to_know() {
    let now = Instant::now();
    let state = running(now);
    for size in SIZES {
        let terminal = draw(&state, &["eth0: address 10.0.0.7/24"], now, size);
        let shown = lines(&terminal);
        for text in [
            "server http://10.0.0.5/fog/   image win11lab",
            "DO NOT SWITCH OFF THIS COMPUTER",
            "disk     /dev/sda 8.6 GB QEMU",
            "network > check-in > checks > receive > table > report",
            "now      receiving and writing",
            "314.6 MB of 1.3 GB, 52.4 MB/s to disk, 21.0 MB/s from network, 18 s",
            "limited by the disk",
            "eth0: address 10.0.0.7/24",
            "s and Enter: a shell",
        ] {
            line_of(&terminal, text);
        }
        assert_eq!(shown.len(), size.1);
        let warning = line_of(&terminal, "DO NOT SWITCH OFF");
        assert_eq!(colours(&terminal, warning), Some((Color::Idx(0), YELLOW)));
        for line in [0, u16::try_from(size.1 - 1).unwrap()] {
            assert_eq!(colours(&terminal, line).map(|(_, back)| back), Some(BLUE));
        }
        let present = line_of(&terminal, "checks > receive");
        let at = shown[usize::from(present)].find("receive").unwrap();
        assert!(is_solid(&terminal, present, u16::try_from(at).unwrap()));
    }
}

#[test]
fn bars_use_the_whole_width_and_are_as_full_as_they_say() {
    let now = Instant::now();
    for (columns, rows) in SIZES {
        let terminal = draw(&running(now), &[], now, (columns, rows));
        let shown = lines(&terminal);
        for (name, percent) in [
            ("all", 25.0),
            ("d1p1.img", 100.0),
            ("d1p2.img", 50.0),
            ("d1p3.img", 0.0),
        ] {
            let end = format!("] {percent:5.1} %");
            let line = shown
                .iter()
                .position(|line| line.trim_start().starts_with(name) && line.ends_with(&end))
                .unwrap_or_else(|| panic!("{name} in\n{}", shown.join("\n")));
            // Up to the margin.
            assert_eq!(shown[line].chars().count(), columns - 1);
            let from = shown[line].find('[').unwrap() + 1;
            let to = shown[line].rfind(']').unwrap();
            let line = u16::try_from(line).unwrap();
            let full = (from..to)
                .filter(|column| is_solid(&terminal, line, u16::try_from(*column).unwrap()))
                .count();
            #[expect(clippy::cast_precision_loss, reason = "small numbers")]
            let expected = (to - from) as f64 * percent / 100.0;
            #[expect(clippy::cast_precision_loss, reason = "small numbers")]
            let difference = full as f64 - expected;
            assert!(difference.abs() < 1.0, "{name}: {full} of {expected}");
        }
    }
}

/// The cells of the large letters, one character for each dot.
fn dots(terminal: &Parser, first: u16, lines: u16, columns: u16) -> Vec<String> {
    let row = |line| {
        let cells = (1..=columns).map(|column| match is_solid(terminal, line, column) {
            true => '#',
            false => ' ',
        });
        cells.collect::<String>().trim_end().to_owned()
    };
    (first..first + lines).map(row).collect()
}

#[test]
fn the_name_of_the_machine_is_large() {
    let now = Instant::now();
    let mut state = State {
        host: "LT".into(),
        ..State::default()
    };
    let terminal = draw(&state, &[], now, (80, 25));
    assert_eq!(
        dots(&terminal, 2, 5, 40),
        [
            "##          ##########",
            "##              ##",
            "##              ##",
            "##              ##",
            "##########      ##",
        ]
    );
    // Twice as high on twice as many lines.
    let terminal = draw(&state, &[], now, (160, 50));
    let rows = dots(&terminal, 2, 10, 80);
    assert_eq!(rows[8], rows[9]);
    assert_eq!(rows[8], format!("{}{}####", "#".repeat(20), " ".repeat(12)));
    // What is too long, or no letter, is still there.
    for name in ["a-name-that-is-too-long-for-it", "b\u{fc}ro"] {
        state.host = name.into();
        line_of(&draw(&state, &[], now, (80, 25)), name);
    }
}

#[test]
fn a_failure_is_red_and_its_reason_is_whole() {
    let now = Instant::now();
    let reason = "the disk /dev/sda does not take data any more (input/output error): it is probably \
                  defective; replace it and deploy again; /dev/sda is partly overwritten";
    let mut state = running(now);
    state.result = Some(Outcome::Failed(reason.into()));
    state.activity = "press Enter to restart this machine".into();
    for size in SIZES {
        let terminal = draw(&state, &[], now, size);
        let shown = lines(&terminal);
        let bar = shown
            .iter()
            .position(|line| line.trim() == "FAILED")
            .unwrap();
        for line in [0, bar, size.1 - 1] {
            let colours = colours(&terminal, u16::try_from(line).unwrap());
            assert_eq!(colours.map(|(_, back)| back), Some(RED));
        }
        let all = shown.join(" ");
        let words: Vec<&str> = all.split_whitespace().collect();
        assert!(words.join(" ").contains(reason), "{}", shown.join("\n"));
        line_of(&terminal, "now      press Enter to restart this machine");
        // No advice that is not true any more, and no rate.
        assert!(
            !all.contains("DO NOT SWITCH OFF") && !all.contains("MB/s"),
            "{all}"
        );
    }
}

#[test]
fn a_success_is_green_and_whole_and_the_time_runs_out() {
    let start = Instant::now();
    let mut state = running(start);
    let end = start + Duration::from_secs(61);
    state.transfer.as_mut().unwrap().finish(end);
    state.result = Some(Outcome::Done);
    state.stage = Some(Stage::Report);
    state.phase = COUNTDOWN;
    state.countdown = Some(Countdown {
        what: "this machine restarts".into(),
        end: end + Duration::from_secs(10),
        hint: "",
    });
    for size in SIZES {
        for (passed, left) in [(0, "10 s"), (7, "3 s"), (12, "0 s")] {
            let now = end + Duration::from_secs(passed);
            let terminal = draw(&state, &[], now, size);
            let shown = lines(&terminal);
            let full = shown.iter().filter(|line| line.ends_with("] 100.0 %"));
            assert_eq!(full.count(), 4, "{}", shown.join("\n"));
            line_of(
                &terminal,
                "result   done: 1.3 GB written and verified in 1 min 7 s",
            );
            line_of(
                &terminal,
                &format!("now      this machine restarts in {left}"),
            );
            let bar = shown.iter().position(|line| line.trim() == "DONE").unwrap();
            let colours = colours(&terminal, u16::try_from(bar).unwrap());
            assert_eq!(colours.map(|(_, back)| back), Some(GREEN));
        }
    }
}

#[test]
fn a_done_deploy_that_is_not_reported_is_no_failure() {
    let now = Instant::now();
    let mut state = running(now);
    state.result = Some(Outcome::DoneUnreported("no answer".into()));
    let terminal = draw(&state, &[], now, (80, 25));
    let bar = line_of(&terminal, "DONE, BUT NOT REPORTED");
    assert_eq!(colours(&terminal, bar).map(|(_, back)| back), Some(YELLOW));
}

#[test]
fn a_wait_says_for_what_since_when_and_what_to_check() {
    let start = Instant::now();
    let mut state = running(start);
    state.transfer = None;
    state.wait = Some(Wait {
        what: "the sender at 10.0.0.5:9000 (stream 1)".into(),
        since: start,
        advice: vec!["2 of 3 clients are in; missing: LAB-03".into()],
    });
    let now = start + Duration::from_secs(72);
    for size in SIZES {
        let terminal = draw(&state, &[], now, size);
        let wait = line_of(
            &terminal,
            "waiting  for the sender at 10.0.0.5:9000 (stream 1) (1 min 12 s)",
        );
        let advice = line_of(&terminal, "         2 of 3 clients are in; missing: LAB-03");
        assert_eq!(advice, wait + 1);
    }
}

#[test]
fn warnings_are_shown_for_a_while_and_again_at_the_end() {
    let start = Instant::now();
    let late = start + WARNING_SHOWN;
    let warning = |text: &str, at| Warning {
        text: text.into(),
        at,
    };
    let mut state = State {
        warnings: vec![warning("no swap", start), warning("slow disk", late)],
        ..State::default()
    };
    let shown = |state: &State, now| {
        let lines = lines(&draw(state, &[], now, (80, 25)));
        let shown = lines
            .iter()
            .filter_map(|line| line.trim().strip_prefix("warning  "));
        shown.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(shown(&state, start), ["no swap", "slow disk"]);
    assert_eq!(
        shown(&state, late),
        ["1 before, shown again at the end", "slow disk"]
    );
    state.result = Some(Outcome::Done);
    assert_eq!(
        shown(&state, late + WARNING_SHOWN),
        ["no swap", "slow disk"]
    );
}

#[test]
fn a_step_that_waits_is_named() {
    let now = Instant::now();
    let mut state = running(now);
    state.step = Some("write the partition table".into());
    line_of(
        &draw(&state, &[], now, (80, 25)),
        "paused   before this step: write the partition table; press Enter to go on",
    );
}

#[test]
fn a_small_terminal_shows_what_matters_most() {
    let now = Instant::now();
    let mut state = running(now);
    state.parts = (1..=30)
        .map(|number| Part {
            name: format!("d1p{number}.img"),
            len: 40 << 20,
        })
        .collect();
    state.transfer.as_mut().unwrap().stream = 8;
    // The parts around the present one, and no other.
    let terminal = draw(&state, &[], now, (80, 25));
    line_of(&terminal, "d1p8.img");
    assert!(!terminal.screen().contents().contains("d1p20.img"));
    let terminal = draw(&state, &["a line"], now, (60, 12));
    line_of(&terminal, "now      receiving and writing");
    line_of(&terminal, "d1p8.img");
    line_of(&terminal, "LAB-01");

    let text = "x".repeat(500) + " and then some words more";
    state.result = Some(Outcome::Failed(text));
    for (columns, rows) in [(20, 4), (40, 2), (79, 1), (1, 1), (200, 3)] {
        let page = page(View {
            state: &state,
            log: &VecDeque::new(),
            now,
            columns,
            rows,
        });
        assert_eq!(page.len(), rows);
        if columns >= 40 {
            let all: String = page.iter().map(Row::text).collect();
            assert!(all.contains("more"), "{all}");
        }
    }
}

#[test]
fn the_last_lines_are_kept_and_hostile_ones_do_no_harm() {
    let now = Instant::now();
    let log: Vec<String> = (0..100)
        .map(|number| format!("line {number}\x1b[H"))
        .collect();
    let log: Vec<&str> = log.iter().map(String::as_str).collect();
    let terminal = draw(&State::default(), &log, now, (80, 25));
    let shown = lines(&terminal);
    assert_eq!(shown[23].trim(), "line 99 [H");
    assert!(shown[0].starts_with(" fos-agent"), "{}", shown[0]);
}
