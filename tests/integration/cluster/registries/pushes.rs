//! Push records in a real Kubernetes API: objects that every replica follows, what `kubectl` shows of them, and what becomes of them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};
use waypost::cluster::registries::Event;
use waypost::pushes::{self, Image, Index, Origin, PushId, Record, What};
use waypost::reference::Reference;
use waypost::store::{Change, Draft, PushQuery, Pushes as _, Store as _, StoreError};

use super::super::controller::Release;
use super::{Followed, Home, PUSHES, REGISTRIES, draft, on_a_cluster_with_registries, open, runtime};
use crate::store::contract;
use crate::support::cluster::case::Case;
use crate::support::eventually;
use crate::support::program::Directory;

impl Home {
    pub(super) fn tell(&self, events: Vec<pushes::Event>) -> Result<Vec<Record>, StoreError> {
        self.runtime.block_on(self.store.happened(events))
    }

    pub(super) fn push(&self, id: &PushId) -> Result<Option<Record>, StoreError> {
        self.runtime.block_on(self.store.push(id))
    }

    fn listed(&self) -> Vec<PushId> {
        let query = PushQuery {
            limit: 500,
            ..PushQuery::default()
        };
        let page = self.runtime.block_on(self.store.pushes(&query)).unwrap();
        assert_eq!(page.next, None);
        page.items.iter().map(Record::id).collect()
    }

    /// Where the pushes of an image are, the latest first, as Pods see it.
    fn latest(&self, image: &str) -> Vec<String> {
        latest(&self.store.index().borrow(), image)
    }
}

fn latest(index: &Index, image: &str) -> Vec<String> {
    let found = index.find(&Reference::parse(image).unwrap());
    found.iter().map(|found| found.registry.to_owned()).collect()
}

pub(super) fn event(image: &str, registry: &str, what: What) -> pushes::Event {
    pushes::Event {
        image: Image::parse(image).unwrap(),
        registry: registry.into(),
        at: Timestamp::now(),
        origin: Origin::Report,
        what,
    }
}

pub(super) fn succeeded(image: &str, registry: &str) -> pushes::Event {
    event(
        image,
        registry,
        What::Succeeded {
            target: target(image, registry).into(),
            digest: DIGEST.into(),
        },
    )
}

/// Under the image's own tag.
fn target(image: &str, registry: &str) -> String {
    let image = Image::parse(image).unwrap();
    let (_, tag) = image.as_str().rsplit_once(':').unwrap();
    format!("{registry}.io/team/app:{tag}")
}

fn failed(image: &str, registry: &str) -> pushes::Event {
    event(
        image,
        registry,
        What::Failed {
            error: "the registry answers 403: no right to push".into(),
        },
    )
}

pub(super) fn id(image: &str, registry: &str) -> PushId {
    PushId::new(registry, Image::parse(image).unwrap().key())
}

pub(super) fn path(id: &PushId) -> String {
    format!("{PUSHES}/{id}")
}

pub(super) fn push(image: &str, registry: &str) -> Value {
    json!({"apiVersion": "waypost.dev/v1alpha1", "kind": "Push", "metadata": {"name": id(image, registry).as_str()},
        "spec": {"image": image, "registry": registry}})
}

pub(super) fn no_login(url: &str) -> Draft {
    draft(url, Change::Keep)
}

const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A store that has room for so many, and is told what Pods use; followed.
fn with_room(case: &Case<'_>, most: usize, in_use: Option<BTreeSet<String>>) -> Home {
    let runtime = runtime();
    let store = runtime.block_on(open(case, true)).with_most_pushes(most);
    let store = match in_use {
        Some(used) => store.with_images_in_use(Box::new(move || Box::pin(std::future::ready(Ok(used.clone()))))),
        None => store,
    };
    Home {
        store: Followed::new(store),
        runtime,
    }
}

