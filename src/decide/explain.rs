//! Why an image became what it became: every rule tried, one by one, for people.

use super::{Decision, Outcome, decide, leaves_never};
use crate::{
    policy::{Action, Context, Mismatch, Mode, PolicySet, Rewrite, Rule},
    reference::Reference,
    snapshot::{Registries, Snapshot},
};

/// How a decision came about.
#[derive(Debug)]
pub struct Explanation<'s> {
    /// The decision itself, by the same code as in a review.
    pub decision: Decision<'s>,
    /// All rules in their order.
    pub tried: Vec<Tried>,
}

/// A rule that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// Its place in [`PolicySet::rules`].
    pub rule: u32,
    /// What came of it.
    pub verdict: Verdict,
    /// The targets that it tried, in their order; none where it does not rewrite the image.
    pub targets: Vec<Target>,
}

/// A target that a rule tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The reference; where that is not valid, the template.
    pub target: String,
    /// What came of it.
    pub verdict: TargetVerdict,
}

/// What came of trying a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetVerdict {
    /// The image is pulled from it, or would be.
    Used,
    /// Its registry is down.
    Unavailable,
    /// It is no valid reference.
    Invalid,
}

/// What came of trying a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It decided.
    Decides,
    /// It would decide on the image's source, and so says how this target is pulled.
    DecidesOnSource,
    /// It denies what a later rule would have pulled instead.
    DeniesTarget,
    /// It matches, and does not decide: mode `warn` or `audit`, or nothing to decide with.
    FallsThrough,
    /// It matches, and the image is under a target already: rules do not rewrite it.
    NotRewritten,
    /// A condition does not hold.
    DoesNotMatch(Mismatch),
    /// An earlier rule decided, or the Pod opted out.
    NotReached,
}

/// Decides like [`decide`], and tells about every rule.
pub fn explain<'s>(
    snapshot: &'s Snapshot,
    context: &Context<'_>,
    image: &Reference<'_>,
    pull_policy: Option<&str>,
    opted_out: bool,
) -> Explanation<'s> {
    let set: &PolicySet = &snapshot.policies;
    let decision = decide(snapshot, context, image, pull_policy, opted_out);
    let already = decision.outcome == Outcome::AlreadyTarget;
    let over_image = set.targets_over(image);
    let under = |rule: u32| {
        let mut entries = over_image.iter().flat_map(|entries| entries.iter());
        entries.any(|entry| entry.rule == rule)
    };
    let mut over = false;
    let tried = (0u32..)
        .zip(set.rules())
        .map(|(number, rule)| {
            let denies = matches!(rule.action(), Action::Deny { .. });
            let verdict = if over || (decision.outcome == Outcome::OptedOut && !denies) {
                Verdict::NotReached
            } else if let Err(mismatch) = rule.matching().check(context, image) {
                if already && decision.rule == Some(number) {
                    Verdict::DecidesOnSource
                } else if decision.outcome == Outcome::Denied && decision.rule == Some(number) {
                    Verdict::DeniesTarget
                } else {
                    Verdict::DoesNotMatch(mismatch)
                }
            } else if rule.mode() != Mode::Enforce || matches!(rule.action(), Action::LatestPush | Action::Nothing) {
                Verdict::FallsThrough
            } else if already && decision.rule == Some(number) {
                Verdict::DecidesOnSource
            } else if already {
                Verdict::NotRewritten
            } else {
                over = true;
                Verdict::Decides
            };
            let targets = match (verdict, rule.action()) {
                // Under a target already, no rule is asked, and those that only record say nothing of their own.
                (Verdict::Decides | Verdict::FallsThrough, Action::Rewrite(rewrite))
                    if !already && !leaves_never(rewrite, pull_policy) && !under(number) =>
                {
                    targets(rewrite, rule, image, &snapshot.registries)
                }
                _ => Vec::new(),
            };
            Tried {
                rule: number,
                verdict,
                targets,
            }
        })
        .collect();
    Explanation { decision, tried }
}

/// The targets that [`target`](super::target()) tries.
fn targets(rewrite: &Rewrite, rule: &Rule, image: &Reference<'_>, registries: &Registries) -> Vec<Target> {
    let mut tried = Vec::new();
    for (target, template) in rewrite.targets(rule.matching(), image).zip(rewrite.usable()) {
        let (target, verdict) = match target {
            Some(target) if registries.is_unavailable(&target) => (target, TargetVerdict::Unavailable),
            Some(target) => (target, TargetVerdict::Used),
            None => (template.to_string(), TargetVerdict::Invalid),
        };
        tried.push(Target { target, verdict });
        if verdict != TargetVerdict::Unavailable {
            break;
        }
    }
    tried
}

impl TargetVerdict {
    /// As the JSON has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Used => "used",
            Self::Unavailable => "unavailable",
            Self::Invalid => "invalid",
        }
    }
}

impl Verdict {
    /// As the JSON has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Decides => "decides",
            Self::DecidesOnSource => "decides_on_source",
            Self::DeniesTarget => "denies_target",
            Self::FallsThrough => "falls_through",
            Self::NotRewritten => "not_rewritten",
            Self::DoesNotMatch(_) => "does_not_match",
            Self::NotReached => "not_reached",
        }
    }
}
