use super::{reported::*, *};
use crate::{
    authorization::{Access, Resource, Verb, Verdict},
    pushes::{Image, Origin, What},
    registry::Login,
};

#[tokio::test]
async fn a_copy_is_asked_for_and_its_push_says_how_it_goes() {
    let api = with_registries().await;
    let body = json!({"image": "alpine:3", "registry_id": "corp"});
    let asked = api.admin("POST", "/v1/pushes", body).await.is(202);
    let id = push_id("corp", "alpine:3");
    let path = format!("/v1/pushes/{id}");
    assert_eq!(asked.headers["location"], *path);
    let started = asked.json()["last_attempt"]["started_at"].clone();
    assert_eq!(
        asked.json(),
        json!({
            "id": id.as_str(), "image": "docker.io/library/alpine:3", "registry_id": "corp", "latest": false,
            "last_attempt": {
                "state": "PENDING", "attempt": 1, "error": null, "bytes_total": null, "bytes_done": null,
                "started_at": started, "finished_at": null,
            },
            "last_success": null,
        })
    );
    assert_eq!(api.admin("GET", &path, Value::Null).await.is(200).text, asked.text);
    let attempt = async || api.admin("GET", &path, Value::Null).await.is(200).json()["last_attempt"].clone();
    happens(&api, "alpine:3", What::Begun).await;
    assert_eq!(attempt().await["state"], "RUNNING");
    happens(&api, "alpine:3", What::Progress { total: 1000, done: 10 }).await;
    let running = attempt().await;
    assert_eq!(
        (&running["bytes_total"], &running["bytes_done"]),
        (&json!(1000), &json!(10))
    );
    let error = "r.io: no".into();
    happens(&api, "alpine:3", What::Failed { error }).await;
    let failed = attempt().await;
    assert_eq!(
        (&failed["state"], &failed["error"]),
        (&json!("FAILED"), &json!("r.io: no"))
    );

    // What went wrong may go well, and what went well may be had again.
    let retry = format!("{path}/retry");
    let again = api.admin("POST", &retry, Value::Null).await.is(202);
    assert_eq!(again.headers["location"], *path);
    assert_eq!(
        (
            &again.json()["last_attempt"]["state"],
            &again.json()["last_attempt"]["attempt"]
        ),
        (&json!("PENDING"), &json!(2))
    );
    let (target, digest) = ("r.io/team/docker.io/library/alpine:3".into(), DIGEST.into());
    happens(&api, "alpine:3", What::Succeeded { target, digest }).await;
    let third = api.admin("POST", &retry, json!({})).await.is(202).json();
    assert_eq!(
        (&third["last_attempt"]["attempt"], &third["last_success"]["digest"]),
        (&json!(3), &json!(DIGEST))
    );
}

#[tokio::test]
async fn a_copy_that_goes_on_is_joined_and_keeps_what_it_was_begun_with() {
    let api = with_registries().await;
    let with = |password: &str| json!({"registry_id": "corp", "registry_username": "u", "registry_password": password});
    let body = |image: &str, password: &str| json!({"image": image, "registry_push_credentials": with(password)});
    let path = format!("/v1/pushes/{}", push_id("corp", "alpine"));
    let asked = api.admin("POST", "/v1/pushes", body("alpine", "hunter2")).await.is(202);
    for (path, body) in [
        ("/v1/pushes".to_owned(), body("alpine", "other")),
        (
            "/v1/pushes".to_owned(),
            body("index.docker.io/library/alpine:latest", "other"),
        ),
        (format!("{path}/retry"), Value::Null),
        (
            format!("{path}/retry"),
            json!({"registry_push_credentials": with("other")}),
        ),
    ] {
        let joined = api.admin("POST", &path, body).await.is(202);
        assert_eq!(joined.text, asked.text);
        assert_eq!(wanted(&api, "alpine").await.login, Some(login("u", "hunter2")));
    }
    happens(&api, "alpine", What::Failed { error: "no".into() }).await;
    assert_eq!(api.store.copy(&push_id("corp", "alpine")).await.unwrap(), None);
    // What came with a push went with it.
    api.admin("POST", &format!("{path}/retry"), Value::Null).await.is(202);
    assert_eq!(wanted(&api, "alpine").await.login, None);
}

