//! Managed pull secrets: from the registries with their logins, a namespace and what is seen of its Secret to the next step.
//!
//! What is seen is kept as digests, entry by entry: that is enough to tell whether something has to be written, also where one of the
//! logins is not known at this moment and its entry has to stay as it is.

use std::{collections::BTreeMap, sync::Arc};

use hashbrown::HashMap;
use serde::{Deserialize, de::IgnoredAny};
use zeroize::Zeroizing;

use crate::{
    policy::{LabelSelector, Labels},
    registry::{Admitted, Login, Password, Registry, credential::docker_config},
};

/// Tells contents apart: the beginning of a cryptographic hash.
pub type Digest = [u8; 16];

/// Makes a digest of these parts, whose borders count.
pub type Hash = fn(&[&[u8]]) -> Digest;

/// A registry with a pull credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The registry's id.
    pub id: Box<str>,
    /// Its key in a docker config: [`Address::kubelet_key`](crate::registry::Address::kubelet_key).
    pub key: Box<str>,
    /// The namespaces that may have its credential.
    pub namespaces: Admitted,
    /// The credential; none where it cannot be read at this moment and was not read before. What has it keeps it.
    pub login: Option<Login>,
}

/// The namespaces that a registry which says nothing of namespaces is for: those that the webhook serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Served {
    /// It is not known yet.
    Unknown,
    /// All but those of Kubernetes itself.
    All,
    /// Those whose labels one of these selects.
    Selected(Vec<LabelSelector>),
}

/// What every namespace ought to have.
pub struct Plan {
    /// By id.
    sources: Arc<[Source]>,
    served: Served,
    hash: Hash,
    /// By the numbers of the sources: most namespaces have the same.
    known: HashMap<Box<[usize]>, Arc<Due>>,
}

/// What one namespace ought to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Those of the plan.
    all: Arc<[Source]>,
    /// By number, one for each key.
    sources: Box<[usize]>,
    /// What its entries look like, by key.
    entries: BTreeMap<Digest, Option<Digest>>,
}

/// A Secret of the managed name, as it was seen last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its uid.
    pub uid: Box<str>,
    /// Its resource version.
    pub version: Box<str>,
    /// Whether it has the marks of ours.
    pub ours: bool,
    /// Whether it is of the type that it has to be, which cannot be changed.
    pub fits: bool,
    /// Whether somebody has made it immutable.
    pub immutable: bool,
    /// Whether it is deleted, and only kept by somebody's finalizer.
    pub deleting: bool,
    /// What is in it.
    pub content: Content,
}

/// What is in a Secret, as far as that is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// The entries of a docker config: key and what is behind it, by key.
    Entries(Box<[(Digest, Digest)]>),
    /// Something else, or nothing.
    Other,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Nothing: all is as it should be.
    Nothing,
    /// It is made.
    Create,
    /// Its content is written anew, in place.
    Update,
    /// It goes: nothing is due any more, or it has to be made anew.
    Delete,
    /// It is somebody else's, and stays as it is, though one of ours ought to be there.
    Foreign,
}

impl Source {
    /// Of a registry that has a pull credential.
    pub fn of(registry: &Registry, login: Option<Login>) -> Self {
        Self {
            id: registry.id.clone(),
            key: registry.address.kubelet_key().into(),
            namespaces: registry.namespaces.clone(),
            login,
        }
    }
}

impl Plan {
    /// For these registries. Of two with the same key, that with the smaller id counts.
    pub fn new(mut sources: Vec<Source>, served: Served, hash: Hash) -> Self {
        sources.sort_by(|a, b| a.id.cmp(&b.id));
        Self {
            sources: sources.into(),
            served,
            hash,
            known: HashMap::new(),
        }
    }

    /// Whether it is known what a namespace ought to have. It is not where a registry is for the namespaces that the webhook serves, and
    /// nobody knows which those are.
    pub fn is_decided(&self) -> bool {
        self.served != Served::Unknown || !self.sources.iter().any(|source| source.is_for_all())
    }

