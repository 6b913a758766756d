//! The CustomResourceDefinitions of Waypost's own objects, made from the types that files are read by: what a file may say, an object
//! may say.

mod pushes;
mod registries;
mod structural;

use serde_json::{Value, json};

use crate::policy::spec::{self, PolicySpec};
use structural::structural;

/// Every definition, in the order in which they are printed.
pub fn all() -> Vec<Value> {
    // A new one goes here; `waypost crds` prints it and the chart brings it then.
    vec![policies(), pushes::pushes(), registries::registries()]
}

/// The name of a definition, such as `policies.waypost.dev`.
pub fn name(definition: &Value) -> &str {
    definition["metadata"]["name"].as_str().unwrap_or_default()
}

/// `policies.waypost.dev`.
fn policies() -> Value {
    let mut spec = structural(&spec::schema::<PolicySpec>());
    check(
        &mut spec["properties"]["rules"]["items"],
        &[Check {
            rule: "has(self.rewrite) ? !has(self.keep) && !has(self.deny) : !has(self.keep) || !has(self.deny)",
            message: "a rule has one of rewrite, keep and deny",
            at: "",
        }],
    );
    check(
        &mut spec["properties"]["rules"]["items"]["properties"]["rewrite"],
        &[Check {
            rule: "has(self.prefix) ? !has(self.to) && !has(self.latestPush) : has(self.to) != has(self.latestPush)",
            message: "rewrite has exactly one of prefix, to and latestPush",
            at: "",
        }],
    );
    Definition {
        kind: "Policy",
        singular: "policy",
        plural: "policies",
        description: "A policy: a list of rules that say which registry images are pulled from. It decides like a file of policies, \
                      and its condition Ready says whether it does.",
        spec,
        status: json!({
            "rules": {"type": "integer", "description": "How many rules it has."},
        }),
        columns: json!([
            {"name": "Rules", "type": "integer", "jsonPath": ".status.rules", "description": "How many rules it has."},
            {"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status",
                "description": "Whether it decides as it is written."},
            {"name": "Reason", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].reason",
                "description": "Why not."},
            {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        ]),
        checks: &[],
    }
    .object()
}

/// What the definitions differ in. All are of the cluster, not of a namespace.
struct Definition {
    kind: &'static str,
    singular: &'static str,
    plural: &'static str,
    description: &'static str,
    /// A structural schema.
    spec: Value,
    /// The properties of `status` beside `observedGeneration` and `conditions`.
    status: Value,
    columns: Value,
    /// Of the object as a whole.
    checks: &'static [Check],
}

impl Definition {
    fn object(self) -> Value {
        let mut status = json!({
            "observedGeneration": {"type": "integer", "format": "int64",
                "description": "The metadata.generation that all of this is about."},
            "conditions": conditions(),
        });
        if let (Value::Object(all), Value::Object(more)) = (&mut status, self.status) {
            all.extend(more);
        }
        let mut object = json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{}.{GROUP}", self.plural)},
            "spec": {
                "group": GROUP,
                "scope": "Cluster",
                "names": {"kind": self.kind, "listKind": format!("{}List", self.kind), "singular": self.singular,
                    "plural": self.plural, "categories": ["waypost"]},
                "versions": [{
                    "name": VERSION,
                    "served": true,
                    "storage": true,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": self.columns,
                    "schema": {"openAPIV3Schema": {
                        "type": "object",
                        "description": self.description,
                        "required": ["spec"],
                        "properties": {
                            "apiVersion": {"type": "string", "description": format!("Always `{GROUP}/{VERSION}`.")},
                            "kind": {"type": "string", "description": format!("Always `{}`.", self.kind)},
                            "metadata": {"type": "object"},
                            "spec": self.spec,
                            "status": {"type": "object", "description": "What Waypost made of it.", "properties": status},
                        },
                    }},
                }],
            },
        });
        if !self.checks.is_empty() {
            check(
                &mut object["spec"]["versions"][0]["schema"]["openAPIV3Schema"],
                self.checks,
            );
        }
        object
    }
}

