//! A file that is there, or is not, or is something else.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    time::Instant,
};

use redb::TableDefinition;

use super::{
    super::{tables::THIS_SCHEMA, *},
    clock,
    faulty::Faulty,
    runtime,
};
use crate::registry::{Credential, Login, Password, RegistrySpec};

#[test]
fn the_first_start_makes_a_store_that_nobody_else_can_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/data/waypost.redb");
    let store = Embedded::open_at(&path, clock()).unwrap();
    let made = runtime().block_on(store.create("a", draft(0))).unwrap();
    assert_eq!(made.created_at.as_second(), 1_800_000_000);
    assert_eq!(made.updated_at, made.created_at);
    drop(store);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    let names: Vec<_> = fs::read_dir(path.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["waypost.redb"]);
    let store = Embedded::open(&path).unwrap();
    assert_eq!(*runtime().block_on(store.list()).unwrap(), [made]);
}

#[test]
fn what_an_interrupted_first_start_has_left_is_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("waypost.redb");
    fs::write(path.with_added_extension("new"), vec![7; 100_000]).unwrap();
    let store = Embedded::open(&path).unwrap();
    assert!(runtime().block_on(store.list()).unwrap().is_empty());
    assert!(!path.with_added_extension("new").exists());
}

#[test]
fn one_store_is_one_process_s() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("waypost.redb");
    let store = Embedded::open(&path).unwrap();
    let clone = store.clone();
    let second = Embedded::open(&path).unwrap_err().to_string();
    assert!(
        second.contains("another waypost uses the store") && second.contains("waypost.redb"),
        "{second}"
    );
    drop(store);
    assert!(matches!(Embedded::open(&path), Err(OpenError::InUse(_))));
    drop(clone);
    Embedded::open(&path).unwrap();
}

#[test]
fn a_store_that_others_can_read_is_closed_to_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("waypost.redb");
    drop(Embedded::open(&path).unwrap());
    for mode in [0o644, 0o660, 0o666, 0o604, 0o400 | 0o200 | 0o001] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        drop(Embedded::open(&path).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn what_is_no_store_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let store = Embedded::open(&at("good")).unwrap();
    runtime().block_on(async {
        for number in 0..50 {
            store.create(&format!("r{number}"), draft(number)).await.unwrap();
        }
    });
    drop(store);
    let good = fs::read(at("good")).unwrap();
    fs::write(at("empty"), "").unwrap();
    fs::write(at("text"), "registries: []\n").unwrap();
    fs::write(at("zeros"), vec![0; 8192]).unwrap();
    fs::write(at("short"), &good[..5]).unwrap();
    fs::write(at("half"), &good[..good.len() / 2]).unwrap();
    fs::write(at("one page"), &good[..4096]).unwrap();
    let table = |path: PathBuf, name: &str, schema: u64| {
        let database = redb::Database::create(path).unwrap();
        let transaction = database.begin_write().unwrap();
        let definition = TableDefinition::<&str, u64>::new(name);
        transaction
            .open_table(definition)
            .unwrap()
            .insert("schema", schema)
            .unwrap();
        transaction.commit().unwrap();
    };
    table(at("foreign"), "other", 1);
    table(at("newer"), "meta", THIS_SCHEMA + 1);
    for (name, expected) in [
        (
            "empty",
            "is damaged (it is empty): restore it from a backup, or move it away",
        ),
        (
            "text",
            "is no store of Waypost's, or its beginning is damaged: restore it",
        ),
        ("zeros", "is no store of Waypost's"),
        ("short", "is no store of Waypost's"),
        ("half", "is damaged ("),
        ("one page", "is damaged ("),
        ("foreign", "is no store of Waypost's"),
        (
            "newer",
            "was written by a newer Waypost (its schema is 5): run that one",
        ),
    ] {
        let before = fs::read(at(name)).unwrap();
        for _ in 0..2 {
            let error = Embedded::open(&at(name)).unwrap_err().to_string();
            let path = at(name).display().to_string();
            assert!(error.contains(expected) && error.contains(&path), "{name}: {error}");
        }
        // What the database notes of its opening is no loss.
        if !["foreign", "newer"].contains(&name) {
            assert!(fs::read(at(name)).unwrap() == before, "{name}");
        }
    }
    fs::create_dir(at("directory")).unwrap();
    symlink(at("nowhere"), at("link")).unwrap();
    for (path, expected) in [
        (at("directory"), "`store.path` names a file"),
        (at("text").join("x"), "something on the way to it is no directory"),
        (at("link"), "it is a link that leads nowhere"),
    ] {
        let error = Embedded::open(&path).unwrap_err().to_string();
        let named = path.display().to_string();
        assert!(error.contains(expected) && error.contains(&named), "{error}");
    }
    assert!(!at("nowhere").exists());
    assert_eq!(
        runtime()
            .block_on(Embedded::open(&at("good")).unwrap().list())
            .unwrap()
            .len(),
        50
    );
}

