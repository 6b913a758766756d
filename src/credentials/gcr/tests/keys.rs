use super::*;

#[tokio::test]
async fn a_key_signs_for_a_token_of_the_scope_that_is_wanted() {
    let stand = Stand::in_turn(&[(200, &issued())]).await;
    let gcr = by_key(&stand);
    let before = Timestamp::now().as_second();
    let pull = gcr.pull_token().await.unwrap();
    let push = gcr.push_token().await.unwrap();
    for issued in [&pull, &push] {
        assert_eq!(issued.login.username, "oauth2accesstoken");
        assert_eq!(issued.login.password.expose(), TOKEN);
        assert!((3_590..=3_599).contains(&lasts(issued)), "{}", lasts(issued));
        harmless(&format!("{issued:?}"));
    }
    let heard = stand.heard();
    assert_eq!(heard.len(), 2);
    for (heard, scope) in heard.iter().zip(["devstorage.read_only", "devstorage.read_write"]) {
        assert_eq!(heard.what, "POST /token");
        assert_eq!(heard.header("content-type"), "application/x-www-form-urlencoded");
        let form = heard.form();
        assert_eq!(form["grant_type"], "urn:ietf:params:oauth:grant-type:jwt-bearer");
        let claims = claims(&form["assertion"]);
        assert_eq!(claims["iss"], EMAIL);
        assert_eq!(claims["aud"], format!("{}/token", stand.origin()));
        assert_eq!(claims["scope"], format!("https://www.googleapis.com/auth/{scope}"));
        let (iat, exp) = (claims["iat"].as_i64().unwrap(), claims["exp"].as_i64().unwrap());
        assert_eq!(exp - iat, 3_600);
        assert!(iat <= before && exp > before + 3_000, "{claims}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_key_is_said_once_and_what_passes_is_tried_again() {
    let said = |error: &str, description: &str| json!({"error": error, "error_description": description}).to_string();
    let echo = said("invalid_grant", &format!("Odd assertion {TOKEN} of 1780000000"));
    for (answers, asked, kind, expected) in [
        (
            vec![(400, said("invalid_grant", "Invalid JWT Signature."))],
            1,
            "rejected",
            "it was deleted there, or is of another account; give a new one (invalid_grant: Invalid JWT Signature.)",
        ),
        (
            vec![(400, said("invalid_grant", "Invalid grant: account not found"))],
            1,
            "rejected",
            "the service account pull@waypost-tests.iam.gserviceaccount.com does not exist",
        ),
        (
            vec![(401, said("disabled_client", "The OAuth client was disabled."))],
            1,
            "rejected",
            "is disabled: enable it",
        ),
        (
            vec![(400, said("invalid_grant", "Robot is disabled."))],
            1,
            "rejected",
            "is disabled: enable it",
        ),
        (
            vec![(
                400,
                said(
                    "invalid_grant",
                    "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe.",
                ),
            )],
            1,
            "rejected",
            "the clock of this machine differs from Google's",
        ),
        (
            vec![(400, echo)],
            1,
            "rejected",
            "(invalid_grant: Odd assertion … of …)",
        ),
        (
            vec![(403, "<html>Blocked</html>".to_owned())],
            1,
            "rejected",
            "is not accepted: it was deleted or has expired",
        ),
        (
            vec![(503, "busy".to_owned())],
            3,
            "unavailable",
            "Google (127.0.0.1) answers 503",
        ),
        (
            vec![(429, said("x", "y"))],
            3,
            "unavailable",
            "Google (127.0.0.1) answers 429",
        ),
        (
            vec![(400, said("temporarily_unavailable", ""))],
            1,
            "unavailable",
            "temporarily_unavailable",
        ),
        (vec![(302, String::new())], 1, "unavailable", "it answers 302"),
        (
            vec![(200, "<html>".to_owned())],
            1,
            "unavailable",
            "there is no access token in its answer",
        ),
        (
            vec![(200, json!({"access_token": TOKEN}).to_string())],
            1,
            "unavailable",
            "its answer does not say when the token ends",
        ),
        (
            vec![(200, "x".repeat(100_000))],
            3,
            "unavailable",
            "it answers with more than 65536 bytes",
        ),
    ] {
        let answers: Vec<_> = answers.iter().map(|(status, body)| (*status, body.as_str())).collect();
        let stand = Stand::in_turn(&answers).await;
        let (got, why) = error(by_key(&stand).pull_token().await);
        assert!(got == kind && why.contains(expected), "{got}: {why}");
        assert_eq!(stand.heard().len(), asked, "{why}");
    }
    let stand = Stand::in_turn(&[(503, ""), (500, ""), (200, &issued())]).await;
    by_key(&stand).pull_token().await.unwrap();
    assert_eq!(stand.heard().len(), 3);
}

#[tokio::test]
async fn who_does_not_answer_is_waited_for_once_and_who_is_not_there_is_not() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Arc::new(Mutex::new(0));
    let counted = connections.clone();
    let silent = tokio::spawn(async move {
        let mut open = Vec::new();
        loop {
            open.push(listener.accept().await.unwrap());
            *counted.lock().unwrap() += 1;
        }
    });
    let origin = format!("http://127.0.0.1:{port}");
    let settings = GcrSettings {
        key_json: Some(Password::new(key_file(&origin).to_string())),
        endpoints: Endpoints {
            iam_credentials: None,
            trusted: vec![origin],
        },
        ..GcrSettings::default()
    };
    let mut silently = gcr(settings.clone()).unwrap();
    silently.http.limits.answer = Duration::from_millis(200);
    let (kind, why) = error(silently.pull_token().await);
    assert_eq!(kind, "unavailable");
    assert!(
        why.contains("Google (127.0.0.1) cannot be asked: it has not answered within 0.2 s"),
        "{why}"
    );
    assert_eq!(*connections.lock().unwrap(), 1);

    let mut late = gcr(settings.clone()).unwrap();
    late.deadline = Duration::from_millis(100);
    let (kind, why) = error(late.push_token().await);
    assert!(
        kind == "unavailable" && why.starts_with("no token of Google's was issued within"),
        "{why}"
    );

    silent.abort();
    let _ = silent.await;
    let (kind, why) = error(gcr(settings).unwrap().pull_token().await);
    assert!(kind == "unavailable" && why.contains("refused"), "{why}");
}

/// Takes what was signed within five minutes of its own clock.
async fn elsewhere_in_time(offset: SignedDuration, stubborn: bool) -> Stand {
    Stand::new(move |heard| {
        let now = Timestamp::now() + offset;
        let iat = claims(&heard.form()["assertion"])["iat"].as_i64().unwrap();
        let date = jiff::fmt::rfc2822::DateTimePrinter::new()
            .timestamp_to_rfc9110_string(&now)
            .unwrap();
        let (status, body) = if (iat - now.as_second()).abs() < 300 && !stubborn {
            (200, issued())
        } else {
            let why = "Invalid JWT: Token must be in a reasonable timeframe.";
            (
                400,
                json!({"error": "invalid_grant", "error_description": why}).to_string(),
            )
        };
        (StatusCode::from_u16(status).unwrap(), [("date", date)], body).into_response()
    })
    .await
}

#[tokio::test]
async fn a_clock_that_is_off_is_allowed_for_and_blamed_where_that_does_not_help() {
    for hours in [-30, -1, 1, 30] {
        let offset = SignedDuration::from_hours(hours);
        let stand = elsewhere_in_time(offset, false).await;
        let issued = by_key(&stand).pull_token().await.unwrap();
        assert!((3_590..=3_599).contains(&lasts(&issued)), "{}", lasts(&issued));
        assert_eq!(stand.heard().len(), 2);

        let stand = elsewhere_in_time(offset, true).await;
        let (kind, why) = error(by_key(&stand).pull_token().await);
        assert!(
            kind == "rejected" && why.contains("by minutes or more; set it right"),
            "{why}"
        );
        assert_eq!(stand.heard().len(), 2);
    }
}

#[test]
fn a_key_is_the_file_of_a_service_accounts_key_and_nothing_else() {
    let with = |key: &str, value: Value| {
        let mut file = key_file("https://oauth2.googleapis.com");
        file[key] = value;
        file.to_string()
    };
    let base64 = base64::engine::general_purpose::STANDARD.encode(with("x", json!("hunter2")));
    for (json, expected) in [
        (
            String::new(),
            "`keyJson` (`key_json` by REST, `key.json` in a Secret) is empty",
        ),
        (
            PEM[PEM.find("-----").unwrap()..].to_owned(),
            "`keyJson` (`key_json` by REST, `key.json` in a Secret) is a key by itself, in PEM",
        ),
        (
            base64,
            "`keyJson` (`key_json` by REST, `key.json` in a Secret) is in base64, and has to be given without",
        ),
        (
            "hunter2".to_owned(),
            "`keyJson` (`key_json` by REST, `key.json` in a Secret) is no JSON object",
        ),
        (
            "[\"hunter2\"]".to_owned(),
            "`keyJson` (`key_json` by REST, `key.json` in a Secret) is no JSON object",
        ),
        (
            "{\"type\": \"service_account\",\n \"private_key\": hunter2}".to_owned(),
            "no JSON (line 2, column",
        ),
        ("{\"type\": 5}".to_owned(), "no JSON (line 1"),
        (
            "{\"private_key\": \"hunter2\"}".to_owned(),
            "JSON of another kind, without a `type`",
        ),
        (
            json!({"type": "authorized_user", "refresh_token": "hunter2"}).to_string(),
            "a person's own sign-in (`authorized_user`",
        ),
        (
            json!({"installed": {"client_secret": "hunter2"}}).to_string(),
            "the file of an OAuth client",
        ),
        (
            json!({"web": {"client_secret": "hunter2"}}).to_string(),
            "the file of an OAuth client",
        ),
        (
            json!({"type": "external_account", "x": "hunter2"}).to_string(),
            "by GOOGLE_APPLICATION_CREDENTIALS alone",
        ),
        (
            json!({"type": "impersonated_service_account"}).to_string(),
            "`impersonated_service_account`",
        ),
        (
            json!({"type": "gdch_service_account"}).to_string(),
            "a file of the type `gdch_service_account`",
        ),
        (
            json!({"type": format!("hunter2 {PEM}")}).to_string(),
            "a file of an unknown type",
        ),
        (
            json!({"type": "service_account"}).to_string(),
            "`client_email` and `private_key` are missing",
        ),
        (
            with("client_email", json!("a b")),
            "its `client_email` is no e-mail address",
        ),
        (with("private_key", json!("hunter2")), "its `private_key` is no RSA key"),
        (
            with("private_key", json!(PEM.replace('\n', ""))),
            "its `private_key` is no RSA key",
        ),
        (
            with("private_key", json!(PEM.replace("A", "B"))),
            "its `private_key` is no RSA key",
        ),
        (
            with("token_uri", json!("https://evil.com/token")),
            "the `token_uri` of `keyJson` (`key_json` by REST, `key.json` in a Secret) is at https://evil.com:443, which is not Google's",
        ),
        (
            with("token_uri", json!("http://oauth2.googleapis.com/token")),
            "is not Google's: nothing is sent there, unless `issuers.google.trusted` of Waypost's configuration names it",
        ),
        (
            with("token_uri", json!("hunter2")),
            "the `token_uri` of `keyJson` (`key_json` by REST, `key.json` in a Secret) is no address",
        ),
    ] {
        let made = gcr(GcrSettings {
            key_json: Some(Password::new(json)),
            ..GcrSettings::default()
        });
        let error = made.unwrap_err();
        harmless(&format!("{error} {error:?}"));
        assert!(
            matches!(&error, IssueError::Misconfigured(why) if why.contains(expected)),
            "{expected}: {error}"
        );
    }
    // In PKCS #8 there is the older form of a key behind 26 bytes that say what it is.
    let PrivateKeyDer::Pkcs8(der) = PrivateKeyDer::from_pem_slice(PEM.as_bytes()).unwrap() else {
        panic!("the key of tests is of another form");
    };
    let older = base64::engine::general_purpose::STANDARD.encode(&der.secret_pkcs8_der()[26..]);
    let older = format!("-----BEGIN RSA PRIVATE KEY-----\n{older}\n-----END RSA PRIVATE KEY-----\n");
    for json in [
        with("x", json!(1)),
        format!("\n{}\n", with("token_uri", Value::Null)),
        with("private_key", json!(older)),
    ] {
        gcr(GcrSettings {
            key_json: Some(Password::new(json)),
            ..GcrSettings::default()
        })
        .unwrap();
    }
}

#[tokio::test]
async fn nothing_shows_a_key() {
    let stand = Stand::in_turn(&[(200, &issued())]).await;
    let settings = GcrSettings {
        key_json: Some(Password::new(key_file(&stand.origin()).to_string())),
        endpoints: stand.endpoints(),
        ..GcrSettings::default()
    };
    harmless(&format!("{settings:?} {settings:#?}"));
    let gcr = gcr(settings).unwrap();
    harmless(&format!("{gcr:?} {gcr:#?}"));
    assert!(format!("{gcr:?}").contains(EMAIL));
    let issued = gcr.pull_token().await.unwrap();
    harmless(&format!("{issued:?} {issued:#?}"));
}

#[tokio::test]
async fn a_key_that_the_environment_names_is_read_whenever_a_token_is_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key.json");
    let stand = Stand::in_turn(&[(200, &issued())]).await;
    let gcr = by_file(&stand, &path);
    for email in [EMAIL, "another@waypost-tests.iam.gserviceaccount.com"] {
        let mut file = key_file(&stand.origin());
        file["client_email"] = json!(email);
        std::fs::write(&path, file.to_string()).unwrap();
        gcr.pull_token().await.unwrap();
        let heard = stand.heard();
        assert_eq!(claims(&heard[0].form()["assertion"])["iss"], email);
    }
    // It comes before the metadata server, and a key that is given before both.
    let mut settings = by_metadata(&stand);
    settings.ambient.credentials_file = Some(path);
    assert!(matches!(
        super::gcr(settings.clone()).unwrap().identity,
        Identity::File(_)
    ));
    settings.key_json = Some(Password::new(key_file(&stand.origin()).to_string()));
    assert!(matches!(super::gcr(settings).unwrap().identity, Identity::Key(_)));
}

