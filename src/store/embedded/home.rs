//! The database: what is written in one commit, what is read when it is opened.

use std::{
    collections::BTreeMap,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use redb::{Database, Durability, ReadableDatabase, ReadableTableMetadata, WriteTransaction};
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use super::{
    Entry, OpenError,
    failure::{Failure, unpanicked},
    handle::Handle,
    load::{Contents, Loaded, load},
    medium::{Medium, Shared},
    pushes::range,
    tables::{COPIES, CREDENTIALS, ID, META, PUSHES, PushTables, REGISTRIES, SCHEMA, SEQUENCE, THIS_SCHEMA},
};
use crate::pushes::PushId;

/// The registries, by id.
pub(super) type Entries = BTreeMap<String, Entry>;

/// A database on a medium.
pub(super) struct Home {
    medium: Arc<Medium>,
    /// What messages call it.
    name: String,
    /// Closed after an error: it has to be opened again.
    handle: Handle,
    sequence: u64,
    /// Which store it is, among all there are.
    id: u64,
}

/// What one commit does.
pub(super) enum Write<'w> {
    /// Of a registry.
    Registry {
        id: &'w str,
        /// What is kept of it from now on. None: it is removed, and its push records are.
        record: Option<Vec<u8>>,
        /// Which credentials change, and to what.
        credentials: Vec<(&'static str, Option<Zeroizing<Vec<u8>>>)>,
    },
    /// Of push records.
    Pushes {
        /// How many numbers are given out, at least one.
        numbers: u64,
        /// What is kept of each from now on. None: it is removed.
        rows: Vec<(PushId, Option<Vec<u8>>)>,
        /// What is kept of each copy from now on. None: it has ended, and its credential goes.
        copies: Vec<(PushId, Option<Zeroizing<Vec<u8>>>)>,
    },
}

/// A change that failed.
pub(super) struct Unwritten {
    pub(super) failure: Failure,
    /// Whether it certainly was not made. Otherwise nobody knows before [`Home::ready`] has looked.
    pub(super) untouched: bool,
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
                transaction.open_table(PUSHES)?;
                transaction.open_table(COPIES)?;
            }
            transaction.commit()?;
            database.close().map_err(Failure::from)
        })
    }

    /// Opens the store on a medium; nothing is made where there is none.
    pub(super) fn open(medium: Arc<Medium>, name: String) -> Result<(Self, Contents), OpenError> {
        let mut home = Self {
            medium,
            name,
            handle: Handle::default(),
            sequence: 0,
            id: 0,
        };
        let contents = home.ready()?.unwrap_or_default();
        Ok((home, contents))
    }

    /// The greatest number that was given out. Every change has one of its own, and every push that goes well.
    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Tells this store from every other.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// For those who read.
    pub(super) fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Reads push records.
    pub(super) fn pushes<T>(&self, work: impl FnOnce(&PushTables) -> Result<T, Failure>) -> Result<T, Failure> {
        self.handle.pushes(work).unwrap_or_else(|| Err(Failure::closed()))
    }

    /// How many push records there are.
    pub(super) fn records(&self) -> Result<usize, Failure> {
        self.pushes(|tables| Ok(usize::try_from(tables.pushes.len()?).unwrap_or(usize::MAX)))
    }

    /// Opens the database again where an error has closed it, and says what is in it then.
    pub(super) fn ready(&mut self) -> Result<Option<Contents>, OpenError> {
        if self.handle.is_open() {
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
            let mut loaded = load(&database.begin_read()?)?;
            if let Loaded::Older = loaded {
                migrate(&database)?;
                loaded = load(&database.begin_read()?)?;
            }
            Ok((database, loaded))
        })
        .map_err(why)?;
        match loaded {
            Loaded::Store { sequence, id, contents } => {
                self.handle.opened(database);
                self.sequence = sequence;
                self.id = id;
                Ok(Some(contents))
            }
            Loaded::Newer(schema) => Err(OpenError::Newer { path: name(), schema }),
            Loaded::Older | Loaded::Foreign => Err(OpenError::NotAStore(name())),
        }
    }

    /// Makes one change, which takes the next numbers.
    pub(super) fn commit(&mut self, write: &Write<'_>) -> Result<(), Unwritten> {
        let syncs = self.medium.syncs();
        let sequence = self.sequence + write.numbers();
        let done = self.handle.with(|database| {
            let transaction = begin(database)?;
            transaction.open_table(META)?.insert(SEQUENCE, sequence)?;
            write.make(&transaction)?;
            Ok(transaction.commit()?)
        });
        let Some(done) = done else {
            return Err(Unwritten {
                failure: Failure::closed(),
                untouched: true,
            });
        };
        done.map(|()| self.sequence = sequence).map_err(|failure| {
            // The first of the two phases ends with a sync; before it, nothing leads to what was written.
            let untouched = self.medium.syncs() == syncs;
            let database = self.handle.closed();
            // An error of its end is of no interest: it has to be opened again anyway.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(database)));
            Unwritten { failure, untouched }
        })
    }
}

