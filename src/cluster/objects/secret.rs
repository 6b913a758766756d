//! Secrets: read, made, replaced only as they were read. It takes the rights to get, create and patch them by name.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use k8s_openapi::api::core::v1::Secret as Object;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use super::{Home, ObjectError, manager, within};

/// A Secret, as it was read.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    /// What is in it.
    pub data: BTreeMap<String, Vec<u8>>,
    /// What is written on it.
    pub annotations: BTreeMap<String, String>,
    /// This content of it.
    pub version: String,
}

impl Secret {
    /// What is in it under this key, if that is text.
    pub fn text(&self, key: &str) -> Option<&str> {
        std::str::from_utf8(self.data.get(key)?).ok()
    }
}

/// The Secret of this name, if there is one.
///
/// # Errors
///
/// When the API server does not say.
pub async fn secret(home: &Home, name: &str) -> Result<Option<Secret>, ObjectError> {
    let found = within(&what(name), "get", api(home).get_opt(name)).await?;
    Ok(found.map(|object| Secret {
        data: object
            .data
            .unwrap_or_default()
            .into_iter()
            .map(|(key, value)| (key, value.0))
            .collect(),
        annotations: object.metadata.annotations.unwrap_or_default(),
        version: object.metadata.resource_version.unwrap_or_default(),
    }))
}

/// Makes it, with this content and of this type, unless somebody else just did.
///
/// # Errors
///
/// When it was not made.
pub async fn create(home: &Home, name: &str, kind: &str, data: &[(&str, &str)]) -> Result<(), ObjectError> {
    let object = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": kind,
        "metadata": {
            "name": name,
            "labels": {"app.kubernetes.io/managed-by": "waypost"},
            "ownerReferences": home.owner.iter().collect::<Vec<_>>(),
        },
        "data": encoded(data),
    });
    // By server-side apply, which can be allowed for a name; of this process's own and not forced, so that another's content is a conflict.
    let identity: String = home.identity.chars().take(128).collect();
    let params = PatchParams::apply(&identity);
    let patch = Patch::Apply(object);
    within(&what(name), "create and patch", api(home).patch(name, &params, &patch)).await?;
    Ok(())
}

/// Gives it another content and takes these annotations off, if it is as it was read.
///
/// # Errors
///
/// When it was not replaced.
pub async fn replace(
    home: &Home,
    name: &str,
    read: &Secret,
    data: &[(&str, &str)],
    annotations: &[&str],
) -> Result<(), ObjectError> {
    let mut content = encoded(data);
    for key in read.data.keys() {
        if !data.iter().any(|(kept, _)| kept == key) {
            content[key] = Value::Null;
        }
    }
    let annotations: BTreeMap<_, _> = annotations.iter().map(|name| (*name, Value::Null)).collect();
    let patch = json!({
        "metadata": {"resourceVersion": read.version, "annotations": annotations},
        "data": content,
    });
    within(
        &what(name),
        "patch",
        api(home).patch(name, &manager(), &Patch::Merge(patch)),
    )
    .await?;
    Ok(())
}

fn api(home: &Home) -> Api<Object> {
    Api::namespaced(home.client.clone(), &home.namespace)
}

fn what(name: &str) -> String {
    format!("the Secret {name}")
}

fn encoded(data: &[(&str, &str)]) -> Value {
    data.iter()
        .map(|(key, text)| ((*key).to_owned(), Value::from(STANDARD.encode(text))))
        .collect()
}
