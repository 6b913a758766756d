//! Where manifests have Pods: by the kinds of Kubernetes that have a Pod template.
//!
//! What other kinds mean by a field called `image` or `template` is theirs to say: they are left alone, and the webhook sees to their
//! Pods when they are created.

use std::borrow::Cow;

use super::read::{Document, Id};
use crate::{
    reference::Reference,
    review::{Annotations, ImageSlot, MIRROR, PodView, PullSecrets, SlotKind},
};

/// A Pod, or what Pods will be made from.
pub(super) struct Pod<'d> {
    /// The object that it is in, for messages: `Deployment/web`.
    pub(super) object: String,
    /// The object's namespace, where it says one.
    pub(super) namespace: Option<&'d str>,
    /// What is decided by, as of a new Pod after the API server's defaults.
    pub(super) view: PodView<'d>,
    /// The place of each of the view's slots.
    pub(super) places: Vec<Place>,
    /// The Pod's spec.
    pub(super) spec: Id,
    /// Its `imagePullSecrets`, where written.
    pub(super) pull_secrets: Option<Id>,
}

/// The place of an image.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// The mapping that has the image and the pull policy.
    pub(super) mapping: Id,
    /// The image, or an alias for it.
    pub(super) image: Id,
    /// The pull policy, or an alias for it.
    pub(super) pull_policy: Option<Id>,
}

/// Every Pod of a document.
///
/// # Errors
///
/// The alias too many: a few lines can stand for millions of Pods.
pub(super) fn pods<'d>(document: &'d Document<'_>) -> Result<Vec<Pod<'d>>, Id> {
    let mut found = Vec::new();
    let mut left = 2 * document.len() + 10_000;
    // Lists of lists of lists, by a loop: a list may be an alias for what holds it.
    let mut objects = vec![(document.root(), None)];
    while let Some((object, listed_as)) = objects.pop() {
        left = left.checked_sub(1).ok_or(object)?;
        let text = |id: Option<Id>| id.and_then(|id| document.text(id));
        let own_kind = || {
            Some((
                text(document.get(object, "apiVersion"))?,
                text(document.get(object, "kind"))?,
            ))
        };
        let Some((version, kind)) = own_kind().or(listed_as) else {
            continue;
        };
        let group = version.split_once('/').map_or("", |(group, _)| group);
        if let Some(items) = kind.strip_suffix("List").filter(|_| is_known(group)) {
            let entries = document.get(object, "items").and_then(|items| document.items(items));
            // The items of a typed list need not say what they are.
            let listed_as = (!items.is_empty()).then_some((version, items));
            objects.extend(entries.unwrap_or_default().iter().rev().map(|item| (*item, listed_as)));
            continue;
        }
        let Some(template) = path_to_template(group, kind)
            .and_then(|path| path.iter().try_fold(object, |node, key| document.get(node, key)))
        else {
            continue;
        };
        let Some(spec) = document.get(template, "spec") else {
            continue;
        };
        let metadata = document.get(object, "metadata");
        let of_metadata = |key| text(metadata.and_then(|metadata| document.get(metadata, key)));
        let name = of_metadata("name").or_else(|| of_metadata("generateName"));
        let template_metadata = document.get(template, "metadata");
        let (view, places, pull_secrets) = view(document, template_metadata, spec, &mut left)?;
        found.push(Pod {
            object: format!("{kind}/{}", name.unwrap_or_default()),
            namespace: of_metadata("namespace").filter(|namespace| !namespace.is_empty()),
            view,
            places,
            spec: document.resolve(spec),
            pull_secrets,
        });
    }
    Ok(found)
}

