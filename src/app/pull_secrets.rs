//! The managed pull secrets, as one process at a time keeps them: watches namespaces and Secrets, reads the registries' logins, and
//! writes what [`pull_secret`](crate::pull_secret) says.

mod queue;
mod sources;
mod world;

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use kube::{Api, Client};
use tokio::{
    sync::{Notify, mpsc, watch},
    time::{Instant, sleep, sleep_until},
};

use self::{
    sources::{Reading, Sources},
    world::{Meta, Task, World, Write},
};
use crate::{
    cluster::{
        Access, events, objects,
        pull_secrets::{self as cluster, PullSecretError},
        watch::{self as follow, Selection},
    },
    http::health::Check,
    metrics::{PullSecretMetrics, PullSecretState, PullSecretWrite},
    pull_secret::{Found, Plan, Served, Source, Step},
    store::Store,
};

/// The managed pull secrets of a cluster, for one process at a time.
pub struct PullSecrets {
    /// How the cluster is reached.
    pub access: Access,
    /// The name of the Secrets.
    pub name: String,
    /// Whose they are, as a label's value: of several Wayposts in a cluster each keeps its own.
    pub keeper: String,
    /// The configuration that says which namespaces the webhook serves; none for all but Kubernetes' own.
    pub webhook_configuration: Option<String>,
    /// Where the registries are.
    pub store: Arc<dyn Store>,
    /// Who tells Events.
    pub instance: String,
    /// What is counted.
    pub metrics: PullSecretMetrics,
    /// What is said of it. It never keeps the process from being ready.
    pub check: Check,
}

/// What the tasks of one term share.
struct Shared {
    world: Mutex<World>,
    news: Notify,
    /// The newest connection.
    client: Mutex<Option<Client>>,
}

/// Whoever does not keep them has nothing to say about them.
struct Term<'k>(&'k PullSecrets);

impl Drop for Term<'_> {
    fn drop(&mut self) {
        self.0.check.fine();
        for state in PullSecretState::ALL {
            self.0.metrics.set(state, 0);
        }
    }
}

/// What a plan is made of.
#[derive(Default)]
struct Parts {
    sources: Option<Vec<Source>>,
    problems: Vec<String>,
    served: Option<Served>,
    served_problem: Option<String>,
}

/// What became of a write.
enum Outcome {
    Written(Found),
    Deleted,
    /// It is like this instead.
    Conflict(Option<Found>),
    /// The namespace goes.
    Going,
    Failed(String),
}

impl PullSecrets {
    /// Keeps them until it is dropped. What is right is left alone, and so a new term begins without a write.
    pub async fn keep(&self) -> Infallible {
        let shared = Shared {
            world: Mutex::new(World::new(Instant::now())),
            news: Notify::new(),
            client: Mutex::new(None),
        };
        let _term = Term(self);
        let (parts, changed) = watch::channel(Parts::default());
        let (tell, told) = mpsc::channel(MOST_EVENTS);
        tokio::select! {
            never = self.watch_namespaces(&shared) => never,
            never = self.watch_secrets(&shared) => never,
            never = self.read_sources(&parts) => never,
            never = self.read_served(&shared, &parts) => never,
            never = self.tell(&shared, told) => never,
            never = self.write(&shared, changed, tell) => never,
        }
    }

    async fn connect(&self, shared: &Shared) -> Result<Client, String> {
        let client = self.access.client().await?;
        *lock(&shared.client) = Some(client.clone());
        Ok(client)
    }

    async fn watch_namespaces(&self, shared: &Shared) -> Infallible {
        let connect = async || Ok(Api::<Meta>::all(self.connect(shared).await?));
        let tell = |event| {
            lock(&shared.world).namespaces(event, Instant::now());
            shared.news.notify_one();
        };
        follow::follow(connect, Selection::all("namespaces"), follow::nobody, tell).await
    }

    async fn watch_secrets(&self, shared: &Shared) -> Infallible {
        let tell = |event| {
            lock(&shared.world).secrets(event, Instant::now());
            shared.news.notify_one();
        };
        cluster::follow(async || self.connect(shared).await, &self.name, &self.keeper, tell).await
    }

