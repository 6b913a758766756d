//! On a clock that stands still, against a Lease in memory that can be slow, silent or gone.

use std::sync::{Arc, Mutex};

use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::*;

/// The Lease, and how it answers to whom.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    lease: Option<(Record, u64)>,
    versions: u64,
    /// Who gets no answer.
    silent: Vec<&'static str>,
    /// Who is refused.
    refused: Vec<&'static str>,
}

/// The server, as one process sees it.
struct Seat {
    server: Server,
    who: &'static str,
}

impl Seat {
    async fn answer<T>(&self, answer: impl FnOnce(&mut State) -> Result<T, LeaseError>) -> Result<T, LeaseError> {
        sleep(Duration::from_millis(5)).await;
        if self.server.with(|state| state.silent.contains(&self.who)) {
            std::future::pending::<()>().await;
        }
        self.server.with(|state| {
            if state.refused.contains(&self.who) {
                return Err(LeaseError::Failed("no".to_owned()));
            }
            answer(state)
        })
    }
}

impl State {
    fn write(&mut self, record: &Record) -> String {
        self.versions += 1;
        self.lease = Some((record.clone(), self.versions));
        self.versions.to_string()
    }
}

impl Leases for Seat {
    async fn read(&self) -> Result<Option<(Record, String)>, LeaseError> {
        self.answer(|state| {
            Ok(state
                .lease
                .clone()
                .map(|(record, version)| (record, version.to_string())))
        })
        .await
    }

    async fn create(&self, record: &Record) -> Result<String, LeaseError> {
        self.answer(|state| match state.lease {
            None => Ok(state.write(record)),
            Some(_) => Err(LeaseError::Conflict),
        })
        .await
    }

    async fn replace(&self, version: &str, record: &Record, _: bool) -> Result<String, LeaseError> {
        self.answer(|state| match &state.lease {
            Some((_, present)) if present.to_string() == version => Ok(state.write(record)),
            _ => Err(LeaseError::Conflict),
        })
        .await
    }
}

impl Server {
    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.0.lock().unwrap())
    }

    fn holder(&self) -> String {
        self.with(|state| {
            state
                .lease
                .as_ref()
                .map_or(String::new(), |(record, _)| record.holder.clone())
        })
    }
}

/// A process that wants the Lease.
struct Process {
    task: JoinHandle<()>,
    stop: Arc<Notify>,
    events: Arc<Mutex<Vec<Event>>>,
}

/// Who works now; more than one at once is what must never be.
#[derive(Clone, Default)]
struct Workers(Arc<Mutex<Vec<&'static str>>>);

struct Working(Workers, &'static str);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.0.lock().unwrap().retain(|who| *who != self.1);
    }
}

impl Workers {
    fn now(&self) -> Vec<&'static str> {
        self.0.lock().unwrap().clone()
    }

    fn begin(&self, who: &'static str) -> Working {
        let mut workers = self.0.lock().unwrap();
        workers.push(who);
        assert_eq!(workers.len(), 1, "two at once: {workers:?}");
        Working(self.clone(), who)
    }

    async fn once(&self, who: &[&'static str]) -> Duration {
        let started = Instant::now();
        while self.now() != who {
            sleep(Duration::from_millis(10)).await;
            assert!(started.elapsed() < Duration::from_secs(120), "{:?}", self.now());
        }
        started.elapsed()
    }
}

const LEASE: Duration = Duration::from_secs(15);

fn start(server: &Server, workers: &Workers, who: &'static str) -> Process {
    let (stop, events) = (Arc::new(Notify::new()), Arc::default());
    let seat = Seat {
        server: server.clone(),
        who,
    };
    let task = tokio::spawn({
        let (stop, events, workers) = (stop.clone(), Arc::clone(&events), workers.clone());
        async move {
            let events: Arc<Mutex<Vec<Event>>> = events;
            let tell = |event| events.lock().unwrap().push(event);
            let work = || async {
                let _working = workers.begin(who);
                std::future::pending().await
            };
            lead(&seat, who, LEASE, stop.notified(), tell, work).await;
        }
    });
    Process { task, stop, events }
}

#[tokio::test(start_paused = true)]
async fn one_leads_and_the_others_follow_for_as_long_as_it_renews() {
    let (server, workers) = (Server::default(), Workers::default());
    let first = start(&server, &workers, "a");
    workers.once(&["a"]).await;
    let second = start(&server, &workers, "b");
    sleep(LEASE * 20).await;
    assert_eq!((workers.now(), server.holder()), (vec!["a"], "a".to_owned()));
    assert_eq!(*first.events.lock().unwrap(), [Event::Working, Event::Leading]);
    assert_eq!(
        *second.events.lock().unwrap(),
        [Event::Following("a".to_owned()), Event::Working]
    );
    assert_eq!(server.with(|state| state.lease.as_ref().unwrap().0.transitions), 0);
}

