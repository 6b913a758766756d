//! Workload identity federation: a token of somebody else's, of a file or of an address, is exchanged for one of Google's (RFC 8693), and that
//! perhaps for one of a service account's. What the configuration says is at <https://google.aip.dev/auth/4117>.

use std::{collections::BTreeMap, path::PathBuf};

use base64::{Engine, engine::general_purpose::STANDARD};
use hyper::{
    StatusCode, Uri,
    header::{HeaderName, HeaderValue},
};
use jiff::Timestamp;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;
use zeroize::Zeroizing;

use super::{
    CLOUD_PLATFORM, IssueError,
    answer::{Token, refused},
    file,
    http::{Http, Question},
    impersonation::Impersonation,
    trust::Trust,
};
use crate::registry::Password;

/// How a token of somebody else's becomes one of Google's.
pub(super) struct Federation {
    audience: String,
    subject_token_type: String,
    token_url: Uri,
    client: Option<Password>,
    source: Source,
    /// Name of the field that the token is in, where it is in JSON.
    field: Option<String>,
    impersonation: Option<Impersonation>,
}

/// Where the token of somebody else's is.
enum Source {
    File(PathBuf),
    Url(Uri, Vec<(HeaderName, HeaderValue)>),
}

#[derive(Deserialize)]
struct Fields {
    audience: String,
    subject_token_type: String,
    token_url: String,
    client_id: Option<String>,
    client_secret: Option<Password>,
    service_account_impersonation_url: Option<String>,
    service_account_impersonation: Option<Lifetime>,
    credential_source: SourceFields,
}

#[derive(Deserialize)]
struct Lifetime {
    token_lifetime_seconds: Option<u32>,
}

#[derive(Deserialize)]
struct SourceFields {
    file: Option<PathBuf>,
    url: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, Password>,
    #[serde(default)]
    format: Format,
    environment_id: Option<IgnoredAny>,
    executable: Option<IgnoredAny>,
    certificate: Option<IgnoredAny>,
}

#[derive(Default, Deserialize)]
struct Format {
    r#type: Option<String>,
    subject_token_field_name: Option<String>,
}

