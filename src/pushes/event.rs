//! What happens to pushes, and what becomes of a record by it.

use jiff::{SignedDuration, Timestamp};

use super::{Attempt, Copying, Image, Record, State, Success};

/// Something that happened to one image in one registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The image.
    pub image: Image,
    /// The registry's id.
    pub registry: Box<str>,
    /// When, by whoever tells. A moment that is yet to come counts as now.
    pub at: Timestamp,
    /// Who tells.
    pub origin: Origin,
    /// What.
    pub what: What,
}

/// Who tells of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Somebody who pushed it, by REST.
    Report,
    /// The registry.
    Notification,
    /// Waypost, which has looked.
    Verification,
    /// Waypost, which copies it.
    Copy,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Somebody wants Waypost to copy it. Where that is so already, nothing is new.
    Asked(Copying),
    /// Somebody has begun to push.
    Begun,
    /// Waypost's copy has come so far.
    Progress {
        /// Bytes that there are to send, as far as is known.
        total: u64,
        /// Bytes of them that are there.
        done: u64,
    },
    /// A push went well.
    Succeeded {
        /// The reference that it is under in the registry.
        target: Box<str>,
        /// The digest of what was pushed.
        digest: Box<str>,
    },
    /// A push failed.
    Failed {
        /// Why, in words.
        error: Box<str>,
    },
    /// The target is there no more: only where it is of this digest, if one is said.
    Withdrawn {
        /// The digest that was deleted.
        digest: Option<Box<str>>,
    },
    /// Somebody has looked what is in a push.
    Inspected {
        /// The digest of what he looked at.
        digest: Box<str>,
        /// The platforms that it is for.
        platforms: Vec<Box<str>>,
        /// The digests of the manifests of an index that are there.
        children: Vec<Box<str>>,
    },
}

impl Record {
    /// What becomes of a record by an event that was received at a moment; none where nothing changes. `sequence` is greater than any that
    /// was given out before.
    ///
    /// Events may come late, twice and in any order: an event changes what is older than it, and a later one is not undone.
    pub fn after(&self, event: &Event, received: Timestamp, sequence: u64) -> Option<Self> {
        let at = event.at.min(received);
        let mut next = self.clone();
        match &event.what {
            What::Begun | What::Progress { .. } | What::Succeeded { .. } | What::Failed { .. }
                if event.origin == Origin::Copy && self.copying.is_none() =>
            {
                // Nobody waits for it any more.
            }
            What::Asked(copying) => next.ask(copying, at),
            What::Progress { total, done } => next.progress(event.origin, *total, *done),
            What::Begun => next.begin(event.origin, at),
            What::Failed { error } => next.end(event.origin, at, State::Failed, Some(error.clone())),
            What::Succeeded { target, digest } if event.origin == Origin::Copy => {
                if !next.is_as_before(target, digest) {
                    next.succeed(at, target, digest, sequence);
                }
                next.end(event.origin, at, State::Succeeded, None);
            }
            What::Succeeded { target, digest } => {
                if next.succeed(at, target, digest, sequence) {
                    next.end(event.origin, at, State::Succeeded, None);
                }
            }
            What::Withdrawn { digest } => next.withdraw(at, digest.as_deref()),
            What::Inspected {
                digest,
                platforms,
                children,
            } => {
                if let Some(success) = next.last_success.as_mut().filter(|success| success.digest == *digest) {
                    success.platforms.clone_from(platforms);
                    success.children.clone_from(children);
                }
            }
        }
        (next != *self).then_some(next)
    }

    /// Somebody wants a copy: it is a push of its own, whatever became of the one before.
    fn ask(&mut self, copying: &Copying, at: Timestamp) {
        if self.copying.is_some() {
            return;
        }
        let last = self.last_attempt.as_ref();
        self.last_attempt = Some(Attempt {
            state: State::Pending,
            attempt: last.map_or(1, |last| last.attempt.saturating_add(1)),
            error: None,
            bytes_total: None,
            bytes_done: None,
            started_at: at,
            finished_at: None,
        });
        self.copying = Some(copying.clone());
    }

    /// Whether a copy that only looks whether its source has moved has found that it has not.
    fn is_as_before(&self, target: &str, digest: &str) -> bool {
        let refresh = self.copying.as_ref().is_some_and(|copying| copying.refresh);
        let last = self.last_success.as_ref();
        refresh && last.is_some_and(|last| *last.digest == *digest && *last.target == *target)
    }

