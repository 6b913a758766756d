//! Whatever bytes arrive, what is answered is a well-formed answer, with a patch that says what may be patched.
#![no_main]

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use base64::Engine;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use waypost::admission::{ImageEvent, Observer, ReviewOutcome, respond};
use waypost::document::Source;
use waypost::policy::{Input, Settings, compile};
use waypost::review::Operation;
use waypost::snapshot::{Registered, Registries, Snapshot};

fuzz_target!(|body: &[u8]| {
    let answer = match respond(&SNAPSHOT, body, &NoFailure) {
        Ok(answer) => answer,
        Err(bad) => {
            assert!(!bad.to_string().contains(char::is_control), "{bad}");
            return;
        }
    };
    let answer: Value = serde_json::from_slice(&answer).expect("an answer is JSON");
    let response = &answer["response"];
    assert!(response["uid"].as_str().is_some_and(|uid| !uid.is_empty()), "{answer}");
    assert_eq!(
        response["allowed"].as_bool(),
        Some(response["status"].is_null()),
        "{answer}"
    );
    let Some(patch) = response["patch"].as_str() else {
        return;
    };
    assert_eq!(response["patchType"], "JSONPatch");
    let patch = base64::engine::general_purpose::STANDARD
        .decode(patch)
        .expect("a patch is base64");
    let operations: Vec<json_patch::PatchOperation> = serde_json::from_slice(&patch).expect("a patch is JSON Patch");
    assert!(!operations.is_empty());
    // Parts that are passed over may be deeper than a tree can be read, and be no UTF-8.
    let Ok(mut review) = serde_json::from_slice::<Value>(body) else {
        return;
    };
    let object = review
        .pointer_mut("/request/object")
        .expect("only an object is patched");
    json_patch::patch(object, &operations).unwrap_or_else(|error| panic!("{error}: {operations:?}"));
    let again = respond(&SNAPSHOT, review.to_string().as_bytes(), &NoFailure).expect("it is a review still");
    let again: Value = serde_json::from_slice(&again).expect("an answer is JSON");
    assert!(
        again.pointer("/response/patch").is_none(),
        "patched again: {operations:?}"
    );
});

/// Panics are turned into answers: they are found here.
struct NoFailure;

impl Observer for NoFailure {
    fn image(&self, _: &Snapshot, _: ImageEvent) {}
    fn review(&self, _: Operation, outcome: ReviewOutcome, _: Duration) {
        assert_ne!(outcome, ReviewOutcome::Failed);
    }
}

static SNAPSHOT: LazyLock<Snapshot> = LazyLock::new(|| {
    let compiled = compile(&Input {
        sources: vec![Source::new("policy", POLICY)],
        presets: Vec::new(),
        settings: Settings::default(),
    });
    let mut snapshot = Snapshot::new(Arc::new(compiled.set.expect("the policy of this file is valid")), 1);
    snapshot.registries = Registries::new(vec![Registered {
        id: "registry.cern.ch".into(),
        address: waypost::registry::Address {
            host: "registry.cern.ch".into(),
            organization: "".into(),
        },
        namespaces: waypost::registry::Admitted::default(),
        has_pull_credential: true,
        available: true,
    }]);
    snapshot
});

const POLICY: &str = "
apiVersion: waypost.dev/v1alpha1
kind: Policy
metadata: {name: fuzz}
spec:
  rules:
    - {name: forbidden, match: {images: ['forbidden.io/**']}, deny: {message: not here}}
    - {name: warned, match: {images: ['warned.io/**']}, rewrite: {prefix: warn.io}, mode: warn}
    - {name: secrets, match: {images: ['s.io/**']}, rewrite: {prefix: s.cern.ch}, pull: {secrets: [regcred]}}
    - {name: hub, match: {images: ['docker.io/**']}, rewrite: {prefix: registry.cern.ch}, warn: [mutableTag]}
";
