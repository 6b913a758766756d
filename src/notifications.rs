//! Notifications of registries: who may send them, how many at once, and what becomes of what they tell.
//!
//! Everything that a registry tells in one request is kept by one change of the store, and nothing is acknowledged before. Whatever order
//! requests come in, and however often, the records end as the registry's clock has it: [`Record::after`](crate::pushes::Record::after) sees
//! to that for what has a record, and [`Deletions`] for what has none yet.

mod tokens;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use ring::{error::Unspecified, hmac};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::timeout,
};

use self::tokens::Token;
pub use self::tokens::Verdict;
use crate::{
    pushes::{
        Event, Image, Index, Key, Origin, PushId, Record, What,
        notification::{Deleted, Deletions, Format, Noticed, Notification, NotificationError, image},
    },
    reference::Reference,
    registry::{Password, Registry, UNKNOWN_ACCOUNT},
    store::{PushQuery, Registries, Store, StoreError, Stored},
};

/// Takes the notifications of all registries.
pub struct Notifications {
    store: Arc<dyn Store>,
    registries: watch::Receiver<Registries>,
    index: watch::Receiver<Index>,
    told: Observer,
    /// For keyed hashes of tokens, new in each process.
    key: hmac::Key,
    /// By id; of registries that there are.
    notifiers: Mutex<HashMap<String, Arc<Notifier>>>,
    /// How many requests may be here, waiting or not.
    places: Arc<Semaphore>,
    /// How many are worked on.
    working: Arc<Semaphore>,
    /// Whoever looks through the records of a registry has it: that costs the more the more there are.
    looking: tokio::sync::Mutex<()>,
}

/// Is told what became of how many events of the registry of an id, or of one request; must not block.
pub type Observer = Arc<dyn Fn(&str, Outcome, usize) + Send + Sync>;

/// What became of an event, or of a request: a closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// A push was recorded.
    Recorded,
    /// What was deleted has been withdrawn.
    Withdrawn,
    /// The event is of nothing that is recorded: a blob, a pull, an image without a tag, a delete of what nobody recorded.
    Irrelevant,
    /// The event is of a repository that is not below the registry's organization.
    Elsewhere,
    /// The event says what cannot be.
    Invalid,
    /// The request came without the registry's token.
    Unauthenticated,
    /// There were too many requests at once.
    Busy,
    /// The body of the request is no notification.
    Unreadable,
    /// What the request told could not be kept, and is to be told again.
    Failed,
}

/// What was made of a notification.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// How many of its events are kept.
    pub recorded: usize,
    /// How many are of no interest, or say what cannot be.
    pub ignored: usize,
}

/// Why a notification was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is none.
    Unreadable(NotificationError),
    /// There is no such registry any more.
    Gone,
    /// There is no room for what it tells; says why.
    Full(String),
    /// It cannot be kept at the moment; says why, in words for an operator.
    Unavailable(String),
}

/// Being let in: so many are at once, of one registry and of all.
pub struct Place {
    _permits: [OwnedSemaphorePermit; 4],
}

/// What is kept of one registry.
struct Notifier {
    token: tokio::sync::Mutex<Option<Token>>,
    deletions: Mutex<Deletions>,
    places: Arc<Semaphore>,
    working: Arc<Semaphore>,
}

/// What is told of in one request, as it is to be kept.
#[derive(Default)]
struct Batch {
    events: Vec<Event>,
    /// What was pushed.
    pushed: Vec<Pushed>,
    outcomes: HashMap<Outcome, usize>,
}

struct Pushed {
    /// The event.
    event: usize,
    name: String,
    tag: Box<str>,
    digest: Box<str>,
}

