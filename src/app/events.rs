//! Events on the owners of Pods: whoever looks at a Deployment never sees what admission says about its Pods.
//!
//! A review leaves a note in a queue and goes on; everything else happens behind it. Each owner is told a thing once in a while, and few
//! things: a ReplicaSet whose Pods are refused tries again and again.

use std::{
    convert::Infallible,
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

use hashbrown::HashMap;
use kube::Client;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};

use crate::{
    admission::Notice,
    cluster::{Access, events},
    metrics::{EventResult, Metrics},
};

/// Where reviews leave their notes.
pub struct Events {
    queue: mpsc::Sender<events::Event>,
    metrics: Arc<Metrics>,
}

/// What becomes of them.
pub(super) struct Teller {
    queue: mpsc::Receiver<events::Event>,
    metrics: Arc<Metrics>,
    access: Access,
    instance: String,
}

/// The two ends.
pub(super) fn events(access: Access, instance: String, metrics: Arc<Metrics>) -> (Events, Teller) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let events = Events {
        queue: sender,
        metrics: metrics.clone(),
    };
    let teller = Teller {
        queue: receiver,
        metrics,
        access,
        instance,
    };
    (events, teller)
}

impl Events {
    /// Never waits: what there is no room for is counted and forgotten.
    pub(super) fn leave(&self, notice: Notice<'_>) {
        let Notice {
            namespace,
            owner,
            refused,
            text,
        } = notice;
        let event = events::Event {
            namespace: namespace.to_owned(),
            api_version: owner.api_version.to_string(),
            kind: owner.kind.to_string(),
            name: owner.name.to_string(),
            uid: owner.uid.to_string(),
            reason: if refused { "ImageDenied" } else { "ImageWarning" },
            note: text.to_owned(),
            warning: true,
            reporter: events::Reporter::Webhook,
        };
        if self.queue.try_send(event).is_err() {
            self.metrics.event(EventResult::Dropped);
        }
    }
}

impl Teller {
    /// Tells whatever comes.
    pub(super) async fn run(mut self) -> Infallible {
        let mut sieve = Sieve::default();
        let mut client = None;
        let mut failed = None;
        while let Some(event) = self.queue.recv().await {
            if !sieve.lets_through(&event, Instant::now()) {
                self.metrics.event(EventResult::Repeated);
                continue;
            }
            match self.tell(&mut client, &event).await {
                Ok(()) => {
                    self.metrics.event(EventResult::Created);
                    failed = None;
                }
                Err(why) => {
                    self.metrics.event(EventResult::Failed);
                    if failed.as_ref() != Some(&why) {
                        tracing::warn!(
                            "{} {} in {} is not told that {}: {why}",
                            event.kind,
                            event.name,
                            event.namespace,
                            event.note
                        );
                        failed = Some(why);
                    }
                    // Meanwhile the queue fills, and what is too much is dropped.
                    sleep(AFTER_FAILURE).await;
                }
            }
        }
        // There is nobody left who could leave a note: the process is about to end.
        std::future::pending().await
    }

    async fn tell(&self, kept: &mut Option<Client>, event: &events::Event) -> Result<(), String> {
        let client = match kept.take() {
            Some(client) => client,
            None => self.access.client().await?,
        };
        events::create(client.clone(), event, &self.instance).await?;
        *kept = Some(client);
        Ok(())
    }
}

/// What each owner was told, and when that began.
#[derive(Default)]
struct Sieve {
    owners: HashMap<String, (Instant, Vec<u64>)>,
    hasher: RandomState,
}

impl Sieve {
    fn lets_through(&mut self, event: &events::Event, now: Instant) -> bool {
        if self.owners.len() >= MOST_OWNERS && !self.owners.contains_key(&event.uid) {
            self.owners.retain(|_, (since, _)| now - *since < WINDOW);
            if self.owners.len() >= MOST_OWNERS {
                return false;
            }
        }
        let text = self.hasher.hash_one((event.reason, &event.note));
        let (since, told) = self.owners.entry_ref(&event.uid).or_insert_with(|| (now, Vec::new()));
        if now - *since >= WINDOW {
            *since = now;
            told.clear();
        }
        let new = told.len() < MOST_TOLD && !told.contains(&text);
        if new {
            told.push(text);
        }
        new
    }
}

/// Notes that wait, at most.
const QUEUE: usize = 256;

/// An owner is told the same thing once within so long, and so many things at most.
const WINDOW: Duration = Duration::from_secs(600);
const MOST_TOLD: usize = 5;

/// Of so many owners it is remembered; to more nothing is told.
const MOST_OWNERS: usize = 4_096;

const AFTER_FAILURE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::review::Owner;

    fn event(uid: &str, note: &str) -> events::Event {
        events::Event {
            namespace: "n".to_owned(),
            api_version: "apps/v1".to_owned(),
            kind: "ReplicaSet".to_owned(),
            name: "r".to_owned(),
            uid: uid.to_owned(),
            reason: "ImageDenied",
            note: note.to_owned(),
            warning: true,
            reporter: events::Reporter::Webhook,
        }
    }

    #[test]
    fn an_owner_is_told_a_thing_once_and_few_things_until_some_time_has_passed() {
        let (mut sieve, now) = (Sieve::default(), Instant::now());
        assert!(sieve.lets_through(&event("a", "1"), now));
        assert!(!sieve.lets_through(&event("a", "1"), now));
        assert!(sieve.lets_through(&event("b", "1"), now));
        let told = (2..100).filter(|note| sieve.lets_through(&event("a", &note.to_string()), now));
        assert_eq!(told.count(), MOST_TOLD - 1);
        assert!(sieve.lets_through(&event("a", "1"), now + WINDOW));
    }

    #[test]
    fn of_many_owners_those_of_long_ago_are_forgotten_and_no_more_are_remembered() {
        let (mut sieve, now) = (Sieve::default(), Instant::now());
        for owner in 0..MOST_OWNERS {
            assert!(sieve.lets_through(&event(&owner.to_string(), ""), now));
        }
        assert!(!sieve.lets_through(&event("more", ""), now));
        assert_eq!(sieve.owners.len(), MOST_OWNERS);
        assert!(sieve.lets_through(&event("more", ""), now + WINDOW));
        assert_eq!(sieve.owners.len(), 1);
    }

    #[test]
    fn a_full_queue_drops_and_counts_and_keeps_nobody_waiting() {
        let metrics = Arc::new(Metrics::new());
        let (events, teller) = events(Access::InCluster, String::new(), metrics.clone());
        let owner = Owner {
            api_version: Cow::Borrowed("apps/v1"),
            kind: Cow::Borrowed("ReplicaSet"),
            name: Cow::Borrowed("r"),
            uid: Cow::Borrowed("u"),
        };
        for _ in 0..QUEUE + 3 {
            events.leave(Notice {
                namespace: "n",
                owner: &owner,
                refused: true,
                text: "no",
            });
        }
        assert_eq!(teller.queue.len(), QUEUE);
        let text = metrics.common().render().unwrap();
        assert!(text.contains("waypost_events_total{result=\"dropped\"} 3\n"), "{text}");
    }
}
