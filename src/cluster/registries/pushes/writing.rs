//! Writes: an object is read, and written if nobody else has written it since, as often as that takes.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use futures_util::stream::{self, StreamExt, TryStreamExt};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
    core::DynamicObject,
};
use serde_json::{Value, json};
use tokio::{sync::MutexGuard, time::sleep};

use super::{
    super::{
        object as registries,
        requests::{Failed, ask},
        writing::{MANAGER, unwritable},
    },
    AT_ONCE, Kubernetes, WRITERS, lock,
    object::{self, Object, Seen},
    pushes,
    room::Place,
    what,
};
use crate::{
    pushes::{Event, PushCopy, PushId, Record},
    store::StoreError,
};

/// An event, and what tells which of two was told of first.
struct Numbered {
    sequence: u64,
    event: Event,
}

impl Kubernetes {
    pub(super) async fn keep_events(&self, events: Vec<Event>) -> Result<Vec<Record>, StoreError> {
        let ids: BTreeSet<&str> = events.iter().map(|event| &*event.registry).collect();
        for id in ids {
            self.owner(id)
                .await?
                .ok_or_else(|| StoreError::NotFound(id.to_owned()))?;
        }
        let first = lock(&self.pushes.known).next_sequences(Timestamp::now(), events.len());
        // Those of one record together, in their order.
        let mut of_records: BTreeMap<PushId, Vec<Numbered>> = BTreeMap::new();
        for (event, sequence) in events.into_iter().zip(first..) {
            let id = PushId::new(&event.registry, event.image.key());
            of_records.entry(id).or_default().push(Numbered { sequence, event });
        }
        let kept = stream::iter(of_records).map(|(id, events)| async move {
            let records = self.keep(&id, &events).await?;
            let numbers = events.iter().map(|event| event.sequence);
            Ok::<_, StoreError>(numbers.zip(records).collect::<Vec<_>>())
        });
        let mut kept: Vec<(u64, Record)> = kept.buffer_unordered(AT_ONCE).try_concat().await?;
        kept.sort_by_key(|(sequence, _)| *sequence);
        Ok(kept.into_iter().map(|(_, record)| record).collect())
    }

    /// The registry, as what owns a push; none where there is none.
    pub(super) async fn owner(&self, id: &str) -> Result<Option<OwnerReference>, StoreError> {
        if let Some(known) = lock(&self.known).object(id) {
            return Ok(Some(known.owner()));
        }
        self.owner_now(id).await
    }

    /// The same, as the API server has it at this moment.
    pub(super) async fn owner_now(&self, id: &str) -> Result<Option<OwnerReference>, StoreError> {
        let object = self.object(id).await?;
        Ok(object.map(|object| registries::Object::read(&object).owner()))
    }

    /// What becomes of a record by one event after the other.
    async fn keep(&self, id: &PushId, events: &[Numbered]) -> Result<Vec<Record>, StoreError> {
        let mut turn = self.turn(id).await;
        loop {
            turn.next().await?;
            if let Some(records) = self.try_to_keep(id, events).await? {
                return Ok(records);
            }
        }
    }

