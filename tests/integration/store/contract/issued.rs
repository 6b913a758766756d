//! Registries whose tokens somebody issues: the keys that stay where they are, and the tokens that are kept for a while.

use waypost::{
    registry::{
        ConditionKind, Credential, Credentials, Key, Keys, Location, Login, NamespacesSpec, Password, RegistrySpec,
        RepositoriesSpec,
    },
    store::{Change, Draft, Issuance, Store, StoreError, Stored, Token},
};

use super::{AwaitFor as _, condition, draft, login, reachable, said, seen, token, with, with_login};

/// Proves it, as [`super::holds`].
pub(super) async fn hold<S: Store>(make: &impl AsyncFn() -> S) {
    a_key_is_kept_and_is_no_credential(&make().await).await;
    where_nobody_issues_tokens_there_are_no_keys(&make().await).await;
    a_token_is_what_is_pulled_with_and_no_change(&make().await).await;
    a_token_of_another_registry_is_refused(&make().await).await;
    a_token_goes_with_its_place_and_with_nothing_else(&make().await).await;
    another_location_keeps_no_credential(&make().await).await;
    what_is_of_no_use_there_is_refused(&make().await).await;
    a_registry_that_is_made_anew_has_no_token_and_no_key(&make().await).await;
    what_was_found_out_otherwise_stays(&make().await).await;
    any_text_is_a_key_and_a_token(&make().await).await;
    of_two_at_the_same_time_neither_is_lost(&make().await).await;
    a_token_that_is_given_up_leaves_no_half(&make().await).await;
}

async fn a_key_is_kept_and_is_no_credential(store: &impl Store) {
    for (id, spec, keys) in [
        ("e", ecr(), [aws("1"), temporary("2"), aws("3")]),
        ("g", gcr(), [google("1"), google("2"), google("3")]),
    ] {
        let [first, second, third] = keys;
        let made = store.create(id, keyed(&spec, set(&first), set(&second))).await.unwrap();
        assert_eq!(said(&made), spec);
        assert!(made.key.is_some() && made.push.is_some(), "{made:?}");
        assert_eq!((&made.pull, &made.issuance), (&None, &None));
        has_keys(store, id, Some(&first), Some(&second)).await;
        let kept = store
            .replace(id, keyed(&spec, set(&first), Change::Keep), None)
            .await
            .unwrap();
        assert_eq!(kept, made, "it was set to what it is");
        let other = keyed(&spec, set(&third), Change::Keep);
        let other = store.replace(id, other, Some(&made.version)).await.unwrap();
        assert!(other.key.is_some() && other.key != made.key && other.version != made.version);
        assert_eq!(other.push, made.push);
        has_keys(store, id, Some(&third), Some(&second)).await;
        let cleared = keyed(&spec, Change::Clear, Change::Keep);
        let cleared = store.replace(id, cleared, None).await.unwrap();
        assert_eq!((&cleared.key, &cleared.push), (&None, &made.push));
        has_keys(store, id, None, Some(&second)).await;
        let notified = Draft {
            notify: Change::Set(token("first-first-first")),
            ..keyed(&spec, Change::Keep, Change::Clear)
        };
        let notified = store.replace(id, notified, None).await.unwrap();
        assert!(notified.push.is_none() && notified.notify.is_some());
        has_keys(store, id, None, None).await;
    }
}

async fn where_nobody_issues_tokens_there_are_no_keys(store: &impl Store) {
    let none = StoreError::NotFound("a".to_owned());
    assert_eq!(store.keys("a").await, Err(none.clone()));
    assert_eq!(store.issued("a", issue(&ecr(), "t")).await, Err(none));
    let made = with_login(store, "a", "r.io", "p").await;
    assert_eq!((&made.key, &made.issuance), (&None, &None));
    assert_eq!(store.keys("a").await, Ok(Keys::default()));
}

