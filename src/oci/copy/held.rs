//! Which repositories have which blobs, as far as this process has seen: a registry that has a blob can be told to take it from there.

use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use hashbrown::HashMap;
use tokio::{sync::OwnedMutexGuard, time::timeout};

use super::{Contents, place::Place};

/// What was seen, of all registries.
#[derive(Default)]
pub struct Held {
    seen: Mutex<HashMap<Key, Box<str>>>,
    /// Blobs that are on their way.
    sending: Mutex<HashMap<Key, Weak<Sending>>>,
    /// Of images by their digest, which is of nothing else.
    contents: Mutex<HashMap<Box<str>, Contents>>,
}

/// Nobody is told by another's credential where something is.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    registry: Box<str>,
    whose: Option<u64>,
    digest: Box<str>,
}

/// A blob on its way to a registry.
#[derive(Default)]
struct Sending {
    by: Arc<tokio::sync::Mutex<()>>,
    /// Bytes that whoever sends it has sent.
    moved: AtomicU64,
}

/// Whoever sends a blob that others want to send as well. They wait until it is dropped, or does not get on.
pub(super) struct Alone {
    sending: Arc<Sending>,
    /// None where somebody else was not waited for any longer.
    guard: Option<OwnedMutexGuard<()>>,
}

impl Alone {
    /// So many bytes went their way.
    pub(super) fn moved(&self, bytes: u64) {
        if self.guard.is_some() {
            self.sending.moved.fetch_add(bytes, Ordering::Relaxed);
        }
    }
}

impl Place {
    fn key(&self, digest: &str) -> Key {
        Key {
            registry: self.remote.host.clone(),
            whose: self.remote.whose(self.login.as_ref()),
            digest: digest.into(),
        }
    }

    /// The blob is in this repository.
    pub(super) fn hold(&self, digest: &str) {
        let mut seen = self.remote.held.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= MOST_SEEN {
            // It is found out again.
            seen.clear();
        }
        seen.insert(self.key(digest), self.repository.clone());
    }

    /// The blob was seen in this repository.
    pub(super) fn holds(&self, digest: &str) -> bool {
        let seen = self.remote.held.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(&self.key(digest))
            .is_some_and(|found| *found == self.repository)
    }

    /// Waits until nobody else sends this blob to this registry and gets on with it, and has others wait in the same way.
    pub(super) async fn alone(&self, digest: &str) -> Alone {
        let sending = {
            let mut sending = self.remote.held.sending.lock().unwrap_or_else(PoisonError::into_inner);
            sending.retain(|_, one| one.strong_count() > 0);
            let key = self.key(digest);
            match sending.get(&key).and_then(Weak::upgrade) {
                Some(one) => one,
                None => {
                    let one = Arc::default();
                    sending.insert(key, Arc::downgrade(&one));
                    one
                }
            }
        };
        let mut waits = std::pin::pin!(sending.by.clone().lock_owned());
        loop {
            let before = sending.moved.load(Ordering::Relaxed);
            let guard = timeout(UNMOVED, &mut waits).await.ok();
            // His source may be a sick one, and ours is not.
            let stalled = sending.moved.load(Ordering::Relaxed) < before + LEAST_MOVED;
            if guard.is_some() || stalled {
                return Alone { guard, sending };
            }
        }
    }

    /// What an image is of that was here once.
    pub(super) fn contents(&self, digest: &str) -> Option<Contents> {
        let known = self.remote.held.contents.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(digest).cloned()
    }

    pub(super) fn know(&self, digest: &str, contents: &Contents) {
        let mut known = self.remote.held.contents.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST_KNOWN {
            // It is read again.
            known.clear();
        }
        known.insert(digest.into(), contents.clone());
    }

    /// Another repository that has the blob.
    pub(super) fn held(&self, digest: &str) -> Option<Box<str>> {
        let seen = self.remote.held.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let found = seen.get(&self.key(digest))?;
        (*found != self.repository).then(|| found.clone())
    }
}

/// In that time whoever is waited for sends so many bytes at least. Registries may need some of it to put a great blob together.
const UNMOVED: Duration = Duration::from_secs(120);
const LEAST_MOVED: u64 = 1024 * 1024;

/// Some hundred bytes each.
const MOST_SEEN: usize = 20_000;

/// Some hundred bytes for each platform.
const MOST_KNOWN: usize = 2_000;
