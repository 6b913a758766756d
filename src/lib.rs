//! Waypost decides, at the moment a Pod is created, which registry every one of its images is pulled from.
//!
//! # The map
//!
//! | where | what | may use |
//! | --- | --- | --- |
//! | [`reference`](mod@reference) | image references: grammar, normal form, JSON lines | `std`, `serde` |
//! | [`document`] | documents people write: YAML with places, checks against a schema, diagnostics | serde |
//! | [`policy`] | rules, patterns, templates, presets; from documents to a compiled set | `document`, `reference` |
//! | [`decide`] | what becomes of one image, and why | `policy` |
//! | [`config`] | the configuration: file, environment, flags | files, the environment |
//! | [`telemetry`] | what the process says about itself: log, panics | stderr |
//! | [`cli`] | the command line | everything |
//!
//! The core is pure: it knows no HTTP, no Kubernetes client, no clock and no files. Adapters sit behind the default feature
//! `server`, do not import each other, and are wired together by `app`.

pub mod decide;
pub mod document;
pub mod policy;
pub mod reference;

#[cfg(feature = "server")]
pub mod cli;
#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "server")]
pub mod telemetry;
