//! Which push of an image is the latest.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;

use super::{Image, Key, Success};
use crate::reference::Reference;

/// The pushes that went well, of all images: immutable, and cloned for the price of a counter.
#[derive(Clone, Debug, Default)]
pub struct Index {
    all: Arc<BTreeMap<(Key, Box<str>), Success>>,
}

/// A push that went well, of the image that was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Found<'i> {
    /// The registry's id.
    pub registry: &'i str,
    success: &'i Success,
}

impl Index {
    /// With what is known now of these pairs of an image and a registry; none where there is no push any more.
    pub fn with<'c>(&self, changes: impl IntoIterator<Item = (&'c Image, &'c str, Option<&'c Success>)>) -> Self {
        let mut all = BTreeMap::clone(&self.all);
        for (image, registry, success) in changes {
            let key = (image.key(), registry.into());
            match success {
                Some(success) => all.insert(key, success.clone()),
                None => all.remove(&key),
            };
        }
        Self { all: all.into() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Those of an image, the latest first.
    pub fn find(&self, image: &Reference<'_>) -> Vec<Found<'_>> {
        let key = Key::of(image);
        let mut found: Vec<_> = self
            .all
            .iter()
            .filter(|((other, _), _)| *other == key)
            .map(|((_, registry), success)| Found { registry, success })
            .collect();
        found.sort_by_key(|found| std::cmp::Reverse(found.order()));
        found
    }
}

impl Found<'_> {
    /// By which the later of two is told.
    pub fn order(&self) -> (Timestamp, u64) {
        self.success.order()
    }
}
