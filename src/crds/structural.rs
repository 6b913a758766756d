//! From the JSON Schema of a type to a structural one, as the API server wants those of CustomResourceDefinitions: every place says
//! its type, nothing is referred to, nothing is said of a place in a branch alone.

use serde_json::{Map, Value, json};

/// The structural schema that says as much of this one as can be said. A place that may have one of several types is left to Waypost,
/// with what can be checked of each without knowing which it is.
pub(super) fn structural(schema: &Value) -> Value {
    Value::Object(place(schema, &schema["$defs"]))
}

fn place(schema: &Value, definitions: &Value) -> Map<String, Value> {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.strip_prefix("#/$defs/").unwrap_or(name);
        let mut definition = definitions[name].clone();
        // What is said where it is used says more.
        if let Some(description) = schema.get("description") {
            definition["description"] = description.clone();
        }
        return place(&definition, definitions);
    }
    if let Some(values) = schema["oneOf"].as_array() {
        return one_of(schema, values);
    }
    if let Some(branches) = schema["anyOf"].as_array() {
        return any_of(schema, branches, definitions);
    }
    let mut out = Map::new();
    for key in KEPT {
        if let Some(value) = schema.get(key) {
            out.insert(key.to_owned(), value.clone());
        }
    }
    if let Some(items) = schema.get("items") {
        out.insert("items".to_owned(), place(items, definitions).into());
    }
    if let Some(properties) = schema["properties"].as_object() {
        let required = |key: &str| {
            schema["required"]
                .as_array()
                .is_some_and(|keys| keys.iter().any(|other| other == key))
        };
        let properties = properties.iter().map(|(key, property)| {
            let mut property = place(property, definitions);
            // Else the API server takes a key without a value away, and `images:` with nothing behind it would be all images.
            if !required(key) && !property.contains_key("enum") {
                property.insert("nullable".to_owned(), true.into());
            }
            (key.clone(), property.into())
        });
        out.insert("properties".to_owned(), Value::Object(properties.collect()));
    }
    // Unknown keys are refused where clients ask for that, as `kubectl` does, and need not be forbidden.
    if let Some(values) = schema.get("additionalProperties").filter(|values| values.is_object()) {
        out.insert("additionalProperties".to_owned(), place(values, definitions).into());
    }
    out
}

/// Values, each with what it means.
fn one_of(schema: &Value, values: &[Value]) -> Map<String, Value> {
    let names: Vec<&Value> = values.iter().map(|value| &value["const"]).collect();
    let mut description = schema["description"].as_str().unwrap_or_default().to_owned();
    for value in values {
        let meaning = value["description"].as_str().unwrap_or_default();
        let mut letters = meaning.chars();
        let first: String = letters.next().into_iter().flat_map(char::to_lowercase).collect();
        let name = value["const"].as_str().unwrap_or_default();
        description += &format!(" `{name}`: {first}{}", letters.as_str());
    }
    object(json!({"type": "string", "enum": names, "description": description}))
}

/// A text or an object: each is checked by what says nothing of the other.
fn any_of(schema: &Value, branches: &[Value], definitions: &Value) -> Map<String, Value> {
    let mut description = schema["description"].as_str().unwrap_or_default().to_owned();
    let mut out = object(json!({"x-kubernetes-preserve-unknown-fields": true}));
    for branch in branches {
        let branch = place(branch, definitions);
        let text = branch.get("description").and_then(Value::as_str).unwrap_or_default();
        if branch["type"] == "object" {
            let keys = branch.get("properties").and_then(Value::as_object);
            let names: Vec<_> = keys.into_iter().flatten().map(|(key, _)| format!("`{key}`")).collect();
            description += &format!(" Or an object with {}: {text}", names.join(", "));
            out.insert("maxProperties".to_owned(), names.len().into());
            out.extend(branch.into_iter().filter(|(key, _)| key == "required"));
        } else {
            description += &format!(" A text: {text}");
            out.insert("minLength".to_owned(), 1.into());
        }
    }
    out.insert("description".to_owned(), description.into());
    out
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// Without `default`: what is stored is what was written.
const KEPT: [&str; 6] = ["type", "description", "required", "minItems", "maxItems", "format"];
