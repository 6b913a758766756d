//! A registry that is registered once, and Pods that pull from it: what an admin sees.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{on_node, running};
use crate::cluster::policy;
use crate::support::client::Protocol;
use crate::support::cluster::case::{Case, NAMESPACES, images_of, path, pod};
use crate::support::cluster::webhook::Webhook;
use crate::support::cluster::{Cluster, Registry, Size};
use crate::support::distribution::Distribution;
use crate::support::eventually;
use crate::support::program::Directory;

/// A registry with a password that nothing else has, which can be stopped.
struct Protected<'a> {
    case: &'a Case<'a>,
    directory: Directory,
    running: Option<Distribution>,
    login: Registry,
}

impl<'a> Protected<'a> {
    fn start(case: &'a Case<'a>) -> Self {
        let directory = Directory::new();
        let running = Distribution::start(case.cluster, directory.path(), Some(&passwords(case)));
        let login = Registry {
            host: format!("127.0.0.1:{}", running.port),
            username: case.cluster.protected().username.clone(),
            password: case.cluster.protected().password.clone(),
        };
        Self {
            case,
            directory,
            running: Some(running),
            login,
        }
    }

    fn stop(&mut self) -> u16 {
        let running = self.running.take().unwrap();
        let port = running.port;
        running.stop();
        port
    }

    fn start_again(&mut self, port: u16) {
        let passwords = passwords(self.case);
        let again = Distribution::start_at(self.case.cluster, self.directory.path(), Some(&passwords), port);
        self.running = Some(again);
    }
}

/// The file with the password of the cluster's own protected registry.
fn passwords(case: &Case<'_>) -> PathBuf {
    case.cluster.path("htpasswd")
}

/// Registers a registry by REST.
fn register(waypost: &Webhook<'_>, request: &Value) -> Value {
    let token = std::fs::read_to_string(waypost.directory().path().join("data/admin.token")).unwrap();
    let bearer = format!("Bearer {}", token.trim());
    let headers = [("authorization", &*bearer), ("content-type", "application/json")];
    let client = waypost.client(Protocol::Http1);
    let reply = client
        .request(waypost.api, "POST", "/v1/registries", &headers, request.to_string())
        .unwrap();
    assert_eq!(reply.status, 201, "{}", reply.text());
    serde_json::from_str(&reply.text()).unwrap()
}

/// Pods of this namespace whose containers run, and none of which was ever refused its image.
fn run_at_first_try(case: &Case<'_>, namespace: &str, app: &str, image: &str) {
    let pods = eventually("a Pod of the Deployment that runs", || {
        let list = case
            .admin
            .get(&format!("{}?labelSelector=app={app}", path(namespace, "pods")))
            .unwrap();
        let pods = list["items"].as_array().unwrap().clone();
        (!pods.is_empty() && pods.iter().all(super::runs)).then_some(pods)
    });
    for pod in pods {
        assert_eq!(images_of(&pod), [image]);
        assert_eq!(pod["spec"]["imagePullSecrets"], json!([{"name": "waypost-pull"}]));
        let name = pod["metadata"]["name"].as_str().unwrap();
        let events = case.admin.get(&path(namespace, "events")).unwrap();
        let of_pod = events["items"].as_array().unwrap().iter();
        let failed: Vec<_> = of_pod
            .filter(|event| event["involvedObject"]["name"] == name && event["reason"] == "Failed")
            .collect();
        assert!(failed.is_empty(), "{failed:#?}");
    }
}

/// The Secrets of the cluster that have this text in them, in whatever form: `namespace/name`.
fn secrets_with(case: &Case<'_>, text: &str) -> Vec<String> {
    use base64::Engine;
    let decode = |value: &Value| {
        base64::engine::general_purpose::STANDARD
            .decode(value.as_str().unwrap())
            .unwrap()
    };
    let list = case.admin.get("/api/v1/secrets").unwrap();
    let secrets = list["items"].as_array().unwrap().iter().filter(|secret| {
        let data = secret["data"].as_object().into_iter().flatten();
        data.into_iter()
            .any(|(_, value)| String::from_utf8_lossy(&decode(value)).contains(text))
    });
    let name = |secret: &Value| {
        let metadata = &secret["metadata"];
        format!(
            "{}/{}",
            metadata["namespace"].as_str().unwrap(),
            metadata["name"].as_str().unwrap()
        )
    };
    secrets.map(name).collect()
}

