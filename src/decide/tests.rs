mod pushes;
mod replicate;
mod unavailable;

use std::{collections::BTreeMap, sync::Arc};

use proptest::prelude::*;

use super::*;
use crate::{
    document::{Source, render},
    policy::{Input, PresetChoice, Settings, compile},
    registry::{Address, Admitted},
    snapshot::Registered,
};

fn set_of(rules: &str) -> Snapshot {
    set_with(rules, Settings::default())
}

fn set_with(rules: &str, settings: Settings) -> Snapshot {
    let mut text =
        String::from("apiVersion: waypost.dev/v1alpha1\nkind: Policy\nmetadata: {name: p}\nspec:\n  rules:\n");
    if rules.is_empty() {
        text.push_str("    []");
    }
    for line in rules.lines() {
        text.push_str(&format!("    {line}\n"));
    }
    let presets = vec![PresetChoice {
        name: "exempt-operators".to_owned(),
        values: BTreeMap::new(),
    }];
    let compiled = compile(&Input {
        sources: vec![Source::new("p", text)],
        presets,
        settings,
    });
    match compiled.set {
        Some(set) => Snapshot::new(Arc::new(set), 1),
        None => panic!("{}", render::text(&compiled.diagnostics, false)),
    }
}

struct Pod<'a> {
    namespace: &'a str,
    labels: &'a [(&'a str, &'a str)],
    pull_policy: Option<&'a str>,
    opted_out: bool,
}

const POD: Pod<'_> = Pod {
    namespace: "default",
    labels: &[],
    pull_policy: Some("IfNotPresent"),
    opted_out: false,
};

fn check(snapshot: &Snapshot, image: &str, pod: &Pod<'_>) -> String {
    let labels: BTreeMap<String, String> = pod
        .labels
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    let none = BTreeMap::new();
    let context = Context {
        namespace: pod.namespace,
        namespace_labels: &none,
        pod_labels: &labels,
    };
    let reference = Reference::parse(image).unwrap();
    let decision = explain(snapshot, &context, &reference, pod.pull_policy, pod.opted_out).decision;
    let mut told = decision.outcome.as_str().to_owned();
    if let Some(target) = &decision.target {
        told.push(' ');
        told.push_str(target);
    }
    if let Some(policy) = decision.pull.policy_for(pod.pull_policy) {
        told.push(' ');
        told.push_str(policy);
    }
    for secret in decision.pull.secrets {
        told.push_str(" +");
        told.push_str(secret);
    }
    for observed in &decision.observed {
        told.push_str(&format!(
            " ({} {:?})",
            snapshot.policies.rule(observed.rule).name(),
            observed.would
        ));
    }
    told
}

fn decided(rules: &str, image: &str) -> String {
    check(&set_of(rules), image, &POD)
}

#[test]
fn the_first_rule_that_decides_wins() {
    let rules = "- {name: own, match: {images: ['docker.io/myorg/**']}, keep: {}}
- {name: hub, match: {images: ['docker.io/**']}, rewrite: {prefix: r.io}}
- {name: rest, rewrite: {to: ['s.io/{registry}/{repository}']}}";
    assert_eq!(decided(rules, "myorg/app:1"), "kept");
    assert_eq!(
        decided(rules, "alpine:3"),
        "rewritten r.io/docker.io/library/alpine:3 Always"
    );
    assert_eq!(decided(rules, "quay.io/a"), "rewritten s.io/quay.io/a Always");
    assert_eq!(
        decided("- {name: a, match: {images: ['a.io/**']}, keep: {}}", "alpine"),
        "unmatched"
    );
}

