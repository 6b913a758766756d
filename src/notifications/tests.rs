use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    pushes::{Image, Record},
    registry::{Credential, RegistrySpec},
    store::{Change, Draft, Embedded, Pushes},
};

const TOKEN: &str = "hunter2-hunter2-hunter2";

/// What notifications are taken into, and what was told of them.
struct Case {
    store: Embedded,
    notifications: Notifications,
    told: Arc<Mutex<BTreeMap<(String, &'static str), usize>>>,
}

impl Case {
    /// With a registry `r` at `r.io`.
    async fn new(notify: Change) -> Self {
        let store = Embedded::in_memory().unwrap();
        store.create("r", draft("r.io", notify)).await.unwrap();
        let told: Arc<Mutex<BTreeMap<(String, &'static str), usize>>> = Arc::default();
        let tell = told.clone();
        let observer: Observer = Arc::new(move |id, outcome, count| {
            *tell
                .lock()
                .unwrap()
                .entry((id.to_owned(), outcome.as_str()))
                .or_default() += count;
        });
        let notifications = Notifications::new(Arc::new(store.clone()), observer).unwrap();
        Self {
            store,
            notifications,
            told,
        }
    }

    async fn take(&self, events: Value) -> Taken {
        let body = json!({"events": events}).to_string();
        let taken = self
            .notifications
            .take("r", Format::Distribution, body.as_bytes())
            .await;
        taken.unwrap()
    }

    async fn record(&self, image: &str) -> Option<Record> {
        let id = PushId::new("r", Image::parse(image).unwrap().key());
        self.store.push(&id).await.unwrap()
    }

    async fn digest(&self, image: &str) -> Option<String> {
        let record = self.record(image).await?;
        record.last_success.map(|success| success.digest.into())
    }

    async fn judge(&self, id: &str, token: &str) -> Verdict {
        self.notifications.judge(id, &Password::new(token.to_owned())).await
    }
}

fn draft(url: &str, notify: Change) -> Draft {
    Draft {
        spec: RegistrySpec {
            url: Some(url.to_owned()),
            ..RegistrySpec::default()
        },
        pull: Change::Keep,
        push: Change::Keep,
        notify,
    }
}

fn token(text: &str) -> Change {
    Change::Set(Credential::token(Password::new(text.to_owned())))
}

fn digest(number: usize) -> String {
    format!("sha256:{number:064x}")
}

fn event(action: &str, at: i64, target: Value) -> Value {
    let at = Timestamp::from_second(1_760_000_000 + at).unwrap();
    json!({"action": action, "timestamp": at.to_string(), "target": target})
}

fn push(at: i64, tag: &str, number: usize) -> Value {
    event(
        "push",
        at,
        json!({"repository": "app", "tag": tag, "digest": digest(number)}),
    )
}

fn delete(at: i64, what: Value) -> Value {
    let mut target = json!({"repository": "app"});
    target
        .as_object_mut()
        .unwrap()
        .extend(what.as_object().unwrap().clone());
    event("delete", at, target)
}

#[tokio::test]
async fn what_is_told_of_in_one_request_is_kept_and_counted() {
    let case = Case::new(Change::Keep).await;
    let taken = case
        .take(json!([
            push(1, "1", 1),
            event("push", 1, json!({"repository": "app", "digest": digest(2)})),
            event("pull", 1, json!({"repository": "app", "tag": "1", "digest": digest(1)})),
            event(
                "push",
                2,
                json!({"repository": "docker.io/library/alpine", "tag": "3", "digest": digest(3)})
            ),
            event("push", 2, json!({"repository": "App", "tag": "3", "digest": digest(3)})),
            delete(3, json!({"tag": "never-told-of"})),
        ]))
        .await;
    assert_eq!(
        taken,
        Taken {
            recorded: 2,
            ignored: 4
        }
    );
    let app = case.record("r.io/app:1").await.unwrap();
    let success = app.last_success.unwrap();
    assert_eq!((&*success.target, &*success.digest), ("r.io/app:1", &*digest(1)));
    let alpine = case.record("alpine:3").await.unwrap();
    assert_eq!(&*alpine.last_success.unwrap().target, "r.io/docker.io/library/alpine:3");
    assert_eq!(
        case.record("r.io/app:never-told-of").await,
        None,
        "nothing is kept of what never was"
    );
    let told = case.told.lock().unwrap().clone();
    let of = |result| told.get(&("r".to_owned(), result)).copied();
    assert_eq!(
        [of("recorded"), of("irrelevant"), of("invalid"), of("withdrawn")],
        [Some(2), Some(3), Some(1), None]
    );
}

#[tokio::test]
async fn a_delete_withdraws_what_is_recorded_whatever_it_is_told_by() {
    for (what, left) in [
        (json!({"tag": "1"}), [false, true, true]),
        (json!({"digest": digest(1)}), [false, false, true]),
        (json!({}), [false, false, false]),
    ] {
        let case = Case::new(Change::Keep).await;
        case.take(json!([push(1, "1", 1), push(1, "2", 1), push(1, "3", 3)]))
            .await;
        let elsewhere = event(
            "push",
            1,
            json!({"repository": "other/app", "tag": "1", "digest": digest(1)}),
        );
        case.take(json!([elsewhere])).await;
        let taken = case.take(json!([delete(5, what.clone())])).await;
        assert_eq!(
            taken,
            Taken {
                recorded: 1,
                ignored: 0
            },
            "{what}"
        );
        for (tag, left) in ["1", "2", "3"].iter().zip(left) {
            let found = case.digest(&format!("r.io/app:{tag}")).await;
            assert_eq!(found.is_some(), left, "{what} {tag}");
        }
        assert!(case.digest("r.io/other/app:1").await.is_some());
        // Told again, it is of nothing.
        assert_eq!(
            case.take(json!([delete(5, what)])).await,
            Taken {
                recorded: 0,
                ignored: 1
            }
        );
    }
}

#[tokio::test]
async fn a_registry_below_an_organization_tells_of_nothing_else() {
    let case = Case::new(Change::Keep).await;
    case.store
        .replace("r", draft("r.io/team", Change::Keep), None)
        .await
        .unwrap();
    let of = |repository: &str| {
        event(
            "push",
            1,
            json!({"repository": repository, "tag": "1", "digest": digest(1)}),
        )
    };
    let taken = case.take(json!([of("team/app"), of("teams/app"), of("team")])).await;
    assert_eq!(
        taken,
        Taken {
            recorded: 1,
            ignored: 2
        }
    );
    assert!(case.digest("r.io/team/app:1").await.is_some());
    assert_eq!(case.told.lock().unwrap()[&("r".to_owned(), "elsewhere")], 2);
}

#[tokio::test]
async fn a_token_is_the_registrys_own_and_the_one_of_now() {
    let case = Case::new(token(TOKEN)).await;
    for other in ["", "hunter2", "hunter2-hunter2-hunter3", "hunter2-hunter2-hunter2 "] {
        assert_eq!(case.judge("r", other).await, Verdict::Another, "{other}");
    }
    assert_eq!(case.judge("r", TOKEN).await, Verdict::Right);
    assert_eq!(case.judge("s", TOKEN).await, Verdict::Another, "there is none");
    case.store.create("s", draft("s.io", Change::Keep)).await.unwrap();
    assert_eq!(case.judge("s", TOKEN).await, Verdict::Another, "it has none");
    let other = "hunter3-hunter3-hunter3";
    case.store
        .replace("r", draft("r.io", token(other)), None)
        .await
        .unwrap();
    assert_eq!(case.judge("r", TOKEN).await, Verdict::Another);
    assert_eq!(case.judge("r", other).await, Verdict::Right);
    case.store
        .replace("r", draft("r.io", Change::Clear), None)
        .await
        .unwrap();
    assert_eq!(case.judge("r", other).await, Verdict::Another);
    case.store
        .replace("r", draft("r.io", token(TOKEN)), None)
        .await
        .unwrap();
    case.store.delete("r", None).await.unwrap();
    assert_eq!(case.judge("r", TOKEN).await, Verdict::Another);
    // Nobody can have registries counted that there are not.
    let told = case.told.lock().unwrap().clone();
    assert_eq!(told.keys().collect::<Vec<_>>(), [&("r".to_owned(), "unauthenticated")]);
}

#[tokio::test(start_paused = true)]
async fn a_token_in_a_file_is_read_again_after_a_moment_and_a_useless_one_is_not_read_all_the_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    let file = Change::Set(Credential::File {
        username: String::new(),
        path: path.clone(),
    });
    let case = Case::new(file).await;
    assert_eq!(case.judge("r", TOKEN).await, Verdict::Unavailable, "it is not there");
    std::fs::write(&path, TOKEN).unwrap();
    assert_eq!(
        case.judge("r", TOKEN).await,
        Verdict::Unavailable,
        "it is not read again at once"
    );
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(case.judge("r", TOKEN).await, Verdict::Right);
    std::fs::write(&path, "hunter3-hunter3-hunter3\n").unwrap();
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(case.judge("r", TOKEN).await, Verdict::Another);
    assert_eq!(case.judge("r", "hunter3-hunter3-hunter3").await, Verdict::Right);
    std::fs::write(&path, "short").unwrap();
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(case.judge("r", "short").await, Verdict::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn one_registry_that_floods_keeps_no_other_out() {
    let case = Arc::new(Case::new(token(TOKEN)).await);
    let working: Vec<_> = futures_util::future::join_all((0..4).map(|_| case.notifications.enter("r"))).await;
    assert!(working.iter().all(Option::is_some));
    // These wait for their turn, and no more than so many.
    let waiting: Vec<_> = (0..60)
        .map(|_| {
            let case = case.clone();
            tokio::spawn(async move { case.notifications.enter("r").await.is_some() })
        })
        .collect();
    tokio::task::yield_now().await;
    let begun = tokio::time::Instant::now();
    assert!(case.notifications.enter("r").await.is_none());
    assert_eq!(begun.elapsed(), Duration::ZERO, "it is told at once");
    assert!(case.notifications.enter("s").await.is_some());
    drop(working);
    for waited in waiting {
        assert!(waited.await.unwrap());
    }
    assert_eq!(case.told.lock().unwrap()[&("r".to_owned(), "busy")], 1);

    // All registries together have no more than so many, and who waits is told in the end.
    let ids: Vec<String> = (0..4).map(|number| format!("r{number}")).collect();
    let mut held = Vec::new();
    for id in ids.iter().flat_map(|id| [id; 4]) {
        held.push(case.notifications.enter(id).await.unwrap());
    }
    assert!(case.notifications.enter("another").await.is_none());
    assert_eq!(begun.elapsed(), PATIENCE);
}

#[tokio::test]
async fn what_cannot_be_kept_is_told_again() {
    let case = Case::new(Change::Keep).await;
    let body = json!({"events": [push(1, "1", 1)]}).to_string();
    let take = |id: &'static str| case.notifications.take(id, Format::Distribution, body.as_bytes());
    assert_eq!(take("s").await, Err(Refused::Gone));
    // Its address is none: somebody wrote it by other means.
    let mut broken = draft("r.io", Change::Keep);
    broken.spec.url = Some("nonsense".to_owned());
    case.store.replace("r", broken, None).await.unwrap();
    assert!(matches!(take("r").await, Err(Refused::Unavailable(_))));
    case.store
        .replace("r", draft("r.io", Change::Keep), None)
        .await
        .unwrap();
    assert_eq!(
        take("r").await,
        Ok(Taken {
            recorded: 1,
            ignored: 0
        })
    );
    let harbor = case.notifications.take("r", Format::Harbor, body.as_bytes()).await;
    assert!(matches!(harbor, Err(Refused::Unreadable(_))), "{harbor:?}");
    let told = case.told.lock().unwrap().clone();
    let of = |result| told.get(&("r".to_owned(), result)).copied();
    assert_eq!([of("failed"), of("unreadable"), of("recorded")], [Some(1); 3]);
}

/// What happens in a registry, in its order.
#[derive(Clone, Debug)]
enum Happening {
    Push(usize, usize),
    DeleteTag(usize),
    DeleteDigest(usize),
    DeleteRepository,
}

impl Happening {
    fn event(&self, at: i64) -> Value {
        match self {
            Self::Push(tag, number) => push(at, &tag.to_string(), *number),
            Self::DeleteTag(tag) => delete(at, json!({"tag": tag.to_string()})),
            Self::DeleteDigest(number) => delete(at, json!({"digest": digest(*number)})),
            Self::DeleteRepository => delete(at, json!({})),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Late, twice and in any order, in requests of any size: the registry and the records agree in the end.
    #[test]
    fn the_records_end_as_the_registry_is(
        happened in prop::collection::vec(
            prop_oneof![
                4 => (0..3_usize, 0..3_usize).prop_map(|(tag, number)| Happening::Push(tag, number)),
                1 => (0..3_usize).prop_map(Happening::DeleteTag),
                1 => (0..3_usize).prop_map(Happening::DeleteDigest),
                1 => Just(Happening::DeleteRepository),
            ],
            1..10,
        ),
        seeds in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        sizes in prop::collection::vec(1..4_usize, 40),
    ) {
        let mut expected: BTreeMap<usize, usize> = BTreeMap::new();
        for happening in &happened {
            match happening {
                Happening::Push(tag, number) => drop(expected.insert(*tag, *number)),
                Happening::DeleteTag(tag) => drop(expected.remove(tag)),
                Happening::DeleteDigest(number) => expected.retain(|_, present| present != number),
                Happening::DeleteRepository => expected.clear(),
            }
        }
        let mut events: Vec<Value> = happened.iter().enumerate().map(|(at, happening)| happening.event(at as i64)).collect();
        // Some twice, and all of them shuffled.
        for seed in &seeds {
            let event = seed.get(&events).clone();
            let place = seed.index(events.len() + 1);
            events.insert(place, event);
        }
        for (place, seed) in seeds.iter().enumerate() {
            let (one, other) = (place % events.len(), seed.index(events.len()));
            events.swap(one, other);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let found = runtime.block_on(async {
            let case = Case::new(Change::Keep).await;
            let mut rest = &events[..];
            for size in sizes.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at((*size).min(rest.len()));
                case.take(json!(now)).await;
                rest = later;
            }
            let mut found = BTreeMap::new();
            for tag in 0..3 {
                if let Some(present) = case.digest(&format!("r.io/app:{tag}")).await {
                    found.insert(tag, present);
                }
            }
            found
        });
        let expected: BTreeMap<_, _> = expected.into_iter().map(|(tag, number)| (tag, digest(number))).collect();
        prop_assert_eq!(found, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delete_that_comes_while_a_push_is_kept_is_not_lost() {
    let case = Arc::new(Case::new(Change::Keep).await);
    for number in 0..50_usize {
        let (pushed, deleted) = (
            json!([push(2 * number as i64, "1", number)]),
            json!([delete(2 * number as i64 + 1, json!({"digest": digest(number)}))]),
        );
        let (one, other) = (case.clone(), case.clone());
        let one = tokio::spawn(async move { one.take(pushed).await });
        let other = tokio::spawn(async move { other.take(deleted).await });
        one.await.unwrap();
        other.await.unwrap();
        assert_eq!(case.digest("r.io/app:1").await, None, "{number}");
    }
}