#[test]
fn what_one_process_is_told_every_other_sees() {
    on_a_cluster_with_registries("everybody", |case| {
        let (one, other) = (Home::open(case), Home::open(case));
        one.create("prod", no_login("prod.io")).unwrap();
        one.create("sandbox", no_login("sandbox.io")).unwrap();
        let mut slowest = Duration::ZERO;
        for round in 0..20 {
            let image = format!("org/app:{round}");
            for (teller, registry, expected) in [
                (&one, "prod", vec!["prod"]),
                (&other, "sandbox", vec!["sandbox", "prod"]),
                (&one, "prod", vec!["prod", "sandbox"]),
            ] {
                teller.tell(vec![succeeded(&image, registry)]).unwrap();
                let told = Instant::now();
                // Whoever was told knows it at once.
                assert_eq!(teller.latest(&image), expected);
                for home in [&one, &other] {
                    let mut index = home.store.index();
                    let seen = index.wait_for(|index| latest(index, &image) == expected);
                    let seen = home
                        .runtime
                        .block_on(async { tokio::time::timeout(crate::support::PATIENCE, seen).await.is_ok() });
                    assert!(seen, "{image} in {registry}");
                }
                slowest = slowest.max(told.elapsed());
            }
        }
        println!("of 60 changes the slowest was in the other's index {slowest:?} after it was acknowledged");
        assert_eq!(one.listed(), other.listed());
        // Both at once, of the same image.
        for round in 0..10 {
            let image = format!("org/both:{round}");
            let told = one.runtime.block_on(async {
                tokio::join!(
                    one.store
                        .happened(vec![failed(&image, "prod"), succeeded(&image, "prod")]),
                    other
                        .store
                        .happened(vec![failed(&image, "prod"), failed(&image, "prod")]),
                )
            });
            told.0.unwrap();
            told.1.unwrap();
            let record = one.push(&id(&image, "prod")).unwrap().unwrap();
            assert!(record.last_success.is_some());
            assert_eq!(other.push(&id(&image, "prod")), Ok(Some(record)));
        }
    });
}

#[test]
fn kubectl_shows_what_was_pushed_where_and_waits_for_it() {
    on_a_cluster_with_registries("pushes-columns", |case| {
        let home = Home::open(case);
        home.create("prod", no_login("prod.io")).unwrap();
        home.create("sandbox", no_login("sandbox.io")).unwrap();
        home.tell(vec![
            succeeded("alpine", "prod"),
            failed("alpine", "sandbox"),
            succeeded("org/gone:1", "sandbox"),
            event("org/gone:1", "sandbox", What::Withdrawn { digest: None }),
            succeeded("org/app:1", "prod"),
            event("org/app:1", "prod", What::Begun),
        ])
        .unwrap();
        let table = |args: &[&str]| -> Vec<Vec<String>> {
            let shown = case.kubectl(args).exits(0);
            println!("kubectl {}\n{}", args.join(" "), shown.out());
            // Columns are at least three spaces apart.
            let cells = |line: &str| {
                line.split("   ")
                    .map(|cell| cell.trim().to_owned())
                    .filter(|cell| !cell.is_empty())
                    .collect()
            };
            shown.out().lines().map(cells).collect()
        };
        let row = |table: &[Vec<String>], id: &PushId| table.iter().find(|row| row[0] == id.as_str()).unwrap().clone();
        let shown = table(&["get", "pushes"]);
        assert_eq!(shown[0], ["NAME", "IMAGE", "REGISTRY", "STATE", "AGE", "DIGEST"]);
        let there = row(&shown, &id("alpine", "prod"));
        assert_eq!(there[1..4], ["docker.io/library/alpine:latest", "prod", "SUCCEEDED"]);
        assert_eq!(there[5], DIGEST);
        let not_there = row(&shown, &id("alpine", "sandbox"));
        assert_eq!(
            not_there[1..4],
            ["docker.io/library/alpine:latest", "sandbox", "FAILED"]
        );
        assert_eq!(not_there.len(), 5, "no digest: {not_there:?}");
        // What is there does not change by a push that goes on.
        let goes_on = row(&shown, &id("org/app:1", "prod"));
        assert_eq!((&*goes_on[3], &*goes_on[5]), ("RUNNING", DIGEST));
        let wide = table(&["get", "pushes", "--output=wide"]);
        assert_eq!(
            wide[0][5..],
            ["DIGEST", "TARGET", "FINISHED", "ATTEMPT", "SENT", "BYTES", "ERROR"]
        );
        let there = row(&wide, &id("alpine", "prod"));
        assert_eq!((&*there[6], &*there[8]), ("prod.io/team/app:latest", "1"));
        assert_eq!(
            row(&wide, &id("alpine", "sandbox")).last().unwrap(),
            "the registry answers 403: no right to push"
        );
        let selected = table(&["get", "pushes", "--selector=waypost.dev/registry=sandbox"]);
        assert_eq!(selected.len(), 3);
        let key = Image::parse("alpine").unwrap().key();
        let selected = table(&["get", "pushes", &format!("--selector=waypost.dev/image={key}")]);
        assert_eq!(selected.len(), 3);

        let wait = |what: &str, id: &PushId| {
            case.kubectl(&["wait", &format!("push/{id}"), &format!("--for={what}"), "--timeout=30s"])
        };
        wait("condition=Available", &id("alpine", "prod")).exits(0);
        wait("condition=Succeeded", &id("alpine", "prod")).exits(0);
        wait("condition=Available=False", &id("alpine", "sandbox")).exits(0);
        wait("condition=Succeeded=False", &id("alpine", "sandbox")).exits(0);
        wait("condition=Available=False", &id("org/gone:1", "sandbox")).exits(0);
        wait("condition=Succeeded=Unknown", &id("org/app:1", "prod")).exits(0);
        let object = case.admin.get(&path(&id("alpine", "prod"))).unwrap();
        let conditions = object["status"]["conditions"].as_array().unwrap();
        let said: Vec<_> = conditions
            .iter()
            .map(|condition| condition["message"].as_str().unwrap())
            .collect();
        assert_eq!(
            said,
            [
                &*format!("{DIGEST} is there as prod.io/team/app:latest"),
                "the last push went well"
            ]
        );
        // It is so since it became so, whatever is told later.
        home.tell(vec![failed("alpine", "prod")]).unwrap();
        let later = case.admin.get(&path(&id("alpine", "prod"))).unwrap();
        assert_eq!(later["status"]["conditions"][0], conditions[0]);
        assert_eq!(later["status"]["conditions"][1]["reason"], "Failed");
        let explained = case.kubectl(&["explain", "push.status.lastSuccess"]).exits(0);
        for text in [
            "The last push that went well",
            "The digests of the manifests of an index",
            "sequence",
        ] {
            assert!(explained.out().contains(text), "no {text:?} in {}", explained.out());
        }
    });
}