impl Federation {
    /// Of its file, which is known to be one.
    pub(super) fn parse(json: &Password, what: &str, trust: &Trust) -> Result<Self, IssueError> {
        let wrong = |why: &str| {
            IssueError::Misconfigured(format!(
                "{what} is no configuration of workload identity federation that can be used: {why}"
            ))
        };
        let fields: Fields = serde_json::from_str(json.expose())
            .map_err(|_| wrong("one of `audience`, `subject_token_type`, `token_url` and `credential_source` is missing, or is not what it should be"))?;
        let token_url = trust.exchange(&fields.token_url, what, "token_url")?;
        let impersonation = match &fields.service_account_impersonation_url {
            None => None,
            Some(url) => {
                let url = trust.exchange(url, what, "service_account_impersonation_url")?;
                let lasts = fields.service_account_impersonation;
                Some(Impersonation::at(
                    url,
                    lasts.and_then(|lifetime| lifetime.token_lifetime_seconds),
                ))
            }
        };
        let client = fields.client_id.map(|id| {
            let secret = fields.client_secret.as_ref().map_or("", Password::expose);
            let pair = Zeroizing::new(format!("{id}:{secret}"));
            Password::new(STANDARD.encode(pair.as_bytes()))
        });
        let SourceFields {
            file,
            url,
            headers,
            format,
            environment_id,
            executable,
            certificate,
        } = fields.credential_source;
        for (present, name) in [
            (environment_id.is_some(), "the keys of AWS (`environment_id`)"),
            (executable.is_some(), "a program (`executable`)"),
            (certificate.is_some(), "a certificate (`certificate`)"),
        ] {
            if present {
                return Err(wrong(&format!(
                    "its `credential_source` is {name}; Waypost knows `file` and `url`"
                )));
            }
        }
        let source = match (file, url) {
            (Some(file), None) => Source::File(file),
            (None, Some(url)) => Source::Url(
                address(&url).ok_or_else(|| wrong("the `url` of its `credential_source` is none"))?,
                named(headers).ok_or_else(|| wrong("the `headers` of its `credential_source` cannot be sent"))?,
            ),
            _ => return Err(wrong("its `credential_source` has to be a `file` or a `url`")),
        };
        let field =
            match format.r#type.as_deref() {
                None | Some("text") => None,
                Some("json") => Some(format.subject_token_field_name.ok_or_else(|| {
                    wrong("the `format` of its `credential_source` names no `subject_token_field_name`")
                })?),
                Some(_) => {
                    return Err(wrong(
                        "the `format` of its `credential_source` is neither `text` nor `json`",
                    ));
                }
            };
        Ok(Self {
            audience: fields.audience,
            subject_token_type: fields.subject_token_type,
            token_url,
            client,
            source,
            field,
            impersonation,
        })
    }

    pub(super) async fn token(&self, http: &Http, scope: &str) -> Result<Token, IssueError> {
        match &self.impersonation {
            None => self.exchange(http, scope).await,
            Some(impersonation) => {
                let own = self.exchange(http, CLOUD_PLATFORM).await?;
                impersonation.token(http, &own.token, scope).await
            }
        }
    }

    async fn exchange(&self, http: &Http, scope: &str) -> Result<Token, IssueError> {
        let subject = self.subject(http).await?;
        let mut question = Question::form(
            self.token_url.clone(),
            &[
                ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
                ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
                ("audience", &self.audience),
                ("scope", scope),
                ("subject_token_type", &self.subject_token_type),
                ("subject_token", subject.expose()),
            ],
        );
        if let Some(client) = &self.client {
            question = question.by("Basic", client)?;
        }
        let who = format!("Google ({})", self.token_url.host().unwrap_or_default());
        let asked = Timestamp::now();
        let answer = http.ask(&question).await.map_err(|lost| lost.of(&who))?;
        if answer.status == StatusCode::OK {
            return Token::of_oauth(&answer, asked, &who);
        }
        Err(refused(&answer, &who, |_| {
            "the token of workload identity federation is not accepted: its issuer, its audience or the conditions of the pool do not fit, or it \
             has expired"
                .to_owned()
        }))
    }

    /// The token of somebody else's, as it is now.
    async fn subject(&self, http: &Http) -> Result<Password, IssueError> {
        let text = match &self.source {
            Source::File(path) => file::read(path, SUBJECT).await?,
            Source::Url(uri, headers) => {
                let mut question = Question::get(uri.clone());
                for (name, value) in headers {
                    question = question.with(name.clone(), value.clone());
                }
                let who = format!("{SUBJECT}, at {},", uri.host().unwrap_or_default());
                let answer = http.ask(&question).await.map_err(|lost| lost.of(&who))?;
                if answer.status != StatusCode::OK {
                    let status = answer.status;
                    return Err(IssueError::Unavailable(format!(
                        "{who} is not to be had: the answer is {status}"
                    )));
                }
                let text = str::from_utf8(&answer.body).unwrap_or_default();
                Password::new(text.to_owned())
            }
        };
        let token = match &self.field {
            None => Password::new(text.expose().trim().to_owned()),
            Some(field) => {
                let mut json: Value = serde_json::from_str(text.expose()).unwrap_or_default();
                match json.get_mut(field).map(Value::take) {
                    Some(Value::String(token)) => Password::new(token),
                    _ => Password::new(String::new()),
                }
            }
        };
        if token.expose().is_empty() {
            return Err(IssueError::Misconfigured(format!(
                "{SUBJECT} is not where the configuration says: there is nothing, or no text in the field that it names"
            )));
        }
        Ok(token)
    }
}

fn address(url: &str) -> Option<Uri> {
    let uri: Uri = url.parse().ok()?;
    let known = matches!(uri.scheme_str(), Some("http" | "https"));
    (known && uri.host().is_some_and(|host| !host.is_empty())).then_some(uri)
}

fn named(headers: BTreeMap<String, Password>) -> Option<Vec<(HeaderName, HeaderValue)>> {
    let header = |(name, value): (String, Password)| {
        let mut value = HeaderValue::from_str(value.expose()).ok()?;
        value.set_sensitive(true);
        Some((name.parse().ok()?, value))
    };
    headers.into_iter().map(header).collect()
}

/// What is exchanged.
const SUBJECT: &str = "the token of workload identity federation";
