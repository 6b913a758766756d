//! The format of Harbor's webhooks: its own, and CloudEvents 1.0, which Harbor has since 2.8.
//!
//! Harbor has the digest in the place of the tag where there is none: so it is with the manifests of an index. It tells of an artifact that is
//! deleted, with one of its tags at most, and not of a tag that is. A project that is a proxy's cache tells of what it has fetched.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Deserialize;

use super::{Deleted, Found, MOST_EVENTS, Notice, Noticed, Notification, NotificationError, is_about_another, json};

/// Either of the two, beside its type.
#[derive(Deserialize)]
struct Event<'b> {
    /// Seconds, in Harbor's own format.
    #[serde(default)]
    occur_at: Option<i64>,
    #[serde(borrow, default)]
    event_data: Option<Data<'b>>,
    /// In CloudEvents.
    #[serde(borrow, default)]
    time: Option<Cow<'b, str>>,
    #[serde(borrow, default)]
    data: Option<Data<'b>>,
}

#[derive(Default, Deserialize)]
struct Data<'b> {
    #[serde(borrow, default)]
    resources: Vec<Resource<'b>>,
    #[serde(borrow, default)]
    repository: Repository<'b>,
}

#[derive(Deserialize)]
struct Resource<'b> {
    #[serde(borrow, default)]
    digest: Cow<'b, str>,
    #[serde(borrow, default)]
    tag: Cow<'b, str>,
}

#[derive(Default, Deserialize)]
struct Repository<'b> {
    #[serde(borrow, default)]
    repo_full_name: Cow<'b, str>,
}

/// What it is of, whatever else there is in it.
#[derive(Deserialize)]
struct Kind<'b> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'b, str>,
}

pub(super) fn read(body: &[u8]) -> Result<Notification, NotificationError> {
    let Kind { kind } = json(body, FORM)?;
    let mut notification = Notification::default();
    let is_push = match &*kind {
        "PUSH_ARTIFACT" | "harbor.artifact.pushed" => true,
        "DELETE_ARTIFACT" | "harbor.artifact.deleted" => false,
        // The data of others is of other forms.
        _ => {
            notification.add(Found::Irrelevant);
            return Ok(notification);
        }
    };
    let Event {
        occur_at,
        event_data,
        time,
        data,
    } = json(body, FORM)?;
    let Data { resources, repository } = event_data.or(data).unwrap_or_default();
    if resources.len() > MOST_EVENTS {
        return Err(NotificationError::TooMany(resources.len()));
    }
    let at = match (occur_at, time) {
        (Some(seconds), _) => Timestamp::from_second(seconds).ok(),
        (None, Some(time)) => time.parse().ok(),
        (None, None) => None,
    };
    if resources.is_empty() {
        notification.add(Found::Invalid);
    }
    for Resource { digest, tag } in resources {
        // No tag has a colon in it.
        let tag = Some(&*tag).filter(|tag| !tag.is_empty() && !tag.contains(':'));
        notification.add(match (is_push, tag, at) {
            (true, None, _) => Found::Irrelevant,
            (true, Some(tag), _) if is_about_another(tag) => Found::Irrelevant,
            (_, _, None) => Found::Invalid,
            (true, Some(tag), Some(at)) => notice(
                &repository,
                at,
                Noticed::Pushed {
                    tag: tag.into(),
                    digest: digest.into(),
                },
            ),
            (false, _, Some(at)) => notice(&repository, at, Noticed::Deleted(Deleted::Digest(digest.into()))),
        });
    }
    Ok(notification)
}

fn notice(repository: &Repository<'_>, at: Timestamp, what: Noticed) -> Found {
    Found::Notice(Notice {
        repository: (*repository.repo_full_name).into(),
        at,
        what,
    })
}

const FORM: &str = "Harbor sends: {\"type\": \"PUSH_ARTIFACT\", \"occur_at\": …, \"event_data\": {…}}, or a CloudEvent";