#[test]
fn what_cannot_be_a_push_is_refused_when_it_is_written() {
    on_a_cluster_with_registries("pushes-refused", |case| {
        let good = push("docker.io/library/alpine:3", "prod");
        let with = |key: &str, value: Value| {
            let mut object = good.clone();
            *object.pointer_mut(key).unwrap() = value;
            object
        };
        let name = good["metadata"]["name"].as_str().unwrap();
        for (object, expected) in [
            (
                with("/metadata/name", json!("prod.alpine")),
                "a push is named REGISTRY.KEY",
            ),
            (
                with("/metadata/name", json!(name.replace("prod", "other"))),
                "a push is named REGISTRY.KEY",
            ),
            (
                with("/metadata/name", json!(format!("{name}0"))),
                "a push is named REGISTRY.KEY",
            ),
            (with("/metadata/name", json!("prod")), "a push is named REGISTRY.KEY"),
            (with("/spec/registry", json!("pro")), "a push is named REGISTRY.KEY"),
            (with("/spec/registry", json!("")), "spec.registry"),
            (with("/spec/image", json!("")), "spec.image"),
            (with("/spec", json!({"registry": "prod"})), "spec.image: Required value"),
        ] {
            let refused = case.admin.post(PUSHES, &object).unwrap_err();
            assert!(
                refused.message.contains(expected),
                "no {expected:?} in {}",
                refused.message
            );
        }
        case.admin.post(PUSHES, &good).unwrap();
        for patch in [
            json!({"spec": {"image": "docker.io/library/alpine:4"}}),
            json!({"spec": {"registry": "other"}}),
        ] {
            let refused = case.admin.patch(&format!("{PUSHES}/{name}"), &patch).unwrap_err();
            assert!(refused.message.contains("stay what they are"), "{}", refused.message);
        }
        for status in [
            json!({"lastAttempt": {"state": "DONE", "attempt": 1, "startedAt": "2026-11-21T10:00:00Z"}}),
            json!({"lastAttempt": {"state": "FAILED", "attempt": 1, "startedAt": "yesterday"}}),
            json!({"lastSuccess": {"digest": "sha256:1"}}),
        ] {
            let patched = case
                .admin
                .patch(&format!("{PUSHES}/{name}/status"), &json!({"status": status}));
            assert_eq!(patched.unwrap_err().code, 422, "{status}");
        }
    });
}

