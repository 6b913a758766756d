//! What is known, from whatever comes in whatever order, and what is read of objects. What the API server does is tested with one.

use jiff::Timestamp;
use kube::core::DynamicObject;
use serde_json::{Value, json};

use super::{
    super::super::watch::Change,
    known::{Changes, Known},
    object::{Object, Seen, answer, status},
};
use crate::{
    pushes::{Attempt, Copying, Image, PushId, Record, State, Success},
    store::PushQuery,
};

fn id(image: &str) -> PushId {
    PushId::new("prod", Image::parse(image).unwrap().key())
}

/// That of an image in `prod`, at a version, with this digest if any.
fn object(image: &str, version: u64, digest: Option<&str>) -> Value {
    let success = digest.map(|digest| {
        json!({"target": "prod.io/app:1", "digest": digest, "finishedAt": "2026-11-21T10:00:00Z", "sequence": version})
    });
    json!({
        "metadata": {
            "name": id(image).as_str(), "uid": format!("uid-{image}"), "resourceVersion": version.to_string(),
            "annotations": {"waypost.dev/reported": "true"},
            "ownerReferences": [{"apiVersion": "waypost.dev/v1alpha1", "kind": "Registry", "name": "prod", "uid": "one"}],
        },
        "spec": {"image": image, "registry": "prod"},
        "status": {"lastAttempt": null, "lastSuccess": success},
    })
}

fn seen(object: Value) -> Seen {
    serde_json::from_value(object).unwrap()
}

fn read(object: Value) -> Object {
    Object::read(&serde_json::from_value::<DynamicObject>(object).unwrap())
}

/// What is in the index, by image, as an index would have it.
#[derive(Default)]
struct Followed {
    known: Known,
    index: Vec<(String, String)>,
}

impl Followed {
    /// How many changes it was told.
    fn change(&mut self, change: impl FnOnce(&mut Known, &mut Changes)) -> usize {
        let mut changes = Changes::new();
        change(&mut self.known, &mut changes);
        let count = changes.len();
        for change in changes {
            assert_eq!(&*change.registry, "prod");
            self.index.retain(|(image, _)| image != change.image.as_str());
            let digest = change.success.map(|success| success.digest.into_string());
            self.index
                .extend(digest.map(|digest| (change.image.as_str().to_owned(), digest)));
        }
        self.index.sort();
        count
    }

    fn list(&mut self, objects: &[Value]) -> usize {
        let all = objects.iter().cloned().map(seen).collect();
        self.change(|known, changes| known.list(all, changes))
    }

    fn wrote(&mut self, object: Value) {
        self.change(|known, changes| known.wrote(seen(object), changes));
    }

    fn applied(&mut self, object: Value) -> usize {
        self.change(|known, changes| known.follow(vec![Change::Applied(seen(object))], changes))
    }

    fn deleted(&mut self, object: Value) {
        self.change(|known, changes| known.follow(vec![Change::Deleted(seen(object))], changes));
    }

    fn digests(&self) -> Vec<&str> {
        self.index.iter().map(|(_, digest)| &**digest).collect()
    }

    fn names(&self) -> usize {
        let (names, is_last) = self.known.names(&PushQuery::default(), 100);
        assert!(is_last);
        names.len()
    }
}

#[test]
fn nothing_that_is_known_is_replaced_by_what_is_older() {
    let mut all = Followed::default();
    all.list(&[object("a.io/a:1", 5, Some("five"))]);
    // The answer to a write of one's own, before the watch tells of it and of what came before it.
    all.wrote(object("a.io/a:1", 9, Some("nine")));
    all.applied(object("a.io/a:1", 7, Some("seven")));
    all.deleted(object("a.io/a:1", 8, Some("seven")));
    assert_eq!(all.digests(), ["nine"]);
    all.list(&[object("a.io/a:1", 8, Some("eight"))]);
    assert_eq!(all.digests(), ["nine"]);
    assert_eq!(all.applied(object("a.io/a:1", 9, Some("nine"))), 0, "it is no news");
    all.applied(object("a.io/a:1", 10, None));
    assert_eq!(all.digests(), [""; 0]);
    assert_eq!(all.names(), 1);
    all.applied(object("a.io/a:1", 11, Some("eleven")));
    all.deleted(object("a.io/a:1", 12, Some("eleven")));
    assert_eq!((all.digests().len(), all.names()), (0, 0));
}

