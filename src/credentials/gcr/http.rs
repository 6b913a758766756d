//! One question and its answer: deadlines, a limit, and a few more attempts where another may help. No redirect is followed: whoever is asked
//! has been looked at before.

use std::{error::Error, time::Duration};

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    HeaderMap, Method, Request, StatusCode, Uri,
    body::Bytes,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT},
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::ClientConfig;
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

use super::IssueError;
use crate::registry::Password;

/// Who asks. Keeps no connection: an hour goes by from one token to the next.
pub(super) struct Http {
    client: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    pub(super) limits: Limits,
}

/// How long somebody is waited for.
pub(super) struct Limits {
    /// For an answer, all of it.
    pub(super) answer: Duration,
    /// Before another attempt; twice as long before the one after that.
    pub(super) pause: Duration,
}

/// What is asked.
pub(super) struct Question {
    method: Method,
    pub(super) uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

/// What was answered.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Zeroizing<Vec<u8>>,
}

/// There is no answer, for this reason.
pub(super) struct Lost {
    pub(super) why: String,
    /// Nothing was sent: there is no way to whoever was to be asked.
    pub(super) is_no_way: bool,
}

impl Http {
    pub(super) fn new(tls: ClientConfig) -> Self {
        let mut tcp = HttpConnector::new();
        // Whether a scheme will do is decided by whoever asks.
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build(connector);
        let limits = Limits {
            answer: ANSWER,
            pause: PAUSE,
        };
        Self { client, limits }
    }

    /// Asks, and again where nobody answers or somebody who cannot now.
    pub(super) async fn ask(&self, question: &Question) -> Result<Answer, Lost> {
        let mut pause = self.limits.pause;
        for _ in 1..ATTEMPTS {
            let answer = self.once(question).await;
            let settled = match &answer {
                Ok(answer) => !passes(answer.status),
                // Whoever is not there is not there a second later either, and has been waited for long enough.
                Err(Wait::Silent(_)) => true,
                Err(Wait::Lost(_)) => false,
            };
            if settled {
                return answer.map_err(Wait::lost);
            }
            sleep(pause).await;
            pause *= 2;
        }
        self.ask_once(question).await
    }

    /// Asks, and never again.
    pub(super) async fn ask_once(&self, question: &Question) -> Result<Answer, Lost> {
        self.once(question).await.map_err(Wait::lost)
    }

    async fn once(&self, question: &Question) -> Result<Answer, Wait> {
        let mut request = Request::new(Full::new(question.body.clone()));
        *request.method_mut() = question.method.clone();
        *request.uri_mut() = question.uri.clone();
        *request.headers_mut() = question.headers.clone();
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| why(&error))?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, MOST_BYTES).collect().await.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    return Wait::Lost(Lost::answered(format!("it answers with more than {MOST_BYTES} bytes")));
                }
                Wait::Lost(Lost::answered(
                    "it closed the connection before its answer was over".to_owned(),
                ))
            })?;
            Ok(Answer {
                status: head.status,
                headers: head.headers,
                body: Zeroizing::new(body.to_bytes().to_vec()),
            })
        };
        let within = self.limits.answer;
        timeout(within, exchange).await.unwrap_or_else(|_| {
            Err(Wait::Silent(Lost::answered(format!(
                "it has not answered within {} s",
                within.as_secs_f32()
            ))))
        })
    }
}

/// Why one attempt came to nothing.
enum Wait {
    Lost(Lost),
    /// After as long as it was waited for.
    Silent(Lost),
}

impl Lost {
    /// Somebody is there.
    fn answered(why: String) -> Self {
        Self { why, is_no_way: false }
    }
}

impl Wait {
    fn lost(self) -> Lost {
        let (Self::Lost(lost) | Self::Silent(lost)) = self;
        lost
    }
}

/// Whether whoever answers so may answer otherwise in a moment.
pub(super) fn passes(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
}

