//! Environment variables as configuration: `WAYPOST_SERVER__WEBHOOK__LISTEN` is `server.webhook.listen`.

use super::complaint;
use crate::document::check::{Shape, closest};
use crate::document::{Diagnostic, Kind, Node, Path, Segment, Source, Value, parse};

/// Whether a variable is meant for us. A Service called `waypost` puts `WAYPOST_PORT_8443_TCP_ADDR` and the like into every
/// Pod beside it, so only names with the separator of levels are keys.
pub(super) fn is_key(name: &str) -> bool {
    name.strip_prefix(PREFIX).is_some_and(|rest| rest.contains(SEPARATOR))
}

/// The variable of a key.
pub(super) fn variable(path: &Path) -> String {
    let levels: Vec<_> = path
        .segments()
        .iter()
        .map(|segment| match segment {
            Segment::Key(name) => name.to_uppercase(),
            Segment::Index(index) => index.to_string(),
        })
        .collect();
    format!("{PREFIX}{}", levels.join(SEPARATOR))
}

/// The key of a variable.
pub(super) fn key(name: &str, leaves: &[Path]) -> Result<Path, Box<Diagnostic>> {
    if let Some(path) = leaves.iter().find(|path| variable(path) == name) {
        return Ok(path.clone());
    }
    let known: Vec<_> = leaves.iter().map(variable).collect();
    let hint = closest(name, known.iter().map(String::as_str)).map_or_else(
        || "variables are named after keys: WAYPOST_SERVER__WEBHOOK__LISTEN is `server.webhook.listen`".to_owned(),
        |name| format!("did you mean {name}?"),
    );
    Err(Box::new(complaint(
        &origin(name),
        "unknown-variable",
        format!("{name} is the variable of no key"),
        Some(hint),
    )))
}

/// The value of a variable as the node its key wants: strings as they are, lists as `[a, b]` or `a,b`, others as in YAML.
pub(super) fn value(name: &str, text: &str, path: &Path, shape: &Shape) -> Result<Node, Vec<Diagnostic>> {
    if shape.accepts_at(path, Kind::String) {
        return Ok(string(text));
    }
    let wants_list = shape.accepts_at(path, Kind::Sequence);
    if wants_list && !text.trim_start().starts_with('[') {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        return Ok(sequence(items.map(string).collect()));
    }
    let source = Source::new(origin(name), text);
    let (documents, problems) = parse(&source);
    if !problems.is_empty() {
        let located = |problem| crate::document::locate(problem, &source, documents.first());
        return Err(problems.iter().map(located).collect());
    }
    match <[Node; 1]>::try_from(documents) {
        Ok([node]) => Ok(node),
        Err(_) => Ok(string(text)),
    }
}

/// What diagnostics call a variable.
pub(super) fn origin(name: &str) -> String {
    format!("environment variable {name}")
}

fn string(text: &str) -> Node {
    Node::from_json(&serde_json::Value::from(text))
}

fn sequence(items: Vec<Node>) -> Node {
    let mut node = Node::from_json(&serde_json::Value::Array(Vec::new()));
    node.value = Value::Sequence(items.into());
    node
}

const PREFIX: &str = "WAYPOST_";
const SEPARATOR: &str = "__";
