//! What every store must do with push records.

pub(crate) mod copies;

use std::{collections::BTreeSet, ops::Range};

use jiff::{SignedDuration, Timestamp};
use waypost::{
    pushes::{Event, Image, Index, Origin, PushId, Record, State, What},
    reference::Reference,
    store::{PushPage, PushQuery, Store, StoreError},
};

use super::{AwaitFor, PATIENCE, draft};

/// Proves it; `make` gives a store with nothing in it, each time.
pub(super) async fn hold<S: Store>(make: &impl AsyncFn() -> S, many: usize) {
    there_are_none_in_an_empty_one(&make().await).await;
    a_report_is_there_once_it_was_acknowledged(&make().await).await;
    what_is_told_again_changes_nothing(&make().await).await;
    an_event_of_an_unknown_registry_changes_nothing(&make().await).await;
    the_latest_is_told_by_time_and_then_by_number(&make().await).await;
    a_moment_that_is_yet_to_come_counts_as_now(&make().await).await;
    a_failed_or_running_push_changes_no_success(&make().await).await;
    what_was_withdrawn_is_there_again_once_it_is_pushed_again(&make().await).await;
    watchers_see_every_state_of_the_index_in_the_end(&make().await).await;
    many_events_in_one_call_are_as_one_after_the_other(&make().await).await;
    what_somebody_found_in_a_push_is_kept_until_another_is_there(&make().await).await;
    each_is_listed_once_whatever_is_asked_for(&make().await).await;
    records_go_with_their_registry(&make().await).await;
    a_replaced_registry_keeps_its_records(&make().await).await;
    two_who_tell_at_once_lose_nothing(&make().await).await;
    no_record_outlives_its_registry(&make().await).await;
    a_future_that_is_dropped_leaves_no_half(&make().await).await;
    many_are_as_few(&make().await, many).await;
    copies::hold(make).await;
}

/// Proves that a store with nothing in it, which is to hold so many records at most, makes room for new ones, and by which. Some dozens.
pub(crate) async fn has_a_limit(store: &impl Store, most: usize) {
    let third = most / 3;
    registries(store, &["a", "b"]).await;
    let each = |places: Range<usize>, event: &dyn Fn(usize) -> Event| -> Vec<_> { places.map(event).collect() };
    // Of each of these images the one in `b` is the later: nobody pulls the one in `a`.
    let elder = each(0..third, &|place| succeeded("a", &app(place), place as i64, "1"));
    let newest = each(0..third, &|place| succeeded("b", &app(place), 500 + place as i64, "1"));
    // Younger than those, and there is nothing to pull.
    let nothing = each(2 * third..most, &|place| match place % 2 {
        0 => failed("a", &app(place), 1_000 + place as i64, "denied"),
        _ => withdrawn("b", &app(place), 1_000 + place as i64, None),
    });
    for events in [&elder, &newest, &nothing] {
        store.happened(events.clone()).await.unwrap();
    }
    // What is there is written over, and nothing goes.
    one(store, succeeded("b", &app(0), 1_500, "2")).await;
    assert_eq!(all(store, &PushQuery::default(), most).await.len(), most);

    // Those that may go, in that order.
    let victims: Vec<_> = [&nothing[..], &elder, &newest[1..]].concat().iter().map(id).collect();
    let mut added = Vec::new();
    // Several go at a time: the last of them would be more than there are victims.
    while added.len() < most - 1 - most / 50 {
        let place = added.len();
        let record = one(store, succeeded("a", &app(10_000 + place), 2_000 + place as i64, "1")).await;
        added.push(record.id());
        let there: BTreeSet<_> = all(store, &PushQuery::default(), most)
            .await
            .iter()
            .map(Record::id)
            .collect();
        assert!(there.len() <= most, "{}", there.len());
        assert!(added.iter().all(|id| there.contains(id)), "what is new is there");
        assert!(there.contains(&id(&newest[0])), "it was pushed again");
        let gone = victims.iter().take_while(|id| !there.contains(id)).count();
        assert!(
            gone > place || there.len() < most,
            "as many as have come: {gone} of {place}"
        );
        assert!(
            victims[gone..].iter().all(|id| there.contains(id)),
            "in their order: {gone} of {place}"
        );
        let to_pull = there.len() - nothing.len().saturating_sub(gone);
        indexed(store, |index| index.len() == to_pull).await;
    }
    assert!(
        all(store, &PushQuery::default(), most).await.len() > most / 2,
        "a few at a time go"
    );
    indexed(store, |index| {
        latest(index, &app(0)) == ["b"] && latest(index, &app(1)).is_empty()
    })
    .await;

    // In one call there may be more than there is room for.
    let events = each(0..2 * most, &|place| {
        succeeded("b", &app(20_000 + place), 9_000 + place as i64, "1")
    });
    store.happened(events.clone()).await.unwrap();
    let found = all(store, &PushQuery::default(), most).await;
    assert!(found.len() <= most, "{}", found.len());
    assert_eq!(
        found
            .iter()
            .filter(|record| record.id() == id(&events[2 * most - 1]))
            .count(),
        1
    );
    indexed(store, |index| index.len() == found.len()).await;
}

