use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Shape, closest};
use crate::document::{Node, Problem, Source, locate, parse};

/// A document with everything that occurs in policies and configuration.
#[derive(Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Spec {
    #[schemars(length(min = 1))]
    rules: Vec<Rule>,
    #[serde(default)]
    port: Option<u16>,
    #[serde(default)]
    route: bool,
    #[serde(default)]
    presets: Vec<Preset>,
}

#[derive(Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Rule {
    name: String,
    #[serde(default, rename = "match")]
    matching: Match,
    rewrite: Option<Rewrite>,
    #[serde(default)]
    pull: Pull,
    keep: Option<Empty>,
}

#[derive(Debug, Default, Deserialize, JsonSchema, PartialEq)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Match {
    images: Vec<Pattern>,
    except_images: Vec<Pattern>,
    namespaces: Vec<String>,
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(untagged)]
enum Pattern {
    Glob(String),
    Regex(Regex),
}

#[derive(Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields)]
struct Regex {
    regex: String,
}

#[derive(Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(untagged)]
enum Preset {
    Name(String),
    With(Values),
}

#[derive(Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields)]
struct Values {
    name: String,
    #[serde(default)]
    values: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Rewrite {
    prefix: Option<String>,
    #[serde(default)]
    on_unavailable: OnUnavailable,
}

#[derive(Debug, Default, Deserialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
enum OnUnavailable {
    /// Documented, which makes schemars write `oneOf`.
    #[default]
    Keep,
    Next,
}

#[derive(Debug, Default, Deserialize, JsonSchema, PartialEq)]
#[serde(default, deny_unknown_fields)]
struct Pull {
    policy: Option<Policy>,
    secrets: Vec<String>,
}

#[derive(Debug, Deserialize, JsonSchema, PartialEq)]
enum Policy {
    Always,
    IfNotPresent,
    Never,
}

#[derive(Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields)]
struct Empty {}

fn check(text: &str) -> (Source, Node, Vec<Problem>) {
    let source = Source::new("t.yaml", text);
    let (mut documents, problems) = parse(&source);
    assert_eq!(problems, [], "{text}");
    let node = documents.remove(0);
    let problems = Shape::of::<Spec>().check(&node);
    (source, node, problems)
}

#[test]
fn a_right_document_passes_and_decodes() {
    let (_, node, problems) = check(
        "rules:\n  - name: a\n    match: {images: [docker.io/*, {regex: x}], labels: {a: b}}\n    \
         rewrite: {prefix: x, onUnavailable: next}\n    pull: {policy: Always}\n    keep:\nport: 0x50\nroute: true\n\
         presets: [a, {name: b, values: {host: h}}]\n",
    );
    assert_eq!(problems, []);
    let spec: Spec = node.decode().unwrap();
    assert_eq!(spec.port, Some(80));
    assert_eq!(
        spec.rules[0].matching.images,
        [
            Pattern::Glob("docker.io/*".into()),
            Pattern::Regex(Regex { regex: "x".into() })
        ]
    );
    assert_eq!(
        spec.rules[0].rewrite.as_ref().unwrap().on_unavailable,
        OnUnavailable::Next
    );
    assert_eq!(spec.rules[0].pull.policy, Some(Policy::Always));
}

/// What stands in the place of `…` in `rules: [{name: a, …}]`, and code, path, message, hint.
#[test]
fn mistakes_in_a_rule_are_explained() {
    let rows = [
        (
            "pulll: {}",
            "unknown-key",
            "pulll",
            "unknown key `pulll`",
            "did you mean `pull`?",
        ),
        (
            "match: {exceptimages: []}",
            "unknown-key",
            "match.exceptimages",
            "",
            "did you mean `exceptImages`?",
        ),
        (
            "match: {except_images: []}",
            "unknown-key",
            "match.except_images",
            "",
            "did you mean `exceptImages`?",
        ),
        (
            "images: []",
            "unknown-key",
            "images",
            "",
            "`images` belongs under `match`",
        ),
        (
            "prefix: x",
            "unknown-key",
            "prefix",
            "",
            "`prefix` belongs under `rewrite`",
        ),
        (
            "rewrite: {pull: {}}",
            "unknown-key",
            "rewrite.pull",
            "",
            "`pull` belongs one level further out, beside `rewrite`",
        ),
        (
            "rewrite: {images: []}",
            "unknown-key",
            "rewrite.images",
            "",
            "`images` belongs under `match`, beside `rewrite`",
        ),
        (
            "rewrite: {zzz: 1}",
            "unknown-key",
            "rewrite.zzz",
            "",
            "known here: `onUnavailable` and `prefix`",
        ),
        ("keep: {zzz: 1}", "unknown-key", "keep.zzz", "", ""),
        (
            "match: {images: docker.io/*}",
            "wrong-type",
            "match.images",
            "expected a list of strings or mappings with `regex`, found the string `docker.io/*`",
            "write it as a list: `images: [\"docker.io/*\"]`",
        ),
        (
            "match: {namespaces: 5}",
            "wrong-type",
            "match.namespaces",
            "expected a list of strings, found the number `5`",
            "`namespaces: [\"5\"]`",
        ),
        (
            "match: {images: [[a]]}",
            "wrong-type",
            "match.images[0]",
            "expected a string or a mapping with `regex`, found a list",
            "write `\"a\"`",
        ),
        (
            "match: {images: [{regexp: a}]}",
            "missing-key",
            "match.images[0]",
            "the key `regex` is missing",
            "add `regex`: a string",
        ),
        (
            "match: {images: {regex: a}}",
            "wrong-type",
            "match.images",
            "found a mapping",
            "begin each entry with `- `",
        ),
        (
            "match: {labels: {a: 1.20}}",
            "wrong-type",
            "match.labels.a",
            "expected a string, found the number `1.20`",
            "put it in quotes: `a: \"1.20\"`",
        ),
        (
            "match: {labels: {a: true}}",
            "wrong-type",
            "match.labels.a",
            "found `true`",
            "`a: \"true\"`",
        ),
        (
            "match: [a]",
            "wrong-type",
            "match",
            "expected a mapping, found a list",
            "",
        ),
        ("match: [{images: []}]", "wrong-type", "match", "", "remove the `- `"),
        (
            "match:",
            "no-value",
            "match",
            "`match` has no value: expected a mapping",
            "keys below it",
        ),
        (
            "match: {images: }",
            "no-value",
            "match.images",
            "`images` has no value",
            "`images: []`",
        ),
        (
            "match: {images: [~]}",
            "no-value",
            "match.images[0]",
            "this has no value",
            "remove it",
        ),
        (
            "rewrite: {prefix: [x]}",
            "wrong-type",
            "rewrite.prefix",
            "expected a string, found a list",
            "write `prefix: \"x\"`",
        ),
        (
            "rewrite: {onUnavailable: kepp}",
            "unknown-value",
            "rewrite.onUnavailable",
            "unknown value `kepp`",
            "did you mean `keep`?",
        ),
        (
            "rewrite: {onUnavailable: 1}",
            "wrong-type",
            "rewrite.onUnavailable",
            "expected `next` or `keep`, found the number `1`",
            "",
        ),
        (
            "pull: {policy: always}",
            "unknown-value",
            "pull.policy",
            "",
            "did you mean `Always`?",
        ),
        (
            "pull: {policy: zzz}",
            "unknown-value",
            "pull.policy",
            "",
            "write `Always`, `IfNotPresent` or `Never`",
        ),
    ];
    for (rule, code, path, message, hint) in rows {
        let (_, _, problems) = check(&format!("rules:\n- {{name: a, {rule}}}"));
        assert!(!problems.is_empty(), "{rule} is taken without a word");
        let problem = &problems[0];
        assert_eq!(
            (problem.code, &*problem.path.to_string()),
            (code, &*format!("rules[0].{path}")),
            "{problem:?}"
        );
        assert!(problem.message.contains(message), "{rule}: {problem:?}");
        assert!(
            problem.hint.as_deref().unwrap_or_default().contains(hint),
            "{rule}: {problem:?}"
        );
    }
}

#[test]
fn mistakes_at_the_top_are_explained() {
    let rows = [
        ("rules: []", "wrong-length", "rules", "at least 1 entry", ""),
        (
            "{}",
            "missing-key",
            "",
            "the key `rules` is missing",
            "a list of mappings with `name`",
        ),
        (
            "[]",
            "wrong-type",
            "",
            "expected a mapping with `rules`, found a list",
            "",
        ),
        ("text", "wrong-type", "", "found the string `text`", ""),
        ("rules: [{}]", "missing-key", "rules[0]", "`name`", ""),
        (
            "{rules: [{name: a}], port: 70000}",
            "out-of-range",
            "port",
            "70000 is not between 0 and 65535",
            "",
        ),
        (
            "{rules: [{name: a}], port: 1.5}",
            "wrong-type",
            "port",
            "whole number, found `1.5`",
            "",
        ),
        (
            "{rules: [{name: a}], port: '80'}",
            "wrong-type",
            "port",
            "the string `80`",
            "without quotes: `port: 80`",
        ),
        (
            "{rules: [{name: a}], route: yes}",
            "wrong-type",
            "route",
            "expected `true` or `false`, found the string `yes`",
            "write `route: true`",
        ),
        (
            "{rules: [{name: a}], presets: [{values: {}}]}",
            "missing-key",
            "presets[0]",
            "`name`",
            "",
        ),
        (
            "{rules: [{name: a}], presets: a}",
            "wrong-type",
            "presets",
            "",
            "`presets: [\"a\"]`",
        ),
        ("{rules: [{name: a}], name: x}", "unknown-key", "name", "", "known here"),
    ];
    for (text, code, path, message, hint) in rows {
        let (_, _, problems) = check(text);
        assert!(!problems.is_empty(), "{text} is taken without a word");
        let problem = &problems[0];
        assert_eq!(
            (problem.code, &*problem.path.to_string()),
            (code, path),
            "{text}: {problem:?}"
        );
        assert!(problem.message.contains(message), "{text}: {problem:?}");
        assert!(
            problem.hint.as_deref().unwrap_or_default().contains(hint),
            "{text}: {problem:?}"
        );
    }
}

#[test]
fn everything_is_reported_at_once_and_found_in_the_text() {
    let (source, node, problems) =
        check("rules:\n  - nam: a\n    match:\n      images: x\n    pull:\n      policy: Alway\nroute: yes\n");
    let found: Vec<_> = problems
        .iter()
        .map(|problem| {
            let spot = locate(problem, &source, Some(&node)).spot.unwrap();
            (problem.code, spot.line, spot.column)
        })
        .collect();
    assert_eq!(
        found,
        [
            ("missing-key", 2, 5),
            ("unknown-key", 2, 5),
            ("wrong-type", 4, 15),
            ("unknown-value", 6, 15),
            ("wrong-type", 7, 8),
        ]
    );
}

#[test]
fn what_the_parser_refused_is_not_reported_twice() {
    let source = Source::new("t.yaml", "rules: *x\n");
    let (documents, _) = parse(&source);
    assert_eq!(Shape::of::<Spec>().check(&documents[0]), []);
}

#[test]
fn decoding_says_where() {
    let node = Node::from_json(&serde_json::json!({"rules": [{"name": "a", "pull": {"policy": "x"}}]}));
    let error = node.decode::<Spec>().unwrap_err();
    assert_eq!(error.path().to_string(), "rules[0].pull.policy");
    assert!(error.message().contains("unknown variant"), "{error}");
}

#[test]
fn a_shape_may_contain_itself() {
    #[derive(JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only the schema matters")]
    struct Tree {
        #[serde(default)]
        children: Vec<Tree>,
        best: Option<Box<Tree>>,
    }
    let node = Node::from_json(&serde_json::json!({"children": [{"best": {"kinder": 1}}]}));
    let problems = Shape::of::<Tree>().check(&node);
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].path.to_string(), "children[0].best.kinder");
}

