//! The watch on `Policy` objects, as the process has it: what it finds is kept for whoever compiles it, how it fares goes into health
//! and log.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::sleep};

use crate::{
    cluster::{
        Access,
        policies::{self, Event, Policy, Status},
        watch::Change,
    },
    http::health::{Check, Health},
};

/// All `Policy` objects, as far as they are known.
pub(in crate::app) struct Feed {
    access: Access,
    known: Mutex<Known>,
    changed: Notify,
}

struct Known {
    policies: BTreeMap<Box<str>, Policy>,
    check: Check,
    listed: bool,
    /// What was listed is in use.
    compiled: bool,
    /// It was waited for long enough.
    late: bool,
    /// The API server has no such objects, which was said.
    missing: bool,
    /// Why the watch is broken, where it is.
    broken: Option<String>,
}

impl Feed {
    /// A watch that was not begun. The process is not ready before the first list is in use, or [`LATE`].
    pub(in crate::app) fn new(access: Access, health: &Health) -> Self {
        Self {
            access,
            known: Mutex::new(Known {
                policies: BTreeMap::new(),
                check: health.add("policy-objects", "they have not been listed yet"),
                listed: false,
                compiled: false,
                late: false,
                missing: false,
                broken: None,
            }),
            changed: Notify::new(),
        }
    }

    /// Keeps what is known as the cluster has it.
    pub(in crate::app) async fn follow(&self) -> Infallible {
        let late = async {
            sleep(LATE).await;
            self.late();
            std::future::pending().await
        };
        let connect = async || self.access.client().await;
        tokio::select! {
            never = policies::watch(connect, |event| self.event(event)) => never,
            never = late => never,
        }
    }

    /// All objects, once that is news.
    pub(super) async fn changed(&self) -> Vec<Policy> {
        self.changed.notified().await;
        self.known().policies.values().cloned().collect()
    }

    /// Whoever waits for news has to look again.
    pub(super) fn again(&self) {
        self.changed.notify_one();
    }

    /// What was given last is in use now.
    pub(super) fn compiled(&self) {
        let mut known = self.known();
        known.compiled |= known.listed;
        known.tell();
    }

    /// What an object was told; the watch will say so, too.
    pub(super) fn told(&self, name: &str, status: Status) {
        if let Some(policy) = self.known().policies.get_mut(name) {
            policy.status = status;
        }
    }

    /// Nobody watches any more, which is as it should be.
    pub(super) fn stopped(&self) {
        let mut known = self.known();
        known.policies.clear();
        (known.listed, known.missing, known.broken) = (false, false, None);
        known.check.fine();
    }

    fn late(&self) {
        let mut known = self.known();
        known.late = true;
        known.tell();
    }

    fn event(&self, event: Event) {
        let mut known = self.known();
        match event {
            Event::Listed(policies) => {
                known.policies = policies.into_iter().map(keyed).collect();
                if !known.listed {
                    let count = known.policies.len();
                    tracing::info!(policies = count, "{count} Policy objects are known");
                }
                (known.listed, known.missing) = (true, false);
                self.changed.notify_one();
            }
            Event::Changed(changes) => {
                for change in changes {
                    match change {
                        Change::Applied(policy) => {
                            let (name, policy) = keyed(policy);
                            known.policies.insert(name, policy);
                        }
                        Change::Deleted(policy) => {
                            known.policies.remove(&policy.object.name);
                        }
                    }
                }
                self.changed.notify_one();
            }
            Event::Working => {
                if known.broken.take().is_some() {
                    tracing::info!("the watch on Policy objects works again");
                }
            }
            Event::Missing(_) => {
                if !known.missing {
                    tracing::info!(
                        "this cluster has no Policy objects: policies in files decide (`waypost crds | kubectl apply -f -` makes \
                         them known)"
                    );
                    known.missing = true;
                }
                (known.listed, known.broken) = (false, None);
                if !known.policies.is_empty() {
                    known.policies.clear();
                    self.changed.notify_one();
                }
            }
            Event::Broken(why) => {
                // Once: it may be tried for hours.
                if known.broken.is_none() {
                    tracing::warn!("the watch on Policy objects is broken, and is tried again until it works: {why}");
                }
                known.broken = Some(why);
            }
        }
        known.tell();
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn tell(&self) {
        let Self { check, broken, .. } = self;
        match (broken, self.compiled || self.missing) {
            (None, true) => check.fine(),
            (Some(why), true) => check.degraded(format!("the watch is broken, and objects are those of before: {why}")),
            (None, false) if self.late => check.degraded("they have not been listed yet, and files alone decide"),
            (None, false) => check.failing("they have not been listed yet"),
            (Some(why), false) if self.late => {
                check.degraded(format!("they have not been listed yet, and files alone decide: {why}"));
            }
            (Some(why), false) => check.failing(format!("they have not been listed yet: {why}")),
        }
    }
}

fn keyed(policy: Policy) -> (Box<str>, Policy) {
    (policy.object.name.clone(), policy)
}

/// So long a process waits for the first list before it serves without: one that may not list them must serve, too.
const LATE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::objects::Object;

