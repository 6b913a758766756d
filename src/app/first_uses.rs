//! Images that Pods use and rules replicate: from a review to a copy that is asked for.
//!
//! A review leaves an image in a queue and goes on, and not even that where it was left there a few seconds ago. Behind the queue one task
//! looks at the push records, and asks for a copy where one is due. All of it is bounded, and what there is no room for is counted and
//! forgotten: the next Pod with that image brings it again.

mod recent;

use std::{convert::Infallible, time::Duration};

use hashbrown::HashMap;
use jiff::Timestamp;
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, sleep},
};

use self::recent::Recent;
use crate::{
    admission,
    metrics::{FirstUseMetrics, FirstUseResult},
    pushes::{FirstUse, Image, Order, PushId, Record},
    store::{Pushes, StoreError},
};

/// Where reviews leave the images.
pub struct FirstUses {
    queue: mpsc::Sender<Used>,
    recent: Recent,
    metrics: FirstUseMetrics,
}

/// What becomes of them.
pub struct Replicator {
    queue: mpsc::Receiver<Used>,
    metrics: FirstUseMetrics,
}

/// An image that a Pod uses and a rule replicates.
#[derive(Debug)]
struct Used {
    order: Order,
    refresh: Duration,
}

/// How copies are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asking {
    /// By whoever may write how pushes stand.
    Here,
    /// By a replica, which may not.
    Aside,
}

/// The two ends.
pub fn first_uses(metrics: FirstUseMetrics) -> (FirstUses, Replicator) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let uses = FirstUses {
        queue: sender,
        recent: Recent::new(),
        metrics: metrics.clone(),
    };
    let replicator = Replicator {
        queue: receiver,
        metrics,
    };
    (uses, replicator)
}

impl FirstUses {
    /// Never waits. Of what was left a few seconds ago, and of what there is no room for, nothing is even copied.
    pub(super) fn leave(&self, used: admission::FirstUse<'_>) {
        let place = self.recent.place(&used);
        if self.recent.has(&place) {
            return;
        }
        let Ok(room) = self.queue.try_reserve() else {
            return self.metrics.count(FirstUseResult::Dropped);
        };
        room.send(Used {
            order: Order {
                image: Image::meant_by(&used.image),
                registry: used.replicate.registry.clone(),
                referrers: used.replicate.referrers,
                refresh: true,
                source: used.source.map(Into::into),
                login: None,
            },
            refresh: used.replicate.refresh,
        });
        self.recent.keep(place);
    }
}

impl Replicator {
    /// Looks at whatever comes.
    pub async fn run(mut self, store: &dyn Pushes, asking: Asking) -> Infallible {
        let mut desk = Desk {
            store,
            asking,
            seen: Seen::default(),
            busy_until: None,
            said: None,
        };
        let mut turns = interval(A_TURN);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while let Some(used) = self.queue.recv().await {
            let id = PushId::new(&used.order.registry, used.order.image.key());
            if desk.seen.has(&id, Instant::now()) {
                self.metrics.count(FirstUseResult::Repeated);
                continue;
            }
            turns.tick().await;
            let result = desk.look(id, used).await;
            self.metrics.count(result);
            if result == FirstUseResult::Failed {
                // Meanwhile the queue fills, and what is too much is dropped.
                sleep(AFTER_FAILURE).await;
            }
        }
        // There is nobody left who could leave an image: the process is about to end.
        std::future::pending().await
    }
}

/// Where images are looked at, one after the other.
struct Desk<'s> {
    store: &'s dyn Pushes,
    asking: Asking,
    seen: Seen,
    /// Until then too many copies wait.
    busy_until: Option<Instant>,
    /// The failure that was said last.
    said: Option<String>,
}

impl Desk<'_> {
    async fn look(&mut self, id: PushId, used: Used) -> FirstUseResult {
        let Used { order, refresh } = used;
        let (image, registry) = (order.image.clone(), order.registry.clone());
        let (result, again) = match self.look_at(&id, order, refresh).await {
            Ok(found) => {
                self.said = None;
                found
            }
            Err(StoreError::Busy(_)) => {
                self.busy_until = Some(Instant::now() + WHILE_BUSY);
                (FirstUseResult::Busy, WHILE_BUSY)
            }
            Err(error) => {
                let why = error.to_string();
                if self.said.as_ref() != Some(&why) {
                    tracing::warn!("{image} is not replicated into {registry}: {why}");
                    self.said = Some(why);
                }
                (FirstUseResult::Failed, WHILE_BUSY)
            }
        };
        self.seen.keep(id, Instant::now() + again);
        result
    }

    /// What became of it, and for how long that is so.
    async fn look_at(
        &self,
        id: &PushId,
        order: Order,
        refresh: Duration,
    ) -> Result<(FirstUseResult, Duration), StoreError> {
        let now = Timestamp::now();
        let until = |moment: Timestamp| Duration::try_from(moment.duration_since(now)).unwrap_or_default();
        let record = self.store.push(id).await?;
        let found = record.map_or(FirstUse::Due, |record: Record| FirstUse::of(&record, refresh, now));
        let (result, again) = match found {
            FirstUse::Due if self.busy_until.is_some_and(|until| Instant::now() < until) => {
                (FirstUseResult::Busy, WHILE_BUSY)
            }
            FirstUse::Due => (self.ask(order).await?, LONGEST_SEEN),
            FirstUse::Joined => (FirstUseResult::Joined, LONGEST_SEEN),
            FirstUse::Fresh(moment) => (FirstUseResult::Fresh, moment.map_or(LONGEST_SEEN, until)),
            FirstUse::Waiting(moment) => (FirstUseResult::Waiting, until(moment)),
        };
        // What is there may be withdrawn, and what waits be pushed by somebody.
        Ok((result, again.min(LONGEST_SEEN)))
    }

    async fn ask(&self, order: Order) -> Result<FirstUseResult, StoreError> {
        let (image, registry) = (order.image.clone(), order.registry.clone());
        let joined = match self.asking {
            Asking::Here => self.store.ask(order).await?.joined,
            Asking::Aside => {
                self.store.ask_from_aside(order).await?;
                false
            }
        };
        if joined {
            return Ok(FirstUseResult::Joined);
        }
        tracing::info!(%image, registry = &*registry, "{image} is used, and is replicated into {registry}");
        Ok(FirstUseResult::Asked)
    }
}

/// What was looked at, and when again.
#[derive(Default)]
struct Seen(HashMap<PushId, Instant>);

impl Seen {
    fn has(&self, id: &PushId, now: Instant) -> bool {
        self.0.get(id).is_some_and(|until| now < *until)
    }

    /// Of so many that there is no more room for, nothing is remembered: they are looked at each time, and no more in a second than others.
    fn keep(&mut self, id: PushId, until: Instant) {
        if self.0.len() >= MOST_SEEN && !self.0.contains_key(&id) {
            let now = Instant::now();
            self.0.retain(|_, until| now < *until);
            if self.0.len() >= MOST_SEEN {
                return;
            }
        }
        self.0.insert(id, until);
    }
}

/// Images that wait, at most.
const QUEUE: usize = 1_024;

/// Records are read one in so long at most: 50 in a second.
const A_TURN: Duration = Duration::from_millis(20);

/// What was looked at is not looked at again for so long at most.
const LONGEST_SEEN: Duration = Duration::from_secs(60);

/// Of so many images it is remembered: more are not looked at in that time.
const MOST_SEEN: usize = 4_096;

/// Where too many copies wait, no more are asked for so long.
const WHILE_BUSY: Duration = Duration::from_secs(10);

const AFTER_FAILURE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