#[test]
fn flattened_alternatives_are_keys_of_the_whole() {
    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only the schema matters")]
    struct Whole {
        name: String,
        #[serde(flatten)]
        action: Action,
    }
    #[derive(JsonSchema)]
    #[serde(rename_all = "camelCase")]
    #[expect(dead_code, reason = "only the schema matters")]
    enum Action {
        Keep(bool),
        Deny { message: String },
    }
    let shape = Shape::of::<Whole>();
    let rows = [
        (serde_json::json!({"name": "a", "keep": true}), 0),
        (serde_json::json!({"name": "a", "deny": {"message": "m"}}), 0),
        (serde_json::json!({"name": "a", "deny": {"message": 1}}), 1),
        (serde_json::json!({"keep": 1}), 2),
    ];
    for (json, count) in rows {
        assert_eq!(shape.check(&Node::from_json(&json)).len(), count, "{json}");
    }
}

#[test]
fn leaves_are_the_paths_of_values() {
    let leaves: Vec<_> = Shape::of::<Rule>().leaves().iter().map(ToString::to_string).collect();
    assert_eq!(
        leaves,
        [
            "keep",
            "match.exceptImages",
            "match.images",
            "match.labels",
            "match.namespaces",
            "name",
            "pull.policy",
            "pull.secrets",
            "rewrite.onUnavailable",
            "rewrite.prefix",
        ]
    );
}

#[test]
fn suggestions_are_close() {
    let rows = [
        ("imags", Some("images")),
        ("namespace", Some("namespaces")),
        ("ON_UNAVAILABLE", Some("onUnavailable")),
        ("foo", None),
        ("", None),
    ];
    for (name, suggestion) in rows {
        assert_eq!(
            closest(name, ["images", "namespaces", "onUnavailable", "to"]),
            suggestion,
            "{name}"
        );
    }
}
