//! What the chart puts around the two commands, with the rights that docs/cluster.md lists and no others.

use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

use super::super::through;
use crate::support::client::{Client, Protocol};
use crate::support::cluster::case::{CASE, Case};
use crate::support::eventually;
use crate::support::program::Directory;
use crate::support::serving::Serving;

/// What the chart puts around a controller, in the namespace of a test.
pub(in super::super) struct Release<'a> {
    pub(super) case: &'a Case<'a>,
    /// Of the configuration and of the cluster's roles: they belong to no namespace.
    pub(super) name: String,
}

pub(super) const SECRET: &str = "waypost-certificate";
pub(super) const AUTHORITY: &str = "waypost-certificate-ca";
const CONFIGURATIONS: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

impl<'a> Release<'a> {
    pub(in super::super) fn new(case: &'a Case<'a>) -> Self {
        let release = Self {
            case,
            name: format!("waypost-release-{}", case.namespace),
        };
        release.register();
        release
    }

    pub(super) fn configuration(&self) -> String {
        format!("{CONFIGURATIONS}/{}", self.name)
    }

    /// As Helm makes it: without a `caBundle`.
    pub(super) fn register(&self) {
        let webhook = json!({
            "name": "pods.waypost.dev",
            "clientConfig": {"service": {"namespace": self.case.namespace, "name": "waypost", "path": "/mutate", "port": 443}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
            "namespaceSelector": {"matchLabels": {CASE: "none"}},
            "sideEffects": "NoneOnDryRun", "admissionReviewVersions": ["v1"], "failurePolicy": "Ignore",
        });
        let object = json!({"metadata": {"name": self.name}, "webhooks": [webhook]});
        self.case.admin.post(CONFIGURATIONS, &object).unwrap();
    }

    /// A kubeconfig with these rights: in the namespace, and in the cluster.
    fn kubeconfig(&self, directory: &Directory, account: &str, local: &Value, global: &Value) {
        let Self { case, name } = self;
        let namespace = &case.namespace;
        let subjects = json!([{"kind": "ServiceAccount", "name": account, "namespace": namespace}]);
        let role = |kind: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": format!("{name}-{account}")});
        let metadata = json!({"name": format!("{name}-{account}")});
        // A second process of the account finds everything there.
        if case
            .admin
            .post(&case.path("serviceaccounts"), &json!({"metadata": {"name": account}}))
            .is_ok()
        {
            case.create("roles", &json!({"metadata": metadata, "rules": local}))
                .unwrap();
            let binding = json!({"metadata": metadata, "roleRef": role("Role"), "subjects": subjects});
            case.create("rolebindings", &binding).unwrap();
            let path = format!("{RBAC}/clusterroles");
            case.admin
                .post(&path, &json!({"metadata": metadata, "rules": global}))
                .unwrap();
            let binding = json!({"metadata": metadata, "roleRef": role("ClusterRole"), "subjects": subjects});
            case.admin
                .post(&format!("{RBAC}/clusterrolebindings"), &binding)
                .unwrap();
        }
        let request = json!({"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": {}});
        let path = format!("{}/{account}/token", case.path("serviceaccounts"));
        let token = case.admin.post(&path, &request).unwrap()["status"]["token"].clone();
        let mut kubeconfig = case
            .kubectl(&["config", "view", "--raw", "--minify", "--output=json"])
            .exits(0)
            .json();
        kubeconfig["users"][0]["user"] = json!({"token": token});
        kubeconfig["contexts"][0]["context"]["namespace"] = json!(namespace);
        directory.write("kubeconfig", kubeconfig.to_string());
    }

    /// A kubeconfig with the rights of a controller that docs/cluster.md lists.
    pub(in super::super) fn controller_kubeconfig(&self, directory: &Directory) {
        let local = json!([
            {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": ["waypost-controller"], "verbs": ["get", "create", "patch"]},
            {"apiGroups": [""], "resources": ["secrets"], "resourceNames": [SECRET, AUTHORITY], "verbs": ["get", "create", "patch"]},
            {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list", "watch", "create", "patch", "delete"]},
            {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list"]},
            {"apiGroups": ["apps"], "resources": ["deployments"], "resourceNames": ["waypost-controller"], "verbs": ["get"]},
        ]);
        let global = json!([
            {"apiGroups": ["waypost.dev"], "resources": ["registries"],
             "verbs": ["get", "list", "watch", "create", "update", "patch", "delete"]},
            {"apiGroups": ["waypost.dev"], "resources": ["registries/status"], "verbs": ["patch", "update"]},
            {"apiGroups": ["waypost.dev"], "resources": ["pushes"], "verbs": ["get", "list", "watch", "create", "patch", "delete"]},
            {"apiGroups": ["waypost.dev"], "resources": ["pushes/status"], "verbs": ["patch"]},
            {"apiGroups": ["waypost.dev"], "resources": ["policies"], "verbs": ["get", "list", "watch"]},
            {"apiGroups": ["waypost.dev"], "resources": ["policies/status"], "verbs": ["patch", "update"]},
            {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["list", "watch"]},
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
            {"apiGroups": [""], "resources": ["secrets"], "resourceNames": [self.pull_secret()],
             "verbs": ["get", "list", "watch", "create", "patch", "delete"]},
            {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create"]},
            {"apiGroups": ["admissionregistration.k8s.io"], "resources": ["mutatingwebhookconfigurations"], "resourceNames": [self.name],
             "verbs": ["get", "watch", "patch"]},
        ]);
        self.kubeconfig(directory, "controller", &local, &global);
    }

    /// Their name, which is no other test's: each controller has its own idea of who gets one.
    pub(in super::super) fn pull_secret(&self) -> String {
        format!("pull-{}", self.case.namespace)
    }

    /// A controller with these rights. Its Lease is short: tests wait for it to end.
    pub(in super::super) fn controller(&self, configuration: &str) -> Serving {
        let directory = Directory::new();
        self.controller_kubeconfig(&directory);
        let pull_secret = self.pull_secret();
        directory.write(
            "waypost.yaml",
            format!("controller: {{lease: 4s}}\npull: {{secret: {pull_secret}}}\n{configuration}"),
        );
        let command = directory.command([
            "controller",
            "--kubeconfig",
            "kubeconfig",
            "--admin-listen",
            "127.0.0.1:0",
            "--certificate-secret",
            SECRET,
            "--service",
            "waypost",
            "--webhook-configuration",
            &self.name,
            "--log-level",
            "debug",
        ]);
        Serving::spawn(directory, command)
    }

    /// A kubeconfig with the rights of a replica.
    pub(in super::super) fn webhook_kubeconfig(&self, directory: &Directory) {
        let global = json!([
            {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get", "list", "watch"]},
            {"apiGroups": ["waypost.dev"], "resources": ["registries"], "verbs": ["get", "list", "watch"]},
            {"apiGroups": ["waypost.dev"], "resources": ["pushes"], "verbs": ["get", "list", "watch", "create", "patch"]},
            {"apiGroups": ["waypost.dev"], "resources": ["policies"], "verbs": ["get", "list", "watch"]},
            {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create"]},
            {"apiGroups": ["admissionregistration.k8s.io"], "resources": ["mutatingwebhookconfigurations"], "resourceNames": [self.name],
             "verbs": ["get"]},
        ]);
        self.kubeconfig(directory, "webhook", &json!([]), &global);
    }

    /// A replica whose certificate is mounted by the test, as a kubelet does it, and which is an endpoint of the Service.
    pub(super) fn replica(&self) -> Replica<'_> {
        let directory = Directory::new();
        self.webhook_kubeconfig(&directory);
        directory.write("policies.d/test.yaml", through("mirror.test"));
        mount(&directory, &self.secret());
        let address = SocketAddr::new(own_address(), 0).to_string();
        let command = directory.command([
            "webhook",
            "--kubeconfig",
            "kubeconfig",
            "--admin-listen",
            "127.0.0.1:0",
            "--webhook-listen",
            &address,
            "--tls-dir",
            "tls",
            "--webhook-configuration",
            &self.name,
        ]);
        let serving = Serving::spawn(directory, command);
        let slice = json!({
            "metadata": {"name": "waypost-1", "labels": {"kubernetes.io/service-name": "waypost"}},
            "addressType": "IPv4",
            "ports": [{"name": "webhook", "port": serving.webhook.port(), "protocol": "TCP"}],
            "endpoints": [{"addresses": [serving.webhook.ip().to_string()], "conditions": {"ready": false, "serving": true}}],
        });
        self.case.create("endpointslices", &slice).unwrap();
        Replica { release: self, serving }
    }

    pub(super) fn secret(&self) -> Value {
        self.case.once("the Secret", &format!("secrets/{SECRET}"), |secret| {
            secret["data"]["tls.crt"].is_string()
        })
    }

    /// The authorities in `caBundle`, PEM.
    pub(super) fn bundle(&self) -> Vec<Vec<u8>> {
        let object = self.case.admin.get(&self.configuration()).unwrap();
        authorities(&object["webhooks"][0]["clientConfig"]["caBundle"])
    }

    pub(super) fn authority(&self) -> Vec<u8> {
        let secret = self
            .case
            .admin
            .get(&self.case.path(&format!("secrets/{AUTHORITY}")))
            .unwrap();
        authorities(&secret["data"]["ca.crt"]).remove(0)
    }

    /// Waits until `caBundle` has the authority and no other, and the leaf is its.
    pub(super) fn settled(&self) -> Vec<u8> {
        eventually("one authority is trusted, and the leaf is its", || {
            let authority = self
                .case
                .admin
                .get(&self.case.path(&format!("secrets/{AUTHORITY}")))
                .ok()?;
            let secret = self
                .case
                .admin
                .get(&self.case.path(&format!("secrets/{SECRET}")))
                .ok()?;
            let [one] = <[Vec<u8>; 1]>::try_from(authorities(&authority["data"]["ca.crt"])).ok()?;
            (self.bundle() == [one.clone()] && authorities(&secret["data"]["ca.crt"]) == [one.clone()]).then_some(one)
        })
    }

    pub(super) fn ask(&self, what: &str) {
        let patch = json!({"metadata": {"annotations": {"waypost.dev/rotate": what}}});
        self.case
            .admin
            .patch(&self.case.path(&format!("secrets/{SECRET}")), &patch)
            .unwrap();
    }

    pub(super) fn holder(&self) -> String {
        let lease = self
            .case
            .admin
            .get(&self.case.path("leases/waypost-controller"))
            .unwrap();
        lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
    }
}

impl Drop for Release<'_> {
    fn drop(&mut self) {
        let _ = self.case.admin.delete(&self.configuration());
        for account in ["controller", "webhook"] {
            for kind in ["clusterroles", "clusterrolebindings"] {
                let _ = self
                    .case
                    .admin
                    .delete(&format!("{RBAC}/{kind}/{}-{account}", self.name));
            }
        }
    }
}

/// A `waypost webhook`, and the kubelet of its node.
pub(super) struct Replica<'a> {
    release: &'a Release<'a>,
    pub(super) serving: Serving,
}

impl Replica<'_> {
    /// The Secret as it is now reaches it.
    pub(super) fn sync(&self) {
        mount(self.serving.directory(), &self.release.secret());
    }

    /// The certificate that it serves, DER, by the authorities of the Secret that it has.
    pub(super) fn served(&self) -> Option<Vec<u8>> {
        let client = Client::new(&self.serving.directory().path().join("tls/ca.crt"), Protocol::Http1);
        client
            .certificate(
                self.serving.webhook,
                &format!("waypost.{}.svc", self.release.case.namespace),
            )
            .ok()
    }

    pub(super) fn is_ready(&self) -> bool {
        self.serving.admin("/readyz").status == 200
    }
}

/// As the kubelet mounts a Secret: all files at once, by the swap of a link.
fn mount(directory: &Directory, secret: &Value) {
    let root = directory.path().join("tls");
    let version = format!("..{}", secret["metadata"]["resourceVersion"].as_str().unwrap());
    for name in ["ca.crt", "tls.crt", "tls.key"] {
        let content = STANDARD.decode(secret["data"][name].as_str().unwrap()).unwrap();
        directory.write(&format!("tls/{version}/{name}"), content);
        let link = root.join(name);
        if fs::symlink_metadata(&link).is_err() {
            std::os::unix::fs::symlink(format!("..data/{name}"), link).unwrap();
        }
    }
    let new = root.join("..data_tmp");
    let _ = fs::remove_file(&new);
    std::os::unix::fs::symlink(version, &new).unwrap();
    fs::rename(new, root.join("..data")).unwrap();
}

/// The certificates in a field, DER.
pub(super) fn authorities(field: &Value) -> Vec<Vec<u8>> {
    let pem = STANDARD.decode(field.as_str().unwrap_or_default()).unwrap();
    CertificateDer::pem_slice_iter(&pem)
        .map(|one| one.unwrap().to_vec())
        .collect()
}

/// An address of this machine that is not its own alone: endpoints of a Service cannot be in 127.0.0.0/8.
fn own_address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    // Nothing is sent.
    socket.connect("192.0.2.1:9").unwrap();
    socket.local_addr().unwrap().ip()
}
