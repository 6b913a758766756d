//! Which rules' patterns match an image, at a cost that does not grow with the rules.
//!
//! All patterns of a set share one automaton over segments: a trie whose edges are literals (a hash look-up), `*`, texts with
//! a `*` (found by the hash of their literal prefix) and `**` (a node that may stay where it is). An image is walked once, with
//! the set of nodes that its segments so far can lead to.

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::{glob::Glob, pattern::Segment};

/// An index from patterns to entries. Entries are kept in the order of insertion, which is to be ascending.
#[derive(Debug)]
pub(crate) struct Index {
    nodes: Vec<Node>,
}

/// What a pattern stands for: a rule, and which of its patterns or templates it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    /// The rule's place in the order of decisions.
    pub(crate) rule: u32,
    /// What belongs to this pattern: a place in a list of the caller's, or [`Entry::NOTHING`].
    pub(crate) detail: u32,
}

impl Entry {
    /// No detail.
    pub(crate) const NOTHING: u32 = u32::MAX;
}

/// The entries that match an image: a few lists, each in ascending order.
pub(crate) type Matches<'i> = SmallVec<[&'i [Entry]; 8]>;

#[derive(Debug, Default)]
struct Node {
    literals: Literals,
    globs: Option<Box<Globs>>,
    /// The node behind `*`; 0 where there is none, since nothing leads to the root.
    any: u32,
    /// The node behind `**`.
    deep: u32,
    /// Whether this is a node behind `**`, which further segments may stay at.
    stays: bool,
    ends: Option<Box<Ends>>,
}

/// Most nodes have one child or none: a hash table only for the others.
#[derive(Debug, Default)]
enum Literals {
    #[default]
    None,
    One(Box<str>, u32),
    Many(HashMap<Box<str>, u32>),
}

/// Edges with a `*` in their text, by what stands before it.
#[derive(Debug, Default)]
struct Globs {
    by_prefix: HashMap<Box<str>, Vec<(Glob, u32)>>,
    /// The lengths that prefixes have, each once: so many look-ups a segment costs.
    lengths: Vec<usize>,
}

/// The patterns that end at a node.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    /// Those for any namespace, and those whose namespaces have a `*`.
    general: Vec<Entry>,
    /// Those of rules whose namespaces are all literal.
    by_namespace: HashMap<Box<str>, Vec<Entry>>,
}

impl Index {
    /// An index that matches nothing.
    pub(crate) fn new() -> Self {
        Self {
            nodes: vec![Node::default()],
        }
    }

    /// Adds a pattern. `namespaces` are the only ones that the entry is for, where they are known by name.
    pub(crate) fn insert(&mut self, pattern: &[Segment], namespaces: Option<&[Glob]>, entry: Entry) {
        let mut at = 0;
        for segment in pattern {
            at = self.child(at, segment);
        }
        let ends = self.nodes[at].ends.get_or_insert_default();
        match namespaces {
            Some(names) if names.iter().all(Glob::is_literal) => {
                for name in names {
                    push(ends.by_namespace.entry(name.as_str().into()).or_default(), entry);
                }
            }
            _ => push(&mut ends.general, entry),
        }
    }

    /// Adds what matches whatever the image is.
    pub(crate) fn insert_for_all(&mut self, namespaces: Option<&[Glob]>, entry: Entry) {
        self.insert(&[Segment::Deep], namespaces, entry);
    }

    /// The entries of all patterns that match these segments, for an image in this namespace.
    pub(crate) fn matches<'i, 'a>(
        &'i self,
        segments: impl Iterator<Item = &'a str>,
        namespace: &str,
        found: &mut Matches<'i>,
    ) {
        let mut active: SmallVec<[u32; 16]> = SmallVec::new();
        let mut next: SmallVec<[u32; 16]> = SmallVec::new();
        active.push(0);
        for segment in segments {
            for &at in &active {
                let node = &self.nodes[at as usize];
                if node.stays && !next.contains(&at) {
                    next.push(at);
                }
                next.extend(node.literals.get(segment));
                if node.any != 0 {
                    next.push(node.any);
                }
                // Its own parent may have reached it before it stayed.
                if node.deep != 0 && !next.contains(&node.deep) {
                    next.push(node.deep);
                }
                if let Some(globs) = &node.globs {
                    globs.matches(segment, |child| next.push(child));
                }
            }
            std::mem::swap(&mut active, &mut next);
            next.clear();
            if active.is_empty() {
                return;
            }
        }
        for at in active {
            if let Some(ends) = &self.nodes[at as usize].ends {
                if !ends.general.is_empty() {
                    found.push(&ends.general);
                }
                if let Some(entries) = ends.by_namespace.get(namespace) {
                    found.push(entries);
                }
            }
        }
    }

