//! Targets whose registries are down.

use super::*;

const LIST: &str =
    "- {name: hub, match: {images: ['docker.io/**']}, rewrite: {to: ['a.io/{registry}/{repository}', 'b.io/{registry}/{repository}'], onUnavailable: next}, pull: {secrets: [s]}, warn: [mutableTag]}
- {name: quay, match: {images: ['quay.io/**']}, rewrite: {prefix: a.io}, pull: {secrets: [q]}}";

/// With these down, and a credential for what images come from.
fn without(down: &[&str]) -> Snapshot {
    let mut snapshot = snapshot(LIST);
    let registered = |host: &&str| Registered {
        id: (*host).into(),
        address: crate::registry::Address {
            host: (*host).into(),
            organization: "".into(),
        },
        namespaces: crate::registry::Admitted::default(),
        has_pull_credential: *host == "docker.io",
        available: !down.contains(host),
    };
    snapshot.registries = Registries::new(["a.io", "b.io", "docker.io"].iter().map(registered).collect());
    snapshot
}

#[test]
fn the_next_target_is_written_as_the_first_would_be() {
    let answered = ask(&without(&["a.io"]), &create(one("alpine:3")));
    assert_eq!(
        answered.image("/spec/containers/0/image"),
        "b.io/docker.io/library/alpine:3"
    );
    assert_eq!(answered.image("/spec/containers/0/imagePullPolicy"), "Always");
    assert_eq!(answered.object["spec"]["imagePullSecrets"], json!([{"name": "s"}]));
    assert_eq!(answered.outcomes, ["rewritten"]);
    assert_eq!(answered.warnings(), "");
}

#[test]
fn where_no_target_is_up_the_image_stays_as_it_was_written_and_the_user_is_told() {
    let answered = ask(&without(&["a.io", "b.io"]), &create(one("alpine")));
    assert_eq!(answered.image("/spec/containers/0/image"), "alpine");
    assert_eq!(answered.image("/spec/containers/0/imagePullPolicy"), "IfNotPresent");
    // That of the registry which it is pulled from after all, and not the rule's.
    assert_eq!(
        answered.object["spec"]["imagePullSecrets"],
        json!([{"name": "waypost-pull"}])
    );
    assert_eq!(answered.object["metadata"]["annotations"], Value::Null);
    assert_eq!(answered.outcomes, ["target_unavailable"]);
    assert_eq!(
        answered.warnings(),
        "waypost: container \"app\" (image \"alpine\") is left as it is: its targets a.io, b.io are not available"
    );
    let answered = ask(&without(&["a.io"]), &create(one("quay.io/x")));
    assert!(answered.patch.is_empty());
    assert_eq!(
        answered.warnings(),
        "waypost: container \"app\" (image \"quay.io/x\") is left as it is: its target a.io is not available"
    );
}

#[test]
fn it_is_counted_with_its_rule() {
    let seen = Seen::default();
    let review = create(one("alpine")).to_string();
    respond(&without(&["a.io", "b.io"]), review.as_bytes(), &seen).unwrap();
    let counted = (
        "target_unavailable",
        Some("p/hub".to_owned()),
        "docker.io".to_owned(),
        "docker.io".to_owned(),
    );
    assert_eq!(seen.images.take(), [counted]);
}

#[test]
fn what_was_rewritten_stays_when_its_registry_goes_down_or_comes_back() {
    let rewritten = ask(&without(&["a.io"]), &create(one("alpine:3"))).object;
    for down in [&[][..], &["a.io"], &["b.io"], &["a.io", "b.io"]] {
        let answered = ask(&without(down), &create(rewritten.clone()));
        assert!(answered.patch.is_empty(), "{down:?}: {:?}", answered.patch);
        assert_eq!(answered.outcomes, ["already_target"]);
    }
}

#[test]
fn an_update_and_an_ephemeral_container_take_what_is_up_too() {
    let mut old = one("quay.io/x:1");
    old["spec"]["imagePullSecrets"] = json!([{"name": "s"}]);
    for (down, expected, outcome) in [
        (&[][..], "a.io/docker.io/library/alpine:3", "rewritten"),
        (&["a.io"], "b.io/docker.io/library/alpine:3", "rewritten"),
        (&["a.io", "b.io"], "alpine:3", "target_unavailable"),
    ] {
        let mut new = old.clone();
        new["spec"]["containers"][0]["image"] = json!("alpine:3");
        let answered = ask(&without(down), &update(old.clone(), new));
        assert_eq!(answered.image("/spec/containers/0/image"), expected);
        assert_eq!(answered.outcomes, [outcome]);

        let mut new = old.clone();
        new["spec"]["ephemeralContainers"] =
            json!([{"name": "debug", "image": "alpine:3", "imagePullPolicy": "IfNotPresent"}]);
        let mut review = update(old.clone(), new);
        review["request"]["subResource"] = json!("ephemeralcontainers");
        let answered = ask(&without(down), &review);
        assert_eq!(answered.image("/spec/ephemeralContainers/0/image"), expected);
        assert_eq!(answered.outcomes, [outcome]);
    }
}