#[test]
fn what_somebody_else_wrote_or_deleted_stands_in_nobodys_way() {
    on_a_cluster_with_registries("pushes-strange", |case| {
        let home = Home::open(case);
        home.create("prod", no_login("prod.io")).unwrap();
        let made = home
            .tell(vec![succeeded("org/app:1", "prod"), succeeded("org/app:2", "prod")])
            .unwrap();
        // Deleted by hand.
        case.kubectl(&["delete", "push", made[0].id().as_str()]).exits(0);
        eventually("nobody follows it", || {
            home.latest("org/app:1").is_empty().then_some(())
        });
        assert_eq!(home.push(&made[0].id()), Ok(None));
        assert_eq!(home.listed(), [made[1].id()]);
        // It begins anew.
        let again = home.tell(vec![succeeded("org/app:1", "prod")]).unwrap();
        assert_eq!(again[0].last_attempt.as_ref().unwrap().attempt, 1);
        assert_eq!(home.latest("org/app:1"), ["prod"]);

        // A name that is not that of the image: nobody knows what is meant.
        let mut strange = push("docker.io/org/other:1", "prod");
        strange["spec"]["image"] = json!("docker.io/org/another:1");
        case.admin.post(PUSHES, &strange).unwrap();
        let mut no_image = push("docker.io/org/other:2", "prod");
        no_image["spec"]["image"] = json!("No Image");
        case.admin.post(PUSHES, &no_image).unwrap();
        // Made by hand: it is there, and nothing is known of it, whatever somebody writes into its status.
        case.admin.post(PUSHES, &push("alpine", "prod")).unwrap();
        let alpine = id("alpine", "prod");
        let claimed = json!({"status": {"lastSuccess": {"target": "evil.io/alpine:latest", "digest": DIGEST,
            "finishedAt": "2026-11-21T10:00:00Z", "sequence": 1}}});
        case.admin
            .patch(&format!("{}/status", path(&alpine)), &claimed)
            .unwrap();
        let mut expected = vec![made[1].id(), again[0].id(), alpine.clone()];
        expected.sort();
        eventually("it is listed, and the others are not", || {
            (home.listed() == expected).then_some(())
        });
        assert_eq!(home.latest("alpine"), [""; 0]);
        let record = home.push(&alpine).unwrap().unwrap();
        assert_eq!(record, Record::new(Image::parse("alpine").unwrap(), "prod"));
        let error = home.push(&id("org/other:2", "prod")).unwrap_err().to_string();
        assert!(error.contains("cannot be understood: its image: "), "{error}");
        let error = home.push(&id("org/other:1", "prod")).unwrap_err().to_string();
        assert!(
            error.contains("its name is not that of docker.io/org/another:1 in prod"),
            "{error}"
        );
        // A process that starts now is not in its way, either.
        let later = Home::open(case);
        assert_eq!(later.listed(), expected);
        assert_eq!(later.latest("org/app:1"), ["prod"]);

        // It is told of: it is the registry's from now on.
        let told = home
            .tell(vec![failed("alpine", "prod"), failed("org/other:1", "prod")])
            .unwrap();
        assert_eq!(
            (told[0].last_attempt.as_ref().unwrap().attempt, &told[0].last_success),
            (1, &None)
        );
        let object = case.admin.get(&path(&alpine)).unwrap();
        assert_eq!(object["spec"]["image"], "alpine");
        assert_eq!(object["status"]["lastSuccess"], Value::Null);
        assert_eq!(object["metadata"]["ownerReferences"][0]["name"], "prod");
        assert_eq!(object["metadata"]["labels"]["waypost.dev/registry"], "prod");
        assert_eq!(home.push(&id("org/other:1", "prod")), Ok(Some(told[1].clone())));
        // As a later version writes it, and as a later version of that reads it.
        let more = json!({"status": {"lastAttempt": {"state": null}, "conditions": null}});
        let refused = case
            .admin
            .patch(&format!("{}/status", path(&alpine)), &more)
            .unwrap_err();
        assert_eq!(refused.code, 422, "{refused:?}");
    });
}

