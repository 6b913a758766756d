//! A registry as requests and answers have it. Doc comments are the descriptions of the OpenAPI document, and what a body is checked
//! against is made of the same types.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::{json::Secret, problem::FieldError};
use crate::{
    document::{self, Path, Segment},
    policy::LabelSelector,
    registry::{
        self, Condition, ConditionKind, Location, NamesSpec, NamespacesSpec, Registry, RegistrySpec, RepositoriesSpec,
        Status,
    },
    store::Stored,
};

/// What a registry is to be. Only `name` must be there. `null` is as good as leaving a field out, but for those of credentials, where
/// it removes the credential.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RegistryRequest {
    /// By what rules, pushes and commands name it: a DNS label, which never changes. Without it, it is made of `name`: `CERN (prod)`
    /// gives `cern-prod`. Where a registry is replaced, it is the one of the path.
    #[serde(default)]
    #[schemars(length(min = 1, max = 63), extend("pattern" = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub(super) id: Option<String>,
    /// The name that people are shown.
    #[schemars(length(min = 1, max = 253))]
    pub(super) name: String,
    /// What references to its images begin with, as nodes resolve it: a host with a port if need be, and behind it the organization:
    /// `registry.example.com/team`. Without it, Docker Hub; with the location `ecr` the account's registry, with `gcr` `gcr.io`.
    #[serde(default)]
    #[schemars(length(min = 1, max = 1024))]
    pub(super) registry_url: Option<String>,
    /// How credentials for it are come by.
    #[serde(default)]
    pub(super) location: Option<Location>,
    /// The user that Pods pull as. With `registry_password` or one of the fields that stand for it.
    #[serde(default)]
    #[schemars(length(min = 1, max = 1024))]
    pub(super) registry_username: Said<String>,
    /// The password, or a token in its place, that Pods pull with: it reaches every admitted namespace, and is never shown.
    #[serde(default)]
    pub(super) registry_password: Said<Secret>,
    /// A docker config, as `docker login` writes it, in the place of username and password. What it has for this registry is kept, and
    /// nothing else of it.
    #[serde(default)]
    pub(super) registry_docker_config: Said<JsonText>,
    /// In the place of `registry_password`: a file where Waypost runs, whose content is the password, read whenever it is needed. For
    /// Waypost on one machine.
    #[serde(default)]
    #[schemars(length(min = 1, max = 4096))]
    pub(super) registry_password_file: Said<String>,
    /// In the place of `registry_password`: a variable of Waypost's environment, whose value is the password. For Waypost on one
    /// machine.
    #[serde(default)]
    #[schemars(length(min = 1, max = 1024))]
    pub(super) registry_password_env: Said<String>,
    /// The user that Waypost pushes as, where that is not the one that Pods pull as.
    #[serde(default)]
    #[schemars(length(min = 1, max = 1024))]
    pub(super) registry_push_username: Said<String>,
    /// The password that Waypost pushes with: it reaches no namespace, and is never shown.
    #[serde(default)]
    pub(super) registry_push_password: Said<Secret>,
    /// As `registry_docker_config`, to push with.
    #[serde(default)]
    pub(super) registry_push_docker_config: Said<JsonText>,
    /// As `registry_password_file`, to push with.
    #[serde(default)]
    #[schemars(length(min = 1, max = 4096))]
    pub(super) registry_push_password_file: Said<String>,
    /// As `registry_password_env`, to push with.
    #[serde(default)]
    #[schemars(length(min = 1, max = 1024))]
    pub(super) registry_push_password_env: Said<String>,
    /// The token that the registry's notifications come with: at least 16 characters that nobody guesses, as `openssl rand -hex 32` makes
    /// them. It is sent to nobody and never shown. Null removes it; it is kept where nothing is said of it.
    #[serde(default)]
    pub(super) notification_token: Said<Secret>,
    /// In the place of `notification_token`: a file where Waypost runs, whose content is the token. For Waypost on one machine.
    #[serde(default)]
    #[schemars(length(min = 1, max = 4096))]
    pub(super) notification_token_file: Said<String>,
    /// In the place of `notification_token`: a variable of Waypost's environment, whose value is the token. For Waypost on one machine.
    #[serde(default)]
    #[schemars(length(min = 1, max = 1024))]
    pub(super) notification_token_env: Said<String>,
    /// `ecr`: the region, as AWS writes it: `eu-central-1`. Where `registry_url` is a host of ECR's, it may be left out.
    #[serde(default)]
    #[schemars(length(min = 1, max = 32))]
    pub(super) region: Option<String>,
    /// `ecr`: the twelve digits of the account whose registry it is. Without them, that of the identity that asks, which ECR is asked for.
    #[serde(default)]
    #[schemars(length(min = 1, max = 12))]
    pub(super) registry_id: Option<String>,
    /// `ecr`, `gcr`: the host by which nodes reach it, where it is none of Amazon's or Google's: a name of one's own for it, or a proxy.
    /// With `gcr` also which of Google's it is: `europe-west1-docker.pkg.dev`.
    #[serde(default)]
    #[schemars(length(min = 1, max = 255))]
    pub(super) hostname: Option<String>,
    /// `ecr`: the role that tokens to pull with are asked for under: `arn:aws:iam::123456789012:role/waypost-pull`.
    #[serde(default)]
    #[schemars(length(min = 1, max = 2048))]
    pub(super) pull_role_arn: Option<String>,
    /// `ecr`: the external id that the trust policy of that role asks for.
    #[serde(default)]
    #[schemars(length(min = 1, max = 1224))]
    pub(super) pull_role_external_id: Option<String>,
    /// `gcr`: the service account, by its e-mail address, whose tokens are the ones to pull with.
    #[serde(default)]
    #[schemars(length(min = 1, max = 254))]
    pub(super) pull_service_account: Option<String>,
    /// `ecr`: whether a push makes the repository that it needs, and with what. Without it, it does not.
    #[serde(default)]
    pub(super) repositories: Option<RepositoriesRequest>,
    /// `ecr`: the id of the access key that tokens are issued by. With `secret_access_key`; without both, they are issued by Waypost's own
    /// identity. A key reaches no namespace.
    #[serde(default)]
    pub(super) access_key_id: Said<Secret>,
    /// `ecr`: the secret of that access key. It is sent to nobody, not even to AWS, and never shown.
    #[serde(default)]
    pub(super) secret_access_key: Said<Secret>,
    /// `ecr`: the session token, where the access key is a temporary one.
    #[serde(default)]
    pub(super) session_token: Said<Secret>,
    /// `gcr`: the JSON file of the key of a service account, which tokens are issued by: the object itself, or its text; without base64.
    /// Without it, they are issued by Waypost's own identity. A key reaches no namespace, and is never shown.
    #[serde(default)]
    pub(super) key_json: Said<JsonText>,
    /// As `access_key_id`, to push with, where that is another key.
    #[serde(default)]
    pub(super) push_access_key_id: Said<Secret>,
    /// As `secret_access_key`, to push with.
    #[serde(default)]
    pub(super) push_secret_access_key: Said<Secret>,
    /// As `session_token`, to push with.
    #[serde(default)]
    pub(super) push_session_token: Said<Secret>,
    /// As `key_json`, to push with, where that is another service account's.
    #[serde(default)]
    pub(super) push_key_json: Said<JsonText>,
    /// Where Waypost itself reaches it, where that is another address than nodes use: `http://registry.default.svc:5000`.
    #[serde(default)]
    #[schemars(length(min = 1, max = 1024))]
    pub(super) endpoint: Option<String>,
    /// Whether Waypost reaches it without TLS. Nodes have their own configuration of that.
    #[serde(default)]
    pub(super) plain_http: Option<bool>,
    /// PEM: the authorities that its certificate may be of, besides those that everybody trusts.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub(super) ca_bundle: Option<String>,
    /// Hosts other than its own that issue its tokens, and that credentials for it may be sent to, by TLS: `gitlab.example.com`. With a
    /// port, that port alone.
    #[serde(default)]
    #[schemars(length(max = 8), inner(length(min = 1, max = 261)))]
    pub(super) token_hosts: Option<Vec<String>>,
    /// Under which names images are in it. Without it, `{registry}/{repository}` below its organization.
    #[serde(default)]
    pub(super) names: Option<NamesRequest>,
    /// Whose Pods may pull from it. Without it, those of all namespaces that the webhook serves.
    #[serde(default)]
    pub(super) namespaces: Option<NamespacesRequest>,
}

