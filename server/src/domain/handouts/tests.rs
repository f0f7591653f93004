use proptest::prelude::*;

use super::*;
use crate::domain::handout::Arguments;
use crate::domain::{ImageId, SessionId};

const HOST: HostId = HostId(1);
const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
const SECOND: Mac = Mac([2, 0, 0, 0, 0, 2]);

fn address(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

/// Each with an image of its own.
fn job(number: i64) -> Job {
    Job {
        session: SessionId(number),
        task: None,
        image: ImageId(number),
        port: 63100,
        arguments: Arguments::default(),
    }
}

fn news(last: u8, number: i64, ticket: Option<u8>) -> News {
    News {
        host: HOST,
        address: address(last),
        job: job(number),
        ticket: ticket.map(|ticket| Ticket([ticket; 16])),
        at: Timestamp(0),
        holder: None,
    }
}

fn holder(last: u8, ticket: Option<u8>) -> Option<Holder> {
    Some(Holder {
        address: address(last),
        ticket: ticket.map(|ticket| Ticket([ticket; 16])),
    })
}

#[track_caller]
fn remember(handouts: &mut Handouts, news: News) {
    let change = handouts.remember(&[MAC], news).unwrap();
    handouts.apply(&change, now());
}

/// A boot loader that asks again gets the same.
fn tell(handouts: &mut Handouts, news: News) {
    match handouts.ticket(&[MAC], news.address, news.job) {
        Some(_) => handouts.told_again(&[MAC], news.address),
        None => remember(handouts, news),
    }
}

/// Some time.
#[expect(
    clippy::disallowed_methods,
    reason = "any instant will do; only differences count"
)]
fn now() -> Instant {
    Instant::now()
}

const RESTART_TAKES: Duration = Duration::from_secs(12);

/// Hears machines, of which the time does not go on by itself.
#[derive(Debug, Clone, Copy)]
struct Ears(Instant);

impl Ears {
    fn new() -> Self {
        Self(now())
    }

    fn hear(&mut self, handouts: &mut Handouts, last: u8) {
        self.hear_after(handouts, last, Duration::ZERO);
    }

    fn hear_after(&mut self, handouts: &mut Handouts, last: u8, pause: Duration) {
        self.0 += pause;
        handouts.heard(&[MAC], address(last), self.0, RESTART_TAKES);
    }
}

fn told(number: i64, is_proved: bool) -> Origin {
    Origin::Told {
        job: job(number),
        is_proved,
    }
}

/// What happened to a host, in order.
#[derive(Debug, Clone, Copy)]
enum Past {
    /// A boot script for this address: the job, and the ticket.
    Script(u8, i64, u8),
    /// A machine without a ticket checked in from this address for this job.
    CheckIn(u8, i64),
    /// A machine asks from this address, soon after.
    Ask(u8),
    /// A day goes by.
    Day,
}

use Past::{Ask, CheckIn, Day, Script};

/// What it is, what happened, the address and the ticket of the one that asks, and what is known of it.
type Case<'a> = (&'a str, &'a [Past], u8, Option<u8>, Origin);

fn after(past: &[Past]) -> Handouts {
    let mut handouts = Handouts::default();
    let mut ears = Ears::new();
    let mut at = 0;
    for past in past {
        let mut news = match *past {
            Script(last, number, ticket) => news(last, number, Some(ticket)),
            CheckIn(last, number) => news(last, number, None),
            Ask(last) => {
                ears.hear(&mut handouts, last);
                continue;
            }
            Day => {
                at += i64::try_from(Handouts::KEPT).unwrap();
                continue;
            }
        };
        news.at = Timestamp(at);
        tell(&mut handouts, news);
        if let CheckIn(last, _) = *past {
            ears.hear(&mut handouts, last);
        }
    }
    handouts
}

/// The same for a machine at this address, which was silent meanwhile and asks now.
fn after_silence(past: &[Past], last: u8) -> Handouts {
    let mut handouts = after(past);
    Ears::new().hear_after(&mut handouts, last, RESTART_TAKES * 2);
    handouts
}

