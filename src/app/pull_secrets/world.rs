//! What is known of namespaces and of their pull secrets, and what follows from it.

use std::{collections::BTreeMap, sync::Arc};

use hashbrown::{HashMap, HashSet};
use k8s_openapi::api::core::v1::Namespace as NamespaceObject;
use kube::{Resource, core::PartialObjectMeta};
use tokio::time::Instant;

use super::queue::{Queue, Urgency};
use crate::{
    cluster::{
        pull_secrets::Slip,
        watch::{Change, Event},
    },
    metrics::PullSecretState as State,
    pull_secret::{Due, Found, Plan, Step, next},
};

pub(super) type Meta = PartialObjectMeta<NamespaceObject>;

/// One process's view of a cluster.
pub(super) struct World {
    namespaces: HashMap<Arc<str>, Namespace>,
    secrets: HashMap<Arc<str>, Found>,
    plan: Option<Plan>,
    queue: Queue,
    namespaces_are: Watched,
    secrets_are: Watched,
    states: HashMap<Arc<str>, State>,
    counts: [usize; State::ALL.len()],
    /// The last that failed, and why.
    failure: Option<(Arc<str>, String)>,
    /// The uids of others' Secrets that were told of.
    told: HashSet<Box<str>>,
    /// Where a Secret went, or everything was listed, while something was written: what the write answers may be of before.
    disturbed: HashSet<Arc<str>>,
}

/// How a watch fares.
#[derive(Default)]
struct Watched {
    listed: bool,
    broken: Option<String>,
}

struct Namespace {
    labels: BTreeMap<String, String>,
    terminating: bool,
}

/// What is to be written.
pub(super) struct Write {
    pub(super) namespace: Arc<str>,
    pub(super) step: Step,
    pub(super) due: Arc<Due>,
    pub(super) found: Option<Found>,
}

/// What there is to do.
pub(super) enum Task {
    /// This.
    Write(Write),
    /// Tell that somebody else's Secret has the name, which is of this uid.
    Tell(Arc<str>, Box<str>),
    /// Nothing before this moment, where one is known.
    Wait(Option<Instant>),
}

