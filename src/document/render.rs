//! Diagnostics for people, for scripts and for GitHub.

mod width;

use std::fmt::Write as _;

use serde_json::json;

use super::locate::{Diagnostic, Spot};
use super::problem::Severity;
use width::{columns, printable};

/// The way rustc shows them: message, place, the line with the part meant underlined, hint; at the end a line that counts.
///
/// Control characters of what people wrote are escaped: a policy must not be able to steer a terminal. The empty text for
/// no diagnostics.
#[must_use]
pub fn text(diagnostics: &[Diagnostic], colour: bool) -> String {
    let paint = Paint { colour };
    let mut out = String::new();
    for diagnostic in diagnostics {
        one(&mut out, diagnostic, paint);
        out.push('\n');
    }
    if let Some(line) = count(diagnostics) {
        let style = if diagnostics.iter().any(Diagnostic::is_error) {
            RED
        } else {
            YELLOW
        };
        out.push_str(&paint.with(style, &line));
        out.push('\n');
    }
    out
}

/// `2 errors, 1 warning`; `None` where there is nothing to count.
#[must_use]
pub fn count(diagnostics: &[Diagnostic]) -> Option<String> {
    let errors = diagnostics.iter().filter(|diagnostic| diagnostic.is_error()).count();
    let warnings = diagnostics.len() - errors;
    let some = |number: usize, what: &str| {
        let plural = if number == 1 { "" } else { "s" };
        (number > 0).then(|| format!("{number} {what}{plural}"))
    };
    let parts: Vec<_> = [some(errors, "error"), some(warnings, "warning")]
        .into_iter()
        .flatten()
        .collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// One JSON array of objects with `file`, `line`, `column`, `end_line`, `end_column` (numbers from 1, or null), `severity`,
/// `code`, `path`, `message`, `hint` (or null) and `related` (objects with `file`, `line`, `column`, `message`).
#[must_use]
pub fn json(diagnostics: &[Diagnostic]) -> String {
    let all: Vec<_> = diagnostics
        .iter()
        .map(|diagnostic| {
            let spot = diagnostic.spot.as_ref();
            let related: Vec<_> = diagnostic
                .related
                .iter()
                .map(|related| {
                    json!({
                        "file": related.source,
                        "line": related.spot.as_ref().map(|spot| spot.line),
                        "column": related.spot.as_ref().map(|spot| spot.column),
                        "message": related.message,
                    })
                })
                .collect();
            json!({
                "file": diagnostic.source,
                "line": spot.map(|spot| spot.line),
                "column": spot.map(|spot| spot.column),
                "end_line": spot.map(|spot| spot.end_line),
                "end_column": spot.map(|spot| spot.end_column),
                "severity": diagnostic.severity.name(),
                "code": diagnostic.code,
                "path": diagnostic.path.to_string(),
                "message": diagnostic.message,
                "hint": diagnostic.hint,
                "related": related,
            })
        })
        .collect();
    format!("{:#}\n", serde_json::Value::from(all))
}

/// Workflow commands, one line each, which GitHub Actions shows beside the lines of a pull request.
///
/// Source of the escapes: `actions/toolkit`, `packages/core/src/command.ts`.
#[must_use]
pub fn github(diagnostics: &[Diagnostic]) -> String {
    let data = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let property = |text: &str| data(text).replace(':', "%3A").replace(',', "%2C");
    let mut out = String::new();
    for diagnostic in diagnostics {
        let _ = write!(
            out,
            "::{} file={}",
            diagnostic.severity.name(),
            property(&diagnostic.source)
        );
        if let Some(spot) = &diagnostic.spot {
            let _ = write!(out, ",line={},endLine={}", spot.line, spot.end_line);
            // GitHub ignores an annotation whose columns span lines.
            if spot.line == spot.end_line {
                let _ = write!(out, ",col={},endColumn={}", spot.column, spot.end_column);
            }
        }
        let hint = diagnostic
            .hint
            .as_ref()
            .map_or_else(String::new, |hint| format!("\nhint: {hint}"));
        let message = printable(&diagnostic.message);
        let _ = writeln!(
            out,
            ",title={}::{}",
            property(diagnostic.code),
            data(&format!("{message}{hint}"))
        );
    }
    out
}

fn one(out: &mut String, diagnostic: &Diagnostic, paint: Paint) {
    let style = match diagnostic.severity {
        Severity::Error => RED,
        Severity::Warning => YELLOW,
    };
    let head = format!("{}[{}]", diagnostic.severity.name(), diagnostic.code);
    let message = printable(&diagnostic.message);
    let _ = writeln!(
        out,
        "{}{}",
        paint.with(style, &head),
        paint.with(BOLD, &format!(": {message}"))
    );
    let margin = std::iter::once(&diagnostic.spot)
        .chain(diagnostic.related.iter().map(|related| &related.spot))
        .flatten()
        .map(|spot| spot.line.to_string().len())
        .max()
        .unwrap_or(1);
    let indent = " ".repeat(margin);
    let source = printable(&diagnostic.source);
    match &diagnostic.spot {
        Some(spot) => {
            let arrow = paint.with(BLUE, "-->");
            let _ = writeln!(out, "{indent}{arrow} {source}:{}:{}", spot.line, spot.column);
            excerpt(out, spot, margin, "^", style, "", paint);
        }
        None => {
            let _ = writeln!(
                out,
                "{indent}{} {source}{}",
                paint.with(BLUE, "-->"),
                inside(diagnostic)
            );
        }
    }
    for related in &diagnostic.related {
        let source = printable(&related.source);
        match &related.spot {
            Some(spot) => {
                let arrow = paint.with(BLUE, ":::");
                let _ = writeln!(out, "{indent}{arrow} {source}:{}:{}", spot.line, spot.column);
                excerpt(out, spot, margin, "-", BLUE, &printable(&related.message), paint);
            }
            None => {
                let note = printable(&related.message);
                let _ = writeln!(out, "{indent} {} note: {source}: {note}", paint.with(BLUE, "="));
            }
        }
    }
    if let Some(hint) = &diagnostic.hint {
        let mark = paint.with(BLUE, "=");
        let hint = printable(hint);
        let _ = writeln!(out, "{indent} {mark} {} {hint}", paint.with(BOLD, "hint:"));
    }
}

/// Where there is no line, the path says where.
fn inside(diagnostic: &Diagnostic) -> String {
    if diagnostic.path.is_root() {
        String::new()
    } else {
        format!(", at {}", printable(&diagnostic.path.to_string()))
    }
}

fn excerpt(out: &mut String, spot: &Spot, margin: usize, mark: &str, style: &str, note: &str, paint: Paint) {
    let end = if spot.end_line == spot.line {
        spot.end_column
    } else {
        spot.text.trim_end().chars().count() + 1
    };
    let window = columns(&spot.text, spot.column - 1, end.max(spot.column) - 1);
    let bar = paint.with(BLUE, "|");
    let indent = " ".repeat(margin);
    let number = paint.with(BLUE, &format!("{:>margin$}", spot.line));
    let line = window.line.trim_end();
    let marks = mark.repeat(window.width.max(1));
    let note = if note.is_empty() {
        String::new()
    } else {
        format!(" {note}")
    };
    let under = paint.with(style, &format!("{marks}{note}"));
    let _ = writeln!(out, "{indent} {bar}");
    let _ = writeln!(out, "{number} {bar} {line}");
    let _ = writeln!(out, "{indent} {bar} {}{under}", " ".repeat(window.before));
}

#[derive(Clone, Copy)]
struct Paint {
    colour: bool,
}

impl Paint {
    fn with(self, style: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{style}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

const RED: &str = "1;31";
const YELLOW: &str = "1;33";
const BLUE: &str = "1;34";
const BOLD: &str = "1";

#[cfg(test)]
mod tests;
