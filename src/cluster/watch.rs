//! The watch on objects of one type, for as long as the process lives.
//!
//! List, then watch from there, and again from the last version that was seen, for ever. It is written out here because it must know
//! when a watch stands again: kube's own watcher says nothing until the next change, goes on asking with a version that the
//! server answers 410 to, and forgets its back-off with each attempt.

use std::{
    convert::Infallible,
    fmt::Debug,
    hash::{BuildHasher, Hasher, RandomState},
    pin::pin,
    time::Duration,
};

use futures_util::{FutureExt, StreamExt};
use kube::{
    Api, Resource,
    api::{ListParams, WatchEvent, WatchParams},
};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::explain;

/// Which objects are followed. The [`Api`] says their type, and whether those of one namespace or of all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// As a rule of RBAC names the resource, for whoever has to grant the right to it: `namespaces`, `policies.waypost.dev`.
    pub resource: &'static str,
    /// Only those with these fields, as in `metadata.name=x`.
    pub fields: Option<String>,
    /// Only those with these labels, as in `app=x`.
    pub labels: Option<String>,
}

impl Selection {
    /// All objects of a resource.
    pub const fn all(resource: &'static str) -> Self {
        Self {
            resource,
            fields: None,
            labels: None,
        }
    }

    /// Only those with these fields.
    pub fn fields(self, selector: impl Into<String>) -> Self {
        Self {
            fields: Some(selector.into()),
            ..self
        }
    }

    /// Only those with these labels.
    pub fn labels(self, selector: impl Into<String>) -> Self {
        Self {
            labels: Some(selector.into()),
            ..self
        }
    }
}

/// What is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<K> {
    /// All objects that there are, in no order: whatever was known and is not among them is gone. The first event of all is this one,
    /// or [`Broken`](Self::Broken), or [`Missing`](Self::Missing).
    Listed(Vec<K>),
    /// What has changed since, in order; never empty.
    Changed(Vec<Change<K>>),
    /// From now on it is told of every change.
    Working,
    /// Changes may be missed, for this reason, which is said after each attempt. It goes on trying.
    Broken(String),
    /// The API server has no such resource (404), as before its CustomResourceDefinition is made and after that was deleted: whatever
    /// was known is gone. It is said after each attempt, the first where something was known excepted, with the reason in words. It
    /// goes on trying, less often.
    Missing(String),
}

/// One object that has changed. Not everything that arrives is news: it may be as it was, or unknown and deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change<K> {
    /// It was made or changed, and is like this now.
    Applied(K),
    /// It was deleted, and was like this last.
    Deleted(K),
}

/// Follows objects until it is dropped. `connect` gives an API whenever a connection was lost, so that renewed credentials count.
/// `wanted` resolves when somebody needs an object that is not known: then the next attempt is made at once, for an API server that
/// asks is there again ([`nobody`] where there is no such thing).
///
/// `K` decides how much of an object is asked for: a [`PartialObjectMeta`](kube::core::PartialObjectMeta) is its metadata alone. One
/// object that is no `K` breaks the whole list: read what others write as a [`DynamicObject`](kube::core::DynamicObject).
pub async fn follow<K>(
    mut connect: impl AsyncFnMut() -> Result<Api<K>, String>,
    selection: Selection,
    mut wanted: impl AsyncFnMut(),
    tell: impl FnMut(Event<K>),
) -> Infallible
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let mut watch = Watch {
        tell,
        selection,
        version: None,
        state: State::Unlisted,
        failures: 0,
    };
    loop {
        let trouble = match connect().await {
            Ok(api) => watch.follow(&api).await,
            Err(why) => Trouble::Failed(why),
        };
        let pause = watch.failed(trouble);
        sleep(pause.min(SHORTEST_PAUSE)).await;
        // Whether it is wanted or not.
        let _ = timeout(pause.saturating_sub(SHORTEST_PAUSE), wanted()).await;
    }
}

/// Nobody waits for an object: for [`follow`].
pub async fn nobody() {
    std::future::pending().await
}

struct Watch<T> {
    tell: T,
    selection: Selection,
    /// What the API server calls the state of things that is known here; none to list.
    version: Option<String>,
    state: State,
    /// How many attempts in a row came to nothing.
    failures: u32,
}

/// What was said last of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Unlisted,
    Working,
    Broken,
}

enum Trouble {
    /// The version is too old, and everything has to be listed again: that is no failure.
    Expired,
    /// There is no such resource.
    Missing(String),
    /// The right to it is missing.
    Forbidden(String),
    /// Anything else.
    Failed(String),
}

impl<T> Watch<T> {
    /// Lists and watches as long as that goes well.
    async fn follow<K>(&mut self, api: &Api<K>) -> Trouble
    where
        K: Resource + Clone + DeserializeOwned + Debug,
        T: FnMut(Event<K>),
    {
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

    /// Takes what the list has, and nothing else.
    async fn list<K>(&mut self, api: &Api<K>) -> Result<(), Trouble>
    where
        K: Clone + DeserializeOwned + Debug,
        T: FnMut(Event<K>),
    {
        let resource = self.selection.resource;
        let mut objects = Vec::new();
        let mut page = ListParams {
            field_selector: self.selection.fields.clone(),
            label_selector: self.selection.labels.clone(),
            ..ListParams::default().limit(PAGE)
        };
        let version = loop {
            let mut list = within(api.list(&page)).await?;
            objects.append(&mut list.items);
            match list.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page.continue_token = Some(token),
                None => break list.metadata.resource_version,
            }
        };
        let version = version.filter(|version| !version.is_empty());
        self.version = Some(version.ok_or_else(|| Trouble::Failed(format!("the list of {resource} has no version")))?);
        tracing::debug!(resource, objects = objects.len(), "the {resource} were listed");
        (self.tell)(Event::Listed(objects));
        Ok(())
    }

