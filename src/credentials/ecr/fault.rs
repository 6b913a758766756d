//! What AWS says when it says no, in sentences that say what to do.
//!
//! Nothing of its own messages is repeated but the right that is missing and whose it is: they quote what was signed, session tokens and all.

use std::{error::Error, fmt, io};

use aws_config::imds::client::error::TokenError;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sts::operation::{
    assume_role::AssumeRoleError, assume_role_with_web_identity::AssumeRoleWithWebIdentityError,
};
use aws_smithy_runtime_api::{
    client::{orchestrator::HttpResponse, result::SdkError},
    http::StatusCode,
};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use super::transport::{Unresolved, chain};
use crate::credentials::IssueError;

/// What was asked of AWS.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    /// The right that it takes, like `ecr:GetAuthorizationToken`.
    pub(super) right: &'static str,
    pub(super) region: &'a str,
}

impl fmt::Display for Asked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (service, action) = self.right.split_once(':').unwrap_or(("", self.right));
        let service = if service == "ecr" { "ECR" } else { "STS" };
        write!(f, "{action} of {service} in {}", self.region)
    }
}

impl Asked<'_> {
    /// What an error of a call means.
    pub(super) fn failed<E>(self, error: &SdkError<E, HttpResponse>) -> IssueError
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        match error {
            SdkError::ServiceError(service) => {
                let said = service.err();
                self.refused(said.code(), said.message().unwrap_or_default(), service.raw().status())
            }
            SdkError::TimeoutError(_) => self.unavailable("was not answered in time"),
            SdkError::ResponseError(response) => self.no_aws(response.raw().status()),
            SdkError::DispatchFailure(failure) => match failure.as_connector_error() {
                Some(error) if error.is_user() => self.unusable(),
                Some(error) => self.unreachable(error),
                None => self.unavailable("could not be sent"),
            },
            _ => self.unusable(),
        }
    }

    /// What a refusal means.
    pub(super) fn refused(self, code: Option<&str>, message: &str, status: StatusCode) -> IssueError {
        let Some(code) = code else {
            return self.no_aws(status);
        };
        // Some services say `…Exception` where others do not.
        match code.strip_suffix("Exception").unwrap_or(code) {
            "AccessDenied" | "UnauthorizedOperation" | "NotAuthorized" => self.denied(message),
            "RequestTimeTooSkewed" | "RequestInTheFuture" => self.skewed(),
            "InvalidSignature" | "SignatureDoesNotMatch" if is_skew(message) => self.skewed(),
            "InvalidSignature" | "SignatureDoesNotMatch" if message.contains("should be scoped to") => {
                IssueError::Misconfigured(format!(
                    "{self} was refused: what answers is of another region; check the region and the endpoint"
                ))
            }
            "InvalidSignature" | "SignatureDoesNotMatch" | "IncompleteSignature" => IssueError::Rejected(format!(
                "{self} was refused: the secret access key is not the one of this access key id; give both anew"
            )),
            "ExpiredToken" | "RequestExpired" => IssueError::Rejected(format!(
                "{self} was refused: the session token has ended; give keys without one, or an identity that renews itself"
            )),
            "UnrecognizedClient" | "InvalidClientTokenId" | "InvalidAccessKeyId" | "MissingAuthenticationToken" => {
                IssueError::Rejected(format!(
                    "{self} was refused: AWS does not know the access key, because it was deleted or deactivated, is of another \
                     partition than the region, or lacks its session token; give one that is active"
                ))
            }
            "OptInRequired" | "RegionDisabled" | "SubscriptionRequired" => {
                IssueError::Misconfigured(format!("{self} was refused: the account has not turned the region on"))
            }
            "InvalidIdentityToken" | "IDPRejectedClaim" | "ExpiredTokenIdentity" => IssueError::Rejected(format!(
                "{self} was refused: AWS does not take the service account's token; IAM needs the cluster's issuer as an OpenID \
                 Connect provider, with the audience sts.amazonaws.com, and the role's trust policy this service account"
            )),
            "InvalidParameter"
            | "Validation"
            | "ValidationError"
            | "InvalidParameterValue"
            | "InvalidTagParameter"
            | "TooManyTags"
            | "MalformedPolicyDocument"
            | "PackedPolicyTooLarge" => IssueError::Misconfigured(format!(
                "{self} was refused: AWS takes something in it for wrong ({}); check the registry id, the role, the external id, \
                 the repository's name and its tags",
                word(code)
            )),
            "LimitExceeded" => IssueError::Rejected(format!(
                "{self} was refused: the account has as many as its quota lets it have; remove some, or have the quota raised"
            )),
            "Throttling"
            | "Throttled"
            | "RequestThrottled"
            | "TooManyRequests"
            | "RequestLimitExceeded"
            | "SlowDown"
            | "RequestThrottledTemporarily" => self.throttled(),
            "IDPCommunicationError" => self.unavailable("failed: AWS cannot reach the cluster's OpenID Connect issuer"),
            _ => match status.as_u16() {
                429 => self.throttled(),
                500.. => self.unavailable(&format!("failed at AWS ({})", word(code))),
                _ => IssueError::Rejected(format!("{self} was refused: {}", word(code))),
            },
        }
    }

    fn denied(self, message: &str) -> IssueError {
        let who = arn_after(message, "User: ").unwrap_or("the identity that Waypost has");
        let right = right_after(message, "not authorized to perform: ").unwrap_or(self.right);
        let trust = if right == "sts:AssumeRole" {
            ", and the role's trust policy must name it"
        } else {
            ""
        };
        IssueError::Rejected(format!(
            "{self} was refused: {who} lacks the right {right}; a policy of it must allow that{trust}"
        ))
    }

    fn skewed(self) -> IssueError {
        self.unavailable("was refused: the clock of this machine is wrong, by more than AWS puts up with; set it")
    }

    fn throttled(self) -> IssueError {
        self.unavailable("was refused: AWS has had too many requests of this account for now")
    }

    /// What came is no answer of AWS.
    fn no_aws(self, status: StatusCode) -> IssueError {
        let status = status.as_u16();
        match status {
            429 => self.throttled(),
            500.. => self.unavailable(&format!("failed with status {status}")),
            _ => self.unavailable(&format!(
                "was answered with status {status} and nothing that AWS says; check the endpoint, and what is between it and here"
            )),
        }
    }

    fn unreachable(self, error: &(dyn Error + 'static)) -> IssueError {
        for error in chain(error) {
            if error.is::<Unresolved>() {
                return self.unavailable(&format!(
                    "could not be sent: the name of its host cannot be looked up; is `{}` how AWS writes the region? If it is, this \
                     machine cannot look names up, or not those (DNS, egress)",
                    self.region
                ));
            }
            if let Some(error) = error.downcast_ref::<rustls::Error>() {
                return self.unavailable(&format!("could not be sent, no TLS connection came about: {error}"));
            }
            match error.downcast_ref::<io::Error>().map(io::Error::kind) {
                Some(io::ErrorKind::ConnectionRefused) => {
                    return self.unavailable("could not be sent: the connection was refused");
                }
                Some(io::ErrorKind::TimedOut) => return self.unavailable("was not answered in time"),
                _ if error.is::<tokio::time::error::Elapsed>() => return self.unavailable("was not answered in time"),
                _ => {}
            }
        }
        self.unavailable("could not be sent, or the connection ended before there was an answer")
    }

    fn unusable(self) -> IssueError {
        IssueError::Misconfigured(format!(
            "{self} cannot be asked for: no request can be made of what is configured; check the region and the endpoint"
        ))
    }

    pub(super) fn unavailable(self, what: &str) -> IssueError {
        IssueError::Unavailable(format!("{self} {what}"))
    }
}

