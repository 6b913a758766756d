//! What a store must do, whichever home is behind it.

mod issued;
mod pushes;

use std::{
    future::Future,
    path::PathBuf,
    pin::pin,
    task::{Context, Waker},
};

use waypost::{
    registry::{
        Condition, ConditionKind, Credential, Credentials, Location, Login, NamesSpec, NamespacesSpec, Password,
        RegistrySpec, Status,
    },
    store::{Change, Draft, Registries, Store, StoreError, Stored, Version},
};

pub(crate) use self::pushes::{
    copies::{copies_do_not_make_room, copies_have_a_limit, copies_outlive_their_process},
    has_a_limit,
};
use crate::support::PATIENCE;

/// What a home can do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Able {
    /// Whether it keeps credentials that are files and variables.
    pub(crate) references: bool,
    /// How many registries are many, and how many push records.
    pub(crate) many: usize,
}

/// Proves it; `make` gives a store with nothing in it, each time, whatever was done to the last.
pub(crate) async fn holds<S: Store>(make: impl AsyncFn() -> S, able: Able) {
    there_is_nothing_in_an_empty_one(&make().await).await;
    what_was_made_is_there_at_once(&make().await).await;
    an_id_is_taken_once(&make().await).await;
    what_is_no_id_is_refused_and_not_found(&make().await).await;
    all_are_listed_by_id(&make().await).await;
    watchers_see_every_state_in_the_end(&make().await).await;
    a_replacement_is_there_at_once_and_another_version(&make().await).await;
    a_replacement_by_the_same_changes_nothing(&make().await).await;
    another_version_than_the_expected_one_is_left_alone(&make().await).await;
    of_two_that_expect_the_same_version_one_wins(&make().await).await;
    of_two_that_make_the_same_one_wins(&make().await).await;
    credentials_are_kept_removed_and_set(&make().await).await;
    a_notification_token_is_kept_apart_from_the_credentials(&make().await).await;
    an_edition_changes_when_its_credential_does(&make().await).await;
    a_reference_is_kept_as_one_or_refused(&make().await, able).await;
    credentials_go_with_their_registry(&make().await).await;
    what_is_found_out_is_no_change(&make().await).await;
    any_text_comes_back_as_it_was(&make().await).await;
    a_future_that_is_dropped_leaves_no_half(&make().await).await;
    many_are_as_few(&make().await, able.many).await;
    issued::hold(&make).await;
    pushes::hold(&make, able.many).await;
}

async fn there_is_nothing_in_an_empty_one(store: &impl Store) {
    assert!(store.list().await.unwrap().is_empty());
    assert!(store.registries().borrow().is_empty());
    assert_eq!(store.registry("a").await, Ok(None));
    let none = StoreError::NotFound("a".to_owned());
    let version = Version("1".to_owned());
    for expected in [None, Some(&version)] {
        assert_eq!(store.replace("a", draft("r.io"), expected).await, Err(none.clone()));
        assert_eq!(store.delete("a", expected).await, Err(none.clone()));
    }
    assert_eq!(store.credentials("a").await, Err(none.clone()));
    assert_eq!(store.report("a", vec![]).await, Err(none.clone()));
    assert_eq!(store.report("a", vec![reachable("x")]).await, Err(none));
    assert!(store.list().await.unwrap().is_empty());
}

