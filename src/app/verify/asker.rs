//! Asks one registry for targets: paced, with its credential, and careful before it takes anything for gone.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use super::{Shared, asked_about};
use crate::{
    app::Down,
    credentials,
    oci::{Asked, Fault, Head, Manifest, Part, Ping, Remote},
    pushes::{
        Event, Image, Key, Origin, PushId, Record, Success, What,
        verification::{Patience, Trouble},
    },
    reference::{Reference, valid_digest},
    registry::{Login, Registry},
    store::{self, StoreError, Stored},
};

/// One registry as it is at the moment, and whoever asks it.
pub(super) struct Asker {
    shared: Arc<Shared>,
    stored: Stored,
    registry: Registry,
    remote: Remote,
    down: watch::Receiver<Down>,
    /// Moments are counted from here.
    origin: Instant,
    pace: Mutex<Pace>,
    login: tokio::sync::Mutex<Option<(Instant, Option<Login>)>>,
}

/// When it may be asked again.
#[derive(Default)]
struct Pace {
    next: Duration,
    patience: Patience,
}

/// What was found of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// There is no such push any more, or its target is somewhere else.
    Nothing,
    /// It is there. Not `readable` is what says nothing of what is in it.
    Present { readable: bool },
    /// Something else is there.
    Moved {
        target: Box<str>,
        was: Box<str>,
        is: Box<str>,
    },
    /// It is not there any more, which the store was told.
    Gone { target: Box<str>, image: Image },
}

/// Why nothing was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) trouble: Trouble,
    /// In a word.
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// What was asked, and what came of it.
pub(super) struct Answered {
    pub(super) key: Key,
    pub(super) found: Result<Found, Refused>,
    /// What kept it from looking into what is there.
    pub(super) unread: Option<Refused>,
}

/// Where a target is asked for.
struct Target<'t> {
    repository: String,
    /// A tag or a digest.
    reference: &'t str,
}

impl Asker {
    /// Of a registry as it is; otherwise why it cannot be asked.
    pub(super) fn new(shared: Arc<Shared>, stored: Stored) -> Result<Self, String> {
        let registry = stored.registry().map_err(|problems| {
            let first = problems.first();
            let what = first.map(|problem| format!("{}: {}", problem.path, problem.message));
            what.unwrap_or_default()
        })?;
        let remote = shared.client.registry(&registry).map_err(|error| error.to_string())?;
        Ok(Self {
            down: shared.down.clone(),
            origin: shared.origin,
            shared,
            stored,
            registry,
            remote,
            pace: Mutex::default(),
            login: tokio::sync::Mutex::default(),
        })
    }

    /// Asks for the target of a push, when it is time; also what is in it, if that is to be read and nobody has.
    pub(super) async fn ask(&self, key: Key, read: bool) -> Answered {
        self.turn().await;
        let asked = self.origin.elapsed();
        let mut unread = None;
        let found = self.find(key, read, &mut unread).await;
        let now = self.origin.elapsed();
        let mut pace = self.pace();
        match (&found, &unread) {
            (Err(refused), _) | (_, Some(refused)) => pace.patience.refused(refused.trouble, asked, now),
            (Ok(Found::Nothing), _) => {}
            (Ok(_), _) => pace.patience.answered(),
        }
        drop(pace);
        Answered { key, found, unread }
    }

