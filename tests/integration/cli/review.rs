//! `waypost review`: a review in, its answer out.

use std::fs;

use serde_json::{Value, json};

use super::{GOOD, with_policy};
use crate::support::client::applied;
use crate::support::program::Directory;
use crate::support::{ALL_IMAGES, fixture};

const HUB: [&str; 3] = ["review", "--preset", "cern-pull-through"];

#[test]
fn the_images_of_each_captured_review_are_rewritten() {
    for name in [
        "pod-create.json",
        "job-pod-create.json",
        "jupyterhub-pod-create.json",
        ALL_IMAGES,
    ] {
        let body = fs::read(fixture(name)).unwrap();
        let review: Value = serde_json::from_slice(&body).unwrap();
        let answer = Directory::new().feed(HUB, &body).exits(0);
        let (patch, object) = applied(&answer.stdout, &review);
        assert!(patch.is_some(), "{name}");
        let spec = &object["spec"];
        let mut images = 0;
        for (list, image, policy) in [
            ("initContainers", "/image", "/imagePullPolicy"),
            ("containers", "/image", "/imagePullPolicy"),
            ("volumes", "/image/reference", "/image/pullPolicy"),
        ] {
            for element in spec[list].as_array().into_iter().flatten() {
                if let Some(image) = element.pointer(image).and_then(Value::as_str) {
                    assert!(image.starts_with("registry.cern.ch/"), "{image} of {name}");
                    assert_eq!(element.pointer(policy), Some(&json!("Always")), "{image} of {name}");
                    images += 1;
                }
            }
        }
        let annotations = object["metadata"]["annotations"].as_object().unwrap();
        let recorded = annotations
            .keys()
            .filter(|key| key.starts_with("image.waypost.dev/") || key.starts_with("volume.waypost.dev/"));
        assert_eq!(recorded.count(), images, "{name}");
        // What the API server would ask if another webhook changed the Pod.
        let mut again = review.clone();
        again["request"]["object"] = object;
        let answer = Directory::new().feed(HUB, again.to_string().as_bytes()).exits(0);
        assert_eq!(applied(&answer.stdout, &again).0, None, "{name}, once more");
    }
}

#[test]
fn a_new_ephemeral_container_is_rewritten_and_nothing_else() {
    let body = fs::read(fixture("ephemeral-container-update.json")).unwrap();
    let review: Value = serde_json::from_slice(&body).unwrap();
    let answer = Directory::new().feed(HUB, &body).exits(0);
    let (patch, object) = applied(&answer.stdout, &review);
    for operation in patch.unwrap().as_array().unwrap() {
        assert!(
            operation["path"]
                .as_str()
                .unwrap()
                .starts_with("/spec/ephemeralContainers/")
        );
    }
    let image = object["spec"]["ephemeralContainers"][0]["image"].as_str().unwrap();
    assert!(image.starts_with("registry.cern.ch/docker.io/"), "{image}");
}

#[test]
fn without_a_rule_for_them_images_are_left() {
    let body = fs::read(fixture("pod-create.json")).unwrap();
    let answer = Directory::new().feed(["review"], &body).exits(0);
    let review = serde_json::from_slice(&body).unwrap();
    assert_eq!(applied(&answer.stdout, &review).0, None);
    assert!(answer.out().ends_with("}\n"));
}

#[test]
fn a_denial_is_an_answer() {
    let mut review: Value = serde_json::from_slice(&fs::read(fixture("pod-create.json")).unwrap()).unwrap();
    review["request"]["object"]["spec"]["containers"][0]["image"] = json!("forbidden.io/x");
    let answer = with_policy(GOOD)
        .feed(["review"], review.to_string().as_bytes())
        .exits(0)
        .json();
    let response = &answer["response"];
    assert_eq!(
        (&response["allowed"], &response["status"]["code"]),
        (&json!(false), &json!(403))
    );
    let message = response["status"]["message"].as_str().unwrap();
    assert!(message.starts_with("ask us first (container \"bb\""), "{message}");
    assert!(message.contains("rule mine/no-forbidden"), "{message}");
}

#[test]
fn what_is_no_review_is_refused_in_words() {
    let rows: [(&[u8], &str); 6] = [
        (b"", "error: the body is not JSON"),
        (b"{", "error: the body is not JSON"),
        (b"\xff", "error: the body is not JSON"),
        (b"[]", "error: the body is no AdmissionReview"),
        (
            br#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1beta1"}"#,
            "speaks admission.k8s.io/v1",
        ),
        (
            br#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{}}"#,
            "has no uid",
        ),
    ];
    for (body, complaint) in rows {
        let refused = Directory::new().feed(["review"], body).exits(2).complains(complaint);
        assert_eq!(refused.out(), "");
    }
}
