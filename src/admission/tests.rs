mod namespaces;
mod notices;
mod pushes;
mod replicate;
mod unavailable;

use std::{cell::RefCell, collections::BTreeMap, sync::Arc};

use base64::Engine;
use serde_json::{Value, json};

use super::*;
use crate::{
    document::{Source, render},
    policy::{Glob, Input, Settings, compile},
    registry::{Address, Admitted},
    snapshot::{Registered, Registries},
};

const POD_CREATE: &str = include_str!("../../tests/fixtures/reviews/pod-create.json");
const JOB_POD_CREATE: &str = include_str!("../../tests/fixtures/reviews/job-pod-create.json");
const EPHEMERAL_UPDATE: &str = include_str!("../../tests/fixtures/reviews/ephemeral-container-update.json");

const HUB: &str = "- {name: hub, match: {images: ['docker.io/**']}, rewrite: {prefix: r.io}}";

fn snapshot(rules: &str) -> Snapshot {
    snapshot_with(rules, Settings::default())
}

fn snapshot_with(rules: &str, settings: Settings) -> Snapshot {
    let mut text =
        String::from("apiVersion: waypost.dev/v1alpha1\nkind: Policy\nmetadata: {name: p}\nspec:\n  rules:\n");
    for line in rules.lines() {
        text.push_str(&format!("    {line}\n"));
    }
    let compiled = compile(&Input {
        sources: vec![Source::new("p", text)],
        presets: Vec::new(),
        settings,
    });
    match compiled.set {
        Some(set) => Snapshot::new(Arc::new(set), 1),
        None => panic!("{}", render::text(&compiled.diagnostics, false)),
    }
}

/// Outcome, rule, registry before and after.
type Counted = (&'static str, Option<String>, String, String);

/// Keeps what it is told.
#[derive(Default)]
struct Seen {
    images: RefCell<Vec<Counted>>,
    reviews: RefCell<Vec<(&'static str, &'static str)>>,
}

impl Observer for Seen {
    fn image(&self, snapshot: &Snapshot, image: ImageEvent) {
        let set = &snapshot.policies;
        self.images.borrow_mut().push((
            image.outcome.as_str(),
            image.rule.map(|rule| set.rule(rule).id().to_owned()),
            set.registry_name(image.source).to_owned(),
            set.registry_name(image.target).to_owned(),
        ));
    }
    fn review(&self, operation: Operation, outcome: ReviewOutcome, _: Duration) {
        self.reviews.borrow_mut().push((operation.as_str(), outcome.as_str()));
    }
}

/// An answer, and the object as it is after the patch.
struct Answered {
    response: Value,
    object: Value,
    patch: Vec<Value>,
    outcomes: Vec<&'static str>,
}

impl Answered {
    fn image(&self, pointer: &str) -> &str {
        self.object.pointer(pointer).and_then(Value::as_str).unwrap_or("-")
    }
    fn warnings(&self) -> String {
        self.response["warnings"]
            .as_array()
            .map(|list| list.iter().map(|w| w.as_str().unwrap()).collect::<Vec<_>>().join("\n"))
            .unwrap_or_default()
    }
}

fn ask(snapshot: &Snapshot, review: &Value) -> Answered {
    let seen = Seen::default();
    let body = serde_json::to_vec(review).unwrap();
    let answer: Value = serde_json::from_slice(&respond(snapshot, &body, &seen).unwrap()).unwrap();
    assert_eq!(
        (&answer["kind"], &answer["apiVersion"]),
        (&json!("AdmissionReview"), &json!("admission.k8s.io/v1"))
    );
    let response = answer["response"].clone();
    assert_eq!(response["uid"], review["request"]["uid"]);
    let mut object = review["request"]["object"].clone();
    let mut patch = Vec::new();
    if let Some(encoded) = response["patch"].as_str() {
        assert_eq!(response["patchType"], "JSONPatch");
        let json = base64::engine::general_purpose::STANDARD.decode(encoded).unwrap();
        let operations: json_patch::Patch = serde_json::from_slice(&json).unwrap();
        json_patch::patch(&mut object, &operations).unwrap();
        patch = serde_json::from_slice(&json).unwrap();
    }
    Answered {
        response,
        object,
        patch,
        outcomes: seen.images.take().into_iter().map(|image| image.0).collect(),
    }
}

/// What the API server would ask once more, with the object that the first answer made.
fn again(review: &Value, answered: &Answered) -> Value {
    let mut review = review.clone();
    review["request"]["object"] = answered.object.clone();
    review
}

fn fixture(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn create(pod: Value) -> Value {
    json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": {
        "uid": "u-1", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "resource": {"group": "", "version": "v1", "resource": "pods"},
        "namespace": "default", "operation": "CREATE", "object": pod, "oldObject": null}})
}

