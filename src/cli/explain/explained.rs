//! What is told of an image: the shape of the JSON, and what the text is written from.

use serde::Serialize;

use crate::admission::OPT_OUT_LABEL;
use crate::decide::{Explanation, NotReplicated, Outcome, Pushed, Target, TargetVerdict, Tried, Verdict, explain};
use crate::policy::{Action, Context, ImageTest, Labels, Mismatch, Mode, PolicySet, Rule};
use crate::reference::Reference;
use crate::snapshot::Snapshot;

/// An image, explained.
#[derive(Debug, Serialize)]
pub(super) struct Explained {
    /// As it was given.
    pub(super) input: String,
    /// Its normal form; absent where it is no reference.
    #[serde(flatten)]
    pub(super) normal: Option<Normal>,
    /// Why it is no reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    /// The namespace of the Pod.
    pub(super) namespace: String,
    /// Every rule in its order.
    pub(super) rules: Vec<TriedRule>,
    /// What becomes of it.
    pub(super) outcome: &'static str,
    /// The rule that decides.
    pub(super) rule: Option<String>,
    /// What is pulled instead.
    pub(super) target: Option<String>,
    /// The imagePullPolicy that is set.
    pub(super) pull_policy: Option<&'static str>,
    /// The Secrets that are added.
    pub(super) pull_secrets: Vec<String>,
    /// Where it is pushed to when a Pod uses it; absent where no rule replicates it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) replicate: Option<Replicated>,
    /// What else to know.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) notes: Vec<String>,
}

/// Where an image is pushed to when a Pod uses it.
#[derive(Debug, Serialize)]
pub(super) struct Replicated {
    pub(super) rule: String,
    pub(super) registry_id: String,
    /// In seconds.
    pub(super) refresh: u64,
    pub(super) referrers: bool,
    /// Why it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) why_not: Option<&'static str>,
}

/// The parts of a normalised reference.
#[derive(Debug, Serialize)]
pub(super) struct Normal {
    pub(super) canonical: String,
    pub(super) registry: String,
    pub(super) repository: String,
    pub(super) tag: Option<String>,
    pub(super) digest: Option<String>,
}

/// A rule that was tried.
#[derive(Debug, Serialize)]
pub(super) struct TriedRule {
    pub(super) rule: String,
    pub(super) verdict: &'static str,
    pub(super) reason: String,
    /// The targets that it tried, in their order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) targets: Vec<TriedTarget>,
    /// The pushes that it followed, each into the image of the next.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) pushes: Vec<TriedPush>,
}

/// A push that a rule followed.
#[derive(Debug, Serialize)]
pub(super) struct TriedPush {
    pub(super) image: String,
    pub(super) registry_id: String,
    pub(super) target: String,
    pub(super) digest: String,
    pub(super) finished_at: String,
}

/// A target that a rule tried.
#[derive(Debug, Serialize)]
pub(super) struct TriedTarget {
    pub(super) target: String,
    pub(super) verdict: &'static str,
    #[serde(skip)]
    pub(super) reason: &'static str,
}

