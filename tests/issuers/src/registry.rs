//! A registry that takes only tokens that were issued: a door before one that takes everybody.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use http_body_util::BodyExt;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    client::conn::http1,
    header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE},
};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpStream;

use crate::{
    server::{Answers, Body, Server, text},
    tokens::{Rights, Tokens, Verdict},
};

/// It, until it is dropped.
pub struct Registry {
    server: Server,
    counts: Arc<Mutex<Counts>>,
}

/// What came of requests with a password. Those without one are how a client asks what is wanted, and are not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Manifests that were handed out, or said to be there.
    pub manifests: u64,
    /// Refused: their token had ended.
    pub ended: u64,
    /// Refused: nobody had issued their token.
    pub unknown: u64,
    /// Denied: who may only pull would have pushed.
    pub pushes_denied: u64,
}

struct Door {
    behind: SocketAddr,
    tokens: Tokens,
    counts: Arc<Mutex<Counts>>,
}

impl Registry {
    /// At this address of the machine that it runs on, before the registry at another.
    #[must_use]
    pub fn start(ip: IpAddr, behind: SocketAddr, tokens: &Tokens) -> Self {
        let counts = Arc::<Mutex<Counts>>::default();
        let door = Door {
            behind,
            tokens: tokens.clone(),
            counts: Arc::clone(&counts),
        };
        let server = Server::start(ip, |_| door);
        Self { server, counts }
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// What came of requests so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        *lock(&self.counts)
    }
}

impl Answers for Door {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let reads = [Method::GET, Method::HEAD].contains(request.method());
        match request.headers().get(AUTHORIZATION).map(|header| self.verdict(header)) {
            Some(Verdict::Good(rights)) if reads || rights == Rights::Push => {}
            Some(Verdict::Good(_)) => {
                lock(&self.counts).pushes_denied += 1;
                return refusal(StatusCode::FORBIDDEN, "DENIED", "the token may only pull");
            }
            Some(Verdict::Ended) => {
                lock(&self.counts).ended += 1;
                return challenge("the token has ended");
            }
            Some(Verdict::Unknown) => {
                lock(&self.counts).unknown += 1;
                return challenge("the token is not known");
            }
            None => return challenge("a token is wanted"),
        }
        let manifest = reads && request.uri().path().contains("/manifests/");
        match self.pass(request).await {
            Ok(response) => {
                if manifest && response.status().is_success() {
                    lock(&self.counts).manifests += 1;
                }
                response
            }
            Err(error) => refusal(StatusCode::BAD_GATEWAY, "UNAVAILABLE", &error.to_string()),
        }
    }
}

impl Door {
    fn verdict(&self, header: &HeaderValue) -> Verdict {
        let basic = header.to_str().ok().and_then(|text| text.strip_prefix("Basic "));
        let decoded = basic.and_then(|text| STANDARD.decode(text).ok());
        let pair = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
        match pair.as_deref().and_then(|pair| pair.split_once(':')) {
            Some((username, password)) => self.tokens.verdict(username, password),
            None => Verdict::Unknown,
        }
    }

    /// The request as it is, but for what was for this door; the host stays, by which the registry behind writes its addresses.
    async fn pass(
        &self,
        mut request: Request<Incoming>,
    ) -> Result<Response<Body>, Box<dyn std::error::Error + Send + Sync>> {
        request.headers_mut().remove(AUTHORIZATION);
        let stream = TcpStream::connect(self.behind).await?;
        stream.set_nodelay(true)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender.send_request(request).await?.map(BodyExt::boxed))
    }
}

fn challenge(why: &str) -> Response<Body> {
    let mut response = refusal(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", why);
    let basic = HeaderValue::from_static("Basic realm=\"short-lived\"");
    response.headers_mut().insert(WWW_AUTHENTICATE, basic);
    response
}

fn refusal(status: StatusCode, code: &str, why: &str) -> Response<Body> {
    let body = json!({"errors": [{"code": code, "message": why}]});
    let mut response = text(status, "application/json", body.to_string());
    let version = HeaderValue::from_static("registry/2.0");
    response
        .headers_mut()
        .insert("docker-distribution-api-version", version);
    response
}

fn lock(counts: &Mutex<Counts>) -> MutexGuard<'_, Counts> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}
