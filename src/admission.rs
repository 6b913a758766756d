//! From a review and a snapshot to an answer: design section 4.
//!
//! Nothing here does I/O or waits. A failure of Waypost's own never denies a Pod: it is allowed as it is, with a warning.

mod changes;
mod judge;

use std::{
    convert::Infallible,
    fmt::Write,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use hashbrown::HashMap;
use smallvec::SmallVec;

pub(crate) use self::judge::{Judge, Judged};
use self::{
    changes::Changes,
    judge::{excerpt, shown, write_excerpt, write_shown},
};
use crate::{
    decide::{Outcome, Would},
    policy::Replicate,
    reference::Reference,
    review::{Answer, BadReview, ImageSlot, Operation, Owner, PodView, Review, SlotKind, parse, uid_of},
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
    /// Somebody who does not see the answer should know of it. Most do not tell.
    fn notice(&self, _: Notice<'_>) {}
    /// A Pod that is admitted uses an image that a rule replicates. Most do not push.
    fn first_use(&self, _: FirstUse<'_>) {}
}

/// An image that a Pod uses and a rule replicates: for the first time, as far as decisions can tell, or not.
#[derive(Clone, Copy, Debug)]
pub struct FirstUse<'r> {
    /// The image, as it is written.
    pub image: Reference<'r>,
    /// Where it is to be pushed to, and when again.
    pub replicate: &'r Replicate,
    /// The id of the registry by whose credential it may be read: it lies under that, and the Pod's namespace may use it.
    pub source: Option<&'r str>,
}

/// What the owner of a Pod should know: who behind a Deployment asked for its Pods is not who is answered.
#[derive(Clone, Copy, Debug)]
pub struct Notice<'r> {
    /// The Pod's namespace.
    pub namespace: &'r str,
    /// The Pod's controller.
    pub owner: &'r Owner<'r>,
    /// Whether the Pod is refused; otherwise somebody is warned.
    pub refused: bool,
    /// Of what, in the words of the answer.
    pub text: &'r str,
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
/// A namespace that the snapshot does not know counts as one without labels.
///
/// # Errors
///
/// When the body is no review, or has no uid to answer with.
pub fn respond(snapshot: &Snapshot, body: &[u8], observer: &dyn Observer) -> Result<Vec<u8>, BadReview> {
    respond_since(Instant::now(), snapshot, body, observer)
}

/// As [`respond`], to a review that has been waiting.
///
/// # Errors
///
/// As [`respond`].
pub fn respond_since(
    since: Instant,
    snapshot: &Snapshot,
    body: &[u8],
    observer: &dyn Observer,
) -> Result<Vec<u8>, BadReview> {
    match answer(since, snapshot, body, observer, |_| None::<Infallible>)? {
        Ok(json) => Ok(json),
        Err(never) => match never {},
    }
}

/// As [`respond`], except for a Pod in a namespace that the snapshot does not know: nothing is decided and nothing is counted, for the
/// caller may wait until the namespace is known.
///
/// # Errors
///
/// As [`respond`].
pub fn respond_if_known(
    snapshot: &Snapshot,
    body: &[u8],
    observer: &dyn Observer,
) -> Result<Result<Vec<u8>, UnknownNamespace>, BadReview> {
    let since = Instant::now();
    answer(since, snapshot, body, observer, |review| {
        let known = snapshot.namespace_labels(&review.namespace).is_some();
        // There is no namespace without a name to wait for.
        let awaited = !known && !review.namespace.is_empty() && review.asks_rules();
        awaited.then(|| UnknownNamespace {
            name: (*review.namespace).into(),
            since,
        })
    })
}

/// The namespace of a review that the snapshot does not know.
#[derive(Debug)]
pub struct UnknownNamespace {
    /// Its name.
    pub name: Box<str>,
    /// When the review came in.
    pub since: Instant,
}

/// Unless `unknown` finds that something is not known yet.
fn answer<U>(
    started: Instant,
    snapshot: &Snapshot,
    body: &[u8],
    observer: &dyn Observer,
    unknown: impl FnOnce(&Review<'_>) -> Option<U>,
) -> Result<Result<Vec<u8>, U>, BadReview> {
    let read = catch_unwind(|| parse(body));
    let review = match read {
        Ok(Ok(review)) => review,
        Ok(Err(bad)) => return Err(bad),
        Err(_) => {
            observer.review(Operation::Unknown, ReviewOutcome::Failed, started.elapsed());
            let uid = catch_unwind(|| uid_of(body)).ok().flatten().ok_or(BadReview::NoUid)?;
            return Ok(Ok(failed().to_json(&uid)));
        }
    };
    if let Some(unknown) = unknown(&review) {
        return Ok(Err(unknown));
    }
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
    Ok(Ok(json))
}

/// Decides on a review that has been read.
pub fn admit(snapshot: &Snapshot, review: &Review<'_>, observer: &dyn Observer) -> Answer {
    let old = review.old_object.as_deref().map(Old::new);
    let Some((scope, pod)) = Scope::of(review, old.as_ref()) else {
        return Answer::default();
    };
    let namespace_labels = snapshot.namespace_labels(&review.namespace);
    let mut judge = Judge::new(scope, pod, snapshot, &review.namespace, namespace_labels);
    let mut changes = Changes::new(scope, pod, snapshot);
    let mut answer = Answer::default();
    let mut denials: SmallVec<[String; 1]> = SmallVec::new();
    let mut decided = false;
    let mut uses: SmallVec<[(Reference<'_>, &Replicate); 1]> = SmallVec::new();
    for slot in &pod.slots {
        let Some(judged) = judge.image(slot) else {
            continue;
        };
        if denials.len() < MOST_DENIALS {
            denials.extend(judged.denial(snapshot, slot));
        }
        changes.image(slot, &judged);
        tell(snapshot, slot, &judged, &mut answer);
        count(
            snapshot,
            &judged,
            judge.knows_namespace() || judge.is_mirror(),
            observer,
        );
        decided = true;
        uses.extend(judge.use_of(&judged));
    }
    if judge.is_mirror() {
        return answer;
    }
    // What is only tried out leaves nothing behind.
    if let Some(owner) = pod.owner.as_ref().filter(|_| !review.dry_run) {
        let refused = !denials.is_empty();
        if refused || !answer.warnings.is_empty() {
            let text = if refused {
                denials.join("; ")
            } else {
                answer.warnings.join("; ")
            };
            observer.notice(Notice {
                namespace: &review.namespace,
                owner,
                refused,
                text: &text,
            });
        }
    }
    if decided && !judge.knows_namespace() {
        answer.warn(format_args!(
            "waypost: the namespace \"{}\" was not known in time: rules saw no labels of it",
            excerpt(&review.namespace)
        ));
    }
    if !denials.is_empty() {
        answer.denied = Some(denials.join("; "));
        return answer;
    }
    changes.finish(&judge.secrets(), &mut answer);
    if !review.dry_run {
        for (image, replicate) in uses {
            observer.first_use(FirstUse {
                image,
                replicate,
                source: judge.registry_over(&image),
            });
        }
    }
    answer
}

/// What of a Pod may be decided on and changed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scope<'r, 'a> {
    /// A new Pod: everything.
    Create,
    /// A Pod that exists: images that changed.
    Update(&'r Old<'r, 'a>),
    /// A new ephemeral container in a Pod that exists: that alone. The API server resets everything else.
    Ephemeral(&'r Old<'r, 'a>),
}

/// A Pod as it is stored.
#[derive(Debug)]
pub(crate) struct Old<'r, 'a> {
    pod: &'r PodView<'a>,
    /// Where each of its images is. A search would do for any sane Pod; thousands of containers in both must not cost the square.
    slots: HashMap<(SlotKind, &'r str), usize>,
}

impl Review<'_> {
    /// Whether images may have to be decided on by rules: [`Scope::of`] has the last word.
    fn asks_rules(&self) -> bool {
        self.is_pod
            && matches!(self.operation, Operation::Create | Operation::Update)
            && matches!(&*self.subresource, "" | "ephemeralcontainers")
            && self.object.as_ref().is_some_and(|pod| !pod.annotations.mirror)
    }
}

impl<'r, 'a> Scope<'r, 'a> {
    /// The scope and the Pod; none where there is nothing to do.
    fn of(review: &'r Review<'a>, old: Option<&'r Old<'r, 'a>>) -> Option<(Self, &'r PodView<'a>)> {
        let pod = review.object.as_deref().filter(|_| review.is_pod)?;
        let scope = match (review.operation, &*review.subresource) {
            (Operation::Create, "") => Self::Create,
            (Operation::Update, "") => Self::Update(old?),
            (Operation::Update, "ephemeralcontainers") => Self::Ephemeral(old?),
            _ => return None,
        };
        Some((scope, pod))
    }

    /// Whether this image is new.
    fn decides_on(self, slot: &ImageSlot<'_>) -> bool {
        match self {
            Self::Create => true,
            // The image of a volume cannot be changed: see `Changes::restore`.
            Self::Update(old) => old
                .slot(slot)
                .is_none_or(|old| slot.kind != SlotKind::Volume && old.image != slot.image),
            Self::Ephemeral(old) => slot.kind == SlotKind::EphemeralContainer && old.slot(slot).is_none(),
        }
    }
}

impl<'r> Scope<'r, '_> {
    /// The pull policy that the image has in the end: that of a Pod that exists cannot be changed.
    fn pull_policy<'s>(self, slot: &'s ImageSlot<'_>) -> Option<&'s str>
    where
        'r: 's,
    {
        match self {
            Self::Update(old) => old.slot(slot).unwrap_or(slot).pull_policy.as_deref(),
            Self::Create | Self::Ephemeral(_) => slot.pull_policy.as_deref(),
        }
    }
}

impl<'r, 'a> Old<'r, 'a> {
    fn new(pod: &'r PodView<'a>) -> Self {
        let slots = pod.slots.iter().enumerate();
        let slots = slots.map(|(place, slot)| ((slot.kind, &*slot.name), place)).collect();
        Self { pod, slots }
    }

    /// The slot of the same kind and name.
    fn slot(&self, slot: &ImageSlot<'_>) -> Option<&'r ImageSlot<'a>> {
        let place = self.slots.get(&(slot.kind, &*slot.name))?;
        self.pod.slots.get(*place)
    }
}

/// What the user and the audit log are told of an image.
fn tell(snapshot: &Snapshot, slot: &ImageSlot<'_>, judged: &Judged<'_>, answer: &mut Answer) {
    for warning in judged.warnings(snapshot, slot) {
        answer.warn(format_args!("waypost: {warning}"));
    }
    // Writing to a String cannot fail.
    for (rule, _, would) in judged.observed(snapshot, slot) {
        if let Some(text) = note(answer, "observed") {
            let _ = write!(text, "{rule} would {would}");
        }
    }
    let decision = &judged.decision;
    if let (Outcome::Rewritten, Some(rule), Some(target)) = (decision.outcome, decision.rule, &decision.target)
        && let Some(text) = note(answer, "rewritten")
    {
        // By hand what every review has: formatting arguments takes several times as long.
        let _ = write_shown(text, slot);
        text.push_str(": ");
        let _ = write_excerpt(text, target);
        text.push_str(" by ");
        text.push_str(snapshot.policies.rule(rule).id());
    }
}

/// The audit annotation of this key, to be added to; none once it is full: a Pod may have hundreds of containers.
fn note<'n>(answer: &'n mut Answer, key: &'static str) -> Option<&'n mut String> {
    let at = answer
        .audit
        .iter()
        .position(|(present, _)| *present == key)
        .unwrap_or_else(|| {
            answer.audit.push((key, String::with_capacity(USUAL_AUDIT_BYTES)));
            answer.audit.len() - 1
        });
    let text = &mut answer.audit[at].1;
    if text.len() >= MOST_AUDIT_BYTES {
        return None;
    }
    if !text.is_empty() {
        text.push_str("; ");
    }
    Some(text)
}

/// An audit annotation gets nothing more once it has so many bytes.
const MOST_AUDIT_BYTES: usize = 4096;

/// The bytes that an audit annotation about a few images has.
const USUAL_AUDIT_BYTES: usize = 768;

/// The user is told of so many refused images: a Pod may have thousands.
const MOST_DENIALS: usize = 10;

/// In a namespace that was not known every image counts as that, once, whatever was decided: rule and registries say what was.
fn count(snapshot: &Snapshot, judged: &Judged<'_>, namespace_known: bool, observer: &dyn Observer) {
    let decision = &judged.decision;
    let label = |registry: &str| snapshot.policies.registry_label(registry);
    // Targets are written in their normal form, which begins with the registry: they are not parsed once more.
    let registry_of = |target: &str| label(target.split_once('/').map_or(target, |(registry, _)| registry));
    let source = judged
        .reference
        .as_ref()
        .map_or(0, |reference| label(reference.registry()));
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
    let outcome = if namespace_known {
        decision.outcome
    } else {
        Outcome::NamespaceUnknown
    };
    // That is counted above, for each rule.
    if outcome != Outcome::WouldRewrite {
        let target = decision.target.as_deref().map_or(source, registry_of);
        observer.image(
            snapshot,
            ImageEvent {
                rule: decision.rule,
                source,
                target,
                outcome,
            },
        );
    }
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
