//! Who may use the REST API on one machine: whoever can read one of two files beside the store.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use crate::registry::Password;

/// What clients show to be let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// Of whoever may do everything.
    pub admin: Password,
    /// Of whoever may read registries, and ask for and report pushes.
    pub push: Password,
}

/// Why there are no tokens. Says nothing of what is in them.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The system does not let it be read or written.
    #[error("the token {path} cannot be {what}: {source}")]
    Io {
        /// The file.
        path: String,
        /// `read` or `written`.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody else may know it.
    #[error(
        "others can read the token {path} (its mode is {mode:o}): remove it, and the next start makes a new one; or, where nobody has read \
         it, `chmod 600` it"
    )]
    Exposed {
        /// The file.
        path: String,
        /// Its mode.
        mode: u32,
    },
    /// It can be guessed, or sent by no client.
    #[error("what is in {path} is no token: {why}; remove it, and the next start makes a new one")]
    Unfit {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Whoever may push could do everything.
    #[error("admin.token and push.token in {0} are the same: remove push.token, and the next start makes a new one")]
    Same(String),
    /// The system has no random numbers.
    #[error("the system has no random numbers to make a token of")]
    NoRandom,
}

impl Tokens {
    /// Reads `admin.token` and `push.token` in a directory, and makes those that are not there: 256 random bits each, base64url, mode 0600.
    /// One process at a time does so: the one that has the store there. Blocks.
    ///
    /// # Errors
    ///
    /// When one can be read by others, is no token, or cannot be read or written.
    pub fn ensure(dir: &Path) -> Result<Self, TokenError> {
        let tokens = Self {
            admin: ensure(&dir.join(ADMIN))?,
            push: ensure(&dir.join(PUSH))?,
        };
        if tokens.admin == tokens.push {
            return Err(TokenError::Same(dir.display().to_string()));
        }
        Ok(tokens)
    }
}

fn ensure(path: &Path) -> Result<Password, TokenError> {
    match File::open(path) {
        Ok(file) => return read(file, path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(path, "read", error)),
    }
    let mut random = Zeroizing::new([0; 32]);
    SystemRandom::new()
        .fill(&mut *random)
        .map_err(|_| TokenError::NoRandom)?;
    let token = Password::new(URL_SAFE_NO_PAD.encode(*random));
    write(path, token.expose()).map_err(|error| failed(path, "written", error))?;
    tracing::info!(path = %path.display(), "a token was made: there was none");
    Ok(token)
}

fn read(file: File, path: &Path) -> Result<Password, TokenError> {
    let named = || path.display().to_string();
    let metadata = file.metadata().map_err(|error| failed(path, "read", error))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(TokenError::Exposed { path: named(), mode });
    }
    let unfit = |why| TokenError::Unfit { path: named(), why };
    let mut text = Zeroizing::new(String::with_capacity(MOST_BYTES + 2));
    match file.take(MOST_BYTES as u64 + 2).read_to_string(&mut text) {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(unfit("it is not ASCII")),
        read => read.map_err(|error| failed(path, "read", error))?,
    };
    let token = text.strip_suffix('\n').unwrap_or(&text);
    let token = token.strip_suffix('\r').unwrap_or(token);
    if token.len() < FEWEST_BYTES {
        return Err(unfit("it has fewer than 32 characters, and could be guessed"));
    }
    if token.len() > MOST_BYTES {
        return Err(unfit("it has more than 1024 characters"));
    }
    // RFC 6750, section 2.1: what can stand behind `Bearer`.
    let fit = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    if !token.bytes().all(fit) {
        return Err(unfit("it has characters other than letters, digits and - . _ ~ + / ="));
    }
    Ok(Password::new(token.to_owned()))
}

