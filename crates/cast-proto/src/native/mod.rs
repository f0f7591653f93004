//! The native multicast protocol. Numbers of sections are those of its specification.
//!
//! An image is sent as chunks, each of which is a frame of bytes that is cut into symbols ([`geometry`]) and
//! protected by a code ([`code`]). [`wire`] is what datagrams say, [`keys`] how they are sealed. [`sender`] and
//! [`receiver`] are state machines over messages without payload, so that the simulator can run
//! thousands of them; [`endpoint`] makes of each a [`Core`](crate::core::Core) that speaks sealed datagrams and
//! holds the bytes.

mod chance;
pub mod code;
pub mod endpoint;
pub mod geometry;
pub mod keys;
mod quantile;
pub mod receiver;
pub mod sender;
mod symbol_set;
mod units;
pub mod wire;
