//! Push records on one machine.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use futures_util::future::{BoxFuture, FutureExt};
use tokio::sync::watch;

use super::{Embedded, Inner};
use crate::{
    pushes::{Event, Index, PushId, Record},
    store::{PushPage, PushQuery, Pushes, StoreError},
};

/// The records that are kept.
pub(super) struct Records {
    all: Mutex<(u64, BTreeMap<PushId, Record>)>,
    published: watch::Sender<Index>,
}

impl Records {
    pub(super) fn new() -> Self {
        Self {
            all: Mutex::default(),
            published: watch::Sender::default(),
        }
    }
}

impl Inner {
    fn happen(&self, event: &Event) -> Result<Record, StoreError> {
        if !self.entries().contains_key(&*event.registry) {
            return Err(StoreError::NotFound(event.registry.to_string()));
        }
        let mut all = self.records.all.lock().unwrap_or_else(PoisonError::into_inner);
        let (sequence, records) = &mut *all;
        *sequence += 1;
        let new = Record::new(event.image.clone(), &event.registry);
        let before = records.get(&new.id()).unwrap_or(&new);
        let Some(after) = before.after(event, (self.clock)(), *sequence) else {
            return Ok(before.clone());
        };
        self.records.published.send_modify(|index| {
            *index = index.with([(&after.image, &*after.registry, after.last_success.as_ref())]);
        });
        records.insert(after.id(), after.clone());
        Ok(after)
    }
}

impl Pushes for Embedded {
    fn index(&self) -> watch::Receiver<Index> {
        self.inner.records.published.subscribe()
    }

    fn push<'s>(&'s self, id: &'s PushId) -> BoxFuture<'s, Result<Option<Record>, StoreError>> {
        async move {
            let all = self.inner.records.all.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(all.1.get(id).cloned())
        }
        .boxed()
    }

    fn pushes<'s>(&'s self, query: &'s PushQuery) -> BoxFuture<'s, Result<PushPage, StoreError>> {
        async move {
            let all = self.inner.records.all.lock().unwrap_or_else(PoisonError::into_inner);
            let wanted = |record: &&Record| {
                query.image.as_ref().is_none_or(|image| *image == record.image)
                    && query
                        .registry
                        .as_ref()
                        .is_none_or(|registry| **registry == *record.registry)
                    && query
                        .state
                        .is_none_or(|state| record.last_attempt.as_ref().is_some_and(|last| last.state == state))
                    && query
                        .after
                        .as_ref()
                        .is_none_or(|after| record.id().as_str() > after.as_str())
            };
            let mut found = all.1.values().filter(wanted);
            let items: Vec<_> = found.by_ref().take(query.limit).cloned().collect();
            let next = match (found.next(), items.last()) {
                (Some(_), Some(last)) => Some(last.id().as_str().to_owned()),
                _ => None,
            };
            Ok(PushPage { items, next })
        }
        .boxed()
    }

    fn happened(&self, events: Vec<Event>) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        self.change(move |inner, _| events.iter().map(|event| inner.happen(event)).collect())
    }
}