#[test]
fn rules_that_deny_come_before_all_and_opting_out_does_not_stop_them() {
    let rules = "- {name: keep, match: {images: ['docker.io/**']}, keep: {}}
- {name: no, match: {images: ['docker.io/evil/*']}, deny: {}}
- {name: all, rewrite: {prefix: r.io}}";
    let set = set_of(rules);
    let out = Pod { opted_out: true, ..POD };
    assert_eq!(check(&set, "evil/x", &POD), "denied");
    assert_eq!(check(&set, "evil/x", &out), "denied");
    assert_eq!(check(&set, "alpine", &out), "opted_out");
}

#[test]
fn conditions_are_all_needed() {
    let set = set_of(
        "- name: a
  match:
    images: ['docker.io/**']
    exceptImages: ['docker.io/private/*']
    namespaces: ['reana-*']
    exceptNamespaces: ['reana-system']
    podSelector: {matchLabels: {app: x}}
  rewrite: {prefix: r.io}",
    );
    let fits = Pod {
        namespace: "reana-1",
        labels: &[("app", "x")],
        ..POD
    };
    assert!(check(&set, "alpine", &fits).starts_with("rewritten"));
    assert_eq!(check(&set, "private/x", &fits), "unmatched");
    assert_eq!(check(&set, "quay.io/x", &fits), "unmatched");
    assert_eq!(
        check(
            &set,
            "alpine",
            &Pod {
                namespace: "other",
                ..fits
            }
        ),
        "unmatched"
    );
    assert_eq!(
        check(
            &set,
            "alpine",
            &Pod {
                namespace: "reana-system",
                ..fits
            }
        ),
        "unmatched"
    );
    assert_eq!(check(&set, "alpine", &Pod { labels: &[], ..fits }), "unmatched");
}

#[test]
fn rules_in_mode_warn_and_audit_are_recorded_and_evaluation_goes_on() {
    let rules = "- {name: w, mode: warn, match: {images: ['docker.io/**']}, rewrite: {prefix: w.io}}
- {name: a, mode: audit, match: {images: ['docker.io/**']}, deny: {}}
- {name: e, match: {images: ['docker.io/x/*']}, rewrite: {prefix: r.io}}";
    assert_eq!(
        decided(rules, "x/y"),
        r#"rewritten r.io/docker.io/x/y Always (a Deny) (w Rewrite("w.io/docker.io/x/y"))"#
    );
    assert_eq!(
        decided(rules, "alpine"),
        r#"would_rewrite (a Deny) (w Rewrite("w.io/docker.io/library/alpine"))"#
    );
    assert_eq!(decided(rules, "w.io/docker.io/x/y"), "unmatched");
}

#[test]
fn a_preloaded_image_is_rewritten_only_by_a_rule_that_says_so() {
    let never = Pod {
        pull_policy: Some("Never"),
        ..POD
    };
    let set = set_of(
        "- {name: a, match: {images: ['docker.io/**']}, rewrite: {prefix: r.io}}
- {name: b, match: {images: ['quay.io/**']}, rewrite: {prefix: r.io, preloaded: true}}",
    );
    assert_eq!(check(&set, "alpine", &never), "pull_never");
    assert_eq!(check(&set, "quay.io/x", &never), "rewritten r.io/quay.io/x Always");
    assert_eq!(check(&set, "r.io/docker.io/library/alpine", &never), "already_target");
    assert_eq!(check(&set, "r.io/quay.io/x", &never), "already_target Always");
}

#[test]
fn an_image_under_a_target_is_pulled_as_its_source_would_be() {
    let set = set_of(
        "- {name: x, match: {images: ['docker.io/x/**']}, rewrite: {prefix: r.io}, pull: {policy: Unchanged, secrets: [x]}}
- {name: hub, match: {images: ['docker.io/**']}, rewrite: {prefix: r.io}, pull: {secrets: [hub]}}
- {name: quay, match: {images: ['quay.io/**'], namespaces: [only]}, rewrite: {prefix: r.io}}
- {name: kept, match: {images: ['ghcr.io/**']}, keep: {}}",
    );
    for (image, expected) in [
        ("r.io/docker.io/x/y", "already_target +x"),
        ("r.io/docker.io/library/alpine:1", "already_target Always +hub"),
        // The rule is for another namespace.
        ("r.io/quay.io/x", "already_target"),
        ("r.io/ghcr.io/x", "already_target"),
        // No source can be told, and the rules it may come from differ.
        ("r.io/team/app", "already_target"),
    ] {
        assert_eq!(check(&set, image, &POD), expected, "{image}");
    }
    let one =
        set_of("- {name: hub, match: {images: ['docker.io/**']}, rewrite: {prefix: r.io}, pull: {secrets: [hub]}}");
    assert_eq!(check(&one, "r.io/team/app", &POD), "already_target Always +hub");
}

