//! A document as a tree in which everything knows its place.

use super::path::{Path, Segment};
use super::source::Span;

/// A value of a document and its place in the text.
///
/// 40 bytes on 64-bit machines: a file of 10,000 rules has some 150,000 of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Its place. A block collection spans from its first key or dash to the end of its last value.
    pub span: Span,
    /// How it was written.
    pub style: Style,
    /// What it is.
    pub value: Value,
}

/// What a [`Node`] is.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`, `~`, or nothing after a key.
    Null,
    /// `true` or `false`. `yes`, `no`, `on` and `off` are strings, as in YAML 1.2.
    Bool(bool),
    /// A number as it was written (`1.20` is not `1.2` to a reader); [`Node::as_i64`] and [`Node::as_f64`] give its value.
    Number(Box<str>),
    /// A text, with quotes and escapes undone.
    String(Box<str>),
    /// A list.
    Sequence(Box<[Node]>),
    /// Keys with values, in the order written, no key twice.
    Mapping(Box<[(Key, Node)]>),
}

/// A key of a mapping.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    /// Its text.
    pub name: Box<str>,
    /// Its place.
    pub span: Span,
}

/// How a [`Node`] was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Without quotes. Only plain scalars can be anything but strings.
    Plain,
    /// `'…'`
    SingleQuoted,
    /// `"…"`
    DoubleQuoted,
    /// `|`
    Literal,
    /// `>`
    Folded,
    /// A list or mapping by indentation.
    Block,
    /// `[…]` or `{…}`
    Flow,
    /// Stands for what [`parse`](super::parse) refused and reported (an alias, a tagged value); checks pass over it.
    Refused,
}

/// The kind of a [`Value`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing.
    Null,
    /// True or false.
    Bool,
    /// A number.
    Number,
    /// A text.
    String,
    /// A list.
    Sequence,
    /// A mapping.
    Mapping,
}

impl Node {
    /// A tree without places, for objects that come from an API and not from a text.
    #[must_use]
    pub fn from_json(value: &serde_json::Value) -> Self {
        use serde_json::Value as Json;
        let (style, value) = match value {
            Json::Null => (Style::Plain, Value::Null),
            Json::Bool(value) => (Style::Plain, Value::Bool(*value)),
            Json::Number(number) => (Style::Plain, Value::Number(number.to_string().into())),
            Json::String(text) => (Style::DoubleQuoted, Value::String(text.as_str().into())),
            Json::Array(items) => (
                Style::Flow,
                Value::Sequence(items.iter().map(Self::from_json).collect()),
            ),
            Json::Object(entries) => (
                Style::Flow,
                Value::Mapping(
                    entries
                        .iter()
                        .map(|(name, value)| {
                            let key = Key {
                                name: name.as_str().into(),
                                span: Span::NONE,
                            };
                            (key, Self::from_json(value))
                        })
                        .collect(),
                ),
            ),
        };
        Self {
            span: Span::NONE,
            style,
            value,
        }
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self.value {
            Value::Null => Kind::Null,
            Value::Bool(_) => Kind::Bool,
            Value::Number(_) => Kind::Number,
            Value::String(_) => Kind::String,
            Value::Sequence(_) => Kind::Sequence,
            Value::Mapping(_) => Kind::Mapping,
        }
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.value == Value::Null
    }

    /// The text of a string; `None` for anything else, numbers and booleans included.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The value of a boolean.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match self.value {
            Value::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// The value of a whole number that fits.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        match &self.value {
            Value::Number(text) => super::scalar::integer(text),
            _ => None,
        }
    }

    /// The value of a number, rounded to what a double holds.
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        match &self.value {
            Value::Number(text) => Some(super::scalar::float(text)),
            _ => None,
        }
    }

    /// The entries of a list; none for anything else.
    #[must_use]
    pub fn items(&self) -> &[Node] {
        match &self.value {
            Value::Sequence(items) => items,
            _ => &[],
        }
    }

    /// The keys and values of a mapping; none for anything else.
    #[must_use]
    pub fn entries(&self) -> &[(Key, Node)] {
        match &self.value {
            Value::Mapping(entries) => entries,
            _ => &[],
        }
    }

    /// The value of a key of a mapping.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Node> {
        self.entry(name).map(|(_, node)| node)
    }

    /// The node at `path`, this one being the root.
    #[must_use]
    pub fn at(&self, path: &Path) -> Option<&Node> {
        self.descend(path.segments())
    }

    /// The place of the key that `path` ends in; `None` if it ends in an index or does not exist.
    #[must_use]
    pub fn key_span(&self, path: &Path) -> Option<Span> {
        let (last, rest) = path.segments().split_last()?;
        let Segment::Key(name) = last else {
            return None;
        };
        self.descend(rest)?.entry(name).map(|(key, _)| key.span)
    }

    fn descend(&self, segments: &[Segment]) -> Option<&Node> {
        segments.iter().try_fold(self, |node, segment| match segment {
            Segment::Key(name) => node.get(name),
            Segment::Index(index) => node.items().get(*index),
        })
    }

    fn entry(&self, name: &str) -> Option<&(Key, Node)> {
        self.entries().iter().find(|(key, _)| &*key.name == name)
    }
}

#[cfg(all(test, target_pointer_width = "64"))]
mod tests {
    use super::Node;

    #[test]
    fn a_node_is_small() {
        assert_eq!(size_of::<Node>(), 40);
    }
}
