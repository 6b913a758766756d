//! The Lease, as an object of the API server.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease as Object;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use super::super::explain;
use super::{LeaseError, Leases, Record};

/// A Lease, by its name.
///
/// It takes the rights to get, create and patch that one name: it is made by server-side apply, the only way to make something that
/// carries the name in the request, and so the only one that can be allowed for a name.
pub struct Lease {
    api: Api<Object>,
    name: String,
    /// One for each process, so that of two that make it at once one is refused.
    manager: String,
    owner: Option<OwnerReference>,
}

impl Lease {
    /// Makes no request yet.
    pub fn new(client: Client, namespace: &str, name: &str, identity: &str, owner: Option<OwnerReference>) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            manager: identity.chars().take(128).collect(),
            owner,
        }
    }

    fn failed(&self, error: &kube::Error) -> LeaseError {
        match error {
            kube::Error::Api(status) if status.code == 409 => LeaseError::Conflict,
            kube::Error::Api(status) if status.code == 403 => LeaseError::Failed(format!(
                "{}; grant get, create and patch on leases called {} to whoever that is",
                explain(error),
                self.name
            )),
            _ => LeaseError::Failed(explain(error)),
        }
    }

    fn version(&self, written: kube::Result<Object>) -> Result<String, LeaseError> {
        let written = written.map_err(|error| self.failed(&error))?;
        Ok(written.metadata.resource_version.unwrap_or_default())
    }
}

impl Leases for Lease {
    async fn read(&self) -> Result<Option<(Record, String)>, LeaseError> {
        let Some(object) = self
            .api
            .get_opt(&self.name)
            .await
            .map_err(|error| self.failed(&error))?
        else {
            return Ok(None);
        };
        let spec = object.spec.unwrap_or_default();
        let seconds = spec.lease_duration_seconds.unwrap_or_default();
        let record = Record {
            holder: spec.holder_identity.unwrap_or_default(),
            duration: Duration::from_secs(u64::try_from(seconds).unwrap_or_default()),
            transitions: u32::try_from(spec.lease_transitions.unwrap_or_default()).unwrap_or_default(),
        };
        Ok(Some((record, object.metadata.resource_version.unwrap_or_default())))
    }

    async fn create(&self, record: &Record) -> Result<String, LeaseError> {
        let object = json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self.name, "ownerReferences": self.owner.iter().collect::<Vec<_>>()},
            "spec": spec(record, true),
        });
        // Not forced: another's holder is a conflict.
        let params = PatchParams::apply(&self.manager);
        self.version(self.api.patch(&self.name, &params, &Patch::Apply(object)).await)
    }

    async fn replace(&self, version: &str, record: &Record, acquired: bool) -> Result<String, LeaseError> {
        let patch = json!({"metadata": {"resourceVersion": version}, "spec": spec(record, acquired)});
        let params = PatchParams {
            field_manager: Some(self.manager.clone()),
            ..PatchParams::default()
        };
        self.version(self.api.patch(&self.name, &params, &Patch::Merge(patch)).await)
    }
}

/// The times are for people: nobody reckons with another's clock.
fn spec(record: &Record, acquired: bool) -> Value {
    let now = format!("{:.6}", Timestamp::now());
    let mut spec = json!({
        "holderIdentity": (!record.holder.is_empty()).then_some(&record.holder),
        "leaseDurationSeconds": record.duration.as_secs(),
        "leaseTransitions": record.transitions,
        "renewTime": now,
    });
    if acquired {
        spec["acquireTime"] = json!(now);
    }
    spec
}
