//! What refers to an image: signatures, SBOMs, attestations. By the API for it (OCI distribution specification 1.1), by the tag that stands
//! for it where a registry does not know the API, and by the tags that cosign made before there was either.

use std::sync::Arc;

use hyper::{
    Method, StatusCode,
    body::Bytes,
    header::{ACCEPT, HeaderValue},
};
use serde_json::{Value, json};

use super::{
    Job,
    place::Place,
    tree::Read,
    trouble::{CopyError, Side},
};
use crate::{oci::digest::sha256, reference::valid_digest};

impl Job {
    /// Brings along whatever refers to this image. How many there were.
    pub(super) async fn referrers(self: Arc<Self>, digest: &str) -> Result<usize, CopyError> {
        let found = self.source.referrers(digest).await?;
        for referrer in &found {
            let Some(of) = referrer["digest"].as_str().filter(|of| valid_digest(of).is_ok()) else {
                continue;
            };
            if self.target.digest(Side::Target, of).await?.is_none() {
                let read = self.source.read(Side::Source, of).await?;
                let keeps = self.clone().image(&read, None).await?;
                if !keeps {
                    self.target.note(digest, referrer).await?;
                }
            }
        }
        let mut count = found.len();
        for suffix in COSIGN {
            let tag = format!("{}{suffix}", fallback(digest));
            let Some(there) = self.source.digest(Side::Source, &tag).await? else {
                continue;
            };
            count += 1;
            if self.target.digest(Side::Target, &tag).await?.as_ref() != Some(&there) {
                let read = self.source.read(Side::Source, &there).await?;
                self.clone().image(&read, Some(&tag)).await?;
            }
        }
        Ok(count)
    }
}

impl Place {
    /// The descriptors of what refers to an image.
    async fn referrers(&self, digest: &str) -> Result<Vec<Value>, CopyError> {
        let scope = self.scope(Side::Source);
        let mut wanted = self.wanted(Method::GET, self.uri(&format!("referrers/{digest}")), &scope);
        wanted.headers.insert(ACCEPT, HeaderValue::from_static(INDEX));
        let what = format!("what refers to {digest}");
        let answer = self.ask(Side::Source, &wanted, &what).await?;
        if answer.status() == StatusCode::OK {
            let json = answer.read(LONGEST).await.map_err(CopyError::Fault)?;
            return Ok(manifests(&json));
        }
        answer.finish().await;
        match self.digest(Side::Source, &fallback(digest)).await? {
            Some(index) => Ok(manifests(&self.read(Side::Source, &index).await?.json)),
            None => Ok(Vec::new()),
        }
    }

    /// Writes down what refers to an image, where the registry itself does not: in the index that its tag stands for.
    async fn note(&self, digest: &str, referrer: &Value) -> Result<(), CopyError> {
        let tag = fallback(digest);
        let mut known = match self.digest(Side::Target, &tag).await? {
            Some(index) => manifests(&self.read(Side::Target, &index).await?.json),
            None => Vec::new(),
        };
        known.retain(|other| other["digest"] != referrer["digest"]);
        known.push(referrer.clone());
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": known}).to_string();
        let index = Read {
            digest: sha256(index.as_bytes()).into(),
            media_type: INDEX.into(),
            json: Bytes::from(index),
        };
        self.write(&tag, &index).await.map(drop)
    }
}

fn manifests(json: &[u8]) -> Vec<Value> {
    let index: Option<Value> = serde_json::from_slice(json).ok();
    let manifests = index.and_then(|mut index| match index["manifests"].take() {
        Value::Array(manifests) => Some(manifests),
        _ => None,
    });
    let mut manifests = manifests.unwrap_or_default();
    manifests.truncate(MOST);
    manifests
}

/// The tag that stands for what refers to an image.
fn fallback(digest: &str) -> String {
    digest.replacen(':', "-", 1)
}

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// What cosign calls signatures, attestations and SBOMs, behind the digest.
const COSIGN: [&str; 3] = [".sig", ".att", ".sbom"];

/// Of one image.
const MOST: usize = 1_000;
/// Bytes.
const LONGEST: usize = 4 * 1024 * 1024;
