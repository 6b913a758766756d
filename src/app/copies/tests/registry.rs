//! A registry in memory, whose uploads wait where a test says so.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Router,
    body::{Bytes, to_bytes},
    extract::Request,
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use hyper::{
    Method, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, LOCATION, WWW_AUTHENTICATE},
};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::oci::testing::Served;

#[derive(Clone)]
pub(super) struct Fake {
    inner: Arc<Mutex<Inner>>,
    /// Uploads of blobs that are longer are answered when it is more; nothing is while it is 0.
    open: Arc<watch::Sender<usize>>,
}

#[derive(Default)]
struct Inner {
    blobs: BTreeMap<(String, String), Bytes>,
    manifests: BTreeMap<(String, String), Bytes>,
    sessions: BTreeMap<String, Vec<u8>>,
    /// Whoever has another one is refused.
    password: Option<String>,
    /// Where it is said which there are, no others are pushed to.
    repositories: Option<BTreeSet<String>>,
    /// The bytes of what was sent as a blob, each time.
    sent: Vec<usize>,
}

fn digest(content: &[u8]) -> String {
    let hex: String = Sha256::digest(content)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256:{hex}")
}

impl Fake {
    pub(super) async fn serve() -> (Self, Served) {
        let fake = Self {
            inner: Arc::default(),
            open: Arc::new(watch::Sender::new(usize::MAX)),
        };
        let answering = fake.clone();
        let router = Router::new().fallback(move |request: Request| {
            let fake = answering.clone();
            async move { fake.answer(request).await }
        });
        (fake, Served::plain(router).await)
    }

    /// Has an image of these layers, and gives back its digest.
    pub(super) fn has(&self, repository: &str, tag: &str, layers: &[&[u8]]) -> String {
        let mut inner = self.lock();
        let config = json!({"os": "linux", "architecture": "amd64", "layers": layers.len()}).to_string();
        let mut blob = |content: &[u8], kind: &str| {
            let digest = digest(content);
            let key = (repository.to_owned(), digest.clone());
            inner.blobs.insert(key, Bytes::copy_from_slice(content));
            json!({"mediaType": kind, "digest": digest, "size": content.len()})
        };
        let layer = "application/vnd.oci.image.layer.v1.tar";
        let config = blob(config.as_bytes(), "application/vnd.oci.image.config.v1+json");
        let layers: Vec<_> = layers.iter().map(|content| blob(content, layer)).collect();
        let manifest = json!({"schemaVersion": 2, "mediaType": KIND, "config": config, "layers": layers}).to_string();
        let digest = digest(manifest.as_bytes());
        for reference in [tag, &digest] {
            let key = (repository.to_owned(), reference.to_owned());
            inner.manifests.insert(key, manifest.clone().into());
        }
        digest
    }

    pub(super) fn wants(&self, password: &str) {
        self.lock().password = Some(password.to_owned());
    }

    /// It has these repositories.
    pub(super) fn has_only(&self, repositories: &[&str]) {
        self.lock().repositories = Some(repositories.iter().map(|name| (*name).to_owned()).collect());
    }

    pub(super) fn make(&self, repository: &str) {
        let mut inner = self.lock();
        inner.repositories.get_or_insert_default().insert(repository.to_owned());
    }

    /// Uploads of blobs that are longer than that are not answered, and with 0 nothing is, until another number is given.
    pub(super) fn hold(&self, above: usize) {
        self.open.send_replace(above);
    }

    pub(super) fn release(&self) {
        self.open.send_replace(usize::MAX);
    }

    /// The digest of what is there under a name.
    pub(super) fn found(&self, repository: &str, reference: &str) -> Option<String> {
        let key = (repository.to_owned(), reference.to_owned());
        self.lock().manifests.get(&key).map(|manifest| digest(manifest))
    }

