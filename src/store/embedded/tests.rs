#![expect(
    clippy::print_stdout,
    reason = "whoever runs the tests is told what they did, and with which seed"
)]

mod crash;
mod damage;
mod faulty;
mod files;
mod full;
mod model;
mod schema;

use self::faulty::Faulty;
use super::*;

/// Another one than the last time where `WAYPOST_TEST_SEED` says so.
fn seed() -> u64 {
    std::env::var("WAYPOST_TEST_SEED").map_or(20_261_121, |seed| seed.parse().unwrap())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

/// A clock that goes on by a second whenever it is looked at.
fn clock() -> Clock {
    let second = std::sync::atomic::AtomicI64::new(1_800_000_000);
    Box::new(move || Timestamp::from_second(second.fetch_add(1, std::sync::atomic::Ordering::Relaxed)).unwrap())
}

fn home(disk: &Faulty) -> Result<(), Failure> {
    Home::create(&Medium::new(disk.clone()))
}

/// A disk with an empty store on it.
fn made() -> Faulty {
    let disk = Faulty::default();
    home(&disk).unwrap();
    disk
}

fn open(disk: &Faulty) -> Result<Embedded, OpenError> {
    Embedded::on(
        Medium::new(disk.clone()),
        "data/waypost.redb".to_owned(),
        clock(),
        MOST_RECORDS,
    )
}