/// Who asks for job 2 (or another one), and what its kernel arguments are taken for.
#[test]
fn what_a_machine_was_told_is_known_by_address_ticket_and_order() {
    use Origin::{Unknown, UnknownTicket};
    let old = told(1, false);
    let new = told(2, false);
    let table: &[Case<'_>] = &[
        ("nothing was told", &[], 2, None, Unknown),
        ("a ticket of no machine", &[], 2, Some(9), UnknownTicket),
        // The boot loader's address.
        ("old", &[Script(2, 1, 1)], 2, None, told(1, true)),
        (
            "new",
            &[Script(2, 1, 1), Script(2, 2, 2)],
            2,
            None,
            told(2, true),
        ),
        ("booted otherwise", &[CheckIn(2, 1)], 2, None, old.clone()),
        (
            "booted otherwise, then from the network",
            &[CheckIn(2, 1), Script(2, 2, 2)],
            2,
            None,
            told(2, true),
        ),
        (
            "a stranger does not change it",
            &[CheckIn(2, 1), Script(66, 2, 2)],
            2,
            None,
            old.clone(),
        ),
        (
            "nor one that was there before",
            &[Script(2, 1, 1), Script(66, 1, 2), Script(66, 2, 3)],
            2,
            None,
            told(1, true),
        ),
        (
            "a day later neither",
            &[Script(2, 1, 1), Day, Script(66, 2, 2)],
            2,
            None,
            told(1, true),
        ),
        // Another address than the boot loader's, not seen before.
        ("old", &[Script(2, 1, 1)], 3, None, old.clone()),
        (
            "new",
            &[Script(2, 1, 1), Script(2, 2, 2)],
            3,
            None,
            new.clone(),
        ),
        (
            "one of two",
            &[Script(2, 1, 1), Script(66, 2, 2)],
            3,
            None,
            old.clone(),
        ),
        (
            "one of two, a day later",
            &[Script(66, 1, 1), Day, Script(2, 2, 2)],
            3,
            None,
            new.clone(),
        ),
        // Another address than the boot loader's, which it checked in from before.
        (
            "it still runs",
            &[Script(2, 1, 1), CheckIn(3, 1)],
            3,
            None,
            old.clone(),
        ),
        (
            "it was restarted",
            &[Script(2, 1, 1), CheckIn(3, 1), Script(2, 2, 2)],
            3,
            None,
            new.clone(),
        ),
        (
            "it was restarted again and again",
            &[
                Script(2, 8, 8),
                CheckIn(3, 8),
                Script(2, 1, 1),
                CheckIn(3, 1),
                Script(2, 2, 2),
            ],
            3,
            None,
            new.clone(),
        ),
        (
            "it was restarted for another job, and still runs",
            &[
                Script(2, 8, 8),
                CheckIn(3, 8),
                Script(2, 1, 1),
                CheckIn(3, 1),
            ],
            3,
            None,
            old.clone(),
        ),
        (
            "a stranger asked",
            &[Script(2, 1, 1), CheckIn(3, 1), Script(66, 2, 2)],
            3,
            None,
            old.clone(),
        ),
        (
            "a stranger asked, and it was restarted",
            &[
                Script(2, 1, 1),
                CheckIn(3, 1),
                Script(66, 2, 2),
                Script(2, 2, 3),
            ],
            3,
            None,
            new.clone(),
        ),
        (
            "a stranger asked for an old job, and it was restarted from there, or not",
            &[
                Script(2, 1, 1),
                CheckIn(3, 1),
                Script(66, 1, 2),
                Script(2, 2, 3),
            ],
            3,
            None,
            old.clone(),
        ),
        (
            "the same, and it was restarted again",
            &[
                Script(2, 1, 1),
                CheckIn(3, 1),
                Script(66, 1, 2),
                Script(2, 2, 3),
                Ask(3),
                Script(2, 2, 3),
            ],
            3,
            None,
            new.clone(),
        ),
        (
            "it goes on asking, and its boot loader asks",
            &[Script(2, 1, 1), CheckIn(3, 1), Script(2, 2, 3), Ask(3)],
            3,
            None,
            old.clone(),
        ),
        (
            "it may come from either",
            &[
                Script(2, 1, 1),
                Script(66, 1, 2),
                CheckIn(3, 1),
                Script(66, 2, 3),
            ],
            3,
            None,
            old.clone(),
        ),
        (
            "both are new",
            &[
                Script(2, 1, 1),
                Script(66, 1, 2),
                CheckIn(3, 1),
                Script(66, 2, 3),
                Script(2, 2, 4),
            ],
            3,
            None,
            new.clone(),
        ),
        (
            "the other one is long ago",
            &[
                Script(2, 1, 1),
                Script(66, 1, 2),
                CheckIn(3, 1),
                Day,
                Script(2, 2, 3),
            ],
            3,
            None,
            new.clone(),
        ),
        (
            "booted otherwise, and a stranger asked",
            &[CheckIn(3, 1), Script(66, 2, 2)],
            3,
            None,
            old.clone(),
        ),
        (
            "its third address",
            &[Script(2, 1, 1), CheckIn(3, 1)],
            4,
            None,
            old.clone(),
        ),
        (
            "its third address after a restart",
            &[Script(2, 1, 1), CheckIn(3, 1), Script(2, 2, 2)],
            4,
            None,
            new.clone(),
        ),
        // A ticket tells, whatever the address.
        ("old", &[Script(2, 1, 1)], 3, Some(1), told(1, true)),
        (
            "old, after a restart",
            &[Script(2, 1, 1), Script(2, 2, 2)],
            2,
            Some(1),
            UnknownTicket,
        ),
        (
            "new",
            &[Script(2, 1, 1), CheckIn(3, 1), Script(2, 2, 2)],
            3,
            Some(2),
            told(2, true),
        ),
        (
            "two were told",
            &[Script(2, 2, 1), Script(3, 2, 2)],
            2,
            Some(1),
            new.clone(),
        ),
        (
            "a check-in proves nothing",
            &[Script(2, 2, 1), CheckIn(66, 2)],
            2,
            Some(1),
            told(2, true),
        ),
        (
            "nor does a script to one that checked in before",
            &[CheckIn(2, 2), Script(66, 2, 1)],
            66,
            Some(1),
            new.clone(),
        ),
        (
            "nor does it to itself",
            &[Script(2, 2, 1), CheckIn(66, 2)],
            66,
            None,
            new.clone(),
        ),
    ];
    for (what, past, last, ticket, expected) in table {
        let ticket = ticket.map(|ticket| Ticket([ticket; 16]));
        let handouts = after_silence(past, *last);
        let found = handouts.origin(&[MAC], address(*last), ticket, job(2));
        assert_eq!(found, *expected, "{what}: {past:?}");
    }
}