async fn what_was_made_is_there_at_once(store: &impl Store) {
    let spec = RegistrySpec {
        display_name: Some("CERN (prod)".to_owned()),
        location: Location::OffCluster,
        url: Some("registry.cern.ch/team".to_owned()),
        endpoint: Some("http://registry.svc:5000".to_owned()),
        plain_http: true,
        ca_bundle: None,
        token_hosts: vec!["gitlab.cern.ch".to_owned()],
        names: Some(NamesSpec {
            to: "{repository}".to_owned(),
            from: Some("docker.io".to_owned()),
        }),
        namespaces: Some(NamespacesSpec {
            names: Some(vec!["team-*".to_owned()]),
            selector: serde_json::from_value(serde_json::json!({"matchLabels": {"a": "b"}})).unwrap(),
        }),
        ..RegistrySpec::default()
    };
    let draft = Draft {
        spec: spec.clone(),
        ..draft("")
    };
    let made = store.create("cern", draft).await.unwrap();
    assert_eq!((&*made.id, said(&made)), ("cern", spec));
    assert_eq!((&made.pull, &made.push, &made.notify), (&None, &None, &None));
    assert_eq!(made.conditions, []);
    assert!(made.created_at <= made.updated_at, "{made:?}");
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let Version(version) = &made.version;
    assert!(!version.is_empty() && version.bytes().all(plain), "{version}");
    assert_eq!(store.registry("cern").await, Ok(Some(made.clone())));
    assert_eq!(*store.list().await.unwrap(), [made]);
    assert_eq!(store.credentials("cern").await, Ok(Credentials::default()));
    assert_eq!(store.notification_token("cern").await, Ok(None));
}

async fn an_id_is_taken_once(store: &impl Store) {
    let first = with_login(store, "a", "r.io", "first").await;
    let again = store.create("a", with(draft("s.io"), login("second"))).await;
    assert_eq!(again, Err(StoreError::Exists("a".to_owned())));
    assert_eq!(store.registry("a").await, Ok(Some(first)));
    assert_eq!(store.credentials("a").await.unwrap().pull, Some(login("first")));
}

async fn what_is_no_id_is_refused_and_not_found(store: &impl Store) {
    with_login(store, "a", "r.io", "p").await;
    let long = "a".repeat(64);
    for id in [
        "", "A", "-a", "a-", ".", "..", "a/b", "a/../a", "../a", "a?x=y", "a%2f", "a#", "a b", "a\0", "ü", "a.b", &long,
    ] {
        let refused = store.create(id, draft("s.io")).await;
        assert!(matches!(refused, Err(StoreError::Unsupported(_))), "{id}: {refused:?}");
        let none = StoreError::NotFound(id.to_owned());
        assert_eq!(store.registry(id).await, Ok(None), "{id}");
        assert_eq!(store.replace(id, draft("s.io"), None).await, Err(none.clone()), "{id}");
        assert_eq!(store.delete(id, None).await, Err(none.clone()), "{id}");
        assert_eq!(store.credentials(id).await, Err(none.clone()), "{id}");
        assert_eq!(store.report(id, vec![reachable("x")]).await, Err(none), "{id}");
    }
    assert_eq!(ids(&store.list().await.unwrap()), ["a"]);
}

async fn all_are_listed_by_id(store: &impl Store) {
    let longest = "z".repeat(63);
    for id in ["b", "a-b", "a", "a0", "10", "9", "ab", "a--b", "xn--a", &longest] {
        store.create(id, draft("r.io")).await.unwrap();
    }
    let sorted = ["10", "9", "a", "a--b", "a-b", "a0", "ab", "b", "xn--a", &longest];
    assert_eq!(ids(&store.list().await.unwrap()), sorted);
    seen(store, |all| ids(all) == sorted).await;
    store.delete("a-b", None).await.unwrap();
    let sorted = ["10", "9", "a", "a--b", "a0", "ab", "b", "xn--a", &longest];
    assert_eq!(ids(&store.list().await.unwrap()), sorted);
    seen(store, |all| ids(all) == sorted).await;
}

async fn watchers_see_every_state_in_the_end(store: &impl Store) {
    let mut early = store.registries();
    let mut is = async |expected: &[&Stored]| {
        let same = |all: &Registries| all.iter().eq(expected.iter().copied());
        let found = tokio::time::timeout(PATIENCE, early.wait_for(same)).await;
        found.expect("watchers are told").unwrap();
        seen(store, same).await;
    };
    let a = store.create("a", draft("r.io")).await.unwrap();
    is(&[&a]).await;
    let b = with_login(store, "b", "r.io", "p").await;
    is(&[&a, &b]).await;
    let a = store.replace("a", draft("s.io"), None).await.unwrap();
    is(&[&a, &b]).await;
    let b = store.replace("b", with(draft("r.io"), login("q")), None).await.unwrap();
    is(&[&a, &b]).await;
    store.report("a", vec![reachable("Answers")]).await.unwrap();
    let a = store.registry("a").await.unwrap().unwrap();
    is(&[&a, &b]).await;
    store.delete("a", None).await.unwrap();
    is(&[&b]).await;
}

