//! A `Push` object: what is read of it, and how one is written.

use std::borrow::Cow;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{
    Resource,
    core::{ApiResource, ClusterResourceScope, DynamicObject, GroupVersionKind},
};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use super::super::object::revision;
use crate::{
    crds::{GROUP, VERSION},
    pushes::{Image, PushId, PushSpec, PushStatus, Record, State, Success},
};

/// What is read of an object, whatever somebody wrote into it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Object {
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) version: String,
    /// Somebody has deleted it, and something is done yet before it is gone.
    pub(super) is_ending: bool,
    pub(super) created_at: Timestamp,
    /// The uid of the registry that it belongs to.
    pub(super) owner: Option<String>,
    pub(super) owners: Vec<OwnerReference>,
    /// The image that it is about, or why that cannot be said.
    pub(super) image: Result<Image, String>,
    /// None where nothing was ever said.
    pub(super) status: Result<Option<PushStatus>, String>,
    pub(super) conditions: Vec<Value>,
}

/// As much of an object as is kept, read from the answer at once: there are many of them.
#[derive(Clone, Debug)]
pub(in super::super) struct Seen {
    /// Its name and its version.
    meta: ObjectMeta,
    owner: Option<Box<str>>,
    pub(super) is_ending: bool,
    /// What it says, or why that cannot be understood.
    pub(super) content: Result<Content, String>,
}

#[derive(Clone, Debug)]
pub(super) struct Content {
    pub(super) image: Image,
    pub(super) state: Option<State>,
    pub(super) success: Option<Success>,
}

impl Object {
    pub(super) fn read(object: &DynamicObject) -> Self {
        Self::of(&object.metadata, &object.data["spec"], &object.data["status"])
    }

    fn of(meta: &ObjectMeta, spec: &Value, status: &Value) -> Self {
        let name = meta.name.clone().unwrap_or_default();
        let owners = meta.owner_references.clone().unwrap_or_default();
        let registry = registry_of(&name);
        let owner = owners.iter().find(|owner| {
            let group = owner.api_version.split_once('/').map(|(group, _)| group);
            (group, &*owner.kind, &*owner.name) == (Some(GROUP), REGISTRY, registry)
        });
        let created = meta.creation_timestamp.as_ref();
        Self {
            uid: meta.uid.clone().unwrap_or_default(),
            version: meta.resource_version.clone().unwrap_or_default(),
            is_ending: meta.deletion_timestamp.is_some(),
            created_at: created.map_or(Timestamp::UNIX_EPOCH, |time| time.0),
            owner: owner.map(|owner| owner.uid.clone()),
            image: image(&name, spec),
            status: read_status(status),
            conditions: status["conditions"].as_array().cloned().unwrap_or_default(),
            owners,
            name,
        }
    }

    /// The name of its registry.
    pub(super) fn registry(&self) -> &str {
        registry_of(&self.name)
    }

    /// The record that it is; none where somebody has been interrupted before there was anything in it.
    pub(super) fn record(&self) -> Result<Option<Record>, String> {
        let image = self.image.clone()?;
        let new = Record::new(image, self.registry());
        if self.owner.is_none() {
            return Ok(Some(new));
        }
        Ok(self.status.clone()?.map(|status| Record {
            last_attempt: status.last_attempt,
            last_success: status.last_success,
            withdrawn_at: status.withdrawn_at,
            copying: status.copying,
            ..new
        }))
    }

    fn content(&self) -> Result<Content, String> {
        let image = self.image.clone()?;
        let record = self.record()?;
        Ok(Content {
            image,
            state: record
                .as_ref()
                .and_then(|record| Some(record.last_attempt.as_ref()?.state)),
            success: record.and_then(|record| record.last_success),
        })
    }
}

impl Seen {
    pub(super) fn of(object: &Object) -> Self {
        Self {
            meta: ObjectMeta {
                name: Some(object.name.clone()),
                resource_version: Some(object.version.clone()),
                ..ObjectMeta::default()
            },
            owner: object.owner.as_deref().map(Box::from),
            is_ending: object.is_ending,
            content: object.content(),
        }
    }