    /// Whether anything is due anywhere.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// The registries whose credential cannot be read.
    pub fn unreadable(&self) -> impl Iterator<Item = &str> {
        let sources = self.sources.iter();
        sources
            .filter(|source| source.login.is_none())
            .map(|source| &*source.id)
    }

    /// What a namespace ought to have.
    pub fn due(&mut self, namespace: &str, labels: &dyn Labels) -> Arc<Due> {
        let mut keys: Vec<&str> = Vec::new();
        let mut admitting = Vec::new();
        for (number, source) in self.sources.iter().enumerate() {
            let admits = if source.is_for_all() {
                self.served.serves(namespace, labels)
            } else {
                source.namespaces.admits(namespace, labels)
            };
            if admits && !keys.contains(&&*source.key) {
                keys.push(&source.key);
                admitting.push(number);
            }
        }
        if let Some(due) = self.known.get(&*admitting) {
            return due.clone();
        }
        let entries = admitting.iter().map(|number| {
            let source = &self.sources[*number];
            let login = source.login.as_ref().map(|login| self.entry(login));
            ((self.hash)(&[source.key.as_bytes()]), login)
        });
        let due = Arc::new(Due {
            all: self.sources.clone(),
            entries: entries.collect(),
            sources: admitting.into(),
        });
        if self.known.len() >= MOST_KNOWN {
            self.known.clear();
        }
        self.known.insert(due.sources.clone(), due.clone());
        due
    }

    fn entry(&self, login: &Login) -> Digest {
        // As it is read back: whatever is in an entry counts, and nothing but what is written there.
        let written = docker_config([(String::new(), login)]);
        match Content::of(&written, self.hash) {
            Content::Entries(entries) => entries.first().map_or([0; 16], |(_, entry)| *entry),
            Content::Other => [0; 16],
        }
    }
}

impl Source {
    /// Whether it says nothing of namespaces.
    fn is_for_all(&self) -> bool {
        self.namespaces.names.is_none() && self.namespaces.selector.is_none()
    }
}

impl Served {
    fn serves(&self, namespace: &str, labels: &dyn Labels) -> bool {
        match self {
            Self::Unknown => false,
            Self::All => !OF_KUBERNETES.contains(&namespace),
            Self::Selected(selectors) => selectors.iter().any(|selector| selector.selects(labels)),
        }
    }
}

impl Due {
    /// Whether no registry is for the namespace.
    pub fn is_nothing(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether every login is known.
    pub fn is_complete(&self) -> bool {
        self.entries.values().all(Option::is_some)
    }

    /// The docker config to be written. `present` is what is there: entries of registries whose login is not known are taken from it.
    pub fn content(&self, present: Option<&[u8]>) -> Zeroizing<Vec<u8>> {
        let mut present: BTreeMap<String, Entry> = present
            .and_then(|present| serde_json::from_slice::<Config<Entry>>(present).ok())
            .map(|config| config.auths)
            .unwrap_or_default();
        let sources = self.sources.iter().map(|number| &self.all[*number]);
        let logins: Vec<(String, Login)> = sources
            .filter_map(|source| {
                let login = match &source.login {
                    Some(login) => login.clone(),
                    None => present.remove(&*source.key)?.login()?,
                };
                Some((source.key.clone().into(), login))
            })
            .collect();
        docker_config(logins.iter().map(|(key, login)| (key.clone(), login)))
    }

    /// Whether an entry of it is known.
    pub fn is_worth_making(&self) -> bool {
        self.entries.values().any(Option::is_some)
    }

    /// Whether these are its entries. One whose login is not known may look like anything, or be absent.
    fn is(&self, content: &Content) -> bool {
        let Content::Entries(present) = content else {
            return false;
        };
        let known = self.entries.values().flatten().count();
        let mut met = 0;
        for (key, entry) in present {
            match self.entries.get(key) {
                None => return false,
                Some(None) => {}
                Some(Some(due)) if due == entry => met += 1,
                Some(Some(_)) => return false,
            }
        }
        met == known
    }
}

impl Content {
    /// What is in a Secret under `.dockerconfigjson`.
    pub fn of(json: &[u8], hash: Hash) -> Self {
        let Ok(Config { auths, rest }) = serde_json::from_slice::<Config<Entry>>(json) else {
            return Self::Other;
        };
        if !rest.is_empty() || auths.len() > MOST_ENTRIES {
            return Self::Other;
        }
        let mut entries = Vec::with_capacity(auths.len());
        for (key, entry) in &auths {
            if !entry.rest.is_empty() {
                return Self::Other;
            }
            // A missing part is not an empty one.
            let part = |part: &Option<Password>| {
                let text = part.as_ref().map_or("-", |part| part.expose());
                Zeroizing::new(if part.is_some() {
                    format!("+{text}")
                } else {
                    text.to_owned()
                })
            };
            let (username, password, auth) = (part(&entry.username), part(&entry.password), part(&entry.auth));
            let parts = [username.as_bytes(), password.as_bytes(), auth.as_bytes()];
            entries.push((hash(&[key.as_bytes()]), hash(&parts)));
        }
        entries.sort_unstable();
        Self::Entries(entries.into())
    }

