use super::*;

#[tokio::test]
async fn the_smallest_request_with_a_password_registers_a_registry() {
    let api = Asked::new();
    let reply = api.registered().await;
    assert_eq!(reply.headers["location"], "/v1/registries/corp");
    let mut shown = reply.json();
    for time in ["created_at", "updated_at"] {
        let time: jiff::Timestamp = shown
            .as_object_mut()
            .unwrap()
            .remove(time)
            .unwrap()
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        assert!(time <= jiff::Timestamp::now());
    }
    assert_eq!(
        shown,
        json!({
            "id": "corp", "name": "corp", "registry_url": "r.io/team", "location": "off-cluster",
            "has_key": false, "token": null, "endpoint": "https://r.io",
            "plain_http": false, "token_hosts": [], "namespaces": {"all": true, "names": null, "selector": null},
            "names": {"to": "{registry}/{repository}", "from": null},
            "has_pull_credential": true, "has_push_credential": false, "has_notification_token": false, "long_lived": true,
            "conditions": [],
        })
    );
    let Some(Credential::Login(login)) = api.credentials("corp").await.pull else {
        panic!()
    };
    assert_eq!((&*login.username, login.password.expose()), ("u", "hunter2"));
    let version = reply.headers["etag"].clone();
    let reply = api.admin("GET", "/v1/registries/corp", Value::Null).await.is(200);
    assert_eq!(reply.headers["etag"], version);
}

#[tokio::test]
async fn what_was_given_is_shown_and_what_was_shown_can_be_put() {
    let api = Asked::new();
    let body = json!({
        "id": "lab", "name": "The lab's", "registry_url": "http://127.0.0.1:30500/lab", "endpoint": "registry.svc:5000",
        "plain_http": true, "names": {"to": "{repository}", "from": "docker.io"}, "token_hosts": ["GitLab.corp.io", "a.io:8443"],
        "namespaces": {"names": ["lab-*"], "selector": {"matchExpressions": [{"key": "a", "operator": "Exists"}]}},
        "registry_push_username": "p", "registry_push_password": "hunter2",
    });
    let shown = api.admin("POST", "/v1/registries", body).await.is(201).json();
    assert_eq!(
        (&shown["registry_url"], &shown["endpoint"], &shown["plain_http"]),
        (
            &json!("127.0.0.1:30500/lab"),
            &json!("http://registry.svc:5000"),
            &json!(true)
        )
    );
    assert_eq!(
        (
            &shown["has_pull_credential"],
            &shown["has_push_credential"],
            &shown["long_lived"]
        ),
        (&json!(false), &json!(true), &json!(false))
    );
    assert_eq!(shown["token_hosts"], json!(["gitlab.corp.io", "a.io:8443"]));
    let mut again = shown.clone();
    for answered in registry::ANSWERED {
        again.as_object_mut().unwrap().remove(*answered);
    }
    let mut put = api.admin("PUT", "/v1/registries/lab", again).await.is(200).json();
    put["updated_at"] = shown["updated_at"].clone();
    assert_eq!(put, shown);
    assert!(api.credentials("lab").await.push.is_some());
}

#[tokio::test]
async fn an_endpoint_that_is_where_the_registry_is_anyway_follows_it() {
    let api = Asked::new();
    let body = |host: &str, endpoint: &str| json!({"name": "r", "registry_url": host, "endpoint": endpoint});
    api.admin("POST", "/v1/registries", body("r.io", "https://r.io"))
        .await
        .is(201);
    let stored = api.store.store.registry("r").await.unwrap().unwrap();
    assert_eq!(stored.spec.endpoint, None);
    let shown = api
        .admin("PUT", "/v1/registries/r", body("r.io", "https://s.io"))
        .await
        .is(200)
        .json();
    assert_eq!(shown["endpoint"], "https://s.io");
}

