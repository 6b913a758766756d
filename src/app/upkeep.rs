//! What one process at a time does for registries: `serve`, or of the controllers the one that leads.

use std::{convert::Infallible, sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{if_any, probes::Probes, pull_secrets::PullSecrets, verify::Verifier};
use crate::{
    metrics::{RegistryMetrics, VerificationMetrics},
    oci,
    store::Store,
};

/// Asks registries whether they are up and what was pushed is there, and brings their credentials to namespaces.
pub(super) struct Upkeep {
    /// Where the registries are.
    pub(super) store: Arc<dyn Store>,
    /// Asks them.
    pub(super) client: oci::Client,
    /// How often a registry is asked that is fine; zero: none ever is.
    pub(super) probe: Duration,
    /// How often the targets of pushes are asked for; zero: never.
    pub(super) verify: Duration,
    /// What is counted of them.
    pub(super) metrics: RegistryMetrics,
    /// What is counted of the targets.
    pub(super) verifications: VerificationMetrics,
    /// The pull secrets of the cluster, where there is one.
    pub(super) pull_secrets: Option<PullSecrets>,
}

impl Upkeep {
    /// Probes that have not begun: [`Probes::down`] says what they find.
    pub(super) fn probes(&self) -> Probes {
        Probes::new(
            self.store.clone(),
            self.client.clone(),
            self.probe,
            self.metrics.clone(),
        )
    }

    /// Does it, for as long as it is not dropped.
    pub(super) async fn keep(&self, probes: Probes) -> Infallible {
        let (_used, used) = watch::channel(Default::default());
        let verifier = Verifier::new(
            self.store.clone(),
            self.client.clone(),
            self.verify,
            self.verifications.clone(),
            probes.down(),
            used,
        );
        tokio::select! {
            never = probes.run() => never,
            never = verifier.run() => never,
            never = if_any(self.pull_secrets.as_ref().map(PullSecrets::keep)) => never,
        }
    }
}

/// Whoever asks registries, with whom they are trusted to be certified by. Reads files.
pub(super) fn client() -> oci::Client {
    let (roots, problems) = oci::Roots::load();
    for problem in problems {
        tracing::warn!("an authority of this machine cannot be used for registries: {problem}");
    }
    oci::Client::new(roots)
}
