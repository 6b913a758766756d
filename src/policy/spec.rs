//! Policies as they are written: the document model that files, Helm values, presets and objects share. Its doc comments are the
//! descriptions of the JSON Schema.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::selector::LabelSelector;

/// The `apiVersion` of policies.
pub const API_VERSION: &str = "waypost.dev/v1alpha1";

/// The JSON Schema of a document. Nothing may be null: `images:` with nothing behind it would otherwise mean all images.
pub fn schema<T: JsonSchema>() -> serde_json::Value {
    let mut schema = schemars::schema_for!(T).to_value();
    without_null(&mut schema);
    schema
}

fn without_null(schema: &mut serde_json::Value) {
    use serde_json::Value;
    let is_null = |value: &Value| value == "null" || value.get("type").is_some_and(|kind| kind == "null");
    match schema {
        Value::Object(map) => {
            if let Some(Value::Array(kinds)) = map.get_mut("type") {
                kinds.retain(|kind| !is_null(kind));
                if let [only] = &kinds[..] {
                    let only = only.clone();
                    map.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(options)) = map.get_mut("anyOf") {
                options.retain(|option| !is_null(option));
                if let [Value::Object(only)] = &options[..] {
                    let only = only.clone();
                    map.remove("anyOf");
                    map.extend(only);
                }
            }
            map.values_mut().for_each(without_null);
        }
        Value::Array(items) => items.iter_mut().for_each(without_null),
        _ => {}
    }
}

/// A policy: a list of rules that say which registry images are pulled from.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PolicyDocument {
    /// Always `waypost.dev/v1alpha1`.
    pub api_version: ApiVersion,
    /// Always `Policy`.
    pub kind: PolicyKind,
    /// The policy's name.
    pub metadata: Metadata,
    /// The policy's rules.
    pub spec: PolicySpec,
}

/// A preset: a policy that is chosen by its name, with values to fill in.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PresetDocument {
    /// Always `waypost.dev/v1alpha1`.
    pub api_version: ApiVersion,
    /// Always `Preset`.
    pub kind: PresetKind,
    /// The preset's name, by which it is chosen.
    pub metadata: Metadata,
    /// What it is and what it does.
    pub spec: PresetSpec,
}

/// The version of this schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ApiVersion {
    /// The only one.
    #[serde(rename = "waypost.dev/v1alpha1")]
    V1Alpha1,
}

/// The kind of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum PolicyKind {
    /// The only one.
    Policy,
}

/// The kind of a preset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum PresetKind {
    /// The only one.
    Preset,
}

/// What identifies a policy.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Metadata {
    /// A DNS label: lower-case letters, digits and `-`. It stands in annotations, metrics and messages.
    pub name: String,
    /// Yours to use; Waypost reads none.
    #[serde(default)]
    pub labels: std::collections::BTreeMap<String, String>,
    /// Yours to use; Waypost reads none.
    #[serde(default)]
    pub annotations: std::collections::BTreeMap<String, String>,
}

/// What a policy says.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PolicySpec {
    /// The rules, in order: the first that decides wins. Rules that deny come before all others.
    pub rules: Vec<RuleSpec>,
}

/// What a preset says.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PresetSpec {
    /// What the preset is for, in a sentence or two.
    pub description: String,
    /// Whether it comes before every rule that rewrites: for what must not be touched. Such a preset only keeps.
    #[serde(default)]
    pub exempting: bool,
    /// The values that its rules use as `${name}`.
    #[serde(default)]
    pub values: Vec<PresetValue>,
    /// The rules, as in a policy.
    pub rules: Vec<RuleSpec>,
}

/// A value that a preset's rules use as `${name}`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PresetValue {
    /// The name between the braces.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// What it is where none is given. Without a default, one must be given.
    pub default: Option<String>,
    /// One that could be given.
    pub example: Option<String>,
}

/// A rule: the images it matches, and what becomes of them.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RuleSpec {
    /// The rule's name, once in its policy: lower-case letters, digits and `-`.
    pub name: String,
    /// Which images, of which Pods. All keys given must match; without any, every image does.
    #[serde(default, rename = "match")]
    pub matching: MatchSpec,
    /// Pull the image from somewhere else.
    pub rewrite: Option<RewriteSpec>,
    /// Leave the image as it is, and let no later rule decide.
    pub keep: Option<KeepSpec>,
    /// Refuse the Pod.
    pub deny: Option<DenySpec>,
    /// How the image is pulled.
    #[serde(default)]
    pub pull: PullSpec,
    /// What to tell the user about.
    #[serde(default)]
    pub warn: Vec<Warn>,
    /// Whether the rule decides, or only says what it would do.
    #[serde(default)]
    pub mode: Mode,
    /// Push the image into a registry when it is first used: beside an action or alone. The first rule that matches and has it counts, whichever decides.
    pub replicate: Option<ReplicateSpec>,
}

