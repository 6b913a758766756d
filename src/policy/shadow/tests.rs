use std::collections::BTreeMap;

use proptest::prelude::*;

use super::shadowed;
use crate::{
    document::Path,
    policy::{Context, Rule, compile::rule::build, spec::RuleSpec},
    reference::Reference,
};

fn rule(json: &str) -> Rule {
    let spec: RuleSpec = serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"));
    let mut problems = Vec::new();
    build("p", spec, &Path::root(), &mut problems).unwrap_or_else(|| panic!("{json}: {problems:?}"))
}

fn found(rules: &[Rule]) -> Vec<(usize, usize)> {
    shadowed(&rules.iter().collect::<Vec<_>>())
}

#[test]
fn a_rule_is_shadowed_by_an_earlier_one_that_decides_and_matches_all_that_it_does() {
    for (general, special, expected) in [
        ("", "", true),
        (r#""images":["docker.io/**"]"#, r#""images":["docker.io/x/**"]"#, true),
        (
            r#""images":["docker.io/**"]"#,
            r#""images":["docker.io/x/**","quay.io/x"]"#,
            false,
        ),
        (
            r#""images":["docker.io/**","quay.io/**"]"#,
            r#""images":["docker.io/x/**","quay.io/x"]"#,
            true,
        ),
        (r#""images":["docker.io/**:1"]"#, r#""images":["docker.io/**"]"#, false),
        (
            r#""images":["docker.io/**:1"]"#,
            r#""images":["docker.io/x/**:1"]"#,
            true,
        ),
        (r#""images":["*/**"]"#, r#""images":[{"regex":"x"}]"#, false),
        ("", r#""images":[{"regex":"x"}]"#, true),
        (r#""images":["*/x*/*"]"#, r#""images":["*/xy*/*"]"#, true),
        (r#""namespaces":["a*"]"#, r#""namespaces":["ab*","a"]"#, true),
        (r#""namespaces":["a*"]"#, r#""namespaces":["*"]"#, false),
        (r#""namespaces":["a"]"#, "", false),
        (r#""namespaces":["*"]"#, "", true),
        (r#""exceptNamespaces":["a"]"#, "", false),
        (r#""exceptNamespaces":["a"]"#, r#""exceptNamespaces":["a*"]"#, true),
        (r#""exceptImages":["docker.io/**"]"#, "", false),
        (
            r#""exceptImages":["docker.io/x/*"]"#,
            r#""exceptImages":["docker.io/**"]"#,
            true,
        ),
        (r#""podSelector":{}"#, "", true),
        (r#""podSelector":{"matchLabels":{"a":"b"}}"#, "", false),
        (
            r#""podSelector":{"matchLabels":{"a":"b"}}"#,
            r#""podSelector":{"matchLabels":{"a":"b"}}"#,
            true,
        ),
        (
            r#""podSelector":{"matchLabels":{"a":"b"}}"#,
            r#""namespaceSelector":{"matchLabels":{"a":"b"}}"#,
            false,
        ),
        (
            "",
            r#""podSelector":{"matchLabels":{"a":"b"}},"namespaceSelector":{"matchLabels":{"a":"b"}}"#,
            true,
        ),
    ] {
        let json = |matching: &str| format!(r#"{{"name":"r","match":{{{matching}}},"keep":{{}}}}"#);
        let rules = [rule(&json(general)), rule(&json(special))];
        assert_eq!(!found(&rules).is_empty(), expected, "{general} before {special}");
    }
}

#[test]
fn what_replicates_is_never_called_shadowed_and_what_does_not_decide_shadows_nothing() {
    let keep = r#"{"name":"r","keep":{}}"#;
    for (first, second, expected) in [
        (keep, keep, true),
        (keep, r#"{"name":"r","deny":{}}"#, true),
        (
            keep,
            r#"{"name":"r","match":{"images":["a.io/**"]},"replicate":{"registry":"x"}}"#,
            false,
        ),
        (
            keep,
            r#"{"name":"r","keep":{},"match":{"images":["a.io/**"]},"replicate":{"registry":"x"}}"#,
            false,
        ),
        (
            r#"{"name":"r","match":{"images":["a.io/**"]},"replicate":{"registry":"x"}}"#,
            keep,
            false,
        ),
        (r#"{"name":"r","rewrite":{"latestPush":{}}}"#, keep, false),
        (r#"{"name":"r","mode":"audit","keep":{}}"#, keep, false),
        (r#"{"name":"r","mode":"warn","keep":{}}"#, keep, false),
        (keep, r#"{"name":"r","mode":"warn","keep":{}}"#, true),
    ] {
        assert_eq!(
            !found(&[rule(first), rule(second)]).is_empty(),
            expected,
            "{first} before {second}"
        );
    }
}

fn any_rule() -> impl Strategy<Value = String> {
    let test = prop::sample::select(vec![
        r#""a.io/**""#,
        r#""a.io/x""#,
        r#""a.io/*""#,
        r#""*/**""#,
        r#""**/x""#,
        r#""a.io/x*""#,
        r#""*/x/*""#,
        r#""a.io/**:1""#,
        r#"{"regex":"a.io/.*"}"#,
        r#""b.io/x/y""#,
        r#""*.io/**""#,
    ]);
    let tests = |key: &'static str, chance: f64| {
        prop::option::weighted(chance, prop::collection::vec(test.clone(), 1..3))
            .prop_map(move |tests| tests.map(|tests| format!(r#""{key}":[{}]"#, tests.join(","))))
    };
    let globs = |key: &'static str, chance: f64| {
        let glob = prop::sample::select(vec![r#""a""#, r#""a*""#, r#""*""#, r#""ab""#]);
        prop::option::weighted(chance, prop::collection::vec(glob, 1..3))
            .prop_map(move |globs| globs.map(|globs| format!(r#""{key}":[{}]"#, globs.join(","))))
    };
    let selector = |key: &'static str| {
        let selector = prop::sample::select(vec![
            "{}",
            r#"{"matchLabels":{"l":"x"}}"#,
            r#"{"matchExpressions":[{"key":"l","operator":"Exists"}]}"#,
        ]);
        prop::option::weighted(0.2, selector)
            .prop_map(move |selector| selector.map(|selector| format!(r#""{key}":{selector}"#)))
    };
    let parts = (
        tests("images", 0.8),
        tests("exceptImages", 0.2),
        globs("namespaces", 0.4),
        globs("exceptNamespaces", 0.2),
        selector("podSelector"),
        selector("namespaceSelector"),
    );
    parts.prop_map(|(a, b, c, d, e, f)| {
        let matching: Vec<String> = [a, b, c, d, e, f].into_iter().flatten().collect();
        format!(r#"{{"name":"r","match":{{{}}},"keep":{{}}}}"#, matching.join(","))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn a_rule_called_shadowed_never_decides(specs in prop::collection::vec(any_rule(), 2..6)) {
        let rules: Vec<Rule> = specs.iter().map(|spec| rule(spec)).collect();
        let found = found(&rules);
        if found.is_empty() {
            return Ok(());
        }
        let labels = |value: Option<&str>| -> BTreeMap<String, String> {
            value.map(|value| ("l".to_owned(), value.to_owned())).into_iter().collect()
        };
        let all_labels = [labels(None), labels(Some("x")), labels(Some("y"))];
        for image in ["a.io/x", "a.io/y", "a.io/xy", "a.io/x:1", "a.io/x/y", "b.io/x", "b.io/x/y", "b.io/y/x", "a.io/y/x", "A.io/x", "c.com/z"] {
            let image = Reference::parse(image).unwrap();
            for namespace in ["a", "ab", "b"] {
                for namespace_labels in &all_labels {
                    for pod_labels in &all_labels {
                        let context = Context { namespace, namespace_labels, pod_labels };
                        let deciding = rules.iter().position(|rule| rule.matching().check(&context, &image).is_ok());
                        for (shadowed, by) in &found {
                            prop_assert_ne!(deciding, Some(*shadowed), "{} decides on {} in spite of {}", &specs[*shadowed], image, &specs[*by]);
                        }
                    }
                }
            }
        }
    }
}
