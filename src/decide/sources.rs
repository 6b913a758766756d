//! Images that are where rules lead to already, and the sources that they stand for.

use smallvec::SmallVec;

use super::{
    Decision, Outcome, PullChange, Walk,
    route::{Counting, Routed, attempt},
    settle,
};
use crate::{
    policy::{Action, Context, Found, InOrder, Mode},
    pushes::normal,
    reference::Reference,
    snapshot::Snapshot,
};

/// Whether the image is the target of a push that counts: whoever names it means that push.
pub(super) fn is_pushed_to(snapshot: &Snapshot, image: &Reference<'_>) -> bool {
    !snapshot.pushes.is_empty() && snapshot.policies.routes_pushes() && !pushed(snapshot, image).is_empty()
}

/// The images that were pushed into this one.
fn pushed(snapshot: &Snapshot, image: &Reference<'_>) -> SmallVec<[String; 1]> {
    let counting = Counting {
        pushes: &snapshot.pushes,
        registries: &snapshot.registries,
        only: None,
    };
    let sources = snapshot.pushes.sources(image);
    if sources.is_empty() {
        return SmallVec::new();
    }
    let name = normal(image);
    let counts = sources
        .into_iter()
        .filter(|source| counting.counts(&source.push, &name));
    let mut images: SmallVec<[String; 1]> = counts.map(|source| source.image).collect();
    images.dedup();
    images
}

/// Those, and what was pushed into them.
fn pushed_in_turn(snapshot: &Snapshot, image: &Reference<'_>) -> SmallVec<[String; 2]> {
    let mut all: SmallVec<[String; 2]> = SmallVec::new();
    if snapshot.pushes.is_empty() || !snapshot.policies.routes_pushes() {
        return all;
    }
    all.extend(pushed(snapshot, image));
    let mut next = 0;
    while next < all.len() && all.len() < MOST_SOURCES {
        let further = Reference::parse(&all[next]).map(|image| pushed(snapshot, &image));
        for image in further.into_iter().flatten() {
            if !all.contains(&image) {
                all.push(image);
            }
        }
        next += 1;
    }
    all
}

/// An image under a target is never rewritten again, whichever of a rule's targets that is and whatever is down. The rule that would
/// have decided its source says how it is pulled; where the source cannot be told, the rules that it may come from do, if they agree.
pub(super) fn already_target<'s, R: Iterator<Item = u32>>(
    mut walk: Walk<'_, 's, R>,
    pull_policy: Option<&str>,
) -> Decision<'s> {
    let (set, snapshot, context, image) = (walk.set, walk.snapshot, walk.context, walk.image);
    let mut candidates: SmallVec<[u32; 4]> = SmallVec::new();
    let mut sources: SmallVec<[String; 2]> = SmallVec::new();
    let mut shared = false;
    let name = image.canonical_name().to_string();
    let mut under = walk.under.clone();
    for entry in InOrder::new(&mut under) {
        let rule = set.rule(entry.rule);
        let Action::Rewrite(rewrite) = rule.action() else {
            continue;
        };
        if rule.mode() != Mode::Enforce {
            continue;
        }
        if !candidates.contains(&entry.rule) {
            candidates.push(entry.rule);
        }
        shared |= rewrite.shared_target;
        sources.extend(rewrite.sources(entry.detail, &name));
    }
    // Where several images share a name on purpose, there is no telling which of them this is.
    if shared {
        sources.clear();
    }
    for source in &mut sources {
        source.push_str(image.suffix());
    }
    let pushed = pushed_in_turn(snapshot, image);
    let by_push = !pushed.is_empty();
    sources.extend(pushed);
    let canonical = normal(image);
    let mut exact: SmallVec<[u32; 2]> = SmallVec::new();
    let mut first = None;
    for source in &sources {
        let Ok(source) = Reference::parse(source) else {
            continue;
        };
        let decided = decides_on(snapshot, context, &source);
        let gives_this = |(rule, target): &(u32, Option<String>)| {
            target.as_ref() == Some(&canonical)
                || match set.rule(*rule).action() {
                    Action::Rewrite(rewrite) => {
                        rewrite.gives(&image.canonical().to_string(), set.rule(*rule).matching(), &source)
                    }
                    _ => false,
                }
        };
        let rule = decided.as_ref().map(|(rule, _)| *rule);
        if decided.as_ref().is_some_and(gives_this) {
            exact.extend(rule);
            if !by_push {
                break;
            }
        }
        first.get_or_insert(rule);
    }
    let (rule, pull) = match (&exact[..], first) {
        ([first, others @ ..], _) => {
            let pull = set.pull_as_source(Some(*first), pull_policy);
            let same = |other: &u32| set.pull_as_source(Some(*other), pull_policy).is_same(&pull);
            match others.iter().all(same) {
                true => (Some(*first), pull),
                // Several images are there by this name, and are pulled in different ways.
                false => (None, set.untouched()),
            }
        }
        // It has a source, though by now another rule would decide that.
        ([], Some(decided)) => (decided, set.pull_as_source(decided, pull_policy)),
        ([], None) => {
            candidates.retain(|rule| {
                let matching = set.rule(*rule).matching();
                matching.applies_to(context)
            });
            // A rule that keeps this very image has a say, too.
            let keeps = |rule: &u32| matches!(set.rule(*rule).action(), Action::Keep);
            let decides = std::iter::from_fn(|| walk.next_decision(|_| true));
            let leads = |rule: &u32| matches!(set.rule(*rule).action(), Action::LatestPush(_));
            let first = decides.skip_while(leads).next();
            candidates.extend(first.filter(keeps));
            let mut pulls = candidates
                .iter()
                .map(|rule| set.pull_as_source(Some(*rule), pull_policy));
            match pulls.next() {
                Some(pull) if pulls.all(|other| other.is_same(&pull)) => (
                    None,
                    PullChange {
                        inject: set.settings().inject,
                        ..pull
                    },
                ),
                _ => (None, set.untouched()),
            }
        }
    };
    walk.decided(Outcome::AlreadyTarget, rule, None, pull)
}

/// The rule that decides on the source of a target, and where it is pulled from by a push.
fn decides_on(snapshot: &Snapshot, context: &Context<'_>, image: &Reference<'_>) -> Option<(u32, Option<String>)> {
    let set = &*snapshot.policies;
    let mut found = Found::default();
    set.images().find(image, Some(context), &mut found);
    let mut walk = Walk::new(snapshot, context, image, None, found.rules(set.images(), image));
    walk.next_decision(|rule| rule < set.denying());
    while let Some(rule) = walk.next_decision(|_| true) {
        let Action::LatestPush(latest) = set.rule(rule).action() else {
            return Some((rule, None));
        };
        let attempt = attempt(snapshot, context, latest, image, None, false);
        match attempt.routed {
            Routed::NoPush | Routed::Endless | Routed::NotAdmitted => {}
            Routed::Own | Routed::Never => return Some((rule, None)),
            Routed::Unavailable => return Some((rule, Some(attempt.target))),
            Routed::To => {
                let settled = settle(snapshot, context, rule, attempt.target, None);
                return Some(settled.map_or((rule, None), |(rule, target)| (rule, Some(target))));
            }
        }
    }
    None
}

/// So many images are looked at that a target may stand for.
const MOST_SOURCES: usize = 16;
