//! What is counted of managed pull secrets, in whichever process keeps them.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::register;

/// The metrics of pull secrets; clones share them.
#[derive(Clone)]
pub struct PullSecretMetrics {
    namespaces: [IntGauge; PullSecretState::ALL.len()],
    writes: [IntCounter; PullSecretWrite::ALL.len()],
}

/// How it stands with the pull secret of a namespace that ought to have one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PullSecretState {
    /// It is there, as it should be.
    Present,
    /// It is about to be written.
    Pending,
    /// Somebody else's Secret has the name.
    Foreign,
    /// It could not be written, which is tried again.
    Failing,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullSecretWrite {
    /// One was made.
    Created,
    /// One was given another content.
    Updated,
    /// One was deleted.
    Deleted,
    /// Somebody else was faster.
    Conflict,
    /// Nothing was written.
    Failed,
}

impl PullSecretMetrics {
    /// All of them at zero. Once for each registry.
    pub(super) fn register(registry: &Registry) -> Self {
        let namespaces = register(
            registry,
            IntGaugeVec::new(
                Opts::new(
                    "waypost_pull_secrets",
                    "Namespaces that ought to have a managed pull secret, by how it stands with it.",
                ),
                &["state"],
            ),
        );
        let writes = register(
            registry,
            IntCounterVec::new(
                Opts::new(
                    "waypost_pull_secret_writes_total",
                    "Writes of managed pull secrets, by what became of them.",
                ),
                &["result"],
            ),
        );
        Self {
            namespaces: PullSecretState::ALL.map(|state| namespaces.with_label_values(&[state.as_str()])),
            writes: PullSecretWrite::ALL.map(|result| writes.with_label_values(&[result.as_str()])),
        }
    }

    /// So many namespaces are in this state.
    pub fn set(&self, state: PullSecretState, namespaces: usize) {
        self.namespaces[state as usize].set(i64::try_from(namespaces).unwrap_or(i64::MAX));
    }

    /// Something was written, or not.
    pub fn wrote(&self, result: PullSecretWrite) {
        self.writes[result as usize].inc();
    }
}

impl PullSecretState {
    /// Every one, in the order of declaration.
    pub const ALL: [Self; 4] = [Self::Present, Self::Pending, Self::Foreign, Self::Failing];

    /// The label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::Pending => "pending",
            Self::Foreign => "foreign",
            Self::Failing => "failing",
        }
    }
}

impl PullSecretWrite {
    /// Every one, in the order of declaration.
    pub const ALL: [Self; 5] = [
        Self::Created,
        Self::Updated,
        Self::Deleted,
        Self::Conflict,
        Self::Failed,
    ];

    /// The label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Deleted => "deleted",
            Self::Conflict => "conflict",
            Self::Failed => "failed",
        }
    }
}
