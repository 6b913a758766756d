//! From the store to the snapshot: which pushes there are.

use std::{convert::Infallible, sync::Arc};

use tokio::sync::watch;

use super::Current;
use crate::pushes::Index;

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
