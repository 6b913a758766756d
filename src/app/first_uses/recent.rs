//! What was left a few seconds ago.

use std::{
    hash::{BuildHasher, Hash, Hasher, RandomState},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use crate::admission::FirstUse;

/// A table of a fixed size without a lock: an image has one place in it, which another may take. Ten thousand Pods of one image cost a
/// hash each.
pub(super) struct Recent {
    /// The upper bits of the image's hash, and when it was left.
    places: Box<[AtomicU64]>,
    hasher: RandomState,
    started: Instant,
}

/// Where an image is in the table, and what stands there when it was left now.
pub(super) struct Place {
    number: usize,
    content: u64,
}

impl Recent {
    pub(super) fn new() -> Self {
        Self {
            places: (0..PLACES).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
            started: Instant::now(),
        }
    }

    pub(super) fn place(&self, used: &FirstUse<'_>) -> Place {
        self.place_at(used, self.started.elapsed())
    }

    fn place_at(&self, used: &FirstUse<'_>, since: Duration) -> Place {
        let mut hasher = self.hasher.build_hasher();
        used.replicate.registry.hash(&mut hasher);
        // One that may be read by a credential is another matter than one that may not.
        used.source.hash(&mut hasher);
        for segment in used.image.segments() {
            segment.hash(&mut hasher);
        }
        (used.image.matching_tag(), used.image.digest()).hash(&mut hasher);
        let hash = hasher.finish();
        // Not 0, which is the time of what was never left.
        let time = (since.as_secs() + 1) & TIME;
        Place {
            number: (hash & TIME) as usize % PLACES,
            content: hash & !TIME | time,
        }
    }

    /// Whether it was left a few seconds ago.
    pub(super) fn has(&self, place: &Place) -> bool {
        let there = self.places[place.number].load(Relaxed);
        let same = there & !TIME == place.content & !TIME && there & TIME != 0;
        same && (place.content.wrapping_sub(there) & TIME) < RECENT
    }

    /// It was left.
    pub(super) fn keep(&self, place: Place) {
        self.places[place.number].store(place.content, Relaxed);
    }
}

/// How many images have a place.
const PLACES: usize = 8_192;

/// The bits of a place that are a time, in seconds: half a year of them. The others are the image's.
const TIME: u64 = (1 << 24) - 1;

/// What was left less than so many seconds ago is not left again.
const RECENT: u64 = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{policy::Replicate, reference::Reference};

    fn replicate(registry: &str) -> Replicate {
        Replicate {
            registry: registry.into(),
            refresh: Duration::from_secs(1),
            referrers: false,
        }
    }

    #[test]
    fn an_image_is_left_once_in_a_few_seconds_for_each_registry_and_credential() {
        let recent = Recent::new();
        let (r, s) = (replicate("r"), replicate("s"));
        let is_recent = |image: &str, replicate, source, seconds| {
            let image = Reference::parse(image).unwrap();
            let used = FirstUse {
                image,
                replicate,
                source,
            };
            let place = recent.place_at(&used, Duration::from_secs(seconds));
            let has = recent.has(&place);
            if !has {
                recent.keep(place);
            }
            has
        };
        assert!(!is_recent("alpine", &r, None, 0));
        for (image, seconds) in [("alpine", 0), ("docker.io/library/alpine:latest", RECENT - 1)] {
            assert!(is_recent(image, &r, None, seconds), "{image} after {seconds}");
        }
        assert!(!is_recent("alpine:3", &r, None, 1));
        assert!(!is_recent("alpine", &s, None, 1));
        assert!(!is_recent("alpine", &r, Some("hub"), 1));
        assert!(!is_recent("alpine", &r, None, RECENT));
        assert!(is_recent("alpine", &r, None, RECENT + 1));
        // The time begins anew.
        assert!(!is_recent("alpine", &r, None, TIME - 1));
        assert!(is_recent("alpine", &r, None, TIME));
        assert!(!is_recent("alpine", &r, None, TIME + RECENT));
    }
}
