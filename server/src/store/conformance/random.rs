//! Random operations: a store must do what the model does, and leave no task behind.

use proptest::collection::vec;
use proptest::prelude::*;

use super::model::Model;
use super::*;
use crate::domain::handout::{Arguments, Job};
use crate::domain::handouts::{Handout, StoredRow};

/// An operation; numbers choose among what is there.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    AddHost {
        number: u16,
        with_image: bool,
    },
    RemoveHost(usize),
    AddImage(u8),
    UpdateImage {
        image: usize,
        format: u8,
    },
    RemoveImage(usize),
    Create {
        image: usize,
        hosts: Vec<usize>,
        port: u16,
        max: u32,
        is_stale: bool,
    },
    Apply {
        session: usize,
        facts: Vec<FactOp>,
    },
    FailBroken(usize),
    AddEvent {
        session: usize,
        host: Option<usize>,
    },
    HandOut {
        host: usize,
        last: u8,
        session: usize,
    },
    Stranger {
        number: u16,
        last: u8,
    },
    Root(u8),
}

#[derive(Debug, Clone)]
pub(crate) enum FactOp {
    CheckedIn {
        host: usize,
        last: u8,
    },
    Starting {
        stream: usize,
        run: u32,
        has_records: bool,
    },
    Revoked {
        stream: usize,
        run: u32,
        is_first: bool,
    },
    Done {
        host: usize,
        count: u32,
    },
    MemberEnded {
        host: usize,
        state: usize,
        reason: usize,
    },
    Ended {
        state: usize,
        reason: usize,
    },
    Noted {
        host: Option<usize>,
    },
}

const OVER: [State; 3] = [State::Complete, State::Cancelled, State::Failed];

fn reason(number: usize) -> Reason {
    match number % 4 {
        0 => Reason::Written,
        1 => Reason::Overdue { seconds: 600 },
        2 => Reason::TaskCancelled,
        _ => Reason::ClientFailed {
            text: "bad disk\n".into(),
            before: None,
        },
    }
}

/// Mostly sessions and what happens to them.
pub(crate) fn ops() -> impl Strategy<Value = Vec<Op>> {
    let host = 0..6_usize;
    let fact = prop_oneof![
        3 => (host.clone(), 1..3_u8).prop_map(|(host, last)| FactOp::CheckedIn { host, last }),
        1 => (0..3_usize, 0..3_u32, any::<bool>()).prop_map(|(stream, run, has_records)| {
            FactOp::Starting { stream, run, has_records }
        }),
        1 => (0..3_usize, 0..3_u32, any::<bool>()).prop_map(|(stream, run, is_first)| {
            FactOp::Revoked { stream, run, is_first }
        }),
        1 => (host.clone(), 0..4_u32).prop_map(|(host, count)| FactOp::Done { host, count }),
        3 => (host.clone(), 0..3_usize, 0..4_usize).prop_map(|(host, state, reason)| {
            FactOp::MemberEnded { host, state, reason }
        }),
        1 => (0..3_usize, 0..4_usize).prop_map(|(state, reason)| FactOp::Ended { state, reason }),
        1 => proptest::option::of(host.clone()).prop_map(|host| FactOp::Noted { host }),
    ];
    let op = prop_oneof![
        3 => (0..6_u16, any::<bool>()).prop_map(|(number, with_image)| {
            Op::AddHost { number, with_image }
        }),
        1 => host.clone().prop_map(Op::RemoveHost),
        2 => (0..3_u8).prop_map(Op::AddImage),
        1 => (0..3_usize, 0..6_u8).prop_map(|(image, format)| Op::UpdateImage { image, format }),
        1 => (0..3_usize).prop_map(Op::RemoveImage),
        4 => (0..3_usize, vec(host.clone(), 1..4), 0..3_u16, 0..4_u32, any::<bool>()).prop_map(
            |(image, hosts, port, max, odd)| Op::Create {
                image, hosts, port: 63100 + 2 * port, max, is_stale: odd && max == 1,
            }
        ),
        8 => (0..4_usize, vec(fact, 1..6)).prop_map(|(session, facts)| {
            Op::Apply { session, facts }
        }),
        1 => (0..4_usize).prop_map(Op::FailBroken),
        1 => (0..4_usize, proptest::option::of(host.clone())).prop_map(|(session, host)| {
            Op::AddEvent { session, host }
        }),
        2 => (host, 1..8_u8, 0..4_usize).prop_map(|(host, last, session)| {
            Op::HandOut { host, last, session }
        }),
        2 => (0..6_u16, 1..4_u8).prop_map(|(number, last)| Op::Stranger { number, last }),
        1 => (0..3_u8).prop_map(Op::Root),
    ];
    vec(op, 1..40)
}

