//! What is known of pushes.

use std::collections::BTreeMap;

use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::register;
use crate::pushes::State;

/// What is told of pushes, and how many there are. Clones share it. The label `registry` is a registry's id, which an admin gave it.
#[derive(Clone)]
pub struct PushMetrics {
    told: IntCounterVec,
    records: IntGaugeVec,
    queue: IntGauge,
    sent: IntCounterVec,
}

/// What became of the questions whether targets are there. Clones share it. The label is a registry's id, which an admin gave it.
#[derive(Clone)]
pub struct VerificationMetrics {
    verifications: IntCounterVec,
}

/// How many Pods run something else than the latest push. Clones share it.
#[derive(Clone)]
pub struct OutdatedMetrics {
    pods: IntGaugeVec,
}

/// What was found of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verification {
    /// It is there, as it was pushed.
    Present,
    /// Something else is there: somebody has pushed without a word.
    Moved,
    /// It is not there any more.
    Gone,
    /// The registry does not take the credential for it.
    Rejected,
    /// The registry is asked too much.
    Limited,
    /// It cannot be told.
    Failed,
}

impl PushMetrics {
    pub(super) fn register(registry: &Registry) -> Self {
        let told = Opts::new(
            "waypost_pushes_total",
            "Pushes that somebody told of, by REST or as a registry, or that Waypost copies, by their state. What is told twice counts twice.",
        );
        let records = Opts::new(
            "waypost_push_records",
            "Images that are in a registry, as far as push records say.",
        );
        let queue = IntGauge::new(
            "waypost_push_queue",
            "Copies that were asked for and have not ended; 0 where this process makes none.",
        );
        let sent = Opts::new(
            "waypost_push_bytes_total",
            "Bytes of images that were sent to a registry, some of them perhaps more than once.",
        );
        Self {
            told: register(registry, IntCounterVec::new(told, &["registry", "state"])),
            records: register(registry, IntGaugeVec::new(records, &["registry"])),
            queue: register(registry, queue),
            sent: register(registry, IntCounterVec::new(sent, &["registry"])),
        }
    }

    /// Somebody has told of a push.
    pub fn told(&self, id: &str, state: State) {
        self.told.with_label_values(&[id, state.as_str()]).inc();
    }

    /// So many images are in a registry.
    pub fn set_records(&self, id: &str, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.records.with_label_values(&[id]).set(count);
    }

    /// So many copies have not ended.
    pub fn set_queue(&self, count: usize) {
        self.queue.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// So many bytes more were sent to a registry.
    pub fn sent(&self, id: &str, bytes: u64) {
        if bytes > 0 {
            self.sent.with_label_values(&[id]).inc_by(bytes);
        }
    }

    /// The registry is no longer there.
    pub fn remove(&self, id: &str) {
        // Those that were never counted are gone as well.
        let _ = self.sent.remove_label_values(&[id]);
        let _ = self.records.remove_label_values(&[id]);
        for state in State::ALL {
            let _ = self.told.remove_label_values(&[id, state.as_str()]);
        }
    }
}

impl VerificationMetrics {
    pub(super) fn register(registry: &Registry) -> Self {
        let verifications = Opts::new(
            "waypost_push_verifications_total",
            "Targets of latest pushes that a registry was asked for, by what was found.",
        );
        Self {
            verifications: register(registry, IntCounterVec::new(verifications, &["registry", "result"])),
        }
    }

    /// A target was asked for.
    pub fn found(&self, id: &str, what: Verification) {
        self.verifications.with_label_values(&[id, what.as_str()]).inc();
    }

    /// The registry is no longer there, or nobody asks it.
    pub fn remove(&self, id: &str) {
        for what in Verification::ALL {
            // One that was never counted is gone as well.
            let _ = self.verifications.remove_label_values(&[id, what.as_str()]);
        }
    }
}

impl OutdatedMetrics {
    /// Once for each registry.
    pub(super) fn register(registry: &Registry) -> Self {
        let pods = Opts::new(
            "waypost_outdated_pods",
            "Running Pods with a container whose image is not its latest push, by the registry of that push.",
        );
        Self {
            pods: register(registry, IntGaugeVec::new(pods, &["registry"])),
        }
    }

    /// So many there are by registry, of these registries; others have none.
    pub fn set(&self, registries: &[&str], pods: &BTreeMap<Box<str>, usize>) {
        self.pods.reset();
        for id in registries {
            let count = pods.get(*id).copied().unwrap_or(0);
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.pods.with_label_values(&[id]).set(count);
        }
    }

    /// Nobody counts any more.
    pub fn clear(&self) {
        self.pods.reset();
    }
}

impl Verification {
    /// Every one, in the order of declaration.
    pub const ALL: [Self; 6] = [
        Self::Present,
        Self::Moved,
        Self::Gone,
        Self::Rejected,
        Self::Limited,
        Self::Failed,
    ];

    /// The label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::Moved => "moved",
            Self::Gone => "gone",
            Self::Rejected => "rejected",
            Self::Limited => "limited",
            Self::Failed => "failed",
        }
    }
}
