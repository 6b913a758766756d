//! Pods that exist and change, and Pods that must not be touched.

use serde_json::json;

use super::{on_control_plane, policy, through};
use crate::support::cluster::case::{images_of, pod};
use crate::support::cluster::{Cluster, Size};

#[test]
fn an_image_that_kubectl_set_image_changes_is_rewritten() {
    on_control_plane("set-image", |case| {
        let _waypost = case.waypost(&through("mirror.test"));
        case.rewrites(&pod("p", "alpine:3.21"), &["mirror.test/docker.io/library/alpine:3.21"]);
        case.kubectl(&["set", "image", "pod/p", "c=alpine:3.22"]).exits(0);
        let stored = case.admin.get(&case.path("pods/p")).unwrap();
        assert_eq!(images_of(&stored), ["mirror.test/docker.io/library/alpine:3.22"]);
        assert_eq!(stored["metadata"]["annotations"]["image.waypost.dev/c"], "alpine:3.22");
    });
}

#[test]
fn a_pods_manifest_that_is_applied_again_is_not_refused() {
    on_control_plane("apply", |case| {
        let _waypost = case.waypost(&policy(
            "{name: hub, match: {images: [docker.io/**]}, rewrite: {prefix: mirror.test}, pull: {secrets: [regcred]}}",
        ));
        let mut pod = pod("p", "alpine:3.22");
        pod["spec"]["containers"][0]["imagePullPolicy"] = json!("IfNotPresent");
        let apply = |way: &str| {
            let args = ["apply", way, "--filename=-"];
            case.kubectl_with(&args, &pod.to_string()).exits(0)
        };
        apply("--server-side=false");
        let first = case.admin.get(&case.path("pods/p")).unwrap();
        assert_eq!(images_of(&first), ["mirror.test/docker.io/library/alpine:3.22"]);
        assert_eq!(first["spec"]["imagePullSecrets"], json!([{"name": "regcred"}]));
        apply("--server-side=false");
        let second = case.admin.get(&case.path("pods/p")).unwrap();
        assert_eq!(first["spec"], second["spec"]);
        // Another way to apply, by somebody else: fields are forced, and come back as they were.
        let args = ["apply", "--server-side", "--force-conflicts", "--filename=-"];
        case.kubectl_with(&args, &pod.to_string()).exits(0);
        let third = case.admin.get(&case.path("pods/p")).unwrap();
        assert_eq!(first["spec"], third["spec"]);
    });
}

#[test]
fn a_server_side_dry_run_shows_what_would_be_stored_and_stores_nothing() {
    on_control_plane("dry-run", |case| {
        let _waypost = case.waypost(&through("mirror.test"));
        let printed = case
            .kubectl(&["run", "p", "--image=alpine", "--dry-run=server", "--output=json"])
            .exits(0);
        assert_eq!(images_of(&printed.json()), ["mirror.test/docker.io/library/alpine"]);
        assert_eq!(case.admin.get(&case.path("pods/p")).unwrap_err().code, 404);
    });
}

#[test]
fn a_mirror_pod_is_stored_as_its_node_wrote_it() {
    on_control_plane("mirror", |case| {
        let waypost = case.waypost(&policy(
            "{name: hub, match: {images: [docker.io/**]}, rewrite: {prefix: mirror.test}, pull: {secrets: [regcred]}}",
        ));
        let mut mirror = pod("p", "alpine:3.22");
        mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "some-hash"});
        mirror["spec"]["nodeName"] = json!("some-node");
        let before = waypost.reviews();
        let stored = case.accepts(&mirror);
        assert!(stored["spec"]["imagePullSecrets"].is_null(), "{stored:#}");
        assert_eq!(waypost.reviews(), before, "the API server does not even ask");
    });
}

#[test]
fn a_policy_that_says_if_not_present_is_not_refused_where_images_are_always_pulled() {
    let options = ["--arg=kube-apiserver=--enable-admission-plugins=NodeRestriction,AlwaysPullImages"];
    Cluster::with(Size::ControlPlane, &options).unwrap().test("always-pull", |case| {
        let _waypost = case.waypost(&policy(
            "{name: hub, match: {images: [docker.io/**]}, rewrite: {prefix: mirror.test}, pull: {policy: IfNotPresent}}",
        ));
        let mut pod = pod("p", "alpine:3.22");
        pod["spec"]["containers"][0]["imagePullPolicy"] = json!("IfNotPresent");
        let stored = case.rewrites(&pod, &["mirror.test/docker.io/library/alpine:3.22"]);
        assert_eq!(stored["spec"]["containers"][0]["imagePullPolicy"], "Always");
    });
}
