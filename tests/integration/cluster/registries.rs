//! Registries in a real Kubernetes API: objects, Secrets, and what becomes of them.

mod copies;
mod objects;
mod outdated;
mod pushes;
mod tokens;

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::{oneshot, watch};
use waypost::cluster::Access;
use waypost::cluster::registries::{Event, Kubernetes};
use waypost::pushes::{Copies, Event as Happened, Index, Order, PushId, Record};
use waypost::registry::{
    Condition, ConditionKind, Credential, Credentials, Keys, Login, Password, RegistrySpec, Status,
};
use waypost::store::{
    Asked, Change, Copy, DeclaredBy, Draft, Issuance, News, PushPage, PushQuery, Pushes, Registries, Store, StoreError,
    Stored, Token, Version,
};

use super::controller::Release;
use crate::store::contract::{self, Able};
use crate::support::cluster::case::Case;
use crate::support::cluster::{Cluster, Size};
use crate::support::eventually;
use crate::support::program::Directory;

/// Runs a test, alone, where registries are known and there are none. Everybody's are of the whole cluster: it is one for these tests.
pub(super) fn on_a_cluster_with_registries(name: &str, test: impl FnOnce(&Case<'_>) + Send) {
    static CLUSTER: OnceLock<Result<Cluster, String>> = OnceLock::new();
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let cluster = CLUSTER.get_or_init(|| Cluster::with(Size::ControlPlane, &[]));
    let cluster = cluster.as_ref().unwrap_or_else(|error| panic!("{error}"));
    cluster.test(name, |case| {
        let printed = Directory::new().run(["crds"]).exits(0);
        let apply = ["apply", "--server-side", "--filename=-"];
        case.kubectl_with(&apply, printed.out()).exits(0);
        eventually("registries are known", || case.admin.get(REGISTRIES).ok());
        case.admin.delete(REGISTRIES).unwrap();
        eventually("push records are known", || case.admin.get(PUSHES).ok());
        case.admin.delete(PUSHES).unwrap();
        test(case);
    });
}

/// A store and what runs it.
struct Home {
    store: Followed,
    runtime: Runtime,
}

impl Home {
    fn open(case: &Case<'_>) -> Self {
        Self::with(case, true)
    }

    fn with(case: &Case<'_>, secrets: bool) -> Self {
        Self::of(case, case.cluster.kubeconfig(), secrets)
    }

    fn of(case: &Case<'_>, kubeconfig: &Path, secrets: bool) -> Self {
        let runtime = runtime();
        let store = Followed::new(runtime.block_on(open_as(case, kubeconfig, secrets)));
        eventually("the watches work", || {
            (*store.said.lock().unwrap() == Some(Event::Working)).then_some(())
        });
        Self { store, runtime }
    }

    fn get(&self, id: &str) -> Option<Stored> {
        self.runtime.block_on(self.store.registry(id)).unwrap()
    }

    fn create(&self, id: &str, draft: Draft) -> Result<Stored, StoreError> {
        self.runtime.block_on(self.store.create(id, draft))
    }

    fn replace(&self, id: &str, draft: Draft) -> Result<Stored, StoreError> {
        self.runtime.block_on(self.store.replace(id, draft, None))
    }

    fn delete(&self, id: &str) -> Result<(), StoreError> {
        self.runtime.block_on(self.store.delete(id, None))
    }

    fn password(&self, id: &str) -> Result<Option<String>, StoreError> {
        let found = self.runtime.block_on(self.store.credentials(id))?;
        Ok(found.pull.map(|credential| match credential {
            Credential::Login(login) => login.password.expose().to_owned(),
            other => panic!("{other:?}"),
        }))
    }

    fn token(&self, id: &str) -> Result<Option<String>, StoreError> {
        let found = self.runtime.block_on(self.store.notification_token(id))?;
        Ok(found.map(|credential| match credential {
            Credential::Login(login) => login.password.expose().to_owned(),
            other => panic!("{other:?}"),
        }))
    }

    /// What those who follow are told of this one.
    fn followed(&self, id: &str) -> Option<Stored> {
        let all = self.store.registries().borrow().clone();
        all.iter().find(|stored| stored.id == id).cloned()
    }

    fn tidy(&self, patience: Duration) -> usize {
        self.runtime.block_on(self.store.store.tidy(patience)).unwrap()
    }
}

/// One that goes on while nobody waits for it.
fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().unwrap()
}

