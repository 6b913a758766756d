//! From files to a configuration that works.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use jiff::Timestamp;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore, ServerConfig, version};

use super::{Source, TlsError, certificate, key};

/// A configuration and what has to be known about it.
pub(super) struct Loaded {
    pub(super) config: Arc<ServerConfig>,
    pub(super) not_after: Timestamp,
    /// The certificate's file.
    pub(super) chain: Arc<[u8]>,
    /// Of the files that it was made of.
    pub(super) digest: u64,
}

/// The content of the files, as it was read.
pub(super) struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl Files {
    pub(super) fn read(source: &Source) -> Result<Self, TlsError> {
        Ok(Self {
            certificate: read(&certificate(&source.dir))?,
            key: read(&key(&source.dir))?,
            client_ca: source.client_ca.as_deref().map(read).transpose()?,
        })
    }

    pub(super) fn of(certificate: &[u8], key: &[u8]) -> Self {
        Self {
            certificate: certificate.to_vec(),
            key: key.to_vec(),
            client_ca: None,
        }
    }

    /// Tells one content from another. Not for comparing with anything outside of this process.
    pub(super) fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.certificate, &self.key, &self.client_ca).hash(&mut hasher);
        hasher.finish()
    }

    pub(super) fn load(&self, source: &Source, now: SystemTime) -> Result<Loaded, TlsError> {
        // Explicit, never the process's default: that one panics as soon as some dependency brings a second provider.
        let provider = Arc::new(ring::default_provider());
        let path = certificate(&source.dir);
        let chain = certificates(&self.certificate, &path)?;
        let leaf = chain
            .first()
            .ok_or_else(|| unusable(&path, "no certificate in it, expected PEM with BEGIN CERTIFICATE"))?;
        let validity = Validity::of(leaf).ok_or_else(|| unusable(&path, "the first certificate cannot be parsed"))?;
        let pair = self.pair(source, chain, &provider)?;
        validity.check(&path, now)?;
        let verifier = match (&source.client_ca, &self.client_ca) {
            (Some(path), Some(pem)) => client_verifier(pem, path, &provider)?,
            _ => WebPkiClientVerifier::no_client_auth(),
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])
            .map_err(|error| unusable(&path, error))?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(pair)));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Loaded {
            config: Arc::new(config),
            not_after: validity.not_after,
            chain: self.certificate.as_slice().into(),
            digest: self.digest(),
        })
    }

    fn pair(
        &self,
        source: &Source,
        chain: Vec<CertificateDer<'static>>,
        provider: &CryptoProvider,
    ) -> Result<CertifiedKey, TlsError> {
        let (certificate, path) = (certificate(&source.dir), key(&source.dir));
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| match error {
            pem::Error::NoItemsFound => unusable(
                &path,
                "no private key in it, expected unencrypted PKCS #8, PKCS #1 or SEC 1 PEM",
            ),
            error => unusable(&path, error),
        })?;
        CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => TlsError::Mismatch { certificate, key: path },
            Error::InvalidCertificate(error) => unusable(&certificate, format_args!("invalid certificate: {error}")),
            error => unusable(&path, error),
        })
    }
}

/// When a certificate is valid; RFC 5280, section 4.1.2.5. Both ends are inclusive.
pub(super) struct Validity {
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
}

impl Validity {
    /// Read with yasna, which rcgen brings anyway: rustls-webpki does not give the validity away, and x509-parser is
    /// eight more crates for two times.
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let seconds = yasna::parse_der(certificate, |reader| {
            reader.read_sequence(|reader| {
                let validity = reader.next().read_sequence(|reader| {
                    // version, absent in certificates of version 1
                    reader.read_optional(|reader| {
                        reader.read_tagged(yasna::Tag::context(0), |reader| reader.read_der())
                    })?;
                    for _serial_algorithm_issuer in 0..3 {
                        reader.next().read_der()?;
                    }
                    let validity = reader
                        .next()
                        .read_sequence(|reader| Ok((time(reader.next())?, time(reader.next())?)))?;
                    while reader.read_optional(|reader| reader.read_der())?.is_some() {}
                    Ok(validity)
                })?;
                for _algorithm_signature in 0..2 {
                    reader.next().read_der()?;
                }
                Ok(validity)
            })
        });
        let (not_before, not_after) = seconds.ok()?;
        Some(Self {
            not_before: Timestamp::from_second(not_before).ok()?,
            not_after: last_second(not_after),
        })
    }

    fn check(&self, path: &Path, now: SystemTime) -> Result<(), TlsError> {
        // A clock outside of what a Timestamp holds is after every certificate.
        let now = Timestamp::try_from(now).unwrap_or(Timestamp::MAX);
        if now > self.not_after {
            return Err(TlsError::Expired {
                path: path.to_owned(),
                not_after: self.not_after,
            });
        }
        if now < self.not_before {
            return Err(TlsError::NotYetValid {
                path: path.to_owned(),
                not_before: self.not_before,
            });
        }
        Ok(())
    }
}

/// "No well-defined expiration" is written 99991231235959Z (RFC 5280, section 4.1.2.5), a day after what jiff can hold.
fn last_second(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
}

/// Seconds after the epoch; a year before 2050 is written as UTCTime, any other as GeneralizedTime.
fn time(reader: yasna::BERReader<'_, '_>) -> yasna::ASN1Result<i64> {
    if reader.lookahead_tag()? == yasna::tags::TAG_UTCTIME {
        Ok(reader.read_utctime()?.datetime().unix_timestamp())
    } else {
        Ok(reader.read_generalized_time()?.datetime().unix_timestamp())
    }
}

fn client_verifier(
    pem: &[u8],
    path: &Path,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(pem, path)? {
        roots.add(authority).map_err(|error| unusable(path, error))?;
    }
    if roots.is_empty() {
        return Err(unusable(path, "no certificate in it, so no client could get in"));
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| unusable(path, error))
}

fn certificates(pem: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| unusable(path, error))
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read {
        path: path.to_owned(),
        source,
    })
}

fn unusable(path: &Path, reason: impl ToString) -> TlsError {
    TlsError::Unusable {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}
