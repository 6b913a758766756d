//! Which rules' patterns match an image, at a cost that does not grow with the rules.
//!
//! All patterns of a set share one automaton over segments: a trie whose edges are literals (a hash look-up), `*`, texts with
//! a `*` (found by the hashes of their literal beginning and end) and `**` (a node that may stay where it is). An image is walked once, with
//! the set of nodes that its segments so far can lead to.

mod ends;
mod globs;

use hashbrown::HashMap;
use smallvec::SmallVec;

pub(crate) use self::ends::{Ends, Scope};
use self::globs::Globs;
use super::{
    Context,
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
    /// Those with a `*` in their text.
    globs: Option<Box<Globs<u32>>>,
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

impl Index {
    /// An index that matches nothing.
    pub(crate) fn new() -> Self {
        Self {
            nodes: vec![Node::default()],
        }
    }

    /// Adds a pattern, for the contexts of a scope.
    pub(crate) fn insert(&mut self, pattern: &[Segment], scope: Scope<'_>, entry: Entry) {
        let mut at = 0;
        for segment in pattern {
            at = self.child(at, segment);
        }
        self.nodes[at].ends.get_or_insert_default().insert(scope, entry);
    }

    /// Adds what matches whatever the image is.
    pub(crate) fn insert_for_all(&mut self, scope: Scope<'_>, entry: Entry) {
        self.insert(&[Segment::Deep], scope, entry);
    }

    /// The entries of all patterns that match this image, as far as their scope is known not to rule it out. Without a context,
    /// those for all contexts.
    pub(crate) fn matches<'i>(&'i self, image: &Reference<'_>, context: Option<&Context<'_>>, found: &mut Matches<'i>) {
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
                    next.extend(globs.matching(segment).copied());
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
                ends.find(context, found);
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
                    next.extend(globs.matching(segment.as_str()).copied());
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
            Segment::Glob(glob) => *node.globs.get_or_insert_default().entry(glob, || new),
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

#[cfg(test)]
mod tests;
