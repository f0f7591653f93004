//! The program as people run it.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

mod harness;

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use harness::{Server, boot_area, mac, name, send_signal, text, wait_until};
use serde_json::{Value, json};

#[test]
fn hosts_are_added_listed_and_removed() {
    let server = Server::new();
    for is_served in [false, true] {
        let running = is_served.then(|| server.serve());
        server.good(&[
            "host",
            "add",
            "LAB-01",
            "00-1B-21-AA-BB-CC",
            "00:1b:21:aa:bb:cd",
        ]);
        let error = server.bad(&["host", "add", "lab-01", "00:1b:21:aa:bb:ce"]);
        assert!(error.contains("already a host called LAB-01;"), "{error}");
        let error = server.bad(&["host", "add", "LAB-02", "00:1b:21:aa:bb:cd"]);
        assert!(error.contains("already belongs to host LAB-01"), "{error}");
        let list = server.good(&["host", "list"]);
        assert!(
            list.contains("00:1b:21:aa:bb:cc 00:1b:21:aa:bb:cd"),
            "{list}"
        );
        let said = server.good(&["host", "forget", "LAB-01"]);
        assert!(
            said.contains("LAB-01") && said.contains("forgotten"),
            "{said}"
        );
        server.good(&["host", "remove", "LAB-01"]);
        for command in ["remove", "forget"] {
            let error = server.bad(&["host", command, "LAB-01"]);
            assert!(error.contains("no host LAB-01"), "{error}");
        }
        assert!(!server.good(&["host", "list"]).contains("LAB-01"));
        drop(running);
    }
    let usage = server.run(&["host", "add", "LAB-01", "nonsense"]);
    assert_eq!(usage.status.code(), Some(2));
    assert!(text(&usage.stderr).contains("is not a MAC address"));
}

#[test]
fn addresses_that_no_card_has_are_refused() {
    let server = Server::new();
    for address in [
        "00:00:00:00:00:00",
        "ff:ff:ff:ff:ff:ff",
        "01:00:5e:00:00:01",
        "33:33:00:00:00:01",
    ] {
        let error = server.bad(&["host", "add", "LAB-01", "00:1b:21:00:00:01", address]);
        assert!(error.contains(address), "{error}");
    }
    assert!(!server.good(&["host", "list"]).contains("LAB-01"));
    let usage = server.run(&["host", "add", "LAB-01/", "00:1b:21:00:00:01"]);
    assert_eq!(usage.status.code(), Some(2));
}

#[test]
fn images_are_verified_before_they_are_added() {
    let server = Server::new();
    let file = server.data().join("images/lab/d1p1.img");
    let good = std::fs::read(&file).unwrap();
    let mut damaged = good.clone();
    let middle = good.len() / 2;
    damaged[middle] ^= 1;
    std::fs::write(&file, damaged).unwrap();
    let error = server.bad(&["image", "add", "lab"]);
    assert!(
        error.contains("d1p1.img") && error.contains("checksum error"),
        "{error}"
    );
    std::fs::write(&file, good).unwrap();
    assert_eq!(server.good(&["image", "add", "lab"]), "image 1: lab\n");
    assert!(server.good(&["image", "list"]).contains("verified"));
    let error = server.bad(&["image", "add", "lab"]);
    assert!(error.contains("already an image"), "{error}");
    let error = server.bad(&["image", "add", "other"]);
    assert!(error.contains("images/other"), "{error}");
    server.good(&["image", "remove", "1"]);
}

#[test]
fn names_and_directories_may_end_with_a_slash() {
    let server = Server::new();
    assert_eq!(server.good(&["image", "add", "lab/"]), "image 1: lab\n");
    let shown = |server: &Server| server.good(&["image", "list"]);
    assert!(!shown(&server).contains("lab/"), "{}", shown(&server));
    server.good(&["host", "add", "LAB-01", &mac(1)]);
    assert_eq!(server.good(&["deploy", "lab/", "LAB-01"]), "1\n");
    server.good(&["image", "add", "second", "--path", "lab//"]);
    server.good(&["image", "verify", "second/"]);
    server.good(&["image", "update", "second/"]);
    server.good(&["image", "remove", "second//"]);
    assert!(!shown(&server).contains("lab/"), "{}", shown(&server));
    let error = server.bad(&["image", "add", "third", "--path", "../lab"]);
    assert!(error.contains("../lab"), "{error}");
}

#[test]
fn an_image_goes_to_another_server_as_one_file() {
    let (here, there) = (Server::new(), Server::new());
    std::fs::remove_dir_all(there.data().join("images/lab")).unwrap();
    here.good(&["image", "add", "lab", "--os", "10", "--type", "n"]);
    let file = here.dir.path().join("lab.tar");
    let path = file.to_str().unwrap();
    here.good(&["image", "export", "lab", path]);
    let error = here.bad(&["image", "export", "lab", path]);
    assert!(
        error.contains("lab.tar") && error.contains("File exists"),
        "{error}"
    );
    // The tar of everybody opens it, and everybody's tar of a directory is taken.
    let listed = Command::new("tar").args(["tf", path]).output().unwrap();
    let names = text(&listed.stdout);
    let names: Vec<&str> = names.lines().collect();
    assert_eq!(names, ["fos-image.json", "lab/d1.mbr", "lab/d1p1.img"]);
    for is_served in [false, true] {
        let running = is_served.then(|| there.serve());
        let said = there.good(&["image", "import", path]);
        assert!(said.contains("image ") && said.contains(": lab"), "{said}");
        let list = there.good(&["image", "list"]);
        assert!(list.contains(" n ") && list.contains("verified"), "{list}");
        for name in ["d1.mbr", "d1p1.img"] {
            let of = |server: &Server| std::fs::read(server.data().join("images/lab").join(name));
            assert_eq!(of(&here).unwrap(), of(&there).unwrap());
        }
        let error = there.bad(&["image", "import", path, "--name", "other"]);
        assert!(
            error.contains("exists; choose another directory with --path"),
            "{error}"
        );
        there.good(&["image", "remove", "lab"]);
        std::fs::remove_dir_all(there.data().join("images/lab")).unwrap();
        drop(running);
    }
    let by_hand = here.dir.path().join("hand.tar");
    let by_hand = by_hand.to_str().unwrap();
    let images = here.data().join("images");
    let made = Command::new("tar")
        .args(["cf", by_hand, "-C", images.to_str().unwrap(), "lab"])
        .status();
    assert!(made.unwrap().success());
    there.good(&[
        "image", "import", by_hand, "--name", "hand", "--path", "by-hand",
    ]);
    assert!(there.good(&["image", "list"]).contains("by-hand"));
    // A byte that was hit on the way.
    let mut bytes = std::fs::read(&file).unwrap();
    let at = bytes.len() - 2048;
    bytes[at] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let error = there.bad(&["image", "import", path]);
    assert!(error.contains("was not imported"), "{error}");
    let left = std::fs::read_dir(there.data().join("images")).unwrap();
    assert_eq!(left.count(), 1);
    let streamed = here
        .command()
        .args(["image", "export", "lab", "-"])
        .output()
        .unwrap();
    assert!(streamed.status.success(), "{}", text(&streamed.stderr));
    assert_eq!(streamed.stdout.len() % 512, 0);
}

