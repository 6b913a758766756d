//! What a review costs: the parts of the benchmark. How to run it is in README.md.

pub mod api;
pub mod core;
pub mod distribution;
pub mod first_uses;
pub mod load;
pub mod pushes;
pub mod rules;
pub mod server;
pub mod soak;
pub mod table;
