//! Which pushes are to be looked at before their turn: those that became the latest of their images a moment ago.

use std::time::Duration;

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::pushes::{Index, Key};

/// What has changed in an index.
pub(super) struct News {
    index: watch::Receiver<Index>,
    /// As it was looked at last.
    known: Index,
    /// Whether it has changed since.
    unseen: bool,
    /// When it may be looked at again.
    again: Instant,
}

impl News {
    /// From now on.
    pub(super) fn new(mut index: watch::Receiver<Index>) -> Self {
        let known = index.borrow_and_update().clone();
        Self {
            index,
            known,
            unseen: false,
            again: Instant::now(),
        }
    }

    /// The next pushes that are the latest of their images and were not, into one of these registries; of each so many at most. May be
    /// dropped, and asked again.
    pub(super) async fn next(&mut self, registries: Vec<String>, most: usize) -> Vec<(String, Key)> {
        sleep_until(self.again).await;
        if !self.unseen && self.index.changed().await.is_err() {
            // Whoever keeps it is gone with the process.
            std::future::pending().await
        }
        // Until it was looked at, whoever is dropped here.
        self.unseen = true;
        // What comes at the same time is looked at together.
        sleep_until(Instant::now() + TOGETHER).await;
        let now = self.index.borrow_and_update().clone();
        let (before, after) = (self.known.clone(), now.clone());
        // A million take a moment.
        let looking = tokio::task::spawn_blocking(move || new(&before, &after, registries, most));
        let new = looking.await.unwrap_or_default();
        self.again = Instant::now() + EACH * u32::try_from(now.len()).unwrap_or(u32::MAX);
        self.known = now;
        self.unseen = false;
        new
    }
}

fn new(before: &Index, after: &Index, registries: Vec<String>, most: usize) -> Vec<(String, Key)> {
    let mut new = Vec::new();
    for registry in registries {
        let keys = after
            .latest_of(&registry)
            .filter(|key| !before.is_latest(*key, &registry));
        new.extend(keys.take(most).map(|key| (registry.clone(), key)));
    }
    new
}

const TOGETHER: Duration = Duration::from_secs(1);

/// A record costs less than a hundredth of this to look at.
const EACH: Duration = Duration::from_micros(20);
