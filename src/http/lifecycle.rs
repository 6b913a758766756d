//! The four phases of the process, and who moves it from one to the next.
//!
//! client-go keeps idle connections for 90 s and never retries a POST, so a connection closed at the wrong moment is a
//! Pod that was not rewritten. Hence two steps before the end: *draining*, in which every answer asks the client to
//! leave (`Connection: close`, GOAWAY) and everything is still served, and *stopping*, in which nothing new is accepted.

use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// A handle on the phase of the process; clones share it.
#[derive(Clone, Debug)]
pub struct Lifecycle {
    inner: Arc<Inner>,
}

/// Where the process stands. It only ever moves forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    /// Everything is served and connections are kept.
    Serving,
    /// Everything is served, and every answer asks the client to close its connection.
    Draining,
    /// Nothing new is accepted; what is open is finished, idle connections last.
    Stopping,
    /// Everything ends at once.
    Aborting,
}

#[derive(Debug)]
struct Inner {
    /// The same as `changes` holds, for readers that must not take a lock: every answer asks.
    phase: AtomicU8,
    changes: watch::Sender<Phase>,
    drain: Duration,
    drained: OnceLock<Instant>,
}

impl Lifecycle {
    /// A process that serves, and whose [`drain`](Self::drain) takes as long as this.
    pub fn new(drain: Duration) -> Self {
        Self {
            inner: Arc::new(Inner {
                phase: AtomicU8::new(Phase::Serving as u8),
                changes: watch::Sender::new(Phase::Serving),
                drain,
                drained: OnceLock::new(),
            }),
        }
    }

    /// The phase now. Takes no lock.
    pub fn phase(&self) -> Phase {
        match self.inner.phase.load(Ordering::Acquire) {
            0 => Phase::Serving,
            1 => Phase::Draining,
            2 => Phase::Stopping,
            _ => Phase::Aborting,
        }
    }

    /// Starts draining and waits for its end; joins a drain that is already running, and returns at once after one.
    ///
    /// The process goes on draining afterwards, and accepts connections, until [`stop`](Self::stop): whoever called this
    /// is about to send SIGTERM. Stopping ends the wait early.
    pub async fn drain(&self) {
        let now = Instant::now();
        let until = *self.inner.drained.get_or_init(|| {
            tracing::info!(
                seconds = self.inner.drain.as_secs_f64(),
                "draining: every answer now asks the client to reconnect"
            );
            // A duration that the clock cannot hold is as good as none that ends.
            now.checked_add(self.inner.drain).unwrap_or(now + FOREVER)
        });
        self.advance(Phase::Draining);
        tokio::select! {
            () = tokio::time::sleep_until(until) => {}
            () = self.reached(Phase::Stopping) => {}
        }
    }

    /// Stops accepting; open connections are finished.
    pub fn stop(&self) {
        self.advance(Phase::Stopping);
    }

    /// Ends everything at once.
    pub fn abort(&self) {
        self.advance(Phase::Aborting);
    }

    /// Resolves when the process is in `phase` or past it.
    pub async fn reached(&self, phase: Phase) {
        let mut changes = self.inner.changes.subscribe();
        // An error would mean that the sender is gone, and `self` holds it.
        let _ = changes.wait_for(|now| *now >= phase).await;
    }

    fn advance(&self, phase: Phase) {
        self.inner.phase.fetch_max(phase as u8, Ordering::AcqRel);
        self.inner.changes.send_if_modified(|now| {
            let forward = phase > *now;
            *now = phase.max(*now);
            forward
        });
    }
}

/// Handles SIGTERM and SIGINT: the first stops, the second aborts.
///
/// The handlers are in place when this returns; the future that it returns waits for the signals, is never ready before
/// the second one, and must be polled by whoever owns it.
///
/// # Errors
///
/// When the handlers cannot be installed.
pub fn signals(lifecycle: Lifecycle) -> io::Result<impl Future<Output = ()> + Send + 'static> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        let mut next = async || {
            tokio::select! {
                Some(()) = terminate.recv() => "SIGTERM",
                Some(()) = interrupt.recv() => "SIGINT",
                else => std::future::pending().await,
            }
        };
        let signal = next().await;
        tracing::info!(
            signal,
            "stopping: open connections are finished first, a second signal ends them at once"
        );
        lifecycle.stop();
        let signal = next().await;
        tracing::warn!(signal, "aborting");
        lifecycle.abort();
    })
}

const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_only_move_forward() {
        let lifecycle = Lifecycle::new(Duration::ZERO);
        assert_eq!(lifecycle.phase(), Phase::Serving);
        lifecycle.stop();
        lifecycle.advance(Phase::Draining);
        assert_eq!(lifecycle.phase(), Phase::Stopping);
        lifecycle.abort();
        lifecycle.stop();
        assert_eq!(lifecycle.phase(), Phase::Aborting);
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_drain_joins_the_first_and_a_third_finds_it_done() {
        let lifecycle = Lifecycle::new(Duration::from_secs(15));
        let start = Instant::now();
        let first = tokio::spawn({
            let lifecycle = lifecycle.clone();
            async move { lifecycle.drain().await }
        });
        lifecycle.reached(Phase::Draining).await;
        tokio::time::sleep(Duration::from_secs(10)).await;
        lifecycle.drain().await;
        assert_eq!(start.elapsed().as_secs(), 15);
        first.await.unwrap();
        lifecycle.drain().await;
        assert_eq!(start.elapsed().as_secs(), 15);
        assert_eq!(lifecycle.phase(), Phase::Draining);
    }

    #[tokio::test(start_paused = true)]
    async fn stopping_cuts_a_drain_short() {
        let lifecycle = Lifecycle::new(Duration::MAX);
        let start = Instant::now();
        let (drain, stop) = (lifecycle.clone(), lifecycle);
        tokio::join!(async { drain.drain().await }, async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            stop.stop();
        });
        assert_eq!(start.elapsed().as_secs(), 3);
        assert_eq!(drain.phase(), Phase::Stopping);
    }

    #[tokio::test]
    async fn the_first_signal_stops_and_the_second_aborts() {
        let lifecycle = Lifecycle::new(Duration::ZERO);
        let handled = tokio::spawn(signals(lifecycle.clone()).unwrap());
        let within = Duration::from_secs(60);
        for (signal, phase) in [("TERM", Phase::Stopping), ("INT", Phase::Aborting)] {
            let kill = format!("kill -{signal} {}", std::process::id());
            assert!(
                std::process::Command::new("sh")
                    .args(["-c", &kill])
                    .status()
                    .unwrap()
                    .success()
            );
            tokio::time::timeout(within, lifecycle.reached(phase)).await.unwrap();
            assert_eq!(lifecycle.phase(), phase);
        }
        handled.await.unwrap();
    }
}
