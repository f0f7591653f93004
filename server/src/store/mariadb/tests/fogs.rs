//! FOG's own database: what is left alone, what FOG reads, what FOG's programs do meanwhile.

use std::time::Duration;

use fog::task::{State, TASK_TYPE_MULTICAST};
use sqlx::Executor as _;

use super::conformance::operations::{GROWING, World, run};
use super::conformance::{NOW, at, checked_in, member_ended, session_of};
use super::*;
use crate::domain::session::Fact;
use crate::domain::unicast::{Machine, UnicastFact};
use crate::domain::{HostId, NodeId, Reason, SessionId};
use crate::store::{Change, Conflict, Found, UnicastQuery};

/// What FOG's installer leaves.
const INSTALLED: &str = "
    INSERT INTO nfsGroups VALUES (1, 'default', 'Auto generated fog nfs group');
    INSERT INTO nfsGroupMembers (ngmID, ngmMemberName, ngmMemberDescription, ngmIsMasterNode, ngmGroupID,
        ngmRootPath, ngmSSLPath, ngmFTPPath, ngmSnapinPath, ngmIsEnabled, ngmHostname, ngmMaxClients,
        ngmBandwidthLimit, ngmUser, ngmPass, ngmKey, ngmInterface, ngmWebroot)
        VALUES (1, 'DefaultMember', '', '1', 1, '/images', '', '/images/', '', '1', '198.51.100.5', 10, 0,
        'fogproject', 'secret', '', 'eth0', '/fog/');
    INSERT INTO globalSettings (settingKey, settingDesc, settingValue, settingCategory)
        VALUES ('FOG_UDPCAST_STARTINGPORT', '', '61866', ''), ('FOG_UDPCAST_MAXWAIT', '', '7', '')";

/// The definitions of FOG's tables.
async fn definitions(server: &Server, database: &str) -> Vec<String> {
    let mut admin = server.admin().await;
    let sql = format!(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = '{database}' \
         AND table_name NOT LIKE 'fos\\_%' ORDER BY table_name"
    );
    let tables: Vec<String> = sqlx::query_scalar(&sql)
        .fetch_all(&mut admin)
        .await
        .unwrap();
    let mut all = Vec::new();
    for table in tables {
        let sql = format!("SHOW CREATE TABLE {database}.{table}");
        let (_, text): (String, String) = sqlx::query_as(&sql).fetch_one(&mut admin).await.unwrap();
        // The next number is no part of the definition.
        let words = text
            .split(' ')
            .filter(|word| !word.starts_with("AUTO_INCREMENT="));
        all.push(words.collect::<Vec<_>>().join(" "));
    }
    all
}

#[tokio::test]
async fn fogs_tables_are_never_altered() {
    let Some(server) = server() else { return };
    let location = server.fogs(INSTALLED).await;
    let before = definitions(&server, location.database()).await;
    assert_eq!(before.len(), 21);
    let store = open(&location, None).await.unwrap();
    let own = "SELECT CONCAT( \
        (SELECT GROUP_CONCAT(settingKey, settingValue ORDER BY settingID) FROM globalSettings), \
        (SELECT GROUP_CONCAT(ngmMemberName, ngmRootPath, ngmInterface) FROM nfsGroupMembers), \
        (SELECT GROUP_CONCAT(vValue) FROM schemaVersion))";
    let settings = store.text(own).await;
    assert_eq!(
        store.image_root().await.unwrap().as_deref(),
        Some("/images")
    );
    let world = World::new(&store, 2).await;
    for operation in GROWING {
        run(&store, &world, operation, 1).await.unwrap();
    }
    assert_eq!(store.text(own).await, settings);
    let root = store.image_root().await.unwrap().unwrap();
    assert!(root.starts_with("1xxx"), "it is kept beside FOG's");
    let path = "SELECT ngmRootPath FROM nfsGroupMembers";
    assert_eq!(store.text(path).await, "/images");
    assert_eq!(definitions(&server, location.database()).await, before);
    let strangers = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() \
        AND table_name LIKE 'fos\\_%' AND engine <> 'InnoDB'";
    assert_eq!(store.number(strangers).await, 0);
}

