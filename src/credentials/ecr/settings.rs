//! What is configured of an ECR registry, checked as far as that goes without asking AWS.

use std::collections::BTreeMap;

use hyper::Uri;

use crate::{
    credentials::IssueError,
    reference,
    registry::{
        Password,
        amazon::{is_account, is_region, is_role},
    },
};

/// An ECR registry, and whose identity to ask with.
#[derive(Clone, Debug, Default)]
pub struct EcrSettings {
    /// The region, as AWS writes it: `eu-central-1`.
    pub region: String,
    /// The registry's id, which is an account's of twelve digits. `None`: that of the identity's own account, which ECR is asked for.
    pub registry_id: Option<String>,
    /// The host by which nodes reach it, where it is another than AWS gives it: a name of one's own for it, or a proxy.
    pub host: Option<String>,
    /// Keys. `None`: whatever identity the process has, looked for in the environment, a profile, a service account's role, a container's
    /// credentials and the machine's metadata, in this order.
    pub keys: Option<Keys>,
    /// The role that pull tokens are asked for under.
    pub pull_role: Option<PullRole>,
    /// Where AWS is reached, where that is another place than usual.
    pub endpoints: Endpoints,
}

/// An access key.
#[derive(Clone, Debug)]
pub struct Keys {
    /// The access key id.
    pub id: Password,
    /// The secret access key.
    pub secret: Password,
    /// The session token, where the key is a temporary one.
    pub session_token: Option<Password>,
}

/// A role that may pull.
#[derive(Clone, Debug)]
pub struct PullRole {
    /// Its ARN: `arn:aws:iam::123456789012:role/waypost-pull`.
    pub arn: String,
    /// The external id that its trust policy asks for.
    pub external_id: Option<String>,
}

/// URLs of AWS's services, which go before those of the environment (`AWS_ENDPOINT_URL_ECR`, `AWS_ENDPOINT_URL_STS`).
#[derive(Clone, Debug, Default)]
pub struct Endpoints {
    /// ECR's API.
    pub ecr: Option<String>,
    /// STS's.
    pub sts: Option<String>,
}

/// What a repository is created with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RepositorySettings {
    /// Whether a tag, once pushed, stays what it is.
    pub immutable_tags: bool,
    /// Tags of AWS's kind, by which costs and rights are told apart.
    pub tags: BTreeMap<String, String>,
}

impl EcrSettings {
    /// Whether it can be right.
    pub(super) fn check(&self) -> Result<(), IssueError> {
        let wrong = |what: String| Err(IssueError::Misconfigured(what));
        if !is_region(&self.region) {
            return wrong(format!(
                "`{}` is no region of AWS: they look like eu-central-1",
                self.region.escape_debug()
            ));
        }
        if let Some(id) = &self.registry_id
            && !is_account(id)
        {
            return wrong(format!(
                "`{}` is no id of an ECR registry: it is an account's twelve digits, or left out for the account's own",
                id.escape_debug()
            ));
        }
        if let Some(host) = &self.host
            && !(reference::is_registry_host(host) && reference::valid_registry(host).is_ok())
        {
            return wrong(format!("`{}` is no host of a registry", host.escape_debug()));
        }
        if let Some(role) = &self.pull_role
            && !is_role(&role.arn)
        {
            return wrong(format!(
                "`{}` is no ARN of a role: they look like arn:aws:iam::123456789012:role/waypost-pull",
                role.arn.escape_debug()
            ));
        }
        for endpoint in [&self.endpoints.ecr, &self.endpoints.sts].into_iter().flatten() {
            let is_url = endpoint.parse::<Uri>().is_ok_and(|uri| {
                matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
            });
            if !is_url {
                return wrong(format!(
                    "`{}` is no URL of an endpoint: they look like https://api.ecr.eu-central-1.amazonaws.com",
                    endpoint.escape_debug()
                ));
            }
        }
        if let Some(keys) = &self.keys
            && !(is_word(&keys.id) && is_word(&keys.secret) && keys.session_token.as_ref().is_none_or(is_word))
        {
            return wrong(
                "an access key is an id and a secret, both without spaces and line ends, and its session token is no different: give \
                 both, or neither for the identity that Waypost has"
                    .to_owned(),
            );
        }
        Ok(())
    }
}

fn is_word(text: &Password) -> bool {
    let text = text.expose();
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic())
}