#[tokio::test]
async fn a_copy_is_of_a_tag_or_a_digest_and_into_the_registry_that_is_named_in_either_place() {
    for (with, identity, expected) in [
        (
            json!({"image": "alpine", "registry_id": "corp"}),
            "docker.io/library/alpine:latest",
            (false, None),
        ),
        (
            json!({"image": format!("GHCR.io/a/b@{DIGEST}"), "registry_id": "corp", "state": null, "digest": null, "referrers": true}),
            &format!("ghcr.io/a/b@{DIGEST}"),
            (true, None),
        ),
        (
            json!({"image": "alpine", "registry_push_credentials": {"registry_id": "corp"}}),
            "docker.io/library/alpine:latest",
            (false, None),
        ),
        (
            json!({"image": "lab.io/a:1", "registry_id": "corp", "referrers": false, "registry_push_credentials": {"registry_username": "u", "registry_password": "p\"\\ü"}}),
            "lab.io/a:1",
            (false, Some(login("u", "p\"\\ü"))),
        ),
        (
            json!({"image": "alpine", "registry_id": "corp", "registry_push_credentials": null, "referrers": null}),
            "docker.io/library/alpine:latest",
            (false, None),
        ),
    ] {
        let api = with_registries().await;
        let asked = api.admin("POST", "/v1/pushes", with.clone()).await.is(202).json();
        assert_eq!(
            (&asked["image"], &asked["registry_id"]),
            (&json!(identity), &json!("corp"))
        );
        let copy = wanted(&api, identity).await;
        let copying = copy.record.copying.unwrap();
        assert_eq!((copying.referrers, copy.login), expected, "{with}");
    }
}

