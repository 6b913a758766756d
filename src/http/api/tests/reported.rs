use proptest::{prelude::*, test_runner::TestRunner};

use super::*;
use crate::authorization::{Access, Resource, Verb, Verdict};

/// Reports in which something is wrong, and everything that is said of it.
#[tokio::test]
async fn everything_that_is_wrong_with_a_report_is_said_by_the_names_of_its_fields() {
    let api = with_registries().await;
    let report = |with: Value| {
        let mut body = json!({"image": "alpine:3", "registry_id": "corp", "state": "SUCCEEDED", "digest": DIGEST});
        for (key, value) in with.as_object().unwrap() {
            body[key] = value.clone();
        }
        body
    };
    for (body, errors) in [
        (json!({}), &["image: it is missing"][..]),
        (json!([]), &["expected an object, found a list"]),
        (report(json!({"registry_id": null})), &["registry_id: it is missing"]),
        (
            report(json!({"state": "PENDING"})),
            &["state: expected RUNNING or SUCCEEDED or FAILED"],
        ),
        (report(json!({"stat": "x"})), &["stat: there is no such field"]),
        (report(json!({"latest": true})), &["latest: there is no such field"]),
        (report(json!({"image": ""})), &["image: it is empty"]),
        (
            report(json!({"image": "Alpine:3"})),
            &["image: its repository has an upper-case letter"],
        ),
        (
            report(json!({"image": "user:hunter2@r.io/x"})),
            &["image: before the first `/`, a colon is followed by something other than a port number"],
        ),
        (
            report(json!({"image": "x".repeat(1025)})),
            &["image: it has more than 1024 characters"],
        ),
        (
            report(json!({"registry_id": "Corp"})),
            &["registry_id: it has characters other than lower-case letters, digits and `-`"],
        ),
        (
            report(json!({"registry_id": "other"})),
            &["registry_id: there is no registry `other`"],
        ),
        (
            report(json!({"digest": null})),
            &["digest: it is missing: that of what was pushed"],
        ),
        (report(json!({"digest": "sha256:abc"})), &["digest: it is no digest"]),
        (
            report(json!({"digest": DIGEST.to_uppercase()})),
            &["digest: it is no digest"],
        ),
        (report(json!({"digest": "hunter2"})), &["digest: it is no digest"]),
        (
            report(json!({"image": format!("alpine:3@{OTHER}")})),
            &["digest: it has another digest than `image`"],
        ),
        (
            report(
                json!({"target": format!("r.io/team/a:3@{OTHER}"), "digest": null, "image": format!("alpine:3@{DIGEST}")}),
            ),
            &["target: it has another digest than `image`"],
        ),
        (
            report(json!({"state": "FAILED", "digest": DIGEST})),
            &["digest: it is for the state SUCCEEDED"],
        ),
        (
            report(json!({"error": "denied"})),
            &["error: it is for the state FAILED"],
        ),
        (
            report(json!({"state": "RUNNING", "digest": null, "finished_at": "2026-11-21T10:00:00Z"})),
            &["finished_at: it is for the state SUCCEEDED, or FAILED"],
        ),
        (
            report(json!({"state": "FAILED", "digest": null, "error": "x".repeat(1025)})),
            &["error: it has more than 1024 characters"],
        ),
        (
            report(json!({"finished_at": "2026-11-21"})),
            &["finished_at: it is no time since 1970 as RFC 3339 has it"],
        ),
        (
            report(json!({"finished_at": "0000-01-01T00:00:00+23:59"})),
            &["finished_at: it is no time since 1970 as RFC 3339 has it"],
        ),
        (
            report(json!({"finished_at": "2026-02-30T10:00:00Z"})),
            &["finished_at: it is no time since 1970 as RFC 3339 has it"],
        ),
        (
            report(json!({"target": "r.io/teams/alpine:3"})),
            &["target: it does not lie under r.io/team"],
        ),
        (
            report(json!({"target": "r.io/team/alpine:latest"})),
            &["target: its tag is not that of the image, which has `3`"],
        ),
        (
            report(json!({"target": "r.io/team/alpine:3", "image": format!("alpine@{DIGEST}")})),
            &["target: its tag is not that of the image, which has none"],
        ),
        (
            report(json!({"registry_id": "hub-cache", "image": "quay.io/a/b:1"})),
            &["image: by its `names` the registry has images of docker.io alone, and this one is of quay.io"],
        ),
        (
            report(json!({"image": "localhost:5000/a:1"})),
            &[
                "image: `r.io/team/{registry}/{repository}`, the registry's `names`, make no valid reference of it: it would be too long, or have a \
               port in the middle",
            ],
        ),
        (
            report(json!({"image": "a b", "registry_id": "-", "digest": "x", "finished_at": "now", "error": "e"})),
            &[
                "registry_id: it begins or ends with `-`",
                "image: it contains white space",
                "error: it is for the state FAILED",
                "digest: it is no digest",
                "finished_at: it is no time since 1970 as RFC 3339 has it",
            ],
        ),
    ] {
        api.admin("POST", "/v1/pushes", body).await.says(Kind::Invalid, errors);
    }
    let listed = api.admin("GET", "/v1/pushes", Value::Null).await.is(200);
    assert_eq!(listed.text, "{\"items\":[],\"next\":null}");
    // Each is told what to do.
    for (body, hint) in [
        (
            report(json!({"state": "PENDING"})),
            "leave it out, and Waypost copies the image; of a push of your own report SUCCEEDED with its digest, or FAILED",
        ),
        (
            report(json!({"digest": null})),
            "`crane digest IMAGE`, `docker buildx imagetools inspect IMAGE`",
        ),
        (report(json!({"registry_id": "other"})), "GET /v1/registries lists"),
        (report(json!({"latest": true})), "it is Waypost's to say: leave it out"),
        (report(json!({"digst": true})), "did you mean `digest`?"),
    ] {
        let problem = api.admin("POST", "/v1/pushes", body).await.is(422).json();
        assert!(problem["detail"].as_str().unwrap().contains(hint), "{problem}");
    }
}

