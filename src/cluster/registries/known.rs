//! What is known of the cluster, from lists, from watches, and from the answers to this process's own writes, in whatever order they
//! come in: nothing that is known is replaced by what is older.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::core::{DynamicObject, PartialObjectMeta};

use super::{
    super::watch::Change,
    object::{Object, revision},
    secrets, what,
};
use crate::store::{Edition, Registries, StoreError, Stored};

pub(super) struct Known {
    /// Whether Secrets are read.
    reads_secrets: bool,
    /// By name.
    objects: BTreeMap<String, Object>,
    /// By name.
    secrets: BTreeMap<String, Mark>,
    /// The uids of objects that this process has deleted: watches may yet tell of what they were before.
    gone: BTreeSet<String>,
}

/// A Secret without what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    revision: u64,
    edition: Edition,
}

impl Known {
    pub(super) fn new(reads_secrets: bool) -> Self {
        Self {
            reads_secrets,
            objects: BTreeMap::new(),
            secrets: BTreeMap::new(),
            gone: BTreeSet::new(),
        }
    }

    /// Nothing but these Secrets.
    pub(super) fn with(reads_secrets: bool, marks: &[PartialObjectMeta<Secret>]) -> Self {
        let mut known = Self::new(reads_secrets);
        known.list_secrets(marks);
        known
    }

    /// These are all objects. One that this process has just made may be missing among them: then the watch tells of it in a moment.
    pub(super) fn list(&mut self, objects: &[DynamicObject]) {
        self.gone.clear();
        let before = std::mem::take(&mut self.objects);
        for object in objects {
            let new = Object::read(object);
            let old = before.get(&new.id);
            let newest = match old {
                Some(old) if old.revision > new.revision => old.clone(),
                _ => {
                    complain(old, &new);
                    new
                }
            };
            if !newest.is_ending {
                self.objects.insert(newest.id.clone(), newest);
            }
        }
    }

    pub(super) fn follow(&mut self, changes: &[Change<DynamicObject>]) {
        for change in changes {
            match change {
                Change::Applied(object) => self.put(Object::read(object)),
                Change::Deleted(object) => self.deleted(&Object::read(object)),
            }
        }
    }

    /// An object is, or was, like this.
    pub(super) fn put(&mut self, object: Object) {
        let old = self.objects.get(&object.id);
        if self.gone.contains(&object.uid) || old.is_some_and(|old| old.revision > object.revision) {
            return;
        }
        complain(old, &object);
        if object.is_ending {
            self.objects.remove(&object.id);
        } else {
            self.objects.insert(object.id.clone(), object);
        }
    }

    fn deleted(&mut self, object: &Object) {
        self.gone.remove(&object.uid);
        if self
            .objects
            .get(&object.id)
            .is_some_and(|present| present.uid == object.uid)
        {
            self.objects.remove(&object.id);
        }
    }

    /// This process has deleted it.
    pub(super) fn delete(&mut self, object: &Object) {
        self.deleted(object);
        // Forgotten when the watch tells of it or lists anew; where nothing is watched, never.
        if self.gone.len() < MOST_GONE {
            self.gone.insert(object.uid.clone());
        }
    }

    /// These are all Secrets.
    pub(super) fn list_secrets(&mut self, marks: &[PartialObjectMeta<Secret>]) {
        let before = std::mem::take(&mut self.secrets);
        for meta in marks {
            let (name, new) = mark(&meta.metadata);
            let newest = match before.get(&name) {
                Some(old) if old.revision > new.revision => old.clone(),
                _ => new,
            };
            self.secrets.insert(name, newest);
        }
    }

    pub(super) fn follow_secrets(&mut self, changes: &[Change<PartialObjectMeta<Secret>>]) {
        for change in changes {
            match change {
                Change::Applied(meta) => self.put_secret(&meta.metadata),
                Change::Deleted(meta) => {
                    let (name, deleted) = mark(&meta.metadata);
                    if self
                        .secrets
                        .get(&name)
                        .is_some_and(|present| present.revision <= deleted.revision)
                    {
                        self.secrets.remove(&name);
                    }
                }
            }
        }
    }

    /// A Secret is, or was, like this.
    pub(super) fn put_secret(&mut self, meta: &ObjectMeta) {
        let (name, new) = mark(meta);
        if self.secrets.get(&name).is_none_or(|old| old.revision <= new.revision) {
            self.secrets.insert(name, new);
        }
    }

    /// What is known of this one.
    pub(super) fn object(&self, id: &str) -> Option<&Object> {
        self.objects.get(id)
    }

    /// Whether a registry other than this one names the Secret.
    pub(super) fn is_named_by_another(&self, secret: &str, id: &str) -> bool {
        let mut others = self.objects.values().filter(|object| object.id != id);
        others.any(|object| object.secrets().any(|name| name == secret))
    }

    /// Those that can be understood.
    pub(super) fn registries(&self) -> Registries {
        self.objects
            .values()
            .filter_map(|object| self.stored(object).ok())
            .collect()
    }

    /// As it is told of.
    pub(super) fn stored(&self, object: &Object) -> Result<Stored, StoreError> {
        let spec = object.spec.clone();
        let spec =
            spec.map_err(|why| StoreError::Unavailable(format!("{} cannot be understood: {why}", what(&object.id))))?;
        let edition = |secret: &Option<String>| {
            let name = secret.as_ref()?;
            let mark = self.secrets.get(name).filter(|_| self.reads_secrets);
            // One that is not there is an edition, too: another than that which somebody makes.
            Some(mark.map_or_else(|| Edition(name.clone()), |mark| mark.edition.clone()))
        };
        Ok(Stored {
            id: object.id.clone(),
            spec,
            pull: edition(&object.pull),
            push: edition(&object.push),
            version: object.version(),
            declared_by: object.declared_by,
            conditions: object.conditions.clone(),
            created_at: object.created_at,
            updated_at: object.updated_at,
        })
    }
}

/// What is in a Secret that Waypost made never changes, and what else is written on it does not matter.
fn mark(meta: &ObjectMeta) -> (String, Mark) {
    let name = meta.name.clone().unwrap_or_default();
    let uid = meta.uid.as_deref().unwrap_or_default();
    let version = meta.resource_version.as_deref().unwrap_or_default();
    let edition = if secrets::registry_of(meta).is_some() {
        format!("{name}-{uid}")
    } else {
        format!("{name}-{uid}-{version}")
    };
    let mark = Mark {
        revision: revision(Some(version)),
        edition: Edition(edition),
    };
    (name, mark)
}

/// Once for each thing that is wrong.
fn complain(old: Option<&Object>, new: &Object) {
    let Err(why) = &new.spec else { return };
    if old.is_none_or(|old| old.uid != new.uid || old.spec != new.spec) {
        tracing::warn!(registry = new.id, "{} is left out: {why}", what(&new.id));
    }
}

/// More than anybody deletes while a watch is away.
const MOST_GONE: usize = 10_000;