impl Notifications {
    /// Takes them into a store.
    ///
    /// # Errors
    ///
    /// When the system has no random numbers.
    pub fn new(store: Arc<dyn Store>, told: Observer) -> Result<Self, Unspecified> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &ring::rand::SystemRandom::new())?;
        Ok(Self {
            registries: store.registries(),
            index: store.index(),
            store,
            told,
            key,
            notifiers: Mutex::default(),
            places: Arc::new(Semaphore::new(MOST_PLACES)),
            working: Arc::new(Semaphore::new(MOST_WORKING)),
            looking: tokio::sync::Mutex::default(),
        })
    }

    /// Whether it is the token of the registry of this id.
    pub async fn judge(&self, id: &str, token: &Password) -> Verdict {
        let stored = self.stored(id);
        let Some((edition, notifier)) = stored.and_then(|stored| Some((stored.notify?, self.notifier(id)))) else {
            // It takes as long.
            let _ = hmac::sign(&self.key, token.expose().as_bytes());
            return Verdict::Another;
        };
        let verdict = {
            let mut known = notifier.token.lock().await;
            Token::judge(&mut known, &*self.store, id, edition, &self.key, token).await
        };
        match verdict {
            Verdict::Right => {}
            Verdict::Another => self.tell(id, Outcome::Unauthenticated, 1),
            Verdict::Unavailable => self.tell(id, Outcome::Failed, 1),
        }
        verdict
    }

    /// A place for a request of this registry, within some seconds. None where too many are here.
    pub async fn enter(&self, id: &str) -> Option<Place> {
        let notifier = self.notifier(id);
        let place = async {
            let places = [&notifier.places, &self.places].map(|places| places.clone().try_acquire_owned().ok());
            let [Some(own), Some(of_all)] = places else { return None };
            let working = notifier.working.clone().acquire_owned().await.ok()?;
            let of_all_working = self.working.clone().acquire_owned().await.ok()?;
            Some(Place {
                _permits: [own, of_all, working, of_all_working],
            })
        };
        let place = timeout(PATIENCE, place).await.ok().flatten();
        if place.is_none() {
            self.tell(id, Outcome::Busy, 1);
        }
        place
    }

    /// Keeps what a registry tells.
    ///
    /// # Errors
    ///
    /// When it is no notification, or could not be kept: telling it again does no harm.
    pub async fn take(&self, id: &str, format: Format, body: &[u8]) -> Result<Taken, Refused> {
        let done = self.told(id, format, body).await;
        match &done {
            Ok(_) | Err(Refused::Gone) => {}
            Err(Refused::Unreadable(_)) => self.tell(id, Outcome::Unreadable, 1),
            Err(Refused::Full(_) | Refused::Unavailable(_)) => self.tell(id, Outcome::Failed, 1),
        }
        done
    }

    async fn told(&self, id: &str, format: Format, body: &[u8]) -> Result<Taken, Refused> {
        let notification = Notification::read(format, body).map_err(Refused::Unreadable)?;
        let stored = self.stored(id).ok_or(Refused::Gone)?;
        let registry = stored.registry().map_err(|problems| {
            let is_unknown = problems.iter().all(|problem| problem.code == UNKNOWN_ACCOUNT);
            Refused::Unavailable(if is_unknown {
                "nobody knows yet whose registry it is: ECR is asked for that with the first token".to_owned()
            } else {
                "the registry cannot be used, for its address or its names cannot be".to_owned()
            })
        })?;
        let notifier = self.notifier(id);
        let mut batch = self.batch(&registry, &notifier, notification).await?;
        if !batch.events.is_empty() {
            self.keep(batch.events.clone()).await?;
            // Another request may have told of a delete meanwhile, which has not found these.
            let since = batch.withdrawn_since(&lock(&notifier.deletions));
            if !since.is_empty() {
                self.keep(since).await?;
            }
        }
        let mut taken = Taken::default();
        for (outcome, count) in batch.outcomes.drain() {
            match outcome {
                Outcome::Recorded | Outcome::Withdrawn => taken.recorded += count,
                _ => taken.ignored += count,
            }
            self.tell(id, outcome, count);
        }
        if taken.recorded > 0 {
            let Taken { recorded, ignored } = taken;
            tracing::info!(
                registry = id,
                recorded,
                ignored,
                "the registry {id} has told of {recorded} pushes and deletes"
            );
        }
        Ok(taken)
    }

    /// What is to be kept of a notification.
    async fn batch(
        &self,
        registry: &Registry,
        notifier: &Notifier,
        notification: Notification,
    ) -> Result<Batch, Refused> {
        let mut batch = Batch::default();
        batch.count(Outcome::Irrelevant, notification.irrelevant);
        batch.count(Outcome::Invalid, notification.invalid);
        let now = Timestamp::now();
        for notice in notification.notices {
            let Some(name) = notice.name(registry) else {
                batch.count(Outcome::Elsewhere, 1);
                continue;
            };
            let at = notice.at.min(now);
            let deleted = match notice.what {
                Noticed::Pushed { tag, digest } => {
                    batch.push(registry, name, tag, digest, at);
                    continue;
                }
                Noticed::Deleted(deleted) => deleted,
            };
            lock(&notifier.deletions).add(&name, &deleted, at);
            match &deleted {
                Deleted::Tag(tag) => {
                    let found = match Image::parse(&format!("{name}:{tag}")) {
                        Ok(target) => self.withdrawn(registry, &target, at, &batch).await?,
                        Err(_) => None,
                    };
                    batch.withdraw(found);
                }
                Deleted::Digest(digest) => {
                    let found = self.with_digest(&registry.id, &name, digest, at).await?;
                    batch.withdraw(found);
                }
                Deleted::Repository => {
                    let found = self.all_of(&registry.id, &name, at).await?;
                    batch.withdraw(found);
                }
            }
        }
        let since = batch.withdrawn_since(&lock(&notifier.deletions));
        batch.events.extend(since);
        Ok(batch)
    }

    /// That a tag was deleted, where something is recorded of it.
    async fn withdrawn(
        &self,
        registry: &Registry,
        target: &Image,
        at: Timestamp,
        batch: &Batch,
    ) -> Result<Option<Event>, Refused> {
        let image = image(registry, target);
        let is_pushed = batch.events.iter().any(|event| event.image == image);
        if !is_pushed {
            let id = PushId::new(&registry.id, image.key());
            let record = self.store.push(&id).await.map_err(Refused::of)?;
            // No record is made of a delete; what comes late is compared with what was deleted. Where there is one, it remembers the last.
            let is_known = |record: Record| record.last_success.is_none() && record.withdrawn_at >= Some(at);
            if record.is_none_or(is_known) {
                return Ok(None);
            }
        }
        Ok(Some(Event {
            image,
            registry: registry.id.clone(),
            at,
            origin: Origin::Notification,
            what: What::Withdrawn { digest: None },
        }))
    }

    /// That what has this digest was deleted, of each tag that it is recorded under: of the latest of them, where there are very many.
    async fn with_digest(&self, id: &str, name: &str, digest: &str, at: Timestamp) -> Result<Vec<Event>, Refused> {
        let target = format!("{name}@{digest}");
        let Ok(target) = Reference::parse(&target) else {
            return Ok(Vec::new());
        };
        let images: Vec<Key> = {
            let index = self.index.borrow();
            let sources = index.sources(&target).into_iter().map(|source| source.push);
            let found = index.find(&target).into_iter().chain(sources);
            found
                .filter(|push| push.registry == id)
                .map(|push| push.rank().2)
                .collect()
        };
        let mut events = Vec::new();
        for image in images {
            let record = self.store.push(&PushId::new(id, image)).await.map_err(Refused::of)?;
            events.extend(record.and_then(|record| withdrawn(record, name, &Deleted::Digest(digest.into()), at)));
        }
        Ok(events)
    }

    /// That a repository was deleted, of each of its tags that are recorded. No registry is known to tell of that by itself: it costs the
    /// more the more records there are.
    async fn all_of(&self, id: &str, name: &str, at: Timestamp) -> Result<Vec<Event>, Refused> {
        let _alone = self.looking.lock().await;
        let mut events = Vec::new();
        let mut query = PushQuery {
            registry: Some(id.to_owned()),
            limit: PAGE,
            ..PushQuery::default()
        };
        loop {
            let page = self.store.pushes(&query).await.map_err(Refused::of)?;
            let found = page.items.into_iter();
            events.extend(found.filter_map(|record| withdrawn(record, name, &Deleted::Repository, at)));
            match page.next {
                Some(next) => query.after = Some(next),
                None => return Ok(events),
            }
        }
    }

    async fn keep(&self, events: Vec<Event>) -> Result<(), Refused> {
        self.store.happened(events).await.map(drop).map_err(Refused::of)
    }

    fn stored(&self, id: &str) -> Option<Stored> {
        let registries = self.registries.borrow();
        registries.iter().find(|stored| stored.id == id).cloned()
    }

    /// For a registry that there is.
    fn notifier(&self, id: &str) -> Arc<Notifier> {
        let mut notifiers = lock(&self.notifiers);
        if let Some(known) = notifiers.get(id) {
            return known.clone();
        }
        let registries = self.registries.borrow().clone();
        notifiers.retain(|id, _| registries.iter().any(|stored| stored.id == *id));
        notifiers.entry(id.to_owned()).or_default().clone()
    }

    fn tell(&self, id: &str, outcome: Outcome, count: usize) {
        (self.told)(id, outcome, count);
    }
}

