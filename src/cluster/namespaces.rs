//! The watch on Namespaces: their names and labels, for as long as the process lives.
//!
//! List, then watch from there, and again from the last version that was seen, for ever. It is written out here because it must know
//! when a watch stands again: kube's own watcher says nothing until the next change, goes on asking with a version that the
//! server answers 410 to, and forgets its back-off with each attempt.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    hash::{BuildHasher, Hasher, RandomState},
    pin::pin,
    time::Duration,
};

use futures_util::{FutureExt, StreamExt};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client,
    api::{ListParams, WatchEvent, WatchParams},
    core::PartialObjectMeta,
};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::explain;
use crate::snapshot::Namespaces;

/// What the watch finds.
#[derive(Clone, Debug)]
pub enum Event {
    /// All namespaces that there are, with their labels; the first of these comes when the first list is complete.
    Changed(Namespaces),
    /// It is told of every change.
    Working,
    /// Changes may be missed, for this reason. It goes on trying, and does not say so again before it works.
    Broken(String),
}

/// Watches until it is dropped. `connect` gives a client whenever a connection was lost, so that renewed credentials count.
pub async fn watch(mut connect: impl AsyncFnMut() -> Result<Client, String>, tell: impl FnMut(Event)) -> Infallible {
    let mut watch = Watch {
        tell,
        namespaces: Namespaces::watched(),
        version: None,
        state: State::Unlisted,
        failures: 0,
    };
    loop {
        let trouble = match connect().await {
            Ok(client) => watch.follow(&Api::all(client)).await,
            Err(why) => Trouble::Failed(why),
        };
        let pause = watch.failed(trouble);
        sleep(pause).await;
    }
}

struct Watch<T> {
    tell: T,
    namespaces: Namespaces,
    /// What the API server calls the state of things that is known here; none to list.
    version: Option<String>,
    state: State,
    /// How many attempts in a row came to nothing.
    failures: u32,
}

/// What was said last.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Unlisted,
    Working,
    Broken,
}

enum Trouble {
    /// The version is too old, and everything has to be listed again: that is no failure.
    Expired,
    /// Anything else.
    Failed(String),
}

type Meta = PartialObjectMeta<Namespace>;

impl<T: FnMut(Event)> Watch<T> {
    /// Lists and watches as long as that goes well.
    async fn follow(&mut self, api: &Api<Meta>) -> Trouble {
        loop {
            let done = match self.version.clone() {
                None => self.list(api).await,
                Some(version) => self.watch(api, &version).await,
            };
            if let Err(trouble) = done {
                return trouble;
            }
        }
    }

