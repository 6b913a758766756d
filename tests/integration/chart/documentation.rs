//! What people read about the chart's values is made from `values.yaml`: the README's tables, the schema's descriptions.

use std::fmt::Write;
use std::fs;

use serde_json::Value;

use super::{CHART, read, yaml};

#[test]
fn the_readme_has_every_value_with_its_default() {
    let mut tables = String::new();
    let mut section = "";
    let rows = rows(&read("values.yaml"));
    for row in &rows {
        if row.section != section {
            section = &row.section;
            write!(
                tables,
                "\n### {section}\n\n| value | default | |\n| --- | --- | --- |\n"
            )
            .unwrap();
        }
        writeln!(
            tables,
            "| `{}` | `{}` | {} |",
            row.path.join("."),
            row.default,
            row.comment
        )
        .unwrap();
    }
    let readme = read("README.md");
    let (before, rest) = readme.split_once("<!-- values -->\n").unwrap();
    let (_, after) = rest.split_once("<!-- /values -->\n").unwrap();
    let expected = format!("{before}<!-- values -->\n{tables}\n<!-- /values -->\n{after}");
    assert_file(&format!("{CHART}/README.md"), &expected);
}

/// Editors show what the schema says; policies are what `waypost` says they are, presets those that there are.
#[test]
fn the_schema_says_what_values_and_policies_are() {
    let mut schema: Value = serde_json::from_str(&read("values.schema.json")).unwrap();
    for row in rows(&read("values.yaml")) {
        let mut place = &mut schema;
        for key in &row.path {
            place = &mut place["properties"][key];
        }
        assert!(place.is_object(), "the schema has no {}", row.path.join("."));
        place["description"] = row.comment.into();
    }
    let policies: Value = serde_json::from_str(include_str!("../../../schemas/policy.json")).unwrap();
    for (name, definition) in policies["$defs"].as_object().unwrap() {
        if !["ApiVersion", "Metadata", "PolicyKind"].contains(&&**name) {
            schema["$defs"][name] = definition.clone();
        }
    }
    let mut presets: Vec<String> = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/policies"))
        .unwrap()
        .filter_map(|entry| Some(entry.unwrap().file_name().to_str()?.strip_suffix(".yaml")?.to_owned()))
        .filter(|name| !name.ends_with(".test"))
        .collect();
    presets.sort_unstable();
    schema["$defs"]["PresetName"]["enum"] = presets.into();
    let expected = serde_json::to_string_pretty(&schema).unwrap() + "\n";
    assert_file(&format!("{CHART}/values.schema.json"), &expected);
}

/// What `waypost crds` prints is what the chart brings, one file each.
#[test]
fn the_definitions_are_those_of_the_program() {
    let mut names = Vec::new();
    for definition in waypost::crds::all() {
        let name = format!("{}.yaml", waypost::crds::name(&definition));
        let expected = waypost::cli::crds::yaml(&definition).unwrap();
        assert_file(&format!("{CHART}/files/crds/{name}"), &expected);
        names.push(name);
    }
    let mut present: Vec<String> = fs::read_dir(format!("{CHART}/files/crds"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    present.sort_unstable();
    names.sort_unstable();
    assert_eq!(present, names, "a definition that the program does not print");
}

/// A key of the schema that is no value is one that nobody is told of.
#[test]
fn the_schema_has_no_key_that_values_lack() {
    fn compare(schema: &Value, values: &Value, path: &str) {
        let Some(properties) = schema["properties"].as_object() else {
            return;
        };
        // What is empty by default has its keys in the comment, or is Kubernetes' own.
        if values.as_object().is_none_or(serde_json::Map::is_empty) {
            return;
        }
        for (key, schema) in properties {
            assert!(values.get(key).is_some(), "{path}{key} is in the schema alone");
            compare(schema, &values[key], &format!("{path}{key}."));
        }
        assert_eq!(schema["additionalProperties"], false, "{path} takes any key");
    }
    let mut schema: Value = serde_json::from_str(&read("values.schema.json")).unwrap();
    let properties = schema["properties"].as_object_mut().unwrap();
    for of_other_charts in ["enabled", "global"] {
        properties.remove(of_other_charts).unwrap();
    }
    compare(&schema, &yaml("values.yaml", &read("values.yaml")).remove(0), "");
}

/// A value as `values.yaml` has it.
struct Row {
    section: String,
    path: Vec<String>,
    default: String,
    comment: String,
}

/// `# -- A title` begins a section; a key with a default stands on one line, below its comment.
fn rows(values: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    let (mut section, mut comment, mut path) = (String::new(), Vec::new(), Vec::new());
    for line in values.lines().skip_while(|line| !line.starts_with("# -- ")) {
        let text = line.trim();
        if let Some(title) = text.strip_prefix("# -- ") {
            title.clone_into(&mut section);
        } else if let Some(text) = text.strip_prefix("# ") {
            comment.push(text);
        } else if let Some((key, default)) = text.split_once(':') {
            path.truncate((line.len() - line.trim_start().len()) / 2);
            path.push(key.to_owned());
            let default = default.trim();
            assert_eq!(
                default.is_empty(),
                comment.is_empty(),
                "{line}: values have a comment, others none"
            );
            if !default.is_empty() {
                rows.push(Row {
                    section: section.clone(),
                    path: path.clone(),
                    default: default.to_owned(),
                    comment: comment.join(" "),
                });
            }
            comment.clear();
        } else {
            assert_eq!(text, "", "what is this?");
        }
    }
    rows
}

/// That a file is as expected; makes it so where that is asked for.
#[track_caller]
pub(super) fn assert_file(path: &str, expected: &str) {
    if std::env::var_os("UPDATE_CHART").is_some() {
        fs::create_dir_all(std::path::Path::new(path).parent().unwrap()).unwrap();
        fs::write(path, expected).unwrap();
        return;
    }
    let present = fs::read_to_string(path).unwrap_or_default();
    assert!(present == expected, "{path} is stale: UPDATE_CHART=1 cargo test chart");
}
