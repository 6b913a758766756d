//! `waypost test`

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::ValueHint;

use super::{FINDINGS, stdout_colour, write_stdout};
use crate::cases;
use crate::config::Config;
use crate::document::{Diagnostic, Severity, Source, render};

/// Try policies on images, and compare with what is expected.
///
/// Reads every `*.test.yaml` of a directory: images, and what policies are to make of them, decided by the same code as in
/// `serve`. Says as well which rules no case is decided by.
///
/// The exit status is 1 where something is not as expected.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(after_long_help = "\
Examples:
  The tests beside the policies of the configuration:
      waypost test

  Those of another directory:
      waypost test ./policies

A test file:
      policies: [own.yaml]
      cases:
        - image: alpine
          namespace: reana-jobs
          expect: {outcome: rewritten, target: registry.example.com/docker.io/library/alpine}")]
pub struct Args {
    /// The directory of test files [default: the key `policies.dir`, `policies.d`].
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub dir: Option<PathBuf>,
}

/// Prints a line for each test file, and what is not as expected, on stdout.
///
/// # Errors
/// A directory that cannot be read or has no tests, and those of writing.
pub fn run(args: &Args, config: &Config) -> anyhow::Result<ExitCode> {
    let dir = args.dir.as_deref().unwrap_or(&config.policies.dir);
    let files = test_files(dir).with_context(|| format!("the directory {} cannot be read", dir.display()))?;
    // Nothing tested must not look like everything fine.
    anyhow::ensure!(
        !files.is_empty(),
        "there are no tests in {}: they are in files whose names end in .test.yaml",
        dir.display()
    );
    let mut failed = false;
    let mut total = 0;
    for file in &files {
        let source = match read(file) {
            Ok(source) => source,
            Err(diagnostic) => {
                failed = true;
                write_stdout(render::text(&[*diagnostic], stdout_colour()))?;
                continue;
            }
        };
        let report = cases::run(&source, |name| read(&file.with_file_name(name)));
        let errors = report.diagnostics.iter().any(Diagnostic::is_error);
        failed |= errors;
        total += report.cases;
        let verdict = if errors { "FAILED" } else { "ok" };
        write_stdout(format!("{}: {} cases, {verdict}\n", file.display(), report.cases))?;
        if !report.diagnostics.is_empty() {
            write_stdout(render::text(&report.diagnostics, stdout_colour()))?;
        }
        if !report.untested.is_empty() {
            write_stdout(format!("  no case is decided by {}\n", report.untested.join(", ")))?;
        }
    }
    write_stdout(format!(
        "{total} cases in {} files: {}\n",
        files.len(),
        if failed { "FAILED" } else { "ok" }
    ))?;
    Ok(if failed {
        ExitCode::from(FINDINGS)
    } else {
        ExitCode::SUCCESS
    })
}

fn test_files(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().ends_with(".test.yaml"))
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<Source, Box<Diagnostic>> {
    let name = path.display().to_string();
    match fs::read(path) {
        Ok(bytes) => Source::from_bytes(name, &bytes),
        Err(error) => Err(Box::new(Diagnostic::without_place(
            name,
            Severity::Error,
            "unreadable",
            format!("it cannot be read: {error}"),
        ))),
    }
}
