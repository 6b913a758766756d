//! The managed pull secrets, one in each namespace: seen, made, written, deleted. It takes the rights to get, list, watch, create, patch
//! and delete Secrets of their one name, in all namespaces: a list or a watch that asks for that name alone is allowed by it, and so is
//! an apply, which carries the name.
//!
//! Whatever is written names the state that it replaces, so that what somebody else has made or changed in the meantime stays.

use std::{borrow::Cow, collections::BTreeMap, convert::Infallible, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use k8s_openapi::{
    NamespaceResourceScope, api::core::v1::Secret as Object, apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions},
};
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Deserializer, de::IgnoredAny};
use serde_json::json;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::{
    explain,
    objects::MANAGER,
    watch::{self, Selection},
};
use crate::{
    pull_secret::{Content, Digest, Found, KEPT_BY, KEY, MARKS, TYPE},
    registry::Password,
};

/// A Secret without what is in it: of that there is a digest, made where it was read.
#[derive(Clone, Debug)]
pub struct Slip {
    metadata: ObjectMeta,
    /// What is known of it.
    pub found: Found,
    /// Who keeps it, as it says.
    keeper: Box<str>,
}

/// What the watch on the Secrets of the name finds.
pub type Event = watch::Event<Slip>;

/// Why something was not read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PullSecretError {
    /// It is not, or no longer, as it was seen: look again.
    #[error("somebody else has changed it")]
    Conflict,
    /// The namespace goes, or has gone.
    #[error("the namespace is going")]
    Going,
    /// Anything else, in a sentence.
    #[error("{0}")]
    Failed(String),
}

/// The pull secrets of a cluster.
#[derive(Clone)]
pub struct PullSecrets {
    client: Client,
    name: String,
    /// Whose are ours: in one cluster there may be another Waypost, which knows other registries. None: everybody's.
    keeper: Option<Box<str>>,
}

/// Follows the Secrets of this name in all namespaces, until it is dropped. Only those that this keeper has made count as ours.
pub async fn follow(
    mut connect: impl AsyncFnMut() -> Result<Client, String>,
    name: &str,
    keeper: &str,
    mut tell: impl FnMut(Event),
) -> Infallible {
    let mine = |slip: &mut Slip| slip.found.ours &= *slip.keeper == *keeper;
    let tell = |mut event| {
        match &mut event {
            watch::Event::Listed(slips) => slips.iter_mut().for_each(mine),
            watch::Event::Changed(changes) => {
                for watch::Change::Applied(slip) | watch::Change::Deleted(slip) in changes {
                    mine(slip);
                }
            }
            watch::Event::Working | watch::Event::Broken(_) | watch::Event::Missing(_) => {}
        }
        tell(event);
    };
    let connect = async || Ok(Api::<Slip>::all(connect().await?));
    let selection = Selection::all("secrets").fields(format!("metadata.name={name}"));
    watch::follow(connect, selection, watch::nobody, tell).await
}

/// The digest of parts, whose borders count.
pub fn digest(parts: &[&[u8]]) -> Digest {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part);
    }
    let mut digest = Digest::default();
    digest.copy_from_slice(&context.finish().as_ref()[..size_of::<Digest>()]);
    digest
}

impl PullSecrets {
    /// Those of this name and keeper: a label's value.
    pub fn new(client: Client, name: impl Into<String>, keeper: &str) -> Self {
        Self {
            client,
            name: name.into(),
            keeper: Some(keeper.into()),
        }
    }

    /// Those of this name, whoever keeps them: for taking them away.
    pub fn of_anybody(client: Client, name: impl Into<String>) -> Self {
        Self {
            client,
            name: name.into(),
            keeper: None,
        }
    }

    fn found(&self, slip: Slip) -> Found {
        let Slip { mut found, keeper, .. } = slip;
        found.ours &= self.keeper.as_ref().is_none_or(|own| *own == keeper);
        found
    }

    /// That of a namespace, if there is one.
    ///
    /// # Errors
    ///
    /// When the API server does not say.
    pub async fn get(&self, namespace: &str) -> Result<Option<Found>, PullSecretError> {
        let api: Api<Slip> = Api::namespaced(self.client.clone(), namespace);
        match within("get", api.get_opt(&self.name)).await {
            Ok(slip) => Ok(slip.map(|slip| self.found(slip))),
            Err(error) => Err(error),
        }
    }

    /// All there are, with their namespaces.
    ///
    /// # Errors
    ///
    /// When the API server does not say.
    pub async fn list(&self) -> Result<Vec<(String, Found)>, PullSecretError> {
        let api: Api<Slip> = Api::all(self.client.clone());
        let params = ListParams::default().fields(&format!("metadata.name={}", self.name));
        let list = within("list", api.list(&params)).await?;
        let slips = list.items.into_iter();
        Ok(slips
            .filter_map(|mut slip| Some((slip.metadata.namespace.take()?, self.found(slip))))
            .collect())
    }

