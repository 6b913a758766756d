//! What the owners of Pods are told.

use super::*;

const RULES: &str = "
- {name: no, match: {images: ['evil.io/**']}, deny: {message: not here}}
- {name: soon, match: {images: ['quay.io/**']}, deny: {message: not for long}, mode: warn}
- {name: hub, match: {images: ['docker.io/**']}, rewrite: {prefix: r.io}}";

/// Keeps the notices.
#[derive(Default)]
struct Told(RefCell<Vec<String>>);

impl Observer for Told {
    fn image(&self, _: &Snapshot, _: ImageEvent) {}
    fn review(&self, _: Operation, _: ReviewOutcome, _: Duration) {}
    fn notice(&self, notice: Notice<'_>) {
        let Notice {
            namespace,
            owner,
            refused,
            text,
        } = notice;
        let Owner {
            api_version,
            kind,
            name,
            uid,
        } = owner;
        self.0.borrow_mut().push(format!(
            "{namespace}/{api_version}/{kind}/{name}/{uid} {refused} {text}"
        ));
    }
}

fn told(review: &Value) -> Vec<String> {
    let told = Told::default();
    respond(&snapshot(RULES), &serde_json::to_vec(review).unwrap(), &told).unwrap();
    told.0.take()
}

fn owned(image: &str, owners: Value) -> Value {
    let mut pod = one(image);
    pod["metadata"]["ownerReferences"] = owners;
    create(pod)
}

fn replica_set() -> Value {
    json!([
        {"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "1"},
        {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "2", "controller": true, "blockOwnerDeletion": true},
    ])
}

#[test]
fn the_controller_of_a_pod_is_told_of_what_was_denied_or_warned_of_and_of_nothing_else() {
    assert_eq!(
        told(&owned("evil.io/a:1", replica_set())),
        ["default/apps/v1/ReplicaSet/web/2 true not here (container \"app\" (image \"evil.io/a:1\"), rule p/no)"]
    );
    let [warned] = &*told(&owned("quay.io/a/b:1", replica_set())) else {
        panic!();
    };
    assert!(
        warned.starts_with("default/apps/v1/ReplicaSet/web/2 false waypost: ") && warned.contains("not for long"),
        "{warned}"
    );
    assert_eq!(told(&owned("alpine:1", replica_set())), [""; 0]);
}

#[test]
fn without_a_controller_or_on_a_dry_run_nobody_is_told() {
    for owners in [
        Value::Null,
        json!([]),
        json!("web"),
        json!([null, 1, {"controller": true}]),
        json!([{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "1", "controller": false}]),
        json!([{"apiVersion": "v1", "kind": "Node", "name": "n", "controller": true}]),
    ] {
        assert_eq!(told(&owned("evil.io/a:1", owners)), [""; 0]);
    }
    let mut review = owned("evil.io/a:1", replica_set());
    review["request"]["dryRun"] = json!(true);
    assert_eq!(told(&review), [""; 0]);
}
