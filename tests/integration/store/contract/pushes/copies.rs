//! What every store must do with copies that somebody asks for.

use jiff::Timestamp;
use waypost::{
    pushes::{Copies, Event, Image, MOST_COPIES, Order, Origin, PushId, Record, State, What},
    registry::{Login, Password},
    store::{Asked, PushQuery, Store, StoreError},
};

use super::{all, app, digest, failed, indexed, latest, one, registries, succeeded};
use crate::store::contract::{AwaitFor, PATIENCE};

/// Proves it; `make` gives a store with nothing in it, each time.
pub(super) async fn hold<S: Store>(make: &impl AsyncFn() -> S) {
    nobody_waits_in_an_empty_one(&make().await).await;
    a_copy_is_waited_for_until_it_ends(&make().await).await;
    one_that_fails_leaves_what_is_there(&make().await).await;
    whoever_asks_for_what_is_asked_for_joins(&make().await).await;
    of_two_who_ask_at_once_one_joins(&make().await).await;
    copies_are_in_the_order_in_which_they_were_asked_for(&make().await).await;
    what_others_tell_meanwhile_changes_what_is_there_alone(&make().await).await;
    nothing_is_kept_of_a_copy_that_nobody_waits_for(&make().await).await;
    what_is_asked_for_from_aside_is_asked_for(&make().await).await;
    copies_go_with_their_registry(&make().await).await;
    a_replaced_registry_keeps_its_copies(&make().await).await;
    a_future_that_is_dropped_leaves_no_half(&make().await).await;
}

/// Proves that copies are there in the next process, with what came with them: `open` gives the same home each time, with nothing in it at
/// first, once the store before it is gone.
pub(crate) async fn copies_outlive_their_process<S: Store>(open: impl AsyncFn() -> S) {
    let (waiting, begun, ended) = (
        order("a", 0, "secret-0"),
        order("a", 1, "secret-1"),
        order("a", 2, "secret-2"),
    );
    let store = open().await;
    registries(&store, &["a"]).await;
    for order in [&waiting, &begun, &ended] {
        store.ask(order.clone()).await.unwrap();
    }
    let progress = What::Progress { total: 9, done: 5 };
    let events = [(&begun, What::Begun), (&begun, progress), (&ended, error("denied"))];
    let events = events.map(|(order, what)| told(order, what)).into();
    store.happened(events).await.unwrap();
    let before = all(&store, &PushQuery::default(), 10).await;
    drop(store);
    let store = open().await;
    assert_eq!(all(&store, &PushQuery::default(), 10).await, before);
    wait_for(&store, &[&waiting, &begun]).await;
    for (order, state) in [(&waiting, State::Pending), (&begun, State::Running)] {
        let copy = store.copy(&id(order)).await.unwrap().unwrap();
        assert_eq!((state_of(&copy.record), copy.login), (state, order.login.clone()));
    }
    assert_eq!(store.copy(&id(&ended)).await, Ok(None));
    // Whoever goes on with it says so.
    let record = one(&store, told(&begun, What::Begun)).await;
    let last = record.last_attempt.unwrap();
    assert_eq!((last.state, last.attempt, last.bytes_done), (State::Running, 1, None));
    store
        .happened(vec![copied(&begun, "1"), told(&waiting, error("denied"))])
        .await
        .unwrap();
    drop(store);
    let store = open().await;
    wait_for(&store, &[]).await;
    for order in [&waiting, &begun, &ended] {
        assert_eq!(store.copy(&id(order)).await, Ok(None));
        // What came with the one before is not there for the next.
        let again = Order {
            login: None,
            ..order.clone()
        };
        store.ask(again).await.unwrap();
        assert_eq!(store.copy(&id(order)).await.unwrap().unwrap().login, None);
    }
}

/// Proves that a store with nothing in it lets so many copies wait and no more.
pub(crate) async fn copies_have_a_limit(store: &impl Store) {
    registries(store, &["a", "b"]).await;
    let first = order("a", 0, "secret");
    for place in 0..MOST_COPIES {
        store.ask(order("a", place, "secret")).await.unwrap();
    }
    let more = order("b", 0, "secret");
    for _ in 0..2 {
        let refused = store.ask(more.clone()).await;
        assert!(matches!(refused, Err(StoreError::Busy(_))), "{refused:?}");
        assert_eq!(store.push(&id(&more)).await, Ok(None));
        assert_eq!(store.copy(&id(&more)).await, Ok(None));
    }
    // Whoever joins another needs no room.
    assert!(store.ask(first.clone()).await.unwrap().joined);
    // Nor is anybody else kept from telling.
    one(store, succeeded("b", &app(0), 1, "1")).await;
    one(store, told(&first, error("denied"))).await;
    assert!(!store.ask(more).await.unwrap().joined);
    let refused = store.ask(first).await;
    assert!(matches!(refused, Err(StoreError::Busy(_))), "{refused:?}");
    store.delete("a", None).await.unwrap();
    waiting(store, |copies| copies.len() == 1).await;
    registries(store, &["a"]).await;
    assert!(!store.ask(order("a", 7, "secret")).await.unwrap().joined);
}

