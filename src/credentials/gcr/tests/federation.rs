use super::*;

/// Exchanges the subject's token, and lets whoever comes with what it got impersonate.
async fn exchange() -> Stand {
    Stand::new(|heard| match heard.what.as_str() {
        "GET /subject" if heard.header("metadata") == "True" => answer(200, json!({"access_token": SUBJECT}).to_string()),
        "POST /v1/token" if heard.form()["subject_token"] == SUBJECT => answer(200, issued()),
        what if what.ends_with(":generateAccessToken") && heard.header("authorization") == format!("Bearer {TOKEN}") => {
            answer(200, impersonated(1_800))
        }
        _ => answer(403, json!({"error": {"code": 403, "status": "PERMISSION_DENIED", "message": "Permission 'iam.serviceAccounts.getAccessToken' denied"}}).to_string()),
    })
    .await
}

fn federation(stand: &Stand, source: Value, impersonate: Option<&str>) -> Value {
    let origin = stand.origin();
    let mut json = json!({
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/c",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": format!("{origin}/v1/token"),
        "credential_source": source,
    });
    if let Some(account) = impersonate {
        let url = format!("{origin}/v1/projects/-/serviceAccounts/{account}:generateAccessToken");
        json["service_account_impersonation_url"] = json!(url);
    }
    json
}

#[tokio::test]
async fn a_token_of_a_file_is_exchanged_for_one_of_googles() {
    let dir = tempfile::tempdir().unwrap();
    let (config, token) = (dir.path().join("config.json"), dir.path().join("token"));
    let stand = exchange().await;
    let gcr = by_file(&stand, &config);
    let (kind, why) = error(gcr.pull_token().await);
    assert!(
        kind == "misconfigured" && why.contains("config.json, cannot be read: No such file"),
        "{why}"
    );

    std::fs::write(&config, federation(&stand, json!({"file": token}), None).to_string()).unwrap();
    let (kind, why) = error(gcr.pull_token().await);
    assert!(
        kind == "misconfigured" && why.contains("/token, cannot be read: No such file"),
        "{why}"
    );
    std::fs::write(&token, "\n").unwrap();
    let (kind, why) = error(gcr.pull_token().await);
    assert!(kind == "misconfigured" && why.contains("there is nothing"), "{why}");
    assert!(stand.heard().is_empty());

    std::fs::write(&token, format!("{SUBJECT}\n")).unwrap();
    let issued = gcr.pull_token().await.unwrap();
    assert_eq!(issued.login.password.expose(), TOKEN);
    let heard = stand.heard();
    assert_eq!(heard.len(), 1);
    let form = heard[0].form();
    for (name, value) in [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        (
            "audience",
            "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/c",
        ),
        ("scope", "https://www.googleapis.com/auth/devstorage.read_only"),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
        ("subject_token", SUBJECT),
    ] {
        assert_eq!(form[name], value, "{name}");
    }
    assert_eq!(heard[0].header("authorization"), "");

    std::fs::write(&token, "another").unwrap();
    let (kind, why) = error(gcr.pull_token().await);
    assert_eq!(kind, "rejected");
    assert!(
        why.contains("the token of workload identity federation is not accepted"),
        "{why}"
    );
}

