//! Multicast sessions at work: each has a driver around its state machine, a journal that stores
//! what it decides, and a sender while a stream goes on.

mod askers;
mod claims;
mod driver;
mod journal;
mod level;
mod live;
mod rate;
mod registry;

pub use driver::Surroundings;
pub use journal::Stored;
pub use live::{Boot, ClientReport, Live, LiveMember, Wait};
pub use rate::Course;
pub use registry::{Handle, Idle, Sessions};
