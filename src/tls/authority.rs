//! An authority that issues certificates for a Service, and what can be said of certificates that are kept somewhere.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;

use super::TlsError;
use super::load::Validity;

/// An authority, with its key.
pub struct Authority {
    /// Its certificate, PEM.
    pub certificate: String,
    /// Its key, PEM.
    pub key: String,
    issuer: Issuer<'static, KeyPair>,
    not_after: Option<Timestamp>,
}

/// A certificate and its key, PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

/// A certificate that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// The whole of it.
    pub der: CertificateDer<'static>,
    /// The first second of its validity.
    pub not_before: Timestamp,
    /// The last one.
    pub not_after: Timestamp,
}

impl Authority {
    /// A new one, ECDSA P-256, which can sign certificates and no authorities.
    ///
    /// # Errors
    ///
    /// When there is no randomness.
    pub fn generate(lifetime: Duration, now: SystemTime) -> Result<Self, TlsError> {
        let make = || {
            let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
            let mut params = subject();
            validity(&mut params, lifetime, now, None);
            let certificate = params.self_signed(&key)?.pem();
            let pem = key.serialize_pem();
            Ok((certificate, pem, Issuer::new(params, key)))
        };
        let (certificate, key, issuer) = make().map_err(failed)?;
        Ok(Self {
            not_after: read(certificate.as_bytes()).first().map(|read| read.not_after),
            certificate,
            key,
            issuer,
        })
    }

    /// One that was kept; none where it is no authority of ours, or not valid, or the key is another's.
    pub fn parse(certificate: &str, key: &str, now: SystemTime) -> Option<Self> {
        let not_after = read(certificate.as_bytes()).first()?.not_after;
        let parsed = Self {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            issuer: Issuer::new(subject(), KeyPair::from_pem(key).ok()?),
            not_after: Some(not_after),
        };
        // The one test that cannot overlook anything: whether what it issues is accepted.
        let name = "probe.invalid".to_owned();
        let probe = parsed
            .issue(std::slice::from_ref(&name), Duration::from_secs(60), now)
            .ok()?;
        is_accepted(probe.certificate.as_bytes(), certificate.as_bytes(), &[name], now).then_some(parsed)
    }

    /// A certificate for these names, which does not outlive the authority.
    ///
    /// # Errors
    ///
    /// When a name cannot be in a certificate.
    pub fn issue(&self, names: &[String], lifetime: Duration, now: SystemTime) -> Result<Issued, TlsError> {
        let make = || {
            let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
            let mut params = CertificateParams::new(names)?;
            params.distinguished_name = DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, "waypost");
            validity(&mut params, lifetime, now, self.not_after);
            params.is_ca = IsCa::ExplicitNoCa;
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            params.use_authority_key_identifier_extension = true;
            let certificate = params.signed_by(&key, &self.issuer)?.pem();
            Ok(Issued {
                certificate,
                key: key.serialize_pem(),
            })
        };
        make().map_err(failed)
    }
}

/// The certificates in a PEM text; what is none is left out.
pub fn read(pem: &[u8]) -> Vec<Read> {
    CertificateDer::pem_slice_iter(pem)
        .filter_map(|der| {
            let der = der.ok()?;
            let Validity { not_before, not_after } = Validity::of(&der)?;
            Some(Read {
                der,
                not_before,
                not_after,
            })
        })
        .collect()
}

/// Whether a client that trusts these authorities, PEM, accepts this chain, PEM, for each of these names.
pub fn is_accepted(chain: &[u8], authorities: &[u8], names: &[String], now: SystemTime) -> bool {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(chain).filter_map(Result::ok).collect();
    let Some((leaf, intermediates)) = chain.split_first() else {
        return false;
    };
    let Some(verifier) = verifier(authorities) else {
        return false;
    };
    let now = UnixTime::since_unix_epoch(now.duration_since(UNIX_EPOCH).unwrap_or_default());
    names.iter().all(|name| {
        use rustls::client::danger::ServerCertVerifier;
        ServerName::try_from(name.as_str()).is_ok_and(|name| {
            verifier
                .verify_server_cert(leaf, intermediates, &name, &[], now)
                .is_ok()
        })
    })
}

/// Whether the key, PEM, is that of the first certificate, PEM.
pub fn is_pair(certificate: &[u8], key: &[u8]) -> bool {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate)
        .filter_map(Result::ok)
        .collect();
    PrivateKeyDer::from_pem_slice(key)
        .is_ok_and(|key| !chain.is_empty() && CertifiedKey::from_der(chain, key, &ring::default_provider()).is_ok())
}

