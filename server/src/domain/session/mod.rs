//! Multicast sessions.

mod record;

pub use record::{Event, Fact, Member, Note, Session};