async fn there_are_none_in_an_empty_one(store: &impl Store) {
    let event = succeeded("a", "org/app:1", 1, "1");
    assert!(store.index().borrow().is_empty());
    assert_eq!(store.push(&id(&event)).await, Ok(None));
    for query in [
        PushQuery::default(),
        PushQuery {
            image: Some(event.image.clone()),
            ..PushQuery::default()
        },
        PushQuery {
            registry: Some("a".to_owned()),
            ..PushQuery::default()
        },
        PushQuery {
            state: Some(State::Succeeded),
            ..PushQuery::default()
        },
        PushQuery {
            after: Some("a".to_owned()),
            ..PushQuery::default()
        },
    ] {
        assert_eq!(all(store, &query, 10).await, []);
    }
    assert_eq!(store.happened(vec![]).await, Ok(vec![]));
    assert!(store.index().borrow().is_empty());
}

async fn a_report_is_there_once_it_was_acknowledged(store: &impl Store) {
    registries(store, &["a"]).await;
    let event = succeeded("a", "Docker.io/library/alpine", 5, "1");
    let record = one(store, event.clone()).await;
    assert_eq!(
        (record.image.as_str(), &*record.registry),
        ("docker.io/library/alpine:latest", "a")
    );
    let success = record.last_success.as_ref().unwrap();
    assert_eq!(
        (&*success.target, &*success.digest),
        ("r.io/mirror/app:latest", &*digest("1"))
    );
    assert_eq!(success.finished_at, at(5));
    let attempt = record.last_attempt.as_ref().unwrap();
    assert_eq!(
        (attempt.state, attempt.attempt, attempt.finished_at),
        (State::Succeeded, 1, Some(at(5)))
    );
    assert_eq!(record.withdrawn_at, None);
    assert_eq!(store.push(&record.id()).await, Ok(Some(record.clone())));
    assert_eq!(all(store, &PushQuery::default(), 10).await, [record]);
    // Whoever else writes the image gets it too.
    for written in ["alpine", "alpine:latest", "index.docker.io/library/alpine"] {
        indexed(store, |index| latest(index, written) == ["a"]).await;
    }
    assert_eq!(latest(&store.index().borrow(), "alpine:3"), [""; 0]);
}

async fn what_is_told_again_changes_nothing(store: &impl Store) {
    registries(store, &["a"]).await;
    let events = [
        failed("a", "org/app:1", 1, "denied"),
        succeeded("a", "org/app:1", 2, "1"),
        withdrawn("a", "org/app:1", 3, Some("1")),
        succeeded("a", "org/app:1", 4, "2"),
        Event {
            origin: Origin::Notification,
            ..succeeded("a", "org/app:1", 4, "2")
        },
    ];
    let first = store.happened(events.to_vec()).await.unwrap();
    let last = first.last().unwrap();
    assert_eq!(last.last_attempt.as_ref().unwrap().attempt, 3);
    for event in &events {
        assert_eq!(one(store, event.clone()).await, *last, "{event:?}");
    }
    assert_eq!(
        store.happened(events.to_vec()).await.unwrap(),
        vec![last.clone(); events.len()]
    );
    assert_eq!(store.push(&last.id()).await, Ok(Some(last.clone())));
}

