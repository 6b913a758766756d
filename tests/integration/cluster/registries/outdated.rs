//! `waypost outdated` by real objects. No node runs the Pods: what one would say of them is written into their status.

use jiff::Timestamp;
use serde_json::{Value, json};
use waypost::cluster::{Access, pods};
use waypost::pushes::{Event, Image, Origin, What};
use waypost::store::{Change, Pushes as _};

use super::{Home, draft, on_a_cluster_with_registries, runtime};
use crate::support::cluster::case::Case;
use crate::support::eventually;
use crate::support::program::{Directory, Finished};

const IMAGE: &str = "docker.io/myorg/app:1";
const SOURCE: &str = "image.waypost.dev/app";

fn digest(of: char) -> String {
    format!("sha256:{}", of.to_string().repeat(64))
}

fn template(annotation: &str) -> Value {
    let target = format!("a.io/{IMAGE}");
    json!({"metadata": {"labels": {"app": "web"}, "annotations": {SOURCE: annotation}},
        "spec": {"containers": [{"name": "app", "image": target}]}})
}

/// What a node would say.
fn runs(case: &Case<'_>, pod: &str, of: char) {
    let id = format!("a.io/docker.io/myorg/app@{}", digest(of));
    let status = json!({"name": "app", "image": "x", "imageID": id, "containerID": "containerd://1", "ready": true, "restartCount": 0,
        "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}});
    let path = format!("{}/{pod}/status", case.path("pods"));
    case.admin
        .patch(
            &path,
            &json!({"status": {"phase": "Running", "containerStatuses": [status]}}),
        )
        .unwrap();
}

fn outdated(case: &Case<'_>, more: &[&str]) -> Finished {
    let kubeconfig = case.cluster.kubeconfig().display().to_string();
    let args = ["outdated", "--kubeconfig", &kubeconfig, "-n", &case.namespace];
    Directory::new().run(args.iter().chain(more))
}

#[test]
fn a_deployment_whose_pods_run_something_older_is_found_until_they_run_the_latest_push() {
    on_a_cluster_with_registries("outdated", |case| {
        let home = Home::open(case);
        home.create("sandbox", draft("a.io", Change::Keep)).unwrap();
        let event = Event {
            image: Image::parse(IMAGE).unwrap(),
            registry: "sandbox".into(),
            at: Timestamp::now(),
            origin: Origin::Report,
            what: What::Succeeded {
                target: format!("a.io/{IMAGE}").into(),
                digest: digest('a').into(),
            },
        };
        home.runtime.block_on(home.store.happened(vec![event])).unwrap();
        let deployment = json!({"metadata": {"name": "web"}, "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}},
            "template": template("myorg/app:1")}});
        case.create("deployments", &deployment).unwrap();
        let names: Vec<String> = eventually("two Pods", || {
            let list = case.admin.get(&case.path("pods")).unwrap();
            let pods = list["items"].as_array().unwrap().iter();
            let names: Vec<_> = pods
                .map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned())
                .collect();
            (names.len() == 2).then_some(names)
        });
        let mut alone = template(&format!("{IMAGE}@{}", digest('f')));
        alone["metadata"]["name"] = json!("pinned");
        case.create("pods", &alone).unwrap();
        runs(case, "pinned", 'f');

        // Nothing runs yet.
        outdated(case, &[]).exits(0);
        names.iter().for_each(|name| runs(case, name, 'f'));
        let found = outdated(case, &[]).exits(1);
        let table = found.out();
        assert!(
            table.contains("Deployment/web") && table.contains("in sandbox"),
            "{table}"
        );
        let command = format!("\n\nkubectl rollout restart deployment/web -n {}\n", case.namespace);
        assert!(table.ends_with(&command) && !table.contains("pinned"), "{table}");
        let json = outdated(case, &["-o", "json"]).exits(1).json();
        assert_eq!(
            (&json["items"][0]["pods"], json["items"].as_array().unwrap().len()),
            (&json!(2), 1)
        );
        assert_eq!(json["items"][0]["latest"]["digest"], digest('a'));

        // All of them are there, whoever asks by pages.
        let access = Access::Kubeconfig(case.cluster.kubeconfig().to_owned());
        let images = runtime().block_on(async { pods::images(&access.client().await.unwrap()).await.unwrap() });
        assert!(
            images.contains("myorg/app:1") && images.contains(&format!("a.io/{IMAGE}")),
            "{images:?}"
        );

        runs(case, &names[0], 'a');
        let json = outdated(case, &["-o", "json"]).exits(1).json();
        assert_eq!(json["items"][0]["pods"], 1);
        runs(case, &names[1], 'a');
        assert_eq!(outdated(case, &[]).exits(0).out(), "");
    });
}
