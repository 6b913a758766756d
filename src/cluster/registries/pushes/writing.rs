//! Writes: an object is read, and written if nobody else has written it since, as often as that takes.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use futures_util::stream::{self, StreamExt, TryStreamExt};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{
    super::{
        object as registries,
        requests::{Failed, ask},
        writing::{MANAGER, unwritable},
    },
    AT_ONCE, Kubernetes, WRITERS, lock,
    object::{self, Object, Seen},
    pushes, what,
};
use crate::{
    pushes::{Event, PushId, Record},
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
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        // The remainder is a place.
        let place = (hasher.finish() % WRITERS as u64) as usize;
        let _alone = self.pushes.writers[place].lock().await;
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                // Longer than the other takes who was faster.
                sleep(PAUSE * attempt).await;
            }
            if let Some(records) = self.try_to_keep(id, events).await? {
                return Ok(records);
            }
        }
        Err(StoreError::Unavailable(format!(
            "{} is changed all the time by somebody else",
            what(id.as_str())
        )))
    }

    /// None where somebody else was faster.
    async fn try_to_keep(&self, id: &PushId, events: &[Numbered]) -> Result<Option<Vec<Record>>, StoreError> {
        let Some(Numbered { event: first, .. }) = events.first() else {
            return Ok(Some(Vec::new()));
        };
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
        let record = object.as_ref().and_then(|object| object.record().ok().flatten());
        let mut record = record.unwrap_or_else(|| Record::new(first.image.clone(), &first.registry));
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
        let object = match object {
            Some(object) if object.owner.is_some() => Some(object),
            Some(object) => self.adopt_push(&record, &object, &owner).await?,
            None => self.create_push(&record, &owner).await?,
        };
        let Some(object) = object else { return Ok(None) };
        let status = object::status(&record, &object.conditions, Timestamp::now()).map_err(unwritable)?;
        let patch = json!({"metadata": {"uid": object.uid, "resourceVersion": object.version}, "status": status});
        let api = pushes(self.client());
        let (params, patch) = (params(), Patch::Merge(patch));
        let patched = api.patch_status(id.as_str(), &params, &patch);
        let patched = ask(&format!("the status of {}", what(id.as_str())), "patch", patched).await;
        let Some(patched) = unless_somebody_was_faster(patched, &[404, 409])? else {
            return Ok(None);
        };
        let seen = Seen::of(&Object::read(&patched));
        self.pushes.change(|known, changes| known.wrote(seen, changes));
        Ok(Some(records))
    }

    async fn create_push(&self, record: &Record, owner: &OwnerReference) -> Result<Option<Object>, StoreError> {
        let place = self.room_for_a_push(record.id().as_str()).await?;
        let new = object::new(record, owner).map_err(unwritable)?;
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
        let mut metadata = object::adoption(record, object, owner);
        metadata["uid"] = object.uid.clone().into();
        metadata["resourceVersion"] = object.version.clone().into();
        let (params, patch) = (params(), Patch::<Value>::Merge(json!({"metadata": metadata})));
        let api = pushes(self.client());
        let patched = api.patch(&object.name, &params, &patch);
        let patched = unless_somebody_was_faster(ask(&what(&object.name), "patch", patched).await, &[404, 409])?;
        Ok(patched.map(|patched| Object::read(&patched)))
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

fn params() -> PatchParams {
    PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    }
}

/// None where one of these codes says so.
fn unless_somebody_was_faster<T>(answer: Result<T, Failed>, codes: &[u16]) -> Result<Option<T>, StoreError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(failed) if failed.code.is_some_and(|code| codes.contains(&code)) => Ok(None),
        Err(failed) => Err(failed.error),
    }
}

/// How often somebody else may be faster.
const ATTEMPTS: u32 = 12;

const PAUSE: Duration = Duration::from_millis(5);
