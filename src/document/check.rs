//! Documents against the JSON Schema of the Rust type they decode to: everything wrong with their structure, at once, in
//! words for somebody who writes the first policy of their life.

mod shape;
mod words;

use schemars::JsonSchema;

use super::node::{Kind as NodeKind, Node, Style, Value};
use super::path::{Path, Segment};
use super::problem::Problem;
use super::yaml::MAX_PROBLEMS;
use shape::{Id, Kind, Object, Rest};

pub use words::closest;

/// What a document must look like, made once from a type's schema.
///
/// Understood: types, `properties`, `required`, `additionalProperties`, `items`, `minItems`, `maxItems`, `minLength`,
/// `minimum`, `maximum`, `examples` (for hints), `enum`, `const`, `oneOf`, `anyOf`, `allOf`, `$ref` into `$defs` (recursive ones too). A string
/// that must have a form of its own is for the code that decodes it.
#[derive(Clone, Debug)]
pub struct Shape {
    entries: Vec<shape::Entry>,
    root: Id,
}

impl Shape {
    /// The shape of what decodes to `T`.
    #[must_use]
    pub fn of<T: JsonSchema>() -> Self {
        Self::from_schema(schemars::schema_for!(T).as_value())
    }

    /// The shape that a JSON Schema (draft 2020-12, as schemars writes it) describes.
    #[must_use]
    pub fn from_schema(schema: &serde_json::Value) -> Self {
        shape::compile(schema)
    }

    /// Everything that is wrong with a document, in the order of its text; at most [`MAX_PROBLEMS`].
    ///
    /// Codes: `unknown-key`, `missing-key`, `wrong-type`, `no-value`, `unknown-value`, `wrong-length`, `out-of-range`.
    #[must_use]
    pub fn check(&self, node: &Node) -> Vec<Problem> {
        let mut walk = Walk {
            shape: self,
            steps: Vec::new(),
            objects: Vec::new(),
            problems: Vec::new(),
        };
        walk.check(self.root, node);
        walk.problems
    }

    /// The paths of all values that are not mappings of known keys, such as `server.webhook.listen`, in alphabetical order.
    /// For shapes that do not contain themselves.
    #[must_use]
    pub fn leaves(&self) -> Vec<Path> {
        let mut leaves = Vec::new();
        self.add_leaves(self.root, &Path::root(), &mut leaves);
        leaves
    }

    /// Whether a value of this kind can be right at `path`, which leads through mappings with known keys.
    #[must_use]
    pub fn accepts_at(&self, path: &Path, kind: NodeKind) -> bool {
        let id = path.segments().iter().try_fold(self.root, |id, segment| {
            let (Kind::Object(object), Segment::Key(name)) = (self.kind(id), segment) else {
                return None;
            };
            let field = object.fields.iter().find(|field| field.name == *name)?;
            Some(field.id)
        });
        id.is_some_and(|id| self.accepts(id, kind))
    }

    fn add_leaves(&self, id: Id, path: &Path, leaves: &mut Vec<Path>) {
        match self.kind(id) {
            Kind::Object(object) if !object.fields.is_empty() && path.segments().len() < LEVELS => {
                for field in &object.fields {
                    self.add_leaves(field.id, &path.clone().key(field.name.clone()), leaves);
                }
            }
            _ => leaves.push(path.clone()),
        }
    }

    fn kind(&self, id: Id) -> &Kind {
        match &self.entries[id].kind {
            // A schema that is nothing but a reference to itself says nothing.
            Kind::Link(target) if *target == id => &Kind::Any,
            Kind::Link(target) => self.kind(*target),
            kind => kind,
        }
    }

