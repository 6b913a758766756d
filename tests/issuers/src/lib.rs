//! Stand-ins of those who issue tokens, and a registry that takes no others: for the integration tests, for the soak, and the check of
//! signatures for the unit tests.
//!
//! Each is a server in a thread of its own, in the network of whoever starts it: a test that is on a node's network has them on the node.
//! They check what they are asked as Google and Amazon do, and fail on demand. What is issued is in one book, [`Tokens`], by which
//! [`Registry`] goes: a token that ended is one that nobody may pull with, so that a test can wait for that instead of for a time.
//!
//! A crate of its own, because Waypost's tests and `benches` are different packages. Whatever a stand-in cannot make sense of is a panic of
//! its thread's task, and no answer: nobody but Waypost asks here.

mod amazon;
mod google;
mod registry;
mod server;
pub mod signature;
mod tokens;

pub use self::{
    amazon::{ACCOUNT, AccessKey, Amazon},
    google::Google,
    registry::{Counts, Registry},
    server::Fault,
    tokens::{Rights, Tokens, Verdict},
};
