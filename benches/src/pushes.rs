//! Pushes that are made up, and what it costs to find one of them.

use std::{
    hint::black_box,
    ops::Range,
    time::{Duration, Instant},
};

use waypost::{
    pushes::{Image, Index, Success},
    reference::Reference,
    registry::RegistrySpec,
    snapshot::{Registries, Snapshot, Trial},
};

/// An image, the registry that it was pushed into, and what is known of that.
pub type Push = (Image, &'static str, Success);

const REGISTRY: &str = "corp";

/// The registry that everything was pushed into.
pub fn registries() -> Registries {
    let mut trial = Trial::default();
    let spec = RegistrySpec {
        url: Some("registry.example.org/team".to_owned()),
        ..RegistrySpec::default()
    };
    trial.register(REGISTRY, &spec).expect("this is a registry");
    let mut snapshot = Snapshot::empty();
    trial.apply(&mut snapshot);
    snapshot.registries
}

/// The push of an image; none where it is no reference.
pub fn push(image: &str, number: u64) -> Option<Push> {
    let image = Image::parse(image).ok()?;
    let digest = format!("sha256:{:064x}", u128::from(number) * 0x9e37_79b9_7f4a_7c15);
    let success = Success {
        target: format!("registry.example.org/team/{image}").into(),
        digest: digest.into(),
        platforms: Vec::new(),
        children: Vec::new(),
        finished_at: "2026-01-31T12:00:00Z".parse().ok()?,
        sequence: number,
    };
    Some((image, REGISTRY, success))
}

/// As an index takes it.
pub fn change((image, registry, success): &Push) -> (&Image, &str, Option<&Success>) {
    (image, registry, Some(success))
}

/// Pushes of so many images.
pub fn made_up(numbers: Range<usize>) -> Vec<Push> {
    let image = |number: usize| format!("docker.io/org-{}/app-{}:{number}", number % 1_000, number % 10_000);
    numbers
        .filter_map(|number| push(&image(number), number as u64))
        .collect()
}

/// The index of these.
pub fn index_of(pushed: &[Push]) -> Index {
    Index::default().with(pushed.iter().map(change))
}

/// The index of so many.
pub fn index(count: usize) -> Index {
    index_of(&made_up(0..count))
}

/// What it costs.
pub struct Measured {
    /// To find an image that was pushed.
    pub look_up: Duration,
    /// To find one by its digest.
    pub by_digest: Duration,
    /// To find that an image was not pushed.
    pub nothing: Duration,
    /// To push another image, or one again.
    pub change: Duration,
    /// To make the index at once.
    pub building: Duration,
}

/// The shortest time that one of them took, in rounds that are short enough for nothing to come between, and each of others than the last.
fn shortest(texts: &[String], work: impl Fn(&str)) -> Duration {
    let mut best = Duration::MAX;
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(2) {
        for some in texts.chunks(500) {
            let repeat = 500 / some.len();
            let round = Instant::now();
            for _ in 0..repeat {
                some.iter().for_each(|text| work(text));
            }
            best = best.min(round.elapsed().div_f64((repeat * some.len()) as f64));
        }
    }
    best
}

/// Measures an index of so many.
pub fn measure(count: usize) -> Measured {
    let pushed = made_up(0..count);
    let started = Instant::now();
    let index = index_of(&pushed);
    let building = started.elapsed();
    // Spread over all of them, so that what is looked up is in no cache that it would not be in.
    let some: Vec<&Push> = pushed.iter().step_by((count / 100_000).max(1)).collect();
    let texts: Vec<String> = some.iter().map(|(image, ..)| image.to_string()).collect();
    let digests: Vec<String> = some
        .iter()
        .map(|(image, _, success)| format!("{image}@{}", success.digest))
        .collect();
    let others: Vec<String> = texts.iter().map(|text| format!("{text}-other")).collect();
    let find = |texts: &[String], expected: usize| {
        shortest(texts, |text| {
            let found = Reference::parse(text).map_or(0, |image| black_box(index.find(&image)).len());
            assert_eq!(found, expected);
        })
    };
    let (look_up, by_digest, nothing) = (find(&texts, 1), find(&digests, 1), find(&others, 0));
    let new = made_up(count..count + 500);
    let mut changed = index.clone();
    let started = Instant::now();
    for push in new.iter().chain(some.iter().copied().take(500)) {
        changed = changed.with([change(push)]);
    }
    let change = started.elapsed().div_f64((new.len() + some.len().min(500)) as f64);
    Measured {
        look_up,
        by_digest,
        nothing,
        change,
        building,
    }
}
