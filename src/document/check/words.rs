//! What was expected, what was found, and what to write instead.

use super::shape::{Id, Kind, Object};
use super::{Node, NodeKind, Shape, Value};
use crate::document::scalar::{self, LONG};

pub(super) use crate::document::scalar::cut;

/// The candidate that somebody who wrote `name` most likely meant: the same word in another spelling (`pull_policy`,
/// `PullPolicy`), one few letters away, or the one that the word is the beginning of (`repo`).
pub fn closest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > 4 * LONG {
        return None; // nobody's typing mistake, and the comparison takes time
    }
    let folded = fold(name);
    let most = (folded.chars().count() / 3).max(1);
    let mut begun: Vec<&str> = Vec::new();
    let close = candidates
        .into_iter()
        .map(|candidate| {
            let other = fold(candidate);
            if folded.len() >= 3 && other.starts_with(&folded) {
                begun.push(candidate);
            }
            (strsim::damerau_levenshtein(&folded, &other), candidate)
        })
        .filter(|(distance, candidate)| *distance <= most && *distance < candidate.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate);
    match (close, &begun[..]) {
        (None, [only]) => Some(only),
        _ => close,
    }
}

/// What a value must be, with an article: `a list of strings`.
pub(super) fn expected(shape: &Shape, id: Id) -> String {
    match shape.kind(id) {
        Kind::Any | Kind::Link(_) => "a value".to_owned(),
        Kind::Null => "nothing".to_owned(),
        Kind::Bool => "`true` or `false`".to_owned(),
        Kind::Integer { .. } => "a whole number".to_owned(),
        Kind::Number => "a number".to_owned(),
        Kind::Text { values, .. } if values.is_empty() => "a string".to_owned(),
        Kind::Text { values, .. } => list(values.iter().map(|value| &**value), "or"),
        Kind::List { items, .. } => format!("a list of {}", several(shape, *items)),
        Kind::Object(object) => match with_keys(object) {
            Some(keys) => format!("a mapping with {keys}"),
            None => "a mapping".to_owned(),
        },
        Kind::Either(ids) => joined(ids.iter().map(|&id| expected(shape, id)).collect(), "or"),
    }
}

/// What a value is, with an article.
pub(super) fn found(node: &Node) -> String {
    match &node.value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(value) => format!("`{value}`"),
        Value::Number(text) => format!("the number `{}`", cut(text)),
        Value::String(text) if text.is_empty() => "an empty string".to_owned(),
        Value::String(text) => format!("the string `{}`", cut(text)),
        Value::Sequence(_) => "a list".to_owned(),
        Value::Mapping(_) => "a mapping".to_owned(),
    }
}

/// What to write instead of a value of the wrong kind, where that can be told.
pub(super) fn correction(shape: &Shape, id: Id, node: &Node, key: Option<&str>) -> Option<String> {
    let prefix = key.map_or_else(String::new, |key| format!("{key}: "));
    let one = |kind: &Kind| one_correction(shape, kind, node, &prefix);
    match shape.kind(id) {
        Kind::Either(ids) => ids.iter().find_map(|&id| one(shape.kind(id))),
        kind => one(kind),
    }
}

fn one_correction(shape: &Shape, wanted: &Kind, node: &Node, prefix: &str) -> Option<String> {
    let written = written(node);
    match (wanted, &node.value) {
        (Kind::List { .. }, Value::Null) => Some(format!(
            "remove it, write the entries below it, or `{prefix}[]` for an empty list"
        )),
        (Kind::Object(_), Value::Null) => {
            Some("remove it, or write its keys below it, indented by two more spaces".to_owned())
        }
        (_, Value::Null) => Some("remove it, or give it a value".to_owned()),
        (Kind::List { items, .. }, Value::Mapping(_)) if shape.accepts(*items, NodeKind::Mapping) => {
            Some("begin each entry with `- `".to_owned())
        }
        (Kind::List { items, .. }, _)
            if shape.accepts(*items, node.kind()) || shape.accepts(*items, NodeKind::String) =>
        {
            let written = match node.as_str() {
                Some(_) => written?,
                None if shape.accepts(*items, node.kind()) => written?,
                None => scalar::quoted(&written?),
            };
            Some(format!("write it as a list: `{prefix}[{written}]`"))
        }
        (
            Kind::Text {
                example: Some(example), ..
            },
            _,
        ) => Some(format!("write it like `{prefix}{example}`")),
        (Kind::Text { values, .. }, Value::Bool(_) | Value::Number(_)) if values.is_empty() => {
            Some(format!("put it in quotes: `{prefix}{}`", scalar::quoted(&written?)))
        }
        (Kind::Bool, Value::String(text)) => boolean(text).map(|value| format!("write `{prefix}{value}`")),
        (Kind::Integer { .. } | Kind::Number, Value::String(text)) => matches!(scalar::resolve(text), Value::Number(_))
            .then(|| format!("write it without quotes: `{prefix}{text}`")),
        (Kind::Object(_), Value::Sequence(items)) if items.iter().all(|item| item.kind() == NodeKind::Mapping) => {
            Some("it is one, not a list of several: remove the `- `".to_owned())
        }
        (Kind::Text { .. } | Kind::Bool | Kind::Integer { .. } | Kind::Number, Value::Sequence(items)) => {
            match &**items {
                [item] => Some(format!(
                    "it is one, not a list of several: write `{prefix}{}`",
                    self::written(item)?
                )),
                _ => Some("it is one, not a list of several".to_owned()),
            }
        }
        _ => None,
    }
}

