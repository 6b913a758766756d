//! The controller tells each `Policy` object whether it decides: its condition `Ready`.

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::Client;
use tokio::time::sleep;

use super::{Feed, LOOK_EVERY};
use crate::{
    cluster::policies::{self, Policy, READY, Status},
    document::Diagnostic,
    policy::objects::{Object, Objects, State, Verdict},
    policy_source::PolicySource,
    watch::{self, Watcher},
};

/// Looks after the conditions of all `Policy` objects.
pub(in crate::app) struct Conditions {
    /// The files, which objects are compiled together with.
    pub(in crate::app) source: PolicySource,
    pub(in crate::app) feed: Arc<Feed>,
    /// Writes.
    pub(in crate::app) client: Client,
}

impl Conditions {
    /// Writes them whenever they are not what they should be, until it is dropped.
    pub(in crate::app) async fn keep(&self) -> Infallible {
        let _stopped = Stopped(&self.feed);
        let watched = self.source.watched();
        // Before the first load, so that a change between the two is noticed.
        let Ok(watcher) = tokio::task::spawn_blocking(move || Watcher::new(watched)).await else {
            return std::future::pending().await;
        };
        let reread = Arc::new(AtomicBool::new(true));
        let judge = Arc::new(Mutex::new(Judge::new(self.source.clone())));
        let files = {
            let (reread, feed) = (reread.clone(), self.feed.clone());
            watcher.run(LOOK_EVERY, move || {
                reread.store(true, Ordering::Relaxed);
                feed.again();
                watch::Verdict::Done
            })
        };
        let work = async {
            let mut told = None;
            loop {
                let policies = self.feed.changed().await;
                let reread = reread.swap(false, Ordering::Relaxed);
                let objects = policies.iter().map(|policy| policy.object.clone()).collect();
                let judge = judge.clone();
                let judged = tokio::task::spawn_blocking(move || {
                    judge
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .judge(objects, reread)
                });
                match judged.await {
                    Ok(judged) => {
                        self.feed.compiled();
                        self.tell(&policies, &judged, &mut told).await;
                    }
                    Err(error) => tracing::error!("compiling the Policy objects failed: {error}"),
                }
            }
        };
        tokio::select! {
            never = files => never,
            never = work => never,
            never = self.feed.follow() => never,
        }
    }

    /// Whoever follows has nothing to say about them.
    pub(in crate::app) fn stopped(&self) {
        self.feed.stopped();
    }

    async fn tell(&self, policies: &[Policy], judged: &Judged, told: &mut Option<String>) {
        let mut trouble = None;
        for policy in policies {
            let name = &policy.object.name;
            // By name, as verdicts are.
            let found = judged.verdicts.binary_search_by(|verdict| verdict.name.cmp(name));
            let Some(verdict) = found.ok().map(|place| &judged.verdicts[place]) else {
                continue;
            };
            let status = status(verdict, judged.files.as_deref(), &policy.status, now());
            if status == policy.status {
                continue;
            }
            match policies::tell(self.client.clone(), name, &status).await {
                Ok(()) => {
                    tracing::info!(
                        policy = %name,
                        "the Policy {name} was told: {}",
                        status.ready.as_ref().map_or("", |ready| ready.reason.as_str())
                    );
                    self.feed.told(name, status);
                }
                Err(why) => trouble = Some(why),
            }
        }
        if let Some(why) = trouble {
            if told.as_ref() != Some(&why) {
                tracing::warn!("Policy objects cannot be told what becomes of them, which is tried again: {why}");
                *told = Some(why);
            }
            sleep(AGAIN).await;
            self.feed.again();
        } else {
            *told = None;
        }
    }
}

/// Of one that does not work nobody wants to know how it fares.
struct Stopped<'a>(&'a Feed);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.stopped();
    }
}

/// Compiles as the webhook does.
struct Judge {
    source: PolicySource,
    objects: Objects,
    last: Judged,
}

#[derive(Clone, Default)]
struct Judged {
    verdicts: Vec<Verdict>,
    /// What is wrong with the files, where something is.
    files: Option<String>,
}

impl Judge {
    fn new(source: PolicySource) -> Self {
        Self {
            source,
            objects: Objects::default(),
            last: Judged::default(),
        }
    }

    fn judge(&mut self, objects: Vec<Object>, reread: bool) -> Judged {
        if self.objects.replace(objects) || reread {
            let (base, reading) = self.source.read();
            let together = self.objects.compile(&base);
            let mut all = reading.iter().chain(&together.diagnostics);
            let broken = together.set.is_none() || reading.iter().any(Diagnostic::is_error);
            let error = all.find(|diagnostic| diagnostic.is_error()).filter(|_| broken);
            self.last = Judged {
                files: error.map(|error| format!("{}: {}", super::place(error), error.message)),
                verdicts: together.verdicts,
            };
        }
        self.last.clone()
    }
}

/// What an object is to be told, which is what it was told where nothing has changed.
fn status(verdict: &Verdict, files: Option<&str>, last: &Status, now: Timestamp) -> Status {
    let (status, reason, message) = match (verdict.state, files) {
        (State::InUse, _) => ("True", "Compiled", compiled(verdict)),
        (_, Some(files)) if verdict.diagnostics.is_empty() => {
            let message = format!(
                "the policies in files have errors, so that nothing new is put in use before they have none: {files}"
            );
            ("Unknown", "FilesInvalid", bounded(message))
        }
        _ => ("False", "Invalid", bounded(format!("{}\n{INSTEAD}", problems(verdict)))),
    };
    let generation = Some(verdict.generation);
    let before = last.ready.as_ref().filter(|ready| ready.status == status);
    Status {
        observed_generation: generation,
        rules: verdict.rules,
        ready: Some(Condition {
            type_: READY.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message,
            observed_generation: generation,
            last_transition_time: before.map_or_else(|| Time(now), |ready| ready.last_transition_time.clone()),
        }),
    }
}