    /// The bytes of each blob that was sent, in their order.
    pub(super) fn sent(&self) -> Vec<usize> {
        let mut sent = self.lock().sent.clone();
        sent.sort_unstable();
        sent
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    fn refuses(&self, request: &Request) -> bool {
        let inner = self.lock();
        inner.password.as_ref().is_some_and(|password| {
            let expected = format!("Basic {}", STANDARD.encode(format!("robot:{password}")));
            let given = request.headers().get(AUTHORIZATION);
            given.is_none_or(|given| given.to_str().unwrap() != expected)
        })
    }

    async fn answer(&self, request: Request) -> Response {
        if self.refuses(&request) {
            let challenge = [(WWW_AUTHENTICATE, "Basic realm=\"registry\"")];
            return (StatusCode::UNAUTHORIZED, challenge).into_response();
        }
        let mut open = self.open.subscribe();
        open.wait_for(|above| *above > 0).await.unwrap();
        let (head, body) = request.into_parts();
        let Ok(body) = to_bytes(body, usize::MAX).await else {
            return StatusCode::BAD_REQUEST.into_response();
        };
        if head.method == Method::PATCH {
            open.wait_for(|above| body.len() <= *above).await.unwrap();
        }
        let path = head.uri.path().strip_prefix("/v2/").unwrap();
        let query = head.uri.query().unwrap_or_default();
        let Some((repository, kind, name)) = ["/manifests/", "/blobs/uploads/", "/blobs/"].iter().find_map(|kind| {
            let (repository, name) = path.split_once(kind)?;
            Some((repository, *kind, name))
        }) else {
            return StatusCode::OK.into_response();
        };
        let key = (repository.to_owned(), name.to_owned());
        let mut inner = self.lock();
        let inner = &mut *inner;
        match (&head.method, kind) {
            (&Method::HEAD | &Method::GET, "/manifests/") => match inner.manifests.get(&key) {
                Some(json) => {
                    let headers = [
                        (CONTENT_TYPE.as_str(), KIND.to_owned()),
                        ("docker-content-digest", digest(json)),
                    ];
                    (headers, json.clone()).into_response()
                }
                None => StatusCode::NOT_FOUND.into_response(),
            },
            (&Method::HEAD | &Method::GET, "/blobs/") => match inner.blobs.get(&key) {
                Some(blob) => blob.clone().into_response(),
                None => StatusCode::NOT_FOUND.into_response(),
            },
            (&Method::POST, "/blobs/uploads/") => {
                if inner
                    .repositories
                    .as_ref()
                    .is_some_and(|there| !there.contains(repository))
                {
                    let errors =
                        json!({"errors": [{"code": "NAME_UNKNOWN", "message": "there is no such repository"}]});
                    return (StatusCode::NOT_FOUND, errors.to_string()).into_response();
                }
                let session = format!("s{}", inner.sessions.len());
                inner.sessions.insert(session.clone(), Vec::new());
                let location = format!("/v2/{repository}/blobs/uploads/{session}");
                (StatusCode::ACCEPTED, [(LOCATION, location)]).into_response()
            }
            (&Method::PATCH, "/blobs/uploads/") => match inner.sessions.get_mut(name) {
                Some(session) => {
                    session.extend(&body);
                    inner.sent.push(body.len());
                    (StatusCode::ACCEPTED, [(LOCATION, format!("/v2/{path}"))]).into_response()
                }
                None => StatusCode::NOT_FOUND.into_response(),
            },
            (&Method::PUT, "/blobs/uploads/") => {
                let named = query.split('&').find_map(|pair| pair.strip_prefix("digest="));
                let named = named.unwrap().replace("%3A", ":");
                let content = inner.sessions.get(name).cloned().unwrap_or_default();
                match digest(&content) == named {
                    true => {
                        inner.blobs.insert((repository.to_owned(), named), content.into());
                        StatusCode::CREATED.into_response()
                    }
                    false => StatusCode::BAD_REQUEST.into_response(),
                }
            }
            (&Method::PUT, "/manifests/") => {
                for reference in [name, &digest(&body)] {
                    inner
                        .manifests
                        .insert((repository.to_owned(), reference.to_owned()), body.clone());
                }
                StatusCode::CREATED.into_response()
            }
            _ => StatusCode::NOT_FOUND.into_response(),
        }
    }
}

const KIND: &str = "application/vnd.oci.image.manifest.v1+json";
