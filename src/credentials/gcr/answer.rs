//! What Google answers: a token and when it ends, or why there is none.

use std::time::Duration;

use hyper::{HeaderMap, StatusCode, header::DATE};
use jiff::{SignedDuration, Timestamp, fmt::rfc2822};
use serde::Deserialize;
use serde_json::Value;

use super::{
    IssueError,
    http::{Answer, Lost, passes},
};
use crate::registry::Password;

/// An access token, and when it ends by this machine's clock.
pub(super) struct Token {
    pub(super) token: Password,
    pub(super) expires_at: Timestamp,
}

impl Token {
    /// What OAuth 2.0 and the metadata server answer. `asked`: when, by this machine's clock, which nobody else's has to agree with.
    pub(super) fn of_oauth(answer: &Answer, asked: Timestamp, who: &str) -> Result<Self, IssueError> {
        #[derive(Deserialize)]
        struct Fields {
            access_token: Password,
            expires_in: Option<Value>,
        }
        let Fields {
            access_token,
            expires_in,
        } = serde_json::from_slice(&answer.body).map_err(|_| nothing(who, "there is no access token in its answer"))?;
        // A number, or its digits in a string.
        let lasts = expires_in.and_then(|seconds| match seconds {
            Value::String(seconds) => seconds.parse().ok(),
            seconds => seconds.as_f64(),
        });
        let lasts = lasts.and_then(|seconds| SignedDuration::try_from_secs_f64(seconds).ok());
        Self::lasting(access_token, lasts, asked, who)
    }

    /// What a service account that is impersonated gets: its end is by Google's clock.
    pub(super) fn of_iam(answer: &Answer, asked: Timestamp, who: &str) -> Result<Self, IssueError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Fields {
            access_token: Password,
            expire_time: Option<String>,
        }
        let Fields {
            access_token,
            expire_time,
        } = serde_json::from_slice(&answer.body).map_err(|_| nothing(who, "there is no access token in its answer"))?;
        let now = date(&answer.headers).unwrap_or(asked);
        let lasts = expire_time
            .and_then(|time| time.parse::<Timestamp>().ok())
            .map(|end| end.duration_since(now));
        Self::lasting(access_token, lasts, asked, who)
    }

    fn lasting(
        token: Password,
        lasts: Option<SignedDuration>,
        asked: Timestamp,
        who: &str,
    ) -> Result<Self, IssueError> {
        let text = token.expose();
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(nothing(who, "what it calls an access token is none"));
        }
        // Whoever renews it has to know when.
        let lasts = lasts.ok_or_else(|| nothing(who, "its answer does not say when the token ends"))?;
        let lasts = lasts.min(LONGEST);
        if lasts <= SignedDuration::ZERO {
            return Err(nothing(who, "the token of its answer has ended already"));
        }
        let expires_at = asked
            .checked_add(lasts)
            .map_err(|_| nothing(who, "the token of its answer never ends"))?;
        Ok(Self { token, expires_at })
    }
}

fn nothing(who: &str, why: &str) -> IssueError {
    IssueError::Unavailable(format!("{who} has issued no token: {why}"))
}

impl Lost {
    /// For somebody who has to answer, and may later.
    pub(super) fn of(self, who: &str) -> IssueError {
        let Self { why, is_no_way } = self;
        let way = if is_no_way {
            "; is there a way there from here (DNS, egress)?"
        } else {
            ""
        };
        IssueError::Unavailable(format!("{who} cannot be asked: {why}{way}"))
    }
}

/// When an answer was made, by the clock of whoever made it.
pub(super) fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let text = headers.get(DATE)?.to_str().ok()?;
    rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

/// Why there is no token, as it is said: the code of OAuth 2.0 (`invalid_grant`) or of Google's APIs (`PERMISSION_DENIED`), and a sentence.
pub(super) struct Said {
    pub(super) code: String,
    pub(super) sentence: String,
}

