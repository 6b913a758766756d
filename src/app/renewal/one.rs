//! One registry: whether its token is due, what is done about it, and who hears of it.

use std::{
    convert::Infallible,
    hash::{BuildHasher, Hasher, RandomState},
    sync::Arc,
    time::Duration,
};

use jiff::SignedDuration;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{
    Shared,
    doubt::Doubt,
    findings::{Finding, MINE, Standing, Trouble},
};
use crate::{
    credentials::{IssueError, Minted},
    metrics::Renewal,
    registry::{
        Condition, Key, Registry, RegistrySpec,
        renewal::{Life, Renewals, SLICE},
    },
    store::{Edition, Issuance, News, StoreError, Stored, Token, Version},
};

/// What of a registry a task looks at: what was found out about it is none of that.
pub(super) fn seen(stored: &Stored) -> Seen<'_> {
    let Stored {
        spec,
        pull,
        key,
        issuance,
        version,
        ..
    } = stored;
    (spec, pull.as_ref(), key.as_ref(), issuance.as_ref(), version)
}

type Seen<'s> = (
    &'s RegistrySpec,
    Option<&'s Edition>,
    Option<&'s Edition>,
    Option<&'s Issuance>,
    &'s Version,
);

/// Which registry a token is for, and by what it is asked for.
#[derive(Clone, PartialEq, Eq)]
struct Asked {
    place: String,
    origin: String,
}

/// Looks after a registry's token, for as long as it is not dropped.
pub(super) async fn look_after(shared: Arc<Shared>, mut registry: watch::Receiver<Stored>) -> Infallible {
    let stored = registry.borrow_and_update().clone();
    let mut one = One::new(shared, stored);
    loop {
        one.look().await;
        let wait = one.renewals.wait(one.shared.now());
        let mut changed = false;
        if wait.is_zero() {
            // This one has seen no more than the other when that goes on.
            let (mut other, asked) = (registry.clone(), one.asked.clone());
            tokio::select! {
                () = one.attempt() => {}
                // Whatever comes of it is of no use.
                () = another(&mut other, &asked) => {}
            }
        } else {
            tokio::select! {
                () = sleep(wait.min(SLICE).min(one.left())) => {}
                told = registry.changed() => match told {
                    Ok(()) => changed = true,
                    Err(_) => std::future::pending().await,
                },
            }
        }
        if changed || registry.has_changed().unwrap_or(false) {
            let stored = registry.borrow_and_update().clone();
            one.adopt(stored);
        }
    }
}

/// Waits until something else is asked for.
async fn another(registry: &mut watch::Receiver<Stored>, asked: &Asked) {
    loop {
        // Not what is there: it may be older than what was read.
        if registry.changed().await.is_err() {
            return std::future::pending().await;
        }
        if Asked::by(&registry.borrow_and_update()) != *asked {
            return;
        }
    }
}

struct One {
    shared: Arc<Shared>,
    id: String,
    /// As it was seen last, here or by whoever tells of changes.
    stored: Stored,
    asked: Asked,
    renewals: Renewals,
    /// What was issued here last.
    last: Option<Token>,
    /// When that was kept.
    kept: Option<Instant>,
    /// What was issued and is not kept yet, and why it can do more than pull.
    pending: Option<(Token, Option<String>)>,
    /// The edition of the token of which is known whether it can be read.
    looked_at: Option<Edition>,
    /// It cannot.
    unreadable: bool,
    /// Whether that is so is not known yet.
    doubt: Doubt,
    outcome: Outcome,
    conditions: Vec<Condition>,
    standing: Standing,
    /// Whether the condition is not the one that is kept.
    unsaid: bool,
    /// Whether somebody was told that it cannot be kept.
    failed: bool,
}

/// What came of attempts.
enum Outcome {
    /// There has been none, as far as this task knows.
    Nothing,
    Issued {
        wide: Option<String>,
    },
    Failed {
        /// What is said.
        trouble: Trouble,
        /// What was found last: another thing is said when it was found twice.
        last: Trouble,
    },
}

