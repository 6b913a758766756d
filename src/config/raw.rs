//! The configuration as people write it: every key, its variable, its default. `waypost schema` and the table in the README
//! are made from the comments here.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::policy::PullPolicy;

/// The configuration of Waypost. Every key is optional.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Raw {
    /// What is listened on.
    pub server: Server,
    /// Certificates.
    pub tls: Tls,
    /// Where rules come from.
    pub policies: Policies,
    /// How the latest push of an image counts.
    pub pushes: Pushes,
    /// Where registries and push records are kept.
    pub store: Store,
    /// Registries that are declared, and how all of them are looked after.
    pub registries: Registries,
    /// Whoever issues the tokens of registries: Amazon and Google.
    pub issuers: Issuers,
    /// Pull policy and pull secrets.
    pub pull: Pull,
    /// How Pods and namespaces may leave.
    pub opt_out: OptOut,
    /// The Kubernetes cluster that asks.
    pub cluster: Cluster,
    /// The controller.
    pub controller: Controller,
    /// The certificates of the webhook in a cluster.
    pub certificates: Certificates,
    /// What is logged, and how.
    pub log: Log,
}

/// What is listened on.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// The admission webhook.
    pub webhook: Webhook,
    /// Metrics and health.
    pub admin: Admin,
    /// The REST API.
    pub api: Api,
}

/// The admission webhook: `POST /mutate`, TLS.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Webhook {
    /// The address that the webhook listens on. Variable: `WAYPOST_SERVER__WEBHOOK__LISTEN`.
    #[schemars(extend("examples" = ["0.0.0.0:8443"]))]
    pub listen: String,
    /// A PEM file; with it, only callers with a certificate of this authority get in. Variable:
    /// `WAYPOST_SERVER__WEBHOOK__CLIENT_CA`.
    pub client_ca: Option<String>,
    /// How long `/drain` takes, during which every answer closes its connection. Variable:
    /// `WAYPOST_SERVER__WEBHOOK__DRAIN`.
    #[schemars(extend("examples" = ["15s"]))]
    pub drain: String,
}

/// Metrics and health: `/metrics`, `/livez`, `/readyz`, plain HTTP.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// The address that metrics and health are served on. Variable: `WAYPOST_SERVER__ADMIN__LISTEN`.
    #[schemars(extend("examples" = ["0.0.0.0:9090"]))]
    pub listen: String,
}

/// The REST API: `/v1/…`, TLS.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Api {
    /// The address that the REST API listens on. Variable: `WAYPOST_SERVER__API__LISTEN`.
    #[schemars(extend("examples" = ["0.0.0.0:8444"]))]
    pub listen: String,
    /// The Secret, with `tls.crt` and `tls.key`, that `controller` serves the REST API with; without it, `controller` has no REST
    /// API. `serve` uses the files of `tls.dir`. Variable: `WAYPOST_SERVER__API__SECRET`.
    pub secret: Option<String>,
}

/// Certificates.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// The directory of `ca.crt`, `tls.crt` and `tls.key`, which `serve` makes at its first start where they are absent.
    /// Variable: `WAYPOST_TLS__DIR`.
    pub dir: String,
}

/// Where rules come from.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Policies {
    /// The directory of policies: every `*.yaml` in it by file name, `*.test.yaml` excepted. It may be absent. Variable:
    /// `WAYPOST_POLICIES__DIR`.
    pub dir: String,
    /// The presets that are switched on, in the order of their evaluation: names, or `{name: …, values: {…}}`. Variable:
    /// `WAYPOST_POLICIES__PRESETS`.
    pub presets: Vec<Preset>,
}

/// A preset: its name, or its name with values.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(untagged)]
pub enum Preset {
    /// A preset that needs no values.
    Name(String),
    /// A preset with values.
    With(PresetValues),
}

/// A preset with values.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct PresetValues {
    /// The name of the preset.
    pub name: String,
    /// The values that the preset asks for.
    #[serde(default)]
    pub values: BTreeMap<String, String>,
}

/// How the latest push of an image counts.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Pushes {
    /// Whether images are pulled from where they were last pushed to (the built-in rule `latest-push`). Variable:
    /// `WAYPOST_PUSHES__ROUTE`.
    pub route: bool,
    /// Whether the rule `latest-push` adds the digest of the push. Variable: `WAYPOST_PUSHES__PIN`.
    pub pin: bool,
    /// How often the target of each latest push is asked whether it is still there; `0s`: never. Variable: `WAYPOST_PUSHES__VERIFY`.
    #[schemars(extend("examples" = ["10m"]))]
    pub verify: String,
    /// How many images Waypost copies at once. Variable: `WAYPOST_PUSHES__COPIES`.
    #[schemars(range(min = 1, max = 64))]
    pub copies: u8,
}

