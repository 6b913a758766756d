use jiff::{SignedDuration, Timestamp};
use proptest::{collection::vec, prelude::*, sample::select};

use super::*;
use crate::reference::Reference;

/// What becomes of a record of which nothing is known by these events, each received long after all of them.
fn told(events: &[Event]) -> Record {
    let new = Record::new(image(), "a");
    events.iter().zip(1..).fold(new, |record, (event, number)| {
        record.after(event, at(1_000_000), number).unwrap_or(record)
    })
}

/// But for numbers: they say in which order events were told of.
fn unnumbered(record: &Record) -> Record {
    let mut record = record.clone();
    if let Some(success) = &mut record.last_success {
        success.sequence = 0;
    }
    record
}

fn image() -> Image {
    Image::parse("org/app:1").unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn event(second: i64, origin: Origin, what: What) -> Event {
    Event {
        image: image(),
        registry: "a".into(),
        at: at(second),
        origin,
        what,
    }
}

fn report(second: i64, what: What) -> Event {
    event(second, Origin::Report, what)
}

fn succeeded(digest: &str) -> What {
    What::Succeeded {
        target: "r.io/app:1".into(),
        digest: digest.into(),
    }
}

fn failed() -> What {
    What::Failed { error: "denied".into() }
}

fn withdrawn(digest: Option<&str>) -> What {
    What::Withdrawn {
        digest: digest.map(Into::into),
    }
}

fn inspected(digest: &str) -> What {
    What::Inspected {
        digest: digest.into(),
        platforms: vec!["linux/amd64".into()],
        children: vec![],
    }
}

fn digests() -> impl Strategy<Value = &'static str> {
    select(vec!["sha256:1", "sha256:2", "sha256:3"])
}

/// Those that change what is there to pull.
fn pushed_or_gone() -> impl Strategy<Value = What> {
    prop_oneof![3 => digests().prop_map(succeeded), 2 => Just(withdrawn(None))]
}

fn whats() -> impl Strategy<Value = What> {
    let error = select(vec!["denied", "time-out"]);
    prop_oneof![
        4 => pushed_or_gone(),
        1 => digests().prop_map(|digest| withdrawn(Some(digest))),
        1 => Just(What::Begun),
        1 => error.prop_map(|error| What::Failed { error: error.into() }),
        1 => digests().prop_map(inspected),
    ]
}

fn origins() -> impl Strategy<Value = Origin> {
    select(vec![Origin::Report, Origin::Notification, Origin::Verification])
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    vec(any_event(), 0..12)
}

fn any_event() -> impl Strategy<Value = Event> {
    (0..20_i64, origins(), whats()).prop_map(|(second, origin, what)| event(second, origin, what))
}

/// Each at another time, in any order, by one who tells.
fn permuted() -> impl Strategy<Value = (Vec<Event>, Vec<Event>)> {
    (
        vec(prop_oneof![4 => pushed_or_gone(), 1 => Just(failed())], 1..8),
        origins(),
    )
        .prop_flat_map(|(whats, origin)| {
            let events: Vec<_> = (0..)
                .zip(whats)
                .map(|(second, what)| event(second, origin, what))
                .collect();
            (Just(events.clone()), Just(events).prop_shuffle())
        })
}

