//! No text makes the policy reader panic, and every set that compiles decides, once and for all.
#![no_main]

use libfuzzer_sys::fuzz_target;
use waypost::decide::{Outcome, decide};
use waypost::document::{Source, render};
use waypost::policy::{Context, Input, Settings, compile};
use waypost::reference::Reference;
use waypost::snapshot::{NoLabels, Registered, Registries, Snapshot};

fuzz_target!(|input: &[u8]| {
    let source = match Source::from_bytes("fuzzed.yaml", input) {
        Ok(source) => source,
        Err(diagnostic) => return rendered(&[*diagnostic]),
    };
    let compiled = compile(&Input {
        sources: vec![source],
        presets: Vec::new(),
        settings: Settings::default(),
    });
    let failed = compiled.diagnostics.iter().any(|diagnostic| diagnostic.is_error());
    assert_eq!(
        compiled.set.is_none(),
        failed,
        "a set comes with no error, and an error with no set"
    );
    rendered(&compiled.diagnostics);
    if let Some(set) = compiled.set {
        let mut snapshot = Snapshot::new(set.into(), 1);
        for image in IMAGES {
            decided(&snapshot, image);
        }
        let down = Registered::unavailable("a.io").expect("it is a registry");
        snapshot.registries = Registries::new(vec![down]);
        for image in IMAGES {
            decided(&snapshot, image);
        }
    }
});

/// In each form, whatever is in the excerpts.
fn rendered(diagnostics: &[waypost::document::Diagnostic]) {
    for colour in [false, true] {
        let _ = render::text(diagnostics, colour);
    }
    let _ = render::github(diagnostics);
    serde_json::from_str::<serde_json::Value>(&render::json(diagnostics)).expect("findings are well-formed JSON");
}

/// What an image is rewritten to is a valid reference, and is not rewritten again.
fn decided(snapshot: &Snapshot, image: &str) {
    let context = Context {
        namespace: "default",
        namespace_labels: &NoLabels,
        pod_labels: &NoLabels,
    };
    let reference = Reference::parse(image).expect("the images of this file are valid");
    let decision = decide(snapshot, &context, &reference, None, false);
    let Some(target) = decision.target else { return };
    assert_eq!(decision.outcome, Outcome::Rewritten);
    assert!(
        !snapshot.registries.is_unavailable(&target),
        "{image} became {target}, which is down"
    );
    let target = Reference::parse(&target).unwrap_or_else(|error| panic!("{image} became {target}: {error}"));
    assert_eq!((target.tag(), target.digest()), (reference.tag(), reference.digest()));
    let again = decide(snapshot, &context, &target, None, false);
    assert!(
        again.target.is_none(),
        "{image} became {target}, and that {:?}",
        again.target
    );
}

const IMAGES: [&str; 14] = [
    "alpine",
    "docker.io/library/alpine:3.20",
    "docker.io/org/app@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "quay.io/org/app:1",
    "ghcr.io/org/deep/er/app:v1.2.3",
    "registry.k8s.io/pause:3.10",
    "registry.cern.ch/docker.io/library/alpine",
    "registry.cern.ch/app",
    "localhost/x",
    "localhost:5000/x/y",
    "[::1]:5000/x",
    "127.0.0.1:30500/a/b:c",
    "a.io/a/a/a/a/a/a/a/a:a",
    "a/b/c",
];