#[test]
fn addresses_of_one_machine_are_one_machine() {
    let mut handouts = Handouts::default();
    let change = handouts
        .remember(&[MAC, SECOND], news(2, 1, Some(1)))
        .unwrap();
    handouts.apply(&change, now());
    for macs in [&[MAC][..], &[SECOND], &[SECOND, MAC, MAC]] {
        assert_eq!(
            handouts.origin(macs, address(2), None, job(1)),
            told(1, true)
        );
    }
    let other = Mac([2, 0, 0, 0, 0, 3]);
    assert_eq!(
        handouts.origin(&[other], address(2), None, job(1)),
        Origin::Unknown
    );
}

#[test]
fn strangers_hide_no_old_job_and_take_no_place() {
    let mut handouts = after(&[Script(2, 1, 1), CheckIn(4, 1)]);
    for round in 0..5 {
        for last in 10..210 {
            remember(&mut handouts, news(last, 2, Some(last)));
        }
        let rows: usize = handouts.of_mac.values().map(Vec::len).sum();
        assert!(rows <= Handouts::PER_MAC + 1, "round {round}: {rows} rows");
        let origin = |last| handouts.origin(&[MAC], address(last), None, job(2));
        assert_eq!(origin(2), told(1, true), "still of the old job");
        assert_eq!(origin(4), told(1, false), "still of the old job");
        assert_eq!(origin(9), told(1, false), "perhaps of the old job");
        assert_eq!(origin(209), told(2, false), "one of many");
    }
    // The machine is restarted.
    remember(&mut handouts, news(2, 2, Some(1)));
    Ears::new().hear_after(&mut handouts, 4, RESTART_TAKES * 2);
    let ticket = Some(Ticket([1; 16]));
    for (last, ticket) in [(2, None), (2, ticket), (3, ticket), (4, None)] {
        let origin = handouts.origin(&[MAC], address(last), ticket, job(2));
        assert_eq!(origin, told(2, false), "{last}");
    }
}

