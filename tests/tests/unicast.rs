//! Machines that are deployed alone: the real server, real agents over HTTP, a double of FOG's client that reads the
//! image store itself.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::fs::File;
use std::os::unix::fs::FileExt;

use fos_tests::netns::{Running, wait_for};
use fos_tests::site::{
    DISK_LEN, PARTITIONS, Site, assert_deployed, assert_untouched, failed, mac, search_path, source,
};
use serde_json::Value;

/// A site whose storage node has so many slots, and a task for each client.
fn site(clients: u8, slots: &str) -> Option<Site> {
    let mut site = Site::without_image(clients)?;
    site.start_server_with(&["--slots", slots]);
    site.cli(&["image", "add", "small"]).succeed();
    let hosts: Vec<String> = (1..=clients).map(|number| format!("pc{number}")).collect();
    let mut args = vec!["deploy", "small", "--unicast"];
    args.extend(hosts.iter().map(String::as_str));
    let said = site.cli(&args).succeed();
    assert_eq!(said.lines().count(), usize::from(clients), "{said}");
    Some(site)
}

/// What people see of a client's task.
fn task(site: &Site, client: u8) -> Value {
    let said = site.cli(&["status", "--json"]).succeed();
    let status: Value = serde_json::from_str(&said).unwrap();
    let tasks = status["tasks"].as_array().unwrap();
    let name = format!("pc{client}");
    tasks
        .iter()
        .find(|task| task["host"] == *name)
        .unwrap()
        .clone()
}

fn wait_for_state(site: &Site, client: u8, state: &str) {
    wait_for(&format!("task of pc{client} to be {state}"), || {
        task(site, client)["state"] == state
    });
}

#[test]
fn agents_read_the_image_over_http_one_after_the_other() {
    let Some(site) = site(2, "1") else { return };
    let disks = [
        site.empty_disk("a.raw", DISK_LEN),
        site.empty_disk("b.raw", DISK_LEN + (64 << 20)),
    ];
    let mut agents = [
        site.start_agent(1, &disks[0]),
        site.start_agent(2, &disks[1]),
    ];
    for (agent, disk) in agents.iter_mut().zip(&disks) {
        agent.succeed();
        assert_deployed(disk);
    }
    for client in [1, 2] {
        let task = task(&site, client);
        assert_eq!(task["state"], "complete", "{task}");
    }
}

#[test]
fn a_server_that_is_killed_and_started_again_loses_no_task() {
    let Some(mut site) = site(2, "1") else { return };
    // It has the slot, and its machine is gone for the moment.
    let form = format!("mac={}&type=down", mac(1));
    assert_eq!(site.post(1, "service/Pre_Stage1.php", &form), "##@GO");
    let disk = site.empty_disk("b.raw", DISK_LEN);
    let mut agent = site.start_agent(2, &disk);
    wait_for_state(&site, 2, "checked-in");
    site.server().kill();
    site.start_server_with(&["--slots", "1"]);
    assert_eq!(task(&site, 1)["state"], "in-progress");
    assert_eq!(task(&site, 2)["in_front"], 0);
    assert_eq!(site.post(1, "service/Post_Stage3.php", &form), "##");
    agent.succeed();
    assert_deployed(&disk);
    wait_for_state(&site, 2, "complete");
}

#[test]
fn a_cancelled_task_ends_its_machine_before_anything_is_written() {
    let Some(site) = site(2, "1") else { return };
    let form = format!("mac={}&type=down", mac(1));
    assert_eq!(site.post(1, "service/Pre_Stage1.php", &form), "##@GO");
    let disk = site.patterned_disk("b.raw", DISK_LEN);
    let agent = site.start_agent(2, &disk);
    wait_for_state(&site, 2, "checked-in");
    let number = task(&site, 2)["task"].to_string();
    site.cli(&["cancel", "--task", &number]).succeed();
    let said = failed(agent);
    assert!(said.contains("cancelled"), "{said}");
    assert_untouched(&disk);
}

/// Does what FOG's client does: asks until it is told to go, restores each partition from the image store into
/// `pcN-1.raw` and so on, and reports its end, once `pcN-release` is there.
fn start_stock(site: &Site, client: u8) -> Running {
    let arguments = site.kernel_arguments(client);
    assert!(!arguments.contains("mc=yes"), "{arguments}");
    let script = format!(
        r###"
set -euo pipefail
post() {{ curl -Lks --data "sysuuid=&mac={mac}&type=down" http://10.99.0.1/fog/service/$1; }}
until [ "$(post Pre_Stage1.php | tee pc{client}-said)" = "##@GO" ]; do sleep 0.2; done
for n in 1 2; do
    case $n in 1) size=16M;; 2) size=24M;; esac
    truncate -s $size pc{client}-$n.raw
    zstd -dc < images/small/d1p$n.img |
        partclone.restore --ignore_crc -O pc{client}-$n.raw -L pc{client}.log -f 1
done
touch pc{client}-restored
until [ -e pc{client}-release ]; do sleep 0.1; done
[ "$(post Post_Stage3.php)" = "##" ]
"###,
        mac = mac(client),
    );
    let mut command = site.lab().host(usize::from(client) + 1).command("bash");
    command
        .args(["-c", &script])
        .current_dir(site.path(""))
        .env("PATH", search_path())
        .env("TERM", "xterm");
    let output = site.path(&format!("pc{client}.out"));
    Running::start(&format!("stock client pc{client}"), &mut command, &output)
}

#[test]
fn of_three_stock_clients_the_third_waits_for_one_of_two_slots() {
    let Some(site) = site(3, "2") else { return };
    let mut clients = [start_stock(&site, 1), start_stock(&site, 2)];
    let restored = |client: u8| site.path(&format!("pc{client}-restored")).exists();
    wait_for("two clients to restore", || restored(1) && restored(2));
    let mut third = start_stock(&site, 3);
    wait_for_state(&site, 3, "checked-in");
    let said = || std::fs::read_to_string(site.path("pc3-said")).unwrap_or_default();
    wait_for("the third to be told its place", || {
        said().starts_with("No open slots, There are 0 before me on this node. Got in line at ")
    });
    let seen = site.cli(&["status"]).succeed();
    assert!(seen.contains("2 of 2 slots in use, 1 waiting"), "{seen}");
    assert!(!restored(3));
    for client in [1, 3, 2] {
        std::fs::write(site.path(&format!("pc{client}-release")), "").unwrap();
        if client == 1 {
            clients[0].succeed();
            wait_for_state(&site, 1, "complete");
            wait_for("the third to restore", || restored(3));
        }
    }
    third.succeed();
    clients[1].succeed();
    for client in 1..=3 {
        wait_for_state(&site, client, "complete");
        assert_restored(&site, client);
    }
}

/// Both partitions are those of the source, octet by octet.
fn assert_restored(site: &Site, client: u8) {
    let source = File::open(source().join("disk.raw")).unwrap();
    for (number, (start, len)) in (1..).zip(PARTITIONS) {
        let found = std::fs::read(site.path(&format!("pc{client}-{number}.raw"))).unwrap();
        let mut expected = vec![0; usize::try_from(len * 512).unwrap()];
        source.read_exact_at(&mut expected, start * 512).unwrap();
        let expected = &expected[..found.len().min(expected.len())];
        let differing = found.iter().zip(expected).position(|(a, b)| a != b);
        assert_eq!(differing, None, "pc{client}, partition {number}");
    }
}
