//! The logins of whoever uses this machine: what `docker login`, `podman login` and `crane auth login` have left in files, and the programs
//! that keep them for these.

use std::{
    env, fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde::Deserialize;
use zeroize::Zeroizing;

use crate::registry::{Address, Login, Password, credential::DockerConfigError};

/// Why a login is of no use.
#[derive(Debug, thiserror::Error)]
pub enum SignedInError {
    /// The file cannot be read.
    #[error("the logins in {path} cannot be read: {source}")]
    Unreadable {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// It is none, or has nothing of use.
    #[error("the logins in {path}: {source}")]
    Config {
        /// The file.
        path: String,
        /// Why.
        source: DockerConfigError,
    },
    /// The program that keeps it does not give it.
    #[error("the program docker-credential-{helper}, which {path} says keeps the login, {why}")]
    Helper {
        /// Its name, without what all of them begin with.
        helper: String,
        /// The file that names it.
        path: String,
        /// What it did.
        why: String,
    },
}

/// Where the logins of whoever uses this machine are: the files that there are, in the order in which they are looked into.
pub fn files() -> Vec<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(file) = set("REGISTRY_AUTH_FILE") {
        return vec![file];
    }
    let podman = set("XDG_RUNTIME_DIR").map(|dir| dir.join("containers/auth.json"));
    let home = set("HOME");
    let own = set("XDG_CONFIG_HOME").or_else(|| Some(home.as_ref()?.join(".config")));
    let own = own.map(|dir| dir.join("containers/auth.json"));
    let docker = set("DOCKER_CONFIG").or_else(|| Some(home?.join(".docker")));
    let docker = docker.map(|dir| dir.join("config.json"));
    let all = [podman, own, docker].into_iter().flatten();
    all.filter(|path| path.exists()).collect()
}

/// The login for a registry, if one of the files has any. Blocks.
///
/// # Errors
///
/// When a file that there is cannot be read, or says that there is a login and leads to none.
pub fn login(files: &[PathBuf], address: &Address) -> Result<Option<Login>, SignedInError> {
    for path in files {
        if let Some(login) = of_file(path, address)? {
            return Ok(Some(login));
        }
    }
    Ok(None)
}

fn of_file(path: &Path, address: &Address) -> Result<Option<Login>, SignedInError> {
    let shown = path.display().to_string();
    let json = fs::read(path)
        .map(Zeroizing::new)
        .map_err(|source| SignedInError::Unreadable {
            path: shown.clone(),
            source,
        })?;
    let none = match Login::from_docker_config(&json, address) {
        Ok(login) => return Ok(Some(login)),
        // A program may keep it.
        Err(none @ (DockerConfigError::NoEntry { .. } | DockerConfigError::NoPassword(_))) => none,
        Err(source) => return Err(SignedInError::Config { path: shown, source }),
    };
    let Helpers { store, helpers } = serde_json::from_slice(&json).unwrap_or_default();
    let keys = [address.docker_key(), address.host.to_string()];
    let named = keys.iter().find_map(|key| Some((helpers.get(key)?, key)));
    match (named, &store, none) {
        (Some((helper, key)), _, _) => asked(helper, key, &shown),
        (None, Some(helper), _) => asked(helper, &keys[0], &shown),
        (None, None, DockerConfigError::NoEntry { .. }) => Ok(None),
        (None, None, source) => Err(SignedInError::Config { path: shown, source }),
    }
}

/// Asks the program that keeps a login (docker/docker-credential-helpers). None where it has none.
fn asked(helper: &str, key: &str, path: &str) -> Result<Option<Login>, SignedInError> {
    let failed = |why: String| SignedInError::Helper {
        helper: helper.escape_debug().to_string(),
        path: path.to_owned(),
        why,
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if helper.is_empty() || !helper.bytes().all(plain) {
        return Err(failed("has no name that a program has".to_owned()));
    }
    let mut child = Command::new(format!("docker-credential-{helper}"))
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| failed(format!("cannot be run: {error}")))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that reads nothing says so by what it answers.
        let _ = stdin.write_all(key.as_bytes());
    }
    let output = child
        .wait_with_output()
        .map_err(|error| failed(format!("cannot be waited for: {error}")))?;
    let said = Zeroizing::new(output.stdout);
    if !output.status.success() {
        let text = String::from_utf8_lossy(&said);
        // What all of them say, word for word.
        if text.contains("credentials not found") {
            return Ok(None);
        }
        return Err(failed(format!("ends with {}", output.status)));
    }
    let Kept { username, secret } =
        serde_json::from_slice(&said).map_err(|_| failed("answers with something that is no login".to_owned()))?;
    if username == "<token>" {
        return Err(failed(
            "keeps an identity token for it, which Waypost cannot use: sign in with a username and a password"
                .to_owned(),
        ));
    }
    Ok(Some(Login {
        username,
        password: secret,
    }))
}

#[derive(Default, Deserialize)]
struct Helpers {
    #[serde(default, rename = "credsStore")]
    store: Option<String>,
    #[serde(default, rename = "credHelpers")]
    helpers: std::collections::BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Kept {
    #[serde(rename = "Username")]
    username: String,
    #[serde(rename = "Secret")]
    secret: Password,
}

#[cfg(test)]
mod tests {
    use crate::registry::RegistrySpec;

    use super::*;

    fn address(url: &str) -> Address {
        let spec = RegistrySpec {
            url: Some(url.to_owned()),
            ..RegistrySpec::default()
        };
        spec.address().unwrap()
    }

    #[test]
    fn a_login_is_the_first_files_that_has_one_and_a_file_that_is_none_is_told_of() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, json: &str| {
            let path = dir.path().join(name);
            fs::write(&path, json).unwrap();
            path
        };
        let first = write("1", r#"{"auths": {"r.io": {"auth": "dTpw"}}}"#);
        let second = write(
            "2",
            r#"{"auths": {"r.io": {"auth": "djpx"}, "s.io": {"auth": "djpx"}}}"#,
        );
        let user = |files: &[PathBuf], url: &str| login(files, &address(url)).unwrap().map(|login| login.username);
        let both = [first, second];
        assert_eq!(user(&both, "r.io/team").as_deref(), Some("u"));
        assert_eq!(user(&both, "s.io").as_deref(), Some("v"));
        assert_eq!(user(&both, "t.io"), None);
        assert_eq!(user(&[], "r.io"), None);
        for (json, expected) in [
            ("\"x\"", "it is no docker config"),
            (r#"{"auths": {"r.io": {}}}"#, "no username and password"),
            (r#"{"credsStore": "../x"}"#, "has no name that a program has"),
            (r#"{"credHelpers": {"r.io": "nobody-has-this"}}"#, "cannot be run"),
        ] {
            let error = login(&[write("3", json)], &address("r.io")).unwrap_err().to_string();
            assert!(error.contains(expected), "{json}: {error}");
        }
        let gone = login(&[dir.path().join("4")], &address("r.io")).unwrap_err();
        assert!(matches!(gone, SignedInError::Unreadable { .. }), "{gone}");
    }
}
