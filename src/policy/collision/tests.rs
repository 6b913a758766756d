use std::collections::HashMap;

use proptest::prelude::*;

use super::collisions;
use crate::{
    document::Path,
    policy::{Action, Rule, compile::rule::build, pattern::registry_to_match, spec::RuleSpec},
    reference::Reference,
};

fn rule(images: &[&str], to: &[&str], shared: bool) -> Rule {
    let images: Vec<serde_json::Value> = images
        .iter()
        .map(|image| match image.strip_prefix('~') {
            Some(regex) => serde_json::json!({ "regex": regex }),
            None => (*image).into(),
        })
        .collect();
    let mut spec = serde_json::json!({ "name": "r", "rewrite": { "to": to, "sharedTarget": shared } });
    if !images.is_empty() {
        spec["match"] = serde_json::json!({ "images": images });
    }
    let spec: RuleSpec = serde_json::from_value(spec).unwrap();
    let mut problems = Vec::new();
    let rule = build("p", spec, &Path::root(), &mut problems);
    rule.unwrap_or_else(|| panic!("{images:?} {to:?}: {problems:?}"))
}

/// Every image of a few registries with up to three segments of a few names.
fn universe() -> Vec<String> {
    const NAMES: [&str; 4] = ["x", "y", "library", "a.io"];
    let one = NAMES.map(str::to_owned).to_vec();
    let longer = |shorter: &[String]| -> Vec<String> {
        shorter
            .iter()
            .flat_map(|start| NAMES.map(|name| format!("{start}/{name}")))
            .collect()
    };
    let two = longer(&one);
    let three = longer(&two);
    ["docker.io", "a.io", "b.io", "A.io", "localhost:5000", "a_b.io"]
        .iter()
        .flat_map(|registry| {
            [&one, &two, &three].map(move |names| names.iter().map(move |name| format!("{registry}/{name}")))
        })
        .flatten()
        .collect()
}

/// Two different images that get one name by templates of rules which do not both say `sharedTarget`.
fn brute_force(rules: &[Rule], universe: &[String]) -> Option<(String, String, String)> {
    let mut sources: HashMap<String, Vec<(String, bool)>> = HashMap::new();
    for rule in rules {
        let Action::Rewrite(rewrite) = rule.action() else {
            unreachable!()
        };
        for image in universe {
            let image = Reference::parse(image).unwrap();
            let matched = rule.matching().images.iter().flatten().any(|test| test.matches(&image));
            if rule.matching().images.is_some() && !matched {
                continue;
            }
            let source = format!("{}/{}", registry_to_match(&image), image.repository());
            for place in 0..rewrite.to.len() {
                let Some(target) = rewrite.target_of(place, rule.matching(), &image) else {
                    continue;
                };
                let target = Reference::parse(&target).unwrap().canonical().to_string();
                let known = sources.entry(target.clone()).or_default();
                let other = known
                    .iter()
                    .find(|(other, shared)| *other != source && !(*shared && rewrite.shared_target));
                if let Some((other, _)) = other {
                    return Some((other.clone(), source, target));
                }
                if !known
                    .iter()
                    .any(|known| *known == (source.clone(), rewrite.shared_target))
                {
                    known.push((source.clone(), rewrite.shared_target));
                }
            }
        }
    }
    None
}

fn any_rule() -> impl Strategy<Value = (Vec<&'static str>, Vec<&'static str>, bool)> {
    let pattern = prop::sample::select(vec![
        "docker.io/**",
        "docker.io/library/*",
        "docker.io/library/x",
        "docker.io/x/**",
        "docker.io/*/x",
        "a.io/**",
        "a.io/*",
        "a.io/x",
        "a.io/x/*",
        "a.io/x/**",
        "a.io/**/x",
        "a.io/*/y",
        "a.io/x*",
        "a.io/x/y",
        "b.io/**",
        "b.io/x",
        "b.io/a.io/x",
        "b.io/*",
        "*/x",
        "*/x/**",
        "*/*",
        "*.io/x/*",
        "**/x",
        "**/x/y",
        "*/**/y",
        "a_b.io/**",
        "localhost:5000/**",
        "a.io/**:1",
    ]);
    let template = prop::sample::select(vec![
        "r.io/{registry}/{repository}",
        "r.io/{repository}",
        "r.io/a.io/{repository}",
        "r.io/docker.io/{repository}",
        "r.io/x/{repository}",
        "r.io/{namespace}/{name}",
        "r.io/x/{namespace}/{name}",
        "r.io/{registry}/{namespace}/{name}",
        "r.io/{name}",
        "r.io/x/{name}",
        "r.io/x",
        "r.io/x/y",
        "r.io/{registry}-{repository}",
        "r.io/m-{repository}",
        "r.io/{repository}-m",
        "r.io/{repository}/{registry}",
        "r.io/{registry}/{name}",
        "r.io/{name}/{registry}",
        "r.io/{namespace}/{registry}",
        "r.io/x/{namespace}/y/{name}",
        "docker.io/{repository}",
        "docker.io/{name}",
        "docker.io/library/{name}",
        "docker.io/{namespace}/{name}",
        "docker.io/x/{name}",
        "docker.io/{registry}/{repository}",
        "docker.io/library/{repository}",
        "s.io/{registry}/{repository}",
        "r.io/{name}-{registry}/x",
        "r.io/{repository}/{name}",
        "docker.io/x{repository}",
        "r.io/x{namespace}/{name}",
        "r.io/a.io-{repository}",
    ]);
    let regex = prop::sample::select(vec![
        (r"~a\.io/(?<g>.*)", "r.io/{g}"),
        (r"~a\.io/(?<g>[^/]*)/.*", "r.io/{g}/{repository}"),
        (r"~[^/]*/(?<g>.*?)/?x", "r.io/{g}/x"),
        (r"~(?<g>.*)", "r.io/{g}/{registry}/{repository}"),
        (r"~[^/]*/(?<g>.*)", "r.io/{registry}/{g}"),
        (r"~b\.io/.*", "r.io/{repository}"),
        (r"~(?<g>[^/]*)/x", "r.io/x/{g}"),
    ]);
    let shared = || prop::sample::select(vec![false, false, true]);
    let by_pattern = (
        prop::collection::vec(pattern, 0..3),
        prop::collection::vec(template, 1..3),
        shared(),
    );
    prop_oneof![
        6 => by_pattern,
        1 => (regex, shared()).prop_map(|((regex, template), shared)| (vec![regex], vec![template], shared)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn what_is_not_refused_gives_no_two_images_one_name(specs in prop::collection::vec(any_rule(), 1..4)) {
        let rules: Vec<Rule> = specs.iter().map(|(images, to, shared)| rule(images, to, *shared)).collect();
        let refused = !collisions(&rules.iter().collect::<Vec<_>>()).is_empty();
        if !refused {
            prop_assert_eq!(brute_force(&rules, &universe()), None, "{:?}", specs);
        }
    }
}