    /// Whether a value of this kind can be right.
    fn accepts(&self, id: Id, kind: NodeKind) -> bool {
        match (self.kind(id), kind) {
            (Kind::Any | Kind::Null, NodeKind::Null) => true,
            (_, NodeKind::Null) => self.entries[id].nullable,
            (Kind::Any, _)
            | (Kind::Bool, NodeKind::Bool)
            | (Kind::Integer { .. } | Kind::Number, NodeKind::Number)
            | (Kind::Text { .. }, NodeKind::String)
            | (Kind::List { .. }, NodeKind::Sequence)
            | (Kind::Object(_), NodeKind::Mapping) => true,
            (Kind::Either(ids), _) => ids.iter().any(|&id| self.accepts(id, kind)),
            _ => false,
        }
    }
}

/// One walk through a document.
struct Walk<'a> {
    shape: &'a Shape,
    steps: Vec<Step<'a>>,
    /// The mappings that hold the current node, outermost first.
    objects: Vec<&'a Object>,
    problems: Vec<Problem>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

impl<'a> Walk<'a> {
    fn check(&mut self, id: Id, node: &'a Node) {
        if node.style == Style::Refused || self.problems.len() >= MAX_PROBLEMS {
            return;
        }
        if !self.shape.accepts(id, node.kind()) {
            self.wrong_type(id, node);
            return;
        }
        match (self.shape.kind(id), &node.value) {
            (Kind::Object(object), Value::Mapping(_)) => self.object(object, node),
            (&Kind::List { items, min, max }, Value::Sequence(nodes)) => {
                self.length(nodes.len(), min, max, "entry", "entries");
                for (index, item) in nodes.iter().enumerate() {
                    self.inside(Step::Index(index), |walk| walk.check(items, item));
                }
            }
            (Kind::Text { values, min, .. }, Value::String(text)) => self.text(values, *min, text),
            (&Kind::Integer { min, max }, Value::Number(text)) => self.integer(min, max, text, node),
            (Kind::Either(ids), _) => self.either(ids, node),
            _ => {}
        }
    }

    fn object(&mut self, object: &'a Object, node: &'a Node) {
        for field in &object.fields {
            if field.required && node.get(&field.name).is_none() {
                let what = words::expected(self.shape, field.id);
                self.report("missing-key", format!("the key `{}` is missing", field.name))
                    .hint = Some(format!("add `{}`: {what}", field.name));
            }
        }
        self.objects.push(object);
        for (key, value) in node.entries() {
            if self.problems.len() >= MAX_PROBLEMS {
                break;
            }
            let known = object.fields.iter().find(|field| field.name == key.name);
            let id = match (known, &object.rest) {
                (Some(field), _) => Some(field.id),
                (None, Rest::Each(id)) => Some(*id),
                (None, Rest::Any) => None,
                (None, Rest::Refused) => {
                    let hint = words::where_instead(self.shape, &self.objects, &self.keys(), &key.name);
                    self.inside(Step::Key(&key.name), |walk| {
                        let path = walk.path();
                        let message = format!("unknown key `{}`", words::cut(&key.name));
                        let mut problem = Problem::error("unknown-key", path, message).on_key();
                        problem.hint = hint;
                        walk.problems.push(problem);
                    });
                    None
                }
            };
            if let Some(id) = id {
                self.inside(Step::Key(&key.name), |walk| walk.check(id, value));
            }
        }
        self.objects.pop();
    }

    fn either(&mut self, ids: &'a [Id], node: &'a Node) {
        let fitting = || ids.iter().copied().filter(|&id| self.shape.accepts(id, node.kind()));
        let mut fitting = fitting();
        let (Some(first), None) = (fitting.next(), fitting.next()) else {
            self.best(ids, node);
            return;
        };
        self.check(first, node);
    }

