//! Targets whose registries are down.

use super::*;

fn down(rules: &str, names: &[&str]) -> Snapshot {
    let mut snapshot = set_of(rules);
    let registered = names.iter().map(|name| Registered::unavailable(name).unwrap());
    snapshot.registries = Registries::new(registered.collect());
    snapshot
}

const LIST: &str = "- name: hub
  match: {images: ['docker.io/**']}
  rewrite: {to: ['a.io/{registry}/{repository}', 'b.io/x/{registry}/{repository}', 'c.io/{registry}/{repository}'], onUnavailable: next}
  pull: {policy: IfNotPresent, lower: true, secrets: [s]}
  warn: [mutableTag]
- {name: rest, rewrite: {prefix: z.io}}";

#[test]
fn the_first_target_of_the_list_that_is_up_is_used() {
    for (unavailable, expected) in [
        (&[][..], "rewritten a.io/docker.io/x/y:1 +s"),
        (&["b.io"], "rewritten a.io/docker.io/x/y:1 +s"),
        (&["a.io"], "rewritten b.io/x/docker.io/x/y:1 +s"),
        (&["A.io"], "rewritten b.io/x/docker.io/x/y:1 +s"),
        (&["a.io", "b.io/x"], "rewritten c.io/docker.io/x/y:1 +s"),
        // Another organization is another registry.
        (&["a.io", "b.io/other"], "rewritten b.io/x/docker.io/x/y:1 +s"),
        // Nothing is used but what is up, and no later rule is asked.
        (&["a.io", "b.io", "c.io"], "target_unavailable"),
    ] {
        assert_eq!(
            check(&down(LIST, unavailable), "x/y:1", &POD),
            expected,
            "without {unavailable:?}"
        );
    }
}

#[test]
fn unless_a_rule_says_next_the_image_is_kept_where_its_first_target_is_down() {
    for on_unavailable in ["", ", onUnavailable: keep"] {
        let rules = format!(
            "- {{name: hub, match: {{images: ['docker.io/**']}}, rewrite: {{to: ['a.io/{{registry}}/{{repository}}', \
             'b.io/{{registry}}/{{repository}}']{on_unavailable}}}, pull: {{policy: Always, secrets: [s]}}}}
- {{name: rest, rewrite: {{prefix: z.io}}}}"
        );
        assert_eq!(check(&down(&rules, &["a.io"]), "x/y", &POD), "target_unavailable");
        assert_eq!(
            check(&down(&rules, &["b.io"]), "x/y", &POD),
            "rewritten a.io/docker.io/x/y Always +s"
        );
    }
}

#[test]
fn an_image_under_any_target_is_a_target_whatever_is_up_or_down() {
    for unavailable in [&[][..], &["a.io"], &["b.io"], &["a.io", "b.io", "c.io", "z.io"]] {
        let snapshot = down(LIST, unavailable);
        for image in [
            "a.io/docker.io/x/y",
            "b.io/x/docker.io/x/y",
            "c.io/docker.io/x/y",
            "C.io/docker.io/x/y",
        ] {
            let always = Pod {
                pull_policy: Some("Always"),
                ..POD
            };
            assert_eq!(
                check(&snapshot, image, &always),
                "already_target IfNotPresent +s",
                "{image} without {unavailable:?}"
            );
        }
    }
    let kept = "- {name: hub, match: {images: ['docker.io/**']}, rewrite: {to: ['a.io/{registry}/{repository}', 'b.io/{registry}/{repository}']}}";
    assert_eq!(
        check(&down(kept, &["a.io"]), "b.io/docker.io/x/y", &POD),
        "already_target Always"
    );
}

#[test]
fn the_source_of_a_later_target_is_told_from_others_of_its_name() {
    let rules = "- {name: quay, match: {images: ['q.io/*', 'p.io/*']}, rewrite: {to: ['b.io/{registry}/{repository}']}}
- {name: hub, match: {images: ['h.io/docker.io/**']}, rewrite: {to: ['a.io/{repository}', 'b.io/{repository}'], onUnavailable: next}, pull: {secrets: [h]}}
- {name: own, match: {images: ['docker.io/**']}, keep: {}, pull: {policy: IfNotPresent, secrets: [own]}}";
    let snapshot = down(rules, &["a.io"]);
    assert_eq!(
        check(&snapshot, "h.io/docker.io/x/y", &POD),
        "rewritten b.io/docker.io/x/y Always +h"
    );
    for snapshot in [snapshot, down(rules, &["b.io"])] {
        assert_eq!(check(&snapshot, "b.io/docker.io/x/y", &POD), "already_target Always +h");
    }
}

