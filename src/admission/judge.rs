//! What becomes of each image of a Pod: the one place that says so, for reviews and for manifests. What it says is written by others,
//! as a patch or into a text.

use std::fmt::{self, Display};

use smallvec::SmallVec;

use super::{OPT_OUT_LABEL, Scope};
use crate::{
    decide::{Decision, Outcome, Would, decide},
    policy::{Action, Context, Labels, Mode, PullPolicy, Replicate, Template},
    reference::Reference,
    review::{ImageSlot, PodView},
    snapshot::{NoLabels, Snapshot},
};

/// Judges the images of one Pod, and keeps in mind which Secrets they need.
pub(crate) struct Judge<'p, 'a> {
    scope: Scope<'p, 'a>,
    pod: &'p PodView<'a>,
    snapshot: &'p Snapshot,
    context: Context<'p>,
    /// Whether the namespace is known. No registry's credential is for one that is not.
    namespace_known: bool,
    opted_out: bool,
    /// Whether it is a mirror Pod.
    mirror: bool,
    /// Secrets that are needed, each once.
    needed: SmallVec<[&'p str; 2]>,
}

/// What becomes of an image.
pub(crate) struct Judged<'p> {
    /// The image as it came; none where it is no reference.
    pub(crate) reference: Option<Reference<'p>>,
    /// Why it is none.
    unparsable: Option<String>,
    /// What the rules made of it; with a target where it is rewritten.
    pub(crate) decision: Decision<'p>,
    /// The pull policy to set.
    pub(crate) pull_policy: Option<&'static str>,
    /// The Secret that it lacks, for [`Outcome::NoCredential`].
    missing: Option<&'p str>,
}

impl<'p, 'a> Judge<'p, 'a> {
    /// For a Pod of the namespace; without labels where that is not known.
    pub(crate) fn new(
        scope: Scope<'p, 'a>,
        pod: &'p PodView<'a>,
        snapshot: &'p Snapshot,
        namespace: &'p str,
        namespace_labels: Option<&'p dyn Labels>,
    ) -> Self {
        let namespace_known = namespace_labels.is_some();
        let namespace_labels = namespace_labels.unwrap_or(&NoLabels);
        let opts_out = |labels: &dyn Labels| labels.value(OPT_OUT_LABEL) == Some("disabled");
        // Of an update to ephemeral containers the API server drops everything else, after admission: labels and annotations that
        // come with it are the caller's claim. Whether a Pod is a mirror never changes.
        let (labelled, stored) = match scope {
            Scope::Create => (pod, pod),
            Scope::Update(old) => (pod, old.pod),
            Scope::Ephemeral(old) => (old.pod, old.pod),
        };
        Self {
            scope,
            pod,
            snapshot,
            context: Context {
                namespace,
                namespace_labels,
                pod_labels: &labelled.labels,
            },
            namespace_known,
            opted_out: snapshot.policies.settings().opt_out_allowed
                && (opts_out(&labelled.labels) || opts_out(namespace_labels)),
            mirror: stored.annotations.mirror,
            needed: SmallVec::new(),
        }
    }

