//! Images that are replicated.

use super::{pushes::*, *};

/// By which rule the image is replicated, or why it is not.
fn replicated(snapshot: &Snapshot, image: &str, pod: &Pod<'_>) -> String {
    let labels = BTreeMap::new();
    let context = Context {
        namespace: pod.namespace,
        namespace_labels: &labels,
        pod_labels: &labels,
    };
    let image = written(image);
    let explanation = explain(
        snapshot,
        &context,
        &Reference::parse(&image).unwrap(),
        pod.pull_policy,
        pod.opted_out,
    );
    let result = explanation.replicated;
    assert_eq!(
        explanation.decision.replicate,
        result.and_then(|(rule, result)| result.ok().map(|()| rule)),
        "{image}: what is explained is what is decided"
    );
    match result {
        None => "-".to_owned(),
        Some((rule, result)) => {
            let name = snapshot.policies.rule(rule).name();
            result.map_or_else(|why| format!("{name}: {why:?}"), |()| name.to_owned())
        }
    }
}

const ALL: &str = "- {name: all, match: {images: ['*/**']}, replicate: {registry: a}}";

fn becomes(rules: &str, pushes: &str, image: &str, pod: &Pod<'_>) -> String {
    replicated(&with(rules, Settings::default(), &pushed(pushes)), image, pod)
}

#[test]
fn the_first_rule_that_matches_and_replicates_counts_whichever_decides() {
    let rules = "- {name: kept, match: {images: ['docker.io/kept/**']}, keep: {}}
- {name: moved, match: {images: ['docker.io/moved/**']}, rewrite: {prefix: far.io}, replicate: {registry: b}}
- {name: watched, mode: audit, match: {images: ['docker.io/watched/**']}, replicate: {registry: b}}
- {name: hub, match: {images: ['docker.io/**'], exceptImages: ['docker.io/private/**']}, replicate: {registry: a}}
- {name: regex, match: {images: [{regex: 'docker\\.io/private/(x|y)'}]}, replicate: {registry: b}}";
    for (image, expected) in [
        ("alpine", "hub"),
        ("kept/app:1", "hub"),
        ("moved/app:1", "moved"),
        ("watched/app:1", "hub"),
        ("private/x", "regex"),
        ("private/z", "-"),
        ("quay.io/app", "-"),
        // As it is called now, it is pulled from b.
        ("pushed/app:1", "hub"),
    ] {
        assert_eq!(becomes(rules, "pushed/app:1 b", image, &POD), expected, "{image}");
    }
}

#[test]
fn who_runs_nothing_or_may_not_pull_from_there_has_nothing_replicated() {
    let rules = "- {name: no, match: {images: ['docker.io/evil/**']}, deny: {}}
- {name: closed, match: {images: ['quay.io/**']}, replicate: {registry: closed}}
- {name: nowhere, match: {images: ['gcr.io/**']}, replicate: {registry: nowhere}}
- {name: all, match: {images: ['*/**']}, replicate: {registry: a}}";
    let out = Pod { opted_out: true, ..POD };
    let only = Pod {
        namespace: "only",
        ..POD
    };
    let never = Pod {
        pull_policy: Some("Never"),
        ..POD
    };
    for (image, pod, expected) in [
        ("alpine", &POD, "all"),
        ("alpine", &out, "all: NotRun"),
        ("alpine", &never, "all: PullNever"),
        ("evil/x", &POD, "all: NotRun"),
        ("quay.io/x", &POD, "closed: NotAdmitted"),
        ("quay.io/x", &only, "closed"),
        ("gcr.io/x", &POD, "nowhere: UnknownRegistry"),
        // A preset exempts it.
        ("auto", &POD, "-"),
    ] {
        assert_eq!(becomes(rules, "", image, pod), expected, "{image}");
    }
}

#[test]
fn what_is_a_target_or_in_the_registry_already_is_not_replicated() {
    let moving = "- {name: hub, match: {images: ['docker.io/**']}, rewrite: {prefix: far.io}}
- {name: cached, match: {images: ['quay.io/**']}, rewrite: {prefix: a.io/cache}}
- {name: all, match: {images: ['*/**']}, replicate: {registry: a}}";
    for (rules, pushes, image, expected) in [
        (ALL, "", "a.io/x:1", "all: InRegistry"),
        (ALL, "", "A.io/x:1", "all: InRegistry"),
        (ALL, "", "b.io/team/x:1", "all"),
        // The target of another's push.
        (ALL, "x/y:1 b", "b.io/team/docker.io/x/y:1", "all: AlreadyTarget"),
        // Pushed as itself.
        (ALL, "b.io/team/x:1 b", "b.io/team/x:1", "all"),
        (moving, "", "alpine", "all"),
        (moving, "", "far.io/docker.io/library/alpine", "all: AlreadyTarget"),
        (moving, "", "quay.io/x:1", "all: InRegistry"),
        // By a push of its own, whose tag may have moved.
        (moving, "quay.io/x:1 a", "quay.io/x:1", "all"),
        (ALL, "x/y:1 a", "x/y:1", "all"),
        (ALL, "x/y:1 a; x/y:1 b", "x/y:1", "all"),
        // By a push of what it was pushed to.
        (ALL, "x/y:1 b; b.io/team/docker.io/x/y:1 a", "x/y:1", "all: InRegistry"),
        // Digests never move.
        (ALL, "x/y:1 a D1", "x/y@D1", "all: HasDigest"),
        (ALL, "x/y:1 a D1", "x/y:7@D1", "all: HasDigest"),
        (ALL, "x/y:1 a D1", "x/y:1@D2", "all"),
        (ALL, "x/y:1 b D1", "x/y@D1", "all"),
    ] {
        assert_eq!(becomes(rules, pushes, image, &POD), expected, "{image} after {pushes}");
    }
}

proptest! {
    #[test]
    fn what_a_pod_is_given_is_never_replicated_on(
        image in "(quay\\.io/|b\\.io/team/|a\\.io/)?[xy](:1)?",
        pushes in "((x:1|quay\\.io/x:1|b\\.io/team/x:1|y) (a|b); ){0,4}",
    ) {
        let rules = "- {name: moved, match: {images: ['quay.io/**']}, rewrite: {prefix: far.io}}
- {name: all, match: {images: ['*/**']}, replicate: {registry: a}}";
        let snapshot = with(rules, Settings::default(), &pushed(&pushes));
        let labels = BTreeMap::new();
        let context = Context { namespace: "default", namespace_labels: &labels, pod_labels: &labels };
        let decision = decide(&snapshot, &context, &Reference::parse(&image).unwrap(), None, false);
        if let Some(target) = decision.target {
            let again = decide(&snapshot, &context, &Reference::parse(&target).unwrap(), None, false);
            prop_assert_eq!(again.replicate, None, "{} of {} after {}", target, image, pushes);
        }
    }
}
