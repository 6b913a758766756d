//! The database: what is written in one commit, what is read when it is opened.

use std::{
    collections::BTreeMap,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use redb::{
    CommitError, Database, DatabaseError, Durability, ReadTransaction, ReadableDatabase, ReadableTable, StorageError,
    TableDefinition, TableError, TransactionError, WriteTransaction,
};
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use super::{
    Entry, OpenError,
    medium::{Medium, Shared},
    record,
};

/// All that is kept, by id.
pub(super) type Entries = BTreeMap<String, Entry>;

/// Any number.
fn random() -> Result<u64, Failure> {
    let mut bytes = [0; 8];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Failure::Other("the system has no random numbers".to_owned()))?;
    Ok(u64::from_le_bytes(bytes))
}

/// A database on a medium.
pub(super) struct Home {
    medium: Arc<Medium>,
    /// What messages call it.
    name: String,
    /// None after an error: it has to be opened again.
    database: Option<Database>,
    sequence: u64,
    /// Which store it is, among all there are.
    id: u64,
}

/// What one commit does.
pub(super) struct Write<'w> {
    /// The registry.
    pub(super) id: &'w str,
    /// What is kept of it from now on. None: it is removed.
    pub(super) record: Option<Vec<u8>>,
    /// Which credentials change, and to what.
    pub(super) credentials: Vec<(&'static str, Option<Zeroizing<Vec<u8>>>)>,
}

/// A change that failed.
pub(super) struct Unwritten {
    pub(super) failure: Failure,
    /// Whether it certainly was not made. Otherwise nobody knows before [`Home::ready`] has looked.
    pub(super) untouched: bool,
}

/// Why the database did not do it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{0}")]
    Io(io::Error),
    #[error("{0}")]
    Damaged(String),
    #[error("{0}")]
    Other(String),
}

impl Home {
    /// Makes a store of an empty medium.
    pub(super) fn create(medium: &Arc<Medium>) -> Result<(), Failure> {
        unpanicked(|| {
            let database = database(medium)?;
            let transaction = begin(&database)?;
            {
                let mut meta = transaction.open_table(META)?;
                meta.insert(SCHEMA, THIS_SCHEMA)?;
                meta.insert(SEQUENCE, 0)?;
                meta.insert(ID, random()?)?;
                transaction.open_table(REGISTRIES)?;
                transaction.open_table(CREDENTIALS)?;
            }
            commit(transaction)?;
            database.close().map_err(Failure::from)
        })
    }

    /// Opens the store on a medium; nothing is made where there is none.
    pub(super) fn open(medium: Arc<Medium>, name: String) -> Result<(Self, Entries), OpenError> {
        let mut home = Self {
            medium,
            name,
            database: None,
            sequence: 0,
            id: 0,
        };
        let entries = home.ready()?.unwrap_or_default();
        Ok((home, entries))
    }

    /// The number of the last commit.
    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Tells this store from every other.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Opens the database again where an error has closed it, and says what is in it then.
    pub(super) fn ready(&mut self) -> Result<Option<Entries>, OpenError> {
        if self.database.is_some() {
            return Ok(None);
        }
        let name = || self.name.clone();
        let why = |failure| match failure {
            Failure::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => OpenError::Damaged {
                path: name(),
                why: "it is shorter than it was".to_owned(),
            },
            Failure::Io(source) => OpenError::Io { path: name(), source },
            Failure::Damaged(why) | Failure::Other(why) => OpenError::Damaged { path: name(), why },
        };
        self.medium.mend().map_err(|error| why(Failure::Io(error)))?;
        if self.medium.is_empty().map_err(|error| why(Failure::Io(error)))? {
            return Err(why(Failure::Damaged("it is empty".to_owned())));
        }
        if !self
            .medium
            .begins_with(&MAGIC)
            .map_err(|error| why(Failure::Io(error)))?
        {
            return Err(OpenError::NotAStore(name()));
        }
        let (database, loaded) = unpanicked(|| {
            let database = database(&self.medium)?;
            let loaded = load(
                &database
                    .begin_read()
                    .map_err(|error| Failure::Other(error.to_string()))?,
            )?;
            Ok((database, loaded))
        })
        .map_err(why)?;
        match loaded {
            Loaded::Entries { sequence, id, entries } => {
                self.database = Some(database);
                self.sequence = sequence;
                self.id = id;
                Ok(Some(entries))
            }
            Loaded::Newer(schema) => Err(OpenError::Newer { path: name(), schema }),
            Loaded::Foreign => Err(OpenError::NotAStore(name())),
        }
    }

    /// Makes one change, whose number is the next one.
    pub(super) fn commit(&mut self, write: &Write<'_>) -> Result<(), Unwritten> {
        let Some(database) = &self.database else {
            return Err(Unwritten {
                failure: Failure::Other("it is not open".to_owned()),
                untouched: true,
            });
        };
        let syncs = self.medium.syncs();
        let sequence = self.sequence + 1;
        let done = unpanicked(|| {
            let transaction = begin(database)?;
            transaction.open_table(META)?.insert(SEQUENCE, sequence)?;
            {
                let mut registries = transaction.open_table(REGISTRIES)?;
                match &write.record {
                    Some(record) => registries.insert(write.id, record.as_slice())?,
                    None => registries.remove(write.id)?,
                };
                let mut credentials = transaction.open_table(CREDENTIALS)?;
                for (which, credential) in &write.credentials {
                    match credential {
                        Some(credential) => credentials.insert((write.id, *which), credential.as_slice())?,
                        None => credentials.remove((write.id, *which))?,
                    };
                }
            }
            commit(transaction)
        });
        done.map(|()| self.sequence = sequence).map_err(|failure| {
            // The first of the two phases ends with a sync; before it, nothing leads to what was written.
            let untouched = self.medium.syncs() == syncs;
            let database = self.database.take();
            // An error of its end is of no interest: it has to be opened again anyway.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(database)));
            Unwritten { failure, untouched }
        })
    }
}

