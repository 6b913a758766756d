//! From a place in a tree to a line and a column.

use std::ops::Range;

use super::node::{Node, Style};
use super::path::Path;
use super::problem::{Problem, Severity, Target};
use super::source::{Source, Span};

/// A [`Problem`] with everything that is needed to show it; [`render`](super::render) does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The name of the source: a file, `<stdin>`, an environment variable, a flag.
    pub source: String,
    /// The place; `None` where there is no text (an object of an API, a variable).
    pub spot: Option<Spot>,
    /// How bad it is.
    pub severity: Severity,
    /// A stable name in kebab-case.
    pub code: &'static str,
    /// The place by keys and indexes; empty for the document itself and for syntax errors.
    pub path: Path,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Other places that have to do with it.
    pub related: Vec<RelatedSpot>,
}

/// Another place that has to do with a [`Diagnostic`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelatedSpot {
    /// The name of its source, mostly the diagnostic's own.
    pub source: String,
    /// The place.
    pub spot: Option<Spot>,
    /// What is to be seen there.
    pub message: String,
}

/// A place in a text, for people. Lines and columns count from 1, columns in characters, and the end is exclusive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot {
    /// The line of the first character.
    pub line: usize,
    /// Its column.
    pub column: usize,
    /// The line of the end.
    pub end_line: usize,
    /// The column after the last character.
    pub end_column: usize,
    /// The text of the first line, without its line break.
    pub text: String,
}

impl Diagnostic {
    /// About a source as a whole, or one without lines.
    pub fn without_place(
        source: impl Into<String>,
        severity: Severity,
        code: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            source: source.into(),
            spot: None,
            severity,
            code,
            path: Path::root(),
            message: message.into(),
            hint: None,
            related: Vec::new(),
        }
    }

    /// Whether it is an error, not a warning.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// Finds the lines of a problem. `node` is the root of the document that its paths begin at; problems of
/// [`parse`](super::parse) need none.
///
/// A path that does not exist (a missing key) stands for the innermost part of it that does; nothing after a key
/// (`key:`) for the key.
#[must_use]
pub fn locate(problem: &Problem, source: &Source, node: Option<&Node>) -> Diagnostic {
    let place =
        |path, target, within| span_of(source, node, path, target, within).and_then(|range| Spot::of(source, range));
    Diagnostic {
        source: source.name.clone(),
        spot: place(&problem.path, problem.target, problem.within.as_ref()),
        severity: problem.severity,
        code: problem.code,
        path: problem.path.clone(),
        message: problem.message.clone(),
        hint: problem.hint.clone(),
        related: problem
            .related
            .iter()
            .map(|related| RelatedSpot {
                source: source.name.clone(),
                spot: place(&related.path, related.target, None),
                message: related.message.clone(),
            })
            .collect(),
    }
}

impl Spot {
    /// The place of a byte range; `None` where the text is not so long.
    #[must_use]
    pub fn of(source: &Source, range: Range<usize>) -> Option<Self> {
        let text = &*source.text;
        text.get(range.clone())?;
        let (line, start) = position(text, range.start);
        let (end_line, end_column) = if text[range.clone()].contains('\n') {
            let (end_line, end) = position(text, range.end);
            (end_line, column(text, end, range.end))
        } else {
            (line, column(text, start, range.end))
        };
        Some(Self {
            line,
            column: column(text, start, range.start),
            end_line,
            end_column,
            text: text[start..].lines().next().unwrap_or("").to_owned(),
        })
    }
}

/// Where the lines of a text begin, for many places of a long text: [`Spot::of`] counts from the beginning each time.
pub(crate) struct Lines(Vec<usize>);

impl Lines {
    pub(crate) fn of(source: &Source) -> Self {
        let breaks = source.text.match_indices('\n').map(|(at, _)| at + 1);
        Self(std::iter::once(0).chain(breaks).collect())
    }

    /// The place of a byte range, as [`Spot::of`] has it; without an excerpt where the line is a whole file of its own.
    pub(crate) fn spot(&self, source: &Source, range: Range<usize>) -> Option<Spot> {
        let text = source.text.get(range.clone())?;
        let line = self.0.partition_point(|start| *start <= range.start);
        let before = *self.0.get(line.checked_sub(1)?)?;
        let end = self.0.get(line).copied().unwrap_or(source.text.len());
        // Within these lines everything is as in the whole text, but for the line's number.
        if end - before > LONGEST_LINE && !text.contains('\n') {
            let column = column(&source.text, before, range.start);
            let end_column = column + text.chars().count();
            return Some(Spot {
                line,
                column,
                end_line: line,
                end_column,
                text: String::new(),
            });
        }
        let end = end.max(range.end);
        let part = Source::new("", source.text.get(before..end)?);
        let mut spot = Spot::of(&part, range.start - before..range.end - before)?;
        spot.line += line - 1;
        spot.end_line += line - 1;
        Some(spot)
    }
}

