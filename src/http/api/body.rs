//! The body of a request, within a size and a time, in memory that is wiped.

use std::time::Duration;

use axum::{
    body::{Body, HttpBody},
    http::{HeaderMap, header::CONTENT_TYPE},
};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use zeroize::{Zeroize, Zeroizing};

use super::{
    super::deadline::within,
    Api,
    json::Shape,
    problem::{Kind, Problem},
};

impl Api {
    /// What a body says, which is to be of this shape.
    pub(super) async fn read<T: DeserializeOwned>(
        &self,
        shape: &Shape,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<T, Problem> {
        is_json(headers)?;
        let json = read(body, self.limits.body, self.limits.body_deadline).await?;
        understood(shape, &json)
    }

    /// The same where there need be none: an empty one is announced as anything.
    pub(super) async fn read_if_any<T: DeserializeOwned>(
        &self,
        shape: &Shape,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Option<T>, Problem> {
        let json = read(body, self.limits.body, self.limits.body_deadline).await?;
        if json.trim_ascii().is_empty() {
            return Ok(None);
        }
        is_json(headers)?;
        understood(shape, &json).map(Some)
    }
}

fn understood<T: DeserializeOwned>(shape: &Shape, json: &[u8]) -> Result<T, Problem> {
    let raw: &RawValue = serde_json::from_slice(json).map_err(|error| {
        let detail = if json.trim_ascii().is_empty() {
            "the body is empty".to_owned()
        } else {
            format!(
                "the body is no JSON at line {}, column {}",
                error.line(),
                error.column()
            )
        };
        Problem::new(Kind::MalformedJson, detail)
    })?;
    let errors = shape.check(raw);
    if !errors.is_empty() {
        return Err(Problem::invalid(errors));
    }
    // serde's words may have values in them.
    serde_json::from_str(raw.get()).map_err(|_| {
        Problem::new(
            Kind::Invalid,
            "the body is not of the form that /v1/openapi.json describes",
        )
    })
}

/// Whether it is announced as JSON, whatever the case and the parameters (RFC 9110, section 8.3.1).
fn is_json(headers: &HeaderMap) -> Result<(), Problem> {
    let value = headers.get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    let essence = value.split(|byte| *byte == b';').next().unwrap_or_default();
    if essence.trim_ascii().eq_ignore_ascii_case(b"application/json") {
        return Ok(());
    }
    Err(Problem::new(
        Kind::UnsupportedMediaType,
        "the body has to be JSON: send it with `Content-Type: application/json`",
    ))
}

/// The whole body. What the connection's own buffers hold of it is wiped where nobody else uses them still.
pub(super) async fn read(mut body: Body, most: usize, deadline: Duration) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let Some(read) = within(deadline, collect(&mut body, most)).await else {
        return Err(Problem::new(
            Kind::BodyTimeout,
            format!("the body did not arrive within {} s", deadline.as_secs_f64()),
        ));
    };
    if read.is_err() && body.size_hint().lower() <= DISCARDED {
        // However that ends: it is answered in any case.
        let _ = within(deadline, discard(&mut body)).await;
    }
    read
}

/// What is left of a body that is refused. There are clients that do not show an answer which comes by HTTP/2 while they are still sending: curl 7.88
/// says "Stream error in the HTTP/2 framing layer" in its place.
async fn discard(body: &mut Body) {
    let mut left = DISCARDED;
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(data) = frame.into_data() else { continue };
        left = left.saturating_sub(data.len() as u64);
        if let Ok(mut data) = data.try_into_mut() {
            data.as_mut().zeroize();
        }
        if left == 0 {
            break;
        }
    }
}

async fn collect(body: &mut Body, most: usize) -> Result<Zeroizing<Vec<u8>>, Problem> {
    // Known from Content-Length, so that nothing of it has to be kept.
    if body.size_hint().lower() > most as u64 {
        return Err(too_large(most));
    }
    let mut whole = Zeroizing::new(Vec::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Problem::new(Kind::MalformedJson, "the body was cut off"))?;
        let Ok(data) = frame.into_data() else { continue };
        if whole.len() + data.len() > most {
            return Err(too_large(most));
        }
        if whole.capacity() - whole.len() < data.len() {
            // What a `Vec` grows out of is not wiped.
            let mut larger = Zeroizing::new(Vec::with_capacity((whole.len() + data.len()).next_power_of_two()));
            larger.extend_from_slice(&whole);
            whole = larger;
        }
        whole.extend_from_slice(&data);
        if let Ok(mut data) = data.try_into_mut() {
            data.as_mut().zeroize();
        }
    }
    Ok(whole)
}

fn too_large(most: usize) -> Problem {
    Problem::new(Kind::BodyTooLarge, format!("the body has more than {most} bytes"))
}

/// So many bytes of a body that is refused are read.
const DISCARDED: u64 = 8 << 20;