fn update(old: Value, new: Value) -> Value {
    let mut review = create(new);
    review["request"]["operation"] = json!("UPDATE");
    review["request"]["oldObject"] = old;
    review
}

fn pod(spec: Value) -> Value {
    json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "x"}, "spec": spec})
}

fn one(image: &str) -> Value {
    pod(json!({"containers": [{"name": "app", "image": image, "imagePullPolicy": "IfNotPresent"}]}))
}

#[test]
fn a_real_pod_is_rewritten_and_then_left() {
    for (text, target) in [
        (POD_CREATE, "r.io/docker.io/library/busybox"),
        (JOB_POD_CREATE, "r.io/docker.io/library/perl:5.34"),
    ] {
        let review = fixture(text);
        let answered = ask(&snapshot(HUB), &review);
        assert_eq!(answered.image("/spec/containers/0/image"), target);
        assert_eq!(answered.image("/spec/containers/0/imagePullPolicy"), "Always");
        assert_eq!(answered.outcomes, ["rewritten"]);
        let second = ask(&snapshot(HUB), &again(&review, &answered));
        assert_eq!((second.patch.len(), second.outcomes), (0, vec!["already_target"]));
    }
}

#[test]
fn of_a_real_ephemeral_review_only_the_new_container_is_rewritten() {
    let review = fixture(EPHEMERAL_UPDATE);
    let answered = ask(&snapshot(HUB), &review);
    assert_eq!(
        answered.patch,
        [
            json!({"op": "replace", "path": "/spec/ephemeralContainers/0/image", "value": "r.io/docker.io/library/alpine"})
        ]
    );
    assert!(ask(&snapshot(HUB), &again(&review, &answered)).patch.is_empty());
}

#[test]
fn every_kind_of_image_is_rewritten_and_recorded() {
    let review = create(pod(json!({
        "initContainers": [{"name": "init", "image": "busybox:1"}, {"name": "sidecar", "image": "quay.io/x/y"}],
        "containers": [null, {"name": "app", "image": "alpine:3@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "imagePullPolicy": "IfNotPresent"}],
        "volumes": [{"name": "v", "emptyDir": {}}, {"name": "data", "image": {"reference": "myorg/data:2", "pullPolicy": "IfNotPresent"}}]})));
    let answered = ask(&snapshot(HUB), &review);
    assert_eq!(
        answered.image("/spec/initContainers/0/image"),
        "r.io/docker.io/library/busybox:1"
    );
    assert_eq!(answered.image("/spec/initContainers/0/imagePullPolicy"), "Always");
    assert_eq!(answered.image("/spec/initContainers/1/image"), "quay.io/x/y");
    assert_eq!(
        answered.image("/spec/containers/1/image"),
        "r.io/docker.io/library/alpine:3@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    );
    assert_eq!(
        answered.image("/spec/volumes/1/image/reference"),
        "r.io/docker.io/myorg/data:2"
    );
    assert_eq!(answered.image("/spec/volumes/1/image/pullPolicy"), "Always");
    assert_eq!(
        answered.object["metadata"]["annotations"],
        json!({
            "image.waypost.dev/app": "alpine:3@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "image.waypost.dev/init": "busybox:1",
            "volume.waypost.dev/data": "myorg/data:2",
            "waypost.dev/rules": "app=p/hub,init=p/hub,volume/data=p/hub",
        })
    );
    let second = ask(&snapshot(HUB), &again(&review, &answered));
    assert!(second.patch.is_empty(), "{:?}", second.patch);
}

#[test]
fn a_second_pass_adds_what_another_webhook_injected() {
    let review = create(one("alpine"));
    let first = ask(&snapshot(HUB), &review);
    let mut injected = again(&review, &first);
    injected["request"]["object"]["spec"]["containers"]
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "a-proxy", "image": "envoy/envoy:1"}));
    let second = ask(&snapshot(HUB), &injected);
    assert_eq!(second.image("/spec/containers/1/image"), "r.io/docker.io/envoy/envoy:1");
    assert_eq!(
        second.object["metadata"]["annotations"]["waypost.dev/rules"],
        "a-proxy=p/hub,app=p/hub"
    );
    assert_eq!(
        second.object["metadata"]["annotations"]["image.waypost.dev/app"],
        "alpine"
    );
}

