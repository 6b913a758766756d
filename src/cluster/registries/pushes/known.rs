//! What is known of `Push` objects, from lists, from the watch, and from the answers to this process's own writes, in whatever order they
//! come in: nothing that is known is replaced by what is older.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    ops::Bound,
    sync::Arc,
};

use jiff::Timestamp;

use super::{super::super::watch::Change, object::Seen, what};
use crate::{
    pushes::{Copies, Image, PushId, State, Success, Wanted},
    store::PushQuery,
};

#[derive(Default)]
pub(super) struct Known {
    /// By name.
    entries: BTreeMap<Box<str>, Entry>,
    /// The names of those that this process itself wrote since the last look at everything began, until the watch tells of them: the look
    /// may have been before that.
    own: BTreeSet<Box<str>>,
    /// The uids of the registries that own them.
    owners: BTreeSet<Arc<str>>,
    /// The uids of registries that are no more, while there may still be objects of theirs.
    buried: BTreeSet<Arc<str>>,
    /// The greatest number that a push was given.
    sequence: u64,
    /// The names of those that somebody waits for, and since when.
    wanted: BTreeMap<Box<str>, Timestamp>,
    /// Whether that was told of to those who follow.
    is_wanted_told: bool,
    /// The names of objects that are being made, and by how many tasks: the watch may tell of one before its maker does.
    coming: BTreeMap<Box<str>, usize>,
}

/// An object. There are many of them.
struct Entry {
    /// Which state of it this is.
    revision: u64,
    owner: Option<Arc<str>>,
    /// What is in the index of it: its image, and what tells its push from another.
    indexed: Option<(Image, u64)>,
    /// Of the last attempt.
    state: Option<State>,
    is_understood: bool,
}

/// What becomes of the index.
pub(super) type Changes = Vec<Changed>;

/// What is the case now with an image in a registry.
pub(super) struct Changed {
    pub(super) image: Image,
    pub(super) registry: Box<str>,
    pub(super) success: Option<Success>,
}

impl Known {
    /// From now on objects are looked for anew. What was written before will be among them.
    pub(super) fn begin(&mut self) {
        self.own.clear();
    }

    /// These are all objects.
    pub(super) fn list(&mut self, all: Vec<Seen>, changes: &mut Changes) {
        let mut before = std::mem::take(&mut self.entries);
        for seen in all {
            if let Some((name, old)) = before.remove_entry(seen.name()) {
                self.entries.insert(name, old);
            }
            self.put(seen, changes);
        }
        for (name, old) in before {
            if self.own.contains(&name) {
                self.entries.insert(name, old);
            } else {
                self.want(&name, None);
                old.forgotten(&name, changes);
            }
        }
    }

    /// There are none: nobody knows what they are.
    pub(super) fn clear(&mut self, changes: &mut Changes) {
        self.begin();
        for (name, old) in std::mem::take(&mut self.entries) {
            self.want(&name, None);
            old.forgotten(&name, changes);
        }
    }

    pub(super) fn follow(&mut self, all: Vec<Change<Seen>>, changes: &mut Changes) {
        for change in all {
            match change {
                Change::Applied(seen) => {
                    let present = self.entries.get(seen.name());
                    if present.is_none_or(|present| present.revision <= seen.revision()) {
                        self.own.remove(seen.name());
                    }
                    self.put(seen, changes);
                }
                Change::Deleted(seen) => {
                    let present = self.entries.get(seen.name());
                    if present.is_some_and(|present| present.revision <= seen.revision()) {
                        self.forget(seen.name(), changes);
                    }
                }
            }
        }
    }

    /// This process has written it.
    pub(super) fn wrote(&mut self, seen: Seen, changes: &mut Changes) {
        self.own.insert(seen.name().into());
        self.put(seen, changes);
    }

    /// It is gone.
    pub(super) fn forget(&mut self, name: &str, changes: &mut Changes) {
        self.own.remove(name);
        self.want(name, None);
        if let Some(old) = self.entries.remove(name) {
            old.forgotten(name, changes);
        }
    }

    /// The registry of this uid is no more.
    pub(super) fn bury(&mut self, uid: &str, changes: &mut Changes) {
        let uid = self.owners.take(uid).unwrap_or_else(|| uid.into());
        let of_it = |entry: &Entry| entry.owner.as_ref() == Some(&uid);
        let gone = self.entries.iter().filter(|(_, entry)| of_it(entry));
        let gone: Vec<Box<str>> = gone.map(|(name, _)| name.clone()).collect();
        for name in gone {
            self.forget(&name, changes);
        }
        // As many as anybody deletes while a process lives; the objects of those beyond go when Kubernetes takes them away.
        if self.buried.len() < MOST_BURIED {
            self.buried.insert(uid);
        }
    }

