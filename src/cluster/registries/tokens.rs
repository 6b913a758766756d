//! Tokens that are issued: each registry has one, in a Secret of its own that is written again and again. What is known of it, but for the
//! token, is in the object's status, so that those who may read no Secrets know it, too.
//!
//! The Secret is written first: whoever is interrupted in between has a token that is newer than is known, which does no harm.

use k8s_openapi::{api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::api::PostParams;
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
        let object = Object::read(&self.object(id).await?.ok_or_else(not_found)?);
        let Token { login, issuance } = token;
        if !object.spec.as_ref().is_ok_and(|spec| issuance.is_for(spec)) {
            return Err(StoreError::Conflict {
                id: id.to_owned(),
                current: object.version(),
            });
        }
        self.write_token(&object, &login, &issuance).await?;
        let status = json!({ TOKEN: issuance });
        match self.patch_status(id, json!({"uid": object.uid}), status).await {
            // It is another one by now.
            Err(failed) if failed.code == Some(409) => Err(not_found()),
            done => Ok(done?),
        }
    }

    async fn write_token(&self, object: &Object, login: &Login, issuance: &Issuance) -> Result<(), StoreError> {
        let name = name(&object.id);
        for _ in 0..ATTEMPTS {
            let present = ask(&what(&name), "get", self.secret_api().get_metadata_opt(&name)).await?;
            let present = present.map(|present| present.metadata);
            if present.as_ref().is_some_and(|meta| issued_for(meta).is_none()) {
                return Err(StoreError::Unavailable(format!(
                    "{} in Waypost's namespace is somebody else's, and the token of {} would be kept there: give it another name",
                    what(&name),
                    registry(&object.id)
                )));
            }
            let mut secret = Secret {
                metadata: ObjectMeta {
                    name: Some(name.clone()),
                    labels: Some(entries([(MANAGED_BY, "waypost"), (ISSUED_FOR, &object.id)])),
                    annotations: Some(entries([(PLACE, &issuance.place)])),
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
            let params = PostParams {
                field_manager: Some(MANAGER.to_owned()),
                ..PostParams::default()
            };
            let api = self.secret_api();
            let written = if present.is_some() {
                ask(&what(&name), "update", api.replace(&name, &params, &secret)).await
            } else {
                ask(&what(&name), "create", api.create(&params, &secret)).await
            };
            wipe(&mut secret);
            match written {
                Ok(mut written) => {
                    wipe(&mut written);
                    self.change(|known| known.wrote_secret(&written.metadata));
                    return Ok(());
                }
                // Somebody has changed or deleted it since.
                Err(failed) if matches!(failed.code, Some(404 | 409)) => {}
                Err(failed) => return Err(failed.error),
            }
        }
        Err(changed_all_the_time(&object.id))
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
        let meta = &secret.metadata;
        let is_its = issued_for(meta) == Some(&object.id)
            && meta
                .owner_references
                .iter()
                .flatten()
                .any(|owner| owner.uid == object.uid);
        let place = meta.annotations.as_ref().and_then(|all| all.get(PLACE));
        if !is_its || place != Some(&issuance.place) {
            wipe(&mut secret);
            return Err(unusable("is of another registry"));
        }
        let login = login_of(secret, Purpose::Pull, None).map_err(|why| unusable(&why.to_string()))?;
        Ok(Some(login))
    }

    /// Deletes the tokens of registries whose tokens nobody issues any more. Answers how many.
    pub(super) async fn tidy_tokens(&self, objects: &[Object]) -> Result<usize, Failed> {
        let labels = format!("{MANAGED_BY}=waypost,{ISSUED_FOR}");
        let written = requests::all_metadata("secrets", &self.secret_api(), Some(&labels)).await?;
        let mut deleted = 0;
        for meta in written.iter().map(|secret| &secret.metadata) {
            // Of those that are gone the API server itself deletes what they own.
            let owner = objects.iter().find(|object| issued_for(meta) == Some(&object.id));
            let is_over = |object: &Object| object.spec.as_ref().is_ok_and(|spec| !spec.location.issues());
            if owner.is_some_and(is_over) {
                self.delete_secret(meta).await?;
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
fn issued_for(meta: &ObjectMeta) -> Option<&String> {
    let labels = meta.labels.as_ref()?;
    let is_ours = labels.get(MANAGED_BY).is_some_and(|manager| manager == "waypost");
    labels.get(ISSUED_FOR).filter(|_| is_ours)
}

fn entries<const N: usize>(entries: [(&str, &str); N]) -> std::collections::BTreeMap<String, String> {
    entries.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

/// Which registry a token is of. Another key than credentials have that an object names: nobody names this one.
const ISSUED_FOR: &str = "waypost.dev/token-of";

/// Which registry it was then, as [`Issuance::place`] has it.
const PLACE: &str = "waypost.dev/place";

/// How often somebody else may be faster.
const ATTEMPTS: u32 = 8;
