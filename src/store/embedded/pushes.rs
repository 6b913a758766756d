//! Push records on one machine: they are in the file, and in memory is only which push of an image is the latest.

mod copies;
mod page;
mod room;
mod written;

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use futures_util::future::{BoxFuture, FutureExt};
use redb::Range;
use tokio::sync::watch;

use super::{
    Embedded, Inner,
    failure::Failure,
    home::{Home, Write},
    tables::PushTables,
};
use crate::{
    pushes::{Copies, Copying, Event, Index, MOST_COPIES, Order, Origin, PushId, Record, Success, Wanted, What},
    registry::Login,
    store::{Asked, Copy, PushPage, PushQuery, Pushes, StoreError},
};

/// A record that events are told of.
struct Told {
    /// Whether there was one before.
    was_there: bool,
    success_before: Option<Success>,
    copying_before: Option<Copying>,
    record: Record,
    changed: bool,
}

impl Inner {
    /// Keeps what happened, all of it or nothing. `login` is the credential of the copies that are asked for.
    fn happen(&self, home: &mut Home, events: &[Event], login: Option<&Login>) -> Result<Vec<Record>, StoreError> {
        let mut told = home.pushes(|tables| told(tables, events)).map_err(unread)?;
        let received = (self.clock)();
        let mut sequence = home.sequence();
        let mut records = Vec::with_capacity(events.len());
        for event in events {
            let Some(told) = told.get_mut(&id(event)) else { continue };
            if let Some(after) = told.record.after(event, received, sequence + 1) {
                sequence += 1;
                told.record = after;
                told.changed = true;
            }
            records.push(told.record.clone());
        }
        let numbers = sequence - home.sequence();
        if numbers == 0 {
            return Ok(records);
        }
        let new = told.values().filter(|told| told.changed && !told.was_there).count();
        let changed: Vec<_> = told.iter().filter(|(_, told)| told.changed).collect();
        let copies: Vec<_> = {
            let copies = changed.iter().map(|(id, told)| (*id, *told));
            copies
                .filter(|(_, told)| told.record.copying != told.copying_before)
                .collect()
        };
        self.has_time_for(&copies)?;
        let gone = self.make_room(home, new, |id| told.contains_key(id))?;
        let mut rows = Vec::with_capacity(changed.len() + gone.len());
        for (id, told) in &changed {
            rows.push(((*id).clone(), Some(written::written(told.record.clone())?)));
        }
        rows.extend(gone.iter().map(|victim| (victim.id.clone(), None)));
        let index = {
            let pushed = changed.iter().map(|(_, told)| *told);
            let pushed = pushed.filter(|told| told.record.last_success != told.success_before);
            let pushed = pushed.map(|told| {
                let record = &told.record;
                (&record.image, &*record.registry, record.last_success.as_ref())
            });
            let gone = gone.iter().filter(|victim| victim.is_indexed());
            let gone = gone.map(|victim| (&victim.image, victim.id.registry(), None));
            let mut changes = pushed.chain(gone).peekable();
            changes.peek().is_some().then(|| self.index.borrow().with(changes))
        };
        let mut kept = Vec::with_capacity(copies.len());
        for (id, told) in &copies {
            // The credential of whoever asked first stays.
            let present = told
                .copying_before
                .is_some()
                .then(|| home.pushes(|tables| copies::one(tables, id)));
            let present = present.transpose().map_err(unread)?.flatten();
            let login = match &present {
                Some((_, login)) => login.as_ref(),
                None => login,
            };
            let copying = told.record.copying.as_ref();
            let written = copying.map(|copying| copies::written(copying, login)).transpose()?;
            kept.push(((*id).clone(), written));
        }
        let write = Write::Pushes {
            numbers,
            rows,
            copies: kept,
        };
        self.commit(home, &write, || {
            if let Some(index) = index {
                self.index.send_replace(index);
            }
            if !copies.is_empty() {
                let ids: BTreeSet<_> = copies.iter().map(|(id, _)| *id).collect();
                let open = copies.iter().filter_map(|(id, told)| {
                    let Copying { asked_at, refresh, .. } = *told.record.copying.as_ref()?;
                    let id = (*id).clone();
                    Some(Wanted { refresh, asked_at, id })
                });
                self.show_copies(|copy| !ids.contains(&copy.id), open);
            }
        })?;
        Ok(records)
    }

    /// Keeps what somebody wants.
    fn ask(&self, home: &mut Home, order: Order) -> Result<Asked, StoreError> {
        if !self.entries().contains_key(&*order.registry) {
            return Err(StoreError::NotFound(order.registry.into()));
        }
        let id = PushId::new(&order.registry, order.image.key());
        let present = home.pushes(|tables| one(tables, &id)).map_err(unread)?;
        let joined = present.is_some_and(|record| record.copying.is_some());
        let now = (self.clock)();
        let asked = Event {
            image: order.image.clone(),
            registry: order.registry.clone(),
            at: now,
            origin: Origin::Copy,
            what: What::Asked(order.copying(order.login.as_ref().map(|_| copies::HERE.into()), now)),
        };
        let records = self.happen(home, &[asked], order.login.as_ref())?;
        let record = records.into_iter().next_back();
        let record = record.unwrap_or_else(|| Record::new(order.image, &order.registry));
        Ok(Asked { record, joined })
    }

