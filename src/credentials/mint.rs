//! From a registry whose tokens somebody issues to a token: who is asked, as whom, and where the token may go.
//!
//! Whoever asks is made anew for each token, so that nothing of an identity is kept in between.

use crate::{
    credentials::{IssueError, Issued, gcr},
    oci::Roots,
    registry::{EcrIssuer, GoogleIssuer, Issuer, Key, Registry, Repositories, Scheme},
};

/// Whoever has tokens issued.
#[derive(Clone)]
pub struct Mint {
    roots: Roots,
    settings: MintSettings,
}

/// What is said of it for all registries.
#[derive(Clone, Debug, Default)]
pub struct MintSettings {
    /// Hosts that tokens of Waypost's own identity may be sent to, besides those of the issuers: in lower case, each with its port if only
    /// that one is meant.
    pub ambient_hosts: Vec<String>,
    /// Where Google is.
    pub google: gcr::Endpoints,
}

/// A token to pull with.
#[derive(Clone, Debug)]
pub struct Minted {
    /// The token, and when it ends.
    pub issued: Issued,
    /// Whose registry it is for, where ECR was asked for that.
    pub account: Option<String>,
    /// Why it can do more than pull, in a sentence, where it can.
    pub wide: Option<String>,
}

impl Mint {
    /// Asks nobody yet. `roots`: whom the issuers' certificates may be of.
    pub fn new(roots: Roots, settings: MintSettings) -> Self {
        Self { roots, settings }
    }

    /// A token to pull from a registry with, by a key or by the identity that Waypost has. Where it is not known yet whose registry it is,
    /// its address is not looked at.
    ///
    /// # Errors
    ///
    /// When none was issued, and whether that is for somebody to see to or passes.
    pub async fn pull(&self, registry: &Registry, key: Option<&Key>) -> Result<Minted, IssueError> {
        match self.issuer(registry, key)? {
            Issuer::Ecr(issuer) => self.ecr_pull(registry, issuer, key).await,
            Issuer::Google(issuer) => {
                let gcr::PullToken { issued, wide } = self.google(issuer, key)?.pull().await?;
                Ok(Minted {
                    issued,
                    account: None,
                    wide,
                })
            }
        }
    }

    /// A token to push into a registry with, likewise. It reaches no namespace.
    ///
    /// # Errors
    ///
    /// As [`Mint::pull`].
    pub async fn push(&self, registry: &Registry, key: Option<&Key>) -> Result<Issued, IssueError> {
        match self.issuer(registry, key)? {
            Issuer::Ecr(issuer) => self.ecr_push(registry, issuer, key).await,
            Issuer::Google(issuer) => self.google(issuer, key)?.push_token().await,
        }
    }

    /// Makes a repository that is pushed to, where its registry is one that has to have it and says that it is to be made. Whether it is there
    /// now: one that is there already is left as it is.
    ///
    /// # Errors
    ///
    /// When it was not made, as [`Mint::pull`].
    pub async fn make_repository(
        &self,
        registry: &Registry,
        key: Option<&Key>,
        name: &str,
    ) -> Result<bool, IssueError> {
        let Some(Issuer::Ecr(EcrIssuer {
            repositories: Some(repositories),
            ..
        })) = &registry.issuer
        else {
            return Ok(false);
        };
        match self.issuer(registry, key)? {
            Issuer::Ecr(issuer) => self
                .ecr_make(registry, issuer, key, name, repositories)
                .await
                .map(|()| true),
            Issuer::Google(_) => Ok(false),
        }
    }

