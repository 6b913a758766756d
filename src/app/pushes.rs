//! From the store to the snapshot and to the metrics: which pushes there are.

use std::{collections::BTreeSet, convert::Infallible, sync::Arc, time::Duration};

use tokio::{sync::watch, time::sleep};

use super::Current;
use crate::{metrics::PushMetrics, pushes::Index, store::Store};

/// Keeps the pushes of the snapshot as those of the store are, for as long as it is not dropped.
pub(super) async fn keep(mut index: watch::Receiver<Index>, current: Arc<Current>) -> Infallible {
    let mut retired = None;
    loop {
        let found = index.borrow_and_update().clone();
        // The last but one, so that it is taken apart here and not in the review that happens to be the last to use it.
        drop(Option::replace(
            &mut retired,
            current.update(|snapshot| snapshot.pushes = found),
        ));
        if index.changed().await.is_err() {
            // Whoever fed it is gone with the process.
            std::future::pending().await
        }
    }
}

/// Keeps the metrics of how many there are in each registry, for as long as it is not dropped.
pub(super) async fn count(store: &dyn Store, metrics: PushMetrics) -> Infallible {
    let (mut index, mut registries) = (store.index(), store.registries());
    let mut counted = BTreeSet::new();
    loop {
        let pushes = index.borrow_and_update().clone();
        let ids: BTreeSet<_> = registries
            .borrow_and_update()
            .iter()
            .map(|stored| stored.id.clone())
            .collect();
        for id in &ids {
            metrics.set_records(id, pushes.count(id));
        }
        counted.difference(&ids).for_each(|gone: &String| metrics.remove(gone));
        counted = ids;
        let changed = tokio::select! {
            changed = index.changed() => changed,
            changed = registries.changed() => changed,
        };
        if changed.is_err() {
            // Whoever fed them is gone with the process.
            std::future::pending().await
        }
        // Nobody reads metrics more often, and there may be many changes.
        sleep(PAUSE).await;
    }
}

const PAUSE: Duration = Duration::from_secs(1);
