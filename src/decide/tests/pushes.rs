//! Images that were pushed.

use super::*;
use crate::{
    pushes::{Image, Index, Success},
    registry::{NamesSpec, NamespacesSpec, RegistrySpec},
    snapshot::{Trial, TrialPush},
};

const D1: &str = "sha256:1111111111111111111111111111111111111111111111111111111111111111";
const D2: &str = "sha256:2222222222222222222222222222222222222222222222222222222222222222";
const D3: &str = "sha256:3333333333333333333333333333333333333333333333333333333333333333";

fn digest(name: &str) -> Option<&'static str> {
    match name {
        "D1" => Some(D1),
        "D2" => Some(D2),
        "D3" => Some(D3),
        _ => None,
    }
}

/// With digests for their names.
pub(super) fn written(text: &str) -> String {
    text.replace("D1", D1).replace("D2", D2).replace("D3", D3)
}

fn spec(url: &str) -> RegistrySpec {
    RegistrySpec {
        url: Some(url.to_owned()),
        ..RegistrySpec::default()
    }
}

/// `a` at a.io, `b` at b.io/team, `flat` at flat.io for Docker Hub's images by their own names, `closed` at closed.io for the namespace `only`.
fn registered() -> Trial {
    let mut trial = Trial::default();
    trial.register("a", &spec("a.io")).unwrap();
    trial.register("b", &spec("b.io/team")).unwrap();
    let flat = RegistrySpec {
        names: Some(NamesSpec {
            to: "{repository}".to_owned(),
            from: Some("docker.io".to_owned()),
        }),
        ..spec("flat.io")
    };
    trial.register("flat", &flat).unwrap();
    let closed = RegistrySpec {
        namespaces: Some(NamespacesSpec {
            names: Some(vec!["only".to_owned()]),
            selector: None,
        }),
        ..spec("closed.io")
    };
    trial.register("closed", &closed).unwrap();
    trial
}

/// Each push as `image registry [digest]`, the later ones later.
pub(super) fn pushed(pushes: &str) -> Trial {
    let mut trial = registered();
    for push in pushes.split(';').map(str::trim).filter(|push| !push.is_empty()) {
        let mut words = push.split(' ');
        let (image, registry) = (words.next().unwrap(), words.next().unwrap());
        let push = TrialPush {
            image: &written(image),
            registry,
            digest: words.next().map(|name| digest(name).unwrap()),
            finished_at: None,
        };
        trial.push(push).unwrap();
    }
    trial
}

pub(super) fn with(rules: &str, settings: Settings, trial: &Trial) -> Snapshot {
    let mut snapshot = set_with(rules, settings);
    trial.apply(&mut snapshot);
    snapshot
}

/// What becomes of an image, with digests by their names.
fn told(snapshot: &Snapshot, image: &str, pod: &Pod<'_>) -> String {
    let told = check(snapshot, &written(image), pod);
    told.replace(D1, "D1").replace(D2, "D2").replace(D3, "D3")
}

fn becomes(pushes: &str, image: &str) -> String {
    told(&with("", Settings::default(), &pushed(pushes)), image, &POD)
}

#[test]
fn the_latest_push_decides_by_tag_and_by_digest() {
    for (pushes, image, expected) in [
        ("", "x/y:1", "unmatched"),
        ("x/y:1 a", "x/y:1", "rewritten a.io/docker.io/x/y:1 Always"),
        ("x/y:1 a", "x/y:2", "unmatched"),
        ("x/y:1 a", "x/y", "unmatched"),
        (
            "x/y:1 a; x/y:1 b",
            "x/y:1",
            "rewritten b.io/team/docker.io/x/y:1 Always",
        ),
        (
            "x/y:1 a; x/y:1 b; x/y:1 a",
            "x/y:1",
            "rewritten a.io/docker.io/x/y:1 Always",
        ),
        ("x/y:1 a; x/y:1 flat", "x/y:1", "rewritten flat.io/x/y:1 Always"),
        // However it is written.
        (
            "alpine a",
            "docker.io/library/alpine:latest",
            "rewritten a.io/docker.io/library/alpine:latest Always",
        ),
        (
            "Docker.io/library/alpine:latest a",
            "alpine",
            "rewritten a.io/docker.io/library/alpine Always",
        ),
        ("quay.io/x:1 a", "Quay.IO/x:1", "rewritten a.io/quay.io/x:1 Always"),
        // A digest is moved only to where it is.
        (
            "x/y:1 a D1; x/y:1 b D2",
            "x/y@D1",
            "rewritten a.io/docker.io/x/y@D1 Always",
        ),
        (
            "x/y:1 a D1; x/y:1 b D2",
            "x/y:1@D1",
            "rewritten a.io/docker.io/x/y:1@D1 Always",
        ),
        (
            "x/y:1 a D1; x/y:1 b D2",
            "x/y:1@D2",
            "rewritten b.io/team/docker.io/x/y:1@D2 Always",
        ),
        (
            "x/y:1 a D1; x/y:2 b D1",
            "x/y:3@D1",
            "rewritten b.io/team/docker.io/x/y:3@D1 Always",
        ),
        ("x/y:1 a D1", "x/y:1@D2", "unmatched"),
        ("x/y:1 a D1", "x/z@D1", "unmatched"),
        ("x/y@D1 a", "x/y@D1", "rewritten a.io/docker.io/x/y@D1 Always"),
        ("x/y@D1 a", "x/y", "unmatched"),
    ] {
        assert_eq!(becomes(pushes, image), expected, "{pushes} — {image}");
    }
}

