//! From one index to the next: what changes is sorted, and each shard that it touches is written anew.

use std::sync::Arc;

use hashbrown::HashMap;

use super::{
    APART, All, OWN, Rank, SHA256,
    form::{self, Form},
    sha256_text,
    shard::{Entry, Extra, Lead, Shard, place},
    target_key,
};
use crate::{
    pushes::{Image, Key, Success},
    reference::Reference,
};

/// An index that is changed.
pub(super) struct Update<'c> {
    all: All,
    changes: Vec<Change<'c>>,
    /// Leads to records that are not there any more, or have changed.
    gone: Vec<Lead>,
    /// Leads to records that are new, or have changed.
    new: Vec<Lead>,
    forms_changed: bool,
}

struct Change<'c> {
    key: Key,
    registry: &'c str,
    image: &'c Image,
    success: Option<&'c Success>,
}

impl<'c> Update<'c> {
    pub(super) fn of(before: Option<&All>) -> Self {
        Self {
            all: before.cloned().unwrap_or_default(),
            changes: Vec::new(),
            gone: Vec::new(),
            new: Vec::new(),
            forms_changed: false,
        }
    }

    pub(super) fn add(&mut self, image: &'c Image, registry: &'c str, success: Option<&'c Success>) {
        self.changes.push(Change {
            key: image.key(),
            registry,
            image,
            success,
        });
    }

    pub(super) fn finish(mut self) -> All {
        let mut changes = std::mem::take(&mut self.changes);
        // Stable: of several changes of a pair the last is the last of its run.
        changes.sort_by(|one, other| (one.key, one.registry).cmp(&(other.key, other.registry)));
        changes.dedup_by(|later, earlier| {
            let same = later.key == earlier.key && later.registry == earlier.registry;
            if same {
                std::mem::swap(later, earlier);
            }
            same
        });
        for changes in changes.chunk_by(|one, other| place(&one.key) == place(&other.key)) {
            self.entries(changes);
        }
        drop(changes);
        self.leads();
        if self.forms_changed {
            let mut by_host: HashMap<Box<str>, Vec<u16>> = HashMap::new();
            for (number, text) in self.all.forms.iter() {
                let host = Form::read(text).registry();
                by_host.entry(host.into()).or_default().extend(u16::try_from(number));
            }
            self.all.by_host = by_host.into();
        }
        self.all
    }