impl Batch {
    fn count(&mut self, outcome: Outcome, count: usize) {
        *self.outcomes.entry(outcome).or_default() += count;
    }

    fn push(&mut self, registry: &Registry, name: String, tag: Box<str>, digest: Box<str>, at: Timestamp) {
        let Ok(target) = Image::parse(&format!("{name}:{tag}")) else {
            return self.count(Outcome::Invalid, 1);
        };
        self.pushed.push(Pushed {
            event: self.events.len(),
            name,
            tag,
            digest: digest.clone(),
        });
        self.events.push(Event {
            image: image(registry, &target),
            registry: registry.id.clone(),
            at,
            origin: Origin::Notification,
            what: What::Succeeded {
                target: target.as_str().into(),
                digest,
            },
        });
        self.count(Outcome::Recorded, 1);
    }

    /// One delete, and what it withdraws.
    fn withdraw(&mut self, found: impl IntoIterator<Item = Event>) {
        let before = self.events.len();
        self.events.extend(found);
        let is_of_something = self.events.len() > before;
        self.count(
            if is_of_something {
                Outcome::Withdrawn
            } else {
                Outcome::Irrelevant
            },
            1,
        );
    }

    /// That something was deleted since it was pushed here: the push counts first, for what was there before is not there either.
    fn withdrawn_since(&self, deletions: &Deletions) -> Vec<Event> {
        let since = self.pushed.iter().filter_map(|pushed| {
            let event = &self.events[pushed.event];
            let at = deletions.since(&pushed.name, &pushed.tag, &pushed.digest, event.at)?;
            let digest = Some(pushed.digest.clone());
            Some(Event {
                at,
                what: What::Withdrawn { digest },
                ..event.clone()
            })
        });
        since.collect()
    }
}

