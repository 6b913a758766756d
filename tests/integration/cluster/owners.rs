//! What the owner of a Pod is told by Events: nobody sees the warnings that a ReplicaSet gets.

use serde_json::json;

use super::controller::Release;
use super::{on_control_plane, policy};
use crate::support::cluster::webhook::Registration;
use crate::support::eventually;
use crate::support::program::Directory;
use crate::support::serving::{PORTS, Serving};

#[test]
fn a_replica_set_whose_pods_are_denied_or_warned_of_is_told_once() {
    on_control_plane("events", |case| {
        let release = Release::new(case);
        let directory = Directory::new();
        release.webhook_kubeconfig(&directory);
        directory.write(
            "policies.d/test.yaml",
            policy(
                "{name: no, match: {images: [evil.test/**]}, deny: {message: use the mirror}}
                 {name: hub, match: {images: [docker.io/**]}, rewrite: {prefix: mirror.test}, warn: [mutableTag]}",
            ),
        );
        waypost::tls::ensure_local(&directory.path().join("certs/local"), &[]).unwrap();
        let command = directory.command(["webhook", "--kubeconfig", "kubeconfig"].iter().chain(&PORTS[..4]));
        let webhook = Serving::spawn(directory, command);
        let _registration = Registration::of(case, &webhook, &[]);
        eventually("the webhook is ready", || {
            (webhook.admin("/readyz").status == 200).then_some(())
        });

        for (name, image) in [("denied", "evil.test/a:1"), ("warned", "alpine")] {
            let object = json!({
                "metadata": {"name": name},
                "spec": {
                    "replicas": 1,
                    "selector": {"matchLabels": {"app": name}},
                    "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": image}]}},
                },
            });
            // The API server learns of the registration by a watch: until then Pods are made as they are, and nobody is told.
            eventually("an Event", || {
                let _ = case
                    .admin
                    .delete(&case.path(&format!("replicasets/{name}?propagationPolicy=Background")));
                let made = case.create("replicasets", &object).ok()?;
                let uid = made["metadata"]["uid"].as_str().unwrap().to_owned();
                (0..100).find_map(|_| {
                    std::thread::sleep(std::time::Duration::from_millis(50));
                    let events = case.admin.get(&case.path("events")).unwrap();
                    let ours = events["items"].as_array().unwrap().iter();
                    let ours: Vec<_> = ours
                        .filter(|event| event["regarding"]["uid"] == uid.as_str())
                        .filter(|event| event["reportingController"] == "waypost.dev/webhook")
                        .cloned()
                        .collect();
                    let [event] = &*ours else {
                        assert!(ours.is_empty(), "told twice: {ours:#?}");
                        return None;
                    };
                    let note = event["note"].as_str().unwrap();
                    let (reason, text) = match name {
                        "denied" => (
                            "ImageDenied",
                            "use the mirror (container \"c\" (image \"evil.test/a:1\"), rule test/no)",
                        ),
                        _ => ("ImageWarning", "has no tag"),
                    };
                    assert_eq!((&event["reason"], &event["type"]), (&json!(reason), &json!("Warning")));
                    assert!(note.contains(text), "{note}");
                    Some(())
                })
            });
        }
        // A ReplicaSet tries again and again.
        eventually("another attempt", || {
            (webhook.metric("waypost_events_total{result=\"repeated\"}") > 0.0).then_some(())
        });
        assert_eq!(webhook.metric("waypost_events_total{result=\"failed\"}"), 0.0);
    });
}