async fn open(case: &Case<'_>, secrets: bool) -> Kubernetes {
    open_as(case, case.cluster.kubeconfig(), secrets).await
}

async fn open_as(case: &Case<'_>, kubeconfig: &Path, secrets: bool) -> Kubernetes {
    let access = Access::Kubeconfig(kubeconfig.to_owned());
    let connect = move || {
        let access = access.clone();
        let connected = async move { access.connect().await.map(|server| server.client) };
        Box::pin(async { connected.await.map_err(|error| error.to_string()) }) as _
    };
    Kubernetes::open(Box::new(connect), case.namespace.clone(), secrets)
        .await
        .unwrap()
}

fn draft(url: &str, pull: Change) -> Draft {
    Draft {
        spec: RegistrySpec {
            url: Some(url.to_owned()),
            ..RegistrySpec::default()
        },
        pull,
        push: Change::Keep,
        notify: Change::Keep,
    }
}

fn login(password: &str) -> Change {
    Change::Set(Credential::Login(Login {
        username: "robot".to_owned(),
        password: Password::new(password.to_owned()),
    }))
}

fn registry(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "waypost.dev/v1alpha1", "kind": "Registry", "metadata": {"name": name}, "spec": spec})
}

/// The Secrets that Waypost wrote in the test's namespace.
fn secrets(case: &Case<'_>) -> Vec<Value> {
    let found = case
        .admin
        .get(&format!("{}?labelSelector=waypost.dev/registry", case.path("secrets")));
    found.unwrap()["items"].as_array().unwrap().clone()
}

fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap().to_owned()
}

const REGISTRIES: &str = "/apis/waypost.dev/v1alpha1/registries";

const PUSHES: &str = "/apis/waypost.dev/v1alpha1/pushes";

#[test]
fn a_store_in_the_kubernetes_api_is_one() {
    on_a_cluster_with_registries("contract", |case| {
        let able = Able {
            references: false,
            many: 30,
        };
        // Followed, as a process follows it; the store of the last test gets in nobody's way.
        runtime().block_on(contract::holds(
            async || {
                let kubectl = ["delete", "registries,pushes", "--all", "--wait"];
                tokio::task::block_in_place(|| case.kubectl(&kubectl).exits(0));
                Followed::new(open(case, true).await)
            },
            able,
        ));
    });
}

/// A store whose watches run for as long as it is there, on a thread of their own: they belong to no runtime's tasks.
struct Followed {
    store: Arc<Kubernetes>,
    said: Arc<Mutex<Option<Event>>>,
    end: Option<oneshot::Sender<()>>,
    watches: Option<JoinHandle<()>>,
}

impl Followed {
    fn new(store: Kubernetes) -> Self {
        let store = Arc::new(store);
        let said = Arc::new(Mutex::new(None));
        let (end, ended) = oneshot::channel();
        let (followed, heard) = (store.clone(), said.clone());
        let watches = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                tokio::select! {
                    _ = ended => {}
                    never = followed.run(|event| *heard.lock().unwrap() = Some(event)) => match never {},
                }
            });
        });
        Self {
            store,
            said,
            end: Some(end),
            watches: Some(watches),
        }
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        drop(self.end.take());
        self.watches.take().unwrap().join().unwrap();
    }
}

impl Pushes for Followed {
    fn index(&self) -> watch::Receiver<Index> {
        self.store.index()
    }

    fn push<'s>(&'s self, id: &'s PushId) -> BoxFuture<'s, Result<Option<Record>, StoreError>> {
        self.store.push(id)
    }