async fn an_event_of_an_unknown_registry_changes_nothing(store: &impl Store) {
    registries(store, &["a"]).await;
    for unknown in ["b", "", "A", "a.b", "a/b", "..", "ü"] {
        let none = StoreError::NotFound(unknown.to_owned());
        let stray = succeeded(unknown, "org/app:1", 1, "1");
        assert_eq!(
            store.happened(vec![stray.clone()]).await,
            Err(none.clone()),
            "{unknown}"
        );
        let good = succeeded("a", "org/app:1", 1, "1");
        assert_eq!(store.happened(vec![good, stray]).await, Err(none), "{unknown}");
    }
    assert_eq!(all(store, &PushQuery::default(), 10).await, []);
    assert!(store.index().borrow().is_empty());
}

async fn the_latest_is_told_by_time_and_then_by_number(store: &impl Store) {
    registries(store, &["a", "b", "c"]).await;
    let image = "org/app:1";
    for (event, expected) in [
        (succeeded("b", image, 10, "1"), vec!["b"]),
        (succeeded("a", image, 20, "1"), vec!["a", "b"]),
        // It came late.
        (succeeded("c", image, 15, "1"), vec!["a", "c", "b"]),
        // What is later of a pair takes its place, and what is earlier does not.
        (succeeded("b", image, 30, "2"), vec!["b", "a", "c"]),
        (succeeded("b", image, 25, "3"), vec!["b", "a", "c"]),
        // Of those at the same time the one that was told of last.
        (succeeded("c", image, 30, "2"), vec!["c", "b", "a"]),
        (succeeded("a", image, 30, "2"), vec!["a", "c", "b"]),
        (succeeded("c", image, 30, "3"), vec!["c", "a", "b"]),
    ] {
        one(store, event).await;
        indexed(store, |index| latest(index, image) == expected).await;
    }
    let found = all(store, &PushQuery::default(), 10).await;
    let numbers: BTreeSet<_> = found
        .iter()
        .filter_map(|record| Some(record.last_success.as_ref()?.sequence))
        .collect();
    assert_eq!(numbers.len(), 3, "no two have the same");
}

async fn a_moment_that_is_yet_to_come_counts_as_now(store: &impl Store) {
    registries(store, &["a", "b"]).await;
    let soon = Timestamp::now() + SignedDuration::from_hours(1);
    let record = one(
        store,
        Event {
            at: Timestamp::MAX,
            ..succeeded("a", "org/app:1", 0, "1")
        },
    )
    .await;
    assert!(record.last_success.as_ref().unwrap().finished_at < soon, "{record:?}");
    let record = one(
        store,
        Event {
            at: Timestamp::MAX,
            ..withdrawn("b", "org/app:1", 0, None)
        },
    )
    .await;
    assert!(record.withdrawn_at.unwrap() < soon, "{record:?}");
    indexed(store, |index| latest(index, "org/app:1") == ["a"]).await;
    one(
        store,
        Event {
            at: Timestamp::MAX,
            ..succeeded("b", "org/app:1", 0, "1")
        },
    )
    .await;
    indexed(store, |index| latest(index, "org/app:1") == ["b", "a"]).await;
}

