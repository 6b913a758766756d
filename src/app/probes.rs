//! Asks registries whether they are up and whether they take their credentials, and tells the store what was found.
//!
//! Each registry has a task, which follows what is said of it and ends with it; so many exchanges at once and no more. What was found is
//! written when it is another thing than before, and logged when it changes what decisions do.

mod findings;
mod one;

use std::{collections::BTreeSet, convert::Infallible, sync::Arc, time::Duration};

use tokio::sync::{Semaphore, watch};

use super::each::each;
use crate::{metrics::RegistryMetrics, oci::Client, store::Store};

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
        let shared = self.shared;
        each(
            shared.store.registries(),
            |_| true,
            |known, stored| one::asked_about(known) != one::asked_about(stored),
            |stored| one::look_after(shared.clone(), stored),
        )
        .await
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
