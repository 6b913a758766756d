//! One repository of one registry, and who asks it.

use std::{sync::Arc, time::Duration};

use hyper::{
    Method, StatusCode, Uri,
    header::{ACCEPT, CONTENT_TYPE, HeaderValue},
};

use super::{
    super::{
        Remote,
        auth::Wanted,
        digest::{is_of, sha256},
        exchange::{Answer, resolve},
        lane::Lane,
        manifest::{LONGEST_MANIFEST, MANIFESTS, digest_of},
    },
    tree::Read,
    trouble::{CopyError, Patience, Side},
};
use crate::registry::Login;

/// A repository, and as whom it is read or written.
pub struct Place {
    /// The registry.
    pub remote: Arc<Remote>,
    /// The whole path in the registry.
    pub repository: Box<str>,
    /// As whom; none as anybody.
    pub login: Option<Login>,
}

impl Place {
    /// What a token has to be for.
    pub(super) fn scope(&self, side: Side) -> String {
        let actions = match side {
            Side::Source => "pull",
            Side::Target => "pull,push",
        };
        format!("repository:{}:{actions}", self.repository)
    }

    pub(super) fn lane(&self) -> &Arc<Lane> {
        &self.remote.lane
    }

    /// Where something of the repository is: `manifests/latest`.
    pub(super) fn uri(&self, path: &str) -> Uri {
        self.remote.at(&format!("/v2/{}/{path}", self.repository))
    }

    /// Where an answer to a question leads.
    pub(super) fn led(&self, from: &Uri, reference: &str) -> Option<Uri> {
        let to = resolve(from, reference)?;
        // A registry behind a proxy that ends TLS may not know that there is TLS: it is itself all the same.
        let same = to.authority() == from.authority() && from.scheme_str() == Some("https");
        if !same {
            return Some(to);
        }
        let mut parts = to.into_parts();
        parts.scheme = from.scheme().cloned();
        Uri::from_parts(parts).ok()
    }

    pub(super) fn wanted<'w>(&'w self, method: Method, uri: Uri, scope: &'w str) -> Wanted<'w> {
        Wanted {
            within: PATIENT,
            ..Wanted::new(method, uri, Some(scope), self.login.as_ref())
        }
    }

    /// Asks until there is an answer that is no passing trouble.
    pub(super) async fn ask(&self, side: Side, wanted: &Wanted<'_>, what: &str) -> Result<Answer, CopyError> {
        let mut patience = Patience::new();
        loop {
            match self.ask_once(side, wanted, what).await {
                Ok(answer) => return Ok(answer),
                Err(error) => patience.after(error, self.lane()).await?,
            }
        }
    }

    async fn ask_once(&self, side: Side, wanted: &Wanted<'_>, what: &str) -> Result<Answer, CopyError> {
        let _permit = self.lane().enter().await;
        let answer = self.remote.ask(wanted).await;
        let answer = answer.map_err(|denied| CopyError::denied(denied, side, what))?;
        if answer.status() == StatusCode::TOO_MANY_REQUESTS || answer.status().is_server_error() {
            return Err(CopyError::of(answer, side, what).await);
        }
        Ok(answer)
    }

    /// The digest that a tag or digest has here; none where it has none. A registry that does not say it, or says nothing that is one, is read.
    pub(super) async fn digest(&self, side: Side, reference: &str) -> Result<Option<String>, CopyError> {
        let scope = self.scope(side);
        let what = self.manifest_name(reference);
        let mut wanted = self.wanted(Method::HEAD, self.uri(&format!("manifests/{reference}")), &scope);
        wanted.headers.insert(ACCEPT, HeaderValue::from_static(MANIFESTS));
        let answer = self.ask(side, &wanted, &what).await?;
        match answer.status() {
            StatusCode::OK => {
                // What a digest stands for is no question: at the source it is read by it, and is that or nothing.
                let by_digest = reference.contains(':');
                match digest_of(answer.headers()) {
                    Some(digest) if side == Side::Source && by_digest && digest != reference => {
                        Err(CopyError::OtherContent(reference.to_owned()))
                    }
                    Some(digest) => Ok(Some(digest.to_owned())),
                    None if by_digest => Ok(Some(reference.to_owned())),
                    None => Ok(Some(self.read(side, reference).await?.digest.into())),
                }
            }
            StatusCode::NOT_FOUND => Ok(None),
            // Nothing says why in an answer to HEAD.
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST => {
                answer.finish().await;
                wanted.method = Method::GET;
                let answer = self.ask(side, &wanted, &what).await?;
                Err(CopyError::of(answer, side, &what).await)
            }
            _ => Err(CopyError::of(answer, side, &what).await),
        }
    }

    /// The manifest that a tag or a digest stands for.
    pub(super) async fn read(&self, side: Side, reference: &str) -> Result<Read, CopyError> {
        let scope = self.scope(side);
        let what = self.manifest_name(reference);
        let mut wanted = self.wanted(Method::GET, self.uri(&format!("manifests/{reference}")), &scope);
        wanted.headers.insert(ACCEPT, HeaderValue::from_static(MANIFESTS));
        let mut patience = Patience::new();
        loop {
            let answer = self.ask(side, &wanted, &what).await?;
            if answer.status() != StatusCode::OK {
                return Err(CopyError::of(answer, side, &what).await);
            }
            let kind = answer.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
            let kind = kind
                .unwrap_or_default()
                .split(';')
                .next()
                .unwrap_or_default()
                .trim()
                .to_owned();
            match answer.read(LONGEST_MANIFEST).await {
                Ok(json) if !reference.contains(':') || is_of(reference, &json) => {
                    let said: Option<Kind> = serde_json::from_slice(&json).ok();
                    let media_type = said.and_then(|said| said.media_type).unwrap_or_else(|| kind.into());
                    let digest = match reference.contains(':') {
                        true => reference.to_owned(),
                        false => sha256(&json),
                    };
                    return Ok(Read {
                        digest: digest.into(),
                        media_type,
                        json,
                    });
                }
                Ok(_) => {
                    patience
                        .after(CopyError::OtherContent(reference.to_owned()), self.lane())
                        .await?
                }
                Err(fault) => patience.after(CopyError::Fault(fault), self.lane()).await?,
            }
        }
    }

    /// A manifest, as people know it.
    pub(super) fn manifest_name(&self, reference: &str) -> String {
        let separator = if reference.contains(':') { '@' } else { ':' };
        format!("{}/{}{separator}{reference}", self.remote.host, self.repository)
    }
}

#[derive(serde::Deserialize)]
struct Kind {
    #[serde(rename = "mediaType")]
    media_type: Option<Box<str>>,
}

/// Until the head of an answer is there, of registries that may have much to do.
const PATIENT: Duration = Duration::from_secs(30);
