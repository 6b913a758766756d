//! Policies: rules that match images in a context and say what becomes of them.
//!
//! [`spec`] is what people write, [`compile()`] turns it into a [`PolicySet`] or says everything that is wrong with it. A set that
//! exists is a set that works.

mod collision;
mod compile;
mod glob;
mod index;
mod matcher;
pub mod objects;
mod pattern;
pub mod preset;
mod selector;
mod shadow;
pub mod spec;
mod template;
mod usage;

use std::{sync::Arc, time::Duration};

use hashbrown::HashMap;

pub use self::{
    compile::{Compiled, Input, compile},
    glob::Glob,
    matcher::{AnchoredRegex, MAX_REGEXES},
    pattern::{Pattern, PatternError, Segment},
    preset::{Preset, PresetChoice},
    selector::{LabelSelector, Labels, Operator, Requirement},
    spec::{Mode, OnUnavailable, PullPolicy},
    template::{Template, TemplateError, Variable},
};
pub(crate) use self::{
    index::{InOrder, Index, Matches},
    matcher::{Found, Matcher},
};
use crate::reference::Reference;

/// Compiled policies: immutable, shared by all reviews.
#[derive(Debug)]
pub struct PolicySet {
    /// In the order of decisions.
    rules: Vec<Rule>,
    /// So many of the first rules deny.
    denying: u32,
    /// The rules' `match.images`.
    images: Matcher,
    /// The names under the rules' targets; an entry's detail is the template's place in its rule.
    targets: Index,
    /// Registries that the configuration names, with their numbers; see [`PolicySet::registry_label`].
    registries: HashMap<Box<str>, u16>,
    /// By number; the first is [`OTHER_REGISTRY`].
    registry_names: Vec<Box<str>>,
    settings: Settings,
    /// Whether any rule that decides leads images to where they were pushed.
    routes_pushes: bool,
    /// The `match.images` of the rules that replicate, and of those that exempt from it; none where no rule replicates.
    replicating: Option<Matcher>,
}

/// What the configuration says about all rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `pull.policy`: for rules that do not say.
    pub pull_policy: PullPolicy,
    /// `pull.secret`: the name of the managed pull secret.
    pub pull_secret: Box<str>,
    /// `pull.secrets`: existing Secrets for every rewritten Pod.
    pub pull_secrets: Vec<Box<str>>,
    /// `pull.inject`: whether the managed pull secret is injected where it is due.
    pub inject: bool,
    /// `opt_out.allowed`: whether the label is honoured.
    pub opt_out_allowed: bool,
    /// `pushes.route`: whether the built-in rule `latest-push` is there.
    pub route_pushes: bool,
    /// `pushes.pin`: whether that rule adds the digest that was pushed.
    pub pin_pushes: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            pull_policy: PullPolicy::Always,
            pull_secret: "waypost-pull".into(),
            pull_secrets: Vec::new(),
            inject: true,
            opt_out_allowed: true,
            route_pushes: true,
            pin_pushes: false,
        }
    }
}

/// A compiled rule.
#[derive(Debug)]
pub struct Rule {
    id: Box<str>,
    policy_length: usize,
    matching: Matching,
    action: Action,
    pull: Pull,
    warn_mutable_tag: bool,
    mode: Mode,
    /// Where its images are pushed to, which they are even where another rule decides. None in a mode that only records.
    replicate: Option<Box<Replicate>>,
    /// The ids of registries that it names.
    registries: Box<[Box<str>]>,
}

/// Which images, of which Pods. Absent parts match all.
#[derive(Debug, Default)]
pub struct Matching {
    pub(crate) images: Option<Box<[ImageTest]>>,
    pub(crate) except_images: Option<Box<(Box<[ImageTest]>, Matcher)>>,
    pub(crate) namespaces: Option<Box<[Glob]>>,
    pub(crate) except_namespaces: Option<Box<[Glob]>>,
    pub(crate) namespace_selector: Option<Box<LabelSelector>>,
    pub(crate) pod_selector: Option<Box<LabelSelector>>,
}

