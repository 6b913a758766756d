//! `pushes.waypost.dev`. That a name is the one of its image in its registry is seen when it is read: the API server's language knows no
//! SHA-256.

use serde_json::{Value, json};

use super::{Check, Definition, check, structural::structural};
use crate::{
    policy::spec::schema,
    pushes::{PushSpec, PushStatus},
};

pub(super) fn pushes() -> Value {
    let mut spec = structural(&schema::<PushSpec>());
    for (key, most) in [("image", MOST_IMAGE), ("registry", 63)] {
        spec["properties"][key]["minLength"] = 1.into();
        spec["properties"][key]["maxLength"] = most.into();
    }
    let copy = &mut spec["properties"]["copy"]["properties"];
    copy["requestedAt"]["maxLength"] = MOST_REQUEST.into();
    copy["source"]["maxLength"] = 63.into();
    copy["credential"]["properties"]["name"]["minLength"] = 1.into();
    copy["credential"]["properties"]["name"]["maxLength"] = 253.into();
    check(&mut spec, SPEC_CHECKS);
    let status = structural(&schema::<PushStatus>());
    Definition {
        kind: "Push",
        singular: "push",
        plural: "pushes",
        description: "What is known of one image in one registry: how the last push went, and what is there. Waypost makes these \
                      objects of what it is told, and copies the image of one that somebody else makes; of the pushes of an image \
                      that went well, the newest is where Pods pull it from.",
        spec,
        status: status["properties"].clone(),
        columns: json!([
            {"name": "Image", "type": "string", "jsonPath": ".spec.image", "description": "Which image."},
            {"name": "Registry", "type": "string", "jsonPath": ".spec.registry", "description": "In which registry."},
            {"name": "State", "type": "string", "jsonPath": ".status.lastAttempt.state",
                "description": "How the last push went, or how it goes."},
            {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
            {"name": "Digest", "type": "string", "jsonPath": ".status.lastSuccess.digest",
                "description": "What is there: the digest of the last push that went well."},
            {"name": "Target", "type": "string", "priority": 1, "jsonPath": ".status.lastSuccess.target",
                "description": "The reference that it is under in the registry."},
            {"name": "Finished", "type": "date", "priority": 1, "jsonPath": ".status.lastAttempt.finishedAt",
                "description": "How long ago the last push ended."},
            {"name": "Attempt", "type": "integer", "priority": 1, "jsonPath": ".status.lastAttempt.attempt",
                "description": "The how-manieth push it was."},
            {"name": "Sent", "type": "integer", "priority": 1, "jsonPath": ".status.lastAttempt.bytesDone",
                "description": "How many bytes of it are there, where Waypost copies it."},
            {"name": "Bytes", "type": "integer", "priority": 1, "jsonPath": ".status.lastAttempt.bytesTotal",
                "description": "How many bytes there are to send."},
            {"name": "Error", "type": "string", "priority": 1, "jsonPath": ".status.lastAttempt.error",
                "description": "Why the last push failed."},
        ]),
        checks: NAME_CHECKS,
    }
    .object()
}

/// Of the whole object.
const NAME_CHECKS: &[Check] = &[Check {
    rule: "self.metadata.name.startsWith(self.spec.registry + '.') && size(self.metadata.name) == size(self.spec.registry) + 33 && \
           self.metadata.name.matches('^[a-z0-9-]+[.][0-9a-f]{32}$')",
    message: "a push is named REGISTRY.KEY, where KEY is the first 32 hexadecimal digits of the SHA-256 of the whole name of its image: \
              `printf %s docker.io/library/alpine:latest | sha256sum | cut -c 1-32`",
    at: "",
}];

/// Of `spec`.
const SPEC_CHECKS: &[Check] = &[Check {
    rule: "self.image == oldSelf.image && self.registry == oldSelf.registry",
    message: "image and registry of a push stay what they are: make another one, and delete this one",
    at: "",
}];

/// A time is shorter.
const MOST_REQUEST: u32 = 64;

/// Longer than any reference.
const MOST_IMAGE: u32 = 1_024;