/// That of a machine which asks no more is forgotten only in part: it may wait with what it was told.
#[test]
fn what_goes_leaves_its_job() {
    let mut handouts = Handouts::default();
    for last in 0..100 {
        remember(&mut handouts, news(last, 1, Some(last)));
    }
    assert_eq!(handouts.at(&[MAC], address(60)), None);
    // All others get the new job.
    for last in (0..100).filter(|last| *last != 60) {
        remember(&mut handouts, news(last, 2, Some(last)));
    }
    assert_eq!(
        handouts.origin(&[MAC], address(60), None, job(2)),
        told(1, false)
    );
}

#[test]
fn the_machine_that_has_the_place_is_not_forgotten() {
    let mut handouts = after(&[Script(2, 1, 1)]);
    for last in 10..210 {
        let mut news = news(last, 1, Some(last));
        news.holder = holder(2, None);
        remember(&mut handouts, news);
    }
    let ticket = Some(Ticket([1; 16]));
    let origin = handouts.origin(&[MAC], address(2), ticket, job(1));
    assert_eq!(origin, told(1, false));
    let change = handouts.forget(&[MAC], holder(2, None));
    handouts.apply(&change, now());
    assert_eq!(
        handouts.origin(&[MAC], address(2), ticket, job(1)),
        told(1, true)
    );
    let change = handouts.forget(&[MAC], None);
    handouts.apply(&change, now());
    assert_eq!(
        handouts.origin(&[MAC], address(2), None, job(1)),
        Origin::Unknown
    );
}

/// Its boot loader had address 2; it has address 3 by now.
#[test]
fn the_machine_that_has_the_place_is_known_by_its_ticket() {
    let mut handouts = after(&[Script(99, 1, 9), Script(2, 1, 1)]);
    for last in 100..=u8::MAX {
        let mut news = news(last, 1, Some(last));
        news.holder = holder(3, Some(1));
        remember(&mut handouts, news);
    }
    let change = handouts.forget(&[MAC], holder(3, Some(1)));
    handouts.apply(&change, now());
    let ask = |ticket| {
        let ticket = Some(Ticket([ticket; 16]));
        handouts.origin(&[MAC], address(3), ticket, job(1))
    };
    assert_eq!(ask(1), told(1, true));
    assert_eq!(ask(9), Origin::UnknownTicket);
}

#[test]
fn very_many_jobs_have_no_place_within_a_day() {
    let mut handouts = Handouts::default();
    for number in 0..64 {
        remember(
            &mut handouts,
            news(u8::try_from(number).unwrap(), number, Some(1)),
        );
    }
    let next = news(200, 100, Some(1));
    assert_eq!(handouts.remember(&[MAC], next), Err(TooMany));
    // Its own place it has.
    remember(&mut handouts, news(7, 100, Some(1)));
    let mut later = next;
    later.at = Timestamp(i64::try_from(Handouts::KEPT).unwrap());
    remember(&mut handouts, later);
    assert_eq!(
        handouts.origin(&[MAC], address(0), None, job(100)),
        told(0, false)
    );
}

