//! The controller: one of several, by a Lease, does what must be done once in a cluster.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, bail};
use futures_util::FutureExt;
use tokio::{sync::SetOnce, time::sleep};

use super::{
    access,
    certificates::{self, Kept},
    cluster_api::ClusterApi,
    declared, identity, if_any,
    policies::{Conditions, Feed},
    policy_source, ports,
    pull_secrets::PullSecrets,
    stores,
    upkeep::{self, Upkeep},
};
use crate::{
    cluster::{
        election::{self, Lease},
        objects::{self, Home},
    },
    config::{self, Config},
    http::{
        health::{Check, Health},
        lifecycle::{self, Lifecycle, Phase},
    },
    metrics::ControllerMetrics,
};

/// Works while it holds the Lease, until it is told to stop.
///
/// # Errors
///
/// When it cannot start: no cluster, a port that is taken, a configuration that says only half.
pub async fn controller(config: Config) -> anyhow::Result<()> {
    let source = policy_source(&config);
    let Config {
        file,
        server:
            config::Server {
                webhook: _,
                admin: admin_config,
                api:
                    config::RestApi {
                        listen: api_listen,
                        secret: api_secret,
                    },
            },
        tls: _,
        policies: _,
        pushes:
            config::Pushes {
                route: _,
                pin: _,
                verify,
                copies,
            },
        store: _,
        registries: config::Registries {
            dir: registries_dir,
            probe,
        },
        issuers,
        pull,
        opt_out: _,
        cluster:
            config::Cluster {
                kubeconfig,
                namespace,
                webhook_configuration,
            },
        controller: config::Controller { name, lease },
        certificates,
        log: _,
    } = config;
    if let Some(file) = &file {
        tracing::info!(file = %file.display(), "the configuration was read from {}", file.display());
    }
    // Whose trust is kept is the one that asks, unless somebody says otherwise.
    let webhook_configuration = webhook_configuration.or_else(|| certificates.webhook_configuration.clone());
    let kept = kept(certificates)?;
    let access = access(kubeconfig);
    let server = access.connect().await?;
    let namespace = namespace.unwrap_or(server.namespace);
    let metrics = Arc::new(ControllerMetrics::new());
    let health = Health::default();
    // Nobody has to be given time to go elsewhere.
    let lifecycle = Lifecycle::new(Duration::ZERO);
    let signals = lifecycle::signals(lifecycle.clone()).context("signals cannot be handled")?;
    let lease_check = health.add("lease", "it has not been read yet");
    let scrape = {
        let metrics = metrics.clone();
        Arc::new(move || metrics.common().render().map_err(|error| error.to_string()))
    };
    let admin = ports::admin(admin_config.listen, scrape, health.clone(), lifecycle.clone()).await?;
    let address = admin.local_addr();
    let home = Home {
        client: server.client,
        namespace,
        identity: identity(),
        owner: None,
    };
    tracing::info!(
        admin = %address,
        namespace = home.namespace,
        identity = home.identity,
        "the controller has started: metrics and health at http://{address}/"
    );

    let registries_check = health.add("registries", "they have not been read yet");
    // One for all: a follower has the REST API as well.
    let opened = SetOnce::new();
    let following = async {
        let store = stores::of_the_cluster(&access, &home.namespace, true, &registries_check).await;
        // It is set here and nowhere else.
        let _ = opened.set(store.clone());
        stores::follow(&store, &registries_check).await
    };
    let rest = async {
        let Some(secret) = &api_secret else {
            tracing::info!("there is no REST API: `server.api.secret`, which has its certificate, is not given");
            return Ok(());
        };
        let api = ClusterApi {
            listen: api_listen,
            secret,
            home: &home,
            source: source.clone(),
            access: access.clone(),
            metrics: metrics.clone(),
            health: &health,
        };
        tokio::select! {
            store = opened.wait() => api.serve(store.clone(), &lifecycle).await,
            () = lifecycle.reached(Phase::Stopping) => Ok(()),
        }
    };
    let work = async {
        let mut home = home.clone();
        let stop = lifecycle.reached(Phase::Stopping);
        tokio::select! {
            () = stop => return,
            () = find_owner(&mut home, &name, &lease_check) => {}
        }
        let leases = Lease::new(
            home.client.clone(),
            &home.namespace,
            &name,
            &home.identity,
            home.owner.clone(),
        );
        // Whoever follows has nothing to say about any of these.
        let check = kept.is_some().then(|| health.add_fine("certificates"));
        let declarations = registries_dir
            .as_deref()
            .map(|dir| (dir, health.add_fine("declared-registries")));
        let conditions = Conditions {
            source: source.clone(),
            feed: Arc::new(Feed::new(access.clone(), &health)),
            client: home.client.clone(),
        };
        conditions.stopped();
        let pull_secrets_check = health.add_fine("pull-secrets");
        let pull_secret_metrics = metrics.common().pull_secrets();
        let (client, mint) = upkeep::clients(issuers);
        let mut worked = false;
        let mine: Vec<&Check> = check
            .iter()
            .chain(declarations.iter().map(|(_, check)| check))
            .collect();
        let tell = |event| tell(event, &mut worked, &lease_check, &mine, &metrics);
        // Everything that one of the controllers does.
        let keep = || async {
            let certificates = kept.as_ref().zip(check.as_ref());
            let certificates = certificates.map(|(kept, check)| certificates::keep(&home, kept, check, &metrics));
            let declared = declarations.as_ref();
            let declared = declared.map(|(dir, check)| declared::keep(&home, &name, dir, check));
            let registries = async {
                let store = opened.wait().await.clone();
                let upkeep = Upkeep {
                    client: client.clone(),
                    mint: mint.clone(),
                    probe,
                    verify,
                    copies,
                    progress: upkeep::SELDOM,
                    metrics: metrics.common().registries(),
                    credentials: metrics.common().credentials(),
                    pushes: metrics.common().pushes(),
                    verifications: metrics.common().verifications(),
                    pods: Some(access.clone()),
                    outdated: metrics.common().outdated(),
                    pull_secrets: Some(PullSecrets {
                        access: access.clone(),
                        name: pull.secret.clone(),
                        keeper: stores::keeper(&home.namespace, &name),
                        webhook_configuration: webhook_configuration.clone(),
                        store: store.clone(),
                        instance: home.identity.clone(),
                        metrics: pull_secret_metrics.clone(),
                        check: pull_secrets_check.clone(),
                    }),
                    store: store.clone(),
                };
                tokio::select! {
                    never = upkeep.keep(upkeep.probes()) => never,
                    never = stores::tidy(&store) => never,
                }
            };
            tokio::select! {
                never = if_any(certificates) => never,
                never = if_any(declared) => never,
                never = conditions.keep() => never,
                never = registries => never,
            }
        };
        let stop = lifecycle.reached(Phase::Stopping);
        election::lead(&leases, &home.identity, lease, stop, tell, keep).await;
    };
    tokio::select! {
        done = async { tokio::try_join!(work.map(Ok), admin.run(lifecycle.clone()).map(Ok), rest) } => {
            done?;
            tracing::info!("stopped");
        }
        never = following => match never {},
        () = signals => {}
    }
    Ok(())
}