/// A field that may be left out, or be null, which is not the same.
#[derive(Debug, Default)]
pub(super) enum Said<T> {
    /// It is not there.
    #[default]
    Nothing,
    /// It is null.
    Null,
    /// It is this.
    This(T),
}

impl<T> Said<T> {
    pub(super) fn is_this(&self) -> bool {
        matches!(self, Self::This(_))
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }
}

/// A document of JSON: the text of it, or the object itself.
pub(super) struct JsonText(pub(super) Zeroizing<String>);

/// Repositories of ECR, which a push does not make by itself.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RepositoriesRequest {
    /// Whether a push makes the one that it needs.
    #[serde(default)]
    create: Option<bool>,
    /// Whether a tag there, once pushed, stays what it is.
    #[serde(default)]
    immutable_tags: Option<bool>,
    /// AWS's tags, by which costs and rights are told apart.
    #[serde(default)]
    tags: Option<BTreeMap<String, String>>,
}

/// Under which names images are in a registry.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NamesRequest {
    /// A template below the registry's organization, of `{registry}`, `{repository}`, `{namespace}` and `{name}`.
    #[schemars(length(min = 1, max = 1024))]
    to: String,
    /// The one registry that images are of, for a template without `{registry}`: `docker.io`.
    #[serde(default)]
    #[schemars(length(min = 1, max = 1024))]
    from: Option<String>,
}

