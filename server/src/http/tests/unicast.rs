//! Machines that are deployed alone: the queue, who may act, their data.

use std::net::Ipv4Addr;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use fog::task::State;

use super::assert_refused;
use super::boot::ticket;
use crate::domain::handout::Ticket;
use crate::domain::refusal::Line;
use crate::domain::unicast::UnicastTask;
use crate::domain::{NodeId, Refusal, TaskId};
use crate::ops::{DeployRequest, UnicastRequest};
use crate::store::UnicastQuery;
use crate::testing::{Bench, bench_with, ip, mac, name, text as body_of};
use crate::text;

/// Where somebody else is.
const STRANGER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 66);

/// Hosts 1 to 4, and a node with so many slots.
async fn bench(slots: u32) -> Bench {
    let bench = bench_with(|config| config.slots = Some(slots)).await;
    for host in 3..=4 {
        bench.add_host(host).await;
    }
    bench
}

fn request(hosts: &[u8]) -> UnicastRequest {
    UnicastRequest {
        deploy: DeployRequest {
            image: "lab image".into(),
            hosts: hosts.iter().map(|host| name(*host)).collect(),
            name: None,
            max_wait: None,
            is_shutdown: false,
            is_debug: false,
            is_woken: false,
            expected: 0,
            follow_ups: None,
        },
        is_forced: false,
    }
}

impl Bench {
    async fn deploy_alone(&self, hosts: &[u8]) -> Vec<TaskId> {
        self.ops.deploy_alone(&request(hosts)).await.unwrap().tasks
    }

    /// FOG's client.
    async fn ask(&self, host: u8) -> String {
        let body = format!("sysuuid=&mac={}&type=down", mac(host));
        self.post(ip(host), "Pre_Stage1.php", body).await
    }

    /// One of our agents.
    async fn ask_with(&self, host: u8, ticket: Ticket) -> String {
        let body = format!(
            "mac={}&type=down&agent=fos-agent/0.1.0&ticket={ticket}",
            mac(host)
        );
        self.post(ip(host), "Pre_Stage1.php", body).await
    }

    async fn task(&self, task: TaskId) -> UnicastTask {
        let found = self.store.unicast(UnicastQuery::One(task)).await.unwrap();
        found.into_iter().next().unwrap()
    }

    async fn in_line(&self, task: TaskId, in_front: u32, open: u32, slots: u32) -> Refusal {
        Refusal::InLine(Line {
            node: NodeId(1),
            in_front,
            open,
            slots,
            since: self.task(task).await.entered_at.unwrap(),
        })
    }
}

#[tokio::test]
async fn the_third_machine_waits_for_one_of_two_slots() {
    let bench = bench(2).await;
    let tasks = bench.deploy_alone(&[1, 2, 3, 4]).await;
    for host in [1, 2] {
        assert_eq!(bench.ask(host).await, "##@GO");
        // The answer was lost.
        assert_eq!(bench.ask(host).await, "##@GO");
    }
    // The order in which they ask is what counts.
    let fourth = bench.ask(4).await;
    assert_refused(&fourth, &bench.in_line(tasks[3], 0, 0, 2).await);
    for _ in 0..2 {
        let third = bench.ask(3).await;
        assert_refused(&third, &bench.in_line(tasks[2], 1, 0, 2).await);
    }
    assert!(fourth.starts_with("No open slots, There are 0 before me on this node."));
    let view = bench.view(3).await;
    assert_eq!(view.your_task, State::CheckedIn);
    assert!(view.text.contains("1 machine before it"), "{}", view.text);
    let list = crate::api::Api::tasks(&*bench.ops).await.unwrap();
    assert_eq!(
        (
            list.nodes[0].slots,
            list.nodes[0].used,
            list.nodes[0].waiting
        ),
        (2, 2, 2)
    );
    let in_front: Vec<_> = list.tasks.iter().map(|task| task.in_front).collect();
    assert_eq!(in_front, [Some(0), Some(1), None, None]);
    assert!(list.tasks[3].slot_since.is_some() && list.tasks[0].slot_since.is_none());

    assert_eq!(bench.complete(1).await, "##");
    assert_eq!(bench.complete(1).await, "##", "the answer was lost");
    let behind = bench.ask(3).await;
    assert_refused(&behind, &bench.in_line(tasks[2], 1, 1, 2).await);
    assert_eq!(bench.ask(4).await, "##@GO");
    assert_eq!(bench.complete(4).await, "##");
    assert_eq!(bench.ask(3).await, "##@GO");
    let done = bench.task(tasks[0]).await;
    assert_eq!((done.state, done.percent), (State::Complete, 100));
    let (hosts, _) = bench.store.hosts().await.unwrap();
    assert!(hosts[0].last_deploy.is_some() && hosts[1].last_deploy.is_none());
}

