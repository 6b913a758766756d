//! Credentials in Secrets: those that Waypost writes, each once and never again, and those that users give the name of.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, Hasher, RandomState},
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::{
    ByteString,
    api::core::v1::Secret,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::json;
use tokio::time::Instant;
use zeroize::Zeroize;

use super::{
    Kubernetes, RESOURCE, lock,
    object::{MANAGED_BY, Object},
    pushes, registries, requests,
    requests::{Failed, all, ask},
    tokens, what as registry,
    writing::MANAGER,
};
use crate::{
    registry::{
        Address, Condition, ConditionKind, Credential, Credentials, Key, Keys, Location, Login, Password, RegistrySpec,
        Status,
    },
    store::StoreError,
};

/// What a Secret is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Pull,
    Push,
    Notify,
}

/// The Secrets that no object named, by uid, and since when.
pub(super) type Unnamed = BTreeMap<String, Instant>;

impl Kubernetes {
    /// Writes a credential to a Secret of its own, and answers its name.
    pub(super) async fn write_secret(
        &self,
        id: &str,
        purpose: Purpose,
        credential: &Credential,
        owner: Option<OwnerReference>,
    ) -> Result<String, Failed> {
        let name = format!("{id}-{}-{:010x}", purpose.word(), random() & 0xff_ffff_ffff);
        let (kind, data) = data(purpose, credential);
        let mut secret = Secret {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                labels: Some(
                    [(MANAGED_BY, "waypost"), (REGISTRY, id)]
                        .map(|(key, value)| (key.to_owned(), value.to_owned()))
                        .into(),
                ),
                owner_references: owner.map(|owner| vec![owner]),
                ..ObjectMeta::default()
            },
            type_: Some(kind.to_owned()),
            immutable: Some(true),
            data: Some(data),
            ..Secret::default()
        };
        let params = PostParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PostParams::default()
        };
        let made = ask(&what(&name), "create", self.secret_api().create(&params, &secret)).await;
        wipe(&mut secret);
        let mut made = made?;
        wipe(&mut made);
        self.change(|known| known.wrote_secret(&made.metadata));
        Ok(name)
    }

    /// Deletes a Secret that was written for this registry, and no other. What goes wrong is said, and put right by [`Self::tidy`].
    pub(super) async fn remove_secret(&self, id: &str, name: &str) {
        if lock(&self.known).is_named_by_another(name, id) {
            return;
        }
        let done = async {
            let api = self.secret_api();
            let found = ask(&what(name), "get", api.get_metadata_opt(name)).await?;
            match found {
                Some(found) if registry_of(&found.metadata) == Some(id) => {
                    self.delete_secret(&found.metadata, None).await
                }
                _ => Ok(()),
            }
        };
        if let Err(failed) = done.await {
            tracing::warn!(
                registry = id,
                "an old credential is still there, and will go later: {}",
                failed.error
            );
        }
    }

    /// Whether the Secret has this credential for the registry. Where it cannot be read, another is better.
    pub(super) async fn has_credential(
        &self,
        object: &Object,
        purpose: Purpose,
        name: &str,
        credential: &Credential,
    ) -> bool {
        if !self.secrets {
            return false;
        }
        let found = ask(&what(name), "get", self.secret_api().get_opt(name)).await;
        let Ok(Some(secret)) = found else { return false };
        let Ok(spec) = &object.spec else { return false };
        credential_of(secret, purpose, spec).is_ok_and(|present| present == *credential)
    }

    /// Deletes exactly this one; with a `version` only for as long as it is so.
    pub(super) async fn delete_secret(&self, meta: &ObjectMeta, version: Option<String>) -> Result<(), Failed> {
        let name = meta.name.as_deref().unwrap_or_default();
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: meta.uid.clone(),
                resource_version: version,
            }),
            ..DeleteParams::default()
        };
        match ask(&what(name), "delete", self.secret_api().delete(name, &params)).await {
            // It is gone already, or another has its name.
            Err(Failed {
                code: Some(404 | 409), ..
            }) => Ok(()),
            Ok(_) => {
                self.change(|known| known.delete_secret(name));
                Ok(())
            }
            Err(failed) => Err(failed),
        }
    }

    /// From now on the Secrets go with the object, which is there.
    pub(super) async fn adopt(&self, object: &Object, names: impl IntoIterator<Item = &str>) {
        for name in names {
            let patch = Patch::Merge(json!({"metadata": {"ownerReferences": [object.owner()]}}));
            let params = PatchParams {
                field_manager: Some(MANAGER.to_owned()),
                ..PatchParams::default()
            };
            let api = self.secret_api();
            let patched = api.patch_metadata(name, &params, &patch);
            if let Err(failed) = ask(&what(name), "patch", patched).await {
                tracing::warn!(
                    registry = object.id,
                    "{} has no owner yet, and gets one later: {}",
                    what(name),
                    failed.error
                );
            }
        }
    }

    /// Deletes the Secrets that Waypost wrote and that no object has named for so long, as somebody leaves them who is interrupted; sees
    /// to it that the others go with their objects; says of objects that cannot be understood, and are in no list, why that is. Answers
    /// how many Secrets were deleted. It is for one process of the cluster to call, every few minutes; `patience` is longer than any write
    /// takes ([`PATIENCE`]).
    ///
    /// # Errors
    ///
    /// When that cannot be found out.
    pub async fn tidy(&self, patience: Duration) -> Result<usize, StoreError> {
        let labels = format!("{MANAGED_BY}=waypost,{REGISTRY}");
        // These first: what is named later than it is looked for was written later, too.
        let written = requests::all_metadata("secrets", &self.secret_api(), Some(&labels)).await?;
        // A cluster that knows no registries at this moment is no reason to delete anything.
        let objects = all(RESOURCE, &registries(self.client()), None).await?;
        let objects: Vec<Object> = objects.iter().map(Object::read).collect();
        let now = Instant::now();
        let before = std::mem::take(&mut *lock(&self.unnamed));
        let mut unnamed = Unnamed::new();
        let mut deleted = 0;
        for meta in written.iter().map(|secret| &secret.metadata) {
            let (Some(name), Some(uid), Some(id)) = (&meta.name, &meta.uid, registry_of(meta)) else {
                continue;
            };
            let mut naming = objects
                .iter()
                .filter(|object| object.secrets().any(|other| other == name));
            if let Some(object) = naming.next() {
                let mut owners = meta.owner_references.iter().flatten();
                if object.id == id && !owners.any(|owner| owner.uid == object.uid) {
                    self.adopt(object, [&**name]).await;
                }
                continue;
            }
            // By this process's own clock, and never at first sight: somebody may be about to name it.
            let since = before.get(uid).copied();
            if since.is_none_or(|since| now - since < patience) {
                unnamed.insert(uid.clone(), since.unwrap_or(now));
                continue;
            }
            self.delete_secret(meta, None).await?;
            tracing::info!(registry = id, "{} was deleted, for no Registry names it", what(name));
            deleted += 1;
        }
        deleted += self.tidy_logins(&before, &mut unnamed, patience).await?;
        *lock(&self.unnamed) = unnamed;
        self.shrink().await?;
        deleted += self.tidy_tokens(&objects).await?;
        for object in &objects {
            if let Err(why) = &object.spec {
                let message = format!("it cannot be understood: {why}");
                let mut conditions = object.conditions.clone();
                let (kind, now) = (ConditionKind::Reachable, Timestamp::now());
                Condition::put(&mut conditions, now, kind, Status::Unknown, "NotUnderstood", message);
                match self.keep_conditions(&object.id, conditions).await {
                    Ok(()) | Err(StoreError::NotFound(_)) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(deleted)
    }

    pub(super) async fn read_credentials(&self, id: &str) -> Result<Credentials, StoreError> {
        let [pull, push] = self.read(id, [Purpose::Pull, Purpose::Push], Reader::Registry).await?;
        Ok(Credentials { pull, push })
    }

    pub(super) async fn read_keys(&self, id: &str) -> Result<Keys, StoreError> {
        let key = |credential: Option<Credential>| match credential {
            Some(Credential::Key(key)) => Some(key),
            _ => None,
        };
        let [pull, push] = self.read(id, [Purpose::Pull, Purpose::Push], Reader::Issuer).await?;
        Ok(Keys {
            pull: key(pull),
            push: key(push),
        })
    }

    pub(super) async fn read_token(&self, id: &str) -> Result<Option<Credential>, StoreError> {
        let [token] = self.read(id, [Purpose::Notify], Reader::Registry).await?;
        Ok(token)
    }

    async fn read<const N: usize>(
        &self,
        id: &str,
        purposes: [Purpose; N],
        reader: Reader,
    ) -> Result<[Option<Credential>; N], StoreError> {
        if !self.secrets {
            return Err(StoreError::Unsupported("this process may not read Secrets".to_owned()));
        }
        let mut version = None;
        loop {
            let object = self
                .object(id)
                .await?
                .ok_or_else(|| StoreError::NotFound(id.to_owned()))?;
            let object = Object::read(&object);
            match self.named_credentials(&object, purposes, reader).await {
                // It may have been replaced between the two looks.
                Err(_) if version.as_ref() != Some(&object.version()) => version = Some(object.version()),
                done => return done,
            }
        }
    }

    async fn named_credentials<const N: usize>(
        &self,
        object: &Object,
        purposes: [Purpose; N],
        reader: Reader,
    ) -> Result<[Option<Credential>; N], StoreError> {
        let mut credentials = [const { None }; N];
        for (credential, purpose) in credentials.iter_mut().zip(purposes) {
            *credential = self.named_credential(object, purpose, reader).await?;
        }
        Ok(credentials)
    }

    async fn named_credential(
        &self,
        object: &Object,
        purpose: Purpose,
        reader: Reader,
    ) -> Result<Option<Credential>, StoreError> {
        let spec = object.spec.as_ref();
        let spec = spec
            .map_err(|why| StoreError::Unavailable(format!("{} cannot be understood: {why}", registry(&object.id))))?;
        match (reader, purpose) {
            (Reader::Registry, Purpose::Pull) if spec.location.issues() => {
                return Ok(self.token(object).await?.map(Credential::Login));
            }
            (Reader::Registry, Purpose::Push) if spec.location.issues() => return Ok(None),
            (Reader::Issuer, _) if !spec.location.issues() => return Ok(None),
            _ => {}
        }
        let Some(name) = object.secret(purpose) else {
            return Ok(None);
        };
        let found = ask(&what(name), "get", self.secret_api().get_opt(name)).await?;
        let credential = found
            .ok_or(Unusable::Missing)
            .and_then(|secret| of_this(secret, &object.id));
        let credential = credential.and_then(|secret| credential_of(secret, purpose, spec));
        let credential = credential.map_err(|why| {
            StoreError::Unavailable(format!(
                "{} in the namespace {}, which is the {} of {}, {why}",
                what(name),
                self.namespace,
                purpose.key(),
                registry(&object.id)
            ))
        })?;
        Ok(Some(credential))
    }
}

/// Who reads a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    /// Whoever uses the registry, who is never given a key.
    Registry,
    /// Whoever has tokens issued.
    Issuer,
}

/// What a Secret of this kind has in it, and its type.
fn data(purpose: Purpose, credential: &Credential) -> (&'static str, BTreeMap<String, ByteString>) {
    let entry = |key: &str, text: &str| (key.to_owned(), ByteString(text.as_bytes().to_vec()));
    match credential {
        Credential::Login(login) if purpose == Purpose::Notify => {
            (OPAQUE, BTreeMap::from([entry(TOKEN, login.password.expose())]))
        }
        Credential::Login(login) => (BASIC_AUTH, login_data(login)),
        Credential::Key(Key::Aws {
            id,
            secret,
            session_token,
        }) => {
            let mut data = BTreeMap::from([
                entry(ACCESS_KEY_ID[0], id.expose()),
                entry(SECRET_ACCESS_KEY[0], secret.expose()),
            ]);
            data.extend(
                session_token
                    .as_ref()
                    .map(|token| entry(SESSION_TOKEN[0], token.expose())),
            );
            (OPAQUE, data)
        }
        Credential::Key(Key::Google(key)) => (OPAQUE, BTreeMap::from([entry(KEY_JSON[0], key.expose())])),
        // Refused before, for there is nothing that could be kept.
        Credential::File { .. } | Credential::Environment { .. } => (OPAQUE, BTreeMap::new()),
    }
}

/// What a Secret of the type `kubernetes.io/basic-auth` has in it.
pub(super) fn login_data(login: &Login) -> BTreeMap<String, ByteString> {
    let entry = |key: &str, text: &str| (key.to_owned(), ByteString(text.as_bytes().to_vec()));
    BTreeMap::from([
        entry(USERNAME, &login.username),
        entry(PASSWORD, login.password.expose()),
    ])
}

/// What a Secret that an object names has for it.
fn credential_of(secret: Secret, purpose: Purpose, spec: &RegistrySpec) -> Result<Credential, Unusable> {
    match (purpose, spec.location) {
        (Purpose::Pull | Purpose::Push, Location::Ecr | Location::Gcr) => {
            key_of(secret, spec.location).map(Credential::Key)
        }
        (Purpose::Notify, _) | (_, Location::OffCluster) => {
            login_of(secret, purpose, spec.address().as_ref()).map(Credential::Login)
        }
    }
}

/// A Secret that Waypost has written is for the registry that it was written for: whoever may name one does not get another's.
fn of_this(mut secret: Secret, id: &str) -> Result<Secret, Unusable> {
    let meta = &secret.metadata;
    if tokens::issued_for(meta).is_some() || registry_of(meta).is_some_and(|of| of != id) {
        wipe(&mut secret);
        return Err(Unusable::AnothersOwn);
    }
    Ok(secret)
}

/// The key that tokens are issued by.
fn key_of(mut secret: Secret, location: Location) -> Result<Key, Unusable> {
    let is_ours = is_ours(&secret.metadata);
    let mut data = secret.data.take().unwrap_or_default();
    let mut text = |keys: [&'static str; 2]| {
        let Some(key) = keys.into_iter().find(|key| data.contains_key(*key)) else {
            return Ok(None);
        };
        let bytes = data.remove(key).map(|value| value.0).unwrap_or_default();
        let mut text = String::from_utf8(bytes).map_err(|error| {
            error.into_bytes().zeroize();
            Unusable::NoText(key)
        })?;
        if !is_ours {
            text.truncate(text.trim_end_matches(['\r', '\n']).len());
        }
        if text.is_empty() {
            return Err(Unusable::NoText(key));
        }
        Ok(Some(Password::new(text)))
    };
    let mut read = || {
        Ok(match location {
            Location::Gcr => Key::Google(text(KEY_JSON)?.ok_or(Unusable::NoKeyJson)?),
            _ => Key::Aws {
                id: text(ACCESS_KEY_ID)?.ok_or(Unusable::NoAccessKey)?,
                secret: text(SECRET_ACCESS_KEY)?.ok_or(Unusable::NoAccessKey)?,
                // What was made of a variable that is not set is empty.
                session_token: match text(SESSION_TOKEN) {
                    Err(Unusable::NoText(_)) => None,
                    session_token => session_token?,
                },
            },
        })
    };
    let key = read();
    for value in data.values_mut() {
        value.0.zeroize();
    }
    key
}

impl Purpose {
    pub(super) const ALL: [Self; 3] = [Self::Pull, Self::Push, Self::Notify];

    /// In the names of Secrets.
    fn word(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Notify => "notify",
        }
    }

    /// What names the Secret in an object's spec.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Pull => "pullCredential",
            Self::Push => "pushCredential",
            Self::Notify => "notificationToken",
        }
    }
}