/// Requests for copies in which something is wrong, and everything that is said of it.
#[tokio::test]
async fn everything_that_is_wrong_with_a_copy_is_said_by_the_names_of_its_fields() {
    let api = with_registries().await;
    for body in [
        json!({"name": "amazon", "registry_url": "123456789012.dkr.ecr.eu-central-1.amazonaws.com"}),
        json!({"name": "google", "registry_url": "europe-docker.pkg.dev/p/r"}),
        json!({
            "name": "issued", "location": "ecr", "region": "eu-central-1", "registry_id": "123456789012",
        }),
    ] {
        api.admin("POST", "/v1/registries", body).await.is(201);
    }
    let copy = |with: Value| {
        let mut body = json!({"image": "alpine:3", "registry_id": "corp"});
        body.as_object_mut().unwrap().extend(with.as_object().unwrap().clone());
        body
    };
    let by = |registry: &str, user: &str| {
        copy(json!({
            "registry_id": registry, "registry_push_credentials": {"registry_username": user, "registry_password": "hunter2"},
        }))
    };
    for (body, errors) in [
        (json!({"image": "alpine"}), &["registry_id: it is missing"][..]),
        (json!({"registry_id": "corp"}), &["image: it is missing"]),
        (copy(json!({"stat": "x"})), &["stat: there is no such field"]),
        (
            copy(
                json!({"digest": DIGEST, "error": "e", "target": "r.io/team/x", "finished_at": "2026-11-21T10:00:00Z"}),
            ),
            &[
                "digest: it is for reports, and without `state` this asks for a copy",
                "error: it is for reports, and without `state` this asks for a copy",
                "target: it is for reports, and without `state` this asks for a copy",
                "finished_at: it is for reports, and without `state` this asks for a copy",
            ],
        ),
        (
            copy(json!({"image": format!("alpine:3@{DIGEST}")})),
            &["image: it has a tag and a digest"],
        ),
        (
            copy(json!({"image": "user:hunter2@r.io/x"})),
            &["image: before the first `/`, a colon is followed by something other than a port number"],
        ),
        (
            copy(json!({"registry_id": "Corp"})),
            &["registry_id: it has characters other than lower-case letters, digits and `-`"],
        ),
        (
            copy(json!({"registry_id": "other"})),
            &["registry_id: there is no registry `other`"],
        ),
        (
            copy(json!({"referrers": "yes"})),
            &["referrers: expected true or false, found a string"],
        ),
        (
            copy(json!({"registry_push_credentials": "hunter2"})),
            &["registry_push_credentials: expected an object, found a string"],
        ),
        (
            copy(json!({"registry_push_credentials": {"registry_pasword": "hunter2"}})),
            &["registry_push_credentials.registry_pasword: there is no such field"],
        ),
        (
            copy(json!({"registry_push_credentials": {"registry_id": "lab"}})),
            &["registry_push_credentials.registry_id: it is another registry than the one that is pushed to"],
        ),
        (
            copy(json!({"registry_push_credentials": {"registry_username": "u"}})),
            &[
                "registry_push_credentials.registry_password: it is missing: `registry_push_credentials.registry_username` is given",
            ],
        ),
        (
            copy(json!({"registry_push_credentials": {"registry_password": "hunter2"}})),
            &[
                "registry_push_credentials.registry_username: it is missing: `registry_push_credentials.registry_password` is given",
            ],
        ),
        (
            by("corp", "u:x"),
            &["registry_push_credentials.registry_username: the username has a colon in it, which HTTP cannot carry"],
        ),
        (
            copy(json!({"registry_push_credentials": {"registry_username": "u", "registry_password": "hunter2\n"}})),
            &[
                "registry_push_credentials.registry_password: the password has a control character in it: a line end, perhaps, behind what was meant",
            ],
        ),
        (
            by("amazon", "AWS"),
            &[
                "registry_push_credentials.registry_username: `AWS` is the user of ECR's tokens: such a password ends after twelve hours",
            ],
        ),
        (
            by("google", "_json_key"),
            &[
                "registry_push_credentials.registry_username: the password of `_json_key` is the key of a service account: one to pull with would \
                 reach every admitted namespace",
            ],
        ),
        (
            by("issued", "u"),
            &[
                "registry_push_credentials.registry_username: with the location `ecr` tokens are issued, and there are no passwords",
            ],
        ),
        (
            copy(json!({"image": "R.io/team/docker.io/library/alpine:3"})),
            &[
                "image: it lies under r.io/team, which is where it would be copied to: an image is not copied from a registry into the same",
            ],
        ),
        (
            copy(json!({"image": "r.io/team/app:1"})),
            &[
                "image: it lies under r.io/team, which is where it would be copied to: an image is not copied from a registry into the same",
            ],
        ),
        (
            copy(json!({"image": "quay.io/a/b:1", "registry_id": "hub-cache"})),
            &["image: by its `names` the registry has images of docker.io alone, and this one is of quay.io"],
        ),
        (
            json!({"image": "A", "registry_id": "-", "digest": "x", "registry_push_credentials": {"registry_id": "lab", "registry_username": "u"}}),
            &[
                "digest: it is for reports, and without `state` this asks for a copy",
                "registry_id: it begins or ends with `-`",
                "image: its repository has an upper-case letter",
                "registry_push_credentials.registry_password: it is missing: `registry_push_credentials.registry_username` is given",
            ],
        ),
        // Reports are of what somebody else copies.
        (
            copy(json!({"state": "FAILED", "referrers": false, "registry_push_credentials": {}})),
            &[
                "referrers: it is for a copy, and this is a report",
                "registry_push_credentials: it is for a copy, and this is a report",
            ],
        ),
    ] {
        api.admin("POST", "/v1/pushes", body).await.says(Kind::Invalid, errors);
    }
    let listed = api.admin("GET", "/v1/pushes", Value::Null).await.is(200);
    assert_eq!(listed.text, "{\"items\":[],\"next\":null}");
    assert!(api.store.copies().borrow().is_empty());
    for (body, hint) in [
        (
            copy(json!({"digest": DIGEST})),
            "say in `state` how the push went that you made",
        ),
        (
            copy(json!({"registry_push_credentials": {"registry_pasword": "x"}})),
            "did you mean `registry_password`?",
        ),
        (
            copy(json!({"image": "r.io/team/docker.io/library/alpine:3"})),
            "write it as it is called where it comes from: docker.io/library/alpine:3",
        ),
        (copy(json!({"image": "r.io/team/app:1"})), "nothing has to be copied"),
        (
            copy(json!({"image": format!("alpine:3@{DIGEST}")})),
            "by its digest (repository@sha256:…)",
        ),
        (by("amazon", "AWS"), "register it with the `location` `ecr`"),
    ] {
        let problem = api.admin("POST", "/v1/pushes", body).await.is(422).json();
        assert!(problem["detail"].as_str().unwrap().contains(hint), "{problem}");
    }
}

