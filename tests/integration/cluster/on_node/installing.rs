//! The chart, installed by Helm from the image that `make image` makes, out of a registry.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use serde_json::Value;
use waypost::tls;

use super::running;
use crate::support::cluster::case::{Case, images_of, pod};
use crate::support::cluster::{Cluster, Size, kept};
use crate::support::eventually;
use crate::support::helm::helm_in;
use crate::support::program::{Directory, Finished, finish};

/// Installs, changes and removes the one release of a cluster.
pub(super) struct Helm<'a> {
    case: &'a Case<'a>,
    home: Directory,
    image: [String; 2],
}

#[test]
fn one_line_installs_it_an_upgrade_shows_without_a_restart_and_an_uninstall_leaves_nothing() {
    // A cluster of its own: the API server asks it about everybody's Pods.
    Cluster::with(Size::Node, &[]).unwrap().test("chart", |case| {
        let registry = case.cluster.registry();
        for mirror in ["one", "two"] {
            let image = format!("{mirror}/docker.io/library/alpine:latest");
            case.cluster.push(registry, &image, mirror);
        }
        let helm = Helm::new(case);
        let pull_through = |mirror: &str| format!("pullThrough.registry={}/{mirror}", registry.host);

        let said = helm.run(&[
            "install",
            "waypost",
            CHART,
            "--wait",
            "--timeout=100s",
            "--set",
            &pull_through("one"),
        ]);
        assert!(
            said.out().contains(&format!(
                "Pods that are created from now on pull these images through {}/one",
                registry.host
            )),
            "{}",
            said.out()
        );
        let image = |mirror: &str| format!("{}/{mirror}/docker.io/library/alpine", registry.host);
        case.kubectl(&["run", "t", "--image=alpine"]).exits(0);
        let stored = running(case, "t");
        let container = &stored["spec"]["containers"][0];
        assert_eq!(
            (&container["image"], &container["imagePullPolicy"]),
            (&image("one").into(), &"Always".into())
        );
        assert_eq!(stored["metadata"]["annotations"]["image.waypost.dev/t"], "alpine");
        let replicas = helm.replicas();
        assert_eq!(replicas.len(), 2);
        helm.upgrade(&["--set", &pull_through("two")]);
        becomes(case, &image("two"));
        helm.run(&["rollback", "waypost", "1", "--wait", "--timeout=100s"]);
        becomes(case, &image("one"));
        assert_eq!(helm.replicas(), replicas, "no replica was restarted");
        helm.run(&["test", "waypost", "--timeout=100s"]);

        helm.run(&["uninstall", "waypost", "--wait", "--timeout=100s"]);
        eventually("nothing of the release is left", || {
            helm.leftovers().is_empty().then_some(())
        });
        case.accepts(&pod("afterwards", "alpine"));
        // What was rewritten stays so: a container that ends is pulled for and started once more.
        let container = stored["status"]["containerStatuses"][0]["containerID"]
            .as_str()
            .unwrap();
        let container = container.trim_start_matches("containerd://");
        let kill = [
            "ctr",
            "--namespace=k8s.io",
            "tasks",
            "kill",
            "--signal=SIGKILL",
            container,
        ];
        case.cluster.on_node(&kill).exits(0);
        case.once("the container again, after the uninstall", "pods/t", |pod| {
            let status = &pod["status"]["containerStatuses"][0];
            status["restartCount"] == 1 && status["state"]["running"].is_object()
        });
    });
}

#[test]
fn an_uninstall_takes_pull_secrets_and_definitions_along_where_that_is_asked_for() {
    Cluster::with(Size::Node, &[]).unwrap().test("cleanup", |case| {
        let helm = Helm::new(case);
        let protected = case.cluster.protected();
        let values = [
            format!("--set=registries.corp.url={}", protected.host),
            format!("--set=registries.corp.username={}", protected.username),
            format!("--set=registries.corp.password={}", protected.password),
        ];
        let values: Vec<_> = values.iter().map(String::as_str).collect();
        let install = ["install", "waypost", CHART, "--wait", "--timeout=100s"];
        helm.run(&[&install, &*values].concat());
        case.once("the pull secret", "secrets/waypost-pull", |secret| {
            secret["data"][".dockerconfigjson"].is_string()
        });
        let definitions = || {
            let names = case
                .kubectl(&["get", "customresourcedefinitions", "--output=name"])
                .exits(0);
            names.out().matches("waypost.dev").count()
        };
        assert_ne!(definitions(), 0);
        // Without being asked for: both stay.
        helm.run(&["uninstall", "waypost", "--wait", "--timeout=100s"]);
        case.once("what stays", "secrets/waypost-pull", |secret| {
            secret["data"].is_object()
        });
        assert_ne!(definitions(), 0);

        // The next release takes over what is there.
        helm.run(&[&install, &*values].concat());
        helm.upgrade(&["--set=cleanup.pullSecrets=true,cleanup.crds=true"]);
        helm.run(&["uninstall", "waypost", "--wait", "--timeout=200s"]);
        eventually("neither is left", || {
            let secrets = [
                "get",
                "secrets",
                "--all-namespaces",
                "--field-selector=metadata.name=waypost-pull",
                "--output=name",
            ];
            let left = case.kubectl(&secrets).exits(0);
            (left.out().trim().is_empty() && definitions() == 0).then_some(())
        });
        eventually("nothing of the release is left", || {
            helm.leftovers().is_empty().then_some(())
        });
    });
}

