mod home;

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

use self::home::Home;
use super::*;
use crate::{
    credentials::Issued,
    metrics::Metrics,
    registry::{Condition, ConditionKind, Credential, Location, Login, Password, RegistrySpec, Status},
    store::{Change, Draft, Issuance, Token, embedded::Embedded},
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

/// What was kept a moment ago is counted.
async fn counted() {
    sleep(Duration::from_millis(10)).await;
}

use Status::{False, True, Unknown};

#[tokio::test(start_paused = true)]
async fn a_token_is_issued_and_renewed_at_half_its_life() {
    let renewing = Renewing::new();
    renewing.add("corp").await;
    renewing.says("corp", Unknown, "NotAskedYet").await;
    renewing.token("corp", 1).await;
    renewing.says("corp", True, "Issued").await;
    let issuance = renewing.stored("corp").unwrap().issuance.unwrap();
    assert_eq!(issuance.expires_at.duration_since(issuance.issued_at).as_secs(), LIFE);
    let expiry = "waypost_credential_expiry_timestamp_seconds{registry=\"corp\"}";
    assert_eq!(renewing.metric(expiry), Some(issuance.expires_at.as_second()));

    renewing.token("corp", 4).await;
    counted().await;
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

#[tokio::test(start_paused = true)]
async fn a_failure_keeps_the_token_and_is_tried_again_until_it_is_none() {
    let renewing = Renewing::new();
    renewing.add("corp").await;
    renewing.token("corp", 1).await;
    // A moment of trouble is nobody's news.
    renewing.world.next.lock().unwrap().extend([away(), away()]);
    renewing.token("corp", 2).await;
    counted().await;
    assert_eq!(renewing.count("corp", "unavailable"), Some(2));
    assert_eq!(renewing.count("corp", "renewed"), Some(2));
    renewing.says("corp", True, "Issued").await;

    renewing.world.down(Some(away()));
    let until = renewing.stored("corp").unwrap().issuance.unwrap().expires_at;
    let message = renewing.says("corp", True, "RenewalFailing").await;
    let until = Timestamp::from_second(until.as_second()).unwrap();
    assert_eq!(
        message,
        format!("the token that there is works until {until}, and cannot be renewed: Google does not answer")
    );
    renewing.token("corp", 2).await;
    let message = renewing.says("corp", False, "Unavailable").await;
    assert_eq!(
        message,
        format!(
            "the token that there is ended at {until}, which namespaces keep for want of a better one: Google does not answer"
        )
    );
    // Nothing better: it stays.
    renewing.token("corp", 2).await;
    sleep(Duration::from_secs(86_400)).await;
    renewing.world.down(None);
    let ended = renewing.world.now();
    renewing.token("corp", 3).await;
    renewing.says("corp", True, "Issued").await;
    assert!(renewing.world.now().duration_since(ended).as_secs() <= 331);
}

#[tokio::test(start_paused = true)]
async fn what_is_said_is_written_when_it_is_news() {
    let renewing = Renewing::new();
    renewing
        .world
        .down(Some(IssueError::Rejected("the key was deleted".to_owned())));
    renewing.add("corp").await;
    let message = renewing.says("corp", False, "Rejected").await;
    assert_eq!(message, "there is no token to pull with: the key was deleted");
    let registries = renewing.store.registries();
    sleep(Duration::from_secs(86_400)).await;
    assert!(!registries.has_changed().unwrap());
    let attempts = renewing.count("corp", "rejected").unwrap();
    assert!((250..350).contains(&attempts), "{attempts}");
    assert_eq!(
        renewing.metric("waypost_credential_expiry_timestamp_seconds{registry=\"corp\"}"),
        Some(0)
    );

    // Another reason is believed when it is found twice.
    let deleted = IssueError::Rejected("the key was deleted".to_owned());
    renewing.world.next.lock().unwrap().extend([away(), deleted]);
    sleep(Duration::from_secs(1_000)).await;
    assert!(!registries.has_changed().unwrap());
    renewing.world.down(Some(away()));
    renewing.says("corp", False, "Unavailable").await;
}

#[tokio::test(start_paused = true)]
async fn another_key_renews_at_once_and_the_token_works_until_then() {
    let renewing = Renewing::new();
    renewing.add("corp").await;
    renewing.token("corp", 1).await;
    renewing.says("corp", True, "Issued").await;
    renewing.world.down(Some(away()));
    let changed = renewing.world.began.elapsed();
    let store = &renewing.store;
    store
        .replace("corp", draft(spec("corp"), key("another")), None)
        .await
        .unwrap();
    renewing.says("corp", True, "RenewalFailing").await;
    renewing.token("corp", 1).await;
    renewing.world.down(None);
    renewing.token("corp", 2).await;
    let asked = renewing.world.asked();
    assert_eq!(asked[1].key.as_deref(), Some("another"));
    assert!(asked[1].at - changed < Duration::from_secs(2), "{asked:?}");

    // The same with none, which is Waypost's own identity, and with another identity to pull by.
    let mut other = spec("corp");
    store
        .replace("corp", draft(other.clone(), Change::Clear), None)
        .await
        .unwrap();
    renewing.token("corp", 3).await;
    other.pull_service_account = Some("pull@project.iam.gserviceaccount.com".to_owned());
    store
        .replace("corp", draft(other.clone(), Change::Keep), None)
        .await
        .unwrap();
    renewing.token("corp", 4).await;
    assert_eq!(renewing.world.asked().last().unwrap().key, None);
    // Other names and namespaces are none of the issuer's.
    other.display_name = Some("Corp".to_owned());
    store.replace("corp", draft(other, Change::Keep), None).await.unwrap();
    sleep(Duration::from_secs(1_000)).await;
    renewing.token("corp", 4).await;
}

#[tokio::test(start_paused = true)]
async fn another_place_has_no_token_until_it_has_one_of_its_own() {
    let renewing = Renewing::new();
    renewing.add("corp").await;
    renewing.token("corp", 1).await;
    renewing.says("corp", True, "Issued").await;
    renewing.world.down(Some(away()));
    let changes: [fn(&mut RegistrySpec); 3] = [
        |spec| spec.url = Some("us-docker.pkg.dev/project/corp".to_owned()),
        |spec| spec.endpoint = Some("http://elsewhere:5000".to_owned()),
        |spec| spec.token_hosts = vec!["elsewhere.com".to_owned()],
    ];
    let mut spec = spec("corp");
    for (number, change) in changes.into_iter().enumerate() {
        renewing.world.down(Some(away()));
        change(&mut spec);
        renewing
            .store
            .replace("corp", draft(spec.clone(), Change::Keep), None)
            .await
            .unwrap();
        assert_eq!(renewing.store.credentials("corp").await.unwrap().pull, None);
        let message = renewing.says("corp", False, "Unavailable").await;
        assert_eq!(message, "there is no token to pull with: Google does not answer");
        assert_eq!(
            renewing.metric("waypost_credential_expiry_timestamp_seconds{registry=\"corp\"}"),
            Some(0)
        );
        renewing.world.down(None);
        renewing.token("corp", number + 2).await;
        renewing.says("corp", True, "Issued").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_that_begins_goes_on_with_the_token_that_there_is() {
    let renewing = Renewing::new();
    renewing.add("corp").await;
    *renewing.world.wide.lock().unwrap() = Some("it can do everything".to_owned());
    renewing.token("corp", 1).await;
    assert_eq!(renewing.says("corp", True, "Wide").await, "it can do everything");
    let (store, world) = (renewing.store.clone(), renewing.world.clone());
    drop(renewing);

    let registries = store.registries();
    let next = Renewing::of(store.clone(), world.clone());
    sleep(Duration::from_secs(600)).await;
    assert_eq!(next.world.asked().len(), 1);
    assert!(!registries.has_changed().unwrap(), "it says what was said");
    next.token("corp", 2).await;
    counted().await;
    assert_eq!(next.count("corp", "renewed"), Some(1));
    drop(next);

    // One that ended while nobody was there is renewed at once.
    sleep(Duration::from_secs(100_000)).await;
    let began = world.began.elapsed();
    let last = Renewing::of(store, world);
    last.token("corp", 3).await;
    assert!(last.world.began.elapsed() - began < Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_is_noticed() {
    let renewing = Renewing::new();
    renewing.add("corp").await;
    renewing.token("corp", 1).await;
    for (number, set) in [(2, 3_000), (3, 1_000_000), (4, -1_000_000), (5, -200)] {
        sleep(Duration::from_secs(60)).await;
        renewing.world.ahead.fetch_add(set, Ordering::Relaxed);
        let began = Instant::now();
        renewing.token("corp", number).await;
        assert!(
            began.elapsed() <= Duration::from_secs(31),
            "{set}: {:?}",
            began.elapsed()
        );
        renewing.says("corp", True, "Issued").await;
    }
    // A little back is nothing: the other clock goes on.
    sleep(Duration::from_secs(100)).await;
    renewing.world.ahead.fetch_add(-100, Ordering::Relaxed);
    let began = Instant::now();
    renewing.token("corp", 6).await;
    let took = began.elapsed().as_secs();
    assert!((1_500..1_900).contains(&took), "{took}");
}

#[tokio::test(start_paused = true)]
async fn the_one_token_that_an_issuer_has_is_written_once() {
    let renewing = Renewing::new();
    let until = renewing.world.now() + SignedDuration::from_secs(LIFE);
    *renewing.world.always.lock().unwrap() = Some(Issued {
        login: login(1),
        expires_at: until,
    });
    renewing.add("corp").await;
    renewing.says("corp", True, "Issued").await;
    let registries = renewing.store.registries();
    sleep(Duration::from_secs(3_300)).await;
    assert!(!registries.has_changed().unwrap());
    let asked = renewing.world.asked().len();
    assert!((4..=6).contains(&asked), "{asked}");
    *renewing.world.always.lock().unwrap() = None;
    renewing
        .until("corp", |stored| {
            (stored.issuance.as_ref()?.expires_at != until).then_some(())
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_token_that_has_ended_when_it_comes_is_none() {
    let renewing = Renewing::new();
    *renewing.world.always.lock().unwrap() = Some(Issued {
        login: login(1),
        expires_at: renewing.world.now(),
    });
    renewing.add("corp").await;
    let message = renewing.says("corp", False, "Unavailable").await;
    assert!(message.contains("see whether the clock is right"), "{message}");
    assert_eq!(renewing.store.credentials("corp").await.unwrap().pull, None);
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_goes_or_issues_no_more_leaves_nothing_and_others_go_on() {
    let renewing = Renewing::new();
    for id in ["gone", "changed", "stays"] {
        renewing.add(id).await;
    }
    for id in ["gone", "changed", "stays"] {
        renewing.says(id, True, "Issued").await;
    }
    let expiry = |id: &str| {
        renewing.metric(&format!(
            "waypost_credential_expiry_timestamp_seconds{{registry=\"{id}\"}}"
        ))
    };
    assert!(expiry("gone").is_some() && expiry("changed").is_some());
    renewing.store.delete("gone", None).await.unwrap();
    let plain = RegistrySpec {
        url: Some("registry.corp".to_owned()),
        ..RegistrySpec::default()
    };
    renewing
        .store
        .replace("changed", draft(plain, Change::Keep), None)
        .await
        .unwrap();
    let asked = renewing.world.asked().len();
    sleep(Duration::from_secs(2_000)).await;
    assert_eq!(renewing.world.asked().len(), asked + 1);
    assert_eq!((expiry("gone"), expiry("changed")), (None, None));
    assert_eq!(
        (renewing.count("gone", "renewed"), renewing.count("changed", "renewed")),
        (None, None)
    );
    assert!(expiry("stays").is_some());
}

#[tokio::test(start_paused = true)]
async fn few_are_asked_for_at_once() {
    let renewing = Renewing::new();
    for number in 0..64 {
        renewing.add(&format!("r-{number}")).await;
    }
    for number in 0..64 {
        renewing.says(&format!("r-{number}"), True, "Issued").await;
    }
    // Each exchange takes a tenth of a second, and was counted at its end.
    let asked = renewing.world.asked();
    for (index, later) in asked.iter().enumerate().skip(EXCHANGES) {
        let apart = later.at - asked[index - EXCHANGES].at;
        assert!(apart >= Duration::from_millis(100), "{index}: {apart:?}");
    }
}

/// The same in a store that a test has in its hands.
fn at_home() -> (Renewing, Arc<Home>) {
    let store = Embedded::in_memory().unwrap();
    let home = Arc::new(Home::of(store.clone()));
    (Renewing::by(store, home.clone(), World::new()), home)
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_is_given_the_same_token_again() {
    let (renewing, home) = at_home();
    home.is_full.store(true, Ordering::Relaxed);
    renewing.add("corp").await;
    let message = renewing.says("corp", False, "NotKept").await;
    assert_eq!(
        message,
        "there is no token to pull with: a token was issued and cannot be kept: the disk is full"
    );
    while home.given.load(Ordering::Relaxed) < 6 {
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(renewing.world.asked().len(), 1);
    home.is_full.store(false, Ordering::Relaxed);
    renewing.token("corp", 1).await;
    renewing.says("corp", True, "Issued").await;

    // Until half of its life is over.
    home.is_full.store(true, Ordering::Relaxed);
    renewing.says("corp", True, "RenewalFailing").await;
    renewing.says("corp", False, "NotKept").await;
    sleep(Duration::from_secs(2_000)).await;
    let asked = renewing.world.asked().len();
    assert!((3..=4).contains(&asked), "{asked}");
    home.is_full.store(false, Ordering::Relaxed);
    renewing.says("corp", True, "Issued").await;
    let not_kept = renewing.count("corp", "not_kept").unwrap();
    assert_eq!(not_kept, i64::try_from(home.given.load(Ordering::Relaxed)).unwrap() - 2);
}

/// A process that comes to a token of somebody before it.
async fn next_at_home() -> (Renewing, Arc<Home>) {
    let (renewing, home) = at_home();
    renewing.add("corp").await;
    renewing.token("corp", 1).await;
    renewing.says("corp", True, "Issued").await;
    let (store, world) = (renewing.store.clone(), renewing.world.clone());
    drop(renewing);
    home.is_unreadable.store(true, Ordering::Relaxed);
    (Renewing::by(store, home.clone(), world), home)
}

#[tokio::test(start_paused = true)]
async fn a_token_that_cannot_be_read_for_a_moment_is_one() {
    let (next, home) = next_at_home().await;
    sleep(Duration::from_secs(45)).await;
    home.is_unreadable.store(false, Ordering::Relaxed);
    sleep(Duration::from_secs(1_000)).await;
    assert_eq!(next.world.asked().len(), 1);
    // It is known to be one by now.
    home.is_unreadable.store(true, Ordering::Relaxed);
    sleep(Duration::from_secs(400)).await;
    assert_eq!(next.world.asked().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_cannot_be_read_for_a_minute_is_none() {
    let (next, _home) = next_at_home().await;
    let began = Instant::now();
    next.token("corp", 2).await;
    let took = began.elapsed().as_secs();
    assert!((60..=95).contains(&took), "{took}");
    // Another does not help, and is asked for ever more rarely.
    sleep(Duration::from_secs(1_000)).await;
    let asked = next.world.asked().len();
    assert!((3..=5).contains(&asked), "{asked}");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_was_written_here_is_read_when_all_have_heard_of_it() {
    let (renewing, home) = at_home();
    renewing.add("corp").await;
    renewing.token("corp", 1).await;
    let read = home.read.load(Ordering::Relaxed);
    // As long as it may take to be told everywhere.
    sleep(Duration::from_secs(59)).await;
    assert_eq!(home.read.load(Ordering::Relaxed), read);
    sleep(Duration::from_secs(32)).await;
    assert_eq!(home.read.load(Ordering::Relaxed), read + 1);

    // One that is lost is written again, also where the issuer has no other.
    let issuance = renewing.stored("corp").unwrap().issuance.unwrap();
    *renewing.world.always.lock().unwrap() = Some(Issued {
        login: login(1),
        expires_at: issuance.expires_at,
    });
    home.is_unreadable.store(true, Ordering::Relaxed);
    let same = Token {
        login: login(1),
        issuance,
    };
    renewing.store.issued("corp", same).await.unwrap();
    let given = home.given.load(Ordering::Relaxed);
    sleep(Duration::from_secs(100)).await;
    assert_eq!(home.given.load(Ordering::Relaxed), given + 1);
}

#[tokio::test(start_paused = true)]
async fn of_a_token_that_somebody_else_had_issued_no_more_is_said_than_that_there_is_one() {
    let store = Embedded::in_memory().unwrap();
    let world = World::new();
    store.create("corp", draft(spec("corp"), key(KEY))).await.unwrap();
    let stored = store.registry("corp").await.unwrap().unwrap();
    let token = Token {
        login: login(7),
        issuance: Issuance {
            issued_at: world.now(),
            expires_at: world.now() + SignedDuration::from_secs(LIFE),
            account: None,
            place: Issuance::place(&stored.spec),
            origin: Issuance::origin(&stored.spec, stored.key.as_ref()),
        },
    };
    store.issued("corp", token).await.unwrap();
    let renewing = Renewing::of(store, world);
    assert_eq!(renewing.says("corp", True, "Issued").await, "there is a token");
    renewing.token("corp", 1).await;
    counted().await;
    let message = renewing.says("corp", True, "Issued").await;
    assert!(message.starts_with("there is a token that may only pull"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_cannot_be_read_is_no_reason_to_ask_without_one() {
    let (renewing, home) = at_home();
    home.has_no_keys.store(true, Ordering::Relaxed);
    renewing.add("corp").await;
    let message = renewing.says("corp", False, "KeyUnreadable").await;
    assert!(
        message.ends_with("cannot be read: the Secret `corp-key` does not exist"),
        "{message}"
    );
    assert!(renewing.world.asked().is_empty());
    home.has_no_keys.store(false, Ordering::Relaxed);
    renewing.token("corp", 1).await;
}

#[tokio::test(start_paused = true)]
async fn people_are_told_once_when_it_begins_to_fail_when_it_ends_and_when_it_works_again() {
    let (renewing, home) = at_home();
    renewing
        .world
        .down(Some(IssueError::Misconfigured("no such region".to_owned())));
    renewing.add("corp").await;
    renewing.says("corp", False, "Misconfigured").await;
    renewing.world.down(None);
    renewing.says("corp", True, "Issued").await;
    renewing.world.down(Some(away()));
    renewing.says("corp", True, "RenewalFailing").await;
    renewing.says("corp", False, "Unavailable").await;
    sleep(Duration::from_secs(10_000)).await;
    renewing.world.down(None);
    renewing.says("corp", True, "Issued").await;
    sleep(Duration::from_secs(10_000)).await;
    let told = home.told.lock().unwrap();
    let words: Vec<_> = told.iter().map(|news| (news.warning, news.reason)).collect();
    let expected = [
        (true, "TokenNotIssued"),
        (false, "TokenIssued"),
        (true, "TokenNotRenewed"),
        (true, "TokenExpired"),
        (false, "TokenIssued"),
    ];
    assert_eq!(words, expected);
    assert!(
        told.iter()
            .all(|news| !news.note.contains(KEY) && !news.note.contains(TOKEN))
    );
}
