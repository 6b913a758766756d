//! Namespaces and their labels: a new one is known before its first Pod is decided on.

use std::time::Instant;

use serde_json::{Value, json};

use super::{on_control_plane, policy, through};
use crate::support::cluster::case::{NAMESPACES, images_of, path, pod};
use crate::support::cluster::kubernetes::send;
use crate::support::cluster::webhook::Webhook;
use crate::support::cluster::{Cluster, Size};
use crate::support::eventually;

#[test]
fn the_label_that_opts_out_stops_rewriting_on_a_pod_and_on_a_namespace() {
    on_control_plane("opt-out", |case| {
        let _waypost = case.waypost(&through("mirror.test"));
        let mut out = pod("pod", "alpine");
        out["metadata"]["labels"] = json!({"waypost.dev/rewrite": "disabled"});
        case.accepts(&out);
        case.label_namespace(&case.namespace, &json!({"waypost.dev/rewrite": "disabled"}));
        eventually("the namespace's label is heeded", || {
            let asked = case.dry_run(&pod("p", "alpine")).unwrap();
            (images_of(&asked) == ["alpine"]).then_some(())
        });
        case.label_namespace(&case.namespace, &json!({"waypost.dev/rewrite": null}));
        eventually("the namespace's label is gone", || {
            let asked = case.dry_run(&pod("p", "alpine")).unwrap();
            (images_of(&asked) == ["mirror.test/docker.io/library/alpine"]).then_some(())
        });
    });
}

#[test]
fn a_configuration_that_forbids_opting_out_rewrites_all_the_same() {
    on_control_plane("no-opt-out", |case| {
        let _waypost = Webhook::start(case, &through("mirror.test"), "opt_out: {allowed: false}", &[]);
        let mut out = pod("pod", "alpine");
        out["metadata"]["labels"] = json!({"waypost.dev/rewrite": "disabled"});
        case.rewrites(&out, &["mirror.test/docker.io/library/alpine"]);
    });
}

#[test]
fn selectors_choose_by_the_labels_of_namespaces_and_of_pods() {
    on_control_plane("selectors", |case| {
        let _waypost = case.waypost(&policy(
            "{name: team, match: {namespaceSelector: {matchLabels: {team: a}}}, rewrite: {prefix: by-namespace.test}}
             {name: gpu, match: {podSelector: {matchExpressions: [{key: gpu, operator: Exists}]}}, rewrite: {prefix: by-pod.test}}",
        ));
        let team = case.another_namespace(&json!({"team": "a"}));
        let in_team = case.admin.post(&path(&team, "pods"), &pod("p", "alpine")).unwrap();
        assert_eq!(images_of(&in_team), ["by-namespace.test/docker.io/library/alpine"]);
        let mut gpu = pod("gpu", "alpine");
        gpu["metadata"]["labels"] = json!({"gpu": "yes"});
        case.rewrites(&gpu, &["by-pod.test/docker.io/library/alpine"]);
        case.accepts(&pod("neither", "alpine"));
    });
}

#[test]
fn a_thousand_pods_each_made_right_after_their_namespace_are_decided_on_with_its_labels() {
    on_control_plane("burst", |case| {
        let rules = policy(
            "{name: odd, match: {namespaceSelector: {matchLabels: {parity: odd}}}, rewrite: {prefix: odd.test}}
             {name: even, match: {namespaceSelector: {matchLabels: {parity: even}}}, rewrite: {prefix: even.test}}",
        );
        // Patient: what is measured is Waypost's wait, not the API server's.
        let waypost = Webhook::start(case, &rules, "", &["--timeout", "30"]);
        let began = Instant::now();
        // As Helm and Binder do it: nobody waits between the namespace and what is put into it. A few at a time, as many tools are.
        let tasks = (0..TOOLS).map(|tool| {
            let client = case.admin.client();
            let work: Vec<_> = (tool..PODS)
                .step_by(TOOLS)
                .map(|n| {
                    let parity = if n % 2 == 0 { "even" } else { "odd" };
                    let name = format!("{}-n{n}", case.namespace);
                    let namespace = case.namespace_object(&name, &json!({"parity": parity}));
                    (name, namespace, format!("{parity}.test/docker.io/library/alpine"))
                })
                .collect();
            async move {
                let post = async |path: String, object: Value| {
                    send(client.clone(), "POST", &path, "application/json", Some(&object)).await
                };
                let mut wrong = Vec::new();
                for (name, namespace, expected) in work {
                    post(NAMESPACES.to_owned(), namespace).await.unwrap();
                    // Made by hand, so that the Pod need not wait for the controller that does it.
                    match post(path(&name, "serviceaccounts"), json!({"metadata": {"name": "default"}})).await {
                        Err(refused) if refused.code != 409 => panic!("{refused:?}"),
                        _ => {}
                    }
                    let stored = post(path(&name, "pods"), pod("p", "alpine")).await.unwrap();
                    if images_of(&stored) != [expected] {
                        wrong.push((name, images_of(&stored)));
                    }
                }
                wrong
            }
        });
        let wrong: Vec<_> = case
            .admin
            .concurrently(tasks.collect::<Vec<_>>())
            .into_iter()
            .flatten()
            .collect();
        println!(
            "{PODS} namespaces and Pods in {:.1?}, {} not known in time",
            began.elapsed(),
            wrong.len()
        );
        // On a machine that stands still for 250 ms one may be too late; then it is counted as that, and nothing is hidden.
        let metrics = waypost.admin("/metrics").text();
        let unknown = metrics
            .lines()
            .filter(|line| line.contains("outcome=\"namespace_unknown\""))
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum::<f64>();
        assert_eq!(wrong.len() as f64, unknown, "{wrong:?}");
        assert!(wrong.len() < PODS / 20, "{wrong:?}");
        let deletions = (0..PODS).map(|n| {
            let client = case.admin.client();
            let path = format!("{NAMESPACES}/{}-n{n}", case.namespace);
            async move { send(client, "DELETE", &path, "application/json", None).await.map(drop) }
        });
        drop(case.admin.concurrently(deletions.collect::<Vec<_>>()));
    });
}

const PODS: usize = 1000;
const TOOLS: usize = 8;

#[test]
fn labels_are_known_again_after_the_api_server_was_away() {
    // A cluster of its own: others would notice.
    Cluster::with(Size::ControlPlane, &[]).unwrap().test("away", |case| {
        let waypost = case.waypost(&policy(
            "{name: team, match: {namespaceSelector: {matchLabels: {team: a}}}, rewrite: {prefix: team.test}}",
        ));
        case.accepts(&pod("before", "alpine"));
        case.cluster.kill("kube-apiserver");
        eventually("the API server is back", || case.admin.get("/readyz").ok());
        case.label_namespace(&case.namespace, &json!({"team": "a"}));
        eventually("the label is known", || {
            let asked = case.dry_run(&pod("after", "alpine")).ok()?;
            (images_of(&asked) == ["team.test/docker.io/library/alpine"]).then_some(())
        });
        eventually("nothing is wrong any more", || {
            waypost
                .admin("/readyz?verbose")
                .text()
                .contains("[+]namespaces ok")
                .then_some(())
        });
    });
}
