//! Examples of pushes.

use serde_json::{Value, json};

pub(super) const CREATE: (&str, &str, &str, &str) = (
    "createPush",
    "Has an image copied, or reports a push",
    "Without `state` Waypost copies the image into the registry: 202, and GET says how it goes. A copy that was asked for and has not ended is \
     joined, and what came with the second request is dropped. With `state` it is a report: 201. With `finished_at` one may be sent again: it \
     changes nothing twice; one that is older than what is known changes nothing of that, and the answer is what is known then. Either takes the \
     verb `push` on the registry. A copy reads its source by the credential of the registry that the image lies under, where all namespaces may \
     use that, or whoever asks may push there, too; else as anybody.",
    "pushes",
);

pub(super) const RETRY: (&str, &str, &str, &str) = (
    "retryPush",
    "Has the image of a push copied again",
    "However the last push of it went, and whoever made it. Where a copy goes on, it is joined. It takes the verb `push` on the registry.",
    "pushes",
);

/// What is answered where a copy is yet to be made.
pub(super) fn accepted(response: &mut Value) {
    response["description"] = "The push, which is yet to be made.".into();
    response["content"]["application/json"]["examples"] = json!({"a copy": {"value": copy_example()}});
}

pub(in super::super) fn request_examples() -> Value {
    json!({
        "a copy": {"value": {"image": "docker.io/library/alpine:3.20", "registry_id": "cern-prod"}},
        "a copy with a credential of its own, with signatures": {"value": {
            "image": "docker.io/library/alpine:3.20",
            "referrers": true,
            "registry_push_credentials": {
                "registry_id": "cern-prod",
                "registry_username": "pusher",
                "registry_password": "not-a-real-one",
            },
        }},
        "one that went well": {"value": {
            "image": "docker.io/library/alpine:3.20",
            "registry_id": "cern-prod",
            "state": "SUCCEEDED",
            "digest": DIGEST,
        }},
        "as it was pushed, with its digest": {"value": {
            "image": format!("registry.example.com/team/docker.io/library/alpine:3.20@{DIGEST}"),
            "registry_id": "cern-prod",
            "state": "SUCCEEDED",
            "finished_at": "2026-11-21T10:00:00Z",
        }},
        "under a name of one's own": {"value": {
            "image": "alpine:3.20",
            "registry_id": "cern-prod",
            "state": "SUCCEEDED",
            "digest": DIGEST,
            "target": "registry.example.com/team/base/alpine:3.20",
        }},
        "one that has begun": {"value": {
            "image": "docker.io/library/alpine:3.20",
            "registry_id": "cern-prod",
            "state": "RUNNING",
        }},
        "one that failed": {"value": {
            "image": "docker.io/library/alpine:3.20",
            "registry_id": "cern-prod",
            "state": "FAILED",
            "error": "denied: requested access to the resource is denied",
        }},
    })
}

pub(in super::super) fn retry_examples() -> Value {
    json!({
        "with what the registry has": {"value": {}},
        "with another credential": {"value": {"registry_push_credentials": {
            "registry_id": "cern-prod",
            "registry_username": "pusher",
            "registry_password": "not-a-real-one",
        }}},
    })
}

/// Of a push that was asked for.
fn copy_example() -> Value {
    let mut example = answer_example();
    example["latest"] = false.into();
    example["last_success"] = Value::Null;
    let attempt = &mut example["last_attempt"];
    (attempt["state"], attempt["finished_at"]) = ("PENDING".into(), Value::Null);
    example
}

pub(in super::super) fn answer_example() -> Value {
    json!({
        "id": "cern-prod.75be9c490b21b793193f47be0daf1e1b",
        "image": "docker.io/library/alpine:3.20",
        "registry_id": "cern-prod",
        "latest": true,
        "last_attempt": {
            "state": "SUCCEEDED",
            "attempt": 1,
            "error": null,
            "bytes_total": null,
            "bytes_done": null,
            "started_at": "2026-11-21T10:00:00Z",
            "finished_at": "2026-11-21T10:00:00Z",
        },
        "last_success": {
            "target": "registry.example.com/team/docker.io/library/alpine:3.20",
            "digest": DIGEST,
            "platforms": [],
            "finished_at": "2026-11-21T10:00:00Z",
        },
    })
}

pub(super) const DIGEST: &str = "sha256:1e42bbe2508154c9126d48c2b8a75420c3544343bf86fd041fb7527e017a4b4a";
