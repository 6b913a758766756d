//! From the store to the snapshot: which registries there are, who may pull from them, and which are down.

use std::{collections::BTreeSet, convert::Infallible, sync::Arc};

use hashbrown::HashSet;
use tokio::sync::watch;

use super::{Current, if_any, probes::Down};
use crate::{
    document::Problem,
    registry::{ConditionKind, Status, UNKNOWN_ACCOUNT},
    snapshot::{Registered, Registries},
    store::{self, Stored},
};

/// Keeps the registries of the snapshot as those of the store are, for as long as it is not dropped. `down` are those that this process
/// itself found to be; without it, what the store says counts.
pub(super) async fn keep(
    mut registries: watch::Receiver<store::Registries>,
    mut down: Option<watch::Receiver<Down>>,
    current: Arc<Current>,
) -> Infallible {
    let mut unusable = HashSet::new();
    let mut retired = None;
    loop {
        let stored = registries.borrow_and_update().clone();
        let found = {
            let down = down.as_mut().map(|down| down.borrow_and_update().clone());
            snapshot(&stored, down.as_deref(), &mut unusable)
        };
        // The last but one, so that it is taken apart here and not in the review that happens to be the last to use it.
        drop(Option::replace(
            &mut retired,
            current.update(|snapshot| snapshot.registries = found),
        ));
        let changed = tokio::select! {
            changed = registries.changed() => changed,
            changed = if_any(down.as_mut().map(watch::Receiver::changed)) => changed,
        };
        if changed.is_err() {
            // Whoever fed it is gone with the process.
            std::future::pending().await
        }
    }
}

/// Those that can be used, whether they are up or not.
pub(super) fn known(stored: &[Stored]) -> Registries {
    let known = stored.iter().filter_map(|stored| registered(stored, true).ok());
    Registries::new(known.collect())
}

fn registered(stored: &Stored, available: bool) -> Result<Registered, Vec<Problem>> {
    let registry = stored.registry()?;
    Ok(Registered {
        id: registry.id,
        address: registry.address,
        namespaces: registry.namespaces,
        // Where tokens are issued there will be one: what a Pod pulls with cannot be changed when it comes.
        has_pull_credential: stored.spec.location.issues() || stored.pull.is_some(),
        available,
    })
}

/// As decisions see them. `unusable` are those that were told to be.
fn snapshot(stored: &[Stored], down: Option<&BTreeSet<String>>, unusable: &mut HashSet<String>) -> Registries {
    let usable = stored.iter().filter_map(|stored| {
        let available = match down {
            Some(down) => !down.contains(&stored.id),
            None => is_up(stored),
        };
        match registered(stored, available) {
            Ok(registry) => {
                unusable.remove(&stored.id);
                Some(registry)
            }
            Err(problems) => {
                // Whose registry it is will be known with its first token, and is said elsewhere.
                let first = problems.iter().find(|problem| problem.code != UNKNOWN_ACCOUNT);
                if first.is_some() && unusable.insert(stored.id.clone()) {
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
        registry::{Condition, Location, RegistrySpec},
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
            notify: None,
            key: None,
            issuance: None,
            version: Version("1".to_owned()),
            declared_by: DeclaredBy::Anybody,
            conditions,
            created_at: at,
            updated_at: at,
        }
    }

    #[test]
    fn a_pod_is_given_the_pull_secret_before_the_first_token_is_issued() {
        let mut waiting = stored("a", "gcr.io/project", false, None);
        waiting.spec.location = Location::Gcr;
        let found = snapshot(&[waiting], None, &mut HashSet::new());
        assert!(found.iter().all(|registry| registry.has_pull_credential));
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
            None,
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

        // Who asks himself knows better than what is written.
        let down = BTreeSet::from(["a".to_owned()]);
        let both = [
            stored("a", "a.io", true, Some(Status::True)),
            stored("b", "b.io", true, Some(Status::False)),
        ];
        let found = snapshot(&both, Some(&down), &mut unusable);
        let available: Vec<_> = found.iter().map(|registry| registry.available).collect();
        assert_eq!(available, [false, true]);
    }
}
