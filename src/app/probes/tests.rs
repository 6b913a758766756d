use std::sync::Mutex;

use axum::{Router, http::HeaderMap, response::IntoResponse, routing::get};
use futures_util::future::BoxFuture;
use hyper::{
    StatusCode,
    header::{AUTHORIZATION, WWW_AUTHENTICATE},
};
use tokio::{net::TcpListener, task::JoinHandle};

use super::*;
use crate::{
    metrics::Metrics,
    oci::{
        Roots,
        testing::{Served, certificate},
    },
    pushes::{Copies, Event, Index, Order, PushId, Record},
    registry::{
        Condition, ConditionKind, Credential, Credentials, Keys, Location, Login, Password, RegistrySpec, Status,
    },
    store::{
        Asked, Change, Copy, Draft, Issuance, News, PushPage, PushQuery, Pushes, Registries, StoreError, Stored, Token,
        Version, embedded::Embedded,
    },
};

const PASSWORD: &str = "hunter2-is-nowhere";

/// A store, whoever asks the registries in it, and everything that they said.
struct Asking {
    store: Embedded,
    metrics: Metrics,
    down: watch::Receiver<Down>,
    task: JoinHandle<Infallible>,
}

impl Asking {
    fn every(every: Duration) -> Self {
        Self::of(Embedded::in_memory().unwrap(), every)
    }

    fn of(store: Embedded, every: Duration) -> Self {
        let metrics = Metrics::new();
        let client = Client::new(Roots::none());
        let probes = Probes::new(Arc::new(store.clone()), client, every, metrics.common().registries());
        Self {
            store,
            metrics,
            down: probes.down(),
            task: tokio::spawn(probes.run()),
        }
    }

    async fn add(&self, id: &str, port: u16, pull: Change) {
        let draft = Draft {
            spec: spec(port),
            pull,
            push: Change::Keep,
            notify: Change::Keep,
        };
        self.store.create(id, draft).await.unwrap();
    }

    /// Waits until a condition is so, and gives back its reason and message.
    async fn until(&self, id: &str, kind: ConditionKind, status: Status, reason: &str) -> String {
        let mut registries = self.store.registries();
        let waited = tokio::time::timeout(Duration::from_secs(60), async {
            loop {
                let all = registries.borrow_and_update().clone();
                let conditions = all
                    .iter()
                    .find(|stored| stored.id == id)
                    .map(|stored| &stored.conditions);
                let found = conditions.and_then(|all| all.iter().find(|condition| condition.kind == kind));
                if let Some(found) = found
                    && (found.status, found.reason.as_str()) == (status, reason)
                {
                    return found.message.clone();
                }
                registries.changed().await.unwrap();
            }
        });
        match waited.await {
            Ok(message) => message,
            Err(_) => panic!("{kind:?} is never {status:?} {reason}: {:?}", self.conditions(id)),
        }
    }

    fn conditions(&self, id: &str) -> Vec<Condition> {
        let all = self.store.registries().borrow().clone();
        let found = all.iter().find(|stored| stored.id == id);
        found.map(|stored| stored.conditions.clone()).unwrap_or_default()
    }

    fn up(&self, id: &str) -> Option<bool> {
        let text = self.metrics.common().render().unwrap();
        let series = format!("waypost_registry_up{{registry=\"{id}\"}} ");
        text.lines().find_map(|line| Some(line.strip_prefix(&series)? == "1"))
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.task.abort();
        // Whatever the test was about: nobody who reads the conditions reads a credential.
        for stored in self.store.registries().borrow().iter() {
            let shown = serde_json::to_string(&stored.conditions).unwrap();
            assert!(
                !shown.contains(PASSWORD) && !format!("{stored:?}").contains(PASSWORD),
                "{shown}"
            );
        }
    }
}

fn spec(port: u16) -> RegistrySpec {
    RegistrySpec {
        url: Some(format!("http://localhost:{port}/team")),
        ..RegistrySpec::default()
    }
}

fn login(password: &str) -> Change {
    Change::Set(Credential::Login(Login {
        username: "u".to_owned(),
        password: Password::new(password.to_owned()),
    }))
}

/// Wants the password, and lets nobody push.
fn basic() -> Router {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let wanted = format!("Basic {}", STANDARD.encode(format!("u:{PASSWORD}")));
    let v2 = move |headers: HeaderMap| async move {
        if headers.get(AUTHORIZATION).is_some_and(|value| *value == *wanted) {
            return StatusCode::OK.into_response();
        }
        (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Basic realm=\"r\"")]).into_response()
    };
    Router::new()
        .route("/v2/", get(v2))
        .fallback(async || StatusCode::FORBIDDEN)
}