#[test]
fn double_slashes_in_the_image_directory_are_one() {
    let server = Server::new();
    let root = server.data().join("images");
    let odd = format!("/{}//", root.display()).replacen("images", "/images", 1);
    assert_eq!(
        server.good(&["--images", &odd, "image", "add", "lab"]),
        "image 1: lab\n"
    );
    let _running = server.serve();
    server.good(&["host", "add", "LAB-01", &mac(1)]);
    server.good(&["deploy", "lab", "LAB-01"]);
    let (_, script) = server.post("ipxe/boot.php", &format!("mac0={}", mac(1)));
    let expected = format!("storage=127.0.0.1:{}/ ", root.display());
    assert!(script.contains(&expected), "{script}");
}

/// It would be verified here and sent from there.
#[test]
fn a_running_server_has_one_image_directory() {
    let server = Server::new();
    harness::write_image(&server.data().join("elsewhere/lab"));
    let running = server.serve();
    let root = server.data().join("elsewhere").display().to_string();
    let error = server.bad(&["--images", &root, "image", "add", "lab"]);
    assert!(
        error.contains("elsewhere") && error.contains("serve --images"),
        "{error}"
    );
    assert!(!server.good(&["image", "list"]).contains("lab"));
    running.end();
    server.good(&["--images", &root, "image", "add", "lab"]);
}

#[test]
fn a_session_is_created_shown_and_cancelled_with_and_without_a_server() {
    for is_served in [false, true] {
        let server = Server::new();
        let _running = is_served.then(|| server.serve());
        server.good(&["image", "add", "lab", "--type", "n"]);
        for host in [1, 2] {
            server.good(&["host", "add", &name(host), &mac(host)]);
        }
        let error = server.bad(&["deploy", "nothing", "LAB-01"]);
        assert!(error.contains("no image nothing"), "{error}");
        let error = server.bad(&["deploy", "lab", "LAB-09"]);
        assert!(error.contains("no host LAB-09"), "{error}");
        assert_eq!(
            server.good(&["deploy", "lab", "LAB-01", "lab-01", "--max-wait", "90s"]),
            "1\n"
        );
        let error = server.bad(&["deploy", "lab", "LAB-02", "LAB-01"]);
        assert!(error.contains("fos-server cancel 1"), "{error}");
        let error = server.bad(&["image", "remove", "lab"]);
        assert!(error.contains("session 1"), "{error}");
        let error = server.bad(&["host", "remove", "LAB-01"]);
        assert!(error.contains("session 1"), "{error}");
        let status = server.status();
        assert_eq!(status["sessions"][0]["expected"], 1);
        server.good(&["cancel", "1"]);
        let error = server.bad(&["cancel", "1"]);
        assert!(error.contains("already over: cancelled"), "{error}");
        // At once, not when somebody looks next.
        let status = server.status();
        assert_eq!(status["sessions"][0]["state"], "cancelled");
        assert!(server.bad(&["cancel", "7"]).contains("no session 7"));
        assert!(server.bad(&["status", "7"]).contains("no session 7"));
        assert_eq!(server.good(&["deploy", "lab", "LAB-01"]), "2\n");
        let file = server.data().join("images/lab/d1p1.img");
        std::fs::write(file, b"changed").unwrap();
        let error = server.bad(&["deploy", "lab", "LAB-02"]);
        assert!(error.contains("changed"), "{error}");
    }
}

#[test]
fn a_session_is_made_for_hosts_that_join_it_by_its_name() {
    for is_served in [false, true] {
        let server = Server::new();
        let running = is_served.then(|| server.serve());
        server.good(&["image", "add", "lab", "--type", "n"]);
        let line = ["deploy", "lab", "--join", "2", "--name", "room 101"];
        assert_eq!(server.good(&line), "1\n");
        let status = server.status();
        let session = &status["sessions"][0];
        assert_eq!(
            (&session["state"], &session["expected"]),
            (&"new".into(), &2.into())
        );
        let text = session["text"].as_str().unwrap();
        assert!(text.contains("room 101"), "{text}");
        let error = server.bad(&line);
        assert!(error.contains("choose another one"), "{error}");
        for wrong in [
            &["deploy", "lab"][..],
            &["deploy", "lab", "--join", "2"],
            &["deploy", "lab", "--join", "0", "--name", "x"],
            &["deploy", "lab", "LAB-01", "--follow-ups", "10"],
        ] {
            assert_eq!(server.run(wrong).status.code(), Some(2), "{wrong:?}");
        }
        server.good(&["cancel", "1"]);
        assert_eq!(server.status()["sessions"][0]["state"], "cancelled");
        drop(running);
    }
}