#[tokio::test]
async fn fogs_rows_say_what_fog_expects() {
    let Some(server) = server() else { return };
    let store = in_fogs(&server, INSTALLED).await;
    let settings = store.settings().await.unwrap().multicast;
    assert_eq!(
        (settings.starting_port, settings.max_wait.as_secs()),
        (61866, 420)
    );
    let (id, image, hosts) = session_of(&store, 2).await;
    // Berlin is two hours ahead in September.
    let local = |seconds: i64| at(seconds + 7200).to_string();
    let session = "SELECT CONCAT_WS('|', msName, msBasePort, msLogPath, msImage, msClients, msSessClients, \
        msStartDateTime, msPercent, msState, msCompleteDateTime, msIsDD, msNFSGroupID) FROM multicastSessions";
    let zero = "0000-00-00 00:00:00";
    assert_eq!(
        store.text(session).await,
        format!("lab|63100|win-dir|{image}|0|0|{}|0|0|{zero}|1|1", local(0))
    );
    let tasks = "SELECT GROUP_CONCAT(CONCAT_WS('|', taskHostID, taskStateID, taskTypeID, taskCheckIn, \
        taskForce, taskPCT + 0, taskWOL) ORDER BY taskID) FROM tasks";
    assert_eq!(
        store.text(tasks).await,
        format!("1|1|{TASK_TYPE_MULTICAST}|{zero}||0|0,2|1|{TASK_TYPE_MULTICAST}|{zero}||0|0")
    );
    let group =
        "SELECT CONCAT_WS('|', igaImageID, igaStorageGroupID, igaPrimary) FROM imageGroupAssoc";
    assert_eq!(store.text(group).await, format!("{image}|1|1"));
    let failure = Reason::ClientFailed {
        text: "bad disk".into(),
        before: None,
    };
    let facts = vec![
        checked_in(hosts[0], 7, 1),
        checked_in(hosts[1], 8, 2),
        member_ended(hosts[0], State::Complete, Reason::Written),
        member_ended(hosts[1], State::Failed, failure.clone()),
    ];
    assert_eq!(store.apply(at(1), id, facts).await.unwrap(), []);
    // This step of FOG knows no failed tasks.
    assert_eq!(
        store.text(tasks).await,
        format!("1|4|8|{}||100|0,2|5|8|{}||0|0", local(1), local(1))
    );
    let deploy =
        "SELECT CONCAT_WS('|', CAST(hostLastDeploy AS CHAR), hostIP) FROM hosts WHERE hostID = 1";
    assert_eq!(store.text(deploy).await, format!("{}|10.0.0.7", local(1)));
    // A point in time, whatever the clock of the database shows.
    let created = "SELECT CONCAT(UNIX_TIMESTAMP(createTime)) FROM taskLog LIMIT 1";
    assert_eq!(store.text(created).await, at(1).0.to_string());
    // FOG 1.5 has a log of its own, in which failures stay unfinished.
    let log = "SELECT GROUP_CONCAT(CONCAT_WS('|', ilHostID, ilStartTime, ilFinishTime, ilImageName, ilType) \
        ORDER BY ilHostID) FROM imagingLog";
    assert_eq!(
        store.text(log).await,
        format!("1|{0}|{0}|win|down,2|{0}|{zero}|win|down", local(1))
    );
    let ended = Fact::Ended {
        state: State::Failed,
        reason: failure,
    };
    assert_eq!(store.apply(at(2), id, vec![ended]).await.unwrap(), []);
    assert_eq!(
        store.text(session).await,
        format!(
            "|63100|win-dir|{image}|0|0|{}|100|5|{}|1|1",
            local(0),
            local(2)
        )
    );
    assert_eq!(
        store
            .number("SELECT COUNT(*) FROM multicastSessionsAssoc")
            .await,
        0
    );
    let ended = store.session(id).await.unwrap().unwrap();
    assert_eq!((ended.state, ended.name.as_str()), (State::Failed, "lab"));
    assert_eq!((ended.created_at, ended.ended_at), (NOW, Some(at(2))));
    assert_eq!(ended.members[1].state, State::Failed);
    assert_eq!(ended.members[1].checked_in_at, Some(at(1)));
}