    /// Refuses more copies than may wait.
    fn has_time_for(&self, changed: &[(&PushId, &Told)]) -> Result<(), StoreError> {
        let begin = |told: &Told| told.copying_before.is_none() && told.record.copying.is_some();
        let new = changed.iter().filter(|(_, told)| begin(told)).count();
        let open = self.copies.borrow().len();
        match new > 0 && open + new > MOST_COPIES {
            true => Err(StoreError::Busy(format!(
                "{open} copies wait or go on, and no more than {MOST_COPIES} may: ask again when some of them have ended"
            ))),
            false => Ok(()),
        }
    }

    /// Shows which copies there are now: those of before that stay, and these.
    pub(super) fn show_copies(&self, stays: impl Fn(&Wanted) -> bool, new: impl IntoIterator<Item = Wanted>) {
        let before = self.copies.borrow().clone();
        let mut copies: Vec<_> = before.iter().filter(|copy| stays(copy)).cloned().collect();
        copies.extend(new);
        copies.sort_unstable();
        if *copies != *before {
            self.copies.send_replace(copies.into());
        }
    }

    /// Which records go, so that there is room for so many new ones.
    fn make_room(
        &self,
        home: &Home,
        new: usize,
        stays: impl Fn(&PushId) -> bool,
    ) -> Result<Vec<room::Victim>, StoreError> {
        let present = home.records().map_err(unread)?;
        let missing = (present + new).saturating_sub(self.most_records);
        if missing == 0 || new == 0 {
            return Ok(Vec::new());
        }
        // To look for them takes a while: more go at once than have to.
        let count = missing.max(self.most_records / BATCH);
        let registries: Vec<_> = self.entries().keys().cloned().collect();
        let copies = self.copies.borrow().clone();
        let copies: BTreeSet<_> = copies.iter().map(|copy| &copy.id).collect();
        // Somebody waits for those.
        let stays = |id: &PushId| stays(id) || copies.contains(id);
        let gone = home.pushes(|tables| room::victims(tables, &registries, count, stays));
        let gone = gone.map_err(unread)?;
        if gone.len() < missing {
            return Err(StoreError::Full(format!(
                "there are {present} push records, at most {} are kept, and none can go: remove a registry that is not used any more, \
                 and its records go with it",
                self.most_records
            )));
        }
        tracing::info!(
            records = gone.len(),
            "there are as many push records as are kept: those that are needed least were removed"
        );
        Ok(gone)
    }

    /// The index without the pushes into a registry.
    pub(super) fn index_without(&self, home: &Home, registry: &str) -> Result<Index, StoreError> {
        let index = self.index.borrow().clone();
        let (begin, end) = range(registry);
        home.pushes(|tables| {
            indexed(
                index,
                rows(tables.pushes.range::<&str>(begin.as_str()..end.as_str())?),
                false,
            )
        })
        .map_err(unread)
    }
}

impl Embedded {
    /// Reads push records, where that may block.
    fn read<T: Send + 'static>(
        &self,
        work: impl Fn(&PushTables) -> Result<T, Failure> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, StoreError>> {
        let inner = self.inner.clone();
        let work = move || {
            if let Some(found) = inner.handle.pushes(&work) {
                return found.map_err(unread);
            }
            // It was closed after an error: who comes first opens it again.
            let mut home = inner.home.blocking_lock();
            inner.ready(&mut home)?;
            home.pushes(work).map_err(unread)
        };
        async move {
            let stopped = |_| StoreError::Unavailable("the store is being closed".to_owned());
            tokio::task::spawn_blocking(work).await.map_err(stopped).flatten()
        }
        .boxed()
    }
}

impl Pushes for Embedded {
    fn index(&self) -> watch::Receiver<Index> {
        self.inner.index.subscribe()
    }

    fn push<'s>(&'s self, id: &'s PushId) -> BoxFuture<'s, Result<Option<Record>, StoreError>> {
        let id = id.clone();
        self.read(move |tables| one(tables, &id))
    }

    fn pushes<'s>(&'s self, query: &'s PushQuery) -> BoxFuture<'s, Result<PushPage, StoreError>> {
        let query = query.clone();
        let registries: Vec<_> = self.inner.entries().keys().cloned().collect();
        self.read(move |tables| page::page(tables, &query, &registries))
    }

