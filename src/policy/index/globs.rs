//! Things by globs, found by the hashes of what a text begins and ends with.

use hashbrown::HashMap;

use crate::policy::glob::Glob;

/// Things by globs, each glob once.
#[derive(Debug)]
pub(super) struct Globs<T>(ByAffix<ByAffix<Vec<(Glob, T)>>>);

impl<T> Globs<T> {
    /// The thing under this glob; a new one where there is none.
    pub(super) fn entry(&mut self, glob: &Glob, new: impl FnOnce() -> T) -> &mut T {
        let things = self.0.at(glob.literal_prefix()).at(glob.literal_suffix());
        let place = match things.iter().position(|(present, _)| present == glob) {
            Some(place) => place,
            None => {
                things.push((glob.clone(), new()));
                things.len() - 1
            }
        };
        &mut things[place].1
    }

    /// What stands under the globs that match this text; as in [`Glob::covers`], the text of a glob finds those that cover it.
    pub(super) fn matching<'g, 't>(&'g self, text: &'t str) -> impl Iterator<Item = &'g T> + use<'g, 't, T> {
        self.0
            .found(move |length| text.get(..length))
            .flat_map(move |by_end| by_end.found(move |length| text.get(text.len().checked_sub(length)?..)))
            .flatten()
            .filter(move |(glob, _)| glob.matches(text))
            .map(|(_, thing)| thing)
    }
}

impl<T> Default for Globs<T> {
    fn default() -> Self {
        Self(ByAffix::default())
    }
}

/// Things by the beginnings, or the ends, of texts: as many look-ups as there are lengths of them.
#[derive(Debug)]
struct ByAffix<T> {
    things: HashMap<Box<str>, T>,
    /// Each once.
    lengths: Vec<usize>,
}

impl<T: Default> ByAffix<T> {
    fn at(&mut self, affix: &str) -> &mut T {
        if !self.lengths.contains(&affix.len()) {
            self.lengths.push(affix.len());
        }
        self.things.entry(affix.into()).or_default()
    }
}

impl<T> ByAffix<T> {
    /// What stands under the affixes that a text has, one for each length.
    fn found<'g, 't, F>(&'g self, affix: F) -> impl Iterator<Item = &'g T> + use<'g, 't, T, F>
    where
        F: Fn(usize) -> Option<&'t str>,
    {
        let affixes = self.lengths.iter().filter_map(move |length| affix(*length));
        affixes.filter_map(|affix| self.things.get(affix))
    }
}

impl<T> Default for ByAffix<T> {
    fn default() -> Self {
        Self {
            things: HashMap::new(),
            lengths: Vec::new(),
        }
    }
}
