//! Where registries and push records are kept: two traits, two homes.
//!
//! [`Store`], and [`Pushes`] which every one of them is too, is what the REST API, the workers and the composition root use; which home is behind it is the configuration's to say. What
//! a store must do is in its contract tests, which every home passes.

pub mod embedded;
mod issuance;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::watch;

pub use self::{
    embedded::Embedded,
    issuance::{Issuance, Token},
};
use crate::{
    document::Problem,
    pushes::{Copies, Event, Image, Index, Order, PushId, Record, State},
    registry::{Condition, Credential, Credentials, Keys, Login, Registry, RegistrySpec},
};

/// All registries at one moment, by id.
pub type Registries = Arc<[Stored]>;

/// A registry as it is kept, without its credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its id, which is the object's name.
    pub id: String,
    /// What was written of it. In the Kubernetes API somebody may have written what no [`Registry`] can be made
    /// of.
    pub spec: RegistrySpec,
    /// Whether it has a credential to pull with, and which edition of it: another one says that the credential may have changed. Where
    /// tokens are issued that is the token which was issued last. Where the process may read no Secrets, an edition says nothing.
    pub pull: Option<Edition>,
    /// Whether it has a credential to push with, or a key for that, and which edition of it.
    pub push: Option<Edition>,
    /// Whether it has a key that its tokens to pull with are issued by, and which edition of it. Without one they are issued by Waypost's own identity.
    pub key: Option<Edition>,
    /// What is known of the token that was issued last, for as long as it is for the registry that the spec says.
    pub issuance: Option<Issuance>,
    /// Whether it has a token to notify with, and which edition of it.
    pub notify: Option<Edition>,
    /// Changes with every change of the spec or of a credential that was made through the store, and with nothing else: a replacement
    /// by the same is no change.
    pub version: Version,
    /// Who says what it is.
    pub declared_by: DeclaredBy,
    /// What was found out about it.
    pub conditions: Vec<Condition>,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When it was last changed; what is found out about it is no change, nor is another token.
    pub updated_at: Timestamp,
}

/// Says which edition of a credential is meant, and nothing of what is in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Edition(pub String);

/// Says which state of a registry is meant. Letters, digits and `-`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Version(pub String);

/// What people should know of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// Whether somebody has to do something.
    pub warning: bool,
    /// One word, for machines.
    pub reason: &'static str,
    /// What happened, in a sentence. Without credentials.
    pub note: String,
}

/// Who says what a registry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeclaredBy {
    /// Whoever wrote last: it may be changed by REST.
    Anybody,
    /// A Helm release, which would undo what others write.
    Helm,
}

/// What is to become of a credential.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    #[default]
    Keep,
    /// It is removed.
    Clear,
    /// It is replaced.
    Set(Credential),
}

/// A registry as it is to be. Its spec's references to Secrets are the store's own affair where `pull`, `push` and
/// `notify` are not kept.
#[derive(Clone, Debug)]
pub struct Draft {
    /// What is said of it. [`Registry::parse`](crate::registry::Registry::parse) has found nothing wrong with it.
    pub spec: RegistrySpec,
    /// The credential to pull with.
    pub pull: Change,
    /// The credential to push with.
    pub push: Change,
    /// The token that it notifies with, as [`Credential::token`] has it.
    pub notify: Change,
}

impl Stored {
    /// The registry that can be made of what was written and what is known.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, or that it is not known yet whose registry it is: see [`Registry::parse`].
    pub fn registry(&self) -> Result<Registry, Vec<Problem>> {
        let account = self.issuance.as_ref().and_then(|issuance| issuance.account.as_deref());
        Registry::parse_of(&self.id, &self.spec, account)
    }
}

impl Stored {
    /// Whether there is a token, and it would be for this registry.
    fn is_issued_for(&self, spec: &RegistrySpec) -> bool {
        self.issuance.as_ref().is_some_and(|issuance| issuance.is_for(spec))
    }
}

impl Change {
    /// What becomes of a credential where the registry is `spec` from now on: a password is no key, nor is one cloud's key another's.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unsupported`] where it is to be what is of no use there.
    pub(crate) fn at(self, spec: &RegistrySpec, before: &RegistrySpec) -> Result<Self, StoreError> {
        match &self {
            Self::Keep if spec.location != before.location => Ok(Self::Clear),
            Self::Set(credential) if !credential.is_for(spec.location) => Err(StoreError::Unsupported(
                "an access key is for the location `ecr`, the key of a service account for `gcr`, and a password for `off-cluster`"
                    .to_owned(),
            )),
            _ => Ok(self),
        }
    }
}

