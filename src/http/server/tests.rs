mod ending;
mod limits;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use axum::body::{Body, Bytes};
use axum::routing::{get, post};
use http_body_util::BodyExt;
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::tls::testing::{Authority, Pair, client, client_of};
use crate::tls::{Source, Tls};

const H1: &[&str] = &["http/1.1"];
const H2: &[&str] = &["h2", "http/1.1"];

/// Whatever is waited for comes in milliseconds; this is for a machine that does a hundred other things.
async fn soon<F: Future>(what: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), what)
        .await
        .expect("it should have happened long ago")
}

/// A server over TLS in this process.
struct Fixture {
    address: SocketAddr,
    lifecycle: Lifecycle,
    authority: Authority,
    tls: Arc<Tls>,
    dir: TempDir,
    /// Lets a request to `/wait` go on.
    gate: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    run: JoinHandle<Stopped>,
}

impl Fixture {
    async fn start(limits: Limits) -> Self {
        Self::start_with(limits, false).await
    }

    async fn start_with(limits: Limits, client_ca: bool) -> Self {
        let authority = Authority::new("ours");
        let dir = tempfile::tempdir().unwrap();
        authority.issue(2020, 2090).write(dir.path());
        let client_ca = client_ca.then(|| {
            let path = dir.path().join("clients.crt");
            std::fs::write(&path, &authority.pem).unwrap();
            path
        });
        let source = Source {
            dir: dir.path().to_owned(),
            client_ca,
        };
        let tls = Arc::new(Tls::load(source, SystemTime::now()).unwrap());
        let (gate, waiting) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
        let wait = {
            let (gate, waiting) = (Arc::clone(&gate), Arc::clone(&waiting));
            async move || {
                waiting.fetch_add(1, Ordering::SeqCst);
                gate.acquire().await.unwrap().forget();
                "waited"
            }
        };
        let router = Router::new()
            .route("/", get(async || "ok"))
            .route("/wait", get(wait))
            .route("/panic", get(async || if true { panic!("on purpose") } else { "" }))
            .route(
                "/upload",
                post(async || (axum::http::StatusCode::PAYLOAD_TOO_LARGE, "too large")),
            );
        let lifecycle = Lifecycle::new(Duration::from_secs(60));
        let server = Server::bind("test", "127.0.0.1:0".parse().unwrap(), router, limits)
            .await
            .unwrap();
        let address = server.local_addr();
        let configs = Arc::clone(&tls);
        let server = server.with_tls(Arc::new(move || configs.config()));
        let run = tokio::spawn(server.run(lifecycle.clone()));
        Self {
            address,
            lifecycle,
            authority,
            tls,
            dir,
            gate,
            waiting,
            run,
        }
    }

    async fn tls(&self, config: ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    async fn raw(&self, alpn: &[&str]) -> TlsStream<TcpStream> {
        soon(self.tls(client(&self.authority.pem, None, alpn))).await.unwrap()
    }

    async fn http1(&self) -> Http1 {
        Http1::over(self.raw(H1).await).await
    }

    async fn http2(&self) -> Http2 {
        let (sender, connection) = soon(http2::handshake(TokioExecutor::new(), TokioIo::new(self.raw(H2).await)))
            .await
            .unwrap();
        Http2 {
            sender,
            closed: tokio::spawn(async { connection.await.is_ok() }),
        }
    }

    /// Waits until so many requests are in `/wait`.
    async fn in_flight(&self, number: usize) {
        let arrived = async {
            while self.waiting.load(Ordering::SeqCst) < number {
                tokio::task::yield_now().await;
            }
        };
        soon(arrived).await;
    }

    async fn stopped(self) -> Stopped {
        soon(self.run).await.unwrap()
    }
}

struct Http1 {
    sender: http1::SendRequest<Body>,
    closed: JoinHandle<bool>,
}

impl Http1 {
    async fn over<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static>(stream: S) -> Self {
        let (sender, connection) = soon(http1::handshake(TokioIo::new(stream))).await.unwrap();
        Self {
            sender,
            closed: tokio::spawn(async { connection.await.is_ok() }),
        }
    }

    async fn get(&mut self, path: &str) -> Answer {
        soon(self.sender.ready()).await.unwrap();
        Answer::of(
            soon(self.sender.send_request(request(path, Body::empty())))
                .await
                .unwrap(),
        )
        .await
    }

