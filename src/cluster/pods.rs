//! The Pods that run, as far as their images are concerned: listed page by page, and no more of each is read than is needed.
//!
//! It takes the right to list Pods.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use kube::{Client, api::ListParams, core::Request};
use serde::{Deserialize, Deserializer, de::IgnoredAny};
use tokio::time::timeout;

use super::explain;
use crate::pushes::outdated::{Owner, Pod, Used};

/// Lists the Pods of a namespace, or of all of them, that have not ended, and hands each on; answers how many there were. Mirror Pods, which
/// a node makes of its own files, are left out.
///
/// # Errors
///
/// When the API server does not say, with the reason in words: what was handed on is not all then.
pub async fn list(client: &Client, namespace: Option<&str>, mut each: impl FnMut(Pod)) -> Result<usize, String> {
    let path = match namespace {
        Some(namespace) => format!("/api/v1/namespaces/{namespace}/pods"),
        None => "/api/v1/pods".to_owned(),
    };
    let request = Request::new(path);
    let mut page = ListParams::default().limit(PAGE).fields(HAVE_NOT_ENDED);
    let mut pods = 0;
    loop {
        let asked = request.list(&page).map_err(|error| error.to_string())?;
        let answer = timeout(DEADLINE, client.request::<List>(asked)).await;
        let answer =
            answer.map_err(|_| format!("Pods: the API server has not answered within {} s", DEADLINE.as_secs()))?;
        let token = match answer {
            Ok(list) => {
                for object in list.items.into_iter().filter_map(Object::pod) {
                    pods += 1;
                    each(object);
                }
                list.metadata.token
            }
            // It took too long for one state of things: the rest is of a later one.
            Err(kube::Error::Api(status)) if status.code == 410 && page.continue_token.is_some() => {
                let token = status.metadata.as_ref().and_then(|metadata| metadata.continue_.clone());
                Some(token.ok_or("Pods: the list took too long")?)
            }
            Err(error) => {
                let forbidden = matches!(&error, kube::Error::Api(status) if status.code == 403);
                let hint = if forbidden {
                    "; grant list on pods to whoever that is"
                } else {
                    ""
                };
                return Err(format!("Pods: {}{hint}", explain(&error)));
            }
        };
        match token.filter(|token| !token.is_empty()) {
            Some(token) => page.continue_token = Some(token),
            None => return Ok(pods),
        }
    }
}

/// Which image references the Pods of the cluster use that have not ended, as they are written there and as they were before that.
///
/// # Errors
///
/// As [`list`].
pub async fn images(client: &Client) -> Result<BTreeSet<String>, String> {
    let mut images = BTreeSet::new();
    list(client, None, |pod| {
        for name in pod.images.iter().flat_map(Used::names) {
            if !images.contains(name) {
                images.insert(name.to_owned());
            }
        }
    })
    .await?;
    Ok(images)
}

#[derive(Deserialize)]
struct List {
    #[serde(default)]
    metadata: ListMetadata,
    items: Vec<Object>,
}

#[derive(Default, Deserialize)]
struct ListMetadata {
    #[serde(rename = "continue", default)]
    token: Option<String>,
}

#[derive(Deserialize)]
struct Object {
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    namespace: Box<str>,
    #[serde(default)]
    name: Box<str>,
    deletion_timestamp: Option<IgnoredAny>,
    #[serde(default)]
    owner_references: Vec<Reference>,
    #[serde(default)]
    labels: Labels,
    #[serde(default)]
    annotations: Annotations,
}

#[derive(Deserialize)]
struct Reference {
    kind: Box<str>,
    name: Box<str>,
    #[serde(default)]
    controller: bool,
}

#[derive(Default, Deserialize)]
struct Labels {
    #[serde(rename = "pod-template-hash")]
    template: Option<Box<str>>,
}

/// Those that say what an image was, by the container's or the volume's name.
#[derive(Default)]
struct Annotations {
    images: BTreeMap<Box<str>, Box<str>>,
    volumes: BTreeMap<Box<str>, Box<str>>,
    mirror: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    containers: Vec<Container>,
    init_containers: Vec<Container>,
    ephemeral_containers: Vec<Container>,
    volumes: Vec<Volume>,
}

#[derive(Deserialize)]
struct Container {
    name: Box<str>,
    #[serde(default)]
    image: Box<str>,
}

#[derive(Deserialize)]
struct Volume {
    name: Box<str>,
    image: Option<Image>,
}

#[derive(Deserialize)]
struct Image {
    #[serde(default)]
    reference: Box<str>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    container_statuses: Vec<ContainerStatus>,
    init_container_statuses: Vec<ContainerStatus>,
    ephemeral_container_statuses: Vec<ContainerStatus>,
}

#[derive(Deserialize)]
struct ContainerStatus {
    name: Box<str>,
    #[serde(rename = "imageID", default)]
    image_id: Box<str>,
    #[serde(default)]
    state: State,
}

