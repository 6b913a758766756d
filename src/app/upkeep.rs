//! What one process at a time does for registries: `serve`, or of the controllers the one that leads.

use std::{convert::Infallible, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::sync::watch;

use super::{
    copies::Copies,
    if_any,
    probes::Probes,
    pull_secrets::PullSecrets,
    pushes,
    renewal::{self, Renewer},
    told::Told,
    verify::{Verifier, pods},
};
use crate::{
    cluster::Access,
    config,
    credentials::{Mint, MintSettings, gcr},
    metrics::{CredentialMetrics, OutdatedMetrics, PushMetrics, RegistryMetrics, VerificationMetrics},
    oci,
    store::Store,
};

/// Asks registries whether they are up and what was pushed is there, copies what somebody wants to be there, has their tokens issued, and brings
/// their credentials to namespaces.
pub(super) struct Upkeep {
    /// Where the registries are.
    pub(super) store: Arc<dyn Store>,
    /// Asks them.
    pub(super) client: oci::Client,
    /// Has tokens issued.
    pub(super) mint: Mint,
    /// How often a registry is asked that is fine; zero: none ever is.
    pub(super) probe: Duration,
    /// How often the targets of pushes are asked for; zero: never.
    pub(super) verify: Duration,
    /// How many images are copied at once.
    pub(super) copies: usize,
    /// How often it is kept how far a copy has come.
    pub(super) progress: Duration,
    /// What is counted of them.
    pub(super) metrics: RegistryMetrics,
    /// What is counted of tokens.
    pub(super) credentials: CredentialMetrics,
    /// What is counted of pushes.
    pub(super) pushes: PushMetrics,
    /// What is counted of the targets.
    pub(super) verifications: VerificationMetrics,
    /// The cluster whose Pods use images, where there is one.
    pub(super) pods: Option<Access>,
    /// How many of them run something else than what was pushed last.
    pub(super) outdated: OutdatedMetrics,
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
        let (use_is, used) = watch::channel(Default::default());
        let verifier = Verifier::new(
            self.store.clone(),
            self.client.clone(),
            self.verify,
            self.verifications.clone(),
            probes.down(),
            used,
        );
        let access = self.pods.as_ref().filter(|_| !self.verify.is_zero());
        let looking = access.map(|access| pods::look(access, &*self.store, self.verify, &use_is, &self.outdated));
        let clock = Box::new(Timestamp::now);
        let renewer = Renewer::new(
            self.store.clone(),
            renewal::by(self.mint.clone()),
            clock,
            self.credentials.clone(),
        );
        let told = Told {
            store: self.store.clone(),
            metrics: self.pushes.clone(),
        };
        let copies = Copies::new(
            Arc::new(told),
            self.client.clone(),
            Box::new(self.mint.clone()),
            self.pushes.clone(),
            self.copies,
            self.progress,
        );
        tokio::select! {
            never = renewer.run() => never,
            never = copies.run() => never,
            never = probes.run() => never,
            never = verifier.run() => never,
            never = if_any(looking) => never,
            never = pushes::count(&*self.store, self.pushes.clone()) => never,
            never = if_any(self.pull_secrets.as_ref().map(PullSecrets::keep)) => never,
        }
    }
}

/// How often it is kept how far a copy has come, where that is a file of this machine.
pub(super) const OFTEN: Duration = Duration::from_secs(1);

/// The same where it is an object of a cluster.
pub(super) const SELDOM: Duration = Duration::from_secs(5);

/// Whoever asks registries and whoever has their tokens issued, with whom they are trusted to be certified by. Reads files.
pub(super) fn clients(issuers: config::Issuers) -> (oci::Client, Mint) {
    let config::Issuers {
        ambient_hosts,
        google: config::Google {
            iam_credentials,
            trusted,
        },
    } = issuers;
    let (roots, problems) = oci::Roots::load();
    for problem in problems {
        tracing::warn!("an authority of this machine cannot be used for registries: {problem}");
    }
    let settings = MintSettings {
        ambient_hosts,
        google: gcr::Endpoints {
            iam_credentials,
            trusted,
        },
    };
    (oci::Client::new(roots.clone()), Mint::new(roots, settings))
}
