//! What is in the database, and which edition of it.

use redb::{ReadOnlyTable, ReadTransaction, TableDefinition, TableError};

/// Numbers, by name.
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// By id: JSON.
pub(super) const REGISTRIES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("registries");
/// By id and what it is for: JSON.
pub(super) const CREDENTIALS: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("credentials");
/// By id: JSON. Since schema 2.
pub(super) const PUSHES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("pushes");

/// By the id of its push: JSON of a copy that was asked for and has not ended, with the credential that came with it. Since schema 4.
pub(super) const COPIES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("copies");

/// The push records at one moment, and the copies that are part of them.
pub(super) struct PushTables {
    pub(super) pushes: ReadOnlyTable<&'static str, &'static [u8]>,
    pub(super) copies: ReadOnlyTable<&'static str, &'static [u8]>,
}

impl PushTables {
    pub(super) fn open(transaction: &ReadTransaction) -> Result<Self, TableError> {
        Ok(Self {
            pushes: transaction.open_table(PUSHES)?,
            copies: transaction.open_table(COPIES)?,
        })
    }
}

/// In the table of numbers: which edition this is.
pub(super) const SCHEMA: &str = "schema";
/// In the table of numbers: the greatest number that was given out.
pub(super) const SEQUENCE: &str = "sequence";
/// In the table of numbers: which store it is, among all there are.
pub(super) const ID: &str = "id";

/// In the table of credentials.
pub(super) const PULL: &str = "pull";
/// In the table of credentials.
pub(super) const PUSH: &str = "push";
/// In the table of credentials.
pub(super) const NOTIFY: &str = "notify";
/// In the table of credentials: a token that was issued. Since schema 3.
pub(super) const ISSUED: &str = "issued";

/// What this Waypost writes.
pub(super) const THIS_SCHEMA: u64 = 4;
/// What it brings up to that, and all that came after it.
pub(super) const FIRST_SCHEMA: u64 = 1;
