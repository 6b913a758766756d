//! The watch on `Policy` objects, and what they are told of themselves: their status.

use std::{convert::Infallible, time::Duration};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
    core::{ApiResource, DynamicObject},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{
    explain,
    watch::{self, Change, Selection},
};
use crate::{
    crds::{GROUP, VERSION},
    policy::objects::Object,
};

/// A `Policy` object.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// What it says.
    pub object: Object,
    /// What it was told.
    pub status: Status,
}

/// The status of a `Policy` object, as far as it is Waypost's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// What was looked at: `metadata.generation`.
    pub observed_generation: Option<i64>,
    /// How many rules it has; none where that cannot be said.
    pub rules: Option<usize>,
    /// The condition [`READY`].
    pub ready: Option<Condition>,
}

/// The condition that says whether a policy decides as it is written.
pub const READY: &str = "Ready";

/// What the watch finds.
pub type Event = watch::Event<Policy>;

/// Follows all `Policy` objects until it is dropped: as [`watch::follow`].
pub async fn watch(
    mut connect: impl AsyncFnMut() -> Result<Client, String>,
    mut tell: impl FnMut(Event),
) -> Infallible {
    let tell = move |event: watch::Event<DynamicObject>| {
        tell(match event {
            watch::Event::Listed(objects) => Event::Listed(objects.into_iter().filter_map(policy).collect()),
            watch::Event::Changed(changes) => {
                let change = |change| {
                    Some(match change {
                        Change::Applied(object) => Change::Applied(policy(object)?),
                        Change::Deleted(object) => Change::Deleted(policy(object)?),
                    })
                };
                Event::Changed(changes.into_iter().filter_map(change).collect())
            }
            watch::Event::Working => Event::Working,
            watch::Event::Broken(why) => Event::Broken(why),
            watch::Event::Missing(why) => Event::Missing(why),
        });
    };
    let connect = async || Ok(api(connect().await?));
    watch::follow(connect, Selection::all(RESOURCE), watch::nobody, tell).await
}

/// Writes the status of a `Policy` object by server-side apply: what others wrote into it stays.
///
/// # Errors
///
/// When the API server does not take it, with the reason in words, and which right is missing. That the object is gone is no error.
pub async fn tell(client: Client, name: &str, status: &Status) -> Result<(), String> {
    let mut patch = json!({
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "kind": KIND,
        "metadata": {"name": name},
        "status": {"observedGeneration": status.observed_generation, "rules": status.rules, "conditions": status.ready.as_slice()},
    });
    without_nulls(&mut patch["status"]);
    let params = PatchParams::apply(super::objects::MANAGER).force();
    match timeout(DEADLINE, api(client).patch_status(name, &params, &Patch::Apply(patch))).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => Ok(()),
        Ok(Err(error)) => {
            let forbidden = matches!(&error, kube::Error::Api(status) if status.code == 403);
            let hint = if forbidden {
                "; grant patch on policies.waypost.dev/status to whoever that is"
            } else {
                ""
            };
            Err(format!("the status of the Policy {name}: {}{hint}", explain(&error)))
        }
        Err(_) => Err(format!(
            "the status of the Policy {name}: the API server has not answered within {} s",
            DEADLINE.as_secs()
        )),
    }
}

fn api(client: Client) -> Api<DynamicObject> {
    let resource = ApiResource {
        group: GROUP.to_owned(),
        version: VERSION.to_owned(),
        api_version: format!("{GROUP}/{VERSION}"),
        kind: KIND.to_owned(),
        plural: "policies".to_owned(),
    };
    Api::all_with(client, &resource)
}

/// None for an object without a name, which does not occur.
fn policy(object: DynamicObject) -> Option<Policy> {
    let name = object.metadata.name?;
    let mut text = json!({
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "kind": KIND,
        "metadata": {"name": name},
    });
    // What is not there is missed by those who compile it.
    if let Some(spec) = object.data.get("spec") {
        text["spec"] = spec.clone();
    }
    Some(Policy {
        object: Object {
            name: name.into(),
            created: object
                .metadata
                .creation_timestamp
                .map_or(Timestamp::UNIX_EPOCH, |time| time.0),
            generation: object.metadata.generation.unwrap_or_default(),
            text: text.to_string().into(),
        },
        status: status(&object.data["status"]),
    })
}

/// Whatever cannot be read is written anew.
fn status(status: &Value) -> Status {
    let conditions = status["conditions"].as_array().into_iter().flatten();
    Status {
        observed_generation: status["observedGeneration"].as_i64(),
        rules: status["rules"].as_u64().and_then(|rules| rules.try_into().ok()),
        ready: conditions
            .filter_map(|condition| Condition::deserialize(condition).ok())
            .find(|condition| condition.type_ == READY),
    }
}

/// What is not said is taken away by an apply; null is a value.
fn without_nulls(value: &mut Value) {
    if let Value::Object(map) = value {
        map.retain(|_, value| !value.is_null());
    }
}

const KIND: &str = "Policy";

/// As RBAC names it.
const RESOURCE: &str = "policies.waypost.dev";

const DEADLINE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compiled_is_the_name_and_the_spec_and_a_status_that_nobody_understands_is_none() {
        let object = |status: Value| {
            let object = json!({
                "apiVersion": "waypost.dev/v1alpha1", "kind": "Policy",
                "metadata": {"name": "p", "generation": 3, "creationTimestamp": "2026-01-02T03:04:05Z", "labels": {"a": "b"},
                    "managedFields": []},
                "spec": {"rules": []},
                "status": status,
            });
            policy(serde_json::from_value(object).unwrap()).unwrap()
        };
        let found = object(
            json!({"rules": 0, "observedGeneration": 3, "conditions": [{"type": "Ready", "status": "True",
            "reason": "Compiled", "message": "m", "lastTransitionTime": "2026-01-02T03:04:05Z"}]}),
        );
        assert_eq!(
            serde_json::from_str::<Value>(&found.object.text).unwrap(),
            json!({"apiVersion": "waypost.dev/v1alpha1", "kind": "Policy", "metadata": {"name": "p"}, "spec": {"rules": []}})
        );
        assert_eq!((found.object.generation, found.status.rules), (3, Some(0)));
        assert_eq!(found.status.ready.unwrap().reason, "Compiled");
        for nothing in [
            json!(null),
            json!({"rules": "many", "conditions": [{"type": "Ready"}, 5]}),
        ] {
            assert_eq!(object(nothing).status, Status::default());
        }
    }
}
