use std::time::Duration;

use axum::{
    Router,
    http::HeaderMap,
    response::IntoResponse,
    routing::{any, get},
};
use hyper::{
    StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE},
};

use super::{
    testing::{Served, certificate},
    *,
};
use crate::registry::{Login, Password, RegistrySpec};

/// `u:hunter2`.
const BASIC: &str = "Basic dTpodW50ZXIy";

fn login() -> Login {
    Login {
        username: "u".to_owned(),
        password: Password::new("hunter2".to_owned()),
    }
}

fn wrong() -> Login {
    Login {
        username: "u".to_owned(),
        password: Password::new("wrong".to_owned()),
    }
}

fn remote(spec: &RegistrySpec) -> Remote {
    let registry = Registry::parse("corp", spec).unwrap();
    Client::new(Roots::none()).registry(&registry).unwrap()
}

fn plain(port: u16) -> Remote {
    at(&format!("http://localhost:{port}/team"))
}

fn at(url: &str) -> Remote {
    let spec = RegistrySpec {
        url: Some(url.to_owned()),
        ..RegistrySpec::default()
    };
    remote(&spec)
}

/// What `/v2/` answers, whatever is sent.
fn always(status: u16, headers: &'static [(hyper::header::HeaderName, &'static str)]) -> Router {
    Router::new().route(
        "/v2/",
        get(move || async move {
            let headers: HeaderMap = headers
                .iter()
                .map(|(name, value)| (name.clone(), value.parse().unwrap()))
                .collect();
            (StatusCode::from_u16(status).unwrap(), headers)
        }),
    )
}

/// Wants the password itself.
fn basic() -> Router {
    let v2 = |headers: HeaderMap| async move {
        if headers.get(AUTHORIZATION).is_some_and(|value| value == BASIC) {
            return StatusCode::OK.into_response();
        }
        (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Basic realm=\"r\"")]).into_response()
    };
    Router::new().route("/v2/", get(v2))
}

/// Wants a token that is issued at `realm`: for the password, and for anybody unless it is `private`.
fn bearer(realm: String, private: bool) -> Router {
    let v2 = move |headers: HeaderMap| async move {
        match headers.get(AUTHORIZATION) {
            Some(value) if value.to_str().unwrap().starts_with("Bearer t-") => StatusCode::OK.into_response(),
            _ => {
                let challenge = format!("Bearer realm=\"{realm}\",service=\"s\"");
                (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, challenge)]).into_response()
            }
        }
    };
    Router::new()
        .route("/v2/", get(v2.clone()))
        .route("/v2/{*path}", any(v2))
        .merge(issuer(private))
}

fn issuer(private: bool) -> Router {
    let token = move |headers: HeaderMap| async move {
        match headers.get(AUTHORIZATION) {
            Some(value) if value == BASIC => (StatusCode::OK, "{\"token\": \"t-user\", \"expires_in\": 300}"),
            None if !private => (StatusCode::OK, "{\"access_token\": \"t-anybody\"}"),
            _ => (StatusCode::UNAUTHORIZED, "{}"),
        }
    };
    Router::new().route("/token", get(token))
}

/// A router that knows the port that it is served at.
async fn with_port(router: impl FnOnce(u16) -> Router) -> Served {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    Served::on(listener, router(port), None)
}

#[tokio::test]
async fn who_answers_is_told_from_who_does_not_and_from_who_is_no_registry() {
    for (router, expected) in [
        (always(200, &[]), Ok(Ping::Answers)),
        (always(401, &[(WWW_AUTHENTICATE, "Basic realm=x")]), Ok(Ping::Answers)),
        (always(403, &[]), Ok(Ping::Answers)),
        (always(429, &[]), Ok(Ping::Limited(None))),
        (
            always(429, &[(RETRY_AFTER, "30")]),
            Ok(Ping::Limited(Some(Duration::from_secs(30)))),
        ),
        (always(500, &[]), Err("ServerError")),
        (always(503, &[(RETRY_AFTER, "30")]), Err("ServerError")),
        (always(404, &[]), Err("NotARegistry")),
        (always(400, &[]), Err("NotARegistry")),
        (
            always(200, &[(CONTENT_TYPE, "text/html; charset=utf-8")]),
            Err("NotARegistry"),
        ),
        (always(302, &[(LOCATION, "/v2/")]), Err("NotARegistry")),
        (always(302, &[]), Err("NotARegistry")),
    ] {
        let served = Served::plain(router).await;
        let pinged = plain(served.port()).ping().await;
        assert_eq!(
            pinged.as_ref().map_err(Fault::reason),
            expected.as_ref().map_err(|reason| *reason),
            "{pinged:?}"
        );
        assert!(
            served
                .asked()
                .iter()
                .all(|(what, header)| what == "GET /v2/" && header.is_none())
        );
    }
}

