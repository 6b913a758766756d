//! What an image is of, for whoever keeps records of images.

use std::time::Duration;

use tokio::time::timeout;

use super::{Job, tree::Read, trouble::Side};
use crate::oci::{Asked, Manifest};

/// What an image is of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// What it is for, as far as it says: `linux/amd64`.
    pub platforms: Vec<Box<str>>,
    /// The manifests of its index, where it is one.
    pub children: Vec<Box<str>>,
}

impl Job {
    /// What a manifest is for, and the manifests of an index. None where that cannot be found out: the image is at its target all the same.
    pub(super) async fn contents(&self, digest: &str, root: Option<Read>) -> Option<Contents> {
        if let Some(known) = self.target.contents(digest) {
            return Some(known);
        }
        let contents = timeout(LONGEST, self.look_into(digest, root)).await.ok()??;
        self.target.know(digest, &contents);
        Some(contents)
    }

    async fn look_into(&self, digest: &str, root: Option<Read>) -> Option<Contents> {
        let place = &self.target;
        let root = match root {
            Some(root) => root,
            None => place.read(Side::Target, digest).await.ok()?,
        };
        match Manifest::read(&root.json) {
            Manifest::Index(parts) => Some(Contents {
                platforms: parts.iter().filter_map(|part| part.platform.clone()).collect(),
                children: parts.into_iter().map(|part| part.digest).collect(),
            }),
            Manifest::Image { config: Some(config) } => {
                let platform = place.remote.platform(&place.repository, &config, place.login.as_ref());
                let Ok(Asked::Found(platform)) = platform.await else {
                    return None;
                };
                Some(Contents {
                    platforms: platform.into_iter().collect(),
                    children: Vec::new(),
                })
            }
            Manifest::Image { config: None } | Manifest::Other => Some(Contents::default()),
        }
    }
}

/// Nobody waits for longer to know more of an image that is there.
const LONGEST: Duration = Duration::from_secs(30);
