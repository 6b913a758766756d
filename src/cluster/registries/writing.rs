//! Writes: the object, and the Secrets before and after it.

use jiff::Timestamp;
use kube::{
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
    core::DynamicObject,
};
use serde_json::{Value, json};

use super::{
    Kubernetes, lock,
    object::{self, Object},
    registries,
    requests::{Failed, ask},
    secrets::Purpose,
    what,
};
use crate::{
    registry::{Condition, ConditionKind, Credential, RegistrySpec, id_problem, spec::SecretSource},
    store::{Change, DeclaredBy, Draft, StoreError, Stored, Version},
};

/// What becomes of the name of a Secret.
#[derive(Debug)]
enum Reference {
    /// What the draft says, or else what is there.
    Keep,
    /// What is there, whatever the draft says.
    Same,
    Clear,
    New(String),
}

/// What becomes of the names. Secrets that were written for it are there already.
struct References {
    pull: Reference,
    push: Reference,
    notify: Reference,
}

/// Why an object was not changed.
struct Unchanged {
    error: StoreError,
    /// Whether it is certain that it was not.
    is_certain: bool,
}

impl Kubernetes {
    pub(super) async fn add(&self, id: &str, draft: Draft) -> Result<Stored, StoreError> {
        if let Some(problem) = id_problem(id) {
            let id = id.escape_debug();
            return Err(StoreError::Unsupported(format!("`{id}` is no id: {problem}")));
        }
        if self.object(id).await?.is_some() {
            return Err(StoreError::Exists(id.to_owned()));
        }
        let references = self.write(id, &draft, None).await?;
        let new = object::new(id, &references.spec(&draft.spec, None)).map_err(unwritable)?;
        let params = PostParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PostParams::default()
        };
        match ask(&what(id), "create", registries(self.client()).create(&params, &new)).await {
            Ok(object) => {
                let object = Object::read(&object);
                let stored = self.wrote(&object);
                self.adopt(&object, references.written()).await;
                stored
            }
            Err(failed) => {
                self.undo(id, &references, failed.is_certain()).await;
                Err(match failed.code {
                    Some(409) => StoreError::Exists(id.to_owned()),
                    _ => failed.error,
                })
            }
        }
    }

    pub(super) async fn change_to(
        &self,
        id: &str,
        draft: Draft,
        expected: Option<&Version>,
    ) -> Result<Stored, StoreError> {
        let (mut raw, mut old) = self.changeable(id, expected).await?;
        let mut references = self.write(id, &draft, Some(&old)).await?;
        let uid = old.uid.clone();
        let mut attempts = 0;
        let done = loop {
            let spec = references.spec(&draft.spec, Some(&old));
            if old.spec.as_ref() == Ok(&spec) {
                return self.wrote(&old);
            }
            match self.put(raw, &spec).await {
                Ok(new) => break Ok(new),
                // Somebody has changed something: its status, or what is meant here.
                Err(failed) if matches!(failed.code, Some(404 | 409)) => attempts += 1,
                Err(failed) => {
                    break Err(Unchanged {
                        is_certain: failed.is_certain(),
                        error: failed.error,
                    });
                }
            }
            let certain = |error| Unchanged {
                error,
                is_certain: true,
            };
            if attempts == ATTEMPTS {
                break Err(certain(changed_all_the_time(id)));
            }
            match self.changeable(id, expected).await {
                // The Secrets that were written belong to the one that was there before.
                Ok((_, object)) if object.uid != uid => {
                    break Err(certain(StoreError::Conflict {
                        id: id.to_owned(),
                        current: object.version(),
                    }));
                }
                Ok(again) => {
                    let location = |object: &Object| object.spec.as_ref().ok().map(|spec| spec.location);
                    let others = location(&again.1) != location(&old)
                        || Purpose::ALL
                            .iter()
                            .any(|purpose| again.1.secret(*purpose) != old.secret(*purpose));
                    (raw, old) = again;
                    if others {
                        // What was compared with the draft is not there any more.
                        self.undo(id, &references, true).await;
                        references = self.write(id, &draft, Some(&old)).await?;
                    }
                }
                Err(error) => break Err(certain(error)),
            }
        };
        match done {
            Ok(new) => {
                let new = Object::read(&new);
                let stored = self.wrote(&new);
                for name in old.secrets().filter(|name| new.secrets().all(|other| other != *name)) {
                    self.remove_secret(id, name).await;
                }
                self.forget_token(&new).await;
                stored
            }
            Err(unchanged) => {
                self.undo(id, &references, unchanged.is_certain).await;
                Err(unchanged.error)
            }
        }
    }

    pub(super) async fn remove(&self, id: &str, expected: Option<&Version>) -> Result<(), StoreError> {
        for _ in 0..ATTEMPTS {
            let (raw, object) = self.changeable(id, expected).await?;
            let params = DeleteParams {
                preconditions: Some(Preconditions {
                    uid: raw.metadata.uid,
                    resource_version: raw.metadata.resource_version,
                }),
                ..DeleteParams::default()
            };
            match ask(&what(id), "delete", registries(self.client()).delete(id, &params)).await {
                Ok(_) => {
                    self.change(|known| known.delete(&object));
                    for name in object.secrets() {
                        self.remove_secret(id, name).await;
                    }
                    if let Err(failed) = self.remove_token(&object).await {
                        tracing::warn!(registry = id, "the token goes later: {}", failed.error);
                    }
                    return Ok(());
                }
                Err(failed) if failed.code == Some(409) => {}
                Err(failed) if failed.code == Some(404) => return Err(StoreError::NotFound(id.to_owned())),
                Err(failed) => return Err(failed.error),
            }
        }
        Err(changed_all_the_time(id))
    }

    pub(super) async fn keep_conditions(&self, id: &str, found: Vec<Condition>) -> Result<(), StoreError> {
        // Whoever tells of another kind does so at any time: they are written as they were read, or read again.
        let mut uid = None;
        for _ in 0..ATTEMPTS {
            let raw = self.object(id).await?;
            // What was found out about one is not said of the next.
            let same = |raw: &DynamicObject| uid.is_none() || uid == raw.metadata.uid;
            let raw = raw.filter(same).ok_or_else(|| StoreError::NotFound(id.to_owned()))?;
            match self.try_conditions(&raw, found.clone()).await {
                Err(failed) if failed.code == Some(409) => uid = raw.metadata.uid,
                done => return done.map_err(|failed| failed.error),
            }
        }
        Err(changed_all_the_time(id))
    }

    async fn try_conditions(&self, raw: &DynamicObject, found: Vec<Condition>) -> Result<(), Failed> {
        let object = Object::read(raw);
        let id = &object.id;
        let mut conditions = object.conditions.clone();
        Condition::merge(&mut conditions, found);
        if object.spec.as_ref().is_ok_and(|spec| !spec.location.issues()) {
            conditions.retain(|condition| condition.kind != ConditionKind::TokenIssued);
        }
        // Whoever reports has looked at what is known, which may be older than what is there.
        let looked_at = lock(&self.known)
            .object(id)
            .filter(|known| known.uid == object.uid)
            .map(|known| known.generation);
        let generation = looked_at.map_or(object.generation, |known| known.min(object.generation));
        if object.conditions == conditions && object.observed == Some(generation) {
            return Ok(());
        }
        let status = object::status(&conditions, generation).map_err(unwritable)?;
        self.patch_status(
            id,
            json!({"uid": object.uid, "resourceVersion": raw.metadata.resource_version}),
            status,
        )
        .await
    }

    /// Changes what a status says of something, of the object that `meta` says: what was found out about one is not said of the next.
    pub(super) async fn patch_status(&self, id: &str, meta: Value, status: Value) -> Result<(), Failed> {
        let patch = Patch::Merge(json!({"metadata": meta, "status": status}));
        let params = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let api = registries(self.client());
        let patched = api.patch_status(id, &params, &patch);
        match ask(&format!("the status of {}", what(id)), "patch", patched).await {
            Ok(object) => {
                self.change(|known| known.put(Object::read(&object)));
                Ok(())
            }
            Err(failed) if failed.code == Some(404) => Err(StoreError::NotFound(id.to_owned()).into()),
            Err(failed) => Err(failed),
        }
    }

    /// The object as it is, if it may be changed by whoever expects it to be so.
    async fn changeable(&self, id: &str, expected: Option<&Version>) -> Result<(DynamicObject, Object), StoreError> {
        let raw = self
            .object(id)
            .await?
            .ok_or_else(|| StoreError::NotFound(id.to_owned()))?;
        let object = Object::read(&raw);
        if object.declared_by == DeclaredBy::Helm {
            return Err(StoreError::Declared(id.to_owned()));
        }
        let current = object.version();
        if expected.is_some_and(|expected| *expected != current) {
            return Err(StoreError::Conflict {
                id: id.to_owned(),
                current,
            });
        }
        Ok((raw, object))
    }

    /// Only as it was read.
    async fn put(&self, raw: DynamicObject, spec: &RegistrySpec) -> Result<DynamicObject, Failed> {
        let new = object::with(raw, spec, Timestamp::now()).map_err(|error| Failed {
            code: Some(400),
            error: unwritable(error),
        })?;
        let id = new.metadata.name.clone().unwrap_or_default();
        let params = PostParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PostParams::default()
        };
        let api = registries(self.client());
        ask(&what(&id), "update", api.replace(&id, &params, &new)).await
    }

    /// Writes the Secrets for what a draft sets, if it is not what is there.
    async fn write(&self, id: &str, draft: &Draft, object: Option<&Object>) -> Result<References, StoreError> {
        // Of what cannot be understood nobody knows where it was.
        let before = object.and_then(|object| object.spec.as_ref().ok());
        let at = |purpose, change: &Change, said: &Option<SecretSource>| {
            let said = said.as_ref().map(|source| &source.secret_name);
            let present = object.and_then(|object| object.secret(purpose));
            match change {
                // Somebody says which Secret it is from now on.
                Change::Keep if said.is_some() && said != present => Ok(Change::Keep),
                change => change.clone().at(&draft.spec, before.unwrap_or(&draft.spec)),
            }
        };
        let changes = [
            (
                Purpose::Pull,
                at(Purpose::Pull, &draft.pull, &draft.spec.pull_credential)?,
            ),
            (
                Purpose::Push,
                at(Purpose::Push, &draft.push, &draft.spec.push_credential)?,
            ),
            (Purpose::Notify, draft.notify.clone()),
        ];
        for (_, change) in &changes {
            writable(change)?;
        }
        let [pull, push, notify] = [&changes[0].1, &changes[1].1, &changes[2].1].map(Reference::of);
        let mut references = References { pull, push, notify };
        for (purpose, change) in &changes {
            let purpose = *purpose;
            let Change::Set(credential) = &change else { continue };
            let present = object.and_then(|object| object.secret(purpose));
            if let (Some(object), Some(name)) = (object, present)
                && self.has_credential(object, purpose, name, credential).await
            {
                continue;
            }
            match self
                .write_secret(id, purpose, credential, object.map(Object::owner))
                .await
            {
                Ok(name) => *references.of(purpose) = Reference::New(name),
                Err(failed) => {
                    self.undo(id, &references, true).await;
                    return Err(failed.error);
                }
            }
        }
        Ok(references)
    }

    /// Takes back what was written for an object that does not name it. Where it may name it all the same, it stays: [`Self::tidy`] will
    /// know better.
    async fn undo(&self, id: &str, references: &References, is_certain: bool) {
        if is_certain {
            for name in references.written() {
                self.remove_secret(id, name).await;
            }
        }
    }

    /// The object is like this now: whoever follows sees it at once.
    fn wrote(&self, object: &Object) -> Result<Stored, StoreError> {
        self.change(|known| {
            known.wrote(object.clone());
            known.stored(object)
        })
    }
}

