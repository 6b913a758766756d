//! The Kubernetes API as a client: how it is reached, and what is watched there.

mod access;

pub use self::access::{Access, AccessError, ApiServer, explain};
