//! Who serves machines.

use super::seconds;

/// What a storage node is.
#[must_use]
pub fn node_kind(is_removed: bool, is_enabled: bool, is_master: bool) -> &'static str {
    match (is_removed, is_enabled, is_master) {
        (true, _, _) => "removed",
        (false, false, _) => "switched off",
        (false, true, true) => "master",
        (false, true, false) => "member",
    }
}

/// Since when a server runs, or when it was seen.
#[must_use]
pub fn server_alive(since: Option<&str>, is_alive: bool, silent_seconds: u64) -> String {
    let silence = seconds(silent_seconds);
    match (since, is_alive) {
        (Some(since), _) => format!("since {since} UTC"),
        (None, true) => format!("seen {silence} ago"),
        (None, false) => format!("not seen for {silence}"),
    }
}