#[tokio::test]
async fn nobody_there_is_said_in_words() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = free.local_addr().unwrap().port();
    // Accepts nothing, and answers nothing: the kernel does.
    let silent = plain(port);
    tokio::time::pause();
    assert_eq!(
        silent.ping().await.unwrap_err().to_string(),
        format!("localhost:{port} has not answered within 5 s")
    );
    tokio::time::resume();
    drop(free);
    assert_eq!(
        plain(port).ping().await.unwrap_err().to_string(),
        format!("nothing listens at localhost:{port}: the connection was refused")
    );
    let unknown = at("http://registry.invalid").ping().await.unwrap_err();
    assert_eq!(unknown.reason(), "NameUnknown", "{unknown}");
    for url in [
        "http://169.254.169.254",
        "https://[fd00:ec2::254]:80",
        "http://[::ffff:a9fe:a9fe]",
    ] {
        assert_eq!(at(url).ping().await.unwrap_err().reason(), "AddressForbidden", "{url}");
    }

    let hangs_up = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = hangs_up.local_addr().unwrap().port();
    let task = tokio::spawn(async move { while hangs_up.accept().await.is_ok() {} });
    assert_eq!(plain(port).ping().await.unwrap_err().reason(), "ConnectionClosed");
    task.abort();
}

