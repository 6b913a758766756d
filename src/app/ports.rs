//! The ports that a process opens.

use std::net::SocketAddr;

use crate::http::{
    admin,
    health::Health,
    lifecycle::Lifecycle,
    server::{self, Server},
};

/// Metrics and health.
pub(super) async fn admin(
    listen: SocketAddr,
    scrape: admin::Scrape,
    health: Health,
    lifecycle: Lifecycle,
) -> anyhow::Result<Server> {
    let router = admin::router(scrape, health, lifecycle);
    Server::bind("admin", listen, router, server::Limits::admin())
        .await
        .map_err(|error| cannot_listen("server.admin.listen", &error))
}

/// Most of the time it is a second Waypost.
pub(super) fn cannot_listen(key: &str, error: &std::io::Error) -> anyhow::Error {
    if error.kind() == std::io::ErrorKind::AddrInUse {
        anyhow::anyhow!("{error}: is another process listening there? `{key}` says where to listen")
    } else {
        anyhow::anyhow!("{error}: `{key}` says where to listen")
    }
}
