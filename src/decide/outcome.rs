//! The closed list of outcomes.

use schemars::JsonSchema;
use serde::Deserialize;

/// What became of an image. The list is closed: metrics, `explain`, Events and logs have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Pulled from somewhere else.
    Rewritten,
    /// A rule says to leave it.
    Kept,
    /// No rule decides.
    Unmatched,
    /// Where rules lead to already: under a target, or where it was pushed.
    AlreadyTarget,
    /// The Pod is refused.
    Denied,
    /// Only rules in mode `warn` or `audit` would rewrite it.
    WouldRewrite,
    /// The Pod or its namespace has the label that stops rewriting.
    OptedOut,
    /// Its imagePullPolicy is Never, and the rule does not rewrite such images.
    PullNever,
    /// It belongs to a mirror Pod.
    MirrorPod,
    /// It is no image reference.
    Unparsable,
    /// The rule's target is no valid reference.
    InvalidTarget,
    /// There is no push of it that the rule could lead to.
    NoPush,
    /// It was pushed to where its namespace may not pull from; or the target needs a Secret that the Pod lacks and cannot be given any more.
    NoCredential,
    /// The target's registry is down.
    TargetUnavailable,
    /// The namespace was not known in time.
    NamespaceUnknown,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Rewritten,
        Self::Kept,
        Self::Unmatched,
        Self::AlreadyTarget,
        Self::Denied,
        Self::WouldRewrite,
        Self::OptedOut,
        Self::PullNever,
        Self::MirrorPod,
        Self::Unparsable,
        Self::InvalidTarget,
        Self::NoPush,
        Self::NoCredential,
        Self::TargetUnavailable,
        Self::NamespaceUnknown,
    ];

    /// As metrics and messages have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rewritten => "rewritten",
            Self::Kept => "kept",
            Self::Unmatched => "unmatched",
            Self::AlreadyTarget => "already_target",
            Self::Denied => "denied",
            Self::WouldRewrite => "would_rewrite",
            Self::OptedOut => "opted_out",
            Self::PullNever => "pull_never",
            Self::MirrorPod => "mirror_pod",
            Self::Unparsable => "unparsable",
            Self::InvalidTarget => "invalid_target",
            Self::NoPush => "no_push",
            Self::NoCredential => "no_credential",
            Self::TargetUnavailable => "target_unavailable",
            Self::NamespaceUnknown => "namespace_unknown",
        }
    }
}
