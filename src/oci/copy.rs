//! Copies an image from one registry into another: every platform of it, blobs first and the tag last, so that half a copy is never seen.
//!
//! What the target has is not sent: manifests and blobs are asked for, and blobs that it has in another repository are mounted. The rest
//! streams from the one connection to the other, so that memory does not grow with the image, and is hashed on its way. A connection that
//! breaks goes on where it broke: at the source by a range, at the target by what it says it has.

mod advice;
mod held;
mod place;
mod progress;
mod referrers;
mod source;
mod target;
mod tree;
mod trouble;

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::task::JoinSet;

use self::{
    source::Reading,
    target::{Begun, Unsent, Way},
    tree::{Descriptor, Found, Read, distinct, names, written_in},
    trouble::Patience,
};
use super::{
    Manifest,
    digest::{Hasher, is_of},
    lane::Lane,
};

pub use self::{
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
    /// What it is for, as far as it says: `linux/amd64`.
    pub platforms: Vec<Box<str>>,
    /// The manifests of its index, where it is one.
    pub children: Vec<Box<str>>,
    /// Whether all of it was there.
    pub was_there: bool,
    /// How many referrers came along.
    pub referrers: usize,
}

/// What an image is of.
#[derive(Clone, Debug, Default)]
struct Contents {
    platforms: Vec<Box<str>>,
    children: Vec<Box<str>>,
}

/// What the tasks of one copy share.
struct Job {
    source: Place,
    target: Place,
    progress: Arc<Progress>,
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
                let by = if Hasher::of(&digest).is_some() {
                    &digest
                } else {
                    &*reference
                };
                let root = job.source.read(Side::Source, by).await?;
                job.clone().image(&root, tag.as_deref()).await?;
                Some(root)
            }
        };
        let digest = root.as_ref().map_or_else(|| digest.into(), |root| root.digest.clone());
        let referrers = match referrers {
            true => job.clone().referrers(&digest).await?,
            false => 0,
        };
        let Contents { platforms, children } = match described {
            true => job.contents(&digest, root).await?,
            false => Contents::default(),
        };
        Ok(Copied {
            digest,
            platforms,
            children,
            was_there,
            referrers,
        })
    }
}

impl Job {
    /// Brings a manifest and all that it names, and writes it last.
    async fn image(self: Arc<Self>, root: &Read, tag: Option<&str>) -> Result<bool, CopyError> {
        let (found, order) = self.found(root).await?;
        let mut blobs = Vec::new();
        for blob in distinct(found.values().map(|(_, names)| names)) {
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
            let mut below: Vec<Descriptor> = Vec::new();
            for read in std::mem::take(&mut level) {
                let names = names(&read)?;
                below.extend(names.manifests.iter().cloned());
                found.insert(read.digest.clone(), (read, names));
            }
            below.retain(|named| !found.contains_key(&named.digest));
            below.sort_by(|one, other| one.digest.cmp(&other.digest));
            below.dedup_by(|one, other| one.digest == other.digest);
            if below.is_empty() {
                let order = written_in(&found, &root.digest);
                return Ok((found, order));
            }
            if found.len() + below.len() > MOST_MANIFESTS {
                return Err(CopyError::Unsupported(format!(
                    "it has more than {MOST_MANIFESTS} manifests"
                )));
            }
            let read = below.into_iter().map(|named| self.lacked(named));
            let read: Vec<Option<Read>> = stream::iter(read).buffered(AT_ONCE).try_collect().await?;
            level = read.into_iter().flatten().collect();
        }
        Err(CopyError::Unsupported(format!(
            "it has indexes of indexes, more than {MOST_LEVELS} of them one in another"
        )))
    }

    /// A manifest that the target does not have. One that it has is there with all that it names.
    async fn lacked(&self, named: Descriptor) -> Result<Option<Read>, CopyError> {
        match self.target.digest(Side::Target, &named.digest).await? {
            Some(_) => Ok(None),
            None => self.source.read(Side::Source, &named.digest).await.map(Some),
        }
    }

    async fn source_has(&self, blob: &Descriptor) -> Result<bool, CopyError> {
        match self.source.has_blob(Side::Source, &blob.digest).await {
            Err(error) if !error.may_pass() => Ok(false),
            has => has,
        }
    }

    async fn blob(&self, blob: &Descriptor) -> Result<(), CopyError> {
        let digest = &*blob.digest;
        if self.target.has_blob(Side::Target, digest).await? {
            self.progress.is_there(digest, BlobState::Present);
            self.target.hold(digest);
            return Ok(());
        }
        // What somebody else sends there just now can be taken from him.
        let _alone = self.target.alone(digest).await;
        if self.target.holds(digest) && self.target.has_blob(Side::Target, digest).await? {
            self.progress.is_there(digest, BlobState::Present);
            return Ok(());
        }
        let from = self.mountable(digest);
        let begun = match self.target.begin(digest, from.as_deref()).await {
            // Mounting may take a right that sending does not.
            Err(error) if from.is_some() && !error.may_pass() => self.target.begin(digest, None).await?,
            begun => begun?,
        };
        let how = match begun {
            Begun::Mounted => BlobState::Mounted,
            Begun::Session(session) => {
                self.send(blob, session).await?;
                BlobState::Sent
            }
        };
        self.progress.is_there(digest, how);
        self.target.hold(digest);
        Ok(())
    }