#[test]
fn a_certificate_that_is_provided_is_served_and_trusted() {
    Cluster::with(Size::Node, &[]).unwrap().test("provided", |case| {
        let files = Directory::new();
        tls::ensure_local(files.path(), &["waypost.waypost.svc".to_owned()]).unwrap();
        let file = |name: &str| files.path().join(name).display().to_string();
        case.kubectl(&["create", "namespace", "waypost"]).exits(0);
        let pair = [
            format!("--cert={}", file("tls.crt")),
            format!("--key={}", file("tls.key")),
        ];
        let secret = [
            "--namespace=waypost",
            "create",
            "secret",
            "tls",
            "mine",
            &pair[0],
            &pair[1],
        ];
        case.kubectl(&secret).exits(0);
        let authority = format!("certificates.provided.caBundle={}", file("ca.crt"));
        Helm::new(case).run(&[
            "install",
            "waypost",
            CHART,
            "--namespace=waypost",
            "--wait",
            "--timeout=100s",
            "--set=certificates.mode=provided,certificates.provided.secretName=mine,pullThrough.registry=mirror.test",
            "--set-file",
            &authority,
        ]);
        case.rewrites(&pod("p", "alpine"), &["mirror.test/docker.io/library/alpine"]);
        // It is left alone: nobody but its owner renews it.
        let secrets = case
            .kubectl(&["--namespace=waypost", "get", "secrets", "--output=name"])
            .exits(0);
        assert!(!secrets.out().contains("waypost-certificate"), "{}", secrets.out());
    });
}

impl<'a> Helm<'a> {
    /// With the image in the cluster's registry.
    pub(super) fn new(case: &'a Case<'a>) -> Self {
        let image = format!("{}/waypost", case.cluster.registry().host);
        let mut push = case.cluster.tool("crane");
        push.args(["push", IMAGE.layout.to_str().unwrap(), &format!("{image}:test")]);
        finish(push, b"").exits(0);
        Self {
            case,
            home: Directory::new(),
            image: [
                format!("--set=image.repository={image}"),
                format!("--set=image.digest={}", IMAGE.digest),
            ],
        }
    }

    /// Runs Helm, without its user's settings.
    pub(super) fn run(&self, args: &[&str]) -> Finished {
        let mut command = helm_in(&self.home);
        command.args(args).env("KUBECONFIG", self.case.cluster.kubeconfig());
        if args[0] == "install" {
            command.args(&self.image);
        }
        finish(command, b"").exits(0)
    }

    /// The values that say which image.
    pub(super) fn image(&self) -> Vec<&str> {
        self.image.iter().map(String::as_str).collect()
    }

    pub(super) fn upgrade(&self, values: &[&str]) -> Finished {
        let upgrade = [
            "upgrade",
            "waypost",
            CHART,
            "--reuse-values",
            "--wait",
            "--timeout=100s",
        ];
        self.run(&[&upgrade, values].concat())
    }

    /// The replicas of the webhook, with how often each was started again.
    fn replicas(&self) -> BTreeMap<String, Value> {
        let selector = "app.kubernetes.io/component=webhook";
        let path = format!("/api/v1/namespaces/default/pods?labelSelector={selector}");
        let pods = self.case.admin.get(&path).unwrap();
        let pods = pods["items"].as_array().unwrap().iter();
        pods.map(|pod| {
            let restarts = pod["status"]["containerStatuses"][0]["restartCount"].clone();
            (pod["metadata"]["name"].as_str().unwrap().to_owned(), restarts)
        })
        .collect()
    }

    /// What the release has in the cluster, made by Helm or by the controller.
    pub(super) fn leftovers(&self) -> String {
        let kinds = "mutatingwebhookconfigurations,clusterroles,clusterrolebindings,priorityclasses,deployments,pods,services,\
                     endpointslices,configmaps,secrets,serviceaccounts,roles,rolebindings,leases,poddisruptionbudgets,networkpolicies";
        let found = self
            .case
            .kubectl(&["--namespace=default", "get", kinds, "--output=name"])
            .exits(0);
        let ours = found.out().lines().filter(|name| name.contains("waypost"));
        ours.map(|name| format!("{name}\n")).collect()
    }
}

/// What `make image` makes.
struct Image {
    layout: PathBuf,
    digest: String,
}

/// Made once for all tests, from the sources as they are; `make test` has made it before.
static IMAGE: LazyLock<Image> = LazyLock::new(|| {
    if let (Some(layout), Ok(digest)) = (std::env::var_os("WAYPOST_IMAGE"), std::env::var("WAYPOST_IMAGE_DIGEST")) {
        let layout = layout.into();
        return Image { layout, digest };
    }
    let layout = kept().join(format!("image-{}-layout", std::process::id()));
    let mut build = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/image/build"));
    // Not captured: it may take minutes, and says what it does.
    let build = build
        .env("OUT", &layout)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit());
    let built = build.output().unwrap();
    assert!(built.status.success(), "image/build failed");
    let digest = String::from_utf8(built.stdout).unwrap().trim().to_owned();
    Image { layout, digest }
});

/// Waits until Pods get this image.
fn becomes(case: &Case<'_>, image: &str) {
    eventually(image, || {
        let asked = case.dry_run(&pod("asked", "alpine")).ok()?;
        (images_of(&asked) == [image]).then_some(())
    });
}

pub(super) const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/waypost");
