//! What the controller counts.

use prometheus::{IntCounterVec, IntGauge, Opts, Registry, TextEncoder};

use super::{PullSecretMetrics, RegistryMetrics, api, process::Process, register};

/// Every metric of the controller, in a registry of its own: it answers no reviews.
pub struct ControllerMetrics {
    registry: Registry,
    leader: IntGauge,
    made: IntCounterVec,
    api_requests: IntCounterVec,
    registries: RegistryMetrics,
    process: Process,
}

impl ControllerMetrics {
    /// All metrics at zero.
    pub fn new() -> Self {
        let registry = Registry::new();
        let made = register(
            &registry,
            IntCounterVec::new(
                Opts::new(
                    "waypost_certificates_made_total",
                    "Certificates made, of the authority or the webhook's.",
                ),
                &["kind"],
            ),
        );
        for kind in [AUTHORITY, LEAF] {
            made.with_label_values(&[kind]).inc_by(0);
        }
        Self {
            leader: register(
                &registry,
                IntGauge::new(
                    "waypost_leader",
                    "1 for the controller that works, 0 for those that wait.",
                ),
            ),
            made,
            api_requests: api::requests(&registry),
            registries: RegistryMetrics::register(&registry),
            process: Process::register(&registry),
            registry,
        }
    }

    /// Whether this is the controller that works.
    pub fn set_leader(&self, leads: bool) {
        self.leader.set(leads.into());
    }

    /// An authority was made.
    pub fn authority_made(&self) {
        self.made.with_label_values(&[AUTHORITY]).inc();
    }

    /// A certificate for the webhook was made.
    pub fn leaf_made(&self) {
        self.made.with_label_values(&[LEAF]).inc();
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

    /// Everything in Prometheus' text format, version 0.0.4.
    ///
    /// # Errors
    ///
    /// When the encoder refuses a metric, which would be a mistake in this file.
    pub fn render(&self) -> prometheus::Result<String> {
        self.process.refresh();
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

impl Default for ControllerMetrics {
    fn default() -> Self {
        Self::new()
    }
}

const AUTHORITY: &str = "authority";
const LEAF: &str = "leaf";
