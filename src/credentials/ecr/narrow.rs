//! From an identity to a session that may pull from one registry and do nothing else.
//!
//! AWS makes a session with a policy of its own in three ways: of a role that the identity may assume (`AssumeRole`), of a service account's
//! role together with its token (`AssumeRoleWithWebIdentity`), of the long-lived key of an IAM user (`GetFederationToken`). Of what a Pod
//! Identity or a machine is given, it makes none but by assuming a role.

use std::{fmt, path::Path};

use aws_credential_types::credential_feature::AwsCredentialFeature;
use aws_sdk_ecr::config::Credentials;
use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use zeroize::Zeroizing;

use super::{Ecr, PullRole, identity::Identity};
use crate::{credentials::IssueError, registry::amazon};

/// Why a token to pull with can do all that the identity can.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wide {
    /// AWS makes no narrower session of an identity of this kind.
    NoWay,
    /// It would, if the identity had the right `sts:GetFederationToken`.
    NoRight,
}

/// A service account's role, and where its token is.
struct WebIdentity {
    role: String,
    token_file: String,
}

impl Ecr {
    /// Credentials that may only pull from the registry of this account, or why AWS has none for the identity.
    ///
    /// A role that was configured is never done without.
    pub(super) async fn narrow(
        &self,
        identity: &Identity,
        account: &str,
    ) -> Result<Result<Credentials, Wide>, IssueError> {
        let policy = self.policy(account);
        if let Some(role) = &self.settings.pull_role {
            return self.by_role(identity, role, policy).await.map(Ok);
        }
        if identity.credentials.session_token().is_none() {
            return self.by_federation(identity, policy).await;
        }
        match self.web_identity(identity) {
            Some(web) => self.by_web_identity(identity, web, policy).await.map(Ok),
            None => Ok(Err(Wide::NoWay)),
        }
    }

    async fn by_role(&self, identity: &Identity, role: &PullRole, policy: String) -> Result<Credentials, IssueError> {
        let asked = self.asked("sts:AssumeRole");
        let session = self
            .sts(identity)
            .assume_role()
            .role_arn(&role.arn)
            .role_session_name(SESSION)
            .set_external_id(role.external_id.clone())
            .policy(policy);
        let answer = session.send().await.map_err(|error| asked.failed(&error))?;
        let credentials = answer.credentials().and_then(credentials);
        credentials.ok_or_else(|| asked.unavailable(NO_CREDENTIALS))
    }

    async fn by_federation(
        &self,
        identity: &Identity,
        policy: String,
    ) -> Result<Result<Credentials, Wide>, IssueError> {
        let asked = self.asked("sts:GetFederationToken");
        match self
            .sts(identity)
            .get_federation_token()
            .name(SESSION)
            .policy(policy)
            .send()
            .await
        {
            Ok(answer) => {
                let credentials = answer.credentials().and_then(credentials);
                credentials.map(Ok).ok_or_else(|| asked.unavailable(NO_CREDENTIALS))
            }
            Err(error) if is_denied(&error) => Ok(Err(Wide::NoRight)),
            Err(error) => Err(asked.failed(&error)),
        }
    }

    async fn by_web_identity(
        &self,
        identity: &Identity,
        web: WebIdentity,
        policy: String,
    ) -> Result<Credentials, IssueError> {
        let asked = self.asked("sts:AssumeRoleWithWebIdentity");
        let token = tokio::fs::read_to_string(Path::new(&web.token_file)).await;
        let token = token.map(Zeroizing::new).map_err(|error| {
            IssueError::Unavailable(format!(
                "the service account's token in {} cannot be read: {}",
                web.token_file.escape_debug(),
                error.kind()
            ))
        })?;
        let session = self
            .sts(identity)
            .assume_role_with_web_identity()
            .role_arn(web.role)
            .role_session_name(SESSION)
            .web_identity_token(token.trim())
            .policy(policy);
        let answer = session.send().await.map_err(|error| asked.failed(&error))?;
        let credentials = answer.credentials().and_then(credentials);
        credentials.ok_or_else(|| asked.unavailable(NO_CREDENTIALS))
    }

    /// Whether the identity is of a service account's role that the environment names.
    fn web_identity(&self, identity: &Identity) -> Option<WebIdentity> {
        let features = identity.credentials.get_property::<Vec<AwsCredentialFeature>>()?;
        if !features.contains(&AwsCredentialFeature::CredentialsProfileStsWebIdToken) {
            return None;
        }
        Some(WebIdentity {
            role: self.variable("AWS_ROLE_ARN")?,
            token_file: self.variable("AWS_WEB_IDENTITY_TOKEN_FILE")?,
        })
    }

    #[cfg(not(test))]
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    #[cfg(test)]
    fn variable(&self, name: &str) -> Option<String> {
        self.world.variable(name)
    }

    fn sts(&self, identity: &Identity) -> aws_sdk_sts::Client {
        let mut config =
            aws_sdk_sts::config::Builder::from(&identity.config).credentials_provider(identity.credentials.clone());
        if let Some(endpoint) = &self.settings.endpoints.sts {
            config = config.endpoint_url(endpoint);
        }
        aws_sdk_sts::Client::from_conf(config.build())
    }

    /// What pulling takes, in the registry of one account and region. A token is good for all that its identity may do.
    fn policy(&self, account: &str) -> String {
        let partition = amazon::partition(&self.settings.region).name;
        let region = &self.settings.region;
        serde_json::json!({
            "Version": "2012-10-17",
            "Statement": [
                {"Effect": "Allow", "Action": "ecr:GetAuthorizationToken", "Resource": "*"},
                {
                    "Effect": "Allow",
                    "Action": ["ecr:BatchCheckLayerAvailability", "ecr:GetDownloadUrlForLayer", "ecr:BatchGetImage"],
                    "Resource": format!("arn:{partition}:ecr:{region}:{account}:repository/*"),
                },
            ],
        })
        .to_string()
    }
}

impl fmt::Display for Wide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoWay => {
                "the token that namespaces get can do all that Waypost's AWS identity can: AWS makes no narrower one of an identity of \
                 this kind; give a role to pull with"
            }
            Self::NoRight => {
                "the token that namespaces get can do all that its access key can: the key lacks the right sts:GetFederationToken, by \
                 which AWS makes a narrower one; allow it, or give a role to pull with"
            }
        })
    }
}

fn credentials(of: &aws_sdk_sts::types::Credentials) -> Option<Credentials> {
    Some(Credentials::new(
        of.access_key_id(),
        of.secret_access_key(),
        Some(of.session_token().to_owned()),
        Some((*of.expiration()).try_into().ok()?),
        "Waypost",
    ))
}

fn is_denied<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
    matches!(code, Some("AccessDenied" | "AccessDeniedException"))
}

/// By which AWS's own log tells who it was.
const SESSION: &str = "waypost-pull";

const NO_CREDENTIALS: &str = "was answered without credentials that can be read; check the endpoint";
