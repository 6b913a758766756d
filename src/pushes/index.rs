//! Which push of an image is the latest.

mod form;
mod shard;
mod texts;
mod update;

use std::{borrow::Cow, cmp::Reverse, fmt, sync::Arc};

use hashbrown::HashMap;
use jiff::Timestamp;
use smallvec::SmallVec;

pub(crate) use self::form::normal;
use self::{
    form::Form,
    shard::{Entry, Extra, GROUPS, Lead, SHARDS_A_GROUP, Shard, place},
    texts::Texts,
    update::Update,
};
use super::{Image, Key, Success};
use crate::reference::Reference;

/// The pushes that went well, of all images: immutable, and cloned for the price of a counter.
///
/// A look-up costs the same however many there are, and so does a change, which copies a 4096th. A target is not kept as a text: it is
/// made of the image that is asked for, with its tag and digest as they are written.
#[derive(Clone, Default)]
pub struct Index {
    /// None where there is no push.
    all: Option<Arc<All>>,
}

#[derive(Clone)]
struct All {
    length: usize,
    /// Shards by the first bits of the key, a group each for its first bits.
    groups: Box<[Arc<[Arc<Shard>]>]>,
    registries: Texts,
    forms: Texts,
    /// The forms whose targets are in a registry, by its host.
    by_host: Arc<HashMap<Box<str>, Vec<u16>>>,
}

/// A push that went well, of the image that was asked for.
#[derive(Clone, Copy)]
pub struct Found<'i> {
    /// The registry's id.
    pub registry: &'i str,
    entry: &'i Entry,
    extra: Option<&'i Extra>,
    all: &'i All,
}

/// A push whose target an image is.
#[derive(Clone, Debug)]
pub struct Source<'i> {
    /// The image that was pushed, with the tag and the digest of its target.
    pub image: String,
    /// Its push.
    pub push: Found<'i>,
}

/// A place in the order of pushes, in which the latest is the first.
pub(crate) type Rank<'i> = (Reverse<(Timestamp, u64)>, &'i str, Key);

/// What is found of an image: mostly it is in one registry or two.
pub type Pushes<'i> = SmallVec<[Found<'i>; 2]>;

impl Index {
    /// With what is known now of these pairs of an image and a registry; none where there is no push any more. Of several changes of a pair
    /// the last counts. Pushes whose target is no reference, or has another tag or digest than the image, are none.
    ///
    /// Many at once cost much less than one by one.
    pub fn with<'c>(&self, changes: impl IntoIterator<Item = (&'c Image, &'c str, Option<&'c Success>)>) -> Self {
        let mut update = Update::of(self.all.as_deref());
        for (image, registry, success) in changes {
            update.add(image, registry, success);
        }
        let all = update.finish();
        Self {
            all: (all.length > 0).then(|| all.into()),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.as_ref().map_or(0, |all| all.length)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_none()
    }

    /// How many there are into a registry.
    pub fn count(&self, registry: &str) -> usize {
        let count = |all: &Arc<All>| Some(all.registries.uses(all.registries.number(registry)?));
        self.all.as_ref().and_then(count).unwrap_or(0)
    }

    /// Those of an image, the latest first. Of an image with a digest, all of its name that hold it, whatever their tags: the
    /// [`MOST_OF_A_DIGEST`] latest.
    pub fn find(&self, image: &Reference<'_>) -> Pushes<'_> {
        let Some(all) = &self.all else {
            return Pushes::new();
        };
        let Some(digest) = image.digest() else {
            return all.of(&Key::of(image));
        };
        let key = Key::of_digest(image, digest);
        let leads = all.shard(&key).leads(&key).iter().take(MOST_OF_A_DIGEST);
        leads.filter_map(|lead| all.led(lead)).collect()
    }

    /// Those whose target an image is, and that are not pushes of this very image.
    pub fn sources(&self, target: &Reference<'_>) -> SmallVec<[Source<'_>; 1]> {
        let mut sources = SmallVec::new();
        let Some(all) = &self.all else {
            return sources;
        };
        let lower = host(target);
        if let Some(forms) = all.by_host.get(&*lower) {
            let name = form::name(target);
            for number in forms {
                let form = Form::read(all.forms.text(usize::from(*number)));
                let Some(image) = form.source(&name, target.suffix()) else {
                    continue;
                };
                let Ok(reference) = Reference::parse(&image) else {
                    continue;
                };
                let pushes = self.find(&reference);
                let by_this = pushes.into_iter().filter(|push| push.entry.form == *number);
                sources.extend(by_this.map(|push| Source {
                    image: image.clone(),
                    push,
                }));
            }
        }
        let key = target_key(target);
        for lead in all.shard(&key).leads(&key).iter().take(MOST_OF_A_DIGEST) {
            if let Some(push) = all.led(lead)
                && let Some((_, image)) = push.names()
            {
                let image = format!("{image}{}", target.suffix());
                sources.push(Source { image, push });
            }
        }
        sources.sort_unstable_by_key(|source| source.push.rank());
        sources
    }

    /// Whether the push of an image into a registry is its latest.
    pub fn is_latest(&self, image: Key, registry: &str) -> bool {
        let latest = self
            .all
            .as_ref()
            .and_then(|all| all.latest(all.shard(&image).of(&image)));
        latest.is_some_and(|latest| latest.registry == registry)
    }

    /// The images whose latest push went into a registry. Looks at all records.
    pub fn latest_of<'i>(&'i self, registry: &str) -> impl Iterator<Item = Key> + use<'i> {
        let all = self.all.as_deref();
        let number = all.and_then(|all| all.registries.number(registry));
        let all = all.filter(|all| number.is_some_and(|number| all.registries.uses(number) > 0));
        let shards = all.into_iter().flat_map(|all| {
            let shards = all.groups.iter().flat_map(|group| group.iter());
            shards.map(move |shard| (all, shard))
        });
        shards.flat_map(move |(all, shard)| {
            let images = shard.entries.chunk_by(|one, other| one.image == other.image);
            images.filter_map(move |entries| {
                let latest = all.latest(entries)?;
                (Some(latest.entry.registry as usize) == number).then_some(latest.entry.image)
            })
        })
    }
}