#[test]
fn pushes_go_with_their_registry_whoever_deletes_it() {
    on_a_cluster_with_registries("pushes-owner", |case| {
        let (home, other) = (Home::open(case), Home::open(case));
        for registry in ["prod", "pro"] {
            home.create(registry, no_login("prod.io")).unwrap();
        }
        let tell = || {
            home.tell(vec![succeeded("org/app:1", "prod"), succeeded("org/app:1", "pro")])
                .unwrap()
        };
        tell();
        eventually("both are followed", || {
            (other.latest("org/app:1").len() == 2).then_some(())
        });
        let object = case.admin.get(&path(&id("org/app:1", "prod"))).unwrap();
        let owner = case.admin.get(&format!("{REGISTRIES}/prod")).unwrap();
        assert_eq!(
            object["metadata"]["ownerReferences"][0]["uid"],
            owner["metadata"]["uid"]
        );

        // Left behind, as long as Kubernetes has not come to it: they count for nothing.
        case.kubectl(&["delete", "registry", "prod", "--cascade=orphan"])
            .exits(0);
        for home in [&home, &other] {
            eventually("nobody follows it", || {
                (home.latest("org/app:1") == ["pro"]).then_some(())
            });
        }
        home.create("prod", no_login("prod.io")).unwrap();
        for home in [&home, &other, &Home::open(case)] {
            assert_eq!(home.latest("org/app:1"), ["pro"]);
        }
        let told = tell();
        assert_eq!(told[0].last_attempt.as_ref().unwrap().attempt, 1);
        for home in [&home, &other] {
            eventually("both are followed again", || {
                (home.latest("org/app:1").len() == 2).then_some(())
            });
        }
        // Kubernetes takes them away.
        case.kubectl(&["delete", "registry", "prod"]).exits(0);
        eventually("nobody follows it", || {
            (other.latest("org/app:1") == ["pro"]).then_some(())
        });
        eventually("the object is gone", || {
            case.admin.get(&path(&id("org/app:1", "prod"))).is_err().then_some(())
        });
        assert_eq!(other.listed(), [id("org/app:1", "pro")]);
    });
}

#[test]
fn an_api_server_that_was_restarted_is_followed_on() {
    on_a_cluster_with_registries("pushes-restart", |case| {
        let (home, other) = (Home::open(case), Home::open(case));
        home.create("prod", no_login("prod.io")).unwrap();
        home.tell(vec![succeeded("org/app:1", "prod")]).unwrap();
        eventually("it is followed", || {
            (other.latest("org/app:1") == ["prod"]).then_some(())
        });
        case.cluster.kill("kube-apiserver");
        // What is known stays known.
        assert_eq!(other.latest("org/app:1"), ["prod"]);
        eventually("it can be told of again", || {
            home.tell(vec![succeeded("org/app:2", "prod")]).ok()
        });
        eventually("it is followed again", || {
            (other.latest("org/app:2") == ["prod"]).then_some(())
        });
        for home in [&home, &other] {
            assert_eq!(home.latest("org/app:1"), ["prod"]);
            eventually("the watches work", || {
                (*home.store.said.lock().unwrap() == Some(Event::Working)).then_some(())
            });
        }
    });
}

#[test]
fn there_are_so_many_at_most_and_those_that_nobody_needs_go() {
    on_a_cluster_with_registries("pushes-limit", |case| {
        let home = with_room(case, 30, Some(BTreeSet::new()));
        home.runtime.block_on(contract::has_a_limit(&home.store, 30));
    });
}

#[test]
fn what_a_pod_uses_does_not_go_for_others_nor_does_the_latest_where_nobody_knows() {
    on_a_cluster_with_registries("pushes-full", |case| {
        let used = [
            "docker.io/org/app:0",
            "prod.io/team-0/app:0",
            &format!("prod.io/team-0/app@{DIGEST}"),
        ];
        for used in [None, Some(used[0]), Some(used[1]), Some(used[2])] {
            case.kubectl(&["delete", "registries,pushes", "--all", "--wait"])
                .exits(0);
            let home = with_room(
                case,
                3,
                used.map(|used| BTreeSet::from([used.to_owned(), "nonsense of somebody".to_owned()])),
            );
            home.create("prod", no_login("prod.io")).unwrap();
            let each = |number: usize| {
                event(
                    &format!("org/app:{number}"),
                    "prod",
                    What::Succeeded {
                        target: format!("prod.io/team-{}/app:{number}", number % 3).into(),
                        digest: DIGEST.into(),
                    },
                )
            };
            for number in 0..3 {
                home.tell(vec![each(number)]).unwrap();
            }
            let told = home.tell(vec![each(3)]);
            if used.is_none() {
                let expected = "there is no room for it: there are 3 push records, and what each of them is about is the latest push of its image: \
                                delete those that nobody needs (`kubectl delete push NAME`), or a registry that nobody uses, with which its records go";
                assert_eq!(told.unwrap_err().to_string(), expected);
                // What is there may be written.
                home.tell(vec![failed("org/app:1", "prod")]).unwrap();
                case.kubectl(&["delete", "push", id("org/app:1", "prod").as_str()])
                    .exits(0);
                eventually("there is room", || home.tell(vec![each(3)]).ok());
            } else {
                told.unwrap();
                let mut expected = [0, 2, 3].map(|number| id(&format!("org/app:{number}"), "prod"));
                expected.sort();
                assert_eq!(home.listed(), expected, "{used:?}");
            }
        }
    });
}

