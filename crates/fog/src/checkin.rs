//! Check-in and completion: bodies and answers.

use crate::encoding::{printable, unescape_html};

/// Answer of `mc_checkin.php` and `Pre_Stage1.php` that starts the deploy.
pub const GO: &str = "##@GO";

/// Answer of `Post_Stage3.php` and `taskerror.php`: done.
pub const DONE: &str = "##";

/// Answer of `inventory.php`: stored. FOG translates it; our server does not.
pub const INVENTORY_DONE: &str = "Done";

/// Tokens of `getversion.php?caps=1`.
pub mod caps {
    /// FOG 1.6: LVM images are sent one stream per logical volume.
    pub const LVM: &str = "mclvm";
    /// FOG 1.6: every stream begins with the record of [`crate::record`].
    pub const STREAM_RECORD: &str = "mcstreamid";
}

/// What the server said to a check-in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckinAnswer {
    /// Start.
    Go,
    /// Not yet, or never: a text for the user (translated, so nothing may match on it).
    Wait(String),
}

impl CheckinAnswer {
    /// Reads an answer body; only trailing newlines are ignored when comparing with the token.
    #[must_use]
    pub fn parse(body: &str) -> Self {
        if body.trim_end_matches(['\r', '\n']) == GO {
            Self::Go
        } else {
            Self::Wait(printable(&unescape_html(body), 400))
        }
    }
}

/// Whether a completion answer means done; trailing newlines are ignored.
#[must_use]
pub fn is_done(body: &str) -> bool {
    body.trim_end_matches(['\r', '\n']) == DONE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_token_starts() {
        assert_eq!(CheckinAnswer::parse("##@GO\n\n"), CheckinAnswer::Go);
        for body in ["", "##", " ##@GO", "##@GO!", "#@GO"] {
            assert!(
                matches!(CheckinAnswer::parse(body), CheckinAnswer::Wait(_)),
                "{body}"
            );
        }
        assert_eq!(
            CheckinAnswer::parse("There&#039;s\x07 no slot"),
            CheckinAnswer::Wait("There's  no slot".into())
        );
        assert!(is_done("##\n"));
        assert!(!is_done("## "));
    }
}