#[test]
fn what_was_written_here_while_everything_is_looked_for_stays_and_what_is_not_there_goes() {
    let mut all = Followed::default();
    all.list(&[
        object("a.io/old:1", 1, Some("old")),
        object("a.io/same:1", 1, Some("same")),
    ]);
    all.wrote(object("a.io/before:1", 2, Some("before")));
    all.known.begin();
    all.wrote(object("a.io/new:1", 3, Some("new")));
    // The list is of a moment before.
    let changes = all.list(&[object("a.io/same:1", 1, Some("same"))]);
    assert_eq!((changes, all.digests()), (2, vec!["new", "same"]));
    all.known.begin();
    all.list(&[]);
    assert_eq!(all.digests(), [""; 0]);
    all.wrote(object("a.io/new:1", 4, Some("new")));
    all.change(Known::clear);
    assert_eq!((all.digests().len(), all.known.count()), (0, 0));
}

#[test]
fn what_is_of_a_registry_that_is_gone_goes_and_does_not_come_back() {
    let mut all = Followed::default();
    let of_another = |version| {
        let mut object = object("a.io/b:1", version, Some("another"));
        object["metadata"]["ownerReferences"][0]["uid"] = json!("two");
        object
    };
    all.list(&[object("a.io/a:1", 1, Some("one")), of_another(2)]);
    all.change(|known, changes| known.bury("one", changes));
    assert_eq!(all.digests(), ["another"]);
    all.applied(object("a.io/a:1", 3, Some("late")));
    all.wrote(object("a.io/c:1", 4, Some("late")));
    all.list(&[object("a.io/a:1", 3, Some("late")), of_another(2)]);
    assert_eq!((all.digests(), all.names()), (vec!["another"], 1));
    // That of the next registry of this name.
    let mut anew = object("a.io/a:1", 5, Some("anew"));
    anew["metadata"]["ownerReferences"][0]["uid"] = json!("two");
    all.applied(anew);
    assert_eq!(all.digests(), ["anew", "another"]);
}

#[test]
fn a_number_is_given_out_once_and_is_greater_than_all_that_were_seen() {
    let mut all = Followed::default();
    let now = Timestamp::from_microsecond(1_000).unwrap();
    assert_eq!(all.known.next_sequences(now, 3), 1_000);
    assert_eq!(all.known.next_sequences(now, 1), 1_003);
    let mut object = object("a.io/a:1", 1, Some("one"));
    object["status"]["lastSuccess"]["sequence"] = json!(5_000);
    all.applied(object.clone());
    assert_eq!(all.known.next_sequences(now, 1), 5_001);
    assert_eq!(
        all.known.next_sequences(Timestamp::from_microsecond(9_000).unwrap(), 1),
        9_000
    );
    // Whoever writes nonsense cannot make it one that nobody can write.
    object["metadata"]["resourceVersion"] = json!("2");
    object["status"]["lastSuccess"]["sequence"] = json!(u64::MAX);
    all.applied(object);
    assert_eq!(all.known.next_sequences(now, 2), i64::MAX as u64);
}

#[test]
fn an_object_that_the_watch_tells_of_before_its_maker_does_is_counted_once() {
    let mut all = Followed::default();
    let name = id("docker.io/org/app:1");
    assert!(all.known.expect(name.as_str(), 2));
    all.applied(object("docker.io/org/app:1", 1, Some("1")));
    assert_eq!(all.known.count(), 1);
    all.known.expected(name.as_str());
    assert_eq!(all.known.count(), 1);
}

