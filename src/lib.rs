//! Waypost decides, at the moment a Pod is created, which registry every one of its images is pulled from.
//!
//! # The map
//!
//! | where | what | may use |
//! | --- | --- | --- |
//! | [`reference`] | image references: grammar, normal form | `std` |
//! | [`document`] | documents people write: YAML with places, checks against a schema, diagnostics | serde |
//! | [`config`] | the configuration: file, environment, flags | files, the environment |
//!
//! The core is pure: it knows no HTTP, no Kubernetes client, no clock and no files. Adapters sit behind the default feature
//! `server`, do not import each other, and are wired together by `app`.

pub mod document;

#[cfg(feature = "server")]
pub mod config;
