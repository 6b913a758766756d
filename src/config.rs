//! The configuration: a file, then the environment, then flags; every mistake reported at once, with where it was made.
//!
//! [`raw`] is what people write and the only list of keys and defaults; [`Config`] is what the program runs on, in which
//! every value has been understood.

pub mod raw;

mod environment;
mod layers;
mod resolve;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::document::{Diagnostic, Severity, Source};

pub use crate::policy::{PresetChoice as Preset, PullPolicy};
pub use layers::{Flags, Setting};
pub use raw::{LogFormat, LogLevel, StoreKind};

/// The configuration of a process. Destructure it where it is used up, so that a key that nobody reads is noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The file that was read, if one was.
    pub file: Option<PathBuf>,
    /// `server`: what is listened on.
    pub server: Server,
    /// `tls`: certificates.
    pub tls: Tls,
    /// `policies`: where rules come from.
    pub policies: Policies,
    /// `pushes`: how the latest push of an image counts.
    pub pushes: Pushes,
    /// `store`: where registries and push records are kept.
    pub store: Store,
    /// `registries`: those that are declared, and how all are looked after.
    pub registries: Registries,
    /// `issuers`: whoever issues the tokens of registries.
    pub issuers: Issuers,
    /// `pull`: pull policy and pull secrets.
    pub pull: Pull,
    /// `opt_out`: how Pods and namespaces may leave.
    pub opt_out: OptOut,
    /// `cluster`: the Kubernetes cluster that asks.
    pub cluster: Cluster,
    /// `controller`: the one of several that works.
    pub controller: Controller,
    /// `certificates`: those of the webhook in a cluster.
    pub certificates: Certificates,
    /// `log`: what is logged.
    pub log: Log,
}

/// `server`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// The admission webhook, TLS.
    pub webhook: Webhook,
    /// Metrics and health, plain HTTP.
    pub admin: Listener,
    /// The REST API, TLS.
    pub api: RestApi,
}

/// `server.webhook`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// PEM file: only callers with a certificate of this authority get in.
    pub client_ca: Option<PathBuf>,
    /// How long `/drain` takes.
    pub drain: Duration,
}

/// `server.admin`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The address to listen on.
    pub listen: SocketAddr,
}

/// `server.api`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestApi {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// The Secret that the controller has its certificate from; without it, the controller has no REST API.
    pub secret: Option<String>,
}

/// `tls`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The directory of `ca.crt`, `tls.crt` and `tls.key`.
    pub dir: PathBuf,
}

/// `policies`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policies {
    /// The directory of policy files; it may be absent.
    pub dir: PathBuf,
    /// Presets in the order of their evaluation, no name twice.
    pub presets: Vec<Preset>,
}

/// `pushes`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushes {
    /// Whether the built-in rule `latest-push` is on.
    pub route: bool,
    /// Whether that rule adds the digest.
    pub pin: bool,
    /// How often the target of each latest push is asked whether it is still there; zero: never.
    pub verify: Duration,
    /// How many images are copied at once, at least one.
    pub copies: usize,
}

/// `store`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// Which store.
    pub kind: StoreKind,
    /// The file of the embedded one.
    pub path: PathBuf,
}

/// `registries`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registries {
    /// The directory of the objects that the controller makes.
    pub dir: Option<PathBuf>,
    /// How often a registry that is fine is asked whether it answers; zero: none ever is.
    pub probe: Duration,
}

/// `issuers`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Issuers {
    /// Hosts that tokens of Waypost's own identity may be sent to, besides those of the issuers: in lower case, each with its port if only
    /// that one is meant.
    pub ambient_hosts: Vec<String>,
    /// `issuers.google`
    pub google: Google,
}

/// `issuers.google`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Google {
    /// Where service accounts are impersonated, where that is another place than usual.
    pub iam_credentials: Option<String>,
    /// Scheme, host and port of whoever else keys' assertions and tokens may be sent to.
    pub trusted: Vec<String>,
}

/// `pull`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pull {
    /// The pull policy where no rule says another.
    pub policy: PullPolicy,
    /// The name of the managed Secret.
    pub secret: String,
    /// Existing Secrets for every rewritten Pod.
    pub secrets: Vec<String>,
    /// Whether the managed Secret is injected.
    pub inject: bool,
}

