//! Test files: what policies are expected to make of images, written beside them as `*.test.yaml`.
//!
//! ```yaml
//! preset: harbor-proxy-projects        # or policies: [own.yaml], relative to this file; or both
//! values: {host: harbor.example.com}   # for what the preset declares
//! registries: {corp: {url: r.io/team}} # for pushes: by id, what a Registry object's spec says
//! cases:
//!   - image: alpine                    # also namespace, namespaceLabels, podLabels, pullPolicy, optedOut, unavailable, pushes
//!     expect:
//!       outcome: rewritten             # always; what else is said is compared, what is not is not
//!       target: harbor.example.com/docker-hub/library/alpine
//!       rule: docker-hub               # or harbor-proxy-projects/docker-hub
//!       pullPolicy: Always             # what the Pod has in the end
//!       secrets: []                    # the rule's, in order
//!       replicate: ''                  # the id of the registry that it is replicated into; this is none
//! ```
//!
//! ```
//! use waypost::{cases, document::Source};
//!
//! let test = Source::new("t.yaml", "preset: local-registry\ncases: [{image: quay.io/a, expect: {outcome: unmatched}}]");
//! let report = cases::run(&test, |name| unreachable!("{name}: no policies are named"));
//! assert_eq!((report.cases, report.diagnostics.len()), (1, 0));
//! assert_eq!(report.untested, ["local-registry/docker-hub"]);
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    decide::{Decision, Outcome, decide},
    document::{self, Diagnostic, Node, Path, Problem, Severity, Source, check::Shape},
    policy::{Action, Context, Input, PolicySet, PresetChoice, Rule, Settings, compile, spec},
    reference::Reference,
    registry::{RegistrySpec, id_problem},
    snapshot::{BadTrialPush, Snapshot, Trial, TrialPush},
};

/// A test file as it is written.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct TestDocument {
    /// The name of a preset to test.
    pub preset: Option<String>,
    /// Values for what the preset declares.
    #[serde(default)]
    pub values: BTreeMap<String, String>,
    /// Files with policies to test, relative to this file, in the order in which they decide.
    #[serde(default)]
    pub policies: Vec<String>,
    /// Registries that pushes of the cases go into, by their ids: each as the `spec` of a `Registry` object.
    #[serde(default)]
    pub registries: BTreeMap<String, RegistrySpec>,
    /// Images, and what is to become of them.
    #[schemars(length(min = 1))]
    pub cases: Vec<CaseSpec>,
}

/// An image in its context, and what is to become of it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct CaseSpec {
    /// The image, as a Pod has it.
    pub image: String,
    /// The Pod's namespace; `default` where it is not said.
    pub namespace: Option<String>,
    /// The namespace's labels.
    #[serde(default)]
    pub namespace_labels: BTreeMap<String, String>,
    /// The Pod's labels.
    #[serde(default)]
    pub pod_labels: BTreeMap<String, String>,
    /// The imagePullPolicy that the Pod has.
    pub pull_policy: Option<ImagePullPolicy>,
    /// Whether Pod or namespace have the label that stops rewriting.
    #[serde(default)]
    pub opted_out: bool,
    /// Registries that are taken to be down, by their ids or as `HOST` or `HOST/ORGANIZATION`; all others are up.
    #[serde(default)]
    pub unavailable: Vec<String>,
    /// Pushes that went well.
    #[serde(default)]
    pub pushes: Vec<PushSpec>,
    /// What is to become of the image.
    pub expect: Expectation,
}

/// A push that went well.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PushSpec {
    /// The image that was pushed, by the name that Pods have for it.
    pub image: String,
    /// The registry that it went into: an id of `registries`; or `HOST` or `HOST/ORGANIZATION`, which need not be there.
    pub registry: String,
    /// What was pushed. Absent: the same in all pushes of an image.
    pub digest: Option<String>,
    /// When, as `2026-01-31T12:00:00Z`. Absent: before those that have a time, each after the one above it.
    pub finished_at: Option<String>,
}

/// What is to become of an image. What is not said is not compared.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Expectation {
    /// What becomes of it.
    pub outcome: Outcome,
    /// What it is rewritten to.
    pub target: Option<String>,
    /// The rule that decides, by its name or as `policy/rule`.
    pub rule: Option<String>,
    /// The imagePullPolicy that the Pod has in the end.
    pub pull_policy: Option<ImagePullPolicy>,
    /// The rule's Secrets that are added, in order.
    pub secrets: Option<Vec<String>>,
    /// The id of the registry that it is replicated into; an empty text where it is not replicated.
    pub replicate: Option<String>,
}

/// An imagePullPolicy, as a Pod has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum ImagePullPolicy {
    /// Ask the registry each time.
    Always,
    /// Use what the node has.
    IfNotPresent,
    /// Never pull.
    Never,
}

/// What came of a test file.
#[derive(Debug)]
pub struct Report {
    /// How many cases were tried; none where the file or the policies are wrong.
    pub cases: usize,
    /// What is wrong with the file or the policies, and the cases that came out otherwise.
    pub diagnostics: Vec<Diagnostic>,
    /// Rules that decide in none of the cases, as `policy/rule`. Those in mode `warn` and `audit` must have been recorded in one.
    pub untested: Vec<String>,
}

