//! A registry as requests and answers have it. Doc comments are the descriptions of the OpenAPI document, and what a body is checked
//! against is made of the same types.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::{json::Secret, problem::FieldError};
use crate::{
    document::{self, Path, Segment},
    policy::LabelSelector,
    registry::{self, Condition, ConditionKind, Location, NamesSpec, NamespacesSpec, Registry, RegistrySpec, Status},
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
    /// `registry.example.com/team`. Without it, Docker Hub.
    #[serde(default)]
    #[schemars(length(min = 1, max = 1024))]
    pub(super) registry_url: Option<String>,
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
    pub(super) registry_docker_config: Said<DockerConfig>,
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
    pub(super) registry_push_docker_config: Said<DockerConfig>,
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
    /// How credentials for it are come by.
    #[serde(default)]
    pub(super) location: Option<Location>,
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

/// A docker config: the text of one, or the object itself.
pub(super) struct DockerConfig(pub(super) Zeroizing<String>);

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
    /// is none.
    registry_url: Option<String>,
    /// How credentials for it are come by.
    location: Location,
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
    /// Whether there is a credential to pull with. Without one, Pods pull anonymously.
    has_pull_credential: bool,
    /// Whether there is a credential to push with. Without one, the one to pull with is used.
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

/// What was found out about a registry.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Condition", extend("additionalProperties" = false))]
struct ConditionAnswer {
    /// What it is about: `Reachable`, whether it answers; `Authenticated`, whether it takes the pull credential, or needs none;
    /// `PullCredentialCanPush`, whether the credential that reaches namespaces can push: better it could not; `LongLived`, whether
    /// namespaces get a password that does not expire.
    #[serde(rename = "type")]
    #[schemars(with = "String", extend("enum" = ["Reachable", "Authenticated", "PullCredentialCanPush", "LongLived"]))]
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
            region: None,
            registry_id: None,
            hostname: None,
            pull_role_arn: None,
            pull_role_external_id: None,
            pull_service_account: None,
            repositories: None,
            names: self.names.as_ref().map(|names| NamesSpec {
                to: names.to.clone(),
                from: names.from.clone(),
            }),
            namespaces,
            pull_credential: None,
            push_credential: None,
            notification_token: None,
        };
        let implied = Registry::parse(id, &spec).ok().map(|registry| registry.endpoint);
        spec.endpoint.clone_from(&self.endpoint);
        let said = Registry::parse(id, &spec).ok().map(|registry| registry.endpoint);
        if said.is_some() && said == implied {
            spec.endpoint = None;
        }
        spec
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
            Err(problems) => (None, problems.iter().map(field_error).collect()),
        };
        let namespaces = spec.namespaces.clone().unwrap_or_default();
        Self {
            id: stored.id.clone(),
            name: spec.display_name.clone().unwrap_or_else(|| stored.id.clone()),
            // What is no address may be a password in the wrong place.
            registry_url: registry.as_ref().map(|registry| registry.address.to_string()),
            location: spec.location,
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

impl<'de> Deserialize<'de> for DockerConfig {
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

impl JsonSchema for DockerConfig {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "DockerConfig".into()
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
    let mut error = FieldError::new(path.to_string(), &*problem.message);
    error.hint.clone_from(&problem.hint);
    error
}

/// What a key of the object's spec is called here.
fn field(key: &str) -> &str {
    match key {
        "displayName" => "name",
        "url" => "registry_url",
        "plainHttp" => "plain_http",
        "caBundle" => "ca_bundle",
        "tokenHosts" => "token_hosts",
        same => same,
    }
}

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
    "has_pull_credential",
    "has_push_credential",
    "has_notification_token",
    "long_lived",
    "conditions",
    "problems",
    "created_at",
    "updated_at",
];