impl Said {
    pub(super) fn of(answer: &Answer) -> Self {
        let text = String::from_utf8_lossy(&answer.body);
        let json: Value = serde_json::from_str(&text).unwrap_or_default();
        let field = |value: &Value, key: &str| value[key].as_str().map(str::to_owned);
        let (code, sentence) = match &json["error"] {
            Value::String(code) => (Some(code.clone()), field(&json, "error_description")),
            error @ Value::Object(_) => (field(error, "status"), field(error, "message")),
            // The metadata server says it in plain words, and whoever stands in its way by a page.
            _ if json.is_null() && !text.trim_start().starts_with('<') => (None, Some(text.into_owned())),
            _ => (None, None),
        };
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let code = code.filter(|code| code.len() <= 40 && code.chars().all(word));
        Self {
            code: code.unwrap_or_default(),
            sentence: plain(&sentence.unwrap_or_default()),
        }
    }

    /// Whether the sentence has this in it, in whatever case.
    pub(super) fn has(&self, words: &str) -> bool {
        self.sentence.to_ascii_lowercase().contains(words)
    }

    /// For whoever reads it behind a sentence of ours.
    pub(super) fn quoted(&self, status: StatusCode) -> String {
        let code = if self.code.is_empty() {
            status.as_u16().to_string()
        } else {
            self.code.clone()
        };
        if self.sentence.is_empty() {
            format!("({code})")
        } else {
            format!("({code}: {})", self.sentence)
        }
    }
}

/// What was refused, where it is nothing that passes.
pub(super) fn refused(answer: &Answer, who: &str, why: impl FnOnce(&Said) -> String) -> IssueError {
    let status = answer.status;
    if passes(status) {
        return IssueError::Unavailable(format!("{who} answers {status}"));
    }
    if !status.is_client_error() {
        return nothing(who, &format!("it answers {status}"));
    }
    let said = Said::of(answer);
    if matches!(
        &*said.code,
        "temporarily_unavailable" | "server_error" | "internal_failure" | "rate_limit_exceeded"
    ) {
        return IssueError::Unavailable(format!("{who} has issued no token {}", said.quoted(status)));
    }
    IssueError::Rejected(format!("{} {}", why(&said), said.quoted(status)))
}

/// A sentence of somebody else's, fit to be shown: without whatever could be a token, or differs from one time to the next.
fn plain(sentence: &str) -> String {
    let mut words = String::new();
    for word in sentence.split_whitespace() {
        let digits = word.chars().filter(char::is_ascii_digit).count();
        let readable = word.len() <= LONGEST_WORD && digits < 9 && word.chars().all(|c| c.is_ascii_graphic());
        let word = if readable { word } else { "…" };
        if words.len() + word.len() >= LONGEST_SENTENCE {
            words.push_str(" …");
            break;
        }
        if !words.is_empty() {
            words.push(' ');
        }
        words.push_str(word);
    }
    words
}

/// A token of Google's lives for an hour, or for twelve where an organisation allows it.
const LONGEST: SignedDuration = SignedDuration::from_hours(12);

const LONGEST_WORD: usize = 48;
const LONGEST_SENTENCE: usize = 240;

