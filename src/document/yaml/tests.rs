use proptest::prelude::*;

use super::{MAX_DEPTH, MAX_PROBLEMS, parse};
use crate::document::{MAX_BYTES, Node, Problem, Source, Style, Value, locate};

fn read(text: &str) -> (Vec<Node>, Vec<Problem>) {
    parse(&Source::new("t.yaml", text))
}

fn one(text: &str) -> Node {
    let (mut documents, problems) = read(text);
    assert_eq!(problems, [], "{text:?}");
    assert_eq!(documents.len(), 1, "{text:?}");
    documents.remove(0)
}

/// Every node with the text it spans, in order, keys with a colon.
fn pieces(text: &str) -> Vec<String> {
    fn walk(node: &Node, text: &str, out: &mut Vec<String>) {
        for (key, value) in node.entries() {
            out.push(format!("{}:", &text[key.span.range().unwrap()]));
            walk(value, text, out);
        }
        for item in node.items() {
            walk(item, text, out);
        }
        if node.entries().is_empty() && node.items().is_empty() {
            out.push(text[node.span.range().unwrap()].to_owned());
        }
    }
    let mut out = Vec::new();
    walk(&one(text), text, &mut out);
    out
}

#[test]
fn spans_are_bytes_of_the_text() {
    let rows: [(&str, &[&str]); 10] = [
        ("a: 1\nb: x\n", &["a:", "1", "b:", "x"]),
        ("é: ü\nタグ: 値\n", &["é:", "ü", "タグ:", "値"]),
        ("a: 'it''s'\nb: \"\\u00e9\"\n", &["a:", "'it''s'", "b:", "\"\\u00e9\""]),
        ("\u{feff}a: 1\n", &["a:", "1"]),
        ("a: 1\r\nb:\r\n  - é\r\n  - y\r\n", &["a:", "1", "b:", "é", "y"]),
        ("a: |\n  x\n  y\n\nb: 2", &["a:", "x\n  y", "b:", "2"]),
        ("{\"a\": [1, {\"b\": null}]}", &["\"a\":", "1", "\"b\":", "null"]),
        ("a:\nb: x", &["a:", "", "b:", "x"]),
        ("a:\t1 # c\n", &["a:", "1"]),
        ("😀: [😀, 😀]", &["😀:", "😀", "😀"]),
    ];
    for (text, expected) in rows {
        assert_eq!(pieces(text), expected, "{text:?}");
    }
}

#[test]
fn collections_span_what_is_in_them() {
    let text = "a:\n  - x: 1\n    y: 2\n\n# c\nb: [1,\n 2]\n";
    let root = one(text);
    let slice = |node: &Node| &text[node.span.range().unwrap()];
    assert_eq!(slice(root.get("a").unwrap()), "- x: 1\n    y: 2");
    assert_eq!(slice(&root.get("a").unwrap().items()[0]), "x: 1\n    y: 2");
    assert_eq!(slice(root.get("b").unwrap()), "[1,\n 2]");
    assert_eq!(slice(&root), text.trim_end());
}

#[test]
fn only_plain_scalars_are_anything_but_strings() {
    let root = one("a: 1\nb: '1'\nc: \"true\"\nd: |\n  null\ne: yes\nf: 1.20\ng: ~\nh: >-\n  x\n  y\n");
    let rows = [
        ("a", Value::Number("1".into()), Style::Plain),
        ("b", Value::String("1".into()), Style::SingleQuoted),
        ("c", Value::String("true".into()), Style::DoubleQuoted),
        ("d", Value::String("null\n".into()), Style::Literal),
        ("e", Value::String("yes".into()), Style::Plain),
        ("f", Value::Number("1.20".into()), Style::Plain),
        ("g", Value::Null, Style::Plain),
        ("h", Value::String("x y".into()), Style::Folded),
    ];
    for (key, value, style) in rows {
        let node = root.get(key).unwrap();
        assert_eq!((&node.value, node.style), (&value, style), "{key}");
    }
}

#[test]
fn documents_are_counted_as_yaml_does() {
    let rows = [
        ("", 0),
        ("# only a comment\n", 0),
        ("\u{feff}", 0),
        ("a: 1", 1),
        ("---\na: 1\n---\nb: 2\n", 2),
        ("---\na: 1\n...\n", 1),
        ("---\n---\na: 1\n", 2),
        ("x", 1),
    ];
    for (text, count) in rows {
        let (documents, problems) = read(text);
        assert_eq!((documents.len(), problems.len()), (count, 0), "{text:?}");
    }
}

