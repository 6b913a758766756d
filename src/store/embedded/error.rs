//! Why a store is not opened.

use std::{io, path::Path};

/// Why a store was not opened. Nothing was changed, and nothing is ever begun anew in its place.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Somebody else has it.
    #[error("another waypost uses the store {0}: end that one, or give this one a file of its own (`store.path`)")]
    InUse(String),
    /// It is another kind of file, or its first bytes are damaged.
    #[error(
        "the file {0} is no store of Waypost's, or its beginning is damaged: restore it from a backup, name another file (`store.path`), \
         or move it away to begin with an empty store"
    )]
    NotAStore(String),
    /// It is not what was written.
    #[error(
        "the store {path} is damaged ({why}): restore it from a backup, or move it away to begin with an empty one; Waypost leaves it as it is"
    )]
    Damaged {
        /// The file.
        path: String,
        /// What was found.
        why: String,
    },
    /// A later Waypost has written it.
    #[error(
        "the store {path} was written by a newer Waypost (its schema is {schema}): run that one, or restore a backup from before it"
    )]
    Newer {
        /// The file.
        path: String,
        /// Its schema.
        schema: u64,
    },
    /// Others can read it, and that cannot be changed.
    #[error(
        "others can read the store {path}, which has passwords in it, and that cannot be changed ({source}): give it to Waypost's user, mode 600"
    )]
    Exposed {
        /// The file.
        path: String,
        /// Why it cannot be changed.
        source: io::Error,
    },
    /// The system does not let it be read or written.
    #[error("the store {path} cannot be opened: {source}{}", what_to_do(source))]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
}

impl OpenError {
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io {
            path: path.display().to_string(),
            source,
        }
    }
}

/// What can be done about it, where that is known.
fn what_to_do(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::IsADirectory => "; `store.path` names a file",
        io::ErrorKind::NotADirectory => "; something on the way to it is no directory",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; Waypost has to read and write it and its directory"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; make room, nothing is lost",
        io::ErrorKind::NotFound => "; it is a link that leads nowhere",
        io::ErrorKind::UnexpectedEof => {
            "; it is shorter than it was: restore it from a backup, or move it away to begin with an empty one"
        }
        _ => "",
    }
}
