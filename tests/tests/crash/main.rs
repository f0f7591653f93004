//! What the server promised holds, whatever happens to it: killed at any moment, its machine without
//! power, its disk full; and it ends when it is told to, whatever hangs.
//!
//! `FOS_CRASH_ROUNDS` runs more rounds than `cargo test` does; `FOS_CRASH_SEED` repeats the choices of
//! a run, as far as threads repeat anything.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "helpers of tests fail by panicking and tell what they do"
)]

mod agents;
mod clients;
mod ends;
mod full;
mod http;
mod kill;
mod ledger;
mod power;
mod random;
mod replay;
mod trace;
mod world;
