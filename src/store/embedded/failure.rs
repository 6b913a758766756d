//! Why the database did not do something.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
};

use redb::{CommitError, DatabaseError, StorageError, TableError, TransactionError};

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

impl Failure {
    /// Because of an error before.
    pub(super) fn closed() -> Self {
        Self::Other("it is not open".to_owned())
    }
}

/// A damaged file may make the database panic.
pub(super) fn unpanicked<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
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

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Io(error) => error,
            other => Self::other(other.to_string()),
        }
    }
}