    /// Whoever writes the object of this name waits for it.
    pub(super) async fn turn(&self, id: &PushId) -> Turn<'_> {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        // The remainder is a place.
        let place = (hasher.finish() % WRITERS as u64) as usize;
        Turn {
            _alone: self.pushes.writers[place].lock().await,
            name: id.as_str().to_owned(),
            attempts: 0,
        }
    }

    /// Keeps one event: none where somebody else was faster. Whoever calls writes it alone.
    pub(super) async fn keep_one(&self, id: &PushId, event: Event) -> Result<Option<Vec<Record>>, StoreError> {
        let sequence = lock(&self.pushes.known).next_sequences(Timestamp::now(), 1);
        self.try_to_keep(id, &[Numbered { sequence, event }]).await
    }

    /// None where somebody else was faster.
    async fn try_to_keep(&self, id: &PushId, events: &[Numbered]) -> Result<Option<Vec<Record>>, StoreError> {
        let Some(Numbered { event: first, .. }) = events.first() else {
            return Ok(Some(Vec::new()));
        };
        let Some(Standing { owner, object }) = self.standing(id).await? else {
            return Ok(None);
        };
        let record = object.as_ref().and_then(|object| object.record().ok().flatten());
        let mut record = record.unwrap_or_else(|| Record::new(first.image.clone(), &first.registry));
        let login = record.copying.as_ref().and_then(|copying| copying.login.clone());
        let mut records = Vec::with_capacity(events.len());
        let mut is_changed = false;
        for Numbered { sequence, event } in events {
            if let Some(after) = record.after(event, Timestamp::now(), *sequence) {
                record = after;
                is_changed = true;
            }
            records.push(record.clone());
        }
        if !is_changed {
            return Ok(Some(records));
        }
        let Some(object) = self.home_of(&record, object, &owner).await? else {
            return Ok(None);
        };
        if self.write_status(&record, &object, false).await?.is_none() {
            return Ok(None);
        }
        if let Some(login) = login.filter(|_| record.copying.is_none()) {
            self.remove_login(&object, &login).await;
        }
        Ok(Some(records))
    }

    /// The registry, and the object of this name that belongs to it or may: none where somebody else was faster.
    pub(super) async fn standing(&self, id: &PushId) -> Result<Option<Standing>, StoreError> {
        let not_found = || StoreError::NotFound(id.registry().to_owned());
        let mut owner = self.owner(id.registry()).await?.ok_or_else(not_found)?;
        let mut object = self.push_object(id.as_str()).await?;
        let agrees = |object: &Object| object.owner.as_ref().is_some_and(|uid| *uid == owner.uid);
        if !object.as_ref().is_some_and(agrees) {
            // What is known of the registry may be of before, and so would be whatever is made or deleted because of it.
            owner = self.owner_now(id.registry()).await?.ok_or_else(not_found)?;
        }
        if let Some(strange) = object.take_if(|object| {
            let is_of_another = object.owner.as_ref().is_some_and(|uid| *uid != owner.uid);
            is_of_another || object.image.is_err()
        }) {
            // Of a registry that is no more, or nothing that anybody could use: this one has its name.
            if !self.delete_push(&strange.name, &strange.uid, &strange.version).await? {
                return Ok(None);
            }
        }
        Ok(Some(Standing { owner, object }))
    }

    /// The object of a record: the one that there is, which belongs to the registry from now on, or a new one.
    pub(super) async fn home_of(
        &self,
        record: &Record,
        object: Option<Object>,
        owner: &OwnerReference,
    ) -> Result<Option<Object>, StoreError> {
        match object {
            Some(object) if object.owner.is_some() => Ok(Some(object)),
            Some(object) => self.adopt_push(record, &object, owner).await,
            None => {
                let place = self.room_for_a_push(record.id().as_str()).await?;
                self.create_push(record, owner, None, place).await
            }
        }
    }

    /// Writes how it stands with a push; `heard` says that what the object asks for is in it from now on.
    pub(super) async fn write_status(
        &self,
        record: &Record,
        object: &Object,
        heard: bool,
    ) -> Result<Option<Object>, Failed> {
        let mut status = object::status(record, &object.conditions, Timestamp::now()).map_err(unwritable)?;
        if heard {
            status["request"] = object.copy.requested_at.clone().into();
        }
        if heard || !object.is_asked() {
            status["observedGeneration"] = object.generation.into();
        }
        self.patch_push_status(object, status).await
    }

    /// Writes these keys of a status if nobody else has written the object since.
    pub(super) async fn patch_push_status(&self, object: &Object, status: Value) -> Result<Option<Object>, Failed> {
        let patch = json!({"metadata": {"uid": object.uid, "resourceVersion": object.version}, "status": status});
        let api = pushes(self.client());
        let (params, patch) = (params(), Patch::Merge(patch));
        let patched = api.patch_status(&object.name, &params, &patch);
        let patched = ask(&format!("the status of {}", what(&object.name)), "patch", patched).await;
        Ok(self.wrote_push(unless_somebody_was_faster(patched, &[404, 409])?))
    }

    /// What the API server answers who has written an object.
    fn wrote_push(&self, answer: Option<DynamicObject>) -> Option<Object> {
        answer.map(|answer| {
            let object = Object::read(&answer);
            let seen = Seen::of(&object);
            self.pushes.change(|known, changes| known.wrote(seen, changes));
            object
        })
    }

    pub(super) async fn create_push(
        &self,
        record: &Record,
        owner: &OwnerReference,
        copy: Option<PushCopy>,
        place: Place<'_>,
    ) -> Result<Option<Object>, StoreError> {
        let new = object::new(record, owner, copy).map_err(unwritable)?;
        let params = PostParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PostParams::default()
        };
        let api = pushes(self.client());
        let created = ask(&what(record.id().as_str()), "create", api.create(&params, &new)).await;
        let created = unless_somebody_was_faster(created, &[409])?;
        Ok(created.map(|created| {
            let object = Object::read(&created);
            place.take(Seen::of(&object));
            object
        }))
    }

    /// One that somebody has made belongs to the registry from now on.
    async fn adopt_push(
        &self,
        record: &Record,
        object: &Object,
        owner: &OwnerReference,
    ) -> Result<Option<Object>, StoreError> {
        self.patch_push(object, json!({"metadata": object::adoption(record, object, owner)}))
            .await
    }

    /// Writes this into an object if nobody else has written it since.
    pub(super) async fn patch_push(&self, object: &Object, mut patch: Value) -> Result<Option<Object>, StoreError> {
        patch["metadata"]["uid"] = object.uid.clone().into();
        patch["metadata"]["resourceVersion"] = object.version.clone().into();
        let (params, patch) = (params(), Patch::<Value>::Merge(patch));
        let api = pushes(self.client());
        let patched = api.patch(&object.name, &params, &patch);
        let patched = unless_somebody_was_faster(ask(&what(&object.name), "patch", patched).await, &[404, 409])?;
        Ok(self.wrote_push(patched))
    }

    /// Deletes exactly this one. Whether it is gone.
    pub(super) async fn delete_push(&self, name: &str, uid: &str, version: &str) -> Result<bool, StoreError> {
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(uid.to_owned()),
                resource_version: Some(version.to_owned()),
            }),
            ..DeleteParams::default()
        };
        let deleted = ask(&what(name), "delete", pushes(self.client()).delete(name, &params)).await;
        match deleted {
            Err(Failed { code: Some(409), .. }) => return Ok(false),
            Err(Failed { code: Some(404), .. }) | Ok(_) => {}
            Err(failed) => return Err(failed.error),
        }
        self.pushes.change(|known, changes| known.forget(name, changes));
        Ok(true)
    }
}

