//! The processes that answer reviews: `serve`, which is everything in one, and `webhook`, which is a replica in a cluster.

use std::{path::Path, pin::pin, sync::Arc};

use anyhow::Context;

use super::{
    Reviews, ServeError, access,
    api::Rest,
    banner::Banner,
    events::{self, Teller},
    first_uses, identity, if_any,
    namespaces::Namespaces,
    policies::{Feed, Policies},
    policy_source,
    ports::{self, cannot_listen},
    probes::Probes,
    pull_secrets::PullSecrets,
    reload,
    stores::{self, Home},
    trust::Trust,
    upkeep::{self, Upkeep},
};
use crate::{
    cluster::Access,
    config::{self, Config, StoreKind},
    http::{
        api::Served,
        health::Health,
        lifecycle::{self, Lifecycle, Phase},
        server::{self, Server},
        webhook::{self, Rejection},
    },
    metrics::Metrics,
    telemetry, tls,
};

/// Serves everything in one process, until it is told to stop.
///
/// # Errors
///
/// When policies, certificates or addresses are not usable: before the webhook's port is open.
pub async fn serve(config: Config) -> Result<(), ServeError> {
    run(config, Kind::Everything).await
}

/// Answers reviews in a cluster, as one of several replicas, until it is told to stop.
///
/// # Errors
///
/// As [`serve`]; also when there is no certificate, which is somebody else's to make, or no cluster.
pub async fn webhook(config: Config) -> Result<(), ServeError> {
    run(config, Kind::Replica).await
}

/// In what the two differ.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Makes its own certificate, and asks a cluster only where there is a kubeconfig.
    Everything,
    /// Is given its certificate, and belongs to a cluster.
    Replica,
}

