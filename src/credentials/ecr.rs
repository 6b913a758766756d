//! Amazon ECR, which issues tokens of twelve hours: to whom, with which rights, and repositories that a push needs.
//!
//! Whose identity it is that asks is looked for anew for each token (`identity`): keys that were rotated and roles that were changed count
//! from the next token on, and nothing of an identity is kept in between. What reaches namespaces is a token of a session that may do no
//! more than pull, wherever AWS lets the identity make one (`narrow`).

mod fault;
mod identity;
mod narrow;
mod settings;
mod transport;

use std::{future::Future, time::SystemTime};

use aws_sdk_ecr::{
    config::Credentials,
    operation::create_repository::CreateRepositoryError,
    types::{AuthorizationData, ImageTagMutability, Tag},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use rustls::ClientConfig;
use tokio::time::timeout;
use tracing::{instrument::WithSubscriber, subscriber::NoSubscriber};
use zeroize::Zeroizing;

use self::{fault::Asked, identity::Identity, transport::Transport};
use super::{IssueError, Issued};
use crate::registry::{
    Login, Password,
    amazon::{self, is_account},
};

pub use self::{
    narrow::Wide,
    settings::{EcrSettings, Endpoints, Keys, PullRole, RepositorySettings},
};

/// One registry of ECR.
#[derive(Debug)]
pub struct Ecr {
    settings: EcrSettings,
    transport: Transport,
    #[cfg(test)]
    world: tests::World,
}

/// A token to pull with.
#[derive(Clone, Debug)]
pub struct PullToken {
    /// The token.
    pub issued: Issued,
    /// The registry's host, as [`Ecr::host`] has it.
    pub host: String,
    /// Why it can do all that the identity can, where it can.
    pub wide: Option<Wide>,
}

/// Which registry it is.
struct Whose {
    account: String,
    host: String,
}

/// What ECR answers when it is asked for a token.
struct Minted {
    issued: Issued,
    /// Of the account that asked.
    whose: Whose,
}

impl Ecr {
    /// A registry, and what HTTP to AWS trusts. Asks nobody.
    ///
    /// # Errors
    ///
    /// [`IssueError::Misconfigured`] when something of the settings cannot be right.
    pub fn new(settings: EcrSettings, tls: ClientConfig) -> Result<Self, IssueError> {
        settings.check()?;
        Ok(Self {
            settings,
            transport: Transport::new(tls),
            #[cfg(test)]
            world: tests::World::default(),
        })
    }

    /// The host that references to its images begin with: the one that was configured, else AWS's own for the registry id. Without either
    /// ECR is asked.
    ///
    /// # Errors
    ///
    /// When ECR has to be asked and gives no answer.
    pub async fn host(&self) -> Result<String, IssueError> {
        if let Some(host) = &self.settings.host {
            return Ok(host.clone());
        }
        if let Some(whose) = self.configured() {
            return Ok(whose.host);
        }
        self.bounded(async {
            let identity = self.identity().await?;
            Ok(self.whose(&identity).await?.host)
        })
        .await
    }

    /// A token that may pull from the registry and do nothing else, where AWS lets the identity have one: [`PullToken::wide`] says where not.
    ///
    /// # Errors
    ///
    /// When none was issued.
    pub async fn pull(&self) -> Result<PullToken, IssueError> {
        self.bounded(async {
            let identity = self.identity().await?;
            let whose = self.whose(&identity).await?;
            let (credentials, wide) = match self.narrow(&identity, &whose.account).await? {
                Ok(narrowed) => (narrowed, None),
                Err(wide) => (identity.credentials.clone(), Some(wide)),
            };
            let minted = self.mint(&identity, &credentials).await?;
            Ok(PullToken {
                issued: minted.issued,
                host: self.settings.host.clone().unwrap_or(whose.host),
                wide,
            })
        })
        .await
    }

    /// The token of [`pull`](Self::pull) alone.
    ///
    /// # Errors
    ///
    /// When none was issued.
    pub async fn pull_token(&self) -> Result<Issued, IssueError> {
        self.pull().await.map(|token| token.issued)
    }

    /// A token that may do all that the identity may. It reaches no namespace.
    ///
    /// # Errors
    ///
    /// When none was issued.
    pub async fn push_token(&self) -> Result<Issued, IssueError> {
        self.bounded(async {
            let identity = self.identity().await?;
            Ok(self.mint(&identity, &identity.credentials).await?.issued)
        })
        .await
    }

    /// Creates a repository, which ECR does not do by itself when somebody pushes. One that is there already is left as it is.
    ///
    /// # Errors
    ///
    /// When it was not created and is not there.
    pub async fn create_repository(&self, name: &str, settings: &RepositorySettings) -> Result<(), IssueError> {
        self.bounded(async {
            let asked = self.asked("ecr:CreateRepository");
            let identity = self.identity().await?;
            let mut request = self.ecr(&identity, &identity.credentials).create_repository();
            request = request
                .repository_name(name)
                .set_registry_id(self.settings.registry_id.clone())
                .image_tag_mutability(if settings.immutable_tags {
                    ImageTagMutability::Immutable
                } else {
                    ImageTagMutability::Mutable
                });
            for (key, value) in &settings.tags {
                let tag = Tag::builder().key(key).value(value).build();
                request = request.tags(tag.map_err(|_| asked.unavailable("was not asked for: a tag has no key"))?);
            }
            match request.send().await {
                Ok(_) => Ok(()),
                Err(error) => match error.as_service_error() {
                    Some(CreateRepositoryError::RepositoryAlreadyExistsException(_)) => Ok(()),
                    _ => Err(asked.failed(&error)),
                },
            }
        })
        .await
    }

    /// Which registry it is, where that needs nobody to be asked.
    fn configured(&self) -> Option<Whose> {
        let account = self.settings.registry_id.clone()?;
        let host = amazon::host(&account, &self.settings.region);
        Some(Whose { account, host })
    }

    async fn whose(&self, identity: &Identity) -> Result<Whose, IssueError> {
        match self.configured() {
            Some(whose) => Ok(whose),
            None => Ok(self.mint(identity, &identity.credentials).await?.whose),
        }
    }

    /// Asks for a token with these credentials. It is one for every registry that they have rights on.
    async fn mint(&self, identity: &Identity, credentials: &Credentials) -> Result<Minted, IssueError> {
        let asked = self.asked("ecr:GetAuthorizationToken");
        let answer = self.ecr(identity, credentials).get_authorization_token().send().await;
        let answer = answer.map_err(|error| asked.failed(&error))?;
        let data = answer.authorization_data().first();
        let minted = data.and_then(|data| minted(data, credentials.expiry()));
        minted.ok_or_else(|| asked.unavailable("was answered without a token that can be read; check the endpoint"))
    }

    fn ecr(&self, identity: &Identity, credentials: &Credentials) -> aws_sdk_ecr::Client {
        let mut config = aws_sdk_ecr::config::Builder::from(&identity.config).credentials_provider(credentials.clone());
        if let Some(endpoint) = &self.settings.endpoints.ecr {
            config = config.endpoint_url(endpoint);
        }
        aws_sdk_ecr::Client::from_conf(config.build())
    }

    fn asked(&self, right: &'static str) -> Asked<'_> {
        let region = &self.settings.region;
        Asked { right, region }
    }

    /// Within the time that there is, and without a word in the log: at its lower levels it would have what is signed, session tokens and
    /// all, and at its upper ones AWS's own messages, which quote that.
    async fn bounded<T>(&self, work: impl Future<Output = Result<T, IssueError>>) -> Result<T, IssueError> {
        let work = timeout(DEADLINE, work).with_subscriber(NoSubscriber::new());
        match work.await {
            Ok(done) => done,
            Err(_) => Err(IssueError::Unavailable(format!(
                "AWS in {} gave no answer within {} s",
                self.settings.region,
                DEADLINE.as_secs()
            ))),
        }
    }
}

/// Reads what ECR answered. What a session asked for is taken to end with it, which ECR does not say, nor the contrary.
fn minted(data: &AuthorizationData, session_ends: Option<SystemTime>) -> Option<Minted> {
    let decoded = Zeroizing::new(STANDARD.decode(data.authorization_token()?).ok()?);
    let (username, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    if username.is_empty() || password.is_empty() {
        return None;
    }
    let expires_at = Timestamp::from_second(data.expires_at()?.secs()).ok()?;
    let session_ends = session_ends.and_then(|at| Timestamp::try_from(at).ok());
    let host = data.proxy_endpoint()?.strip_prefix("https://")?.trim_end_matches('/');
    let account = host.split('.').next().filter(|account| is_account(account))?;
    Some(Minted {
        issued: Issued {
            login: Login {
                username: username.to_owned(),
                password: Password::new(password.to_owned()),
            },
            expires_at: session_ends.map_or(expires_at, |ends| ends.min(expires_at)),
        },
        whose: Whose {
            account: account.to_owned(),
            host: host.to_owned(),
        },
    })
}

/// For one token, with everything that it takes.
const DEADLINE: std::time::Duration = std::time::Duration::from_secs(20);

#[cfg(test)]
mod tests;
