//! Refuses templates that could send two different images to one name: a Pod would get somebody else's image.
//!
//! Each template of each rule, with each pattern of the rule, maps a set of sources to a set of names, both described by patterns.
//! Two mappings collide where their names overlap and one cannot tell the sources apart: by the name, or because what the name
//! does not say is literal and the same in both. Sound, not complete: what is not refused never gives two images one name.

mod names;

use std::{
    cell::OnceCell,
    collections::{BTreeMap, btree_map},
};

use hashbrown::HashMap;

use self::names::{Names, names};
use super::{
    Action, Rule,
    pattern::{Pattern, Segment},
    template::{Template, Variable},
};

/// Two templates that can give two images one name; `first` and `second` may be the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Collision {
    /// The earlier rule, and the place of its template.
    pub(crate) first: Place,
    /// The later rule, which the problem is reported at.
    pub(crate) second: Place,
    /// Whether what is lost is (at least) the registry.
    pub(crate) loses_registry: bool,
}

/// A rule, and one of its templates.
type Place = (usize, usize);

/// Collisions among rules of which not both say `sharedTarget`: none only where there is none, and at most one for each template.
pub(crate) fn collisions(rules: &[&Rule]) -> Vec<Collision> {
    let mut mappings = Mappings::default();
    for (rule, place) in rules.iter().zip(0..) {
        let Action::Rewrite(rewrite) = &rule.action else {
            continue;
        };
        let patterns = rule.matching.patterns();
        for (template, number) in rewrite.to.iter().zip(0..) {
            let mut add = |pattern| mappings.add((place, number), template, pattern, rewrite.shared_target);
            match &patterns {
                Some(patterns) => patterns.iter().for_each(|pattern| add(Some(*pattern))),
                None => add(None),
            }
        }
    }
    mappings.collisions()
}

/// All that templates do with what patterns match.
#[derive(Default)]
struct Mappings {
    classes: Vec<Class>,
    class_ids: HashMap<ClassKey, usize>,
    /// The class and the names, with the places of the rules that have them. Thousands of rules may differ in nothing else.
    by_names: HashMap<(usize, Vec<Segment>), Vec<Place>>,
}

/// What matters of a template and a source, apart from the names: two mappings of one class never collide, if it is injective.
#[derive(Clone, PartialEq, Eq, Hash)]
struct ClassKey {
    shared: bool,
    /// As it was written.
    template: Box<str>,
    /// The source's registry, where it is literal.
    registry: Option<Box<str>>,
    /// What the name does not say of the source, where that is literal; `None` where it is not.
    lost: Option<Vec<Box<str>>>,
}

struct Class {
    key: ClassKey,
    /// The template with the literal registry filled in.
    filled: Template,
    keeps_registry: bool,
    keeps_repository: bool,
    /// The names it could give with any pattern; seldom asked for.
    cover: OnceCell<Vec<Names>>,
}

/// One class and the names it gives for one pattern.
struct Mapping<'m> {
    class: usize,
    names: &'m [Segment],
    places: &'m [Place],
    /// The characters that all names begin with.
    prefix: String,
}

impl Mappings {
    fn add(&mut self, place: Place, template: &Template, pattern: Option<&Pattern>, shared: bool) {
        let source = Source::of(pattern);
        let filled = match &source.registry {
            Some(registry) => template.of_registry(registry),
            None => template.clone(),
        };
        let key = ClassKey {
            shared,
            template: template.as_str().into(),
            lost: source.lost(&filled),
            registry: source.registry.clone(),
        };
        let next = self.classes.len();
        let class = *self.class_ids.entry(key).or_insert_with_key(|key| {
            self.classes.push(Class {
                key: key.clone(),
                filled: filled.clone(),
                keeps_registry: template.keeps_registry(),
                keeps_repository: template.keeps_repository(),
                cover: OnceCell::new(),
            });
            next
        });
        for names in names(&filled, &source) {
            let places = self.by_names.entry((class, names)).or_default();
            if places.last() != Some(&place) {
                places.push(place);
            }
        }
    }

    fn collisions(&self) -> Vec<Collision> {
        let mut found = Found::default();
        let mut mappings: Vec<Mapping<'_>> = Vec::with_capacity(self.by_names.len());
        for ((class, names), places) in &self.by_names {
            let key = &self.classes[*class].key;
            if key.lost.is_none() && !key.shared {
                found.add(self, (*class, places), (*class, places));
            }
            mappings.push(Mapping {
                class: *class,
                names,
                places,
                prefix: names::literal_prefix(names),
            });
        }
        // Names overlap only where the literal beginning of one is the beginning of the other's: in sorted order, those are the
        // mappings on the stack. It is kept by class, since whole classes need no comparison.
        mappings.sort_by(|left, right| {
            left.prefix
                .cmp(&right.prefix)
                .then_with(|| left.places.cmp(right.places))
        });
        let mut stack: Vec<&Mapping<'_>> = Vec::new();
        let mut by_class: BTreeMap<usize, Vec<&Mapping<'_>>> = BTreeMap::new();
        for mapping in &mappings {
            while let Some(top) = stack.pop_if(|top| !mapping.prefix.starts_with(&top.prefix)) {
                if let btree_map::Entry::Occupied(mut entry) = by_class.entry(top.class) {
                    entry.get_mut().pop();
                    if entry.get().is_empty() {
                        entry.remove();
                    }
                }
            }
            let class = &self.classes[mapping.class];
            let colliding = by_class
                .iter()
                .filter(|(other, _)| self.classes[**other].may_give(mapping.names))
                .filter(|(other, _)| !class.is_compatible_with(&self.classes[**other]))
                .find_map(|(_, others)| others.iter().find(|other| names::overlap(mapping.names, other.names)));
            if let Some(other) = colliding {
                found.add(self, (mapping.class, mapping.places), (other.class, other.places));
            }
            stack.push(mapping);
            by_class.entry(mapping.class).or_default().push(mapping);
        }
        found.0.into_values().collect()
    }
}

