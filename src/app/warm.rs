//! Which images the Pods of a cluster use, for whoever pushes them somewhere before they are needed.

use std::{collections::BTreeSet, path::PathBuf};

use super::access;
use crate::cluster::pods;

/// The images of the Pods of a namespace, or of all, as their specs have them: nothing that an annotation says. It takes the right to list Pods.
///
/// # Errors
///
/// When the cluster does not answer.
pub async fn images_in_use(kubeconfig: Option<PathBuf>, namespace: Option<&str>) -> anyhow::Result<BTreeSet<Box<str>>> {
    let server = access(kubeconfig).connect().await?;
    let mut images = BTreeSet::new();
    pods::list(&server.client, namespace, |pod| {
        images.extend(pod.images.into_iter().map(|used| used.image));
    })
    .await
    .map_err(anyhow::Error::msg)?;
    Ok(images)
}
