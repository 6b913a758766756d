//! The REST API: `/v1/…`, for people, scripts and programs that say which registries there are, and what was pushed to them.
//!
//! [`router`] answers every path; [`route`](self) has the list of them, from which the OpenAPI document is made, too. What a request
//! goes through, in this order: the token, the method, the body, the registry. Nobody's bytes are parsed before it is known whose they
//! are; where a body names the registry that a right is needed for, the token is asked about again when it is known. What goes wrong is told by a problem document (RFC 9457), and no answer, log line or metric has a credential in it.

mod body;
mod copy;
mod credentials;
mod guard;
mod json;
mod keys;
mod notify;
mod openapi;
mod problem;
mod push;
mod pushes;
mod query;
mod registries;
mod registry;
mod report;
mod route;

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, HttpBody},
    extract::{Request, State},
    http::{
        HeaderValue, Method, Response, StatusCode,
        header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, LOCATION},
    },
};
use futures_util::FutureExt;
use tokio::time::Instant;

pub use self::guard::Patience;
use self::{
    guard::Guard,
    json::Shape,
    problem::{Kind, Problem},
    route::{Operation, Route},
};
use super::{server, throttle::Throttle};
use crate::{
    authorization::Authorizer,
    notifications::Notifications,
    pushes::PushId,
    registry::id_problem,
    store::{Store, Version},
};

/// What the API works with.
pub struct ApiState {
    /// Where registries and push records are kept.
    pub store: Arc<dyn Store>,
    /// Who may do what.
    pub authorizer: Arc<dyn Authorizer>,
    /// Takes notifications.
    pub notifications: Arc<Notifications>,
    /// What needs a registry.
    pub usage: Arc<dyn Usage>,
    /// Is told of each request that was answered.
    pub served: Observer,
    /// What a request may cost.
    pub limits: Limits,
}

/// Knows what would break without a registry.
pub trait Usage: Send + Sync {
    /// What needs the registry of this id. It must not block.
    fn needed_by(&self, id: &str) -> Vec<Need>;
}

/// Something that needs a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// A rule that names it, as `policy/rule`.
    Rule(String),
    /// So many images were last pushed to it.
    Pushes(usize),
    /// The policies are not known, or not yet: some rule may.
    Unknown,
}

/// Is told of each request that was answered; must not block.
pub type Observer = Arc<dyn Fn(Served) + Send + Sync>;

/// A request that was answered. Each of the three is of a short list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// The path as the OpenAPI document has it, or `other`.
    pub route: &'static str,
    /// The method, or `other`.
    pub method: &'static str,
    /// The status of the answer.
    pub status: u16,
}

/// What a request may cost. The default is what is served with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest body, in bytes.
    pub body: usize,
    /// How long a body may take to arrive.
    pub body_deadline: Duration,
    /// How long an answer may take, the body included.
    pub deadline: Duration,
    /// How wrong tokens are answered.
    pub patience: Patience,
}

/// The API's routes. The server under it has to tell whose connection it is: see
/// [`Server::with_peers`](server::Server::with_peers).
pub fn router(state: ApiState) -> Router {
    let ApiState {
        store,
        authorizer,
        notifications,
        usage,
        served,
        limits,
    } = state;
    let api = Api {
        store,
        notifications,
        usage,
        served,
        limits,
        guard: Guard::new(authorizer, limits.patience),
        registrations: registries::shape(),
        pushes: pushes::shape(),
        retries: pushes::retry_shape(),
        openapi: openapi::document().to_string().into_bytes(),
        refused: Throttle::default(),
    };
    Router::new().fallback(answer).with_state(Arc::new(api))
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 256 << 10,
            body_deadline: Duration::from_secs(10),
            deadline: Duration::from_secs(30),
            patience: Patience::default(),
        }
    }
}

struct Api {
    store: Arc<dyn Store>,
    notifications: Arc<Notifications>,
    usage: Arc<dyn Usage>,
    served: Observer,
    limits: Limits,
    guard: Guard,
    registrations: Shape,
    pushes: Shape,
    retries: Shape,
    openapi: Vec<u8>,
    refused: Throttle,
}

