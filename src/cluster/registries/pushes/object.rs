//! A `Push` object: what is read of it, and how one is written.

use std::{borrow::Cow, fmt::Write};

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
    pushes::{Attempt, Image, PushCopy, PushId, PushSpec, PushStatus, Record, State, Success},
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
    /// When somebody last changed what it asks for, by the API server's clock.
    pub(super) asked_at: Timestamp,
    /// Which edition of its spec this is, and which one Waypost has answered.
    pub(super) generation: i64,
    pub(super) observed: Option<i64>,
    /// Waypost has made it: that it is there is nobody's request.
    pub(super) is_reported: bool,
    /// The uid of the registry that it belongs to.
    pub(super) owner: Option<String>,
    pub(super) owners: Vec<OwnerReference>,
    /// The image that it is about, or why that cannot be said.
    pub(super) image: Result<Image, String>,
    /// What is asked for.
    pub(super) copy: PushCopy,
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
    /// Since when somebody waits for a copy, or for an answer.
    pub(super) wanted: Option<Timestamp>,
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
        let created_at = created.map_or(Timestamp::UNIX_EPOCH, |time| time.0);
        let (image, copy) = match read_spec(&name, spec) {
            Ok((image, copy)) => (Ok(image), copy),
            Err(why) => (Err(why), PushCopy::default()),
        };
        let reported = meta.annotations.as_ref().and_then(|all| all.get(REPORTED));
        Self {
            uid: meta.uid.clone().unwrap_or_default(),
            version: meta.resource_version.clone().unwrap_or_default(),
            is_ending: meta.deletion_timestamp.is_some(),
            created_at,
            asked_at: asked_at(meta, created_at),
            generation: meta.generation.unwrap_or(1),
            observed: status["observedGeneration"].as_i64(),
            is_reported: reported.is_some_and(|reported| reported == "true"),
            owner: owner.map(|owner| owner.uid.clone()),
            image,
            copy,
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
        Ok(self.said()?.map(|status| Record {
            last_attempt: status.last_attempt,
            last_success: status.last_success,
            withdrawn_at: status.withdrawn_at,
            copying: status.copying,
            ..new
        }))
    }

    /// What Waypost has said of it: what stands in an object that nobody owns it has not.
    fn said(&self) -> Result<Option<PushStatus>, String> {
        match &self.owner {
            Some(_) => self.status.clone(),
            None => Ok(None),
        }
    }

    /// Whether somebody wants it to be copied, and has not been heard yet.
    pub(super) fn is_asked(&self) -> bool {
        let (Ok(_), Ok(said)) = (&self.image, self.said()) else {
            return false;
        };
        let said = said.unwrap_or_default();
        said.copying.is_none()
            && match &self.copy.requested_at {
                Some(request) => said.request.as_ref() != Some(request),
                None => !self.is_reported && said.last_attempt.is_none(),
            }
    }

    /// Whether it cannot be understood, and whoever wrote it does not know.
    pub(super) fn is_unanswered(&self) -> bool {
        self.image.is_err() && self.observed != Some(self.generation)
    }

    /// Since when somebody waits for a copy, or for an answer.
    fn wanted(&self) -> Option<Timestamp> {
        if self.is_asked() || self.is_unanswered() {
            return Some(self.asked_at);
        }
        Some(self.record().ok()??.copying?.asked_at)
    }

    /// Whether a copy of it was asked for, and has not ended.
    pub(super) fn is_open(&self) -> bool {
        let record = self.record();
        self.is_asked() || matches!(record, Ok(Some(Record { copying: Some(_), .. })))
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
            wanted: object.wanted(),
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

/// The image, which name and spec agree on, and what is asked for.
fn read_spec(name: &str, spec: &Value) -> Result<(Image, PushCopy), String> {
    let spec: PushSpec = serde_json::from_value(without_nulls(spec)).map_err(|error| format!("its spec: {error}"))?;
    let image = Image::parse(&spec.image).map_err(|error| format!("its image: {error}"))?;
    let id = PushId::new(&spec.registry, image.key());
    if PushId::parse(name).as_ref() != Some(&id) {
        return Err(format!(
            "its name is not that of {image} in {}, which is {id}: delete it, and make one of that name",
            spec.registry.escape_debug()
        ));
    }
    Ok((image, spec.copy.unwrap_or_default()))
}

/// A key that has no value is absent.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key.clone(), without_nulls(value)))
            .collect(),
        other => other.clone(),
    }
}

