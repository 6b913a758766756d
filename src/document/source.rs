//! The text of a document and places in it.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::locate::{Diagnostic, Spot};
use super::problem::Severity;

/// A text that somebody wrote, and the name it is shown under.
#[derive(Clone, Debug)]
pub struct Source {
    /// The path of the file, or a label such as `<stdin>`.
    pub name: String,
    /// The whole text.
    pub text: Arc<str>,
}

impl Source {
    /// A source from a text that is known to be UTF-8.
    pub fn new(name: impl Into<String>, text: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            text: text.into(),
        }
    }

    /// A source from the bytes of a file.
    ///
    /// # Errors
    /// A diagnostic with line and column where the bytes stop being UTF-8, or none where there are more than
    /// [`MAX_BYTES`] of them.
    pub fn from_bytes(name: impl Into<String>, bytes: &[u8]) -> Result<Self, Box<Diagnostic>> {
        Self::from_bytes_up_to(MAX_BYTES, name, bytes)
    }

    /// The same with another limit than [`MAX_BYTES`], for what is no policy: `most` bytes, less than 4 GiB.
    ///
    /// # Errors
    /// As [`from_bytes`](Self::from_bytes).
    pub fn from_bytes_up_to(most: usize, name: impl Into<String>, bytes: &[u8]) -> Result<Self, Box<Diagnostic>> {
        let name = name.into();
        if bytes.len() > most {
            return Err(Box::new(too_large(&name, bytes.len(), most)));
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Self::new(name, text)),
            Err(error) => Err(Box::new(not_utf8(&name, bytes, error.valid_up_to()))),
        }
    }
}

/// A range of bytes of a [`Source`]'s text: from `start` up to but not including `end`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// The place of what was not written in a text, such as an object of the Kubernetes API.
    pub const NONE: Self = Self {
        start: u32::MAX,
        end: u32::MAX,
    };

    /// The bytes from `start` to `end`. Offsets past 4 GiB do not occur: texts have limits below that.
    #[must_use]
    pub fn new(start: usize, end: usize) -> Self {
        let cut = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
        Self {
            start: cut(start),
            end: cut(end.max(start)),
        }
    }

    /// The byte range, or `None` for [`Span::NONE`].
    #[must_use]
    pub fn range(self) -> Option<Range<usize>> {
        (self != Self::NONE).then_some(self.start as usize..self.end as usize)
    }

    /// Whether it covers no byte. An omitted value (`key:` and nothing) has an empty span.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// From the start of this one to the end of the other.
    #[must_use]
    pub(super) fn to(self, other: Self) -> Self {
        if self == Self::NONE || other == Self::NONE {
            return self;
        }
        Self {
            start: self.start,
            end: self.end.max(other.end),
        }
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.range() {
            Some(range) => write!(f, "{range:?}"),
            None => f.write_str("nowhere"),
        }
    }
}

pub(super) fn too_large(name: &str, bytes: usize, most: usize) -> Diagnostic {
    let mut diagnostic = Diagnostic::without_place(
        name,
        Severity::Error,
        "too-large",
        format!(
            "this text has {bytes} bytes, more than the {} MiB that Waypost reads",
            most >> 20
        ),
    );
    diagnostic.hint = Some("is it the right file? If it is, divide it into several".to_owned());
    diagnostic
}

fn not_utf8(name: &str, bytes: &[u8], valid: usize) -> Diagnostic {
    let utf16 = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
    let start = bytes[..valid]
        .iter()
        .rposition(|&byte| byte == b'\n')
        .map_or(0, |at| at + 1);
    let end = bytes[valid..]
        .iter()
        .position(|&byte| byte == b'\n')
        .map_or(bytes.len(), |at| valid + at);
    let line = 1 + bytes[..start].iter().filter(|&&byte| byte == b'\n').count();
    let column = 1 + String::from_utf8_lossy(&bytes[start..valid]).chars().count();
    let mut diagnostic = Diagnostic::without_place(
        name,
        Severity::Error,
        "not-utf8",
        format!(
            "this is not UTF-8 text: the byte 0x{:02x} cannot stand here",
            bytes.get(valid).copied().unwrap_or_default()
        ),
    );
    diagnostic.spot = Some(Spot {
        line,
        column,
        end_line: line,
        end_column: column + 1,
        text: String::from_utf8_lossy(&bytes[start..end]).into_owned(),
    });
    diagnostic.hint = Some(if utf16 {
        "the file was saved as UTF-16: save it as UTF-8".to_owned()
    } else {
        "save the file as UTF-8".to_owned()
    });
    diagnostic
}

/// The longest text that is read, in bytes (8 MiB). 10,000 rules of ordinary size take two.
pub const MAX_BYTES: usize = 8 << 20;
