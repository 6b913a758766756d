//! Asks registries whether what was pushed is there still, so that no Pod is sent to something that is gone.
//!
//! Each registry has a task, which ends with it and has a [`Plan`](crate::pushes::verification::Plan) of its own: what is asked for is
//! read from the store when its turn comes, so that what is kept here does not grow with the records.

mod asker;
mod lane;
mod news;
pub(super) mod pods;

use std::{convert::Infallible, sync::Arc, time::Duration};

use hashbrown::HashMap;
use tokio::{
    sync::{Semaphore, mpsc, watch},
    time::Instant,
};

use self::{lane::Told, news::News};
use super::{Down, each::Each};
use crate::{
    metrics::VerificationMetrics,
    oci::Client,
    pushes::{Index, Key},
    registry::RegistrySpec,
    store::{Edition, Store, Stored},
};

/// By registry, the pushes that running Pods use.
pub type Used = Arc<HashMap<Box<str>, Vec<Key>>>;

/// Whoever asks.
pub struct Verifier {
    shared: Arc<Shared>,
    used: watch::Receiver<Used>,
}

/// What all registries' tasks have in common.
struct Shared {
    store: Arc<dyn Store>,
    client: Client,
    /// How often each target is asked for; zero: never.
    every: Duration,
    metrics: VerificationMetrics,
    /// Registries of which is known that they do not answer.
    down: watch::Receiver<Down>,
    index: watch::Receiver<Index>,
    exchanges: Semaphore,
    /// Moments are counted from here.
    origin: Instant,
}

impl Verifier {
    /// Has asked nobody yet. `down` are the registries that are not asked; `used` says which pushes come first.
    pub fn new(
        store: Arc<dyn Store>,
        client: Client,
        every: Duration,
        metrics: VerificationMetrics,
        down: watch::Receiver<Down>,
        used: watch::Receiver<Used>,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                index: store.index(),
                store,
                client,
                every,
                metrics,
                down,
                exchanges: Semaphore::new(EXCHANGES),
                origin: Instant::now(),
            }),
            used,
        }
    }

    /// Asks, for as long as it is not dropped.
    pub async fn run(self) -> Infallible {
        let Self { shared, used } = self;
        if shared.every.is_zero() {
            return std::future::pending().await;
        }
        let mut registries = shared.store.registries();
        let mut news = News::new(shared.index.clone());
        let mut each = Each::new();
        loop {
            let all = registries.borrow_and_update().clone();
            each.are(
                &all,
                |known, stored| asked_about(known) != asked_about(stored),
                |stored| {
                    let (sender, new) = mpsc::channel(MOST_NEW);
                    let used = used.clone();
                    (lane::look_after(shared.clone(), Told { stored, new, used }), sender)
                },
            );
            let changed = loop {
                tokio::select! {
                    changed = registries.changed() => break changed,
                    new = news.next(each.ids().cloned().collect(), MOST_NEW) => for (id, key) in new {
                        if let Some(lane) = each.get(&id) {
                            // What is too much is left to its turn.
                            let _ = lane.try_send(key);
                        }
                    },
                    never = each.failed() => match never {},
                }
            };
            if changed.is_err() {
                // Whoever keeps them is gone with the process.
                std::future::pending().await
            }
        }
    }
}

/// What of a registry the questions depend on: what was found out about it is none of that.
fn asked_about(stored: &Stored) -> (&RegistrySpec, Option<&str>, Option<&Edition>, Option<&Edition>) {
    // Where its address is that of an account that ECR was asked for, it is another one with another account.
    let account = stored.issuance.as_ref().map(|issuance| issuance.account.as_deref());
    (
        &stored.spec,
        account.flatten(),
        stored.pull.as_ref(),
        stored.push.as_ref(),
    )
}

/// At once, over all registries.
const EXCHANGES: usize = 16;

/// That a registry's task has not taken yet.
const MOST_NEW: usize = 100;

#[cfg(test)]
mod tests;
