//! A Waypost that a cluster asks.

use std::net::SocketAddr;
use std::ops::Deref;
use std::path::Path;

use serde_json::{Value, json};

use super::super::eventually;
use super::super::program::Directory;
use super::super::serving::Serving;
use super::case::{CASE, Case, pod};

/// A `waypost serve` with its registration, by `waypost webhook-config`; both end with it.
pub(crate) struct Webhook<'a> {
    pub(crate) serving: Serving,
    registration: Registration<'a>,
}

/// A MutatingWebhookConfiguration for the namespaces of one test.
pub(crate) struct Registration<'a> {
    case: &'a Case<'a>,
    name: String,
}

impl<'a> Webhook<'a> {
    /// Starts `waypost serve` with a policy and a configuration, registers it with more arguments to `webhook-config`, and waits
    /// until the API server asks it.
    pub(crate) fn start(case: &'a Case<'a>, policy: &str, configuration: &str, register: &[&str]) -> Self {
        let directory = Directory::new();
        directory.write("policies.d/test.yaml", policy);
        directory.write("waypost.yaml", configuration);
        let kubeconfig = case.cluster.kubeconfig().to_str().unwrap();
        let serving = Serving::start(directory, &["--kubeconfig", kubeconfig]);
        let registration = Registration::of(case, &serving, register);
        let webhook = Self { serving, registration };
        webhook.registration.await_call(|| webhook.reviews());
        webhook
    }

    /// How many reviews it has answered.
    pub(crate) fn reviews(&self) -> f64 {
        let metrics = self.serving.admin("/metrics").text();
        let counts = metrics
            .lines()
            .filter(|line| line.starts_with("waypost_reviews_total{"));
        counts
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum()
    }

    /// Ends the process, and leaves its registration.
    pub(crate) fn killed(self) -> Registration<'a> {
        let Self { serving, registration } = self;
        drop(serving);
        registration
    }
}

impl Deref for Webhook<'_> {
    type Target = Serving;

    fn deref(&self) -> &Serving {
        &self.serving
    }
}

impl<'a> Registration<'a> {
    /// Registers what serves, with more arguments to `webhook-config`.
    pub(crate) fn of(case: &'a Case<'a>, serving: &Serving, args: &[&str]) -> Self {
        let url = format!("https://{}/mutate", serving.webhook);
        let printed = serving
            .directory()
            .run([&["webhook-config", "--url", &url], args].concat())
            .exits(0);
        // As the user does it, `kubectl` reads it; it is changed as JSON.
        let object = case
            .kubectl_with(
                &["create", "--dry-run=client", "--output=json", "--filename=-"],
                printed.out(),
            )
            .exits(0)
            .json();
        Self::create(case, object)
    }

    /// Registers another webhook of the test's, under this name, which sorts before or after Waypost's.
    pub(crate) fn other(case: &'a Case<'a>, name: &str, address: SocketAddr, authority: &Path) -> Self {
        use base64::Engine;
        let authority = base64::engine::general_purpose::STANDARD.encode(std::fs::read(authority).unwrap());
        let webhook = json!({
            "name": "other.waypost.test",
            "clientConfig": {"url": format!("https://{address}/mutate"), "caBundle": authority},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
            "sideEffects": "None", "admissionReviewVersions": ["v1"], "failurePolicy": "Fail", "reinvocationPolicy": "IfNeeded",
        });
        let object = json!({"metadata": {"name": name}, "webhooks": [webhook]});
        Self::create(case, object)
    }

    fn create(case: &'a Case<'a>, mut object: Value) -> Self {
        let name = format!("{}-{}", object["metadata"]["name"].as_str().unwrap(), case.namespace);
        object["metadata"]["name"] = json!(name);
        object["webhooks"][0]["namespaceSelector"]["matchLabels"] = json!({CASE: case.namespace});
        case.admin.post(CONFIGURATIONS, &object).unwrap();
        Self { case, name }
    }

    /// Waits until the API server, which learns of registrations by a watch, has asked.
    pub(crate) fn await_call(&self, calls: impl Fn() -> f64) {
        let before = calls();
        eventually("a call of the webhook", || {
            let _ = self.case.dry_run(&pod("is-it-asked", "registry.invalid/none:1"));
            (calls() > before).then_some(())
        });
    }
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        let _ = self.case.admin.delete(&format!("{CONFIGURATIONS}/{}", self.name));
    }
}

const CONFIGURATIONS: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