#[test]
fn the_later_time_decides_and_of_the_same_the_greater_number() {
    let snapshot = |pushes: [(&str, i64, u64); 2]| {
        let mut snapshot = with("", Settings::default(), &registered());
        let image = Image::parse("x/y:1").unwrap();
        let pushes = pushes.map(|(registry, second, sequence)| {
            let success = Success {
                target: format!("{registry}.io/docker.io/x/y:1").into(),
                digest: D1.into(),
                platforms: Vec::new(),
                children: Vec::new(),
                finished_at: jiff::Timestamp::from_second(second).unwrap(),
                sequence,
            };
            (registry, success)
        });
        snapshot.pushes = Index::default().with(
            pushes
                .iter()
                .map(|(registry, success)| (&image, *registry, Some(success))),
        );
        snapshot
    };
    for (pushes, expected) in [
        ([("a", 2, 1), ("flat", 1, 2)], "rewritten a.io/docker.io/x/y:1 Always"),
        (
            [("a", 1, 1), ("flat", 1, 2)],
            "rewritten flat.io/docker.io/x/y:1 Always",
        ),
        ([("a", 1, 2), ("flat", 1, 1)], "rewritten a.io/docker.io/x/y:1 Always"),
    ] {
        assert_eq!(told(&snapshot(pushes), "x/y:1", &POD), expected);
    }
}

#[test]
fn pushes_are_followed_and_one_of_a_circle_does_not_count() {
    for (pushes, image, expected) in [
        // From sandbox to production.
        (
            "x/y:1 a; a.io/docker.io/x/y:1 b",
            "x/y:1",
            "rewritten b.io/team/a.io/docker.io/x/y:1 Always",
        ),
        (
            "a.io/docker.io/x/y:1 b; x/y:1 a",
            "x/y:1",
            "rewritten b.io/team/a.io/docker.io/x/y:1 Always",
        ),
        (
            "x/y:1 a; a.io/docker.io/x/y:1 b",
            "a.io/docker.io/x/y:1",
            "rewritten b.io/team/a.io/docker.io/x/y:1 Always",
        ),
        (
            "x/y:1 a; a.io/docker.io/x/y:1 b",
            "b.io/team/a.io/docker.io/x/y:1",
            "already_target Always",
        ),
        // In its own right, it is where it is.
        ("a.io/own:1 a", "a.io/own:1", "already_target Always"),
        (
            "a.io/own:1 a; a.io/own:1 b",
            "a.io/own:1",
            "rewritten b.io/team/a.io/own:1 Always",
        ),
        ("a.io/own:1 b; a.io/own:1 a", "a.io/own:1", "already_target Always"),
        (
            "a.io/own:1 b; a.io/own:1 a",
            "b.io/team/a.io/own:1",
            "already_target Always",
        ),
        // A digest goes along, or it does not.
        (
            "x/y:1 a D1; a.io/docker.io/x/y:1 b D2",
            "x/y:1@D1",
            "rewritten a.io/docker.io/x/y:1@D1 Always",
        ),
        (
            "x/y:1 a D1; a.io/docker.io/x/y:1 b D1",
            "x/y:1@D1",
            "rewritten b.io/team/a.io/docker.io/x/y:1@D1 Always",
        ),
    ] {
        assert_eq!(becomes(pushes, image), expected, "{pushes} — {image}");
    }
}