    pub(super) fn name(&self) -> &str {
        self.meta.name.as_deref().unwrap_or_default()
    }

    /// The name of its registry.
    pub(super) fn registry(&self) -> &str {
        registry_of(self.name())
    }

    /// The uid of that.
    pub(super) fn owner(&self) -> Option<&str> {
        self.owner.as_deref()
    }

    /// Which state of it this is. Of two, the greater is the later.
    pub(super) fn revision(&self) -> u64 {
        revision(self.meta.resource_version.as_deref())
    }
}

impl<'de> Deserialize<'de> for Seen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Raw {
            metadata: ObjectMeta,
            #[serde(default)]
            spec: Value,
            #[serde(default)]
            status: Value,
        }
        let raw = Raw::deserialize(deserializer)?;
        Ok(Self::of(&Object::of(&raw.metadata, &raw.spec, &raw.status)))
    }
}

impl Resource for Seen {
    type DynamicType = ();
    type Scope = ClusterResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        KIND.into()
    }

    fn group((): &()) -> Cow<'_, str> {
        GROUP.into()
    }

    fn version((): &()) -> Cow<'_, str> {
        VERSION.into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        PLURAL.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}

fn registry_of(name: &str) -> &str {
    name.split_once('.').map_or(name, |(registry, _)| registry)
}

/// The image, which name and spec agree on.
fn image(name: &str, spec: &Value) -> Result<Image, String> {
    let spec: PushSpec = serde_json::from_value(spec.clone()).map_err(|error| format!("its spec: {error}"))?;
    let image = Image::parse(&spec.image).map_err(|error| format!("its image: {error}"))?;
    let id = PushId::new(&spec.registry, image.key());
    if PushId::parse(name).as_ref() != Some(&id) {
        return Err(format!(
            "its name is not that of {image} in {}, which is {id}",
            spec.registry.escape_debug()
        ));
    }
    Ok(image)
}

/// What is in a status. Keys of a later version of this program are none of ours.
fn read_status(found: &Value) -> Result<Option<PushStatus>, String> {
    if found.is_null() {
        return Ok(None);
    }
    let only = |key: &str, keys: &[&str]| match &found[key] {
        Value::Object(map) => {
            let known = map
                .iter()
                .filter(|(key, value)| keys.contains(&&***key) && !value.is_null());
            Value::Object(known.map(|(key, value)| (key.clone(), value.clone())).collect())
        }
        other => other.clone(),
    };
    let status = json!({
        "lastAttempt": only("lastAttempt", &ATTEMPT_KEYS),
        "lastSuccess": only("lastSuccess", &SUCCESS_KEYS),
        "withdrawnAt": found["withdrawnAt"],
    });
    let status = serde_json::from_value(status).map_err(|error| format!("its status: {error}"))?;
    Ok(Some(status))
}

/// A new one, in which nothing is said yet.
pub(super) fn new(record: &Record, owner: &OwnerReference) -> serde_json::Result<DynamicObject> {
    let spec = PushSpec {
        image: record.image.as_str().to_owned(),
        registry: record.registry.to_string(),
        copy: None,
    };
    let mut object =
        DynamicObject::new(record.id().as_str(), &resource()).data(json!({"spec": serde_json::to_value(spec)?}));
    object.metadata.labels = Some(labels(record).map(|(key, value)| (key.to_owned(), value)).into());
    object.metadata.owner_references = Some(vec![owner.clone()]);
    Ok(object)
}

