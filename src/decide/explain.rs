//! Why an image became what it became: every rule tried, one by one, for people.

use super::{Decision, Outcome, decide};
use crate::{
    policy::{Action, Context, Mismatch, Mode, PolicySet},
    reference::Reference,
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
    set: &'s PolicySet,
    context: &Context<'_>,
    image: &Reference<'_>,
    pull_policy: Option<&str>,
    opted_out: bool,
) -> Explanation<'s> {
    let decision = decide(set, context, image, pull_policy, opted_out);
    let already = decision.outcome == Outcome::AlreadyTarget;
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
            Tried { rule: number, verdict }
        })
        .collect();
    Explanation { decision, tried }
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