#[test]
fn the_rights_that_are_listed_are_enough_to_write_pushes_and_to_follow_them() {
    on_a_cluster_with_registries("pushes-rights", |case| {
        let release = Release::new(case);
        let directory = Directory::new();
        release.controller_kubeconfig(&directory);
        let writer = Home::of(case, &directory.path().join("kubeconfig"), true);
        writer.create("prod", no_login("prod.io")).unwrap();
        writer.tell(vec![succeeded("org/app:1", "prod")]).unwrap();
        // Each kind of write there is: by hand, of a registry that is gone.
        case.admin.post(PUSHES, &push("org/app:2", "prod")).unwrap();
        writer.tell(vec![succeeded("org/app:2", "prod")]).unwrap();
        let mut left = push("org/app:3", "prod");
        left["metadata"]["ownerReferences"] = json!([{"apiVersion": "waypost.dev/v1alpha1", "kind": "Registry", "name": "prod",
            "uid": "00000000-0000-4000-8000-000000000000"}]);
        // Kubernetes may be faster.
        let _ = case.admin.post(PUSHES, &left).unwrap();
        writer.tell(vec![succeeded("org/app:3", "prod")]).unwrap();
        let directory = Directory::new();
        release.webhook_kubeconfig(&directory);
        let reader = Home::of(case, &directory.path().join("kubeconfig"), false);
        for image in ["org/app:1", "org/app:2", "org/app:3"] {
            assert_eq!(reader.latest(image), ["prod"]);
        }
        assert_eq!(reader.listed(), writer.listed());
        let error = reader
            .tell(vec![succeeded("org/app:1", "prod")])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("the status of the Push") && error.contains("grant the right to patch it"),
            "{error}"
        );
        writer.tell(vec![succeeded("org/app:4", "prod")]).unwrap();
        eventually("the change is followed", || {
            (reader.latest("org/app:4") == ["prod"]).then_some(())
        });
    });
}

#[test]
fn a_cluster_that_knows_registries_and_no_pushes_has_none_until_it_does() {
    on_a_cluster_with_registries("pushes-unknown", |case| {
        let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        let path = format!("{definitions}/pushes.waypost.dev");
        let before = Home::open(case);
        before.create("prod", no_login("prod.io")).unwrap();
        before.tell(vec![succeeded("org/app:1", "prod")]).unwrap();
        let mut definition = case.admin.get(&path).unwrap();
        case.admin.delete(&path).unwrap();
        eventually("nobody knows them", || case.admin.get(PUSHES).is_err().then_some(()));
        eventually("it is told", || {
            let said = before.store.said.lock().unwrap().clone();
            matches!(
                said,
                Some(Event::Missing {
                    what: "push records",
                    ..
                })
            )
            .then_some(())
        });
        assert_eq!(before.latest("org/app:1"), [""; 0]);
        assert!(before.followed("prod").is_some());
        let runtime = runtime();
        let store = runtime.block_on(open(case, true));
        let registries = runtime.block_on(store.list()).unwrap();
        assert_eq!(registries.len(), 1);
        assert!(store.index().borrow().is_empty());
        assert_eq!(runtime.block_on(store.push(&id("org/app:1", "prod"))), Ok(None));
        let error = runtime
            .block_on(store.happened(vec![succeeded("org/app:1", "prod")]))
            .unwrap_err();
        assert!(error.to_string().contains("waypost crds | kubectl apply"), "{error}");
        definition["metadata"]
            .as_object_mut()
            .unwrap()
            .retain(|key, _| key == "name");
        case.admin.post(definitions, &definition).unwrap();
        eventually("they are known again", || {
            before.tell(vec![succeeded("org/app:1", "prod")]).ok()
        });
        assert_eq!(before.latest("org/app:1"), ["prod"]);
    });
}
