mod docs;

use super::*;
use crate::{document::render, policy::preset};

fn run_alone(text: &str) -> Report {
    run(&Source::new("x.test.yaml", text), |name| {
        panic!("{name} is not to be read")
    })
}

/// The texts of `policies/*.test.yaml`.
fn of_preset(name: &str) -> Source {
    let path = format!("{}/policies/{name}.test.yaml", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("the preset {name} needs a test file: {path}: {error}"));
    Source::new(format!("policies/{name}.test.yaml"), text)
}

#[test]
fn every_preset_does_what_its_test_file_says_and_every_rule_of_it_decides_there() {
    for preset in preset::ALL {
        let source = of_preset(preset.name);
        let report = run(&source, |name| panic!("{name} is not to be read"));
        assert!(
            report.diagnostics.is_empty(),
            "{}",
            render::text(&report.diagnostics, false)
        );
        assert!(
            report.cases > 0 && report.untested.is_empty(),
            "{}: untested: {:?}",
            preset.name,
            report.untested
        );
        assert!(
            source.text.starts_with(&format!("preset: {}\n", preset.name)),
            "{} tests another preset",
            source.name
        );
    }
}

#[test]
fn every_test_file_belongs_to_a_preset() {
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/policies")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let preset = name.strip_suffix(".test.yaml").or(name.strip_suffix(".yaml")).unwrap();
        assert!(preset::find(preset).is_some(), "{name}");
    }
}

#[test]
fn outcomes_are_written_as_in_metrics() {
    for outcome in Outcome::ALL {
        let read: Outcome = serde_json::from_value(outcome.as_str().into()).unwrap();
        assert_eq!(read, outcome);
    }
}

const POLICY: &str = "apiVersion: waypost.dev/v1alpha1
kind: Policy
metadata: {name: own}
spec:
  rules:
    - name: hub
      match: {images: ['docker.io/**'], namespaces: ['team-*'], namespaceSelector: {matchLabels: {tier: a}}}
      rewrite: {prefix: r.io}
      pull: {secrets: [regcred]}
    - {name: watch, mode: audit, match: {images: ['quay.io/**']}, deny: {}}
";