/// Why a Secret is of no use. Says nothing of what is in it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unusable {
    #[error("does not exist")]
    Missing,
    #[error("has no `{0}`: it needs `username` and `password`, or to be of the type {DOCKER_CONFIG}")]
    NoKey(&'static str),
    #[error("has no `accessKeyId` and `secretAccessKey`, by which AWS would issue tokens")]
    NoAccessKey,
    #[error("has no `key.json`, which is the key of a Google service account")]
    NoKeyJson,
    #[error("was written by Waypost for a registry, and is no other's: give this one a Secret of its own")]
    AnothersOwn,
    #[error("has neither a `token` nor a `password`")]
    NoToken,
    #[error("has a `{0}` that is empty or no text")]
    NoText(&'static str),
    #[error("is of no use: {0}")]
    DockerConfig(String),
}

pub(super) fn login_of(mut secret: Secret, purpose: Purpose, address: Option<&Address>) -> Result<Login, Unusable> {
    // A newline at its end is a file's that it was made of, in Secrets that people make.
    let is_ours = is_ours(&secret.metadata);
    let is_token = purpose == Purpose::Notify;
    let is_docker_config = !is_token && secret.type_.as_deref() == Some(DOCKER_CONFIG);
    let mut data = secret.data.take().unwrap_or_default();
    let token_key = [TOKEN, PASSWORD].into_iter().find(|key| data.contains_key(*key));
    let mut take = |key: &'static str| data.remove(key).map(|value| value.0).ok_or(Unusable::NoKey(key));
    let login = if is_docker_config {
        take(DOCKER_CONFIG_KEY).and_then(|mut json| {
            let address =
                address.ok_or_else(|| Unusable::DockerConfig("the registry's `url` is no address".to_owned()));
            let login = address.and_then(|address| {
                Login::from_docker_config(&json, address).map_err(|error| Unusable::DockerConfig(error.to_string()))
            });
            json.zeroize();
            login
        })
    } else {
        let mut text = |key| {
            let text = String::from_utf8(take(key)?).map_err(|error| {
                error.into_bytes().zeroize();
                Unusable::NoText(key)
            });
            let mut text = text?;
            if !is_ours {
                text.truncate(text.trim_end_matches(['\r', '\n']).len());
            }
            if text.is_empty() {
                Err(Unusable::NoText(key))
            } else {
                Ok(text)
            }
        };
        if is_token {
            token_key.ok_or(Unusable::NoToken).and_then(|key| {
                Ok(Login {
                    username: String::new(),
                    password: Password::new(text(key)?),
                })
            })
        } else {
            text(USERNAME).and_then(|username| {
                Ok(Login {
                    username,
                    password: Password::new(text(PASSWORD)?),
                })
            })
        }
    };
    for value in data.values_mut() {
        value.0.zeroize();
    }
    login
}

/// The registry that Waypost wrote it for; none where somebody else has made it.
pub(super) fn registry_of(meta: &ObjectMeta) -> Option<&str> {
    let labels = meta.labels.as_ref()?;
    let is_ours = labels.get(MANAGED_BY).is_some_and(|manager| manager == "waypost");
    labels.get(REGISTRY).filter(|_| is_ours).map(String::as_str)
}

/// Whether Waypost has written what is in it.
fn is_ours(meta: &ObjectMeta) -> bool {
    registry_of(meta).is_some() || tokens::issued_for(meta).is_some() || pushes::is_ours(meta)
}

pub(super) fn what(name: &str) -> String {
    format!("the Secret {name}")
}

pub(super) fn wipe(secret: &mut Secret) {
    for value in secret.data.iter_mut().flat_map(BTreeMap::values_mut) {
        value.0.zeroize();
    }
}

/// Good enough for a name.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// How long a Secret may be without an object that names it.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// Which registry a credential is of.
const REGISTRY: &str = "waypost.dev/registry";

pub(super) const BASIC_AUTH: &str = "kubernetes.io/basic-auth";
const OPAQUE: &str = "Opaque";
const DOCKER_CONFIG: &str = "kubernetes.io/dockerconfigjson";
const DOCKER_CONFIG_KEY: &str = ".dockerconfigjson";
const USERNAME: &str = "username";
pub(super) const PASSWORD: &str = "password";
/// As Waypost writes it, and as AWS's own programs call it.
const ACCESS_KEY_ID: [&str; 2] = ["accessKeyId", "AWS_ACCESS_KEY_ID"];
const SECRET_ACCESS_KEY: [&str; 2] = ["secretAccessKey", "AWS_SECRET_ACCESS_KEY"];
const SESSION_TOKEN: [&str; 2] = ["sessionToken", "AWS_SESSION_TOKEN"];
/// As Google calls the file, and as the Helm value is called.
const KEY_JSON: [&str; 2] = ["key.json", "keyJson"];
const TOKEN: &str = "token";
