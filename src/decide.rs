//! What becomes of one image: the rules of a [`PolicySet`], in their order, on a reference in its context, with the facts of a
//! [`Snapshot`].

mod explain;
mod outcome;
mod replicate;
mod route;
mod sources;

use smallvec::SmallVec;

pub use self::{
    explain::{Explanation, Pushed, Target, TargetVerdict, Tried, Verdict, explain},
    outcome::Outcome,
    replicate::NotReplicated,
    route::{Cycle, cycle},
};
use self::{
    route::{Routed, attempt},
    sources::{already_target, is_pushed_to},
};
use crate::{
    policy::{Action, Context, Found, LatestPush, Matches, Mode, PolicySet, PullPolicy, Rewrite, Rule},
    reference::Reference,
    snapshot::{Registries, Snapshot},
};

/// What the rules made of an image.
#[derive(Debug)]
pub struct Decision<'s> {
    /// What became of it.
    pub outcome: Outcome,
    /// The deciding rule's place in [`PolicySet::rules`]. For [`Outcome::AlreadyTarget`], the rule that would have decided its source.
    pub rule: Option<u32>,
    /// The reference to pull instead: tag and digest are those of the image, or the digest is that of the push.
    pub target: Option<String>,
    /// For [`Outcome::TargetUnavailable`] by a latest push: the reference that it would be pulled by.
    pub unavailable: Option<String>,
    /// How it is to be pulled.
    pub pull: PullChange<'s>,
    /// Whether the user is to be told about its mutable tag.
    pub warn_mutable_tag: bool,
    /// Rules in mode `warn` and `audit` that matched before the decision, in order.
    pub observed: SmallVec<[Observed; 1]>,
    /// The rule by which the image, as it is written, is to be in a registry. Whichever rule decides, this is the first that replicates it.
    pub replicate: Option<u32>,
}

/// How an image is to be pulled.
#[derive(Clone, Copy, Debug)]
pub struct PullChange<'s> {
    /// The imagePullPolicy to set; none to leave it.
    pub policy: Option<PullPolicy>,
    /// Whether an imagePullPolicy of Always may be lowered.
    pub lower: bool,
    /// The rule's Secrets to add.
    pub secrets: &'s [Box<str>],
    /// The configuration's Secrets for rewritten Pods to add.
    pub common_secrets: &'s [Box<str>],
    /// Whether the managed pull secret is added where it is due.
    pub inject: bool,
}

/// What a rule that does not decide would have done.
#[derive(Debug, PartialEq, Eq)]
pub struct Observed {
    /// The rule's place in [`PolicySet::rules`].
    pub rule: u32,
    /// What it would have done.
    pub would: Would,
}

/// What a rule that does not decide would have done.
#[derive(Debug, PartialEq, Eq)]
pub enum Would {
    /// Rewritten the image to this.
    Rewrite(String),
    /// Kept it.
    Keep,
    /// Refused the Pod.
    Deny,
}

/// Decides on one image. `pull_policy` is the one that it has; `opted_out` whether the Pod must not be rewritten.
///
/// No I/O, no clock, no lock; nothing is allocated but the target, those before it whose registries are down, and those on the way to it.
pub fn decide<'s>(
    snapshot: &'s Snapshot,
    context: &Context<'_>,
    image: &Reference<'_>,
    pull_policy: Option<&str>,
    opted_out: bool,
) -> Decision<'s> {
    let mut decision = by_rules(snapshot, context, image, pull_policy, opted_out);
    let replicated = replicate::replicated(snapshot, context, image, &decision, pull_policy);
    decision.replicate = replicated.and_then(|(rule, result)| result.is_ok().then_some(rule));
    decision
}