impl Asked {
    fn by(stored: &Stored) -> Self {
        Self {
            place: Issuance::place(&stored.spec),
            origin: Issuance::origin(&stored.spec, stored.key.as_ref()),
        }
    }
}

impl One {
    fn new(shared: Arc<Shared>, stored: Stored) -> Self {
        let mine = stored.conditions.iter().find(|condition| condition.kind == MINE);
        Self {
            id: stored.id.clone(),
            asked: Asked::by(&stored),
            renewals: Renewals::default(),
            last: None,
            kept: None,
            pending: None,
            looked_at: None,
            unreadable: false,
            doubt: Doubt::default(),
            outcome: Outcome::Nothing,
            conditions: mine.cloned().into_iter().collect(),
            standing: Standing::of(mine),
            unsaid: false,
            failed: false,
            shared,
            stored,
        }
    }

    /// This is how it is now.
    fn adopt(&mut self, stored: Stored) {
        let asked = Asked::by(&stored);
        if asked != self.asked {
            self.renewals.anew();
            self.pending = None;
            if asked.place != self.asked.place {
                self.last = None;
                self.outcome = Outcome::Nothing;
                self.standing = Standing::New;
            }
            self.asked = asked;
        }
        self.stored = stored;
    }

    /// Sees what there is, and tells of it.
    async fn look(&mut self) {
        self.read().await;
        self.see();
        self.say().await;
        self.tell().await;
    }

    /// Makes sure that the token which is known of can be read.
    async fn read(&mut self) {
        if self.issuance().is_none() || self.looked_at == self.stored.pull && self.stored.pull.is_some() {
            return;
        }
        // What is another edition of a sudden is what was written here, and nobody is asked for it until all have heard.
        if self.kept.is_some_and(|kept| kept.elapsed() < SETTLED) {
            return;
        }
        self.unreadable = match self.shared.store.credentials(&self.id).await {
            Ok(credentials) => credentials.pull.is_none(),
            Err(StoreError::NotFound(_)) => false,
            Err(_) => {
                // It is looked at again, whatever comes of this.
                self.unreadable = self.doubt.failed(self.stored.pull.as_ref());
                return;
            }
        };
        self.doubt.over();
        self.looked_at.clone_from(&self.stored.pull);
    }

    /// The token that there is, and whether it is what is asked for.
    fn see(&mut self) {
        let issuance = self.issuance().filter(|_| !self.unreadable);
        let life = issuance.map(|issuance| Life {
            from: issuance.issued_at,
            until: issuance.expires_at,
        });
        let unwanted = issuance.is_some_and(|issuance| issuance.origin != self.asked.origin);
        self.renewals.token(life, unwanted, self.shared.now(), jitter());
        self.shared.metrics.set_expiry(&self.id, life.map(|life| life.until));
    }

    /// How long the token works; for ever where there is none.
    fn left(&self) -> Duration {
        let left = self.renewals.left(self.shared.now());
        if left.is_zero() { Duration::MAX } else { left }
    }

    fn issuance(&self) -> Option<&Issuance> {
        let issuance = self.stored.issuance.as_ref();
        issuance.filter(|issuance| issuance.is_for(&self.stored.spec))
    }

