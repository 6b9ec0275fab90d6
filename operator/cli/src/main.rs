//! `kubectl realsyn`: builds and releases, for people.

use std::process::ExitCode;

use clap::Parser;
use realsyn_cli::args::Flags;
use realsyn_cli::commands::run;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Flags::parse()).await {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
