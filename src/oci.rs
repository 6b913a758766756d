//! Registries as a client sees them: the OCI distribution API, over HTTP/1.1, with or without TLS.
//!
//! A [`Client`] is one for the process: it knows whom everybody trusts and keeps tokens. A [`Remote`] is one registry, with connections of
//! its own that are kept open. Every exchange has a deadline and every answer that is read a limit.
//!
//! A credential goes nowhere but to the registry itself and to where it is known to issue tokens (`realm`); it follows no redirect to
//! another place. Addresses at which a cloud tells its machines their secrets are never dialled, and private ones for registered registries
//! alone (`guard`).

mod auth;
pub mod challenge;
mod content;
pub mod copy;
mod digest;
mod exchange;
mod fault;
mod guard;
mod lane;
mod manifest;
mod probe;
mod realm;
mod roots;
mod token;

use std::{
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, PoisonError},
};

use hyper::Uri;

use self::{
    auth::Known,
    copy::Held,
    exchange::Http,
    guard::Reach,
    lane::{Lane, Lanes},
    realm::Realms,
    token::Tokens,
};
use crate::registry::{Endpoint, Registry, Scheme};

pub use self::{
    content::{Manifest, Part},
    fault::{Fault, TlsFault},
    manifest::{Asked, Head},
    probe::{CanPush, Ping, SignIn},
    roots::{BundleError, Roots},
};

/// What all registries have in common. Clones share their tokens.
#[derive(Clone)]
pub struct Client {
    roots: Roots,
    tokens: Arc<Tokens>,
    lanes: Arc<Lanes>,
    held: Arc<Held>,
    /// Tells one credential from another in the cache of tokens, without keeping it there.
    hasher: RandomState,
}

/// One registry, reached at its endpoint.
pub struct Remote {
    id: Box<str>,
    endpoint: Endpoint,
    /// Scheme, host and port, as every request begins.
    base: Uri,
    organization: Box<str>,
    docker_hub: bool,
    /// Where it is reached, as people know it.
    host: Box<str>,
    realms: Realms,
    http: Http,
    tokens: Arc<Tokens>,
    lane: Arc<Lane>,
    held: Arc<Held>,
    hasher: RandomState,
    /// How it wanted to be asked when it was asked last.
    known: Mutex<Option<Known>>,
}

impl Client {
    /// With these authorities for every registry.
    pub fn new(roots: Roots) -> Self {
        Self {
            roots,
            tokens: Arc::default(),
            lanes: Arc::default(),
            held: Arc::default(),
            hasher: RandomState::new(),
        }
    }

    /// A registry that somebody registered, or that whoever sits at this machine names: it may be in a private network.
    ///
    /// # Errors
    ///
    /// When its CA bundle cannot be used.
    pub fn registry(&self, registry: &Registry) -> Result<Remote, BundleError> {
        self.remote(registry, Reach::Registered)
    }

    /// A registry that nobody registered, that an image's name says alone: neither it, nor where its tokens are issued, nor what it
    /// redirects to is dialled at a private address.
    ///
    /// # Errors
    ///
    /// When its CA bundle cannot be used.
    pub fn unregistered(&self, registry: &Registry) -> Result<Remote, BundleError> {
        self.remote(registry, Reach::Public)
    }

    fn remote(&self, registry: &Registry, reach: Reach) -> Result<Remote, BundleError> {
        let endpoint = registry.endpoint.clone();
        let scheme = match endpoint.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        let base = Uri::builder()
            .scheme(scheme)
            .authority(endpoint.host.as_str())
            .path_and_query("/")
            .build()
            .map_err(|_| BundleError::Host(endpoint.host.to_string()))?;
        Ok(Remote {
            id: registry.id.clone(),
            base,
            organization: registry.address.organization.clone(),
            docker_hub: registry.address.is_docker_hub(),
            realms: Realms::of(registry),
            http: Http::new(self.roots.config(endpoint.ca_bundle.as_deref())?, reach),
            host: endpoint.host.as_str().into(),
            lane: self.lanes.to(endpoint.host.as_str()),
            held: self.held.clone(),
            endpoint,
            tokens: self.tokens.clone(),
            hasher: self.hasher.clone(),
            known: Mutex::default(),
        })
    }
}

impl Remote {
    /// Where it is reached.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Whether both are reached at one place.
    fn is_same(&self, other: &Self) -> bool {
        self.endpoint.scheme == other.endpoint.scheme && self.endpoint.host == other.endpoint.host
    }

    fn known(&self) -> Option<Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn remember(&self, known: Known) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
    }

    /// Stands for a credential where it is not to be kept.
    fn whose(&self, login: Option<&crate::registry::Login>) -> Option<u64> {
        login.map(|login| self.hasher.hash_one((&login.username, login.password.expose())))
    }
}

/// What Waypost calls itself.
const USER_AGENT: &str = concat!("waypost/", env!("CARGO_PKG_VERSION"));

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
