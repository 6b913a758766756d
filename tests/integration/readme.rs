//! The README says what the program does: its tables are made from the code, its sessions are run.
//!
//! `UPDATE_README=1 cargo test readme` writes the tables, and what the commands of the sessions print.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::Value;
use waypost::admission::ReviewOutcome;
use waypost::config::raw::Raw;
use waypost::decide::Outcome;
use waypost::metrics::{ControllerMetrics, ImageKey, ImageLabels, Metrics, Renewal, Verification};
use waypost::pushes::State;
use waypost::review::Operation;

use crate::support::program::{BINARY, Directory, finish};

#[test]
fn the_configuration_table_has_every_key_with_its_variable_and_default() {
    let schema = schemars::generate::SchemaSettings::draft2020_12()
        .with(|settings| settings.inline_subschemas = true)
        .into_generator()
        .into_root_schema_for::<Raw>();
    let defaults = serde_json::to_value(Raw::default()).unwrap();
    let mut table = String::from("| key | variable | default | |\n| --- | --- | --- | --- |\n");
    rows(schema.as_value(), &defaults, &mut Vec::new(), &mut table);
    assert_section("configuration", &table);
}

/// A row for each key below this one.
fn rows(schema: &Value, default: &Value, path: &mut Vec<String>, table: &mut String) {
    let properties = schema["properties"]
        .as_object()
        .expect("the configuration is made of mappings");
    for (name, schema) in properties {
        path.push(name.clone());
        if schema.get("properties").is_some() {
            rows(schema, &default[name], path, table);
        } else {
            let variable = format!("WAYPOST_{}", path.join("__").to_uppercase());
            let described = schema["description"].as_str().unwrap().replace('\n', " ");
            let (text, documented) = described.split_once(" Variable: ").unwrap();
            assert_eq!(documented, format!("`{variable}`."), "{}", path.join("."));
            let default = match &default[name] {
                Value::Null => "none".to_owned(),
                Value::String(text) => format!("`{text}`"),
                Value::Array(items) => {
                    let items: Vec<&str> = items.iter().map(|item| item.as_str().unwrap()).collect();
                    format!("`[{}]`", items.join(", "))
                }
                other => format!("`{other}`"),
            };
            let choices = choices(schema);
            let path = path.join(".");
            writeln!(table, "| `{path}` | `{variable}` | {default} | {text}{choices} |").unwrap();
        }
        path.pop();
    }
}

/// The values of an enumeration.
fn choices(schema: &Value) -> String {
    let listed = schema["enum"].as_array().into_iter().flatten();
    let described = schema["oneOf"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|choice| &choice["const"]);
    let all: Vec<String> = listed
        .chain(described)
        .filter_map(Value::as_str)
        .map(|choice| format!("`{choice}`"))
        .collect();
    if all.is_empty() {
        String::new()
    } else {
        format!(" One of {}.", all.join(", "))
    }
}

#[test]
fn the_outcomes_are_all_there() {
    let names: Vec<&str> = Outcome::ALL.into_iter().map(Outcome::as_str).collect();
    assert_eq!(first_column("outcomes"), names);
}

#[test]
fn the_metrics_are_all_there() {
    let metrics = Metrics::new();
    metrics.review(Operation::Create, ReviewOutcome::Patched, Duration::ZERO);
    let key = ImageKey {
        generation: 1,
        rule: 0,
        source: 0,
        target: 0,
        outcome: 0,
    };
    metrics.image(key, || ImageLabels {
        rule: "",
        source: "",
        target: "",
        outcome: "",
    });
    metrics.common().registries().set_up("", true);
    metrics.common().registries().notified("", "", 1);
    metrics.common().credentials().set_expiry("", None);
    metrics.common().credentials().renewal("", Renewal::Renewed);
    metrics.common().verifications().found("", Verification::Present);
    metrics.common().pushes().told("", State::Running);
    metrics.common().pushes().set_records("", 1);
    metrics.common().pushes().sent("", 1);
    metrics.common().outdated().set(&[""], &BTreeMap::new());
    metrics.common().api_request("", "", 200);
    metrics.common().pull_secrets();
    let text = metrics.common().render().unwrap() + &ControllerMetrics::new().common().render().unwrap();
    let names = text
        .lines()
        .filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next());
    let mut names: Vec<&str> = names.filter(|name| name.starts_with("waypost_")).collect();
    names.sort_unstable();
    names.dedup();
    let mut listed = first_column("metrics");
    listed.sort_unstable();
    assert_eq!(listed, names);
}

