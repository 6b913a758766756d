//! Images that Waypost copies into registries, and Pods that are pulled from there.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::installing::{CHART, Helm};
use super::{on_node, running};
use crate::cluster::policy;
use crate::support::client::Protocol;
use crate::support::cluster::case::{Case, images_of, pod};
use crate::support::cluster::webhook::Webhook;
use crate::support::cluster::{Cluster, Registry, Size};
use crate::support::distribution::Distribution;
use crate::support::eventually;
use crate::support::program::Directory;

/// A registry of a test's own that can be stopped and started again.
struct Stoppable<'a> {
    case: &'a Case<'a>,
    directory: Directory,
    running: Option<Distribution>,
    port: u16,
}

impl<'a> Stoppable<'a> {
    fn start(case: &'a Case<'a>) -> Self {
        let directory = Directory::new();
        let running = Distribution::start(case.cluster, directory.path(), None);
        let port = running.port;
        Self {
            case,
            directory,
            running: Some(running),
            port,
        }
    }

    fn stop(&mut self) {
        self.running.take().unwrap().stop();
    }

    fn start_again(&mut self) {
        let again = Distribution::start_at(self.case.cluster, self.directory.path(), None, self.port);
        self.running = Some(again);
    }

    fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn name(&self) -> String {
        self.named("1")
    }

    fn named(&self, tag: &str) -> String {
        format!("{}/team/app:{tag}", self.host())
    }

    fn push(&self, text: &str) -> String {
        self.push_as("1", text)
    }

    fn push_as(&self, tag: &str, text: &str) -> String {
        let registry = Registry::open(self.host());
        let pushed = self.case.cluster.push(&registry, &format!("team/app:{tag}"), text);
        pushed
            .rsplit_once('@')
            .map_or(pushed.clone(), |(_, digest)| digest.to_owned())
    }
}

/// The next Pod is pulled from there.
fn follows(case: &Case<'_>, image: &str, target: &str) {
    eventually(&format!("{image} goes to {target}"), || {
        let asked = case.dry_run(&pod("asked", image)).unwrap();
        (images_of(&asked) == [target]).then_some(())
    });
}

/// The next Pod is pulled from there, and runs.
fn runs_from(case: &Case<'_>, name: &str, image: &str, target: &str, digest: &str) {
    follows(case, image, target);
    case.kubectl(&["run", name, &format!("--image={image}")]).exits(0);
    let pod = running(case, name);
    assert_eq!(images_of(&pod), [target]);
    let status = &pod["status"]["containerStatuses"][0];
    assert!(
        status["imageID"].as_str().unwrap().contains(digest),
        "{status:#} is not {digest}"
    );
}

#[test]
fn pods_follow_copies_and_one_that_failed_is_tried_again() {
    on_node("copies", |case| {
        let source = Stoppable::start(case);
        let (mut a, b) = (Stoppable::start(case), Stoppable::start(case));
        let nothing = policy("{name: nothing, match: {images: [nobody.invalid/**]}, keep: {}}");
        let waypost = Webhook::start(case, &nothing, "registries: {probe: 1s}", &[]);
        let client = waypost.client(Protocol::Http1);
        let ask = |token: &str, method: &str, path: &str, body: &Value| -> (u16, Value) {
            let file = waypost.directory().path().join(format!("data/{token}.token"));
            let bearer = format!("Bearer {}", std::fs::read_to_string(file).unwrap().trim());
            let headers = [("authorization", &*bearer), ("content-type", "application/json")];
            let body = if body.is_null() {
                String::new()
            } else {
                body.to_string()
            };
            let reply = client.request(waypost.api, method, path, &headers, body).unwrap();
            (reply.status, serde_json::from_str(&reply.text()).unwrap())
        };
        for (name, registry) in [("source", &source), ("a", &a), ("b", &b)] {
            let mut body = json!({"name": name, "registry_url": format!("http://{}", registry.host()), "namespaces": {"names": [case.namespace]}});
            if name != "source" {
                body["names"] = json!({"to": "{repository}", "from": source.host()});
            }
            let (status, answer) = ask("admin", "POST", "/v1/registries", &body);
            assert_eq!(status, 201, "{answer:#}");
        }
        let image = source.name();
        let begin = |registry: &str| {
            let body = json!({"image": image, "registry_id": registry});
            let (status, push) = ask("push", "POST", "/v1/pushes", &body);
            assert_eq!(status, 202, "{push:#}");
            format!("/v1/pushes/{}", push["id"].as_str().unwrap())
        };
        let state = |push: &str| {
            let (status, push) = ask("push", "GET", push, &Value::Null);
            assert_eq!(status, 200, "{push:#}");
            push
        };
        let ends = |push: &str, expected: &str| {
            let ended = eventually(&format!("the end of {push}"), || {
                let push = state(push);
                let state = push["last_attempt"]["state"].as_str().unwrap().to_owned();
                ["SUCCEEDED", "FAILED"].contains(&&*state).then_some(push)
            });
            assert_eq!(ended["last_attempt"]["state"], expected, "{ended:#}");
            ended
        };

        let first = source.push("the first");
        follows(case, &image, &image);
        let to_a = begin("a");
        assert_eq!(ends(&to_a, "SUCCEEDED")["last_success"]["digest"], *first);
        runs_from(case, "first", &image, &a.name(), &first);
        let to_b = begin("b");
        ends(&to_b, "SUCCEEDED");
        runs_from(case, "second", &image, &b.name(), &first);

        let second = source.push("the second");
        a.stop();
        assert_eq!(begin("a"), to_a, "it is the same push record");
        eventually("it runs", || {
            (state(&to_a)["last_attempt"]["state"] == "RUNNING").then_some(())
        });
        follows(case, &image, &b.name());
        let failed = ends(&to_a, "FAILED");
        let error = failed["last_attempt"]["error"].as_str().unwrap();
        assert!(error.contains(&a.host()), "{error}");
        runs_from(case, "third", &image, &b.name(), &first);

        a.start_again();
        let sent = || waypost.metric("waypost_push_bytes_total{registry=\"a\"}");
        let before = sent();
        let (status, retried) = ask("push", "POST", &format!("{to_a}/retry"), &Value::Null);
        assert_eq!(
            (status, &retried["last_attempt"]["attempt"]),
            (202, &json!(3)),
            "{retried:#}"
        );
        let done = ends(&to_a, "SUCCEEDED");
        assert_eq!(done["last_success"]["digest"], *second);
        runs_from(case, "fourth", &image, &a.name(), &second);
        // The layers with the program were there.
        let total = done["last_attempt"]["bytes_total"].as_f64().unwrap();
        assert!(sent() - before < total / 2.0, "{} of {total}", sent() - before);
    });
}

