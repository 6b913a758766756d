//! What YAML has and documents here must not.

use super::{Reader, byte_span};
use crate::document::scalar;
use crate::document::source::Span;

impl Reader<'_> {
    /// A tag, of any kind.
    pub(super) fn tag(&mut self, place: &granit_parser::Span) {
        let span = place.tag_span().as_ref().map_or_else(|| byte_span(place), byte_span);
        let tag = scalar::cut(self.slice(span));
        self.report(
            "tag",
            span,
            format!("tags are not supported, and `{tag}` is read as one"),
        )
        .hint = Some("leave it out; a text that begins with `!` must be put in quotes".to_owned());
    }

    /// `&name`
    pub(super) fn anchor(&mut self, span: Span) {
        let name = scalar::cut(self.slice(span));
        self.report(
            "anchor",
            span,
            format!("anchors are not supported, and `{name}` is read as one"),
        )
        .hint = Some(
            "write the value out wherever it is needed; a text that begins with `&` must be put in quotes".to_owned(),
        );
    }

    /// `*name`, which is mostly a pattern without quotes.
    pub(super) fn alias(&mut self, span: Span) {
        let name = &*scalar::cut(self.slice(span));
        let is_pattern = !name
            .trim_start_matches('*')
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
            || name.starts_with("**");
        let (message, hint) = if is_pattern {
            (
                "a text that begins with `*` must be put in quotes".to_owned(),
                format!("write {}", scalar::quoted(name)),
            )
        } else {
            (
                format!("aliases are not supported, and `{name}` is read as one"),
                format!(
                    "write the value out; if a text that begins with `*` is meant, put it in quotes: {}",
                    scalar::quoted(name)
                ),
            )
        };
        self.report("alias", span, message).hint = Some(hint);
    }

    /// A list or a mapping where a key is expected, which is mostly a template.
    pub(super) fn collection_as_key(&mut self, span: Span) {
        let before = span.range().map_or("", |range| &self.text[..range.start]);
        let hint = if before.ends_with('{') || self.slice(span).starts_with("{{") {
            "`{{ … }}` looks like a template: Waypost reads plain YAML, so render it first"
        } else if self.slice(span).starts_with('{') {
            "a text that begins with `{` must be put in quotes"
        } else {
            "write a name before the `:`"
        };
        self.report(
            "key-not-string",
            span,
            "a key must be a string, this is a list or a mapping",
        )
        .hint = Some(hint.to_owned());
    }
}