impl Explained {
    pub(super) fn of(snapshot: &Snapshot, context: &Context<'_>, image: &str, pull_policy: Option<&str>) -> Self {
        let set = &*snapshot.policies;
        let unexplained = |error: String| Self {
            input: image.to_owned(),
            normal: None,
            error: Some(error),
            namespace: context.namespace.to_owned(),
            rules: Vec::new(),
            outcome: Outcome::Unparsable.as_str(),
            rule: None,
            target: None,
            pull_policy: None,
            pull_secrets: Vec::new(),
            replicate: None,
            notes: vec!["the image is left as it is, and the user is warned".to_owned()],
        };
        let reference = match Reference::parse(image) {
            Ok(reference) if reference.registry().is_empty() => {
                return unexplained("nodes read no registry in it: its first part is no host name".to_owned());
            }
            Ok(reference) => reference,
            Err(error) => return unexplained(error.to_string()),
        };
        let opts_out = |labels: &dyn Labels| labels.value(OPT_OUT_LABEL) == Some("disabled");
        let opted_out =
            set.settings().opt_out_allowed && (opts_out(context.pod_labels) || opts_out(context.namespace_labels));
        let explanation = explain(snapshot, context, &reference, pull_policy, opted_out);
        let decision = &explanation.decision;
        let tried = explanation
            .tried
            .iter()
            .map(|tried| {
                let rule = &set.rules()[tried.rule as usize];
                TriedRule {
                    rule: rule.id().to_owned(),
                    verdict: tried.verdict.as_str(),
                    reason: reason(rule, tried, context, decision.outcome, opted_out),
                    targets: tried.targets.iter().map(TriedTarget::of).collect(),
                    pushes: tried.pushes.iter().map(TriedPush::of).collect(),
                }
            })
            .collect();
        let secrets = decision.pull.secrets.iter().chain(decision.pull.common_secrets);
        let mut notes = Vec::new();
        match decision.outcome {
            Outcome::InvalidTarget => notes
                .push("the rule's template gives a name that no image can have: the image is left as it is".to_owned()),
            Outcome::TargetUnavailable => notes.push(
                "no target that the rule may use is up: the image is left as it is, and the user is warned".to_owned(),
            ),
            Outcome::PullNever => {
                notes.push("its imagePullPolicy is Never: only a rule with `preloaded: true` rewrites it".to_owned())
            }
            Outcome::OptedOut => notes.push(format!("the label {OPT_OUT_LABEL}: disabled stops rewriting")),
            Outcome::AlreadyTarget => notes.push("it is where a rule leads to: no rule rewrites it again".to_owned()),
            Outcome::NoPush => notes.push("no push leads anywhere, and no other rule decides".to_owned()),
            Outcome::NoCredential => notes.push(
                "its latest push is in a registry that does not admit the namespace, and no other rule decides"
                    .to_owned(),
            ),
            _ => {}
        }
        if decision.warn_mutable_tag && reference.matching_tag() == Some("latest") {
            notes.push("the user is warned of its mutable tag".to_owned());
        }
        Self {
            input: image.to_owned(),
            normal: Some(Normal {
                canonical: reference.canonical().to_string(),
                registry: reference.registry().to_owned(),
                repository: reference.repository().to_string(),
                tag: reference.tag().map(str::to_owned),
                digest: reference.digest().map(str::to_owned),
            }),
            error: None,
            namespace: context.namespace.to_owned(),
            rules: tried,
            outcome: decision.outcome.as_str(),
            rule: decision.rule.map(|rule| set.rules()[rule as usize].id().to_owned()),
            target: decision.target.clone(),
            pull_policy: decision.pull.policy_for(pull_policy),
            pull_secrets: secrets.map(ToString::to_string).collect(),
            replicate: Replicated::of(set, &explanation),
            notes,
        }
    }
}

impl TriedRule {
    /// Whether a target that it tried is down.
    pub(super) fn any_unavailable(&self) -> bool {
        let mut targets = self.targets.iter();
        targets.any(|target| target.verdict == TargetVerdict::Unavailable.as_str())
    }
}

impl Replicated {
    fn of(set: &PolicySet, explanation: &Explanation<'_>) -> Option<Self> {
        let (rule, result) = explanation.replicated?;
        let rule = &set.rules()[rule as usize];
        let replicate = rule.replicate()?;
        Some(Self {
            rule: rule.id().to_owned(),
            registry_id: replicate.registry.to_string(),
            refresh: replicate.refresh.as_secs(),
            referrers: replicate.referrers,
            why_not: result.err().map(NotReplicated::as_str),
        })
    }
}

impl TriedPush {
    fn of(push: &Pushed) -> Self {
        Self {
            image: push.image.clone(),
            registry_id: push.registry.to_string(),
            target: push.target.clone(),
            digest: push.digest.clone(),
            finished_at: push.at.to_string(),
        }
    }
}

