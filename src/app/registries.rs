//! From the store to the snapshot: which registries there are, who may pull from them, and which are down.

use std::{convert::Infallible, sync::Arc};

use hashbrown::HashSet;

use super::Current;
use crate::{
    registry::{ConditionKind, Registry, Status},
    snapshot::{Registered, Registries},
    store::{self, Stored},
};

/// Keeps the registries of the snapshot as those of the store are, for as long as it is not dropped.
pub(super) async fn keep(
    mut registries: tokio::sync::watch::Receiver<store::Registries>,
    current: Arc<Current>,
) -> Infallible {
    let mut unusable = HashSet::new();
    loop {
        let stored = registries.borrow_and_update().clone();
        let found = snapshot(&stored, &mut unusable);
        // Taken apart here, and not in the review that happens to be the last to use it.
        drop(current.update(|snapshot| snapshot.registries = found));
        if registries.changed().await.is_err() {
            // Whoever fed it is gone with the process.
            std::future::pending().await
        }
    }
}

/// As decisions see them. `unusable` are those that were told to be.
fn snapshot(stored: &[Stored], unusable: &mut HashSet<String>) -> Registries {
    let usable = stored
        .iter()
        .filter_map(|stored| match Registry::parse(&stored.id, &stored.spec) {
            Ok(registry) => {
                unusable.remove(&stored.id);
                Some(Registered {
                    id: registry.id,
                    address: registry.address,
                    namespaces: registry.namespaces,
                    has_pull_credential: stored.pull.is_some(),
                    available: is_up(stored),
                })
            }
            Err(problems) => {
                if unusable.insert(stored.id.clone()) {
                    let first = problems.first();
                    let why = first.map(|problem| format!("{}: {}", problem.path, problem.message));
                    tracing::warn!(
                        registry = stored.id,
                        "the registry {} is left out, for it cannot be: {}",
                        stored.id,
                        why.unwrap_or_default()
                    );
                }
                None
            }
        });
    Registries::new(usable.collect())
}

/// Until it was found to be down.
fn is_up(stored: &Stored) -> bool {
    let mut conditions = stored.conditions.iter();
    !conditions.any(|condition| condition.kind == ConditionKind::Reachable && condition.status == Status::False)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        registry::{Condition, RegistrySpec},
        store::{DeclaredBy, Edition, Version},
    };

    fn stored(id: &str, url: &str, pull: bool, reachable: Option<Status>) -> Stored {
        let at = jiff::Timestamp::UNIX_EPOCH;
        let mut conditions = Vec::new();
        if let Some(status) = reachable {
            Condition::put(
                &mut conditions,
                at,
                ConditionKind::Reachable,
                status,
                "Probed",
                String::new(),
            );
        }
        Stored {
            id: id.to_owned(),
            spec: RegistrySpec {
                url: Some(url.to_owned()),
                ..RegistrySpec::default()
            },
            pull: pull.then(|| Edition("1".to_owned())),
            push: None,
            version: Version("1".to_owned()),
            declared_by: DeclaredBy::Anybody,
            conditions,
            created_at: at,
            updated_at: at,
        }
    }

    #[test]
    fn only_what_was_found_to_be_down_is_and_what_cannot_be_a_registry_is_left_out() {
        let mut unusable = HashSet::new();
        let found = snapshot(
            &[
                stored("a", "a.io", true, Some(Status::True)),
                stored("b", "b.io/x", false, Some(Status::False)),
                stored("c", "nonsense", true, None),
                stored("d", "d.io", true, Some(Status::Unknown)),
                stored("e", "e.io", false, None),
            ],
            &mut unusable,
        );
        let seen: Vec<_> = found
            .iter()
            .map(|registry| (&*registry.id, registry.has_pull_credential, registry.available))
            .collect();
        assert_eq!(
            seen,
            [
                ("a", true, true),
                ("b", false, false),
                ("d", true, true),
                ("e", false, true)
            ]
        );
        assert_eq!(unusable, HashSet::from(["c".to_owned()]));
    }
}
