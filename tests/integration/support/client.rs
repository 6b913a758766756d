//! A client as the API server is one: TLS with one authority, HTTP/1.1 or HTTP/2, one request a connection.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{HeaderMap, Request, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::PATIENCE;

/// What is spoken, offered to the server by ALPN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

/// Makes requests.
pub(crate) struct Client {
    tls: Option<Arc<ClientConfig>>,
    protocol: Protocol,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    /// The server's certificate, DER.
    pub(crate) certificate: Option<Vec<u8>>,
}

impl Client {
    /// One that trusts the authorities of a PEM file.
    pub(crate) fn new(authority: &Path, protocol: Protocol) -> Self {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(authority).unwrap() {
            roots.add(certificate.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![match protocol {
            Protocol::Http1 => b"http/1.1".to_vec(),
            Protocol::Http2 => b"h2".to_vec(),
        }];
        Self {
            tls: Some(Arc::new(config)),
            protocol,
        }
    }

    /// One without TLS.
    pub(crate) fn plain() -> Self {
        Self {
            tls: None,
            protocol: Protocol::Http1,
        }
    }

    /// A review to `/mutate`.
    pub(crate) fn post(&self, address: SocketAddr, body: Vec<u8>) -> io::Result<Reply> {
        let request = Request::post(self.uri(address, "/mutate")).header(CONTENT_TYPE, "application/json");
        self.send(address, request.body(Full::from(body)).unwrap())
    }

    pub(crate) fn get(&self, address: SocketAddr, path: &str) -> io::Result<Reply> {
        self.send(
            address,
            Request::get(self.uri(address, path)).body(Full::default()).unwrap(),
        )
    }

    /// A connection on which the test speaks itself.
    pub(crate) fn connect(&self, address: SocketAddr) -> StreamOwned<ClientConnection, std::net::TcpStream> {
        let stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let config = self.tls.clone().unwrap();
        let connection = ClientConnection::new(config, ServerName::from(address.ip())).unwrap();
        StreamOwned::new(connection, stream)
    }

    /// The certificate, DER, that is served for this name, if it is one to trust.
    pub(crate) fn certificate(&self, address: SocketAddr, name: &str) -> io::Result<Vec<u8>> {
        let mut stream = std::net::TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let config = self.tls.clone().unwrap();
        let mut connection = ClientConnection::new(config, name).map_err(io::Error::other)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut stream)?;
        }
        Ok(connection.peer_certificates().unwrap()[0].to_vec())
    }

    /// HTTP/2 has the authority in the request line, HTTP/1.1 in a header.
    fn uri(&self, address: SocketAddr, path: &str) -> String {
        match self.protocol {
            Protocol::Http1 => path.to_owned(),
            Protocol::Http2 => format!("https://{address}{path}"),
        }
    }

    /// Any request to a path, with these headers.
    pub(crate) fn request(
        &self,
        address: SocketAddr,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> io::Result<Reply> {
        let mut request = Request::builder().method(method).uri(self.uri(address, path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(address, request.body(Full::new(body.into())).unwrap())
    }

    fn send(&self, address: SocketAddr, mut request: Request<Full<Bytes>>) -> io::Result<Reply> {
        if self.protocol == Protocol::Http1 {
            request.headers_mut().insert(HOST, address.to_string().parse().unwrap());
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            tokio::time::timeout(PATIENCE, self.exchange(address, request))
                .await
                .map_err(io::Error::other)?
        })
    }

    async fn exchange(&self, address: SocketAddr, request: Request<Full<Bytes>>) -> io::Result<Reply> {
        let stream = TcpStream::connect(address).await?;
        let Some(tls) = &self.tls else {
            return self.over(stream, request).await;
        };
        let stream = TlsConnector::from(tls.clone())
            .connect(ServerName::from(address.ip()), stream)
            .await?;
        let certificate = stream
            .get_ref()
            .1
            .peer_certificates()
            .and_then(|chain| Some(chain.first()?.to_vec()));
        let reply = self.over(stream, request).await?;
        Ok(Reply { certificate, ..reply })
    }

    async fn over<S>(&self, stream: S, request: Request<Full<Bytes>>) -> io::Result<Reply>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let stream = TokioIo::new(stream);
        let response = match self.protocol {
            Protocol::Http1 => {
                let (mut sender, connection) = hyper::client::conn::http1::handshake(stream)
                    .await
                    .map_err(io::Error::other)?;
                tokio::spawn(connection);
                sender.send_request(request).await
            }
            Protocol::Http2 => {
                let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)
                    .await
                    .map_err(io::Error::other)?;
                tokio::spawn(connection);
                sender.send_request(request).await
            }
        };
        let response = response.map_err(io::Error::other)?;
        Ok(Reply {
            status: response.status().as_u16(),
            version: response.version(),
            headers: response.headers().clone(),
            body: response
                .into_body()
                .collect()
                .await
                .map_err(io::Error::other)?
                .to_bytes()
                .to_vec(),
            certificate: None,
        })
    }
}

impl Reply {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// The patch, and the Pod of the review with it applied.
    #[track_caller]
    pub(crate) fn applied_to(&self, review: &Value) -> (Option<Value>, Value) {
        assert_eq!(self.status, 200, "{}", self.text());
        applied(&self.body, review)
    }
}

/// The patch in an answer, and the Pod of the review with it applied.
#[track_caller]
pub(crate) fn applied(answer: &[u8], review: &Value) -> (Option<Value>, Value) {
    let answer: Value = serde_json::from_slice(answer).unwrap();
    let response = &answer["response"];
    assert_eq!(
        (&answer["kind"], &answer["apiVersion"]),
        (&review["kind"], &review["apiVersion"])
    );
    assert_eq!(response["uid"], review["request"]["uid"]);
    assert_eq!(response["allowed"], true, "{answer}");
    let mut object = review["request"]["object"].clone();
    let Some(patch) = response["patch"].as_str() else {
        return (None, object);
    };
    assert_eq!(response["patchType"], "JSONPatch");
    let patch = base64::engine::general_purpose::STANDARD.decode(patch).unwrap();
    let operations: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
    json_patch::patch(&mut object, &operations).unwrap();
    (Some(serde_json::from_slice(&patch).unwrap()), object)
}
