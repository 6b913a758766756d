//! What is read again when it changes on disk, the last good state being kept.

use std::{convert::Infallible, sync::Arc, time::SystemTime};

use super::{Current, LOOK_EVERY};
use crate::{
    document::{Diagnostic, render},
    http::{
        health::{Check, Health, State},
        server::TlsConfigs,
    },
    metrics::Metrics,
    policy::{Compiled, PolicySet},
    policy_source::PolicySource,
    snapshot::Snapshot,
    tls::{self, Tls, TlsError},
    watch::{Verdict, Watched, Watcher},
};

/// The policies in use, and the watch for newer ones.
pub(super) struct Policies {
    source: PolicySource,
    /// Whether the labels of namespaces are known.
    namespaces_watched: bool,
    watcher: Watcher,
    current: Arc<Current>,
    metrics: Arc<Metrics>,
    check: Check,
}

impl Policies {
    /// Reads them for the first time.
    pub(super) fn load(
        mut source: PolicySource,
        namespaces_watched: bool,
        metrics: Arc<Metrics>,
        health: &Health,
    ) -> Result<Self, Vec<Diagnostic>> {
        let check = health.add("policies", "they have not been read yet");
        let watcher = Watcher::new(source.watched());
        let Compiled { set, diagnostics } = source.compile();
        let Some(set) = set else { return Err(diagnostics) };
        source.may_be_absent &= !source.path.exists();
        log_warnings(&diagnostics);
        if !namespaces_watched {
            warn_of_selectors(&set);
        }
        let snapshot = Snapshot::new(Arc::new(set), 1);
        metrics.set_policy_generation(snapshot.generation);
        tracing::info!(
            rules = snapshot.policies.rules().len(),
            generation = 1,
            "{} rules are in use",
            snapshot.policies.rules().len()
        );
        check.fine();
        Ok(Self {
            source,
            namespaces_watched,
            watcher,
            current: Arc::new(Current::new(snapshot)),
            metrics,
            check,
        })
    }

    /// The snapshot of the moment.
    pub(super) fn current(&self) -> Arc<Current> {
        self.current.clone()
    }

    /// Reads them again whenever they change.
    pub(super) async fn watch(self) -> Infallible {
        let Self {
            mut source,
            namespaces_watched,
            watcher,
            current,
            metrics,
            check,
        } = self;
        // The last set but one, so that it is taken apart here and not in the review that happens to be the last to use it.
        let mut retired = None;
        let reload = move || {
            let Compiled { set, diagnostics } = source.compile();
            match set {
                Some(set) => {
                    log_warnings(&diagnostics);
                    if !namespaces_watched {
                        warn_of_selectors(&set);
                    }
                    source.may_be_absent &= !source.path.exists();
                    let rules = set.rules().len();
                    let mut generation = 0;
                    retired = Some(current.update(|snapshot| {
                        snapshot.policies = Arc::new(set);
                        snapshot.generation += 1;
                        generation = snapshot.generation;
                    }));
                    metrics.set_policy_generation(generation);
                    check.fine();
                    tracing::info!(
                        rules,
                        generation,
                        "the policies have changed: {rules} rules are in use now"
                    );
                }
                None => {
                    metrics.policy_reload_failed();
                    let problems = render::text(&diagnostics, false);
                    let kept = current.load().generation;
                    tracing::error!(
                        generation = kept,
                        "the policies have changed and have errors; generation {kept} is kept:\n{problems}"
                    );
                    check.degraded(format!(
                        "the policies on disk have errors, generation {kept} is kept: {}",
                        first_error(&diagnostics)
                    ));
                }
            }
            let _ = &retired;
            Verdict::Done
        };
        watcher.run(LOOK_EVERY, reload).await
    }
}

/// The certificate in use, and the watch for a newer one.
pub(super) struct Certificate {
    tls: Arc<Tls>,
    watcher: Watcher,
    metrics: Arc<Metrics>,
    check: Check,
}

impl Certificate {
    /// Reads it for the first time.
    pub(super) fn load(source: tls::Source, metrics: Arc<Metrics>, health: &Health) -> Result<Self, TlsError> {
        let check = health.add("certificate", "it has not been read yet");
        // Made before the first load, so that a change between the two is noticed.
        let files = source.files();
        let watcher = Watcher::new(files.into_iter().fold(Watched::default(), Watched::file));
        let tls = Arc::new(Tls::load(source, SystemTime::now())?);
        metrics.set_certificate_expiry(tls.not_after());
        check.fine();
        let serving = tls.clone();
        health.add_computed("certificate-validity", move || {
            let not_after = serving.not_after();
            if jiff::Timestamp::now() > not_after {
                State::Failing(format!("it expired at {not_after:.0}"))
            } else {
                State::Fine
            }
        });
        Ok(Self {
            tls,
            watcher,
            metrics,
            check,
        })
    }

    /// What is served, for whoever has to know.
    pub(super) fn tls(&self) -> Arc<Tls> {
        self.tls.clone()
    }

    /// Gives each connection the configuration of the moment.
    pub(super) fn configs(&self) -> TlsConfigs {
        let tls = self.tls.clone();
        Arc::new(move || tls.config())
    }

    /// Reads it again whenever it changes.
    pub(super) async fn watch(self) -> Infallible {
        let Self {
            tls,
            watcher,
            metrics,
            check,
        } = self;
        let mut told = None;
        let reload = move || match tls.reload(SystemTime::now()) {
            Ok(reload) => {
                if reload == tls::Reload::Replaced {
                    metrics.set_certificate_expiry(tls.not_after());
                    tracing::info!(not_after = %tls.not_after(), "the certificate has changed: the new one is valid until {:.0}", tls.not_after());
                }
                check.fine();
                told = None;
                Verdict::Done
            }
            // Half of a pair, perhaps: the other half may be written within the same tick, and change nothing that could be seen.
            Err(error) => {
                let message = error.to_string();
                if told.as_ref() != Some(&message) {
                    tracing::error!(
                        "the certificate has changed and cannot be used, the last good one is kept: {message}"
                    );
                    check.degraded(format!("the last good certificate is kept: {message}"));
                    told = Some(message);
                }
                Verdict::Again
            }
        };
        watcher.run(LOOK_EVERY, reload).await
    }
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
    let line = first
        .spot
        .as_ref()
        .map_or(String::new(), |spot| format!(":{}:{}", spot.line, spot.column));
    let more = if errors > 1 {
        format!(" (and {} more; `waypost check` shows all)", errors - 1)
    } else {
        String::new()
    };
    format!("{}{line}: {}{more}", first.source, first.message)
}
