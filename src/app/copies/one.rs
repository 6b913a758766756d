//! One copy, from when it is taken up until it has ended.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::{
    LONG_REST, REST, Shared,
    plan::{NotMade, Plan, Trouble},
};
use crate::{
    app::jitter,
    metrics::PushMetrics,
    oci::copy::{Copied, Progress},
    pushes::{Copying, Event, Image, Origin, PushId, Record, What},
    store::{Copy, News, StoreError},
};

/// Makes a copy, where somebody waits for it still, and answers for how long it is left alone then.
pub(super) async fn make(shared: &Shared, id: &PushId) -> Duration {
    let (copy, copying) = match taken(shared, id).await {
        Ok(Some(taken)) => taken,
        Ok(None) => return REST,
        Err(_) => return LONG_REST,
    };
    let one = One {
        shared,
        id,
        image: copy.record.image.clone(),
        copying,
    };
    let begun = Instant::now();
    let (image, registry) = (&one.image, id.registry());
    tracing::info!(registry, push = %id, "{image} is copied into {registry}");
    match one.happened(vec![What::Begun]).await {
        Ok(Some(record)) if one.is_waited_for(&record) => {}
        Ok(_) => return one.is_left(),
        Err(_) => return LONG_REST,
    }
    let progress = Arc::new(Progress::new());
    let counted = Counted::new(&shared.metrics, registry, &progress);
    let ended = tokio::select! {
        ended = one.copied(&copy, &progress) => ended,
        () = one.is_gone() => None,
        () = one.keep(&progress, &counted) => None,
    };
    // Nobody has to keep it any longer.
    drop(copy);
    drop(counted);
    let Some(ended) = ended else {
        return one.is_left();
    };
    let mut whats = vec![come(&progress)];
    match &ended {
        Ok((target, copied)) => {
            let digest = &copied.digest;
            whats.push(What::Succeeded {
                target: target.as_str().into(),
                digest: digest.clone(),
            });
            // What is known of it already is better than nothing.
            if let Some(contents) = &copied.contents {
                whats.push(What::Inspected {
                    digest: digest.clone(),
                    platforms: contents.platforms.clone(),
                    children: contents.children.clone(),
                });
            }
        }
        Err(error) => whats.push(What::Failed { error: error.clone() }),
    }
    match one.happened(whats).await {
        // Somebody wants more of it meanwhile.
        Ok(Some(record)) if record.copying.is_some() => return one.is_left(),
        Ok(Some(_)) => {}
        Ok(None) => return one.is_left(),
        Err(_) => return LONG_REST,
    }
    let (sent, seconds) = (progress.sent(), begun.elapsed().as_secs_f64());
    match ended {
        Ok((target, copied)) => tracing::info!(
            registry,
            push = %id,
            digest = &*copied.digest,
            bytes_sent = sent,
            "{image} was copied to {target} in {seconds:.1} s: {} bytes, of which {sent} were sent",
            progress.total()
        ),
        Err(error) => {
            tracing::warn!(registry, push = %id, "{image} was not copied into {registry}: {error}");
            let news = News {
                warning: true,
                reason: "PushFailed",
                note: format!("{image} was not copied: {error}"),
            };
            shared.store.tell(registry, news).await;
        }
    }
    REST
}

struct One<'s> {
    shared: &'s Shared,
    id: &'s PushId,
    image: Image,
    copying: Copying,
}

/// As it is in the store, with all that came with it; none where nobody waits for it.
async fn taken(shared: &Shared, id: &PushId) -> Result<Option<(Copy, Copying)>, StoreError> {
    let mut patience = Patience::new(shared.pause);
    loop {
        match shared.store.copy(id).await {
            Ok(copy) => {
                let taken = copy.and_then(|copy| Some((copy.record.copying.clone()?, copy)));
                return Ok(taken.map(|(copying, copy)| (copy, copying)));
            }
            // It waits for its registry.
            Err(error @ StoreError::NotFound(_)) => return Err(error),
            Err(error) if patience.failures >= ATTEMPTS => return Err(error),
            Err(error) => {
                tracing::debug!(push = %id, "a copy that is due cannot be read yet: {error}");
                patience.wait().await;
            }
        }
    }
}

