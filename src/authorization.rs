//! Who may do what by REST: one trait, two ways to tell.
//!
//! On one machine there are two tokens, [`Tokens`]; in a cluster the API server is asked
//! ([`cluster::authorization`](crate::cluster::authorization)).

mod tokens;

use futures_util::future::BoxFuture;

pub use self::tokens::Tokens;
use crate::registry::Password;

/// What somebody wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access<'a> {
    /// What is to be done.
    pub verb: Verb,
    /// With what.
    pub resource: Resource,
    /// The id of the one that it is to be done with; none where it is all of them, or one that has no id yet.
    pub name: Option<&'a str>,
}

/// What there is to be read and changed, in the words of Kubernetes' RBAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resource {
    /// Registries.
    Registries,
    /// Push records.
    Pushes,
}

/// What can be done with registries and push records, in the words of Kubernetes' RBAC.
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
    /// Of a registry: pushes into it are reported.
    Push,
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

impl Resource {
    /// Every resource.
    pub const ALL: [Self; 2] = [Self::Registries, Self::Pushes];

    /// As RBAC has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Registries => "registries",
            Self::Pushes => "pushes",
        }
    }
}

impl Verb {
    /// Every verb.
    pub const ALL: [Self; 6] = [
        Self::Get,
        Self::List,
        Self::Create,
        Self::Update,
        Self::Delete,
        Self::Push,
    ];

    /// As RBAC has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Push => "push",
        }
    }

    /// Whether nothing is changed by it.
    pub fn only_reads(self) -> bool {
        matches!(self, Self::Get | Self::List)
    }
}
