//! When a token is renewed: at half of what remained of its life when it was had, at once where it is of no use, again and again where
//! nobody issues one.
//!
//! Two clocks are looked at, and the one that says "sooner" is right: the one on the wall, which tokens are issued by and which somebody may
//! set, and one that only counts, which stands still while a machine sleeps. There are no dice here: the jitter comes from the caller.

use std::time::Duration;

use jiff::Timestamp;

/// A moment by both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The time.
    pub wall: Timestamp,
    /// Since whatever moment the caller likes.
    pub elapsed: Duration,
}

/// From when to when a token is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// When it was had.
    pub from: Timestamp,
    /// From then on it is refused.
    pub until: Timestamp,
}

/// The renewals of one token after another.
#[derive(Clone, Debug, Default)]
pub struct Renewals {
    token: Option<Seen>,
    /// Whether it works and another one is wanted nevertheless.
    unwanted: bool,
    /// Before then nobody is asked again who has just issued one.
    rest: Option<Duration>,
    failing: Option<Failing>,
}

/// A token, and when it was seen first.
#[derive(Clone, Copy, Debug)]
struct Seen {
    life: Life,
    at: Moment,
    /// When it is renewed, by the clock on the wall.
    due: Timestamp,
}

/// Attempts that came to nothing, one after another.
#[derive(Clone, Copy, Debug)]
struct Failing {
    attempts: u32,
    since: Duration,
    last: Duration,
    /// Until the next, if nothing presses.
    wait: Duration,
}

impl Life {
    /// How long it is.
    fn length(self) -> Duration {
        between(self.from, self.until)
    }
}

impl Renewals {
    /// This is the token that there is. One that is known already is known better: its jitter is drawn once. From 0 to 1.
    pub fn token(&mut self, life: Option<Life>, unwanted: bool, now: Moment, jitter: f64) {
        self.unwanted = unwanted;
        let Some(life) = life else {
            self.token = None;
            return;
        };
        if self.token.is_none_or(|seen| seen.life != life) {
            let half = about(life.length() / 2, jitter);
            let due = life.from.checked_add(half).unwrap_or(life.until);
            self.token = Some(Seen { life, at: now, due });
        }
    }

    /// A token was issued, which the caller tells of next: the attempts before it are forgotten.
    pub fn renewed(&mut self, now: Moment) {
        self.failing = None;
        self.rest = Some(now.elapsed + BETWEEN);
    }

    /// The one that was issued is the one that there was: it is half of what remains of it until the next attempt.
    pub fn same(&mut self, now: Moment, jitter: f64) {
        let left = self.left(now);
        if let Some(seen) = &mut self.token {
            seen.due = now.wall.checked_add(about(left / 2, jitter)).unwrap_or(seen.due);
            // What the other clock says is counted from where this one is.
            seen.at = now;
        }
        self.renewed(now);
    }

    /// None was issued. `jitter` is from 0 to 1.
    pub fn failed(&mut self, now: Moment, jitter: f64) {
        let attempts = self.failing.map_or(0, |failing| failing.attempts);
        let wait = FIRST.saturating_mul(1 << attempts.min(16)).min(LONGEST);
        self.failing = Some(Failing {
            attempts: attempts.saturating_add(1),
            since: self.failing.map_or(now.elapsed, |failing| failing.since),
            last: now.elapsed,
            wait: about(wait, jitter),
        });
    }

    /// What was asked for is another thing from now on: nobody waits for what came of the attempts before.
    pub fn anew(&mut self) {
        self.failing = None;
        self.rest = None;
    }

    /// How long until the next attempt. Zero: it is time. Neither clock may be what it is until then: look again after [`SLICE`].
    pub fn wait(&self, now: Moment) -> Duration {
        let rest = self
            .rest
            .map_or(Duration::ZERO, |until| until.saturating_sub(now.elapsed));
        let wait = match self.failing {
            Some(failing) => self.patience(failing, now),
            None if self.unwanted => Duration::ZERO,
            None => self.token.map_or(Duration::ZERO, |seen| seen.until_due(now)),
        };
        wait.max(rest)
    }

    /// How long the token works. Zero: there is none, or it has ended.
    pub fn left(&self, now: Moment) -> Duration {
        let Some(seen) = self.token else {
            return Duration::ZERO;
        };
        let by_wall = between(now.wall, seen.life.until);
        let when_seen = between(seen.at.wall, seen.life.until).min(seen.life.length());
        by_wall.min(when_seen.saturating_sub(now.elapsed.saturating_sub(seen.at.elapsed)))
    }

    /// Whether somebody should hear that attempts fail. What passes by itself soon enough is no news: one that is answered by "later" is
    /// asked again in a second.
    pub fn is_trouble(&self, now: Moment) -> bool {
        let Some(failing) = self.failing else {
            return false;
        };
        let left = self.left(now);
        let length = self.token.map_or(Duration::ZERO, |seen| seen.life.length());
        left.is_zero() || now.elapsed.saturating_sub(failing.since) >= PATIENCE.min(length / 8)
    }

    fn patience(&self, failing: Failing, now: Moment) -> Duration {
        let passed = now.elapsed.saturating_sub(failing.last);
        let longest = self.token.map_or(LONGEST, |seen| {
            let left = self.left(now);
            // As it was then: what remained of it, or for how long there had been none.
            let then = if left.is_zero() {
                seen.ended_for(now).saturating_sub(passed)
            } else {
                left + passed
            };
            (then / 4).max(FOUGHT_FOR)
        });
        failing.wait.min(longest).saturating_sub(passed)
    }
}

impl Seen {
    /// Since when it has ended.
    fn ended_for(&self, now: Moment) -> Duration {
        let when_seen = between(self.at.wall, self.life.until);
        let counted = now.elapsed.saturating_sub(self.at.elapsed).saturating_sub(when_seen);
        between(self.life.until, now.wall).max(counted)
    }

    fn until_due(&self, now: Moment) -> Duration {
        let from = self.life.from;
        // It was issued in the future: the clock was set back since, and nobody knows by how much.
        if between(now.wall, from) > SKEW {
            return Duration::ZERO;
        }
        let by_wall = between(now.wall, self.due);
        let when_seen = between(self.at.wall, self.due);
        by_wall.min(when_seen.saturating_sub(now.elapsed.saturating_sub(self.at.elapsed)))
    }
}

/// Zero where `to` is not behind `from`.
fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or(Duration::ZERO)
}

/// From nine to eleven tenths.
fn about(length: Duration, jitter: f64) -> Duration {
    length.mul_f64(0.9 + 0.2 * jitter.clamp(0.0, 1.0))
}

/// So long and no longer is waited without a look at the clocks.
pub const SLICE: Duration = Duration::from_secs(30);

/// After an attempt that failed, twice as long each time.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);

/// Where there is a token it is never waited for longer than a quarter of what remains of it, or of the time since it has ended, which is
/// at least so long: an end is fought for.
const FOUGHT_FOR: Duration = Duration::from_secs(10);

/// Between two tokens of an issuer whose tokens have ended as soon as they are had.
const BETWEEN: Duration = Duration::from_secs(1);

/// By which the clocks of two machines may differ, of which one goes on with the tokens of the other.
const SKEW: Duration = Duration::from_secs(60);

/// For attempts that fail while a token works, or an eighth of its life where that is less.
const PATIENCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