#[derive(Default, Deserialize)]
struct State {
    running: Option<IgnoredAny>,
}

impl Object {
    /// None for one that is going, and for one that nobody can restart.
    fn pod(self) -> Option<Pod> {
        let Self { metadata, spec, status } = self;
        let mut annotations = metadata.annotations;
        if metadata.deletion_timestamp.is_some() || annotations.mirror {
            return None;
        }
        let mut images = Vec::new();
        for (containers, statuses, ephemeral) in [
            (spec.containers, status.container_statuses, false),
            (spec.init_containers, status.init_container_statuses, false),
            (spec.ephemeral_containers, status.ephemeral_container_statuses, true),
        ] {
            for Container { name, image } in containers {
                let running = statuses.iter().find(|status| status.name == name);
                let running = running.filter(|status| status.state.running.is_some());
                images.push(Used {
                    source: annotations.images.remove(&name),
                    running: running
                        .map(|status| status.image_id.clone())
                        .filter(|id| !id.is_empty()),
                    container: name,
                    image,
                    ephemeral,
                });
            }
        }
        for Volume { name, image } in spec.volumes {
            let Some(Image { reference }) = image else { continue };
            images.push(Used {
                source: annotations.volumes.remove(&name),
                container: name,
                image: reference,
                running: None,
                ephemeral: false,
            });
        }
        let mut owners = metadata.owner_references.into_iter();
        let controller = owners.find(|owner| owner.controller && owner.is_plain());
        Some(Pod {
            owner: match controller {
                Some(Reference { kind, name, .. }) => owner(kind, name, metadata.labels.template.as_deref()),
                None => Owner {
                    kind: "Pod".into(),
                    name: metadata.name.clone(),
                },
            },
            namespace: metadata.namespace,
            name: metadata.name,
            images,
        })
    }
}

impl Reference {
    /// Whoever makes a Pod may write anything here, and people read it on a terminal and paste it into a shell.
    fn is_plain(&self) -> bool {
        let name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
        let begins = |text: &str| text.starts_with(|first: char| first.is_ascii_alphanumeric());
        begins(&self.name)
            && self.name.bytes().all(name)
            && begins(&self.kind)
            && self.kind.bytes().all(|byte| byte.is_ascii_alphanumeric())
    }
}

/// A ReplicaSet that has its Pods' hash at the end of its name is a Deployment's.
fn owner(kind: Box<str>, name: Box<str>, template: Option<&str>) -> Owner {
    let deployment = match (&*kind, template) {
        ("ReplicaSet", Some(hash)) => name.strip_suffix(hash).and_then(|name| name.strip_suffix('-')),
        _ => None,
    };
    match deployment {
        Some(deployment) if !deployment.is_empty() => Owner {
            kind: "Deployment".into(),
            name: deployment.into(),
        },
        _ => Owner { kind, name },
    }
}

impl<'de> Deserialize<'de> for Annotations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Annotations;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("annotations")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Annotations, A::Error> {
                let mut found = Annotations::default();
                while let Some(key) = map.next_key::<String>()? {
                    if let Some(container) = key.strip_prefix("image.waypost.dev/") {
                        found.images.insert(container.into(), map.next_value()?);
                    } else if let Some(volume) = key.strip_prefix("volume.waypost.dev/") {
                        found.volumes.insert(volume.into(), map.next_value()?);
                    } else {
                        found.mirror |= key == "kubernetes.io/config.mirror";
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(found)
            }
        }

        deserializer.deserialize_map(Visitor)
    }
}

/// So many Pods are asked for at a time, as client-go does.
const PAGE: u32 = 500;

const HAVE_NOT_ENDED: &str = "status.phase!=Succeeded,status.phase!=Failed";

