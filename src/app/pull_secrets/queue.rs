//! Which namespace is looked at next: those of which there is news first, the rest behind them, and none too often.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use hashbrown::HashMap;
use tokio::time::Instant;

/// The namespaces that are to be looked at, each at most once. As many as there are namespaces.
pub(super) struct Queue {
    urgent: VecDeque<Arc<str>>,
    bulk: VecDeque<Arc<str>>,
    later: BTreeSet<(Instant, Arc<str>)>,
    entries: HashMap<Arc<str>, Entry>,
    urgent_writes: Bucket,
    bulk_writes: Bucket,
}

/// How soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgency {
    /// Something has happened there: a Pod may follow at once.
    Urgent,
    /// It is one of many.
    Bulk,
}

struct Entry {
    place: Place,
    /// How many attempts in a row have failed.
    failures: u32,
    /// How often it was written lately, and since when that is counted.
    writes: u32,
    since: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Idle,
    Urgent,
    Bulk,
    Later(Instant),
    /// It is being written; whether it has to be looked at again afterwards.
    Busy(Option<Urgency>),
}

/// So many at once, and so many a second after that.
struct Bucket {
    tokens: f64,
    filled: Instant,
    most: f64,
    per_second: f64,
}

impl Queue {
    pub(super) fn new(now: Instant) -> Self {
        let bucket = |most: f64, per_second| Bucket {
            tokens: most,
            filled: now,
            most,
            per_second,
        };
        Self {
            urgent: VecDeque::new(),
            bulk: VecDeque::new(),
            later: BTreeSet::new(),
            entries: HashMap::new(),
            urgent_writes: bucket(100.0, 100.0),
            bulk_writes: bucket(BULK_AT_ONCE, BULK_A_SECOND),
        }
    }

    /// That it is to be looked at. One that failed is tried again at once when there is news of it, and one that is written all the time
    /// is not.
    pub(super) fn add(&mut self, namespace: &Arc<str>, urgency: Urgency, now: Instant) {
        let entry = self.entries.entry(namespace.clone()).or_insert_with(|| Entry::new(now));
        match (entry.place, urgency) {
            (Place::Idle, _) | (Place::Bulk, Urgency::Urgent) => {}
            (Place::Later(at), Urgency::Urgent) if entry.failures > 0 => {
                self.later.remove(&(at, namespace.clone()));
            }
            (Place::Busy(again), urgency) => {
                entry.place = Place::Busy(Some(match again {
                    Some(Urgency::Urgent) => Urgency::Urgent,
                    _ => urgency,
                }));
                return;
            }
            (Place::Urgent | Place::Bulk | Place::Later(_), _) => return,
        }
        entry.place = match urgency {
            Urgency::Urgent => Place::Urgent,
            Urgency::Bulk => Place::Bulk,
        };
        match urgency {
            Urgency::Urgent => self.urgent.push_back(namespace.clone()),
            Urgency::Bulk => self.bulk.push_back(namespace.clone()),
        }
    }

    /// It is gone. One that is being written is forgotten when that is done.
    pub(super) fn forget(&mut self, namespace: &str) {
        match self.entries.get(namespace).map(|entry| entry.place) {
            Some(Place::Busy(_)) | None => {}
            Some(place) => {
                if let Some((name, _)) = self.entries.remove_entry(namespace)
                    && let Place::Later(at) = place
                {
                    self.later.remove(&(at, name));
                }
            }
        }
    }

    /// The next to be looked at, and how urgent it is.
    pub(super) fn next(&mut self, now: Instant) -> Option<(Arc<str>, Urgency)> {
        while let Some((at, _)) = self.later.first() {
            if *at > now {
                break;
            }
            if let Some((_, namespace)) = self.later.pop_first()
                && let Some(entry) = self.entries.get_mut(&namespace)
            {
                entry.place = Place::Bulk;
                self.bulk.push_back(namespace);
            }
        }
        for (queue, place, urgency) in [
            (&mut self.urgent, Place::Urgent, Urgency::Urgent),
            (&mut self.bulk, Place::Bulk, Urgency::Bulk),
        ] {
            while let Some(namespace) = queue.pop_front() {
                // What was promoted, or forgotten, has left its name behind.
                if let Some(entry) = self.entries.get_mut(&namespace)
                    && entry.place == place
                {
                    entry.place = Place::Idle;
                    return Some((namespace, urgency));
                }
            }
        }
        None
    }

