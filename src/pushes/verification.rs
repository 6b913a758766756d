//! In which order the targets of a registry's pushes are asked for, how often, and when a registry is left alone.
//!
//! There is no clock here: moments are lengths since whatever moment the caller likes. What is kept does not grow with the records: a place
//! among them, from which it goes on and round, and some that come before their turn.

use std::{collections::VecDeque, time::Duration};

use hashbrown::HashMap;

use super::Key;

/// The order for one registry.
#[derive(Debug)]
pub struct Plan {
    every: Duration,
    /// Those that somebody has just told of.
    fresh: VecDeque<Key>,
    /// Those that Pods use, in order.
    used: Vec<Key>,
    /// The last of them that was asked for in the pass that goes on; none where it has not begun to, or is done.
    pass: Pass,
    round: Round,
    /// What comes next of the round.
    page: VecDeque<Key>,
    /// Behind this every round begins.
    start: Key,
    /// So many that are used were asked for since one of the others was.
    in_a_row: u32,
    early: Early,
}

/// Through those that Pods use.
#[derive(Debug)]
enum Pass {
    /// The next of them begins then.
    Due(Duration),
    Going {
        begun: Duration,
        next: usize,
        last: Option<Key>,
    },
}

/// Through all of them.
#[derive(Debug)]
enum Round {
    Due(Duration),
    Going {
        begun: Duration,
        /// Whether it has come to the end and goes on from the beginning.
        wrapped: bool,
        place: Place,
    },
}

#[derive(Debug)]
enum Place {
    /// What is behind this is not known yet.
    After(Option<Key>),
    /// The page is the last of this part.
    Last,
}

/// Those that were asked for before their turn, which need not be asked for again when it comes.
#[derive(Debug, Default)]
struct Early {
    all: HashMap<Key, Duration>,
    order: VecDeque<(Duration, Key)>,
}

/// What is to be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Ask for this one.
    Ask(Key),
    /// Say which come behind this key, or at first: [`Plan::page`].
    Page(Option<Key>),
    /// Nothing until then.
    Wait(Duration),
}

impl Plan {
    /// Each is asked for once in so long. Rounds begin behind the key `start`, which is best anywhere: a process that lives shorter than a
    /// round does not always ask for the same then.
    pub fn new(every: Duration, start: Key) -> Self {
        Self {
            every,
            fresh: VecDeque::new(),
            used: Vec::new(),
            pass: Pass::Due(Duration::ZERO),
            round: Round::Due(Duration::ZERO),
            page: VecDeque::new(),
            start,
            in_a_row: 0,
            early: Early::default(),
        }
    }

    /// This one is to be asked for before all others. Of too many the last are left to their turn.
    pub fn is_new(&mut self, key: Key) {
        if self.fresh.len() < MOST_FRESH && !self.fresh.contains(&key) {
            self.fresh.push_back(key);
        }
    }

    /// Which ones Pods use: they come before those that nobody uses. A pass that goes on goes on behind where it was.
    pub fn use_is(&mut self, mut used: Vec<Key>) {
        used.sort_unstable();
        used.dedup();
        self.used = used;
        if let Pass::Going { next, last, .. } = &mut self.pass {
            *next = last.map_or(0, |last| self.used.partition_point(|key| *key <= last));
        }
    }

    /// A page of those that were asked about by [`Turn::Page`], in order, and whether there are more behind them.
    pub fn page(&mut self, keys: impl IntoIterator<Item = Key>, more: bool) {
        self.page.extend(keys);
        if let Round::Going { place, .. } = &mut self.round {
            *place = match self.page.back() {
                Some(last) if more => Place::After(Some(*last)),
                _ => Place::Last,
            };
        }
    }

    /// Whose turn it is.
    pub fn next(&mut self, now: Duration) -> Turn {
        self.early.forget(now.saturating_sub(self.every));
        if let Some(key) = self.fresh.pop_front() {
            self.early.remember(key, now);
            return Turn::Ask(key);
        }
        // Many that are used do not keep the others waiting for ever.
        if self.in_a_row < MOST_IN_A_ROW
            && let Some(key) = self.next_used(now)
        {
            self.in_a_row += 1;
            return Turn::Ask(key);
        }
        if let Some(turn) = self.next_of_round(now) {
            if matches!(turn, Turn::Ask(_)) {
                self.in_a_row = 0;
            }
            return turn;
        }
        self.in_a_row = 0;
        if let Some(key) = self.next_used(now) {
            return Turn::Ask(key);
        }
        let Round::Due(mut due) = self.round else {
            return Turn::Wait(now);
        };
        if let (Pass::Due(pass), false) = (&self.pass, self.used.is_empty()) {
            due = due.min(*pass);
        }
        Turn::Wait(due)
    }

    fn next_used(&mut self, now: Duration) -> Option<Key> {
        if let Pass::Due(due) = self.pass {
            if due > now || self.used.is_empty() {
                return None;
            }
            self.pass = Pass::Going {
                begun: now,
                next: 0,
                last: None,
            };
        }
        let Pass::Going { begun, next, last } = &mut self.pass else {
            return None;
        };
        while let Some(key) = self.used.get(*next).copied() {
            *next += 1;
            *last = Some(key);
            if !self.early.has(key) {
                return Some(key);
            }
        }
        self.pass = Pass::Due((*begun + self.every).max(now));
        None
    }

