//! The policies in use, those in files and those that are objects: compiled again whenever they change, the last good state being kept.

mod conditions;
mod feed;

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

pub(super) use self::{conditions::Conditions, feed::Feed};
use super::{Current, LOOK_EVERY};
use crate::{
    document::{Diagnostic, render},
    http::health::{Check, Health},
    metrics::Metrics,
    policy::{
        PolicySet,
        objects::{Base, Object, Objects, State, Verdict},
    },
    policy_source::PolicySource,
    snapshot::Snapshot,
    watch::{self, Watcher},
};

/// The policies in use, and the watches for newer ones.
pub(super) struct Policies {
    loaded: Arc<Mutex<Loaded>>,
    current: Arc<Current>,
    watcher: Watcher,
}

impl Policies {
    /// Reads the files for the first time.
    pub(super) fn load(
        mut source: PolicySource,
        namespaces_watched: bool,
        metrics: Arc<Metrics>,
        health: &Health,
    ) -> Result<Self, Vec<Diagnostic>> {
        let check = health.add("policies", "they have not been read yet");
        let watcher = Watcher::new(source.watched());
        let (base, reading) = source.read();
        let (set, mut diagnostics) = compile(&base, &reading);
        let Some(set) = set else { return Err(diagnostics) };
        source.may_be_absent &= !source.path.exists();
        if !namespaces_watched {
            warn_of_selectors(&set);
        }
        let snapshot = Snapshot::new(Arc::new(set), 1);
        metrics.set_policy_generation(snapshot.generation);
        log_warnings(&diagnostics);
        tracing::info!(
            rules = snapshot.policies.rules().len(),
            generation = 1,
            "{} rules are in use",
            snapshot.policies.rules().len()
        );
        check.fine();
        diagnostics.retain(|diagnostic| !diagnostic.is_error());
        let current = Arc::new(Current::new(snapshot));
        let loaded = Loaded {
            source,
            namespaces_watched,
            base,
            reading,
            objects: Objects::default(),
            current: current.clone(),
            metrics,
            check,
            warnings: diagnostics,
            broken_files: None,
            broken_objects: BTreeMap::new(),
            in_use: Vec::new(),
            retired: None,
        };
        Ok(Self {
            loaded: Arc::new(Mutex::new(loaded)),
            current,
            watcher,
        })
    }

    /// The snapshot of the moment.
    pub(super) fn current(&self) -> Arc<Current> {
        self.current.clone()
    }

    /// Compiles them again whenever they change: files, and objects where there is a feed of them.
    pub(super) async fn watch(self, feed: Option<Feed>) -> Infallible {
        let Self { loaded, watcher, .. } = self;
        let files = {
            let loaded = loaded.clone();
            watcher.run(LOOK_EVERY, move || {
                locked(&loaded).files_changed();
                watch::Verdict::Done
            })
        };
        let Some(feed) = feed else { return files.await };
        let objects = async {
            loop {
                let objects = feed.changed().await;
                let objects = objects.into_iter().map(|policy| policy.object).collect();
                let loaded = loaded.clone();
                let work = tokio::task::spawn_blocking(move || locked(&loaded).objects_changed(objects));
                match work.await {
                    Ok(()) => feed.compiled(),
                    Err(error) => {
                        tracing::error!("compiling the Policy objects failed, the last ones are kept: {error}")
                    }
                }
            }
        };
        tokio::select! {
            never = files => never,
            never = objects => never,
            never = feed.follow() => never,
        }
    }
}

/// What is in use, and all that is needed to compile it anew. Locked by whoever does, for as long as that takes; reviews never wait
/// for it.
struct Loaded {
    source: PolicySource,
    /// Whether the labels of namespaces are known.
    namespaces_watched: bool,
    /// The last files without errors, and the warnings of reading them.
    base: Base,
    reading: Vec<Diagnostic>,
    objects: Objects,
    current: Arc<Current>,
    metrics: Arc<Metrics>,
    check: Check,
    /// Said last, so that each is said once.
    warnings: Vec<Diagnostic>,
    broken_files: Option<String>,
    /// By name, with the generation and what is wrong with it.
    broken_objects: BTreeMap<Box<str>, (i64, String)>,
    /// The objects in use, by name and text.
    in_use: Vec<(Box<str>, Arc<str>)>,
    /// The last snapshot, so that it is taken apart here and not in the review that happens to be the last to use it.
    retired: Option<Arc<Snapshot>>,
}

impl Loaded {
    fn files_changed(&mut self) {
        let (base, reading) = self.source.read();
        let unreadable = reading.iter().any(Diagnostic::is_error);
        let together = (!unreadable).then(|| self.objects.compile(&base));
        match together {
            Some(together) if together.set.is_some() => {
                self.source.may_be_absent &= !self.source.path.exists();
                (self.base, self.reading) = (base, reading);
                self.broken_files = None;
                self.judged(&together.verdicts);
                if let Some(set) = together.set {
                    self.publish(set, together.diagnostics);
                }
            }
            _ => {
                let (_, diagnostics) = compile(&base, &reading);
                self.metrics.policy_reload_failed();
                let problems = render::text(&diagnostics, false);
                let kept = self.current.load().generation;
                tracing::error!(
                    generation = kept,
                    "the policies have changed and have errors; generation {kept} is kept:\n{problems}"
                );
                self.broken_files = Some(format!(
                    "the policies on disk have errors, generation {kept} is kept: {}",
                    first_error(&diagnostics)
                ));
            }
        }
        self.tell_health();
    }