#[test]
fn a_clock_that_is_set_back_makes_no_change_older_than_the_last() {
    let seconds = std::sync::Mutex::new(vec![50, 200, 100]);
    let clock = Box::new(move || Timestamp::from_second(seconds.lock().unwrap().pop().unwrap()).unwrap());
    let store = Embedded::in_memory_at(clock).unwrap();
    runtime().block_on(async {
        store.create("a", draft(0)).await.unwrap();
        for (number, expected) in [(1, 200), (2, 200)] {
            let after = store.replace("a", draft(number), None).await.unwrap();
            assert_eq!(after.updated_at.as_second(), expected);
            assert_eq!(after.created_at.as_second(), 100);
        }
    });
}

#[test]
fn what_it_costs() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("waypost.redb");
    let store = Embedded::open(&path).unwrap();
    let mut took: Vec<_> = (0..1_000)
        .map(|number| {
            let begin = Instant::now();
            runtime()
                .block_on(store.create(&format!("registry-{number}"), draft(number)))
                .unwrap();
            begin.elapsed()
        })
        .collect();
    took.sort();
    drop(store);
    let size = fs::metadata(&path).unwrap().len();
    let begin = Instant::now();
    drop(Embedded::open(&path).unwrap());
    let opened = begin.elapsed();
    println!(
        "1,000 registries: created in {:?} (p50), {:?} (p99); {size} bytes; opened in {opened:?}",
        took[500], took[990]
    );

    // Those are too many to wait for a disk each time.
    let disk = Faulty::default();
    let medium = Medium::new(disk.clone());
    Home::create(&medium).unwrap();
    let (mut home, _) = Home::open(medium, String::new()).unwrap();
    let before = runtime().block_on(Embedded::open(&path).unwrap().list()).unwrap();
    let Change::Set(credential) = draft(0).pull else {
        panic!("it has one")
    };
    for number in 0..10_000 {
        let stored = Stored {
            id: format!("registry-{number}"),
            ..before[0].clone()
        };
        let write = Write::Registry {
            id: &stored.id,
            record: Some(record::written(&stored).unwrap()),
            credentials: vec![(PULL, Some(record::written_credential(&credential).unwrap()))],
        };
        assert!(home.commit(&write).is_ok());
    }
    let crashed = disk.bytes();
    drop(home);
    for (how, bytes) in [("closed", disk.bytes()), ("after a crash", crashed)] {
        let path = dir.path().join(how);
        fs::write(&path, &bytes).unwrap();
        let begin = Instant::now();
        let store = Embedded::open(&path).unwrap();
        println!(
            "10,000 registries, {how}: {} bytes; opened in {:?}",
            bytes.len(),
            begin.elapsed()
        );
        assert_eq!(runtime().block_on(store.list()).unwrap().len(), 10_000);
    }
}

fn draft(number: i64) -> Draft {
    Draft {
        spec: RegistrySpec {
            url: Some(format!("registry-{number}.example.com/team")),
            display_name: Some(format!("Registry {number}")),
            ..RegistrySpec::default()
        },
        pull: Change::Set(Credential::Login(Login {
            username: "robot".to_owned(),
            password: Password::new("hunter2-hunter2-hunter2-hunter2".to_owned()),
        })),
        push: Change::Keep,
        notify: Change::Keep,
    }
}
