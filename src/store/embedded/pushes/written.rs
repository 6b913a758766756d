//! What is in the file of a push: JSON with short names, for there may be a million. Fields may be added to and never change their
//! meaning; what is not known is refused. Times are nanoseconds since 1970.

use jiff::{
    Timestamp,
    fmt::serde::timestamp::nanosecond::{optional, required},
};
use serde::{Deserialize, Serialize};

use crate::{
    pushes::{Attempt, Image, Record, State, Success},
    store::StoreError,
};

/// A record but for its registry, which its id has.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(rename = "i")]
    image: Image,
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    last_attempt: Option<WrittenAttempt>,
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    last_success: Option<WrittenSuccess>,
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none", with = "optional")]
    withdrawn_at: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenAttempt {
    #[serde(rename = "s")]
    state: State,
    #[serde(rename = "n")]
    attempt: u32,
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    error: Option<Box<str>>,
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    bytes_total: Option<u64>,
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    bytes_done: Option<u64>,
    #[serde(rename = "b", with = "required")]
    started_at: Timestamp,
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none", with = "optional")]
    finished_at: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenSuccess {
    #[serde(rename = "t")]
    target: Box<str>,
    #[serde(rename = "d")]
    digest: Box<str>,
    #[serde(rename = "p", default, skip_serializing_if = "Vec::is_empty")]
    platforms: Vec<Box<str>>,
    #[serde(rename = "c", default, skip_serializing_if = "Vec::is_empty")]
    children: Vec<Box<str>>,
    #[serde(rename = "f", with = "required")]
    finished_at: Timestamp,
    #[serde(rename = "n")]
    sequence: u64,
}

/// What is kept of a record.
pub(super) fn written(record: Record) -> Result<Vec<u8>, StoreError> {
    let Record {
        image,
        registry: _,
        last_attempt,
        last_success,
        withdrawn_at,
        copying: _,
    } = record;
    let written = Written {
        image,
        last_attempt: last_attempt.map(WrittenAttempt::from),
        last_success: last_success.map(WrittenSuccess::from),
        withdrawn_at,
    };
    serde_json::to_vec(&written).map_err(|error| StoreError::Unsupported(format!("it cannot be kept: {error}")))
}

/// The record that was kept so under an id.
///
/// # Errors
///
/// Why it cannot be understood.
pub(super) fn read(id: &str, json: &[u8]) -> Result<Record, String> {
    let (registry, _) = id
        .split_once('.')
        .ok_or_else(|| format!("`{}` is no id of a push", id.escape_debug()))?;
    let written: Written =
        serde_json::from_slice(json).map_err(|error| format!("what it has of the push `{id}`: {error}"))?;
    Ok(Record {
        image: written.image,
        registry: registry.into(),
        last_attempt: written.last_attempt.map(Attempt::from),
        last_success: written.last_success.map(Success::from),
        withdrawn_at: written.withdrawn_at,
        copying: None,
    })
}

/// Both ways, so that no field is forgotten.
macro_rules! alike {
    ($one:ident, $other:ident, $($field:ident),+) => {
        impl From<$one> for $other {
            fn from($one { $($field),+ }: $one) -> Self {
                Self { $($field),+ }
            }
        }
        impl From<$other> for $one {
            fn from($other { $($field),+ }: $other) -> Self {
                Self { $($field),+ }
            }
        }
    };
}

alike!(
    Attempt,
    WrittenAttempt,
    state,
    attempt,
    error,
    bytes_total,
    bytes_done,
    started_at,
    finished_at
);
alike!(
    Success,
    WrittenSuccess,
    target,
    digest,
    platforms,
    children,
    finished_at,
    sequence
);
