//! What the REST API counts.

use prometheus::{IntCounterVec, Opts, Registry};

use super::register;

/// Requests to the REST API.
pub(super) fn requests(registry: &Registry) -> IntCounterVec {
    register(
        registry,
        IntCounterVec::new(
            Opts::new(
                "waypost_api_requests_total",
                "Requests to the REST API that were answered, by path as the OpenAPI document has it, method and status.",
            ),
            &["route", "method", "status"],
        ),
    )
}