#[tokio::test]
async fn a_name_that_stands_for_a_metadata_address_is_not_dialled() {
    // The system's lookup reads such numbers as addresses, and the client does not.
    for url in ["http://0xa9fea9fe:80", "http://2852039166:80"] {
        let fault = at(url).ping().await.unwrap_err();
        assert_eq!(fault.reason(), "AddressForbidden", "{url}: {fault}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_tls_is_said_with_what_to_do() {
    let (authority, pair) = certificate(2020, 2120);
    let good = Served::tls(always(200, &[]), &pair).await;
    let port = good.port();
    let spec = |url: String, bundle: Option<&str>| RegistrySpec {
        url: Some(url),
        ca_bundle: bundle.map(str::to_owned),
        ..RegistrySpec::default()
    };
    let ping = async |spec: RegistrySpec| remote(&spec).ping().await;

    let known = spec(format!("localhost:{port}"), Some(&authority.pem));
    assert_eq!(ping(known).await, Ok(Ping::Answers));

    let unknown = ping(spec(format!("localhost:{port}"), None)).await.unwrap_err();
    assert_eq!(unknown.reason(), "CertificateRejected");
    assert!(
        unknown
            .to_string()
            .ends_with("give the authority's certificate as `caBundle`"),
        "{unknown}"
    );

    let (stranger, _) = certificate(2020, 2120);
    let strange = ping(spec(format!("localhost:{port}"), Some(&stranger.pem)))
        .await
        .unwrap_err();
    assert!(
        matches!(
            strange,
            Fault::Tls {
                fault: TlsFault::UnknownIssuer | TlsFault::Certificate(_),
                ..
            }
        ),
        "{strange}"
    );

    let other = ping(spec(format!("127.0.0.1:{port}"), Some(&authority.pem)))
        .await
        .unwrap_err();
    assert!(
        matches!(
            other,
            Fault::Tls {
                fault: TlsFault::OtherName,
                ..
            }
        ),
        "{other}"
    );

    let plain_served = Served::plain(always(200, &[])).await;
    let not_tls = ping(spec(format!("localhost:{}", plain_served.port()), None))
        .await
        .unwrap_err();
    assert_eq!(not_tls.reason(), "NotTls");
    assert!(not_tls.to_string().contains("`plainHttp: true`"), "{not_tls}");

    let not_http = plain(port).ping().await.unwrap_err();
    assert!(
        matches!(not_http.reason(), "NotHttp" | "ConnectionClosed"),
        "{not_http}"
    );
}

#[tokio::test]
async fn a_password_is_taken_or_not_and_anybody_is_not_let_in() {
    let served = Served::plain(basic()).await;
    let remote = plain(served.port());
    assert_eq!(remote.sign_in(Some(&login())).await, Ok(SignIn::Accepted));
    assert_eq!(remote.sign_in(Some(&wrong())).await, Ok(SignIn::Rejected));
    assert_eq!(remote.sign_in(None).await, Ok(SignIn::CredentialRequired));

    let open = Served::plain(always(200, &[])).await;
    let remote = plain(open.port());
    assert_eq!(remote.sign_in(None).await, Ok(SignIn::Anonymous));
    assert_eq!(remote.sign_in(Some(&login())).await, Ok(SignIn::Accepted));
    // It did not ask, and was shown the credential all the same: it could have refused it.
    assert_eq!(open.asked().last().unwrap().1.as_deref(), Some(BASIC));

    for (status, expected) in [
        (429, Ok(SignIn::Limited(None))),
        (502, Err("ServerError")),
        (404, Err("NotARegistry")),
    ] {
        let served = Served::plain(always(status, &[])).await;
        let signed = plain(served.port()).sign_in(Some(&login())).await;
        assert_eq!(signed.map_err(|fault| fault.reason()), expected);
        assert!(served.asked().iter().all(|(_, header)| header.is_none()));
    }
    let negotiate = Served::plain(always(401, &[(WWW_AUTHENTICATE, "Negotiate")])).await;
    let fault = plain(negotiate.port()).sign_in(Some(&login())).await.unwrap_err();
    assert_eq!(fault.reason(), "UnknownScheme", "{fault}");
}

#[tokio::test]
async fn a_token_is_issued_for_a_password_or_for_anybody() {
    for private in [false, true] {
        let served = with_port(|port| bearer(format!("http://localhost:{port}/token"), private)).await;
        let remote = plain(served.port());
        assert_eq!(remote.sign_in(Some(&login())).await, Ok(SignIn::Accepted));
        let asked: Vec<_> = served.asked();
        assert_eq!(
            asked,
            [
                ("GET /v2/".to_owned(), None),
                ("GET /token?service=s".to_owned(), Some(BASIC.to_owned())),
                ("GET /v2/".to_owned(), Some("Bearer t-user".to_owned())),
            ]
        );
        assert_eq!(remote.sign_in(Some(&wrong())).await, Ok(SignIn::Rejected));
        let anybody = if private {
            SignIn::CredentialRequired
        } else {
            SignIn::Anonymous
        };
        assert_eq!(remote.sign_in(None).await, Ok(anybody));
    }
}

#[tokio::test]
async fn a_token_is_used_again_by_whom_it_was_issued_for_until_it_is_not_taken() {
    let served = with_port(|port| bearer(format!("http://localhost:{port}/token"), false)).await;
    let remote = plain(served.port());
    let issued = |served: &Served| {
        served
            .asked()
            .iter()
            .filter(|(what, _)| what.starts_with("GET /token"))
            .count()
    };
    for _ in 0..3 {
        assert_eq!(
            remote.head("team/app", "1", Some(&login())).await,
            Ok(Head::Found(None))
        );
    }
    assert_eq!(issued(&served), 1);
    remote.head("team/other", "1", Some(&login())).await.unwrap();
    remote.head("team/app", "1", None).await.unwrap();
    assert_eq!(issued(&served), 2, "of another repository, and of anybody");
    assert_eq!(remote.head("team/app", "1", Some(&wrong())).await, Ok(Head::Rejected));
}

#[tokio::test]
async fn for_a_token_that_is_not_taken_any_more_another_one_is_asked_for_once() {
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
    // Those up to `withdrawn` are taken no more.
    let (count, withdrawn) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let served = with_port(|port| {
        let (issued, withdrawn) = (count.clone(), withdrawn.clone());
        let v2 = move |headers: HeaderMap| async move {
            let token = headers
                .get(AUTHORIZATION)
                .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
            match token.map(|token| token.parse::<u32>().unwrap()) {
                Some(number) if number > withdrawn.load(SeqCst) => StatusCode::OK.into_response(),
                _ => {
                    let challenge = format!("Bearer realm=\"http://localhost:{port}/issue\"");
                    (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, challenge)]).into_response()
                }
            }
        };
        let issue = move || async move {
            let number = issued.fetch_add(1, SeqCst) + 1;
            format!("{{\"token\": \"{number}\", \"expires_in\": 300}}")
        };
        Router::new().route("/v2/{*path}", any(v2)).route("/issue", get(issue))
    })
    .await;
    let remote = plain(served.port());
    let head = async || remote.head("team/app", "1", Some(&login())).await;
    assert_eq!(head().await, Ok(Head::Found(None)));
    withdrawn.store(1, SeqCst);
    assert_eq!(head().await, Ok(Head::Found(None)));
    assert_eq!(count.load(SeqCst), 2);
    withdrawn.store(u32::MAX, SeqCst);
    assert_eq!(head().await, Ok(Head::Rejected));
    assert_eq!(count.load(SeqCst), 3);
}

