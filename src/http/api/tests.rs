use std::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use axum::{body::Bytes, http::request::Builder};
use futures_util::future::{self, BoxFuture};
use http_body_util::{BodyExt, channel::Channel};
use serde_json::{Value, json};
use tokio::sync::watch;
use tower::ServiceExt;

use super::*;
use crate::{
    authorization::Tokens,
    pushes::{Copies, Event, Index, Order, PushId, Record},
    registry::{Condition, ConditionKind, Credential, Credentials, Keys, Password, Status},
    store,
    store::{
        Copy, DeclaredBy, Draft, Embedded, News, PushPage, PushQuery, Pushes, Registries, StoreError, Stored, Token,
    },
};

mod copied;
mod documented;
mod issued;
mod notified;
mod refused;
mod registered;
mod reported;

/// What is asked of the router, and what it keeps.
struct Asked {
    router: Router,
    store: Arc<Faulty>,
    served: Arc<Mutex<Vec<Served>>>,
    needs: Arc<Mutex<Vec<Need>>>,
}

struct Reply {
    status: u16,
    headers: axum::http::HeaderMap,
    text: String,
}

/// A store that fails when it is told to.
struct Faulty {
    store: Embedded,
    fault: Mutex<Option<StoreError>>,
    /// The same for what is told of pushes.
    untold: Mutex<Option<StoreError>>,
    /// The same for what is asked for.
    unasked: Mutex<Option<StoreError>>,
    /// How many replacements others are quicker than.
    overtaken: AtomicUsize,
    panics: AtomicBool,
    hangs: AtomicBool,
    helm: AtomicBool,
}

struct Needs(Arc<Mutex<Vec<Need>>>);

impl Usage for Needs {
    fn needed_by(&self, _: &str) -> Vec<Need> {
        self.0.lock().unwrap().clone()
    }
}

impl Asked {
    fn new() -> Self {
        let password = |text: &str| Password::new(text.to_owned());
        Self::by(Tokens::new(&password("the-admin"), &password("the-push")).unwrap())
    }

    /// Where somebody else says who may do what.
    fn by(authorizer: impl Authorizer + 'static) -> Self {
        let store = Arc::new(Faulty {
            store: Embedded::in_memory().unwrap(),
            fault: Mutex::default(),
            untold: Mutex::default(),
            unasked: Mutex::default(),
            overtaken: AtomicUsize::new(0),
            panics: AtomicBool::new(false),
            hangs: AtomicBool::new(false),
            helm: AtomicBool::new(false),
        });
        let (served, needs) = (Arc::default(), Arc::default());
        let told: Arc<Mutex<Vec<Served>>> = Arc::clone(&served);
        let router = router(ApiState {
            store: store.clone(),
            authorizer: Arc::new(authorizer),
            notifications: Arc::new(Notifications::new(store.clone(), Arc::new(|_, _, _| {})).unwrap()),
            usage: Arc::new(Needs(Arc::clone(&needs))),
            served: Arc::new(move |served| told.lock().unwrap().push(served)),
            limits: Limits::default(),
        });
        Self {
            router,
            store,
            served,
            needs,
        }
    }

    async fn ask(&self, request: Builder, body: impl Into<Body>) -> Reply {
        let request = request.body(body.into()).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let text = body.collect().await.unwrap().to_bytes();
        let reply = Reply {
            status: parts.status.as_u16(),
            headers: parts.headers,
            text: String::from_utf8(text.to_vec()).unwrap(),
        };
        assert!(!reply.text.contains("hunter2"), "{}", reply.text);
        assert_eq!(reply.headers["cache-control"], "no-store");
        if reply.status >= 400 && !reply.text.is_empty() {
            assert_eq!(reply.headers["content-type"], "application/problem+json");
            assert_eq!(reply.json()["status"], reply.status);
        }
        reply
    }

    /// As admin, with a body if it is not null.
    async fn admin(&self, method: &str, path: &str, body: Value) -> Reply {
        let request = admin(method, path);
        match body {
            Value::Null => self.ask(request, Body::empty()).await,
            body => {
                self.ask(request.header(CONTENT_TYPE, "application/json"), body.to_string())
                    .await
            }
        }
    }

    /// Registers `corp` with a password.
    async fn registered(&self) -> Reply {
        let body = json!({
            "name": "corp", "registry_url": "r.io/team", "registry_username": "u", "registry_password": "hunter2",
        });
        self.admin("POST", "/v1/registries", body).await.is(201)
    }

    async fn credentials(&self, id: &str) -> Credentials {
        self.store.store.credentials(id).await.unwrap()
    }