    /// Takes what the list has, and nothing else: namespaces that are not in it are gone.
    async fn list(&mut self, api: &Api<Meta>) -> Result<(), Trouble> {
        let mut namespaces = Namespaces::watched();
        let mut page = ListParams::default().limit(PAGE);
        let version = loop {
            let list = within(api.list(&page)).await?;
            for object in &list.items {
                insert(&mut namespaces, object);
            }
            match list.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page.continue_token = Some(token),
                None => break list.metadata.resource_version,
            }
        };
        let version = version.filter(|version| !version.is_empty());
        self.version =
            Some(version.ok_or_else(|| Trouble::Failed("the list of namespaces has no version".to_owned()))?);
        self.namespaces = namespaces;
        tracing::debug!(namespaces = self.namespaces.len(), "the namespaces were listed");
        self.publish();
        Ok(())
    }

    /// Follows changes until the server ends the watch, as it does every few minutes.
    async fn watch(&mut self, api: &Api<Meta>, version: &str) -> Result<(), Trouble> {
        let seconds = WATCH_SECONDS + random(WATCH_SECONDS / 4);
        let params = WatchParams::default().timeout(seconds);
        let mut events = pin!(within(api.watch(&params, version)).await?);
        let started = Instant::now();
        if self.state != State::Working {
            self.state = State::Working;
            (self.tell)(Event::Working);
        }
        // The server ends it; where its end does not arrive, nothing else would either.
        let deadline = started + Duration::from_secs(seconds.into()) + DEADLINE;
        let mut heard = false;
        let end = loop {
            let Ok(event) = timeout_at(deadline, events.next()).await else {
                break Err(Trouble::Failed("the API server has gone silent".to_owned()));
            };
            let mut next = Some(event);
            let mut changed = false;
            let mut batch = 0;
            // What has arrived by now is published together, or a burst would cost its square.
            let end = loop {
                match next {
                    None => break None,
                    Some(None) => break Some(Ok(())),
                    Some(Some(event)) => match self.apply(event) {
                        Ok(change) => changed |= change,
                        Err(trouble) => break Some(Err(trouble)),
                    },
                }
                heard = true;
                batch += 1;
                next = if batch < BATCH {
                    events.next().now_or_never()
                } else {
                    None
                };
            };
            if changed {
                self.publish();
            }
            if let Some(end) = end {
                break end;
            }
        };
        if heard || started.elapsed() >= STEADY {
            self.failures = 0;
        } else if end.is_ok() {
            return Err(Trouble::Failed("the API server ends the watch at once".to_owned()));
        }
        end
    }

    /// Whether anything has changed.
    fn apply(&mut self, event: kube::Result<WatchEvent<Meta>>) -> Result<bool, Trouble> {
        let (object, changed) = match event? {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                let changed = insert(&mut self.namespaces, &object);
                (object, changed)
            }
            WatchEvent::Deleted(object) => {
                let name = object.metadata.name.as_deref().unwrap_or_default();
                let changed = self.namespaces.remove(name);
                (object, changed)
            }
            WatchEvent::Bookmark(bookmark) => {
                self.version = Some(bookmark.metadata.resource_version);
                return Ok(false);
            }
            WatchEvent::Error(status) => return Err(kube::Error::Api(status).into()),
        };
        self.version = object.metadata.resource_version.or(self.version.take());
        Ok(changed)
    }

    fn publish(&mut self) {
        (self.tell)(Event::Changed(self.namespaces.clone()));
    }

    /// How long to wait before the next attempt.
    fn failed(&mut self, trouble: Trouble) -> Duration {
        self.failures = self.failures.saturating_add(1);
        // One of several API servers that goes, as each does in an upgrade, is no trouble yet: the next attempt finds another.
        let mut told = self.failures > 1;
        let why = match trouble {
            Trouble::Expired => {
                self.version = None;
                "what is known is too old to go on from".to_owned()
            }
            Trouble::Failed(why) => {
                told |= self.state == State::Unlisted;
                why
            }
        };
        tracing::debug!(failures = self.failures, "the watch on namespaces ended: {why}");
        if told && self.state != State::Broken {
            self.state = State::Broken;
            (self.tell)(Event::Broken(why));
        }
        // Whatever state the two sides are in, a list puts it right.
        if self.failures >= RELIST_AFTER {
            self.version = None;
        }
        let pause = SHORTEST_PAUSE * 2_u32.saturating_pow(self.failures.min(16) - 1);
        let pause = pause.min(LONGEST_PAUSE);
        // Between half of it and all of it, so that replicas do not all come at once.
        pause / 2 + pause / 2 * random(100) / 100
    }
}

impl From<kube::Error> for Trouble {
    fn from(error: kube::Error) -> Self {
        match &error {
            kube::Error::Api(status) if status.code == 410 => Self::Expired,
            kube::Error::Api(status) if status.code == 403 => Self::Failed(format!(
                "{}; grant get, list and watch on namespaces to whoever that is",
                explain(&error)
            )),
            _ => Self::Failed(explain(&error)),
        }
    }
}

/// Whether that changes anything.
fn insert(namespaces: &mut Namespaces, object: &Meta) -> bool {
    static NONE: BTreeMap<String, String> = BTreeMap::new();
    let labels = object.metadata.labels.as_ref().unwrap_or(&NONE);
    object
        .metadata
        .name
        .as_ref()
        .is_some_and(|name| namespaces.insert(name, labels.iter().map(|(key, value)| (&**key, &**value))))
}

/// Every answer has a deadline, that to a watch included: it begins at once.
async fn within<V>(answer: impl Future<Output = kube::Result<V>>) -> Result<V, Trouble> {
    match timeout(DEADLINE, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Trouble::Failed(format!(
            "the API server has not answered within {} s",
            DEADLINE.as_secs()
        ))),
    }
}

/// Less than `end`. Good enough for spreading, and no dependency.
fn random(end: u32) -> u32 {
    let random = RandomState::new().build_hasher().finish();
    // The remainder is less than `end`.
    (random % u64::from(end.max(1))) as u32
}

/// So many namespaces are asked for at a time, as client-go does.
const PAGE: u32 = 500;

/// So many changes are published together at most, so that reviews that wait for the first of them do not wait for all.
const BATCH: usize = 1_000;

/// How long a watch lasts, in seconds, and up to a quarter more. kube refuses 295 and more.
const WATCH_SECONDS: u32 = 220;

/// How long an answer may take to begin.
const DEADLINE: Duration = Duration::from_secs(30);

/// A watch that has stood for so long is no failure when it ends.
const STEADY: Duration = Duration::from_secs(5);

/// After so many failures in a row, everything is listed again.
const RELIST_AFTER: u32 = 3;

const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

/// Short, since API servers that are back ask for Pods in new namespaces at once.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