#[tokio::test]
async fn texts_are_made_to_fit_fogs_columns() {
    let Some(server) = server() else { return };
    let store = in_fogs(&server, "").await;
    let (_, image, _) = session_of(&store, 1).await;
    let host = store.add_host(NOW, conformance::new_host(9)).await.unwrap();
    let mut new = conformance::new_session(image, &[host], 63200);
    new.name = format!("Raum 😀 {}", "ß".repeat(300));
    let id = store.create_session(NOW, new.clone()).await.unwrap();
    let name = "SELECT msName FROM multicastSessions ORDER BY msID DESC LIMIT 1";
    let stored = store.text(name).await;
    assert!(stored.starts_with("Raum \u{fffd} ß"), "{stored}");
    assert_eq!(stored.chars().count(), 250);
    let session = store.session(id).await.unwrap().unwrap();
    assert!(session.name.starts_with("Raum \u{fffd} ß"));
}

/// A session as FOG's web page makes it for a group.
const BY_FOGS_PAGE: &str = "
    INSERT INTO multicastSessions (msName, msBasePort, msLogPath, msImage, msClients, msSessClients, msInterface,
        msStartDateTime, msPercent, msState, msCompleteDateTime, msIsDD, msNFSGroupID, msAnon3, msAnon4, msAnon5)
        VALUES ('Room', 61866, 'win-dir', '1', 0, 0, 'eth0', '2026-07-01 14:00:00', 0, 0,
        '0000-00-00 00:00:00', 1, 1, '', '', '')";

/// Those of FOG's types 1, 2, 15 and 17 are served as ours are; of others nothing is known here.
#[tokio::test]
async fn tasks_that_fogs_page_makes_for_one_host_are_served() {
    let Some(server) = server() else { return };
    let location = server.fogs(INSTALLED).await;
    let store = open(&location, None).await.unwrap();
    session_of(&store, 2).await;
    for kind in [1, 2, 8, 15, 17] {
        let of_kind = ITS_TASKS.replace(", 8, 0, ", &format!(", {kind}, 0, "));
        let of_kind = of_kind.replace("hostID <= 2", "hostID = 1");
        fogs_page(&server, location.database(), &[&of_kind]).await;
    }
    let found = store.unicast(UnicastQuery::Active).await.unwrap();
    let debug: Vec<bool> = found.iter().map(|task| task.is_debug).collect();
    assert_eq!(debug, [false, false, true, false]);
    let task = &found[0];
    assert_eq!(
        (task.host, task.node, task.state),
        (HostId(1), NodeId(1), State::Queued)
    );
    assert!(task.is_shutdown && !task.is_forced && task.machine.is_none());
    let rules = store.queue_rules().await.unwrap();
    assert_eq!(rules.slots, [(NodeId(1), 10)].into());
    assert_eq!(rules.timeout, Duration::from_secs(600));
    let sql = "INSERT INTO globalSettings (settingKey, settingDesc, settingValue, settingCategory) \
        VALUES ('FOG_CHECKIN_TIMEOUT', '', '60', '')";
    store.raw(sql).await;
    let rules = store.queue_rules().await.unwrap();
    assert_eq!(rules.timeout, Duration::from_secs(180));

    let machine = Machine {
        address: [10, 0, 0, 7].into(),
        ticket: None,
        client: "".into(),
    };
    let facts = vec![
        (
            task.id,
            UnicastFact::Entered {
                place: 1,
                machine: machine.clone(),
            },
        ),
        (task.id, UnicastFact::Went { machine }),
    ];
    assert_eq!(store.apply_unicast(at(1), facts).await.unwrap(), []);
    let states = format!("SELECT taskStateID FROM tasks WHERE taskID = {}", task.id);
    assert_eq!(store.number(&states).await, 3);
    // This step of FOG knows no failed tasks.
    let reason = Reason::ClientFailed {
        text: "no disk".into(),
        before: None,
    };
    let failed = UnicastFact::Ended {
        state: State::Failed,
        reason: reason.clone(),
    };
    let stored = store.apply_unicast(at(2), vec![(task.id, failed)]).await;
    assert_eq!(stored.unwrap(), []);
    assert_eq!(store.number(&states).await, 5);
    let found = store.unicast(UnicastQuery::One(task.id)).await.unwrap();
    assert_eq!(
        (found[0].state, &found[0].reason),
        (State::Failed, &Some(reason))
    );

    // FOG's wiki: the numbers begin anew, and nothing of the old tasks is known of the new ones.
    let anew = ITS_TASKS.replace(", 8, 0, ", ", 1, 0, ");
    let later = "UPDATE tasks SET taskCreateTime = '2030-01-01 00:00:00'";
    let mut sql = vec!["TRUNCATE tasks"];
    sql.extend(std::iter::repeat_n(anew.as_str(), 9));
    sql.push(later);
    fogs_page(&server, location.database(), &sql).await;
    let again = store.unicast(UnicastQuery::One(task.id)).await.unwrap();
    assert_eq!((again[0].state, &again[0].machine), (State::Queued, &None));
}

