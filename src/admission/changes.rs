//! What is changed of a Pod: collected image by image, written as one patch.

use std::{borrow::Cow, collections::BTreeMap};

use serde::Serialize;
use smallvec::SmallVec;

use super::{Judged, Old, Scope, excerpt, shown};
use crate::{
    reference::Reference,
    review::{Answer, ImageSlot, Patch, PodView, Pointer, RULES, SlotKind},
    snapshot::Snapshot,
};

/// The API server refuses a Pod with more bytes of annotations:
/// `TotalAnnotationSizeLimitB` in `k8s.io/apimachinery/pkg/api/validation/objectmeta.go`.
const MOST_ANNOTATION_BYTES: usize = 256 << 10;

/// Changes to a Pod.
pub(super) struct Changes<'p, 'a> {
    scope: Scope<'p, 'a>,
    pod: &'p PodView<'a>,
    snapshot: &'p Snapshot,
    patch: Patch,
    rewritten: SmallVec<[Rewritten<'p>; 4]>,
}

struct Rewritten<'p> {
    kind: SlotKind,
    name: &'p str,
    original: &'p str,
    rule: &'p str,
}

#[derive(Serialize)]
struct SecretName<'p> {
    name: &'p str,
}

impl<'p, 'a> Changes<'p, 'a> {
    pub(super) fn new(scope: Scope<'p, 'a>, pod: &'p PodView<'a>, snapshot: &'p Snapshot) -> Self {
        Self {
            scope,
            pod,
            snapshot,
            patch: Patch::default(),
            rewritten: SmallVec::new(),
        }
    }

    /// Takes in what becomes of an image.
    pub(super) fn image(&mut self, slot: &'p ImageSlot<'a>, judged: &Judged<'p>) {
        if let (Some(target), Some(rule)) = (&judged.decision.target, judged.decision.rule) {
            self.patch.replace(
                Pointer::Element(slot.kind.list(), slot.index, slot.kind.image_path()),
                target,
            );
            let rule = self.snapshot.policies.rule(rule).id();
            self.rewritten.push(Rewritten {
                kind: slot.kind,
                name: &slot.name,
                original: &slot.image,
                rule,
            });
        }
        if let Some(policy) = judged.pull_policy {
            self.patch.add(
                Pointer::Element(slot.kind.list(), slot.index, slot.kind.pull_policy_path()),
                policy,
            );
        }
    }

    /// Writes the patch. `secrets` are appended to those of a Pod that is new.
    pub(super) fn finish(mut self, secrets: &[&str], answer: &mut Answer) {
        match self.scope {
            Scope::Create => {
                self.add_secrets(secrets);
                self.annotate(answer);
            }
            Scope::Update(old) => {
                self.restore(old, answer);
                self.annotate(answer);
            }
            Scope::Ephemeral(_) => {}
        }
        answer.patch = self.patch.into_json();
    }

