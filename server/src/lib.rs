//! Parts of `fos-server`, a deploy server that speaks FOG's protocols.
//!
//! From the bottom: [`domain`] knows and decides, without clock, socket or database; [`store`] is the
//! database, [`imagestore`] the images' files, [`sender`] the network; [`session`] runs the sessions;
//! [`ops`] is everything that can be asked of the server, by clients over [`http`] and by people over
//! [`cli`]; [`text`] makes the words.

#![allow(
    clippy::disallowed_methods,
    reason = "only `domain` must not read a clock; it denies them again"
)]

pub mod api;
mod brief;
pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
pub mod http;
pub mod imagestore;
pub mod logs;
pub mod ops;
pub mod output;
mod private;
pub mod repeats;
pub mod runfile;
pub mod sender;
pub mod served;
pub mod session;
pub mod store;
#[cfg(test)]
pub(crate) mod testing;
pub mod text;
