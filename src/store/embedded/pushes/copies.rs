//! What is in the file of a copy until it ends: JSON, whose fields may be added to and never change their meaning.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    pushes::{Copying, PushId},
    registry::{Login, Password},
    store::{
        StoreError,
        embedded::{failure::Failure, tables::PushTables},
    },
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'c> {
    asked_at: Timestamp,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    referrers: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    refresh: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'c str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    login: Option<WrittenLogin<'c>>,
}

#[derive(Serialize)]
struct WrittenLogin<'c> {
    username: &'c str,
    password: &'c str,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Read {
    asked_at: Timestamp,
    #[serde(default)]
    referrers: bool,
    #[serde(default)]
    refresh: bool,
    #[serde(default)]
    source: Option<Box<str>>,
    #[serde(default)]
    login: Option<ReadLogin>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReadLogin {
    username: String,
    password: Password,
}

/// What is kept of a copy with the credential that came with it, wiped when it goes.
pub(super) fn written(copying: &Copying, login: Option<&Login>) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    let written = Written {
        asked_at: copying.asked_at,
        referrers: copying.referrers,
        refresh: copying.refresh,
        source: copying.source.as_deref(),
        login: login.map(|Login { username, password }| WrittenLogin {
            username,
            password: password.expose(),
        }),
    };
    let login = login.map_or(0, |login| login.username.len() + login.password.expose().len());
    let length = login + copying.source.as_deref().map_or(0, str::len);
    // A byte is escaped to six at most. A buffer that grew would leave what it was behind.
    let mut json = Zeroizing::new(Vec::with_capacity(length * 6 + 256));
    serde_json::to_writer(&mut *json, &written)
        .map_err(|error| StoreError::Unsupported(format!("it cannot be kept: {error}")))?;
    Ok(json)
}

/// One copy and the credential that came with it, as they are in the file.
pub(super) fn one(tables: &PushTables, id: &PushId) -> Result<Option<(Copying, Option<Login>)>, Failure> {
    let Some(json) = tables.copies.get(id.as_str())? else {
        return Ok(None);
    };
    let read: Read = serde_json::from_slice(json.value()).map_err(|error| {
        // Nothing is said of what is in it.
        let (line, column) = (error.line(), error.column());
        Failure::Damaged(format!("the copy `{}`: line {line}, column {column}", id.as_str()))
    })?;
    let Read {
        asked_at,
        referrers,
        refresh,
        source,
        login,
    } = read;
    let login = login.map(|ReadLogin { username, password }| Login { username, password });
    let copying = Copying {
        asked_at,
        referrers,
        refresh,
        source,
        login: login.as_ref().map(|_| HERE.into()),
    };
    Ok(Some((copying, login)))
}

/// Where a credential is that came with a request.
pub(super) const HERE: &str = "store";
