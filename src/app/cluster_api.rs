//! The REST API of a controller, whether it leads or not.

use std::{net::SocketAddr, sync::Arc};

use super::{
    api::Rest,
    if_any,
    policies::{Feed, Policies},
    served_secret,
};
use crate::{
    cluster::{Access, authorization::Reviews, objects::Home, registries::Kubernetes},
    http::{
        api::Served,
        health::Health,
        lifecycle::{Lifecycle, Phase},
    },
    metrics::{ControllerMetrics, Metrics},
    policy_source::PolicySource,
};

/// What it is served with.
pub(super) struct ClusterApi<'a> {
    pub(super) listen: SocketAddr,
    /// The Secret of its certificate.
    pub(super) secret: &'a str,
    pub(super) home: &'a Home,
    /// The policies, which say whether a registry is needed.
    pub(super) source: PolicySource,
    pub(super) access: Access,
    pub(super) metrics: Arc<ControllerMetrics>,
    pub(super) health: &'a Health,
}

impl ClusterApi<'_> {
    /// Waits for its certificate, and serves until the process stops.
    ///
    /// # Errors
    ///
    /// When its port is taken.
    pub(super) async fn serve(self, store: Arc<Kubernetes>, lifecycle: &Lifecycle) -> anyhow::Result<()> {
        let Self {
            listen,
            secret,
            home,
            source,
            access,
            metrics,
            health,
        } = self;
        let check = health.add("api", "it has no certificate yet");
        let tls = tokio::select! {
            tls = served_secret::first(home, secret, &check) => tls,
            () = lifecycle.reached(Phase::Stopping) => return Ok(()),
        };
        // Nobody is asked about Pods here: their health is that of the replicas, and nothing of them is counted.
        let aside = Health::default();
        let policies = Policies::load(source, true, Arc::new(Metrics::new()), &aside);
        let policies = policies.map_err(|_| {
            tracing::warn!(
                "the policies have mistakes: until the next start no registry is deleted but with ?force=true"
            );
        });
        let current = policies.as_ref().map(Policies::current).ok();
        let rest = Rest {
            store,
            authorizer: Arc::new(Reviews::new(home.client.clone())),
            policies: {
                // It is not ready while they have mistakes, or their objects were not listed.
                let aside = aside.clone();
                Arc::new(move || {
                    let current = current.as_ref().filter(|_| aside.report().ready)?;
                    Some(current.load().policies.clone())
                })
            },
            metrics: metrics.common().registries(),
            served: Arc::new(move |served: Served| {
                metrics.common().api_request(served.route, served.method, served.status)
            }),
        };
        let configs = {
            let tls = tls.clone();
            Arc::new(move || tls.config())
        };
        let server = rest.bind(listen, configs).await?;
        check.fine();
        let address = server.local_addr();
        tracing::info!(api = %address, "the REST API is at https://{address}/v1/");
        tokio::select! {
            _ = server.run(lifecycle.clone()) => {}
            never = served_secret::keep(home, secret, &tls, &check) => match never {},
            never = if_any(policies.ok().map(|policies| policies.watch(Some(Feed::new(access, &aside))))) => match never {},
        }
        Ok(())
    }
}