impl One<'_> {
    /// What comes of it; none where the registry is gone. What passes is waited for.
    async fn copied(&self, copy: &Copy, progress: &Arc<Progress>) -> Option<Result<(Image, Copied), Box<str>>> {
        let mut patience = Patience::new(self.shared.pause);
        loop {
            let plan = match Plan::of(self.shared, copy, &self.copying).await {
                Ok(plan) => plan,
                Err(Trouble::Gone) => return None,
                Err(Trouble::Passing(why)) if patience.failures < ATTEMPTS => {
                    tracing::debug!(push = %self.id, "a copy is tried again soon: {why}");
                    patience.wait().await;
                    continue;
                }
                Err(Trouble::Passing(why) | Trouble::Failed(why)) => return Some(Err(line(&why))),
            };
            let begun = Instant::now();
            match plan.run(self.shared, progress).await {
                Ok(copied) => return Some(Ok((plan.target, copied))),
                // What was issued for a while may have ended on the way: what is there already is not sent again.
                Err(NotMade { why, is_denied: true }) if begun.elapsed() >= A_WHILE => {
                    tracing::debug!(push = %self.id, "a copy goes on with other credentials: {why}");
                }
                Err(NotMade { why, .. }) => return Some(Err(line(&why))),
            }
        }
    }

    /// Waits until nobody waits for it any more.
    async fn is_gone(&self) {
        let mut copies = self.shared.store.copies();
        let mut patience = Patience::new(self.shared.pause);
        loop {
            let is_it = |copy: &crate::pushes::Wanted| copy.id == *self.id && copy.asked_at == self.copying.asked_at;
            if copies.wait_for(|all| !all.iter().any(is_it)).await.is_err() {
                // Whoever keeps them is gone with the process.
                return std::future::pending().await;
            }
            // What follows them may be behind.
            match self.shared.store.copy(self.id).await {
                Ok(Some(copy)) if self.is_waited_for(&copy.record) => patience.wait().await,
                Ok(_) | Err(StoreError::NotFound(_)) => return,
                Err(_) => patience.wait().await,
            }
        }
    }

    /// Keeps how far it has come, where that is news, until nobody waits for it any more.
    async fn keep(&self, progress: &Progress, counted: &Counted<'_>) {
        let mut ticks = interval(self.shared.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first is at once.
        ticks.tick().await;
        let mut kept = None;
        loop {
            ticks.tick().await;
            counted.count();
            let come = come(progress);
            if kept.as_ref() == Some(&come) || progress.total() == 0 {
                continue;
            }
            match self.shared.store.happened(vec![self.event(come.clone())]).await {
                Ok(records) if records.iter().all(|record| self.is_waited_for(record)) => kept = Some(come),
                Ok(_) | Err(StoreError::NotFound(_)) => return,
                Err(error) => tracing::debug!(push = %self.id, "how far it has come is not kept: {error}"),
            }
        }
    }

    /// Tells it until it is kept, and gives back what is known then; none where the registry is gone. What cannot be kept for minutes is told
    /// by whoever makes the copy next: it is not sent again.
    async fn happened(&self, whats: Vec<What>) -> Result<Option<Record>, StoreError> {
        let mut patience = Patience::new(self.shared.pause);
        let events: Vec<_> = whats.into_iter().map(|what| self.event(what)).collect();
        loop {
            match self.shared.store.happened(events.clone()).await {
                Ok(records) => return Ok(records.into_iter().next_back()),
                Err(StoreError::NotFound(_)) => return Ok(None),
                Err(error) if patience.failures >= TELLINGS => return Err(error),
                Err(error) => {
                    if patience.failures == 0 {
                        tracing::warn!(push = %self.id, "how a copy stands cannot be kept, which is tried again: {error}");
                    }
                    patience.wait().await;
                }
            }
        }
    }

    fn event(&self, what: What) -> Event {
        Event {
            image: self.image.clone(),
            registry: self.id.registry().into(),
            at: Timestamp::now(),
            origin: Origin::Copier(self.copying.asked_at),
            what,
        }
    }

    fn is_waited_for(&self, record: &Record) -> bool {
        record.copying.as_ref() == Some(&self.copying)
    }

    fn is_left(&self) -> Duration {
        let (image, registry) = (&self.image, self.id.registry());
        tracing::info!(registry, push = %self.id, "{image} is not copied into {registry} any more: nobody waits for it, or for more than that");
        REST
    }
}

fn come(progress: &Progress) -> What {
    What::Progress {
        total: progress.total(),
        done: progress.done(),
    }
}

/// Counts what is sent.
struct Counted<'c> {
    metrics: &'c PushMetrics,
    registry: &'c str,
    progress: &'c Progress,
    counted: AtomicU64,
}

impl<'c> Counted<'c> {
    fn new(metrics: &'c PushMetrics, registry: &'c str, progress: &'c Progress) -> Self {
        Self {
            metrics,
            registry,
            progress,
            counted: AtomicU64::new(0),
        }
    }

    fn count(&self) {
        let sent = self.progress.sent();
        let before = self.counted.swap(sent, Ordering::Relaxed);
        self.metrics.sent(self.registry, sent.saturating_sub(before));
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.count();
    }
}

/// How long it is waited between attempts.
struct Patience {
    pause: Duration,
    failures: u32,
}

impl Patience {
    fn new(pause: Duration) -> Self {
        Self { pause, failures: 0 }
    }

    async fn wait(&mut self) {
        let doubled = self.pause * (1 << self.failures.min(6));
        self.failures += 1;
        // Those that failed together do not come back together.
        sleep(doubled.mul_f64(0.75 + 0.5 * jitter())).await;
    }
}

/// One line that is not too long for anybody who keeps it.
fn line(text: &str) -> Box<str> {
    let mut line = String::with_capacity(text.len());
    for char in text.chars().take(LONGEST) {
        match char.is_control() {
            true => line.extend(char.escape_debug()),
            false => line.push(char),
        }
    }
    line.into()
}

/// Tokens live longer, when they are issued.
const A_WHILE: Duration = Duration::from_secs(300);

/// In a row, until the store keeps how a copy stands: some minutes.
const TELLINGS: u32 = 15;

/// In a row, for what stands in the way of a copy.
const ATTEMPTS: u32 = 5;

/// Characters.
const LONGEST: usize = 900;