    fn next_of_round(&mut self, now: Duration) -> Option<Turn> {
        if let Round::Due(due) = self.round {
            if due > now {
                return None;
            }
            self.round = Round::Going {
                begun: now,
                wrapped: false,
                place: Place::After(Some(self.start)),
            };
        }
        let Round::Going { begun, wrapped, place } = &mut self.round else {
            return None;
        };
        loop {
            while let Some(key) = self.page.pop_front() {
                if *wrapped && key > self.start {
                    self.page.clear();
                    *place = Place::Last;
                    break;
                }
                if !self.early.has(key) && self.used.binary_search(&key).is_err() {
                    return Some(Turn::Ask(key));
                }
            }
            match place {
                Place::After(after) => return Some(Turn::Page(*after)),
                Place::Last if !*wrapped => {
                    *wrapped = true;
                    *place = Place::After(None);
                }
                Place::Last => break,
            }
        }
        self.round = Round::Due((*begun + self.every).max(now));
        None
    }
}

impl Early {
    fn has(&self, key: Key) -> bool {
        self.all.contains_key(&key)
    }

    fn remember(&mut self, key: Key, now: Duration) {
        if self.order.len() == MOST_EARLY {
            self.drop_first();
        }
        self.all.insert(key, now);
        self.order.push_back((now, key));
    }

    /// What was asked for before this moment.
    fn forget(&mut self, before: Duration) {
        while self.order.front().is_some_and(|(at, _)| *at < before) {
            self.drop_first();
        }
    }

    fn drop_first(&mut self) {
        if let Some((at, key)) = self.order.pop_front()
            && self.all.get(&key) == Some(&at)
        {
            self.all.remove(&key);
        }
    }
}

/// For how long a registry is left alone that does not answer as it should.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patience {
    /// In a row.
    troubles: u32,
    until: Duration,
}

/// Why an answer was none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It does not let this credential see this, which may be so for this one alone.
    Rejected,
    /// It is asked too much, and perhaps it says for how long it does not want to be asked.
    Limited(Option<Duration>),
    /// There was no answer, or none of a registry.
    Failed,
}

impl Patience {
    /// It has answered.
    pub fn answered(&mut self) {
        self.troubles = 0;
    }

    /// It has not, as somebody found out at `now` who asked at `asked`. What was asked before it was left alone does not count again.
    pub fn refused(&mut self, trouble: Trouble, asked: Duration, now: Duration) {
        let longer = |first: Duration, troubles: u32| first.saturating_mul(1 << troubles.min(16));
        if asked >= self.until {
            self.troubles = self.troubles.saturating_add(1);
        }
        let again = self.troubles.saturating_sub(1);
        let pause = match trouble {
            Trouble::Rejected => longer(REJECTED, again).min(LONGEST_PAUSE),
            Trouble::Failed => longer(FAILED, again).min(LONGEST_PAUSE),
            Trouble::Limited(Some(wait)) => wait.clamp(REJECTED, LONGEST_WISH),
            Trouble::Limited(None) => longer(LIMITED, again).min(LONGEST_WISH),
        };
        self.until = self.until.max(now + pause);
    }

    /// Until when it is left alone.
    pub fn until(&self) -> Duration {
        self.until
    }
}

/// After so many that are used comes one of the others.
const MOST_IN_A_ROW: u32 = 3;

const MOST_FRESH: usize = 1_000;
const MOST_EARLY: usize = 10_000;