    /// Writes the entries of a shard anew.
    fn entries(&mut self, changes: &[Change<'_>]) {
        let Some(first) = changes.first() else { return };
        let before = self.all.shard(&first.key).clone();
        let mut entries: Vec<Entry> = Vec::with_capacity(before.entries.len() + changes.len());
        let mut extras: Vec<Extra> = before.extras.to_vec();
        let mut rest = &before.entries[..];
        for of_image in changes.chunk_by(|one, other| one.key == other.key) {
            let key = of_image[0].key;
            let (less, from) = rest.split_at(rest.partition_point(|entry| entry.image < key));
            let (same, greater) = from.split_at(from.partition_point(|entry| entry.image == key));
            entries.extend_from_slice(less);
            rest = greater;
            let start = entries.len();
            entries.extend_from_slice(same);
            let image = of_image[0].image.as_str();
            // An image that is no reference is none: nobody can ask for it.
            let Ok(image) = Reference::parse(image) else { continue };
            for change in of_image {
                let number = self.all.registries.number(change.registry);
                let present = entries[start..]
                    .iter()
                    .position(|entry| Some(entry.registry as usize) == number);
                if let Some(present) = present {
                    let entry = entries.remove(start + present);
                    self.retire(&image, &entry, &mut extras);
                }
                if let Some(success) = change.success {
                    entries.extend(self.entry(&image, change, success, &mut extras));
                }
            }
            entries[start..].sort_unstable_by_key(|entry| entry.registry);
        }
        entries.extend_from_slice(rest);
        self.all.length = self.all.length + entries.len() - before.entries.len();
        extras.sort_unstable_by_key(Extra::pair);
        let shard = self.all.shard_mut(&first.key);
        shard.entries = entries.into();
        shard.extras = extras.into();
    }

    fn retire(&mut self, image: &Reference<'_>, entry: &Entry, extras: &mut Vec<Extra>) {
        let place = extras.iter().position(|extra| extra.pair() == entry.pair());
        let extra = place.map(|place| extras.swap_remove(place));
        let text = match extra.as_ref().and_then(|extra| extra.digest.as_deref()) {
            Some(digest) => Key::of_digest(image, digest),
            None => Key::of_digest(image, &sha256_text(&entry.digest)),
        };
        let keys = extra.iter().flat_map(|extra| extra.leads.iter().copied());
        self.gone
            .extend([text].into_iter().chain(keys).map(|key| entry.lead(key)));
        self.all.registries.release(entry.registry as usize);
        if entry.form < APART {
            self.all.forms.release(entry.form.into());
            self.forms_changed |= self.all.forms.uses(entry.form.into()) == 0;
        }
    }

    /// The entry of a push; none where its target is not one of this image.
    fn entry(
        &mut self,
        image: &Reference<'_>,
        change: &Change<'_>,
        success: &Success,
        extras: &mut Vec<Extra>,
    ) -> Option<Entry> {
        let target = success.reference().filter(|target| !target.registry().is_empty())?;
        if target.matching_tag() != image.matching_tag() || target.digest() != image.digest() {
            return None;
        }
        let names = (form::name(&target), form::name(image));
        let registry = self.all.registries.take(change.registry, u32::MAX as usize)?;
        let form = self.form(&names.1, &names.0);
        let sha256 = sha256(&success.digest);
        let mut leads: Vec<Key> = success
            .children
            .iter()
            .map(|child| Key::of_digest(image, child))
            .collect();
        if form == APART {
            // By its tag, and by whatever digest it holds: as it may be written.
            let by_tag = Reference::parse(&success.target)
                .ok()
                .filter(|target| target.digest().is_none());
            leads.extend(by_tag.map(|target| target_key(&target)));
            for digest in success.children.iter().chain([&success.digest]) {
                let text = format!("{}@{digest}", names.0);
                leads.extend(Reference::parse(&text).ok().map(|target| target_key(&target)));
            }
        }
        let own = Key::of_digest(image, &success.digest);
        leads.sort_unstable();
        leads.dedup();
        leads.retain(|key| *key != own);
        let entry = Entry {
            image: change.key,
            digest: sha256.unwrap_or_default(),
            second: success.finished_at.as_second(),
            nanosecond: success.finished_at.subsec_nanosecond(),
            sequence: success.sequence,
            // No more were given out.
            registry: u32::try_from(registry).unwrap_or(u32::MAX),
            form,
            digest_is_extra: sha256.is_none(),
        };
        self.new.extend([own].iter().chain(&leads).map(|key| entry.lead(*key)));
        if sha256.is_none() || form == APART || !leads.is_empty() {
            extras.push(Extra {
                image: change.key,
                registry: entry.registry,
                digest: sha256.is_none().then(|| success.digest.clone()),
                names: (form == APART).then(|| (names.0.into(), names.1.into())),
                leads: leads.into(),
            });
        }
        Some(entry)
    }

    fn form(&mut self, image: &str, target: &str) -> u16 {
        if image == target {
            return OWN;
        }
        let number = Form::between(image, target).and_then(|form| {
            let number = self.all.forms.take(&form.text(), MOST_FORMS)?;
            self.forms_changed |= self.all.forms.uses(number) == 1;
            u16::try_from(number).ok()
        });
        number.unwrap_or(APART)
    }

    /// Writes the leads anew that have changed, when all entries are there.
    fn leads(&mut self) {
        let mut gone = std::mem::take(&mut self.gone);
        gone.sort_unstable();
        let mut new = std::mem::take(&mut self.new);
        // Two that have the same key are rare.
        new.sort_unstable_by(|one, other| {
            one.key
                .cmp(&other.key)
                .then_with(|| self.rank(one).cmp(&self.rank(other)))
        });
        let (mut gone, mut new) = (&gone[..], &new[..]);
        while let Some(key) = gone
            .first()
            .map(|lead| lead.key)
            .into_iter()
            .chain(new.first().map(|lead| lead.key))
            .min()
        {
            let in_place = |leads: &[Lead]| leads.partition_point(|lead| place(&lead.key) <= place(&key));
            let (gone_here, gone_later) = gone.split_at(in_place(gone));
            let (new_here, new_later) = new.split_at(in_place(new));
            (gone, new) = (gone_later, new_later);
            let leads = self.merged(&self.all.shard(&key).leads, gone_here, new_here);
            self.all.shard_mut(&key).leads = leads;
        }
    }

    fn merged(&self, before: &[Lead], gone: &[Lead], new: &[Lead]) -> Arc<[Lead]> {
        let is_there = |lead: &&Lead| gone.binary_search(lead).is_err();
        let kept: Vec<Lead> = before.iter().filter(is_there).cloned().collect();
        let mut leads = Vec::with_capacity(kept.len() + new.len());
        let mut rest = &kept[..];
        for lead in new {
            let less = rest.partition_point(|other| other.key < lead.key);
            let same = rest[less..].partition_point(|other| other.key == lead.key);
            let rank = self.rank(lead);
            let later = rest[less..less + same].partition_point(|other| self.rank(other) < rank);
            let (first, behind) = rest.split_at(less + later);
            leads.extend_from_slice(first);
            leads.push(lead.clone());
            rest = behind;
        }
        leads.extend_from_slice(rest);
        leads.into()
    }

    fn rank(&self, lead: &Lead) -> Option<Rank<'_>> {
        self.all.led(lead).map(|found| found.rank())
    }
}

impl Entry {
    fn lead(&self, key: Key) -> Lead {
        Lead {
            key,
            image: self.image,
            registry: self.registry,
        }
    }
}

impl All {
    fn shard_mut(&mut self, key: &Key) -> &mut Shard {
        let (group, shard) = place(key);
        Arc::make_mut(&mut Arc::make_mut(&mut self.groups[group])[shard])
    }
}

fn sha256(digest: &str) -> Option<[u8; 32]> {
    let digits = digest.strip_prefix(SHA256).filter(|digits| digits.len() == 64)?;
    let mut bytes = [0; 32];
    for (byte, digits) in bytes.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        for digit in digits {
            let value = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'f' => digit - b'a' + 10,
                _ => return None,
            };
            *byte = (*byte << 4) | value;
        }
    }
    Some(bytes)
}

/// So many forms are kept; what has another is kept as a text. There are as many as registries, or twice as many.
const MOST_FORMS: usize = 1024;
