//! A registry that tests make up, with or without TLS, and what was said to it.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{Router, extract::Request, middleware::Next};
use hyper::header::AUTHORIZATION;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, sync::Notify, task::JoinHandle};
use tokio_rustls::TlsAcceptor;

use crate::tls::{
    Source, Tls,
    testing::{Authority, Pair},
};

/// A request's path, and the credential that came with it.
type Asked = (String, Option<String>);

/// A server on a port of its own, until it is dropped.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    /// Method, path with its query, and the `Authorization` that came along.
    asked: Arc<Mutex<Vec<Asked>>>,
    came: Arc<Notify>,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Served {
    /// Without TLS.
    pub(crate) async fn plain(router: Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener, router, None)
    }

    /// With TLS, for `localhost`.
    pub(crate) async fn tls(router: Router, pair: &Pair) -> Self {
        let dir = tempfile::tempdir().unwrap();
        pair.write(dir.path());
        let source = Source {
            dir: dir.path().to_owned(),
            client_ca: None,
        };
        // Long before the certificates of tests expire, and after they are made.
        let loaded = Tls::load(source, std::time::SystemTime::now());
        let config = match loaded {
            Ok(tls) => tls.config(),
            Err(error) => panic!("{error}"),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener, router, Some(TlsAcceptor::from(config)))
    }

    /// On a port that is there already.
    pub(crate) fn on(listener: TcpListener, router: Router, acceptor: Option<TlsAcceptor>) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let came = Arc::new(Notify::new());
        let router = {
            let (asked, came) = (asked.clone(), came.clone());
            router.layer(axum::middleware::from_fn(move |request: Request, next: Next| {
                let what = format!("{} {}", request.method(), request.uri());
                let header = request.headers().get(AUTHORIZATION);
                let header = header.map(|value| value.to_str().unwrap().to_owned());
                asked.lock().unwrap().push((what, header));
                came.notify_one();
                next.run(request)
            }))
        };
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let accepted = connections.clone();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                accepted.fetch_add(1, Ordering::Relaxed);
                let (router, acceptor) = (router.clone(), acceptor.clone());
                connections.spawn(async move {
                    let service = TowerToHyperService::new(router);
                    let server = auto::Builder::new(TokioExecutor::new());
                    match acceptor {
                        None => drop(server.serve_connection(TokioIo::new(stream), service).await),
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                drop(server.serve_connection(TokioIo::new(stream), service).await);
                            }
                        }
                    }
                });
            }
        });
        Self {
            address,
            asked,
            came,
            connections,
            task,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Closes the port and every connection.
    pub(crate) async fn stop(mut self) {
        self.task.abort();
        // The port is free once the task is gone.
        let _ = (&mut self.task).await;
    }

    /// Resolves when so many requests have come that nobody looked at yet.
    pub(crate) async fn until_asked(&self, count: usize) {
        while self.asked.lock().unwrap().len() < count {
            self.came.notified().await;
        }
    }

    /// How many connections were made to it.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// What was asked so far, which is forgotten.
    pub(crate) fn asked(&self) -> Vec<(String, Option<String>)> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An authority and a certificate of it for `localhost`.
pub(crate) fn certificate(from: i32, to: i32) -> (Authority, Pair) {
    let authority = Authority::new("tests");
    let pair = authority.issue(from, to);
    (authority, pair)
}
