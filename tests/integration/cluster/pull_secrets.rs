//! Managed pull secrets in a real API server, kept with the rights and under the policies of the chart and no others.

mod keeper;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::on_control_plane;
use crate::support::cluster::case::{CASE, Case, NAMESPACES, path, pod};
use crate::support::cluster::kubernetes::send;
use crate::support::cluster::{Cluster, Size};
use crate::support::eventually;
use crate::support::random::Random;
use keeper::{Chart, auths};

#[test]
fn a_namespace_has_what_it_may_use_for_as_long_as_it_may_and_the_secret_stays_the_same_one() {
    on_control_plane("pull", |case| {
        let chart = Chart::install(case);
        chart.register("served", "served.io", Value::Null, "p1");
        chart.register(
            "team",
            "team.io/a",
            json!({"selector": {"matchLabels": {"team": "a"}}}),
            "p2",
        );
        let keeper = chart.keep();

        let started = Instant::now();
        let namespace = case.another_namespace(&json!({"team": "a"}));
        let secret = chart.has(&namespace, &[("served.io", "p1"), ("team.io/a/", "p2")]);
        eprintln!(
            "a new namespace had its pull secret after {:?} at most",
            started.elapsed()
        );
        assert_eq!(secret["type"], "kubernetes.io/dockerconfigjson");
        let uid = &secret["metadata"]["uid"];
        let same = |secret: Value| assert_eq!(&secret["metadata"]["uid"], uid, "{secret:#}");

        // A password changes.
        chart.register(
            "team",
            "team.io/a",
            json!({"selector": {"matchLabels": {"team": "a"}}}),
            "p3",
        );
        same(chart.has(&namespace, &[("served.io", "p1"), ("team.io/a/", "p3")]));
        // The namespace is another team's, and this one's again.
        case.label_namespace(&namespace, &json!({"team": "b"}));
        same(chart.has(&namespace, &[("served.io", "p1")]));
        case.label_namespace(&namespace, &json!({"team": "a", "waypost.dev/rewrite": "disabled"}));
        same(chart.has(&namespace, &[("served.io", "p1"), ("team.io/a/", "p3")]));
        // The registry is for others.
        chart.register("served", "served.io", json!({"names": ["nobody"]}), "p1");
        same(chart.has(&namespace, &[("team.io/a/", "p3")]));
        chart.register("served", "served.io", Value::Null, "p1");
        same(chart.has(&namespace, &[("served.io", "p1"), ("team.io/a/", "p3")]));

        // Somebody deletes it.
        case.admin.delete(&chart.path(&namespace)).unwrap();
        let restored = chart.has(&namespace, &[("served.io", "p1"), ("team.io/a/", "p3")]);
        assert_ne!(&restored["metadata"]["uid"], uid);

        // What is right is left alone by the next one.
        drop(keeper);
        let keeper = chart.keep();
        let probe = case.another_namespace(&json!({}));
        chart.has(&probe, &[("served.io", "p1")]);
        assert_eq!(case.admin.get(&chart.path(&namespace)).unwrap(), restored);
        let writes = |result: &str| keeper.metric(&format!("waypost_pull_secret_writes_total{{result=\"{result}\"}}"));
        assert_eq!(
            (writes("created"), writes("updated"), writes("failed")),
            (1.0, 0.0, 0.0)
        );

        // Nobody asks the webhook about Pods of this one.
        assert!(case.admin.get(&chart.path("kube-system")).is_err());
        case.label_namespace(&probe, &json!({CASE: "none"}));
        chart.has_none(&probe);

        // A registry is deleted, then its credential.
        chart.delete("team");
        chart.has(&namespace, &[("served.io", "p1")]);
        chart.clear("served", "served.io");
        chart.has_none(&namespace);
        eventually("all is well", || {
            keeper.health().contains("[+]pull-secrets ok").then_some(())
        });
        assert_eq!(keeper.metric("waypost_pull_secrets{state=\"present\"}"), 0.0);
    });
}