/// One that trusts these authorities and no others.
pub(super) fn verifier(authorities: &[u8]) -> Option<Arc<WebPkiServerVerifier>> {
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(authorities).filter_map(Result::ok) {
        // What is no authority cannot have signed anything.
        let _ = roots.add(authority);
    }
    let provider = Arc::new(ring::default_provider());
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .ok()
}

/// The same for each authority, so that one that was kept can be made of its key alone.
fn subject() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Waypost CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// From a little before now, since the clocks of others may be slow, and never past `limit`.
fn validity(params: &mut CertificateParams, lifetime: Duration, now: SystemTime, limit: Option<Timestamp>) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let start = now.saturating_sub((lifetime / 10).min(SLOW_CLOCKS));
    let mut end = now.saturating_add(lifetime).as_secs();
    if let Some(limit) = limit.and_then(|limit| u64::try_from(limit.as_second()).ok()) {
        end = end.min(limit);
    }
    params.not_before = epoch + Duration::from_secs(start.as_secs());
    params.not_after = epoch + Duration::from_secs(end.min(LAST_SECOND));
}

fn failed(error: rcgen::Error) -> TlsError {
    TlsError::Generate(error.to_string())
}

const SLOW_CLOCKS: Duration = Duration::from_secs(3600);

/// 9999-12-30, seconds after the epoch: the last day that a certificate can be valid on and jiff can hold.
const LAST_SECOND: u64 = 253_402_128_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<String> {
        ["waypost.ns.svc", "waypost.ns.svc.cluster.local"]
            .map(str::to_owned)
            .to_vec()
    }

    #[test]
    fn what_is_issued_is_accepted_for_each_of_its_names_by_who_trusts_the_authority() {
        let now = SystemTime::now();
        let authority = Authority::generate(Duration::from_secs(1_000), now).unwrap();
        let issued = authority.issue(&names(), Duration::from_secs(100), now).unwrap();
        let accepted = |names: &[String], authorities: &str, now| {
            is_accepted(issued.certificate.as_bytes(), authorities.as_bytes(), names, now)
        };
        assert!(accepted(&names(), &authority.certificate, now));
        assert!(!accepted(&["other.ns.svc".to_owned()], &authority.certificate, now));
        assert!(!accepted(
            &names(),
            &authority.certificate,
            now + Duration::from_secs(101)
        ));
        let other = Authority::generate(Duration::from_secs(1_000), now).unwrap();
        assert!(!accepted(&names(), &other.certificate, now));
        assert!(accepted(
            &names(),
            &format!("{}{}", other.certificate, authority.certificate),
            now
        ));
        assert!(is_pair(issued.certificate.as_bytes(), issued.key.as_bytes()));
        assert!(!is_pair(issued.certificate.as_bytes(), other.key.as_bytes()));
    }

    #[test]
    fn an_authority_that_was_kept_issues_as_before_and_anything_else_is_none() {
        let now = SystemTime::now();
        let authority = Authority::generate(Duration::from_secs(1_000), now).unwrap();
        let kept = Authority::parse(&authority.certificate, &authority.key, now).unwrap();
        let issued = kept.issue(&names(), Duration::from_secs(100), now).unwrap();
        let authorities = authority.certificate.as_bytes();
        assert!(is_accepted(issued.certificate.as_bytes(), authorities, &names(), now));
        let other = Authority::generate(Duration::from_secs(1_000), now).unwrap();
        for (certificate, key, now) in [
            (&authority.certificate, &other.key, now),
            (&issued.certificate, &issued.key, now),
            (&authority.certificate, &authority.key, now + Duration::from_secs(1_001)),
            (&String::new(), &authority.key, now),
            (&authority.certificate, &"garbage".to_owned(), now),
        ] {
            assert!(Authority::parse(certificate, key, now).is_none());
        }
    }

    #[test]
    fn a_certificate_does_not_outlive_its_authority() {
        let now = SystemTime::now();
        let authority = Authority::generate(Duration::from_secs(1_000), now).unwrap();
        let issued = authority.issue(&names(), Duration::from_secs(5_000), now).unwrap();
        let (leaf, authority) = (
            read(issued.certificate.as_bytes()),
            read(authority.certificate.as_bytes()),
        );
        assert_eq!(leaf[0].not_after, authority[0].not_after);
        assert!(leaf[0].not_before < Timestamp::try_from(now).unwrap());
        assert_eq!(read(b"garbage"), []);
    }
}