    /// The ends of all patterns that match whatever this pattern matches.
    pub(crate) fn covering(&self, pattern: &[Segment]) -> Vec<&Ends> {
        let mut active = vec![0];
        for segment in pattern {
            let mut next = Vec::new();
            for &at in &active {
                let node = &self.nodes[at as usize];
                let deep = [node.stays.then_some(at), (node.deep != 0).then_some(node.deep)];
                for deep in deep.into_iter().flatten() {
                    if !next.contains(&deep) {
                        next.push(deep);
                    }
                }
                if *segment == Segment::Deep {
                    continue;
                }
                next.extend((node.any != 0).then_some(node.any));
                match segment {
                    Segment::Literal(text) => {
                        next.extend(node.literals.get(text));
                        if let Some(globs) = &node.globs {
                            globs.matches(text, |child| next.push(child));
                        }
                    }
                    Segment::Glob(glob) => next.extend(node.globs.as_ref().and_then(|globs| globs.get(glob))),
                    Segment::Any | Segment::Deep => {}
                }
            }
            active = next;
        }
        active
            .into_iter()
            .filter_map(|at| self.nodes[at as usize].ends.as_deref())
            .collect()
    }

    fn child(&mut self, at: usize, segment: &Segment) -> usize {
        let new = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        let node = &mut self.nodes[at];
        let child = match segment {
            Segment::Literal(text) => node.literals.child(text, new),
            Segment::Glob(glob) => node.globs.get_or_insert_default().child(glob, new),
            Segment::Any => *or_new(&mut node.any, new),
            Segment::Deep => *or_new(&mut node.deep, new),
        };
        if child == new {
            self.nodes.push(Node {
                stays: *segment == Segment::Deep,
                ..Node::default()
            });
        }
        child as usize
    }
}

impl Ends {
    /// Those for any namespace, then those for this one.
    pub(crate) fn entries(&self, namespace: Option<&Glob>) -> impl Iterator<Item = &Entry> {
        let named = namespace.and_then(|name| self.by_namespace.get(name.as_str()));
        self.general.iter().chain(named.into_iter().flatten())
    }
}

impl Literals {
    fn get(&self, text: &str) -> Option<u32> {
        match self {
            Self::None => None,
            Self::One(present, child) => (**present == *text).then_some(*child),
            Self::Many(children) => children.get(text).copied(),
        }
    }

    fn child(&mut self, text: &str, new: u32) -> u32 {
        match self {
            Self::None => {
                *self = Self::One(text.into(), new);
                new
            }
            Self::One(present, child) if **present == *text => *child,
            Self::One(..) => {
                let Self::One(present, child) = std::mem::take(self) else {
                    unreachable!("matched above")
                };
                *self = Self::Many(HashMap::from_iter([(present, child), (text.into(), new)]));
                new
            }
            Self::Many(children) => *children.entry(text.into()).or_insert(new),
        }
    }
}

impl Globs {
    fn child(&mut self, glob: &Glob, new: u32) -> u32 {
        let prefix = glob.literal_prefix();
        if !self.lengths.contains(&prefix.len()) {
            self.lengths.push(prefix.len());
        }
        let edges = self.by_prefix.entry(prefix.into()).or_default();
        match edges.iter().find(|(present, _)| present == glob) {
            Some((_, child)) => *child,
            None => {
                edges.push((glob.clone(), new));
                new
            }
        }
    }

    fn get(&self, glob: &Glob) -> Option<u32> {
        let edges = self.by_prefix.get(glob.literal_prefix())?;
        edges
            .iter()
            .find(|(present, _)| present == glob)
            .map(|(_, child)| *child)
    }

    fn matches(&self, segment: &str, mut found: impl FnMut(u32)) {
        for &length in &self.lengths {
            let Some(edges) = segment.get(..length).and_then(|prefix| self.by_prefix.get(prefix)) else {
                continue;
            };
            for (glob, child) in edges {
                if glob.matches(segment) {
                    found(*child);
                }
            }
        }
    }
}

