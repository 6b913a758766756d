//! Copies that Waypost makes: who asks for one, and what is kept of it until it ends.

use std::sync::Arc;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Image, PushId};
use crate::registry::Login;

/// A copy that Waypost is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The image.
    pub image: Image,
    /// The id of the registry that it is pushed to.
    pub registry: Box<str>,
    /// Whether signatures, SBOMs and whatever else refers to it come along.
    pub referrers: bool,
    /// Whether finding the same there is no new push: whoever only keeps a copy as its source is overtakes no push of somebody else.
    pub refresh: bool,
    /// The id of the registry by whose credential the source may be read; it is read as anybody where there is none.
    pub source: Option<Box<str>>,
    /// What it is pushed with, instead of the registry's credential.
    pub login: Option<Login>,
}

/// What is kept of a copy from when it is asked for until it ends: whoever does it finds everything here and in its record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Copying {
    /// When it was asked for.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub asked_at: Timestamp,
    /// Whether signatures, SBOMs and whatever else refers to it come along.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub referrers: bool,
    /// Whether finding the same there is no new push.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub refresh: bool,
    /// The name of the Registry by whose credential the source may be read; it is read as anybody where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Box<str>>,
    /// Where the credential is that came with the request, which is gone when the copy has ended; none where the registry's is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<Box<str>>,
}

/// A copy that was asked for and has not ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    /// When it was asked for.
    pub asked_at: Timestamp,
    /// Of what, into what.
    pub id: PushId,
}

/// All copies that were asked for and have not ended, in the order in which they were asked for.
pub type Copies = Arc<[Wanted]>;

/// So many copies may be asked for and not have ended: whoever wants more comes back later.
pub const MOST_COPIES: usize = 2_000;
