//! Tokens: what is issued, for whom and for how long it is kept.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use base64::{
    Engine,
    alphabet::URL_SAFE,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use hashbrown::HashMap;
use hyper::header::HeaderValue;
use serde::Deserialize;
use tokio::time::Instant;

use crate::registry::Password;

/// Tokens that are kept until they expire.
#[derive(Default)]
pub(super) struct Tokens {
    kept: Mutex<HashMap<Key, Kept>>,
}

/// What a token is for: nobody gets one that was issued for another's credential, or for another registry.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) registry: Box<str>,
    /// Stands for the credential; none for anybody.
    pub(super) whose: Option<u64>,
    /// Where it was issued, with the service.
    pub(super) realm: String,
    pub(super) scope: String,
}

struct Kept {
    authorization: HeaderValue,
    until: Instant,
}

/// A token as it was issued.
#[derive(Debug)]
pub(super) struct Issued {
    pub(super) token: Password,
    pub(super) lasts: Duration,
}

/// What a token says that its owner may do with a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Granted {
    pub(super) pull: bool,
    pub(super) push: bool,
}

impl Tokens {
    pub(super) fn find(&self, key: &Key, now: Instant) -> Option<HeaderValue> {
        let kept = self.kept();
        let found = kept.get(key).filter(|token| token.until > now)?;
        Some(found.authorization.clone())
    }

    pub(super) fn keep(&self, key: Key, authorization: HeaderValue, lasts: Duration, now: Instant) {
        let Some(until) = lasts.checked_sub(MARGIN).map(|lasts| now + lasts.min(LONGEST)) else {
            return;
        };
        let mut kept = self.kept();
        if kept.len() >= MOST_KEPT && !kept.contains_key(&key) {
            kept.retain(|_, token| token.until > now);
            if kept.len() >= MOST_KEPT {
                // Another one is issued when it is wanted.
                kept.clear();
            }
        }
        kept.insert(key, Kept { authorization, until });
    }