/// Where registries and push records are kept.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// `embedded` is a file on this machine, `kubernetes` objects in the cluster. Variable: `WAYPOST_STORE__KIND`.
    pub kind: StoreKind,
    /// The file of the embedded store. Variable: `WAYPOST_STORE__PATH`.
    pub path: String,
}

/// Where registries and push records are kept.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// A file on this machine.
    #[default]
    Embedded,
    /// Objects in the cluster.
    Kubernetes,
}

/// Registries that are declared, and how all of them are looked after.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Registries {
    /// A directory of `Registry` objects, each `*.yaml` in it one: `controller` makes them in the cluster, keeps them as they are
    /// there, and removes those that are no longer in it. Variable: `WAYPOST_REGISTRIES__DIR`.
    pub dir: Option<String>,
    /// How often a registry that is fine is asked whether it answers; `0s`: none ever is, and none is taken to be down. Variable:
    /// `WAYPOST_REGISTRIES__PROBE`.
    #[schemars(extend("examples" = ["10s"]))]
    pub probe: String,
}

/// Whoever issues the tokens of registries: Amazon and Google.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Issuers {
    /// Hosts that tokens may be sent to which are issued to Waypost's own identity, besides those of the issuers themselves: names of
    /// your own for a registry, and proxies. With a port, that port alone. Variable: `WAYPOST_ISSUERS__AMBIENT_HOSTS`.
    #[schemars(extend("examples" = [["registry.example.com"]]))]
    pub ambient_hosts: Vec<String>,
    /// Google.
    pub google: Google,
}

/// Google, where it is reached elsewhere than usual.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Google {
    /// Where service accounts are impersonated, instead of `https://iamcredentials.googleapis.com`. Variable:
    /// `WAYPOST_ISSUERS__GOOGLE__IAM_CREDENTIALS`.
    #[schemars(extend("examples" = ["https://iamcredentials.example.com"]))]
    pub iam_credentials: Option<String>,
    /// Who else, besides Google, the assertions of keys and tokens may be sent to: scheme, host and port. Variable:
    /// `WAYPOST_ISSUERS__GOOGLE__TRUSTED`.
    #[schemars(extend("examples" = [["https://oauth2.example.com"]]))]
    pub trusted: Vec<String>,
}

/// Pull policy and pull secrets.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Pull {
    /// The `imagePullPolicy` of rewritten images whose rule says no other. Variable: `WAYPOST_PULL__POLICY`.
    pub policy: PullPolicy,
    /// The name of the Secret with pull credentials that Waypost keeps in namespaces. Variable: `WAYPOST_PULL__SECRET`.
    pub secret: String,
    /// Names of existing Secrets that every rewritten Pod gets as `imagePullSecrets`. Variable: `WAYPOST_PULL__SECRETS`.
    pub secrets: Vec<String>,
    /// Whether the Secret that Waypost keeps is added to Pods. Variable: `WAYPOST_PULL__INJECT`.
    pub inject: bool,
}

/// How Pods and namespaces may leave.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct OptOut {
    /// Whether the label `waypost.dev/rewrite: disabled` on a Pod or a namespace is honoured. Variable:
    /// `WAYPOST_OPT_OUT__ALLOWED`.
    pub allowed: bool,
}

/// The Kubernetes cluster that asks.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Cluster {
    /// A kubeconfig; with it, `serve` watches the labels of namespaces at the API server of its current context, and keeps pull secrets there. `webhook` and
    /// `controller` are Pods with a ServiceAccount where there is none. Variable: `WAYPOST_CLUSTER__KUBECONFIG`.
    pub kubeconfig: Option<String>,
    /// The namespace of Waypost itself. Without it, the Pod's own, or the one of the kubeconfig's context. Variable:
    /// `WAYPOST_CLUSTER__NAMESPACE`.
    pub namespace: Option<String>,
    /// The MutatingWebhookConfiguration by which the API server asks: the namespaces that it selects are those that a registry is for
    /// which names none. Without it, `certificates.webhook_configuration`, or all but those of Kubernetes itself. Variable: `WAYPOST_CLUSTER__WEBHOOK_CONFIGURATION`.
    pub webhook_configuration: Option<String>,
}

