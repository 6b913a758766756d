//! Against a stand-in of AWS that checks signatures and rights. No test goes by this machine's environment.

mod ambient;
mod faults;
mod stand_in;

use std::collections::HashMap;

use aws_config::ConfigLoader;
use aws_types::os_shim_internal::Env;
use jiff::{SignedDuration, ToSpan};
use rustls::{RootCertStore, crypto::ring};

use self::stand_in::{ACCOUNT, Aws, REGION, SECRET, key_of, secret_of};
use super::*;

/// The environment of a registry in a test, in place of the process's.
#[derive(Clone, Debug)]
pub(super) struct World(HashMap<String, String>);

impl Default for World {
    /// Nobody but who is asked is: this machine may be one of AWS's.
    fn default() -> Self {
        Self::of(&[])
    }
}

impl World {
    fn of(variables: &[(&str, &str)]) -> Self {
        let none = [("AWS_EC2_METADATA_DISABLED", "true")];
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self(none.iter().chain(variables).map(owned).collect())
    }

    pub(super) fn instead(&self, loader: ConfigLoader) -> ConfigLoader {
        loader.env(Env::from(self.0.clone()))
    }

    pub(super) fn variable(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }
}

fn no_tls() -> ClientConfig {
    ClientConfig::builder_with_provider(std::sync::Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth()
}

fn settings(aws: &Aws) -> EcrSettings {
    EcrSettings {
        region: REGION.to_owned(),
        endpoints: Endpoints {
            ecr: Some(aws.url()),
            sts: Some(aws.url()),
        },
        ..EcrSettings::default()
    }
}

fn keys(user: &str) -> Option<Keys> {
    Some(Keys {
        id: Password::new(key_of(user)),
        secret: Password::new(secret_of(user)),
        session_token: None,
    })
}

fn with_keys(aws: &Aws, user: &str) -> Ecr {
    let keys = keys(user);
    Ecr::new(EcrSettings { keys, ..settings(aws) }, no_tls()).unwrap()
}

/// Goes by nothing but an environment.
fn ambient(aws: &Aws, variables: &[(&str, &str)]) -> Ecr {
    let url = aws.url();
    let urls = [("AWS_ENDPOINT_URL_ECR", &*url), ("AWS_ENDPOINT_URL_STS", &*url)];
    let settings = EcrSettings {
        endpoints: Endpoints::default(),
        ..settings(aws)
    };
    let mut ecr = Ecr::new(settings, no_tls()).unwrap();
    ecr.world = World::of(&[&urls, variables].concat());
    ecr
}

/// What its holder may do there: pull, and nothing else.
#[track_caller]
fn assert_pulls_only(aws: &Aws, issued: &Issued) {
    let token = issued.login.password.expose();
    for right in stand_in::PULL {
        assert!(aws.may(token, right, ACCOUNT), "{right}");
    }
    for right in stand_in::PUSH {
        assert!(!aws.may(token, right, ACCOUNT), "{right}");
    }
    assert!(!aws.may(token, "ecr:BatchGetImage", "999999999999"));
}

#[track_caller]
fn assert_pushes(aws: &Aws, issued: &Issued) {
    let token = issued.login.password.expose();
    assert!(aws.may(token, "ecr:PutImage", ACCOUNT) && aws.may(token, "ecr:BatchGetImage", ACCOUNT));
}

/// How long it lasts, to a minute.
fn hours(issued: &Issued) -> f64 {
    let left: SignedDuration = issued.expires_at.duration_since(Timestamp::now());
    (left.as_secs_f64() / 36.0).round() / 100.0
}

#[tokio::test]
async fn a_users_key_gives_a_token_that_pulls_and_one_that_pushes() {
    let aws = Aws::start().await;
    aws.user("robot", &["sts:GetFederationToken"]);
    aws.inner().session = Some(12 * 3600);
    let ecr = with_keys(&aws, "robot");

    let pull = ecr.pull().await.unwrap();
    assert_eq!(pull.issued.login.username, "AWS");
    assert_eq!(pull.host, "123456789012.dkr.ecr.eu-central-1.amazonaws.com");
    assert_eq!((pull.wide, hours(&pull.issued)), (None, 12.0));
    assert_pulls_only(&aws, &pull.issued);
    assert_eq!(
        aws.calls(),
        [
            "GetAuthorizationToken by user/robot",
            "GetFederationToken by user/robot",
            "GetAuthorizationToken by federated-user/waypost-pull",
        ]
    );

    let push = ecr.push_token().await.unwrap();
    assert_pushes(&aws, &push);
    assert_eq!(hours(&push), 12.0);
    assert_eq!(aws.calls(), ["GetAuthorizationToken by user/robot"]);
    assert_pulls_only(&aws, &ecr.pull_token().await.unwrap());
}

#[tokio::test]
async fn ecr_is_asked_which_registry_it_is_where_nobody_said() {
    let aws = Aws::start().await;
    aws.user("robot", &["sts:GetFederationToken"]);
    let ecr = with_keys(&aws, "robot");
    assert_eq!(
        ecr.host().await.unwrap(),
        "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
    );
    assert_eq!(aws.calls(), ["GetAuthorizationToken by user/robot"]);

    let of = |region: &str, registry_id: Option<&str>, host: Option<&str>| {
        let settings = EcrSettings {
            region: region.to_owned(),
            registry_id: registry_id.map(str::to_owned),
            host: host.map(str::to_owned),
            ..settings(&aws)
        };
        Ecr::new(settings, no_tls()).unwrap()
    };
    for (region, id, host, expected) in [
        (
            "eu-central-1",
            Some("210987654321"),
            None,
            "210987654321.dkr.ecr.eu-central-1.amazonaws.com",
        ),
        (
            "cn-northwest-1",
            Some(ACCOUNT),
            None,
            "123456789012.dkr.ecr.cn-northwest-1.amazonaws.com.cn",
        ),
        (
            "us-gov-west-1",
            Some(ACCOUNT),
            None,
            "123456789012.dkr.ecr.us-gov-west-1.amazonaws.com",
        ),
        (
            "us-iso-east-1",
            Some(ACCOUNT),
            None,
            "123456789012.dkr.ecr.us-iso-east-1.c2s.ic.gov",
        ),
        (
            "us-isob-east-1",
            Some(ACCOUNT),
            None,
            "123456789012.dkr.ecr.us-isob-east-1.sc2s.sgov.gov",
        ),
        ("eu-central-1", None, Some("images.example.com"), "images.example.com"),
        (
            "eu-central-1",
            Some(ACCOUNT),
            Some("proxy.example.com:5000"),
            "proxy.example.com:5000",
        ),
    ] {
        assert_eq!(of(region, id, host).host().await.unwrap(), expected);
    }
    assert_eq!(aws.calls(), [""; 0], "nobody was asked");
}

#[tokio::test]
async fn a_registry_of_another_account_is_what_the_token_is_narrowed_to() {
    let aws = Aws::start().await;
    aws.user("robot", &["sts:GetFederationToken"]);
    let mut settings = settings(&aws);
    settings.keys = keys("robot");
    settings.registry_id = Some("210987654321".to_owned());
    settings.host = Some("images.example.com".to_owned());
    let pull = Ecr::new(settings, no_tls()).unwrap().pull().await.unwrap();
    assert_eq!(pull.host, "images.example.com");
    let token = pull.issued.login.password.expose();
    assert!(aws.may(token, "ecr:BatchGetImage", "210987654321"));
    assert!(!aws.may(token, "ecr:BatchGetImage", ACCOUNT));
    // The id is known: nothing is asked for with the identity but a narrower one.
    let asked = [
        "GetFederationToken by user/robot",
        "GetAuthorizationToken by federated-user/waypost-pull",
    ];
    assert_eq!(aws.calls(), asked);
}

#[tokio::test]
async fn a_key_that_may_not_be_narrowed_gives_its_own_token_and_says_so() {
    let aws = Aws::start().await;
    aws.user("robot", &[]);
    let pull = with_keys(&aws, "robot").pull().await.unwrap();
    assert_eq!(pull.wide, Some(Wide::NoRight));
    assert_pushes(&aws, &pull.issued);
    assert!(pull.wide.unwrap().to_string().contains("sts:GetFederationToken"));
}

#[tokio::test]
async fn a_temporary_key_cannot_be_narrowed_without_a_role() {
    let aws = Aws::start().await;
    aws.user("robot", &["sts:AssumeRole"]);
    let role = aws.role("waypost-pull", None, None);
    let mut settings = settings(&aws);
    settings.keys = keys("robot");
    settings.pull_role = Some(PullRole {
        arn: role,
        external_id: None,
    });
    // A session of a role is such a key; this one is made with the role's own policy, and cannot do more than that either.
    let ecr = Ecr::new(settings.clone(), no_tls()).unwrap();
    let identity = ecr.identity().await.unwrap();
    let session = ecr.narrow(&identity, ACCOUNT).await.unwrap().unwrap();
    settings.pull_role = None;
    settings.keys = Some(Keys {
        id: Password::new(session.access_key_id().to_owned()),
        secret: Password::new(session.secret_access_key().to_owned()),
        session_token: session.session_token().map(|token| Password::new(token.to_owned())),
    });
    aws.calls();
    let pull = Ecr::new(settings, no_tls()).unwrap().pull().await.unwrap();
    assert_eq!(pull.wide, Some(Wide::NoWay));
    let asked = "GetAuthorizationToken by assumed-role/role/waypost-pull";
    assert_eq!(aws.calls(), [asked, asked]);
}

#[tokio::test]
async fn a_pull_role_is_assumed_with_a_policy_and_never_done_without() {
    let aws = Aws::start().await;
    aws.user("robot", &["sts:AssumeRole"]);
    let arn = aws.role("puller", Some("external"), None);
    let of = |external_id: Option<&str>| {
        let mut settings = settings(&aws);
        settings.keys = keys("robot");
        settings.registry_id = Some(ACCOUNT.to_owned());
        settings.pull_role = Some(PullRole {
            arn: arn.clone(),
            external_id: external_id.map(str::to_owned),
        });
        Ecr::new(settings, no_tls()).unwrap()
    };
    let ecr = of(Some("external"));
    let pull = ecr.pull().await.unwrap();
    // The session of a role ends after an hour.
    assert_eq!((pull.wide, hours(&pull.issued)), (None, 1.0));
    assert_pulls_only(&aws, &pull.issued);
    let asked = [
        "AssumeRole by user/robot",
        "GetAuthorizationToken by assumed-role/role/waypost-pull",
    ];
    assert_eq!(aws.calls(), asked);
    assert_pushes(&aws, &ecr.push_token().await.unwrap());

    for external_id in [None, Some("another")] {
        let error = of(external_id).pull().await.unwrap_err();
        let IssueError::Rejected(why) = &error else {
            panic!("{error:?}")
        };
        assert!(
            why.contains("arn:aws:iam::123456789012:user/robot lacks the right sts:AssumeRole"),
            "{why}"
        );
        assert!(why.contains("trust policy"), "{why}");
    }
}

#[tokio::test]
async fn a_repository_is_created_and_left_as_it_is_when_it_is_there() {
    let aws = Aws::start().await;
    aws.user("robot", &[]);
    let ecr = with_keys(&aws, "robot");
    let settings = RepositorySettings {
        immutable_tags: true,
        tags: [("team".to_owned(), "data".to_owned())].into(),
    };
    ecr.create_repository("docker.io/library/nginx", &settings)
        .await
        .unwrap();
    let created = aws.repository("docker.io/library/nginx").unwrap();
    let expected = serde_json::json!({
        "repositoryName": "docker.io/library/nginx",
        "imageTagMutability": "IMMUTABLE",
        "tags": [{"Key": "team", "Value": "data"}],
    });
    assert_eq!(created, expected);
    ecr.create_repository("docker.io/library/nginx", &RepositorySettings::default())
        .await
        .unwrap();
    assert_eq!(aws.repository("docker.io/library/nginx").unwrap(), expected);

    ecr.create_repository("plain", &RepositorySettings::default())
        .await
        .unwrap();
    assert_eq!(aws.repository("plain").unwrap()["imageTagMutability"], "MUTABLE");

    for (right, settings) in [("ecr:TagResource", &settings), ("ecr:CreateRepository", &settings)] {
        aws.deny("robot", right);
        let error = ecr.create_repository("another", settings).await.unwrap_err();
        let expected = format!(
            "CreateRepository of ECR in eu-central-1 was refused: arn:aws:iam::123456789012:user/robot lacks the right {right}; a policy \
             of it must allow that"
        );
        assert_eq!(error, IssueError::Rejected(expected));
    }
    assert_eq!(aws.repository("another"), None);
}

#[tokio::test]
async fn https_is_trusted_as_waypost_was_told_and_no_further() {
    let (authority, pair) = crate::oci::testing::certificate(2020, 2099);
    let aws = Aws::tls(&pair).await;
    aws.user("robot", &["sts:GetFederationToken"]);
    let url = format!("https://localhost:{}", aws.served.port());
    let mut settings = settings(&aws);
    settings.keys = keys("robot");
    settings.endpoints = Endpoints {
        ecr: Some(url.clone()),
        sts: Some(url),
    };
    let trusting = crate::tls::testing::client(&authority.pem, None, &[]);
    let pull = Ecr::new(settings.clone(), trusting)
        .unwrap()
        .pull_token()
        .await
        .unwrap();
    assert_pulls_only(&aws, &pull);
    // All three calls went over two connections at most: one for each service.
    assert!(aws.served.connections() <= 2);

    let before = aws.served.connections();
    let error = Ecr::new(settings, no_tls()).unwrap().pull().await.unwrap_err();
    let IssueError::Unavailable(why) = &error else {
        panic!("{error:?}")
    };
    assert!(
        why.contains("no TLS connection came about: invalid peer certificate: UnknownIssuer"),
        "{why}"
    );
    assert_eq!(
        aws.served.connections(),
        before + 1,
        "a certificate does not get better"
    );
}

#[test]
fn settings_that_cannot_be_right_are_refused_before_anybody_is_asked() {
    let good = || EcrSettings {
        region: "eu-central-1".to_owned(),
        registry_id: Some(ACCOUNT.to_owned()),
        host: Some("images.example.com".to_owned()),
        keys: keys("robot"),
        pull_role: Some(PullRole {
            arn: "arn:aws-cn:iam::123456789012:role/path/waypost-pull".to_owned(),
            external_id: None,
        }),
        endpoints: Endpoints {
            ecr: Some("http://127.0.0.1:1".to_owned()),
            sts: Some("https://sts.example.com/x".to_owned()),
        },
    };
    Ecr::new(good(), no_tls()).unwrap();
    for region in ["us-gov-west-1", "ap-southeast-7", "mx-central-1"] {
        let region = region.to_owned();
        Ecr::new(EcrSettings { region, ..good() }, no_tls()).unwrap();
    }
    type Spoil = fn(&mut EcrSettings);
    let table: &[(Spoil, &str)] = &[
        (|s| s.region.clear(), "`` is no region"),
        (|s| s.region = "Frankfurt".to_owned(), "`Frankfurt` is no region"),
        (|s| s.region = "eu-central".to_owned(), "is no region"),
        (|s| s.region = "eu-central-1.evil.com/".to_owned(), "is no region"),
        (
            |s| s.registry_id = Some(String::new()),
            "`` is no id of an ECR registry",
        ),
        (
            |s| s.registry_id = Some("1234".to_owned()),
            "is no id of an ECR registry",
        ),
        (
            |s| s.registry_id = Some("12345678901*".to_owned()),
            "is no id of an ECR registry",
        ),
        (|s| s.host = Some("https://x.example.com".to_owned()), "is no host"),
        (|s| s.host = Some("host".to_owned()), "is no host"),
        (
            |s| s.pull_role.as_mut().unwrap().arn = "waypost-pull".to_owned(),
            "is no ARN of a role",
        ),
        (
            |s| s.pull_role.as_mut().unwrap().arn = "arn:aws:iam::1:role/x".to_owned(),
            "is no ARN of a role",
        ),
        (
            |s| s.pull_role.as_mut().unwrap().arn = "arn:aws:iam::123456789012:user/x".to_owned(),
            "is no ARN of a role",
        ),
        (|s| s.endpoints.ecr = Some("localhost:5000".to_owned()), "is no URL"),
        (|s| s.endpoints.sts = Some("ftp://x".to_owned()), "is no URL"),
        (
            |s| s.keys.as_mut().unwrap().id = Password::new(String::new()),
            "an id and a secret",
        ),
        (
            |s| s.keys.as_mut().unwrap().secret = Password::new("keptquiet\n".to_owned()),
            "an id and a secret",
        ),
        (
            |s| s.keys.as_mut().unwrap().session_token = Some(Password::new(String::new())),
            "an id and a secret",
        ),
    ];
    for (spoil, expected) in table {
        let mut settings = good();
        spoil(&mut settings);
        let error = Ecr::new(settings, no_tls()).unwrap_err();
        assert!(
            matches!(&error, IssueError::Misconfigured(why) if why.contains(expected)),
            "{error:?}"
        );
        assert!(!error.to_string().contains(SECRET), "{error}");
    }
}

#[test]
fn a_token_ends_when_its_session_does() {
    let now = Timestamp::from_second(1_700_000_000).unwrap();
    let data = |expires: i64| {
        AuthorizationData::builder()
            .authorization_token(STANDARD.encode("AWS:token:with:colons"))
            .expires_at(aws_sdk_ecr::primitives::DateTime::from_secs(expires))
            .proxy_endpoint("https://123456789012.dkr.ecr.eu-central-1.amazonaws.com")
            .build()
    };
    let twelve = now.as_second() + 43_200;
    let of = |session: Option<Timestamp>| minted(&data(twelve), session.map(Into::into)).unwrap().issued;
    assert_eq!(of(None).expires_at.as_second(), twelve);
    assert_eq!(of(Some(now + 1.hours())).expires_at, now + 1.hours());
    assert_eq!(of(Some(now + 24.hours())).expires_at.as_second(), twelve);
    assert_eq!(of(None).login.password.expose(), "token:with:colons");
}