#[test]
fn whatever_somebody_has_written_something_is_read_of_it() {
    let with = |key: &str, value: Value| {
        let mut object = object("a.io/a:1", 1, Some("one"));
        *object.pointer_mut(key).unwrap() = value;
        object
    };
    for (object, expected) in [
        (with("/spec", json!("text")), "its spec: invalid type"),
        (with("/spec", Value::Null), "its spec: "),
        (with("/spec/image", json!("No Image")), "its image: "),
        (
            with("/spec/image", json!("a.io/b:1")),
            "its name is not that of a.io/b:1 in prod, which is prod.",
        ),
        (
            with("/spec/registry", json!("\u{1b}[31m")),
            "its name is not that of a.io/a:1 in \\u{1b}[31m",
        ),
        (with("/metadata/name", json!("nothing")), "its name is not that of"),
        (with("/status", json!("fine")), ""),
        (with("/status/lastSuccess", json!("fine")), "its status: invalid type"),
        (with("/status/lastSuccess/sequence", json!(-1)), "its status: "),
        (
            with("/status/lastSuccess/finishedAt", json!("yesterday")),
            "its status: ",
        ),
        (with("/status/lastAttempt", json!({"state": "DONE"})), "its status: "),
    ] {
        let mut all = Followed::default();
        let found = read(object.clone()).record();
        match found {
            Err(why) => assert!(!expected.is_empty() && why.starts_with(expected), "{why}"),
            Ok(record) => assert!(expected.is_empty(), "{record:?}"),
        }
        // It breaks no list, takes its place, and is in no index and on no page.
        all.list(&[object, super::tests::object("a.io/b:1", 1, Some("two"))]);
        assert_eq!((all.digests(), all.known.count()), (vec!["two"], 2));
        assert_eq!(all.names(), 1 + usize::from(expected.is_empty()));
    }
    // What nobody owns is somebody's claim.
    let mut claimed = object("a.io/a:1", 1, Some("one"));
    claimed["metadata"]["ownerReferences"][0]["name"] = json!("pro");
    let record = read(claimed.clone()).record().unwrap().unwrap();
    assert_eq!(record, Record::new(Image::parse("a.io/a:1").unwrap(), "prod"));
    let mut all = Followed::default();
    all.list(&[claimed]);
    assert_eq!((all.digests().len(), all.names()), (0, 1));
    // As somebody leaves it who is interrupted.
    assert_eq!(read(with("/status", Value::Null)).record(), Ok(None));
    // As a later version writes it.
    let mut later = with("/status/lastSuccess/sequence", json!(7));
    later["status"]["lastSuccess"]["colour"] = json!("red");
    later["status"]["colour"] = json!("red");
    let record = read(later).record().unwrap().unwrap();
    assert_eq!(record.last_success.unwrap().sequence, 7);
}

#[test]
fn a_status_is_written_whole_and_the_conditions_of_others_stay() {
    let now: Timestamp = "2026-11-21T12:00:00.75Z".parse().unwrap();
    let mut record = Record::new(Image::parse("a.io/a:1").unwrap(), "prod");
    record.last_attempt = Some(Attempt {
        state: State::Running,
        attempt: 2,
        error: None,
        bytes_total: None,
        bytes_done: None,
        started_at: now,
        finished_at: None,
    });
    record.last_success = Some(Success {
        target: "prod.io/a:1".into(),
        digest: "sha256:1".into(),
        platforms: vec![],
        children: vec![],
        finished_at: now,
        sequence: 7,
    });
    let condition = |kind: &str, status: &str| json!({"type": kind, "status": status, "reason": "R", "message": "m", "lastTransitionTime": "2026-11-20T10:00:00Z"});
    let before = [
        condition("Theirs", "True"),
        condition("Available", "True"),
        condition("Succeeded", "True"),
    ];
    let written = status(&record, &before, now).unwrap();
    // In a merge patch, null takes away what was there.
    for (key, value) in [
        ("/lastAttempt/error", Value::Null),
        ("/lastAttempt/finishedAt", Value::Null),
        ("/lastAttempt/attempt", json!(2)),
        ("/lastSuccess/children", Value::Null),
        ("/withdrawnAt", Value::Null),
        ("/conditions/0", condition("Theirs", "True")),
        ("/conditions/1/lastTransitionTime", json!("2026-11-20T10:00:00Z")),
        ("/conditions/2/status", json!("Unknown")),
        ("/conditions/2/lastTransitionTime", json!("2026-11-21T12:00:00Z")),
    ] {
        assert_eq!(written.pointer(key), Some(&value), "{key}");
    }
    let mut object = object("a.io/a:1", 1, None);
    object["status"] = written;
    assert_eq!(read(object).record(), Ok(Some(record)));
}

/// One that somebody has made, and nobody has said anything of.
fn made(image: &str, version: u64) -> Value {
    let mut object = object(image, version, None);
    object["metadata"]["creationTimestamp"] = json!("2026-11-21T09:00:00Z");
    object["metadata"]["generation"] = json!(1);
    object["metadata"]["annotations"] = Value::Null;
    object["metadata"]["ownerReferences"] = Value::Null;
    object["status"] = Value::Null;
    object
}

fn with(object: &Value, changes: &[(&str, Value)]) -> Value {
    let mut object = object.clone();
    for (key, value) in changes {
        let (place, key) = key.rsplit_once('/').unwrap();
        object.pointer_mut(place).unwrap()[key] = value.clone();
    }
    object
}

