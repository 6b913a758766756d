//! `waypost completions`

use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, write_stdout};

/// Print completions for a shell.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  bash:
      waypost completions bash > ~/.local/share/bash-completion/completions/waypost

  zsh, in a directory of $fpath:
      waypost completions zsh > ~/.zfunc/_waypost

  fish:
      waypost completions fish > ~/.config/fish/completions/waypost.fish")]
pub struct Args {
    /// The shell.
    pub shell: Shell,
}

/// Prints the script on stdout.
///
/// # Errors
/// Those of writing.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    // Into memory first: clap_complete panics where it cannot write, as into a closed pipe.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "waypost", &mut script);
    write_stdout(script)?;
    Ok(ExitCode::SUCCESS)
}
