//! Helpers for the tests that cross crates.

pub mod corpus;
pub mod fuzz;
pub mod machine;
pub mod need;
pub mod netns;
pub mod shell;
pub mod site;
pub mod stock;
pub mod stream;
pub mod table;
pub mod target;
pub mod terminal;
