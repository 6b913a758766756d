//! Registries and pushes that are made up, to try policies out.

use jiff::Timestamp;

use super::{BadRegistryName, Registered, Registries, Snapshot};
use crate::{
    document::Problem,
    pushes::{Image, Success, normal},
    reference::{Reference, valid_digest},
    registry::{Registry, RegistrySpec, UNKNOWN_ACCOUNT},
};

/// Registries and pushes that are made up.
#[derive(Clone, Debug, Default)]
pub struct Trial {
    registries: Vec<(Registered, Registry)>,
    pushes: Vec<(Image, Box<str>, Success)>,
    down: Vec<Registered>,
}

/// A push that is made up.
#[derive(Clone, Copy, Debug)]
pub struct TrialPush<'p> {
    /// The image.
    pub image: &'p str,
    /// The id of a registry of the trial; or `HOST` or `HOST/ORGANIZATION`, which need not be one.
    pub registry: &'p str,
    /// What was pushed. Without it, the same in all pushes of an image.
    pub digest: Option<&'p str>,
    /// When, in RFC 3339. Without it, before all that have a time, in the order in which they are told.
    pub finished_at: Option<&'p str>,
}

/// What is wrong with a push that is made up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTrialPush {
    /// The image is none.
    #[error("this is no image reference: {0}")]
    Image(String),
    /// The registry is none.
    #[error(transparent)]
    Registry(#[from] BadRegistryName),
    /// The digest is none.
    #[error("`{}` is no digest: write sha256: and 64 hexadecimal digits", .0.escape_debug())]
    Digest(Box<str>),
    /// The time is none.
    #[error("`{}` is no time: write for example 2026-01-31T12:00:00Z", .0.escape_debug())]
    Time(Box<str>),
    /// The image can have no name there.
    #[error("an image of this name cannot be in the registry {0}")]
    Nameless(Box<str>),
}

impl Trial {
    /// Adds a registry, which is up.
    ///
    /// # Errors
    ///
    /// All that is wrong with it, with the paths of the keys in its spec.
    pub fn register(&mut self, id: &str, spec: &RegistrySpec) -> Result<(), Vec<Problem>> {
        let registry = Registry::parse(id, spec).map_err(|mut problems| {
            for problem in problems.iter_mut().filter(|problem| problem.code == UNKNOWN_ACCOUNT) {
                NOBODY_IS_ASKED.clone_into(&mut problem.message);
                problem.hint = Some(SAY_THE_ACCOUNT.to_owned());
            }
            problems
        })?;
        let registered = Registered {
            id: registry.id.clone(),
            address: registry.address.clone(),
            namespaces: registry.namespaces.clone(),
            // Without a key tokens are issued by an identity that is not written down.
            has_pull_credential: spec.location.issues() || spec.pull_credential.is_some(),
            available: true,
        };
        self.registries.push((registered, registry));
        Ok(())
    }

    /// Takes a registry to be down, by its id, or by `HOST` or `HOST/ORGANIZATION`.
    ///
    /// # Errors
    ///
    /// When that is no such name.
    pub fn down(&mut self, name: &str) -> Result<(), BadRegistryName> {
        if let Some((registry, _)) = self.registries.iter_mut().find(|(registry, _)| *registry.id == *name) {
            registry.available = false;
            return Ok(());
        }
        self.down.push(Registered::unavailable(name)?);
        Ok(())
    }

    /// Adds a push.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn push(&mut self, push: TrialPush<'_>) -> Result<(), BadTrialPush> {
        let known = self
            .registries
            .iter()
            .position(|(registry, _)| *registry.id == *push.registry);
        let known = match known {
            Some(known) => known,
            None => {
                // As it is checked where it is down.
                Registered::unavailable(push.registry)?;
                let spec = RegistrySpec {
                    url: Some(push.registry.to_owned()),
                    ..RegistrySpec::default()
                };
                let bad = |_| BadRegistryName(push.registry.into());
                self.register(push.registry, &spec).map_err(bad)?;
                self.registries.len() - 1
            }
        };
        let registry = &self.registries[known].1;
        let image = Image::parse(push.image).map_err(|error| BadTrialPush::Image(error.to_string()))?;
        let reference = Reference::parse(image.as_str()).map_err(|error| BadTrialPush::Image(error.to_string()))?;
        if let Some(digest) = push.digest.filter(|digest| valid_digest(digest).is_err()) {
            return Err(BadTrialPush::Digest(digest.into()));
        }
        let finished_at = match push.finished_at {
            Some(text) => text.parse().map_err(|_| BadTrialPush::Time(text.into()))?,
            None => Timestamp::UNIX_EPOCH,
        };
        // What has no name that leads back is in the registry as itself.
        let is_own = registry.is_over(&reference) && registry.names.source(&reference).is_none();
        let target = if is_own {
            Some(normal(&reference))
        } else {
            registry.names.target(&reference)
        };
        let target = target.ok_or_else(|| BadTrialPush::Nameless(push.registry.into()))?;
        let success = Success {
            target: target.into(),
            digest: push
                .digest
                .or(reference.digest())
                .map_or_else(|| made_up(&image), Into::into),
            platforms: Vec::new(),
            children: Vec::new(),
            finished_at,
            sequence: self.pushes.len() as u64,
        };
        let id = registry.id.clone();
        self.pushes.push((image, id, success));
        Ok(())
    }

    /// Puts all of it into a snapshot, in the place of what is there.
    pub fn apply(&self, snapshot: &mut Snapshot) {
        let mut registries: Vec<Registered> = self.registries.iter().map(|(registry, _)| registry.clone()).collect();
        for down in &self.down {
            let mut same = registries
                .iter_mut()
                .filter(|registry| registry.address == down.address)
                .peekable();
            if same.peek().is_none() {
                drop(same);
                registries.push(down.clone());
            } else {
                same.for_each(|registry| registry.available = false);
            }
        }
        snapshot.registries = Registries::new(registries);
        let pushes = self
            .pushes
            .iter()
            .map(|(image, registry, success)| (image, &**registry, Some(success)));
        snapshot.pushes = crate::pushes::Index::default().with(pushes);
    }
}

