//! Images that are pulled from where they were pushed.

use super::*;
use crate::{
    registry::{RegistrySpec, spec::SecretSource},
    snapshot::{Trial, TrialPush},
};

/// `alpine:3` was pushed into a registry with a credential, `busybox:1` into one without.
fn pushed(rules: &str, down: &[&str]) -> Snapshot {
    let mut trial = Trial::default();
    let with_credential = RegistrySpec {
        url: Some("a.io/team".to_owned()),
        pull_credential: Some(SecretSource {
            secret_name: "a".to_owned(),
        }),
        ..RegistrySpec::default()
    };
    trial.register("a", &with_credential).unwrap();
    for (image, registry) in [("alpine:3", "a"), ("busybox:1", "b.io")] {
        let push = TrialPush {
            image,
            registry,
            digest: None,
            finished_at: None,
        };
        trial.push(push).unwrap();
    }
    for name in down {
        trial.down(name).unwrap();
    }
    let mut snapshot = snapshot(rules);
    trial.apply(&mut snapshot);
    snapshot
}

const NOTHING: &str = "- {name: nothing, match: {images: ['nothing.io/**']}, keep: {}}";

#[test]
fn a_new_pod_is_pulled_from_the_latest_push_with_the_managed_secret_and_once() {
    let answered = ask(&pushed(NOTHING, &[]), &create(one("alpine:3")));
    assert_eq!(
        answered.image("/spec/containers/0/image"),
        "a.io/team/docker.io/library/alpine:3"
    );
    assert_eq!(answered.image("/spec/containers/0/imagePullPolicy"), "Always");
    assert_eq!(
        answered.object["spec"]["imagePullSecrets"],
        json!([{"name": "waypost-pull"}])
    );
    assert_eq!(
        answered.object["metadata"]["annotations"]["waypost.dev/rules"],
        "app=waypost/latest-push"
    );
    let again = ask(&pushed(NOTHING, &[]), &create(answered.object));
    assert!(again.patch.is_empty(), "{:?}", again.patch);
    assert_eq!(again.outcomes, ["already_target"]);
}

#[test]
fn an_update_to_an_image_whose_push_needs_a_secret_that_the_pod_lacks_keeps_it() {
    let old = one("quay.io/x:1");
    for (image, expected, outcome, warning) in [
        (
            "alpine:3",
            "alpine:3",
            "no_credential",
            "needs the pull secret waypost-pull",
        ),
        ("busybox:1", "b.io/docker.io/library/busybox:1", "rewritten", ""),
    ] {
        let mut new = old.clone();
        new["spec"]["containers"][0]["image"] = json!(image);
        let answered = ask(&pushed(NOTHING, &[]), &update(old.clone(), new));
        assert_eq!(answered.image("/spec/containers/0/image"), expected);
        assert_eq!(answered.outcomes, [outcome]);
        assert!(answered.warnings().contains(warning), "{}", answered.warnings());
    }
    let mut old = old;
    old["spec"]["imagePullSecrets"] = json!([{"name": "waypost-pull"}]);
    let mut new = old.clone();
    new["spec"]["containers"][0]["image"] = json!("alpine:3");
    let answered = ask(&pushed(NOTHING, &[]), &update(old, new));
    assert_eq!(
        answered.image("/spec/containers/0/image"),
        "a.io/team/docker.io/library/alpine:3"
    );
}

#[test]
fn the_user_is_told_which_registry_is_down() {
    let answered = ask(&pushed(NOTHING, &["a"]), &create(one("alpine:3")));
    assert!(answered.patch.is_empty(), "{:?}", answered.patch);
    assert_eq!(answered.outcomes, ["target_unavailable"]);
    assert_eq!(
        answered.warnings(),
        "waypost: container \"app\" (image \"alpine:3\") is left as it is: its target a.io is not available"
    );
}

#[test]
fn what_was_never_pushed_and_lies_under_a_credential_is_pulled_with_it() {
    let mut snapshot = pushed(NOTHING, &[]);
    snapshot.policies = snapshot_with(
        "- {name: own, rewrite: {latestPush: {}}}",
        Settings {
            route_pushes: false,
            ..Settings::default()
        },
    )
    .policies;
    let answered = ask(&snapshot, &create(one("a.io/team/other:1")));
    assert_eq!(answered.outcomes, ["no_push"]);
    assert_eq!(answered.image("/spec/containers/0/image"), "a.io/team/other:1");
    assert_eq!(answered.image("/spec/containers/0/imagePullPolicy"), "Always");
    assert_eq!(
        answered.object["spec"]["imagePullSecrets"],
        json!([{"name": "waypost-pull"}])
    );
}
