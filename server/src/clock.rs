//! The system's clock, read at the edge only.

use std::time::SystemTime;

use crate::domain::Timestamp;

/// Now.
#[must_use]
pub fn now() -> Timestamp {
    SystemTime::now().into()
}