#[test]
fn a_target_that_is_no_reference_ends_the_list() {
    let rules = "- {name: a, rewrite: {to: ['a.io/{registry}/{repository}', 'b.io/x/{repository}'], onUnavailable: next, sharedTarget: true}}";
    for (unavailable, expected) in [(&[][..], "invalid_target"), (&["a.io"], "invalid_target")] {
        assert_eq!(check(&down(rules, unavailable), "localhost:5000/x", &POD), expected);
    }
    let rules = "- {name: a, rewrite: {to: ['b.io/x/{repository}', 'a.io/{registry}/{repository}'], onUnavailable: next, sharedTarget: true}}";
    for (unavailable, expected) in [
        (&[][..], "rewritten b.io/x/y Always"),
        (&["b.io"], "invalid_target"),
        (&["b.io", "a.io"], "invalid_target"),
    ] {
        assert_eq!(check(&down(rules, unavailable), "localhost:5000/y", &POD), expected);
    }
}

#[test]
fn rules_that_deny_are_asked_about_the_target_that_is_used() {
    let rules = format!("- {{name: no, match: {{images: ['b.io/**']}}, deny: {{}}}}\n{LIST}");
    assert_eq!(
        check(&down(&rules, &[]), "x/y:1", &POD),
        "rewritten a.io/docker.io/x/y:1 +s"
    );
    assert_eq!(check(&down(&rules, &["a.io"]), "x/y:1", &POD), "denied");
    assert_eq!(
        check(&down(&rules, &["a.io", "b.io"]), "x/y:1", &POD),
        "rewritten c.io/docker.io/x/y:1 +s"
    );
}

#[test]
fn rules_in_mode_audit_tell_of_the_target_that_they_would_use() {
    let rules = LIST.replace("- {name: rest, rewrite: {prefix: z.io}}", "  mode: audit");
    for (unavailable, expected) in [
        (&[][..], r#"would_rewrite (hub Rewrite("a.io/docker.io/x/y"))"#),
        (&["a.io"], r#"would_rewrite (hub Rewrite("b.io/x/docker.io/x/y"))"#),
        (&["a.io", "b.io", "c.io"], "unmatched"),
    ] {
        assert_eq!(check(&down(&rules, unavailable), "x/y", &POD), expected);
    }
}

#[test]
fn what_is_not_rewritten_anyway_is_not_unavailable() {
    let snapshot = down(LIST, &["a.io", "b.io", "c.io", "z.io"]);
    let never = Pod {
        pull_policy: Some("Never"),
        ..POD
    };
    let out = Pod { opted_out: true, ..POD };
    assert_eq!(check(&snapshot, "x/y", &never), "pull_never");
    assert_eq!(check(&snapshot, "x/y", &out), "opted_out");
}

#[test]
fn docker_hub_may_be_a_target_that_is_down() {
    let rules = "- {name: a, match: {images: ['q.io/**']}, rewrite: {to: ['docker.io/{name}', 'b.io/{name}'], onUnavailable: next, sharedTarget: true}}";
    assert_eq!(
        check(&down(rules, &[]), "q.io/x", &POD),
        "rewritten docker.io/library/x Always"
    );
    for name in ["docker.io", "docker.io/library"] {
        assert_eq!(check(&down(rules, &[name]), "q.io/x", &POD), "rewritten b.io/x Always");
    }
}

#[test]
fn explaining_shows_every_target_that_was_tried() {
    let targets = |unavailable: &[&str]| {
        let snapshot = down(LIST, unavailable);
        let none = BTreeMap::new();
        let context = Context {
            namespace: "default",
            namespace_labels: &none,
            pod_labels: &none,
        };
        let image = Reference::parse("x/y").unwrap();
        let explanation = explain(&snapshot, &context, &image, None, false);
        let told = |tried: &Tried| {
            let targets = tried.targets.iter();
            let targets = targets.map(|target| format!("{} {}", target.target, target.verdict.as_str()));
            targets.collect::<Vec<_>>()
        };
        explanation.tried.iter().flat_map(told).collect::<Vec<_>>()
    };
    assert_eq!(targets(&[]), ["a.io/docker.io/x/y used"]);
    assert_eq!(
        targets(&["a.io"]),
        ["a.io/docker.io/x/y unavailable", "b.io/x/docker.io/x/y used"]
    );
    assert_eq!(
        targets(&["a.io", "b.io", "c.io"]),
        [
            "a.io/docker.io/x/y unavailable",
            "b.io/x/docker.io/x/y unavailable",
            "c.io/docker.io/x/y unavailable"
        ]
    );
}