#[tokio::test]
async fn a_password_of_which_nothing_is_said_is_kept_for_the_host_that_it_was_given_for() {
    let kept = |field: &str| {
        format!("{field}: it is kept only where Waypost reaches the same host in the same way, and that changes")
    };
    let missing = "registry_password: it is missing: the one that there is is another user's".to_owned();
    for (body, expected) in [
        (json!({"registry_url": "r.io/team"}), None),
        (json!({"registry_url": "r.io/another", "namespaces": {"names": ["a"]}}), None),
        (json!({"registry_url": "https://R.io", "registry_username": "u"}), None),
        (json!({"registry_url": "s.io"}), Some(kept("registry_password"))),
        (json!({}), Some(kept("registry_password"))),
        (json!({"registry_url": "r.io:5000"}), Some(kept("registry_password"))),
        (json!({"registry_url": "http://r.io"}), Some(kept("registry_password"))),
        (json!({"registry_url": "r.io", "plain_http": true}), Some(kept("registry_password"))),
        (json!({"registry_url": "r.io", "endpoint": "https://thief.test"}), Some(kept("registry_password"))),
        (json!({"registry_url": "r.io", "registry_username": "other"}), Some(missing)),
        (
            json!({"registry_url": "s.io", "registry_username": "u"}),
            Some("registry_password: it is missing: the one that there is is kept only where Waypost reaches the same host in the same way".to_owned()),
        ),
        (
            json!({"registry_url": "r.io", "registry_push_username": "p"}),
            Some("registry_push_password: it is missing: there is none to keep".to_owned()),
        ),
    ] {
        let api = Asked::new();
        api.registered().await;
        let before = api.credentials("corp").await;
        let mut body = body;
        body["name"] = json!("corp");
        let reply = api.admin("PUT", "/v1/registries/corp", body.clone()).await;
        match expected {
            None => assert_eq!(reply.is(200).json()["has_pull_credential"], true, "{body}"),
            Some(error) => drop(reply.says(Kind::Invalid, &[&error])),
        }
        assert_eq!(api.credentials("corp").await, before, "{body}");
    }
}

#[tokio::test]
async fn a_password_of_which_nothing_is_said_is_sent_to_no_more_hosts_than_it_was_given_for() {
    let kept = "it is kept only where `token_hosts` names no other host than before, and that changes";
    let missing =
        "it is missing: the one that there is is kept only where `token_hosts` names no other host than before";
    for (body, expected) in [
        (json!({"token_hosts": ["a.io", "b.io:8443"]}), None),
        (json!({"token_hosts": ["B.io:8443"], "registry_username": "u"}), None),
        (json!({"token_hosts": []}), None),
        (json!({"token_hosts": null}), None),
        (json!({}), None),
        (json!({"token_hosts": ["thief.test"]}), Some(kept)),
        (json!({"token_hosts": ["a.io", "b.io:8443", "thief.test"]}), Some(kept)),
        (json!({"token_hosts": ["b.io"]}), Some(kept)),
        (json!({"token_hosts": ["b.io:8444"]}), Some(kept)),
        (
            json!({"token_hosts": ["thief.test"], "registry_username": "u"}),
            Some(missing),
        ),
    ] {
        let api = Asked::new();
        let mut given = json!({
            "name": "corp", "registry_url": "r.io", "token_hosts": ["a.io", "b.io:8443"],
            "registry_username": "u", "registry_password": "hunter2",
        });
        api.admin("POST", "/v1/registries", given.clone()).await.is(201);
        let before = api.credentials("corp").await;
        let mut body = body;
        body["name"] = json!("corp");
        body["registry_url"] = json!("r.io");
        let reply = api.admin("PUT", "/v1/registries/corp", body.clone()).await;
        match expected {
            None => assert_eq!(reply.is(200).json()["has_pull_credential"], true, "{body}"),
            Some(why) => drop(reply.says(Kind::Invalid, &[&format!("registry_password: {why}")])),
        }
        assert_eq!(api.credentials("corp").await, before, "{body}");
        // Who knows the password may send it where he likes.
        given["token_hosts"] = json!(["c.io"]);
        let shown = api.admin("PUT", "/v1/registries/corp", given).await.is(200).json();
        assert_eq!(shown["token_hosts"], json!(["c.io"]));
    }
}

