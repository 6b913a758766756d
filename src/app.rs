//! The composition root: makes the parts of a process, connects them, and owns every task until the process ends.

mod api;
mod banner;
mod certificates;
mod cleanup;
mod cluster_api;
mod controller;
mod copies;
mod copying;
mod current;
mod declared;
mod docker_config;
mod each;
mod events;
mod first_uses;
mod namespaces;
mod outdated;
mod policies;
mod ports;
mod probes;
mod pull_secrets;
mod pushes;
mod registries;
mod registry_conditions;
mod reload;
mod remote;
mod renewal;
mod reviews;
mod served_secret;
mod serving;
mod stores;
mod told;
mod trust;
mod upkeep;
mod verify;
mod warm;

use std::time::Duration;

pub use self::{
    cleanup::delete_pull_secrets,
    controller::controller,
    copying::{Copier, Planned},
    current::Current,
    docker_config::{DockerConfig, DockerConfigFor, docker_config},
    events::Events,
    first_uses::{Asking, FirstUses, Replicator, first_uses},
    outdated::outdated,
    probes::{Down, Probes},
    pull_secrets::PullSecrets,
    remote::{Fault, Push, Server, ServerFlags, Wanted, original, patience},
    reviews::Reviews,
    serving::{serve, webhook},
    verify::{Used, Verifier},
    warm::images_in_use,
};
use crate::{cluster::Access, config::Config, document::Diagnostic, policy::Settings, policy_source::PolicySource};

/// What a task comes to; where there is none, nothing ever.
async fn if_any<T>(task: Option<impl Future<Output = T>>) -> T {
    match task {
        Some(task) => task.await,
        None => std::future::pending().await,
    }
}

/// How a process ends other than well.
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
        pin_pushes: config.pushes.pin,
    }
}

/// How the cluster is reached that a process is part of: as the Pod that it is, unless a kubeconfig is given.
fn access(kubeconfig: Option<std::path::PathBuf>) -> Access {
    kubeconfig.map_or(Access::InCluster, Access::Kubeconfig)
}

/// The Pod's name, and something of this process's own: a container that starts again is another one.
fn identity() -> String {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let host = host.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_default();
    let random = RandomState::new().build_hasher().finish();
    format!("{}_{random:016x}", host.trim())
}

/// From 0 to 1, which it never is: those that failed together do not come back together.
fn jitter() -> f64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    f64::from(RandomState::new().build_hasher().finish() as u16) / 65_536.0
}

/// How often files are looked at for changes. The kubelet needs up to a minute to update a mounted ConfigMap; a second more is nothing.
const LOOK_EVERY: Duration = Duration::from_secs(1);