async fn a_token_is_what_is_pulled_with_and_no_change(store: &impl Store) {
    let made = store
        .create("a", keyed(&ecr(), set(&aws("k")), Change::Keep))
        .await
        .unwrap();
    store.report("a", vec![reachable("Answers")]).await.unwrap();
    let mut editions = vec![];
    for (number, account) in [Some("123456789012"), None, Some("210987654321"), None]
        .into_iter()
        .enumerate()
    {
        let mut token = issue(&ecr(), &format!("t{number}"));
        token.issuance.account = account.map(str::to_owned);
        store.issued("a", token.clone()).await.unwrap();
        has_token(store, "a", &format!("t{number}")).await;
        let now = store.registry("a").await.unwrap().unwrap();
        assert!(
            now.pull.is_some() && !editions.contains(&now.pull),
            "{now:?} {editions:?}"
        );
        let expected = Stored {
            pull: now.pull.clone(),
            issuance: Some(token.issuance),
            conditions: vec![reachable("Answers")],
            ..made.clone()
        };
        assert_eq!(now, expected);
        assert_eq!(*store.list().await.unwrap(), *std::slice::from_ref(&expected));
        seen(store, |all| **all == [expected.clone()]).await;
        editions.push(now.pull);
    }
    has_keys_beside(store, "a", Some(&aws("k"))).await;
    // What somebody has seen before may be changed by them.
    let changed = keyed(&ecr(), set(&aws("l")), Change::Keep);
    store.replace("a", changed, Some(&made.version)).await.unwrap();
    has_token(store, "a", "t3").await;
}

async fn a_token_of_another_registry_is_refused(store: &impl Store) {
    let made = store
        .create("a", keyed(&ecr(), Change::Keep, Change::Keep))
        .await
        .unwrap();
    with_login(store, "b", "r.io", "p").await;
    let elsewhere = RegistrySpec {
        region: Some("us-east-1".to_owned()),
        ..ecr()
    };
    for (id, spec) in [
        ("a", elsewhere),
        ("a", gcr()),
        ("a", draft("r.io").spec),
        ("b", ecr()),
        ("b", draft("r.io").spec),
    ] {
        let before = store.registry(id).await.unwrap().unwrap();
        let conflict = StoreError::Conflict {
            id: id.to_owned(),
            current: before.version.clone(),
        };
        assert_eq!(store.issued(id, issue(&spec, "t")).await, Err(conflict));
        assert_eq!(store.registry(id).await, Ok(Some(before)));
    }
    assert_eq!(store.credentials("a").await, Ok(Credentials::default()));
    assert_eq!(store.credentials("b").await.unwrap().pull, Some(login("p")));
    assert_eq!(store.registry("a").await, Ok(Some(made)));
}

async fn a_token_goes_with_its_place_and_with_nothing_else(store: &impl Store) {
    let some = |text: &str| Some(text.to_owned());
    store
        .create("a", keyed(&ecr(), set(&aws("k")), Change::Keep))
        .await
        .unwrap();
    store.issued("a", issue(&ecr(), "t")).await.unwrap();
    let mut spec = ecr();
    let nothing = |_: &mut RegistrySpec| {};
    let changes: [(Edit, Change); 7] = [
        (|spec| spec.display_name = Some("A".to_owned()), Change::Keep),
        (
            |spec| spec.pull_role_arn = Some("arn:aws:iam::123456789012:role/pull".to_owned()),
            Change::Keep,
        ),
        (|spec| spec.pull_role_external_id = Some("id".to_owned()), Change::Keep),
        (
            |spec| {
                spec.namespaces = Some(NamespacesSpec {
                    names: Some(vec!["a".to_owned()]),
                    ..NamespacesSpec::default()
                });
            },
            Change::Keep,
        ),
        (
            |spec| {
                spec.repositories = Some(RepositoriesSpec {
                    create: true,
                    ..RepositoriesSpec::default()
                });
            },
            Change::Keep,
        ),
        (nothing, set(&aws("l"))),
        (nothing, Change::Clear),
    ];
    for (number, (change, key)) in changes.into_iter().enumerate() {
        change(&mut spec);
        let before = store.registry("a").await.unwrap().unwrap();
        let after = store.replace("a", keyed(&spec, key, Change::Keep), None).await.unwrap();
        assert_ne!(after.version, before.version, "{number}");
        assert_eq!(
            (&after.pull, &after.issuance),
            (&before.pull, &before.issuance),
            "{number}"
        );
        has_token(store, "a", "t").await;
    }
    for elsewhere in [
        RegistrySpec {
            region: some("us-east-1"),
            ..spec.clone()
        },
        RegistrySpec {
            registry_id: some("210987654321"),
            ..spec.clone()
        },
        RegistrySpec {
            hostname: some("registry.example.com"),
            ..spec.clone()
        },
        RegistrySpec {
            url: some("123456789012.dkr.ecr.eu-central-1.amazonaws.com/team"),
            ..spec.clone()
        },
    ] {
        store.issued("a", issue(&spec, "t")).await.unwrap();
        let before = keyed(&elsewhere, set(&aws("k")), Change::Keep);
        let after = store.replace("a", before, None).await.unwrap();
        let none = (&None, &None);
        assert_eq!((&after.pull, &after.issuance), none, "{elsewhere:?}");
        assert!(after.key.is_some());
        seen(store, |all| **all == [after.clone()]).await;
        assert_eq!(store.registry("a").await, Ok(Some(after)));
        has_keys(store, "a", Some(&aws("k")), None).await;
        // Not even where it is again what it was.
        let back = keyed(&spec, Change::Keep, Change::Keep);
        let back = store.replace("a", back, None).await.unwrap();
        assert_eq!((&back.pull, &back.issuance), none, "{elsewhere:?}");
        has_keys(store, "a", Some(&aws("k")), None).await;
    }
}

