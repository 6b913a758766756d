//! What somebody tells of pushes, by REST or as a registry: it is counted, and pushes that lead in a circle are told of.

use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt};
use tokio::sync::watch;

use super::registries;
use crate::{
    decide,
    metrics::PushMetrics,
    pushes::{Copies, Event, Image, Index, Order, PushId, Record, State, What},
    registry::{Condition, Credential, Credentials, Keys},
    store::{
        Asked, Copy, Draft, News, PushPage, PushQuery, Pushes, Registries, Store, StoreError, Stored, Token, Version,
    },
};

/// A store, by way of which push records come.
pub(super) struct Told {
    pub(super) store: Arc<dyn Store>,
    pub(super) metrics: PushMetrics,
}

impl Told {
    fn tell(&self, told: &[Option<(State, Image)>], records: &[Record]) {
        for (told, record) in told.iter().zip(records) {
            let Some((state, image)) = told else { continue };
            self.metrics.told(&record.registry, *state);
            if *state == State::Succeeded {
                self.look_for_circles(image, record);
            }
        }
    }

    fn look_for_circles(&self, image: &Image, record: &Record) {
        let index = self.store.index().borrow().clone();
        let target = record.last_success.as_ref().and_then(|success| success.reference());
        // Mostly nobody has pushed it on.
        if target.is_none_or(|target| index.find(&target).is_empty()) {
            return;
        }
        let registries = registries::known(&self.store.registries().borrow());
        if let Some(cycle) = decide::cycle(&index, &registries, image) {
            tracing::warn!(
                registry = &*cycle.registry,
                "pushes lead in a circle, through {}: the newest of them, of {} into {}, is left out",
                cycle.images.join(", "),
                cycle.dropped,
                cycle.registry
            );
        }
    }
}

impl Pushes for Told {
    fn index(&self) -> watch::Receiver<Index> {
        self.store.index()
    }

    fn push<'s>(&'s self, id: &'s PushId) -> BoxFuture<'s, Result<Option<Record>, StoreError>> {
        self.store.push(id)
    }

    fn pushes<'s>(&'s self, query: &'s PushQuery) -> BoxFuture<'s, Result<PushPage, StoreError>> {
        self.store.pushes(query)
    }

    fn happened(&self, events: Vec<Event>) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        async move {
            let told: Vec<_> = events.iter().map(told).collect();
            let records = self.store.happened(events).await?;
            self.tell(&told, &records);
            Ok(records)
        }
        .boxed()
    }

    fn copies(&self) -> watch::Receiver<Copies> {
        self.store.copies()
    }

    fn ask(&self, order: Order) -> BoxFuture<'_, Result<Asked, StoreError>> {
        async move {
            let asked = self.store.ask(order).await?;
            if !asked.joined {
                self.metrics.told(&asked.record.registry, State::Pending);
            }
            Ok(asked)
        }
        .boxed()
    }

    fn ask_from_aside(&self, order: Order) -> BoxFuture<'_, Result<(), StoreError>> {
        self.store.ask_from_aside(order)
    }

    fn copy<'s>(&'s self, id: &'s PushId) -> BoxFuture<'s, Result<Option<Copy>, StoreError>> {
        self.store.copy(id)
    }
}

impl Store for Told {
    fn registries(&self) -> watch::Receiver<Registries> {
        self.store.registries()
    }

    fn registry<'s>(&'s self, id: &'s str) -> BoxFuture<'s, Result<Option<Stored>, StoreError>> {
        self.store.registry(id)
    }

    fn list(&self) -> BoxFuture<'_, Result<Registries, StoreError>> {
        self.store.list()
    }

    fn create<'s>(&'s self, id: &'s str, draft: Draft) -> BoxFuture<'s, Result<Stored, StoreError>> {
        self.store.create(id, draft)
    }

    fn replace<'s>(
        &'s self,
        id: &'s str,
        draft: Draft,
        expected: Option<&'s Version>,
    ) -> BoxFuture<'s, Result<Stored, StoreError>> {
        self.store.replace(id, draft, expected)
    }

    fn delete<'s>(&'s self, id: &'s str, expected: Option<&'s Version>) -> BoxFuture<'s, Result<(), StoreError>> {
        self.store.delete(id, expected)
    }

    fn credentials<'s>(&'s self, id: &'s str) -> BoxFuture<'s, Result<Credentials, StoreError>> {
        self.store.credentials(id)
    }

    fn notification_token<'s>(&'s self, id: &'s str) -> BoxFuture<'s, Result<Option<Credential>, StoreError>> {
        self.store.notification_token(id)
    }

    fn keys<'s>(&'s self, id: &'s str) -> BoxFuture<'s, Result<Keys, StoreError>> {
        self.store.keys(id)
    }

    fn issued<'s>(&'s self, id: &'s str, token: Token) -> BoxFuture<'s, Result<(), StoreError>> {
        self.store.issued(id, token)
    }

    fn tell<'s>(&'s self, id: &'s str, news: News) -> BoxFuture<'s, ()> {
        self.store.tell(id, news)
    }

    fn report<'s>(&'s self, id: &'s str, conditions: Vec<Condition>) -> BoxFuture<'s, Result<(), StoreError>> {
        self.store.report(id, conditions)
    }
}

/// What of an event is counted: a push that began or ended.
fn told(event: &Event) -> Option<(State, Image)> {
    let state = match event.what {
        What::Begun => State::Running,
        What::Succeeded { .. } => State::Succeeded,
        What::Failed { .. } => State::Failed,
        What::Asked(_) => State::Pending,
        What::Progress { .. } | What::Withdrawn { .. } | What::Inspected { .. } => return None,
    };
    Some((state, event.image.clone()))
}
