//! Multicast sessions: a pure state machine, its driver, and the registry of those that run.

pub mod core;
mod driver;
mod host;
mod persist;
mod rate;
mod registry;
pub mod status;
#[cfg(test)]
mod tests;
pub mod transmit;
mod view;

pub use driver::{Command, Surroundings};
pub use registry::{Handle, Sessions};
pub use view::{HostView, View};
