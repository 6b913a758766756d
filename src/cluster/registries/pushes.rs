//! Push records in the Kubernetes API: a `Push` object for each image in each registry, followed by every replica.
//!
//! Little is in memory of an object: what the [`Index`] has of it, its name, and which state of it that was. Whoever wants records asks
//! for their objects, one by one: their names are known in order, so that a page costs what is on it, and not what is before it or in
//! other registries, as a list of the API server would.
//!
//! An object belongs to the `Registry` object that owns it, and to no other of its name that is made later: when that goes, it counts for
//! nothing any more, at once, and Kubernetes takes it away in time. What stands in the status of an object that nobody owns counts for
//! nothing either.
//!
//! A copy is asked for by the status, or by an object that somebody makes or changes (`spec.copy`): whoever makes the copy takes that on, and
//! writes it into the status. A credential that comes with it is a Secret which the object owns, and which goes when the copy ends.

mod copies;
mod known;
mod logins;
mod object;
mod room;
mod writing;

use std::{collections::BTreeSet, convert::Infallible, sync::Mutex};

use futures_util::{
    future::{BoxFuture, FutureExt},
    stream::{self, StreamExt},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Api, Client, core::DynamicObject};
use tokio::sync::watch;

pub(super) use self::logins::is_ours;
pub use self::room::InUse;
use self::{
    known::{Changes, Known},
    object::{Object, Seen, resource},
};
use super::{
    super::watch::{self as following, Selection, follow, nobody},
    Kubernetes, lock,
    requests::{all, ask},
};
use crate::{
    pushes::{Copies, Event, Index, Order, PushId, Record},
    store::{Asked, Copy, PushPage, PushQuery, Pushes, StoreError},
};

/// What is known of the records, and who is at them.
pub(super) struct Records {
    known: Mutex<Known>,
    published: watch::Sender<Index>,
    copies: watch::Sender<Copies>,
    /// Whoever writes an object has the one of its name, and others of this process wait instead of being in each other's way.
    writers: [tokio::sync::Mutex<()>; WRITERS],
    room: room::Room,
}

impl Records {
    pub(super) fn new() -> Self {
        Self {
            known: Mutex::default(),
            published: watch::Sender::default(),
            copies: watch::Sender::default(),
            writers: std::array::from_fn(|_| tokio::sync::Mutex::default()),
            room: room::Room::default(),
        }
    }

    /// Changes what is known, and says so to whoever follows.
    fn change(&self, change: impl FnOnce(&mut Known, &mut Changes)) {
        let mut known = lock(&self.known);
        let mut changes = Changes::new();
        change(&mut known, &mut changes);
        // While it is locked, so that two changes are told in their order.
        if let Some(copies) = known.copies() {
            self.copies.send_replace(copies);
        }
        if changes.is_empty() {
            return;
        }
        let changes = changes
            .iter()
            .map(|change| (&change.image, &*change.registry, change.success.as_ref()));
        let next = self.published.borrow().with(changes);
        self.published.send_replace(next);
    }

    /// These registries, by uid, are no more.
    pub(super) fn bury<'u>(&self, registries: impl IntoIterator<Item = &'u str>) {
        let mut registries = registries.into_iter().peekable();
        if registries.peek().is_some() {
            self.change(|known, changes| registries.for_each(|uid| known.bury(uid, changes)));
        }
    }
}

impl Kubernetes {
    /// All objects, as far as they are kept. Where the resource is not known there are none.
    pub(super) async fn seen_pushes(&self) -> Result<Vec<Seen>, StoreError> {
        match all(RESOURCE, &Api::<Seen>::all(self.client()), None).await {
            Err(failed) if failed.code == Some(404) => Ok(Vec::new()),
            done => Ok(done?),
        }
    }

    /// What was found before anything was followed. Objects of registries that are none of those that there were afterwards are of
    /// registries that are gone.
    pub(super) fn begin_pushes(&self, seen: Vec<Seen>) {
        let gone: BTreeSet<String> = {
            let known = lock(&self.known);
            let strange = |seen: &Seen| {
                let uid = seen.owner()?;
                let owner = known.object(seen.registry()).map(|object| &*object.uid);
                (owner != Some(uid)).then(|| uid.to_owned())
            };
            seen.iter().filter_map(strange).collect()
        };
        // For good: they are listed again when they are followed.
        self.pushes.bury(gone.iter().map(String::as_str));
        self.pushes.change(|known, changes| known.list(seen, changes));
    }