async fn a_replacement_is_there_at_once_and_another_version(store: &impl Store) {
    let mut before = store.create("a", draft("r.io")).await.unwrap();
    let mut versions = vec![before.version.clone()];
    for (url, expected) in [("s.io", true), ("t.io", false), ("r.io", true)] {
        let expected = expected.then(|| before.version.clone());
        let after = store.replace("a", draft(url), expected.as_ref()).await.unwrap();
        assert_eq!(said(&after), draft(url).spec);
        assert_eq!(after.created_at, before.created_at);
        assert!(after.updated_at >= before.updated_at);
        assert!(!versions.contains(&after.version), "{versions:?} {after:?}");
        assert_eq!(store.registry("a").await, Ok(Some(after.clone())));
        assert_eq!(*store.list().await.unwrap(), *std::slice::from_ref(&after));
        versions.push(after.version.clone());
        before = after;
    }
}

async fn a_replacement_by_the_same_changes_nothing(store: &impl Store) {
    let before = with_login(store, "a", "r.io", "p").await;
    for change in [Change::Keep, Change::Set(login("p"))] {
        let same = Draft {
            pull: change,
            push: Change::Clear,
            notify: Change::Clear,
            ..draft("r.io")
        };
        let after = store.replace("a", same, Some(&before.version)).await.unwrap();
        assert_eq!(after, before);
        assert_eq!(store.registry("a").await, Ok(Some(before.clone())));
    }
}

async fn another_version_than_the_expected_one_is_left_alone(store: &impl Store) {
    let old = store.create("a", draft("r.io")).await.unwrap();
    let current = with_new_login(store, "a", "p").await;
    let conflict = StoreError::Conflict {
        id: "a".to_owned(),
        current: current.version.clone(),
    };
    let strange = Version("no-version".to_owned());
    for version in [&old.version, &strange] {
        let changed = with(draft("s.io"), login("q"));
        assert_eq!(store.replace("a", changed, Some(version)).await, Err(conflict.clone()));
        assert_eq!(store.delete("a", Some(version)).await, Err(conflict.clone()));
        assert_eq!(store.registry("a").await, Ok(Some(current.clone())));
        assert_eq!(store.credentials("a").await.unwrap().pull, Some(login("p")));
    }
    store.delete("a", Some(&current.version)).await.unwrap();
    assert_eq!(store.registry("a").await, Ok(None));
}

async fn of_two_that_expect_the_same_version_one_wins(store: &impl Store) {
    let mut before = store.create("a", draft("r.io")).await.unwrap();
    for round in 0..20 {
        let version = before.version.clone();
        let draft = |who: &str| with(draft(&format!("{who}{round}.io")), login(&format!("{who}{round}")));
        let (one, two) = tokio::join!(
            store.replace("a", draft("one"), Some(&version)),
            store.replace("a", draft("two"), Some(&version)),
        );
        let (winner, won, lost) = match (one, two) {
            (Ok(won), Err(lost)) => ("one", won, lost),
            (Err(lost), Ok(won)) => ("two", won, lost),
            other => panic!("both or none: {other:?}"),
        };
        let conflict = StoreError::Conflict {
            id: "a".to_owned(),
            current: won.version.clone(),
        };
        assert_eq!(lost, conflict);
        assert_eq!(said(&won), draft(winner).spec);
        assert_eq!(store.registry("a").await, Ok(Some(won.clone())));
        let credential = store.credentials("a").await.unwrap().pull;
        assert_eq!(credential, Some(login(&format!("{winner}{round}"))));
        before = won;
    }
}

