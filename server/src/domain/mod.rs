//! What the server knows and decides: hosts, images, sessions, who may act for whom, and why
//! something ended. No database, no HTTP, no clock, and no decision on a text.

#![deny(clippy::disallowed_methods)]

pub mod account;
mod address;
pub mod boot;
mod code;
pub mod doctor;
pub mod groups;
pub mod handout;
pub mod handouts;
pub mod host;
pub mod ids;
pub mod image;
pub mod node;
pub mod peer;
pub mod ports;
pub mod queue;
pub mod reason;
pub mod refusal;
pub mod schedule;
pub mod session;
pub mod task;
pub mod time;
pub mod unicast;
pub mod wake;

pub use address::group;
pub use boot::BootGiven;
pub use ids::{HostId, ImageId, NodeId, ScheduleId, SessionId, TaskId};
pub use reason::Reason;
pub use refusal::Refusal;
pub use time::Timestamp;
