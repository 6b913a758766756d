//! The metadata server: what a machine, or a Pod in a cluster with workload identity, knows of itself at Google.

use hyper::{
    StatusCode, Uri,
    header::{HeaderName, HeaderValue},
};
use jiff::Timestamp;

use super::{
    IssueError,
    answer::{Token, refused},
    http::{Http, Lost, Question, encoded, passes},
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
        let authority = metadata.uri("").and_then(|uri| uri.into_parts().authority);
        if authority.is_none_or(|authority| authority.as_str() != metadata.host || authority.as_str().contains('@')) {
            return Err(IssueError::Misconfigured(format!(
                "`{}` is no host of a metadata server (GCE_METADATA_HOST): that is a host, and a port if need be",
                metadata.host.escape_debug()
            )));
        }
        Ok(metadata)
    }

    fn uri(&self, scope: &str) -> Option<Uri> {
        let query = encoded(&[("scopes", scope)]);
        format!(
            "http://{}/computeMetadata/v1/instance/service-accounts/default/token?{}",
            self.host, &*query
        )
        .parse()
        .ok()
    }

    pub(super) async fn token(&self, http: &Http, scope: &str) -> Result<Token, IssueError> {
        let host = &self.host;
        let uri = self.uri(scope).unwrap_or_default();
        let question = Question::get(uri).with(FLAVOR, HeaderValue::from_static(GOOGLE));
        let asked = Timestamp::now();
        let answer = http.ask(&question).await.map_err(|Lost(why)| {
            IssueError::Unavailable(format!(
                "no metadata server of Google's answers at {host} ({why}): where this is not Google Cloud, give `keyJson`; in a cluster of \
                 Google's it is there some seconds after a Pod's start"
            ))
        })?;
        let google = answer.headers.get(FLAVOR).is_some_and(|flavor| flavor == GOOGLE);
        if !google && !passes(answer.status) {
            // Other clouds have something else at the same address.
            return Err(IssueError::Misconfigured(format!(
                "what answers at {host} is no metadata server of Google's: this is not Google Cloud, so give `keyJson`"
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
                     identity, or give `keyJson`"
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

/// An address and no name, as Google's own libraries have it: nobody who answers for names has a say in who is asked.
const HOST: &str = "169.254.169.254";

/// Without it a browser could be made to ask, and in the answer it says that somebody understood.
const FLAVOR: HeaderName = HeaderName::from_static("metadata-flavor");
const GOOGLE: &str = "Google";
