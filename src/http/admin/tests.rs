use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::*;

struct Port {
    router: Router,
    health: Health,
    lifecycle: Lifecycle,
}

impl Port {
    fn new() -> Self {
        let (health, lifecycle) = (Health::default(), Lifecycle::new(Duration::from_secs(15)));
        let scrape: Scrape = Arc::new(|| Ok("waypost_build_info 1\n".to_owned()));
        Self {
            router: router(scrape, health.clone(), lifecycle.clone()),
            health,
            lifecycle,
        }
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let (status, _, text) = self.ask("GET", path).await;
        (status, text)
    }

    async fn ask(&self, method: &str, path: &str) -> (u16, axum::http::HeaderMap, String) {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.into_body().collect().await.unwrap().to_bytes();
        (status, headers, String::from_utf8(text.to_vec()).unwrap())
    }
}

#[tokio::test]
async fn metrics_are_in_the_text_format() {
    let (status, headers, text) = Port::new().ask("GET", "/metrics").await;
    assert_eq!((status, text.as_str()), (200, "waypost_build_info 1\n"));
    assert_eq!(headers[CONTENT_TYPE], "text/plain; version=0.0.4; charset=utf-8");
}

#[tokio::test]
async fn a_failing_scrape_says_why() {
    let scrape: Scrape = Arc::new(|| Err("no".to_owned()));
    let router = router(scrape, Health::default(), Lifecycle::new(Duration::ZERO));
    let response = router
        .oneshot(Request::get("/metrics").body(Body::empty()).unwrap())
        .await
        .unwrap();
    assert_eq!(response.status(), 500);
}

#[tokio::test]
async fn readiness_is_short_when_all_is_well_and_long_when_asked_or_not() {
    let port = Port::new();
    let policies = port.health.add("policies", "not compiled yet");
    port.health.add("certificate", "not loaded yet").fine();
    let (status, text) = port.get("/readyz").await;
    assert_eq!(status, 503);
    assert!(
        text.contains("[-]policies failed since") && text.contains("not compiled yet"),
        "{text}"
    );
    assert!(text.ends_with("[+]certificate ok\nreadyz check failed\n"), "{text}");

    policies.fine();
    assert_eq!(port.get("/readyz").await, (200, "ok\n".to_owned()));
    let detail = (
        200,
        "[+]policies ok\n[+]certificate ok\nreadyz check passed\n".to_owned(),
    );
    for query in ["verbose", "verbose=", "verbose=true", "x=1&verbose"] {
        assert_eq!(port.get(&format!("/readyz?{query}")).await, detail, "{query}");
    }

    policies.degraded("a.yaml:3:1: unknown key");
    assert_eq!(port.get("/readyz").await.0, 200);
    assert!(
        port.get("/readyz?verbose")
            .await
            .1
            .contains("Z: a.yaml:3:1: unknown key\n")
    );
}

#[tokio::test]
async fn a_draining_process_is_ready_and_a_stopping_one_is_not() {
    let port = Port::new();
    port.health.add("policies", "").fine();
    tokio::select! {
        biased;
        _ = port.get("/drain") => panic!("a drain takes its time"),
        answer = port.get("/readyz?verbose") => {
            assert_eq!(answer.0, 200);
            assert!(answer.1.starts_with("[+]shutdown draining"), "{}", answer.1);
        }
    }
    port.lifecycle.stop();
    let (status, text) = port.get("/readyz").await;
    assert_eq!(status, 503);
    assert!(
        text.starts_with("[-]shutdown failed") && text.ends_with("readyz check failed\n"),
        "{text}"
    );
    assert_eq!(
        port.get("/livez").await,
        (200, "ok\n".to_owned()),
        "alive until the end"
    );
}

#[tokio::test(start_paused = true)]
async fn a_drain_answers_when_it_is_over_and_a_second_one_with_it() {
    let port = Port::new();
    let start = tokio::time::Instant::now();
    let later = async {
        tokio::time::sleep(Duration::from_secs(10)).await;
        port.get("/drain").await
    };
    let (first, second) = tokio::join!(port.get("/drain"), later);
    assert_eq!((first.0, second.0), (200, 200));
    assert_eq!(start.elapsed().as_secs(), 15);
}

#[tokio::test]
async fn only_get_drains() {
    let port = Port::new();
    for method in ["HEAD", "POST"] {
        let (status, headers, _) = port.ask(method, "/drain").await;
        assert_eq!((status, &headers[ALLOW]), (405, &HeaderValue::from_static("GET")));
    }
    assert_eq!(port.lifecycle.phase(), Phase::Serving);
}

#[tokio::test]
async fn any_other_path_lists_the_paths() {
    let port = Port::new();
    assert_eq!(port.get("/").await, (200, PATHS.to_owned()));
    assert_eq!(port.get("/mutate").await, (404, PATHS.to_owned()));
}
