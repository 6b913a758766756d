//! A `Registry` object: what is read of it, and how one is written.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::{Value, json};

use super::secrets::Purpose;
use crate::{
    crds::{GROUP, VERSION},
    registry::{Condition, RegistrySpec, id_problem},
    store::{DeclaredBy, Issuance, Version},
};

/// What is read of an object, whatever somebody wrote into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Object {
    /// Its name, which is the registry's id.
    pub(super) id: String,
    pub(super) uid: String,
    /// Which state of it this is. Of two, the greater is the later; 0 where the API server counts in a way of its own.
    pub(super) revision: u64,
    /// Counts the changes of its spec.
    pub(super) generation: i64,
    /// Somebody has deleted it, and something is done yet before it is gone.
    pub(super) is_ending: bool,
    /// What it says, or why that cannot be understood.
    pub(super) spec: Result<RegistrySpec, String>,
    /// The Secret that it names to pull with, even where the rest cannot be understood.
    pub(super) pull: Option<String>,
    /// The one to push with.
    pub(super) push: Option<String>,
    /// The one with the token to notify with.
    pub(super) notify: Option<String>,
    pub(super) declared_by: DeclaredBy,
    /// What its status says of the token that was issued last.
    pub(super) issuance: Option<Issuance>,
    pub(super) conditions: Vec<Condition>,
    /// Which generation the conditions are about.
    pub(super) observed: Option<i64>,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
}

impl Object {
    pub(super) fn read(object: &DynamicObject) -> Self {
        let meta = &object.metadata;
        let id = meta.name.clone().unwrap_or_default();
        let secret = |purpose: Purpose| Some(object.data["spec"][purpose.key()]["secretName"].as_str()?.to_owned());
        let spec = match id_problem(&id) {
            Some(problem) => Err(format!("its name is no id of a registry: {problem}")),
            None => spec(&object.data["spec"]),
        };
        let label = meta.labels.as_ref().and_then(|labels| labels.get(MANAGED_BY));
        let status = &object.data["status"];
        let generation = meta.generation.unwrap_or_default();
        let created_at = meta
            .creation_timestamp
            .as_ref()
            .map_or(Timestamp::UNIX_EPOCH, |time| time.0);
        Self {
            uid: meta.uid.clone().unwrap_or_default(),
            revision: revision(meta.resource_version.as_deref()),
            generation,
            is_ending: meta.deletion_timestamp.is_some(),
            spec,
            pull: secret(Purpose::Pull),
            push: secret(Purpose::Push),
            notify: secret(Purpose::Notify),
            declared_by: match label.map(String::as_str) {
                Some("Helm") => DeclaredBy::Helm,
                _ => DeclaredBy::Anybody,
            },
            issuance: serde_json::from_value(status[TOKEN].clone()).ok(),
            conditions: conditions(&status["conditions"]),
            observed: status["observedGeneration"].as_i64(),
            created_at,
            updated_at: updated_at(object, generation, created_at),
            id,
        }
    }

    /// Says which state of it is meant, whatever is found out about it.
    pub(super) fn version(&self) -> Version {
        Version(format!("{}-{}", self.uid, self.generation))
    }

    /// The Secret that it names for this.
    pub(super) fn secret(&self, purpose: Purpose) -> Option<&String> {
        match purpose {
            Purpose::Pull => self.pull.as_ref(),
            Purpose::Push => self.push.as_ref(),
            Purpose::Notify => self.notify.as_ref(),
        }
    }

    /// What is known of the token, where it is for the registry that it says.
    pub(super) fn issuance(&self) -> Option<&Issuance> {
        let spec = self.spec.as_ref().ok()?;
        self.issuance.as_ref().filter(|issuance| issuance.is_for(spec))
    }

    /// The Secrets that it names.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &str> {
        let named = Purpose::ALL.into_iter().filter_map(|purpose| self.secret(purpose));
        named.map(String::as_str)
    }

    /// Whatever is made for it goes with it.
    pub(super) fn owner(&self) -> OwnerReference {
        OwnerReference {
            api_version: format!("{GROUP}/{VERSION}"),
            kind: KIND.to_owned(),
            name: self.id.clone(),
            uid: self.uid.clone(),
            ..OwnerReference::default()
        }
    }
}

fn spec(spec: &Value) -> Result<RegistrySpec, String> {
    // `url:` with nothing behind it is not meant to be Docker Hub, nor are `names:` meant to be all namespaces.
    if let Some(key) = null_in(spec) {
        return Err(format!(
            "`{key}` in its spec has no value: give it one, or take the key out"
        ));
    }
    serde_json::from_value(spec.clone()).map_err(|error| format!("its spec: {error}"))
}

/// The first key without a value.
fn null_in(value: &Value) -> Option<&str> {
    value
        .as_object()
        .into_iter()
        .flatten()
        .find_map(|(key, value)| match value {
            Value::Null => Some(&**key),
            value => null_in(value),
        })
}

/// What is found in a status. Conditions that somebody else has put there are none of ours.
fn conditions(found: &Value) -> Vec<Condition> {
    let found = found.as_array().into_iter().flatten();
    let mut conditions: Vec<Condition> = found
        .filter_map(|condition| serde_json::from_value(condition.clone()).ok())
        .collect();
    conditions.sort_by_key(|condition| condition.kind);
    conditions
}

/// The API server says when somebody last changed a field and not when one was taken away: what is changed here says so itself.
fn updated_at(object: &DynamicObject, generation: i64, created_at: Timestamp) -> Timestamp {
    if generation <= 1 {
        return created_at;
    }
    let meta = &object.metadata;
    let said = meta
        .annotations
        .as_ref()
        .and_then(|all| all.get(UPDATED_AT)?.parse().ok());
    let managed = meta.managed_fields.iter().flatten();
    let managed = managed
        .filter(|entry| entry.subresource.as_deref().unwrap_or_default().is_empty())
        .filter_map(|entry| Some(entry.time.as_ref()?.0));
    managed.chain(said).fold(created_at, Timestamp::max)
}

/// A new one.
pub(super) fn new(id: &str, spec: &RegistrySpec) -> serde_json::Result<DynamicObject> {
    Ok(DynamicObject::new(id, &resource()).data(json!({"spec": serde_json::to_value(spec)?})))
}

/// This one with another spec: whatever else somebody has put on it stays.
pub(super) fn with(
    mut object: DynamicObject,
    spec: &RegistrySpec,
    now: Timestamp,
) -> serde_json::Result<DynamicObject> {
    object.data["spec"] = serde_json::to_value(spec)?;
    // Absent, they stay as they are.
    object.metadata.managed_fields = None;
    let annotations = object.metadata.annotations.get_or_insert_default();
    annotations.insert(UPDATED_AT.to_owned(), now.to_string());
    Ok(object)
}

/// The `status` of an object.
pub(super) fn status(conditions: &[Condition], generation: i64) -> serde_json::Result<Value> {
    Ok(json!({"observedGeneration": generation, "conditions": serde_json::to_value(conditions)?}))
}

pub(super) fn revision(version: Option<&str>) -> u64 {
    version.and_then(|version| version.parse().ok()).unwrap_or_default()
}

pub(super) fn resource() -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, VERSION, KIND), "registries")
}

/// Who looks after an object; Helm puts its name there.
pub(super) const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// In a status.
pub(super) const TOKEN: &str = "token";

/// When Waypost changed an object.
const UPDATED_AT: &str = "waypost.dev/updated-at";

const KIND: &str = "Registry";
