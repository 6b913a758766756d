//! What the watch on namespaces does not use: selectors, whole objects, resources that are not there. Its tests are those of the rest.

use std::cell::RefCell;

use k8s_openapi::api::core::v1::Secret;
use kube::{
    Client, ResourceExt,
    core::{ApiResource, DynamicObject, PartialObjectMeta},
};
use serde_json::{Value, json};

use super::{super::testing::*, *};

/// Runs the watch beside what is done to it; gives back all events, as text.
async fn beside<K>(
    server: &Server,
    selection: Selection,
    api: impl Fn(Client) -> Api<K>,
    work: impl AsyncFnOnce(&RefCell<Vec<String>>),
) where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let told = RefCell::new(Vec::new());
    let tell = |event: Event<K>| {
        let name = |object: &K| format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any());
        told.borrow_mut().push(match event {
            Event::Listed(objects) => {
                format!("listed {}", objects.iter().map(name).collect::<Vec<_>>().join(" "))
            }
            Event::Changed(changes) => {
                let change = |change: &Change<K>| match change {
                    Change::Applied(object) => format!("+{}", name(object)),
                    Change::Deleted(object) => format!("-{}", name(object)),
                };
                changes.iter().map(change).collect::<Vec<_>>().join(" ")
            }
            Event::Working => "working".to_owned(),
            Event::Broken(why) => format!("broken: {why}"),
            Event::Missing(why) => format!("missing: {why}"),
        });
    };
    let connect = async || Ok(api(server.client()));
    tokio::select! {
        biased;
        () = work(&told) => {}
        never = follow(connect, selection, nobody, tell) => match never {},
    }
}

fn secret(namespace: &str, version: &str) -> Value {
    json!({"kind": "Secret", "apiVersion": "v1", "data": {"a": "Yg=="},
        "metadata": {"name": "pull", "namespace": namespace, "resourceVersion": version}})
}

fn list(items: &[Value]) -> Answer {
    Answer::Json(
        200,
        json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "7"}, "items": items}),
    )
}

#[tokio::test(start_paused = true)]
async fn objects_of_one_name_in_all_namespaces_are_listed_and_watched_whole_or_in_part() {
    for whole in [true, false] {
        let server = Server::default();
        server.will([list(&[secret("a", "3")])]);
        let mut events = server.will_watch();
        let selection = Selection::all("secrets").fields("metadata.name=pull").labels("app=x");
        let work = async |told: &RefCell<Vec<String>>| {
            settle().await;
            assert_eq!(told.take(), ["listed a/pull", "working"]);
            let asked = server.asked();
            assert_eq!(asked.len(), 2, "{asked:?}");
            for asked in asked {
                assert!(asked.starts_with("/api/v1/secrets?"), "{asked}");
                assert!(
                    asked.contains("fieldSelector=metadata.name%3Dpull") && asked.contains("labelSelector=app%3Dx"),
                    "{asked}"
                );
            }
            for accepted in server.accepted() {
                assert_eq!(!accepted.contains("as=PartialObjectMetadata"), whole, "{accepted}");
            }
            events
                .send([event("ADDED", secret("b", "8")), event("DELETED", secret("a", "9"))])
                .await;
            settle().await;
            assert_eq!(told.take(), ["+b/pull -a/pull"]);
        };
        if whole {
            beside(&server, selection, Api::<Secret>::all, work).await;
        } else {
            beside(&server, selection, Api::<PartialObjectMeta<Secret>>::all, work).await;
        }
    }
}

fn policies(client: Client) -> Api<DynamicObject> {
    let resource = ApiResource {
        group: "waypost.dev".to_owned(),
        version: "v1alpha1".to_owned(),
        api_version: "waypost.dev/v1alpha1".to_owned(),
        kind: "Policy".to_owned(),
        plural: "policies".to_owned(),
    };
    Api::all_with(client, &resource)
}

#[tokio::test(start_paused = true)]
async fn a_resource_that_is_missing_is_told_apart_from_trouble_and_found_once_it_is_there() {
    let server = Server::default();
    let not_found = || Answer::Json(404, status(404, "the server could not find the requested resource"));
    server.will((0..5).map(|_| not_found()));
    beside(
        &server,
        Selection::all("policies.waypost.dev"),
        policies,
        async |told| {
            sleep(Duration::from_secs(60)).await;
            let told_until_now = told.take();
            assert_eq!(
                told_until_now[..5],
                ["missing: the API server answers 404: the server could not find the requested resource"; 5]
            );
            server.asked();
            server.will((0..100).map(|_| not_found()));
            sleep(Duration::from_secs(300)).await;
            let attempts = server.asked().len();
            assert!((9..25).contains(&attempts), "{attempts} in five minutes");
            server.forget();
            told.take();
            server.will([list(&[
                json!({"kind": "Policy", "apiVersion": "waypost.dev/v1alpha1", "metadata": {"name": "p"}}),
            ])]);
            let events = server.will_watch();
            server.will([not_found(), not_found()]);
            sleep(Duration::from_secs(40)).await;
            assert_eq!(told.take(), ["listed /p", "working"]);
            // Its definition is deleted; the first answer may be that of an API server that has just started.
            drop(events);
            settle().await;
            assert_eq!(told.take(), [""; 0]);
            sleep(Duration::from_secs(1)).await;
            assert_eq!(
                told.take()[0],
                "missing: the API server answers 404: the server could not find the requested resource"
            );
        },
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_right_that_is_missing_is_named_with_its_resource() {
    let server = Server::default();
    server.will([Answer::Json(403, status(403, "no"))]);
    beside(&server, Selection::all("policies.waypost.dev"), policies, async |told| {
        settle().await;
        assert_eq!(
            told.take(),
            ["broken: the API server refuses it (403): no; grant get, list and watch on policies.waypost.dev to whoever that is"]
        );
    })
    .await;
}
