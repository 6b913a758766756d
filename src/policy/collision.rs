//! Refuses templates that could send two different images to one name: a Pod would get somebody else's image.
//!
//! Each template of each rule, with each pattern of the rule, maps a set of sources to a set of names, both described by patterns.
//! Two mappings collide where their names overlap and one cannot tell the sources apart: by the name, or because what the name
//! does not say is literal and the same in both.

use std::rc::Rc;

use hashbrown::HashMap;

use super::{
    Action, Rule,
    pattern::{Pattern, Segment, segments_intersect},
    template::{Piece, Template, Variable},
};

/// Two templates that can give two images one name; `first` and `second` may be the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Collision {
    /// The earlier rule, and the place of its template.
    pub(crate) first: (usize, usize),
    /// The later rule, which the problem is reported at.
    pub(crate) second: (usize, usize),
    /// Whether what is lost is (at least) the registry.
    pub(crate) loses_registry: bool,
}

/// All collisions among rules of which not both say `sharedTarget`; at most one for each template.
pub(crate) fn collisions(rules: &[&Rule]) -> Vec<Collision> {
    let mut mappings = Vec::new();
    let mut ids = HashMap::new();
    for (index, rule) in rules.iter().enumerate() {
        let Action::Rewrite(rewrite) = &rule.action else {
            continue;
        };
        for (place, template) in rewrite.to.iter().enumerate() {
            let mut add = |pattern: Option<&Pattern>| {
                Mapping::all(
                    (index, place),
                    template,
                    pattern,
                    rewrite.shared_target,
                    &mut ids,
                    &mut mappings,
                );
            };
            match rule.matching.patterns() {
                Some(patterns) => patterns.into_iter().for_each(|pattern| add(Some(pattern))),
                None => add(None),
            }
        }
    }
    let mut found: Vec<Collision> = Vec::new();
    let mut report = |one: &Mapping, other: &Mapping| {
        let (first, second) = if one.place <= other.place {
            (one, other)
        } else {
            (other, one)
        };
        if !found.iter().any(|known| known.second == second.place) {
            found.push(Collision {
                first: first.place,
                second: second.place,
                loses_registry: second.loses_registry || first.loses_registry,
            });
        }
    };
    for mapping in &mappings {
        if mapping.lost.is_none() && !mapping.shared {
            report(mapping, mapping);
        }
    }
    // Names overlap only where the literal beginning of one is the beginning of the other's: in sorted order, those are the
    // mappings on the stack.
    mappings.sort_by(|left, right| left.prefix.cmp(&right.prefix).then(left.place.cmp(&right.place)));
    let mut stack: Vec<&Mapping> = Vec::new();
    for mapping in &mappings {
        while stack.last().is_some_and(|top| !mapping.prefix.starts_with(&top.prefix)) {
            stack.pop();
        }
        for other in &stack {
            if mapping.collides_with(other) {
                report(mapping, other);
            }
        }
        stack.push(mapping);
    }
    found.sort_by_key(|collision| collision.second);
    found
}

/// What one template does with what one pattern matches.
#[derive(Debug)]
struct Mapping {
    place: (usize, usize),
    shared: bool,
    /// Equal for equal templates, a literal registry being filled in.
    template: usize,
    /// The template as it was written, likewise.
    written: usize,
    text: Rc<str>,
    filled_text: Rc<str>,
    loses_registry: bool,
    registry: Option<Box<str>>,
    /// What the name does not say of the source, where that is literal; `None` where it is not.
    lost: Option<Vec<Box<str>>>,
    /// The names.
    names: Vec<Segment>,
    /// The literal segments that the names begin with.
    prefix: Vec<Box<str>>,
}

impl Mapping {
    fn all(
        place: (usize, usize),
        template: &Template,
        pattern: Option<&Pattern>,
        shared: bool,
        ids: &mut HashMap<Rc<str>, usize>,
        into: &mut Vec<Self>,
    ) {
        let source = Source::of(pattern);
        let mut id = |text: Rc<str>| {
            let next = ids.len();
            *ids.entry(text).or_insert(next)
        };
        let text: Rc<str> = template.as_str().into();
        let filled_text: Rc<str> = match &source.registry {
            Some(registry) => template.as_str().replace("{registry}", registry).into(),
            None => text.clone(),
        };
        let (written, filled) = (id(text.clone()), id(filled_text.clone()));
        for names in source.names(template) {
            let prefix = names
                .iter()
                .map_while(|segment| match segment {
                    Segment::Literal(text) => Some(text.clone()),
                    _ => None,
                })
                .collect();
            into.push(Self {
                place,
                shared,
                template: filled,
                written,
                text: text.clone(),
                filled_text: filled_text.clone(),
                loses_registry: !template.keeps_registry() && source.registry.is_none(),
                registry: source.registry.clone(),
                lost: source.lost(template),
                names,
                prefix,
            });
        }
    }