/// The controller.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Controller {
    /// The name of its Lease, and of its Deployment, which owns what it makes. Variable: `WAYPOST_CONTROLLER__NAME`.
    pub name: String,
    /// How long a controller that is not heard of counts as the one that works. Variable: `WAYPOST_CONTROLLER__LEASE`.
    #[schemars(extend("examples" = ["15s"]))]
    pub lease: String,
}

/// The certificates of the webhook in a cluster.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Certificates {
    /// The Secret in which `controller` keeps the serving certificate; the authority's key is in another one, whose name has
    /// `-ca` at its end. Without it, certificates are made by somebody else. Variable: `WAYPOST_CERTIFICATES__SECRET`.
    pub secret: Option<String>,
    /// The Service that they are for. Variable: `WAYPOST_CERTIFICATES__SERVICE`.
    pub service: Option<String>,
    /// The Service of the REST API, which they are for as well. Variable: `WAYPOST_CERTIFICATES__API_SERVICE`.
    pub api_service: Option<String>,
    /// The MutatingWebhookConfiguration whose `caBundle` `controller` keeps, and without which `webhook` does not become ready.
    /// Variable: `WAYPOST_CERTIFICATES__WEBHOOK_CONFIGURATION`.
    pub webhook_configuration: Option<String>,
    /// How long a serving certificate is valid; it is renewed after two thirds of that. Variable:
    /// `WAYPOST_CERTIFICATES__LEAF_LIFETIME`.
    #[schemars(extend("examples" = ["2160h"]))]
    pub leaf_lifetime: String,
    /// How long an authority is valid; it is replaced after two thirds of that. Variable:
    /// `WAYPOST_CERTIFICATES__CA_LIFETIME`.
    #[schemars(extend("examples" = ["87600h"]))]
    pub ca_lifetime: String,
}

/// What is logged, and how.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// How much is logged. Variable: `WAYPOST_LOG__LEVEL`.
    pub level: LogLevel,
    /// `text` for people, `json` for collectors; `auto` is `text` on a terminal and `json` elsewhere. Variable:
    /// `WAYPOST_LOG__FORMAT`.
    pub format: LogFormat,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What needs somebody's hand.
    Error,
    /// What may need it.
    Warn,
    /// What changed.
    #[default]
    Info,
    /// Every decision.
    Debug,
    /// Everything.
    Trace,
}

/// The form of the log.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// `text` on a terminal, else `json`.
    #[default]
    Auto,
    /// Lines for people.
    Text,
    /// One JSON object on each line.
    Json,
}

impl Default for Webhook {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8443".to_owned(),
            client_ca: None,
            drain: "15s".to_owned(),
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:9090".to_owned(),
        }
    }
}

impl Default for Api {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8444".to_owned(),
            secret: None,
        }
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            dir: "certs/local".to_owned(),
        }
    }
}

impl Default for Policies {
    fn default() -> Self {
        Self {
            dir: "policies.d".to_owned(),
            presets: vec![Preset::Name("exempt-operators".to_owned())],
        }
    }
}

impl Default for Pushes {
    fn default() -> Self {
        Self {
            route: true,
            pin: false,
            verify: "10m".to_owned(),
            copies: 4,
        }
    }
}

impl Default for Store {
    fn default() -> Self {
        Self {
            kind: StoreKind::default(),
            path: "data/waypost.redb".to_owned(),
        }
    }
}

impl Default for Registries {
    fn default() -> Self {
        Self {
            dir: None,
            probe: "10s".to_owned(),
        }
    }
}

impl Default for Pull {
    fn default() -> Self {
        Self {
            policy: PullPolicy::default(),
            secret: "waypost-pull".to_owned(),
            secrets: Vec::new(),
            inject: true,
        }
    }
}

impl Default for Controller {
    fn default() -> Self {
        Self {
            name: "waypost-controller".to_owned(),
            lease: "15s".to_owned(),
        }
    }
}

impl Default for Certificates {
    fn default() -> Self {
        Self {
            secret: None,
            service: None,
            api_service: None,
            webhook_configuration: None,
            leaf_lifetime: "2160h".to_owned(),
            ca_lifetime: "87600h".to_owned(),
        }
    }
}

impl Default for OptOut {
    fn default() -> Self {
        Self { allowed: true }
    }
}