const REJECTED: Duration = Duration::from_secs(1);
const FAILED: Duration = Duration::from_secs(2);
const LIMITED: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// Somebody else's, or of one that says that it is asked too much.
const LONGEST_WISH: Duration = Duration::from_secs(3_600);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EVERY: Duration = Duration::from_secs(600);

    fn key(number: u8) -> Key {
        Key([number; 16])
    }

    /// A registry with these records, in pages of two, and a plan that begins behind the key `start`.
    struct Registry {
        keys: Vec<u8>,
        plan: Plan,
        now: Duration,
    }

    impl Registry {
        fn new(keys: &[u8], start: u8) -> Self {
            Self {
                keys: keys.to_vec(),
                plan: Plan::new(EVERY, key(start)),
                now: Duration::ZERO,
            }
        }

        /// Who is asked for next; none where nobody is for now, and until when.
        fn next(&mut self) -> Result<u8, Duration> {
            loop {
                match self.plan.next(self.now) {
                    Turn::Ask(Key(bytes)) => return Ok(bytes[0]),
                    Turn::Wait(until) => return Err(until),
                    Turn::Page(after) => {
                        let behind = self.keys.iter().copied().map(key).filter(|key| Some(*key) > after);
                        self.plan.page(behind.clone().take(2), behind.count() > 2);
                    }
                }
            }
        }

        /// All until nobody is, each a second after the other.
        fn all(&mut self) -> Vec<u8> {
            let mut all = Vec::new();
            while let Ok(key) = self.next() {
                all.push(key);
                self.now += Duration::from_secs(1);
            }
            all
        }
    }

    #[test]
    fn each_is_asked_for_once_in_a_round_wherever_that_begins_and_the_next_begins_when_it_is_due() {
        for start in [0, 1, 3, 4, 5, 9] {
            let mut registry = Registry::new(&[1, 2, 3, 4, 5], start);
            let mut all = registry.all();
            assert_eq!(
                all.first(),
                [1, 2, 3, 4, 5].iter().find(|key| **key > start).or(Some(&1)),
                "{start}"
            );
            all.sort_unstable();
            assert_eq!(all, [1, 2, 3, 4, 5], "{start}");
            assert_eq!(registry.next(), Err(EVERY));
            registry.now = EVERY;
            assert_eq!(registry.all().len(), 5);
        }
        assert_eq!(Registry::new(&[], 3).next(), Err(EVERY));
    }

    #[test]
    fn a_round_that_takes_longer_than_it_should_is_followed_by_the_next_at_once() {
        let mut registry = Registry::new(&[1, 2, 3], 0);
        for expected in [1, 2, 3, 1, 2, 3] {
            let next = registry.next().or_else(|until| {
                registry.now = registry.now.max(until);
                registry.next()
            });
            assert_eq!(next, Ok(expected));
            registry.now += EVERY;
        }
    }

    #[test]
    fn what_is_new_comes_first_and_what_is_used_before_the_others_and_nothing_twice() {
        let mut registry = Registry::new(&[1, 2, 3, 4, 5, 6], 0);
        registry.plan.use_is(vec![key(6), key(4)]);
        registry.plan.is_new(key(5));
        registry.plan.is_new(key(5));
        let all = registry.all();
        assert_eq!(all[..3], [5, 4, 6]);
        assert_eq!(all[3..], [1, 2, 3]);
        // Five was asked for before its turn, and is again when it has been so long.
        registry.now = EVERY * 2;
        assert_eq!(registry.all(), [4, 6, 1, 2, 3, 5]);
    }

    #[test]
    fn many_that_are_used_do_not_keep_the_others_waiting() {
        let all: Vec<u8> = (1..=200).collect();
        let mut registry = Registry::new(&all, 0);
        registry.plan.use_is((1..=100).map(key).collect());
        let first: Vec<_> = (0..40).map(|_| registry.next().unwrap()).collect();
        let others = first.iter().filter(|key| **key > 100).count();
        assert_eq!(others, 10, "{first:?}");
    }

    #[test]
    fn a_pass_goes_on_where_it_was_when_what_is_used_changes() {
        let mut registry = Registry::new(&[], 0);
        registry.plan.use_is(vec![key(1), key(3), key(5)]);
        assert_eq!((registry.next(), registry.next()), (Ok(1), Ok(3)));
        registry.plan.use_is(vec![key(2), key(4), key(5)]);
        assert_eq!((registry.next(), registry.next()), (Ok(4), Ok(5)));
        assert_eq!(registry.next(), Err(EVERY));
        registry.now = EVERY;
        assert_eq!(registry.next(), Ok(2));
    }

    proptest! {
        #[test]
        fn everyone_is_asked_for_within_a_round_whatever_else_happens(
            keys in proptest::collection::btree_set(1_u8..=255, 0..40),
            start in 0_u8..=255,
            used in proptest::collection::vec(1_u8..=255, 0..10),
            new in proptest::collection::vec(1_u8..=255, 0..10),
        ) {
            let keys: Vec<u8> = keys.into_iter().collect();
            let mut registry = Registry::new(&keys, start);
            registry.plan.use_is(used.iter().copied().map(key).collect());
            new.iter().for_each(|number| registry.plan.is_new(key(*number)));
            let mut all = registry.all();
            all.sort_unstable();
            let mut expected = [keys, used, new].concat();
            expected.sort_unstable();
            expected.dedup();
            prop_assert_eq!(all, expected);
        }
    }

    #[test]
    fn a_registry_is_left_alone_longer_each_time_and_as_long_as_it_wants() {
        let seconds = Duration::from_secs;
        let mut patience = Patience::default();
        let mut now = seconds(100);
        for expected in [2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            patience.refused(Trouble::Failed, now, now);
            // Asked at the same time.
            patience.refused(Trouble::Failed, now, now);
            assert_eq!(patience.until() - now, seconds(expected));
            now = patience.until();
        }
        patience.answered();
        patience.refused(Trouble::Rejected, now, now);
        assert_eq!(patience.until() - now, seconds(1));
        now = patience.until();
        for (wish, expected) in [(0, 1), (17, 17), (100_000, 3_600)] {
            patience.refused(Trouble::Limited(Some(seconds(wish))), now, now);
            assert_eq!(patience.until() - now, seconds(expected));
            now = patience.until();
        }
        patience.answered();
        patience.refused(Trouble::Limited(None), now, now);
        assert_eq!(patience.until() - now, seconds(60));
    }
}
