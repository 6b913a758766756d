//! How a registry is asked by somebody: Basic, or a token that is issued for a credential or for anybody.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use hyper::{
    HeaderMap, Method, StatusCode, Uri,
    body::Bytes,
    header::{HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE},
};
use jiff::{Timestamp, fmt::rfc2822};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::{
    Remote,
    challenge::{self, Challenge},
    exchange::{ANSWER, Answer, Body, Question, full, host_of, origin},
    fault::Fault,
    realm::Allowed,
    token::{Issued, Key},
};
use crate::registry::Login;

/// How a registry wants to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// With the credential itself.
    Basic,
    /// With a token.
    Bearer {
        /// Where it is issued.
        realm: Uri,
        /// What for.
        service: Option<String>,
    },
}

/// Why nobody may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// The credential is not taken, or nobody gets in without one.
    Rejected,
    /// Not now, and perhaps for how long.
    Limited(Option<Duration>),
    /// It did not come to that.
    Fault(Fault),
}

/// What a registry is asked, as often as it takes.
pub(super) struct Wanted<'w> {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    /// What a token has to be for, where one is needed: several with spaces between them.
    pub(super) scope: Option<&'w str>,
    pub(super) login: Option<&'w Login>,
    pub(super) body: Option<Bytes>,
    /// Until the head of the answer is there.
    pub(super) within: Duration,
}

impl<'w> Wanted<'w> {
    pub(super) fn new(method: Method, uri: Uri, scope: Option<&'w str>, login: Option<&'w Login>) -> Self {
        Self {
            method,
            uri,
            headers: HeaderMap::new(),
            scope,
            login,
            body: None,
            within: ANSWER,
        }
    }
}

impl From<Fault> for Denied {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Known {
    /// The best of what was offered. `from`: whoever offered it.
    pub(super) fn of(answer: &Answer) -> Result<Self, Fault> {
        let headers = answer.headers().get_all(WWW_AUTHENTICATE);
        Self::best(&challenge::parse(headers.iter().map(HeaderValue::as_bytes)))
    }

    fn best(challenges: &[Challenge]) -> Result<Self, Fault> {
        // A token says less to whoever reads it than a password.
        for challenge in challenges.iter().filter(|challenge| challenge.scheme == "bearer") {
            let realm = challenge.parameter("realm").and_then(|realm| realm.parse::<Uri>().ok());
            let Some(realm) = realm.filter(|realm| realm.host().is_some_and(|host| !host.is_empty())) else {
                continue;
            };
            let service = challenge.parameter("service").map(str::to_owned);
            return Ok(Self::Bearer { realm, service });
        }
        if challenges.iter().any(|challenge| challenge.scheme == "basic") {
            return Ok(Self::Basic);
        }
        let mut schemes: Vec<_> = challenges.iter().map(|challenge| challenge.scheme.as_str()).collect();
        schemes.truncate(3);
        let schemes = match (schemes.is_empty(), schemes.contains(&"bearer")) {
            (true, _) => "it names none".to_owned(),
            (_, true) => "Bearer, without saying where tokens are issued".to_owned(),
            _ => schemes.join(", "),
        };
        Err(Fault::Scheme { schemes })
    }
}

impl Remote {
    /// Asks as whoever the login is for, or as anybody, with what it takes: what is known of how this registry wants to be asked is tried
    /// first.
    pub(super) async fn ask(&self, wanted: &Wanted<'_>) -> Result<Answer, Denied> {
        let Wanted {
            method,
            uri,
            headers,
            scope,
            login,
            body,
            within,
        } = wanted;
        let (scope, login) = (*scope, *login);
        // What is said to somebody else is said as nobody.
        let is_here = origin(uri) == origin(&self.base);
        let mut known = self.known().filter(|_| is_here);
        let mut fresh = false;
        for attempt in 0.. {
            let (authorization, kept) = match &known {
                Some(known) => self.authorized(known, scope, login, fresh).await?,
                None => (None, false),
            };
            let mut question = Question::new(method.clone(), uri.clone(), authorization.as_ref());
            question.headers = headers.clone();
            question.body = body.clone().map(full);
            question.within = *within;
            let answer = self.http.ask(question).await?;
            if answer.status() != StatusCode::UNAUTHORIZED || attempt == 2 || !answer.first_hand || !is_here {
                return Ok(answer);
            }
            // At first nothing was known, or what was is not so any more: a token that was kept may have been withdrawn. With a new one the
            // credential is not taken.
            let wanted = match Known::of(&answer) {
                Ok(wanted) => wanted,
                // Harbor says so that there is no such project: what was shown was looked at.
                Err(_) if authorization.is_some() => return Ok(answer),
                Err(fault) => return Err(fault.into()),
            };
            if attempt > 0 && !kept && known.as_ref() == Some(&wanted) {
                return Ok(answer);
            }
            answer.finish().await;
            self.remember(wanted.clone());
            known = Some(wanted);
            fresh = authorization.is_some();
        }
        Err(Denied::Rejected)
    }

