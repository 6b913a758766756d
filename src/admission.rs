//! From a review and a snapshot to an answer: design section 4.
//!
//! Nothing here does I/O or waits. A failure of Waypost's own never denies a Pod: it is allowed as it is, with a warning.

mod changes;

use std::{
    fmt::{self, Display},
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use smallvec::SmallVec;

use self::changes::Changes;
use crate::{
    decide::{Decision, Outcome, Would, decide},
    policy::{Action, Context, Labels, Mode},
    reference::Reference,
    review::{Answer, BadReview, ImageSlot, Operation, PodView, Review, SlotKind, parse, uid_of},
    snapshot::Snapshot,
};

/// The label on a Pod or Namespace, with the value `disabled`, that stops rewriting.
pub const OPT_OUT_LABEL: &str = "waypost.dev/rewrite";

/// Told of everything that is counted. Called on the review path: it may not wait.
pub trait Observer {
    /// One image was decided on.
    fn image(&self, snapshot: &Snapshot, image: ImageEvent);
    /// One review was answered.
    fn review(&self, operation: Operation, outcome: ReviewOutcome, elapsed: Duration);
}

/// An image that was decided on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageEvent {
    /// The rule's place in the snapshot's policies.
    pub rule: Option<u32>,
    /// The registry it came with, as [`PolicySet::registry_label`](crate::policy::PolicySet::registry_label) numbers it.
    pub source: u16,
    /// The registry it is pulled from.
    pub target: u16,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a review. The list is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReviewOutcome {
    /// Allowed with a patch.
    Patched,
    /// Allowed as it is.
    Unchanged,
    /// Refused, because a rule says so.
    Denied,
    /// No review: the caller's mistake.
    BadRequest,
    /// Allowed as it is, because Waypost failed.
    Failed,
}

/// Answers a review, and tells the observer of it; a body that is none is for the caller to count. The answer always has the review's uid, also when something panics on the way.
///
/// # Errors
///
/// When the body is no review, or has no uid to answer with.
pub fn respond(snapshot: &Snapshot, body: &[u8], observer: &dyn Observer) -> Result<Vec<u8>, BadReview> {
    let started = Instant::now();
    let read = catch_unwind(|| parse(body));
    let review = match read {
        Ok(Ok(review)) => review,
        Ok(Err(bad)) => return Err(bad),
        Err(_) => {
            observer.review(Operation::Unknown, ReviewOutcome::Failed, started.elapsed());
            let uid = catch_unwind(|| uid_of(body)).ok().flatten().ok_or(BadReview::NoUid)?;
            return Ok(failed().to_json(&uid));
        }
    };
    let admitted = catch_unwind(AssertUnwindSafe(|| {
        let answer = admit(snapshot, &review, observer);
        (answer.to_json(&review.uid), answer)
    }));
    let (json, outcome) = match admitted {
        Ok((json, answer)) if answer.denied.is_some() => (json, ReviewOutcome::Denied),
        Ok((json, answer)) if answer.patch.is_empty() => (json, ReviewOutcome::Unchanged),
        Ok((json, _)) => (json, ReviewOutcome::Patched),
        Err(_) => (failed().to_json(&review.uid), ReviewOutcome::Failed),
    };
    observer.review(review.operation, outcome, started.elapsed());
    Ok(json)
}

/// Decides on a review that has been read.
pub fn admit(snapshot: &Snapshot, review: &Review<'_>, observer: &dyn Observer) -> Answer {
    let Some((scope, pod)) = Scope::of(review) else {
        return Answer::default();
    };
    let settings = snapshot.policies.settings();
    let namespace_labels = snapshot.namespace_labels(&review.namespace);
    let context = Context {
        namespace: &review.namespace,
        namespace_labels,
        pod_labels: &pod.labels,
    };
    let opts_out = |labels: &dyn Labels| labels.value(OPT_OUT_LABEL) == Some("disabled");
    let opted_out = settings.opt_out_allowed && (opts_out(&pod.labels) || opts_out(namespace_labels));
    let mut changes = Changes::new(scope, pod, snapshot);
    let mut answer = Answer::default();
    let mut denials: SmallVec<[String; 1]> = SmallVec::new();
    for slot in &pod.slots {
        if pod.annotations.mirror {
            // The API server refuses mirror Pods with Secrets, and the kubelet compares their hash.
            let source = label_of(snapshot, &slot.image);
            observer.image(
                snapshot,
                ImageEvent {
                    rule: None,
                    source,
                    target: source,
                    outcome: Outcome::MirrorPod,
                },
            );
            continue;
        }
        if !scope.decides_on(slot) {
            continue;
        }
        let reference = match Reference::parse(&slot.image) {
            Ok(reference) if !reference.registry().is_empty() => reference,
            unreadable => {
                let why = unreadable.err().map_or_else(
                    || "nodes read no registry in it".to_owned(),
                    |error| error.kind().to_string(),
                );
                answer.warnings.push(format!(
                    "waypost: {} is no valid image reference and is left as it is: {why}",
                    shown(slot)
                ));
                observer.image(
                    snapshot,
                    ImageEvent {
                        rule: None,
                        source: 0,
                        target: 0,
                        outcome: Outcome::Unparsable,
                    },
                );
                continue;
            }
        };
        let mut decision = decide(
            &snapshot.policies,
            &context,
            &reference,
            slot.pull_policy.as_deref(),
            opted_out,
        );
        if decision.outcome == Outcome::Denied {
            denials.push(denial(snapshot, &decision, slot));
        }
        if let Err(missing) = changes.image(slot, &reference, &mut decision, &context) {
            answer.warnings.push(format!(
                "waypost: {} is left as it is: its target needs the pull secret {missing}, which a Pod cannot be given once it exists",
                shown(slot)
            ));
        }
        tell(snapshot, slot, &reference, &decision, &mut answer);
        count(snapshot, &reference, &decision, observer);
    }
    if pod.annotations.mirror {
        return answer;
    }
    if !denials.is_empty() {
        answer.denied = Some(denials.join("; "));
        return answer;
    }
    changes.finish(&mut answer);
    answer
}

/// What of a Pod may be decided on and changed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scope<'r, 'a> {
    /// A new Pod: everything.
    Create,
    /// A Pod that exists: images that changed.
    Update(&'r PodView<'a>),
    /// A new ephemeral container in a Pod that exists: that alone. The API server resets everything else.
    Ephemeral(&'r PodView<'a>),
}

