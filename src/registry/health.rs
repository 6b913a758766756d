//! Whether a registry is up: from what became of probes to up or down, and to the time of the next one.
//!
//! Decisions follow this, so it is slow to believe: one failure is none, and neither is one answer of a registry that was down. What
//! changes its mind again and again has to be right for longer each time. It has no clock and no dice of its own: times are lengths since
//! whatever moment the caller likes, and the jitter comes from the caller.

use std::{collections::VecDeque, time::Duration};

/// What is known of one registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    every: Duration,
    up: bool,
    /// Probes in a row that say the opposite of `up`.
    contrary: u32,
    /// Failures in a row, whether it is up or down.
    failures: u32,
    /// When the first of them began.
    failing_since: Duration,
    /// Answers in a row that asked to be left alone.
    limited: u32,
    /// When it went down, of late.
    downs: VecDeque<Duration>,
}

/// What became of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It answered.
    Answered,
    /// It answered that it is asked too much, and perhaps for how long it does not want to be asked.
    Limited(Option<Duration>),
    /// It did not answer, or not as a registry does.
    Failed,
}

/// What follows from a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// What it is now, where that is another thing than before: up (`true`) or down.
    pub changed: Option<bool>,
    /// When to ask again.
    pub next: Duration,
}

impl Health {
    /// A registry of which nobody knows anything is up until it is proven down. `every`: how often one is asked that is fine.
    pub fn new(every: Duration) -> Self {
        Self {
            every,
            up: true,
            contrary: 0,
            failures: 0,
            failing_since: Duration::ZERO,
            limited: 0,
            downs: VecDeque::new(),
        }
    }

    /// One that was down when somebody looked last: it stays so until it is proven up.
    pub fn down(every: Duration) -> Self {
        Self {
            up: false,
            ..Self::new(every)
        }
    }

    /// Whether it is up.
    pub fn is_up(&self) -> bool {
        self.up
    }

    /// A probe began at `began` and ended at `ended`. `jitter` is from 0 to 1, so that not all registries and replicas are asked at once.
    pub fn saw(&mut self, began: Duration, ended: Duration, seen: Seen, jitter: f64) -> Step {
        let was = self.up;
        match seen {
            Seen::Failed => {
                if self.failures == 0 {
                    self.failing_since = began;
                }
                self.failures = self.failures.saturating_add(1);
                self.limited = 0;
                if !self.up {
                    self.contrary = 0;
                } else {
                    self.contrary = self.failures;
                    // By the moments at which they began: that none of them is answered may take long enough by itself.
                    if self.contrary >= FAILURES && ended.saturating_sub(self.failing_since) >= LEAST_OUTAGE {
                        self.fall(ended);
                    }
                }
            }
            Seen::Answered | Seen::Limited(_) => {
                self.failures = 0;
                self.limited = match seen {
                    Seen::Limited(_) => self.limited.saturating_add(1),
                    _ => 0,
                };
                if self.up {
                    self.contrary = 0;
                } else {
                    self.contrary += 1;
                    if self.contrary >= self.answers_wanted(ended) {
                        self.up = true;
                        self.contrary = 0;
                    }
                }
            }
        }
        Step {
            changed: (self.up != was).then_some(self.up),
            next: self.next(began, ended, seen, jitter.clamp(0.0, 1.0)),
        }
    }

    fn fall(&mut self, now: Duration) {
        self.up = false;
        self.contrary = 0;
        // The retries up to here were quick; those from now on begin anew.
        self.failures = 1;
        self.forget(now);
        if self.downs.len() == REMEMBERED {
            self.downs.pop_front();
        }
        self.downs.push_back(now);
    }

    fn forget(&mut self, now: Duration) {
        while self
            .downs
            .front()
            .is_some_and(|at| now.saturating_sub(*at) > FLAPPING_WITHIN)
        {
            self.downs.pop_front();
        }
    }

    /// How many answers in a row prove it up: twice as many each time it went down of late.
    fn answers_wanted(&mut self, now: Duration) -> u32 {
        self.forget(now);
        let again = u32::try_from(self.downs.len()).unwrap_or(u32::MAX).saturating_sub(1);
        ANSWERS.saturating_mul(1 << again.min(8)).min(MOST_ANSWERS)
    }

    fn next(&self, began: Duration, ended: Duration, seen: Seen, jitter: f64) -> Duration {
        // From 0.9 to 1.1.
        let about = |length: Duration| length.mul_f64(0.9 + 0.2 * jitter);
        match seen {
            Seen::Limited(wait) => {
                // Somebody else's wish: later is fine, sooner is not.
                let own = LIMITED
                    .saturating_mul(1 << self.limited.saturating_sub(1).min(8))
                    .max(self.every);
                let wait = wait.unwrap_or(own).clamp(self.every.min(LONGEST_WAIT), LONGEST_WAIT);
                ended + wait.mul_f64(1.0 + 0.1 * jitter)
            }
            Seen::Answered if self.up => ended + about(self.every),
            Seen::Answered => ended + ONCE_MORE,
            Seen::Failed if self.up => {
                let wait = RETRIES[(self.failures.saturating_sub(1) as usize).min(RETRIES.len() - 1)];
                // From its beginning: one that ran into its deadline has waited enough.
                (began + wait).max(ended)
            }
            Seen::Failed => {
                let longer = BACK_OFF.saturating_mul(1 << self.failures.saturating_sub(1).min(8));
                (began + about(longer.min(LONGEST_BACK_OFF))).max(ended)
            }
        }
    }
}

/// So many failures in a row, over so long, and it is down.
const FAILURES: u32 = 3;
const LEAST_OUTAGE: Duration = Duration::from_secs(3);

/// After the first failure, and after each of those that follow.
const RETRIES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];

/// So many answers in a row, and it is up: more where it went down before of late, up to a limit.
const ANSWERS: u32 = 2;
const MOST_ANSWERS: u32 = 32;
const ONCE_MORE: Duration = Duration::from_secs(1);

/// Between probes of a registry that is down, twice as long each time.
const BACK_OFF: Duration = Duration::from_secs(2);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(30);

/// Between probes of a registry that does not want to be asked and does not say for how long, twice as long each time.
const LIMITED: Duration = Duration::from_secs(60);
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// What went down several times within so long flaps.
const FLAPPING_WITHIN: Duration = Duration::from_secs(600);
const REMEMBERED: usize = 8;

#[cfg(test)]
mod tests;