async fn a_failed_or_running_push_changes_no_success(store: &impl Store) {
    registries(store, &["a", "b"]).await;
    let image = "org/app:1";
    one(store, succeeded("a", image, 1, "1")).await;
    let success = one(store, succeeded("b", image, 2, "1")).await.last_success;
    for (event, state, attempt) in [
        (failed("b", image, 3, "denied"), State::Failed, 2),
        (begun("b", image, 4), State::Running, 3),
        (failed("b", image, 5, "\"ü\"\n\u{2028}"), State::Failed, 3),
        (begun("b", image, 6), State::Running, 4),
    ] {
        let record = one(store, event.clone()).await;
        assert_eq!(record.last_success, success);
        let last = record.last_attempt.as_ref().unwrap();
        assert_eq!((last.state, last.attempt), (state, attempt));
        let expected = match &event.what {
            What::Failed { error } => Some(error),
            _ => None,
        };
        assert_eq!(last.error.as_ref(), expected);
        assert_eq!(store.push(&record.id()).await, Ok(Some(record)));
        indexed(store, |index| latest(index, image) == ["b", "a"]).await;
    }
    // One that never went well is there, and Pods do not see it.
    let record = one(store, failed("a", "org/other:1", 1, "denied")).await;
    assert_eq!(record.last_success, None);
    assert_eq!(store.push(&record.id()).await, Ok(Some(record)));
    indexed(store, |index| {
        latest(index, "org/other:1").is_empty() && index.len() == 2
    })
    .await;
}

async fn what_was_withdrawn_is_there_again_once_it_is_pushed_again(store: &impl Store) {
    registries(store, &["a", "b"]).await;
    let image = "org/app:1";
    one(store, succeeded("a", image, 10, "1")).await;
    one(store, succeeded("b", image, 20, "2")).await;
    for (event, there, expected) in [
        // It is another digest that is there.
        (withdrawn("b", image, 30, Some("1")), true, vec!["b", "a"]),
        // It was pushed since.
        (withdrawn("b", image, 15, None), true, vec!["b", "a"]),
        (withdrawn("b", image, 40, Some("2")), false, vec!["a"]),
        // That was before it was withdrawn.
        (succeeded("b", image, 35, "3"), false, vec!["a"]),
        (succeeded("b", image, 45, "3"), true, vec!["b", "a"]),
        (withdrawn("b", image, 50, None), false, vec!["a"]),
        (withdrawn("a", image, 50, None), false, vec![]),
        (succeeded("a", image, 60, "1"), true, vec!["a"]),
        (succeeded("b", image, 55, "1"), true, vec!["a", "b"]),
    ] {
        let record = one(store, event.clone()).await;
        assert_eq!(record.last_success.is_some(), there, "{event:?}");
        assert_eq!(store.push(&record.id()).await, Ok(Some(record)));
        indexed(store, |index| latest(index, image) == expected).await;
    }
    // What was not heard of before is withdrawn as well: a push of before may be told of later.
    let record = one(store, withdrawn("a", "org/late:1", 20, None)).await;
    assert_eq!((&record.last_attempt, record.withdrawn_at), (&None, Some(at(20))));
    assert_eq!(store.push(&record.id()).await, Ok(Some(record)));
    assert_eq!(
        one(store, succeeded("a", "org/late:1", 10, "1")).await.last_success,
        None
    );
    indexed(store, |index| latest(index, "org/late:1").is_empty()).await;
}

async fn watchers_see_every_state_of_the_index_in_the_end(store: &impl Store) {
    let mut early = store.index();
    let mut is = async |image: &str, expected: &[&str], count: usize| {
        let same = |index: &Index| latest(index, image) == expected && index.len() == count;
        let found = tokio::time::timeout(PATIENCE, early.wait_for(same)).await;
        found.expect("watchers are told").unwrap();
        indexed(store, same).await;
    };
    registries(store, &["a", "b"]).await;
    is("org/app:1", &[], 0).await;
    one(store, succeeded("a", "org/app:1", 1, "1")).await;
    is("org/app:1", &["a"], 1).await;
    one(store, succeeded("b", "org/app:1", 2, "1")).await;
    is("org/app:1", &["b", "a"], 2).await;
    one(store, succeeded("b", "org/app:2", 3, "1")).await;
    is("org/app:2", &["b"], 3).await;
    one(store, withdrawn("b", "org/app:1", 4, None)).await;
    is("org/app:1", &["a"], 2).await;
    store.delete("b", None).await.unwrap();
    is("org/app:2", &[], 1).await;
}

