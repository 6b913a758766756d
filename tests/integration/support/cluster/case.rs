//! A test's own part of a cluster: a namespace, and what is done in it.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use super::super::eventually;
use super::super::program::Finished;
use super::Cluster;
use super::kubernetes::{Kubernetes, Refused};
use super::webhook::Webhook;

/// One test's.
pub(crate) struct Case<'a> {
    pub(crate) cluster: &'a Cluster,
    /// The administrator.
    pub(crate) admin: Kubernetes,
    /// The namespace of the test's own.
    pub(crate) namespace: String,
    namespaces: Cell<u32>,
}

impl<'a> Case<'a> {
    pub(super) fn new(cluster: &'a Cluster, name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let case = Self {
            cluster,
            admin: Kubernetes::admin(cluster.kubeconfig()),
            namespace: format!("{name}-{}", COUNT.fetch_add(1, Ordering::Relaxed)),
            namespaces: Cell::new(0),
        };
        case.create_namespace(&case.namespace, &json!({})).unwrap();
        case
    }

    /// Another namespace of this test, with these labels.
    pub(crate) fn another_namespace(&self, labels: &Value) -> String {
        let count = self.namespaces.replace(self.namespaces.get() + 1);
        let name = format!("{}-{count}", self.namespace);
        self.create_namespace(&name, labels).unwrap();
        name
    }

    fn create_namespace(&self, name: &str, labels: &Value) -> Result<Value, Refused> {
        let answer = self.admin.post(NAMESPACES, &self.namespace_object(name, labels))?;
        let account = format!("{NAMESPACES}/{name}/serviceaccounts/default");
        eventually("the namespace's ServiceAccount", || self.admin.get(&account).ok());
        Ok(answer)
    }

    /// A namespace whose Pods the test's webhooks are asked about.
    pub(crate) fn namespace_object(&self, name: &str, labels: &Value) -> Value {
        let mut labels = labels.clone();
        labels[CASE] = json!(self.namespace);
        json!({"metadata": {"name": name, "labels": labels}})
    }

    /// Changes labels of a namespace; null takes one away.
    pub(crate) fn label_namespace(&self, name: &str, labels: &Value) {
        let patch = json!({"metadata": {"labels": labels}});
        self.admin.patch(&format!("{NAMESPACES}/{name}"), &patch).unwrap();
    }

    /// A `waypost serve` with this policy, which the API server asks about this test's Pods, and no other's.
    pub(crate) fn waypost(&self, policy: &str) -> Webhook<'_> {
        Webhook::start(self, policy, "", &[])
    }

    /// The path of a resource in the test's namespace, such as `pods`.
    pub(crate) fn path(&self, resource: &str) -> String {
        path(&self.namespace, resource)
    }

    /// Creates an object in the test's namespace.
    pub(crate) fn create(&self, resource: &str, object: &Value) -> Result<Value, Refused> {
        self.admin.post(&self.path(resource), object)
    }

    /// Asks what a Pod would become.
    pub(crate) fn dry_run(&self, pod: &Value) -> Result<Value, Refused> {
        self.admin.post(&format!("{}?dryRun=All", self.path("pods")), pod)
    }

    /// Creates the Pod, which must be stored with these images, in the order of the Pod's; answers what is stored.
    #[track_caller]
    pub(crate) fn rewrites(&self, pod: &Value, images: &[&str]) -> Value {
        let stored = self.create("pods", pod).unwrap();
        assert_eq!(images_of(&stored), images, "{stored:#}");
        stored
    }

    /// Creates the Pod, which must be stored with the images that it has; answers what is stored.
    #[track_caller]
    pub(crate) fn accepts(&self, pod: &Value) -> Value {
        let images = images_of(pod);
        let images: Vec<_> = images.iter().map(String::as_str).collect();
        self.rewrites(pod, &images)
    }

    /// That the Pod is refused, with this in the message.
    #[track_caller]
    pub(crate) fn rejects(&self, pod: &Value, text: &str) {
        let refused = self.create("pods", pod).unwrap_err();
        assert!(refused.message.contains(text), "no {text:?} in {refused:?}");
    }

    /// Every Pod of the test's namespace that has this label, once there are so many.
    pub(crate) fn pods(&self, selector: &str, count: usize) -> Vec<Value> {
        let path = format!("{}?labelSelector={selector}", self.path("pods"));
        eventually(&format!("{count} Pods with {selector}"), || {
            let mut pods = self.admin.get(&path).ok()?;
            let pods = pods["items"].as_array_mut()?;
            (pods.len() >= count).then(|| std::mem::take(pods))
        })
    }

    /// An object of the test's namespace, once this holds for it.
    pub(crate) fn once(&self, what: &str, resource: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let path = self.path(resource);
        let mut last = Value::Null;
        let wait = std::panic::AssertUnwindSafe(|| {
            eventually(what, || {
                last = self.admin.get(&path).ok()?;
                holds(&last).then(|| last.clone())
            })
        });
        std::panic::catch_unwind(wait).unwrap_or_else(|panic| {
            eprintln!("{path} is\n{last:#}");
            std::panic::resume_unwind(panic)
        })
    }

    /// Runs `kubectl` in the test's namespace.
    pub(crate) fn kubectl(&self, args: &[&str]) -> Finished {
        self.kubectl_with(args, "")
    }

    /// The same with something on stdin.
    pub(crate) fn kubectl_with(&self, args: &[&str], stdin: &str) -> Finished {
        let namespace = ["--namespace", &self.namespace];
        self.cluster.kubectl(&[&namespace, args].concat(), stdin.as_bytes())
    }
}

