//! The database while it is open: one changes it, and others read meanwhile.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use redb::{Database, ReadableDatabase};

use super::{
    failure::{Failure, unpanicked},
    tables::PushTables,
};

/// Shared by whoever changes the database, who opens and closes it, and by those who read. It is never closed while somebody reads, so
/// that no two are ever on one medium.
#[derive(Clone, Debug, Default)]
pub(super) struct Handle(Arc<RwLock<Option<Database>>>);

impl Handle {
    pub(super) fn is_open(&self) -> bool {
        self.get().is_some()
    }

    /// Gives it to those who read.
    pub(super) fn opened(&self, database: Database) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(database);
    }

    /// Takes it away, once nobody reads any more.
    pub(super) fn closed(&self) -> Option<Database> {
        self.0.write().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Uses it, where it is open.
    pub(super) fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, Failure>) -> Option<Result<T, Failure>> {
        let database = self.get();
        let database = database.as_ref()?;
        Some(unpanicked(|| work(database)))
    }

    /// Reads push records as they are on the disk, where it is open.
    pub(super) fn pushes<T>(&self, work: impl FnOnce(&PushTables) -> Result<T, Failure>) -> Option<Result<T, Failure>> {
        self.with(|database| work(&PushTables::open(&database.begin_read()?)?))
    }

    fn get(&self) -> RwLockReadGuard<'_, Option<Database>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}
