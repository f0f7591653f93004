//! The native multicast protocol. Numbers of sections are those of its specification.
//!
//! An image is sent as chunks, each of which is a frame of bytes that is cut into symbols ([`geometry`]) and
//! protected by a code ([`code`]). [`wire`] is
//! what datagrams say, [`keys`] how they are sealed.

pub mod code;
pub mod geometry;
pub mod keys;
pub mod wire;
