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
    let error = errors();
    prop_oneof![
        4 => pushed_or_gone(),
        1 => digests().prop_map(|digest| withdrawn(Some(digest))),
        1 => Just(What::Begun),
        1 => error.prop_map(|error| What::Failed { error: error.into() }),
        1 => digests().prop_map(inspected),
    ]
}

fn errors() -> impl Strategy<Value = &'static str> {
    select(vec!["denied", "time-out"])
}

fn asked(second: i64) -> What {
    What::Asked(Copying {
        asked_at: at(second),
        referrers: false,
        refresh: false,
        source: None,
        login: None,
    })
}

/// What is told of a copy, by whoever makes it.
fn copied() -> impl Strategy<Value = What> {
    prop_oneof![
        2 => (0..20_i64).prop_map(asked),
        1 => (0..20_i64).prop_map(|second| match asked(second) {
            What::Asked(asked) => What::Asked(Copying { refresh: true, ..asked }),
            other => other,
        }),
        2 => Just(What::Begun),
        2 => (0..3_u64, 0..3_u64).prop_map(|(total, done)| What::Progress { total, done }),
        1 => digests().prop_map(succeeded),
        1 => errors().prop_map(|error| What::Failed { error: error.into() }),
        1 => digests().prop_map(inspected),
    ]
}

fn origins() -> impl Strategy<Value = Origin> {
    select(vec![Origin::Report, Origin::Notification, Origin::Verification])
}

fn any_origin() -> impl Strategy<Value = Origin> {
    prop_oneof![origins(), Just(Origin::Copy)]
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    vec(any_event(), 0..12)
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (0..20_i64, origins(), whats()).prop_map(|(second, origin, what)| event(second, origin, what)),
        2 => (0..20_i64, copied()).prop_map(|(second, what)| event(second, Origin::Copy, what)),
    ]
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
    fn a_failed_or_running_push_changes_no_success(before in events(), second in 0..20_i64, origin in any_origin()) {
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
        // But for the end of what goes on, by a clock that is behind, and for a copy's own.
        let is_copys = late.origin == Origin::Copy;
        let ends = |last: &Attempt| !last.state.is_final() && late.origin == Origin::Report || is_copys;
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
            // One that goes on ends, or comes further; else it is another one.
            let is_copys = event.origin == Origin::Copy;
            let ends = open && match event.what {
                What::Asked(_) => record.copying.is_some(),
                What::Begun => is_copys,
                _ => true,
            };
            prop_assert_eq!(more, u32::from(!ends));
            let begun = record.last_attempt.filter(|_| ends).map(|last| last.started_at);
            prop_assert!(after.last_attempt.unwrap().moment() <= event.at.max(begun.unwrap_or(event.at)));
        }
    }
}

proptest! {
    #[test]
    fn while_it_is_copied_only_the_copy_says_how_it_goes(before in events(), event in any_event()) {
        let record = told(&before);
        if record.copying.is_some() && event.origin != Origin::Copy {
            let after = record.after(&event, at(1_000_000), 100).unwrap_or_else(|| record.clone());
            prop_assert_eq!((after.last_attempt, after.copying), (record.last_attempt, record.copying));
        }
    }

    #[test]
    fn a_copy_is_there_as_long_as_its_attempt_goes_on(events in events()) {
        let record = told(&events);
        let state = record.last_attempt.as_ref().map(|last| last.state);
        if record.copying.is_some() {
            prop_assert!(matches!(state, Some(State::Pending | State::Running)), "{state:?}");
        } else {
            prop_assert_ne!(state, Some(State::Pending));
        }
    }

    #[test]
    fn what_is_told_of_a_copy_that_nobody_waits_for_changes_no_attempt_nor_success(before in events(), what in copied()) {
        let mut record = told(&before);
        record.copying = None;
        if !matches!(what, What::Asked(_) | What::Inspected { .. }) {
            prop_assert_eq!(record.after(&event(19, Origin::Copy, what), at(1_000_000), 100), None);
        }
    }
}

/// After each of these events: the state, the attempt, bytes, when it began and ended, and whether somebody waits for it.
type Seen = (State, u32, Option<(u64, u64)>, i64, Option<i64>, bool);

