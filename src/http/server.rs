//! The accept loop: sockets, limits, TLS, and the end of it all.
//!
//! The loop is our own because three things that matter here are in no ready-made server: connections that are kept
//! open and answering while the process stops, a limit on the time to the first request that does not become a limit on
//! idle connections, and a limit on connections that leaves the excess in the backlog.

mod connection;
mod linger;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::lifecycle::{Lifecycle, Phase};
use super::throttle::Throttle;
use connection::Shared;

/// A bound socket, and what will be served on it.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    name: &'static str,
    router: Router,
    limits: Limits,
    tls: Option<TlsConfigs>,
    peers: bool,
}

/// Whose connection a request came by, among its extensions where [`Server::with_peers`] asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// Gives the TLS configuration for a connection; asked once for each, so that a reload needs no restart.
pub type TlsConfigs = Arc<dyn Fn() -> Arc<rustls::ServerConfig> + Send + Sync>;

/// What a client may cost. The default is what the webhook port runs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections open at once; further ones wait in the backlog.
    pub connections: usize,
    /// How long a TLS handshake may take.
    pub handshake: Duration,
    /// How long after it the head of the first request may take. Not for a client that has shown a certificate of the
    /// client CA: Go dials more than it needs under load and keeps the surplus, unused, as idle connections.
    pub first_request: Duration,
    /// How long a connection may be idle after that. Above the 90 s of client-go, so that it is the one that closes.
    pub idle: Duration,
    /// How long open connections are kept after [`Phase::Stopping`].
    pub stop: Duration,
    /// The head of a request, in bytes.
    pub head: u32,
    /// Streams open at once on an HTTP/2 connection.
    pub streams: u32,
    /// How long an HTTP/2 connection may be silent before it is pinged; a ping has 20 s to be answered.
    pub ping: Duration,
}

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Connections that had to be cut, because they were still busy when the time was up or the process was told to abort.
    pub cut: usize,
}

impl Server {
    /// Binds `address` (port 0 for any) and serves `router` on it once [`run`](Self::run). `name` is what the log calls it.
    ///
    /// # Errors
    ///
    /// When the address cannot be bound; the message names it.
    pub async fn bind(name: &'static str, address: SocketAddr, router: Router, limits: Limits) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("the {name} port cannot be opened on {address}: {error}"),
            )
        })?;
        let address = listener.local_addr()?;
        Ok(Self {
            listener,
            address,
            name,
            router,
            limits,
            tls: None,
            peers: false,
        })
    }

    /// Serves over TLS: HTTP/1.1 and HTTP/2, as ALPN has it. Without it, HTTP/1.1 in the clear.
    pub fn with_tls(mut self, configs: TlsConfigs) -> Self {
        self.tls = Some(configs);
        self
    }

    /// Tells each request whose connection it came by: [`Peer`].
    pub fn with_peers(mut self) -> Self {
        self.peers = true;
        self
    }

    /// The address that was bound.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the process stops and the last connection is closed.
    ///
    /// Dropping the future cuts every connection.
    pub async fn run(self, lifecycle: Lifecycle) -> Stopped {
        let Self {
            listener,
            address,
            name,
            router,
            limits,
            tls,
            peers,
        } = self;
        tracing::info!(%address, tls = tls.is_some(), "listening on the {name} port");
        let shared = Arc::new(Shared {
            name,
            router,
            limits,
            tls,
            peers,
            lifecycle: lifecycle.clone(),
            close_idle: CancellationToken::new(),
            streams: TaskTracker::new(),
            refused: Throttle::default(),
        });
        let mut connections = JoinSet::new();
        accept(&listener, &shared, &mut connections).await;
        if let Err(error) = take_backlog(listener, &shared, &mut connections) {
            tracing::warn!(%error, "closed the {} port with connections in its backlog", shared.name);
        }
        let stopped = finish(&shared, &mut connections).await;
        shared.streams.close();
        // Their connections are gone, so they end at the next thing that they wait for.
        shared.streams.wait().await;
        tracing::info!(cut = stopped.cut, "closed the {name} port");
        stopped
    }
}