async fn many_events_in_one_call_are_as_one_after_the_other(store: &impl Store) {
    registries(store, &["a", "b"]).await;
    let mut events: Vec<_> = (0..20)
        .map(|place| succeeded("a", &app(place), place as i64, "1"))
        .collect();
    // Several of one pair, and what changes nothing.
    events.insert(5, failed("a", &app(0), 100, "denied"));
    events.insert(9, withdrawn("a", &app(1), 101, None));
    events.push(succeeded("a", &app(1), 102, "2"));
    events.push(succeeded("a", &app(1), 50, "3"));
    events.push(succeeded("b", &app(1), 102, "2"));
    let records = store.happened(events.clone()).await.unwrap();
    assert_eq!(records.len(), events.len());
    for (event, record) in events.iter().zip(&records) {
        assert_eq!(record.id(), id(event), "one of each event, in its order");
    }
    assert_eq!(records[5].last_attempt.as_ref().unwrap().state, State::Failed);
    assert_eq!(records[9].last_success, None);
    assert_eq!(*records[22].last_success.as_ref().unwrap().digest, *digest("2"));
    assert_eq!(records[23], records[22], "it came late");
    // The last of each pair is what is there.
    for (place, record) in records.iter().enumerate() {
        if !records[place + 1..].iter().any(|later| later.id() == record.id()) {
            assert_eq!(store.push(&record.id()).await, Ok(Some(record.clone())), "{place}");
        }
    }
    indexed(store, |index| index.len() == 21 && latest(index, &app(1)) == ["b", "a"]).await;
    let numbers: BTreeSet<_> = all(store, &PushQuery::default(), 100)
        .await
        .iter()
        .map(|record| record.last_success.as_ref().unwrap().sequence)
        .collect();
    assert_eq!(numbers.len(), 21, "no two have the same number");
}

async fn what_somebody_found_in_a_push_is_kept_until_another_is_there(store: &impl Store) {
    registries(store, &["a"]).await;
    let image = "org/app:1";
    let platforms: Vec<Box<str>> = vec!["linux/amd64".into(), "linux/arm64/v8".into()];
    let children: Vec<Box<str>> = (0..12).map(|number| digest(&format!("c{number}"))).collect();
    let inspected = |of: &str| Event {
        origin: Origin::Verification,
        what: What::Inspected {
            digest: digest(of),
            platforms: platforms.clone(),
            children: children.clone(),
        },
        ..begun("a", image, 5)
    };
    // Nothing is kept of what nobody has pushed.
    let nothing = one(store, inspected("1")).await;
    assert_eq!(nothing, Record::new(nothing.image.clone(), "a"));
    assert_eq!(store.push(&nothing.id()).await, Ok(None));
    one(store, succeeded("a", image, 1, "1")).await;
    let other = one(store, inspected("2")).await;
    assert!(other.last_success.as_ref().unwrap().platforms.is_empty());
    let record = one(store, inspected("1")).await;
    let success = record.last_success.as_ref().unwrap();
    assert_eq!((&success.platforms, &success.children), (&platforms, &children));
    assert_eq!(store.push(&record.id()).await, Ok(Some(record)));
    let again = one(store, succeeded("a", image, 6, "1")).await;
    assert_eq!(
        again.last_success.as_ref().unwrap().children,
        children,
        "it is the same"
    );
    let other = one(store, succeeded("a", image, 7, "2")).await;
    assert!(other.last_success.as_ref().unwrap().children.is_empty());
    assert_eq!(store.push(&other.id()).await, Ok(Some(other)));
}