#[tokio::test]
async fn an_image_is_the_same_however_it_is_written_and_lies_where_the_registry_s_names_say() {
    let at_digest = format!("alpine@{DIGEST}");
    for (registry, image, target, identity, lies) in [
        (
            "corp",
            "alpine",
            None,
            "docker.io/library/alpine:latest",
            "r.io/team/docker.io/library/alpine:latest",
        ),
        (
            "corp",
            "alpine:3",
            None,
            "docker.io/library/alpine:3",
            "r.io/team/docker.io/library/alpine:3",
        ),
        (
            "corp",
            "index.docker.io/library/alpine:3",
            None,
            "docker.io/library/alpine:3",
            "r.io/team/docker.io/library/alpine:3",
        ),
        (
            "corp",
            "GHCR.io/a/b:v1",
            None,
            "ghcr.io/a/b:v1",
            "r.io/team/ghcr.io/a/b:v1",
        ),
        // As it lies there.
        (
            "corp",
            "R.io/team/ghcr.io/a/b:v1",
            None,
            "ghcr.io/a/b:v1",
            "r.io/team/ghcr.io/a/b:v1",
        ),
        (
            "corp",
            "r.io/team/docker.io/library/alpine",
            None,
            "docker.io/library/alpine:latest",
            "r.io/team/docker.io/library/alpine:latest",
        ),
        // In its own right: it stands for no other, or lies in the same host below another organization.
        ("corp", "r.io/team/app:1", None, "r.io/team/app:1", "r.io/team/app:1"),
        (
            "corp",
            "r.io/teams/app:1",
            None,
            "r.io/teams/app:1",
            "r.io/team/r.io/teams/app:1",
        ),
        (
            "hub-cache",
            "alpine:3",
            None,
            "docker.io/library/alpine:3",
            "127.0.0.1:30500/library/alpine:3",
        ),
        (
            "hub-cache",
            "127.0.0.1:30500/team/app:1",
            None,
            "docker.io/team/app:1",
            "127.0.0.1:30500/team/app:1",
        ),
        (
            "corp",
            &at_digest,
            None,
            &format!("docker.io/library/{at_digest}"),
            &format!("r.io/team/docker.io/library/{at_digest}"),
        ),
        (
            "corp",
            &format!("alpine:3@{DIGEST}"),
            None,
            "docker.io/library/alpine:3",
            "r.io/team/docker.io/library/alpine:3",
        ),
        // Under a name of one's own, with or without what must be so anyway.
        (
            "corp",
            "alpine:3",
            Some("r.io/team/base/alpine"),
            "docker.io/library/alpine:3",
            "r.io/team/base/alpine:3",
        ),
        (
            "corp",
            "alpine:3",
            Some(&*format!("R.io/team/base:3@{DIGEST}")),
            "docker.io/library/alpine:3",
            "r.io/team/base:3",
        ),
        (
            "corp",
            &at_digest,
            Some("r.io/team/base"),
            &format!("docker.io/library/{at_digest}"),
            &format!("r.io/team/base@{DIGEST}"),
        ),
        (
            "hub-cache",
            "quay.io/a/b:1",
            Some("127.0.0.1:30500/a/b:1"),
            "quay.io/a/b:1",
            "127.0.0.1:30500/a/b:1",
        ),
    ] {
        let api = with_registries().await;
        let body = json!({
            "image": image, "registry_id": registry, "state": "SUCCEEDED", "digest": DIGEST, "target": target,
            "finished_at": "2026-11-21T11:00:00.5+01:00",
        });
        let made = api.admin("POST", "/v1/pushes", body.clone()).await.is(201);
        let id = made.json()["id"].as_str().unwrap().to_owned();
        assert_eq!(made.headers["location"], format!("/v1/pushes/{id}"));
        assert!(!made.headers.contains_key("etag"));
        assert_eq!(
            made.json(),
            json!({
                "id": format!("{registry}.{}", crate::pushes::Image::parse(identity).unwrap().key()),
                "image": identity,
                "registry_id": registry,
                "latest": true,
                "last_attempt": {
                    "state": "SUCCEEDED", "attempt": 1, "error": null, "bytes_total": null, "bytes_done": null,
                    "started_at": "2026-11-21T10:00:00.5Z", "finished_at": "2026-11-21T10:00:00.5Z",
                },
                "last_success": {
                    "target": lies, "digest": DIGEST, "platforms": [], "finished_at": "2026-11-21T10:00:00.5Z",
                },
            }),
            "{image}"
        );
        let shown = api.admin("GET", &format!("/v1/pushes/{id}"), Value::Null).await.is(200);
        assert_eq!(shown.text, made.text);
        // The same again is no other push.
        let again = api.admin("POST", "/v1/pushes", body).await.is(201);
        assert_eq!(again.text, made.text);
        for spelling in [image, identity] {
            let spelling = spelling.replace('/', "%2F").replace('@', "%40");
            let listed = api
                .admin("GET", &format!("/v1/pushes?image={spelling}"), Value::Null)
                .await;
            assert_eq!(
                listed.is(200).json(),
                json!({"items": [made.json()], "next": null}),
                "{spelling}"
            );
        }
    }
}