#[tokio::test]
async fn a_killed_server_keeps_places_and_slots() {
    let bench = bench(1).await;
    let tasks = bench.deploy_alone(&[1, 2, 3]).await;
    assert_eq!(bench.ask(1).await, "##@GO");
    for host in [3, 2] {
        assert_ne!(bench.ask(host).await, "##@GO");
    }
    let bench = bench.crash().await;
    let second = bench.ask(2).await;
    assert_refused(&second, &bench.in_line(tasks[1], 1, 0, 1).await);
    assert_eq!(bench.ask(1).await, "##@GO");
    assert_eq!(bench.complete(1).await, "##");
    assert_ne!(bench.ask(2).await, "##@GO");
    assert_eq!(bench.ask(3).await, "##@GO");
}

#[tokio::test]
async fn nobody_is_told_to_go_while_nothing_can_be_stored() {
    let bench = bench(1).await;
    let tasks = bench.deploy_alone(&[1]).await;
    bench.faults.break_at("apply_unicast");
    let body = format!("mac={}&type=down", mac(1));
    let (status, _) = bench.send(ip(1), "Pre_Stage1.php", body).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(bench.task(tasks[0]).await.state, State::Queued);
    bench.faults.release();
    assert_eq!(bench.ask(1).await, "##@GO");
}

#[tokio::test]
async fn a_machine_alone_is_told_to_read_and_not_to_wait_for_a_sender() {
    let bench = bench(1).await;
    bench.deploy_alone(&[1]).await;
    let script = bench.boot(1).await;
    assert!(script.contains(" type=down fosticket="), "{script}");
    for word in [" mc=yes", " port=", "isdebug"] {
        assert!(!script.contains(word), "{word}: {script}");
    }
    let mut debug = request(&[2]);
    debug.deploy.is_debug = true;
    bench.ops.deploy_alone(&debug).await.unwrap();
    let script = bench.boot(2).await;
    let words = " type=down mode=debug isdebug=yes fosticket=";
    assert!(script.contains(words), "{script}");
    let kinds = "SELECT GROUP_CONCAT(taskTypeID) FROM tasks";
    assert_eq!(bench.words(kinds).await, ["1,15"]);
    let multicast = bench.ops.deploy(&request(&[1]).deploy).await;
    assert!(multicast.is_err(), "{multicast:?}");
}

#[tokio::test]
async fn only_its_own_machine_acts_for_a_host() {
    let bench = bench(1).await;
    let tasks = bench.deploy_alone(&[1]).await;
    let own = ticket(&bench.boot(1).await);
    assert_eq!(bench.ask_with(1, own).await, "##@GO");
    let another = Refusal::AnotherMachine { address: ip(1) };
    let form = format!("mac={}&type=down", mac(1));
    let stranger = bench.post(STRANGER, "Pre_Stage1.php", form.as_str()).await;
    assert_refused(&stranger, &another);
    for path in ["Post_Stage3.php", "blame.php"] {
        for from in [STRANGER, ip(1)] {
            // At its address, without its ticket.
            assert_ne!(bench.post(from, path, form.as_str()).await, "##", "{path}");
        }
    }
    let failed = bench.fail_from(STRANGER, 1, "x").await;
    assert_ne!(failed, "##");
    assert_eq!(bench.task(tasks[0]).await.state, State::InProgress);
    let done = format!("{form}&ticket={own}");
    assert_eq!(
        bench.post(ip(1), "Post_Stage3.php", done.as_str()).await,
        "##"
    );
    assert_eq!(bench.task(tasks[0]).await.state, State::Complete);
}

