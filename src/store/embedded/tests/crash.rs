//! The power goes at any moment, and takes any part of what was not synced.

use super::{
    super::*,
    clock,
    faulty::{Faulty, Plan, Random},
    model::{Model, Step, draft},
    open, runtime, seed,
};
use crate::{
    pushes::{Event, Image, Origin, PushId, What},
    store::Pushes,
};

#[test]
fn no_acknowledged_change_is_lost_wherever_the_power_goes() {
    let seed = seed();
    let (mut crashes, mut while_opening, mut changes, mut survived, mut pushes, mut copies) = (0, 0, 0, 0, 0, 0);
    for run in 0..20 {
        let mut random = Random(seed + run);
        println!("run {run} of the seed {seed}");
        let disk = super::made();
        let mut model = Model::default();
        let mut in_flight: Option<Step> = None;
        for _ in 0..60 {
            // Some crashes are in the midst of what is done after a crash.
            if random.one_in(4) {
                disk.plan(Plan::Crash(random.below(30) as u64));
            }
            let Ok(store) = open(&disk) else {
                assert!(disk.failed() > 0, "it opens again");
                disk.lose_power(&mut random);
                crashes += 1;
                while_opening += 1;
                continue;
            };
            runtime().block_on(async {
                let before = model.clone();
                model.is_or_has(Model::of(&store).await, in_flight.take().as_ref());
                survived += usize::from(model != before);
                disk.plan(Plan::Crash(random.below(120) as u64));
                loop {
                    let step = Step::random(&mut random);
                    match model.make(&store, &step).await {
                        Ok(()) => changes += 1,
                        Err(error) => {
                            assert!(disk.failed() > 0, "{error}");
                            in_flight = Some(step);
                            break;
                        }
                    }
                    assert!(model.is_in_memory(&store).await);
                    if random.one_in(8) {
                        // The file is read, too.
                        assert!(Model::of(&store).await == model);
                    }
                }
                pushes += model.pushes();
                copies += model.copies();
            });
            drop(store);
            disk.lose_power(&mut random);
            crashes += 1;
        }
    }
    println!(
        "{crashes} crashes, {while_opening} of them while opening; {changes} changes acknowledged; {survived} that were not had been made; {} push records on average, and {copies} copies in all",
        pushes / crashes
    );
    assert!(crashes >= 1_000, "{crashes}");
    assert!(pushes > 5 * crashes && copies > crashes, "{pushes} {copies}");
    assert!(while_opening > 50 && survived > 20, "{while_opening} {survived}");
}

#[test]
fn the_next_start_makes_up_for_an_interrupted_first_one() {
    let seed = seed();
    let mut random = Random(seed);
    for number in 0..100 {
        // What is done to a new file until it has its name.
        let disk = Faulty::default();
        disk.plan(Plan::Crash(random.below(12) as u64));
        let made = super::home(&disk);
        disk.lose_power(&mut random);
        if made.is_ok() {
            let store = open(&disk).unwrap_or_else(|error| panic!("{number} of the seed {seed}: {error}"));
            assert!(runtime().block_on(Model::of(&store)).is_empty());
        }
    }
}

#[test]
fn what_makes_room_goes_by_the_commit_that_needs_it() {
    let seed = seed();
    let (mut crashes, mut pushes) = (0, 0);
    for run in 0..20 {
        let mut random = Random(seed + run);
        println!("run {run} of the seed {seed}");
        let disk = super::made();
        let mut before = Model::default();
        let mut in_flight: Option<PushId> = None;
        for _ in 0..8 {
            let store = Embedded::on(Medium::new(disk.clone()), String::new(), clock(), MOST).unwrap();
            runtime().block_on(async {
                let found = Model::of(&store).await;
                let is_in_flight = in_flight.take().is_some_and(|id| found.has(&id));
                assert!(
                    found == before || is_in_flight,
                    "what is there is what was acknowledged"
                );
                before = found;
                for id in ["r0", "r1"] {
                    let created = store.create(id, draft(&mut random)).await;
                    assert!(matches!(created, Ok(_) | Err(StoreError::Exists(_))));
                }
                before = Model::of(&store).await;
                disk.plan(Plan::Crash(random.below(400) as u64));
                loop {
                    let event = pushed(&mut random);
                    let id = PushId::new(&event.registry, event.image.key());
                    if store.happened(vec![event]).await.is_err() {
                        assert!(disk.failed() > 0);
                        in_flight = Some(id);
                        break;
                    }
                    pushes += 1;
                    before = Model::of(&store).await;
                    assert!(before.has(&id) && before.pushes() <= MOST, "{}", before.pushes());
                }
            });
            drop(store);
            disk.lose_power(&mut random);
            crashes += 1;
        }
    }
    println!("{crashes} crashes in {pushes} pushes");
    assert!(pushes > 10 * crashes, "{pushes}");
}

/// Of one of many images.
fn pushed(random: &mut Random) -> Event {
    let (tag, digest) = (random.below(1_000), format!("sha256:{:064x}", random.next()));
    Event {
        image: Image::parse(&format!("org/app:{tag}")).unwrap(),
        registry: format!("r{}", random.below(2)).into(),
        at: Timestamp::from_second(1_700_000_000 + random.below(100_000) as i64).unwrap(),
        origin: Origin::Report,
        what: match random.below(4) {
            0 => What::Begun,
            _ => What::Succeeded {
                target: format!("r.io/app:{tag}").into(),
                digest: digest.into(),
            },
        },
    }
}

/// How many records that one holds.
const MOST: usize = 10;
