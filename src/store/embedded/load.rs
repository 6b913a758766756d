//! What is read of the database when it is opened.

use redb::{ReadTransaction, ReadableTable, TableError};

use super::{
    Entry,
    failure::Failure,
    home::Entries,
    pushes::{indexed, open_copies, rows},
    record,
    tables::{
        CREDENTIALS, FIRST_SCHEMA, ID, ISSUED, META, NOTIFY, PULL, PUSH, PushTables, REGISTRIES, SCHEMA, SEQUENCE,
        THIS_SCHEMA,
    },
};
use crate::{
    pushes::{Copies, Index},
    registry::{Credential, Location},
};

/// What there is.
pub(super) enum Loaded {
    /// A store, and all that is in it.
    Store {
        /// The greatest number that was given out.
        sequence: u64,
        /// Which store it is.
        id: u64,
        contents: Contents,
    },
    /// It is of a schema of before.
    Older,
    /// It is of a schema that is not known yet.
    Newer(u64),
    /// Somebody else's database.
    Foreign,
}

/// What is kept in memory.
#[derive(Default)]
pub(super) struct Contents {
    pub(super) entries: Entries,
    pub(super) index: Index,
    pub(super) copies: Copies,
}

pub(super) fn load(transaction: &ReadTransaction) -> Result<Loaded, Failure> {
    let meta = match transaction.open_table(META) {
        Ok(meta) => meta,
        Err(TableError::Storage(error)) => return Err(error.into()),
        Err(_) => return Ok(Loaded::Foreign),
    };
    match meta.get(SCHEMA)?.map(|schema| schema.value()) {
        None => return Ok(Loaded::Foreign),
        Some(THIS_SCHEMA) => {}
        Some(FIRST_SCHEMA..THIS_SCHEMA) => return Ok(Loaded::Older),
        Some(schema) => return Ok(Loaded::Newer(schema)),
    }
    let sequence = meta.get(SEQUENCE)?.ok_or_else(|| damaged("it has lost count"))?.value();
    let id = meta
        .get(ID)?
        .ok_or_else(|| damaged("it does not know which store it is"))?
        .value();
    let entries = entries(transaction)?;
    let tables = PushTables::open(transaction)?;
    let records = rows(tables.pushes.range::<&str>(..)?).map(|record| {
        let record = record?;
        match entries.contains_key(&*record.registry) {
            true => Ok(record),
            false => Err(damaged("it has a push record of no registry")),
        }
    });
    let index = indexed(Index::default(), records, true)?;
    let copies = open_copies(&tables)?;
    let contents = Contents { entries, index, copies };
    Ok(Loaded::Store { sequence, id, contents })
}

fn entries(transaction: &ReadTransaction) -> Result<Entries, Failure> {
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
            ISSUED => match credential {
                Credential::Login(login) => entry.issued = Some(login),
                _ => return Err(damaged("it has a token that is none")),
            },
            _ => return Err(damaged("it has a credential of an unknown kind")),
        }
    }
    for (id, entry) in &entries {
        let Entry {
            stored,
            credentials,
            token,
            issued,
        } = entry;
        let location = stored.spec.location;
        let (pull, is_issued) = match location {
            Location::OffCluster => (&stored.pull, false),
            Location::Ecr | Location::Gcr => (&stored.key, stored.pull.is_some()),
        };
        let said = [pull, &stored.push, &stored.notify].map(Option::is_some);
        let there = [&credentials.pull, &credentials.push, token].map(Option::is_some);
        let has_key = !location.issues() && stored.key.is_some();
        if said != there || [stored.issuance.is_some(), issued.is_some()] != [is_issued; 2] || has_key {
            return Err(damaged(&format!("the credentials of the registry `{id}` are missing")));
        }
        let mut given = [&credentials.pull, &credentials.push].into_iter().flatten();
        if !given.all(|credential| credential.is_for(location)) {
            return Err(damaged(&format!(
                "the credentials of the registry `{id}` are for another location"
            )));
        }
    }
    Ok(entries)
}

fn damaged(what: &str) -> Failure {
    Failure::Damaged(what.to_owned())
}