    fn is_empty(&self) -> bool {
        matches!(self, Self::Entries(entries) if entries.is_empty())
    }
}

impl Found {
    /// Whether its content can be changed in place.
    fn is_changeable(&self) -> bool {
        self.fits && !self.immutable
    }
}

/// The next step for a namespace. `terminating`: it is about to go, and everything in it with it.
pub fn next(due: &Due, found: Option<&Found>, terminating: bool) -> Step {
    if terminating {
        return Step::Nothing;
    }
    let Some(found) = found else {
        return if due.is_worth_making() {
            Step::Create
        } else {
            Step::Nothing
        };
    };
    if !found.ours {
        return if due.is_nothing() { Step::Nothing } else { Step::Foreign };
    }
    let is_right = if due.is_nothing() {
        // What cannot go, because somebody's finalizer keeps it, is emptied.
        found.deleting && found.content.is_empty()
    } else {
        found.fits && due.is(&found.content)
    };
    if is_right {
        Step::Nothing
    } else if found.deleting {
        if found.is_changeable() {
            Step::Update
        } else {
            Step::Nothing
        }
    } else if due.is_nothing() || !found.is_changeable() {
        Step::Delete
    } else {
        Step::Update
    }
}

/// Where the configuration of a webhook says nothing of them, or none is known of.
pub const OF_KUBERNETES: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];

/// By these labels, together, one of ours is known.
pub const MARKS: [(&str, &str); 2] = [
    ("app.kubernetes.io/managed-by", "waypost"),
    ("waypost.dev/pull-secret", "true"),
];

/// This label says which of several Wayposts keeps it.
pub const KEPT_BY: &str = "waypost.dev/kept-by";

/// Its type.
pub const TYPE: &str = "kubernetes.io/dockerconfigjson";

/// Its only key.
pub const KEY: &str = ".dockerconfigjson";

/// More is none of ours.
const MOST_ENTRIES: usize = 1_000;

const MOST_KNOWN: usize = 1_000;

#[derive(Deserialize)]
struct Config<E> {
    #[serde(default = "BTreeMap::new")]
    auths: BTreeMap<String, E>,
    #[serde(flatten)]
    rest: BTreeMap<String, IgnoredAny>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    username: Option<Password>,
    #[serde(default)]
    password: Option<Password>,
    #[serde(default)]
    auth: Option<Password>,
    #[serde(flatten)]
    rest: BTreeMap<String, IgnoredAny>,
}

impl Entry {
    fn login(self) -> Option<Login> {
        Some(Login {
            username: self.username?.expose().to_owned(),
            password: self.password?,
        })
    }
}

#[cfg(test)]
mod tests;
