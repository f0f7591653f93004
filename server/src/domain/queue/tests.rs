use proptest::prelude::*;

use super::*;

const NODE: NodeId = NodeId(1);

fn stored(task: i64, stage: Stage) -> Stored {
    Stored {
        task: TaskId(task),
        node: NODE,
        is_forced: false,
        takes_slot: true,
        stage,
    }
}

fn rules(slots: u32) -> Rules {
    Rules {
        slots: [(NODE, slots)].into(),
        ..Rules::default()
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "any instant will do; only differences count"
)]
fn epoch() -> Instant {
    Instant::now()
}

/// A queue, and the time that its test plays.
struct Play {
    queue: Queue,
    begin: Instant,
}

impl Play {
    fn new(slots: u32, stored: &[Stored]) -> Self {
        let begin = epoch();
        Self {
            queue: Queue::new(begin, rules(slots), stored),
            begin,
        }
    }

    fn at(&self, second: u64) -> Instant {
        self.begin + Duration::from_secs(second)
    }

    /// A check-in that is stored.
    fn check_in(&mut self, second: u64, task: i64) -> Answer {
        let (now, task) = (self.at(second), TaskId(task));
        let decision = self.queue.check_in(now, task).unwrap();
        self.queue.apply(&decision.steps);
        self.queue.heard(now, task);
        decision.answer
    }

    fn hear(&mut self, second: u64, tasks: &[i64]) {
        for task in tasks {
            self.queue.heard(self.at(second), TaskId(*task));
        }
    }
}

const A: i64 = 1;
const B: i64 = 2;
const C: i64 = 3;
const D: i64 = 4;

/// Annex A.5 of the contract.
fn annex() -> Play {
    let going = [A, B].map(|task| stored(task, Stage::Going));
    let absent = [C, D].map(|task| stored(task, Stage::Absent));
    let mut play = Play::new(2, &[going, absent].concat());
    assert_eq!(play.check_in(0, C), Answer::NoSlot { in_front: 0 });
    assert_eq!(play.check_in(3, D), Answer::NoSlot { in_front: 1 });
    play.queue.remove(TaskId(A));
    let behind = Answer::Behind {
        in_front: 1,
        open: 1,
    };
    assert_eq!(play.check_in(8, D), behind);
    play
}

#[test]
fn the_test_vector_of_the_contract_is_met() {
    let mut play = annex();
    assert_eq!(play.check_in(10, C), Answer::Go);
    assert_eq!(play.check_in(13, D), Answer::NoSlot { in_front: 0 });
}

#[test]
fn who_waits_and_is_silent_keeps_nobody_waiting_for_ever() {
    let mut play = annex();
    // C asked at 0 and never again.
    play.hear(500, &[B]);
    assert!(matches!(play.check_in(599, D), Answer::Behind { .. }));
    assert_eq!(play.check_in(600, D), Answer::Go);
    // It is back, and stands behind all others.
    play.hear(900, &[B, D]);
    assert_eq!(play.check_in(1000, C), Answer::NoSlot { in_front: 0 });
}

#[test]
fn a_slot_of_a_silent_machine_goes_to_the_next_and_comes_back_while_it_works() {
    let stored = [stored(A, Stage::Going), stored(B, Stage::Absent)];
    let mut play = Play::new(1, &stored);
    assert_eq!(play.check_in(599, B), Answer::NoSlot { in_front: 0 });
    let freed = [Step::Freed { task: TaskId(A) }];
    assert_eq!(play.queue.lost(play.at(600)), freed);
    assert_eq!(play.check_in(600, B), Answer::Go);
    // It was the network: it has been at work all the time.
    let step = play.queue.at_work(TaskId(A)).unwrap();
    assert_eq!(step, Step::Resumed { task: TaskId(A) });
    play.queue.apply(&[step]);
    let uses = play.queue.uses();
    assert_eq!((uses[&NODE].used, uses[&NODE].slots), (2, 1));
    assert_eq!(play.queue.at_work(TaskId(A)), None);
}

#[test]
fn a_machine_that_another_server_hears_is_not_silent() {
    let going = [A, B].map(|task| stored(task, Stage::Going));
    let mut play = Play::new(2, &going);
    let elsewhere = |task| match task {
        TaskId(A) => Hearer::Elsewhere,
        _ => Hearer::Here,
    };
    play.queue.hear_of(play.at(0), elsewhere);
    assert_eq!(play.queue.lost(play.at(599)), []);
    assert_eq!(
        play.queue.lost(play.at(10_000)),
        [Step::Freed { task: TaskId(B) }]
    );
    // It comes here, which others learn once, and what they had stored before does not count.
    play.hear(10_000, &[A, B]);
    play.queue.hear_of(play.at(10_000), elsewhere);
    assert_eq!(play.queue.take_moved(), [TaskId(A)]);
    assert_eq!(play.queue.take_moved(), []);
    play.queue.hear_of(play.at(10_001), |_| Hearer::Here);
    let freed = [A, B].map(|task| Step::Freed { task: TaskId(task) });
    assert_eq!(play.queue.lost(play.at(10_599)), []);
    assert_eq!(play.queue.lost(play.at(10_600)), freed);
}

