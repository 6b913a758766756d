//! Pods of every origin, and every kind of image in them.

use serde_json::{Value, json};

use super::{on_control_plane, policy, template, through};
use crate::support::cluster::case::{images_of, pod};
use crate::support::eventually;

#[test]
fn a_pod_is_stored_with_its_image_its_policy_and_where_it_came_from() {
    on_control_plane("direct", |case| {
        let _waypost = case.waypost(&through("mirror.test"));
        let stored = case.rewrites(&pod("p", "alpine:3.22"), &["mirror.test/docker.io/library/alpine:3.22"]);
        assert_eq!(stored["spec"]["containers"][0]["imagePullPolicy"], "Always");
        let annotations = &stored["metadata"]["annotations"];
        assert_eq!(annotations["image.waypost.dev/c"], "alpine:3.22");
        assert_eq!(annotations["waypost.dev/rules"], "c=test/hub");
        case.accepts(&pod("other", "quay.io/a/b:1"));
    });
}

#[test]
fn a_service_account_without_rights_of_its_own_on_registries_gets_its_pod_rewritten_too() {
    on_control_plane("account", |case| {
        let _waypost = case.waypost(&through("mirror.test"));
        let user = case
            .admin
            .service_account(case.cluster.kubeconfig(), &case.namespace, "binder");
        let refused = user.post(&case.path("pods"), &pod("p", "alpine")).unwrap_err();
        assert_eq!(refused.code, 403, "{refused:?}");
        let rights = json!({
            "metadata": {"name": "binder"},
            "subjects": [{"kind": "ServiceAccount", "name": "binder", "namespace": case.namespace}],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
        });
        let bindings = format!(
            "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
            case.namespace
        );
        case.admin.post(&bindings, &rights).unwrap();
        let stored = eventually("a Pod made by the ServiceAccount", || {
            user.post(&case.path("pods"), &pod("p", "alpine")).ok()
        });
        assert_eq!(images_of(&stored), ["mirror.test/docker.io/library/alpine"]);
    });
}

#[test]
fn every_controller_makes_rewritten_pods_and_no_template_changes() {
    on_control_plane("workloads", |case| {
        let _waypost = case.waypost(&through("mirror.test"));
        // DaemonSets make a Pod for each node. This one has no kubelet, and belongs to this test.
        let node = case.namespace.clone();
        let nodes = "/api/v1/nodes";
        case.admin
            .post(
                nodes,
                &json!({"metadata": {"name": node, "labels": {"only-for": node}}}),
            )
            .unwrap();
        let template = template("alpine:3.22");
        let with = |changes: Value| {
            let mut template = template.clone();
            for (key, value) in changes.as_object().unwrap() {
                template["spec"][key] = value.clone();
            }
            template
        };
        let job = json!({"template": with(json!({"restartPolicy": "Never"}))});
        let every_minute = json!({"schedule": "* * * * *", "jobTemplate": {"spec": job}});
        let selector = json!({"matchLabels": {"app": "web"}});
        let workloads = [
            (
                "deployments",
                "/spec/template",
                json!({"selector": selector, "template": template}),
            ),
            (
                "statefulsets",
                "/spec/template",
                json!({"selector": selector, "template": template, "serviceName": "web"}),
            ),
            (
                "daemonsets",
                "/spec/template",
                json!({"selector": selector, "template": with(json!({"nodeSelector": {"only-for": node}}))}),
            ),
            ("jobs", "/spec/template", job),
            ("cronjobs", "/spec/jobTemplate/spec/template", every_minute),
        ];
        // All of them first: the CronJob's minute passes meanwhile.
        for (resource, at, spec) in &workloads {
            let mut object = json!({"metadata": {"name": resource}, "spec": spec});
            let place = at.trim_start_matches("/spec");
            let label = object["spec"].pointer_mut(&format!("{place}/metadata/labels")).unwrap();
            label["workload"] = json!(resource);
            if object["spec"]["selector"].is_object() {
                object["spec"]["selector"]["matchLabels"]["workload"] = json!(resource);
            }
            case.create(resource, &object).unwrap();
        }
        for (resource, at, _) in &workloads {
            for pod in case.pods(&format!("workload={resource}"), 1) {
                assert_eq!(
                    images_of(&pod),
                    ["mirror.test/docker.io/library/alpine:3.22"],
                    "{resource}"
                );
            }
            let stored = case.admin.get(&case.path(&format!("{resource}/{resource}"))).unwrap();
            let image = stored.pointer(&format!("{at}/spec/containers/0/image")).unwrap();
            assert_eq!(image, "alpine:3.22", "{resource}");
        }
        let sets = case.admin.get(&case.path("replicasets")).unwrap();
        assert_eq!(
            sets["items"].as_array().unwrap().len(),
            1,
            "one ReplicaSet for one Deployment"
        );
        case.admin.delete(&format!("{nodes}/{node}")).unwrap();
    });
}