#[test]
fn somebody_elses_secret_of_the_name_stays_as_it_is_and_they_are_told() {
    on_control_plane("foreign", |case| {
        let chart = Chart::new(case);
        // Ours of another type, as nobody can make it where the policies are.
        let broken = case.another_namespace(&json!({}));
        let unfit = json!({
            "metadata": {"name": chart.secret, "labels": {
                "app.kubernetes.io/managed-by": "waypost", "waypost.dev/pull-secret": "true", "waypost.dev/kept-by": chart.release,
            }},
            "type": "Opaque",
        });
        case.admin.post(&path(&broken, "secrets"), &unfit).unwrap();
        chart.apply();
        // The release's own is not served.
        let own = case.another_namespace(&json!({}));
        let theirs = json!({"metadata": {"name": chart.secret}, "stringData": {"a": "b"}});
        let foreign = case.admin.post(&path(&own, "secrets"), &theirs).unwrap();
        chart.register("served", "served.io", Value::Null, "p1");
        let keeper = chart.keep();
        assert_eq!(
            chart.has(&broken, &[("served.io", "p1")])["type"],
            "kubernetes.io/dockerconfigjson"
        );
        let event = eventually("an Event", || {
            let events = case.admin.get(&path(&own, "events")).ok()?;
            let of = |event: &&Value| event["reason"] == "NotManaged";
            events["items"].as_array()?.iter().find(of).cloned()
        });
        assert_eq!(event["regarding"]["uid"], foreign["metadata"]["uid"]);
        eventually("it is said", || {
            let said = keeper.health();
            said.contains("in 1 namespaces somebody else's Secret has the name")
                .then_some(())
        });
        assert_eq!(keeper.metric("waypost_pull_secrets{state=\"foreign\"}"), 1.0);
        // The next change of the registry is written, and not there.
        chart.register("served", "served.io", Value::Null, "p2");
        chart.has(&broken, &[("served.io", "p2")]);
        assert_eq!(case.admin.get(&chart.path(&own)).unwrap(), foreign);
        // Once it is out of the way, ours is made.
        case.admin.delete(&chart.path(&own)).unwrap();
        chart.has(&own, &[("served.io", "p2")]);
    });
}

#[test]
fn the_controller_may_write_these_secrets_alone_and_nobody_else_may() {
    on_control_plane("rights", |case| {
        let chart = Chart::install(case);
        let controller = chart.controller();
        let other = case.another_namespace(&json!({}));
        let secret = |name: &str, kind: &str, labels: Value| {
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "labels": labels}, "type": kind,
                "data": {".dockerconfigjson": "eyJhdXRocyI6e319"}})
        };
        let marks = || json!({"app.kubernetes.io/managed-by": "waypost", "waypost.dev/pull-secret": "true"});
        const FITS: &str = "kubernetes.io/dockerconfigjson";
        case.admin
            .post(&path(&other, "secrets"), &secret("theirs", FITS, json!({})))
            .unwrap();
        let denied = |answer: Result<Value, crate::support::cluster::kubernetes::Refused>, text: &str| {
            let refused = answer.unwrap_err();
            assert!(refused.message.contains(text), "no {text:?} in {refused:?}");
        };
        // By RBAC.
        denied(controller.get("/api/v1/secrets"), "cannot list");
        denied(controller.get(&path(&other, "secrets")), "cannot list");
        denied(controller.get(&path(&other, "secrets/theirs")), "cannot get");
        let of_the_name = format!("/api/v1/secrets?fieldSelector=metadata.name%3D{}", chart.secret);
        controller.get(&of_the_name).unwrap();
        denied(
            controller.apply(&path(&other, "secrets/another"), &secret("another", FITS, marks())),
            "cannot patch",
        );
        denied(
            controller.post(&path(&other, "secrets"), &secret(&chart.secret, FITS, marks())),
            "cannot create",
        );
        // By policy.
        let ours = chart.path(&other);
        // An API server takes a moment to know of policies.
        eventually("the policies are in force", || {
            let answer = controller.apply(&format!("{ours}?dryRun=All"), &secret(&chart.secret, "Opaque", marks()));
            let path = format!("{}?dryRun=All", path(&other, "secrets"));
            let marked = case.admin.post(&path, &secret(&chart.secret, FITS, marks()));
            (answer.is_err() && marked.is_err()).then_some(())
        });
        denied(
            controller.apply(&ours, &secret(&chart.secret, "Opaque", marks())),
            "is of the type",
        );
        denied(
            controller.apply(&ours, &secret(&chart.secret, FITS, json!({}))),
            "has its marks",
        );
        controller.apply(&ours, &secret(&chart.secret, FITS, marks())).unwrap();
        denied(
            case.admin.patch(&ours, &json!({"data": {".dockerconfigjson": "e30="}})),
            "leave it out of Secrets of your own",
        );
        for label in ["waypost.dev/pull-secret", "app.kubernetes.io/managed-by"] {
            denied(
                case.admin.patch(&ours, &json!({"metadata": {"labels": {label: null}}})),
                "leave it out of Secrets of your own",
            );
        }
        case.admin
            .patch(&ours, &json!({"metadata": {"annotations": {"a": "b"}}}))
            .unwrap();
        case.admin.delete(&ours).unwrap();
        denied(
            case.admin
                .post(&path(&other, "secrets"), &secret(&chart.secret, FITS, marks())),
            "leave it out of Secrets of your own",
        );
        case.admin
            .post(&path(&other, "secrets"), &secret(&chart.secret, FITS, json!({})))
            .unwrap();
        denied(
            controller.apply(&ours, &secret(&chart.secret, FITS, marks())),
            "changes and deletes no",
        );
        denied(controller.delete(&ours), "changes and deletes no");
    });
}