/// Its tasks, for the hosts 1 and 2.
const ITS_TASKS: &str = "
    INSERT INTO tasks (taskName, taskCheckIn, taskHostID, taskImageID, taskStateID, taskIsDebug, taskCreateBy,
        taskForce, taskScheduledStartTime, taskTypeID, taskPCT, taskBPM, taskTimeElapsed, taskTimeRemaining,
        taskDataCopied, taskPercentText, taskDataTotal, taskNFSGroupID, taskNFSMemberID, taskNFSFailures,
        taskLastMemberID, taskWOL, taskPassreset, taskShutdown)
        SELECT 'Room', '0000-00-00 00:00:00', hostID, 1, 1, 0, 'fog', '0', '0000-00-00 00:00:00', 8, 0, '', '',
        '', '', '', '', 1, 1, '', 0, '', '', '1' FROM hosts WHERE hostID <= 2";

/// What joins them.
const ITS_ASSOCIATIONS: &str = "
    INSERT INTO multicastSessionsAssoc (msID, tID) SELECT (SELECT MAX(msID) FROM multicastSessions), taskID
        FROM tasks WHERE taskStateID = 1 AND taskTypeID = 8";

/// FOG's own programs, which work without strictness.
async fn fogs_page(server: &Server, database: &str, sql: &[&str]) {
    let mut page = server.admin().await;
    let begin = format!("USE {database}; SET sql_mode = ''");
    for sql in std::iter::once(begin.as_str()).chain(sql.iter().copied()) {
        page.execute(sqlx::raw_sql(sql)).await.unwrap();
    }
}

#[tokio::test]
async fn a_session_that_fogs_page_has_made_goes_its_way() {
    let Some(server) = server() else { return };
    let location = server.fogs(INSTALLED).await;
    let store = open(&location, None).await.unwrap();
    let world = World::new(&store, 2).await;
    let over = Fact::Ended {
        state: State::Cancelled,
        reason: Reason::SessionCancelled,
    };
    store.apply(at(0), world.session, vec![over]).await.unwrap();
    let id = SessionId(world.session.0 + 1);
    // It takes the page a moment, which is no reason to end what it is making.
    for (sql, active) in [
        (BY_FOGS_PAGE, &[][..]),
        (ITS_TASKS, &[]),
        (ITS_ASSOCIATIONS, &[id]),
    ] {
        fogs_page(&server, location.database(), &[sql]).await;
        assert_eq!(store.active_sessions().await.unwrap(), active);
    }
    let session = store.session(id).await.unwrap().unwrap();
    assert_eq!((session.name.as_str(), session.state), ("Room", State::New));
    assert_eq!(session.created_at.to_string(), "2026-07-01 12:00:00");
    // FOG's setting, in minutes; the box of the task page.
    assert_eq!(session.max_wait, Duration::from_secs(7 * 60));
    assert!(session.is_shutdown && !session.is_debug);
    let hosts: Vec<HostId> = session.members.iter().map(|member| member.host).collect();
    assert_eq!(hosts, world.hosts);
    let facts = vec![
        checked_in(hosts[0], 1, 1),
        checked_in(hosts[1], 2, 2),
        member_ended(hosts[0], State::Complete, Reason::Written),
        member_ended(hosts[1], State::Complete, Reason::Written),
        Fact::Ended {
            state: State::Complete,
            reason: Reason::Written,
        },
    ];
    assert_eq!(store.apply(at(1), id, facts).await.unwrap(), []);
    let session = store.session(id).await.unwrap().unwrap();
    assert_eq!(
        (session.name.as_str(), session.state),
        ("Room", State::Complete)
    );
    assert_eq!(store.last_session(hosts[0]).await.unwrap(), Some(session));
}

