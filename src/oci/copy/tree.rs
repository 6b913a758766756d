//! What an image is made of: manifests, of which some are of others, and blobs.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::trouble::CopyError;
use crate::reference::valid_digest;

/// What a manifest names.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(super) struct Descriptor {
    #[serde(rename = "mediaType", default)]
    pub(super) media_type: Box<str>,
    pub(super) digest: Box<str>,
    #[serde(default = "unsaid")]
    pub(super) size: u64,
}

/// A manifest as it was read: written again byte for byte.
#[derive(Clone, Debug)]
pub(super) struct Read {
    pub(super) digest: Box<str>,
    pub(super) media_type: Box<str>,
    pub(super) json: hyper::body::Bytes,
}

/// What a manifest leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names {
    /// Other manifests.
    pub(super) manifests: Vec<Descriptor>,
    /// Blobs that are in the registry.
    pub(super) blobs: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Json {
    #[serde(rename = "mediaType", default)]
    media_type: Option<Box<str>>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    /// Of artifacts of a draft of the specification.
    #[serde(default)]
    blobs: Vec<Descriptor>,
    #[serde(rename = "fsLayers")]
    of_before: Option<serde::de::IgnoredAny>,
}

/// Reads what a manifest names.
pub(super) fn names(read: &Read) -> Result<Names, CopyError> {
    let digest = &read.digest;
    let json: Json = serde_json::from_slice(&read.json)
        .map_err(|_| CopyError::Unsupported(format!("{digest} is no manifest: it is not of the form of one")))?;
    if json.of_before.is_some() {
        return Err(CopyError::Unsupported(format!(
            "{digest} is a manifest of Docker's first format, which no registry takes any more: push the image anew with a newer Docker"
        )));
    }
    // One of both kinds could be read as either (CVE-2021-41190).
    let is_index = !json.manifests.is_empty() || INDEXES.contains(&&*read.media_type);
    let is_image = json.config.is_some() || !json.layers.is_empty();
    if is_index && is_image || json.media_type.is_some_and(|said| said != read.media_type) {
        return Err(CopyError::Unsupported(format!(
            "{digest} is said to be {} and is something else as well",
            read.media_type.escape_debug()
        )));
    }
    let blobs: Vec<_> = json.config.into_iter().chain(json.layers).chain(json.blobs).collect();
    for named in json.manifests.iter().chain(&blobs) {
        if valid_digest(&named.digest).is_err() {
            return Err(CopyError::Unsupported(format!(
                "{digest} names something by `{}`, which is no digest",
                named.digest.escape_debug()
            )));
        }
    }
    if let Some(blob) = blobs.iter().find(|blob| blob.size > GREATEST) {
        return Err(CopyError::Unsupported(format!(
            "{digest} does not say how great {} is",
            blob.digest
        )));
    }
    if json.manifests.len() > MOST_NAMED || blobs.len() > MOST_NAMED {
        return Err(CopyError::Unsupported(format!(
            "{digest} names more than {MOST_NAMED} others"
        )));
    }
    Ok(Names {
        manifests: json.manifests,
        blobs,
    })
}

impl Descriptor {
    /// Layers of Windows that only Microsoft may hand out: most registries have nothing but their addresses.
    pub(super) fn may_be_elsewhere(&self) -> bool {
        self.media_type.contains(".foreign.") || self.media_type.contains(".nondistributable.")
    }
}

fn unsaid() -> u64 {
    u64::MAX
}

/// Each blob once.
pub(super) fn distinct<'n>(all: impl IntoIterator<Item = &'n Names>) -> Vec<Descriptor> {
    let mut seen = BTreeSet::new();
    let blobs = all.into_iter().flat_map(|names| &names.blobs);
    blobs.filter(|blob| seen.insert(&*blob.digest)).cloned().collect()
}

