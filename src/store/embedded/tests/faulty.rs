//! A disk that loses what was not synced, gets full, and fails.

use std::{
    io,
    iter::once,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use redb::StorageBackend;

/// Shared by the store and by the test that breaks it.
#[derive(Clone, Debug, Default)]
pub(super) struct Faulty(Arc<Mutex<Image>>);

#[derive(Debug, Default)]
struct Image {
    /// What is on the disk.
    durable: Vec<u8>,
    /// What is read: what is on the disk and what was written since.
    current: Vec<u8>,
    /// What was written since, in its order.
    unsynced: Vec<Unsynced>,
    plan: Plan,
    /// How many operations were planned for and have failed.
    failed: u64,
}

#[derive(Debug)]
enum Unsynced {
    Write(u64, Vec<u8>),
    Length(u64),
}

/// What is to go wrong.
#[derive(Debug, Default)]
pub(super) enum Plan {
    /// Nothing.
    #[default]
    Nothing,
    /// After so many writes, syncs and changes of the length the process is gone, and does nothing more.
    Crash(u64),
    /// After so many of them, each fails with this error, so many times.
    Errors(u64, io::ErrorKind, u64),
    /// After so many syncs, so many fail.
    Syncs(u64, u64),
    /// It cannot grow.
    NoRoom,
}

impl Faulty {
    pub(super) fn of(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(Image {
            current: bytes.clone(),
            durable: bytes,
            ..Image::default()
        })))
    }

    pub(super) fn plan(&self, plan: Plan) {
        let mut image = self.image();
        image.plan = plan;
        image.failed = 0;
    }

    /// How many operations have failed since there is this plan.
    pub(super) fn failed(&self) -> u64 {
        self.image().failed
    }

    /// Whether nothing more is to go wrong.
    pub(super) fn is_well(&self) -> bool {
        matches!(self.image().plan, Plan::Nothing)
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.image().current.clone()
    }

    /// The power goes: each write since the last sync is on the disk, is not, or is in part.
    pub(super) fn lose_power(&self, random: &mut Random) {
        let mut image = self.image();
        let mut disk = std::mem::take(&mut image.durable);
        for unsynced in std::mem::take(&mut image.unsynced) {
            match unsynced {
                Unsynced::Length(length) => {
                    if random.one_in(2) {
                        disk.resize(length as usize, 0);
                    }
                }
                Unsynced::Write(offset, data) => {
                    for kept in torn(data.len(), random) {
                        put(&mut disk, offset as usize + kept.start, &data[kept]);
                    }
                }
            }
        }
        image.durable = disk.clone();
        image.current = disk;
        image.plan = Plan::Nothing;
    }

    fn image(&self) -> MutexGuard<'_, Image> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As a file does: it grows where it is too short.
fn put(bytes: &mut Vec<u8>, at: usize, data: &[u8]) {
    if bytes.len() < at + data.len() {
        bytes.resize(at + data.len(), 0);
    }
    bytes[at..at + data.len()].copy_from_slice(data);
}

/// Which of so many bytes reach the disk.
fn torn(length: usize, random: &mut Random) -> Vec<std::ops::Range<usize>> {
    let at = random.below(length + 1);
    match random.below(6) {
        0 | 1 => once(0..length).collect(),
        2 | 3 => vec![],
        4 if random.one_in(2) => once(0..at).collect(),
        4 => once(at..length).collect(),
        _ => (0..length)
            .step_by(SECTOR)
            .filter(|_| random.one_in(2))
            .map(|start| start..length.min(start + SECTOR))
            .collect(),
    }
}

impl Image {
    /// Whether the next operation is done.
    fn next(&mut self) -> io::Result<()> {
        let error = match &mut self.plan {
            Plan::Nothing | Plan::NoRoom | Plan::Syncs(..) => return Ok(()),
            Plan::Crash(left) | Plan::Errors(left, ..) if *left > 0 => {
                *left -= 1;
                return Ok(());
            }
            Plan::Crash(_) => io::Error::other("the process is gone"),
            Plan::Errors(_, kind, times) => {
                let error = io::Error::from(*kind);
                *times -= 1;
                if *times == 0 {
                    self.plan = Plan::Nothing;
                }
                error
            }
        };
        self.failed += 1;
        Err(error)
    }
}

impl Image {
    /// Whether the next sync is done.
    fn next_sync(&mut self) -> io::Result<()> {
        let Plan::Syncs(before, times) = &mut self.plan else {
            return Ok(());
        };
        if *before > 0 {
            *before -= 1;
            return Ok(());
        }
        *times -= 1;
        if *times == 0 {
            self.plan = Plan::Nothing;
        }
        self.failed += 1;
        Err(io::ErrorKind::Other.into())
    }
}

impl StorageBackend for Faulty {
    fn len(&self) -> io::Result<u64> {
        Ok(self.image().current.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let image = self.image();
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let end = offset.checked_add(out.len()).filter(|end| *end <= image.current.len());
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(&image.current[offset..end]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if len > MOST_BYTES {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let mut image = self.image();
        image.next()?;
        if matches!(image.plan, Plan::NoRoom) && len > image.current.len() as u64 {
            image.failed += 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        image.current.resize(len as usize, 0);
        image.unsynced.push(Unsynced::Length(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut image = self.image();
        let crash = matches!(image.plan, Plan::Crash(_));
        if let Err(error) = image.next().and_then(|()| image.next_sync()) {
            if !crash {
                // As Linux does: it is not on the disk, and counts as written.
                image.unsynced.clear();
            }
            return Err(error);
        }
        let image = &mut *image;
        for unsynced in image.unsynced.drain(..) {
            match unsynced {
                Unsynced::Length(length) => image.durable.resize(length as usize, 0),
                Unsynced::Write(offset, data) => put(&mut image.durable, offset as usize, &data),
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut image = self.image();
        image.next()?;
        put(&mut image.current, offset as usize, data);
        image.unsynced.push(Unsynced::Write(offset, data.to_vec()));
        Ok(())
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): the same numbers for the same seed.
#[derive(Clone, Debug)]
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 up to, and not including, the bound.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub(super) fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }
}

const SECTOR: usize = 512;

/// More than any of these tests writes.
const MOST_BYTES: u64 = 64 * 1024 * 1024;
