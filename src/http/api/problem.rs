//! What is said where something cannot be done: problem documents, as RFC 9457 has them.

use axum::{
    body::Body,
    http::{
        HeaderValue, Response, StatusCode,
        header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
    },
};
use schemars::JsonSchema;
use serde::Serialize;

use crate::store::StoreError;

/// A request that is answered by a problem document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) kind: Kind,
    /// A sentence or two for people: what is wrong, and what to do about it.
    pub(super) detail: String,
    pub(super) errors: Vec<FieldError>,
    /// The methods that a path has, for [`Kind::MethodNotAllowed`].
    allow: Option<&'static str>,
}

/// The kinds of [`Problem`], each with a name of its own and an HTTP status. The list is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    /// The body is no JSON.
    MalformedJson,
    /// A parameter of the query, or a header, is not one that is understood.
    InvalidParameter,
    /// There is no token, or it is nobody's.
    Unauthenticated,
    /// The token's owner may not do it.
    Forbidden,
    /// There is no such registry or push, or no such path.
    NotFound,
    /// The path does not have this method.
    MethodNotAllowed,
    /// The body did not arrive in time.
    BodyTimeout,
    /// There is a registry of this id already.
    Exists,
    /// A Helm release says what the registry is.
    DeclaredElsewhere,
    /// Rules or pushes need the registry.
    Needed,
    /// Others changed the registry at the same time, again and again.
    Contended,
    /// The registry is not in the state that `If-Match` names.
    PreconditionFailed,
    /// The body is larger than the limit.
    BodyTooLarge,
    /// The body is not announced as `application/json`.
    UnsupportedMediaType,
    /// What the body says cannot be.
    Invalid,
    /// Too many tokens that are nobody's are being tried.
    TooManyFailures,
    /// Too many notifications come in at once, or too many copies wait.
    TooMany,
    /// A fault of Waypost's own.
    Internal,
    /// Something that is needed for an answer does not answer.
    Unavailable,
    /// There is no room for it.
    NoRoom,
}

/// A problem document.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Problem", extend("additionalProperties" = false))]
pub(super) struct ProblemAnswer<'a> {
    /// Which problem it is; docs/api.md lists them. It never changes.
    #[serde(rename = "type")]
    #[schemars(extend("format" = "uri"))]
    kind: String,
    /// The same in a few words.
    title: &'static str,
    /// The status of the response.
    #[schemars(range(min = 400, max = 599))]
    status: u16,
    /// What is wrong here, and what to do about it.
    detail: &'a str,
    /// The request, as Waypost's log and the header X-Request-Id name it.
    #[schemars(extend("format" = "uri"))]
    instance: String,
    /// Each thing that is wrong, where there are several, or where a field can be named.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(extend("additionalProperties" = false))]
pub(super) struct FieldError {
    /// The field of the body, or the parameter, that it is about: `registry_url`, `namespaces.names[0]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) field: Option<String>,
    /// What is wrong. No credential is ever repeated in it.
    pub(super) message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hint: Option<String>,
}

impl Problem {
    pub(super) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            errors: Vec::new(),
            allow: None,
        }
    }

    /// 422: everything that is wrong with a body.
    pub(super) fn invalid(errors: Vec<FieldError>) -> Self {
        let detail = match &*errors {
            [one] => one.said(),
            several => format!("{} things are wrong with it: see `errors`", several.len()),
        };
        Self {
            errors,
            ..Self::new(Kind::Invalid, detail)
        }
    }

    /// 400: what is wrong with a parameter.
    pub(super) fn parameter(field: &str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        let error = FieldError::new(field, message).hint(hint);
        Self {
            detail: error.said(),
            errors: vec![error],
            ..Self::new(Kind::InvalidParameter, "")
        }
    }

    /// 405, with the methods that there are.
    pub(super) fn method_not_allowed(allow: &'static str) -> Self {
        Self {
            allow: Some(allow),
            ..Self::new(
                Kind::MethodNotAllowed,
                format!("this path has the methods {allow}: see /v1/openapi.json"),
            )
        }
    }

    pub(super) fn errors(mut self, errors: Vec<FieldError>) -> Self {
        self.errors = errors;
        self
    }

    /// The answer to the request with this id.
    pub(super) fn response(&self, request: &str) -> Response<Body> {
        let answer = ProblemAnswer {
            kind: self.kind.uri(),
            title: self.kind.title(),
            status: self.kind.status().as_u16(),
            detail: &self.detail,
            instance: format!("urn:waypost:request:{request}"),
            errors: &self.errors,
        };
        // Texts and numbers; it cannot fail.
        let mut response = Response::new(Body::from(serde_json::to_vec(&answer).unwrap_or_default()));
        *response.status_mut() = self.kind.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        match self.kind {
            Kind::Unauthenticated => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"waypost\""));
            }
            Kind::TooManyFailures | Kind::TooMany | Kind::Unavailable => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
            }
            _ => {}
        }
        response
    }
}

