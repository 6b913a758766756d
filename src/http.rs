//! What Waypost answers over HTTP, and the server that it answers with.
//!
//! [`webhook`], [`api`] and [`admin`] are routers and know nothing of sockets; [`server`] owns sockets, TLS and connections and
//! knows nothing of routes; [`lifecycle`] is the one thing that all of them and the signal handler share.

pub mod admin;
pub mod api;
mod deadline;
pub mod health;
pub mod lifecycle;
pub mod server;
mod throttle;
pub mod webhook;
