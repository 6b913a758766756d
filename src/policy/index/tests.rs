use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::policy::{glob::Glob, pattern::Pattern};

fn matching(index: &Index, image: &str, namespace: &str) -> Vec<u32> {
    let reference = Reference::parse(image).unwrap();
    let mut found = Matches::new();
    let none = BTreeMap::new();
    let context = Context {
        namespace,
        namespace_labels: &none,
        pod_labels: &none,
    };
    index.matches(&reference, Some(&context), &mut found);
    let mut rules: Vec<u32> = InOrder::new(&mut found).map(|entry| entry.rule).collect();
    rules.dedup();
    rules
}

fn index_of(patterns: &[Pattern]) -> Index {
    let mut index = Index::new();
    for (rule, pattern) in patterns.iter().enumerate() {
        index.insert(
            pattern.segments(),
            Scope::All,
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
            Scope::Namespaces(&namespaces),
            Entry {
                rule,
                detail: Entry::NOTHING,
            },
        );
    }
    index.insert(
        everything.segments(),
        Scope::Namespaces(&[Glob::new("team-7*")]),
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
