//! The REST API, as a process serves it.

use std::{net::SocketAddr, sync::Arc};

use super::ports::cannot_listen;
use crate::{
    authorization::Authorizer,
    http::{
        api::{self, ApiState, Limits, Need, Observer, Usage},
        server::{self, Server, TlsConfigs},
    },
    policy::PolicySet,
    registry::Registry,
    store::{Registries, Store},
};

/// What the REST API of a process works with.
pub(super) struct Rest {
    pub(super) store: Arc<dyn Store>,
    pub(super) authorizer: Arc<dyn Authorizer>,
    /// The policies of the moment.
    pub(super) policies: Arc<dyn Fn() -> Arc<PolicySet> + Send + Sync>,
    pub(super) served: Observer,
}

impl Rest {
    /// Takes its port.
    pub(super) async fn bind(self, listen: SocketAddr, tls: TlsConfigs) -> anyhow::Result<Server> {
        let Self {
            store,
            authorizer,
            policies,
            served,
        } = self;
        let usage = Arc::new(Rules {
            registries: store.registries(),
            policies,
        });
        let router = api::router(ApiState {
            store,
            authorizer,
            usage,
            served,
            limits: Limits::default(),
        });
        let server = Server::bind("api", listen, router, server::Limits::api())
            .await
            .map_err(|error| cannot_listen("server.api.listen", &error))?;
        Ok(server.with_peers().with_tls(tls))
    }
}

/// Which rules need a registry.
struct Rules {
    registries: tokio::sync::watch::Receiver<Registries>,
    policies: Arc<dyn Fn() -> Arc<PolicySet> + Send + Sync>,
}

impl Usage for Rules {
    fn needed_by(&self, id: &str) -> Vec<Need> {
        let registries = self.registries.borrow().clone();
        let stored = registries.iter().find(|stored| stored.id == id);
        // One that nothing can be made of is in nobody's way.
        let Some(registry) = stored.and_then(|stored| Registry::parse(id, &stored.spec).ok()) else {
            return Vec::new();
        };
        let policies = (self.policies)();
        let rules = policies.rules_that_need(id, &registry.address);
        rules.map(|rule| Need::Rule(rule.to_owned())).collect()
    }
}