#[tokio::test]
async fn a_credential_is_not_sent_to_where_another_issues_tokens() {
    // The realm is at another host: 127.0.0.1 is not localhost.
    let elsewhere = Served::plain(issuer(false)).await;
    let realm = format!("http://127.0.0.1:{}/token", elsewhere.port());
    let served = Served::plain(bearer(realm, false)).await;
    let remote = plain(served.port());
    let fault = remote.sign_in(Some(&login())).await.unwrap_err();
    assert_eq!(fault.reason(), "ForeignRealm");
    assert!(
        fault
            .to_string()
            .contains(&format!("http://127.0.0.1:{},", elsewhere.port())),
        "{fault}"
    );
    assert!(elsewhere.asked().is_empty());
    assert!(remote.can_push(&login()).await.is_err());
    assert!(elsewhere.asked().is_empty());
    // Anybody may ask there.
    assert_eq!(remote.sign_in(None).await, Ok(SignIn::Anonymous));
    assert!(elsewhere.asked().iter().all(|(_, header)| header.is_none()));
    // To the registry itself it was not shown either: it did not ask for it.
    assert!(
        served
            .asked()
            .iter()
            .all(|(_, header)| header.as_deref() != Some(BASIC))
    );
}

#[tokio::test]
async fn a_realm_that_an_admin_names_gets_the_credential_with_tls_only() {
    let (authority, pair) = certificate(2020, 2120);
    let elsewhere = Served::tls(issuer(true), &pair).await;
    let realm = format!("https://localhost:{}/token", elsewhere.port());
    let served = Served::tls(bearer(realm.clone(), true), &pair).await;
    let spec = RegistrySpec {
        url: Some(format!("localhost:{}", served.port())),
        ca_bundle: Some(authority.pem.clone()),
        ..RegistrySpec::default()
    };
    // Another port of its own host is its own.
    assert_eq!(remote(&spec).sign_in(Some(&login())).await, Ok(SignIn::Accepted));
    elsewhere.asked();

    let plain_issuer = Served::plain(issuer(true)).await;
    let realm = format!("http://localhost:{}/token", plain_issuer.port());
    let served = Served::tls(bearer(realm, true), &pair).await;
    let spec = RegistrySpec {
        url: Some(format!("localhost:{}", served.port())),
        ..spec
    };
    let spec = RegistrySpec {
        token_hosts: vec!["localhost".to_owned()],
        ..spec
    };
    let fault = remote(&spec).sign_in(Some(&login())).await.unwrap_err();
    assert_eq!(fault.reason(), "ForeignRealm", "{fault}");
    // Naming it would change nothing.
    assert!(!fault.to_string().contains("tokenHosts"), "{fault}");
    assert!(plain_issuer.asked().is_empty());
}

