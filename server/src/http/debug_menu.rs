//! A shell for a machine without a task: `d` while it boots, and the server's password.
//!
//! The shell is root's, and pupils stand before these machines, too: without a password there is no such entry.

use std::net::Ipv4Addr;
use std::time::Duration;

use fog::Mac;
use fog::args::ArgsWriter;
use tokio::sync::{Mutex, Semaphore};

use super::boot_script::loader::{Loader, Script, safe};
use super::boot_script::{BootFiles, message};
use super::request::Form;
use crate::config::DebugPassword;
use crate::domain::host::Host;
use crate::logs::{Level, Subject};
use crate::ops::{ClientError, DebugBoot, Ops};

/// Whether somebody at the machine has asked for a shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    No,
    Yes,
    /// Without the password.
    Wrong,
}

/// One password is compared after the other, and a wrong one keeps the next one waiting, whether or not anybody waits for
/// the answer: nobody tries many.
pub(super) async fn asked(form: &Form, password: Option<&DebugPassword>) -> Asked {
    match password {
        Some(password) if form.get(FIELD) == "1" => {
            is_right(password, form.get(FIELD_PASSWORD)).await
        }
        _ => Asked::No,
    }
}

async fn is_right(password: &DebugPassword, typed: &str) -> Asked {
    let Ok(_place) = PLACES.try_acquire() else {
        return Asked::Wrong;
    };
    let turn = TURN.lock().await;
    if password.is(typed) {
        return Asked::Yes;
    }
    tokio::spawn(async move {
        tokio::time::sleep(PAUSE).await;
        drop(turn);
    });
    Asked::Wrong
}

/// `script`, which boots the local disk, with the entry in front of that.
pub(super) fn offered(script: Script, mac: Mac, form: &Form) -> Script {
    Script::Offered {
        script: Box::new(script),
        mac,
        arch: form.get("arch").to_owned(),
    }
}

/// The entry in iPXE's words. `arch` is fit for a question.
pub(super) fn entry(mac: Mac, arch: &str) -> String {
    format!(
        "prompt --key 0x64 --timeout 3000 Press d for a shell, which takes a password || goto local\n\
         login || goto local\n\
         chain --replace boot.php?mac0={mac}&arch={arch}&{FIELD}=1&{FIELD_PASSWORD}=${{password:uristring}} ||\n\
         :local\n"
    )
}

/// The script for somebody who has the password.
///
/// # Errors
/// If the server fails.
pub(super) async fn shell(
    ops: &Ops,
    form: &Form,
    mac: Mac,
    host: Option<&Host>,
    boot: (BootFiles, Loader),
) -> Result<Script, ClientError> {
    let BootFiles { kernel, init } = boot.0;
    let line = match ops.debug_boot(form.client, [kernel, init]).await? {
        DebugBoot::From(address) => return Ok(script(ops, form, mac, host, boot, address)),
        DebugBoot::MissingFile(path) => format!("{} is missing on the server.", path.display()),
        DebugBoot::FilesHang(dir) => format!("{} on the server does not answer.", dir.display()),
    };
    Ok(message("This machine cannot boot to a shell:", &[line]))
}

fn script(
    ops: &Ops,
    form: &Form,
    mac: Mac,
    host: Option<&Host>,
    (files, loader): (BootFiles, Loader),
    address: Ipv4Addr,
) -> Script {
    let config = ops.config();
    let name = host.map_or_else(String::new, |host| safe(&host.name));
    let own_args = host.map_or_else(String::new, |host| safe(&host.kernel_args));
    let arguments = ArgsWriter::default()
        .set("loglevel", 4)
        .set("initrd", loader.initrd(files))
        .raw("root=/dev/ram0 rw ramdisk_size=275000")
        .set("web", config.web_url(address))
        .raw("consoleblank=0 rootfstype=ext4")
        .raw(&safe(&config.kernel_args))
        .raw(&own_args)
        .raw("nvme_core.default_ps_max_latency_us=0")
        .set("setmacto", mac)
        .set("mac", mac)
        .set("storageip", address)
        .set("hostname", name)
        .raw("isdebug=yes")
        .finish();
    let subject = Subject::Host(form.client.to_string());
    let line = format!("{mac} boots to a shell, with the password of the debug menu");
    ops.log().info(crate::clock::now(), &subject, &line);
    Script::Task { files, arguments }
}

/// The answer to a wrong password.
pub(super) fn refused(ops: &Ops, form: &Form) -> Script {
    let subject = Subject::Host(form.client.to_string());
    let (what, line) = ("wrong passwords", "asked for a shell with a wrong password");
    ops.log()
        .repeated(crate::clock::now(), Level::Warn, &subject, what, line);
    message("That is not the password.", &[])
}

const FIELD: &str = "debug";
const FIELD_PASSWORD: &str = "password";
static TURN: Mutex<()> = Mutex::const_new(());
/// Who waits for a turn; all of them have it before a boot script takes too long.
static PLACES: Semaphore = Semaphore::const_new(8);
const PAUSE: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_wrong_password_delays_the_next_one_also_if_its_sender_has_gone() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "correct-horse\n").unwrap();
        let password = DebugPassword::read(file.path()).unwrap();
        assert_eq!(is_right(&password, "correct").await, Asked::Wrong);
        let since = tokio::time::Instant::now();
        assert_eq!(is_right(&password, "correct-horse").await, Asked::Yes);
        assert!(since.elapsed() >= PAUSE);
    }
}
