//! Waypost beside another webhook, and Waypost away.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::routing::post;
use base64::Engine;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use waypost::http::lifecycle::Lifecycle;
use waypost::http::server::{Limits, Server};
use waypost::tls::{self, Tls};

use super::{on_control_plane, through};
use crate::support::cluster::case::{images_of, pod};
use crate::support::cluster::webhook::{Registration, Webhook};
use crate::support::eventually;

#[test]
fn a_sidecar_that_another_webhook_adds_afterwards_is_rewritten() {
    on_control_plane("sidecar", |case| {
        let _waypost = case.waypost(&through("mirror.test"));
        let injector = Injector::start();
        // Sorts after `waypost`: it is called second, and Waypost once more after it.
        let registration = Registration::other(case, "zz-injector", injector.address, &injector.authority);
        registration.await_call(|| injector.calls());
        let stored = case.rewrites(
            &pod("p", "alpine"),
            &[
                "mirror.test/docker.io/library/alpine",
                "mirror.test/docker.io/org/sidecar:1",
            ],
        );
        assert_eq!(
            stored["metadata"]["annotations"]["waypost.dev/rules"],
            "c=test/hub,injected=test/hub"
        );
    });
}

#[test]
fn while_waypost_is_away_pods_are_created_as_they_are_or_not_at_all_as_one_chose() {
    on_control_plane("away-ignore", |case| {
        let _registration = case.waypost(&through("mirror.test")).killed();
        case.accepts(&pod("p", "alpine"));
    });
    on_control_plane("away-fail", |case| {
        let _registration = Webhook::start(case, &through("mirror.test"), "", &["--failure-policy", "Fail"]).killed();
        case.rejects(&pod("p", "alpine"), "failed calling webhook \"pods.waypost.dev\"");
    });
}

#[test]
fn a_policy_that_changes_on_disk_decides_on_the_next_pod() {
    on_control_plane("reload", |case| {
        let waypost = case.waypost(&through("one.test"));
        case.rewrites(&pod("p", "alpine"), &["one.test/docker.io/library/alpine"]);
        waypost
            .serving
            .directory()
            .write("policies.d/test.yaml", through("two.test"));
        eventually("the new policy", || {
            let asked = case.dry_run(&pod("q", "alpine")).unwrap();
            (images_of(&asked) == ["two.test/docker.io/library/alpine"]).then_some(())
        });
    });
}

/// Adds a container to every Pod that does not have it.
struct Injector {
    address: SocketAddr,
    authority: PathBuf,
    calls: Arc<AtomicU32>,
    _certificates: TempDir,
    _runtime: Runtime,
}

impl Injector {
    fn start() -> Self {
        let certificates = TempDir::new().unwrap();
        tls::ensure_local(certificates.path(), &[]).unwrap();
        let source = tls::Source {
            dir: certificates.path().to_owned(),
            client_ca: None,
        };
        let tls = Arc::new(Tls::load(source, SystemTime::now()).unwrap());
        let calls = Arc::new(AtomicU32::new(0));
        let called = calls.clone();
        let answer = move |body: Bytes| {
            called.fetch_add(1, Ordering::Relaxed);
            let answer = inject(&serde_json::from_slice(&body).unwrap()).to_string();
            std::future::ready(([(CONTENT_TYPE, "application/json")], answer))
        };
        let router = Router::new().route("/mutate", post(answer));
        // Its one thread is where this one is: on the same network.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = runtime
            .block_on(Server::bind("injector", loopback, router, Limits::default()))
            .unwrap();
        let server = server.with_tls(Arc::new(move || tls.config()));
        let address = server.local_addr();
        runtime.spawn(server.run(Lifecycle::new(Duration::ZERO)));
        Self {
            address,
            authority: certificates.path().join("ca.crt"),
            calls,
            _certificates: certificates,
            _runtime: runtime,
        }
    }

    fn calls(&self) -> f64 {
        self.calls.load(Ordering::Relaxed).into()
    }
}

fn inject(review: &Value) -> Value {
    let mut response = json!({"uid": review["request"]["uid"], "allowed": true});
    let containers = review["request"]["object"]["spec"]["containers"].as_array().unwrap();
    if containers.iter().all(|container| container["name"] != "injected") {
        let sidecar = json!({"name": "injected", "image": "org/sidecar:1"});
        let patch = json!([{"op": "add", "path": "/spec/containers/-", "value": sidecar}]);
        response["patchType"] = json!("JSONPatch");
        response["patch"] = json!(base64::engine::general_purpose::STANDARD.encode(patch.to_string()));
    }
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
}