fn database(medium: &Arc<Medium>) -> Result<Database, Failure> {
    Ok(Database::builder()
        .set_cache_size(CACHE_BYTES)
        .set_check_integrity_on_open(true)
        .create_with_backend(Shared(medium.clone()))?)
}

fn begin(database: &Database) -> Result<WriteTransaction, Failure> {
    let mut transaction = database.begin_write()?;
    transaction
        .set_durability(Durability::Immediate)
        .map_err(|error| Failure::Other(error.to_string()))?;
    // One more sync, and no commit is ever judged by whether a checksum fits what a client has sent.
    transaction.set_two_phase_commit(true);
    Ok(transaction)
}

fn commit(transaction: WriteTransaction) -> Result<(), Failure> {
    Ok(transaction.commit()?)
}

enum Loaded {
    /// The number of the last commit, and all there is.
    Entries { sequence: u64, id: u64, entries: Entries },
    /// It is of a schema that is not known yet.
    Newer(u64),
    /// Somebody else's database.
    Foreign,
}

fn load(transaction: &ReadTransaction) -> Result<Loaded, Failure> {
    let meta = match transaction.open_table(META) {
        Ok(meta) => meta,
        Err(TableError::Storage(error)) => return Err(error.into()),
        Err(_) => return Ok(Loaded::Foreign),
    };
    match meta.get(SCHEMA)?.map(|schema| schema.value()) {
        None => return Ok(Loaded::Foreign),
        Some(THIS_SCHEMA) => {}
        // An older one is migrated here, once there is one.
        Some(schema) => return Ok(Loaded::Newer(schema)),
    }
    let damaged = |what: &str| Failure::Damaged(what.to_owned());
    let sequence = meta.get(SEQUENCE)?.ok_or_else(|| damaged("it has lost count"))?.value();
    let id = meta
        .get(ID)?
        .ok_or_else(|| damaged("it does not know which store it is"))?
        .value();
    let mut entries = Entries::new();
    for row in transaction.open_table(REGISTRIES)?.iter()? {
        let (id, record) = row?;
        let stored = record::read(id.value(), record.value()).map_err(Failure::Damaged)?;
        entries.insert(id.value().to_owned(), Entry::new(stored));
    }
    for row in transaction.open_table(CREDENTIALS)?.iter()? {
        let (key, credential) = row?;
        let (id, which) = key.value();
        let credential = record::read_credential(id, credential.value()).map_err(Failure::Damaged)?;
        let entry = entries.get_mut(id);
        let entry = entry.ok_or_else(|| damaged("it has a credential of no registry"))?;
        match which {
            PULL => entry.credentials.pull = Some(credential),
            PUSH => entry.credentials.push = Some(credential),
            NOTIFY => entry.token = Some(credential),
            _ => return Err(damaged("it has a credential of an unknown kind")),
        }
    }
    for (id, entry) in &entries {
        let Entry {
            stored,
            credentials,
            token,
        } = entry;
        let said = [&stored.pull, &stored.push, &stored.notify].map(Option::is_some);
        if said != [&credentials.pull, &credentials.push, token].map(Option::is_some) {
            return Err(damaged(&format!("the credentials of the registry `{id}` are missing")));
        }
    }
    Ok(Loaded::Entries { sequence, id, entries })
}

/// A damaged file may make the database panic.
fn unpanicked<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let why = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied());
        Err(Failure::Damaged(format!(
            "the database stopped: {}",
            why.unwrap_or("nobody knows why")
        )))
    })
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Io(error) => Self::Io(error),
            StorageError::Corrupted(why) => Self::Damaged(why),
            other => Self::Other(other.to_string()),
        }
    }
}

impl From<DatabaseError> for Failure {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Storage(error) => error.into(),
            other => Self::Damaged(other.to_string()),
        }
    }
}

impl From<TransactionError> for Failure {
    fn from(error: TransactionError) -> Self {
        match error {
            TransactionError::Storage(error) => error.into(),
            other => Self::Other(other.to_string()),
        }
    }
}

impl From<CommitError> for Failure {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Storage(error) => error.into(),
            other => Self::Other(other.to_string()),
        }
    }
}

impl From<TableError> for Failure {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Storage(error) => error.into(),
            other => Self::Damaged(other.to_string()),
        }
    }
}

/// In the table of credentials.
pub(super) const PULL: &str = "pull";
/// In the table of credentials.
pub(super) const PUSH: &str = "push";
/// In the table of credentials.
pub(super) const NOTIFY: &str = "notify";

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// By id: JSON.
const REGISTRIES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("registries");
/// By id and whether it is to pull, to push or to notify: JSON.
const CREDENTIALS: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("credentials");

const SCHEMA: &str = "schema";
const SEQUENCE: &str = "sequence";
const ID: &str = "id";
const THIS_SCHEMA: u64 = 1;

/// Everything is in memory once it was opened; what a commit needs of the tree's inner pages is little.
const CACHE_BYTES: usize = 1024 * 1024;

/// What a file of redb begins with.
const MAGIC: [u8; 9] = *b"redb\x1A\x0A\xA9\x0D\x0A";