#[test]
fn an_object_that_somebody_makes_is_copied_once_and_again_when_he_says_so() {
    let made = made("a.io/a:1", 1);
    let owner = object("a.io/a:1", 1, None)["metadata"]["ownerReferences"].clone();
    let owned = with(&made, &[("/metadata/ownerReferences", owner)]);
    let reported = ("/metadata/annotations", json!({"waypost.dev/reported": "true"}));
    let attempt = json!({"state": "FAILED", "attempt": 1, "startedAt": "2026-11-21T10:00:00Z"});
    let status = |status: Value| ("/status", status);
    let requested = |at: Value| {
        (
            "/spec/copy",
            json!({"requestedAt": at, "referrers": null, "credential": null}),
        )
    };
    let copying = json!({"lastAttempt": attempt, "copying": {"askedAt": "2026-11-21T10:00:00Z"}, "request": "one"});
    for (is_asked, is_open, object) in [
        (true, true, made.clone()),
        (true, true, owned.clone()),
        // What stands in the status of an object that nobody owns counts for nothing.
        (true, true, with(&made, &[status(json!({"lastAttempt": attempt}))])),
        (false, false, with(&owned, &[status(json!({"lastAttempt": attempt}))])),
        // What was told of meanwhile is no answer.
        (
            true,
            true,
            with(&owned, &[status(json!({"withdrawnAt": "2026-11-21T10:00:00Z"}))]),
        ),
        (false, false, with(&made, std::slice::from_ref(&reported))),
        (false, false, with(&owned, std::slice::from_ref(&reported))),
        (true, true, with(&made, &[reported.clone(), requested(json!("one"))])),
        (
            true,
            true,
            with(
                &owned,
                &[requested(json!("one")), status(json!({"lastAttempt": attempt}))],
            ),
        ),
        (
            false,
            false,
            with(
                &owned,
                &[
                    requested(json!("one")),
                    status(json!({"lastAttempt": attempt, "request": "one"})),
                ],
            ),
        ),
        (
            true,
            true,
            with(
                &owned,
                &[
                    requested(json!("two")),
                    status(json!({"lastAttempt": attempt, "request": "one"})),
                ],
            ),
        ),
        (
            false,
            false,
            with(
                &owned,
                &[
                    requested(Value::Null),
                    status(json!({"lastAttempt": attempt, "request": "one"})),
                ],
            ),
        ),
        (
            false,
            true,
            with(&owned, &[requested(json!("one")), status(copying.clone())]),
        ),
        // When this one has ended.
        (
            false,
            true,
            with(&owned, &[requested(json!("two")), status(copying.clone())]),
        ),
        // Nobody knows what is meant.
        (false, false, with(&made, &[("/spec/image", json!("a.io/b:1"))])),
    ] {
        let read = read(object.clone());
        assert_eq!((read.is_asked(), read.is_open()), (is_asked, is_open), "{object}");
    }
}

#[test]
fn copies_are_in_the_order_in_which_they_were_asked_for_and_told_of_once() {
    let mut all = Followed::default();
    let wanted = |all: &mut Followed| {
        let copies = all.known.copies()?;
        Some(
            copies
                .iter()
                .map(|wanted| (wanted.asked_at.to_string(), wanted.id.clone()))
                .collect::<Vec<_>>(),
        )
    };
    let entry = |hour: u32, image: &str| (format!("2026-11-21T{hour:02}:00:00Z"), id(image));
    let running = |image: &str, version: u64, hour: u32| {
        let asked_at = json!(format!("2026-11-21T{hour:02}:00:00Z"));
        with(
            &object(image, version, None),
            &[("/status/copying", json!({"askedAt": asked_at}))],
        )
    };
    all.list(&[
        running("a.io/a:1", 1, 11),
        object("a.io/b:1", 2, None),
        running("a.io/c:1", 3, 10),
        made("a.io/d:1", 4),
    ]);
    assert_eq!(
        wanted(&mut all),
        Some(vec![entry(9, "a.io/d:1"), entry(10, "a.io/c:1"), entry(11, "a.io/a:1")])
    );
    assert_eq!(wanted(&mut all), None);
    // What else is written of it is no news.
    all.applied(running("a.io/a:1", 5, 11));
    assert_eq!(wanted(&mut all), None);
    // Ended; changed by somebody who wants it anew; older than what is known.
    all.wrote(object("a.io/c:1", 7, None));
    all.applied(running("a.io/c:1", 6, 10));
    let changed = json!([
        {"manager": "kubectl", "operation": "Update", "time": "2026-11-21T12:00:00Z"},
        {"manager": "waypost", "operation": "Update", "subresource": "status", "time": "2026-11-21T13:00:00Z"},
    ]);
    let again = [
        ("/metadata/managedFields", changed),
        ("/spec/copy", json!({"requestedAt": "again"})),
    ];
    all.applied(with(&object("a.io/b:1", 8, None), &again));
    assert_eq!(
        wanted(&mut all),
        Some(vec![entry(9, "a.io/d:1"), entry(11, "a.io/a:1"), entry(12, "a.io/b:1")])
    );
    all.deleted(made("a.io/d:1", 9));
    all.change(|known, changes| known.bury("one", changes));
    assert_eq!((wanted(&mut all), all.known.wanted()), (Some(vec![]), 0));
    all.list(&[made("a.io/d:1", 10)]);
    assert_eq!(wanted(&mut all), Some(vec![entry(9, "a.io/d:1")]));
    all.list(&[]);
    assert_eq!(wanted(&mut all), Some(vec![]));
    all.wrote(made("a.io/d:1", 11));
    all.change(Known::clear);
    assert_eq!(wanted(&mut all), Some(vec![]));
}