/// What becomes known of a request while it is answered, for its line in the log.
#[derive(Default)]
struct Known {
    /// Whose token it has.
    user: Option<String>,
    /// The registry that it is about. It is an id, whether there is one of it or not.
    registry: Option<String>,
    /// The push that it is about, likewise.
    push: Option<PushId>,
}

/// What is answered where all is well.
#[derive(Default)]
struct Answer {
    status: StatusCode,
    /// JSON, unless there is nothing to say.
    body: Option<Vec<u8>>,
    version: Option<Version>,
    location: Option<String>,
    allow: Option<&'static str>,
}

async fn answer(State(api): State<Arc<Api>>, request: Request) -> Response<Body> {
    let started = Instant::now();
    let id = request_id();
    let route = Route::of(request.uri().path());
    let method = request.method().clone();
    let mut known = Known::of(&route);
    let work = AssertUnwindSafe(api.serve(&route, request, &mut known)).catch_unwind();
    let answer = match tokio::time::timeout(api.limits.deadline, work).await {
        Ok(Ok(answer)) => answer,
        // The panic hook has said where.
        Ok(Err(_)) => Err(Problem::new(
            Kind::Internal,
            format!("this should not have happened: Waypost's log says more of the request {id}"),
        )),
        Err(_) => Err(Problem::new(
            Kind::Unavailable,
            format!(
                "there was no answer within {} s: a change may have been made all the same",
                api.limits.deadline.as_secs_f64()
            ),
        )),
    };
    if let (Some(operation), Err(problem)) = (route.operation(&method), &answer) {
        debug_assert!(
            operation.problems().contains(&problem.kind),
            "{operation:?} is not known to be answered by {problem:?}"
        );
    }
    let mut response = match &answer {
        Ok(answer) => answer.response(),
        Err(problem) => problem.response(&id),
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert("x-request-id", id);
    }
    api.tell(&route, &method, response.status(), answer.err(), known, &id, started);
    if method == Method::HEAD {
        return without_body(response);
    }
    response
}

impl Api {
    async fn serve(&self, route: &Route, request: Request, known: &mut Known) -> Result<Answer, Problem> {
        let (parts, body) = request.into_parts();
        let operation = route.operation(&parts.method);
        let peer = parts
            .extensions
            .get::<server::Peer>()
            .map(|server::Peer(peer)| peer.ip());
        if let (Some(Operation::Notify), Route::Notifications(id, format)) = (operation, route) {
            return self.notify(id, *format, &parts.headers, peer, body, known).await;
        }
        // It says what the source says: whoever makes a client of it, or a page, need be nobody.
        if *route != Route::OpenApi {
            let access = operation.and_then(|operation| operation.access(route));
            self.guard.admit(&parts.headers, peer, access, &mut known.user).await?;
        }
        let Some(operation) = operation else {
            return nothing_there(route, &parts.method);
        };
        let query = query::Query::parse(parts.uri.query(), operation.parameters())?;
        match (operation, route) {
            (Operation::List, _) => self.list(&query).await,
            (Operation::Create, _) => {
                let request = self.read(&self.registrations, &parts.headers, body).await?;
                self.create(request).await
            }
            (Operation::Get, Route::Registry(id)) => self.get(id).await,
            (Operation::Replace, Route::Registry(id)) => {
                let condition = registries::Condition::of(&parts.headers)?;
                let request = self.read(&self.registrations, &parts.headers, body).await?;
                self.replace(id, &condition, request).await
            }
            (Operation::Delete, Route::Registry(id)) => {
                let condition = registries::Condition::of(&parts.headers)?;
                self.delete(id, &condition, query.flag("force")?).await
            }
            (Operation::ListPushes, _) => self.list_pushes(&query).await,
            (Operation::CreatePush, _) => self.create_push(&parts.headers, peer, body, known).await,
            (Operation::RetryPush, Route::Retry(id)) => self.retry_push(id, &parts.headers, body).await,
            (Operation::GetPush, Route::Push(id)) => self.get_push(id).await,
            (Operation::OpenApi, _) => Ok(Answer {
                body: Some(self.openapi.clone()),
                ..Answer::default()
            }),
            (
                Operation::Get
                | Operation::Replace
                | Operation::Delete
                | Operation::Notify
                | Operation::GetPush
                | Operation::RetryPush,
                _,
            ) => nothing_there(route, &parts.method),
        }
    }