/// Namespaces. Both `names` and `selector` must hold where both are given.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NamespacesRequest {
    /// True: all that the webhook serves, which is so anyway where neither of the others is given.
    #[serde(default)]
    all: Option<bool>,
    /// Their names; `*` stands for any characters.
    #[serde(default)]
    names: Option<Vec<String>>,
    /// Their labels.
    #[serde(default)]
    selector: Option<LabelSelector>,
}

/// A registry. Its credentials are never shown.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Registry", extend("additionalProperties" = false))]
pub(super) struct RegistryAnswer {
    /// By what rules, pushes and commands name it: a DNS label, which never changes.
    id: String,
    /// The name that people are shown.
    name: String,
    /// What references to its images begin with; `docker.io` for Docker Hub. Null where what was written, by other means than this,
    /// is none; and where ECR has not been asked yet whose registry it is, which it is with the first token.
    registry_url: Option<String>,
    /// How credentials for it are come by.
    location: Location,
    /// `ecr`: the region, where that was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<String>,
    /// `ecr`: the account whose registry it is, where that was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    registry_id: Option<String>,
    /// `ecr`, `gcr`: the host by which nodes reach it, where that was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    hostname: Option<String>,
    /// `ecr`: the role that tokens to pull with are asked for under.
    #[serde(skip_serializing_if = "Option::is_none")]
    pull_role_arn: Option<String>,
    /// `ecr`: the external id that the trust policy of that role asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pull_role_external_id: Option<String>,
    /// `gcr`: the service account whose tokens are the ones to pull with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pull_service_account: Option<String>,
    /// `ecr`: whether a push makes the repository that it needs, and with what.
    #[serde(skip_serializing_if = "Option::is_none")]
    repositories: Option<RepositoriesAnswer>,
    /// `ecr`, `gcr`: whether tokens are issued by a key that was given. If not, they are issued by Waypost's own identity.
    has_key: bool,
    /// `ecr`, `gcr`: the token to pull with that was issued last. Null where there is none.
    token: Option<TokenAnswer>,
    /// Where Waypost itself reaches it. Null where what was written, by other means than this, is no address.
    endpoint: Option<String>,
    /// Whether Waypost reaches it without TLS.
    plain_http: bool,
    /// PEM: the authorities that its certificate may be of, besides those that everybody trusts.
    #[serde(skip_serializing_if = "Option::is_none")]
    ca_bundle: Option<String>,
    /// Hosts other than its own that issue its tokens, and that credentials for it may be sent to, by TLS.
    token_hosts: Vec<Box<str>>,
    /// Whose Pods may pull from it.
    namespaces: NamespacesAnswer,
    /// Under which names images are in it.
    names: NamesAnswer,
    /// Whether there is a credential to pull with, or a token. Without one, Pods pull anonymously.
    has_pull_credential: bool,
    /// Whether there is a credential to push with, or a key. Without one, the one to pull with is used.
    has_push_credential: bool,
    /// Whether there is a token for its notifications. Without one, none is taken.
    has_notification_token: bool,
    /// Whether namespaces get a password that does not expire.
    long_lived: bool,
    /// What was found out about it.
    conditions: Vec<ConditionAnswer>,
    /// What is wrong with it, where it was written by other means than this: such a registry is not used.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<FieldError>,
    /// When it was registered.
    #[schemars(with = "String", extend("format" = "date-time"))]
    created_at: Timestamp,
    /// When it was last changed; what is found out about it is no change.
    #[schemars(with = "String", extend("format" = "date-time"))]
    updated_at: Timestamp,
}