#[test]
fn an_incoming_always_is_lowered_only_where_the_rule_says_so() {
    let always = Pod {
        pull_policy: Some("Always"),
        ..POD
    };
    let set = set_of(
        "- {name: a, match: {images: ['docker.io/**']}, rewrite: {prefix: r.io}, pull: {policy: IfNotPresent}}
- {name: b, match: {images: ['quay.io/**']}, rewrite: {prefix: r.io}, pull: {policy: IfNotPresent, lower: true}}
- {name: c, match: {images: ['ghcr.io/**']}, keep: {}, pull: {policy: Always}}",
    );
    assert_eq!(
        check(&set, "alpine", &always),
        "rewritten r.io/docker.io/library/alpine"
    );
    assert_eq!(
        check(&set, "quay.io/x", &always),
        "rewritten r.io/quay.io/x IfNotPresent"
    );
    assert_eq!(check(&set, "ghcr.io/x", &POD), "kept Always");
}

#[test]
fn a_target_that_is_no_reference_leaves_the_image() {
    let rules = "- {name: a, rewrite: {prefix: r.io}}";
    assert_eq!(decided(rules, "localhost:5000/x"), "invalid_target");
    assert_eq!(decided(rules, "Host/x"), "invalid_target");
}

#[test]
fn a_port_at_the_end_of_a_target_is_no_tag() {
    let rules = "- {name: a, rewrite: {to: ['r.io/{repository}/{registry}']}}";
    assert_eq!(decided(rules, "localhost:5000/x"), "invalid_target");
    assert_eq!(decided(rules, "quay.io/x:1"), "rewritten r.io/x/quay.io:1 Always");
}

#[test]
fn what_the_grammar_finds_no_registry_in_is_not_rewritten() {
    assert_eq!(
        decided("- {name: a, rewrite: {prefix: r.io}}", "a_b.example.com/x"),
        "invalid_target"
    );
}

#[test]
fn the_letter_case_of_a_host_is_no_way_around_a_rule() {
    let set = set_of(
        "- {name: no, match: {images: ['quay.io/evil/**']}, deny: {}}
- {name: no-either, match: {images: [{regex: 'ghcr\\.io/evil/.*'}]}, deny: {}}
- {name: hub, match: {images: ['docker.io/**']}, rewrite: {prefix: r.io}}",
    );
    for (image, expected) in [
        ("Quay.io/evil/x", "denied"),
        ("GHCR.io/evil/x", "denied"),
        ("R.io/docker.io/library/alpine", "already_target Always"),
    ] {
        assert_eq!(check(&set, image, &POD), expected, "{image}");
    }
}

#[test]
fn a_group_that_took_no_part_is_empty() {
    let rules = r"- {name: a, match: {images: [{regex: 'q\.io/(?<team>[a-z]+-)?x'}]}, rewrite: {to: ['r.io/{team}x'], sharedTarget: true}}";
    assert_eq!(decided(rules, "q.io/x"), "rewritten r.io/x Always");
    assert_eq!(decided(rules, "q.io/a-x"), "rewritten r.io/a-x Always");
}

