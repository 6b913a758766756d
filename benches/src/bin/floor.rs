//! The least that a webhook can do: it reads a review's uid, skips the object unread, and answers with a patch that is always the same.

use std::{net::SocketAddr, path::PathBuf};

use axum::{Router, body::Bytes, http::header::CONTENT_TYPE, response::IntoResponse, routing::post};
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use serde_json::value::RawValue;

#[derive(serde::Deserialize)]
struct Review<'a> {
    #[serde(borrow)]
    request: Request<'a>,
}

#[derive(serde::Deserialize)]
struct Request<'a> {
    uid: &'a str,
    #[serde(borrow, rename = "object")]
    _object: &'a RawValue,
}

async fn mutate(body: Bytes) -> impl IntoResponse {
    let review: Review<'_> = serde_json::from_slice(&body).expect("the benchmark sends reviews");
    let uid = review.request.uid;
    let answer = format!(
        r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","response":{{"uid":"{uid}","allowed":true,"patchType":"JSONPatch","patch":"{PATCH}"}}}}"#
    );
    ([(CONTENT_TYPE, "application/json")], answer)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(tls)) = (arguments.next(), arguments.next().map(PathBuf::from)) else {
        anyhow::bail!("usage: floor ADDRESS:PORT TLS_DIR");
    };
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("a provider is installed already"))?;
    let config = RustlsConfig::from_pem_file(tls.join("tls.crt"), tls.join("tls.key")).await?;
    // Without TCP_NODELAY, the 99th percentile would be the 40 ms of a delayed acknowledgement.
    let acceptor = RustlsAcceptor::new(config).acceptor(axum_server::accept::NoDelayAcceptor::new());
    axum_server::bind(address.parse::<SocketAddr>()?)
        .acceptor(acceptor)
        .serve(Router::new().route("/mutate", post(mutate)).into_make_service())
        .await?;
    Ok(())
}

/// `[{"op":"replace","path":"/spec/containers/0/image","value":"registry.example.org/docker.io/library/busybox:1.37"}]`
const PATCH: &str = "W3sib3AiOiJyZXBsYWNlIiwicGF0aCI6Ii9zcGVjL2NvbnRhaW5lcnMvMC9pbWFnZSIsInZhbHVlIjoicmVnaXN0cnkuZXhhbXBsZS5vcmcvZG9ja2VyLmlvL2xpYnJhcnkvYnVzeWJveDoxLjM3In1d";
