//! What the labels of namespaces do, and what is done where they are not known.

use super::*;
use crate::snapshot::Namespaces;

const RULES: &str = "
- {name: physics, match: {namespaceSelector: {matchLabels: {team: physics}}}, rewrite: {prefix: physics.io}, pull: {secrets: [mine]}}
- {name: hub, match: {images: ['docker.io/**']}, rewrite: {prefix: r.io}, pull: {secrets: [mine]}}
- {name: quiet, match: {images: ['quay.io/**']}, rewrite: {prefix: q.io}, mode: audit}
- {name: no, match: {images: ['evil.io/**']}, deny: {message: no}}";

/// The namespace `default` has these labels; it is unknown without.
fn watched(labels: Option<&[(&str, &str)]>) -> Snapshot {
    let mut snapshot = snapshot(RULES);
    snapshot.namespaces = Namespaces::watched();
    if let Some(labels) = labels {
        snapshot.namespaces.insert("default", labels.iter().copied());
    }
    snapshot
}

fn known(snapshot: &Snapshot, review: &Value) -> Result<(), String> {
    let seen = Seen::default();
    let answer = respond_if_known(snapshot, &serde_json::to_vec(review).unwrap(), &seen).unwrap();
    let counted = !seen.reviews.take().is_empty();
    assert_eq!(counted, answer.is_ok(), "what is put off is not counted");
    answer.map(drop).map_err(|unknown| unknown.name.into())
}

#[test]
fn selectors_and_the_opt_out_see_the_labels_of_the_namespace() {
    for (labels, expected, outcome) in [
        (
            &[("team", "physics")][..],
            "physics.io/docker.io/library/alpine",
            "rewritten",
        ),
        (&[("team", "chemistry")], "r.io/docker.io/library/alpine", "rewritten"),
        (&[], "r.io/docker.io/library/alpine", "rewritten"),
        (
            &[("team", "physics"), ("waypost.dev/rewrite", "disabled")],
            "alpine",
            "opted_out",
        ),
        (
            &[("waypost.dev/rewrite", "enabled")],
            "r.io/docker.io/library/alpine",
            "rewritten",
        ),
    ] {
        let answered = ask(&watched(Some(labels)), &create(one("alpine")));
        assert_eq!(answered.image("/spec/containers/0/image"), expected, "{labels:?}");
        assert_eq!(answered.outcomes, [outcome], "{labels:?}");
        assert_eq!(answered.warnings(), "", "{labels:?}");
    }
}

#[test]
fn in_an_unknown_namespace_decisions_are_made_without_labels_and_each_image_counts_once() {
    let snapshot = watched(None);
    for (image, expected, outcomes) in [
        ("alpine", "r.io/docker.io/library/alpine", &["namespace_unknown"][..]),
        ("gcr.io/x/y", "gcr.io/x/y", &["namespace_unknown"]),
        ("quay.io/x/y", "quay.io/x/y", &["would_rewrite", "namespace_unknown"]),
        ("NOT AN IMAGE", "NOT AN IMAGE", &["namespace_unknown"]),
    ] {
        let answered = ask(&snapshot, &create(one(image)));
        assert_eq!(answered.image("/spec/containers/0/image"), expected);
        assert_eq!(answered.outcomes, outcomes, "{image}");
        let warning = "waypost: the namespace \"default\" was not known in time: rules saw no labels of it";
        assert!(answered.warnings().contains(warning), "{}", answered.warnings());
    }
    let answered = ask(&snapshot, &create(one("evil.io/x/y")));
    assert_eq!(
        (answered.response["allowed"].as_bool(), &*answered.outcomes),
        (Some(false), &["namespace_unknown"][..])
    );
}

#[test]
fn rule_and_registries_say_what_was_decided_in_an_unknown_namespace() {
    let seen = Seen::default();
    respond(&watched(None), create(one("alpine")).to_string().as_bytes(), &seen).unwrap();
    let rewritten = (
        "namespace_unknown",
        Some("p/hub".to_owned()),
        "docker.io".to_owned(),
        "r.io".to_owned(),
    );
    assert_eq!(seen.images.take(), [rewritten]);
    assert_eq!(seen.reviews.take(), [("CREATE", "patched")]);
}

#[test]
fn the_managed_secret_is_not_for_an_unknown_namespace_and_a_rules_own_is() {
    for (labels, expected) in [
        (None, json!([{"name": "mine"}])),
        (Some(&[][..]), json!([{"name": "mine"}, {"name": "waypost-pull"}])),
    ] {
        let mut snapshot = watched(labels);
        snapshot.registries = Registries::new(vec![Registered {
            id: "r.io".into(),
            address: crate::registry::Address {
                host: "r.io".into(),
                organization: "".into(),
            },
            namespaces: crate::registry::Admitted::default(),
            has_pull_credential: true,
            available: true,
        }]);
        let answered = ask(&snapshot, &create(one("alpine")));
        assert_eq!(answered.object["spec"]["imagePullSecrets"], expected, "{labels:?}");
    }
}

#[test]
fn only_a_pod_that_rules_are_asked_about_is_put_off() {
    let unknown = watched(None);
    let mut elsewhere = create(one("alpine"));
    elsewhere["request"]["namespace"] = json!("new");
    assert_eq!(known(&unknown, &elsewhere), Err("new".to_owned()));
    assert_eq!(
        known(&unknown, &update(one("alpine"), one("nginx"))),
        Err("default".to_owned())
    );
    assert_eq!(known(&unknown, &fixture(EPHEMERAL_UPDATE)), Err("default".to_owned()));

    let mut deleted = create(one("alpine"));
    deleted["request"]["operation"] = json!("DELETE");
    let mut status = update(one("alpine"), one("alpine"));
    status["request"]["subResource"] = json!("status");
    let mut mirror = create(one("alpine"));
    mirror["request"]["object"]["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
    let mut nowhere = create(one("alpine"));
    nowhere["request"]["namespace"] = json!("");
    for review in [deleted, status, mirror, nowhere] {
        assert_eq!(known(&unknown, &review), Ok(()), "{review}");
    }
    assert_eq!(known(&watched(Some(&[])), &create(one("alpine"))), Ok(()));
    assert_eq!(
        known(&snapshot(RULES), &create(one("alpine"))),
        Ok(()),
        "nobody watches"
    );
}

#[test]
fn a_mirror_pod_counts_as_such_in_any_namespace() {
    let mut mirror = create(one("alpine"));
    mirror["request"]["object"]["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
    let answered = ask(&watched(None), &mirror);
    assert_eq!((&*answered.outcomes, &*answered.warnings()), (&["mirror_pod"][..], ""));
}
