//! The counters of images, each resolved once per thread.
//!
//! Finding a counter by its four labels hashes them all under a read lock, and a first use elsewhere holds the write lock
//! meanwhile. A thread that has found one keeps it under the small numbers that the snapshot has for rule and registries.

use std::cell::RefCell;

use hashbrown::HashMap;
use prometheus::{IntCounter, IntCounterVec};

/// The labels of an image as numbers: equal keys have equal labels, as long as the generation is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ImageKey {
    /// The policy set that gave out the other numbers.
    pub generation: u64,
    /// The deciding rule.
    pub rule: u32,
    /// The registry that the image named.
    pub source: u16,
    /// The registry that it names now.
    pub target: u16,
    /// What became of it.
    pub outcome: u8,
}

/// The labels of an image. Registries that nobody configured are `other`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageLabels<'a> {
    /// `policy/rule`, or empty where none decided.
    pub rule: &'a str,
    /// The registry that the image named.
    pub source: &'a str,
    /// The registry that it names now.
    pub target: &'a str,
    /// What became of it; design section 11.
    pub outcome: &'a str,
}

/// Counts one image; `id` tells one process's worth of metrics from another.
pub(super) fn count<'a>(id: u64, all: &IntCounterVec, key: ImageKey, labels: impl FnOnce() -> ImageLabels<'a>) {
    CACHE.with_borrow_mut(|cache| {
        if cache.owner != (id, key.generation) {
            cache.owner = (id, key.generation);
            cache.counters.clear();
        }
        if let Some(counter) = cache.counters.get(&key) {
            return counter.inc();
        }
        let ImageLabels {
            rule,
            source,
            target,
            outcome,
        } = labels();
        let counter = all.with_label_values(&[rule, source, target, outcome]);
        counter.inc();
        if cache.counters.len() < MOST {
            cache.counters.insert(key, counter);
        }
    });
}

#[derive(Default)]
struct Cache {
    owner: (u64, u64),
    counters: HashMap<ImageKey, IntCounter>,
}

thread_local! {
    static CACHE: RefCell<Cache> = RefCell::default();
}

/// Counters that a thread keeps; further ones are looked up each time.
const MOST: usize = 4096;
