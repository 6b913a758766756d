use super::*;
use crate::pushes::{Image, State};

const TOKEN: &str = "hunter2-hunter2-hunter2";
const DIGEST: &str = "sha256:1111111111111111111111111111111111111111111111111111111111111111";
const PATH: &str = "/v1/registries/corp/notifications/distribution";

impl Asked {
    /// With `corp`, which may notify.
    async fn notifying() -> Self {
        let api = Self::new();
        let body = json!({"name": "corp", "registry_url": "r.io/team", "notification_token": TOKEN});
        api.admin("POST", "/v1/registries", body).await.is(201);
        api
    }

    async fn notify(&self, path: &str, authorization: &str, body: impl Into<Body>) -> Reply {
        let request = request("POST", path)
            .extension(server::Peer(([192, 0, 2, 1], 1).into()))
            .header("authorization", authorization)
            .header(CONTENT_TYPE, "application/vnd.docker.distribution.events.v2+json");
        self.ask(request, body).await
    }

    async fn latest(&self, image: &str) -> Option<(State, String)> {
        let id = PushId::new("corp", Image::parse(image).unwrap().key());
        let record = self.store.store.push(&id).await.unwrap()?;
        Some((record.last_attempt?.state, record.last_success?.digest.into()))
    }
}

fn bearer() -> String {
    format!("Bearer {TOKEN}")
}

fn pushed() -> String {
    let target = json!({"repository": "team/app", "tag": "1", "digest": DIGEST});
    let event = json!({"action": "push", "timestamp": "2026-11-01T10:00:00Z", "target": target});
    json!({"events": [event, {"action": "pull", "target": {}}]}).to_string()
}

#[tokio::test]
async fn a_registry_tells_of_a_push_with_its_own_token() {
    let api = Asked::notifying().await;
    let basic = format!(
        "Basic {}",
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, format!("x:{TOKEN}"))
    );
    for authorization in [bearer(), format!("Simple {TOKEN}"), TOKEN.to_owned(), basic] {
        let reply = api.notify(PATH, &authorization, pushed()).await.is(200);
        assert_eq!(reply.json(), json!({"recorded": 1, "ignored": 1}));
    }
    assert_eq!(
        api.latest("r.io/team/app:1").await,
        Some((State::Succeeded, DIGEST.to_owned()))
    );
    let harbor = json!({
        "type": "DELETE_ARTIFACT", "occur_at": 1_795_255_200,
        "event_data": {"resources": [{"digest": DIGEST, "tag": "1"}], "repository": {"repo_full_name": "team/app"}},
    });
    let reply = api
        .notify(
            "/v1/registries/corp/notifications/harbor",
            &bearer(),
            harbor.to_string(),
        )
        .await;
    assert_eq!(reply.is(200).json(), json!({"recorded": 1, "ignored": 0}));
    assert_eq!(api.latest("r.io/team/app:1").await, None);
}

#[tokio::test(start_paused = true)]
async fn whoever_has_another_token_is_answered_alike_and_late_whatever_there_is() {
    let api = Asked::notifying().await;
    api.admin(
        "POST",
        "/v1/registries",
        json!({"name": "mute", "registry_url": "s.io"}),
    )
    .await
    .is(201);
    let mut said = Vec::new();
    for (path, authorization) in [
        (PATH, "Bearer the-admin"),
        (PATH, "Bearer the-push"),
        (PATH, "Bearer hunter2-hunter2-hunter3"),
        (PATH, ""),
        ("/v1/registries/mute/notifications/distribution", &*bearer()),
        ("/v1/registries/nobody/notifications/distribution", &*bearer()),
        ("/v1/registries/NO%2F..ID/notifications/distribution", &*bearer()),
    ] {
        let begun = tokio::time::Instant::now();
        // Nothing of it is read.
        let reply = api
            .notify(path, authorization, "no JSON")
            .await
            .says(Kind::Unauthenticated, &[]);
        assert!(begun.elapsed() >= Duration::from_millis(100), "{path} {authorization}");
        let mut json = reply.json();
        json["instance"].take();
        said.push((json, reply.headers["www-authenticate"].clone()));
    }
    assert!(said.iter().all(|other| *other == said[0]), "{said:?}");
    // It is good for nothing else.
    for (method, path) in [
        ("GET", "/v1/registries"),
        ("GET", "/v1/registries/corp"),
        ("GET", PATH),
        ("DELETE", "/v1/registries/corp"),
    ] {
        let reply = api
            .ask(request(method, path).header("authorization", bearer()), Body::empty())
            .await;
        reply.says(Kind::Unauthenticated, &[]);
    }
    let reply = api.ask(request("POST", PATH), Body::empty()).await;
    reply.says(Kind::Unauthenticated, &[]);
    // Who may be here is told what there is.
    api.admin("GET", PATH, Value::Null)
        .await
        .says(Kind::MethodNotAllowed, &[]);
    api.admin("POST", "/v1/registries/corp/notifications/quay", json!({}))
        .await
        .says(Kind::NotFound, &[]);
}

#[tokio::test]
async fn a_changed_token_counts_at_once() {
    let api = Asked::notifying().await;
    let put = async |token: Value| {
        let body = json!({"name": "corp", "registry_url": "r.io/team", "notification_token": token});
        api.admin("PUT", "/v1/registries/corp", body).await.is(200);
    };
    api.notify(PATH, &bearer(), pushed()).await.is(200);
    put(json!("another-hunter2-16")).await;
    api.notify(PATH, &bearer(), pushed()).await.is(401);
    api.notify(PATH, "Bearer another-hunter2-16", pushed()).await.is(200);
    put(Value::Null).await;
    api.notify(PATH, "Bearer another-hunter2-16", pushed()).await.is(401);
}

#[tokio::test]
async fn what_cannot_be_kept_now_is_to_be_told_again() {
    let api = Asked::notifying().await;
    api.notify(PATH, &bearer(), pushed()).await.is(200);
    for (error, kind, again) in [
        (StoreError::Unavailable("down".to_owned()), Kind::Unavailable, true),
        (StoreError::Full("full".to_owned()), Kind::NoRoom, false),
        (StoreError::NotFound("corp".to_owned()), Kind::Unauthenticated, false),
    ] {
        api.fails(error);
        let reply = api.notify(PATH, &bearer(), pushed()).await.says(kind, &[]);
        assert_eq!(reply.headers.contains_key("retry-after"), again, "{kind:?}");
    }
    api.notify(PATH, &bearer(), pushed()).await.is(200);
}

#[tokio::test]
async fn a_body_that_is_no_notification_or_too_large_is_refused() {
    let api = Asked::notifying().await;
    let many = json!({"events": vec![json!({}); 1001]}).to_string();
    for (body, kind, detail) in [
        ("hunter2".to_owned(), Kind::MalformedJson, "no JSON at line 1, column 1"),
        (String::new(), Kind::MalformedJson, "no JSON"),
        ("{}".to_owned(), Kind::Invalid, "is it the format of the path"),
        (many, Kind::BodyTooLarge, "it has 1001 events, and 1000 at most"),
        (" ".repeat((1 << 20) + 1), Kind::BodyTooLarge, ""),
    ] {
        let reply = api.notify(PATH, &bearer(), body).await;
        assert_eq!(reply.json()["type"], kind.uri());
        assert!(
            reply.json()["detail"].as_str().unwrap().contains(detail),
            "{}",
            reply.text
        );
    }
    let most = json!({"events": vec![json!({}); 1000]}).to_string();
    let reply = api.notify(PATH, &bearer(), most).await.is(200);
    assert_eq!(reply.json(), json!({"recorded": 0, "ignored": 1000}));
}
