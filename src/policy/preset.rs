//! Presets: policies that are chosen by name. They are the files of `policies/`, built into the binary.

use std::collections::BTreeMap;

use super::spec::PresetValue;
use crate::document::{Node, Value};

/// A preset as it is shipped.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    /// The name it is chosen by.
    pub name: &'static str,
    /// Its file's text.
    pub text: &'static str,
}

/// A preset that somebody chose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresetChoice {
    /// Its name.
    pub name: String,
    /// Values for what it declares.
    pub values: BTreeMap<String, String>,
}

macro_rules! presets {
    ($($name:literal),* $(,)?) => {
        /// All presets, by name.
        pub const ALL: &[Preset] = &[$(Preset { name: $name, text: include_str!(concat!("../../policies/", $name, ".yaml")) }),*];
    };
}

presets![
    "cern-pull-through",
    "ecr-pull-through",
    "enterprise-registry",
    "exempt-operators",
    "harbor-proxy-projects",
    "local-registry",
];

/// The preset with this name.
pub fn find(name: &str) -> Option<&'static Preset> {
    ALL.iter().find(|preset| preset.name == name)
}

/// Puts the chosen values in for `${name}`, in every text below the node.
///
/// Done on the parsed document, so that no value can change its structure. Returns the names that are used and have no value.
pub(crate) fn fill_in(node: &mut Node, values: &BTreeMap<&str, &str>) -> Vec<String> {
    let mut unknown = Vec::new();
    match &mut node.value {
        Value::String(text) => {
            if let Some(filled) = fill_in_text(text, values, &mut unknown) {
                *text = filled.into();
            }
        }
        Value::Sequence(items) => unknown.extend(items.iter_mut().flat_map(|item| fill_in(item, values))),
        Value::Mapping(entries) => unknown.extend(entries.iter_mut().flat_map(|(_, value)| fill_in(value, values))),
        _ => {}
    }
    unknown
}

fn fill_in_text(text: &str, values: &BTreeMap<&str, &str>, unknown: &mut Vec<String>) -> Option<String> {
    let mut rest = text;
    let mut filled = String::new();
    while let Some(start) = rest.find("${") {
        let Some(end) = rest[start..].find('}') else { break };
        filled.push_str(&rest[..start]);
        let name = &rest[start + 2..start + end];
        match values.get(name) {
            Some(value) => filled.push_str(value),
            None => unknown.push(name.to_owned()),
        }
        rest = &rest[start + end + 1..];
    }
    (rest.len() != text.len()).then(|| filled + rest)
}

impl PresetValue {
    /// How somebody would give it on the command line.
    pub(crate) fn as_argument(&self, preset: &str) -> String {
        format!(
            "--preset {preset},{}={}",
            self.name,
            self.example.as_deref().unwrap_or("VALUE")
        )
    }
}