#[tokio::test]
async fn a_host_that_an_admin_names_gets_the_credential_at_the_port_that_is_named() {
    let (authority, pair) = certificate(2020, 2120);
    let elsewhere = Served::tls(issuer(true), &authority.issue_for("127.0.0.1", 2020, 2120)).await;
    let port = elsewhere.port();
    let served = Served::tls(bearer(format!("https://127.0.0.1:{port}/token"), true), &pair).await;
    let signed_in = async |hosts: &[String]| {
        let spec = RegistrySpec {
            url: Some(format!("localhost:{}", served.port())),
            ca_bundle: Some(authority.pem.clone()),
            token_hosts: hosts.to_vec(),
            ..RegistrySpec::default()
        };
        remote(&spec).sign_in(Some(&login())).await
    };
    for hosts in [vec![], vec!["127.0.0.1:443".to_owned()], vec!["127.0.0.2".to_owned()]] {
        let fault = signed_in(&hosts).await.unwrap_err();
        assert_eq!(
            fault.to_string(),
            format!(
                "tokens for it are issued at https://127.0.0.1:{port}, which is neither its own host nor known to belong to it: the \
                 credential is not sent there; give `tokenHosts: [127.0.0.1:{port}]` if that host belongs to the registry"
            )
        );
        assert!(elsewhere.asked().is_empty());
    }
    for host in ["127.0.0.1".to_owned(), format!("127.0.0.1:{port}")] {
        assert_eq!(signed_in(&[host]).await, Ok(SignIn::Accepted));
        assert!(
            elsewhere
                .asked()
                .iter()
                .any(|(_, header)| header.as_deref() == Some(BASIC))
        );
    }
    // Wherever its tokens are issued, the registry itself was not shown the password: it asks for tokens.
    let shown = served.asked();
    assert!(
        shown.iter().all(|(_, header)| header.as_deref() != Some(BASIC)),
        "{shown:?}"
    );
}

#[tokio::test]
async fn a_credential_follows_no_redirect_to_another_place() {
    let elsewhere = Served::plain(always(200, &[])).await;
    let to = format!("http://127.0.0.1:{}/v2/", elsewhere.port());
    // Redirects whoever shows a credential, and asks the others for one.
    let v2 = move |headers: HeaderMap| async move {
        if headers.contains_key(AUTHORIZATION) {
            return (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, to)]).into_response();
        }
        (
            StatusCode::UNAUTHORIZED,
            [(WWW_AUTHENTICATE, "Basic realm=r".to_owned())],
        )
            .into_response()
    };
    let served = Served::plain(Router::new().route("/v2/", get(v2))).await;
    let fault = plain(served.port()).sign_in(Some(&login())).await.unwrap_err();
    assert_eq!(fault.reason(), "RedirectedElsewhere", "{fault}");
    assert_eq!(elsewhere.asked(), [("GET /v2/".to_owned(), None)]);

    // One that redirects anybody is a registry as far as what answers there is one.
    let to = format!("http://127.0.0.1:{}/v2/", elsewhere.port());
    let everybody = Router::new().route("/v2/", get(async move || (StatusCode::FOUND, [(LOCATION, to)])));
    let served = Served::plain(everybody).await;
    let remote = plain(served.port());
    assert_eq!(remote.ping().await, Ok(Ping::Answers));
    assert_eq!(
        remote.sign_in(Some(&login())).await.unwrap_err().reason(),
        "RedirectedElsewhere"
    );
    assert_eq!(remote.sign_in(None).await, Ok(SignIn::Anonymous));
    assert!(elsewhere.asked().iter().all(|(_, header)| header.is_none()));

    // Where tokens are issued no redirect is followed at all.
    let to = format!("http://127.0.0.1:{}/token", elsewhere.port());
    let served = with_port(|port| {
        let token = Router::new().route("/token", get(async move || (StatusCode::FOUND, [(LOCATION, to)])));
        let v2 = always(401, &[]).layer(axum::middleware::map_response(
            move |mut response: axum::response::Response| async move {
                let challenge = format!("Bearer realm=\"http://localhost:{port}/token\"");
                response
                    .headers_mut()
                    .insert(WWW_AUTHENTICATE, challenge.parse().unwrap());
                response
            },
        ));
        v2.merge(token)
    })
    .await;
    assert_eq!(
        plain(served.port()).sign_in(Some(&login())).await.unwrap_err().reason(),
        "NoToken"
    );
    assert!(elsewhere.asked().is_empty());
}

