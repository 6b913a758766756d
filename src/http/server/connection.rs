//! One connection, from the handshake to the last answer.

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{HttpService, Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service as _;

use super::super::lifecycle::{Lifecycle, Phase};
use super::super::throttle::Throttle;
use super::linger::Lingering;
use super::{Limits, Peer, TlsConfigs};

/// What the connections of one server have in common.
pub(super) struct Shared {
    pub(super) name: &'static str,
    pub(super) router: Router,
    pub(super) limits: Limits,
    pub(super) tls: Option<TlsConfigs>,
    /// Whether requests are told whose connection they came by.
    pub(super) peers: bool,
    pub(super) lifecycle: Lifecycle,
    /// The last moments of stopping: whatever is idle is closed now.
    pub(super) close_idle: CancellationToken,
    /// The tasks of HTTP/2 streams, so that they have an owner.
    pub(super) streams: TaskTracker,
    pub(super) refused: Throttle,
}

/// Serves a connection until it is closed, by whichever side.
pub(super) async fn serve(shared: Arc<Shared>, stream: TcpStream) {
    // Nagle's algorithm and delayed acknowledgements cost 40 ms at the 99th percentile. Failing means it is gone already.
    let _ = stream.set_nodelay(true);
    let peer = if shared.peers {
        stream.peer_addr().ok().map(Peer)
    } else {
        None
    };
    let Some(configs) = &shared.tls else {
        return http1(&shared, stream, peer, shared.limits.first_request).await;
    };
    let handshake = TlsAcceptor::from(configs()).accept(stream);
    let stream = tokio::select! {
        stream = tokio::time::timeout(shared.limits.handshake, handshake) => stream,
        () = shared.close_idle.cancelled() => return,
    };
    match stream {
        Ok(Ok(stream)) => encrypted(&shared, stream, peer).await,
        Ok(Err(error)) => shared.refused(&error),
        Err(_) => shared.refused(&"the handshake took too long"),
    }
}

impl Shared {
    /// A port scan and a health check by TCP end here too, so this is no more than a line a minute.
    fn refused(&self, error: &dyn std::fmt::Display) {
        if let Some(held_back) = self.refused.pass(std::time::Instant::now()) {
            tracing::info!(%error, held_back, "a TLS handshake on the {} port failed", self.name);
        }
    }
}

async fn encrypted(shared: &Arc<Shared>, stream: TlsStream<TcpStream>, peer: Option<Peer>) {
    let (_, session) = stream.get_ref();
    let known = session.peer_certificates().is_some();
    let first_request = if known {
        shared.limits.idle
    } else {
        shared.limits.first_request
    };
    if session.alpn_protocol() == Some(b"h2") {
        http2(shared, stream, peer, first_request).await;
    } else {
        http1(shared, stream, peer, first_request).await;
    }
}

async fn http1<S>(shared: &Arc<Shared>, stream: S, peer: Option<Peer>, first_request: Duration)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let activity = Arc::new(Activity::new());
    let service = service(shared, &activity, peer, true);
    let connection = http1::Builder::new()
        // Ours instead, in `attend`: hyper's also runs while the connection is idle, and costs a timer per request.
        .header_read_timeout(None)
        .max_header_size(shared.limits.head as usize)
        .max_buf_size((shared.limits.head as usize).max(64 << 10))
        .serve_connection(TokioIo::new(Lingering::new(stream)), service);
    attend(shared, &activity, first_request, pin!(connection)).await;
}

async fn http2<S>(shared: &Arc<Shared>, stream: S, peer: Option<Peer>, first_request: Duration)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let activity = Arc::new(Activity::new());
    let service = service(shared, &activity, peer, false);
    let connection = http2::Builder::new(Streams(shared.streams.clone()))
        .timer(TokioTimer::new())
        .max_concurrent_streams(shared.limits.streams)
        .max_header_list_size(shared.limits.head)
        .keep_alive_interval(shared.limits.ping)
        .keep_alive_timeout(Duration::from_secs(20))
        .serve_connection(TokioIo::new(Lingering::new(stream)), service);
    attend(shared, &activity, first_request, pin!(connection)).await;
}

/// The router as hyper wants it; keeps the books on the connection and says goodbye when the process does.
fn service(
    shared: &Arc<Shared>,
    activity: &Arc<Activity>,
    peer: Option<Peer>,
    says_close: bool,
) -> impl Service<
    Request<Incoming>,
    Response = Response<Body>,
    Error = Infallible,
    Future = impl Future<Output = Result<Response<Body>, Infallible>> + Send + use<>,