#[tokio::test]
async fn of_several_registries_the_one_that_was_pushed_to_last_is_the_latest() {
    let api = with_registries().await;
    let report = async |registry: &str, state: &str, at: &str| {
        let digest = (state == "SUCCEEDED").then_some(DIGEST);
        let body =
            json!({"image": "alpine", "registry_id": registry, "state": state, "digest": digest, "finished_at": at});
        api.admin("POST", "/v1/pushes", body).await.is(201).json()
    };
    let entries = async || {
        let listed = api
            .admin("GET", "/v1/pushes?image=alpine", Value::Null)
            .await
            .is(200)
            .json();
        let entry = |push: &Value| {
            let attempt = &push["last_attempt"];
            format!(
                "{} {} {} {}",
                push["registry_id"], push["latest"], attempt["state"], attempt["attempt"]
            )
            .replace('"', "")
        };
        listed["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(entry)
            .collect::<Vec<_>>()
    };
    report("corp", "SUCCEEDED", "2026-11-21T10:00:00Z").await;
    assert_eq!(entries().await, ["corp true SUCCEEDED 1"]);
    report("hub-cache", "SUCCEEDED", "2026-11-21T10:00:01Z").await;
    assert_eq!(
        entries().await,
        ["corp false SUCCEEDED 1", "hub-cache true SUCCEEDED 1"]
    );
    report("corp", "FAILED", "2026-11-21T10:00:02Z").await;
    assert_eq!(entries().await, ["corp false FAILED 2", "hub-cache true SUCCEEDED 1"]);
    // Late: it was before the other.
    let late = report("corp", "SUCCEEDED", "2026-11-21T10:00:00.5Z").await;
    assert_eq!(
        (&late["latest"], &late["last_success"]["finished_at"]),
        (&json!(false), &json!("2026-11-21T10:00:00.5Z"))
    );
    assert_eq!(entries().await, ["corp false FAILED 2", "hub-cache true SUCCEEDED 1"]);
    report("corp", "SUCCEEDED", "2026-11-21T10:00:03Z").await;
    assert_eq!(
        entries().await,
        ["corp true SUCCEEDED 3", "hub-cache false SUCCEEDED 1"]
    );
    // With the registry its pushes go.
    api.admin("DELETE", "/v1/registries/corp?force=true", Value::Null)
        .await
        .is(204);
}

#[tokio::test]
async fn an_attempt_begins_and_ends_and_what_is_yet_to_come_is_now() {
    let api = with_registries().await;
    let report = async |with: Value| {
        let mut body = json!({"image": "alpine", "registry_id": "corp"});
        body.as_object_mut().unwrap().extend(with.as_object().unwrap().clone());
        api.admin("POST", "/v1/pushes", body).await.is(201).json()
    };
    let running = report(json!({"state": "RUNNING"})).await;
    assert_eq!(
        (
            &running["last_attempt"]["state"],
            &running["last_attempt"]["finished_at"]
        ),
        (&json!("RUNNING"), &Value::Null)
    );
    assert_eq!(
        (&running["latest"], &running["last_success"]),
        (&json!(false), &Value::Null)
    );
    let failed = report(json!({"state": "FAILED", "error": "denied:\n\u{1b}[31m\"no\""})).await;
    assert_eq!(
        (&failed["last_attempt"]["attempt"], &failed["last_attempt"]["error"]),
        (&json!(1), &json!("denied:\\n\\u{1b}[31m\"no\""))
    );
    assert_eq!(
        failed["last_attempt"]["started_at"],
        running["last_attempt"]["started_at"]
    );
    let failed = report(json!({"state": "FAILED", "error": null, "target": null})).await;
    assert_eq!(
        (&failed["last_attempt"]["attempt"], &failed["last_attempt"]["error"]),
        (&json!(2), &json!("nobody has said why"))
    );
    let before = jiff::Timestamp::now();
    let done = report(json!({"state": "SUCCEEDED", "digest": DIGEST, "finished_at": "2999-01-01T00:00:00Z"})).await;
    let at: jiff::Timestamp = done["last_success"]["finished_at"].as_str().unwrap().parse().unwrap();
    assert!(before <= at && at <= jiff::Timestamp::now(), "{done}");
}

#[tokio::test]
async fn pushes_are_listed_by_image_registry_and_state_page_by_page() {
    let api = with_registries().await;
    for (image, registry, state) in [
        ("alpine", "corp", "SUCCEEDED"),
        ("alpine", "hub-cache", "FAILED"),
        ("busybox", "corp", "RUNNING"),
        // An image of its own, for whoever does not know what lies in `corp`.
        ("r.io/team/docker.io/library/alpine", "lab", "SUCCEEDED"),
    ] {
        let digest = (state == "SUCCEEDED").then_some(DIGEST);
        let body = json!({"image": image, "registry_id": registry, "state": state, "digest": digest});
        api.admin("POST", "/v1/pushes", body).await.is(201);
    }
    let list = async |query: &str| {
        let listed = api
            .admin("GET", &format!("/v1/pushes?{query}"), Value::Null)
            .await
            .is(200)
            .json();
        let items = listed["items"].as_array().unwrap().iter();
        let said = items.map(|push| format!("{} {}", push["registry_id"], push["image"]).replace('"', ""));
        (said.collect::<Vec<_>>(), listed["next"].as_str().map(str::to_owned))
    };
    let (alpine, lies) = ("docker.io/library/alpine:latest", "r.io/team/docker.io/library/alpine");
    let [in_corp, in_cache, of_lab] = [
        format!("corp {alpine}"),
        format!("hub-cache {alpine}"),
        format!("lab {lies}:latest"),
    ];
    for (query, expected) in [
        ("image=alpine", vec![&in_corp, &in_cache]),
        ("image=docker.io%2Flibrary%2Falpine%3Alatest", vec![&in_corp, &in_cache]),
        (&*format!("image={lies}"), vec![&in_corp, &in_cache, &of_lab]),
        (&*format!("image={lies}&registry_id=lab"), vec![&of_lab]),
        ("registry_id=hub-cache", vec![&in_cache]),
        ("registry_id=other", vec![]),
        ("image=alpine&state=FAILED", vec![&in_cache]),
        ("state=SUCCEEDED", vec![&in_corp, &of_lab]),
        ("state=PENDING", vec![]),
        ("image=alpine:3", vec![]),
    ] {
        let (items, next) = list(query).await;
        assert_eq!((items.iter().collect::<Vec<_>>(), next), (expected, None), "{query}");
    }
    for query in ["", "image=r.io/team/docker.io/library/alpine"] {
        let (whole, _) = list(query).await;
        for limit in 1..=4 {
            let (mut pages, mut after) = (Vec::new(), String::new());
            loop {
                let (items, next) = list(&format!("{query}&limit={limit}{after}")).await;
                assert!(items.len() <= limit);
                pages.extend(items);
                let Some(next) = next else { break };
                after = format!("&after={next}");
            }
            assert_eq!(pages, whole, "{query} {limit}");
        }
    }
    for (query, error) in [
        ("image=A", "image: its repository has an upper-case letter"),
        ("image=", "image: it is empty"),
        (
            "registry_id=A",
            "registry_id: it has characters other than lower-case letters, digits and `-`",
        ),
        ("state=DONE", "state: it is none"),
        ("limit=0", "limit: it is no number from 1 to 500"),
        ("registry=corp", "there is a parameter that is not known"),
    ] {
        let reply = api.admin("GET", &format!("/v1/pushes?{query}"), Value::Null).await;
        let reply = reply.is(400).json();
        assert!(reply["detail"].as_str().unwrap().starts_with(error), "{reply}");
    }
}

#[tokio::test]
async fn a_push_that_nobody_told_of_is_not_there() {
    let api = with_registries().await;
    let unknown = format!("/v1/pushes/corp.{}", "0".repeat(32));
    for path in [
        &*unknown,
        "/v1/pushes/corp",
        "/v1/pushes/corp.00",
        "/v1/pushes/..%2Fregistries",
        "/v1/pushes/%00",
    ] {
        api.admin("GET", path, Value::Null).await.says(Kind::NotFound, &[]);
        let head = api.admin("HEAD", path, Value::Null).await.is(404);
        assert_eq!(head.text, "");
    }
    for (path, allow) in [
        ("/v1/pushes", "GET, HEAD, POST, OPTIONS"),
        (&unknown, "GET, HEAD, OPTIONS"),
    ] {
        let options = api.admin("OPTIONS", path, Value::Null).await.is(204);
        assert_eq!(options.headers["allow"], allow);
        let refused = api
            .admin("DELETE", path, Value::Null)
            .await
            .says(Kind::MethodNotAllowed, &[]);
        assert_eq!(refused.headers["allow"], allow);
    }
}

#[tokio::test]
async fn what_the_store_says_of_a_report_is_passed_on() {
    let api = with_registries().await;
    let body = json!({"image": "alpine", "registry_id": "corp", "state": "RUNNING"});
    for (error, kind, errors) in [
        (StoreError::Full("20000 pushes".to_owned()), Kind::NoRoom, &[][..]),
        (StoreError::Unavailable("away".to_owned()), Kind::Unavailable, &[]),
        // It was removed in between.
        (
            StoreError::NotFound("corp".to_owned()),
            Kind::Invalid,
            &["registry_id: there is no registry `corp`"],
        ),
    ] {
        *api.store.untold.lock().unwrap() = Some(error);
        api.admin("POST", "/v1/pushes", body.clone()).await.says(kind, errors);
    }
    api.admin("POST", "/v1/pushes", body).await.is(201);
}

/// Says who may push to one registry, and nothing else.
struct OnlyTo(&'static str);

impl Authorizer for OnlyTo {
    fn authorize<'a>(&'a self, token: &'a Password, access: Option<Access<'a>>) -> BoxFuture<'a, Verdict> {
        let to = Access {
            verb: Verb::Push,
            resource: Resource::Registries,
            name: Some(self.0),
        };
        Box::pin(future::ready(match access {
            _ if token.expose() != "ci" => Verdict::Unauthenticated,
            Some(access) if access != to => Verdict::Forbidden {
                user: "ci".to_owned(),
                why: format!("not {}", access.verb.as_str()),
            },
            _ => Verdict::Allowed("ci".to_owned()),
        }))
    }
}

