//! An image that is pushed now here, now there, and Pods that follow.

use std::path::Path;

use serde_json::{Value, json};

use super::{on_node, running};
use crate::cluster::policy;
use crate::support::client::Protocol;
use crate::support::cluster::Registry;
use crate::support::cluster::case::{Case, images_of, pod};
use crate::support::cluster::webhook::Webhook;
use crate::support::distribution::Distribution;
use crate::support::eventually;
use crate::support::program::{Directory, finish};

/// What somebody does who has the tokens of one machine.
struct Rest<'a>(&'a Webhook<'a>);

impl Rest<'_> {
    #[track_caller]
    fn ask(&self, token: &str, method: &str, path: &str, body: &Value) -> Value {
        let file = self.0.directory().path().join(format!("data/{token}.token"));
        let bearer = format!("Bearer {}", std::fs::read_to_string(file).unwrap().trim());
        let headers = [("authorization", &*bearer), ("content-type", "application/json")];
        let client = self.0.client(Protocol::Http1);
        let body = if method == "GET" {
            String::new()
        } else {
            body.to_string()
        };
        let reply = client.request(self.0.api, method, path, &headers, body).unwrap();
        assert_eq!(reply.status / 100, 2, "{}", reply.text());
        serde_json::from_str(&reply.text()).unwrap()
    }

    /// Each registry with the state of its last attempt, the digest of what is there, and whether that is the latest.
    fn entries(&self) -> Vec<(String, String, Option<String>, bool)> {
        let list = self.ask("push", "GET", "/v1/pushes?image=org/app:1", &Value::Null);
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let entry = |item: &Value| {
            (
                text(&item["registry_id"]).unwrap(),
                text(&item["last_attempt"]["state"]).unwrap(),
                text(&item["last_success"]["digest"]),
                item["latest"] == true,
            )
        };
        list["items"].as_array().unwrap().iter().map(entry).collect()
    }
}

fn host(registry: &Distribution) -> Registry {
    Registry {
        host: format!("127.0.0.1:{}", registry.port),
        username: String::new(),
        password: String::new(),
    }
}

/// A registry that tells Waypost of what happens in it.
fn telling(case: &Case<'_>, dir: &Path, waypost: &Webhook<'_>, port: u16) -> Distribution {
    let notifications = format!(
        "notifications: {{endpoints: [{{name: waypost, url: 'https://{}/v1/registries/b/notifications/distribution', \
         headers: {{Authorization: [Bearer {TOKEN}]}}, timeout: 5s, threshold: 3, backoff: 100ms}}]}}\n",
        waypost.api
    );
    let authority = waypost.directory().path().join("certs/local/ca.crt");
    Distribution::start_telling(case.cluster, dir, port, &notifications, &authority)
}

#[test]
fn pods_follow_the_latest_push_from_registry_to_registry() {
    on_node("pushes", |case| {
        let (dir_a, dir_b) = (Directory::new(), Directory::new());
        let registry_a = Distribution::start(case.cluster, dir_a.path(), None);
        let a = host(&registry_a);
        let nothing = policy("{name: nothing, match: {images: [nobody.invalid/**]}, keep: {}}");
        let configuration = "registries: {probe: 1s}\npushes: {verify: 1s}";
        let waypost = Webhook::start(case, &nothing, configuration, &[]);
        let port_b = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let registry_b = telling(case, dir_b.path(), &waypost, port_b);
        let b = host(&registry_b);
        let rest = Rest(&waypost);
        for (name, registry, token) in [("a", &a, Value::Null), ("b", &b, TOKEN.into())] {
            let url = format!("http://{}", registry.host);
            let mut body = json!({"name": name, "registry_url": url, "namespaces": {"names": [case.namespace]}});
            if !token.is_null() {
                body["notification_token"] = token;
            }
            rest.ask("admin", "POST", "/v1/registries", &body);
        }
        let push = |registry: &Registry, text: &str| {
            let pushed = case.cluster.push(registry, "docker.io/org/app:1", text);
            pushed
                .rsplit_once('@')
                .map_or(pushed.clone(), |(_, digest)| digest.to_owned())
        };
        let report = |body: Value| {
            let mut report = json!({"image": "org/app:1", "registry_id": "a"});
            report
                .as_object_mut()
                .unwrap()
                .extend(body.as_object().unwrap().clone());
            rest.ask("push", "POST", "/v1/pushes", &report)
        };
        let target = |registry: &Registry| format!("{}/docker.io/org/app:1", registry.host);
        let asked = || images_of(&case.dry_run(&pod("asked", "org/app:1")).unwrap());
        // The next Pod is pulled from there, and runs.
        let follows = |name: &str, registry: &Registry, digest: &str| {
            eventually(&format!("{name} goes to {}", registry.host), || {
                (asked() == [target(registry)]).then_some(())
            });
            case.kubectl(&["run", name, "--image=org/app:1"]).exits(0);
            let pod = running(case, name);
            assert_eq!(images_of(&pod), [target(registry)]);
            let status = &pod["status"]["containerStatuses"][0];
            assert!(
                status["imageID"].as_str().unwrap().contains(digest),
                "{status:#} is not {digest}"
            );
        };
        let entry = |registry: &str, state: &str, digest: Option<&str>, latest| {
            (registry.to_owned(), state.to_owned(), digest.map(str::to_owned), latest)
        };
        assert_eq!(asked(), ["org/app:1"], "nobody has pushed it");

        let first = push(&a, "pushed to a");
        report(json!({"state": "SUCCEEDED", "digest": first}));
        assert_eq!(rest.entries(), [entry("a", "SUCCEEDED", Some(&first), true)]);
        follows("first", &a, &first);

        // By another client, which knows nothing of Waypost: the registry tells.
        let second = push(&b, "pushed to b");
        follows("second", &b, &second);
        let both = |a_state, a_digest, a_latest| {
            [
                entry("a", a_state, a_digest, a_latest),
                entry("b", "SUCCEEDED", Some(&*second), !a_latest),
            ]
        };
        assert_eq!(rest.entries(), both("SUCCEEDED", Some(&*first), false));

        report(json!({"state": "FAILED", "error": "no space left on device"}));
        assert_eq!(rest.entries(), both("FAILED", Some(&*first), false));
        assert_eq!(asked(), [target(&b)], "a push that failed changes nothing");

        let third = push(&a, "pushed to a once more");
        report(json!({"state": "SUCCEEDED", "digest": third}));
        assert_eq!(rest.entries(), both("SUCCEEDED", Some(&*third), true));
        follows("third", &a, &third);

        // A tells nobody: it is asked.
        let mut delete = case.cluster.tool("crane");
        delete.args(["delete", &target(&a)]);
        finish(delete, b"").exits(0);
        follows("fourth", &b, &second);
        assert_eq!(rest.entries(), both("SUCCEEDED", None, false));
        drop((registry_a, registry_b));
    });
}

const TOKEN: &str = "a-token-that-only-registry-b-has";
