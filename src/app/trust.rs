//! Whether the API server accepts the certificate: a replica that is called before is called in vain.

use std::{convert::Infallible, sync::Arc, time::Duration, time::SystemTime};

use kube::Client;
use tokio::time::sleep;

use crate::{
    cluster::{
        Access,
        objects::{self, Registration},
    },
    http::health::{Check, Health},
    tls::{Tls, authority},
};

/// The check of one replica, which is not ready until it was seen to be trusted once.
///
/// Later on it is not taken back: replicas that nobody may call are of no more use than ones that nobody trusts, and would have to be
/// found again when trust comes back.
pub(super) struct Trust {
    access: Access,
    name: String,
    tls: Arc<Tls>,
    check: Check,
    seen: bool,
}

impl Trust {
    /// By the MutatingWebhookConfiguration of this name.
    pub(super) fn new(access: Access, name: String, tls: Arc<Tls>, health: &Health) -> Self {
        Self {
            access,
            check: health.add("ca-bundle", "it has not been looked at yet"),
            name,
            tls,
            seen: false,
        }
    }

    /// Looks again and again. It takes the right to get that one configuration.
    pub(super) async fn watch(mut self) -> Infallible {
        let mut client = None;
        loop {
            match self.look(&mut client).await {
                Ok(()) => {
                    if !self.seen {
                        tracing::info!("the API server trusts the certificate, by {}", self.name);
                    }
                    self.seen = true;
                    self.check.fine();
                }
                Err(why) if self.seen => self.check.degraded(why),
                Err(why) => self.check.failing(why),
            }
            sleep(if self.seen { AFTERWARDS } else { AT_FIRST }).await;
        }
    }

    async fn look(&self, kept: &mut Option<Client>) -> Result<(), String> {
        let client = match kept.take() {
            Some(client) => client,
            None => self.access.client().await?,
        };
        let found = objects::registration(client.clone(), &self.name).await;
        let found = found.map_err(|error| error.to_string())?;
        // Only one that works is used again.
        *kept = Some(client);
        trusts(&self.name, found.as_ref(), &self.tls.chain(), SystemTime::now())
    }
}

fn trusts(name: &str, found: Option<&Registration>, chain: &[u8], now: SystemTime) -> Result<(), String> {
    let Some(Registration { webhooks }) = found else {
        return Err(format!(
            "there is no MutatingWebhookConfiguration {name}, so nobody asks"
        ));
    };
    if webhooks.is_empty() {
        return Err(format!("the MutatingWebhookConfiguration {name} has no webhooks"));
    }
    for webhook in webhooks {
        let names: Vec<_> = webhook.host.iter().cloned().collect();
        if !authority::is_accepted(chain, &webhook.bundle, &names, now) {
            let host = webhook.host.as_deref().unwrap_or("no host");
            return Err(format!(
                "the API server does not trust the certificate for {host} yet: the caBundle of {name} has no authority of it"
            ));
        }
    }
    Ok(())
}

/// A replica that starts waits for the controller, which needs a second or two.
const AT_FIRST: Duration = Duration::from_secs(1);

/// For people who look at `/readyz?verbose`.
const AFTERWARDS: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cluster::objects::Webhook, tls::authority::Authority};

    #[test]
    fn every_webhook_must_trust_the_certificate_for_its_own_host() {
        let (now, life) = (SystemTime::now(), Duration::from_secs(1_000));
        let [ours, other] = [(); 2].map(|()| Authority::generate(life, now).unwrap());
        let chain = ours.issue(&["w.ns.svc".to_owned()], life, now).unwrap().certificate;
        let webhook = |bundle: &str, host: &str| Webhook {
            name: "w".to_owned(),
            bundle: bundle.as_bytes().to_vec(),
            host: Some(host.to_owned()),
        };
        let both = format!("{}{}", other.certificate, ours.certificate);
        let fine = || webhook(&both, "w.ns.svc");
        for (webhooks, trusted) in [
            (vec![fine()], true),
            (vec![fine(), fine()], true),
            (vec![], false),
            (vec![fine(), webhook("", "w.ns.svc")], false),
            (vec![webhook(&other.certificate, "w.ns.svc")], false),
            (vec![webhook(&both, "x.ns.svc")], false),
        ] {
            let found = Registration { webhooks };
            let said = trusts("c", Some(&found), chain.as_bytes(), now);
            assert_eq!(said.is_ok(), trusted, "{found:?}: {said:?}");
        }
        assert!(trusts("c", None, chain.as_bytes(), now).is_err());
    }
}
