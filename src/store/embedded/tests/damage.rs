//! The file is not what was written.

use super::{
    super::*,
    faulty::{Faulty, Random},
    model::{self, Model, Step},
    open, runtime, seed,
};
use crate::{
    pushes::{Image, PushId},
    registry::{Key, Password, RegistrySpec},
    store::Pushes,
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

/// What a registry has in the table of credentials.
type Rows = Vec<(&'static str, Credential)>;

#[test]
fn credentials_that_do_not_fit_what_is_said_of_them_are_refused() {
    let password = || Password::new("p".to_owned());
    let username = || "u".to_owned();
    let login = || {
        Credential::Login(Login {
            username: username(),
            password: password(),
        })
    };
    let file = || Credential::File {
        username: username(),
        path: "/run/p".into(),
    };
    let aws = || {
        Credential::Key(Key::Aws {
            id: password(),
            secret: password(),
            session_token: None,
        })
    };
    let google = || Credential::Key(Key::Google(password()));
    let edition = || Some(Edition("1".to_owned()));
    let off_cluster = stored(Location::OffCluster);
    let of_login = Stored {
        pull: edition(),
        ..off_cluster.clone()
    };
    let ecr = stored(Location::Ecr);
    let keyed = Stored {
        key: edition(),
        ..ecr.clone()
    };
    let issued = Stored {
        pull: edition(),
        issuance: Some(model::issued(&ecr.spec, "t").issuance),
        ..keyed.clone()
    };
    let missing = "the credentials of the registry `a` are missing";
    let unfit = "the credentials of the registry `a` are for another location";
    let cases: Vec<(&str, &Stored, Rows, Result<(), &str>)> = vec![
        ("a password", &of_login, vec![(PULL, login())], Ok(())),
        ("a key", &keyed, vec![(PULL, aws())], Ok(())),
        ("a token", &issued, vec![(PULL, aws()), (ISSUED, login())], Ok(())),
        ("no token", &issued, vec![(PULL, aws())], Err(missing)),
        ("no key", &issued, vec![(ISSUED, login())], Err(missing)),
        ("nothing", &issued, vec![], Err(missing)),
        (
            "a token of which nothing is known",
            &keyed,
            vec![(PULL, aws()), (ISSUED, login())],
            Err(missing),
        ),
        (
            "a key of which nothing is known",
            &ecr,
            vec![(PULL, aws())],
            Err(missing),
        ),
        (
            "a token that is a file",
            &issued,
            vec![(PULL, aws()), (ISSUED, file())],
            Err("it has a token that is none"),
        ),
        (
            "a token that is a key",
            &issued,
            vec![(PULL, aws()), (ISSUED, aws())],
            Err("it has a token that is none"),
        ),
        (
            "a password in the place of a key",
            &keyed,
            vec![(PULL, login())],
            Err(unfit),
        ),
        ("another cloud's key", &keyed, vec![(PULL, google())], Err(unfit)),
        (
            "a key in the place of a password",
            &of_login,
            vec![(PULL, aws())],
            Err(unfit),
        ),
        (
            "a token where nobody issues any",
            &of_login,
            vec![(PULL, login()), (ISSUED, login())],
            Err(missing),
        ),
        (
            "a credential of another kind",
            &ecr,
            vec![("other", login())],
            Err("it has a credential of an unknown kind"),
        ),
    ];
    let said = [
        (
            "an edition of a key where nobody issues tokens",
            Stored {
                key: edition(),
                ..of_login.clone()
            },
            vec![(PULL, login())],
        ),
        (
            "an issuance where nobody issues tokens",
            Stored {
                issuance: issued.issuance.clone(),
                ..of_login.clone()
            },
            vec![(PULL, login())],
        ),
        (
            "an issuance without an edition",
            Stored {
                pull: None,
                ..issued.clone()
            },
            vec![(PULL, aws()), (ISSUED, login())],
        ),
        (
            "an edition without an issuance",
            Stored {
                issuance: None,
                ..issued.clone()
            },
            vec![(PULL, aws()), (ISSUED, login())],
        ),
    ];
    for (what, stored, rows, expected) in cases {
        assert_eq!(opened(stored, rows), expected.map_err(str::to_owned), "{what}");
    }
    for (what, stored, rows) in said {
        assert_eq!(opened(&stored, rows), Err(missing.to_owned()), "{what}");
    }
}

/// Why a store with this in it does not open.
fn opened(stored: &Stored, rows: Rows) -> Result<(), String> {
    let disk = super::made();
    let (mut home, _) = Home::open(Medium::new(disk.clone()), String::new()).unwrap();
    let credentials = rows.iter().map(|(which, credential)| {
        let written = record::written_credential(credential).unwrap();
        (*which, Some(written))
    });
    let write = Write::Registry {
        id: &stored.id,
        record: Some(record::written(stored).unwrap()),
        credentials: credentials.collect(),
    };
    assert!(home.commit(&write).is_ok());
    drop(home);
    match open(&disk) {
        Ok(_) => Ok(()),
        Err(OpenError::Damaged { why, .. }) => Err(why),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_copy_of_no_push_that_goes_on_is_refused_and_says_nothing_of_its_credential() {
    let copy = br#"{"askedAt":"2026-11-21T18:00:00Z","login":{"username":"robot","password":"hunter2"}}"#;
    let unknown = br#"{"askedAt":"2026-11-21T18:00:00Z","login":{"username":"robot","password":"hunter2","x":1}}"#;
    let push = |attempt: &str| format!(r#"{{"i":"docker.io/org/app:1"{attempt}}}"#);
    let (pending, ended) = (
        push(r#","a":{"s":"PENDING","n":1,"b":1795284000000000000}"#),
        push(r#","a":{"s":"FAILED","n":1,"b":1795284000000000000,"f":1795284000000000000}"#),
    );
    let none = "it has a copy of no push that goes on";
    for (push, copy, expected) in [
        (Some(&pending), &copy[..], None),
        (Some(&ended), &copy[..], Some(none)),
        (None, &copy[..], Some(none)),
        (Some(&pending), &unknown[..], Some("the copy `a.KEY`: line 1, column")),
    ] {
        let disk = super::made();
        let (mut home, _) = Home::open(Medium::new(disk.clone()), String::new()).unwrap();
        let image = Image::parse("org/app:1").unwrap();
        let id = PushId::new("a", image.key());
        let registry = Write::Registry {
            id: "a",
            record: Some(record::written(&stored(Location::OffCluster)).unwrap()),
            credentials: vec![],
        };
        let pushes = Write::Pushes {
            numbers: 1,
            rows: push
                .map(|push| (id.clone(), Some(push.clone().into_bytes())))
                .into_iter()
                .collect(),
            copies: vec![(id.clone(), Some(copy.to_vec().into()))],
        };
        assert!(home.commit(&registry).is_ok() && home.commit(&pushes).is_ok());
        drop(home);
        match (open(&disk), expected) {
            (Ok(store), None) => assert_eq!(store.copies().borrow().len(), 1),
            (Err(OpenError::Damaged { why, .. }), Some(expected)) => {
                assert!(
                    why.starts_with(&expected.replace("KEY", &image.key().to_string())),
                    "{why}"
                );
                assert!(!why.contains("hunter2"), "{why}");
            }
            (other, _) => panic!("{other:?}"),
        }
    }
}

fn stored(location: Location) -> Stored {
    Stored {
        id: "a".to_owned(),
        spec: RegistrySpec {
            location,
            ..RegistrySpec::default()
        },
        pull: None,
        push: None,
        notify: None,
        key: None,
        issuance: None,
        version: Version("1".to_owned()),
        declared_by: DeclaredBy::Anybody,
        conditions: vec![],
        created_at: Timestamp::UNIX_EPOCH,
        updated_at: Timestamp::UNIX_EPOCH,
    }
}
