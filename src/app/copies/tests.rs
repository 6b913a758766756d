mod registry;

use std::{
    path::Path,
    sync::{Mutex, atomic::AtomicUsize, atomic::Ordering},
};

use jiff::Timestamp;
use tokio::task::JoinHandle;

use self::registry::Fake;
use super::*;
use crate::{
    app::told::Told,
    metrics::Metrics,
    oci::{Roots, testing::Served},
    pushes::{Image, Order, Record, State},
    reference::Reference,
    registry::{Credential, Location, Login, Password, RegistrySpec, RepositoriesSpec},
    store::{
        Change, Draft, Pushes,
        embedded::{Embedded, OpenError},
    },
};

/// Waits for what a test waits for, and no longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A source, and whoever copies from it.
struct Case {
    store: Embedded,
    metrics: Metrics,
    source: Fake,
    from: Served,
    issuer: Arc<Issuing>,
    worker: Option<JoinHandle<Infallible>>,
}

/// Issues the tokens of a test.
#[derive(Default)]
struct Issuing {
    /// The token, or why none is issued.
    token: Mutex<Option<String>>,
    /// So often it may work later.
    failures: AtomicUsize,
    /// Where repositories are made.
    makes: Mutex<Option<Fake>>,
    made: Mutex<Vec<String>>,
}

impl Issuer for Arc<Issuing> {
    fn push<'s>(&'s self, _: &'s Registry, _: Option<&'s Key>) -> BoxFuture<'s, Result<Issued, IssueError>> {
        Box::pin(async {
            let failures = self.failures.load(Ordering::Relaxed);
            if failures > 0 {
                self.failures.store(failures - 1, Ordering::Relaxed);
                return Err(IssueError::Unavailable("Amazon does not answer".to_owned()));
            }
            match self.token.lock().unwrap().clone() {
                Some(token) => Ok(Issued {
                    login: login(&token),
                    expires_at: Timestamp::MAX,
                }),
                None => Err(IssueError::Rejected("the key is none".to_owned())),
            }
        })
    }

    fn make_repository<'s>(
        &'s self,
        _: &'s Registry,
        _: Option<&'s Key>,
        name: &'s str,
    ) -> BoxFuture<'s, Result<bool, IssueError>> {
        Box::pin(async {
            let makes = self.makes.lock().unwrap().clone();
            self.made.lock().unwrap().push(name.to_owned());
            Ok(makes.map(|registry| registry.make(name)).is_some())
        })
    }
}

impl Case {
    async fn new() -> Self {
        Self::of(Embedded::in_memory().unwrap()).await
    }

    /// With a source that has `source.test/team/app:1`.
    async fn of(store: Embedded) -> Self {
        let (source, from) = Fake::serve().await;
        source.has("team/app", "1", &[b"first layer", b"the second, which is longer"]);
        let case = Self {
            store,
            metrics: Metrics::new(),
            source,
            from,
            issuer: Arc::default(),
            worker: None,
        };
        case.register(
            "source",
            "source.test/team",
            case.from.port(),
            Change::Keep,
            Change::Keep,
        )
        .await;
        case
    }

    async fn register(&self, id: &str, url: &str, port: u16, pull: Change, push: Change) {
        let spec = RegistrySpec {
            url: Some(url.to_owned()),
            endpoint: Some(format!("http://127.0.0.1:{port}")),
            ..RegistrySpec::default()
        };
        self.add(id, spec, pull, push).await;
    }

    async fn add(&self, id: &str, spec: RegistrySpec, pull: Change, push: Change) {
        let draft = Draft {
            spec,
            pull,
            push,
            notify: Change::Keep,
        };
        match self.store.registry(id).await.unwrap() {
            Some(_) => self.store.replace(id, draft, None).await.unwrap(),
            None => self.store.create(id, draft).await.unwrap(),
        };
    }

    /// A target that everybody may push to.
    async fn target(&self, id: &str) -> (Fake, Served) {
        let (fake, served) = Fake::serve().await;
        self.register(
            id,
            &format!("{id}.test/mirror"),
            served.port(),
            Change::Keep,
            Change::Keep,
        )
        .await;
        (fake, served)
    }

