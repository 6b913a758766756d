//! Where records are kept: sorted slices of exact size, which one among thousands is copied of when something changes.

use std::sync::Arc;

use jiff::Timestamp;

use super::super::Key;

/// The records whose keys begin with the same bits, and what leads to others.
#[derive(Clone, Debug, Default)]
pub(super) struct Shard {
    /// By image and registry.
    pub(super) entries: Arc<[Entry]>,
    /// By key; those of one key lead to the latest push first.
    pub(super) leads: Arc<[Lead]>,
    /// By image and registry: what few entries have.
    pub(super) extras: Arc<[Extra]>,
}

/// A push that went well.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) image: Key,
    /// Its SHA-256, unless an extra has the digest.
    pub(super) digest: [u8; 32],
    pub(super) second: i64,
    pub(super) nanosecond: i32,
    pub(super) sequence: u64,
    /// The number of its id.
    pub(super) registry: u32,
    /// How its target is made of its image.
    pub(super) form: u16,
    pub(super) digest_is_extra: bool,
}

/// From a digest under a name to a record that holds it; and from a target to a record that has it, where no form tells.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Lead {
    pub(super) key: Key,
    pub(super) image: Key,
    pub(super) registry: u32,
}

/// What few entries have.
#[derive(Clone, Debug)]
pub(super) struct Extra {
    pub(super) image: Key,
    pub(super) registry: u32,
    /// A digest that is no SHA-256.
    pub(super) digest: Option<Box<str>>,
    /// The names of the target and of its image, where no form makes one of the other.
    pub(super) names: Option<(Box<str>, Box<str>)>,
    /// The keys that lead to the record besides its digest's.
    pub(super) leads: Box<[Key]>,
}

impl Shard {
    /// The records of an image.
    pub(super) fn of(&self, image: &Key) -> &[Entry] {
        run(&self.entries, image, |entry| &entry.image)
    }

    pub(super) fn entry(&self, image: &Key, registry: u32) -> Option<&Entry> {
        self.of(image).iter().find(|entry| entry.registry == registry)
    }

    pub(super) fn leads(&self, key: &Key) -> &[Lead] {
        run(&self.leads, key, |lead| &lead.key)
    }

    pub(super) fn extra(&self, entry: &Entry) -> Option<&Extra> {
        let wanted = entry.pair();
        let found = self.extras.binary_search_by_key(&wanted, Extra::pair);
        found.ok().map(|place| &self.extras[place])
    }
}

impl Entry {
    pub(super) fn order(&self) -> (Timestamp, u64) {
        let time = Timestamp::new(self.second, self.nanosecond);
        // It was made of one.
        (time.unwrap_or(Timestamp::MIN), self.sequence)
    }

    pub(super) fn pair(&self) -> (Key, u32) {
        (self.image, self.registry)
    }
}

impl Extra {
    pub(super) fn pair(&self) -> (Key, u32) {
        (self.image, self.registry)
    }
}

/// Which shard a key is in.
pub(super) fn place(key: &Key) -> (usize, usize) {
    let bits = usize::from(u16::from_be_bytes([key.0[0], key.0[1]]) >> 4);
    (bits / SHARDS_A_GROUP, bits % SHARDS_A_GROUP)
}

fn run<'s, T>(sorted: &'s [T], key: &Key, of: impl Fn(&T) -> &Key) -> &'s [T] {
    let start = first(sorted, key, &of);
    let rest = &sorted[start..];
    let mut length = 0;
    // Mostly it is one.
    while length < FEW && rest.get(length).is_some_and(|item| of(item) == key) {
        length += 1;
    }
    if length == FEW {
        length += rest[FEW..].partition_point(|item| of(item) == key);
    }
    &rest[..length]
}

/// The place of the first that is not less. Keys are as good as random: it is near where their share of the range says, and a search from
/// there touches one or two lines of memory where halving would touch eight.
fn first<T>(sorted: &[T], key: &Key, of: impl Fn(&T) -> &Key) -> usize {
    let length = sorted.len();
    let mut start = [0; 8];
    start.copy_from_slice(&key.0[..8]);
    // The first bits are those of the shard.
    let share = u64::from_be_bytes(start) << SHARD_BITS;
    let guess = ((u128::from(share) * length as u128) >> 64) as usize;
    let (mut low, mut high, mut step) = (0, length, FEW);
    if sorted.get(guess).is_some_and(|item| of(item) < key) {
        low = guess + 1;
        while sorted.get(low + step).is_some_and(|item| of(item) < key) {
            low += step + 1;
            step *= 2;
        }
        high = high.min(low + step);
    } else {
        high = guess;
        while high >= step && of(&sorted[high - step]) >= key {
            high -= step;
            step *= 2;
        }
        low = low.max(high.saturating_sub(step));
    }
    low + sorted[low..high].partition_point(|item| of(item) < key)
}

const FEW: usize = 4;
const SHARD_BITS: u32 = 12;

/// In two steps, so that a change copies two short lists of pointers and not a long one.
pub(super) const GROUPS: usize = 64;
pub(super) const SHARDS_A_GROUP: usize = 64;