/// `metav1.Condition`.
fn conditions() -> Value {
    json!({
        "type": "array",
        "description": "What is the case with it.",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status", "reason", "message", "lastTransitionTime"],
            "properties": {
                "type": {"type": "string", "description": "What is said to be so."},
                "status": {"type": "string", "enum": ["True", "False", "Unknown"], "description": "Whether it is so."},
                "reason": {"type": "string", "description": "Why, in a word."},
                "message": {"type": "string", "description": "Why, in sentences."},
                "observedGeneration": {"type": "integer", "format": "int64",
                    "description": "The metadata.generation that this is about."},
                "lastTransitionTime": {"type": "string", "format": "date-time", "description": "When `status` last changed."},
            },
        },
    })
}

/// A check of the API server's own, in its language (CEL). A cheap one, for it has a budget.
struct Check {
    /// What holds where nothing is wrong. A key that is null is absent.
    rule: &'static str,
    /// What is wrong, and what to do about it.
    message: &'static str,
    /// The key below that is to blame, such as `.url`; nothing where the place itself is.
    at: &'static str,
}

fn check(schema: &mut Value, checks: &[Check]) {
    let checks = checks.iter().map(|Check { rule, message, at }| {
        let mut check = json!({"rule": rule, "message": message});
        if !at.is_empty() {
            check["fieldPath"] = (*at).into();
        }
        check
    });
    schema["x-kubernetes-validations"] = checks.collect();
}

/// The API group of Waypost's objects.
pub const GROUP: &str = "waypost.dev";

/// Its version.
pub const VERSION: &str = "v1alpha1";

#[cfg(test)]
mod tests {
    use super::*;

    /// What the API server asks of a schema (`x-kubernetes-preserve-unknown-fields` and all), at each of its places.
    #[test]
    fn the_schemas_are_structural_and_each_of_their_places_is_described() {
        fn visit(schema: &Value, path: &str) {
            let Value::Object(map) = schema else {
                panic!("{path} is {schema}")
            };
            let free = map.get("x-kubernetes-preserve-unknown-fields").is_some();
            assert!(map.contains_key("type") != free, "{path} has no type: {schema}");
            for key in [
                "$ref", "$defs", "oneOf", "anyOf", "default", "const", "title", "$schema",
            ] {
                assert!(!map.contains_key(key), "{path} has {key}");
            }
            assert_ne!(map.get("additionalProperties"), Some(&Value::Bool(false)), "{path}");
            if path != ".metadata" && !path.ends_with("[]") && !path.ends_with("{}") {
                assert!(map["description"].is_string(), "{path} is not described");
            }
            for (key, property) in map.get("properties").and_then(Value::as_object).into_iter().flatten() {
                visit(property, &format!("{path}.{key}"));
            }
            if let Some(items) = map.get("items") {
                visit(items, &format!("{path}[]"));
            }
            if let Some(values) = map.get("additionalProperties") {
                visit(values, &format!("{path}{{}}"));
            }
        }
        for definition in all() {
            assert_eq!(
                name(&definition),
                format!("{}.{GROUP}", definition["spec"]["names"]["plural"].as_str().unwrap())
            );
            visit(&definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"], "");
        }
    }

    #[test]
    fn what_a_value_may_be_is_told_with_what_each_means() {
        let policies = policies();
        let rule = &policies["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["rules"]
            ["items"]["properties"];
        assert_eq!(
            rule["mode"],
            json!({
                "type": "string",
                "enum": ["enforce", "warn", "audit"],
                "description": "Whether the rule decides, or only says what it would do. `enforce`: it decides. `warn`: it tells the \
                                user what it would do, and evaluation goes on. `audit`: it records what it would do, and evaluation \
                                goes on.",
            })
        );
        assert_eq!(rule["keep"]["type"], "object");
        assert_eq!(rule["match"]["properties"]["images"]["minItems"], 1);
        assert_eq!(
            rule["match"]["properties"]["images"]["items"]["x-kubernetes-preserve-unknown-fields"],
            true
        );
    }
}
