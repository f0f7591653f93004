//! Machines that are not registered, rooms, and deploys that begin later.

use fog::Mac;
use fog::task::State;

use crate::api::{Api as _, ApiErrorKind, Deploy, HostAccept, ScheduleAdd};
use crate::clock;
use crate::config::Registration;
use crate::domain::Timestamp;
use crate::domain::schedule::{Outcome, Planned, When};
use crate::testing::{Bench, bench, bench_with, ip, mac, name};

const NEW: u8 = 9;

fn new_mac() -> Mac {
    mac(NEW).parse().unwrap()
}

async fn boots(bench: &Bench, more: &str) -> String {
    let body = format!("mac0={}&arch=x86_64{more}", mac(NEW));
    bench.post(ip(NEW), "ipxe/boot.php", body).await
}

#[tokio::test]
async fn a_machine_is_registered_by_its_boot_menu_once_a_person_accepts_it() {
    let bench = bench().await;
    let script = boots(&bench, "").await;
    assert!(script.contains("prompt --key 0x72"), "{script}");
    assert!(script.ends_with("exit\n"), "{script}");
    let machine = "&manufacturer=ACME%1b%5b2J&product=Box%0areboot";
    let wish = format!("{machine}&register=1");
    for _ in 0..2 {
        let script = boots(&bench, &wish).await;
        assert!(script.contains("waits to be accepted"), "{script}");
        assert!(
            script.contains(&format!("host accept {}", mac(NEW))),
            "{script}"
        );
    }
    // Nothing is registered.
    let before = bench.ops.host_list().await.unwrap().len();
    assert!(boots(&bench, "").await.contains("is not registered"));
    let pending = bench.ops.host_pending().await.unwrap();
    let [waiting] = &pending[..] else {
        panic!("{pending:?}")
    };
    assert_eq!((waiting.mac, waiting.is_wish), (new_mac(), true));
    assert_eq!(waiting.address, Some(ip(NEW).into()));
    assert!(waiting.about.starts_with("ACME"), "{waiting:?}");
    assert!(
        waiting.about.chars().all(|c| !c.is_control()),
        "{waiting:?}"
    );

    let request = HostAccept {
        name: Some("LAB-NEW".parse().unwrap()),
        ..HostAccept::default()
    };
    let named = bench.ops.host_accept(new_mac(), request.clone()).await;
    assert_eq!(named.unwrap().name, "LAB-NEW");
    assert_eq!(bench.ops.host_list().await.unwrap().len(), before + 1);
    assert!(boots(&bench, &wish).await.contains("LAB-NEW: no task"));
    assert_eq!(bench.ops.host_pending().await.unwrap(), []);
    let again = bench.ops.host_accept(new_mac(), request).await.unwrap_err();
    assert_eq!(again.kind, ApiErrorKind::NotFound, "{again}");
}

#[tokio::test]
async fn whether_machines_register_themselves_is_a_setting() {
    let off = bench_with(|config| config.registration = Registration::Off).await;
    assert!(!boots(&off, "").await.contains("0x72"));
    let script = boots(&off, "&register=1").await;
    assert!(script.contains("registers no machine"), "{script}");
    assert!(!off.ops.host_pending().await.unwrap()[0].is_wish);

    let open = bench_with(|config| config.registration = Registration::Accept).await;
    let script = boots(&open, "&register=1").await;
    assert!(script.contains("is registered"), "{script}");
    assert!(boots(&open, "").await.contains("001b21000009: no task"));
}

/// Without a wish it can be accepted, too, and be forgotten.
#[tokio::test]
async fn a_machine_that_only_asked_is_accepted_with_its_proposal_or_forgotten() {
    let bench = bench().await;
    boots(&bench, "").await;
    let pending = bench.ops.host_pending().await.unwrap();
    assert_eq!((pending.len(), pending[0].is_wish), (1, false));
    bench.ops.pending_forget(Some(new_mac())).await.unwrap();
    assert_eq!(bench.ops.host_pending().await.unwrap(), []);
    let unknown = bench.ops.pending_forget(Some(new_mac())).await.unwrap_err();
    assert_eq!(unknown.kind, ApiErrorKind::NotFound, "{unknown}");

    let second = format!("mac0={}", mac(NEW + 1));
    bench.post(ip(NEW), "ipxe/boot.php", second).await;
    let other = mac(NEW + 1).parse().unwrap();
    let named = bench.ops.host_accept(other, HostAccept::default()).await;
    assert_eq!(named.unwrap().name, "001b2100000a");
}