> + use<> {
    let (shared, activity) = (Arc::clone(shared), Arc::clone(activity));
    service_fn(move |request: Request<Incoming>| {
        let busy = Busy::new(Arc::clone(&activity));
        let mut request = request.map(Body::new);
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        let answer = shared.router.clone().call(request);
        let lifecycle = shared.lifecycle.clone();
        async move {
            let mut response = answer.await?;
            // HTTP/2 forbids the header (RFC 9113, section 8.2.2) and has GOAWAY instead.
            if says_close && lifecycle.phase() >= Phase::Draining {
                response
                    .headers_mut()
                    .insert(CONNECTION, HeaderValue::from_static("close"));
            }
            drop(busy);
            Ok(response)
        }
    })
}

/// Drives a connection to its end and holds it to its limits.
async fn attend<C: Connection>(
    shared: &Shared,
    activity: &Activity,
    first_request: Duration,
    mut connection: Pin<&mut C>,
) {
    let draining = shared.lifecycle.reached(Phase::Draining);
    let timer = tokio::time::sleep(first_request.min(shared.limits.idle));
    tokio::pin!(draining, timer);
    let mut leaving = false;
    let mut wound_down = false;
    loop {
        tokio::select! {
            biased;
            closed = connection.as_mut() => {
                if let Err(error) = closed {
                    tracing::debug!(%error, "a connection of the {} port ended", shared.name);
                }
                return;
            }
            () = &mut draining, if !leaving => leaving = true,
            // The conditions spare the usual wake-up the locks inside of these two.
            () = activity.first.notified(), if !activity.has_begun() => {}
            () = shared.close_idle.cancelled(), if leaving && !wound_down => {
                wound_down = true;
                connection.as_mut().wind_down();
            }
            () = &mut timer => {
                let (idle, allowed) = match activity.idle() {
                    // In the middle of a request: that has limits of its own.
                    None => (Duration::ZERO, shared.limits.idle),
                    Some(idle) if activity.has_begun() => (idle, shared.limits.idle),
                    Some(idle) => (idle, first_request),
                };
                if let Some(left) = allowed.checked_sub(idle).filter(|left| !left.is_zero()) {
                    timer.as_mut().reset(Instant::now() + left);
                    continue;
                }
                if wound_down || !activity.has_begun() {
                    return;
                }
                wound_down = true;
                connection.as_mut().wind_down();
                // For a peer that does not even close.
                timer.as_mut().reset(Instant::now() + shared.limits.handshake);
            }
        }
        // A connection made while draining was made for a request: it is asked to leave after that one.
        if C::LEAVES_WHEN_TOLD && leaving && !wound_down && activity.has_begun() {
            wound_down = true;
            connection.as_mut().wind_down();
        }
    }
}

/// hyper's two kinds of connection as [`attend`] sees them.
trait Connection: Future<Output = hyper::Result<()>> {
    /// Whether winding down loses nothing, so that it is done as soon as the process drains.
    const LEAVES_WHEN_TOLD: bool;

    /// Closes the connection, at once if it is idle, after what is in flight otherwise.
    fn wind_down(self: Pin<&mut Self>);
}

impl<I, S> Connection for http1::Connection<I, S>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    S: HttpService<Incoming, ResBody = Body, Error = Infallible>,
{
    /// An idle one is closed under whatever the client has just sent.
    const LEAVES_WHEN_TOLD: bool = false;

    fn wind_down(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<I, S> Connection for http2::Connection<I, S, Streams>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    S: HttpService<Incoming, ResBody = Body, Error = Infallible>,
    S::Future: Send + 'static,
{
    /// GOAWAY first names no last stream, so that requests already on their way are answered (RFC 9113, section 6.8).
    const LEAVES_WHEN_TOLD: bool = true;

    fn wind_down(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// Runs the streams of HTTP/2 connections where the server can wait for them.
#[derive(Clone)]
struct Streams(TaskTracker);

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, stream: F) {
        self.0.spawn(stream);
    }
}

/// The requests of one connection.
struct Activity {
    opened: Instant,
    begun: AtomicBool,
    in_flight: AtomicUsize,
    /// When the last answer was made, in milliseconds after `opened`.
    last: AtomicU64,
    first: Notify,
}

impl Activity {
    fn new() -> Self {
        Self {
            opened: Instant::now(),
            begun: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
            last: AtomicU64::new(0),
            first: Notify::new(),
        }
    }

    /// Whether the head of a request has been read.
    fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Acquire)
    }

    /// How long nothing has been in flight; `None` when something is.
    fn idle(&self) -> Option<Duration> {
        if self.in_flight.load(Ordering::Acquire) > 0 {
            return None;
        }
        let last = Duration::from_millis(self.last.load(Ordering::Acquire));
        Some(self.opened.elapsed().saturating_sub(last))
    }
}

/// A request in flight.
struct Busy(Arc<Activity>);

impl Busy {
    fn new(activity: Arc<Activity>) -> Self {
        activity.in_flight.fetch_add(1, Ordering::AcqRel);
        if !activity.begun.swap(true, Ordering::AcqRel) {
            activity.first.notify_one();
        }
        Self(activity)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let elapsed = u64::try_from(self.0.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.last.store(elapsed, Ordering::Release);
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}