#[test]
fn whoever_relabels_and_deletes_while_it_is_written_no_credential_is_left_behind() {
    on_control_plane("race", |case| {
        let chart = Chart::install(case);
        let teams = ["a", "b"];
        let password = |team: &str, edition: usize| format!("{team}-{edition}");
        let register = |team: &str, edition: usize| {
            let selector = json!({"selector": {"matchLabels": {"team": team}}});
            chart.register(team, &format!("{team}.io"), selector, &password(team, edition));
        };
        let mut editions = BTreeMap::from(teams.map(|team| (team, 0)));
        teams.iter().for_each(|team| register(team, 0));
        let keeper = chart.keep();
        let namespaces: Vec<_> = (0..4).map(|_| case.another_namespace(&json!({"team": "a"}))).collect();
        let mut random = Random::new(7);
        for round in 0..10 {
            let mut labels: Vec<Value> = vec![json!("none"); namespaces.len()];
            for _ in 0..40 {
                let which = random.below(namespaces.len());
                match random.below(8) {
                    0 => {
                        let _ = case.admin.delete(&chart.path(&namespaces[which]));
                    }
                    1 => {
                        let team = teams[random.below(2)];
                        *editions.get_mut(team).unwrap() += 1;
                        register(team, editions[team]);
                    }
                    _ => {
                        labels[which] = [json!("a"), json!("b"), Value::Null][random.below(3)].clone();
                        case.label_namespace(&namespaces[which], &json!({"team": labels[which]}));
                    }
                }
            }
            for (namespace, label) in namespaces.iter().zip(&labels) {
                if label == "none" {
                    case.label_namespace(namespace, &json!({"team": null}));
                }
            }
            for (namespace, label) in namespaces.iter().zip(&labels) {
                match label.as_str().filter(|label| teams.contains(label)) {
                    Some(team) => {
                        let key = format!("{team}.io");
                        chart.has(namespace, &[(&key, &password(team, editions[team]))]);
                    }
                    None => chart.has_none(namespace),
                }
            }
            eprintln!("round {round}: as it should be");
        }
        // And so it stays.
        assert_eq!(keeper.metric("waypost_pull_secrets{state=\"failing\"}"), 0.0);
    });
}