impl<'r, 'a> Scope<'r, 'a> {
    /// The scope and the Pod; none where there is nothing to do.
    fn of(review: &'r Review<'a>) -> Option<(Self, &'r PodView<'a>)> {
        let pod = review.object.as_deref().filter(|_| review.is_pod)?;
        let scope = match (review.operation, &*review.subresource) {
            (Operation::Create, "") => Self::Create,
            (Operation::Update, "") => Self::Update(review.old_object.as_deref()?),
            (Operation::Update, "ephemeralcontainers") => Self::Ephemeral(review.old_object.as_deref()?),
            _ => return None,
        };
        Some((scope, pod))
    }

    /// Whether this image is new.
    fn decides_on(self, slot: &ImageSlot<'_>) -> bool {
        match self {
            Self::Create => true,
            Self::Update(old) => old
                .slot(slot.kind, &slot.name)
                .is_none_or(|old| old.image != slot.image),
            Self::Ephemeral(old) => {
                slot.kind == SlotKind::EphemeralContainer && old.slot(slot.kind, &slot.name).is_none()
            }
        }
    }
}

/// What the user and the audit log are told of an image.
fn tell(
    snapshot: &Snapshot,
    slot: &ImageSlot<'_>,
    reference: &Reference<'_>,
    decision: &Decision<'_>,
    answer: &mut Answer,
) {
    if decision.warn_mutable_tag && decision.outcome != Outcome::Denied && is_mutable(reference) {
        let what = reference
            .tag()
            .map_or("has no tag".to_owned(), |tag| format!("has the tag {tag}"));
        answer.warnings.push(format!(
            "waypost: {} {what}, which can change under you: use a version or a digest",
            shown(slot)
        ));
    }
    if decision.outcome == Outcome::InvalidTarget {
        let rule = decision.rule.map_or("", |rule| snapshot.policies.rule(rule).id());
        answer.warnings.push(format!(
            "waypost: {} is left as it is: {rule} would give it a name that no image can have",
            shown(slot)
        ));
    }
    for observed in &decision.observed {
        let rule = snapshot.policies.rule(observed.rule);
        let would = match &observed.would {
            Would::Rewrite(target) => format!("pull {} from {}", shown(slot), excerpt(target)),
            Would::Keep => format!("keep {}", shown(slot)),
            Would::Deny => format!("refuse {}", shown(slot)),
        };
        if rule.mode() == Mode::Warn {
            answer.warnings.push(format!("waypost: {} would {would}", rule.id()));
        }
        note(answer, "observed", format_args!("{} would {would}", rule.id()));
    }
    if let (Outcome::Rewritten, Some(rule), Some(target)) = (decision.outcome, decision.rule, &decision.target) {
        note(
            answer,
            "rewritten",
            format_args!(
                "{}: {} by {}",
                shown(slot),
                excerpt(target),
                snapshot.policies.rule(rule).id()
            ),
        );
    }
}