impl World {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            namespaces: HashMap::new(),
            secrets: HashMap::new(),
            plan: None,
            queue: Queue::new(now),
            namespaces_are: Watched::default(),
            secrets_are: Watched::default(),
            states: HashMap::new(),
            counts: [0; State::ALL.len()],
            failure: None,
            told: HashSet::new(),
            disturbed: HashSet::new(),
        }
    }

    /// From now on this is due.
    pub(super) fn plan(&mut self, plan: Plan, now: Instant) {
        self.plan = Some(plan);
        for namespace in self.namespaces.keys() {
            self.queue.add(namespace, Urgency::Bulk, now);
        }
    }

    pub(super) fn namespaces(&mut self, event: Event<Meta>, now: Instant) {
        match event {
            Event::Listed(objects) => {
                let first = !std::mem::replace(&mut self.namespaces_are.listed, true);
                let urgency = if first { Urgency::Bulk } else { Urgency::Urgent };
                let present: HashSet<&str> = objects
                    .iter()
                    .filter_map(|object| object.metadata.name.as_deref())
                    .collect();
                let gone = self.namespaces.keys().filter(|name| !present.contains(&***name));
                for name in gone.cloned().collect::<Vec<_>>() {
                    self.remove(&name);
                }
                for object in &objects {
                    self.insert(object, urgency, now);
                }
            }
            Event::Changed(changes) => {
                for change in changes {
                    match change {
                        Change::Applied(object) => self.insert(&object, Urgency::Urgent, now),
                        Change::Deleted(object) => self.remove(object.metadata.name.as_deref().unwrap_or_default()),
                    }
                }
            }
            Event::Working => self.namespaces_are.broken = None,
            Event::Broken(why) | Event::Missing(why) => self.namespaces_are.broken = Some(why),
        }
    }

    pub(super) fn secrets(&mut self, event: Event<Slip>, now: Instant) {
        match event {
            Event::Listed(slips) => {
                self.secrets_are.listed = true;
                self.disturbed.extend(self.queue.busy().cloned());
                let mut listed: HashMap<Arc<str>, Found> = HashMap::with_capacity(slips.len());
                for slip in slips {
                    if let Some(namespace) = &slip.meta().namespace {
                        listed.insert(namespace.as_str().into(), slip.found);
                    }
                }
                let before = std::mem::replace(&mut self.secrets, listed);
                for (namespace, found) in &self.secrets {
                    if before.get(namespace) != Some(found) {
                        self.queue.add(namespace, Urgency::Bulk, now);
                    }
                }
                for namespace in before.keys() {
                    if !self.secrets.contains_key(namespace) {
                        self.queue.add(namespace, Urgency::Bulk, now);
                    }
                }
            }
            Event::Changed(changes) => {
                for change in changes {
                    let (slip, present) = match change {
                        Change::Applied(slip) => (slip, true),
                        Change::Deleted(slip) => (slip, false),
                    };
                    if let Some(namespace) = &slip.meta().namespace {
                        let namespace: Arc<str> = namespace.as_str().into();
                        self.seen(&namespace, slip.found, present, now);
                    }
                }
            }
            Event::Working => self.secrets_are.broken = None,
            Event::Broken(why) | Event::Missing(why) => self.secrets_are.broken = Some(why),
        }
    }

    /// A Secret is like this, or was when it was deleted. What is older than what is known says nothing.
    fn seen(&mut self, namespace: &Arc<str>, found: Found, present: bool, now: Instant) {
        if self.secrets.get(namespace).is_some_and(|known| is_older(&found, known)) {
            return;
        }
        if present {
            self.secrets.insert(namespace.clone(), found);
        } else {
            self.secrets.remove(namespace);
            if self.queue.is_busy(namespace) {
                self.disturbed.insert(namespace.clone());
            }
        }
        self.queue.add(namespace, Urgency::Urgent, now);
    }

    /// A write is done, and it was found like this; or nothing was found out.
    pub(super) fn done(
        &mut self,
        namespace: &Arc<str>,
        found: Option<Option<Found>>,
        failed: bool,
        jitter: f64,
        now: Instant,
    ) {
        let disturbed = self.disturbed.remove(namespace);
        match found.filter(|_| !disturbed) {
            Some(Some(found)) if self.secrets.get(namespace).is_none_or(|known| !is_older(&found, known)) => {
                self.secrets.insert(namespace.clone(), found);
            }
            Some(None) => {
                self.secrets.remove(namespace);
            }
            Some(Some(_)) | None => {}
        }
        self.queue.done(namespace, failed, jitter, now);
    }

    /// It could not be written, for this reason.
    pub(super) fn failed(&mut self, namespace: &Arc<str>, why: String) {
        self.failure = Some((namespace.clone(), why));
        self.put(namespace, Some(State::Failing));
    }

    /// What there is to do at this moment. A write that is given out is to be [`done`](Self::done).
    pub(super) fn next(&mut self, now: Instant) -> Task {
        if !(self.namespaces_are.listed && self.secrets_are.listed) {
            return Task::Wait(None);
        }
        while self.plan.as_ref().is_some_and(Plan::is_decided) {
            let Some((namespace, urgency)) = self.queue.next(now) else {
                break;
            };
            let Some((step, due)) = self.step(&namespace) else {
                self.queue.forget(&namespace);
                continue;
            };
            match step {
                Step::Nothing => {
                    let state = due.is_worth_making().then_some(State::Present);
                    self.put(&namespace, state.filter(|_| self.secrets.contains_key(&namespace)));
                }
                Step::Foreign => {
                    self.put(&namespace, Some(State::Foreign));
                    let uid = self.secrets.get(&namespace).map(|found| found.uid.clone());
                    if let Some(uid) = uid.filter(|uid| !self.told.contains(uid)) {
                        if self.told.len() >= MOST_TOLD {
                            self.told.clear();
                        }
                        self.told.insert(uid.clone());
                        return Task::Tell(namespace, uid);
                    }
                }
                Step::Create | Step::Update | Step::Delete => {
                    if let Err(pause) = self.queue.may_write(&namespace, urgency, now) {
                        return Task::Wait(Some(now + pause));
                    }
                    if self.states.get(&namespace) != Some(&State::Failing) {
                        self.put(&namespace, (!due.is_nothing()).then_some(State::Pending));
                    }
                    let found = self.secrets.get(&namespace).cloned();
                    return Task::Write(Write {
                        namespace,
                        step,
                        due,
                        found,
                    });
                }
            }
        }
        Task::Wait(self.queue.due())
    }

    /// How many namespaces are in this state.
    pub(super) fn count(&self, state: State) -> usize {
        self.counts[state as usize]
    }

    /// What is wrong, in sentences.
    pub(super) fn troubles(&self) -> Vec<String> {
        let mut troubles = Vec::new();
        for (what, watched) in [
            ("namespaces", &self.namespaces_are),
            ("pull secrets", &self.secrets_are),
        ] {
            match &watched.broken {
                Some(why) => troubles.push(format!("changes of {what} may be missed: {why}")),
                None if !watched.listed => troubles.push(format!("the {what} have not been listed yet")),
                None => {}
            }
        }
        let failing = self.count(State::Failing);
        if let Some((namespace, why)) = self.failure.as_ref().filter(|_| failing > 0) {
            troubles.push(format!(
                "{failing} pull secrets cannot be written, and are tried again; that of {namespace}: {why}"
            ));
        }
        let count = self.count(State::Foreign);
        if count > 0 {
            let foreign = self.states.iter().filter(|(_, state)| **state == State::Foreign);
            let mut foreign: Vec<&str> = foreign.map(|(namespace, _)| &**namespace).collect();
            foreign.sort_unstable();
            foreign.truncate(3);
            troubles.push(format!(
                "in {count} namespaces somebody else's Secret has the name, and stays as it is: {}{}",
                foreign.join(", "),
                if count > 3 { ", …" } else { "" }
            ));
        }
        troubles
    }

    /// Nothing where it is not known that there is such a namespace.
    fn step(&mut self, namespace: &Arc<str>) -> Option<(Step, Arc<Due>)> {
        let Namespace { labels, terminating } = self.namespaces.get(namespace)?;
        let due = self.plan.as_mut()?.due(namespace, labels);
        let step = next(&due, self.secrets.get(namespace), *terminating);
        Some((step, due))
    }

    fn insert(&mut self, object: &Meta, urgency: Urgency, now: Instant) {
        let Some(name) = &object.metadata.name else { return };
        let new = Namespace {
            labels: object.metadata.labels.clone().unwrap_or_default(),
            terminating: object.metadata.deletion_timestamp.is_some(),
        };
        let known = self.namespaces.get_key_value(name.as_str());
        if known.is_some_and(|(_, known)| known.labels == new.labels && known.terminating == new.terminating) {
            return;
        }
        let name = known.map_or_else(|| name.as_str().into(), |(name, _)| name.clone());
        self.queue.add(&name, urgency, now);
        self.namespaces.insert(name, new);
    }

    fn remove(&mut self, name: &str) {
        if let Some((name, _)) = self.namespaces.remove_entry(name) {
            self.queue.forget(&name);
            self.put(&name, None);
        }
    }

    fn put(&mut self, namespace: &Arc<str>, state: Option<State>) {
        let before = match state {
            Some(state) => {
                self.counts[state as usize] += 1;
                self.states.insert(namespace.clone(), state)
            }
            None => self.states.remove(namespace),
        };
        if let Some(before) = before {
            self.counts[before as usize] -= 1;
        }
    }
}

/// By the version, which is a number that grows.
fn is_older(found: &Found, known: &Found) -> bool {
    match (found.version.parse::<u64>(), known.version.parse::<u64>()) {
        (Ok(found), Ok(known)) => found < known,
        _ => false,
    }
}

const MOST_TOLD: usize = 20_000;
