//! What is known of pushes.

use prometheus::{IntCounterVec, Opts, Registry};

use super::register;

/// What became of the questions whether targets are there. Clones share it. The label is a registry's id, which an admin gave it.
#[derive(Clone)]
pub struct VerificationMetrics {
    verifications: IntCounterVec,
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
