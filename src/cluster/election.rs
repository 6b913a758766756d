//! Which of several processes works: whoever holds a Lease.
//!
//! As client-go does it, and with the same objects: who holds a Lease says how long it counts, everybody else measures that time from the
//! moment at which they saw it renewed, and so no clock is compared with another's. Each write names the version that it replaces, so of
//! two that want a Lease one gets it. A holder stops before anybody else could begin.

mod lease;

use std::convert::Infallible;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

pub use lease::Lease;

/// What a Lease says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Who holds it; empty where nobody does.
    pub holder: String,
    /// For how long after it was renewed.
    pub duration: Duration,
    /// How often it has gone from one to another.
    pub transitions: u32,
}

/// Why a Lease could not be written or read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseError {
    /// Somebody else has written it in the meantime.
    Conflict,
    /// Anything else.
    Failed(String),
}

/// Where the Lease is kept. A version names one content of it.
pub trait Leases {
    /// The Lease and its version, if there is one.
    fn read(&self) -> impl Future<Output = Result<Option<(Record, String)>, LeaseError>> + Send;
    /// Makes it, unless somebody else did, and answers its version.
    fn create(&self, record: &Record) -> impl Future<Output = Result<String, LeaseError>> + Send;
    /// Replaces it if it still has this version. `acquired` is whether it goes to somebody else by that.
    fn replace(
        &self,
        version: &str,
        record: &Record,
        acquired: bool,
    ) -> impl Future<Output = Result<String, LeaseError>> + Send;
}

/// What the others are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody else works, this one.
    Following(String),
    /// We do.
    Leading,
    /// We did.
    Lost(String),
    /// The Lease cannot be read or written, for this reason.
    Broken(String),
    /// It can again.
    Working,
}

/// Does `work` for as long as the Lease is held, and waits for it otherwise, until `stop`; then the Lease is given back.
///
/// Work is dropped at once, wherever it is, when the Lease may be somebody else's.
pub async fn lead<L: Leases, W: Future<Output = Infallible>>(
    leases: &L,
    identity: &str,
    duration: Duration,
    stop: impl Future<Output = ()>,
    mut tell: impl FnMut(Event) + Send,
    mut work: impl FnMut() -> W,
) {
    let mut candidate = Candidate {
        leases,
        identity,
        duration,
        seen: None,
        state: State::Unknown,
        tell: &mut tell,
    };
    let mut stop = pin!(stop);
    loop {
        let mut term = tokio::select! {
            biased;
            () = &mut stop => return,
            term = candidate.win() => term,
        };
        (candidate.tell)(Event::Leading);
        let why = tokio::select! {
            biased;
            () = &mut stop => {
                candidate.give_back().await;
                return;
            }
            why = candidate.keep(&mut term) => why,
            never = work() => match never {},
        };
        (candidate.tell)(Event::Lost(why));
    }
}

struct Candidate<'a, L> {
    leases: &'a L,
    identity: &'a str,
    duration: Duration,
    /// The version that was seen last, since when, who holds it and for how long.
    seen: Option<Seen>,
    state: State,
    tell: &'a mut (dyn FnMut(Event) + Send),
}

/// What was said of the Lease last.
#[derive(PartialEq, Eq)]
enum State {
    Unknown,
    Working,
    Broken(String),
}

struct Seen {
    version: String,
    at: Instant,
    record: Record,
}

/// The time for which a Lease is ours.
struct Term {
    version: String,
    transitions: u32,
    until: Instant,
}

