//! Policies that are objects. They are the whole cluster's, so that each test has one of its own.

use std::fs;

use serde_json::{Value, json};
use waypost::document::{Source, parse};

use super::controller::Release;
use super::through;
use crate::support::cluster::case::{Case, images_of, pod};
use crate::support::cluster::webhook::Registration;
use crate::support::cluster::{Cluster, Size};
use crate::support::eventually;
use crate::support::program::Directory;
use crate::support::serving::Serving;

#[test]
fn all_that_a_file_may_say_is_stored_as_it_is_and_mistakes_are_refused() {
    Cluster::with(Size::ControlPlane, &[]).unwrap().test("crds", |case| {
        define(case);
        // Again, as at an upgrade.
        define(case);
        let policies = written();
        assert!(policies.len() > 15, "{}", policies.len());
        for (name, rules) in policies {
            let stored = case.admin.post(&strictly(), &policy("test", rules.clone()));
            let stored = stored.unwrap_or_else(|refused| panic!("{name}: {refused:?}"));
            assert_eq!(stored["spec"]["rules"], rules, "{name}");
        }
        // What is not there must not become what matches everything.
        let nothing = json!([{"name": "a", "match": {"images": null}, "keep": {}}]);
        let stored = case.admin.post(&strictly(), &policy("test", nothing.clone())).unwrap();
        assert_eq!(stored["spec"]["rules"], nothing);

        for (rule, complaint) in [
            (json!({"name": "a", "kep": {}}), "unknown field \"spec.rules[0].kep\""),
            (
                json!({"name": "a", "keep": {"x": 1}}),
                "unknown field \"spec.rules[0].keep.x\"",
            ),
            (
                json!({"name": "a", "match": {"image": ["a.io/**"]}, "keep": {}}),
                "unknown field \"spec.rules[0].match.image\"",
            ),
            (json!({"keep": {}}), "spec.rules[0].name: Required value"),
            (
                json!({"name": 5, "keep": {}}),
                "spec.rules[0].name: Invalid value: \"integer\"",
            ),
            (
                json!({"name": "a", "match": {"images": "a.io/**"}, "keep": {}}),
                "spec.rules[0].match.images: Invalid value: \"string\"",
            ),
            (
                json!({"name": "a", "match": {"images": []}, "keep": {}}),
                "at least 1 items",
            ),
            (
                json!({"name": "a", "match": {"images": [{"regx": "a"}]}, "keep": {}}),
                "spec.rules[0].match.images[0].regex: Required value",
            ),
            (
                json!({"name": "a", "match": {"images": [{"regex": "a", "flags": "i"}]}, "keep": {}}),
                "must have at most 1 item",
            ),
            (
                json!({"name": "a", "keep": {}, "mode": "off"}),
                "supported values: \"enforce\", \"warn\", \"audit\"",
            ),
            (
                json!({"name": "a", "keep": {}, "deny": {}}),
                "a rule has one of rewrite, keep and deny",
            ),
            (
                json!({"name": "a", "rewrite": {}}),
                "rewrite has exactly one of prefix, to and latestPush",
            ),
        ] {
            let refused = case
                .admin
                .post(&strictly(), &policy("test", json!([rule])))
                .unwrap_err();
            assert!(refused.message.contains(complaint), "{rule}: {refused:?}");
        }
        let explained = case.kubectl(&["explain", "policy.spec.rules.rewrite.prefix"]).exits(0);
        assert!(
            explained.out().contains("A registry, with a path if need be"),
            "{}",
            explained.out()
        );
    });
}

