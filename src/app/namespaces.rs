//! The Namespace watch, as the process has it: what it finds goes into the snapshot, how it fares into health and log.

use std::{convert::Infallible, sync::Arc};

use super::Current;
use crate::{
    cluster::{Access, AccessError, ApiServer, namespaces},
    http::health::{Check, Health},
    snapshot,
};

/// The watch, not begun.
pub(super) struct Namespaces {
    access: Access,
    server: ApiServer,
    found: Found,
}

impl Namespaces {
    /// From now on the snapshot knows no namespace, until the first list is complete.
    pub(super) async fn new(access: Access, current: Arc<Current>, health: &Health) -> Result<Self, AccessError> {
        let server = access.connect().await?;
        let check = health.add("namespaces", "they have not been listed yet");
        Ok(Self {
            found: Found::new(current, check, &server.url),
            access,
            server,
        })
    }

    /// Keeps the snapshot's namespaces as those of the cluster are.
    pub(super) async fn watch(self) -> Infallible {
        let Self {
            access,
            server,
            mut found,
        } = self;
        let mut first = Some(server.client);
        let connect = async || match first.take() {
            Some(client) => Ok(client),
            None => access.client().await,
        };
        let current = found.current.clone();
        namespaces::watch(connect, async || current.wanted().await, |event| found.event(event)).await
    }
}

/// Where what is found goes to.
struct Found {
    current: Arc<Current>,
    check: Check,
    server: String,
    listed: bool,
    /// Why the watch is broken, where it is.
    broken: Option<String>,
    /// Taken apart here, and not in the review that happens to be the last to use it.
    retired: Option<Arc<snapshot::Snapshot>>,
}

impl Found {
    fn new(current: Arc<Current>, check: Check, server: &str) -> Self {
        current.update(|snapshot| snapshot.namespaces = snapshot::Namespaces::watched());
        Self {
            current,
            check,
            server: server.to_owned(),
            listed: false,
            broken: None,
            retired: None,
        }
    }

    fn event(&mut self, event: namespaces::Event) {
        match event {
            namespaces::Event::Changed(namespaces) => {
                let count = namespaces.len();
                self.retired = Some(self.current.update(|snapshot| snapshot.namespaces = namespaces));
                if !self.listed {
                    self.listed = true;
                    tracing::info!(namespaces = count, server = self.server, "{count} namespaces are known");
                    self.check();
                }
            }
            namespaces::Event::Working => {
                if self.broken.take().is_some() {
                    tracing::info!(server = self.server, "the watch on namespaces works again");
                }
                self.check();
            }
            namespaces::Event::Broken(why) => {
                // Once: it may be tried for hours.
                if self.broken.is_none() {
                    tracing::warn!(
                        server = self.server,
                        "the watch on namespaces at {} is broken, and is tried again until it works: {why}",
                        self.server
                    );
                }
                self.broken = Some(why);
                self.check();
            }
        }
    }

    fn check(&self) {
        match &self.broken {
            None if self.listed => self.check.fine(),
            None => {}
            Some(why) if self.listed => self.check.degraded(format!(
                "the watch is broken, and labels are those of before; namespaces made since are unknown: {why}"
            )),
            Some(why) => self.check.failing(format!("they have not been listed yet: {why}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cluster::namespaces::Event, snapshot::Snapshot};

    #[test]
    fn it_is_ready_once_all_are_listed_and_stays_so_while_the_watch_is_broken() {
        let (current, health) = (Arc::new(Current::new(Snapshot::empty())), Health::default());
        let check = health.add("namespaces", "they have not been listed yet");
        let mut found = Found::new(current.clone(), check, "https://h");
        let report = |ready: bool, text: &str| {
            let report = health.report();
            assert_eq!(report.ready, ready, "{}", report.text);
            assert!(report.text.contains(text), "{}", report.text);
        };
        report(false, "they have not been listed yet\n");
        assert!(current.load().namespace_labels("a").is_none());
        found.event(Event::Broken("refused".to_owned()));
        report(false, "they have not been listed yet: refused\n");

        let mut namespaces = snapshot::Namespaces::watched();
        namespaces.insert("a", []);
        found.event(Event::Changed(namespaces));
        assert!(current.load().namespace_labels("a").is_some());
        report(true, "[+]namespaces degraded");
        found.event(Event::Working);
        report(true, "[+]namespaces ok\n");

        found.event(Event::Broken("refused".to_owned()));
        found.event(Event::Broken("cut off".to_owned()));
        report(true, "unknown: cut off\n");
        assert!(current.load().namespace_labels("a").is_some(), "what was known stays");
        found.event(Event::Working);
        report(true, "[+]namespaces ok\n");
    }
}