#[test]
fn a_registry_that_is_registered_by_four_fields_is_pulled_from_at_first_try_and_left_while_it_is_down() {
    // A cluster of its own: what is looked for everywhere is in other tests' Secrets, too.
    Cluster::with(Size::Node, &[]).unwrap().test("registered", |case| {
        let mut registry = Protected::start(case);
        let host = registry.login.host.clone();
        let password = registry.login.password.clone();
        case.cluster
            .push(&registry.login, "docker.io/library/alpine:latest", "rewritten");
        case.cluster.push(&registry.login, "team/app:1", "named by its author");
        let rule = format!("{{name: hub, match: {{images: [docker.io/**]}}, rewrite: {{prefix: '{host}'}}}}");
        let waypost = Webhook::start(case, &policy(&rule), "registries: {probe: 1s}", &[]);

        let registered = register(
            &waypost,
            &json!({
                "registry_url": format!("http://{host}"),
                "registry_username": registry.login.username,
                "registry_password": password,
                "name": "Local registry",
                "namespaces": {"names": [format!("{}*", case.namespace)]},
            }),
        );
        assert_eq!(registered["id"], "local-registry");
        assert!(!registered.to_string().contains(&password));

        let namespace = case.another_namespace(&json!({}));
        for (app, image) in [("rewritten", "alpine"), ("named", &*format!("{host}/team/app:1"))] {
            case.kubectl(&["--namespace", &namespace, "create", "deployment", app, "--image", image])
                .exits(0);
        }
        let rewritten = format!("{host}/docker.io/library/alpine");
        run_at_first_try(case, &namespace, "rewritten", &rewritten);
        run_at_first_try(case, &namespace, "named", &format!("{host}/team/app:1"));

        let mut expected = [&case.namespace, &namespace].map(|name| format!("{name}/waypost-pull"));
        expected.sort();
        let mut found = secrets_with(case, &password);
        found.sort();
        assert_eq!(found, expected);
        let stranger = case
            .admin
            .post(NAMESPACES, &json!({"metadata": {"generateName": "stranger-"}}))
            .unwrap();
        let stranger = stranger["metadata"]["name"].as_str().unwrap();

        // Stopped, it is no target; started, it is one again.
        let port = registry.stop();
        let asked = || images_of(&case.dry_run(&pod("asked", "alpine")).unwrap());
        eventually("the original image", || (asked() == ["alpine"]).then_some(()));
        registry.start_again(port);
        eventually("the registry again", || (asked() == [&*rewritten]).then_some(()));

        // Nobody else has been given it meanwhile, and nothing else has it.
        let mut found = secrets_with(case, &password);
        found.sort();
        assert_eq!(found, expected, "and not {stranger}");
        let objects = case
            .kubectl(&[
                "get",
                "all,events,configmaps,leases",
                "--all-namespaces",
                "--output=yaml",
            ])
            .exits(0);
        assert!(!objects.out().contains(&password));
        assert!(!format!("{:?}", waypost.log()).contains(&password));
        assert!(!waypost.admin("/metrics").text().contains(&password));
    });
}

#[test]
fn while_a_registry_is_down_the_next_target_of_the_list_is_pulled_from() {
    on_node("next", |case| {
        let mut first = Protected::start(case);
        let second = case.cluster.registry();
        case.cluster.push(&first.login, "docker.io/org/app:1", "from the first");
        case.cluster.push(second, "docker.io/org/app:1", "from the second");
        let template = |host: &str| format!("{host}/{{registry}}/{{repository}}");
        let rule = format!(
            "{{name: hub, match: {{images: [docker.io/**]}}, rewrite: {{to: ['{}', '{}'], onUnavailable: next}}}}",
            template(&first.login.host),
            template(&second.host)
        );
        let waypost = Webhook::start(case, &policy(&rule), "registries: {probe: 1s}", &[]);
        register(
            &waypost,
            &json!({
                "registry_url": format!("http://{}", first.login.host),
                "registry_username": first.login.username,
                "registry_password": first.login.password,
                "name": "first",
                "namespaces": {"names": [case.namespace]},
            }),
        );
        let image = |host: &str| format!("{host}/docker.io/org/app:1");
        case.kubectl(&["run", "before", "--image=org/app:1"]).exits(0);
        let before = running(case, "before");
        assert_eq!(images_of(&before), [image(&first.login.host)]);

        first.stop();
        eventually("the next target", || {
            let asked = case.dry_run(&pod("asked", "org/app:1")).unwrap();
            (images_of(&asked) == [image(&second.host)]).then_some(())
        });
        case.kubectl(&["run", "after", "--image=org/app:1"]).exits(0);
        assert_eq!(images_of(&running(case, "after")), [image(&second.host)]);
        assert_eq!(waypost.metric("waypost_registry_up{registry=\"first\"}"), 0.0);
    });
}
