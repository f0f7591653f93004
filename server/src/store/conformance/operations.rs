//! One of each operation that stores something.

use fog::status::ReceivedStatus;

use super::*;
use crate::domain::handout::{Arguments, Job};
use crate::domain::handouts::Handout;
use crate::domain::host::About;
use crate::domain::unicast::{Machine, UnicastFact};

/// What the operations are about.
#[derive(Debug, Clone)]
pub(in crate::store) struct World {
    pub(in crate::store) session: SessionId,
    pub(in crate::store) image: ImageId,
    /// Of the session.
    pub(in crate::store) hosts: Vec<HostId>,
    pub(in crate::store) free_image: ImageId,
    pub(in crate::store) free_hosts: Vec<HostId>,
    pub(in crate::store) tasks: Vec<TaskId>,
    /// Of a host that is deployed alone.
    pub(in crate::store) alone: TaskId,
    /// Has nothing to do.
    pub(in crate::store) single: HostId,
    /// A deploy that begins later.
    schedule: ScheduleId,
}

impl World {
    /// A session with this many hosts, and as many that have nothing to do.
    pub(in crate::store) async fn new(store: &dyn Store, count: u16) -> Self {
        let (session, image, hosts) = session_of(store, count).await;
        let facts = sample_facts(&["d1p1.img"]);
        let free_image = store.add_image(new_image("free"), facts).await.unwrap();
        let mut free_hosts = Vec::new();
        for number in 101..=100 + count {
            free_hosts.push(store.add_host(NOW, new_host(number)).await.unwrap());
        }
        store.add_account(account("old")).await.unwrap();
        let at_work = store.add_host(NOW, new_host(301)).await.unwrap();
        let single = store.add_host(NOW, new_host(302)).await.unwrap();
        let alone = store.create_unicast(NOW, new_unicast(image, &[at_work]));
        let alone = alone.await.unwrap()[0];
        let address = IpAddr::from([10, 0, 0, 250]);
        let stranger = store.remember_stranger(NOW, mac(999), address, About::default());
        stranger.await.unwrap();
        let schedule = store.add_schedule(NOW, When::Once(at(9)), planned("pc001"));
        let schedule = schedule.await.unwrap();
        stored(store, session, vec![Fact::FollowUpDue]).await;
        let members = store.session(session).await.unwrap().unwrap().members;
        Self {
            session,
            image,
            hosts,
            free_image,
            free_hosts,
            schedule,
            tasks: members.iter().map(|member| member.task).collect(),
            alone,
            single,
        }
    }
}

fn planned(host: &str) -> Planned {
    Planned {
        image: "free".into(),
        hosts: vec![host.to_owned()],
        name: None,
        max_wait_seconds: None,
        is_shutdown: false,
        is_debug: false,
        follow_ups: None,
    }
}

fn account(name: &str) -> Account {
    Account {
        kind: AccountKind::User,
        name: name.parse().unwrap(),
        role: Role::Viewer,
        secret: StoredSecret("secret".into()),
        created_at: NOW,
    }
}

/// Names of the operations that always need room.
pub(in crate::store) const GROWING: [&str; 16] = [
    "add_host",
    "add_account",
    "remember_stranger",
    "wish",
    "change_group",
    "add_schedule",
    "store_inventory",
    "add_image",
    "update_image",
    "create_session",
    "apply",
    "fail_broken",
    "store_progress",
    "add_event",
    "hand_out",
    "set_image_root",
];