/// Each `console` block is a session in a directory of its own: what follows a `$` is run, what follows that is its output.
/// A block after `<!-- not run -->` needs a cluster, or does not end by itself.
#[test]
fn sessions_are_real() {
    let readme = readme();
    let mut sessions = 0;
    for (start, _) in readme.match_indices("```console\n") {
        if readme[..start].ends_with("<!-- not run -->\n") {
            continue;
        }
        let session = &readme[start + "```console\n".len()..];
        let session = &session[..session.find("```").unwrap()];
        let directory = Directory::new();
        fs::create_dir_all(directory.path().join("tests/fixtures")).unwrap();
        let root = env!("CARGO_MANIFEST_DIR");
        std::os::unix::fs::symlink(
            format!("{root}/tests/fixtures/reviews"),
            directory.path().join("tests/fixtures/reviews"),
        )
        .unwrap();
        for step in session.split("$ ").skip(1) {
            // A command goes on after a backslash, and to the end of what is given to it.
            let end = match step.find("<<") {
                Some(_) => step.rfind("EOF\n").unwrap() + "EOF\n".len(),
                None => step.replace("\\\n", "\\ ").find('\n').unwrap() + 1,
            };
            let command = &step[..end];
            let mut shell = Command::new("sh");
            let bin = PathBuf::from(BINARY).parent().unwrap().display().to_string();
            let path = format!("{bin}:{}", std::env::var("PATH").unwrap());
            shell
                .args(["-c", command])
                .current_dir(directory.path())
                .env("PATH", path);
            let finished = finish(shell, b"");
            let output = format!("{}{}", finished.out(), finished.stderr);
            assert_text(step, &format!("{command}{}\n", output.trim_end()));
        }
        sessions += 1;
    }
    assert!(sessions >= 2, "{sessions} sessions");
}

fn first_column(section: &str) -> Vec<String> {
    let readme = readme();
    let lines = self::section(&readme, section).lines().skip(2);
    lines.map(|line| line.split('`').nth(1).unwrap().to_owned()).collect()
}

/// What is between `<!-- name -->` and `<!-- /name -->`.
fn section<'r>(readme: &'r str, name: &str) -> &'r str {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let start = readme
        .find(&begin)
        .unwrap_or_else(|| panic!("no {begin} in the README"))
        + begin.len();
    let length = readme[start..].find(&end).unwrap();
    &readme[start..start + length]
}

#[track_caller]
fn assert_section(name: &str, expected: &str) {
    let begin = format!("<!-- {name} -->\n");
    let present = section(&readme(), name).to_owned();
    assert_text(&(begin.clone() + &present), &(begin + expected));
}

/// That a part of the README is as expected, but for space at its end; makes it so where that is asked for.
#[track_caller]
fn assert_text(present: &str, expected: &str) {
    let (present, expected) = (present.trim_end(), expected.trim_end());
    if present != expected && std::env::var_os("UPDATE_README").is_some() {
        let _one_writer = WRITING.lock();
        fs::write(README, readme().replacen(present, expected, 1)).unwrap();
        return;
    }
    assert_eq!(present, expected, "UPDATE_README=1 cargo test readme");
}

fn readme() -> String {
    fs::read_to_string(README).unwrap()
}

static WRITING: Mutex<()> = Mutex::new(());

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
