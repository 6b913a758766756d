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
    /// The policies of the moment, where they are known.
    pub(super) policies: Arc<dyn Fn() -> Option<Arc<PolicySet>> + Send + Sync>,
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
    policies: Arc<dyn Fn() -> Option<Arc<PolicySet>> + Send + Sync>,
}

impl Usage for Rules {
    fn needed_by(&self, id: &str) -> Vec<Need> {
        let registries = self.registries.borrow().clone();
        let stored = registries.iter().find(|stored| stored.id == id);
        // One that nothing can be made of is in nobody's way.
        let Some(registry) = stored.and_then(|stored| Registry::parse(id, &stored.spec).ok()) else {
            return Vec::new();
        };
        let Some(policies) = (self.policies)() else {
            return vec![Need::Unknown];
        };
        let rules = policies.rules_that_need(id, &registry.address);
        rules.map(|rule| Need::Rule(rule.to_owned())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        policy::Settings,
        store::{Change, Draft, Embedded},
    };

    #[tokio::test]
    async fn while_the_policies_are_not_known_some_rule_may_need_a_registry() {
        let store = Embedded::in_memory().unwrap();
        let draft = Draft {
            spec: serde_json::from_value(serde_json::json!({"url": "r.io"})).unwrap(),
            pull: Change::Keep,
            push: Change::Keep,
            notify: Change::Keep,
        };
        store.create("r", draft).await.unwrap();
        let rules = |policies: Option<Arc<PolicySet>>| Rules {
            registries: store.registries(),
            policies: Arc::new(move || policies.clone()),
        };
        assert_eq!(rules(None).needed_by("r"), [Need::Unknown]);
        assert_eq!(rules(Some(PolicySet::empty(Settings::default()))).needed_by("r"), []);
        // One that is not there is in nobody's way.
        assert_eq!(rules(None).needed_by("another"), []);
    }
}
