//! Where this process has its registries.

use std::{
    convert::Infallible,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use futures_util::FutureExt;
use kube::Client;
use tokio::{sync::watch, time::sleep};

use super::{
    Current,
    first_uses::{Asking, Replicator},
    probes::Down,
    pushes, registries,
};
use crate::{
    authorization::{self, Authorizer},
    cluster::{
        Access,
        authorization::Reviews,
        pods,
        registries::{Connect, Event, Kubernetes, PATIENCE},
    },
    http::health::Check,
    store::{Store, embedded::Embedded},
    tokens::Tokens,
};

/// Where a process that answers reviews has its registries.
pub(super) enum Home {
    /// In a file of this machine, with the tokens of the REST API beside it.
    File {
        store: Arc<Embedded>,
        tokens: Tokens,
        /// Where the token of whoever may do everything is.
        admin_token: PathBuf,
    },
    /// In a cluster, which has been asked.
    Cluster {
        store: Arc<Kubernetes>,
        client: Client,
        namespace: String,
        check: Check,
    },
    /// In a cluster, which has not been asked yet.
    Later {
        access: Access,
        namespace: String,
        check: Check,
    },
}

impl Home {
    /// In a file. Blocks for a moment, before anything is served.
    pub(super) fn file(path: &Path) -> anyhow::Result<Self> {
        let store = Arc::new(Embedded::open(path)?);
        let beside = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        Ok(Self::File {
            store,
            tokens: Tokens::ensure(beside).context("the REST API has no tokens")?,
            admin_token: beside.join(crate::tokens::ADMIN),
        })
    }

    /// What the REST API needs; none where this process has none.
    pub(super) fn store(&self) -> Option<Arc<dyn Store>> {
        match self {
            Self::File { store, .. } => Some(store.clone()),
            Self::Cluster { store, .. } => Some(store.clone()),
            Self::Later { .. } => None,
        }
    }

    /// Where the token is with which one may do everything.
    pub(super) fn admin_token(&self) -> Option<&Path> {
        match self {
            Self::File { admin_token, .. } => Some(admin_token),
            Self::Cluster { .. } | Self::Later { .. } => None,
        }
    }

    /// Who may use the REST API.
    pub(super) fn authorizer(&self) -> anyhow::Result<Option<Arc<dyn Authorizer>>> {
        match self {
            Self::File { tokens, .. } => {
                let tokens = authorization::Tokens::new(&tokens.admin, &tokens.push);
                Ok(Some(Arc::new(
                    tokens.map_err(|_| anyhow::anyhow!("the system has no random numbers"))?,
                )))
            }
            Self::Cluster { client, .. } => Ok(Some(Arc::new(Reviews::new(client.clone())))),
            Self::Later { .. } => Ok(None),
        }
    }

    /// Who keeps pull secrets, where this process does.
    pub(super) fn keeper(&self) -> String {
        match self {
            Self::File { store, .. } => format!("serve-{}", store.id()),
            Self::Cluster { namespace, .. } | Self::Later { namespace, .. } => keeper(namespace, "serve"),
        }
    }

    /// Keeps the registries and the pushes of the snapshot as those of the store are, and has replicated what is used, for as long as it is not dropped. `down`: see
    /// [`registries::keep`].
    pub(super) async fn keep(
        &self,
        down: Option<watch::Receiver<Down>>,
        current: Arc<Current>,
        replicator: Replicator,
    ) -> Infallible {
        let (store, asking, check) = match self {
            Self::File { store, .. } => {
                return tokio::select! {
                    never = keep(&**store, down, current) => never,
                    never = replicator.run(&**store, Asking::Here) => never,
                };
            }
            Self::Cluster { store, check, .. } => (store.clone(), Asking::Here, check),
            Self::Later {
                access,
                namespace,
                check,
            } => (
                of_the_cluster(access, namespace, false, check).await,
                Asking::Aside,
                check,
            ),
        };
        tokio::select! {
            never = follow(&store, check) => never,
            never = keep(&*store, down, current) => never,
            never = replicator.run(&*store, asking) => never,
        }
    }
}

async fn keep(store: &dyn Store, down: Option<watch::Receiver<Down>>, current: Arc<Current>) -> Infallible {
    tokio::select! {
        never = registries::keep(store.registries(), down, current.clone()) => never,
        never = pushes::keep(store.index(), current) => never,
    }
}

/// Who keeps pull secrets, as the value of a label: the controllers of a release are one.
pub(super) fn keeper(namespace: &str, name: &str) -> String {
    let keeper = format!("{namespace}.{name}");
    // The longest that a label takes.
    if keeper.len() <= 63 {
        return keeper;
    }
    let digest = crate::cluster::pull_secrets::digest(&[keeper.as_bytes()]);
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("controller-{hex}")
}

/// Those of a cluster, which is asked until it answers. `secrets` says whether this process may read the Secrets of Waypost's namespace.
pub(super) async fn of_the_cluster(access: &Access, namespace: &str, secrets: bool, check: &Check) -> Arc<Kubernetes> {
    let mut told = None;
    let mut pause = SHORTEST_PAUSE;
    loop {
        match Kubernetes::open(connecting(access.clone()), namespace.to_owned(), secrets).await {
            // Whoever follows them says when all is well: by then they are where they are needed.
            Ok(store) => {
                let asked = access.clone();
                // Looked at by whoever writes, when there is no room.
                let in_use = move || {
                    let access = asked.clone();
                    async move { pods::images(&access.client().await?).await }.boxed()
                };
                return Arc::new(store.with_images_in_use(Box::new(in_use)));
            }
            Err(error) => {
                let why = error.to_string();
                check.failing(format!("they have not been listed yet: {why}"));
                if told.as_ref() != Some(&why) {
                    tracing::warn!("the registries of the cluster cannot be read, which is tried again: {why}");
                    told = Some(why);
                }
            }
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// How a store of the cluster reaches it, again and again.
pub(super) fn connecting(access: Access) -> Connect {
    Box::new(move || {
        let access = access.clone();
        async move { access.client().await }.boxed()
    })
}

/// Follows them, and tells how that fares.
pub(super) async fn follow(store: &Kubernetes, check: &Check) -> Infallible {
    let mut broken = false;
    store
        .run(|event| match event {
            Event::Working => {
                if std::mem::take(&mut broken) {
                    tracing::info!("the watch on registries and push records works again");
                }
                check.fine();
            }
            Event::Broken { what, why } => {
                if !std::mem::replace(&mut broken, true) {
                    tracing::warn!("the watch on {what} is broken, and is tried again until it works: {why}");
                }
                check.degraded(format!("the watch is broken, and {what} are those of before: {why}"));
            }
            Event::Missing { what, why } => {
                if !std::mem::replace(&mut broken, true) {
                    tracing::info!("there are no {what}, for the cluster does not know such objects (`waypost crds` defines them): {why}");
                }
                check.fine();
            }
        })
        .await
}

/// Takes away what nobody needs any more, every few minutes.
pub(super) async fn tidy(store: &Kubernetes) -> Infallible {
    loop {
        match store.tidy(PATIENCE).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "{count} Secrets that nobody names any more were deleted"),
            Err(error) => tracing::debug!("Secrets that nobody names are looked for later: {error}"),
        }
        sleep(TIDY_EVERY).await;
    }
}

const TIDY_EVERY: Duration = Duration::from_secs(300);

const SHORTEST_PAUSE: Duration = Duration::from_millis(200);

const LONGEST_PAUSE: Duration = Duration::from_secs(5);
