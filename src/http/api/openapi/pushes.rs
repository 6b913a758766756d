//! Examples of pushes.

use serde_json::{Value, json};

pub(in super::super) fn request_examples() -> Value {
    json!({
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

const DIGEST: &str = "sha256:1e42bbe2508154c9126d48c2b8a75420c3544343bf86fd041fb7527e017a4b4a";