fn by_rules<'s>(
    snapshot: &'s Snapshot,
    context: &Context<'_>,
    image: &Reference<'_>,
    pull_policy: Option<&str>,
    opted_out: bool,
) -> Decision<'s> {
    let set = &*snapshot.policies;
    let mut found = Found::default();
    set.images().find(image, Some(context), &mut found);
    let mut walk = Walk::new(snapshot, context, image, pull_policy, found.rules(set.images(), image));
    if let Some(denied) = walk.next_decision(|rule| rule < set.denying()) {
        return walk.decided(Outcome::Denied, Some(denied), None, set.untouched());
    }
    if opted_out {
        return walk.decided(Outcome::OptedOut, None, None, set.untouched());
    }
    walk.under = set.targets_over(image);
    if walk.is_under_target() || is_pushed_to(snapshot, image) {
        // It is where rules lead to already; only a push of its own leads on from there.
        return match follow(snapshot, context, image, pull_policy) {
            Some((rule, Followed::To(target))) => walk.rewritten(rule, target),
            Some((rule, Followed::Never)) => walk.decided(Outcome::PullNever, Some(rule), None, set.untouched()),
            Some((rule, Followed::Unavailable(target))) => walk.unavailable(rule, Some(target)),
            None => already_target(walk, pull_policy),
        };
    }
    while let Some(rule) = walk.next_decision(|_| true) {
        match set.rule(rule).action() {
            Action::LatestPush(latest) => {
                let attempt = attempt(snapshot, context, latest, image, pull_policy, false);
                return match attempt.routed {
                    Routed::NoPush | Routed::Endless | Routed::NotAdmitted => {
                        walk.falls_through(rule, latest, attempt.routed);
                        continue;
                    }
                    Routed::Own => {
                        let pull = set.pull_as_source(Some(rule), pull_policy);
                        walk.decided(Outcome::AlreadyTarget, Some(rule), None, pull)
                    }
                    Routed::Never => walk.decided(Outcome::PullNever, Some(rule), None, set.untouched()),
                    Routed::Unavailable => walk.unavailable(rule, Some(attempt.target)),
                    Routed::To => walk.rewritten(rule, attempt.target),
                };
            }
            Action::Rewrite(rewrite) if leaves_never(rewrite.preloaded, pull_policy) => {
                return walk.decided(Outcome::PullNever, Some(rule), None, set.untouched());
            }
            Action::Rewrite(rewrite) => {
                return match target(rewrite, set.rule(rule), image, &snapshot.registries) {
                    Ok(target) => walk.rewritten(rule, target),
                    Err(Outcome::TargetUnavailable) => walk.unavailable(rule, None),
                    Err(outcome) => walk.decided(outcome, Some(rule), None, set.untouched()),
                };
            }
            Action::Keep | Action::Deny { .. } | Action::Nothing => {
                return walk.decided(Outcome::Kept, Some(rule), None, set.pull_kept(rule));
            }
        }
    }
    let would_rewrite = |observed: &Observed| matches!(observed.would, Would::Rewrite(_));
    let (outcome, rule) = match walk.fell {
        Some((rule, outcome)) => (outcome, Some(rule)),
        None if walk.observed.iter().any(would_rewrite) => (Outcome::WouldRewrite, None),
        None => (Outcome::Unmatched, None),
    };
    walk.decided(outcome, rule, None, set.untouched())
}

/// Where the latest push of a target leads to.
enum Followed {
    To(String),
    Never,
    Unavailable(String),
}