fn seen(events: &[Event]) -> Vec<Seen> {
    let record = |count| told(&events[..count]);
    let seen = |record: Record| {
        let last = record.last_attempt?;
        let second = |moment: Timestamp| moment.as_second() - at(0).as_second();
        let bytes = last.bytes_total.zip(last.bytes_done);
        let ended = last.finished_at.map(second);
        let begun = second(last.started_at);
        Some((last.state, last.attempt, bytes, begun, ended, record.copying.is_some()))
    };
    (1..=events.len()).filter_map(|count| seen(record(count))).collect()
}

fn copy(second: i64, what: What) -> Event {
    event(second, Origin::Copy, what)
}

fn progress(done: u64) -> What {
    What::Progress { total: 9, done }
}

#[test]
fn a_copy_waits_begins_comes_on_and_ends() {
    let events = [
        copy(1, asked(1)),
        copy(3, What::Begun),
        copy(4, progress(0)),
        copy(5, progress(9)),
        copy(6, succeeded("sha256:1")),
        copy(6, inspected("sha256:1")),
    ];
    use State::*;
    assert_eq!(
        seen(&events),
        [
            (Pending, 1, None, 1, None, true),
            (Running, 1, None, 3, None, true),
            (Running, 1, Some((9, 0)), 3, None, true),
            (Running, 1, Some((9, 9)), 3, None, true),
            (Succeeded, 1, Some((9, 9)), 3, Some(6), false),
            (Succeeded, 1, Some((9, 9)), 3, Some(6), false),
        ]
    );
    let success = told(&events).last_success.unwrap();
    assert_eq!((&*success.digest, success.finished_at), ("sha256:1", at(6)));
    assert_eq!(
        success.platforms.len(),
        1,
        "what is in it is known by whoever has copied it"
    );
    // One that fails leaves what is there.
    let again = [copy(7, asked(7)), copy(8, What::Begun), copy(9, failed())];
    let events = [&events[..], &again].concat();
    assert_eq!(
        seen(&events)[6..],
        [
            (Pending, 2, None, 7, None, true),
            (Running, 2, None, 8, None, true),
            (Failed, 2, None, 8, Some(9), false),
        ]
    );
    let record = told(&events);
    assert_eq!(record.last_attempt.unwrap().error.as_deref(), Some("denied"));
    assert_eq!(record.last_success, Some(success));
}

#[test]
fn a_copy_that_somebody_else_goes_on_with_begins_anew_and_is_the_same_attempt() {
    let events = [
        copy(1, asked(1)),
        copy(2, What::Begun),
        copy(3, progress(5)),
        // By a clock that is behind, or not.
        copy(0, What::Begun),
        copy(9, What::Begun),
        copy(10, progress(2)),
        copy(11, failed()),
    ];
    use State::*;
    assert_eq!(
        seen(&events)[3..],
        [
            (Running, 1, None, 2, None, true),
            (Running, 1, None, 2, None, true),
            (Running, 1, Some((9, 2)), 2, None, true),
            (Failed, 1, Some((9, 2)), 2, Some(11), false),
        ]
    );
}

#[test]
fn a_copy_is_asked_for_whatever_became_of_the_push_before() {
    use State::*;
    for (before, attempt) in [
        (vec![], 1),
        (vec![report(1, What::Begun)], 2),
        (vec![report(1, succeeded("sha256:1"))], 2),
        (vec![report(1, failed())], 2),
        (vec![report(1, withdrawn(None))], 1),
        // By a clock that was set back meanwhile.
        (vec![report(100, succeeded("sha256:1"))], 2),
    ] {
        let events = [&before[..], &[copy(5, asked(5)), copy(6, asked(6))]].concat();
        // Whoever comes second joins.
        let expected = (Pending, attempt, None, 5, None, true);
        assert!(seen(&events).ends_with(&[expected; 2]), "{before:?}");
        let record = told(&events);
        assert_eq!(record.copying.unwrap().asked_at, at(5));
        assert_eq!(record.last_success, told(&before).last_success);
    }
}

