//! Registries of Google's and Amazon's kind, whose tokens live for a minute: Pods pull with them, and the keys that they are issued by are
//! found nowhere but where they were put.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::{Value, json};
use waypost_issuers::{Amazon, Counts, Registry as Door, Verdict};

use super::installing::{CHART, Helm};
use super::registries::Api;
use super::running;
use crate::support::cluster::case::{Case, path, pod};
use crate::support::cluster::{Cluster, Size};
use crate::support::eventually;
use crate::support::issuers::{Guarded, Pulled, nobodys_key, pulls_with, pulls_with_now};
use crate::support::leaks::Leaks;
use crate::support::program::Directory;

/// What Pods reach the node by.
const NODE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 77, 1));

const REGION: &str = "eu-central-1";

#[test]
fn pods_pull_with_tokens_of_a_minute_and_the_keys_are_nowhere_but_at_home() {
    // A cluster of its own: what is looked for everywhere is in other tests' Secrets, too.
    Cluster::with(Size::Node, &[]).unwrap().test("tokens", |case| {
        let guarded = Guarded::start(case, NODE);
        let google = guarded.google(NODE);
        let amazon = Amazon::start(NODE, REGION, &guarded.tokens);
        let another = Door::start(NODE, case.cluster.registry().host.parse().unwrap(), &guarded.tokens);
        let hosts = [&guarded.door, &another].map(|door| format!("127.0.0.1:{}", door.address().port()));
        let user = amazon.user("robot");
        let variable = |name: &str| json!({"name": name, "value": amazon.origin()});
        let values = json!({
            "issuers": {"google": {"trusted": [google.origin()]}},
            "controller": {"env": [variable("AWS_ENDPOINT_URL_ECR"), variable("AWS_ENDPOINT_URL_STS")]},
            "registries": {
                "google": {
                    "location": "gcr", "hostname": hosts[0], "endpoint": format!("http://{}", guarded.door.address()),
                    "keyJson": google.key("waypost@stand-in.iam.gserviceaccount.com", nobodys_key()),
                    "namespaces": {"names": [case.namespace]},
                },
                "amazon": {
                    "location": "ecr", "hostname": hosts[1], "endpoint": format!("http://{}", another.address()),
                    "region": REGION, "accessKeyId": user.id, "secretAccessKey": user.secret,
                    "namespaces": {"names": [case.namespace]},
                },
            },
        });
        let directory = Directory::new();
        let file = directory.write("values.json", values.to_string());
        let helm = Helm::new(case);
        let values = format!("--values={}", file.display());
        helm.run(&["install", "waypost", CHART, "--wait", "--timeout=100s", &values]);

        let pull = |name: &str| {
            for (index, host) in hosts.iter().enumerate() {
                let name = format!("{name}-{index}");
                let created = case.create("pods", &pod(&name, &format!("{host}/team/app:1"))).unwrap();
                assert_eq!(created["spec"]["containers"][0]["imagePullPolicy"], "Always");
                assert_eq!(created["spec"]["imagePullSecrets"], json!([{"name": "waypost-pull"}]));
            }
            for index in 0..hosts.len() {
                running(case, &format!("{name}-{index}"));
            }
        };
        let first = [0, 1].map(|index: usize| pulls_with(case, &hosts[index], |pulled| guarded.is_good(pulled)));
        pull("first");
        // Somewhere in the second half of their lives there are others.
        for (host, first) in hosts.iter().zip(&first) {
            pulls_with(case, host, |pulled| pulled != first);
            assert!(guarded.is_good(first), "{:?}", guarded.verdict(first));
        }
        pull("renewed");
        let ended = |pulled: &Pulled| guarded.verdict(pulled) == Verdict::Ended;
        eventually("the end of the first tokens", || first.iter().all(ended).then_some(()));
        pull("after");
        for door in [&guarded.door, &another] {
            let Counts {
                manifests,
                ended,
                unknown,
                ..
            } = door.counts();
            assert_eq!((ended, unknown), (0, 0));
            assert!(manifests >= 3, "{manifests}");
        }
        // Nobody else has got any.
        let stranger = case.another_namespace(&json!({}));
        for host in &hosts {
            assert_eq!(pulls_with_now(case, &stranger, host), None);
        }

        let keys = [Leaks::of_pem(nobodys_key()), Leaks::of(&user.secret)];
        let said = everything(case);
        for (place, text) in &said {
            for key in &keys {
                key.absent(place, text);
            }
        }
        // It is looked for as it is kept, and in what people read.
        let home = case
            .admin
            .get("/api/v1/namespaces/default/secrets")
            .unwrap()
            .to_string();
        assert!(keys.iter().all(|key| key.is_in(&decoded(&home))), "{home}");
        let places: Vec<_> = said.iter().map(|(place, _)| &**place).collect();
        for place in [
            "Secrets elsewhere",
            "Events",
            "/v1/registries",
            "log of",
            "metrics of",
            "registries",
        ] {
            assert!(places.iter().any(|said| said.contains(place)), "{place}: {places:?}");
        }
    });
}