    fn collides_with(&self, other: &Self) -> bool {
        if self.shared && other.shared {
            return false;
        }
        let tells = |lossless: &Self| lossless.lost.as_ref().is_some_and(Vec::is_empty);
        // One template that keeps everything may serve any number of rules.
        if self.written == other.written && tells(self) && tells(other) {
            return false;
        }
        // The same images by two rules: what is lost is the same in both.
        if self.template == other.template
            && self.lost.is_some()
            && self.lost == other.lost
            && self.registry == other.registry
        {
            return false;
        }
        // `r/{registry}/{repository}` for all and `r/docker.io/{repository}` for some agree on the latter's images.
        let agrees = |general: &Self, special: &Self| match (&general.registry, &special.registry) {
            (None, Some(registry)) => {
                tells(general)
                    && special.lost.as_ref().is_some_and(|lost| lost.len() <= 1)
                    && *general.text.replace("{registry}", registry) == *special.filled_text
            }
            _ => false,
        };
        if agrees(self, other) || agrees(other, self) {
            return false;
        }
        segments_intersect(&self.names, &other.names)
    }
}

/// What a pattern says of the images it matches.
struct Source<'p> {
    /// The registry where it is literal.
    registry: Option<Box<str>>,
    registry_text: &'p str,
    repository: Vec<&'p Segment>,
}

impl<'p> Source<'p> {
    fn of(pattern: Option<&'p Pattern>) -> Self {
        const ANYTHING: &Segment = &Segment::Deep;
        let Some(pattern) = pattern else {
            return Self {
                registry: None,
                registry_text: "*",
                repository: vec![ANYTHING],
            };
        };
        let (registry, repository) = match pattern.segments().split_first() {
            // The registry and some of the path.
            Some((Segment::Deep, _)) | None => return Self::of(None),
            Some(split) => split,
        };
        Self {
            registry: pattern.literal_registry().map(Into::into),
            registry_text: registry.as_str(),
            repository: repository.iter().collect(),
        }
    }

    /// What the template's names do not say, where it is literal; `None` where it is not.
    fn lost(&self, template: &Template) -> Option<Vec<Box<str>>> {
        let mut lost = Vec::new();
        if !template.keeps_registry() {
            lost.push(self.registry.clone()?);
        }
        if !template.keeps_repository() {
            let (name, namespace) = self.repository.split_last()?;
            let clear = template.keeps_registry() || template.variables().count() <= 1;
            let mut parts: Vec<&Segment> = Vec::new();
            if !(clear && template.has(&Variable::Name)) {
                parts.push(name);
            }
            if !(clear && template.has(&Variable::Namespace)) {
                parts.extend(namespace);
            }
            // With `**` as the last segment the namespace is open, too.
            if **name == Segment::Deep {
                return None;
            }
            for part in parts {
                match part {
                    Segment::Literal(text) => lost.push(text.clone()),
                    _ => return None,
                }
            }
        }
        Some(lost)
    }

    /// The names that the template gives, as patterns; too many rather than too few.
    fn names(&self, template: &Template) -> Vec<Vec<Segment>> {
        let join = |segments: &[&Segment]| {
            segments
                .iter()
                .map(|segment| segment.as_str())
                .collect::<Vec<_>>()
                .join("/")
        };
        let mut text = String::new();
        for piece in template.pieces() {
            match piece {
                Piece::Literal(literal) if text.ends_with('/') => {
                    text.push_str(literal.strip_prefix('/').unwrap_or(literal))
                }
                Piece::Literal(literal) => text.push_str(literal),
                Piece::Variable(Variable::Registry) => text.push_str(self.registry_text),
                Piece::Variable(Variable::Repository) => text.push_str(&join(&self.repository)),
                Piece::Variable(Variable::Group(_)) => text.push_str("**"),
                Piece::Variable(Variable::Namespace) => match self.repository.split_last() {
                    Some((Segment::Deep, _)) | None => text.push_str("**"),
                    Some((_, namespace)) => text.push_str(&join(namespace)),
                },
                Piece::Variable(Variable::Name) => match self.repository.last() {
                    Some(Segment::Deep) | None => text.push('*'),
                    Some(name) => text.push_str(name.as_str()),
                },
            }
        }
        let mut names = Vec::new();
        let mut open = false;
        for part in text.split('/') {
            // Within a segment, several segments begin or end.
            let within = part.contains("**") && part != "**";
            names.push(Segment::parse(&if within {
                part.replace("**", "*")
            } else {
                part.to_owned()
            }));
            open |= within;
        }
        if open {
            let mut longer = names.clone();
            longer.push(Segment::Deep);
            return vec![names, longer];
        }
        vec![names]
    }
}