impl Kind {
    /// Every kind, by status.
    #[cfg(test)]
    pub(super) const ALL: [Self; 20] = [
        Self::MalformedJson,
        Self::InvalidParameter,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::BodyTimeout,
        Self::Exists,
        Self::DeclaredElsewhere,
        Self::Needed,
        Self::Contended,
        Self::PreconditionFailed,
        Self::BodyTooLarge,
        Self::UnsupportedMediaType,
        Self::Invalid,
        Self::TooManyFailures,
        Self::TooMany,
        Self::Internal,
        Self::Unavailable,
        Self::NoRoom,
    ];

    /// Its name, as a URI.
    pub(super) fn uri(self) -> String {
        format!("urn:waypost:problem:{}", self.about().0)
    }

    /// Its name, in words.
    pub(super) fn title(self) -> &'static str {
        self.about().2
    }

    /// The HTTP status of the answer.
    pub(super) fn status(self) -> StatusCode {
        self.about().1
    }

    fn about(self) -> (&'static str, StatusCode, &'static str) {
        match self {
            Self::MalformedJson => ("malformed-json", StatusCode::BAD_REQUEST, "The body is no JSON"),
            Self::InvalidParameter => (
                "invalid-parameter",
                StatusCode::BAD_REQUEST,
                "A parameter or header is not understood",
            ),
            Self::Unauthenticated => ("unauthenticated", StatusCode::UNAUTHORIZED, "There is no valid token"),
            Self::Forbidden => ("forbidden", StatusCode::FORBIDDEN, "The token's owner may not do it"),
            Self::NotFound => ("not-found", StatusCode::NOT_FOUND, "There is no such thing"),
            Self::MethodNotAllowed => (
                "method-not-allowed",
                StatusCode::METHOD_NOT_ALLOWED,
                "The path does not have this method",
            ),
            Self::BodyTimeout => (
                "body-timeout",
                StatusCode::REQUEST_TIMEOUT,
                "The body did not arrive in time",
            ),
            Self::Exists => ("exists", StatusCode::CONFLICT, "There is such a registry already"),
            Self::DeclaredElsewhere => (
                "declared-elsewhere",
                StatusCode::CONFLICT,
                "A Helm release says what the registry is",
            ),
            Self::Needed => ("needed", StatusCode::CONFLICT, "Something needs the registry"),
            Self::Contended => ("contended", StatusCode::CONFLICT, "Others are changing the registry"),
            Self::PreconditionFailed => (
                "precondition-failed",
                StatusCode::PRECONDITION_FAILED,
                "The registry has been changed since",
            ),
            Self::BodyTooLarge => ("body-too-large", StatusCode::PAYLOAD_TOO_LARGE, "The body is too large"),
            Self::UnsupportedMediaType => (
                "unsupported-media-type",
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "The body is not announced as JSON",
            ),
            Self::Invalid => (
                "invalid",
                StatusCode::UNPROCESSABLE_ENTITY,
                "What the body says cannot be",
            ),
            Self::TooManyFailures => (
                "too-many-failures",
                StatusCode::TOO_MANY_REQUESTS,
                "Too many wrong tokens are being tried",
            ),
            Self::TooMany => ("too-many", StatusCode::TOO_MANY_REQUESTS, "Too many come in at once"),
            Self::Internal => (
                "internal",
                StatusCode::INTERNAL_SERVER_ERROR,
                "A fault of Waypost's own",
            ),
            Self::Unavailable => (
                "unavailable",
                StatusCode::SERVICE_UNAVAILABLE,
                "Something that is needed does not answer",
            ),
            Self::NoRoom => ("no-room", StatusCode::INSUFFICIENT_STORAGE, "There is no room for it"),
        }
    }
}

impl FieldError {
    pub(super) fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            field: Some(field.into()).filter(|field| !field.is_empty()),
            message: message.into(),
            hint: None,
        }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(super) fn said(&self) -> String {
        let mut said = match &self.field {
            Some(field) => format!("{field}: {}", self.message),
            None => self.message.clone(),
        };
        if let Some(hint) = &self.hint {
            said.push_str(": ");
            said.push_str(hint);
        }
        said
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let kind = match &error {
            StoreError::NotFound(_) => Kind::NotFound,
            StoreError::Exists(_) => Kind::Exists,
            StoreError::Conflict { .. } => Kind::Contended,
            StoreError::Declared(_) => Kind::DeclaredElsewhere,
            StoreError::Unsupported(_) => Kind::Invalid,
            StoreError::Busy(_) => Kind::TooMany,
            StoreError::Full(_) => Kind::NoRoom,
            StoreError::Unavailable(_) => Kind::Unavailable,
        };
        Self::new(kind, error.to_string())
    }
}

pub(super) const PROBLEM_JSON: &str = "application/problem+json";
