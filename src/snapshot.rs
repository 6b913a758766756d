//! Everything that decisions are made by, at one moment: immutable, swapped as a whole from the side of the review path.

mod namespaces;
mod registries;
mod trial;

use std::sync::Arc;

pub use self::{
    namespaces::Namespaces,
    registries::{BadRegistryName, Registered, Registries},
    trial::{BadTrialPush, Trial, TrialPush},
};
use crate::{
    policy::{Labels, PolicySet, Settings},
    pushes::Index,
};

/// All facts of one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The compiled policies.
    pub policies: Arc<PolicySet>,
    /// Counts up with each set of policies that was put in use; the first is 1.
    pub generation: u64,
    /// The registries that are registered.
    pub registries: Registries,
    /// The pushes that went well.
    pub pushes: Index,
    /// The namespaces of the cluster, where they are watched.
    pub namespaces: Namespaces,
}

impl Snapshot {
    /// With these policies, and no registries.
    pub fn new(policies: Arc<PolicySet>, generation: u64) -> Self {
        Self {
            policies,
            generation,
            registries: Registries::default(),
            pushes: Index::default(),
            namespaces: Namespaces::default(),
        }
    }

    /// Without any policy.
    pub fn empty() -> Self {
        Self::new(PolicySet::empty(Settings::default()), 0)
    }

    /// The labels of a namespace; none where namespaces are watched and this one is not known, or not yet.
    pub fn namespace_labels(&self, namespace: &str) -> Option<&dyn Labels> {
        self.namespaces.labels(namespace)
    }
}

/// Nothing has a label.
#[derive(Clone, Copy, Debug)]
pub struct NoLabels;

impl Labels for NoLabels {
    fn value(&self, _: &str) -> Option<&str> {
        None
    }
}