/// Longer lines are not shown to anybody.
const LONGEST_LINE: usize = 1 << 16;

/// The line of a byte offset, from 1, and the offset at which that line begins (after a byte order mark, which no editor
/// counts).
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..offset];
    let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
    let start = before.iter().rposition(|&byte| byte == b'\n').map_or_else(
        || {
            if text.starts_with('\u{feff}') { 3.min(offset) } else { 0 }
        },
        |at| at + 1,
    );
    (line, start)
}

fn column(text: &str, start: usize, offset: usize) -> usize {
    1 + text[start..offset]
        .chars()
        .filter(|&character| character != '\r')
        .count()
}

fn span_of(
    source: &Source,
    root: Option<&Node>,
    path: &Path,
    target: Target,
    within: Option<&Range<usize>>,
) -> Option<Range<usize>> {
    if let Target::Span(span) = target {
        return span.range();
    }
    let root = root?;
    let mut path = path.clone();
    let mut target = target;
    let node = loop {
        match root.at(&path) {
            Some(node) => break node,
            None => {
                path = path.parent()?;
                target = Target::Value;
            }
        }
    };
    let key = || root.key_span(&path).and_then(Span::range);
    if (target == Target::Key || node.span.is_empty())
        && let Some(range) = key()
    {
        return Some(range);
    }
    let span = node.span.range()?;
    let inner = within.and_then(|within| inside(source.text.get(span.clone())?, node, within));
    Some(match inner {
        Some(inner) => span.start + inner.start..span.start + inner.end,
        None => span,
    })
}

/// The bytes of `written` that the bytes `within` of a string's value come from; `None` where that cannot be told.
fn inside(written: &str, node: &Node, within: &Range<usize>) -> Option<Range<usize>> {
    let value = node.as_str()?;
    value.get(within.clone())?;
    let quote = usize::from(matches!(node.style, Style::SingleQuoted | Style::DoubleQuoted));
    let body = written.get(quote..written.len().checked_sub(quote)?)?;
    if body == value {
        return Some(quote + within.start..quote + within.end);
    }
    let mut source = body.char_indices().peekable();
    let (mut start, mut end) = (None, None);
    for (at, character) in value.char_indices() {
        let from = quote + source.peek().map_or(body.len(), |&(at, _)| at);
        if at == within.start {
            start = Some(from);
        }
        if at == within.end {
            end = Some(from);
            break;
        }
        next_character(&mut source, node.style, character)?;
    }
    let rest = quote + source.peek().map_or(body.len(), |&(at, _)| at);
    let end = end.or_else(|| (within.end == value.len()).then_some(rest));
    let start = start.or_else(|| (within.start == value.len()).then_some(rest));
    Some(start?..end?)
}

/// Takes what stands for `wanted` off the source; `None` where something else is there.
fn next_character(
    source: &mut std::iter::Peekable<std::str::CharIndices<'_>>,
    style: Style,
    wanted: char,
) -> Option<()> {
    let (_, character) = source.next()?;
    match (style, character) {
        (Style::DoubleQuoted, '\\') => {
            let (_, escape) = source.next()?;
            let digits = match escape {
                'x' => 2,
                'u' if u32::from(wanted) > 0xffff => 4 + 2 + 4, // a surrogate pair
                'u' => 4,
                'U' => 8,
                '\n' | '\r' => return None,
                _ => 0,
            };
            for _ in 0..digits {
                source.next()?;
            }
            Some(())
        }
        (Style::SingleQuoted, '\'') => {
            source.next()?;
            (wanted == '\'').then_some(())
        }
        (Style::Literal, '\r') if wanted == '\n' => {
            source.next()?;
            skip_indentation(source);
            Some(())
        }
        (Style::Literal, '\n') if wanted == '\n' => {
            skip_indentation(source);
            Some(())
        }
        _ => (character == wanted).then_some(()),
    }
}

/// Lines of a block that are indented further than the rest are not told apart: the caller finds a mismatch.
fn skip_indentation(source: &mut std::iter::Peekable<std::str::CharIndices<'_>>) {
    while source.next_if(|&(_, character)| character == ' ').is_some() {}
}

#[cfg(test)]
mod tests;