impl Class {
    /// Whether no name of one can be a name of the other for another image, whatever the patterns.
    fn is_compatible_with(&self, other: &Self) -> bool {
        let (own, others) = (&self.key, &other.key);
        if own.shared && others.shared {
            return true;
        }
        // One template that keeps everything may serve any number of rules.
        if own.template == others.template && self.keeps_all() && other.keeps_all() {
            return true;
        }
        // The same names by two rules: what is lost is the same in both.
        if self.filled == other.filled
            && own.registry == others.registry
            && own.lost.is_some()
            && own.lost == others.lost
        {
            return true;
        }
        // `r/{registry}/{repository}` for all and `r/docker.io/{repository}` for some agree on the latter's images.
        let agrees = |general: &Self, special: &Self| {
            special.key.registry.as_ref().is_some_and(|registry| {
                general.keeps_all() && general.key.template.replace("{registry}", registry) == special.filled.as_str()
            })
        };
        agrees(self, other) || agrees(other, self)
    }

    fn keeps_all(&self) -> bool {
        self.keeps_registry && self.keeps_repository
    }

    fn may_give(&self, names: &[Segment]) -> bool {
        let cover = self.cover.get_or_init(|| names::names(&self.filled, &Source::of(None)));
        cover.iter().any(|cover| names::overlap(cover, names))
    }
}

/// By `second`.
#[derive(Default)]
struct Found(BTreeMap<Place, Collision>);

impl Found {
    /// The first of all places may stay as it is; every other is reported.
    fn add(&mut self, mappings: &Mappings, one: (usize, &[Place]), other: (usize, &[Place])) {
        let mut places: Vec<Place> = one.1.iter().chain(other.1).copied().collect();
        places.sort_unstable();
        places.dedup();
        let Some(first) = places.first().copied() else {
            return;
        };
        let (class, other_class) = (&mappings.classes[one.0], &mappings.classes[other.0]);
        let one_registry = class.key.registry.is_some() && class.key.registry == other_class.key.registry;
        let loses_registry = !(one_registry || class.keeps_registry && other_class.keeps_registry);
        let collision = |first, second| Collision {
            first,
            second,
            loses_registry,
        };
        if places.len() == 1 || (one.0 == other.0 && class.key.lost.is_none()) {
            // Whatever the others are, each is at fault by itself.
            self.0
                .extend(places.into_iter().map(|place| (place, collision(place, place))));
            return;
        }
        for second in places.into_iter().skip(1) {
            self.0.entry(second).or_insert_with(|| collision(first, second));
        }
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
        let segments = pattern.and_then(|pattern| pattern.segments().split_first());
        match segments {
            // With `**` it is the registry and some of the path.
            None | Some((Segment::Deep, _)) => Self {
                registry: None,
                registry_text: "*",
                repository: vec![ANYTHING],
            },
            Some((registry, repository)) => Self {
                registry: match registry {
                    Segment::Literal(registry) => Some(registry.clone()),
                    _ => None,
                },
                registry_text: registry.as_str(),
                repository: repository.iter().collect(),
            },
        }
    }

    /// What the template's names do not say, where it is literal; `None` where it is not. In the template a literal registry has
    /// been filled in, so that it counts as not said.
    fn lost(&self, template: &Template) -> Option<Vec<Box<str>>> {
        let mut lost = Vec::new();
        match &self.registry {
            Some(registry) => lost.push(registry.clone()),
            None if template.keeps_registry() => {}
            None => return None,
        }
        if template.keeps_repository() {
            return Some(lost);
        }
        let (name, namespace) = self.repository.split_last()?;
        let told = |variable| template.separates() && template.has(&variable);
        // With `**` as the last segment it stands for some of the namespace, too.
        if **name == Segment::Deep {
            return None;
        }
        let mut parts: Vec<&Segment> = Vec::new();
        if !told(Variable::Name) {
            parts.push(name);
        }
        if !told(Variable::Namespace) {
            parts.extend(namespace);
        }
        for part in parts {
            match part {
                Segment::Literal(text) => lost.push(text.clone()),
                _ => return None,
            }
        }
        Some(lost)
    }
}

#[cfg(test)]
mod tests;