#[test]
fn whoever_makes_an_object_that_cannot_be_understood_is_answered_once() {
    let strange = with(&made("a.io/a:1", 1), &[("/spec/image", json!("a.io/b:1"))]);
    let mut all = Followed::default();
    all.list(std::slice::from_ref(&strange));
    assert_eq!(all.known.wanted(), 1);
    let object = read(strange.clone());
    let why = object.image.clone().unwrap_err();
    let name = id("a.io/b:1");
    assert!(
        why.ends_with(&format!("which is {name}: delete it, and make one of that name")),
        "{why}"
    );
    let status = answer(&object, "False", "NotUnderstood", why.clone()).unwrap();
    let answered = with(
        &strange,
        &[("/status", status), ("/metadata/resourceVersion", json!("2"))],
    );
    assert_eq!(answer(&read(answered.clone()), "False", "NotUnderstood", why), None);
    all.applied(answered.clone());
    assert_eq!(all.known.wanted(), 0);
    // He has changed it.
    all.applied(with(
        &answered,
        &[
            ("/metadata/generation", json!(2)),
            ("/metadata/resourceVersion", json!("3")),
        ],
    ));
    assert_eq!(all.known.wanted(), 1);
}

#[test]
fn a_push_that_goes_on_says_how_far_it_is() {
    let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
    let mut record = Record::new(Image::parse("a.io/a:1").unwrap(), "prod");
    for (bytes, expected) in [
        (None, "a push goes on"),
        (Some((0, 0)), "a push goes on: 0 of 0 kB"),
        (Some((1_550, 999_999)), "a push goes on: 1.5 of 999.9 kB"),
        (Some((12_345_678, 500_000_000)), "a push goes on: 12.3 of 500 MB"),
        (Some((999_999_999, 2_500_000_000)), "a push goes on: 0.9 of 2.5 GB"),
        (
            Some((u64::MAX, u64::MAX)),
            "a push goes on: 18446744073.7 of 18446744073.7 GB",
        ),
    ] {
        record.last_attempt = Some(Attempt {
            state: State::Running,
            attempt: 1,
            error: None,
            bytes_total: bytes.map(|(_, total)| total),
            bytes_done: bytes.map(|(done, _)| done),
            started_at: now,
            finished_at: None,
        });
        let status = status(&record, &[], now).unwrap();
        assert_eq!(status["conditions"][1]["message"], expected);
    }
}

#[test]
fn what_is_kept_of_a_copy_is_written_and_read_and_taken_away() {
    let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
    let mut record = Record::new(Image::parse("a.io/a:1").unwrap(), "prod");
    record.copying = Some(Copying {
        asked_at: now,
        referrers: true,
        refresh: false,
        source: Some("hub".into()),
        login: Some("prod-copy-1".into()),
    });
    let written = status(&record, &[], now).unwrap();
    let read = read(with(&object("a.io/a:1", 1, None), &[("/status", written)])).record();
    assert_eq!(read, Ok(Some(record.clone())));
    record.copying = None;
    assert_eq!(status(&record, &[], now).unwrap().get("copying"), Some(&Value::Null));
}