/// Why there is no identity to ask with.
pub(super) fn no_identity(error: &CredentialsError, region: &str) -> IssueError {
    for error in chain(error) {
        // Which it is knows only who asked: both of a service account, or of a profile.
        if let Some(error) = error.downcast_ref::<SdkError<AssumeRoleWithWebIdentityError, HttpResponse>>() {
            let right = "sts:AssumeRoleWithWebIdentity";
            return Asked { right, region }.failed(error);
        }
        if let Some(error) = error.downcast_ref::<SdkError<AssumeRoleError, HttpResponse>>() {
            let right = "sts:AssumeRole";
            return Asked { right, region }.failed(error);
        }
        if let Some(error) = error.downcast_ref::<io::Error>()
            && error.kind() == io::ErrorKind::NotFound
        {
            return IssueError::Misconfigured(
                "the AWS identity that is configured cannot be had: the file with its token is not there; check \
                 AWS_WEB_IDENTITY_TOKEN_FILE and AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"
                    .to_owned(),
            );
        }
        // Whoever has the address of a machine's metadata is not AWS's, or has none for this machine; it is asked last of all.
        if let Some(error) = error.downcast_ref::<SdkError<TokenError, HttpResponse>>()
            && let Some(status) = error.raw_response().map(|response| response.status().as_u16())
            && status < 500
            && status != 429
        {
            return nobody();
        }
        // They say so of parts of theirs that were left out of Waypost.
        if error.to_string().contains("cargo feature") {
            return IssueError::Misconfigured(
                "the AWS profile signs in by a browser or by running a program, and Waypost does neither; give it keys, a role \
                 or what `aws configure export-credentials` prints"
                    .to_owned(),
            );
        }
    }
    match error {
        CredentialsError::CredentialsNotLoaded(_) => nobody(),
        CredentialsError::InvalidConfiguration(_) => IssueError::Misconfigured(
            "the AWS identity that is configured cannot be had: check the variables AWS_… of Waypost's environment and the files that \
             they name"
                .to_owned(),
        ),
        CredentialsError::ProviderTimedOut(_) => {
            IssueError::Unavailable(format!("the AWS identity was not had in time; where this is not AWS, {GIVE}"))
        }
        _ => IssueError::Unavailable(format!(
            "the AWS identity could not be had: whoever issues it (the machine's metadata, EKS Pod Identity, STS) gave no answer of \
             use; where this is not AWS, {GIVE}"
        )),
    }
}

