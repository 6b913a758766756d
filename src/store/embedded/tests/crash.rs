//! The power goes at any moment, and takes any part of what was not synced.

use super::{
    faulty::{Faulty, Plan, Random},
    model::{Model, Step},
    open, runtime, seed,
};

#[test]
fn no_acknowledged_change_is_lost_wherever_the_power_goes() {
    let seed = seed();
    let (mut crashes, mut while_opening, mut changes, mut survived) = (0, 0, 0, 0);
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
                    assert!(Model::of(&store).await == model);
                }
            });
            drop(store);
            disk.lose_power(&mut random);
            crashes += 1;
        }
    }
    println!(
        "{crashes} crashes, {while_opening} of them while opening; {changes} changes acknowledged; {survived} that were not had been made"
    );
    assert!(crashes >= 1_000, "{crashes}");
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
