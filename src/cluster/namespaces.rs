//! The watch on Namespaces: their names and labels, for as long as the process lives.

use std::{collections::BTreeMap, convert::Infallible};

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, core::PartialObjectMeta};

use super::watch::{self, Change, Selection};
use crate::snapshot::Namespaces;

/// What the watch finds.
#[derive(Clone, Debug)]
pub enum Event {
    /// All namespaces that there are, with their labels; the first of these comes when the first list is complete.
    Changed(Namespaces),
    /// It is told of every change.
    Working,
    /// Changes may be missed, for this reason, which is said after each attempt. It goes on trying.
    Broken(String),
}

/// Watches until it is dropped. `connect` gives a client whenever a connection was lost, so that renewed credentials count. `wanted`
/// resolves when somebody needs a namespace that is not known: then the next attempt is made at once, for an API server that asks is
/// there again.
pub async fn watch(
    mut connect: impl AsyncFnMut() -> Result<Client, String>,
    wanted: impl AsyncFnMut(),
    mut tell: impl FnMut(Event),
) -> Infallible {
    let mut namespaces = Namespaces::watched();
    let tell = move |event: watch::Event<Meta>| {
        let changed = match event {
            watch::Event::Listed(objects) => {
                namespaces = Namespaces::watched();
                for object in &objects {
                    insert(&mut namespaces, object);
                }
                true
            }
            watch::Event::Changed(changes) => changes.iter().fold(false, |changed, change| {
                changed
                    | match change {
                        Change::Applied(object) => insert(&mut namespaces, object),
                        Change::Deleted(object) => {
                            namespaces.remove(object.metadata.name.as_deref().unwrap_or_default())
                        }
                    }
            }),
            watch::Event::Working => return tell(Event::Working),
            watch::Event::Broken(why) | watch::Event::Missing(why) => return tell(Event::Broken(why)),
        };
        if changed {
            tell(Event::Changed(namespaces.clone()));
        }
    };
    let connect = async || Ok(Api::all(connect().await?));
    watch::follow(connect, Selection::all("namespaces"), wanted, tell).await
}

type Meta = PartialObjectMeta<Namespace>;

/// Whether that changes anything.
fn insert(namespaces: &mut Namespaces, object: &Meta) -> bool {
    static NONE: BTreeMap<String, String> = BTreeMap::new();
    let labels = object.metadata.labels.as_ref().unwrap_or(&NONE);
    object
        .metadata
        .name
        .as_ref()
        .is_some_and(|name| namespaces.insert(name, labels.iter().map(|(key, value)| (&**key, &**value))))
}

#[cfg(test)]
mod tests;