/// Does all that with a store and with the model.
pub(crate) async fn walk(store: SharedStore, ops: Vec<Op>) {
    let mut walk = Walk {
        store,
        model: Model::default(),
        hosts: Vec::new(),
        images: Vec::new(),
        sessions: Vec::new(),
        now: NOW,
    };
    // Some are there from the beginning, so that more happens.
    walk.step(Op::AddImage(0)).await;
    for number in 0..3 {
        let with_image = false;
        walk.step(Op::AddHost { number, with_image }).await;
    }
    for (count, op) in ops.into_iter().enumerate() {
        walk.now.0 += 1;
        walk.step(op).await;
        walk.compare_tasks().await;
        if count % 8 == 7 {
            walk.compare().await;
        }
    }
    walk.compare().await;
}

struct Walk {
    store: SharedStore,
    model: Model,
    /// All that ever were.
    hosts: Vec<HostId>,
    images: Vec<ImageId>,
    sessions: Vec<SessionId>,
    now: Timestamp,
}

/// The chosen one of those that ever were, the newest first; a number that never was if there are
/// fewer.
fn pick<T: Copy>(all: &[T], number: usize, absent: T) -> T {
    all.iter().rev().nth(number).copied().unwrap_or(absent)
}

fn same<T, E: std::fmt::Debug>(
    found: std::result::Result<T, E>,
    expected: &std::result::Result<(), E>,
) -> Option<T> {
    match (found, expected) {
        (Ok(found), Ok(())) => Some(found),
        (Err(found), Err(expected)) => {
            assert_eq!(format!("{found:?}"), format!("{expected:?}"));
            None
        }
        (found, expected) => panic!("{:?} instead of {expected:?}", found.err()),
    }
}

impl Walk {
    fn host(&self, number: usize) -> HostId {
        pick(&self.hosts, number, HostId(999))
    }

    fn image(&self, number: usize) -> ImageId {
        pick(&self.images, number, ImageId(999))
    }

    fn session(&self, number: usize) -> SessionId {
        pick(&self.sessions, number, SessionId(999))
    }

