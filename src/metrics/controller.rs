//! What the controller counts.

use prometheus::{IntCounterVec, IntGauge, Opts, Registry};

use super::{common::Common, register};

/// Every metric of the controller, in a registry of its own: it answers no reviews.
pub struct ControllerMetrics {
    common: Common,
    leader: IntGauge,
    made: IntCounterVec,
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
            common: Common::register(registry),
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

    /// What it has in common with other kinds of process.
    pub fn common(&self) -> &Common {
        &self.common
    }
}

impl Default for ControllerMetrics {
    fn default() -> Self {
        Self::new()
    }
}

const AUTHORITY: &str = "authority";
const LEAF: &str = "leaf";