    /// Sends a stream, once, with what was found to be wanted when it was asked before. `within` is for the whole of it. Also says whether a
    /// token was not taken: it is forgotten then, and whoever asks next has a new one.
    pub(super) async fn send(&self, wanted: &Wanted<'_>, body: Body) -> Result<(Answer, bool), Denied> {
        let is_here = origin(&wanted.uri) == origin(&self.base);
        let known = self.known().filter(|_| is_here);
        let authorization = match &known {
            Some(known) => self.authorization(known, wanted.scope, wanted.login, false).await?,
            None => None,
        };
        let mut question = Question::new(wanted.method.clone(), wanted.uri.clone(), authorization.as_ref());
        question.headers = wanted.headers.clone();
        question.body = Some(body);
        question.within = wanted.within;
        let answer = self.http.ask(question).await?;
        let refused = answer.status() == StatusCode::UNAUTHORIZED && answer.first_hand;
        match known {
            Some(Known::Bearer { realm, service }) if refused => {
                let uri = self::question(&realm, service.as_deref(), wanted.scope);
                self.tokens.forget(&self.key(uri, wanted.scope, wanted.login));
                Ok((answer, true))
            }
            _ => Ok((answer, false)),
        }
    }

    /// What a token is kept by that is issued there.
    fn key(&self, realm: String, scope: Option<&str>, login: Option<&Login>) -> Key {
        Key {
            registry: self.id.clone(),
            whose: self.whose(login),
            realm,
            scope: scope.unwrap_or_default().to_owned(),
        }
    }

    /// What a request has to carry. None where anybody asks and no token is issued for that.
    pub(super) async fn authorization(
        &self,
        known: &Known,
        scope: Option<&str>,
        login: Option<&Login>,
        fresh: bool,
    ) -> Result<Option<HeaderValue>, Denied> {
        Ok(self.authorized(known, scope, login, fresh).await?.0)
    }

    /// The same, and whether it was kept from before.
    async fn authorized(
        &self,
        known: &Known,
        scope: Option<&str>,
        login: Option<&Login>,
        fresh: bool,
    ) -> Result<(Option<HeaderValue>, bool), Denied> {
        let (realm, service) = match (known, login) {
            (Known::Basic, None) => return Ok((None, false)),
            (Known::Basic, Some(login)) => return Ok((Some(basic(login)), false)),
            (Known::Bearer { realm, service }, _) => (realm, service.as_deref()),
        };
        let uri = question(realm, service, scope);
        let key = self.key(uri.clone(), scope, login);
        if fresh {
            self.tokens.forget(&key);
        } else if let Some(token) = self.tokens.find(&key, Instant::now()) {
            return Ok((Some(token), true));
        }
        let issued = self.issue(realm, &uri, login).await?;
        let authorization = issued.authorization().ok_or_else(|| no_token(realm))?;
        self.tokens
            .keep(key, authorization.clone(), issued.lasts, Instant::now());
        Ok((Some(authorization), false))
    }

    /// Has a token issued, for a credential or for anybody.
    pub(super) async fn token(
        &self,
        realm: &Uri,
        service: Option<&str>,
        scope: Option<&str>,
        login: Option<&Login>,
    ) -> Result<Issued, Denied> {
        self.issue(realm, &question(realm, service, scope), login).await
    }

