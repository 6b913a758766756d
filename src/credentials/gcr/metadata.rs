//! The metadata server: what a machine, or a Pod in a cluster with workload identity, knows of itself at Google.

use hyper::{
    StatusCode, Uri,
    header::{HeaderName, HeaderValue, SERVER},
};
use jiff::Timestamp;

use super::{
    IssueError, KEY,
    answer::{Token, refused},
    http::{Answer, Http, Lost, Question, encoded, passes},
};

/// Where it is.
pub(super) struct Metadata {
    host: String,
}

impl Metadata {
    /// Where it was said to be, or where Google has it.
    pub(super) fn at(host: Option<&str>) -> Result<Self, IssueError> {
        let host = host.unwrap_or(HOST).to_owned();
        let metadata = Self { host };
        let authority = metadata.uri(TOKEN).and_then(|uri| uri.into_parts().authority);
        if authority.is_none_or(|authority| authority.as_str() != metadata.host || authority.as_str().contains('@')) {
            return Err(IssueError::Misconfigured(format!(
                "`{}` is no host of a metadata server (GCE_METADATA_HOST): that is a host, and a port if need be",
                metadata.host.escape_debug()
            )));
        }
        Ok(metadata)
    }

    /// Of what is known of the account.
    fn uri(&self, what: &str) -> Option<Uri> {
        let host = &self.host;
        let uri = format!("http://{host}/computeMetadata/v1/instance/service-accounts/default/{what}");
        uri.parse().ok()
    }

    fn question(&self, what: &str) -> Question {
        let uri = self.uri(what).unwrap_or_default();
        Question::get(uri).with(FLAVOR, HeaderValue::from_static(GOOGLE))
    }

    /// Why a token to pull with can do more, if it can: a plain machine's has the scopes that the machine has, whatever is asked for.
    pub(super) async fn wide(&self, http: &Http) -> Option<String> {
        // Whoever has been told of a token asks once: this is no reason to do without it.
        let answer = http.ask_once(&self.question(SCOPES)).await.ok();
        let scopes = answer.and_then(|answer| {
            if is_of_gke(&answer) {
                return Some(Vec::new());
            }
            let text = str::from_utf8(&answer.body).ok()?;
            (answer.status == StatusCode::OK && !text.trim().is_empty()).then(|| writing(text))
        });
        match scopes {
            Some(scopes) if scopes.is_empty() => None,
            Some(scopes) => Some(format!(
                "the token has more scopes than to pull: {}. A machine of Google's issues tokens with the scopes that it has, whatever is \
                 asked for. {NARROW}",
                scopes.join(", ")
            )),
            None => Some(format!(
                "whether the token may only pull cannot be told: the metadata server at {} does not say which scopes this machine has. {NARROW}",
                self.host
            )),
        }
    }

    pub(super) async fn token(&self, http: &Http, scope: &str) -> Result<Token, IssueError> {
        let host = &self.host;
        let question = self.question(&format!("{TOKEN}?{}", &*encoded(&[("scopes", scope)])));
        let asked = Timestamp::now();
        let answer = http.ask(&question).await.map_err(|Lost { why, .. }| {
            IssueError::Unavailable(format!(
                "no metadata server of Google's answers at {host} ({why}): where this is not Google Cloud, give {KEY}; in a cluster of \
                 Google's it is there some seconds after a Pod's start"
            ))
        })?;
        let google = answer.headers.get(FLAVOR).is_some_and(|flavor| flavor == GOOGLE);
        if !google && !passes(answer.status) {
            // Other clouds have something else at the same address.
            return Err(IssueError::Misconfigured(format!(
                "what answers at {host} is no metadata server of Google's: this is not Google Cloud, so give {KEY}"
            )));
        }
        let who = format!("the metadata server at {host}");
        if answer.status == StatusCode::OK {
            return Token::of_oauth(&answer, asked, &who);
        }
        let missing = answer.status == StatusCode::NOT_FOUND;
        Err(refused(&answer, &who, |_| {
            if missing {
                format!(
                    "{who} knows no service account: give this machine one, or the Pod's Kubernetes service account an identity by workload \
                     identity, or give {KEY}"
                )
            } else {
                format!(
                    "{who} issues no token: the Pod's Kubernetes service account needs roles/iam.workloadIdentityUser on the service account that \
                     its annotation iam.gke.io/gcp-service-account names, or the annotation has to go"
                )
            }
        }))
    }
}

/// As Google's own answers say it: that server goes by the scope that it is asked for, and names `cloud-platform` all the same.
fn is_of_gke(answer: &Answer) -> bool {
    let server = answer.headers.get(SERVER);
    server.is_some_and(|server| server.as_bytes().starts_with(b"GKE Metadata Server"))
}

/// Those of the scopes that allow more than to read, without what all have in common.
fn writing(scopes: &str) -> Vec<String> {
    let mut found = Vec::new();
    for scope in scopes.split_whitespace() {
        let name = scope.strip_prefix("https://www.googleapis.com/auth/").unwrap_or(scope);
        let reads = ["read_only", "readonly", "read-only", ".read"].iter();
        if name.starts_with("userinfo.") || name == "openid" || reads.clone().any(|end| name.ends_with(end)) {
            continue;
        }
        let is_name = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:/".contains(&b));
        let shown = if is_name && name.len() <= MOST_OF_A_SCOPE {
            name
        } else {
            "…"
        };
        if found.len() == MOST_SCOPES {
            found.push("…".to_owned());
            break;
        }
        found.push(shown.to_owned());
    }
    found
}

/// What is to be done about a token that can do more than pull.
const NARROW: &str = "Name an account to pull with (`pullServiceAccount`, `pull_service_account` by REST), give the machine the scope \
                      storage-ro and no other, or an account that may only read";

const TOKEN: &str = "token";
const SCOPES: &str = "scopes";

/// Of the scopes that are named to somebody.
const MOST_SCOPES: usize = 8;
const MOST_OF_A_SCOPE: usize = 64;

/// An address and no name, as Google's own libraries have it: nobody who answers for names has a say in who is asked.
const HOST: &str = "169.254.169.254";

/// Without it a browser could be made to ask, and in the answer it says that somebody understood.
const FLAVOR: HeaderName = HeaderName::from_static("metadata-flavor");
const GOOGLE: &str = "Google";
