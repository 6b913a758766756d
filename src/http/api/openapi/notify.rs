//! Notifications of registries.

use serde_json::{Value, json};

use crate::pushes::notification::{Format, MOST_EVENTS};

/// Its id, its summary, what is to be said of it, and its tag.
pub(super) const DESCRIBED: (&str, &str, &str, &str) = (
    "notify",
    "Takes a notification of a registry",
    "For registries, not for people: docs/notifications.md says how they are set up. Pushes of images under a tag are recorded, deletes \
     withdraw what was recorded, and everything else is ignored. What is answered by 200 is kept; it may be sent again, and in any order. \
     Whatever the type of the content is said to be, it is JSON.",
    "pushes",
);

pub(super) fn security() -> Value {
    json!({
        "type": "http",
        "scheme": "bearer",
        "description": "The registry's own `notification_token`, which is good for nothing else, and no other token is good for this. \
            `Simple TOKEN`, `TOKEN` alone, and Basic with the token for a password are taken as well.",
    })
}

/// The parameter of the path.
pub(super) fn format() -> Value {
    json!({
        "name": "format", "in": "path", "required": true, "description": "How the registry writes its notifications.",
        "schema": {"type": "string", "enum": Format::ALL.map(Format::as_str)},
        "example": "distribution",
    })
}

/// The schema of the body, as far as it is looked at.
pub(super) fn schema() -> Value {
    json!({
        "type": "object",
        "description": format!("What Distribution or Harbor sends, of {MOST_EVENTS} events at most."),
        "additionalProperties": true,
    })
}

pub(in super::super) fn request_examples() -> Value {
    json!({
        "Distribution": {"value": {"events": [{
            "id": "320678d8-ca14-430f-8bb6-4ca139cd83f7",
            "timestamp": "2026-11-21T10:00:00.123456789Z",
            "action": "push",
            "target": {
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": super::pushes::DIGEST,
                "repository": "team/app",
                "tag": "1.2.3",
            },
        }]}},
        "Harbor": {"value": {
            "type": "PUSH_ARTIFACT",
            "occur_at": 1_795_255_200,
            "operator": "robot$ci",
            "event_data": {
                "resources": [{
                    "digest": super::pushes::DIGEST,
                    "tag": "1.2.3",
                    "resource_url": "harbor.example.com/team/app:1.2.3",
                }],
                "repository": {"name": "app", "namespace": "team", "repo_full_name": "team/app", "repo_type": "private"},
            },
        }},
    })
}
