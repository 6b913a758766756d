//! The HTTP under Amazon's crates: hyper and rustls as everywhere else in Waypost, with the authorities that Waypost trusts.
//!
//! Their own client takes authorities as PEM or from the system. The image has no system to take them from, and what Waypost carries is
//! not PEM.

use std::{
    error::Error,
    fmt, io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aws_smithy_runtime_api::client::{
    http::{HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector},
    orchestrator::{HttpRequest, HttpResponse},
    result::ConnectorError,
    runtime_components::RuntimeComponents,
};
use aws_smithy_types::body::SdkBody;
use http_body_util::Limited;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{
        self,
        connect::{HttpConnector as TcpConnector, dns::GaiResolver},
    },
    rt::{TokioExecutor, TokioTimer},
};
use rustls::ClientConfig;
use tokio::time::timeout;
use tower::util::MapErr;

/// A name that could not be looked up.
#[derive(Debug)]
pub(super) struct Unresolved(io::Error);

/// The clients of one registry, which keep their connections for a while. Clones share them.
#[derive(Clone)]
pub(super) struct Transport {
    tls: ClientConfig,
    /// By how long a connection may take: one for services, one for each kind of metadata.
    clients: Arc<Mutex<Vec<(Duration, Client)>>>,
}

type Client = legacy::Client<HttpsConnector<TcpConnector<Lookup>>, SdkBody>;
type Lookup = MapErr<GaiResolver, fn(io::Error) -> Unresolved>;

impl Transport {
    pub(super) fn new(tls: ClientConfig) -> Self {
        Self {
            tls,
            clients: Arc::default(),
        }
    }

    fn client(&self, connect: Duration) -> Client {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, client)) = clients.iter().find(|(of, _)| *of == connect) {
            return client.clone();
        }
        let mut tcp = TcpConnector::new_with_resolver(Lookup::new(GaiResolver::new(), Unresolved));
        // The metadata of a machine or a container has no TLS.
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(connect));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(self.tls.clone())
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(1)
            .build(connector);
        clients.push((connect, client.clone()));
        client
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Transport")
    }
}

impl HttpClient for Transport {
    fn http_connector(&self, settings: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(Connector {
            client: self.client(settings.connect_timeout().unwrap_or(CONNECT)),
            answer: settings.read_timeout().unwrap_or(ANSWER),
        })
    }
}

struct Connector {
    client: Client,
    answer: Duration,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (client, answer) = (self.client.clone(), self.answer);
        HttpConnectorFuture::new(async move {
            let request = request
                .try_into_http1x()
                .map_err(|error| ConnectorError::user(error.into()))?;
            let response = match timeout(answer, client.request(request)).await {
                Ok(answered) => answered.map_err(failed)?,
                Err(elapsed) => return Err(ConnectorError::timeout(elapsed.into())),
            };
            let response = response.map(|body| SdkBody::from_body_1_x(Limited::new(body, MOST_BYTES)));
            HttpResponse::try_from(response).map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

/// What is worth another attempt, and what is not: a certificate does not get better.
fn failed(error: legacy::Error) -> ConnectorError {
    let (mut certificate, mut late) = (false, false);
    for error in chain(&error) {
        certificate |= error.is::<rustls::Error>();
        late |= error
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::TimedOut);
    }
    let never_connected = error.is_connect();
    let error = match (certificate, late) {
        (true, _) => ConnectorError::other(error.into(), None),
        (_, true) => ConnectorError::timeout(error.into()),
        _ => ConnectorError::io(error.into()),
    };
    if never_connected {
        error.never_connected()
    } else {
        error
    }
}

/// An error and what it comes from, also what is in an I/O error, which `source` passes over.
pub(super) fn chain<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    let inner = |error: &&'e (dyn Error + 'static)| -> Option<&'e (dyn Error + 'static)> {
        let error: &'e (dyn Error + 'static) = *error;
        match error.downcast_ref::<io::Error>() {
            Some(io) => io.get_ref().map(|inner| inner as &(dyn Error + 'static)),
            None => error.source(),
        }
    };
    std::iter::successors(Some(error), inner)
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Unresolved {}

/// Until a connection is there.
pub(super) const CONNECT: Duration = Duration::from_secs(5);

/// Until the head of an answer is there.
pub(super) const ANSWER: Duration = Duration::from_secs(6);

/// How long a connection is kept that nobody uses: longer than one token takes.
const IDLE: Duration = Duration::from_secs(30);

/// Of an answer. A token is some 3 kB.
const MOST_BYTES: usize = 256 * 1024;
