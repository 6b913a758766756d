//! Registry objects that somebody declares elsewhere: made and removed for him. It takes the rights to list, get, create, patch and
//! delete registries.waypost.dev, and to get the ClusterRole that owns them.

use k8s_openapi::{api::rbac::v1::ClusterRole, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions},
    core::{ApiResource, DynamicObject, GroupVersionKind, PartialObjectMeta},
};
use serde_json::{Value, json};

use super::{Home, ObjectError, within};

/// Says whose declaration an object is made after: nobody else's is changed or removed.
const DECLARED_BY: &str = "waypost.dev/declared-by";

/// What became of a declaration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Declared {
    /// The object is as it was declared.
    Kept,
    /// There is an object of this name, and it was made after no declaration of this one: it is left alone.
    Anothers,
}

/// Makes an object as it is declared, or makes it so again. `declaration` is the whole object, without status.
///
/// # Errors
///
/// When the API server does not do it.
pub async fn declare(
    home: &Home,
    by: &str,
    owner: Option<&OwnerReference>,
    name: &str,
    declaration: &Value,
) -> Result<Declared, ObjectError> {
    let api = api(home);
    let present = within(&what(name), "get", api.get_opt(name)).await?;
    if present.as_ref().is_some_and(|present| !is_declared(present, by)) {
        return Ok(Declared::Anothers);
    }
    let mut object = declaration.clone();
    object["metadata"]["labels"][DECLARED_BY] = by.into();
    if let Some(owner) = owner {
        object["metadata"]["ownerReferences"] = json!([owner]);
    }
    // With the uid of the one that was looked at: one that somebody makes meanwhile is not taken over.
    if let Some(uid) = present.and_then(|present| present.metadata.uid) {
        object["metadata"]["uid"] = uid.into();
    }
    let params = PatchParams::apply(MANAGER).force();
    within(
        &what(name),
        "create and patch",
        api.patch(name, &params, &Patch::Apply(object)),
    )
    .await?;
    Ok(Declared::Kept)
}

/// The names of the objects that were made after this one's declarations, with what it takes to remove just these.
///
/// # Errors
///
/// When the API server does not say.
pub async fn declared(home: &Home, by: &str) -> Result<Vec<(String, Preconditions)>, ObjectError> {
    let params = ListParams::default().labels(&format!("{DECLARED_BY}={by}"));
    let list = async {
        match api(home).list_metadata(&params).await {
            // Without their definition there are none.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(Vec::new()),
            Err(error) => Err(error),
            Ok(list) => Ok(list.items),
        }
    };
    let items = within("the registries", "list", list).await?;
    let name = |object: PartialObjectMeta<DynamicObject>| {
        let preconditions = Preconditions {
            uid: object.metadata.uid,
            resource_version: None,
        };
        Some((object.metadata.name?, preconditions))
    };
    Ok(items.into_iter().filter_map(name).collect())
}

/// Removes an object that is no longer declared.
///
/// # Errors
///
/// When it is there still.
pub async fn undeclare(home: &Home, name: &str, preconditions: Preconditions) -> Result<(), ObjectError> {
    let params = DeleteParams {
        preconditions: Some(preconditions),
        ..DeleteParams::default()
    };
    match api(home).delete(name, &params).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => within(&what(name), "delete", async { Err(error) }).await,
    }
}

/// The ClusterRole of this name, as the owner of what has no namespace: an uninstall that removes it removes them.
///
/// # Errors
///
/// When the API server does not say.
pub async fn cluster_owner(home: &Home, name: &str) -> Result<Option<OwnerReference>, ObjectError> {
    let api: Api<ClusterRole> = Api::all(home.client.clone());
    let found = within(&format!("the ClusterRole {name}"), "get", api.get_metadata_opt(name)).await?;
    Ok(found.and_then(|role| {
        Some(OwnerReference {
            api_version: "rbac.authorization.k8s.io/v1".to_owned(),
            kind: "ClusterRole".to_owned(),
            name: role.metadata.name?,
            uid: role.metadata.uid?,
            ..OwnerReference::default()
        })
    }))
}

fn is_declared(object: &DynamicObject, by: &str) -> bool {
    let labels = object.metadata.labels.as_ref();
    labels
        .and_then(|labels| labels.get(DECLARED_BY))
        .is_some_and(|present| present == by)
}

fn api(home: &Home) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("waypost.dev", "v1alpha1", "Registry");
    Api::all_with(
        home.client.clone(),
        &ApiResource::from_gvk_with_plural(&kind, "registries"),
    )
}

fn what(name: &str) -> String {
    format!("the Registry {name}")
}

/// Other than the controller's, which writes their status.
const MANAGER: &str = "waypost-declarations";