/// Two registries that have each other's images, by names that lead back.
fn circle(pushes: &str) -> Snapshot {
    let mut trial = Trial::default();
    let of = |url: &str, from: &str| RegistrySpec {
        names: Some(NamesSpec {
            to: "{repository}".to_owned(),
            from: Some(from.to_owned()),
        }),
        ..spec(url)
    };
    trial.register("p", &of("p.io", "q.io")).unwrap();
    trial.register("q", &of("q.io", "p.io")).unwrap();
    trial.register("r", &spec("r.io")).unwrap();
    for push in pushes.split(';') {
        let (image, registry) = push.trim().split_once(' ').unwrap();
        let push = TrialPush {
            image,
            registry,
            digest: None,
            finished_at: None,
        };
        // Where a name leads back, the image that it stands for is meant.
        trial.push(push).unwrap();
    }
    with("", Settings::default(), &trial)
}

#[test]
fn of_a_circle_the_latest_push_is_dropped_wherever_one_begins() {
    for (pushes, expected) in [
        (
            "q.io/x:1 p; p.io/x:1 q",
            [
                ("q.io/x:1", "rewritten p.io/x:1 Always"),
                ("p.io/x:1", "already_target Always"),
            ],
        ),
        (
            "p.io/x:1 q; q.io/x:1 p",
            [
                ("q.io/x:1", "already_target Always"),
                ("p.io/x:1", "rewritten q.io/x:1 Always"),
            ],
        ),
        (
            "p.io/x:1 r; q.io/x:1 p; p.io/x:1 q",
            [
                ("q.io/x:1", "rewritten r.io/p.io/x:1 Always"),
                ("p.io/x:1", "rewritten r.io/p.io/x:1 Always"),
            ],
        ),
        (
            "q.io/x:1 r; p.io/x:1 q; q.io/x:1 p",
            [
                ("q.io/x:1", "rewritten r.io/q.io/x:1 Always"),
                ("p.io/x:1", "rewritten r.io/q.io/x:1 Always"),
            ],
        ),
    ] {
        let snapshot = circle(pushes);
        for (image, expected) in expected {
            assert_eq!(told(&snapshot, image, &POD), expected, "{pushes} — {image}");
        }
    }
    let snapshot = circle("q.io/x:1 p; p.io/x:1 q; p.io/y:1 q");
    for (image, expected) in [
        ("p.io/x:1", true),
        ("q.io/x:1", true),
        ("p.io/y:1", false),
        ("q.io/y:1", false),
    ] {
        let found = cycle(&snapshot.pushes, &snapshot.registries, &Image::parse(image).unwrap());
        assert_eq!(found.is_some(), expected, "{image}");
        if let Some(mut found) = found {
            found.images.sort();
            assert_eq!(found.images, ["p.io/x:1", "q.io/x:1"]);
            assert_eq!((&*found.dropped, &*found.registry), ("p.io/x:1", "q"));
        }
    }
}

#[test]
fn pushes_into_registries_that_are_gone_or_elsewhere_do_not_count() {
    let trial = pushed("x/y:1 a; x/y:1 b");
    let snapshot = with("", Settings::default(), &trial);
    let keep = |wanted: &dyn Fn(&mut Registered) -> bool| {
        let registries = snapshot.registries.iter().cloned();
        let registries = registries.filter_map(|mut registry| wanted(&mut registry).then_some(registry));
        Snapshot {
            registries: Registries::new(registries.collect()),
            ..snapshot.clone()
        }
    };
    let moved = |host: &'static str, organization: &'static str| {
        keep(&|registry| {
            if &*registry.id == "b" {
                registry.address = Address {
                    host: host.into(),
                    organization: organization.into(),
                };
            }
            true
        })
    };
    let (of_a, of_b) = (
        "rewritten a.io/docker.io/x/y:1 Always",
        "rewritten b.io/team/docker.io/x/y:1 Always",
    );
    for (snapshot, expected) in [
        (keep(&|_| true), of_b),
        (keep(&|registry| &*registry.id != "b"), of_a),
        (keep(&|_| false), "unmatched"),
        (moved("c.io", "team"), of_a),
        (moved("b.io", "other"), of_a),
        (moved("b.io", ""), of_b),
    ] {
        assert_eq!(told(&snapshot, "x/y:1", &POD), expected);
    }
    // What it stands for is gone with it.
    let without = keep(&|registry| &*registry.id != "b");
    assert_eq!(told(&without, "b.io/team/docker.io/x/y:1", &POD), "unmatched");
    assert_eq!(
        told(&snapshot, "b.io/team/docker.io/x/y:1", &POD),
        "already_target Always"
    );
}

