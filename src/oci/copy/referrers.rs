//! What refers to an image: signatures, SBOMs, attestations. By the API for it (OCI distribution specification 1.1), by the tag that stands
//! for it where a registry does not know the API, and by the tags that cosign made before there was either.

use std::sync::Arc;

use hyper::{
    Method, StatusCode, Uri,
    body::Bytes,
    header::{ACCEPT, HeaderValue, LINK},
};
use serde_json::{Value, json};

use super::{
    Job,
    place::Place,
    tree::Read,
    trouble::{CopyError, Side},
};
use crate::{
    oci::{
        digest::sha256,
        exchange::{Answer, origin},
    },
    reference::valid_digest,
};

impl Job {
    /// Brings along whatever refers to this image. How many there were.
    pub(super) async fn referrers(self: Arc<Self>, digest: &str) -> Result<usize, CopyError> {
        let found = self.source.referrers(digest).await?;
        let mut unkept = Vec::new();
        // Whether the target keeps them of itself, once it was asked.
        let mut knows: Option<bool> = None;
        for referrer in &found {
            let Some(of) = referrer["digest"].as_str().filter(|of| valid_digest(of).is_ok()) else {
                continue;
            };
            let keeps = match self.target.digest(Side::Target, of).await? {
                // Who brought it may not have come to writing it down.
                Some(_) => match knows {
                    Some(knows) => knows,
                    None => *knows.insert(self.target.knows_referrers(digest).await?),
                },
                None => {
                    let read = self.source.read(Side::Source, of).await?;
                    self.spend(&read)?;
                    self.clone().image(&read, None).await?
                }
            };
            if !keeps {
                unkept.push(referrer);
            }
        }
        if !unkept.is_empty() {
            self.target.note(digest, &unkept).await?;
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
                self.spend(&read)?;
                self.clone().image(&read, Some(&tag)).await?;
            }
        }
        Ok(count)
    }
}

impl Place {
    /// The descriptors of what refers to an image.
    async fn referrers(&self, digest: &str) -> Result<Vec<Value>, CopyError> {
        let (mut found, mut rest) = (Vec::new(), LONGEST);
        let mut next = Some(self.uri(&format!("referrers/{digest}")));
        for page in 0..MOST_PAGES {
            let Some(uri) = next.take() else { break };
            let answer = self.ask_for_referrers(Side::Source, uri.clone(), digest).await?;
            match answer.status() {
                StatusCode::OK => {}
                _ if page == 0 => {
                    answer.finish().await;
                    return self.noted(Side::Source, digest).await;
                }
                _ => return Err(CopyError::of(answer, Side::Source, &referrers_of(digest)).await),
            }
            let link = answer.headers().get(LINK).and_then(|link| link.to_str().ok());
            let link = link.and_then(next_page).and_then(|link| self.led(&uri, link));
            // Nobody is asked for another's.
            next = link.filter(|next| origin(next) == origin(&uri));
            let json = answer.read(rest).await.map_err(CopyError::Fault)?;
            rest -= json.len();
            found.extend(manifests(&json));
        }
        found.truncate(MOST);
        Ok(found)
    }

    async fn ask_for_referrers(&self, side: Side, uri: Uri, digest: &str) -> Result<Answer, CopyError> {
        let scope = self.scope(side);
        let mut wanted = self.wanted(Method::GET, uri, &scope);
        wanted.headers.insert(ACCEPT, HeaderValue::from_static(INDEX));
        self.ask(side, &wanted, &referrers_of(digest)).await
    }

    /// Whether a registry itself knows what refers to what.
    async fn knows_referrers(&self, digest: &str) -> Result<bool, CopyError> {
        let uri = self.uri(&format!("referrers/{digest}"));
        let answer = self.ask_for_referrers(Side::Target, uri, digest).await?;
        let knows = answer.status() == StatusCode::OK;
        answer.finish().await;
        Ok(knows)
    }

    /// What was written down of what refers to an image.
    async fn noted(&self, side: Side, digest: &str) -> Result<Vec<Value>, CopyError> {
        let mut noted = match self.digest(side, &fallback(digest)).await? {
            Some(index) => manifests(&self.read(side, &index).await?.json),
            None => Vec::new(),
        };
        if side == Side::Source {
            noted.truncate(MOST);
        }
        Ok(noted)
    }

    /// Writes down what refers to an image, where the registry itself does not: in the index that its tag stands for.
    async fn note(&self, digest: &str, referrers: &[&Value]) -> Result<(), CopyError> {
        let tag = fallback(digest);
        let mut known = self.noted(Side::Target, digest).await?;
        let before = known.len();
        for referrer in referrers {
            if known.iter().all(|other| other["digest"] != referrer["digest"]) {
                known.push((*referrer).clone());
            }
        }
        if known.len() == before {
            return Ok(());
        }
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
    manifests.unwrap_or_default()
}

/// Where a `Link` leads to what comes next (RFC 8288, as far as registries use it).
fn next_page(link: &str) -> Option<&str> {
    link.split(',').find_map(|link| {
        let (to, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        let is_next = |parameter: &str| matches!(parameter.trim(), "rel=\"next\"" | "rel=next");
        parameters.split(';').any(is_next).then_some(to)
    })
}

/// For people.
fn referrers_of(digest: &str) -> String {
    format!("what refers to {digest}")
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
const MOST_PAGES: usize = 20;
/// Bytes of all pages.
const LONGEST: usize = 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_where_a_link_says() {
        for (link, expected) in [
            (r#"</v2/x?n=1>; rel="next""#, Some("/v2/x?n=1")),
            (r#"</a>; rel="prev", <?last=b>; title=x; rel=next"#, Some("?last=b")),
            (r#"</a>; rel="prev""#, None),
            (r#"/a; rel="next""#, None),
            ("", None),
        ] {
            assert_eq!(next_page(link), expected, "{link}");
        }
    }
}
