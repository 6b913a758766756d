//! Push records as they are written in a cluster: `spec` and `status` of a `Push` object. Its doc comments are the descriptions of the
//! schema.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Attempt, Success};

/// Which image in which registry it is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PushSpec {
    /// The image, as Pods have it: `docker.io/library/alpine:3.20`. Where it has neither a tag nor a digest, `latest` is meant.
    pub image: String,
    /// The name of the Registry that it is pushed to.
    pub registry: String,
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
}
