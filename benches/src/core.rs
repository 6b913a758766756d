//! The core alone: no HTTP, no TLS, no process.

use std::{
    collections::BTreeMap,
    hint::black_box,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use waypost::{
    admission::{self, ImageEvent, Observer, ReviewOutcome},
    decide::decide,
    document::Source,
    policy::{self, Context as Of, Input, PresetChoice, Settings},
    reference::Reference,
    review::{Operation, parse},
    snapshot::{NoLabels, Snapshot},
};

use crate::{pushes, rules};

/// Something to decide, again and again.
pub struct Core {
    snapshot: Snapshot,
    reviews: Vec<Vec<u8>>,
    images: Vec<String>,
}

impl Core {
    /// The reviews, and policies with so many rules.
    ///
    /// # Errors
    ///
    /// When the policies do not compile, or a review is none.
    pub fn new(rules: usize, reviews: Vec<Vec<u8>>) -> Result<Self> {
        let sources: Result<Vec<Source>, _> = rules::files(rules)
            .iter()
            .enumerate()
            .map(|(number, text)| Source::from_bytes(format!("{number}.yaml"), text.as_bytes()))
            .collect();
        let sources = sources.map_err(|diagnostic| anyhow::anyhow!("{}", diagnostic.message))?;
        let compiled = policy::compile(&Input {
            sources,
            presets: vec![PresetChoice {
                name: "exempt-operators".to_owned(),
                values: BTreeMap::new(),
            }],
            settings: Settings::default(),
        });
        let set = compiled.set.context("the policies do not compile")?;
        let mut images = Vec::new();
        for review in &reviews {
            let review = parse(review)?;
            let pod = review.object.context("a review has no object")?;
            images.extend(pod.slots.iter().map(|slot| slot.image.to_string()));
        }
        Ok(Self {
            snapshot: Snapshot::new(set.into(), 1),
            reviews,
            images,
        })
    }

    /// With this many images pushed besides, and the reviews' images themselves: to a registry that every namespace may pull from.
    pub fn push(&mut self, others: usize) {
        self.snapshot.registries = pushes::registries();
        self.snapshot.pushes = pushes::index(others);
        let own = self.images.iter().filter_map(|image| pushes::push(image, 0));
        let own: Vec<_> = own.collect();
        self.snapshot.pushes = self.snapshot.pushes.with(own.iter().map(pushes::change));
    }

    /// Reads and decides each image once; how many there were.
    pub fn decide(&self) -> usize {
        let context = Of {
            namespace: "default",
            namespace_labels: &NoLabels,
            pod_labels: &NoLabels,
        };
        for image in &self.images {
            if let Ok(reference) = Reference::parse(image) {
                black_box(decide(&self.snapshot, &context, &reference, None, false));
            }
        }
        self.images.len()
    }

    /// Answers each review once, from bytes to bytes; how many there were.
    pub fn respond(&self) -> usize {
        for review in &self.reviews {
            // Its reviews were read before.
            let _ = black_box(admission::respond(&self.snapshot, review, &Nobody));
        }
        self.reviews.len()
    }
}

/// The shortest time that one of `work`'s things took, over a second or so: what disturbs only ever adds.
pub fn time(work: impl Fn() -> usize) -> Duration {
    let mut best = Duration::MAX;
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(1) {
        let round = Instant::now();
        let mut things = 0;
        for _ in 0..100 {
            things += work();
        }
        best = best.min(round.elapsed().div_f64(things as f64));
    }
    best
}

struct Nobody;

impl Observer for Nobody {
    fn image(&self, _: &Snapshot, _: ImageEvent) {}
    fn review(&self, _: Operation, _: ReviewOutcome, _: Duration) {}
}