/// FOG's wiki: what people run when something hangs.
#[tokio::test]
async fn the_wikis_cure_is_understood_while_sessions_run() {
    let Some(server) = server() else { return };
    let location = server.fogs(INSTALLED).await;
    let store = open(&location, None).await.unwrap();
    let (id, image, hosts) = session_of(&store, 2).await;
    let facts = vec![checked_in(hosts[0], 1, 1)];
    assert_eq!(store.apply(at(1), id, facts).await.unwrap(), []);
    let cure = [
        "TRUNCATE TABLE multicastSessions",
        "TRUNCATE TABLE multicastSessionsAssoc",
        "DELETE FROM tasks WHERE taskTypeID = 8",
    ];
    fogs_page(&server, location.database(), &cure).await;
    assert_eq!(store.session(id).await.unwrap(), None);
    assert!(store.active_sessions().await.unwrap().is_empty());
    assert!(store.held_ports().await.unwrap().is_empty());
    let facts = vec![checked_in(hosts[1], 2, 2)];
    let gone = Conflict {
        fact: 0,
        found: Found::Session(None),
    };
    assert_eq!(store.apply(at(2), id, facts).await.unwrap(), [gone]);
    for host in &hosts {
        assert_eq!(store.active_task(*host).await.unwrap(), None);
        assert_eq!(store.last_session(*host).await.unwrap(), None);
    }

    // FOG's numbers begin anew: what is ours of the former session is not taken for that of the new one.
    let page = [BY_FOGS_PAGE, ITS_TASKS, ITS_ASSOCIATIONS];
    fogs_page(&server, location.database(), &page).await;
    let fogs = store.session(id).await.unwrap().unwrap();
    assert_eq!((fogs.name.as_str(), fogs.reason), ("Room", None));
    assert!(fogs.members.iter().all(|member| member.address.is_none()));
    let facts = vec![checked_in(hosts[1], 2, 1)];
    assert_eq!(store.apply(at(3), id, facts).await.unwrap(), []);
    let fogs = store.session(id).await.unwrap().unwrap();
    let addresses: Vec<bool> = fogs
        .members
        .iter()
        .map(|member| member.address.is_some())
        .collect();
    assert_eq!(addresses, [false, true]);
    assert_eq!(store.events(id, 0, 99).await.unwrap().len(), 1);

    fogs_page(&server, location.database(), &cure).await;
    let new = conformance::new_session(image, &hosts, 63100);
    assert_eq!(store.create_session(at(4), new).await.unwrap(), id);
    let own = store.session(id).await.unwrap().unwrap();
    assert_eq!((own.name.as_str(), own.created_at), ("lab", at(4)));
    assert!(own.members.iter().all(|member| member.address.is_none()));
    assert_eq!(store.events(id, 0, 99).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_fogs_page_changes_meanwhile_is_a_conflict() {
    let Some(server) = server() else { return };
    let location = server.fogs(INSTALLED).await;
    let store = open(&location, None).await.unwrap();
    let (id, _, hosts) = session_of(&store, 2).await;
    let page = ["UPDATE tasks SET taskStateID = 5 WHERE taskHostID = 1"];
    fogs_page(&server, location.database(), &page).await;
    let facts = vec![checked_in(hosts[0], 1, 1), checked_in(hosts[1], 2, 1)];
    let cancelled = Conflict {
        fact: 0,
        found: Found::Task(Some(State::Cancelled)),
    };
    assert_eq!(store.apply(at(1), id, facts).await.unwrap(), [cancelled]);
    let page = ["UPDATE multicastSessions SET msState = 5, msName = ''"];
    fogs_page(&server, location.database(), &page).await;
    let ended = Fact::Ended {
        state: State::Complete,
        reason: Reason::Written,
    };
    let cancelled = Conflict {
        fact: 0,
        found: Found::Session(Some(State::Cancelled)),
    };
    assert_eq!(
        store.apply(at(2), id, vec![ended]).await.unwrap(),
        [cancelled]
    );
}

#[tokio::test]
async fn what_fogs_page_changes_is_told() {
    let Some(server) = server() else { return };
    let location = server.fogs(INSTALLED).await;
    let store = open(&location, None).await.unwrap();
    let (_, _, hosts) = session_of(&store, 2).await;
    let look = || watch::look(&store.engine);
    let before = look().await.unwrap();
    assert_eq!(before.changes(&look().await.unwrap()), []);
    for (sql, told) in [
        (
            "UPDATE hosts SET hostName = 'x' WHERE hostID = 1",
            vec![Change::Hosts],
        ),
        (
            "UPDATE hostMAC SET hmMAC = '00:00:00:00:00:01' WHERE hmID = 1",
            vec![Change::Hosts],
        ),
        // What a deploy changes matters to nobody else.
        ("UPDATE hosts SET hostIP = 'x'", vec![]),
        (BY_FOGS_PAGE, vec![]),
        (
            "INSERT INTO multicastSessionsAssoc (msID, tID) VALUES (2, 1)",
            vec![Change::Foreign(SessionId(2))],
        ),
        (
            "UPDATE multicastSessions SET msState = 5",
            vec![Change::Foreign(SessionId(1)), Change::Foreign(SessionId(2))],
        ),
    ] {
        let before = look().await.unwrap();
        fogs_page(&server, location.database(), &[sql]).await;
        assert_eq!(before.changes(&look().await.unwrap()), told, "{sql}");
    }
    assert_eq!(hosts.len(), 2);
}

/// Whoever made it pending: FOG's client, or this program.
#[tokio::test]
async fn fogs_pending_hosts_are_accepted_and_not_forgotten_with_all_others() {
    let Some(server) = server() else { return };
    let pending = "INSERT INTO hosts (hostID, hostName, hostDesc, hostIP, hostImage, hostBuilding, hostLastDeploy, \
        hostCreateBy, hostUseAD, hostADDomain, hostADOU, hostADUser, hostADPass, hostADPassLegacy, hostPrinterLevel, \
        hostKernelArgs, hostKernel, hostDevice, hostPending, hostPubKey, hostSecToken, hostSecTime) \
        VALUES (7, 'FRESH', 'Pending Registration', '', 0, 0, 0, 'fog', '', '', '', '', '', '', '', 'x=1', '', '', '1', \
        '', '', 0); \
        INSERT INTO hostMAC (hmHostID, hmMAC, hmDesc, hmPrimary, hmPending, hmIgnoreClient, hmIgnoreImaging) \
        VALUES (7, '00:1B:21:00:00:07', '', '1', '', '', ''), (7, '00:1b:21:00:00:08', '', '', '', '', '')";
    let store = in_fogs(&server, pending).await;
    let number = |last| crate::domain::host::StationMac::try_from(conformance::mac(last)).unwrap();
    let address = std::net::IpAddr::from([10, 0, 0, 1]);
    let about = crate::domain::host::About::default;
    let wish = |last| store.wish(NOW, number(last), address, about());
    assert_eq!(wish(7).await.unwrap(), crate::domain::host::Wish::Known);
    assert_eq!(wish(9).await.unwrap(), crate::domain::host::Wish::Kept);
    let names = |hosts: Vec<crate::domain::host::PendingHost>| -> Vec<String> {
        hosts.into_iter().map(|host| host.name).collect()
    };
    assert_eq!(
        names(store.pending_hosts().await.unwrap()),
        ["FRESH", "001b21000009"]
    );
    assert_eq!(store.forget_pending(None).await.unwrap(), 1);
    assert_eq!(names(store.pending_hosts().await.unwrap()), ["FRESH"]);

    let mut new = conformance::new_host(7);
    new.name = "LAB-07".parse().unwrap();
    let id = store.add_host(at(1), new).await.unwrap();
    assert_eq!(id.0, 7);
    let (hosts, broken) = store.hosts().await.unwrap();
    assert_eq!(broken, []);
    // What FOG knows of it stays: the other card, and its kernel arguments.
    assert_eq!(
        (hosts[0].macs.len(), hosts[0].kernel_args.as_str()),
        (2, "x=1")
    );
    assert_eq!(hosts[0].macs[0], conformance::mac(7));
    let flag = "SELECT CONCAT(hostPending, hostName) FROM hosts WHERE hostID = 7";
    assert_eq!(store.text(flag).await, "0LAB-07");
}
