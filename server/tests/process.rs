//! The server as a process: clients that hang up, files that hang, signals, ports of others.

mod harness;

use std::io::{Read as _, Write as _};
use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use harness::{Server, mac, name, send_signal, text, wait_until};

/// What every request leaves behind: a database that can be written at once, by the server too.
#[track_caller]
fn assert_writable(server: &Server, host: u8) {
    server.good(&["host", "add", &name(host), &mac(host)]);
    server.good(&["host", "remove", &name(host)]);
}

#[test]
fn clients_that_hang_up_do_not_lock_the_database() {
    let server = Server::with_hosts(2);
    let running = server.serve();
    server.good(&["deploy", "lab", "LAB-01", "LAB-02"]);
    for host in [1, 2] {
        server.post_from(host, "ipxe/boot.php", &format!("mac0={}", mac(host)));
    }
    // Inventory of an ordinary machine.
    let inventory = "c29tZXRoaW5nIGxvbmc=".repeat(50);
    for round in 0..300_u16 {
        let number = if round % 2 == 0 { 1 } else { 2 };
        let host = mac(number);
        let mut stream = match round % 5 {
            0 | 1 => server.send_from(
                number,
                "inventory.php",
                &format!("mac={host}&sysman={inventory}&hdinfo={inventory}"),
            ),
            2 => server.send_from(number, "mc_checkin.php", &format!("mac={host}&type=down")),
            3 => server.send_from(
                number,
                "taskerror.php",
                &format!("mac={host}&type=warning&text=x"),
            ),
            _ => server.send_from(number, "ipxe/boot.php", &format!("mac0={host}")),
        };
        // Some at once, some when the first byte of the answer is there.
        if round % 3 == 0 {
            drop(stream.read(&mut [0]));
        }
        drop(stream);
    }
    assert_writable(&server, 9);
    assert_eq!(server.check_in(1).1, "##@GO");
    running.end();
}

/// As with the original, but it says why it ends at once.
#[test]
fn a_sender_whose_standard_input_has_ended_names_the_cause() {
    let server = Server::new();
    let file = server.data().join("images/lab/d1p1.img");
    let mut sender = Command::new(env!("CARGO_BIN_EXE_fos-server"));
    sender.args(["udp-sender", "-i", "lo", "--portbase", "9760"]);
    sender.args(["--min-receivers", "2", "--max-wait", "5", "-f"]);
    let output = sender.arg(file).stdin(Stdio::null()).output().unwrap();
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(
        told.contains("standard input has ended") && told.contains("--nokbd"),
        "{told}"
    );
}

#[test]
fn cancel_and_deploy_in_turn_work_while_clients_ask() {
    let server = Server::with_hosts(2);
    let running = server.serve();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for host in [1, 2] {
            let (server, is_over) = (&server, &is_over);
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    server.post_from(host, "ipxe/boot.php", &format!("mac0={}", mac(host)));
                    drop(server.send_from(host, "mc_checkin.php", &format!("mac={}", mac(host))));
                    server.check_in(host);
                    drop(server.send_from(host, "Post_Stage3.php", &format!("mac={}", mac(host))));
                }
            });
        }
        for round in 1..=20 {
            let id = server.good(&["deploy", "lab", "LAB-01", "LAB-02"]);
            assert_eq!(id, format!("{round}\n"));
            server.good(&["cancel", id.trim()]);
            let status = server.status();
            assert_eq!(status["sessions"][0]["state"], "cancelled");
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert_writable(&server, 9);
    running.end();
}

#[test]
fn a_boot_file_that_is_a_pipe_holds_nobody() {
    let server = Server::with_hosts(1);
    // Whoever opens it to read waits for a writer, for ever.
    let pipe = server.data().join("boot/init.xz");
    std::fs::remove_file(&pipe).unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let running = server.serve();
    // It is no file, and not opened; what hangs as a directory does is in the tests of crashes.
    let (status, told) = server.get_from(1, "ipxe/init.xz");
    assert_eq!(status, 404, "{told}");
    assert!(told.contains("not a regular file"), "{told}");
    // Everybody else is served.
    server.good(&["deploy", "lab", "LAB-01"]);
    assert_eq!(server.check_in(1).0, 200);
    assert_eq!(server.status()["sessions"][0]["checked_in"], 1);
    running.end();
}

