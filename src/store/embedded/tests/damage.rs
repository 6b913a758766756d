//! The file is not what was written.

use super::{
    super::*,
    faulty::{Faulty, Random},
    model::{Model, Step},
    open, runtime, seed,
};

#[test]
fn a_damaged_file_is_refused_or_read_as_it_was() {
    let seed = seed();
    let mut random = Random(seed);
    let disk = super::made();
    let store = open(&disk).unwrap();
    let model = runtime().block_on(async {
        let mut model = Model::default();
        for _ in 0..60 {
            model.make(&store, &Step::random(&mut random)).await.unwrap();
        }
        model
    });
    let running = disk.bytes();
    drop(store);
    let closed = disk.bytes();
    assert!(!model.is_empty());
    let (mut refused, mut read) = (0, 0);
    for number in 0..1_000 {
        let mut bytes = if random.one_in(2) { &running } else { &closed }.clone();
        // The first pages have more in them than the others.
        let length = if random.one_in(2) { 8192 } else { bytes.len() };
        let at = random.below(length.min(bytes.len()));
        let what = match random.below(5) {
            0 => {
                bytes[at] ^= 1 << random.below(8);
                "a bit"
            }
            1 => {
                bytes[at] = random.next() as u8;
                "a byte"
            }
            2 => {
                let page = at / 4096 * 4096;
                bytes[page..page + 4096].fill(0);
                "a page of zeros"
            }
            3 => {
                let end = bytes.len().min(at + 1 + random.below(64));
                bytes[at..end].iter_mut().for_each(|byte| *byte = random.next() as u8);
                "some bytes"
            }
            _ => {
                bytes.truncate(at);
                "an end"
            }
        };
        let damaged = Faulty::of(bytes.clone());
        match open(&damaged) {
            Ok(store) => {
                let found = runtime().block_on(Model::of(&store));
                assert!(found == model, "{what} at {at}: {number} of the seed {seed}");
                read += 1;
            }
            Err(OpenError::Damaged { .. } | OpenError::NotAStore(_)) => refused += 1,
            Err(other) => panic!("{what} at {at}: {number} of the seed {seed}: {other}"),
        }
    }
    println!("{refused} refused, {read} read as they were");
    assert!(refused > 100 && read > 100, "{refused} {read}");
}