    async fn step(&mut self, op: Op) {
        let (store, now) = (SharedStore::clone(&self.store), self.now);
        match op {
            Op::AddHost { number, with_image } => {
                let mut new = new_host(number);
                new.image = with_image.then(|| self.image(0));
                let expected = self.model.check_host(&new);
                let found = store.add_host(now, new.clone()).await;
                if let Some(id) = same(found, &expected) {
                    self.model.add_host(id, new);
                    self.hosts.push(id);
                }
            }
            Op::RemoveHost(number) => {
                let host = self.host(number);
                let expected = self.model.remove_host(host);
                same(store.remove_host(host).await, &expected);
            }
            Op::AddImage(number) => {
                let new = new_image(&format!("image{number}"));
                let facts = sample_facts(&["d1p1.img", "d1p2.img"]);
                let expected = self.model.check_image(&new);
                let found = store.add_image(new.clone(), facts.clone()).await;
                if let Some(id) = same(found, &expected) {
                    self.model.add_image(id, new, facts);
                    self.images.push(id);
                }
            }
            Op::UpdateImage { image, format } => {
                let image = self.image(image);
                let mut facts = sample_facts(&["d1p1.img"]);
                facts.checked_at = now;
                let expected = self.model.update_image(image, format, facts.clone());
                same(store.update_image(image, format, facts).await, &expected);
            }
            Op::RemoveImage(number) => {
                let image = self.image(number);
                let expected = self.model.remove_image(image);
                same(store.remove_image(image).await, &expected);
            }
            Op::Create {
                image,
                hosts,
                port,
                max,
                is_stale,
            } => self.create(image, &hosts, port, max, is_stale).await,
            Op::Apply { session, facts } => {
                let id = self.session(session);
                let facts: Vec<Fact> = facts.into_iter().map(|fact| self.fact(fact)).collect();
                let expected = self.model.apply(now, id, facts.clone());
                assert_eq!(store.apply(now, id, facts).await.unwrap(), expected);
            }
            Op::FailBroken(session) => {
                let (id, reason) = (self.session(session), reason(3));
                let expected = self.model.fail_broken(now, id, reason.clone());
                assert_eq!(store.fail_broken(now, id, reason).await.unwrap(), expected);
            }
            Op::AddEvent { session, host } => {
                let id = self.session(session);
                let host = host.map(|host| self.host(host));
                let note = Note::ShareUnusable;
                self.model.tell(now, id, host, note.clone());
                store.add_event(now, Some(id), host, note).await.unwrap();
            }
            Op::HandOut {
                host,
                last,
                session,
            } => {
                let newest = self.model.handouts.last().map_or(0, |row| row.id);
                let handout = Handout {
                    address: (last != 1).then(|| IpAddr::from([10, 0, 0, last])),
                    job: Job {
                        session: self.session(session),
                        task: None,
                        image: self.image(0),
                        port: 63100,
                        arguments: Arguments(i64::from(last) - 2),
                    },
                    ticket: (last > 2).then_some(Ticket([last; 16])),
                    at: now,
                    since: newest / 2,
                };
                let change = HandoutChange {
                    drop: vec![newest - i64::from(last % 3)],
                    put: vec![HandoutRow {
                        id: newest + 1,
                        mac: mac(u16::from(last)),
                        host: self.host(host),
                        handout,
                    }],
                };
                self.model.hand_out(&change);
                store.hand_out(change).await.unwrap();
            }
            Op::Stranger { number, last } => {
                let address = IpAddr::from([10, 0, 0, last]);
                self.model.remember_stranger(now, mac(number), address);
                store
                    .remember_stranger(now, mac(number), address, About::default())
                    .await
                    .unwrap();
            }
            Op::Root(number) => {
                let path = format!("/images{number}");
                self.model.root = Some(path.clone());
                store.set_image_root(path).await.unwrap();
            }
        }
    }

    async fn create(&mut self, image: usize, hosts: &[usize], port: u16, max: u32, is_stale: bool) {
        let image = self.image(image);
        let mut chosen: Vec<HostId> = hosts.iter().map(|host| self.host(*host)).collect();
        chosen.sort();
        chosen.dedup();
        let mut new = new_session(image, &chosen, port);
        new.max_sessions = max;
        new.is_shutdown = max == 2;
        if let Some((_, facts)) = self.model.images.get(&image).filter(|_| !is_stale) {
            new.checked_at = facts.checked_at;
        }
        if is_stale {
            new.checked_at = Timestamp(5);
        }
        let expected = self.model.check_session(&new);
        let found = self.store.create_session(self.now, new.clone()).await;
        if let Some(id) = same(found, &expected) {
            let stored = self.store.session(id).await.unwrap().unwrap();
            self.model.create_session(self.now, new, &stored);
            self.sessions.push(id);
        }
    }

    fn fact(&self, op: FactOp) -> Fact {
        match op {
            FactOp::CheckedIn { host, last } => checked_in(self.host(host), last, 1),
            FactOp::Starting {
                stream,
                run,
                has_records,
            } => Fact::StreamStarting {
                stream,
                run,
                has_records,
            },
            FactOp::Revoked {
                stream,
                run,
                is_first,
            } => Fact::StartRevoked {
                stream,
                run,
                is_first,
            },
            FactOp::Done { host, count } => Fact::StreamsDone {
                host: self.host(host),
                count,
            },
            FactOp::MemberEnded {
                host,
                state,
                reason: number,
            } => member_ended(self.host(host), OVER[state], reason(number)),
            FactOp::Ended {
                state,
                reason: number,
            } => Fact::Ended {
                state: OVER[state],
                reason: reason(number),
            },
            FactOp::Noted { host } => Fact::Noted {
                host: host.map(|host| self.host(host)),
                note: Note::Warning {
                    text: "slow \"disk\"".into(),
                },
            },
        }
    }

