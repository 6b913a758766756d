//! Blobs as they are read: piece by piece, each hashed on its way, and again from where it stopped when a connection breaks.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::{
    Method, StatusCode,
    body::Bytes,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, HeaderValue, RANGE},
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};

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

    /// Whether all of the blob was read, and is what its digest says.
    pub(super) fn is_all_of(&self, blob: &Descriptor) -> bool {
        self.at == blob.size && self.hasher.clone().digest() == *blob.digest
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
    /// Reads the rest of a blob, and gives what is behind `from` to `to`: the last of it only when all of it is what its digest says.
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
        let mut renewed = reading.at;
        while reading.at < blob.size {
            let opened = self.open(blob, reading.at).await;
            let stopped = match opened {
                Ok((answer, skip)) => self.pass_on(answer, skip, blob, reading, from, &to).await,
                Err(error) => Err(Stop::Error(error)),
            };
            let error = match stopped {
                Ok(()) => break,
                Err(Stop::Untaken(why)) => return Ok(Err(why)),
                // More of it would be no better: whoever asked may begin anew.
                Err(Stop::Error(error @ CopyError::OtherContent(_))) => return Err(error),
                Err(Stop::Error(error)) => error,
            };
            // Who gives a byte now and then is not waited for again and again.
            if reading.at >= renewed + RENEWED {
                patience.renew();
                renewed = reading.at;
            }
            patience.after(error, self.lane()).await?;
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
        let (mut given, mut taken) = (Pace::default(), Pace::default());
        while reading.at < blob.size {
            let asked = Instant::now();
            let stalled = |after: Duration| Fault::TimedOut {
                host: host.clone(),
                seconds: after.as_secs(),
            };
            let frame = match timeout(STALLED, body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(None | Some(Err(_))) => return Err(Fault::Closed { host }.into()),
                Err(_) => return Err(stalled(STALLED).into()),
            };
            let length = frame.data_ref().map_or(0, Bytes::len);
            if !given.keeps_up(length, asked.elapsed()) {
                return Err(stalled(WINDOW).into());
            }
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
            // Whoever takes it never has all of something else.
            if reading.at == blob.size && !reading.is_all_of(blob) {
                return Err(Stop::Error(CopyError::OtherContent(blob.digest.to_string())));
            }
            let known = from.saturating_sub(begin).min(piece.len() as u64);
            let _ = piece.split_to(usize::try_from(known).unwrap_or(piece.len()));
            if piece.is_empty() {
                continue;
            }
            let (length, offered) = (piece.len(), Instant::now());
            match timeout(UNTAKEN, to.send(piece)).await {
                Ok(Ok(())) if taken.keeps_up(length, offered.elapsed()) => {}
                Ok(Err(_)) => return Err(Stop::Untaken(Untaken::Gone)),
                Ok(Ok(())) | Err(_) => return Err(Stop::Untaken(Untaken::Stalled)),
            }
        }
        // The end of the answer, so that its connection can be used again.
        let _ = timeout(END, body.frame()).await;
        Ok(())
    }
}

/// What comes while somebody is waited for, window by window: the time in which he waits himself is not his.
#[derive(Default)]
struct Pace {
    bytes: usize,
    waited: Duration,
}

impl Pace {
    /// Whether it is not too little.
    fn keeps_up(&mut self, bytes: usize, waited: Duration) -> bool {
        self.bytes = self.bytes.saturating_add(bytes);
        self.waited += waited;
        if self.waited < WINDOW {
            return true;
        }
        let enough = self.bytes >= LEAST;
        *self = Self::default();
        enough
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

/// Of waiting, in which so many bytes come at least: a kilobyte a second.
const WINDOW: Duration = Duration::from_secs(60);
const LEAST: usize = 64 * 1024;

/// For the end of an answer of which all is there.
const END: Duration = Duration::from_secs(1);

/// Bytes after which somebody is waited for as patiently as at first.
pub(super) const RENEWED: u64 = 1024 * 1024;

/// For one piece to be taken.
pub(super) const UNTAKEN: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::digest::sha256;

    #[test]
    fn who_gives_a_byte_now_and_then_does_not_keep_up() {
        let mut pace = Pace::default();
        let minute: Vec<bool> = (0..4).map(|_| pace.keeps_up(1, Duration::from_secs(15))).collect();
        assert_eq!(minute, [true, true, true, false]);
        // The next window begins at nothing, and a long wait alone is none too long.
        assert!(pace.keeps_up(LEAST, Duration::from_secs(29)) && pace.keeps_up(0, Duration::from_secs(31)));
        assert!(pace.keeps_up(0, Duration::from_secs(59)) && !pace.keeps_up(LEAST - 1, Duration::from_secs(1)));
    }

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
