//! Blobs as they are read: piece by piece, each hashed on its way, and again from where it stopped when a connection breaks.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::{
    Method, StatusCode,
    body::Bytes,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, HeaderValue, RANGE},
};
use tokio::{sync::mpsc, time::timeout};

use super::{
    super::{digest::Hasher, exchange::Answer, fault::Fault},
    place::Place,
    tree::Descriptor,
    trouble::{CopyError, Patience, Side},
};

/// How far a blob was read, and what is known of what was.
pub(super) struct Reading {
    at: u64,
    hasher: Hasher,
    /// The same at earlier places, by their order: from there it can be read again.
    marks: Vec<(u64, Hasher)>,
}

/// Why whoever was to have the pieces takes no more of them.
pub(super) enum Untaken {
    /// There is an answer already, or no connection any more.
    Gone,
    /// Nothing moves.
    Stalled,
}

impl Reading {
    /// From the beginning.
    pub(super) fn of(blob: &Descriptor) -> Result<Self, CopyError> {
        let unknown = || {
            CopyError::Unsupported(format!(
                "{} is a digest of a kind that Waypost cannot check",
                blob.digest.escape_debug()
            ))
        };
        let hasher = Hasher::of(&blob.digest).ok_or_else(unknown)?;
        Ok(Self {
            at: 0,
            marks: vec![(0, hasher.clone())],
            hasher,
        })
    }

    /// Reads again from this place, or from one before it that is known.
    pub(super) fn rewind(&mut self, to: u64) {
        if to >= self.at {
            return;
        }
        while self.marks.len() > 1 && self.marks.last().is_some_and(|(at, _)| *at > to) {
            self.marks.pop();
        }
        if let Some((at, hasher)) = self.marks.last() {
            (self.at, self.hasher) = (*at, hasher.clone());
        }
    }

    fn take(&mut self, piece: &[u8]) {
        self.hasher.update(piece);
        self.at += piece.len() as u64;
        let last = self.marks.last().map_or(0, |(at, _)| *at);
        if self.at - last >= MARK_EVERY {
            self.marks.push((self.at, self.hasher.clone()));
        }
    }
}

impl Place {
    /// Reads the rest of a blob, and gives what is behind `from` to `to`. Ok only when all of it is what its digest says.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is something else; [`Untaken`] where nobody takes it.
    pub(super) async fn pump(
        &self,
        blob: &Descriptor,
        reading: &mut Reading,
        from: u64,
        to: mpsc::Sender<Bytes>,
    ) -> Result<Result<(), Untaken>, CopyError> {
        let mut patience = Patience::new();
        let mut again = false;
        while reading.at < blob.size {
            let before = reading.at;
            let opened = self.open(blob, reading.at).await;
            let stopped = match opened {
                Ok((answer, skip)) => self.pass_on(answer, skip, blob, reading, from, &to).await,
                Err(error) => Err(Stop::Error(error)),
            };
            let error = match stopped {
                Ok(()) => break,
                Err(Stop::Untaken(why)) => return Ok(Err(why)),
                // More of it would be no better.
                Err(Stop::Error(error @ CopyError::OtherContent(_))) => {
                    reading.rewind(0);
                    return Err(error);
                }
                Err(Stop::Error(error)) => error,
            };
            if reading.at > before {
                patience.renew();
            }
            patience.after(error, self.lane()).await?;
            again = true;
        }
        if reading.hasher.clone().digest() != *blob.digest {
            // Somebody may have put two answers together wrongly: all of it is read once more, by whoever asked.
            tracing::debug!(again, "the blob {} is something else than its digest says", blob.digest);
            reading.rewind(0);
            return Err(CopyError::OtherContent(blob.digest.to_string()));
        }
        Ok(Ok(()))
    }