#[test]
fn rules_in_mode_audit_do_not_count_preloaded_images() {
    let set = set_of("- {name: a, mode: audit, match: {images: ['docker.io/**']}, rewrite: {prefix: r.io}}");
    let never = Pod {
        pull_policy: Some("Never"),
        ..POD
    };
    assert_eq!(check(&set, "alpine", &never), "unmatched");
}

#[test]
fn exempted_operators_are_kept() {
    let set = set_of("- {name: a, rewrite: {prefix: r.io}}");
    let cnpg = Pod {
        labels: &[("cnpg.io/cluster", "db")],
        ..POD
    };
    assert_eq!(check(&set, "ghcr.io/cloudnative-pg/postgresql:17", &cnpg), "kept");
    assert_eq!(check(&set, "auto", &POD), "kept");
    assert!(check(&set, "ghcr.io/cloudnative-pg/postgresql:17", &POD).starts_with("rewritten"));
}

#[test]
fn groups_of_a_regex_are_variables() {
    let rules = r"- {name: a, match: {images: [{regex: 'gcr\.io/(?<project>[a-z-]+)/(?<rest>.+)'}]}, rewrite: {to: ['r.io/google-{project}/{rest}'], sharedTarget: true}}";
    assert_eq!(
        decided(rules, "gcr.io/distroless/static/x:1"),
        "rewritten r.io/google-distroless/static/x:1 Always"
    );
    assert_eq!(decided(rules, "gcrxio/distroless/static"), "unmatched");
}

fn rule(number: usize) -> impl Strategy<Value = String> {
    let images = prop::sample::select(vec![
        "",
        "images: ['docker.io/**'],",
        "images: ['*/x/**'],",
        "images: ['q.io/*', 'docker.io/library/*'],",
        "images: ['r.io/**'],",
        "images: ['docker.io/**:latest'],",
        r"images: [{regex: '(?:q|r)\.io/.*'}],",
        "images: ['s.io/a/*'],",
    ]);
    let more = prop::sample::select(vec![
        "",
        "namespaces: [a],",
        "namespaces: ['a*'],",
        "exceptNamespaces: [a],",
        "podSelector: {matchLabels: {l: x}},",
        "namespaceSelector: {matchLabels: {l: y}},",
        "namespaces: ['*b', a],",
        "exceptImages: ['*/x/**'],",
    ]);
    let action = prop::sample::select(vec![
        "keep: {}",
        "deny: {}",
        "rewrite: {prefix: r.io}",
        "rewrite: {prefix: r.io/org}",
        "rewrite: {to: ['s.io/{repository}'], sharedTarget: true}",
        "rewrite: {to: ['docker.io/{name}'], sharedTarget: true}",
        "rewrite: {to: ['s.io/p-{namespace}/{name}'], sharedTarget: true}",
        "rewrite: {to: ['docker.io/m-{name}'], sharedTarget: true}",
        "rewrite: {prefix: r.io, preloaded: true}",
        "rewrite: {to: ['r.io/one'], sharedTarget: true}",
        "rewrite: {to: ['s.io/{namespace}/x/{name}'], sharedTarget: true}",
        "rewrite: {to: ['r.io/{registry}/{repository}', 's.io/{registry}/{repository}'], onUnavailable: next}",
        "rewrite: {to: ['s.io/y/{registry}/{repository}', 'r.io/org/{registry}/{repository}', 't.io/{registry}/{repository}'], onUnavailable: next}",
        "rewrite: {to: ['t.io/{registry}/{repository}', 'r.io/{registry}/{repository}'], onUnavailable: keep}",
    ]);
    let pull = prop::sample::select(vec![
        "",
        ", pull: {policy: IfNotPresent, lower: true}",
        ", pull: {policy: Unchanged, secrets: [a]}",
        ", pull: {policy: Never}",
    ]);
    let mode = prop::sample::select(vec!["enforce", "enforce", "enforce", "audit"]);
    (images, more, action, pull, mode).prop_map(move |(images, more, action, pull, mode)| {
        format!("- {{name: r{number}, mode: {mode}, match: {{{images} {more}}}, {action}{pull}}}")
    })
}