const LAST: &str = "- {name: hub, match: {images: ['docker.io/**']}, rewrite: {prefix: r.io}}";

#[test]
fn a_namespace_that_may_not_pull_there_falls_through() {
    let only = Pod {
        namespace: "only",
        ..POD
    };
    for (rules, pod, expected) in [
        ("", &only, "rewritten closed.io/docker.io/x/y:1 Always"),
        ("", &POD, "no_credential"),
        (LAST, &POD, "rewritten r.io/docker.io/x/y:1 Always"),
        (
            "- {name: own, rewrite: {latestPush: {registries: [a]}}}",
            &POD,
            "rewritten a.io/docker.io/x/y:1 Always",
        ),
        (
            "- {name: own, rewrite: {latestPush: {registries: [b]}}}",
            &POD,
            "no_credential",
        ),
    ] {
        let snapshot = with(rules, Settings::default(), &pushed("x/y:1 a; x/y:1 closed"));
        assert_eq!(told(&snapshot, "x/y:1", pod), expected, "{rules}");
    }
}

fn without_built_in() -> Settings {
    Settings {
        route_pushes: false,
        ..Settings::default()
    }
}

#[test]
fn an_explicit_rule_says_which_pushes_count_and_that_there_is_none() {
    let rules = "- {name: own, match: {images: ['docker.io/**']}, rewrite: {latestPush: {registries: [a, flat]}}, pull: {policy: IfNotPresent, secrets: [s]}}";
    for (pushes, image, expected) in [
        ("x/y:1 a; x/y:1 b", "x/y:1", "rewritten a.io/docker.io/x/y:1 +s"),
        ("x/y:1 b", "x/y:1", "no_push"),
        ("", "x/y:1", "no_push"),
        ("quay.io/x:1 a", "quay.io/x:1", "unmatched"),
        // Targets are treated as their sources are.
        ("x/y:1 a", "a.io/docker.io/x/y:1", "already_target +s"),
        // The target of a push that this rule does not look at.
        ("x/y:1 a; x/y:1 b", "b.io/team/docker.io/x/y:1", "already_target +s"),
    ] {
        let snapshot = with(rules, without_built_in(), &pushed(pushes));
        assert_eq!(told(&snapshot, image, &POD), expected, "{pushes} — {image}");
    }
    let with_rest = format!("{rules}\n{LAST}");
    let snapshot = with(&with_rest, without_built_in(), &pushed(""));
    assert_eq!(told(&snapshot, "x/y:1", &POD), "rewritten r.io/docker.io/x/y:1 Always");
    // Where no rule leads to pushes, they are nothing.
    let snapshot = with("", without_built_in(), &pushed("x/y:1 a"));
    for image in ["x/y:1", "a.io/docker.io/x/y:1"] {
        assert_eq!(told(&snapshot, image, &POD), "unmatched");
    }
}

#[test]
fn a_registry_that_is_down_is_made_up_for_by_the_same_content_only() {
    let rule = |settings: &str| format!("- {{name: own, rewrite: {{latestPush: {{}}{settings}}}}}\n{LAST}");
    for (settings, pushes, down, expected) in [
        ("", "x/y:1 a D1; x/y:1 b D1", "b", "target_unavailable"),
        (
            ", onUnavailable: keep",
            "x/y:1 a D1; x/y:1 b D1",
            "b",
            "target_unavailable",
        ),
        (
            ", onUnavailable: next",
            "x/y:1 a D1; x/y:1 b D1",
            "b",
            "rewritten a.io/docker.io/x/y:1 Always",
        ),
        (
            ", onUnavailable: next",
            "x/y:1 a D1; x/y:1 b D2",
            "b",
            "target_unavailable",
        ),
        (
            ", onUnavailable: next",
            "x/y:1 a D1; x/y:1 flat D1; x/y:1 b D1",
            "b",
            "rewritten flat.io/x/y:1 Always",
        ),
        (
            ", onUnavailable: next",
            "x/y:1 a D1; x/y:1 closed D1; x/y:1 b D1",
            "b",
            "rewritten a.io/docker.io/x/y:1 Always",
        ),
        (
            ", onUnavailable: next",
            "x/y:1 a D1; x/y:1 b D1",
            "a",
            "rewritten b.io/team/docker.io/x/y:1 Always",
        ),
        (
            ", onUnavailable: next, pin: true",
            "x/y:1 a D1; x/y:1 b D1",
            "b",
            "rewritten a.io/docker.io/x/y:1@D1 Always",
        ),
        // What is copied on is made up for by what it was copied from.
        (
            ", onUnavailable: next",
            "x/y:1 flat D1; flat.io/x/y:1 b D1; x/y:1 a D1",
            "b",
            "rewritten a.io/docker.io/x/y:1 Always",
        ),
    ] {
        let mut trial = pushed(pushes);
        trial.down(down).unwrap();
        let snapshot = with(&rule(settings), without_built_in(), &trial);
        assert_eq!(
            told(&snapshot, "x/y:1", &POD),
            expected,
            "{settings} {pushes} without {down}"
        );
    }
    let mut trial = pushed("x/y:1 a; x/y:1 b");
    trial.down("b").unwrap();
    let snapshot = with(LAST, Settings::default(), &trial);
    assert_eq!(told(&snapshot, "x/y:1", &POD), "target_unavailable");
    let decision = decide(
        &snapshot,
        &context(&BTreeMap::new()),
        &Reference::parse("x/y:1").unwrap(),
        None,
        false,
    );
    assert_eq!(decision.unavailable.as_deref(), Some("b.io/team/docker.io/x/y:1"));
    assert_eq!(
        decision.rule.map(|rule| snapshot.policies.rule(rule).id()),
        Some("waypost/latest-push")
    );
}