/// A pattern or a regular expression.
#[derive(Clone, Debug)]
pub enum ImageTest {
    /// By segments.
    Pattern(Pattern),
    /// On the whole text.
    Regex(Box<AnchoredRegex>),
}

/// What a rule does with an image that it matches.
#[derive(Debug)]
pub enum Action {
    /// Pull it from somewhere else.
    Rewrite(Box<Rewrite>),
    /// Pull it from where it was last pushed to; falls through where that is nowhere.
    LatestPush(Box<LatestPush>),
    /// Leave it.
    Keep,
    /// Refuse the Pod.
    Deny {
        /// What the user is told.
        message: Box<str>,
    },
    /// Decides nothing (a rule that only replicates).
    Nothing,
}

/// Pull the image from somewhere else.
#[derive(Debug)]
pub struct Rewrite {
    pub(crate) to: Box<[Template]>,
    pub(crate) on_unavailable: OnUnavailable,
    pub(crate) preloaded: bool,
    pub(crate) shared_target: bool,
    /// Whether its one template was written as a `prefix`: to show where.
    pub(crate) written_as_prefix: bool,
    /// The one registry that the rule's images have, where its patterns name one: for templates that do not say it.
    pub(crate) source_registry: Option<Box<str>>,
    /// Likewise the one repository.
    pub(crate) source_repository: Option<Box<str>>,
}

/// Pull the image from where it was last pushed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LatestPush {
    /// The ids of the registries whose pushes count; none for all.
    pub(crate) registries: Option<Box<[Box<str>]>>,
    pub(crate) on_unavailable: OnUnavailable,
    /// Whether the digest that was pushed is added.
    pub(crate) pin: bool,
    pub(crate) preloaded: bool,
    /// Whether nobody wrote the rule: that there is no push is then nothing to speak of.
    pub(crate) built_in: bool,
}

/// Push the image into a registry when a Pod first uses it, and again when its tag may have moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replicate {
    /// The id of the registry.
    pub registry: Box<str>,
    /// How old a push may be before a tag is looked at again.
    pub refresh: Duration,
    /// Whether signatures, SBOMs and whatever else refers to it come along.
    pub referrers: bool,
}

/// How a rule's images are pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pull {
    pub(crate) policy: Option<PullPolicy>,
    pub(crate) lower: bool,
    pub(crate) secrets: Box<[Box<str>]>,
    pub(crate) inject: Option<bool>,
}

/// What a rule may ask about the Pod that an image belongs to.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The Pod's namespace.
    pub namespace: &'a str,
    /// The namespace's labels; none where the namespace is unknown.
    pub namespace_labels: &'a dyn Labels,
    /// The Pod's labels.
    pub pod_labels: &'a dyn Labels,
}

/// Why a rule does not match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// None of `match.images` matches.
    Images,
    /// One of `match.exceptImages` matches.
    ExceptImages,
    /// None of `match.namespaces` matches.
    Namespaces,
    /// One of `match.exceptNamespaces` matches.
    ExceptNamespaces,
    /// `match.namespaceSelector` does not select the namespace.
    NamespaceSelector,
    /// `match.podSelector` does not select the Pod.
    PodSelector,
}

impl PolicySet {
    /// The rules, in the order of decisions.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// What the configuration says about all rules.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether any rule that decides leads images to where they were pushed.
    pub(crate) fn routes_pushes(&self) -> bool {
        self.routes_pushes
    }

    /// So many of the first rules deny.
    pub(crate) fn denying(&self) -> u32 {
        self.denying
    }

    pub(crate) fn images(&self) -> &Matcher {
        &self.images
    }

    /// The images of the rules that replicate, and of those that exempt from it; none where no rule replicates.
    pub(crate) fn replicating(&self) -> Option<&Matcher> {
        self.replicating.as_ref()
    }

