//! `service/ipxe/boot.php`: the job that the server would boot this machine with now.
//!
//! FOG's own servers say nothing of a task over HTTP but this. A machine keeps its kernel arguments while it
//! waits, and the server lets it in for whatever task its host has by then.

use std::time::Duration;

use fog::KernelArgs;

use super::session::{Over, OverKind};
use super::{CallError, Server};

/// Asks for the present job; `None` if there is none, and the boot script is a menu.
///
/// # Errors
/// If no boot script comes.
pub(crate) async fn job(server: &Server) -> Result<Option<KernelArgs>, CallError> {
    let arch = match std::env::consts::ARCH {
        "aarch64" => "arm64",
        other => other,
    };
    let query = [
        ("mac", server.identity().mac.as_str()),
        ("arch", arch),
        ("platform", "pcbios"),
    ];
    let script = server.text(PATH, &query).await?;
    if !script.starts_with("#!ipxe") {
        return Err(CallError::Unexpected {
            url: format!("{}{PATH}", server.web()),
            detail: "it is no boot script".into(),
        });
    }
    Ok(parse(&script))
}

fn parse(script: &str) -> Option<KernelArgs> {
    let lines = script.lines().map(str::trim_start);
    let commands = lines.filter_map(|line| line.strip_prefix("kernel "));
    let is_task = |args: &KernelArgs| args.is_deploy() || args.is_capture();
    commands.map(KernelArgs::parse).find(is_task)
}

/// Why a machine with the job `own` must not do it, if the server has another one for it by now.
pub(crate) fn replaced(own: &KernelArgs, now: &KernelArgs) -> Option<Over> {
    if !own.is_deploy() && !own.is_capture() {
        // Of a machine that booted from USB, which may have lost what it was to do.
        return None;
    }
    let name = DECISIVE.into_iter().find(|name| {
        let (own, now) = (own.value(name), now.value(name));
        // A deploy to this machine alone has neither.
        let is_said = now.is_some() || ["mc", "port"].contains(name);
        is_said && own != now
    })?;
    let shown = |args: &KernelArgs| {
        let value = args.value(name).unwrap_or("nothing");
        fog::encoding::printable(value, 64)
    };
    Some(Over {
        text: format!(
            "the server has another task for this machine by now ({name} is {}, and was {} when it was \
             booted)",
            shown(now),
            shown(own)
        ),
        kind: OverKind::Restart,
        tells_of_disk: false,
    })
}

/// Why a task is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// The server has no task for this machine any more.
    Gone,
    /// It has another one.
    Replaced(Over),
}

impl From<End> for Over {
    fn from(end: End) -> Self {
        match end {
            End::Gone => gone(),
            End::Replaced(over) => over,
        }
    }
}

/// The server has no task for this machine any more.
pub(crate) fn gone() -> Over {
    Over {
        text: "the server has no task for this machine any more".into(),
        kind: OverKind::Restart,
        tells_of_disk: false,
    }
}

/// Waits until the server has not had the job `own` for this machine twice in a row, or has another one: what it waits
/// for will never come, and a restart brings what the server has for it.
pub(crate) async fn over(server: &Server, own: &KernelArgs, look: Duration) -> End {
    over_while_idle(server, own, look, || false).await
}

/// The same, but without a question as long as data come: they say more.
pub(crate) async fn over_while_idle(
    server: &Server,
    own: &KernelArgs,
    look: Duration,
    data_come: impl Fn() -> bool,
) -> End {
    let mut denied = 0;
    loop {
        tokio::time::sleep(look).await;
        let found = match data_come() {
            true => None,
            false => Some(job(server).await),
        };
        match found.filter(|_| !data_come()) {
            None => denied = 0,
            Some(Ok(None)) => {
                denied += 1;
                if denied >= DENIALS {
                    return End::Gone;
                }
            }
            Some(Ok(Some(now))) => {
                denied = 0;
                if let Some(over) = replaced(own, &now) {
                    return End::Replaced(over);
                }
            }
            // It says nothing of the task.
            Some(Err(_)) => {}
        }
    }
}

/// Waits until the server has a task for this machine that is not its task `own`: another one, or one that it did not
/// have before.
pub(crate) async fn new_task(server: &Server, own: &KernelArgs, look: Duration) {
    let mut was_without = false;
    loop {
        tokio::time::sleep(look).await;
        match job(server).await {
            Ok(Some(now)) if was_without || replaced(own, &now).is_some() => return,
            Ok(None) => was_without = true,
            Ok(Some(_)) | Err(_) => {}
        }
    }
}