/// Proves that a store with nothing in it, which is to hold so many records at most, keeps those that somebody waits for. Some dozens.
pub(crate) async fn copies_do_not_make_room(store: &impl Store, most: usize) {
    registries(store, &["a"]).await;
    let orders: Vec<_> = (0..most).map(|place| order("a", place, "secret")).collect();
    for order in &orders[..most / 2] {
        store.ask(order.clone()).await.unwrap();
    }
    for place in 0..3 * most {
        one(store, succeeded("a", &app(1_000 + place), place as i64, "1")).await;
    }
    for order in &orders[most / 2..] {
        store.ask(order.clone()).await.unwrap();
    }
    // There is none that could go.
    let full = store.ask(order("a", most, "secret")).await;
    assert!(matches!(full, Err(StoreError::Full(_))), "{full:?}");
    let event = succeeded("a", &app(9_999), 1, "1");
    let full = store.happened(vec![event.clone()]).await;
    assert!(matches!(full, Err(StoreError::Full(_))), "{full:?}");
    for order in &orders {
        let copy = store.copy(&id(order)).await.unwrap().unwrap();
        assert_eq!(copy.login, order.login);
    }
    assert_eq!(store.copies().borrow().len(), most);
    one(store, told(&orders[0], error("denied"))).await;
    one(store, event).await;
    assert_eq!(store.push(&id(&orders[0])).await, Ok(None));
}

async fn nobody_waits_in_an_empty_one(store: &impl Store) {
    let order = order("a", 0, "secret");
    assert!(store.copies().borrow().is_empty());
    assert_eq!(store.copy(&id(&order)).await, Ok(None));
    for unknown in ["a", "", "A", "a/b", ".."] {
        let order = Order {
            registry: unknown.into(),
            login: None,
            ..order.clone()
        };
        let none = StoreError::NotFound(unknown.to_owned());
        assert_eq!(store.ask(order.clone()).await, Err(none.clone()), "{unknown}");
        assert_eq!(store.ask_from_aside(order).await, Err(none), "{unknown}");
    }
    assert_eq!(all(store, &PushQuery::default(), 10).await, []);
    assert!(store.copies().borrow().is_empty());
}