    fn policy(name: &str, generation: i64) -> Policy {
        Policy {
            object: Object {
                name: name.into(),
                created: jiff::Timestamp::UNIX_EPOCH,
                generation,
                text: "{}".into(),
            },
            status: Status::default(),
        }
    }

    fn feed(health: &Health) -> Feed {
        Feed::new(Access::Kubeconfig("/nowhere/kubeconfig".into()), health)
    }

    #[track_caller]
    fn report(health: &Health, ready: bool, text: &str) {
        let report = health.report();
        assert_eq!(report.ready, ready, "{}", report.text);
        assert!(report.text.contains(text), "{}", report.text);
    }

    #[tokio::test]
    async fn it_is_ready_once_what_was_listed_is_in_use_and_stays_so_while_the_watch_is_broken() {
        let health = Health::default();
        let feed = feed(&health);
        report(&health, false, "they have not been listed yet\n");
        feed.event(Event::Broken("refused".to_owned()));
        report(&health, false, "not been listed yet: refused\n");
        feed.event(Event::Working);
        feed.event(Event::Listed(vec![policy("a", 1), policy("b", 1)]));
        report(&health, false, "they have not been listed yet\n");
        assert_eq!(feed.changed().await.len(), 2);
        feed.compiled();
        report(&health, true, "[+]policy-objects ok\n");
        feed.event(Event::Changed(vec![
            Change::Applied(policy("a", 2)),
            Change::Deleted(policy("b", 1)),
        ]));
        assert_eq!(feed.changed().await, [policy("a", 2)]);
        feed.event(Event::Broken("cut off".to_owned()));
        report(&health, true, "those of before: cut off\n");
        feed.event(Event::Working);
        report(&health, true, "[+]policy-objects ok\n");
    }

    #[tokio::test]
    async fn where_there_are_no_such_objects_it_is_ready_and_what_was_known_is_gone() {
        let health = Health::default();
        let feed = feed(&health);
        feed.event(Event::Missing("404".to_owned()));
        report(&health, true, "[+]policy-objects ok\n");
        feed.event(Event::Listed(vec![policy("a", 1)]));
        assert_eq!(feed.changed().await.len(), 1);
        feed.compiled();
        feed.event(Event::Missing("404".to_owned()));
        assert_eq!(feed.changed().await, []);
        report(&health, true, "[+]policy-objects ok\n");
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_may_not_list_them_is_ready_after_a_while() {
        let health = Health::default();
        let feed = feed(&health);
        let end = Duration::from_secs(9);
        let _ = tokio::time::timeout(end, feed.follow()).await;
        report(&health, false, "not been listed yet");
        let _ = tokio::time::timeout(LATE + end, feed.follow()).await;
        report(&health, true, "files alone decide: there is no kubeconfig");
    }
}
