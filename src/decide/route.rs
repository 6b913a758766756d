//! Where an image was last pushed to, and from there on: the pushes that count, followed until one leads nowhere else.
//!
//! That is found out when it is asked for and not when a snapshot is made, since rules differ in the registries that count. The pushes of an
//! image are a handful, and a chain has a link or two.

use smallvec::SmallVec;

use crate::{
    policy::{Context, LatestPush, OnUnavailable},
    pushes::{Found, Image, Index, normal},
    reference::Reference,
    snapshot::{Registries, Snapshot},
};

/// Pushes that lead in a circle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle {
    /// The images, each with its latest push into the next, and the last into the first.
    pub images: Vec<String>,
    /// The image whose push does not count, for it is the latest of these.
    pub dropped: String,
    /// The id of the registry that it went into.
    pub registry: Box<str>,
}

/// The cycle that an image is a part of, by all pushes into these registries, and which of its pushes does not count therefore.
pub fn cycle(pushes: &Index, registries: &Registries, image: &Image) -> Option<Cycle> {
    let reference = Reference::parse(image.as_str()).ok()?;
    let counting = Counting {
        pushes,
        registries,
        only: None,
    };
    let cycles = counting.route(&reference).cycles;
    cycles
        .into_iter()
        .find(|cycle| cycle.images.iter().any(|other| *other == image.as_str()))
}

/// The pushes that count.
#[derive(Clone, Copy)]
pub(super) struct Counting<'s> {
    pub(super) pushes: &'s Index,
    pub(super) registries: &'s Registries,
    /// The ids of registries, where not all count.
    pub(super) only: Option<&'s [Box<str>]>,
}

/// From an image to where it is pulled from.
#[derive(Debug, Default)]
pub(super) struct Route<'s> {
    /// Each push leads to the image of the next.
    pub(super) links: SmallVec<[Link<'s>; 2]>,
    /// The push of the last image into its own registry, as itself.
    pub(super) own: Option<Found<'s>>,
    pub(super) cycles: SmallVec<[Cycle; 0]>,
    /// Whether nobody knows where it ends.
    pub(super) endless: bool,
}

/// A push on the way.
#[derive(Debug)]
pub(super) struct Link<'s> {
    pub(super) image: String,
    pub(super) push: Found<'s>,
    pub(super) target: String,
}

/// What comes of a rule that pulls from the latest push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Routed {
    /// There is no push that counts.
    NoPush,
    /// Pushes lead on and on.
    Endless,
    /// The namespace may not pull from the registry.
    NotAdmitted,
    /// The image is where it was last pushed to.
    Own,
    /// It is not to be pulled.
    Never,
    /// The registry is down.
    Unavailable,
    /// It is pulled from the target.
    To,
}

/// What comes of it, where that is, and how it came to that.
pub(super) struct Attempt<'s> {
    pub(super) routed: Routed,
    /// For [`Routed::Unavailable`] and [`Routed::To`].
    pub(super) target: String,
    pub(super) route: Route<'s>,
}

/// Where a rule that pulls from the latest push leads an image to. One that is `protected` is a target already: its own push is no reason
/// to touch it.
pub(super) fn attempt<'s>(
    snapshot: &'s Snapshot,
    context: &Context<'_>,
    latest: &'s LatestPush,
    image: &Reference<'_>,
    pull_policy: Option<&str>,
    protected: bool,
) -> Attempt<'s> {
    let counting = Counting {
        pushes: &snapshot.pushes,
        registries: &snapshot.registries,
        only: latest.registries.as_deref(),
    };
    let mut route = counting.route(image);
    let ended = |routed, target, route| Attempt { routed, target, route };
    if route.endless {
        return ended(Routed::Endless, String::new(), route);
    }
    let Some(mut last) = route.last() else {
        let routed = match route.cycles.is_empty() {
            true => Routed::NoPush,
            // What would lead away from it does not count.
            false => Routed::Own,
        };
        return ended(routed, String::new(), route);
    };
    if protected && route.links.is_empty() {
        return ended(Routed::Own, String::new(), route);
    }
    let mut target = route.end(image);
    let mut pinned = None;
    if latest.pin && image.digest().is_none() {
        let digest = last.digest();
        let with_digest = format!("{target}@{digest}");
        if let Ok(reference) = Reference::parse(&with_digest) {
            // Another tag may have the same, and lead on.
            let further = counting.route(&reference);
            if further.endless {
                return ended(Routed::Endless, String::new(), route);
            }
            last = further.last().unwrap_or(last);
            target = further.end(&reference);
            route.links.extend(further.links);
            pinned = Some(digest);
        }
    }
    let admits = |push: &Found<'_>| {
        let registry = snapshot.registries.get(push.registry);
        registry.is_some_and(|registry| registry.namespaces.admits(context.namespace, context.namespace_labels))
    };
    if !admits(&last) {
        return ended(Routed::NotAdmitted, target, route);
    }
    let written = normal(image);
    let never = pull_policy == Some("Never") && !latest.preloaded;
    if never && target != written {
        return ended(Routed::Never, target, route);
    }
    if snapshot.registries.is_unavailable(&target) {
        let next = match latest.on_unavailable {
            OnUnavailable::Keep => None,
            OnUnavailable::Next => counting.elsewhere(&route, image, &last, &target, pinned.as_deref(), admits),
        };
        match next {
            Some(next) => target = next,
            None => return ended(Routed::Unavailable, target, route),
        }
    }
    let routed = match target == written {
        true => Routed::Own,
        false => Routed::To,
    };
    ended(routed, target, route)
}

