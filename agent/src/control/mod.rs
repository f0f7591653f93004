//! The control plane: FOG's HTTP endpoints and our server's own.
//!
//! Runs on tokio, one thread; nothing here ever blocks the data threads.

pub(crate) mod backoff;
pub(crate) mod blame;
pub(crate) mod boot_script;
pub(crate) mod checkin;
pub(crate) mod completion;
pub(crate) mod features;
pub(crate) mod http;
pub(crate) mod image;
pub(crate) mod inventory;
pub(crate) mod progress;
pub(crate) mod session;
pub(crate) mod trouble;
pub(crate) mod trust;
pub(crate) mod usb;

#[cfg(test)]
pub(crate) mod test_server;

pub(crate) use http::{CallError, Identity, Kind, Server};
pub(crate) use trust::Trust;
