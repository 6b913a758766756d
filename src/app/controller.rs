//! The controller: one of several, by a Lease, does what must be done once in a cluster.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, bail};
use tokio::time::sleep;

use super::{
    access,
    certificates::{self, Kept},
    declared, identity,
    policies::{Conditions, Feed},
    policy_source, ports,
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
        server: config::Server {
            webhook: _,
            admin: admin_config,
            api: _,
        },
        tls: _,
        policies: _,
        pushes: _,
        store: _,
        registries: config::Registries {
            dir: registries_dir,
            probe: _,
        },
        pull: _,
        opt_out: _,
        cluster: config::Cluster { kubeconfig, namespace },
        controller: config::Controller { name, lease },
        certificates,
        log: _,
    } = config;
    if let Some(file) = &file {
        tracing::info!(file = %file.display(), "the configuration was read from {}", file.display());
    }
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
        Arc::new(move || metrics.render().map_err(|error| error.to_string()))
    };
    let admin = ports::admin(admin_config.listen, scrape, health.clone(), lifecycle.clone()).await?;
    let address = admin.local_addr();
    let mut home = Home {
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

    let work = async {
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
        let check = kept
            .is_some()
            .then(|| health.add("certificates", "they have not been looked at yet"));
        // Whoever follows has nothing to say about them.
        check.iter().for_each(Check::fine);
        let declarations = registries_dir
            .as_deref()
            .map(|dir| (dir, health.add("declared-registries", "they have not been read yet")));
        declarations.iter().for_each(|(_, check)| check.fine());
        let conditions = Conditions {
            source,
            feed: Arc::new(Feed::new(access, &health)),
            client: home.client.clone(),
        };
        conditions.stopped();
        let mut worked = false;
        let mine: Vec<&Check> = check
            .iter()
            .chain(declarations.iter().map(|(_, check)| check))
            .collect();
        let tell = |event| tell(event, &mut worked, &lease_check, &mine, &metrics);
        // Everything that one of the controllers does.
        let keep = || async {
            let certificates = async {
                match (&kept, &check) {
                    (Some(kept), Some(check)) => certificates::keep(&home, kept, check, &metrics).await,
                    _ => std::future::pending().await,
                }
            };
            let declared = async {
                match &declarations {
                    Some((dir, check)) => declared::keep(&home, &name, dir, check).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                never = certificates => never,
                never = declared => never,
                never = conditions.keep() => never,
            }
        };
        let stop = lifecycle.reached(Phase::Stopping);
        election::lead(&leases, &home.identity, lease, stop, tell, keep).await;
    };
    tokio::select! {
        _ = async { tokio::join!(work, admin.run(lifecycle.clone())) } => tracing::info!("stopped"),
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