/// The manifests that were found, none before those that it names.
pub(super) fn written_in(found: &Found, root: &str) -> Vec<Box<str>> {
    fn visit<'f>(found: &'f Found, digest: &str, seen: &mut BTreeSet<&'f str>, order: &mut Vec<Box<str>>) {
        // What the target has is not among them.
        let Some((read, names)) = found.get(digest) else { return };
        if !seen.insert(&read.digest) {
            return;
        }
        for named in &names.manifests {
            visit(found, &named.digest, seen, order);
        }
        order.push(read.digest.clone());
    }
    // No manifest names itself by way of others: it would have to know its digest.
    let mut order = Vec::with_capacity(found.len());
    visit(found, root, &mut BTreeSet::new(), &mut order);
    order
}

/// The kinds of manifests whose own names are manifests.
const INDEXES: [&str; 2] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];

/// Of one manifest. Images with some hundred layers and indexes with some dozen platforms are great already.
const MOST_NAMED: usize = 2_000;

/// Bytes of a blob: a sum of them is still a number.
const GREATEST: u64 = 1 << 50;

/// The manifests that were found, by digest.
pub(super) type Found = BTreeMap<Box<str>, (Read, Names)>;

#[cfg(test)]
mod tests {
    use hyper::body::Bytes;
    use serde_json::{Value, json};

    use super::*;

    fn digest(letter: char) -> String {
        format!("sha256:{}", letter.to_string().repeat(64))
    }

    fn read(media_type: &str, json: &Value) -> Result<Names, CopyError> {
        names(&Read {
            digest: digest('0').into(),
            media_type: media_type.into(),
            json: Bytes::from(json.to_string()),
        })
    }

    #[test]
    fn a_manifest_names_all_that_has_to_be_there_and_what_may_be_elsewhere() {
        let image = json!({
            "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "digest": digest('a'), "size": 3},
            "layers": [
                {"mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "digest": digest('b'), "size": 1, "urls": ["https://x"]},
                {"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "digest": digest('c'), "size": 2},
                {"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "digest": digest('c'), "size": 2},
            ],
        });
        let names = read("application/vnd.docker.distribution.manifest.v2+json", &image).unwrap();
        let blobs = distinct([&names]);
        let found: Vec<_> = blobs
            .iter()
            .map(|blob| (blob.digest.to_string(), blob.may_be_elsewhere()))
            .collect();
        assert_eq!(found, [(digest('a'), false), (digest('b'), true), (digest('c'), false)]);
        let index = json!({"manifests": [{"digest": digest('a'), "size": 1}, {"digest": digest('b'), "size": 1}]});
        assert_eq!(read(INDEXES[0], &index).unwrap().manifests.len(), 2);
    }

    #[test]
    fn what_could_be_read_in_two_ways_or_names_no_digest_is_refused() {
        let blob = |digest: &str| json!({"digest": digest, "size": 1});
        for (kind, json) in [
            (INDEXES[0], json!({"config": blob(&digest('a')), "layers": []})),
            (
                "application/vnd.oci.image.manifest.v1+json",
                json!({"manifests": [blob(&digest('a'))], "config": blob(&digest('b'))}),
            ),
            (
                "application/vnd.oci.image.manifest.v1+json",
                json!({"mediaType": INDEXES[0], "config": blob(&digest('b'))}),
            ),
            (
                "application/vnd.oci.image.manifest.v1+json",
                json!({"config": blob("sha256:../../x")}),
            ),
            (
                "application/vnd.oci.image.manifest.v1+json",
                json!({"config": {"size": 1}}),
            ),
            (
                "application/vnd.docker.distribution.manifest.v1+json",
                json!({"schemaVersion": 1, "fsLayers": []}),
            ),
            (
                "application/vnd.oci.image.manifest.v1+json",
                json!({"config": blob(&digest('a')), "layers": [{"digest": digest('b')}]}),
            ),
            (
                "application/vnd.oci.image.manifest.v1+json",
                json!({"config": {"digest": digest('a'), "size": -1}}),
            ),
            (
                "application/vnd.oci.image.manifest.v1+json",
                json!({"config": {"digest": digest('a'), "size": u64::MAX - 1}}),
            ),
            (INDEXES[1], json!([])),
        ] {
            assert!(
                matches!(read(kind, &json), Err(CopyError::Unsupported(_))),
                "{kind} {json}"
            );
        }
    }
}