impl<'s> Counting<'s> {
    /// Whether a push into this target counts: the registry is there, and has it under its address.
    pub(super) fn counts(&self, push: &Found<'_>, target: &str) -> bool {
        let Some((host, path)) = target.split_once('/') else {
            return false;
        };
        // A tag or digest is in the last segment, which is no part of an organization.
        let registry = self.registries.get(push.registry);
        registry.is_some_and(|registry| registry.address.is_over_path(host, path.split('/')))
            && self
                .only
                .is_none_or(|only| only.iter().any(|id| **id == *push.registry))
    }

    /// Follows the latest push that counts, and that of what it leads to, until there is none or it is of an image in its own right. Of
    /// pushes that lead in a circle the latest does not count: wherever one begins, that is the same.
    pub(super) fn route(&self, image: &Reference<'_>) -> Route<'s> {
        let mut route = Route::default();
        let mut at: Option<String> = None;
        for _ in 0..MOST_STEPS {
            let next = match &at {
                None => self.next(image, &route.cycles),
                Some(text) => Reference::parse(text)
                    .ok()
                    .and_then(|image| self.next(&image, &route.cycles)),
            };
            let Some((push, target)) = next else {
                return route;
            };
            let text = at.take().unwrap_or_else(|| normal(image));
            if target == text {
                route.own = Some(push);
                return route;
            }
            let start = route.links.iter().position(|link| link.image == target);
            at = Some(target.clone());
            route.links.push(Link {
                image: text,
                push,
                target,
            });
            if let Some(start) = start {
                at = Some(route.drop_latest(start));
            }
        }
        route.endless = true;
        route
    }

    /// The latest push of an image that counts, and its target. Of an image with a digest each registry's latest is meant.
    fn next(&self, image: &Reference<'_>, cycles: &[Cycle]) -> Option<(Found<'s>, String)> {
        let mut seen: SmallVec<[&str; 4]> = SmallVec::new();
        self.pushes.find(image).into_iter().find_map(|push| {
            if seen.contains(&push.registry) {
                return None;
            }
            seen.push(push.registry);
            let dropped = |cycle: &Cycle| *cycle.registry == *push.registry && cycle.dropped == normal(image);
            if cycles.iter().any(dropped) {
                return None;
            }
            let target = push.target(image);
            self.counts(&push, &target).then_some((push, target))
        })
    }

    /// The next latest push of the same content, into a registry that is up and that leads nowhere else: never an older content.
    fn elsewhere(
        &self,
        route: &Route<'_>,
        image: &Reference<'_>,
        last: &Found<'_>,
        down: &str,
        pinned: Option<&str>,
        admits: impl Fn(&Found<'_>) -> bool,
    ) -> Option<String> {
        let mut best: Option<(Found<'_>, String)> = None;
        let mut consider = |image: &Reference<'_>| {
            for push in self.pushes.find(image) {
                let mut target = push.target(image);
                if let (Some(digest), None) = (pinned, image.digest()) {
                    target = format!("{target}@{digest}");
                }
                let fits = push.is_same_content(last)
                    && target != down
                    && best.as_ref().is_none_or(|(best, _)| push.rank() < best.rank())
                    && self.counts(&push, &target)
                    && !self.registries.is_unavailable(&target)
                    && admits(&push)
                    && Reference::parse(&target).is_ok_and(|target| {
                        let further = self.route(&target);
                        further.links.is_empty() && !further.endless
                    });
                if fits {
                    best = Some((push, target));
                }
            }
        };
        consider(image);
        for link in &route.links {
            if let Ok(image) = Reference::parse(&link.image) {
                consider(&image);
            }
        }
        best.map(|(_, target)| target)
    }
}

impl<'s> Route<'s> {
    /// The push that says what is at its end.
    pub(super) fn last(&self) -> Option<Found<'s>> {
        self.own.or(self.links.last().map(|link| link.push))
    }

    fn end(&self, image: &Reference<'_>) -> String {
        match self.links.last() {
            Some(link) => link.target.clone(),
            None => normal(image),
        }
    }

    /// Drops the latest push of the cycle that the links from `start` on are; the image that it is of.
    fn drop_latest(&mut self, start: usize) -> String {
        let cycle = &self.links[start..];
        let latest = (0..cycle.len())
            .min_by_key(|place| cycle[*place].push.rank())
            .unwrap_or(0);
        let image = cycle[latest].image.clone();
        self.cycles.push(Cycle {
            images: cycle.iter().map(|link| link.image.clone()).collect(),
            dropped: image.clone(),
            registry: cycle[latest].push.registry.into(),
        });
        self.links.truncate(start + latest);
        image
    }
}

/// So many pushes are followed or dropped. Somebody who copies and copies makes a chain of three.
const MOST_STEPS: usize = 32;
