//! Copies that `waypost serve` makes, asked for by REST and by `waypost push --server`, between registries that everybody runs.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::client::{Client, Protocol, Reply};
use crate::support::cluster::case::pod;
use crate::support::cluster::{Cluster, Registry, Size};
use crate::support::distribution::Distribution;
use crate::support::eventually;
use crate::support::leaks::Leaks;
use crate::support::program::{Directory, Finished, finish};
use crate::support::serving::{PORTS, Serving};

/// A Waypost that can be killed and started again, and the registry whose images it copies.
struct Pushing<'c> {
    cluster: &'c Cluster,
    home: Directory,
    waypost: Serving,
    source: Distribution,
    directories: Vec<Directory>,
}

impl<'c> Pushing<'c> {
    fn start() -> Self {
        let cluster = Cluster::start(Size::ControlPlane);
        let (home, of_source) = (Directory::new(), Directory::new());
        let pushing = Self {
            cluster,
            waypost: serve(&home),
            home,
            source: Distribution::start(cluster, of_source.path(), None),
            directories: vec![of_source],
        };
        pushing.register("source", pushing.source.port, json!({}));
        pushing
    }

    fn rest(&self, method: &str, path: &str, body: &Value) -> Reply {
        let token = std::fs::read_to_string(self.home.path().join("data/admin.token")).unwrap();
        let bearer = format!("Bearer {}", token.trim());
        let headers = [("authorization", &*bearer), ("content-type", "application/json")];
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let client = Client::new(&self.home.path().join("certs/local/ca.crt"), Protocol::Http1);
        client.request(self.waypost.api, method, path, &headers, body).unwrap()
    }

    /// Registers the registry of a port, which Waypost reaches without TLS.
    fn register(&self, id: &str, port: u16, more: Value) {
        let mut body = json!({"name": id, "registry_url": format!("127.0.0.1:{port}"), "plain_http": true});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let reply = self.rest("POST", "/v1/registries", &body);
        assert_eq!(reply.status, 201, "{}", reply.text());
    }

    /// A registry that is registered.
    fn target(&mut self, id: &str, passwords: bool) -> Distribution {
        let directory = Directory::new();
        let htpasswd = passwords.then(|| self.cluster.path("htpasswd"));
        let registry = Distribution::start(self.cluster, directory.path(), htpasswd.as_deref());
        self.directories.push(directory);
        self.register(id, registry.port, json!({}));
        registry
    }

    /// Gives a registry the names that images of the source have there: a port is no part of a path.
    fn named_as_in_the_source(&self, id: &str, port: u16) {
        let body = json!({
            "name": id, "registry_url": format!("127.0.0.1:{port}"), "plain_http": true,
            "names": {"to": "{repository}", "from": format!("127.0.0.1:{}", self.source.port)},
        });
        let reply = self.rest("PUT", &format!("/v1/registries/{id}"), &body);
        assert_eq!(reply.status, 200, "{}", reply.text());
    }

    fn image(&self, name: &str) -> String {
        format!("127.0.0.1:{}/{name}", self.source.port)
    }