use ConditionKind::{Authenticated, LongLived, PullCredentialCanPush, Reachable};
use Status::{False, True, Unknown};

/// A port at which nothing listens.
async fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().port()
}

#[tokio::test]
async fn a_registry_that_stops_is_down_and_comes_back_and_its_credential_is_tried_again() {
    let asking = Asking::every(Duration::from_secs(1));
    let served = Served::plain(basic()).await;
    let port = served.port();
    asking.add("corp", port, login(PASSWORD)).await;
    asking.until("corp", Reachable, True, "Answers").await;
    asking.until("corp", Authenticated, True, "Accepted").await;
    asking.until("corp", PullCredentialCanPush, False, "CanOnlyPull").await;
    asking.until("corp", LongLived, True, "Password").await;
    assert_eq!(asking.up("corp"), Some(true));
    assert!(asking.down.borrow().is_empty());

    served.stop().await;
    let began = tokio::time::Instant::now();
    let message = asking.until("corp", Reachable, False, "ConnectionRefused").await;
    assert_eq!(
        message,
        format!("nothing listens at localhost:{port}: the connection was refused")
    );
    // A second to the next probe, and three more to believe it.
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    asking.until("corp", Authenticated, Unknown, "Unreachable").await;
    assert_eq!(asking.up("corp"), Some(false));
    assert!(asking.down.borrow().contains("corp"));

    let again = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let _again = Served::on(again, basic(), None);
    asking.until("corp", Reachable, True, "Answers").await;
    asking.until("corp", Authenticated, True, "Accepted").await;
    assert_eq!(asking.up("corp"), Some(true));
    assert!(asking.down.borrow().is_empty());
}

#[tokio::test]
async fn what_is_said_is_written_once_and_a_change_of_the_credential_is_followed() {
    let asking = Asking::every(Duration::from_millis(50));
    let served = Served::plain(basic()).await;
    asking.add("corp", served.port(), login("wrong")).await;
    asking.until("corp", Authenticated, False, "Rejected").await;
    asking
        .until("corp", PullCredentialCanPush, Unknown, "CredentialRejected")
        .await;
    // Twenty probes later nothing else was written, and the wrong password was shown once.
    let writes = asking.store.registries();
    served.until_asked(20).await;
    assert!(!writes.has_changed().unwrap());
    let shown = served.asked().iter().filter(|(_, header)| header.is_some()).count();
    assert_eq!(shown, 1);

    let draft = |pull| Draft {
        spec: spec(served.port()),
        pull,
        push: Change::Keep,
        notify: Change::Keep,
    };
    asking
        .store
        .replace("corp", draft(login(PASSWORD)), None)
        .await
        .unwrap();
    asking.until("corp", Authenticated, True, "Accepted").await;
    asking.store.replace("corp", draft(Change::Clear), None).await.unwrap();
    asking.until("corp", Authenticated, False, "CredentialRequired").await;
    asking.until("corp", LongLived, False, "Anonymous").await;
    asking.until("corp", PullCredentialCanPush, False, "Anonymous").await;
    let missing = Change::Set(Credential::Environment {
        username: "u".to_owned(),
        variable: "WAYPOST_TEST_NONE".to_owned(),
    });
    asking.store.replace("corp", draft(missing), None).await.unwrap();
    let message = asking.until("corp", Authenticated, False, "CredentialUnreadable").await;
    assert!(message.contains("WAYPOST_TEST_NONE"), "{message}");
}