/// Goes through lists of entries in the order of their rules, each rule once for each of its entries.
pub(crate) struct InOrder<'m, 'i> {
    lists: &'m mut Matches<'i>,
}

impl<'m, 'i> InOrder<'m, 'i> {
    pub(crate) fn new(lists: &'m mut Matches<'i>) -> Self {
        Self { lists }
    }
}

impl Iterator for InOrder<'_, '_> {
    type Item = Entry;

    // Few lists: the smallest head is found by looking at all. No copy, and what follows the first decision is never read.
    fn next(&mut self) -> Option<Entry> {
        let list = self
            .lists
            .iter_mut()
            .filter(|list| !list.is_empty())
            .min_by_key(|list| list[0])?;
        let (first, rest) = list.split_first()?;
        *list = rest;
        Some(*first)
    }
}

fn or_new(slot: &mut u32, new: u32) -> &mut u32 {
    if *slot == 0 {
        *slot = new;
    }
    slot
}

fn push(entries: &mut Vec<Entry>, entry: Entry) {
    if entries.last() != Some(&entry) {
        entries.push(entry);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{policy::pattern::Pattern, reference::Reference};

    fn matching(index: &Index, image: &str, namespace: &str) -> Vec<u32> {
        let reference = Reference::parse(image).unwrap();
        let mut found = Matches::new();
        index.matches(reference.segments(), namespace, &mut found);
        let mut rules: Vec<u32> = InOrder::new(&mut found).map(|entry| entry.rule).collect();
        rules.dedup();
        rules
    }

    fn index_of(patterns: &[Pattern]) -> Index {
        let mut index = Index::new();
        for (rule, pattern) in patterns.iter().enumerate() {
            index.insert(
                pattern.segments(),
                None,
                Entry {
                    rule: rule as u32,
                    detail: Entry::NOTHING,
                },
            );
        }
        index
    }

    fn pattern() -> impl Strategy<Value = Pattern> {
        let registry = prop::sample::select(vec!["a.io", "b.io", "*", "a*", "*.io", "**", "a.io:5000"]);
        let segment = prop::sample::select(vec!["x", "y", "xy", "*", "x*", "*y", "**"]);
        (registry, prop::collection::vec(segment, 1..4))
            .prop_map(|(registry, rest)| Pattern::parse(&format!("{registry}/{}", rest.join("/"))).unwrap())
    }

    proptest! {
        #[test]
        fn the_index_finds_what_each_pattern_alone_matches(
            patterns in prop::collection::vec(pattern(), 0..12),
            registry in prop::sample::select(vec!["a.io", "b.io", "c.io", "a.io:5000"]),
            repository in prop::collection::vec(prop::sample::select(vec!["x", "y", "xy", "xyy", "z"]), 1..5),
        ) {
            let image = format!("{registry}/{}", repository.join("/"));
            let reference = Reference::parse(&image).unwrap();
            let alone: Vec<u32> = (0u32..).zip(&patterns).filter(|(_, p)| p.matches(&reference)).map(|(n, _)| n).collect();
            prop_assert_eq!(matching(&index_of(&patterns), &image, "any"), alone);
        }
    }

    #[test]
    fn rules_of_one_namespace_are_found_by_its_name() {
        let mut index = Index::new();
        let everything = Pattern::parse("*/**").unwrap();
        for rule in 0..1000 {
            let namespaces = [Glob::new(&format!("team-{rule}"))];
            index.insert(
                everything.segments(),
                Some(&namespaces),
                Entry {
                    rule,
                    detail: Entry::NOTHING,
                },
            );
        }
        index.insert(
            everything.segments(),
            Some(&[Glob::new("team-7*")]),
            Entry {
                rule: 1000,
                detail: Entry::NOTHING,
            },
        );
        assert_eq!(matching(&index, "alpine", "team-7"), [7, 1000]);
    }

    #[test]
    fn many_deep_wildcards_on_a_long_path_stay_cheap() {
        let image = format!("a.io/{}", vec!["a"; 120].join("/"));
        let index = index_of(&[Pattern::parse(&format!("a.io/{}/b", vec!["**/a"; 40].join("/"))).unwrap()]);
        assert_eq!(matching(&index, &image, ""), [0u32; 0]);
    }
}