#[tokio::test]
async fn null_removes_a_password_and_another_replaces_it() {
    let api = Asked::new();
    api.registered().await;
    let body =
        json!({"name": "corp", "registry_url": "s.io", "registry_username": "v", "registry_password": "another"});
    api.admin("PUT", "/v1/registries/corp", body).await.is(200);
    let Some(Credential::Login(login)) = api.credentials("corp").await.pull else {
        panic!()
    };
    assert_eq!((&*login.username, login.password.expose()), ("v", "another"));
    let body = json!({"name": "corp", "registry_url": "t.io", "registry_password": null});
    let shown = api.admin("PUT", "/v1/registries/corp", body).await.is(200).json();
    assert_eq!(
        (&shown["has_pull_credential"], &shown["long_lived"]),
        (&json!(false), &json!(false))
    );
    assert_eq!(api.credentials("corp").await, Credentials::default());
}

#[tokio::test]
async fn whoever_names_a_version_changes_that_one_only() {
    let api = Asked::new();
    let first = api.registered().await.headers["etag"].clone();
    let body = json!({"name": "corp", "registry_url": "r.io"}).to_string();
    let with = |method: &str, tag: &str| {
        let request = admin(method, "/v1/registries/corp").header("if-match", tag);
        request.header(CONTENT_TYPE, "application/json")
    };
    let first = first.to_str().unwrap();
    let second = api.ask(with("PUT", first), body.clone()).await.is(200).headers["etag"].clone();
    assert_ne!(second, first);
    for (method, tag) in [
        ("PUT", first),
        ("PUT", "W/\"a\""),
        ("DELETE", first),
        ("DELETE", "\"a\", \"b\""),
        ("PUT", ""),
    ] {
        api.ask(with(method, tag), body.clone())
            .await
            .says(Kind::PreconditionFailed, &[]);
    }
    for tag in ["a", "\"a", "\"a\"b\""] {
        api.ask(with("PUT", tag), body.clone())
            .await
            .says(Kind::InvalidParameter, &["If-Match: it is no list of entity tags"]);
    }
    api.ask(with("PUT", "*"), body.clone()).await.is(200);
    let current = api.admin("GET", "/v1/registries/corp", Value::Null).await.headers["etag"].clone();
    let either = format!("\"x\", {}", current.to_str().unwrap());
    api.ask(with("DELETE", &either), Body::empty()).await.is(204);
    api.ask(with("DELETE", "*"), Body::empty())
        .await
        .says(Kind::NotFound, &[]);
}

#[tokio::test]
async fn whoever_is_overtaken_tries_again_unless_a_version_was_named() {
    let api = Asked::new();
    let version = api.registered().await.headers["etag"].clone();
    let body = json!({"name": "mine", "registry_url": "r.io"});
    api.store.overtaken.store(2, Ordering::Relaxed);
    let shown = api
        .admin("PUT", "/v1/registries/corp", body.clone())
        .await
        .is(200)
        .json();
    assert_eq!(shown["name"], "mine");
    api.store.overtaken.store(100, Ordering::Relaxed);
    api.admin("PUT", "/v1/registries/corp", body.clone())
        .await
        .says(Kind::Contended, &[]);
    api.store.overtaken.store(1, Ordering::Relaxed);
    let version = {
        drop(version);
        api.admin("GET", "/v1/registries/corp", Value::Null).await.headers["etag"].clone()
    };
    let request = admin("PUT", "/v1/registries/corp").header("if-match", version);
    let request = request.header(CONTENT_TYPE, "application/json");
    api.ask(request, body.to_string())
        .await
        .says(Kind::PreconditionFailed, &[]);
}