async fn run(config: Config, kind: Kind) -> Result<(), ServeError> {
    let sources = policy_source(&config);
    // Everything that is configured is used: a key that nobody reads does not compile.
    let Config {
        file,
        server:
            config::Server {
                webhook: webhook_config,
                admin: admin_config,
                api:
                    config::RestApi {
                        listen: api_listen,
                        secret: _,
                    },
            },
        tls: tls_config,
        policies: _,
        pushes:
            config::Pushes {
                route: _,
                pin: _,
                verify,
                copies,
            },
        store: store_config,
        registries: config::Registries { dir: _, probe },
        issuers,
        pull,
        opt_out: _,
        cluster:
            config::Cluster {
                kubeconfig,
                namespace,
                webhook_configuration: serving_configuration,
            },
        controller: _,
        certificates:
            config::Certificates {
                secret: _,
                service: _,
                api_service: _,
                webhook_configuration,
                leaf_lifetime: _,
                ca_lifetime: _,
            },
        log,
    } = config;
    if let Some(file) = &file {
        tracing::info!(file = %file.display(), "the configuration was read from {}", file.display());
    }

    let metrics = Arc::new(Metrics::new());
    let health = Health::default();
    let lifecycle = Lifecycle::new(webhook_config.drain);
    let mut signals = pin!(lifecycle::signals(lifecycle.clone()).context("signals cannot be handled")?);

    let cluster = match kind {
        Kind::Everything => kubeconfig.map(Access::Kubeconfig),
        Kind::Replica => Some(access(kubeconfig)),
    };
    let policies =
        Policies::load(sources, cluster.is_some(), metrics.clone(), &health).map_err(ServeError::Policies)?;
    let made = match kind {
        Kind::Everything => Some(tls::ensure_local(
            &tls_config.dir,
            &[webhook_config.listen.ip().to_string()],
        )?),
        Kind::Replica => {
            given(&tls_config.dir)?;
            None
        }
    };
    let serving = reload::Certificate::load(
        tls::Source {
            dir: tls_config.dir.clone(),
            client_ca: webhook_config.client_ca,
        },
        metrics.clone(),
        &health,
    )?;
    let registries = match (kind, store_config.kind, &cluster) {
        (Kind::Everything, StoreKind::Embedded, _) => Home::file(&store_config.path)?,
        (_, _, None) => return Err(no_cluster().into()),
        (_, _, Some(access)) => {
            let check = health.add("registries", "they have not been read yet");
            let server = access.connect().await?;
            let namespace = namespace.unwrap_or(server.namespace);
            let access = access.clone();
            match kind {
                Kind::Everything => Home::Cluster {
                    store: tokio::select! {
                        store = stores::of_the_cluster(&access, &namespace, true, &check) => store,
                        // Whoever waits for a cluster can be told not to.
                        () = lifecycle.reached(Phase::Stopping) => return Ok(()),
                        () = &mut signals => return Ok(()),
                    },
                    client: server.client,
                    namespace,
                    check,
                },
                // It is not ready before it knows them.
                Kind::Replica => Home::Later {
                    access,
                    namespace,
                    check,
                },
            }
        }
    };
    let feed = cluster.clone().map(|access| Feed::new(access, &health));
    let namespaces = match &cluster {
        Some(access) => Some(Namespaces::new(access.clone(), policies.current(), &health).await?),
        None => None,
    };
    let (events, teller) = match &cluster {
        Some(access) if kind == Kind::Replica => {
            let (events, teller) = events::events(access.clone(), identity(), metrics.clone());
            (Some(events), Some(teller))
        }
        _ => (None, None),
    };
    let upkeep = registries
        .store()
        .filter(|_| kind == Kind::Everything)
        .map(|store| (store, upkeep::clients(issuers)))
        .map(|(store, (client, mint))| Upkeep {
            client,
            mint,
            probe,
            verify,
            copies,
            progress: match store_config.kind {
                StoreKind::Embedded => upkeep::OFTEN,
                StoreKind::Kubernetes => upkeep::SELDOM,
            },
            metrics: metrics.common().registries(),
            credentials: metrics.common().credentials(),
            pushes: metrics.common().pushes(),
            verifications: metrics.common().verifications(),
            pods: cluster.clone(),
            outdated: metrics.common().outdated(),
            pull_secrets: cluster.clone().map(|access| PullSecrets {
                access,
                name: pull.secret,
                keeper: registries.keeper(),
                webhook_configuration: serving_configuration,
                store: store.clone(),
                instance: identity(),
                metrics: metrics.common().pull_secrets(),
                check: health.add_fine("pull-secrets"),
            }),
            store,
        });
    let probes = upkeep.as_ref().map(Upkeep::probes);
    let down = probes.as_ref().map(Probes::down);
    let trust = match (cluster, webhook_configuration) {
        (Some(access), Some(name)) if kind == Kind::Replica => Some(Trust::new(access, name, serving.tls(), &health)),
        _ => None,
    };

    let current = policies.current();
    let (first_uses, replicator) = first_uses::first_uses(metrics.first_uses());
    let reviews = Arc::new(
        Reviews::new(policies.current(), metrics.clone())
            .telling(events)
            .replicating(first_uses),
    );
    let rejected = {
        let metrics = metrics.clone();
        Arc::new(move |_: &Rejection| metrics.rejected())
    };
    let scraped = metrics.clone();
    let scrape = Arc::new(move || scraped.common().render().map_err(|error| error.to_string()));
    let admin = ports::admin(admin_config.listen, scrape, health, lifecycle.clone()).await?;
    // Last: whoever reaches it gets decisions by the policies, never by none.
    let router = webhook::router(reviews, rejected, webhook::Limits::default());
    let webhook = Server::bind("webhook", webhook_config.listen, router, server::Limits::default())
        .await
        .map_err(|error| cannot_listen("server.webhook.listen", &error))?
        .with_tls(serving.configs());
    let api = match (registries.store(), registries.authorizer()?) {
        (Some(store), Some(authorizer)) => {
            let rest = Rest {
                store,
                authorizer,
                policies: {
                    let current = current.clone();
                    Arc::new(move || Some(current.load().policies.clone()))
                },
                metrics: metrics.common().registries(),
                pushes: metrics.common().pushes(),
                served: {
                    let metrics = metrics.clone();
                    Arc::new(move |served: Served| {
                        metrics.common().api_request(served.route, served.method, served.status)
                    })
                },
            };
            Some(rest.bind(api_listen, serving.configs()).await?)
        }
        _ => None,
    };
    match (made, &api) {
        (Some(certificate), Some(api)) => Banner {
            certificate,
            tls_dir: &tls_config.dir,
            webhook: webhook.local_addr(),
            admin: admin.local_addr(),
            api: api.local_addr(),
            admin_token: registries.admin_token(),
        }
        .print(!telemetry::is_json(&log)),
        _ => {
            let (webhook, admin) = (webhook.local_addr(), admin.local_addr());
            tracing::info!(%webhook, %admin, "serving: reviews at https://{webhook}/mutate, metrics and health at http://{admin}/");
        }
    }

    tokio::select! {
        (webhook, admin, api) = async {
            tokio::join!(webhook.run(lifecycle.clone()), admin.run(lifecycle.clone()), run_if_any(api, &lifecycle))
        } => {
            let cut = webhook.cut + admin.cut + api;
            if cut > 0 {
                tracing::warn!(connections = cut, "stopped, {cut} connections were cut off");
            } else {
                tracing::info!("stopped");
            }
            Ok(())
        }
        never = policies.watch(feed) => match never {},
        never = registries.keep(down, current, replicator) => match never {},
        never = if_any(upkeep.as_ref().zip(probes).map(|(upkeep, probes)| upkeep.keep(probes))) => match never {},
        never = if_any(namespaces.map(Namespaces::watch)) => match never {},
        never = if_any(trust.map(Trust::watch)) => match never {},
        never = if_any(teller.map(Teller::run)) => match never {},
        never = serving.watch() => match never {},
        () = signals => Ok(()),
    }
}

/// How many connections were cut off.
async fn run_if_any(server: Option<Server>, lifecycle: &Lifecycle) -> usize {
    match server {
        Some(server) => server.run(lifecycle.clone()).await.cut,
        None => 0,
    }
}

fn no_cluster() -> anyhow::Error {
    anyhow::anyhow!(
        "`store.kind` is kubernetes, and there is no cluster: give `cluster.kubeconfig` (--kubeconfig), or keep registries on this machine with \
         `store.kind: embedded`"
    )
}

/// Whoever mounts the directory has to be told, not somebody who could make a certificate here.
fn given(dir: &Path) -> anyhow::Result<()> {
    let missing: Vec<_> = ["tls.crt", "tls.key"]
        .into_iter()
        .filter(|name| !dir.join(name).exists())
        .collect();
    anyhow::ensure!(
        missing.is_empty(),
        "there is no {} in `{}`: `waypost webhook` is given its certificate, as a Secret that is mounted there, which `waypost controller`, \
         cert-manager or you make; `tls.dir` says where it is looked for, and `waypost serve` makes one itself",
        missing.join(" and no "),
        dir.display()
    );
    Ok(())
}