/// The keys that lead from an object to what has the `metadata` and `spec` of a Pod.
fn path_to_template(group: &str, kind: &str) -> Option<&'static [&'static str]> {
    Some(match (group, kind) {
        ("", "Pod") => &[],
        ("", "PodTemplate") => &["template"],
        ("", "ReplicationController")
        | ("apps", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet")
        | ("batch", "Job") => &["spec", "template"],
        ("batch", "CronJob") => &["spec", "jobTemplate", "spec", "template"],
        _ => return None,
    })
}

/// The API groups that have a kind with a Pod template.
fn is_known(group: &str) -> bool {
    matches!(group, "" | "apps" | "batch")
}

type Viewed<'d> = (PodView<'d>, Vec<Place>, Option<Id>);

fn view<'d>(document: &'d Document<'_>, metadata: Option<Id>, spec: Id, left: &mut usize) -> Result<Viewed<'d>, Id> {
    let mut view = PodView::default();
    let mut places = Vec::new();
    for kind in [
        SlotKind::InitContainer,
        SlotKind::Container,
        SlotKind::EphemeralContainer,
        SlotKind::Volume,
    ] {
        let elements = document
            .get(spec, kind.list())
            .and_then(|list| document.items(list))
            .unwrap_or_default();
        for (index, element) in elements.iter().enumerate() {
            *left = left.checked_sub(1).ok_or(*element)?;
            let (mapping, image, pull_policy) = if kind == SlotKind::Volume {
                (document.get(*element, "image"), "reference", "pullPolicy")
            } else {
                (Some(*element), "image", "imagePullPolicy")
            };
            let Some(mapping) = mapping.map(|mapping| document.resolve(mapping)) else {
                continue;
            };
            let Some(image) = document.get(mapping, image) else {
                continue;
            };
            let Some(text) = document.text(image) else { continue };
            let name = document.get(*element, "name").and_then(|name| document.text(name));
            let pull_policy = document.get(mapping, pull_policy);
            let written = pull_policy
                .and_then(|policy| document.text(policy))
                .filter(|policy| !policy.is_empty());
            view.slots.push(ImageSlot {
                kind,
                index,
                name: name.unwrap_or_default().into(),
                image: text.into(),
                pull_policy: Some(written.unwrap_or_else(|| default_pull_policy(text)).into()),
            });
            places.push(Place {
                mapping,
                image,
                pull_policy,
            });
        }
    }
    let strings = |key| {
        let mapping = metadata.and_then(|metadata| document.get(metadata, key));
        mapping.map_or_else(Vec::new, |mapping| document.all(mapping))
    };
    view.labels = strings("labels")
        .into_iter()
        .filter_map(|(key, value)| {
            let value = document.text(value).or(document.is_null(value).then_some(""))?;
            Some((Cow::Borrowed(key), Cow::Borrowed(value)))
        })
        .collect();
    view.annotations = Annotations {
        mirror: strings("annotations").iter().any(|(key, _)| *key == MIRROR),
        ..Annotations::default()
    };
    let pull_secrets = document.get(spec, "imagePullSecrets");
    if let Some(list) = pull_secrets {
        view.pull_secrets = match document.items(list) {
            Some(items) => PullSecrets {
                names: items
                    .iter()
                    .map(|item| document.get(*item, "name").and_then(|name| document.text(name)))
                    .map(|name| name.unwrap_or_default().into())
                    .collect(),
                present: true,
                unusable: false,
            },
            None => PullSecrets {
                unusable: !document.is_null(list),
                ..PullSecrets::default()
            },
        };
    }
    Ok((view, places, pull_secrets))
}

/// What the API server sets where nothing is written, before it calls webhooks: `SetDefaults_Container` in
/// `k8s.io/kubernetes/pkg/apis/core/v1/defaults.go`. A name without tag has the tag `latest`, unless it has a digest.
pub(super) fn default_pull_policy(image: &str) -> &'static str {
    let is_latest = Reference::parse(image).is_ok_and(|image| match image.tag() {
        Some(tag) => tag == "latest",
        None => image.digest().is_none(),
    });
    if is_latest { "Always" } else { "IfNotPresent" }
}