/// Text, code, line:column, a part of the message, a part of the hint.
#[test]
fn mistakes_are_named_with_their_place() {
    let rows = [
        (
            "a: 1\nb: 2\na: 3\n",
            "duplicate-key",
            "3:1",
            "`a` is written twice",
            "keep one",
        ),
        ("x: {k: 1, k: 2}", "duplicate-key", "1:11", "`k`", ""),
        ("a: &x 1\n", "anchor", "1:4", "`&x`", "write the value out"),
        ("a: *x\n", "alias", "1:4", "`*x`", "\"*x\""),
        (
            "images: [*.example.com/**]",
            "alias",
            "1:10",
            "begins with `*`",
            "write \"*.example.com/**\"",
        ),
        ("images:\n  - **\n", "alias", "2:5", "begins with `*`", "\"**\""),
        ("images:\n  - *\n", "syntax", "2:5", "cannot begin with `*`", "quotes"),
        (
            "a:\n  <<: {b: 1}\n",
            "merge-key",
            "2:3",
            "merge keys",
            "write the keys out",
        ),
        ("a: !!str 1\n", "tag", "1:4", "`!!str`", "leave it out"),
        ("a: !docker.io/* \n", "tag", "1:4", "`!docker.io/*`", "quotes"),
        ("1: a\n", "key-not-string", "1:1", "a number", "\"1\""),
        ("true: a\n", "key-not-string", "1:1", "true or false", "\"true\""),
        ("? [a]\n: b\n", "key-not-string", "1:3", "a list", "name before"),
        ("a: {{ .Values.x }}\n", "key-not-string", "1:5", "", "template"),
        ("a: 1\n\tb: 2\n", "tab-indentation", "2:1", "tab", "spaces"),
        ("a:\n\t- b\n", "tab-indentation", "2:1", "tab", "spaces"),
        ("a:\n  - b\n\t- c\n", "tab-indentation", "3:1", "tab", "spaces"),
        ("a:\n  b: 1\n \tc: 2\n", "tab-indentation", "3:2", "tab", "spaces"),
        ("a: |\n\tx\n", "tab-indentation", "2:1", "tab", "spaces"),
        ("a: b: c\n", "syntax", "1:5", "`: ` cannot stand", "quotes"),
        (
            "name: x\n  images: [y]\n",
            "syntax",
            "2:9",
            "cannot stand here",
            "indentation",
        ),
        ("a:\n  b: 1\n c: 2\n", "syntax", "3:2", "lines up", "indentation"),
        ("a: \"x\nb: c\n", "syntax", "2:1", "not closed", "closing quote"),
        ("a: 'x' y\n", "syntax", "1:8", "closing quote", "whole value"),
        ("a: \"\\d+\"\n", "syntax", "1:4", "escape", "single quotes"),
        (
            "to: [r/{registry}/{repository}]\n",
            "syntax",
            "1:8",
            "`{` cannot stand",
            "quotes",
        ),
        (
            "to: {registry}/{repository}\n",
            "syntax",
            "1:15",
            "closing `}`",
            "quotes",
        ),
        ("a: ]\n", "syntax", "1:4", "closes nothing", "quotes"),
        ("a: [1}\n", "syntax", "1:4", "this `[` is closed by `}`", ""),
        ("a: [1, 2\n", "syntax", "1:4", "`[` is not closed", "`]`"),
        ("{a: 1}\nb: 2\n", "syntax", "2:1", "something follows", "`---`"),
        ("a: @x\n", "syntax", "1:4", "begin with `@`", "quotes"),
        ("a: x - y\nb\n", "syntax", "2:1", "no `:`", "space"),
        ("a: \u{7}\n", "invalid-character", "1:4", "U+0007", ""),
        ("é: \0\n", "invalid-character", "1:4", "NUL", "text file"),
        ("é: ü\nタグ: *値\n", "alias", "2:5", "", ""),
    ];
    for (text, code, place, message, hint) in rows {
        let source = Source::new("t.yaml", text);
        let (_, problems) = parse(&source);
        assert!(!problems.is_empty(), "{text:?} is taken without a word");
        let problem = &problems[0];
        let spot = locate(problem, &source, None).spot.unwrap();
        let found = format!("{}:{}", spot.line, spot.column);
        assert_eq!((problem.code, &*found), (code, place), "{text:?}: {problem:?}");
        assert!(problem.message.contains(message), "{text:?}: {problem:?}");
        let given = problem.hint.as_deref().unwrap_or_default();
        assert!(given.contains(hint), "{text:?}: {problem:?}");
    }
}

#[test]
fn one_mistake_does_not_hide_the_next() {
    let (documents, problems) = read("a: *x\nb: &y 2\nb: 3\nc: !t 4\n---\nd: [\n---\ne: 1\n");
    let codes: Vec<_> = problems.iter().map(|problem| problem.code).collect();
    assert_eq!(codes, ["alias", "anchor", "tag", "duplicate-key", "syntax"]);
    assert_eq!(documents.len(), 2);
    assert_eq!(documents[1].get("e").and_then(Node::as_i64), Some(1));
    assert_eq!(documents[0].get("a").unwrap().style, Style::Refused);
    assert_eq!(
        documents[0].get("b").and_then(Node::as_i64),
        Some(2),
        "the first of two is kept"
    );
}