    /// What is in that of a namespace, if it is as it was seen.
    ///
    /// # Errors
    ///
    /// When it is not, or the API server does not say.
    pub async fn content(&self, namespace: &str, found: &Found) -> Result<Zeroizing<Vec<u8>>, PullSecretError> {
        let api: Api<Object> = Api::namespaced(self.client.clone(), namespace);
        let object = within("get", api.get(&self.name)).await?;
        let version = object.metadata.resource_version.as_deref();
        let mut data = object.data.unwrap_or_default();
        let content = data.remove(KEY).map(|content| Zeroizing::new(content.0));
        for other in data.into_values() {
            drop(Zeroizing::new(other.0));
        }
        if version != Some(&*found.version) {
            return Err(PullSecretError::Conflict);
        }
        Ok(content.unwrap_or_default())
    }

    /// Makes that of a namespace; whatever is there of this name stays as it is.
    ///
    /// # Errors
    ///
    /// [`PullSecretError::Conflict`] where there is one; others where it was not made.
    pub async fn create(&self, namespace: &str, content: &[u8]) -> Result<Found, PullSecretError> {
        // An apply makes what is not there, which by a POST could not be allowed for one name. This version is no object's, so that one
        // that is there is a conflict.
        self.apply(namespace, json!({"resourceVersion": "1"}), content).await
    }

    /// Gives one of ours another content, in place, if it is as it was seen.
    ///
    /// # Errors
    ///
    /// [`PullSecretError::Conflict`] where it is not; others where it was not changed.
    pub async fn update(&self, namespace: &str, found: &Found, content: &[u8]) -> Result<Found, PullSecretError> {
        // With the uid, or one that has gone meanwhile would be made again.
        let metadata = json!({"uid": found.uid, "resourceVersion": found.version});
        self.apply(namespace, metadata, content).await
    }

    /// Deletes one of ours, if it is as it was seen.
    ///
    /// # Errors
    ///
    /// [`PullSecretError::Conflict`] where it is not; others where it was not deleted.
    pub async fn delete(&self, namespace: &str, found: &Found) -> Result<(), PullSecretError> {
        let api: Api<Slip> = Api::namespaced(self.client.clone(), namespace);
        let params = DeleteParams::default().preconditions(Preconditions {
            uid: Some(found.uid.to_string()),
            resource_version: Some(found.version.to_string()),
        });
        match within("delete", api.delete(&self.name, &params)).await {
            Ok(_) | Err(PullSecretError::Going) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn apply(
        &self,
        namespace: &str,
        mut metadata: serde_json::Value,
        content: &[u8],
    ) -> Result<Found, PullSecretError> {
        let api: Api<Slip> = Api::namespaced(self.client.clone(), namespace);
        metadata["name"] = json!(self.name);
        let keeper = self.keeper.as_deref().map(|keeper| (KEPT_BY, keeper));
        metadata["labels"] = MARKS.into_iter().chain(keeper).collect();
        let object = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "type": TYPE,
            "metadata": metadata,
            "data": {KEY: STANDARD.encode(content)},
        });
        // It is ours: whoever wrote into it is overruled.
        let params = PatchParams::apply(MANAGER).force();
        let slip = within(
            "create and patch",
            api.patch(&self.name, &params, &Patch::Apply(object)),
        )
        .await?;
        Ok(self.found(slip))
    }
}

async fn within<T>(verb: &str, answer: impl Future<Output = kube::Result<T>>) -> Result<T, PullSecretError> {
    match timeout(DEADLINE, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(classify(verb, &error)),
        Err(_) => Err(PullSecretError::Failed(format!(
            "the API server has not answered within {} s",
            DEADLINE.as_secs()
        ))),
    }
}

fn classify(verb: &str, error: &kube::Error) -> PullSecretError {
    let kube::Error::Api(status) = error else {
        return PullSecretError::Failed(explain(error));
    };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let terminating = causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating");
    match status.code {
        409 => PullSecretError::Conflict,
        404 => PullSecretError::Going,
        403 if terminating => PullSecretError::Going,
        // A quota, or somebody's admission policy, is told as 403 as well.
        403 if status.message.contains(" cannot ") => PullSecretError::Failed(format!(
            "{}; grant the rights to {verb} Secrets of this name in all namespaces",
            explain(error)
        )),
        _ => PullSecretError::Failed(explain(error)),
    }
}

