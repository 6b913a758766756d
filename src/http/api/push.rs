//! A push as requests and answers have it. Doc comments are the descriptions of the OpenAPI document, and what a body is checked against
//! is made of the same types.

use std::cmp::Reverse;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::json::Secret;
use crate::{
    pushes::{Attempt, Index, Record, State, Success},
    reference::Reference,
};

/// Without `state`, a copy that Waypost is asked for; with it, a report of a push that somebody else makes: of one that went well, that failed,
/// or that has begun. `null` is as good as leaving a field out.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PushRequest {
    /// The image: as it is called everywhere (`alpine:3.20`), or, in a report, as it lies in the registry
    /// (`registry.example.com/team/docker.io/library/alpine:3.20`). No tag is the tag `latest`. In a report it may have its digest behind it; a
    /// copy is of a tag, or of a digest (`alpine@sha256:…`).
    #[schemars(length(min = 1, max = 1024))]
    pub(super) image: String,
    /// The registry that it is pushed to, by its id. A copy with `registry_push_credentials` can say it there.
    #[serde(default)]
    #[schemars(length(min = 1, max = 63), extend("pattern" = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub(super) registry_id: Option<String>,
    /// How it went. Without it, Waypost copies the image.
    #[serde(default)]
    pub(super) state: Option<Reported>,
    /// Whether signatures, SBOMs and whatever else refers to the image come along. For a copy.
    #[serde(default)]
    pub(super) referrers: Option<bool>,
    /// What the registry is pushed to with, instead of the credential that it has. For a copy; a report needs none.
    #[serde(default)]
    pub(super) registry_push_credentials: Option<PushCredentials>,
    /// The digest of what was pushed, of an image for several platforms that of the index. For `SUCCEEDED`, where it is not in `image`.
    #[serde(default)]
    #[schemars(length(min = 1, max = 135), extend("pattern" = "^(sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128})$"))]
    pub(super) digest: Option<String>,
    /// Why it failed, in words. For `FAILED`.
    #[serde(default)]
    #[schemars(length(min = 1, max = 1024))]
    pub(super) error: Option<String>,
    /// The reference that it was pushed under, where that is another than the registry's `names` say. It lies under the registry's
    /// `registry_url`, and a tag that it has is that of `image`.
    #[serde(default)]
    #[schemars(length(min = 1, max = 1024))]
    pub(super) target: Option<String>,
    /// When it ended: a report that comes late does not win over a push that was later. Without it, and where it is yet to come, now. For
    /// `SUCCEEDED` and `FAILED`.
    #[serde(default)]
    #[schemars(length(min = 1, max = 64), extend("format" = "date-time"))]
    pub(super) finished_at: Option<String>,
}

/// What a push is tried again with. Nothing needs to be said.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RetryRequest {
    /// Whether signatures, SBOMs and whatever else refers to the image come along: what was said the last time is not kept.
    #[serde(default)]
    pub(super) referrers: Option<bool>,
    /// What the registry is pushed to with, instead of the credential that it has: what came with the push before is gone.
    #[serde(default)]
    pub(super) registry_push_credentials: Option<PushCredentials>,
}

/// What one push is made with: it is kept until that push ends, and nowhere after that. Without username and password it is what the registry
/// has.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PushCredentials {
    /// The registry, by its id: the one that is pushed to.
    #[serde(default)]
    #[schemars(length(min = 1, max = 63), extend("pattern" = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub(super) registry_id: Option<String>,
    /// The user. With a password.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub(super) registry_username: Option<String>,
    /// The password, or a token in its place. It is never shown.
    #[serde(default)]
    pub(super) registry_password: Option<Secret>,
}

/// How a push went that somebody reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schemars(inline)]
pub(super) enum Reported {
    /// It goes on.
    Running,
    /// It went well: Pods pull the image from there, until it is pushed elsewhere.
    Succeeded,
    /// It did not: nothing changes for Pods.
    Failed,
}

