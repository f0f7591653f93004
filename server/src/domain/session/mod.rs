//! Multicast sessions: as they are stored, and the state machine that runs one.

mod client;
pub mod core;
mod record;
mod seat;
mod snapshot;
mod summary;
#[cfg(test)]
mod tests;

pub use client::{Client, ClientKind};
pub use record::{Event, Fact, Member, Note, Session};
pub use seat::{Departure, DropCause, SeatStatus};
pub use snapshot::{MemberSnapshot, Snapshot};
pub use summary::summary;
