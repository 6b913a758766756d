//! Everything that decisions are made by, at one moment: immutable, swapped as a whole from the side of the review path.

mod namespaces;

use std::sync::Arc;

pub use self::namespaces::Namespaces;
use crate::{
    policy::{Glob, LabelSelector, Labels, PolicySet, Settings},
    reference::Reference,
};

/// All facts of one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The compiled policies.
    pub policies: Arc<PolicySet>,
    /// Counts up with each set of policies that was put in use; the first is 1.
    pub generation: u64,
    /// The registries that have a pull credential.
    pub credentials: PullCredentials,
    /// The namespaces of the cluster, where they are watched.
    pub namespaces: Namespaces,
}

/// Which registries have a pull credential, and for which namespaces.
#[derive(Clone, Debug, Default)]
pub struct PullCredentials(Vec<PullCredential>);

/// A registry that has a pull credential.
#[derive(Clone, Debug)]
pub struct PullCredential {
    /// The registry's host, as references say it.
    pub host: Box<str>,
    /// The path below the host that it is for; empty for all.
    pub organization: Box<str>,
    /// Names of namespaces that may use it; `*` stands for any characters. None: all.
    pub namespaces: Option<Vec<Glob>>,
    /// Labels of namespaces that may use it. Both must hold where both are given.
    pub selector: Option<LabelSelector>,
}

impl Snapshot {
    /// With these policies, and no registries.
    pub fn new(policies: Arc<PolicySet>, generation: u64) -> Self {
        Self {
            policies,
            generation,
            credentials: PullCredentials::default(),
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

impl PullCredentials {
    /// Takes the registries that have one.
    pub fn new(credentials: Vec<PullCredential>) -> Self {
        Self(credentials)
    }

    /// Whether no registry has one.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the image lies under a registry that has a credential for this namespace.
    pub fn cover(&self, image: &Reference<'_>, namespace: &str, labels: &dyn Labels) -> bool {
        self.0.iter().any(|credential| {
            credential.host.eq_ignore_ascii_case(image.registry())
                && credential.is_over(image)
                && credential
                    .namespaces
                    .as_ref()
                    .is_none_or(|globs| globs.iter().any(|glob| glob.matches(namespace)))
                && credential
                    .selector
                    .as_ref()
                    .is_none_or(|selector| selector.selects(labels))
        })
    }
}

impl PullCredential {
    /// By whole segments: the organization `team` is not over `teams/app`.
    fn is_over(&self, image: &Reference<'_>) -> bool {
        let mut segments = image.repository().segments();
        self.organization.is_empty()
            || self.organization.split('/').all(|part| segments.next() == Some(part)) && segments.next().is_some()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_covers_what_lies_under_its_organization_for_its_namespaces() {
        let credentials = PullCredentials::new(vec![PullCredential {
            host: "r.io".into(),
            organization: "team/x".into(),
            namespaces: Some(vec![Glob::new("a-*")]),
            selector: None,
        }]);
        for (image, namespace, expected) in [
            ("r.io/team/x/app", "a-1", true),
            ("r.io/team/x/deep/app:1", "a-1", true),
            ("r.io/team/x", "a-1", false),
            ("r.io/team/xy/app", "a-1", false),
            ("r.io/team/app", "a-1", false),
            ("s.io/team/x/app", "a-1", false),
            ("r.io/team/x/app", "b", false),
        ] {
            let image = Reference::parse(image).unwrap();
            assert_eq!(
                credentials.cover(&image, namespace, &NoLabels),
                expected,
                "{image} in {namespace}"
            );
        }
    }
}
