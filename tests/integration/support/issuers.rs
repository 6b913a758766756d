//! A registry that takes nothing but tokens which a stand-in of Google or Amazon has issued, and a Waypost that has them issued.

use std::net::{IpAddr, SocketAddr};

use base64::Engine;
use serde_json::Value;
use waypost_issuers::{Google, Registry as Door, Rights, Tokens, Verdict};

use super::client::{Client, Protocol, Reply};
use super::cluster::case::{Case, path};
use super::eventually;
use super::program::Directory;
use super::serving::{PORTS, Serving};

/// The key of a service account that no account anywhere knows.
pub(crate) fn nobodys_key() -> &'static str {
    let file = include_str!("../../fixtures/gcr/nobodys-key.pem");
    &file[file.find("-----BEGIN").unwrap()..]
}

/// A registry with an image in it, `team/app:1`, and what may be pulled from it with.
pub(crate) struct Guarded {
    pub(crate) tokens: Tokens,
    pub(crate) door: Door,
}

/// What is in a namespace's pull secret for a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pulled {
    pub(crate) username: String,
    pub(crate) password: String,
}

impl Guarded {
    /// Before the cluster's registry that anybody may use; at this address of whoever starts it.
    pub(crate) fn start(case: &Case<'_>, ip: IpAddr) -> Self {
        let behind = case.cluster.registry();
        case.cluster.push(behind, "team/app:1", "for those who have a token");
        let tokens = Tokens::default();
        let door = Door::start(ip, behind.host.parse().unwrap(), &tokens);
        Self { tokens, door }
    }

    /// As images have it: on this machine.
    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.door.address().port())
    }

    pub(crate) fn google(&self, ip: IpAddr) -> Google {
        Google::start(ip, &self.tokens)
    }

    /// What it makes of what somebody pulls with.
    pub(crate) fn verdict(&self, pulled: &Pulled) -> Verdict {
        self.tokens.verdict(&pulled.username, &pulled.password)
    }

    pub(crate) fn is_good(&self, pulled: &Pulled) -> bool {
        self.verdict(pulled) == Verdict::Good(Rights::Pull)
    }

    /// Asks it for something by a docker config.
    pub(crate) fn asked_with(&self, config: &Value, method: &str, what: &str) -> Reply {
        let entry = &config["auths"][self.host()];
        let pair = format!(
            "{}:{}",
            entry["username"].as_str().unwrap(),
            entry["password"].as_str().unwrap()
        );
        let basic = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair));
        let headers = [
            ("authorization", &*basic),
            ("accept", "application/vnd.oci.image.index.v1+json"),
        ];
        let path = format!("/v2/team/app/{what}");
        let address = SocketAddr::from(([127, 0, 0, 1], self.door.address().port()));
        Client::plain().request(address, method, &path, &headers, "").unwrap()
    }
}

/// A `waypost serve` that keeps pull secrets in the test's cluster, with this in its environment.
pub(crate) fn serve(case: &Case<'_>, configuration: &str, environment: &[(&str, &str)]) -> Serving {
    let directory = Directory::new();
    directory.write("waypost.yaml", format!("registries: {{probe: 1s}}\n{configuration}"));
    let kubeconfig = case.cluster.kubeconfig().to_str().unwrap();
    let args = ["serve", "--kubeconfig", kubeconfig];
    let mut command = directory.command(args.iter().chain(&PORTS));
    for (name, _) in std::env::vars() {
        if name.starts_with("AWS_") || name.starts_with("GOOGLE_") {
            command.env_remove(name);
        }
    }
    command.envs(environment.iter().copied());
    Serving::spawn(directory, command)
}

/// Asks the REST API of one machine as its administrator.
pub(crate) fn rest(waypost: &Serving, method: &str, path: &str, body: &Value) -> Reply {
    let token = std::fs::read_to_string(waypost.directory().path().join("data/admin.token")).unwrap();
    let bearer = format!("Bearer {}", token.trim());
    let headers = [("authorization", &*bearer), ("content-type", "application/json")];
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let client = waypost.client(Protocol::Http1);
    client.request(waypost.api, method, path, &headers, body).unwrap()
}

/// The condition of a registry, by REST: status, reason and message.
pub(crate) fn condition(waypost: &Serving, id: &str, kind: &str) -> Option<[String; 3]> {
    let reply = rest(waypost, "GET", &format!("/v1/registries/{id}"), &Value::Null);
    let registry: Value = serde_json::from_str(&reply.text()).unwrap();
    let conditions = registry["conditions"].as_array()?;
    let found = conditions.iter().find(|condition| condition["type"] == kind)?;
    Some(["status", "reason", "message"].map(|key| found[key].as_str().unwrap_or_default().to_owned()))
}

/// Waits until the tokens of a registry are said to be issued, or not, with this in the sentence.
#[track_caller]
pub(crate) fn is_said(waypost: &Serving, id: &str, status: &str, text: &str) {
    let mut last = None;
    let wait = std::panic::AssertUnwindSafe(|| {
        eventually(&format!("TokenIssued={status}, {text}"), || {
            last = condition(waypost, id, "TokenIssued");
            let [is, _, message] = last.as_ref()?;
            (is == status && message.contains(text)).then_some(())
        });
    });
    std::panic::catch_unwind(wait).unwrap_or_else(|panic| {
        eprintln!("it is {last:?}");
        std::panic::resume_unwind(panic)
    });
}

/// What the test's namespace pulls from a host with, once there is something that this holds for.
pub(crate) fn pulls_with(case: &Case<'_>, host: &str, holds: impl Fn(&Pulled) -> bool) -> Pulled {
    eventually("a pull secret", || {
        pulls_with_now(case, &case.namespace, host).filter(&holds)
    })
}

/// What a namespace pulls from a host with now.
pub(crate) fn pulls_with_now(case: &Case<'_>, namespace: &str, host: &str) -> Option<Pulled> {
    let secret = case.admin.get(&path(namespace, "secrets/waypost-pull")).ok()?;
    let config = secret["data"][".dockerconfigjson"].as_str()?;
    let config = base64::engine::general_purpose::STANDARD.decode(config).unwrap();
    let config: Value = serde_json::from_slice(&config).unwrap();
    let entry = &config["auths"][host];
    let [username, password] = ["username", "password"].map(|key| entry[key].as_str().map(str::to_owned));
    Some(Pulled {
        username: username?,
        password: password?,
    })
}

/// Everything that a process says to anybody who may ask, and its log.
pub(crate) fn everything(waypost: &Serving, id: &str) -> Vec<(String, String)> {
    let mut said = Vec::new();
    for path in ["/v1/registries".to_owned(), format!("/v1/registries/{id}")] {
        let reply = rest(waypost, "GET", &path, &Value::Null);
        assert_eq!(reply.status, 200, "{}", reply.text());
        said.push((path, reply.text()));
    }
    for path in ["/metrics", "/readyz?verbose"] {
        said.push((path.to_owned(), waypost.admin(path).text()));
    }
    let log = std::fs::read_to_string(waypost.directory().path().join("serve.log")).unwrap();
    assert!(!log.is_empty());
    said.push(("the log".to_owned(), log));
    said
}
