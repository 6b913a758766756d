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
//! | [`cases`] | test files: what policies are expected to make of images | `decide` |
//!
//! The core is pure: it knows no HTTP, no Kubernetes client, no clock and no files. Adapters sit behind the default feature
//! `server`, do not import each other, and are wired together by `app`.

pub mod cases;
pub mod decide;
pub mod document;
pub mod policy;
pub mod reference;
