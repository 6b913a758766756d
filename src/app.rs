//! The composition root: makes the parts of a process, connects them, and owns every task until the process ends.

mod banner;
mod current;
mod namespaces;
mod reload;

use std::{sync::Arc, time::Duration};

use anyhow::Context;

pub use self::current::Current;
use self::{banner::Banner, namespaces::Namespaces};
use crate::{
    admission::{self, ImageEvent, Observer, ReviewOutcome, UnknownNamespace},
    cluster::Access,
    config::{self, Config},
    decide::Outcome,
    document::Diagnostic,
    http::{
        admin,
        health::Health,
        lifecycle::{self, Lifecycle},
        server::{self, Server},
        webhook::{self, Rejection, Reviewed, Reviewer},
    },
    metrics::{ImageKey, ImageLabels, Metrics},
    policy::{PolicySet, Settings},
    policy_source::PolicySource,
    review::Operation,
    snapshot::Snapshot,
    telemetry, tls,
};

/// How `serve` ends other than well.
#[derive(Debug)]
pub enum ServeError {
    /// The policies have errors; nothing was served.
    Policies(Vec<Diagnostic>),
    /// Something else, with what to do about it.
    Other(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for ServeError {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

/// Serves everything in one process, until it is told to stop.
///
/// # Errors
///
/// When policies, certificates or addresses are not usable: before the webhook's port is open.
pub async fn serve(config: Config) -> Result<(), ServeError> {
    let sources = policy_source(&config);
    warn_of_keys_without_effect(&config);
    // Everything that is configured is used or said to come later: a key that nobody reads does not compile.
    let Config {
        file,
        server:
            config::Server {
                webhook: webhook_config,
                admin: admin_config,
                api: _,
            },
        tls: tls_config,
        policies: _,
        pushes: _,
        store: _,
        pull: _,
        opt_out: _,
        cluster: config::Cluster { kubeconfig },
        log,
    } = config;
    if let Some(file) = &file {
        tracing::info!(file = %file.display(), "the configuration was read from {}", file.display());
    }

    let metrics = Arc::new(Metrics::new());
    let health = Health::default();
    let lifecycle = Lifecycle::new(webhook_config.drain);
    let signals = lifecycle::signals(lifecycle.clone()).context("signals cannot be handled")?;

    let watched = kubeconfig.is_some();
    let policies = reload::Policies::load(sources, watched, metrics.clone(), &health).map_err(ServeError::Policies)?;
    let namespaces = match kubeconfig {
        Some(kubeconfig) => Some(Namespaces::new(Access::Kubeconfig(kubeconfig), policies.current(), &health).await?),
        None => None,
    };
    let certificate = tls::ensure_local(&tls_config.dir, &[webhook_config.listen.ip().to_string()])?;
    let serving = reload::Certificate::load(
        tls::Source {
            dir: tls_config.dir.clone(),
            client_ca: webhook_config.client_ca,
        },
        metrics.clone(),
        &health,
    )?;

    let reviews = Arc::new(Reviews::new(policies.current(), metrics.clone()));
    let rejected = {
        let metrics = metrics.clone();
        Arc::new(move |_: &Rejection| metrics.rejected())
    };
    let scrape = Arc::new(move || metrics.render().map_err(|error| error.to_string()));
    let admin = Server::bind(
        "admin",
        admin_config.listen,
        admin::router(scrape, health, lifecycle.clone()),
        server::Limits::admin(),
    )
    .await
    .map_err(|error| cannot_listen("server.admin.listen", &error))?;
    // Last: whoever reaches it gets decisions by the policies, never by none.
    let router = webhook::router(reviews, rejected, webhook::Limits::default());
    let webhook = Server::bind("webhook", webhook_config.listen, router, server::Limits::default())
        .await
        .map_err(|error| cannot_listen("server.webhook.listen", &error))?
        .with_tls(serving.configs());
    let banner = Banner {
        certificate,
        tls_dir: &tls_config.dir,
        webhook: webhook.local_addr(),
        admin: admin.local_addr(),
    };
    banner.print(!telemetry::is_json(&log));

    tokio::select! {
        (webhook, admin) = async { tokio::join!(webhook.run(lifecycle.clone()), admin.run(lifecycle.clone())) } => {
            let cut = webhook.cut + admin.cut;
            if cut > 0 {
                tracing::warn!(connections = cut, "stopped, {cut} connections were cut off");
            } else {
                tracing::info!("stopped");
            }
            Ok(())
        }
        never = policies.watch() => match never {},
        Some(never) = async { Some(namespaces?.watch().await) } => match never {},
        never = serving.watch() => match never {},
        () = signals => Ok(()),
    }
}

/// Keys that are accepted already and do nothing in this version: whoever sets one is told.
fn warn_of_keys_without_effect(config: &Config) {
    let Ok(default) = Config::from_layers(None, [], &config::Flags::default()) else {
        return;
    };
    for (key, set) in [
        ("server.api.listen", config.server.api != default.server.api),
        ("store.kind", config.store.kind != default.store.kind),
        ("store.path", config.store.path != default.store.path),
        ("pushes.pin", config.pushes.pin != default.pushes.pin),
        ("pushes.verify", config.pushes.verify != default.pushes.verify),
    ] {
        if set {
            tracing::warn!(key, "the key {key} has no effect in this version");
        }
    }
}

/// Where a configuration's policies come from.
pub fn policy_source(config: &Config) -> PolicySource {
    PolicySource {
        path: config.policies.dir.clone(),
        may_be_absent: true,
        presets: config.policies.presets.clone(),
        settings: settings(config),
    }
}

fn settings(config: &Config) -> Settings {
    Settings {
        pull_policy: config.pull.policy,
        pull_secret: config.pull.secret.as_str().into(),
        pull_secrets: config
            .pull
            .secrets
            .iter()
            .map(|secret| secret.as_str().into())
            .collect(),
        inject: config.pull.inject,
        opt_out_allowed: config.opt_out.allowed,
        route_pushes: config.pushes.route,
    }
}

/// Most of the time it is a second Waypost.
fn cannot_listen(key: &str, error: &std::io::Error) -> anyhow::Error {
    if error.kind() == std::io::ErrorKind::AddrInUse {
        anyhow::anyhow!("{error}: is another process listening there? `{key}` says where to listen")
    } else {
        anyhow::anyhow!("{error}: `{key}` says where to listen")
    }
}

/// Answers reviews by the snapshot of the moment, and counts them: what `serve` puts behind [`webhook::router`].
pub struct Reviews {
    current: Arc<Current>,
    metrics: Arc<Metrics>,
}

impl Reviews {
    /// Whoever holds `current` may change the snapshot at any time; a review is answered by one of them from end to end.
    pub fn new(current: Arc<Current>, metrics: Arc<Metrics>) -> Self {
        Self { current, metrics }
    }

    /// `create namespace && create pod`: what the watch on namespaces is about to tell is waited for.
    async fn review_once_known(&self, body: &[u8], unknown: UnknownNamespace) -> Result<Vec<u8>, Rejection> {
        let UnknownNamespace { name, since } = unknown;
        let known = tokio::time::timeout(NAMESPACE_WAIT, self.current.known(&name)).await;
        tracing::debug!(namespace = &*name, known = known.is_ok(), "a namespace was waited for");
        admission::respond_since(since, &self.current.load(), body, self).map_err(Rejection::bad_request)
    }
}

impl Reviewer for Reviews {
    fn review<'a>(&'a self, body: &'a [u8]) -> Result<Reviewed<'a>, Rejection> {
        let answer = admission::respond_if_known(&self.current.load(), body, self).map_err(Rejection::bad_request)?;
        Ok(match answer {
            Ok(json) => Reviewed::Now(json),
            Err(unknown) => Reviewed::Later(Box::pin(self.review_once_known(body, unknown))),
        })
    }
}

impl Observer for Reviews {
    fn image(&self, snapshot: &Snapshot, image: ImageEvent) {
        let set: &PolicySet = &snapshot.policies;
        let key = ImageKey {
            generation: snapshot.generation,
            rule: image.rule.unwrap_or(u32::MAX),
            source: image.source,
            target: image.target,
            outcome: image.outcome as u8,
        };
        self.metrics.image(key, || ImageLabels {
            rule: image.rule.map_or("", |rule| set.rules()[rule as usize].id()),
            source: set.registry_name(image.source),
            target: set.registry_name(image.target),
            outcome: Outcome::as_str(image.outcome),
        });
    }

    fn review(&self, operation: Operation, outcome: ReviewOutcome, elapsed: Duration) {
        self.metrics.review(operation, outcome, elapsed);
        tracing::debug!(
            operation = operation.as_str(),
            outcome = outcome.as_str(),
            ?elapsed,
            "a review was answered"
        );
    }
}

/// How often files are looked at for changes. The kubelet needs up to a minute to update a mounted ConfigMap; a second more is nothing.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long a review waits for its namespace. The watch tells of a new one within milliseconds; the API server gives up after 2 s by default.
const NAMESPACE_WAIT: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests;
