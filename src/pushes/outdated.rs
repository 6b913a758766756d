//! Which running Pods have another image than the latest push of it, and who has to be restarted for that.
//!
//! It is a report, and no decision: it believes the annotations that say what an image was called before it was rewritten.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::Index;
use crate::reference::{Reference, valid_digest};

/// A Pod, as far as its images are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its namespace.
    pub namespace: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// Who made it.
    pub owner: Owner,
    /// Its containers of all kinds, and its image volumes.
    pub images: Vec<Used>,
}

/// Who makes Pods, and makes them anew when told to: also a Pod itself, which nobody made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// As Kubernetes names it: `Deployment`.
    pub kind: Box<str>,
    /// Its name.
    pub name: Box<str>,
}

/// An image that a Pod uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Used {
    /// The container's name, or the volume's.
    pub container: Box<str>,
    /// The image, as the Pod has it.
    pub image: Box<str>,
    /// What it was before it was rewritten, as an annotation says.
    pub source: Option<Box<str>>,
    /// What the node runs, as it calls it; none where nothing runs.
    pub running: Option<Box<str>>,
    /// Whether it was added to a Pod that ran: whoever made the Pod does not make it again.
    pub ephemeral: bool,
}

/// What is outdated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outdated {
    /// By namespace, owner and container.
    findings: BTreeMap<Place, Finding>,
    /// So many containers run what nobody can compare.
    pub unknown: usize,
    /// By the registry of the latest push, how many Pods have a container that is outdated.
    pub pods: BTreeMap<Box<str>, usize>,
}

/// What of an owner is outdated.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Its namespace.
    pub namespace: Box<str>,
    /// Who has to be restarted.
    pub owner: Owner,
    /// The container.
    pub container: Box<str>,
    /// The image, as its author called it.
    pub image: Box<str>,
    /// The digest of what runs.
    pub running: Box<str>,
}

/// What would run instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The latest push.
    pub latest: Latest,
    /// So many Pods.
    pub pods: usize,
    /// The names of some of them.
    pub names: Vec<Box<str>>,
}

/// A latest push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latest {
    /// The registry's id.
    pub registry: Box<str>,
    /// What was pushed.
    pub digest: Box<str>,
    /// When.
    pub finished_at: Timestamp,
}

/// How it stands with a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nobody has pushed its image, or it does not run, or its author wants that very digest.
    Unconcerned,
    /// It runs the latest push.
    Current,
    /// Nobody can tell what it runs.
    Unknown,
    /// It runs something else.
    Outdated {
        /// The image, as its author called it.
        image: Box<str>,
        /// The digest of what runs.
        running: Box<str>,
        /// What would run instead.
        latest: Latest,
    },
}

impl Used {
    /// How it stands with it.
    pub fn verdict(&self, index: &Index) -> Verdict {
        let Some(running) = &self.running else {
            return Verdict::Unconcerned;
        };
        let written = self.source.as_deref().unwrap_or(&self.image);
        let Ok(image) = Reference::parse(written) else {
            return Verdict::Unconcerned;
        };
        if image.digest().is_some() {
            return Verdict::Unconcerned;
        }
        // Where its author wrote the place in which it lies, it is pulled from there again.
        let pushed = latest(index, written).or_else(|| {
            let source = index.sources(&image).into_iter().next()?;
            Some((
                source.image,
                source.push.registry.into(),
                source.push.digest().into(),
                source.push.order(),
            ))
        });
        let Some((pushed, registry, digest, order)) = pushed else {
            return Verdict::Unconcerned;
        };
        let running = running.rsplit_once('@').map(|(_, digest)| digest);
        let Some(running) = running.filter(|digest| valid_digest(digest).is_ok()) else {
            return Verdict::Unknown;
        };
        if *running == *digest || is_part(index, &pushed, running, &registry, order) {
            return Verdict::Current;
        }
        Verdict::Outdated {
            image: image.canonical().to_string().into(),
            running: running.into(),
            latest: Latest {
                registry,
                digest,
                finished_at: order.0,
            },
        }
    }

    /// Everything that it may be called.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        [Some(&*self.image), self.source.as_deref()].into_iter().flatten()
    }
}