    fn pushes<'s>(&'s self, query: &'s PushQuery) -> BoxFuture<'s, Result<PushPage, StoreError>> {
        self.store.pushes(query)
    }

    fn happened(&self, events: Vec<Happened>) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        self.store.happened(events)
    }

    fn copies(&self) -> watch::Receiver<Copies> {
        self.store.copies()
    }

    fn ask(&self, order: Order) -> BoxFuture<'_, Result<Asked, StoreError>> {
        self.store.ask(order)
    }

    fn ask_from_aside(&self, order: Order) -> BoxFuture<'_, Result<(), StoreError>> {
        self.store.ask_from_aside(order)
    }

    fn copy<'s>(&'s self, id: &'s PushId) -> BoxFuture<'s, Result<Option<Copy>, StoreError>> {
        self.store.copy(id)
    }
}

impl Store for Followed {
    fn registries(&self) -> watch::Receiver<Registries> {
        self.store.registries()
    }

    fn registry<'s>(&'s self, id: &'s str) -> BoxFuture<'s, Result<Option<Stored>, StoreError>> {
        self.store.registry(id)
    }

    fn list(&self) -> BoxFuture<'_, Result<Registries, StoreError>> {
        self.store.list()
    }

    fn create<'s>(&'s self, id: &'s str, draft: Draft) -> BoxFuture<'s, Result<Stored, StoreError>> {
        self.store.create(id, draft)
    }

    fn replace<'s>(
        &'s self,
        id: &'s str,
        draft: Draft,
        expected: Option<&'s Version>,
    ) -> BoxFuture<'s, Result<Stored, StoreError>> {
        self.store.replace(id, draft, expected)
    }

    fn delete<'s>(&'s self, id: &'s str, expected: Option<&'s Version>) -> BoxFuture<'s, Result<(), StoreError>> {
        self.store.delete(id, expected)
    }

    fn credentials<'s>(&'s self, id: &'s str) -> BoxFuture<'s, Result<Credentials, StoreError>> {
        self.store.credentials(id)
    }

    fn notification_token<'s>(&'s self, id: &'s str) -> BoxFuture<'s, Result<Option<Credential>, StoreError>> {
        self.store.notification_token(id)
    }

    fn keys<'s>(&'s self, id: &'s str) -> BoxFuture<'s, Result<Keys, StoreError>> {
        self.store.keys(id)
    }

    fn issued<'s>(&'s self, id: &'s str, token: Token) -> BoxFuture<'s, Result<(), StoreError>> {
        self.store.issued(id, token)
    }

    fn tell<'s>(&'s self, id: &'s str, news: News) -> BoxFuture<'s, ()> {
        self.store.tell(id, news)
    }

    fn report<'s>(&'s self, id: &'s str, conditions: Vec<Condition>) -> BoxFuture<'s, Result<(), StoreError>> {
        self.store.report(id, conditions)
    }
}