impl Limits {
    /// For the admin port: a kubelet, a Prometheus and a person.
    pub fn admin() -> Self {
        Self {
            connections: 64,
            ..Self::default()
        }
    }

    /// For the REST API: people, scripts, and whoever guesses tokens, who holds a connection for as long as an answer is delayed.
    pub fn api() -> Self {
        Self {
            connections: 256,
            ..Self::default()
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            handshake: Duration::from_secs(10),
            first_request: Duration::from_secs(10),
            idle: Duration::from_secs(150),
            stop: Duration::from_secs(5),
            head: 64 << 10,
            streams: 250,
            ping: Duration::from_secs(30),
        }
    }
}

/// Accepts until the process stops.
async fn accept(listener: &TcpListener, shared: &Arc<Shared>, connections: &mut JoinSet<()>) {
    let stopping = shared.lifecycle.reached(Phase::Stopping);
    tokio::pin!(stopping);
    let (full, failing) = (Throttle::default(), Throttle::default());
    let mut paused: Option<Instant> = None;
    loop {
        let room = connections.len() < shared.limits.connections;
        if !room && let Some(held_back) = full.pass(std::time::Instant::now()) {
            let limit = shared.limits.connections;
            tracing::warn!(
                limit,
                held_back,
                "the {} port has reached its limit of connections; new ones wait",
                shared.name
            );
        }
        tokio::select! {
            biased;
            () = &mut stopping => return,
            Some(ended) = connections.join_next() => report(shared, ended),
            () = tokio::time::sleep_until(paused.unwrap_or_else(Instant::now)), if paused.is_some() => paused = None,
            accepted = listener.accept(), if room && paused.is_none() => match accepted {
                Ok((stream, _)) => spawn(shared, connections, stream),
                Err(error) if concerns_the_peer(&error) => {}
                Err(error) => {
                    // Out of descriptors or memory: asking again at once would spin until a connection ends.
                    paused = Some(Instant::now() + ACCEPT_PAUSE);
                    if let Some(held_back) = failing.pass(std::time::Instant::now()) {
                        tracing::error!(%error, held_back, "the {} port cannot accept connections", shared.name);
                    }
                }
            },
        }
    }
}

/// Accepts what is in the backlog already, and closes the port: a client that has connected expects an answer, not a reset.
fn take_backlog(listener: TcpListener, shared: &Arc<Shared>, connections: &mut JoinSet<()>) -> io::Result<()> {
    // Tokio's own accepts nothing before the event for it has come round.
    let listener = listener.into_std()?;
    while connections.len() < shared.limits.connections {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(true)?;
                spawn(shared, connections, TcpStream::from_std(stream)?);
            }
            Err(error) if concerns_the_peer(&error) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Waits for the connections: until none is open, and no longer than [`Limits::stop`].
///
/// Idle ones are kept, answering, for nine tenths of that time: endpoints and connection pools learn of our end slower
/// than we end, and a connection closed under a POST is a Pod that was not rewritten.
async fn finish(shared: &Arc<Shared>, connections: &mut JoinSet<()>) -> Stopped {
    let started = Instant::now();
    let close_idle = tokio::time::sleep_until(started + shared.limits.stop.mul_f32(0.9));
    let time_up = tokio::time::sleep_until(started + shared.limits.stop);
    let aborting = shared.lifecycle.reached(Phase::Aborting);
    tokio::pin!(close_idle, time_up, aborting);
    loop {
        tokio::select! {
            biased;
            () = &mut aborting => break,
            ended = connections.join_next() => match ended {
                Some(ended) => report(shared, ended),
                None => return Stopped { cut: 0 },
            },
            () = &mut time_up => break,
            () = &mut close_idle, if !shared.close_idle.is_cancelled() => shared.close_idle.cancel(),
        }
    }
    let cut = connections.len();
    connections.shutdown().await;
    Stopped { cut }
}

fn spawn(shared: &Arc<Shared>, connections: &mut JoinSet<()>, stream: TcpStream) {
    connections.spawn(connection::serve(Arc::clone(shared), stream));
}

fn report(shared: &Shared, ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection of the {} port panicked", shared.name);
    }
}

/// Errors of `accept(2)` that are about the one connection (its manual page, "Error handling").
fn concerns_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests;
