//! What becomes of one image: the rules of a [`PolicySet`], in their order, on a reference in its context, with the facts of a
//! [`Snapshot`].

mod explain;
mod outcome;

use smallvec::SmallVec;

pub use self::{
    explain::{Explanation, Target, TargetVerdict, Tried, Verdict, explain},
    outcome::Outcome,
};
use crate::{
    policy::{Action, Context, Found, InOrder, Matches, Mode, PolicySet, PullPolicy, Rewrite, Rule},
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
    /// The reference to pull instead: tag and digest are those of the image.
    pub target: Option<String>,
    /// How it is to be pulled.
    pub pull: PullChange<'s>,
    /// Whether the user is to be told about its mutable tag.
    pub warn_mutable_tag: bool,
    /// Rules in mode `warn` and `audit` that matched before the decision, in order.
    pub observed: SmallVec<[Observed; 1]>,
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
/// No I/O, no clock, no lock; nothing is allocated but the target, and those before it whose registries are down.
pub fn decide<'s>(
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
    if walk
        .under
        .iter()
        .flat_map(|entries| entries.iter())
        .any(|entry| set.rule(entry.rule).mode() == Mode::Enforce)
    {
        return already_target(walk, pull_policy);
    }
    let Some(rule) = walk.next_decision(|_| true) else {
        let would_rewrite = walk
            .observed
            .iter()
            .any(|observed| matches!(observed.would, Would::Rewrite(_)));
        let outcome = if would_rewrite {
            Outcome::WouldRewrite
        } else {
            Outcome::Unmatched
        };
        return walk.decided(outcome, None, None, set.untouched());
    };
    match set.rule(rule).action() {
        Action::Rewrite(rewrite) if leaves_never(rewrite, pull_policy) => {
            walk.decided(Outcome::PullNever, Some(rule), None, set.untouched())
        }
        Action::Rewrite(rewrite) => {
            match target(rewrite, set.rule(rule), image, &snapshot.registries) {
                // Asked again, the Pod would be refused: so it is at once, and does not depend on whether another webhook changes it.
                Ok(target) => match denies(snapshot, context, &target) {
                    Some(denied) => walk.decided(Outcome::Denied, Some(denied), None, set.untouched()),
                    None => walk.decided(Outcome::Rewritten, Some(rule), Some(target), set.pull_rewritten(rule)),
                },
                Err(outcome) => walk.decided(outcome, Some(rule), None, set.untouched()),
            }
        }
        Action::Keep | Action::Deny { .. } | Action::LatestPush | Action::Nothing => {
            walk.decided(Outcome::Kept, Some(rule), None, set.pull_kept(rule))
        }
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
        }
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
                (_, Action::Nothing | Action::LatestPush) => {}
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
                if under_own || leaves_never(rewrite, self.pull_policy) {
                    return;
                }
                match target(rewrite, rule, self.image, &self.snapshot.registries) {
                    Ok(target) => Would::Rewrite(target),
                    Err(_) => return,
                }
            }
            Action::Keep => Would::Keep,
            Action::Deny { .. } => Would::Deny,
            Action::LatestPush | Action::Nothing => return,
        };
        self.observed.push(Observed { rule: number, would });
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
            pull,
            warn_mutable_tag,
            observed: self.observed,
        }
    }
}

/// An image under a target is never rewritten again, whichever of a rule's targets that is and whatever is down. The rule that would
/// have decided its source says how it is pulled; where the source cannot be told, the rules that it may come from do, if they agree.
fn already_target<'s, R: Iterator<Item = u32>>(mut walk: Walk<'_, 's, R>, pull_policy: Option<&str>) -> Decision<'s> {
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
    let mut first = None;
    for mut source in sources {
        source.push_str(image.suffix());
        let Ok(source) = Reference::parse(&source) else {
            continue;
        };
        let decided = decides_on(snapshot, context, &source);
        let gives_this = |rule: u32| match set.rule(rule).action() {
            Action::Rewrite(rewrite) => {
                rewrite.gives(&image.canonical().to_string(), set.rule(rule).matching(), &source)
            }
            _ => false,
        };
        if decided.is_some_and(gives_this) {
            let pull = set.pull_as_source(decided, pull_policy);
            return walk.decided(Outcome::AlreadyTarget, decided, None, pull);
        }
        first.get_or_insert(decided);
    }
    let (rule, pull) = match first {
        // It has a source, though by now another rule would decide that.
        Some(decided) => (decided, set.pull_as_source(decided, pull_policy)),
        None => {
            candidates.retain(|rule| {
                let matching = set.rule(*rule).matching();
                matching.applies_to(context)
            });
            // A rule that keeps this very image has a say, too.
            if let Some(keeps) = walk
                .next_decision(|_| true)
                .filter(|rule| matches!(set.rule(*rule).action(), Action::Keep))
            {
                candidates.push(keeps);
            }
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

/// The rule that decides on an image which is under no target.
fn decides_on(snapshot: &Snapshot, context: &Context<'_>, image: &Reference<'_>) -> Option<u32> {
    let set = &*snapshot.policies;
    let mut found = Found::default();
    set.images().find(image, Some(context), &mut found);
    let mut walk = Walk::new(snapshot, context, image, None, found.rules(set.images(), image));
    walk.next_decision(|rule| rule < set.denying());
    walk.next_decision(|_| true)
}

impl PolicySet {
    /// An image that no rule was asked about.
    pub(crate) fn left(&self, outcome: Outcome) -> Decision<'_> {
        Decision {
            outcome,
            rule: None,
            target: None,
            pull: self.untouched(),
            warn_mutable_tag: false,
            observed: SmallVec::new(),
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
            Some((rule, Action::Rewrite(rewrite))) => {
                let mut change = self.pull_rewritten(rule);
                if leaves_never(rewrite, pull_policy) {
                    change.policy = None;
                }
                change
            }
            Some((rule, _)) => self.pull_kept(rule),
            None => self.untouched(),
        }
    }
}

/// A preloaded image is not to be pulled, under whatever name.
fn leaves_never(rewrite: &Rewrite, pull_policy: Option<&str>) -> bool {
    pull_policy == Some("Never") && !rewrite.preloaded
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