#[tokio::test(start_paused = true)]
async fn of_many_that_begin_at_once_one_leads() {
    let (server, workers) = (Server::default(), Workers::default());
    let names = ["a", "b", "c", "d", "e"];
    let _processes = names.map(|name| start(&server, &workers, name));
    sleep(LEASE * 4).await;
    assert_eq!(workers.now(), [server.holder()]);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_killed_is_followed_when_its_time_is_over_and_not_before() {
    let (server, workers) = (Server::default(), Workers::default());
    let first = start(&server, &workers, "a");
    workers.once(&["a"]).await;
    let _second = start(&server, &workers, "b");
    sleep(LEASE).await;
    first.task.abort();
    workers.once(&[]).await;
    let took = workers.once(&["b"]).await;
    // It was renewed within the last 2 s, and is looked at every 2 s to 4 s.
    assert!(took > LEASE - Duration::from_secs(3), "{took:?}");
    assert!(took < LEASE + Duration::from_secs(5), "{took:?}");
    assert_eq!(server.with(|state| state.lease.as_ref().unwrap().0.transitions), 1);
}

#[tokio::test(start_paused = true)]
async fn one_that_stops_gives_it_back_and_the_next_does_not_wait() {
    let (server, workers) = (Server::default(), Workers::default());
    let first = start(&server, &workers, "a");
    workers.once(&["a"]).await;
    let _second = start(&server, &workers, "b");
    sleep(LEASE).await;
    first.stop.notify_one();
    first.task.await.unwrap();
    let took = workers.once(&["b"]).await;
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn one_that_gets_no_answer_stops_before_another_begins() {
    for refused in [false, true] {
        let (server, workers) = (Server::default(), Workers::default());
        let first = start(&server, &workers, "a");
        workers.once(&["a"]).await;
        let _second = start(&server, &workers, "b");
        sleep(LEASE).await;
        server.with(|state| if refused { &mut state.refused } else { &mut state.silent }.push("a"));
        let stopped = workers.once(&[]).await;
        assert!(stopped <= LEASE * 2 / 3, "{stopped:?}");
        // What `begin` asserts: never two.
        workers.once(&["b"]).await;
        let events = first.events.lock().unwrap().clone();
        assert!(matches!(events[2], Event::Broken(_)), "{events:?}");
        assert!(matches!(events[3], Event::Lost(_)), "{events:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_short_trouble_costs_nothing() {
    let (server, workers) = (Server::default(), Workers::default());
    let first = start(&server, &workers, "a");
    workers.once(&["a"]).await;
    let _second = start(&server, &workers, "b");
    sleep(LEASE).await;
    server.with(|state| state.refused = vec!["a", "b"]);
    sleep(LEASE / 3).await;
    assert_eq!(workers.now(), ["a"]);
    server.with(|state| state.refused.clear());
    sleep(LEASE * 5).await;
    assert_eq!(workers.now(), ["a"]);
    let events = first.events.lock().unwrap().clone();
    assert_eq!(events[3], Event::Working, "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn one_whose_lease_was_taken_or_deleted_stops_at_the_next_renewal() {
    for taken in [true, false] {
        let (server, workers) = (Server::default(), Workers::default());
        let _first = start(&server, &workers, "a");
        workers.once(&["a"]).await;
        server.with(|state| {
            if taken {
                let other = Record {
                    holder: "x".to_owned(),
                    duration: LEASE,
                    transitions: 7,
                };
                state.write(&other);
            } else {
                state.lease = None;
            }
        });
        let stopped = workers.once(&[]).await;
        assert!(stopped < Duration::from_secs(3), "{stopped:?}");
        // Whoever took it is not heard of again.
        workers.once(&["a"]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn somebody_elses_label_on_the_lease_is_no_loss() {
    let (server, workers) = (Server::default(), Workers::default());
    let first = start(&server, &workers, "a");
    workers.once(&["a"]).await;
    for _ in 0..10 {
        sleep(LEASE).await;
        server.with(|state| {
            let record = state.lease.as_ref().unwrap().0.clone();
            state.write(&record)
        });
    }
    assert_eq!(workers.now(), ["a"]);
    assert_eq!(first.events.lock().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn clocks_are_not_compared_a_lease_of_long_ago_has_to_be_seen_for_its_time() {
    let (server, workers) = (Server::default(), Workers::default());
    let record = Record {
        holder: "gone".to_owned(),
        duration: Duration::from_secs(40),
        transitions: 3,
    };
    server.with(|state| state.write(&record));
    let _first = start(&server, &workers, "a");
    let took = workers.once(&["a"]).await;
    assert!(took >= Duration::from_secs(40), "{took:?}");
}