async fn of_two_that_make_the_same_one_wins(store: &impl Store) {
    for round in 0..10 {
        let id = format!("a{round}");
        let (one, two) = tokio::join!(
            store.create(&id, with(draft("one.io"), login("one"))),
            store.create(&id, with(draft("two.io"), login("two"))),
        );
        let (winner, won, lost) = match (one, two) {
            (Ok(won), Err(lost)) => ("one", won, lost),
            (Err(lost), Ok(won)) => ("two", won, lost),
            other => panic!("both or none: {other:?}"),
        };
        assert_eq!(lost, StoreError::Exists(id.clone()));
        assert_eq!(store.registry(&id).await, Ok(Some(won)));
        assert_eq!(store.credentials(&id).await.unwrap().pull, Some(login(winner)));
    }
}

async fn credentials_are_kept_removed_and_set(store: &impl Store) {
    let made = with_login(store, "a", "r.io", "pull").await;
    assert!(made.pull.is_some() && made.push.is_none());
    let mut now = Credentials {
        pull: Some(login("pull")),
        push: None,
    };
    assert_eq!(store.credentials("a").await, Ok(now.clone()));
    let set = |password: &str| Change::Set(login(password));
    for (number, (pull, push)) in [
        (Change::Keep, set("push")),
        (set("pull-2"), Change::Keep),
        (Change::Keep, Change::Keep),
        (Change::Clear, Change::Keep),
        (Change::Clear, Change::Clear),
        (Change::Keep, Change::Keep),
        (set("same"), set("same")),
        (set("x"), Change::Clear),
    ]
    .into_iter()
    .enumerate()
    {
        for (present, change) in [(&mut now.pull, &pull), (&mut now.push, &push)] {
            match change {
                Change::Keep => {}
                Change::Clear => *present = None,
                Change::Set(credential) => *present = Some(credential.clone()),
            }
        }
        let spec = draft(&format!("r{number}.io")).spec;
        let draft = Draft {
            spec,
            pull,
            push,
            notify: Change::Keep,
        };
        let after = store.replace("a", draft, None).await.unwrap();
        assert_eq!(store.credentials("a").await, Ok(now.clone()), "{number}");
        let has = (after.pull.is_some(), after.push.is_some());
        assert_eq!(has, (now.pull.is_some(), now.push.is_some()), "{number}");
    }
}

async fn a_notification_token_is_kept_apart_from_the_credentials(store: &impl Store) {
    let with_token = |change| Draft {
        notify: change,
        ..draft("r.io")
    };
    let set = |text: &str| Change::Set(token(text));
    let credentials = Credentials {
        pull: Some(login("pull")),
        push: None,
    };
    let first = Draft {
        notify: set("first-first-first"),
        ..with(draft("r.io"), login("pull"))
    };
    let first = store.create("a", first).await.unwrap();
    assert!(first.pull.is_some() && first.push.is_none() && first.notify.is_some());
    let mut before = first.clone();
    for (change, expected) in [
        (Change::Keep, Some("first-first-first")),
        (set("first-first-first"), Some("first-first-first")),
        (set("second-second-second"), Some("second-second-second")),
        (Change::Clear, None),
        (Change::Keep, None),
        (set("first-first-first"), Some("first-first-first")),
    ] {
        let after = store.replace("a", with_token(change), None).await.unwrap();
        assert_eq!(store.notification_token("a").await, Ok(expected.map(token)));
        assert_eq!(store.credentials("a").await, Ok(credentials.clone()));
        assert_eq!(after.pull, first.pull);
        assert_eq!(after.notify.is_some(), expected.is_some());
        let same = before.notify == after.notify;
        assert_eq!(before.version == after.version, same, "{before:?} {after:?}");
        before = after;
    }
    assert_ne!(
        before.notify, first.notify,
        "it is another one, though it says the same"
    );
    let listed = store.list().await.unwrap();
    assert_eq!(listed[0].notify, before.notify);
    store.delete("a", None).await.unwrap();
    let none = StoreError::NotFound("a".to_owned());
    assert_eq!(store.notification_token("a").await, Err(none));
    let again = store.create("a", draft("r.io")).await.unwrap();
    assert_eq!(again.notify, None);
    assert_eq!(store.notification_token("a").await, Ok(None));
}