#[test]
fn a_policy_object_decides_the_next_pod_and_is_told_when_it_does_not() {
    Cluster::with(Size::ControlPlane, &[]).unwrap().test("objects", |case| {
        // With the rights of a replica, and before there are such objects.
        let release = Release::new(case);
        let directory = Directory::new();
        release.webhook_kubeconfig(&directory);
        directory.write("policies.d/test.yaml", through("file.test"));
        let mut serving = Serving::start(directory, &["--kubeconfig", "kubeconfig"]);
        let _registration = Registration::of(case, &serving, &[]);
        serving.event("this cluster has no Policy objects");
        becomes(case, "file.test");
        let mut controller = release.controller("");
        define(case);

        apply(case, &rewriting("hub", "one.test"));
        becomes(case, "one.test");
        // `Ready` is what people wait for.
        case.kubectl(&["wait", "--for=condition=Ready", "policy/hub", "--timeout=60s"]).exits(0);
        let told = case.admin.get(&format!("{POLICIES}/hub")).unwrap();
        assert_eq!(told["status"]["rules"], 1, "{told:#}");
        assert_eq!(told["status"]["observedGeneration"], told["metadata"]["generation"]);
        assert_eq!(told["status"]["conditions"][0]["reason"], "Compiled");
        apply(case, &rewriting("hub", "two.test"));
        becomes(case, "two.test");

        // The API server cannot see that this is no registry.
        apply(case, &rewriting("hub", "no spaces, please"));
        let broken = ready(case, "hub", "False");
        let message = broken["message"].as_str().unwrap();
        assert_eq!(broken["reason"], "Invalid");
        assert!(message.starts_with("spec.rules[0].rewrite.prefix: "), "{message}");
        serving.event("the Policy hub has errors; generation 2 of it is kept");
        becomes(case, "two.test");
        let verbose = serving.admin("/readyz?verbose").text();
        assert!(verbose.contains("[+]policies degraded") && verbose.contains("policies.waypost.dev/hub, at "), "{verbose}");
        assert_eq!(serving.metric("waypost_policy_reload_failures_total"), 1.0);
        let listed = case.kubectl(&["get", "policies"]).exits(0);
        assert!(listed.out().contains("Invalid"), "{}", listed.out());

        // It does not stop another one, which loses where it does not go with an older one, and is told so.
        apply(case, &rewriting("also", "three.test"));
        apply(case, &rewriting("hub", "four.test"));
        becomes(case, "three.test");
        ready(case, "hub", "True");
        let warned = eventually("a warning", || {
            let condition = ready(case, "hub", "True");
            condition["message"].as_str().filter(|message| message.contains("never decides")).map(str::to_owned)
        });
        assert!(warned.starts_with("1 rule is in use, with warnings:\n"), "{warned}");
        let together = policy(
            "clash",
            json!([{"name": "q", "match": {"images": ["quay.io/**"]}, "rewrite": {"to": ["four.test/docker.io/{repository}"]}}]),
        );
        apply(case, &together);
        let refused = ready(case, "clash", "False");
        let message = refused["message"].as_str().unwrap();
        assert!(message.contains("can give an image the name that"), "{message}");

        case.kubectl(&["delete", "policy", "hub", "also", "clash"]).exits(0);
        becomes(case, "file.test");
        eventually("nothing is wrong any more", || {
            let verbose = serving.admin("/readyz?verbose").text();
            (verbose.contains("[+]policies ok") && verbose.contains("[+]policy-objects ok")).then_some(())
        });
        assert!(!controller.log().is_empty());
        controller.signal("TERM");
        assert!(controller.ended().success());
    });
}

/// As people do it.
fn define(case: &Case<'_>) {
    let printed = Directory::new().run(["crds"]);
    case.kubectl_with(&["apply", "--filename=-"], printed.exits(0).out())
        .exits(0);
    case.kubectl(&[
        "wait",
        "--for=condition=Established",
        "crd/policies.waypost.dev",
        "--timeout=60s",
    ])
    .exits(0);
}

#[track_caller]
fn apply(case: &Case<'_>, object: &Value) {
    // `kubectl` learns of new kinds by and by.
    let object = object.to_string();
    eventually("the object is taken", || {
        let answer = case.kubectl_with(&["apply", "--filename=-"], &object);
        (answer.code == Some(0)).then_some(())
    });
}

