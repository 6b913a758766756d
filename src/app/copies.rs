//! Makes the copies that somebody asked for: some at once, the oldest first, and none waits long because another registry is down.
//!
//! What is known of a copy is in the store: whoever begins here goes on with what another process began, and what the target has by then is not
//! sent again. Where this is dropped nothing is written, and the next one goes on.

mod one;
mod plan;
mod turn;

use std::{collections::HashMap, convert::Infallible, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio::{
    task::{Id, JoinSet},
    time::{Instant, sleep_until},
};

use crate::{
    credentials::{IssueError, Issued, Mint},
    metrics::PushMetrics,
    oci::Client,
    pushes::PushId,
    registry::{Key, Registry},
    store::Store,
};

/// Whoever copies.
pub(super) struct Copies {
    shared: Arc<Shared>,
    most: usize,
}

/// What all copies have in common.
struct Shared {
    store: Arc<dyn Store>,
    client: Client,
    issuer: Box<dyn Issuer>,
    metrics: PushMetrics,
    /// How often it is kept how far one has come.
    every: Duration,
    /// How long it is waited at first, before what may pass is tried again.
    pause: Duration,
}

/// Who has a token issued to push with, and makes what has to be there before.
pub(super) trait Issuer: Send + Sync {
    /// See [`Mint::push`].
    fn push<'s>(&'s self, registry: &'s Registry, key: Option<&'s Key>) -> BoxFuture<'s, Result<Issued, IssueError>>;

    /// See [`Mint::make_repository`].
    fn make_repository<'s>(
        &'s self,
        registry: &'s Registry,
        key: Option<&'s Key>,
        name: &'s str,
    ) -> BoxFuture<'s, Result<bool, IssueError>>;
}

impl Copies {
    /// Has begun none yet. `most` are made at once, at least one; `every` says how often it is kept how far one has come.
    pub(super) fn new(
        store: Arc<dyn Store>,
        client: Client,
        issuer: Box<dyn Issuer>,
        metrics: PushMetrics,
        most: usize,
        every: Duration,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                store,
                client,
                issuer,
                metrics,
                every,
                pause: PAUSE,
            }),
            most,
        }
    }

    /// Copies, for as long as it is not dropped.
    pub(super) async fn run(self) -> Infallible {
        let Self { shared, most } = self;
        let queue = Queue(&shared.metrics);
        let mut copies = shared.store.copies();
        let mut tasks = JoinSet::new();
        let mut running: HashMap<Id, PushId> = HashMap::new();
        // Those that have just ended: what follows them may be a moment behind.
        let mut resting: HashMap<PushId, Instant> = HashMap::new();
        loop {
            let all = copies.borrow_and_update().clone();
            queue.0.set_queue(all.len());
            let now = Instant::now();
            resting.retain(|id, until| *until > now && all.iter().any(|copy| copy.id == *id));
            let mut goes_on: Vec<PushId> = running.values().cloned().collect();
            let mut waiting = all.iter().map(|copy| &copy.id).collect::<Vec<_>>();
            waiting.retain(|id| !resting.contains_key(*id) && !goes_on.contains(id));
            while let Some(id) = turn::next(&waiting, &goes_on, most) {
                let id = waiting.remove(id).clone();
                let (shared, task) = (shared.clone(), id.clone());
                let task = tasks.spawn(async move { one::make(&shared, &task).await });
                running.insert(task.id(), id.clone());
                goes_on.push(id);
            }
            let rested = resting.values().min().copied();
            let changed = tokio::select! {
                changed = copies.changed() => changed,
                Some(ended) = tasks.join_next_with_id() => {
                    let (task, rest) = match ended {
                        Ok(ended) => ended,
                        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                        // The process is about to end.
                        Err(_) => std::future::pending().await,
                    };
                    resting.extend(running.remove(&task).map(|id| (id, Instant::now() + rest)));
                    Ok(())
                }
                () = sleep_until(rested.unwrap_or(now)), if rested.is_some() => Ok(()),
            };
            if changed.is_err() {
                // Whoever keeps them is gone with the process.
                std::future::pending().await
            }
        }
    }
}

/// Whoever does not copy says nothing of how many wait.
struct Queue<'m>(&'m PushMetrics);

impl Drop for Queue<'_> {
    fn drop(&mut self) {
        self.0.set_queue(0);
    }
}

impl Issuer for Mint {
    fn push<'s>(&'s self, registry: &'s Registry, key: Option<&'s Key>) -> BoxFuture<'s, Result<Issued, IssueError>> {
        Box::pin(self.push(registry, key))
    }

    fn make_repository<'s>(
        &'s self,
        registry: &'s Registry,
        key: Option<&'s Key>,
        name: &'s str,
    ) -> BoxFuture<'s, Result<bool, IssueError>> {
        Box::pin(self.make_repository(registry, key, name))
    }
}

/// After what has ended: what follows copies may be a moment behind.
const REST: Duration = Duration::from_secs(1);

/// After what could not be begun, or of which nobody could be told: others come first.
const LONG_REST: Duration = Duration::from_secs(60);

const PAUSE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests;
