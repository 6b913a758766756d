//! The segments of a pattern, and lists of them.

use crate::policy::glob::Glob;

/// What one part between slashes matches.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Segment {
    /// This text alone.
    Literal(Box<str>),
    /// `*`: any one segment.
    Any,
    /// A text with `*` in it.
    Glob(Glob),
    /// `**`: one segment or more.
    Deep,
}

impl Segment {
    /// Reads one segment: every text is one.
    pub(crate) fn parse(text: &str) -> Self {
        match text {
            "*" => Self::Any,
            "**" => Self::Deep,
            _ if text.contains('*') => Self::Glob(Glob::new(text)),
            _ => Self::Literal(text.into()),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Literal(text) => text,
            Self::Any => "*",
            Self::Glob(glob) => glob.as_str(),
            Self::Deep => "**",
        }
    }

    /// Whether it matches one segment; `**` does.
    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Literal(literal) => **literal == *text,
            Self::Glob(glob) => glob.matches(text),
            Self::Any | Self::Deep => true,
        }
    }

    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any | Self::Deep, _) => true,
            (_, Self::Literal(literal)) => self.matches(literal),
            (Self::Glob(general), Self::Glob(special)) => general.covers(special),
            _ => false,
        }
    }

    /// Whether one segment matches both; `**` counts as `*`.
    fn intersects(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any | Self::Deep, _) | (_, Self::Any | Self::Deep) => true,
            (Self::Literal(literal), _) => other.matches(literal),
            (_, Self::Literal(literal)) => self.matches(literal),
            (Self::Glob(left), Self::Glob(right)) => left.intersects(right),
        }
    }
}

/// Whether some list of segments matches both. Exact, by the product of the two automata.
pub(crate) fn segments_intersect(left: &[Segment], right: &[Segment]) -> bool {
    // Up to the first `**` of either, segments stand opposite each other.
    let mut opposite = left
        .iter()
        .zip(right)
        .take_while(|(l, r)| **l != Segment::Deep && **r != Segment::Deep);
    if !opposite.all(|(l, r)| l.intersects(r)) {
        return false;
    }
    // row[j]: left[..i] and right[..j] can match the same text.
    let mut row = vec![false; right.len() + 1];
    for i in 0..=left.len() {
        let mut next = vec![false; right.len() + 1];
        for j in 0..=right.len() {
            next[j] = if i == 0 || j == 0 {
                i == 0 && j == 0
            } else {
                let (l, r) = (&left[i - 1], &right[j - 1]);
                // Both take one more segment; a `**` that has taken one already may stay where it is.
                l.intersects(r)
                    && (row[j - 1] || (*l == Segment::Deep && next[j - 1]) || (*r == Segment::Deep && row[j]))
            };
        }
        row = next;
    }
    row[right.len()]
}

/// Whether the pattern matches these segments.
pub(super) fn matches_segments(pattern: &[Segment], text: &[&str]) -> bool {
    // row[j]: the pattern so far matches text[..j].
    let mut row = vec![false; text.len() + 1];
    row[0] = true;
    for segment in pattern {
        let mut next = vec![false; text.len() + 1];
        for j in 1..=text.len() {
            next[j] = segment.matches(text[j - 1]) && (row[j - 1] || (*segment == Segment::Deep && next[j - 1]));
        }
        row = next;
    }
    row[text.len()]
}

/// Whether all that `special` matches, `general` matches too. May miss a case.
pub(super) fn covers_segments(general: &[Segment], special: &[Segment]) -> bool {
    let mut row = vec![false; special.len() + 1];
    row[0] = true;
    for segment in general {
        let mut next = vec![false; special.len() + 1];
        for j in 1..=special.len() {
            let one = segment.covers(&special[j - 1]) && (special[j - 1] != Segment::Deep || *segment == Segment::Deep);
            next[j] = one && (row[j - 1] || (*segment == Segment::Deep && next[j - 1]));
        }
        row = next;
    }
    row[special.len()]
}
