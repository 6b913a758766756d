//! Where registries are kept: every home keeps them alike.

pub(crate) mod contract;

use waypost::store::Embedded;

use self::contract::Able;

const EMBEDDED: Able = Able {
    references: true,
    many: 1_000,
};

#[tokio::test]
async fn a_store_in_memory_is_one() {
    contract::holds(async || Embedded::in_memory().unwrap(), EMBEDDED).await;
}

#[tokio::test]
async fn a_store_in_a_file_is_one() {
    let dir = tempfile::tempdir().unwrap();
    let number = std::cell::Cell::new(0);
    let make = async || {
        number.set(number.get() + 1);
        Embedded::open(&dir.path().join(format!("{}.redb", number.get()))).unwrap()
    };
    contract::holds(make, Able { many: 100, ..EMBEDDED }).await;
}

#[tokio::test]
async fn copies_outlive_their_process() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("waypost.redb");
    contract::copies_outlive_their_process(async || Embedded::open(&path).unwrap()).await;
}

#[tokio::test]
async fn so_many_copies_wait_and_no_more() {
    contract::copies_have_a_limit(&Embedded::in_memory().unwrap()).await;
    contract::copies_do_not_make_room(&Embedded::in_memory_of(30).unwrap(), 30).await;
}

#[tokio::test]
async fn a_store_has_a_limit() {
    // Of the last more than one goes at once.
    for most in [12, 30, 240] {
        contract::has_a_limit(&Embedded::in_memory_of(most).unwrap(), most).await;
    }
}