#[test]
fn a_credential_is_a_secret_of_its_own_that_goes_with_its_registry() {
    on_a_cluster_with_registries("secrets", |case| {
        let home = Home::open(case);
        home.create("cern", draft("r.io", login("first"))).unwrap();
        let [first] = &secrets(case)[..] else { panic!() };
        let object = case.admin.get(&format!("{REGISTRIES}/cern")).unwrap();
        assert_eq!(first["type"], "kubernetes.io/basic-auth");
        assert_eq!(first["immutable"], true);
        assert_eq!(first["metadata"]["labels"]["app.kubernetes.io/managed-by"], "waypost");
        assert_eq!(first["metadata"]["labels"]["waypost.dev/registry"], "cern");
        assert_eq!(
            first["metadata"]["ownerReferences"][0]["uid"],
            object["metadata"]["uid"]
        );
        assert_eq!(
            object["spec"]["pullCredential"]["secretName"],
            first["metadata"]["name"]
        );
        // Another one takes its place, together with the host.
        home.replace("cern", draft("s.io", login("second"))).unwrap();
        let [second] = &secrets(case)[..] else { panic!() };
        let object = case.admin.get(&format!("{REGISTRIES}/cern")).unwrap();
        assert_ne!(name(first), name(second));
        assert_eq!(
            second["metadata"]["ownerReferences"][0]["uid"],
            object["metadata"]["uid"]
        );
        assert_eq!(
            object["spec"]["pullCredential"]["secretName"],
            second["metadata"]["name"]
        );
        assert_eq!(object["spec"]["url"], "s.io");
        assert!(!object.to_string().contains("second"), "{object}");
        // Deleted here, and by somebody else.
        home.delete("cern").unwrap();
        assert_eq!(secrets(case), [] as [Value; 0]);
        home.create("cern", draft("r.io", login("third"))).unwrap();
        case.kubectl(&["delete", "registry", "cern"]).exits(0);
        eventually("the Secret is gone", || secrets(case).is_empty().then_some(()));
        eventually("nobody follows it", || home.followed("cern").is_none().then_some(()));
    });
}

#[test]
fn what_is_left_of_a_write_that_failed_is_found_and_nothing_else() {
    on_a_cluster_with_registries("orphans", |case| {
        let home = Home::open(case);
        home.create("used", draft("r.io", login("used"))).unwrap();
        // Refused by the API server, after the Secret was written: nothing is left.
        let mut refused = draft("r.io", login("refused"));
        refused.spec.display_name = Some("x".repeat(200));
        let error = home.create("refused", refused).unwrap_err();
        assert!(
            matches!(&error, StoreError::Unsupported(why) if why.contains("displayName")),
            "{error}"
        );
        assert_eq!(secrets(case).len(), 1);
        // As somebody leaves it who dies between the two writes.
        let label = |id: &str| json!({"app.kubernetes.io/managed-by": "waypost", "waypost.dev/registry": id});
        let secret = |name: &str, labels: Value| {
            json!({"metadata": {"name": name, "labels": labels}, "type": "kubernetes.io/basic-auth",
                "stringData": {"username": "robot", "password": "x"}})
        };
        for (name, labels) in [
            ("dead-pull-1", label("dead")),
            ("used-pull-1", label("used")),
            ("mine", json!({"waypost.dev/registry": "used"})),
            ("yours", json!({})),
            ("named", label("named")),
        ] {
            case.create("secrets", &secret(name, labels)).unwrap();
        }
        let named = registry(
            "named",
            &json!({"url": "r.io", "pullCredential": {"secretName": "named"}}),
        );
        let named = case.admin.post(REGISTRIES, &named).unwrap();
        // Somebody may be about to name them: nothing goes at first sight, nor before its time.
        assert_eq!(home.tidy(Duration::ZERO), 0);
        assert_eq!(home.tidy(Duration::from_secs(600)), 0);
        assert_eq!(home.tidy(Duration::ZERO), 2);
        assert_eq!(home.tidy(Duration::ZERO), 0);
        let all = case.admin.get(&case.path("secrets")).unwrap();
        let mut left: Vec<_> = all["items"].as_array().unwrap().iter().map(name).collect();
        left.retain(|name| !name.starts_with("used-pull-") || name == "used-pull-1");
        assert_eq!(left, ["mine", "named", "yours"]);
        assert_eq!(home.password("used"), Ok(Some("used".to_owned())));
        let adopted = case.admin.get(&case.path("secrets/named")).unwrap();
        assert_eq!(
            adopted["metadata"]["ownerReferences"][0]["uid"],
            named["metadata"]["uid"]
        );
    });
}

