use super::*;

#[tokio::test]
async fn the_metadata_server_is_asked_as_it_wants_to_be() {
    let stand = Stand::new(|_| flavoured(200, issued())).await;
    let gcr = gcr(by_metadata(&stand)).unwrap();
    assert_eq!(gcr.pull_token().await.unwrap().login.password.expose(), TOKEN);
    gcr.push_token().await.unwrap();
    let path = "GET /computeMetadata/v1/instance/service-accounts/default/token?scopes=https%3A%2F%2Fwww.googleapis.com%2Fauth%2F";
    for (heard, scope) in stand
        .heard()
        .iter()
        .zip(["devstorage.read_only", "devstorage.read_write"])
    {
        assert_eq!(heard.what, format!("{path}{scope}"));
        assert_eq!(heard.header("metadata-flavor"), "Google");
    }
}

#[tokio::test]
async fn where_there_is_no_metadata_server_or_no_identity_it_is_said_what_to_give() {
    let denied = "Unable to generate access token; IAM returned 403 Forbidden: Permission denied";
    for (says, asked, kind, expected) in [
        (
            Box::new(|| answer(404, "not found")) as Box<dyn Fn() -> Response + Send + Sync>,
            1,
            "misconfigured",
            "is no metadata server of Google's: this is not Google Cloud, so give `keyJson` (`key_json` by REST, `key.json` in a Secret)",
        ),
        (
            Box::new(|| answer(200, issued())),
            1,
            "misconfigured",
            "is no metadata server of Google's",
        ),
        (
            Box::new(|| flavoured(404, "")),
            1,
            "rejected",
            "knows no service account",
        ),
        (
            Box::new(move || flavoured(403, denied)),
            1,
            "rejected",
            "(403: Unable to generate access token; IAM returned 403 Forbidden: Permission denied)",
        ),
        (Box::new(|| flavoured(503, "")), 3, "unavailable", "answers 503"),
        (Box::new(|| answer(502, "")), 3, "unavailable", "answers 502"),
        (
            Box::new(|| flavoured(200, "{}")),
            1,
            "unavailable",
            "there is no access token",
        ),
    ] {
        let stand = Stand::new(move |_| says()).await;
        let (got, why) = error(gcr(by_metadata(&stand)).unwrap().pull_token().await);
        assert!(got == kind && why.contains(expected), "{got}: {why}");
        assert_eq!(stand.heard().len(), asked, "{why}");
    }
    let gone = Stand::new(|_| flavoured(200, issued())).await;
    let settings = by_metadata(&gone);
    drop(gone);
    // The port is free once the task is gone.
    let host = settings.ambient.metadata_host.clone().unwrap();
    while tokio::net::TcpStream::connect(&host).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let (kind, why) = error(gcr(settings).unwrap().pull_token().await);
    assert_eq!(kind, "unavailable");
    assert!(
        why.contains("where this is not Google Cloud, give `keyJson` (`key_json` by REST"),
        "{why}"
    );
}

/// The token is issued, and the scopes are answered so.
async fn machine(server: &'static str, status: u16, scopes: &'static str) -> Stand {
    Stand::new(move |heard| {
        let mut response = match heard.what.ends_with("/default/scopes") {
            true => flavoured(status, scopes),
            false => flavoured(200, issued()),
        };
        let headers = response.headers_mut();
        headers.insert("server", hyper::header::HeaderValue::from_static(server));
        response
    })
    .await
}

#[tokio::test]
async fn a_plain_machine_s_scopes_are_those_of_its_tokens() {
    const AUTH: &str = "https://www.googleapis.com/auth/";
    const VM: &str = "Metadata Server for VM";
    const GKE: &str = "GKE Metadata Server";
    for (server, status, scopes, expected) in [
        (
            VM,
            200,
            "https://www.googleapis.com/auth/cloud-platform\n",
            Some("cloud-platform. A machine"),
        ),
        (
            VM,
            200,
            "https://www.googleapis.com/auth/devstorage.read_write\nhttps://www.googleapis.com/auth/logging.write\n",
            Some("devstorage.read_write, logging.write. A machine"),
        ),
        (VM, 200, "https://www.googleapis.com/auth/devstorage.read_only\n", None),
        (
            VM,
            200,
            "https://www.googleapis.com/auth/devstorage.read_only\nhttps://www.googleapis.com/auth/userinfo.email\n\
             https://www.googleapis.com/auth/cloud-platform.read-only\nhttps://www.googleapis.com/auth/service.management.readonly\n\
             https://www.googleapis.com/auth/monitoring.read",
            None,
        ),
        (VM, 200, "hunter2=\n", Some("to pull: …. A machine")),
        (VM, 200, "a b c d e f g h i j", Some("g, h, …. A machine")),
        (VM, 404, "not found", Some("cannot be told")),
        (VM, 503, "", Some("cannot be told")),
        (VM, 200, "", Some("cannot be told")),
        (GKE, 200, "https://www.googleapis.com/auth/cloud-platform\n", None),
        (GKE, 404, "", None),
    ] {
        let stand = machine(server, status, scopes).await;
        let pulled = gcr(by_metadata(&stand)).unwrap().pull().await.unwrap();
        assert_eq!(pulled.issued.login.password.expose(), TOKEN);
        match (&pulled.wide, expected) {
            (None, None) => {}
            (Some(wide), Some(expected)) => {
                assert!(
                    wide.contains(expected) && wide.contains("pull_service_account"),
                    "{wide}"
                );
                assert!(!wide.contains(AUTH), "{wide}");
                harmless(wide);
            }
            (found, expected) => panic!("{scopes}: {found:?}, not {expected:?}"),
        }
        // Once, whatever is answered.
        let heard = stand.heard();
        assert_eq!(heard.len(), 2, "{scopes}");
        assert_eq!(heard[1].header("metadata-flavor"), "Google");
    }

    // The token of another account has the scope that was asked for.
    let stand = Stand::new(|heard| match heard.what.starts_with("GET /computeMetadata/") {
        true => flavoured(200, issued()),
        false => answer(200, impersonated(3_600)),
    })
    .await;
    let mut settings = by_metadata(&stand);
    settings.pull_service_account = Some(EMAIL.to_owned());
    assert_eq!(gcr(settings).unwrap().pull().await.unwrap().wide, None);
    assert_eq!(stand.heard().len(), 2);
    // So has that of a key.
    let stand = Stand::in_turn(&[(200, &issued())]).await;
    assert_eq!(by_key(&stand).pull().await.unwrap().wide, None);
    assert_eq!(stand.heard().len(), 1);
}

