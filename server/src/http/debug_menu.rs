//! A shell for a machine without a task: `d` while it boots, and the server's password.
//!
//! The shell is root's, and pupils stand before these machines, too: without a password there is no such entry. The
//! password does not travel (see [`digest`]).

mod digest;

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{LazyLock, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use axum::extract::{FromRequestParts, OriginalUri};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use fog::Mac;
use tokio::sync::{Mutex, Semaphore};

use super::boot_script::loader::{Loader, Script, safe};
use super::boot_script::{BootFiles, client, message};
use super::request::Form;
use crate::config::DebugPassword;
use crate::domain::Timestamp;
use crate::domain::host::Host;
use crate::logs::{Level, Subject};
use crate::ops::{ClientError, DebugBoot, Ops};
use digest::Proof;

/// Whether somebody at the machine has asked for a shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    No,
    Yes,
    /// The password is still to be proved.
    Unproven,
    /// Without the password.
    Wrong,
}

/// What of a request is not in its form.
#[derive(Debug, Clone)]
pub(super) struct Envelope {
    method: Method,
    /// Path and query.
    target: String,
    authorization: Option<String>,
    /// By which name or address, and port, the client reaches this server.
    host: Option<String>,
}

impl Envelope {
    fn of(method: Method, uri: &Uri, headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name)?.to_str().ok().map(str::to_owned);
        let is_plain = |host: &String| {
            let is_fit = |octet: u8| octet.is_ascii_alphanumeric() || b".-_:[]".contains(&octet);
            !host.is_empty() && host.len() <= 255 && host.bytes().all(is_fit)
        };
        Self {
            method,
            target: uri
                .path_and_query()
                .map_or_else(String::new, ToString::to_string),
            authorization: text(header::AUTHORIZATION),
            host: text(header::HOST).filter(is_plain),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Envelope {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let OriginalUri(uri) = OriginalUri::from_request_parts(parts, state).await?;
        Ok(Self::of(parts.method.clone(), &uri, &parts.headers))
    }
}

/// One proof is looked at after the other, and a wrong one keeps the next one waiting, whether or not anybody waits for
/// the answer: nobody tries many.
pub(super) async fn asked(
    form: &Form,
    envelope: &Envelope,
    password: Option<&DebugPassword>,
) -> Asked {
    match password {
        Some(password) if form.get(FIELD) == "1" => {
            let header = envelope.authorization.as_deref();
            let Some(proof) = header.and_then(Proof::parse) else {
                return Asked::Unproven;
            };
            let now = crate::clock::now();
            if !digest::is_fresh(proof.nonce, &KEY, form.client, now) {
                return Asked::Unproven;
            }
            let asked = digest::Asked {
                method: envelope.method.as_str(),
                target: &envelope.target,
            };
            let is_right = || proof.is_of(asked, password.secret()) && is_first(proof.nonce, now);
            judge(is_right).await
        }
        _ => Asked::No,
    }
}

async fn judge(is_right: impl FnOnce() -> bool) -> Asked {
    let Ok(_place) = PLACES.try_acquire() else {
        return Asked::Wrong;
    };
    let turn = TURN.lock().await;
    if is_right() {
        return Asked::Yes;
    }
    tokio::spawn(async move {
        tokio::time::sleep(PAUSE).await;
        drop(turn);
    });
    Asked::Wrong
}

/// Whether a nonce is used for the first time. Only right proofs come here.
fn is_first(nonce: &str, now: Timestamp) -> bool {
    let mut used = USED.lock().unwrap_or_else(PoisonError::into_inner);
    used.retain(|(_, at)| now.0.saturating_sub(at.0) <= digest::LIFETIME);
    if used.len() >= USED_MAX || used.iter().any(|(known, _)| known == nonce) {
        return false;
    }
    used.push((nonce.to_owned(), now));
    true
}

/// Asks the boot loader to prove that the password was typed.
pub(super) fn challenge(client: IpAddr) -> Response {
    let nonce = digest::nonce(&KEY, client, crate::clock::now());
    let challenge = digest::challenge(&nonce);
    let headers = [(header::WWW_AUTHENTICATE, challenge)];
    (
        StatusCode::UNAUTHORIZED,
        headers,
        "the password of the debug menu is needed\n",
    )
        .into_response()
}

/// `script`, which boots the local disk, with the entry in front of that; without it if it is not known how the machine
/// reaches this server.
pub(super) fn offered(script: Script, mac: Mac, form: &Form, envelope: &Envelope) -> Script {
    let Some(host) = envelope.host.clone() else {
        return script;
    };
    Script::Offered {
        script: Box::new(script),
        mac,
        arch: form.get("arch").to_owned(),
        host,
    }
}

/// The entry in iPXE's words. `arch` is fit for a question. iPXE shows the password of an address as `***`, and does not
/// send it: it is asked for a proof. Of an empty user name it would make a wrong one. What was typed before would stand in
/// the field, in front of what is typed now.
pub(super) fn entry(mac: Mac, arch: &str, host: &str) -> String {
    format!(
        "prompt --key 0x64 --timeout 3000 Press d for a shell, which takes a password || goto local\n\
         {}\
         :local\n",
        login(mac, arch, host, "local")
    )
}

/// Asks for the password, and for a shell with it; goes to the label `back` if nothing is typed.
pub(super) fn login(mac: Mac, arch: &str, host: &str, back: &str) -> String {
    format!(
        "clear password ||\n\
         login || goto {back}\n\
         chain --replace http://fos:${{password:uristring}}@{host}/fog/service/ipxe/boot.php?mac0={mac}&arch={arch}&{FIELD}=1 ||\n\
         clear password ||\n"
    )
}

/// How the machine reaches this server, if that is known.
pub(super) fn reached(envelope: &Envelope) -> Option<String> {
    envelope.host.clone()
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
    boot: (BootFiles, Loader),
    address: Ipv4Addr,
) -> Script {
    let name = host.map_or_else(String::new, |host| safe(&host.name));
    let arguments = client(ops, boot, address, mac, host)
        .set("storageip", address)
        .set("hostname", name)
        .raw("isdebug=yes")
        .finish();
    let subject = Subject::Host(form.client.to_string());
    let line = format!("{mac} boots to a shell, with the password of the debug menu");
    ops.log().info(crate::clock::now(), &subject, &line);
    let files = boot.0;
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
static TURN: Mutex<()> = Mutex::const_new(());
/// Who waits for a turn; all of them have it before a boot script takes too long.
static PLACES: Semaphore = Semaphore::const_new(8);
const PAUSE: Duration = Duration::from_secs(3);
/// Of the nonces of this process.
#[expect(
    clippy::expect_used,
    reason = "without random numbers nothing is to be proved"
)]
static KEY: LazyLock<[u8; 32]> = LazyLock::new(|| {
    let mut key = [0; 32];
    getrandom::fill(&mut key).expect("the kernel has random numbers");
    key
});
/// Nonces that have opened a shell.
static USED: StdMutex<Vec<(String, Timestamp)>> = StdMutex::new(Vec::new());
/// More shells than a room has in half a minute; some 70 bytes each.
const USED_MAX: usize = 1024;

#[cfg(test)]
pub(super) use digest::tests::answer;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_wrong_password_delays_the_next_one_also_if_its_sender_has_gone() {
        assert_eq!(judge(|| false).await, Asked::Wrong);
        let since = tokio::time::Instant::now();
        assert_eq!(judge(|| true).await, Asked::Yes);
        assert!(since.elapsed() >= PAUSE);
    }

    #[test]
    fn a_nonce_opens_once() {
        let now = Timestamp(1_800_000_000);
        assert!(is_first("once", now));
        assert!(!is_first("once", now));
        let later = Timestamp(now.0 + digest::LIFETIME + 1);
        // It is too old by then.
        assert!(is_first("once", later));
    }

    #[test]
    fn only_a_plain_host_gets_into_a_script() {
        let host = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, text.parse().unwrap());
            Envelope::of(Method::GET, &Uri::from_static("/fog/x?y=1"), &headers).host
        };
        for plain in ["10.0.0.5", "fog.lab:8080", "[fe80::1]:80"] {
            assert_eq!(host(plain).as_deref(), Some(plain));
        }
        for other in ["", "a b", "a||shell", "a/b", "${net0/ip}", "a@b"] {
            assert_eq!(host(other), None, "{other}");
        }
    }
}
