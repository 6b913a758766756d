//! Tokens that are issued: each registry has one, in a Secret of its own that is written again and again. What is known of it, but for the
//! token, is in the object's status, so that those who may read no Secrets know it, too.
//!
//! The Secret is written first: whoever is interrupted in between has a token that is newer than is known, which does no harm.

use std::collections::BTreeMap;

use k8s_openapi::{api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

use super::{
    Kubernetes,
    object::{MANAGED_BY, Object, TOKEN},
    requests::{self, Failed, ask},
    secrets::{BASIC_AUTH, Purpose, login_data, login_of, what, wipe},
    what as registry,
    writing::{MANAGER, changed_all_the_time},
};
use crate::{
    cluster::events,
    registry::Login,
    store::{Issuance, News, StoreError, Token},
};

/// The name of a registry's.
pub(super) fn name(id: &str) -> String {
    format!("{id}-token")
}

impl Kubernetes {
    pub(super) async fn keep_token(&self, id: &str, token: Token) -> Result<(), StoreError> {
        let not_found = || StoreError::NotFound(id.to_owned());
        let Token { login, issuance } = token;
        let mut written = None;
        for _ in 0..ATTEMPTS {
            let object = Object::read(&self.object(id).await?.ok_or_else(not_found)?);
            if !object.spec.as_ref().is_ok_and(|spec| issuance.is_for(spec)) {
                return Err(StoreError::Conflict {
                    id: id.to_owned(),
                    current: object.version(),
                });
            }
            match &written {
                None => self.write_token(&object, &login, &issuance).await?,
                Some(uid) if *uid == object.uid => {}
                // It is another one by now.
                Some(_) => return Err(not_found()),
            }
            let status = json!({ TOKEN: issuance });
            match self.patch_status(id, json!({"uid": object.uid}), status).await {
                Err(failed) if failed.code == Some(409) => written = Some(object.uid),
                done => return Ok(done?),
            }
        }
        Err(changed_all_the_time(id))
    }

    async fn write_token(&self, object: &Object, login: &Login, issuance: &Issuance) -> Result<(), StoreError> {
        let name = name(&object.id);
        for _ in 0..ATTEMPTS {
            let present = ask(&what(&name), "get", self.secret_api().get_metadata_opt(&name)).await?;
            let present = present.map(|present| present.metadata);
            match &present {
                Some(meta) if issued_for(meta) != Some(&object.id) => {
                    return Err(StoreError::Unavailable(format!(
                        "{} in the namespace {} is somebody else's, and the token of {} would be kept there: give it another name",
                        what(&name),
                        self.namespace,
                        registry(&object.id)
                    )));
                }
                // That of one which had the id before goes with it, at any moment.
                Some(meta) if !is_owned(meta, object) => {
                    self.delete_secret(meta, None).await?;
                    continue;
                }
                _ => {}
            }
            let mut secret = Secret {
                metadata: ObjectMeta {
                    name: Some(name.clone()),
                    labels: Some(entries([(MANAGED_BY, "waypost"), (ISSUED_FOR, &object.id)])),
                    annotations: Some(entries([
                        (PLACE, &issuance.place),
                        (ACCOUNT, issuance.account.as_deref().unwrap_or_default()),
                    ])),
                    owner_references: Some(vec![object.owner()]),
                    // Only as it was seen, and none where there was none.
                    resource_version: present.as_ref().and_then(|meta| meta.resource_version.clone()),
                    uid: present.as_ref().and_then(|meta| meta.uid.clone()),
                    ..ObjectMeta::default()
                },
                type_: Some(BASIC_AUTH.to_owned()),
                data: Some(login_data(login)),
                ..Secret::default()
            };
            let written = if present.is_some() {
                self.overwrite(&name, &secret).await
            } else {
                self.make(&name, &secret).await
            };
            wipe(&mut secret);
            match written {
                Ok(meta) => {
                    self.change(|known| known.wrote_secret(&meta));
                    return Ok(());
                }
                // Somebody has changed or deleted it since.
                Err(failed) if matches!(failed.code, Some(404 | 409)) => {}
                Err(failed) => return Err(failed.error),
            }
        }
        Err(changed_all_the_time(&object.id))
    }

    async fn make(&self, name: &str, secret: &Secret) -> Result<ObjectMeta, Failed> {
        let params = PostParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PostParams::default()
        };
        let mut made = ask(&what(name), "create", self.secret_api().create(&params, secret)).await?;
        wipe(&mut made);
        Ok(made.metadata)
    }

    async fn overwrite(&self, name: &str, secret: &Secret) -> Result<ObjectMeta, Failed> {
        let params = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let (api, patch) = (self.secret_api(), Patch::Merge(secret));
        let patched = ask(&what(name), "patch", api.patch_metadata(name, &params, &patch)).await?;
        Ok(patched.metadata)
    }

    /// The token, where there is one for the registry that the object says.
    pub(super) async fn token(&self, object: &Object) -> Result<Option<Login>, StoreError> {
        let Some(issuance) = object.issuance() else {
            return Ok(None);
        };
        let name = name(&object.id);
        let unusable = |why: &str| {
            StoreError::Unavailable(format!(
                "{} in the namespace {}, which is the token of {}, {why}",
                what(&name),
                self.namespace,
                registry(&object.id)
            ))
        };
        let found = ask(&what(&name), "get", self.secret_api().get_opt(&name)).await?;
        let mut secret = found.ok_or_else(|| unusable("does not exist"))?;
        if !is_token(&secret.metadata, object, issuance) {
            wipe(&mut secret);
            return Err(unusable("is of another registry"));
        }
        let login = login_of(secret, Purpose::Pull, None).map_err(|why| unusable(&why.to_string()))?;
        Ok(Some(login))
    }

    /// Takes away what was issued for another registry than the object says now, where anything is known of it. Where that fails it is of
    /// no use all the same.
    pub(super) async fn forget_token(&self, object: &Object) {
        if object.issuance.is_none() || object.issuance().is_some() {
            return;
        }
        let done = async {
            self.forget_issuance(object).await?;
            self.remove_token(object).await
        };
        if let Err(failed) = done.await {
            let id = &object.id;
            tracing::warn!(registry = id, "an old token is still there: {}", failed.error);
        }
    }

    /// Says of the object no more that it has a token.
    async fn forget_issuance(&self, object: &Object) -> Result<(), Failed> {
        // Only of what was looked at: another token may have been kept meanwhile.
        let mut meta = json!({"uid": object.uid});
        if object.revision > 0 {
            meta["resourceVersion"] = object.revision.to_string().into();
        }
        let forgotten = self.patch_status(&object.id, meta, json!({ TOKEN: null }));
        match forgotten.await {
            // It is gone, or another one.
            Err(Failed {
                error: StoreError::NotFound(_),
                ..
            }) => Ok(()),
            Err(failed) if failed.code == Some(409) => Ok(()),
            done => done,
        }
    }

    /// Deletes the token that the object was said to have, and no later one.
    pub(super) async fn remove_token(&self, object: &Object) -> Result<(), Failed> {
        let Some(issuance) = &object.issuance else {
            return Ok(());
        };
        let name = name(&object.id);
        let found = ask(&what(&name), "get", self.secret_api().get_metadata_opt(&name)).await?;
        match found.map(|found| found.metadata) {
            Some(meta) if is_token(&meta, object, issuance) => {
                let version = meta.resource_version.clone();
                self.delete_secret(&meta, version).await
            }
            _ => Ok(()),
        }
    }

    /// Deletes the tokens of registries whose tokens nobody issues any more. Answers how many.
    pub(super) async fn tidy_tokens(&self, objects: &[Object]) -> Result<usize, Failed> {
        let is_over = |object: &&Object| object.spec.as_ref().is_ok_and(|spec| !spec.location.issues());
        for object in objects.iter().filter(is_over) {
            // Or it would be believed to have one when its tokens are issued again.
            if object.issuance.is_some() {
                self.forget_issuance(object).await?;
            }
        }
        let labels = format!("{MANAGED_BY}=waypost,{ISSUED_FOR}");
        let written = requests::all_metadata("secrets", &self.secret_api(), Some(&labels)).await?;
        let mut deleted = 0;
        for meta in written.iter().map(|secret| &secret.metadata) {
            // Of those that are gone the API server itself deletes what they own.
            let owner = objects.iter().find(|object| issued_for(meta) == Some(&object.id));
            if owner.as_ref().is_some_and(is_over) {
                self.delete_secret(meta, None).await?;
                deleted += 1;
            }
        }
        Ok(deleted)
    }

    pub(super) async fn tell_people(&self, id: &str, news: News) {
        let object = match self.object(id).await {
            Ok(Some(object)) => Object::read(&object),
            // It is gone, and nobody looks at it.
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(registry = id, "the Event on {} was not made: {error}", registry(id));
                return;
            }
        };
        let owner = object.owner();
        let News { warning, reason, note } = news;
        let event = events::Event {
            // Where the API server has those of objects that are in no namespace.
            namespace: "default".to_owned(),
            api_version: owner.api_version,
            kind: owner.kind,
            name: owner.name,
            uid: owner.uid,
            reason,
            note,
            warning,
            reporter: events::Reporter::Registries,
        };
        if let Err(why) = events::create(self.client(), &event, "waypost").await {
            tracing::warn!(registry = id, "the Event on {} was not made: {why}", registry(id));
        }
    }
}

