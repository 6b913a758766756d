//! How much is asked of one host at once, and that it is left alone while it wants to be: over everything that this process copies.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hashbrown::HashMap;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, sleep_until},
};

/// The lanes to all hosts.
#[derive(Default)]
pub(super) struct Lanes {
    lanes: Mutex<HashMap<String, Arc<Lane>>>,
}

/// The lane to one host.
pub(super) struct Lane {
    /// For questions, which are answered soon.
    questions: Semaphore,
    /// For blobs on their way, which may take hours: nobody's question waits for one.
    streams: Semaphore,
    /// Until then it is left alone.
    closed_until: Mutex<Option<Instant>>,
}

impl Lanes {
    /// The one to this host, with its port.
    pub(super) fn to(&self, host: &str) -> Arc<Lane> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = lanes.get(host) {
            return lane.clone();
        }
        // Those that nobody is on are made anew when somebody is.
        lanes.retain(|_, lane| Arc::strong_count(lane) > 1 || lane.is_closed(Instant::now()));
        let lane = Arc::new(Lane {
            questions: Semaphore::new(QUESTIONS),
            streams: Semaphore::new(STREAMS),
            closed_until: Mutex::default(),
        });
        lanes.insert(host.to_owned(), lane.clone());
        lane
    }
}

impl Lane {
    /// Room for one question, once the host does not want to be left alone.
    pub(super) async fn enter(&self) -> SemaphorePermit<'_> {
        self.enter_by(&self.questions).await
    }

    async fn enter_by<'l>(&self, room: &'l Semaphore) -> SemaphorePermit<'l> {
        loop {
            if let Some(until) = self.closed_until() {
                sleep_until(until).await;
            }
            match room.acquire().await {
                Ok(permit) if !self.is_closed(Instant::now()) => return permit,
                Ok(_) => {}
                // It is never closed.
                Err(_) => std::future::pending().await,
            }
        }
    }

    /// Room for one blob that goes from the one host to the other. Nobody keeps room on one lane while he waits for the other: that one may be
    /// closed for minutes, and the first has room for others. Of one and the same lane there is one permit.
    pub(super) async fn enter_both<'l>(
        source: &'l Arc<Self>,
        target: &'l Arc<Self>,
    ) -> (Option<SemaphorePermit<'l>>, SemaphorePermit<'l>) {
        if Arc::ptr_eq(source, target) {
            return (None, target.enter_by(&target.streams).await);
        }
        loop {
            let from = source.enter_by(&source.streams).await;
            if let Some(to) = target.try_stream() {
                return (Some(from), to);
            }
            drop(from);
            let to = target.enter_by(&target.streams).await;
            if let Some(from) = source.try_stream() {
                return (Some(from), to);
            }
        }
    }

    fn try_stream(&self) -> Option<SemaphorePermit<'_>> {
        let permit = self.streams.try_acquire().ok()?;
        (!self.is_closed(Instant::now())).then_some(permit)
    }

    /// Nobody asks it for so long: it has said so.
    pub(super) fn close(&self, wait: Duration) {
        let until = Instant::now() + wait.min(LONGEST);
        let mut closed = self.closed_until.lock().unwrap_or_else(PoisonError::into_inner);
        *closed = Some(closed.map_or(until, |present| present.max(until)));
    }

    fn closed_until(&self) -> Option<Instant> {
        let mut closed = self.closed_until.lock().unwrap_or_else(PoisonError::into_inner);
        *closed = closed.filter(|until| *until > Instant::now());
        *closed
    }

    fn is_closed(&self, now: Instant) -> bool {
        let closed = self.closed_until.lock().unwrap_or_else(PoisonError::into_inner);
        closed.is_some_and(|until| until > now)
    }
}

/// Questions that one host is asked at once.
const QUESTIONS: usize = 6;

/// Blobs that come from one host, or go to it, at once.
const STREAMS: usize = 4;

/// However long a host wants to be left alone.
const LONGEST: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn so_many_are_on_a_lane_and_none_while_it_is_closed() {
        let lanes = Lanes::default();
        let lane = lanes.to("r.io");
        let mut permits = Vec::new();
        for _ in 0..QUESTIONS {
            permits.push(lane.enter().await);
        }
        let waits = tokio::time::timeout(Duration::from_secs(60), lane.enter()).await;
        assert!(waits.is_err());
        permits.pop();
        drop(lane.enter().await);
        lanes.to("r.io").close(Duration::from_secs(10));
        lanes.to("r.io").close(Duration::from_secs(5));
        let before = Instant::now();
        drop(lane.enter().await);
        assert_eq!(before.elapsed(), Duration::from_secs(10));
        drop(lanes.to("s.io").enter().await);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_sends_blobs_can_ask_both_hosts_meanwhile() {
        let lanes = Lanes::default();
        let (source, target) = (lanes.to("r.io"), lanes.to("s.io"));
        let mut sending = Vec::new();
        for _ in 0..STREAMS {
            sending.push(Lane::enter_both(&source, &target).await);
        }
        drop((source.enter().await, target.enter().await));
        let waits = tokio::time::timeout(Duration::from_secs(60), Lane::enter_both(&target, &source)).await;
        assert!(waits.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_is_left_alone_keeps_nobody_from_another() {
        let lanes = Lanes::default();
        let [source, shut, open] = ["r.io", "s.io", "t.io"].map(|host| lanes.to(host));
        // Whichever was made first.
        for (source, shut) in [(&source, &shut), (&shut, &source)] {
            let wait = Duration::from_secs(200);
            shut.close(wait);
            let begun = Instant::now();
            let waiting: Vec<_> = (0..2 * STREAMS)
                .map(|_| {
                    let (source, shut) = (source.clone(), shut.clone());
                    tokio::spawn(async move {
                        drop(Lane::enter_both(&source, &shut).await);
                        Instant::now()
                    })
                })
                .collect();
            tokio::time::sleep(Duration::from_secs(1)).await;
            let mut sending = Vec::new();
            for _ in 0..STREAMS {
                sending.push(Lane::enter_both(source, &open).await);
            }
            assert_eq!(begun.elapsed(), Duration::from_secs(1));
            drop(sending);
            for waiting in waiting {
                assert_eq!(waiting.await.unwrap() - begun, wait);
            }
        }
    }
}
