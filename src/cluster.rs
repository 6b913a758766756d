//! The Kubernetes API as a client: how it is reached, and what is watched there.

mod access;
pub mod namespaces;

pub use self::access::{Access, AccessError, ApiServer, explain};