/// The rule that leads a target on to where it was pushed itself; none where no rule does, or one comes before that keeps it where it is.
fn follow(
    snapshot: &Snapshot,
    context: &Context<'_>,
    image: &Reference<'_>,
    pull_policy: Option<&str>,
) -> Option<(u32, Followed)> {
    let set = &*snapshot.policies;
    if snapshot.pushes.is_empty() || !set.routes_pushes() || snapshot.pushes.find(image).is_empty() {
        return None;
    }
    let mut found = Found::default();
    set.images().find(image, Some(context), &mut found);
    let mut walk = Walk::new(snapshot, context, image, None, found.rules(set.images(), image));
    while walk.next_decision(|rule| rule < set.denying()).is_some() {}
    while let Some(rule) = walk.next_decision(|_| true) {
        let Action::LatestPush(latest) = set.rule(rule).action() else {
            return None;
        };
        let attempt = attempt(snapshot, context, latest, image, pull_policy, true);
        let followed = match attempt.routed {
            Routed::NoPush | Routed::Endless | Routed::NotAdmitted => continue,
            Routed::Own => return None,
            Routed::Never => Followed::Never,
            Routed::Unavailable => Followed::Unavailable(attempt.target),
            Routed::To => Followed::To(attempt.target),
        };
        return Some((rule, followed));
    }
    None
}

/// A target may have been pushed on, as an image of its own: the Pod would be led there when it is looked at again, so it is at once. None
/// where rules lead in a circle.
fn settle(
    snapshot: &Snapshot,
    context: &Context<'_>,
    mut rule: u32,
    mut target: String,
    pull_policy: Option<&str>,
) -> Option<(u32, String)> {
    let set = &*snapshot.policies;
    let mut seen: SmallVec<[String; 2]> = SmallVec::new();
    loop {
        let Ok(image) = Reference::parse(&target) else {
            return Some((rule, target));
        };
        // As it would be by then.
        let policy = set.pull_rewritten(rule).policy_for(pull_policy).or(pull_policy);
        let Some((further, Followed::To(next))) = follow(snapshot, context, &image, policy) else {
            return Some((rule, target));
        };
        if next == target || seen.contains(&next) || seen.len() >= MOST_RULES_IN_TURN {
            return None;
        }
        seen.push(std::mem::replace(&mut target, next));
        rule = further;
    }
}

/// Where a rule rewrites an image to; or the outcome where that is nowhere. No later rule makes up for it: what is pulled shall not
/// depend on which of two rules happens to work.
fn target(rewrite: &Rewrite, rule: &Rule, image: &Reference<'_>, registries: &Registries) -> Result<String, Outcome> {
    for target in rewrite.targets(rule.matching(), image) {
        let target = target.ok_or(Outcome::InvalidTarget)?;
        if !registries.is_unavailable(&target) {
            return Ok(target);
        }
    }
    Err(Outcome::TargetUnavailable)
}

/// The rule that refuses Pods with what an image would be rewritten to.
fn denies(snapshot: &Snapshot, context: &Context<'_>, target: &str) -> Option<u32> {
    let set = &*snapshot.policies;
    if set.denying() == 0 {
        return None;
    }
    let image = &Reference::parse(target).ok()?;
    let mut found = Found::default();
    set.images().find(image, Some(context), &mut found);
    let mut walk = Walk::new(snapshot, context, image, None, found.rules(set.images(), image));
    walk.next_decision(|rule| rule < set.denying())
}

/// One image's way through the rules.
struct Walk<'w, 's, R: Iterator<Item = u32>> {
    set: &'s PolicySet,
    snapshot: &'s Snapshot,
    context: &'w Context<'w>,
    image: &'w Reference<'w>,
    pull_policy: Option<&'w str>,
    /// The rules whose `images` match, in order.
    rules: std::iter::Peekable<R>,
    observed: SmallVec<[Observed; 1]>,
    /// The rules under whose targets the image is.
    under: Matches<'s>,
    /// The rule that had no push to lead to, and what to say of it where no other decides.
    fell: Option<(u32, Outcome)>,
}

impl<'w, 's, R: Iterator<Item = u32>> Walk<'w, 's, R> {
    fn new(
        snapshot: &'s Snapshot,
        context: &'w Context<'w>,
        image: &'w Reference<'w>,
        pull_policy: Option<&'w str>,
        rules: R,
    ) -> Self {
        Self {
            set: &snapshot.policies,
            snapshot,
            context,
            image,
            pull_policy,
            rules: rules.peekable(),
            observed: SmallVec::new(),
            under: Matches::new(),
            fell: None,
        }
    }