#[test]
fn annotations_of_the_authors_are_not_believed() {
    let mut review = create(one("r.io/docker.io/library/alpine"));
    review["request"]["object"]["metadata"]["annotations"] =
        json!({"image.waypost.dev/app": "evil", "waypost.dev/rules": "garbage,,x=y"});
    let answered = ask(&snapshot(HUB), &review);
    assert_eq!(
        answered.patch,
        [json!({"op": "add", "path": "/spec/containers/0/imagePullPolicy", "value": "Always"})]
    );
}

#[test]
fn what_is_null_absent_or_of_another_type_costs_nothing_but_itself() {
    for spec in [
        json!(null),
        json!([]),
        json!({"containers": null}),
        json!({"containers": {}, "volumes": "x", "imagePullSecrets": 7}),
        json!({"containers": [1, "x", null, {"name": "a"}, {"image": null}, {"image": 5}, {"image": {}}]}),
        json!({"containers": [], "initContainers": null, "ephemeralContainers": null, "volumes": [null, {"image": null}, {"image": []}]}),
    ] {
        assert!(
            ask(&snapshot(HUB), &create(pod(spec.clone()))).patch.is_empty(),
            "{spec}"
        );
    }
    let mut review = create(one("alpine"));
    review["request"]["object"]["metadata"] =
        json!({"labels": {"a": null, "b": 1}, "annotations": null, "newField": [{"x": {}}]});
    review["request"]["object"]["spec"]["imagePullSecrets"] = json!(null);
    review["request"]["futureField"] = json!({"deep": [[[1]]]});
    let answered = ask(
        &snapshot("- {name: hub, rewrite: {prefix: r.io}, pull: {secrets: [s]}}"),
        &review,
    );
    assert_eq!(
        answered.image("/spec/containers/0/image"),
        "r.io/docker.io/library/alpine"
    );
    assert_eq!(answered.object["spec"]["imagePullSecrets"], json!([{"name": "s"}]));
    assert_eq!(
        answered.object["metadata"]["annotations"]["image.waypost.dev/app"],
        "alpine"
    );
    assert_eq!(answered.object["metadata"]["newField"], json!([{"x": {}}]));
    for metadata in [json!(null), json!("x")] {
        let mut review = create(one("alpine"));
        review["request"]["object"]["metadata"] = metadata;
        assert_eq!(
            ask(&snapshot(HUB), &review).image("/spec/containers/0/image"),
            "r.io/docker.io/library/alpine"
        );
    }
}

#[test]
fn container_names_that_no_container_can_have_are_not_recorded() {
    let review = create(pod(
        json!({"containers": [{"name": "a/~\"b", "image": "alpine"}, {"image": "busybox"}, {"name": "ok", "image": "perl"}]}),
    ));
    let answered = ask(&snapshot(HUB), &review);
    assert_eq!(
        answered.image("/spec/containers/0/image"),
        "r.io/docker.io/library/alpine"
    );
    assert_eq!(
        answered.object["metadata"]["annotations"],
        json!({"image.waypost.dev/ok": "perl", "waypost.dev/rules": "ok=p/hub"})
    );
}

#[test]
fn secrets_are_appended_once_and_never_replaced() {
    let rules = "- {name: hub, match: {images: ['docker.io/**']}, rewrite: {prefix: r.io}, pull: {secrets: [a, b]}}
- {name: kept, match: {images: ['quay.io/**']}, keep: {}, pull: {secrets: [k]}}";
    let settings = Settings {
        pull_secrets: vec!["common".into()],
        ..Settings::default()
    };
    let snapshot = snapshot_with(rules, settings);
    let mut review = create(pod(
        json!({"containers": [{"name": "x", "image": "alpine"}, {"name": "y", "image": "busybox"}], "imagePullSecrets": [{"name": "mine"}, {"name": "b"}]}),
    ));
    let answered = ask(&snapshot, &review);
    assert_eq!(
        answered.object["spec"]["imagePullSecrets"],
        json!([{"name": "mine"}, {"name": "b"}, {"name": "a"}, {"name": "common"}])
    );
    assert!(ask(&snapshot, &again(&review, &answered)).patch.is_empty());
    review["request"]["object"]["spec"] = json!({"containers": [{"name": "x", "image": "quay.io/x"}]});
    assert_eq!(
        ask(&snapshot, &review).object["spec"]["imagePullSecrets"],
        json!([{"name": "k"}])
    );
}

