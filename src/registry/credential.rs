//! Credentials: what they are, how docker configs say them. They are shown to nobody, and wiped from memory when they go.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer};
use zeroize::{Zeroize, Zeroizing};

use super::{Address, Location, amazon, google};

/// The credentials of one registry. The token that it notifies with is not among them: it is sent to nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// To pull with: reaches namespaces.
    pub pull: Option<Credential>,
    /// To push with: reaches no namespace.
    pub push: Option<Credential>,
}

/// The keys that the tokens of a registry are issued by. They reach nobody but the issuer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// For tokens to pull with. None: they are issued by Waypost's own identity.
    pub pull: Option<Key>,
    /// For tokens to push with. None: by the one above.
    pub push: Option<Key>,
}

/// By which somebody issues tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// An access key of AWS's.
    Aws {
        /// Its id.
        id: Password,
        /// Its secret.
        secret: Password,
        /// The session token, where it is a temporary one.
        session_token: Option<Password>,
    },
    /// The JSON file of a Google service account's key.
    Google(Password),
}

/// How to come by a username and a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// They are these.
    Login(Login),
    /// The password is the content of a file where Waypost runs, read whenever it is needed.
    File {
        /// The username.
        username: String,
        /// The file's path.
        path: std::path::PathBuf,
    },
    /// The password is the value of a variable of Waypost's environment.
    Environment {
        /// The username.
        username: String,
        /// The variable's name.
        variable: String,
    },
    /// There is none: tokens are issued by this key. No registry is ever asked with it.
    Key(Key),
}

/// A username and a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The username.
    pub username: String,
    /// The password, or a token in its place.
    pub password: Password,
}

/// A text that is shown to nobody and wiped from memory when it goes.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Zeroizing<String>);

/// What is wrong with a notification token, if anything: nobody guesses one of so many characters, and every one of them can be sent in
/// any form of an `Authorization` header.
pub fn token_problem(token: &str) -> Option<&'static str> {
    if token.len() < LEAST_TOKEN_CHARACTERS {
        Some("it has fewer than 16 characters")
    } else if token.len() > MOST_TOKEN_CHARACTERS {
        Some("it has more than 1,024 characters")
    } else if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        Some("it has a space, a line end or a letter in it that is not ASCII")
    } else {
        None
    }
}

/// Whether a username says, at this registry, that its password is a token, which ends, or a key, which nobody is to have: at which location
/// tokens are issued for it in place of that, and why.
pub fn better_issued(address: &Address, username: &str) -> Option<(Location, &'static str)> {
    let host = address.host.split(':').next().unwrap_or_default();
    match username {
        "AWS" if amazon::of_host(host).is_some() => Some((
            Location::Ecr,
            "`AWS` is the user of ECR's tokens: such a password ends after twelve hours",
        )),
        "oauth2accesstoken" if google::is_google_host(host) => Some((
            Location::Gcr,
            "`oauth2accesstoken` is the user of Google's tokens: such a password ends after an hour",
        )),
        "_json_key" | "_json_key_base64" if google::is_google_host(host) => Some((
            Location::Gcr,
            "the password of `_json_key` is the key of a service account: one to pull with would reach every admitted namespace",
        )),
        _ => None,
    }
}

/// Why a docker config is of no use for a registry. Says nothing of what is in it but hosts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DockerConfigError {
    /// It is not of the form of a docker config.
    #[error(
        "it is no docker config: {0}; a docker config is {{\"auths\": {{\"registry.example.com\": {{\"auth\": \"…\"}}}}}}"
    )]
    Malformed(String),
    /// It has nothing for the registry.
    #[error("it has no entry for {address}: those it has are for {present}")]
    NoEntry {
        /// The registry.
        address: String,
        /// The keys that it has, or `nothing`.
        present: String,
    },
    /// It has an entry with neither `auth` nor `username` and `password`.
    #[error(
        "its entry for {0} has no username and password: a credential store or an identity token cannot be handed to nodes"
    )]
    NoPassword(String),
}

impl Password {
    /// Takes a text.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text. Whoever asks for it takes care where it goes.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Credential {
    /// A registry's notification token, which goes with no username.
    pub fn token(token: Password) -> Self {
        Self::Login(Login {
            username: String::new(),
            password: token,
        })
    }

    /// Whether it is of use where credentials are come by so: a password is no key, nor is one cloud's key another's.
    pub fn is_for(&self, location: Location) -> bool {
        match self {
            Self::Login(_) | Self::File { .. } | Self::Environment { .. } => location == Location::OffCluster,
            Self::Key(Key::Aws { .. }) => location == Location::Ecr,
            Self::Key(Key::Google(_)) => location == Location::Gcr,
        }
    }

