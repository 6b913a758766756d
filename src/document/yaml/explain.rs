//! What the YAML scanner says, said so that it helps.

use granit_parser::{ErrorKind, ScanError};

use super::MAX_DEPTH;
use crate::document::path::Path;
use crate::document::problem::Problem;
use crate::document::source::Span;

/// The first character that no YAML text may have (YAML 1.2.2, section 5.1), as a problem.
pub(crate) fn unprintable(text: &str) -> Option<Problem> {
    // No other byte begins one. All are looked at at once, where `any` would look at them one by one.
    let may_begin_one = |byte| matches!(byte, 0..b' ' | 0x7f | 0xc2 | 0xef) & !matches!(byte, b'\t' | b'\n' | b'\r');
    if !text.bytes().fold(false, |found, byte| found | may_begin_one(byte)) {
        return None;
    }
    let (at, character) = text.char_indices().find(|&(_, character)| {
        matches!(character,
            '\0'..='\x08' | '\x0b' | '\x0c' | '\x0e'..='\x1f' | '\x7f'..='\u{84}' | '\u{86}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}')
    })?;
    let span = Span::new(at, at + character.len_utf8());
    let (what, hint) = if character == '\0' {
        ("a NUL byte", "is it a text file, saved as UTF-8?")
    } else {
        (
            "a control character",
            "remove it, or write it as an escape such as \"\\u0007\" in double quotes",
        )
    };
    let message = format!("{what} (U+{:04X}) cannot stand in YAML", u32::from(character));
    Some(
        Problem::error("invalid-character", Path::root(), message)
            .at(span)
            .hint(hint),
    )
}

/// A syntax error as a problem.
pub(crate) fn syntax(error: &ScanError, text: &str) -> Problem {
    let offset = offset(error, text);
    if let Some(tab) = tab_before(text, offset) {
        return Problem::error(
            "tab-indentation",
            Path::root(),
            "a tab is used for indentation, where YAML allows only spaces",
        )
        .at(Span::new(tab, tab + 1))
        .hint("replace the tabs at the beginning of lines by spaces");
    }
    let (message, hint) = words(error.kind(), text, offset);
    let length = text[offset..]
        .chars()
        .next()
        .filter(|&character| character != '\n' && character != '\r')
        .map_or(0, char::len_utf8);
    if *error.kind() == ErrorKind::RecursionLimitExceeded {
        return too_deep(Path::root(), Span::new(offset, offset + length));
    }
    let mut problem = Problem::error("syntax", Path::root(), message).at(Span::new(offset, offset + length));
    problem.hint = hint;
    problem
}

/// What is nested deeper than we follow.
pub(super) fn too_deep(path: Path, span: Span) -> Problem {
    let message = format!("this is nested deeper than {MAX_DEPTH} levels");
    Problem::error("too-deep", path, message)
        .at(span)
        .hint("nothing that Waypost reads is nested so deep: is it the right file?")
}

fn offset(error: &ScanError, text: &str) -> usize {
    let marker = error.marker();
    let at = marker
        .byte_offset()
        .unwrap_or_else(|| text.char_indices().nth(marker.index()).map_or(text.len(), |(at, _)| at));
    text.floor_char_boundary(at.min(text.len()))
}

/// A tab in the indentation of the line of `offset`, of the line before it or of the one after: the scanner often notices a
/// line late or, inside a plain text, a line early.
fn tab_before(text: &str, offset: usize) -> Option<usize> {
    let start = line_start(text, offset);
    let previous = line_start(text, start.saturating_sub(1));
    let end = text[offset..]
        .match_indices('\n')
        .nth(1)
        .map_or(text.len(), |(at, _)| offset + at);
    let mut at = previous;
    for line in text[previous..end].split_inclusive('\n') {
        let content = line.trim_start_matches([' ', '\t']);
        let indentation = &line[..line.len() - content.len()];
        if let Some(tab) = indentation.find('\t')
            && !content.trim().is_empty()
            && !content.starts_with('#')
        {
            return Some(at + tab);
        }
        at += line.len();
    }
    None
}

fn line_start(text: &str, offset: usize) -> usize {
    text[..offset].rfind('\n').map_or(0, |at| at + 1)
}