const DEADLINE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{super::testing::*, *};

    fn pod(name: &str, more: Value) -> Value {
        let mut pod = json!({
            "metadata": {"name": name, "namespace": "n", "uid": "u", "managedFields": [{"manager": "x"}],
                "labels": {"app": "x", "pod-template-hash": "5f7d"},
                "annotations": {"a": "b", "image.waypost.dev/app": "myorg/app:1", "volume.waypost.dev/data": "myorg/data"},
                "ownerReferences": [{"kind": "Node", "name": "x"}, {"kind": "ReplicaSet", "name": "web-5f7d", "controller": true}]},
            "spec": {
                "containers": [{"name": "app", "image": "a.io/app:1", "resources": {}}, {"name": "waits", "image": "w"}],
                "initContainers": [{"name": "done", "image": "i"}, {"name": "sidecar", "image": "s"}],
                "ephemeralContainers": [{"name": "debug", "image": "d"}],
                "volumes": [{"name": "data", "image": {"reference": "a.io/data"}}, {"name": "none", "emptyDir": {}}],
            },
            "status": {
                "containerStatuses": [{"name": "app", "imageID": "a.io/app@sha256:1", "state": {"running": {"startedAt": "t"}}},
                    {"name": "waits", "imageID": "", "state": {"waiting": {"reason": "x"}}}],
                "initContainerStatuses": [{"name": "done", "imageID": "i@sha256:2", "state": {"terminated": {"exitCode": 0}}},
                    {"name": "sidecar", "imageID": "s@sha256:3", "state": {"running": {}}}],
                "ephemeralContainerStatuses": [{"name": "debug", "imageID": "d@sha256:4", "state": {"running": {}}}],
            },
        });
        for (at, value) in more.as_object().unwrap() {
            *pod.pointer_mut(at).unwrap() = value.clone();
        }
        pod
    }

    fn page(token: &str, items: &[Value]) -> Answer {
        Answer::Json(
            200,
            json!({"kind": "PodList", "apiVersion": "v1", "metadata": {"continue": token, "resourceVersion": "1"}, "items": items}),
        )
    }

    async fn listed(server: &Server, namespace: Option<&str>) -> Result<Vec<Pod>, String> {
        let mut pods = Vec::new();
        let count = list(&server.client(), namespace, |pod| pods.push(pod)).await?;
        assert_eq!(count, pods.len());
        Ok(pods)
    }

    #[tokio::test]
    async fn of_a_pod_its_owner_and_its_images_are_read_and_what_each_was_and_what_runs() {
        let server = Server::default();
        let deleted = json!({"/metadata/annotations": {"kubernetes.io/config.mirror": "x"}});
        server.will([
            page("more", &[pod("web-1", json!({})), pod("mirror", deleted)]),
            page(
                "",
                &[
                    pod("alone", json!({"/metadata/ownerReferences": []})),
                    pod("odd", json!({"/metadata/ownerReferences/1/name": "web-5f7d; rm -rf ~"})),
                ],
            ),
        ]);
        let pods = listed(&server, None).await.unwrap();
        let text: Vec<_> = pods[0]
            .images
            .iter()
            .map(|used| {
                let text = |text: &Option<Box<str>>| text.as_deref().unwrap_or("-").to_owned();
                let (source, running) = (text(&used.source), text(&used.running));
                format!(
                    "{} {} {source} {running} {}",
                    used.container, used.image, used.ephemeral
                )
            })
            .collect();
        assert_eq!(
            text,
            [
                "app a.io/app:1 myorg/app:1 a.io/app@sha256:1 false",
                "waits w - - false",
                "done i - - false",
                "sidecar s - s@sha256:3 false",
                "debug d - d@sha256:4 true",
                "data a.io/data myorg/data - false",
            ]
        );
        let owners: Vec<_> = pods
            .iter()
            .map(|pod| format!("{}/{}", pod.owner.kind, pod.owner.name))
            .collect();
        assert_eq!(owners, ["Deployment/web", "Pod/alone", "Pod/odd"]);
        let asked = server.asked();
        assert!(
            asked[0].starts_with("/api/v1/pods?") && asked[0].contains("limit=500"),
            "{asked:?}"
        );
        assert!(asked[1].contains("continue=more"), "{asked:?}");
    }

    #[tokio::test]
    async fn a_list_that_took_too_long_goes_on_and_one_that_is_refused_says_which_right_is_missing() {
        let server = Server::default();
        let expired = json!({"kind": "Status", "status": "Failure", "code": 410, "reason": "Expired", "message": "too old",
            "metadata": {"continue": "again"}});
        server.will([
            page("more", &[pod("one", json!({}))]),
            Answer::Json(410, expired),
            page("", &[pod("two", json!({}))]),
        ]);
        assert_eq!(listed(&server, Some("n")).await.unwrap().len(), 2);
        let asked = server.asked();
        assert!(
            asked[2].starts_with("/api/v1/namespaces/n/pods?") && asked[2].contains("continue=again"),
            "{asked:?}"
        );

        let refused = json!({"kind": "Status", "status": "Failure", "code": 403, "reason": "Forbidden", "message": "pods is forbidden"});
        server.will([Answer::Json(403, refused)]);
        let error = listed(&server, None).await.unwrap_err();
        assert!(
            error.contains("pods is forbidden") && error.contains("grant list on pods"),
            "{error}"
        );
    }

    #[test]
    fn a_replica_set_of_its_own_is_no_deployments() {
        let of = |kind: &str, name: &str, hash| {
            let Owner { kind, name } = owner(kind.into(), name.into(), hash);
            format!("{kind}/{name}")
        };
        assert_eq!(of("ReplicaSet", "web-5f7d", Some("5f7d")), "Deployment/web");
        assert_eq!(of("ReplicaSet", "web", None), "ReplicaSet/web");
        assert_eq!(of("ReplicaSet", "web-1", Some("5f7d")), "ReplicaSet/web-1");
        assert_eq!(of("StatefulSet", "db", None), "StatefulSet/db");
    }
}
