//! `Registry` objects in files.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Registry, RegistrySpec, id_problem};
use crate::{
    document::{self, Diagnostic, Node, Path, Problem, Segment, Severity, Source, check},
    policy::spec::{self, ApiVersion},
};

/// A registry, as a file declares it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RegistryDocument {
    /// Always `waypost.dev/v1alpha1`.
    pub api_version: ApiVersion,
    /// Always `Registry`.
    pub kind: RegistryKind,
    /// The registry's name: its id.
    pub metadata: RegistryMetadata,
    /// What it is.
    pub spec: RegistrySpec,
}

/// The kind of a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RegistryKind {
    /// The only one.
    Registry,
}

/// What identifies a registry.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RegistryMetadata {
    /// A DNS label: lower-case letters, digits and `-`. It is the registry's id.
    pub name: String,
    /// Labels of the object.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the object.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// Reads the registries of a file. Those with nothing wrong are among what is returned, whatever is wrong with others. Whose account an ECR
/// registry is of need not be known.
pub fn read(source: &Source) -> (Vec<RegistryDocument>, Vec<Diagnostic>) {
    let (nodes, problems) = document::parse(source);
    let shape = check::Shape::from_schema(&spec::schema::<RegistryDocument>());
    let mut documents = Vec::new();
    let mut diagnostics: Vec<_> = problems
        .iter()
        .map(|problem| document::locate(problem, source, nodes.first()))
        .collect();
    // What was reported is of any of them.
    let usable = if problems.iter().any(|problem| problem.severity == Severity::Error) {
        &[]
    } else {
        &nodes[..]
    };
    for node in usable.iter().filter(|node| !node.is_null()) {
        match read_one(&shape, node) {
            Ok(document) => documents.push(document),
            Err(problems) => {
                diagnostics.extend(
                    problems
                        .iter()
                        .map(|problem| document::locate(problem, source, Some(node))),
                );
            }
        }
    }
    (documents, diagnostics)
}

fn read_one(shape: &check::Shape, node: &Node) -> Result<RegistryDocument, Vec<Problem>> {
    let problems = shape.check(node);
    if problems.iter().any(|problem| problem.severity == Severity::Error) {
        return Err(problems);
    }
    let document: RegistryDocument = node.decode().map_err(|error| vec![Problem::from(error)])?;
    let mut problems = Vec::new();
    if let Some(why) = id_problem(&document.metadata.name) {
        let at = Path::root().key("metadata").key("name");
        let message = format!(
            "`{}` cannot be a registry's id: {why}",
            document.metadata.name.escape_debug()
        );
        problems.push(Problem::error("invalid-id", at, message));
    }
    if let Err(found) = Registry::check(&document.metadata.name, &document.spec) {
        problems.extend(found.into_iter().map(in_spec));
    }
    if problems.is_empty() {
        Ok(document)
    } else {
        Err(problems)
    }
}

/// With its path from the root of the object.
fn in_spec(problem: Problem) -> Problem {
    let path = std::iter::once(Segment::Key("spec".into())).chain(problem.path.segments().iter().cloned());
    Problem {
        path: path.collect(),
        ..problem
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_registry_of_a_file_is_for_itself_and_mistakes_have_their_lines() {
        let source = Source::new(
            "corp.yaml",
            "\
apiVersion: waypost.dev/v1alpha1
kind: Registry
metadata: {name: corp, labels: {a: b}}
spec:
  url: registry.example.com/team
  pullCredential: {secretName: corp}
---
apiVersion: waypost.dev/v1alpha1
kind: Registry
metadata: {name: Other}
spec:
  url: team
---
apiVersion: waypost.dev/v1alpha1
kind: Registry
metadata: {name: third}
spec: {urk: r.io}
---
apiVersion: waypost.dev/v1alpha1
kind: Registry
metadata: {name: own}
spec: {location: ecr, region: eu-central-1}
",
        );
        let (documents, diagnostics) = read(&source);
        assert_eq!(documents.len(), 2);
        assert_eq!(documents[1].metadata.name, "own");
        assert_eq!(documents[0].metadata.name, "corp");
        assert_eq!(documents[0].spec.pull_credential.as_ref().unwrap().secret_name, "corp");
        let text = document::render::text(&diagnostics, false);
        for expected in [
            "`Other` cannot be a registry's id",
            "corp.yaml:12:8",
            "did you mean `url`",
        ] {
            assert!(text.contains(expected), "{text}");
        }
        let (documents, diagnostics) = read(&Source::new("x.yaml", "kind: [\n---\nkind: Registry\n"));
        assert!(documents.is_empty() && !diagnostics.is_empty());
    }
}