#[tokio::test]
async fn who_may_not_push_to_a_registry_is_not_told_whether_there_is_one() {
    let api = Asked::by(OnlyTo("corp"));
    let draft = Draft {
        spec: serde_json::from_value(json!({"url": "r.io/team"})).unwrap(),
        pull: Default::default(),
        push: Default::default(),
        notify: Default::default(),
    };
    for id in ["corp", "lab"] {
        api.store.create(id, draft.clone()).await.unwrap();
    }
    let ask = async |method: &str, path: &str, body: Value| {
        let request = request(method, path).header("authorization", "Bearer ci");
        api.ask(request.header(CONTENT_TYPE, "application/json"), body.to_string())
            .await
    };
    let body = |registry: &str, target: &str| json!({"image": "alpine", "registry_id": registry, "state": "SUCCEEDED", "digest": DIGEST, "target": target});
    let mut refusals = Vec::new();
    // Nor is he told what only somebody who knows the registry could tell.
    for (registry, target) in [
        ("lab", "r.io/team/a"),
        ("lab", "s.io/a"),
        ("other", "r.io/team/a"),
        ("other", "s.io/a"),
    ] {
        let refused = ask("POST", "/v1/pushes", body(registry, target))
            .await
            .says(Kind::Forbidden, &[]);
        let mut refused = refused.json();
        refused["instance"].take();
        refusals.push(refused);
    }
    refusals.dedup();
    assert_eq!(refusals.len(), 1);
    ask("POST", "/v1/pushes", body("corp", "r.io/team/a")).await.is(201);
    // That is all that he may.
    for path in [
        "/v1/pushes",
        "/v1/pushes/corp.x",
        "/v1/registries",
        "/v1/registries/corp",
    ] {
        ask("GET", path, Value::Null).await.says(Kind::Forbidden, &[]);
    }
    let nobody = request("POST", "/v1/pushes").header("authorization", "Bearer x");
    api.ask(nobody, Body::empty()).await.says(Kind::Unauthenticated, &[]);
}