    fn happened(&self, events: Vec<Event>) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        self.change(move |inner, home| {
            let known = |event: &&Event| inner.entries().contains_key(&*event.registry);
            if let Some(unknown) = events.iter().find(|event| !known(event)) {
                return Err(StoreError::NotFound(unknown.registry.to_string()));
            }
            let mut records = Vec::with_capacity(events.len());
            for events in events.chunks(inner.most_records.clamp(1, MOST_AT_ONCE)) {
                records.extend(inner.happen(home, events, None)?);
            }
            Ok(records)
        })
    }

    fn copies(&self) -> watch::Receiver<Copies> {
        self.inner.copies.subscribe()
    }

    fn ask(&self, order: Order) -> BoxFuture<'_, Result<Asked, StoreError>> {
        self.change(move |inner, home| inner.ask(home, order))
    }

    fn ask_from_aside(&self, order: Order) -> BoxFuture<'_, Result<(), StoreError>> {
        // Everybody on this machine may write everything.
        async move { self.ask(order).await.map(drop) }.boxed()
    }

    fn copy<'s>(&'s self, id: &'s PushId) -> BoxFuture<'s, Result<Option<Copy>, StoreError>> {
        let id = id.clone();
        self.read(move |tables| {
            let Some(record) = one(tables, &id)?.filter(|record| record.copying.is_some()) else {
                return Ok(None);
            };
            let login = copies::one(tables, &id)?.and_then(|(_, login)| login);
            Ok(Some(Copy { record, login }))
        })
    }
}

/// The records that these events are of, as they are before them.
fn told(tables: &PushTables, events: &[Event]) -> Result<BTreeMap<PushId, Told>, Failure> {
    let mut told = BTreeMap::new();
    for event in events {
        let Entry::Vacant(vacant) = told.entry(id(event)) else {
            continue;
        };
        let present = one(tables, vacant.key())?;
        vacant.insert(Told {
            was_there: present.is_some(),
            success_before: present.as_ref().and_then(|record| record.last_success.clone()),
            copying_before: present.as_ref().and_then(|record| record.copying.clone()),
            record: present.unwrap_or_else(|| Record::new(event.image.clone(), &event.registry)),
            changed: false,
        });
    }
    Ok(told)
}

fn id(event: &Event) -> PushId {
    PushId::new(&event.registry, event.image.key())
}

/// One record, as it is in the file.
fn one(tables: &PushTables, id: &PushId) -> Result<Option<Record>, Failure> {
    let json = tables.pushes.get(id.as_str())?;
    let read = json.map(|json| written::read(id.as_str(), json.value()).map_err(Failure::Damaged));
    read.map(|record| joined(tables, record?)).transpose()
}

/// The record with the copy that is part of it.
fn joined(tables: &PushTables, mut record: Record) -> Result<Record, Failure> {
    if record.last_attempt.as_ref().is_some_and(|last| !last.state.is_final()) {
        record.copying = copies::one(tables, &record.id())?.map(|(copying, _)| copying);
    }
    Ok(record)
}

/// The copies that have not ended, as they are in the file.
pub(super) fn open_copies(tables: &PushTables) -> Result<Copies, Failure> {
    let mut open = Vec::new();
    for row in tables.copies.range::<&str>(..)? {
        let (id, _) = row?;
        let id = PushId::parse(id.value());
        let record = id.as_ref().map(|id| one(tables, id)).transpose()?.flatten();
        let copying = record.and_then(|record| record.copying);
        let (Some(id), Some(Copying { asked_at, refresh, .. })) = (id, copying) else {
            return Err(Failure::Damaged("it has a copy of no push that goes on".to_owned()));
        };
        open.push(Wanted { refresh, asked_at, id });
    }
    open.sort_unstable();
    Ok(open.into())
}

/// Records, as they are in the file, without the copies that are part of them.
pub(super) fn rows(rows: Range<'static, &'static str, &'static [u8]>) -> impl Iterator<Item = Result<Record, Failure>> {
    rows.map(|row| {
        let (id, json) = row?;
        written::read(id.value(), json.value()).map_err(Failure::Damaged)
    })
}

/// Where the ids of a registry's records begin, and before what they end.
pub(super) fn range(registry: &str) -> (String, String) {
    // The next character after the dot.
    (format!("{registry}."), format!("{registry}/"))
}

/// The index with the pushes of these records, or without them.
pub(super) fn indexed(
    mut index: Index,
    mut records: impl Iterator<Item = Result<Record, Failure>>,
    with: bool,
) -> Result<Index, Failure> {
    loop {
        let records: Vec<_> = records.by_ref().take(MOST_IN_MEMORY).collect::<Result<_, _>>()?;
        if records.is_empty() {
            return Ok(index);
        }
        let pushed = records.iter().filter(|record| record.last_success.is_some());
        index = index.with(pushed.map(|record| {
            let success = record.last_success.as_ref().filter(|_| with);
            (&record.image, &*record.registry, success)
        }));
    }
}

fn unread(failure: Failure) -> StoreError {
    StoreError::Unavailable(format!("the store could not be read: {failure}"))
}

/// How many records are kept, unless a test says otherwise.
pub const MOST_RECORDS: usize = 1_000_000;

/// How many events one commit keeps: no call keeps others waiting, nor fills the memory.
const MOST_AT_ONCE: usize = 1_000;

/// How many records are in memory while an index is made of all of them.
const MOST_IN_MEMORY: usize = 16_384;

/// One in so many goes at least, where there is no room.
const BATCH: usize = 100;
