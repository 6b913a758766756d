//! Which pushes the Pods of a cluster use, and which of them run something else.

use std::{collections::BTreeSet, convert::Infallible, sync::Arc, time::Duration};

use hashbrown::HashMap;
use tokio::{sync::watch, time::sleep};

use super::Used;
use crate::{
    cluster::{Access, pods},
    metrics::OutdatedMetrics,
    pushes::{Index, Key, outdated::Outdated},
    reference::Reference,
    store::Store,
};

/// Looks again and again, until it is dropped.
pub(in crate::app) async fn look(
    access: &Access,
    store: &dyn Store,
    every: Duration,
    used: &watch::Sender<Used>,
    metrics: &OutdatedMetrics,
) -> Infallible {
    let _ended = Ended(metrics);
    let every = every.max(LEAST);
    let mut told = false;
    loop {
        let index = store.index().borrow().clone();
        let mut pause = every;
        // Where nothing was pushed nobody uses it.
        if !index.is_empty() {
            match once(access, &index).await {
                Ok((images, outdated)) => {
                    told = false;
                    let registries = store.registries().borrow().clone();
                    let ids: Vec<_> = registries.iter().map(|stored| &*stored.id).collect();
                    metrics.set(&ids, &outdated.pods);
                    used.send_replace(Arc::new(by_registry(&index, &ids, &images)));
                }
                Err(why) => {
                    if !told {
                        tracing::warn!(
                            "which pushes are in use is not known, and all targets are asked for in their turn: {why}"
                        );
                    }
                    told = true;
                    pause = every.min(AGAIN);
                }
            }
        }
        sleep(pause).await;
    }
}

async fn once(access: &Access, index: &Index) -> Result<(BTreeSet<Box<str>>, Outdated), String> {
    let client = access.client().await?;
    let (mut images, mut outdated) = (BTreeSet::new(), Outdated::default());
    pods::list(&client, None, |pod| {
        for name in pod.images.iter().flat_map(|used| used.names()) {
            if images.len() < MOST_IMAGES && !images.contains(name) {
                images.insert(name.into());
            }
        }
        outdated.add(index, pod);
    })
    .await?;
    Ok((images, outdated))
}

/// Those that are latest pushes, or the targets of some.
fn by_registry(index: &Index, registries: &[&str], images: &BTreeSet<Box<str>>) -> HashMap<Box<str>, Vec<Key>> {
    let mut used: HashMap<Box<str>, Vec<Key>> = HashMap::new();
    let mut add = |key: Key| {
        for registry in registries.iter().filter(|id| index.is_latest(key, id)) {
            used.entry((*registry).into()).or_default().push(key);
        }
    };
    for image in images {
        let Ok(image) = Reference::parse(image) else { continue };
        add(Key::of(&image));
        for source in index.sources(&image) {
            if let Ok(source) = Reference::parse(&source.image) {
                add(Key::of(&source));
            }
        }
    }
    used
}

/// Whoever does not look has nothing to say.
struct Ended<'m>(&'m OutdatedMetrics);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.clear();
    }
}

/// A list of all Pods is work for the API server.
const LEAST: Duration = Duration::from_secs(10);

const AGAIN: Duration = Duration::from_secs(60);

const MOST_IMAGES: usize = 50_000;

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::pushes::{Image, Success};

    #[test]
    fn an_image_that_a_pod_uses_is_used_by_its_own_name_and_by_that_of_its_target() {
        let success = |target: &str, second| Success {
            target: target.into(),
            digest: format!("sha256:{}", "a".repeat(64)).into(),
            platforms: Vec::new(),
            children: Vec::new(),
            finished_at: Timestamp::from_second(second).unwrap(),
            sequence: 1,
        };
        let image = |text| Image::parse(text).unwrap();
        let (app, web) = (image("app:1"), image("web:1"));
        let index = Index::default().with([
            (&app, "a", Some(&success("a.io/docker.io/library/app:1", 1))),
            (&app, "b", Some(&success("b.io/docker.io/library/app:1", 2))),
            (&web, "a", Some(&success("a.io/docker.io/library/web:1", 1))),
            (
                &image("nobody:1"),
                "a",
                Some(&success("a.io/docker.io/library/nobody:1", 1)),
            ),
        ]);
        let images = ["app:1", "a.io/docker.io/library/web:1", "other", "No"].map(Box::from);
        let used = by_registry(&index, &["a", "b", "c"], &images.into());
        let expected = [("a".into(), vec![web.key()]), ("b".into(), vec![app.key()])];
        assert_eq!(used, HashMap::from(expected));
    }
}
