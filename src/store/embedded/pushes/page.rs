//! Which records are listed.

use std::{
    cmp::max,
    ops::Bound::{Excluded, Unbounded},
};

use super::{joined, one, rows};
use crate::{
    pushes::{PushId, Record},
    store::{
        PushPage, PushQuery,
        embedded::{failure::Failure, tables::PushTables},
    },
};

/// The records that are asked for, where there are these registries.
pub(super) fn page(tables: &PushTables, query: &PushQuery, registries: &[String]) -> Result<PushPage, Failure> {
    let after = query.after.as_deref().unwrap_or_default();
    if let Some(image) = &query.image {
        let key = image.key();
        let asked = registries
            .iter()
            .filter(|id| query.registry.as_ref().is_none_or(|asked| asked == *id));
        // Their order is not that of the registries' ids: what is behind an id is a dot.
        let mut ids: Vec<_> = asked.map(|registry| PushId::new(registry, key)).collect();
        ids.sort_unstable();
        let ids = ids.iter().filter(|id| id.as_str() > after);
        return collect(tables, query, ids.filter_map(|id| one(tables, id).transpose()));
    }
    let Some(registry) = &query.registry else {
        return collect(
            tables,
            query,
            rows(tables.pushes.range::<&str>((Excluded(after), Unbounded))?),
        );
    };
    let (begin, end) = super::range(registry);
    let after = max(after, &begin);
    if after >= end.as_str() {
        return Ok(PushPage::default());
    }
    collect(
        tables,
        query,
        rows(tables.pushes.range::<&str>((Excluded(after), Excluded(end.as_str())))?),
    )
}

/// As many of these as make a page, and no more than that are looked at.
fn collect(
    tables: &PushTables,
    query: &PushQuery,
    rows: impl Iterator<Item = Result<Record, Failure>>,
) -> Result<PushPage, Failure> {
    let wanted = |record: &Record| {
        let state = record.last_attempt.as_ref().map(|last| last.state);
        query.state.is_none_or(|asked| state == Some(asked))
    };
    let mut page = PushPage::default();
    let mut last = None;
    for (examined, record) in rows.enumerate() {
        let record = record?;
        if page.items.len() >= max(query.limit, 1) || examined == MOST_EXAMINED {
            page.next = last.map(|last: PushId| last.as_str().to_owned());
            break;
        }
        last = Some(record.id());
        if wanted(&record) {
            page.items.push(joined(tables, record)?);
        }
    }
    Ok(page)
}

/// Of a million records few may be in a state: so many are looked at for one page.
const MOST_EXAMINED: usize = 10_000;
