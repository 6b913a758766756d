use std::os::unix::fs::symlink;
use std::sync::mpsc;

use tempfile::TempDir;

use super::*;

fn yaml(name: &OsStr) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "yaml")
}

fn watcher(dir: &TempDir) -> Watcher {
    Watcher::new(
        Watched::default()
            .directory(dir.path().join("policies.d"), yaml)
            .file(dir.path().join("one")),
    )
}

fn dir() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("policies.d")).unwrap();
    dir
}

/// Replaces a file as an editor or `sed -i` does.
fn replace(path: &Path, content: &str) {
    let new = path.with_extension("tmp");
    fs::write(&new, content).unwrap();
    fs::rename(new, path).unwrap();
}

#[test]
fn each_way_of_changing_a_file_is_noticed_once() {
    let dir = dir();
    let (one, policies) = (dir.path().join("one"), dir.path().join("policies.d"));
    let mut watcher = watcher(&dir);
    let mut step = |what: &str, change: &dyn Fn()| {
        change();
        assert!(watcher.changed(), "{what}");
        assert!(!watcher.changed(), "{what}, a second time");
    };
    step("appears", &|| fs::write(&one, "a").unwrap());
    step("is written", &|| fs::write(&one, "b").unwrap());
    step("grows", &|| fs::write(&one, "bb").unwrap());
    step("is replaced", &|| replace(&one, "cc"));
    step("vanishes", &|| fs::remove_file(&one).unwrap());
    step("appears in the directory", &|| {
        fs::write(policies.join("a.yaml"), "").unwrap()
    });
    step("is renamed", &|| {
        fs::rename(policies.join("a.yaml"), policies.join("b.yaml")).unwrap()
    });
    step("vanishes with its directory", &|| {
        fs::remove_dir_all(&policies).unwrap()
    });
    step("the directory is back", &|| fs::create_dir(&policies).unwrap());
}

#[test]
fn other_names_and_equal_content_are_no_change() {
    let dir = dir();
    let (one, policies) = (dir.path().join("one"), dir.path().join("policies.d"));
    fs::write(&one, "a").unwrap();
    let mut watcher = watcher(&dir);
    fs::write(policies.join("notes.txt"), "x").unwrap();
    assert!(!watcher.changed(), "not a policy");
    replace(&one, "a");
    assert!(!watcher.changed(), "another inode, the same content");
    File::open(&one)
        .unwrap()
        .set_modified(SystemTime::now() + Duration::from_secs(60))
        .unwrap();
    assert!(!watcher.changed(), "touched");
    fs::write(&one, "b").unwrap();
    assert!(watcher.changed());
}

/// A mounted ConfigMap or Secret: names are links to `..data/<name>`, and `..data` is a link that is swapped.
#[test]
fn the_swap_of_the_data_link_is_noticed() {
    let dir = dir();
    let policies = dir.path().join("policies.d");
    let publish = |version: &str, content: &str| {
        fs::create_dir(policies.join(version)).unwrap();
        fs::write(policies.join(version).join("a.yaml"), content).unwrap();
        symlink(version, policies.join("..data_tmp")).unwrap();
        fs::rename(policies.join("..data_tmp"), policies.join("..data")).unwrap();
    };
    publish("..2026_1", "a");
    symlink("..data/a.yaml", policies.join("a.yaml")).unwrap();
    let mut watcher = watcher(&dir);
    assert!(!watcher.changed());
    publish("..2026_2", "b");
    fs::remove_dir_all(policies.join("..2026_1")).unwrap();
    assert!(watcher.changed());
    assert!(!watcher.changed());
    fs::remove_dir_all(policies.join("..2026_2")).unwrap();
    assert!(watcher.changed(), "the link leads nowhere");
}

#[test]
fn a_young_file_is_looked_into_even_if_it_looks_the_same() {
    let dir = dir();
    fs::write(dir.path().join("one"), "a").unwrap();
    let mut watcher = watcher(&dir);
    let signature = watcher.watched.signature();
    assert!(!signature.is_settled(SystemTime::now()));
    assert!(signature.is_settled(SystemTime::now() + Duration::from_secs(10)));
    // As if it had been written twice within one tick of the file system's clock.
    fs::write(dir.path().join("one"), "b").unwrap();
    watcher.signature = watcher.watched.signature();
    assert!(watcher.changed());
    // And as it would have gone unnoticed.
    fs::write(dir.path().join("one"), "c").unwrap();
    (watcher.signature, watcher.settled) = (watcher.watched.signature(), true);
    assert!(!watcher.changed());
}

#[test]
fn what_is_no_regular_file_is_not_opened() {
    let dir = dir();
    // Reading from this one would never end.
    symlink("/dev/zero", dir.path().join("policies.d/a.yaml")).unwrap();
    fs::create_dir(dir.path().join("policies.d/b.yaml")).unwrap();
    let mut watcher = watcher(&dir);
    assert!(!watcher.changed());
}

#[tokio::test]
async fn the_handler_is_called_after_a_change_and_again_when_it_asks() {
    let dir = dir();
    let one = dir.path().join("one");
    let (calls, called) = mpsc::channel();
    let mut verdicts = vec![Verdict::Done, Verdict::Again, Verdict::Again].into_iter();
    let path = one.clone();
    let handler = move || {
        calls.send(fs::read_to_string(&path).unwrap()).unwrap();
        verdicts.next_back().unwrap_or(Verdict::Done)
    };
    let task = tokio::spawn(watcher(&dir).run(Duration::from_millis(5), handler));
    fs::write(dir.path().join("new"), "a").unwrap();
    fs::rename(dir.path().join("new"), &one).unwrap();
    let called = tokio::task::spawn_blocking(move || {
        let next = || called.recv_timeout(Duration::from_secs(30)).unwrap();
        let calls = [next(), next(), next()];
        (calls, called.recv_timeout(Duration::from_millis(100)).is_err())
    });
    let (calls, then_quiet) = called.await.unwrap();
    assert_eq!(calls, ["a", "a", "a"]);
    assert!(then_quiet, "nothing asked for another call");
    task.abort();
}

#[tokio::test]
async fn a_handler_that_panics_is_called_for_the_next_change() {
    let dir = dir();
    let one = dir.path().join("one");
    let (calls, called) = mpsc::channel();
    let path = one.clone();
    let handler = move || {
        let content = fs::read_to_string(&path).unwrap();
        calls.send(content.clone()).unwrap();
        assert_ne!(content, "bad", "on purpose");
        Verdict::Done
    };
    let task = tokio::spawn(watcher(&dir).run(Duration::from_millis(5), handler));
    let seen = tokio::task::spawn_blocking(move || {
        let next = || called.recv_timeout(Duration::from_secs(30)).unwrap();
        replace(&one, "bad");
        let first = next();
        replace(&one, "good");
        [first, next()]
    });
    assert_eq!(seen.await.unwrap(), ["bad", "good"]);
    task.abort();
}
