//! Which running Pods of a cluster have another image than the latest push of it.

use std::path::PathBuf;

use super::{access, stores::connecting};
use crate::{
    cluster::{pods, registries::Kubernetes},
    pushes::outdated::Outdated,
    store::Pushes,
};

/// Looks at the Pods of a namespace, or of all. It takes the rights to list Pods, `registries.waypost.dev` and `pushes.waypost.dev`.
///
/// # Errors
///
/// When the cluster does not answer.
pub async fn outdated(kubeconfig: Option<PathBuf>, namespace: Option<&str>) -> anyhow::Result<Outdated> {
    let access = access(kubeconfig);
    let server = access.connect().await?;
    let store = Kubernetes::open(connecting(access), server.namespace, false).await?;
    let index = store.index().borrow().clone();
    let mut outdated = Outdated::default();
    pods::list(&server.client, namespace, |pod| outdated.add(&index, pod))
        .await
        .map_err(anyhow::Error::msg)?;
    Ok(outdated)
}
