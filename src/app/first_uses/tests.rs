use std::{collections::VecDeque, sync::Mutex};

use futures_util::future::{BoxFuture, FutureExt, pending};
use tokio::sync::watch;

use super::*;
use crate::{
    metrics::Metrics,
    policy::Replicate,
    pushes::{Copies, Event, Index, Origin, What},
    reference::Reference,
    store::{Asked, Copy, PushPage, PushQuery},
};

/// A store that answers as it is told, and keeps what it is asked.
#[derive(Default)]
struct Fake {
    records: Mutex<HashMap<PushId, Record>>,
    asked: Mutex<Vec<(String, Asking)>>,
    looked: Mutex<usize>,
    /// Instead of the next looks; after the last one it works.
    errors: Mutex<VecDeque<StoreError>>,
    silent: bool,
}

impl Fake {
    fn order(&self, order: &Order, asking: Asking) -> Result<Asked, StoreError> {
        if let Some(error) = self.errors.lock().unwrap().pop_front() {
            return Err(error);
        }
        let source = order.source.as_deref().unwrap_or("nobody");
        let told = format!("{} into {} by {source}", order.image, order.registry);
        self.asked.lock().unwrap().push((told, asking));
        Ok(Asked {
            record: Record::new(order.image.clone(), &order.registry),
            joined: order.image.as_str().contains("joined"),
        })
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

impl Pushes for Fake {
    fn index(&self) -> watch::Receiver<Index> {
        unreachable!()
    }
    fn push<'s>(&'s self, id: &'s PushId) -> BoxFuture<'s, Result<Option<Record>, StoreError>> {
        *self.looked.lock().unwrap() += 1;
        if self.silent {
            return pending().boxed();
        }
        let record = self.records.lock().unwrap().get(id).cloned();
        async { Ok(record) }.boxed()
    }
    fn pushes<'s>(&'s self, _: &'s PushQuery) -> BoxFuture<'s, Result<PushPage, StoreError>> {
        unreachable!()
    }
    fn happened(&self, _: Vec<Event>) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        unreachable!()
    }
    fn copies(&self) -> watch::Receiver<Copies> {
        watch::channel(Copies::default()).1
    }
    fn ask(&self, order: Order) -> BoxFuture<'_, Result<Asked, StoreError>> {
        async move { self.order(&order, Asking::Here) }.boxed()
    }
    fn ask_from_aside(&self, order: Order) -> BoxFuture<'_, Result<(), StoreError>> {
        async move { self.order(&order, Asking::Aside).map(drop) }.boxed()
    }
    fn copy<'s>(&'s self, _: &'s PushId) -> BoxFuture<'s, Result<Option<Copy>, StoreError>> {
        unreachable!()
    }
}

fn leave(uses: &FirstUses, image: &str, source: Option<&str>) {
    let replicate = Replicate {
        registry: "corp".into(),
        refresh: Duration::from_secs(3600),
        referrers: false,
    };
    uses.leave(admission::FirstUse {
        image: Reference::parse(image).unwrap(),
        replicate: &replicate,
        source,
    });
}

/// What was counted, but for zeros.
fn counted(metrics: &FirstUseMetrics) -> Vec<(&'static str, u64)> {
    let all = FirstUseResult::ALL.map(|result| (result.as_str(), metrics.counted(result)));
    all.into_iter().filter(|(_, count)| *count > 0).collect()
}

fn ends() -> (FirstUses, Replicator, FirstUseMetrics) {
    let metrics = Metrics::new().first_uses();
    let (uses, replicator) = first_uses(metrics.clone());
    (uses, replicator, metrics)
}

/// Lets everything that has been left be looked at, for so long.
async fn run(replicator: Replicator, store: &Fake, asking: Asking, length: Duration) {
    // It never ends: its time does.
    let _ = tokio::time::timeout(length, replicator.run(store, asking)).await;
}

/// There is no runtime that anything could wait in.
#[test]
fn a_storm_leaves_no_more_than_there_is_room_for_and_nobody_waits() {
    let (uses, replicator, metrics) = ends();
    for number in 0..10_000 {
        leave(&uses, &format!("app-{number}:1"), None);
    }
    assert_eq!(replicator.queue.len(), QUEUE);
    assert_eq!(counted(&metrics), [("dropped", 10_000 - QUEUE as u64)]);
}

#[test]
fn ten_thousand_pods_of_one_image_leave_it_once_in_a_few_seconds() {
    let (uses, replicator, metrics) = ends();
    let started = Instant::now();
    for _ in 0..10_000 {
        leave(&uses, "app:1", None);
    }
    let most = 1 + started.elapsed().as_secs() as usize / 4;
    assert!(
        (1..=most).contains(&replicator.queue.len()),
        "{}",
        replicator.queue.len()
    );
    assert_eq!(counted(&metrics), []);
}

