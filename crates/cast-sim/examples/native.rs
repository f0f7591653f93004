//! Prints what the native protocol costs, in rooms as great as those of appendix A of its specification: 2.5 GB on the wire
//! at 1 GbE unless said.
//!
//! `cargo run --release -p cast-sim --example native [TABLE] [N...]`; TABLE is `loss`, `late`, `disks` or `faults`, and all
//! of them without it. `native.txt` beside this file is what it printed.

use std::time::Duration;

use cast_sim::native::{Report, Room, Station};

const CHUNKS: usize = 600;
const K: u16 = 2980;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let table = arguments.next();
    let counts: Vec<usize> = arguments.filter_map(|count| count.parse().ok()).collect();
    let counts = if counts.is_empty() {
        vec![1, 8]
    } else {
        counts
    };
    type Print = fn(&[usize]);
    let tables: [(&str, Print); 4] = [
        ("loss", loss),
        ("late", late),
        ("disks", disks),
        ("faults", faults),
    ];
    for (name, print) in tables {
        if table.as_ref().is_none_or(|wanted| wanted == name) {
            print(&counts);
        }
    }
}

fn room(stations: Vec<Station>) -> Room {
    Room::new(CHUNKS, K, stations)
}

fn stations(count: usize, loss: f64) -> Vec<Station> {
    let station = Station {
        loss,
        ..Station::default()
    };
    vec![station; count]
}

fn say(line: &str) {
    use std::io::Write as _;
    writeln!(std::io::stdout(), "{line}").expect("output that somebody reads");
}

/// A.1
fn loss(counts: &[usize]) {
    say("A.1 Loss\n");
    say("loss            N   time   sent  feedback  peak/s  control %  frames");
    for (name, own, common) in [
        ("none", 0.0, 0.0),
        ("1 % own", 0.01, 0.0),
        ("1 % common", 0.0, 0.01),
        ("10 % own", 0.1, 0.0),
        ("10 % common", 0.0, 0.1),
    ] {
        for count in counts {
            let mut room = room(stations(*count, own));
            room.common_loss = common;
            let report = room.run();
            say(&format!(
                "{name:<11} {count:>5}  {:.3}  {:.4}  {:>8}  {:>6}  {:>9.3}  {:>6}",
                report.slowest(|_| true),
                report.sent(),
                report.feedback,
                report.feedback_peak,
                report.control_percent(),
                report.most_in_part(),
            ));
        }
    }
    say("");
}

/// A.3
fn late(counts: &[usize]) {
    say("A.3 Late joiners\n");
    say("case                            loss      N  early  late, own   sent");
    for loss in [0.0, 0.01] {
        for count in counts.iter().filter(|count| **count > 1) {
            let cases: [(&str, &dyn Fn(usize) -> f64); 4] = [
                ("1 late by 50 %", &|at| if at == 0 { 0.5 } else { 0.0 }),
                ("a quarter late by 90 %", &|at| {
                    if at % 4 == 0 { 0.9 } else { 0.0 }
                }),
                ("4 groups, each 30 % later", &|at| {
                    [0.0, 0.3, 0.6, 0.9][at % 4]
                }),
                ("half late by 10 %", &|at| {
                    if at % 2 == 0 { 0.1 } else { 0.0 }
                }),
            ];
            for (name, lateness) in cases {
                let mut stations = stations(*count, loss);
                let ideal = Room::new(CHUNKS, K, Vec::new()).ideal();
                for (at, station) in stations.iter_mut().enumerate() {
                    station.joins_at = ideal.mul_f64(lateness(at));
                }
                let report = room(stations).run();
                say(&format!(
                    "{name:<28} {:>5.0} % {count:>5}  {:.3}      {:.3}  {:.3}",
                    100.0 * loss,
                    report.slowest(|at| lateness(at) == 0.0),
                    report.slowest_own(|at| lateness(at) > 0.0),
                    report.sent(),
                ));
            }
        }
    }
    say("");
}

