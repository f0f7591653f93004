//! `service/ipxe/boot.php`, and `service/grub/boot.php` for machines with Secure Boot: what a machine does that boots
//! from the network.

pub(super) mod loader;
pub(super) mod menu;
mod registration;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use fog::Mac;
use fog::args::ArgsWriter;

use self::loader::{FIELD_TRIES, Loader, Script, safe};
use super::debug_menu::{self, Asked, Envelope};
use super::request::Form;
use crate::domain::host::{Host, StationMac};
use crate::domain::node::NotHere;
use crate::domain::refusal::AskAgain;
use crate::domain::{Refusal, SessionId};
use crate::logs::{Level, Subject};
use crate::ops::{BootAnswer, BootJob, ClientError, Ops};
use crate::store::StoreError;
use crate::text;

/// Kernel and init file of an architecture, FOG's default names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BootFiles {
    pub(super) kernel: &'static str,
    pub(super) init: &'static str,
}

/// All boot files that may be asked for.
pub(super) const BOOT_FILES: [BootFiles; 3] = [
    BootFiles {
        kernel: "bzImage",
        init: "init.xz",
    },
    BootFiles {
        kernel: "bzImage32",
        init: "init_32.xz",
    },
    BootFiles {
        kernel: "arm_Image",
        init: "arm_init.cpio.gz",
    },
];

/// Answers an iPXE script: the task, or why there is none and the local disk.
pub(super) async fn script(
    State(ops): State<Arc<Ops>>,
    envelope: Envelope,
    form: Form,
) -> Response {
    answer(&ops, &form, &envelope, Loader::Ipxe).await
}

/// The same for GRUB.
pub(super) async fn grub_script(
    State(ops): State<Arc<Ops>>,
    envelope: Envelope,
    form: Form,
) -> Response {
    answer(&ops, &form, &envelope, Loader::Grub).await
}

async fn answer(ops: &Ops, form: &Form, envelope: &Envelope, loader: Loader) -> Response {
    let build = async {
        let password = ops.config().debug_password.as_ref();
        match debug_menu::asked(form, envelope, password).await {
            Asked::Unproven => Ok(None),
            asked => build(ops, form, envelope, loader, asked).await.map(Some),
        }
    };
    let built = tokio::time::timeout(LIMIT, build).await;
    let script = match built {
        Ok(Ok(Some(script))) => script,
        Ok(Ok(None)) => return debug_menu::challenge(form.client),
        Err(_) => {
            let line = format!("it was not made in {} s", LIMIT.as_secs());
            log_failure(ops, form, &line);
            let why = "The server takes too long to find out what to boot.";
            match form.request().macs.first() {
                Some(mac) => later(*mac, form, why),
                None => message(why, &[]),
            }
        }
        Ok(Err(error)) => {
            let (what, line) = match error {
                ClientError::Refused(refusal) => ("refused", text::refusal(&refusal)),
                ClientError::Store(error) => ("the database fails", error.to_string()),
                ClientError::Internal(error) => {
                    ("an internal error", readable::chain(error.as_ref()))
                }
            };
            log_failure(ops, form, &line);
            message(
                &format!("fos-server cannot make a boot script: {what}."),
                &["Its log has the cause. Start this machine again later.".to_owned()],
            )
        }
    };
    let text = script.write(loader);
    ([(header::CONTENT_TYPE, "text/plain")], text).into_response()
}

/// How long it may take; a boot loader that hears no script boots the local disk.
const LIMIT: Duration = Duration::from_secs(40);

fn log_failure(ops: &Ops, form: &Form, cause: &str) {
    let subject = Subject::Host(form.client.to_string());
    let now = crate::clock::now();
    let line = format!("cannot make a boot script: {cause}");
    let what = "boot scripts that failed";
    ops.log().repeated(now, Level::Error, &subject, what, &line);
}