    /// Whether the image is under the target of a rule that decides.
    fn is_under_target(&self) -> bool {
        let mut entries = self.under.iter().flat_map(|entries| entries.iter());
        entries.any(|entry| self.set.rule(entry.rule).mode() == Mode::Enforce)
    }

    /// The next rule that decides, among those that `within` holds for; the others stay for the next call.
    fn next_decision(&mut self, within: impl Fn(u32) -> bool) -> Option<u32> {
        let mut last = None;
        while let Some(number) = self.rules.next_if(|rule| within(*rule)) {
            // A rule with several patterns comes once for each that matches.
            if last.replace(number) == Some(number) {
                continue;
            }
            let rule = self.set.rule(number);
            if rule.matching().check_rest(self.context, self.image).is_err() {
                continue;
            }
            match (rule.mode(), rule.action()) {
                (_, Action::Nothing) => {}
                (mode, Action::LatestPush(latest)) if self.snapshot.pushes.is_empty() => {
                    if mode == Mode::Enforce {
                        self.falls_through(number, latest, Routed::NoPush);
                    }
                }
                (Mode::Enforce, _) => return Some(number),
                (Mode::Warn | Mode::Audit, action) => self.observe(number, rule, action),
            }
        }
        None
    }

    fn observe(&mut self, number: u32, rule: &Rule, action: &Action) {
        let would = match action {
            Action::Rewrite(rewrite) => {
                let under_own = self
                    .under
                    .iter()
                    .flat_map(|entries| entries.iter())
                    .any(|entry| entry.rule == number);
                if under_own || leaves_never(rewrite.preloaded, self.pull_policy) {
                    return;
                }
                match target(rewrite, rule, self.image, &self.snapshot.registries) {
                    Ok(target) => Would::Rewrite(target),
                    Err(_) => return,
                }
            }
            Action::LatestPush(latest) => {
                let attempt = attempt(self.snapshot, self.context, latest, self.image, self.pull_policy, false);
                match attempt.routed {
                    Routed::To => Would::Rewrite(attempt.target),
                    _ => return,
                }
            }
            Action::Keep => Would::Keep,
            Action::Deny { .. } => Would::Deny,
            Action::Nothing => return,
        };
        self.observed.push(Observed { rule: number, would });
    }

    /// A rule has no push to lead to. That of the built-in one is nothing to speak of, unless there is a push that is not for this namespace.
    fn falls_through(&mut self, rule: u32, latest: &LatestPush, routed: Routed) {
        let outcome = match routed {
            Routed::NotAdmitted => Outcome::NoCredential,
            _ if latest.built_in => return,
            _ => Outcome::NoPush,
        };
        if !matches!(self.fell, Some((_, fell)) if fell == Outcome::NoCredential || fell == outcome) {
            self.fell = Some((rule, outcome));
        }
    }

    /// A rule rewrites the image to this target, or to where that was pushed.
    fn rewritten(self, rule: u32, target: String) -> Decision<'s> {
        let (set, snapshot, context) = (self.set, self.snapshot, self.context);
        let Some((rule, target)) = settle(snapshot, context, rule, target, self.pull_policy) else {
            return self.decided(Outcome::NoPush, Some(rule), None, set.untouched());
        };
        // Asked again, the Pod would be refused: so it is at once, and does not depend on whether another webhook changes it.
        match denies(snapshot, context, &target) {
            Some(denied) => self.decided(Outcome::Denied, Some(denied), None, set.untouched()),
            None => self.decided(Outcome::Rewritten, Some(rule), Some(target), set.pull_rewritten(rule)),
        }
    }

    fn unavailable(self, rule: u32, target: Option<String>) -> Decision<'s> {
        let pull = self.set.untouched();
        let mut decision = self.decided(Outcome::TargetUnavailable, Some(rule), None, pull);
        decision.unavailable = target;
        decision
    }

    fn decided(
        self,
        outcome: Outcome,
        rule: Option<u32>,
        target: Option<String>,
        pull: PullChange<'s>,
    ) -> Decision<'s> {
        let decides = matches!(outcome, Outcome::Rewritten | Outcome::Kept);
        let warn_mutable_tag = decides && rule.is_some_and(|rule| self.set.rule(rule).warns_of_mutable_tags());
        Decision {
            outcome,
            rule,
            target,
            unavailable: None,
            pull,
            warn_mutable_tag,
            observed: self.observed,
            replicate: None,
        }
    }
}