    /// Somebody did not take it.
    pub(super) fn forget(&self, key: &Key) {
        self.kept().remove(key);
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<Key, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Issued {
    /// What an issuer answers; none where there is no token in it.
    pub(super) fn read(json: &[u8]) -> Option<Self> {
        let Answer {
            token,
            access_token,
            expires_in,
        } = serde_json::from_slice(json).ok()?;
        let token = token
            .filter(|token| !token.expose().is_empty())
            .or(access_token)
            .filter(|token| !token.expose().is_empty())?;
        // Sixty seconds where nothing is said, says the specification of distribution's tokens.
        let seconds = expires_in.and_then(|seconds| seconds.as_f64()).unwrap_or(60.0);
        let lasts = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        Some(Self { token, lasts })
    }

    /// The header that carries it.
    pub(super) fn authorization(&self) -> Option<HeaderValue> {
        let text = zeroize::Zeroizing::new(format!("Bearer {}", self.token.expose()));
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// What it says of a repository, where it is a JWT that says anything. Its signature is the registry's to check.
    pub(super) fn granted(&self, repository: &str) -> Option<Granted> {
        let mut parts = self.token.expose().split('.');
        let (_, payload, _, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()) else {
            return None;
        };
        let claims: Claims = serde_json::from_slice(&BASE64.decode(payload).ok()?).ok()?;
        let mut granted = Granted {
            pull: false,
            push: false,
        };
        let here = |access: &&Access| access.kind == "repository" && access.name == repository;
        for action in claims.access?.iter().filter(here).flat_map(|access| &access.actions) {
            granted.pull |= matches!(action.as_str(), "pull" | "*");
            granted.push |= matches!(action.as_str(), "push" | "*");
        }
        Some(granted)
    }
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    token: Option<Password>,
    #[serde(default)]
    access_token: Option<Password>,
    #[serde(default)]
    expires_in: Option<serde_json::Number>,
}

#[derive(Deserialize)]
struct Claims {
    access: Option<Vec<Access>>,
}

#[derive(Deserialize)]
struct Access {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    actions: Vec<String>,
}

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A token that expires on its way is of no use.
const MARGIN: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(3_600);
const MOST_KEPT: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    fn issued(json: &str) -> Option<(String, f64)> {
        let issued = Issued::read(json.as_bytes())?;
        Some((issued.token.expose().to_owned(), issued.lasts.as_secs_f64()))
    }

    #[test]
    fn a_token_is_read_whatever_its_issuer_calls_it() {
        for (json, expected) in [
            (
                r#"{"token": "a", "expires_in": 300, "issued_at": "x"}"#,
                Some(("a", 300.0)),
            ),
            (r#"{"access_token": "a"}"#, Some(("a", 60.0))),
            (
                r#"{"token": "", "access_token": "a", "expires_in": 1.5}"#,
                Some(("a", 1.5)),
            ),
            (r#"{"token": "a", "expires_in": -5}"#, Some(("a", 0.0))),
            (r#"{"token": "a", "expires_in": 1e300}"#, Some(("a", 0.0))),
            (r#"{"token": ""}"#, None),
            (r#"{"token": 5}"#, None),
            ("<html>", None),
        ] {
            let expected = expected.map(|(token, lasts)| (token.to_owned(), lasts));
            assert_eq!(issued(json), expected, "{json}");
        }
    }

    #[test]
    fn what_a_token_grants_is_read_from_it_where_it_says_so() {
        let granted = |payload: &str| {
            let token = Password::new(format!("e30.{}.c2ln", BASE64.encode(payload)));
            Issued {
                token,
                lasts: Duration::ZERO,
            }
            .granted("o/x")
            .map(|granted| (granted.pull, granted.push))
        };
        for (payload, expected) in [
            (
                r#"{"access": [{"type": "repository", "name": "o/x", "actions": ["pull", "push"]}]}"#,
                Some((true, true)),
            ),
            (
                r#"{"access": [{"type": "repository", "name": "o/x", "actions": ["pull"]}]}"#,
                Some((true, false)),
            ),
            (
                r#"{"access": [{"type": "repository", "name": "o/x", "actions": ["*"]}]}"#,
                Some((true, true)),
            ),
            (
                r#"{"access": [{"type": "repository", "name": "o/y", "actions": ["*"]}]}"#,
                Some((false, false)),
            ),
            (r#"{"access": []}"#, Some((false, false))),
            (r#"{"sub": "u"}"#, None),
            ("no json", None),
        ] {
            assert_eq!(granted(payload), expected, "{payload}");
        }
        for token in ["opaque", "a.b", "a.b.c", "a.b.c.d", ""] {
            let token = Password::new(token.to_owned());
            let lasts = Duration::ZERO;
            assert_eq!(Issued { token, lasts }.granted("o/x"), None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_kept_until_shortly_before_it_expires_for_whom_it_was_issued() {
        let key = |whose| Key {
            registry: "r".into(),
            whose,
            realm: String::new(),
            scope: String::new(),
        };
        let (tokens, now) = (Tokens::default(), Instant::now());
        let value = HeaderValue::from_static("x");
        tokens.keep(key(Some(1)), value.clone(), Duration::from_secs(60), now);
        assert_eq!(
            tokens.find(&key(Some(1)), now + Duration::from_secs(49)),
            Some(value.clone())
        );
        assert_eq!(tokens.find(&key(Some(1)), now + Duration::from_secs(50)), None);
        assert_eq!(tokens.find(&key(Some(2)), now), None);
        assert_eq!(tokens.find(&key(None), now), None);
        tokens.keep(key(Some(3)), value.clone(), MARGIN - Duration::from_secs(1), now);
        assert_eq!(tokens.find(&key(Some(3)), now), None);
        for whose in 0..3 * MOST_KEPT as u64 {
            tokens.keep(key(Some(whose)), value.clone(), Duration::from_secs(60), now);
        }
        assert!(tokens.kept().len() <= MOST_KEPT);
    }
}