/// Runs a test file, with the default settings. `read` gives the text of a policy file by the name that the test file has for it.
pub fn run(test: &Source, mut read: impl FnMut(&str) -> Result<Source, Box<Diagnostic>>) -> Report {
    let mut report = Report {
        cases: 0,
        diagnostics: Vec::new(),
        untested: Vec::new(),
    };
    let Some((node, document)) = decode(test, &mut report.diagnostics) else {
        return report;
    };
    let mut input = Input {
        sources: Vec::new(),
        presets: Vec::new(),
        settings: Settings::default(),
    };
    input.presets.extend(document.preset.clone().map(|name| PresetChoice {
        name,
        values: document.values.clone(),
    }));
    for name in &document.policies {
        match read(name) {
            Ok(source) => input.sources.push(source),
            Err(problem) => report.diagnostics.push(*problem),
        }
    }
    if report.diagnostics.iter().any(Diagnostic::is_error) {
        return report;
    }
    let compiled = compile(&input);
    report.diagnostics.extend(compiled.diagnostics);
    let Some(set) = compiled.set else {
        return report;
    };
    let mut snapshot = Snapshot::new(Arc::new(set), 1);
    let mut seen = BTreeSet::new();
    for (case, place) in document.cases.iter().zip(0..) {
        report.cases += 1;
        // What is wrong with it was found when the file was read.
        let (trial, _) = document.trial(case, &Path::root());
        trial.apply(&mut snapshot);
        let differences = case.differences(&snapshot, &mut seen);
        if !differences.is_empty() {
            let path = Path::root().key("cases").index(place).key("expect");
            let message = format!("`{}`: {}", case.image.escape_debug(), differences.join("; "));
            let problem = Problem::error("case-failed", path, message).hint(
                "`waypost explain` with this image tells which rules were tried, and why each did or did not decide",
            );
            report.diagnostics.push(document::locate(&problem, test, Some(&node)));
        }
    }
    let deciding = |rule: &Rule| match rule.action() {
        Action::LatestPush(latest) => !latest.built_in,
        Action::Nothing => rule.replicate().is_some(),
        _ => true,
    };
    report.untested = (0u32..)
        .zip(snapshot.policies.rules())
        .filter(|(number, rule)| deciding(rule) && !seen.contains(number))
        .map(|(_, rule)| rule.id().to_owned())
        .collect();
    report
}

impl CaseSpec {
    /// What came out otherwise, in words. The rules that had a say are added to `seen`.
    fn differences(&self, snapshot: &Snapshot, seen: &mut BTreeSet<u32>) -> Vec<String> {
        let context = Context {
            namespace: self.namespace.as_deref().unwrap_or("default"),
            namespace_labels: &self.namespace_labels,
            pod_labels: &self.pod_labels,
        };
        let set = &*snapshot.policies;
        let present = self.pull_policy.map(ImagePullPolicy::as_str);
        let decision = match Reference::parse(&self.image) {
            Ok(image) => decide(snapshot, &context, &image, present, self.opted_out),
            Err(error) if self.expect.outcome == Outcome::Unparsable => {
                return self.expect.without_decision(&error.to_string());
            }
            Err(error) => return vec![format!("this is no image reference: {error}")],
        };
        seen.extend(decision.observed.iter().map(|observed| observed.rule));
        // One that also decides is tested by what it decides.
        let only_replicates = |rule: &u32| matches!(set.rules()[*rule as usize].action(), Action::Nothing);
        seen.extend(decision.replicate.filter(only_replicates));
        // Where the image is a target already, the rule only says how it is pulled.
        seen.extend(decision.rule.filter(|_| decision.outcome != Outcome::AlreadyTarget));
        self.expect.differences(set, &decision, present)
    }
}

impl Expectation {
    fn differences(&self, set: &PolicySet, decision: &Decision<'_>, present: Option<&str>) -> Vec<String> {
        let mut differences = Vec::new();
        let mut compare = |what: &str, expected: &str, found: Option<&str>| match found {
            Some(found) if found == expected => {}
            Some(found) => differences.push(format!("the {what} is `{found}`, not `{expected}`")),
            None => differences.push(format!("there is no {what}, expected `{expected}`")),
        };
        compare("outcome", self.outcome.as_str(), Some(decision.outcome.as_str()));
        if let Some(target) = &self.target {
            compare("target", target, decision.target.as_deref());
        }
        if let Some(rule) = &self.rule {
            let found = decision.rule.map(|number| &set.rules()[number as usize]);
            if found.is_none_or(|found| found.name() != rule) {
                compare("rule", rule, found.map(|found| found.id()));
            }
        }
        if let Some(policy) = self.pull_policy {
            compare(
                "imagePullPolicy",
                policy.as_str(),
                decision.pull.policy_for(present).or(present),
            );
        }
        if let Some(secrets) = &self.secrets {
            compare(
                "list of Secrets",
                &secrets.join(", "),
                Some(&decision.pull.secrets.join(", ")),
            );
        }
        if let Some(registry) = &self.replicate {
            let rule = decision.replicate.map(|number| &set.rules()[number as usize]);
            let found = rule.and_then(Rule::replicate).map(|replicate| &*replicate.registry);
            match found {
                None if registry.is_empty() => {}
                Some(found) if registry.is_empty() => {
                    compare("registry that it is replicated into", "none", Some(found));
                }
                found => compare("registry that it is replicated into", registry, found),
            }
        }
        differences
    }

