//! A registry that is registered once, and Pods that pull from it: what an admin sees.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use super::installing::{CHART, Helm};
use super::{on_node, running};
use crate::cluster::policy;
use crate::support::client::Protocol;
use crate::support::cluster::case::{Case, NAMESPACES, images_of, path, pod};
use crate::support::cluster::webhook::Webhook;
use crate::support::cluster::{Cluster, Registry, Size};
use crate::support::distribution::Distribution;
use crate::support::eventually;
use crate::support::program::{Directory, Finished, finish};

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

/// The REST API of a release, as somebody in the cluster reaches it.
pub(super) struct Api<'a> {
    case: &'a Case<'a>,
    directory: Directory,
    address: String,
}

impl<'a> Api<'a> {
    /// Of the release `waypost` in `default`.
    pub(super) fn new(case: &'a Case<'a>) -> Self {
        use base64::Engine;
        let service = case.admin.get(&path("default", "services/waypost-api")).unwrap();
        let configurations = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
        let configuration = case.admin.get(&format!("{configurations}/waypost")).unwrap();
        let bundle = configuration["webhooks"][0]["clientConfig"]["caBundle"]
            .as_str()
            .unwrap()
            .to_owned();
        let directory = Directory::new();
        let bundle = base64::engine::general_purpose::STANDARD.decode(bundle).unwrap();
        directory.write("ca.crt", String::from_utf8(bundle).unwrap());
        Self {
            case,
            directory,
            address: service["spec"]["clusterIP"].as_str().unwrap().to_owned(),
        }
    }

    /// A token of a ServiceAccount of the test's namespace.
    pub(super) fn token(&self, account: &str) -> String {
        let said = self.case.kubectl(&["create", "token", account]).exits(0);
        said.out().trim().to_owned()
    }

    /// The status and the answer.
    pub(super) fn ask(&self, token: &str, method: &str, path: &str, body: Option<&Value>) -> (u16, String) {
        self.directory
            .write("token", format!("header = \"Authorization: Bearer {token}\"\n"));
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--max-time", "30", "--config"])
            .arg(self.directory.path().join("token"))
            .arg("--cacert")
            .arg(self.directory.path().join("ca.crt"))
            .args(["--resolve", &format!("waypost-api.default.svc:443:{}", self.address)])
            .args(["--request", method, "--write-out", "\n%{http_code}"]);
        if let Some(body) = body {
            self.directory.write("body", body.to_string());
            curl.args(["--header", "Content-Type: application/json", "--data-binary"])
                .arg(format!("@{}", self.directory.path().join("body").display()));
        }
        curl.arg(format!("https://waypost-api.default.svc{path}"));
        let said: Finished = finish(curl, b"").exits(0);
        let (answer, status) = said.out().rsplit_once('\n').unwrap();
        (status.parse().unwrap(), answer.to_owned())
    }
}

/// Whether somebody may do something, as `kubectl auth can-i` says it.
fn may(case: &Case<'_>, account: &str, args: &[&str]) -> bool {
    let account = format!("--as=system:serviceaccount:default:waypost-{account}");
    let asked = case.kubectl(&[&["auth", "can-i"], args, &[&*account]].concat());
    asked.out().trim() == "yes"
}