    /// Whether the password may become another one without anybody saying so to Waypost.
    pub fn is_elsewhere(&self) -> bool {
        matches!(self, Self::File { .. } | Self::Environment { .. })
    }
}

/// It is never serialised: there is no `Serialize` to use by mistake.
impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

impl schemars::JsonSchema for Password {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Password".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "format": "password", "writeOnly": true})
    }
}

impl Login {
    /// What a docker config has for this registry: the entry whose key is longest among those over it.
    ///
    /// # Errors
    ///
    /// When it is no docker config, or has nothing of use for the registry.
    pub fn from_docker_config(json: &[u8], address: &Address) -> Result<Self, DockerConfigError> {
        let malformed = |error: serde_json::Error| {
            // serde's sentences may have a piece of the text in them.
            DockerConfigError::Malformed(format!("line {}, column {}", error.line(), error.column()))
        };
        let config: DockerConfig = serde_json::from_slice(json).map_err(malformed)?;
        let mut best: Option<(usize, String, &DockerAuth)> = None;
        for (key, auth) in &config.auths {
            let Some(length) = over(key, address) else { continue };
            if best.as_ref().is_none_or(|(longest, ..)| length >= *longest) {
                best = Some((length, key.clone(), auth));
            }
        }
        let Some((_, key, auth)) = best else {
            let mut present: Vec<_> = config.auths.keys().map(|key| key.escape_debug().to_string()).collect();
            present.truncate(10);
            return Err(DockerConfigError::NoEntry {
                address: address.to_string(),
                present: if present.is_empty() {
                    "nothing".to_owned()
                } else {
                    present.join(", ")
                },
            });
        };
        auth.login()
            .ok_or_else(|| DockerConfigError::NoPassword(key.escape_debug().to_string()))
    }
}

/// The docker config that has these logins, by their keys, which the last of two equal ones wins: always the same bytes for the same
/// logins.
pub fn docker_config<'l>(logins: impl IntoIterator<Item = (String, &'l Login)>) -> Zeroizing<Vec<u8>> {
    let logins: std::collections::BTreeMap<String, &Login> = logins.into_iter().collect();
    let mut json = Zeroizing::new(String::from("{\"auths\":{"));
    for (number, (key, login)) in logins.into_iter().enumerate() {
        if number > 0 {
            json.push(',');
        }
        let quoted = |text: &str| Zeroizing::new(serde_json::Value::from(text).to_string());
        let pair = Zeroizing::new(format!("{}:{}", login.username, login.password.expose()));
        let auth = Zeroizing::new(STANDARD.encode(pair.as_bytes()));
        for part in [
            &*quoted(&key),
            ":{\"username\":",
            &*quoted(&login.username),
            ",\"password\":",
            &*quoted(login.password.expose()),
            ",\"auth\":\"",
            &*auth,
            "\"}",
        ] {
            json.push_str(part);
        }
    }
    json.push_str("}}");
    Zeroizing::new(json.as_bytes().to_vec())
}

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: std::collections::BTreeMap<String, DockerAuth>,
}

#[derive(Deserialize)]
struct DockerAuth {
    #[serde(default)]
    auth: Option<Password>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<Password>,
}

impl DockerAuth {
    fn login(&self) -> Option<Login> {
        if let (Some(username), Some(password)) = (&self.username, &self.password) {
            return Some(Login {
                username: username.clone(),
                password: password.clone(),
            });
        }
        let mut decoded = STANDARD.decode(self.auth.as_ref()?.expose().trim()).ok()?;
        let text = Zeroizing::new(String::from_utf8_lossy(&decoded).into_owned());
        decoded.zeroize();
        let (username, password) = text.split_once(':')?;
        Some(Login {
            username: username.to_owned(),
            password: Password::new(password.trim_end_matches('\0').to_owned()),
        })
    }
}

/// How long the key is, where it is over the registry.
fn over(key: &str, address: &Address) -> Option<usize> {
    let (key, _) = Address::parse(Some(key.trim_end_matches('/'))).ok()?;
    let below = match &*key.organization {
        "" => true,
        organization => address
            .organization
            .strip_prefix(organization)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
    };
    (key.host == address.host && below).then_some(key.organization.len())
}

const LEAST_TOKEN_CHARACTERS: usize = 16;
const MOST_TOKEN_CHARACTERS: usize = 1024;