#[test]
fn what_cannot_be_read_is_not_known() {
    let broken = BrokenRow {
        table: "t".into(),
        row: "r".into(),
        column: "c".into(),
        value: "v".into(),
        expected: "e".into(),
    };
    let with = |last: Option<u8>, past: &[Past]| {
        let row = StoredRow::Unreadable {
            id: 1,
            mac: MAC,
            address: last.map(address),
            broken: Box::new(broken.clone()),
        };
        let mut handouts = Handouts::new(vec![row], now());
        for past in past {
            match *past {
                Script(last, number, ticket) => {
                    remember(&mut handouts, news(last, number, Some(ticket)));
                }
                CheckIn(last, number) => remember(&mut handouts, news(last, number, None)),
                Ask(_) | Day => {}
            }
        }
        handouts
    };
    let unreadable = Origin::Unreadable(Arc::new(broken.clone()));
    let ask = |handouts: &Handouts, last, ticket: Option<u8>| {
        let ticket = ticket.map(|ticket| Ticket([ticket; 16]));
        handouts.origin(&[MAC], address(last), ticket, job(2))
    };
    for last in [Some(2), None] {
        let handouts = with(last, &[]);
        assert_eq!(ask(&handouts, 2, None), unreadable);
        assert_eq!(ask(&handouts, 3, None), unreadable);
        assert_eq!(ask(&handouts, 2, Some(1)), Origin::UnknownTicket);
        // Others are not concerned.
        let other = handouts.origin(&[SECOND], address(2), None, job(2));
        assert_eq!(other, Origin::Unknown);
        // It was booted anew.
        let handouts = with(last, &[Script(2, 2, 2)]);
        assert_eq!(ask(&handouts, 2, None), told(2, true));
        assert_eq!(ask(&handouts, 2, Some(2)), told(2, true));
        // A person says that it was switched off.
        let mut handouts = with(last, &[]);
        let change = handouts.forget(&[MAC], None);
        assert_eq!(change.drop, [1]);
        handouts.apply(&change, now());
        assert_eq!(ask(&handouts, 2, None), Origin::Unknown);
    }
    let handouts = with(None, &[Script(2, 1, 1), CheckIn(3, 1), Script(2, 2, 2)]);
    assert_eq!(ask(&handouts, 3, None), told(1, false));
}

#[test]
fn what_is_stored_comes_back() {
    let mut handouts = Handouts::default();
    let mut rows: Vec<Row> = Vec::new();
    for (last, number) in [(2, 1), (3, 1), (2, 2), (66, 2)] {
        let ticket = (last != 3).then_some(last);
        let change = handouts
            .remember(&[MAC, SECOND], news(last, number, ticket))
            .unwrap();
        rows.retain(|row| !change.drop.contains(&row.id));
        rows.extend(&change.put);
        handouts.apply(&change, now());
        let stored = rows.iter().copied().map(StoredRow::Told).collect();
        let again = Handouts::new(stored, now());
        for last in [2, 3, 4, 66] {
            for wanted in [1, 2] {
                let ask = |handouts: &Handouts| {
                    handouts.origin(&[SECOND], address(last), None, job(wanted))
                };
                // Whether a machine was restarted meanwhile is not known.
                let is_good = ask(&again) == told(wanted, false);
                assert!(ask(&again) == ask(&handouts) || !is_good, "{last}");
            }
        }
    }
}

#[test]
fn the_same_question_has_the_same_ticket() {
    let handouts = after(&[Script(2, 1, 1)]);
    let ask = |last, job| handouts.ticket(&[MAC], address(last), job);
    assert_eq!(ask(2, job(1)), Some(Ticket([1; 16])));
    assert_eq!(ask(3, job(1)), None);
    assert_eq!(ask(2, job(2)), None);
    let changed = Job {
        arguments: Arguments(7),
        ..job(1)
    };
    assert_eq!(ask(2, changed), None);
}

