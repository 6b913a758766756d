//! `waypost explain`: what becomes of an image, and why.

use serde_json::json;

use super::{GOOD, with_policy};
use crate::support::program::Directory;

#[test]
fn the_text_names_normal_form_rules_and_outcome() {
    let text = with_policy(GOOD)
        .run(["explain", "quay.io/org/app:1", "forbidden.io/x"])
        .exits(1);
    for line in [
        "quay.io/org/app:1",
        "  is          quay.io/org/app:1",
        "  repository  org/app",
        "  tag         1",
        "    · waypost/latest-push  no push of this image is known here",
        "    ✗ mine/long  the image is none of long.io/**",
        "    ✓ mine/quay  it rewrites to registry.example.org/{registry}/{repository}",
        "  outcome     rewritten by mine/quay",
        "  pulled from registry.example.org/quay.io/org/app:1",
        "  outcome     denied by mine/no-forbidden",
    ] {
        assert!(
            text.out().lines().any(|printed| squeezed(printed) == squeezed(line)),
            "no {line:?} in\n{}",
            text.out()
        );
    }
}

/// Columns are as wide as the longest name of a rule: presets have theirs.
fn squeezed(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_json_is_one_array_with_an_object_for_each_image() {
    let directory = with_policy(GOOD);
    let explained = directory
        .run(["explain", "long.io/a", "UP", "--format=json", "--namespace=n"])
        .exits(1)
        .json();
    let [first, second] = &explained.as_array().unwrap()[..] else {
        panic!("{explained}");
    };
    let mut first = first.clone();
    let rules = first["rules"].take();
    assert_eq!(
        first,
        json!({
            "input": "long.io/a",
            "canonical": "long.io/a",
            "registry": "long.io",
            "repository": "a",
            "tag": null,
            "digest": null,
            "namespace": "n",
            "rules": null,
            "outcome": "rewritten",
            "rule": "mine/long",
            "target": "r.example.org/long/long.io/a",
            "pull_policy": "Always",
            "pull_secrets": [],
        })
    );
    let rules = rules.as_array().unwrap();
    let verdict = |name: &str| {
        rules
            .iter()
            .find(|rule| rule["rule"] == name)
            .map(|rule| &rule["verdict"])
    };
    assert_eq!(verdict("mine/long"), Some(&json!("decides")));
    assert_eq!(verdict("mine/quay"), Some(&json!("not_reached")));
    assert_eq!(verdict("mine/no-forbidden"), Some(&json!("does_not_match")));
    assert!(rules.iter().all(|rule| rule["reason"].is_string()));
    assert_eq!(
        (&second["outcome"], &second["canonical"]),
        (&json!("unparsable"), &json!(null))
    );
    assert!(second["error"].as_str().unwrap().contains("upper-case"), "{second}");
}

#[test]
fn labels_namespace_and_pull_policy_count() {
    let directory = Directory::new();
    let outcome = |args: &[&str]| {
        let base = ["explain", "alpine", "--format=json", "--preset=cern-pull-through"];
        let explained = directory.run([&base, args].concat()).exits(0).json();
        explained[0]["outcome"].as_str().unwrap().to_owned()
    };
    assert_eq!(outcome(&[]), "rewritten");
    assert_eq!(outcome(&["--pod-labels=cnpg.io/cluster=x"]), "kept");
    assert_eq!(outcome(&["--pod-labels=a=b,waypost.dev/rewrite=disabled"]), "opted_out");
    assert_eq!(
        outcome(&["--namespace-labels=waypost.dev/rewrite=disabled"]),
        "opted_out"
    );
    assert_eq!(outcome(&["--pull-policy=Never"]), "pull_never");
}

#[test]
fn an_image_under_a_target_is_left_alone() {
    let explained = Directory::new()
        .run([
            "explain",
            "registry.cern.ch/docker.io/library/alpine",
            "--preset=cern-pull-through",
            "--format=json",
        ])
        .exits(0)
        .json();
    assert_eq!(
        (&explained[0]["outcome"], &explained[0]["target"]),
        (&json!("already_target"), &json!(null))
    );
}

const LIST: &str = "apiVersion: waypost.dev/v1alpha1
kind: Policy
metadata: {name: list}
spec:
  rules:
    - name: hub
      match: {images: ['docker.io/**']}
      rewrite: {to: ['a.io/{registry}/{repository}', 'b.io/x/{registry}/{repository}'], onUnavailable: next}
";

#[test]
fn registries_may_be_taken_to_be_down() {
    let directory = with_policy(LIST);
    let explained = |unavailable: &[&str]| {
        let base = ["explain", "org/app:1", "--format=json"];
        let explained = directory.run([&base, unavailable].concat()).exits(0).json();
        let rules = explained[0]["rules"].as_array().unwrap();
        let hub = rules.iter().find(|rule| rule["rule"] == "list/hub").unwrap();
        (explained[0]["outcome"].clone(), hub["targets"].clone())
    };
    let (a, b) = ("a.io/docker.io/org/app:1", "b.io/x/docker.io/org/app:1");
    assert_eq!(
        explained(&[]),
        (json!("rewritten"), json!([{"target": a, "verdict": "used"}]))
    );
    assert_eq!(
        explained(&["--unavailable=a.io"]),
        (
            json!("rewritten"),
            json!([{"target": a, "verdict": "unavailable"}, {"target": b, "verdict": "used"}])
        )
    );
    assert_eq!(
        explained(&["--unavailable=a.io", "--unavailable", "b.io/x"]),
        (
            json!("target_unavailable"),
            json!([{"target": a, "verdict": "unavailable"}, {"target": b, "verdict": "unavailable"}])
        )
    );
    let text = directory
        .run(["explain", "org/app:1", "--unavailable", "a.io"])
        .exits(0);
    for line in [
        "a.io/docker.io/org/app:1 its registry is down",
        "b.io/x/docker.io/org/app:1 used",
        "outcome rewritten by list/hub",
    ] {
        assert!(
            text.out().lines().any(|printed| squeezed(printed) == line),
            "no {line:?} in\n{}",
            text.out()
        );
    }
}

const PUSHED: &str = "apiVersion: waypost.dev/v1alpha1
kind: Policy
metadata: {name: pushed}
spec:
  rules:
    - name: hub
      match: {images: ['docker.io/**']}
      rewrite: {prefix: cache.io}
";

#[test]
fn pushes_may_be_made_up() {
    let directory = with_policy(PUSHED);
    let digest = format!("sha256:{}", "a".repeat(64));
    let to_sandbox = format!("--push=org/app:1=sandbox.io/team@{digest}");
    let to_production = "--push=sandbox.io/team/docker.io/org/app:1=prod.io";
    let text = directory
        .run(["explain", "org/app:1", &to_sandbox, to_production])
        .exits(0);
    for line in [
        "✓ waypost/latest-push it rewrites to where the image was last pushed",
        "sandbox.io/team/docker.io/org/app:1 pushed from docker.io/org/app:1",
        "prod.io/sandbox.io/team/docker.io/org/app:1 pushed from sandbox.io/team/docker.io/org/app:1",
        "outcome rewritten by waypost/latest-push",
    ] {
        assert!(
            text.out().lines().any(|printed| squeezed(printed) == line),
            "no {line:?} in\n{}",
            text.out()
        );
    }
    let explained = |args: &[&str]| {
        let base = ["explain", "org/app:1", "--format=json"];
        directory.run([&base, args].concat()).exits(0).json()[0].clone()
    };
    let found = explained(&[&to_sandbox]);
    assert_eq!(found["target"], "sandbox.io/team/docker.io/org/app:1");
    assert_eq!(
        found["rules"]
            .as_array()
            .unwrap()
            .iter()
            .find(|rule| rule["rule"] == "waypost/latest-push")
            .unwrap()["pushes"],
        json!([{
            "image": "docker.io/org/app:1",
            "registry_id": "sandbox.io/team",
            "target": "sandbox.io/team/docker.io/org/app:1",
            "digest": digest,
            "finished_at": "1970-01-01T00:00:00Z",
        }])
    );
    assert_eq!(
        explained(&[&to_sandbox, "--unavailable=sandbox.io/team"])["outcome"],
        "target_unavailable"
    );
    for bad in [
        "--push=org/app:1",
        "--push=org/app:1=team",
        "--push=a:b:c=r.io",
        "--push=org/app=r.io@x",
    ] {
        directory.run(["explain", "org/app:1", bad]).exits(2);
    }
}
