//! What becomes of images that Pods use and rules replicate.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

use super::register;

/// Counts them by what became of them. Clones share it.
#[derive(Clone)]
pub struct FirstUseMetrics {
    results: [IntCounter; FirstUseResult::ALL.len()],
}

/// What became of an image that a Pod uses and a rule replicates. The list is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstUseResult {
    /// A copy was asked for.
    Asked,
    /// A copy goes on, or somebody else's push.
    Joined,
    /// It is there.
    Fresh,
    /// It could not be pushed a while ago, and is tried again later.
    Waiting,
    /// It was looked at a moment ago.
    Repeated,
    /// Too many copies wait: it is asked for when it is used again.
    Busy,
    /// Too many images came at once: likewise.
    Dropped,
    /// The store did not answer, or does not take it.
    Failed,
}

impl FirstUseMetrics {
    pub(super) fn register(registry: &Registry) -> Self {
        let results = Opts::new(
            "waypost_first_uses_total",
            "Images that Pods use and rules replicate, by what became of them. What was told of a few seconds ago is not counted.",
        );
        let results = register(registry, IntCounterVec::new(results, &["result"]));
        Self {
            results: FirstUseResult::ALL.map(|result| results.with_label_values(&[result.as_str()])),
        }
    }

    /// One was looked at, or was not.
    pub fn count(&self, result: FirstUseResult) {
        self.results[result as usize].inc();
    }

    #[cfg(test)]
    pub(crate) fn counted(&self, result: FirstUseResult) -> u64 {
        self.results[result as usize].get()
    }
}

impl FirstUseResult {
    /// Every one, in the order of declaration.
    pub const ALL: [Self; 8] = [
        Self::Asked,
        Self::Joined,
        Self::Fresh,
        Self::Waiting,
        Self::Repeated,
        Self::Busy,
        Self::Dropped,
        Self::Failed,
    ];

    /// The label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Joined => "joined",
            Self::Fresh => "fresh",
            Self::Waiting => "waiting",
            Self::Repeated => "repeated",
            Self::Busy => "busy",
            Self::Dropped => "dropped",
            Self::Failed => "failed",
        }
    }
}
