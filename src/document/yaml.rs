//! YAML into nodes: the part of YAML 1.2 that a configuration needs, with every mistake reported in plain words.
//!
//! Left out on purpose, and refused with a hint: anchors and aliases (which copy without saying so, and of which a few
//! lines can stand for gigabytes), merge keys, tags, and keys that are no strings.

mod explain;
mod refuse;

pub(crate) use explain::{syntax, unprintable};

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use granit_parser::{Event, Parser, ScalarStyle, StrInput, StructureStyle};

use super::node::{Key, Node, Style, Value};
use super::path::{Path, Segment};
use super::problem::{Problem, Target};
use super::scalar;
use super::source::{MAX_BYTES, Source, Span, too_large};

/// Reads every document of a text.
///
/// A document with a syntax error is left out, and reading goes on at the next `---`. What else is wrong (duplicate keys,
/// aliases, tags, …) is reported while the rest of its document is kept, so that later checks can add to the list; a
/// document that anything was reported of must not be used. An empty text, or one of comments only, has no documents.
///
/// Places of these problems are [`Target::Span`]: they hold without the node.
#[must_use]
pub fn parse(source: &Source) -> (Vec<Node>, Vec<Problem>) {
    let text = &*source.text;
    if text.len() > MAX_BYTES {
        let refusal = too_large(&source.name, text.len(), MAX_BYTES);
        let mut problem = Problem::error(refusal.code, Path::root(), refusal.message);
        problem.target = Target::Span(Span::NONE);
        problem.hint = refusal.hint;
        return (Vec::new(), vec![problem]);
    }
    if let Some(problem) = explain::unprintable(text) {
        return (Vec::new(), vec![problem]);
    }
    let options = granit_parser::options! {
        emit_unresolved_aliases: true,
        emit_anchor_events: true,
    };
    let mut reader = Reader {
        text,
        events: Parser::new_from_str_with_options(text, options),
        frames: Vec::new(),
        documents: Vec::new(),
        problems: Vec::new(),
    };
    reader.read();
    (reader.documents, reader.problems)
}

struct Reader<'a> {
    text: &'a str,
    events: Parser<'a, StrInput<'a>>,
    frames: Vec<Frame>,
    documents: Vec<Node>,
    problems: Vec<Problem>,
}

/// A list or mapping that has been opened and not closed yet.
struct Frame {
    span: Span,
    style: Style,
    /// It stands where a key is expected, and is refused.
    is_key: bool,
    content: Content,
}

enum Content {
    Sequence(Vec<Node>),
    Mapping(Vec<(Key, Node)>, Expect),
}

enum Expect {
    Key,
    ValueOf(Key),
    /// The value of a key that was refused; it is dropped.
    Dropped,
}

impl<'a> Reader<'a> {
    fn read(&mut self) {
        while self.problems.len() < MAX_PROBLEMS {
            let Some(next) = self.events.next_event() else {
                return;
            };
            let done = match next {
                Ok((event, span)) => self.event(event, &span),
                Err(error) => {
                    self.problems.push(explain::syntax(&error, self.text));
                    false
                }
            };
            if !done {
                // What is left of this document would only give problems that follow from the first one.
                self.frames.clear();
                if !matches!(self.events.proceed_next_document(), Ok(true)) {
                    return;
                }
            }
        }
    }