/// Keeps registries. A change that was acknowledged is there after a crash, and a reader sees it at once. A future that is dropped has made
/// its change or has not, never half of it; which of them, the next reader sees.
pub trait Store: Pushes {
    /// All registries, now and after each change. The first value is there before the store is given out, where the home answers.
    fn registries(&self) -> watch::Receiver<Registries>;

    /// One registry, as it is at this moment.
    fn registry<'s>(&'s self, id: &'s str) -> BoxFuture<'s, Result<Option<Stored>, StoreError>>;

    /// All registries, as they are at this moment, by id.
    fn list(&self) -> BoxFuture<'_, Result<Registries, StoreError>>;

    /// Adds a registry: [`StoreError::Exists`] where there is one of this id, [`StoreError::Unsupported`] where it is no
    /// [id](crate::registry::id_problem).
    fn create<'s>(&'s self, id: &'s str, draft: Draft) -> BoxFuture<'s, Result<Stored, StoreError>>;

    /// Changes a registry: [`StoreError::NotFound`] where there is none, [`StoreError::Conflict`] where `expected` is given and is not its version.
    fn replace<'s>(
        &'s self,
        id: &'s str,
        draft: Draft,
        expected: Option<&'s Version>,
    ) -> BoxFuture<'s, Result<Stored, StoreError>>;

    /// Removes a registry and its credentials: [`StoreError::NotFound`] where there is none, [`StoreError::Conflict`] where `expected` is given and is not its version.
    fn delete<'s>(&'s self, id: &'s str, expected: Option<&'s Version>) -> BoxFuture<'s, Result<(), StoreError>>;

    /// The credentials of a registry, for those who use them. None where there is none; an error where it says that there is one, and
    /// it cannot be read; [`StoreError::NotFound`] where there is no such registry. Where tokens are issued, the one to pull with is what
    /// was kept last by [`Store::issued`], and there is none to push with; a key is never among them.
    fn credentials<'s>(&'s self, id: &'s str) -> BoxFuture<'s, Result<Credentials, StoreError>>;

    /// The token that a registry notifies with, apart from its credentials: it is for nobody but this process, and one that cannot be read
    /// is no reason to do without the others. None and errors as [`Store::credentials`].
    fn notification_token<'s>(&'s self, id: &'s str) -> BoxFuture<'s, Result<Option<Credential>, StoreError>>;

    /// The keys of a registry whose tokens are issued, for whoever has them issued, and nobody else. None and errors as
    /// [`Store::credentials`].
    fn keys<'s>(&'s self, id: &'s str) -> BoxFuture<'s, Result<Keys, StoreError>>;

    /// Keeps a token to pull with, in the place of the one before: [`StoreError::NotFound`] where there is no such registry,
    /// [`StoreError::Conflict`] where the token is for another registry than its spec says now. That is no change of its version.
    fn issued<'s>(&'s self, id: &'s str, token: Token) -> BoxFuture<'s, Result<(), StoreError>>;

    /// Tells people something of a registry, where there is a place for that: in a cluster an Event on it. What cannot be told is lost.
    fn tell<'s>(&'s self, id: &'s str, news: News) -> BoxFuture<'s, ()>;

    /// Keeps what was found out about a registry, and what was found out otherwise: [`StoreError::NotFound`] where there is none. That is no change of its version.
    fn report<'s>(&'s self, id: &'s str, conditions: Vec<Condition>) -> BoxFuture<'s, Result<(), StoreError>>;
}

/// Keeps push records: one of each image in each registry. A change that was acknowledged is there after a crash, and a reader sees it at
/// once. With a registry its records go.
pub trait Pushes: Send + Sync {
    /// All pushes that went well, now and after each change. The first value is there before the store is given out, where the home
    /// answers.
    fn index(&self) -> watch::Receiver<Index>;

    /// One record, as it is at this moment.
    fn push<'s>(&'s self, id: &'s PushId) -> BoxFuture<'s, Result<Option<Record>, StoreError>>;

    /// Records as they are at this moment, by id: a page of them.
    fn pushes<'s>(&'s self, query: &'s PushQuery) -> BoxFuture<'s, Result<PushPage, StoreError>>;