fn compiled(verdict: &Verdict) -> String {
    let rules = match verdict.rules {
        Some(1) => "1 rule is in use".to_owned(),
        rules => format!("{} rules are in use", rules.unwrap_or_default()),
    };
    if verdict.diagnostics.is_empty() {
        rules
    } else {
        bounded(format!("{rules}, with warnings:\n{}", problems(verdict)))
    }
}

/// The first of them, a line each. Of the object that is told, the key alone says where; what does not go together with it is named.
fn problems(verdict: &Verdict) -> String {
    let diagnostics = &verdict.diagnostics;
    let line = |diagnostic: &Diagnostic| {
        let object = diagnostic.source.strip_prefix(crate::policy::objects::PREFIX);
        let own = object == Some(&*verdict.name);
        let place = match diagnostic.path.to_string() {
            path if own && !path.is_empty() => format!("{path}: "),
            _ if own => String::new(),
            _ => format!("{}: ", super::place(diagnostic)),
        };
        let hint = diagnostic
            .hint
            .as_ref()
            .map_or_else(String::new, |hint| format!(" ({hint})"));
        format!("{place}{}{hint}", diagnostic.message)
    };
    let mut lines: Vec<String> = diagnostics.iter().take(PROBLEMS).map(line).collect();
    if diagnostics.len() > PROBLEMS {
        lines.push(format!("and {} more", diagnostics.len() - PROBLEMS));
    }
    lines.join("\n")
}

/// An API server takes 32 KiB, and a reader less.
fn bounded(mut message: String) -> String {
    if message.len() > MESSAGE {
        message.truncate(message.floor_char_boundary(MESSAGE));
        message.push('…');
    }
    message
}

/// As Kubernetes writes times: without parts of a second.
fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

const INSTEAD: &str =
    "It does not decide as it is; a webhook that has seen a version of it without errors goes on with that one.";

/// So many problems are told.
const PROBLEMS: usize = 5;

/// Bytes of a message.
const MESSAGE: usize = 2_000;

/// Before a status that could not be written is tried again.
const AGAIN: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Path, Severity};

    fn verdict(state: State, diagnostics: Vec<Diagnostic>) -> Verdict {
        Verdict {
            name: "p".into(),
            generation: 4,
            rules: Some(2),
            state,
            diagnostics,
        }
    }

    fn problem(source: &str, severity: Severity, message: &str) -> Diagnostic {
        let mut problem = Diagnostic::without_place(source, severity, "code", message);
        problem.path = Path::root().key("spec").key("rules").index(0);
        problem
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn told(status: &Status) -> (&str, &str, &str, i64) {
        let ready = status.ready.as_ref().unwrap();
        (
            &ready.status,
            &ready.reason,
            &ready.message,
            ready.last_transition_time.0.as_second(),
        )
    }

    #[test]
    fn an_object_is_told_whether_it_decides_and_what_is_wrong_with_it() {
        let fine = status(&verdict(State::InUse, vec![]), None, &Status::default(), at(1));
        assert_eq!(told(&fine), ("True", "Compiled", "2 rules are in use", 1));
        assert_eq!((fine.rules, fine.observed_generation), (Some(2), Some(4)));
        let warning = problem("policies.waypost.dev/p", Severity::Warning, "never decides");
        let warned = status(&verdict(State::InUse, vec![warning]), None, &fine, at(2));
        assert_eq!(
            told(&warned),
            (
                "True",
                "Compiled",
                "2 rules are in use, with warnings:\nspec.rules[0]: never decides",
                1
            )
        );
        let mut elsewhere = problem("policies.waypost.dev/older", Severity::Error, "gives another the name");
        elsewhere.hint = Some("put {registry} into it".to_owned());
        let clash = status(&verdict(State::LeftOut, vec![elsewhere]), None, &warned, at(2));
        let (_, _, message, _) = told(&clash);
        assert!(
            message.starts_with("policies.waypost.dev/older, at spec.rules[0]: gives another the name (put"),
            "{message}"
        );
        let errors: Vec<_> = (0..7)
            .map(|n| problem("policies.waypost.dev/p", Severity::Error, &format!("wrong {n}")))
            .collect();
        let broken = status(&verdict(State::Kept(3), errors), None, &warned, at(3));
        let (truth, reason, message, when) = told(&broken);
        assert_eq!((truth, reason, when), ("False", "Invalid", 3));
        assert!(message.starts_with("spec.rules[0]: wrong 0\n"), "{message}");
        assert!(message.contains("wrong 4\nand 2 more\nIt does not decide"), "{message}");
        let again = status(
            &verdict(
                State::LeftOut,
                vec![problem("a.yaml", Severity::Error, &"x".repeat(9_000))],
            ),
            None,
            &broken,
            at(4),
        );
        let (_, _, message, when) = told(&again);
        assert!(
            message.starts_with("a.yaml, at spec.rules[0]: xxx") && message.len() < 2_100 && when == 3,
            "{message}"
        );
    }

    #[test]
    fn an_object_is_not_to_blame_for_files() {
        let unknown = status(
            &verdict(State::LeftOut, vec![]),
            Some("a.yaml:1:2: no"),
            &Status::default(),
            at(1),
        );
        assert_eq!(told(&unknown).1, "FilesInvalid");
    }

    #[test]
    fn what_was_told_is_not_told_again() {
        let last = status(&verdict(State::InUse, vec![]), None, &Status::default(), at(1));
        assert_eq!(status(&verdict(State::InUse, vec![]), None, &last, at(2)), last);
    }
}