/// A name's registry, and the object that there is of the name.
pub(super) struct Standing {
    pub(super) owner: OwnerReference,
    pub(super) object: Option<Object>,
}

/// Writes an object, alone among this process's tasks, as often as it takes: another process may be faster.
pub(super) struct Turn<'k> {
    _alone: MutexGuard<'k, ()>,
    name: String,
    attempts: u32,
}

impl Turn<'_> {
    /// Before each attempt.
    pub(super) async fn next(&mut self) -> Result<(), StoreError> {
        if self.attempts == ATTEMPTS {
            return Err(StoreError::Unavailable(format!(
                "{} is changed all the time by somebody else",
                what(&self.name)
            )));
        }
        if self.attempts > 0 {
            // Longer than the other takes who was faster.
            sleep(PAUSE * self.attempts).await;
        }
        self.attempts += 1;
        Ok(())
    }
}

fn params() -> PatchParams {
    PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    }
}

/// None where one of these codes says so.
fn unless_somebody_was_faster<T>(answer: Result<T, Failed>, codes: &[u16]) -> Result<Option<T>, Failed> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(failed) if failed.code.is_some_and(|code| codes.contains(&code)) => Ok(None),
        Err(failed) => Err(failed),
    }
}

/// How often somebody else may be faster.
const ATTEMPTS: u32 = 12;

const PAUSE: Duration = Duration::from_millis(5);
