//! What a store should have in it, and how it is changed at random.

use std::collections::BTreeMap;

use super::{super::*, faulty::Random};
use crate::registry::{ConditionKind, Credential, Login, Password, RegistrySpec, Status};

/// What was acknowledged.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Model(BTreeMap<String, Row>);

/// A registry, its credentials and its notification token.
type Row = (Stored, Credentials, Option<Credential>);

/// A change of one registry.
#[derive(Clone)]
pub(super) enum Step {
    Create(String, Draft),
    Replace(String, Draft),
    Delete(String),
    Report(String, Vec<Condition>),
}

impl Step {
    pub(super) fn random(random: &mut Random) -> Self {
        let id = format!("r{}", random.below(12));
        match random.below(8) {
            0..=2 => Self::Create(id, draft(random)),
            3..=4 => Self::Replace(id, draft(random)),
            5 => Self::Delete(id),
            _ => {
                let condition = Condition {
                    kind: ConditionKind::Reachable,
                    status: Status::Unknown,
                    reason: format!("R{}", random.next()),
                    message: "m".repeat(random.below(2_000)),
                    last_transition_time: Timestamp::UNIX_EPOCH,
                };
                Self::Report(id, vec![condition])
            }
        }
    }

    fn what(&self) -> String {
        let kind = match self {
            Self::Create(..) => "create",
            Self::Replace(..) => "replace",
            Self::Delete(_) => "delete",
            Self::Report(..) => "report",
        };
        format!("{kind} {}", self.id())
    }

    fn id(&self) -> &str {
        match self {
            Self::Create(id, _) | Self::Replace(id, _) | Self::Delete(id) | Self::Report(id, _) => id,
        }
    }
}

impl Model {
    /// What is there.
    pub(super) async fn of(store: &Embedded) -> Self {
        let mut all = BTreeMap::new();
        for stored in store.list().await.unwrap().iter() {
            let credentials = store.credentials(&stored.id).await.unwrap();
            let token = store.notification_token(&stored.id).await.unwrap();
            assert_eq!(store.registry(&stored.id).await.unwrap().as_ref(), Some(stored));
            all.insert(stored.id.clone(), (stored.clone(), credentials, token));
        }
        Self(all)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Makes the change in the store and, where it was acknowledged, here. The error that is none of the caller's doing.
    pub(super) async fn make(&mut self, store: &Embedded, step: &Step) -> Result<(), StoreError> {
        let id = step.id();
        let present = self.0.contains_key(id);
        let done = match step.clone() {
            Step::Create(_, draft) => store.create(id, draft).await.map(Some),
            Step::Replace(_, draft) => store.replace(id, draft, None).await.map(Some),
            Step::Delete(_) => store.delete(id, None).await.map(|()| None),
            Step::Report(_, conditions) => store.report(id, conditions).await.map(|()| None),
        };
        match done {
            Ok(stored) => self.acknowledged(step, stored),
            Err(StoreError::Exists(_)) => assert!(present),
            Err(StoreError::NotFound(_)) => assert!(!present),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn acknowledged(&mut self, step: &Step, stored: Option<Stored>) {
        let expected = self.after(step).expect("it was possible");
        self.0 = expected.0;
        if let Some(stored) = stored {
            let present = self.0.get_mut(step.id()).unwrap();
            assert!(said(&stored) == said(&present.0), "{}", step.what());
            present.0 = stored;
        }
    }

    /// What would be there after the change, but for versions, editions and times. None where it is refused.
    fn after(&self, step: &Step) -> Option<Self> {
        let mut all = self.0.clone();
        let id = step.id().to_owned();
        match step {
            Step::Create(_, draft) => {
                if all.contains_key(&id) {
                    return None;
                }
                let empty = Stored {
                    id: id.clone(),
                    spec: RegistrySpec::default(),
                    pull: None,
                    push: None,
                    notify: None,
                    version: Version(String::new()),
                    declared_by: DeclaredBy::Anybody,
                    conditions: vec![],
                    created_at: Timestamp::UNIX_EPOCH,
                    updated_at: Timestamp::UNIX_EPOCH,
                };
                let present = all.entry(id).or_insert((empty, Credentials::default(), None));
                put(present, draft);
            }
            Step::Replace(_, draft) => put(all.get_mut(&id)?, draft),
            Step::Delete(_) => drop(all.remove(&id)?),
            Step::Report(_, conditions) => all.get_mut(&id)?.0.conditions = conditions.clone(),
        }
        Some(Self(all))
    }

    /// Fails unless what is there is what was acknowledged, or that and the change in flight. Takes over which it is.
    pub(super) fn is_or_has(&mut self, found: Self, in_flight: Option<&Step>) {
        if found == *self {
            return;
        }
        let step = in_flight.expect("what is there is what was acknowledged: nothing was in flight");
        let what = step.what();
        let after = self
            .after(step)
            .unwrap_or_else(|| panic!("{what} was refused, and changes nothing"));
        for (id, row) in &found.0 {
            let same = id == step.id() || Some(row) == self.0.get(id);
            assert!(same, "{id} has changed, and in flight was {what}");
        }
        let all = |model: &Self| -> Vec<_> {
            let rows = model.0.values();
            rows.map(|(stored, credentials, token)| (said(stored), credentials.clone(), token.clone()))
                .collect()
        };
        assert!(
            all(&found) == all(&after),
            "half of what was in flight is there: {what}"
        );
        for (stored, credentials, token) in found.0.values() {
            let said = [&stored.pull, &stored.push, &stored.notify].map(Option::is_some);
            assert_eq!(said, [&credentials.pull, &credentials.push, token].map(Option::is_some));
        }
        *self = found;
    }
}

fn put((stored, credentials, token): &mut Row, draft: &Draft) {
    stored.spec = draft.spec.clone();
    for (present, change) in [
        (&mut credentials.pull, &draft.pull),
        (&mut credentials.push, &draft.push),
        (token, &draft.notify),
    ] {
        match change {
            Change::Keep => {}
            Change::Clear => *present = None,
            Change::Set(credential) => *present = Some(credential.clone()),
        }
    }
}

fn said(stored: &Stored) -> (String, RegistrySpec, Vec<Condition>) {
    (stored.id.clone(), stored.spec.clone(), stored.conditions.clone())
}

fn draft(random: &mut Random) -> Draft {
    let mut change = || match random.below(4) {
        0 => Change::Keep,
        1 => Change::Clear,
        _ => Change::Set(Credential::Login(Login {
            username: format!("u{}", random.next()),
            password: Password::new("p".repeat(random.below(500))),
        })),
    };
    let (pull, push, notify) = (change(), change(), change());
    Draft {
        spec: RegistrySpec {
            url: Some(format!("r{}.io", random.next())),
            // Some are longer than a page.
            ca_bundle: random.one_in(4).then(|| "c".repeat(random.below(20_000))),
            ..RegistrySpec::default()
        },
        pull,
        push,
        notify,
    }
}