#[test]
fn what_clients_would_refuse_is_not_added() {
    let server = Server::new();
    let dir = server.dir.path().join("data/images/lab");
    let refused = |arguments: &[&str], expected: &str| {
        let error = server.bad(&[&["image", "add", "lab"], arguments].concat());
        assert_eq!(error.matches(expected).count(), 1, "{error}");
        assert!(!server.good(&["image", "list"]).contains("lab"));
    };
    refused(
        &["--type", "n", "--os", "99"],
        "cannot have the operating system number 99",
    );
    let mbr = dir.join("d1.mbr");
    std::fs::write(&mbr, [1; 512]).unwrap();
    refused(&[], "the image's partition table cannot be used");
    std::fs::write(&mbr, boot_area(&[(2048, 32)])).unwrap();
    refused(
        &[],
        "partition 1 has 16.4 kB in the image's partition table",
    );
    std::fs::write(&mbr, boot_area(&[(2048, 2048), (4096, 2048)])).unwrap();
    refused(&[], "partition 2 of disk 1 (83 Linux, 1.0 MB)");
    let swap = dir.join("d1.original.swapuuids");
    std::fs::write(&swap, "\u{feff}2 11111111-2222-3333-4444-555555555555\n").unwrap();
    refused(&["--allow-missing"], "swapuuids");
    std::fs::remove_file(&swap).unwrap();
    // A partition without content is the one thing that may be meant.
    let added = server.run(&["image", "add", "lab", "--path", "lab/", "--allow-missing"]);
    assert!(added.status.success());
    assert!(text(&added.stderr).contains("there is no image file for partition 2"));
    assert!(server.good(&["image", "list"]).contains("  lab  "));
}

/// What `verify` calls good, `update` takes.
#[test]
fn an_image_that_lacks_a_file_is_not_good() {
    let server = Server::new();
    let dir = server.data().join("images/lab");
    server.good(&["image", "add", "lab"]);
    std::fs::remove_file(dir.join("d1p1.img")).unwrap();
    let second = dir.join("d1p2.img");
    harness::write_partition(&second);
    std::fs::write(dir.join("d1.mbr"), boot_area(&[(2048, 2048), (4096, 2048)])).unwrap();
    for command in ["verify", "update"] {
        let error = server.bad(&["image", command, "lab"]);
        let missing = "there is no image file for partition 1 of disk 1";
        assert!(error.contains(missing), "{command}: {error}");
        assert!(!error.contains("is good"), "{command}: {error}");
    }
    let output = server.run(&["image", "verify", "lab"]);
    let told = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(told.matches("d1p1.img is gone").count(), 1, "{told}");
    // With it the image is whole, though another one.
    std::fs::copy(&second, dir.join("d1p1.img")).unwrap();
    let output = server.run(&["image", "verify", "lab"]);
    let told = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(
        told.contains("not what was added") && !told.contains("good"),
        "{told}"
    );
    assert!(told.contains("fos-server image update lab"), "{told}");
    server.good(&["image", "update", "lab"]);
    assert_eq!(
        server.good(&["image", "verify", "lab"]),
        "image lab is good and unchanged\n"
    );
}

/// Bytes decide whether an image is good; dates, whether clients get it.
#[test]
fn an_image_with_other_dates_is_good() {
    let server = Server::new();
    server.good(&["image", "add", "lab"]);
    let file = server.data().join("images/lab/d1p1.img");
    let file = std::fs::File::options().write(true).open(file).unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    let told = server.good(&["image", "verify", "lab"]);
    assert!(
        told.starts_with("image lab is good") && told.contains("image update lab"),
        "{told}"
    );
    server.good(&["image", "update", "lab"]);
    assert_eq!(
        server.good(&["image", "verify", "lab"]),
        "image lab is good and unchanged\n"
    );
}

/// What was allowed when it was added needs no second permission, as long as nothing has changed.
#[test]
fn an_image_that_was_added_with_gaps_is_verified_with_them() {
    let server = Server::new();
    let dir = server.data().join("images/lab");
    std::fs::write(dir.join("d1.mbr"), boot_area(&[(2048, 2048), (4096, 2048)])).unwrap();
    server.good(&["image", "add", "lab", "--allow-missing"]);
    let output = server.run(&["image", "verify", "lab"]);
    assert_eq!(text(&output.stdout), "image lab is good and unchanged\n");
    let told = text(&output.stderr);
    assert!(
        told.contains("there is no image file for partition 2"),
        "{told}"
    );
    std::fs::write(dir.join("d1.mbr"), boot_area(&[(2048, 2048), (4096, 4096)])).unwrap();
    for command in ["verify", "update"] {
        let error = server.bad(&["image", command, "lab"]);
        assert!(error.contains("--allow-missing"), "{command}: {error}");
    }
    server.good(&["image", "update", "lab", "--allow-missing"]);
    server.good(&["image", "verify", "lab"]);
}

/// The same bytes are the same image, however closely they were looked at.
#[test]
fn an_image_that_was_added_unverified_can_be_verified() {
    let server = Server::new();
    server.good(&["image", "add", "lab", "--no-verify"]);
    let verified = server.good(&["image", "verify", "lab"]);
    assert!(verified.contains("lab is good and unchanged"), "{verified}");
    assert!(verified.contains("image update lab"), "{verified}");
    server.good(&["image", "update", "lab"]);
    assert!(server.good(&["image", "list"]).contains("verified"));
    let output = server.run(&["image", "update", "lab", "--no-verify"]);
    let told = text(&output.stderr);
    assert!(
        told.contains("were decoded to the end before, and are not now"),
        "{told}"
    );
}