async fn an_edition_changes_when_its_credential_does(store: &impl Store) {
    let both = |password: &str| Draft {
        push: Change::Set(login("push")),
        ..with(draft("r.io"), login(password))
    };
    let first = store.create("a", both("p")).await.unwrap();
    let other_spec = store.replace("a", draft("s.io"), None).await.unwrap();
    assert_eq!(
        (&other_spec.pull, &other_spec.push),
        (&first.pull, &first.push),
        "the spec is no credential"
    );
    store.report("a", vec![reachable("Answers")]).await.unwrap();
    let reported = store.registry("a").await.unwrap().unwrap();
    assert_eq!((&reported.pull, &reported.push), (&first.pull, &first.push));
    let changed = store.replace("a", both("q"), None).await.unwrap();
    assert!(changed.pull.is_some() && changed.pull != first.pull);
    assert_eq!(changed.push, first.push, "it was set to what it is");
    assert_ne!(changed.version, other_spec.version);
    let only_the_credential = store.replace("a", both("r"), None).await.unwrap();
    assert_ne!(only_the_credential.version, changed.version);
    assert_ne!(only_the_credential.pull, changed.pull);
    let cleared = Draft {
        pull: Change::Clear,
        ..draft("r.io")
    };
    let cleared = store.replace("a", cleared, None).await.unwrap();
    assert!(cleared.pull.is_none() && cleared.version != only_the_credential.version);
    let again = store.replace("a", both("r"), None).await.unwrap();
    assert!(again.pull.is_some() && again.version != cleared.version);
}

async fn a_reference_is_kept_as_one_or_refused(store: &impl Store, able: Able) {
    let username = || "u".to_owned();
    for (number, reference) in [
        Credential::File {
            username: username(),
            path: PathBuf::from("/run/secrets/pass word"),
        },
        Credential::Environment {
            username: username(),
            variable: "REGISTRY_PASSWORD".to_owned(),
        },
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("a{number}");
        let made = store.create(&id, with(draft("r.io"), reference.clone())).await;
        if able.references {
            made.unwrap();
            assert_eq!(store.credentials(&id).await.unwrap().pull, Some(reference));
        } else {
            assert!(matches!(made, Err(StoreError::Unsupported(_))), "{made:?}");
            assert_eq!(store.registry(&id).await, Ok(None));
            assert_eq!(store.create(&id, draft("r.io")).await.unwrap().pull, None);
        }
    }
}

async fn credentials_go_with_their_registry(store: &impl Store) {
    let both = Draft {
        push: Change::Set(login("push")),
        ..with(draft("r.io"), login("pull"))
    };
    let first = store.create("a", both).await.unwrap();
    with_login(store, "ab", "r.io", "other").await;
    store.report("a", vec![reachable("Answers")]).await.unwrap();
    store.delete("a", None).await.unwrap();
    let none = StoreError::NotFound("a".to_owned());
    assert_eq!(store.registry("a").await, Ok(None));
    assert_eq!(store.credentials("a").await, Err(none.clone()));
    assert_eq!(store.delete("a", None).await, Err(none));
    assert_eq!(ids(&store.list().await.unwrap()), ["ab"]);
    let again = store.create("a", draft("r.io")).await.unwrap();
    assert_ne!(again.version, first.version);
    assert_eq!((&again.pull, &again.push), (&None, &None));
    assert_eq!(again.conditions, []);
    assert_eq!(store.credentials("a").await, Ok(Credentials::default()));
    let stale = store.replace("a", draft("s.io"), Some(&first.version)).await;
    assert!(matches!(stale, Err(StoreError::Conflict { .. })), "{stale:?}");
    assert_eq!(store.credentials("ab").await.unwrap().pull, Some(login("other")));
}

