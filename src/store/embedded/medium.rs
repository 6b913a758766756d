//! What the store is written on: a file that is this process's alone, or memory.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use redb::{StorageBackend, backends::InMemoryBackend};

use super::OpenError;

/// What a database is on, which outlives the database: after an error of writing it is opened again.
pub(super) trait Medium: StorageBackend {
    /// Brings to the disk what an earlier attempt may have left in memory only. Called while no database is open.
    fn mend(&self) -> io::Result<()> {
        Ok(())
    }
}

impl Medium for InMemoryBackend {}

/// The file of a store, locked for as long as it is not dropped.
#[derive(Debug)]
pub(super) struct Disk {
    file: File,
    /// Whether a sync failed: the kernel tells it once, and takes the pages for written from then on.
    unsynced: AtomicBool,
}

/// What there was at the path.
pub(super) enum Found<'p> {
    /// A store, or what should be one.
    Present(Disk),
    /// Nothing: the caller makes a store of it, and puts it in its place with [`New::finish`].
    Absent(New<'p>),
}

/// An empty file beside the place that the store is to have, so that an interrupted first start leaves no half of a store.
pub(super) struct New<'p> {
    disk: Arc<Disk>,
    path: &'p Path,
}

impl Disk {
    /// Opens the file at the path, or makes a new one beside it.
    pub(super) fn open(path: &Path) -> Result<Found<'_>, OpenError> {
        let failed = |source| OpenError::io(path, source);
        let temporary = path.with_added_extension("new");
        if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty() && !dir.exists()) {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(dir)
                .map_err(failed)?;
        }
        loop {
            match OpenOptions::new().read(true).write(true).open(path) {
                Ok(file) => {
                    lock(&file, path)?;
                    tighten(&file, path)?;
                    return Ok(Found::Present(Self::new(file)));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(error)),
            }
            // Also where the path is a link that leads nowhere: the store is not to take its place.
            if fs::symlink_metadata(path).is_ok() {
                return Err(failed(io::Error::from(io::ErrorKind::NotFound)));
            }
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&temporary)
                .map_err(|source| OpenError::io(&temporary, source))?;
            lock(&file, path)?;
            if fs::symlink_metadata(path).is_ok() {
                // Another process has finished one since.
                continue;
            }
            file.set_len(0).map_err(|source| OpenError::io(&temporary, source))?;
            let disk = Arc::new(Self::new(file));
            return Ok(Found::Absent(New { disk, path }));
        }
    }

    fn new(file: File) -> Self {
        Self {
            file,
            unsynced: AtomicBool::new(false),
        }
    }
}

impl New<'_> {
    pub(super) fn disk(&self) -> Arc<Disk> {
        self.disk.clone()
    }

    /// Puts it in its place.
    pub(super) fn finish(self) -> Result<(), OpenError> {
        let failed = |source| OpenError::io(self.path, source);
        self.disk.file.sync_all().map_err(failed)?;
        fs::rename(self.path.with_added_extension("new"), self.path).map_err(failed)?;
        let dir = self.path.parent().filter(|dir| !dir.as_os_str().is_empty());
        File::open(dir.unwrap_or(Path::new(".")))
            .and_then(|dir| dir.sync_all())
            .map_err(failed)
    }
}

/// A lock of the file, which the kernel ends with the process.
fn lock(file: &File, path: &Path) -> Result<(), OpenError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(path.display().to_string())),
        Err(TryLockError::Error(source)) => Err(OpenError::io(path, source)),
    }
}

/// There are passwords in it.
fn tighten(file: &File, path: &Path) -> Result<(), OpenError> {
    let metadata = file.metadata().map_err(|source| OpenError::io(path, source))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    file.set_permissions(Permissions::from_mode(0o600))
        .map_err(|source| OpenError::Exposed {
            path: path.display().to_string(),
            source,
        })?;
    tracing::warn!(
        path = %path.display(),
        "others could read or write the store, which has passwords in it: its mode was {mode:o}, and is 600 now"
    );
    Ok(())
}

impl Medium for Disk {
    fn mend(&self) -> io::Result<()> {
        if !self.unsynced.load(Ordering::Acquire) {
            return Ok(());
        }
        // What can be read is what will be on the disk; that it is whole is checked when it is opened. The header comes last: what it
        // refers to must be there before it.
        let length = self.file.metadata()?.len();
        let mut page = vec![0; PAGE];
        for offset in (0..length).step_by(PAGE).skip(1).chain([0]) {
            if offset == 0 {
                self.file.sync_data()?;
            }
            let page = &mut page[..PAGE.min((length - offset) as usize)];
            self.file.read_exact_at(page, offset)?;
            self.file.write_all_at(page, offset)?;
        }
        self.file.sync_all()?;
        self.unsynced.store(false, Ordering::Release);
        Ok(())
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file
            .sync_data()
            .inspect_err(|_| self.unsynced.store(true, Ordering::Release))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, offset)
    }
}

/// A medium of which a database holds a share.
#[derive(Debug)]
pub(super) struct Shared(pub(super) Arc<dyn Medium>);

impl StorageBackend for Shared {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }
}

/// What a database writes at least, in bytes.
const PAGE: usize = 4096;