#[tokio::test]
async fn a_registry_that_something_needs_is_removed_by_force_alone() {
    let api = Asked::new();
    api.registered().await;
    *api.needs.lock().unwrap() = vec![Need::Rule("p/r".to_owned()), Need::Pushes(3)];
    api.admin("DELETE", "/v1/registries/corp", Value::Null).await.says(
        Kind::Needed,
        &["the rule `p/r` names it", "3 images were last pushed to it"],
    );
    api.admin("DELETE", "/v1/registries/corp?force=false", Value::Null)
        .await
        .is(409);
    *api.needs.lock().unwrap() = vec![Need::Unknown];
    api.admin("DELETE", "/v1/registries/corp", Value::Null).await.says(
        Kind::Needed,
        &["the policies have mistakes, or were not read yet: some rule may name it"],
    );
    let reply = api
        .admin("DELETE", "/v1/registries/corp?force=true", Value::Null)
        .await
        .is(204);
    assert_eq!(reply.text, "");
    api.admin("GET", "/v1/registries/corp", Value::Null)
        .await
        .says(Kind::NotFound, &[]);
}

#[tokio::test]
async fn pages_go_on_where_the_last_ended_whatever_came_and_went() {
    let api = Asked::new();
    for name in ["a", "c", "e", "g"] {
        api.admin("POST", "/v1/registries", json!({"name": name})).await.is(201);
    }
    let page = async |query: &str| {
        let page = api
            .admin("GET", &format!("/v1/registries{query}"), Value::Null)
            .await
            .is(200)
            .json();
        let ids: Vec<_> = page["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["id"].as_str().unwrap().to_owned())
            .collect();
        (ids.join(" "), page["next"].as_str().map(str::to_owned))
    };
    assert_eq!(page("").await, ("a c e g".to_owned(), None));
    let (first, next) = page("?limit=2").await;
    assert_eq!(first, "a c");
    let next = next.unwrap();
    for name in ["b", "d"] {
        api.admin("POST", "/v1/registries", json!({"name": name})).await.is(201);
    }
    api.admin("DELETE", "/v1/registries/c", Value::Null).await.is(204);
    assert_eq!(
        page(&format!("?limit=2&after={next}")).await,
        ("d e".to_owned(), Some("e".to_owned()))
    );
    assert_eq!(page("?after=e&limit=1").await, ("g".to_owned(), None));
}

#[tokio::test]
async fn what_was_found_out_is_shown_and_is_no_change() {
    let api = Asked::new();
    let version = api.registered().await.headers["etag"].clone();
    let at = jiff::Timestamp::from_second(1_700_000_000).unwrap();
    let condition = |kind, status| Condition {
        kind,
        status,
        reason: "Seen".to_owned(),
        message: "it was seen".to_owned(),
        last_transition_time: at,
    };
    let conditions = vec![
        condition(ConditionKind::Reachable, Status::True),
        condition(ConditionKind::LongLived, Status::False),
    ];
    api.store.store.report("corp", conditions).await.unwrap();
    let reply = api.admin("GET", "/v1/registries/corp", Value::Null).await.is(200);
    let shown = reply.json();
    assert_eq!(
        shown["conditions"][0],
        json!({
            "type": "Reachable", "status": "True", "reason": "Seen", "message": "it was seen",
            "last_transition_time": "2023-11-14T22:13:20Z",
        })
    );
    assert_eq!(
        (&shown["long_lived"], &reply.headers["etag"]),
        (&json!(false), &version)
    );
}

#[test]
fn what_others_wrote_wrong_is_said_and_not_shown() {
    let stored = Stored {
        id: "odd".to_owned(),
        spec: crate::registry::RegistrySpec {
            url: Some("https://user:hunter2@r.io".to_owned()),
            endpoint: Some("ftp://hunter2".to_owned()),
            ..Default::default()
        },
        pull: None,
        push: None,
        notify: None,
        key: None,
        issuance: None,
        version: Version("1".to_owned()),
        declared_by: DeclaredBy::Anybody,
        conditions: Vec::new(),
        created_at: jiff::Timestamp::UNIX_EPOCH,
        updated_at: jiff::Timestamp::UNIX_EPOCH,
    };
    let shown = serde_json::to_value(registry::RegistryAnswer::of(&stored)).unwrap();
    assert!(!shown.to_string().contains("hunter2"), "{shown}");
    assert_eq!(
        (&shown["registry_url"], &shown["endpoint"]),
        (&Value::Null, &Value::Null)
    );
    let fields: Vec<_> = shown["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| &problem["field"])
        .collect();
    assert_eq!(fields, ["registry_url", "endpoint"]);
}

#[tokio::test]
async fn a_notification_token_is_kept_whatever_changes_and_is_shown_nowhere() {
    let api = Asked::new();
    let token = "hunter2-hunter2-hunter2";
    api.registered().await;
    let kept = async || {
        let kept = api.store.store.notification_token("corp").await.unwrap();
        kept.map(|kept| match kept {
            Credential::Login(login) => login.password.expose().to_owned(),
            other => format!("{other:?}"),
        })
    };
    let put = async |fields: Value| {
        let mut body = json!({"name": "corp", "registry_url": "r.io/team"});
        body.as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        api.admin("PUT", "/v1/registries/corp", body).await
    };
    let elsewhere = |field: &str, place: &str| json!({"registry_password": null, field: place});
    for (fields, expected) in [
        (json!({"notification_token": token}), Some(token.to_owned())),
        (json!({}), Some(token.to_owned())),
        // It goes nowhere: another host is no reason to ask for it again.
        (
            json!({"registry_url": "s.io", "registry_password": null}),
            Some(token.to_owned()),
        ),
        (
            json!({"notification_token": "another-of-16-ch"}),
            Some("another-of-16-ch".to_owned()),
        ),
        (json!({"notification_token": null}), None),
        (json!({}), None),
        (
            elsewhere("notification_token_file", "/run/token"),
            Some("File { username: \"\", path: \"/run/token\" }".to_owned()),
        ),
        (
            elsewhere("notification_token_env", "TOKEN"),
            Some("Environment { username: \"\", variable: \"TOKEN\" }".to_owned()),
        ),
        (
            json!({"notification_token": token, "notification_token_file": null}),
            Some(token.to_owned()),
        ),
        (json!({"notification_token_file": null}), None),
    ] {
        let reply = put(fields.clone()).await.is(200);
        assert_eq!(reply.json()["has_notification_token"], expected.is_some(), "{fields}");
        assert_eq!(kept().await, expected, "{fields}");
        assert!(!reply.json().to_string().contains("hunter2"), "{fields}");
    }
    assert!(!format!("{:?}", api.credentials("corp").await).contains("File"));
}

#[tokio::test]
async fn a_token_that_somebody_may_guess_or_that_cannot_be_sent_is_refused_and_not_repeated() {
    let api = Asked::new();
    let space = "hunter2 hunter2 hunter2";
    let long = "hunter2".repeat(200);
    for (fields, expected) in [
        (
            json!({"notification_token": "hunter2-15-char"}),
            "notification_token: it has fewer than 16 characters",
        ),
        (
            json!({"notification_token": space}),
            "notification_token: it has a space",
        ),
        (
            json!({"notification_token": "hunter2hunter2hunter2\n"}),
            "notification_token: it has a space",
        ),
        (
            json!({"notification_token": long}),
            "notification_token: it has more than 1,024 characters",
        ),
        (
            json!({"notification_token": "hunter2-hunter2-16", "notification_token_env": "A"}),
            "notification_token_env: `notification_token` is given, too",
        ),
        (
            json!({"notification_token_file": "hunter2"}),
            "notification_token_file: it is no absolute path",
        ),
        (
            json!({"notification_token_env": "hunter2=x"}),
            "notification_token_env: it is no name of a variable",
        ),
        (json!({"notification_token": 5}), "notification_token: "),
    ] {
        let mut body = json!({"name": "corp", "registry_url": "r.io/team"});
        body.as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        let text = api
            .admin("POST", "/v1/registries", body)
            .await
            .is(422)
            .json()
            .to_string();
        let detail = expected.split_once(": ").unwrap();
        assert!(text.contains(detail.0) && text.contains(detail.1), "{fields}: {text}");
        assert!(!text.contains("hunter2"), "{text}");
        if detail.1.starts_with("it has") {
            assert!(text.contains("openssl rand -hex 32"), "{text}");
        }
    }
}