impl Reference {
    /// Until there is a new one, the one that is there.
    fn of(change: &Change) -> Self {
        match change {
            Change::Clear => Self::Clear,
            Change::Keep => Self::Keep,
            Change::Set(_) => Self::Same,
        }
    }

    /// `said` is what the draft says of it, `present` what the object does.
    fn source(&self, said: Option<&SecretSource>, present: Option<&String>) -> Option<SecretSource> {
        let named = |name: &String| SecretSource {
            secret_name: name.clone(),
        };
        match self {
            Self::Keep => said.cloned().or_else(|| present.map(named)),
            Self::Same => present.map(named),
            Self::Clear => None,
            Self::New(name) => Some(named(name)),
        }
    }
}

impl References {
    fn spec(&self, draft: &RegistrySpec, present: Option<&Object>) -> RegistrySpec {
        let present = |purpose| present.and_then(|present| present.secret(purpose));
        RegistrySpec {
            pull_credential: self.pull.source(draft.pull_credential.as_ref(), present(Purpose::Pull)),
            push_credential: self.push.source(draft.push_credential.as_ref(), present(Purpose::Push)),
            notification_token: self
                .notify
                .source(draft.notification_token.as_ref(), present(Purpose::Notify)),
            ..draft.clone()
        }
    }

    fn of(&mut self, purpose: Purpose) -> &mut Reference {
        match purpose {
            Purpose::Pull => &mut self.pull,
            Purpose::Push => &mut self.push,
            Purpose::Notify => &mut self.notify,
        }
    }

    fn written(&self) -> impl Iterator<Item = &str> {
        [&self.pull, &self.push, &self.notify]
            .into_iter()
            .filter_map(|reference| match reference {
                Reference::New(name) => Some(&**name),
                _ => None,
            })
    }
}

/// Whether it can be written.
fn writable(change: &Change) -> Result<(), StoreError> {
    match change {
        Change::Keep | Change::Clear | Change::Set(Credential::Login(_) | Credential::Key(_)) => Ok(()),
        Change::Set(Credential::File { .. } | Credential::Environment { .. }) => Err(StoreError::Unsupported(
            "in a cluster a credential is a username and a password, which are kept in a Secret: files and variables are for \
             `waypost serve`"
                .to_owned(),
        )),
    }
}

pub(super) fn changed_all_the_time(id: &str) -> StoreError {
    StoreError::Unavailable(format!("{} is changed all the time by somebody else", what(id)))
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(super) fn unwritable(error: serde_json::Error) -> StoreError {
    StoreError::Unsupported(format!("it cannot be written as JSON: {error}"))
}

/// Who is named in `managedFields`.
pub(super) const MANAGER: &str = "waypost";

/// How often somebody else may be faster.
const ATTEMPTS: u32 = 8;
