//! Manifests as people and charts write them: all of YAML, with anchors, aliases, merge keys and tags, and the place of everything.
//!
//! Policies are read more strictly, by [`document::parse`](crate::document::parse). What a key means when it comes twice or is merged
//! is what `kubectl` and Helm make of it (`sigs.k8s.io/yaml`): the last one counts, and a mapping's own keys count more than merged ones.

use std::{
    borrow::Cow,
    cell::RefCell,
    collections::{HashMap, HashSet},
    ops::Range,
};

use granit_parser::{Event, Parser, ScalarStyle, StructureStyle};

use crate::document::{self, MAX_PROBLEMS, Problem};

/// A node's number in its document.
pub(super) type Id = usize;

/// A document of a manifest.
#[derive(Default)]
pub(super) struct Document<'t> {
    nodes: Vec<Node<'t>>,
    /// The aliases of each node that has any.
    aliases: HashMap<Id, Vec<Id>>,
    /// Aliases that were followed.
    followed: RefCell<HashSet<Id>>,
    /// Keys that were looked up and are not the last of their name.
    overridden: RefCell<Vec<Id>>,
}

/// A value, or a key.
pub(super) struct Node<'t> {
    /// Its bytes in the text, without anchor and tag. A block collection ends where its last value does.
    pub(super) span: Range<usize>,
    /// What it is in; the root is in itself.
    parent: Id,
    /// What it is.
    pub(super) content: Content<'t>,
}

/// What a [`Node`] is.
pub(super) enum Content<'t> {
    /// Its text, and how that is written.
    Scalar(Cow<'t, str>, ScalarStyle),
    /// A scalar whose tag makes it something else than a string.
    Tagged,
    /// `*name`
    Alias(Id),
    /// A list; whether it is written with `[` and `]`.
    Sequence(Vec<Id>, bool),
    /// Keys and values; whether it is written with `{` and `}`.
    Mapping(Vec<(Id, Id)>, bool),
}

/// Reads every document and hands it over, one at a time: a chart's output may be large.
///
/// # Errors
///
/// What is no YAML, all of it at once. What was handed over before counts for nothing then.
pub(super) fn read<'t>(text: &'t str, mut document: impl FnMut(Document<'t>)) -> Result<(), Vec<Problem>> {
    if let Some(problem) = document::unprintable(text) {
        return Err(vec![problem]);
    }
    let mut options = granit_parser::options! {
        // YAML's own limit of 1024 is for keys without quotes; JSON has none.
        simple_key_max_lookahead: 1 << 20,
    };
    options.set_emit_comments(false);
    let mut reader = Reader {
        text,
        document: Document::default(),
        anchors: HashMap::new(),
        open: Vec::new(),
    };
    let mut events = Parser::new_from_str_with_options(text, options);
    let mut problems = Vec::new();
    while problems.len() < MAX_PROBLEMS {
        match events.next_event() {
            None => break,
            Some(Ok((Event::DocumentEnd, _))) => {
                let done = reader.take();
                if problems.is_empty() && !done.nodes.is_empty() {
                    document(done);
                }
            }
            Some(Ok((event, span))) => reader.event(event, &span),
            Some(Err(error)) => {
                problems.push(document::syntax(&error, text));
                reader.take();
                if !matches!(events.proceed_next_document(), Ok(true)) {
                    break;
                }
            }
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

struct Reader<'t> {
    text: &'t str,
    document: Document<'t>,
    /// By the parser's number.
    anchors: HashMap<usize, Id>,
    /// Collections that are not closed yet, each with the key that waits for its value.
    open: Vec<(Id, Option<Id>)>,
}

impl<'t> Reader<'t> {
    fn take(&mut self) -> Document<'t> {
        self.anchors.clear();
        self.open.clear();
        std::mem::take(&mut self.document)
    }

    fn event(&mut self, event: Event<'t>, span: &granit_parser::Span) {
        // The parser of a `&str` always knows the bytes.
        let span = span.byte_range().unwrap_or_default();
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let span = match style {
                    ScalarStyle::Literal | ScalarStyle::Folded => {
                        let written = self.text.get(span.clone()).unwrap_or_default();
                        span.start..span.start + written.trim_end().len()
                    }
                    _ => span,
                };
                let content = if tag.is_none_or(|tag| tag.is_yaml_core_schema_tag("str")) {
                    Content::Scalar(text, style)
                } else {
                    Content::Tagged
                };
                self.add(span, content, anchor);
            }
            Event::Alias(target) => {
                // The parser refuses names that no anchor has.
                if let Some(&target) = self.anchors.get(&target) {
                    let id = self.add(span, Content::Alias(target), 0);
                    self.document.aliases.entry(target).or_default().push(id);
                }
            }
            Event::SequenceStart(style, anchor, _) => {
                let id = self.add(span, Content::Sequence(Vec::new(), is_flow(style)), anchor);
                self.open.push((id, None));
            }
            Event::MappingStart(style, anchor, _) => {
                let id = self.add(span, Content::Mapping(Vec::new(), is_flow(style)), anchor);
                self.open.push((id, None));
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span.end),
            _ => {}
        }
    }

    /// Puts a node where it belongs.
    fn add(&mut self, span: Range<usize>, content: Content<'t>, anchor: usize) -> Id {
        let nodes = &mut self.document.nodes;
        let id = nodes.len();
        if anchor != 0 {
            self.anchors.insert(anchor, id);
        }
        let parent = self.open.last().map_or(id, |(parent, _)| *parent);
        nodes.push(Node { span, parent, content });
        if let Some((parent, waiting)) = self.open.last_mut() {
            match &mut nodes[*parent].content {
                Content::Sequence(items, _) => items.push(id),
                Content::Mapping(entries, _) => match waiting.take() {
                    Some(key) => entries.push((key, id)),
                    None => *waiting = Some(id),
                },
                _ => {}
            }
        }
        id
    }

    fn close(&mut self, end: usize) {
        let Some((id, _)) = self.open.pop() else { return };
        let nodes = &mut self.document.nodes;
        let end = match &nodes[id].content {
            Content::Sequence(_, true) | Content::Mapping(_, true) => end,
            Content::Sequence(items, false) => items.last().map_or(end, |last| nodes[*last].span.end),
            // The place of a value that is not written is anywhere up to the next token.
            Content::Mapping(entries, false) => entries.last().map_or(end, |(key, value)| {
                let value = &nodes[*value].span;
                if value.is_empty() {
                    nodes[*key].span.end
                } else {
                    value.end
                }
            }),
            _ => end,
        };
        let start = nodes[id].span.start;
        nodes[id].span.end = end.max(start);
    }
}

