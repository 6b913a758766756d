//! What a registry has told of deletes lately: a push from before that is told of afterwards is of what is gone.

use std::collections::VecDeque;

use jiff::Timestamp;

use super::Deleted;

/// The deletes that one registry told of last. A push that is of before one of them, and comes in later, is none.
#[derive(Debug, Default)]
pub struct Deletions {
    latest: VecDeque<Deletion>,
}

#[derive(Debug, PartialEq, Eq)]
struct Deletion {
    name: Box<str>,
    what: Deleted,
    at: Timestamp,
}

impl Deletions {
    /// Something was deleted. So many are remembered that what comes late finds them, and the oldest goes for another.
    pub fn add(&mut self, name: &str, what: &Deleted, at: Timestamp) {
        let mut same = self.latest.iter_mut();
        if let Some(known) = same.find(|known| *known.name == *name && known.what == *what) {
            known.at = known.at.max(at);
            return;
        }
        if self.latest.len() >= MOST {
            self.latest.pop_front();
        }
        self.latest.push_back(Deletion {
            name: name.into(),
            what: what.clone(),
            at,
        });
    }

    /// Since when nothing is of what was pushed to `name` at `at`, if it was deleted since.
    pub fn since(&self, name: &str, tag: &str, digest: &str, at: Timestamp) -> Option<Timestamp> {
        let of = |deletion: &Deletion| {
            let is_it = *deletion.name == *name
                && deletion.at > at
                && match &deletion.what {
                    Deleted::Tag(other) => **other == *tag,
                    Deleted::Digest(other) => **other == *digest,
                    Deleted::Repository => true,
                };
            is_it.then(|| deletion.what.withdraws(at, deletion.at))
        };
        self.latest.iter().filter_map(of).max()
    }
}

/// Some 300 bytes each.
const MOST: usize = 1024;
