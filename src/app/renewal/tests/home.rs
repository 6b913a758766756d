//! A store that fails where a test says so, and remembers what people were told.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use futures_util::future::{BoxFuture, FutureExt};
use tokio::sync::watch;

use crate::{
    pushes::{Copies, Event, Index, Order, PushId, Record},
    registry::{Condition, Credential, Credentials, Keys},
    store::{
        Asked, Copy, Draft, News, PushPage, PushQuery, Pushes, Registries, Store, StoreError, Stored, Token, Version,
        embedded::Embedded,
    },
};

pub(super) struct Home {
    pub(super) store: Embedded,
    /// It keeps no tokens.
    pub(super) is_full: AtomicBool,
    /// The token cannot be read.
    pub(super) is_unreadable: AtomicBool,
    /// So often somebody wanted to read it.
    pub(super) read: AtomicUsize,
    /// The keys cannot be read.
    pub(super) has_no_keys: AtomicBool,
    /// So many tokens it was given.
    pub(super) given: AtomicUsize,
    pub(super) told: Mutex<Vec<News>>,
}

impl Home {
    pub(super) fn of(store: Embedded) -> Self {
        Self {
            store,
            is_full: AtomicBool::new(false),
            is_unreadable: AtomicBool::new(false),
            read: AtomicUsize::new(0),
            has_no_keys: AtomicBool::new(false),
            given: AtomicUsize::new(0),
            told: Mutex::default(),
        }
    }
}

fn refused<'s, T: Send + 's>(why: &str) -> BoxFuture<'s, Result<T, StoreError>> {
    std::future::ready(Err(StoreError::Unavailable(why.to_owned()))).boxed()
}

impl Pushes for Home {
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
        self.store.happened(events)
    }

    fn copies(&self) -> watch::Receiver<Copies> {
        self.store.copies()
    }

    fn ask(&self, order: Order) -> BoxFuture<'_, Result<Asked, StoreError>> {
        self.store.ask(order)
    }

    fn ask_from_aside(&self, order: Order) -> BoxFuture<'_, Result<(), StoreError>> {
        self.store.ask_from_aside(order)
    }

    fn copy<'s>(&'s self, id: &'s PushId) -> BoxFuture<'s, Result<Option<Copy>, StoreError>> {
        self.store.copy(id)
    }
}

impl Store for Home {
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
        self.read.fetch_add(1, Ordering::Relaxed);
        if self.is_unreadable.load(Ordering::Relaxed) {
            return refused("the Secret is gone");
        }
        self.store.credentials(id)
    }

    fn notification_token<'s>(&'s self, id: &'s str) -> BoxFuture<'s, Result<Option<Credential>, StoreError>> {
        self.store.notification_token(id)
    }

    fn keys<'s>(&'s self, id: &'s str) -> BoxFuture<'s, Result<Keys, StoreError>> {
        if self.has_no_keys.load(Ordering::Relaxed) {
            return refused("the Secret `corp-key` does not exist");
        }
        self.store.keys(id)
    }

    fn issued<'s>(&'s self, id: &'s str, token: Token) -> BoxFuture<'s, Result<(), StoreError>> {
        self.given.fetch_add(1, Ordering::Relaxed);
        if self.is_full.load(Ordering::Relaxed) {
            return refused("the disk is full");
        }
        self.store.issued(id, token)
    }

    fn tell<'s>(&'s self, _: &'s str, news: News) -> BoxFuture<'s, ()> {
        self.told.lock().unwrap().push(news);
        std::future::ready(()).boxed()
    }

    fn report<'s>(&'s self, id: &'s str, conditions: Vec<Condition>) -> BoxFuture<'s, Result<(), StoreError>> {
        self.store.report(id, conditions)
    }
}