#[tokio::test]
async fn any_push_of_which_there_is_a_record_can_be_tried_again() {
    let api = with_registries().await;
    let report = |image: &str| json!({"image": image, "registry_id": "corp", "state": "FAILED"});
    for image in ["alpine", "r.io/team/app:1"] {
        api.admin("POST", "/v1/pushes", report(image)).await.is(201);
    }
    let path = |image: &str| format!("/v1/pushes/{}/retry", push_id("corp", image));
    // It was a report, and is a copy from now on.
    let again = api
        .admin("POST", &path("alpine"), json!({"referrers": true}))
        .await
        .is(202)
        .json();
    assert_eq!(again["last_attempt"]["attempt"], 2);
    assert!(wanted(&api, "alpine").await.record.copying.unwrap().referrers);
    let refused = api.admin("POST", &path("r.io/team/app:1"), Value::Null).await;
    refused.says(
        Kind::Invalid,
        &["it lies under r.io/team, which is where it would be copied to: an image is not copied from a registry into the same"],
    );
    for (body, errors) in [
        (
            json!({"registry_push_credentials": {"registry_id": "lab", "registry_username": "u", "registry_password": "hunter2"}}),
            &["registry_push_credentials.registry_id: it is another registry than the one that is pushed to"][..],
        ),
        (
            json!({"registry_push_credentials": {"registry_username": "u"}}),
            &[
                "registry_push_credentials.registry_password: it is missing: `registry_push_credentials.registry_username` is given",
            ],
        ),
        (json!({"image": "alpine"}), &["image: there is no such field"]),
        (json!([]), &["expected an object, found a list"]),
    ] {
        api.admin("POST", &path("alpine"), body)
            .await
            .says(Kind::Invalid, errors);
    }
    // An empty body may be announced as anything, another one may not.
    for (announced, body, status) in [
        ("text/plain", " ", 202),
        ("text/plain", "{}", 415),
        ("application/json", "{", 400),
    ] {
        let request = admin("POST", &path("alpine")).header(CONTENT_TYPE, announced);
        api.ask(request, body).await.is(status);
    }
    for unknown in [
        path("busybox"),
        "/v1/pushes/corp/retry".to_owned(),
        "/v1/pushes/corp.x/retry".to_owned(),
    ] {
        api.admin("POST", &unknown, Value::Null).await.says(Kind::NotFound, &[]);
    }
    let options = api.admin("OPTIONS", &path("alpine"), Value::Null).await.is(204);
    assert_eq!(options.headers["allow"], "POST, OPTIONS");
}

#[tokio::test]
async fn what_the_store_says_of_a_copy_is_passed_on() {
    let api = with_registries().await;
    let body = json!({"image": "alpine", "registry_id": "corp"});
    api.admin("POST", "/v1/pushes", body.clone()).await.is(202);
    let retry = format!("/v1/pushes/{}/retry", push_id("corp", "alpine"));
    for (error, kind, later) in [
        (StoreError::Busy("2000 copies wait".to_owned()), Kind::TooMany, true),
        (StoreError::Full("20000 pushes".to_owned()), Kind::NoRoom, false),
        (StoreError::Unavailable("away".to_owned()), Kind::Unavailable, true),
    ] {
        for path in ["/v1/pushes", &retry] {
            *api.store.unasked.lock().unwrap() = Some(error.clone());
            let body = if path == retry { Value::Null } else { body.clone() };
            let reply = api.admin("POST", path, body).await.says(kind, &[]);
            assert_eq!(reply.headers.contains_key("retry-after"), later, "{error}");
        }
    }
    // It was removed in between.
    let removed = StoreError::NotFound("corp".to_owned());
    *api.store.unasked.lock().unwrap() = Some(removed.clone());
    api.admin("POST", "/v1/pushes", body)
        .await
        .says(Kind::Invalid, &["registry_id: there is no registry `corp`"]);
    *api.store.unasked.lock().unwrap() = Some(removed);
    api.admin("POST", &retry, Value::Null).await.says(Kind::NotFound, &[]);
}

/// Lets `ci` push to these registries, and do nothing else.
struct MayPush(&'static [&'static str]);

impl Authorizer for MayPush {
    fn authorize<'a>(&'a self, _: &'a Password, access: Option<Access<'a>>) -> BoxFuture<'a, Verdict> {
        let user = "ci".to_owned();
        Box::pin(future::ready(match access {
            Some(Access {
                verb: Verb::Push,
                resource: Resource::Registries,
                name: Some("away"),
            }) => Verdict::Unavailable("it does not answer".to_owned()),
            Some(Access {
                verb: Verb::Push,
                resource: Resource::Registries,
                name: Some(name),
            }) if self.0.contains(&name) => Verdict::Allowed(user),
            None => Verdict::Allowed(user),
            Some(access) => Verdict::Forbidden {
                user,
                why: format!("not {}", access.verb.as_str()),
            },
        }))
    }
}

