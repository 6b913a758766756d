//! Manifests of images: whether one is there, and what is in it.

use std::time::Duration;

use hyper::{
    HeaderMap, Method, StatusCode,
    body::Bytes,
    header::{ACCEPT, HeaderName, HeaderValue},
};

use super::{
    Remote,
    auth::{Denied, Wanted},
    content::{Manifest, platform_of},
    digest::{Hasher, is_of},
    exchange::{Answer, host_of},
    fault::Fault,
    probe::{Ping, judge_status},
};
use crate::{reference::valid_digest, registry::Login};

/// What a registry says to whoever asks for something in a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked<T> {
    /// It is there.
    Found(T),
    /// It is not.
    Missing,
    /// Whoever asks may not know.
    Rejected,
    /// That it is asked too much, and perhaps for how long it does not want to be asked.
    Limited(Option<Duration>),
}

/// What a registry says of a manifest: its digest, where it says one.
pub type Head = Asked<Option<String>>;

impl Remote {
    /// Asks whether an image is there, in a way that counts as no pull. `repository` is the whole path in the registry, `reference` a tag or
    /// a digest.
    ///
    /// # Errors
    ///
    /// When it cannot be told.
    pub async fn head(&self, repository: &str, reference: &str, login: Option<&Login>) -> Result<Head, Fault> {
        let path = format!("{repository}/manifests/{reference}");
        let answer = match self.look(Method::HEAD, repository, &path, login).await? {
            Asked::Found(answer) => answer,
            Asked::Missing => return Ok(Head::Missing),
            Asked::Rejected => return Ok(Head::Rejected),
            Asked::Limited(wait) => return Ok(Head::Limited(wait)),
        };
        Ok(Head::Found(digest_of(answer.headers()).map(str::to_owned)))
    }

    /// Reads the manifest or the index that has this digest.
    ///
    /// # Errors
    ///
    /// When it cannot be told, and when what comes is something else.
    pub async fn manifest(
        &self,
        repository: &str,
        digest: &str,
        login: Option<&Login>,
    ) -> Result<Asked<Manifest>, Fault> {
        let path = format!("{repository}/manifests/{digest}");
        let found = self.read(repository, &path, digest, LONGEST_MANIFEST, login).await?;
        Ok(found.map(|json| Manifest::read(&json)))
    }

    /// Reads the platform that an image is for from its configuration, which is the blob of this digest. None where it says no platform.
    ///
    /// # Errors
    ///
    /// When it cannot be told, and when what comes is something else.
    pub async fn platform(
        &self,
        repository: &str,
        digest: &str,
        login: Option<&Login>,
    ) -> Result<Asked<Option<Box<str>>>, Fault> {
        let path = format!("{repository}/blobs/{digest}");
        let found = self.read(repository, &path, digest, LONGEST_CONFIG, login).await?;
        Ok(found.map(|json| platform_of(&json)))
    }

    /// What is at a path, if it is what its digest says.
    async fn read(
        &self,
        repository: &str,
        path: &str,
        digest: &str,
        limit: usize,
        login: Option<&Login>,
    ) -> Result<Asked<Bytes>, Fault> {
        match self.look(Method::GET, repository, path, login).await? {
            Asked::Found(answer) => {
                let host = answer.host.clone();
                let content = answer.read(limit).await?;
                if is_of(digest, &content) {
                    Ok(Asked::Found(content))
                } else {
                    Err(Fault::OtherContent { host })
                }
            }
            Asked::Missing => Ok(Asked::Missing),
            Asked::Rejected => Ok(Asked::Rejected),
            Asked::Limited(wait) => Ok(Asked::Limited(wait)),
        }
    }

    async fn look(
        &self,
        method: Method,
        repository: &str,
        path: &str,
        login: Option<&Login>,
    ) -> Result<Asked<Answer>, Fault> {
        let scope = format!("repository:{repository}:pull");
        let uri = self.at(&format!("/v2/{path}"));
        let mut wanted = Wanted::new(method, uri, Some(&scope), login);
        wanted.headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(MANIFESTS))]);
        let answer = match self.ask(&wanted).await {
            Ok(answer) => answer,
            Err(Denied::Rejected) => return Ok(Asked::Rejected),
            Err(Denied::Limited(wait)) => return Ok(Asked::Limited(wait)),
            Err(Denied::Fault(fault)) => return Err(fault),
        };
        if let Some(Ping::Limited(wait)) = judge_status(&answer)? {
            answer.finish().await;
            return Ok(Asked::Limited(wait));
        }
        let asked = match answer.status() {
            StatusCode::OK => return Ok(Asked::Found(answer)),
            // What somebody else does not have, the registry may have.
            StatusCode::NOT_FOUND if answer.first_hand => Asked::Missing,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Asked::Rejected,
            status => {
                return Err(Fault::NotARegistry {
                    host: host_of(&self.base),
                    what: format!("it answers with {status}"),
                });
            }
        };
        answer.finish().await;
        Ok(asked)
    }
}

impl<T> Asked<T> {
    fn map<U>(self, change: impl FnOnce(T) -> U) -> Asked<U> {
        match self {
            Self::Found(found) => Asked::Found(change(found)),
            Self::Missing => Asked::Missing,
            Self::Rejected => Asked::Rejected,
            Self::Limited(wait) => Asked::Limited(wait),
        }
    }
}

/// The digest that an answer names, where it names one of a kind that can be checked.
pub(super) fn digest_of(headers: &HeaderMap) -> Option<&str> {
    let digest = headers.get(DIGEST)?.to_str().ok()?;
    (valid_digest(digest).is_ok() && Hasher::of(digest).is_some()).then_some(digest)
}

pub(super) const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";
pub(super) const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// Bytes: registries need take no longer ones (OCI distribution specification).
pub(super) const LONGEST_MANIFEST: usize = 4 * 1024 * 1024;

/// Bytes. Some kilobytes are usual.
const LONGEST_CONFIG: usize = 1024 * 1024;