#[test]
fn paths_of_mistakes_lead_to_them() {
    let (_, problems) = read("spec:\n  rules:\n    - a: 1\n    - b: {c: *x}\n      b: 1\n");
    let paths: Vec<_> = problems.iter().map(|problem| problem.path.to_string()).collect();
    assert_eq!(paths, ["spec.rules[1].b.c", "spec.rules[1].b"]);
}

#[test]
fn nesting_has_a_limit() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let mixed = |depth: usize| {
        format!(
            "{}{}{}{}",
            "- ".repeat(depth / 2),
            "[".repeat(depth / 2),
            "]".repeat(depth / 2),
            "\n---\na: 1\n"
        )
    };
    assert_eq!(read(&nested(MAX_DEPTH)).1, []);
    for text in [
        nested(MAX_DEPTH + 1),
        nested(100_000),
        mixed(MAX_DEPTH + 2),
        "- ".repeat(5000),
    ] {
        let (_, problems) = read(&text);
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].code, "too-deep");
    }
    assert_eq!(read(&mixed(MAX_DEPTH + 2)).0.len(), 1, "the next document is read");
}

#[test]
fn size_has_a_limit() {
    let (documents, problems) = read(&"#".repeat(MAX_BYTES + 1));
    assert_eq!((documents.len(), problems.len()), (0, 1));
    assert_eq!(problems[0].code, "too-large");
    assert!(problems[0].message.contains("8 MiB"));
}

#[test]
fn the_list_of_problems_has_a_limit() {
    let many: String = (0..10_000).map(|_| "a: *x\n").collect();
    assert_eq!(read(&many).1.len(), MAX_PROBLEMS);
    let twice: String = (0..10_000).map(|_| "a: 1\n").collect();
    assert_eq!(read(&twice).1.len(), MAX_PROBLEMS);
}

#[test]
fn json_is_yaml() {
    let text = "{\n\t\"a\": \"\\ud83d\\ude00\\/\",\n\t\"b\": [1.5, true, null, {}],\n\t\"c\":{\"d\":\"e\"}\n}";
    let json: serde_json::Value = serde_json::from_str(text).unwrap();
    let strip = |node: &Node| node.decode::<serde_json::Value>().unwrap();
    assert_eq!(strip(&one(text)), json);
    assert_eq!(strip(&Node::from_json(&json)), json);
}

proptest! {
    #[test]
    fn any_text_is_parsed_without_a_panic(text in any::<String>()) {
        check(&text);
    }

    #[test]
    fn any_text_of_yaml_characters_is_parsed_without_a_panic(text in "[-a:b \t\n\r\\[\\]{},'\"&*!|>%@#?~<0é😀\u{feff}]{0,80}") {
        check(&text);
    }

    #[test]
    fn a_damaged_document_is_parsed_without_a_panic(
        at in 0..SAMPLE.len(),
        length in 0..20usize,
        new in "[-a:b \t\n\r\\[\\]{},'\"&*!|>%@#?~0é]{0,4}",
    ) {
        let start = SAMPLE.floor_char_boundary(at);
        let end = SAMPLE.ceil_char_boundary((at + length).min(SAMPLE.len()));
        check(&format!("{}{new}{}", &SAMPLE[..start], &SAMPLE[end..]));
    }

    #[test]
    fn json_values_survive(text in "[ -~é😀\n\t]{0,20}", number in any::<i64>(), flag in any::<bool>()) {
        let json = serde_json::json!({"a": text, "b": [number, flag, null], "c": {"d e": text}});
        let read = one(&json.to_string()).decode::<serde_json::Value>();
        prop_assert_eq!(read, Ok(json));
    }
}

fn check(text: &str) {
    let source = Source::new("t.yaml", text);
    let (documents, problems) = parse(&source);
    for problem in &problems {
        let found = locate(problem, &source, documents.first());
        assert!(found.spot.is_some(), "{problem:?}");
        assert!(!crate::document::render::text(&[found], true).is_empty());
    }
    for document in &documents {
        spans_are_inside(document, text);
    }
}

fn spans_are_inside(node: &Node, text: &str) {
    assert!(text.get(node.span.range().unwrap()).is_some());
    for (key, value) in node.entries() {
        assert!(text.get(key.span.range().unwrap()).is_some());
        spans_are_inside(value, text);
    }
    for item in node.items() {
        spans_are_inside(item, text);
    }
}

const SAMPLE: &str = "\
apiVersion: waypost.dev/v1alpha1
kind: Policy
metadata: {name: cern-pull-through}
spec:
  rules:
    - name: hub # é
      match:
        images: [\"docker.io/**\", 'quay.io/**']
        podSelector: {matchLabels: {a: b}}
      rewrite:
        to:
        - registry.cern.ch/{registry}/{repository}
      deny:
        message: |
          not allowed
            here
      pull: {policy: Always}
---
{\"a\": [1, 2.5, true, null]}
";
