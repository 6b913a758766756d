//! What people are told, in kubectl's own words.

use serde_json::Value;

use super::{on_control_plane, policy, through};
use crate::support::eventually;

#[test]
fn a_denied_pod_is_refused_with_the_rules_message() {
    on_control_plane("deny", |case| {
        let _waypost = case.waypost(&policy(
            "{name: no-hub, match: {images: [docker.io/**]}, deny: {message: use the mirror}}",
        ));
        let refused = case.kubectl(&["run", "p", "--image=alpine:3.22"]).exits(1);
        assert_eq!(refused.out(), "");
        assert_eq!(
            refused.stderr,
            "Error from server (Forbidden): admission webhook \"pods.waypost.dev\" denied the request: \
             use the mirror (container \"p\" (image \"alpine:3.22\"), rule test/no-hub)\n"
        );
    });
}

#[test]
fn a_rule_that_warns_is_heard_by_who_creates_the_pod() {
    on_control_plane("warn", |case| {
        let _waypost = case.waypost(&policy(
            "{name: hub, match: {images: [docker.io/**]}, rewrite: {prefix: mirror.test}, warn: [mutableTag]}
             {name: soon, match: {images: [quay.io/**]}, deny: {message: no more of it}, mode: warn}",
        ));
        let created = case.kubectl(&["run", "p", "--image=alpine"]).exits(0);
        assert_eq!(created.out(), "pod/p created\n");
        assert!(created.stderr.starts_with("Warning: waypost: "), "{}", created.stderr);
        assert!(created.stderr.contains("has no tag"), "{}", created.stderr);
        let created = case.kubectl(&["run", "q", "--image=quay.io/a/b:1"]).exits(0);
        assert!(created.stderr.starts_with("Warning: waypost: "), "{}", created.stderr);
        assert!(created.stderr.contains("no more of it"), "{}", created.stderr);
        let silent = case.kubectl(&["run", "r", "--image=alpine:3.22"]).exits(0);
        assert_eq!(silent.stderr, "");
    });
}

#[test]
fn the_audit_log_says_what_was_rewritten_and_by_which_rule() {
    on_control_plane("audit", |case| {
        let _waypost = case.waypost(&through("mirror.test"));
        case.kubectl(&["run", "p", "--image=alpine:3.22"]).exits(0);
        let path = case.path("pods");
        let event = eventually("the event in the audit log", || {
            let log = std::fs::read_to_string(case.cluster.log("audit.jsonl")).ok()?;
            let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let mut ours = events.filter(|event| {
                let uri = event["requestURI"].as_str().unwrap_or_default();
                uri.starts_with(&path) && !uri.contains("dryRun")
            });
            ours.next()
        });
        assert_eq!(
            event["annotations"]["pods.waypost.dev/rewritten"],
            "container \"p\" (image \"alpine:3.22\"): mirror.test/docker.io/library/alpine:3.22 by test/hub",
            "{event:#}"
        );
    });
}
