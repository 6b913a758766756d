//! The home on one machine: a file.
//!
//! What is in the file is in memory, too, from when it is opened, and read there; but for push records, of which there may be a million:
//! they are read from the file, and which of them are the latest is in memory, and which are copies that have not ended. A change is in memory once it is on the disk, so that nobody
//! sees what a crash could take back. One change is made at a time, each by a durable commit; when its caller goes away it is made
//! nevertheless. A file that is full or cannot be written fails the change and nothing else: whoever comes next opens it again.

mod error;
mod failure;
mod handle;
mod home;
mod load;
mod medium;
mod pushes;
mod record;
mod tables;

use std::{
    fmt, io,
    path::Path,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

use futures_util::future::{BoxFuture, FutureExt};
use jiff::Timestamp;
use redb::backends::InMemoryBackend;
use tokio::sync::watch;

pub use self::{error::OpenError, pushes::MOST_RECORDS};
use self::{
    failure::Failure,
    handle::Handle,
    home::{Entries, Home, Unwritten, Write},
    load::Contents,
    medium::{Disk, Found, Medium},
    tables::{ISSUED, NOTIFY, PULL, PUSH},
};
use super::{Change, DeclaredBy, Draft, Edition, News, Registries, Store, StoreError, Stored, Token, Version};
use crate::{
    pushes::{Copies, Index},
    registry::{Condition, ConditionKind, Credential, Credentials, Keys, Location, Login, id_problem},
};

/// Keeps registries, their credentials and push records in a file, or in memory.
#[derive(Clone)]
pub struct Embedded {
    inner: Arc<Inner>,
}

/// What time it is.
pub type Clock = Box<dyn Fn() -> Timestamp + Send + Sync>;

struct Inner {
    /// Whoever changes something has it.
    home: Arc<tokio::sync::Mutex<Home>>,
    /// Whoever reads push records uses it.
    handle: Handle,
    entries: RwLock<Entries>,
    published: watch::Sender<Registries>,
    index: watch::Sender<Index>,
    copies: watch::Sender<Copies>,
    clock: Clock,
    id: Box<str>,
    most_records: usize,
}

/// A registry and its credentials.
#[derive(Clone)]
struct Entry {
    stored: Stored,
    /// Those that were given. Where tokens are issued they are keys.
    credentials: Credentials,
    /// What it notifies with.
    token: Option<Credential>,
    /// What was issued to pull with.
    issued: Option<Login>,
}

impl Embedded {
    /// Opens the store in a file, or makes one where there is no file, with its directory if need be. It is this process's alone until
    /// the last clone is dropped. Blocks.
    ///
    /// # Errors
    ///
    /// When another process has it, when it cannot be read or written, or is not what was written; see [`OpenError`].
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Self::open_at(path, Box::new(Timestamp::now))
    }

    /// The same by another clock.
    ///
    /// # Errors
    ///
    /// As [`Embedded::open`].
    pub fn open_at(path: &Path, clock: Clock) -> Result<Self, OpenError> {
        let medium = match Disk::open(path)? {
            Found::Present(disk) => Medium::new(disk),
            Found::Absent(new, disk) => {
                let medium = Medium::new(disk);
                Home::create(&medium).map_err(|failure| OpenError::io(path, failure.into()))?;
                new.finish()?;
                tracing::info!(path = %path.display(), "an empty store was made: there was none");
                medium
            }
        };
        Self::on(medium, path.display().to_string(), clock, MOST_RECORDS)
    }

    /// A new one in memory, which is gone when the last clone is dropped. For tests.
    ///
    /// # Errors
    ///
    /// None that could be named: memory does as it is told.
    pub fn in_memory() -> Result<Self, OpenError> {
        Self::in_memory_at(Box::new(Timestamp::now))
    }

    /// The same by another clock.
    ///
    /// # Errors
    ///
    /// As [`Embedded::in_memory`].
    pub fn in_memory_at(clock: Clock) -> Result<Self, OpenError> {
        Self::made_in_memory(clock, MOST_RECORDS)
    }

    /// The same with room for so many push records.
    ///
    /// # Errors
    ///
    /// As [`Embedded::in_memory`].
    pub fn in_memory_of(most_records: usize) -> Result<Self, OpenError> {
        Self::made_in_memory(Box::new(Timestamp::now), most_records)
    }

    fn made_in_memory(clock: Clock, most_records: usize) -> Result<Self, OpenError> {
        let medium = Medium::new(InMemoryBackend::new());
        Home::create(&medium).map_err(|failure| OpenError::io(Path::new("in memory"), failure.into()))?;
        Self::on(medium, "in memory".to_owned(), clock, most_records)
    }

    fn on(medium: Arc<Medium>, name: String, clock: Clock, most_records: usize) -> Result<Self, OpenError> {
        let (home, contents) = Home::open(medium, name)?;
        let Contents { entries, index, copies } = contents;
        let (published, _) = watch::channel(listed(&entries));
        let (index, _) = watch::channel(index);
        let (copies, _) = watch::channel(copies);
        let id = format!("{:016x}", home.id()).into();
        Ok(Self {
            inner: Arc::new(Inner {
                id,
                handle: home.handle(),
                home: Arc::new(tokio::sync::Mutex::new(home)),
                entries: RwLock::new(entries),
                published,
                index,
                copies,
                clock,
                most_records,
            }),
        })
    }

    /// Tells this store from every other: 16 hexadecimal digits, made with it.
    pub fn id(&self) -> &str {
        &self.inner.id
    }

    /// Changes something, where that may block. Waiting for those before it may be given up; what has begun is finished.
    fn change<'s, T: Send + 'static>(
        &'s self,
        work: impl FnOnce(&Inner, &mut Home) -> Result<T, StoreError> + Send + 'static,
    ) -> BoxFuture<'s, Result<T, StoreError>> {
        let inner = self.inner.clone();
        async move {
            let mut home = inner.home.clone().lock_owned().await;
            let work = tokio::task::spawn_blocking(move || {
                inner.ready(&mut home)?;
                work(&inner, &mut home)
            });
            let stopped = |_| StoreError::Unavailable("the store is being closed".to_owned());
            work.await.map_err(stopped).flatten()
        }
        .boxed()
    }
}