#[tokio::test]
async fn a_host_that_is_named_gets_the_credential_from_then_on_and_the_registry_stays_where_it_is() {
    let asking = Asking::every(Duration::from_millis(50));
    let (authority, pair) = certificate(2020, 2120);
    let token = async |headers: HeaderMap| match headers.contains_key(AUTHORIZATION) {
        true => (StatusCode::OK, "{\"token\": \"t\", \"expires_in\": 300}"),
        false => (StatusCode::UNAUTHORIZED, "{}"),
    };
    let gitlab = authority.issue_for("127.0.0.1", 2020, 2120);
    let gitlab = Served::tls(Router::new().route("/jwt/auth", get(token)), &gitlab).await;
    let challenge = format!("Bearer realm=\"https://127.0.0.1:{}/jwt/auth\"", gitlab.port());
    let v2 = move |headers: HeaderMap| async move {
        if headers.get(AUTHORIZATION).is_some_and(|value| value == "Bearer t") {
            return StatusCode::OK.into_response();
        }
        (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, challenge)]).into_response()
    };
    let served = Served::tls(Router::new().fallback(v2), &pair).await;
    let draft = |hosts: &[&str], pull| Draft {
        spec: RegistrySpec {
            url: Some(format!("localhost:{}", served.port())),
            ca_bundle: Some(authority.pem.clone()),
            token_hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            ..RegistrySpec::default()
        },
        pull,
        push: Change::Keep,
        notify: Change::Keep,
    };
    let reachable = || {
        let mut conditions = asking.conditions("corp");
        conditions.retain(|condition| condition.kind == Reachable);
        conditions
    };

    asking.store.create("corp", draft(&[], login(PASSWORD))).await.unwrap();
    let message = asking.until("corp", Authenticated, Unknown, "ForeignRealm").await;
    let advice = format!("give `tokenHosts: [127.0.0.1:{}]` if that host", gitlab.port());
    assert!(message.contains(&advice), "{message}");
    assert!(gitlab.asked().is_empty());
    asking.until("corp", Reachable, True, "Answers").await;
    let found = reachable();

    let named = draft(&["127.0.0.1"], Change::Keep);
    asking.store.replace("corp", named, None).await.unwrap();
    asking.until("corp", Authenticated, True, "Accepted").await;
    assert!(gitlab.asked().iter().any(|(_, header)| header.is_some()));
    asking
        .store
        .replace("corp", draft(&[], Change::Keep), None)
        .await
        .unwrap();
    asking.until("corp", Authenticated, Unknown, "ForeignRealm").await;
    assert_eq!(reachable(), found);
}

#[tokio::test]
async fn one_that_is_asked_too_much_is_up_and_one_that_never_answered_is_down() {
    let asking = Asking::every(Duration::from_millis(50));
    let busy = Served::plain(Router::new().fallback(async || StatusCode::TOO_MANY_REQUESTS)).await;
    let broken = Served::plain(Router::new().fallback(async || StatusCode::BAD_GATEWAY)).await;
    asking.add("busy", busy.port(), login(PASSWORD)).await;
    asking.add("broken", broken.port(), Change::Keep).await;
    asking.until("busy", Reachable, True, "RateLimited").await;
    asking.until("busy", Authenticated, Unknown, "RateLimited").await;
    asking.until("broken", Reachable, False, "ServerError").await;
    assert_eq!((asking.up("busy"), asking.up("broken")), (Some(true), Some(false)));
    assert_eq!(asking.down.borrow().iter().collect::<Vec<_>>(), ["broken"]);
    assert_eq!(busy.asked().len(), 1, "it was left alone");
}

#[tokio::test]
async fn a_registry_that_is_removed_leaves_nothing_and_one_that_moves_begins_anew() {
    let asking = Asking::every(Duration::from_millis(50));
    let free = free_port().await;
    asking.add("gone", free, Change::Keep).await;
    asking.add("moves", free, Change::Keep).await;
    asking.until("gone", Reachable, False, "ConnectionRefused").await;
    asking.until("moves", Reachable, False, "ConnectionRefused").await;
    asking.store.delete("gone", None).await.unwrap();
    let mut down = asking.down.clone();
    down.wait_for(|down| !down.contains("gone")).await.unwrap();
    while asking.up("gone").is_some() {
        tokio::task::yield_now().await;
    }

    let open = Served::plain(Router::new().fallback(async || StatusCode::OK)).await;
    let draft = Draft {
        spec: spec(open.port()),
        pull: Change::Keep,
        push: Change::Keep,
        notify: Change::Keep,
    };
    asking.store.replace("moves", draft, None).await.unwrap();
    asking.until("moves", Reachable, True, "Answers").await;
    asking.until("moves", Authenticated, True, "Anonymous").await;
    assert!(asking.down.borrow().is_empty());
}

