//! The REST API, as a process serves it.

use std::{net::SocketAddr, sync::Arc};

use tokio::sync::watch;

use super::{ports::cannot_listen, told::Told};
use crate::{
    authorization::Authorizer,
    http::{
        api::{self, ApiState, Limits, Need, Observer, Usage},
        server::{self, Server, TlsConfigs},
    },
    metrics::{PushMetrics, RegistryMetrics},
    notifications::{Notifications, Outcome},
    policy::PolicySet,
    pushes::Index,
    store::{Registries, Store},
};

/// What the REST API of a process works with.
pub(super) struct Rest {
    pub(super) store: Arc<dyn Store>,
    pub(super) authorizer: Arc<dyn Authorizer>,
    /// The policies of the moment, where they are known.
    pub(super) policies: Arc<dyn Fn() -> Option<Arc<PolicySet>> + Send + Sync>,
    pub(super) served: Observer,
    /// Counts notifications.
    pub(super) metrics: RegistryMetrics,
    /// Counts pushes.
    pub(super) pushes: PushMetrics,
}

impl Rest {
    /// Takes its port.
    pub(super) async fn bind(self, listen: SocketAddr, tls: TlsConfigs) -> anyhow::Result<Server> {
        let Self {
            store,
            authorizer,
            policies,
            served,
            metrics,
            pushes,
        } = self;
        let store: Arc<dyn Store> = Arc::new(Told { store, metrics: pushes });
        let told = move |id: &str, outcome: Outcome, count: usize| metrics.notified(id, outcome.as_str(), count);
        let notifications = Notifications::new(store.clone(), Arc::new(told))
            .map_err(|_| anyhow::anyhow!("the system has no random numbers"))?;
        let usage = Arc::new(InUse {
            registries: store.registries(),
            pushes: store.index(),
            policies,
        });
        let router = api::router(ApiState {
            store,
            authorizer,
            notifications: Arc::new(notifications),
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

/// Which rules need a registry, and how many images.
struct InUse {
    registries: watch::Receiver<Registries>,
    pushes: watch::Receiver<Index>,
    policies: Arc<dyn Fn() -> Option<Arc<PolicySet>> + Send + Sync>,
}

impl Usage for InUse {
    fn needed_by(&self, id: &str) -> Vec<Need> {
        let registries = self.registries.borrow().clone();
        let stored = registries.iter().find(|stored| stored.id == id);
        // One that nothing can be made of is in nobody's way.
        let Some(registry) = stored.and_then(|stored| stored.registry().ok()) else {
            return Vec::new();
        };
        let mut needs = match (self.policies)() {
            Some(policies) => {
                let rules = policies.rules_that_need(id, &registry.address);
                rules.map(|rule| Need::Rule(rule.to_owned())).collect()
            }
            None => vec![Need::Unknown],
        };
        // Pods pull them from there.
        let images = self.pushes.borrow().clone().latest_of(id).count();
        needs.extend((images > 0).then_some(Need::Pushes(images)));
        needs
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::{
        policy::Settings,
        pushes::{Event, Image, Origin, What},
        store::{Change, Draft, Embedded, Pushes},
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
        let rules = |policies: Option<Arc<PolicySet>>| InUse {
            registries: store.registries(),
            pushes: store.index(),
            policies: Arc::new(move || policies.clone()),
        };
        assert_eq!(rules(None).needed_by("r"), [Need::Unknown]);
        assert_eq!(rules(Some(PolicySet::empty(Settings::default()))).needed_by("r"), []);
        // One that is not there is in nobody's way.
        assert_eq!(rules(None).needed_by("another"), []);
    }

    #[tokio::test]
    async fn images_that_were_last_pushed_to_a_registry_need_it() {
        let store = Embedded::in_memory().unwrap();
        let draft = Draft {
            spec: serde_json::from_value(serde_json::json!({"url": "r.io"})).unwrap(),
            pull: Change::Keep,
            push: Change::Keep,
            notify: Change::Keep,
        };
        for id in ["r", "other"] {
            store.create(id, draft.clone()).await.unwrap();
        }
        let pushed = async |image: &str, registry: &str, at: i64| {
            let image = Image::parse(image).unwrap();
            let event = Event {
                registry: registry.into(),
                at: Timestamp::from_second(at).unwrap(),
                origin: Origin::Report,
                what: What::Succeeded {
                    target: format!("r.io/{image}").into(),
                    digest: format!("sha256:{}", "0".repeat(64)).into(),
                },
                image,
            };
            store.happened(vec![event]).await.unwrap();
        };
        let in_use = InUse {
            registries: store.registries(),
            pushes: store.index(),
            policies: Arc::new(|| Some(PolicySet::empty(Settings::default()))),
        };
        assert_eq!(in_use.needed_by("r"), []);
        pushed("alpine", "r", 1).await;
        pushed("busybox", "r", 1).await;
        assert_eq!(in_use.needed_by("r"), [Need::Pushes(2)]);
        // It is pulled from there now.
        pushed("alpine", "other", 2).await;
        assert_eq!(
            (in_use.needed_by("r"), in_use.needed_by("other")),
            (vec![Need::Pushes(1)], vec![Need::Pushes(1)])
        );
    }
}
