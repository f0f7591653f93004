//! `service/ipxe/boot.php`: what a machine does that boots from the network.

use std::path::Path;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use fog::Mac;
use fog::args::ArgsWriter;

use super::request::{Form, KnownHost};
use super::{App, Failure};
use crate::clock::Timestamp;
use crate::store::images::Image;
use crate::store::sessions::Session;
use crate::store::tasks::Task;
use crate::store::{hosts, images, session_hosts, sessions, settings, tasks};

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
pub(super) async fn script(State(app): State<App>, form: Form) -> Result<Response, Failure> {
    let text = match build(&app, form).await {
        Ok(text) => text,
        Err(error) => {
            tracing::error!("making a boot script: {error:#}");
            message(
                "fos-server cannot make a boot script because of an internal error.",
                &["Its log has the cause.".to_owned()],
            )
        }
    };
    Ok(([(header::CONTENT_TYPE, "text/plain")], text).into_response())
}

async fn build(app: &App, form: Form) -> anyhow::Result<String> {
    let macs = form.macs();
    let Ok(known) = app.host(form).await? else {
        return Ok(unknown_host(&macs));
    };
    let mut conn = app.store.conn().await?;
    let Some(task) = tasks::active_of_host(&mut conn, known.host.id).await? else {
        let last = session_hosts::newest_of_host(&mut conn, known.host.id).await?;
        let last = last.filter(|last| !last.result.is_empty()).map(|last| {
            format!(
                "Last session {}: {}: {}",
                last.session, last.state, last.result
            )
        });
        return Ok(no_task(&known.host.name, last));
    };
    let session = match tasks::session_of(&mut conn, task.id).await? {
        Some(id) => sessions::by_id(&mut conn, id).await?,
        None => None,
    };
    let Some(session) = session else {
        let line = format!(
            "Task {} of {} has no multicast session.",
            task.id, known.host.name
        );
        return Ok(message(
            &line,
            &["Cancel it and deploy the host again.".to_owned()],
        ));
    };
    let Some(image) = images::by_id(&mut conn, session.image).await? else {
        let line = format!(
            "The image of session {} does not exist any more.",
            session.id
        );
        return Ok(message(
            &line,
            &["Add it again and deploy again.".to_owned()],
        ));
    };
    let early = settings::number(&mut conn, "FOG_CHANGE_HOSTNAME_EARLY", 1).await?;
    let primary = hosts::macs(&mut conn, known.host.id)
        .await?
        .first()
        .copied();
    drop(conn);
    let files = boot_files(known.form.get("arch"));
    if let Some(missing) = missing_file(&app.config.boot, files) {
        let line = format!("{missing} is missing on the server; put kernel and initramfs there.");
        let note = format!("{} asked to boot, but {line}", known.host.name);
        app.log.service(Timestamp::now(), &note);
        return Ok(message(
            "This host has a task, but cannot boot it.",
            &[line],
        ));
    }
    let address = app.config.address_for(known.form.client)?;
    let job = Job {
        known: &known,
        mac: primary.unwrap_or(known.mac),
        task: &task,
        session: &session,
        image: &image,
        files,
        changes_name_early: early != 0,
    };
    Ok(task_script(&job, app, address))
}

/// Everything that a task's kernel line says.
struct Job<'a> {
    known: &'a KnownHost,
    mac: Mac,
    task: &'a Task,
    session: &'a Session,
    image: &'a Image,
    files: BootFiles,
    changes_name_early: bool,
}

fn task_script(job: &Job<'_>, app: &App, address: std::net::Ipv4Addr) -> String {
    let arguments = arguments(job, app, address);
    let BootFiles { kernel, init } = job.files;
    // Images that are still registered (a script of an older stage) would be put in front of the
    // initrd: freed first.
    format!("#!ipxe\nimgfree\nkernel {kernel} {arguments}\nimgfetch {init}\nboot\n")
}