async fn room(bench: &Bench, hosts: &[u8]) {
    let hosts = hosts.iter().map(|host| name(*host)).collect();
    let request = crate::api::GroupHosts { hosts };
    bench.ops.group_add("room101", request).await.unwrap();
}

fn deploy(hosts: &[&str]) -> Deploy {
    Deploy {
        image: "lab image".into(),
        hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        name: None,
        max_wait_seconds: None,
        is_shutdown: false,
        is_debug: false,
        is_woken: false,
        expected: 0,
        follow_ups: None,
    }
}

#[tokio::test]
async fn a_room_is_deployed_and_switched_on() {
    let bench = bench().await;
    room(&bench, &[2, 1]).await;
    let groups = bench.ops.group_list().await.unwrap();
    assert_eq!(groups[0].hosts, [name(2), name(1)]);
    // Each host once, whoever names it.
    let first = name(1);
    let wanted = Deploy {
        is_woken: true,
        ..deploy(&["@ROOM101", &first])
    };
    let done = crate::api::Api::deploy(&*bench.ops, wanted).await.unwrap();
    assert_eq!((done.hosts, done.warnings), (2, Vec::new()));
    let woken: Vec<Mac> = [2, 1].map(|host| mac(host).parse().unwrap()).to_vec();
    assert_eq!(bench.sender.woken(), woken);

    for wrong in ["@nosuch", "@", "nosuch"] {
        let wanted = deploy(&[wrong]);
        let refused = crate::api::Api::deploy(&*bench.ops, wanted)
            .await
            .unwrap_err();
        assert_eq!(refused.kind, ApiErrorKind::NotFound, "{refused}");
    }
    bench
        .ops
        .group_add("empty", crate::api::GroupHosts { hosts: Vec::new() })
        .await
        .unwrap();
    let refused = crate::api::Api::deploy(&*bench.ops, deploy(&["@empty"])).await;
    assert_eq!(refused.unwrap_err().kind, ApiErrorKind::Conflict);
    // A card without a cable does not keep anybody from deploying.
    let session = crate::domain::SessionId(done.session);
    bench.ops.cancel(session, None).await.unwrap();
    bench.sender.unplug(true);
    let wanted = Deploy {
        is_woken: true,
        ..deploy(&["@room101"])
    };
    let done = crate::api::Api::deploy(&*bench.ops, wanted).await.unwrap();
    assert!(
        done.warnings[0].contains("no machine was switched on"),
        "{done:?}"
    );
}

fn planned(hosts: &[&str]) -> Planned {
    let Deploy { image, hosts, .. } = deploy(hosts);
    Planned {
        image,
        hosts,
        name: None,
        max_wait_seconds: None,
        is_shutdown: true,
        is_debug: false,
        follow_ups: None,
    }
}

#[tokio::test]
async fn a_deploy_begins_later_once_with_the_room_as_it_is_then() {
    let bench = bench().await;
    room(&bench, &[1]).await;
    let now = clock::now();
    let later = |seconds| Timestamp(now.0 + seconds);
    let made = bench
        .ops
        .add_schedule(When::Once(later(3600)), planned(&["@room101"]));
    let id = made.await.unwrap().id;
    room(&bench, &[2]).await;
    bench.ops.begin_due(later(3599)).await.unwrap();
    assert!(bench.status(None).await.sessions.is_empty());
    // The clock jumps back, and forward again.
    for now in [3601, 3000, 3600, 3700] {
        bench.ops.begin_due(later(now)).await.unwrap();
    }
    let sessions = bench.status(None).await.sessions;
    let [session] = &sessions[..] else {
        panic!("{sessions:?}")
    };
    assert_eq!((session.hosts.len(), session.state), (2, State::New));
    assert_eq!(bench.sender.woken().len(), 2);
    let schedules = bench.ops.schedules().await.unwrap();
    let expected = Outcome::Session {
        at: later(3601),
        session: crate::domain::SessionId(session.session),
    };
    assert_eq!(schedules[0].outcome, Some(expected));
    let rows = bench.ops.schedule_list().await.unwrap();
    assert_eq!(
        (rows[0].session, &rows[0].next_at),
        (Some(session.session), &None)
    );
    bench.ops.schedule_remove(id.0).await.unwrap();
    let gone = bench.ops.schedule_remove(id.0).await.unwrap_err();
    assert_eq!(gone.kind, ApiErrorKind::NotFound, "{gone}");
}