#[tokio::test]
async fn a_source_is_read_by_a_credential_that_is_everybody_s_or_of_a_registry_that_one_may_push_to() {
    for (may_push, image, source) in [
        (&["corp"][..], "alpine", None),
        (&["corp"], "open.io/a:1", Some("open")),
        (&["corp"], "OPEN.io/a:1", Some("open")),
        (&["corp"], "lab.io/a:1", None),
        (&["corp"], "lab.io/teams/a:1", None),
        (&["corp"], "selected.io/a:1", None),
        (&["corp", "lab"], "lab.io/a:1", Some("lab")),
        (&["corp", "lab", "lab-team"], "lab.io/team/a:1", Some("lab-team")),
        (&["corp", "lab"], "lab.io/team/a:1", Some("lab")),
        (&["corp", "selected"], "selected.io/a:1", Some("selected")),
        // Its credential is not the one of the target.
        (&["corp"], "r.io/teams/a:1", None),
    ] {
        let api = Asked::by(MayPush(may_push));
        for (id, spec) in [
            ("corp", json!({"url": "r.io/team"})),
            ("lab", json!({"url": "lab.io", "namespaces": {"names": ["lab-*"]}})),
            (
                "lab-team",
                json!({"url": "lab.io/team", "namespaces": {"names": ["lab-team"]}}),
            ),
            ("open", json!({"url": "open.io"})),
            (
                "selected",
                json!({"url": "selected.io", "namespaces": {"selector": {"matchLabels": {"a": "b"}}}}),
            ),
            ("away", json!({"url": "away.io", "namespaces": {"names": ["a"]}})),
            ("wrong", json!({"url": "lab.io/team/a", "endpoint": "gopher://x"})),
        ] {
            let draft = Draft {
                spec: serde_json::from_value(spec).unwrap(),
                pull: Default::default(),
                push: Default::default(),
                notify: Default::default(),
            };
            api.store.create(id, draft).await.unwrap();
        }
        let asked = api
            .admin("POST", "/v1/pushes", json!({"image": image, "registry_id": "corp"}))
            .await;
        asked.is(202);
        let copying = wanted(&api, image).await.record.copying.unwrap();
        assert_eq!(copying.source.as_deref(), source, "{may_push:?} {image}");
        // Where nobody can tell, nothing is copied by chance.
        let body = json!({"image": "away.io/a:1", "registry_id": "corp"});
        api.admin("POST", "/v1/pushes", body).await.says(Kind::Unavailable, &[]);
        // Who may not push to a registry is not told what there is of it.
        for id in [push_id("lab", "alpine"), push_id("other", "alpine")] {
            if may_push.contains(&id.registry()) {
                continue;
            }
            let path = format!("/v1/pushes/{id}/retry");
            api.admin("POST", &path, Value::Null).await.says(Kind::Forbidden, &[]);
            let body = json!({"image": "alpine", "registry_id": id.registry()});
            api.admin("POST", "/v1/pushes", body).await.says(Kind::Forbidden, &[]);
        }
    }
}

#[tokio::test]
async fn the_push_token_asks_for_copies() {
    let api = with_registries().await;
    let ask = async |path: &str, body: &str| {
        let request = request("POST", path).header("authorization", "Bearer the-push");
        let reply = api
            .ask(request.header(CONTENT_TYPE, "application/json"), body.to_owned())
            .await;
        reply.is(202)
    };
    let made = ask("/v1/pushes", r#"{"image": "lab.io/a", "registry_id": "corp"}"#).await;
    let path = format!("{}/retry", made.headers["location"].to_str().unwrap());
    assert_eq!(ask(&path, "").await.text, made.text);
    assert_eq!(
        wanted(&api, "lab.io/a").await.record.copying.unwrap().source.as_deref(),
        Some("lab")
    );
}

/// What has become of the copy of an image into `corp`, as whoever makes it has it.
async fn happens(api: &Asked, image: &str, what: What) {
    let event = Event {
        image: Image::parse(image).unwrap(),
        registry: "corp".into(),
        at: jiff::Timestamp::now(),
        origin: Origin::Copy,
        what,
    };
    api.store.happened(vec![event]).await.unwrap();
}

/// The copy of an image into `corp`, which is wanted.
async fn wanted(api: &Asked, image: &str) -> Copy {
    api.store.copy(&push_id("corp", image)).await.unwrap().unwrap()
}

fn push_id(registry: &str, image: &str) -> PushId {
    PushId::new(registry, Image::parse(image).unwrap().key())
}

fn login(username: &str, password: &str) -> Login {
    Login {
        username: username.to_owned(),
        password: Password::new(password.to_owned()),
    }
}