#[tokio::test]
async fn the_push_token_reports_and_reads() {
    let api = with_registries().await;
    let ask = async |method: &str, path: &str, body: String| {
        let request = request(method, path).header("authorization", "Bearer the-push");
        api.ask(request.header(CONTENT_TYPE, "application/json"), body).await
    };
    let body = json!({"image": "alpine", "registry_id": "corp", "state": "FAILED"});
    let made = ask("POST", "/v1/pushes", body.to_string()).await.is(201);
    let path = made.headers["location"].to_str().unwrap().to_owned();
    assert_eq!(ask("GET", &path, String::new()).await.is(200).text, made.text);
    ask("GET", "/v1/pushes", String::new()).await.is(200);
    // Registries are as good as ever.
    ask("DELETE", "/v1/registries/corp", String::new())
        .await
        .says(Kind::Forbidden, &[]);
}

#[test]
fn any_body_gives_a_well_formed_answer() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let api = runtime.block_on(with_registries());
    let [push, problem] = ["Push", "Problem"].map(documented::validator);
    let cases = (any_report(), prop::option::weighted(0.2, any::<Vec<u8>>()));
    let answered = TestRunner::new(ProptestConfig::with_source_file(file!())).run(&cases, |(report, bytes)| {
        let body = bytes.unwrap_or_else(|| report.to_string().into_bytes());
        let request = admin("POST", "/v1/pushes").header(CONTENT_TYPE, "application/json");
        let reply = runtime.block_on(api.ask(request, body));
        prop_assert!(matches!(reply.status, 201 | 202 | 400 | 422), "{}", reply.text);
        let schema = if reply.status < 300 { &push } else { &problem };
        prop_assert!(schema.is_valid(&reply.json()), "{}", reply.text);
        Ok(())
    });
    answered.unwrap();
}