async fn build(
    ops: &Ops,
    form: &Form,
    envelope: &Envelope,
    loader: Loader,
    asked: Asked,
) -> Result<Script, ClientError> {
    let request = form.request();
    let macs = request.macs.clone();
    let files = boot_files(form.get("arch"));
    let password = ops.config().debug_password.as_ref();
    if asked == Asked::Wrong {
        return Ok(debug_menu::refused(ops, form));
    }
    let known = match ops.identify(request).await {
        Ok(known) => known,
        Err(ClientError::Refused(_)) => {
            let Some(mac) = first_card(&macs) else {
                return Ok(unknown_host(&macs));
            };
            if asked == Asked::Yes {
                return debug_menu::shell(ops, form, mac, None, (files, loader)).await;
            }
            if form.get(registration::FIELD) == "1" {
                return registration::answer(ops, &form.request(), mac).await;
            }
            let script = registration::offered(ops.config(), unknown_host(&macs), mac, form);
            let script = match password {
                Some(_) => debug_menu::offered(script, mac, form, envelope),
                None => script,
            };
            return menu::offered(ops, script, None, form, envelope).await;
        }
        Err(error) => return Err(error),
    };
    let name = &known.host.name;
    let mut booted = ops.boot(&known, [files.kernel, files.init]).await;
    if let Ok(BootAnswer::Nothing(Refusal::NoTask { .. })) = &booted
        && let Some(session) = menu::asked(form)
    {
        if let Some(script) = menu::join(ops, &known, session, form).await? {
            return Ok(script);
        }
        booted = ops.boot(&known, [files.kernel, files.init]).await;
    }
    let answer = match booted {
        Ok(BootAnswer::Nothing(refusal @ Refusal::AskAgain(_)))
        | Err(ClientError::Refused(refusal @ Refusal::AskAgain(_))) => {
            let script = later(known.mac, form, &text::refusal(&refusal));
            return Ok(match refusal {
                Refusal::AskAgain(AskAgain::NotHere(_, NotHere::OtherServer(server))) => {
                    Script::Elsewhere {
                        script: Box::new(script),
                        url: server.url,
                        mac: known.mac,
                        arch: form.get("arch").to_owned(),
                    }
                }
                _ => script,
            });
        }
        Err(ClientError::Store(StoreError::Unavailable(cause))) => {
            log_failure(ops, form, &cause);
            let why = "The server's database cannot be used at present.";
            return Ok(later(known.mac, form, why));
        }
        Err(ClientError::Store(StoreError::Broken(row))) => {
            let why = text::broken_row(&row);
            log_failure(ops, form, &why);
            return Ok(message(&format!("{name} cannot be booted:"), &[why]));
        }
        answer => answer?,
    };
    Ok(match answer {
        BootAnswer::Job(job) => Script::Task {
            files,
            arguments: arguments(ops, &job, files, loader),
        },
        BootAnswer::Nothing(refusal @ Refusal::FollowUp { .. }) => {
            let script = later(known.mac, form, &text::refusal(&refusal));
            match (loader, script) {
                // It waits for as long as the server says so. GRUB's scripts are not replaced: there is an end to them.
                (Loader::Ipxe, Script::Later { why, mac, arch, .. }) => Script::Later {
                    why,
                    mac,
                    arch,
                    asked: 0,
                },
                (_, script) => script,
            }
        }
        BootAnswer::Nothing(Refusal::NoTask { last, .. }) => {
            if asked == Asked::Yes {
                return debug_menu::shell(ops, form, known.mac, Some(&known.host), (files, loader))
                    .await;
            }
            let last = last.map(|(session, reason)| last_session(session, &text::reason(&reason)));
            let host = name.clone();
            let script = Script::NoTask { host, last };
            let script = match password {
                Some(_) => debug_menu::offered(script, known.mac, form, envelope),
                None => script,
            };
            menu::offered(ops, script, Some(&known.host), form, envelope).await?
        }
        BootAnswer::Nothing(refusal) => message(
            &format!("{name} has nothing to boot:"),
            &[text::refusal(&refusal)],
        ),
        BootAnswer::NoImage(session) => message(
            &format!(
                "The image of session {} does not exist any more.",
                session.id
            ),
            &["Add the image with fos-server image add, then deploy the host again.".to_owned()],
        ),
        BootAnswer::OtherImage(session) => message(
            &format!(
                "The image of session {} was changed since the session began.",
                session.id
            ),
            &["Cancel the session, then deploy the host again.".to_owned()],
        ),
        BootAnswer::FilesHang(dir) => {
            let dir = dir.display();
            log_failure(
                ops,
                form,
                &format!("the boot directory {dir} does not answer"),
            );
            later(
                known.mac,
                form,
                "The server's boot directory does not answer.",
            )
        }
        BootAnswer::MissingFile(path) => {
            let line = format!(
                "{} is missing on the server; put kernel and initramfs there.",
                path.display()
            );
            let subject = Subject::Host(name.clone());
            let now = crate::clock::now();
            let log = format!("asked to boot, but {line}");
            ops.log()
                .repeated(now, Level::Warn, &subject, "boots without boot files", &log);
            message("This host has a task, but cannot boot it.", &[line])
        }
    })
}

