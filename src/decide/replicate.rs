//! Which images are replicated: apart from what the rules decide, and only where any rule replicates.

use super::{Decision, Outcome, sources::is_pushed_to};
use crate::{
    policy::{Context, Found, Mode},
    reference::Reference,
    snapshot::Snapshot,
};

/// Why an image is not replicated, though a rule that replicates matches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotReplicated {
    /// The Pod is refused, or opted out.
    NotRun,
    /// Its imagePullPolicy is Never.
    PullNever,
    /// There is no such registry.
    UnknownRegistry,
    /// The registry is not for the Pod's namespace.
    NotAdmitted,
    /// The image is where rules or pushes lead to, and no image in its own right.
    AlreadyTarget,
    /// It lies under the registry, or is pulled from there without a push of its own.
    InRegistry,
    /// The registry has what its digest says.
    HasDigest,
}

/// The rule by which the image is to be in a registry, or why it is not. None where no rule replicates it: that is the first that matches
/// and has `replicate`, unless a preset exempts the image.
///
/// What is replicated is the image as it is written, wherever it is pulled from.
pub(super) fn replicated(
    snapshot: &Snapshot,
    context: &Context<'_>,
    image: &Reference<'_>,
    decision: &Decision<'_>,
    pull_policy: Option<&str>,
) -> Option<(u32, Result<(), NotReplicated>)> {
    let set = &*snapshot.policies;
    let matcher = set.replicating()?;
    let mut found = Found::default();
    matcher.find(image, Some(context), &mut found);
    let matches = |rule: &u32| set.rule(*rule).matching().check_rest(context, image).is_ok();
    let rule = found.rules(matcher, image).find(matches)?;
    let registry = &*set.rule(rule).replicate()?.registry;
    Some((rule, may(snapshot, context, image, decision, pull_policy, registry)))
}

fn may(
    snapshot: &Snapshot,
    context: &Context<'_>,
    image: &Reference<'_>,
    decision: &Decision<'_>,
    pull_policy: Option<&str>,
    registry: &str,
) -> Result<(), NotReplicated> {
    if matches!(decision.outcome, Outcome::Denied | Outcome::OptedOut) {
        return Err(NotReplicated::NotRun);
    }
    if pull_policy == Some("Never") {
        return Err(NotReplicated::PullNever);
    }
    let Some(registered) = snapshot.registries.get(registry) else {
        return Err(NotReplicated::UnknownRegistry);
    };
    if !registered
        .namespaces
        .admits(context.namespace, context.namespace_labels)
    {
        return Err(NotReplicated::NotAdmitted);
    }
    if registered.address.is_over(image) {
        return Err(NotReplicated::InRegistry);
    }
    // Looked at again, a Pod has what it was given the first time: that is not pushed on.
    let under_target = snapshot.policies.targets_over(image);
    let mut entries = under_target.iter().flat_map(|entries| entries.iter());
    let deciding = |rule: u32| snapshot.policies.rule(rule).mode() == Mode::Enforce;
    if entries.any(|entry| deciding(entry.rule)) || is_pushed_to(snapshot, image) {
        return Err(NotReplicated::AlreadyTarget);
    }
    let pulled_from_there = || {
        let target = Reference::parse(decision.target.as_deref()?).ok()?;
        Some(registered.address.is_over(&target))
    };
    let pushed = || {
        let pushes = snapshot.pushes.find(image);
        pushes.iter().any(|push| push.registry == registry)
    };
    if image.digest().is_some() && pushed() {
        return Err(NotReplicated::HasDigest);
    }
    // By a rule that leads there, or by a push of what it was pushed to: what of it is there already, others keep up to date.
    if pulled_from_there() == Some(true) && !pushed() {
        return Err(NotReplicated::InRegistry);
    }
    Ok(())
}

impl NotReplicated {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotRun => "the Pod is refused, or opted out",
            Self::PullNever => "its imagePullPolicy is Never",
            Self::UnknownRegistry => "no registry of this id is known here",
            Self::NotAdmitted => "the namespace may not pull from that registry",
            Self::AlreadyTarget => "it is where a rule or a push leads to",
            Self::InRegistry => "it lies in that registry, or is pulled from there without a push of its own",
            Self::HasDigest => "what its digest says is there",
        }
    }
}
