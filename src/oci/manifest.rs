//! Manifests of images.

use std::time::Duration;

use hyper::{
    HeaderMap, Method, StatusCode,
    header::{ACCEPT, HeaderName, HeaderValue},
};

use super::{
    Remote,
    auth::Denied,
    exchange::host_of,
    fault::Fault,
    probe::{Ping, judge_status},
};
use crate::registry::Login;

/// What a registry says of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Head {
    /// It is there, under this digest where the registry says one.
    Found(Option<String>),
    /// It is not.
    Missing,
    /// Whoever asks may not know.
    Rejected,
    /// That it is asked too much, and perhaps for how long it does not want to be asked.
    Limited(Option<Duration>),
}

impl Remote {
    /// Asks whether an image is there, in a way that counts as no pull. `repository` is the whole path in the registry, `reference` a tag or
    /// a digest.
    ///
    /// # Errors
    ///
    /// When it cannot be told.
    pub async fn head(&self, repository: &str, reference: &str, login: Option<&Login>) -> Result<Head, Fault> {
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(MANIFESTS))]);
        let scope = format!("repository:{repository}:pull");
        let uri = self.at(&format!("/v2/{repository}/manifests/{reference}"));
        let answer = match self.ask(Method::HEAD, uri, &headers, Some(&scope), login).await {
            Ok(answer) => answer,
            Err(Denied::Rejected) => return Ok(Head::Rejected),
            Err(Denied::Limited(wait)) => return Ok(Head::Limited(wait)),
            Err(Denied::Fault(fault)) => return Err(fault),
        };
        if let Some(Ping::Limited(wait)) = judge_status(&answer)? {
            return Ok(Head::Limited(wait));
        }
        match answer.status() {
            StatusCode::OK => {
                let digest = answer.headers().get(DIGEST).and_then(|digest| digest.to_str().ok());
                Ok(Head::Found(digest.map(str::to_owned)))
            }
            StatusCode::NOT_FOUND => Ok(Head::Missing),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Ok(Head::Rejected),
            status => Err(Fault::NotARegistry {
                host: host_of(&self.base),
                what: format!("it answers with {status}"),
            }),
        }
    }
}

const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";
const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
