use std::time::Duration;

use super::*;

#[tokio::test]
async fn everything_that_is_wrong_with_a_registry_is_said_by_the_names_of_its_fields() {
    let api = Asked::new();
    let body = json!({
        "name": "corp", "registry_url": "team", "endpoint": "r.svc/v2", "ca_bundle": "hunter2",
        "names": {"to": "{name}"}, "namespaces": {"names": ["A"], "all": true}, "registry_password": "hunter2",
    });
    api.admin("POST", "/v1/registries", body).await.says(
        Kind::Invalid,
        &[
            "namespaces.all: all namespaces are asked for, and some of them",
            "registry_url: nodes do not take `team` for a registry",
            "endpoint: the endpoint has a path: `/v2`",
            "names.to: the names `{name}` do not say which repository an image is of, so that two images could have one name",
            "namespaces.names[0]: no namespace can match `A`",
            "registry_username: it is missing: `registry_password` is given",
        ],
    );
    let body = json!({"name": "corp", "registry_url": "r.io", "ca_bundle": "hunter2"});
    api.admin("POST", "/v1/registries", body)
        .await
        .says(Kind::Invalid, &["ca_bundle: the CA bundle has no certificate in it"]);
    let body = json!({"name": "corp", "registry_url": "r.io", "plain_http": true, "ca_bundle": "x"});
    api.admin("POST", "/v1/registries", body).await.says(
        Kind::Invalid,
        &["ca_bundle: a CA bundle is given for a registry that is reached without TLS"],
    );
    let body =
        json!({"name": "corp", "registry_url": "r.io", "token_hosts": ["a.io", "https://a.io", "u:hunter2@a.io"]});
    api.admin("POST", "/v1/registries", body).await.says(
        Kind::Invalid,
        &[
            "token_hosts[1]: the host has a scheme, a path or a query around it",
            "token_hosts[2]: the host has a username or a password before it",
        ],
    );
    let body = json!({"name": "corp", "registry_url": "r.io", "token_hosts": vec!["a.io"; 9]});
    api.admin("POST", "/v1/registries", body)
        .await
        .says(Kind::Invalid, &["token_hosts: 9 hosts are more than 8"]);
}

#[tokio::test]
async fn a_password_in_the_wrong_place_is_not_repeated() {
    let api = Asked::new();
    // `ask` looks for it in every answer.
    for body in [
        json!({"name": "a", "registry_url": "https://user:hunter2@r.io"}),
        json!({"name": "a", "registry_url": "hunter2://r.io"}),
        json!({"name": "a", "registry_passwrd": "hunter2"}),
        json!({"name": ["hunter2"]}),
        json!({"name": "a", "location": "hunter2"}),
        json!({"name": "a", "registry_username": "u", "registry_password": {"value": "hunter2"}}),
        json!({"name": "a", "registry_docker_config": "hunter2"}),
        json!({"name": "a", "registry_docker_config": ["hunter2"]}),
        json!({"name": "a", "namespaces": {"selector": {"matchExpressions": [{"key": "k", "operator": "hunter2"}]}}}),
        json!("hunter2"),
    ] {
        api.admin("POST", "/v1/registries", body).await.is(422);
    }
    for text in [
        "{\"registry_password\": \"hunter2",
        "{\"registry_password\": \"hunter2\"",
        "hunter2",
    ] {
        let request = admin("POST", "/v1/registries").header(CONTENT_TYPE, "application/json");
        api.ask(request, text).await.says(Kind::MalformedJson, &[]);
    }
    let request = admin("GET", "/v1/registries?password=hunter2");
    api.ask(request, Body::empty()).await.is(400);
    let request = request_with_scheme("hunter2");
    api.ask(request, Body::empty()).await.is(401);
}

fn request_with_scheme(token: &str) -> Builder {
    request("GET", "/v1/registries").header("authorization", format!("Basic {token}"))
}