/// Whoever waits for the files that a starting server makes may end it at once.
#[expect(
    clippy::disallowed_methods,
    reason = "the clock of a test with a real process"
)]
#[test]
fn a_server_that_is_ended_while_it_starts_ends_orderly() {
    for _ in 0..20 {
        let server = Server::new();
        let files = ["server.json", "server.sock"].map(|file| server.data().join(file));
        let mut command = server.command();
        command.args(["serve", "--listen", "127.0.0.1:0"]);
        let child = command.stderr(Stdio::null()).spawn().unwrap();
        let running = harness::Running { child };
        // Without a pause: the moments after it are looked at.
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        while !files[1].exists() {
            assert!(
                std::time::Instant::now() < deadline,
                "the server does not start"
            );
            std::thread::yield_now();
        }
        running.end();
        for file in &files {
            assert!(!file.exists(), "{} is left", file.display());
        }
    }
}

#[test]
fn the_server_ends_while_another_program_holds_the_database() {
    let server = Server::with_hosts(1);
    let running = server.serve();
    server.good(&["deploy", "lab", "LAB-01"]);
    let file = server.data().join("fos.sqlite");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let holder = runtime.block_on(async {
        use sqlx::Connection as _;
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&file);
        let mut holder = sqlx::SqliteConnection::connect_with(&options)
            .await
            .unwrap();
        sqlx::query("BEGIN IMMEDIATE")
            .execute(&mut holder)
            .await
            .unwrap();
        holder
    });
    // Nothing is promised meanwhile, and it is said why.
    let (status, answer) = server.check_in(1);
    assert_eq!(status, 503, "{answer}");
    let status = server.status();
    let told = status["sessions"][0]["text"].as_str().unwrap();
    assert!(told.contains("lock"), "{told}");
    running.end();
    drop(holder);
    let again = server.serve();
    wait_until("the check-in is stored", || server.check_in(1).1 == "##@GO");
    again.end();
}

#[test]
fn a_second_signal_ends_the_server_at_once() {
    let server = Server::with_hosts(1);
    let mut running = server.serve();
    running.signal("-INT");
    running.signal("-TERM");
    wait_until("the server ends", || !running.is_running());
}

#[test]
fn sessions_go_on_after_the_server_was_killed() {
    let server = Server::with_hosts(2);
    let running = server.serve();
    server.good(&["deploy", "lab", "LAB-01", "LAB-02"]);
    for host in [1, 2] {
        assert_eq!(server.check_in(host).1, "##@GO");
    }
    drop(running);
    // What was promised is in the database, and is seen without a server too.
    assert_eq!(server.status()["sessions"][0]["checked_in"], 2);
    let _running = server.serve();
    wait_until("the session runs", || {
        let status = server.status();
        let session = &status["sessions"][0];
        session["checked_in"] == 2 && session["starts_in_seconds"].is_u64()
    });
}