/// A server that hangs is named before a person loses patience.
#[test]
fn a_server_that_does_not_answer_is_named_while_it_is_waited_for() {
    let server = Server::new();
    let running = server.serve();
    running.signal("-STOP");
    let mut command = server.command();
    command.arg("status").stderr(Stdio::piped());
    let mut asking = command.stdout(Stdio::null()).spawn().unwrap();
    let lines = lines_of(&mut asking);
    let seen = line_with(&lines, "does not answer yet");
    let process = format!("process {}", running.child.id());
    let line = seen.last().unwrap();
    assert!(
        line.contains(&process) && line.contains("at most 40 s"),
        "{line}"
    );
    running.signal("-CONT");
    assert!(asking.wait().unwrap().success());
    running.end();
}

/// The same where another process has the database and no socket.
#[test]
fn a_database_in_use_is_named_while_it_is_waited_for() {
    let server = Server::with_hosts(1);
    let lock = std::fs::File::options()
        .write(true)
        .open(server.data().join("server.lock"))
        .unwrap();
    lock.lock().unwrap();
    let mut command = server.command();
    command.args(["host", "list"]).stderr(Stdio::piped());
    let mut asking = command.stdout(Stdio::null()).spawn().unwrap();
    let lines = lines_of(&mut asking);
    let seen = line_with(&lines, "does not answer yet");
    let data = server.data().display().to_string();
    assert!(seen.last().unwrap().contains(&data), "{seen:?}");
    drop(lock);
    // Other lists as well say where the answer comes from.
    line_with(&lines, "No server is running");
    assert!(asking.wait().unwrap().success());
}

/// A typing error in `--data` makes nothing.
#[test]
fn only_commands_that_add_something_make_a_data_directory() {
    let server = Server::new();
    let place = server.dir.path().join("typo/data");
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fos-server"));
        command.env("FOS_SERVER_DATA", &place).args(arguments);
        let output = command.output().unwrap();
        let is_good = output.status.success();
        (is_good, text(&output.stdout) + &text(&output.stderr))
    };
    let reading: [&[&str]; 11] = [
        &["status"],
        &["status", "1", "--json"],
        &["host", "list"],
        &["host", "pending"],
        &["host", "remove", "LAB-01"],
        &["image", "list"],
        &["image", "verify", "lab"],
        &["image", "update", "lab"],
        &["image", "remove", "lab"],
        &["deploy", "lab", "LAB-01"],
        &["cancel", "1"],
    ];
    let refused = |what: &str| {
        for arguments in reading {
            let (is_good, told) = run(arguments);
            assert!(!is_good, "{arguments:?}: {told}");
            assert!(
                told.contains(what) && told.contains("typo/data"),
                "{arguments:?}: {told}"
            );
            assert!(told.contains("--data"), "{arguments:?}: {told}");
        }
    };
    refused("there is no data directory at");
    assert!(!server.dir.path().join("typo").exists());
    std::fs::create_dir_all(&place).unwrap();
    refused("holds no database of fos-server");
    assert!(std::fs::read_dir(&place).unwrap().next().is_none());
    let (is_good, told) = run(&["host", "add", "LAB-01", &mac(1)]);
    assert!(is_good, "{told}");
    assert!(run(&["host", "list"]).1.contains("LAB-01"));
}

#[test]
fn files_that_lead_elsewhere_are_not_added() {
    let server = Server::new();
    let dir = server.dir.path().join("data/images/lab");
    let link = |name: &str, to: &str| {
        let path = dir.join(name);
        std::os::unix::fs::symlink(to, &path).unwrap();
        let error = server.bad(&["image", "add", "lab"]);
        assert!(
            error.contains(name) && error.contains("leads out"),
            "{error}"
        );
        std::fs::remove_file(path).unwrap();
    };
    link("d1.partitions", "/etc/passwd");
    link("d1p2.img", "/dev/zero");
    link("d1p2.img", "../other/d1p1.img");
    let made = Command::new("mkfifo").arg(dir.join("d1p2.img")).status();
    assert!(made.unwrap().success());
    let error = server.bad(&["image", "add", "lab"]);
    assert!(error.contains("d1p2.img is a FIFO"), "{error}");
}

#[test]
fn one_host_is_taken_out_of_a_session() {
    for is_served in [false, true] {
        let server = Server::with_hosts(2);
        let _running = is_served.then(|| server.serve());
        server.good(&["deploy", "lab", "LAB-01", "LAB-02"]);
        server.good(&["cancel", "1", "--host", "lab-02"]);
        let status = server.status();
        let session = &status["sessions"][0];
        assert_eq!(session["expected"], 1);
        let states: Vec<_> = session["hosts"].as_array().unwrap().iter().collect();
        assert_eq!(states[1]["state"], "cancelled");
        assert_ne!(states[0]["state"], "cancelled");
        let error = server.bad(&["cancel", "1", "--host", "LAB-02"]);
        assert!(error.contains("already out of session 1"), "{error}");
        let error = server.bad(&["cancel", "1", "--host", "LAB-09"]);
        assert!(error.contains("LAB-09 is not in session 1"), "{error}");
        // It may be in another one.
        assert_eq!(server.good(&["deploy", "lab", "LAB-02"]), "2\n");
        server.good(&["cancel", "1", "--host", "LAB-01"]);
        wait_until("the session without hosts is over", || {
            server.status()["sessions"][1]["state"] == "cancelled"
        });
    }
}