/// Where there is a cluster, ECR says it with the first token.
const NOBODY_IS_ASKED: &str = "whose registry it is has to be said here, where ECR is not asked for it";
const SAY_THE_ACCOUNT: &str = "write the account's twelve digits, in quotes: registryId: \"123456789012\"";

/// The same for all pushes of an image.
fn made_up(image: &Image) -> Box<str> {
    format!("sha256:{}{}", image.key(), image.key()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push<'p>(image: &'p str, registry: &'p str) -> TrialPush<'p> {
        TrialPush {
            image,
            registry,
            digest: None,
            finished_at: None,
        }
    }

    #[test]
    fn a_registry_whose_tokens_are_issued_has_a_credential_and_has_to_say_whose_it_is() {
        let spec = |json: serde_json::Value| serde_json::from_value(json).unwrap();
        let mut trial = Trial::default();
        let own = spec(serde_json::json!({"location": "ecr", "region": "eu-central-1"}));
        let problems = trial.register("own", &own).unwrap_err();
        assert_eq!(problems.len(), 1);
        assert_eq!(
            (problems[0].path.to_string(), &*problems[0].message),
            ("registryId".to_owned(), NOBODY_IS_ASKED)
        );
        let said = spec(serde_json::json!({"location": "ecr", "region": "eu-central-1", "registryId": "123456789012"}));
        trial.register("said", &said).unwrap();
        trial
            .register("google", &spec(serde_json::json!({"location": "gcr"})))
            .unwrap();
        let mut snapshot = Snapshot::empty();
        trial.apply(&mut snapshot);
        let told: Vec<_> = snapshot
            .registries
            .iter()
            .map(|registry| (registry.address.to_string(), registry.has_pull_credential))
            .collect();
        let ecr = "123456789012.dkr.ecr.eu-central-1.amazonaws.com".to_owned();
        assert_eq!(told, [(ecr, true), ("gcr.io".to_owned(), true)]);
    }

    #[test]
    fn what_is_made_up_is_checked() {
        let mut trial = Trial::default();
        let url = |url: &str| RegistrySpec {
            url: Some(url.to_owned()),
            ..RegistrySpec::default()
        };
        trial.register("corp", &url("a.io/team")).unwrap();
        assert!(trial.register("bad", &url("a io")).is_err());
        for (made_up, expected) in [
            (push("a:b:c", "corp"), "this is no image reference"),
            (push("alpine", "crop"), "`crop` is no registry"),
            (
                TrialPush {
                    digest: Some("sha256:1"),
                    ..push("alpine", "corp")
                },
                "`sha256:1` is no digest",
            ),
            (
                TrialPush {
                    finished_at: Some("now"),
                    ..push("alpine", "corp")
                },
                "`now` is no time",
            ),
            (push("localhost:5000/x", "corp"), "an image of this name cannot be"),
        ] {
            let error = trial.push(made_up).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        trial.push(push("alpine", "corp")).unwrap();
        trial.push(push("a.io/team/app:1", "corp")).unwrap();
        trial.push(push("alpine", "b.io")).unwrap();
        trial.down("corp").unwrap();
        trial.down("B.io").unwrap();
        trial.down("c.io").unwrap();
        assert!(trial.down("c").is_err());
        let mut snapshot = Snapshot::empty();
        trial.apply(&mut snapshot);
        let told: Vec<_> = snapshot
            .registries
            .iter()
            .map(|registry| (&*registry.id, registry.available))
            .collect();
        assert_eq!(told, [("corp", false), ("b.io", false), ("c.io", false)]);
        for (image, expected) in [
            ("alpine", "b.io/docker.io/library/alpine"),
            ("a.io/team/app:1", "a.io/team/app:1"),
        ] {
            let image = Reference::parse(image).unwrap();
            assert_eq!(snapshot.pushes.find(&image)[0].target(&image), expected);
        }
    }
}
