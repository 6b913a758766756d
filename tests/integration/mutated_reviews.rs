//! Whatever a review looks like, its answer is well formed, its patch applies, and the patched Pod is left alone.
//!
//! Reviews that an API server sent are changed at random, as trees of JSON and as bytes, and sent through the webhook's
//! router as `serve` has it. The random numbers are the same in every run; a failure prints its review.

mod mutator;
mod oracle;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use self::mutator::Mutator;
use self::oracle::Oracle;

const REVIEWS: usize = 100_000;

/// Reviews that share a sequence of random numbers.
const CHUNK: usize = 1_000;

#[test]
fn hundred_thousand_mutated_reviews_are_answered_well_and_their_patches_apply_and_are_final() {
    let oracle = Oracle::new();
    let next = AtomicUsize::new(0);
    let work = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let mut verdicts = BTreeMap::new();
        loop {
            let chunk = next.fetch_add(1, Ordering::Relaxed);
            if chunk >= REVIEWS / CHUNK {
                return verdicts;
            }
            let mut mutator = Mutator::new(chunk as u64);
            for _ in 0..CHUNK {
                let body = mutator.review();
                let verdict = runtime
                    .block_on(oracle.examine(&body))
                    .unwrap_or_else(|why| panic!("{why}\n\nin chunk {chunk}, of\n{}", String::from_utf8_lossy(&body)));
                *verdicts.entry(verdict).or_insert(0) += 1;
            }
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let mut verdicts: BTreeMap<&str, usize> = BTreeMap::new();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            let counted = worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            for (verdict, count) in counted {
                *verdicts.entry(verdict).or_default() += count;
            }
        }
    });
    println!("{verdicts:#?}");
    for line in oracle.metrics().lines().filter(|line| {
        line.starts_with("waypost_reviews_total") && !line.ends_with(" 0") || line.starts_with("waypost_images_total")
    }) {
        println!("{line}");
    }
    assert_eq!(verdicts.values().sum::<usize>(), REVIEWS);
    // A mutator that breaks everything, or nothing, would prove little.
    let count = |verdict: &str| verdicts.get(verdict).copied().unwrap_or_default();
    assert!(
        REVIEWS - count("refused") > REVIEWS / 2,
        "fewer than half are reviews still"
    );
    for verdict in ["patched", "unchanged", "denied", "refused"] {
        assert!(count(verdict) > REVIEWS / 200, "hardly any is {verdict}");
    }
}
