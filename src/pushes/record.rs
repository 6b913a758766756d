//! What is kept of the pushes of one image into one registry.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Copying, Image, PushId};
use crate::reference::Reference;

/// What is known of one image in one registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The image.
    pub image: Image,
    /// The registry's id.
    pub registry: Box<str>,
    /// How the last push went, or how it goes. None where nobody has told of one: the target was withdrawn before.
    pub last_attempt: Option<Attempt>,
    /// The last push that went well and is there still.
    pub last_success: Option<Success>,
    /// When it was last found, or told, that there is nothing there: a push before that is none.
    pub withdrawn_at: Option<Timestamp>,
    /// The copy that Waypost was asked for, until it ends: the last attempt is that copy's then.
    pub copying: Option<Copying>,
}

/// One push, how it went or how it goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Attempt {
    /// How far it is.
    pub state: State,
    /// The how-manieth of the pair it is, from 1.
    #[schemars(extend("format" = "int32"))]
    pub attempt: u32,
    /// Why it failed, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Box<str>>,
    /// How many bytes there are to send, where somebody counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "int64"))]
    pub bytes_total: Option<u64>,
    /// How many of them are there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "int64"))]
    pub bytes_done: Option<u64>,
    /// When it began, or when it was first told of.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub started_at: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub finished_at: Option<Timestamp>,
}

/// How far a push is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum State {
    /// It has not begun.
    Pending,
    /// It goes on.
    Running,
    /// It went well.
    Succeeded,
    /// It did not.
    Failed,
}

/// A push that went well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Success {
    /// The reference that it is under in the registry, with the image's tag (or its digest, where it has no tag).
    pub target: Box<str>,
    /// What was pushed: the digest of an index or of a manifest.
    pub digest: Box<str>,
    /// The platforms that it is for, as `linux/arm64/v8`; none where nobody has looked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<Box<str>>,
    /// The digests of the manifests of an index that are there as well; none where nobody has looked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<Box<str>>,
    /// When it was done: what the event says, and never later than it was received.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub finished_at: Timestamp,
    /// Of two pushes at the same time the one with the greater number is the later: the store gives it out.
    #[schemars(extend("format" = "int64"))]
    pub sequence: u64,
}

impl Record {
    /// Of which nothing is known.
    pub fn new(image: Image, registry: &str) -> Self {
        Self {
            image,
            registry: registry.into(),
            last_attempt: None,
            last_success: None,
            withdrawn_at: None,
            copying: None,
        }
    }

    /// Its id.
    pub fn id(&self) -> PushId {
        PushId::new(&self.registry, self.image.key())
    }

    /// When something was last heard of it.
    pub fn heard_at(&self) -> Option<Timestamp> {
        let attempt = self.last_attempt.as_ref().map(Attempt::moment);
        let success = self.last_success.as_ref().map(|success| success.finished_at);
        attempt.max(success).max(self.withdrawn_at)
    }
}

impl Attempt {
    /// When it ended, or began where it has not.
    pub fn moment(&self) -> Timestamp {
        self.finished_at.unwrap_or(self.started_at)
    }
}

impl State {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Pending, Self::Running, Self::Succeeded, Self::Failed];

    /// As the JSON has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
        }
    }

    /// Whether nothing more becomes of it.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

impl Success {
    /// By which the later of two is told.
    pub fn order(&self) -> (Timestamp, u64) {
        (self.finished_at, self.sequence)
    }

    /// Whether this digest is there: as what was pushed, or as a part of it.
    pub fn holds(&self, digest: &str) -> bool {
        *self.digest == *digest || self.children.iter().any(|child| **child == *digest)
    }

    /// The target, as a reference. None where somebody wrote something else into the store.
    pub fn reference(&self) -> Option<Reference<'_>> {
        Reference::parse(&self.target).ok()
    }
}
