//! Registries as they are written: the `spec` of a `Registry` object, which REST and Helm values are translated to. Its doc comments
//! are the descriptions of the schema.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::policy::LabelSelector;

/// A registry that images are pulled from and pushed to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct RegistrySpec {
    /// The name that people are shown. Without it, the object's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// How credentials for it are come by.
    pub location: Location,
    /// What references to its images begin with, as nodes resolve it: a host with a port if need be, and behind it the organization:
    /// `registry.example.com/team`. Without it, Docker Hub; with the location `ecr` the account's registry, with `gcr` `gcr.io`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// `ecr`: the region, as AWS writes it: `eu-central-1`. Where `url` is a host of ECR's, it may be left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// `ecr`: the twelve digits of the account whose registry it is. Without them, that of the identity that asks, which ECR is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registry_id: Option<String>,
    /// `ecr`, `gcr`: the host by which nodes reach it, where it is none of Amazon's or Google's: a name of one's own for it, or a proxy.
    /// With `gcr` also which of Google's it is: `europe-west1-docker.pkg.dev`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// `ecr`: the role that tokens to pull with are asked for under: `arn:aws:iam::123456789012:role/waypost-pull`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull_role_arn: Option<String>,
    /// `ecr`: the external id that the trust policy of that role asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull_role_external_id: Option<String>,
    /// `gcr`: the service account, by its e-mail address, whose tokens are the ones to pull with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull_service_account: Option<String>,
    /// `ecr`: whether a push makes the repository that it needs, and with what. Without it, it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repositories: Option<RepositoriesSpec>,
    /// Where Waypost itself reaches it, where that is another address than nodes use: `http://registry.default.svc:5000`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Whether Waypost reaches it without TLS. Nodes have their own configuration of that.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub plain_http: bool,
    /// PEM: the authorities that its certificate may be of, besides those that everybody trusts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<String>,
    /// Hosts other than its own that issue its tokens, and that credentials for it may be sent to, by TLS: `gitlab.example.com`. With a
    /// port, that port alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub token_hosts: Vec<String>,
    /// Under which names images are in it. Without it, `{registry}/{repository}` below its organization.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub names: Option<NamesSpec>,
    /// Whose Pods may pull from it. Without it, those of all namespaces that the webhook serves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<NamespacesSpec>,
    /// The credential that Pods pull with: it reaches every admitted namespace. Without it, they pull anonymously. With the location `ecr`
    /// or `gcr`, the key that tokens to pull with are issued by: it reaches no namespace. Without it, they are issued by Waypost's own
    /// identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull_credential: Option<SecretSource>,
    /// The credential that Waypost pushes with, or the key: it reaches no namespace. Without it, the one to pull with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub push_credential: Option<SecretSource>,
    /// The token that the registry's notifications come with, of at least 16 characters: it is sent to nobody. Without it, the registry
    /// cannot notify.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notification_token: Option<SecretSource>,
}

/// How credentials for a registry are come by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Location {
    /// Somebody gives a username and a password, a docker config, or nothing.
    #[default]
    OffCluster,
    /// Amazon ECR issues tokens.
    Ecr,
    /// Google issues tokens, for Artifact Registry and `gcr.io`.
    Gcr,
}

impl Location {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OffCluster => "off-cluster",
            Self::Ecr => "ecr",
            Self::Gcr => "gcr",
        }
    }

    /// Whether somebody issues tokens, so that no credential that lasts reaches a namespace.
    pub fn issues(self) -> bool {
        match self {
            Self::OffCluster => false,
            Self::Ecr | Self::Gcr => true,
        }
    }
}

/// Repositories of ECR, which a push does not make by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct RepositoriesSpec {
    /// Whether a push makes the one that it needs.
    pub create: bool,
    /// Whether a tag there, once pushed, stays what it is.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub immutable_tags: bool,
    /// AWS's tags, by which costs and rights are told apart.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// Under which names images are in a registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NamesSpec {
    /// A template below the registry's organization, of `{registry}`, `{repository}`, `{namespace}` and `{name}`.
    pub to: String,
    /// The one registry that images are of, for a template without `{registry}`: `docker.io`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

/// Namespaces. Both keys must hold where both are given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct NamespacesSpec {
    /// Their names; `*` stands for any characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub names: Option<Vec<String>>,
    /// Their labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

/// A credential that is kept in a Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SecretSource {
    /// The name of a Secret in Waypost's own namespace: with the keys `username` and `password` (type `kubernetes.io/basic-auth` has
    /// them), or of type `kubernetes.io/dockerconfigjson`. A token is the one key `token`, or `password`. With the location `ecr`, the
    /// keys are `accessKeyId`, `secretAccessKey` and maybe `sessionToken`; with `gcr`, `key.json`.
    pub secret_name: String,
}