    /// Of several that fit by kind, the one with which least is wrong is what the author meant.
    fn best(&mut self, ids: &'a [Id], node: &'a Node) {
        let known = |id: Id| match self.shape.kind(id) {
            Kind::Object(object) => node
                .entries()
                .iter()
                .filter(|(key, _)| object.fields.iter().any(|field| field.name == key.name))
                .count(),
            _ => 0,
        };
        let best = ids
            .iter()
            .copied()
            .filter(|&id| self.shape.accepts(id, node.kind()))
            .map(|id| {
                let mut attempt = Walk {
                    shape: self.shape,
                    steps: self.steps.clone(),
                    objects: self.objects.clone(),
                    problems: Vec::new(),
                };
                attempt.check(id, node);
                (attempt.problems, known(id))
            })
            .min_by_key(|(problems, known)| (!problems.is_empty(), std::cmp::Reverse(*known), problems.len()));
        if let Some((problems, _)) = best {
            self.problems.extend(problems);
        }
    }

    fn text(&mut self, values: &[Box<str>], min: usize, text: &str) {
        if text.chars().count() < min {
            self.report("wrong-length", "this must not be empty");
        }
        if values.is_empty() || values.iter().any(|value| &**value == text) {
            return;
        }
        let names = || values.iter().map(|value| &**value);
        let hint = match closest(text, names()) {
            Some(value) => format!("did you mean `{value}`?"),
            None => format!("write {}", words::list(names(), "or")),
        };
        self.report("unknown-value", format!("unknown value `{}`", words::cut(text)))
            .hint = Some(hint);
    }

    fn integer(&mut self, min: Option<i64>, max: Option<i64>, text: &str, node: &Node) {
        let Some(value) = node.as_i64() else {
            let message = format!("expected a whole number, found `{}`", words::cut(text));
            self.report("wrong-type", message);
            return;
        };
        if min.is_some_and(|min| value < min) || max.is_some_and(|max| value > max) {
            let message = match (min, max) {
                (Some(min), Some(max)) => format!("{value} is not between {min} and {max}"),
                (Some(min), None) => format!("{value} is less than {min}"),
                (_, max) => format!("{value} is more than {}", max.unwrap_or(i64::MAX)),
            };
            self.report("out-of-range", message);
        }
    }

    fn length(&mut self, length: usize, min: usize, max: usize, one: &str, many: &str) {
        if length < min {
            let what = if min == 1 { one } else { many };
            self.report("wrong-length", format!("this must have at least {min} {what}"));
        } else if length > max {
            let what = if max == 1 { one } else { many };
            self.report("wrong-length", format!("this must have at most {max} {what}"));
        }
    }

    fn wrong_type(&mut self, id: Id, node: &Node) {
        let expected = words::expected(self.shape, id);
        let key = match self.steps.last() {
            Some(Step::Key(name)) => Some(*name),
            _ => None,
        };
        let hint = words::correction(self.shape, id, node, key);
        let problem = if node.is_null() {
            let message = match key {
                Some(key) => format!("`{key}` has no value"),
                None => "this has no value".to_owned(),
            };
            self.report("no-value", format!("{message}: expected {expected}"))
        } else {
            self.report(
                "wrong-type",
                format!("expected {expected}, found {}", words::found(node)),
            )
        };
        problem.hint = hint;
    }

    fn inside(&mut self, step: Step<'a>, work: impl FnOnce(&mut Self)) {
        self.steps.push(step);
        work(self);
        self.steps.pop();
    }

    fn report(&mut self, code: &'static str, message: impl Into<String>) -> &mut Problem {
        self.problems.push(Problem::error(code, self.path(), message));
        let last = self.problems.len() - 1;
        &mut self.problems[last]
    }

    /// The keys that led from each of [`Walk::objects`] to the next one.
    fn keys(&self) -> Vec<&'a str> {
        self.steps
            .iter()
            .filter_map(|step| match step {
                Step::Key(name) => Some(*name),
                Step::Index(_) => None,
            })
            .collect()
    }

    fn path(&self) -> Path {
        self.steps
            .iter()
            .map(|step| match *step {
                Step::Key(name) => Segment::Key(name.into()),
                Step::Index(index) => Segment::Index(index),
            })
            .collect()
    }
}

/// How deep [`Shape::leaves`] looks.
const LEVELS: usize = 8;

#[cfg(test)]
mod tests;
