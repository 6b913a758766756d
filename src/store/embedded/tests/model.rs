//! What a store should have in it, and how it is changed at random.

use std::collections::BTreeMap;

use super::{super::*, faulty::Random};
use crate::{
    pushes::{Copying, Event, Image, Order, Origin, PushId, Record, State, Wanted, What},
    reference::Reference,
    registry::{ConditionKind, Credential, Key, Login, Password, RegistrySpec, Status},
    store::{Asked, Issuance, PushQuery, Pushes},
};

/// What was acknowledged.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Model {
    registries: BTreeMap<String, Row>,
    pushes: BTreeMap<PushId, Record>,
    /// The credentials of copies that have not ended.
    logins: BTreeMap<PushId, Login>,
}

/// A registry, and what is kept of it that is nobody's to see.
#[derive(Clone, PartialEq, Eq)]
struct Row {
    stored: Stored,
    credentials: Credentials,
    keys: Keys,
    /// What it notifies with.
    token: Option<Credential>,
}

/// A change of one registry, or of its push records.
#[derive(Clone)]
pub(super) enum Step {
    Create(String, Draft),
    Replace(String, Draft),
    Delete(String),
    Report(String, Vec<Condition>),
    /// A token of this text, for the registry that it is then.
    Issued(String, String),
    Happened(String, Vec<Event>),
    Asked(String, Order),
}

