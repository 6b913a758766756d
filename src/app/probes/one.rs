//! One registry: when it is asked what, and what becomes of the answers.

use std::{
    convert::Infallible,
    hash::{BuildHasher, Hasher, RandomState},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{Shared, findings::Finding};
use crate::{
    credentials,
    oci::{Fault, Ping, Remote, SignIn},
    registry::{
        Condition, ConditionKind, Location, Login, Status, UNKNOWN_ACCOUNT,
        health::{Health, Seen},
    },
    store::{self, Edition, StoreError, Stored},
};

/// What of a registry the questions depend on: another namespace is none of them.
pub(super) fn asked_about(stored: &Stored) -> (Place<'_>, &[String], Option<&Edition>) {
    let spec = &stored.spec;
    let account = stored.issuance.as_ref().map(|issuance| issuance.account.as_deref());
    let place = Place {
        location: spec.location,
        url: spec.url.as_deref(),
        region: spec.region.as_deref(),
        registry_id: spec.registry_id.as_deref(),
        hostname: spec.hostname.as_deref(),
        account: account.flatten(),
        endpoint: spec.endpoint.as_deref(),
        plain_http: spec.plain_http,
        ca_bundle: spec.ca_bundle.as_deref(),
    };
    (place, &spec.token_hosts, stored.pull.as_ref())
}

/// Where it is, and how it is reached.
#[derive(PartialEq, Eq)]
pub(super) struct Place<'s> {
    location: Location,
    url: Option<&'s str>,
    region: Option<&'s str>,
    registry_id: Option<&'s str>,
    hostname: Option<&'s str>,
    /// Whose registry it is, where ECR was asked for that.
    account: Option<&'s str>,
    endpoint: Option<&'s str>,
    plain_http: bool,
    ca_bundle: Option<&'s str>,
}

/// Looks after a registry, for as long as it is not dropped.
pub(super) async fn look_after(shared: Arc<Shared>, mut registry: watch::Receiver<Stored>) -> Infallible {
    let mut stored = registry.borrow_and_update().clone();
    let mut one = One::new(shared, &stored);
    one.begin();
    loop {
        tokio::select! {
            never = one.ask(&stored) => match never {},
            changed = registry.changed() => if changed.is_err() {
                std::future::pending().await
            },
        }
        let next = registry.borrow_and_update().clone();
        if asked_about(&next).0 != asked_about(&stored).0 {
            one.moved();
        }
        stored = next;
    }
}

struct One {
    shared: Arc<Shared>,
    id: String,
    health: Health,
    /// Moments are counted from here.
    origin: Instant,
    conditions: Vec<Condition>,
    /// Whether the conditions are not those that are kept.
    unsaid: bool,
    /// Whether somebody was told that they cannot be kept.
    failed: bool,
    /// What the last probe found of `Reachable`: a reason counts once it was seen twice.
    last: Option<Finding>,
}

/// When what is asked rarely is due.
struct Due {
    sign_in: Instant,
    can_push: Instant,
    /// Whether the registry has said anything about this credential.
    settled: bool,
    /// How often in a row it was not taken: who tries a wrong password too often is locked out.
    rejected: u32,
}

impl One {
    fn new(shared: Arc<Shared>, stored: &Stored) -> Self {
        let reachable = status(&stored.conditions, ConditionKind::Reachable);
        let health = match reachable {
            Some(Status::False) => Health::down(shared.every),
            _ => Health::new(shared.every),
        };
        Self {
            shared,
            id: stored.id.clone(),
            health,
            origin: Instant::now(),
            conditions: stored
                .conditions
                .iter()
                .filter(|condition| MINE.contains(&condition.kind))
                .cloned()
                .collect(),
            unsaid: false,
            failed: false,
            last: None,
        }
    }

    fn begin(&self) {
        self.shared.set(&self.id, self.health.is_up());
    }

    /// It is at another place, of which nobody knows anything.
    fn moved(&mut self) {
        self.health = Health::new(self.shared.every);
        self.last = None;
        self.begin();
        let finding = Finding::unknown("NotAskedYet", "it has not been asked since its address was changed");
        self.put(ConditionKind::Reachable, finding);
    }