#[tokio::test]
async fn a_start_that_was_missed_or_fails_is_told() {
    let bench = bench().await;
    let now = clock::now();
    let later = |seconds| Timestamp(now.0 + seconds);
    let late = bench
        .ops
        .add_schedule(When::Once(later(60)), planned(&[&name(1)]));
    late.await.unwrap();
    let fails = bench
        .ops
        .add_schedule(When::Once(later(5000)), planned(&[&name(2)]));
    fails.await.unwrap();
    bench.ops.remove_host(&name(2)).await.unwrap();
    bench.ops.begin_due(later(5000)).await.unwrap();
    assert!(bench.status(None).await.sessions.is_empty());
    let schedules = bench.ops.schedules().await.unwrap();
    assert_eq!(
        schedules[0].outcome,
        Some(Outcome::Missed { at: later(60) })
    );
    let Some(Outcome::Failed { text, .. }) = &schedules[1].outcome else {
        panic!("{schedules:?}")
    };
    assert!(text.contains("there is no host"), "{text}");

    // What cannot be is refused at once.
    let over = bench
        .ops
        .add_schedule(When::Once(later(-5)), planned(&[&name(1)]));
    assert!(over.await.is_err());
    let nobody = bench
        .ops
        .add_schedule(When::Once(later(60)), planned(&["@nosuch"]));
    assert!(nobody.await.is_err());
    for (at, cron) in [
        (None, None),
        (Some("2099-01-01 10:00"), Some("0 1 * * *")),
        (Some("x"), None),
    ] {
        let request = ScheduleAdd {
            deploy: deploy(&[&name(1)]),
            at: at.map(str::to_owned),
            cron: cron.map(str::to_owned),
            zone: Some("UTC".into()),
        };
        let refused = bench.ops.schedule_add(request).await.unwrap_err();
        assert_eq!(refused.kind, ApiErrorKind::Invalid, "{refused}");
    }
}

/// A crash between the two loses a start, and never does it twice.
#[tokio::test]
async fn nothing_begins_that_was_not_stored_before() {
    let bench = bench().await;
    let at = Timestamp(clock::now().0 + 60);
    let made = bench.ops.add_schedule(When::Once(at), planned(&[&name(1)]));
    made.await.unwrap();
    bench.faults.fail();
    assert!(bench.ops.begin_due(at).await.is_err());
    bench.faults.release();
    assert!(bench.status(None).await.sessions.is_empty());
    bench.ops.begin_due(at).await.unwrap();
    assert_eq!(bench.status(None).await.sessions.len(), 1);
}

/// Whatever one machine makes up, what others asked stays listed.
#[tokio::test]
async fn a_flood_of_addresses_hides_no_other_machine() {
    let bench = bench().await;
    boots(&bench, "&register=1").await;
    for number in 0..600_u16 {
        let [high, low] = number.to_be_bytes();
        let more = if number % 2 == 0 { "&register=1" } else { "" };
        let body = format!("mac0=02:00:00:00:{high:02x}:{low:02x}{more}");
        bench.post(ip(66), "ipxe/boot.php", body).await;
    }
    let other = format!("mac0={}", mac(NEW + 1));
    bench.post(ip(NEW + 1), "ipxe/boot.php", other).await;
    let pending = bench.ops.host_pending().await.unwrap();
    for number in [NEW, NEW + 1] {
        let wanted: Mac = mac(number).parse().unwrap();
        assert!(
            pending.iter().any(|machine| machine.mac == wanted),
            "{number}"
        );
    }
    let most = crate::store::MAX_STRANGERS_OF_ADDRESS + crate::store::MAX_PENDING_OF_ADDRESS;
    let most = usize::try_from(most).unwrap();
    assert!(pending.len() <= most + 2, "{}", pending.len());
}