impl Default for Notifier {
    fn default() -> Self {
        Self {
            token: tokio::sync::Mutex::default(),
            deletions: Mutex::default(),
            places: Arc::new(Semaphore::new(MOST_PLACES_OF_ONE)),
            working: Arc::new(Semaphore::new(MOST_WORKING_OF_ONE)),
        }
    }
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 9] = [
        Self::Recorded,
        Self::Withdrawn,
        Self::Irrelevant,
        Self::Elsewhere,
        Self::Invalid,
        Self::Unauthenticated,
        Self::Busy,
        Self::Unreadable,
        Self::Failed,
    ];

    /// As metrics have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Recorded => "recorded",
            Self::Withdrawn => "withdrawn",
            Self::Irrelevant => "irrelevant",
            Self::Elsewhere => "elsewhere",
            Self::Invalid => "invalid",
            Self::Unauthenticated => "unauthenticated",
            Self::Busy => "busy",
            Self::Unreadable => "unreadable",
            Self::Failed => "failed",
        }
    }
}

impl Refused {
    fn of(error: StoreError) -> Self {
        match error {
            StoreError::NotFound(_) => Self::Gone,
            StoreError::Full(why) => Self::Full(why),
            error => Self::Unavailable(error.to_string()),
        }
    }
}

/// That a record's target was deleted with what its repository had; none where it is of something else, or of later.
fn withdrawn(record: Record, name: &str, deleted: &Deleted, at: Timestamp) -> Option<Event> {
    let success = record.last_success?;
    let is_it = match deleted {
        Deleted::Digest(digest) => *digest == success.digest,
        Deleted::Repository => true,
        Deleted::Tag(_) => false,
    };
    let is_there = success.finished_at <= at && success.reference()?.canonical_name().to_string() == name;
    (is_it && is_there).then(|| Event {
        image: record.image,
        registry: record.registry,
        at: deleted.withdraws(success.finished_at, at),
        origin: Origin::Notification,
        what: What::Withdrawn {
            digest: Some(success.digest),
        },
    })
}

/// What is locked is changed in one step: whoever panicked has left nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Requests at once, of all registries and of one. A body may have 1 MiB, and only those that are worked on have one.
const MOST_PLACES: usize = 256;
const MOST_PLACES_OF_ONE: usize = 64;
const MOST_WORKING: usize = 16;
const MOST_WORKING_OF_ONE: usize = 4;

/// How long a request waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many records are looked at at once.
const PAGE: usize = 500;

#[cfg(test)]
mod tests;