fn last_session(session: SessionId, reason: &str) -> String {
    format!("Last session {session}: {reason}")
}

/// The arguments in FOG's order, and ours at the end.
fn arguments(ops: &Ops, job: &BootJob, files: BootFiles, loader: Loader) -> String {
    let BootJob {
        host,
        mac,
        port,
        is_capture,
        is_shutdown,
        is_debug,
        image,
        ticket,
        address,
        is_name_changed_early,
    } = job;
    let flag = |is_set: bool| if is_set { "1" } else { "" };
    let images = ops.config().images.display();
    let storage = match is_capture {
        true => format!("{address}:{images}/dev/"),
        false => format!("{address}:{images}/"),
    };
    let compression = match (is_capture, image.compression) {
        (true, Some(level)) => -i16::from(level),
        _ => -6,
    };
    let line = client(ops, (files, loader), *address, *mac, Some(host))
        .set("ftp", address)
        .set("storage", storage)
        .set("storageip", address)
        .set("osid", image.os_id)
        .raw("irqpoll")
        .set("hostname", safe(&host.name))
        .set("chkdsk", 0)
        .set("img", safe(&image.path))
        .set("imgType", image.image_type)
        .set("imgPartitionType", "all")
        .set("imgid", image.id)
        .set("imgFormat", image.format)
        .set("PIGZ_COMP", compression)
        .set("shutdown", flag(*is_shutdown))
        .set("fdrive", safe(&host.device))
        .set("hostearly", flag(*is_name_changed_early));
    let line = match port {
        // FOG's settings FOG_CAPTURERESIZEPCT and FOG_CAPTUREIGNOREPAGEHIBER have these defaults.
        None if *is_capture => line.raw("pct=5 ignorepg=1").raw(match is_debug {
            true => "type=up mode=debug",
            false => "type=up",
        }),
        Some(port) => line.set("port", port).raw("type=down mc=yes"),
        // FOG's type 15 has a mode of its own, which its client obeys as it does `isdebug`.
        None if *is_debug => line.raw("type=down mode=debug"),
        None => line.raw("type=down"),
    };
    let line = if *is_debug {
        line.raw("isdebug=yes")
    } else {
        line
    };
    line.set("fosticket", ticket).finish()
}