    /// Another repository of the target's registry that has the blob.
    fn mountable(&self, digest: &str) -> Option<Box<str>> {
        let beside =
            self.source.remote.is_same(&self.target.remote) && self.source.repository != self.target.repository;
        if beside {
            return Some(self.source.repository.clone());
        }
        self.target.held(digest)
    }

    async fn send(&self, blob: &Descriptor, mut session: hyper::Uri) -> Result<(), CopyError> {
        let digest = &*blob.digest;
        let mut reading = Reading::of(blob)?;
        if blob.size == 0 && !is_of(digest, b"") {
            return Err(CopyError::OtherContent(digest.to_owned()));
        }
        let resumes = advice::Kind::of(&self.target.remote.host).resumes();
        let mut way = Way::Streamed;
        let mut from = 0;
        let mut patience = Patience::new();
        let tell = |done, sent| self.progress.reached(digest, done, sent);
        tell(0, 0);
        loop {
            let sent = match from == blob.size {
                true => Ok(Some(session.clone())),
                false => {
                    let _permits = Lane::enter_both(self.source.lane(), self.target.lane()).await;
                    let sending = self
                        .target
                        .send((&session, way), &self.source, blob, &mut reading, from, &tell);
                    sending.await
                }
            };
            let error = match sent {
                Ok(None) => return Ok(()),
                Ok(Some(finished)) => match self.target.finish(&finished, digest).await {
                    Ok(()) => return Ok(()),
                    // It may have been finished, and nobody heard of it.
                    Err(_) if self.target.has_blob(Side::Target, digest).await? => return Ok(()),
                    Err(error) => error,
                },
                // Whoever read it has waited for what passes already.
                Err(Unsent {
                    side: Side::Source,
                    error,
                }) => return Err(error),
                Err(Unsent { error, .. }) => error,
            };
            if way == Way::Streamed && knows_no_stream(&error) {
                way = Way::AtOnce;
            }
            let may_go_on = error.may_pass() && resumes && way == Way::Streamed;
            // What it says of a blob that nobody finished may be that it knows nothing of it.
            let error = match (&error, error.may_pass()) {
                (CopyError::Answer { .. }, false) => CopyError::Fault(super::Fault::Closed {
                    host: self.target.remote.host.to_string(),
                }),
                _ => error,
            };
            patience.after(error, self.target.lane()).await?;
            let received = match may_go_on {
                true => self.target.received(&session, digest).await?,
                false => None,
            };
            match received.filter(|(received, _)| *received <= blob.size) {
                Some((received, next)) => {
                    if received > from {
                        patience.renew();
                    }
                    (from, session) = (received, next);
                }
                None => match self.target.begin(digest, None).await? {
                    Begun::Mounted => return Ok(()),
                    Begun::Session(next) => (from, session) = (0, next),
                },
            }
            reading.rewind(from);
            tell(from, 0);
        }
    }

    /// What a manifest is for, and the manifests of an index. What cannot be found out is not said.
    async fn contents(&self, digest: &str, root: Option<Read>) -> Result<Contents, CopyError> {
        if let Some(known) = self.target.contents(digest) {
            return Ok(known);
        }
        let root = match root {
            Some(root) => root,
            None => self.target.read(Side::Target, digest).await?,
        };
        let contents = match Manifest::read(&root.json) {
            Manifest::Index(parts) => Contents {
                platforms: parts.iter().filter_map(|part| part.platform.clone()).collect(),
                children: parts.into_iter().map(|part| part.digest).collect(),
            },
            Manifest::Image { config: Some(config) } => {
                let place = &self.target;
                let platform = place.remote.platform(&place.repository, &config, place.login.as_ref());
                match platform.await {
                    Ok(super::Asked::Found(platform)) => Contents {
                        platforms: platform.into_iter().collect(),
                        children: Vec::new(),
                    },
                    _ => return Ok(Contents::default()),
                }
            }
            Manifest::Image { config: None } | Manifest::Other => Contents::default(),
        };
        self.target.know(digest, &contents);
        Ok(contents)
    }
}

/// Whether a target knows no uploads but those of one piece.
fn knows_no_stream(error: &CopyError) -> bool {
    use hyper::StatusCode;
    let CopyError::Answer { status, .. } = error else {
        return false;
    };
    matches!(*status, StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED)
}

/// Blobs of one copy, and questions about its manifests.
const AT_ONCE: usize = 4;

const MOST_LEVELS: usize = 4;
const MOST_MANIFESTS: usize = 1_000;

#[cfg(test)]
mod tests;
