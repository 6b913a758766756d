//! Why an image became what it became: every rule tried, one by one, for people.

use jiff::Timestamp;

use super::{
    Decision, NotReplicated, Outcome, decide, leaves_never,
    replicate::replicated,
    route::{Attempt, Routed, attempt},
    sources::is_pushed_to,
};
use crate::{
    policy::{Action, Context, Mismatch, Mode, PolicySet, Rewrite, Rule},
    pushes::{Found, normal},
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
    /// The rule that replicates the image, or why it does not.
    pub replicated: Option<(u32, Result<(), NotReplicated>)>,
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
    /// The pushes that it followed, each into the image of the next.
    pub pushes: Vec<Pushed>,
    /// Why it does not lead to where the image was pushed, or that it need not.
    pub why_not: Option<&'static str>,
}

/// A push that a rule followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// The image.
    pub image: String,
    /// The registry's id.
    pub registry: Box<str>,
    /// When.
    pub at: Timestamp,
    /// What.
    pub digest: String,
    /// What it is called there.
    pub target: String,
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
    /// What another rule would pull instead was pushed itself, and it leads on to there.
    DecidesOnTarget,
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
    let rewritten = decision.outcome == Outcome::Rewritten;
    let over_image = set.targets_over(image);
    let under = |rule: u32| {
        let mut entries = over_image.iter().flat_map(|entries| entries.iter());
        entries.any(|entry| entry.rule == rule)
    };
    let enforced = |rule: &Rule| rule.mode() == Mode::Enforce;
    let protected = is_pushed_to(snapshot, image)
        || (0u32..)
            .zip(set.rules())
            .any(|(number, rule)| enforced(rule) && under(number));
    let mut over = false;
    let tried = (0u32..)
        .zip(set.rules())
        .map(|(number, rule)| {
            let denies = matches!(rule.action(), Action::Deny { .. });
            let led = match rule.action() {
                Action::LatestPush(latest) => Some(attempt(snapshot, context, latest, image, pull_policy, protected)),
                _ => None,
            };
            let verdict = if over || (decision.outcome == Outcome::OptedOut && !denies) {
                Verdict::NotReached
            } else if let Err(mismatch) = rule.matching().check(context, image) {
                if already && decision.rule == Some(number) {
                    Verdict::DecidesOnSource
                } else if decision.outcome == Outcome::Denied && decision.rule == Some(number) {
                    Verdict::DeniesTarget
                } else if rewritten && decision.rule == Some(number) {
                    Verdict::DecidesOnTarget
                } else {
                    Verdict::DoesNotMatch(mismatch)
                }
            } else if !enforced(rule) || matches!(rule.action(), Action::Nothing) {
                Verdict::FallsThrough
            } else if let Some(led) = &led {
                match led.routed {
                    Routed::NoPush | Routed::Endless | Routed::NotAdmitted
                        if rewritten && decision.rule == Some(number) =>
                    {
                        Verdict::DecidesOnTarget
                    }
                    Routed::NoPush | Routed::Endless | Routed::NotAdmitted => Verdict::FallsThrough,
                    Routed::Own if protected && decision.rule != Some(number) => Verdict::NotRewritten,
                    Routed::Own => {
                        over |= !protected;
                        Verdict::DecidesOnSource
                    }
                    Routed::Never | Routed::Unavailable | Routed::To => {
                        over = true;
                        Verdict::Decides
                    }
                }
            } else if rewritten && protected {
                // One that comes later leads on.
                Verdict::NotRewritten
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
                    if !already && !leaves_never(rewrite.preloaded, pull_policy) && !under(number) =>
                {
                    targets(rewrite, rule, image, &snapshot.registries)
                }
                _ => Vec::new(),
            };
            let told = led.filter(|_| !matches!(verdict, Verdict::NotReached | Verdict::DoesNotMatch(_)));
            let (pushes, why_not) = told.map_or_else(Default::default, |led| (pushes(&led, image), why_not(&led)));
            Tried {
                rule: number,
                verdict,
                targets,
                pushes,
                why_not,
            }
        })
        .collect();
    let replicated = replicated(snapshot, context, image, &decision, pull_policy);
    Explanation {
        decision,
        tried,
        replicated,
    }
}

/// The pushes that were followed, and the last one's target where another was taken for it.
fn pushes(led: &Attempt<'_>, image: &Reference<'_>) -> Vec<Pushed> {
    let pushed = |image: &str, push: &Found<'_>, target: &str| Pushed {
        image: image.to_owned(),
        registry: push.registry.into(),
        at: push.order().0,
        digest: push.digest().into_owned(),
        target: target.to_owned(),
    };
    let links = led.route.links.iter();
    let mut pushes: Vec<Pushed> = links
        .map(|link| pushed(&link.image, &link.push, &link.target))
        .collect();
    if let Some(own) = &led.route.own {
        let image = pushes.last().map_or_else(|| normal(image), |last| last.target.clone());
        pushes.push(pushed(&image, own, &image));
    }
    pushes
}

fn why_not(led: &Attempt<'_>) -> Option<&'static str> {
    match led.routed {
        Routed::NoPush => Some("no push of this image is known here"),
        Routed::Endless => Some("pushes of this image lead on and on"),
        Routed::NotAdmitted => Some("the namespace may not pull from the registry that it was last pushed to"),
        Routed::Own => Some("the image is where it was last pushed to"),
        Routed::Never | Routed::Unavailable | Routed::To => None,
    }
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
            Self::DecidesOnTarget => "decides_on_target",
            Self::FallsThrough => "falls_through",
            Self::NotRewritten => "not_rewritten",
            Self::DoesNotMatch(_) => "does_not_match",
            Self::NotReached => "not_reached",
        }
    }
}