/// What every boot of the client begins with: of a machine that asked with this address, `host` if it is registered.
pub(super) fn client(
    ops: &Ops,
    (files, loader): (BootFiles, Loader),
    server: Ipv4Addr,
    mac: Mac,
    host: Option<&Host>,
) -> ArgsWriter {
    let primary = host.and_then(|host| host.macs.first());
    // What an administrator has added comes behind it, and counts.
    let config = ops.config();
    let keys = ops.client_keys();
    let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
    ArgsWriter::default()
        .set("loglevel", 4)
        .set("initrd", loader.initrd(files))
        .raw("root=/dev/ram0 rw ramdisk_size=275000")
        .set("web", config.client_url(server))
        .raw("consoleblank=0 rootfstype=ext4")
        .set("fospin", keys.join(","))
        .raw(&safe(&config.kernel_args))
        .raw(&host.map_or_else(String::new, |host| safe(&host.kernel_args)))
        .raw("nvme_core.default_ps_max_latency_us=0")
        .set("setmacto", mac)
        .set("mac", primary.unwrap_or(&mac))
}

fn unknown_host(macs: &[Mac]) -> Script {
    if macs.is_empty() {
        return message(
            "This machine sent no MAC address.",
            &["Boot it with an iPXE script that sends mac0; the README shows one.".to_owned()],
        );
    };
    let list: Vec<String> = macs.iter().map(Mac::to_string).collect();
    let Some(first) = first_card(macs) else {
        return message(
            &format!(
                "This machine told no address of a network card: {}",
                list.join(" ")
            ),
            &["Its firmware or its iPXE does not know its card: use another one.".to_owned()],
        );
    };
    message(
        &format!("This machine is not registered: {}", list.join(" ")),
        &[
            "Register it on the server with:".to_owned(),
            format!("  fos-server host add NAME {first}"),
        ],
    )
}

/// The first that can be the address of a card.
fn first_card(macs: &[Mac]) -> Option<Mac> {
    let mut macs = macs.iter().copied();
    macs.find(|mac| StationMac::try_from(*mac).is_ok())
}

/// Says something, waits so that it can be read, and goes on to the local disk.
pub(super) fn message(first: &str, more: &[String]) -> Script {
    let lines = std::iter::once(first.to_owned()).chain(more.iter().cloned());
    Script::Message {
        lines: lines.collect(),
    }
}

fn later(mac: Mac, form: &Form, why: &str) -> Script {
    Script::Later {
        why: why.to_owned(),
        mac,
        arch: form.get("arch").to_owned(),
        asked: form.get(FIELD_TRIES).parse().unwrap_or(0),
    }
}

fn boot_files(arch: &str) -> BootFiles {
    let [x86_64, i386, arm] = BOOT_FILES;
    match arch {
        "i386" => i386,
        arch if arch.contains("arm") => arm,
        _ => x86_64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn architectures_have_their_files() {
        for (arch, kernel) in [
            ("x86_64", "bzImage"),
            ("", "bzImage"),
            ("i386", "bzImage32"),
            ("arm64", "arm_Image"),
        ] {
            assert_eq!(boot_files(arch).kernel, kernel);
        }
    }

    #[test]
    fn an_unknown_machine_is_told_how_to_register() {
        let script = unknown_host(&["00:1b:21:aa:bb:cc".parse().unwrap()]).write(Loader::Ipxe);
        assert!(script.starts_with("#!ipxe\n"));
        assert!(script.contains("fos-server host add NAME 00:1b:21:aa:bb:cc"));
        assert!(script.ends_with("exit\n"));
    }

    /// What is advised must not be refused.
    #[test]
    fn only_the_address_of_a_card_is_advised_to_be_registered() {
        let macs =
            |list: &[&str]| -> Vec<Mac> { list.iter().map(|mac| mac.parse().unwrap()).collect() };
        let none = ["00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff"];
        for mac in none {
            let script = unknown_host(&macs(&[mac])).write(Loader::Ipxe);
            assert!(!script.contains("host add"), "{script}");
            assert!(script.contains(mac), "{script}");
        }
        let macs = macs(&[none[0], none[1], "00:1b:21:aa:bb:cc"]);
        let script = unknown_host(&macs).write(Loader::Ipxe);
        assert!(
            script.contains("host add NAME 00:1b:21:aa:bb:cc"),
            "{script}"
        );
    }
}
