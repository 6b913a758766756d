//! What is read again when it changes on disk, the last good state being kept.

use std::{convert::Infallible, sync::Arc, time::SystemTime};

use super::LOOK_EVERY;
use crate::{
    http::{
        health::{Check, Health, State},
        server::TlsConfigs,
    },
    metrics::Metrics,
    tls::{self, Tls, TlsError},
    watch::{Verdict, Watched, Watcher},
};

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
