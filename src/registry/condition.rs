//! What was found out about a registry.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What was found out about a registry, in the form of a Kubernetes condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What it is about.
    #[serde(rename = "type")]
    pub kind: ConditionKind,
    /// Whether it is so.
    pub status: Status,
    /// Why, in a word for programs: `CamelCase`.
    pub reason: String,
    /// Why, in a sentence for people. Without credentials.
    pub message: String,
    /// Since when the status is what it is.
    pub last_transition_time: Timestamp,
}

/// What a condition is about. The list is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ConditionKind {
    /// Whether it answers: where it does not, rules have no target there.
    Reachable,
    /// Whether it takes the pull credential, or needs none.
    Authenticated,
    /// Whether the credential that reaches namespaces can push: better it could not.
    PullCredentialCanPush,
    /// Whether namespaces get a password that does not expire.
    LongLived,
    /// Whether there is a token that works, where tokens are issued.
    TokenIssued,
}

/// Whether something is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Status {
    /// It is.
    True,
    /// It is not.
    False,
    /// Nobody knows, or not yet.
    Unknown,
}

impl Condition {
    /// Puts those that were found among those that there are, in the order of their kinds: of each kind there is one.
    pub fn merge(present: &mut Vec<Self>, found: Vec<Self>) {
        for condition in found {
            match present.binary_search_by_key(&condition.kind, |present| present.kind) {
                Ok(at) => present[at] = condition,
                Err(at) => present.insert(at, condition),
            }
        }
    }

    /// Puts what was found at `now` among the conditions, in the order of their kinds. The time of a status that stays is kept. Whether
    /// anything changed.
    pub fn put(
        conditions: &mut Vec<Self>,
        now: Timestamp,
        kind: ConditionKind,
        status: Status,
        reason: &str,
        message: String,
    ) -> bool {
        let new = |last_transition_time| Self {
            kind,
            status,
            reason: reason.to_owned(),
            message,
            last_transition_time,
        };
        match conditions.binary_search_by_key(&kind, |condition| condition.kind) {
            Ok(at) => {
                let present = &mut conditions[at];
                let since = if present.status == status {
                    present.last_transition_time
                } else {
                    now
                };
                let new = new(since);
                let changed = *present != new;
                *present = new;
                changed
            }
            Err(at) => {
                conditions.insert(at, new(now));
                true
            }
        }
    }
}