impl<'t> Document<'t> {
    /// The outermost node.
    pub(super) fn root(&self) -> Id {
        0
    }

    /// How many nodes there are.
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn node(&self, id: Id) -> &Node<'t> {
        &self.nodes[id]
    }

    /// The node itself, or what the alias stands for.
    pub(super) fn resolve(&self, id: Id) -> Id {
        match self.nodes[id].content {
            Content::Alias(target) => {
                self.followed.borrow_mut().insert(id);
                target
            }
            _ => id,
        }
    }

    /// The text of a string: nothing for a null, a number, a list.
    pub(super) fn text(&self, id: Id) -> Option<&str> {
        match &self.nodes[self.resolve(id)].content {
            Content::Scalar(text, ScalarStyle::Plain) => document::is_string(text).then_some(text),
            Content::Scalar(text, _) => Some(text),
            _ => None,
        }
    }

    /// Whether it is null, or nothing is written.
    pub(super) fn is_null(&self, id: Id) -> bool {
        matches!(&self.nodes[self.resolve(id)].content, Content::Scalar(text, ScalarStyle::Plain) if document::is_null(text))
    }

    /// The entries of a list.
    pub(super) fn items(&self, id: Id) -> Option<&[Id]> {
        match &self.nodes[self.resolve(id)].content {
            Content::Sequence(items, _) => Some(items),
            _ => None,
        }
    }

    /// The keys and values that are written in a mapping itself, merge keys among them.
    pub(super) fn own(&self, id: Id) -> &[(Id, Id)] {
        match &self.nodes[self.resolve(id)].content {
            Content::Mapping(entries, _) => entries,
            _ => &[],
        }
    }

    /// A mapping's own entry of this name.
    pub(super) fn own_entry(&self, mapping: Id, name: &str) -> Option<(Id, Id)> {
        let mut found = self.own(mapping).iter().filter(|(key, _)| self.is_key(*key, name));
        let mut last = *found.next()?;
        for next in found {
            self.overridden.borrow_mut().push(last.0);
            last = *next;
        }
        Some(last)
    }

    /// The value of a key, as it is written: the mapping's own, or a merged one.
    pub(super) fn get(&self, mapping: Id, name: &str) -> Option<Id> {
        self.layers(mapping)
            .into_iter()
            .find_map(|layer| self.own_entry(layer, name))
            .map(|(_, value)| value)
    }

    /// All keys that are strings with their values; of several of one name, the last counts.
    pub(super) fn all(&self, mapping: Id) -> Vec<(&str, Id)> {
        let layers = self.layers(mapping);
        let entries = layers.into_iter().rev().flat_map(|layer| self.own(layer));
        entries
            .filter_map(|(key, value)| Some((self.text(*key)?, *value)))
            .collect()
    }

    /// Whether everything that stands for this node was followed: whether nobody else reads it.
    pub(super) fn is_seen_everywhere(&self, id: Id) -> bool {
        if self.aliases.is_empty() {
            return true;
        }
        let followed = self.followed.borrow();
        let mut id = id;
        loop {
            if self
                .aliases
                .get(&id)
                .is_some_and(|aliases| aliases.iter().any(|alias| !followed.contains(alias)))
            {
                return false;
            }
            let parent = self.nodes[id].parent;
            if parent == id {
                return true;
            }
            id = parent;
        }
    }

    /// Keys that were looked up and that a later one of the same name takes the place of.
    pub(super) fn overridden(&self) -> Vec<Id> {
        let mut keys = self.overridden.borrow().clone();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// What a node is in.
    pub(super) fn parent(&self, id: Id) -> Id {
        self.nodes[id].parent
    }

    /// The mapping and those that are merged into it, what counts most first; each once, for they may be merged in circles.
    fn layers(&self, mapping: Id) -> Vec<Id> {
        let mut layers = Vec::new();
        let mut next = vec![self.resolve(mapping)];
        let mut seen = HashSet::new();
        while let Some(layer) = next.pop() {
            layers.push(layer);
            let merged = self.own(layer).iter().filter(|(key, _)| self.is_merge_key(*key));
            for (_, value) in merged {
                let others = self.items(*value).unwrap_or(std::slice::from_ref(value));
                let others = others.iter().rev().map(|other| self.resolve(*other));
                next.extend(others.filter(|other| seen.insert(*other)));
            }
        }
        layers
    }

    fn is_merge_key(&self, key: Id) -> bool {
        matches!(&self.nodes[key].content, Content::Scalar(text, ScalarStyle::Plain) if text == "<<")
    }

    fn is_key(&self, key: Id, name: &str) -> bool {
        matches!(&self.nodes[key].content, Content::Scalar(text, _) if text == name)
    }
}

fn is_flow(style: StructureStyle) -> bool {
    style == StructureStyle::Flow
}