    /// Who is asked, where that may be.
    fn issuer<'r>(&self, registry: &'r Registry, key: Option<&Key>) -> Result<&'r Issuer, IssueError> {
        let Some(issuer) = &registry.issuer else {
            return Err(misconfigured(
                "nobody issues tokens for a registry of the location `off-cluster`: say `ecr` or `gcr`",
            ));
        };
        if key.is_none()
            && let Some(host) = self.stranger(registry, issuer)
        {
            let whose = match issuer {
                Issuer::Ecr(_) => "Amazon's",
                Issuer::Google(_) => "Google's",
            };
            return Err(misconfigured(format!(
                "a token of Waypost's own identity would be sent to {host}, which is no registry of {whose} that is reached by TLS as such: name that host in \
                 `issuers.ambient_hosts` of Waypost's configuration, or give a key of the registry's own"
            )));
        }
        Ok(issuer)
    }

    /// A host that the token would go to, and that is neither the issuer's nor named. An issuer's is none that is reached without TLS, or whose
    /// certificate may be of somebody whom the registry names.
    fn stranger<'r>(&self, registry: &'r Registry, issuer: &Issuer) -> Option<&'r str> {
        let endpoint = registry.endpoint.host.as_str();
        let by_tls = registry.endpoint.scheme == Scheme::Https;
        let as_usual = registry.endpoint.ca_bundle.is_none();
        // Nodes reach the first as they reach everybody.
        let hosts = [(&*registry.address.host, true), (endpoint, by_tls && as_usual)];
        let issuing = registry.token_hosts.iter().map(|host| (&**host, as_usual));
        let stranger = hosts.into_iter().chain(issuing).find(|(host, is_sure)| {
            let name = without_port(host);
            let named = |named: &String| named.eq_ignore_ascii_case(host) || named.eq_ignore_ascii_case(name);
            let is_known = *is_sure && issuer.is_at_home_at(name) || self.settings.ambient_hosts.iter().any(named);
            !is_known
        });
        stranger.map(|(host, _)| host)
    }

    #[cfg(feature = "ecr")]
    async fn ecr_pull(&self, registry: &Registry, issuer: &EcrIssuer, key: Option<&Key>) -> Result<Minted, IssueError> {
        let token = self.ecr(registry, issuer, key)?.pull().await?;
        let asked = crate::registry::amazon::of_host(&token.host).filter(|_| issuer.account.is_none());
        Ok(Minted {
            account: asked.map(|(account, _)| account.to_owned()),
            wide: token.wide.map(|wide| wide.to_string()),
            issued: token.issued,
        })
    }

    #[cfg(feature = "ecr")]
    async fn ecr_push(&self, registry: &Registry, issuer: &EcrIssuer, key: Option<&Key>) -> Result<Issued, IssueError> {
        self.ecr(registry, issuer, key)?.push_token().await
    }

    #[cfg(feature = "ecr")]
    fn ecr(&self, registry: &Registry, issuer: &EcrIssuer, key: Option<&Key>) -> Result<super::ecr::Ecr, IssueError> {
        use super::ecr::{Ecr, EcrSettings, Endpoints, Keys, PullRole};

        let keys = match key {
            None => None,
            Some(Key::Aws {
                id,
                secret,
                session_token,
            }) => Some(Keys {
                id: id.clone(),
                secret: secret.clone(),
                session_token: session_token.clone(),
            }),
            Some(Key::Google(_)) => {
                return Err(misconfigured(
                    "its key is one of Google's, and ECR is Amazon's: give an access key, or none for the identity that Waypost has",
                ));
            }
        };
        let EcrIssuer {
            region,
            account,
            pull_role,
            // That is for whoever makes one.
            repositories: _,
        } = issuer;
        let host = &*registry.address.host;
        let is_foreign = crate::registry::amazon::of_host(host).is_none();
        let settings = EcrSettings {
            region: region.to_string(),
            registry_id: account.as_deref().map(str::to_owned),
            host: is_foreign.then(|| host.to_owned()),
            keys,
            pull_role: pull_role.as_ref().map(|role| PullRole {
                arn: role.arn.to_string(),
                external_id: role.external_id.as_deref().map(str::to_owned),
            }),
            // Those of the environment.
            endpoints: Endpoints::default(),
        };
        Ecr::new(settings, self.tls()?)
    }

    #[cfg(feature = "ecr")]
    async fn ecr_make(
        &self,
        registry: &Registry,
        issuer: &EcrIssuer,
        key: Option<&Key>,
        name: &str,
        repositories: &Repositories,
    ) -> Result<(), IssueError> {
        let Repositories { immutable_tags, tags } = repositories.clone();
        let settings = super::ecr::RepositorySettings { immutable_tags, tags };
        self.ecr(registry, issuer, key)?
            .create_repository(name, &settings)
            .await
    }

    #[cfg(not(feature = "ecr"))]
    async fn ecr_make(
        &self,
        _: &Registry,
        _: &EcrIssuer,
        _: Option<&Key>,
        _: &str,
        _: &Repositories,
    ) -> Result<(), IssueError> {
        Err(misconfigured(WITHOUT_ECR))
    }

    #[cfg(not(feature = "ecr"))]
    async fn ecr_pull(&self, _: &Registry, _: &EcrIssuer, _: Option<&Key>) -> Result<Minted, IssueError> {
        Err(misconfigured(WITHOUT_ECR))
    }

    #[cfg(not(feature = "ecr"))]
    async fn ecr_push(&self, _: &Registry, _: &EcrIssuer, _: Option<&Key>) -> Result<Issued, IssueError> {
        Err(misconfigured(WITHOUT_ECR))
    }

    fn google(&self, issuer: &GoogleIssuer, key: Option<&Key>) -> Result<gcr::Gcr, IssueError> {
        let key_json = match key {
            None => None,
            Some(Key::Google(json)) => Some(json.clone()),
            Some(Key::Aws { .. }) => {
                return Err(misconfigured(
                    "its key is an access key of Amazon's, and the location `gcr` is Google's: give a service account's key, or none for the \
                     identity that Waypost has",
                ));
            }
        };
        let settings = gcr::GcrSettings {
            key_json,
            ambient: gcr::Ambient::of_environment(),
            pull_service_account: issuer.pull_service_account.as_deref().map(str::to_owned),
            endpoints: self.settings.google.clone(),
        };
        gcr::Gcr::new(settings, self.tls()?)
    }

    fn tls(&self) -> Result<rustls::ClientConfig, IssueError> {
        let config = self.roots.config(None);
        config.map_err(|error| misconfigured(error.to_string()))
    }
}

fn misconfigured(why: impl Into<String>) -> IssueError {
    IssueError::Misconfigured(why.into())
}

/// Of a host as references say it: `[::1]:5000` is `[::1]`.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

#[cfg(not(feature = "ecr"))]
const WITHOUT_ECR: &str =
    "this Waypost was built without the feature `ecr`, and has no tokens issued by Amazon: use one that has it";

#[cfg(test)]
mod tests;