    /// Has a token issued and kept, if it is still time for that.
    async fn attempt(&mut self) {
        if self.pending.is_none() {
            let shared = self.shared.clone();
            // Never closed.
            let _permit = shared.exchanges.acquire().await;
            let key = match self.key().await {
                Ok(Some(key)) => key,
                Ok(None) => return,
                Err(StoreError::NotFound(_)) => return self.gone(),
                Err(error) => return self.failed(Trouble::no_key(&error)),
            };
            self.see();
            if !self.renewals.wait(shared.now()).is_zero() {
                return;
            }
            let began = shared.now().wall;
            let issued = self.issue(key).await;
            let now = shared.now();
            match issued {
                Err(error) => return self.failed(Trouble::not_issued(error)),
                Ok(minted) if minted.issued.expires_at <= now.wall => return self.failed(Trouble::ended_already()),
                Ok(minted) => {
                    let Minted { issued, account, wide } = minted;
                    let Asked { place, origin } = self.asked.clone();
                    let issuance = Issuance {
                        // A clock that was set back meanwhile.
                        issued_at: began.min(now.wall),
                        expires_at: issued.expires_at,
                        account,
                        place,
                        origin,
                    };
                    let login = issued.login;
                    let token = Token { login, issuance };
                    // One that cannot be read is written again, whichever it is.
                    if !self.unreadable && self.is_same(&token) {
                        self.renewals.same(now, jitter());
                        return self.renewed(wide);
                    }
                    self.pending = Some((token, wide));
                }
            }
        }
        self.keep().await;
    }

    /// The key, if it is this registry's. None where that has changed, which is seen now.
    async fn key(&mut self) -> Result<Option<Option<Key>>, StoreError> {
        let keys = self.shared.store.keys(&self.id).await?;
        // Looked at afterwards: what is so now was so when they were read, for no version comes back.
        let now = self.shared.store.registry(&self.id).await?;
        let now = now.ok_or_else(|| StoreError::NotFound(self.id.clone()))?;
        let is_this = now.version == self.stored.version && now.key == self.stored.key;
        self.adopt(now);
        Ok(is_this.then_some(keys.pull))
    }

    async fn issue(&self, key: Option<Key>) -> Result<Minted, IssueError> {
        let registry = Registry::unasked(&self.id, &self.stored.spec).map_err(|problems| {
            let first = problems.first();
            let what = first.map(|problem| format!("{}: {}", problem.path, problem.message));
            IssueError::Misconfigured(what.unwrap_or_default())
        })?;
        (self.shared.issue)(registry, key).await
    }

    /// Whether it is the one that there is, which an issuer may give out until shortly before it ends.
    fn is_same(&self, token: &Token) -> bool {
        let (Some(last), Some(kept)) = (&self.last, self.issuance()) else {
            return false;
        };
        let apart = token.issuance.expires_at.duration_since(kept.expires_at);
        last.login == token.login
            && last.issuance == *kept
            && kept.origin == token.issuance.origin
            && apart.abs() < CLOSE
    }

    async fn keep(&mut self) {
        let Some((token, wide)) = self.pending.clone() else {
            return;
        };
        match self.shared.store.issued(&self.id, token.clone()).await {
            Ok(()) => {
                self.pending = None;
                self.kept = Some(Instant::now());
                self.doubt.another(std::mem::take(&mut self.unreadable));
                self.stored.issuance = Some(token.issuance.clone());
                self.last = Some(token);
                self.renewals.renewed(self.shared.now());
                self.renewed(wide);
            }
            Err(StoreError::NotFound(_)) => self.gone(),
            Err(error) => {
                let over = (token.issuance.expires_at.duration_since(token.issuance.issued_at)) / 2;
                if matches!(error, StoreError::Conflict { .. })
                    || self.shared.now().wall.duration_since(token.issuance.issued_at) > over
                {
                    self.pending = None;
                }
                self.failed(Trouble::not_kept(&error));
                if let Ok(Some(now)) = self.shared.store.registry(&self.id).await {
                    // It is another one by now: it begins anew.
                    self.adopt(now);
                }
            }
        }
    }

    /// There is no such registry any more, which the list says in a moment.
    fn gone(&mut self) {
        self.pending = None;
        self.renewals.failed(self.shared.now(), jitter());
    }

    fn renewed(&mut self, wide: Option<String>) {
        self.shared.metrics.renewal(&self.id, Renewal::Renewed);
        self.outcome = Outcome::Issued { wide };
    }