/// Arguments by which a deploy is another one.
const DECISIVE: [&str; 7] = [
    "type",
    "mc",
    "img",
    "imgid",
    "imgType",
    "imgPartitionType",
    "port",
];
/// A task may be made anew between two looks.
const DENIALS: u32 = 2;
/// Between two looks.
pub(crate) const LOOK: Duration = Duration::from_secs(15);
const PATH: &str = "service/ipxe/boot.php";

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::super::test_server::{Reply, TestServer};
    use super::*;

    const JOB: &str = "#!ipxe\nset fog-ip 198.51.100.5\n\
        kernel bzImage loglevel=4 web=http://198.51.100.5/fog/ mac=00:1b:21:aa:bb:cc img=lab imgid=1 \
        port=63100 type=down mc=yes\nimgfetch init.xz\nboot\n";
    const MENU: &str = "#!ipxe\nmenu\nitem fog.local Boot\n:fog.memtest\n\
        kernel memdisk initrd=memtest.bin iso raw\nboot || goto MENU\n:fog.reginput\n\
        kernel bzImage loglevel=4 mode=manreg\nboot\n";

    #[tokio::test]
    async fn the_present_job_is_asked_for_by_address() {
        let server = TestServer::start(|_| Reply::text(JOB));
        let found = job(&server.client()).await.unwrap().unwrap();
        assert_eq!(found.value("img"), Some("lab"));
        let request = server.requests().remove(0);
        assert_eq!(request.path, "/fog/service/ipxe/boot.php");
        assert_eq!(request.field("mac").as_deref(), Some("00:1b:21:aa:bb:cc"));
        let menu = TestServer::start(|_| Reply::text(MENU));
        assert_eq!(job(&menu.client()).await.unwrap(), None);
        for reply in [
            Reply::text("<html>"),
            Reply::redirect("/fog/management/index.php"),
            Reply::text(""),
        ] {
            let server = TestServer::start(move |_| reply.clone());
            job(&server.client()).await.unwrap_err();
        }
    }

    #[test]
    fn another_image_or_port_is_another_job() {
        let own = parse(JOB).unwrap();
        assert_eq!(replaced(&own, &own), None);
        for (change, name) in [
            ("img=other", "img"),
            ("imgid=2", "imgid"),
            ("port=63102", "port"),
            ("imgPartitionType=2", "imgPartitionType"),
        ] {
            let now = parse(&JOB.replace(" mc=yes", &format!(" mc=yes {change}"))).unwrap();
            let over = replaced(&own, &now).unwrap();
            assert_eq!(over.kind, OverKind::Restart);
            assert!(over.text.contains(&format!("({name} is")), "{over:?}");
        }
        let unicast = parse(&JOB.replace(" port=63100", "").replace(" mc=yes", "")).unwrap();
        assert!(replaced(&unicast, &own).is_some());
        assert!(replaced(&own, &unicast).is_some());
    }

    #[tokio::test]
    async fn a_task_that_is_gone_for_good_ends_the_wait() {
        let count = AtomicU32::new(0);
        let server = TestServer::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
            0 | 2 | 5 | 7 => Reply::text(MENU),
            1 | 3 => Reply::text(JOB),
            _ => Reply::status(500, ""),
        });
        let own = parse(JOB).unwrap();
        let found = over(&server.client(), &own, Duration::from_millis(1)).await;
        assert_eq!(found, End::Gone);
        assert_eq!(server.requests().len(), 8);
        let server = TestServer::start(|_| Reply::text(&JOB.replace("img=lab", "img=other")));
        let found = over(&server.client(), &own, Duration::from_millis(1)).await;
        let End::Replaced(over) = found else {
            panic!("{found:?}")
        };
        assert!(over.text.contains("(img is"), "{over:?}");
        assert_eq!(server.requests().len(), 1);
    }

    #[tokio::test]
    async fn a_job_is_looked_after_while_no_data_come() {
        let own = parse(JOB).unwrap();
        let look = Duration::from_millis(1);
        let server = TestServer::start(|_| Reply::text(MENU));
        let client = server.client();
        // Data come when the first answer is there, and stop to come later.
        let looks = AtomicU32::new(0);
        let data_come = || (1..20).contains(&looks.fetch_add(1, Ordering::SeqCst));
        let over = over_while_idle(&client, &own, look, data_come).await;
        assert_eq!(over, End::Gone);
        assert_eq!(server.requests().len(), 3);
        assert_eq!(looks.load(Ordering::SeqCst), 24);
    }

    #[tokio::test]
    async fn a_new_task_is_another_one_or_one_after_none() {
        let own = parse(JOB).unwrap();
        let look = Duration::from_millis(1);
        let count = AtomicU32::new(0);
        let server = TestServer::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
            2 => Reply::text(MENU),
            3 => Reply::none(),
            _ => Reply::text(JOB),
        });
        new_task(&server.client(), &own, look).await;
        assert_eq!(server.requests().len(), 5);
        // Cancelled, and created anew between two looks.
        let count = AtomicU32::new(0);
        let server = TestServer::start(move |_| {
            Reply::text(&match count.fetch_add(1, Ordering::SeqCst) {
                0..3 => JOB.to_owned(),
                _ => JOB.replace("port=63100", "port=63102"),
            })
        });
        new_task(&server.client(), &own, look).await;
        assert_eq!(server.requests().len(), 4);
        // Whose task is not known has none that could be replaced.
        let usb = KernelArgs::parse("web=http://198.51.100.5/fog/ boottype=usb");
        assert_eq!(replaced(&usb, &own), None);
    }
}