/// Which images, of which Pods. Lists are OR, keys are AND.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct MatchSpec {
    /// Image patterns such as `docker.io/**`, or `{regex: '…'}`. Absent: all images.
    #[schemars(length(min = 1))]
    pub images: Option<Vec<ImageMatch>>,
    /// Image patterns that are excepted.
    #[schemars(length(min = 1))]
    pub except_images: Option<Vec<ImageMatch>>,
    /// Names of namespaces; `*` stands for any characters. Absent: all.
    #[schemars(length(min = 1))]
    pub namespaces: Option<Vec<String>>,
    /// Names of namespaces that are excepted; `*` stands for any characters.
    #[schemars(length(min = 1))]
    pub except_namespaces: Option<Vec<String>>,
    /// Labels of the Pod's namespace.
    pub namespace_selector: Option<LabelSelector>,
    /// Labels of the Pod.
    pub pod_selector: Option<LabelSelector>,
}

/// An image pattern, or a regular expression.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ImageMatch {
    /// `registry/repository[:tag][@digest]`: `*` matches within a segment, `**` across segments; an omitted tag or digest matches anything.
    Pattern(String),
    /// A regular expression on the normalised reference.
    Regex(RegexSpec),
}

/// A regular expression on the normalised reference, such as `docker.io/library/alpine:3.20`. Anchored at both ends.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RegexSpec {
    /// The expression; named groups `(?<team>…)` are variables of the rule's templates.
    pub regex: String,
}

/// Where the image is pulled from: one of `prefix`, `to` and `latestPush`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RewriteSpec {
    /// A registry, with a path if need be: short for `to: ["<prefix>/{registry}/{repository}"]`.
    pub prefix: Option<String>,
    /// Templates with `{registry}`, `{repository}`, and the repository's `{namespace}` and `{name}`. The first is used; with
    /// `onUnavailable: next` the first that is up.
    #[schemars(length(min = 1))]
    pub to: Option<Vec<String>>,
    /// The registry where the image was last pushed to.
    pub latest_push: Option<LatestPushSpec>,
    /// What to do when the target's registry is down. Absent: `keep`.
    pub on_unavailable: Option<OnUnavailable>,
    /// That two different images may be given one name is intended.
    #[serde(default)]
    pub shared_target: bool,
    /// Add the digest that was pushed.
    pub pin: Option<bool>,
    /// Rewrite images whose imagePullPolicy is Never, too.
    #[serde(default)]
    pub preloaded: bool,
}

/// The registry where the image was last pushed to.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct LatestPushSpec {
    /// Only pushes to these registries count, by their ids. Absent: all.
    #[schemars(length(min = 1))]
    pub registries: Option<Vec<String>>,
}

/// What to do when the target's registry is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnUnavailable {
    /// Keep the image as it is.
    #[default]
    Keep,
    /// Use the next target of the list that is up; keep the image where none is.
    Next,
}

/// Leave the image as it is: it has no settings.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeepSpec {}

/// Refuse the Pod.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct DenySpec {
    /// What the user is told.
    pub message: Option<String>,
}

/// How the image is pulled.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PullSpec {
    /// The imagePullPolicy. Absent: the configuration's `pull.policy` for images that are rewritten, none for others.
    pub policy: Option<PullPolicy>,
    /// Whether an imagePullPolicy of Always may be lowered. Clusters with AlwaysPullImages refuse such a Pod.
    #[serde(default)]
    pub lower: bool,
    /// Existing Secrets of the Pod's namespace, added to its imagePullSecrets.
    #[serde(default)]
    pub secrets: Vec<String>,
    /// Whether the managed pull secret is added where it is due. Absent: the configuration's `pull.inject`.
    pub inject: Option<bool>,
}

/// The imagePullPolicy that is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Deserialize, serde::Serialize, JsonSchema)]
pub enum PullPolicy {
    /// Ask the registry each time.
    #[default]
    Always,
    /// Use what the node has.
    IfNotPresent,
    /// Use what the node has, and never pull.
    Never,
    /// Leave what the Pod says.
    Unchanged,
}

/// Something to tell the user about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Warn {
    /// The tag `latest`, or none.
    MutableTag,
}

/// Whether a rule decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Mode {
    /// It decides.
    #[default]
    Enforce,
    /// It tells the user what it would do, and evaluation goes on.
    Warn,
    /// It records what it would do, and evaluation goes on.
    Audit,
}

/// Push the image into a registry when it is first used: the first Pod runs from its source, the next from there.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ReplicateSpec {
    /// The registry's id.
    pub registry: String,
    /// When; `firstUse` where it is not said.
    pub when: Option<ReplicateWhen>,
    /// How old a push may be before a tag is looked at again when a Pod uses it, such as `1h`, the default. A digest never moves.
    pub refresh: Option<String>,
    /// Whether signatures, SBOMs and whatever else refers to the image come along.
    #[serde(default)]
    pub referrers: bool,
}

/// When an image is replicated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ReplicateWhen {
    /// When a Pod first uses it.
    FirstUse,
}

impl PullPolicy {
    /// As Kubernetes spells it; nothing for `Unchanged`.
    pub fn as_str(self) -> Option<&'static str> {
        match self {
            Self::Always => Some("Always"),
            Self::IfNotPresent => Some("IfNotPresent"),
            Self::Never => Some("Never"),
            Self::Unchanged => None,
        }
    }
}
