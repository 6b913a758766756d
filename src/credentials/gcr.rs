//! Google's access tokens, for Artifact Registry and for `gcr.io`: by a service account's key, or by the identity that this process has
//! where it runs.
//!
//! The order is that of Google's own libraries: the key that was given; the file that `GOOGLE_APPLICATION_CREDENTIALS` names, a key or a
//! configuration of workload identity federation; the metadata server of a machine or of a cluster of Google's. A person's own sign-in
//! (`gcloud auth application-default login`) is not looked for: what Waypost issues reaches namespaces.
//!
//! A token to pull with has the scope `devstorage.read_only`, so that nobody pushes with it, whatever its service account may do. Of the
//! sources only the metadata server of a plain machine does not go by the scope that it is asked for (googleapis/google-auth-library-java#458),
//! which [`PullToken::wide`] says; a `pull_service_account` helps there.
//!
//! Written by hand and not taken from a crate: `gcp_auth` 0.12.7 asks without a deadline, tries a rejected key five times, asks the metadata
//! server without a scope, sends an assertion wherever a key's file says, and has no workload identity federation.

mod answer;
mod federation;
mod file;
mod http;
mod impersonation;
mod key;
mod metadata;
mod trust;

use std::{env, fmt, path::PathBuf, time::Duration};

use rustls::ClientConfig;
use tokio::time::timeout;

use self::{
    answer::Token, file::Kind, http::Http, impersonation::Impersonation, key::Key, metadata::Metadata, trust::Trust,
};
use super::issued::{IssueError, Issued};
use crate::registry::{Login, Password};

/// What is said of a Google identity.
#[derive(Clone, Debug, Default)]
pub struct GcrSettings {
    /// The JSON file of a service account's key. None: the ambient identity.
    pub key_json: Option<Password>,
    /// What there is of an ambient identity. Not looked at where there is a key.
    pub ambient: Ambient,
    /// The service account, by its e-mail address, whose tokens are the ones to pull with. The identity has to be allowed to impersonate
    /// it. None: the identity's own.
    pub pull_service_account: Option<String>,
    /// Who is asked besides Google.
    pub endpoints: Endpoints,
}

/// What the environment says of an identity.
#[derive(Clone, Debug, Default)]
pub struct Ambient {
    /// The file that is read for it whenever a token is wanted: a service account's key, or a configuration of workload identity federation.
    pub credentials_file: Option<PathBuf>,
    /// Where the metadata server is, with its port where that is not 80. None: where Google has it.
    pub metadata_host: Option<String>,
}

/// Where Google is, for tests and for networks with doors of their own. Whoever may say this says where keys are sent: it is for the
/// configuration of the process, and not for whoever registers a registry.
#[derive(Clone, Debug, Default)]
pub struct Endpoints {
    /// Where service accounts are impersonated, instead of `https://iamcredentials.googleapis.com`: scheme, host and port.
    pub iam_credentials: Option<String>,
    /// Scheme, host and port of whoever else a key's assertion and a token may be sent to.
    pub trusted: Vec<String>,
}

/// An identity at Google, of which tokens are had.
pub struct Gcr {
    http: Http,
    trust: Trust,
    identity: Identity,
    pull: Option<Impersonation>,
    deadline: Duration,
}

/// A token to pull with, and what else it can do.
#[derive(Clone, Debug)]
pub struct PullToken {
    /// The token, and when it ends.
    pub issued: Issued,
    /// Why it can do more than pull, in a sentence, where it can or nobody knows.
    pub wide: Option<String>,
}

enum Identity {
    Key(Box<Key>),
    File(PathBuf),
    Metadata(Metadata),
}

impl Ambient {
    /// By `GOOGLE_APPLICATION_CREDENTIALS` and `GCE_METADATA_HOST`, as they are set for this process.
    pub fn of_environment() -> Self {
        let set = |name| env::var_os(name).filter(|value| !value.is_empty());
        Self {
            credentials_file: set("GOOGLE_APPLICATION_CREDENTIALS").map(PathBuf::from),
            metadata_host: set("GCE_METADATA_HOST").map(|host| host.to_string_lossy().into_owned()),
        }
    }
}

