//! `waypost review`

use std::process::ExitCode;

use super::PolicyArgs;
use crate::config::Config;

/// Answer one AdmissionReview from stdin.
///
/// Reads an AdmissionReview (JSON, as the API server sends it) and prints the one that `serve` would answer, with the same
/// code and the same policies. There is no cluster behind it: namespaces have no labels, and there are no push records.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(after_long_help = "\
Examples:
  What would be patched?
      waypost review < review.json | jq -r .response.patch | base64 -d | jq

  With the policies of another directory, and a preset:
      waypost review --policies ./policies --preset cern-pull-through < review.json")]
pub struct Args {
    #[expect(missing_docs, reason = "clap shows the docs of what is flattened")]
    #[command(flatten)]
    pub policies: PolicyArgs,
}

/// Answers the review on stdin on stdout.
///
/// # Errors
/// Policies that do not compile ([`Invalid`](super::Invalid)), and those of reading and writing.
pub fn run(args: Args, config: &Config) -> anyhow::Result<ExitCode> {
    let _ = (args, config);
    anyhow::bail!("not wired yet")
}