    /// Begins to copy, so many at once.
    fn begin(&mut self, most: usize) {
        let pushes = self.metrics.common().pushes();
        let store = Told {
            store: Arc::new(self.store.clone()),
            metrics: pushes.clone(),
        };
        let copies = Copies {
            shared: Arc::new(Shared {
                store: Arc::new(store),
                client: Client::new(Roots::none()),
                issuer: Box::new(self.issuer.clone()),
                metrics: pushes,
                every: Duration::from_millis(10),
                pause: Duration::from_millis(1),
            }),
            most,
        };
        self.worker = Some(tokio::spawn(copies.run()));
    }

    /// Whoever copies goes away, at once.
    async fn end(&mut self) {
        if let Some(worker) = self.worker.take() {
            worker.abort();
            assert!(worker.await.unwrap_err().is_cancelled());
        }
    }

    async fn ask(&self, order: Order) -> PushId {
        let asked = self.store.ask(order).await.unwrap();
        assert_eq!(asked.record.last_attempt.as_ref().unwrap().state, State::Pending);
        asked.record.id()
    }

    /// Waits until that is so of a record.
    async fn until(&self, id: &PushId, is_it: impl Fn(&Record) -> bool) -> Record {
        let waited = async {
            loop {
                if let Some(record) = self.store.push(id).await.unwrap().filter(&is_it) {
                    return record;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, waited).await {
            Ok(record) => record,
            Err(_) => panic!("{:?}", self.store.push(id).await),
        }
    }

    async fn state(&self, id: &PushId, state: State) -> Record {
        self.until(id, |record| state_of(record) == state).await
    }

    /// Waits until it has failed, and gives back why.
    async fn failed(&self, id: &PushId) -> String {
        let record = self.state(id, State::Failed).await;
        assert_eq!(self.store.copy(id).await, Ok(None), "no credential is left");
        record.last_attempt.unwrap().error.unwrap().into()
    }

    /// The value of a line of the metrics.
    fn count(&self, name: &str) -> u64 {
        let all = self.metrics.common().render().unwrap();
        let line = all
            .lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        line.unwrap_or_default()
    }

    async fn counted(&self, name: &str, count: u64) {
        let waited = async {
            while self.count(name) != count {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waited).await;
        assert!(waited.is_ok(), "{name} {}", self.count(name));
    }
}

fn state_of(record: &Record) -> State {
    record.last_attempt.as_ref().unwrap().state
}

fn login(password: &str) -> Login {
    Login {
        username: "robot".to_owned(),
        password: Password::new(password.to_owned()),
    }
}

fn set(password: &str) -> Change {
    Change::Set(Credential::Login(login(password)))
}

fn order(registry: &str) -> Order {
    Order {
        image: Image::parse("source.test/team/app:1").unwrap(),
        registry: registry.into(),
        referrers: false,
        refresh: false,
        source: None,
        login: None,
    }
}

/// What the image is called in the registry `a`, behind its host.
const THERE: &str = "mirror/source.test/team/app";

#[tokio::test]
async fn a_copy_waits_runs_and_is_there() {
    let mut case = Case::new().await;
    let (a, _served) = case.target("a").await;
    let id = case.ask(order("a")).await;
    a.hold(20);
    case.begin(4);
    // The config and the shorter layer are there, and the other is on its way.
    let running = |record: &Record| {
        let last = record.last_attempt.as_ref().unwrap();
        last.state == State::Running && last.bytes_total.is_some() && last.finished_at.is_none()
    };
    let record = case.until(&id, running).await;
    assert!(record.last_success.is_none());
    assert_eq!(a.found(THERE, "1"), None, "half a copy is never seen");
    assert_eq!(case.count("waypost_push_queue"), 1);
    a.release();
    let record = case.state(&id, State::Succeeded).await;
    let last = record.last_attempt.unwrap();
    assert_eq!((last.attempt, last.error), (1, None));
    assert!(last.bytes_total.is_some_and(|total| total > 38) && last.bytes_total == last.bytes_done);
    let success = record.last_success.unwrap();
    assert_eq!(&*success.target, "a.test/mirror/source.test/team/app:1");
    assert_eq!(Some(&*success.digest), case.source.found("team/app", "1").as_deref());
    assert_eq!(a.found(THERE, "1").as_deref(), Some(&*success.digest));
    assert_eq!(success.platforms.concat(), "linux/amd64");
    let index = case.store.index().borrow().clone();
    assert_eq!(
        index.find(&Reference::parse("source.test/team/app:1").unwrap()).len(),
        1
    );
    case.counted("waypost_push_queue", 0).await;
    for state in ["RUNNING", "SUCCEEDED"] {
        let name = format!("waypost_pushes_total{{registry=\"a\",state=\"{state}\"}}");
        assert_eq!(case.count(&name), 1, "{state}");
    }
    let sent: usize = a.sent().iter().sum();
    assert_eq!(case.count("waypost_push_bytes_total{registry=\"a\"}"), sent as u64);
    // Of what is there nothing is sent again.
    let again = case.ask(order("a")).await;
    let record = case.state(&again, State::Succeeded).await;
    assert_eq!(record.last_attempt.unwrap().attempt, 2);
    assert_eq!(a.sent().iter().sum::<usize>(), sent);
}

#[tokio::test]
async fn a_source_is_read_by_the_credential_of_the_registry_that_was_named_and_of_no_other() {
    let mut case = Case::new().await;
    let (_a, _served) = case.target("a").await;
    case.source.wants("pull-pass");
    case.register(
        "source",
        "source.test/team",
        case.from.port(),
        set("pull-pass"),
        Change::Keep,
    )
    .await;
    // It is over none of it.
    case.register("other", "other.test", case.from.port(), set("pull-pass"), Change::Keep)
        .await;
    case.begin(4);
    for named in [None, Some("other"), Some("nobody")] {
        case.from.asked();
        let id = case
            .ask(Order {
                source: named.map(Into::into),
                ..order("a")
            })
            .await;
        let why = case.failed(&id).await;
        assert!(why.contains("source"), "{why}");
        let asked = case.from.asked();
        assert!(!asked.is_empty(), "where it is reached is what was registered");
        assert!(asked.iter().all(|(_, credential)| credential.is_none()), "{named:?}");
    }
    let id = case
        .ask(Order {
            source: Some("source".into()),
            ..order("a")
        })
        .await;
    case.state(&id, State::Succeeded).await;
}

#[tokio::test]
async fn it_is_pushed_by_what_came_with_the_request_else_as_the_registry_is_pushed_to_else_as_it_is_pulled_from() {
    let mut case = Case::new().await;
    let (a, served) = case.target("a").await;
    case.begin(1);
    for (wanted, given, push, pull, works) in [
        ("of-request", Some("of-request"), set("of-push"), set("of-pull"), true),
        ("of-push", Some("of-request"), set("of-push"), set("of-pull"), false),
        ("of-push", None, set("of-push"), set("of-pull"), true),
        ("of-pull", None, set("of-push"), set("of-pull"), false),
        ("of-pull", None, Change::Clear, set("of-pull"), true),
        ("of-pull", None, Change::Clear, Change::Clear, false),
    ] {
        a.wants(wanted);
        case.register("a", "a.test/mirror", served.port(), pull, push).await;
        let asked = Order {
            login: given.map(login),
            ..order("a")
        };
        let id = case.ask(asked).await;
        if works {
            case.state(&id, State::Succeeded).await;
        } else {
            let why = case.failed(&id).await;
            assert!(!why.contains("of-") && !why.contains('\n'), "{why}");
        }
        assert_eq!(case.store.copy(&id).await, Ok(None));
    }
}

#[tokio::test]
async fn a_wrong_password_fails_and_the_next_attempt_has_another() {
    let mut case = Case::new().await;
    let (a, _served) = case.target("a").await;
    a.wants("right");
    case.begin(4);
    let with = |password: &str| Order {
        login: Some(login(password)),
        ..order("a")
    };
    let id = case.ask(with("wrong-hunter2")).await;
    let why = case.failed(&id).await;
    assert!(why.contains("refuses") && !why.contains("hunter2"), "{why}");
    let id = case.ask(with("right")).await;
    let record = case.state(&id, State::Succeeded).await;
    assert_eq!(record.last_attempt.unwrap().attempt, 2);
}

#[tokio::test]
async fn whoever_comes_next_goes_on_with_what_another_began() {
    let mut case = Case::new().await;
    let (a, _served) = case.target("a").await;
    a.wants("of-request");
    // The longer layer does not get through.
    a.hold(26);
    let id = case
        .ask(Order {
            login: Some(login("of-request")),
            ..order("a")
        })
        .await;
    case.begin(4);
    let sent = |record: &Record| {
        record
            .last_attempt
            .as_ref()
            .unwrap()
            .bytes_done
            .is_some_and(|done| done > 20)
    };
    // Wait until the short layer is kept there.
    case.until(&id, |record| sent(record) && a.sent().contains(&11)).await;
    for _ in 0..3 {
        case.end().await;
        let record = case.store.push(&id).await.unwrap().unwrap();
        assert_eq!(state_of(&record), State::Running, "nobody has written that it ended");
        assert_eq!(case.count("waypost_push_queue"), 0, "nobody copies");
        case.begin(4);
        case.counted("waypost_push_queue", 1).await;
    }
    a.release();
    let record = case.state(&id, State::Succeeded).await;
    assert_eq!(record.last_attempt.unwrap().attempt, 1);
    assert_eq!(a.sent().iter().filter(|bytes| **bytes == 11).count(), 1, "it was there");
}

/// A store in a file, as a process that begins finds it: once the tasks of the one before are gone.
async fn opened(path: &Path) -> Embedded {
    let waited = async {
        loop {
            match Embedded::open(path) {
                Ok(store) => return store,
                Err(OpenError::InUse(_)) => tokio::time::sleep(Duration::from_millis(2)).await,
                Err(error) => panic!("{error}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, waited).await.unwrap()
}

#[tokio::test]
async fn a_copy_outlives_the_process_and_its_credential_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("waypost.redb");
    let mut case = Case::of(opened(&path).await).await;
    let (a, _served) = case.target("a").await;
    a.wants("of-request");
    a.hold(0);
    let id = case
        .ask(Order {
            login: Some(login("of-request")),
            ..order("a")
        })
        .await;
    case.begin(4);
    case.state(&id, State::Running).await;
    case.end().await;
    case.store = Embedded::in_memory().unwrap();
    case.store = opened(&path).await;
    a.release();
    case.begin(4);
    case.state(&id, State::Succeeded).await;
    case.end().await;
    case.store = Embedded::in_memory().unwrap();
    case.store = opened(&path).await;
    assert!(case.store.copies().borrow().is_empty());
    assert_eq!(case.store.copy(&id).await, Ok(None));
}

#[tokio::test]
async fn a_copy_stops_where_its_registry_is_removed() {
    let mut case = Case::new().await;
    let (a, _served) = case.target("a").await;
    let (b, _other) = case.target("b").await;
    a.hold(0);
    let id = case.ask(order("a")).await;
    case.begin(1);
    case.state(&id, State::Running).await;
    let next = case.ask(order("b")).await;
    case.store.delete("a", None).await.unwrap();
    // It was in the other's way.
    case.state(&next, State::Succeeded).await;
    assert!(b.found(THERE, "1").is_some());
    a.release();
    case.counted("waypost_push_queue", 0).await;
    assert_eq!(a.found(THERE, "1"), None);
    assert_eq!(case.store.push(&id).await, Ok(None));
}

#[tokio::test]
async fn a_registry_that_does_not_answer_keeps_no_other_waiting() {
    let mut case = Case::new().await;
    let (a, _served) = case.target("a").await;
    let (_b, _other) = case.target("b").await;
    a.hold(0);
    let mut held = Vec::new();
    for tag in 0..6 {
        case.source
            .has("team/app", &format!("t{tag}"), &[format!("layer {tag}").as_bytes()]);
        let image = Image::parse(&format!("source.test/team/app:t{tag}")).unwrap();
        held.push(case.ask(Order { image, ..order("a") }).await);
    }
    case.begin(4);
    for id in &held[..4] {
        case.state(id, State::Running).await;
    }
    // All places are taken, and it is not the oldest.
    let id = case.ask(order("b")).await;
    case.state(&id, State::Succeeded).await;
    for id in &held[4..] {
        let record = case.store.push(id).await.unwrap().unwrap();
        assert_eq!(state_of(&record), State::Pending);
    }
    a.release();
    for id in &held {
        case.state(id, State::Succeeded).await;
    }
}

#[tokio::test]
async fn a_copy_that_two_ask_for_is_made_once() {
    let mut case = Case::new().await;
    let (a, _served) = case.target("a").await;
    a.hold(0);
    let id = case.ask(order("a")).await;
    case.begin(4);
    case.state(&id, State::Running).await;
    assert!(case.store.ask(order("a")).await.unwrap().joined);
    a.release();
    let record = case.state(&id, State::Succeeded).await;
    assert_eq!(record.last_attempt.unwrap().attempt, 1);
    assert_eq!(a.sent().len(), 3, "each blob once");
}

#[tokio::test]
async fn what_cannot_be_copied_fails_with_a_sentence() {
    let mut case = Case::new().await;
    let (_a, served) = case.target("a").await;
    // Its images are called there what they are called everywhere.
    let spec = RegistrySpec {
        url: Some("source.test".to_owned()),
        endpoint: Some(format!("http://127.0.0.1:{}", case.from.port())),
        names: Some(crate::registry::NamesSpec {
            to: "{repository}".to_owned(),
            from: Some("source.test".to_owned()),
        }),
        ..RegistrySpec::default()
    };
    case.add("same", spec, Change::Keep, Change::Keep).await;
    let spec = RegistrySpec {
        url: Some("only.test".to_owned()),
        endpoint: Some(format!("http://127.0.0.1:{}", served.port())),
        names: Some(crate::registry::NamesSpec {
            to: "{repository}".to_owned(),
            from: Some("docker.io".to_owned()),
        }),
        ..RegistrySpec::default()
    };
    case.add("only", spec, Change::Keep, Change::Keep).await;
    case.begin(4);
    for (registry, image, expected) in [
        (
            "same",
            "source.test/team/app:1",
            "are the same place: there is nothing to copy",
        ),
        ("only", "source.test/team/app:1", "has images of docker.io alone"),
        ("a", "source.test/team/app:none", "the source has no"),
        ("a", "127.0.0.1:1/team/app:1", "port in the middle"),
        ("a", "10.0.0.1/team/app:1", "private"),
    ] {
        let image = Image::parse(image).unwrap();
        let id = case
            .ask(Order {
                image,
                ..order(registry)
            })
            .await;
        let why = case.failed(&id).await;
        assert!(why.contains(expected), "{registry}: {why}");
    }
}

#[tokio::test]
async fn an_image_by_its_digest_is_there_by_its_digest() {
    let mut case = Case::new().await;
    let (a, _served) = case.target("a").await;
    let digest = case.source.found("team/app", "1").unwrap();
    let image = Image::parse(&format!("source.test/team/app@{digest}")).unwrap();
    case.begin(4);
    let id = case.ask(Order { image, ..order("a") }).await;
    let record = case.state(&id, State::Succeeded).await;
    let success = record.last_success.unwrap();
    assert_eq!(*success.target, *format!("a.test/{THERE}@{digest}"));
    assert_eq!(a.found(THERE, &digest), Some(digest));
}

#[tokio::test]
async fn where_tokens_are_issued_one_to_push_with_is_and_a_repository_is_made() {
    let mut case = Case::new().await;
    let (ecr, served) = Fake::serve().await;
    ecr.wants("issued");
    ecr.has_only(&[]);
    let host = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
    let spec = RegistrySpec {
        location: Location::Ecr,
        region: Some("eu-west-1".to_owned()),
        registry_id: Some("123456789012".to_owned()),
        endpoint: Some(format!("http://127.0.0.1:{}", served.port())),
        repositories: Some(RepositoriesSpec {
            create: true,
            ..RepositoriesSpec::default()
        }),
        ..RegistrySpec::default()
    };
    case.add("ecr", spec, Change::Keep, Change::Keep).await;
    case.begin(4);
    let id = case.ask(order("ecr")).await;
    assert_eq!(
        case.failed(&id).await,
        "no token to push with was issued: the key is none"
    );
    // What passes is waited for, and not for ever.
    *case.issuer.token.lock().unwrap() = Some("issued".to_owned());
    case.issuer.failures.store(1_000, Ordering::Relaxed);
    let id = case.ask(order("ecr")).await;
    assert_eq!(
        case.failed(&id).await,
        "no token to push with was issued: Amazon does not answer"
    );
    case.issuer.failures.store(2, Ordering::Relaxed);
    let id = case.ask(order("ecr")).await;
    let why = case.failed(&id).await;
    assert!(why.contains("source.test/team/app"), "{why}");
    assert_eq!(*case.issuer.made.lock().unwrap(), ["source.test/team/app"]);
    *case.issuer.makes.lock().unwrap() = Some(ecr.clone());
    let id = case.ask(order("ecr")).await;
    let record = case.state(&id, State::Succeeded).await;
    let success = record.last_success.unwrap();
    assert_eq!(*success.target, *format!("{host}/source.test/team/app:1"));
    assert_eq!(
        ecr.found("source.test/team/app", "1").as_deref(),
        Some(&*success.digest)
    );
    assert_eq!(record.last_attempt.unwrap().attempt, 4);
}