impl All {
    fn shard(&self, key: &Key) -> &Shard {
        let (group, shard) = place(key);
        &self.groups[group][shard]
    }

    fn of(&self, image: &Key) -> Pushes<'_> {
        let shard = self.shard(image);
        let mut found: Pushes<'_> = shard.of(image).iter().map(|entry| self.found(shard, entry)).collect();
        found.sort_unstable_by_key(Found::rank);
        found
    }

    fn led(&self, lead: &Lead) -> Option<Found<'_>> {
        let shard = self.shard(&lead.image);
        let entry = shard.entry(&lead.image, lead.registry)?;
        Some(self.found(shard, entry))
    }

    fn latest<'i>(&'i self, entries: &'i [Entry]) -> Option<Found<'i>> {
        let shard = self.shard(&entries.first()?.image);
        let found = entries.iter().map(|entry| self.found(shard, entry));
        found.min_by_key(Found::rank)
    }

    fn found<'i>(&'i self, shard: &'i Shard, entry: &'i Entry) -> Found<'i> {
        let plain = !entry.digest_is_extra && entry.form != APART;
        Found {
            registry: self.registries.text(entry.registry as usize),
            entry,
            extra: if plain { None } else { shard.extra(entry) },
            all: self,
        }
    }
}

impl<'i> Found<'i> {
    /// By which the later of two is told.
    pub fn order(&self) -> (Timestamp, u64) {
        self.entry.order()
    }

    /// The later comes first. Two are never at the same place.
    pub(crate) fn rank(&self) -> Rank<'i> {
        (Reverse(self.order()), self.registry, self.entry.image)
    }

    /// What was pushed.
    pub fn digest(&self) -> Cow<'i, str> {
        match self.extra.and_then(|extra| extra.digest.as_deref()) {
            Some(digest) => digest.into(),
            None => sha256_text(&self.entry.digest).into(),
        }
    }

    /// Whether both pushed the same.
    pub fn is_same_content(&self, other: &Found<'_>) -> bool {
        let apart = |found: &Found<'i>| found.extra.and_then(|extra| extra.digest.as_deref());
        match (apart(self), other.extra.and_then(|extra| extra.digest.as_deref())) {
            (None, None) => self.entry.digest == other.entry.digest,
            (one, other) => one == other,
        }
    }

    /// The image, as its registry has it: with tag and digest as they are written.
    pub fn target(&self, image: &Reference<'_>) -> String {
        match self.entry.form {
            APART => {
                let target = self.names().map_or("", |(target, _)| target);
                format!("{target}{}", image.suffix())
            }
            OWN => Form::read("").target(image),
            form => Form::read(self.all.forms.text(form.into())).target(image),
        }
    }

    /// Whether the target is the image itself: an image in its own right.
    pub fn is_own(&self) -> bool {
        self.entry.form == OWN
    }

    /// The names of the target and of its image.
    fn names(&self) -> Option<(&'i str, &'i str)> {
        let (target, image) = self.extra?.names.as_ref()?;
        Some((target, image))
    }
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Found")
            .field("registry", &self.registry)
            .field("order", &self.order())
            .field("digest", &self.digest())
            .finish_non_exhaustive()
    }
}

impl Default for All {
    fn default() -> Self {
        let empty = Arc::<Shard>::default();
        let group: Arc<[Arc<Shard>]> = vec![empty; SHARDS_A_GROUP].into();
        Self {
            length: 0,
            groups: vec![group; GROUPS].into(),
            registries: Texts::default(),
            forms: Texts::default(),
            by_host: Arc::default(),
        }
    }
}

/// What leads from a target to its push, where no form does: other than what leads from an image of this name.
fn target_key(target: &Reference<'_>) -> Key {
    let key = match target.digest() {
        Some(digest) => Key::of_digest(target, digest),
        None => Key::of(target),
    };
    Key(key.0.map(|byte| !byte))
}

fn sha256_text(digest: &[u8; 32]) -> String {
    let mut text = String::with_capacity(SHA256.len() + 2 * digest.len());
    text.push_str(SHA256);
    for byte in digest {
        text.extend([byte >> 4, byte & 15].map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)])));
    }
    text
}

fn host<'r>(image: &Reference<'r>) -> Cow<'r, str> {
    let host = image.registry();
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return host.to_ascii_lowercase().into();
    }
    host.into()
}

/// So many pushes of a digest are looked at, the latest: more than there are registries, unless somebody gives one image very many tags.
pub const MOST_OF_A_DIGEST: usize = 64;

/// The form of an image in its own right.
const OWN: u16 = u16::MAX;

/// An extra has the target's name.
const APART: u16 = u16::MAX - 1;

const SHA256: &str = "sha256:";

#[cfg(test)]
mod tests;