    /// Whether it may be written now. If not, it waits, and is next again when there is room.
    pub(super) fn may_write(&mut self, namespace: &Arc<str>, urgency: Urgency, now: Instant) -> Result<(), Duration> {
        let entry = self.entries.entry(namespace.clone()).or_insert_with(|| Entry::new(now));
        if now - entry.since >= WINDOW {
            (entry.since, entry.writes) = (now, 0);
        }
        let bucket = match urgency {
            Urgency::Urgent => &mut self.urgent_writes,
            Urgency::Bulk => &mut self.bulk_writes,
        };
        match bucket.take(now) {
            Ok(()) => {
                entry.place = Place::Busy(None);
                entry.writes += 1;
                Ok(())
            }
            Err(pause) => {
                match urgency {
                    Urgency::Urgent => {
                        entry.place = Place::Urgent;
                        self.urgent.push_front(namespace.clone());
                    }
                    Urgency::Bulk => {
                        entry.place = Place::Bulk;
                        self.bulk.push_front(namespace.clone());
                    }
                }
                Err(pause)
            }
        }
    }

    /// The write is done: it is looked at again, at once where it went well and it is not written all the time. `jitter` is below 1.
    pub(super) fn done(&mut self, namespace: &Arc<str>, failed: bool, jitter: f64, now: Instant) {
        let Some(entry) = self.entries.get_mut(namespace) else {
            return;
        };
        let Place::Busy(again) = entry.place else { return };
        entry.place = Place::Idle;
        let exponent = if failed {
            entry.failures += 1;
            entry.failures
        } else {
            entry.failures = 0;
            // Somebody undoes it again and again.
            entry.writes.saturating_sub(MANY_WRITES)
        };
        if exponent == 0 {
            self.add(namespace, again.unwrap_or(Urgency::Bulk), now);
            return;
        }
        let pause = (SHORTEST_PAUSE * 2_u32.saturating_pow(exponent.min(16) - 1)).min(LONGEST_PAUSE);
        let at = now + pause.mul_f64(0.5 + jitter / 2.0);
        entry.place = Place::Later(at);
        self.later.insert((at, namespace.clone()));
    }

    /// Whether it is being written.
    pub(super) fn is_busy(&self, namespace: &str) -> bool {
        self.entries.get(namespace).is_some_and(Entry::is_busy)
    }

    /// Those that are being written.
    pub(super) fn busy(&self) -> impl Iterator<Item = &Arc<str>> {
        let busy = self.entries.iter().filter(|(_, entry)| entry.is_busy());
        busy.map(|(namespace, _)| namespace)
    }

    /// When something that waits is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.later.first().map(|(at, _)| *at)
    }
}

impl Entry {
    fn new(now: Instant) -> Self {
        Self {
            place: Place::Idle,
            failures: 0,
            writes: 0,
            since: now,
        }
    }

    fn is_busy(&self) -> bool {
        matches!(self.place, Place::Busy(_))
    }
}

impl Bucket {
    /// Takes one, or says when there will be one.
    fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let fresh = (now - self.filled).as_secs_f64() * self.per_second;
        self.tokens = (self.tokens + fresh).min(self.most);
        self.filled = now;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - self.tokens) / self.per_second))
    }
}

/// Of many that are written because a registry was changed: a thousand namespaces take 20 s.
const BULK_A_SECOND: f64 = 50.0;
const BULK_AT_ONCE: f64 = 10.0;

/// So often within this time a namespace is written at once.
const MANY_WRITES: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);

