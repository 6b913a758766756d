//! Waypost asked by a real API server. Tests on a real node, which need root, are in [`on_node`].

mod authorization;
mod changes;
mod controller;
mod messages;
mod namespaces;
mod on_node;
mod owners;
mod policies;
mod pull_secrets;
mod registries;
mod rendered;
mod webhooks;
mod workloads;

use serde_json::{Value, json};

use crate::support::cluster::case::Case;
use crate::support::cluster::{Cluster, Size};

/// Runs a test against an API server.
fn on_control_plane(name: &str, test: impl FnOnce(&Case<'_>) + Send) {
    Cluster::start(Size::ControlPlane).test(name, test);
}

/// A policy with these rules, in YAML's flow style, separated by line ends.
fn policy(rules: &str) -> String {
    let rules: String = rules.lines().map(|rule| format!("    - {}\n", rule.trim())).collect();
    format!("apiVersion: waypost.dev/v1alpha1\nkind: Policy\nmetadata: {{name: test}}\nspec:\n  rules:\n{rules}")
}

/// A policy that pulls everything of Docker Hub through a registry.
fn through(registry: &str) -> String {
    policy(&format!(
        "{{name: hub, match: {{images: [docker.io/**]}}, rewrite: {{prefix: {registry}}}}}"
    ))
}

/// The Pod template of a workload.
fn template(image: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": image}]},
    })
}
