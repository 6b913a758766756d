//! Notifications of the registry that everybody runs, sent by it to a `waypost serve`: by TLS, late, twice and after a restart.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
};

use serde_json::{Value, json};

use crate::support::{
    client::{Client, Protocol},
    cluster::{Cluster, Registry, Size},
    distribution::Distribution,
    eventually,
    program::{Directory, finish},
    serving::Serving,
};

/// A Waypost with a registry that tells it of pushes.
struct Notified<'c> {
    cluster: &'c Cluster,
    directory: PathBuf,
    address: SocketAddr,
    registry: Registry,
    port: u16,
    dir: tempfile::TempDir,
}

impl<'c> Notified<'c> {
    fn new(cluster: &'c Cluster) -> (Self, Serving) {
        let [api, port] = [free(), free()];
        let serving = serve(Directory::new(), api);
        let notified = Self {
            cluster,
            directory: serving.directory().path().to_owned(),
            address: SocketAddr::from(([127, 0, 0, 1], api)),
            registry: Registry {
                host: format!("127.0.0.1:{port}"),
                username: String::new(),
                password: String::new(),
            },
            port,
            dir: tempfile::tempdir().unwrap(),
        };
        notified.register("POST", "/v1/registries", TOKEN);
        (notified, serving)
    }

    fn register(&self, method: &str, path: &str, token: &str) {
        let body = json!({"name": "real", "registry_url": format!("http://{}/team", self.registry.host), "notification_token": token});
        let reply = self.admin(method, path, &body.to_string());
        assert_eq!(reply.0 / 100, 2, "{reply:?}");
    }

    fn client(&self) -> Client {
        Client::new(&self.authority(), Protocol::Http1)
    }

    fn authority(&self) -> PathBuf {
        self.directory.join("certs/local/ca.crt")
    }

    fn admin(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let token = fs::read_to_string(self.directory.join("data/admin.token")).unwrap();
        let bearer = format!("Bearer {}", token.trim());
        let headers = [("authorization", &*bearer), ("content-type", "application/json")];
        let reply = self
            .client()
            .request(self.address, method, path, &headers, body.to_owned());
        let reply = reply.unwrap();
        (reply.status, serde_json::from_slice(&reply.body).unwrap_or_default())
    }

    /// The registry, with this token. It tries again every 100 ms, and gives up nothing.
    fn start(&self, token: &str) -> Distribution {
        let notifications = format!(
            "notifications: {{endpoints: [{{name: waypost, url: 'https://{}/v1/registries/real/notifications/distribution', \
             headers: {{Authorization: [Bearer {token}]}}, timeout: 5s, threshold: 3, backoff: 100ms}}]}}\n",
            self.address
        );
        let registry = Distribution::start_telling(
            self.cluster,
            self.dir.path(),
            self.port,
            &notifications,
            &self.authority(),
        );
        eventually("the registry answers", || {
            std::net::TcpStream::connect(("127.0.0.1", self.port)).ok()
        });
        registry
    }

    /// Pushes an index of two manifests; answers its digest.
    fn push(&self, repository: &str, text: &str) -> String {
        let pushed = self.cluster.push(&self.registry, repository, text);
        let digest = pushed.rsplit_once('@').map_or(&*pushed, |(_, digest)| digest);
        digest.to_owned()
    }

    fn crane(&self, args: &[&str]) -> String {
        let mut command = self.cluster.tool("crane");
        command.args(args);
        finish(command, b"").exits(0).out().trim().to_owned()
    }

    fn name(&self, rest: &str) -> String {
        format!("{}/{rest}", self.registry.host)
    }

    /// All records: image and digest, if it is there.
    fn records(&self) -> Vec<(String, Option<String>)> {
        let (status, list) = self.admin("GET", "/v1/pushes?registry_id=real", "");
        assert_eq!(status, 200, "{list}");
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let items = list["items"].as_array().unwrap().iter();
        let mut records: Vec<_> = items
            .map(|item| (text(&item["image"]).unwrap(), text(&item["last_success"]["digest"])))
            .collect();
        records.sort();
        records
    }

    fn digest(&self, image: &str) -> Option<String> {
        let found = self.records().into_iter().find(|(name, _)| name == image)?;
        found.1
    }

    #[track_caller]
    fn becomes(&self, image: &str, digest: Option<&str>) {
        eventually(&format!("{image} is {digest:?}"), || {
            (self.digest(image).as_deref() == digest).then_some(())
        });
    }
}

fn serve(directory: Directory, api: u16) -> Serving {
    let listen = format!("127.0.0.1:{api}");
    let args = [
        "serve",
        "--webhook-listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
        "--api-listen",
        &*listen,
    ];
    let command = directory.command(args);
    Serving::spawn(directory, command)
}

fn free() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn with(name: &str, test: impl FnOnce(&Cluster) + Send) {
    let cluster = Cluster::start(Size::ControlPlane);
    cluster.test(name, |_| test(cluster));
}