async fn each_is_listed_once_whatever_is_asked_for(store: &impl Store) {
    // Their ids are in another order than those of their records, and some begin as others do.
    let ids = ["a", "a-b", "a0", "ab", "b"];
    registries(store, &ids).await;
    let mut events = Vec::new();
    for (number, registry) in ids.iter().enumerate() {
        for place in 0..4 {
            let image = app(place);
            events.push(match (number + place) % 4 {
                0 => succeeded(registry, &image, 1, "1"),
                1 => failed(registry, &image, 1, "denied"),
                2 => begun(registry, &image, 1),
                _ => withdrawn(registry, &image, 1, None),
            });
        }
    }
    let mut records = store.happened(events).await.unwrap();
    records.sort_by_key(Record::id);
    let image = |place| Some(Image::parse(&app(place)).unwrap());
    let mut found = 0;
    for image in [None, image(0), image(7)] {
        for registry in [None, Some("a"), Some("a-b"), Some("c"), Some(""), Some("a.")] {
            for state in [
                None,
                Some(State::Pending),
                Some(State::Running),
                Some(State::Succeeded),
                Some(State::Failed),
            ] {
                let wanted = |record: &&Record| {
                    image.as_ref().is_none_or(|image| *image == record.image)
                        && registry.is_none_or(|registry| registry == &*record.registry)
                        && state
                            .is_none_or(|state| record.last_attempt.as_ref().is_some_and(|last| last.state == state))
                };
                let expected: Vec<_> = records.iter().filter(wanted).cloned().collect();
                let query = PushQuery {
                    image: image.clone(),
                    registry: registry.map(str::to_owned),
                    state,
                    ..PushQuery::default()
                };
                for limit in [1, 3, 100] {
                    assert_eq!(
                        all(store, &query, limit).await,
                        expected,
                        "{limit} at a time of {query:?}"
                    );
                }
                found += expected.len();
            }
        }
    }
    assert!(found > 50, "{found}");
    // From anywhere.
    for after in [
        "",
        "a",
        "a-",
        "a.",
        "a.ffffffffffffffffffffffffffffffffff",
        "ab\0",
        "ü",
        records[7].id().as_str(),
    ] {
        let query = PushQuery {
            after: Some(after.to_owned()),
            ..PushQuery::default()
        };
        let expected: Vec<_> = records
            .iter()
            .filter(|record| record.id().as_str() > after)
            .cloned()
            .collect();
        assert_eq!(all(store, &query, 6).await, expected, "{after:?}");
    }
}

async fn records_go_with_their_registry(store: &impl Store) {
    registries(store, &["a", "ab", "a-b"]).await;
    let of = |registry: &str| {
        [
            succeeded(registry, &app(0), 1, "1"),
            failed(registry, &app(1), 1, "denied"),
        ]
    };
    let events = ["a", "ab", "a-b"].map(of).concat();
    let before = store.happened(events).await.unwrap();
    store.delete("a", None).await.unwrap();
    let left: Vec<_> = {
        let mut left: Vec<_> = before
            .iter()
            .filter(|record| *record.registry != *"a")
            .cloned()
            .collect();
        left.sort_by_key(Record::id);
        left
    };
    assert_eq!(all(store, &PushQuery::default(), 10).await, left);
    assert_eq!(store.push(&before[0].id()).await, Ok(None));
    indexed(store, |index| {
        index.len() == 2 && latest(index, &app(0)) == ["a-b", "ab"]
    })
    .await;
    assert_eq!(
        store.happened(of("a").to_vec()).await,
        Err(StoreError::NotFound("a".to_owned()))
    );
    // Another one of that id has none of them, and what is told of it begins anew.
    registries(store, &["a"]).await;
    assert_eq!(all(store, &PushQuery::default(), 10).await, left);
    indexed(store, |index| index.len() == 2).await;
    let record = one(store, succeeded("a", &app(1), 1, "1")).await;
    assert_eq!(record.last_attempt.as_ref().unwrap().attempt, 1);
    let numbers = before
        .iter()
        .filter_map(|record| Some(record.last_success.as_ref()?.sequence));
    let number = record.last_success.as_ref().unwrap().sequence;
    assert!(
        numbers.into_iter().all(|before| before < number),
        "no number is given out again"
    );
    indexed(store, |index| index.len() == 3 && latest(index, &app(1)) == ["a"]).await;
}

