//! What is written: blobs, which are asked for first, mounted where the registry has them elsewhere, and sent otherwise; manifests.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http_body_util::BodyExt;
use hyper::{
    Method, StatusCode, Uri,
    body::{Body, Bytes, Frame, SizeHint},
    header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderValue, LOCATION, RANGE},
};
use tokio::{
    sync::{SemaphorePermit, mpsc},
    time::timeout,
};

use super::{
    super::{exchange::Answer, fault::Fault},
    place::Place,
    source::{Reading, UNTAKEN, Untaken},
    tree::{Descriptor, Read},
    trouble::{CopyError, Side},
};

/// What becomes of a blob that is about to be sent.
pub(super) enum Begun {
    /// The registry had it.
    Mounted,
    /// It is sent there.
    Session(Uri),
}

/// Why a blob was not sent, and who is to blame.
pub(super) enum Unsent {
    /// It cannot be read.
    Source(CopyError),
    /// It cannot be written.
    Target(CopyError),
    /// The target does not take the token for it, which is forgotten.
    Token(CopyError),
    /// What came, or what was taken, is not what it should be.
    Wrong(CopyError),
}

/// How a blob is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// As a stream that can go on where it broke, and is finished by itself.
    Streamed,
    /// In one piece with its digest, for registries that know nothing else.
    AtOnce,
}

impl Place {
    pub(super) async fn has_blob(&self, side: Side, digest: &str) -> Result<bool, CopyError> {
        let scope = self.scope(side);
        let wanted = self.wanted(Method::HEAD, self.uri(&format!("blobs/{digest}")), &scope);
        let what = self.blob_name(digest);
        let answer = self.ask(side, &wanted, &what).await?;
        match answer.status() {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(CopyError::of(answer, side, &what).await),
        }
    }

    /// Begins to send a blob, or has the registry take it from another repository of its own.
    pub(super) async fn begin(&self, digest: &str, mount_from: Option<&str>) -> Result<Begun, CopyError> {
        let mut scope = self.scope(Side::Target);
        let mut path = "blobs/uploads/".to_owned();
        if let Some(from) = mount_from {
            scope.push_str(&format!(" repository:{from}:pull"));
            path.push_str(&format!("?mount={digest}&from={from}"));
        }
        let mut wanted = self.wanted(Method::POST, self.uri(&path), &scope);
        wanted.headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        let what = self.blob_name(digest);
        let answer = self.ask(Side::Target, &wanted, &what).await?;
        match answer.status() {
            StatusCode::CREATED => {
                answer.finish().await;
                Ok(Begun::Mounted)
            }
            // Also where it could not be mounted.
            StatusCode::ACCEPTED => {
                let session = self.location(&answer);
                answer.finish().await;
                session.map(Begun::Session).ok_or_else(|| self.no_location())
            }
            StatusCode::NOT_FOUND if mount_from.is_none() => Err(self.no_repository(answer).await),
            _ => Err(CopyError::of(answer, Side::Target, &what).await),
        }
    }