impl TriedTarget {
    fn of(tried: &Target) -> Self {
        Self {
            target: tried.target.clone(),
            verdict: tried.verdict.as_str(),
            reason: match tried.verdict {
                TargetVerdict::Used => "used",
                TargetVerdict::Unavailable => "its registry is down",
                TargetVerdict::Invalid => "it gives a name that no image can have",
            },
        }
    }
}

fn reason(rule: &Rule, tried: &Tried, context: &Context<'_>, outcome: Outcome, opted_out: bool) -> String {
    match tried.verdict {
        Verdict::Decides => action(rule),
        Verdict::DecidesOnTarget => {
            "it leads on from what another rule would pull instead, which was pushed itself".to_owned()
        }
        Verdict::DecidesOnSource | Verdict::NotRewritten if tried.why_not.is_some() => {
            tried.why_not.unwrap_or_default().to_owned()
        }
        Verdict::DeniesTarget => "it refuses what a later rule would pull instead".to_owned(),
        Verdict::DecidesOnSource => {
            "it would decide on the image that this name stands for, and so says how it is pulled".to_owned()
        }
        Verdict::NotRewritten => "it matches, and the image is under a target already".to_owned(),
        Verdict::FallsThrough => match (rule.mode(), rule.action()) {
            _ if tried.why_not.is_some() => tried.why_not.unwrap_or_default().to_owned(),
            (Mode::Warn, _) => format!("it matches, and in mode warn only tells the user: {}", action(rule)),
            (Mode::Audit, _) => format!("it matches, and in mode audit only records: {}", action(rule)),
            (Mode::Enforce, _) if rule.replicate().is_some() => {
                "it matches, and decides nothing: it replicates".to_owned()
            }
            (Mode::Enforce, _) => "it matches, and has nothing to decide".to_owned(),
        },
        Verdict::NotReached if opted_out && outcome == Outcome::OptedOut => "the Pod opted out".to_owned(),
        Verdict::NotReached => "an earlier rule decided".to_owned(),
        Verdict::DoesNotMatch(mismatch) => mismatched(rule, mismatch, context),
    }
}

fn action(rule: &Rule) -> String {
    match rule.action() {
        Action::Rewrite(rewrite) => format!(
            "it rewrites to {}",
            rewrite
                .usable()
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", ")
        ),
        Action::LatestPush(_) => "it rewrites to where the image was last pushed".to_owned(),
        Action::Keep => "it keeps the image as it is".to_owned(),
        Action::Deny { message } => format!("it refuses the Pod: {message}"),
        Action::Nothing => "it has nothing to decide".to_owned(),
    }
}

fn mismatched(rule: &Rule, mismatch: Mismatch, context: &Context<'_>) -> String {
    let matching = rule.matching();
    let tests = |tests: &[ImageTest]| list(tests.iter().map(ToString::to_string));
    let namespace = context.namespace;
    match mismatch {
        Mismatch::Images => format!("the image is none of {}", tests(matching.images())),
        Mismatch::ExceptImages => format!("the image is excepted by one of {}", tests(matching.except_images())),
        Mismatch::Namespaces => format!(
            "the namespace {namespace} is none of {}",
            list(matching.namespaces().iter().map(ToString::to_string))
        ),
        Mismatch::ExceptNamespaces => format!("the namespace {namespace} is excepted"),
        Mismatch::NamespaceSelector => "its namespaceSelector does not select the namespace's labels".to_owned(),
        Mismatch::PodSelector => "its podSelector does not select the Pod's labels".to_owned(),
    }
}

/// At most a handful: a rule may have thousands.
fn list(items: impl Iterator<Item = String>) -> String {
    let mut items: Vec<String> = items.take(6).collect();
    if items.len() == 6 {
        items[5] = "…".to_owned();
    }
    items.join(", ")
}