fn context(labels: &BTreeMap<String, String>) -> Context<'_> {
    Context {
        namespace: "default",
        namespace_labels: labels,
        pod_labels: labels,
    }
}

#[test]
fn a_pinned_image_has_the_digest_that_was_pushed() {
    let pin = Settings {
        pin_pushes: true,
        ..Settings::default()
    };
    for (pushes, image, expected) in [
        ("x/y:1 a D1", "x/y:1", "rewritten a.io/docker.io/x/y:1@D1 Always"),
        ("x/y a D1", "x/y", "rewritten a.io/docker.io/x/y@D1 Always"),
        ("x/y:1 a D1", "x/y:1@D1", "rewritten a.io/docker.io/x/y:1@D1 Always"),
        ("x/y:1 a D1", "a.io/docker.io/x/y:1@D1", "already_target Always"),
        ("a.io/own:1 a D1", "a.io/own:1", "rewritten a.io/own:1@D1 Always"),
        ("a.io/own:1 a D1", "a.io/own:1@D1", "already_target Always"),
        (
            "x/y:1 a D1; a.io/docker.io/x/y:1 b D2",
            "x/y:1",
            "rewritten b.io/team/a.io/docker.io/x/y:1@D2 Always",
        ),
        // The same is under another tag elsewhere, and followed at once.
        (
            "x/y:1 a D1; a.io/docker.io/x/y:2 b D1",
            "x/y:1",
            "rewritten b.io/team/a.io/docker.io/x/y:1@D1 Always",
        ),
    ] {
        let snapshot = with("", pin.clone(), &pushed(pushes));
        assert_eq!(told(&snapshot, image, &POD), expected, "{pushes} — {image}");
    }
}

#[test]
fn what_rules_that_come_first_say_holds() {
    let trial = pushed("x/y:1 a; evil/x:1 a; x/z:1 b; ghcr.io/cloudnative-pg/postgresql:17 a");
    let rules = "- {name: no-image, match: {images: ['docker.io/evil/*']}, deny: {}}
- {name: no-target, match: {images: ['b.io/**']}, deny: {}}
- {name: keep, keep: {}}";
    let snapshot = with(rules, Settings::default(), &trial);
    let out = Pod { opted_out: true, ..POD };
    let never = Pod {
        pull_policy: Some("Never"),
        ..POD
    };
    let cnpg = Pod {
        labels: &[("cnpg.io/cluster", "db")],
        ..POD
    };
    for (image, pod, expected) in [
        ("x/y:1", &POD, "rewritten a.io/docker.io/x/y:1 Always"),
        ("x/y:2", &POD, "kept"),
        ("evil/x:1", &POD, "denied"),
        ("x/z:1", &POD, "denied"),
        ("x/y:1", &out, "opted_out"),
        ("evil/x:1", &out, "denied"),
        ("x/y:1", &never, "pull_never"),
        ("x/y:2", &never, "kept"),
        ("a.io/docker.io/x/y:1", &never, "already_target"),
        ("ghcr.io/cloudnative-pg/postgresql:17", &cnpg, "kept"),
        (
            "ghcr.io/cloudnative-pg/postgresql:17",
            &POD,
            "rewritten a.io/ghcr.io/cloudnative-pg/postgresql:17 Always",
        ),
    ] {
        assert_eq!(told(&snapshot, image, pod), expected, "{image}");
    }
    let preloaded = "- {name: own, rewrite: {latestPush: {}, preloaded: true}}";
    let snapshot = with(preloaded, without_built_in(), &trial);
    assert_eq!(
        told(&snapshot, "x/y:1", &never),
        "rewritten a.io/docker.io/x/y:1 Always"
    );
}

