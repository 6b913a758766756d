//! The named checks behind `/readyz`.
//!
//! Other tasks set them and the admin port reads them; nothing on the path of a review does either, so a lock is fine.

use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

/// The checks of the process; clones share them.
#[derive(Clone, Default)]
pub struct Health {
    checks: Arc<Mutex<Vec<Named>>>,
}

/// One check, to be set by whoever knows.
#[derive(Clone)]
pub struct Check {
    state: Arc<Mutex<Since>>,
}

/// What a check says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// All is well.
    Fine,
    /// Still ready, with something to be put right: a policy that does not compile while the last good ones are kept.
    Degraded(String),
    /// Not ready.
    Failing(String),
}

/// All checks at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Whether no check is failing.
    pub ready: bool,
    /// One line per check, as the API server's `/readyz?verbose` has them, and a verdict.
    pub text: String,
}

impl Health {
    /// Adds a check that is failing with `reason` until it is set.
    pub fn add(&self, name: &'static str, reason: &str) -> Check {
        let check = Check {
            state: Arc::new(Mutex::new(Since::now(State::Failing(reason.to_owned())))),
        };
        let source = check.clone();
        self.push(name, Box::new(move || source.since()));
        check
    }

    /// Adds a check that is fine until it says otherwise: of what does not keep the process from being ready.
    pub fn add_fine(&self, name: &'static str) -> Check {
        let check = self.add(name, "");
        check.fine();
        check
    }

    /// Adds a check that is asked each time, for what changes by itself, as the validity of a certificate does.
    pub fn add_computed(&self, name: &'static str, state: impl Fn() -> State + Send + Sync + 'static) {
        let last = Mutex::new(Since::now(State::Fine));
        let compute = move || {
            let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
            last.set(state());
            last.clone()
        };
        self.push(name, Box::new(compute));
    }

    /// Every check, in the order in which they were added.
    pub fn report(&self) -> Report {
        let checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ready = true;
        let mut text = String::new();
        for check in checks.iter() {
            let Since { state, since } = (check.state)();
            ready &= !matches!(state, State::Failing(_));
            let written = match &state {
                State::Fine => writeln!(text, "[+]{} ok", check.name),
                State::Degraded(why) => {
                    writeln!(text, "[+]{} degraded since {since:.0}: {}", check.name, indented(why))
                }
                State::Failing(why) => writeln!(text, "[-]{} failed since {since:.0}: {}", check.name, indented(why)),
            };
            written.expect("writing to a String cannot fail");
        }
        text.push_str(if ready {
            "readyz check passed\n"
        } else {
            "readyz check failed\n"
        });
        Report { ready, text }
    }

    fn push(&self, name: &'static str, state: Box<dyn Fn() -> Since + Send + Sync>) {
        self.checks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Named { name, state });
    }
}

impl Check {
    /// All is well.
    pub fn fine(&self) {
        self.set(State::Fine);
    }

    /// Still ready, but something has to be put right.
    pub fn degraded(&self, why: impl ToString) {
        self.set(State::Degraded(why.to_string()));
    }

    /// Not ready.
    pub fn failing(&self, why: impl ToString) {
        self.set(State::Failing(why.to_string()));
    }

    fn set(&self, state: State) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).set(state);
    }

    fn since(&self) -> Since {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct Named {
    name: &'static str,
    state: Box<dyn Fn() -> Since + Send + Sync>,
}

/// A state and when it began. A new reason for the same trouble does not make it young again.
#[derive(Clone)]
struct Since {
    state: State,
    since: Timestamp,
}

impl Since {
    fn now(state: State) -> Self {
        Self {
            state,
            since: Timestamp::now(),
        }
    }

    fn set(&mut self, state: State) {
        if std::mem::discriminant(&self.state) != std::mem::discriminant(&state) {
            self.since = Timestamp::now();
        }
        self.state = state;
    }
}

/// Text of several lines as the continuation of one, so that each line that starts with `[` is a check.
fn indented(text: &str) -> String {
    text.trim_end().replace('\n', "\n    ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_fails_until_it_is_set() {
        let health = Health::default();
        let policies = health.add("policies", "not compiled yet");
        assert!(!health.report().ready);
        assert!(health.report().text.starts_with("[-]policies failed since 2"));
        policies.fine();
        assert_eq!(
            health.report(),
            Report {
                ready: true,
                text: "[+]policies ok\nreadyz check passed\n".to_owned()
            }
        );
    }

    #[test]
    fn a_degraded_check_is_ready_and_says_why_and_since_when() {
        let health = Health::default();
        let policies = health.add("policies", "not compiled yet");
        policies.degraded("a.yaml:3:1: unknown key\n  3 | foo: bar\n");
        let since = policies.since().since;
        policies.degraded("another error\n[-]not a check");
        assert_eq!(policies.since().since, since, "the same trouble, with other words");
        let report = health.report();
        assert!(report.ready);
        let lines: Vec<_> = report.text.lines().collect();
        assert!(lines[0].starts_with("[+]policies degraded since "), "{lines:?}");
        assert!(lines[0].ends_with("Z: another error"), "{lines:?}");
        assert_eq!(lines[1], "    [-]not a check");
    }

    #[test]
    fn a_computed_check_is_asked_each_time() {
        use std::sync::atomic::{AtomicBool, Ordering};
        let expired = Arc::new(AtomicBool::new(false));
        let health = Health::default();
        health.add_computed("certificate", {
            let expired = Arc::clone(&expired);
            move || {
                if expired.load(Ordering::Relaxed) {
                    State::Failing("it has expired".to_owned())
                } else {
                    State::Fine
                }
            }
        });
        assert!(health.report().ready);
        expired.store(true, Ordering::Relaxed);
        assert!(!health.report().ready);
        assert!(health.report().text.contains("[-]certificate failed since"));
    }
}