#[tokio::test]
async fn an_end_that_was_not_begun_is_not_believed() {
    let bench = bench(1).await;
    let tasks = bench.deploy_alone(&[1, 2]).await;
    assert_ne!(bench.complete(1).await, "##");
    assert_eq!(bench.ask(1).await, "##@GO");
    assert_ne!(bench.ask(2).await, "##@GO");
    assert_refused(&bench.complete(2).await, &Refusal::NothingSent);
    assert_eq!(bench.task(tasks[1]).await.state, State::CheckedIn);
}

#[tokio::test]
async fn a_failure_and_a_cancelled_task_make_room() {
    let bench = bench(1).await;
    let tasks = bench.deploy_alone(&[1, 2, 3]).await;
    assert_eq!(bench.ask(1).await, "##@GO");
    assert_ne!(bench.ask(2).await, "##@GO");
    assert_ne!(bench.ask(3).await, "##@GO");
    assert_eq!(bench.fail(1, "no disk").await, "##");
    assert_eq!(bench.task(tasks[0]).await.state, State::Failed);
    assert_eq!(bench.ask(2).await, "##@GO");
    bench.ops.cancel_task(tasks[1]).await.unwrap();
    assert_eq!(bench.view(2).await.your_task, State::Cancelled);
    assert_ne!(bench.complete(2).await, "##");
    assert_eq!(bench.ask(3).await, "##@GO");
    assert!(bench.ops.cancel_task(tasks[1]).await.is_err());
    assert!(bench.ops.cancel_task(TaskId(99)).await.is_err());
}

#[tokio::test]
async fn a_forced_task_does_not_wait() {
    let bench = bench(1).await;
    bench.deploy_alone(&[1, 2]).await;
    let mut forced = request(&[3]);
    forced.is_forced = true;
    bench.ops.deploy_alone(&forced).await.unwrap();
    assert_eq!(bench.ask(1).await, "##@GO");
    assert_ne!(bench.ask(2).await, "##@GO");
    assert_eq!(bench.ask(3).await, "##@GO");
}

#[tokio::test]
async fn a_machine_that_cannot_use_the_share_gets_in_line_again() {
    let bench = bench(1).await;
    bench.deploy_alone(&[1, 2]).await;
    assert_eq!(bench.ask(1).await, "##@GO");
    assert_ne!(bench.ask(2).await, "##@GO");
    let form = format!("mac={}&type=down", mac(1));
    assert_eq!(bench.post(ip(1), "blame.php", form).await, "##");
    assert_ne!(bench.ask(1).await, "##@GO");
    assert_eq!(bench.ask(2).await, "##@GO");
}

/// As FOG has it: five minutes, for this host and this node, and not where a person says that it shall go.
#[tokio::test]
async fn a_node_that_a_host_could_not_use_is_not_asked_again_for_five_minutes() {
    let bench = bench(2).await;
    let tasks = bench.deploy_alone(&[1]).await;
    assert_eq!(bench.ask(1).await, "##@GO");
    let form = format!("mac={}&type=down", mac(1));
    let before = crate::clock::now().0;
    assert_eq!(bench.post(ip(1), "blame.php", form.clone()).await, "##");
    assert_eq!(bench.task(tasks[0]).await.state, State::Queued);
    let failures = bench.store.node_failures().await.unwrap();
    let [failure] = failures[..] else {
        panic!("{failures:?}");
    };
    assert_eq!(failure.node, NodeId(1));
    assert!((before + 300..before + 400).contains(&failure.until.0));
    let refusal = Refusal::NodeFailed {
        node: NodeId(1),
        until: failure.until,
    };
    assert_refused(&bench.ask(1).await, &refusal);
    // Nor after a restart of the server.
    let bench = bench.restart().await;
    assert_refused(&bench.ask(1).await, &refusal);
    bench
        .sql("UPDATE nfsFailures SET nfDateTime = '2026-01-01 00:00:00'")
        .await;
    let bench = bench.restart().await;
    assert_eq!(bench.ask(1).await, "##@GO");

    // Forced, it goes at once.
    bench.ops.cancel_task(tasks[0]).await.unwrap();
    let mut forced = request(&[2]);
    forced.is_forced = true;
    bench.ops.deploy_alone(&forced).await.unwrap();
    assert_eq!(bench.ask(2).await, "##@GO");
    let form = format!("mac={}&type=down", mac(2));
    assert_eq!(bench.post(ip(2), "blame.php", form).await, "##");
    assert_eq!(bench.ask(2).await, "##@GO");
}

