//! A store that another Waypost has written.

use redb::TableDefinition;

use super::{
    super::{
        medium::Shared,
        tables::{FIRST_SCHEMA, THIS_SCHEMA},
        *,
    },
    faulty::{Faulty, Plan, Random},
    model, open, runtime, seed,
};
use crate::{
    pushes::{Event, Image, Order, Origin, PushId, What},
    registry::{Key, Password, RegistrySpec},
    store::Pushes,
};

/// A registry as a Waypost of the second schema wrote it.
const SECOND: &[u8] = br#"{"spec":{"displayName":"A","location":"off-cluster","url":"r.io/team"},"version":"6","pull":"6","conditions":[{"type":"Reachable","status":"True","reason":"Answers","message":"it answers","lastTransitionTime":"2026-11-21T18:00:02Z"}],"createdAt":"2026-11-21T18:00:00Z","updatedAt":"2026-11-21T18:00:01Z"}"#;

/// A push record as it wrote it, and as the third did.
const PUSH: &[u8] = br#"{"i":"docker.io/org/app:old","s":{"t":"r.io/team/app:old","d":"sha256:0000000000000000000000000000000000000000000000000000000000000001","f":1795284000000000000,"n":7}}"#;

const PUSH_ID: &str = "a.020aa528527a894238346b0256a62ca0";

/// What a Waypost of before wrote, byte for byte but for where the database puts it.
fn older(schema: u64) -> Faulty {
    let disk = Faulty::default();
    let backend = Shared(Medium::new(disk.clone()));
    let database = redb::Database::builder().create_with_backend(backend).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut meta = transaction
            .open_table(TableDefinition::<&str, u64>::new("meta"))
            .unwrap();
        for (name, number) in [("schema", schema), ("sequence", 7), ("id", 0xabcd)] {
            meta.insert(name, number).unwrap();
        }
        let registries = TableDefinition::<&str, &[u8]>::new("registries");
        let registry: &[u8] = match schema {
            1 => br#"{"spec":{"displayName":"A","url":"r.io/team"},"version":"6","pull":"6","createdAt":"2026-11-21T18:00:00Z","updatedAt":"2026-11-21T18:00:01Z"}"#,
            _ => SECOND,
        };
        transaction
            .open_table(registries)
            .unwrap()
            .insert("a", registry)
            .unwrap();
        let credentials = TableDefinition::<(&str, &str), &[u8]>::new("credentials");
        let credential = br#"{"login":{"username":"robot","password":"hunter2"}}"#;
        let mut credentials = transaction.open_table(credentials).unwrap();
        credentials.insert(("a", "pull"), credential.as_slice()).unwrap();
        if schema >= 2 {
            let pushes = TableDefinition::<&str, &[u8]>::new("pushes");
            let mut pushes = transaction.open_table(pushes).unwrap();
            pushes.insert(PUSH_ID, PUSH).unwrap();
        }
    }
    transaction.commit().unwrap();
    drop(database);
    disk
}

fn is_as_it_was(store: &Embedded, schema: u64) {
    assert_eq!(store.id(), "000000000000abcd");
    runtime().block_on(async {
        let id: PushId = PushId::parse(PUSH_ID).unwrap();
        let push = store.push(&id).await.unwrap();
        let success = push.and_then(|push| push.last_success);
        assert_eq!(success.map(|success| success.sequence), (schema >= 2).then_some(7));
        let stored = store.registry("a").await.unwrap().unwrap();
        assert_eq!((stored.spec.url.as_deref(), &*stored.version.0), (Some("r.io/team"), "6"));
        let pull = store.credentials("a").await.unwrap().pull.unwrap();
        assert!(matches!(pull, Credential::Login(login) if login.username == "robot" && login.password.expose() == "hunter2"));
    });
}

#[test]
fn a_store_of_an_older_schema_is_brought_up_to_this_one() {
    for schema in FIRST_SCHEMA..THIS_SCHEMA {
        is_brought_up(schema);
    }
}

fn is_brought_up(schema: u64) {
    let disk = older(schema);
    let pushes = usize::from(schema >= 2);
    for opened in 0..3 {
        let store = open(&disk).unwrap();
        is_as_it_was(&store, schema);
        let event = Event {
            image: Image::parse(&format!("org/app:{opened}")).unwrap(),
            registry: "a".into(),
            at: Timestamp::UNIX_EPOCH,
            origin: Origin::Report,
            what: What::Succeeded {
                target: format!("r.io/team/app:{opened}").into(),
                digest: format!("sha256:{:064x}", 1).into(),
            },
        };
        assert_eq!(store.index().borrow().len(), pushes + opened);
        let records = runtime().block_on(store.happened(vec![event])).unwrap();
        let number = records[0].last_success.as_ref().unwrap().sequence;
        assert_eq!(number, 8 + opened as u64, "no number is given out twice");
    }
    // What is new in this one can be kept there.
    let spec = RegistrySpec {
        location: Location::Gcr,
        ..RegistrySpec::default()
    };
    let draft = Draft {
        pull: Change::Set(Credential::Key(Key::Google(Password::new("{}".to_owned())))),
        push: Change::Clear,
        notify: Change::Keep,
        spec,
    };
    let token = model::issued(&draft.spec, "token");
    let store = open(&disk).unwrap();
    let order = Order {
        image: Image::parse("org/app:old").unwrap(),
        registry: "a".into(),
        referrers: true,
        refresh: false,
        source: None,
        login: Some(token.login.clone()),
    };
    let asked = runtime().block_on(store.ask(order)).unwrap().record;
    let after = runtime().block_on(async {
        store.replace("a", draft, None).await.unwrap();
        store.issued("a", token.clone()).await.unwrap();
        store.registry("a").await.unwrap()
    });
    drop(store);
    let store = open(&disk).unwrap();
    runtime().block_on(async {
        assert_eq!(store.registry("a").await.unwrap(), after);
        let pull = store.credentials("a").await.unwrap().pull;
        assert_eq!(pull, Some(Credential::Login(token.login.clone())));
        let copy = store.copy(&asked.id()).await.unwrap().unwrap();
        assert_eq!((copy.record, copy.login), (asked, Some(token.login)));
    });
}

#[test]
fn the_power_may_go_while_it_is_brought_up() {
    let mut random = Random(seed());
    let mut interrupted = 0;
    for number in 0..200 {
        let schema = FIRST_SCHEMA + number % (THIS_SCHEMA - FIRST_SCHEMA);
        let disk = older(schema);
        disk.plan(Plan::Crash(random.below(30) as u64));
        interrupted += usize::from(open(&disk).is_err());
        disk.lose_power(&mut random);
        let store = open(&disk).unwrap_or_else(|error| panic!("{number}: {error}"));
        is_as_it_was(&store, schema);
    }
    assert!(interrupted > 20, "{interrupted}");
}