    /// Puts an image of one layer of so many bytes, which nothing compresses, into the source.
    fn layer(&self, image: &str, bytes: usize) -> String {
        let mut state = bytes as u64 + 1;
        let content: Vec<u8> = (0..bytes)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                state.to_be_bytes()[0]
            })
            .collect();
        self.home.write("layer", content);
        let mut tar = Command::new("tar");
        tar.args(["-cf", "layer.tar", "layer"]).current_dir(self.home.path());
        finish(tar, b"").exits(0);
        let mut crane = self.cluster.tool("crane");
        crane.args([
            "append",
            "--oci-empty-base",
            "-f",
            "layer.tar",
            "-t",
            &self.image(image),
        ]);
        crane.current_dir(self.home.path());
        finish(crane, b"").exits(0);
        self.crane(&["digest", &self.image(image)])
    }

    fn crane(&self, args: &[&str]) -> String {
        let mut crane = self.cluster.tool("crane");
        crane.args(args);
        finish(crane, b"").exits(0).out().trim().to_owned()
    }

    fn push(&self, image: &str, to: &str, more: &[&str]) -> Finished {
        self.home.run(self.command(image, to, more))
    }

    fn command(&self, image: &str, to: &str, more: &[&str]) -> Vec<String> {
        let server = format!("https://{}", self.waypost.api);
        let args = ["push", &self.image(image), "--to", to, "--server", &server];
        args.iter().chain(more).map(|arg| (*arg).to_owned()).collect()
    }

    /// How the push of this path went, once it has ended.
    fn ended(&self, path: &str) -> Value {
        eventually("the end of a push", || {
            let push: Value = serde_json::from_str(&self.rest("GET", path, &Value::Null).text()).unwrap();
            let state = push["last_attempt"]["state"].as_str().unwrap();
            matches!(state, "SUCCEEDED" | "FAILED").then(|| push.clone())
        })
    }
}

fn serve(home: &Directory) -> Serving {
    let mut command = home.command(["serve"].iter().chain(&PORTS));
    command.env("WAYPOST_LOG__LEVEL", "debug");
    Serving::spawn(Directory::new(), command)
}

#[test]
fn what_is_asked_for_by_rest_and_by_the_command_line_is_copied_and_joined_and_tried_again() {
    let mut pushing = Pushing::start();
    let registry = Registry::open(format!("127.0.0.1:{}", pushing.source.port));
    let digest = pushing.cluster.push(&registry, "team/app:1", "hello");
    let digest = digest.rsplit('@').next().unwrap().to_owned();
    let a = pushing.target("a", false);
    let image = pushing.image("team/app:1");
    // A port is no part of a path.
    let refused = pushing.rest("POST", "/v1/pushes", &json!({"image": image, "registry_id": "a"}));
    assert_eq!(refused.status, 422, "{}", refused.text());
    pushing.named_as_in_the_source("a", a.port);

    let asked = pushing.rest("POST", "/v1/pushes", &json!({"image": image, "registry_id": "a"}));
    assert_eq!(asked.status, 202, "{}", asked.text());
    let path = asked.headers["location"].to_str().unwrap().to_owned();
    let ended = pushing.ended(&path);
    assert_eq!(
        (&ended["last_attempt"]["state"], &ended["last_success"]["digest"]),
        (&json!("SUCCEEDED"), &json!(digest)),
        "{ended}"
    );
    let target = format!("127.0.0.1:{}/team/app:1", a.port);
    assert_eq!(ended["last_success"]["target"], *target);
    assert_eq!(pushing.crane(&["digest", &target]), digest);

    // The same from the command line: it is there already.
    let again = pushing
        .push("team/app:1", "a", &[])
        .exits(0)
        .complains("was there already");
    assert_eq!(again.out(), format!("{target}@{digest}\n"));
    // Nobody waits for it.
    let id = pushing.push("team/app:1", "a", &["--no-wait"]).exits(0);
    assert_eq!(format!("/v1/pushes/{}", id.out().trim()), path);
    pushing.ended(&path);

    // The registry is down, and up again.
    let port = a.port;
    a.stop();
    let failed = pushing.push("team/app:1", "a", &["--retry"]).exits(1);
    assert!(
        failed.stderr.contains("was not copied: ") && failed.stderr.contains("--retry"),
        "{failed:?}"
    );
    let ended = pushing.ended(&path);
    assert_eq!(
        ended["last_success"]["digest"], *digest,
        "Pods are pulled from where they were"
    );
    let directory = pushing.directories.last().unwrap().path();
    let _a = Distribution::start_at(pushing.cluster, directory, None, port);
    pushing.push("team/app:1", "a", &["--retry"]).exits(0);

    // What is wrong is said, with the exit status that it has.
    pushing
        .push("team/app:1", "nobody", &[])
        .exits(1)
        .complains("there is no registry `nobody`");
    pushing
        .push("team/none:1", "a", &["--retry"])
        .exits(1)
        .complains("there is no such push");
    pushing
        .push("team/none:1", "a", &[])
        .exits(1)
        .complains("was not copied");
    pushing
        .push("team/app:1", "r.io/team", &[])
        .exits(2)
        .complains("--to is the id of a registry");
    pushing.home.write("token", "wrong");
    pushing
        .push("team/app:1", "a", &["--token-file", "token"])
        .exits(2)
        .complains("the token is nobody's");
    let alone = [
        "push",
        &*image,
        "--to",
        &format!("127.0.0.1:{port}"),
        "--as",
        "team/alone:1",
    ];
    let alone = pushing.home.run(alone).exits(0);
    assert!(
        alone.stderr.contains("nothing is recorded, and Pods are not led there"),
        "{}",
        alone.stderr
    );
}