#[test]
fn a_registry_tells_of_pushes_and_deletes_and_the_records_follow() {
    with("notified", |cluster| {
        let (notified, serving) = Notified::new(cluster);
        let _registry = notified.start(TOKEN);
        let app = notified.name("team/app:1");
        // An index: its manifests and blobs are no pushes.
        let index = notified.push("team/app:1", "one");
        notified.becomes(&app, Some(&index));
        assert_eq!(notified.records(), [(app.clone(), Some(index.clone()))]);
        // One manifest of it, and one that stands for an image of another registry.
        let single = notified.name("team/app:single");
        notified.crane(&["copy", "--platform", "linux/amd64", &app, &single]);
        let digest = notified.crane(&["digest", &single]);
        assert_ne!(digest, index);
        notified.becomes(&single, Some(&digest));
        let hub = notified.name("team/docker.io/library/alpine:3");
        notified.crane(&["copy", "--platform", "linux/amd64", &app, &hub]);
        notified.becomes("docker.io/library/alpine:3", Some(&digest));
        // What is not below the organization is not its affair.
        notified.push("teams/app:1", "another");
        // Another content, and the first one again.
        let second = notified.push("team/app:1", "two");
        notified.becomes(&app, Some(&second));
        assert_eq!(notified.push("team/app:1", "one"), index);
        notified.becomes(&app, Some(&index));
        // By its tag, and by its digest with all its tags.
        notified.crane(&["delete", &app]);
        notified.becomes(&app, None);
        assert_eq!(notified.digest(&single), Some(digest.clone()));
        notified.crane(&["delete", &format!("{}@{digest}", notified.name("team/app"))]);
        notified.becomes(&single, None);
        assert_eq!(
            notified.digest("docker.io/library/alpine:3"),
            Some(digest),
            "it is in another repository"
        );
        let records = notified.records();
        assert_eq!(records.len(), 3, "{records:?}");

        let counted = |result: &str| {
            serving.metric(&format!(
                "waypost_notifications_total{{registry=\"real\",result=\"{result}\"}}"
            ))
        };
        assert!(counted("recorded") >= 5.0 && counted("irrelevant") >= 5.0 && counted("elsewhere") >= 1.0);
        let log = format!("{:?}", serving.log());
        assert!(!log.contains(TOKEN), "{log}");
    });
}

#[test]
fn what_is_told_of_while_waypost_is_away_arrives_when_it_is_back() {
    with("notified-late", |cluster| {
        let (notified, mut serving) = Notified::new(cluster);
        let registry = notified.start(TOKEN);
        let app = notified.name("team/app:1");
        let first = notified.push("team/app:1", "one");
        notified.becomes(&app, Some(&first));
        // The registry is another process, and says so.
        registry.stop();
        let _registry = notified.start(TOKEN);
        let second = notified.push("team/app:1", "two");
        notified.becomes(&app, Some(&second));
        // Waypost is away. Its store and its certificates stay.
        let kept = Directory::new();
        serving.signal("TERM");
        assert!(serving.ended().success());
        for name in ["data", "certs"] {
            let copied = std::process::Command::new("cp")
                .arg("-r")
                .args([notified.directory.join(name), kept.path().join(name)])
                .status();
            assert!(copied.unwrap().success());
        }
        let third = notified.push("team/app:1", "three");
        let other = notified.push("team/other:1", "four");
        let authority = notified.authority();
        let back = serve(kept, notified.address.port());
        assert_eq!(
            fs::read(back.directory().path().join("certs/local/ca.crt")).unwrap(),
            fs::read(authority).unwrap()
        );
        notified.becomes(&app, Some(&third));
        notified.becomes(&notified.name("team/other:1"), Some(&other));
        let (_, push) = notified.admin("GET", &format!("/v1/pushes?image={app}"), "");
        assert_eq!(push["items"].as_array().unwrap().len(), 1, "{push}");
    });
}

#[test]
fn with_another_token_nothing_is_taken_and_nothing_is_lost() {
    with("notified-token", |cluster| {
        let (notified, serving) = Notified::new(cluster);
        let registry = notified.start(TOKEN);
        let app = notified.name("team/app:1");
        let first = notified.push("team/app:1", "one");
        notified.becomes(&app, Some(&first));
        let other = "another-token-of-the-tests";
        notified.register("PUT", "/v1/registries/real", other);
        let second = notified.push("team/app:1", "two");
        eventually("the old token is refused", || {
            let metrics = serving.admin("/metrics").text();
            metrics
                .contains("waypost_notifications_total{registry=\"real\",result=\"unauthenticated\"}")
                .then_some(())
        });
        assert_eq!(notified.digest(&app), Some(first));
        // The registry keeps what it could not tell, and tells it when the token is the right one again.
        notified.register("PUT", "/v1/registries/real", TOKEN);
        notified.becomes(&app, Some(&second));
        registry.stop();
        notified.register("PUT", "/v1/registries/real", other);
        let _registry = notified.start(other);
        let third = notified.push("team/app:1", "three");
        notified.becomes(&app, Some(&third));
        assert!(!format!("{:?}", serving.log()).contains(other));
    });
}

const TOKEN: &str = "a-notification-token-of-the-tests";