/// Rules, each in a policy of its own: across files, shadowing is a warning.
fn policies() -> impl Strategy<Value = Vec<String>> {
    (rule(0), rule(1), rule(2), rule(3)).prop_map(|(a, b, c, d)| vec![a, b, c, d])
}

fn set_of_each(rules: &[String]) -> Option<Snapshot> {
    set_of_each_with(rules, Settings::default())
}

fn set_of_each_with(rules: &[String], settings: Settings) -> Option<Snapshot> {
    let source = |(number, rule): (usize, &String)| {
        let head = "apiVersion: waypost.dev/v1alpha1\nkind: Policy\nmetadata";
        Source::new(
            format!("{number}"),
            format!("{head}: {{name: p{number}}}\nspec:\n  rules:\n    {rule}\n"),
        )
    };
    let sources = rules.iter().enumerate().map(source).collect();
    let compiled = compile(&Input {
        sources,
        presets: Vec::new(),
        settings,
    });
    compiled.set.map(|set| Snapshot::new(Arc::new(set), 1))
}

fn registries() -> impl Strategy<Value = Registries> {
    let name = prop::sample::select(vec![
        ("r.io", ""),
        ("R.io", "org"),
        ("s.io", ""),
        ("s.io", "y"),
        ("t.io", ""),
        ("docker.io", ""),
        ("docker.io", "library"),
    ]);
    let registered = (name, any::<bool>()).prop_map(|((host, organization), available)| Registered {
        id: host.into(),
        address: Address {
            host: host.into(),
            organization: organization.into(),
        },
        namespaces: Admitted::default(),
        has_pull_credential: false,
        available,
    });
    prop::collection::vec(registered, 0..6).prop_map(Registries::new)
}

/// By the words of the rule: among the registries over it, those with the longest name are asked, and all must be down.
fn is_down(registries: &Registries, target: &str) -> bool {
    let name = |registry: &Registered| {
        format!(
            "{}/{}",
            registry.address.host.to_lowercase(),
            registry.address.organization
        )
    };
    let over = |registry: &&Registered| target.starts_with(&format!("{}/", name(registry).trim_end_matches('/')));
    let longest = registries.iter().filter(over).map(name).max_by_key(String::len);
    let mut asked = registries
        .iter()
        .filter(|registry| Some(name(registry)) == longest)
        .peekable();
    asked.peek().is_some() && asked.all(|registry| !registry.available)
}

fn image() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "alpine",
        "x/y",
        "q.io/x",
        "q.io/x/y",
        "r.io/x",
        "r.io/docker.io/library/alpine",
        "r.io/org/q.io/x",
        "s.io/a/b",
        "s.io/p-x/y",
        "localhost:5000/x",
        "docker.io/m-x/y",
        "r.io/one",
        "s.io/x/x/y",
        "r.io/org/docker.io/x/y",
        "s.io/docker.io/library/alpine",
        "t.io/q.io/x",
        "Upper/x",
    ]);
    let suffix = prop::sample::select(vec!["", ":latest", ":1"]);
    (name, suffix).prop_map(|(name, suffix)| format!("{name}{suffix}"))
}