async fn a_replaced_registry_keeps_its_records(store: &impl Store) {
    registries(store, &["a"]).await;
    let record = one(store, succeeded("a", &app(0), 1, "1")).await;
    store.replace("a", draft("other.io"), None).await.unwrap();
    assert_eq!(store.push(&record.id()).await, Ok(Some(record.clone())));
    indexed(store, |index| latest(index, &app(0)) == ["a"]).await;
    // Nor do pushes change a registry.
    let before = store.registry("a").await.unwrap();
    one(store, succeeded("a", &app(0), 2, "1")).await;
    assert_eq!(store.registry("a").await.unwrap(), before);
}

async fn two_who_tell_at_once_lose_nothing(store: &impl Store) {
    registries(store, &["a"]).await;
    for round in 0..8 {
        let tell = async |who: &str, second: i64| {
            let events = vec![
                succeeded("a", &format!("org/{who}:{round}"), second, "1"),
                // Both tell of this one.
                succeeded("a", &format!("org/both:{round}"), second, who),
            ];
            store.happened(events).await.unwrap()
        };
        tokio::join!(tell("one", 1), tell("two", 2));
        for (image, expected) in [("one", "1"), ("two", "1"), ("both", "two")] {
            let event = succeeded("a", &format!("org/{image}:{round}"), 0, "1");
            let record = store.push(&id(&event)).await.unwrap().unwrap();
            let success = record.last_success.as_ref().unwrap();
            assert_eq!(success.digest, digest(expected), "{image}:{round}");
        }
    }
    let found = all(store, &PushQuery::default(), 100).await;
    let numbers: BTreeSet<_> = found
        .iter()
        .filter_map(|record| Some(record.last_success.as_ref()?.sequence))
        .collect();
    assert_eq!((found.len(), numbers.len()), (24, 24), "no two have the same number");
    indexed(store, |index| index.len() == 24).await;
}

async fn no_record_outlives_its_registry(store: &impl Store) {
    for round in 0..8 {
        registries(store, &["a"]).await;
        let events = (0..5).map(|place| succeeded("a", &app(place), 1, "1")).collect();
        let (told, deleted) = tokio::join!(store.happened(events), store.delete("a", None));
        deleted.unwrap();
        assert!(
            matches!(told, Ok(_) | Err(StoreError::NotFound(_))),
            "{round}: {told:?}"
        );
        assert_eq!(all(store, &PushQuery::default(), 10).await, [], "{round}");
        indexed(store, Index::is_empty).await;
    }
}

async fn a_future_that_is_dropped_leaves_no_half(store: &impl Store) {
    registries(store, &["a"]).await;
    for polls in 0..24 {
        let event = succeeded("a", &app(polls), 1, "1");
        let given_up = store.happened(vec![event.clone()]).await_for(polls).await;
        // Whoever tells next sees which it was.
        let next = one(store, failed("a", &app(polls), 2, "denied")).await;
        assert!(
            next.last_success.is_some() || !given_up,
            "what was acknowledged is there"
        );
        let attempt = next.last_attempt.as_ref().unwrap().attempt;
        assert_eq!(attempt, 1 + u32::from(next.last_success.is_some()));
        indexed(store, |index| {
            latest(index, &app(polls)).is_empty() == next.last_success.is_none()
        })
        .await;
    }
}