/// What is known of the pushes of one image into one registry.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Push", extend("additionalProperties" = false))]
pub(super) struct PushAnswer {
    /// The registry's id, a dot, and 32 hexadecimal digits which stand for the image.
    pub(super) id: String,
    /// The image, as it is called everywhere: `docker.io/library/alpine:3.20`.
    image: String,
    /// The registry, by its id.
    registry_id: String,
    /// Whether `last_success` is the latest push of the image, over all registries: then Pods pull it from there.
    latest: bool,
    /// How the last push went, or how it goes. Null where none was ever told of.
    last_attempt: Option<AttemptAnswer>,
    /// The last push that went well and is there still. Null where there is none.
    last_success: Option<SuccessAnswer>,
}

/// Pushes, in the order of their ids.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PushList", extend("additionalProperties" = false))]
pub(super) struct PushListAnswer {
    /// The pushes.
    pub(super) items: Vec<PushAnswer>,
    /// What `after` has to be for those that follow; null where there are none. A page may have fewer pushes than there could be.
    pub(super) next: Option<String>,
}

/// One push, how it went or how it goes.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Attempt", extend("additionalProperties" = false))]
struct AttemptAnswer {
    /// How far it is.
    #[schemars(with = "String", extend("enum" = ["PENDING", "RUNNING", "SUCCEEDED", "FAILED"]))]
    state: State,
    /// The how-manieth of this image into this registry it is, from 1.
    #[schemars(range(min = 1))]
    attempt: u32,
    /// Why it failed, in words; control characters are escaped. Null where it did not.
    error: Option<Box<str>>,
    /// How many bytes there are to send. Null where nobody counts.
    bytes_total: Option<u64>,
    /// How many of them are there. Null where nobody counts.
    bytes_done: Option<u64>,
    /// When it began, or when it was first told of.
    #[schemars(with = "String", extend("format" = "date-time"))]
    started_at: Timestamp,
    /// When it ended. Null where it goes on.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    finished_at: Option<Timestamp>,
}

/// A push that went well.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Success", extend("additionalProperties" = false))]
struct SuccessAnswer {
    /// The reference that it is under in the registry.
    target: Box<str>,
    /// What was pushed: the digest of an index or of a manifest.
    digest: Box<str>,
    /// The platforms that it is for, as `linux/arm64/v8`; none where nobody has looked.
    platforms: Vec<Box<str>>,
    /// When it ended.
    #[schemars(with = "String", extend("format" = "date-time"))]
    finished_at: Timestamp,
}

impl PushAnswer {
    pub(super) fn of(record: Record, index: &Index) -> Self {
        Self {
            id: record.id().as_str().to_owned(),
            image: record.image.as_str().to_owned(),
            registry_id: record.registry.to_string(),
            latest: is_latest(&record, index),
            last_attempt: record.last_attempt.map(AttemptAnswer::of),
            last_success: record.last_success.map(SuccessAnswer::of),
        }
    }
}

/// Whether nothing later is known of the image in any other registry. The index may be a moment behind the record.
fn is_latest(record: &Record, index: &Index) -> bool {
    let (Some(success), Ok(image)) = (&record.last_success, Reference::parse(record.image.as_str())) else {
        return false;
    };
    let others = index.find(&image);
    let mut others = others.iter().filter(|found| *found.registry != *record.registry);
    let this = (Reverse(success.order()), &*record.registry);
    others.all(|found| (Reverse(found.order()), found.registry) > this)
}

impl AttemptAnswer {
    fn of(attempt: Attempt) -> Self {
        let Attempt {
            state,
            attempt,
            error,
            bytes_total,
            bytes_done,
            started_at,
            finished_at,
        } = attempt;
        Self {
            state,
            attempt,
            error,
            bytes_total,
            bytes_done,
            started_at,
            finished_at,
        }
    }
}

impl SuccessAnswer {
    fn of(success: Success) -> Self {
        let Success {
            target,
            digest,
            platforms,
            finished_at,
            children: _,
            sequence: _,
        } = success;
        Self {
            target,
            digest,
            platforms,
            finished_at,
        }
    }
}

/// Fields that answers have and requests do not.
pub(super) const ANSWERED: &[&str] = &["id", "latest", "last_attempt", "last_success"];