    /// Sends what is behind `from`, and answers where the blob is to be finished; none where it is.
    pub(super) async fn send(
        &self,
        (session, way): (&Uri, Way),
        (source, reads): (&Place, Option<SemaphorePermit<'_>>),
        blob: &Descriptor,
        reading: &mut Reading,
        from: u64,
        tell: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<Option<Uri>, Unsent> {
        let target = Unsent::Target;
        let scope = self.scope(Side::Target);
        let (method, uri) = match way {
            Way::Streamed => (Method::PATCH, session.clone()),
            Way::AtOnce => (Method::PUT, self.with_digest(session, &blob.digest).map_err(target)?),
        };
        let mut wanted = self.wanted(method, uri, &scope);
        wanted.within = FOREVER;
        let octets = HeaderValue::from_static("application/octet-stream");
        wanted.headers.insert(CONTENT_TYPE, octets);
        if from > 0 {
            let range = HeaderValue::from_str(&format!("{from}-{}", blob.size.saturating_sub(1)));
            if let Ok(range) = range {
                wanted.headers.insert(CONTENT_RANGE, range);
            }
        }
        let what = self.blob_name(&blob.digest);
        let (pieces, taken) = mpsc::channel(PIECES);
        let (told, mut tells) = mpsc::unbounded_channel();
        let body = Stream {
            pieces: taken,
            rest: blob.size - from,
            told,
        };
        let mut request = std::pin::pin!(self.remote.send(&wanted, body.boxed()));
        let pump = async {
            let pumped = source.pump(blob, reading, from, pieces).await;
            // A target that takes long to answer keeps nobody from the source.
            drop(reads);
            pumped
        };
        let mut pump = std::pin::pin!(pump);
        let mut done = from;
        let answer = loop {
            tokio::select! {
                answer = &mut request => break answer,
                pumped = &mut pump => match pumped {
                    Ok(Ok(())) => {
                        // All of it is on its way.
                        let answer = loop {
                            tokio::select! {
                                answer = timeout(COMMIT, &mut request) => break answer,
                                Some(sent) = tells.recv() => {
                                    done += sent;
                                    tell(done, sent);
                                }
                            }
                        };
                        break answer.unwrap_or_else(|_| Err(self.stalled(COMMIT).into()));
                    }
                    Ok(Err(Untaken::Gone)) => break (&mut request).await,
                    Ok(Err(Untaken::Stalled)) => return Err(target(CopyError::Fault(self.stalled(UNTAKEN)))),
                    Err(error @ CopyError::OtherContent(_)) => return Err(Unsent::Wrong(error)),
                    Err(error) => return Err(Unsent::Source(error)),
                },
                Some(sent) = tells.recv() => {
                    done += sent;
                    tell(done, sent);
                }
            }
        };
        let answer = answer.map_err(|denied| target(CopyError::denied(denied, Side::Target, &what)))?;
        let (answer, forgotten) = answer;
        match answer.status() {
            StatusCode::ACCEPTED | StatusCode::CREATED | StatusCode::NO_CONTENT => {
                let next = match way {
                    Way::Streamed => Some(self.location(&answer).unwrap_or_else(|| session.clone())),
                    Way::AtOnce => None,
                };
                answer.finish().await;
                Ok(next)
            }
            _ if forgotten => Err(Unsent::Token(CopyError::of(answer, Side::Target, &what).await)),
            _ => Err(target(CopyError::of(answer, Side::Target, &what).await)),
        }
    }

    /// How much of a blob is there, and where to go on; none where nobody knows of it any more.
    pub(super) async fn received(&self, session: &Uri, digest: &str) -> Result<Option<(u64, Uri)>, CopyError> {
        let scope = self.scope(Side::Target);
        let wanted = self.wanted(Method::GET, session.clone(), &scope);
        let answer = self.ask(Side::Target, &wanted, &self.blob_name(digest)).await?;
        let range = answer.headers().get(RANGE).and_then(|range| range.to_str().ok());
        let last = range.and_then(|range| {
            range
                .trim_start_matches("bytes=")
                .strip_prefix("0-")?
                .parse::<u64>()
                .ok()
        });
        let there = matches!(answer.status(), StatusCode::NO_CONTENT | StatusCode::OK);
        let next = self.location(&answer).unwrap_or_else(|| session.clone());
        answer.finish().await;
        // `0-0` is one byte, or none.
        Ok(last.filter(|last| there && *last > 0).map(|last| (last + 1, next)))
    }

    /// The blob is all there.
    pub(super) async fn finish(&self, session: &Uri, digest: &str) -> Result<(), CopyError> {
        let what = self.blob_name(digest);
        let scope = self.scope(Side::Target);
        let mut wanted = self.wanted(Method::PUT, self.with_digest(session, digest)?, &scope);
        wanted.headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        wanted.within = COMMIT;
        let answer = self.ask(Side::Target, &wanted, &what).await?;
        match answer.status() {
            StatusCode::CREATED | StatusCode::OK | StatusCode::NO_CONTENT => {
                answer.finish().await;
                Ok(())
            }
            _ => Err(CopyError::of(answer, Side::Target, &what).await),
        }
    }

    /// Writes a manifest by a tag or by its digest. Whether the registry keeps whose referrer it is.
    pub(super) async fn write(&self, reference: &str, manifest: &Read) -> Result<bool, CopyError> {
        let what = self.manifest_name(reference);
        let scope = self.scope(Side::Target);
        let mut wanted = self.wanted(Method::PUT, self.uri(&format!("manifests/{reference}")), &scope);
        let Ok(kind) = HeaderValue::from_str(&manifest.media_type) else {
            return Err(CopyError::Unsupported(format!(
                "{} has a media type that cannot be sent",
                manifest.digest
            )));
        };
        wanted.headers.insert(CONTENT_TYPE, kind);
        wanted.body = Some(manifest.json.clone());
        wanted.within = COMMIT;
        let answer = self.ask(Side::Target, &wanted, &what).await?;
        match answer.status() {
            StatusCode::CREATED | StatusCode::OK | StatusCode::ACCEPTED => {
                let keeps = answer.headers().contains_key("oci-subject");
                answer.finish().await;
                Ok(keeps)
            }
            StatusCode::NOT_FOUND => Err(self.no_repository(answer).await),
            _ => Err(CopyError::of(answer, Side::Target, &what).await),
        }
    }

    fn location(&self, answer: &Answer) -> Option<Uri> {
        let location = answer.headers().get(LOCATION)?.to_str().ok()?;
        self.led(&self.uri("blobs/uploads/"), location)
    }

    fn with_digest(&self, session: &Uri, digest: &str) -> Result<Uri, CopyError> {
        let separator = if session.query().is_some() { '&' } else { '?' };
        let uri = format!("{session}{separator}digest={digest}").parse();
        uri.map_err(|_| self.no_location())
    }

    async fn no_repository(&self, answer: Answer) -> CopyError {
        let said = match CopyError::of(answer, Side::Target, "").await {
            CopyError::Answer { said, .. } => said,
            _ => None,
        };
        CopyError::NoRepository {
            host: self.remote.host.to_string(),
            repository: self.repository.to_string(),
            said,
            advice: String::new(),
        }
    }

    fn no_location(&self) -> CopyError {
        CopyError::Fault(Fault::NotARegistry {
            host: self.remote.host.to_string(),
            what: "it does not say where a blob is to be sent".to_owned(),
        })
    }

    /// What it answers where it says that it took a blob before all of it was sent.
    pub(super) fn took_too_little(&self) -> CopyError {
        CopyError::Fault(Fault::NotARegistry {
            host: self.remote.host.to_string(),
            what: "it says that it has taken a blob of which not all was sent to it".to_owned(),
        })
    }

    pub(super) fn closed(&self) -> Fault {
        Fault::Closed {
            host: self.remote.host.to_string(),
        }
    }

    fn stalled(&self, after: Duration) -> Fault {
        Fault::TimedOut {
            host: self.remote.host.to_string(),
            seconds: after.as_secs(),
        }
    }

    /// A blob, as people know it.
    fn blob_name(&self, digest: &str) -> String {
        format!("{}/{}@{digest}", self.remote.host, self.repository)
    }
}

/// A body of known length that somebody else makes while it is sent.
struct Stream {
    pieces: mpsc::Receiver<Bytes>,
    rest: u64,
    /// Told of the bytes that were taken.
    told: mpsc::UnboundedSender<u64>,
}

impl Body for Stream {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if self.rest == 0 {
            return Poll::Ready(None);
        }
        let piece = std::task::ready!(self.pieces.poll_recv(context));
        Poll::Ready(Some(match piece {
            Some(piece) => {
                let length = piece.len() as u64;
                self.rest = self.rest.saturating_sub(length);
                // Nobody counts any more where nobody waits for the answer.
                let _ = self.told.send(length);
                Ok(Frame::data(piece))
            }
            None => Err("its source has failed".into()),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.rest == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest)
    }
}

/// That are on their way from the one connection to the other.
const PIECES: usize = 4;

/// For the answer to something of which all was sent: some registries put a blob together then.
const COMMIT: Duration = Duration::from_secs(300);

/// A stream is watched for whether it goes on.
const FOREVER: Duration = Duration::from_secs(7 * 86_400);
