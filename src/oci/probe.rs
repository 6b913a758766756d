//! What can be found out about a registry without pulling anything.

use std::time::Duration;

use hyper::{
    Method, StatusCode, Uri,
    header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION},
};
use jiff::Timestamp;

use super::{
    Remote,
    auth::{Denied, Known, basic, retry_after},
    exchange::{Answer, Question, host_of, resolve},
    fault::Fault,
};
use crate::registry::{Login, Scheme};

/// What a registry says to anybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ping {
    /// That it is one: also where it wants a credential first.
    Answers,
    /// That it is asked too much, and perhaps for how long it does not want to be asked.
    Limited(Option<Duration>),
}

/// What a registry says to a credential, or to somebody without one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignIn {
    /// It takes the credential.
    Accepted,
    /// It lets anybody in, and there is no credential.
    Anonymous,
    /// It does not take the credential.
    Rejected,
    /// There is no credential, and it wants one.
    CredentialRequired,
    /// That it is asked too much, and perhaps for how long it does not want to be asked.
    Limited(Option<Duration>),
}

/// Whether a credential can push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CanPush {
    /// It can.
    Yes,
    /// It cannot.
    No,
    /// It cannot be told, for this reason.
    Unknown(&'static str),
}

impl Remote {
    /// Asks whether anybody is there, without a credential, in 5 seconds at most.
    ///
    /// # Errors
    ///
    /// When nobody is, or no registry.
    pub async fn ping(&self) -> Result<Ping, Fault> {
        let answer = self.http.ask(Question::new(Method::GET, self.v2(), None)).await?;
        let pinged = self.judge(&answer);
        answer.finish().await;
        pinged
    }

    /// Asks whether the registry takes this credential, or anybody, in three requests at most. Tokens that were issued before do not count.
    ///
    /// # Errors
    ///
    /// When it cannot be told.
    pub async fn sign_in(&self, login: Option<&Login>) -> Result<SignIn, Fault> {
        let refused = if login.is_some() {
            SignIn::Rejected
        } else {
            SignIn::CredentialRequired
        };
        let accepted = if login.is_some() {
            SignIn::Accepted
        } else {
            SignIn::Anonymous
        };
        let answer = self.http.ask(Question::new(Method::GET, self.v2(), None)).await?;
        if let Ping::Limited(wait) = self.judge(&answer)? {
            return Ok(SignIn::Limited(wait));
        }
        if login.is_some() && !answer.first_hand {
            return Err(Fault::Elsewhere {
                host: host_of(&self.base),
                to: answer.host,
            });
        }
        let known = match (answer.status(), login) {
            (StatusCode::OK, None) => {
                answer.finish().await;
                return Ok(SignIn::Anonymous);
            }
            // Anybody gets in: a credential that is shown may be refused all the same.
            (StatusCode::OK, Some(_)) => Known::Basic,
            _ => Known::of(&answer)?,
        };
        answer.finish().await;
        let authorization = match self.authorization(&known, None, login, true).await {
            Ok(Some(authorization)) => authorization,
            Ok(None) | Err(Denied::Rejected) => return Ok(refused),
            Err(Denied::Limited(wait)) => return Ok(SignIn::Limited(wait)),
            Err(Denied::Fault(fault)) => return Err(fault),
        };
        self.remember(known.clone());
        if login.is_none() {
            // There are tokens for anybody: what they are good for depends on the repository.
            return Ok(accepted);
        }
        let question = Question::new(Method::GET, self.v2(), Some(&authorization));
        let answer = self.http.ask(question).await?;
        let pinged = self.judge(&answer);
        let (status, first_hand, to) = (answer.status(), answer.first_hand, answer.host.clone());
        answer.finish().await;
        match pinged? {
            Ping::Limited(wait) => Ok(SignIn::Limited(wait)),
            Ping::Answers if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => Ok(refused),
            Ping::Answers if !first_hand => Err(Fault::Elsewhere {
                host: host_of(&self.base),
                to,
            }),
            Ping::Answers => Ok(accepted),
        }
    }

    /// Finds out whether a credential can push below the registry's organization: by what a token says that was issued for it, else by the
    /// beginning of an upload that is cancelled at once, which Docker Hub is spared.
    ///
    /// # Errors
    ///
    /// When the registry does not answer as it should.
    pub async fn can_push(&self, login: &Login) -> Result<CanPush, Fault> {
        let name = self.probe_repository(login);
        let scope = format!("repository:{name}:pull,push");
        let answer = self.http.ask(Question::new(Method::GET, self.v2(), None)).await?;
        if self.judge(&answer)? != Ping::Answers {
            return Ok(CanPush::Unknown(LIMITED));
        }
        if !answer.first_hand {
            return Ok(CanPush::Unknown("somebody else answers in its place"));
        }
        let known = if answer.status().is_success() {
            Known::Basic
        } else {
            Known::of(&answer)?
        };
        answer.finish().await;
        let authorization = match &known {
            Known::Basic => basic(login),
            Known::Bearer { realm, service } => {
                let issued = match self.token(realm, service.as_deref(), Some(&scope), Some(login)).await {
                    Ok(issued) => issued,
                    Err(Denied::Rejected) => return Ok(CanPush::Unknown("no token is issued that would say so")),
                    Err(Denied::Limited(_)) => return Ok(CanPush::Unknown(LIMITED)),
                    Err(Denied::Fault(fault)) => return Err(fault),
                };
                match (issued.granted(&name), issued.authorization()) {
                    (Some(granted), _) if granted.push => return Ok(CanPush::Yes),
                    (Some(granted), _) if granted.pull => return Ok(CanPush::No),
                    // Where there is no such project, nobody has any right in it.
                    (Some(_), _) => {
                        return Ok(CanPush::Unknown(
                            "the credential has no right at all where Waypost tried: the name may be no project's",
                        ));
                    }
                    (None, Some(authorization)) => authorization,
                    (None, None) => return Ok(CanPush::Unknown("no token is issued that would say so")),
                }
            }
        };
        if self.docker_hub {
            return Ok(CanPush::Unknown(
                "its token does not say so, and nothing is tried on Docker Hub",
            ));
        }
        self.try_upload(&name, &authorization).await
    }

