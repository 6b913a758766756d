//! Which rules' patterns match an image, at a cost that does not grow with the rules.
//!
//! All patterns of a set share one automaton over segments: a trie whose edges are literals (a hash look-up), `*`, texts with
//! a `*` (found by the hash of their literal prefix) and `**` (a node that may stay where it is). An image is walked once, with
//! the set of nodes that its segments so far can lead to.

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::{
    glob::Glob,
    pattern::{Segment, registry_to_match, segments_to_match},
};
use crate::reference::Reference;

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

    /// The entries of all patterns that match this image, in this namespace.
    pub(crate) fn matches<'i>(&'i self, image: &Reference<'_>, namespace: &str, found: &mut Matches<'i>) {
        let registry = registry_to_match(image);
        let mut active: SmallVec<[u32; 16]> = SmallVec::new();
        let mut next: SmallVec<[u32; 16]> = SmallVec::new();
        active.push(0);
        for segment in segments_to_match(image, &registry) {
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
                if let Segment::Literal(text) = segment {
                    next.extend(node.literals.get(text));
                }
                if let (Segment::Literal(_) | Segment::Glob(_), Some(globs)) = (segment, &node.globs) {
                    // As in `Glob::covers`, a `*` of the pattern is a character like any other here.
                    globs.matches(segment.as_str(), |child| next.push(child));
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
mod tests;