#[test]
fn every_kind_of_image_in_a_pod_is_rewritten() {
    on_control_plane("kinds", |case| {
        let _waypost = case.waypost(&through("mirror.test"));
        let mut pod = pod("p", "alpine");
        pod["spec"]["initContainers"] = json!([
            {"name": "init", "image": "index.docker.io/library/busybox:1"},
            {"name": "sidecar", "image": "org/app@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "restartPolicy": "Always"},
        ]);
        pod["spec"]["volumes"] = json!([{"name": "model", "image": {"reference": "org/model:7"}}]);
        let stored = case.rewrites(
            &pod,
            &[
                "mirror.test/docker.io/library/busybox:1",
                "mirror.test/docker.io/org/app@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                "mirror.test/docker.io/library/alpine",
                "mirror.test/docker.io/org/model:7",
            ],
        );
        assert_eq!(
            stored["metadata"]["annotations"]["volume.waypost.dev/model"],
            "org/model:7"
        );
        assert_eq!(stored["spec"]["volumes"][0]["image"]["pullPolicy"], "Always");
    });
}

#[test]
fn a_container_that_kubectl_debug_adds_is_rewritten() {
    on_control_plane("debug", |case| {
        let _waypost = case.waypost(&through("mirror.test"));
        case.rewrites(&pod("p", "alpine"), &["mirror.test/docker.io/library/alpine"]);
        let debug = [
            "debug",
            "p",
            "--image=busybox",
            "--container=look",
            "--attach=false",
            "--",
            "sh",
        ];
        case.kubectl(&debug).exits(0);
        let stored = case.admin.get(&case.path("pods/p")).unwrap();
        let added = &stored["spec"]["ephemeralContainers"][0];
        assert_eq!(added["image"], "mirror.test/docker.io/library/busybox");
        assert_eq!(added["imagePullPolicy"], "Always");
        let copy = [
            "debug",
            "p",
            "--image=busybox",
            "--copy-to=copy",
            "--attach=false",
            "--",
            "sh",
        ];
        case.kubectl(&copy).exits(0);
        let images = images_of(&case.admin.get(&case.path("pods/copy")).unwrap());
        assert_eq!(
            images,
            [
                "mirror.test/docker.io/library/alpine",
                "mirror.test/docker.io/library/busybox"
            ]
        );
    });
}

#[test]
fn fields_that_the_client_library_does_not_know_stay() {
    on_control_plane("unknown", |case| {
        let _waypost = case.waypost(&policy(
            "{name: hub, match: {images: [docker.io/**]}, rewrite: {prefix: mirror.test}, pull: {policy: Unchanged}}",
        ));
        // Newer than the library's types (1.33); an API server that is as old drops them, with Waypost as without.
        let mut asked = pod("asked", "alpine:1");
        asked["spec"]["hostnameOverride"] = json!("other.example.org");
        let knows_rules = case.cluster.minor() >= 35;
        if knows_rules {
            asked["spec"]["containers"][0]["restartPolicy"] = json!("Never");
            asked["spec"]["containers"][0]["restartPolicyRules"] =
                json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]);
        }
        let mut aside = asked.clone();
        aside["metadata"] = json!({"name": "aside", "labels": {"waypost.dev/rewrite": "disabled"}});
        let aside = case.accepts(&aside);
        let asked = case.rewrites(&asked, &["mirror.test/docker.io/library/alpine:1"]);
        if knows_rules {
            assert!(
                asked["spec"]["containers"][0]["restartPolicyRules"].is_array(),
                "{asked:#}"
            );
        }
        let mut expected = aside["spec"].clone();
        expected["containers"][0]["image"] = asked["spec"]["containers"][0]["image"].clone();
        // The name of the token's volume is random.
        for spec in [&mut expected, &mut asked["spec"].clone()] {
            spec["volumes"] = Value::Null;
            spec["containers"][0]["volumeMounts"] = Value::Null;
        }
        let mut found = asked["spec"].clone();
        found["volumes"] = Value::Null;
        found["containers"][0]["volumeMounts"] = Value::Null;
        assert_eq!(found, expected);
    });
}
