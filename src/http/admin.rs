//! The admin port: `/metrics`, `/livez`, `/readyz` and `/drain`, in the clear, for the kubelet and for Prometheus.

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::header::{ALLOW, CONTENT_TYPE};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::health::Health;
use super::lifecycle::{Lifecycle, Phase};

/// The metrics in Prometheus' text format, or why there are none.
pub type Scrape = Arc<dyn Fn() -> Result<String, String> + Send + Sync>;

/// The admin port's routes.
pub fn router(scrape: Scrape, health: Health, lifecycle: Lifecycle) -> Router {
    Router::new()
        .route("/", get(async || PATHS))
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/drain", get(drain))
        .fallback(async || (StatusCode::NOT_FOUND, PATHS))
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(Admin {
            scrape,
            health,
            lifecycle,
        })
}

#[derive(Clone)]
struct Admin {
    scrape: Scrape,
    health: Health,
    lifecycle: Lifecycle,
}

async fn metrics(State(admin): State<Admin>) -> Response {
    match (admin.scrape)() {
        Ok(text) => ([(CONTENT_TYPE, HeaderValue::from_static(TEXT_FORMAT))], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// That a task answers is all there is to know: whatever else could be wrong, a restart would not mend.
async fn livez() -> &'static str {
    "ok\n"
}

/// Stays ready while draining: kube-proxy sends to terminating endpoints that are ready when no other is left
/// (KEP-1669), and a review answered by a Pod on its way out is better than none.
async fn readyz(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Response {
    let mut report = admin.health.report();
    let phase = admin.lifecycle.phase();
    if phase >= Phase::Stopping {
        report.ready = false;
        report.text = format!("[-]shutdown failed: the process is stopping\n{}", report.text);
        report.text = report.text.replace("readyz check passed", "readyz check failed");
    } else if phase == Phase::Draining {
        report.text = format!("[+]shutdown draining: still serving, about to stop\n{}", report.text);
    }
    let status = if report.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let text = if !report.ready || asks_for_detail(query.as_deref()) {
        report.text
    } else {
        "ok\n".to_owned()
    };
    (status, text).into_response()
}

/// For `preStop: httpGet`: answers when clients have had the time to move their connections elsewhere.
async fn drain(State(admin): State<Admin>, method: Method) -> Response {
    // axum answers HEAD where it answers GET, and somebody who only looks must not drain.
    if method != Method::GET {
        return method_not_allowed().await;
    }
    admin.lifecycle.drain().await;
    "drained\n".into_response()
}

async fn method_not_allowed() -> Response {
    (
        StatusCode::METHOD_NOT_ALLOWED,
        [(ALLOW, HeaderValue::from_static("GET"))],
        "only GET\n",
    )
        .into_response()
}

fn asks_for_detail(query: Option<&str>) -> bool {
    query
        .unwrap_or_default()
        .split('&')
        .any(|pair| pair.split('=').next() == Some("verbose"))
}

const PATHS: &str = "/metrics /livez /readyz (?verbose) /drain\n";
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

#[cfg(test)]
mod tests;