impl Inner {
    fn entries(&self) -> RwLockReadGuard<'_, Entries> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows what is there now to those who read.
    fn publish(&self, change: impl FnOnce(&mut Entries)) {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut entries);
        self.published.send_replace(listed(&entries));
    }

    fn ready(&self, home: &mut Home) -> Result<(), StoreError> {
        match home.ready() {
            Ok(None) => Ok(()),
            Ok(Some(Contents { entries, index, copies })) => {
                tracing::info!("the store can be written again");
                self.publish(|present| *present = entries);
                self.index.send_replace(index);
                self.copies.send_replace(copies);
                Ok(())
            }
            Err(OpenError::Io { source, .. }) if is_full(&source) => Err(StoreError::Full(source.to_string())),
            Err(error) => Err(StoreError::Unavailable(error.to_string())),
        }
    }

    /// Writes, and when it is on the disk shows it to those who read.
    fn commit(&self, home: &mut Home, write: &Write<'_>, show: impl FnOnce()) -> Result<(), StoreError> {
        let number = home.sequence() + write.numbers();
        let Err(Unwritten { failure, untouched }) = home.commit(write) else {
            show();
            return Ok(());
        };
        tracing::warn!("the store could not be written: {failure}");
        // It may have failed after it had reached the disk: whoever asked is told what is there.
        let ready = self.ready(home);
        if ready.is_ok() && home.sequence() == number {
            return Ok(());
        }
        Err(match failure {
            _ if ready.is_err() && !untouched => StoreError::Unavailable(format!(
                "the store could not be written, and whether this was changed is seen when it can be: {failure}"
            )),
            Failure::Io(error) if is_full(&error) => StoreError::Full(error.to_string()),
            failure => StoreError::Unavailable(format!(
                "the store could not be written, and nothing was changed: {failure}"
            )),
        })
    }

    /// The registry as it is, where `expected` is its version.
    fn expected(&self, id: &str, expected: Option<&Version>) -> Result<Entry, StoreError> {
        let entries = self.entries();
        let entry = entries.get(id).ok_or_else(|| StoreError::NotFound(id.to_owned()))?;
        if expected.is_some_and(|expected| *expected != entry.stored.version) {
            return Err(StoreError::Conflict {
                id: id.to_owned(),
                current: entry.stored.version.clone(),
            });
        }
        Ok(entry.clone())
    }

    /// Makes what is there into what the draft says; `before` is an empty registry where it is `new`.
    fn put(&self, home: &mut Home, before: &Entry, draft: Draft, new: bool) -> Result<Stored, StoreError> {
        let Draft {
            spec,
            pull,
            push,
            notify,
        } = draft;
        let sources = [&spec.pull_credential, &spec.push_credential, &spec.notification_token];
        if sources.iter().any(|source| source.is_some()) {
            return Err(StoreError::Unsupported(
                "a credential in a Secret is for a cluster: give a username and a password, a file or a variable"
                    .to_owned(),
            ));
        }
        let number = home.sequence() + 1;
        let mut entry = before.clone();
        let mut credentials = Vec::new();
        let (pull, push) = (
            pull.at(&spec, &before.stored.spec)?,
            push.at(&spec, &before.stored.spec)?,
        );
        if spec.location.issues() && !before.stored.is_issued_for(&spec) {
            entry.stored.pull = None;
        }
        if before.stored.issuance.is_some() && !before.stored.is_issued_for(&spec) {
            entry.stored.issuance = None;
            entry.stored.pull = None;
            entry.issued = None;
            credentials.push((ISSUED, None));
        }
        let Stored {
            pull: pull_edition,
            key: key_edition,
            push: push_edition,
            notify: notify_edition,
            ..
        } = &mut entry.stored;
        let given = if spec.location.issues() {
            key_edition
        } else {
            pull_edition
        };
        for (which, change, kept, edition) in [
            (PULL, pull, &mut entry.credentials.pull, given),
            (PUSH, push, &mut entry.credentials.push, push_edition),
            (NOTIFY, notify, &mut entry.token, notify_edition),
        ] {
            let next = match change {
                Change::Keep => continue,
                Change::Clear => None,
                Change::Set(credential) => Some(credential),
            };
            if *kept != next {
                let written = next.as_ref().map(record::written_credential).transpose()?;
                credentials.push((which, written));
                *edition = next.is_some().then(|| Edition(number.to_string()));
                *kept = next;
            }
        }
        if !spec.location.issues() {
            entry.stored.key = None;
        }
        if !new && credentials.is_empty() && spec == entry.stored.spec {
            return Ok(entry.stored);
        }
        entry.stored.spec = spec;
        entry.stored.version = Version(number.to_string());
        if !new {
            // A clock that was set back does not make a change older than the one before it.
            entry.stored.updated_at = (self.clock)().max(entry.stored.updated_at);
        }
        let stored = entry.stored.clone();
        let write = Write::Registry {
            id: &stored.id,
            record: Some(record::written(&stored)?),
            credentials,
        };
        self.commit(home, &write, || {
            self.publish(|entries| drop(entries.insert(entry.stored.id.clone(), entry)));
        })?;
        Ok(stored)
    }
}