    /// The rules that have this name under a target, each with the place of the template.
    pub(crate) fn targets_over(&self, image: &Reference<'_>) -> Matches<'_> {
        let mut found = Matches::new();
        self.targets.matches(image, None, &mut found);
        found
    }

    pub(crate) fn rule(&self, index: u32) -> &Rule {
        &self.rules[index as usize]
    }

    /// A number for a registry that the configuration names, 0 for any other: what users write may not make metrics grow.
    pub fn registry_label(&self, registry: &str) -> u16 {
        self.registries.get(registry).copied().unwrap_or(0)
    }

    /// The registry with this number, or [`OTHER_REGISTRY`].
    pub fn registry_name(&self, label: u16) -> &str {
        self.registry_names
            .get(usize::from(label))
            .map_or(OTHER_REGISTRY, |name| name)
    }

    /// An empty set: nothing is rewritten.
    pub fn empty(settings: Settings) -> Arc<Self> {
        let compiled = compile(&Input {
            sources: Vec::new(),
            presets: Vec::new(),
            settings,
        });
        match compiled.set {
            Some(set) => Arc::new(set),
            None => unreachable!("no rules have no mistakes"),
        }
    }
}

impl Rule {
    /// `policy/rule`: how annotations, metrics and messages name it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The policy's name.
    pub fn policy(&self) -> &str {
        &self.id[..self.policy_length]
    }

    /// The rule's name, once in its policy.
    pub fn name(&self) -> &str {
        &self.id[self.policy_length + 1..]
    }

    /// What it does.
    pub fn action(&self) -> &Action {
        &self.action
    }

    /// Whether it decides.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// How its images are pulled.
    pub fn pull(&self) -> &Pull {
        &self.pull
    }

    /// Whether users are told about mutable tags.
    pub fn warns_of_mutable_tags(&self) -> bool {
        self.warn_mutable_tag
    }

    /// Where its images are pushed to; none where it does not say, or only records what it would do.
    pub fn replicate(&self) -> Option<&Replicate> {
        self.replicate.as_deref()
    }

    /// Its conditions.
    pub fn matching(&self) -> &Matching {
        &self.matching
    }
}

impl Matching {
    /// Whether the rule matches, looked at alone; or the first condition that does not hold.
    ///
    /// # Errors
    ///
    /// The condition that does not hold.
    pub fn check(&self, context: &Context<'_>, image: &Reference<'_>) -> Result<(), Mismatch> {
        if let Some(images) = &self.images
            && !images.iter().any(|test| test.matches(image))
        {
            return Err(Mismatch::Images);
        }
        self.check_rest(context, image)
    }

    /// Whether the rule is for Pods of this context, whatever their images.
    pub(crate) fn applies_to(&self, context: &Context<'_>) -> bool {
        self.check_context(context).is_ok()
    }

    /// Everything but `images`, which the index has looked at.
    pub(crate) fn check_rest(&self, context: &Context<'_>, image: &Reference<'_>) -> Result<(), Mismatch> {
        if self
            .except_images
            .as_ref()
            .is_some_and(|except| except.1.matches(image))
        {
            return Err(Mismatch::ExceptImages);
        }
        self.check_context(context)
    }

    fn check_context(&self, context: &Context<'_>) -> Result<(), Mismatch> {
        let matches = |globs: &[Glob]| globs.iter().any(|glob| glob.matches(context.namespace));
        if self.namespaces.as_ref().is_some_and(|globs| !matches(globs)) {
            return Err(Mismatch::Namespaces);
        }
        if self.except_namespaces.as_ref().is_some_and(|globs| matches(globs)) {
            return Err(Mismatch::ExceptNamespaces);
        }
        if self
            .namespace_selector
            .as_ref()
            .is_some_and(|selector| !selector.selects(context.namespace_labels))
        {
            return Err(Mismatch::NamespaceSelector);
        }
        if self
            .pod_selector
            .as_ref()
            .is_some_and(|selector| !selector.selects(context.pod_labels))
        {
            return Err(Mismatch::PodSelector);
        }
        Ok(())
    }

    /// `images`; empty where nothing was said, which matches all.
    pub fn images(&self) -> &[ImageTest] {
        self.images.as_deref().unwrap_or_default()
    }

