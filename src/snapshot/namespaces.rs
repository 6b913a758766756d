//! The namespaces of the cluster and their labels, as the watch found them.

use std::{fmt, hash::BuildHasher, sync::Arc};

use hashbrown::{DefaultHashBuilder, HashTable};

use super::NoLabels;
use crate::policy::Labels;

/// The namespaces that are known. The default is that nobody watches them: then each is taken to be known, and to have no labels.
///
/// Clones share what they have in common, and a change costs a part of it only: it is published for each new namespace.
#[derive(Clone, Default)]
pub struct Namespaces {
    watched: Option<Watched>,
}

#[derive(Clone)]
struct Watched {
    hasher: DefaultHashBuilder,
    shards: Box<[Arc<Shard>]>,
}

type Shard = HashTable<Arc<Namespace>>;

/// A namespace and its labels, in little memory: there may be ten thousands.
struct Namespace {
    /// The name, then key and value of each label, without anything between them.
    text: Box<str>,
    /// Where each of them ends, in bytes.
    ends: Box<[u32]>,
}

impl Namespaces {
    /// They are watched, and none is known yet.
    pub fn watched() -> Self {
        Self {
            watched: Some(Watched::default()),
        }
    }

    /// The labels of a namespace; none where it is not known.
    pub fn labels(&self, name: &str) -> Option<&dyn Labels> {
        let Some(watched) = &self.watched else {
            return Some(&NoLabels);
        };
        let hash = watched.hasher.hash_one(name);
        let found = watched.shards[shard(hash)].find(hash, |namespace| namespace.name() == name)?;
        Some(&**found)
    }

    /// Adds a namespace or replaces its labels. Whether that was a change.
    pub fn insert<'l>(&mut self, name: &str, labels: impl IntoIterator<Item = (&'l str, &'l str)>) -> bool {
        let namespace = Namespace::new(name, labels);
        let Watched { hasher, shards } = self.watched.get_or_insert_default();
        let hash = hasher.hash_one(name);
        let shard = &mut shards[shard(hash)];
        // Most changes of a namespace are not to its labels. The shard is copied only for those that are.
        if shard.find(hash, |present| **present == namespace).is_some() {
            return false;
        }
        let shard = Arc::make_mut(shard);
        match shard.find_mut(hash, |present| present.name() == name) {
            Some(present) => *present = Arc::new(namespace),
            None => {
                shard.insert_unique(hash, Arc::new(namespace), |other| hasher.hash_one(other.name()));
            }
        }
        true
    }

    /// Removes a namespace. Whether it was there.
    pub fn remove(&mut self, name: &str) -> bool {
        let Some(Watched { hasher, shards }) = &mut self.watched else {
            return false;
        };
        let hash = hasher.hash_one(name);
        let shard = &mut shards[shard(hash)];
        if shard.find(hash, |present| present.name() == name).is_none() {
            return false;
        }
        match Arc::make_mut(shard).find_entry(hash, |present| present.name() == name) {
            Ok(entry) => {
                entry.remove();
                true
            }
            Err(_) => false,
        }
    }

    /// How many are known.
    pub fn len(&self) -> usize {
        let shards = self.watched.iter().flat_map(|watched| &watched.shards);
        shards.map(|shard| shard.len()).sum()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Default for Watched {
    fn default() -> Self {
        Self {
            hasher: DefaultHashBuilder::default(),
            shards: vec![Arc::default(); SHARDS].into(),
        }
    }
}

impl fmt::Debug for Namespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Namespaces")
            .field("watched", &self.watched.is_some())
            .field("known", &self.len())
            .finish()
    }
}

impl Namespace {
    fn new<'l>(name: &str, labels: impl IntoIterator<Item = (&'l str, &'l str)>) -> Self {
        let mut text = name.to_owned();
        let mut ends = vec![end(&text)];
        for (key, value) in labels {
            for part in [key, value] {
                text.push_str(part);
                ends.push(end(&text));
            }
        }
        Self {
            text: text.into(),
            ends: ends.into(),
        }
    }

    fn name(&self) -> &str {
        self.parts().next().unwrap_or_default()
    }

    fn parts(&self) -> impl Iterator<Item = &str> {
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let end = *end as usize;
            let part = &self.text[start..end];
            start = end;
            part
        })
    }
}

impl PartialEq for Namespace {
    /// The API server gives out labels in one order.
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.ends == other.ends
    }
}

impl Labels for Namespace {
    fn value(&self, key: &str) -> Option<&str> {
        let mut parts = self.parts().skip(1);
        while let (Some(present), Some(value)) = (parts.next(), parts.next()) {
            if present == key {
                return Some(value);
            }
        }
        None
    }
}

/// Objects are some megabytes at most.
fn end(text: &str) -> u32 {
    u32::try_from(text.len()).unwrap_or(u32::MAX)
}

/// Bits that a table does not use itself.
fn shard(hash: u64) -> usize {
    (hash >> 32) as usize % SHARDS
}

/// Of ten thousand namespaces, a change copies pointers to some 150.
const SHARDS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn value<'n>(namespaces: &'n Namespaces, name: &str, key: &str) -> Option<&'n str> {
        namespaces.labels(name).and_then(|labels| labels.value(key))
    }

    #[test]
    fn where_nobody_watches_every_namespace_is_known_and_has_no_labels() {
        let namespaces = Namespaces::default();
        assert!(namespaces.labels("any").is_some());
        assert_eq!(value(&namespaces, "any", "team"), None);
        assert!(Namespaces::watched().labels("any").is_none());
    }

    #[test]
    fn labels_are_found_by_their_whole_keys() {
        let mut namespaces = Namespaces::watched();
        namespaces.insert("a", [("team", "x"), ("te", "am"), ("empty", ""), ("last", "1")]);
        for (key, expected) in [
            ("team", Some("x")),
            ("te", Some("am")),
            ("empty", Some("")),
            ("last", Some("1")),
            ("x", None),
            ("a", None),
            ("", None),
        ] {
            assert_eq!(value(&namespaces, "a", key), expected, "{key}");
        }
        assert!(namespaces.labels("").is_none());
    }

    #[test]
    fn only_what_changes_is_a_change_and_what_was_published_before_stays_as_it_was() {
        let mut namespaces = Namespaces::watched();
        assert!(namespaces.insert("a", [("team", "x")]));
        let before = namespaces.clone();
        assert!(!namespaces.insert("a", [("team", "x")]));
        assert!(namespaces.insert("a", [("team", "y")]));
        assert!(namespaces.insert("b", []));
        assert_eq!((before.len(), value(&before, "a", "team")), (1, Some("x")));
        assert_eq!((namespaces.len(), value(&namespaces, "a", "team")), (2, Some("y")));
        assert!(namespaces.remove("a"));
        assert!(!namespaces.remove("a"));
        assert!(namespaces.labels("a").is_none() && namespaces.labels("b").is_some());
        assert!(!Namespaces::default().remove("a"));
    }

    #[test]
    fn ten_thousand_that_are_published_one_by_one_do_not_cost_the_square() {
        let mut namespaces = Namespaces::watched();
        let mut published = namespaces.clone();
        for number in 0..10_000 {
            namespaces.insert(&format!("namespace-{number}"), [("number", &*number.to_string())]);
            published = namespaces.clone();
        }
        assert_eq!(published.len(), 10_000);
        assert_eq!(value(&published, "namespace-9999", "number"), Some("9999"));
        let watched = published.watched.as_ref().unwrap();
        let largest = watched.shards.iter().map(|shard| shard.len()).max().unwrap();
        assert!(largest < 300, "a change copies {largest} pointers");
    }
}
