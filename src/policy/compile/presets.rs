//! From a chosen preset to its rules.

use std::collections::BTreeMap;

use super::{Class, Compiler, Document, Numbered};
use crate::{
    document::{self, Diagnostic, Node, Path, Problem, Severity, Source, check},
    policy::{
        PresetChoice, preset,
        spec::{self, PresetDocument, PresetValue},
    },
};

impl Compiler {
    pub(super) fn preset(&mut self, place: usize, choice: &PresetChoice) {
        let whole = |name: String, message: String, hint: String| {
            let mut error = Diagnostic::without_place(name, Severity::Error, "invalid-preset", message);
            error.hint = Some(hint);
            error
        };
        let Some(preset) = preset::find(&choice.name) else {
            let names = || preset::ALL.iter().map(|preset| preset.name);
            let hint = match check::closest(&choice.name, names()) {
                Some(close) => format!("did you mean `{close}`?"),
                None => format!("there are {}", names().collect::<Vec<_>>().join(", ")),
            };
            let message = format!("there is no preset `{}`", choice.name.escape_debug());
            return self
                .diagnostics
                .push(whole("policies.presets".to_owned(), message, hint));
        };
        let source = Source::new(format!("preset {}", preset.name), preset.text);
        if self.policies.contains_key(preset.name) {
            let message = format!("the preset `{}` is chosen twice", preset.name);
            return self.diagnostics.push(whole(
                "policies.presets".to_owned(),
                message,
                "choose it once".to_owned(),
            ));
        }
        let (mut nodes, problems) = document::parse(&source);
        self.report(&source, nodes.first(), problems);
        let Some(mut node) = nodes.pop() else { return };
        let declared = declared_values(&node);
        let mut values = BTreeMap::new();
        for value in &declared {
            match choice.values.get(&value.name).or(value.default.as_ref()) {
                Some(given) => {
                    values.insert(value.name.as_str(), given.as_str());
                }
                None => self.diagnostics.push(whole(
                    source.name.clone(),
                    format!(
                        "the preset `{}` needs the value `{}`: {}",
                        preset.name, value.name, value.description
                    ),
                    format!(
                        "write `{}`, or in the configuration `{{name: {}, values: {{{}: {}}}}}`",
                        value.as_argument(preset.name),
                        preset.name,
                        value.name,
                        value.example.as_deref().unwrap_or("VALUE")
                    ),
                )),
            }
        }
        for name in choice
            .values
            .keys()
            .filter(|name| !declared.iter().any(|value| value.name == **name))
        {
            let names: Vec<&str> = declared.iter().map(|value| value.name.as_str()).collect();
            let hint = match check::closest(name, names.iter().copied()) {
                Some(close) => format!("did you mean `{close}`?"),
                None if names.is_empty() => "it has none".to_owned(),
                None => format!("it has {}", names.join(", ")),
            };
            let message = format!("the preset `{}` has no value `{}`", preset.name, name.escape_debug());
            self.diagnostics.push(whole(source.name.clone(), message, hint));
        }
        if declared.iter().any(|value| !values.contains_key(value.name.as_str())) {
            return;
        }
        let unknown = preset::fill_in(&mut node, &values);
        let shape = self
            .shapes
            .preset
            .get_or_init(|| check::Shape::from_schema(&spec::schema::<PresetDocument>()));
        let mut problems = shape.check(&node);
        problems.extend(unknown.into_iter().map(|name| {
            Problem::error(
                "unknown-value",
                Path::root().key("spec"),
                format!("the value `${{{name}}}` is not declared"),
            )
            .hint("add it to `values`")
        }));
        let sound = problems.is_empty();
        self.report(&source, Some(&node), problems);
        if !sound {
            return;
        }
        let document: PresetDocument = match node.decode() {
            Ok(document) => document,
            Err(error) => return self.report(&source, Some(&node), vec![error.into()]),
        };
        let exempting = document.spec.exempting;
        let class = if exempting {
            Class::Exempting
        } else {
            Class::Preset(place)
        };
        let file = self.documents.len();
        let document_of = Document {
            source,
            file,
            place: nodes.len(),
            policy: document.metadata.name,
        };
        self.rules(document_of, &node, class, Numbered::all(document.spec.rules), exempting);
    }
}

/// The values that a preset declares, read before the rest of it can be checked.
pub(super) fn declared_values(node: &Node) -> Vec<PresetValue> {
    let values = node.get("spec").and_then(|spec| spec.get("values"));
    values.and_then(|values| values.decode().ok()).unwrap_or_default()
}
