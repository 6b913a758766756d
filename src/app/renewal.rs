//! Has tokens issued for registries whose location issues them, before those that there are end.
//!
//! Each such registry has a task, which follows what is said of it and ends with it; so many exchanges at once and no more. When one is due
//! is [`Renewals`](crate::registry::renewal::Renewals)' to say. What still works is overwritten by nothing but another token.

mod doubt;
mod findings;
mod one;

use std::{convert::Infallible, sync::Arc};

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::{sync::Semaphore, time::Instant};

use super::each::Each;
use crate::{
    credentials::{IssueError, Mint, Minted},
    metrics::CredentialMetrics,
    registry::{Key, Registry, renewal::Moment},
    store::{Store, Stored},
};

/// Asks for a token to pull from a registry with.
pub(super) type Issue =
    Box<dyn Fn(Registry, Option<Key>) -> BoxFuture<'static, Result<Minted, IssueError>> + Send + Sync>;

/// What time it is.
pub(super) type Clock = Box<dyn Fn() -> Timestamp + Send + Sync>;

/// Whoever renews.
pub(super) struct Renewer {
    shared: Arc<Shared>,
}

/// What all registries' tasks have in common.
struct Shared {
    store: Arc<dyn Store>,
    issue: Issue,
    clock: Clock,
    metrics: CredentialMetrics,
    exchanges: Semaphore,
    /// Moments are counted from here.
    origin: Instant,
}

impl Renewer {
    /// Has asked nobody yet.
    pub(super) fn new(store: Arc<dyn Store>, issue: Issue, clock: Clock, metrics: CredentialMetrics) -> Self {
        Self {
            shared: Arc::new(Shared {
                store,
                issue,
                clock,
                metrics,
                exchanges: Semaphore::new(EXCHANGES),
                origin: Instant::now(),
            }),
        }
    }

    /// Renews, for as long as it is not dropped.
    pub(super) async fn run(self) -> Infallible {
        let mut registries = self.shared.store.registries();
        let mut each = Each::new();
        loop {
            let all = registries.borrow_and_update().clone();
            let issued: Vec<Stored> = all
                .iter()
                .filter(|stored| stored.spec.location.issues())
                .cloned()
                .collect();
            each.are(
                &issued,
                |known, stored| one::seen(known) != one::seen(stored),
                |stored| (one::look_after(self.shared.clone(), stored), ()),
            );
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
}

impl Shared {
    fn now(&self) -> Moment {
        Moment {
            wall: (self.clock)(),
            elapsed: self.origin.elapsed(),
        }
    }
}

/// The issuers themselves.
pub(super) fn by(mint: Mint) -> Issue {
    Box::new(move |registry, key| {
        let mint = mint.clone();
        Box::pin(async move { mint.pull(&registry, key.as_ref()).await })
    })
}

/// At once, over all registries.
const EXCHANGES: usize = 8;

#[cfg(test)]
mod tests;
