//! Finds rules that never decide, because an earlier one always decides first.

use super::{
    Action, Glob, Matching, Mode, Rule,
    index::{Entry, Index},
    selector::LabelSelector,
};

/// For each rule that an earlier one always shadows: (shadowed, by). Sound, not complete: a pair it names is one.
pub(crate) fn shadowed(rules: &[&Rule]) -> Vec<(usize, usize)> {
    let mut index = Index::new();
    let mut found = Vec::new();
    for (place, rule) in rules.iter().enumerate() {
        let number = u32::try_from(place).unwrap_or(u32::MAX);
        let patterns = rule.matching.patterns();
        // Whoever covers the whole rule covers its first pattern.
        let candidates = match (&rule.matching.images, &patterns) {
            (None, _) => index.covering(&[super::Segment::Any, super::Segment::Deep]),
            (Some(_), Some(patterns)) => patterns
                .first()
                .map_or_else(Vec::new, |first| index.covering(first.segments())),
            (Some(_), None) => index.covering(&[super::Segment::Deep]),
        };
        let namespace = rule.matching.namespaces.as_ref().and_then(|globs| globs.first());
        let earliest = candidates
            .into_iter()
            .flat_map(|ends| ends.entries(namespace))
            .take(MOST_CANDIDATES)
            .map(|entry| entry.rule as usize)
            .filter(|earlier| {
                *earlier < place && decides(rules[*earlier]) && covers(&rules[*earlier].matching, &rule.matching)
            })
            .min();
        found.extend(earliest.map(|earlier| (place, earlier)));
        let namespaces = rule.matching.namespaces.as_deref();
        match patterns {
            None if rule.matching.images.is_none() => index.insert_for_all(
                namespaces,
                Entry {
                    rule: number,
                    detail: 0,
                },
            ),
            None => {}
            Some(patterns) => {
                for pattern in patterns {
                    index.insert(
                        pattern.segments(),
                        namespaces,
                        Entry {
                            rule: number,
                            detail: 0,
                        },
                    );
                }
            }
        }
    }
    found
}

/// So many earlier rules are compared with each rule: more only where thousands have the same pattern.
const MOST_CANDIDATES: usize = 256;

fn decides(rule: &Rule) -> bool {
    rule.mode == Mode::Enforce && matches!(rule.action, Action::Rewrite(_) | Action::Keep | Action::Deny { .. })
}

fn covers(general: &Matching, special: &Matching) -> bool {
    let images = match (&general.images, special.patterns()) {
        (None, _) => true,
        (Some(_), None) if special.images.is_some() => false,
        (Some(tests), None) => tests
            .iter()
            .any(|test| test.pattern().is_some_and(super::Pattern::matches_everything)),
        (Some(tests), Some(patterns)) => patterns.iter().all(|pattern| {
            tests
                .iter()
                .any(|test| test.pattern().is_some_and(|general| general.covers(pattern)))
        }),
    };
    // What the general rule excepts, the special one has to except as well.
    let excepted = match (&general.except_images, &special.except_images) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(general), Some(special)) => general.0.iter().all(|test| {
            test.pattern().is_some_and(|pattern| {
                special
                    .0
                    .iter()
                    .any(|test| test.pattern().is_some_and(|special| special.covers(pattern)))
            })
        }),
    };
    images
        && excepted
        && covers_globs(general.namespaces.as_deref(), special.namespaces.as_deref())
        && match (&general.except_namespaces, &special.except_namespaces) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(general), Some(special)) => covers_globs(Some(special), Some(general)),
        }
        && covers_selector(
            general.namespace_selector.as_deref(),
            special.namespace_selector.as_deref(),
        )
        && covers_selector(general.pod_selector.as_deref(), special.pod_selector.as_deref())
}

fn covers_globs(general: Option<&[Glob]>, special: Option<&[Glob]>) -> bool {
    match (general, special) {
        (None, _) => true,
        (Some(general), None) => general.iter().any(|glob| glob.as_str() == "*"),
        (Some(general), Some(special)) => special.iter().all(|special| {
            general
                .iter()
                .any(|glob| glob == special || (special.is_literal() && glob.matches(special.as_str())))
        }),
    }
}

fn covers_selector(general: Option<&LabelSelector>, special: Option<&LabelSelector>) -> bool {
    general.is_none_or(|general| *general == LabelSelector::default() || Some(general) == special)
}
