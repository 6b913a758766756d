//! `waypost review`

use std::io::Read;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;

use super::{PolicyArgs, write_stdout};
use crate::admission::{self, ImageEvent, Observer, ReviewOutcome};
use crate::config::Config;
use crate::review::Operation;
use crate::snapshot::Snapshot;

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
/// Policies that do not compile ([`Invalid`](super::Invalid)), input that is no review, and those of reading and writing.
pub fn run(config: &Config) -> anyhow::Result<ExitCode> {
    let set = super::compile(config)?;
    let mut body = Vec::new();
    std::io::stdin()
        .lock()
        .read_to_end(&mut body)
        .context("stdin cannot be read")?;
    let mut answer = admission::respond(&Snapshot::new(set.into(), 1), &body, &Uncounted)?;
    answer.push(b'\n');
    write_stdout(answer)?;
    Ok(ExitCode::SUCCESS)
}

/// There is nobody to count for.
struct Uncounted;

impl Observer for Uncounted {
    fn image(&self, _: &Snapshot, _: ImageEvent) {}
    fn review(&self, _: Operation, _: ReviewOutcome, _: Duration) {}
}