#[test]
fn the_second_pod_of_a_rollout_runs_from_the_registry() {
    on_node("first-use", |case| {
        let (source, a) = (Stoppable::start(case), Stoppable::start(case));
        let rule = format!(
            "{{name: first, match: {{images: ['{}/**']}}, replicate: {{registry: a, when: firstUse}}}}",
            source.host()
        );
        let waypost = Webhook::start(case, &policy(&rule), "registries: {probe: 1s}", &[]);
        let file = waypost.directory().path().join("data/admin.token");
        let bearer = format!("Bearer {}", std::fs::read_to_string(file).unwrap().trim());
        let headers = [("authorization", &*bearer), ("content-type", "application/json")];
        for (name, registry) in [("source", &source), ("a", &a)] {
            let mut body = json!({"name": name, "registry_url": format!("http://{}", registry.host()), "namespaces": {"names": [case.namespace]}});
            if name != "source" {
                body["names"] = json!({"to": "{repository}", "from": source.host()});
            }
            let reply = waypost
                .client(Protocol::Http1)
                .request(waypost.api, "POST", "/v1/registries", &headers, body.to_string())
                .unwrap();
            assert_eq!(reply.status, 201, "{}", reply.text());
        }
        let digest = source.push("used twice");
        rolls_out(case, &source.name(), &a.name(), &digest);
    });
}

/// A Deployment whose first Pod runs from the image's own registry, and the next one from where it was copied to.
fn rolls_out(case: &Case<'_>, image: &str, target: &str, digest: &str) {
    // Nothing is copied for who only asks.
    for _ in 0..3 {
        let asked = case.dry_run(&pod("asked", image)).unwrap();
        assert_eq!(images_of(&asked), [image]);
    }
    let create = ["create", "deployment", "web", &format!("--image={image}")];
    case.kubectl(&create).exits(0);
    let status = ["rollout", "status", "deployment/web", "--timeout=100s"];
    case.kubectl(&status).exits(0);
    let pods = case.pods("app=web", 1);
    assert_eq!(images_of(&pods[0]), [image]);
    follows(case, image, target);
    case.kubectl(&["rollout", "restart", "deployment/web"]).exits(0);
    case.kubectl(&status).exits(0);
    let next = eventually("the next Pod alone", || {
        let pods = case
            .admin
            .get(&format!("{}?labelSelector=app=web", case.path("pods")))
            .unwrap();
        let pods = pods["items"].as_array().unwrap().clone();
        (pods.len() == 1 && pods[0]["metadata"]["deletionTimestamp"].is_null()).then(|| pods[0].clone())
    });
    assert_eq!(images_of(&next), [target]);
    let status = &next["status"]["containerStatuses"][0];
    assert!(
        status["imageID"].as_str().unwrap().contains(digest),
        "{status:#} is not {digest}"
    );
}