    /// Follows them until it is dropped.
    pub(super) async fn follow_pushes(&self, mut tell: impl FnMut(super::Event)) -> Infallible {
        let mut number = 0;
        follow(
            async || {
                let client = self.reconnect(&mut number).await?;
                lock(&self.pushes.known).begin();
                Ok(Api::<Seen>::all(client))
            },
            Selection::all(RESOURCE),
            nobody,
            |event| {
                tell(match event {
                    following::Event::Listed(seen) => {
                        return self.pushes.change(|known, changes| known.list(seen, changes));
                    }
                    following::Event::Changed(seen) => {
                        return self.pushes.change(|known, changes| known.follow(seen, changes));
                    }
                    following::Event::Working => super::Event::Working,
                    following::Event::Broken(why) => super::Event::Broken { what: WHAT, why },
                    following::Event::Missing(why) => {
                        self.pushes.change(Known::clear);
                        super::Event::Missing { what: WHAT, why }
                    }
                });
            },
        )
        .await
    }

    /// One object, as the API server has it at this moment.
    async fn push_object(&self, name: &str) -> Result<Option<Object>, StoreError> {
        match ask(&what(name), "get", pushes(self.client()).get(name)).await {
            Ok(object) => Ok(Some(Object::read(&object)).filter(|object| !object.is_ending)),
            // The same where the resource is not known.
            Err(failed) if failed.code == Some(404) => Ok(None),
            Err(failed) => Err(failed.error),
        }
    }

    /// The record that is in an object; none where there is no registry any more that it was of.
    async fn push_record(&self, object: &Object) -> Result<Option<Record>, StoreError> {
        if let Some(uid) = &object.owner {
            let is_it = |owner: Option<OwnerReference>| owner.is_some_and(|owner| owner.uid == *uid);
            // What is known of the registry may be of before.
            if !is_it(self.owner(object.registry()).await?) && !is_it(self.owner_now(object.registry()).await?) {
                return Ok(None);
            }
        }
        object
            .record()
            .map_err(|why| StoreError::Unavailable(format!("{} cannot be understood: {why}", what(&object.name))))
    }

    async fn read_push(&self, id: &PushId) -> Result<Option<Record>, StoreError> {
        match self.push_object(id.as_str()).await? {
            Some(object) => self.push_record(&object).await,
            None => Ok(None),
        }
    }

    /// The record of this name, where there is one that can be understood.
    async fn listed_push(&self, name: Box<str>) -> Result<Option<Record>, StoreError> {
        let Some(object) = self.push_object(&name).await? else {
            return Ok(None);
        };
        match self.push_record(&object).await {
            // That was told when it was seen, and is in nobody's way.
            Err(_) if object.record().is_err() => Ok(None),
            found => found,
        }
    }

    async fn list_pushes(&self, query: &PushQuery) -> Result<PushPage, StoreError> {
        let limit = query.limit.clamp(1, PAGE);
        let (names, is_last) = lock(&self.pushes.known).names(query, limit);
        let found = stream::iter(names.clone()).map(|name| self.listed_push(name));
        let mut found = found.buffered(AT_ONCE);
        let mut items = Vec::with_capacity(names.len());
        while let Some(record) = found.next().await {
            let record: Option<Record> = record?;
            items.extend(record.filter(|record| {
                // It may have changed since.
                let state = record.last_attempt.as_ref().map(|attempt| attempt.state);
                query.state.is_none() || state == query.state
            }));
        }
        let next = names.last().filter(|_| !is_last).map(|name| String::from(&**name));
        Ok(PushPage { items, next })
    }
}

impl Pushes for Kubernetes {
    fn index(&self) -> watch::Receiver<Index> {
        self.pushes.published.subscribe()
    }

    fn push<'s>(&'s self, id: &'s PushId) -> BoxFuture<'s, Result<Option<Record>, StoreError>> {
        self.read_push(id).boxed()
    }

    fn pushes<'s>(&'s self, query: &'s PushQuery) -> BoxFuture<'s, Result<PushPage, StoreError>> {
        self.list_pushes(query).boxed()
    }

    fn happened(&self, events: Vec<Event>) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        self.keep_events(events).boxed()
    }

    fn copies(&self) -> watch::Receiver<Copies> {
        self.pushes.copies.subscribe()
    }

    fn ask(&self, order: Order) -> BoxFuture<'_, Result<Asked, StoreError>> {
        self.ask_for(order).boxed()
    }

    fn ask_from_aside(&self, order: Order) -> BoxFuture<'_, Result<(), StoreError>> {
        self.ask_aside(order).boxed()
    }

    fn copy<'s>(&'s self, id: &'s PushId) -> BoxFuture<'s, Result<Option<Copy>, StoreError>> {
        self.take_copy(id).boxed()
    }
}

fn pushes(client: Client) -> Api<DynamicObject> {
    Api::all_with(client, &resource())
}

/// As messages name an object.
fn what(name: &str) -> String {
    format!("the Push {name}")
}

/// As messages name all of them.
const WHAT: &str = "push records";

/// As a rule of RBAC names it.
const RESOURCE: &str = "pushes.waypost.dev";

/// So many on a page at most.
const PAGE: usize = 500;

/// So many objects are asked for at once.
const AT_ONCE: usize = 8;

const WRITERS: usize = 32;

#[cfg(test)]
mod tests;