    fn failed(&mut self, found: Trouble) {
        self.shared.metrics.renewal(&self.id, found.result);
        self.renewals.failed(self.shared.now(), jitter());
        match &mut self.outcome {
            Outcome::Failed { trouble, last } => {
                if *last == found {
                    trouble.clone_from(&found);
                }
                *last = found;
            }
            outcome => {
                *outcome = Outcome::Failed {
                    trouble: found.clone(),
                    last: found,
                }
            }
        }
    }

    /// What is to be said, where that is another thing than before.
    fn finding(&self) -> Option<Finding> {
        let now = self.shared.now();
        let until = self.issuance().map(|issuance| issuance.expires_at);
        let works = !self.renewals.left(now).is_zero();
        match &self.outcome {
            Outcome::Issued { wide } if works => Some(Finding::issued(wide.as_deref())),
            Outcome::Failed { trouble, .. } if works => {
                let until = until.filter(|_| self.renewals.is_trouble(now))?;
                Some(Finding::failing(trouble, until))
            }
            Outcome::Failed { trouble, .. } => Some(Finding::without(trouble, until)),
            // Somebody before has said so, and more of it.
            Outcome::Nothing if works && matches!(self.standing, Standing::Fine | Standing::Failing) => None,
            // Whether it can do more than pull, only whoever had it issued knew.
            Outcome::Nothing if works => Some(Finding::found()),
            Outcome::Nothing if self.standing == Standing::Without => None,
            // Another is asked for at this moment, and then it is known better.
            _ if until.is_some() => None,
            _ => Some(Finding::not_asked_yet()),
        }
    }

    /// Tells those who listen, where it stands otherwise than before.
    async fn say(&mut self) {
        let Some(finding) = self.finding() else {
            return;
        };
        let (before, now) = (self.standing, finding.standing());
        self.standing = now;
        let Finding {
            status,
            reason,
            message,
        } = finding;
        if before != now && now != Standing::New {
            let registry = &*self.id;
            if now == Standing::Fine {
                tracing::info!(registry, "the registry {registry}: {message}");
            } else {
                tracing::warn!(registry, "the registry {registry}: {message}");
            }
            let event = match now {
                Standing::Fine => "TokenIssued",
                Standing::Failing => "TokenNotRenewed",
                _ if self.issuance().is_some() => "TokenExpired",
                _ => "TokenNotIssued",
            };
            let news = News {
                warning: now != Standing::Fine,
                reason: event,
                note: message.clone(),
            };
            self.shared.store.tell(&self.id, news).await;
        }
        let at = self.shared.now().wall;
        self.unsaid |= Condition::put(&mut self.conditions, at, MINE, status, reason, message);
    }

    /// Tells the store, if there is anything to tell; what it does not take is told again.
    async fn tell(&mut self) {
        if !self.unsaid {
            return;
        }
        match self.shared.store.report(&self.id, self.conditions.clone()).await {
            // It was removed, which the list says in a moment.
            Ok(()) | Err(StoreError::NotFound(_)) => {
                self.unsaid = false;
                self.failed = false;
            }
            Err(error) => {
                if !self.failed {
                    let registry = &*self.id;
                    tracing::warn!(
                        registry,
                        "what is known of the token of the registry {registry} cannot be kept: {error}"
                    );
                }
                self.failed = true;
            }
        }
    }
}

impl Drop for One {
    fn drop(&mut self) {
        self.shared.metrics.remove(&self.id);
    }
}

/// From 0 to 1.
fn jitter() -> f64 {
    RandomState::new().build_hasher().finish() as f64 / u64::MAX as f64
}

/// What was written is told of within so long.
const SETTLED: Duration = Duration::from_secs(60);

/// Of one token, an issuer says each time how long it lives from then.
const CLOSE: SignedDuration = SignedDuration::from_secs(5);
