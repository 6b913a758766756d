//! Who may do what by REST: one trait, two ways to tell.
//!
//! On one machine there are two tokens, [`Tokens`]; in a cluster the API server is asked
//! ([`cluster::authorization`](crate::cluster::authorization)).

mod tokens;

use futures_util::future::BoxFuture;

pub use self::tokens::Tokens;
use crate::registry::Password;

/// What somebody wants to do with registries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access<'a> {
    /// What is to be done.
    pub verb: Verb,
    /// The id of the one registry that it is to be done with; none where it is all of them, or one that has no id yet.
    pub name: Option<&'a str>,
}

/// What can be done with registries, in the words of Kubernetes' RBAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// One is read.
    Get,
    /// All are read.
    List,
    /// One is added.
    Create,
    /// One is replaced.
    Update,
    /// One is removed.
    Delete,
}

/// What was found out about a token and what its owner wants to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is this user's, who may do it.
    Allowed(String),
    /// It is nobody's.
    Unauthenticated,
    /// It is this user's, who may not do it.
    Forbidden {
        /// Whose token it is.
        user: String,
        /// Why, and what to do about it, in words for that user.
        why: String,
    },
    /// Nobody can tell at the moment; why, in words for an operator.
    Unavailable(String),
}

/// Tells who may do what.
pub trait Authorizer: Send + Sync {
    /// Whether the owner of the token may do this; without an access, whether it has an owner.
    ///
    /// It ends within a few seconds, and keeps nothing of the token.
    fn authorize<'a>(&'a self, token: &'a Password, access: Option<Access<'a>>) -> BoxFuture<'a, Verdict>;
}

impl Verb {
    /// Every verb.
    pub const ALL: [Self; 5] = [Self::Get, Self::List, Self::Create, Self::Update, Self::Delete];

    /// As RBAC has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }

    /// Whether nothing is changed by it.
    pub fn only_reads(self) -> bool {
        matches!(self, Self::Get | Self::List)
    }
}