impl PolicySet {
    /// An image that no rule was asked about.
    pub(crate) fn left(&self, outcome: Outcome) -> Decision<'_> {
        Decision {
            outcome,
            rule: None,
            target: None,
            unavailable: None,
            pull: self.untouched(),
            warn_mutable_tag: false,
            observed: SmallVec::new(),
            replicate: None,
        }
    }

    /// For images that are left: only the managed pull secret may be due.
    pub(crate) fn untouched(&self) -> PullChange<'_> {
        PullChange {
            policy: None,
            lower: false,
            secrets: &[],
            common_secrets: &[],
            inject: self.settings().inject,
        }
    }

    fn pull_rewritten(&self, rule: u32) -> PullChange<'_> {
        let mut change = self.pull_kept(rule);
        change.policy = change.policy.or(Some(self.settings().pull_policy));
        change.common_secrets = &self.settings().pull_secrets;
        change
    }

    fn pull_kept(&self, rule: u32) -> PullChange<'_> {
        let pull = self.rule(rule).pull();
        PullChange {
            policy: pull.policy,
            lower: pull.lower,
            secrets: &pull.secrets,
            common_secrets: &[],
            inject: pull.inject.unwrap_or(self.settings().inject),
        }
    }

    /// How an image that is a target already is pulled, by the rule that decides on its source.
    fn pull_as_source(&self, rule: Option<u32>, pull_policy: Option<&str>) -> PullChange<'_> {
        match rule.map(|rule| (rule, self.rule(rule).action())) {
            Some((rule, Action::Rewrite(rewrite))) => self.pull_target(rule, rewrite.preloaded, pull_policy),
            Some((rule, Action::LatestPush(latest))) => self.pull_target(rule, latest.preloaded, pull_policy),
            Some((rule, _)) => self.pull_kept(rule),
            None => self.untouched(),
        }
    }

    fn pull_target(&self, rule: u32, preloaded: bool, pull_policy: Option<&str>) -> PullChange<'_> {
        let mut change = self.pull_rewritten(rule);
        if leaves_never(preloaded, pull_policy) {
            change.policy = None;
        }
        change
    }
}

/// Rules that lead from one push to another in turn, each by registries of its own: more than anybody writes.
const MOST_RULES_IN_TURN: usize = 8;

/// A preloaded image is not to be pulled, under whatever name.
fn leaves_never(preloaded: bool, pull_policy: Option<&str>) -> bool {
    pull_policy == Some("Never") && !preloaded
}

impl PullChange<'_> {
    /// The imagePullPolicy to set, where it is another than the image has.
    pub fn policy_for(&self, present: Option<&str>) -> Option<&'static str> {
        let wanted = self.policy?.as_str()?;
        let lowered = present == Some("Always") && wanted != "Always" && !self.lower;
        (present != Some(wanted) && !lowered).then_some(wanted)
    }

    /// In policy and Secrets; the managed one is seen to for itself.
    fn is_same(&self, other: &Self) -> bool {
        self.policy == other.policy
            && self.lower == other.lower
            && self.secrets == other.secrets
            && self.common_secrets == other.common_secrets
    }
}

#[cfg(test)]
mod tests;
