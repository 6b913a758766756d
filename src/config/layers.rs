//! The layers of the configuration, one over the other, and which of them each value came from.

use figment::value::{Dict, Map};
use figment::{Figment, Metadata, Profile, Provider};

use super::raw::Raw;
use super::{Preset, complaint, environment};
use crate::document::check::Shape;
use crate::document::{Diagnostic, Node, Path, Problem, Segment, Source, Style, locate, parse};

/// What the command line says about the configuration.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// Flags that set a key.
    pub settings: Vec<Setting>,
    /// `--preset`: added to the list of `policies.presets`. One that is in the list already only gets the values.
    pub presets: Vec<Preset>,
}

/// A flag that sets a key.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The flag, for messages: `--webhook-listen`.
    pub flag: &'static str,
    /// The key: `server.webhook.listen`, whose value is a string.
    pub key: &'static str,
    /// The value given.
    pub value: String,
}

/// All layers, and what was wrong with them.
pub(super) struct Layers {
    figment: Figment,
    file_read: Option<String>,
    file: Option<(Source, Node)>,
    pub(super) problems: Vec<Diagnostic>,
}

impl Layers {
    pub(super) fn read(
        file: Option<&Source>,
        environment: impl IntoIterator<Item = (String, Option<String>)>,
        flags: &Flags,
    ) -> Self {
        let shape = Shape::of::<Raw>();
        let mut layers = Self {
            figment: Figment::from(figment::providers::Serialized::defaults(Raw::default())),
            file_read: file.map(|source| source.name.clone()),
            file: None,
            problems: Vec::new(),
        };
        if let Some(source) = file {
            layers.add_file(source, &shape);
        }
        let leaves = shape.leaves();
        let mut variables: Vec<_> = environment
            .into_iter()
            .filter(|(name, _)| environment::is_key(name))
            .collect();
        variables.sort();
        for (name, text) in variables {
            if let Err(problems) = layers.add_variable(&name, text.as_deref(), &shape, &leaves) {
                layers.problems.extend(problems);
            }
        }
        for setting in &flags.settings {
            let path: Path = setting.key.split('.').map(|name| Segment::Key(name.into())).collect();
            let node = Node::from_json(&serde_json::Value::from(setting.value.as_str()));
            layers.add(setting.flag, &path, &node, &shape);
        }
        layers
    }

    /// The name of the file that was read.
    pub(super) fn file_name(&self) -> Option<&str> {
        self.file_read.as_deref()
    }

    /// All layers as one; `None` where a layer does not fit, which has been reported.
    pub(super) fn raw(&mut self) -> Option<Raw> {
        if !self.problems.is_empty() {
            return None;
        }
        match self.figment.extract() {
            Ok(raw) => Some(raw),
            Err(error) => {
                // The shape lets through only what decodes, so this is a fault of ours; it is reported all the same.
                let message = error.to_string();
                self.problems
                    .push(complaint("configuration", "invalid-value", message, None));
                None
            }
        }
    }

    /// Reports what is wrong with the value at `path`, wherever it came from.
    pub(super) fn report(&mut self, problem: Problem) {
        let keys: Vec<_> = problem
            .path
            .segments()
            .iter()
            .map_while(|segment| match segment {
                Segment::Key(name) => Some(&**name),
                Segment::Index(_) => None,
            })
            .collect();
        let origin = self
            .figment
            .find_metadata(&keys.join("."))
            .map_or_else(String::new, |metadata| metadata.name.to_string());
        let diagnostic = match &self.file {
            Some((source, node)) if origin == FILE => locate(&problem, source, Some(node)),
            _ => unplaced(&origin, problem),
        };
        self.problems.push(diagnostic);
    }

    fn add_file(&mut self, source: &Source, shape: &Shape) {
        let (documents, mut problems) = parse(source);
        let mut documents = documents.into_iter();
        // A file of `---` and comments says as little as an empty one.
        let first = documents
            .next()
            .filter(|node| !node.is_null() || node.style == Style::Refused);
        if let Some(first) = &first {
            problems.extend(shape.check(first));
        }
        if let Some(second) = documents.next() {
            let problem = Problem::error("several-documents", Path::root(), "a second document begins here")
                .hint("a configuration file is one document: remove the `---`");
            problems.push(problem.at(second.span));
        }
        if !problems.is_empty() {
            let located = problems.iter().map(|problem| locate(problem, source, first.as_ref()));
            self.problems.extend(located);
            return;
        }
        if let Some(node) = first {
            self.merge(FILE, &Path::root(), &node);
            self.file = Some((source.clone(), node));
        }
    }

    fn add_variable(
        &mut self,
        name: &str,
        text: Option<&str>,
        shape: &Shape,
        leaves: &[Path],
    ) -> Result<(), Vec<Diagnostic>> {
        let path = environment::key(name, leaves).map_err(|diagnostic| vec![*diagnostic])?;
        let origin = environment::origin(name);
        let Some(text) = text else {
            let message = "the value is not UTF-8 text".to_owned();
            return Err(vec![complaint(&origin, "not-utf8", message, None)]);
        };
        let node = environment::value(name, text, &path, shape)?;
        let before = self.problems.len();
        self.add(&origin, &path, &node, shape);
        for diagnostic in &mut self.problems[before..] {
            // Hints show what to write in a file: `route: true`.
            let key = format!("`{}: ", path.last_key().unwrap_or_default());
            diagnostic.hint = diagnostic
                .hint
                .take()
                .map(|hint| hint.replace(&key, &format!("`{name}=")));
        }
        Ok(())
    }

    /// Checks one value and puts it over those before.
    fn add(&mut self, origin: &str, path: &Path, node: &Node, shape: &Shape) {
        let problems = shape.check(&nested(path.segments(), node));
        if problems.is_empty() {
            self.merge(origin, path, node);
        }
        self.problems
            .extend(problems.into_iter().map(|problem| unplaced(origin, problem)));
    }

    fn merge(&mut self, origin: &str, path: &Path, node: &Node) {
        let whole = nested(path.segments(), node);
        let json: serde_json::Value = whole.decode().unwrap_or_default(); // cannot fail: a `Value` takes anything
        let layer = Layer {
            origin: origin.to_owned(),
            data: figment::value::Value::serialize(json)
                .ok()
                .and_then(figment::value::Value::into_dict)
                .unwrap_or_default(),
        };
        self.figment = std::mem::take(&mut self.figment).merge(layer);
    }
}

/// A problem of a value that has no lines.
fn unplaced(origin: &str, problem: Problem) -> Diagnostic {
    let mut diagnostic = complaint(origin, problem.code, problem.message, problem.hint);
    diagnostic.path = problem.path;
    diagnostic
}

/// `{a: {b: node}}` for the path `a.b`.
fn nested(segments: &[Segment], node: &Node) -> Node {
    segments.iter().rev().fold(node.clone(), |inner, segment| {
        let name = match segment {
            Segment::Key(name) => name.clone(),
            Segment::Index(index) => index.to_string().into(),
        };
        let mut outer = Node::from_json(&serde_json::json!({}));
        let key = crate::document::Key {
            name,
            span: crate::document::Span::NONE,
        };
        outer.value = crate::document::Value::Mapping([(key, inner)].into());
        outer
    })
}

struct Layer {
    origin: String,
    data: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.clone())
    }

    fn data(&self) -> figment::error::Result<Map<Profile, Dict>> {
        Ok(Profile::default().collect(self.data.clone()))
    }
}

/// The origin of what the file says; it has lines, so it is never shown.
const FILE: &str = "file";