async fn what_is_found_out_is_no_change(store: &impl Store) {
    let made = with_login(store, "a", "r.io", "p").await;
    let long_lived = condition(ConditionKind::LongLived, "Password", "\"ü\"\n");
    let both = |reason: &str| vec![reachable(reason), long_lived.clone()];
    for (found, conditions) in [
        (vec![reachable("Answers")], vec![reachable("Answers")]),
        (both("Answers"), both("Answers")),
        (vec![], both("Answers")),
        (vec![reachable("Refused")], both("Refused")),
    ] {
        store.report("a", found).await.unwrap();
        let expected = Stored {
            conditions,
            ..made.clone()
        };
        assert_eq!(store.registry("a").await, Ok(Some(expected.clone())));
        assert_eq!(*store.list().await.unwrap(), [expected]);
    }
    let expected = store.replace("a", draft("s.io"), Some(&made.version)).await;
    let expected = expected.expect("nobody has changed it");
    assert_eq!(expected.conditions, both("Refused"));
    assert_eq!(store.registry("a").await, Ok(Some(expected)));
}

async fn any_text_comes_back_as_it_was(store: &impl Store) {
    let long = "p".repeat(8_000);
    for (number, text) in [
        "ü 日本 🦀",
        "\"quoted\" \\back\\",
        "two\nlines\r\n",
        "\ttabs and spaces ",
        "{{ .Values }} ${x} $(y) %s",
        "null",
        "a:b:c",
        "\u{2028}\u{feff}\u{1}\u{7f}",
        &long,
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("a{number}");
        let spec = RegistrySpec {
            // The schema of objects has a limit.
            display_name: Some(text.chars().take(60).collect()),
            ..draft("r.io").spec
        };
        let credential = Credential::Login(Login {
            username: text.replace(':', "").to_owned(),
            password: Password::new(text.to_owned()),
        });
        let draft = Draft {
            spec: spec.clone(),
            ..with(draft(""), credential.clone())
        };
        let made = store.create(&id, draft).await.unwrap();
        assert_eq!(said(&made), spec);
        assert_eq!(store.registry(&id).await, Ok(Some(made)));
        assert_eq!(store.credentials(&id).await.unwrap().pull, Some(credential));
        let condition = condition(ConditionKind::Authenticated, "Refused", text);
        store.report(&id, vec![condition.clone()]).await.unwrap();
        assert_eq!(store.registry(&id).await.unwrap().unwrap().conditions, [condition]);
    }
}

async fn a_future_that_is_dropped_leaves_no_half(store: &impl Store) {
    for polls in 0..24 {
        let id = format!("a{polls}");
        let given_up = store
            .create(&id, with(draft("r.io"), login("given-up")))
            .await_for(polls)
            .await;
        match store.create(&id, draft("s.io")).await {
            Ok(made) => {
                assert!(!given_up, "what was acknowledged is there");
                assert_eq!(made.pull, None);
                assert_eq!(store.credentials(&id).await, Ok(Credentials::default()));
            }
            Err(StoreError::Exists(_)) => {
                assert_eq!(store.credentials(&id).await.unwrap().pull, Some(login("given-up")));
            }
            Err(other) => panic!("{other}"),
        }
        let before = store.registry(&id).await.unwrap().unwrap();
        let changed = with(draft("t.io"), login("changed"));
        store.replace(&id, changed, None).await_for(polls).await;
        // Whoever writes next sees which it was.
        let same = store.replace(&id, draft("u.io"), None).await.unwrap();
        let pull = store.credentials(&id).await.unwrap().pull;
        if same.pull == before.pull {
            assert_ne!(pull, Some(login("changed")));
        } else {
            assert_eq!(pull, Some(login("changed")));
        }
        store.delete(&id, None).await_for(polls).await;
        match store.delete(&id, None).await {
            Ok(()) | Err(StoreError::NotFound(_)) => {}
            Err(other) => panic!("{other}"),
        }
        assert_eq!(store.registry(&id).await, Ok(None));
        assert!(store.credentials(&id).await.is_err());
    }
}