#[test]
fn machines_that_asked_are_listed_until_they_are_registered() {
    let server = Server::with_hosts(1);
    let _running = server.serve();
    let none = server.good(&["host", "pending"]);
    assert!(!none.contains(&mac(9)), "{none}");
    let (_, answer) = server.check_in(9);
    assert!(answer.contains("host add NAME"), "{answer}");
    server.post("ipxe/boot.php", &format!("mac0={}", mac(8)));
    let list = server.good(&["host", "pending"]);
    assert!(list.contains(&mac(9)) && list.contains(&mac(8)), "{list}");
    assert!(list.contains("127.0.0.109"), "{list}");
    server.good(&["host", "add", "LAB-09", &mac(9)]);
    let list = server.good(&["host", "pending"]);
    assert!(!list.contains(&mac(9)) && list.contains(&mac(8)), "{list}");
}

#[test]
fn a_machine_that_asked_is_accepted_or_forgotten() {
    let server = Server::with_hosts(1);
    let _running = server.serve();
    server.post("ipxe/boot.php", &format!("mac0={}&register=1", mac(8)));
    server.post("ipxe/boot.php", &format!("mac0={}", mac(9)));
    let list: Value = serde_json::from_str(&server.good(&["host", "pending", "--json"])).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 2, "{list}");
    assert_eq!(list[0]["is_wish"], true, "{list}");
    let done = server.good(&["host", "accept", &mac(8), "LAB-08"]);
    assert!(done.contains("LAB-08"), "{done}");
    assert!(server.good(&["host", "list"]).contains("LAB-08"));
    let twice = server.bad(&["host", "accept", &mac(8)]);
    assert!(twice.contains("host pending"), "{twice}");
    server.good(&["host", "pending", "--forget", &mac(9)]);
    server.good(&["host", "pending", "--forget"]);
    assert!(
        server
            .good(&["host", "pending"])
            .contains("no machine asked")
    );
    let named = server.good(&["host", "rename", "lab-08", "LAB-80"]);
    assert!(named.contains("LAB-80"), "{named}");
    assert!(server.good(&["host", "list"]).contains("LAB-80"));
}

#[test]
fn a_room_is_kept_and_a_deploy_of_it_begins_later() {
    let server = Server::with_hosts(3);
    server.good(&["group", "add", "Room101", &name(3), &name(1)]);
    server.good(&["group", "add", "room101", &name(2)]);
    let expected = format!("{}\n{}\n{}\n", name(3), name(1), name(2));
    assert_eq!(server.good(&["group", "show", "room101"]), expected);
    server.good(&["group", "remove", "room101", &name(1)]);
    let list: Value = serde_json::from_str(&server.good(&["group", "list", "--json"])).unwrap();
    assert_eq!(list[0]["hosts"].as_array().unwrap().len(), 2, "{list}");
    assert!(
        server
            .bad(&["group", "show", "nosuch"])
            .contains("group list")
    );

    let _running = server.serve();
    let made = server.good(&[
        "deploy",
        "lab",
        "@room101",
        "--cron",
        "0 18 * * 5",
        "--zone",
        "Europe/Berlin",
    ]);
    let list = server.good(&["schedule", "list"]);
    assert!(
        list.contains("@room101") && list.contains("0 18 * * 5 (Europe/Berlin)"),
        "{list}"
    );
    let wrong = server.bad(&["deploy", "lab", "@room101", "--at", "yesterday"]);
    assert!(wrong.contains("is no time"), "{wrong}");
    let usage = server.run(&["deploy", "lab", "@room101", "--zone", "UTC"]);
    assert_eq!(usage.status.code(), Some(2));
    server.good(&["schedule", "remove", made.lines().next().unwrap()]);
    assert!(!server.good(&["schedule", "list"]).contains("@room101"));
    server.good(&["group", "remove", "room101"]);
    assert_eq!(server.good(&["group", "list", "--json"]).trim(), "[]");
}

#[test]
fn a_server_serves_alone_and_ends_when_asked() {
    let server = Server::new();
    let running = server.serve();
    let error = server.bad(&["serve", "--listen", "127.0.0.1:0"]);
    assert!(
        error.contains("another fos-server already serves"),
        "{error}"
    );
    assert_eq!(server.status()["version"], env!("CARGO_PKG_VERSION"));
    running.end();
    assert!(!server.data().join("server.json").exists());
    assert!(!server.data().join("server.sock").exists());
    // A server that was killed leaves its files; the commands find out.
    drop(server.serve());
    assert!(server.data().join("server.sock").exists());
    let output = server.run(&["status"]);
    assert!(output.status.success());
    assert!(text(&output.stderr).contains("No server is running"));
    server.serve().end();
}

#[test]
fn a_cancelled_deploy_ends_its_waiter() {
    let server = Server::with_hosts(1);
    let _running = server.serve();
    let mut command = server.command();
    command
        .args(["deploy", "lab", "LAB-01", "--wait"])
        .stderr(Stdio::piped());
    let waiter = command.stdout(Stdio::null()).spawn().unwrap();
    wait_until("the session is there", || {
        server.run(&["status", "1"]).status.success()
    });
    server.good(&["cancel", "1"]);
    let output = waiter.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stderr);
    assert!(told.contains("cancelled"), "{told}");
}

/// Lines on standard error of a command that runs.
fn lines_of(child: &mut std::process::Child) -> std::sync::mpsc::Receiver<String> {
    let (tell, told) = std::sync::mpsc::channel();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            if tell.send(line).is_err() {
                return;
            }
        }
    });
    told
}

fn line_with(lines: &std::sync::mpsc::Receiver<String>, part: &str) -> Vec<String> {
    let mut seen = Vec::new();
    loop {
        let line = lines.recv_timeout(std::time::Duration::from_secs(60));
        let line = line.unwrap_or_else(|_| panic!("no line with {part:?} in {seen:?}"));
        let is_found = line.contains(part);
        seen.push(line);
        if is_found {
            return seen;
        }
    }
}