#[test]
fn a_secret_that_a_user_made_is_read_and_left_to_him() {
    on_a_cluster_with_registries("user-secrets", |case| {
        let home = Home::open(case);
        let spec = json!({"url": "r.io/team", "pullCredential": {"secretName": "mine"}});
        case.admin.post(REGISTRIES, &registry("cern", &spec)).unwrap();
        let missing = eventually("the registry is followed", || home.followed("cern"));
        assert!(missing.pull.is_some());
        let said = |home: &Home| home.password("cern").unwrap_err().to_string();
        let place = format!(
            "the Secret mine in the namespace {}, which is the pullCredential of the Registry cern, ",
            case.namespace
        );
        assert_eq!(said(&home), format!("{place}does not exist"));
        let path = case.path("secrets/mine");
        for (kind, data, expected) in [
            (
                "Opaque",
                json!({"username": "u", "token": "SECRET"}),
                Err(
                    "has no `password`: it needs `username` and `password`, or to be of the type kubernetes.io/dockerconfigjson",
                ),
            ),
            (
                "Opaque",
                json!({"username": "u", "password": ""}),
                Err("has a `password` that is empty or no text"),
            ),
            (
                "kubernetes.io/dockerconfigjson",
                json!({".dockerconfigjson": r#"{"auths": {"s.io": {"username": "u", "password": "SECRET"}}}"#}),
                Err("is of no use: it has no entry for r.io/team: those it has are for s.io"),
            ),
            // A file's last newline is nobody's password.
            ("Opaque", json!({"username": "u\n", "password": "p\n"}), Ok("p")),
            (
                "kubernetes.io/basic-auth",
                json!({"username": "u", "password": "q"}),
                Ok("q"),
            ),
            (
                "kubernetes.io/dockerconfigjson",
                json!({".dockerconfigjson": r#"{"auths": {"https://r.io/": {"auth": "dTpw"}}}"#}),
                Ok("p"),
            ),
        ] {
            let before = home.followed("cern").unwrap();
            let secret = json!({"metadata": {"name": "mine"}, "type": kind, "stringData": data});
            case.create("secrets", &secret).unwrap();
            match expected {
                Ok(password) => assert_eq!(home.password("cern"), Ok(Some(password.to_owned()))),
                Err(why) => assert_eq!(said(&home), format!("{place}{why}")),
            }
            let after = eventually("another edition is followed", || {
                home.followed("cern").filter(|after| after.pull != before.pull)
            });
            assert_eq!(after.version, before.version);
            assert_eq!(home.get("cern"), Some(after));
            case.admin.delete(&path).unwrap();
            eventually("it is gone", || {
                (home.followed("cern")?.pull == missing.pull).then_some(())
            });
        }
        // It stays, whatever becomes of the registry, and an edit of it is seen.
        let secret = json!({"metadata": {"name": "mine"}, "stringData": {"username": "u", "password": "p"}});
        case.create("secrets", &secret).unwrap();
        let before = eventually("it is there", || {
            home.followed("cern").filter(|now| now.pull != missing.pull)
        });
        case.admin
            .patch(&path, &json!({"stringData": {"password": "edited"}}))
            .unwrap();
        let edited = eventually("the edit is seen", || {
            home.followed("cern").filter(|now| now.pull != before.pull)
        });
        assert_eq!(home.password("cern"), Ok(Some("edited".to_owned())));
        let kept = home.replace("cern", draft("s.io", Change::Keep)).unwrap();
        assert_eq!(kept.pull, edited.pull);
        let set = home.replace("cern", draft("s.io", login("by REST"))).unwrap();
        assert_ne!(set.pull, edited.pull);
        home.delete("cern").unwrap();
        home.tidy(Duration::ZERO);
        home.tidy(Duration::ZERO);
        let left = case.admin.get(&path).unwrap();
        assert_eq!(left["metadata"]["ownerReferences"], Value::Null);
        assert_eq!(secrets(case), [] as [Value; 0]);
    });
}

#[test]
fn a_notification_token_is_in_a_secret_apart_and_stands_in_no_credentials_way() {
    on_a_cluster_with_registries("tokens", |case| {
        let home = Home::open(case);
        let set = |text: &str| Change::Set(Credential::token(Password::new(text.to_owned())));
        let with = |notify| Draft {
            notify,
            ..draft("r.io", Change::Keep)
        };
        home.create("cern", draft("r.io", login("pull"))).unwrap();
        home.replace("cern", with(set("first-first-first"))).unwrap();
        let token = || {
            secrets(case)
                .into_iter()
                .find(|secret| name(secret).starts_with("cern-notify-"))
                .unwrap()
        };
        let first = token();
        assert_eq!((&first["type"], &first["immutable"]), (&json!("Opaque"), &json!(true)));
        assert_eq!(first["data"], json!({"token": "Zmlyc3QtZmlyc3QtZmlyc3Q="}));
        assert_eq!(home.token("cern"), Ok(Some("first-first-first".to_owned())));
        assert_eq!(
            home.replace("cern", with(set("first-first-first"))).unwrap().notify,
            home.get("cern").unwrap().notify
        );
        home.replace("cern", with(set("second-second-second"))).unwrap();
        assert_ne!(name(&first), name(&token()));
        assert_eq!(secrets(case).len(), 2);
        assert_eq!(home.password("cern"), Ok(Some("pull".to_owned())));
        home.delete("cern").unwrap();
        assert_eq!(secrets(case), [] as [Value; 0]);

        // A Secret that somebody made.
        let spec = json!({"url": "r.io", "notificationToken": {"secretName": "mine"}});
        case.admin.post(REGISTRIES, &registry("mine", &spec)).unwrap();
        let missing = eventually("the registry is followed", || home.followed("mine"));
        let said = home.token("mine").unwrap_err().to_string();
        let place = format!(
            "the Secret mine in the namespace {}, which is the notificationToken of the Registry mine, ",
            case.namespace
        );
        assert_eq!(said, format!("{place}does not exist"));
        assert_eq!(home.password("mine"), Ok(None), "it is needed for nothing else");
        for (data, expected) in [
            (
                json!({"username": "SECRET"}),
                Err("has neither a `token` nor a `password`"),
            ),
            (json!({"token": ""}), Err("has a `token` that is empty or no text")),
            (json!({"token": "t\n", "password": "p", "username": "u"}), Ok("t")),
            (json!({"password": "p\n"}), Ok("p")),
        ] {
            case.create("secrets", &json!({"metadata": {"name": "mine"}, "stringData": data}))
                .unwrap();
            match expected {
                Ok(token) => assert_eq!(home.token("mine"), Ok(Some(token.to_owned()))),
                Err(why) => assert_eq!(home.token("mine").unwrap_err().to_string(), format!("{place}{why}")),
            }
            let there = eventually("another edition is followed", || {
                home.followed("mine").filter(|now| now.notify != missing.notify)
            });
            assert_eq!(there.version, missing.version);
            case.admin.delete(&case.path("secrets/mine")).unwrap();
            eventually("it is gone", || {
                (home.followed("mine")?.notify == missing.notify).then_some(())
            });
        }
    });
}

#[test]
fn what_helm_declares_is_not_changed_here() {
    on_a_cluster_with_registries("helm", |case| {
        let home = Home::open(case);
        let mut object = registry("cern", &json!({"url": "r.io"}));
        object["metadata"]["labels"] = json!({"app.kubernetes.io/managed-by": "Helm"});
        case.admin.post(REGISTRIES, &object).unwrap();
        let stored = home.get("cern").unwrap();
        assert_eq!(stored.declared_by, DeclaredBy::Helm);
        let declared = StoreError::Declared("cern".to_owned());
        assert_eq!(home.replace("cern", draft("s.io", login("p"))), Err(declared.clone()));
        assert_eq!(home.delete("cern"), Err(declared));
        assert_eq!(
            home.create("cern", draft("s.io", login("p"))),
            Err(StoreError::Exists("cern".to_owned()))
        );
        assert_eq!(home.get("cern"), Some(stored));
        assert_eq!(secrets(case), [] as [Value; 0]);
        home.runtime
            .block_on(home.store.report("cern", vec![answers()]))
            .unwrap();
        assert_eq!(home.get("cern").unwrap().conditions, [answers()]);
    });
}

fn answers() -> Condition {
    Condition {
        kind: ConditionKind::Reachable,
        status: Status::True,
        reason: "Answers".to_owned(),
        message: "it answers within 12 ms".to_owned(),
        last_transition_time: "2026-11-21T10:00:00.5Z".parse().unwrap(),
    }
}

#[test]
fn the_rights_that_are_listed_are_enough_for_the_controller_and_for_the_webhook() {
    on_a_cluster_with_registries("rights", |case| {
        let release = Release::new(case);
        let directory = Directory::new();
        release.controller_kubeconfig(&directory);
        let writer = Home::of(case, &directory.path().join("kubeconfig"), true);
        let created = writer.create("cern", draft("r.io", login("p"))).unwrap();
        let report = writer.store.report("cern", vec![answers()]);
        writer.runtime.block_on(report).unwrap();
        let written = writer.replace("cern", draft("r.io", login("q"))).unwrap();
        assert_ne!(written.pull, created.pull);
        assert_eq!(writer.password("cern"), Ok(Some("q".to_owned())));
        assert_eq!(secrets(case).len(), 1);
        // Tokens that are issued, and what is told of them.
        writer.create("ecr", tokens::draft()).unwrap();
        for text in ["first", "second"] {
            writer.issue("ecr", &tokens::token(text)).unwrap();
            assert_eq!(writer.password("ecr"), Ok(Some(text.to_owned())));
        }
        let news = News {
            warning: false,
            reason: "TokenIssued",
            note: "by the rights of the controller".to_owned(),
        };
        writer.runtime.block_on(writer.store.tell("ecr", news));
        let events = case
            .admin
            .get("/apis/events.k8s.io/v1/namespaces/default/events")
            .unwrap();
        assert!(
            events.to_string().contains("by the rights of the controller"),
            "{events}"
        );
        writer.replace("ecr", draft("r.io", Change::Keep)).unwrap();
        writer.delete("ecr").unwrap();
        // One that nobody names, and one that has no owner.
        let secret = name(&secrets(case)[0]);
        let unowned = json!({"metadata": {"ownerReferences": null}});
        case.admin
            .patch(&case.path(&format!("secrets/{secret}")), &unowned)
            .unwrap();
        let labels = json!({"app.kubernetes.io/managed-by": "waypost", "waypost.dev/registry": "dead"});
        case.create("secrets", &json!({"metadata": {"name": "dead", "labels": labels}}))
            .unwrap();
        assert_eq!(writer.tidy(Duration::ZERO), 0);
        assert_eq!(writer.tidy(Duration::ZERO), 1);
        let [owned] = &secrets(case)[..] else { panic!() };
        assert_eq!(owned["metadata"]["ownerReferences"][0]["name"], "cern");
        // A replica of the webhook may read no Secret, and knows registries all the same.
        let directory = Directory::new();
        release.webhook_kubeconfig(&directory);
        let reader = Home::of(case, &directory.path().join("kubeconfig"), false);
        let read = reader.get("cern").unwrap();
        assert!(read.pull.is_some() && read.push.is_none());
        assert_eq!((&read.spec, &read.version), (&written.spec, &written.version));
        assert_eq!(reader.followed("cern"), Some(read));
        assert!(matches!(reader.password("cern"), Err(StoreError::Unsupported(_))));
        let error = reader.create("new", draft("r.io", login("p"))).unwrap_err().to_string();
        assert!(error.contains("grant the right to create it"), "{error}");
        let kubeconfig = directory.path().join("kubeconfig");
        let access = Access::Kubeconfig(kubeconfig.clone());
        let opened = reader.runtime.block_on(async {
            let client = access.connect().await.unwrap().client;
            let connect = move || Box::pin(std::future::ready(Ok(client.clone()))) as _;
            Kubernetes::open(Box::new(connect), case.namespace.clone(), true)
                .await
                .err()
        });
        let error = opened.unwrap().to_string();
        assert!(
            error.starts_with("secrets: the API server refuses it (403): "),
            "{error}"
        );
        writer.replace("cern", draft("s.io", Change::Keep)).unwrap();
        eventually("the change is followed", || {
            (reader.followed("cern")?.spec.url.as_deref() == Some("s.io")).then_some(())
        });
        writer.delete("cern").unwrap();
        eventually("the end is followed", || {
            reader.followed("cern").is_none().then_some(())
        });
    });
}

#[test]
fn the_rights_that_are_listed_are_enough_to_keep_tokens_and_to_tell_of_them() {
    on_a_cluster_with_registries("token-rights", |case| {
        let release = Release::new(case);
        let directory = Directory::new();
        release.controller_kubeconfig(&directory);
        let writer = Home::of(case, &directory.path().join("kubeconfig"), true);
        let spec: RegistrySpec = serde_json::from_value(json!({"location": "gcr"})).unwrap();
        let mut ours = draft("gcr.io", Change::Keep);
        ours.spec = spec.clone();
        writer.create("google", ours).unwrap();
        for password in ["first", "second"] {
            let token = Token {
                login: Login {
                    username: "oauth2accesstoken".to_owned(),
                    password: Password::new(password.to_owned()),
                },
                issuance: Issuance {
                    issued_at: "2026-11-21T10:00:00Z".parse().unwrap(),
                    expires_at: "2026-11-21T11:00:00Z".parse().unwrap(),
                    account: None,
                    place: Issuance::place(&spec),
                    origin: Issuance::origin(&spec, None),
                },
            };
            let kept = writer.store.issued("google", token);
            writer.runtime.block_on(kept).unwrap();
            assert_eq!(writer.password("google"), Ok(Some(password.to_owned())));
        }
        let news = News {
            warning: true,
            reason: "TokenNotIssued",
            note: "a test".to_owned(),
        };
        writer.runtime.block_on(writer.store.tell("google", news));
        let uid = case.admin.get(&format!("{REGISTRIES}/google")).unwrap()["metadata"]["uid"].clone();
        let events = case
            .admin
            .get("/apis/events.k8s.io/v1/namespaces/default/events")
            .unwrap();
        let told = events["items"].as_array().unwrap().iter();
        assert_eq!(told.filter(|event| event["regarding"]["uid"] == uid).count(), 1);
        // Nobody issues its tokens any more, and the last one goes.
        let token = case.path("secrets/google-token");
        case.admin.get(&token).unwrap();
        writer.replace("google", draft("r.io", Change::Keep)).unwrap();
        writer.tidy(Duration::ZERO);
        assert_eq!(case.admin.get(&token).unwrap_err().code, 404);
    });
}

#[test]
fn a_cluster_that_does_not_know_registries_has_none_until_it_does() {
    on_a_cluster_with_registries("unknown", |case| {
        let definition = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/registries.waypost.dev";
        let mut object = case.admin.get(definition).unwrap();
        case.admin.delete(definition).unwrap();
        eventually("nobody knows them", || {
            case.admin.get(REGISTRIES).is_err().then_some(())
        });
        let runtime = runtime();
        let store = runtime.block_on(open(case, true));
        assert!(runtime.block_on(store.list()).unwrap().is_empty());
        let error = runtime
            .block_on(store.create("cern", draft("r.io", login("p"))))
            .unwrap_err();
        assert!(error.to_string().contains("waypost crds | kubectl apply"), "{error}");
        assert_eq!(secrets(case), [] as [Value; 0]);
        let meta = object["metadata"].as_object_mut().unwrap();
        meta.retain(|key, _| key == "name");
        case.admin
            .post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &object)
            .unwrap();
        eventually("they are known again", || {
            runtime.block_on(store.create("cern", draft("r.io", login("p")))).ok()
        });
        assert_eq!(secrets(case).len(), 1);
    });
}
