//! Registries whose tokens are issued.

use super::*;
use crate::{
    registry::{Key, Login},
    store::Issuance,
};

const ID: &str = "AKIAIOSFODNN7EXAMPLE";
const PEM: &str = "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n";

pub(super) fn google_key() -> Value {
    json!({"type": "service_account", "client_email": "w@p.iam.gserviceaccount.com", "private_key": PEM})
}

/// With these fields over those.
fn with(body: &Value, fields: Value) -> Value {
    let mut body = body.clone();
    body.as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    body
}

fn ecr() -> Value {
    json!({
        "name": "ecr", "location": "ecr", "region": "eu-central-1", "access_key_id": ID, "secret_access_key": "hunter2",
    })
}

fn gcr() -> Value {
    json!({"name": "gcr", "location": "gcr", "key_json": google_key()})
}

impl Asked {
    async fn keys(&self, id: &str) -> Keys {
        self.store.store.keys(id).await.unwrap()
    }

    /// As who has tokens issued would keep one.
    async fn issued(&self, id: &str, account: Option<&str>) {
        let stored = self.store.store.registry(id).await.unwrap().unwrap();
        let token = Token {
            login: Login {
                username: "AWS".to_owned(),
                password: Password::new("hunter2-token".to_owned()),
            },
            issuance: Issuance {
                issued_at: "2026-01-01T00:00:00Z".parse().unwrap(),
                expires_at: "2026-01-01T12:00:00Z".parse().unwrap(),
                account: account.map(str::to_owned),
                place: Issuance::place(&stored.spec),
                origin: Issuance::origin(&stored.spec, stored.key.as_ref()),
            },
        };
        self.store.store.issued(id, token).await.unwrap();
    }
}

fn aws(id: &str, secret: &str, session_token: Option<&str>) -> Option<Key> {
    let password = |text: &str| Password::new(text.to_owned());
    Some(Key::Aws {
        id: password(id),
        secret: password(secret),
        session_token: session_token.map(password),
    })
}

#[tokio::test]
async fn what_was_given_is_shown_but_for_keys_and_the_account_when_it_is_known() {
    let api = Asked::new();
    let body = with(
        &ecr(),
        json!({
            "pull_role_arn": "arn:aws:iam::123456789012:role/pull", "pull_role_external_id": "x1",
            "repositories": {"create": true, "tags": {"a": "b"}}, "session_token": "hunter2-session",
            "push_access_key_id": "AKIAI44QH8DHBEXAMPLE", "push_secret_access_key": "hunter2-push",
        }),
    );
    let shown = api.admin("POST", "/v1/registries", body).await.is(201).json();
    assert_eq!(
        api.keys("ecr").await,
        Keys {
            pull: aws(ID, "hunter2", Some("hunter2-session")),
            push: aws("AKIAI44QH8DHBEXAMPLE", "hunter2-push", None),
        }
    );
    assert_eq!(api.credentials("ecr").await, Credentials::default());
    for (field, expected) in [
        ("location", json!("ecr")),
        ("region", json!("eu-central-1")),
        ("registry_id", Value::Null),
        ("pull_role_arn", json!("arn:aws:iam::123456789012:role/pull")),
        ("pull_role_external_id", json!("x1")),
        (
            "repositories",
            json!({"create": true, "immutable_tags": false, "tags": {"a": "b"}}),
        ),
        ("has_key", json!(true)),
        ("has_pull_credential", json!(false)),
        ("has_push_credential", json!(true)),
        ("long_lived", json!(false)),
        ("token", Value::Null),
        ("registry_url", Value::Null),
        ("endpoint", Value::Null),
        ("problems", Value::Null),
    ] {
        assert_eq!(shown[field], expected, "{field}");
    }
    api.issued("ecr", Some("123456789012")).await;
    let condition = Condition {
        kind: ConditionKind::TokenIssued,
        status: Status::True,
        reason: "Wide".to_owned(),
        message: "it can push, too".to_owned(),
        last_transition_time: jiff::Timestamp::UNIX_EPOCH,
    };
    api.store.store.report("ecr", vec![condition]).await.unwrap();
    let shown = api.admin("GET", "/v1/registries/ecr", Value::Null).await.is(200).json();
    for (field, expected) in [
        ("registry_url", json!("123456789012.dkr.ecr.eu-central-1.amazonaws.com")),
        (
            "endpoint",
            json!("https://123456789012.dkr.ecr.eu-central-1.amazonaws.com"),
        ),
        ("registry_id", Value::Null),
        (
            "token",
            json!({"issued_at": "2026-01-01T00:00:00Z", "expires_at": "2026-01-01T12:00:00Z"}),
        ),
        ("has_pull_credential", json!(true)),
    ] {
        assert_eq!(shown[field], expected, "{field}");
    }
    assert_eq!(shown["conditions"][0]["type"], "TokenIssued");
    documented::valid("Registry", &shown);
    // It may be sent back: then nothing has changed, and the token is as good as before.
    let mut again = shown.clone();
    for answered in registry::ANSWERED {
        again.as_object_mut().unwrap().remove(*answered);
    }
    let mut put = api.admin("PUT", "/v1/registries/ecr", again).await.is(200).json();
    put["updated_at"] = shown["updated_at"].clone();
    assert_eq!(put, shown);
    let stored = api.store.store.registry("ecr").await.unwrap().unwrap();
    assert_eq!((stored.spec.url, stored.spec.endpoint), (None, None));
}

