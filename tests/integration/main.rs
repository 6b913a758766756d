//! The integration tests: one binary, one module for each concern.

#![expect(
    clippy::unwrap_used,
    reason = "clippy.toml excepts test functions, not the functions that they share"
)]

mod mutated_reviews;
mod reference_conformance;
mod support;
