//! One request and its answer, and what is between them: connections that are kept, deadlines, limits, redirects.

use std::{error::Error, time::Duration};

use http_body_util::{BodyExt, Full, Limited, combinators::BoxBody};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode, Uri,
    body::{Bytes, Incoming},
    header::{AUTHORIZATION, HeaderValue, LOCATION},
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::ClientConfig;
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    USER_AGENT,
    fault::Fault,
    guard::{Guarded, Reach},
};

/// The connections to one registry, and to wherever it sends us.
pub(super) struct Http {
    reach: Reach,
    client: legacy::Client<HttpsConnector<HttpConnector<Guarded>>, Body>,
}

/// What is sent: nothing, some bytes, or a stream.
pub(super) type Body = BoxBody<Bytes, Box<dyn Error + Send + Sync>>;

/// What is asked, of whom, and until when.
pub(super) struct Question<'q> {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    /// Sent to where the question goes, and not to where it may be redirected.
    pub(super) authorization: Option<&'q HeaderValue>,
    /// Whether redirects are followed.
    pub(super) follow: bool,
    /// Sent to where the question goes, which is asked once then.
    pub(super) body: Option<Body>,
    /// Until the head of the answer is there.
    pub(super) within: Duration,
}

impl<'q> Question<'q> {
    pub(super) fn new(method: Method, uri: Uri, authorization: Option<&'q HeaderValue>) -> Self {
        Self {
            // Whatever has a body, or changes something, is not said to somebody else.
            follow: matches!(method, Method::GET | Method::HEAD),
            method,
            uri,
            headers: HeaderMap::new(),
            authorization,
            body: None,
            within: ANSWER,
        }
    }
}

/// An answer, and who gave it.
pub(super) struct Answer {
    pub(super) response: Response<Incoming>,
    /// Host and port.
    pub(super) host: String,
    /// Whether the registry, or whoever was asked, answered itself.
    pub(super) first_hand: bool,
}

impl Http {
    pub(super) fn new(tls: ClientConfig, reach: Reach) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(Guarded::new(reach));
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
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(MOST_IDLE)
            .build(connector);
        Self { reach, client }
    }

    /// Asks, and follows redirects where the question has no body and changes nothing.
    pub(super) async fn ask(&self, question: Question<'_>) -> Result<Answer, Fault> {
        let Question {
            method,
            mut uri,
            headers,
            authorization,
            follow,
            mut body,
            within,
        } = question;
        let asked = origin(&uri);
        let until = Instant::now() + within;
        for _ in 0..=MOST_REDIRECTS {
            let mut request = Request::builder().method(method.clone()).uri(uri.clone());
            if let Some(all) = request.headers_mut() {
                all.extend(headers.clone());
                all.insert(hyper::header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
                if let Some(authorization) = authorization.filter(|_| origin(&uri) == asked) {
                    all.insert(AUTHORIZATION, authorization.clone());
                }
            }
            let host = host_of(&uri);
            let Ok(request) = request.body(body.take().unwrap_or_else(empty)) else {
                return Err(Fault::NoRoute { host });
            };
            let response = self.exchange(request, until, within).await?;
            let next = if follow && response.status().is_redirection() {
                target(&uri, response.headers())
            } else {
                None
            };
            match next {
                Some(next) => uri = next,
                None => {
                    let first_hand = origin(&uri) == asked;
                    return Ok(Answer {
                        response,
                        host,
                        first_hand,
                    });
                }
            }
        }
        Err(Fault::Redirects { host: host_of(&uri) })
    }

    /// One exchange, until the head of the answer is there. `within` is how long that was to take at first, for whoever reads of it.
    async fn exchange(
        &self,
        request: Request<Body>,
        until: Instant,
        within: Duration,
    ) -> Result<Response<Incoming>, Fault> {
        let host = host_of(request.uri());
        // Addresses are not looked up, so that nobody else sees them.
        let literal = request.uri().host().unwrap_or_default();
        let literal = literal.trim_start_matches('[').trim_end_matches(']').parse();
        if let Ok(address) = literal {
            self.reach
                .check(address)
                .map_err(|refused| Fault::refused(refused, &host))?;
        }
        match timeout_at(until, self.client.request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(Fault::of(&error, &host)),
            Err(_) => Err(Fault::TimedOut {
                host,
                seconds: within.as_secs(),
            }),
        }
    }
}