#[test]
fn the_managed_secret_goes_to_pods_that_pull_from_a_registry_with_a_credential_and_to_no_other() {
    let mut snapshot = snapshot(
        "- {name: no-inject, match: {images: ['docker.io/quiet/*']}, rewrite: {prefix: r.io}, pull: {inject: false}}
- {name: hub, match: {images: ['docker.io/**']}, rewrite: {prefix: r.io}}",
    );
    snapshot.registries = Registries::new(vec![Registered {
        id: "r.io".into(),
        address: Address {
            host: "r.io".into(),
            organization: "".into(),
        },
        namespaces: Admitted {
            names: Some(vec![Glob::new("default")]),
            selector: None,
        },
        has_pull_credential: true,
        available: true,
    }]);
    let secrets = |image: &str, namespace: &str| {
        let mut review = create(one(image));
        review["request"]["namespace"] = json!(namespace);
        let answered = ask(&snapshot, &review);
        (
            answered.object["spec"]["imagePullSecrets"].clone(),
            answered.image("/spec/containers/0/imagePullPolicy").to_owned(),
        )
    };
    let managed = json!([{"name": "waypost-pull"}]);
    assert_eq!(secrets("alpine", "default"), (managed.clone(), "Always".to_owned()));
    // Named by its author.
    assert_eq!(
        secrets("r.io/team/app", "default"),
        (managed.clone(), "Always".to_owned())
    );
    assert_eq!(secrets("alpine", "other"), (Value::Null, "Always".to_owned()));
    assert_eq!(
        secrets("quay.io/x", "default"),
        (Value::Null, "IfNotPresent".to_owned())
    );
    assert_eq!(secrets("quiet/x", "default"), (Value::Null, "Always".to_owned()));
    // Opting out stops rewriting: the Pod still has to pull what it names.
    let mut review = create(one("r.io/team/app"));
    review["request"]["object"]["metadata"]["labels"] = json!({"waypost.dev/rewrite": "disabled"});
    assert_eq!(ask(&snapshot, &review).object["spec"]["imagePullSecrets"], managed);
}

#[test]
fn an_update_decides_on_images_that_changed_only() {
    let old = pod(
        json!({"containers": [{"name": "a", "image": "alpine", "imagePullPolicy": "Always"}, {"name": "b", "image": "busybox", "imagePullPolicy": "Always"}]}),
    );
    let mut new = old.clone();
    new["spec"]["containers"][1]["image"] = json!("busybox:2");
    let answered = ask(&snapshot(HUB), &update(old.clone(), new));
    assert_eq!(answered.image("/spec/containers/0/image"), "alpine");
    assert_eq!(
        answered.image("/spec/containers/1/image"),
        "r.io/docker.io/library/busybox:2"
    );
    assert_eq!(answered.outcomes, ["rewritten"]);
    let deny = snapshot("- {name: no, match: {images: ['docker.io/**']}, deny: {message: no}}");
    let mut relabelled = old.clone();
    relabelled["metadata"]["labels"] = json!({"a": "b"});
    assert_eq!(ask(&deny, &update(old, relabelled)).response["allowed"], true);
}

#[test]
fn a_manifest_applied_a_second_time_ends_as_the_pod_is() {
    let rules = "- {name: hub, match: {images: ['docker.io/**']}, rewrite: {prefix: r.io}, pull: {secrets: [s]}}";
    let manifest = pod(
        json!({"containers": [{"name": "a", "image": "alpine", "imagePullPolicy": "IfNotPresent"}],
        "volumes": [{"name": "v", "image": {"reference": "data", "pullPolicy": "IfNotPresent"}}]}),
    );
    let stored = ask(&snapshot(rules), &create(manifest.clone())).object;
    let mut applied = stored.clone();
    applied["spec"] = manifest["spec"].clone();
    let answered = ask(&snapshot(rules), &update(stored.clone(), applied));
    assert_eq!(answered.object["spec"], stored["spec"]);
    assert_eq!(answered.object["metadata"], stored["metadata"]);
    // Nothing set by admission, and something added since: the API server would refuse both ways.
    let plain = pod(json!({"containers": [{"name": "a", "image": "quay.io/x"}]}));
    let mut more = plain.clone();
    more["spec"]["imagePullSecrets"] = json!([{"name": "mine"}]);
    more["spec"]["containers"][0]["imagePullPolicy"] = json!("Always");
    assert_eq!(
        ask(&snapshot(rules), &update(plain.clone(), more)).object["spec"],
        plain["spec"]
    );
}

