//! Room for another object: there are so many at most, and those that nobody needs go for it.

use std::{collections::BTreeSet, time::Duration};

use futures_util::{
    future::BoxFuture,
    stream::{self, StreamExt, TryStreamExt},
};
use hashbrown::{HashMap, HashSet};
use jiff::{SignedDuration, Timestamp};
use kube::{api::ListParams, core::DynamicObject};
use tokio::time::Instant;

use super::{
    super::requests::ask,
    AT_ONCE, Kubernetes, RESOURCE, Records, lock,
    object::{Object, Seen},
    pushes,
};
use crate::{
    pushes::{Key, Success},
    reference::Reference,
    store::StoreError,
};

/// Which image references the Pods of the cluster use, as they are written there; or why that is not known.
pub type InUse = Box<dyn Fn() -> BoxFuture<'static, Result<BTreeSet<String>, String>> + Send + Sync>;

pub(super) struct Room {
    /// So many objects at most.
    most: usize,
    in_use: Option<InUse>,
    /// Whoever makes room has it; when it was last looked for in vain.
    looked: tokio::sync::Mutex<Option<Instant>>,
}

/// For an object that is being made.
pub(super) struct Place<'r> {
    records: &'r Records,
    name: Box<str>,
    is_taken: bool,
}

/// An object that could go.
struct Candidate {
    name: Box<str>,
    uid: Box<str>,
    version: Box<str>,
    /// When something was last heard of it.
    heard_at: Timestamp,
    /// What there is of it.
    pushed: Option<Pushed>,
}

struct Pushed {
    image: Key,
    order: (Timestamp, u64),
    /// By which a Pod may use what was pushed.
    keys: [Key; 2],
}

impl Default for Room {
    fn default() -> Self {
        Self {
            most: MOST,
            in_use: None,
            looked: tokio::sync::Mutex::default(),
        }
    }
}

impl Place<'_> {
    /// The object was made.
    pub(super) fn take(mut self, seen: Seen) {
        self.is_taken = true;
        self.records.change(|known, changes| {
            known.wrote(seen, changes);
            known.expected(&self.name);
        });
    }
}

impl Records {
    /// None where there is no room.
    fn place(&self, name: &str) -> Option<Place<'_>> {
        self.place_of(name, self.room.most)
    }

    fn place_of(&self, name: &str, most: usize) -> Option<Place<'_>> {
        let is_room = lock(&self.known).expect(name, most);
        // Made only where there is room: one that is dropped gives back what it has.
        is_room.then(|| Place {
            records: self,
            name: name.into(),
            is_taken: false,
        })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if !self.is_taken {
            lock(&self.records.known).expected(&self.name);
        }
    }
}

impl Kubernetes {
    /// With so many push records at most instead of 20,000. For tests.
    #[must_use]
    pub fn with_most_pushes(mut self, most: usize) -> Self {
        self.pushes.room.most = most;
        self
    }

    /// With what says which images the Pods of the cluster use: without it, none that is the latest push of its image goes for others.
    #[must_use]
    pub fn with_images_in_use(mut self, in_use: InUse) -> Self {
        self.pushes.room.in_use = Some(in_use);
        self
    }

