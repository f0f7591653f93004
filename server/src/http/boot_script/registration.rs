//! The wish of somebody who stands before a machine that it be registered: `r` while it boots.
//!
//! Whoever asks may be anybody: it waits until a person at the server accepts it.

use fog::Mac;

use super::loader::Script;
use super::message;
use crate::config::{Config, Registration};
use crate::domain::host::Wish;
use crate::http::request::Form;
use crate::ops::{ClientError, ClientRequest, Ops};

/// Says that this is the wish.
pub(super) const FIELD: &str = "register";

/// `script`, which boots the local disk, with the entry in front of it.
pub(super) fn offered(config: &Config, script: Script, mac: Mac, form: &Form) -> Script {
    match config.registration {
        Registration::Off => script,
        Registration::Pending | Registration::Accept => Script::Registrable {
            script: Box::new(script),
            mac,
            arch: form.get("arch").to_owned(),
        },
    }
}

/// The entry in iPXE's words. `arch` is fit for a question. What the machine says of itself goes along: it was said when
/// it asked first, but only some scripts that lead here do so.
pub(super) fn entry(mac: Mac, arch: &str) -> String {
    format!(
        "prompt --key 0x72 --timeout 3000 Press r to register this machine || goto unregistered\n\
         {}\
         :unregistered\n",
        wish(mac, arch)
    )
}

/// Says that this is the wish.
pub(super) fn wish(mac: Mac, arch: &str) -> String {
    format!(
        "chain --replace boot.php?mac0={mac}&arch={arch}&{FIELD}=1&manufacturer=${{manufacturer:uristring}}\
         &product=${{product:uristring}} ||\n"
    )
}

/// What the machine hears.
///
/// # Errors
/// If the database fails.
pub(super) async fn answer(
    ops: &Ops,
    request: &ClientRequest,
    mac: Mac,
) -> Result<Script, ClientError> {
    let wish = match ops.wish(request).await {
        Ok(wish) => wish,
        Err(ClientError::Refused(_)) => {
            let first = "This server registers no machine that asks for it.";
            return Ok(message(first, &advice(mac)));
        }
        Err(error) => return Err(error),
    };
    Ok(match wish {
        Wish::Kept | Wish::Known => {
            let more = [
                "On the server, or on its page, it is accepted with:".to_owned(),
                format!("  fos-server host accept {mac} NAME"),
            ];
            message("This machine waits to be accepted.", &more)
        }
        Wish::Registered => message(&format!("This machine is registered: {mac}"), &[]),
        Wish::Crowded => message("Too many machines wait to be accepted.", &advice(mac)),
    })
}

fn advice(mac: Mac) -> [String; 2] {
    [
        "Register it on the server with:".to_owned(),
        format!("  fos-server host add NAME {mac}"),
    ]
}
