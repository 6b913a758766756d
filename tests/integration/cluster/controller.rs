//! The controller as a process, with the rights that the chart gives it and no others, on a real API server.

use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

use super::{on_control_plane, through};
use crate::support::client::{Client, Protocol};
use crate::support::cluster::case::{CASE, Case};
use crate::support::eventually;
use crate::support::program::Directory;
use crate::support::serving::Serving;

/// What the chart puts around a controller, in the namespace of a test.
pub(super) struct Release<'a> {
    case: &'a Case<'a>,
    /// Of the configuration and of the cluster's roles: they belong to no namespace.
    name: String,
}

const SECRET: &str = "waypost-certificate";
const AUTHORITY: &str = "waypost-certificate-ca";
const CONFIGURATIONS: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

impl<'a> Release<'a> {
    pub(super) fn new(case: &'a Case<'a>) -> Self {
        let release = Self {
            case,
            name: format!("waypost-release-{}", case.namespace),
        };
        release.register();
        release
    }

    fn configuration(&self) -> String {
        format!("{CONFIGURATIONS}/{}", self.name)
    }

    /// As Helm makes it: without a `caBundle`.
    fn register(&self) {
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

    /// A controller with the rights that docs/cluster.md lists. Its Lease is short: tests wait for it to end.
    fn controller(&self, configuration: &str) -> Serving {
        let directory = Directory::new();
        let local = json!([
            {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": ["waypost-controller"], "verbs": ["get", "create", "patch"]},
            {"apiGroups": [""], "resources": ["secrets"], "resourceNames": [SECRET, AUTHORITY], "verbs": ["get", "create", "patch"]},
            {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list"]},
            {"apiGroups": ["apps"], "resources": ["deployments"], "resourceNames": ["waypost-controller"], "verbs": ["get"]},
        ]);
        let global = json!([
            {"apiGroups": ["admissionregistration.k8s.io"], "resources": ["mutatingwebhookconfigurations"], "resourceNames": [self.name],
             "verbs": ["get", "watch", "patch"]},
        ]);
        self.kubeconfig(&directory, "controller", &local, &global);
        directory.write("waypost.yaml", format!("controller: {{lease: 3s}}\n{configuration}"));
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
    pub(super) fn webhook_kubeconfig(&self, directory: &Directory) {
        let global = json!([
            {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get", "list", "watch"]},
            {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create"]},
            {"apiGroups": ["admissionregistration.k8s.io"], "resources": ["mutatingwebhookconfigurations"], "resourceNames": [self.name],
             "verbs": ["get"]},
        ]);
        self.kubeconfig(directory, "webhook", &json!([]), &global);
    }

    /// A replica whose certificate is mounted by the test, as a kubelet does it, and which is an endpoint of the Service.
    fn replica(&self) -> Replica<'_> {
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

    fn secret(&self) -> Value {
        self.case.once("the Secret", &format!("secrets/{SECRET}"), |secret| {
            secret["data"]["tls.crt"].is_string()
        })
    }

    /// The authorities in `caBundle`, PEM.
    fn bundle(&self) -> Vec<Vec<u8>> {
        let object = self.case.admin.get(&self.configuration()).unwrap();
        authorities(&object["webhooks"][0]["clientConfig"]["caBundle"])
    }

    fn authority(&self) -> Vec<u8> {
        let secret = self
            .case
            .admin
            .get(&self.case.path(&format!("secrets/{AUTHORITY}")))
            .unwrap();
        authorities(&secret["data"]["ca.crt"]).remove(0)
    }

    /// Waits until `caBundle` has the authority and no other, and the leaf is its.
    fn settled(&self) -> Vec<u8> {
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

    fn ask(&self, what: &str) {
        let patch = json!({"metadata": {"annotations": {"waypost.dev/rotate": what}}});
        self.case
            .admin
            .patch(&self.case.path(&format!("secrets/{SECRET}")), &patch)
            .unwrap();
    }

    fn holder(&self) -> String {
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
struct Replica<'a> {
    release: &'a Release<'a>,
    serving: Serving,
}

impl Replica<'_> {
    /// The Secret as it is now reaches it.
    fn sync(&self) {
        mount(self.serving.directory(), &self.release.secret());
    }

    /// The certificate that it serves, DER, by the authorities of the Secret that it has.
    fn served(&self) -> Option<Vec<u8>> {
        let client = Client::new(&self.serving.directory().path().join("tls/ca.crt"), Protocol::Http1);
        client
            .certificate(
                self.serving.webhook,
                &format!("waypost.{}.svc", self.release.case.namespace),
            )
            .ok()
    }

    fn is_ready(&self) -> bool {
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
fn authorities(field: &Value) -> Vec<Vec<u8>> {
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

#[test]
fn the_controller_makes_what_is_missing_and_puts_back_what_somebody_changed() {
    on_control_plane("ctl-makes", |case| {
        let release = Release::new(case);
        let controller = release.controller("");
        let authority = release.settled();
        assert_eq!(controller.metric("waypost_leader"), 1.0);
        assert_eq!(
            controller.admin("/readyz?verbose").status,
            200,
            "{}",
            controller.admin("/readyz?verbose").text()
        );
        let secret = release.secret();
        assert_eq!(secret["type"], "kubernetes.io/tls");
        assert!(
            secret["data"]["ca.key"].is_null(),
            "the authority's key is not for the replicas"
        );

        let changed = |bundle: Value| {
            // Strategic merge of `kubectl` finds the webhook by its name.
            let patch = json!({"webhooks": [{"name": "pods.waypost.dev", "clientConfig": {"caBundle": bundle}}]});
            case.kubectl(&[
                "patch",
                "mutatingwebhookconfiguration",
                &release.name,
                "--patch",
                &patch.to_string(),
            ])
            .exits(0);
        };
        for bundle in [
            Value::Null,
            json!(STANDARD.encode(crate::support::serving::authority())),
        ] {
            changed(bundle);
            assert_eq!(release.settled(), authority);
        }
        // Made anew, as after `helm uninstall && helm install`.
        case.admin.delete(&release.configuration()).unwrap();
        release.register();
        assert_eq!(release.settled(), authority);

        let before = secret["data"]["tls.crt"].clone();
        release.ask("leaf");
        let after = case.once("another leaf", &format!("secrets/{SECRET}"), |secret| {
            secret["data"]["tls.crt"] != before
        });
        assert!(after["metadata"]["annotations"]["waypost.dev/rotate"].is_null());
        assert_eq!(release.settled(), authority);
        case.admin.delete(&case.path(&format!("secrets/{SECRET}"))).unwrap();
        case.once("the Secret again", &format!("secrets/{SECRET}"), |secret| {
            secret["data"]["tls.crt"].is_string()
        });
        assert_eq!(release.settled(), authority);
    });
}

#[test]
fn helm_and_kubectl_apply_leave_the_bundle_alone() {
    on_control_plane("ctl-apply", |case| {
        let release = Release::new(case);
        let _controller = release.controller("");
        release.settled();
        let mut manifest = case.admin.get(&release.configuration()).unwrap();
        manifest["apiVersion"] = json!("admissionregistration.k8s.io/v1");
        manifest["kind"] = json!("MutatingWebhookConfiguration");
        manifest["metadata"] = json!({"name": release.name});
        manifest["webhooks"][0]["clientConfig"]
            .as_object_mut()
            .unwrap()
            .remove("caBundle");
        for args in [
            &[
                "apply",
                "--server-side",
                "--force-conflicts",
                "--field-manager=helm",
                "--filename=-",
            ][..],
            &["apply", "--filename=-"],
        ] {
            manifest["webhooks"][0]["timeoutSeconds"] = json!(args.len());
            let before = release.bundle();
            case.kubectl_with(args, &manifest.to_string()).exits(0);
            assert_eq!(release.bundle(), before, "{args:?}");
        }
    });
}

#[test]
fn of_two_controllers_one_works_and_the_other_goes_on_when_it_is_killed() {
    on_control_plane("ctl-two", |case| {
        let release = Release::new(case);
        let mut both = [release.controller(""), release.controller("")];
        release.settled();
        let leader = both
            .iter()
            .position(|controller| controller.metric("waypost_leader") == 1.0)
            .unwrap();
        assert_eq!(both[1 - leader].metric("waypost_leader"), 0.0);
        both[leader].signal("KILL");
        both[leader].ended();
        let other = &mut both[1 - leader];
        other.event("leading:");
        release.ask("ca");
        let before = release.authority();
        eventually("another authority", || (release.authority() != before).then_some(()));
        release.settled();
        // And one that is told to stop does not let the next one wait.
        assert_ne!(release.holder(), "");
        other.signal("TERM");
        assert!(other.ended().success());
        assert_eq!(release.holder(), "");
        let mut third = release.controller("");
        third.event("leading:");
    });
}

#[test]
fn a_rotation_that_is_killed_at_every_step_is_finished_and_the_replica_is_trusted_at_each() {
    on_control_plane("ctl-rotate", |case| {
        let release = Release::new(case);
        let mut controller = release.controller("");
        let old = release.settled();
        let replica = release.replica();
        eventually("the replica is ready", || replica.is_ready().then_some(()));
        let leaf = replica.served().unwrap();
        let trusted = || release.bundle().contains(&old);

        release.ask("ca");
        // One is killed as soon as the next authority is kept, one when it is trusted, one when its leaf is there.
        let steps: [(&str, &dyn Fn() -> bool); 3] = [
            ("an authority", &|| release.authority() != old),
            ("trusts 2 authorities", &|| release.bundle().len() == 2),
            ("a certificate", &|| {
                authorities(&release.secret()["data"]["ca.crt"]) != [old.clone()]
            }),
        ];
        for (what, done) in steps {
            eventually(what, || done().then_some(()));
            controller.signal("KILL");
            controller.ended();
            assert!(trusted(), "{what}");
            controller = release.controller("");
        }
        // The replica has the old leaf, so the old authority stays.
        controller.event("waiting for");
        assert!(trusted());
        assert_eq!(replica.served(), Some(leaf.clone()));
        assert!(
            controller
                .admin("/readyz?verbose")
                .text()
                .contains("[+]certificates degraded")
        );

        replica.sync();
        let new = release.settled();
        assert_ne!(new, old);
        let served = eventually("the new leaf", || replica.served().filter(|served| *served != leaf));
        assert_eq!(
            Some(served),
            authorities(&release.secret()["data"]["tls.crt"]).into_iter().next()
        );
        assert!(replica.is_ready());
    });
}

#[test]
fn short_lives_are_renewed_in_time_and_reach_a_replica_without_a_restart() {
    on_control_plane("ctl-renew", |case| {
        let release = Release::new(case);
        let controller = release.controller("certificates: {leaf_lifetime: 15s, ca_lifetime: 1000h}\n");
        release.settled();
        let replica = release.replica();
        let first = replica.served().unwrap();
        let expiry = replica.serving.metric("waypost_certificate_expiry_timestamp_seconds");
        let mut seen = vec![first];
        while seen.len() < 3 {
            let next = eventually("another leaf", || {
                replica.sync();
                replica.served().filter(|served| !seen.contains(served))
            });
            seen.push(next);
        }
        eventually("the expiry of the new one", || {
            (replica.serving.metric("waypost_certificate_expiry_timestamp_seconds") > expiry).then_some(())
        });
        assert_eq!(
            controller.metric("waypost_certificates_made_total{kind=\"authority\"}"),
            1.0
        );
    });
}

#[test]
fn a_replica_is_not_ready_before_it_is_trusted_and_stays_so_afterwards() {
    on_control_plane("ctl-ready", |case| {
        let release = Release::new(case);
        let mut controller = release.controller("");
        release.settled();
        controller.signal("TERM");
        controller.ended();
        case.admin.delete(&release.configuration()).unwrap();
        let replica = release.replica();
        let says = |text: &str| {
            eventually(text, || {
                replica
                    .serving
                    .admin("/readyz?verbose")
                    .text()
                    .contains(text)
                    .then_some(())
            });
        };
        says("[-]ca-bundle failed since");
        says("so nobody asks");
        release.register();
        says("does not trust the certificate");
        assert!(!replica.is_ready());
        let _controller = release.controller("");
        eventually("it is ready", || replica.is_ready().then_some(()));
        assert!(
            replica
                .serving
                .admin("/readyz?verbose")
                .text()
                .contains("[+]ca-bundle ok")
        );
    });
}

#[test]
fn what_is_missing_is_said() {
    on_control_plane("ctl-says", |case| {
        let kubeconfig = case.cluster.kubeconfig().to_str().unwrap();
        let directory = Directory::new();
        directory
            .run(["webhook", "--kubeconfig", kubeconfig, "--tls-dir", "tls"])
            .exits(2)
            .complains("there is no tls.crt and no tls.key in `tls`: `waypost webhook` is given its certificate");
        directory
            .run([
                "controller",
                "--kubeconfig",
                kubeconfig,
                "--certificate-secret",
                "s",
                "--service",
                "s",
            ])
            .exits(2)
            .complains("give `certificates.service` (--service) and `certificates.webhook_configuration`");
        directory
            .run(["controller"])
            .exits(2)
            .complains("no ServiceAccount of a Pod is found here");
    });
}