    /// Counts a request and writes its line: nothing of its body and its headers, and of its query no more than that.
    #[expect(clippy::too_many_arguments, reason = "they are the fields of the line")]
    fn tell(
        &self,
        route: &Route,
        method: &Method,
        status: StatusCode,
        problem: Option<Problem>,
        known: Known,
        request: &str,
        started: Instant,
    ) {
        let served = Served {
            route: route.template(),
            method: label(method),
            status: status.as_u16(),
        };
        (self.served)(served);
        let Served {
            route: template,
            method,
            status,
        } = served;
        let mut held_back = 0;
        if known.user.is_none() && *route != Route::OpenApi {
            // Nobody's requests do not fill the log.
            match self.refused.pass(std::time::Instant::now()) {
                Some(others) => held_back = others,
                None => return,
            }
        }
        if matches!(route, Route::Notifications(..)) && status == StatusCode::OK {
            // One for each blob that somebody pulls.
            return;
        }
        let problem = problem.map(|problem| problem.kind.title());
        // A name in a cluster is whatever an authenticator makes of it.
        let user = known.user.map(|user| user.escape_debug().to_string());
        tracing::info!(
            method,
            route = template,
            status,
            duration_ms = started.elapsed().as_secs_f64() * 1000.0,
            user,
            registry = known.registry,
            push = known.push.as_ref().map(PushId::as_str),
            problem,
            request,
            held_back,
            "answered {method} {template} with {status}"
        );
    }
}

impl Known {
    /// What the path says, as far as it is what it should be.
    fn of(route: &Route) -> Self {
        let push = match route {
            Route::Push(id) | Route::Retry(id) => PushId::parse(id),
            _ => None,
        };
        let registry = match (route, &push) {
            (Route::Registry(id) | Route::Notifications(id, _), _) if id_problem(id).is_none() => Some(id.clone()),
            (_, Some(push)) => Some(push.registry().to_owned()),
            _ => None,
        };
        Self {
            user: None,
            registry,
            push,
        }
    }
}

impl Answer {
    fn response(&self) -> Response<Body> {
        let mut response = Response::new(match &self.body {
            Some(body) => Body::from(body.clone()),
            None => Body::empty(),
        });
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        if self.body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let entity_tag = self.version.as_ref().map(|version| format!("\"{}\"", version.0));
        for (name, text) in [(ETAG, &entity_tag), (LOCATION, &self.location)] {
            if let Some(value) = text.as_ref().and_then(|text| HeaderValue::from_str(text).ok()) {
                headers.insert(name, value);
            }
        }
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        response
    }
}

/// For somebody who may be here, and asks for what is not.
fn nothing_there(route: &Route, method: &Method) -> Result<Answer, Problem> {
    if *route == Route::Nowhere {
        return Err(Problem::new(
            Kind::NotFound,
            "there is nothing at this path: registries are at /v1/registries, pushes at /v1/pushes, and /v1/openapi.json says what else there is",
        ));
    }
    if method == Method::OPTIONS {
        return Ok(Answer {
            status: StatusCode::NO_CONTENT,
            allow: Some(route.methods()),
            ..Answer::default()
        });
    }
    Err(Problem::method_not_allowed(route.methods()))
}

/// As HEAD has it: what GET would be answered, without the body.
fn without_body(mut response: Response<Body>) -> Response<Body> {
    if let Some(length) = response.body().size_hint().exact() {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    *response.body_mut() = Body::empty();
    response
}

/// Tells requests apart in the log.
fn request_id() -> String {
    let random = ring::rand::generate::<[u8; 8]>(&ring::rand::SystemRandom::new());
    let number = random.map_or(0, |random| u64::from_be_bytes(random.expose()));
    format!("{number:016x}")
}

/// A method of the usual ones: anybody may send any other.
fn label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests;