/// Whatever can be read in the cluster but Secrets of Waypost's namespace, by what it is.
fn everything(case: &Case<'_>) -> Vec<(String, String)> {
    let mut said = Vec::new();
    let mut elsewhere = case.admin.get("/api/v1/secrets").unwrap();
    let secrets = elsewhere["items"].as_array_mut().unwrap();
    secrets.retain(|secret| secret["metadata"]["namespace"] != "default");
    assert!(
        secrets
            .iter()
            .any(|secret| secret["metadata"]["name"] == "waypost-pull")
    );
    said.push(("Secrets elsewhere".to_owned(), decoded(&elsewhere.to_string())));
    for (what, path) in [
        ("Events", "/api/v1/events"),
        ("Events of the new kind", "/apis/events.k8s.io/v1/events"),
        ("ConfigMaps", "/api/v1/configmaps"),
        ("Pods", "/api/v1/pods"),
        ("Deployments", "/apis/apps/v1/deployments"),
        ("registries", "/apis/waypost.dev/v1alpha1/registries"),
    ] {
        said.push((what.to_owned(), case.admin.get(path).unwrap().to_string()));
    }
    let api = Api::new(case);
    let role = [
        "create",
        "clusterrole",
        "reader",
        "--verb=get,list",
        "--resource=registries.waypost.dev",
    ];
    case.kubectl(&role).exits(0);
    let account = format!("--serviceaccount={}:default", case.namespace);
    let binding = [
        "create",
        "clusterrolebinding",
        "reader",
        "--clusterrole=reader",
        &account,
    ];
    case.kubectl(&binding).exits(0);
    let token = api.token("default");
    for path in ["/v1/registries", "/v1/registries/google", "/v1/registries/amazon"] {
        let answer = eventually("it may be read", || {
            let (status, answer) = api.ask(&token, "GET", path, None);
            (status == 200).then_some(answer)
        });
        assert!(answer.contains("TokenIssued"), "{answer}");
        said.push((path.to_owned(), answer));
    }
    let selector = "app.kubernetes.io/name=waypost";
    let pods = case
        .admin
        .get(&format!("{}?labelSelector={selector}", path("default", "pods")))
        .unwrap();
    for pod in pods["items"].as_array().unwrap() {
        let name = pod["metadata"]["name"].as_str().unwrap();
        let log = case
            .kubectl(&["--namespace=default", "logs", name, "--all-containers"])
            .exits(0);
        assert!(!log.out().is_empty());
        said.push((format!("log of {name}"), log.out().to_owned()));
        for path in ["metrics", "readyz?verbose"] {
            let raw = format!("/api/v1/namespaces/default/pods/{name}:9090/proxy/{path}");
            let answer = case.kubectl(&["get", "--raw", &raw]).exits(0);
            said.push((format!("{path} of {name}"), answer.out().to_owned()));
        }
    }
    let metrics = said.iter().filter(|(place, _)| place.starts_with("metrics"));
    let renewals = "waypost_credential_renewals_total{registry=\"google\",result=\"renewed\"}";
    assert!(metrics.map(|(_, text)| text).any(|text| text.contains(renewals)));
    said
}

/// A list of Secrets, with what is in them as it is; that is looked for in base64 as well.
fn decoded(list: &str) -> String {
    use base64::Engine;
    let list: Value = serde_json::from_str(list).unwrap();
    let mut text = String::new();
    for secret in list["items"].as_array().unwrap() {
        for (_, value) in secret["data"].as_object().into_iter().flatten() {
            let value = base64::engine::general_purpose::STANDARD.decode(value.as_str().unwrap());
            text.push_str(&String::from_utf8_lossy(&value.unwrap()));
            text.push('\n');
        }
    }
    text
}