proptest! {
    #[test]
    fn what_is_told_again_at_once_changes_nothing(before in events(), event in any_event()) {
        let record = told(&before);
        let once = record.after(&event, at(1_000_000), 100).unwrap_or(record);
        prop_assert_eq!(once.after(&event, at(1_000_001), 101), None);
    }

    #[test]
    fn all_that_was_told_told_again_changes_nothing_that_can_be_pulled((events, _) in permuted()) {
        let once = told(&events);
        let twice = told(&[events.clone(), events].concat());
        prop_assert_eq!(unnumbered(&once).last_success, unnumbered(&twice).last_success);
        prop_assert_eq!(once.withdrawn_at, twice.withdrawn_at);
    }

    #[test]
    fn events_of_different_times_come_to_the_same_in_any_order((ordered, shuffled) in permuted()) {
        let (one, other) = (told(&ordered), told(&shuffled));
        prop_assert_eq!(unnumbered(&one).last_success, unnumbered(&other).last_success);
        prop_assert_eq!(one.withdrawn_at, other.withdrawn_at);
        // That is what the latest of them says.
        let last = ordered.iter().rev().find(|event| !matches!(event.what, What::Failed { .. }));
        let expected = last.and_then(|event| match &event.what {
            What::Succeeded { digest, .. } => Some((digest, event.at)),
            _ => None,
        });
        let found = one.last_success.as_ref().map(|success| (&success.digest, success.finished_at));
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn a_failed_or_running_push_changes_no_success(before in events(), second in 0..20_i64, origin in origins()) {
        let record = told(&before);
        for what in [What::Begun, failed()] {
            if let Some(after) = record.after(&event(second, origin, what), at(1_000_000), 100) {
                prop_assert_eq!(after.last_success, record.last_success.clone());
                prop_assert_eq!(after.withdrawn_at, record.withdrawn_at);
            }
        }
    }

    #[test]
    fn a_late_event_does_not_undo_a_later_one(before in events(), late in any_event()) {
        let record = told(&before);
        let after = record.after(&late, at(1_000_000), 100).unwrap_or_else(|| record.clone());
        if let Some(success) = record.last_success.as_ref().filter(|success| success.finished_at > late.at) {
            let after = after.last_success.as_ref().unwrap();
            prop_assert_eq!((after.order(), &after.digest, &after.target), (success.order(), &success.digest, &success.target));
        }
        if record.last_success.is_none() && record.withdrawn_at.is_some_and(|withdrawn| withdrawn > late.at) {
            prop_assert_eq!(after.last_success, None);
        }
        // But for the end of what goes on, by a clock that is behind.
        let ends = |last: &Attempt| !last.state.is_final() && late.origin == Origin::Report;
        if record.last_attempt.as_ref().is_some_and(|last| last.moment() > late.at && !ends(last)) {
            prop_assert_eq!(after.last_attempt, record.last_attempt);
        }
        prop_assert!(after.withdrawn_at >= record.withdrawn_at);
    }

    #[test]
    fn no_moment_is_later_than_what_it_was_received_at(before in events(), event in any_event(), received in 0..20_i64) {
        let record = before.iter().fold(Record::new(image(), "a"), |record, event| {
            record.after(event, at(received), 1).unwrap_or(record)
        });
        let record = record.after(&event, at(received), 2).unwrap_or(record);
        prop_assert!(record.heard_at() <= Some(at(received)));
    }

    #[test]
    fn attempts_are_counted(before in events(), event in any_event()) {
        let record = told(&before);
        let number = |record: &Record| record.last_attempt.as_ref().map_or(0, |last| last.attempt);
        let open = record.last_attempt.as_ref().is_some_and(|last| !last.state.is_final());
        let after = record.after(&event, at(1_000_000), 100).unwrap_or_else(|| record.clone());
        let more = number(&after) - number(&record);
        if after.last_attempt == record.last_attempt {
            prop_assert_eq!(more, 0);
        } else {
            // One that goes on ends; else it is another one.
            let ends = open && event.what != What::Begun;
            prop_assert_eq!(more, u32::from(!ends));
            let begun = record.last_attempt.filter(|_| ends).map(|last| last.started_at);
            prop_assert!(after.last_attempt.unwrap().moment() <= event.at.max(begun.unwrap_or(event.at)));
        }
    }
}

#[test]
fn an_attempt_is_one_from_its_beginning_to_its_end() {
    let begun = report(1, What::Begun);
    let running = told(std::slice::from_ref(&begun)).last_attempt.unwrap();
    assert_eq!(
        (running.state, running.attempt, running.finished_at),
        (State::Running, 1, None)
    );
    // The registry says that it is there; whoever pushes has not said that he is done.
    let noticed = told(&[begun.clone(), event(2, Origin::Notification, succeeded("sha256:1"))]);
    assert_eq!(noticed.last_attempt, Some(running));
    assert_eq!(*noticed.last_success.unwrap().digest, *"sha256:1");
    let done = told(&[begun.clone(), report(3, succeeded("sha256:1"))])
        .last_attempt
        .unwrap();
    assert_eq!((done.state, done.attempt), (State::Succeeded, 1));
    assert_eq!((done.started_at, done.finished_at), (at(1), Some(at(3))));
    let failed_and_again = told(&[begun.clone(), report(2, failed()), report(3, What::Begun)])
        .last_attempt
        .unwrap();
    assert_eq!((failed_and_again.state, failed_and_again.attempt), (State::Running, 2));
    assert_eq!((failed_and_again.error, failed_and_again.started_at), (None, at(3)));
    // Nobody has told of how the first one ended.
    let two = told(&[begun, report(2, What::Begun)]).last_attempt.unwrap();
    assert_eq!((two.state, two.attempt, two.started_at), (State::Running, 2, at(2)));
}

#[test]
fn a_moment_that_is_yet_to_come_is_when_it_was_received() {
    let soon = Event {
        at: Timestamp::MAX,
        ..report(0, succeeded("sha256:1"))
    };
    let record = Record::new(image(), "a").after(&soon, at(5), 1).unwrap();
    assert_eq!(record.last_success.as_ref().unwrap().finished_at, at(5));
    assert_eq!(record.last_attempt.as_ref().unwrap().finished_at, Some(at(5)));
    // What comes after that is later, whatever is said of when it was.
    let record = record.after(&report(6, succeeded("sha256:2")), at(7), 2).unwrap();
    assert_eq!(*record.last_success.unwrap().digest, *"sha256:2");
    let just_now = report(5, withdrawn(None));
    let record = told(&[])
        .after(&just_now, at(5) - SignedDuration::from_nanos(1), 1)
        .unwrap();
    assert!(record.withdrawn_at < Some(at(5)));
}

#[test]
fn a_digest_that_is_withdrawn_takes_no_other_with_it() {
    let of = |digest| report(3, withdrawn(Some(digest)));
    let first = [report(1, succeeded("sha256:1")), report(2, succeeded("sha256:2"))];
    let other = told(&[&first[..], &[of("sha256:1")]].concat());
    assert_eq!(*other.last_success.unwrap().digest, *"sha256:2");
    assert_eq!(other.withdrawn_at, None);
    let same = told(&[&first[..], &[of("sha256:2")]].concat());
    assert_eq!((same.last_success, same.withdrawn_at), (None, Some(at(3))));
}

#[test]
fn what_was_found_in_an_image_is_kept_as_long_as_it_is_there() {
    let pushed = [report(1, succeeded("sha256:1")), report(2, inspected("sha256:1"))];
    let platforms = |events: &[Event]| told(events).last_success.unwrap().platforms.len();
    assert_eq!(platforms(&pushed), 1);
    assert_eq!(
        platforms(&[&pushed[..], &[report(3, succeeded("sha256:1"))]].concat()),
        1
    );
    assert_eq!(
        platforms(&[&pushed[..], &[report(3, succeeded("sha256:2"))]].concat()),
        0
    );
    assert_eq!(
        platforms(&[&pushed[..1], &[report(3, inspected("sha256:2"))]].concat()),
        0
    );
    assert_eq!(told(&[report(1, inspected("sha256:1"))]), Record::new(image(), "a"));
}

#[test]
fn of_two_at_the_same_time_the_one_that_was_told_of_last_is_the_later() {
    let both = told(&[report(1, succeeded("sha256:1")), report(1, succeeded("sha256:2"))]);
    assert_eq!(*both.last_success.as_ref().unwrap().digest, *"sha256:2");
    let other = told(&[report(1, succeeded("sha256:2")), report(1, succeeded("sha256:1"))]);
    assert_eq!(*other.last_success.as_ref().unwrap().digest, *"sha256:1");
    let elsewhere = told(&[report(1, succeeded("sha256:3"))]);
    assert!(both.last_success.unwrap().order() > elsewhere.last_success.unwrap().order());
}

#[test]
fn a_digest_says_more_than_the_tag_beside_it() {
    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    for (image, expected) in [
        ("alpine".to_owned(), "docker.io/library/alpine:latest".to_owned()),
        (format!("alpine@{DIGEST}"), format!("docker.io/library/alpine@{DIGEST}")),
        (
            format!("alpine:3@{DIGEST}"),
            format!("docker.io/library/alpine@{DIGEST}"),
        ),
        (format!("Quay.IO/x:1@{DIGEST}"), format!("quay.io/x@{DIGEST}")),
    ] {
        let meant = Image::meant_by(&Reference::parse(&image).unwrap());
        assert_eq!(meant.as_str(), expected);
        assert_eq!(Image::parse(&expected).unwrap(), meant);
        assert_eq!(meant.tag_may_move(), !image.contains('@'));
    }
}

#[test]
fn a_host_is_the_same_in_any_letter_case_and_no_image_becomes_another_by_it() {
    for (written, image) in [
        ("alpine", "docker.io/library/alpine:latest"),
        (
            "index.docker.io/library/alpine:latest",
            "docker.io/library/alpine:latest",
        ),
        ("Quay.io/org/app:1", "quay.io/org/app:1"),
        ("Quay.io:443/org/app:1", "quay.io:443/org/app:1"),
        ("LOCALHOST/app:1", "localhost/app:1"),
        // Hosts of their own to a node, and no other images than these.
        ("UPPER/app:1", "UPPER/app:1"),
        ("Index.docker.io/org/app:1", "Index.docker.io/org/app:1"),
        ("Docker.io/alpine:1", "Docker.io/alpine:1"),
        ("Docker.io/org/app:1", "docker.io/org/app:1"),
    ] {
        let read = Image::parse(written).unwrap();
        assert_eq!(read.as_str(), image);
        assert_eq!(Image::parse(image).unwrap(), read, "{written} is what it was");
        let reference = Reference::parse(written).unwrap();
        assert_eq!(Key::of(&reference), read.key(), "{written}");
    }
}

#[test]
fn who_began_says_how_it_ended_by_a_clock_that_is_a_little_behind() {
    let begun = event(100, Origin::Report, What::Begun);
    let succeeded = |second| {
        let digest = format!("sha256:{:064x}", 1).into();
        let target = "r.io/app:1".into();
        event(second, Origin::Report, What::Succeeded { target, digest })
    };
    for (second, state, finished) in [
        (99, State::Succeeded, Some(at(100))),
        (160, State::Succeeded, Some(at(160))),
        // Of another push.
        (10, State::Running, None),
    ] {
        let record = told(&[begun.clone(), succeeded(second)]);
        let attempt = record.last_attempt.unwrap();
        assert_eq!(
            (attempt.state, attempt.attempt, attempt.finished_at),
            (state, 1, finished)
        );
        assert_eq!(record.last_success.unwrap().finished_at, at(second));
    }
    // The registry says nothing of it, until nobody else does any more.
    let notified = |second| {
        let mut event = succeeded(second);
        event.origin = Origin::Notification;
        event
    };
    let state = |events: &[Event]| told(events).last_attempt.unwrap().state;
    assert_eq!(state(&[begun.clone(), notified(200)]), State::Running);
    assert_eq!(state(&[begun, notified(100 + 24 * 3600)]), State::Succeeded);
}