    async fn read_sources(&self, parts: &watch::Sender<Parts>) -> Infallible {
        let mut registries = self.store.registries();
        let mut sources = Sources::new(self.store.clone());
        loop {
            let known = registries.borrow_and_update().clone();
            let Reading {
                sources: read,
                problems,
                again,
            } = sources.read(&known).await;
            parts.send_if_modified(|parts| {
                for problem in &problems {
                    if !parts.problems.contains(problem) {
                        tracing::warn!("{problem}");
                    }
                }
                let changed = parts.sources.as_ref() != Some(&read) || parts.problems != problems;
                parts.problems = problems;
                parts.sources = Some(read);
                changed
            });
            let again = async {
                match again {
                    Some(pause) => sleep(pause).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = registries.changed() => if changed.is_err() {
                    // The store is gone: the process is about to end.
                    std::future::pending::<()>().await;
                },
                () = again => {}
            }
        }
    }

    async fn read_served(&self, shared: &Shared, parts: &watch::Sender<Parts>) -> Infallible {
        let Some(name) = &self.webhook_configuration else {
            parts.send_modify(|parts| parts.served = Some(Served::All));
            return std::future::pending().await;
        };
        let changed = Notify::new();
        let client = loop {
            if let Some(client) = lock(&shared.client).clone() {
                break client;
            }
            sleep(SOON).await;
        };
        let look = async {
            loop {
                let client = lock(&shared.client).clone().unwrap_or_else(|| client.clone());
                let (served, problem) = match objects::served(client, name).await {
                    Ok(Some(selectors)) => (Some(Served::Selected(selectors)), None),
                    Ok(None) => (None, Some(format!("there is no MutatingWebhookConfiguration {name}"))),
                    Err(error) => (None, Some(error.to_string())),
                };
                parts.send_if_modified(|parts| {
                    // What was known last counts while nothing is: a webhook that is taken out for an hour takes no credential away.
                    let served = served.or(parts.served.take()).or(Some(Served::Unknown));
                    let modified = parts.served != served || parts.served_problem != problem;
                    (parts.served, parts.served_problem) = (served, problem);
                    modified
                });
                tokio::select! {
                    () = sleep(LOOK_EVERY) => {}
                    () = changed.notified() => {}
                }
            }
        };
        tokio::select! {
            never = look => never,
            never = objects::changes(client.clone(), name, || changed.notify_one()) => never,
        }
    }

    async fn write(
        &self,
        shared: &Shared,
        mut parts: watch::Receiver<Parts>,
        tell: mpsc::Sender<events::Event>,
    ) -> Infallible {
        let mut running = FuturesUnordered::new();
        let mut said = Said::default();
        loop {
            let mut wait = None;
            while running.len() < AT_ONCE {
                let Some(client) = lock(&shared.client).clone() else {
                    break;
                };
                let task = lock(&shared.world).next(Instant::now());
                match task {
                    Task::Write(write) => {
                        running.push(take(cluster::PullSecrets::new(client, &self.name, &self.keeper), write));
                    }
                    Task::Tell(namespace, uid) => self.is_foreign(&namespace, uid, &tell),
                    Task::Wait(until) => {
                        wait = until;
                        break;
                    }
                }
            }
            self.report(shared, &parts.borrow(), &mut said);
            let wait = async {
                match wait {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some((write, outcome)) = running.next(), if !running.is_empty() => self.done(shared, &write, outcome),
                () = shared.news.notified() => {}
                () = wait => {}
                changed = parts.changed() => {
                    if changed.is_err() {
                        std::future::pending::<()>().await;
                    }
                    let parts = parts.borrow_and_update();
                    if let (Some(sources), Some(served)) = (&parts.sources, &parts.served) {
                        let plan = Plan::new(sources.clone(), served.clone(), cluster::digest);
                        lock(&shared.world).plan(plan, Instant::now());
                    }
                }
            }
        }
    }

    fn done(&self, shared: &Shared, write: &Write, outcome: Outcome) {
        let Write { namespace, step, .. } = write;
        let mut world = lock(&shared.world);
        let (found, result) = match outcome {
            Outcome::Written(found) if *step == Step::Create => (Some(Some(found)), PullSecretWrite::Created),
            Outcome::Written(found) => (Some(Some(found)), PullSecretWrite::Updated),
            // One that somebody's finalizer keeps is told of by the watch.
            Outcome::Deleted => (Some(None), PullSecretWrite::Deleted),
            Outcome::Conflict(found) => (Some(found), PullSecretWrite::Conflict),
            Outcome::Going => (None, PullSecretWrite::Conflict),
            Outcome::Failed(why) => {
                tracing::debug!(
                    namespace = &**namespace,
                    "the pull secret of {namespace} was not written: {why}"
                );
                world.failed(namespace, why);
                (None, PullSecretWrite::Failed)
            }
        };
        let result_is = result.as_str();
        tracing::debug!(namespace = &**namespace, "the pull secret of {namespace}: {result_is}");
        let failed = found.is_none();
        world.done(namespace, found, failed, super::jitter(), Instant::now());
        self.metrics.wrote(result);
    }

    fn is_foreign(&self, namespace: &str, uid: Box<str>, tell: &mpsc::Sender<events::Event>) {
        let name = &self.name;
        tracing::warn!(
            namespace,
            "the Secret {name} in {namespace} is not Waypost's, and stays as it is: Pods there have no credential of its"
        );
        let event = events::Event {
            namespace: namespace.to_owned(),
            api_version: "v1".to_owned(),
            kind: "Secret".to_owned(),
            name: name.clone(),
            uid: uid.into(),
            reason: "NotManaged",
            note: "Waypost would keep pull credentials for this namespace in a Secret of this name, and does not touch this one, which it has \
                 not made. Give it another name, and the managed one is made; or put your credentials into Waypost's registries.".to_owned(),
            warning: true,
            reporter: events::Reporter::PullSecrets,
        };
        // What there is no room for is in the log and in the health check.
        let _ = tell.try_send(event);
    }

    async fn tell(&self, shared: &Shared, mut events: mpsc::Receiver<events::Event>) -> Infallible {
        let mut failed = None;
        while let Some(event) = events.recv().await {
            let Some(client) = lock(&shared.client).clone() else {
                continue;
            };
            match events::create(client, &event, &self.instance).await {
                Ok(()) => failed = None,
                Err(why) => {
                    if failed.as_ref() != Some(&why) {
                        tracing::warn!(
                            "the Event on the Secret {} in {} was not made: {why}",
                            event.name,
                            event.namespace
                        );
                    }
                    failed = Some(why);
                }
            }
            sleep(BETWEEN_EVENTS).await;
        }
        std::future::pending().await
    }

    /// Says how it stands, where that is news.
    fn report(&self, shared: &Shared, parts: &Parts, said: &mut Said) {
        let world = lock(&shared.world);
        for state in PullSecretState::ALL {
            self.metrics.set(state, world.count(state));
        }
        let mut troubles = Vec::new();
        let undecided = parts.served == Some(Served::Unknown);
        if let Some(problem) = parts.served_problem.as_ref().filter(|_| undecided) {
            troubles.push(format!(
                "nothing is written while a registry is for all namespaces that the webhook serves, and nobody says which those are: \
                 {problem}; give the registry `namespaces`, or put the webhook's configuration back"
            ));
        }
        troubles.extend(world.troubles());
        troubles.extend(parts.problems.iter().cloned());
        let failing = world.count(PullSecretState::Failing);
        drop(world);
        if troubles.is_empty() {
            self.check.fine();
        } else {
            self.check.degraded(troubles.join("; "));
        }
        if (failing > 0) != said.failing {
            said.failing = failing > 0;
            if said.failing {
                tracing::warn!("pull secrets cannot be written: {}", troubles.join("; "));
            } else {
                tracing::info!("all pull secrets could be written");
            }
        }
        if undecided != said.undecided {
            said.undecided = undecided;
            if undecided {
                tracing::warn!("{}", troubles.join("; "));
            }
        }
    }
}

/// What was logged last, so that it is logged once.
#[derive(Default)]
struct Said {
    failing: bool,
    undecided: bool,
}

async fn take(secrets: cluster::PullSecrets, write: Write) -> (Write, Outcome) {
    let outcome = match attempt(&secrets, &write).await {
        Ok(outcome) => outcome,
        Err(PullSecretError::Conflict) => match secrets.get(&write.namespace).await {
            Ok(found) => Outcome::Conflict(found),
            Err(PullSecretError::Failed(why)) => Outcome::Failed(why),
            Err(PullSecretError::Conflict | PullSecretError::Going) => Outcome::Going,
        },
        Err(PullSecretError::Going) => Outcome::Going,
        Err(PullSecretError::Failed(why)) => Outcome::Failed(why),
    };
    (write, outcome)
}

async fn attempt(secrets: &cluster::PullSecrets, write: &Write) -> Result<Outcome, PullSecretError> {
    let Write {
        namespace,
        step,
        due,
        found,
    } = write;
    match (step, found) {
        (Step::Create, _) => {
            let found = secrets.create(namespace, &due.content(None)).await?;
            Ok(Outcome::Written(found))
        }
        (Step::Update, Some(found)) => {
            let content = if due.is_complete() {
                due.content(None)
            } else {
                let present = secrets.content(namespace, found).await?;
                due.content(Some(&present))
            };
            Ok(Outcome::Written(secrets.update(namespace, found, &content).await?))
        }
        (Step::Delete, Some(found)) => {
            secrets.delete(namespace, found).await?;
            Ok(Outcome::Deleted)
        }
        // There is nothing to be written.
        (Step::Nothing | Step::Foreign, _) | (Step::Update | Step::Delete, None) => {
            Ok(Outcome::Conflict(found.clone()))
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// So many writes are on their way at a time.
const AT_ONCE: usize = 8;

/// Others' Secrets that wait to be told of.
const MOST_EVENTS: usize = 256;

const BETWEEN_EVENTS: Duration = Duration::from_millis(100);

/// How often it is looked at which namespaces the webhook serves, beside the watch on it.
const LOOK_EVERY: Duration = Duration::from_secs(30);

const SOON: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests;
