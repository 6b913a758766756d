use std::{
    collections::VecDeque,
    sync::{
        Mutex,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use jiff::SignedDuration;
use tokio::{task::JoinHandle, time::sleep};

use super::*;
use crate::{
    credentials::Issued,
    metrics::Metrics,
    registry::{Condition, ConditionKind, Credential, Location, Login, Password, RegistrySpec, Status},
    store::{Change, Draft, embedded::Embedded},
};

const KEY: &str = "the-secret-key-is-nowhere";
const TOKEN: &str = "the-token-is-nowhere";
const LIFE: i64 = 3_600;

/// An issuer and a clock, which a test has in its hands.
struct World {
    began: Instant,
    /// What the clock on the wall says besides, in seconds.
    ahead: AtomicI64,
    /// What is answered next instead of a token.
    next: Mutex<VecDeque<IssueError>>,
    /// What is answered instead of a token for as long as it is there.
    down: Mutex<Option<IssueError>>,
    wide: Mutex<Option<String>>,
    /// The one token that is issued again and again, where it is.
    always: Mutex<Option<Issued>>,
    /// When it was asked, by which key, and for which address.
    asked: Mutex<Vec<Asked>>,
    issued: AtomicUsize,
}

#[derive(Clone, Debug)]
struct Asked {
    at: Duration,
    key: Option<String>,
    host: String,
}

impl World {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            ahead: AtomicI64::new(0),
            next: Mutex::default(),
            down: Mutex::default(),
            wide: Mutex::default(),
            always: Mutex::default(),
            asked: Mutex::default(),
            issued: AtomicUsize::new(0),
        })
    }

    fn now(&self) -> Timestamp {
        let elapsed = SignedDuration::try_from(self.began.elapsed()).unwrap();
        let ahead = SignedDuration::from_secs(self.ahead.load(Ordering::Relaxed));
        Timestamp::from_second(1_900_000_000).unwrap() + elapsed + ahead
    }

    fn issue(&self, registry: &Registry, key: Option<Key>) -> Result<Minted, IssueError> {
        self.asked.lock().unwrap().push(Asked {
            at: self.began.elapsed(),
            key: key.map(|key| match key {
                Key::Google(json) => json.expose().to_owned(),
                Key::Aws { id, .. } => id.expose().to_owned(),
            }),
            host: registry.address.host.to_string(),
        });
        if let Some(error) = self.next.lock().unwrap().pop_front() {
            return Err(error);
        }
        if let Some(error) = &*self.down.lock().unwrap() {
            return Err(error.clone());
        }
        let number = self.issued.fetch_add(1, Ordering::Relaxed) + 1;
        let always = self.always.lock().unwrap().clone();
        let issued = always.unwrap_or_else(|| Issued {
            login: login(number),
            expires_at: self.now() + SignedDuration::from_secs(LIFE),
        });
        Ok(Minted {
            issued,
            account: None,
            wide: self.wide.lock().unwrap().clone(),
        })
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    fn down(&self, error: Option<IssueError>) {
        *self.down.lock().unwrap() = error;
    }
}

fn login(number: usize) -> Login {
    Login {
        username: "oauth2accesstoken".to_owned(),
        password: Password::new(format!("{TOKEN}-{number}")),
    }
}

fn away() -> IssueError {
    IssueError::Unavailable("Google does not answer".to_owned())
}

/// A store, whoever has tokens issued for the registries in it, and everything that is known of that.
struct Renewing {
    store: Embedded,
    world: Arc<World>,
    metrics: Metrics,
    task: JoinHandle<Infallible>,
}

impl Renewing {
    fn new() -> Self {
        Self::of(Embedded::in_memory().unwrap(), World::new())
    }

    fn of(store: Embedded, world: Arc<World>) -> Self {
        Self::by(store.clone(), Arc::new(store), world)
    }

    fn by(store: Embedded, seen: Arc<dyn Store>, world: Arc<World>) -> Self {
        let metrics = Metrics::new();
        let (issuer, clock) = (world.clone(), world.clone());
        let issue: Issue = Box::new(move |registry, key| {
            let issuer = issuer.clone();
            Box::pin(async move {
                // As long as somebody takes who is far away.
                sleep(Duration::from_millis(100)).await;
                issuer.issue(&registry, key)
            })
        });
        let clock: Clock = Box::new(move || clock.now());
        let renewer = Renewer::new(seen, issue, clock, metrics.common().credentials());
        Self {
            store,
            world,
            metrics,
            task: tokio::spawn(renewer.run()),
        }
    }

