//! What machines boot.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};

use crate::config::DebugPassword;
use crate::domain::handout::Ticket;
use crate::http::debug_menu::answer;
use crate::testing::{bench, bench_with, ip, mac, text};

#[tokio::test]
async fn boot_files_have_their_length_and_nothing_else_is_served() {
    let bench = bench().await;
    for method in [Method::GET, Method::HEAD] {
        let request = Request::builder()
            .method(&method)
            .uri("/fog/service/ipxe/bzImage");
        let response = bench
            .request(ip(1), request.body(Body::empty()).unwrap())
            .await;
        assert_eq!(response.headers()[header::CONTENT_LENGTH], "6");
        assert_eq!(
            text(response).await,
            if method == Method::GET { "kernel" } else { "" }
        );
    }
    std::fs::write(bench.config.boot.join("secret"), b"x").unwrap();
    for name in [
        "secret",
        "..%2fboot%2fbzImage",
        "%2e%2e",
        "init_32.xz",
        "bzImage%00",
    ] {
        let (status, _) = bench.get(ip(1), &format!("/fog/service/ipxe/{name}")).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{name}");
    }
}

/// Opening such a thing waits for ever, or does something to a device.
#[tokio::test]
async fn what_is_no_file_in_the_boot_directory_is_refused_at_once() {
    let bench = bench().await;
    let kernel = bench.config.boot.join("bzImage");
    std::fs::remove_file(&kernel).unwrap();
    nix::unistd::mkfifo(&kernel, nix::sys::stat::Mode::S_IRWXU).unwrap();
    std::os::unix::fs::symlink("/dev/zero", bench.config.boot.join("init_32.xz")).unwrap();
    for name in ["bzImage", "init_32.xz"] {
        let path = format!("/fog/service/ipxe/{name}");
        let (status, text) = bench.get(ip(1), &path).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{text}");
        assert!(text.contains("not a regular file"), "{text}");
    }
}

/// The ticket that a boot script tells.
pub(super) fn ticket(script: &str) -> Ticket {
    let (_, rest) = script.split_once(" fosticket=").expect("a ticket");
    Ticket::parse(rest.split_whitespace().next().unwrap()).expect("32 digits")
}

#[tokio::test]
async fn a_session_in_debug_mode_boots_to_a_shell() {
    for (is_debug, expected) in [
        (true, " type=down mc=yes isdebug=yes fosticket="),
        (false, " type=down mc=yes fosticket="),
    ] {
        let bench = bench().await;
        let wanted = crate::ops::DeployRequest {
            image: "lab image".into(),
            hosts: vec!["LAB-01".into()],
            name: None,
            max_wait: None,
            is_shutdown: false,
            is_debug,
            is_woken: false,
            expected: 0,
            follow_ups: None,
        };
        let session = bench.ops.deploy(&wanted).await.unwrap().session;
        assert_eq!(bench.session(session).await.is_debug, is_debug);
        let body = format!("mac0={}&arch=x86_64", mac(1));
        let script = bench.post(ip(1), "ipxe/boot.php", body).await;
        assert!(script.contains(expected), "{script}");
    }
}