#[tokio::test]
async fn a_session_keeps_which_node_failed_as_well() {
    let bench = bench(1).await;
    bench.deploy(&[1]).await;
    assert_eq!(bench.check_in_stock(1).await, "##@GO");
    let form = format!("mac={}&type=down", mac(1));
    assert_eq!(bench.post(ip(1), "blame.php", form).await, "##");
    assert_eq!(bench.store.node_failures().await.unwrap().len(), 1);
    // It has no slot to wait for.
    assert_eq!(bench.check_in_stock(1).await, "##@GO");
}

/// Whoever stands before the machines need not be there.
#[tokio::test]
async fn machines_that_are_deployed_alone_are_switched_on() {
    let bench = bench(1).await;
    let mut wanted = request(&[1, 2]);
    wanted.deploy.is_woken = true;
    let done = bench.ops.deploy_alone(&wanted).await.unwrap();
    assert!(done.warnings.is_empty(), "{:?}", done.warnings);
    let woken: [fog::Mac; 2] = [1, 2].map(|host| mac(host).parse().unwrap());
    assert_eq!(bench.sender.woken(), woken);
    bench.sender.unplug(true);
    let mut wanted = request(&[3]);
    wanted.deploy.is_woken = true;
    let done = bench.ops.deploy_alone(&wanted).await.unwrap();
    assert_eq!((done.tasks.len(), done.warnings.len()), (1, 1));
}

#[tokio::test]
async fn no_go_for_a_changed_image() {
    let bench = bench(1).await;
    let tasks = bench.deploy_alone(&[1]).await;
    let image = bench.config.images.join("img/d1p1.img");
    let good = std::fs::read(&image).unwrap();
    let time = std::fs::metadata(&image).unwrap().modified().unwrap();
    std::fs::write(&image, b"captured anew").unwrap();
    let said = bench.ask(1).await;
    assert!(said.contains("d1p1.img"), "{said}");
    assert_ne!(bench.task(tasks[0]).await.state, State::InProgress);
    std::fs::write(&image, good).unwrap();
    let file = std::fs::File::options().write(true).open(&image).unwrap();
    file.set_modified(time).unwrap();
    assert_eq!(bench.ask(1).await, "##@GO");
}

/// A stock client keeps its kernel arguments after its task was cancelled.
#[tokio::test]
async fn a_machine_that_was_booted_for_another_image_is_told_to_restart() {
    let bench = bench(1).await;
    let tasks = bench.deploy_alone(&[1]).await;
    bench.boot(1).await;
    assert_eq!(bench.ask(1).await, "##@GO");
    bench.ops.cancel_task(tasks[0]).await.unwrap();
    let mut other = request(&[1]);
    other.deploy.image = "other image".into();
    let next = bench.ops.deploy_alone(&other).await.unwrap().tasks[0];
    let refusal = Refusal::OtherTask { now: Some(next) };
    assert_refused(&bench.ask(1).await, &refusal);
    bench.boot(1).await;
    assert_eq!(bench.ask(1).await, "##@GO");
}

async fn data(bench: &Bench, from: Ipv4Addr, query: &str, range: &str) -> (StatusCode, Vec<u8>) {
    let uri = format!("/fog/service/fos/data?mac={}&{query}", mac(1));
    let mut request = Request::get(uri);
    if !range.is_empty() {
        request = request.header(header::RANGE, range);
    }
    let answer = bench
        .request(from, request.body(Body::empty()).unwrap())
        .await;
    let status = answer.status();
    let bytes = axum::body::to_bytes(answer.into_body(), 1 << 24).await;
    (status, bytes.unwrap().to_vec())
}