#[test]
fn a_credential_is_good_for_one_push_and_gone_when_that_has_ended() {
    let mut pushing = Pushing::start();
    let registry = Registry::open(format!("127.0.0.1:{}", pushing.source.port));
    pushing.cluster.push(&registry, "team/app:1", "hello");
    let a = pushing.target("a", true);
    pushing.named_as_in_the_source("a", a.port);
    let Registry { username, password, .. } = pushing.cluster.protected();
    let (wrong, leaks) = (
        "a-wrong-password-nobody-has",
        [Leaks::of("a-wrong-password-nobody-has"), Leaks::of(password)],
    );
    pushing.home.write("password", format!("{password}\n"));

    let with = |command: &[String], stdin: &str| pushing.home.feed(command, stdin.as_bytes());
    let by_stdin = pushing.command("team/app:1", "a", &["--username", username, "--password-stdin"]);
    let failed = with(&by_stdin, wrong).exits(1);
    leaks
        .iter()
        .for_each(|leaks| leaks.absent("what the command says", &failed.stderr));
    let by_file = ["--retry", "--username", username, "--password-file", "password"];
    let pushed = pushing.push("team/app:1", "a", &by_file).exits(0);
    assert!(pushed.out().contains("/team/app:1@sha256:"), "{pushed:?}");
    // It was for that one.
    pushing.push("team/app:1", "a", &["--retry"]).exits(1);

    let listed = pushing.rest("GET", "/v1/pushes", &Value::Null).text();
    let log = format!("{:#?}", pushing.waypost.log());
    let metrics = pushing.waypost.admin("/metrics").text();
    pushing.waypost.signal("TERM");
    pushing.waypost.ended();
    for leaks in &leaks {
        for (place, text) in [("the answers", &listed), ("the log", &log), ("the metrics", &metrics)] {
            leaks.absent(place, text);
        }
    }
    drop(a);
}

#[test]
fn every_image_that_pods_use_is_pushed_but_for_what_lies_there() {
    Cluster::start(Size::ControlPlane).test("warm", |case| {
        let mut pushing = Pushing::start();
        let registry = Registry::open(format!("127.0.0.1:{}", pushing.source.port));
        pushing.cluster.push(&registry, "team/app:1", "hello");
        let a = pushing.target("a", false);
        pushing.named_as_in_the_source("a", a.port);
        let [app, none] = ["team/app:1", "team/none:1"].map(|name| pushing.image(name));
        let there = format!("127.0.0.1:{}/team/there:1", a.port);
        for (name, image) in [("one", &app), ("two", &app), ("three", &none), ("four", &there)] {
            case.create("pods", &pod(name, image)).unwrap();
        }
        let kubeconfig = case.cluster.kubeconfig().display().to_string();
        let server = format!("https://{}", pushing.waypost.api);
        let warm = |more: &[&str]| {
            let args = [
                "warm",
                "--registry",
                "a",
                "--server",
                &server,
                "--kubeconfig",
                &kubeconfig,
                "-n",
                &case.namespace,
            ];
            pushing.home.run(args.iter().chain(more))
        };
        let listed = warm(&["--dry-run"]).exits(0);
        assert_eq!(listed.out(), format!("{app}\n{none}\n"));
        let lines = |finished: &Finished| {
            let lines = finished.out().lines().skip(1);
            lines
                .map(|line| line.split("   ").map(|cell| cell.trim().to_owned()).collect::<Vec<_>>())
                .collect::<Vec<_>>()
        };
        for result in ["pushed", "was there"] {
            let done = warm(&[]).exits(1).complains("1 of 2 images were not pushed");
            let lines = lines(&done);
            assert_eq!((&*lines[0][0], &*lines[0][1]), (&*app, result), "{done:?}");
            assert_eq!((&*lines[1][0], &*lines[1][1]), (&*none, "failed"), "{done:?}");
        }
        let finished = pushing.home.run([
            "warm",
            "--registry",
            "b",
            "--server",
            &server,
            "--kubeconfig",
            &kubeconfig,
        ]);
        finished.exits(2).complains("there is no registry `b` at https://");
    });
}

