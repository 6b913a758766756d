//! Credentials that are kept elsewhere: from what is said of one to a username and a password, at the moment they are needed.
//!
//! Some are not kept at all: a cloud issues them for a while ([`Issued`]). [`ecr`] has Amazon's, [`gcr`] Google's.

#[cfg(feature = "ecr")]
pub mod ecr;
pub mod gcr;
mod issued;
mod mint;
pub mod signed_in;

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    io::{self, Read},
    path::Path,
    time::Duration,
};

use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::registry::{Credential, Login, Password};

pub use self::{
    issued::{IssueError, Issued},
    mint::{Mint, MintSettings, Minted},
};

/// Why a credential is of no use now. Says where it is, nothing of what is in it.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The file cannot be read.
    #[error("the password in the file {path} cannot be read: {source}")]
    Unreadable {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// It is a directory or a device.
    #[error("{0} is no file: a password is the content of a file")]
    NotAFile(String),
    /// There is more in it than a password.
    #[error("{0} has more than {most} bytes in it, and is no password", most = MOST_BYTES)]
    TooLong(String),
    /// It cannot be sent to a registry.
    #[error("{0} is not UTF-8, and is no password")]
    NotText(String),
    /// There is nothing in it.
    #[error("{0} is empty: a registry without a password has no credential")]
    Empty(String),
    /// It is for whoever issues tokens, and for no registry.
    #[error("it is a key that tokens are issued by, and goes to no registry")]
    Key,
    /// Waypost was started without it.
    #[error("the variable {0} is not set in Waypost's environment")]
    Unset(String),
}

/// The username and the password that a credential stands for. Reads the file, as it is now, where it is one: blocks then.
///
/// One newline at the end of a file is not the password's.
///
/// # Errors
///
/// When the file or the variable is not there, or is no password.
pub fn login(credential: &Credential) -> Result<Login, CredentialError> {
    login_by(credential, |variable| env::var_os(variable))
}

/// The same for who must not block: within some seconds, or a sentence that says why not.
///
/// # Errors
///
/// As [`login`]; also when a file system does not answer.
pub async fn login_soon(credential: Credential) -> Result<Login, String> {
    let blocking = tokio::task::spawn_blocking(move || login(&credential));
    match timeout(DEADLINE, blocking).await {
        Ok(Ok(login)) => login.map_err(|error| error.to_string()),
        Ok(Err(_)) => Err("this process is about to end".to_owned()),
        Err(_) => Err(format!(
            "the file with the password was not read within {} s",
            DEADLINE.as_secs()
        )),
    }
}

fn login_by(credential: &Credential, variable: impl Fn(&str) -> Option<OsString>) -> Result<Login, CredentialError> {
    let (username, password) = match credential {
        Credential::Login(login) => return Ok(login.clone()),
        Credential::Key(_) => return Err(CredentialError::Key),
        Credential::File { username, path } => (username, in_file(path)?),
        Credential::Environment {
            username,
            variable: name,
        } => {
            let value = variable(name).ok_or_else(|| CredentialError::Unset(name.clone()))?;
            let what = || format!("the value of the variable {name}");
            (username, text(value.into_encoded_bytes(), &what)?)
        }
    };
    Ok(Login {
        username: username.clone(),
        password,
    })
}

fn in_file(path: &Path) -> Result<Password, CredentialError> {
    let what = || format!("the file {}", path.display());
    let unreadable = |source| CredentialError::Unreadable {
        path: path.display().to_string(),
        source,
    };
    // A pipe would be waited for.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(CredentialError::NotAFile(what()));
    }
    // As large as it can get: what a buffer leaves behind when it grows is wiped by nobody.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MOST_BYTES + 3));
    let file = File::open(path).map_err(unreadable)?;
    file.take(MOST_BYTES as u64 + 3)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.ends_with(b"\n") {
        bytes.pop();
        if bytes.ends_with(b"\r") {
            bytes.pop();
        }
    }
    text(std::mem::take(&mut *bytes), &what)
}

fn text(bytes: Vec<u8>, what: &dyn Fn() -> String) -> Result<Password, CredentialError> {
    if bytes.len() > MOST_BYTES {
        return Err(CredentialError::TooLong(what()));
    }
    match String::from_utf8(bytes) {
        Ok(text) if text.is_empty() => Err(CredentialError::Empty(what())),
        Ok(text) => Ok(Password::new(text)),
        Err(error) => {
            drop(Zeroizing::new(error.into_bytes()));
            Err(CredentialError::NotText(what()))
        }
    }
}

/// Of a password: Google's are the longest, some 2.5 kB.
const MOST_BYTES: usize = 64 * 1024;

/// For a file system that does not answer.
const DEADLINE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn file(path: &Path) -> Credential {
        Credential::File {
            username: "u".to_owned(),
            path: path.to_owned(),
        }
    }

    fn variable(name: &str) -> Credential {
        Credential::Environment {
            username: "u".to_owned(),
            variable: name.to_owned(),
        }
    }

    #[test]
    fn a_password_is_the_content_of_a_file_without_its_newline() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        for (content, expected) in [
            ("hunter2", "hunter2"),
            ("hunter2\n", "hunter2"),
            ("hunter2\r\n", "hunter2"),
            ("hunter2\n\n", "hunter2\n"),
            (" hünter 2 ", " hünter 2 "),
            (&"x".repeat(MOST_BYTES), &"x".repeat(MOST_BYTES)),
            (&format!("{}\n", "x".repeat(MOST_BYTES)), &"x".repeat(MOST_BYTES)),
        ] {
            fs::write(&path, content).unwrap();
            let login = login(&file(&path)).unwrap();
            assert_eq!((&*login.username, login.password.expose()), ("u", expected));
        }
    }

    #[test]
    fn what_is_no_password_is_refused_without_a_word_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        for (content, expected) in [
            (b"".to_vec(), "is empty"),
            (b"\n".to_vec(), "is empty"),
            (b"hunter2\xff".to_vec(), "is not UTF-8"),
            (vec![b'x'; MOST_BYTES + 1], "has more than 65536 bytes"),
            (vec![b'x'; 10 * MOST_BYTES], "has more than 65536 bytes"),
        ] {
            fs::write(&path, content).unwrap();
            let error = login(&file(&path)).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("/password"), "{error}");
            assert!(!error.contains("hunter2") && !error.contains("xx"), "{error}");
        }
        fs::remove_file(&path).unwrap();
        let error = login(&file(&path)).unwrap_err().to_string();
        assert!(error.contains("/password cannot be read: No such file"), "{error}");
        let error = login(&file(dir.path())).unwrap_err().to_string();
        assert!(error.contains("is no file"), "{error}");
    }

    #[test]
    fn a_password_is_the_value_of_a_variable() {
        let environment = |name: &str| match name {
            "SET" => Some("hunter2\n".into()),
            "EMPTY" => Some("".into()),
            "BYTES" => Some(OsString::from_vec(b"hunter2\xff".to_vec())),
            _ => None,
        };
        let of = |name: &str| login_by(&variable(name), environment).map(|login| login.password.expose().to_owned());
        assert_eq!(of("SET").unwrap(), "hunter2\n");
        for (name, expected) in [
            ("EMPTY", "the value of the variable EMPTY is empty"),
            ("BYTES", "the value of the variable BYTES is not UTF-8"),
            ("NONE", "the variable NONE is not set in Waypost's environment"),
        ] {
            let error = of(name).unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains("hunter2"), "{error}");
        }
    }
}