    /// Room for one more, of this name, for as long as it is not dropped.
    pub(super) async fn room_for_a_push(&self, name: &str) -> Result<Place<'_>, StoreError> {
        let room = &self.pushes.room;
        let place = || self.pushes.place(name);
        if let Some(place) = place() {
            return Ok(place);
        }
        let mut looked = room.looked.lock().await;
        if let Some(place) = place() {
            return Ok(place);
        }
        // Others may take what was made.
        while looked.is_none_or(|looked| looked.elapsed() >= LOOK_EVERY) {
            *looked = (!self.make_room().await?).then(Instant::now);
            if let Some(place) = place() {
                return Ok(place);
            }
        }
        let why = if room.in_use.is_some() {
            "is used by a Pod"
        } else {
            "is the latest push of its image"
        };
        Err(StoreError::Full(format!(
            "there are {} push records, and what each of them is about {why}: delete those that nobody needs (`kubectl delete push NAME`), \
             or a registry that nobody uses, with which its records go",
            room.most
        )))
    }

    /// The same for whoever may delete nothing: there are some more for these, until [`Self::shrink`] has made room.
    pub(super) fn room_aside(&self, name: &str) -> Result<Place<'_>, StoreError> {
        let most = self.pushes.room.most;
        self.pushes
            .place_of(name, most + (most / BATCHES).max(1))
            .ok_or_else(|| {
                StoreError::Full(format!(
                    "there are {most} push records and more, and the controller has made no room yet"
                ))
            })
    }

    /// Makes room where there are more than there should be, as far as nobody needs them.
    pub(in super::super) async fn shrink(&self) -> Result<(), StoreError> {
        let room = &self.pushes.room;
        let _looked = room.looked.lock().await;
        while lock(&self.pushes.known).count() > room.most {
            if !self.make_room().await? {
                break;
            }
        }
        Ok(())
    }

    /// Deletes some of those that nobody needs. Whether there were any: those that were just written anew stay nevertheless.
    async fn make_room(&self) -> Result<bool, StoreError> {
        let (mut nothing, mut pushed) = (Vec::new(), Vec::new());
        let now = Timestamp::now();
        // As they are at this moment: what a watch that is behind takes for somebody else's is not to go first.
        let owners: HashMap<_, _> = self.objects().await?.iter().map(uid_of).collect();
        let mut page = ListParams::default().limit(PAGE);
        loop {
            let list = ask(RESOURCE, "list", pushes(self.client()).list(&page)).await?;
            for object in &list.items {
                match candidate(object, &owners, now) {
                    Some(candidate) if candidate.pushed.is_some() => pushed.push(candidate),
                    Some(candidate) => nothing.push(candidate),
                    None => {}
                }
            }
            match list.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page.continue_token = Some(token),
                None => break,
            }
        }
        let batch = (self.pushes.room.most / BATCHES).max(1);
        let mut going = nothing;
        going.sort_by_key(|candidate| candidate.heard_at);
        going.truncate(batch);
        let (mut latest, mut others) = latest(pushed);
        others.sort_by_key(Candidate::order);
        others.truncate(batch - going.len());
        going.append(&mut others);
        if going.len() < batch
            && let Some(used) = self.images_in_use().await
        {
            latest.retain(|candidate| !candidate.is_used(&used));
            latest.sort_by_key(Candidate::order);
            latest.truncate(batch - going.len());
            going.append(&mut latest);
        }
        let is_any = !going.is_empty();
        let deleted = stream::iter(going)
            .map(async |candidate| {
                self.delete_push(&candidate.name, &candidate.uid, &candidate.version)
                    .await
            })
            .buffer_unordered(AT_ONCE)
            .try_fold(0_usize, async |count, deleted| Ok(count + usize::from(deleted)))
            .await?;
        if deleted > 0 {
            tracing::info!(
                deleted,
                "{deleted} push records that nobody needs went, to make room for others"
            );
        }
        Ok(is_any)
    }

    /// None where nobody can say.
    async fn images_in_use(&self) -> Option<HashSet<Key>> {
        match self.pushes.room.in_use.as_ref()?().await {
            Ok(references) => Some(
                references
                    .iter()
                    .filter_map(|reference| Reference::parse(reference).ok())
                    .flat_map(|reference| {
                        let digest = reference.digest().map(|digest| Key::of_digest(&reference, digest));
                        std::iter::once(Key::of(&reference)).chain(digest)
                    })
                    .collect(),
            ),
            Err(why) => {
                tracing::warn!("it is not known which images Pods use, and no latest push goes for others: {why}");
                None
            }
        }
    }
}

/// None where it may not go.
fn candidate(object: &DynamicObject, owners: &HashMap<String, String>, now: Timestamp) -> Option<Candidate> {
    let object = Object::read(object);
    let owner = owners.get(object.registry());
    let is_of_another = object.owner.is_some() && object.owner.as_ref() != owner;
    // Somebody waits for it. Where there is no such registry, he does so in vain.
    if object.is_open() && owner.is_some() && !is_of_another {
        return None;
    }
    let record = object.record().ok().flatten().filter(|_| !is_of_another);
    let heard_at = record.as_ref().and_then(|record| record.heard_at());
    let heard_at = heard_at.unwrap_or(object.created_at);
    // Somebody is at it, or is about to be.
    let is_open = record.as_ref().is_some_and(|record| match &record.last_attempt {
        Some(attempt) => !attempt.state.is_final(),
        None => record.withdrawn_at.is_none(),
    });
    let success = record.as_ref().and_then(|record| record.last_success.as_ref());
    if is_open && success.is_none() && now.duration_since(heard_at) < PATIENCE {
        return None;
    }
    let pushed = success.and_then(|success| {
        Some(Pushed {
            image: object.image.as_ref().ok()?.key(),
            order: success.order(),
            keys: keys(success)?,
        })
    });
    Some(Candidate {
        name: object.name.into(),
        uid: object.uid.into(),
        version: object.version.into(),
        heard_at,
        pushed,
    })
}

