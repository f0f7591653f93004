//! Sender and receivers of the native protocol in virtual time.
//!
//! [`Room`] has the state machines without payload, so that a thousand receivers of gigabytes are a matter of seconds.
//! [`Bytes`] has both ends with keys, symbols and hashes over the [`Wire`](crate::Wire), at small sizes.

mod bytes;
mod report;
mod room;
mod station;

pub use bytes::{Bytes, BytesReport};
pub use report::{End, Report};
pub use room::{GIGABIT, Room};
pub use station::Station;