const SHORTEST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn take(queue: &mut Queue, now: Instant) -> Option<(String, Urgency)> {
        queue.next(now).map(|(name, urgency)| (name.to_string(), urgency))
    }

    #[test]
    fn news_go_first_and_nothing_is_in_it_twice() {
        let now = Instant::now();
        let mut queue = Queue::new(now);
        let names: Vec<Arc<str>> = ["a", "b", "c"].map(Arc::from).into();
        for name in names.iter().chain(&names) {
            queue.add(name, Urgency::Bulk, now);
        }
        queue.add(&names[2], Urgency::Urgent, now);
        queue.add(&names[2], Urgency::Bulk, now);
        queue.add(&"gone".into(), Urgency::Urgent, now);
        queue.forget("gone");
        let taken: Vec<_> = std::iter::from_fn(|| take(&mut queue, now)).collect();
        let row = |name: &str, urgency| (name.to_owned(), urgency);
        assert_eq!(
            taken,
            [
                row("c", Urgency::Urgent),
                row("a", Urgency::Bulk),
                row("b", Urgency::Bulk)
            ]
        );
    }

    #[test]
    fn many_are_written_so_many_a_second_and_news_do_not_wait_for_them() {
        let start = Instant::now();
        let mut now = start;
        let mut queue = Queue::new(now);
        let names: Vec<Arc<str>> = (0..1_000).map(|number| number.to_string().into()).collect();
        for name in &names {
            queue.add(name, Urgency::Bulk, now);
        }
        let mut written = 0;
        let new: Arc<str> = "new".into();
        while let Some((name, urgency)) = queue.next(now) {
            match queue.may_write(&name, urgency, now) {
                Ok(()) => {
                    written += 1;
                    queue.done(&name, false, 0.0, now);
                    queue.forget(&name);
                }
                Err(pause) => {
                    queue.add(&new, Urgency::Urgent, now);
                    let next = queue.next(now).unwrap();
                    assert_eq!(&*next.0, "new");
                    assert_eq!(queue.may_write(&next.0, next.1, now), Ok(()));
                    queue.done(&new, false, 0.0, now);
                    queue.forget("new");
                    now += pause;
                }
            }
        }
        assert_eq!(written, names.len());
        let seconds = (now - start).as_secs_f64();
        assert!((19.0..21.0).contains(&seconds), "{seconds}");
    }

    #[test]
    fn what_fails_is_tried_again_ever_later_and_at_once_when_there_is_news() {
        let mut now = Instant::now();
        let mut queue = Queue::new(now);
        let name: Arc<str> = "a".into();
        queue.add(&name, Urgency::Bulk, now);
        let mut pauses = Vec::new();
        for _ in 0..12 {
            let (_, urgency) = queue.next(now).unwrap();
            queue.may_write(&name, urgency, now).unwrap();
            queue.done(&name, true, 1.0, now);
            assert_eq!(queue.next(now), None);
            let due = queue.due().unwrap();
            pauses.push((due - now).as_millis());
            now = due;
        }
        assert_eq!(pauses[..4], [200, 400, 800, 1_600]);
        assert_eq!(pauses.last(), Some(&60_000));
        let (_, urgency) = queue.next(now).unwrap();
        queue.may_write(&name, urgency, now).unwrap();
        queue.done(&name, true, 0.0, now);
        queue.add(&name, Urgency::Urgent, now);
        assert_eq!(take(&mut queue, now), Some(("a".to_owned(), Urgency::Urgent)));
        assert_eq!(queue.due(), None);
    }

    #[test]
    fn what_somebody_undoes_at_once_is_put_right_ever_later() {
        let mut now = Instant::now();
        let mut queue = Queue::new(now);
        let name: Arc<str> = "a".into();
        queue.add(&name, Urgency::Urgent, now);
        let mut writes = 0;
        let end = now + WINDOW;
        while now < end {
            let Some((_, urgency)) = queue.next(now) else {
                now = queue.due().unwrap_or(end);
                continue;
            };
            queue.may_write(&name, urgency, now).unwrap();
            writes += 1;
            // Undone before it is done.
            queue.add(&name, Urgency::Urgent, now);
            queue.done(&name, false, 0.5, now);
        }
        assert!((MANY_WRITES..30).contains(&writes), "{writes}");
    }
}