impl Resource for Slip {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Secret".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "secrets".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl<'de> Deserialize<'de> for Slip {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Read {
            metadata,
            kind,
            immutable,
            data,
        } = Read::deserialize(deserializer)?;
        let mut labels = metadata.labels.unwrap_or_default();
        let ours = MARKS
            .iter()
            .all(|(key, value)| labels.get(*key).is_some_and(|present| present == value));
        let content = data.and_then(|data| data.content);
        let content = content.and_then(|text| STANDARD.decode(text.expose()).ok().map(Zeroizing::new));
        Ok(Self {
            found: Found {
                uid: metadata.uid.clone().unwrap_or_default().into(),
                version: metadata.resource_version.clone().unwrap_or_default().into(),
                ours,
                fits: kind.as_deref() == Some(TYPE),
                immutable: immutable == Some(true),
                deleting: metadata.deletion_timestamp.is_some(),
                content: content.map_or(Content::Other, |content| Content::of(&content, digest)),
            },
            keeper: labels.remove(KEPT_BY).unwrap_or_default().into(),
            // Neither labels nor annotations are kept: `kubectl apply` writes what is in a Secret into one.
            metadata: ObjectMeta {
                name: metadata.name,
                namespace: metadata.namespace,
                uid: metadata.uid,
                resource_version: metadata.resource_version,
                ..ObjectMeta::default()
            },
        })
    }
}

#[derive(Deserialize)]
struct Read {
    #[serde(default)]
    metadata: Metadata,
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    immutable: Option<bool>,
    #[serde(default)]
    data: Option<Data>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    deletion_timestamp: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(default, rename = ".dockerconfigjson")]
    content: Option<Password>,
}

const DEADLINE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_secret_nothing_is_kept_but_digests() {
        let content = STANDARD.encode(r#"{"auths":{"r.io":{"auth":"aHVudGVyMg=="}}}"#);
        let object = json!({
            "apiVersion": "v1", "kind": "Secret", "type": TYPE,
            "metadata": {
                "name": "waypost-pull", "namespace": "n", "uid": "u", "resourceVersion": "7", "deletionTimestamp": "2026-11-21T00:00:00Z",
                "labels": {"app.kubernetes.io/managed-by": "waypost", "waypost.dev/pull-secret": "true", "more": "x"},
                "annotations": {"kubectl.kubernetes.io/last-applied-configuration": content},
                "managedFields": [{"manager": "m"}],
            },
            "data": {KEY: content, "more": "eA=="},
        });
        let slip: Slip = serde_json::from_value(object.clone()).unwrap();
        let shown = format!("{slip:?}");
        assert!(!shown.contains(&content) && !shown.contains("aHVudGVyMg"), "{shown}");
        let found = &slip.found;
        assert_eq!((&*found.uid, &*found.version), ("u", "7"));
        assert!(found.ours && found.fits && found.deleting && !found.immutable);
        assert!(matches!(&found.content, Content::Entries(entries) if entries.len() == 1));

        for (path, value) in [
            ("/metadata/labels", json!({"app.kubernetes.io/managed-by": "waypost"})),
            ("/metadata/labels", json!(null)),
            ("/metadata/labels/waypost.dev~1pull-secret", json!("yes")),
        ] {
            let mut other = object.clone();
            *other.pointer_mut(path).unwrap() = value;
            assert!(!serde_json::from_value::<Slip>(other).unwrap().found.ours, "{path}");
        }
        // Whatever others write under the name can be read.
        for other in [
            json!({"metadata": {"name": "x"}}),
            json!({"metadata": {}, "type": "Opaque", "data": null, "immutable": true}),
            json!({"metadata": {}, "data": {KEY: "not base64!"}}),
        ] {
            let slip: Slip = serde_json::from_value(other).unwrap();
            assert_eq!(slip.found.content, Content::Other);
        }
    }

    #[test]
    fn a_refusal_is_told_apart_from_what_is_no_refusal() {
        let status = |code: u16, message: &str, cause: &str| {
            let status = json!({"kind": "Status", "status": "Failure", "message": message, "code": code, "reason": "R",
                "details": {"causes": [{"reason": cause, "message": "m"}]}});
            let status: kube::core::Status = serde_json::from_value(status).unwrap();
            classify("create and patch", &kube::Error::Api(status.boxed()))
        };
        assert_eq!(status(409, "x", ""), PullSecretError::Conflict);
        assert_eq!(status(404, "x", ""), PullSecretError::Going);
        assert_eq!(status(403, "x", "NamespaceTerminating"), PullSecretError::Going);
        let said = status(403, "User \"x\" cannot patch resource \"secrets\"", "").to_string();
        assert!(
            said.ends_with("; grant the rights to create and patch Secrets of this name in all namespaces"),
            "{said}"
        );
        let said = status(403, "exceeded quota: q", "").to_string();
        assert!(said.ends_with("exceeded quota: q"), "{said}");
    }
}
