//! What a session waits for on the server itself.

use std::time::Duration;

use super::{duration, foreign};

/// The image's files are being looked at.
#[must_use]
pub fn waits_for_image_store(since: Duration) -> String {
    format!(
        "the image store has not shown the image's files for {}; look whether its disk or mount hangs",
        duration(since)
    )
}

/// The stream cannot be sent.
#[must_use]
pub fn waits_for_network(since: Duration, cause: &str) -> String {
    format!(
        "the network has not been usable for {}, so no host can connect; look at the server's card and \
         address: {}",
        duration(since),
        foreign(cause)
    )
}

/// Nothing can be stored.
#[must_use]
pub fn waits_for_database(since: Duration, cause: &str) -> String {
    format!(
        "nothing can be stored for {}, so clients have to ask again: {}",
        duration(since),
        foreign(cause)
    )
}