/// None was given, and none was found anywhere.
fn nobody() -> IssueError {
    IssueError::Misconfigured(format!(
        "there is no AWS identity here: no keys were given, and none is in the environment, a profile, a service account's role \
         (IRSA), EKS Pod Identity or the machine's metadata (which Pods reach only where its hop limit is 2); {GIVE}"
    ))
}

fn is_skew(message: &str) -> bool {
    message.contains("Signature expired") || message.contains("Signature not yet current")
}

/// The ARN that follows, where it looks like one.
fn arn_after<'m>(message: &'m str, before: &str) -> Option<&'m str> {
    let rest = message.split_once(before)?.1;
    let end = rest
        .find(|c: char| !(c.is_ascii_alphanumeric() || ":/_+=,.@-".contains(c)))
        .unwrap_or(rest.len());
    let arn = &rest[..end];
    (arn.starts_with("arn:") && arn.len() <= MOST_OF_AN_ARN).then_some(arn)
}

/// The right that follows, where it looks like one.
fn right_after<'m>(message: &'m str, before: &str) -> Option<&'m str> {
    let rest = message.split_once(before)?.1;
    let end = rest
        .find(|c: char| !(c.is_ascii_alphanumeric() || c == ':' || c == '-'))
        .unwrap_or(rest.len());
    let right = &rest[..end];
    let (service, action) = right.split_once(':')?;
    let short = !action.is_empty() && right.len() <= MOST_OF_A_WORD;
    (short && matches!(service, "ecr" | "sts" | "iam")).then_some(right)
}

/// A code as AWS has them, or nothing of it.
fn word(code: &str) -> &str {
    let is_word = code.len() <= MOST_OF_A_WORD && code.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.');
    if is_word { code } else { "an error without a name" }
}

/// What whoever has no identity can do.
const GIVE: &str = "give an access key (`accessKeyId` and `secretAccessKey`, by REST `access_key_id` and `secret_access_key`), or run \
                    Waypost where there is a role (docs/ecr.md)";

/// Characters, as IAM has it for roles with their paths.
const MOST_OF_AN_ARN: usize = 700;

const MOST_OF_A_WORD: usize = 64;
