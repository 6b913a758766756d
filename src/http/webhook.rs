//! `POST /mutate`: what may reach a review, and what is said to what may not.
//!
//! The router reads a body, within a size and a time, and hands its bytes to a [`Reviewer`]. Everything that it refuses
//! by itself and everything that the reviewer refuses is a [`Rejection`], told to the observer exactly once.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::header::{ALLOW, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http_body_util::BodyExt;

use super::deadline::within;

/// Turns the bytes of an AdmissionReview request into those of its response.
///
/// Runs on an async worker: it must not block, and it isolates its own panics.
pub trait Reviewer: Send + Sync + 'static {
    /// The response to one review, as JSON.
    ///
    /// # Errors
    ///
    /// When the bytes are no review that could be answered by one, such as JSON without a uid.
    fn review<'a>(&'a self, body: &'a [u8]) -> Result<Reviewed<'a>, Rejection>;
}

/// The response to a review.
pub enum Reviewed<'a> {
    /// At once: nearly always.
    Now(Vec<u8>),
    /// When something has become known. It is dropped, and must leave nothing behind, where the caller goes.
    Later(Pin<Box<dyn Future<Output = Result<Vec<u8>, Rejection>> + Send + 'a>>),
}

/// A request that is answered by an HTTP error instead of a review.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Rejection {
    /// What was wrong; decides the HTTP status.
    pub kind: RejectionKind,
    /// One line for the caller: what was found and what was expected.
    pub reason: String,
}

/// The kinds of [`Rejection`], each one HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RejectionKind {
    /// 400: no review, or one that was cut off.
    BadRequest,
    /// 408: the body did not arrive in time.
    BodyTimeout,
    /// 413: the body is larger than the limit.
    BodyTooLarge,
    /// 415: not `application/json`.
    UnsupportedMediaType,
}

/// What a body may cost. The default is what `waypost serve` runs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest body, in bytes. etcd holds objects of 1.5 MiB and the API server takes 3 MiB; a review has two.
    pub body: usize,
    /// How long a body may take to arrive.
    pub body_deadline: Duration,
}

/// Is told of each [`Rejection`]; must not block.
pub type Observer = Arc<dyn Fn(&Rejection) + Send + Sync>;

/// The webhook's routes.
pub fn router(reviewer: Arc<dyn Reviewer>, rejected: Observer, limits: Limits) -> Router {
    let endpoint = Arc::new(Endpoint {
        reviewer,
        rejected,
        limits,
    });
    Router::new()
        .route("/mutate", post(mutate).fallback(method_not_allowed))
        .fallback(not_found)
        .with_state(endpoint)
}

impl Rejection {
    /// 400, with a reason.
    pub fn bad_request(reason: impl fmt::Display) -> Self {
        Self::new(RejectionKind::BadRequest, reason)
    }

    /// A rejection of any kind, with a reason.
    pub fn new(kind: RejectionKind, reason: impl fmt::Display) -> Self {
        Self {
            kind,
            reason: reason.to_string(),
        }
    }

    /// The HTTP status of the answer.
    pub fn status(&self) -> StatusCode {
        match self.kind {
            RejectionKind::BadRequest => StatusCode::BAD_REQUEST,
            RejectionKind::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            RejectionKind::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            RejectionKind::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        }
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        (self.status(), line(&self.reason)).into_response()
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 8 << 20,
            body_deadline: Duration::from_secs(10),
        }
    }
}

struct Endpoint {
    reviewer: Arc<dyn Reviewer>,
    rejected: Observer,
    limits: Limits,
}

async fn mutate(State(endpoint): State<Arc<Endpoint>>, request: Request) -> Response {
    match endpoint.answer(request).await {
        Ok(review) => ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], review).into_response(),
        Err(rejection) => {
            (endpoint.rejected)(&rejection);
            tracing::debug!(
                status = rejection.status().as_u16(),
                reason = rejection.reason,
                "refused a request"
            );
            rejection.into_response()
        }
    }
}

