//! What goes wrong, what is said of it, and that nothing of a key is in that.

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_credential_types::provider::error::CredentialsError;
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::Instant};
use tracing_subscriber::{fmt::MakeWriter, layer::SubscriberExt};

use super::{
    stand_in::{Instead, refusal},
    *,
};

/// What kind of an error it is, without its words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Rejected,
    Misconfigured,
    Unavailable,
}

fn kind(error: &IssueError) -> Kind {
    match error {
        IssueError::Rejected(_) => Kind::Rejected,
        IssueError::Misconfigured(_) => Kind::Misconfigured,
        IssueError::Unavailable(_) => Kind::Unavailable,
    }
}

#[track_caller]
fn assert_says(error: &IssueError, expected: (Kind, &str)) {
    assert_eq!(kind(error), expected.0, "{error:?}");
    assert!(error.to_string().contains(expected.1), "{error}");
    assert!(!format!("{error} {error:?}").contains(SECRET), "{error:?}");
}

fn ecr_error(status: u16, code: &str, message: &str) -> Instead {
    Instead::Json(status, json!({"__type": code, "message": message}))
}

/// A message that quotes all that it can.
fn quoting() -> String {
    format!("User: {SECRET} The Canonical String should have been 'x-amz-security-token:{SECRET}' {SECRET}")
}