#[tokio::test]
async fn an_images_data_are_served_from_any_byte_on_to_its_own_machine() {
    let bench = bench(1).await;
    bench.deploy_alone(&[1]).await;
    let own = ticket(&bench.boot(1).await);
    let query = format!("ticket={own}&stream=d1p1.img&part=0");
    // It was not told to go.
    let (status, _) = data(&bench, ip(1), &query, "").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(bench.ask_with(1, own).await, "##@GO");
    let image = std::fs::read(bench.config.images.join("img/d1p1.img")).unwrap();
    for from in [0, 1, image.len() - 1] {
        let (status, bytes) = data(&bench, ip(1), &query, &format!("bytes={from}-")).await;
        assert_eq!(status, StatusCode::PARTIAL_CONTENT);
        assert_eq!(bytes, image[from..], "{from}");
    }
    let (status, bytes) = data(&bench, ip(1), &query, "").await;
    assert_eq!((status, bytes), (StatusCode::OK, image.clone()));
    let behind = format!("bytes={}-", image.len());
    let (status, _) = data(&bench, ip(1), &query, &behind).await;
    assert_eq!(status, StatusCode::RANGE_NOT_SATISFIABLE);

    // Nothing but the streams of its image, and to nobody else.
    for (from, query, expected) in [
        (ip(1), format!("ticket={own}&stream=d1p1.img&part=1"), 404),
        (ip(1), format!("ticket={own}&stream=d1.mbr&part=0"), 404),
        (
            ip(1),
            format!("ticket={own}&stream=..%2Fother%2Fd1p2.img&part=7"),
            404,
        ),
        (ip(1), format!("ticket={own}&stream=d1p1.img&part=x"), 400),
        (ip(1), "stream=d1p1.img&part=0".to_owned(), 403),
        (STRANGER, query.clone(), 403),
        (
            ip(1),
            format!("ticket={}&stream=d1p1.img&part=0", Ticket([1; 16])),
            403,
        ),
    ] {
        let (status, _) = data(&bench, from, &query, "").await;
        assert_eq!(status.as_u16(), expected, "{query}");
    }
    std::fs::write(bench.config.images.join("img/d1p1.img"), b"x").unwrap();
    let (status, _) = data(&bench, ip(1), &query, "").await;
    assert_eq!(status, StatusCode::CONFLICT);
    let done = format!("mac={}&type=down&ticket={own}", mac(1));
    assert_eq!(bench.post(ip(1), "Post_Stage3.php", done).await, "##");
    let (status, _) = data(&bench, ip(1), &query, "").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn manifest_and_small_files_are_those_of_its_task() {
    let bench = bench(1).await;
    bench.deploy_alone(&[1]).await;
    let own = ticket(&bench.boot(1).await);
    assert_eq!(bench.ask_with(1, own).await, "##@GO");
    let path = format!("/fog/service/fos/manifest?mac={}&ticket={own}", mac(1));
    let (status, text) = bench.get(ip(1), &path).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    let manifest: fos_api::Manifest = serde_json::from_str(&text).unwrap();
    assert_eq!(manifest.streams.len(), 2);
    let path = format!(
        "/fog/service/fos/file?mac={}&ticket={own}&name=d1.mbr",
        mac(1)
    );
    let request = Request::get(path).body(Body::empty()).unwrap();
    let answer = bench.request(ip(1), request).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(body_of(answer).await, "U".repeat(1024));
}

#[tokio::test]
async fn what_a_machine_alone_says_of_itself_is_shown() {
    let bench = bench(1).await;
    let tasks = bench.deploy_alone(&[1]).await;
    assert_eq!(bench.ask(1).await, "##@GO");
    let form = format!(
        "mac={}&phase=receive&stream=d1p1.img&detail=writing",
        mac(1)
    );
    bench.post(ip(1), "progress.php", form).await;
    let list = crate::api::Api::tasks(&*bench.ops).await.unwrap();
    assert_eq!(list.tasks[0].client.detail, "writing");
    assert_eq!(list.tasks[0].task, tasks[0].0);
    let task = bench.task(tasks[0]).await;
    assert_eq!(list.tasks[0].text, text::unicast_task(&task, None));
}