#[test]
fn a_thousand_namespaces_have_the_credentials_of_three_registries_within_a_minute() {
    // A cluster of its own: so many namespaces are slow to go.
    Cluster::with(Size::ControlPlane, &[]).unwrap().test("thousand", |case| {
        let chart = Chart::install(case);
        let all: Vec<_> = (0..1_000).map(|number| format!("of-many-{number}")).collect();
        let made = all.iter().map(|name| {
            let (client, object) = (case.admin.client(), case.namespace_object(name, &json!({})));
            async move { send(client, "POST", NAMESPACES, "application/json", Some(&object)).await }
        });
        for answer in case.admin.concurrently(made) {
            answer.unwrap();
        }
        let keeper = chart.keep();
        // A first one, so that everything else is connected, listed and idle.
        chart.register("r0", "r0.io", json!({"names": [case.namespace]}), "p");
        chart.has(&case.namespace, &[("r0.io", "p")]);

        let started = Instant::now();
        for registry in 0..2 {
            chart.register(&format!("r{registry}"), &format!("r{registry}.io"), Value::Null, "p");
        }
        chart.issue("r2", ACCOUNT, "first");
        // While they are written, a new namespace does not wait for them.
        let new = Instant::now();
        let late = case.another_namespace(&json!({}));
        eventually("that of the new one", || case.admin.get(&chart.path(&late)).ok());
        let late = new.elapsed();
        let of_the_name = format!("/api/v1/secrets?fieldSelector=metadata.name%3D{}", chart.secret);
        eventually("all of them", || {
            let secrets = case.admin.get(&of_the_name).ok()?;
            let items = secrets["items"].as_array()?;
            let complete = items.iter().filter(|secret| auths(secret).len() == 3).count();
            (complete == all.len() + 1).then_some(())
        });
        let took = started.elapsed();
        let writes: f64 = ["created", "updated", "conflict", "failed"]
            .iter()
            .map(|result| keeper.metric(&format!("waypost_pull_secret_writes_total{{result=\"{result}\"}}")))
            .sum();
        eprintln!(
            "1,000 namespaces, 3 registries: written after {took:?} by {writes} writes; a namespace made meanwhile had its Secret after {late:?}"
        );
        assert!(took < Duration::from_secs(60), "{took:?}");

        // A password of one of them, and another token of one whose tokens are issued.
        let everywhere = |what: &str, started: Instant, key: &str, expected: &str| {
            eventually("all of them again", || {
                let secrets = case.admin.get(&of_the_name).ok()?;
                let items = secrets["items"].as_array()?;
                let complete = items.iter().filter(|secret| auths(secret).get(key).is_some_and(|password| password == expected));
                (complete.count() == all.len() + 1).then_some(())
            });
            let took = started.elapsed();
            eprintln!("{what} was everywhere after {took:?}");
            assert!(took < Duration::from_secs(60), "{what}: {took:?}");
        };
        let started = Instant::now();
        chart.register("r1", "r1.io", Value::Null, "q");
        everywhere("a changed password", started, "r1.io", "q");
        let started = Instant::now();
        chart.issue("r2", ACCOUNT, "second");
        let host = format!("{ACCOUNT}.dkr.ecr.eu-central-1.amazonaws.com");
        everywhere("a token that was renewed", started, &host, "second");
    });
}

/// Of Amazon's.
const ACCOUNT: &str = "123456789012";

/// What docs/registries.md says of them.
#[test]
fn a_service_account_that_enforces_mountable_secrets_has_to_list_it() {
    on_control_plane("mountable", |case| {
        let account =
            json!({"metadata": {"name": "strict", "annotations": {"kubernetes.io/enforce-mountable-secrets": "true"}}});
        case.admin.post(&case.path("serviceaccounts"), &account).unwrap();
        let mut object = pod("p", "r.io/app");
        object["spec"]["serviceAccountName"] = json!("strict");
        object["spec"]["imagePullSecrets"] = json!([{"name": "waypost-pull"}]);
        case.rejects(
            &object,
            "imagePullSecrets[0].name=\"waypost-pull\" is not allowed because service account strict does not reference that imagePullSecret",
        );
        let listed = json!({"imagePullSecrets": [{"name": "waypost-pull"}]});
        case.admin.patch(&case.path("serviceaccounts/strict"), &listed).unwrap();
        eventually("the API server knows", || case.create("pods", &object).ok());
    });
}

#[test]
fn a_cleanup_takes_ours_and_nobody_elses() {
    on_control_plane("cleanup", |case| {
        let chart = Chart::install(case);
        chart.register("served", "served.io", Value::Null, "p1");
        let theirs = case.another_namespace(&json!({}));
        let object = json!({"metadata": {"name": chart.secret}, "stringData": {"a": "b"}});
        case.admin.post(&path(&theirs, "secrets"), &object).unwrap();
        let keeper = chart.keep();
        let namespaces: Vec<_> = (0..3).map(|_| case.another_namespace(&json!({}))).collect();
        for namespace in &namespaces {
            chart.has(namespace, &[("served.io", "p1")]);
        }
        drop(keeper);
        cleanup(case, &chart.secret);
        for namespace in &namespaces {
            chart.has_none(namespace);
        }
        case.admin.get(&chart.path(&theirs)).unwrap();
        cleanup(case, &chart.secret);
    });
}

fn cleanup(case: &Case<'_>, name: &str) {
    let directory = crate::support::program::Directory::new();
    let kubeconfig = case.cluster.kubeconfig().to_str().unwrap();
    directory
        .run([
            "cleanup",
            "--pull-secrets",
            "--pull-secret",
            name,
            "--kubeconfig",
            kubeconfig,
        ])
        .exits(0);
}