/// A.4
fn disks(counts: &[usize]) {
    say("A.4 Slow disks\n");
    say("case                            N  others  slow: mean  worst   sent");
    for count in counts.iter().filter(|count| **count > 1) {
        let mut one = stations(*count, 0.0);
        one[0].disk = Some(5_000);
        disk_line("1 at 5 MB/s", &room(one));
        for (low, high) in [(60_000, 116_000), (30_000, 60_000), (100_000, 130_000)] {
            let mut stations = stations(*count, 0.001);
            let steps = u32::try_from(*count).expect("few stations").max(2) - 1;
            for (station, at) in stations.iter_mut().zip(0..) {
                station.disk = Some(low + (high - low) / steps * at);
            }
            disk_line(
                &format!("{}..{} MB/s", low / 1000, high / 1000),
                &room(stations),
            );
        }
    }
    say("");
}

fn disk_line(name: &str, room: &Room) {
    let report = room.run();
    let own = own_times(room, &report);
    let mean = own.iter().sum::<f64>() / f64::from(u32::try_from(own.len()).expect("few").max(1));
    let worst = own.iter().copied().fold(0.0, f64::max);
    let is_fast = |at: usize| room.stations[at].disk.is_none();
    let count = room.stations.len();
    let others = report.slowest(is_fast);
    let sent = report.sent();
    say(&format!(
        "{name:<25} {count:>7}   {others:.3}       {mean:.3}  {worst:.3}  {sent:.3}"
    ));
}

/// Times of those with a disk, in units of what disk and link allow.
fn own_times(room: &Room, report: &Report) -> Vec<f64> {
    let bytes: u64 = room.frames.iter().map(|len| u64::from(len.get())).sum();
    let ends = report.ends.iter().zip(&room.stations);
    let times = ends.filter_map(|(end, station)| {
        let own = Duration::from_nanos(bytes * 1_000_000 / u64::from(station.disk?));
        Some(end.at?.as_secs_f64() / own.max(report.ideal).as_secs_f64())
    });
    times.collect()
}

/// A.5
fn faults(counts: &[usize]) {
    say("A.5 Isolation, outages, holes, restart\n");
    say("case                                N  others  concerned   sent");
    for count in counts.iter().filter(|count| **count > 1) {
        let mut killed = room(stations(*count, 0.01));
        for station in killed.stations.iter_mut().skip(1).step_by(2) {
            station.dies_at = Some(Duration::from_secs(11));
        }
        fault_line("half killed at half time, 1 % own", &killed, &|at| {
            at % 2 == 0
        });
        let mut outlier = room(stations(*count, 0.001));
        outlier.stations[0].loss = 0.1;
        fault_line("1 loses 10 %, others 0.1 %", &outlier, &|at| at > 0);
        let mut outage = room(stations(*count, 0.001));
        let second = (Duration::from_secs(8), Duration::from_secs(1));
        for station in outage.stations.iter_mut().step_by(10) {
            station.outages = vec![second];
        }
        fault_line("1 s out at a tenth", &outage, &|at| at % 10 != 0);
        let mut away = room(stations(*count, 0.01));
        away.restarts = vec![(Duration::from_secs(11), Duration::from_secs(2))];
        fault_line("sender away for 2 s, 1 % own", &away, &|_| true);
        let mut holes = room(stations(*count, 0.0));
        for station in &mut holes.stations {
            station.hole = Duration::from_millis(10);
        }
        fault_line("own holes of 10 ms a second", &holes, &|_| true);
    }
    say("");
}

fn fault_line(name: &str, room: &Room, is_other: &dyn Fn(usize) -> bool) {
    let report = room.run();
    let count = room.stations.len();
    let others = report.slowest(is_other);
    let concerned = report.slowest(|at| !is_other(at));
    let sent = report.sent();
    say(&format!(
        "{name:<34} {count:>5}   {others:.3}      {concerned:.3}  {sent:.3}"
    ));
}