/// The registry whose token it is; none where somebody else has made it.
pub(super) fn issued_for(meta: &ObjectMeta) -> Option<&String> {
    let labels = meta.labels.as_ref()?;
    let is_ours = labels.get(MANAGED_BY).is_some_and(|manager| manager == "waypost");
    labels.get(ISSUED_FOR).filter(|_| is_ours)
}

/// Whether it goes with this object, and not with another of its name.
fn is_owned(meta: &ObjectMeta, object: &Object) -> bool {
    let mut owners = meta.owner_references.iter().flatten();
    owners.any(|owner| owner.uid == object.uid)
}

/// Whether this is the token that `issuance` is about.
fn is_token(meta: &ObjectMeta, object: &Object, issuance: &Issuance) -> bool {
    let said = |key| meta.annotations.as_ref().and_then(|all| all.get(key));
    issued_for(meta) == Some(&object.id)
        && is_owned(meta, object)
        && said(PLACE) == Some(&issuance.place)
        && said(ACCOUNT).map(String::as_str) == Some(issuance.account.as_deref().unwrap_or_default())
}

fn entries<const N: usize>(entries: [(&str, &str); N]) -> BTreeMap<String, String> {
    entries.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

/// Which registry a token is of. Another key than credentials have that an object names: nobody names this one.
const ISSUED_FOR: &str = "waypost.dev/token-of";

/// Which registry it was then, as [`Issuance::place`] has it.
const PLACE: &str = "waypost.dev/place";

/// Whose registry it is, where ECR was asked for that: with another key it may be another.
const ACCOUNT: &str = "waypost.dev/account";

/// How often somebody else may be faster.
const ATTEMPTS: u32 = 8;