impl Step {
    pub(super) fn random(random: &mut Random) -> Self {
        let id = format!("r{}", random.below(12));
        match random.below(17) {
            0..=2 => Self::Create(id, draft(random)),
            3..=4 => Self::Replace(id, draft(random)),
            5 => Self::Delete(id),
            6 => Self::Issued(id, "t".repeat(1 + random.below(6_000))),
            14.. => {
                let order = order(&id, random);
                Self::Asked(id, order)
            }
            8.. => {
                let most = if random.one_in(8) { 30 } else { 3 };
                let count = 1 + random.below(most);
                let events = (0..count).map(|_| event(&id, random)).collect();
                Self::Happened(id, events)
            }
            _ => {
                let condition = Condition {
                    kind: [ConditionKind::Reachable, ConditionKind::TokenIssued][random.below(2)],
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
            Self::Issued(..) => "issued",
            Self::Happened(..) => "happened",
            Self::Asked(..) => "asked",
        };
        format!("{kind} {}", self.id())
    }

    fn id(&self) -> &str {
        match self {
            Self::Create(id, _)
            | Self::Replace(id, _)
            | Self::Delete(id)
            | Self::Report(id, _)
            | Self::Issued(id, _)
            | Self::Happened(id, _)
            | Self::Asked(id, _) => id,
        }
    }
}

impl Model {
    /// What is there: in memory, and in the file.
    pub(super) async fn of(store: &Embedded) -> Self {
        let (mut pushes, mut logins) = (BTreeMap::new(), BTreeMap::new());
        let mut query = PushQuery {
            limit: 7,
            ..PushQuery::default()
        };
        loop {
            let page = store.pushes(&query).await.unwrap();
            for record in page.items {
                assert_eq!(store.push(&record.id()).await.unwrap().as_ref(), Some(&record));
                let copy = store.copy(&record.id()).await.unwrap();
                assert_eq!(copy.is_some(), record.copying.is_some());
                if let Some(copy) = copy {
                    assert_eq!(copy.record, record);
                    let said = record.copying.as_ref().and_then(|copying| copying.login.as_ref());
                    assert_eq!(said.is_some(), copy.login.is_some());
                    logins.extend(copy.login.map(|login| (record.id(), login)));
                }
                assert!(pushes.insert(record.id(), record).is_none());
            }
            query.after = page.next;
            if query.after.is_none() {
                break;
            }
        }
        let registries = registries(store).await;
        let model = Self {
            registries,
            pushes,
            logins,
        };
        assert!(model.is_indexed(store), "the index has what the file has");
        assert!(model.is_waited_for(store), "those wait that the file has");
        model
    }

    /// Whether that is what is seen where the file cannot be read.
    pub(super) async fn is_in_memory(&self, store: &Embedded) -> bool {
        registries(store).await == self.registries && self.is_indexed(store) && self.is_waited_for(store)
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

    fn is_waited_for(&self, store: &Embedded) -> bool {
        let open = self.pushes.iter().filter_map(|(id, record)| {
            let last = record.last_attempt.as_ref().map(|last| last.state);
            let is_open = matches!(last, Some(State::Pending | State::Running));
            assert!(is_open || record.copying.is_none() && last != Some(State::Pending));
            let Copying { asked_at, refresh, .. } = *record.copying.as_ref()?;
            let id = id.clone();
            Some(Wanted { refresh, asked_at, id })
        });
        let mut open: Vec<_> = open.collect();
        open.sort_unstable();
        **store.copies().borrow() == *open
    }

    /// How many copies there are that have not ended.
    pub(super) fn copies(&self) -> usize {
        self.pushes.values().filter(|record| record.copying.is_some()).count()
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
            Step::Issued(_, text) => {
                let spec = self.registries.get(id).map(|row| row.stored.spec.clone());
                store.issued(id, issued(&spec.unwrap_or_default(), &text)).await
            }
            Step::Happened(_, events) => store.happened(events).await.map(|made| records = made),
            Step::Asked(_, order) => {
                let before = self.pushes.get(&PushId::new(id, order.image.key()));
                let is_open = before.is_some_and(|record| record.copying.is_some());
                store.ask(order).await.map(|Asked { record, joined }| {
                    assert_eq!(joined, is_open);
                    records.push(record);
                })
            }
        };
        match done {
            Ok(()) => {
                let pull = store.registry(id).await?.and_then(|stored| stored.pull);
                self.acknowledged(step, stored, records, pull);
            }
            Err(StoreError::Exists(_)) => assert!(present),
            Err(StoreError::NotFound(_)) => assert!(!present),
            Err(StoreError::Conflict { .. }) => assert!(matches!(step, Step::Issued(..)) && self.after(step).is_none()),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn acknowledged(&mut self, step: &Step, stored: Option<Stored>, records: Vec<Record>, pull: Option<Edition>) {
        *self = self.after(step).expect("it was possible");
        if let Some(stored) = stored {
            let present = self.registries.get_mut(step.id()).unwrap();
            assert!(said(&stored) == said(&present.stored), "{}", step.what());
            present.stored = stored;
        }
        if let Step::Issued(id, _) = step {
            let present = &mut self.registries.get_mut(id).unwrap().stored;
            assert!(
                pull.is_some() && pull != present.pull,
                "another token is another edition"
            );
            present.pull = pull;
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
                let empty = Row {
                    stored: empty,
                    credentials: Credentials::default(),
                    keys: Keys::default(),
                    token: None,
                };
                put(all.registries.entry(id).or_insert(empty), draft);
            }
            Step::Replace(_, draft) => put(all.registries.get_mut(&id)?, draft),
            Step::Delete(_) => {
                all.registries.remove(&id)?;
                all.pushes.retain(|push, _| push.registry() != id);
                all.logins.retain(|push, _| push.registry() != id);
            }
            Step::Report(_, conditions) => {
                let stored = &mut all.registries.get_mut(&id)?.stored;
                Condition::merge(&mut stored.conditions, conditions.clone());
                let issues = stored.spec.location.issues();
                let kept = |condition: &Condition| issues || condition.kind != ConditionKind::TokenIssued;
                stored.conditions.retain(kept);
            }
            Step::Issued(_, text) => {
                let row = all.registries.get_mut(&id)?;
                if !row.stored.spec.location.issues() {
                    return None;
                }
                let token = issued(&row.stored.spec, text);
                row.stored.issuance = Some(token.issuance);
                row.credentials.pull = Some(Credential::Login(token.login));
            }
            Step::Happened(_, events) => {
                all.registries.get(&id)?;
                for event in events {
                    let push = PushId::new(&event.registry, event.image.key());
                    let new = Record::new(event.image.clone(), &event.registry);
                    let before = all.pushes.get(&push).unwrap_or(&new);
                    if let Some(after) = before.after(event, Timestamp::MAX, u64::MAX) {
                        if after.copying.is_none() {
                            all.logins.remove(&push);
                        }
                        all.pushes.insert(push, after);
                    }
                }
            }
            Step::Asked(_, order) => {
                all.registries.get(&id)?;
                let event = Event {
                    image: order.image.clone(),
                    registry: order.registry.clone(),
                    at: Timestamp::UNIX_EPOCH,
                    origin: Origin::Copy,
                    what: What::Asked(Copying {
                        asked_at: Timestamp::UNIX_EPOCH,
                        referrers: order.referrers,
                        refresh: order.refresh,
                        source: order.source.clone(),
                        login: order.login.as_ref().map(|_| "store".into()),
                    }),
                };
                let push = PushId::new(&event.registry, event.image.key());
                let new = Record::new(event.image.clone(), &event.registry);
                let before = all.pushes.get(&push).unwrap_or(&new);
                if let Some(after) = before.after(&event, Timestamp::MAX, u64::MAX) {
                    // That of whoever asked first stays.
                    if before.copying.is_none() {
                        all.logins
                            .extend(order.login.clone().map(|login| (push.clone(), login)));
                    }
                    all.pushes.insert(push, after);
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
        for (id, login) in &found.logins {
            let same = id.registry() == step.id() || Some(login) == self.logins.get(id);
            assert!(same, "the credential of {id} has changed, and in flight was {what}");
        }
        let all = |model: &Self| -> (Vec<_>, Vec<_>, BTreeMap<_, _>) {
            let rows = model.registries.values();
            let said = |row: &Row| {
                let Row {
                    stored,
                    credentials,
                    keys,
                    token,
                } = row.clone();
                (said(&stored), credentials, keys, token)
            };
            (
                rows.map(said).collect(),
                model.pushes.values().map(unnumbered).collect(),
                model.logins.clone(),
            )
        };
        assert!(
            all(&found) == all(&after),
            "half of what was in flight is there: {what}"
        );
        for row in found.registries.values() {
            row.is_whole();
        }
        *self = found;
    }
}

impl Row {
    /// Fails where it is not said of everything that there is, or of something that there is not.
    fn is_whole(&self) {
        let Self {
            stored,
            credentials,
            keys,
            token,
        } = self;
        let said = [&stored.pull, &stored.push, &stored.notify, &stored.key].map(Option::is_some);
        let push = credentials.push.is_some() || keys.push.is_some();
        let there = [credentials.pull.is_some(), push, token.is_some(), keys.pull.is_some()];
        assert_eq!(said, there);
        let is_issued = stored.spec.location.issues() && stored.pull.is_some();
        assert_eq!(stored.issuance.is_some(), is_issued);
        let elsewhere = stored
            .issuance
            .as_ref()
            .filter(|issuance| !issuance.is_for(&stored.spec));
        assert_eq!(elsewhere, None);
    }
}

async fn registries(store: &Embedded) -> BTreeMap<String, Row> {
    let mut all = BTreeMap::new();
    for stored in store.list().await.unwrap().iter() {
        assert_eq!(store.registry(&stored.id).await.unwrap().as_ref(), Some(stored));
        let row = Row {
            stored: stored.clone(),
            credentials: store.credentials(&stored.id).await.unwrap(),
            keys: store.keys(&stored.id).await.unwrap(),
            token: store.notification_token(&stored.id).await.unwrap(),
        };
        row.is_whole();
        all.insert(stored.id.clone(), row);
    }
    all
}

/// But for the number that the store gave out, and when by its clock something was asked for.
fn unnumbered(record: &Record) -> Record {
    let mut record = record.clone();
    if let (Some(copying), Some(last)) = (&mut record.copying, &mut record.last_attempt)
        && last.state == State::Pending
    {
        (copying.asked_at, last.started_at) = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH);
    }
    if let Some(success) = &mut record.last_success {
        success.sequence = 0;
    }
    record
}

/// Of long ago: none is of a moment that is yet to come.
fn event(registry: &str, random: &mut Random) -> Event {
    let digest = |random: &mut Random| -> Box<str> { format!("sha256:{:064x}", random.below(3)).into() };
    let tag = random.below(6);
    let origin = [Origin::Report, Origin::Notification, Origin::Copy][random.below(3)];
    let what = match random.below(8) {
        0 if origin == Origin::Copy && random.one_in(2) => What::Progress {
            total: 7,
            done: random.below(8) as u64,
        },
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
        origin,
        what,
    }
}

fn order(registry: &str, random: &mut Random) -> Order {
    Order {
        image: Image::parse(&format!("org/app:{}", random.below(6))).unwrap(),
        registry: registry.into(),
        referrers: random.one_in(2),
        refresh: random.one_in(2),
        source: random.one_in(2).then(|| format!("r{}", random.below(12)).into()),
        login: random.one_in(2).then(|| Login {
            username: format!("u{}", random.next()),
            // Some are longer than a page.
            password: Password::new("p\"".repeat(random.below(3_000))),
        }),
    }
}

fn put(row: &mut Row, draft: &Draft) {
    let Row {
        stored,
        credentials,
        keys,
        token,
    } = row;
    if stored.spec.location != draft.spec.location {
        *credentials = Credentials::default();
        *keys = Keys::default();
    }
    if stored.issuance.is_some() && Issuance::place(&stored.spec) != Issuance::place(&draft.spec) {
        stored.issuance = None;
        credentials.pull = None;
    }
    stored.spec = draft.spec.clone();
    let key = |credential: &Credential| match credential {
        Credential::Key(key) => Some(key.clone()),
        _ => None,
    };
    if draft.spec.location.issues() {
        change(&mut keys.pull, &draft.pull, key);
        change(&mut keys.push, &draft.push, key);
    } else {
        change(&mut credentials.pull, &draft.pull, |credential| {
            Some(credential.clone())
        });
        change(&mut credentials.push, &draft.push, |credential| {
            Some(credential.clone())
        });
    }
    change(token, &draft.notify, |credential| Some(credential.clone()));
}

fn change<T>(present: &mut Option<T>, change: &Change, of: impl Fn(&Credential) -> Option<T>) {
    match change {
        Change::Keep => {}
        Change::Clear => *present = None,
        Change::Set(credential) => *present = of(credential),
    }
}

/// But for versions, editions and times.
fn said(stored: &Stored) -> (String, RegistrySpec, Vec<Condition>, Option<Issuance>) {
    let Stored {
        id,
        spec,
        conditions,
        issuance,
        ..
    } = stored.clone();
    (id, spec, conditions, issuance)
}

/// A token for this registry.
pub(super) fn issued(spec: &RegistrySpec, text: &str) -> Token {
    Token {
        login: Login {
            username: "AWS".to_owned(),
            password: Password::new(text.to_owned()),
        },
        issuance: Issuance {
            issued_at: Timestamp::UNIX_EPOCH,
            expires_at: Timestamp::MAX,
            account: text.len().is_multiple_of(2).then(|| "123456789012".to_owned()),
            place: Issuance::place(spec),
            origin: Issuance::origin(spec, None),
        },
    }
}

pub(super) fn draft(random: &mut Random) -> Draft {
    let location = [Location::OffCluster, Location::Ecr, Location::Gcr][random.below(3)];
    let text = |random: &mut Random| Password::new("p".repeat(random.below(500)));
    let login = |random: &mut Random| {
        Credential::Login(Login {
            username: format!("u{}", random.next()),
            password: text(random),
        })
    };
    let given = |random: &mut Random| match location {
        Location::OffCluster => login(random),
        Location::Ecr => Credential::Key(Key::Aws {
            id: text(random),
            secret: text(random),
            session_token: random.one_in(2).then(|| text(random)),
        }),
        Location::Gcr => Credential::Key(Key::Google(text(random))),
    };
    let change = |random: &mut Random, credential: &dyn Fn(&mut Random) -> Credential| match random.below(4) {
        0 => Change::Keep,
        1 => Change::Clear,
        _ => Change::Set(credential(random)),
    };
    let (pull, push, notify) = (change(random, &given), change(random, &given), change(random, &login));
    Draft {
        spec: RegistrySpec {
            location,
            url: (!location.issues()).then(|| format!("r{}.io", random.next())),
            // For the most part the same place as before, where tokens are issued.
            region: random.one_in(4).then(|| format!("r-{}", random.below(3))),
            display_name: Some(random.next().to_string()),
            // Some are longer than a page.
            ca_bundle: random.one_in(4).then(|| "c".repeat(random.below(20_000))),
            ..RegistrySpec::default()
        },
        pull,
        push,
        notify,
    }
}