impl Answer {
    pub(super) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// All of it, where that is not more than `limit` bytes.
    pub(super) async fn read(self, limit: usize) -> Result<Bytes, Fault> {
        let Self { response, host, .. } = self;
        let body = Limited::new(response.into_body(), limit).collect();
        match timeout(READ, body).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(Fault::TooLong { host, limit }),
            Ok(Err(_)) => Err(Fault::Closed { host }),
            Err(_) => Err(Fault::TimedOut {
                host,
                seconds: READ.as_secs(),
            }),
        }
    }

    /// Reads to its end what nobody needs, if that is little: the connection can be used again.
    pub(super) async fn finish(self) {
        let _ = self.read(DISCARDED).await;
    }
}

pub(super) fn empty() -> Body {
    BodyExt::boxed(Full::default().map_err(|never| match never {}))
}

/// These bytes.
pub(super) fn full(bytes: Bytes) -> Body {
    BodyExt::boxed(Full::new(bytes).map_err(|never| match never {}))
}

/// Host and port, as people know it.
pub(super) fn host_of(uri: &Uri) -> String {
    let host = uri.host().unwrap_or_default();
    match uri.port_u16() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// Scheme, host and port: whoever shares all of them is the same.
pub(super) fn origin(uri: &Uri) -> (String, String, u16) {
    let scheme = uri.scheme_str().unwrap_or_default().to_ascii_lowercase();
    let port = uri.port_u16().unwrap_or(if scheme == "http" { 80 } else { 443 });
    (scheme, uri.host().unwrap_or_default().to_ascii_lowercase(), port)
}

/// Where a redirect leads to.
fn target(from: &Uri, headers: &HeaderMap) -> Option<Uri> {
    resolve(from, headers.get(LOCATION)?.to_str().ok()?)
}

/// A reference, relative to where it was read (RFC 3986, section 5, as far as registries use it). None where it leads to nothing that speaks
/// HTTP.
pub(super) fn resolve(from: &Uri, reference: &str) -> Option<Uri> {
    let uri = if reference.contains("://") {
        reference.parse::<Uri>().ok()?
    } else if let Some(behind) = reference.strip_prefix("//") {
        format!("{}://{behind}", from.scheme_str()?).parse().ok()?
    } else {
        let mut parts = from.clone().into_parts();
        let path = if reference.starts_with('/') {
            reference.to_owned()
        } else if reference.starts_with('?') {
            format!("{}{reference}", from.path())
        } else {
            let (folder, _) = from.path().rsplit_once('/')?;
            format!("{folder}/{reference}")
        };
        parts.path_and_query = Some(path.parse().ok()?);
        Uri::from_parts(parts).ok()?
    };
    let known = matches!(uri.scheme_str(), Some("http" | "https"));
    let plain = uri
        .authority()
        .is_some_and(|authority| !authority.as_str().contains('@'));
    (known && plain).then_some(uri)
}

/// For a connection; of a name's addresses each gets its part.
pub(super) const CONNECT: Duration = Duration::from_secs(4);

/// For a connection and the head of an answer.
pub(super) const ANSWER: Duration = Duration::from_secs(5);

/// For the rest of it.
const READ: Duration = Duration::from_secs(5);

/// Longer than from one probe to the next.
const IDLE: Duration = Duration::from_secs(30);
const MOST_IDLE: usize = 4;

const MOST_REDIRECTS: usize = 3;

/// Bytes.
const DISCARDED: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_relative_to_where_it_was_read() {
        let from: Uri = "https://r.io:5000/v2/x?y=1".parse().unwrap();
        for (reference, expected) in [
            ("/v2/a?b=c", Some("https://r.io:5000/v2/a?b=c")),
            ("a", Some("https://r.io:5000/v2/a")),
            ("?n=2", Some("https://r.io:5000/v2/x?n=2")),
            ("//s.io/b", Some("https://s.io/b")),
            ("http://s.io/b", Some("http://s.io/b")),
            ("ftp://s.io/b", None),
            ("https://r.io@s.io/b", None),
            ("https://", None),
            ("a b", None),
        ] {
            let resolved = resolve(&from, reference).map(|uri| uri.to_string());
            assert_eq!(resolved.as_deref(), expected, "{reference}");
        }
    }

    #[test]
    fn the_port_and_the_scheme_belong_to_who_somebody_is() {
        let same = |one: &str, other: &str| origin(&one.parse().unwrap()) == origin(&other.parse().unwrap());
        assert!(same("https://r.io/a", "https://R.io:443/b"));
        assert!(!same("https://r.io/", "https://r.io:5000/"));
        assert!(!same("https://r.io:443/", "http://r.io:443/"));
        assert!(!same("https://r.io/", "https://s.io/"));
    }
}
