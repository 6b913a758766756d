//! Identities that nobody gave: a service account's, a Pod's, a machine's, of the environment and of profiles.

use std::path::Path;

use super::*;

#[tokio::test]
async fn a_service_accounts_role_gives_a_token_that_only_pulls() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, format!("{SECRET}-web-1")).unwrap();
    let aws = Aws::start().await;
    let role = aws.role("irsa", None, Some(&format!("{SECRET}-web-1")));
    let ecr = ambient(
        &aws,
        &[
            ("AWS_ROLE_ARN", &role),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", file.to_str().unwrap()),
        ],
    );
    let pull = ecr.pull().await.unwrap();
    assert_eq!((pull.wide, hours(&pull.issued)), (None, 1.0));
    assert_pulls_only(&aws, &pull.issued);
    assert_eq!(
        aws.calls(),
        [
            "AssumeRoleWithWebIdentity by nobody",
            "GetAuthorizationToken by assumed-role/web/session",
            "AssumeRoleWithWebIdentity by nobody",
            "GetAuthorizationToken by assumed-role/web/waypost-pull",
        ]
    );
    assert_pushes(&aws, &ecr.push_token().await.unwrap());

    // The kubelet writes a new one each hour.
    aws.role("irsa", None, Some(&format!("{SECRET}-web-2")));
    let error = ecr.pull().await.unwrap_err();
    let IssueError::Rejected(why) = &error else {
        panic!("{error:?}")
    };
    assert!(why.contains("OpenID"), "{why}");
    std::fs::write(&file, format!("{SECRET}-web-2")).unwrap();
    ecr.pull().await.unwrap();

    std::fs::remove_file(&file).unwrap();
    let error = ecr.pull().await.unwrap_err();
    assert!(
        matches!(&error, IssueError::Misconfigured(why) if why.contains("AWS_WEB_IDENTITY_TOKEN_FILE")),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_pod_identity_is_had_with_the_token_that_its_file_has_now() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, format!("{SECRET}-pod-1")).unwrap();
    let aws = Aws::start().await;
    aws.inner().container_token = format!("{SECRET}-pod-1");
    let url = format!("{}/v1/credentials", aws.url());
    let ecr = ambient(
        &aws,
        &[
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &url),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file.to_str().unwrap()),
        ],
    );
    let pull = ecr.pull().await.unwrap();
    assert_eq!((pull.wide, hours(&pull.issued)), (Some(Wide::NoWay), 1.0));
    assert_pushes(&aws, &pull.issued);

    aws.inner().container_token = format!("{SECRET}-pod-2");
    let error = ecr.pull().await.unwrap_err();
    assert!(
        matches!(&error, IssueError::Unavailable(why) if why.contains("Pod Identity")),
        "{error:?}"
    );
    std::fs::write(&file, format!("{SECRET}-pod-2")).unwrap();
    ecr.pull().await.unwrap();
}

#[tokio::test]
async fn a_pod_identity_is_narrowed_by_a_role() {
    let aws = Aws::start().await;
    let arn = aws.role("puller", None, None);
    aws.inner().container_token = format!("{SECRET}-pod");
    let url = format!("{}/v1/credentials", aws.url());
    let token = format!("{SECRET}-pod");
    let mut ecr = ambient(
        &aws,
        &[
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &url),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN", &token),
        ],
    );
    ecr.settings.pull_role = Some(PullRole { arn, external_id: None });
    let pull = ecr.pull().await.unwrap();
    assert_eq!(pull.wide, None);
    assert_pulls_only(&aws, &pull.issued);
}

#[tokio::test]
async fn a_machines_metadata_gives_an_identity() {
    let aws = Aws::start().await;
    let url = aws.url();
    let ecr = ambient(
        &aws,
        &[
            ("AWS_EC2_METADATA_DISABLED", "false"),
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &url),
        ],
    );
    let pull = ecr.pull().await.unwrap();
    assert_eq!(pull.wide, Some(Wide::NoWay));
    assert_pushes(&aws, &pull.issued);
    let asked = "GetAuthorizationToken by assumed-role/node/i-1";
    assert_eq!(aws.calls(), [asked, asked]);
}

#[tokio::test]
async fn keys_of_the_environment_are_found() {
    let aws = Aws::start().await;
    aws.user("robot", &["sts:GetFederationToken"]);
    let (id, secret) = (key_of("robot"), secret_of("robot"));
    let ecr = ambient(&aws, &[("AWS_ACCESS_KEY_ID", &id), ("AWS_SECRET_ACCESS_KEY", &secret)]);
    let pull = ecr.pull().await.unwrap();
    assert_eq!(pull.wide, None);
    assert_pulls_only(&aws, &pull.issued);
}

fn write_profile(path: &Path, user: &str, more: &str) {
    let (id, secret) = (key_of(user), secret_of(user));
    let profile = format!("[keys]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n{more}");
    std::fs::write(path, profile).unwrap();
}

#[tokio::test]
async fn a_profile_counts_as_it_is_when_a_token_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("credentials");
    let aws = Aws::start().await;
    aws.user("old", &["sts:GetFederationToken"]);
    aws.user("new", &["sts:GetFederationToken"]);
    write_profile(&file, "old", "");
    let config = dir.path().join("config");
    let files = [
        ("AWS_PROFILE", "keys"),
        ("AWS_SHARED_CREDENTIALS_FILE", file.to_str().unwrap()),
        ("AWS_CONFIG_FILE", config.to_str().unwrap()),
    ];
    let ecr = ambient(&aws, &files);
    assert_pulls_only(&aws, &ecr.pull_token().await.unwrap());

    aws.revoke("old");
    let error = ecr.pull().await.unwrap_err();
    assert!(
        matches!(&error, IssueError::Rejected(why) if why.contains("does not know the access key")),
        "{error:?}"
    );
    write_profile(&file, "new", "");
    aws.calls();
    assert_pulls_only(&aws, &ecr.pull_token().await.unwrap());
    assert_eq!(aws.calls()[0], "GetAuthorizationToken by user/new");
}

#[tokio::test]
async fn a_profile_may_name_a_role() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("credentials");
    let aws = Aws::start().await;
    aws.user("robot", &["sts:AssumeRole"]);
    let role = aws.role("pusher", None, None);
    let more = format!("[assumed]\nrole_arn = {role}\nsource_profile = keys\n");
    write_profile(&file, "robot", &more);
    let files = [
        ("AWS_PROFILE", "assumed"),
        ("AWS_SHARED_CREDENTIALS_FILE", file.to_str().unwrap()),
    ];
    let pushed = ambient(&aws, &files).push_token().await.unwrap();
    assert_pushes(&aws, &pushed);
    let asked = [
        "AssumeRole by user/robot",
        "GetAuthorizationToken by assumed-role/role/session",
    ];
    assert_eq!(aws.calls(), asked);
}

#[tokio::test]
async fn keys_that_were_given_go_before_those_of_the_environment() {
    let aws = Aws::start().await;
    aws.user("robot", &["sts:GetFederationToken"]);
    aws.user("other", &["sts:GetFederationToken"]);
    let (id, secret) = (key_of("other"), secret_of("other"));
    let mut ecr = with_keys(&aws, "robot");
    ecr.world = World::of(&[
        ("AWS_ACCESS_KEY_ID", &id),
        ("AWS_SECRET_ACCESS_KEY", &secret),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:1"),
        ("AWS_REGION", "us-east-1"),
    ]);
    assert_pulls_only(&aws, &ecr.pull_token().await.unwrap());
    assert_eq!(aws.calls()[0], "GetAuthorizationToken by user/robot");
}
