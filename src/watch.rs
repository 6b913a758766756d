//! Tells when the content of files and directories has changed, whichever way they are replaced.
//!
//! Once a second everything is looked at anew through all symbolic links, instead of asking the kernel for events: an
//! event is bound to an inode, and both the kubelet's swap of the `..data` link (kubernetes#111947) and an editor's
//! rename leave the watched inode behind; network file systems send none at all. When something looks different the
//! content is compared, so a touched file is no change.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::MissedTickBehavior;

/// A set of files and directories. Each may be absent, and come and go.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    targets: Vec<Target>,
}

/// How a set of files looks from outside: a cheap sign that the content may have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    files: Vec<(PathBuf, Result<Stat, i32>)>,
}

/// What is in a set of files, names included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content(u64);

/// Notices changes from the moment it is made.
#[derive(Debug)]
pub struct Watcher {
    watched: Watched,
    signature: Signature,
    content: Content,
    /// Whether the signature can be trusted to differ after the next change.
    settled: bool,
}

/// What the handler of a change made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing more to do until the next change.
    Done,
    /// Call again after the next interval, changed or not: a pair of files may be half-written.
    Again,
}

impl Watched {
    /// Adds a file.
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.targets.push(Target::File(path.into()));
        self
    }

    /// Adds the files directly in a directory whose name `keep` accepts.
    pub fn directory(mut self, path: impl Into<PathBuf>, keep: fn(&OsStr) -> bool) -> Self {
        self.targets.push(Target::Directory(path.into(), keep));
        self
    }

    /// Looks at every file. Blocks.
    pub fn signature(&self) -> Signature {
        let files = self.paths().map(|path| {
            let path = path?;
            let stat = fs::metadata(&path)
                .map(|metadata| Stat::of(&metadata))
                .map_err(|error| code(&error));
            Ok((path, stat))
        });
        Signature {
            files: files
                .map(|file| file.unwrap_or_else(|(path, error)| (path, Err(error))))
                .collect(),
        }
    }

    /// Reads every file. Blocks.
    pub fn content(&self) -> Content {
        let mut hasher = DefaultHasher::new();
        for path in self.paths() {
            match path {
                Ok(path) => {
                    path.hash(&mut hasher);
                    hash_file(&path, &mut hasher)
                        .map_err(|error| code(&error))
                        .hash(&mut hasher);
                }
                Err(unlistable) => unlistable.hash(&mut hasher),
            }
        }
        Content(hasher.finish())
    }

    /// The files, in an order that depends on nothing but their names; a directory that cannot be listed stands for them.
    fn paths(&self) -> impl Iterator<Item = Result<PathBuf, (PathBuf, i32)>> {
        self.targets.iter().flat_map(|target| match target {
            Target::File(path) => vec![Ok(path.clone())],
            Target::Directory(path, keep) => match list(path, *keep) {
                Ok(paths) => paths.into_iter().map(Ok).collect(),
                Err(error) => vec![Err((path.clone(), code(&error)))],
            },
        })
    }
}

impl Signature {
    /// Whether a change after `now` must show in the signature.
    ///
    /// A file that is written twice within one tick of the file system's clock looks the same afterwards (git calls
    /// this "racy"), so what changed a moment ago has to be looked into again. The time of the last status change
    /// counts, because nobody can set that one.
    pub fn is_settled(&self, now: SystemTime) -> bool {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let young = |stat: &Stat| u64::try_from(stat.changed.0).is_ok_and(|changed| changed.saturating_add(RACY) > now);
        !self.files.iter().any(|(_, stat)| stat.as_ref().is_ok_and(young))
    }
}

impl Watcher {
    /// Takes what is there now as known. Blocks.
    ///
    /// Make it before the first load, so that a change between the two is noticed.
    pub fn new(watched: Watched) -> Self {
        // In this order: what changes in between is looked into again.
        let signature = watched.signature();
        let content = watched.content();
        let settled = signature.is_settled(SystemTime::now());
        Self {
            watched,
            signature,
            content,
            settled,
        }
    }

    /// Whether the content has changed since the last call. Blocks.
    pub fn changed(&mut self) -> bool {
        let signature = self.watched.signature();
        if signature == self.signature && self.settled {
            return false;
        }
        let content = self.watched.content();
        self.settled = signature.is_settled(SystemTime::now());
        self.signature = signature;
        std::mem::replace(&mut self.content, content) != content
    }

    /// Looks every `interval` and calls `handler` after a change, both on a thread for blocking work.
    ///
    /// Never returns; drop the future to end it. A handler that panics is logged and taken for [`Verdict::Done`]: what
    /// was loaded before is still there, and the next change may mend it.
    pub async fn run<F>(self, interval: Duration, handler: F) -> Infallible
    where
        F: FnMut() -> Verdict + Send + 'static,
    {
        let mut ticks = tokio::time::interval(interval.max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut state = (self, handler, Verdict::Done);
        loop {
            ticks.tick().await;
            let look = tokio::task::spawn_blocking(move || {
                let (watcher, handler, verdict) = &mut state;
                if watcher.changed() || *verdict == Verdict::Again {
                    *verdict = catch_unwind(AssertUnwindSafe(handler)).unwrap_or_else(|_| {
                        tracing::error!("loading a change panicked; what was loaded before is kept");
                        Verdict::Done
                    });
                }
                state
            });
            match look.await {
                Ok(after) => state = after,
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                // The runtime is shutting down.
                Err(_) => return std::future::pending().await,
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Target {
    File(PathBuf),
    Directory(PathBuf, fn(&OsStr) -> bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    device: u64,
    inode: u64,
    length: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stat {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

fn list(directory: &Path, keep: fn(&OsStr) -> bool) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if keep(&entry.file_name()) {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

/// Regular files only: opening a pipe would wait for its writer. Anything else is as good as its name.
fn hash_file(path: &Path, hasher: &mut DefaultHasher) -> io::Result<usize> {
    if !fs::metadata(path)?.is_file() {
        return Ok(0);
    }
    let mut file = File::open(path)?.take(LARGEST);
    let mut buffer = [0; 16 << 10];
    let mut length = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(length),
            read => {
                hasher.write(&buffer[..read]);
                length += read;
            }
        }
    }
}

/// Errors are compared: a file that cannot be read is another thing than one that is not there.
fn code(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(-1)
}

/// Seconds. File systems keep times to the second at worst, except FAT's two.
const RACY: u64 = 3;

/// No file that is watched is near this size, in bytes; more of one is not read.
const LARGEST: u64 = 64 << 20;

#[cfg(test)]
mod tests;
