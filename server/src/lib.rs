//! Parts of `fos-server`, a deploy server that speaks FOG's protocols.

pub mod clock;
pub mod domain;
pub mod store;
pub mod text;