/// At its place once it is whole, and on the disk when this returns.
fn write(path: &Path, token: &str) -> io::Result<()> {
    let temporary = path.with_added_extension("new");
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(token.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    File::open(dir.unwrap_or(Path::new(".")))?.sync_all()
}

fn failed(path: &Path, what: &'static str, source: io::Error) -> TokenError {
    TokenError::Io {
        path: path.display().to_string(),
        what,
        source,
    }
}

/// The file of the token of whoever may do everything.
pub const ADMIN: &str = "admin.token";
/// The file of the other one.
pub const PUSH: &str = "push.token";

const FEWEST_BYTES: usize = 32;
const MOST_BYTES: usize = 1024;

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use super::*;

    #[test]
    fn tokens_are_made_once_and_are_nobody_else_s() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let made = Tokens::ensure(one.path()).unwrap();
        assert_eq!(Tokens::ensure(one.path()).unwrap(), made);
        let others = Tokens::ensure(other.path()).unwrap();
        let all = [&made.admin, &made.push, &others.admin, &others.push];
        for (number, token) in all.iter().enumerate() {
            assert_eq!(URL_SAFE_NO_PAD.decode(token.expose()).unwrap().len(), 32);
            assert!(all.iter().skip(number + 1).all(|other| other != token));
        }
        let mut names: Vec<_> = fs::read_dir(one.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, [ADMIN, PUSH]);
        for name in [ADMIN, PUSH] {
            let metadata = fs::metadata(one.path().join(name)).unwrap();
            assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        }
        fs::remove_file(one.path().join(PUSH)).unwrap();
        let renewed = Tokens::ensure(one.path()).unwrap();
        assert!(renewed.admin == made.admin && renewed.push != made.push);
        assert!(!format!("{made:?}").contains(made.admin.expose()));
    }

    #[test]
    fn a_token_is_what_a_client_can_send_and_nobody_can_guess() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(ADMIN);
        let (long, longer) = ("x".repeat(1024), "x".repeat(1025));
        for (content, mode, expected) in [
            (
                "hunter2-hunter2-hunter2-hunter2-",
                0o600,
                Ok("hunter2-hunter2-hunter2-hunter2-"),
            ),
            (
                "a.b_c~d+e/f=0123456789abcdefghijkl\n",
                0o400,
                Ok("a.b_c~d+e/f=0123456789abcdefghijkl"),
            ),
            (
                "hunter2-hunter2-hunter2-hunter2-\r\n",
                0o600,
                Ok("hunter2-hunter2-hunter2-hunter2-"),
            ),
            (&long, 0o600, Ok(&*long)),
            (&longer, 0o600, Err("more than 1024 characters")),
            ("", 0o600, Err("fewer than 32 characters")),
            (
                "hunter2-hunter2-hunter2-hunter2\n",
                0o600,
                Err("fewer than 32 characters"),
            ),
            (
                "hunter2-hunter2-hunter2 hunter2-hunter2",
                0o600,
                Err("characters other than"),
            ),
            (
                "hunter2-hunter2-hunter2-hunter2-\n\n",
                0o600,
                Err("characters other than"),
            ),
            ("hunter2-hunter2-hunter2-hunter2-ü", 0o600, Err("characters other than")),
            (
                "hunter2-hunter2-hunter2-hunter2-",
                0o640,
                Err("others can read the token"),
            ),
            ("hunter2-hunter2-hunter2-hunter2-", 0o604, Err("its mode is 604")),
        ] {
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            match (Tokens::ensure(dir.path()), expected) {
                (Ok(tokens), Ok(expected)) => assert_eq!(tokens.admin.expose(), expected),
                (Err(error), Err(expected)) => {
                    let error = error.to_string();
                    assert!(error.contains(expected) && error.contains(ADMIN), "{error}");
                    assert!(!error.contains("hunter2"), "{error}");
                }
                other => panic!("{content:?}: {other:?}"),
            }
            fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn one_token_is_not_both() {
        let dir = tempfile::tempdir().unwrap();
        Tokens::ensure(dir.path()).unwrap();
        fs::copy(dir.path().join(ADMIN), dir.path().join(PUSH)).unwrap();
        assert!(matches!(Tokens::ensure(dir.path()), Err(TokenError::Same(_))));
        assert!(matches!(
            Tokens::ensure(&dir.path().join("nowhere")),
            Err(TokenError::Io { what: "written", .. })
        ));
    }
}