#[test]
fn in_a_release_objects_are_copied_whoever_leads_and_first_uses_of_every_replica() {
    Cluster::with(Size::Node, &[]).unwrap().test("copied", |case| {
        let (source, a) = (Stoppable::start(case), Stoppable::start(case));
        let slow = Slow::before(source.port);
        let helm = Helm::new(case);
        let mut values = vec![
            "--set=webhook.replicas=2".to_owned(),
            "--set=controller.replicas=2".to_owned(),
            format!(
                "--set=policies.first.rules[0].name=first,policies.first.rules[0].match.images[0]={}/**",
                source.host()
            ),
            "--set=policies.first.rules[0].replicate.registry=a".to_owned(),
        ];
        for (id, registry, port) in [("source", &source, slow.port), ("a", &a, a.port)] {
            values.push(format!("--set=registries.{id}.url={}", registry.host()));
            // To a Pod the node's loopback is another one.
            values.push(format!("--set=registries.{id}.endpoint=http://192.168.77.1:{port}"));
        }
        let names = json!({"to": "{repository}", "from": source.host()});
        values.push(format!("--set-json=registries.a.names={names}"));
        let values: Vec<_> = values.iter().map(String::as_str).collect();
        let install = ["install", "waypost", CHART, "--wait", "--timeout=100s"];
        helm.run(&[&install, &*values].concat());

        // By hand, and whoever leads goes away in the middle.
        let digest = source.push("by hand");
        let image = source.name();
        let hex = ring::digest::digest(&ring::digest::SHA256, image.as_bytes());
        let hex: String = hex.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        let object = json!({
            "apiVersion": "waypost.dev/v1alpha1",
            "kind": "Push",
            "metadata": {"name": format!("a.{hex}")},
            "spec": {"image": image, "registry": "a"},
        });
        slow.slowly(true);
        case.kubectl_with(&["create", "-f", "-"], &object.to_string()).exits(0);
        let push = || -> Value {
            let shown = case
                .kubectl(&["get", "push", &format!("a.{hex}"), "--output=json"])
                .exits(0);
            serde_json::from_str(shown.out()).unwrap()
        };
        eventually("it is copied", || {
            (push()["status"]["lastAttempt"]["state"] == "RUNNING" && slow.is_used()).then_some(())
        });
        let lease = case.kubectl(&[
            "--namespace=default",
            "get",
            "lease",
            "waypost-controller",
            "--output=jsonpath={.spec.holderIdentity}",
        ]);
        let holder = lease.exits(0).out().to_owned();
        let leads = holder.split(['_', '/']).next().unwrap().to_owned();
        case.kubectl(&[
            "--namespace=default",
            "delete",
            "pod",
            &leads,
            "--grace-period=0",
            "--force",
        ])
        .exits(0);
        slow.slowly(false);
        let done = eventually("its end", || {
            let push = push();
            (push["status"]["lastAttempt"]["state"] == "SUCCEEDED").then_some(push)
        });
        assert_eq!(done["status"]["lastSuccess"]["digest"], *digest, "{done:#}");
        assert_eq!(done["status"]["lastAttempt"]["attempt"], 1, "{done:#}");
        runs_from(case, "by-hand", &image, &a.name(), &digest);
        let table = case.kubectl(&["get", "pushes", "--output=wide"]).exits(0);
        assert!(table.out().contains("SUCCEEDED"), "{}", table.out());
        case.kubectl(&["delete", "push", &format!("a.{hex}")]).exits(0);
        follows(case, &image, &image);

        // One replica after the other is asked. That another image was looked at a moment ago is none of its concern.
        let digest = source.push_as("2", "by Pods");
        rolls_out(case, &source.named("2"), &a.named("2"), &digest);
        helm.run(&["uninstall", "waypost", "--wait", "--timeout=100s"]);
    });
}

/// Before a registry, on all addresses of the machine: what comes from it comes slowly where a test says so.
struct Slow {
    port: u16,
    slowly: Arc<AtomicBool>,
    passed: Arc<AtomicU64>,
}

impl Slow {
    fn before(port: u16) -> Self {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let slow = Self {
            port: listener.local_addr().unwrap().port(),
            slowly: Arc::default(),
            passed: Arc::default(),
        };
        let (slowly, passed) = (slow.slowly.clone(), slow.passed.clone());
        // It ends with the process: nobody connects to it any more.
        thread::spawn(move || {
            for client in listener.incoming() {
                let (mut client, mut server) = (client.unwrap(), TcpStream::connect(("127.0.0.1", port)).unwrap());
                let (mut up, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                thread::spawn(move || {
                    // Whoever goes away closes both.
                    let _ = io::copy(&mut up, &mut to);
                    let _ = to.shutdown(Shutdown::Both);
                });
                let (slowly, passed) = (slowly.clone(), passed.clone());
                thread::spawn(move || {
                    let mut piece = vec![0; 16 * 1024];
                    while let Ok(read) = server.read(&mut piece)
                        && read > 0
                        && client.write_all(&piece[..read]).is_ok()
                    {
                        passed.fetch_add(read as u64, Ordering::Relaxed);
                        if slowly.load(Ordering::Relaxed) {
                            thread::sleep(Duration::from_millis(200));
                        }
                    }
                    let _ = client.shutdown(Shutdown::Both);
                });
            }
        });
        slow
    }

    fn slowly(&self, slowly: bool) {
        self.slowly.store(slowly, Ordering::Relaxed);
    }

    /// Whether a part of a layer has come through.
    fn is_used(&self) -> bool {
        self.passed.load(Ordering::Relaxed) > 200_000
    }
}
