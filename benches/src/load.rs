//! Reviews, sent as fast as they are answered.

use std::{
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, StatusCode,
    client::conn::{http1, http2},
    header::{CONTENT_TYPE, HOST},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{net::TcpStream, task::JoinSet};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// The version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1, kept alive: what the API server speaks to a Service.
    Http1,
    /// HTTP/2: what it speaks to a loopback URL.
    Http2,
}

/// Who is asked, and what.
#[derive(Clone)]
pub struct Load {
    /// The server.
    pub address: SocketAddr,
    /// The client's half of TLS.
    pub tls: Arc<ClientConfig>,
    /// Sent in turn.
    pub reviews: Arc<[Bytes]>,
    /// The version of HTTP.
    pub protocol: Protocol,
}

/// Open connections.
pub struct Clients {
    load: Load,
    senders: Vec<Sender>,
}

/// The connection's way to send a request: the two kinds of hyper's as one.
enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Protocol {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Http1, Self::Http2];

    /// As tables have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http1 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        }
    }

    /// TLS as a client that trusts the certificate authority of `dir` and wants this version.
    ///
    /// # Errors
    ///
    /// When there is no certificate authority.
    pub fn tls(self, dir: &Path) -> Result<Arc<ClientConfig>> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(dir.join("ca.crt"))? {
            roots.add(certificate?)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![match self {
            Self::Http1 => b"http/1.1".to_vec(),
            Self::Http2 => b"h2".to_vec(),
        }];
        Ok(Arc::new(config))
    }

    fn connections(self) -> usize {
        match self {
            Self::Http1 => IN_FLIGHT,
            Self::Http2 => HTTP2_CONNECTIONS,
        }
    }
}

impl Load {
    /// Opens the connections.
    ///
    /// # Errors
    ///
    /// When one is not accepted.
    pub async fn clients(self) -> Result<Clients> {
        let connections = self.protocol.connections();
        let mut senders = Vec::new();
        for _ in 0..connections {
            let first = self.connect().await?;
            senders.extend((1..IN_FLIGHT / connections).filter_map(|_| first.another()));
            senders.push(first);
        }
        Ok(Clients { load: self, senders })
    }

    /// Sends the first review, on a connection of its own.
    ///
    /// # Errors
    ///
    /// When the answer is none.
    pub async fn first(&self) -> Result<Bytes> {
        let review = self.reviews.first().context("there is no review")?;
        let mut sender = self.connect().await?;
        self.send(&mut sender, review.clone()).await
    }

    async fn connect(&self) -> Result<Sender> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::from(self.address.ip());
        let stream: TlsStream<TcpStream> = TlsConnector::from(self.tls.clone()).connect(name, stream).await?;
        let io = TokioIo::new(stream);
        Ok(match self.protocol {
            Protocol::Http1 => {
                let (sender, connection) = http1::handshake(io).await?;
                // It ends with its sender.
                tokio::spawn(connection);
                Sender::Http1(sender)
            }
            Protocol::Http2 => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
                tokio::spawn(connection);
                Sender::Http2(sender)
            }
        })
    }

    async fn send(&self, sender: &mut Sender, review: Bytes) -> Result<Bytes> {
        let request = Request::post(match self.protocol {
            Protocol::Http1 => "/mutate?timeout=10s".to_owned(),
            Protocol::Http2 => format!("https://{}/mutate?timeout=10s", self.address),
        })
        .header(CONTENT_TYPE, "application/json");
        let request = match self.protocol {
            Protocol::Http1 => request.header(HOST, self.address.to_string()),
            Protocol::Http2 => request,
        }
        .body(Full::new(review))?;
        let response = match sender {
            Sender::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Sender::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
        };
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        ensure!(status == StatusCode::OK, "{status}: {}", String::from_utf8_lossy(&body));
        Ok(body)
    }
}

impl Clients {
    /// Sends for so long, [`IN_FLIGHT`] reviews at a time. What comes back is the time that each took, in ascending order.
    ///
    /// # Errors
    ///
    /// When an answer is none.
    pub async fn run(&mut self, duration: Duration) -> Result<Vec<Duration>> {
        let end = Instant::now() + duration;
        let mut tasks = JoinSet::new();
        for (offset, mut sender) in self.senders.drain(..).enumerate() {
            let load = self.load.clone();
            tasks.spawn(async move {
                let mut took = Vec::with_capacity(100_000);
                // Each begins with another review, so that not all send the largest at once.
                for review in load.reviews.iter().cycle().skip(offset) {
                    let sent = Instant::now();
                    if sent >= end {
                        break;
                    }
                    load.send(&mut sender, review.clone()).await?;
                    took.push(sent.elapsed());
                }
                anyhow::Ok((sender, took))
            });
        }
        let mut all = Vec::new();
        while let Some(ended) = tasks.join_next().await {
            let (sender, mut took) = ended??;
            self.senders.push(sender);
            all.append(&mut took);
        }
        all.sort_unstable();
        ensure!(!all.is_empty(), "no review was answered");
        Ok(all)
    }
}

impl Sender {
    /// Another stream of the same connection.
    fn another(&self) -> Option<Self> {
        match self {
            Self::Http1(_) => None,
            Self::Http2(sender) => Some(Self::Http2(sender.clone())),
        }
    }
}

/// The time that this share of all took less than.
///
/// # Errors
///
/// When there is none.
pub fn percentile(ascending: &[Duration], percent: usize) -> Result<Duration> {
    let at = (ascending.len() * percent / 100).min(ascending.len().saturating_sub(1));
    ascending.get(at).copied().context("nothing was measured")
}

/// Reviews under way at any moment. Enough to keep two cores busy, few enough that the queue in front of them stays short.
pub const IN_FLIGHT: usize = 8;

const HTTP2_CONNECTIONS: usize = 2;
