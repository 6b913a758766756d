//! The controller as a process, with the rights that the chart gives it and no others, on a real API server.

mod release;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::on_control_plane;
use crate::support::eventually;
use crate::support::program::Directory;
pub(super) use release::Release;
use release::{AUTHORITY, SECRET, authorities};

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
        let leader = eventually("one leads", || {
            both.iter()
                .position(|controller| controller.metric("waypost_leader") == 1.0)
        });
        assert_eq!(both[1 - leader].metric("waypost_leader"), 0.0);
        both[leader].signal("KILL");
        both[leader].ended();
        let other = &mut both[1 - leader];
        other.event("leading:");
        let before = release.authority();
        release.ask("ca");
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

#[test]
fn what_it_makes_goes_with_its_deployment() {
    on_control_plane("ctl-owned", |case| {
        let release = Release::new(case);
        let template = super::template("registry.invalid/none:1");
        let deployment = json!({
            "metadata": {"name": "waypost-controller"},
            "spec": {"replicas": 0, "selector": {"matchLabels": template["metadata"]["labels"]}, "template": template},
        });
        let uid = case.create("deployments", &deployment).unwrap()["metadata"]["uid"].clone();
        let mut controller = release.controller("");
        release.settled();
        let objects = [
            format!("secrets/{SECRET}"),
            format!("secrets/{AUTHORITY}"),
            "leases/waypost-controller".to_owned(),
        ];
        for object in &objects {
            let object = case.admin.get(&case.path(object)).unwrap();
            assert_eq!(object["metadata"]["ownerReferences"][0]["uid"], uid, "{object:#}");
        }
        controller.signal("TERM");
        controller.ended();
        case.admin.delete(&case.path("deployments/waypost-controller")).unwrap();
        for object in &objects {
            eventually("the end of what is owned", || {
                case.admin
                    .get(&case.path(object))
                    .err()
                    .filter(|refused| refused.code == 404)
            });
        }
    });
}