async fn another_location_keeps_no_credential(store: &impl Store) {
    let none =
        |stored: &Stored| (&stored.pull, &stored.push, &stored.key, &stored.issuance) == (&None, &None, &None, &None);
    let kept = |spec: &RegistrySpec| Draft {
        spec: spec.clone(),
        ..draft("")
    };
    let off_cluster = draft("r.io").spec;
    let all = [
        (off_cluster.clone(), login("p")),
        (ecr(), Credential::Key(aws("k"))),
        (gcr(), Credential::Key(google("k"))),
    ];
    for (number, (from, credential)) in all.iter().enumerate() {
        for (there, (to, other)) in all.iter().enumerate().filter(|(there, _)| *there != number) {
            let id = format!("a{number}-{there}");
            let both = Draft {
                push: Change::Set(credential.clone()),
                notify: Change::Set(token("first-first-first")),
                ..with(kept(from), credential.clone())
            };
            let made = store.create(&id, both).await.unwrap();
            if from.location.issues() {
                store.issued(&id, issue(from, "t")).await.unwrap();
            }
            // There, and back.
            for spec in [to, from] {
                let after = store.replace(&id, kept(spec), None).await.unwrap();
                assert!(none(&after), "{from:?} {to:?} {after:?}");
                assert_eq!(said(&after), *spec);
                assert_eq!(after.notify, made.notify, "it is sent to nobody");
                assert_eq!(store.registry(&id).await, Ok(Some(after)));
                has_keys(store, &id, None, None).await;
            }
            // With one that is of use there.
            let after = store.replace(&id, with(kept(to), other.clone()), None).await.unwrap();
            assert_eq!(
                (after.pull.is_some(), after.key.is_some()),
                match to.location {
                    Location::OffCluster => (true, false),
                    Location::Ecr | Location::Gcr => (false, true),
                }
            );
            match other {
                Credential::Key(key) => has_keys(store, &id, Some(key), None).await,
                other => assert_eq!(store.credentials(&id).await.unwrap().pull.as_ref(), Some(other)),
            }
        }
    }
}

async fn what_is_of_no_use_there_is_refused(store: &impl Store) {
    let file = Credential::File {
        username: "u".to_owned(),
        path: "/run/p".into(),
    };
    let [aws, google] = [Credential::Key(aws("k")), Credential::Key(google("k"))];
    for (number, (spec, credential)) in [
        (ecr(), login("p")),
        (ecr(), file.clone()),
        (ecr(), google.clone()),
        (gcr(), login("p")),
        (gcr(), file),
        (gcr(), aws.clone()),
        (draft("r.io").spec, aws),
        (draft("r.io").spec, google),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("a{number}");
        let kept = Draft { spec, ..draft("") };
        let pull = with(kept.clone(), credential.clone());
        let push = Draft {
            push: Change::Set(credential),
            ..kept.clone()
        };
        for draft in [&pull, &push] {
            let refused = store.create(&id, draft.clone()).await;
            assert!(
                matches!(refused, Err(StoreError::Unsupported(_))),
                "{number}: {refused:?}"
            );
            assert_eq!(store.registry(&id).await, Ok(None));
        }
        let made = store.create(&id, kept).await.unwrap();
        for draft in [pull, push] {
            let refused = store.replace(&id, draft, None).await;
            assert!(
                matches!(refused, Err(StoreError::Unsupported(_))),
                "{number}: {refused:?}"
            );
        }
        assert_eq!(store.registry(&id).await, Ok(Some(made)));
        has_keys(store, &id, None, None).await;
    }
}