    fn fails(&self, error: StoreError) {
        *self.store.fault.lock().unwrap() = Some(error);
    }
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    #[track_caller]
    fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// That it is this problem, with these errors if any: `field: message`.
    #[track_caller]
    fn says(self, kind: Kind, errors: &[&str]) -> Self {
        let json = self.json();
        assert_eq!(
            (&json["type"], self.status),
            (&json!(kind.uri()), kind.status().as_u16()),
            "{json}"
        );
        let said: Vec<_> = json["errors"].as_array().into_iter().flatten().map(said).collect();
        assert_eq!(said, errors, "{json}");
        self
    }
}

fn said(error: &Value) -> String {
    let message = error["message"].as_str().unwrap();
    match error["field"].as_str() {
        Some(field) => format!("{field}: {message}"),
        None => message.to_owned(),
    }
}

fn admin(method: &str, path: &str) -> Builder {
    request(method, path).header("authorization", "Bearer the-admin")
}

fn request(method: &str, path: &str) -> Builder {
    axum::http::Request::builder().method(method).uri(path)
}

impl Faulty {
    fn or<'s, T: Send + 's>(
        &'s self,
        work: BoxFuture<'s, Result<T, StoreError>>,
    ) -> BoxFuture<'s, Result<T, StoreError>> {
        if let Some(fault) = self.fault.lock().unwrap().take() {
            return Box::pin(future::ready(Err(fault)));
        }
        assert!(!self.panics.load(Ordering::Relaxed), "it is told to");
        if self.hangs.load(Ordering::Relaxed) {
            return Box::pin(future::pending());
        }
        work
    }
}

impl Pushes for Faulty {
    fn index(&self) -> watch::Receiver<Index> {
        self.store.index()
    }

    fn push<'s>(&'s self, id: &'s PushId) -> BoxFuture<'s, Result<Option<Record>, StoreError>> {
        self.or(self.store.push(id))
    }

    fn pushes<'s>(&'s self, query: &'s PushQuery) -> BoxFuture<'s, Result<PushPage, StoreError>> {
        self.or(self.store.pushes(query))
    }

    fn happened(&self, events: Vec<Event>) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        match self.untold.lock().unwrap().take() {
            Some(fault) => Box::pin(future::ready(Err(fault))),
            None => self.or(self.store.happened(events)),
        }
    }

    fn copies(&self) -> watch::Receiver<Copies> {
        self.store.copies()
    }

    fn ask(&self, order: Order) -> BoxFuture<'_, Result<store::Asked, StoreError>> {
        match self.unasked.lock().unwrap().take() {
            Some(fault) => Box::pin(future::ready(Err(fault))),
            None => self.or(self.store.ask(order)),
        }
    }

    fn ask_from_aside(&self, order: Order) -> BoxFuture<'_, Result<(), StoreError>> {
        self.or(self.store.ask_from_aside(order))
    }

    fn copy<'s>(&'s self, id: &'s PushId) -> BoxFuture<'s, Result<Option<Copy>, StoreError>> {
        self.or(self.store.copy(id))
    }
}

impl Store for Faulty {
    fn registries(&self) -> watch::Receiver<Registries> {
        self.store.registries()
    }

    fn registry<'s>(&'s self, id: &'s str) -> BoxFuture<'s, Result<Option<Stored>, StoreError>> {
        self.or(self.store.registry(id))
    }

    fn list(&self) -> BoxFuture<'_, Result<Registries, StoreError>> {
        self.or(self.store.list())
    }

    fn create<'s>(&'s self, id: &'s str, draft: Draft) -> BoxFuture<'s, Result<Stored, StoreError>> {
        self.or(self.store.create(id, draft))
    }

    fn replace<'s>(
        &'s self,
        id: &'s str,
        draft: Draft,
        expected: Option<&'s Version>,
    ) -> BoxFuture<'s, Result<Stored, StoreError>> {
        if self.helm.load(Ordering::Relaxed) {
            return Box::pin(future::ready(Err(StoreError::Declared(id.to_owned()))));
        }
        let overtaken = self
            .overtaken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |times| times.checked_sub(1));
        if overtaken.is_err() {
            return self.store.replace(id, draft, expected);
        }
        Box::pin(async move {
            let mut other = draft.clone();
            other.spec.display_name = Some(format!("other {overtaken:?}"));
            self.store.replace(id, other, None).await?;
            self.store.replace(id, draft, expected).await
        })
    }

    fn delete<'s>(&'s self, id: &'s str, expected: Option<&'s Version>) -> BoxFuture<'s, Result<(), StoreError>> {
        if self.helm.load(Ordering::Relaxed) {
            return Box::pin(future::ready(Err(StoreError::Declared(id.to_owned()))));
        }
        self.store.delete(id, expected)
    }

    fn credentials<'s>(&'s self, id: &'s str) -> BoxFuture<'s, Result<Credentials, StoreError>> {
        self.store.credentials(id)
    }

    fn notification_token<'s>(&'s self, id: &'s str) -> BoxFuture<'s, Result<Option<Credential>, StoreError>> {
        self.or(self.store.notification_token(id))
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