#[tokio::test]
async fn the_key_of_a_service_account_is_its_text_or_the_object_itself() {
    for (key, expected) in [
        (google_key(), google_key().to_string()),
        (json!(format!("{:#}\n", google_key())), format!("{:#}\n", google_key())),
    ] {
        let api = Asked::new();
        let body = with(&gcr(), json!({"key_json": key}));
        let shown = api.admin("POST", "/v1/registries", body).await.is(201).json();
        assert_eq!(
            (&shown["registry_url"], &shown["has_key"]),
            (&json!("gcr.io"), &json!(true))
        );
        documented::valid("Registry", &shown);
        let key = Some(Key::Google(Password::new(expected)));
        assert_eq!(api.keys("gcr").await, Keys { pull: key, push: None });
        api.issued("gcr", None).await;
        let mut again = api.admin("GET", "/v1/registries/gcr", Value::Null).await.json();
        let shown = again.clone();
        for answered in registry::ANSWERED {
            again.as_object_mut().unwrap().remove(*answered);
        }
        let mut put = api.admin("PUT", "/v1/registries/gcr", again).await.is(200).json();
        put["updated_at"] = shown["updated_at"].clone();
        assert_eq!(put, shown);
        assert_ne!(shown["token"], Value::Null);
    }
}

#[tokio::test]
async fn without_a_key_a_registry_is_waiting_for_waypost_s_own_identity() {
    let api = Asked::new();
    for (body, url) in [
        (
            json!({"name": "a", "location": "ecr", "registry_url": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team"}),
            json!("123456789012.dkr.ecr.eu-west-1.amazonaws.com/team"),
        ),
        (
            json!({"name": "b", "location": "ecr", "region": "eu-west-1", "registry_id": "123456789012"}),
            json!("123456789012.dkr.ecr.eu-west-1.amazonaws.com"),
        ),
        (
            json!({"name": "c", "location": "ecr", "region": "eu-west-1", "access_key_id": null}),
            Value::Null,
        ),
        (
            json!({"name": "d", "location": "ecr", "region": "eu-west-1", "hostname": "ecr.corp.io:8443"}),
            json!("ecr.corp.io:8443"),
        ),
        (
            json!({"name": "e", "location": "gcr", "hostname": "eu-docker.pkg.dev", "pull_service_account": "a@b.c"}),
            json!("eu-docker.pkg.dev"),
        ),
        (
            json!({"name": "f", "location": "gcr", "key_json": null}),
            json!("gcr.io"),
        ),
    ] {
        let shown = api.admin("POST", "/v1/registries", body.clone()).await.is(201).json();
        assert_eq!(
            (&shown["registry_url"], &shown["has_key"]),
            (&url, &json!(false)),
            "{body}"
        );
    }
}

#[tokio::test]
async fn what_does_not_go_together_is_refused_with_what_to_give_in_its_place() {
    let api = Asked::new();
    let bare = json!({"name": "x", "location": "ecr", "region": "eu-central-1"});
    let off = json!({"name": "x", "registry_url": "r.io"});
    let google = json!({"name": "x", "location": "gcr"});
    let base64 = {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.encode(google_key().to_string())
    };
    for (body, fields, expected, hint) in [
        (
            &bare,
            json!({"access_key_id": ID}),
            "secret_access_key: it is missing: `access_key_id` is given",
            "Waypost's own identity",
        ),
        (
            &bare,
            json!({"secret_access_key": "hunter2"}),
            "access_key_id: it is missing: `secret_access_key` is given",
            "Waypost's own identity",
        ),
        (
            &bare,
            json!({"push_session_token": "hunter2"}),
            "push_access_key_id: it is missing: `push_session_token` is given",
            "`push_secret_access_key`",
        ),
        (
            &bare,
            json!({"access_key_id": "ASIAIOSFODNN7EXAMPLE", "secret_access_key": "hunter2"}),
            "session_token: it is missing: an access key that begins with ASIA is a temporary one",
            "AKIA",
        ),
        (
            &bare,
            json!({"access_key_id": "hunter2hunter2hunter2hunter2hunter2hunte", "secret_access_key": ID}),
            "access_key_id: it is no id of an access key: those are 16 to 128 upper-case letters and digits",
            "belongs into `secret_access_key`",
        ),
        (
            &bare,
            json!({"push_access_key_id": ID, "push_secret_access_key": ID}),
            "push_secret_access_key: it is the id of an access key: the secret is what AWS shows once, when it makes the key",
            "as AWS made it",
        ),
        (
            &bare,
            json!({"access_key_id": "QUtJQUlPU0ZPRE5ON0VYQU1QTEU=", "secret_access_key": "hunter2"}),
            "access_key_id: it is in base64: give it as it is",
            "AKIAIOSFODNN7EXAMPLE",
        ),
        (
            &bare,
            json!({"access_key_id": ID, "secret_access_key": "hunter2", "session_token": "hunter2 "}),
            "session_token: it is empty, or has a space, a line end or a letter in it that is not ASCII",
            "as AWS made it",
        ),
        (
            &bare,
            json!({"access_key_id": ID, "secret_access_key": "hunter2\n"}),
            "secret_access_key: it is empty, or has a space, a line end or a letter in it that is not ASCII",
            "as AWS made it",
        ),
        (
            &bare,
            json!({"key_json": google_key()}),
            "key_json: it is for the location `gcr`, and the location is `ecr`",
            "give `access_key_id` and `secret_access_key`, or neither",
        ),
        (
            &bare,
            json!({"registry_username": "AWS"}),
            "registry_username: with the location `ecr` tokens are issued, and there are no passwords",
            "give `access_key_id`",
        ),
        (
            &bare,
            json!({"registry_push_docker_config": "hunter2"}),
            "registry_push_docker_config: with the location `ecr` tokens are issued, and there are no passwords",
            "give `push_access_key_id`",
        ),
        (
            &google,
            json!({"registry_password_env": "HUNTER"}),
            "registry_password_env: with the location `gcr` tokens are issued, and there are no passwords",
            "give `key_json`",
        ),
        (
            &google,
            json!({"session_token": "hunter2"}),
            "session_token: it is for the location `ecr`, and the location is `gcr`",
            "give `key_json`, or nothing",
        ),
        (
            &google,
            json!({"key_json": base64}),
            "key_json: it is in base64, and has to be given without",
            "without base64: the object itself, or its text",
        ),
        (
            &google,
            json!({"key_json": {"type": "authorized_user", "refresh_token": "hunter2"}}),
            "key_json: it is a person's own sign-in (`authorized_user`, by gcloud auth application-default login)",
            "service account's key",
        ),
        (
            &google,
            json!({"push_key_json": "hunter2"}),
            "push_key_json: it is no JSON object",
            "service account's key",
        ),
        (
            &off,
            json!({"key_json": google_key()}),
            "key_json: it is for the location `gcr`, and the location is `off-cluster`",
            "or say the `location`",
        ),
        (
            &off,
            json!({"push_access_key_id": ID}),
            "push_access_key_id: it is for the location `ecr`, and the location is `off-cluster`",
            "`registry_push_password`",
        ),
        (
            &off,
            json!({"pull_role_arn": "hunter"}),
            "pull_role_arn: it is for the location `ecr`, and the location is `off-cluster`",
            "take `pull_role_arn` out",
        ),
        (
            &google,
            json!({"registry_id": "123456789012"}),
            "registry_id: it is for the location `ecr`, and the location is `gcr`",
            "take `registry_id` out",
        ),
        (
            &google,
            json!({"registry_url": "r.io"}),
            "registry_url: `r.io` is no registry of Google's",
            "`hostname`",
        ),
        (
            &bare,
            json!({"registry_url": "123456789012.dkr.ecr.eu-west-1.amazonaws.com"}),
            "region: `eu-central-1` is another region than that of `registry_url`, `eu-west-1`",
            "take one of the two out",
        ),
        (
            &bare,
            json!({"repositories": {"create": true, "tags": {"aws:x": "y"}}}),
            "repositories: the tag `aws:x` is one of AWS's own",
            "50 tags",
        ),
        (
            &bare,
            json!({"repositories": {"create": true, "immutableTags": true}}),
            "repositories.immutableTags: there is no such field",
            "immutable_tags",
        ),
        (
            &bare,
            json!({"registry_id": 123456789012_u64}),
            "registry_id: expected a string, found a number",
            "twelve digits, as text",
        ),
        (
            &bare,
            json!({"registry_id": "1234-5678-9012"}),
            "registry_id: it has more than 12 characters",
            "without dashes",
        ),
        (
            &bare,
            json!({"url": "r.io"}),
            "url: there is no such field",
            "did you mean `registry_url`?",
        ),
        (
            &bare,
            json!({"registryId": "123456789012"}),
            "registryId: there is no such field",
            "did you mean `registry_id`?",
        ),
        (
            &bare,
            json!({"accessKeyId": ID}),
            "accessKeyId: there is no such field",
            "did you mean `access_key_id`?",
        ),
        (
            &bare,
            json!({"pushSecretAccessKey": "hunter2"}),
            "pushSecretAccessKey: there is no such field",
            "did you mean `push_secret_access_key`?",
        ),
        (
            &google,
            json!({"keyJson": google_key()}),
            "keyJson: there is no such field",
            "did you mean `key_json`?",
        ),
    ] {
        let body = with(body, fields.clone());
        let reply = api
            .admin("POST", "/v1/registries", body)
            .await
            .says(Kind::Invalid, &[expected]);
        let error = &reply.json()["errors"][0];
        assert!(
            error["hint"].as_str().unwrap_or_default().contains(hint),
            "{fields}: {error}"
        );
    }
}

#[tokio::test]
async fn a_key_of_which_nothing_is_said_is_kept_for_the_registry_that_it_was_given_for() {
    let host = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";
    let bare = json!({"name": "ecr", "location": "ecr", "region": "eu-central-1"});
    let place = "it is kept only where Waypost reaches the same host in the same way, and that changes";
    let account = "it is kept only where it is the same registry, by its account and its region, and that changes";
    let location = "it is kept only where the location stays what it is, and that changes";
    for (fields, expected) in [
        (json!({}), None),
        (
            json!({"name": "Another", "pull_role_arn": "arn:aws:iam::123456789012:role/r"}),
            None,
        ),
        (json!({"registry_id": "123456789012"}), None),
        (
            json!({"registry_url": format!("https://{host}/team"), "region": null}),
            None,
        ),
        (json!({"endpoint": format!("https://{host}")}), None),
        (json!({"registry_id": "210987654321"}), Some(account)),
        (json!({"region": "eu-west-1"}), Some(account)),
        (json!({"hostname": "thief.test"}), Some(place)),
        (json!({"endpoint": "https://thief.test"}), Some(place)),
        (json!({"plain_http": true}), Some(place)),
        (
            json!({"token_hosts": ["thief.test"]}),
            Some("it is kept only where `token_hosts` names no other host than before, and that changes"),
        ),
        (json!({"location": "gcr", "region": null}), Some(location)),
        (
            json!({"location": null, "region": null, "registry_url": "r.io"}),
            Some(location),
        ),
    ] {
        let api = Asked::new();
        api.admin("POST", "/v1/registries", ecr()).await.is(201);
        api.issued("ecr", Some("123456789012")).await;
        let before = api.keys("ecr").await;
        let body = with(&bare, fields.clone());
        let reply = api.admin("PUT", "/v1/registries/ecr", body.clone()).await;
        match expected {
            None => assert_eq!(reply.is(200).json()["has_key"], true, "{fields}"),
            Some(why) => drop(reply.says(Kind::Invalid, &[&format!("secret_access_key: {why}")])),
        }
        assert_eq!(api.keys("ecr").await, before, "{fields}");
        // Null is always right, whatever the location.
        let body = with(&body, json!({"secret_access_key": null}));
        let shown = api.admin("PUT", "/v1/registries/ecr", body).await.is(200).json();
        assert_eq!(
            (&shown["has_key"], api.keys("ecr").await),
            (&json!(false), Keys::default()),
            "{fields}"
        );
    }
    for (fields, expected) in [
        (json!({"registry_url": "gcr.io/project"}), None),
        (json!({"pull_service_account": "a@b.c"}), None),
        (json!({"hostname": "gcr.io"}), None),
        (json!({"registry_url": "eu.gcr.io"}), Some(place)),
        (json!({"hostname": "thief.test"}), Some(place)),
    ] {
        let api = Asked::new();
        api.admin("POST", "/v1/registries", gcr()).await.is(201);
        let body = with(&json!({"name": "gcr", "location": "gcr"}), fields.clone());
        let reply = api.admin("PUT", "/v1/registries/gcr", body).await;
        match expected {
            None => assert_eq!(reply.is(200).json()["has_key"], true, "{fields}"),
            Some(why) => drop(reply.says(Kind::Invalid, &[&format!("key_json: {why}")])),
        }
    }
}

/// Whoever has one script for all registries gives null for what a registry does not have.
#[tokio::test]
async fn null_for_what_is_for_another_location_leaves_the_key_alone() {
    let of_ecr = json!({"access_key_id": null, "push_session_token": null});
    let of_google = json!({"key_json": null, "push_key_json": null});
    let passwords = json!({"registry_password": null, "registry_push_docker_config": null});
    let keys = json!({
        "push_access_key_id": "AKIAI44QH8DHBEXAMPLE", "push_secret_access_key": "hunter2-push", "push_key_json": null,
    });
    for (body, others) in [
        (with(&ecr(), keys), with(&passwords, of_google.clone())),
        (
            with(&gcr(), json!({"push_key_json": google_key()})),
            with(&passwords, of_ecr.clone()),
        ),
        (
            json!({
                "name": "off", "registry_url": "r.io", "registry_username": "u", "registry_password": "hunter2",
                "registry_push_username": "p", "registry_push_password": "hunter2",
            }),
            with(&of_ecr, of_google.clone()),
        ),
    ] {
        let api = Asked::new();
        let id = body["name"].as_str().unwrap();
        let path = format!("/v1/registries/{id}");
        api.admin("POST", "/v1/registries", body.clone()).await.is(201);
        let had = (api.keys(id).await, api.credentials(id).await);
        let mut bare = body.clone();
        bare.as_object_mut()
            .unwrap()
            .retain(|field, _| ["name", "location", "region", "registry_url"].contains(&&**field));
        let sent = with(&bare, others.clone());
        api.admin("PUT", &path, sent).await.is(200);
        assert_eq!((api.keys(id).await, api.credentials(id).await), had, "{others}");
        // Elsewhere, null for what was kept is right, and for what never was it says nothing.
        let other = if id == "gcr" { "ecr" } else { "gcr" };
        let mut moved = json!({"name": id, "location": other});
        if other == "ecr" {
            moved["region"] = json!("eu-central-1");
        }
        let neither = if id == "off" { &of_ecr } else { &passwords };
        api.admin("PUT", &path, with(&moved, neither.clone())).await.is(422);
        assert_eq!((api.keys(id).await, api.credentials(id).await), had, "{others}");
        let own = match id {
            "ecr" => &of_ecr,
            "gcr" => &of_google,
            _ => &passwords,
        };
        api.admin("PUT", &path, with(&moved, own.clone())).await.is(200);
        assert_eq!(api.keys(id).await, Keys::default(), "{others}");
        assert_eq!(api.credentials(id).await, Credentials::default(), "{others}");
    }
}

#[tokio::test]
async fn a_token_or_a_key_is_no_password_where_tokens_are_issued_of_it() {
    let api = Asked::new();
    let amazon = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";
    let aws = "`AWS` is the user of ECR's tokens: such a password ends after twelve hours";
    let oauth = "`oauth2accesstoken` is the user of Google's tokens: such a password ends after an hour";
    let json_key = "the password of `_json_key` is the key of a service account: one to pull with would reach every admitted namespace";
    let config = |host: &str| json!({"auths": {host: {"username": "AWS", "password": "hunter2"}}});
    for (url, fields, expected, hint) in [
        (
            amazon,
            json!({"registry_username": "AWS", "registry_password": "hunter2"}),
            format!("registry_username: {aws}"),
            "make the `location` `ecr`, and give `access_key_id` and `secret_access_key`, or neither",
        ),
        (
            "123456789012.dkr-ecr.eu-central-1.on.aws:443/team",
            json!({"registry_username": "AWS", "registry_password_file": "/run/hunter"}),
            format!("registry_username: {aws}"),
            "`ecr`",
        ),
        (
            amazon,
            json!({"registry_push_docker_config": config(amazon)}),
            format!("registry_push_docker_config: {aws}"),
            "give `push_access_key_id`",
        ),
        (
            "eu.gcr.io/project",
            json!({"registry_username": "oauth2accesstoken", "registry_password_env": "TOKEN"}),
            format!("registry_username: {oauth}"),
            "make the `location` `gcr`, and give `key_json`, or nothing",
        ),
        (
            "https://Europe-docker.pkg.dev/project",
            json!({"registry_username": "_json_key", "registry_password": "hunter2"}),
            format!("registry_username: {json_key}"),
            "give `key_json`",
        ),
        (
            "gcr.io",
            json!({"registry_push_username": "_json_key_base64", "registry_push_password": "hunter2"}),
            format!("registry_push_username: {json_key}"),
            "give `push_key_json`",
        ),
    ] {
        let body = with(&json!({"name": "x", "registry_url": url}), fields);
        let reply = api.admin("POST", "/v1/registries", body).await;
        let reply = reply.says(Kind::Invalid, &[&expected]);
        let error = &reply.json()["errors"][0];
        assert!(error["hint"].as_str().unwrap().contains(hint), "{error}");
    }
    for (id, url, user) in [
        ("a", "r.io", "AWS"),
        ("b", amazon, "robot"),
        ("c", "public.ecr.aws", "AWS"),
        ("d", "gcr.io", "AWS"),
        ("e", amazon, "_json_key"),
        ("f", "harbor.example.com", "_json_key"),
    ] {
        let body = json!({"name": id, "registry_url": url, "registry_username": user, "registry_password": "hunter2"});
        api.admin("POST", "/v1/registries", body).await.is(201);
    }
}

#[tokio::test]
async fn before_ecr_was_asked_nobody_knows_whether_an_account_is_the_same() {
    let api = Asked::new();
    api.admin("POST", "/v1/registries", ecr()).await.is(201);
    let body = json!({"name": "ecr", "location": "ecr", "region": "eu-central-1"});
    api.admin("PUT", "/v1/registries/ecr", body.clone()).await.is(200);
    let body = with(&body, json!({"registry_id": "123456789012"}));
    api.admin("PUT", "/v1/registries/ecr", body.clone()).await.says(
        Kind::Invalid,
        &["secret_access_key: it is kept only where it is the same registry, by its account and its region, and that changes"],
    );
    let body = with(
        &body,
        json!({"access_key_id": "AKIAI55QH8DHBEXAMPLE", "secret_access_key": "hunter2-new"}),
    );
    api.admin("PUT", "/v1/registries/ecr", body).await.is(200);
    assert_eq!(
        api.keys("ecr").await.pull,
        aws("AKIAI55QH8DHBEXAMPLE", "hunter2-new", None)
    );
}

#[tokio::test]
async fn a_password_does_not_become_a_key_and_a_key_no_password() {
    let api = Asked::new();
    api.registered().await;
    let body = json!({"name": "corp", "location": "ecr", "region": "eu-central-1"});
    let said = &["registry_password: it is kept only where the location stays what it is, and that changes"];
    let reply = api
        .admin("PUT", "/v1/registries/corp", body.clone())
        .await
        .says(Kind::Invalid, said);
    assert!(reply.text.contains("make it null"), "{}", reply.text);
    // Another credential takes its place.
    let given = with(&body, json!({"access_key_id": ID, "secret_access_key": "hunter2"}));
    let shown = api.admin("PUT", "/v1/registries/corp", given).await.is(200).json();
    assert_eq!(
        (&shown["has_key"], &shown["has_pull_credential"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(api.credentials("corp").await, Credentials::default());
    let back =
        json!({"name": "corp", "registry_url": "r.io", "registry_username": "u", "registry_password": "hunter2"});
    let shown = api.admin("PUT", "/v1/registries/corp", back).await.is(200).json();
    assert_eq!(
        (&shown["has_key"], &shown["has_pull_credential"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(api.keys("corp").await, Keys::default());
}

#[tokio::test]
async fn a_push_is_reported_when_it_is_known_whose_registry_it_is() {
    let api = Asked::new();
    api.admin("POST", "/v1/registries", ecr()).await.is(201);
    let report = json!({"image": "alpine:3", "registry_id": "ecr", "state": "SUCCEEDED", "digest": format!("sha256:{}", "0".repeat(64))});
    api.admin("POST", "/v1/pushes", report.clone()).await.says(
        Kind::Invalid,
        &["registry_id: whose registry `ecr` is has not been found out yet: ECR is asked for it, with the first token"],
    );
    api.issued("ecr", Some("123456789012")).await;
    let shown = api.admin("POST", "/v1/pushes", report).await.is(201).json();
    assert_eq!(
        shown["last_success"]["target"],
        "123456789012.dkr.ecr.eu-central-1.amazonaws.com/docker.io/library/alpine:3"
    );
}

#[tokio::test]
async fn a_key_in_the_wrong_place_is_not_repeated() {
    let api = Asked::new();
    // `ask` looks for it in every answer.
    for body in [
        with(&ecr(), json!({"secret_access_key": ["hunter2"]})),
        with(&ecr(), json!({"secret_access_key": {"hunter2": 1}})),
        with(&ecr(), json!({"access_key_id": "hunter2 hunter2"})),
        with(&ecr(), json!({"session_token": "hunter2 "})),
        with(&ecr(), json!({"registry_url": "https://u:hunter2@r.io"})),
        with(&ecr(), json!({"hostname": "u:hunter2@r.io"})),
        with(
            &ecr(),
            json!({"pull_role_external_id": "hunter2 x", "pull_role_arn": "arn:aws:iam::123456789012:role/x"}),
        ),
        with(&ecr(), json!({"secret_acces_key": "hunter2"})),
        with(&gcr(), json!({"key_json": 5})),
        with(&gcr(), json!({"key_json": "{\"type\": \"hunter2"})),
        with(&gcr(), json!({"key_json": {"type": "hunter2 hunter2"}})),
        with(&gcr(), json!({"key_json": PEM})),
        with(&gcr(), json!({"registry_url": "https://u:hunter2@gcr.io"})),
    ] {
        api.admin("POST", "/v1/registries", body).await.is(422);
    }
}
