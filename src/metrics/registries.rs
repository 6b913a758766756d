//! What is known of registries.

use prometheus::{IntGaugeVec, Opts, Registry};

use super::register;

/// Which registries are up. Clones share it. The label is a registry's id, which an admin gave it.
#[derive(Clone)]
pub struct RegistryMetrics {
    up: IntGaugeVec,
}

impl RegistryMetrics {
    pub(super) fn register(registry: &Registry) -> Self {
        let up = Opts::new(
            "waypost_registry_up",
            "1 for a registry that answers, 0 for one that is down, as decisions take it.",
        );
        Self {
            up: register(registry, IntGaugeVec::new(up, &["registry"])),
        }
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
