//! What reaches the terminal, and how a process ends.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use crate::document::{Diagnostic, render};

/// The exit status for findings: mistakes in policies, images that are denied, references that are none.
pub const FINDINGS: u8 = 1;

/// The exit status for usage and configuration; clap's own, too.
pub const USAGE: u8 = 2;

/// What people wrote is wrong, and nothing can be done before it is right. It displays without colours; at the end of the
/// process it is shown on stderr, with colours on a terminal.
#[derive(Clone, Debug)]
pub struct Invalid(pub Vec<Diagnostic>);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&render::text(&self.0, false))
    }
}

impl std::error::Error for Invalid {}

/// Whether what is written to stdout may have colours.
#[must_use]
pub fn stdout_colour() -> bool {
    anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never
}

/// Whether what is written to stderr may have colours.
#[must_use]
pub fn stderr_colour() -> bool {
    anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never
}

/// Writes data.
///
/// # Errors
/// Those of writing. Hand a closed pipe (`| head`) on: it ends the process without a word.
pub fn write_stdout(data: impl AsRef<[u8]>) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(data.as_ref())?;
    stdout.flush()
}

/// Says something on stderr, beside the data.
pub(super) fn remark(text: &str) {
    let _ = writeln!(io::stderr().lock(), "waypost: {text}"); // nobody left to tell
}

/// Shows warnings on stderr.
pub(super) fn warn(diagnostics: &[Diagnostic]) {
    if !diagnostics.is_empty() {
        let _ = io::stderr()
            .lock()
            .write_all(render::text(diagnostics, stderr_colour()).as_bytes()); // nobody left to tell
    }
}

/// Says why on stderr.
pub(super) fn fail(error: &anyhow::Error) -> ExitCode {
    let closed = |cause: &(dyn std::error::Error + 'static)| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    if error.chain().any(closed) {
        return ExitCode::SUCCESS; // the reader has what it wanted
    }
    let colour = stderr_colour();
    let text = match error.downcast_ref::<Invalid>() {
        Some(Invalid(problems)) => render::text(problems, colour),
        None => {
            let head = if colour { "\x1b[1;31merror\x1b[0m" } else { "error" };
            format!("{head}: {error:#}\n")
        }
    };
    let _ = io::stderr().lock().write_all(text.as_bytes()); // nobody left to tell
    ExitCode::from(USAGE)
}