impl Drop for Case<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let events = self.kubectl(&["get", "events", "--sort-by=.lastTimestamp"]);
            eprintln!(
                "events in {}:\n{}",
                self.namespace,
                String::from_utf8_lossy(&events.stdout)
            );
        }
        // Not waited for: what still runs makes room on a node.
        let _ = self.admin.delete(&format!("{NAMESPACES}/{}", self.namespace));
    }
}

/// The path of a resource in a namespace.
pub(crate) fn path(namespace: &str, resource: &str) -> String {
    let group = match resource.split('/').next().unwrap() {
        "deployments" | "replicasets" | "statefulsets" | "daemonsets" => "apis/apps/v1",
        "jobs" | "cronjobs" => "apis/batch/v1",
        "leases" => "apis/coordination.k8s.io/v1",
        "events" => "apis/events.k8s.io/v1",
        "endpointslices" => "apis/discovery.k8s.io/v1",
        "roles" | "rolebindings" => "apis/rbac.authorization.k8s.io/v1",
        _ => "api/v1",
    };
    format!("/{group}/namespaces/{namespace}/{resource}")
}

/// A Pod with one container.
pub(crate) fn pod(name: &str, image: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": image}], "terminationGracePeriodSeconds": 0},
    })
}

/// The images of a Pod: those of init containers, of containers, of ephemeral ones, of volumes.
pub(crate) fn images_of(pod: &Value) -> Vec<String> {
    let list = |key: &str| pod["spec"][key].as_array().cloned().unwrap_or_default();
    let containers = ["initContainers", "containers", "ephemeralContainers"]
        .into_iter()
        .flat_map(list);
    let volumes = list("volumes")
        .into_iter()
        .map(|volume| volume["image"]["reference"].clone());
    let images = containers.map(|container| container["image"].clone()).chain(volumes);
    images.filter_map(|image| image.as_str().map(str::to_owned)).collect()
}

/// Where namespaces are.
pub(crate) const NAMESPACES: &str = "/api/v1/namespaces";

/// The label by which a test's webhooks know its namespaces.
pub(crate) const CASE: &str = "waypost.test/case";
