//! Blobs, one by one: asked for, mounted, or sent until they are there.

use super::{
    Job, advice,
    held::Alone,
    progress::BlobState,
    source::{RENEWED, Reading},
    target::{Begun, Unsent, Way},
    tree::Descriptor,
    trouble::{CopyError, Patience, Side},
};
use crate::oci::lane::Lane;

impl Job {
    pub(super) async fn source_has(&self, blob: &Descriptor) -> Result<bool, CopyError> {
        match self.source.has_blob(Side::Source, &blob.digest).await {
            Err(error) if !error.may_pass() => Ok(false),
            has => has,
        }
    }

    pub(super) async fn blob(&self, blob: &Descriptor) -> Result<(), CopyError> {
        let digest = &*blob.digest;
        if self.target.has_blob(Side::Target, digest).await? {
            self.progress.is_there(digest, BlobState::Present);
            self.target.hold(digest);
            return Ok(());
        }
        // What somebody else sends there just now can be taken from him.
        let alone = self.target.alone(digest).await;
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
                self.send(blob, session, &alone).await?;
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

    async fn send(&self, blob: &Descriptor, mut session: hyper::Uri, alone: &Alone) -> Result<(), CopyError> {
        let digest = &*blob.digest;
        let mut reading = Reading::of(blob)?;
        if blob.size == 0 && !reading.is_all_of(blob) {
            return Err(CopyError::OtherContent(digest.to_owned()));
        }
        let resumes = advice::Kind::of(&self.target.remote.host).resumes();
        let mut way = Way::Streamed;
        let (mut from, mut renewed) = (0, 0);
        let (mut begun_anew, mut token_renewed) = (false, false);
        let mut patience = Patience::new();
        let tell = |done, sent| {
            self.progress.reached(digest, done, sent);
            alone.moved(sent);
        };
        tell(0, 0);
        loop {
            let sent = match from == blob.size {
                true => Ok(Some(session.clone())),
                false => {
                    let (reads, _writes) = Lane::enter_both(self.source.lane(), self.target.lane()).await;
                    let source = (&self.source, reads);
                    let sending = self
                        .target
                        .send((&session, way), source, blob, &mut reading, from, &tell);
                    sending.await
                }
            };
            let unsent = match sent {
                // Nothing is finished of which not all was seen to be what its digest says.
                Ok(_) if !reading.is_all_of(blob) => Unsent::Wrong(self.target.took_too_little()),
                Ok(None) => return Ok(()),
                Ok(Some(finished)) => match self.target.finish(&finished, digest).await {
                    Ok(()) => return Ok(()),
                    // It may have been finished, and nobody heard of it.
                    Err(_) if self.target.has_blob(Side::Target, digest).await? => return Ok(()),
                    Err(error) => Unsent::Target(error),
                },
                Err(unsent) => unsent,
            };
            let error = match unsent {
                // Whoever read it has waited for what passes already.
                Unsent::Source(error) => return Err(error),
                // Somebody between may have put it together wrongly: all of it once more, and no more often.
                Unsent::Wrong(error) if begun_anew => return Err(error),
                Unsent::Wrong(error) => {
                    tracing::debug!("a blob is sent once more from its beginning: {error}");
                    begun_anew = true;
                    match self.target.begin(digest, None).await? {
                        Begun::Mounted => return Ok(()),
                        Begun::Session(next) => (from, renewed, session) = (0, 0, next),
                    }
                    reading = Reading::of(blob)?;
                    tell(0, 0);
                    continue;
                }
                // Its time was over: whoever asks next has a new one.
                Unsent::Token(_) if !token_renewed => {
                    token_renewed = true;
                    CopyError::Fault(self.target.closed())
                }
                Unsent::Token(error) | Unsent::Target(error) => error,
            };
            if way == Way::Streamed && knows_no_stream(&error) {
                way = Way::AtOnce;
            }
            let may_go_on = error.may_pass() && resumes && way == Way::Streamed;
            // What it says of a blob that nobody finished may be that it knows nothing of it.
            let error = match (&error, error.may_pass()) {
                (CopyError::Answer { .. }, false) => CopyError::Fault(self.target.closed()),
                _ => error,
            };
            patience.after(error, self.target.lane()).await?;
            let received = match may_go_on {
                true => self.target.received(&session, digest).await?,
                false => None,
            };
            match received.filter(|(received, _)| *received <= blob.size) {
                Some((received, next)) => {
                    if received >= renewed + RENEWED {
                        patience.renew();
                        renewed = received;
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
}

/// Whether a target knows no uploads but those of one piece.
fn knows_no_stream(error: &CopyError) -> bool {
    use hyper::StatusCode;
    let CopyError::Answer { status, .. } = error else {
        return false;
    };
    matches!(*status, StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED)
}
