//! Whom a registry's certificate may be of: the authorities that everybody trusts, those of this machine, those of its CA bundle.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, pem::PemObject},
};

/// The authorities that every registry's certificate may be of.
#[derive(Clone)]
pub struct Roots {
    store: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

/// Why a CA bundle cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// It is not what a PEM file is.
    #[error(
        "the CA bundle cannot be read: {0}; it is the text of a PEM file, in which each certificate begins with -----BEGIN CERTIFICATE-----"
    )]
    Malformed(String),
    /// One of its certificates is none.
    #[error("certificate {number} of the CA bundle cannot be used: {why}")]
    Unusable {
        /// Counted from one.
        number: usize,
        /// What is wrong with it.
        why: String,
    },
    /// There is none.
    #[error(
        "there is no certificate in the CA bundle: it is the text of a PEM file, in which each begins with -----BEGIN CERTIFICATE-----"
    )]
    Empty,
    /// The host of the endpoint is none that a URL can have.
    #[error("no URL can be made of the host `{0}`")]
    Host(String),
}

impl Roots {
    /// Mozilla's, which come with Waypost, and this machine's: of `SSL_CERT_FILE` and `SSL_CERT_DIR` where they are set, else of where
    /// systems keep them. Reads files. What could not be read is told in words.
    pub fn load() -> (Self, Vec<String>) {
        let mut store = RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        };
        let native = rustls_native_certs::load_native_certs();
        // Some of an old system's may be of a form that nobody reads any more.
        store.add_parsable_certificates(native.certs);
        let problems = native.errors.iter().map(ToString::to_string).collect();
        (Self::of(store), problems)
    }

    /// None at all.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self::of(RootCertStore::empty())
    }

    fn of(store: RootCertStore) -> Self {
        Self {
            store: Arc::new(store),
            provider: Arc::new(ring::default_provider()),
        }
    }

    /// The TLS side of the client of a registry, or of whoever issues its credentials.
    pub(crate) fn config(&self, bundle: Option<&str>) -> Result<ClientConfig, BundleError> {
        let store = match bundle {
            None => self.store.clone(),
            Some(pem) => {
                let mut store = RootCertStore::clone(&self.store);
                add(&mut store, pem)?;
                Arc::new(store)
            }
        };
        let config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| BundleError::Malformed(error.to_string()))?;
        Ok(config.with_root_certificates(store).with_no_client_auth())
    }
}

fn add(store: &mut RootCertStore, pem: &str) -> Result<(), BundleError> {
    let before = store.len();
    for (index, certificate) in CertificateDer::pem_slice_iter(pem.as_bytes()).enumerate() {
        let certificate = certificate.map_err(|error| BundleError::Malformed(error.to_string()))?;
        store.add(certificate).map_err(|error| BundleError::Unusable {
            number: index + 1,
            why: error.to_string(),
        })?;
    }
    if store.len() == before {
        return Err(BundleError::Empty);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::testing::Authority;

    #[test]
    fn a_bundle_is_added_to_what_everybody_trusts_and_says_what_is_wrong_with_it() {
        let good = Authority::new("one").pem;
        let two = format!("text before\n{good}{}", Authority::new("two").pem);
        let mut store = RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        };
        let before = store.len();
        add(&mut store, &two).unwrap();
        assert_eq!(store.len(), before + 2);

        let bad = |pem: &str| add(&mut RootCertStore::empty(), pem).unwrap_err();
        assert_eq!(bad(""), BundleError::Empty);
        assert_eq!(bad("hello"), BundleError::Empty);
        let cut = &good[..good.len() - 10];
        assert!(matches!(bad(cut), BundleError::Malformed(_)), "{:?}", bad(cut));
        let nonsense = format!("{good}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        assert!(
            matches!(bad(&nonsense), BundleError::Unusable { number: 2, .. }),
            "{}",
            bad(&nonsense)
        );
    }

    #[test]
    fn mozillas_authorities_are_there_whatever_the_machine_has() {
        let (roots, _) = Roots::load();
        assert!(roots.store.len() >= webpki_roots::TLS_SERVER_ROOTS.len());
        roots.config(None).unwrap();
    }
}
