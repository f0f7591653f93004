//! The system's clock, read at the edge only.

use std::time::SystemTime;

use crate::domain::Timestamp;

/// The name of the time zone of this machine, UTC if none is set; `None` if it is one without a name.
#[must_use]
pub fn zone() -> Option<String> {
    let zone = jiff::tz::TimeZone::system();
    match zone.is_unknown() {
        true => Some("UTC".to_owned()),
        false => zone.iana_name().map(str::to_owned),
    }
}

/// Now.
#[must_use]
pub fn now() -> Timestamp {
    SystemTime::now().into()
}