#[test]
fn an_update_that_would_need_a_new_secret_keeps_the_image() {
    let rules = "- {name: hub, match: {images: ['docker.io/**']}, rewrite: {prefix: r.io}, pull: {secrets: [s]}}";
    let old = pod(json!({"containers": [{"name": "a", "image": "quay.io/x", "imagePullPolicy": "IfNotPresent"}]}));
    let mut new = old.clone();
    new["spec"]["containers"][0]["image"] = json!("alpine");
    let answered = ask(&snapshot(rules), &update(old.clone(), new.clone()));
    assert_eq!(
        (answered.patch.len(), &answered.outcomes[..]),
        (0, &["no_credential"][..])
    );
    assert!(answered.warnings().contains("needs the pull secret s"));
    let mut with = old;
    with["spec"]["imagePullSecrets"] = json!([{"name": "s"}]);
    new["spec"]["imagePullSecrets"] = json!([{"name": "s"}]);
    let answered = ask(&snapshot(rules), &update(with, new));
    assert_eq!(
        answered.image("/spec/containers/0/image"),
        "r.io/docker.io/library/alpine"
    );
    assert_eq!(answered.image("/spec/containers/0/imagePullPolicy"), "IfNotPresent");
    let mut ephemeral = fixture(EPHEMERAL_UPDATE);
    ephemeral["request"]["object"]["spec"]["imagePullSecrets"] = json!([{"name": "s"}]);
    let answered = ask(&snapshot(rules), &ephemeral);
    assert_eq!(
        (answered.patch.len(), &answered.outcomes[..]),
        (0, &["no_credential"][..])
    );
}

#[test]
fn an_update_to_a_pod_without_a_spec_gets_no_patch_that_could_not_be_applied() {
    let mut old = one("quay.io/x");
    old["spec"]["imagePullSecrets"] = json!([{"name": "s"}]);
    for spec in [Value::Null, json!("x"), json!([])] {
        let mut new = one("quay.io/x");
        new["spec"] = spec;
        assert!(ask(&snapshot(HUB), &update(old.clone(), new)).patch.is_empty());
    }
}

#[test]
fn a_new_ephemeral_container_gets_its_pull_policy_and_nothing_else_changes() {
    let mut review = fixture(EPHEMERAL_UPDATE);
    review["request"]["object"]["spec"]["ephemeralContainers"][0]["imagePullPolicy"] = json!("IfNotPresent");
    let mut older = review["request"]["object"]["spec"]["ephemeralContainers"][0].clone();
    older["name"] = json!("older");
    for object in ["object", "oldObject"] {
        let spec = &mut review["request"][object]["spec"];
        if spec["ephemeralContainers"].is_null() {
            spec["ephemeralContainers"] = json!([]);
        }
        spec["ephemeralContainers"]
            .as_array_mut()
            .unwrap()
            .insert(0, older.clone());
    }
    let answered = ask(&snapshot(HUB), &review);
    let paths: Vec<&str> = answered
        .patch
        .iter()
        .map(|operation| operation["path"].as_str().unwrap())
        .collect();
    assert_eq!(
        paths,
        [
            "/spec/ephemeralContainers/1/image",
            "/spec/ephemeralContainers/1/imagePullPolicy"
        ]
    );
}