#[test]
fn where_an_image_is_replicated_to_is_compared_and_tests_a_rule_that_does_nothing_else() {
    let policy = "apiVersion: waypost.dev/v1alpha1
kind: Policy
metadata: {name: own}
spec:
  rules:
    - {name: hub, match: {images: ['docker.io/**']}, replicate: {registry: corp}}
    - {name: quay, match: {images: ['quay.io/**']}, keep: {}, replicate: {registry: corp}}
    - {name: watched, mode: audit, match: {images: ['gcr.io/**']}, keep: {}, replicate: {registry: corp}}
";
    let run = |cases: &str| {
        let head = "policies: [own.yaml]\nregistries: {corp: {url: corp.io}}\ncases:\n";
        run(&Source::new("own.test.yaml", format!("{head}{cases}")), |name| {
            Ok(Source::new(name, policy))
        })
    };
    let report = run("  - {image: alpine, expect: {outcome: unmatched, replicate: corp}}
  - {image: alpine, optedOut: true, expect: {outcome: opted_out, replicate: ''}}
  - {image: quay.io/x, expect: {outcome: kept, replicate: corp}}
  - {image: gcr.io/x, expect: {outcome: unmatched, replicate: ''}}
  - {image: corp.io/x, expect: {outcome: unmatched, replicate: ''}}");
    assert!(
        report.diagnostics.is_empty(),
        "{}",
        render::text(&report.diagnostics, false)
    );
    assert!(report.untested.is_empty(), "{:?}", report.untested);
    let report = run("  - {image: quay.io/x, expect: {outcome: kept, replicate: ''}}
  - {image: gcr.io/x, expect: {outcome: unmatched, replicate: corp}}
  - {image: quay.io/x, expect: {outcome: kept, replicate: other}}
  - {image: '!', expect: {outcome: unparsable, replicate: ''}}");
    let messages: Vec<_> = report.diagnostics.iter().map(|found| &*found.message).collect();
    assert_eq!(
        messages,
        [
            "`quay.io/x`: the registry that it is replicated into is `corp`, not `none`",
            "`gcr.io/x`: there is no registry that it is replicated into, expected `corp`",
            "`quay.io/x`: the registry that it is replicated into is `corp`, not `other`",
        ]
    );
    assert_eq!(report.untested, ["own/hub"]);
}

fn own(cases: &str) -> Report {
    let test = Source::new("own.test.yaml", format!("policies: [own.yaml]\ncases:\n{cases}"));
    run(&test, |name| {
        assert_eq!(name, "own.yaml");
        Ok(Source::new(name, POLICY))
    })
}

#[test]
fn policies_are_read_by_name_and_cases_have_a_context() {
    let report = own("- image: alpine
  namespace: team-x
  namespaceLabels: {tier: a}
  expect: {outcome: rewritten, rule: own/hub, secrets: [regcred]}
- {image: alpine, expect: {outcome: unmatched}}
- {image: alpine, namespace: team-x, namespaceLabels: {tier: a}, optedOut: true, expect: {outcome: opted_out}}
- {image: 'a:b:c', expect: {outcome: unparsable}}
- {image: quay.io/x, expect: {outcome: unmatched}}
");
    assert!(
        report.diagnostics.is_empty(),
        "{}",
        render::text(&report.diagnostics, false)
    );
    assert_eq!((report.cases, report.untested), (5, vec![]));
}

#[test]
fn a_case_may_say_which_registries_are_down() {
    let report = own("- image: alpine
  namespace: team-x
  namespaceLabels: {tier: a}
  unavailable: [r.io]
  expect: {outcome: target_unavailable, rule: hub, secrets: []}
- {image: alpine, namespace: team-x, namespaceLabels: {tier: a}, expect: {outcome: rewritten}}
- {image: alpine, namespace: team-x, namespaceLabels: {tier: a}, unavailable: [r.io/other], expect: {outcome: rewritten}}
- {image: quay.io/x, unavailable: [], expect: {outcome: unmatched}}
");
    assert!(
        report.diagnostics.is_empty(),
        "{}",
        render::text(&report.diagnostics, false)
    );
    assert_eq!((report.cases, report.untested), (4, vec![]));

    let report = own("- {image: alpine, unavailable: [team], expect: {outcome: unmatched}}");
    assert_eq!(report.cases, 0);
    let [found] = &report.diagnostics[..] else {
        panic!("{:?}", report.diagnostics);
    };
    assert_eq!((found.code, found.spot.as_ref().unwrap().line), ("invalid-value", 3));
    assert!(found.message.starts_with("`team` is no registry"), "{}", found.message);
}

#[test]
fn a_case_may_say_what_was_pushed_where() {
    let run = |cases: &str| {
        let test = format!(
            "policies: [own.yaml]
registries:
  corp: {{url: c.io/team, namespaces: {{names: ['team-*']}}}}
  sandbox: {{url: s.io, names: {{to: '{{repository}}', from: docker.io}}}}
cases:
{cases}"
        );
        let policy = POLICY.replace(
            "    - name: hub",
            "    - {name: corp, match: {namespaces: [team-y]}, rewrite: {latestPush: {registries: [corp]}}}\n    - name: hub",
        );
        super::run(&Source::new("own.test.yaml", test), |name| {
            Ok(Source::new(name, policy.as_str()))
        })
    };
    let report = run("- image: alpine
  pushes: [{image: alpine, registry: sandbox}]
  expect: {outcome: rewritten, target: s.io/library/alpine, rule: waypost/latest-push}
- image: alpine
  namespace: team-y
  pushes:
    - {image: alpine, registry: corp, finishedAt: 2026-01-31T12:00:00Z}
    - {image: 'alpine:latest', registry: sandbox}
  expect: {outcome: rewritten, target: c.io/team/docker.io/library/alpine}
- {image: alpine, pushes: [{image: alpine, registry: corp}], expect: {outcome: no_credential}}
- {image: alpine, pushes: [{image: alpine, registry: other.io/x}], expect: {outcome: rewritten, target: other.io/x/docker.io/library/alpine}}
- {image: alpine, pushes: [{image: alpine, registry: sandbox}], unavailable: [sandbox], expect: {outcome: target_unavailable}}
- {image: alpine, namespace: team-y, expect: {outcome: no_push, rule: corp}}
- {image: alpine, namespace: team-x, namespaceLabels: {tier: a}, expect: {outcome: rewritten, rule: hub}}
- {image: quay.io/x, expect: {outcome: unmatched}}
");
    assert!(
        report.diagnostics.is_empty(),
        "{}",
        render::text(&report.diagnostics, false)
    );
    assert_eq!((report.cases, report.untested), (8, vec![]));
    for (cases, line, message) in [
        (
            "- {image: a, pushes: [{image: 'a:b:c', registry: corp}], expect: {outcome: kept}}",
            6,
            "this is no image reference",
        ),
        (
            "- {image: a, pushes: [{image: a, registry: crop}], expect: {outcome: kept}}",
            6,
            "`crop` is no registry",
        ),
        (
            "- {image: a, pushes: [{image: a, registry: corp, digest: x}], expect: {outcome: kept}}",
            6,
            "`x` is no digest",
        ),
        (
            "- {image: a, pushes: [{image: a, registry: corp, finishedAt: x}], expect: {outcome: kept}}",
            6,
            "`x` is no time",
        ),
        (
            "- {image: a, pushes: [{image: q.io/a, registry: sandbox}], expect: {outcome: kept}}",
            6,
            "an image of this name cannot be",
        ),
    ] {
        let report = run(cases);
        let [found] = &report.diagnostics[..] else {
            panic!("{cases}: {:?}", report.diagnostics);
        };
        assert_eq!((found.code, found.spot.as_ref().unwrap().line), ("invalid-value", line));
        assert!(found.message.starts_with(message), "{}", found.message);
    }
    for registry in [
        "Corp: {url: c.io}",
        "corp: {url: 'c io'}",
        "corp: {names: {to: '{name}'}}",
    ] {
        let report = run_alone(&format!(
            "preset: local-registry\nregistries: {{{registry}}}\ncases: [{{image: a, expect: {{outcome: kept}}}}]"
        ));
        assert_eq!(
            (report.cases, report.diagnostics.len()),
            (0, 1),
            "{registry}: {:?}",
            report.diagnostics
        );
        assert_eq!(report.diagnostics[0].spot.as_ref().unwrap().line, 2);
    }
}

#[test]
fn a_case_that_comes_out_otherwise_is_told_in_words_and_with_its_place() {
    let report = own("- image: alpine
  namespace: team-x
  namespaceLabels: {tier: a}
  expect: {outcome: kept, target: s.io/alpine, rule: other, pullPolicy: Never, secrets: []}
- {image: alpine, expect: {outcome: rewritten, rule: hub, target: x}}
- {image: 'a:b:c', expect: {outcome: kept}}
");
    let found: Vec<(usize, &str)> = report
        .diagnostics
        .iter()
        .map(|diagnostic| (diagnostic.spot.as_ref().unwrap().line, &*diagnostic.message))
        .collect();
    assert_eq!(found[0].0, 6);
    assert_eq!(
        found[0].1,
        "`alpine`: the outcome is `rewritten`, not `kept`; the target is `r.io/docker.io/library/alpine`, not `s.io/alpine`; \
         the rule is `own/hub`, not `other`; the imagePullPolicy is `Always`, not `Never`; the list of Secrets is `regcred`, not ``"
    );
    assert_eq!(
        found[1],
        (
            7,
            "`alpine`: the outcome is `unmatched`, not `rewritten`; there is no target, expected `x`; there is no rule, expected `hub`"
        )
    );
    assert!(found[2].1.contains("no image reference"), "{}", found[2].1);
    assert_eq!(report.untested, ["own/watch"]);
}

#[test]
fn a_file_that_cannot_be_run_says_why() {
    for (text, code) in [
        ("", "empty-file"),
        ("cases: [{image: a, expect: {outcome: kept}}]", "nothing-to-test"),
        ("preset: local-registry\ncases: []", "wrong-length"),
        ("preset: local-registry", "missing-key"),
        ("preset: local-registry\ncases: [{image: a}]", "missing-key"),
        (
            "preset: local-registry\ncases: [{image: a, expect: {outcome: rewriten}}]",
            "unknown-value",
        ),
        (
            "preset: local-registry\ncases: [{image: a, expects: {outcome: kept}}]",
            "missing-key",
        ),
        (
            "preset: local\ncases: [{image: a, expect: {outcome: kept}}]",
            "invalid-preset",
        ),
        (
            "preset: local-registry\nvalues: {hst: a}\ncases: [{image: a, expect: {outcome: kept}}]",
            "invalid-preset",
        ),
    ] {
        let report = run_alone(text);
        assert_eq!(report.cases, 0, "{text}");
        assert!(
            report.diagnostics.iter().any(|found| found.code == code),
            "{text}: {:?}",
            report.diagnostics
        );
    }
}
