//! The API server of a cluster of `tests/cluster`, asked from within its network as its administrator.

use std::{
    env, fs,
    io::Write,
    net::SocketAddr,
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, StatusCode,
    client::conn::http1::{self, SendRequest},
    header::{AUTHORIZATION, CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Where it is, and what it takes to be let in.
#[derive(Clone)]
pub struct Access {
    address: SocketAddr,
    tls: TlsConnector,
    authorization: String,
}

/// One connection, HTTP/1.1: one request at a time.
pub struct Client {
    sender: SendRequest<Full<Bytes>>,
    host: String,
    authorization: String,
}

/// The directory of the cluster that this runs in.
///
/// # Errors
///
/// Outside of `tests/cluster/cluster run --`.
pub fn cluster_dir() -> Result<PathBuf> {
    let dir = env::var_os("WAYPOST_CLUSTER_DIR").context("this runs inside of `tests/cluster/cluster run --`")?;
    Ok(dir.into())
}

/// Runs kubectl, and gives what it prints.
///
/// # Errors
///
/// When there is none, or it fails.
pub fn kubectl(arguments: &[&str], stdin: &str) -> Result<String> {
    let mut command = Command::new("kubectl");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().context("kubectl, of `tests/cluster/cluster run --`")?;
    child.stdin.take().context("no stdin")?.write_all(stdin.as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "{command:?} failed");
    Ok(String::from_utf8(output.stdout)?)
}

impl Access {
    /// That of the cluster that this runs in.
    ///
    /// # Errors
    ///
    /// Outside of a cluster, or when its files cannot be read.
    pub fn of_cluster() -> Result<Self> {
        let dir = cluster_dir()?;
        let server = kubectl(
            &["config", "view", "--output=jsonpath={.clusters[0].cluster.server}"],
            "",
        )?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(dir.join("pki/ca.crt"))? {
            roots.add(certificate?)?;
        }
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            address: server.trim_start_matches("https://").parse()?,
            tls: TlsConnector::from(Arc::new(config)),
            authorization: format!("Bearer {}", fs::read_to_string(dir.join("admin.token"))?.trim()),
        })
    }

    /// A new connection.
    ///
    /// # Errors
    ///
    /// When nobody answers there.
    pub async fn connect(&self) -> Result<Client> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let stream = self.tls.connect(ServerName::from(self.address.ip()), stream).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Client {
            sender,
            host: self.address.to_string(),
            authorization: self.authorization.clone(),
        })
    }
}

impl Client {
    /// Sends one request, with a body of JSON or an empty one.
    ///
    /// # Errors
    ///
    /// When the connection ends before the answer did.
    pub async fn send(&mut self, method: Method, path: &str, body: Bytes) -> Result<(StatusCode, Bytes)> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &self.host)
            .header(AUTHORIZATION, &self.authorization)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))?;
        let answer = self.sender.send_request(request).await?;
        let status = answer.status();
        Ok((status, answer.into_body().collect().await?.to_bytes()))
    }
}
