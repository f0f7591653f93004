//! Messages.
mod capabilities;
pub use capabilities::Capabilities;