    /// An object is, or was, like this.
    fn put(&mut self, seen: Seen, changes: &mut Changes) {
        let old = self.entries.get(seen.name());
        if old.is_some_and(|old| old.revision > seen.revision()) {
            return;
        }
        let (name, revision) = (Box::from(seen.name()), seen.revision());
        let is_buried = seen.owner().is_some_and(|uid| self.buried.contains(uid));
        if seen.is_ending || is_buried {
            return self.forget(&name, changes);
        }
        let registry = Box::from(seen.registry());
        let owner = seen.owner().map(|uid| match self.owners.get(uid) {
            Some(owner) => owner.clone(),
            None => {
                let owner: Arc<str> = uid.into();
                self.owners.insert(owner.clone());
                owner
            }
        });
        if let Err(why) = &seen.content
            && old.is_none_or(|old| old.is_understood)
        {
            tracing::warn!(push = &*name, "{} is left out: {why}", what(&name));
        }
        let is_understood = seen.content.is_ok();
        let content = seen.content.ok();
        let state = content.as_ref().and_then(|content| content.state);
        let pushed = content.and_then(|content| Some((content.image, content.success?)));
        let mark = pushed.as_ref().map(|(_, success)| mark(success));
        let before = old.and_then(|old| old.indexed.as_ref());
        match (before, pushed.clone()) {
            (Some((_, old)), Some(_)) if mark == Some(*old) => {}
            (_, Some((image, success))) => {
                self.sequence = self.sequence.max(success.sequence);
                let success = Some(success);
                changes.push(Changed {
                    image,
                    registry,
                    success,
                });
            }
            (Some((image, _)), None) => changes.push(Changed {
                image: image.clone(),
                registry,
                success: None,
            }),
            (None, None) => {}
        }
        let entry = Entry {
            revision,
            owner,
            indexed: pushed.map(|(image, _)| image).zip(mark),
            state,
            is_understood,
        };
        self.want(&name, seen.wanted);
        self.entries.insert(name, entry);
    }

    /// Since when somebody waits for it, if anybody does.
    fn want(&mut self, name: &str, since: Option<Timestamp>) {
        if self.wanted.get(name) == since.as_ref() {
            return;
        }
        self.is_wanted_told = false;
        match since {
            Some(since) => {
                self.wanted.insert(name.into(), since);
            }
            None => {
                self.wanted.remove(name);
            }
        }
    }

    /// All that somebody waits for, where that has changed since it was last told of.
    pub(super) fn copies(&mut self) -> Option<Copies> {
        if std::mem::replace(&mut self.is_wanted_told, true) {
            return None;
        }
        let named = self.wanted.iter().filter_map(|(name, asked_at)| {
            Some(Wanted {
                asked_at: *asked_at,
                id: PushId::parse(name)?,
            })
        });
        let mut copies: Vec<Wanted> = named.collect();
        copies.sort();
        Some(copies.into())
    }

    /// How many of these there are.
    pub(super) fn wanted(&self) -> usize {
        self.wanted.len()
    }

    /// The first of the numbers of so many pushes that are told of now: greater than any before.
    pub(super) fn next_sequences(&mut self, now: Timestamp, count: usize) -> u64 {
        let micros = u64::try_from(now.as_microsecond()).unwrap_or_default();
        let count = u64::try_from(count).unwrap_or(u64::MAX).max(1);
        let first = micros.max(self.sequence.saturating_add(1)).min(MOST_SEQUENCE);
        self.sequence = first.saturating_add(count - 1).min(MOST_SEQUENCE);
        first
    }

    /// The names of the next objects of a page, so many at most, and whether there are no more behind them. What was done here is
    /// among them, and what others did a moment ago.
    pub(super) fn names(&self, query: &PushQuery, limit: usize) -> (Vec<Box<str>>, bool) {
        let prefix = query.registry.as_ref().map(|registry| format!("{registry}."));
        let suffix = query.image.as_ref().map(|image| format!(".{}", image.key()));
        let start = match (&query.after, &prefix) {
            (Some(after), Some(prefix)) if after < prefix => Bound::Included(&**prefix),
            (Some(after), _) => Bound::Excluded(&**after),
            (None, Some(prefix)) => Bound::Included(&**prefix),
            (None, None) => Bound::Unbounded,
        };
        let of_registry = |name: &str| prefix.as_ref().is_none_or(|prefix| name.starts_with(&**prefix));
        let mut found = self
            .entries
            .range::<str, _>((start, Bound::Unbounded))
            // Those of a registry are beside each other.
            .take_while(|(name, _)| of_registry(name))
            .filter(|(name, entry)| {
                entry.is_understood
                    && suffix.as_ref().is_none_or(|suffix| name.ends_with(&**suffix))
                    && (query.state.is_none() || entry.state == query.state)
            });
        let names = found.by_ref().take(limit).map(|(name, _)| name.clone()).collect();
        (names, found.next().is_none())
    }

    /// How many objects there are, and are being made.
    pub(super) fn count(&self) -> usize {
        let coming = self.coming.keys().filter(|name| !self.entries.contains_key(*name));
        self.entries.len() + coming.count()
    }

    /// One more is being made, where there are fewer than so many.
    pub(super) fn expect(&mut self, name: &str, most: usize) -> bool {
        let is_room = self.count() < most;
        if is_room {
            *self.coming.entry(name.into()).or_default() += 1;
        }
        is_room
    }

    /// It was made, or it was not.
    pub(super) fn expected(&mut self, name: &str) {
        if let Some(tasks) = self.coming.get_mut(name) {
            *tasks -= 1;
            if *tasks == 0 {
                self.coming.remove(name);
            }
        }
    }
}

impl Entry {
    fn forgotten(self, name: &str, changes: &mut Changes) {
        // Only what is well named is in the index.
        if let (Some((image, _)), Some(id)) = (self.indexed, PushId::parse(name)) {
            changes.push(Changed {
                image,
                registry: id.registry().into(),
                success: None,
            });
        }
    }
}

/// What tells a push from another of the same image into the same registry.
fn mark(success: &Success) -> u64 {
    let Success {
        target,
        digest,
        platforms,
        children,
        finished_at,
        sequence,
    } = success;
    let mut hasher = DefaultHasher::new();
    (target, digest, platforms, children, finished_at, sequence).hash(&mut hasher);
    hasher.finish()
}

const MOST_BURIED: usize = 10_000;

/// The greatest integer of the API server.
const MOST_SEQUENCE: u64 = i64::MAX as u64;