#[test]
fn whoever_wants_more_of_an_open_copy_gets_it_and_it_begins_anew() {
    let wanted = |second, referrers, refresh, source: Option<&str>, login: Option<&str>| Copying {
        asked_at: at(second),
        referrers,
        refresh,
        source: source.map(Into::into),
        login: login.map(Into::into),
    };
    let first = wanted(10, false, true, None, Some("mine"));
    for (second, expected) in [
        (wanted(12, false, true, None, Some("other")), None),
        (
            wanted(12, true, true, None, None),
            Some(wanted(12, true, true, None, Some("mine"))),
        ),
        (
            wanted(12, false, false, Some("s"), None),
            Some(wanted(12, false, false, Some("s"), Some("mine"))),
        ),
    ] {
        let before = told(&[
            copy(10, What::Asked(first.clone())),
            copy(11, What::Begun),
            copy(11, progress(5)),
        ]);
        let after = before.after(&copy(12, What::Asked(second)), at(12), 9);
        let Some(expected) = expected else {
            assert_eq!(after, None);
            continue;
        };
        let after = after.unwrap();
        assert_eq!(after.copying, Some(expected.clone()));
        let attempt = after.last_attempt.as_ref().unwrap();
        assert_eq!(
            (attempt.state, attempt.attempt, attempt.bytes_done),
            (State::Pending, 1, None)
        );
        // Whoever was at the first says nothing of the second.
        let end = |asked_at| Event {
            origin: Origin::Copier(asked_at),
            ..copy(13, succeeded("sha256:1"))
        };
        assert_eq!(after.after(&end(first.asked_at), at(13), 10), None);
        let ended = after.after(&end(expected.asked_at), at(13), 10).unwrap();
        assert_eq!(ended.last_success.unwrap().finished_at, at(13));
    }
}

#[test]
fn a_copy_that_is_only_kept_up_to_date_is_a_new_push_where_its_source_has_moved_and_else_none() {
    for (refresh, digest, pushed_at) in [(true, "sha256:1", 1), (true, "sha256:2", 11), (false, "sha256:1", 11)] {
        let What::Asked(asked) = asked(10) else { unreachable!() };
        let record = told(&[
            report(1, succeeded("sha256:1")),
            copy(10, What::Asked(Copying { refresh, ..asked })),
            copy(10, What::Begun),
            copy(11, succeeded(digest)),
        ]);
        let success = record.last_success.unwrap();
        assert_eq!(
            (&*success.digest, success.finished_at),
            (digest, at(pushed_at)),
            "{refresh}"
        );
        let attempt = record.last_attempt.unwrap();
        assert_eq!((attempt.state, attempt.finished_at), (State::Succeeded, Some(at(11))));
        assert!(record.copying.is_none());
    }
}

#[test]
fn what_others_tell_while_it_is_copied_is_of_what_is_there_alone() {
    let begun = [copy(1, asked(1)), copy(2, What::Begun)];
    for (second, origin, what) in [
        (3, Origin::Report, What::Begun),
        (3, Origin::Report, succeeded("sha256:2")),
        (3, Origin::Report, failed()),
        (3, Origin::Notification, succeeded("sha256:2")),
        (100_000, Origin::Notification, succeeded("sha256:2")),
        (3, Origin::Verification, withdrawn(None)),
    ] {
        let pushed = matches!(what, What::Succeeded { .. }).then_some("sha256:2");
        let events = [&begun[..], &[event(second, origin, what)]].concat();
        let record = told(&events);
        assert_eq!(record.last_attempt, told(&begun).last_attempt);
        assert_eq!(record.copying, told(&begun).copying);
        assert_eq!(record.last_success.map(|success| success.digest).as_deref(), pushed);
    }
    // The registry notifies of the copy itself, before it has ended or after.
    let noticed = event(5, Origin::Notification, succeeded("sha256:1"));
    let ended = copy(6, succeeded("sha256:1"));
    let before = told(&[&begun[..], &[noticed.clone(), ended.clone()]].concat());
    let after = told(&[&begun[..], &[ended, noticed]].concat());
    assert_eq!(before.last_attempt, after.last_attempt);
    assert_eq!(unnumbered(&before), unnumbered(&after));
    assert_eq!(before.last_attempt.unwrap().attempt, 1);
}

#[test]
fn what_is_withdrawn_while_it_is_copied_was_there_before_it_ended() {
    let copied = [copy(1, asked(1)), copy(2, What::Begun), copy(5, succeeded("sha256:1"))];
    let withdrawn = |second| event(second, Origin::Verification, withdrawn(None));
    for (second, is_there) in [(4, true), (6, false)] {
        let [asked, begun, ended] = copied.clone();
        let record = told(&[asked, begun, withdrawn(second), ended]);
        assert_eq!(record.last_success.is_some(), is_there, "{second}");
        assert_eq!(
            record.last_attempt.unwrap().state,
            State::Succeeded,
            "the copy went well"
        );
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
