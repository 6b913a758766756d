//! Where something is in a document, by keys and indexes.

use std::fmt;

/// One step into a document.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Segment {
    /// The value of this key of a mapping.
    Key(Box<str>),
    /// The entry at this index of a list, from 0.
    Index(usize),
}

/// The steps from the root of a document to a node. Displayed as `spec.rules[2].rewrite.to[0]`; a key that is not a
/// plain word is displayed as `labels["app.kubernetes.io/name"]`, and the root as the empty text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path(Vec<Segment>);

impl Path {
    /// The document itself.
    #[must_use]
    pub fn root() -> Self {
        Self::default()
    }

    /// This path with one more key: `Path::root().key("spec").key("rules").index(2)`.
    #[must_use]
    pub fn key(mut self, name: impl Into<Box<str>>) -> Self {
        self.0.push(Segment::Key(name.into()));
        self
    }

    /// This path with one more index.
    #[must_use]
    pub fn index(mut self, index: usize) -> Self {
        self.0.push(Segment::Index(index));
        self
    }

    /// The steps, from the root on.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// Whether it is the document itself.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The last key of the path, if the last step is a key.
    #[must_use]
    pub fn last_key(&self) -> Option<&str> {
        match self.0.last()? {
            Segment::Key(name) => Some(name),
            Segment::Index(_) => None,
        }
    }

    /// The path of the node that holds this one; `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let (_, rest) = self.0.split_last()?;
        Some(Self(rest.to_vec()))
    }
}

impl FromIterator<Segment> for Path {
    fn from_iter<I: IntoIterator<Item = Segment>>(segments: I) -> Self {
        Self(segments.into_iter().collect())
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Key(name) if is_word(name) => {
                    let dot = if position == 0 { "" } else { "." };
                    write!(f, "{dot}{name}")?;
                }
                Segment::Key(name) => write!(f, "[{name:?}]")?,
                Segment::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

fn is_word(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::Path;

    #[test]
    fn a_path_is_displayed_as_people_write_it() {
        let rows = [
            (Path::root(), ""),
            (
                Path::root().key("spec").key("rules").index(2).key("to").index(0),
                "spec.rules[2].to[0]",
            ),
            (Path::root().index(1), "[1]"),
            (Path::root().key("labels").key("a.b/c"), "labels[\"a.b/c\"]"),
            (Path::root().key(""), "[\"\"]"),
        ];
        for (path, shown) in rows {
            assert_eq!(path.to_string(), shown);
        }
    }
}
