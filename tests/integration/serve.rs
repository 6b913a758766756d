//! `waypost serve` as a process: what it opens, says and answers, and how it ends.

mod configuration;
mod ending;
mod namespaces;
mod reloading;
mod replicating;
mod starting;

use std::fs;

use serde_json::Value;

use crate::support::client::{Client, Protocol};
use crate::support::program::Directory;
use crate::support::serving::Serving;
use crate::support::{ALL_IMAGES, fixture};

const PRESET: [&str; 2] = ["--preset", "cern-pull-through"];

/// A policy that pulls Docker Hub through this host.
fn through(host: &str) -> String {
    format!(
        "apiVersion: waypost.dev/v1alpha1\nkind: Policy\nmetadata: {{name: mine}}\nspec:\n  rules:\n    - \
         {{name: hub, match: {{images: [docker.io/**]}}, rewrite: {{prefix: {host}}}}}\n"
    )
}

#[test]
fn a_pod_is_patched_over_either_protocol_and_sent_again_it_gets_no_patch() {
    let serving = Serving::start(Directory::new(), &PRESET);
    let body = fs::read(fixture(ALL_IMAGES)).unwrap();
    let review: Value = serde_json::from_slice(&body).unwrap();
    for (protocol, version) in [
        (Protocol::Http1, hyper::Version::HTTP_11),
        (Protocol::Http2, hyper::Version::HTTP_2),
    ] {
        let client = serving.client(protocol);
        let reply = client.post(serving.webhook, body.clone()).unwrap();
        assert_eq!(reply.version, version);
        let (patch, object) = reply.applied_to(&review);
        assert!(patch.is_some(), "{protocol:?}");
        let image = object["spec"]["containers"][0]["image"].as_str().unwrap();
        assert!(image.starts_with("registry.cern.ch/"), "{image}");

        let mut again = review.clone();
        again["request"]["object"] = object;
        let reply = client.post(serving.webhook, again.to_string().into_bytes()).unwrap();
        assert_eq!(reply.applied_to(&again).0, None, "{protocol:?}");
    }
    assert_eq!(
        serving.metric(r#"waypost_reviews_total{operation="CREATE",outcome="patched"}"#),
        2.0
    );
    assert_eq!(
        serving.metric(r#"waypost_reviews_total{operation="CREATE",outcome="unchanged"}"#),
        2.0
    );
}

#[test]
fn what_is_no_review_is_refused_and_counted() {
    let serving = Serving::start(Directory::new(), &PRESET);
    let client = serving.client(Protocol::Http1);
    assert_eq!(serving.review("{").status, 400);
    assert_eq!(client.get(serving.webhook, "/mutate").unwrap().status, 405);
    assert_eq!(client.get(serving.webhook, "/").unwrap().status, 404);
    let refused = r#"waypost_reviews_total{operation="unknown",outcome="bad_request"}"#;
    assert_eq!(serving.metric(refused), 1.0);
}

#[test]
fn the_admin_port_tells_of_health_and_metrics() {
    let serving = Serving::start(Directory::new(), &PRESET);
    assert_eq!(
        (serving.admin("/livez").status, serving.admin("/readyz").text()),
        (200, "ok\n".to_owned())
    );
    let detail = serving.admin("/readyz?verbose").text();
    for check in [
        "[+]policies ok",
        "[+]certificate ok",
        "[+]certificate-validity ok",
        "readyz check passed",
    ] {
        assert!(detail.contains(check), "no {check} in {detail}");
    }
    assert_eq!(serving.admin("/nothing").status, 404);
    assert_eq!(serving.metric("waypost_policy_generation"), 1.0);
    assert_eq!(serving.metric("waypost_policy_reload_failures_total"), 0.0);
    assert!(serving.metric("waypost_certificate_expiry_timestamp_seconds") > 2e9);
}

#[test]
fn the_ports_do_not_answer_for_each_other() {
    let serving = Serving::start(Directory::new(), &PRESET);
    let client = serving.client(Protocol::Http1);
    assert_eq!(client.get(serving.webhook, "/metrics").unwrap().status, 404);
    assert!(
        Client::plain().get(serving.webhook, "/mutate").is_err(),
        "plain HTTP on the port with TLS"
    );
}