#[tokio::test]
async fn who_begins_takes_a_registry_for_down_that_was_and_nobody_is_asked_where_it_is_turned_off() {
    let asking = Asking::every(Duration::from_millis(50));
    let free = free_port().await;
    asking.add("corp", free, Change::Keep).await;
    asking.until("corp", Reachable, False, "ConnectionRefused").await;

    // Another process, by the same store.
    let mut next = Asking::of(asking.store.clone(), Duration::from_millis(50));
    next.down.wait_for(|down| down.contains("corp")).await.unwrap();
    drop(next);
    let store = asking.store.clone();
    drop(asking);

    let off = Asking::of(store, Duration::ZERO);
    off.until("corp", Reachable, Unknown, "NotAsked").await;
    assert_eq!(off.up("corp"), None);
    assert!(off.down.borrow().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_registries_are_asked_few_at_a_time() {
    let open = Arc::new(Mutex::new((0_usize, 0_usize)));
    let (counted, asking) = (open.clone(), Asking::every(Duration::from_secs(600)));
    let slow = Router::new().fallback(async move || {
        {
            let mut counted = counted.lock().unwrap();
            counted.0 += 1;
            counted.1 = counted.1.max(counted.0);
        }
        // As long as it takes others to come, if they did.
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        counted.lock().unwrap().0 -= 1;
        StatusCode::OK
    });
    let served = Served::plain(slow).await;
    for number in 0..200 {
        asking.add(&format!("r-{number}"), served.port(), Change::Keep).await;
    }
    for number in 0..200 {
        asking
            .until(&format!("r-{number}"), Authenticated, True, "Anonymous")
            .await;
    }
    let (_, most) = *open.lock().unwrap();
    assert!(most <= EXCHANGES, "{most}");
}

/// What it tells of is of before.
struct Behind(Embedded, watch::Sender<Registries>);

impl Pushes for Behind {
    fn index(&self) -> watch::Receiver<Index> {
        self.0.index()
    }

    fn push<'s>(&'s self, id: &'s PushId) -> BoxFuture<'s, Result<Option<Record>, StoreError>> {
        self.0.push(id)
    }

    fn pushes<'s>(&'s self, query: &'s PushQuery) -> BoxFuture<'s, Result<PushPage, StoreError>> {
        self.0.pushes(query)
    }

    fn happened(&self, events: Vec<Event>) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        self.0.happened(events)
    }

    fn copies(&self) -> watch::Receiver<Copies> {
        self.0.copies()
    }

    fn ask(&self, order: Order) -> BoxFuture<'_, Result<Asked, StoreError>> {
        self.0.ask(order)
    }

    fn ask_from_aside(&self, order: Order) -> BoxFuture<'_, Result<(), StoreError>> {
        self.0.ask_from_aside(order)
    }

    fn copy<'s>(&'s self, id: &'s PushId) -> BoxFuture<'s, Result<Option<Copy>, StoreError>> {
        self.0.copy(id)
    }
}

impl Store for Behind {
    fn registries(&self) -> watch::Receiver<Registries> {
        self.1.subscribe()
    }

    fn registry<'s>(&'s self, id: &'s str) -> BoxFuture<'s, Result<Option<Stored>, StoreError>> {
        self.0.registry(id)
    }

    fn list(&self) -> BoxFuture<'_, Result<Registries, StoreError>> {
        self.0.list()
    }

    fn create<'s>(&'s self, id: &'s str, draft: Draft) -> BoxFuture<'s, Result<Stored, StoreError>> {
        self.0.create(id, draft)
    }

    fn replace<'s>(
        &'s self,
        id: &'s str,
        draft: Draft,
        expected: Option<&'s Version>,
    ) -> BoxFuture<'s, Result<Stored, StoreError>> {
        self.0.replace(id, draft, expected)
    }

    fn delete<'s>(&'s self, id: &'s str, expected: Option<&'s Version>) -> BoxFuture<'s, Result<(), StoreError>> {
        self.0.delete(id, expected)
    }

    fn credentials<'s>(&'s self, id: &'s str) -> BoxFuture<'s, Result<Credentials, StoreError>> {
        self.0.credentials(id)
    }

    fn notification_token<'s>(&'s self, id: &'s str) -> BoxFuture<'s, Result<Option<Credential>, StoreError>> {
        self.0.notification_token(id)
    }

    fn keys<'s>(&'s self, id: &'s str) -> BoxFuture<'s, Result<Keys, StoreError>> {
        self.0.keys(id)
    }

    fn issued<'s>(&'s self, id: &'s str, token: Token) -> BoxFuture<'s, Result<(), StoreError>> {
        self.0.issued(id, token)
    }

    fn tell<'s>(&'s self, id: &'s str, news: News) -> BoxFuture<'s, ()> {
        self.0.tell(id, news)
    }

    fn report<'s>(&'s self, id: &'s str, conditions: Vec<Condition>) -> BoxFuture<'s, Result<(), StoreError>> {
        self.0.report(id, conditions)
    }
}