#[tokio::test]
async fn ids_are_made_of_names_and_taken_once() {
    let api = Asked::new();
    let made = api
        .admin("POST", "/v1/registries", json!({"name": "CERN (prod)"}))
        .await
        .is(201);
    assert_eq!(
        (&made.json()["id"], &made.json()["name"]),
        (&json!("cern-prod"), &json!("CERN (prod)"))
    );
    for body in [json!({"name": "cern prod"}), json!({"name": "x", "id": "cern-prod"})] {
        api.admin("POST", "/v1/registries", body)
            .await
            .says(Kind::Exists, &["id: there is a registry `cern-prod` already"]);
    }
    for (body, error) in [
        (
            json!({"name": "日本"}),
            "name: no id can be made of it: there is no letter of a to z and no digit in it",
        ),
        (
            json!({"name": "a", "id": "A"}),
            "id: it has characters other than lower-case letters, digits and `-`",
        ),
        (json!({"name": "a\u{0}b"}), "name: it has a control character in it"),
        (
            json!({"name": "a", "registry_username": "u"}),
            "registry_password: it is missing: `registry_username` is given",
        ),
    ] {
        api.admin("POST", "/v1/registries", body)
            .await
            .says(Kind::Invalid, &[error]);
    }
    let body = json!({"name": "a", "id": "other"});
    api.admin("PUT", "/v1/registries/cern-prod", body)
        .await
        .says(Kind::Invalid, &["id: it is another one than that of the path"]);
    let body = json!({"name": "a", "id": "cern-prod"});
    api.admin("PUT", "/v1/registries/cern-prod", body).await.is(200);
}

#[tokio::test]
async fn nobody_gets_in_without_a_token_and_the_push_token_changes_nothing() {
    let api = Asked::new();
    api.registered().await;
    for (method, path) in [
        ("GET", "/v1/registries"),
        ("POST", "/v1/registries"),
        ("GET", "/v1/registries/corp"),
        ("PUT", "/v1/registries/corp"),
        ("DELETE", "/v1/registries/corp"),
        ("PATCH", "/v1/registries/corp"),
        ("OPTIONS", "/v1/registries"),
        ("GET", "/v1/pushes"),
        ("POST", "/v1/pushes"),
        ("GET", "/v1/pushes/corp.x"),
        ("OPTIONS", "/v1/pushes"),
        ("GET", "/elsewhere"),
    ] {
        // A body that never comes: it is not waited for.
        let (_sender, channel) = Channel::<Bytes, std::io::Error>::new(1);
        let reply = api.ask(request(method, path), Body::new(channel)).await;
        let reply = reply.says(Kind::Unauthenticated, &[]);
        assert_eq!(reply.headers["www-authenticate"], "Bearer realm=\"waypost\"");
        let by_push = request(method, path).header("authorization", "Simple the-push");
        let reply = api.ask(by_push, Body::empty()).await;
        match (method, path) {
            ("GET", "/elsewhere" | "/v1/pushes/corp.x") => drop(reply.says(Kind::NotFound, &[])),
            // It may report; this is no report.
            ("POST", "/v1/pushes") => drop(reply.says(Kind::UnsupportedMediaType, &[])),
            ("GET", _) => drop(reply.is(200)),
            ("PATCH", _) => drop(reply.says(Kind::MethodNotAllowed, &[])),
            ("OPTIONS", _) => assert_eq!(reply.is(204).headers["allow"], "GET, HEAD, POST, OPTIONS"),
            _ => drop(reply.says(Kind::Forbidden, &[])),
        }
    }
    let document = api.ask(request("GET", "/v1/openapi.json"), Body::empty()).await.is(200);
    assert_eq!(document.json()["openapi"], "3.1.0");
}

#[tokio::test(start_paused = true)]
async fn wrong_tokens_are_answered_later_and_later_and_right_ones_at_once() {
    let api = Asked::new();
    let ask = async |token: &str| {
        let started = Instant::now();
        let request = request("GET", "/v1/registries").header("authorization", format!("Bearer {token}"));
        let request = request.extension(server::Peer(([192, 0, 2, 1], 1).into()));
        let status = api.ask(request, Body::empty()).await.status;
        (status, started.elapsed().as_millis())
    };
    for late in [100, 200, 400, 800, 1600, 3200, 5000, 5000] {
        let (status, took) = ask("wrong").await;
        assert!(status == 401 && (late..late + 10).contains(&took), "{status} {took}");
        assert_eq!(ask("the-admin").await, (200, 0));
    }
    // No more wait than there is room for: the others are told at once.
    let many = futures_util::future::join_all((0..100).map(|_| ask("wrong"))).await;
    let (late, refused): (Vec<_>, Vec<_>) = many.into_iter().partition(|(status, _)| *status == 401);
    assert_eq!((late.len(), refused.len()), (64, 36));
    assert!(refused.iter().all(|answer| *answer == (429, 0)), "{refused:?}");
}