/// A machine may run whatever was told while it did not go on asking, also if its old job is wanted again.
#[test]
fn what_it_may_run_has_to_be_good() {
    let same = |session| Job {
        session: SessionId(session),
        arguments: Arguments(1),
        ..job(1)
    };
    let other = Job {
        arguments: Arguments(2),
        ..job(2)
    };
    let tell = |handouts: &mut Handouts, last, job, ticket| {
        let news = News {
            job,
            ..news(last, 1, ticket)
        };
        remember(handouts, news);
    };
    let later = now() + RESTART_TAKES * 2;
    for (loader, is_server_restarted) in [(Some(2), false), (None, false), (Some(2), true)] {
        let mut handouts = Handouts::default();
        if let Some(loader) = loader {
            tell(&mut handouts, loader, same(1), Some(1));
        }
        tell(&mut handouts, 3, same(1), None);
        // It is restarted for another job, and the old one comes back before it asks.
        tell(&mut handouts, 2, other, Some(2));
        if is_server_restarted {
            let told = |entry: &Entry| entry.told().copied();
            let rows = handouts.of_mac[&MAC].iter().filter_map(|entry| {
                Some(StoredRow::Told(Row {
                    id: entry.id,
                    mac: MAC,
                    host: HOST,
                    handout: told(entry)?,
                }))
            });
            handouts = Handouts::new(rows.collect(), now());
        }
        handouts.heard(&[MAC], address(3), later, RESTART_TAKES);
        let expected = Origin::Told {
            job: other,
            is_proved: false,
        };
        let origin = handouts.origin(&[MAC], address(3), None, same(3));
        assert_eq!(origin, expected, "{loader:?} {is_server_restarted}");
    }
    // It goes on asking: it runs what it ran.
    let mut handouts = Handouts::default();
    tell(&mut handouts, 3, same(1), None);
    handouts.heard(&[MAC], address(3), now(), RESTART_TAKES);
    tell(&mut handouts, 66, other, Some(2));
    handouts.heard(&[MAC], address(3), now(), RESTART_TAKES);
    let origin = handouts.origin(&[MAC], address(3), None, same(3));
    let expected = Origin::Told {
        job: same(1),
        is_proved: false,
    };
    assert_eq!(origin, expected);
}

/// A question that was held back, or a slow answer, is no silence.
#[test]
fn a_machine_whose_answer_takes_long_was_not_restarted() {
    let mut handouts = after(&[Script(66, 1, 1), CheckIn(3, 1)]);
    let mut at = now();
    for _ in 0..3 {
        handouts.heard(&[MAC], address(3), at, RESTART_TAKES);
        tell(&mut handouts, news(66, 2, Some(2)));
        for _ in 0..2 {
            at += RESTART_TAKES * 2 / 3;
            handouts.still_there(&[MAC], address(3), at);
        }
        at += RESTART_TAKES / 2;
        let origin = handouts.origin(&[MAC], address(3), None, job(2));
        assert_eq!(origin, told(1, false));
    }
}

/// Its boot loader asks while the question of its former run is still held back.
#[test]
fn a_restart_while_an_answer_is_held_back_is_seen() {
    let mut handouts = after(&[Script(2, 1, 1), CheckIn(3, 1)]);
    let asked = now();
    handouts.heard(&[MAC], address(3), asked, RESTART_TAKES);
    tell(&mut handouts, news(2, 2, Some(2)));
    handouts.still_there(&[MAC], address(3), asked);
    handouts.heard(&[MAC], address(3), asked + RESTART_TAKES, RESTART_TAKES);
    let origin = handouts.origin(&[MAC], address(3), None, job(2));
    assert_eq!(origin, told(2, false));
}

/// What happens around one real machine with FOG's client, whose Linux may have another address than its boot
/// loader.
#[derive(Debug, Clone, Copy)]
enum Step {
    Deploy,
    Boot,
    Ask,
    /// Others ask for its boot script.
    Strangers {
        first: u8,
        count: u8,
    },
    /// Another one without a ticket asks to be let in.
    StrangerAsks(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => Just(Step::Deploy),
        2 => Just(Step::Boot),
        4 => Just(Step::Ask),
        2 => (60_u8..64, 1_u8..3).prop_map(|(first, count)| Step::Strangers { first, count }),
        1 => (60_u8..70, 60_u8..120).prop_map(|(first, count)| Step::Strangers { first, count }),
        2 => (60_u8..64).prop_map(Step::StrangerAsks),
    ];
    proptest::collection::vec(step, 1..40)
}

/// Whether a client without a ticket is let in, which asks 5 s after the last step; if so, that is remembered.
fn is_let_in(handouts: &mut Handouts, ears: &mut Ears, last: u8, now: i64) -> bool {
    ears.hear_after(handouts, last, Duration::from_secs(5));
    let is_good = match handouts.origin(&[MAC], address(last), None, job(now)) {
        Origin::Unknown => true,
        Origin::Told { job: told, .. } => told.is_good_for(&job(now)),
        Origin::UnknownTicket | Origin::Unreadable(_) => false,
    };
    let at = handouts.at(&[MAC], address(last));
    if is_good && at.is_none_or(|own| own.job.session != SessionId(now)) {
        remember(handouts, news(last, now, None));
        ears.hear(handouts, last);
    }
    is_good
}