impl<L: Leases> Candidate<'_, L> {
    async fn win(&mut self) -> Term {
        loop {
            let attempt = timeout(self.patience(), self.attempt()).await;
            match attempt.unwrap_or_else(|_| Err(LeaseError::Failed(SILENT.to_owned()))) {
                Ok(Some(term)) => {
                    self.works();
                    return term;
                }
                Ok(None) => self.works(),
                // The next attempt finds what the other one wrote.
                Err(LeaseError::Conflict) => {}
                Err(LeaseError::Failed(why)) => self.fails(why),
            }
            // Not all at once.
            let pause = self.pause();
            sleep(pause + pause * random(100) / 100).await;
        }
    }

    async fn attempt(&mut self) -> Result<Option<Term>, LeaseError> {
        let started = Instant::now();
        let Some((record, version)) = self.leases.read().await? else {
            let record = self.record(0);
            let version = self.leases.create(&record).await?;
            return Ok(Some(self.term(version, 0, started)));
        };
        let known = self.seen.as_ref().is_some_and(|seen| seen.version == version);
        if !known {
            let said = self
                .seen
                .as_ref()
                .is_some_and(|seen| seen.record.holder == record.holder);
            if !said && !record.holder.is_empty() && record.holder != self.identity {
                (self.tell)(Event::Following(record.holder.clone()));
            }
            self.seen = Some(Seen {
                version: version.clone(),
                // Now and not when it was asked: it is renewed at most that much later.
                at: Instant::now(),
                record: record.clone(),
            });
        }
        // Ours is what we wrote without hearing that it was.
        let ours = record.holder == self.identity;
        let over = self
            .seen
            .as_ref()
            .is_none_or(|seen| seen.at.elapsed() >= seen.record.duration);
        if !(ours || over || record.holder.is_empty()) {
            return Ok(None);
        }
        let transitions = record.transitions.saturating_add(u32::from(!ours));
        let started = Instant::now();
        let version = self.leases.replace(&version, &self.record(transitions), !ours).await?;
        Ok(Some(self.term(version, transitions, started)))
    }

    /// Renews it until that fails for too long, and says why.
    async fn keep(&mut self, term: &mut Term) -> String {
        let mut last = "it was not renewed in time".to_owned();
        loop {
            let next = Instant::now() + self.pause();
            sleep_until(next.min(term.until)).await;
            if Instant::now() >= term.until {
                return last;
            }
            let started = Instant::now();
            let record = self.record(term.transitions);
            let renewed = timeout_at(term.until, self.leases.replace(&term.version, &record, false)).await;
            match renewed {
                Ok(Ok(version)) => {
                    *term = self.term(version, term.transitions, started);
                    self.works();
                }
                Ok(Err(LeaseError::Conflict)) => match timeout_at(term.until, self.leases.read()).await {
                    // Somebody has put a label on it, or we did not hear that a renewal had arrived.
                    Ok(Ok(Some((record, version)))) if record.holder == self.identity => term.version = version,
                    Ok(Ok(Some((record, _)))) => return format!("{} has taken it", record.holder),
                    Ok(Ok(None)) => return "it was deleted".to_owned(),
                    Ok(Err(_)) | Err(_) => {}
                },
                Ok(Err(LeaseError::Failed(why))) => {
                    last.clone_from(&why);
                    self.fails(why);
                }
                Err(_) => self.fails(SILENT.to_owned()),
            }
        }
    }

    /// So that nobody has to wait until it is over.
    async fn give_back(&mut self) {
        let give = async {
            let (record, version) = self.leases.read().await?.ok_or(LeaseError::Conflict)?;
            if record.holder != self.identity {
                return Err(LeaseError::Conflict);
            }
            let record = Record {
                holder: String::new(),
                duration: Duration::from_secs(1),
                transitions: record.transitions,
            };
            self.leases.replace(&version, &record, false).await
        };
        match timeout(FAREWELL, give).await {
            Ok(Ok(_)) => tracing::info!("the Lease is given back"),
            _ => tracing::info!("the Lease is not given back, and ends by itself"),
        }
    }

    fn record(&self, transitions: u32) -> Record {
        Record {
            holder: self.identity.to_owned(),
            duration: self.duration,
            transitions,
        }
    }

    /// `started` is before the request: nobody else has seen it renewed any earlier.
    fn term(&self, version: String, transitions: u32, started: Instant) -> Term {
        Term {
            version,
            transitions,
            until: started + self.patience(),
        }
    }

    fn fails(&mut self, why: String) {
        let state = State::Broken(why.clone());
        if self.state != state {
            self.state = state;
            (self.tell)(Event::Broken(why));
        }
    }

    fn works(&mut self) {
        if self.state != State::Working {
            self.state = State::Working;
            (self.tell)(Event::Working);
        }
    }

    /// Who has not renewed it for so long stops. The third that is left is for what was begun before, and for clocks that do not go alike.
    fn patience(&self) -> Duration {
        self.duration * 2 / 3
    }

    /// Between two attempts.
    fn pause(&self) -> Duration {
        self.duration * 2 / 15
    }
}

/// Less than `end`. Good enough for spreading, and no dependency.
fn random(end: u32) -> u32 {
    let random = RandomState::new().build_hasher().finish();
    // The remainder is less than `end`.
    (random % u64::from(end.max(1))) as u32
}

const SILENT: &str = "the API server has not answered in time";

/// A process that stops has 5 s for everything.
const FAREWELL: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