    async fn issue(&self, realm: &Uri, uri: &str, login: Option<&Login>) -> Result<Issued, Denied> {
        let allowed = self.realms.allows(realm);
        if allowed == Allowed::Nothing || login.is_some() && allowed != Allowed::Credential {
            let scheme = realm.scheme_str().unwrap_or_default();
            // Without whatever somebody put before an `@`.
            let host = host_of(realm);
            let realm = format!("{scheme}://{host}");
            // Without TLS, or with an `@`, it would not be sent there whoever named the host.
            let host = Some(host).filter(|_| scheme == "https" && allowed == Allowed::Anonymous);
            return Err(Fault::ForeignRealm { realm, host }.into());
        }
        let tokens = |what: &str| Fault::Tokens {
            host: host_of(realm),
            what: what.to_owned(),
        };
        let uri = uri
            .parse()
            .map_err(|_| tokens("nothing can be asked: the address is too long"))?;
        let authorization = login.map(basic);
        let mut question = Question::new(Method::GET, uri, authorization.as_ref());
        // What is issued elsewhere, without the credential, would be a token for anybody.
        question.follow = false;
        let answer = self.http.ask(question).await?;
        let status = answer.status();
        let denied = match status {
            StatusCode::OK => {
                let json = Zeroizing::new(answer.read(LONGEST_TOKEN).await?.to_vec());
                return Issued::read(&json).ok_or_else(|| no_token(realm));
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Denied::Rejected,
            StatusCode::TOO_MANY_REQUESTS => Denied::Limited(retry_after(answer.headers(), Timestamp::now())),
            status if status.is_server_error() => Denied::Fault(Fault::Server {
                host: host_of(realm),
                status,
            }),
            status => Denied::Fault(tokens(&format!("the answer is {status}"))),
        };
        answer.finish().await;
        Err(denied)
    }
}

/// Where a token is asked for: the realm, with what it is to be for.
fn question(realm: &Uri, service: Option<&str>, scope: Option<&str>) -> String {
    let mut uri = realm.to_string();
    // Of several scopes each is asked for by itself, as distribution's specification has it.
    let scopes = scope.into_iter().flat_map(str::split_ascii_whitespace);
    let asked = service.map(|service| ("service", service)).into_iter();
    for (name, value) in asked.chain(scopes.map(|scope| ("scope", scope))) {
        uri.push(if uri.contains('?') { '&' } else { '?' });
        uri.push_str(name);
        uri.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~:/,".contains(&byte) {
                uri.push(char::from(byte));
            } else {
                uri.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    uri
}

/// The header that carries a credential itself.
pub(super) fn basic(login: &Login) -> HeaderValue {
    let pair = Zeroizing::new(format!("{}:{}", login.username, login.password.expose()));
    let text = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
    let mut value = HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("Basic"));
    value.set_sensitive(true);
    value
}

/// For how long somebody wants to be left alone (RFC 9110, section 10.2.3): seconds, or until when.
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(Duration::try_from(until.duration_since(now)).unwrap_or_default())
}

fn no_token(realm: &Uri) -> Denied {
    let fault = Fault::Tokens {
        host: host_of(realm),
        what: "the answer has no token in it".to_owned(),
    };
    Denied::Fault(fault)
}

/// Bytes. Those of big organizations list every repository that they are for.
const LONGEST_TOKEN: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn best(header: &str) -> Result<Known, Fault> {
        Known::best(&challenge::parse([header.as_bytes()]))
    }

    #[test]
    fn a_token_is_preferred_and_a_realm_that_is_none_is_not_used() {
        let bearer = |realm: &str, service: Option<&str>| {
            Ok(Known::Bearer {
                realm: realm.parse().unwrap(),
                service: service.map(str::to_owned),
            })
        };
        assert_eq!(
            best(r#"Basic realm="x", Bearer realm="https://r.io/t",service="s""#),
            bearer("https://r.io/t", Some("s"))
        );
        assert_eq!(best(r#"Bearer realm="https://r.io/t""#), bearer("https://r.io/t", None));
        for header in [
            r#"Bearer realm="/token", Basic realm="x""#,
            "basic",
            r#"BASIC realm="""#,
        ] {
            assert_eq!(best(header), Ok(Known::Basic), "{header}");
        }
        for (header, schemes) in [
            ("", "it names none"),
            ("Negotiate, NTLM", "negotiate, ntlm"),
            ("Bearer service=x", "Bearer, without saying where tokens are issued"),
        ] {
            let schemes = schemes.to_owned();
            assert_eq!(best(header), Err(Fault::Scheme { schemes }), "{header}");
        }
    }

    #[test]
    fn a_question_for_a_token_is_added_to_its_address() {
        let ask = |realm: &str, service, scope| question(&realm.parse().unwrap(), service, scope);
        assert_eq!(ask("https://r.io/t", None, None), "https://r.io/t");
        assert_eq!(
            ask(
                "https://r.io/t?a=b",
                Some("My registry&x"),
                Some("repository:o/x:pull,push")
            ),
            "https://r.io/t?a=b&service=My%20registry%26x&scope=repository:o/x:pull,push"
        );
    }

    #[test]
    fn a_wait_is_read_in_both_of_its_forms() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("120", Some(120)),
            ("Sat, 21 Nov 2026 12:01:00 GMT", Some(60)),
            ("Sat, 21 Nov 2026 11:00:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(text).unwrap())]);
            assert_eq!(retry_after(&headers, now), expected.map(Duration::from_secs), "{text}");
        }
    }

    #[test]
    fn a_credential_is_not_shown_by_what_carries_it() {
        let login = Login {
            username: "u".to_owned(),
            password: crate::registry::Password::new("hunter2".to_owned()),
        };
        let value = basic(&login);
        assert_eq!(value.as_bytes(), b"Basic dTpodW50ZXIy");
        assert!(!format!("{value:?}").contains("dTpodW50ZXIy"));
    }
}