#[test]
fn rules_in_mode_audit_tell_where_they_would_pull_from() {
    let rules = "- {name: own, mode: audit, rewrite: {latestPush: {}}}";
    for (pushes, image, expected) in [
        (
            "x/y:1 a",
            "x/y:1",
            r#"would_rewrite (own Rewrite("a.io/docker.io/x/y:1"))"#,
        ),
        ("x/y:1 closed", "x/y:1", "unmatched"),
        ("x/y:1 a", "x/y:2", "unmatched"),
        ("", "x/y:1", "unmatched"),
        ("x/y:1 a", "a.io/docker.io/x/y:1", "unmatched"),
    ] {
        let snapshot = with(rules, without_built_in(), &pushed(pushes));
        assert_eq!(told(&snapshot, image, &POD), expected, "{pushes} — {image}");
    }
}

#[test]
fn a_target_of_a_rule_that_was_pushed_on_is_followed() {
    let pushes = "r.io/docker.io/x/y:1 a";
    let snapshot = with(LAST, Settings::default(), &pushed(pushes));
    for (image, expected) in [
        ("r.io/docker.io/x/y:1", "rewritten a.io/r.io/docker.io/x/y:1 Always"),
        ("x/y:1", "rewritten a.io/r.io/docker.io/x/y:1 Always"),
        ("x/y:2", "rewritten r.io/docker.io/x/y:2 Always"),
        ("a.io/r.io/docker.io/x/y:1", "already_target Always"),
        ("r.io/docker.io/x/y:2", "already_target Always"),
    ] {
        assert_eq!(told(&snapshot, image, &POD), expected, "{image}");
    }
    // A rule that comes before the latest push.
    let first = format!("{LAST}\n- {{name: own, match: {{images: ['quay.io/**']}}, rewrite: {{latestPush: {{}}}}}}");
    let snapshot = with(&first, without_built_in(), &pushed(pushes));
    assert_eq!(told(&snapshot, "r.io/docker.io/x/y:1", &POD), "already_target Always");
    assert_eq!(told(&snapshot, "x/y:1", &POD), "rewritten r.io/docker.io/x/y:1 Always");
}

#[test]
fn what_was_pushed_is_no_other_rules_to_rewrite() {
    let rules =
        "- {name: all, match: {images: ['a.io/**', 'docker.io/**']}, rewrite: {prefix: r.io}, pull: {secrets: [all]}}";
    let snapshot = with(rules, Settings::default(), &pushed("x/y:1 a"));
    for (image, expected) in [
        ("x/y:1", "rewritten a.io/docker.io/x/y:1 Always"),
        ("a.io/docker.io/x/y:1", "already_target Always"),
        ("A.io/docker.io/x/y:1", "already_target Always"),
        (
            "a.io/docker.io/x/y:2",
            "rewritten r.io/a.io/docker.io/x/y:2 Always +all",
        ),
    ] {
        assert_eq!(told(&snapshot, image, &POD), expected, "{image}");
    }
}

#[test]
fn rules_that_lead_in_a_circle_lead_nowhere() {
    let rules = "- {name: there, match: {images: ['p.io/**']}, rewrite: {latestPush: {registries: [q]}}}
- {name: back, match: {images: ['q.io/**']}, rewrite: {latestPush: {registries: [p]}}}
- {name: into, match: {images: ['docker.io/**']}, rewrite: {to: ['p.io/{name}'], sharedTarget: true}}";
    let mut snapshot = circle("q.io/x:1 p; p.io/x:1 q");
    snapshot.policies = with(rules, without_built_in(), &Trial::default()).policies;
    for image in ["p.io/x:1", "q.io/x:1", "y/x:1"] {
        assert_eq!(told(&snapshot, image, &POD), "no_push", "{image}");
    }
    assert_eq!(told(&snapshot, "y/x:2", &POD), "rewritten p.io/x:2 Always");
}

