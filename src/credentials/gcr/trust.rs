//! To whom the assertion of a key, or a token, is sent: Google, and who was named besides.

use hyper::Uri;

use super::IssueError;

/// Google, and who was named besides.
pub(super) struct Trust {
    origins: Vec<Origin>,
    /// Where service accounts are impersonated.
    pub(super) iam_credentials: String,
}

/// Scheme, host and port.
type Origin = (String, String, u16);

impl Trust {
    pub(super) fn new(trusted: &[String], iam_credentials: Option<&str>) -> Result<Self, IssueError> {
        let mut origins = Vec::new();
        for named in trusted.iter().map(String::as_str).chain(iam_credentials) {
            let origin = named.parse::<Uri>().ok().and_then(|uri| origin(&uri));
            origins.push(origin.ok_or_else(|| {
                let named = named.escape_debug();
                IssueError::Misconfigured(format!(
                    "`{named}` is no origin: that is https://, a host, and a port if need be"
                ))
            })?);
        }
        let iam_credentials = iam_credentials
            .unwrap_or(IAM_CREDENTIALS)
            .trim_end_matches('/')
            .to_owned();
        Ok(Self {
            origins,
            iam_credentials,
        })
    }

    /// Where the assertion of a key is sent by what its file says.
    pub(super) fn issuer(&self, uri: &str, what: &str) -> Result<Uri, IssueError> {
        self.check(uri, what, "token_uri", |host| ISSUERS.contains(&host))
    }

    /// Where tokens of somebody else's are exchanged for Google's, by what a configuration says.
    pub(super) fn exchange(&self, uri: &str, what: &str, key: &str) -> Result<Uri, IssueError> {
        self.check(uri, what, key, |host| host.ends_with(".googleapis.com"))
    }

    fn check(&self, uri: &str, what: &str, key: &str, google: impl Fn(&str) -> bool) -> Result<Uri, IssueError> {
        let parsed = uri.parse::<Uri>().ok().and_then(|uri| Some((origin(&uri)?, uri)));
        let Some((origin, uri)) = parsed else {
            let wrong = format!("the `{key}` of {what} is no address: https://, a host and a path");
            return Err(IssueError::Misconfigured(wrong));
        };
        let (scheme, host, port) = &origin;
        if scheme == "https" && *port == 443 && google(host) || self.origins.contains(&origin) {
            return Ok(uri);
        }
        Err(IssueError::Misconfigured(format!(
            "the `{key}` of {what} is at {scheme}://{host}:{port}, which is not Google's: nothing is sent there, unless \
             `issuers.google.trusted` of Waypost's configuration names it"
        )))
    }
}

/// Without whatever is before an `@`, which is nobody's way to name a host.
fn origin(uri: &Uri) -> Option<Origin> {
    let scheme = uri.scheme_str()?.to_ascii_lowercase();
    let default = match &*scheme {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let plain = uri
        .authority()
        .is_some_and(|authority| !authority.as_str().contains('@'));
    let host = uri
        .host()
        .filter(|host| plain && !host.is_empty())?
        .to_ascii_lowercase();
    Some((scheme, host, uri.port_u16().unwrap_or(default)))
}

/// Where keys' assertions are taken: what Google has written into the files of keys over the years.
const ISSUERS: [&str; 3] = ["oauth2.googleapis.com", "accounts.google.com", "www.googleapis.com"];

const IAM_CREDENTIALS: &str = "https://iamcredentials.googleapis.com";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_goes_to_google_and_to_who_was_named() {
        let trust = Trust::new(&["http://127.0.0.1:4000".to_owned()], None).unwrap();
        for (uri, expected) in [
            ("https://oauth2.googleapis.com/token", true),
            ("https://OAUTH2.googleapis.com:443/token", true),
            ("https://accounts.google.com/o/oauth2/token", true),
            ("https://www.googleapis.com/oauth2/v4/token", true),
            ("http://127.0.0.1:4000/token", true),
            ("http://oauth2.googleapis.com/token", false),
            ("https://oauth2.googleapis.com:8443/token", false),
            ("https://oauth2.googleapis.com@evil.com/token", false),
            ("https://evil.com@oauth2.googleapis.com/token", false),
            ("https://oauth2.googleapis.com.evil.com/token", false),
            ("https://sts.googleapis.com/v1/token", false),
            ("https://evil.com/oauth2.googleapis.com", false),
            ("https://127.0.0.1:4000/token", false),
            ("http://127.0.0.1:4001/token", false),
            ("file:///token", false),
            ("/token", false),
            ("", false),
        ] {
            assert_eq!(trust.issuer(uri, "x").is_ok(), expected, "{uri}");
        }
    }

    #[test]
    fn a_token_is_exchanged_at_any_service_of_googles() {
        let trust = Trust::new(&[], Some("http://localhost:1/")).unwrap();
        for (uri, expected) in [
            ("https://sts.googleapis.com/v1/token", true),
            ("https://sts.europe-west1.rep.googleapis.com/v1/token", true),
            ("https://iamcredentials-psc.p.googleapis.com/v1/x", true),
            ("http://localhost:1/v1/x", true),
            ("https://googleapis.com/v1/token", false),
            ("https://evilgoogleapis.com/v1/token", false),
            ("https://sts.googleapis.com.evil.com/v1/token", false),
            ("http://sts.googleapis.com/v1/token", false),
        ] {
            assert_eq!(trust.exchange(uri, "x", "token_url").is_ok(), expected, "{uri}");
        }
        assert_eq!(trust.iam_credentials, "http://localhost:1");
        assert!(Trust::new(&["corp".to_owned()], None).is_err());
    }
}
