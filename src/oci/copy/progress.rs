//! How far a copy has come: counted where it happens, looked at by whoever wants to know.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use hashbrown::HashMap;

use super::tree::Descriptor;

/// What is counted of one copy.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes of all blobs, as their manifests say.
    total: AtomicU64,
    /// Bytes of blobs that are there.
    done: AtomicU64,
    /// Bytes that went over the network to the target.
    sent: AtomicU64,
    blobs: Mutex<Blobs>,
}

#[derive(Debug, Default)]
struct Blobs {
    all: Vec<Blob>,
    /// Where each is, by its digest.
    places: HashMap<Box<str>, usize>,
}

/// One blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Its digest.
    pub digest: Box<str>,
    /// Its bytes.
    pub size: u64,
    /// So many of them are there.
    pub done: u64,
    /// How it came there.
    pub state: BlobState,
}

/// How a blob comes to the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlobState {
    /// Nobody has looked yet.
    Waiting,
    /// It is on its way.
    Sending,
    /// It was there.
    Present,
    /// The registry had it in another repository.
    Mounted,
    /// It was sent.
    Sent,
}

impl Progress {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes of all blobs that are known of: it grows while manifests are read.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Bytes of those that are there, or the part of them that is.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Bytes that were sent, some of them perhaps more than once.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// The blobs, as they stand, in the order in which they were found.
    pub fn blobs(&self) -> Vec<Blob> {
        self.lock().all.clone()
    }

    /// How many blobs there would be with these.
    pub(super) fn with(&self, blobs: &[Descriptor]) -> usize {
        let known = self.lock();
        let new = blobs.iter().filter(|blob| !known.places.contains_key(&blob.digest));
        known.all.len() + new.count()
    }

    pub(super) fn found(&self, digest: &str, size: u64) {
        let mut blobs = self.lock();
        if blobs.places.contains_key(digest) {
            return;
        }
        self.total.fetch_add(size, Ordering::Relaxed);
        let place = blobs.all.len();
        blobs.places.insert(digest.into(), place);
        blobs.all.push(Blob {
            digest: digest.into(),
            size,
            done: 0,
            state: BlobState::Waiting,
        });
    }

    /// So much of it is at the target now.
    pub(super) fn reached(&self, digest: &str, done: u64, sent: u64) {
        self.sent.fetch_add(sent, Ordering::Relaxed);
        self.change(digest, |blob| {
            (blob.done, blob.state) = (done.min(blob.size), BlobState::Sending)
        });
    }

    pub(super) fn is_there(&self, digest: &str, how: BlobState) {
        self.change(digest, |blob| (blob.done, blob.state) = (blob.size, how));
    }

    fn change(&self, digest: &str, change: impl FnOnce(&mut Blob)) {
        let mut blobs = self.lock();
        let place = blobs.places.get(digest).copied();
        let Some(blob) = place.and_then(|place| blobs.all.get_mut(place)) else {
            return;
        };
        let before = blob.done;
        change(blob);
        if blob.done >= before {
            self.done.fetch_add(blob.done - before, Ordering::Relaxed);
        } else {
            self.done.fetch_sub(before - blob.done, Ordering::Relaxed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Blobs> {
        self.blobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