#[test]
fn explaining_shows_what_was_pushed_where_and_why_that_does_not_count() {
    let explained = |pushes: &str, image: &str, namespace: &str| {
        let snapshot = with(LAST, Settings::default(), &pushed(pushes));
        let none = BTreeMap::new();
        let context = Context {
            namespace,
            ..context(&none)
        };
        let image = written(image);
        let explanation = explain(&snapshot, &context, &Reference::parse(&image).unwrap(), None, false);
        let rules = explanation.tried.iter();
        let mut told =
            rules.filter(|tried| ["waypost/latest-push", "p/hub"].contains(&snapshot.policies.rule(tried.rule).id()));
        let told: Vec<String> = told
            .by_ref()
            .map(|tried| {
                let pushes = tried
                    .pushes
                    .iter()
                    .map(|push| format!(" {}>{}:{}", push.image, push.registry, push.target));
                format!(
                    "{}{}{}",
                    tried.verdict.as_str(),
                    pushes.collect::<String>(),
                    tried.why_not.map_or("", |_| " because")
                )
            })
            .collect();
        told.join(", ")
    };
    for (pushes, image, namespace, expected) in [
        ("", "x/y:1", "default", "falls_through because, decides"),
        (
            "x/y:1 a",
            "x/y:1",
            "default",
            "decides docker.io/x/y:1>a:a.io/docker.io/x/y:1, not_reached",
        ),
        (
            "x/y:1 closed",
            "x/y:1",
            "default",
            "falls_through docker.io/x/y:1>closed:closed.io/docker.io/x/y:1 because, decides",
        ),
        (
            "x/y:1 a; a.io/docker.io/x/y:1 b",
            "x/y:1",
            "default",
            "decides docker.io/x/y:1>a:a.io/docker.io/x/y:1 a.io/docker.io/x/y:1>b:b.io/team/a.io/docker.io/x/y:1, not_reached",
        ),
        (
            "r.io/docker.io/x/y:1 a",
            "x/y:1",
            "default",
            "decides_on_target because, decides",
        ),
        (
            "a.io/own:1 a",
            "a.io/own:1",
            "default",
            "decides_on_source a.io/own:1>a:a.io/own:1 because, not_reached",
        ),
    ] {
        assert_eq!(explained(pushes, image, namespace), expected, "{pushes} — {image}");
    }
}

fn latest_rule(number: usize) -> impl Strategy<Value = String> {
    let images = prop::sample::select(vec![
        "",
        "images: ['docker.io/**'],",
        "images: ['a.io/**', 'b.io/**'],",
        "images: ['r.io/**'],",
        "exceptImages: ['docker.io/**'],",
    ]);
    let registries = prop::sample::select(vec![
        "{}",
        "{registries: [a]}",
        "{registries: [b, p]}",
        "{registries: [q]}",
    ]);
    let more = prop::sample::select(vec![
        "",
        ", pin: true",
        ", onUnavailable: next",
        ", onUnavailable: next, pin: true",
        ", preloaded: true",
    ]);
    let mode = prop::sample::select(vec!["enforce", "enforce", "enforce", "audit"]);
    (images, registries, more, mode).prop_map(move |(images, registries, more, mode)| {
        format!("- {{name: r{number}, mode: {mode}, match: {{{images}}}, rewrite: {{latestPush: {registries}{more}}}}}")
    })
}

fn any_rules() -> impl Strategy<Value = Vec<String>> {
    let any = |number| prop_oneof![2 => latest_rule(number), 1 => rule(number)];
    (any(0), any(1), any(2)).prop_map(|(one, two, three)| vec![one, two, three])
}

fn any_trial() -> impl Strategy<Value = Trial> {
    let name = prop::sample::select(vec![
        "docker.io/x/y",
        "docker.io/library/alpine",
        "a.io/docker.io/x/y",
        "a.io/own",
        "b.io/team/own",
        "p.io/x",
        "q.io/x",
        "r.io/docker.io/x/y",
        "s.io/x/y",
        "b.io/team/a.io/own",
    ]);
    let tag = prop::sample::select(vec![":1", ":2", ""]);
    let registry = prop::sample::select(vec!["a", "b", "closed", "p", "q", "flat"]);
    let pushed = prop::sample::select(vec![D1, D2]);
    let push = (name, tag, registry, pushed)
        .prop_map(|(name, tag, registry, digest)| (format!("{name}{tag}"), registry, digest));
    let down = prop::sample::subsequence(vec!["a", "b", "p", "q", "r.io", "s.io"], 0..3);
    (prop::collection::vec(push, 0..12), down).prop_map(|(pushes, down)| {
        let mut trial = registered();
        for (id, from) in [("p", "q.io"), ("q", "p.io")] {
            let names = NamesSpec {
                to: "{repository}".to_owned(),
                from: Some(from.to_owned()),
            };
            let spec = RegistrySpec {
                names: Some(names),
                ..spec(&format!("{id}.io"))
            };
            trial.register(id, &spec).unwrap();
        }
        for (image, registry, digest) in &pushes {
            // Some have no name there.
            let _ = trial.push(TrialPush {
                image,
                registry,
                digest: Some(digest),
                finished_at: None,
            });
        }
        for name in down {
            trial.down(name).unwrap();
        }
        trial
    })
}