impl Outdated {
    /// Takes a Pod in. `index` is the same for all of them.
    pub fn add(&mut self, index: &Index, pod: Pod) {
        let mut registries = BTreeSet::new();
        let itself = Owner {
            kind: "Pod".into(),
            name: pod.name.clone(),
        };
        for used in pod.images {
            let (image, running, latest) = match used.verdict(index) {
                Verdict::Unconcerned | Verdict::Current => continue,
                Verdict::Unknown => {
                    self.unknown += 1;
                    continue;
                }
                Verdict::Outdated { image, running, latest } => (image, running, latest),
            };
            registries.insert(latest.registry.clone());
            let owner = if used.ephemeral { &itself } else { &pod.owner };
            let place = Place {
                namespace: pod.namespace.clone(),
                owner: owner.clone(),
                container: used.container,
                image,
                running,
            };
            let finding = self.findings.entry(place).or_insert(Finding {
                latest,
                pods: 0,
                names: Vec::new(),
            });
            finding.pods += 1;
            if finding.names.len() < MOST_NAMES {
                finding.names.push(pod.name.clone());
            }
        }
        for registry in registries {
            *self.pods.entry(registry).or_default() += 1;
        }
    }

    /// What was found, by namespace, owner and container.
    pub fn findings(&self) -> impl ExactSizeIterator<Item = (&Place, &Finding)> {
        self.findings.iter()
    }
}

/// A push: its image, its registry, what was pushed, and its place in the order of pushes.
type Pushed = (String, Box<str>, Box<str>, (Timestamp, u64));

/// The latest push of an image, and of its target where that was pushed on. Those that lead round in a circle lead to any of them.
fn latest(index: &Index, image: &str) -> Option<Pushed> {
    let mut last = None;
    let mut image = image.to_owned();
    for _ in 0..MOST_STEPS {
        let target = {
            let Ok(reference) = Reference::parse(&image) else { break };
            let pushes = index.find(&reference);
            let Some(push) = pushes.first() else { break };
            let target = (!push.is_own()).then(|| push.target(&reference));
            last = Some((image.clone(), push.registry.into(), push.digest().into(), push.order()));
            target
        };
        match target {
            Some(target) => image = target,
            None => break,
        }
    }
    last
}

/// Whether this digest is one of the manifests of what was pushed.
fn is_part(index: &Index, image: &str, digest: &str, registry: &str, order: (Timestamp, u64)) -> bool {
    let Ok(image) = Reference::parse(image) else {
        return false;
    };
    let part = format!("{}@{digest}", image.canonical_name());
    let Ok(part) = Reference::parse(&part) else {
        return false;
    };
    let holds = index.find(&part);
    holds
        .iter()
        .any(|push| push.registry == registry && push.order() == order)
}

/// From registry to registry.
const MOST_STEPS: usize = 8;