impl Store for Embedded {
    fn registries(&self) -> watch::Receiver<Registries> {
        self.inner.published.subscribe()
    }

    fn registry<'s>(&'s self, id: &'s str) -> BoxFuture<'s, Result<Option<Stored>, StoreError>> {
        async move { Ok(self.inner.entries().get(id).map(|entry| entry.stored.clone())) }.boxed()
    }

    fn list(&self) -> BoxFuture<'_, Result<Registries, StoreError>> {
        async move { Ok(self.inner.published.borrow().clone()) }.boxed()
    }

    fn create<'s>(&'s self, id: &'s str, draft: Draft) -> BoxFuture<'s, Result<Stored, StoreError>> {
        let id = id.to_owned();
        self.change(move |inner, home| {
            if let Some(problem) = id_problem(&id) {
                return Err(StoreError::Unsupported(format!(
                    "`{}` is no id: {problem}",
                    id.escape_debug()
                )));
            }
            if inner.entries().contains_key(&id) {
                return Err(StoreError::Exists(id));
            }
            let now = (inner.clock)();
            let nothing = Entry::new(Stored {
                id,
                spec: Default::default(),
                pull: None,
                push: None,
                notify: None,
                key: None,
                issuance: None,
                version: Version(String::new()),
                declared_by: DeclaredBy::Anybody,
                conditions: Vec::new(),
                created_at: now,
                updated_at: now,
            });
            inner.put(home, &nothing, draft, true)
        })
    }

    fn replace<'s>(
        &'s self,
        id: &'s str,
        draft: Draft,
        expected: Option<&'s Version>,
    ) -> BoxFuture<'s, Result<Stored, StoreError>> {
        let (id, expected) = (id.to_owned(), expected.cloned());
        self.change(move |inner, home| {
            let before = inner.expected(&id, expected.as_ref())?;
            inner.put(home, &before, draft, false)
        })
    }

    fn delete<'s>(&'s self, id: &'s str, expected: Option<&'s Version>) -> BoxFuture<'s, Result<(), StoreError>> {
        let (id, expected) = (id.to_owned(), expected.cloned());
        self.change(move |inner, home| {
            inner.expected(&id, expected.as_ref())?;
            let index = inner.index_without(home, &id)?;
            let write = Write::Registry {
                id: &id,
                record: None,
                credentials: [PULL, PUSH, NOTIFY, ISSUED].map(|which| (which, None)).into(),
            };
            inner.commit(home, &write, || {
                inner.index.send_replace(index);
                inner.publish(|entries| drop(entries.remove(&id)));
                inner.show_copies(|copy| copy.id.registry() != id, []);
            })
        })
    }

    fn credentials<'s>(&'s self, id: &'s str) -> BoxFuture<'s, Result<Credentials, StoreError>> {
        async move {
            let found = self.inner.entries().get(id).map(Entry::credentials);
            found.ok_or_else(|| StoreError::NotFound(id.to_owned()))
        }
        .boxed()
    }

    fn keys<'s>(&'s self, id: &'s str) -> BoxFuture<'s, Result<Keys, StoreError>> {
        async move {
            let found = self.inner.entries().get(id).map(Entry::keys);
            found.ok_or_else(|| StoreError::NotFound(id.to_owned()))
        }
        .boxed()
    }

    fn issued<'s>(&'s self, id: &'s str, token: Token) -> BoxFuture<'s, Result<(), StoreError>> {
        let id = id.to_owned();
        self.change(move |inner, home| {
            let mut entry = inner.expected(&id, None)?;
            let Token { login, issuance } = token;
            if !issuance.is_for(&entry.stored.spec) {
                return Err(StoreError::Conflict {
                    id,
                    current: entry.stored.version,
                });
            }
            let login = Credential::Login(login);
            let written = record::written_credential(&login)?;
            entry.stored.pull = Some(Edition((home.sequence() + 1).to_string()));
            entry.stored.issuance = Some(issuance);
            entry.issued = match login {
                Credential::Login(login) => Some(login),
                _ => None,
            };
            let write = Write::Registry {
                id: &id,
                record: Some(record::written(&entry.stored)?),
                credentials: vec![(ISSUED, Some(written))],
            };
            inner.commit(home, &write, || {
                inner.publish(|entries| drop(entries.insert(id.clone(), entry)));
            })
        })
    }

    fn tell<'s>(&'s self, _: &'s str, _: News) -> BoxFuture<'s, ()> {
        // Whoever tells it has it in the log and in a condition, which is all there is on one machine.
        std::future::ready(()).boxed()
    }

    fn notification_token<'s>(&'s self, id: &'s str) -> BoxFuture<'s, Result<Option<Credential>, StoreError>> {
        async move {
            let found = self.inner.entries().get(id).map(|entry| entry.token.clone());
            found.ok_or_else(|| StoreError::NotFound(id.to_owned()))
        }
        .boxed()
    }

    fn report<'s>(&'s self, id: &'s str, conditions: Vec<Condition>) -> BoxFuture<'s, Result<(), StoreError>> {
        let id = id.to_owned();
        self.change(move |inner, home| {
            let mut stored = inner.expected(&id, None)?.stored;
            let before = stored.conditions.clone();
            Condition::merge(&mut stored.conditions, conditions);
            if stored.spec.location == Location::OffCluster {
                stored
                    .conditions
                    .retain(|condition| condition.kind != ConditionKind::TokenIssued);
            }
            if stored.conditions == before {
                return Ok(());
            }
            let write = Write::Registry {
                id: &id,
                record: Some(record::written(&stored)?),
                credentials: Vec::new(),
            };
            inner.commit(home, &write, || {
                inner.publish(|entries| {
                    if let Some(entry) = entries.get_mut(&id) {
                        entry.stored.conditions = std::mem::take(&mut stored.conditions);
                    }
                });
            })
        })
    }
}

impl Entry {
    /// To use the registry with.
    fn credentials(&self) -> Credentials {
        match self.stored.spec.location {
            Location::OffCluster => self.credentials.clone(),
            Location::Ecr | Location::Gcr => Credentials {
                pull: self.issued.clone().map(Credential::Login),
                push: None,
            },
        }
    }

    /// To have tokens issued with.
    fn keys(&self) -> Keys {
        let key = |credential: &Option<Credential>| match credential {
            Some(Credential::Key(key)) => Some(key.clone()),
            _ => None,
        };
        Keys {
            pull: key(&self.credentials.pull),
            push: key(&self.credentials.push),
        }
    }

    fn new(stored: Stored) -> Self {
        Self {
            stored,
            credentials: Credentials::default(),
            token: None,
            issued: None,
        }
    }
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let registries = self.inner.entries().len();
        f.debug_struct("Embedded")
            .field("registries", &registries)
            .finish_non_exhaustive()
    }
}

fn listed(entries: &Entries) -> Registries {
    entries.values().map(|entry| entry.stored.clone()).collect()
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

#[cfg(test)]
mod tests;