/// The innermost reason is the one that says something.
fn why(error: &legacy::Error) -> Wait {
    let mut innermost: &(dyn Error + 'static) = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let io = innermost.downcast_ref::<std::io::Error>();
    if io.is_some_and(|error| error.kind() == std::io::ErrorKind::TimedOut) {
        return Wait::Silent(Lost {
            why: format!("there is no connection within {} s", CONNECT.as_secs()),
            is_no_way: true,
        });
    }
    Wait::Lost(Lost {
        why: innermost.to_string(),
        // A certificate that is not trusted is somebody's.
        is_no_way: error.is_connect() && !is_tls(innermost),
    })
}

/// I/O errors have it in them, and each other, and do not say so as its source.
fn is_tls(error: &(dyn Error + 'static)) -> bool {
    let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    error.is::<rustls::Error>() || inner.is_some_and(|inner| is_tls(inner))
}

impl Question {
    pub(super) fn get(uri: Uri) -> Self {
        Self::new(Method::GET, uri, Bytes::new())
    }

    /// What forms send.
    pub(super) fn form(uri: Uri, fields: &[(&str, &str)]) -> Self {
        let body = Bytes::from_owner(Secret(encoded(fields)));
        let mut question = Self::new(Method::POST, uri, body);
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        question.headers.insert(CONTENT_TYPE, form);
        question
    }

    pub(super) fn json(uri: Uri, json: &serde_json::Value) -> Self {
        let mut question = Self::new(Method::POST, uri, Bytes::from(json.to_string()));
        let json = HeaderValue::from_static("application/json");
        question.headers.insert(CONTENT_TYPE, json);
        question
    }

    fn new(method: Method, uri: Uri, body: Bytes) -> Self {
        let agent = HeaderValue::from_static(concat!("waypost/", env!("CARGO_PKG_VERSION")));
        let headers = HeaderMap::from_iter([(USER_AGENT, agent)]);
        Self {
            method,
            uri,
            headers,
            body,
        }
    }

    pub(super) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// As whoever has this: `Bearer` and a token, `Basic` and a pair.
    pub(super) fn by(self, scheme: &str, credential: &Password) -> Result<Self, IssueError> {
        let text = Zeroizing::new(format!("{scheme} {}", credential.expose()));
        let mut value = HeaderValue::from_str(&text).map_err(|_| {
            IssueError::Unavailable("what was issued cannot be sent in a header: it is no token".to_owned())
        })?;
        value.set_sensitive(true);
        Ok(self.with(AUTHORIZATION, value))
    }
}

/// Wiped when the last who sends it is done.
struct Secret(Zeroizing<String>);

impl AsRef<[u8]> for Secret {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// As forms are sent, which is also how queries are written.
pub(super) fn encoded(fields: &[(&str, &str)]) -> Zeroizing<String> {
    // As large as it can get: what a buffer leaves behind when it grows is wiped by nobody.
    let most = fields
        .iter()
        .map(|(name, value)| 3 * (name.len() + value.len()) + 2)
        .sum();
    let mut text = Zeroizing::new(String::with_capacity(most));
    for (name, value) in fields {
        if !text.is_empty() {
            text.push('&');
        }
        escape(name, &mut text);
        text.push('=');
        escape(value, &mut text);
    }
    text
}

fn escape(value: &str, text: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(byte.into());
        } else {
            text.push('%');
            text.push(HEX[usize::from(byte >> 4)].into());
            text.push(HEX[usize::from(byte & 15)].into());
        }
    }
}

/// For a connection. On a machine that is not Google's, nobody has the address of its metadata server, and nobody says so.
const CONNECT: Duration = Duration::from_secs(3);

const ANSWER: Duration = Duration::from_secs(5);

const PAUSE: Duration = Duration::from_millis(300);
const ATTEMPTS: usize = 3;

/// Of an answer; tokens have some 2 kB.
const MOST_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_as_a_form_is_escaped() {
        assert_eq!(
            &*encoded(&[("a", "urn:ietf:x y&z=1"), ("b-c", "ü+~._")]),
            "a=urn%3Aietf%3Ax%20y%26z%3D1&b-c=%C3%BC%2B~._"
        );
        assert_eq!(&*encoded(&[]), "");
    }
}