#[tokio::test]
async fn where_tokens_should_be_issued_anything_may_answer() {
    for (status, body, expected) in [
        (200, "<html>".to_owned(), Err("NoToken")),
        (200, "{}".to_owned(), Err("NoToken")),
        (200, "{\"token\": \"a\\nb\"}".to_owned(), Err("NoToken")),
        (
            200,
            format!("{{\"token\": \"{}\"}}", "x".repeat(300_000)),
            Err("NotARegistry"),
        ),
        (404, String::new(), Err("NoToken")),
        (500, String::new(), Err("ServerError")),
        (403, String::new(), Ok(SignIn::Rejected)),
        (429, String::new(), Ok(SignIn::Limited(None))),
    ] {
        let served = with_port(|port| {
            let shown = body.clone();
            let answer = move || async move { (StatusCode::from_u16(status).unwrap(), shown) };
            let v2 = move || async move {
                let challenge = format!("Bearer realm=\"http://localhost:{port}/issue\"");
                (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, challenge)])
            };
            Router::new().route("/v2/", get(v2)).route("/issue", get(answer))
        })
        .await;
        let signed = plain(served.port()).sign_in(Some(&login())).await;
        assert_eq!(
            signed.map_err(|fault| fault.reason()),
            expected,
            "{status} {}",
            &body[..body.len().min(40)]
        );
    }
}

#[tokio::test]
async fn whether_a_credential_can_push_is_read_from_its_token() {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    for (actions, expected) in [
        ("[\"pull\",\"push\"]", CanPush::Yes),
        ("[\"pull\"]", CanPush::No),
        (
            "[]",
            CanPush::Unknown("the credential has no right at all where Waypost tried: the name may be no project's"),
        ),
    ] {
        let claims = format!(
            "{{\"access\":[{{\"type\":\"repository\",\"name\":\"team/waypost-probe\",\"actions\":{actions}}}]}}"
        );
        let token = format!("{{\"token\":\"e30.{}.c2ln\"}}", URL_SAFE_NO_PAD.encode(claims));
        let served = with_port(|port| {
            let v2 = move || async move {
                let challenge = format!("Bearer realm=\"http://localhost:{port}/issue\"");
                (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, challenge)])
            };
            Router::new()
                .route("/v2/", get(v2))
                .route("/issue", get(async move || token))
        })
        .await;
        assert_eq!(plain(served.port()).can_push(&login()).await, Ok(expected));
        let asked = served.asked();
        assert_eq!(asked[1].0, "GET /issue?scope=repository:team/waypost-probe:pull,push");
        assert_eq!(asked.len(), 2, "nothing was tried: {asked:?}");
    }
}

#[tokio::test]
async fn whether_a_credential_can_push_is_tried_where_nothing_says_so_and_leaves_nothing_behind() {
    for (status, expected) in [
        (202, Ok(CanPush::Yes)),
        (403, Ok(CanPush::No)),
        (405, Ok(CanPush::No)),
        (404, Ok(CanPush::Unknown("the registry does not let anybody try it"))),
        (429, Ok(CanPush::Unknown("it is asked too much (429)"))),
        (503, Err("ServerError")),
    ] {
        let upload = move || async move {
            let status = StatusCode::from_u16(status).unwrap();
            (status, [(LOCATION, "/v2/team/waypost-probe/blobs/uploads/1?_state=x")])
        };
        let router = basic().route("/v2/{*path}", any(upload));
        let served = Served::plain(router).await;
        let can = plain(served.port()).can_push(&login()).await;
        assert_eq!(can.map_err(|fault| fault.reason()), expected, "{status}");
        let asked: Vec<_> = served.asked().into_iter().map(|(what, _)| what).collect();
        let mut wanted = vec!["GET /v2/", "POST /v2/team/waypost-probe/blobs/uploads/"];
        if status == 202 {
            wanted.push("DELETE /v2/team/waypost-probe/blobs/uploads/1?_state=x");
        }
        assert_eq!(asked, wanted);
    }
}

#[tokio::test]
async fn connections_are_kept_from_one_probe_to_the_next() {
    let served = Served::plain(basic()).await;
    let remote = plain(served.port());
    remote.ping().await.unwrap();
    for _ in 0..3 {
        assert_eq!(remote.ping().await, Ok(Ping::Answers));
    }
    assert_eq!((served.asked().len(), served.connections()), (4, 1));
}