fn words(kind: &ErrorKind, text: &str, offset: usize) -> (String, Option<String>) {
    let rest = &text[offset..];
    let line = text[line_start(text, offset)..].lines().next().unwrap_or("");
    let (message, hint) = match kind {
        ErrorKind::UnclosedQuotedScalar | ErrorKind::InvalidQuotedScalarIndent => (
            "a quote is opened and not closed".to_owned(),
            "put the closing quote at the end of the text, on the same line",
        ),
        ErrorKind::InvalidTrailingSingleQuotedScalar | ErrorKind::InvalidTrailingDoubleQuotedScalar => (
            "something follows the closing quote".to_owned(),
            "put the whole value in quotes; inside '…' write '' for a quote, inside \"…\" write \\\"",
        ),
        ErrorKind::UnknownQuotedScalarEscape => (
            "this escape does not exist: in \"…\" a backslash begins an escape such as \\n".to_owned(),
            "use single quotes, in which a backslash is a backslash: '…'",
        ),
        ErrorKind::UnclosedFlowCollection { open } => {
            (format!("this `{open}` is not closed"), "add the missing `]` or `}`")
        }
        ErrorKind::UnexpectedEofFlowSequence
        | ErrorKind::UnexpectedEofFlowMapping
        | ErrorKind::UnexpectedEofImplicitFlowMapping => (
            "the text ends inside a `[` or `{`".to_owned(),
            "add the missing `]` or `}`",
        ),
        ErrorKind::MismatchedFlowCollectionEnd { open, close } => (
            format!("this `{open}` is closed by `{close}`"),
            "use `[` with `]` and `{` with `}`",
        ),
        ErrorKind::MisplacedFlowCollectionEnd => (
            "this bracket closes nothing".to_owned(),
            "remove it, or put a text that begins with it in quotes",
        ),
        ErrorKind::ExpectedFlowSequenceSeparator | ErrorKind::ExpectedFlowMappingSeparator
            if rest.starts_with(['{', '[']) =>
        {
            (
                format!("`{}` cannot stand inside an unquoted text between brackets", &rest[..1]),
                "put the text in quotes: \"…\"",
            )
        }
        ErrorKind::ExpectedFlowSequenceSeparator => (
            "expected `,` or `]` here".to_owned(),
            "put a comma between the entries of a list, and `]` after the last",
        ),
        ErrorKind::ExpectedFlowMappingSeparator => (
            "expected `,` or `}` here".to_owned(),
            "put a comma between the entries of a mapping, and `}` after the last",
        ),
        ErrorKind::ExpectedBlockMappingKey
            if line.trim_start().contains(['{', '}']) && !line.trim_start().starts_with('-') =>
        {
            (
                "nothing can follow the closing `}`".to_owned(),
                "if a text with `{` and `}` is meant, put it in quotes: \"{registry}/{repository}\"",
            )
        }
        ErrorKind::ExpectedBlockMappingKey => (
            "expected a `key: value` that lines up with the keys above".to_owned(),
            "check the indentation of this line",
        ),
        ErrorKind::ExpectedBlockSequenceEntry => (
            "expected a `- ` that lines up with the entries above".to_owned(),
            "check the indentation of this line",
        ),
        ErrorKind::MappingValueNotAllowed | ErrorKind::InvalidColonPlacement if line.matches(": ").count() > 1 => (
            "a `: ` cannot stand inside an unquoted text".to_owned(),
            "put the text in quotes, or begin a mapping on the next line",
        ),
        ErrorKind::MappingValueNotAllowed | ErrorKind::InvalidColonPlacement | ErrorKind::MappingKeyNotAllowed => (
            "a key with a `:` cannot stand here".to_owned(),
            "check the indentation of this line and whether the line above is complete",
        ),
        ErrorKind::SimpleKeyExpected | ErrorKind::InvalidSimpleKey => (
            "expected `key: value`, and found no `:`".to_owned(),
            "put a `:` and a space after the key; a key is on one line",
        ),
        ErrorKind::BlockSequenceEntryNotAllowed | ErrorKind::BlockEntryInFlowCollection => (
            "a list entry with `- ` cannot begin here".to_owned(),
            "begin the list on a line of its own, below its key",
        ),
        ErrorKind::InvalidIndentation | ErrorKind::InvalidFlowScalarIndent | ErrorKind::InvalidBlockScalarIndent => (
            "this line is indented by too little".to_owned(),
            "indent it by more spaces than the key it belongs to",
        ),
        ErrorKind::UnexpectedCharacter { character } => (
            format!("an unquoted text cannot begin with `{}`", character.escape_default()),
            "put the text in quotes: \"…\"",
        ),
        ErrorKind::ExpectedDocumentStart => (
            "the document is complete before this, and something follows it".to_owned(),
            "check the indentation and the brackets above; documents are separated by a line `---`",
        ),
        ErrorKind::MissingAnchorOrAliasName => (
            format!(
                "an unquoted text cannot begin with `{}`",
                rest.chars().next().unwrap_or('*')
            ),
            "put the text in quotes: \"…\"",
        ),
        other => return (other.to_string(), None),
    };
    (message, Some(hint.to_owned()))
}