    /// Begins an upload, and cancels it.
    async fn try_upload(&self, name: &str, authorization: &HeaderValue) -> Result<CanPush, Fault> {
        let nothing = (CONTENT_LENGTH, HeaderValue::from_static("0"));
        let mut question = Question::new(
            Method::POST,
            self.at(&format!("/v2/{name}/blobs/uploads/")),
            Some(authorization),
        );
        question.headers.extend([nothing]);
        let answer = self.http.ask(question).await?;
        let status = answer.status();
        let upload = answer
            .headers()
            .get(LOCATION)
            .and_then(|location| location.to_str().ok());
        let upload = upload.and_then(|location| resolve(&self.base, location));
        let limited = matches!(judge_status(&answer), Ok(Some(Ping::Limited(_))));
        answer.finish().await;
        match status {
            StatusCode::ACCEPTED | StatusCode::CREATED => {
                // Behind the same door only: what is elsewhere is left to expire, as every upload does.
                let same =
                    |upload: &Uri| upload.authority() == self.base.authority() && upload.scheme() == self.base.scheme();
                if let Some(upload) = upload.filter(same) {
                    let question = Question::new(Method::DELETE, upload, Some(authorization));
                    if let Ok(answer) = self.http.ask(question).await {
                        answer.finish().await;
                    }
                }
                Ok(CanPush::Yes)
            }
            // 405: a pull-through cache, or one that is read-only.
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::METHOD_NOT_ALLOWED => Ok(CanPush::No),
            _ if limited => Ok(CanPush::Unknown(LIMITED)),
            status if status.is_server_error() => Err(Fault::Server {
                host: host_of(&self.base),
                status,
            }),
            _ => Ok(CanPush::Unknown("the registry does not let anybody try it")),
        }
    }

    /// A repository that nobody has. On Docker Hub, what is under no organization is the user's.
    fn probe_repository(&self, login: &Login) -> String {
        match &*self.organization {
            "" if self.docker_hub => format!("{}/{PROBE}", login.username.to_ascii_lowercase()),
            "" => PROBE.to_owned(),
            organization => format!("{organization}/{PROBE}"),
        }
    }

    fn v2(&self) -> Uri {
        self.at("/v2/")
    }

    /// A path of the registry; the root of it where the text is no path.
    pub(super) fn at(&self, path: &str) -> Uri {
        let mut parts = self.base.clone().into_parts();
        if let Ok(path) = path.parse() {
            parts.path_and_query = Some(path);
        }
        Uri::from_parts(parts).unwrap_or_else(|_| self.base.clone())
    }

    /// Whether it is a registry that answers to `/v2/`.
    fn judge(&self, answer: &Answer) -> Result<Ping, Fault> {
        let not = |what: String| Fault::NotARegistry {
            host: answer.host.clone(),
            what,
        };
        if let Some(ping) = judge_status(answer)? {
            return Ok(ping);
        }
        let status = answer.status();
        match status {
            StatusCode::OK => {
                let kind = answer.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
                if kind.is_some_and(|kind| kind.to_ascii_lowercase().starts_with(b"text/html")) {
                    return Err(not("it shows a web page".to_owned()));
                }
                Ok(Ping::Answers)
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Ok(Ping::Answers),
            // What servers say who speak TLS and are not spoken to so.
            StatusCode::BAD_REQUEST if self.endpoint.scheme == Scheme::Http => Err(not(format!(
                "it answers with {status}: where it is reached by TLS, write https:// or leave `plainHttp` out"
            ))),
            status => Err(not(format!("it answers with {status}"))),
        }
    }
}

/// What is said to whoever asks, whatever it asks for.
pub(super) fn judge_status(answer: &Answer) -> Result<Option<Ping>, Fault> {
    let status = answer.status();
    if status == StatusCode::TOO_MANY_REQUESTS {
        return Ok(Some(Ping::Limited(retry_after(answer.headers(), Timestamp::now()))));
    }
    if status.is_server_error() {
        return Err(Fault::Server {
            host: answer.host.clone(),
            status,
        });
    }
    Ok(None)
}

const PROBE: &str = "waypost-probe";
const LIMITED: &str = "it is asked too much (429)";
