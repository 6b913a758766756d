//! When a token that cannot be read is taken for none: what a store cannot read now, it may read in a moment.

use std::time::Duration;

use tokio::time::Instant;

use crate::store::Edition;

/// Looks that came to nothing, one after another.
#[derive(Default)]
pub(super) struct Doubt {
    /// At which edition, since when, and how many.
    looks: Option<(Option<Edition>, Instant, u32)>,
    /// So often another token was issued because of that, and none could be read since.
    vain: u32,
}

impl Doubt {
    /// It could not be read. Whether that has been so for long enough.
    pub(super) fn failed(&mut self, edition: Option<&Edition>) -> bool {
        let before = self.looks.take().filter(|(of, ..)| of.as_ref() == edition);
        let (of, since, looks) = before.unwrap_or_else(|| (edition.cloned(), Instant::now(), 0));
        let looks = looks.saturating_add(1);
        self.looks = Some((of, since, looks));
        looks >= LOOKS && since.elapsed() >= PATIENCE.saturating_mul(1 << self.vain.min(MOST_DOUBLED))
    }

    /// It can be read, or it is known that there is none.
    pub(super) fn over(&mut self) {
        *self = Self::default();
    }

    /// There is another. Where it is there because nobody could read the one before, the next is longer in coming.
    pub(super) fn another(&mut self, in_place_of_unreadable: bool) {
        self.looks = None;
        self.vain = self.vain.saturating_add(in_place_of_unreadable.into());
    }
}

const LOOKS: u32 = 3;
const PATIENCE: Duration = Duration::from_secs(60);

/// To somewhat more than an hour.
const MOST_DOUBLED: u32 = 6;
