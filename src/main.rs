//! The command line's entry.

use std::process::ExitCode;

use clap::Parser;
use waypost::cli::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // One provider for all of TLS, named here: with two in the build and none installed, rustls panics at its first use.
    // It fails only where one is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    cli.run()
}