#[test]
fn a_waiter_shows_each_event_once_and_leaves_the_session_alone_when_it_is_interrupted() {
    let server = Server::with_hosts(2);
    let _running = server.serve();
    let mut command = server.command();
    command
        .args(["deploy", "lab", "LAB-01", "LAB-02", "--wait"])
        .stderr(Stdio::piped());
    let mut waiter = command.stdout(Stdio::null()).spawn().unwrap();
    let lines = lines_of(&mut waiter);
    let mut seen = line_with(&lines, "UDP ports");
    let body = |host: u8, text: &str| format!("mac={}&type=error&text={text}", mac(host));
    server.post("ipxe/boot.php", &format!("mac0={}", mac(1)));
    let check_in = |host: u8| format!("mac={}&type=down", mac(host));
    assert_eq!(server.post("mc_checkin.php", &check_in(1)).1, "##@GO");
    assert_eq!(server.post("taskerror.php", &body(1, "no%20disk")).1, "##");
    seen.extend(line_with(&lines, "no disk"));
    // The failure of one is told while the other is still waited for.
    let is_active = server.status()["sessions"][0]["expected"] == 1;
    assert!(is_active);
    server.post_from(2, "ipxe/boot.php", &format!("mac0={}", mac(2)));
    assert_eq!(
        server.post_from(2, "mc_checkin.php", &check_in(2)).1,
        "##@GO"
    );
    let warning = format!("mac={}&type=warning&text=fan%20loud", mac(2));
    assert_eq!(server.post_from(2, "taskerror.php", &warning).1, "##");
    seen.extend(line_with(&lines, "fan loud"));
    send_signal(&waiter, "-INT");
    seen.extend(line_with(&lines, "fos-server cancel 1"));
    // The session has not failed.
    assert_eq!(waiter.wait().unwrap().code(), Some(3));
    seen.extend(lines.iter());
    let events: Vec<_> = seen.iter().filter(|line| line.starts_with("20")).collect();
    for event in &events {
        let copies = events.iter().filter(|other| *other == event).count();
        assert_eq!(copies, 1, "{event} in {seen:#?}");
    }
    assert_eq!(server.status()["sessions"][0]["expected"], 1);
}

/// The most useful thing to know of a room in which nothing seems to happen.
#[test]
fn a_host_that_asked_to_boot_is_shown_with_its_answer() {
    let server = Server::with_hosts(2);
    let _running = server.serve();
    let mut command = server.command();
    command
        .args(["deploy", "lab", "LAB-01", "LAB-02", "--wait"])
        .stderr(Stdio::piped());
    let mut waiter = command.stdout(Stdio::null()).spawn().unwrap();
    let lines = lines_of(&mut waiter);
    let seen = line_with(&lines, "LAB-01, LAB-02");
    assert!(seen.last().unwrap().contains("no limit"), "{seen:?}");
    let kernel = server.data().join("boot/bzImage");
    std::fs::remove_file(&kernel).unwrap();
    let boot = format!("mac0={}", mac(1));
    server.post("ipxe/boot.php", &boot);
    let seen = line_with(&lines, "LAB-01: asked to boot");
    let line = seen.last().unwrap();
    assert!(
        line.contains("turned away") && line.contains("bzImage is missing"),
        "{line}"
    );
    let row = |host: &str| {
        let shown = server.good(&["status"]);
        let row = shown
            .lines()
            .find(|line| line.trim_start().starts_with(host));
        row.unwrap().to_owned()
    };
    let shown = row("LAB-01");
    assert!(
        shown.contains("asked to boot") && shown.contains("bzImage is missing"),
        "{shown}"
    );
    assert!(
        !row("LAB-02").contains("asked to boot"),
        "{}",
        row("LAB-02")
    );
    std::fs::write(&kernel, "kernel").unwrap();
    server.post("ipxe/boot.php", &boot);
    line_with(&lines, "LAB-01: asked to boot, was given the kernel");
    let shown = row("LAB-01");
    assert!(shown.contains("ago, was given the kernel"), "{shown}");
    let status = server.status();
    assert_eq!(status["sessions"][0]["hosts"][0]["boot"]["count"], 2);
    // Once it is there, that is of no interest.
    assert_eq!(server.check_in(1).1, "##@GO");
    line_with(&lines, "checked in");
    assert!(
        !row("LAB-01").contains("asked to boot"),
        "{}",
        row("LAB-01")
    );
    send_signal(&waiter, "-INT");
    assert_eq!(waiter.wait().unwrap().code(), Some(3));
}

#[test]
fn a_deploy_without_boot_files_says_so() {
    let server = Server::with_hosts(1);
    let _running = server.serve();
    std::fs::remove_file(server.data().join("boot/init.xz")).unwrap();
    let output = server.run(&["deploy", "lab", "LAB-01"]);
    assert!(output.status.success());
    let told = text(&output.stderr);
    assert!(told.contains("boot/init.xz is missing"), "{told}");
}

/// Without a server nobody knows how the next one is started, unless one was.
#[test]
fn a_deploy_without_a_server_goes_by_how_it_was_started_last() {
    let server = Server::with_hosts(2);
    std::fs::remove_dir_all(server.data().join("boot")).unwrap();
    let output = server.run(&["deploy", "lab", "LAB-01"]);
    let told = text(&output.stderr);
    // A server of another test may have the first ports.
    let is_warning = |line: &str| line.contains("warning") && !line.contains("is in use by");
    assert!(
        output.status.success() && !told.lines().any(is_warning),
        "{told}"
    );
    let boot = server.dir.path().join("elsewhere");
    std::fs::create_dir(&boot).unwrap();
    for file in ["bzImage", "init.xz"] {
        std::fs::write(boot.join(file), file).unwrap();
    }
    let boot_text = boot.display().to_string();
    let arguments = ["--boot", &boot_text, "--ports", "41000-41003"];
    server.serve_with(&arguments).end();
    server.good(&["cancel", "1"]);
    let output = server.run(&["deploy", "lab", "LAB-01"]);
    let told = text(&output.stderr);
    assert!(
        output.status.success() && !told.contains("missing"),
        "{told}"
    );
    let port = server.status()["sessions"][0]["port"].as_u64().unwrap();
    assert!((41000..41004).contains(&port), "{port}");
    let init = boot.join("init.xz");
    std::fs::remove_file(&init).unwrap();
    let output = server.run(&["deploy", "lab", "LAB-02"]);
    let told = text(&output.stderr);
    let missing = format!("{} is missing", init.display());
    assert!(told.contains(&missing), "{told}");
}

