//! Reviews that wait for their namespace, through the router.

use std::{future::Future, pin::pin};

use axum::{body::Body, http::Request};
use futures_util::{FutureExt, future::join_all};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::time::{Instant, advance};
use tower::ServiceExt;

use super::*;
use crate::{
    document::Source,
    http::webhook,
    policy::{Input, Settings, compile},
    snapshot,
};

const RULES: &str = "
apiVersion: waypost.dev/v1alpha1
kind: Policy
metadata: {name: p}
spec:
  rules:
    - {name: physics, match: {namespaceSelector: {matchLabels: {team: physics}}}, rewrite: {prefix: physics.io}}
    - {name: all, rewrite: {prefix: all.io}}
";

struct Waypost {
    current: Arc<Current>,
    metrics: Arc<Metrics>,
    router: axum::Router,
}

impl Waypost {
    fn new(watched: bool) -> Self {
        let compiled = compile(&Input {
            sources: vec![Source::new("p", RULES)],
            presets: Vec::new(),
            settings: Settings::default(),
        });
        let mut snapshot = Snapshot::new(Arc::new(compiled.set.unwrap()), 1);
        if watched {
            snapshot.namespaces = snapshot::Namespaces::watched();
        }
        let (current, metrics) = (Arc::new(Current::new(snapshot)), Arc::new(Metrics::new()));
        let reviews = Arc::new(Reviews::new(current.clone(), metrics.clone()));
        Self {
            current,
            metrics,
            router: webhook::router(reviews, Arc::new(|_| ()), webhook::Limits::default()),
        }
    }

    fn publish(&self, namespace: &str, team: &str) {
        self.current.update(|snapshot| {
            snapshot.namespaces.insert(namespace, [("team", team)]);
        });
    }

    /// The response to a Pod with one image.
    fn review(&self, operation: &str, namespace: &str) -> impl Future<Output = Value> + use<> {
        let pod = json!({"metadata": {"name": "x"}, "spec": {"containers": [{"name": "a", "image": "alpine"}]}});
        let body = json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": {
            "uid": "u", "resource": {"group": "", "resource": "pods"}, "namespace": namespace, "operation": operation,
            "object": pod}});
        let request = Request::post("/mutate")
            .header("content-type", "application/json")
            .body(Body::from(body.to_string()))
            .unwrap();
        let answer = self.router.clone().oneshot(request);
        async move {
            let body = answer.await.unwrap().into_body().collect().await.unwrap().to_bytes();
            serde_json::from_slice::<Value>(&body).unwrap()["response"].take()
        }
    }

    fn counted(&self, outcome: &str, rule: &str) -> u64 {
        let prefix = format!("waypost_images_total{{outcome=\"{outcome}\",rule=\"{rule}\",");
        let text = self.metrics.common().render().unwrap();
        let lines = text.lines().filter(|line| line.starts_with(&prefix));
        lines
            .map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap())
            .sum()
    }
}

fn image(response: &Value) -> String {
    use base64::Engine;
    let patch = base64::engine::general_purpose::STANDARD
        .decode(response["patch"].as_str().unwrap())
        .unwrap();
    let patch: Value = serde_json::from_slice(&patch).unwrap();
    let images = patch.as_array().unwrap().iter();
    let mut images = images.filter(|operation| operation["path"] == "/spec/containers/0/image");
    images.next().unwrap()["value"].as_str().unwrap().to_owned()
}

const BY_LABEL: &str = "physics.io/docker.io/library/alpine";
const WITHOUT: &str = "all.io/docker.io/library/alpine";

#[tokio::test(start_paused = true)]
async fn a_review_in_a_new_namespace_is_answered_the_moment_that_the_namespace_is_known() {
    let waypost = Waypost::new(true);
    let mut review = pin!(waypost.review("CREATE", "new"));
    advance(Duration::from_millis(100)).await;
    assert!(review.as_mut().now_or_never().is_none());
    waypost.publish("another", "physics");
    assert!(review.as_mut().now_or_never().is_none());
    waypost.publish("new", "physics");
    let response = review.now_or_never().expect("woken");
    assert_eq!(image(&response), BY_LABEL);
    assert_eq!(response["warnings"], Value::Null);
    assert_eq!(
        (
            waypost.counted("rewritten", "p/physics"),
            waypost.counted("namespace_unknown", "p/all")
        ),
        (1, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn after_a_quarter_of_a_second_it_is_decided_as_if_the_namespace_had_no_labels() {
    let waypost = Waypost::new(true);
    let began = Instant::now();
    let response = waypost.review("CREATE", "new").await;
    assert_eq!(began.elapsed(), Duration::from_millis(250));
    assert_eq!(image(&response), WITHOUT);
    assert_eq!(
        response["warnings"],
        json!(["waypost: the namespace \"new\" was not known in time: rules saw no labels of it"])
    );
    assert_eq!(
        (
            waypost.counted("rewritten", "p/all"),
            waypost.counted("namespace_unknown", "p/all")
        ),
        (0, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn what_needs_no_namespace_is_not_waited_for() {
    let (watched, unwatched) = (Waypost::new(true), Waypost::new(false));
    watched.publish("known", "physics");
    let response = watched.review("CREATE", "known").now_or_never().unwrap();
    assert_eq!(image(&response), BY_LABEL);
    // A Pod that goes; and a caller that names no namespace.
    watched.review("DELETE", "new").now_or_never().unwrap();
    watched.review("CREATE", "").now_or_never().unwrap();
    let response = unwatched.review("CREATE", "any").now_or_never().unwrap();
    assert_eq!(image(&response), WITHOUT);
    assert_eq!(unwatched.counted("rewritten", "p/all"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_reviews_wait_at_once_and_those_whose_caller_goes_are_forgotten() {
    let waypost = Waypost::new(true);
    let began = Instant::now();
    let names: Vec<_> = (0..1_000).map(|number| format!("n-{number}")).collect();
    let mut reviews = pin!(join_all(names.iter().map(|name| waypost.review("CREATE", name))));
    assert!(reviews.as_mut().now_or_never().is_none());
    {
        let mut gone = pin!(waypost.review("CREATE", "n-0"));
        assert!(gone.as_mut().now_or_never().is_none());
    }
    waypost.current.update(|snapshot| {
        for name in &names {
            snapshot.namespaces.insert(name, [("team", "physics")]);
        }
    });
    let responses = reviews.await;
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert!(responses.iter().all(|response| image(response) == BY_LABEL));
    assert_eq!(waypost.counted("rewritten", "p/physics"), 1_000);
}
