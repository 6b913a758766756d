use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::registry::RegistrySpec;

const DIGEST: &str = "sha256:9ecaff7a24ee4e3f0e8b1b5ef6a5c7e4f6d1a9bb1e1a0c5d3a7f6b2c8d9e0f11";
const OTHER: &str = "sha256:1111111111111111111111111111111111111111111111111111111111111111";

fn read(format: Format, body: &Value) -> Notification {
    Notification::read(format, body.to_string().as_bytes()).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// What Distribution 3 sends for a manifest, `tag` being there where it was pushed under one.
fn distribution(action: &str, target: Value) -> Value {
    let mut event = json!({
        "id": "320678d8-ca14-430f-8bb6-4ca139cd83f7",
        "timestamp": "2026-11-21T10:00:00.123456789+01:00",
        "action": action,
        "target": {
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 708, "length": 708, "repository": "team/app",
            "url": "http://registry/v2/team/app/manifests/sha256:9e",
        },
        "request": {
            "id": "6df24a34-0959-4923-81ca-14f09767db19", "addr": "192.168.64.11:42961", "host": "registry:5000", "method": "PUT",
            "useragent": "crane/0.20",
        },
        "actor": {"name": "ci"},
        "source": {"addr": "xtal.local:5000", "instanceID": "a53db899-3b4b-4a62-a067-8dd013beaca4"},
    });
    let fields = target.as_object().unwrap().clone();
    event["target"].as_object_mut().unwrap().extend(fields);
    event
}

/// What Harbor 2 sends, in either of its formats.
fn harbor(kind: &str, resources: Value) -> [Value; 2] {
    let (own, cloud) = match kind {
        "push" => ("PUSH_ARTIFACT", "harbor.artifact.pushed"),
        "pull" => ("PULL_ARTIFACT", "harbor.artifact.pulled"),
        _ => ("DELETE_ARTIFACT", "harbor.artifact.deleted"),
    };
    let data = json!({
        "resources": resources,
        "repository": {
            "date_created": 1_763_700_000, "name": "app", "namespace": "team", "repo_full_name": "team/app", "repo_type": "private",
        },
    });
    [
        json!({"type": own, "occur_at": 1_795_255_200, "operator": "robot$ci", "event_data": data}),
        json!({
            "specversion": "1.0", "requestid": "2eedfab8", "id": "4b2f89a6-548d-4c12-9993-a1f5790b97d2",
            "source": "/projects/1/webhook/policies/3", "type": cloud, "datacontenttype": "application/json",
            "time": "2026-11-21T10:00:00Z", "data": data, "operator": "robot$ci",
        }),
    ]
}

#[test]
fn of_what_distribution_tells_pushes_under_a_tag_and_deletes_are_of_interest() {
    let pushed = |tag: &str| {
        Some(Noticed::Pushed {
            tag: tag.into(),
            digest: DIGEST.into(),
        })
    };
    let about = format!("{}.sig", DIGEST.replace(':', "-"));
    for (action, target, expected) in [
        ("push", json!({"digest": DIGEST, "tag": "1.2.3"}), pushed("1.2.3")),
        (
            "push",
            json!({"digest": DIGEST, "tag": "sha256-short"}),
            pushed("sha256-short"),
        ),
        // The manifests of an index, and blobs.
        ("push", json!({"digest": DIGEST}), None),
        (
            "push",
            json!({"digest": DIGEST, "mediaType": "application/octet-stream"}),
            None,
        ),
        ("mount", json!({"digest": DIGEST, "fromRepository": "team/base"}), None),
        ("pull", json!({"digest": DIGEST, "tag": "1.2.3"}), None),
        // A signature, and a list of referrers.
        ("push", json!({"digest": DIGEST, "tag": about}), None),
        ("push", json!({"digest": DIGEST, "tag": DIGEST.replace(':', "-")}), None),
        ("something-new", json!({"digest": DIGEST, "tag": "1.2.3"}), None),
        (
            "delete",
            json!({"tag": "1.2.3"}),
            Some(Noticed::Deleted(Deleted::Tag("1.2.3".into()))),
        ),
        (
            "delete",
            json!({"digest": DIGEST}),
            Some(Noticed::Deleted(Deleted::Digest(DIGEST.into()))),
        ),
        ("delete", json!({}), Some(Noticed::Deleted(Deleted::Repository))),
    ] {
        let found = read(
            Format::Distribution,
            &json!({"events": [distribution(action, target.clone())]}),
        );
        let expected: Vec<_> = expected
            .into_iter()
            .map(|what| Notice {
                repository: "team/app".into(),
                at: at("2026-11-21T09:00:00.123456789Z"),
                what,
            })
            .collect();
        assert_eq!(found.irrelevant, 1 - expected.len(), "{action} {target}");
        assert_eq!((found.notices, found.invalid), (expected, 0), "{action} {target}");
    }
}

#[test]
fn of_what_harbor_tells_pushes_under_a_tag_and_deletes_are_of_interest_in_both_of_its_formats() {
    let deleted = || Some(Noticed::Deleted(Deleted::Digest(DIGEST.into())));
    for (kind, resource, expected) in [
        (
            "push",
            json!({"digest": DIGEST, "tag": "1.2.3", "resource_url": "harbor.example.com/team/app:1.2.3"}),
            Some(Noticed::Pushed {
                tag: "1.2.3".into(),
                digest: DIGEST.into(),
            }),
        ),
        // In the place of a tag there is the digest where there is none.
        ("push", json!({"digest": DIGEST, "tag": DIGEST}), None),
        ("push", json!({"digest": DIGEST}), None),
        ("pull", json!({"digest": DIGEST, "tag": "1.2.3"}), None),
        // One of the tags is named, and all of them are gone.
        ("delete", json!({"digest": DIGEST, "tag": "1.2.3"}), deleted()),
        ("delete", json!({"digest": DIGEST, "tag": DIGEST}), deleted()),
    ] {
        for body in harbor(kind, json!([resource])) {
            let found = read(Format::Harbor, &body);
            let expected: Vec<_> = expected
                .clone()
                .into_iter()
                .map(|what| Notice {
                    repository: "team/app".into(),
                    at: at("2026-11-21T10:00:00Z"),
                    what,
                })
                .collect();
            assert_eq!(found.irrelevant, 1 - expected.len(), "{body}");
            assert_eq!((found.notices, found.invalid), (expected, 0), "{body}");
        }
    }
    for other in [
        json!({"type": "QUOTA_EXCEED", "occur_at": 1, "operator": "", "event_data": {"repository": null, "custom_attributes": {"a": "b"}}}),
        json!({"type": "REPLICATION", "occur_at": 1, "event_data": {"replication": {"harbor_hostname": "h"}}}),
        json!({"type": "SCANNING_COMPLETED", "event_data": {"resources": [{"scan_overview": {}}]}}),
        json!({"type": "TEST_ENDPOINT"}),
        json!({"type": "harbor.tag_retention.finished", "specversion": "1.0", "data": []}),
    ] {
        let expected = Notification {
            irrelevant: 1,
            ..Notification::default()
        };
        assert_eq!(read(Format::Harbor, &other), expected, "{other}");
    }
}

#[test]
fn what_cannot_be_is_counted_and_nothing_comes_of_it() {
    let fine = distribution("push", json!({"digest": DIGEST, "tag": "1.2.3"}));
    let with = |pointer: &str, value: Value| {
        let mut event = fine.clone();
        *event.pointer_mut(pointer).unwrap() = value;
        event
    };
    for event in [
        with("/target/repository", json!("Team/App")),
        with("/target/repository", json!("team/app:x")),
        with("/target/repository", json!(format!("team/app@{DIGEST}"))),
        with("/target/repository", json!("../../etc")),
        with("/target/repository", json!("")),
        with("/target/repository", json!("a".repeat(300))),
        with("/target/repository", json!(5)),
        with("/target/tag", json!("a b")),
        with("/target/tag", json!("x@y")),
        with("/target/tag", json!("a".repeat(129))),
        with("/target/digest", json!("sha256:9e")),
        with("/target/digest", json!("")),
        with("/timestamp", json!("yesterday")),
        with("/timestamp", json!("")),
        with("/timestamp", json!(1_795_255_200)),
        with("/action", json!(null)),
        json!("push"),
        json!(null),
        json!([]),
    ] {
        let found = read(Format::Distribution, &json!({"events": [event, fine]}));
        assert_eq!(
            (found.notices.len(), found.irrelevant, found.invalid),
            (1, 0, 1),
            "{event}"
        );
    }
    let tag = json!([{"digest": DIGEST, "tag": "1"}]);
    for (pointer, value) in [
        ("/event_data/repository/repo_full_name", json!("")),
        ("/event_data/repository/repo_full_name", json!("a b")),
        ("/event_data/resources/0/digest", json!("9e")),
        ("/event_data/resources/0/tag", json!("-")),
        ("/event_data/resources", json!([])),
        ("/occur_at", json!(i64::MAX)),
        ("/occur_at", json!(null)),
        ("/event_data", json!(null)),
    ] {
        let [mut body, _] = harbor("push", tag.clone());
        *body.pointer_mut(pointer).unwrap() = value;
        let found = read(Format::Harbor, &body);
        assert_eq!(
            (found.notices.len(), found.irrelevant, found.invalid),
            (0, 0, 1),
            "{body}"
        );
    }
}

#[test]
fn what_is_no_notification_is_refused_without_a_word_of_it() {
    for (format, body, expected) in [
        (Format::Distribution, "", "no JSON at line 1"),
        (Format::Distribution, "hunter2", "no JSON at line 1"),
        (Format::Distribution, "{\"events\": [hunter2]}", "no JSON at line 1"),
        (Format::Distribution, "{\"events\": []} hunter2", "no JSON at line 1"),
        (Format::Distribution, "[]", "not of the form that Distribution sends"),
        (
            Format::Distribution,
            "{\"type\": \"hunter2\"}",
            "not of the form that Distribution sends",
        ),
        (
            Format::Distribution,
            "{\"events\": \"hunter2\"}",
            "not of the form that Distribution sends",
        ),
        (Format::Harbor, "{\"events\": []}", "not of the form that Harbor sends"),
        (
            Format::Harbor,
            "{\"type\": {\"hunter2\": 1}}",
            "not of the form that Harbor sends",
        ),
        (
            Format::Harbor,
            "{\"type\": \"PUSH_ARTIFACT\", \"occur_at\": \"hunter2\"}",
            "not of the form that Harbor sends",
        ),
        (Format::Harbor, "\u{0}", "no JSON"),
    ] {
        let error = Notification::read(format, body.as_bytes()).unwrap_err().to_string();
        assert!(
            error.contains(expected) && !error.contains("hunter2"),
            "{body}: {error}"
        );
    }
    let many = |count| json!({"events": vec![json!({}); count]}).to_string();
    let error = Notification::read(Format::Distribution, many(MOST_EVENTS + 1).as_bytes());
    assert_eq!(error, Err(NotificationError::TooMany(MOST_EVENTS + 1)));
    let most = Notification::read(Format::Distribution, many(MOST_EVENTS).as_bytes()).unwrap();
    assert_eq!(most.invalid, MOST_EVENTS);
    let deep = format!("{{\"events\": [{}1{}]}}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(
        Notification::read(Format::Distribution, deep.as_bytes()).map(|found| found.invalid),
        Ok(1)
    );
}

#[test]
fn a_repository_is_the_registrys_where_it_lies_below_its_organization() {
    let registry = |url: &str, names: Value| {
        let spec: RegistrySpec = serde_json::from_value(json!({"url": url, "names": names})).unwrap();
        Registry::parse("r", &spec).unwrap()
    };
    let usual = json!({"to": "{registry}/{repository}"});
    let hub = json!({"to": "{repository}", "from": "docker.io"});
    for (url, names, repository, expected) in [
        (
            "r.io",
            &usual,
            "docker.io/library/alpine",
            Some(("r.io/docker.io/library/alpine", "docker.io/library/alpine:1")),
        ),
        ("r.io", &usual, "team/app", Some(("r.io/team/app", "r.io/team/app:1"))),
        (
            "R.io:5000",
            &usual,
            "team/app",
            Some(("r.io:5000/team/app", "r.io:5000/team/app:1")),
        ),
        (
            "r.io/team",
            &usual,
            "team/quay.io/a/b",
            Some(("r.io/team/quay.io/a/b", "quay.io/a/b:1")),
        ),
        (
            "r.io/team",
            &usual,
            "team/app",
            Some(("r.io/team/app", "r.io/team/app:1")),
        ),
        ("r.io/team", &usual, "teams/app", None),
        ("r.io/team", &usual, "team", None),
        ("r.io/team", &usual, "other/team/app", None),
        (
            "r.io/hub",
            &hub,
            "hub/library/alpine",
            Some(("r.io/hub/library/alpine", "docker.io/library/alpine:1")),
        ),
        (
            "r.io/hub",
            &hub,
            "hub/alpine",
            Some(("r.io/hub/alpine", "r.io/hub/alpine:1")),
        ),
    ] {
        let registry = registry(url, names.clone());
        let notice = Notice {
            repository: repository.into(),
            at: Timestamp::UNIX_EPOCH,
            what: Noticed::Deleted(Deleted::Repository),
        };
        let name = notice.name(&registry);
        let image = name
            .as_ref()
            .map(|name| image(&registry, &Image::parse(&format!("{name}:1")).unwrap()));
        let found = name.as_deref().zip(image.as_ref().map(Image::as_str));
        assert_eq!(found, expected, "{url} {names} {repository}");
    }
}

#[test]
fn a_delete_is_remembered_for_pushes_of_before_and_not_for_ever() {
    let mut deletions = Deletions::default();
    let second = |second| Timestamp::from_second(second).unwrap();
    let after = |second| Timestamp::new(second, 1).unwrap();
    deletions.add("r.io/a", &Deleted::Tag("1".into()), second(10));
    deletions.add("r.io/a", &Deleted::Tag("1".into()), second(8));
    deletions.add("r.io/a", &Deleted::Digest(DIGEST.into()), second(20));
    deletions.add("r.io/b", &Deleted::Repository, second(30));
    for (name, tag, digest, at, expected) in [
        ("r.io/a", "1", OTHER, 9, Some(second(10))),
        ("r.io/a", "1", OTHER, 10, None),
        ("r.io/a", "2", OTHER, 9, None),
        // Another may have got the tag since, of which nobody has told yet.
        ("r.io/a", "2", DIGEST, 19, Some(after(19))),
        ("r.io/a", "1", DIGEST, 9, Some(second(10))),
        ("r.io/a", "1", DIGEST, 15, Some(after(15))),
        ("r.io/a", "2", DIGEST, 20, None),
        ("r.io/b", "2", DIGEST, 29, Some(second(30))),
        ("r.io/c", "1", DIGEST, 0, None),
    ] {
        assert_eq!(
            deletions.since(name, tag, digest, second(at)),
            expected,
            "{name} {tag} {at}"
        );
    }
    for number in 0..1023 {
        deletions.add("r.io/c", &Deleted::Tag(format!("t{number}").into()), second(40));
    }
    assert_eq!(
        deletions.since("r.io/a", "1", OTHER, second(9)),
        None,
        "it was the oldest"
    );
    assert_eq!(deletions.since("r.io/b", "2", DIGEST, second(29)), Some(second(30)));
}

/// Notifications as they come, for mutations.
fn real() -> Vec<String> {
    let mut all = vec![
        json!({"events": [
            distribution("push", json!({"digest": DIGEST, "tag": "1.2.3"})),
            distribution("delete", json!({"tag": "1.2.3"})),
            distribution("delete", json!({"digest": DIGEST})),
        ]})
        .to_string(),
    ];
    for kind in ["push", "delete"] {
        let bodies = harbor(
            kind,
            json!([{"digest": DIGEST, "tag": "1.2.3"}, {"digest": DIGEST, "tag": DIGEST}]),
        );
        all.extend(bodies.map(|body| body.to_string()));
    }
    all
}

proptest! {
    #[test]
    fn whatever_comes_is_told_of_strictly_or_refused(
        which in 0..5_usize,
        format in prop_oneof![Just(Format::Distribution), Just(Format::Harbor)],
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 0..6),
    ) {
        let mut body = real()[which].clone().into_bytes();
        for (place, byte, kind) in changes {
            let place = place.index(body.len().max(1));
            match kind {
                0 => body.truncate(place),
                1 => body.insert(place.min(body.len()), byte),
                2 if !body.is_empty() => drop(body.remove(place)),
                _ if !body.is_empty() => body[place] = byte,
                _ => {}
            }
        }
        let registry = Registry::parse("r", &RegistrySpec { url: Some("r.io".to_owned()), ..RegistrySpec::default() }).unwrap();
        if let Ok(found) = Notification::read(format, &body) {
            prop_assert!(found.notices.len() + found.irrelevant + found.invalid <= 3);
            for notice in found.notices {
                let name = notice.name(&registry).unwrap();
                let expected = format!("r.io/{}", notice.repository);
                prop_assert_eq!(&name, &expected);
                if let Noticed::Pushed { tag, digest } = notice.what {
                    let written = format!("{name}:{tag}@{digest}");
                    let reference = Reference::parse(&written).unwrap();
                    prop_assert_eq!((reference.tag(), reference.digest()), (Some(&*tag), Some(&*digest)));
                    prop_assert_eq!(reference.canonical_name().to_string(), name);
                }
            }
        }
    }
}
