//! Push records as they are written in a cluster: `spec` and `status` of a `Push` object. Its doc comments are the descriptions of the
//! schema.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Attempt, Copying, Success};

/// Which image in which registry it is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PushSpec {
    /// The image, as Pods have it: `docker.io/library/alpine:3.20`. Where it has neither a tag nor a digest, `latest` is meant.
    pub image: String,
    /// The name of the Registry that it is pushed to.
    pub registry: String,
    /// What Waypost is to do for it. Without it, an object that somebody makes is copied once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy: Option<PushCopy>,
}

/// A copy that somebody wants.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PushCopy {
    /// Any text, such as the time: where it is another than before, it is copied again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub requested_at: Option<String>,
    /// Whether signatures, SBOMs and whatever else refers to the image come along.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub referrers: bool,
    /// Whether finding the same there is no new push: then it does not become the latest of the image again.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub refresh: bool,
    /// The name of the Registry by whose credential the source is read. Without it, a credential is used only where every namespace may use it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The Secret in Waypost's namespace with the credential to push with, instead of the registry's: Waypost deletes it when the push has ended. It has the label `waypost.dev/push` with the name
    /// of the registry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<PushCredential>,
}

/// A Secret with a credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PushCredential {
    /// Its name.
    pub name: String,
}

/// What is known of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PushStatus {
    /// How the last push went, or how it goes.
    pub last_attempt: Option<Attempt>,
    /// The last push that went well and is there still: of all registries, the newest one is where Pods pull the image from.
    pub last_success: Option<Success>,
    /// When it was last found, or told, that there is nothing there: a push before that is none.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub withdrawn_at: Option<Timestamp>,
    /// The copy that Waypost was asked for, until it ends.
    pub copying: Option<Copying>,
    /// The `requestedAt` of the copy that was begun last.
    pub request: Option<String>,
}