    /// Takes one event in; false where the rest of the document is to be skipped.
    fn event(&mut self, event: Event<'a>, place: &granit_parser::Span) -> bool {
        let span = byte_span(place);
        match event {
            Event::Scalar(text, style, _, tag) => {
                if tag.is_some() {
                    self.tag(place);
                    self.refused(span);
                } else {
                    self.scalar(&text, style, span);
                }
            }
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                self.alias(span);
                self.refused(span);
            }
            Event::Anchor(..) => self.anchor(span),
            Event::SequenceStart(style, _, tag) => {
                if tag.is_some() {
                    self.tag(place);
                }
                return self.open(Content::Sequence(Vec::new()), style, span);
            }
            Event::MappingStart(style, _, tag) => {
                if tag.is_some() {
                    self.tag(place);
                }
                return self.open(Content::Mapping(Vec::new(), Expect::Key), style, span);
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span),
            _ => {}
        }
        true
    }

    fn open(&mut self, content: Content, style: StructureStyle, span: Span) -> bool {
        if self.frames.len() == MAX_DEPTH {
            let problem = explain::too_deep(self.path(), span);
            self.push(problem);
            return false;
        }
        let is_key = matches!(
            self.frames.last(),
            Some(Frame {
                content: Content::Mapping(_, Expect::Key),
                ..
            })
        );
        self.frames.push(Frame {
            span,
            style: match style {
                StructureStyle::Block => Style::Block,
                StructureStyle::Flow => Style::Flow,
            },
            is_key,
            content,
        });
        true
    }

    fn close(&mut self, end: Span) {
        let Some(frame) = self.frames.pop() else {
            return;
        };
        let (value, last) = match frame.content {
            Content::Sequence(items) => {
                let last = items.last().map(|item| item.span);
                (Value::Sequence(items.into()), last)
            }
            Content::Mapping(entries, _) => {
                let last = entries.last().map(|(key, value)| key.span.to(value.span));
                let entries = self.without_duplicates(entries);
                (Value::Mapping(entries.into()), last)
            }
        };
        let span = match frame.style {
            Style::Flow => frame.span.to(end),
            // The end event of a block collection comes where the next thing begins, lines below.
            _ => last.map_or(frame.span, |last| frame.span.to(last)),
        };
        if frame.is_key {
            self.collection_as_key(span);
            self.expect(Expect::Dropped);
            return;
        }
        self.node(Node {
            span,
            style: frame.style,
            value,
        });
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, span: Span) {
        let written = self.slice(span);
        let (style, span, value) = match style {
            // An omitted value arrives as `~` without extent.
            ScalarStyle::Plain if span.is_empty() => (Style::Plain, span, Value::Null),
            ScalarStyle::Plain => (Style::Plain, span, scalar::resolve(text)),
            ScalarStyle::SingleQuoted => (Style::SingleQuoted, span, Value::String(text.into())),
            ScalarStyle::DoubleQuoted => (Style::DoubleQuoted, span, Value::String(text.into())),
            ScalarStyle::Literal | ScalarStyle::Folded => {
                let style = if style == ScalarStyle::Literal {
                    Style::Literal
                } else {
                    Style::Folded
                };
                let start = span.range().map_or(0, |range| range.start);
                let span = Span::new(start, start + written.trim_end().len());
                (style, span, Value::String(text.into()))
            }
        };
        if self.expects_key() {
            self.key(text, style, span, &value);
        } else {
            self.node(Node { span, style, value });
        }
    }

    fn key(&mut self, text: &str, style: Style, span: Span, value: &Value) {
        if style == Style::Plain && text == "<<" {
            self.report("merge-key", span, "merge keys (`<<`) are not supported")
                .hint = Some("write the keys out".to_owned());
            self.expect(Expect::Dropped);
            return;
        }
        let kind = match value {
            Value::Null => Some("nothing"),
            Value::Bool(_) => Some("true or false"),
            Value::Number(_) => Some("a number"),
            _ => None,
        };
        if let Some(kind) = kind {
            let hint = if span.is_empty() {
                "write a name before the `:`".to_owned()
            } else {
                format!("put it in quotes: {}", scalar::quoted(&scalar::cut(text)))
            };
            self.report(
                "key-not-string",
                span,
                format!("a key must be a string, this is {kind}"),
            )
            .hint = Some(hint);
        }
        self.expect(Expect::ValueOf(Key {
            name: text.into(),
            span,
        }));
    }

    /// Puts a finished node where it belongs.
    fn node(&mut self, node: Node) {
        let Some(frame) = self.frames.last_mut() else {
            self.documents.push(node);
            return;
        };
        match &mut frame.content {
            Content::Sequence(items) => items.push(node),
            Content::Mapping(entries, expect) => {
                if let Expect::ValueOf(key) = std::mem::replace(expect, Expect::Key) {
                    entries.push((key, node));
                }
            }
        }
    }

    /// Stands in for what was refused, as a key or as a value.
    fn refused(&mut self, span: Span) {
        if self.expects_key() {
            self.expect(Expect::Dropped);
        } else {
            self.node(Node {
                span,
                style: Style::Refused,
                value: Value::Null,
            });
        }
    }

    fn expects_key(&self) -> bool {
        matches!(
            self.frames.last().map(|frame| &frame.content),
            Some(Content::Mapping(_, Expect::Key))
        )
    }

    fn expect(&mut self, next: Expect) {
        if let Some(Frame {
            content: Content::Mapping(_, expect),
            ..
        }) = self.frames.last_mut()
        {
            *expect = next;
        }
    }

    /// Keeps the first entry of each key. YAML forbids a second one; most readers take the last without a word.
    fn without_duplicates(&mut self, entries: Vec<(Key, Node)>) -> Vec<(Key, Node)> {
        let twice = if entries.len() <= FEW {
            (1..entries.len()).any(|at| entries[..at].iter().any(|(key, _)| key.name == entries[at].0.name))
        } else {
            true // not known yet
        };
        if !twice {
            return entries;
        }
        let mut first: HashMap<Box<str>, Span> = HashMap::with_capacity(entries.len());
        let mut kept = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            match first.entry(key.name.clone()) {
                Entry::Vacant(place) => {
                    place.insert(key.span);
                    kept.push((key, value));
                }
                Entry::Occupied(place) => {
                    let path = self.path();
                    let path = path.key(key.name.clone());
                    let problem = Problem::error(
                        "duplicate-key",
                        path.clone(),
                        format!("the key `{}` is written twice", scalar::cut(&key.name)),
                    )
                    .at(key.span)
                    .hint("keep one of the two")
                    .related_target(path, Target::Span(*place.get()), "first written here");
                    self.push(problem);
                }
            }
        }
        kept
    }

    fn report(&mut self, code: &'static str, span: Span, message: impl Into<String>) -> &mut Problem {
        let problem = Problem::error(code, self.path(), message).at(span);
        self.push(problem)
    }

    fn push(&mut self, problem: Problem) -> &mut Problem {
        // One mapping can hold more duplicates than anybody reads; `read` stops at the limit, this keeps it.
        self.problems.truncate(MAX_PROBLEMS - 1);
        self.problems.push(problem);
        let last = self.problems.len() - 1;
        &mut self.problems[last]
    }

    /// Where the reader is.
    fn path(&self) -> Path {
        self.frames
            .iter()
            .filter_map(|frame| match &frame.content {
                Content::Sequence(items) => Some(Segment::Index(items.len())),
                Content::Mapping(_, Expect::ValueOf(key)) => Some(Segment::Key(key.name.clone())),
                Content::Mapping(..) => None,
            })
            .collect()
    }

    fn slice(&self, span: Span) -> &'a str {
        span.range().and_then(|range| self.text.get(range)).unwrap_or("")
    }
}

fn byte_span(span: &granit_parser::Span) -> Span {
    match span.byte_range() {
        Some(range) => Span::new(range.start, range.end),
        None => Span::NONE, // not for a parser of a `&str`, as granit promises
    }
}

/// How deep lists and mappings may be nested.
pub const MAX_DEPTH: usize = 64;

/// After this many problems reading or checking stops: nobody reads on, and a hostile file must not cost memory.
pub const MAX_PROBLEMS: usize = 200;

/// Up to this many keys are compared pair by pair, which is faster than hashing them.
const FEW: usize = 16;

#[cfg(test)]
mod tests;