    /// These are all objects that there are.
    fn objects_changed(&mut self, objects: Vec<Object>) {
        if !self.objects.replace(objects) {
            return;
        }
        let together = self.objects.compile(&self.base);
        self.judged(&together.verdicts);
        // The files compiled before.
        if let Some(set) = together.set
            && self.in_use != self.objects.in_use()
        {
            self.publish(set, together.diagnostics);
        }
        self.tell_health();
    }

    fn publish(&mut self, set: PolicySet, mut diagnostics: Vec<Diagnostic>) {
        diagnostics.splice(..0, self.reading.iter().cloned());
        if diagnostics != self.warnings {
            log_warnings(&diagnostics);
            self.warnings = diagnostics;
        }
        if !self.namespaces_watched {
            warn_of_selectors(&set);
        }
        let rules = set.rules().len();
        let mut generation = 0;
        self.retired = Some(self.current.update(|snapshot| {
            snapshot.policies = Arc::new(set);
            snapshot.generation += 1;
            generation = snapshot.generation;
        }));
        self.metrics.set_policy_generation(generation);
        self.in_use = self.objects.in_use();
        let objects = self.in_use.len();
        tracing::info!(
            rules,
            generation,
            objects,
            "the policies have changed: {rules} rules are in use now"
        );
    }

    /// Says of each version of an object once that it has errors.
    fn judged(&mut self, verdicts: &[Verdict]) {
        let mut broken = BTreeMap::new();
        for verdict in verdicts.iter().filter(|verdict| verdict.state != State::InUse) {
            let Verdict { name, generation, .. } = verdict;
            let instead = match verdict.state {
                State::Kept(kept) => format!("generation {kept} of it is kept"),
                _ => "it is left out".to_owned(),
            };
            let why = format!(
                "the Policy {name} has errors, {instead}: {}",
                first_error(&verdict.diagnostics)
            );
            let last = self.broken_objects.get(name);
            if last.is_none_or(|(told, last)| (told, last) != (generation, &why)) {
                self.metrics.policy_reload_failed();
                tracing::error!(
                    policy = %name,
                    object_generation = generation,
                    "the Policy {name} has errors; {instead}:\n{}",
                    render::text(&verdict.diagnostics, false)
                );
            }
            broken.insert(name.clone(), (*generation, why));
        }
        self.broken_objects = broken;
    }

    fn tell_health(&self) {
        let broken = self.broken_objects.values().map(|(_, why)| why.as_str());
        let all: Vec<&str> = self.broken_files.as_deref().into_iter().chain(broken).collect();
        match all.len() {
            0 => self.check.fine(),
            count if count <= TOLD => self.check.degraded(all.join("\n")),
            count => {
                let told = all[..TOLD].join("\n");
                self.check.degraded(format!("{told}\nand {} more", count - TOLD));
            }
        }
    }
}

/// The files alone, with what was wrong with reading them.
fn compile(base: &Base, reading: &[Diagnostic]) -> (Option<PolicySet>, Vec<Diagnostic>) {
    let mut compiled = base.compile();
    compiled.diagnostics.splice(..0, reading.iter().cloned());
    let unreadable = reading.iter().any(Diagnostic::is_error);
    (compiled.set.filter(|_| !unreadable), compiled.diagnostics)
}

/// What is under the lock is whole after each line: a panic leaves what was loaded before.
fn locked(loaded: &Mutex<Loaded>) -> MutexGuard<'_, Loaded> {
    loaded.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where namespaces are not watched, a rule that asks for their labels would be dead, or hold everywhere, without anybody knowing why.
fn warn_of_selectors(set: &PolicySet) {
    for rule in set.rules().iter().filter(|rule| rule.matching().selects_namespaces()) {
        tracing::warn!(
            rule = rule.id(),
            "the rule {} has a namespaceSelector, and namespaces are not watched: their labels count as none (--kubeconfig turns the \
             watch on)",
            rule.id()
        );
    }
}

fn log_warnings(diagnostics: &[Diagnostic]) {
    if !diagnostics.is_empty() {
        tracing::warn!("the policies have warnings:\n{}", render::text(diagnostics, false));
    }
}

fn first_error(diagnostics: &[Diagnostic]) -> String {
    let errors = diagnostics.iter().filter(|diagnostic| diagnostic.is_error()).count();
    let Some(first) = diagnostics.iter().find(|diagnostic| diagnostic.is_error()) else {
        return String::new();
    };
    // `waypost check` reads files alone.
    let object = first.source.starts_with(crate::policy::objects::PREFIX);
    let more = match errors - 1 {
        0 => String::new(),
        more if object => format!(" (and {more} more, all of them in the log)"),
        more => format!(" (and {more} more; `waypost check` shows all)"),
    };
    format!("{}: {}{more}", place(first), first.message)
}

/// A file with its line, an object with its key.
fn place(diagnostic: &Diagnostic) -> String {
    let source = &diagnostic.source;
    match &diagnostic.spot {
        Some(spot) => format!("{source}:{}:{}", spot.line, spot.column),
        None if diagnostic.path.is_root() => source.clone(),
        None => format!("{source}, at {}", diagnostic.path),
    }
}

/// So many things that are wrong are told in `/readyz?verbose`.
const TOLD: usize = 5;

#[cfg(test)]
mod tests;