async fn a_registry_that_is_made_anew_has_no_token_and_no_key(store: &impl Store) {
    for _ in 0..3 {
        let made = keyed(&ecr(), set(&aws("k")), set(&aws("push")));
        let made = store.create("a", made).await.unwrap();
        store.issued("a", issue(&ecr(), "t")).await.unwrap();
        has_token(store, "a", "t").await;
        store.delete("a", Some(&made.version)).await.unwrap();
        let none = StoreError::NotFound("a".to_owned());
        assert_eq!(store.credentials("a").await, Err(none.clone()));
        assert_eq!(store.keys("a").await, Err(none.clone()));
        assert_eq!(store.issued("a", issue(&ecr(), "t")).await, Err(none));
        let again = store
            .create("a", keyed(&ecr(), Change::Keep, Change::Keep))
            .await
            .unwrap();
        let has = [&again.pull, &again.push, &again.key].map(Option::is_some);
        assert_eq!((has, &again.issuance), ([false; 3], &None));
        has_keys(store, "a", None, None).await;
        // At once, whatever there is still of the one before.
        store.issued("a", issue(&ecr(), "u")).await.unwrap();
        has_token(store, "a", "u").await;
        store.delete("a", None).await.unwrap();
    }
}

async fn what_was_found_out_otherwise_stays(store: &impl Store) {
    let made = store
        .create("a", keyed(&ecr(), Change::Keep, Change::Keep))
        .await
        .unwrap();
    let issued = |reason: &str| condition(ConditionKind::TokenIssued, reason, "");
    let long_lived = condition(ConditionKind::LongLived, "Issued", "");
    for (found, expected) in [
        (vec![issued("Issued")], vec![issued("Issued")]),
        (
            vec![long_lived.clone(), reachable("Answers")],
            vec![reachable("Answers"), long_lived.clone(), issued("Issued")],
        ),
        (vec![], vec![reachable("Answers"), long_lived.clone(), issued("Issued")]),
        (
            vec![issued("Refused")],
            vec![reachable("Answers"), long_lived.clone(), issued("Refused")],
        ),
    ] {
        store.report("a", found).await.unwrap();
        let conditions = expected;
        assert_eq!(
            store.registry("a").await,
            Ok(Some(Stored {
                conditions,
                ..made.clone()
            }))
        );
    }
    store.replace("a", draft("r.io"), None).await.unwrap();
    store
        .report("a", vec![reachable("Answers"), issued("Late")])
        .await
        .unwrap();
    let conditions = store.registry("a").await.unwrap().unwrap().conditions;
    assert_eq!(conditions, [reachable("Answers"), long_lived], "nobody issues any");
}

async fn any_text_is_a_key_and_a_token(store: &impl Store) {
    let long = "p".repeat(8_000);
    for (number, text) in [
        "ü 日本 🦀",
        "\"quoted\" \\back\\",
        "two\nlines\r\n",
        "\ttabs and spaces ",
        "null",
        "{\"type\": \"service_account\"}\n",
        "\u{2028}\u{feff}\u{1}\u{7f}",
        &long,
    ]
    .into_iter()
    .enumerate()
    {
        let key = Key::Aws {
            id: password(text),
            secret: password(text),
            session_token: Some(password(text)),
        };
        for (id, spec, key) in [
            (format!("e{number}"), ecr(), key),
            (format!("g{number}"), gcr(), Key::Google(password(text))),
        ] {
            store.create(&id, keyed(&spec, set(&key), set(&key))).await.unwrap();
            has_keys(store, &id, Some(&key), Some(&key)).await;
            let mut token = issue(&spec, text);
            token.login.username = text.replace(':', "");
            store.issued(&id, token.clone()).await.unwrap();
            let pull = store.credentials(&id).await.unwrap().pull;
            assert_eq!(pull, Some(Credential::Login(token.login)));
            has_keys_beside(store, &id, Some(&key)).await;
        }
    }
}

async fn of_two_at_the_same_time_neither_is_lost(store: &impl Store) {
    store
        .create("a", keyed(&ecr(), set(&aws("k")), Change::Keep))
        .await
        .unwrap();
    for round in 0..20 {
        let reason = format!("R{round}");
        let (one, other) = (reachable(&reason), condition(ConditionKind::TokenIssued, &reason, ""));
        let text = format!("t{round}");
        let (first, second, third) = tokio::join!(
            store.report("a", vec![one.clone()]),
            store.report("a", vec![other.clone()]),
            store.issued("a", issue(&ecr(), &text)),
        );
        assert_eq!((first, second, third), (Ok(()), Ok(()), Ok(())));
        let stored = store.registry("a").await.unwrap().unwrap();
        assert_eq!(stored.conditions, [one, other]);
        assert_eq!(stored.issuance, Some(issue(&ecr(), &text).issuance));
        has_token(store, "a", &text).await;
    }
    // A token of the place that it was before is never one for the place that it is.
    for round in 0..20 {
        let spec = |round: usize| RegistrySpec {
            registry_id: Some(format!("{round:012}")),
            ..ecr()
        };
        store
            .replace("a", keyed(&spec(round), Change::Keep, Change::Keep), None)
            .await
            .unwrap();
        let (issued, moved) = tokio::join!(
            store.issued("a", issue(&spec(round), "old")),
            store.replace("a", keyed(&spec(round + 1), Change::Keep, Change::Keep), None),
        );
        assert!(
            matches!(issued, Ok(()) | Err(StoreError::Conflict { .. })),
            "{issued:?}"
        );
        let moved = moved.unwrap();
        assert_eq!((&moved.pull, &moved.issuance), (&None, &None));
        let stored = store.registry("a").await.unwrap().unwrap();
        assert_eq!((&stored.pull, &stored.issuance), (&None, &None), "{round}");
        has_keys(store, "a", Some(&aws("k")), None).await;
        store.issued("a", issue(&spec(round + 1), "new")).await.unwrap();
        has_token(store, "a", "new").await;
    }
}