#[test]
fn a_server_that_is_gone_uses_no_slot_and_those_who_wait_keep_their_places() {
    let absent = [A, B, C].map(|task| stored(task, Stage::Absent));
    let mut play = Play::new(1, &absent);
    assert_eq!(play.check_in(0, A), Answer::Go);
    assert_eq!(play.check_in(1, B), Answer::NoSlot { in_front: 0 });
    play.queue.take_moved();
    play.queue.hear_of(play.at(2), |_| Hearer::Elsewhere);
    assert_eq!(play.check_in(1000, C), Answer::NoSlot { in_front: 1 });
    let gone = |task| match task {
        TaskId(A | B) => Hearer::Gone,
        _ => Hearer::Here,
    };
    play.queue.hear_of(play.at(1001), gone);
    let freed = [Step::Freed { task: TaskId(A) }];
    assert_eq!(play.queue.lost(play.at(1001)), freed);
    let behind = Answer::Behind {
        in_front: 1,
        open: 1,
    };
    assert_eq!(play.check_in(1002, C), behind);
    assert_eq!(play.check_in(1003, B), Answer::Go);
    // It was at work, and goes on here.
    assert!(play.queue.at_work(TaskId(A)).is_some());
    // Who waited there and does not come has lost its place after its whole time.
    let mut play = Play::new(1, &[stored(B, Stage::Waiting { place: 1 })]);
    play.queue.hear_of(play.at(0), |_| Hearer::Elsewhere);
    play.queue.hear_of(play.at(1000), |_| Hearer::Gone);
    play.queue.hear_of(play.at(1300), |_| Hearer::Gone);
    assert_eq!(play.queue.lost(play.at(1599)), []);
    assert_eq!(
        play.queue.lost(play.at(1600)),
        [Step::Left { task: TaskId(B) }]
    );
}

#[test]
fn a_lost_answer_costs_neither_place_nor_slot() {
    let absent = [A, B, C].map(|task| stored(task, Stage::Absent));
    let mut play = Play::new(1, &absent);
    for second in 0..3 {
        assert_eq!(play.check_in(second, A), Answer::Go);
    }
    for second in 3..6 {
        assert_eq!(play.check_in(second, C), Answer::NoSlot { in_front: 0 });
    }
    for second in 6..9 {
        assert_eq!(play.check_in(second, B), Answer::NoSlot { in_front: 1 });
    }
    assert_eq!(play.queue.in_front(TaskId(B)), Some(1));
    assert_eq!(play.queue.in_front(TaskId(A)), None);
}

#[test]
fn what_is_not_stored_is_not_done() {
    let play = Play::new(1, &[stored(A, Stage::Absent), stored(B, Stage::Absent)]);
    for task in [A, B] {
        let decision = play.queue.check_in(play.at(0), TaskId(task)).unwrap();
        assert_eq!(decision.answer, Answer::Go);
        let entered = Step::Entered {
            task: TaskId(task),
            place: 1,
        };
        let went = Step::Went { task: TaskId(task) };
        assert_eq!(decision.steps, [entered, went]);
    }
    assert_eq!(play.queue.check_in(play.at(0), TaskId(9)), None);
}

#[test]
fn a_forced_task_goes_at_once_and_has_a_slot() {
    let forced = Stored {
        is_forced: true,
        ..stored(C, Stage::Absent)
    };
    let tasks = [stored(A, Stage::Going), stored(B, Stage::Absent), forced];
    let mut play = Play::new(1, &tasks);
    assert_eq!(play.check_in(0, B), Answer::NoSlot { in_front: 0 });
    assert_eq!(play.check_in(1, C), Answer::Go);
    play.queue.remove(TaskId(A));
    assert_eq!(play.check_in(2, B), Answer::NoSlot { in_front: 0 });
    play.queue.remove(TaskId(C));
    assert_eq!(play.check_in(3, B), Answer::Go);
}

#[test]
fn a_capture_neither_waits_for_a_slot_nor_takes_one() {
    let capture = Stored {
        takes_slot: false,
        ..stored(C, Stage::Absent)
    };
    let tasks = [stored(A, Stage::Going), stored(B, Stage::Absent), capture];
    let mut play = Play::new(1, &tasks);
    assert_eq!(play.check_in(0, C), Answer::Go);
    assert_eq!(play.check_in(1, B), Answer::NoSlot { in_front: 0 });
    assert_eq!(play.queue.uses()[&NODE].used, 1);
    play.queue.remove(TaskId(A));
    assert_eq!(play.check_in(2, B), Answer::Go);
}

#[test]
fn each_node_has_slots_of_its_own() {
    let elsewhere = Stored {
        node: NodeId(2),
        ..stored(B, Stage::Absent)
    };
    let mut play = Play::new(1, &[stored(A, Stage::Going), elsewhere]);
    assert_eq!(play.check_in(0, B), Answer::Go);
    assert_eq!(play.queue.uses()[&NodeId(2)].slots, Rules::SLOTS);
}

