//! The integration tests: one binary, one module for each concern.

#![expect(
    clippy::unwrap_used,
    reason = "clippy.toml excepts test functions, not the functions that they share"
)]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "whoever runs the tests is told what they found"
)]

mod api;
mod chart;
mod cli;
mod cluster;
mod copying;
mod image;
mod mutated_reviews;
mod notifications;
mod probes;
mod pushing;
mod readme;
mod reference_conformance;
mod serve;
mod store;
mod support;
mod tokens;
mod verification;