/// Runs an operation for the `number`th time; an error as text.
pub(in crate::store) async fn run(
    store: &dyn Store,
    world: &World,
    operation: &str,
    number: u8,
) -> std::result::Result<(), String> {
    fn told<T, E: ToString>(done: std::result::Result<T, E>) -> std::result::Result<(), String> {
        done.map(drop).map_err(|error| error.to_string())
    }
    let long = format!("{number}{}", "x".repeat(7000));
    let address = IpAddr::from([10, 0, 0, number]);
    let names: Vec<String> = (1..200).map(|part| format!("d1p{part}.img")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let warning = || Note::Warning { text: long.clone() };
    match operation {
        "add_host" => {
            let mut host = new_host(200 + u16::from(number));
            host.device = long;
            told(store.add_host(NOW, host).await)
        }
        "edit_host" => {
            let mut host = new_host(201 + u16::from(number));
            host.device = long;
            let last = world.free_hosts[world.free_hosts.len() - 1];
            told(store.edit_host(NOW, last, host).await)
        }
        "add_account" => {
            let mut account = account(&format!("new{number}"));
            account.secret = StoredSecret(long);
            told(store.add_account(account).await)
        }
        "change_account" => {
            let account = account("old");
            let secret = Some(StoredSecret(long));
            let changed =
                store.change_account(account.kind, account.name, Some(Role::Admin), secret);
            told(changed.await)
        }
        "remove_account" => {
            let account = account("old");
            told(store.remove_account(account.kind, account.name).await)
        }
        "remove_host" => told(store.remove_host(world.free_hosts[0]).await),
        "remember_stranger" => told(
            store
                .remember_stranger(
                    NOW,
                    mac(500 + u16::from(number)),
                    address,
                    About::from(long),
                )
                .await,
        ),
        "wish" => {
            let mac = StationMac::try_from(mac(700 + u16::from(number))).unwrap();
            told(store.wish(NOW, mac, address, About::from(long)).await)
        }
        "change_group" => {
            let name = format!("{number}{}", "x".repeat(30)).parse().unwrap();
            let change = GroupChange::Add(world.free_hosts.clone());
            told(store.change_group(name, change).await)
        }
        "add_schedule" => told(
            store
                .add_schedule(NOW, When::Once(at(9)), planned(&long))
                .await,
        ),
        "remove_schedule" => told(store.remove_schedule(world.schedule).await),
        "claim_schedule" => {
            let outcome = Outcome::Failed {
                at: at(1),
                text: long,
            };
            let until = at(i64::from(number));
            told(
                store
                    .claim_schedule(world.schedule, NOW, until, outcome)
                    .await,
            )
        }
        "end_schedule" => {
            let outcome = Outcome::Failed {
                at: at(1),
                text: long,
            };
            told(store.end_schedule(world.schedule, outcome).await)
        }
        "forget_pending" => told(store.forget_pending(None).await),
        "store_inventory" => {
            let fields = inventory::FIELDS;
            let fields = fields.map(|(_, column)| (column, long.clone()));
            let host = world.free_hosts[usize::from(number) % world.free_hosts.len()];
            told(store.store_inventory(NOW, host, fields.to_vec()).await)
        }
        "add_image" => {
            let image = new_image(&format!("added{number}"));
            told(store.add_image(image, sample_facts(&names)).await)
        }
        "update_image" => told(
            store
                .update_image(world.free_image, 3, sample_facts(&names))
                .await,
        ),
        "replace_image" => told(
            store
                .replace_image(world.free_image, sample_facts(&names), None)
                .await,
        ),
        "describe_image" => {
            let name = format!("called{number}").parse().unwrap();
            let described = store.describe_image(world.free_image, Some(name), Some(long));
            told(described.await)
        }
        "create_capture" => {
            let new = new_capture(world.single, &format!("captured{number}"));
            told(store.create_capture(NOW, new).await)
        }
        "remove_image" => told(store.remove_image(world.free_image).await),
        "create_session" => {
            let port = 63200 + 2 * u16::from(number);
            let mut session = new_session(world.image, &world.free_hosts, port);
            session.name = long;
            told(store.create_session(NOW, session).await)
        }
        "apply" => {
            let mut facts = vec![
                checked_in(world.hosts[0], number, 1),
                Fact::StreamStarting {
                    stream: 0,
                    run: number.into(),
                    has_records: true,
                },
                Fact::Noted {
                    host: None,
                    note: warning(),
                },
            ];
            facts.push(Fact::MemberEnded {
                host: world.hosts[1],
                state: State::Failed,
                reason: Reason::Words { text: long },
            });
            told(store.apply(at(1), world.session, facts).await)
        }
        "give_up_follow_up" => told(
            store
                .give_up_follow_up(NOW, world.session, Some(long))
                .await,
        ),
        "fail_broken" => {
            let reason = Reason::Words { text: long };
            told(store.fail_broken(NOW, world.session, reason).await)
        }
        "store_progress" => {
            let text = "y".repeat(64);
            let status = ReceivedStatus {
                rate: text.clone(),
                elapsed: text.clone(),
                remaining: text.clone(),
                copied: text.clone(),
                total: text.clone(),
                percent_text: text,
                percent: 50,
            };
            let progress = world.tasks.iter().map(|task| (*task, status.clone()));
            told(
                store
                    .store_progress(world.session, progress.collect())
                    .await,
            )
        }
        "create_unicast" => {
            let mut new = new_unicast(world.image, &[world.single]);
            new.name = long;
            told(store.create_unicast(NOW, new).await)
        }
        "apply_unicast" => {
            let machine = Machine {
                address: Ipv4Addr::new(10, 0, 0, number),
                ticket: Some(Ticket([number; 16])),
                client: "fos-agent/0.1.0".into(),
            };
            let place = number.into();
            let facts = vec![(world.alone, UnicastFact::Entered { place, machine })];
            told(store.apply_unicast(at(1), facts).await)
        }
        "store_unicast_progress" => {
            let status = ReceivedStatus {
                rate: "1 MB".into(),
                elapsed: "1".into(),
                remaining: "2".into(),
                copied: "3".into(),
                total: "4".into(),
                percent_text: "5".into(),
                percent: number,
            };
            told(store.store_unicast_progress(world.alone, status).await)
        }
        "note_node_failure" => {
            let until = at(i64::from(number));
            told(store.note_node_failure(world.alone, until).await)
        }
        "add_event" => {
            let host = Some(world.hosts[0]);
            told(
                store
                    .add_event(NOW, Some(world.session), host, warning())
                    .await,
            )
        }
        "hand_out" => {
            let host = world.free_hosts[usize::from(number) % world.free_hosts.len()];
            let job = Job {
                session: world.session,
                task: None,
                image: world.image,
                port: 63100,
                arguments: Arguments(7),
            };
            let handout = Handout {
                address: Some(address),
                job,
                ticket: Some(Ticket([number; 16])),
                at: NOW,
                since: i64::from(number),
            };
            let row = HandoutRow {
                id: i64::from(number),
                mac: mac(200 + u16::from(number)),
                host,
                handout,
            };
            let change = HandoutChange {
                drop: Vec::new(),
                put: vec![row],
            };
            told(store.hand_out(change).await)
        }
        "set_image_root" => told(store.set_image_root(long).await),
        other => panic!("no operation {other}"),
    }
}