async fn a_token_that_is_given_up_leaves_no_half(store: &impl Store) {
    store
        .create("a", keyed(&ecr(), Change::Keep, Change::Keep))
        .await
        .unwrap();
    store.issued("a", issue(&ecr(), "t")).await.unwrap();
    for polls in 0..24 {
        let given_up = store.issued("a", issue(&ecr(), "given-up")).await_for(polls).await;
        let found = store.credentials("a").await.unwrap();
        let [before, after] = ["t", "given-up"].map(|text| Some(Credential::Login(issue(&ecr(), text).login)));
        assert!(found.pull == after || !given_up && found.pull == before, "{polls}");
        let stored = store.registry("a").await.unwrap().unwrap();
        assert!(stored.pull.is_some() && stored.issuance.is_some());
        store.issued("a", issue(&ecr(), "t")).await.unwrap();
        has_token(store, "a", "t").await;
    }
}

/// Writes something else into a spec.
type Edit = fn(&mut RegistrySpec);

/// That there is this token and no other credential.
async fn has_token(store: &impl Store, id: &str, text: &str) {
    let credentials = Credentials {
        pull: Some(Credential::Login(issue(&ecr(), text).login)),
        push: None,
    };
    assert_eq!(store.credentials(id).await, Ok(credentials));
}

/// That there are these keys, and no credential at all.
async fn has_keys(store: &impl Store, id: &str, pull: Option<&Key>, push: Option<&Key>) {
    let keys = Keys {
        pull: pull.cloned(),
        push: push.cloned(),
    };
    assert_eq!(store.keys(id).await, Ok(keys));
    assert_eq!(store.credentials(id).await, Ok(Credentials::default()));
}

/// That there is this key to pull with, whatever else there is.
async fn has_keys_beside(store: &impl Store, id: &str, pull: Option<&Key>) {
    assert_eq!(store.keys(id).await.unwrap().pull.as_ref(), pull);
}

fn ecr() -> RegistrySpec {
    RegistrySpec {
        location: Location::Ecr,
        region: Some("eu-central-1".to_owned()),
        ..RegistrySpec::default()
    }
}

fn gcr() -> RegistrySpec {
    RegistrySpec {
        location: Location::Gcr,
        hostname: Some("europe-west1-docker.pkg.dev".to_owned()),
        ..RegistrySpec::default()
    }
}

fn keyed(spec: &RegistrySpec, pull: Change, push: Change) -> Draft {
    Draft {
        spec: spec.clone(),
        pull,
        push,
        notify: Change::Keep,
    }
}

fn set(key: &Key) -> Change {
    Change::Set(Credential::Key(key.clone()))
}

fn aws(text: &str) -> Key {
    Key::Aws {
        id: password(&format!("AKIA{text}")),
        secret: password(&format!("secret-{text}")),
        session_token: None,
    }
}

fn temporary(text: &str) -> Key {
    Key::Aws {
        id: password(&format!("ASIA{text}")),
        secret: password(&format!("secret-{text}")),
        session_token: Some(password("session")),
    }
}

fn google(text: &str) -> Key {
    Key::Google(password(&format!("{{\"private_key\": \"{text}\"}}")))
}

fn password(text: &str) -> Password {
    Password::new(text.to_owned())
}

/// A token for this registry.
fn issue(spec: &RegistrySpec, text: &str) -> Token {
    Token {
        login: Login {
            username: "AWS".to_owned(),
            password: password(text),
        },
        issuance: Issuance {
            issued_at: "2026-11-21T10:00:00.123456789Z".parse().unwrap(),
            expires_at: "2026-11-21T22:00:00Z".parse().unwrap(),
            account: None,
            place: Issuance::place(spec),
            origin: Issuance::origin(spec, None),
        },
    }
}