    /// Asks again and again.
    async fn ask(&mut self, stored: &Stored) -> Infallible {
        let has_credential = stored.pull.is_some();
        let long_lived = match stored.spec.location {
            Location::OffCluster => Finding::long_lived(has_credential),
            Location::Ecr | Location::Gcr => Finding::short_lived(),
        };
        self.put(ConditionKind::LongLived, long_lived);
        let no_token = waits_for_token(stored).then(Finding::no_token_yet);
        if !has_credential {
            let finding = no_token.clone().unwrap_or_else(Finding::nobody_pushes);
            self.put(ConditionKind::PullCredentialCanPush, finding);
        }
        let remote = match self.remote(stored) {
            Ok(remote) => remote,
            Err(finding) => {
                // Nobody can tell whether it is up: it is not down.
                self.shared.forget(&self.id);
                self.put(ConditionKind::Reachable, finding.clone());
                self.put(ConditionKind::Authenticated, no_token.unwrap_or(finding));
                loop {
                    self.tell().await;
                    tokio::time::sleep(TOLD_AGAIN).await;
                }
            }
        };
        let now = Instant::now();
        let mut due = Due {
            sign_in: now,
            can_push: now,
            settled: false,
            rejected: 0,
        };
        loop {
            let next = self.probe(&remote, stored, &mut due).await;
            self.tell().await;
            sleep_until(next).await;
        }
    }

    /// How it is asked, where it can be.
    fn remote(&self, stored: &Stored) -> Result<Remote, Finding> {
        if self.shared.every.is_zero() {
            let message = "registries are not asked whether they answer: `registries.probe` is `0s`";
            return Err(Finding::unknown("NotAsked", message));
        }
        let registry = stored.registry().map_err(|problems| {
            // That passes by itself.
            let first = problems.iter().find(|problem| problem.code != UNKNOWN_ACCOUNT);
            first.map_or_else(Finding::account_unknown, |problem| {
                Finding::unknown("InvalidSpec", format!("{}: {}", problem.path, problem.message))
            })
        })?;
        let remote = self.shared.client.registry(&registry);
        remote.map_err(|error| Finding::unknown("CaBundleUnusable", error.to_string()))
    }

    /// Asks once, and whatever else is due. When to ask again.
    async fn probe(&mut self, remote: &Remote, stored: &Stored, due: &mut Due) -> Instant {
        let (pinged, began, ended) = {
            let _permit = self.shared.exchanges.acquire().await;
            let began = self.origin.elapsed();
            let pinged = remote.ping().await;
            (pinged, began, self.origin.elapsed())
        };
        let seen = match &pinged {
            Ok(Ping::Answers) => Seen::Answered,
            Ok(Ping::Limited(wait)) => Seen::Limited(*wait),
            Err(_) => Seen::Failed,
        };
        let step = self.health.saw(began, ended, seen, jitter());
        self.shared.set(&self.id, self.health.is_up());
        if step.changed.is_some() {
            let registry = &*self.id;
            match &pinged {
                Err(fault) => tracing::warn!(registry, "the registry {registry} is down: {fault}"),
                Ok(_) => tracing::info!(registry, "the registry {registry} is up again"),
            }
            // Whatever was known of the credential, it has not been asked since.
            due.sign_in = Instant::now();
        }
        self.reachable(&pinged, step.changed.is_some());
        if !self.health.is_up() {
            let finding = Finding::unknown("Unreachable", "it does not answer");
            self.put(ConditionKind::Authenticated, finding);
            due.settled = false;
        } else if pinged == Ok(Ping::Answers) {
            if due.sign_in <= Instant::now() {
                self.sign_in(remote, stored, due).await;
            }
        } else if matches!(pinged, Ok(Ping::Limited(_))) && !due.settled {
            self.put(ConditionKind::Authenticated, Finding::rate_limited());
        }
        self.origin + step.next
    }

    /// What is said of `Reachable`. A reason that comes and goes is not written each time.
    fn reachable(&mut self, pinged: &Result<Ping, Fault>, changed: bool) {
        let finding = match pinged {
            Ok(ping) => Finding::answers(ping),
            Err(fault) => Finding::of_fault(Status::False, fault),
        };
        let again = self.last.as_ref() == Some(&finding);
        let known = status(&self.conditions, ConditionKind::Reachable);
        // What one probe says is not what is so, until it is up or down.
        let agrees = (finding.status == Status::True) == self.health.is_up();
        let first = !matches!(known, Some(Status::True | Status::False)) && pinged.is_ok();
        if agrees && (changed || again || first) {
            self.put(ConditionKind::Reachable, finding.clone());
        }
        self.last = Some(finding);
    }