    /// Judges one of the Pod's images; none where it is not to be decided on.
    pub(crate) fn image(&mut self, slot: &'p ImageSlot<'a>) -> Option<Judged<'p>> {
        let set = &*self.snapshot.policies;
        if self.mirror {
            // The API server refuses mirror Pods with Secrets, and the kubelet compares their hash.
            let reference = Reference::parse(&slot.image).ok();
            return Some(Judged::left(set.left(Outcome::MirrorPod), reference));
        }
        if !self.scope.decides_on(slot) {
            return None;
        }
        let reference = match Reference::parse(&slot.image) {
            Ok(reference) if !reference.registry().is_empty() => reference,
            unreadable => {
                let why = unreadable.err().map_or_else(
                    || "nodes read no registry in it".to_owned(),
                    |error| error.kind().to_string(),
                );
                let mut judged = Judged::left(set.left(Outcome::Unparsable), None);
                judged.unparsable = Some(why);
                return Some(judged);
            }
        };
        let decision = decide(
            self.snapshot,
            &self.context,
            &reference,
            self.scope.pull_policy(slot),
            self.opted_out,
        );
        let mut judged = Judged::left(decision, Some(reference));
        if judged.decision.outcome != Outcome::Denied {
            self.pulled(slot, &mut judged);
        }
        Some(judged)
    }

    /// How it is pulled. A rewrite that needs a Secret which the Pod lacks and cannot be given turns into [`Outcome::NoCredential`].
    fn pulled(&mut self, slot: &ImageSlot<'_>, judged: &mut Judged<'p>) {
        let covered = |reference: &Reference<'_>| {
            self.namespace_known
                && self
                    .snapshot
                    .registries
                    .covers(reference, self.context.namespace, self.context.namespace_labels)
        };
        let decision = &mut judged.decision;
        // Targets were checked when they were made.
        let has_credential = match decision.target.as_deref() {
            _ if !self.snapshot.registries.any_credential() => false,
            Some(target) => Reference::parse(target).is_ok_and(|target| covered(&target)),
            None => judged.reference.as_ref().is_some_and(covered),
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
                    if !self.needed.contains(&secret) {
                        self.needed.push(secret);
                    }
                }
            }
            Scope::Update(old) | Scope::Ephemeral(old) if decision.outcome == Outcome::Rewritten => {
                if let Some(missing) = needed.into_iter().find(|secret| !old.pod.pull_secrets.contains(secret)) {
                    decision.outcome = Outcome::NoCredential;
                    decision.target = None;
                    judged.missing = Some(missing);
                    return;
                }
            }
            Scope::Update(_) | Scope::Ephemeral(_) => {}
        }
        // The pull policy of a Pod that exists cannot be changed.
        if !matches!(self.scope, Scope::Update(_)) {
            let present = slot.pull_policy.as_deref();
            // The author named a registry that Waypost keeps a credential for: it is pulled as if Waypost had.
            let unmatched = matches!(
                decision.outcome,
                Outcome::Unmatched | Outcome::NoPush | Outcome::NoCredential
            );
            let named = unmatched && has_credential && present != Some("Never");
            if named && decision.pull.policy.is_none() {
                decision.pull.policy = Some(settings.pull_policy).filter(|policy| *policy != PullPolicy::Unchanged);
            }
            judged.pull_policy = decision.pull.policy_for(present);
        }
    }

    /// Where the image is to be pushed to, as it is written. Without the namespace's labels nobody knows whether its Pods may pull from there.
    pub(super) fn use_of(&self, judged: &Judged<'p>) -> Option<(Reference<'p>, &'p Replicate)> {
        let rule = judged.decision.replicate.filter(|_| self.namespace_known)?;
        judged.reference.zip(self.snapshot.policies.rule(rule).replicate())
    }

    /// The id of the registry that the image lies under, if the namespace may use its credential.
    pub(super) fn registry_over(&self, image: &Reference<'_>) -> Option<&'p str> {
        let Context {
            namespace,
            namespace_labels,
            ..
        } = self.context;
        self.snapshot
            .registries
            .admitting_over(image, namespace, namespace_labels)
    }

    /// Whether the labels of the Pod's namespace are known.
    pub(crate) fn knows_namespace(&self) -> bool {
        self.namespace_known
    }

    /// Whether the Pod is the mirror of a static one, of which nothing may be changed.
    pub(crate) fn is_mirror(&self) -> bool {
        self.mirror
    }

    /// The Secrets to append to the Pod's, those of all images judged so far; none where there is nothing that could be appended to.
    ///
    /// The Pod's own list may be long: it is asked once for each Secret, not for each image.
    pub(crate) fn secrets(&self) -> SmallVec<[&'p str; 2]> {
        let present = &self.pod.pull_secrets;
        let needed = self.needed.iter().copied().filter(|_| !present.unusable);
        needed.filter(|secret| !present.contains(secret)).collect()
    }
}

impl<'p> Judged<'p> {
    fn left(decision: Decision<'p>, reference: Option<Reference<'p>>) -> Self {
        Self {
            reference,
            unparsable: None,
            decision,
            pull_policy: None,
            missing: None,
        }
    }

    /// Why the Pod is refused, where it is.
    pub(crate) fn denial(&self, snapshot: &Snapshot, slot: &ImageSlot<'_>) -> Option<String> {
        let rule = self
            .decision
            .rule
            .filter(|_| self.decision.outcome == Outcome::Denied)?;
        let rule = snapshot.policies.rule(rule);
        let message = match rule.action() {
            Action::Deny { message } => message,
            _ => "",
        };
        Some(format!("{message} ({}, rule {})", shown(slot), rule.id()))
    }

    /// What the user is told, one sentence each.
    pub(crate) fn warnings(&self, snapshot: &Snapshot, slot: &ImageSlot<'_>) -> SmallVec<[String; 1]> {
        let mut warnings = SmallVec::new();
        if let Some(why) = &self.unparsable {
            warnings.push(format!(
                "{} is no valid image reference and is left as it is: {why}",
                shown(slot)
            ));
        }
        if let Some(missing) = self.missing {
            warnings.push(format!(
                "{} is left as it is: its target needs the pull secret {missing}, which a Pod cannot be given once it exists",
                shown(slot)
            ));
        }
        let decision = &self.decision;
        if let Some(reference) = &self.reference
            && decision.warn_mutable_tag
            && decision.outcome != Outcome::Denied
            && is_mutable(reference)
        {
            let what = reference
                .tag()
                .map_or("has no tag".to_owned(), |tag| format!("has the tag {tag}"));
            warnings.push(format!(
                "{} {what}, which can change under you: use a version or a digest",
                shown(slot)
            ));
        }
        if decision.outcome == Outcome::InvalidTarget {
            let rule = decision.rule.map_or("", |rule| snapshot.policies.rule(rule).id());
            warnings.push(format!(
                "{} is left as it is: {rule} would give it a name that no image can have",
                shown(slot)
            ));
        }
        warnings.extend(self.unavailable(snapshot, slot));
        for (rule, mode, would) in self.observed(snapshot, slot) {
            if mode == Mode::Warn {
                warnings.push(format!("{rule} would {would}"));
            }
        }
        warnings
    }