/// A registry's id, and the uid of its object.
fn uid_of(object: &DynamicObject) -> (String, String) {
    let meta = &object.metadata;
    (
        meta.name.clone().unwrap_or_default(),
        meta.uid.clone().unwrap_or_default(),
    )
}

impl Candidate {
    fn order(&self) -> Option<(Timestamp, u64)> {
        self.pushed.as_ref().map(|pushed| pushed.order)
    }

    fn is_used(&self, used: &HashSet<Key>) -> bool {
        self.pushed
            .as_ref()
            .is_some_and(|pushed| used.contains(&pushed.image) || pushed.keys.iter().any(|key| used.contains(key)))
    }
}

/// As a Pod may name what was pushed: by its tag, and by its digest.
fn keys(success: &Success) -> Option<[Key; 2]> {
    let target = success.reference()?;
    Some([Key::of(&target), Key::of_digest(&target, &success.digest)])
}

/// The latest of each image, and the others.
fn latest(pushed: Vec<Candidate>) -> (Vec<Candidate>, Vec<Candidate>) {
    let mut newest: HashMap<Key, (Timestamp, u64)> = HashMap::new();
    for Pushed { image, order, .. } in pushed.iter().filter_map(|candidate| candidate.pushed.as_ref()) {
        newest
            .entry(*image)
            .and_modify(|newest| *newest = (*newest).max(*order))
            .or_insert(*order);
    }
    pushed.into_iter().partition(|candidate| {
        let pushed = candidate.pushed.as_ref();
        pushed.is_some_and(|pushed| newest.get(&pushed.image) == Some(&pushed.order))
    })
}

/// So many objects at most: what the API server and etcd hold with ease.
const MOST: usize = 20_000;

/// One of so many parts of them goes at a time.
const BATCHES: usize = 40;

const PAGE: u32 = 500;

/// A push that nobody has told the end of in so long goes on no more.
const PATIENCE: SignedDuration = SignedDuration::from_hours(24);

/// Where nothing could go, it is looked for again after so long.
const LOOK_EVERY: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::pushes::Image;

    #[test]
    fn whoever_asks_in_vain_takes_nobodys_place() {
        let mut records = Records::new();
        records.room.most = 2;
        let held = [records.place("a"), records.place("b")];
        assert!(held.iter().all(Option::is_some));
        for _ in 0..3 {
            assert!(records.place("c").is_none());
        }
        drop(held);
        assert!(records.place("c").is_some());
    }

    #[test]
    fn what_two_tasks_make_is_one_object() {
        let mut records = Records::new();
        records.room.most = 2;
        let first = records.place("a");
        let second = records.place("a");
        assert!(records.place("b").is_some());
        drop(first);
        assert_eq!(lock(&records.known).count(), 1);
        drop(second);
        assert_eq!(lock(&records.known).count(), 0);
    }

    #[test]
    fn what_somebody_waits_for_never_goes() {
        let now = Timestamp::now();
        let object = |owner: Value, status: Value| {
            let image = Image::parse("a.io/a:1").unwrap();
            let name = format!("prod.{}", image.key());
            serde_json::from_value(json!({
                "metadata": {"name": name, "uid": "one", "resourceVersion": "1", "creationTimestamp": "2020-01-01T00:00:00Z",
                    "ownerReferences": owner},
                "spec": {"image": "a.io/a:1", "registry": "prod"},
                "status": status,
            }))
            .unwrap()
        };
        let owner =
            |uid: &str| json!([{"apiVersion": "waypost.dev/v1alpha1", "kind": "Registry", "name": "prod", "uid": uid}]);
        let status = |copying: Value| json!({"copying": copying, "lastAttempt": {"state": "RUNNING", "attempt": 1, "startedAt": "2020-01-01T00:00:00Z"}});
        let owners = HashMap::from([("prod".to_owned(), "prod-1".to_owned())]);
        let open = status(json!({"askedAt": "2020-01-01T00:00:00Z"}));
        for (goes, object) in [
            (false, object(owner("prod-1"), open.clone())),
            (false, object(Value::Null, Value::Null)),
            // Nobody has said how it ended.
            (true, object(owner("prod-1"), status(Value::Null))),
            (true, object(owner("prod-0"), open)),
        ] {
            assert_eq!(candidate(&object, &owners, now).is_some(), goes, "{object:?}");
        }
        // There is no such registry.
        let waiting = object(Value::Null, Value::Null);
        assert!(candidate(&waiting, &HashMap::new(), now).is_some());
    }
}