/// Of Pods, for who has to delete them.
const MOST_NAMES: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pushes::{Image, Success};

    fn digest(of: char) -> String {
        format!("sha256:{}", of.to_string().repeat(64))
    }

    fn success(target: &str, of: char, children: &[char], second: i64) -> Success {
        Success {
            target: target.into(),
            digest: digest(of).into(),
            platforms: Vec::new(),
            children: children.iter().map(|of| digest(*of).into()).collect(),
            finished_at: Timestamp::from_second(second).unwrap(),
            sequence: 1,
        }
    }

    fn index() -> Index {
        let pushes = [
            (
                "myorg/app:1",
                "a",
                success("a.io/docker.io/myorg/app:1", 'a', &['b', 'c'], 1),
            ),
            (
                "myorg/app:1",
                "old",
                success("old.io/docker.io/myorg/app:1", '0', &[], 0),
            ),
            ("myorg/far:1", "a", success("a.io/docker.io/myorg/far:1", '1', &[], 1)),
            ("a.io/docker.io/myorg/far:1", "b", success("b.io/far:1", '2', &['3'], 2)),
            ("own.io/x:latest", "own", success("own.io/x:latest", 'd', &[], 1)),
        ];
        let pushes = pushes.map(|(image, registry, success)| (Image::parse(image).unwrap(), registry, success));
        Index::default().with(
            pushes
                .iter()
                .map(|(image, registry, success)| (image, *registry, Some(success))),
        )
    }

    fn used(image: &str, source: &str, running: &str) -> Used {
        let some = |text: &str| (!text.is_empty()).then(|| text.into());
        Used {
            container: "app".into(),
            image: image.into(),
            source: some(source),
            running: some(running),
            ephemeral: false,
        }
    }

    #[test]
    fn what_runs_is_compared_with_the_latest_push_and_its_parts() {
        let index = index();
        let at = |of| format!("a.io/docker.io/myorg/app@{}", digest(of));
        let pullable = format!("docker-pullable://{}", at('b'));
        let pinned = format!("myorg/app:1@{}", digest('f'));
        // The image of the spec, that of the annotation, what runs; the registry of the latest push where it is outdated.
        for (image, source, running, expected) in [
            (
                "a.io/docker.io/myorg/app:1",
                "myorg/app:1",
                &*at('a'),
                Ok(Verdict::Current),
            ),
            (
                "a.io/docker.io/myorg/app:1",
                "myorg/app:1",
                &at('c'),
                Ok(Verdict::Current),
            ),
            (
                "a.io/docker.io/myorg/app:1",
                "myorg/app:1",
                &pullable,
                Ok(Verdict::Current),
            ),
            ("a.io/docker.io/myorg/app:1", "myorg/app:1", &at('f'), Err("a")),
            // From the time before anything was pushed.
            ("docker.io/myorg/app:1", "", &at('f'), Err("a")),
            // Written so by its author: it is pulled from there again.
            ("old.io/docker.io/myorg/app:1", "", &at('f'), Err("old")),
            ("old.io/docker.io/myorg/app:1", "", &at('0'), Ok(Verdict::Current)),
            ("own.io/x", "", &at('f'), Err("own")),
            ("own.io/x", "", &at('d'), Ok(Verdict::Current)),
            // Pushed on.
            ("b.io/far:1", "myorg/far:1", &at('1'), Err("b")),
            ("b.io/far:1", "myorg/far:1", &at('2'), Ok(Verdict::Current)),
            ("b.io/far:1", "myorg/far:1", &at('3'), Ok(Verdict::Current)),
            // Pinned, also where Waypost pinned nothing.
            (&pinned, "", &at('f'), Ok(Verdict::Unconcerned)),
            (
                "a.io/docker.io/myorg/app:1",
                &pinned,
                &at('f'),
                Ok(Verdict::Unconcerned),
            ),
            // What Waypost pinned, it pins anew.
            (&at('f'), "myorg/app:1", &at('f'), Err("a")),
            ("myorg/app:2", "", &at('f'), Ok(Verdict::Unconcerned)),
            ("nobody/pushed", "", "", Ok(Verdict::Unconcerned)),
            ("myorg/app:1", "", "", Ok(Verdict::Unconcerned)),
            ("myorg/app:1", "", &digest('f'), Ok(Verdict::Unknown)),
            ("myorg/app:1", "No Image", &at('f'), Ok(Verdict::Unconcerned)),
        ] {
            let verdict = used(image, source, running).verdict(&index);
            let found = match verdict {
                Verdict::Outdated { latest, running, .. } => {
                    assert_eq!(running.len(), digest('f').len());
                    Err(latest.registry)
                }
                other => Ok(other),
            };
            assert_eq!(found, expected.map_err(Box::from), "{image} {source} {running}");
        }
    }

    #[test]
    fn pods_of_an_owner_are_counted_together_and_a_container_that_was_added_is_its_pods() {
        let index = index();
        let owner = |kind: &str, name: &str| Owner {
            kind: kind.into(),
            name: name.into(),
        };
        let pod = |name: &str, ephemeral| Pod {
            namespace: "n".into(),
            name: name.into(),
            owner: owner("Deployment", "d"),
            images: vec![
                used("myorg/app:1", "", &format!("x@{}", digest('f'))),
                Used {
                    container: "other".into(),
                    ephemeral,
                    ..used("myorg/app:1", "", &format!("x@{}", digest('e')))
                },
                used("myorg/app:1", "", &digest('a')),
            ],
        };
        let mut outdated = Outdated::default();
        for (name, ephemeral) in [("p-1", false), ("p-2", true), ("p-3", false)] {
            outdated.add(&index, pod(name, ephemeral));
        }
        let found: Vec<_> = outdated
            .findings()
            .map(|(place, finding)| {
                (
                    place.owner.clone(),
                    &*place.container,
                    finding.pods,
                    finding.names.len(),
                )
            })
            .collect();
        assert_eq!(
            found,
            [
                (owner("Deployment", "d"), "app", 3, 3),
                (owner("Deployment", "d"), "other", 2, 2),
                (owner("Pod", "p-2"), "other", 1, 1),
            ]
        );
        assert_eq!(outdated.unknown, 3);
        assert_eq!(outdated.pods, BTreeMap::from([("a".into(), 3)]));
    }
}