impl Endpoint {
    fn answer(&self, request: Request) -> impl Future<Output = Result<Vec<u8>, Rejection>> + Send {
        let (parts, body) = request.into_parts();
        let media_type = is_json(&parts.headers);
        async move {
            media_type?;
            let body = read(body, self.limits).await?;
            match self.reviewer.review(&body)? {
                Reviewed::Now(review) => Ok(review),
                Reviewed::Later(review) => review.await,
            }
        }
    }
}

/// Whether the content type is `application/json`, whatever its case and parameters (RFC 9110, section 8.3.1).
fn is_json(headers: &HeaderMap) -> Result<(), Rejection> {
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return Err(Rejection::new(
            RejectionKind::UnsupportedMediaType,
            "no Content-Type, expected application/json",
        ));
    };
    let essence = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    if essence.trim_ascii().eq_ignore_ascii_case(b"application/json") {
        return Ok(());
    }
    Err(Rejection::new(
        RejectionKind::UnsupportedMediaType,
        format_args!("Content-Type is {value:?}, expected application/json"),
    ))
}

/// The whole body, within the limits. One that arrives in a single frame is not copied.
async fn read(body: Body, limits: Limits) -> Result<Bytes, Rejection> {
    // Known from Content-Length, so that nothing of it has to be read.
    let announced = body.size_hint().lower();
    if announced > limits.body as u64 {
        return Err(too_large(limits));
    }
    let read = within(limits.body_deadline, collect(body, announced as usize, limits)).await;
    read.unwrap_or_else(|| {
        Err(Rejection::new(
            RejectionKind::BodyTimeout,
            format_args!(
                "the body did not arrive within {} s",
                limits.body_deadline.as_secs_f64()
            ),
        ))
    })
}

async fn collect(mut body: Body, announced: usize, limits: Limits) -> Result<Bytes, Rejection> {
    let Some(first) = next(&mut body).await? else {
        return Ok(Bytes::new());
    };
    if first.len() > limits.body {
        return Err(too_large(limits));
    }
    // `is_end_stream` may be false at the end of a chunked body, so the next frame has the last word.
    if body.is_end_stream() {
        return Ok(first);
    }
    let Some(second) = next(&mut body).await? else {
        return Ok(first);
    };
    // What is announced is not believed beyond what a review usually takes: memory is given for what has arrived.
    let mut whole = Vec::with_capacity(announced.min(USUAL).max(first.len() + second.len()));
    whole.extend_from_slice(&first);
    let mut frame = Some(second);
    while let Some(data) = frame {
        if whole.len() + data.len() > limits.body {
            return Err(too_large(limits));
        }
        whole.extend_from_slice(&data);
        frame = next(&mut body).await?;
    }
    Ok(whole.into())
}

/// The next non-empty data frame.
async fn next(body: &mut Body) -> Result<Option<Bytes>, Rejection> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Rejection::bad_request(format_args!("the body was cut off: {error}")))?;
        // Trailers carry nothing for us.
        if let Ok(data) = frame.into_data()
            && !data.is_empty()
        {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

fn too_large(limits: Limits) -> Rejection {
    Rejection::new(
        RejectionKind::BodyTooLarge,
        format_args!("the body is larger than {} bytes", limits.body),
    )
}

async fn method_not_allowed() -> Response {
    let allow = [(ALLOW, HeaderValue::from_static("POST"))];
    (
        StatusCode::METHOD_NOT_ALLOWED,
        allow,
        line("reviews are sent with POST"),
    )
        .into_response()
}

async fn not_found(uri: Uri) -> Response {
    let text = format!("nothing at {}: AdmissionReviews go to POST /mutate", uri.path());
    (StatusCode::NOT_FOUND, line(&text)).into_response()
}

/// One line of text.
fn line(text: &str) -> String {
    // A line is a line whatever a caller put into its path or its header.
    let mut line = text.replace(char::is_control, " ");
    line.push('\n');
    line
}

/// The largest review that is given its memory at once, in bytes.
const USUAL: usize = 256 << 10;

#[cfg(test)]
mod tests;
