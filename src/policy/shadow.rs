//! Finds rules that never decide, because an earlier one always decides first.

use hashbrown::HashMap;

use super::{
    Action, Glob, Matching, Mode, Pattern, Rule, Segment,
    index::{Entry, Index, Scope},
    selector::LabelSelector,
};

/// For each rule that an earlier one always shadows: (shadowed, by). Sound, not complete: a pair it names is one.
pub(crate) fn shadowed(rules: &[&Rule]) -> Vec<(usize, usize)> {
    covered(rules, may_be_shadowed, decides)
}

/// For each rule that replicates nothing, because an earlier one always does: (that, by).
pub(crate) fn never_replicating(rules: &[&Rule]) -> Vec<(usize, usize)> {
    let replicates = |rule: &Rule| rule.replicate.is_some();
    covered(rules, replicates, replicates)
}

fn covered(
    rules: &[&Rule],
    may_be_shadowed: impl Fn(&Rule) -> bool,
    decides: impl Fn(&Rule) -> bool,
) -> Vec<(usize, usize)> {
    // A rule with selectors covers only rules with the same ones: an index for each pair of them.
    let mut indices: HashMap<Selectors<'_>, Index> = HashMap::new();
    let mut found = Vec::new();
    for (place, rule) in rules.iter().enumerate() {
        let matching = &rule.matching;
        let patterns = matching.patterns();
        if may_be_shadowed(rule) {
            let earliest = selectors_that_cover(matching)
                .filter_map(|selectors| indices.get(&selectors))
                .flat_map(|index| candidates(index, matching, patterns.as_deref()))
                .filter(|earlier| covers(&rules[*earlier].matching, matching, patterns.as_deref()))
                .min();
            found.extend(earliest.map(|earlier| (place, earlier)));
        }
        if decides(rule) {
            let rule = u32::try_from(place).unwrap_or(u32::MAX);
            let entry = Entry { rule, detail: 0 };
            // Selectors have an index of their own.
            let scope = matching.namespaces.as_deref().map_or(Scope::All, Scope::Namespaces);
            let index = indices.entry(selectors(matching)).or_insert_with(Index::new);
            match patterns {
                None if matching.images.is_none() => index.insert_for_all(scope, entry),
                // Regular expressions: what else they match is not known.
                None => {}
                Some(patterns) => {
                    for pattern in patterns {
                        index.insert(pattern.segments(), scope, entry);
                    }
                }
            }
        }
    }
    found
}

/// `namespaceSelector` and `podSelector`; those that select everything are none.
type Selectors<'r> = (Option<&'r LabelSelector>, Option<&'r LabelSelector>);

fn selectors(matching: &Matching) -> Selectors<'_> {
    let used = |selector: &'_ LabelSelector| *selector != LabelSelector::default();
    (
        matching.namespace_selector.as_deref().filter(|selector| used(selector)),
        matching.pod_selector.as_deref().filter(|selector| used(selector)),
    )
}

/// The selectors of rules that may cover one with these: each the same, or none.
fn selectors_that_cover(matching: &Matching) -> impl Iterator<Item = Selectors<'_>> {
    let (namespace, pod) = selectors(matching);
    [(None, None), (namespace, None), (None, pod), (namespace, pod)]
        .into_iter()
        .enumerate()
        // Where a selector is absent, some of these are the same.
        .filter(move |(n, _)| (n & 1 == 0 || namespace.is_some()) && (n & 2 == 0 || pod.is_some()))
        .map(|(_, selectors)| selectors)
}

/// The earlier rules that may cover a rule. Whoever covers it covers its first pattern, and its first namespace.
fn candidates<'i>(
    index: &'i Index,
    matching: &'i Matching,
    patterns: Option<&[&Pattern]>,
) -> impl Iterator<Item = usize> + use<'i> {
    let ends = match (&matching.images, patterns.and_then(|patterns| patterns.first())) {
        (None, _) => index.covering(&[Segment::Any, Segment::Deep]),
        (Some(_), Some(first)) => index.covering(first.segments()),
        (Some(_), None) => index.covering(&[Segment::Deep]),
    };
    let namespace = matching.namespaces.as_ref().and_then(|globs| globs.first());
    ends.into_iter()
        .flat_map(move |ends| ends.entries(namespace))
        .map(|entry| entry.rule as usize)
        .take(MOST_CANDIDATES)
}

/// So many earlier rules are compared with each rule: there are more only where dozens differ in nothing but what they except.
const MOST_CANDIDATES: usize = 64;

/// A rule that replicates does so even where another decides, and one without an action decides nothing anyway.
fn may_be_shadowed(rule: &Rule) -> bool {
    rule.replicate.is_none() && !matches!(rule.action, Action::Nothing)
}

fn decides(rule: &Rule) -> bool {
    rule.mode == Mode::Enforce && matches!(rule.action, Action::Rewrite(_) | Action::Keep | Action::Deny { .. })
}

/// `patterns` are those of `special`. That the selectors cover is known.
fn covers(general: &Matching, special: &Matching, patterns: Option<&[&Pattern]>) -> bool {
    let images = match (&general.images, patterns) {
        (None, _) => true,
        (Some(_), None) if special.images.is_some() => false,
        (Some(tests), None) => tests
            .iter()
            .any(|test| test.pattern().is_some_and(Pattern::matches_everything)),
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
}

fn covers_globs(general: Option<&[Glob]>, special: Option<&[Glob]>) -> bool {
    match (general, special) {
        (None, _) => true,
        (Some(general), None) => general.iter().any(|glob| glob.as_str() == "*"),
        (Some(general), Some(special)) => special
            .iter()
            .all(|special| general.iter().any(|glob| glob.covers(special))),
    }
}

#[cfg(test)]
mod tests;