impl Gcr {
    /// By what is said of it. `tls`: whom Google's certificates may be of.
    ///
    /// # Errors
    ///
    /// When what is said cannot be right: another file than a service account's key, a key that nobody can sign with, one whose assertions
    /// would go to somebody else than Google.
    pub fn new(settings: GcrSettings, tls: ClientConfig) -> Result<Self, IssueError> {
        let GcrSettings {
            key_json,
            ambient: Ambient {
                credentials_file,
                metadata_host,
            },
            pull_service_account,
            endpoints: Endpoints {
                iam_credentials,
                trusted,
            },
        } = settings;
        let trust = Trust::new(&trusted, iam_credentials.as_deref())?;
        let identity = match (key_json, credentials_file) {
            (Some(json), _) => Identity::Key(Box::new(file::key(&json, KEY, &trust)?)),
            (None, Some(path)) => Identity::File(path),
            (None, None) => Identity::Metadata(Metadata::at(metadata_host.as_deref())?),
        };
        let pull = pull_service_account
            .map(|account| Impersonation::of(&account, &trust))
            .transpose()?;
        Ok(Self {
            http: Http::new(tls),
            trust,
            identity,
            pull,
            deadline: DEADLINE,
        })
    }

    /// A new token to pull with, within half a minute, and what is known of its scope.
    ///
    /// # Errors
    ///
    /// When none was issued, and whether that is for somebody to see to or passes.
    pub async fn pull(&self) -> Result<PullToken, IssueError> {
        let issued = self.pull_token().await?;
        let wide = match (&self.pull, &self.identity) {
            (None, Identity::Metadata(metadata)) => metadata.wide(&self.http).await,
            _ => None,
        };
        Ok(PullToken { issued, wide })
    }

    /// A new token to pull with, likewise.
    ///
    /// # Errors
    ///
    /// As [`Gcr::pull`].
    pub async fn pull_token(&self) -> Result<Issued, IssueError> {
        self.within(async {
            match &self.pull {
                None => self.token(PULL).await,
                Some(impersonation) => {
                    let own = self.token(CLOUD_PLATFORM).await?;
                    impersonation.token(&self.http, &own.token, PULL).await
                }
            }
        })
        .await
    }

    /// A new token to push with, likewise.
    ///
    /// # Errors
    ///
    /// As [`Gcr::pull_token`].
    pub async fn push_token(&self) -> Result<Issued, IssueError> {
        self.within(self.token(PUSH)).await
    }

    async fn token(&self, scope: &str) -> Result<Token, IssueError> {
        match &self.identity {
            Identity::Key(key) => key.token(&self.http, scope).await,
            Identity::File(path) => {
                let json = file::read(path, "the file of GOOGLE_APPLICATION_CREDENTIALS").await?;
                let what = format!("the file {} of GOOGLE_APPLICATION_CREDENTIALS", path.display());
                match file::any(&json, &what, &self.trust)? {
                    Kind::Key(key) => key.token(&self.http, scope).await,
                    Kind::Federation(federation) => federation.token(&self.http, scope).await,
                }
            }
            Identity::Metadata(metadata) => metadata.token(&self.http, scope).await,
        }
    }

    async fn within(&self, token: impl Future<Output = Result<Token, IssueError>>) -> Result<Issued, IssueError> {
        let Token { token, expires_at } = timeout(self.deadline, token).await.map_err(|_| {
            let seconds = self.deadline.as_secs();
            IssueError::Unavailable(format!("no token of Google's was issued within {seconds} s"))
        })??;
        let username = USERNAME.to_owned();
        let login = Login {
            username,
            password: token,
        };
        Ok(Issued { login, expires_at })
    }
}

impl fmt::Debug for Gcr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let identity: &dyn fmt::Debug = match &self.identity {
            Identity::Key(key) => &key.email(),
            Identity::File(path) => path,
            Identity::Metadata(_) => &"metadata server",
        };
        f.debug_struct("Gcr")
            .field("identity", identity)
            .finish_non_exhaustive()
    }
}

/// What Google's registries know that a token is sent by.
const USERNAME: &str = "oauth2accesstoken";

/// Enough for Artifact Registry, too: it is what the machines of Google's clusters have by default, which pull from it.
const PULL: &str = "https://www.googleapis.com/auth/devstorage.read_only";

/// Enough to push, as Google's own `docker-credential-gcr` has it; `cloud-platform` would be everything that the identity may do at Google.
const PUSH: &str = "https://www.googleapis.com/auth/devstorage.read_write";

/// To impersonate somebody: goes to Google and nowhere else.
const CLOUD_PLATFORM: &str = "https://www.googleapis.com/auth/cloud-platform";

/// What a key is called where it was given.
const KEY: &str = "`keyJson` (`key_json` by REST, `key.json` in a Secret)";

/// For all that is asked for one token.
const DEADLINE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
