//! What is wrong with a document, before anybody has looked up the line.

use std::ops::Range;

use super::path::Path;
use super::source::Span;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// The document is refused.
    Error,
    /// The document is used, and probably does not do what its author meant.
    Warning,
}

impl Severity {
    /// `error` or `warning`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// Which part of the entry at a path is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// The value.
    #[default]
    Value,
    /// The key of a mapping's entry.
    Key,
    /// A place of the text, for what is no part of any tree (a syntax error, the second of two equal keys).
    Span(Span),
}

/// Something wrong at one place of one document. [`locate`](super::locate()) finds the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// A stable name in kebab-case, for scripts and for looking it up.
    pub code: &'static str,
    /// Where, by keys and indexes.
    pub path: Path,
    /// Which part of the entry at `path`.
    pub target: Target,
    /// The bytes meant of the scalar's text (after quotes and escapes are undone); `None` is all of it.
    pub within: Option<Range<usize>>,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Other places that have to do with it.
    pub related: Vec<Related>,
}

/// Another place that has to do with a [`Problem`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Related {
    /// Where, by keys and indexes, in the same document.
    pub path: Path,
    /// Which part of the entry at `path`.
    pub target: Target,
    /// What is to be seen there, such as "first written here".
    pub message: String,
}

impl Problem {
    /// An error about the value at `path`.
    pub fn error(code: &'static str, path: Path, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, path, message.into())
    }

    /// A warning about the value at `path`.
    pub fn warning(code: &'static str, path: Path, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, path, message.into())
    }

    fn new(severity: Severity, code: &'static str, path: Path, message: String) -> Self {
        Self {
            severity,
            code,
            path,
            target: Target::Value,
            within: None,
            message,
            hint: None,
            related: Vec::new(),
        }
    }

    /// About the key, not the value.
    #[must_use]
    pub fn on_key(mut self) -> Self {
        self.target = Target::Key;
        self
    }

    /// About this place of the text.
    #[must_use]
    pub fn at(mut self, span: Span) -> Self {
        self.target = Target::Span(span);
        self
    }

    /// About these bytes of the scalar's text.
    #[must_use]
    pub fn within(mut self, bytes: Range<usize>) -> Self {
        self.within = Some(bytes);
        self
    }

    /// With what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With another place, of which the value is meant.
    #[must_use]
    pub fn related(self, path: Path, message: impl Into<String>) -> Self {
        self.related_target(path, Target::Value, message)
    }

    /// With another place.
    #[must_use]
    pub fn related_target(mut self, path: Path, target: Target, message: impl Into<String>) -> Self {
        self.related.push(Related {
            path,
            target,
            message: message.into(),
        });
        self
    }
}