#[test]
fn an_image_directory_that_does_not_exist_is_not_remembered() {
    let server = Server::new();
    server.good(&["image", "add", "lab"]);
    let nothing = server.dir.path().join("nothing").display().to_string();
    server.serve_with(&["--images", &nothing]).end();
    let verified = server.good(&["image", "verify", "lab"]);
    assert_eq!(verified, "image lab is good and unchanged\n");
}

#[test]
fn a_busy_port_and_an_unknown_interface_are_named() {
    let server = Server::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let error = server.bad(&["serve", "--listen", &address]);
    assert!(
        error.contains(&address) && error.contains("--listen"),
        "{error}"
    );
    let holder = format!("(pid {})", std::process::id());
    assert!(
        error.contains("in use by") && error.contains(&holder),
        "{error}"
    );
    // TEST-NET-1: no machine has it.
    let error = server.bad(&["serve", "--listen", "192.0.2.1:0"]);
    assert!(
        error.contains("192.0.2.1") && error.contains("--listen") && error.contains("127.0.0.1"),
        "{error}"
    );
    let error = server.bad(&["serve", "--listen", "127.0.0.1:0", "--interface", "nosuch0"]);
    assert!(error.contains("nosuch0"), "{error}");
}

/// Asks the API over the network; answers status and body.
fn ask(server: &Server, token: &str, path: &str) -> (u16, String) {
    let url = format!("http://{}{path}", server.address());
    let authorization = format!("Authorization: Bearer {token}");
    let options = ["--silent", "--write-out", "\n%{http_code}", "--header"];
    let mut curl = Command::new("curl");
    let output = curl.args(options).args([&authorization, &url]).output();
    let output = text(&output.unwrap().stdout);
    let (body, status) = output.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), body.to_owned())
}

#[test]
fn a_token_opens_the_api_until_it_is_removed() {
    let server = Server::with_hosts(1);
    // Without a server, and with one.
    let early = server.good(&["token", "add", "early"]).trim().to_owned();
    let _running = server.serve();
    let made = server.good(&["token", "add", "late", "--role", "admin"]);
    let late = made.trim().to_owned();
    for (token, path, expected) in [
        (early.as_str(), "/api/v1/hosts", 200),
        (&early, "/api/v1/users", 403),
        (&early, "/metrics", 200),
        (&late, "/api/v1/users", 200),
        ("fos_0", "/api/v1/hosts", 401),
        ("", "/api/openapi.json", 200),
        ("", "/metrics", 401),
    ] {
        let (status, body) = ask(&server, token, path);
        assert_eq!(status, expected, "{path}: {body}");
    }
    let (_, hosts) = ask(&server, &early, "/api/v1/hosts");
    assert!(hosts.contains("LAB-01"), "{hosts}");
    let list: Value = serde_json::from_str(&server.good(&["token", "list", "--json"])).unwrap();
    assert_eq!(list[0]["name"], "early");
    assert!(!list.to_string().contains(&early));
    server.good(&["token", "remove", "early"]);
    assert_eq!(ask(&server, &early, "/api/v1/hosts").0, 401);
    let error = server.bad(&["token", "remove", "early"]);
    assert!(error.contains("token list"), "{error}");
}

#[test]
fn an_image_is_verified_on_the_server() {
    let server = Server::with_hosts(1);
    let running = server.serve();
    let token = server.good(&["token", "add", "x", "--role", "operator"]);
    let token = token.trim();
    let path = "/api/v1/images/lab/verification";
    let verified = || {
        let url = format!("http://{}{path}", server.address());
        let authorization = format!("Authorization: Bearer {token}");
        let mut curl = Command::new("curl");
        let begun = curl.args(["--silent", "--fail", "--request", "POST", "--header"]);
        assert!(
            begun
                .args([&authorization, &url])
                .status()
                .unwrap()
                .success()
        );
        let mut found = Value::Null;
        wait_until("the end of the verification", || {
            found = serde_json::from_str(&ask(&server, token, path).1).unwrap();
            found["state"] != "reading"
        });
        found
    };
    assert_eq!(ask(&server, token, path).0, 404);
    let found = verified();
    assert_eq!(found["state"], "good", "{found}");
    assert_eq!(found["text"], "image lab is good and unchanged");
    let stream = server.data().join("images/lab/d1p1.img");
    let mut bytes = std::fs::read(&stream).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&stream, bytes).unwrap();
    let found = verified();
    assert_eq!(found["state"], "damaged", "{found}");
    assert!(
        found["text"].as_str().unwrap().contains("d1p1.img"),
        "{found}"
    );
    running.end();
}

#[test]
fn a_password_is_read_from_a_file_and_never_asked_for_in_vain() {
    let server = Server::new();
    let file = server.dir.path().join("password");
    let path = file.to_str().unwrap();
    let add = |name: &'static str| {
        [
            "user",
            "add",
            name,
            "--role",
            "operator",
            "--password-file",
            path,
        ]
    };
    std::fs::write(&file, "short\n").unwrap();
    let error = server.bad(&add("ann"));
    assert!(error.contains("10 to 200 characters"), "{error}");
    std::fs::write(&file, "correct horse\n").unwrap();
    assert_eq!(server.good(&add("ann")), "user ann: operator\n");
    let error = server.bad(&add("ann"));
    assert!(error.contains("already a user called ann"), "{error}");
    let mut command = server.command();
    command.args(["user", "add", "bob"]).stdin(Stdio::null());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stderr);
    assert!(told.contains("--password-file"), "{told}");
    server.good(&["user", "change", "ann", "--role", "viewer"]);
    assert!(server.good(&["user", "list"]).contains("ann   viewer"));
    let usage = server.run(&["user", "change", "ann"]);
    assert_eq!(usage.status.code(), Some(2));
    server.good(&["user", "remove", "ann"]);
    assert!(!server.good(&["user", "list"]).contains("ann"));
}