#[tokio::test]
async fn a_machine_without_a_task_boots_to_a_shell_for_who_has_the_password() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "correct-horse\n").unwrap();
    let password = DebugPassword::read(file.path()).unwrap();
    let bench = bench_with(|config| config.debug_password = Some(password)).await;
    // Status, challenge and text.
    let ask = async |number: u8, more: &str, proof: Option<&str>| {
        let mac = mac(number);
        let uri = format!("/fog/service/ipxe/boot.php?mac0={mac}&arch=x86_64{more}");
        let mut request = Request::get(uri).header(header::HOST, "10.0.0.5");
        if let Some(proof) = proof {
            request = request.header(header::AUTHORIZATION, proof);
        }
        let request = request.body(Body::empty()).unwrap();
        let response = bench.request(ip(number), request).await;
        let challenge = response.headers().get(header::WWW_AUTHENTICATE);
        let challenge = challenge.map(|value| value.to_str().unwrap().to_owned());
        (response.status(), challenge, text(response).await)
    };
    let prove = async |number: u8, password: &str| {
        let (status, challenge, _) = ask(number, "&debug=1", None).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        let mac = mac(number);
        let uri = format!("/fog/service/ipxe/boot.php?mac0={mac}&arch=x86_64&debug=1");
        answer(&challenge.unwrap(), "GET", &uri, password)
    };
    // The second one is not registered.
    for number in [1, 9] {
        let mac = mac(number);
        let (_, _, offer) = ask(number, "", None).await;
        let chain = format!(
            "chain --replace http://fos:${{password:uristring}}@10.0.0.5/fog/service/ipxe/boot.php\
             ?mac0={mac}&arch=x86_64&debug=1 ||\n"
        );
        assert!(
            offer.contains("Press d") && offer.contains(&chain),
            "{offer}"
        );
        assert!(
            offer.ends_with("exit\n") && !offer.contains("kernel "),
            "{offer}"
        );
        let proof = prove(number, "correct-horse").await;
        let (status, _, shell) = ask(number, "&debug=1", Some(&proof)).await;
        assert_eq!(status, StatusCode::OK);
        assert!(shell.contains(&format!(" mac={mac} ")), "{shell}");
        assert!(shell.contains(" isdebug=yes\n"), "{shell}");
        assert!(
            !shell.contains(" type=") && !shell.contains("horse"),
            "{shell}"
        );
        let proof = prove(number, "correct").await;
        let (_, _, refused) = ask(number, "&debug=1", Some(&proof)).await;
        assert!(!refused.contains("kernel "), "{refused}");
        assert!(refused.contains("not the password"), "{refused}");
    }
    // Who has read a proof has nothing of it.
    let proof = prove(1, "correct-horse").await;
    let (_, _, shell) = ask(1, "&debug=1", Some(&proof)).await;
    assert!(shell.contains(" isdebug=yes\n"), "{shell}");
    let (_, _, refused) = ask(1, "&debug=1", Some(&proof)).await;
    assert!(refused.contains("not the password"), "{refused}");
    // Nor has another machine.
    let proof = prove(1, "correct-horse").await;
    let (status, ..) = ask(9, "&debug=1", Some(&proof)).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    // A task goes first.
    bench.deploy(&[1]).await;
    let (_, _, script) = ask(1, "&debug=1", Some(&prove(1, "correct-horse").await)).await;
    assert!(script.contains(" type=down mc=yes "), "{script}");
    // Without a password there is no such entry.
    let bench = crate::testing::bench().await;
    for more in ["", "&debug=1"] {
        let body = format!("mac0={}{more}", mac(1));
        let script = bench.post(ip(1), "ipxe/boot.php", body).await;
        assert!(
            !script.contains("login") && !script.contains("kernel "),
            "{script}"
        );
    }
}

#[tokio::test]
async fn a_task_is_booted_with_the_complete_line() {
    let bench = bench().await;
    bench.deploy(&[1]).await;
    let expected = "#!ipxe\nimgfree\n\
        kernel bzImage loglevel=4 initrd=init.xz root=/dev/ram0 rw ramdisk_size=275000 \
        web=http://127.0.0.1/fog/ consoleblank=0 rootfstype=ext4 console=ttyS0 \
        nvme_core.default_ps_max_latency_us=0 setmacto=00:1b:21:00:00:01 \
        mac=00:1b:21:00:00:01 ftp=127.0.0.1 storage=127.0.0.1:IMAGES/ storageip=127.0.0.1 \
        osid=50 irqpoll hostname=LAB-01 chkdsk=0 img=img imgType=mps imgPartitionType=all \
        imgid=1 imgFormat=5 PIGZ_COMP=-6 hostearly=1 port=63100 type=down mc=yes \
        fosticket=TICKET\nimgfetch init.xz\nboot\n";
    let images = bench.config.images.display().to_string();
    let body = format!("mac0=08:00:27:00:00:09&mac1={}&arch=x86_64", mac(1));
    let script = bench.post(ip(1), "ipxe/boot.php", body).await;
    let ticket = ticket(&script).to_string();
    let expected = expected
        .replace("IMAGES", &images)
        .replace("TICKET", &ticket);
    assert_eq!(script, expected);
    // Asked again, it is the same: the first answer may have been lost.
    let path = format!("/fog/service/ipxe/boot.php?mac={}", mac(1).to_uppercase());
    assert_eq!(bench.get(ip(1), &path).await.1, expected);
    let args = fog::KernelArgs::parse(&expected);
    assert!(args.is_multicast_deploy());
    assert_eq!(args.port().unwrap(), 63100);

    std::fs::remove_file(bench.config.boot.join("init.xz")).unwrap();
    let script = bench.get(ip(1), &path).await.1;
    assert!(
        script.contains("init.xz is missing") && script.ends_with("exit\n"),
        "{script}"
    );
}

