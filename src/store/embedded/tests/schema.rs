//! A store that another Waypost has written.

use redb::TableDefinition;

use super::{
    super::{medium::Shared, *},
    faulty::{Faulty, Plan, Random},
    open, runtime, seed,
};
use crate::{
    pushes::{Event, Image, Origin, What},
    registry::Credential,
    store::Pushes,
};

/// What the first Waypost that had a store wrote, byte for byte but for where the database puts it.
fn first() -> Faulty {
    let disk = Faulty::default();
    let backend = Shared(Medium::new(disk.clone()));
    let database = redb::Database::builder().create_with_backend(backend).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut meta = transaction
            .open_table(TableDefinition::<&str, u64>::new("meta"))
            .unwrap();
        for (name, number) in [("schema", 1), ("sequence", 7), ("id", 0xabcd)] {
            meta.insert(name, number).unwrap();
        }
        let registries = TableDefinition::<&str, &[u8]>::new("registries");
        let registry = br#"{"spec":{"displayName":"A","url":"r.io/team"},"version":"6","pull":"6","createdAt":"2026-11-21T18:00:00Z","updatedAt":"2026-11-21T18:00:01Z"}"#;
        transaction
            .open_table(registries)
            .unwrap()
            .insert("a", registry.as_slice())
            .unwrap();
        let credentials = TableDefinition::<(&str, &str), &[u8]>::new("credentials");
        let credential = br#"{"login":{"username":"robot","password":"hunter2"}}"#;
        let mut credentials = transaction.open_table(credentials).unwrap();
        credentials.insert(("a", "pull"), credential.as_slice()).unwrap();
    }
    transaction.commit().unwrap();
    drop(database);
    disk
}

fn is_as_it_was(store: &Embedded) {
    assert_eq!(store.id(), "000000000000abcd");
    runtime().block_on(async {
        let stored = store.registry("a").await.unwrap().unwrap();
        assert_eq!((stored.spec.url.as_deref(), &*stored.version.0), (Some("r.io/team"), "6"));
        let pull = store.credentials("a").await.unwrap().pull.unwrap();
        assert!(matches!(pull, Credential::Login(login) if login.username == "robot" && login.password.expose() == "hunter2"));
    });
}

#[test]
fn a_store_of_the_first_schema_is_brought_up_to_this_one() {
    let disk = first();
    for opened in 0..3 {
        let store = open(&disk).unwrap();
        is_as_it_was(&store);
        let event = Event {
            image: Image::parse(&format!("org/app:{opened}")).unwrap(),
            registry: "a".into(),
            at: Timestamp::UNIX_EPOCH,
            origin: Origin::Report,
            what: What::Succeeded {
                target: "r.io/team/app".into(),
                digest: "sha256:1".into(),
            },
        };
        assert_eq!(store.index().borrow().len(), opened);
        let records = runtime().block_on(store.happened(vec![event])).unwrap();
        let number = records[0].last_success.as_ref().unwrap().sequence;
        assert_eq!(number, 8 + opened as u64, "no number is given out twice");
    }
}

#[test]
fn the_power_may_go_while_it_is_brought_up() {
    let mut random = Random(seed());
    let mut interrupted = 0;
    for number in 0..100 {
        let disk = first();
        disk.plan(Plan::Crash(random.below(30) as u64));
        interrupted += usize::from(open(&disk).is_err());
        disk.lose_power(&mut random);
        let store = open(&disk).unwrap_or_else(|error| panic!("{number}: {error}"));
        is_as_it_was(&store);
    }
    assert!(interrupted > 10, "{interrupted}");
}