/// Waits until Pods get their images from there.
#[track_caller]
fn becomes(case: &Case<'_>, registry: &str) {
    let expected = format!("{registry}/docker.io/library/alpine");
    eventually(&expected, || {
        let asked = case.dry_run(&pod("p", "alpine")).unwrap();
        (images_of(&asked) == [expected.clone()]).then_some(())
    });
}

/// The condition `Ready` of a policy as it is now, once it is this.
#[track_caller]
fn ready(case: &Case<'_>, name: &str, status: &str) -> Value {
    eventually(&format!("{name} is Ready={status}"), || {
        let policy = case.admin.get(&format!("{POLICIES}/{name}")).ok()?;
        let condition = &policy["status"]["conditions"][0];
        let now = condition["observedGeneration"] == policy["metadata"]["generation"];
        (now && condition["type"] == "Ready" && condition["status"] == status).then(|| condition.clone())
    })
}

fn rewriting(name: &str, prefix: &str) -> Value {
    policy(
        name,
        json!([{"name": "hub", "match": {"images": ["docker.io/**"]}, "rewrite": {"prefix": prefix}}]),
    )
}

fn policy(name: &str, rules: Value) -> Value {
    json!({"apiVersion": "waypost.dev/v1alpha1", "kind": "Policy", "metadata": {"name": name}, "spec": {"rules": rules}})
}

/// The rules of every policy and preset of the repository that is right: files and what documents show.
fn written() -> Vec<(String, Value)> {
    let root = env!("CARGO_MANIFEST_DIR");
    let mut texts = Vec::new();
    for directory in ["policies", "examples/policies"] {
        for file in fs::read_dir(format!("{root}/{directory}")).unwrap() {
            let path = file.unwrap().path().display().to_string();
            if path.ends_with(".yaml") && !path.ends_with(".test.yaml") {
                texts.push((path.clone(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    for document in ["README.md", "docs/policies.md", "docs/cluster.md"] {
        let text = fs::read_to_string(format!("{root}/{document}")).unwrap();
        let blocks = text.split("```yaml\n").skip(1);
        let blocks = blocks.map(|rest| rest.split("```").next().unwrap().to_owned());
        texts.extend(blocks.map(|block| (document.to_owned(), block)));
    }
    let mut rules = Vec::new();
    for (name, text) in texts {
        let (documents, problems) = parse(&Source::new(&*name, &*text));
        assert_eq!(problems, [], "{name}");
        for document in documents {
            let document: Value = document.decode().unwrap();
            if document["spec"]["rules"].is_array() {
                rules.push((name.clone(), document["spec"]["rules"].clone()));
            }
        }
    }
    // And every key that there is.
    let all = json!([{
        "name": "all",
        "match": {
            "images": ["docker.io/**", {"regex": "quay\\.io/(?<team>[a-z]+)/.*"}],
            "exceptImages": [{"regex": "x"}, "docker.io/a"],
            "namespaces": ["a-*"], "exceptNamespaces": ["b"],
            "namespaceSelector": {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "k", "operator": "In", "values": ["v"]}]},
            "podSelector": {},
        },
        "rewrite": {"to": ["r.io/{registry}/{repository}"], "onUnavailable": "next", "sharedTarget": true, "pin": true, "preloaded": true},
        "pull": {"policy": "Unchanged", "lower": true, "secrets": ["s"], "inject": false},
        "warn": ["mutableTag"],
        "mode": "audit",
        "replicate": {"registry": "r", "when": "firstUse", "refresh": "1h", "referrers": true},
    }, {"name": "latest", "rewrite": {"latestPush": {"registries": ["r"]}}}, {"name": "denies", "deny": {"message": "no"}}]);
    rules.push(("every key".to_owned(), all));
    rules
}

fn strictly() -> String {
    format!("{POLICIES}?dryRun=All&fieldValidation=Strict")
}

const POLICIES: &str = "/apis/waypost.dev/v1alpha1/policies";
