//! What is changed of a Pod: collected image by image, written as one patch.

use std::borrow::Cow;

use serde::Serialize;
use smallvec::SmallVec;

use super::Scope;
use crate::{
    decide::{Decision, Outcome},
    policy::{Context, PullPolicy},
    reference::Reference,
    review::{Answer, ImageSlot, Patch, PodView, Pointer, SlotKind},
    snapshot::Snapshot,
};

/// The API server refuses a Pod with more bytes of annotations:
/// `TotalAnnotationSizeLimitB` in `k8s.io/apimachinery/pkg/api/validation/objectmeta.go`.
const MOST_ANNOTATION_BYTES: usize = 256 << 10;

/// The annotation with the rules that decided.
const RULES: &str = "waypost.dev/rules";

/// Changes to a Pod.
pub(super) struct Changes<'p, 'a> {
    scope: Scope<'p, 'a>,
    pod: &'p PodView<'a>,
    snapshot: &'p Snapshot,
    patch: Patch,
    /// Secrets to add, each once.
    secrets: SmallVec<[&'p str; 2]>,
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
            secrets: SmallVec::new(),
            rewritten: SmallVec::new(),
        }
    }

    /// Takes a decision in. A rewrite that needs a Secret which the Pod lacks and cannot be given turns into [`Outcome::NoCredential`].
    ///
    /// # Errors
    ///
    /// The name of that Secret.
    pub(super) fn image(
        &mut self,
        slot: &'p ImageSlot<'a>,
        reference: &Reference<'_>,
        decision: &mut Decision<'p>,
        context: &Context<'_>,
    ) -> Result<(), &'p str> {
        if decision.outcome == Outcome::Denied {
            return Ok(());
        }
        let covered = |reference: &Reference<'_>| {
            self.snapshot
                .credentials
                .cover(reference, context.namespace, context.namespace_labels)
        };
        // Targets were checked when they were made.
        let has_credential = match decision.target.as_deref() {
            _ if self.snapshot.credentials.is_empty() => false,
            Some(target) => Reference::parse(target).is_ok_and(|target| covered(&target)),
            None => covered(reference),
        };
        let settings = self.snapshot.policies.settings();
        let managed = (has_credential && decision.pull.inject).then_some(&*settings.pull_secret);
        let pull = decision.pull;
        let needed = pull
            .secrets
            .iter()
            .chain(pull.common_secrets)
            .map(|secret| &**secret)
            .chain(managed);
        match self.scope {
            Scope::Create => {
                for secret in needed {
                    if !self.pod.pull_secrets.contains(secret) && !self.secrets.contains(&secret) {
                        self.secrets.push(secret);
                    }
                }
            }
            Scope::Update(old) | Scope::Ephemeral(old) if decision.outcome == Outcome::Rewritten => {
                if let Some(missing) = needed.into_iter().find(|secret| !old.pull_secrets.contains(secret)) {
                    decision.outcome = Outcome::NoCredential;
                    decision.target = None;
                    return Err(missing);
                }
            }
            Scope::Update(_) | Scope::Ephemeral(_) => {}
        }
        if let (Some(target), Some(rule)) = (&decision.target, decision.rule) {
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
        // The pull policy of a Pod that exists cannot be changed: see `finish`.
        if !matches!(self.scope, Scope::Update(_)) {
            let present = slot.pull_policy.as_deref();
            // The author named a registry that Waypost keeps a credential for: it is pulled as if Waypost had.
            let named = decision.outcome == Outcome::Unmatched && has_credential && present != Some("Never");
            if named && decision.pull.policy.is_none() {
                decision.pull.policy = Some(settings.pull_policy).filter(|policy| *policy != PullPolicy::Unchanged);
            }
            if let Some(policy) = decision.pull.policy_for(present) {
                self.patch.add(
                    Pointer::Element(slot.kind.list(), slot.index, slot.kind.pull_policy_path()),
                    policy,
                );
            }
        }
        Ok(())
    }

    /// Writes the patch.
    pub(super) fn finish(mut self, answer: &mut Answer) {
        match self.scope {
            Scope::Create => {
                self.add_secrets();
                self.annotate(answer);
            }
            Scope::Update(old) => {
                self.restore(old);
                self.annotate(answer);
            }
            Scope::Ephemeral(_) => {}
        }
        answer.patch = self.patch.into_json();
    }

    /// Appends, never replaces.
    fn add_secrets(&mut self) {
        let present = &self.pod.pull_secrets;
        if self.secrets.is_empty() || present.unusable {
            return;
        }
        if present.present {
            for name in &self.secrets {
                self.patch
                    .add(Pointer::Plain("/spec/imagePullSecrets/-"), SecretName { name });
            }
        } else {
            let names: SmallVec<[SecretName<'_>; 2]> = self.secrets.iter().map(|name| SecretName { name }).collect();
            self.patch.add(Pointer::Plain("/spec/imagePullSecrets"), &names[..]);
        }
    }

    /// What cannot be changed of a Pod that exists is put back where a manifest that is applied again would undo what admission set:
    /// the API server refuses anything else.
    fn restore(&mut self, old: &PodView<'_>) {
        for slot in &self.pod.slots {
            let Some(old) = old.slot(slot.kind, &slot.name) else {
                continue;
            };
            let path = Pointer::Element(slot.kind.list(), slot.index, slot.kind.pull_policy_path());
            match (&old.pull_policy, &slot.pull_policy) {
                (Some(old), new) if new.as_ref() != Some(old) => self.patch.add(path, old),
                (None, Some(_)) => self.patch.remove(path),
                _ => {}
            }
        }
        let (old, new) = (&old.pull_secrets, &self.pod.pull_secrets);
        if old.names != new.names && !old.unusable && !new.unusable {
            let path = Pointer::Plain("/spec/imagePullSecrets");
            if old.present {
                let names: SmallVec<[SecretName<'_>; 4]> = old.names.iter().map(|name| SecretName { name }).collect();
                self.patch.add(path, &names[..]);
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
            answer.warnings.push(
                "waypost: the original images are not recorded: the Pod's annotations would become too large"
                    .to_owned(),
            );
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
            let mut all: std::collections::BTreeMap<&str, &str> =
                originals.iter().map(|(key, value)| (&**key, *value)).collect();
            all.insert(RULES, &rules);
            self.patch.add(Pointer::Plain("/metadata/annotations"), &all);
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
        for image in &self.rewritten {
            let name: Cow<'_, str> = match image.kind {
                SlotKind::Volume => format!("volume/{}", image.name).into(),
                _ => image.name.into(),
            };
            entries.retain(|(present, _)| *present != name);
            entries.push((name, image.rule));
        }
        entries.sort();
        entries.dedup();
        let mut text = String::with_capacity(entries.iter().map(|(name, rule)| name.len() + rule.len() + 2).sum());
        for (name, rule) in &entries {
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
