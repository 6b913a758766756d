//! The integration tests: one binary, one module for each concern.

mod reference_conformance;