/// What happens to a queue.
#[derive(Debug, Clone, Copy)]
enum Event {
    CheckIn(i64),
    End(i64),
    AtWork(i64),
    /// Seconds pass.
    Pass(u64),
    /// Silent ones lose what they have, as the server looks now and then.
    Sweep,
    /// The server is killed: what was stored is read again.
    Restart,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0..6_i64).prop_map(Event::CheckIn),
        2 => (0..6_i64).prop_map(Event::End),
        1 => (0..6_i64).prop_map(Event::AtWork),
        2 => (0..400_u64).prop_map(Event::Pass),
        1 => Just(Event::Sweep),
        1 => Just(Event::Restart),
    ]
}

/// The same in the simplest way: a list in which all stand, and a list of those that are served.
#[derive(Debug, Default)]
struct Model {
    /// With the time at which each was heard.
    line: Vec<(i64, u64)>,
    served: Vec<(i64, u64)>,
    /// Those that lost their slot.
    lost: Vec<i64>,
    over: Vec<i64>,
}

impl Model {
    fn drop_silent(&mut self, now: u64, except: Option<i64>) {
        let is_heard = |(task, heard): &(i64, u64)| now - heard < 600 || Some(*task) == except;
        self.line.retain(is_heard);
        let silent = self.served.iter().filter(|entry| !is_heard(entry));
        self.lost.extend(silent.map(|(task, _)| *task));
        self.served.retain(is_heard);
    }

    fn check_in(&mut self, now: u64, slots: usize, is_forced: bool, task: i64) -> Answer {
        if let Some(own) = self.served.iter_mut().find(|(id, _)| *id == task) {
            own.1 = now;
            return Answer::Go;
        }
        self.drop_silent(now, None);
        match self.line.iter_mut().find(|(id, _)| *id == task) {
            Some(own) => own.1 = now,
            None => self.line.push((task, now)),
        }
        self.lost.retain(|id| *id != task);
        let before = self.line.iter().position(|(id, _)| *id == task).unwrap();
        let open = slots.saturating_sub(self.served.len());
        let in_front = u32::try_from(before).unwrap();
        if is_forced || open > before {
            self.line.remove(before);
            self.served.push((task, now));
            return Answer::Go;
        }
        match u32::try_from(open).unwrap() {
            0 => Answer::NoSlot { in_front },
            open => Answer::Behind { in_front, open },
        }
    }
}

proptest! {
    #[test]
    fn a_queue_is_a_line_and_those_that_are_served(
        slots in 0..4_u32,
        events in prop::collection::vec(event(), 1..200),
    ) {
        // The last one is forced.
        let tasks: Vec<Stored> = (0..6)
            .map(|task| Stored { is_forced: task == 5, ..stored(task, Stage::Absent) })
            .collect();
        let mut play = Play::new(slots, &tasks);
        let (mut model, mut second) = (Model::default(), 0);
        for event in events {
            match event {
                Event::Pass(seconds) => second += seconds,
                Event::CheckIn(task) if model.over.contains(&task) => {
                    prop_assert_eq!(play.queue.check_in(play.at(second), TaskId(task)), None);
                }
                Event::CheckIn(task) => {
                    let limit = usize::try_from(slots).unwrap();
                    let expected = model.check_in(second, limit, task == 5, task);
                    prop_assert_eq!(play.check_in(second, task), expected);
                }
                Event::End(task) => {
                    play.queue.remove(TaskId(task));
                    model.line.retain(|(id, _)| *id != task);
                    model.served.retain(|(id, _)| *id != task);
                    model.over.push(task);
                }
                Event::AtWork(task) => {
                    // Only who once had a slot works.
                    if model.lost.contains(&task) && !model.over.contains(&task) {
                        let step = play.queue.at_work(TaskId(task)).unwrap();
                        play.queue.apply(&[step]);
                        play.hear(second, &[task]);
                        model.lost.retain(|id| *id != task);
                        model.served.push((task, second));
                    }
                }
                Event::Sweep => {
                    let lost = play.queue.lost(play.at(second));
                    play.queue.apply(&lost);
                    model.drop_silent(second, None);
                }
                Event::Restart => {
                    let now = play.at(second);
                    let stored: Vec<Stored> = play.queue.entries.iter().map(|(task, entry)| Stored {
                        task: *task,
                        node: entry.node,
                        is_forced: entry.is_forced,
                        takes_slot: entry.takes_slot,
                        stage: entry.stage,
                    }).collect();
                    play.queue = Queue::new(now, rules(slots), &stored);
                    for (_, heard) in model.line.iter_mut().chain(&mut model.served) {
                        *heard = second;
                    }
                }
            }
            let uses = play.queue.uses()[&NODE];
            prop_assert_eq!(usize::try_from(uses.used).unwrap(), model.served.len());
            prop_assert_eq!(usize::try_from(uses.waiting).unwrap(), model.line.len());
            for (before, (task, _)) in model.line.iter().enumerate() {
                let in_front = play.queue.in_front(TaskId(*task)).unwrap();
                prop_assert_eq!(usize::try_from(in_front).unwrap(), before);
            }
        }
    }
}
