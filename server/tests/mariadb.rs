//! The server beside a FOG, on FOG's own database.

mod harness;
#[path = "harness/mariadb.rs"]
mod mariadb;

use std::process::Command;

use harness::{Server, mac, name, skip, text, wait_until};
use mariadb::Process;

/// FOG's database with the user that FOG's installer makes.
fn fogs() -> Option<Process> {
    if !mariadb::is_installed() {
        skip("mariadb-server-core is not installed");
        return None;
    }
    let process = Process::new();
    let user = format!(
        "CREATE DATABASE fog; CREATE USER fogmaster@localhost IDENTIFIED BY '{PASSWORD}'; \
         GRANT ALL ON fog.* TO fogmaster@localhost; USE fog; {}{};",
        mariadb::FOG_268,
        mariadb::FOG_268_ROWS
    );
    sql(&process, &user);
    Some(process)
}

/// As they come out of generators.
const PASSWORD: &str = "p@ss:w/rd $1";

/// Runs statements as MariaDB's own client does; answers their rows.
#[expect(clippy::unwrap_used, reason = "a test may fail")]
#[track_caller]
fn sql(process: &Process, sql: &str) -> String {
    let mut client = Command::new("mariadb");
    client.args(["--no-defaults", "-u", "root", "-N", "-B", "-S"]);
    client.arg(process.socket()).args(["-e", sql]);
    let output = client.output().unwrap();
    assert!(output.status.success(), "{sql}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn url(process: &Process, user: &str) -> String {
    let socket = process.socket();
    format!("mysql://{user}@localhost/fog?socket={}", socket.display())
}

const FOG: &str = "FOS_SERVER_DATABASE";
const SECRET: &str = "FOS_DATABASE_PASSWORD";

#[test]
fn a_session_is_kept_in_fogs_database_and_outlives_the_server() {
    let Some(process) = fogs() else { return };
    let mut server = Server::new();
    server.environment = vec![
        (FOG, url(&process, "fogmaster")),
        (SECRET, PASSWORD.to_owned()),
    ];
    // Without a server the commands use the database themselves.
    server.good(&["image", "add", "lab"]);
    for host in [1, 2] {
        server.good(&["host", "add", &name(host), &mac(host)]);
    }
    let hosts = "SELECT hostName, hmMAC FROM fog.hosts JOIN fog.hostMAC ON hmHostID = hostID ORDER BY hostID";
    let expected = format!("{}\t{}\n{}\t{}\n", name(1), mac(1), name(2), mac(2));
    assert_eq!(sql(&process, hosts), expected);

    let running = server.serve();
    assert_eq!(server.good(&["deploy", "lab", &name(1), &name(2)]), "1\n");
    assert_eq!(server.check_in(1).1, "##@GO");
    let tasks = "SELECT taskStateID, taskTypeID, taskCheckIn > 0 FROM fog.tasks ORDER BY taskID";
    assert_eq!(sql(&process, tasks), "3\t8\t1\n1\t8\t0\n");

    // As if the machine had crashed.
    drop(running);
    let running = server.serve();
    let status = server.status();
    assert_eq!(status["sessions"][0]["session"], 1);
    assert_eq!(status["sessions"][0]["checked_in"], 1);

    // The page of FOG registers a machine: the server knows it soon.
    let page = format!(
        "USE fog; SET sql_mode = ''; INSERT INTO hosts (hostName, hostImage) VALUES ('{}', 1); \
         INSERT INTO hostMAC (hmHostID, hmMAC, hmPrimary) VALUES (LAST_INSERT_ID(), '{}', '1')",
        name(3),
        mac(3)
    );
    sql(&process, &page);
    wait_until("the server knows the host", || {
        let deploy = server.run(&["deploy", "lab", &name(3)]);
        assert!(deploy.status.success() || text(&deploy.stderr).contains("there is no host"));
        deploy.status.success()
    });
    assert_eq!(server.check_in(3).1, "##@GO");

    // FOG's wiki, when something hangs.
    let cure = "USE fog; TRUNCATE TABLE multicastSessions; TRUNCATE TABLE multicastSessionsAssoc; \
        DELETE FROM tasks WHERE taskTypeID = 8";
    sql(&process, cure);
    wait_until("no session is left", || {
        let sessions = server.status()["sessions"].clone();
        sessions.as_array().is_none_or(Vec::is_empty)
    });
    assert_eq!(server.good(&["deploy", "lab", &name(1)]), "1\n");
    assert_eq!(server.check_in(1).1, "##@GO");
    running.end();
    assert!(!server.data().join("fos.sqlite-wal").exists());
}

#[test]
fn the_database_is_found_by_fogs_configuration_and_kept_for_later_commands() {
    let Some(process) = fogs() else { return };
    let mut server = Server::new();
    let settings = process.dir().join(".fogsettings");
    let of_fog = "snmysqluser='fogmaster'\nsnmysqlpass='no'\nsnmysqlhost='127.0.0.1:1'\n";
    std::fs::write(&settings, of_fog).unwrap();
    let location = url(&process, "fogmaster");
    let password = process.dir().join("password");
    std::fs::write(&password, format!("{PASSWORD}\n")).unwrap();
    let options = [
        "--database",
        &location,
        "--database-password-file",
        password.to_str().unwrap(),
    ];
    let running = server.serve_with(&options);
    server.good(&["host", "add", &name(1), &mac(1)]);
    running.end();
    // No server runs, and nobody names the database.
    assert!(server.good(&["host", "list"]).contains(&name(1)));
    assert_eq!(
        sql(&process, "SELECT hostName FROM fog.hosts"),
        name(1) + "\n"
    );

    std::fs::write(&password, "wrong\n").unwrap();
    let told = server.bad(&["host", "list"]);
    assert!(
        told.contains("Access denied for user 'fogmaster'"),
        "{told}"
    );
    assert!(told.contains("--database-password-file"), "{told}");
    assert!(!told.contains("wrong"), "{told}");

    // What is typed with a password is refused, and not repeated.
    let told = server.bad(&["--database", "mysql://u:geheim@h/fog", "host", "list"]);
    assert!(told.contains("does not belong there"), "{told}");
    assert!(!told.contains("geheim"), "{told}");
    let told = server.bad(&["--database", settings.to_str().unwrap(), "host", "list"]);
    assert!(told.contains("127.0.0.1:1, database fog"), "{told}");
    server.environment = vec![(FOG, "mysql://u@127.0.0.1:1/fog".to_owned())];
    let told = server.bad(&["host", "list"]);
    assert!(told.contains("look whether it runs"), "{told}");
}

/// What people do in FOG's page: our server finds it in the database.
#[test]
fn a_session_that_fogs_page_has_made_is_served() {
    let Some(process) = fogs() else { return };
    let mut server = Server::new();
    server.environment = vec![
        (FOG, url(&process, "fogmaster")),
        (SECRET, PASSWORD.to_owned()),
    ];
    let page = |statements: &str| {
        sql(
            &process,
            &format!("USE fog; SET sql_mode = ''; {statements}"),
        )
    };
    page(
        "INSERT INTO images (imageName, imagePath, imageTypeID, imagePartitionTypeID, imageOSID, imageFormat, \
         imageSize) VALUES ('Lab image', 'lab', 2, 1, 50, '3', '123456:')",
    );
    for host in [1, 2] {
        page(&format!(
            "INSERT INTO hosts (hostName, hostImage) VALUES ('{}', 1); \
             INSERT INTO hostMAC (hmHostID, hmMAC, hmPrimary) VALUES (LAST_INSERT_ID(), '{}', '1')",
            name(host),
            mac(host)
        ));
    }
    server.good(&["image", "update", "Lab image"]);
    let captured = page("SELECT imageSize, imageFormat FROM images");
    assert_eq!(captured, "123456:\t3\n", "FOG's own facts stay");

    let running = server.serve();
    page(
        "INSERT INTO multicastSessions (msName, msBasePort, msLogPath, msImage, msStartDateTime, msState, msIsDD, \
         msNFSGroupID) VALUES ('Room', 63150, 'lab', '1', '2026-07-01 14:00:00', 0, 2, 1); \
         INSERT INTO tasks (taskName, taskHostID, taskImageID, taskStateID, taskTypeID, taskNFSGroupID, \
         taskNFSMemberID) SELECT 'Room', hostID, 1, 1, 8, 1, 1 FROM hosts; \
         INSERT INTO multicastSessionsAssoc (msID, tID) SELECT 1, taskID FROM tasks",
    );
    for host in [1, 2] {
        let script = server.post_from(host, "ipxe/boot.php", &format!("mac0={}", mac(host)));
        assert!(script.1.contains("mc=yes"), "{}", script.1);
        wait_until("the session takes the host", || {
            server.check_in(host).1 == "##@GO"
        });
    }
    let tasks =
        "SELECT GROUP_CONCAT(taskStateID), (SELECT msState FROM multicastSessions) FROM tasks";
    assert_eq!(page(tasks), "3,3\t3\n");
    // The page cancels one host: the other one goes on.
    page(
        "UPDATE tasks SET taskStateID = 5 WHERE taskHostID = 1; DELETE FROM multicastSessionsAssoc WHERE tID = 1",
    );
    wait_until("the host is out of the session", || {
        server.status()["sessions"][0]["expected"] == 1
    });
    running.end();
}