#[test]
fn a_registry_of_a_release_is_pulled_from_and_what_helm_declares_is_helms() {
    Cluster::with(Size::Node, &[]).unwrap().test("released", |case| {
        let mut registry = Protected::start(case);
        let host = registry.login.host.clone();
        let port = registry.running.as_ref().unwrap().port;
        case.cluster
            .push(&registry.login, "docker.io/library/alpine:latest", "rewritten");
        case.cluster.push(&registry.login, "team/app:1", "named by its author");
        let helm = Helm::new(case);
        let values = [
            format!("--set=pullThrough.registry={host}"),
            format!("--set=registries.local.url={host}"),
            // To a Pod the node's loopback is another one.
            format!("--set=registries.local.endpoint=http://192.168.77.1:{port}"),
            format!("--set=registries.local.username={}", registry.login.username),
            format!("--set=registries.local.password={}", registry.login.password),
            "--set=registries.local.namespaces.selector.matchLabels.images=allowed".to_owned(),
        ];
        let values: Vec<_> = values.iter().map(String::as_str).collect();
        let install = ["install", "waypost", CHART, "--wait", "--timeout=100s"];
        helm.run(&[&install, &*values].concat());

        let object = "/apis/waypost.dev/v1alpha1/registries/local";
        let is = |kind: &str, status: &str| {
            let found = case.admin.get(object).ok()?;
            let mut conditions = found["status"]["conditions"].as_array()?.iter();
            conditions
                .any(|condition| condition["type"] == kind && condition["status"] == status)
                .then_some(())
        };
        eventually("it is reachable", || is("Reachable", "True"));
        eventually("it takes the credential", || is("Authenticated", "True"));
        let table = case.kubectl(&["get", "registries", "--output=wide"]).exits(0);
        assert!(
            table.out().contains("local") && table.out().contains(&host),
            "{}",
            table.out()
        );

        let namespace = case.another_namespace(&json!({"images": "allowed"}));
        for (app, image) in [("rewritten", "alpine"), ("named", &*format!("{host}/team/app:1"))] {
            case.kubectl(&["--namespace", &namespace, "create", "deployment", app, "--image", image])
                .exits(0);
        }
        let rewritten = format!("{host}/docker.io/library/alpine");
        run_at_first_try(case, &namespace, "rewritten", &rewritten);
        run_at_first_try(case, &namespace, "named", &format!("{host}/team/app:1"));
        let expected = [
            "default/waypost-registry-local-pull".to_owned(),
            format!("{namespace}/waypost-pull"),
        ];
        let password = registry.login.password.clone();
        let credential = || {
            // Helm keeps the values of its releases in Secrets of its own.
            let mut found = secrets_with(case, &password);
            found.retain(|name| !name.starts_with("default/sh.helm.release"));
            found.sort();
            found
        };
        assert_eq!(credential(), expected);
        // Who is not admitted gets no credential by naming the registry, and none by what Waypost makes of his Pod.
        for image in ["alpine", &*format!("{host}/team/app:1")] {
            let stored = case.dry_run(&pod("stranger", image)).unwrap();
            assert_eq!(stored["spec"]["imagePullSecrets"], Value::Null, "{image}");
        }
        for (account, args, expected) in [
            ("webhook", &["get", "secrets", "--all-namespaces"][..], false),
            (
                "webhook",
                &["get", "secrets/waypost-pull", "--namespace", &namespace],
                false,
            ),
            ("webhook", &["list", "secrets", "--namespace", "default"], false),
            ("controller", &["get", "secrets", "--namespace", &namespace], false),
            (
                "controller",
                &["get", "secrets/other", "--namespace", &namespace],
                false,
            ),
            (
                "controller",
                &["get", "secrets/waypost-pull", "--namespace", &namespace],
                true,
            ),
            ("controller", &["get", "secrets", "--namespace", "default"], true),
        ] {
            assert_eq!(may(case, account, args), expected, "{account} {args:?}");
        }

        // By REST, with the rights of RBAC.
        let api = Api::new(case);
        let token = api.token("default");
        let request = json!({
            "name": "Second",
            "registry_url": "registry.example.com/team",
            "registry_username": "u",
            "registry_password": "hunter2",
            "namespaces": {"names": ["nobody"]},
        });
        let (status, answer) = api.ask(&token, "POST", "/v1/registries", Some(&request));
        assert_eq!(status, 403, "{answer}");
        let role = [
            "create",
            "clusterrole",
            "registrar",
            "--verb=*",
            "--resource=registries.waypost.dev",
        ];
        case.kubectl(&role).exits(0);
        let account = format!("--serviceaccount={}:default", case.namespace);
        let binding = [
            "create",
            "clusterrolebinding",
            "registrar",
            "--clusterrole=registrar",
            &account,
        ];
        case.kubectl(&binding).exits(0);
        let answer = eventually("it may be registered", || {
            let (status, answer) = api.ask(&token, "POST", "/v1/registries", Some(&request));
            (status == 201).then_some(answer)
        });
        assert!(
            answer.contains("\"id\":\"second\"") && !answer.contains("hunter2"),
            "{answer}"
        );
        let (status, answer) = api.ask(&token, "DELETE", "/v1/registries/local?force=true", None);
        assert_eq!(status, 409, "{answer}");
        assert!(answer.contains("Helm"), "{answer}");
        let (status, answer) = api.ask(&token, "DELETE", "/v1/registries/second", None);
        assert_eq!(status, 204, "{answer}");

        // Stopped, it is no target; started, it is one again.
        let asked = || {
            let path = format!("{}?dryRun=All", path(&namespace, "pods"));
            images_of(&case.admin.post(&path, &pod("asked", "alpine")).unwrap())
        };
        let port = registry.stop();
        eventually("the original image", || (asked() == ["alpine"]).then_some(()));
        registry.start_again(port);
        eventually("the registry again", || (asked() == [&*rewritten]).then_some(()));

        // What is no longer declared goes, with what namespaces had of it.
        let upgrade = [
            "upgrade",
            "waypost",
            CHART,
            "--reset-values",
            "--wait",
            "--timeout=100s",
        ];
        helm.run(&[&upgrade, &*helm.image()].concat());
        eventually("the object is gone", || case.admin.get(object).is_err().then_some(()));
        eventually("no namespace has the credential", || {
            credential().is_empty().then_some(())
        });
        helm.run(
            &[
                &["upgrade", "waypost", CHART, "--wait", "--timeout=100s"],
                &*helm.image(),
                &*values,
            ]
            .concat(),
        );
        eventually("the object again", || case.admin.get(object).ok());
        helm.run(&["uninstall", "waypost", "--wait", "--timeout=100s"]);
        eventually("the object goes with the release", || {
            case.admin.get(object).is_err().then_some(())
        });
    });
}