/// What is kept goes with the controller's Deployment.
async fn find_owner(home: &mut Home, name: &str, check: &Check) {
    let mut told = false;
    loop {
        match objects::owner(home.client.clone(), &home.namespace, name).await {
            Ok(owner) => {
                if owner.is_none() {
                    tracing::info!(
                        "there is no Deployment {name}: what the controller makes stays until somebody deletes it"
                    );
                }
                home.owner = owner;
                return;
            }
            Err(error) => {
                check.failing(&error);
                if !told {
                    tracing::warn!("the controller waits for the API server: {error}");
                    told = true;
                }
            }
        }
        sleep(AGAIN).await;
    }
}

fn tell(event: election::Event, worked: &mut bool, lease: &Check, mine: &[&Check], metrics: &ControllerMetrics) {
    match event {
        election::Event::Leading => {
            metrics.set_leader(true);
            tracing::info!("leading: this controller works");
        }
        election::Event::Following(holder) => tracing::info!(holder, "following: {holder} works"),
        election::Event::Lost(why) => {
            metrics.set_leader(false);
            mine.iter().for_each(|check| check.fine());
            tracing::warn!("no longer leading: {why}");
        }
        election::Event::Working => {
            *worked = true;
            lease.fine();
        }
        election::Event::Broken(why) => {
            let state = format!("the Lease cannot be used: {why}");
            if *worked {
                lease.degraded(state);
            } else {
                lease.failing(state);
            }
            tracing::warn!("the Lease cannot be used, which is tried again: {why}");
        }
    }
}

/// All of it or nothing.
fn kept(certificates: config::Certificates) -> anyhow::Result<Option<Kept>> {
    let config::Certificates {
        secret,
        service,
        api_service,
        webhook_configuration,
        leaf_lifetime,
        ca_lifetime,
    } = certificates;
    let Some(secret) = secret else {
        tracing::info!("certificates are somebody else's: `certificates.secret` is not given");
        return Ok(None);
    };
    let (Some(service), Some(webhook_configuration)) = (service, webhook_configuration) else {
        bail!(
            "`certificates.secret` says where a certificate is kept, and not whose: give `certificates.service` (--service) and \
             `certificates.webhook_configuration` (--webhook-configuration) as well"
        );
    };
    Ok(Some(Kept {
        secret,
        service,
        api_service,
        webhook_configuration,
        leaf_lifetime,
        ca_lifetime,
    }))
}

const AGAIN: Duration = Duration::from_secs(2);
