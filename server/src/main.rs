//! `fos-server`: deploys disk images by multicast, speaking the protocols of FOG.

use std::process::ExitCode;

use clap::Parser as _;
use fos_server::{cli::Cli, output};

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            output::explain(&format!("fos-server: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