    /// `exceptImages`.
    pub fn except_images(&self) -> &[ImageTest] {
        self.except_images.as_ref().map_or(&[], |except| &except.0)
    }

    /// Whether the labels of the namespace matter.
    pub fn selects_namespaces(&self) -> bool {
        self.namespace_selector.is_some()
    }

    /// `namespaces`; empty where nothing was said, which matches all.
    pub fn namespaces(&self) -> &[Glob] {
        self.namespaces.as_deref().unwrap_or_default()
    }

    /// How many regular expressions it has, excepting ones included.
    pub(crate) fn regexes(&self) -> usize {
        let excepting = self.except_images.iter().flat_map(|except| except.0.iter());
        let tests = self.images.iter().flatten().chain(excepting);
        tests.filter(|test| matches!(test, ImageTest::Regex(_))).count()
    }

    /// The patterns of `images`: none where there are regular expressions too, or nothing was said.
    pub(crate) fn patterns(&self) -> Option<Vec<&Pattern>> {
        self.images.as_ref()?.iter().map(ImageTest::pattern).collect()
    }
}

impl ImageTest {
    /// Whether it matches the image.
    pub fn matches(&self, image: &Reference<'_>) -> bool {
        match self {
            Self::Pattern(pattern) => pattern.matches(image),
            Self::Regex(regex) => regex.matches(image),
        }
    }

    pub(crate) fn pattern(&self) -> Option<&Pattern> {
        match self {
            Self::Pattern(pattern) => Some(pattern),
            Self::Regex(_) => None,
        }
    }
}

impl Rewrite {
    /// Where to, in order of preference.
    pub fn templates(&self) -> &[Template] {
        &self.to
    }

    /// Those of them that an image may be rewritten to: without `onUnavailable: next` the others are targets, but never used.
    pub fn usable(&self) -> &[Template] {
        match self.on_unavailable {
            OnUnavailable::Keep => self.to.get(..1).unwrap_or_default(),
            OnUnavailable::Next => &self.to,
        }
    }

    /// The references that its usable templates give; `None` for one that is not valid.
    pub(crate) fn targets<'t>(
        &'t self,
        matching: &'t Matching,
        image: &'t Reference<'_>,
    ) -> impl Iterator<Item = Option<String>> + 't {
        (0..self.usable().len()).map(|template| self.target_of(template, matching, image))
    }

    /// Whether the image may be rewritten to this reference, by whichever of the templates.
    pub(crate) fn gives(&self, target: &str, matching: &Matching, image: &Reference<'_>) -> bool {
        (0..self.to.len()).any(|template| self.target_of(template, matching, image).as_deref() == Some(target))
    }

    /// The reference that one of its templates gives.
    fn target_of(&self, template: usize, matching: &Matching, image: &Reference<'_>) -> Option<String> {
        let template = self.to.get(template)?;
        let uses_groups = template
            .variables()
            .any(|variable| matches!(variable, Variable::Group(_)));
        if !uses_groups {
            return template.target(image, &());
        }
        let captured = matching.images.iter().flatten().find_map(|test| match test {
            ImageTest::Regex(regex) => regex.captures(image),
            ImageTest::Pattern(_) => None,
        })?;
        template.target(image, &captured)
    }

    /// The canonical names that a template of this rule sends to `name`.
    pub(crate) fn sources(&self, template: u32, name: &str) -> Vec<String> {
        match self.to.get(template as usize) {
            Some(template) => {
                template.sources(name, self.source_registry.as_deref(), self.source_repository.as_deref())
            }
            None => Vec::new(),
        }
    }
}

impl std::fmt::Display for ImageTest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pattern(pattern) => pattern.fmt(f),
            Self::Regex(regex) => write!(f, "{{regex: '{}'}}", regex.as_str()),
        }
    }
}

impl std::fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

/// What [`PolicySet::registry_label`] calls a registry that nobody configured.
pub const OTHER_REGISTRY: &str = "other";
