//! The tokens of a service account for somebody who is allowed to have them.

use hyper::{StatusCode, Uri};
use jiff::Timestamp;
use serde_json::json;

use super::{
    IssueError,
    answer::{Token, refused},
    http::{Http, Question},
    trust::Trust,
};
use crate::registry::{Password, google::is_account};

/// A service account whose tokens are wanted.
pub(super) struct Impersonation {
    uri: Uri,
    /// Seconds.
    lasts: u32,
}

impl Impersonation {
    pub(super) fn of(email: &str, trust: &Trust) -> Result<Self, IssueError> {
        let wrong = || {
            let email = email.escape_debug();
            IssueError::Misconfigured(format!(
                "`{email}` is no service account: that is an e-mail address, NAME@PROJECT.iam.gserviceaccount.com"
            ))
        };
        let account = account(email).ok_or_else(wrong)?;
        let iam = &trust.iam_credentials;
        let uri = format!("{iam}/v1/projects/-/serviceAccounts/{account}:generateAccessToken");
        Ok(Self::at(uri.parse().map_err(|_| wrong())?, None))
    }

    /// Where a configuration says so.
    pub(super) fn at(uri: Uri, lasts: Option<u32>) -> Self {
        let lasts = lasts.unwrap_or(LASTS);
        Self { uri, lasts }
    }

    /// Its token, for whoever has this one.
    pub(super) async fn token(&self, http: &Http, own: &Password, scope: &str) -> Result<Token, IssueError> {
        let lifetime = format!("{}s", self.lasts);
        let question = Question::json(self.uri.clone(), &json!({"scope": [scope], "lifetime": lifetime}));
        let who = format!("Google ({})", self.uri.host().unwrap_or_default());
        let asked = Timestamp::now();
        let answer = http
            .ask(&question.by("Bearer", own)?)
            .await
            .map_err(|lost| lost.of(&who))?;
        if answer.status == StatusCode::OK {
            return Token::of_iam(&answer, asked, &who);
        }
        Err(refused(&answer, &who, |said| {
            let account = self.account();
            if said.has("has not been used") {
                return format!(
                    "{account} cannot be impersonated: enable the IAM Service Account Credentials API in its project"
                );
            }
            if said.has("disabled") {
                return format!("{account} cannot be impersonated: it is disabled; enable it, or name another");
            }
            format!(
                "{account} cannot be impersonated: give whoever Waypost is there the role roles/iam.serviceAccountTokenCreator on it \
                 (roles/iam.workloadIdentityUser where it comes by workload identity federation), if there is such an account"
            )
        }))
    }

    /// Of its address.
    fn account(&self) -> &str {
        let path = self.uri.path();
        let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
        name.split_once(':').map_or(name, |(account, _)| account)
    }
}

/// The e-mail address of an account, if it is one.
pub(super) fn account(email: &str) -> Option<String> {
    is_account(email).then(|| email.to_owned())
}

/// Seconds: the longest that needs no leave of an organisation.
const LASTS: u32 = 3_600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_an_address_that_fits_into_a_path() {
        for (email, expected) in [
            ("pull@my-project.iam.gserviceaccount.com", true),
            ("123-compute@developer.gserviceaccount.com", true),
            ("a@b/../c", false),
            ("a@b?c", false),
            ("a:b@c", false),
            ("a@b@c", false),
            ("@b", false),
            ("a@", false),
            ("a", false),
            ("ä@b", false),
            ("a b@c", false),
        ] {
            assert_eq!(account(email).is_some(), expected, "{email}");
        }
    }
}
