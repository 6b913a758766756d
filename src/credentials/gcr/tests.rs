//! Against somebody who answers in Google's place.

mod federation;
mod keys;
mod metadata;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http_body_util::BodyExt;
use hyper::StatusCode;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::{any, prop, proptest};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use rustls::{
    pki_types::{PrivateKeyDer, pem::PemObject},
    version::TLS13,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use super::*;
use crate::tls::testing::{Authority, client_of};

const PEM: &str = include_str!("../../../tests/fixtures/gcr/nobodys-key.pem");
const EMAIL: &str = "pull@waypost-tests.iam.gserviceaccount.com";

/// As long as Google's are, so that it is taken for one.
const TOKEN: &str =
    "ya29.c.b0AXv0zTPabcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Somebody else's: what is exchanged.
const SUBJECT: &str =
    "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQ6d2F5cG9zdDp3YXlwb3N0In0.c2lnbmF0dXJl";

/// What came.
#[derive(Clone)]
struct Heard {
    /// Method, path and query.
    what: String,
    headers: hyper::HeaderMap,
    body: String,
}

impl Heard {
    fn form(&self) -> BTreeMap<String, String> {
        let pairs = self.body.split('&').map(|pair| pair.split_once('=').unwrap());
        pairs.map(|(name, value)| (name.to_owned(), unescaped(value))).collect()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

fn unescaped(text: &str) -> String {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).unwrap()
}

type Says = Arc<dyn Fn(&Heard) -> Response + Send + Sync>;

/// Somebody who answers in Google's place, until it is dropped.
struct Stand {
    port: u16,
    heard: Arc<Mutex<Vec<Heard>>>,
    task: JoinHandle<()>,
}

impl Stand {
    async fn new(says: impl Fn(&Heard) -> Response + Send + Sync + 'static) -> Self {
        let heard: Arc<Mutex<Vec<Heard>>> = Arc::default();
        let says: Says = Arc::new(says);
        let router = Router::new()
            .fallback(
                |State((says, all)): State<(Says, Arc<Mutex<Vec<Heard>>>)>, request: Request| async move {
                    let (head, body) = request.into_parts();
                    let body = body.collect().await.unwrap().to_bytes();
                    let heard = Heard {
                        what: format!("{} {}", head.method, head.uri),
                        headers: head.headers,
                        body: String::from_utf8(body.to_vec()).unwrap(),
                    };
                    let response = says(&heard);
                    all.lock().unwrap().push(heard);
                    response
                },
            )
            .with_state((says, heard.clone()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { port, heard, task }
    }

    /// One answer after the other, the last of them again and again.
    async fn in_turn(answers: &[(u16, &str)]) -> Self {
        let answers: Vec<_> = answers
            .iter()
            .map(|(status, body)| (*status, (*body).to_owned()))
            .collect();
        let next = Mutex::new(0);
        Self::new(move |_| {
            let mut next = next.lock().unwrap();
            let (status, body) = answers[(*next).min(answers.len() - 1)].clone();
            *next += 1;
            answer(status, body)
        })
        .await
    }

    fn origin(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn heard(&self) -> Vec<Heard> {
        std::mem::take(&mut self.heard.lock().unwrap())
    }

    fn endpoints(&self) -> Endpoints {
        Endpoints {
            iam_credentials: Some(self.origin()),
            trusted: vec![self.origin()],
        }
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn answer(status: u16, body: impl Into<String>) -> Response {
    (StatusCode::from_u16(status).unwrap(), body.into()).into_response()
}

/// As the metadata server has it.
fn flavoured(status: u16, body: impl Into<String>) -> Response {
    let status = StatusCode::from_u16(status).unwrap();
    (status, [("metadata-flavor", "Google")], body.into()).into_response()
}

fn issued() -> String {
    json!({"access_token": TOKEN, "expires_in": 3_599, "token_type": "Bearer"}).to_string()
}

fn impersonated(lasts: i64) -> String {
    let end = Timestamp::now() + SignedDuration::from_secs(lasts);
    json!({"accessToken": format!("{TOKEN}-of-another"), "expireTime": end.to_string()}).to_string()
}

fn tls() -> ClientConfig {
    client_of(&TLS13, &Authority::new("nobody").pem, None, &[])
}

fn key_file(origin: &str) -> Value {
    json!({
        "type": "service_account",
        "project_id": "waypost-tests",
        "private_key_id": "0123abcd",
        "private_key": PEM,
        "client_email": EMAIL,
        "client_id": "1",
        "token_uri": format!("{origin}/token"),
    })
}

/// Quickly.
fn gcr(settings: GcrSettings) -> Result<Gcr, IssueError> {
    let mut gcr = Gcr::new(settings, tls())?;
    gcr.http.limits.pause = Duration::from_millis(1);
    Ok(gcr)
}

fn by_key(stand: &Stand) -> Gcr {
    gcr(GcrSettings {
        key_json: Some(Password::new(key_file(&stand.origin()).to_string())),
        endpoints: stand.endpoints(),
        ..GcrSettings::default()
    })
    .unwrap()
}

fn by_file(stand: &Stand, path: &Path) -> Gcr {
    gcr(GcrSettings {
        ambient: Ambient {
            credentials_file: Some(path.to_owned()),
            metadata_host: None,
        },
        endpoints: stand.endpoints(),
        ..GcrSettings::default()
    })
    .unwrap()
}

fn by_metadata(stand: &Stand) -> GcrSettings {
    GcrSettings {
        ambient: Ambient {
            credentials_file: None,
            metadata_host: Some(format!("127.0.0.1:{}", stand.port)),
        },
        endpoints: stand.endpoints(),
        ..GcrSettings::default()
    }
}

/// The claims of an assertion whose signature is the key's.
fn claims(assertion: &str) -> Value {
    let PrivateKeyDer::Pkcs8(der) = PrivateKeyDer::from_pem_slice(PEM.as_bytes()).unwrap() else {
        panic!("the key of tests is of another form");
    };
    let pair = ring::rsa::KeyPair::from_pkcs8(der.secret_pkcs8_der()).unwrap();
    let (signed, signature) = assertion.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public().as_ref())
        .verify(signed.as_bytes(), &signature)
        .unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    let part = |text| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap();
    assert_eq!(part(header), json!({"alg": "RS256", "typ": "JWT", "kid": "0123abcd"}));
    part(claims)
}

/// Nothing that opens anything is in it.
#[track_caller]
fn harmless(text: &str) {
    for secret in [TOKEN, SUBJECT, "BEGIN", "MIIE", "hunter2", "eyJhb"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    // No line of the key.
    for line in PEM.lines().skip(1) {
        assert!(!text.contains(line), "{text}");
    }
}

#[track_caller]
fn error(result: Result<Issued, IssueError>) -> (&'static str, String) {
    let error = result.unwrap_err();
    harmless(&format!("{error} {error:?}"));
    match error {
        IssueError::Rejected(why) => ("rejected", why),
        IssueError::Misconfigured(why) => ("misconfigured", why),
        IssueError::Unavailable(why) => ("unavailable", why),
    }
}

#[track_caller]
fn lasts(issued: &Issued) -> i64 {
    issued.expires_at.duration_since(Timestamp::now()).as_secs()
}
