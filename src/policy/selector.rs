//! Kubernetes label selectors, as `metav1.LabelSelector` has them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A label selector: all of `matchLabels` and all of `matchExpressions` must hold. An empty one selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct LabelSelector {
    /// Labels that must be there with exactly these values.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub match_labels: std::collections::BTreeMap<String, String>,
    /// Further requirements.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<Requirement>,
}

/// One requirement of a selector.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// How the label's value relates to `values`.
    pub operator: Operator,
    /// At least one for In and NotIn, none for Exists and DoesNotExist.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

/// How a label's value relates to the values of a requirement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Operator {
    /// The label is there with one of the values.
    In,
    /// The label is absent, or has none of the values.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is absent.
    DoesNotExist,
}

/// Something that has labels.
pub trait Labels {
    /// The value of the label with this key.
    fn value(&self, key: &str) -> Option<&str>;
}

impl Labels for std::collections::BTreeMap<String, String> {
    fn value(&self, key: &str) -> Option<&str> {
        self.get(key).map(String::as_str)
    }
}

impl LabelSelector {
    /// Whether these labels are selected.
    pub fn selects(&self, labels: &dyn Labels) -> bool {
        self.match_labels
            .iter()
            .all(|(key, value)| labels.value(key) == Some(value))
            && self
                .match_expressions
                .iter()
                .all(|requirement| requirement.holds(labels))
    }

    /// What is wrong with it, by the rules of the API server: where (a path below the selector), what, and what to do.
    pub(crate) fn problems(&self) -> Vec<(Vec<String>, String, String)> {
        let mut problems = Vec::new();
        let mut check = |path: Vec<String>, what: &str, text: &str, wrong: Option<&'static str>| {
            if let Some(wrong) = wrong {
                problems.push((
                    path,
                    format!("the label {what} `{}` is not valid: {wrong}", text.escape_debug()),
                    LABEL_HINT.to_owned(),
                ));
            }
        };
        for (key, value) in &self.match_labels {
            let path = vec!["matchLabels".to_owned(), key.clone()];
            check(path.clone(), "key", key, key_problem(key));
            check(path, "value", value, value_problem(value));
        }
        for (index, requirement) in self.match_expressions.iter().enumerate() {
            let path = |rest: &str| vec!["matchExpressions".to_owned(), index.to_string(), rest.to_owned()];
            check(path("key"), "key", &requirement.key, key_problem(&requirement.key));
            for value in &requirement.values {
                check(path("values"), "value", value, value_problem(value));
            }
        }
        for (index, requirement) in self.match_expressions.iter().enumerate() {
            let path = vec!["matchExpressions".to_owned(), index.to_string()];
            match requirement.operator {
                Operator::In | Operator::NotIn if requirement.values.is_empty() => problems.push((
                    path,
                    format!("the operator {:?} needs values", requirement.operator),
                    "give `values: [..]`, or use Exists or DoesNotExist".to_owned(),
                )),
                Operator::Exists | Operator::DoesNotExist if !requirement.values.is_empty() => problems.push((
                    path,
                    format!("the operator {:?} takes no values", requirement.operator),
                    "take `values` out, or use In or NotIn".to_owned(),
                )),
                _ => {}
            }
        }
        problems
    }
}

impl Requirement {
    fn holds(&self, labels: &dyn Labels) -> bool {
        let value = labels.value(&self.key);
        let among = || value.is_some_and(|value| self.values.iter().any(|wanted| wanted == value));
        match self.operator {
            Operator::In => among(),
            Operator::NotIn => !among(),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

const LABEL_HINT: &str =
    "see https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set";

/// `[prefix/]name`: a DNS subdomain, and at most 63 letters, digits, `-`, `_` and `.` between alphanumerics.
fn key_problem(key: &str) -> Option<&'static str> {
    let name = match key.split_once('/') {
        Some((prefix, name)) => {
            let label = |part: &str| {
                let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
                edge(part.chars().next())
                    && edge(part.chars().next_back())
                    && part
                        .chars()
                        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            };
            if prefix.len() > 253 || !prefix.split('.').all(label) {
                return Some("what stands before the / is no DNS name");
            }
            name
        }
        None => key,
    };
    if name.is_empty() {
        Some("the name is empty")
    } else {
        value_problem(name)
    }
}

fn value_problem(value: &str) -> Option<&'static str> {
    let bytes = value.as_bytes();
    if bytes.len() > 63 {
        return Some("it has more than 63 characters");
    }
    let edges = [bytes.first(), bytes.last()]
        .into_iter()
        .flatten()
        .all(u8::is_ascii_alphanumeric);
    let inner = bytes
        .iter()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte));
    (!(edges && inner)).then_some("it may have letters, digits, - _ and . only, with a letter or digit at each end")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn selector(json: &str) -> LabelSelector {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn requirements_hold_as_in_kubernetes() {
        let labels: BTreeMap<String, String> = [("tier", "web"), ("empty", "")]
            .map(|(k, v)| (k.into(), v.into()))
            .into();
        for (json, expected) in [
            (r#"{}"#, true),
            (r#"{"matchLabels":{"tier":"web"}}"#, true),
            (r#"{"matchLabels":{"tier":"db"}}"#, false),
            (r#"{"matchLabels":{"empty":""}}"#, true),
            (r#"{"matchLabels":{"absent":""}}"#, false),
            (
                r#"{"matchExpressions":[{"key":"tier","operator":"In","values":["db","web"]}]}"#,
                true,
            ),
            (
                r#"{"matchExpressions":[{"key":"absent","operator":"In","values":["db"]}]}"#,
                false,
            ),
            (
                r#"{"matchExpressions":[{"key":"absent","operator":"NotIn","values":["db"]}]}"#,
                true,
            ),
            (
                r#"{"matchExpressions":[{"key":"tier","operator":"NotIn","values":["web"]}]}"#,
                false,
            ),
            (r#"{"matchExpressions":[{"key":"tier","operator":"Exists"}]}"#, true),
            (
                r#"{"matchExpressions":[{"key":"tier","operator":"DoesNotExist"}]}"#,
                false,
            ),
            (
                r#"{"matchLabels":{"tier":"web"},"matchExpressions":[{"key":"tier","operator":"DoesNotExist"}]}"#,
                false,
            ),
        ] {
            assert_eq!(selector(json).selects(&labels), expected, "{json}");
        }
    }

    #[test]
    fn what_the_api_server_would_refuse_is_a_problem() {
        for json in [
            r#"{"matchLabels":{"a b":"x"}}"#,
            r#"{"matchLabels":{"-a":"x"}}"#,
            r#"{"matchLabels":{"Not.DNS/a":"x"}}"#,
            r#"{"matchLabels":{"a/":"x"}}"#,
            r#"{"matchLabels":{"a":"no spaces"}}"#,
            r#"{"matchExpressions":[{"key":"a","operator":"In"}]}"#,
            r#"{"matchExpressions":[{"key":"a","operator":"Exists","values":["b"]}]}"#,
        ] {
            assert_eq!(selector(json).problems().len(), 1, "{json}");
        }
        assert!(
            selector(r#"{"matchLabels":{"waypost.dev/rewrite":"disabled","a":""}}"#)
                .problems()
                .is_empty()
        );
    }
}
