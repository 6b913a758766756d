//! What a task found out about its registry, until the store has it.

use jiff::Timestamp;

use crate::{
    registry::{Condition, ConditionKind, Status},
    store::{Store, StoreError},
};

/// The conditions of the kinds that one task tells of; others are told by others.
pub(super) struct RegistryConditions {
    /// As messages call them.
    what: &'static str,
    found: Vec<Condition>,
    /// Whether they are not those that are kept.
    unsaid: bool,
    /// Whether somebody was told that they cannot be kept.
    failed: bool,
}

impl RegistryConditions {
    /// Those of these kinds that are kept.
    pub(super) fn of(kept: &[Condition], kinds: &[ConditionKind], what: &'static str) -> Self {
        let mine = kept.iter().filter(|condition| kinds.contains(&condition.kind));
        Self {
            what,
            found: mine.cloned().collect(),
            unsaid: false,
            failed: false,
        }
    }

    /// This was found.
    pub(super) fn put(&mut self, at: Timestamp, kind: ConditionKind, status: Status, reason: &str, message: String) {
        self.unsaid |= Condition::put(&mut self.found, at, kind, status, reason, message);
    }

    /// What is known of one kind.
    pub(super) fn status(&self, kind: ConditionKind) -> Option<Status> {
        let found = self.found.iter().find(|condition| condition.kind == kind);
        found.map(|condition| condition.status)
    }

    /// Tells the store, if there is anything to tell; what it does not take is told again with the next call.
    pub(super) async fn tell(&mut self, store: &dyn Store, registry: &str) {
        if !self.unsaid {
            return;
        }
        match store.report(registry, self.found.clone()).await {
            // It was removed, which the list says in a moment.
            Ok(()) | Err(StoreError::NotFound(_)) => {
                self.unsaid = false;
                self.failed = false;
            }
            Err(error) => {
                if !self.failed {
                    let what = self.what;
                    tracing::warn!(registry, "{what} the registry {registry} cannot be kept: {error}");
                }
                self.failed = true;
            }
        }
    }
}
