//! What is counted, in Prometheus' terms. Labels come from closed lists or from the configuration, never from a Pod.
//!
//! Recording takes no lock that could wait: the counters of reviews are resolved when the struct is made, those of
//! images when a thread first needs them. Only a scrape and a first use touch the locks inside of the registry.

mod common;
mod controller;
mod credentials;
mod first_uses;
mod images;
mod process;
mod pull_secrets;
mod pushes;
mod registries;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

pub use common::Common;
pub use controller::ControllerMetrics;
pub use credentials::{CredentialMetrics, Renewal};
pub use first_uses::{FirstUseMetrics, FirstUseResult};
pub use images::{ImageKey, ImageLabels};
pub use pull_secrets::{PullSecretMetrics, PullSecretState, PullSecretWrite};
pub use pushes::{OutdatedMetrics, PushMetrics, Verification, VerificationMetrics};
pub use registries::RegistryMetrics;

use crate::admission::ReviewOutcome as Outcome;
use crate::review::Operation;

/// Every metric of the process, in a registry of its own.
pub struct Metrics {
    common: Common,
    reviews: [[IntCounter; Outcome::ALL.len()]; Operation::ALL.len()],
    review_duration: Histogram,
    images: IntCounterVec,
    policy_generation: IntGauge,
    policy_reload_failures: IntCounter,
    certificate_expiry: IntGauge,
    events: [IntCounter; EventResult::ALL.len()],
    first_uses: FirstUseMetrics,
    /// Tells this instance's counters from another's in the threads' caches.
    id: u64,
}

impl Metrics {
    /// All metrics at zero.
    pub fn new() -> Self {
        let registry = Registry::new();
        let reviews = register(
            &registry,
            IntCounterVec::new(
                Opts::new("waypost_reviews_total", "Reviews answered, by operation and outcome."),
                &["operation", "outcome"],
            ),
        );
        let events = register(
            &registry,
            IntCounterVec::new(
                Opts::new(
                    "waypost_events_total",
                    "Events for the owners of Pods that were refused or warned of, by what became of them.",
                ),
                &["result"],
            ),
        );
        Self {
            reviews: Operation::ALL.map(|operation| {
                Outcome::ALL.map(|outcome| reviews.with_label_values(&[operation.as_str(), outcome.as_str()]))
            }),
            events: EventResult::ALL.map(|result| events.with_label_values(&[result.as_str()])),
            review_duration: register(
                &registry,
                Histogram::with_opts(
                    HistogramOpts::new(
                        "waypost_review_duration_seconds",
                        "Time from a review's bytes to its response's, without the network.",
                    )
                    .buckets(REVIEW_BUCKETS.to_vec()),
                ),
            ),
            images: register(
                &registry,
                IntCounterVec::new(
                    Opts::new(
                        "waypost_images_total",
                        "Images decided on, by deciding rule, registry before and after, and outcome.",
                    ),
                    &["rule", "source", "target", "outcome"],
                ),
            ),
            policy_generation: register(
                &registry,
                IntGauge::new(
                    "waypost_policy_generation",
                    "The policy set in force; goes up by one with each that compiles.",
                ),
            ),
            policy_reload_failures: register(
                &registry,
                IntCounter::new(
                    "waypost_policy_reload_failures_total",
                    "Changed policy sets that did not compile, the last good one being kept.",
                ),
            ),
            certificate_expiry: register(
                &registry,
                IntGauge::new(
                    "waypost_certificate_expiry_timestamp_seconds",
                    "When the serving certificate expires, in seconds after the epoch.",
                ),
            ),
            first_uses: FirstUseMetrics::register(&registry),
            common: Common::register(registry),
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Counts a review and how long it took.
    pub fn review(&self, operation: Operation, outcome: Outcome, took: Duration) {
        self.reviews[operation as usize][outcome as usize].inc();
        self.review_duration.observe(took.as_secs_f64());
    }

    /// Counts a request that never became a review.
    pub fn rejected(&self) {
        self.reviews[Operation::Unknown as usize][Outcome::BadRequest as usize].inc();
    }

    /// Counts an image. `labels` is called only at this thread's first use of the key in its generation.
    pub fn image<'a>(&self, key: ImageKey, labels: impl FnOnce() -> ImageLabels<'a>) {
        images::count(self.id, &self.images, key, labels);
    }

    /// Another policy set is in force.
    pub fn set_policy_generation(&self, generation: u64) {
        self.policy_generation
            .set(i64::try_from(generation).unwrap_or(i64::MAX));
    }

    /// A changed policy set did not compile.
    pub fn policy_reload_failed(&self) {
        self.policy_reload_failures.inc();
    }

    /// Another certificate is being served.
    pub fn set_certificate_expiry(&self, not_after: Timestamp) {
        self.certificate_expiry.set(not_after.as_second());
    }

    /// Counts an Event.
    pub fn event(&self, result: EventResult) {
        self.events[result as usize].inc();
    }

    /// Those of images that rules replicate.
    pub fn first_uses(&self) -> FirstUseMetrics {
        self.first_uses.clone()
    }

    /// What it has in common with other kinds of process.
    pub fn common(&self) -> &Common {
        &self.common
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// What became of an Event. The list is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventResult {
    /// The API server has it.
    Created,
    /// The owner was told already, or enough.
    Repeated,
    /// There were too many at once.
    Dropped,
    /// The API server did not take it.
    Failed,
}

impl EventResult {
    const ALL: [Self; 4] = [Self::Created, Self::Repeated, Self::Dropped, Self::Failed];

    fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Repeated => "repeated",
            Self::Dropped => "dropped",
            Self::Failed => "failed",
        }
    }
}

/// Registers a metric that this file names, once, in a registry that is new.
fn register<M: prometheus::core::Collector + Clone + 'static>(registry: &Registry, metric: prometheus::Result<M>) -> M {
    let metric = metric.expect("the names in this module are valid");
    registry
        .register(Box::new(metric.clone()))
        .expect("the names in this module differ");
    metric
}

/// Seconds. A review takes some 20 µs; the API server gives up after 2 s by the chart's default.
const REVIEW_BUCKETS: [f64; 17] = [
    0.000_01, 0.000_02, 0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.0,
];

static NEXT_ID: AtomicU64 = AtomicU64::new(0);

#[cfg(test)]
mod tests;
