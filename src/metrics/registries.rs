//! What is known of registries.

use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};

use super::register;

/// Which registries are up, and what they notify of. Clones share it. The label is a registry's id, which an admin gave it.
#[derive(Clone)]
pub struct RegistryMetrics {
    up: IntGaugeVec,
    notifications: IntCounterVec,
}

impl RegistryMetrics {
    pub(super) fn register(registry: &Registry) -> Self {
        let up = Opts::new(
            "waypost_registry_up",
            "1 for a registry that answers, 0 for one that is down, as decisions take it.",
        );
        let notifications = Opts::new(
            "waypost_notifications_total",
            "Events that registries told of, and requests of theirs that were not taken, by what became of them.",
        );
        Self {
            up: register(registry, IntGaugeVec::new(up, &["registry"])),
            notifications: register(registry, IntCounterVec::new(notifications, &["registry", "result"])),
        }
    }

    /// So many events of a registry, or so many requests, had this result, which is of a short list.
    pub fn notified(&self, id: &str, result: &'static str, count: usize) {
        self.notifications.with_label_values(&[id, result]).inc_by(count as u64);
    }

    /// A registry is up or down.
    pub fn set_up(&self, id: &str, up: bool) {
        self.up.with_label_values(&[id]).set(up.into());
    }

    /// It is no longer there, or nobody asks it.
    pub fn remove(&self, id: &str) {
        // One that was never there is gone as well.
        let _ = self.up.remove_label_values(&[id]);
    }
}