async fn a_copy_is_waited_for_until_it_ends(store: &impl Store) {
    let mut early = store.copies();
    registries(store, &["a", "b"]).await;
    one(store, succeeded("b", &app(0), 1, "1")).await;
    let order = Order {
        referrers: true,
        refresh: false,
        source: Some("b".into()),
        ..order("a", 0, "s3cret \"ü\"\n")
    };
    let before = Timestamp::now();
    let Asked { record, joined } = store.ask(order.clone()).await.unwrap();
    assert!(!joined);
    let last = record.last_attempt.as_ref().unwrap();
    assert_eq!((last.state, last.attempt), (State::Pending, 1));
    assert_eq!(
        (last.bytes_total, last.bytes_done, last.finished_at),
        (None, None, None)
    );
    assert!(last.started_at >= before && last.started_at <= Timestamp::now());
    let copying = record.copying.as_ref().unwrap();
    assert_eq!((copying.referrers, copying.source.as_deref()), (true, Some("b")));
    assert!(copying.login.is_some());
    assert_eq!(record.last_success, None);
    assert_eq!(store.push(&record.id()).await, Ok(Some(record.clone())));
    let pending = PushQuery {
        state: Some(State::Pending),
        ..PushQuery::default()
    };
    assert_eq!(all(store, &pending, 10).await, std::slice::from_ref(&record));
    wait_for(store, &[&order]).await;
    let found = tokio::time::timeout(PATIENCE, early.wait_for(|copies| copies.len() == 1)).await;
    assert_eq!(found.expect("watchers are told").unwrap()[0].asked_at, copying.asked_at);
    let copy = store.copy(&record.id()).await.unwrap().unwrap();
    assert_eq!((copy.record, copy.login), (record.clone(), order.login.clone()));

    let running = one(store, told(&order, What::Begun)).await;
    assert_eq!(state_of(&running), State::Running);
    assert_eq!(running.copying, record.copying);
    for done in [0, 5, 5, 9] {
        let progress = one(store, told(&order, What::Progress { total: 9, done })).await;
        let last = progress.last_attempt.as_ref().unwrap();
        assert_eq!((last.bytes_total, last.bytes_done), (Some(9), Some(done)));
        assert_eq!(store.push(&record.id()).await, Ok(Some(progress)));
    }
    indexed(store, |index| latest(index, &app(0)) == ["b"]).await;
    wait_for(store, &[&order]).await;

    let inspected = What::Inspected {
        digest: digest("1"),
        platforms: vec!["linux/amd64".into()],
        children: vec![digest("2")],
    };
    let ends = vec![copied(&order, "1"), told(&order, inspected)];
    let ended = store.happened(ends.clone()).await.unwrap().pop().unwrap();
    let last = ended.last_attempt.as_ref().unwrap();
    assert_eq!(
        (last.state, last.attempt, last.bytes_done),
        (State::Succeeded, 1, Some(9))
    );
    assert!(last.finished_at.is_some());
    assert_eq!(ended.copying, None);
    let success = ended.last_success.as_ref().unwrap();
    assert_eq!((&*success.digest, success.platforms.len()), (&*digest("1"), 1));
    assert!(success.holds(&digest("2")));
    assert_eq!(store.push(&record.id()).await, Ok(Some(ended.clone())));
    assert_eq!(store.copy(&record.id()).await, Ok(None));
    wait_for(store, &[]).await;
    indexed(store, |index| latest(index, &app(0)) == ["a", "b"]).await;
    // Whoever did not hear that it was kept tells it again.
    assert_eq!(store.happened(ends).await.unwrap().pop(), Some(ended));
}

async fn one_that_fails_leaves_what_is_there(store: &impl Store) {
    registries(store, &["a"]).await;
    let success = one(store, succeeded("a", &app(0), 1, "1")).await.last_success;
    let order = order("a", 0, "secret");
    for attempt in [2, 3] {
        let asked = store.ask(order.clone()).await.unwrap();
        assert!(!asked.joined);
        for what in [What::Begun, error("denied")] {
            let record = one(store, told(&order, what)).await;
            assert_eq!(record.last_success, success);
            indexed(store, |index| latest(index, &app(0)) == ["a"]).await;
        }
        let record = store.push(&id(&order)).await.unwrap().unwrap();
        let last = record.last_attempt.as_ref().unwrap();
        assert_eq!(
            (last.state, last.attempt, last.error.as_deref()),
            (State::Failed, attempt, Some("denied"))
        );
        assert_eq!(record.copying, None);
        assert_eq!(store.copy(&id(&order)).await, Ok(None));
        wait_for(store, &[]).await;
    }
}

async fn whoever_asks_for_what_is_asked_for_joins(store: &impl Store) {
    registries(store, &["a", "b"]).await;
    let first = order("a", 0, "secret-1");
    let other = Order {
        referrers: true,
        refresh: false,
        source: Some("b".into()),
        ..order("a", 0, "secret-2")
    };
    let elsewhere = order("b", 0, "secret-3");
    let asked = store.ask(first.clone()).await.unwrap();
    assert!(!store.ask(elsewhere.clone()).await.unwrap().joined);
    let again = store.ask(other.clone()).await.unwrap();
    assert_eq!((again.record, again.joined), (asked.record, true));
    let running = one(store, told(&first, What::Begun)).await;
    let again = store.ask(other.clone()).await.unwrap();
    assert_eq!((again.record, again.joined), (running, true));
    // What came second is not kept.
    assert_eq!(store.copy(&id(&first)).await.unwrap().unwrap().login, first.login);
    wait_for(store, &[&first, &elsewhere]).await;
    one(store, copied(&first, "1")).await;
    let anew = store.ask(other.clone()).await.unwrap();
    assert!(!anew.joined);
    let last = anew.record.last_attempt.as_ref().unwrap();
    assert_eq!((last.state, last.attempt), (State::Pending, 2));
    assert!(anew.record.last_success.is_some());
    let copy = store.copy(&id(&first)).await.unwrap().unwrap();
    assert_eq!((copy.record, copy.login), (anew.record, other.login.clone()));
    wait_for(store, &[&elsewhere, &other]).await;
}