#[tokio::test(start_paused = true)]
async fn what_is_due_is_asked_for_once_as_it_is_written_by_whoever_may() {
    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    for asking in [Asking::Here, Asking::Aside] {
        let (uses, replicator, metrics) = ends();
        let store = Fake::default();
        let done = Image::parse("done:1").unwrap();
        let event = Event {
            image: done.clone(),
            registry: "corp".into(),
            at: Timestamp::now(),
            origin: Origin::Report,
            what: What::Succeeded {
                target: "corp.io/docker.io/library/done:1".into(),
                digest: DIGEST.into(),
            },
        };
        let record = Record::new(done, "corp").after(&event, event.at, 1).unwrap();
        store.records.lock().unwrap().insert(record.id(), record);
        leave(&uses, "alpine", None);
        leave(&uses, &format!("quay.io/x:1@{DIGEST}"), Some("quay"));
        leave(&uses, "done:1", None);
        leave(&uses, "joined:1", None);
        // Another credential brings it again, and by then it has been looked at.
        leave(&uses, "alpine", Some("hub"));
        run(replicator, &store, asking, Duration::from_secs(5)).await;
        assert_eq!(
            *store.asked.lock().unwrap(),
            [
                ("docker.io/library/alpine:latest into corp by nobody".to_owned(), asking),
                (format!("quay.io/x@{DIGEST} into corp by quay"), asking),
                ("docker.io/library/joined:1 into corp by nobody".to_owned(), asking),
            ]
        );
        // Who asks from aside is not told whether he joins.
        let expected = match asking {
            Asking::Here => vec![("asked", 2), ("joined", 1), ("fresh", 1), ("repeated", 1)],
            Asking::Aside => vec![("asked", 3), ("fresh", 1), ("repeated", 1)],
        };
        assert_eq!(counted(&metrics), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn records_are_read_at_a_steady_rate() {
    let (uses, replicator, metrics) = ends();
    for number in 0..500 {
        leave(&uses, &format!("app-{number}:1"), None);
    }
    let store = Fake::default();
    run(replicator, &store, Asking::Here, Duration::from_secs(2)).await;
    let asked = store.asked();
    assert!((95..=102).contains(&asked), "{asked} in two seconds");
    assert_eq!(counted(&metrics), [("asked", asked as u64)]);
}

#[tokio::test(start_paused = true)]
async fn where_too_many_copies_wait_none_is_asked_for_until_some_time_has_passed() {
    let (uses, replicator, metrics) = ends();
    let store = Fake::default();
    store
        .errors
        .lock()
        .unwrap()
        .push_back(StoreError::Busy("too many".to_owned()));
    for number in 0..3 {
        leave(&uses, &format!("app-{number}:1"), None);
    }
    let later = async {
        sleep(WHILE_BUSY).await;
        leave(&uses, "later:1", None);
        pending::<()>().await;
    };
    tokio::select! {
        () = later => {}
        () = run(replicator, &store, Asking::Here, WHILE_BUSY * 2) => {}
    }
    assert_eq!(counted(&metrics), [("asked", 1), ("busy", 3)]);
    assert_eq!(
        store.asked.lock().unwrap()[0].0,
        "docker.io/library/later:1 into corp by nobody"
    );
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_is_asked_once_a_second_and_one_that_is_silent_holds_nobody_up() {
    let (uses, replicator, metrics) = ends();
    let store = Fake::default();
    let error = || StoreError::Unavailable("not now".to_owned());
    store.errors.lock().unwrap().extend((0..1_000).map(|_| error()));
    for number in 0..100 {
        leave(&uses, &format!("app-{number}:1"), None);
    }
    run(replicator, &store, Asking::Here, Duration::from_secs(10)).await;
    let failed = metrics.counted(FirstUseResult::Failed);
    assert!((9..=11).contains(&failed), "{failed} in ten seconds");

    let (uses, replicator, metrics) = ends();
    let store = Fake {
        silent: true,
        ..Fake::default()
    };
    leave(&uses, "first:1", None);
    let storm = async {
        // It is being looked at by now.
        sleep(Duration::from_secs(1)).await;
        for number in 0..10_000 {
            leave(&uses, &format!("app-{number}:1"), None);
        }
        pending::<()>().await;
    };
    tokio::select! {
        () = storm => {}
        () = run(replicator, &store, Asking::Here, Duration::from_secs(5)) => {}
    }
    assert_eq!(*store.looked.lock().unwrap(), 1);
    assert_eq!(counted(&metrics), [("dropped", 10_000 - QUEUE as u64)]);
}

#[tokio::test(start_paused = true)]
async fn no_more_is_remembered_than_there_is_room_for() {
    let mut seen = Seen::default();
    let now = Instant::now();
    let id = |number: usize| PushId::new("corp", Image::parse(&format!("app-{number}:1")).unwrap().key());
    for number in 0..MOST_SEEN + 10 {
        seen.keep(id(number), now + LONGEST_SEEN);
    }
    assert_eq!(seen.0.len(), MOST_SEEN);
    assert!(seen.has(&id(0), now) && !seen.has(&id(MOST_SEEN), now));
    tokio::time::advance(LONGEST_SEEN).await;
    assert!(!seen.has(&id(0), Instant::now()));
    seen.keep(id(MOST_SEEN), Instant::now() + LONGEST_SEEN);
    assert_eq!(seen.0.len(), 1);
}
