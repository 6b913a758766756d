//! Texts that many records have in common: each is kept once, and goes with the last record that uses it.

use std::sync::Arc;

use hashbrown::HashMap;

/// Texts by number. Clones share what they have in common.
#[derive(Clone, Debug, Default)]
pub(super) struct Texts {
    known: Arc<Known>,
    /// By number: how many records use it.
    uses: Vec<usize>,
}

#[derive(Clone, Debug, Default)]
struct Known {
    by_number: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, usize>,
}

impl Texts {
    pub(super) fn number(&self, text: &str) -> Option<usize> {
        self.known.numbers.get(text).copied()
    }

    pub(super) fn text(&self, number: usize) -> &str {
        self.known.by_number.get(number).map_or("", |text| text)
    }

    /// How many records use a text.
    pub(super) fn uses(&self, number: usize) -> usize {
        self.uses.get(number).copied().unwrap_or(0)
    }

    /// Those in use.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &str)> {
        let used = |(number, _): &(usize, &Arc<str>)| self.uses(*number) > 0;
        let all = self.known.by_number.iter().enumerate().filter(used);
        all.map(|(number, text)| (number, &**text))
    }

    /// Takes one more use of a text; none where there would be more than `most` texts.
    pub(super) fn take(&mut self, text: &str, most: usize) -> Option<usize> {
        let number = match self.number(text) {
            Some(number) => number,
            None => self.add(text, most)?,
        };
        self.uses[number] += 1;
        Some(number)
    }

    pub(super) fn release(&mut self, number: usize) {
        if let Some(uses) = self.uses.get_mut(number) {
            *uses = uses.saturating_sub(1);
        }
    }

    fn add(&mut self, text: &str, most: usize) -> Option<usize> {
        let text: Arc<str> = text.into();
        let free = self.uses.iter().position(|uses| *uses == 0);
        if free.is_none() && self.uses.len() >= most {
            return None;
        }
        let known = Arc::make_mut(&mut self.known);
        let number = free.unwrap_or(self.uses.len());
        match free {
            Some(number) => {
                let before = std::mem::replace(&mut known.by_number[number], text.clone());
                known.numbers.remove(&before);
            }
            None => {
                known.by_number.push(text.clone());
                self.uses.push(0);
            }
        }
        known.numbers.insert(text, number);
        Some(number)
    }
}