    /// What is expected although the image is no reference, so that nothing is decided.
    fn without_decision(&self, error: &str) -> Vec<String> {
        let replicated = self.replicate.as_ref().is_some_and(|registry| !registry.is_empty());
        let expected = self.target.is_some()
            || self.rule.is_some()
            || self.pull_policy.is_some()
            || self.secrets.is_some()
            || replicated;
        let nothing = || format!("nothing is decided about what is no image reference: {error}");
        expected.then(nothing).into_iter().collect()
    }
}

impl ImagePullPolicy {
    /// As Kubernetes spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

fn decode(test: &Source, diagnostics: &mut Vec<Diagnostic>) -> Option<(Node, TestDocument)> {
    let (nodes, mut problems) = document::parse(test);
    let node = nodes.into_iter().find(|node| !node.is_null());
    let mut document = None;
    if let Some(node) = &node
        && problems.iter().all(|problem| problem.severity != Severity::Error)
    {
        problems.extend(Shape::from_schema(&spec::schema::<TestDocument>()).check(node));
        if problems.is_empty() {
            match node.decode::<TestDocument>() {
                Ok(decoded) => {
                    problems.extend(decoded.problems());
                    document = Some(decoded);
                }
                Err(error) => problems.push(error.into()),
            }
        }
    } else if node.is_none() && problems.is_empty() {
        let problem = Problem::error("empty-file", Path::root(), "there is no test in this file");
        problems.push(problem.hint("name a preset or policies, and give cases"));
    }
    diagnostics.extend(
        problems
            .iter()
            .map(|problem| document::locate(problem, test, node.as_ref())),
    );
    let sound = !diagnostics.iter().any(Diagnostic::is_error);
    node.zip(document).filter(|_| sound)
}

impl TestDocument {
    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.preset.is_none() && self.policies.is_empty() {
            let problem = Problem::error(
                "nothing-to-test",
                Path::root(),
                "this file does not say which policies it tests",
            );
            problems.push(problem.hint("add `preset: NAME`, or `policies: [FILE]`, relative to this file"));
        }
        if self.preset.is_none() && !self.values.is_empty() {
            let problem = Problem::error(
                "invalid-value",
                Path::root().key("values"),
                "there is no preset to take these values",
            );
            problems.push(problem.on_key().hint("add `preset: NAME`, or take them out"));
        }
        for (id, spec) in &self.registries {
            let path = Path::root().key("registries").key(id.as_str());
            if let Some(problem) = id_problem(id) {
                let message = format!("no registry can have the id `{}`: {problem}", id.escape_debug());
                problems.push(Problem::error("invalid-value", path.clone(), message).on_key());
            }
            for mut problem in Trial::default().register(id, spec).err().into_iter().flatten() {
                let steps = path.segments().iter().chain(problem.path.segments());
                problem.path = steps.cloned().collect();
                problems.push(problem);
            }
        }
        for (case, place) in self.cases.iter().zip(0..) {
            problems.extend(self.trial(case, &Path::root().key("cases").index(place)).1);
        }
        problems
    }

    /// The registries and pushes of a case, and what is wrong with them; not with those of the whole file.
    fn trial(&self, case: &CaseSpec, path: &Path) -> (Trial, Vec<Problem>) {
        let mut trial = Trial::default();
        let mut problems = Vec::new();
        for (id, spec) in &self.registries {
            let _ = trial.register(id, spec);
        }
        for (name, number) in case.unavailable.iter().zip(0..) {
            if let Err(error) = trial.down(name) {
                let path = path.clone().key("unavailable").index(number);
                problems.push(Problem::error("invalid-value", path, error.to_string()));
            }
        }
        for (push, number) in case.pushes.iter().zip(0..) {
            let result = trial.push(TrialPush {
                image: &push.image,
                registry: &push.registry,
                digest: push.digest.as_deref(),
                finished_at: push.finished_at.as_deref(),
            });
            if let Err(error) = result {
                let key = match error {
                    BadTrialPush::Image(_) => "image",
                    BadTrialPush::Registry(_) | BadTrialPush::Nameless(_) => "registry",
                    BadTrialPush::Digest(_) => "digest",
                    BadTrialPush::Time(_) => "finishedAt",
                };
                let path = path.clone().key("pushes").index(number).key(key);
                problems.push(Problem::error("invalid-value", path, error.to_string()));
            }
        }
        (trial, problems)
    }
}

#[cfg(test)]
mod tests;