/// As far as clocks may differ before that is said, or allowed for.
pub(super) const SKEW: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    fn answer(status: u16, date: Option<&str>, body: &str) -> Answer {
        let headers = date.map(|date| (DATE, date.parse().unwrap()));
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::from_iter(headers),
            body: Zeroizing::new(body.as_bytes().to_vec()),
        }
    }

    fn asked() -> Timestamp {
        "2026-11-21T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_token_ends_when_it_is_said_to_by_the_clock_of_who_asked() {
        for (body, expected) in [
            (
                r#"{"access_token": "a", "expires_in": 3599, "token_type": "Bearer"}"#,
                Ok(3_599),
            ),
            (r#"{"access_token": "a", "expires_in": "3599"}"#, Ok(3_599)),
            (
                r#"{"access_token": "a", "expires_in": 1e300}"#,
                Err("does not say when"),
            ),
            (r#"{"access_token": "a", "expires_in": 99999999}"#, Ok(43_200)),
            (r#"{"access_token": "a", "expires_in": 0}"#, Err("has ended already")),
            (r#"{"access_token": "a", "expires_in": -5}"#, Err("has ended already")),
            (
                r#"{"access_token": "a", "expires_in": "soon"}"#,
                Err("does not say when"),
            ),
            (r#"{"access_token": "a", "expires_in": null}"#, Err("does not say when")),
            (r#"{"access_token": "a"}"#, Err("does not say when")),
            (
                r#"{"access_token": "", "expires_in": 5}"#,
                Err("calls an access token is none"),
            ),
            (
                r#"{"access_token": "a b", "expires_in": 5}"#,
                Err("calls an access token is none"),
            ),
            (
                r#"{"access_token": 5, "expires_in": 5}"#,
                Err("no access token in its answer"),
            ),
            (r#"{"id_token": "a"}"#, Err("no access token in its answer")),
            ("<html>", Err("no access token in its answer")),
            ("", Err("no access token in its answer")),
        ] {
            // Whatever Google's clock says.
            let answer = answer(200, Some("Sat, 21 Nov 2020 12:00:00 GMT"), body);
            let token = Token::of_oauth(&answer, asked(), "it");
            match (
                token.map(|token| token.expires_at.duration_since(asked()).as_secs()),
                expected,
            ) {
                (Ok(lasts), Ok(expected)) => assert_eq!(lasts, expected, "{body}"),
                (Err(IssueError::Unavailable(error)), Err(expected)) => assert!(error.contains(expected), "{error}"),
                (token, _) => panic!("{body}: {token:?}"),
            }
        }
    }

    #[test]
    fn an_end_by_googles_clock_is_one_by_ours() {
        let body = r#"{"accessToken": "a", "expireTime": "2026-11-21T15:00:00Z"}"#;
        for (date, expected) in [
            (Some("Sat, 21 Nov 2026 14:00:00 GMT"), Some(3_600)),
            (None, Some(3 * 3_600)),
            (Some("Sat, 21 Nov 2026 15:00:01 GMT"), None),
            (Some("nonsense"), Some(3 * 3_600)),
        ] {
            let token = Token::of_iam(&answer(200, date, body), asked(), "it");
            let lasts = token
                .ok()
                .map(|token| token.expires_at.duration_since(asked()).as_secs());
            assert_eq!(lasts, expected, "{date:?}");
        }
    }

    #[test]
    fn what_is_said_is_quoted_without_what_could_be_a_token() {
        let token = format!("ya29.{}", "x".repeat(100));
        for (body, expected) in [
            (
                r#"{"error": "invalid_grant", "error_description": "Invalid JWT Signature."}"#.to_owned(),
                "(invalid_grant: Invalid JWT Signature.)",
            ),
            (
                r#"{"error": {"code": 403, "status": "PERMISSION_DENIED", "message": "No."}}"#.to_owned(),
                "(PERMISSION_DENIED: No.)",
            ),
            (r#"{"error": "a b", "error_description": 5}"#.to_owned(), "(400)"),
            (
                format!(
                    r#"{{"error": "x", "error_description": "token {token} issued at 1780000000\n is \u0007 stale"}}"#
                ),
                "(x: token … issued at … is … stale)",
            ),
            (format!(r#"{{"error": "{token}"}}"#), "(400)"),
            (
                "Unable to generate access token".to_owned(),
                "(400: Unable to generate access token)",
            ),
            ("<html>Sign in".to_owned(), "(400)"),
            ("[5]".to_owned(), "(400)"),
            (String::new(), "(400)"),
        ] {
            let answer = answer(400, None, &body);
            assert_eq!(Said::of(&answer).quoted(answer.status), expected, "{body}");
        }
        let long = Said::of(&answer(400, None, &"word ".repeat(1_000)));
        assert!(
            long.sentence.len() < 260 && long.sentence.ends_with(" …"),
            "{}",
            long.sentence
        );
    }
}