proptest! {
    #[test]
    fn no_client_is_let_in_with_the_arguments_of_another_job(
        steps in steps(),
        is_one_address: bool,
        is_booted_otherwise: bool,
        were_strangers_first: bool,
    ) {
        let own = if is_one_address { 2 } else { 3 };
        let mut handouts = Handouts::default();
        let mut ears = Ears::new();
        let (mut now, mut ticket) = (1, 1_u8);
        let mut were_strangers = were_strangers_first;
        if were_strangers_first {
            remember(&mut handouts, news(60, now, Some(1)));
        }
        // It runs from the beginning.
        let mut arguments = 1;
        if is_booted_otherwise {
            prop_assert!(is_let_in(&mut handouts, &mut ears, own, now));
        } else {
            remember(&mut handouts, news(2, now, Some(0)));
        }
        // It is in its loop of questions.
        let mut is_asking = is_booted_otherwise;
        for step in steps {
            if is_asking && !matches!(step, Step::Boot) {
                ears.hear(&mut handouts, own);
            }
            match step {
                Step::Deploy => now += 1,
                Step::Boot => {
                    ticket = ticket.wrapping_add(1);
                    tell(&mut handouts, news(2, now, Some(ticket)));
                    arguments = now;
                    is_asking = false;
                    ears.0 += RESTART_TAKES * 2;
                }
                Step::Ask => {
                    is_asking = true;
                    let is_good = is_let_in(&mut handouts, &mut ears, own, now);
                    prop_assert!(!is_good || arguments == now, "{arguments} for {now}");
                    let is_sure = is_one_address || !(were_strangers || is_booted_otherwise);
                    prop_assert!(is_good || arguments != now || !is_sure, "not let in");
                }
                Step::Strangers { first, count } => {
                    were_strangers = true;
                    for last in first..first.saturating_add(count) {
                        ticket = ticket.wrapping_add(1);
                        tell(&mut handouts, news(last, now, Some(ticket)));
                    }
                }
                Step::StrangerAsks(last) => {
                    were_strangers = true;
                    is_let_in(&mut handouts, &mut ears, last, now);
                }
            }
        }
    }
}

#[test]
fn servers_give_different_numbers_and_know_what_the_others_told_once_they_have_read_it() {
    let stored = |changes: &[&Change]| {
        let mut rows: BTreeMap<i64, Row> = BTreeMap::new();
        for change in changes {
            rows.retain(|id, _| !change.drop.contains(id));
            rows.extend(change.put.iter().map(|row| (row.id, *row)));
        }
        rows.into_values().map(StoredRow::Told).collect::<Vec<_>>()
    };
    let mut first = Handouts::default().of_server(Some(1));
    let mut second = Handouts::default().of_server(Some(2));
    let by_first = first.remember(&[MAC], news(1, 1, Some(1))).unwrap();
    let by_second = second.remember(&[SECOND], news(2, 1, Some(2))).unwrap();
    first.apply(&by_first, now());
    second.apply(&by_second, now());
    assert_ne!(by_first.put[0].id, by_second.put[0].id);
    let ticket = |handouts: &Handouts, mac, last| handouts.ticket(&[mac], address(last), job(1));
    assert_eq!(ticket(&second, MAC, 1), None);
    second.merge(stored(&[&by_first, &by_second]), now());
    assert_eq!(ticket(&second, MAC, 1), Some(Ticket([1; 16])));
    assert_eq!(ticket(&second, SECOND, 2), Some(Ticket([2; 16])));
    // What is told later has a greater number, and takes the place of what the other server told.
    let later = second.remember(&[MAC], news(1, 2, Some(3))).unwrap();
    assert_eq!(later.drop, [by_first.put[0].id]);
    assert!(later.put[0].id > by_second.put[0].id);
    second.apply(&later, now());
    first.merge(stored(&[&by_first, &by_second, &later]), now());
    assert_eq!(ticket(&first, MAC, 1), None);
    let next = first.remember(&[MAC], news(1, 3, Some(4))).unwrap();
    assert!(next.put[0].id > later.put[0].id);
}
