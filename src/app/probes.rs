//! Asks registries whether they are up and whether they take their credentials, and tells the store what was found.
//!
//! Each registry has a task, which follows what is said of it and ends with it; so many exchanges at once and no more. What was found is
//! written when it is another thing than before, and logged when it changes what decisions do.

mod findings;
mod one;

use std::{collections::BTreeSet, convert::Infallible, sync::Arc, time::Duration};

use hashbrown::HashMap;
use tokio::{
    sync::{Semaphore, watch},
    task::{AbortHandle, JoinSet},
};

use crate::{
    metrics::RegistryMetrics,
    oci::Client,
    store::{Store, Stored},
};

/// The ids of the registries that are down.
pub type Down = Arc<BTreeSet<String>>;

/// Whoever asks.
pub struct Probes {
    shared: Arc<Shared>,
}

/// What all registries' tasks have in common.
struct Shared {
    store: Arc<dyn Store>,
    client: Client,
    /// How often a registry is asked that is fine; zero: none ever is.
    every: Duration,
    metrics: RegistryMetrics,
    down: watch::Sender<Down>,
    exchanges: Semaphore,
}

/// One registry, and the task that looks after it.
struct Kept {
    stored: watch::Sender<Stored>,
    task: AbortHandle,
}

impl Probes {
    /// Has asked nobody yet.
    pub fn new(store: Arc<dyn Store>, client: Client, every: Duration, metrics: RegistryMetrics) -> Self {
        Self {
            shared: Arc::new(Shared {
                store,
                client,
                every,
                metrics,
                down: watch::Sender::default(),
                exchanges: Semaphore::new(EXCHANGES),
            }),
        }
    }

    /// Which registries are down, now and after each change: known here before it is written anywhere, and where it cannot be.
    pub fn down(&self) -> watch::Receiver<Down> {
        self.shared.down.subscribe()
    }

    /// Asks, for as long as it is not dropped.
    pub async fn run(self) -> Infallible {
        let mut registries = self.shared.store.registries();
        let mut tasks = JoinSet::new();
        let mut kept: HashMap<String, Kept> = HashMap::new();
        loop {
            let all = registries.borrow_and_update().clone();
            kept.retain(|id, kept| {
                let stays = all.iter().any(|stored| stored.id == *id);
                if !stays {
                    kept.task.abort();
                }
                stays
            });
            for stored in all.iter() {
                match kept.get(&stored.id) {
                    Some(kept) => {
                        kept.stored.send_if_modified(|known| {
                            let changed = one::asked_about(known) != one::asked_about(stored);
                            if changed {
                                *known = stored.clone();
                            }
                            changed
                        });
                    }
                    None => {
                        let (sender, receiver) = watch::channel(stored.clone());
                        let task = tasks.spawn(one::look_after(self.shared.clone(), receiver));
                        kept.insert(stored.id.clone(), Kept { stored: sender, task });
                    }
                }
            }
            // A task that goes clears up after itself, so that what it leaves is of nobody.
            let changed = tokio::select! {
                changed = registries.changed() => changed,
                Some(ended) = tasks.join_next(), if !tasks.is_empty() => match ended {
                    Ok(never) => match never {},
                    // What was removed is no loss; any other end is a mistake that nobody must miss.
                    Err(error) if error.is_cancelled() => continue,
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                },
            };
            if changed.is_err() {
                // Whoever keeps them is gone with the process.
                std::future::pending().await
            }
        }
    }
}

impl Shared {
    /// A registry is up or down from now on, as far as is known.
    fn set(&self, id: &str, up: bool) {
        self.metrics.set_up(id, up);
        self.down.send_if_modified(|down| {
            if down.contains(id) != up {
                return false;
            }
            let down = Arc::make_mut(down);
            if up {
                down.remove(id)
            } else {
                down.insert(id.to_owned())
            }
        });
    }

    /// Nobody asks it any more.
    fn forget(&self, id: &str) {
        self.set(id, true);
        self.metrics.remove(id);
    }
}

/// At once, over all registries.
const EXCHANGES: usize = 16;

#[cfg(test)]
mod tests;