#[test]
fn a_metadata_server_is_a_host_and_a_port() {
    for (host, expected) in [
        (None, true),
        (Some("metadata.google.internal"), true),
        (Some("127.0.0.1:4000"), true),
        (Some("[fd20:ce::254]"), true),
        (Some("http://x"), false),
        (Some("x/y"), false),
        (Some("x?y"), false),
        (Some("u@x"), false),
        (Some("x y"), false),
        (Some(""), false),
    ] {
        assert_eq!(Metadata::at(host).is_ok(), expected, "{host:?}");
    }
}

#[tokio::test]
async fn what_is_pulled_with_may_be_another_accounts_token() {
    let stand = Stand::new(|heard| match heard.what.starts_with("GET /computeMetadata/") {
        true => flavoured(200, issued()),
        false => answer(200, impersonated(3_600)),
    })
    .await;
    let mut settings = by_metadata(&stand);
    settings.pull_service_account = Some(EMAIL.to_owned());
    let gcr_of_another = gcr(settings.clone()).unwrap();
    let pull = gcr_of_another.pull_token().await.unwrap();
    assert_eq!(pull.login.password.expose(), format!("{TOKEN}-of-another"));
    let heard = stand.heard();
    assert!(heard[0].what.ends_with("cloud-platform"), "{}", heard[0].what);
    assert_eq!(heard[1].header("authorization"), format!("Bearer {TOKEN}"));
    let body: Value = serde_json::from_str(&heard[1].body).unwrap();
    let scope = "https://www.googleapis.com/auth/devstorage.read_only";
    assert_eq!(body, json!({"scope": [scope], "lifetime": "3600s"}));
    let push = gcr_of_another.push_token().await.unwrap();
    assert_eq!(push.login.password.expose(), TOKEN);

    settings.pull_service_account = Some("a@b/../hunter2".to_owned());
    let wrong = gcr(settings.clone()).unwrap_err();
    assert!(
        matches!(&wrong, IssueError::Misconfigured(why) if why.contains("is no service account")),
        "{wrong}"
    );

    for (status, code, message, kind, expected) in [
        (
            403,
            "PERMISSION_DENIED",
            "Permission denied",
            "rejected",
            "roles/iam.serviceAccountTokenCreator",
        ),
        (
            403,
            "PERMISSION_DENIED",
            "The API has not been used in project 1 before or it is disabled.",
            "rejected",
            "enable the IAM Service Account Credentials API",
        ),
        (
            400,
            "FAILED_PRECONDITION",
            "Account disabled: 1.",
            "rejected",
            "it is disabled; enable it, or name another",
        ),
        (
            404,
            "NOT_FOUND",
            "Not found; Gaia id not found for email",
            "rejected",
            "if there is such an account",
        ),
        (503, "UNAVAILABLE", "", "unavailable", "answers 503"),
    ] {
        let refusal = json!({"error": {"code": status, "status": code, "message": message}}).to_string();
        let stand = Stand::new(move |heard| match heard.what.starts_with("GET /computeMetadata/") {
            true => flavoured(200, issued()),
            false => answer(status, refusal.clone()),
        })
        .await;
        let mut settings = by_metadata(&stand);
        settings.pull_service_account = Some(EMAIL.to_owned());
        let (got, why) = error(gcr(settings).unwrap().pull_token().await);
        assert!(got == kind && why.contains(expected), "{why}");
        if kind == "rejected" {
            assert!(why.starts_with(EMAIL), "{why}");
        }
    }
}

#[tokio::test]
async fn an_address_that_nobody_has_is_given_up_after_three_seconds() {
    // What comes to a port whose queue is full is dropped, as it is where there is no such address.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) =
        tokio::time::timeout(Duration::from_millis(300), tokio::net::TcpStream::connect(address)).await
    {
        waiting.push(stream.unwrap());
        assert!(waiting.len() < 64, "its queue is never full");
    }
    let settings = GcrSettings {
        ambient: Ambient {
            credentials_file: None,
            metadata_host: Some(address.to_string()),
        },
        ..GcrSettings::default()
    };
    let begun = std::time::Instant::now();
    let (kind, why) = error(gcr(settings).unwrap().pull_token().await);
    assert_eq!(kind, "unavailable");
    assert!(
        why.contains("(there is no connection within 3 s): where this is not Google Cloud"),
        "{why}"
    );
    // Another attempt would have taken as long again.
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
}