    fn progress(&mut self, origin: Origin, total: u64, done: u64) {
        let open = self.last_attempt.as_mut().filter(|last| last.state == State::Running);
        if let Some(open) = open.filter(|_| origin == Origin::Copy) {
            (open.bytes_total, open.bytes_done) = (Some(total), Some(done));
        }
    }

    /// The copy goes on, or begins anew after somebody else who made it went away.
    fn begin_copy(&mut self, at: Timestamp) {
        let Some(open) = &mut self.last_attempt else { return };
        if open.state == State::Pending {
            (open.state, open.started_at) = (State::Running, at.max(open.started_at));
        }
        (open.bytes_total, open.bytes_done) = (None, None);
    }

    fn begin(&mut self, origin: Origin, at: Timestamp) {
        if self.copying.is_some() {
            // Others' pushes of it meanwhile are told by what comes of them.
            return if origin == Origin::Copy {
                self.begin_copy(at)
            };
        }
        let number = match &self.last_attempt {
            Some(last) if last.moment() > at => return,
            // Told twice.
            Some(last) if last.started_at == at => return,
            Some(last) => last.attempt.saturating_add(1),
            None => 1,
        };
        self.last_attempt = Some(Attempt {
            state: State::Running,
            attempt: number,
            error: None,
            bytes_total: None,
            bytes_done: None,
            started_at: at,
            finished_at: None,
        });
    }

    /// An attempt has ended: the one that goes on, if somebody who reports began it; else one that nobody told of before.
    fn end(&mut self, origin: Origin, at: Timestamp, state: State, error: Option<Box<str>>) {
        if origin != Origin::Copy && self.copying.is_some() {
            return;
        }
        self.copying = None;
        let last = self.last_attempt.as_ref();
        let open = last.filter(|last| !last.state.is_final());
        // The registry does not know whose push it was: who began one says how it ended.
        let is_anothers =
            |open: &Attempt| origin == Origin::Notification && at.duration_since(open.started_at) < ABANDONED;
        // Whoever reports may have a clock that is behind: by that much, it is the end of what he said that he began.
        // Its own end is nothing that comes late.
        let moment = last.filter(|_| origin != Origin::Copy).map(|last| match open {
            Some(open) if origin == Origin::Report => open.started_at.saturating_sub(CLOCKS).unwrap_or(open.started_at),
            _ => last.moment(),
        });
        if moment.is_some_and(|moment| moment > at) || open.is_some_and(is_anothers) {
            return;
        }
        let at = open.map_or(at, |open| at.max(open.started_at));
        let told = |last: &&Attempt| last.state == state && last.error == error && last.finished_at == Some(at);
        if last.is_some_and(|last| told(&last)) {
            return;
        }
        let attempt = match (open, last) {
            (Some(open), _) => Attempt {
                state,
                error,
                finished_at: Some(at),
                ..open.clone()
            },
            (None, last) => Attempt {
                state,
                attempt: last.map_or(1, |last| last.attempt.saturating_add(1)),
                error,
                bytes_total: None,
                bytes_done: None,
                started_at: at,
                finished_at: Some(at),
            },
        };
        self.last_attempt = Some(attempt);
    }

    /// Whether that is news.
    fn succeed(&mut self, at: Timestamp, target: &str, digest: &str, sequence: u64) -> bool {
        if self.withdrawn_at.is_some_and(|withdrawn| withdrawn > at) {
            return false;
        }
        let (mut platforms, mut children) = (Vec::new(), Vec::new());
        if let Some(last) = &mut self.last_success {
            let same = *last.digest == *digest;
            if last.finished_at > at || last.finished_at == at && same && *last.target == *target {
                return false;
            }
            if same {
                // What is in it is what was in it.
                (platforms, children) = (std::mem::take(&mut last.platforms), std::mem::take(&mut last.children));
            }
        }
        self.last_success = Some(Success {
            target: target.into(),
            digest: digest.into(),
            platforms,
            children,
            finished_at: at,
            sequence,
        });
        true
    }

    fn withdraw(&mut self, at: Timestamp, digest: Option<&str>) {
        if let Some(last) = &self.last_success {
            // What is there is something else.
            if digest.is_some_and(|digest| *last.digest != *digest) {
                return;
            }
            if last.finished_at <= at {
                self.last_success = None;
            }
        }
        self.withdrawn_at = self.withdrawn_at.max(Some(at));
    }
}

/// By how much the clock of somebody who reports may be behind.
const CLOCKS: SignedDuration = SignedDuration::from_secs(60);

/// After that nobody says any more how a push ended that somebody began.
pub(super) const ABANDONED: SignedDuration = SignedDuration::from_hours(24);
