use super::{count, github, json, text};
use crate::document::{Diagnostic, Path, Problem, Severity, Source, Span, Target, locate, parse};

fn found(content: &str, problem: &Problem) -> Diagnostic {
    let source = Source::new("policies.d/a.yaml", content);
    let (documents, _) = parse(&source);
    locate(problem, &source, documents.first())
}

#[test]
fn a_problem_looks_as_rustc_would_show_it() {
    let content = "a: 1\nspec:\n\tx: 1\n".replace('\t', "  ");
    let problem = Problem::error("unknown-key", Path::root().key("spec").key("x"), "unknown key `x`")
        .on_key()
        .hint("did you mean `y`?")
        .related(Path::root().key("a"), "first written here");
    assert_eq!(
        text(&[found(&content, &problem)], false),
        "\
error[unknown-key]: unknown key `x`
 --> policies.d/a.yaml:3:3
  |
3 |   x: 1
  |   ^
 ::: policies.d/a.yaml:1:4
  |
1 | a: 1
  |    - first written here
  = hint: did you mean `y`?

1 error
"
    );
}

#[test]
fn marks_are_below_what_is_meant() {
    let long = format!("k: [{}, here, {}]", "a, ".repeat(80), "b, ".repeat(80));
    let rows = [
        ("k: {\ta: x}", "x", 11, 1),
        ("値: x", "x", 4, 1),
        ("é: 値", "値", 3, 2),
        (&*long, "here", 1 + 36, 4),
    ];
    for (content, part, before, width) in rows {
        let at = content.find(part).unwrap();
        let problem = Problem::error("t", Path::root(), "m").at(Span::new(at, at + part.len()));
        let shown = text(&[found(content, &problem)], false);
        let marks = shown.lines().nth(4).unwrap();
        let marks = marks.strip_prefix("  | ").unwrap();
        let spaces = marks.chars().take_while(|&character| character == ' ').count();
        if content != long {
            assert_eq!(spaces, before, "{shown}");
        }
        assert_eq!(marks.trim(), "^".repeat(width), "{shown}");
        let line = shown.lines().nth(3).unwrap();
        assert!(line.chars().count() < 120, "{shown}");
        if content == long {
            assert!(
                line.contains("…") && line.chars().skip(4 + spaces).collect::<String>().starts_with("here"),
                "{shown}"
            );
        }
    }
}

#[test]
fn a_part_of_several_lines_is_marked_on_the_first() {
    let content = "k:\n  - a\n  - b\n";
    let shown = text(
        &[found(content, &Problem::warning("t", Path::root().key("k"), "m"))],
        false,
    );
    assert!(shown.contains("2 |   - a\n  |   ^^^\n"), "{shown}");
    assert!(shown.ends_with("\n1 warning\n"));
}

#[test]
fn what_people_wrote_cannot_steer_the_terminal() {
    let diagnostic = Diagnostic::without_place("a\x1b[2J.yaml", Severity::Error, "t", "x\x1b]0;y\x07\u{202e}\n");
    let shown = text(&[diagnostic], false);
    assert!(!shown.contains(['\x1b', '\x07', '\u{202e}']), "{shown:?}");
    assert!(shown.contains("\\u{1b}"));
    let content = "k: a\u{202e}b";
    let shown = text(
        &[found(content, &Problem::error("t", Path::root().key("k"), "m"))],
        false,
    );
    assert!(shown.contains("k: a\\u{202e}b"), "{shown}");
}

#[test]
fn colours_are_for_terminals() {
    let diagnostic = Diagnostic::without_place("x", Severity::Error, "t", "m");
    assert!(text(std::slice::from_ref(&diagnostic), true).contains("\x1b[1;31merror[t]\x1b[0m"));
    assert!(!text(&[diagnostic], false).contains('\x1b'));
    assert_eq!(text(&[], false), "");
}

#[test]
fn errors_and_warnings_are_counted() {
    let error = Diagnostic::without_place("x", Severity::Error, "t", "m");
    let warning = Diagnostic::without_place("x", Severity::Warning, "t", "m");
    let rows = [
        (vec![], None),
        (vec![error.clone()], Some("1 error")),
        (
            vec![error.clone(), error.clone(), warning.clone()],
            Some("2 errors, 1 warning"),
        ),
        (vec![warning.clone(), warning], Some("2 warnings")),
    ];
    for (all, line) in rows {
        assert_eq!(count(&all).as_deref(), line);
    }
}

#[test]
fn scripts_get_json() {
    let problem = Problem::error("t", Path::root().key("k"), "m").related(Path::root(), "r");
    let all: serde_json::Value = serde_json::from_str(&json(&[found("k: é", &problem)])).unwrap();
    assert_eq!(
        all,
        serde_json::json!([{
            "file": "policies.d/a.yaml", "line": 1, "column": 4, "end_line": 1, "end_column": 5, "severity": "error",
            "code": "t", "path": "k", "message": "m", "hint": null,
            "related": [{"file": "policies.d/a.yaml", "line": 1, "column": 1, "message": "r"}],
        }])
    );
    assert_eq!(json(&[]), "[]\n");
}

#[test]
fn github_gets_one_line_each() {
    let mut diagnostic = found(
        "k: é",
        &Problem::error("t", Path::root().key("k"), "100%\nof: a, b").hint("h"),
    );
    diagnostic.source = "a,b:c%.yaml".to_owned();
    assert_eq!(
        github(&[diagnostic]),
        "::error file=a%2Cb%3Ac%25.yaml,line=1,endLine=1,col=4,endColumn=5,title=t::100%25\\nof: a, b%0Ahint: h\n"
    );
    let mut spread = Problem::warning("t", Path::root(), "m");
    spread.target = Target::Value;
    assert_eq!(
        github(&[found("k:\n  - a\n", &spread)]),
        "::warning file=policies.d/a.yaml,line=1,endLine=2,title=t::m\n"
    );
}