/// `opt_out`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptOut {
    /// Whether the label `waypost.dev/rewrite: disabled` is honoured.
    pub allowed: bool,
}

/// `cluster`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// How the cluster is reached; without it `serve` asks none, and in a Pod the Pod's own is meant.
    pub kubeconfig: Option<PathBuf>,
    /// The namespace of Waypost itself; without it, that of the Pod or of the kubeconfig.
    pub namespace: Option<String>,
    /// The MutatingWebhookConfiguration that says which namespaces are served.
    pub webhook_configuration: Option<String>,
}

/// `controller`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Controller {
    /// The name of the Lease, and of the Deployment that owns what is made.
    pub name: String,
    /// How long a controller that is not heard of counts as the one that works.
    pub lease: Duration,
}

/// `certificates`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificates {
    /// The Secret with the serving certificate that the controller keeps; none where somebody else does.
    pub secret: Option<String>,
    /// The Service that it is for.
    pub service: Option<String>,
    /// The Service of the REST API, which it is for as well.
    pub api_service: Option<String>,
    /// The MutatingWebhookConfiguration that must trust it.
    pub webhook_configuration: Option<String>,
    /// How long a serving certificate is valid.
    pub leaf_lifetime: Duration,
    /// How long an authority is valid.
    pub ca_lifetime: Duration,
}

/// `log`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// What is logged.
    pub level: LogLevel,
    /// As what.
    pub format: LogFormat,
}

impl Config {
    /// The configuration of this process: the file `path`, or [`DEFAULT_FILE`] in the working directory where there is
    /// one and `path` is `None`; then the environment; then `flags`.
    ///
    /// # Errors
    /// Everything that is wrong with any of them; a `path` that cannot be read.
    pub fn load(path: Option<&Path>, flags: &Flags) -> Result<Self, Vec<Diagnostic>> {
        let environment = std::env::vars_os()
            .filter(|(name, _)| name.to_str().is_some_and(environment::is_key))
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value.into_string().ok()));
        let (file, mut unreadable) = match read(path) {
            Ok(file) => (file, None),
            Err(diagnostic) => (None, Some(*diagnostic)),
        };
        // The environment and the flags are looked at all the same: all mistakes at once.
        let loaded = Self::from_layers(file.as_ref(), environment, flags);
        match (loaded, unreadable.take()) {
            (Ok(config), None) => Ok(config),
            (Err(problems), None) => Err(problems),
            (loaded, Some(first)) => {
                let rest = loaded.err().unwrap_or_default();
                Err(std::iter::once(first).chain(rest).collect())
            }
        }
    }

    /// The same without reading anything. `environment` may hold variables that are none of ours; the value of one is
    /// `None` where it is not UTF-8.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn from_layers(
        file: Option<&Source>,
        environment: impl IntoIterator<Item = (String, Option<String>)>,
        flags: &Flags,
    ) -> Result<Self, Vec<Diagnostic>> {
        let layers = layers::Layers::read(file, environment, flags);
        resolve::resolve(layers, flags)
    }
}

/// What is found wrong where there is no line to show.
fn complaint(origin: &str, code: &'static str, message: String, hint: Option<String>) -> Diagnostic {
    let mut diagnostic = Diagnostic::without_place(origin, Severity::Error, code, message);
    diagnostic.hint = hint;
    diagnostic
}

fn read(path: Option<&Path>) -> Result<Option<Source>, Box<Diagnostic>> {
    let shown = path.unwrap_or(Path::new(DEFAULT_FILE));
    let name = shown.display().to_string();
    match std::fs::read(shown) {
        Ok(bytes) => Source::from_bytes(name, &bytes).map(Some),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && path.is_none() => Ok(None),
        Err(error) => Err(Box::new(complaint(
            &name,
            "unreadable-file",
            format!("the configuration file cannot be read: {error}"),
            path.map(|_| "check the path given with --config".to_owned()),
        ))),
    }
}

/// The file that is read where none is named.
pub const DEFAULT_FILE: &str = "waypost.yaml";

#[cfg(test)]
mod tests;
