//! What `serve` says when it is ready: where it listens, and what to try next.

use std::{net::SocketAddr, path::Path};

use crate::tls::Local;

/// Logs it, line by line, so that it is well formed in a log of JSON as well.
pub(super) fn print(certificate: Local, tls_dir: &Path, webhook: SocketAddr, admin: SocketAddr) {
    let ca = tls_dir.join("ca.crt");
    match certificate {
        Local::Created => tracing::info!(
            dir = %tls_dir.display(),
            "made a certificate authority and a certificate for this machine in {}",
            tls_dir.display()
        ),
        Local::Existing => tracing::info!(dir = %tls_dir.display(), "using the certificate in {}", tls_dir.display()),
    }
    tracing::info!(%webhook, %admin, "ready: reviews at https://{}/mutate, metrics and health at http://{}/", reachable(webhook), reachable(admin));
    let review = if Path::new(EXAMPLE).exists() {
        EXAMPLE
    } else {
        "REVIEW.json"
    };
    tracing::info!(
        "try it: curl --cacert {} -H 'Content-Type: application/json' --data @{review} https://{}/mutate",
        ca.display(),
        reachable(webhook)
    );
    // Written out, because flags of `serve` are none of `webhook-config`.
    tracing::info!(
        "register it with the cluster of your kubeconfig: {} webhook-config --url https://{} --ca-file {} | kubectl apply -f -",
        program(),
        reachable(webhook),
        ca.display(),
    );
}

/// As it was called, so that the line works where it is pasted.
fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "waypost".to_owned())
}

/// A review of the checkout that `make run` is in.
const EXAMPLE: &str = "tests/fixtures/reviews/pod-create-all-images.json";

/// An address to connect to: that of all interfaces is not one.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}