#[tokio::test]
async fn a_body_is_json_of_a_size_that_comes_in_time() {
    let api = Asked::new();
    let post = || admin("POST", "/v1/registries");
    for announced in [
        None,
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        Some(""),
    ] {
        let request = announced.map_or_else(post, |announced| post().header(CONTENT_TYPE, announced));
        api.ask(request, "{}").await.says(Kind::UnsupportedMediaType, &[]);
    }
    let json = || post().header(CONTENT_TYPE, "Application/JSON; charset=utf-8");
    let large = format!("{{\"name\": \"{}\"}}", "a".repeat(256 << 10));
    let chunks = large.len().div_ceil(1000);
    api.ask(json(), large.clone()).await.says(Kind::BodyTooLarge, &[]);
    // Not announced. All of it is read, for there are clients that show no answer which comes while they send.
    let sent = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = sent.clone();
    let stream = http_body_util::StreamBody::new(futures_util::stream::iter(
        large
            .into_bytes()
            .chunks(1000)
            .map(|chunk| Ok::<_, std::io::Error>(hyper::body::Frame::data(Bytes::copy_from_slice(chunk))))
            .collect::<Vec<_>>()
            .into_iter()
            .inspect(move |_| {
                counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }),
    ));
    api.ask(json(), Body::new(stream)).await.says(Kind::BodyTooLarge, &[]);
    assert_eq!(sent.load(std::sync::atomic::Ordering::Relaxed), chunks);
    for (text, detail) in [
        ("", "the body is empty"),
        ("{\n  \"name\": nix}", "the body is no JSON at line 2, column 12"),
        ("{} {}", "the body is no JSON at line 1, column 4"),
    ] {
        let reply = api.ask(json(), text).await.says(Kind::MalformedJson, &[]);
        assert_eq!(reply.json()["detail"], detail);
    }
    api.ask(json(), vec![b'"', 0xff, b'"'])
        .await
        .says(Kind::MalformedJson, &[]);
    let nested = format!(
        "{{\"name\": \"a\", \"registry_docker_config\": {}1{}}}",
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    api.ask(json(), nested).await.is(422);
}

#[tokio::test(start_paused = true)]
async fn what_takes_too_long_is_given_up() {
    let api = Asked::new();
    let (_sender, channel) = Channel::<Bytes, std::io::Error>::new(1);
    let request = admin("POST", "/v1/registries").header(CONTENT_TYPE, "application/json");
    let started = Instant::now();
    api.ask(request, Body::new(channel)).await.says(Kind::BodyTimeout, &[]);
    assert_eq!(started.elapsed().as_secs(), 10);
    api.store.hangs.store(true, Ordering::Relaxed);
    let reply = api
        .admin("GET", "/v1/registries", Value::Null)
        .await
        .says(Kind::Unavailable, &[]);
    assert_eq!(reply.headers["retry-after"], "5");
    assert_eq!(started.elapsed().as_secs(), 10 + Duration::from_secs(30).as_secs());
}

#[tokio::test]
async fn what_the_store_says_is_passed_on_and_a_panic_ends_one_request() {
    let api = Asked::new();
    api.registered().await;
    for (error, kind) in [
        (StoreError::Full("the disk is full".to_owned()), Kind::NoRoom),
        (
            StoreError::Unavailable("it does not answer".to_owned()),
            Kind::Unavailable,
        ),
        (StoreError::Unsupported("not here".to_owned()), Kind::Invalid),
        (StoreError::Declared("a".to_owned()), Kind::DeclaredElsewhere),
    ] {
        api.fails(error);
        api.admin("POST", "/v1/registries", json!({"name": "a"}))
            .await
            .says(kind, &[]);
    }
    api.store.helm.store(true, Ordering::Relaxed);
    let body = json!({"name": "corp", "registry_url": "r.io"});
    api.admin("PUT", "/v1/registries/corp", body)
        .await
        .says(Kind::DeclaredElsewhere, &[]);
    api.admin("DELETE", "/v1/registries/corp?force=true", Value::Null)
        .await
        .says(Kind::DeclaredElsewhere, &[]);
    api.store.panics.store(true, Ordering::Relaxed);
    api.admin("GET", "/v1/registries", Value::Null)
        .await
        .says(Kind::Internal, &[]);
    api.store.panics.store(false, Ordering::Relaxed);
    api.admin("GET", "/v1/registries", Value::Null).await.is(200);
}

#[tokio::test]
async fn each_request_is_counted_by_words_of_short_lists() {
    let api = Asked::new();
    api.admin("GET", "/v1/registries/nobody", Value::Null).await.is(404);
    api.admin("BREW", "/v1/registries", Value::Null).await.is(405);
    api.admin("GET", "/../etc", Value::Null).await.is(404);
    let head = api.admin("HEAD", "/v1/registries", Value::Null).await.is(200);
    assert_eq!(
        (&*head.text, &head.headers["content-length"]),
        ("", &HeaderValue::from(24))
    );
    let served = std::mem::take(&mut *api.served.lock().unwrap());
    let served: Vec<_> = served
        .iter()
        .map(|served| (served.route, served.method, served.status))
        .collect();
    assert_eq!(
        served,
        [
            ("/v1/registries/{id}", "GET", 404),
            ("/v1/registries", "other", 405),
            ("other", "GET", 404),
            ("/v1/registries", "HEAD", 200),
        ]
    );
}

#[tokio::test]
async fn the_line_of_a_request_says_who_did_what_and_nothing_of_what_was_sent() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let logging = tracing::subscriber::set_default(subscriber);
    // While there is only one, whichever test comes to a line first says for all of them that nobody reads it.
    let _another = tracing::Dispatch::new(tracing_subscriber::registry());
    let api = Asked::new();
    api.registered().await;
    for (name, key) in [
        ("access_key_id", json!("hunter2")),
        ("secret_access_key", json!("hunter2")),
        ("key_json", issued::google_key()),
        ("push_key_json", issued::google_key()),
    ] {
        for (location, status) in [("ecr", 422), ("gcr", if name.ends_with("json") { 201 } else { 422 })] {
            let mut body = json!({"name": name, "location": location});
            body[name] = key.clone();
            api.admin("POST", "/v1/registries", body).await.is(status);
        }
    }
    let body = json!({
        "name": "ecr", "location": "ecr", "region": "eu-central-1", "access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": "hunter2",
        "session_token": "hunter2",
    });
    api.admin("POST", "/v1/registries", body).await.is(201);
    let body = json!({"name": "corp", "registry_url": "https://user:hunter2@r.io", "registry_password": ["hunter2"]});
    api.admin("POST", "/v1/registries", body).await.is(422);
    for (token, path) in [
        ("the-admin", "/v1/registries/hunter2%20x?password=hunter2"),
        ("hunter2", "/v1/registries"),
    ] {
        let request = request("GET", path).header("authorization", format!("Bearer {token}"));
        assert!(api.ask(request, Body::empty()).await.status >= 400);
    }
    let report =
        json!({"image": "alpine", "registry_id": "corp", "state": "FAILED", "error": "hunter2 is no password"});
    api.store
        .untold
        .lock()
        .unwrap()
        .replace(StoreError::Unavailable("away".to_owned()));
    api.admin("POST", "/v1/pushes", report).await.is(503);
    api.admin("GET", &format!("/v1/pushes/lab.{}", "0".repeat(32)), Value::Null)
        .await
        .is(404);
    api.store.panics.store(true, Ordering::Relaxed);
    let body = json!({"name": "b", "registry_username": "u", "registry_password": "hunter2"});
    api.admin("POST", "/v1/registries", body).await.is(500);
    drop(logging);
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(!text.contains("hunter2") && !text.contains("the-admin"), "{text}");
    let first: Value = serde_json::from_str(text.lines().find(|line| line.contains("answered")).unwrap()).unwrap();
    let fields = &first["fields"];
    assert_eq!(fields["message"], "answered POST /v1/registries with 201");
    assert_eq!((&fields["user"], &fields["status"]), (&json!("admin"), &json!(201)));
    assert!(text.contains("\"problem\":\"What the body says cannot be\""), "{text}");
    let alpine = crate::pushes::Image::parse("alpine").unwrap().key();
    for (answered, registry, push) in [
        ("answered POST /v1/pushes with 503", "corp", format!("corp.{alpine}")),
        (
            "answered GET /v1/pushes/{id} with 404",
            "lab",
            format!("lab.{}", "0".repeat(32)),
        ),
    ] {
        let line = text.lines().find(|line| line.contains(answered)).unwrap();
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(
            (&line["fields"]["registry"], &line["fields"]["push"]),
            (&json!(registry), &json!(push)),
            "{line}"
        );
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
