//! What can go wrong on the way, what of it passes, and how long that is waited for.

use std::{fmt, time::Duration};

use hyper::StatusCode;
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use super::super::{
    auth::{Denied, retry_after},
    exchange::Answer,
    fault::Fault,
    lane::Lane,
};

/// Where something went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Where the image is read.
    Source,
    /// Where it is written.
    Target,
}

/// Why an image was not copied. Has no credential in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// There is no such image.
    #[error("the {side} has no {what}")]
    Missing {
        /// Where.
        side: Side,
        /// What there is none of.
        what: String,
    },
    /// Whoever asks may not.
    #[error("the {side} refuses to have {what} {}{}{}", side.done(), behind(": ", said.as_deref()), behind("; ", advice.as_deref()))]
    Denied {
        /// Where.
        side: Side,
        /// What may not be read or written.
        what: String,
        /// What the registry says of it.
        said: Option<String>,
        /// What somebody can do about it.
        advice: Option<String>,
    },
    /// The target has no place by this name: somebody has to make it, and the copy goes well then.
    #[error("{host} has no place for {repository}{}; {advice}", behind(": ", said.as_deref()))]
    NoRepository {
        /// The target's host, with its port.
        host: String,
        /// The repository, with its whole path there.
        repository: String,
        /// What the registry says of it.
        said: Option<String>,
        /// What somebody can do about it.
        advice: String,
    },
    /// It does not come to an exchange, or not to the end of one.
    #[error("{0}")]
    Fault(Fault),
    /// It is asked too much.
    #[error("the {side} answers that it is asked too much (429)")]
    Limited {
        /// Where.
        side: Side,
        /// How long it wants to be left alone, where it says.
        wait: Option<Duration>,
    },
    /// It answers with what nobody can do anything with.
    #[error("the {side} answers {status} to {what}{}", behind(": ", said.as_deref()))]
    Answer {
        /// Where.
        side: Side,
        /// What was asked.
        what: String,
        /// The answer.
        status: StatusCode,
        /// What it says.
        said: Option<String>,
    },
    /// What comes is not what its digest says.
    #[error("what the source sends as {0} is something else")]
    OtherContent(String),
    /// It is nothing that can be copied.
    #[error("{0}")]
    Unsupported(String),
}

/// What is said behind something, where something is.
fn behind(sign: &str, text: Option<&str>) -> String {
    text.map(|text| format!("{sign}{text}")).unwrap_or_default()
}

impl Side {
    fn done(self) -> &'static str {
        match self {
            Self::Source => "read",
            Self::Target => "written",
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Target => "target",
        })
    }
}

impl CopyError {
    /// Whether it may go well another time without anybody doing anything.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Limited { .. } | Self::OtherContent(_) => true,
            Self::Fault(fault) => passes(fault),
            Self::Answer { status, .. } => status.is_server_error() || *status == StatusCode::REQUEST_TIMEOUT,
            Self::Missing { .. } | Self::Denied { .. } | Self::NoRepository { .. } | Self::Unsupported(_) => false,
        }
    }

    /// How long somebody wants to be left alone.
    pub fn wait(&self) -> Option<Duration> {
        match self {
            Self::Limited { wait, .. } => *wait,
            _ => None,
        }
    }

    /// What a refusal on the way to an answer means.
    pub(super) fn denied(denied: Denied, side: Side, what: &str) -> Self {
        match denied {
            Denied::Rejected => Self::Denied {
                side,
                what: what.to_owned(),
                said: None,
                advice: None,
            },
            Denied::Limited(wait) => Self::Limited { side, wait },
            Denied::Fault(fault) => Self::Fault(fault),
        }
    }

    /// What an answer means that is none of those that were hoped for. `what` was to be read or written.
    pub(super) async fn of(answer: Answer, side: Side, what: &str) -> Self {
        let status = answer.status();
        let wait = retry_after(answer.headers(), jiff::Timestamp::now());
        let said = answer.read(LONGEST_REFUSAL).await.ok().and_then(|body| said(&body));
        let what = what.to_owned();
        match status {
            StatusCode::TOO_MANY_REQUESTS => Self::Limited { side, wait },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Self::Denied {
                side,
                what,
                said,
                advice: None,
            },
            StatusCode::NOT_FOUND if side == Side::Source => Self::Missing { side, what },
            status => Self::Answer {
                side,
                what,
                status,
                said,
            },
        }
    }
}

