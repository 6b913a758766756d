//! What is in the file: JSON, whose fields may be added to and never change their meaning.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    registry::{Condition, Credential, Key, Login, Password, RegistrySpec},
    store::{DeclaredBy, Edition, Issuance, StoreError, Stored, Version},
};

/// A registry without its credentials.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Record {
    spec: RegistrySpec,
    version: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pull: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    push: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    notify: Option<String>,
    /// Since schema 3, as what follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    issuance: Option<Issuance>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    conditions: Vec<Condition>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// What is kept of a registry.
pub(super) fn written(stored: &Stored) -> Result<Vec<u8>, StoreError> {
    let edition = |edition: &Option<Edition>| edition.as_ref().map(|edition| edition.0.clone());
    let record = Record {
        spec: stored.spec.clone(),
        version: stored.version.0.clone(),
        pull: edition(&stored.pull),
        push: edition(&stored.push),
        notify: edition(&stored.notify),
        key: edition(&stored.key),
        issuance: stored.issuance.clone(),
        conditions: stored.conditions.clone(),
        created_at: stored.created_at,
        updated_at: stored.updated_at,
    };
    serde_json::to_vec(&record).map_err(|error| StoreError::Unsupported(format!("it cannot be kept: {error}")))
}

/// The registry that was kept so.
///
/// # Errors
///
/// Why it cannot be understood.
pub(super) fn read(id: &str, json: &[u8]) -> Result<Stored, String> {
    let record: Record =
        serde_json::from_slice(json).map_err(|error| format!("what it has of the registry `{id}`: {error}"))?;
    Ok(Stored {
        id: id.to_owned(),
        spec: record.spec,
        pull: record.pull.map(Edition),
        push: record.push.map(Edition),
        notify: record.notify.map(Edition),
        key: record.key.map(Edition),
        issuance: record.issuance,
        version: Version(record.version),
        declared_by: DeclaredBy::Anybody,
        conditions: record.conditions,
        created_at: record.created_at,
        updated_at: record.updated_at,
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Written<'c> {
    Login {
        username: &'c str,
        password: &'c str,
    },
    File {
        username: &'c str,
        path: &'c str,
    },
    Environment {
        username: &'c str,
        variable: &'c str,
    },
    #[serde(rename_all = "camelCase")]
    Aws {
        id: &'c str,
        secret: &'c str,
        #[serde(skip_serializing_if = "Option::is_none")]
        session_token: Option<&'c str>,
    },
    Google {
        key: &'c str,
    },
}

/// Not tagged inside: serde would keep a copy of the password that nobody wipes.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
enum Read {
    Login {
        username: String,
        password: Password,
    },
    File {
        username: String,
        path: PathBuf,
    },
    Environment {
        username: String,
        variable: String,
    },
    #[serde(rename_all = "camelCase")]
    Aws {
        id: Password,
        secret: Password,
        #[serde(default)]
        session_token: Option<Password>,
    },
    Google {
        key: Password,
    },
}

/// What is kept of a credential, wiped when it goes.
pub(super) fn written_credential(credential: &Credential) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    let (written, length) = match credential {
        Credential::Login(Login { username, password }) => {
            let password = password.expose();
            (Written::Login { username, password }, username.len() + password.len())
        }
        Credential::File { username, path } => {
            let path = path.to_str().ok_or_else(|| {
                StoreError::Unsupported(format!("the path `{}` is not UTF-8 and cannot be kept", path.display()))
            })?;
            (Written::File { username, path }, username.len() + path.len())
        }
        Credential::Environment { username, variable } => (
            Written::Environment { username, variable },
            username.len() + variable.len(),
        ),
        Credential::Key(Key::Aws {
            id,
            secret,
            session_token,
        }) => {
            let (id, secret) = (id.expose(), secret.expose());
            let session_token = session_token.as_ref().map(Password::expose);
            let length = id.len() + secret.len() + session_token.unwrap_or_default().len();
            let written = Written::Aws {
                id,
                secret,
                session_token,
            };
            (written, length)
        }
        Credential::Key(Key::Google(key)) => (Written::Google { key: key.expose() }, key.expose().len()),
    };
    // A byte is escaped to six at most. A buffer that grew would leave what it was behind.
    let mut json = Zeroizing::new(Vec::with_capacity(length * 6 + 128));
    serde_json::to_writer(&mut *json, &written)
        .map_err(|error| StoreError::Unsupported(format!("it cannot be kept: {error}")))?;
    Ok(json)
}

/// The credential that was kept so.
///
/// # Errors
///
/// Where it cannot be understood; says nothing of what is in it.
pub(super) fn read_credential(id: &str, json: &[u8]) -> Result<Credential, String> {
    let read = serde_json::from_slice(json).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        format!("a credential of the registry `{id}`: line {line}, column {column}")
    })?;
    Ok(match read {
        Read::Login { username, password } => Credential::Login(Login { username, password }),
        Read::File { username, path } => Credential::File { username, path },
        Read::Environment { username, variable } => Credential::Environment { username, variable },
        Read::Aws {
            id,
            secret,
            session_token,
        } => Credential::Key(Key::Aws {
            id,
            secret,
            session_token,
        }),
        Read::Google { key } => Credential::Key(Key::Google(key)),
    })
}