/// The arguments in FOG's order.
fn arguments(job: &Job<'_>, app: &App, address: std::net::Ipv4Addr) -> String {
    let Job {
        known,
        mac,
        task,
        session,
        image,
        files,
        changes_name_early,
    } = job;
    let config = &app.config;
    let host = &known.host;
    let is_shutdown = task.is_shutdown || session.is_shutdown;
    let flag = |is_set: bool| if is_set { "1" } else { "" };
    ArgsWriter::default()
        .set("loglevel", 4)
        .set("initrd", files.init)
        .raw("root=/dev/ram0 rw ramdisk_size=275000")
        .set("web", config.web_url(address))
        .raw("consoleblank=0 rootfstype=ext4")
        .raw(&safe(&config.kernel_args))
        .raw(&safe(&host.kernel_args))
        .raw("nvme_core.default_ps_max_latency_us=0")
        .set("setmacto", known.mac)
        .set("mac", mac)
        .set("ftp", address)
        .set("storage", format!("{address}:{}/", config.images.display()))
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
        .set("PIGZ_COMP", -6)
        .set("shutdown", flag(is_shutdown))
        .set("fdrive", safe(&host.device))
        .set("hostearly", flag(*changes_name_early))
        .set("port", session.port)
        .set("isdebug", if task.is_debug { "yes" } else { "" })
        .raw("type=down mc=yes")
        .finish()
}

fn unknown_host(macs: &[Mac]) -> String {
    let Some(first) = macs.first() else {
        return message(
            "This machine told no MAC address.",
            &["Boot it with an iPXE script that sends mac0; the README shows one.".to_owned()],
        );
    };
    let list: Vec<String> = macs.iter().map(Mac::to_string).collect();
    message(
        &format!("This machine is not registered: {}", list.join(" ")),
        &[
            "Register it on the server with:".to_owned(),
            format!("  fos-server host add NAME {first}"),
        ],
    )
}

fn no_task(name: &str, last: Option<String>) -> String {
    let mut script = format!(
        "#!ipxe\necho {}: no task, booting from the local disk\n",
        safe(name)
    );
    if let Some(last) = last {
        script.push_str(&format!("echo {}\nsleep 3\n", safe(&last)));
    }
    script.push_str("exit\n");
    script
}

/// A script that says something, waits so that it can be read, and goes on to the local disk.
fn message(first: &str, more: &[String]) -> String {
    let mut script = "#!ipxe\necho\n".to_owned();
    for line in std::iter::once(first).chain(more.iter().map(String::as_str)) {
        script.push_str(&format!("echo {}\n", safe(line)));
    }
    script.push_str("echo Booting from the local disk in 15 seconds.\nsleep 15\nexit\n");
    script
}

/// A text that means nothing to iPXE: no variables, no operators, no line ends.
fn safe(text: &str) -> String {
    text.chars()
        .map(|c| if is_safe(c) { c } else { ' ' })
        .take(500)
        .collect()
}

/// Whether a character stays as it is in a boot script.
pub(crate) fn is_safe(c: char) -> bool {
    c.is_ascii_graphic() && !matches!(c, '$' | '{' | '}' | '&' | '|' | '\\' | '#' | '"' | '\'')
}

fn boot_files(arch: &str) -> BootFiles {
    let [x86_64, i386, arm] = BOOT_FILES;
    match arch {
        "i386" => i386,
        arch if arch.contains("arm") => arm,
        _ => x86_64,
    }
}

fn missing_file(dir: &Path, files: BootFiles) -> Option<String> {
    let paths = [files.kernel, files.init].map(|name| dir.join(name));
    paths
        .iter()
        .find(|path| !path.is_file())
        .map(|path| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_cannot_become_commands() {
        let script = no_task("${net0/mac}", Some("a || shell\nshell".into()));
        assert_eq!(script.lines().count(), 5);
        assert!(!script.contains("${") && !script.contains("||"), "{script}");
    }

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
        let script = unknown_host(&["00:1b:21:aa:bb:cc".parse().unwrap()]);
        assert!(script.starts_with("#!ipxe\n"));
        assert!(script.contains("fos-server host add NAME 00:1b:21:aa:bb:cc"));
        assert!(script.ends_with("exit\n"));
    }
}
