//! What `serve` says when it is ready: where it listens, and what to try next.

use std::{
    io::{self, Write},
    net::SocketAddr,
    path::Path,
};

use crate::tls::Local;

/// What there is to say.
pub(super) struct Banner<'a> {
    pub(super) certificate: Local,
    pub(super) tls_dir: &'a Path,
    pub(super) webhook: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) api: SocketAddr,
    /// Where the token for everything is, where there is one.
    pub(super) admin_token: Option<&'a Path>,
}

impl Banner<'_> {
    /// Logs it; for `people`, as lines to copy, which a log's time and level would be in the way of.
    pub(super) fn print(&self, people: bool) {
        let dir = self.tls_dir.display();
        match self.certificate {
            Local::Created => {
                tracing::info!(%dir, "made a certificate authority and a certificate for this machine in {dir}")
            }
            Local::Existing => tracing::info!(%dir, "using the certificate in {dir}"),
        }
        let (webhook, admin, api) = (reachable(self.webhook), reachable(self.admin), reachable(self.api));
        let (curl, registries, kubectl) = (self.curl(), self.registries(), self.kubectl());
        if people {
            let text = format!(
                "\nWaypost is ready.\n  reviews   https://{webhook}/mutate\n  metrics   http://{admin}/metrics\n  health    http://{admin}/readyz?verbose\n  REST API  https://{api}/v1/registries\n\n\
                 Try a review:\n  {curl}\n\nSee which registries are registered:\n  {registries}\n\nHave the cluster of your kubeconfig ask it, if it can reach this address:\n  {kubectl}\n\n"
            );
            // Nobody left to tell.
            let _ = io::stderr().lock().write_all(text.as_bytes());
        } else {
            tracing::info!(
                %webhook, %admin, %api,
                "ready: reviews at https://{webhook}/mutate, metrics and health at http://{admin}/, the REST API at https://{api}/v1/"
            );
            tracing::info!("try it: {curl}");
            tracing::info!("register it with the cluster of your kubeconfig: {kubectl}");
        }
    }

    fn curl(&self) -> String {
        let review = if Path::new(EXAMPLE).exists() {
            EXAMPLE
        } else {
            "REVIEW.json"
        };
        format!(
            "curl --cacert {} -H 'Content-Type: application/json' --data @{review} https://{}/mutate",
            quoted(&self.ca()),
            reachable(self.webhook)
        )
    }

    fn registries(&self) -> String {
        let token = match self.admin_token {
            Some(path) => format!("$(cat {})", quoted(&path.display().to_string())),
            None => "$(kubectl create token NAME)".to_owned(),
        };
        format!(
            "curl --cacert {} -H \"Authorization: Bearer {token}\" https://{}/v1/registries",
            quoted(&self.ca()),
            reachable(self.api)
        )
    }

    fn kubectl(&self) -> String {
        let program = std::env::args()
            .next()
            .unwrap_or_else(|| env!("CARGO_PKG_NAME").to_owned());
        format!(
            "{} webhook-config --url https://{}/mutate --ca-file {} | kubectl apply -f -",
            quoted(&program),
            reachable(self.webhook),
            quoted(&self.ca())
        )
    }

    fn ca(&self) -> String {
        self.tls_dir.join("ca.crt").display().to_string()
    }
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

/// A word for a shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_can_be_pasted() {
        assert_eq!(quoted("certs/local/ca.crt"), "certs/local/ca.crt");
        assert_eq!(quoted("my dir/it's"), r"'my dir/it'\''s'");
        assert_eq!(reachable("0.0.0.0:8443".parse().unwrap()).to_string(), "127.0.0.1:8443");
        assert_eq!(reachable("[::]:8443".parse().unwrap()).to_string(), "[::1]:8443");
    }
}
