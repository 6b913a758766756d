//! Images that Pods use and a rule replicates.

use std::fs;

use serde_json::{Value, json};

use crate::support::client::Protocol;
use crate::support::program::Directory;
use crate::support::serving::{PORTS, Serving};
use crate::support::{eventually, fixture};

const POLICY: &str = "apiVersion: waypost.dev/v1alpha1
kind: Policy
metadata: {name: replicated}
spec:
  rules:
    - {name: hub, match: {images: ['docker.io/**']}, replicate: {registry: corp}}
";

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Nobody answers for the registry `corp`: what is asked for is all that is looked at.
fn serve() -> Serving {
    let directory = Directory::new();
    directory.write("policies.d/10-replicated.yaml", POLICY);
    let mut command = directory.command(["serve"].iter().chain(&PORTS));
    command.env("WAYPOST_REGISTRIES__PROBE", "0s");
    let serving = Serving::spawn(directory, command);
    let (status, reply) = rest(
        &serving,
        "POST",
        "/v1/registries",
        &json!({"name": "corp", "registry_url": "http://127.0.0.1:1/team"}),
    );
    assert_eq!(status, 201, "{reply}");
    serving
}

fn rest(serving: &Serving, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let token = fs::read_to_string(serving.directory().path().join("data/admin.token")).unwrap();
    let bearer = format!("Bearer {}", token.trim());
    let headers = [("authorization", &*bearer), ("content-type", "application/json")];
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let client = serving.client(Protocol::Http1);
    let reply = client.request(serving.api, method, path, &headers, body).unwrap();
    (reply.status, serde_json::from_slice(&reply.body).unwrap_or_default())
}

/// The images of which there is a record.
fn recorded(serving: &Serving) -> Vec<String> {
    let (_, list) = rest(serving, "GET", "/v1/pushes?registry_id=corp", &Value::Null);
    let items = list["items"].as_array().unwrap().iter();
    let mut images: Vec<String> = items.map(|item| item["image"].as_str().unwrap().to_owned()).collect();
    images.sort_unstable();
    images
}

/// The image that a Pod with this one gets.
fn given(serving: &Serving, image: &str, dry_run: bool) -> String {
    let mut review: Value = serde_json::from_slice(&fs::read(fixture("pod-create.json")).unwrap()).unwrap();
    review["request"]["object"]["spec"]["containers"][0]["image"] = json!(image);
    review["request"]["dryRun"] = json!(dry_run);
    let (_, object) = serving.review(review.to_string()).applied_to(&review);
    object["spec"]["containers"][0]["image"].as_str().unwrap().to_owned()
}

#[test]
fn the_first_pod_runs_from_the_source_and_has_its_image_copied_and_one_that_is_tried_out_has_nothing_copied() {
    let serving = serve();
    // The registry is there for reviews a moment after it was registered: until then nothing is replicated.
    eventually("a copy that is asked for", || {
        assert_eq!(given(&serving, "busybox", false), "busybox");
        (!recorded(&serving).is_empty()).then_some(())
    });
    assert_eq!(given(&serving, "tried-out:1", true), "tried-out:1");
    assert_eq!(given(&serving, "quay.io/other:1", false), "quay.io/other:1");
    let pinned = format!("pinned:1@{DIGEST}");
    assert_eq!(given(&serving, &pinned, false), pinned);
    // The queue is first in, first out: what was there before would be recorded by now.
    eventually("another", || {
        (recorded(&serving)
            == [
                "docker.io/library/busybox:latest".to_owned(),
                format!("docker.io/library/pinned@{DIGEST}"),
            ])
        .then_some(())
    });
    assert_eq!(serving.metric(r#"waypost_first_uses_total{result="asked"}"#), 2.0);

    let report = json!({"image": "busybox", "registry_id": "corp", "digest": DIGEST, "state": "SUCCEEDED"});
    assert_eq!(rest(&serving, "POST", "/v1/pushes", &report).0, 201);
    eventually("the next Pod runs from the registry", || {
        (given(&serving, "busybox", false) == "127.0.0.1:1/team/docker.io/library/busybox").then_some(())
    });
}
