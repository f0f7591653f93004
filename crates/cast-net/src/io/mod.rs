//! Sockets, interfaces and the driver of a core. Nothing here knows a protocol.

pub(crate) mod batch;
pub(crate) mod driver;
pub(crate) mod interface;
pub mod ports;
pub(crate) mod socket;
pub(crate) mod wake;
