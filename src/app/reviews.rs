//! Reviews, answered by the snapshot of the moment.

use std::{sync::Arc, time::Duration};

use super::{Current, Events, FirstUses};
use crate::{
    admission::{self, FirstUse, ImageEvent, Notice, Observer, ReviewOutcome, UnknownNamespace},
    decide::Outcome,
    http::webhook::{Rejection, Reviewed, Reviewer},
    metrics::{ImageKey, ImageLabels, Metrics},
    policy::PolicySet,
    review::Operation,
    snapshot::Snapshot,
};

/// Answers reviews by the snapshot of the moment, and counts them: what is put behind [`http::webhook::router`](crate::http::webhook::router).
pub struct Reviews {
    current: Arc<Current>,
    metrics: Arc<Metrics>,
    events: Option<Events>,
    first_uses: Option<FirstUses>,
}

impl Reviews {
    /// Whoever holds `current` may change the snapshot at any time; a review is answered by one of them from end to end.
    pub fn new(current: Arc<Current>, metrics: Arc<Metrics>) -> Self {
        Self {
            current,
            metrics,
            events: None,
            first_uses: None,
        }
    }

    /// The same, and owners of Pods are told what they should know.
    #[must_use]
    pub fn telling(mut self, events: Option<Events>) -> Self {
        self.events = events;
        self
    }

    /// The same, and what rules replicate is pushed.
    #[must_use]
    pub fn replicating(mut self, first_uses: FirstUses) -> Self {
        self.first_uses = Some(first_uses);
        self
    }

    /// `create namespace && create pod`: what the watch on namespaces is about to tell is waited for.
    async fn review_once_known(&self, body: &[u8], unknown: UnknownNamespace) -> Result<Vec<u8>, Rejection> {
        let UnknownNamespace { name, since } = unknown;
        let known = tokio::time::timeout(NAMESPACE_WAIT, self.current.known(&name)).await;
        tracing::debug!(namespace = &*name, known = known.is_ok(), "a namespace was waited for");
        admission::respond_since(since, &self.current.load(), body, self).map_err(Rejection::bad_request)
    }
}

impl Reviewer for Reviews {
    fn review<'a>(&'a self, body: &'a [u8]) -> Result<Reviewed<'a>, Rejection> {
        let answer = admission::respond_if_known(&self.current.load(), body, self).map_err(Rejection::bad_request)?;
        Ok(match answer {
            Ok(json) => Reviewed::Now(json),
            Err(unknown) => Reviewed::Later(Box::pin(self.review_once_known(body, unknown))),
        })
    }
}

impl Observer for Reviews {
    fn image(&self, snapshot: &Snapshot, image: ImageEvent) {
        let set: &PolicySet = &snapshot.policies;
        let key = ImageKey {
            generation: snapshot.generation,
            rule: image.rule.unwrap_or(u32::MAX),
            source: image.source,
            target: image.target,
            outcome: image.outcome as u8,
        };
        self.metrics.image(key, || ImageLabels {
            rule: image.rule.map_or("", |rule| set.rules()[rule as usize].id()),
            source: set.registry_name(image.source),
            target: set.registry_name(image.target),
            outcome: Outcome::as_str(image.outcome),
        });
    }

    fn review(&self, operation: Operation, outcome: ReviewOutcome, elapsed: Duration) {
        self.metrics.review(operation, outcome, elapsed);
        tracing::debug!(
            operation = operation.as_str(),
            outcome = outcome.as_str(),
            ?elapsed,
            "a review was answered"
        );
    }

    fn notice(&self, notice: Notice<'_>) {
        if let Some(events) = &self.events {
            events.leave(notice);
        }
    }

    fn first_use(&self, used: FirstUse<'_>) {
        if let Some(first_uses) = &self.first_uses {
            first_uses.leave(used);
        }
    }
}

/// How long a review waits for its namespace. The watch tells of a new one within milliseconds; the API server gives up after 2 s by default.
const NAMESPACE_WAIT: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests;
