//! What every process counts that has the REST API and looks after registries, and how it is shown.

use prometheus::{IntCounterVec, Opts, Registry, TextEncoder};

use super::{
    CredentialMetrics, OutdatedMetrics, PullSecretMetrics, PushMetrics, RegistryMetrics, VerificationMetrics,
    process::Process, register,
};

/// The part that the metrics of all kinds of process have in common, with the registry that all of theirs are in.
pub struct Common {
    pub(super) registry: Registry,
    api_requests: IntCounterVec,
    registries: RegistryMetrics,
    credentials: CredentialMetrics,
    verifications: VerificationMetrics,
    outdated: OutdatedMetrics,
    pushes: PushMetrics,
    process: Process,
}

impl Common {
    /// Registers them.
    pub(super) fn register(registry: Registry) -> Self {
        let requests = Opts::new(
            "waypost_api_requests_total",
            "Requests to the REST API that were answered, by path as the OpenAPI document has it, method and status.",
        );
        let labels = ["route", "method", "status"];
        Self {
            api_requests: register(&registry, IntCounterVec::new(requests, &labels)),
            registries: RegistryMetrics::register(&registry),
            credentials: CredentialMetrics::register(&registry),
            verifications: VerificationMetrics::register(&registry),
            outdated: OutdatedMetrics::register(&registry),
            pushes: PushMetrics::register(&registry),
            process: Process::register(&registry),
            registry,
        }
    }

    /// A request to the REST API was answered. Each of the three comes from a short list.
    pub fn api_request(&self, route: &'static str, method: &'static str, status: u16) {
        let labels = [route, method, &status.to_string()];
        self.api_requests.with_label_values(&labels).inc();
    }

    /// The metrics of pull secrets, where this process keeps them: asked for once.
    pub fn pull_secrets(&self) -> PullSecretMetrics {
        PullSecretMetrics::register(&self.registry)
    }

    /// Those of registries.
    pub fn registries(&self) -> RegistryMetrics {
        self.registries.clone()
    }

    /// Those of tokens that somebody issues.
    pub fn credentials(&self) -> CredentialMetrics {
        self.credentials.clone()
    }

    /// Those of pushes.
    pub fn pushes(&self) -> PushMetrics {
        self.pushes.clone()
    }

    /// Those of the questions whether what was pushed is there.
    pub fn verifications(&self) -> VerificationMetrics {
        self.verifications.clone()
    }

    /// That of Pods that run something else than what was pushed last.
    pub fn outdated(&self) -> OutdatedMetrics {
        self.outdated.clone()
    }

    /// Everything in Prometheus' text format, version 0.0.4.
    ///
    /// # Errors
    ///
    /// When the encoder refuses a metric, which would be a mistake in this module.
    pub fn render(&self) -> prometheus::Result<String> {
        self.process.refresh();
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}
