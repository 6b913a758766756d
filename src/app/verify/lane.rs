//! One registry: whose target is asked for next, and what is said of the answers.

use std::{
    collections::BinaryHeap,
    convert::Infallible,
    hash::{BuildHasher, Hasher, RandomState},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use hashbrown::{HashMap, HashSet};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

use super::{
    Shared, Used,
    asker::{Answered, Asker, Found, Refused},
};
use crate::{
    metrics::Verification,
    pushes::{
        Index, Key,
        verification::{Plan, Trouble, Turn},
    },
    store::Stored,
};

/// What a lane is told.
pub(super) struct Told {
    /// The registry as it is.
    pub(super) stored: watch::Receiver<Stored>,
    /// Pushes into it that nobody has looked at yet.
    pub(super) new: mpsc::Receiver<Key>,
    /// What Pods use.
    pub(super) used: watch::Receiver<Used>,
}

struct Lane {
    shared: Arc<Shared>,
    id: String,
    plan: Plan,
    /// What was said, and when.
    said: HashMap<&'static str, Instant>,
    /// Targets of which it was said that something else is there, and what.
    moved: HashMap<Key, Box<str>>,
    /// Of what is in these nothing will be known.
    unreadable: HashSet<Key>,
    /// Those that are asked for now.
    asking: HashSet<Key>,
}

/// Looks after the pushes of a registry, for as long as it is not dropped.
pub(super) async fn look_after(shared: Arc<Shared>, mut told: Told) -> Infallible {
    let mut stored = told.stored.borrow_and_update().clone();
    let mut lane = Lane::new(shared, stored.id.clone());
    loop {
        tokio::select! {
            never = lane.ask(&stored, &mut told.new, &mut told.used) => match never {},
            changed = told.stored.changed() => if changed.is_err() {
                std::future::pending().await
            },
        }
        stored = told.stored.borrow_and_update().clone();
    }
}

impl Lane {
    fn new(shared: Arc<Shared>, id: String) -> Self {
        Self {
            plan: Plan::new(shared.every, anywhere()),
            shared,
            id,
            said: HashMap::new(),
            moved: HashMap::new(),
            unreadable: HashSet::new(),
            asking: HashSet::new(),
        }
    }

    /// Asks again and again.
    async fn ask(
        &mut self,
        stored: &Stored,
        new: &mut mpsc::Receiver<Key>,
        used: &mut watch::Receiver<Used>,
    ) -> Infallible {
        let asker = match Asker::new(self.shared.clone(), stored.clone()) {
            Ok(asker) => asker,
            // That it cannot be used is said elsewhere.
            Err(_) => std::future::pending().await,
        };
        let mut asked = FuturesUnordered::new();
        // Whoever asked before was dropped, and what he asked.
        self.asking.clear();
        self.use_is(used);
        loop {
            while let Ok(key) = new.try_recv() {
                self.plan.is_new(key);
            }
            let until = if asked.len() < AT_ONCE {
                match self.plan.next(self.shared.origin.elapsed()) {
                    Turn::Ask(key) => {
                        if self.asking.insert(key) {
                            let unreadable = self.unreadable.contains(&key);
                            asked.push(asker.ask(key, !unreadable));
                        }
                        continue;
                    }
                    Turn::Page(after) => {
                        let (index, id) = (self.shared.index.borrow().clone(), self.id.clone());
                        // A million take a moment.
                        let looking = tokio::task::spawn_blocking(move || page(&index, &id, after));
                        let (keys, more) = looking.await.unwrap_or_default();
                        self.plan.page(keys, more);
                        continue;
                    }
                    Turn::Wait(until) => Some(self.shared.origin + until),
                }
            } else {
                None
            };
            tokio::select! {
                Some(answered) = asked.next(), if !asked.is_empty() => self.answered(answered),
                () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {}
                Some(key) = new.recv() => self.plan.is_new(key),
                Ok(()) = used.changed() => self.use_is(used),
            }
        }
    }

    fn use_is(&mut self, used: &mut watch::Receiver<Used>) {
        let used = used.borrow_and_update().clone();
        self.plan.use_is(used.get(&*self.id).cloned().unwrap_or_default());
    }

    fn answered(&mut self, answered: Answered) {
        let Answered { key, found, unread } = answered;
        self.asking.remove(&key);
        let registry = &*self.id;
        let result = match found {
            Ok(Found::Nothing) => None,
            Ok(Found::Present { readable }) => {
                self.moved.remove(&key);
                if !readable {
                    if self.unreadable.len() == MOST_REMEMBERED {
                        self.unreadable.clear();
                    }
                    self.unreadable.insert(key);
                }
                Some(Verification::Present)
            }
            Ok(Found::Moved { target, was, is }) => {
                if self.moved.len() == MOST_REMEMBERED {
                    self.moved.clear();
                }
                if self.moved.get(&key) != Some(&is) {
                    tracing::info!(
                        registry,
                        "{target} is another image than the push that was recorded: somebody has pushed {is} over {was} without a word, and \
                         nobody knows when"
                    );
                    self.moved.insert(key, is);
                }
                Some(Verification::Moved)
            }
            Ok(Found::Gone { target, image }) => {
                tracing::info!(
                    registry,
                    "{target} is gone from the registry {registry}: {image} is not pulled from there any more"
                );
                Some(Verification::Gone)
            }
            Err(refused) => {
                self.say(&refused);
                Some(match refused.trouble {
                    Trouble::Rejected => Verification::Rejected,
                    Trouble::Limited(_) => Verification::Limited,
                    Trouble::Failed => Verification::Failed,
                })
            }
        };
        if let Some(refused) = unread {
            self.say(&refused);
        }
        if let Some(result) = result {
            self.shared.metrics.found(&self.id, result);
        }
    }

    /// Once for each reason, and again when nobody remembers.
    fn say(&mut self, refused: &Refused) {
        let Refused { reason, message, .. } = refused;
        let registry = &*self.id;
        let last = self.said.get(reason);
        if last.is_none_or(|said| said.elapsed() >= SAID_AGAIN) {
            self.said.insert(reason, Instant::now());
            tracing::warn!(
                registry,
                reason,
                "whether pushes are there still cannot be asked of the registry {registry}, and all of them stay as they are: {message}"
            );
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.shared.metrics.remove(&self.id);
    }
}

/// Which of a registry's pushes come next that are the latest of their images, in order, and whether there are more.
fn page(index: &Index, registry: &str, after: Option<Key>) -> (Vec<Key>, bool) {
    let mut first = BinaryHeap::with_capacity(PAGE + 1);
    let mut more = false;
    for key in index.latest_of(registry).filter(|key| Some(*key) > after) {
        if first.len() < PAGE {
            first.push(key);
            continue;
        }
        more = true;
        if first.peek().is_some_and(|last| key < *last) {
            first.pop();
            first.push(key);
        }
    }
    (first.into_sorted_vec(), more)
}

fn anywhere() -> Key {
    let mut key = Key([0; 16]);
    for half in key.0.chunks_mut(8) {
        half.copy_from_slice(&RandomState::new().build_hasher().finish().to_le_bytes());
    }
    key
}

/// Questions, of one registry.
const AT_ONCE: usize = 4;

/// So many are looked for together, for which all are looked at: at four a second that is every few minutes.
const PAGE: usize = 1_000;

const SAID_AGAIN: Duration = Duration::from_secs(3_600);

const MOST_REMEMBERED: usize = 10_000;
