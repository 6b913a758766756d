//! A JSON Schema as a compact table.

use std::collections::HashMap;

use serde_json::Value as Json;

use super::Shape;

/// The index of an [`Entry`].
pub(super) type Id = usize;

/// What is wanted at some place.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    /// Whether nothing will do as well.
    pub(super) nullable: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Any,
    Null,
    Bool,
    Integer {
        min: Option<i64>,
        max: Option<i64>,
    },
    Number,
    /// A string; one of `values` unless that is empty.
    Text {
        values: Vec<Box<str>>,
        min: usize,
        /// How such a string may look, such as `15s`.
        example: Option<Box<str>>,
    },
    List {
        items: Id,
        min: usize,
        max: usize,
    },
    Object(Object),
    /// At least two.
    Either(Vec<Id>),
    /// What is described there: a type that contains itself.
    Link(Id),
}

#[derive(Clone, Debug)]
pub(super) struct Object {
    pub(super) fields: Vec<Field>,
    pub(super) rest: Rest,
}

#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) name: Box<str>,
    pub(super) id: Id,
    pub(super) required: bool,
}

/// What about keys that are not listed.
#[derive(Clone, Debug)]
pub(super) enum Rest {
    Refused,
    Any,
    Each(Id),
}

pub(super) fn compile(schema: &Json) -> Shape {
    let mut compiler = Compiler {
        document: schema,
        entries: Vec::new(),
        references: HashMap::new(),
    };
    let root = compiler.reserve();
    compiler.references.insert("#".to_owned(), root);
    compiler.entries[root] = compiler.entry(schema);
    Shape {
        entries: compiler.entries,
        root,
    }
}

struct Compiler<'a> {
    document: &'a Json,
    entries: Vec<Entry>,
    references: HashMap<String, Id>,
}

impl<'a> Compiler<'a> {
    /// A place for an entry that is made later. Until then it links to itself, so a copy of it links to it.
    fn reserve(&mut self) -> Id {
        self.push(Entry::of(Kind::Link(self.entries.len())))
    }

    fn push(&mut self, entry: Entry) -> Id {
        self.entries.push(entry);
        self.entries.len() - 1
    }

    fn add(&mut self, schema: &'a Json) -> Id {
        if let Some(reference) = schema.get("$ref").and_then(Json::as_str) {
            return self.referred(reference);
        }
        let entry = self.entry(schema);
        self.push(entry)
    }

    fn referred(&mut self, reference: &str) -> Id {
        if let Some(&id) = self.references.get(reference) {
            return id;
        }
        let id = self.reserve();
        self.references.insert(reference.to_owned(), id);
        let target = reference
            .strip_prefix('#')
            .and_then(|pointer| self.document.pointer(pointer));
        self.entries[id] = match target {
            Some(schema) => self.entry(schema),
            None => Entry::of(Kind::Any),
        };
        id
    }

    fn entry(&mut self, schema: &'a Json) -> Entry {
        if let Some(reference) = schema.get("$ref").and_then(Json::as_str) {
            let id = self.referred(reference);
            return self.entries[id].clone();
        }
        let alternatives = ["oneOf", "anyOf"].iter().find_map(|key| schema.get(key)?.as_array());
        let has_properties = schema.get("properties").is_some();
        match (alternatives, schema.get("allOf").and_then(Json::as_array)) {
            (Some(schemas), _) if !has_properties => return self.either(schemas),
            (Some(schemas), _) => return self.merged(schema, schemas, false),
            (None, Some(schemas)) => return self.merged(schema, schemas, true),
            (None, None) => {}
        }
        if let Some(value) = schema.get("const") {
            return constant(std::slice::from_ref(value));
        }
        if let Some(values) = schema.get("enum").and_then(Json::as_array) {
            return constant(values);
        }
        match schema.get("type") {
            Some(Json::String(name)) => Entry::of(self.typed(name, schema)),
            Some(Json::Array(names)) => {
                let names: Vec<_> = names.iter().filter_map(Json::as_str).collect();
                let nullable = names.contains(&"null");
                let kinds: Vec<_> = names
                    .into_iter()
                    .filter(|&name| name != "null")
                    .map(|name| self.typed(name, schema))
                    .collect();
                let kind = self.one_of(kinds);
                Entry { kind, nullable }
            }
            _ if has_properties => Entry::of(self.object(schema)),
            _ => Entry {
                kind: Kind::Any,
                nullable: true,
            },
        }
    }