/// Registries, in the order of their ids.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RegistryList", extend("additionalProperties" = false))]
pub(super) struct RegistryListAnswer {
    /// The registries.
    pub(super) items: Vec<RegistryAnswer>,
    /// What `after` has to be for those that follow; null where there are none.
    pub(super) next: Option<String>,
}

/// Whose Pods may pull from a registry.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Namespaces", extend("additionalProperties" = false))]
struct NamespacesAnswer {
    /// Whether it is those of all namespaces that the webhook serves.
    all: bool,
    /// The names of namespaces; `*` stands for any characters. Null: whatever the name.
    names: Option<Vec<String>>,
    /// The labels of namespaces. Null: whatever the labels.
    selector: Option<LabelSelector>,
}

/// Under which names images are in a registry.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Names", extend("additionalProperties" = false))]
struct NamesAnswer {
    /// A template below the registry's organization.
    to: String,
    /// The one registry that images are of; null where the template says it.
    from: Option<String>,
}

/// Repositories of ECR.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Repositories", extend("additionalProperties" = false))]
struct RepositoriesAnswer {
    /// Whether a push makes the one that it needs.
    create: bool,
    /// Whether a tag there, once pushed, stays what it is.
    immutable_tags: bool,
    /// AWS's tags.
    tags: BTreeMap<String, String>,
}

/// A token to pull with, but for the token.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Token", extend("additionalProperties" = false))]
struct TokenAnswer {
    /// When it was issued.
    #[schemars(with = "String", extend("format" = "date-time"))]
    issued_at: Timestamp,
    /// From then on the registry refuses it. There is another one long before.
    #[schemars(with = "String", extend("format" = "date-time"))]
    expires_at: Timestamp,
}

/// What was found out about a registry.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Condition", extend("additionalProperties" = false))]
struct ConditionAnswer {
    /// What it is about: `Reachable`, whether it answers; `Authenticated`, whether it takes the pull credential, or needs none;
    /// `PullCredentialCanPush`, whether the credential that reaches namespaces can push: better it could not; `LongLived`, whether
    /// namespaces get a password that does not expire; `TokenIssued`, whether there is a token that works, where tokens are issued.
    #[serde(rename = "type")]
    #[schemars(with = "String", extend("enum" = ["Reachable", "Authenticated", "PullCredentialCanPush", "LongLived", "TokenIssued"]))]
    kind: ConditionKind,
    /// Whether it is so.
    #[schemars(with = "String", extend("enum" = ["True", "False", "Unknown"]))]
    status: Status,
    /// Why, in a word for programs.
    reason: String,
    /// Why, in a sentence for people.
    message: String,
    /// Since when the status is what it is.
    #[schemars(with = "String", extend("format" = "date-time"))]
    last_transition_time: Timestamp,
}

