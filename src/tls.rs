//! The serving certificate: where it comes from, whether it can be served, and how it is replaced.
//!
//! A directory holds `tls.crt` (the leaf first, then its intermediates), `tls.key` (PKCS #8, PKCS #1 or SEC 1) and
//! `ca.crt`, as a mounted `kubernetes.io/tls` Secret does. [`ensure_local`] makes one where there is none; [`Tls`] loads
//! it, serves it, and loads it again when it is told to, keeping what works when the new one does not. In a cluster the controller makes it, with an
//! [`authority`] of its own.
//!
//! A reload builds a whole new `ServerConfig` instead of swapping the certificate inside of one: the client CA comes
//! with it, and sessions that were made under the old CA cannot be resumed under the new one.

pub mod authority;

mod dial;
mod load;
mod local;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls::ServerConfig;

pub use dial::{Dialled, dial};
use load::Loaded;
pub use local::{Local, ensure_local};

/// The TLS side of a port: the configuration that new connections get, replaceable at any time.
pub struct Tls {
    source: Source,
    current: ArcSwap<Loaded>,
}

/// The files that a TLS configuration is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The directory with `tls.crt` and `tls.key`.
    pub dir: PathBuf,
    /// A PEM file of certificate authorities. With it, only clients with a certificate from one of them get in.
    pub client_ca: Option<PathBuf>,
}

/// What a reload did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// The files hold what is being served.
    Unchanged,
    /// New connections get the new certificate and client CA.
    Replaced,
}

/// Why a certificate cannot be served or made. Each names the file and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file or directory cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file holds something else than it should.
    #[error("{}: {reason}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The certificate was issued for another key, or one of the two has not been written yet.
    #[error("{} does not belong to the certificate in {}: replace both together", key.display(), certificate.display())]
    Mismatch {
        /// `tls.crt`.
        certificate: PathBuf,
        /// `tls.key`.
        key: PathBuf,
    },
    /// The certificate is no longer valid.
    #[error(
        "{}: the certificate expired at {not_after}: renew it, or, where Waypost made it itself, remove {} with its \
         ca.crt and tls.key and start again",
        path.display(), path.display()
    )]
    Expired {
        /// `tls.crt`.
        path: PathBuf,
        /// The last second of its validity.
        not_after: Timestamp,
    },
    /// The certificate is not valid yet.
    #[error("{}: the certificate is not valid before {not_before}: wait, or set the clock of this machine right", path.display())]
    NotYetValid {
        /// `tls.crt`.
        path: PathBuf,
        /// The first second of its validity.
        not_before: Timestamp,
    },
    /// Some of the files are there, and one that is needed is not.
    #[error(
        "{} has {present} but no {missing}: add it, or remove the others and a new certificate will be made",
        dir.display()
    )]
    Partial {
        /// The directory.
        dir: PathBuf,
        /// The files that are there.
        present: String,
        /// Those that are not.
        missing: String,
    },
    /// A certificate could not be made.
    #[error("cannot make a certificate: {0}")]
    Generate(String),
}

impl Tls {
    /// Loads the files.
    ///
    /// # Errors
    ///
    /// When they cannot be served at `now`: unreadable, not a pair, outside of the certificate's validity.
    pub fn load(source: Source, now: SystemTime) -> Result<Self, TlsError> {
        let loaded = load::Files::read(&source)?.load(&source, now)?;
        Ok(Self {
            source,
            current: ArcSwap::from_pointee(loaded),
        })
    }

    /// Loads the files again, if their content is not what is being served.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load); what was served before still is. A pair that is half-written is such an error too, so
    /// the caller tries again soon, whether or not the files look changed by then.
    pub fn reload(&self, now: SystemTime) -> Result<Reload, TlsError> {
        self.take(&load::Files::read(&self.source)?, now)
    }

    fn take(&self, files: &load::Files, now: SystemTime) -> Result<Reload, TlsError> {
        if files.digest() == self.current.load().digest {
            return Ok(Reload::Unchanged);
        }
        let loaded = files.load(&self.source, now)?;
        self.current.store(Arc::new(loaded));
        Ok(Reload::Replaced)
    }

    /// As [`load`](Self::load), of what was read elsewhere: PEM of a certificate and of its key. `origin` says where, in errors.
    ///
    /// # Errors
    ///
    /// When they cannot be served at `now`.
    pub fn of(origin: &Path, certificate: &[u8], key: &[u8], now: SystemTime) -> Result<Self, TlsError> {
        let source = Source {
            dir: origin.to_owned(),
            client_ca: None,
        };
        let loaded = load::Files::of(certificate, key).load(&source, now)?;
        Ok(Self {
            source,
            current: ArcSwap::from_pointee(loaded),
        })
    }

    /// As [`reload`](Self::reload), of what was read elsewhere.
    ///
    /// # Errors
    ///
    /// As [`of`](Self::of); what was served before still is.
    pub fn replace(&self, certificate: &[u8], key: &[u8], now: SystemTime) -> Result<Reload, TlsError> {
        self.take(&load::Files::of(certificate, key), now)
    }

    /// The configuration for a new connection. Takes no lock.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.load().config)
    }

    /// The chain that is served, PEM as the file has it.
    pub fn chain(&self) -> Arc<[u8]> {
        self.current.load().chain.clone()
    }

    /// When the certificate that is served expires.
    pub fn not_after(&self) -> Timestamp {
        self.current.load().not_after
    }
}

impl Source {
    /// The files whose content decides the configuration, for a watch.
    pub fn files(&self) -> Vec<PathBuf> {
        let Self { dir, client_ca } = self;
        [certificate(dir), key(dir)]
            .into_iter()
            .chain(client_ca.clone())
            .collect()
    }
}

fn certificate(dir: &Path) -> PathBuf {
    dir.join("tls.crt")
}

fn key(dir: &Path) -> PathBuf {
    dir.join("tls.key")
}

fn authority(dir: &Path) -> PathBuf {
    dir.join("ca.crt")
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
