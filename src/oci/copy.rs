//! Copies an image from one registry into another: every platform of it, blobs first and the tag last, so that half a copy is never seen.
//!
//! What the target has is not sent: manifests and blobs are asked for, and blobs that it has in another repository are mounted. The rest
//! streams from the one connection to the other, so that memory does not grow with the image, and is hashed on its way. A connection that
//! breaks goes on where it broke: at the source by a range, at the target by what it says it has.

mod advice;
mod blobs;
mod contents;
mod held;
mod place;
mod progress;
mod referrers;
mod source;
mod target;
mod tree;
mod trouble;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::task::JoinSet;

use self::tree::{Found, Read, distinct, names, written_in};

pub use self::{
    contents::Contents,
    held::Held,
    place::Place,
    progress::{Blob, BlobState, Progress},
    trouble::{CopyError, Side},
};

/// What is copied, from where to where.
pub struct Copy {
    /// Where it is read.
    pub source: Place,
    /// Where it is written.
    pub target: Place,
    /// What it is there: a tag or a digest.
    pub reference: Box<str>,
    /// What it is to be here, besides its digest. None: nothing.
    pub tag: Option<Box<str>>,
    /// Whether signatures, SBOMs and whatever else refers to it come along.
    pub referrers: bool,
}

/// An image that is at its target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Its digest: an index's where it is for several platforms.
    pub digest: Box<str>,
    /// What it is of; none where nobody wanted to know, or nobody could find out.
    pub contents: Option<Contents>,
    /// Whether all of it was there.
    pub was_there: bool,
    /// How many referrers came along.
    pub referrers: usize,
}

/// What the tasks of one copy share.
struct Job {
    source: Place,
    target: Place,
    progress: Arc<Progress>,
    /// Bytes of the manifests that were read so far.
    manifests: AtomicUsize,
}

impl Copy {
    /// Copies it. Who drops this future leaves what was sent so far, and no tag.
    ///
    /// # Errors
    ///
    /// When it cannot be read or written, after what passes was waited for.
    pub async fn run(self, progress: Arc<Progress>) -> Result<Copied, CopyError> {
        self.advised(progress, true).await
    }

    /// As [`Copy::run`], for somebody who does not want to know platforms and children: nothing is read for them.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn run_briefly(self, progress: Arc<Progress>) -> Result<Copied, CopyError> {
        self.advised(progress, false).await
    }

    async fn advised(self, progress: Arc<Progress>, described: bool) -> Result<Copied, CopyError> {
        let host = self.target.remote.host.clone();
        let repository = self.target.repository.clone();
        let copied = self.copied(progress, described).await;
        copied.map_err(|error| advice::advised(error, &host, &repository))
    }

    async fn copied(self, progress: Arc<Progress>, described: bool) -> Result<Copied, CopyError> {
        let Self {
            source,
            target,
            reference,
            tag,
            referrers,
        } = self;
        let job = Arc::new(Job {
            source,
            target,
            progress,
            manifests: AtomicUsize::new(0),
        });
        // In a way that counts as no pull.
        let there = job.source.digest(Side::Source, &reference).await?;
        let digest = there.ok_or_else(|| CopyError::Missing {
            side: Side::Source,
            what: job.source.manifest_name(&reference),
        })?;
        let here = job
            .target
            .digest(Side::Target, tag.as_deref().unwrap_or(&digest))
            .await?;
        let was_there = here.as_ref() == Some(&digest);
        let root = match was_there {
            true => None,
            false => {
                // By its digest, and not by a tag that may stand for another by now.
                let root = job.source.read(Side::Source, &digest).await?;
                job.spend(&root)?;
                // Whoever finds the tag finds what refers to it as well.
                let tag = tag.as_deref().filter(|_| !referrers);
                job.clone().image(&root, tag).await?;
                Some(root)
            }
        };
        let referrers = match referrers {
            true => {
                let count = job.clone().referrers(&digest).await?;
                if let (Some(root), Some(tag)) = (&root, &tag) {
                    job.target.write(tag, root).await?;
                }
                count
            }
            false => 0,
        };
        let contents = match described {
            true => job.contents(&digest, root).await,
            false => None,
        };
        Ok(Copied {
            digest: digest.into(),
            contents,
            was_there,
            referrers,
        })
    }
}