/// Where a key that is unknown here may belong. `objects` are the mappings around it, outermost first, and `keys` led to
/// the innermost of them.
pub(super) fn where_instead(shape: &Shape, objects: &[&Object], keys: &[&str], name: &str) -> Option<String> {
    let (here, outer) = objects.split_last()?;
    let names = || here.fields.iter().map(|field| &*field.name);
    if let Some(spelling) = names().find(|known| fold(known) == fold(name)) {
        return Some(format!("did you mean `{spelling}`?"));
    }
    if let Some(field) = holding(shape, here, name) {
        return Some(format!("`{name}` belongs under `{field}`"));
    }
    if let Some(parent) = outer.last() {
        let beside = keys.last().map_or_else(String::new, |key| format!(", beside `{key}`"));
        if parent.fields.iter().any(|field| &*field.name == name) {
            return Some(format!("`{name}` belongs one level further out{beside}"));
        }
        if let Some(field) = holding(shape, parent, name) {
            return Some(format!("`{name}` belongs under `{field}`{beside}"));
        }
    }
    if let Some(known) = closest(name, names()) {
        return Some(format!("did you mean `{known}`?"));
    }
    if here.fields.is_empty() {
        return None;
    }
    Some(format!("known here: {}", list(names(), "and")))
}

/// The key of a mapping's entry that may hold the key `name`.
fn holding<'a>(shape: &'a Shape, object: &'a Object, name: &str) -> Option<&'a str> {
    let has = |id: Id| {
        objects(shape, id)
            .iter()
            .any(|object| object.fields.iter().any(|field| &*field.name == name))
    };
    object
        .fields
        .iter()
        .find(|field| has(field.id))
        .map(|field| &*field.name)
}

fn objects(shape: &Shape, id: Id) -> Vec<&Object> {
    match shape.kind(id) {
        Kind::Object(object) => vec![object],
        Kind::Either(ids) => ids
            .iter()
            .filter_map(|&id| match shape.kind(id) {
                Kind::Object(object) => Some(object),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// `` `a`, `b` or `c` ``, cut where there are many.
pub(super) fn list<'a>(names: impl Iterator<Item = &'a str>, word: &str) -> String {
    joined(names.map(|name| format!("`{name}`")).collect(), word)
}

fn joined(mut names: Vec<String>, word: &str) -> String {
    if names.len() > MANY {
        names.truncate(MANY);
        return format!("{}, …", names.join(", "));
    }
    match names.pop() {
        Some(last) if names.is_empty() => last,
        Some(last) => format!("{} {word} {last}", names.join(", ")),
        None => String::new(),
    }
}

fn several(shape: &Shape, id: Id) -> String {
    match shape.kind(id) {
        Kind::Any | Kind::Link(_) | Kind::Null => "values".to_owned(),
        Kind::Bool => "`true` or `false`".to_owned(),
        Kind::Integer { .. } => "whole numbers".to_owned(),
        Kind::Number => "numbers".to_owned(),
        Kind::Text { values, .. } if values.is_empty() => "strings".to_owned(),
        Kind::Text { values, .. } => list(values.iter().map(|value| &**value), "and"),
        Kind::List { .. } => "lists".to_owned(),
        Kind::Object(object) => match with_keys(object) {
            Some(keys) => format!("mappings with {keys}"),
            None => "mappings".to_owned(),
        },
        Kind::Either(ids) => joined(ids.iter().map(|&id| several(shape, id)).collect(), "or"),
    }
}

/// The keys that tell a mapping apart: those it must have.
fn with_keys(object: &Object) -> Option<String> {
    let required: Vec<_> = object.fields.iter().filter(|field| field.required).collect();
    (!required.is_empty() && required.len() <= 3).then(|| list(required.iter().map(|field| &*field.name), "and"))
}

/// A short scalar as it is to be written in a hint; `None` for collections and long texts.
fn written(node: &Node) -> Option<String> {
    match &node.value {
        Value::String(text) if text.chars().count() <= LONG => Some(scalar::quoted(text)),
        Value::Number(text) => Some(text.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        _ => None,
    }
}

fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "y" | "on" => Some(true),
        "false" | "no" | "n" | "off" => Some(false),
        _ => None,
    }
}

fn fold(name: &str) -> String {
    name.chars()
        .filter(|&character| character != '_' && character != '-')
        .flat_map(char::to_lowercase)
        .collect()
}

/// Lists in messages are no longer than this.
const MANY: usize = 12;