#[test]
fn a_host_is_edited_and_keeps_what_is_not_given() {
    let server = Server::with_hosts(2);
    for is_served in [false, true] {
        let running = is_served.then(|| server.serve());
        server.good(&[
            "host", "edit", "LAB-01", "--image", "lab", "--device", "/dev/vdb",
        ]);
        server.good(&[
            "host",
            "edit",
            "lab-01",
            "--name",
            "NEW-01",
            "--mac",
            "00:1b:21:00:00:77",
        ]);
        let list = server.good(&["host", "list"]);
        assert!(list.contains("NEW-01  00:1b:21:00:00:77"), "{list}");
        let error = server.bad(&["host", "edit", "NEW-01", "--name", "LAB-02"]);
        assert!(error.contains("already a host called LAB-02"), "{error}");
        let error = server.bad(&["host", "edit", "LAB-01", "--name", "X"]);
        assert!(error.contains("no host LAB-01"), "{error}");
        server.good(&["host", "edit", "NEW-01", "--name", "LAB-01", "--image", ""]);
        drop(running);
    }
}

#[test]
fn hosts_of_a_file_are_registered_or_named() {
    let server = Server::with_hosts(1);
    let file = server.dir.path().join("hosts.csv");
    let path = file.to_str().unwrap();
    std::fs::write(&file, "name,mac\nLAB-02,x\nLAB-03,00:1b:21:00:00:03\n").unwrap();
    let error = server.bad(&["host", "import", path]);
    assert!(
        error.contains("line 2") && error.contains("no host was registered"),
        "{error}"
    );
    assert!(!server.good(&["host", "list"]).contains("LAB-03"));
    std::fs::write(
        &file,
        "name,mac,image\nLAB-01,00:1b:21:00:00:11,\nLAB-03,00:1b:21:00:00:03,lab\n",
    )
    .unwrap();
    let error = server.bad(&["host", "import", path]);
    assert!(error.contains("LAB-01: there is already a host"), "{error}");
    assert!(server.good(&["host", "list"]).contains("LAB-03"));
}

#[test]
fn only_a_session_with_a_connected_host_is_started_by_hand() {
    let server = Server::with_hosts(1);
    let error = server.bad(&["start", "1"]);
    assert!(error.contains("no session 1"), "{error}");
    server.good(&["deploy", "lab", "LAB-01"]);
    let error = server.bad(&["start", "1"]);
    assert!(error.contains("does not run yet"), "{error}");
    let _running = server.serve();
    wait_until("the session runs", || {
        server
            .bad(&["start", "1"])
            .contains("no host of session 1 is connected")
    });
    server.good(&["cancel", "1"]);
    let error = server.bad(&["start", "1"]);
    assert!(error.contains("already over"), "{error}");
}

#[test]
fn completions_and_manual_pages_are_made_from_the_command_line() {
    let server = Server::new();
    let script = server.good(&["completions", "bash"]);
    assert!(script.contains("complete -F _fos__server") && script.contains("selftest"));
    // What a shell says of it.
    let checked = Command::new("bash")
        .args(["-n", "/dev/stdin"])
        .stdin(Stdio::piped())
        .spawn();
    let mut checked = checked.unwrap();
    std::io::Write::write_all(checked.stdin.as_mut().unwrap(), script.as_bytes()).unwrap();
    assert!(checked.wait().unwrap().success());
    let pages = server.dir.path().join("man");
    server.good(&["man", pages.to_str().unwrap()]);
    assert!(pages.join("fos-server-deploy.1").exists());
}

/// What an image is on a disk, and what is wrong with it; who serves whom. With a server and without.
#[test]
fn images_and_nodes_are_shown() {
    let server = Server::with_hosts(1);
    let shown = server.good(&["image", "show", "lab"]);
    for part in ["MBR", "needs a disk of", "d1p1.img", "BLAKE3", "verified "] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(!shown.contains("problem:"), "{shown}");
    let nodes = server.good(&["nodes"]);
    assert!(nodes.contains("0 of 10"), "{nodes}");
    assert!(!nodes.contains("SERVER"), "{nodes}");

    let running = server.serve();
    let shown = server.good(&["image", "show", "1", "--json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let disk = &shown["disks"][0];
    assert_eq!(disk["partitions"][0]["stream"], "d1p1.img", "{shown}");
    assert_eq!(disk["partitions"][0]["offset"], 2048 * 512, "{shown}");
    let least = disk["least_size"].as_u64().unwrap();
    assert!(least >= 4096 * 512, "{shown}");
    assert_eq!(shown["problems"], json!([]), "{shown}");
    std::fs::write(server.data().join("images/lab/d1p1.img"), "x").unwrap();
    let shown = server.good(&["image", "show", "lab"]);
    assert!(
        shown.contains("problem:") && shown.contains("d1p1.img"),
        "{shown}"
    );
    let said = server.bad(&["image", "show", "none"]);
    assert!(said.contains("there is no image none"), "{said}");
    let nodes = server.good(&["nodes"]);
    assert!(nodes.contains("(this one)"), "{nodes}");
    assert!(nodes.contains("since "), "{nodes}");
    let nodes: Value = serde_json::from_str(&server.good(&["nodes", "--json"])).unwrap();
    assert_eq!(nodes["servers"][0]["is_this"], true, "{nodes}");
    running.end();
}
