//! Files of Google's: which of them is which.

use std::{
    fs::{self, File},
    io::Read,
    path::Path,
    time::Duration,
};

use tokio::time::timeout;
use zeroize::Zeroizing;

use super::{IssueError, federation::Federation, key::Key, trust::Trust};
use crate::registry::{
    Password,
    google::file::{self, EXTERNAL_ACCOUNT, SERVICE_ACCOUNT},
};

/// The files that tokens come of.
pub(super) enum Kind {
    Key(Box<Key>),
    Federation(Box<Federation>),
}

/// The key of a service account, and nothing else: whoever gives one may not have this process read files and ask whomever he likes.
pub(super) fn key(json: &Password, what: &str, trust: &Trust) -> Result<Key, IssueError> {
    match kind(json, what)?.as_str() {
        SERVICE_ACCOUNT => Key::parse(json, what, trust),
        other => Err(another(other, what, false)),
    }
}

/// Whatever tokens come of.
pub(super) fn any(json: &Password, what: &str, trust: &Trust) -> Result<Kind, IssueError> {
    match kind(json, what)?.as_str() {
        SERVICE_ACCOUNT => Ok(Kind::Key(Box::new(Key::parse(json, what, trust)?))),
        EXTERNAL_ACCOUNT => Ok(Kind::Federation(Box::new(Federation::parse(json, what, trust)?))),
        other => Err(another(other, what, true)),
    }
}

fn kind(json: &Password, what: &str) -> Result<String, IssueError> {
    file::kind(json.expose()).map_err(|got| {
        IssueError::Misconfigured(format!(
            "{what} is {got}: what is meant is the JSON file of a service account's key, which begins with {{ and has \"type\": \
             \"{SERVICE_ACCOUNT}\" in it"
        ))
    })
}

fn another(kind: &str, what: &str, federation: bool) -> IssueError {
    let got = file::called(kind);
    let or = if federation {
        ", or a configuration of workload identity federation (`external_account`)"
    } else {
        ""
    };
    IssueError::Misconfigured(format!(
        "{what} is {got}: what is meant is the JSON file of a service account's key (`{SERVICE_ACCOUNT}`){or}"
    ))
}

/// What is in a file that somebody else may write at any time.
pub(super) async fn read(path: &Path, what: &str) -> Result<Password, IssueError> {
    let shown = path.display().to_string();
    let path = path.to_owned();
    match timeout(DEADLINE, tokio::task::spawn_blocking(move || text(&path))).await {
        Ok(Ok(Ok(text))) => Ok(text),
        Ok(Ok(Err(why))) => Err(IssueError::Misconfigured(format!("{what}, {shown}, {why}"))),
        Ok(Err(_)) => Err(IssueError::Unavailable("this process is about to end".to_owned())),
        Err(_) => {
            let seconds = DEADLINE.as_secs();
            Err(IssueError::Unavailable(format!(
                "{what}, {shown}, was not read within {seconds} s"
            )))
        }
    }
}

fn text(path: &Path) -> Result<Password, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    // A pipe would be waited for.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err("is no file".to_owned());
    }
    // As large as it can get: what a buffer leaves behind when it grows is wiped by nobody.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MOST_BYTES + 1));
    let file = File::open(path).map_err(unreadable)?;
    file.take(MOST_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() > MOST_BYTES {
        return Err(format!("has more than {MOST_BYTES} bytes in it"));
    }
    match str::from_utf8(&bytes) {
        Ok(text) => Ok(Password::new(text.to_owned())),
        Err(_) => Err("is not UTF-8".to_owned()),
    }
}

/// For a file system that does not answer.
const DEADLINE: Duration = Duration::from_secs(5);

/// Of a file; a key's has some 2.4 kB.
const MOST_BYTES: usize = 64 * 1024;