async fn many_are_as_few(store: &impl Store, many: usize) {
    registries(store, &["a", "b"]).await;
    let events: Vec<_> = (0..many)
        .map(|place| succeeded(["a", "b"][place % 2], &app(place / 2), place as i64, "1"))
        .collect();
    let mut records = Vec::new();
    for events in events.chunks(50) {
        records.extend(store.happened(events.to_vec()).await.unwrap());
    }
    records.sort_by_key(Record::id);
    for limit in [7, 10 * many] {
        assert!(
            all(store, &PushQuery::default(), limit).await == records,
            "{limit} at a time"
        );
    }
    indexed(store, |index| {
        index.len() == many && latest(index, &app(0)) == ["b", "a"]
    })
    .await;
    store.delete("a", None).await.unwrap();
    assert_eq!(all(store, &PushQuery::default(), 100).await.len(), many / 2);
    indexed(store, |index| {
        index.len() == many / 2 && latest(index, &app(0)) == ["b"]
    })
    .await;
}

/// All that is found by a query, a page of so many after the other: each page follows the one before it.
async fn all(store: &impl Store, query: &PushQuery, limit: usize) -> Vec<Record> {
    let mut found: Vec<Record> = Vec::new();
    let mut query = PushQuery { limit, ..query.clone() };
    loop {
        let PushPage { items, next } = store.pushes(&query).await.unwrap();
        assert!(items.len() <= limit, "{} where {limit} were asked for", items.len());
        for record in items {
            let before = found.last().map(Record::id);
            assert!(before.is_none_or(|before| before < record.id()), "by id, and each once");
            assert!(query.after.as_deref().is_none_or(|after| record.id().as_str() > after));
            found.push(record);
        }
        let Some(next) = next else { return found };
        assert!(query.after.as_ref().is_none_or(|after| *after < next), "it goes on");
        query.after = Some(next);
    }
}

/// Tells of one event.
async fn one(store: &impl Store, event: Event) -> Record {
    let id = id(&event);
    let mut records = store.happened(vec![event]).await.unwrap();
    assert_eq!(records.len(), 1);
    let record = records.pop().unwrap();
    assert_eq!(record.id(), id);
    record
}

async fn registries(store: &impl Store, ids: &[&str]) {
    for id in ids {
        store.create(id, draft(&format!("{id}.io"))).await.unwrap();
    }
}

/// Waits until the index that a watcher sees is that.
async fn indexed(store: &impl Store, is_it: impl FnMut(&Index) -> bool) {
    let mut watcher = store.index();
    let found = tokio::time::timeout(PATIENCE, watcher.wait_for(is_it)).await;
    found.expect("watchers are told").unwrap();
}

/// The registries that an image was pushed to, the latest first.
fn latest(index: &Index, image: &str) -> Vec<String> {
    let reference = Reference::parse(image).unwrap();
    index
        .find(&reference)
        .iter()
        .map(|found| found.registry.to_owned())
        .collect()
}

fn app(place: usize) -> String {
    format!("registry.example.com/org/app:{place}")
}

fn succeeded(registry: &str, image: &str, second: i64, of: &str) -> Event {
    // Under the image's own tag, or Pods could not use it.
    let name = Image::parse(image).unwrap();
    let (_, tag) = name.as_str().rsplit_once(':').unwrap();
    let what = What::Succeeded {
        target: format!("r.io/mirror/app:{tag}").into(),
        digest: digest(of),
    };
    event(registry, image, second, what)
}

fn failed(registry: &str, image: &str, second: i64, error: &str) -> Event {
    event(registry, image, second, What::Failed { error: error.into() })
}

fn begun(registry: &str, image: &str, second: i64) -> Event {
    event(registry, image, second, What::Begun)
}

fn withdrawn(registry: &str, image: &str, second: i64, of: Option<&str>) -> Event {
    event(registry, image, second, What::Withdrawn { digest: of.map(digest) })
}

fn event(registry: &str, image: &str, second: i64, what: What) -> Event {
    Event {
        image: Image::parse(image).unwrap(),
        registry: registry.into(),
        at: at(second),
        origin: Origin::Report,
        what,
    }
}

fn id(event: &Event) -> PushId {
    PushId::new(&event.registry, event.image.key())
}

/// Long ago.
fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

/// Another one for each text.
fn digest(of: &str) -> Box<str> {
    let hex: String = of.bytes().cycle().take(32).map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}").into()
}