#[tokio::test]
async fn a_token_of_an_address_is_exchanged_for_one_of_a_service_accounts() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.json");
    let stand = exchange().await;
    let source = json!({
        "url": format!("{}/subject", stand.origin()),
        "headers": {"Metadata": "True"},
        "format": {"type": "json", "subject_token_field_name": "access_token"},
    });
    let mut json = federation(&stand, source, Some(EMAIL));
    json["client_id"] = json!("u");
    json["client_secret"] = json!("hunter2");
    json["service_account_impersonation"] = json!({"token_lifetime_seconds": 1_800});
    std::fs::write(&config, json.to_string()).unwrap();
    let gcr = by_file(&stand, &config);
    let issued = gcr.pull_token().await.unwrap();
    assert_eq!(issued.login.password.expose(), format!("{TOKEN}-of-another"));
    // To the second, which its Date does not have parts of.
    assert!((1_780..=1_801).contains(&lasts(&issued)), "{}", lasts(&issued));
    let heard = stand.heard();
    let asked: Vec<_> = heard.iter().map(|heard| heard.what.as_str()).collect();
    let impersonation = format!("POST /v1/projects/-/serviceAccounts/{EMAIL}:generateAccessToken");
    assert_eq!(asked, ["GET /subject", "POST /v1/token", &impersonation]);
    assert_eq!(heard[1].header("authorization"), "Basic dTpodW50ZXIy");
    assert_eq!(
        heard[1].form()["scope"],
        "https://www.googleapis.com/auth/cloud-platform"
    );
    let body: Value = serde_json::from_str(&heard[2].body).unwrap();
    let scope = "https://www.googleapis.com/auth/devstorage.read_only";
    assert_eq!(body, json!({"scope": [scope], "lifetime": "1800s"}));
    assert!(!heard[2].headers.contains_key("metadata"));

    json["credential_source"]["format"]["subject_token_field_name"] = json!("id_token");
    std::fs::write(&config, json.to_string()).unwrap();
    let (kind, why) = error(gcr.pull_token().await);
    assert!(kind == "misconfigured" && why.contains("no text in the field"), "{why}");
    json["credential_source"]["headers"] = json!({});
    std::fs::write(&config, json.to_string()).unwrap();
    let (kind, why) = error(gcr.pull_token().await);
    assert!(
        kind == "unavailable" && why.contains("is not to be had: the answer is 403"),
        "{why}"
    );
}

#[tokio::test]
async fn a_configuration_of_federation_says_what_is_wrong_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.json");
    let stand = exchange().await;
    let gcr = by_file(&stand, &config);
    let with = |pointer: &str, value: Value| {
        let mut json = federation(&stand, json!({"file": "/nowhere"}), Some(EMAIL));
        *json.pointer_mut(pointer).unwrap() = value;
        json
    };
    for (json, expected) in [
        (
            with("/credential_source", json!({"environment_id": "aws1"})),
            "the keys of AWS (`environment_id`)",
        ),
        (
            with("/credential_source", json!({"executable": {"command": "hunter2"}})),
            "a program (`executable`)",
        ),
        (
            with("/credential_source", json!({"certificate": {}})),
            "a certificate (`certificate`)",
        ),
        (with("/credential_source", json!({})), "has to be a `file` or a `url`"),
        (
            with("/credential_source", json!({"file": "a", "url": "b"})),
            "has to be a `file` or a `url`",
        ),
        (
            with("/credential_source", json!({"url": "ftp://x"})),
            "the `url` of its `credential_source` is none",
        ),
        (
            with(
                "/credential_source",
                json!({"url": "http://x", "headers": {"a": "hunter2\n"}}),
            ),
            "the `headers`",
        ),
        (
            with("/credential_source", json!({"file": "a", "format": {"type": "json"}})),
            "names no `subject_token_field_name`",
        ),
        (
            with(
                "/credential_source",
                json!({"file": "a", "format": {"type": "hunter2"}}),
            ),
            "neither `text` nor `json`",
        ),
        (with("/credential_source", json!(5)), "`credential_source` is missing"),
        (with("/audience", Value::Null), "one of `audience`"),
        (
            with("/token_url", json!("https://evil.com/v1/token")),
            "the `token_url` of the file",
        ),
        (
            with(
                "/service_account_impersonation_url",
                json!("http://iamcredentials.googleapis.com/x"),
            ),
            "is not Google's",
        ),
        (
            json!({"type": "authorized_user", "refresh_token": "hunter2"}),
            "or a configuration of workload identity federation",
        ),
    ] {
        std::fs::write(&config, json.to_string()).unwrap();
        let (kind, why) = error(gcr.push_token().await);
        assert!(kind == "misconfigured" && why.contains(expected), "{expected}: {why}");
    }
    std::fs::write(&config, "x".repeat(70_000)).unwrap();
    let (_, why) = error(gcr.push_token().await);
    assert!(why.contains("has more than 65536 bytes in it"), "{why}");
    std::fs::write(&config, b"\xff").unwrap();
    let (_, why) = error(gcr.push_token().await);
    assert!(why.contains("is not UTF-8"), "{why}");
    let (_, why) = error(by_file(&stand, dir.path()).push_token().await);
    assert!(why.contains("is no file"), "{why}");
    assert!(stand.heard().is_empty());
}