    /// Keeps what happened, in this order (see [`Record::after`]), and gives back what became of each event's record: that may be nothing.
    /// [`StoreError::NotFound`] where there is no such registry; [`StoreError::Full`] where there is no room for another record, and
    /// none that could go for it. After any other error than the first some may have been kept: telling all of them again does no harm.
    fn happened(&self, events: Vec<Event>) -> BoxFuture<'_, Result<Vec<Record>, StoreError>>;

    /// The copies that were asked for and have not ended, now and after each change. The first value is there before the store is given
    /// out, where the home answers.
    fn copies(&self) -> watch::Receiver<Copies>;

    /// Asks for a copy, as [`What::Asked`](crate::pushes::What::Asked), and keeps the credential that comes with it until it ends.
    /// [`StoreError::NotFound`] where there is no such registry; [`StoreError::Full`] where there is no room for another record;
    /// [`StoreError::Busy`] where [`MOST_COPIES`](crate::pushes::MOST_COPIES) wait.
    fn ask(&self, order: Order) -> BoxFuture<'_, Result<Asked, StoreError>>;

    /// The same, for whoever may not write how pushes stand: what becomes of it, he may find out later. An order of his has no
    /// credential.
    fn ask_from_aside(&self, order: Order) -> BoxFuture<'_, Result<(), StoreError>>;

    /// A copy for whoever makes it, as it is at this moment; none where nobody waits for it any more. From then on its record says that it was asked for, however that was
    /// done.
    fn copy<'s>(&'s self, id: &'s PushId) -> BoxFuture<'s, Result<Option<Copy>, StoreError>>;
}

/// What became of a copy that somebody asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Its record.
    pub record: Record,
    /// Whether it had been asked for before, and has not ended: the credential that came now is not kept.
    pub joined: bool,
}

/// A copy that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Its record, which has [`Record::copying`].
    pub record: Record,
    /// The credential that came with the request.
    pub login: Option<Login>,
}

/// Which records are listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PushQuery {
    /// Those of this image.
    pub image: Option<Image>,
    /// Those of the registry of this id, whether there is one or not.
    pub registry: Option<String>,
    /// Those of which the last attempt is in this state.
    pub state: Option<State>,
    /// Those behind this place in the order of ids, which may be any text.
    pub after: Option<String>,
    /// So many at most, which is at least one.
    pub limit: usize,
}

/// A page of records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PushPage {
    /// In the order of their ids. There may be fewer than were asked for, even none, and more behind them.
    pub items: Vec<Record>,
    /// Where the next page begins ([`PushQuery::after`]); none where this is the last.
    pub next: Option<String>,
}

/// The credentials of a registry of which `is_so` holds, now and since it was seen to: what follows changes may be a moment behind, and a
/// credential that came with another host, or for other namespaces, is not for those of before.
///
/// # Errors
///
/// [`StoreError::Conflict`] where it does not hold any more; others as [`Store::credentials`].
pub async fn credentials_where(
    store: &dyn Store,
    id: &str,
    is_so: impl Fn(&Stored) -> bool,
) -> Result<Credentials, StoreError> {
    let credentials = store.credentials(id).await?;
    // Looked at afterwards: what is so now was so when they were read, for no version comes back.
    match store.registry(id).await? {
        Some(stored) if is_so(&stored) => Ok(credentials),
        Some(stored) => Err(StoreError::Conflict {
            id: stored.id,
            current: stored.version,
        }),
        None => Err(StoreError::NotFound(id.to_owned())),
    }
}

/// Why something was not read or not written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// There is no such registry.
    #[error("there is no registry `{0}`")]
    NotFound(String),
    /// There is one already.
    #[error("there is a registry `{0}` already")]
    Exists(String),
    /// Somebody has changed it since.
    #[error("the registry `{id}` has been changed since: its version is {} now", current.0)]
    Conflict {
        /// Which registry.
        id: String,
        /// The version that it has.
        current: Version,
    },
    /// It is somebody else's to change.
    #[error("the registry `{0}` is declared by a Helm release: change its values there")]
    Declared(String),
    /// This home cannot do it.
    #[error("{0}")]
    Unsupported(String),
    /// So much is being done that this would have to wait too long: nothing was changed.
    #[error("{0}")]
    Busy(String),
    /// There is no room for it: nothing was changed.
    #[error("there is no room for it: {0}")]
    Full(String),
    /// The home does not answer, or not as it should: it may work later.
    #[error("{0}")]
    Unavailable(String),
}
