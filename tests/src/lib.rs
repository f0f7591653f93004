//! Helpers for the tests that cross crates.

pub mod need;
pub mod netns;
