//! What is in a manifest: of images and indexes, as OCI and Docker write them.

use serde::Deserialize;

use crate::reference::valid_digest;

/// What a digest is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Manifest {
    /// An index: manifests for several platforms.
    Index(Vec<Part>),
    /// An image.
    Image {
        /// The digest of its configuration, where that says a platform.
        config: Option<Box<str>>,
    },
    /// Something that Waypost does not understand.
    Other,
}

/// One of the manifests of an index that can be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its digest.
    pub digest: Box<str>,
    /// What it is for, as `linux/arm64/v8`, where the index says.
    pub platform: Option<Box<str>>,
}

/// An index or a manifest, by what is in it.
#[derive(Deserialize)]
struct Json {
    manifests: Option<Vec<Descriptor>>,
    config: Option<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    #[serde(rename = "mediaType", default)]
    media_type: String,
    digest: Box<str>,
    platform: Option<Platform>,
    #[serde(default)]
    annotations: Option<Annotations>,
}

#[derive(Deserialize)]
struct Annotations {
    /// What buildkit puts beside an image, as if it were one for a platform of its own.
    #[serde(rename = "vnd.docker.reference.type")]
    kind: Option<String>,
}

/// In an index, and the beginning of an image's configuration.
#[derive(Deserialize)]
struct Platform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: String,
}

impl Manifest {
    /// Whatever it is.
    pub(super) fn read(json: &[u8]) -> Self {
        match serde_json::from_slice(json) {
            Ok(Json {
                manifests: Some(parts), ..
            }) => Self::Index(parts.into_iter().filter_map(Descriptor::part).collect()),
            Ok(Json {
                config: Some(config), ..
            }) => {
                let known = CONFIGS.contains(&&*config.media_type) && valid_digest(&config.digest).is_ok();
                Self::Image {
                    config: known.then_some(config.digest),
                }
            }
            _ => Self::Other,
        }
    }
}

impl Descriptor {
    fn part(self) -> Option<Part> {
        let attestation = self.annotations.is_some_and(|annotations| annotations.kind.is_some());
        let runs = !attestation && valid_digest(&self.digest).is_ok();
        runs.then(|| Part {
            platform: self.platform.as_ref().and_then(Platform::text),
            digest: self.digest,
        })
    }
}

impl Platform {
    /// None where it says none, or something that is none.
    fn text(&self) -> Option<Box<str>> {
        let word = |text: &str| {
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
            !text.is_empty() && text.len() <= LONGEST_WORD && text.bytes().all(plain)
        };
        if !word(&self.os) || !word(&self.architecture) || self.os == UNKNOWN {
            return None;
        }
        let mut text = format!("{}/{}", self.os, self.architecture);
        if word(&self.variant) {
            text.push('/');
            text.push_str(&self.variant);
        }
        Some(text.into())
    }
}

/// The platform that an image's configuration says.
pub(super) fn platform_of(config: &[u8]) -> Option<Box<str>> {
    serde_json::from_slice::<Platform>(config).ok()?.text()
}

const CONFIGS: [&str; 2] = [
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
];

const UNKNOWN: &str = "unknown";

/// Of a platform's words.
const LONGEST_WORD: usize = 32;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn digest(of: char) -> String {
        format!("sha256:{}", of.to_string().repeat(64))
    }

    #[test]
    fn what_can_be_run_of_an_index_is_told_with_its_platform_and_what_is_beside_it_is_not() {
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [
                {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest('a'), "size": 1,
                    "platform": {"os": "linux", "architecture": "amd64"}},
                {"mediaType": "application/vnd.docker.distribution.manifest.v2+json", "digest": digest('b'), "size": 1,
                    "platform": {"os": "linux", "architecture": "arm64", "variant": "v8", "os.version": "x"}, "annotations": null},
                {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest('c'), "size": 1,
                    "platform": {"os": "unknown", "architecture": "unknown"},
                    "annotations": {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": digest('a')}},
                {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest('d'), "size": 1},
                {"digest": digest('e'), "platform": {"os": "linux\u{1b}[31m", "architecture": "amd64"}},
                {"digest": "sha256:short", "platform": {"os": "linux", "architecture": "amd64"}},
            ],
        });
        let part = |of, platform: Option<&str>| Part {
            digest: digest(of).into(),
            platform: platform.map(Into::into),
        };
        assert_eq!(
            Manifest::read(index.to_string().as_bytes()),
            Manifest::Index(vec![
                part('a', Some("linux/amd64")),
                part('b', Some("linux/arm64/v8")),
                part('d', None),
                part('e', None)
            ])
        );
    }

    #[test]
    fn the_configuration_of_an_image_says_its_platform_and_that_of_another_thing_does_not() {
        let manifest =
            |kind: &str| json!({"config": {"mediaType": kind, "digest": digest('a')}, "layers": []}).to_string();
        for (json, expected) in [
            (
                manifest(CONFIGS[0]),
                Manifest::Image {
                    config: Some(digest('a').into()),
                },
            ),
            (
                manifest(CONFIGS[1]),
                Manifest::Image {
                    config: Some(digest('a').into()),
                },
            ),
            (
                manifest("application/vnd.cncf.helm.config.v1+json"),
                Manifest::Image { config: None },
            ),
            (json!({"schemaVersion": 1, "fsLayers": []}).to_string(), Manifest::Other),
            (json!({"manifests": [{}]}).to_string(), Manifest::Other),
            ("<html>".to_owned(), Manifest::Other),
        ] {
            assert_eq!(Manifest::read(json.as_bytes()), expected, "{json}");
        }
        let config =
            json!({"os": "linux", "architecture": "arm", "variant": "v7", "config": {"Cmd": ["x"]}, "rootfs": {}});
        assert_eq!(
            platform_of(config.to_string().as_bytes()).as_deref(),
            Some("linux/arm/v7")
        );
        assert_eq!(platform_of(b"{}"), None);
        assert_eq!(platform_of(b"[]"), None);
    }
}