impl RegistryRequest {
    /// As the object says it. An endpoint that is where the registry is anyway is not written down: it follows when that changes.
    pub(super) fn spec(&self, id: &str, errors: &mut Vec<FieldError>) -> RegistrySpec {
        let namespaces = self.namespaces.as_ref().and_then(|namespaces| namespaces.spec(errors));
        let mut spec = RegistrySpec {
            display_name: Some(self.name.clone()).filter(|name| name != id),
            location: self.location.unwrap_or_default(),
            url: self.registry_url.clone(),
            endpoint: None,
            plain_http: self.plain_http.unwrap_or_default(),
            ca_bundle: self.ca_bundle.clone(),
            token_hosts: self.token_hosts.clone().unwrap_or_default(),
            region: self.region.clone(),
            registry_id: self.registry_id.clone(),
            hostname: self.hostname.clone(),
            pull_role_arn: self.pull_role_arn.clone(),
            pull_role_external_id: self.pull_role_external_id.clone(),
            pull_service_account: self.pull_service_account.clone(),
            repositories: self.repositories.as_ref().map(|made| RepositoriesSpec {
                create: made.create.unwrap_or_default(),
                immutable_tags: made.immutable_tags.unwrap_or_default(),
                tags: made.tags.clone().unwrap_or_default(),
            }),
            names: self.names.as_ref().map(|names| NamesSpec {
                to: names.to.clone(),
                from: names.from.clone(),
            }),
            namespaces,
            pull_credential: None,
            push_credential: None,
            notification_token: None,
        };
        spec.endpoint.clone_from(&self.endpoint);
        imply_endpoint(id, &mut spec, None);
        spec
    }
}

/// Takes an endpoint away that is where the registry is anyway. `account`: as in [`Registry::parse_of`].
pub(super) fn imply_endpoint(id: &str, spec: &mut RegistrySpec, account: Option<&str>) {
    let Some(said) = spec.endpoint.take() else { return };
    let endpoint = |spec: &RegistrySpec| {
        let registry = Registry::parse_of(id, spec, account).ok()?;
        Some(registry.endpoint)
    };
    let implied = endpoint(spec);
    spec.endpoint = Some(said);
    if implied.is_some() && endpoint(spec) == implied {
        spec.endpoint = None;
    }
}

impl NamespacesRequest {
    fn spec(&self, errors: &mut Vec<FieldError>) -> Option<NamespacesSpec> {
        let some = self.names.is_some() || self.selector.is_some();
        match (self.all, some) {
            (Some(true), true) => errors.push(
                FieldError::new("namespaces.all", "all namespaces are asked for, and some of them")
                    .hint("take `all` out, or `names` and `selector`"),
            ),
            (Some(false), false) => errors.push(
                FieldError::new("namespaces.all", "not all namespaces are asked for, and none of them")
                    .hint("say which in `names` or `selector`"),
            ),
            _ => {}
        }
        some.then(|| NamespacesSpec {
            names: self.names.clone(),
            selector: self.selector.clone(),
        })
    }
}

impl RegistryAnswer {
    pub(super) fn of(stored: &Stored) -> Self {
        let spec = &stored.spec;
        let (registry, problems) = match stored.registry() {
            Ok(registry) => (Some(registry), Vec::new()),
            Err(mut problems) => {
                // It passes by itself.
                problems.retain(|problem| problem.code != registry::UNKNOWN_ACCOUNT);
                (None, problems.iter().map(field_error).collect())
            }
        };
        let namespaces = spec.namespaces.clone().unwrap_or_default();
        Self {
            id: stored.id.clone(),
            name: spec.display_name.clone().unwrap_or_else(|| stored.id.clone()),
            // What is no address may be a password in the wrong place.
            registry_url: registry.as_ref().map(|registry| registry.address.to_string()),
            location: spec.location,
            region: spec.region.clone(),
            registry_id: spec.registry_id.clone(),
            hostname: spec.hostname.clone(),
            pull_role_arn: spec.pull_role_arn.clone(),
            pull_role_external_id: spec.pull_role_external_id.clone(),
            pull_service_account: spec.pull_service_account.clone(),
            repositories: spec.repositories.clone().map(|made| RepositoriesAnswer {
                create: made.create,
                immutable_tags: made.immutable_tags,
                tags: made.tags,
            }),
            has_key: stored.key.is_some(),
            token: stored.issuance.as_ref().map(|issuance| TokenAnswer {
                issued_at: issuance.issued_at,
                expires_at: issuance.expires_at,
            }),
            endpoint: registry.as_ref().map(|registry| registry.endpoint.to_string()),
            plain_http: registry.as_ref().map_or(spec.plain_http, |registry| {
                registry.endpoint.scheme == registry::Scheme::Http
            }),
            token_hosts: registry
                .as_ref()
                .map(|registry| registry.token_hosts.clone())
                .unwrap_or_default(),
            ca_bundle: registry.and_then(|registry| registry.endpoint.ca_bundle.map(Into::into)),
            namespaces: NamespacesAnswer {
                all: namespaces.names.is_none() && namespaces.selector.is_none(),
                names: namespaces.names,
                selector: namespaces.selector,
            },
            names: match &spec.names {
                Some(names) => NamesAnswer {
                    to: names.to.clone(),
                    from: names.from.clone(),
                },
                None => NamesAnswer {
                    to: "{registry}/{repository}".to_owned(),
                    from: None,
                },
            },
            has_pull_credential: stored.pull.is_some(),
            has_push_credential: stored.push.is_some(),
            has_notification_token: stored.notify.is_some(),
            long_lived: long_lived(stored),
            conditions: stored.conditions.iter().map(ConditionAnswer::of).collect(),
            problems,
            created_at: stored.created_at,
            updated_at: stored.updated_at,
        }
    }
}

