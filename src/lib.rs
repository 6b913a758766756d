//! Waypost decides, at the moment a Pod is created, which registry every one of its images is pulled from.
//!
//! # The map
//!
//! | where | what | may use |
//! | --- | --- | --- |
//! | [`reference`] | image references: grammar, normal form | `std` |
//! | [`http`] | the webhook's and the admin port's routes, the server under them, its life cycle | hyper, axum, rustls |
//! | [`tls`] | the serving certificate: made, checked, re-read | rustls, rcgen |
//! | [`metrics`] | what is counted, and how without a lock | prometheus |
//! | [`watch`] | files and directories whose content has changed | `std`, tokio |
//!
//! The core is pure: it knows no HTTP, no Kubernetes client, no clock and no files. Adapters sit behind the default feature
//! `server`, do not import each other, and are wired together by `app`.

#[cfg(feature = "server")]
pub mod http;
#[cfg(feature = "server")]
pub mod metrics;
#[cfg(feature = "server")]
pub mod tls;
#[cfg(feature = "server")]
pub mod watch;
