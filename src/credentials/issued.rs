//! Credentials that somebody issues for a while.

use jiff::Timestamp;

use crate::registry::Login;

/// A short-lived credential, and when it ends.
#[derive(Clone, Debug)]
pub struct Issued {
    /// What a registry is asked with.
    pub login: Login,
    /// From when on it is of no use, by this machine's clock.
    pub expires_at: Timestamp,
}

/// Why none was issued. Says nothing of a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    /// The key or the rights are not good: somebody has to do something.
    #[error("{0}")]
    Rejected(String),
    /// What is configured cannot be right.
    #[error("{0}")]
    Misconfigured(String),
    /// It may work later.
    #[error("{0}")]
    Unavailable(String),
}