#[test]
fn mirror_pods_are_never_touched() {
    let mut review = create(one("alpine"));
    review["request"]["object"]["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "hash"});
    let deny = snapshot(
        "- {name: no, match: {images: ['docker.io/library/*']}, deny: {}}\n- {name: r, rewrite: {prefix: r.io}, pull: {secrets: [s]}}",
    );
    let answered = ask(&deny, &review);
    assert_eq!(
        (
            answered.response["allowed"].clone(),
            answered.patch.len(),
            &answered.outcomes[..]
        ),
        (json!(true), 0, &["mirror_pod"][..])
    );
}

#[test]
fn opting_out_stops_rewriting_unless_that_is_forbidden() {
    let mut review = create(one("alpine"));
    review["request"]["object"]["metadata"]["labels"] = json!({"waypost.dev/rewrite": "disabled"});
    let answered = ask(&snapshot(HUB), &review);
    assert_eq!((answered.patch.len(), &answered.outcomes[..]), (0, &["opted_out"][..]));
    let forbidden = snapshot_with(
        HUB,
        Settings {
            opt_out_allowed: false,
            ..Settings::default()
        },
    );
    assert_eq!(ask(&forbidden, &review).outcomes, ["rewritten"]);
    review["request"]["object"]["metadata"]["labels"] = json!({"waypost.dev/rewrite": "enabled"});
    assert_eq!(ask(&snapshot(HUB), &review).outcomes, ["rewritten"]);
}

#[test]
fn a_denied_pod_is_refused_with_the_rules_message() {
    let snapshot = snapshot(
        "- {name: no, match: {images: ['*/**:latest']}, deny: {message: pin a version}}\n- {name: hub, rewrite: {prefix: r.io}}",
    );
    let answered = ask(
        &snapshot,
        &create(pod(
            json!({"containers": [{"name": "a", "image": "x:1"}, {"name": "b", "image": "y"}]}),
        )),
    );
    assert_eq!(answered.response["allowed"], false);
    assert_eq!(
        answered.response["status"]["message"],
        r#"pin a version (container "b" (image "y"), rule p/no)"#
    );
    assert!(answered.patch.is_empty());
}

#[test]
fn users_are_warned() {
    let rules = "- {name: w, mode: warn, match: {images: ['quay.io/**']}, deny: {}}
- {name: a, mode: audit, match: {images: ['quay.io/**']}, rewrite: {prefix: a.io}}
- {name: hub, match: {images: ['docker.io/**']}, rewrite: {prefix: r.io}, warn: [mutableTag]}
- {name: rest, match: {images: ['*/up/**']}, rewrite: {prefix: r.io}}";
    let snapshot = snapshot(rules);
    for (image, warning) in [
        ("alpine", "has no tag, which can change"),
        ("alpine:latest", "has the tag latest"),
        ("alpine:3", ""),
        (
            "alpine:latest@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "",
        ),
        (
            "quay.io/x",
            "waypost: p/w would refuse container \"app\" (image \"quay.io/x\")",
        ),
        ("Not/Valid", "is no valid image reference"),
        ("a_b.example.com/x", "is no valid image reference"),
        ("localhost:5000/up/x", "a name that no image can have"),
    ] {
        let answered = ask(&snapshot, &create(one(image)));
        let warnings = answered.warnings();
        assert!(
            warnings.contains(warning) && warnings.is_empty() == warning.is_empty(),
            "{image}: {warnings}"
        );
        assert!(
            answered.response["warnings"]
                .as_array()
                .is_none_or(|all| all.iter().all(|w| w.as_str().unwrap().len() < 512))
        );
    }
    let answered = ask(&snapshot, &create(one("quay.io/x")));
    assert!(
        answered.response["auditAnnotations"]["observed"]
            .as_str()
            .unwrap()
            .contains("p/a would pull container")
    );
    let answered = ask(&snapshot, &create(one(&format!("A\n{}", "x".repeat(10_000)))));
    assert!(!answered.warnings().contains('\n') && answered.warnings().len() < 512);
}

#[test]
fn what_is_counted() {
    let snapshot = snapshot(
        "- {name: a, mode: audit, match: {images: ['quay.io/**']}, rewrite: {prefix: a.io}}\n- {name: hub, match: {images: ['docker.io/**']}, rewrite: {prefix: r.io}}",
    );
    let seen = Seen::default();
    let review = create(pod(
        json!({"containers": [{"name": "a", "image": "alpine"}, {"name": "b", "image": "quay.io/x"}, {"name": "c", "image": "users.example.com/x"}, {"name": "d", "image": "UP"}]}),
    ));
    respond(&snapshot, &serde_json::to_vec(&review).unwrap(), &seen).unwrap();
    let rule = |name: &str| Some(format!("p/{name}"));
    let expected: Vec<Counted> = vec![
        ("rewritten", rule("hub"), "docker.io".into(), "r.io".into()),
        ("would_rewrite", rule("a"), "quay.io".into(), "a.io".into()),
        ("unmatched", None, "other".into(), "other".into()),
        ("unparsable", None, "other".into(), "other".into()),
    ];
    assert_eq!(seen.images.take(), expected);
    assert_eq!(seen.reviews.take(), [("CREATE", "patched")]);
}

#[test]
fn what_is_not_for_a_pod_is_allowed_untouched() {
    let change = |path: &[&str], value: Value| {
        let mut review = create(one("alpine"));
        let mut at = &mut review["request"];
        for key in path {
            at = &mut at[*key];
        }
        *at = value;
        review
    };
    for review in [
        change(&["resource", "resource"], json!("deployments")),
        change(&["resource", "group"], json!("metrics.k8s.io")),
        change(&["subResource"], json!("binding")),
        change(&["subResource"], json!("resize")),
        change(&["operation"], json!("DELETE")),
        change(&["operation"], json!("CONNECT")),
        change(&["operation"], json!("NEW")),
        change(&["object"], json!(null)),
        change(&["operation"], json!("UPDATE")),
    ] {
        let answered = ask(&snapshot(HUB), &review);
        assert_eq!(
            (answered.response["allowed"].clone(), answered.patch.len()),
            (json!(true), 0),
            "{review}"
        );
    }
}

#[test]
fn what_is_no_review_is_refused_with_a_reason() {
    let other = |key: &str, value: Value| {
        let mut review = create(one("alpine"));
        match value {
            Value::Null => {
                review["request"].as_object_mut().unwrap().remove(key);
            }
            value => review[key] = value,
        }
        review.to_string()
    };
    for (body, reason) in [
        (String::new(), "not JSON"),
        ("{".to_owned(), "not JSON"),
        ("\u{1F980}".to_owned(), "not JSON"),
        ("[]".to_owned(), "no AdmissionReview"),
        ("null".to_owned(), "no AdmissionReview"),
        ("{}".to_owned(), "no AdmissionReview"),
        (other("kind", json!("Pod")), "no AdmissionReview"),
        (other("apiVersion", json!("admission.k8s.io/v1beta1")), "v1beta1"),
        (other("request", json!("x")), "no request"),
        (other("uid", json!(null)), "no uid"),
        (format!("{} trailing", other("x", json!(1))), "not JSON"),
    ] {
        let seen = Seen::default();
        let error = respond(&snapshot(HUB), body.as_bytes(), &seen).unwrap_err();
        assert!(error.to_string().contains(reason), "{body}: {error}");
        assert!(seen.reviews.take().is_empty());
    }
}

#[test]
fn a_panic_in_one_review_answers_that_one() {
    struct Panics(RefCell<Vec<&'static str>>);
    impl Observer for Panics {
        fn image(&self, _: &Snapshot, image: ImageEvent) {
            assert!(image.outcome != Outcome::Rewritten, "on purpose");
        }
        fn review(&self, _: Operation, outcome: ReviewOutcome, _: Duration) {
            self.0.borrow_mut().push(outcome.as_str());
        }
    }
    let observer = Panics(RefCell::default());
    let respond = |image: &str| {
        let body = serde_json::to_vec(&create(one(image))).unwrap();
        serde_json::from_slice::<Value>(&respond(&snapshot(HUB), &body, &observer).unwrap()).unwrap()["response"]
            .clone()
    };
    let failed = respond("alpine");
    assert_eq!(
        (&failed["uid"], &failed["allowed"], failed.get("patch")),
        (&json!("u-1"), &json!(true), None)
    );
    assert!(failed["warnings"][0].as_str().unwrap().contains("internal error"));
    assert_eq!(respond("quay.io/x")["allowed"], true);
    assert_eq!(observer.0.take(), ["failed", "unchanged"]);
}

#[test]
fn annotations_do_not_grow_past_what_the_api_server_takes() {
    let mut review = create(one("alpine"));
    let key = "example.com/big";
    review["request"]["object"]["metadata"]["annotations"] = json!({key: "x".repeat(MOST_BYTES - key.len())});
    let answered = ask(&snapshot(HUB), &review);
    assert_eq!(
        answered.image("/spec/containers/0/image"),
        "r.io/docker.io/library/alpine"
    );
    assert_eq!(answered.object["metadata"]["annotations"].as_object().unwrap().len(), 1);
    assert!(answered.warnings().contains("not recorded"));
}

const MOST_BYTES: usize = 256 << 10;

#[test]
fn keys_that_come_twice_count_as_go_counts_them() {
    let body = create(one("alpine"))
        .to_string()
        .replace(r#""image":"alpine""#, r#""image":"quay.io/x","image":"alpine""#);
    let seen = Seen::default();
    respond(&snapshot(HUB), body.as_bytes(), &seen).unwrap();
    assert_eq!(seen.images.take()[0].0, "rewritten");
}

#[test]
fn labels_select_pods() {
    let snapshot = snapshot("- {name: a, match: {podSelector: {matchLabels: {app: x}}}, rewrite: {prefix: r.io}}");
    let mut review = create(one("alpine"));
    assert_eq!(ask(&snapshot, &review).outcomes, ["unmatched"]);
    let labels: BTreeMap<&str, &str> = BTreeMap::from([("app", "x")]);
    review["request"]["object"]["metadata"]["labels"] = json!(labels);
    assert_eq!(ask(&snapshot, &review).outcomes, ["rewritten"]);
}

#[test]
fn a_pod_of_thousands_of_bad_images_gets_a_few_warnings() {
    let containers: Vec<Value> = (0..5000)
        .map(|number| json!({"name": format!("c{number}"), "image": "NOT/VALID"}))
        .collect();
    let answered = ask(&snapshot(HUB), &create(pod(json!({ "containers": containers }))));
    assert_eq!(answered.response["warnings"].as_array().unwrap().len(), 32);
    assert!(answered.warnings().ends_with("more to warn of"));
    assert_eq!(answered.outcomes.len(), 5000);
}

#[test]
fn a_label_is_found_among_many() {
    let snapshot = snapshot("- {name: a, match: {podSelector: {matchLabels: {app: x}}}, rewrite: {prefix: r.io}}");
    for (value, outcome) in [("x", "rewritten"), ("y", "unmatched")] {
        let mut review = create(one("alpine"));
        let mut labels: BTreeMap<String, &str> = (0..100).map(|number| (format!("label-{number}"), "x")).collect();
        labels.insert("app".to_owned(), value);
        review["request"]["object"]["metadata"]["labels"] = json!(labels);
        assert_eq!(ask(&snapshot, &review).outcomes, [outcome]);
    }
}

#[test]
fn what_an_update_to_ephemeral_containers_says_of_the_rest_of_the_pod_is_not_believed() {
    let rules =
        "- {name: no, match: {images: ['docker.io/library/*'], podSelector: {matchLabels: {run: bb}}}, deny: {}}";
    let mut forged = fixture(EPHEMERAL_UPDATE);
    assert_eq!(ask(&snapshot(rules), &forged).response["allowed"], false);
    forged["request"]["object"]["metadata"]["labels"] = json!({"run": "other", "waypost.dev/rewrite": "disabled"});
    forged["request"]["object"]["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
    assert_eq!(ask(&snapshot(rules), &forged).response["allowed"], false);
    assert_eq!(ask(&snapshot(HUB), &forged).outcomes, ["rewritten"]);
}

#[test]
fn an_update_is_decided_on_with_the_pull_policy_that_the_pod_keeps() {
    let old = |policy: &str| pod(json!({"containers": [{"name": "a", "image": "nginx:1", "imagePullPolicy": policy}]}));
    let new = |policy: &str| pod(json!({"containers": [{"name": "a", "image": "nginx:2", "imagePullPolicy": policy}]}));
    let kept = ask(&snapshot(HUB), &update(old("Never"), new("IfNotPresent")));
    assert_eq!(
        (
            kept.image("/spec/containers/0/image"),
            kept.image("/spec/containers/0/imagePullPolicy")
        ),
        ("nginx:2", "Never")
    );
    let rewritten = ask(&snapshot(HUB), &update(old("Always"), new("Never")));
    assert_eq!(
        rewritten.image("/spec/containers/0/image"),
        "r.io/docker.io/library/nginx:2"
    );
    assert_eq!(rewritten.image("/spec/containers/0/imagePullPolicy"), "Always");
}

#[test]
fn the_image_of_a_volume_stays_what_it_is_and_the_user_is_told() {
    let with = |image: &str| {
        pod(
            json!({"containers": [{"name": "a", "image": "nginx:1"}], "volumes": [{"name": "v", "image": {"reference": image}}]}),
        )
    };
    let answered = ask(
        &snapshot(HUB),
        &update(with("old.io/docker.io/library/vol:1"), with("vol:1")),
    );
    assert_eq!(
        answered.image("/spec/volumes/0/image/reference"),
        "old.io/docker.io/library/vol:1"
    );
    assert_eq!(answered.warnings(), "");
    let answered = ask(
        &snapshot(HUB),
        &update(with("old.io/docker.io/library/vol:1"), with("vol:2")),
    );
    assert_eq!(
        answered.image("/spec/volumes/0/image/reference"),
        "old.io/docker.io/library/vol:1"
    );
    assert!(answered.warnings().contains("cannot be changed once the Pod exists"));
}

#[test]
fn a_target_that_is_denied_is_denied_at_once() {
    let rules = "- {name: no, match: {images: ['r.io/docker.io/bad/**']}, deny: {}}\n- {name: hub, match: {images: ['docker.io/**']}, rewrite: {prefix: r.io}}";
    assert_eq!(ask(&snapshot(rules), &create(one("bad/x"))).outcomes, ["denied"]);
    assert_eq!(ask(&snapshot(rules), &create(one("good/x"))).outcomes, ["rewritten"]);
}
