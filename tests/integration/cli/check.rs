//! `waypost check`: what is wrong with policies, in three forms.

use serde_json::{Value, json};

use super::{BAD, GOOD, with_policy};
use crate::support::program::Directory;

#[test]
fn all_mistakes_are_shown_at_once_with_place_and_hint() {
    let found = with_policy(BAD).run(["check"]).exits(1);
    for text in [
        "--> policies.d/10-mine.yaml:6:",
        "--> policies.d/10-mine.yaml:7:",
        "did you mean `images`?",
        "did you mean `keep`?",
        "2 errors",
    ] {
        assert!(found.out().contains(text), "no {text:?} in\n{}", found.out());
    }
    assert_eq!(found.stderr, "");
}

#[test]
fn the_mistakes_of_one_file_do_not_hide_those_of_another() {
    let directory = with_policy(BAD);
    let short = GOOD.replace("mine", "other").replace("quay.io/**", "alpine");
    directory.write("policies.d/20-other.yaml", short);
    let found = directory.run(["check"]).exits(1);
    assert!(found.out().contains("policies.d/20-other.yaml:8:"), "{}", found.out());
    assert!(found.out().contains("docker.io/library/alpine"), "{}", found.out());
    assert!(found.out().contains("3 errors"), "{}", found.out());
}

#[test]
fn json_is_one_array_of_findings() {
    let found = with_policy(BAD).run(["check", "--format=json"]).exits(1).json();
    let found = found.as_array().unwrap();
    assert!(found.len() >= 2, "{found:?}");
    let unknown = found.iter().find(|finding| finding["code"] == "unknown-key").unwrap();
    assert_eq!(unknown["file"], "policies.d/10-mine.yaml");
    assert_eq!((&unknown["line"], &unknown["severity"]), (&json!(6), &json!("error")));
    for key in ["column", "end_line", "end_column", "path", "message", "hint", "related"] {
        assert!(unknown.get(key).is_some(), "no {key} in {unknown}");
    }
    let nothing = with_policy(GOOD).run(["check", "--format=json"]).exits(0).json();
    assert_eq!(nothing, Value::Array(Vec::new()));
}

#[test]
fn github_gets_workflow_commands() {
    let found = with_policy(BAD).run(["check", "--format=github"]).exits(1);
    let lines: Vec<&str> = found.out().lines().collect();
    assert!(lines.len() >= 2);
    for line in lines {
        assert!(line.starts_with("::error file=policies.d/10-mine.yaml,line="), "{line}");
    }
    assert_eq!(with_policy(GOOD).run(["check", "--format=github"]).exits(0).out(), "");
}

#[test]
fn what_works_says_so_and_what_is_not_there_is_not_called_working() {
    assert!(
        with_policy(GOOD)
            .run(["check"])
            .exits(0)
            .out()
            .starts_with("policies.d works: ")
    );
    let absent = Directory::new().run(["check"]).exits(0);
    assert!(absent.out().starts_with("there is no policies.d: "), "{}", absent.out());
}

#[test]
fn a_rule_that_another_shadows_across_files_is_a_warning() {
    let directory = with_policy(GOOD);
    directory.write("policies.d/20-late.yaml", GOOD.replace("mine", "late"));
    let found = directory.run(["check"]).exits(0);
    assert!(
        found.out().contains("warning[") && found.out().contains("20-late.yaml"),
        "{}",
        found.out()
    );
}

#[test]
fn presets_are_checked_with_their_values() {
    let directory = Directory::new();
    directory.run(["check", "--preset", "enterprise-registry"]).exits(1);
    directory
        .run(["check", "--preset", "enterprise-registry,host=registry.example.org"])
        .exits(0);
}
