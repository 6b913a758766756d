//! The Kubernetes API as a client: how it is reached, what is followed there, which of several processes works, Waypost's own objects.

mod access;
pub mod authorization;
pub mod election;
pub mod events;
pub mod namespaces;
pub mod objects;
pub mod pods;
pub mod policies;
pub mod pull_secrets;
pub mod registries;
#[cfg(test)]
mod testing;
pub mod watch;

pub use self::access::{Access, AccessError, ApiServer, explain};
