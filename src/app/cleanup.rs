//! What is left in a cluster when nobody keeps it any more.

use std::path::PathBuf;

use futures_util::{StreamExt, stream};

use super::access;
use crate::cluster::pull_secrets::{PullSecretError, PullSecrets};

/// Deletes the pull secrets of this name from every namespace, those of others excepted, and answers how many there were.
///
/// # Errors
///
/// When the cluster does not answer, or some of them could not be deleted.
pub async fn delete_pull_secrets(kubeconfig: Option<PathBuf>, name: &str) -> anyhow::Result<usize> {
    let server = access(kubeconfig).connect().await?;
    let secrets = PullSecrets::of_anybody(server.client, name);
    let mut deleted = 0;
    let mut attempts = 0;
    loop {
        attempts += 1;
        let mut ours = secrets.list().await?;
        ours.retain(|(_, found)| found.ours && !found.deleting);
        let results = stream::iter(&ours).map(async |(namespace, found)| {
            let result = secrets.delete(namespace, found).await;
            (namespace, result)
        });
        let mut again = false;
        let mut failed = Vec::new();
        let mut results = results.buffer_unordered(AT_ONCE);
        while let Some((namespace, result)) = results.next().await {
            match result {
                Ok(()) => deleted += 1,
                Err(PullSecretError::Conflict) if attempts < MOST_ATTEMPTS => again = true,
                Err(error) => failed.push(format!("that of {namespace}: {error}")),
            }
        }
        if let [first, ..] = &*failed {
            anyhow::bail!(
                "{} pull secrets were deleted, and {} were not; {first}",
                deleted,
                failed.len()
            );
        }
        if !again {
            return Ok(deleted);
        }
    }
}

const AT_ONCE: usize = 8;

/// Somebody may change them at the same time.
const MOST_ATTEMPTS: u32 = 3;
