//! Sockets, interfaces and threads around the protocol cores of `cast-proto`.
#![warn(missing_docs)]

mod address;
mod batch;
mod driver;
mod input;
mod interface;
mod socket;
mod wake;

use std::fmt;
use std::time::Duration;

pub use address::{control_address, default_data_group, further_hello_addresses};
pub use driver::SendTrouble;
pub use input::InputError;
pub use interface::{Available, Interface, InterfaceError};
pub use socket::SocketError;
pub use wake::Stop;

/// A duration for people.
fn seconds(duration: Duration) -> impl fmt::Display {
    struct Seconds(Duration);
    impl fmt::Display for Seconds {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{:.1} s", self.0.as_secs_f64())
        }
    }
    Seconds(duration)
}

/// What a panic said.
fn panic_text(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without text").to_owned()
}