/// What is said of a status is no change of what is asked for.
fn asked_at(meta: &ObjectMeta, created_at: Timestamp) -> Timestamp {
    let managed = meta.managed_fields.iter().flatten();
    let written = managed
        .filter(|entry| entry.subresource.as_deref().unwrap_or_default().is_empty())
        .filter_map(|entry| Some(entry.time.as_ref()?.0));
    written.fold(created_at, Timestamp::max)
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
        "copying": only("copying", &COPYING_KEYS),
        "request": found["request"],
    });
    let status = serde_json::from_value(status).map_err(|error| format!("its status: {error}"))?;
    Ok(Some(status))
}

/// A new one, in which nothing is said yet.
pub(super) fn new(
    record: &Record,
    owner: &OwnerReference,
    copy: Option<PushCopy>,
) -> serde_json::Result<DynamicObject> {
    let spec = PushSpec {
        image: record.image.as_str().to_owned(),
        registry: record.registry.to_string(),
        copy,
    };
    let mut object =
        DynamicObject::new(record.id().as_str(), &resource()).data(json!({"spec": serde_json::to_value(spec)?}));
    object.metadata.labels = Some(labels(record).map(|(key, value)| (key.to_owned(), value)).into());
    object.metadata.annotations = Some([(REPORTED.to_owned(), "true".to_owned())].into());
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
        "lastAttempt": whole(serde_json::to_value(&record.last_attempt)?, &ATTEMPT_KEYS),
        "lastSuccess": whole(serde_json::to_value(&record.last_success)?, &SUCCESS_KEYS),
        "withdrawnAt": serde_json::to_value(record.withdrawn_at)?,
        "copying": whole(serde_json::to_value(&record.copying)?, &COPYING_KEYS),
    });
    status["conditions"] = with_conditions(before, conditions(record), now);
    Ok(status)
}

/// What is said of an object that is not copied as it is: why, in a word and in a sentence. None where that is said already.
pub(super) fn answer(object: &Object, holds: &'static str, reason: &'static str, why: String) -> Option<Value> {
    let is_said = |condition: &Value| {
        (&condition["type"], &condition["status"], &condition["reason"])
            == (&json!(SUCCEEDED), &json!(holds), &json!(reason))
            && condition["message"] == *why
    };
    if object.conditions.iter().any(is_said) && object.observed == Some(object.generation) {
        return None;
    }
    let conditions = with_conditions(&object.conditions, [(SUCCEEDED, holds, reason, why)], Timestamp::now());
    Some(json!({"observedGeneration": object.generation, "conditions": conditions}))
}

/// What is the case: type, status, reason, message.
type Said = (&'static str, &'static str, &'static str, String);

fn with_conditions<const N: usize>(before: &[Value], ours: [Said; N], now: Timestamp) -> Value {
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
    all.into()
}

/// What is the case with it.
fn conditions(record: &Record) -> [Said; 2] {
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
    let (holds, reason, message) = match attempt.map(|attempt| (attempt.state, attempt)) {
        Some((State::Succeeded, _)) => ("True", "Succeeded", "the last push went well".to_owned()),
        Some((State::Failed, Attempt { error, .. })) => {
            ("False", "Failed", error.as_deref().unwrap_or_default().to_owned())
        }
        Some((State::Running, attempt)) => ("Unknown", "Running", format!("a push goes on{}", progress(attempt))),
        Some((State::Pending, _)) => ("Unknown", "Pending", "a push has not begun yet".to_owned()),
        None => ("Unknown", "NoPush", "nobody has told of a push".to_owned()),
    };
    [available, (SUCCEEDED, holds, reason, message)]
}

/// `: 12.3 of 500 MB`, where somebody counts.
fn progress(attempt: &Attempt) -> String {
    let (Some(done), Some(total)) = (attempt.bytes_done, attempt.bytes_total) else {
        return String::new();
    };
    let (unit, name) = match total {
        0..1_000_000 => (1_000, "kB"),
        1_000_000..1_000_000_000 => (1_000_000, "MB"),
        _ => (1_000_000_000, "GB"),
    };
    let mut text = String::from(": ");
    for (bytes, behind) in [(done, " of "), (total, " ")] {
        let tenths = u128::from(bytes) * 10 / unit;
        // Into a text nothing goes wrong.
        let _ = match tenths % 10 {
            0 => write!(text, "{}{behind}", tenths / 10),
            tenth => write!(text, "{}.{tenth}{behind}", tenths / 10),
        };
    }
    text + name
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

const COPYING_KEYS: [&str; 4] = ["askedAt", "referrers", "source", "login"];

/// Waypost has made the object, for somebody who told of a push or who asked for a copy otherwise.
const REPORTED: &str = "waypost.dev/reported";

/// The registry's name.
const REGISTRY_LABEL: &str = "waypost.dev/registry";

/// What stands for the image: the part of the name behind the registry's.
const IMAGE_LABEL: &str = "waypost.dev/image";

pub(super) const KIND: &str = "Push";

const PLURAL: &str = "pushes";

const REGISTRY: &str = "Registry";
