//! Which records go where there is no room for another one.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

use jiff::Timestamp;

use super::{range, rows};
use crate::{
    pushes::{Image, Key, PushId, Record},
    store::embedded::{failure::Failure, tables::PushTables},
};

/// A record that goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Victim {
    /// By this they go.
    order: (Need, Option<Timestamp>, u64),
    pub(super) id: PushId,
    pub(super) image: Image,
}

impl Victim {
    /// Whether the index has it.
    pub(super) fn is_indexed(&self) -> bool {
        self.order.0 != Need::Nothing
    }
}

/// Who needs a record, the least needed first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Need {
    /// Nobody: there is nothing to pull.
    Nothing,
    /// Nobody, as long as a later one of the image is there.
    Earlier,
    /// Pods of that image.
    Latest,
}

/// So many records as can be spared most, or fewer where there are no more; none of which it is said to stay.
///
/// All are looked at once. The records of a registry are in the order of their images' keys, so all of an image are met at the same time,
/// and little is in memory: a record of each registry, and those that are to go.
pub(super) fn victims(
    tables: &PushTables,
    registries: &[String],
    count: usize,
    stays: impl Fn(&PushId) -> bool,
) -> Result<Vec<Victim>, Failure> {
    let mut all = Vec::with_capacity(registries.len());
    for registry in registries {
        let (begin, end) = range(registry);
        all.push(rows(tables.pushes.range::<&str>(begin.as_str()..end.as_str())?));
    }
    let mut ahead = BinaryHeap::new();
    let mut next: BTreeMap<usize, Record> = BTreeMap::new();
    for (place, rows) in all.iter_mut().enumerate() {
        if let Some(record) = rows.next().transpose()? {
            ahead.push(Reverse((record.image.key(), place)));
            next.insert(place, record);
        }
    }
    let mut victims = BinaryHeap::with_capacity(count + 1);
    let mut same: (Option<Key>, Vec<Record>) = (None, Vec::new());
    while let Some(Reverse((key, place))) = ahead.pop() {
        if same.0 != Some(key) {
            spare(&mut victims, count, same.1.drain(..).as_slice(), &stays);
            same.0 = Some(key);
        }
        same.1.extend(next.remove(&place));
        let rows = all.get_mut(place).map(Iterator::next);
        if let Some(record) = rows.flatten().transpose()? {
            ahead.push(Reverse((record.image.key(), place)));
            next.insert(place, record);
        }
    }
    spare(&mut victims, count, &same.1, &stays);
    Ok(victims.into_vec())
}

/// Puts those of one image among the ones that go, as far as they can be spared more than others.
fn spare(victims: &mut BinaryHeap<Victim>, count: usize, same: &[Record], stays: &impl Fn(&PushId) -> bool) {
    let latest = same
        .iter()
        .filter_map(|record| record.last_success.as_ref())
        .map(|success| success.order())
        .max();
    for record in same {
        let order = match &record.last_success {
            None => (Need::Nothing, record.heard_at(), 0),
            Some(success) => {
                let (at, number) = success.order();
                let need = match latest == Some((at, number)) {
                    true => Need::Latest,
                    false => Need::Earlier,
                };
                (need, Some(at), number)
            }
        };
        if victims.len() >= count && victims.peek().is_none_or(|spared| spared.order <= order) {
            continue;
        }
        let victim = Victim {
            order,
            id: record.id(),
            image: record.image.clone(),
        };
        if !stays(&victim.id) {
            victims.push(victim);
        }
        if victims.len() > count {
            victims.pop();
        }
    }
}