/// A program that holds a UDP port, in a process of its own.
struct Holder(std::process::Child);

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn deploy_passes_over_ports_of_other_programs_and_names_them() {
    let server = Server::with_hosts(2);
    // Two neighbouring pairs that are free now; the same test may run beside this one.
    let offset = u16::try_from(std::process::id() % 5000).unwrap() * 4;
    let first = (20_000 + offset..60_000)
        .step_by(4)
        .find(|first| (0..4).all(|next| UdpSocket::bind(("0.0.0.0", first + next)).is_ok()))
        .unwrap();
    let _running = server.serve_with(&["--ports", &format!("{first}-{}", first + 3)]);
    // The port behind the base, on one address only.
    let held = UdpSocket::bind(("127.0.0.1", first + 1)).unwrap();
    let keeper = Command::new("sleep")
        .arg("600")
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(held)))
        .spawn()
        .unwrap();
    let keeper = Holder(keeper);
    let output = server.run(&["deploy", "lab", "LAB-01"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let told = text(&output.stderr);
    assert!(
        told.contains(&format!("UDP port {}", first + 1))
            && told.contains("in use by sleep")
            && told.contains(&keeper.0.id().to_string()),
        "{told}"
    );
    assert_eq!(server.status()["sessions"][0]["port"], first + 2);
    let error = server.bad(&["deploy", "lab", "LAB-02"]);
    assert!(error.contains("in use by sleep"), "{error}");
    drop(keeper);
    assert_eq!(server.good(&["deploy", "lab", "LAB-02"]), "2\n");
}

/// The address is that of a second one on the same card, in a network of its own.
#[test]
fn a_second_address_of_a_card_is_announced() {
    let server = Server::with_hosts(1);
    let program = env!("CARGO_BIN_EXE_fos-server");
    let script = "ip link set lo up && ip link add net0 type veth peer name net1 \
        && ip link set net0 up && ip link set net1 up \
        && ip addr add 10.77.0.1/24 dev net0 && ip addr add 10.77.0.2/24 dev net0 \
        && exec \"$@\"";
    let isolated = ["unshare", "--net", "sh", "-c", script, "sh"];
    let tried = Command::new("unshare")
        .args(["--net", "sh", "-c", script, "sh", "curl", "--version"])
        .output();
    match tried {
        Ok(tried) if tried.status.success() => {}
        Ok(tried) => return harness::skip(&text(&tried.stderr)),
        Err(error) => return harness::skip(&format!("unshare: {error}")),
    }
    let run = |arguments: &[&str]| {
        let mut command = server.command_as(&[&isolated[..], &[program]].concat());
        command.args(arguments).output().unwrap()
    };
    let mut command = server.command_as(&[&isolated[..], &[program]].concat());
    command.args(["serve", "--listen", "10.77.0.2:8080"]);
    let running = server.start(command);
    server.good(&["deploy", "lab", "LAB-01"]);
    let pid = running.child.id().to_string();
    let answer = Command::new("nsenter")
        .args(["--net", "--target", &pid, "curl", "--silent"])
        .args(["--data", &format!("mac0={}", mac(1))])
        .arg("http://10.77.0.2:8080/fog/service/ipxe/boot.php")
        .output()
        .unwrap();
    let script = text(&answer.stdout);
    assert!(
        script.contains("web=http://10.77.0.2:8080/fog/ ")
            && script.contains("storageip=10.77.0.2 "),
        "{script}{}",
        text(&answer.stderr)
    );
    drop(running);
    // A card that is not there, and one that is down, are told at the start.
    let output = run(&["serve", "--listen", "10.77.0.1:0", "--interface", "lo"]);
    assert!(!output.status.success());
    let told = text(&output.stderr);
    assert!(told.contains("lo") && told.contains("10.77.0.1"), "{told}");
}

#[test]
fn a_card_that_reaches_nobody_is_told_at_the_start() {
    let server = Server::new();
    let mut command = server.command();
    command.args(["serve", "--listen", "127.0.0.1:0", "--interface", "lo"]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    wait_until("the server runs", || {
        server.data().join("server.json").exists()
    });
    send_signal(&child, "-TERM");
    let mut told = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut told)
        .unwrap();
    drop(child.wait());
    assert!(told.contains("reaches no other machine"), "{told}");
}

#[test]
fn a_socket_that_a_dead_server_left_is_no_server() {
    let server = Server::with_hosts(1);
    let socket = server.data().join("server.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    assert!(socket.exists());
    let output = server.run(&["status"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("No server is running"));
    server.serve().end();
}

/// Whatever listens there is not believed, and not waited for without end.
#[test]
fn a_program_that_is_no_server_is_not_believed() {
    let server = Server::with_hosts(1);
    let socket = server.data().join("server.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let answers = [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\ncontent-length: 100000000000\r\n\r\n{",
        "SSH-2.0-x\r\n",
        "",
    ];
    let stranger = std::thread::spawn(move || {
        for answer in answers {
            // The first connection is a trial.
            for stream in listener.incoming().take(2) {
                let mut stream = stream.unwrap();
                stream
                    .set_read_timeout(Some(Duration::from_secs(20)))
                    .unwrap();
                if stream.read(&mut [0; 4096]).is_ok_and(|read| read > 0) {
                    drop(stream.write_all(answer.as_bytes()));
                }
            }
        }
    });
    for answer in answers {
        let error = server.bad(&["status"]);
        assert!(error.contains("server.sock"), "{answer}: {error}");
    }
    stranger.join().unwrap();
}

/// A client may ask as often as it likes.
#[test]
fn a_request_that_fails_again_and_again_is_one_line_and_a_number() {
    let server = Server::with_hosts(2);
    let said = server.dir.path().join("stderr");
    let mut command = server.command();
    command.args(["serve", "--listen", "127.0.0.1:0"]);
    let running = server.start_saying(command, std::fs::File::create(&said).unwrap().into());
    server.good(&["deploy", "lab", "LAB-01", "LAB-02"]);
    assert_eq!(server.check_in(1).1, "##@GO");
    let small = server.data().join("images/lab/d1.mbr");
    std::fs::write(&small, "something else").unwrap();
    for _ in 0..100 {
        let file = format!("fos/file?mac={}&name=d1.mbr", mac(1));
        assert_eq!(server.get_from(1, &file).0, 409);
    }
    running.end();
    let said = std::fs::read_to_string(&said).unwrap();
    let lines: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("d1.mbr"))
        .collect();
    assert_eq!(lines.len(), 1, "{said}");
    assert!(said.contains("99 times more"), "{said}");
}

/// Who reads the log for warnings misses nothing that somebody should look at, and sees whom it is about.
#[test]
fn what_somebody_should_look_at_is_a_warning_in_the_log() {
    let server = Server::with_hosts(2);
    let said = server.dir.path().join("stderr");
    let mut command = server.command();
    command.args(["serve", "--listen", "127.0.0.1:0"]);
    let running = server.start_saying(command, std::fs::File::create(&said).unwrap().into());
    server.good(&["deploy", "lab", "LAB-01", "LAB-02"]);
    assert_eq!(server.check_in(1).1, "##@GO");
    let report = |from, text| {
        let form = format!("mac={}&type=warning&text={text}", mac(1));
        server.post_from(from, "taskerror.php", &form)
    };
    report(1, "small+disk");
    report(2, "forged");
    let form = format!("mac={}&type=down", mac(1));
    server.post_from(2, "mc_checkin.php", &form);
    server.good(&["cancel", "1"]);
    running.end();
    let said = std::fs::read_to_string(&said).unwrap();
    for wanted in ["warning: small disk", "ignored a report", "is refused"] {
        let is_warning = |line: &str| {
            line.contains("WARN")
                && line.contains("session 1: host LAB-01: ")
                && line.contains(wanted)
        };
        assert!(said.lines().any(is_warning), "{wanted}: {said}");
    }
    // Each line has a subject.
    for line in said.lines() {
        let subjects = [" server: ", " session 1: ", " host "];
        assert!(
            subjects.iter().any(|subject| line.contains(subject)),
            "{line}"
        );
    }
}

/// Both would send every session. Neither a link nor a lost lock file makes two databases of one.
#[test]
fn a_database_has_one_server_by_whatever_name() {
    let server = Server::with_hosts(1);
    let running = server.serve();
    server.good(&["deploy", "lab", "LAB-01"]);
    let other = Server::new();
    let link = other.data().join("fos.sqlite");
    std::os::unix::fs::symlink(server.data().join("fos.sqlite"), &link).unwrap();
    let tried = |server: &Server, arguments: &[&str]| {
        // A server that starts would not end.
        let mut command = server.command_as(&["timeout", "60", env!("CARGO_BIN_EXE_fos-server")]);
        let output = command.args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        text(&output.stderr)
    };
    let serve = ["serve", "--listen", "127.0.0.1:0"];
    for arguments in [&serve[..], &["cancel", "1"]] {
        let told = tried(&other, arguments);
        assert!(told.contains("fos.sqlite is in use"), "{told}");
    }
    for file in ["server.lock", "server.sock"] {
        std::fs::remove_file(server.data().join(file)).unwrap();
    }
    for arguments in [&serve[..], &["cancel", "1"]] {
        let told = tried(&server, arguments);
        assert!(told.contains("fos.sqlite is in use"), "{told}");
    }
    running.end();
    server.good(&["cancel", "1"]);
    other.good(&["status"]);
}