impl ConditionAnswer {
    fn of(condition: &Condition) -> Self {
        let Condition {
            kind,
            status,
            reason,
            message,
            last_transition_time,
        } = condition.clone();
        Self {
            kind,
            status,
            reason,
            message,
            last_transition_time,
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Said<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Option::<T>::deserialize(deserializer)? {
            Some(this) => Self::This(this),
            None => Self::Null,
        })
    }
}

impl<T: JsonSchema> JsonSchema for Said<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        Option::<T>::schema_name()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Option::<T>::json_schema(generator)
    }
}

impl<'de> Deserialize<'de> for JsonText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        let text = if raw.starts_with('"') {
            super::json::unescaped(raw)
        } else {
            Some(Zeroizing::new(raw.to_owned()))
        };
        text.map(Self)
            .ok_or_else(|| serde::de::Error::custom("expected a string or an object"))
    }
}

impl JsonSchema for JsonText {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "JsonText".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": ["string", "object"], "minLength": 1, "additionalProperties": true, "writeOnly": true})
    }
}

/// What is wrong with a registry, by the names that its fields have here.
pub(super) fn field_error(problem: &document::Problem) -> FieldError {
    let path: Path = problem
        .path
        .segments()
        .iter()
        .enumerate()
        .map(|(at, segment)| match segment {
            Segment::Key(key) if at == 0 => Segment::Key(field(key).into()),
            segment => segment.clone(),
        })
        .collect();
    let mut error = FieldError::new(path.to_string(), in_fields(&problem.message));
    error.hint = problem.hint.as_deref().map(in_fields);
    error
}

/// A sentence with the names that fields have here.
fn in_fields(sentence: &str) -> String {
    FIELDS.iter().fold(sentence.to_owned(), |sentence, (key, field)| {
        sentence.replace(&format!("`{key}`"), &format!("`{field}`"))
    })
}

/// What a key of the object's spec is called here.
fn field(key: &str) -> &str {
    let other = FIELDS.iter().find(|(other, _)| *other == key);
    other.map_or(key, |(_, field)| field)
}

/// What keys of the object's spec are called here, where that is not the same.
const FIELDS: &[(&str, &str)] = &[
    ("displayName", "name"),
    ("url", "registry_url"),
    ("plainHttp", "plain_http"),
    ("caBundle", "ca_bundle"),
    ("tokenHosts", "token_hosts"),
    ("registryId", "registry_id"),
    ("pullRoleArn", "pull_role_arn"),
    ("pullRoleExternalId", "pull_role_external_id"),
    ("pullServiceAccount", "pull_service_account"),
];

/// As its condition says; before anybody has looked, as it is with passwords that people give.
fn long_lived(stored: &Stored) -> bool {
    let condition = stored
        .conditions
        .iter()
        .find(|condition| condition.kind == ConditionKind::LongLived);
    match condition.map(|condition| condition.status) {
        Some(Status::True) => true,
        Some(Status::False) => false,
        Some(Status::Unknown) | None => match stored.spec.location {
            Location::OffCluster => stored.pull.is_some(),
            Location::Ecr | Location::Gcr => false,
        },
    }
}

/// Fields that answers have and requests do not.
pub(super) const ANSWERED: &[&str] = &[
    "has_key",
    "token",
    "has_pull_credential",
    "has_push_credential",
    "has_notification_token",
    "long_lived",
    "conditions",
    "problems",
    "created_at",
    "updated_at",
];
