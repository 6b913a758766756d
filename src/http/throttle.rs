//! One line a minute of what could otherwise fill the log.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lets one event through per [`EVERY`] and counts the others.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    quiet_until: Option<Instant>,
    held_back: u64,
}

impl Throttle {
    /// Whether to speak at `now`, and how many events were held back since the last time.
    pub(super) fn pass(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.quiet_until.is_some_and(|until| now < until) {
            state.held_back += 1;
            return None;
        }
        state.quiet_until = now.checked_add(EVERY);
        Some(std::mem::take(&mut state.held_back))
    }
}

const EVERY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_event_a_minute_passes_and_the_rest_are_counted() {
        let throttle = Throttle::default();
        let start = Instant::now();
        assert_eq!(throttle.pass(start), Some(0));
        assert_eq!(throttle.pass(start + Duration::from_secs(1)), None);
        assert_eq!(throttle.pass(start + Duration::from_secs(59)), None);
        assert_eq!(throttle.pass(start + EVERY), Some(2));
        assert_eq!(throttle.pass(start + EVERY * 2), Some(0));
    }
}