/// Between Waypost and a registry: slow for as long as it is told to.
struct Slow {
    port: u16,
    is_slow: Arc<AtomicBool>,
}

impl Slow {
    fn before(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = listener.local_addr().unwrap().port();
        let is_slow = Arc::new(AtomicBool::new(true));
        let slow = is_slow.clone();
        // It ends with the process of the test.
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, slow) = (client.unwrap(), slow.clone());
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else {
                    continue;
                };
                let (from_server, to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                thread::spawn(move || forward(client, server, || slow.load(Ordering::Relaxed)));
                thread::spawn(move || forward(from_server, to_client, || false));
            }
        });
        Self { port: here, is_slow }
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream, is_slow: impl Fn() -> bool) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if is_slow() {
            thread::sleep(Duration::from_millis(20));
        }
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

#[test]
fn a_copy_in_the_middle_of_which_waypost_is_killed_is_made_by_the_next_one_and_who_waits_for_it_waits_on() {
    let mut pushing = Pushing::start();
    let digest = pushing.layer("team/big:1", 30 << 20);
    let directory = Directory::new();
    let a = Distribution::start(pushing.cluster, directory.path(), None);
    let slow = Slow::before(a.port);
    let more = json!({
        "endpoint": format!("http://127.0.0.1:{}", slow.port),
        "names": {"to": "{repository}", "from": format!("127.0.0.1:{}", pushing.source.port)},
    });
    pushing.register("a", a.port, more);
    let waits = pushing.home.command(pushing.command("team/big:1", "a", &[]));
    let asked = pushing.push("team/big:1", "a", &["--no-wait"]).exits(0);
    let path = format!("/v1/pushes/{}", asked.out().trim());
    eventually("bytes on their way", || {
        let push: Value = serde_json::from_str(&pushing.rest("GET", &path, &Value::Null).text()).unwrap();
        let attempt = &push["last_attempt"];
        assert_ne!(attempt["state"], "SUCCEEDED", "it was quicker than the test");
        (attempt["state"] == "RUNNING" && attempt["bytes_done"].as_u64() > Some(0)).then_some(())
    });
    let address = pushing.waypost.api;
    pushing.waypost.signal("KILL");
    pushing.waypost.ended();
    // At the address that it had, where somebody still waits for it.
    let mut command = pushing.home.command([
        "serve",
        "--webhook-listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
        "--api-listen",
    ]);
    command.arg(address.to_string());
    pushing.waypost = Serving::spawn(Directory::new(), command);
    let mut waits = waits;
    let waiting = waits
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    slow.is_slow.store(false, Ordering::Relaxed);
    let ended = pushing.ended(&path);
    assert_eq!(
        (
            &ended["last_attempt"]["state"],
            &ended["last_attempt"]["attempt"],
            &ended["last_success"]["digest"]
        ),
        (&json!("SUCCEEDED"), &json!(1), &json!(digest)),
        "{ended}"
    );
    let done = waiting.wait_with_output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    pushing.crane(&["validate", "--remote", &format!("127.0.0.1:{}/team/big:1", a.port)]);
}