    /// Appends, never replaces.
    fn add_secrets(&mut self, secrets: &[&str]) {
        if secrets.is_empty() {
            return;
        }
        if self.pod.pull_secrets.present {
            for name in secrets {
                self.patch
                    .add_value(Pointer::Plain("/spec/imagePullSecrets/-"), SecretName { name });
            }
        } else {
            let names: SmallVec<[SecretName<'_>; 2]> = secrets.iter().map(|name| SecretName { name }).collect();
            self.patch
                .add_value(Pointer::Plain("/spec/imagePullSecrets"), &names[..]);
        }
    }

    /// What cannot be changed of a Pod that exists is put back where a manifest that is applied again would undo what admission set:
    /// the API server refuses anything else.
    fn restore(&mut self, old: &Old<'_, '_>, answer: &mut Answer) {
        for slot in &self.pod.slots {
            let Some(old) = old.slot(slot) else {
                continue;
            };
            if slot.kind == SlotKind::Volume && old.image != slot.image {
                let path = Pointer::Element(slot.kind.list(), slot.index, slot.kind.image_path());
                self.patch.replace(path, &old.image);
                // A manifest applied again says what admission has moved: there is nothing to tell.
                let same = Reference::parse(&slot.image)
                    .is_ok_and(|new| old.image.ends_with(&format!("/{}{}", new.repository(), new.suffix())));
                if !same {
                    answer.warn(format_args!(
                        "waypost: {} stays {}: the image of a volume cannot be changed once the Pod exists",
                        shown(slot),
                        excerpt(&old.image)
                    ));
                }
            }
            let path = Pointer::Element(slot.kind.list(), slot.index, slot.kind.pull_policy_path());
            match (&old.pull_policy, &slot.pull_policy) {
                (Some(old), new) if new.as_ref() != Some(old) => self.patch.add(path, old),
                (None, Some(_)) => self.patch.remove(path),
                _ => {}
            }
        }
        let (old, new) = (&old.pod.pull_secrets, &self.pod.pull_secrets);
        if old.names != new.names && !old.unusable && !new.unusable && self.pod.has_spec {
            let path = Pointer::Plain("/spec/imagePullSecrets");
            if old.present {
                let names: SmallVec<[SecretName<'_>; 4]> = old.names.iter().map(|name| SecretName { name }).collect();
                self.patch.add_value(path, &names[..]);
            } else {
                self.patch.remove(path);
            }
        }
    }

    /// Records what the images were, for people: nothing here reads it back as anything but text to keep.
    fn annotate(&mut self, answer: &mut Answer) {
        let annotations = &self.pod.annotations;
        // A name that no container can have is for the API server to refuse, in its own words.
        self.rewritten.retain(|image| is_label(image.name));
        if self.rewritten.is_empty() || annotations.unusable || !self.pod.has_metadata {
            return;
        }
        let originals: SmallVec<[(String, &str); 4]> = self
            .rewritten
            .iter()
            .map(|image| {
                let prefix = if image.kind == SlotKind::Volume {
                    "volume"
                } else {
                    "image"
                };
                (format!("{prefix}.waypost.dev/{}", image.name), image.original)
            })
            .collect();
        let rules = self.rules();
        let added = originals
            .iter()
            .map(|(key, value)| key.len() + value.len())
            .sum::<usize>()
            + RULES.len()
            + rules.len();
        if annotations.bytes + added > MOST_ANNOTATION_BYTES {
            answer.warn(format_args!(
                "waypost: the original images are not recorded: the Pod's annotations would become too large"
            ));
            return;
        }
        if annotations.present {
            for (key, value) in &originals {
                self.patch.add(Pointer::Key("/metadata/annotations", key), value);
            }
            if annotations.rules.as_deref() != Some(&rules) {
                self.patch.add(Pointer::Key("/metadata/annotations", RULES), &rules);
            }
        } else {
            let mut all: BTreeMap<&str, &str> = originals.iter().map(|(key, value)| (&**key, *value)).collect();
            all.insert(RULES, &rules);
            self.patch.add_value(Pointer::Plain("/metadata/annotations"), &all);
        }
    }

    /// `container=policy/rule`, sorted; entries of other reviews stay. A volume may have a container's name: `volume/name=…`.
    fn rules(&self) -> String {
        let present = self.pod.annotations.rules.as_deref().unwrap_or_default();
        let mut entries: SmallVec<[(Cow<'_, str>, &str); 8]> = present
            .split(',')
            .filter_map(|entry| entry.trim().split_once('='))
            .map(|(name, rule)| (name.into(), rule))
            .collect();
        entries.extend(self.rewritten.iter().map(|image| {
            let name = match image.kind {
                SlotKind::Volume => format!("volume/{}", image.name).into(),
                _ => image.name.into(),
            };
            (name, image.rule)
        }));
        // Stable: of a name that comes twice the last counts.
        entries.sort_by(|(left, _), (right, _)| left.cmp(right));
        let mut text = String::with_capacity(entries.iter().map(|(name, rule)| name.len() + rule.len() + 2).sum());
        for (at, (name, rule)) in entries.iter().enumerate() {
            if entries.get(at + 1).is_some_and(|(next, _)| next == name) {
                continue;
            }
            if !text.is_empty() {
                text.push(',');
            }
            text.extend([&**name, "=", rule]);
        }
        text
    }
}

/// A DNS label, as the names of containers and volumes are.
fn is_label(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}