/// By which those of a registry or of an image are found.
pub(super) fn labels(record: &Record) -> [(&'static str, String); 2] {
    [
        (REGISTRY_LABEL, record.registry.to_string()),
        (IMAGE_LABEL, record.image.key().to_string()),
    ]
}

/// The `status` of an object, as a merge patch: what is not there any more is null. `before` are the conditions that it has.
pub(super) fn status(record: &Record, before: &[Value], now: Timestamp) -> serde_json::Result<Value> {
    let whole = |value: Value, keys: &[&str]| match value {
        Value::Object(mut map) => {
            for key in keys {
                map.entry(*key).or_insert(Value::Null);
            }
            Value::Object(map)
        }
        other => other,
    };
    let mut status = json!({
        "observedGeneration": 1,
        "lastAttempt": whole(serde_json::to_value(&record.last_attempt)?, &ATTEMPT_KEYS),
        "lastSuccess": whole(serde_json::to_value(&record.last_success)?, &SUCCESS_KEYS),
        "withdrawnAt": serde_json::to_value(record.withdrawn_at)?,
    });
    let ours = conditions(record);
    let is_ours = |kind: &Value| ours.iter().any(|(ours, ..)| kind == ours);
    // Those of others stay.
    let mut all: Vec<Value> = before.iter().filter(|old| !is_ours(&old["type"])).cloned().collect();
    for (kind, holds, reason, message) in ours {
        let old = before.iter().find(|old| old["type"] == kind && old["status"] == holds);
        let since = old.and_then(|old| old["lastTransitionTime"].as_str().map(str::to_owned));
        // As Kubernetes writes it, in seconds.
        let since = since.unwrap_or_else(|| now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        all.push(
            json!({"type": kind, "status": holds, "reason": reason, "message": message, "lastTransitionTime": since}),
        );
    }
    status["conditions"] = all.into();
    Ok(status)
}

/// What is the case with it: type, status, reason, message.
fn conditions(record: &Record) -> [(&'static str, &'static str, &'static str, String); 2] {
    let (holds, reason, message) = match (&record.last_success, record.withdrawn_at) {
        (Some(success), _) => (
            "True",
            "Pushed",
            format!("{} is there as {}", success.digest, success.target),
        ),
        (None, Some(_)) => ("False", "Withdrawn", "it is not there any more".to_owned()),
        (None, None) => ("False", "NotPushed", "no push of it has gone well".to_owned()),
    };
    let available = (AVAILABLE, holds, reason, message);
    let attempt = record.last_attempt.as_ref();
    let (holds, reason, message) = match attempt.map(|attempt| (attempt.state, &attempt.error)) {
        Some((State::Succeeded, _)) => ("True", "Succeeded", "the last push went well".to_owned()),
        Some((State::Failed, error)) => ("False", "Failed", error.as_deref().unwrap_or_default().to_owned()),
        Some((State::Running, _)) => ("Unknown", "Running", "a push goes on".to_owned()),
        Some((State::Pending, _)) => ("Unknown", "Pending", "a push has not begun yet".to_owned()),
        None => ("Unknown", "NoPush", "nobody has told of a push".to_owned()),
    };
    [available, (SUCCEEDED, holds, reason, message)]
}

pub(super) fn resource() -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, VERSION, KIND), PLURAL)
}

/// What of an object's metadata makes it one of this registry's: its owners and labels.
pub(super) fn adoption(record: &Record, object: &Object, owner: &OwnerReference) -> Value {
    let mut owners = object.owners.clone();
    owners.push(owner.clone());
    let labels: Map<String, Value> = labels(record)
        .map(|(key, value)| (key.to_owned(), value.into()))
        .into_iter()
        .collect();
    json!({"ownerReferences": owners, "labels": labels})
}

/// There is a push that went well, and what was pushed is there still.
const AVAILABLE: &str = "Available";

/// The last push went well.
const SUCCEEDED: &str = "Succeeded";

const ATTEMPT_KEYS: [&str; 7] = [
    "state",
    "attempt",
    "error",
    "bytesTotal",
    "bytesDone",
    "startedAt",
    "finishedAt",
];

const SUCCESS_KEYS: [&str; 6] = ["target", "digest", "platforms", "children", "finishedAt", "sequence"];

/// The registry's name.
const REGISTRY_LABEL: &str = "waypost.dev/registry";

/// What stands for the image: the part of the name behind the registry's.
const IMAGE_LABEL: &str = "waypost.dev/image";

const KIND: &str = "Push";

const PLURAL: &str = "pushes";

const REGISTRY: &str = "Registry";