impl Write<'_> {
    /// How many numbers it takes.
    pub(super) fn numbers(&self) -> u64 {
        match self {
            Self::Registry { .. } => 1,
            Self::Pushes { numbers, .. } => *numbers,
        }
    }

    fn make(&self, transaction: &WriteTransaction) -> Result<(), Failure> {
        match self {
            Self::Registry {
                id,
                record,
                credentials: changes,
            } => {
                let mut registries = transaction.open_table(REGISTRIES)?;
                match record {
                    Some(record) => drop(registries.insert(*id, record.as_slice())?),
                    None => {
                        registries.remove(*id)?;
                        let (begin, end) = range(id);
                        let mut pushes = transaction.open_table(PUSHES)?;
                        pushes.retain_in::<&str, _>(begin.as_str()..end.as_str(), |_, _| false)?;
                        let mut copies = transaction.open_table(COPIES)?;
                        copies.retain_in::<&str, _>(begin.as_str()..end.as_str(), |_, _| false)?;
                    }
                }
                let mut credentials = transaction.open_table(CREDENTIALS)?;
                for (which, credential) in changes {
                    match credential {
                        Some(credential) => credentials.insert((*id, *which), credential.as_slice())?,
                        None => credentials.remove((*id, *which))?,
                    };
                }
            }
            Self::Pushes {
                rows,
                copies: changes,
                numbers: _,
            } => {
                let mut pushes = transaction.open_table(PUSHES)?;
                for (id, row) in rows {
                    match row {
                        Some(row) => pushes.insert(id.as_str(), row.as_slice())?,
                        None => pushes.remove(id.as_str())?,
                    };
                }
                if changes.is_empty() {
                    return Ok(());
                }
                let mut copies = transaction.open_table(COPIES)?;
                for (id, copy) in changes {
                    match copy {
                        Some(copy) => copies.insert(id.as_str(), copy.as_slice())?,
                        None => copies.remove(id.as_str())?,
                    };
                }
            }
        }
        Ok(())
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

/// Brings a store of an older schema up to this one: in the first there were no push records, in the second no tokens that
/// are issued, in the third no copies.
fn migrate(database: &Database) -> Result<(), Failure> {
    let transaction = begin(database)?;
    transaction.open_table(META)?.insert(SCHEMA, THIS_SCHEMA)?;
    transaction.open_table(PUSHES)?;
    transaction.open_table(COPIES)?;
    Ok(transaction.commit()?)
}

/// Any number.
fn random() -> Result<u64, Failure> {
    let mut bytes = [0; 8];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Failure::Other("the system has no random numbers".to_owned()))?;
    Ok(u64::from_le_bytes(bytes))
}

/// For the tree's inner pages, for the most part: registries are read once, and of push records a page at a time.
const CACHE_BYTES: usize = 1024 * 1024;

/// What a file of redb begins with.
const MAGIC: [u8; 9] = *b"redb\x1A\x0A\xA9\x0D\x0A";
