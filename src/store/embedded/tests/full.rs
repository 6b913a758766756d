//! The disk is full, or fails, and then it is not and does not.

use std::io;

use redb::StorageBackend;

use super::{
    super::{medium::Shared, *},
    faulty::{Faulty, Plan, Random},
    model::{Model, Step},
    open, runtime, seed,
};
use crate::{pushes::PushId, store::Pushes};

#[test]
fn a_full_disk_fails_the_change_and_nothing_else() {
    let seed = seed();
    let (mut full, mut unknown) = (0, 0);
    for number in 0..200 {
        let mut random = Random(seed + number);
        println!("{number} of the seed {seed}");
        let disk = super::made();
        let store = open(&disk).unwrap();
        let kind = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded][random.below(2)];
        runtime().block_on(async {
            let mut model = Model::default();
            for _ in 0..random.below(20) {
                model.make(&store, &Step::random(&mut random)).await.unwrap();
            }
            let long = 1 + random.below(12);
            let no_room = random.one_in(3);
            disk.plan(match no_room {
                true => Plan::NoRoom,
                false => Plan::Errors(random.below(100) as u64, kind, long as u64),
            });
            while disk.failed() == 0 || !(disk.is_well() || no_room && disk.failed() >= 4) {
                let step = Step::random(&mut random);
                let mut in_flight = None;
                match model.make(&store, &step).await {
                    Ok(()) => {}
                    Err(StoreError::Full(_)) => full += 1,
                    Err(StoreError::Unavailable(why)) => {
                        assert!(why.contains("is seen when it can be"), "{why}");
                        unknown += 1;
                        in_flight = Some(step);
                    }
                    Err(other) => panic!("{other}"),
                }
                // It goes on reading, credentials too.
                assert!(model.is_in_memory(&store).await);
                if in_flight.is_some() {
                    while !is_open(&store, &mut random).await {
                        assert!(model.is_in_memory(&store).await);
                    }
                    model.is_or_has(Model::of(&store).await, in_flight.as_ref());
                }
            }
            // There is room again.
            disk.plan(Plan::Nothing);
            for _ in 0..10 {
                model.make(&store, &Step::random(&mut random)).await.unwrap();
            }
            disk.lose_power(&mut random);
            drop(store);
            assert!(
                Model::of(&open(&disk).unwrap()).await == model,
                "after the power has gone"
            );
        });
    }
    println!("{full} times full, {unknown} times nobody knew whether it was made");
    assert!(full >= 200, "{full}");
}

#[test]
fn what_a_failed_sync_has_left_in_memory_loses_nothing_later() {
    let seed = seed();
    let mut failures = 0;
    for number in 0..300 {
        let mut random = Random(seed + number);
        println!("{number} of the seed {seed}");
        let disk = super::made();
        let store = open(&disk).unwrap();
        runtime().block_on(async {
            let mut model = Model::default();
            for _ in 0..random.below(10) {
                model.make(&store, &Step::random(&mut random)).await.unwrap();
            }
            disk.plan(Plan::Syncs(random.below(8) as u64, 1 + random.below(4) as u64));
            while disk.failed() == 0 || !disk.is_well() {
                let step = Step::random(&mut random);
                if model.make(&store, &step).await.is_err() {
                    failures += 1;
                    while !is_open(&store, &mut random).await {}
                    model.is_or_has(Model::of(&store).await, Some(&step));
                }
            }
            for _ in 0..random.below(3) {
                model.make(&store, &Step::random(&mut random)).await.unwrap();
            }
            disk.lose_power(&mut random);
            drop(store);
            assert!(Model::of(&open(&disk).unwrap()).await == model);
        });
    }
    assert!(failures > 150, "{failures}");
}

/// Whether it can be used again, which it is tried to be, by who writes or by who reads.
async fn is_open(store: &Embedded, random: &mut Random) -> bool {
    if random.one_in(2) {
        let refused = store.delete("nobody-has-it", None).await;
        return refused == Err(StoreError::NotFound("nobody-has-it".to_owned()));
    }
    let nobodys = PushId::parse(&format!("nobody-has-it.{:032x}", 0)).unwrap();
    store.push(&nobodys).await == Ok(None)
}

#[test]
fn what_a_failed_sync_has_left_in_memory_is_written_again() {
    let disk = Faulty::default();
    let medium = Medium::new(disk.clone());
    let database = Shared(medium.clone());
    let pages: Vec<u8> = (0..3 * 4096 + 100).map(|at| (at % 251) as u8).collect();
    database.write(0, &pages).unwrap();
    disk.plan(Plan::Syncs(0, 1));
    assert!(database.sync_data().is_err());
    medium.mend().unwrap();
    disk.lose_power(&mut Random(seed()));
    assert!(disk.bytes() == pages);
}