/// An object that has the fields of a report, each as it should be or as it happens to be.
fn any_report() -> impl Strategy<Value = Value> {
    let any_value = prop_oneof![
        any::<Option<bool>>().prop_map(|value| json!(value)),
        any::<i64>().prop_map(|value| json!(value)),
        any::<String>().prop_map(|value| json!(value)),
        prop::collection::vec(any::<String>(), 0..3).prop_map(|value| json!(value)),
    ];
    let field = |good: &'static [&'static str]| {
        prop_oneof![
            6 => prop::sample::select(good).prop_map(|value| Some(json!(value))),
            2 => Just(None),
            1 => any_value.clone().prop_map(Some),
        ]
    };
    let credentials = (field(&["corp"]), field(&["u"]), field(&["p"])).prop_map(|(id, username, password)| {
        json!({"registry_id": id, "registry_username": username, "registry_password": password})
    });
    let (image, target) = (
        &["alpine", "r.io/team/ghcr.io/a/b:1", "localhost:5000/a"],
        &["r.io/team/x", "r.io/team/x:1"],
    );
    (
        field(image),
        field(&["corp", "hub-cache", "none"]),
        field(&["SUCCEEDED", "SUCCEEDED", "FAILED", "RUNNING", "PENDING"]),
        field(&[DIGEST]),
        field(&["denied"]),
        field(target),
        field(&[
            "2026-11-21T10:00:00Z",
            "9999-12-31T23:59:60-23:59",
            "0000-01-01T00:00:00+23:59",
        ]),
        (prop::option::of(any::<bool>()), prop::option::of(credentials)),
        prop::option::of(any::<String>()),
    )
        .prop_map(
            |(image, registry, state, digest, error, target, at, (referrers, credentials), other)| {
                let fields = [
                    ("image", image),
                    ("registry_id", registry),
                    ("state", state),
                    ("digest", digest),
                    ("error", error),
                    ("target", target),
                    ("finished_at", at),
                    ("referrers", referrers.map(Value::from)),
                    ("registry_push_credentials", credentials),
                ];
                let known = fields
                    .into_iter()
                    .filter_map(|(name, value)| Some((name.to_owned(), value?)));
                known.chain(other.map(|name| (name, Value::Null))).collect()
            },
        )
}

/// With `corp`, under whose names everything lies; `hub-cache`, which has images of Docker Hub alone; and `lab`.
pub(super) async fn with_registries() -> Asked {
    let api = Asked::new();
    for body in [
        json!({"name": "corp", "registry_url": "r.io/team"}),
        json!({"name": "hub-cache", "registry_url": "127.0.0.1:30500", "names": {"to": "{repository}", "from": "docker.io"}}),
        json!({"name": "lab", "registry_url": "lab.io"}),
    ] {
        api.admin("POST", "/v1/registries", body).await.is(201);
    }
    api
}

pub(super) const DIGEST: &str = "sha256:1e42bbe2508154c9126d48c2b8a75420c3544343bf86fd041fb7527e017a4b4a";
const OTHER: &str = "sha256:2e42bbe2508154c9126d48c2b8a75420c3544343bf86fd041fb7527e017a4b4a";