#[tokio::test]
async fn a_password_that_came_with_another_host_is_not_sent_to_the_one_of_before() {
    let served = Served::plain(basic()).await;
    let store = Embedded::in_memory().unwrap();
    let draft = |port, password| Draft {
        spec: spec(port),
        pull: login(password),
        push: Change::Keep,
        notify: Change::Keep,
    };
    store.create("r", draft(served.port(), "old")).await.unwrap();
    let behind = Behind(store.clone(), watch::Sender::new(store.list().await.unwrap()));
    // Nobody listens there.
    store.replace("r", draft(1, PASSWORD), None).await.unwrap();
    let metrics = Metrics::new();
    let client = Client::new(Roots::none());
    let probes = Probes::new(
        Arc::new(behind),
        client,
        Duration::from_secs(1),
        metrics.common().registries(),
    );
    let asking = Asking {
        store,
        metrics,
        down: probes.down(),
        task: tokio::spawn(probes.run()),
    };
    let (kind, status) = (ConditionKind::Authenticated, Status::Unknown);
    let said = asking.until("r", kind, status, "CredentialUnreadable").await;
    assert!(said.contains("has been changed since"), "{said}");
    assert!(served.asked().iter().all(|(_, header)| header.is_none()));
}

#[tokio::test]
async fn a_registry_whose_tokens_are_issued_is_not_asked_without_one() {
    let asking = Asking::every(Duration::from_millis(50));
    let served = Served::plain(basic()).await;
    let spec = RegistrySpec {
        location: Location::Gcr,
        hostname: Some(format!("localhost:{}", served.port())),
        plain_http: true,
        ..RegistrySpec::default()
    };
    let draft = Draft {
        spec: spec.clone(),
        pull: Change::Keep,
        push: Change::Keep,
        notify: Change::Keep,
    };
    asking.store.create("corp", draft).await.unwrap();
    asking.until("corp", Reachable, True, "Answers").await;
    asking.until("corp", Authenticated, Unknown, "NoTokenYet").await;
    asking.until("corp", PullCredentialCanPush, Unknown, "NoTokenYet").await;
    asking.until("corp", LongLived, False, "Issued").await;
    let token = |password: &str| Token {
        login: Login {
            username: "u".to_owned(),
            password: Password::new(password.to_owned()),
        },
        issuance: Issuance {
            issued_at: jiff::Timestamp::now(),
            expires_at: jiff::Timestamp::MAX,
            account: None,
            place: Issuance::place(&spec),
            origin: String::new(),
        },
    };
    asking.store.issued("corp", token(PASSWORD)).await.unwrap();
    asking.until("corp", Authenticated, True, "Accepted").await;
    asking.until("corp", PullCredentialCanPush, False, "CanOnlyPull").await;
    asking.until("corp", LongLived, False, "Issued").await;
    asking.store.issued("corp", token("another")).await.unwrap();
    asking.until("corp", Authenticated, False, "Rejected").await;
}

#[tokio::test]
async fn whose_registry_it_is_becomes_known_with_its_first_token() {
    let asking = Asking::every(Duration::from_millis(50));
    let served = Served::plain(basic()).await;
    let spec = RegistrySpec {
        location: Location::Ecr,
        region: Some("eu-central-1".to_owned()),
        endpoint: Some(format!("http://localhost:{}", served.port())),
        ..RegistrySpec::default()
    };
    let draft = Draft {
        spec: spec.clone(),
        pull: Change::Keep,
        push: Change::Keep,
        notify: Change::Keep,
    };
    asking.store.create("corp", draft).await.unwrap();
    asking.until("corp", Reachable, Unknown, "AccountUnknown").await;
    asking.until("corp", Authenticated, Unknown, "NoTokenYet").await;
    assert_eq!(asking.up("corp"), None);
    let issuance = Issuance {
        issued_at: jiff::Timestamp::now(),
        expires_at: jiff::Timestamp::MAX,
        account: Some("123456789012".to_owned()),
        place: Issuance::place(&spec),
        origin: String::new(),
    };
    let login = Login {
        username: "u".to_owned(),
        password: Password::new(PASSWORD.to_owned()),
    };
    asking.store.issued("corp", Token { login, issuance }).await.unwrap();
    asking.until("corp", Reachable, True, "Answers").await;
    asking.until("corp", Authenticated, True, "Accepted").await;
}