    async fn add(&self, id: &str) {
        self.store.create(id, draft(spec(id), key(KEY))).await.unwrap();
    }

    /// Waits until something of a registry is so.
    async fn until<T>(&self, id: &str, what: impl Fn(&Stored) -> Option<T>) -> T {
        let mut registries = self.store.registries();
        let waited = tokio::time::timeout(Duration::from_secs(100_000), async {
            loop {
                let all = registries.borrow_and_update().clone();
                let found = all.iter().find(|stored| stored.id == id);
                if let Some(found) = found.and_then(&what) {
                    return found;
                }
                registries.changed().await.unwrap();
            }
        });
        match waited.await {
            Ok(found) => found,
            Err(_) => panic!("it never is: {:?}", self.stored(id)),
        }
    }

    /// Waits until the condition is so, and gives back its message.
    async fn says(&self, id: &str, status: Status, reason: &str) -> String {
        let is_so = |stored: &Stored| {
            let condition = told(stored)?;
            (condition.status == status && condition.reason == reason).then(|| condition.message.clone())
        };
        self.until(id, is_so).await
    }

    /// Waits for the token of this number.
    async fn token(&self, id: &str, number: usize) {
        let mut registries = self.store.registries();
        let expected = Some(Credential::Login(login(number)));
        let waited = tokio::time::timeout(Duration::from_secs(100_000), async {
            while self.store.credentials(id).await.unwrap().pull != expected {
                registries.changed().await.unwrap();
            }
        });
        waited.await.expect("the token is kept");
    }

    fn stored(&self, id: &str) -> Option<Stored> {
        let all = self.store.registries().borrow().clone();
        all.iter().find(|stored| stored.id == id).cloned()
    }

    fn metric(&self, series: &str) -> Option<i64> {
        let text = self.metrics.common().render().unwrap();
        let mut lines = text.lines();
        lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
    }

    fn count(&self, id: &str, result: &str) -> Option<i64> {
        let series = format!("waypost_credential_renewals_total{{registry=\"{id}\",result=\"{result}\"}}");
        self.metric(&series)
    }
}

impl Drop for Renewing {
    fn drop(&mut self) {
        self.task.abort();
        let metrics = self.metrics.common().render().unwrap();
        for stored in self.store.registries().borrow().iter() {
            let shown = serde_json::to_string(&stored.conditions).unwrap() + &format!("{stored:?}") + &metrics;
            assert!(!shown.contains(KEY) && !shown.contains(TOKEN), "{shown}");
        }
    }
}

fn told(stored: &Stored) -> Option<&Condition> {
    let mut conditions = stored.conditions.iter();
    conditions.find(|condition| condition.kind == ConditionKind::TokenIssued)
}

fn spec(id: &str) -> RegistrySpec {
    RegistrySpec {
        location: Location::Gcr,
        url: Some(format!("europe-docker.pkg.dev/project/{id}")),
        ..RegistrySpec::default()
    }
}

fn draft(spec: RegistrySpec, pull: Change) -> Draft {
    Draft {
        spec,
        pull,
        push: Change::Keep,
        notify: Change::Keep,
    }
}

fn key(json: &str) -> Change {
    Change::Set(Credential::Key(Key::Google(Password::new(json.to_owned()))))
}

use Status::True;

#[tokio::test(start_paused = true)]
async fn a_token_is_issued_and_renewed_at_half_its_life() {
    let renewing = Renewing::new();
    renewing.add("corp").await;
    renewing.token("corp", 1).await;
    renewing.says("corp", True, "Issued").await;
    let issuance = renewing.stored("corp").unwrap().issuance.unwrap();
    assert_eq!(issuance.expires_at.duration_since(issuance.issued_at).as_secs(), LIFE);
    let expiry = "waypost_credential_expiry_timestamp_seconds{registry=\"corp\"}";
    assert_eq!(renewing.metric(expiry), Some(issuance.expires_at.as_second()));

    renewing.token("corp", 4).await;
    let asked = renewing.world.asked();
    assert_eq!(asked.len(), 4);
    for pair in asked.windows(2) {
        let apart = (pair[1].at - pair[0].at).as_secs();
        assert!((1_619..=1_981).contains(&apart), "{apart}");
    }
    assert!(asked.iter().all(|asked| asked.key.as_deref() == Some(KEY)));
    assert!(asked.iter().all(|asked| asked.host == "europe-docker.pkg.dev"));
    assert_eq!(renewing.count("corp", "renewed"), Some(4));
}