impl Job {
    /// Brings a manifest and all that it names, and writes it last.
    async fn image(self: Arc<Self>, root: &Read, tag: Option<&str>) -> Result<bool, CopyError> {
        let (found, order) = self.found(root).await?;
        let all = distinct(found.values().map(|(_, names)| names));
        if self.progress.with(&all) > MOST_BLOBS {
            return Err(CopyError::Unsupported(format!("it has more than {MOST_BLOBS} blobs")));
        }
        let mut blobs = Vec::new();
        for blob in all {
            if blob.may_be_elsewhere() && !self.source_has(&blob).await? {
                continue;
            }
            self.progress.found(&blob.digest, blob.size);
            blobs.push(blob);
        }
        let mut waiting = blobs.into_iter();
        let mut sending = JoinSet::new();
        loop {
            while sending.len() < AT_ONCE
                && let Some(blob) = waiting.next()
            {
                let job = self.clone();
                sending.spawn(async move { job.blob(&blob).await });
            }
            match sending.join_next().await {
                Some(Ok(sent)) => sent?,
                Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                // The process is about to end.
                Some(Err(_)) => std::future::pending().await,
                None => break,
            }
        }
        let mut keeps = false;
        for digest in &order {
            let Some((read, _)) = found.get(digest) else { continue };
            let reference = tag.filter(|_| *digest == root.digest).unwrap_or(&read.digest);
            keeps = self.target.write(reference, read).await?;
        }
        Ok(keeps)
    }

    /// The manifests that the target lacks, and the order in which they are written: none before those that it names.
    async fn found(&self, root: &Read) -> Result<(Found, Vec<Box<str>>), CopyError> {
        let mut found = Found::new();
        let mut level = vec![root.clone()];
        for _ in 0..MOST_LEVELS {
            let mut below: BTreeSet<Box<str>> = BTreeSet::new();
            for read in std::mem::take(&mut level) {
                let names = names(&read)?;
                below.extend(names.manifests.iter().map(|named| named.digest.clone()));
                found.insert(read.digest.clone(), (read, names));
                if below.len() > MOST_MANIFESTS {
                    return Err(too_many());
                }
            }
            below.retain(|digest| !found.contains_key(digest));
            if below.is_empty() {
                let order = written_in(&found, &root.digest);
                return Ok((found, order));
            }
            if found.len() + below.len() > MOST_MANIFESTS {
                return Err(too_many());
            }
            let read = below.into_iter().map(|digest| self.lacked(digest));
            let read: Vec<Option<Read>> = stream::iter(read).buffered(AT_ONCE).try_collect().await?;
            level = read.into_iter().flatten().collect();
        }
        Err(CopyError::Unsupported(format!(
            "it has indexes of indexes, more than {MOST_LEVELS} of them one in another"
        )))
    }

    /// A manifest that the target does not have. One that it has is there with all that it names.
    async fn lacked(&self, digest: Box<str>) -> Result<Option<Read>, CopyError> {
        if self.target.digest(Side::Target, &digest).await?.is_some() {
            return Ok(None);
        }
        let read = self.source.read(Side::Source, &digest).await?;
        self.spend(&read)?;
        Ok(Some(read))
    }

    /// A manifest was read, and is kept until it is written.
    fn spend(&self, read: &Read) -> Result<(), CopyError> {
        let bytes = read.json.len();
        if self.manifests.fetch_add(bytes, Ordering::Relaxed) + bytes > MOST_BYTES {
            let limit = MOST_BYTES / 1024 / 1024;
            return Err(CopyError::Unsupported(format!(
                "its manifests have more than {limit} MiB together"
            )));
        }
        Ok(())
    }
}

fn too_many() -> CopyError {
    CopyError::Unsupported(format!("it has more than {MOST_MANIFESTS} manifests"))
}

/// Blobs of one copy, and questions about its manifests.
const AT_ONCE: usize = 4;

const MOST_LEVELS: usize = 4;
const MOST_MANIFESTS: usize = 1_000;
/// Of all manifests of one copy: those that are to be written are kept until they are.
const MOST_BYTES: usize = 32 * 1024 * 1024;
/// Of one copy, each counted once.
const MOST_BLOBS: usize = 10_000;

#[cfg(test)]
mod tests;