    async fn closed(self) {
        soon(self.closed).await.unwrap();
    }
}

struct Http2 {
    sender: http2::SendRequest<Body>,
    closed: JoinHandle<bool>,
}

impl Http2 {
    async fn get(&mut self, path: &str) -> Answer {
        Answer::of(
            soon(self.sender.send_request(request(path, Body::empty())))
                .await
                .unwrap(),
        )
        .await
    }
}

#[derive(Debug, PartialEq)]
struct Answer {
    status: u16,
    version: Version,
    closes: bool,
    text: String,
}

impl Answer {
    async fn of(response: Response<hyper::body::Incoming>) -> Self {
        let (parts, body) = response.into_parts();
        let text = soon(body.collect()).await.unwrap().to_bytes();
        Self {
            status: parts.status.as_u16(),
            version: parts.version,
            closes: parts.headers.get("connection").is_some_and(|value| value == "close"),
            text: String::from_utf8(text.to_vec()).unwrap(),
        }
    }
}

fn request(path: &str, body: Body) -> Request<Body> {
    Request::builder()
        .uri(format!("https://localhost{path}"))
        .header("host", "localhost")
        .body(body)
        .unwrap()
}

fn ok(version: Version, closes: bool) -> Answer {
    Answer {
        status: 200,
        version,
        closes,
        text: "ok".to_owned(),
    }
}

/// Waits for the server's end of the conversation.
async fn end_of(mut stream: impl tokio::io::AsyncRead + Unpin) -> Vec<u8> {
    let mut received = Vec::new();
    // A connection that is cut is as closed as one that says goodbye.
    let _ = soon(stream.read_to_end(&mut received)).await;
    received
}

fn short(limits: impl FnOnce(&mut Limits)) -> Limits {
    let mut all = Limits::default();
    limits(&mut all);
    all
}

#[tokio::test]
async fn both_versions_of_http_are_served_over_both_of_tls() {
    let fixture = Fixture::start(Limits::default()).await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for alpn in [H1, H2, &[]] {
            let stream = fixture
                .tls(client_of(version, &fixture.authority.pem, None, alpn))
                .await
                .unwrap();
            assert_eq!(stream.get_ref().1.protocol_version(), Some(version.version));
            if alpn == H2 {
                let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                    .await
                    .unwrap();
                tokio::spawn(connection);
                let response = soon(sender.send_request(request("/", Body::empty()))).await.unwrap();
                assert_eq!(Answer::of(response).await, ok(Version::HTTP_2, false));
            } else {
                assert_eq!(Http1::over(stream).await.get("/").await, ok(Version::HTTP_11, false));
            }
        }
    }
}

#[tokio::test]
async fn without_tls_http_is_served_in_the_clear() {
    let router = Router::new().route("/", get(async || "ok"));
    let server = Server::bind("admin", "127.0.0.1:0".parse().unwrap(), router, Limits::admin())
        .await
        .unwrap();
    let (address, lifecycle) = (server.local_addr(), Lifecycle::new(Duration::ZERO));
    let run = tokio::spawn(server.run(lifecycle.clone()));
    let mut client = Http1::over(TcpStream::connect(address).await.unwrap()).await;
    assert_eq!(client.get("/").await, ok(Version::HTTP_11, false));
    drop(client);
    lifecycle.stop();
    assert_eq!(soon(run).await.unwrap(), Stopped { cut: 0 });
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let fixture = Fixture::start(Limits::default()).await;
    let error = Server::bind("webhook", fixture.address, Router::new(), Limits::default())
        .await
        .err()
        .unwrap();
    let expected = format!("the webhook port cannot be opened on {}: ", fixture.address);
    assert!(error.to_string().starts_with(&expected), "{error}");
}

#[tokio::test]
async fn with_a_client_ca_only_its_certificates_are_served() {
    let fixture = Fixture::start_with(short(|limits| limits.first_request = Duration::from_millis(100)), true).await;
    let ask = async |pair: Option<&Pair>| {
        // With TLS 1.3 the refusal arrives after the handshake.
        let stream = fixture.tls(client(&fixture.authority.pem, pair, H1)).await.ok()?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
        tokio::spawn(connection);
        Some(Answer::of(sender.send_request(request("/", Body::empty())).await.ok()?).await)
    };
    let (ours, theirs) = (
        fixture.authority.issue(2020, 2090),
        Authority::new("theirs").issue(2020, 2090),
    );
    // The API server may keep a connection that it has not used yet, for longer than a stranger could.
    let opened = Instant::now();
    let mut surplus = Http1::over(
        fixture
            .tls(client(&fixture.authority.pem, Some(&ours), H1))
            .await
            .unwrap(),
    )
    .await;
    while opened.elapsed() < Duration::from_millis(300) {
        assert_eq!(soon(ask(None)).await, None);
        assert_eq!(soon(ask(Some(&theirs))).await, None);
        assert_eq!(soon(ask(Some(&ours))).await, Some(ok(Version::HTTP_11, false)));
    }
    assert_eq!(surplus.get("/").await, ok(Version::HTTP_11, false));
}

#[tokio::test]
async fn a_reload_reaches_new_connections_and_leaves_the_old_ones_alone() {
    let fixture = Fixture::start(Limits::default()).await;
    let mut old = fixture.http1().await;
    old.get("/").await;
    let shown = |stream: &TlsStream<TcpStream>| stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
    let before = shown(&fixture.raw(H1).await);
    fixture.authority.issue(2020, 2091).write(fixture.dir.path());
    fixture.tls.reload(SystemTime::now()).unwrap();
    assert_ne!(shown(&fixture.raw(H1).await), before);
    assert_eq!(old.get("/").await, ok(Version::HTTP_11, false));
}

#[tokio::test]
async fn a_panic_ends_one_stream_and_the_server_goes_on() {
    let fixture = Fixture::start(Limits::default()).await;
    let (mut one, mut two) = (fixture.http1().await, fixture.http2().await);
    soon(one.sender.send_request(request("/panic", Body::empty())))
        .await
        .unwrap_err();
    soon(two.sender.send_request(request("/panic", Body::empty())))
        .await
        .unwrap_err();
    assert_eq!(two.get("/").await, ok(Version::HTTP_2, false), "the same connection");
    assert_eq!(fixture.http1().await.get("/").await, ok(Version::HTTP_11, false));
}