    /// Every task is over or belongs to an active session.
    async fn compare_tasks(&self) {
        let active = self.store.active_sessions().await.unwrap();
        for (host, activity) in self.store.activity().await.unwrap() {
            if let HostActivity::Task { task, session } = activity {
                let session = session.unwrap_or_else(|| panic!("task {task} of {host} is lost"));
                assert!(active.contains(&session), "task {task} outlives {session}");
            }
        }
        for id in self.sessions.iter().filter(|id| !active.contains(id)) {
            let session = self.store.session(*id).await.unwrap().unwrap();
            for member in session.members {
                assert!(!member.state.is_active(), "{} outlives {id}", member.task);
            }
        }
    }

    /// Everything that can be read is as in the model.
    async fn compare(&self) {
        let (store, model) = (&self.store, &self.model);
        let mut hosts: Vec<Host> = model.hosts.values().cloned().collect();
        hosts.sort_by_key(|host| host.name.clone());
        assert_eq!(store.hosts().await.unwrap(), (hosts, Vec::new()));
        let activity = model.hosts.keys().map(|id| (*id, model.activity(*id)));
        assert_eq!(
            store.activity().await.unwrap(),
            activity.collect::<Vec<_>>()
        );
        for host in &self.hosts {
            let task = model
                .active_task(*host)
                .map(|(task, session)| (task, Some(session)));
            assert_eq!(store.active_task(*host).await.unwrap(), task);
            let last = store.last_session(*host).await.unwrap();
            assert_eq!(last.as_ref(), model.last_session(*host));
            let end = last.and_then(|session| {
                let mut members = session.members.into_iter();
                let own = members.find(|member| member.host == *host)?;
                Some((session.id, own.reason?))
            });
            assert_eq!(store.last_end(*host).await.unwrap(), end);
            for last in 1..3 {
                for ticket in [None, Some(Ticket([last; 16])), Some(Ticket([9; 16]))] {
                    let address = Ipv4Addr::new(10, 0, 0, last);
                    let found = store.session_of_machine(*host, address, ticket).await;
                    let known = model.session_of_machine(*host, address, ticket);
                    assert_eq!(found.unwrap().as_ref(), known);
                }
            }
        }
        let mut images: Vec<Image> = model
            .images
            .values()
            .map(|(image, _)| image.clone())
            .collect();
        images.sort_by_key(|image| image.name.clone());
        assert_eq!(store.images().await.unwrap(), images);
        for id in &self.images {
            let known = model.images.get(id);
            let image = known.map(|(image, _)| image.clone());
            assert_eq!(store.image(*id).await.unwrap(), image);
            assert_eq!(store.find_image(&id.to_string()).await.unwrap(), image);
            let facts = store.facts(*id).await.unwrap();
            assert_eq!(facts.as_ref(), known.map(|(_, facts)| facts));
        }
        let active: Vec<SessionId> = model.active().map(|session| session.id).collect();
        assert_eq!(store.active_sessions().await.unwrap(), active);
        let ports: Vec<i64> = model.active().map(|session| session.port).collect();
        assert_eq!(store.held_ports().await.unwrap(), ports);
        let newest = self.sessions.iter().rev().copied().take(2);
        assert_eq!(
            store.newest_sessions(2).await.unwrap(),
            newest.collect::<Vec<_>>()
        );
        for id in &self.sessions {
            let session = store.session(*id).await.unwrap();
            assert_eq!(session.as_ref(), model.sessions.get(id));
            self.compare_events(*id).await;
        }
        assert_eq!(store.strangers().await.unwrap(), model.strangers);
        let handouts = model.handouts.iter().copied().map(StoredRow::Told);
        assert_eq!(
            store.handouts().await.unwrap(),
            handouts.collect::<Vec<_>>()
        );
        assert_eq!(store.image_root().await.unwrap(), model.root);
    }

    async fn compare_events(&self, id: SessionId) {
        let events = self.store.events(id, 0, 1000).await.unwrap();
        let told = |event: &Event| {
            assert_eq!(event.session, Some(id));
            (
                event.at,
                event.host,
                event.host_name.clone(),
                event.note.clone(),
            )
        };
        let found: Vec<_> = events.iter().map(told).collect();
        assert_eq!(Some(&found), self.model.events.get(&id));
        assert!(events.is_sorted_by(|a, b| a.id < b.id));
        let newest = self.store.events(id, 0, 2).await.unwrap();
        assert_eq!(newest, events[events.len().saturating_sub(2)..]);
        let after = self.store.events(id, events[0].id, 1000).await.unwrap();
        assert_eq!(after, events[1..]);
    }
}
