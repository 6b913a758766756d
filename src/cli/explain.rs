//! `waypost explain`

use std::process::ExitCode;

use clap::ValueEnum;

use super::{Label, PolicyArgs};
use crate::config::Config;

/// Show what becomes of images, and why.
///
/// Prints, for each image, its normal form, every rule that was tried and why it did or did not match, and the outcome. The
/// same code decides as in `serve`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  Where does alpine come from?
      waypost explain alpine

  In a namespace with labels, for a Pod with labels:
      waypost explain docker.io/org/app:1.2 --namespace reana-jobs \\
          --namespace-labels team=reana,tier=batch --pod-labels app=worker

  For a script:
      waypost explain alpine --format json | jq -r '.[].outcome'")]
pub struct Args {
    /// The images, as a Pod would write them.
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<String>,

    /// The namespace of the Pod.
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub namespace: String,

    /// The labels of the namespace.
    #[arg(long, value_name = "KEY=VALUE,…", value_delimiter = ',')]
    pub namespace_labels: Vec<Label>,

    /// The labels of the Pod.
    #[arg(long, value_name = "KEY=VALUE,…", value_delimiter = ',')]
    pub pod_labels: Vec<Label>,

    /// The form of what is printed.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: Format,

    #[expect(missing_docs, reason = "clap shows the docs of what is flattened")]
    #[command(flatten)]
    pub policies: PolicyArgs,
}

/// The form of what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON array.
    Json,
}

/// Explains each image on stdout.
///
/// # Errors
/// Policies that do not compile ([`Invalid`](super::Invalid)), and those of writing.
pub fn run(args: Args, config: &Config) -> anyhow::Result<ExitCode> {
    let _ = (args, config);
    anyhow::bail!("not wired yet")
}
