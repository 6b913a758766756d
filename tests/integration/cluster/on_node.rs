//! On a real node: what is pulled by the kubelet, and runs. Needs root.

mod copies;
mod installing;
mod pushes;
mod registries;
mod tokens;

use serde_json::{Value, json};

use super::{policy, through};
use crate::support::cluster::case::{Case, pod};
use crate::support::cluster::webhook::Webhook;
use crate::support::cluster::{Cluster, IN_CLUSTER_REGISTRY, Registry, Size};
use crate::support::eventually;

fn on_node(name: &str, test: impl FnOnce(&Case<'_>) + Send) {
    Cluster::start(Size::Node).test(name, test);
}

fn runs(pod: &Value) -> bool {
    pod["status"]["containerStatuses"][0]["state"]["running"].is_object()
}

/// The Pod of this name, once its container runs.
fn running(case: &Case<'_>, name: &str) -> Value {
    case.once("a container that runs", &format!("pods/{name}"), runs)
}

#[test]
fn the_kubelet_pulls_the_rewritten_image_with_the_injected_secret_and_the_container_runs() {
    on_node("pulls", |case| {
        let registry = case.cluster.protected();
        let digest = case
            .cluster
            .push(registry, "gone.invalid/team/app:1", "from the protected registry");
        let secret = [
            "create",
            "secret",
            "docker-registry",
            "regcred",
            "--docker-server",
            &registry.host,
        ];
        let user = [
            "--docker-username",
            &registry.username,
            "--docker-password",
            &registry.password,
        ];
        case.kubectl(&[&secret[..], &user].concat()).exits(0);
        let _waypost = case.waypost(&policy(&format!(
            "{{name: gone, match: {{images: [gone.invalid/**]}}, rewrite: {{prefix: '{}'}}, pull: {{secrets: [regcred]}}}}",
            registry.host
        )));
        // There is no such registry, and nobody wrote a secret into the Pod.
        case.kubectl(&["run", "p", "--image=gone.invalid/team/app:1"]).exits(0);
        let pod = running(case, "p");
        let status = &pod["status"]["containerStatuses"][0];
        assert_eq!(status["image"], format!("{}/gone.invalid/team/app:1", registry.host));
        assert!(
            status["imageID"].as_str().unwrap().contains(&digest),
            "{status:#} is not {digest}"
        );
        let pulled = case.once("the kubelet's event", "events?fieldSelector=reason=Pulled", |events| {
            !events["items"].as_array().unwrap().is_empty()
        });
        let message = pulled["items"][0]["message"].as_str().unwrap();
        assert!(message.starts_with("Successfully pulled image"), "{message}");
    });
}

#[test]
fn without_the_secret_the_kubelet_is_refused() {
    on_node("refused", |case| {
        let registry = case.cluster.protected();
        case.cluster
            .push(registry, "gone.invalid/team/secret:1", "nobody sees this");
        let _waypost = case.waypost(&policy(&format!(
            "{{name: gone, match: {{images: [gone.invalid/**]}}, rewrite: {{prefix: '{}'}}}}",
            registry.host
        )));
        case.kubectl(&["run", "p", "--image=gone.invalid/team/secret:1"])
            .exits(0);
        case.once("a refused pull", "pods/p", |pod| {
            let reason = &pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"];
            reason == "ErrImagePull" || reason == "ImagePullBackOff"
        });
    });
}

#[test]
fn what_is_pushed_to_the_registry_in_the_cluster_runs_on_its_nodes() {
    on_node("node-port", |case| {
        let registry = Registry {
            host: IN_CLUSTER_REGISTRY.to_owned(),
            username: String::new(),
            password: String::new(),
        };
        let text = format!("of {}", case.namespace);
        case.cluster.push(&registry, "library/alpine:latest", &text);
        let preset = "policies: {presets: [exempt-operators, local-registry]}";
        let _waypost = Webhook::start(case, NOTHING, preset, &[]);
        case.kubectl(&["run", "t", "--image=alpine"]).exits(0);
        let pod = running(case, "t");
        assert_eq!(
            pod["spec"]["containers"][0]["image"],
            format!("{IN_CLUSTER_REGISTRY}/library/alpine")
        );
        let said = case
            .kubectl(&["exec", "t", "--", "/app", "get", "http://127.0.0.1:8080/"])
            .exits(0);
        assert!(said.out().starts_with(&text), "{}", said.out());
    });
}

#[test]
fn a_deployments_pods_all_run_from_the_registry() {
    on_node("deployment", |case| {
        let registry = case.cluster.registry();
        case.cluster.push(registry, "docker.io/org/web:2", "web");
        let _waypost = case.waypost(&through(&registry.host));
        case.kubectl(&["create", "deployment", "web", "--image=org/web:2", "--replicas=2"])
            .exits(0);
        case.kubectl(&["rollout", "status", "deployment/web", "--timeout=100s"])
            .exits(0);
        for pod in case.pods("app=web", 2) {
            assert_eq!(
                pod["spec"]["containers"][0]["image"],
                format!("{}/docker.io/org/web:2", registry.host)
            );
        }
    });
}

#[test]
fn an_ephemeral_container_really_starts() {
    on_node("ephemeral", |case| {
        let registry = case.cluster.registry();
        case.cluster.push(registry, "docker.io/org/app:1", "app");
        case.cluster.push(registry, "docker.io/org/tools:1", "tools");
        let _waypost = case.waypost(&through(&registry.host));
        case.kubectl(&["run", "p", "--image=org/app:1"]).exits(0);
        running(case, "p");
        let debug = [
            "debug",
            "p",
            "--image=org/tools:1",
            "--container=look",
            "--attach=false",
        ];
        case.kubectl(&[&debug[..], &["--", "/app", "pause"]].concat()).exits(0);
        case.once("the ephemeral container runs", "pods/p", |pod| {
            pod["status"]["ephemeralContainerStatuses"][0]["state"]["running"].is_object()
        });
    });
}

#[test]
fn the_content_of_an_image_volume_comes_from_the_registry() {
    on_node("volume", |case| {
        let registry = case.cluster.registry();
        case.cluster.push(registry, "docker.io/org/app:1", "app");
        case.cluster.push(registry, "docker.io/org/model:1", "model");
        let _waypost = case.waypost(&through(&registry.host));
        let mut pod = pod("p", "org/app:1");
        pod["spec"]["volumes"] = json!([{"name": "model", "image": {"reference": "org/model:1"}}]);
        pod["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "model", "mountPath": "/model"}]);
        case.create("pods", &pod).unwrap();
        running(case, "p");
        // The image's one file is the program: run it from the volume.
        let said = case
            .kubectl(&["exec", "p", "--", "/model/app", "print", "from", "the", "volume"])
            .exits(0);
        assert!(said.out().contains("from the volume"), "{}", said.out());
    });
}

#[test]
fn a_static_pod_gets_its_mirror_and_keeps_running() {
    on_node("static", |case| {
        let registry = case.cluster.registry();
        case.cluster.push(registry, "org/static:1", "static");
        // A rule that would rewrite it, were it asked about.
        let waypost = case.waypost(&policy(
            "{name: all, rewrite: {prefix: nowhere.invalid}, pull: {secrets: [none]}}",
        ));
        let mut manifest = pod("static", &format!("{}/org/static:1", registry.host));
        manifest["metadata"]["namespace"] = json!(case.namespace);
        let file = case.cluster.path("manifests").join(format!("{}.json", case.namespace));
        let before = waypost.reviews();
        std::fs::write(&file, manifest.to_string()).unwrap();
        let mirror = running(case, "static-node");
        assert!(
            mirror["metadata"]["annotations"]["kubernetes.io/config.mirror"].is_string(),
            "{mirror:#}"
        );
        assert_eq!(
            mirror["spec"]["containers"][0]["image"],
            format!("{}/org/static:1", registry.host)
        );
        assert_eq!(waypost.reviews(), before);
        std::fs::remove_file(&file).unwrap();
        eventually("the mirror is gone", || {
            case.admin.get(&case.path("pods/static-node")).err()
        });
    });
}

/// A policy without effect.
const NOTHING: &str = "{apiVersion: waypost.dev/v1alpha1, kind: Policy, metadata: {name: test}, spec: {rules: [{name: none, match: {images: [none.invalid/**]}, keep: {}}]}}";