proptest! {
    #![proptest_config(ProptestConfig { max_global_rejects: 20_000, ..ProptestConfig::with_cases(600) })]

    #[test]
    fn deciding_on_what_was_decided_changes_nothing_whatever_goes_down_meanwhile(
        rules in policies(),
        image in image(),
        namespace in prop::sample::select(vec!["a", "ab", "b"]),
        label in prop::sample::select(vec!["x", "y"]),
        present in prop::sample::select(vec!["Always", "IfNotPresent", "Never"]),
        before in registries(),
        after in registries(),
    ) {
        let Some(mut snapshot) = set_of_each(&rules) else { return Err(TestCaseError::reject("has errors")) };
        let labels: BTreeMap<String, String> = BTreeMap::from([("l".to_owned(), label.to_owned())]);
        let none = BTreeMap::new();
        let context = Context { namespace, namespace_labels: &none, pod_labels: &labels };
        let reference = Reference::parse(&image).unwrap();
        snapshot.registries = before;
        let first = decide(&snapshot, &context, &reference, Some(present), false);
        if let Some(target) = &first.target {
            prop_assert!(!is_down(&snapshot.registries, target), "{} -> {}", image, target);
            let policy = first.pull.policy_for(Some(present)).unwrap_or(present);
            let again = Reference::parse(target).unwrap();
            for registries in [&snapshot.registries, &after] {
                let snapshot = Snapshot { registries: registries.clone(), ..snapshot.clone() };
                let second = decide(&snapshot, &context, &again, Some(policy), false);
                prop_assert_eq!(second.outcome, Outcome::AlreadyTarget, "{} -> {}", image, target);
                prop_assert_eq!(second.pull.policy_for(Some(policy)), None, "{} -> {}", image, target);
                for secret in second.pull.secrets {
                    prop_assert!(first.pull.secrets.contains(secret), "{} -> {}", image, target);
                }
            }
        }
        if first.outcome == Outcome::TargetUnavailable {
            prop_assert_eq!(first.pull.policy_for(Some(present)), None);
            prop_assert!(first.pull.secrets.is_empty() && first.pull.common_secrets.is_empty());
        }
        for observed in &first.observed {
            if let Would::Rewrite(target) = &observed.would {
                prop_assert!(!is_down(&snapshot.registries, target), "{} -> {}", image, target);
            }
        }
        // Which rule decides does not depend on what is up, except that one may deny what another would pull.
        let up = Snapshot { registries: Registries::default(), ..snapshot.clone() };
        let up = decide(&up, &context, &reference, Some(present), false);
        let denied = [first.outcome, up.outcome].contains(&Outcome::Denied);
        prop_assert!(denied || first.rule == up.rule, "{}: {:?} {:?}", image, first, up);
    }

    #[test]
    fn explaining_finds_the_rule_that_decides(
        rules in policies(),
        image in image(),
        namespace in prop::sample::select(vec!["a", "ab", "b"]),
        label in prop::sample::select(vec!["x", "y"]),
        registries in registries(),
    ) {
        let Some(mut snapshot) = set_of_each(&rules) else { return Err(TestCaseError::reject("has errors")) };
        snapshot.registries = registries;
        let labels: BTreeMap<String, String> = BTreeMap::from([("l".to_owned(), label.to_owned())]);
        let context = Context { namespace, namespace_labels: &labels, pod_labels: &labels };
        let reference = Reference::parse(&image).unwrap();
        let explanation = explain(&snapshot, &context, &reference, None, false);
        let deciding = explanation.tried.iter().find(|tried| tried.verdict == Verdict::Decides).map(|tried| tried.rule);
        let denies_target = explanation.tried.iter().find(|tried| tried.verdict == Verdict::DeniesTarget);
        if explanation.decision.outcome == Outcome::AlreadyTarget {
            prop_assert_eq!(deciding, None);
        } else if let Some(denies) = denies_target {
            prop_assert_eq!(Some(denies.rule), explanation.decision.rule, "{}", image);
            prop_assert!(deciding.is_some(), "{}", image);
        } else {
            prop_assert_eq!(deciding, explanation.decision.rule, "{}", image);
            let tried = explanation.tried.iter().find(|tried| tried.verdict == Verdict::Decides);
            let last = tried.and_then(|tried| tried.targets.last());
            let used = last.filter(|target| target.verdict == TargetVerdict::Used).map(|target| &target.target);
            prop_assert_eq!(used, explanation.decision.target.as_ref(), "{}", image);
        }
    }
}