/// The same task in the language of GRUB. The kernel would look for `initrd=` where GRUB has no files.
#[tokio::test]
async fn grub_boots_the_same_task() {
    let bench = bench().await;
    let body = format!("mac0={}&arch=x86_64", mac(1));
    let script = bench.post(ip(1), "grub/boot.php", body.clone()).await;
    assert!(script.starts_with("echo 'LAB-01: no task"), "{script}");
    bench.deploy(&[1]).await;
    let ipxe = bench.post(ip(1), "ipxe/boot.php", body.clone()).await;
    let grub = bench.post(ip(1), "grub/boot.php", body).await;
    let arguments = |script: &str| {
        let line = script
            .lines()
            .find(|line| line.contains("/bzImage ") || line.contains(" bzImage "));
        let (_, arguments) = line.unwrap().split_once("bzImage ").unwrap();
        arguments.to_owned()
    };
    assert_eq!(
        arguments(&ipxe).replace(" initrd=init.xz", ""),
        arguments(&grub)
    );
    assert!(
        grub.contains("\ninitrd /fog/service/ipxe/init.xz\nboot\n"),
        "{grub}"
    );
}

/// FOG's database takes any text. Changed on its way it could name another disk.
#[tokio::test]
async fn a_disk_name_that_cannot_be_passed_on_boots_nothing() {
    let bench = bench().await;
    bench.deploy(&[1]).await;
    bench
        .sql("UPDATE hosts SET hostDevice = 'WD$10' WHERE hostName = 'LAB-01'")
        .await;
    // The hosts are read anew.
    bench.add_host(9).await;
    let script = bench.boot(1).await;
    assert!(!script.contains("kernel bzImage"), "{script}");
    assert!(script.contains("hostDevice"), "{script}");
    bench
        .sql("UPDATE hosts SET hostDevice = 'WD 10' WHERE hostName = 'LAB-01'")
        .await;
    bench.add_host(8).await;
    let script = bench.boot(1).await;
    assert!(script.contains(" fdrive=WD+_+10 "), "{script}");
}

#[tokio::test]
async fn each_machine_has_a_ticket_of_its_own() {
    let bench = bench().await;
    bench.deploy(&[1, 2]).await;
    let first = ticket(&bench.boot(1).await);
    assert_ne!(first, ticket(&bench.boot(2).await));
    let body = format!("mac0={}", mac(1));
    let elsewhere = bench.post(ip(7), "ipxe/boot.php", body).await;
    assert_ne!(first, ticket(&elsewhere));
}

#[tokio::test]
async fn machines_without_a_task_boot_from_their_disk() {
    let bench = bench().await;
    let script = bench.boot(1).await;
    assert!(
        script.contains("LAB-01") && script.ends_with("exit\n"),
        "{script}"
    );
    let script = bench.boot(9).await;
    assert!(
        script.contains("fos-server host add NAME 00:1b:21:00:00:09"),
        "{script}"
    );
    assert!(script.ends_with("sleep 15\nexit\n"), "{script}");
    for nonsense in ["mac0=nonsense", "", "mac0=ff:ff:ff:ff:ff:ff", "\u{fffd}"] {
        let script = bench.post(ip(9), "ipxe/boot.php", nonsense).await;
        assert!(
            script.starts_with("#!ipxe\n") && script.ends_with("exit\n"),
            "{script}"
        );
    }
}

#[tokio::test]
async fn a_host_whose_part_is_over_boots_from_its_disk_though_its_session_goes_on() {
    let bench = bench().await;
    let id = bench.deploy(&[1, 2]).await;
    bench.check_in(1).await;
    bench.fail(1, "no%20disk").await;
    let script = bench.boot(1).await;
    assert!(script.contains("no disk"), "{script}");
    assert!(!script.contains("kernel bzImage"), "{script}");
    assert!(bench.boot(2).await.contains("kernel bzImage"));
    assert!(bench.session(id).await.state.is_active());
}

/// The questions of a script that asks again, in their order.
fn questions(script: &str) -> Vec<String> {
    let asked = script.lines().filter_map(|line| {
        let path = line.strip_prefix("chain --replace ")?.strip_suffix(" ||")?;
        Some(format!("/fog/service/ipxe/{path}"))
    });
    asked.collect()
}