fn any_image() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "x/y",
        "alpine",
        "a.io/docker.io/x/y",
        "a.io/own",
        "b.io/team/own",
        "b.io/team/a.io/own",
        "p.io/x",
        "q.io/x",
        "r.io/docker.io/x/y",
        "flat.io/x/y",
        "A.io/own",
    ]);
    let suffix = prop::sample::select(vec!["", ":1", ":2", "@D1", ":1@D1", ":1@D2"]);
    (name, suffix).prop_map(|(name, suffix)| written(&format!("{name}{suffix}")))
}

proptest! {
    #![proptest_config(ProptestConfig { max_global_rejects: 20_000, ..ProptestConfig::with_cases(600) })]

    #[test]
    fn deciding_on_what_was_decided_by_pushes_changes_nothing(
        rules in any_rules(),
        built_in in any::<bool>(),
        pin in any::<bool>(),
        trial in any_trial(),
        image in any_image(),
        present in prop::sample::select(vec!["Always", "IfNotPresent", "Never"]),
    ) {
        let settings = Settings { route_pushes: built_in, pin_pushes: pin, ..Settings::default() };
        let Some(mut snapshot) = set_of_each_with(&rules, settings) else { return Err(TestCaseError::reject("has errors")) };
        trial.apply(&mut snapshot);
        let none = BTreeMap::new();
        let context = context(&none);
        let reference = Reference::parse(&image).unwrap();
        let first = decide(&snapshot, &context, &reference, Some(present), false);
        let Some(target) = &first.target else {
            prop_assert_ne!(first.outcome, Outcome::Rewritten);
            return Ok(());
        };
        prop_assert!(!snapshot.registries.is_unavailable(target), "{} -> {}", image, target);
        if reference.digest().is_some() {
            prop_assert!(target.ends_with(reference.suffix()), "{} -> {}", image, target);
        }
        let policy = first.pull.policy_for(Some(present)).unwrap_or(present);
        let again = Reference::parse(target).unwrap();
        let second = decide(&snapshot, &context, &again, Some(policy), false);
        prop_assert!(second.target.is_none(), "{} -> {} -> {:?}", image, target, second);
        prop_assert_ne!(second.outcome, Outcome::Denied, "{} -> {}", image, target);
        prop_assert_eq!(second.pull.policy_for(Some(policy)), None, "{} -> {}", image, target);
        let explanation = explain(&snapshot, &context, &reference, Some(present), false);
        prop_assert_eq!(&explanation.decision.target, &first.target);
        let by = explanation.tried.iter().find(|tried| Some(tried.rule) == first.rule).unwrap();
        prop_assert!(matches!(by.verdict, Verdict::Decides | Verdict::DecidesOnTarget), "{} {:?}", image, by);
    }

    #[test]
    fn which_push_of_a_circle_is_dropped_does_not_depend_on_where_one_begins(trial in any_trial()) {
        let mut snapshot = Snapshot::empty();
        trial.apply(&mut snapshot);
        for name in ["docker.io/x/y", "a.io/own", "p.io/x", "q.io/x", "b.io/team/a.io/own"] {
            for tag in [":1", ":2", ":latest"] {
                let image = Image::parse(&format!("{name}{tag}")).unwrap();
                if let Some(found) = cycle(&snapshot.pushes, &snapshot.registries, &image) {
                    for other in &found.images {
                        let other = cycle(&snapshot.pushes, &snapshot.registries, &Image::parse(other).unwrap()).unwrap();
                        prop_assert_eq!((&other.dropped, &other.registry), (&found.dropped, &found.registry));
                        prop_assert_eq!(other.images.len(), found.images.len());
                    }
                }
            }
        }
    }
}
