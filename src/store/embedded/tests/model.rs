//! What a store should have in it, and how it is changed at random.

use std::collections::BTreeMap;

use super::{super::*, faulty::Random};
use crate::{
    pushes::{Event, Image, Origin, PushId, Record, What},
    reference::Reference,
    registry::{ConditionKind, Credential, Login, Password, RegistrySpec, Status},
    store::{PushQuery, Pushes},
};

/// What was acknowledged.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Model {
    registries: BTreeMap<String, Row>,
    pushes: BTreeMap<PushId, Record>,
}

/// A registry, its credentials and its notification token.
type Row = (Stored, Credentials, Option<Credential>);

/// A change of one registry, or of its push records.
#[derive(Clone)]
pub(super) enum Step {
    Create(String, Draft),
    Replace(String, Draft),
    Delete(String),
    Report(String, Vec<Condition>),
    Happened(String, Vec<Event>),
}

impl Step {
    pub(super) fn random(random: &mut Random) -> Self {
        let id = format!("r{}", random.below(12));
        match random.below(14) {
            0..=2 => Self::Create(id, draft(random)),
            3..=4 => Self::Replace(id, draft(random)),
            5 => Self::Delete(id),
            8.. => {
                let most = if random.one_in(8) { 30 } else { 3 };
                let count = 1 + random.below(most);
                let events = (0..count).map(|_| event(&id, random)).collect();
                Self::Happened(id, events)
            }
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

    /// Another registry, of some pages: soon there is no room for more.
    pub(super) fn large(random: &mut Random) -> Self {
        let mut draft = draft(random);
        draft.spec.ca_bundle = Some("c".repeat(20_000));
        Self::Create(format!("l{}", random.next()), draft)
    }

    fn what(&self) -> String {
        let kind = match self {
            Self::Create(..) => "create",
            Self::Replace(..) => "replace",
            Self::Delete(_) => "delete",
            Self::Report(..) => "report",
            Self::Happened(..) => "happened",
        };
        format!("{kind} {}", self.id())
    }

    fn id(&self) -> &str {
        match self {
            Self::Create(id, _)
            | Self::Replace(id, _)
            | Self::Delete(id)
            | Self::Report(id, _)
            | Self::Happened(id, _) => id,
        }
    }
}

impl Model {
    /// What is there: in memory, and in the file.
    pub(super) async fn of(store: &Embedded) -> Self {
        let mut pushes = BTreeMap::new();
        let mut query = PushQuery {
            limit: 7,
            ..PushQuery::default()
        };
        loop {
            let page = store.pushes(&query).await.unwrap();
            for record in page.items {
                assert_eq!(store.push(&record.id()).await.unwrap().as_ref(), Some(&record));
                assert!(pushes.insert(record.id(), record).is_none());
            }
            query.after = page.next;
            if query.after.is_none() {
                break;
            }
        }
        let registries = registries(store).await;
        let model = Self { registries, pushes };
        assert!(model.is_indexed(store), "the index has what the file has");
        model
    }

    /// Whether that is what is seen where the file cannot be read.
    pub(super) async fn is_in_memory(&self, store: &Embedded) -> bool {
        registries(store).await == self.registries && self.is_indexed(store)
    }

    fn is_indexed(&self, store: &Embedded) -> bool {
        let index = store.index().borrow().clone();
        let pushed = self.pushes.values();
        let mut pushed = pushed.filter_map(|record| Some((record, record.last_success.as_ref()?)));
        let count = pushed.clone().count();
        index.len() == count
            && pushed.all(|(record, success)| {
                let reference = Reference::parse(record.image.as_str()).unwrap();
                let found = index.find(&reference);
                found
                    .iter()
                    .any(|found| found.registry == &*record.registry && found.order() == success.order())
            })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.registries.is_empty() && self.pushes.is_empty()
    }

    pub(super) fn has(&self, id: &PushId) -> bool {
        self.pushes.contains_key(id)
    }

    /// How many push records there are.
    pub(super) fn pushes(&self) -> usize {
        self.pushes.len()
    }

    /// Makes the change in the store and, where it was acknowledged, here. The error that is none of the caller's doing.
    pub(super) async fn make(&mut self, store: &Embedded, step: &Step) -> Result<(), StoreError> {
        let id = step.id();
        let present = self.registries.contains_key(id);
        let (mut stored, mut records) = (None, Vec::new());
        let done = match step.clone() {
            Step::Create(_, draft) => store.create(id, draft).await.map(|made| stored = Some(made)),
            Step::Replace(_, draft) => store.replace(id, draft, None).await.map(|made| stored = Some(made)),
            Step::Delete(_) => store.delete(id, None).await,
            Step::Report(_, conditions) => store.report(id, conditions).await,
            Step::Happened(_, events) => store.happened(events).await.map(|made| records = made),
        };
        match done {
            Ok(()) => self.acknowledged(step, stored, records),
            Err(StoreError::Exists(_)) => assert!(present),
            Err(StoreError::NotFound(_)) => assert!(!present),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn acknowledged(&mut self, step: &Step, stored: Option<Stored>, records: Vec<Record>) {
        *self = self.after(step).expect("it was possible");
        if let Some(stored) = stored {
            let present = self.registries.get_mut(step.id()).unwrap();
            assert!(said(&stored) == said(&present.0), "{}", step.what());
            present.0 = stored;
        }
        let last: BTreeMap<_, _> = records.into_iter().map(|record| (record.id(), record)).collect();
        for (id, record) in last {
            // Where nothing was to be kept it is a record of nothing.
            let Some(present) = self.pushes.get_mut(&id) else {
                assert_eq!(record, Record::new(record.image.clone(), &record.registry));
                continue;
            };
            assert_eq!(unnumbered(&record), unnumbered(present));
            *present = record;
        }
    }

    /// What would be there after the change, but for versions, editions, numbers and times. None where it is refused.
    fn after(&self, step: &Step) -> Option<Self> {
        let mut all = self.clone();
        let id = step.id().to_owned();
        match step {
            Step::Create(_, draft) => {
                if all.registries.contains_key(&id) {
                    return None;
                }
                let empty = Stored {
                    id: id.clone(),
                    spec: RegistrySpec::default(),
                    pull: None,
                    push: None,
                    notify: None,
                    key: None,
                    issuance: None,
                    version: Version(String::new()),
                    declared_by: DeclaredBy::Anybody,
                    conditions: vec![],
                    created_at: Timestamp::UNIX_EPOCH,
                    updated_at: Timestamp::UNIX_EPOCH,
                };
                let present = all
                    .registries
                    .entry(id)
                    .or_insert((empty, Credentials::default(), None));
                put(present, draft);
            }
            Step::Replace(_, draft) => put(all.registries.get_mut(&id)?, draft),
            Step::Delete(_) => {
                all.registries.remove(&id)?;
                all.pushes.retain(|push, _| push.registry() != id);
            }
            Step::Report(_, conditions) => all.registries.get_mut(&id)?.0.conditions = conditions.clone(),
            Step::Happened(_, events) => {
                all.registries.get(&id)?;
                for event in events {
                    let push = PushId::new(&event.registry, event.image.key());
                    let new = Record::new(event.image.clone(), &event.registry);
                    let before = all.pushes.get(&push).unwrap_or(&new);
                    if let Some(after) = before.after(event, Timestamp::MAX, u64::MAX) {
                        all.pushes.insert(push, after);
                    }
                }
            }
        }
        Some(all)
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
        for (id, row) in &found.registries {
            let same = id == step.id() || Some(row) == self.registries.get(id);
            assert!(same, "{id} has changed, and in flight was {what}");
        }
        for (id, record) in &found.pushes {
            let same = id.registry() == step.id() || Some(record) == self.pushes.get(id);
            assert!(same, "{id} has changed, and in flight was {what}");
        }
        let all = |model: &Self| -> (Vec<_>, Vec<_>) {
            let rows = model.registries.values();
            let said = |(stored, credentials, token): &Row| (said(stored), credentials.clone(), token.clone());
            (
                rows.map(said).collect(),
                model.pushes.values().map(unnumbered).collect(),
            )
        };
        assert!(
            all(&found) == all(&after),
            "half of what was in flight is there: {what}"
        );
        for (stored, credentials, token) in found.registries.values() {
            let said = [&stored.pull, &stored.push, &stored.notify].map(Option::is_some);
            assert_eq!(said, [&credentials.pull, &credentials.push, token].map(Option::is_some));
        }
        *self = found;
    }
}

async fn registries(store: &Embedded) -> BTreeMap<String, Row> {
    let mut all = BTreeMap::new();
    for stored in store.list().await.unwrap().iter() {
        let credentials = store.credentials(&stored.id).await.unwrap();
        let token = store.notification_token(&stored.id).await.unwrap();
        assert_eq!(store.registry(&stored.id).await.unwrap().as_ref(), Some(stored));
        all.insert(stored.id.clone(), (stored.clone(), credentials, token));
    }
    all
}

/// But for the number that the store gave out.
fn unnumbered(record: &Record) -> Record {
    let mut record = record.clone();
    if let Some(success) = &mut record.last_success {
        success.sequence = 0;
    }
    record
}

/// Of long ago: none is of a moment that is yet to come.
fn event(registry: &str, random: &mut Random) -> Event {
    let digest = |random: &mut Random| -> Box<str> { format!("sha256:{:064x}", random.below(3)).into() };
    let tag = random.below(6);
    let what = match random.below(8) {
        0 => What::Begun,
        1 => What::Failed {
            error: "e".repeat(random.below(2_000)).into(),
        },
        2 => What::Withdrawn {
            digest: random.one_in(2).then(|| digest(random)),
        },
        3 => What::Inspected {
            digest: digest(random),
            platforms: vec!["linux/amd64".into(); random.below(3)],
            // Some are longer than a page.
            children: (0..random.below(100)).map(|_| digest(random)).collect(),
        },
        _ => What::Succeeded {
            target: format!("r{}.io/app:{tag}", random.below(3)).into(),
            digest: digest(random),
        },
    };
    Event {
        image: Image::parse(&format!("org/app:{tag}")).unwrap(),
        registry: registry.into(),
        at: Timestamp::from_second(1_700_000_000 + random.below(100_000) as i64).unwrap(),
        origin: [Origin::Report, Origin::Notification][random.below(2)],
        what,
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

pub(super) fn draft(random: &mut Random) -> Draft {
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