    fn typed(&mut self, name: &str, schema: &'a Json) -> Kind {
        let number = |key: &str| schema.get(key).and_then(Json::as_f64);
        let count = |key: &str| {
            schema
                .get(key)
                .and_then(Json::as_u64)
                .and_then(|count| usize::try_from(count).ok())
        };
        match name {
            "null" => Kind::Null,
            "boolean" => Kind::Bool,
            #[expect(clippy::cast_possible_truncation, reason = "bounds of integers; a cast saturates")]
            "integer" => Kind::Integer {
                min: number("minimum").map(|bound| bound as i64),
                max: number("maximum").map(|bound| bound as i64),
            },
            "number" => Kind::Number,
            "string" => Kind::Text {
                values: Vec::new(),
                min: count("minLength").unwrap_or(0),
                example: schema
                    .get("examples")
                    .and_then(|examples| examples.get(0)?.as_str())
                    .map(Into::into),
            },
            "array" => Kind::List {
                items: match schema.get("items") {
                    Some(items) => self.add(items),
                    None => self.push(Entry::of(Kind::Any)),
                },
                min: count("minItems").unwrap_or(0),
                max: count("maxItems").unwrap_or(usize::MAX),
            },
            "object" => self.object(schema),
            _ => Kind::Any,
        }
    }

    fn object(&mut self, schema: &'a Json) -> Kind {
        let required: Vec<_> = schema
            .get("required")
            .and_then(Json::as_array)
            .into_iter()
            .flatten()
            .filter_map(Json::as_str)
            .collect();
        let properties = schema.get("properties").and_then(Json::as_object);
        let fields = properties
            .into_iter()
            .flatten()
            .map(|(name, schema)| Field {
                name: name.as_str().into(),
                id: self.add(schema),
                required: required.contains(&name.as_str()),
            })
            .collect();
        let rest = match schema
            .get("additionalProperties")
            .or_else(|| schema.get("unevaluatedProperties"))
        {
            Some(Json::Bool(false)) => Rest::Refused,
            None | Some(Json::Bool(true)) => Rest::Any,
            Some(schema) => Rest::Each(self.add(schema)),
        };
        Kind::Object(Object { fields, rest })
    }

    fn either(&mut self, schemas: &'a [Json]) -> Entry {
        let entries: Vec<_> = schemas.iter().map(|schema| self.entry(schema)).collect();
        let nullable = entries
            .iter()
            .any(|entry| entry.nullable || matches!(entry.kind, Kind::Null));
        let mut kinds: Vec<Kind> = Vec::new();
        let mut values: Vec<Box<str>> = Vec::new();
        for entry in entries {
            match entry.kind {
                Kind::Null => {}
                // The variants of an enum, each with a description of its own.
                Kind::Text {
                    values: some, min: 0, ..
                } if !some.is_empty() => values.extend(some),
                kind => kinds.push(kind),
            }
        }
        if !values.is_empty() {
            kinds.insert(0, Kind::one_of(values));
        }
        let kind = self.one_of(kinds);
        Entry { kind, nullable }
    }

    fn one_of(&mut self, mut kinds: Vec<Kind>) -> Kind {
        match kinds.len() {
            0 => Kind::Null,
            1 => kinds.remove(0),
            _ => Kind::Either(kinds.into_iter().map(|kind| self.push(Entry::of(kind))).collect()),
        }
    }

    /// A mapping with the keys of several (`#[serde(flatten)]`). Which of the alternatives' keys go together is left to the
    /// code that decodes.
    fn merged(&mut self, schema: &'a Json, parts: &'a [Json], all: bool) -> Entry {
        let Kind::Object(mut whole) = self.object(schema) else {
            return Entry::of(Kind::Any);
        };
        for part in parts {
            let entry = self.entry(part);
            match entry.kind {
                Kind::Object(object) => {
                    for mut field in object.fields {
                        field.required &= all;
                        if whole.fields.iter().all(|other| other.name != field.name) {
                            whole.fields.push(field);
                        }
                    }
                    if !matches!(object.rest, Rest::Any) {
                        whole.rest = object.rest;
                    }
                }
                _ if all && parts.len() == 1 && whole.fields.is_empty() => return entry,
                _ => {}
            }
        }
        Entry::of(Kind::Object(whole))
    }
}

impl Kind {
    fn one_of(values: Vec<Box<str>>) -> Self {
        Self::Text {
            values,
            min: 0,
            example: None,
        }
    }
}

impl Entry {
    fn of(kind: Kind) -> Self {
        Self {
            nullable: matches!(kind, Kind::Any | Kind::Null),
            kind,
        }
    }
}

fn constant(values: &[Json]) -> Entry {
    let texts: Vec<Box<str>> = values.iter().filter_map(Json::as_str).map(Into::into).collect();
    let kind = match values.first() {
        Some(Json::Bool(_)) => Kind::Bool,
        Some(Json::Number(_)) => Kind::Number,
        _ if texts.is_empty() => Kind::Null,
        _ => Kind::one_of(texts),
    };
    Entry {
        kind,
        nullable: values.iter().any(Json::is_null),
    }
}