#[tokio::test]
async fn what_ecr_says_becomes_what_to_do() {
    use Kind::{Misconfigured, Rejected, Unavailable};
    let aws = Aws::start().await;
    aws.user("robot", &[]);
    let ecr = with_keys(&aws, "robot");
    let table = [
        ("UnrecognizedClientException", Rejected, "does not know the access key"),
        (
            "InvalidSignatureException",
            Rejected,
            "the secret access key is not the one",
        ),
        ("ExpiredTokenException", Rejected, "the session token has ended"),
        (
            "AccessDeniedException",
            Rejected,
            "lacks the right ecr:GetAuthorizationToken; a policy",
        ),
        ("OptInRequired", Misconfigured, "has not turned the region on"),
        ("InvalidParameterException", Misconfigured, "InvalidParameterException"),
        ("SomethingNewException", Rejected, "was refused: SomethingNewException"),
        ("keptquiet-\n-code", Rejected, "was refused: an error without a name"),
        (
            "RequestTimeTooSkewed",
            Unavailable,
            "the clock of this machine is wrong",
        ),
    ];
    for (code, kind, expected) in table {
        // Some codes are taken for worth another attempt.
        let again = || ecr_error(400, code, &quoting());
        aws.instead([again(), again(), again()]);
        let error = ecr.push_token().await.unwrap_err();
        assert_says(&error, (kind, expected));
        assert!(
            error
                .to_string()
                .starts_with("GetAuthorizationToken of ECR in eu-central-1 was refused"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn what_may_pass_is_tried_thrice_and_no_more() {
    let aws = Aws::start().await;
    aws.user("robot", &[]);
    let ecr = with_keys(&aws, "robot");
    type Make = fn() -> Instead;
    let table: [(Make, &str); 4] = [
        (
            || ecr_error(400, "ThrottlingException", "Rate exceeded"),
            "too many requests",
        ),
        (
            || ecr_error(500, "ServerException", "x"),
            "failed at AWS (ServerException)",
        ),
        (
            || Instead::Text(503, "<html>keptquiet</html>"),
            "failed with status 503",
        ),
        (|| Instead::Text(502, ""), "failed with status 502"),
    ];
    for (make, expected) in table {
        aws.instead([make(), make()]);
        aws.calls();
        ecr.push_token().await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(aws.calls(), ["GetAuthorizationToken by user/robot"]);

        aws.instead([make(), make(), make(), make()]);
        let error = ecr.push_token().await.unwrap_err();
        assert_says(&error, (Kind::Unavailable, expected));
        assert_eq!(aws.inner().instead.len(), 1, "{expected}");
        aws.instead([]);
    }
    // Of somebody in between, who says no more than that.
    aws.instead([Instead::Json(429, json!({}))]);
    assert_says(
        &ecr.push_token().await.unwrap_err(),
        (Kind::Unavailable, "too many requests"),
    );
}

#[tokio::test]
async fn an_answer_without_a_token_is_no_token() {
    let aws = Aws::start().await;
    aws.user("robot", &[]);
    let ecr = with_keys(&aws, "robot");
    let good = json!({
        "authorizationToken": STANDARD.encode("AWS:keptquiet"),
        "expiresAt": 1_700_000_000.5,
        "proxyEndpoint": "https://123456789012.dkr.ecr.eu-central-1.amazonaws.com",
    });
    let with = |key: &str, value: Value| {
        let mut data = good.clone();
        data[key] = value;
        json!({"authorizationData": [data]})
    };
    aws.instead([Instead::Json(200, json!({"authorizationData": [good]}))]);
    ecr.push_token().await.unwrap();
    for answer in [
        json!({}),
        json!({"authorizationData": []}),
        with("authorizationToken", Value::Null),
        with("authorizationToken", "keptquiet".into()),
        with("authorizationToken", STANDARD.encode("keptquiet").into()),
        with("authorizationToken", STANDARD.encode("AWS:").into()),
        with("authorizationToken", STANDARD.encode(":keptquiet").into()),
        with("authorizationToken", STANDARD.encode(b"AWS:keptquiet\xff").into()),
        with("expiresAt", Value::Null),
        with("expiresAt", 1e15.into()),
        with("proxyEndpoint", Value::Null),
        with(
            "proxyEndpoint",
            "http://123456789012.dkr.ecr.eu-central-1.amazonaws.com".into(),
        ),
        with("proxyEndpoint", "https://example.com".into()),
    ] {
        let shown = answer.to_string();
        aws.instead([Instead::Json(200, answer)]);
        let Err(error) = ecr.push_token().await else {
            panic!("{shown}")
        };
        assert_says(&error, (Kind::Unavailable, "without a token that can be read"));
    }
    aws.instead([Instead::Text(200, "<html>keptquiet</html>")]);
    let error = ecr.push_token().await.unwrap_err();
    assert_says(&error, (Kind::Unavailable, "status 200 and nothing that AWS says"));
    // So much is no answer, and nobody keeps it.
    aws.instead([Instead::Endless, Instead::Endless, Instead::Endless]);
    let error = ecr.push_token().await.unwrap_err();
    assert_says(&error, (Kind::Unavailable, "GetAuthorizationToken of ECR"));
}

#[tokio::test]
async fn what_sts_says_becomes_what_to_do() {
    let aws = Aws::start().await;
    aws.user("robot", &["sts:AssumeRole"]);
    let arn = aws.role("puller", None, None);
    let mut ecr = with_keys(&aws, "robot");
    ecr.settings.registry_id = Some(ACCOUNT.to_owned());
    let table = [
        (
            "InvalidClientTokenId",
            403,
            Kind::Rejected,
            "does not know the access key",
        ),
        (
            "SignatureDoesNotMatch",
            403,
            Kind::Rejected,
            "the secret access key is not the one",
        ),
        ("ExpiredToken", 403, Kind::Rejected, "the session token has ended"),
        (
            "RegionDisabledException",
            403,
            Kind::Misconfigured,
            "has not turned the region on",
        ),
        ("ValidationError", 400, Kind::Misconfigured, "the external id"),
        ("PackedPolicyTooLarge", 400, Kind::Misconfigured, "PackedPolicyTooLarge"),
        ("Throttling", 400, Kind::Unavailable, "too many requests"),
        (
            "InternalFailure",
            500,
            Kind::Unavailable,
            "failed at AWS (InternalFailure)",
        ),
    ];
    for pull_role in [None, Some(PullRole { arn, external_id: None })] {
        let action = if pull_role.is_some() {
            "AssumeRole of STS"
        } else {
            "GetFederationToken of STS"
        };
        ecr.settings.pull_role = pull_role;
        for (code, status, kind, expected) in table {
            let again = || Instead::Xml(status, refusal(code, &quoting()));
            aws.instead([again(), again(), again()]);
            let error = ecr.pull().await.unwrap_err();
            assert_says(&error, (kind, expected));
            assert!(error.to_string().starts_with(action), "{error}");
        }
        aws.instead([Instead::Xml(200, "<AssumeRoleResponse/>".to_owned())]);
        assert_says(&ecr.pull().await.unwrap_err(), (Kind::Unavailable, "STS"));
    }
}

#[tokio::test]
async fn a_key_that_was_revoked_or_mistyped_is_told_apart() {
    let aws = Aws::start().await;
    aws.user("robot", &["sts:GetFederationToken"]);
    let mut ecr = with_keys(&aws, "robot");
    ecr.pull().await.unwrap();
    aws.revoke("robot");
    assert_says(
        &ecr.pull().await.unwrap_err(),
        (Kind::Rejected, "does not know the access key"),
    );

    aws.user("robot", &["sts:GetFederationToken"]);
    ecr.settings.keys.as_mut().unwrap().secret = Password::new(format!("{SECRET}-mistyped"));
    assert_says(
        &ecr.pull().await.unwrap_err(),
        (Kind::Rejected, "the secret access key is not the one"),
    );
    // The message of this one quotes the session token.
    let mut keys = keys("robot").unwrap();
    keys.session_token = Some(Password::new(format!("{SECRET}-of-another")));
    ecr.settings.keys = Some(keys);
    assert_says(
        &ecr.pull().await.unwrap_err(),
        (Kind::Rejected, "lacks its session token"),
    );
}

#[tokio::test]
async fn a_wrong_clock_is_put_up_with_where_aws_says_the_time_and_named_where_not() {
    let aws = Aws::start().await;
    aws.user("robot", &["sts:GetFederationToken"]);
    let ecr = with_keys(&aws, "robot");
    for ahead in [3600, -3600] {
        aws.inner().ahead = ahead;
        aws.inner().tells_time = true;
        assert_pulls_only(&aws, &ecr.pull_token().await.unwrap());
        aws.inner().tells_time = false;
        assert_says(
            &ecr.pull().await.unwrap_err(),
            (Kind::Unavailable, "the clock of this machine is wrong"),
        );
    }
}

#[tokio::test]
async fn a_wrong_region_is_named() {
    let aws = Aws::start().await;
    aws.user("robot", &[]);
    aws.inner().region = Some("us-east-1");
    let ecr = with_keys(&aws, "robot");
    assert_says(
        &ecr.pull().await.unwrap_err(),
        (Kind::Misconfigured, "check the region"),
    );
    // A region that there is not has no host.
    let mut settings = settings(&aws);
    settings.region = "eu-nowhere-1".to_owned();
    settings.keys = keys("robot");
    settings.endpoints.ecr = Some("http://api.ecr.eu-nowhere-1.invalid".to_owned());
    let error = Ecr::new(settings, no_tls()).unwrap().pull().await.unwrap_err();
    assert_says(
        &error,
        (
            Kind::Unavailable,
            "is `eu-nowhere-1` how AWS writes the region? If it is, this machine cannot look names up",
        ),
    );
}

#[tokio::test]
async fn nobody_there_is_told_in_words() {
    let aws = Aws::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let mut ecr = with_keys(&aws, "robot");
    ecr.settings.endpoints.ecr = Some(closed.clone());
    assert_says(
        &ecr.push_token().await.unwrap_err(),
        (Kind::Unavailable, "the connection was refused"),
    );

    let variables = [
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/x"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "/dev/null"),
    ];
    let mut ecr = ambient(&aws, &variables);
    let mut variables: Vec<_> = variables.into();
    variables.push(("AWS_ENDPOINT_URL_STS", &closed));
    ecr.world = World::of(&variables);
    let expected = "AssumeRoleWithWebIdentity of STS in eu-central-1 could not be sent: the connection was refused";
    assert_says(&ecr.push_token().await.unwrap_err(), (Kind::Unavailable, expected));
}

#[tokio::test(start_paused = true)]
async fn twenty_seconds_are_all_that_a_token_may_take() {
    let aws = Aws::start().await;
    aws.user("robot", &["sts:GetFederationToken"]);
    let ecr = with_keys(&aws, "robot");
    aws.instead((0..20).map(|_| Instead::Never));
    let before = Instant::now();
    let error = ecr.pull().await.unwrap_err();
    assert_eq!(kind(&error), Kind::Unavailable, "{error}");
    assert!(
        before.elapsed() <= Duration::from_millis(20_100),
        "{:?}",
        before.elapsed()
    );
    assert!(
        error.to_string().contains("in time") || error.to_string().contains("within 20 s"),
        "{error}"
    );
}

#[tokio::test]
async fn who_has_no_identity_is_told_where_one_was_looked_for() {
    let aws = Aws::start().await;
    let error = ambient(&aws, &[]).pull().await.unwrap_err();
    assert_says(&error, (Kind::Misconfigured, "there is no AWS identity here"));
    for place in ["environment", "profile", "IRSA", "Pod Identity", "metadata"] {
        assert!(error.to_string().contains(place), "{error}");
    }
    assert_says(&error, (Kind::Misconfigured, GIVE));

    // Other clouds have something else at the same address, which does not pass; what does is told apart.
    let url = aws.url();
    let metadata = [
        ("AWS_EC2_METADATA_DISABLED", "false"),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &*url),
    ];
    for (status, kind, expected) in [
        (400, Kind::Misconfigured, "there is no AWS identity here"),
        (403, Kind::Misconfigured, "there is no AWS identity here"),
        (404, Kind::Misconfigured, "there is no AWS identity here"),
        (405, Kind::Misconfigured, "there is no AWS identity here"),
        (503, Kind::Unavailable, "gave no answer of use"),
    ] {
        // Some are asked again.
        aws.instead((0..8).map(|_| Instead::Text(status, "keptquiet")));
        let error = ambient(&aws, &metadata).pull().await.unwrap_err();
        assert_says(&error, (kind, expected));
        assert_says(&error, (kind, GIVE));
    }
    aws.instead([]);

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config");
    for (profile, expected) in [
        ("credential_process = /bin/echo keptquiet", "by running a program"),
        (
            "sso_start_url = https://x\nsso_region = eu-central-1\nsso_account_id = 1\nsso_role_name = x",
            "by a browser",
        ),
        (
            "role_arn = arn:aws:iam::123456789012:role/x\nsource_profile = keptquiet\n[profile keptquiet]\nrole_arn = x\nsource_profile = default",
            "cannot be had",
        ),
    ] {
        std::fs::write(&file, format!("[default]\n{profile}\n")).unwrap();
        let error = ambient(&aws, &[("AWS_CONFIG_FILE", file.to_str().unwrap())])
            .pull()
            .await
            .unwrap_err();
        assert_says(&error, (Kind::Misconfigured, expected));
    }
    let url = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://example.com/keptquiet");
    let error = ambient(&aws, &[url]).pull().await.unwrap_err();
    assert_says(&error, (Kind::Misconfigured, "cannot be had"));
    let late = CredentialsError::provider_timed_out(Duration::from_secs(5));
    assert_says(
        &fault::no_identity(&late, REGION),
        (Kind::Unavailable, "not had in time"),
    );
}

/// What whoever has no identity is told to do.
const GIVE: &str = "give an access key (`accessKeyId` and `secretAccessKey`, by REST `access_key_id` and `secret_access_key`), or run \
                    Waypost where there is a role";

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for Log {
    type Writer = Self;

    fn make_writer(&'w self) -> Self {
        self.clone()
    }
}

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

#[tokio::test]
async fn nothing_of_a_key_is_in_a_log_or_in_debug_output() {
    let log = Log::default();
    let layer = tracing_subscriber::fmt::layer().with_writer(log.clone());
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    tracing::trace!("everything is logged");

    let aws = Aws::start().await;
    aws.user("robot", &["sts:GetFederationToken"]);
    let ecr = with_keys(&aws, "robot");
    let token = ecr.pull().await.unwrap();
    let mut shown = format!("{ecr:?} {:?} {token:?}", ecr.settings);

    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{SECRET}-web")).unwrap();
    let role = aws.role("irsa", None, Some("another"));
    let variables = [
        ("AWS_ROLE_ARN", &*role),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", file.path().to_str().unwrap()),
    ];
    let web = ambient(&aws, &variables);
    aws.inner().ahead = 3600;
    for ecr in [&ecr, &web] {
        let error = ecr.pull().await.unwrap_err();
        shown += &format!("{error} {error:?} {ecr:?}");
    }
    shown += &log.text();
    assert!(shown.contains("everything is logged"), "{shown}");
    assert!(!shown.contains(SECRET), "{shown}");
    assert!(!shown.contains(&key_of("robot")), "{shown}");

    // The same without that care, so that this test sees what it looks for.
    let identity = ecr.identity().await.unwrap();
    assert!(ecr.mint(&identity, &identity.credentials).await.is_err());
    assert!(log.text().contains(&key_of("robot")), "{}", log.text());
}

/// Words of AWS's messages, with what nobody may see among them.
fn messages() -> impl Strategy<Value = String> {
    let words = [
        "User: ",
        "not authorized to perform: ",
        "arn:aws:iam::123456789012:user/robot",
        "ecr:PutImage",
        "Signature expired: ",
        "should be scoped to",
        "x-amz-security-token:",
        "\n",
        "'",
        " ",
        SECRET,
    ];
    proptest::collection::vec(proptest::sample::select(words.to_vec()), 0..12).prop_map(|words| {
        // A secret has no reason to be glued to an ARN: AWS's messages put spaces between.
        words.join(" ")
    })
}

proptest! {
    #[test]
    fn no_message_of_aws_is_repeated(
        message in messages(),
        status in proptest::sample::select(&[400_u16, 403, 429, 500, 503]),
        code in proptest::option::of(proptest::sample::select(&[
            "AccessDenied", "SignatureDoesNotMatch", "InvalidSignatureException", "ExpiredToken", "ValidationError", "keptquiet and more",
            "IDPCommunicationError", "InvalidIdentityToken", "Throttling", "LimitExceededException", "Whatever",
        ])),
    ) {
        let asked = Asked { right: "ecr:GetAuthorizationToken", region: REGION };
        let error = asked.refused(code, &message, status.try_into().unwrap());
        let said = error.to_string();
        prop_assert!(!said.contains(SECRET), "{}", said);
        prop_assert!(!said.contains('\n') && said.len() < 500, "{}", said);
        prop_assert!(said.starts_with("GetAuthorizationToken of ECR in eu-central-1 "), "{}", said);
    }
}
