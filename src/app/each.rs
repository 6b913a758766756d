//! A task for each registry, which follows what is said of it and ends with it.

use std::convert::Infallible;

use hashbrown::HashMap;
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinSet},
};

use crate::store::{Registries, Stored};

/// The tasks, by registry, with what else is kept of each.
pub(super) struct Each<T> {
    kept: HashMap<String, Kept<T>>,
    tasks: JoinSet<Infallible>,
}

struct Kept<T> {
    stored: watch::Sender<Stored>,
    task: AbortHandle,
    more: T,
}

/// A task for each registry that is `one_of` them, for as long as it is not dropped: see [`Each::are`].
pub(super) async fn each<F>(
    mut registries: watch::Receiver<Registries>,
    one_of: impl Fn(&Stored) -> bool,
    differ: impl Fn(&Stored, &Stored) -> bool,
    begin: impl Fn(watch::Receiver<Stored>) -> F,
) -> Infallible
where
    F: Future<Output = Infallible> + Send + 'static,
{
    let mut each = Each::new();
    loop {
        let all = registries.borrow_and_update().clone();
        let these = all.iter().filter(|stored| one_of(stored));
        each.are(these, &differ, |stored| (begin(stored), ()));
        let changed = tokio::select! {
            changed = registries.changed() => changed,
            never = each.failed() => match never {},
        };
        if changed.is_err() {
            // Whoever keeps them is gone with the process.
            std::future::pending().await
        }
    }
}

impl<T> Each<T> {
    pub(super) fn new() -> Self {
        Self {
            kept: HashMap::new(),
            tasks: JoinSet::new(),
        }
    }

    /// These are all registries. Those that are gone end, those that are new begin, and the others are told where they `differ` from what
    /// they were. A task that goes clears up after itself, so that what it leaves is of nobody.
    pub(super) fn are<'s, F>(
        &mut self,
        all: impl Iterator<Item = &'s Stored> + Clone,
        differ: impl Fn(&Stored, &Stored) -> bool,
        mut begin: impl FnMut(watch::Receiver<Stored>) -> (F, T),
    ) where
        F: Future<Output = Infallible> + Send + 'static,
    {
        self.kept.retain(|id, kept| {
            let stays = all.clone().any(|stored| stored.id == *id);
            if !stays {
                kept.task.abort();
            }
            stays
        });
        for stored in all {
            if let Some(kept) = self.kept.get(&stored.id) {
                kept.stored.send_if_modified(|known| {
                    let changed = differ(known, stored);
                    if changed {
                        *known = stored.clone();
                    }
                    changed
                });
                continue;
            }
            let (sender, receiver) = watch::channel(stored.clone());
            let (work, more) = begin(receiver);
            let kept = Kept {
                stored: sender,
                task: self.tasks.spawn(work),
                more,
            };
            self.kept.insert(stored.id.clone(), kept);
        }
    }

    /// The ids of those that there are.
    pub(super) fn ids(&self) -> impl Iterator<Item = &String> {
        self.kept.keys()
    }

    /// What else is kept of a registry.
    pub(super) fn get(&self, id: &str) -> Option<&T> {
        self.kept.get(id).map(|kept| &kept.more)
    }

    /// Waits for a task that ends by itself, which is a mistake that nobody must miss: its panic goes on here.
    pub(super) async fn failed(&mut self) -> Infallible {
        loop {
            match self.tasks.join_next().await {
                Some(Ok(never)) => match never {},
                // What was removed is no loss.
                Some(Err(error)) if error.is_cancelled() => {}
                Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
                None => std::future::pending().await,
            }
        }
    }
}