    async fn sign_in(&mut self, remote: &Remote, stored: &Stored, due: &mut Due) {
        let login = match self.login(stored).await {
            Ok(login) => login,
            Err(finding) => {
                self.authenticated(finding);
                due.sign_in = Instant::now() + SOON;
                return;
            }
        };
        let signed = {
            let _permit = self.shared.exchanges.acquire().await;
            remote.sign_in(login.as_ref()).await
        };
        let mut wait = OFTEN;
        match &signed {
            Ok(signed) => {
                if let Some(finding) = Finding::signed_in(signed) {
                    due.settled = true;
                    self.authenticated(finding);
                } else if !due.settled {
                    self.authenticated(Finding::rate_limited());
                }
                match signed {
                    SignIn::Limited(asked) => wait = asked.unwrap_or_default().clamp(SOON, RARELY),
                    SignIn::Rejected => {
                        wait = OFTEN.saturating_mul(1 << due.rejected.min(8)).min(RARELY);
                        due.rejected += 1;
                    }
                    _ => due.rejected = 0,
                }
            }
            Err(fault) => {
                due.settled = false;
                self.authenticated(Finding::of_fault(Status::Unknown, fault));
                wait = SOON;
            }
        }
        due.sign_in = Instant::now() + wait;
        match (signed, login) {
            (Ok(SignIn::Accepted), Some(login)) if due.can_push <= Instant::now() => {
                self.can_push(remote, &login, due).await;
            }
            (Ok(SignIn::Rejected), _) => {
                let finding = Finding::unknown("CredentialRejected", "the registry does not take the pull credential");
                self.put(ConditionKind::PullCredentialCanPush, finding);
                due.can_push = Instant::now();
            }
            _ => {}
        }
    }

    async fn can_push(&mut self, remote: &Remote, login: &Login, due: &mut Due) {
        let can = {
            let _permit = self.shared.exchanges.acquire().await;
            remote.can_push(login).await
        };
        let (finding, wait) = match &can {
            Ok(can) => (Finding::can_push(can), DAILY),
            Err(fault) => (Finding::of_fault(Status::Unknown, fault), RARELY),
        };
        due.can_push = Instant::now() + wait;
        let known = status(&self.conditions, ConditionKind::PullCredentialCanPush);
        if finding.status == Status::True && known != Some(Status::True) {
            let registry = &*self.id;
            tracing::warn!(registry, "the registry {registry}: {}", finding.message);
        }
        self.put(ConditionKind::PullCredentialCanPush, finding);
    }

    /// What is sent to it, where there is anything. A file or a variable may say something else than the last time.
    async fn login(&self, stored: &Stored) -> Result<Option<Login>, Finding> {
        if waits_for_token(stored) {
            return Err(Finding::no_token_yet());
        }
        if stored.pull.is_none() {
            return Ok(None);
        }
        // What belongs to another place is not sent to this one.
        let is_this = |now: &Stored| asked_about(now) == asked_about(stored);
        let kept = store::credentials_where(&*self.shared.store, &self.id, is_this).await;
        let Some(credential) = kept.map_err(|error| Finding::not_kept(&error))?.pull else {
            return Ok(None);
        };
        match credentials::login_soon(credential).await {
            Ok(login) => Ok(Some(login)),
            Err(why) => Err(Finding::not_resolved(&why)),
        }
    }

    fn authenticated(&mut self, finding: Finding) {
        let known = status(&self.conditions, ConditionKind::Authenticated);
        if known != Some(finding.status) {
            let (registry, message) = (&*self.id, &*finding.message);
            match finding.status {
                Status::False => tracing::warn!(registry, "the registry {registry}: {message}"),
                Status::True if known == Some(Status::False) => {
                    tracing::info!(registry, "the registry {registry}: {message}");
                }
                _ => {}
            }
        }
        self.put(ConditionKind::Authenticated, finding);
    }

    fn put(&mut self, kind: ConditionKind, finding: Finding) {
        let Finding {
            status,
            reason,
            message,
        } = finding;
        self.unsaid |= Condition::put(&mut self.conditions, Timestamp::now(), kind, status, reason, message);
    }

    /// Tells the store, if there is anything to tell; what it does not take is told again after the next probe.
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
                        "what was found of the registry {registry} cannot be kept: {error}"
                    );
                }
                self.failed = true;
            }
        }
    }
}

impl Drop for One {
    fn drop(&mut self) {
        self.shared.forget(&self.id);
    }
}

/// Whether it is not asked anonymously: it will have a token.
fn waits_for_token(stored: &Stored) -> bool {
    stored.spec.location.issues() && stored.pull.is_none()
}

fn status(conditions: &[Condition], kind: ConditionKind) -> Option<Status> {
    let found = conditions.iter().find(|condition| condition.kind == kind);
    found.map(|condition| condition.status)
}

/// What is said here; the others are told by others.
const MINE: [ConditionKind; 4] = [
    ConditionKind::Reachable,
    ConditionKind::Authenticated,
    ConditionKind::PullCredentialCanPush,
    ConditionKind::LongLived,
];

/// From 0 to 1.
fn jitter() -> f64 {
    RandomState::new().build_hasher().finish() as f64 / u64::MAX as f64
}

/// A credential that is taken is tried so often; one that is not, ever more rarely.
const OFTEN: Duration = Duration::from_secs(300);
const RARELY: Duration = Duration::from_secs(3_600);
/// What could not be tried is, after so long.
const SOON: Duration = Duration::from_secs(60);
/// Whether it can push.
const DAILY: Duration = Duration::from_secs(86_400);
/// What could not be written is.
const TOLD_AGAIN: Duration = Duration::from_secs(30);
