//! Credentials that come with a request for a copy, and are gone when it ends: each a Secret that the object owns.

use std::time::Duration;

use k8s_openapi::{
    api::core::v1::Secret,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::time::Instant;

use super::{
    super::{
        object::{MANAGED_BY, Object as Registry},
        requests::{all_metadata, ask},
        secrets::{BASIC_AUTH, Purpose, Unnamed, login_data, login_of, registry_of, what, wipe},
        tokens,
        writing::MANAGER,
    },
    Kubernetes,
    object::{self, Object},
};
use crate::{
    crds::{GROUP, VERSION},
    registry::Login,
    store::StoreError,
};

impl Kubernetes {
    /// Writes a credential for a copy, and answers the Secret's name.
    pub(super) async fn write_login(&self, object: &Object, login: &Login) -> Result<Box<str>, StoreError> {
        let registry = object.registry();
        let labels = [(MANAGED_BY, "waypost"), (PUSH, registry)];
        let mut secret = Secret {
            metadata: ObjectMeta {
                generate_name: Some(format!("{registry}-copy-")),
                labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
                owner_references: Some(vec![owner(object)]),
                ..ObjectMeta::default()
            },
            type_: Some(BASIC_AUTH.to_owned()),
            immutable: Some(true),
            data: Some(login_data(login)),
            ..Secret::default()
        };
        let params = PostParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PostParams::default()
        };
        let made = ask(
            "the Secret of a push",
            "create",
            self.secret_api().create(&params, &secret),
        )
        .await;
        wipe(&mut secret);
        let mut made = made?;
        wipe(&mut made);
        self.change(|known| known.wrote_secret(&made.metadata));
        Ok(made.metadata.name.unwrap_or_default().into())
    }

    /// The credential in a Secret, or what somebody has to do about it.
    pub(super) async fn read_login(&self, object: &Object, name: &str) -> Result<Result<Login, String>, StoreError> {
        if !self.secrets {
            return Err(StoreError::Unsupported("this process may not read Secrets".to_owned()));
        }
        let registry = object.registry();
        let found = match ask(&what(name), "get", self.secret_api().get_opt(name)).await {
            // A name that nothing can have.
            Err(failed) if matches!(failed.code, Some(400 | 404 | 405)) => None,
            found => found?,
        };
        let usable = match found {
            None => Err("does not exist: make it".to_owned()),
            Some(mut secret) => match stranger(&secret.metadata, object) {
                Some(why) => {
                    wipe(&mut secret);
                    Err(why)
                }
                None => {
                    let spec = self.object(registry).await?;
                    let spec = spec.and_then(|object| Registry::read(&object).spec.ok());
                    let address = spec.and_then(|spec| spec.address());
                    login_of(secret, Purpose::Push, address.as_ref()).map_err(|why| why.to_string())
                }
            },
        };
        let is_named = object
            .copy
            .credential
            .as_ref()
            .is_some_and(|credential| credential.name == name);
        let again = if is_named {
            "then give `spec.copy.requestedAt` of this Push another value"
        } else {
            "or retry this push with its credential"
        };
        let namespace = &self.namespace;
        Ok(usable.map_err(|why| {
            let name = name.escape_debug();
            format!(
                "the Secret {name} in the namespace {namespace}, which has the credential of this push, {why}; {again}"
            )
        }))
    }

    /// Deletes the Secret of a copy that has ended, and nothing else. What goes wrong is said, and put right by
    /// [`Self::tidy_logins`].
    pub(super) async fn remove_login(&self, object: &Object, name: &str) {
        let done = async {
            match self.login_meta(name).await? {
                Some(meta) if stranger(&meta, object).is_none() => Ok(self.delete_secret(&meta, None).await?),
                _ => Ok::<_, StoreError>(()),
            }
        };
        if let Err(error) = done.await {
            tracing::warn!(
                push = object.name,
                "the credential of a copy is still there, and goes later: {error}"
            );
        }
    }

    /// From now on the Secret goes with the object, and when its copy has ended.
    pub(super) async fn adopt_login(&self, object: &Object, name: &str) -> Result<(), StoreError> {
        let Some(meta) = self.login_meta(name).await? else {
            return Ok(());
        };
        if stranger(&meta, object).is_some() || pushes_of(&meta).next().is_some() {
            return Ok(());
        }
        let mut owners = meta.owner_references.unwrap_or_default();
        owners.push(owner(object));
        let patch = Patch::Merge(
            json!({"metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version, "ownerReferences": owners}}),
        );
        let params = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        ask(
            &what(name),
            "patch",
            self.secret_api().patch_metadata(name, &params, &patch),
        )
        .await?;
        Ok(())
    }

    /// None where nothing has this name, or can have it.
    async fn login_meta(&self, name: &str) -> Result<Option<ObjectMeta>, StoreError> {
        match ask(&what(name), "get", self.secret_api().get_metadata_opt(name)).await {
            Err(failed) if matches!(failed.code, Some(400 | 404 | 405)) => Ok(None),
            found => Ok(found?.map(|found| found.metadata)),
        }
    }

    /// Deletes the Secrets of copies that have ended, as somebody leaves them who is interrupted: `before` and `unnamed` are those that no
    /// copy named when somebody last looked, and now. Answers how many it were.
    pub(in super::super) async fn tidy_logins(
        &self,
        before: &Unnamed,
        unnamed: &mut Unnamed,
        patience: Duration,
    ) -> Result<usize, StoreError> {
        let written = all_metadata("secrets", &self.secret_api(), Some(PUSH)).await?;
        let now = Instant::now();
        let mut deleted = 0;
        for meta in written.iter().map(|secret| &secret.metadata) {
            let (Some(name), Some(uid), Some(push)) = (&meta.name, &meta.uid, pushes_of(meta).next()) else {
                continue;
            };
            let object = self.push_object(&push.name).await?;
            if object.is_some_and(|object| object.uid == push.uid && names(&object, name)) {
                continue;
            }
            // Never at first sight: somebody may be about to name it.
            let since = before.get(uid).copied();
            if since.is_none_or(|since| now - since < patience) {
                unnamed.insert(uid.clone(), since.unwrap_or(now));
                continue;
            }
            self.delete_secret(meta, None).await?;
            tracing::info!(push = push.name, "{} was deleted, for its copy has ended", what(name));
            deleted += 1;
        }
        Ok(deleted)
    }
}

/// Whether Waypost has written what is in it, for a copy.
pub(in super::super) fn is_ours(meta: &ObjectMeta) -> bool {
    let labels = meta.labels.as_ref();
    let is = |key: &str, value: Option<&str>| {
        let found = labels.and_then(|labels| labels.get(key));
        found.is_some_and(|found| value.is_none_or(|value| value == found))
    };
    is(MANAGED_BY, Some("waypost")) && is(PUSH, None)
}

/// Why a Secret is not for a push, and what to do about it. Whoever may name one gets none that is for something else.
fn stranger(meta: &ObjectMeta, object: &Object) -> Option<String> {
    let registry = object.registry();
    let label = meta.labels.as_ref().and_then(|labels| labels.get(PUSH));
    if registry_of(meta).is_some() || tokens::issued_for(meta).is_some() {
        return Some("is a registry's own: give the push a Secret of its own".to_owned());
    }
    if pushes_of(meta).any(|push| push.uid != object.uid) {
        return Some("is another push's: give this one a Secret of its own".to_owned());
    }
    if label.is_none_or(|label| label != registry) {
        return Some(format!(
            "is not for pushes into {registry}: if it is, label it with `{PUSH}: {registry}`"
        ));
    }
    None
}

/// The objects whose copies it is for.
fn pushes_of(meta: &ObjectMeta) -> impl Iterator<Item = &OwnerReference> {
    meta.owner_references.iter().flatten().filter(|owner| {
        let group = owner.api_version.split_once('/').map(|(group, _)| group);
        (group, &*owner.kind) == (Some(GROUP), object::KIND)
    })
}

/// Whether a copy that has not ended has its credential there.
fn names(object: &Object, secret: &str) -> bool {
    let record = object.record().ok().flatten();
    let login = record.and_then(|record| record.copying?.login);
    let asked = object.copy.credential.as_ref().filter(|_| object.is_asked());
    login.is_some_and(|login| *login == *secret) || asked.is_some_and(|credential| credential.name == secret)
}

fn owner(object: &Object) -> OwnerReference {
    OwnerReference {
        api_version: format!("{GROUP}/{VERSION}"),
        kind: object::KIND.to_owned(),
        name: object.name.clone(),
        uid: object.uid.clone(),
        ..OwnerReference::default()
    }
}

/// Into which registry a Secret's credential is to push.
const PUSH: &str = "waypost.dev/push";
