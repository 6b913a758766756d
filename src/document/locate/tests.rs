use super::locate;
use crate::document::{Node, Path, Problem, Source, Span, Spot, parse};

fn tree(text: &str) -> (Source, Node) {
    let source = Source::new("t.yaml", text);
    let (mut documents, problems) = parse(&source);
    assert_eq!(problems, []);
    (source, documents.remove(0))
}

/// What a problem points at.
fn pointed(text: &str, problem: &Problem) -> String {
    let (source, node) = tree(text);
    let spot = locate(problem, &source, Some(&node)).spot.unwrap();
    assert_eq!(spot.line, spot.end_line, "{spot:?}");
    spot.text
        .chars()
        .skip(spot.column - 1)
        .take(spot.end_column - spot.column)
        .collect()
}

#[test]
fn a_part_of_a_text_is_found_behind_quotes_and_escapes() {
    // How `^\d+ é'"x` or a part of it may be written, the range in the value, and what is pointed at.
    let rows = [
        ("k: abcdef", 1..3, "bc"),
        ("k: 'abcdef'", 1..3, "bc"),
        ("k: \"abcdef\"", 1..3, "bc"),
        ("k: \"abcdef\"", 4..6, "ef"),
        ("k: 'it''s so'", 5..7, "so"),
        ("k: 'it''s so'", 2..4, "''s"),
        ("k: \"a\\\\d+\"", 1..3, "\\\\d"),
        ("k: \"\\u00e9\\x41b\"", 2..4, "\\x41b"),
        ("k: \"\\ud83d\\ude00b\"", 4..5, "b"),
        ("k: ééabc", 4..6, "ab"),
        ("k: |\n  one\n  two", 4..7, "two"),
        ("k: |\r\n  one\r\n  two\r\n", 4..7, "two"),
        ("k: \"abcdef\"", 6..6, ""),
    ];
    for (text, within, part) in rows {
        let problem = Problem::error("t", Path::root().key("k"), "").within(within);
        assert_eq!(pointed(text, &problem), part, "{text:?}");
    }
}

#[test]
fn what_cannot_be_told_apart_is_pointed_at_as_a_whole() {
    let rows = [("k: >-\n  one\n  two", "one"), ("k: a\n  b", "a"), ("k: abc", "abc")];
    for (text, first) in rows {
        let (source, node) = tree(text);
        let problem = Problem::error("t", Path::root().key("k"), "").within(2..900);
        let spot = locate(&problem, &source, Some(&node)).spot.unwrap();
        assert!(spot.text[spot.column - 1..].starts_with(first), "{spot:?}");
    }
}

#[test]
fn keys_values_and_what_is_missing_have_places() {
    let text = "spec:\n  rules:\n    - name: x\n      to:\n";
    let rule = Path::root().key("spec").key("rules").index(0);
    let rows = [
        (Problem::error("t", rule.clone().key("name"), ""), "x"),
        (Problem::error("t", rule.clone().key("name"), "").on_key(), "name"),
        (Problem::error("t", rule.clone().key("to"), ""), "to"),
        (
            Problem::error("t", Path::root().key("spec").key("rules").index(7), ""),
            "- name: x",
        ),
    ];
    for (problem, part) in rows {
        let (source, node) = tree(text);
        let spot = locate(&problem, &source, Some(&node)).spot.unwrap();
        assert!(spot.text[spot.column - 1..].starts_with(part), "{problem:?}");
    }
}

#[test]
fn columns_are_characters_and_lines_survive_carriage_returns() {
    let source = Source::new("t.yaml", "\u{feff}é: ü\r\nタグ: x\r\n");
    let spot = Spot::of(&source, source.text.find('x').map(|at| at..at + 1).unwrap()).unwrap();
    assert_eq!(
        (spot.line, spot.column, spot.end_column, &*spot.text),
        (2, 5, 6, "タグ: x")
    );
    let spot = Spot::of(&source, source.text.find('ü').map(|at| at..at + 2).unwrap()).unwrap();
    assert_eq!(
        (spot.line, spot.column, spot.end_column, &*spot.text),
        (1, 4, 5, "é: ü")
    );
    assert_eq!(Spot::of(&source, 0..900), None);
}

#[test]
fn an_object_of_an_api_has_no_place() {
    let source = Source::new("Policy cern", "");
    let node = Node::from_json(&serde_json::json!({"a": 1}));
    let found = locate(&Problem::error("t", Path::root().key("a"), "m"), &source, Some(&node));
    assert_eq!(found.spot, None);
    assert_eq!(node.key_span(&Path::root().key("a")), Some(Span::NONE));
}

#[test]
fn bytes_that_are_no_text_are_refused_with_their_place() {
    let error = Source::from_bytes("t.yaml", b"a: 1\n\xc3\xa9b\xff: 2\n").unwrap_err();
    let spot = error.spot.unwrap();
    assert_eq!((error.code, spot.line, spot.column), ("not-utf8", 2, 3));
    let error = Source::from_bytes("t.yaml", b"\xff\xfea\0").unwrap_err();
    assert!(error.hint.unwrap().contains("UTF-16"));
    assert_eq!(&*Source::from_bytes("t.yaml", "é".as_bytes()).unwrap().text, "é");
}
