//! Waypost decides, at the moment a Pod is created, which registry every one of its images is pulled from.
//!
//! # The map
//!
//! | where | what | may use |
//! | --- | --- | --- |
//! | [`reference`](mod@reference) | image references: grammar, normal form, JSON lines | `std`, `serde` |
//! | [`document`] | documents people write: YAML with places, checks against a schema, diagnostics | serde |
//! | [`policy`] | rules, patterns, templates, presets; from documents to a compiled set | `document`, `reference` |
//! | [`snapshot`] | everything decisions are made by, at one moment | `policy`, `pushes` |
//! | [`decide`] | what becomes of one image, and why | `snapshot` |
//! | [`cases`] | test files: what policies are expected to make of images | `decide` |
//! | [`review`] | AdmissionReviews on the wire: what is read of a Pod, how a patch is written | serde |
//! | [`admission`] | from a review and a snapshot to an answer | all of the above |
//! | [`crds`] | the CustomResourceDefinitions of Waypost's objects, from the types that files are read by | `policy`, `registry` |
//! | [`manifest`] | from a manifest and a snapshot to a manifest: the same changes, spliced into the text | `admission` |
//! | [`registry`] | registries: address, endpoint, names there and back, namespaces, credentials, conditions, when tokens are renewed | `reference`, `policy` |
//! | [`pushes`] | pushes: whose image went where, what becomes of a record, and which push of an image is the latest | `reference`, `registry` |
//! | [`pull_secret`] | pull secrets: from registries, a namespace and what is seen of its Secret to the next step | `registry` |
//! | [`rotation`] | the webhook's certificates: from what is seen of them to the next step of a renewal | jiff, base64 |
//! | [`config`] | the configuration: file, environment, flags | files, the environment |
//! | [`policy_source`] | policies from files | files |
//! | [`http`] | the webhook's, the REST API's and the admin port's routes, the server under them, its life cycle | hyper, axum, rustls |
//! | [`tls`] | certificates: made, checked, re-read, and an authority for those of a cluster | rustls, rcgen |
//! | [`store`] | where registries are kept: what every home of them does, and the embedded one | redb |
//! | [`cluster`] | the Kubernetes API as a client: how it is reached, what is followed there, the Lease, Waypost's own objects, registries' other home | kube, `store` |
//! | [`authorization`] | who may do what by REST: the tokens of one machine, or whom the API server says | ring |
//! | [`notifications`] | what registries tell of pushes: whose token it is, how much at once, what is kept of it | `store`, ring |
//! | [`credentials`] | credentials that are files or variables, read when they are used, or that Amazon or Google issue for a while | files, the environment, AWS's crates, hyper |
//! | [`tokens`] | the tokens of the REST API on one machine | files |
//! | [`oci`] | registries as a client: probes, sign-in, tokens; where credentials may go | hyper, rustls |
//! | [`metrics`] | what is counted, and how without a lock | prometheus |
//! | [`watch`] | files and directories whose content has changed | `std`, tokio |
//! | [`telemetry`] | what the process says about itself: log, panics | stderr |
//! | [`app`] | the composition root: makes the parts, connects them, owns every task | everything |
//! | [`cli`] | the command line | everything |
//!
//! The core is pure: it knows no HTTP, no Kubernetes client, no clock and no files. Adapters sit behind the default feature
//! `server`, do not import each other, and are wired together by `app`.

pub mod admission;
pub mod cases;
pub mod crds;
pub mod decide;
pub mod document;
pub mod manifest;
pub mod policy;
pub mod pull_secret;
pub mod pushes;
pub mod reference;
pub mod registry;
pub mod review;
pub mod rotation;
pub mod snapshot;

#[cfg(feature = "server")]
pub mod app;
#[cfg(feature = "server")]
pub mod authorization;
#[cfg(feature = "server")]
pub mod cli;
#[cfg(feature = "server")]
pub mod cluster;
#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "server")]
pub mod credentials;
#[cfg(feature = "server")]
pub mod http;
#[cfg(feature = "server")]
pub mod metrics;
#[cfg(feature = "server")]
pub mod notifications;
#[cfg(feature = "server")]
pub mod oci;
#[cfg(feature = "server")]
pub mod policy_source;
#[cfg(feature = "server")]
pub mod store;
#[cfg(feature = "server")]
pub mod telemetry;
#[cfg(feature = "server")]
pub mod tls;
#[cfg(feature = "server")]
pub mod tokens;
#[cfg(feature = "server")]
pub mod watch;