#[tokio::test]
async fn a_machine_that_boots_while_the_database_fails_asks_again_for_some_minutes() {
    let bench = bench().await;
    bench.deploy(&[1]).await;
    bench.faults.fail();
    let body = format!("mac0={}&arch=i386%26%7c%7c%20shell", mac(1));
    let script = bench.post(ip(1), "ipxe/boot.php", body).await;
    assert!(script.contains("database"), "{script}");
    let asked = questions(&script);
    assert!(asked.len() > 10, "{script}");
    assert!(
        asked[0].ends_with("&arch=i386shell&tries=1"),
        "{}",
        asked[0]
    );
    let sleeps = script.lines().filter(|line| *line == "sleep 5").count();
    assert_eq!(sleeps, asked.len());
    // Each answer has fewer questions left, and the last one boots the local disk.
    let (_, next) = bench.get(ip(1), &asked[0]).await;
    assert_eq!(questions(&next), asked[1..]);
    let (_, last) = bench.get(ip(1), asked.last().unwrap()).await;
    assert!(questions(&last).is_empty(), "{last}");
    for script in [&script, &last] {
        assert!(script.ends_with("sleep 15\nexit\n"), "{script}");
    }
    bench.faults.release();
    let body = format!("mac0={}", mac(1));
    let path = questions(&script)[1].replace("i386shell", "x86_64");
    let script = bench.get(ip(1), &path).await.1;
    assert_eq!(script, bench.post(ip(1), "ipxe/boot.php", body).await);
    assert!(script.contains("kernel bzImage"), "{script}");
}

/// A boot loader that hears no script boots the local disk: a database that holds one machine must not
/// hold the others for longer than they ask.
#[tokio::test]
async fn machines_do_not_wait_in_line_behind_one_whose_ticket_is_not_stored() {
    let bench = bench().await;
    bench.add_host(3).await;
    bench.deploy(&[1, 2, 3]).await;
    let known = bench.boot(1).await;
    bench.faults.hang_at("hand_out");
    let held = bench.boot(2);
    let others = async {
        while bench.faults.calls("hand_out") < 2 {
            tokio::task::yield_now().await;
        }
        // It has its ticket already.
        assert_eq!(bench.boot(1).await, known);
        let script = bench.boot(3).await;
        assert!(script.contains("database"), "{script}");
        assert!(!questions(&script).is_empty(), "{script}");
        bench.faults.release();
    };
    let (held, ()) = tokio::join!(held, others);
    assert!(held.contains("kernel bzImage"), "{held}");
}

#[tokio::test]
async fn a_machine_that_boots_while_the_server_ends_asks_again() {
    let bench = bench().await;
    bench.deploy(&[1]).await;
    bench.ops.sessions().shut_down().await;
    let script = bench.boot(1).await;
    assert!(script.contains("shutting down"), "{script}");
    assert!(!questions(&script).is_empty(), "{script}");
}

#[tokio::test]
async fn an_odd_setting_keeps_no_machine_from_booting() {
    let bench = bench().await;
    bench.deploy(&[1]).await;
    bench
        .sql(
            "INSERT INTO globalSettings (settingKey, settingValue) \
             VALUES ('FOG_UDPCAST_MAXWAIT', 'many')",
        )
        .await;
    let script = bench.boot(1).await;
    assert!(script.contains("kernel bzImage"), "{script}");
    assert!(script.contains(" hostearly=1 "), "{script}");
}

/// Each look at a directory that hangs holds a thread: as many of them as there are places, no more.
#[tokio::test]
async fn a_boot_directory_that_hangs_holds_no_more_threads_than_there_are_places() {
    let places = std::sync::Arc::new(tokio::sync::Semaphore::new(1));
    let (release, hangs) = std::sync::mpsc::channel::<()>();
    // Asked once: it has begun, or waits for a place.
    let once = std::time::Duration::ZERO;
    let hang = move || hangs.recv().is_ok();
    let mut first = Box::pin(crate::ops::blocking(&places, hang));
    assert!(tokio::time::timeout(once, &mut first).await.is_err());
    // Whoever waited for it is gone, the thread is not.
    drop(first);
    let work = || panic!("no place is free");
    let next = crate::ops::blocking(&places, work);
    assert!(tokio::time::timeout(once, next).await.is_err());
    drop(release);
    let work = || 1;
    assert_eq!(crate::ops::blocking(&places, work).await.unwrap(), 1);
}
