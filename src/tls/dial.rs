//! What somebody serves: a handshake, and nothing after it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::authority::verifier;

/// What was served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dialled {
    /// This certificate, DER, of an authority that was asked about.
    Leaf(Vec<u8>),
    /// One that they have not signed for this name.
    Another,
    /// No handshake came about, for this reason.
    Unreachable(String),
}

/// Asks an address for its certificate for `name`, trusting these authorities, PEM.
pub async fn dial(address: SocketAddr, name: &str, authorities: &[u8]) -> Dialled {
    let handshake = async {
        let verifier = verifier(authorities).ok_or_else(|| io::Error::other("there is no authority to trust"))?;
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_webpki_verifier(verifier)
            .with_no_client_auth();
        let stream = TcpStream::connect(address).await?;
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let leaf = chain.first().ok_or_else(|| io::Error::other("it has no certificate"))?;
        Ok::<_, io::Error>(leaf.to_vec())
    };
    match tokio::time::timeout(DEADLINE, handshake).await {
        Ok(Ok(leaf)) => Dialled::Leaf(leaf),
        Ok(Err(error)) if is_about_the_certificate(&error) => Dialled::Another,
        Ok(Err(error)) => Dialled::Unreachable(error.to_string()),
        Err(_) => Dialled::Unreachable(format!("it has not answered within {} s", DEADLINE.as_secs())),
    }
}

fn is_about_the_certificate(error: &io::Error) -> bool {
    let rustls = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    matches!(rustls, Some(rustls::Error::InvalidCertificate(_)))
}

/// A replica in the same cluster answers within milliseconds.
const DEADLINE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::super::{Source, Tls, authority::Authority};
    use super::*;

    #[tokio::test]
    async fn the_leaf_is_told_from_one_of_another_authority_and_from_nobody() {
        let now = SystemTime::now();
        let life = Duration::from_secs(1_000);
        let authority = Authority::generate(life, now).unwrap();
        let issued = authority.issue(&["a.b.svc".to_owned()], life, now).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("tls.crt"), &issued.certificate).unwrap();
        std::fs::write(dir.path().join("tls.key"), &issued.key).unwrap();
        let source = Source {
            dir: dir.path().to_owned(),
            client_ca: None,
        };
        let tls = Tls::load(source, now).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(tls.config());
        let serving = tokio::spawn(async move {
            for _ in 0..3 {
                let (stream, _) = listener.accept().await.unwrap();
                // A client that does not like the certificate leaves.
                let _ = acceptor.accept(stream).await;
            }
        });
        let authorities = authority.certificate.as_bytes();
        let leaf = super::super::authority::read(issued.certificate.as_bytes())[0]
            .der
            .to_vec();
        assert_eq!(dial(address, "a.b.svc", authorities).await, Dialled::Leaf(leaf));
        assert_eq!(dial(address, "c.b.svc", authorities).await, Dialled::Another);
        let other = Authority::generate(life, now).unwrap();
        assert_eq!(
            dial(address, "a.b.svc", other.certificate.as_bytes()).await,
            Dialled::Another
        );
        serving.await.unwrap();
        let nobody = dial(address, "a.b.svc", authorities).await;
        assert!(matches!(nobody, Dialled::Unreachable(_)), "{nobody:?}");
    }
}
