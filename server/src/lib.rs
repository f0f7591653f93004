//! Parts of `fos-server`, a deploy server that speaks FOG's protocols.
//!
//! [`store`] is the database, [`imagedir`] the image store, [`session`] the multicast sessions
//! (a pure state machine and its driver), [`http`] what clients ask, [`cli`] what people type.

pub mod cli;
pub mod clock;
pub mod config;
pub mod http;
pub mod imagedir;
pub mod logfile;
pub mod logs;
pub mod output;
pub mod repeats;
pub mod runfile;
pub mod session;
pub mod store;
#[cfg(test)]
mod testing;
