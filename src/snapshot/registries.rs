//! The registries that Waypost knows, as decisions see them: who may pull from which, and which are down.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::{
    policy::Labels,
    reference::{Reference, is_registry_host, valid_registry, valid_repository},
    registry::{Address, Admitted},
};

/// The registries of one moment: immutable, and cloned for the price of a counter.
#[derive(Clone, Debug, Default)]
pub struct Registries {
    all: Arc<[Registered]>,
    /// Their places, by id.
    by_id: Arc<HashMap<Box<str>, usize>>,
    /// Whether any is not available: mostly none is, and then no name is looked at.
    any_unavailable: bool,
    /// Whether any has a pull credential.
    any_credential: bool,
}

/// A registry that Waypost knows.
#[derive(Clone, Debug)]
pub struct Registered {
    /// How its admin calls it.
    pub id: Box<str>,
    /// What references to its images begin with.
    pub address: Address,
    /// The namespaces that may use its credential.
    pub namespaces: Admitted,
    /// Whether there is a credential to pull from it with.
    pub has_pull_credential: bool,
    /// Whether images can be pulled from it, as far as is known.
    pub available: bool,
}

impl Registries {
    /// Takes all of them, in the order in which they are listed.
    pub fn new(all: Vec<Registered>) -> Self {
        Self {
            any_unavailable: all.iter().any(|registry| !registry.available),
            any_credential: all.iter().any(|registry| registry.has_pull_credential),
            by_id: Arc::new(
                all.iter()
                    .enumerate()
                    .map(|(place, registry)| (registry.id.clone(), place))
                    .collect(),
            ),
            all: all.into(),
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Registered> {
        self.all.iter()
    }

    /// The one with this id.
    pub fn get(&self, id: &str) -> Option<&Registered> {
        self.by_id.get(id).map(|place| &self.all[*place])
    }

    /// How their admins call them.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.iter().map(|registry| &*registry.id)
    }

    /// Whether any has a pull credential.
    pub fn any_credential(&self) -> bool {
        self.any_credential
    }

    /// Whether the image lies under a registry that has a pull credential for this namespace.
    pub fn covers(&self, image: &Reference<'_>, namespace: &str, labels: &dyn Labels) -> bool {
        self.any_credential
            && self.all.iter().any(|registry| {
                registry.has_pull_credential
                    && registry.address.is_over(image)
                    && registry.namespaces.admits(namespace, labels)
            })
    }

    /// The id of the registry that the image lies under, if it admits the namespace: that of its host with the longest organization. Of
    /// several that are the same, the first that does.
    pub fn admitting_over(&self, image: &Reference<'_>, namespace: &str, labels: &dyn Labels) -> Option<&str> {
        let over = || self.all.iter().filter(|registry| registry.address.is_over(image));
        let longest = over().map(|registry| registry.address.organization.len()).max()?;
        over()
            .filter(|registry| registry.address.organization.len() == longest)
            .find(|registry| registry.namespaces.admits(namespace, labels))
            .map(|registry| &*registry.id)
    }

    /// Whether what this name stands for cannot be pulled now: the registry that it lies under is down. That is the one of its host
    /// with the longest organization over it; of several that are the same, all must be down. A name under none is taken to be there.
    ///
    /// `target` is a reference in its normal form, such as rules write.
    pub fn is_unavailable(&self, target: &str) -> bool {
        self.any_unavailable
            && self
                .over(target)
                .is_some_and(|mut over| over.all(|found| !found.available))
    }

    /// The registries that this name lies under: of its host those with the longest organization, several where they have the same.
    fn over<'r>(&'r self, target: &'r str) -> Option<impl Iterator<Item = &'r Registered>> {
        let (host, path) = target.split_once('/')?;
        // A tag or digest is in the last segment, which is no part of an organization.
        let over = move |registry: &&Registered| registry.address.is_over_path(host, path.split('/'));
        let longest = self
            .all
            .iter()
            .filter(over)
            .map(|found| found.address.organization.len())
            .max()?;
        let all = self.all.iter().filter(over);
        Some(all.filter(move |registry| registry.address.organization.len() == longest))
    }
}

impl Registered {
    /// One that is down, by its name: `HOST` or `HOST/ORGANIZATION`. To try policies out.
    ///
    /// # Errors
    ///
    /// When that is no such name.
    pub fn unavailable(name: &str) -> Result<Self, BadRegistryName> {
        let (host, organization) = name
            .split_once('/')
            .map_or((name, None), |(host, path)| (host, Some(path)));
        let valid = is_registry_host(host)
            && valid_registry(host).is_ok()
            && organization.is_none_or(|path| valid_repository(path).is_ok());
        if !valid {
            return Err(BadRegistryName(name.into()));
        }
        // As references have it once they are normalised.
        let lower = host.to_ascii_lowercase();
        let host = match &*lower {
            "index.docker.io" => "docker.io",
            host => host,
        };
        Ok(Self {
            id: name.into(),
            address: Address {
                host: host.into(),
                organization: organization.unwrap_or_default().into(),
            },
            namespaces: Admitted::default(),
            has_pull_credential: false,
            available: false,
        })
    }
}

/// What is no name of a registry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no registry: write its host, and its organization if it has one, as in registry.example.com/team", .0.escape_debug())]
pub struct BadRegistryName(pub(super) Box<str>);

#[cfg(test)]
mod tests;