    /// Follows changes until the server ends the watch, as it does every few minutes.
    async fn watch<K>(&mut self, api: &Api<K>, version: &str) -> Result<(), Trouble>
    where
        K: Resource + Clone + DeserializeOwned + Debug,
        T: FnMut(Event<K>),
    {
        let seconds = WATCH_SECONDS + random(WATCH_SECONDS / 4);
        let params = WatchParams {
            field_selector: self.selection.fields.clone(),
            label_selector: self.selection.labels.clone(),
            ..WatchParams::default().timeout(seconds)
        };
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
            let mut changes = Vec::new();
            let mut batch = 0;
            // What has arrived by now is told together, or a burst would cost its square.
            let end = loop {
                match next {
                    None => break None,
                    Some(None) => break Some(Ok(())),
                    Some(Some(event)) => match self.apply(event) {
                        Ok(change) => changes.extend(change),
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
            if !changes.is_empty() {
                (self.tell)(Event::Changed(changes));
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

    /// None where it is no change.
    fn apply<K: Resource>(&mut self, event: kube::Result<WatchEvent<K>>) -> Result<Option<Change<K>>, Trouble> {
        let (version, change) = match event? {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                (object.meta().resource_version.clone(), Some(Change::Applied(object)))
            }
            WatchEvent::Deleted(object) => (object.meta().resource_version.clone(), Some(Change::Deleted(object))),
            WatchEvent::Bookmark(bookmark) => (Some(bookmark.metadata.resource_version), None),
            WatchEvent::Error(status) => return Err(kube::Error::Api(status).into()),
        };
        self.version = version.or(self.version.take());
        Ok(change)
    }

    /// How long to wait before the next attempt.
    fn failed<K>(&mut self, trouble: Trouble) -> Duration
    where
        T: FnMut(Event<K>),
    {
        let resource = self.selection.resource;
        self.failures = self.failures.saturating_add(1);
        // One of several API servers that goes, as each does in an upgrade, is no trouble yet: the next attempt finds another.
        let mut broken = self.failures > 1;
        let missing = matches!(trouble, Trouble::Missing(_));
        let why = match trouble {
            Trouble::Expired => {
                self.version = None;
                "what is known is too old to go on from".to_owned()
            }
            Trouble::Missing(why) => {
                self.version = None;
                broken |= self.state == State::Unlisted;
                why
            }
            Trouble::Forbidden(why) => {
                broken |= self.state == State::Unlisted;
                format!("{why}; grant get, list and watch on {resource} to whoever that is")
            }
            Trouble::Failed(why) => {
                broken |= self.state == State::Unlisted;
                why
            }
        };
        tracing::debug!(
            resource,
            failures = self.failures,
            "the watch on {resource} ended: {why}"
        );
        if broken || self.state == State::Broken {
            self.state = State::Broken;
            (self.tell)(if missing {
                Event::Missing(why)
            } else {
                Event::Broken(why)
            });
        }
        // Whatever state the two sides are in, a list puts it right.
        if self.failures >= RELIST_AFTER {
            self.version = None;
        }
        let pause = SHORTEST_PAUSE * 2_u32.saturating_pow(self.failures.min(16) - 1);
        let pause = pause.min(if missing {
            LONGEST_PAUSE_WHERE_MISSING
        } else {
            LONGEST_PAUSE
        });
        // Between half of it and all of it, so that replicas do not all come at once.
        pause / 2 + pause / 2 * random(100) / 100
    }
}

impl From<kube::Error> for Trouble {
    fn from(error: kube::Error) -> Self {
        match &error {
            kube::Error::Api(status) if status.code == 410 => Self::Expired,
            kube::Error::Api(status) if status.code == 404 => Self::Missing(explain(&error)),
            kube::Error::Api(status) if status.code == 403 => Self::Forbidden(explain(&error)),
            _ => Self::Failed(explain(&error)),
        }
    }
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

/// So many objects are asked for at a time, as client-go does.
const PAGE: u32 = 500;

/// So many changes are told together at most, so that whoever waits for the first of them does not wait for all.
const BATCH: usize = 1_000;

/// How long a watch lasts, in seconds, and up to a quarter more. kube refuses 295 and more.
pub(super) const WATCH_SECONDS: u32 = 220;

/// How long an answer may take to begin.
const DEADLINE: Duration = Duration::from_secs(30);

/// A watch that has stood for so long is no failure when it ends.
const STEADY: Duration = Duration::from_secs(5);

/// After so many failures in a row, everything is listed again.
const RELIST_AFTER: u32 = 3;

/// However urgent it is, and less than a review waits for a namespace.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A definition is made once, and by hand.
const LONGEST_PAUSE_WHERE_MISSING: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