    /// That it would be pulled from a registry that is down.
    fn unavailable(&self, snapshot: &Snapshot, slot: &ImageSlot<'_>) -> Option<String> {
        let rule = self
            .decision
            .rule
            .filter(|_| self.decision.outcome == Outcome::TargetUnavailable)?;
        let mut hosts: SmallVec<[&str; 2]> = SmallVec::new();
        let templates = match snapshot.policies.rule(rule).action() {
            Action::Rewrite(rewrite) => rewrite.usable(),
            _ => &[],
        };
        let pushed = self
            .decision
            .unavailable
            .iter()
            .filter_map(|target| target.split('/').next());
        for host in templates.iter().map(Template::registry).chain(pushed) {
            if !hosts.contains(&host) {
                hosts.push(host);
            }
        }
        let (what, is) = match hosts.len() {
            1 => ("its target", "is not available"),
            _ => ("its targets", "are not available"),
        };
        let more = hosts.len().saturating_sub(MOST_HOSTS);
        hosts.truncate(MOST_HOSTS);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        Some(format!(
            "{} is left as it is: {what} {}{more} {is}",
            shown(slot),
            hosts.join(", ")
        ))
    }

    /// What rules that do not decide would have done: the rule, its mode, and what.
    pub(super) fn observed<'s>(
        &self,
        snapshot: &'s Snapshot,
        slot: &ImageSlot<'_>,
    ) -> impl Iterator<Item = (&'s str, Mode, String)> {
        self.decision.observed.iter().map(|observed| {
            let rule = snapshot.policies.rule(observed.rule);
            let would = match &observed.would {
                Would::Rewrite(target) => format!("pull {} from {}", shown(slot), excerpt(target)),
                Would::Keep => format!("keep {}", shown(slot)),
                Would::Deny => match rule.action() {
                    Action::Deny { message } => format!("refuse {}: {message}", shown(slot)),
                    _ => format!("refuse {}", shown(slot)),
                },
            };
            (rule.id(), rule.mode(), would)
        })
    }
}

fn is_mutable(reference: &Reference<'_>) -> bool {
    reference.matching_tag() == Some("latest") && reference.digest().is_none()
}

/// A slot as messages name it: on one line, and not longer than a line.
pub(super) fn shown(slot: &ImageSlot<'_>) -> impl Display {
    fmt::from_fn(move |f| write_shown(f, slot))
}

pub(super) fn write_shown(out: &mut impl fmt::Write, slot: &ImageSlot<'_>) -> fmt::Result {
    out.write_str(slot.kind.noun())?;
    out.write_str(" \"")?;
    write_excerpt(out, &slot.name)?;
    out.write_str("\" (image \"")?;
    write_excerpt(out, &slot.image)?;
    out.write_str("\")")
}

/// A text of the user's, made safe for one line. Warnings are for people: 120 characters of a name tell enough.
pub(super) fn excerpt(text: &str) -> impl Display {
    fmt::from_fn(move |f| write_excerpt(f, text))
}

pub(super) fn write_excerpt(out: &mut impl fmt::Write, text: &str) -> fmt::Result {
    // Most are short: characters are not counted where there are not even so many bytes.
    let end = match text.len() {
        0..=MOST_CHARACTERS => text.len(),
        length => text.char_indices().nth(MOST_CHARACTERS).map_or(length, |(end, _)| end),
    };
    let start = &text[..end];
    // Nearly all are plain, and escaping goes through them character by character.
    let plain = |byte: u8| matches!(byte, b' '..=b'~') & !matches!(byte, b'"' | b'\'' | b'\\');
    if start.bytes().fold(true, |all, byte| all & plain(byte)) {
        out.write_str(start)?;
    } else {
        start
            .chars()
            .try_for_each(|char| write!(out, "{}", char.escape_debug()))?;
    }
    if end < text.len() {
        out.write_str("…")?;
    }
    Ok(())
}

/// The registries of a rule that are named.
const MOST_HOSTS: usize = 3;

/// The characters of a text that are shown.
const MOST_CHARACTERS: usize = 120;