/// Adds to an audit annotation, up to a limit: a Pod may have hundreds of containers.
fn note(answer: &mut Answer, key: &'static str, text: std::fmt::Arguments<'_>) {
    use std::fmt::Write;
    let at = answer
        .audit
        .iter()
        .position(|(present, _)| *present == key)
        .unwrap_or_else(|| {
            answer.audit.push((key, String::with_capacity(USUAL_AUDIT_BYTES)));
            answer.audit.len() - 1
        });
    let value = &mut answer.audit[at].1;
    if value.len() < MOST_AUDIT_BYTES {
        let separator = if value.is_empty() { "" } else { "; " };
        // Writing to a String cannot fail.
        let _ = write!(value, "{separator}{text}");
    }
}

/// An audit annotation gets nothing more once it has so many bytes.
const MOST_AUDIT_BYTES: usize = 4096;

/// The bytes that an audit annotation about a few images has.
const USUAL_AUDIT_BYTES: usize = 768;

fn count(snapshot: &Snapshot, reference: &Reference<'_>, decision: &Decision<'_>, observer: &dyn Observer) {
    let label = |registry: &str| snapshot.policies.registry_label(registry);
    let registry_of = |target: &str| Reference::parse(target).map_or(0, |target| label(target.registry()));
    let source = label(reference.registry());
    for observed in &decision.observed {
        if let Would::Rewrite(target) = &observed.would {
            let event = ImageEvent {
                rule: Some(observed.rule),
                source,
                target: registry_of(target),
                outcome: Outcome::WouldRewrite,
            };
            observer.image(snapshot, event);
        }
    }
    // That is counted above, for each rule.
    if decision.outcome != Outcome::WouldRewrite {
        let target = decision.target.as_deref().map_or(source, registry_of);
        observer.image(
            snapshot,
            ImageEvent {
                rule: decision.rule,
                source,
                target,
                outcome: decision.outcome,
            },
        );
    }
}

fn denial(snapshot: &Snapshot, decision: &Decision<'_>, slot: &ImageSlot<'_>) -> String {
    let Some(rule) = decision.rule.map(|rule| snapshot.policies.rule(rule)) else {
        return String::new();
    };
    let message = match rule.action() {
        Action::Deny { message } => message,
        _ => "",
    };
    format!("{message} ({}, rule {})", shown(slot), rule.id())
}

fn label_of(snapshot: &Snapshot, image: &str) -> u16 {
    Reference::parse(image).map_or(0, |reference| snapshot.policies.registry_label(reference.registry()))
}

fn is_mutable(reference: &Reference<'_>) -> bool {
    reference.matching_tag() == Some("latest") && reference.digest().is_none()
}

/// A slot as messages name it: on one line, and not longer than a line.
fn shown(slot: &ImageSlot<'_>) -> impl Display {
    fmt::from_fn(move |f| {
        write!(
            f,
            "{} \"{}\" (image \"{}\")",
            slot.kind.noun(),
            excerpt(&slot.name),
            excerpt(&slot.image)
        )
    })
}

/// A text of the user's, made safe for one line. Warnings are for people: 120 characters of a name tell enough.
fn excerpt(text: &str) -> impl Display {
    fmt::from_fn(move |f| {
        let end = text.char_indices().nth(120).map_or(text.len(), |(end, _)| end);
        let start = &text[..end];
        // Nearly all are plain, and escaping goes through them character by character.
        let plain = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\'' | b'\\');
        if start.bytes().all(plain) {
            f.write_str(start)?;
        } else {
            start.chars().try_for_each(|char| char.escape_debug().fmt(f))?;
        }
        f.write_str(if end < text.len() { "…" } else { "" })
    })
}

fn failed() -> Answer {
    let warnings =
        vec!["waypost: an internal error: this Pod is admitted as it is, without any image rewritten".to_owned()];
    Answer {
        warnings,
        ..Answer::default()
    }
}

impl ReviewOutcome {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Patched,
        Self::Unchanged,
        Self::Denied,
        Self::BadRequest,
        Self::Failed,
    ];

    /// As metrics have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Patched => "patched",
            Self::Unchanged => "unchanged",
            Self::Denied => "denied",
            Self::BadRequest => "bad_request",
            Self::Failed => "failed",
        }
    }
}

#[cfg(test)]
mod tests;