async fn many_are_as_few(store: &impl Store, many: usize) {
    for number in 0..many {
        let id = format!("registry-{number:04}");
        with_login(store, &id, &format!("r{number}.io"), &format!("p{number}")).await;
    }
    let all = store.list().await.unwrap();
    assert_eq!(all.len(), many);
    assert!(all.iter().map(|stored| &stored.id).is_sorted());
    seen(store, |seen| *seen == all).await;
    for (number, stored) in all.iter().enumerate() {
        assert_eq!(stored.spec.url, Some(format!("r{number}.io")));
        let pull = store.credentials(&stored.id).await.unwrap().pull;
        assert_eq!(pull, Some(login(&format!("p{number}"))));
    }
    let one = &all[many / 2];
    store.delete(&one.id, Some(&one.version)).await.unwrap();
    assert_eq!(store.list().await.unwrap().len(), many - 1);
}

/// A future that nobody waits for to the end.
trait AwaitFor: Future + Sized {
    /// Polls it so many times, letting others go on in between, and drops it. Whether it was done.
    async fn await_for(self, polls: usize) -> bool {
        let mut future = pin!(self);
        for _ in 0..polls {
            if future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                return true;
            }
            tokio::task::yield_now().await;
        }
        false
    }
}

impl<F: Future> AwaitFor for F {}

/// Waits until a watcher that comes now has seen it.
async fn seen(store: &impl Store, is_it: impl FnMut(&Registries) -> bool) {
    let mut watcher = store.registries();
    let found = tokio::time::timeout(PATIENCE, watcher.wait_for(is_it)).await;
    found.expect("watchers are told").unwrap();
}

async fn with_login(store: &impl Store, id: &str, url: &str, password: &str) -> Stored {
    let made = store.create(id, with(draft(url), login(password))).await.unwrap();
    assert_eq!(store.credentials(id).await.unwrap().pull, Some(login(password)));
    made
}

async fn with_new_login(store: &impl Store, id: &str, password: &str) -> Stored {
    let spec = said(&store.registry(id).await.unwrap().unwrap());
    let draft = Draft { spec, ..draft("") };
    store.replace(id, with(draft, login(password)), None).await.unwrap()
}

/// What was said of it: the references to Secrets are the home's affair.
fn said(stored: &Stored) -> RegistrySpec {
    RegistrySpec {
        pull_credential: None,
        push_credential: None,
        notification_token: None,
        ..stored.spec.clone()
    }
}

fn draft(url: &str) -> Draft {
    Draft {
        spec: RegistrySpec {
            url: Some(url.to_owned()),
            ..RegistrySpec::default()
        },
        pull: Change::Keep,
        push: Change::Keep,
        notify: Change::Keep,
    }
}

fn with(draft: Draft, pull: Credential) -> Draft {
    Draft {
        pull: Change::Set(pull),
        ..draft
    }
}

fn token(text: &str) -> Credential {
    Credential::token(Password::new(text.to_owned()))
}

fn login(password: &str) -> Credential {
    Credential::Login(Login {
        username: "u".to_owned(),
        password: Password::new(password.to_owned()),
    })
}

fn reachable(reason: &str) -> Condition {
    condition(ConditionKind::Reachable, reason, "")
}

fn condition(kind: ConditionKind, reason: &str, message: &str) -> Condition {
    Condition {
        kind,
        status: Status::True,
        reason: reason.to_owned(),
        message: message.to_owned(),
        // Kubernetes keeps seconds.
        last_transition_time: jiff::Timestamp::from_second(1_800_000_000).unwrap(),
    }
}

fn ids(all: &Registries) -> Vec<&str> {
    all.iter().map(|stored| &*stored.id).collect()
}