async fn of_two_who_ask_at_once_one_joins(store: &impl Store) {
    registries(store, &["a"]).await;
    for place in 0..8 {
        let (one, other) = (order("a", place, "secret-1"), order("a", place, "secret-2"));
        let asked = tokio::join!(store.ask(one.clone()), store.ask(other.clone()));
        let asked = [asked.0.unwrap(), asked.1.unwrap()];
        let joined = asked.each_ref().map(|asked| asked.joined);
        assert!(joined == [true, false] || joined == [false, true], "{joined:?}");
        let copy = store.copy(&id(&one)).await.unwrap().unwrap();
        assert_eq!(copy.record.last_attempt.unwrap().attempt, 1);
        let first = if joined[0] { other } else { one };
        assert_eq!(copy.login, first.login, "the credential is that of whoever was first");
    }
    waiting(store, |copies| copies.len() == 8).await;
}

async fn copies_are_in_the_order_in_which_they_were_asked_for(store: &impl Store) {
    registries(store, &["a", "b", "c"]).await;
    let orders = [("c", 1), ("a", 5), ("b", 2), ("a", 1), ("c", 0)];
    let orders = orders.map(|(registry, place)| order(registry, place, "secret"));
    for order in &orders {
        store.ask(order.clone()).await.unwrap();
    }
    let [one_, two, three, four, five] = &orders;
    wait_for(store, &[one_, two, three, four, five]).await;
    one(store, told(three, error("denied"))).await;
    one(store, told(one_, What::Begun)).await;
    wait_for(store, &[one_, two, four, five]).await;
    store.ask(three.clone()).await.unwrap();
    wait_for(store, &[one_, two, four, five, three]).await;
}

async fn what_others_tell_meanwhile_changes_what_is_there_alone(store: &impl Store) {
    registries(store, &["a"]).await;
    let order = order("a", 0, "secret");
    store.ask(order.clone()).await.unwrap();
    let running = one(store, told(&order, What::Begun)).await;
    for event in [
        failed("a", &app(0), 2_000, "denied"),
        succeeded("a", &app(0), 2_001, "1"),
    ] {
        let record = one(store, event).await;
        assert_eq!(
            (&record.last_attempt, &record.copying),
            (&running.last_attempt, &running.copying)
        );
        assert_eq!(store.push(&record.id()).await, Ok(Some(record)));
    }
    indexed(store, |index| latest(index, &app(0)) == ["a"]).await;
    assert_eq!(store.copy(&id(&order)).await.unwrap().unwrap().login, order.login);
    let record = one(store, copied(&order, "2")).await;
    assert_eq!(*record.last_success.unwrap().digest, *digest("2"), "it ended later");
}

async fn nothing_is_kept_of_a_copy_that_nobody_waits_for(store: &impl Store) {
    registries(store, &["a"]).await;
    let order = order("a", 0, "secret");
    let whats = || {
        [
            What::Begun,
            What::Progress { total: 9, done: 5 },
            copied(&order, "1").what,
            error("denied"),
        ]
    };
    for what in whats() {
        let record = one(store, told(&order, what)).await;
        assert_eq!(record, Record::new(order.image.clone(), "a"));
        assert_eq!(store.push(&id(&order)).await, Ok(None));
    }
    let ended = one(store, failed("a", &app(0), 1, "reported")).await;
    for what in whats() {
        assert_eq!(one(store, told(&order, what)).await, ended);
    }
    assert_eq!(store.push(&id(&order)).await, Ok(Some(ended)));
    wait_for(store, &[]).await;
}

async fn what_is_asked_for_from_aside_is_asked_for(store: &impl Store) {
    registries(store, &["a", "b"]).await;
    let order = Order {
        login: None,
        source: Some("b".into()),
        referrers: true,
        refresh: false,
        ..order("a", 0, "")
    };
    for attempt in [1, 2] {
        for _ in 0..3 {
            store.ask_from_aside(order.clone()).await.unwrap();
        }
        wait_for(store, &[&order]).await;
        let copy = store.copy(&id(&order)).await.unwrap().unwrap();
        let last = copy.record.last_attempt.as_ref().unwrap();
        assert_eq!((last.state, last.attempt), (State::Pending, attempt));
        let copying = copy.record.copying.as_ref().unwrap();
        assert_eq!((copying.referrers, copying.source.as_deref()), (true, Some("b")));
        assert_eq!((copying.login.as_deref(), copy.login), (None, None));
        assert_eq!(store.push(&id(&order)).await, Ok(Some(copy.record)));
        assert!(store.ask(order.clone()).await.unwrap().joined);
        one(store, copied(&order, "1")).await;
        wait_for(store, &[]).await;
        assert_eq!(store.copy(&id(&order)).await, Ok(None));
    }
}