    async fn find(&self, key: Key, read: bool, unread: &mut Option<Refused>) -> Result<Found, Refused> {
        let id = PushId::new(&self.registry.id, key);
        let at = Timestamp::now();
        let Some(record) = self.shared.store.push(&id).await? else {
            return Ok(Found::Nothing);
        };
        let Some(success) = &record.last_success else {
            return Ok(Found::Nothing);
        };
        let Some(target) = self.target(success) else {
            return Ok(Found::Nothing);
        };
        let login = self.login().await?;
        let login = login.as_ref();
        let there = match self.head(&target, login).await? {
            Some(there) => there,
            None => match self.once_more(&target, login).await? {
                Some(there) => there,
                None => {
                    self.withdraw(&record, success, at).await?;
                    return Ok(Found::Gone {
                        target: success.target.clone(),
                        image: record.image,
                    });
                }
            },
        };
        if let Some(is) = there.filter(|digest| valid_digest(digest).is_ok() && *digest != *success.digest) {
            return Ok(Found::Moved {
                target: success.target.clone(),
                was: success.digest.clone(),
                is: is.into(),
            });
        }
        let mut readable = true;
        if read && success.platforms.is_empty() && success.children.is_empty() {
            match self.inspect(&record, success, &target.repository, login).await {
                Ok(found) => readable = found,
                Err(refused) => *unread = Some(refused),
            }
        }
        Ok(Found::Present { readable })
    }

