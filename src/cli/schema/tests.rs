use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::{Kind, schema, text};
use crate::config::raw::Raw;
use crate::config::{Config, Flags};
use crate::document::{Node, Source, check::Shape, parse, render};
use crate::policy::{Input, PresetChoice, Settings, compile, preset};

const KINDS: [Kind; 3] = [Kind::Policy, Kind::Preset, Kind::Config];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn yaml_files(dir: &str) -> Vec<Source> {
    let mut paths: Vec<PathBuf> = fs::read_dir(root().join(dir))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "{dir}");
    paths.iter().map(|path| source(path)).collect()
}

fn source(path: &Path) -> Source {
    Source::new(path.display().to_string(), fs::read_to_string(path).unwrap())
}

fn node(source: &Source) -> Node {
    let (documents, problems) = parse(source);
    assert_eq!(problems, [], "{}", source.name);
    documents.into_iter().next().unwrap()
}

/// What a validator that is not ours finds wrong.
fn invalid(kind: Kind, source: &Source) -> Vec<String> {
    let validator = jsonschema::draft202012::new(&schema(kind)).unwrap();
    let value = Value::deserialize(&node(source)).unwrap();
    validator.iter_errors(&value).map(|error| error.to_string()).collect()
}

fn does_compile(source: &Source) -> Result<(), String> {
    let compiled = compile(&Input {
        sources: vec![source.clone()],
        presets: Vec::new(),
        settings: Settings::default(),
    });
    match compiled.set {
        Some(_) if compiled.diagnostics.is_empty() => Ok(()),
        _ => Err(render::text(&compiled.diagnostics, false)),
    }
}

#[test]
fn the_published_schemas_are_current() {
    for kind in KINDS {
        let path = root().join("schemas").join(kind.file());
        let published = fs::read_to_string(&path).unwrap_or_default();
        let name = kind.file().trim_end_matches(".json");
        assert!(
            published == text(kind).unwrap(),
            "schemas/{0} is not what the types say: run `cargo run -- schema {name} > schemas/{0}`",
            kind.file()
        );
    }
}

#[test]
fn schemas_are_schemas_in_which_nothing_is_null() {
    for kind in KINDS {
        let schema = schema(kind);
        assert!(jsonschema::meta::is_valid(&schema), "{kind:?}");
        assert!(!schema.to_string().contains("null\""), "{kind:?}");
        for key in ["$id", "title", "description"] {
            assert!(schema[key].is_string(), "{kind:?} {key}");
        }
        let fields = schema["properties"].as_object().unwrap().iter();
        let defined = schema["$defs"].as_object().unwrap().values();
        let more = defined.filter_map(|of| of["properties"].as_object()).flatten();
        for (key, field) in fields.chain(more) {
            assert!(field["description"].is_string(), "{kind:?}: `{key}` has no description");
        }
    }
}

#[test]
fn every_preset_is_valid_compiles_and_names_its_schema() {
    for preset in preset::ALL {
        let source = Source::new(preset.name, preset.text);
        assert_eq!(invalid(Kind::Preset, &source), [""; 0], "{}", preset.name);
        assert_eq!(
            preset.text.lines().next(),
            Some("# yaml-language-server: $schema=../schemas/preset.json"),
            "{}",
            preset.name
        );
        let document = Value::deserialize(&node(&source)).unwrap();
        let values = document["spec"]["values"].as_array().into_iter().flatten();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let values: BTreeMap<_, _> = values
            .map(|value| (text(&value["name"]), text(&value["example"])))
            .collect();
        let compiled = compile(&Input {
            sources: Vec::new(),
            presets: vec![PresetChoice {
                name: preset.name.to_owned(),
                values,
            }],
            settings: Settings::default(),
        });
        assert!(compiled.set.is_some(), "{}", render::text(&compiled.diagnostics, false));
    }
}

#[test]
fn every_example_is_valid_and_compiles() {
    for source in yaml_files("examples/policies") {
        assert_eq!(invalid(Kind::Policy, &source), [""; 0], "{}", source.name);
        assert_eq!(does_compile(&source), Ok(()), "{}", source.name);
    }
}

#[test]
fn the_example_configuration_is_valid_and_has_every_key() {
    let source = source(&root().join("examples/waypost.yaml"));
    assert_eq!(invalid(Kind::Config, &source), [""; 0]);
    if let Err(problems) = Config::from_layers(Some(&source), [], &Flags::default()) {
        panic!("{}", render::text(&problems, false));
    }
    let node = node(&source);
    for key in Shape::of::<Raw>().leaves() {
        assert!(node.at(&key).is_some(), "examples/waypost.yaml has no `{key}`");
    }
}

#[test]
fn every_bad_policy_fails_those_of_wrong_structure_by_the_schema_too() {
    for source in yaml_files("tests/fixtures/policies/bad") {
        assert!(does_compile(&source).is_err(), "{} compiles", source.name);
        let invalid = invalid(Kind::Policy, &source);
        let of_structure = source.text.starts_with("# structure: ");
        assert!(
            of_structure || source.text.starts_with("# meaning: "),
            "{}",
            source.name
        );
        assert_eq!(!invalid.is_empty(), of_structure, "{}: {invalid:?}", source.name);
    }
}
