//! `/v1/registries/{id}/notifications/{format}`: what registries tell.

use std::net::IpAddr;

use axum::{
    body::Body,
    http::{HeaderMap, header::AUTHORIZATION},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use schemars::JsonSchema;
use serde::Serialize;
use zeroize::Zeroizing;

use super::{
    Answer, Api, Known, body,
    problem::{FieldError, Kind, Problem},
};
use crate::{
    notifications::{Refused, Taken, Verdict},
    pushes::notification::{Format, MOST_EVENTS, NotificationError},
    registry::Password,
};

/// What was made of a notification.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Notified", extend("additionalProperties" = false))]
pub(super) struct NotifiedAnswer {
    /// How many of its events are kept.
    recorded: usize,
    /// How many are of no interest, or say what cannot be.
    ignored: usize,
}

impl Api {
    /// The registry's own token lets in, and no other; nobody's bytes are read before.
    pub(super) async fn notify(
        &self,
        id: &str,
        format: Format,
        headers: &HeaderMap,
        peer: Option<IpAddr>,
        body: Body,
        known: &mut Known,
    ) -> Result<Answer, Problem> {
        let token = token(headers)?;
        match self.notifications.judge(id, &token).await {
            Verdict::Right => known.user = Some(format!("the registry {id}")),
            Verdict::Another => return Err(self.guard.refuse(peer).await),
            Verdict::Unavailable => {
                return Err(Problem::new(
                    Kind::Unavailable,
                    "the registry's token cannot be read, or is of no use: Waypost's log says why",
                ));
            }
        }
        let Some(_place) = self.notifications.enter(id).await else {
            return Err(Problem::new(
                Kind::TooMany,
                "too many notifications come in at once: send it again in some seconds",
            ));
        };
        let body = body::read(body, MOST_BYTES, self.limits.body_deadline).await?;
        match self.notifications.take(id, format, &body).await {
            Ok(Taken { recorded, ignored }) => Ok(Answer {
                body: Some(super::registries::json(&NotifiedAnswer { recorded, ignored })),
                ..Answer::default()
            }),
            Err(Refused::Gone) => Err(self.guard.refuse(peer).await),
            Err(Refused::Full(why)) => Err(Problem::new(Kind::NoRoom, why)),
            Err(Refused::Unavailable(why)) => Err(Problem::new(Kind::Unavailable, why)),
            Err(Refused::Unreadable(error)) => Err(unreadable(error)),
        }
    }
}

fn unreadable(error: NotificationError) -> Problem {
    match error {
        NotificationError::NoJson { .. } => {
            Problem::new(Kind::MalformedJson, format!("the body is no notification: {error}"))
        }
        NotificationError::TooMany(_) => Problem::new(Kind::BodyTooLarge, format!("the body is too large: {error}")),
        NotificationError::Unlike(_) => Problem::invalid(vec![
            FieldError::new("", error.to_string()).hint("is it the format of the path, `distribution` or `harbor`?"),
        ]),
    }
}

/// The token of an `Authorization` header, in all the forms that registries can be made to send it in.
fn token(headers: &HeaderMap) -> Result<Password, Problem> {
    let refused = |detail: &str| Problem::new(Kind::Unauthenticated, detail);
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (value, more) = (values.next(), values.next());
    let Some(value) = value else {
        return Err(refused(
            "there is no token: have the registry send its notification token as `Authorization: Bearer TOKEN`",
        ));
    };
    if more.is_some() {
        return Err(refused("there are two `Authorization` headers: send one"));
    }
    let value = value.to_str().map(str::trim).unwrap_or_default();
    let token = match value.split_once(' ') {
        None => value,
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("simple") => {
            token.trim()
        }
        Some((scheme, pair)) if scheme.eq_ignore_ascii_case("basic") => {
            return basic(pair.trim()).ok_or_else(|| {
                refused("the `Authorization` header has no username and password: send `Bearer TOKEN`")
            });
        }
        Some(_) => {
            return Err(refused(
                "the scheme of the `Authorization` header is none of Bearer, Simple and Basic: send `Bearer TOKEN`",
            ));
        }
    };
    Ok(Password::new(token.to_owned()))
}

/// The password, whoever the user is.
fn basic(pair: &str) -> Option<Password> {
    let pair = Zeroizing::new(STANDARD.decode(pair).ok()?);
    let pair = std::str::from_utf8(&pair).ok()?;
    let (_, password) = pair.split_once(':')?;
    Some(Password::new(password.to_owned()))
}

/// Of a body: the events of Distribution have some 1 kB each.
const MOST_BYTES: usize = 1 << 20;

const _: () = assert!(MOST_BYTES / MOST_EVENTS >= 1024);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_in_every_form_that_a_registry_sends() {
        for (value, expected) in [
            ("Bearer t", Ok("t")),
            ("bearer   t ", Ok("t")),
            ("Simple t", Ok("t")),
            ("t", Ok("t")),
            (" t ", Ok("t")),
            // anybody:t, :t and a:b:c
            ("Basic YW55Ym9keTp0", Ok("t")),
            ("basic OnQ=", Ok("t")),
            ("Basic YTpiOmM=", Ok("b:c")),
            ("Basic t", Err("has no username and password")),
            ("Basic dA==", Err("has no username and password")),
            ("Digest t", Err("none of Bearer, Simple and Basic")),
            ("Token t", Err("none of Bearer, Simple and Basic")),
        ] {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())]);
            match (token(&headers), expected) {
                (Ok(token), Ok(expected)) => assert_eq!(token.expose(), expected, "{value}"),
                (Err(problem), Err(expected)) => {
                    assert_eq!(problem.kind, Kind::Unauthenticated);
                    assert!(problem.detail.contains(expected), "{value}: {problem:?}");
                }
                (other, _) => panic!("{value}: {other:?}"),
            }
        }
        assert!(
            token(&HeaderMap::new())
                .unwrap_err()
                .detail
                .contains("there is no token")
        );
        let mut two = HeaderMap::new();
        two.append(AUTHORIZATION, "Bearer a".parse().unwrap());
        two.append(AUTHORIZATION, "Bearer b".parse().unwrap());
        assert!(token(&two).unwrap_err().detail.contains("two"));
    }
}