    /// None where the registry, as it is now, is not where it lies.
    fn target<'t>(&self, success: &'t Success) -> Option<Target<'t>> {
        let reference: Reference<'t> = success.reference()?;
        if !self.registry.is_over(&reference) {
            return None;
        }
        Some(Target {
            repository: reference.repository().to_string(),
            reference: reference.tag().or(reference.digest())?,
        })
    }

    /// None where it is not there; with its digest, where the registry says one.
    async fn head(&self, target: &Target<'_>, login: Option<&Login>) -> Result<Option<Option<String>>, Refused> {
        let head: Head = {
            let _permit = self.shared.exchanges.acquire().await;
            self.remote.head(&target.repository, target.reference, login).await?
        };
        settled(head)
    }

    /// Asks again for what was not there: whether this is a registry at all, and whether it says so twice.
    async fn once_more(&self, target: &Target<'_>, login: Option<&Login>) -> Result<Option<Option<String>>, Refused> {
        sleep(ONCE_MORE).await;
        self.turn().await;
        let ping = {
            let _permit = self.shared.exchanges.acquire().await;
            self.remote.ping().await?
        };
        if let Ping::Limited(wait) = ping {
            return Err(Refused::limited(wait));
        }
        self.turn().await;
        self.head(target, login).await
    }

    async fn withdraw(&self, record: &Record, success: &Success, at: Timestamp) -> Result<(), Refused> {
        if self.is_down() {
            return Err(Refused {
                trouble: Trouble::Failed,
                reason: "Unreachable",
                message: "it is down".to_owned(),
            });
        }
        // What was looked for, and not what was pushed since by a clock that is behind this one.
        let after = success.finished_at.checked_add(SignedDuration::from_nanos(1));
        let at = after.map_or(at, |after| after.min(at));
        let digest = Some(success.digest.clone());
        self.tell(record, at, What::Withdrawn { digest }).await
    }

    /// Looks what is in it, and tells the store. Whether it says anything.
    async fn inspect(
        &self,
        record: &Record,
        success: &Success,
        repository: &str,
        login: Option<&Login>,
    ) -> Result<bool, Refused> {
        self.turn().await;
        let manifest = {
            let _permit = self.shared.exchanges.acquire().await;
            self.remote.manifest(repository, &success.digest, login).await?
        };
        let (mut platforms, mut children) = (BTreeSet::new(), Vec::new());
        match settled(manifest)? {
            // It was there a moment ago: the next time it is known better.
            None => return Ok(true),
            Some(Manifest::Index(parts)) => {
                // A registry may take an index without what is in it.
                for Part { digest, platform } in parts.into_iter().take(MOST_CHILDREN) {
                    let part = Target {
                        repository: repository.to_owned(),
                        reference: &digest,
                    };
                    self.turn().await;
                    if self.head(&part, login).await?.is_some() {
                        platforms.extend(platform);
                        children.push(digest);
                    }
                }
            }
            Some(Manifest::Image { config: Some(config) }) => {
                self.turn().await;
                let _permit = self.shared.exchanges.acquire().await;
                let platform = self.remote.platform(repository, &config, login).await?;
                platforms.extend(settled(platform)?.flatten());
            }
            Some(Manifest::Image { config: None } | Manifest::Other) => {}
        }
        if platforms.is_empty() && children.is_empty() {
            return Ok(false);
        }
        let inspected = What::Inspected {
            digest: success.digest.clone(),
            platforms: platforms.into_iter().collect(),
            children,
        };
        self.tell(record, Timestamp::now(), inspected).await?;
        Ok(true)
    }

    async fn tell(&self, record: &Record, at: Timestamp, what: What) -> Result<(), Refused> {
        let event = Event {
            image: record.image.clone(),
            registry: record.registry.clone(),
            at,
            origin: Origin::Verification,
            what,
        };
        self.shared.store.happened(vec![event]).await?;
        Ok(())
    }

    /// To pull with; to push with where there is no other. A file or a variable may say something else than the last time.
    async fn login(&self) -> Result<Option<Login>, Refused> {
        if self.stored.pull.is_none() && self.stored.push.is_none() {
            return Ok(None);
        }
        let mut kept = self.login.lock().await;
        if let Some((read, login)) = &*kept
            && read.elapsed() < READ_AGAIN
        {
            return Ok(login.clone());
        }
        // What belongs to another place is not sent to this one.
        let is_this = |now: &Stored| asked_about(now) == asked_about(&self.stored);
        let credentials = store::credentials_where(&*self.shared.store, &self.stored.id, is_this).await?;
        let login = match credentials.pull.or(credentials.push) {
            Some(credential) => Some(credentials::login_soon(credential).await.map_err(|why| Refused {
                trouble: Trouble::Failed,
                reason: "CredentialUnreadable",
                message: why,
            })?),
            None => None,
        };
        *kept = Some((Instant::now(), login.clone()));
        Ok(login)
    }

    /// Waits until it may be asked: it is up, was not asked just now, and does not want to be left alone.
    async fn turn(&self) {
        loop {
            let mut down = self.down.clone();
            // Where nobody asks whether it is up, it is.
            let _ = down.wait_for(|down| !down.contains(&self.stored.id)).await;
            let at = {
                let now = self.origin.elapsed();
                let mut pace = self.pace();
                let at = pace.next.max(pace.patience.until());
                if at <= now {
                    pace.next = now + BETWEEN;
                    return;
                }
                at
            };
            sleep_until(self.origin + at).await;
        }
    }

    fn is_down(&self) -> bool {
        self.down.borrow().contains(&self.stored.id)
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Refused {
    fn limited(wait: Option<Duration>) -> Self {
        Self {
            trouble: Trouble::Limited(wait),
            reason: "RateLimited",
            message: "it answers that it is asked too much (429)".to_owned(),
        }
    }
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        Self {
            trouble: Trouble::Failed,
            reason: fault.reason(),
            message: fault.to_string(),
        }
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self {
            trouble: Trouble::Failed,
            reason: "NotKept",
            message: error.to_string(),
        }
    }
}

/// None where it is missing.
fn settled<T>(asked: Asked<T>) -> Result<Option<T>, Refused> {
    match asked {
        Asked::Found(found) => Ok(Some(found)),
        Asked::Missing => Ok(None),
        Asked::Rejected => Err(Refused {
            trouble: Trouble::Rejected,
            reason: "Rejected",
            message: "it does not let the credential that Waypost has for it see every image that was pushed there"
                .to_owned(),
        }),
        Asked::Limited(wait) => Err(Refused::limited(wait)),
    }
}

/// At most four questions a second.
pub(super) const BETWEEN: Duration = Duration::from_millis(250);

/// Before it is asked again for what was not there.
const ONCE_MORE: Duration = Duration::from_secs(1);

/// Of an index.
const MOST_CHILDREN: usize = 32;

/// A credential is read again after so long.
const READ_AGAIN: Duration = Duration::from_secs(60);
