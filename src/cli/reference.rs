//! `waypost reference`

use std::io;
use std::process::ExitCode;

use super::{FINDINGS, write_stdout};
use crate::reference::{Reference, lines};

/// Take image references apart, as JSON lines.
///
/// Prints one JSON object for each reference: registry, repository, tag and digest as a node reads them, and the normal
/// form. Without arguments, or with `-`, references are read from stdin, one on each line.
///
/// The exit status is 1 where one of them is no valid reference; its line says why.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(after_long_help = "\
Examples:
  One reference:
      waypost reference alpine

  All images of a cluster:
      kubectl get pods -A -o jsonpath='{range .items[*].spec.containers[*]}{.image}{\"\\n\"}{end}' \\
          | waypost reference | jq -r .registry | sort | uniq -c")]
pub struct Args {
    /// The references, or `-` for stdin.
    #[arg(value_name = "IMAGE")]
    pub images: Vec<String>,
}

/// Prints a line for each reference on stdout.
///
/// # Errors
/// Those of reading and writing.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let refused = if args.images.is_empty() || args.images == ["-"] {
        // Line by line, so that it can be talked to through pipes.
        lines::run(io::stdin().lock(), io::stdout().lock())?.refused > 0
    } else {
        let text: String = args.images.iter().map(|image| lines::json_line(image) + "\n").collect();
        write_stdout(text)?;
        args.images.iter().any(|image| Reference::parse(image).is_err())
    };
    Ok(if refused {
        ExitCode::from(FINDINGS)
    } else {
        ExitCode::SUCCESS
    })
}
