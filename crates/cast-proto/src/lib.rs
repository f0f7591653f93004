//! Protocol cores of the cast programs, as pure state machines.
//!
//! Nothing here opens a socket, reads a clock, starts a thread or draws a random number: datagrams
//! and the time are handed in, datagrams, wake-up times and events are polled out. The same core is
//! run by the thread driver, by the simulator in the tests and by whatever comes later.
//!
//! [`core`] is what every driver needs of a protocol. [`udpcast`] holds both ends of the udpcast
//! protocol, [`native`] the parts of our own; [`bitmap`], [`pacing`] and [`timers`] are parts that know nothing of it.

#![warn(missing_docs)]

pub mod bitmap;
pub mod core;
pub mod native;
pub mod pacing;
pub mod timers;
pub mod udpcast;
