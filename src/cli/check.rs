//! `waypost check`

use std::path::Path;
use std::process::ExitCode;

use clap::{ValueEnum, ValueHint};

use super::options::set;
use super::{FINDINGS, PresetArgs, stdout_colour, write_stdout};
use crate::app;
use crate::config::{Config, Flags};
use crate::document::{Diagnostic, render};

/// Look for mistakes in policies.
///
/// Reads every `*.yaml` of a directory as `serve` would and reports all that is wrong with it: unknown keys, patterns and
/// templates that cannot work, rules that another one always shadows. What passes here, `serve` accepts.
///
/// The exit status is 1 where there is an error, and 0 where there are only warnings.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(after_long_help = "\
Examples:
  The directory of the configuration:
      waypost check

  Another one:
      waypost check ./policies

  In a GitHub workflow, with the findings beside the lines of a pull request:
      waypost check ./policies --format github")]
pub struct Args {
    /// The directory of policies [default: the key `policies.dir`, `policies.d`].
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub dir: Option<String>,

    /// The form of what is printed.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: Format,

    #[expect(missing_docs, reason = "clap shows the docs of what is flattened")]
    #[command(flatten)]
    pub presets: PresetArgs,
}

/// The form of what is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON array.
    Json,
    /// Workflow commands of GitHub Actions.
    Github,
}

impl Args {
    /// What they say about the configuration.
    #[must_use]
    pub fn flags(&self) -> Flags {
        let mut flags = self.presets.flags();
        set(&mut flags, "DIR", "policies.dir", self.dir.as_ref());
        flags
    }
}

/// Prints the findings on stdout.
///
/// # Errors
/// Those of reading and writing; findings are none.
pub fn run(args: &Args, config: &Config) -> anyhow::Result<ExitCode> {
    if let Some(dir) = &args.dir {
        // The directory of the configuration may be absent; one that somebody names may not.
        anyhow::ensure!(Path::new(dir).exists(), "there is no directory `{dir}`");
    }
    let compiled = app::policy_source(config).compile();
    let failed = compiled.diagnostics.iter().any(Diagnostic::is_error);
    match args.format {
        Format::Text => {
            write_stdout(render::text(&compiled.diagnostics, stdout_colour()))?;
            if let Some(set) = &compiled.set {
                let (dir, rules) = (config.policies.dir.display(), set.rules().len());
                write_stdout(if config.policies.dir.exists() {
                    format!("{dir} works: {rules} rules in all, presets and built-in ones included\n")
                } else {
                    format!("there is no {dir}: {rules} rules in all, of presets and built in\n")
                })?;
            }
        }
        Format::Json => write_stdout(render::json(&compiled.diagnostics))?,
        Format::Github => write_stdout(render::github(&compiled.diagnostics))?,
    }
    Ok(if failed {
        ExitCode::from(FINDINGS)
    } else {
        ExitCode::SUCCESS
    })
}
