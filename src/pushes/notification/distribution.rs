//! The format of CNCF Distribution: `application/vnd.docker.distribution.events.v1+json` and `v2+json`, which differ in what is left out
//! here.
//!
//! What is pushed is told of manifest by manifest and blob by blob. Only the push of a manifest under a tag has a tag: the manifests of an
//! index come before it, by their digests. Version 3 tells of a manifest that is deleted by its digest, and of each of its tags; of a
//! deleted tag by repository and tag; of a deleted repository by its name alone. A deleted blob looks like a deleted manifest, and no push
//! has its digest.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Deleted, Found, MOST_EVENTS, Notice, Noticed, Notification, NotificationError, is_about_another, json};

#[derive(Deserialize)]
struct Envelope<'b> {
    #[serde(borrow)]
    events: Vec<&'b RawValue>,
}

#[derive(Deserialize)]
struct Event<'b> {
    #[serde(borrow)]
    action: Cow<'b, str>,
    #[serde(borrow, default)]
    timestamp: Cow<'b, str>,
    #[serde(borrow, default)]
    target: Target<'b>,
}

#[derive(Default, Deserialize)]
struct Target<'b> {
    #[serde(borrow, default)]
    repository: Cow<'b, str>,
    #[serde(borrow, default)]
    tag: Cow<'b, str>,
    #[serde(borrow, default)]
    digest: Cow<'b, str>,
}

pub(super) fn read(body: &[u8]) -> Result<Notification, NotificationError> {
    let Envelope { events } = json(body, "Distribution sends: {\"events\": […]}")?;
    if events.len() > MOST_EVENTS {
        return Err(NotificationError::TooMany(events.len()));
    }
    let mut notification = Notification::default();
    for event in events {
        notification.add(found(event));
    }
    Ok(notification)
}

fn found(event: &RawValue) -> Found {
    let Ok(Event {
        action,
        timestamp,
        target,
    }) = serde_json::from_str(event.get())
    else {
        return Found::Invalid;
    };
    let Target {
        repository,
        tag,
        digest,
    } = target;
    let what = match &*action {
        "push" if tag.is_empty() || is_about_another(&tag) => return Found::Irrelevant,
        "push" => Noticed::Pushed {
            tag: tag.into(),
            digest: digest.into(),
        },
        "delete" => Noticed::Deleted(match (&*tag, &*digest) {
            ("", "") => Deleted::Repository,
            ("", digest) => Deleted::Digest(digest.into()),
            (tag, _) => Deleted::Tag(tag.into()),
        }),
        // Pulls, mounted blobs, and whatever there will be.
        _ => return Found::Irrelevant,
    };
    let Ok(at) = timestamp.parse::<Timestamp>() else {
        return Found::Invalid;
    };
    Found::Notice(Notice {
        repository: repository.into(),
        at,
        what,
    })
}