/// What goes wrong where nobody has done anything wrong.
fn passes(fault: &Fault) -> bool {
    !matches!(
        fault,
        Fault::Forbidden { .. }
            | Fault::Private { .. }
            | Fault::Tls { .. }
            | Fault::NotHttp { .. }
            | Fault::NotARegistry { .. }
            | Fault::ForeignRealm { .. }
            | Fault::Elsewhere { .. }
            | Fault::Scheme { .. }
            | Fault::Redirects { .. }
            | Fault::TooLong { .. }
    )
}

/// What a registry says in the form that the specification has for it, for people: one line, and not a long one.
fn said(body: &[u8]) -> Option<String> {
    let Errors { errors } = serde_json::from_slice(body).ok()?;
    let Error { code, message } = errors.into_iter().next()?;
    let text = match (code.is_empty(), message.is_empty()) {
        (_, false) => message,
        (false, true) => code,
        (true, true) => return None,
    };
    let text: String = text.chars().flat_map(char::escape_debug).take(LONGEST_SAID).collect();
    Some(text.replace("\\\"", "\"").replace("\\'", "'"))
}

#[derive(Deserialize)]
struct Errors {
    errors: Vec<Error>,
}

#[derive(Deserialize)]
struct Error {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// How long what passes is waited for: ever longer pauses, and so many in a row.
pub(super) struct Patience {
    failures: u32,
    since: Instant,
}

impl Patience {
    pub(super) fn new() -> Self {
        Self {
            failures: 0,
            since: Instant::now(),
        }
    }

    /// Something went well in between.
    pub(super) fn renew(&mut self) {
        *self = Self::new();
    }

    /// Waits until another attempt makes sense.
    ///
    /// # Errors
    ///
    /// The same, where none does.
    pub(super) async fn after(&mut self, error: CopyError, lane: &Lane) -> Result<(), CopyError> {
        self.failures += 1;
        let mut too_long = false;
        if let CopyError::Limited { wait, .. } = &error {
            let wait = wait.unwrap_or(UNSAID);
            // For all others as well, whether or not it is waited for here.
            lane.close(wait);
            too_long = wait > LONGEST_WAIT;
        }
        if too_long || !error.may_pass() || self.failures >= ATTEMPTS || self.since.elapsed() > LONGEST {
            return Err(error);
        }
        let doubled = PAUSE * (1 << (self.failures - 1).min(6));
        // Those that failed together do not come back together.
        sleep(doubled.mul_f64(0.75 + 0.5 * jitter())).await;
        Ok(())
    }
}

/// From 0 to 1.
fn jitter() -> f64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish() as f64 / u64::MAX as f64
}

/// In a row.
const ATTEMPTS: u32 = 6;
const PAUSE: Duration = Duration::from_millis(500);
/// Over all attempts in a row.
const LONGEST: Duration = Duration::from_secs(900);
/// Somebody who wants to be left alone for longer is asked by whoever comes later.
const LONGEST_WAIT: Duration = Duration::from_secs(120);
/// Somebody who wants to be left alone and does not say how long.
const UNSAID: Duration = Duration::from_secs(5);

/// Bytes.
const LONGEST_REFUSAL: usize = 64 * 1024;
/// Characters.
const LONGEST_SAID: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::lane::Lanes;

    #[tokio::test(start_paused = true)]
    async fn who_wants_to_be_left_alone_for_long_is_left_alone_by_everybody() {
        let lanes = Lanes::default();
        let lane = lanes.to("r.io");
        let limited = |seconds| CopyError::Limited {
            side: Side::Target,
            wait: Some(Duration::from_secs(seconds)),
        };
        let begun = Instant::now();
        assert_eq!(Patience::new().after(limited(180), &lane).await, Err(limited(180)));
        assert_eq!(begun.elapsed(), Duration::ZERO);
        drop(lanes.to("r.io").enter().await);
        assert_eq!(begun.elapsed(), Duration::from_secs(180));
    }

    #[test]
    fn what_a_registry_says_is_one_short_line() {
        for (body, expected) in [
            (
                r#"{"errors":[{"code":"NAME_UNKNOWN","message":"repository \"x\" not found"}]}"#,
                Some("repository \"x\" not found"),
            ),
            (r#"{"errors":[{"code":"DENIED"}]}"#, Some("DENIED")),
            (r#"{"errors":[{"message":"a\nb\u001b[31m"}]}"#, Some("a\\nb\\u{1b}[31m")),
            (r#"{"errors":[]}"#, None),
            (r#"{"errors":[{}]}"#, None),
            ("<html>", None),
        ] {
            assert_eq!(said(body.as_bytes()).as_deref(), expected, "{body}");
        }
        let long = format!(r#"{{"errors":[{{"message":"{}"}}]}}"#, "é".repeat(10_000));
        assert!(said(long.as_bytes()).unwrap().len() <= 2 * LONGEST_SAID);
    }
}
