//! Objects of Waypost's own: Secrets, the configuration of its webhook, the endpoints of its Service.

mod endpoints;
mod registration;
mod registry;
mod secret;

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Api, Client, api::PatchParams, core::PartialObjectMeta};
use tokio::time::timeout;

pub use endpoints::{Endpoint, endpoints};
pub use registration::{Registration, Webhook, changes, registration, served, trust};
pub use registry::{Declared, cluster_owner, declare, declared, undeclare};
pub use secret::{Secret, create, replace, secret};

use super::explain;

/// Why something was not read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// Somebody else was faster: look again.
    #[error("somebody else has changed {0}")]
    Conflict(String),
    /// Anything else, in a sentence.
    #[error("{0}")]
    Failed(String),
}

/// Where the process's own objects are.
#[derive(Clone)]
pub struct Home {
    /// Makes the requests.
    pub client: Client,
    /// The namespace.
    pub namespace: String,
    /// This process: in everything that is made, so that of two that make one thing one is refused.
    pub identity: String,
    /// Whatever is made goes with it.
    pub owner: Option<OwnerReference>,
}

/// The Deployment of this name, as the owner of what is made; none where there is no such Deployment.
///
/// # Errors
///
/// When the API server does not say.
pub async fn owner(client: Client, namespace: &str, name: &str) -> Result<Option<OwnerReference>, ObjectError> {
    let api: Api<PartialObjectMeta<Deployment>> = Api::namespaced(client, namespace);
    let found = within(&format!("the Deployment {name}"), "get", api.get_metadata_opt(name)).await?;
    Ok(found.and_then(|deployment| {
        Some(OwnerReference {
            api_version: "apps/v1".to_owned(),
            kind: "Deployment".to_owned(),
            name: deployment.metadata.name?,
            uid: deployment.metadata.uid?,
            ..OwnerReference::default()
        })
    }))
}

/// An answer within a time, or a sentence that says what was asked for, and which right is missing.
async fn within<T>(what: &str, verb: &str, answer: impl Future<Output = kube::Result<T>>) -> Result<T, ObjectError> {
    match timeout(DEADLINE, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) if status.code == 409 => Err(ObjectError::Conflict(what.to_owned())),
        Ok(Err(error)) => {
            let forbidden = matches!(&error, kube::Error::Api(status) if status.code == 403);
            let hint = if forbidden {
                format!("; grant the right to {verb} it")
            } else {
                String::new()
            };
            Err(ObjectError::Failed(format!("{what}: {}{hint}", explain(&error))))
        }
        Err(_) => Err(ObjectError::Failed(format!(
            "{what}: the API server has not answered within {} s",
            DEADLINE.as_secs()
        ))),
    }
}

/// Whatever the controller changes is marked as its.
fn manager() -> PatchParams {
    PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    }
}

/// Who is named in `managedFields`.
pub(super) const MANAGER: &str = "waypost-controller";

const DEADLINE: Duration = Duration::from_secs(10);