#[tokio::test]
async fn where_there_is_no_way_to_google_that_is_asked_for() {
    let origin = "http://oauth2.invalid".to_owned();
    let mut lost = gcr(GcrSettings {
        key_json: Some(Password::new(key_file(&origin).to_string())),
        endpoints: Endpoints {
            iam_credentials: None,
            trusted: vec![origin],
        },
        ..GcrSettings::default()
    })
    .unwrap();
    lost.http.limits.answer = Duration::from_secs(60);
    let (kind, why) = error(lost.pull_token().await);
    assert_eq!(kind, "unavailable");
    assert!(why.starts_with("Google (oauth2.invalid) cannot be asked: "), "{why}");
    assert!(
        why.ends_with("; is there a way there from here (DNS, egress)?"),
        "{why}"
    );
}

#[tokio::test]
async fn a_certificate_of_nobody_knows_whom_gets_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let pair = Authority::new("somebody").issue(2020, 2100);
    let dir = tempfile::tempdir().unwrap();
    pair.write(dir.path());
    let source = crate::tls::Source {
        dir: dir.path().to_owned(),
        client_ca: None,
    };
    let tls = crate::tls::Tls::load(source, std::time::SystemTime::now()).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(tls.config());
    let task = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            assert!(acceptor.accept(stream).await.is_err());
        }
    });
    let origin = format!("https://localhost:{port}");
    let by_tls = gcr(GcrSettings {
        key_json: Some(Password::new(key_file(&origin).to_string())),
        endpoints: Endpoints {
            iam_credentials: None,
            trusted: vec![origin],
        },
        ..GcrSettings::default()
    });
    let (kind, why) = error(by_tls.unwrap().pull_token().await);
    assert!(
        kind == "unavailable" && why.contains("certificate") && !why.contains("DNS"),
        "{why}"
    );
    assert!(!task.is_finished());
    task.abort();
}

proptest! {
    #[test]
    fn whatever_a_file_has_in_it_is_a_sentence_and_no_panic(text in any::<String>(), json in prop::collection::btree_map("[a-z_]{1,12}", any::<String>(), 0..5)) {
        for json in [text, serde_json::to_string(&json).unwrap()] {
            let settings = GcrSettings { key_json: Some(Password::new(json)), ..GcrSettings::default() };
            assert!(matches!(Gcr::new(settings, tls()), Err(IssueError::Misconfigured(_))));
        }
    }
}
