//! What is known of the cluster, from lists, from watches, and from the answers to this process's own writes, in whatever order they
//! come in: nothing that is known is replaced by what is older.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::core::{DynamicObject, PartialObjectMeta};

use super::{
    super::watch::Change,
    object::{Object, revision},
    secrets, tokens, what,
};
use crate::store::{Edition, Registries, StoreError, Stored};

pub(super) struct Known {
    /// Whether Secrets are read.
    reads_secrets: bool,
    /// By name.
    objects: BTreeMap<String, Object>,
    /// By name.
    secrets: BTreeMap<String, Mark>,
    /// What this process itself did since the last look at everything began: the look may have been before it.
    own: Own,
}

#[derive(Default)]
struct Own {
    /// Objects that it wrote, by name, until the watch tells of them.
    objects: BTreeSet<String>,
    /// Secrets that it wrote.
    secrets: BTreeSet<String>,
    /// The uids of objects that it deleted, until the watch tells of it.
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
            own: Own::default(),
        }
    }

    /// Nothing but these Secrets.
    pub(super) fn with(reads_secrets: bool, marks: &[PartialObjectMeta<Secret>]) -> Self {
        let mut known = Self::new(reads_secrets);
        known.list_secrets(marks);
        known
    }

    /// From now on objects are looked for anew. What was written before will be among them.
    pub(super) fn begin(&mut self) {
        self.own.objects.clear();
        self.own.gone.clear();
    }

    /// The same of Secrets.
    pub(super) fn begin_secrets(&mut self) {
        self.own.secrets.clear();
    }

    /// These are all objects.
    pub(super) fn list(&mut self, objects: &[DynamicObject]) {
        let mut before = std::mem::take(&mut self.objects);
        for object in objects {
            let new = Object::read(object);
            let newest = match before.remove(&new.id) {
                Some(old) if old.revision > new.revision => old,
                old => {
                    complain(old.as_ref(), &new);
                    new
                }
            };
            if !newest.is_ending && !self.own.gone.contains(&newest.uid) {
                self.objects.insert(newest.id.clone(), newest);
            }
        }
        before.retain(|name, _| self.own.objects.contains(name));
        self.objects.append(&mut before);
    }

    /// There are none: nobody knows what they are.
    pub(super) fn clear(&mut self) {
        self.begin();
        self.objects.clear();
    }

    pub(super) fn follow(&mut self, changes: &[Change<DynamicObject>]) {
        for change in changes {
            match change {
                Change::Applied(object) => {
                    let object = Object::read(object);
                    let (id, revision) = (object.id.clone(), object.revision);
                    self.put(object);
                    if self.objects.get(&id).is_none_or(|present| present.revision <= revision) {
                        self.own.objects.remove(&id);
                    }
                }
                Change::Deleted(object) => {
                    let object = Object::read(object);
                    self.own.gone.remove(&object.uid);
                    self.deleted(&object);
                }
            }
        }
    }

    /// An object is, or was, like this.
    pub(super) fn put(&mut self, object: Object) {
        let old = self.objects.get(&object.id);
        if self.own.gone.contains(&object.uid) || old.is_some_and(|old| old.revision > object.revision) {
            return;
        }
        complain(old, &object);
        if object.is_ending {
            self.objects.remove(&object.id);
        } else {
            self.objects.insert(object.id.clone(), object);
        }
    }

    /// This process has written it.
    pub(super) fn wrote(&mut self, object: Object) {
        self.own.objects.insert(object.id.clone());
        self.put(object);
    }

    fn deleted(&mut self, object: &Object) {
        if self
            .objects
            .get(&object.id)
            .is_some_and(|present| present.uid == object.uid)
        {
            self.own.objects.remove(&object.id);
            self.objects.remove(&object.id);
        }
    }

    /// This process has deleted it.
    pub(super) fn delete(&mut self, object: &Object) {
        self.deleted(object);
        // Forgotten when the watch tells of it or begins anew; where nothing is watched, never.
        if self.own.gone.len() < MOST_GONE {
            self.own.gone.insert(object.uid.clone());
        }
    }

    /// These are all Secrets.
    pub(super) fn list_secrets(&mut self, marks: &[PartialObjectMeta<Secret>]) {
        let mut before = std::mem::take(&mut self.secrets);
        for meta in marks {
            let (name, new) = mark(&meta.metadata);
            let newest = match before.remove(&name) {
                Some(old) if old.revision > new.revision => old,
                _ => new,
            };
            self.secrets.insert(name, newest);
        }
        before.retain(|name, _| self.own.secrets.contains(name));
        self.secrets.append(&mut before);
    }

    pub(super) fn follow_secrets(&mut self, changes: &[Change<PartialObjectMeta<Secret>>]) {
        for change in changes {
            match change {
                Change::Applied(meta) => {
                    self.put_secret(&meta.metadata);
                    if let Some(name) = &meta.metadata.name {
                        self.own.secrets.remove(name);
                    }
                }
                Change::Deleted(meta) => {
                    let (name, deleted) = mark(&meta.metadata);
                    if self
                        .secrets
                        .get(&name)
                        .is_some_and(|present| present.revision <= deleted.revision)
                    {
                        self.own.secrets.remove(&name);
                        self.secrets.remove(&name);
                    }
                }
            }
        }
    }

    /// This process has written a Secret.
    pub(super) fn wrote_secret(&mut self, meta: &ObjectMeta) {
        self.own.secrets.extend(meta.name.clone());
        self.put_secret(meta);
    }

    /// This process has deleted it.
    pub(super) fn delete_secret(&mut self, name: &str) {
        self.own.secrets.remove(name);
        self.secrets.remove(name);
    }

    /// A Secret is, or was, like this.
    fn put_secret(&mut self, meta: &ObjectMeta) {
        let (name, new) = mark(meta);
        if self.secrets.get(&name).is_none_or(|old| old.revision <= new.revision) {
            self.secrets.insert(name, new);
        }
    }

    /// By which each of them is told from every other that ever was.
    pub(super) fn uids(&self) -> BTreeSet<String> {
        self.objects.values().map(|object| object.uid.clone()).collect()
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
        let issuance = object.issuance();
        let (pull, key) = if spec.location.issues() {
            let token = issuance.and_then(|_| edition(&Some(tokens::name(&object.id))));
            (token, edition(&object.pull))
        } else {
            (edition(&object.pull), None)
        };
        Ok(Stored {
            id: object.id.clone(),
            spec,
            pull,
            push: edition(&object.push),
            notify: edition(&object.notify),
            key,
            issuance: issuance.cloned(),
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