async fn copies_go_with_their_registry(store: &impl Store) {
    registries(store, &["a", "ab", "a-b"]).await;
    let (of_a, of_ab, of_a_b) = (
        order("a", 0, "secret-1"),
        order("ab", 0, "secret-2"),
        order("a-b", 0, "secret-3"),
    );
    for order in [&of_a, &of_ab, &of_a_b] {
        store.ask(order.clone()).await.unwrap();
    }
    store.delete("a", None).await.unwrap();
    wait_for(store, &[&of_ab, &of_a_b]).await;
    assert_eq!(store.copy(&id(&of_a)).await, Ok(None));
    let none = StoreError::NotFound("a".to_owned());
    assert_eq!(store.happened(vec![copied(&of_a, "1")]).await, Err(none.clone()));
    assert_eq!(store.ask(of_a.clone()).await, Err(none));
    // Another one of that id is pushed to by nobody.
    registries(store, &["a"]).await;
    assert_eq!(store.copy(&id(&of_a)).await, Ok(None));
    let late = one(store, copied(&of_a, "1")).await;
    assert_eq!(late, Record::new(of_a.image.clone(), "a"));
    let anew = Order { login: None, ..of_a };
    assert!(!store.ask(anew.clone()).await.unwrap().joined);
    assert_eq!(store.copy(&id(&anew)).await.unwrap().unwrap().login, None);
    wait_for(store, &[&of_ab, &of_a_b, &anew]).await;
}

async fn a_replaced_registry_keeps_its_copies(store: &impl Store) {
    registries(store, &["a"]).await;
    let order = order("a", 0, "secret");
    let asked = store.ask(order.clone()).await.unwrap();
    let draft = crate::store::contract::draft("other.io");
    store.replace("a", draft, None).await.unwrap();
    let copy = store.copy(&id(&order)).await.unwrap().unwrap();
    assert_eq!((copy.record, copy.login), (asked.record, order.login.clone()));
    wait_for(store, &[&order]).await;
}

async fn a_future_that_is_dropped_leaves_no_half(store: &impl Store) {
    registries(store, &["a"]).await;
    for polls in 0..24 {
        let order = order("a", polls, "secret-1");
        let given_up = store.ask(order.clone()).await_for(polls).await;
        // Whoever asks next sees which it was.
        let next = Order {
            login: login("secret-2"),
            ..order.clone()
        };
        let asked = store.ask(next.clone()).await.unwrap();
        assert!(asked.joined || !given_up, "what was acknowledged is there");
        let copy = store.copy(&id(&order)).await.unwrap().unwrap();
        assert_eq!(copy.record.last_attempt.unwrap().attempt, 1);
        assert_eq!(copy.login, if asked.joined { order.login } else { next.login });
    }
    waiting(store, |copies| copies.len() == 24).await;
}

/// Waits until these wait and no others, in this order, as a watcher sees it.
async fn wait_for(store: &impl Store, orders: &[&Order]) {
    let ids: Vec<_> = orders.iter().map(|order| id(order)).collect();
    waiting(store, |copies| copies.iter().map(|copy| &copy.id).eq(&ids)).await;
}

async fn waiting(store: &impl Store, is_it: impl FnMut(&Copies) -> bool) {
    let mut watcher = store.copies();
    let found = tokio::time::timeout(PATIENCE, watcher.wait_for(is_it)).await;
    found.expect("watchers are told").unwrap();
}

fn order(registry: &str, place: usize, password: &str) -> Order {
    Order {
        image: Image::parse(&app(place)).unwrap(),
        registry: registry.into(),
        referrers: false,
        refresh: false,
        source: None,
        login: login(password),
    }
}

fn login(password: &str) -> Option<Login> {
    Some(Login {
        username: "robot".to_owned(),
        password: Password::new(password.to_owned()),
    })
}

/// What is told of a copy, now.
fn told(order: &Order, what: What) -> Event {
    Event {
        image: order.image.clone(),
        registry: order.registry.clone(),
        at: Timestamp::now(),
        origin: Origin::Copy,
        what,
    }
}

fn copied(order: &Order, of: &str) -> Event {
    let image = order.image.as_str();
    let event = succeeded(&order.registry, image, 0, of);
    told(order, event.what)
}

fn error(error: &str) -> What {
    What::Failed { error: error.into() }
}

fn id(order: &Order) -> PushId {
    PushId::new(&order.registry, order.image.key())
}

fn state_of(record: &Record) -> State {
    record.last_attempt.as_ref().unwrap().state
}