    /// The rest of a blob, and how many bytes of it come before that, where its registry begins at the beginning.
    async fn open(&self, blob: &Descriptor, at: u64) -> Result<(Answer, u64), CopyError> {
        let scope = self.scope(Side::Source);
        let mut wanted = self.wanted(Method::GET, self.uri(&format!("blobs/{}", blob.digest)), &scope);
        if at > 0
            && let Ok(range) = HeaderValue::from_str(&format!("bytes={at}-"))
        {
            wanted.headers.insert(RANGE, range);
        }
        let what = format!("{}/{}@{}", self.remote.host, self.repository, blob.digest);
        let answer = self.remote.ask(&wanted).await;
        let answer = answer.map_err(|denied| CopyError::denied(denied, Side::Source, &what))?;
        match answer.status() {
            // The manifest says something else of it.
            StatusCode::OK if length(&answer).is_some_and(|length| length != blob.size) => {
                Err(CopyError::OtherContent(blob.digest.to_string()))
            }
            StatusCode::OK => Ok((answer, at)),
            StatusCode::PARTIAL_CONTENT if begins_at(&answer) == Some(at) => Ok((answer, 0)),
            // Whoever it was sent to may take the address no more: the next one is another.
            status if !answer.first_hand => Err(CopyError::Fault(Fault::Server {
                host: answer.host.clone(),
                status,
            })),
            _ => Err(CopyError::of(answer, Side::Source, &what).await),
        }
    }

    async fn pass_on(
        &self,
        answer: Answer,
        mut skip: u64,
        blob: &Descriptor,
        reading: &mut Reading,
        from: u64,
        to: &mpsc::Sender<Bytes>,
    ) -> Result<(), Stop> {
        let host = answer.host.clone();
        let mut body = answer.response.into_body();
        loop {
            let frame = match timeout(STALLED, body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(None) if reading.at == blob.size => return Ok(()),
                Ok(None | Some(Err(_))) => return Err(Fault::Closed { host }.into()),
                Err(_) => {
                    let seconds = STALLED.as_secs();
                    return Err(Fault::TimedOut { host, seconds }.into());
                }
            };
            let Ok(mut piece) = frame.into_data() else { continue };
            let skipped = skip.min(piece.len() as u64);
            skip -= skipped;
            let _ = piece.split_to(usize::try_from(skipped).unwrap_or(piece.len()));
            if piece.is_empty() {
                continue;
            }
            let begin = reading.at;
            if begin + piece.len() as u64 > blob.size {
                return Err(Stop::Error(CopyError::OtherContent(blob.digest.to_string())));
            }
            reading.take(&piece);
            let known = from.saturating_sub(begin).min(piece.len() as u64);
            let _ = piece.split_to(usize::try_from(known).unwrap_or(piece.len()));
            if piece.is_empty() {
                continue;
            }
            match timeout(UNTAKEN, to.send(piece)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(Stop::Untaken(Untaken::Gone)),
                Err(_) => return Err(Stop::Untaken(Untaken::Stalled)),
            }
        }
    }
}

/// Why a connection was left.
enum Stop {
    Untaken(Untaken),
    Error(CopyError),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Error(CopyError::Fault(fault))
    }
}

/// The bytes of all of it, where that is said. What was squeezed for its way has another length on it.
fn length(answer: &Answer) -> Option<u64> {
    if answer.headers().contains_key(CONTENT_ENCODING) {
        return None;
    }
    answer.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Where a part begins (RFC 9110, section 14.4).
fn begins_at(answer: &Answer) -> Option<u64> {
    let range = answer.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}

/// Bytes. What is known of one place is some hundred.
const MARK_EVERY: u64 = 8 * 1024 * 1024;

/// Between two pieces.
const STALLED: Duration = Duration::from_secs(30);

/// For one piece to be taken.
pub(super) const UNTAKEN: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::digest::sha256;

    #[test]
    fn a_blob_can_be_read_again_from_any_place() {
        let content: Vec<u8> = (0..40_000_000_u32)
            .map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes()[0])
            .collect();
        let blob: Descriptor =
            serde_json::from_value(serde_json::json!({"digest": sha256(&content), "size": content.len()})).unwrap();
        let mut reading = Reading::of(&blob).unwrap();
        for piece in content.chunks(100_000) {
            reading.take(piece);
        }
        for place in [39_999_999_u64, 17_000_000, 16_000_001, 8_388_608, 5, 0] {
            reading.rewind(place);
            assert!(
                reading.at <= place && place - reading.at < MARK_EVERY + 100_000,
                "{place} {}",
                reading.at
            );
            let at = usize::try_from(reading.at).unwrap();
            for piece in content[at..].chunks(77_777) {
                reading.take(piece);
            }
            assert_eq!(reading.hasher.clone().digest(), *blob.digest);
        }
    }
}
