use std::collections::BTreeMap;

use super::{presets::declared_values, *};
use crate::document::render;

fn compiled(text: &str) -> Compiled {
    compile(&Input {
        sources: vec![Source::new("policy.yaml", text)],
        ..Input::default()
    })
}

fn rules(rules: &str) -> String {
    let mut text =
        String::from("apiVersion: waypost.dev/v1alpha1\nkind: Policy\nmetadata: {name: p}\nspec:\n  rules:\n");
    for line in rules.lines() {
        text.push_str("    ");
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// The codes of all problems, in order.
fn codes(text: &str) -> Vec<&'static str> {
    compiled(&rules(text))
        .diagnostics
        .iter()
        .map(|diagnostic| diagnostic.code)
        .collect()
}

#[test]
fn every_preset_compiles_with_its_examples() {
    for preset in preset::ALL {
        let (nodes, _) = document::parse(&Source::new(preset.name, preset.text));
        let values = declared_values(&nodes[0])
            .into_iter()
            .map(|value| (value.name, value.example.unwrap()))
            .collect();
        let presets = vec![PresetChoice {
            name: preset.name.to_owned(),
            values,
        }];
        let compiled = compile(&Input {
            presets,
            ..Input::default()
        });
        assert!(
            compiled.diagnostics.is_empty(),
            "{}",
            render::text(&compiled.diagnostics, false)
        );
        assert!(compiled.set.is_some());
    }
}

#[test]
fn deny_comes_first_then_exempting_presets_then_latest_push_then_presets_then_policies() {
    let text = rules(
        "- {name: keep, match: {images: ['a.io/**']}, keep: {}}\n- {name: deny, match: {images: ['b.io/**']}, deny: {}}",
    );
    let choice = |name: &str| PresetChoice {
        name: name.to_owned(),
        values: BTreeMap::new(),
    };
    let compiled = compile(&Input {
        sources: vec![Source::new("policy.yaml", text)],
        presets: vec![choice("local-registry"), choice("exempt-operators")],
        ..Input::default()
    });
    let set = compiled.set.unwrap();
    let ids: Vec<&str> = set.rules().iter().map(Rule::id).collect();
    let exempting = ids.iter().filter(|id| id.starts_with("exempt-operators/")).count();
    assert_eq!(ids[..2], ["p/deny", "exempt-operators/cloudnative-pg"]);
    assert_eq!(
        ids[1 + exempting..],
        ["waypost/latest-push", "local-registry/docker-hub", "p/keep"]
    );
    assert_eq!(set.denying(), 1);
}

#[test]
fn each_mistake_has_its_code() {
    for (text, expected) in [
        ("- {name: a, rewrite: {prefix: r.io}}", vec![]),
        ("- {name: a, rewrite: {prefx: r.io}}", vec!["unknown-key"]),
        ("- {name: a}", vec!["no-action"]),
        ("- {name: a, keep: {}, deny: {}}", vec!["several-actions"]),
        ("- {name: a, keep: }", vec!["no-value"]),
        ("- {name: a, match: {images: }, keep: {}}", vec!["no-value"]),
        ("- {name: a, match: {images: []}, keep: {}}", vec!["wrong-length"]),
        ("- {name: A, keep: {}}", vec!["invalid-name"]),
        ("- {name: a, rewrite: {}}", vec!["no-target"]),
        (
            "- {name: a, rewrite: {prefix: r.io, to: [r.io/x]}}",
            vec!["several-targets"],
        ),
        (
            "- {name: a, match: {images: [alpine]}, keep: {}}",
            vec!["invalid-pattern"],
        ),
        (
            "- {name: a, match: {images: [{regex: '('}]}, keep: {}}",
            vec!["invalid-regex"],
        ),
        (
            "- {name: a, match: {namespaces: [A]}, keep: {}}",
            vec!["invalid-namespace"],
        ),
        (
            "- {name: a, match: {podSelector: {matchLabels: {'a b': c}}}, keep: {}}",
            vec!["invalid-selector"],
        ),
        ("- {name: a, rewrite: {to: ['{registry}/x']}}", vec!["invalid-template"]),
        ("- {name: a, rewrite: {latestPush: {}}}", vec![]),
        (
            "- {name: a, rewrite: {latestPush: {registries: [a-1]}, onUnavailable: next, pin: true}}",
            vec![],
        ),
        (
            "- {name: a, rewrite: {latestPush: {registries: [A, b.io, c]}}}",
            vec!["invalid-registry-id", "invalid-registry-id"],
        ),
        (
            "- {name: a, rewrite: {latestPush: {registries: []}}}",
            vec!["wrong-length"],
        ),
        (
            "- {name: a, rewrite: {prefix: r.io, pin: true}}",
            vec!["pin-without-push"],
        ),
        (
            "- {name: a, rewrite: {prefix: r.io, pin: false}}",
            vec!["pin-without-push"],
        ),
        (
            "- {name: a, rewrite: {latestPush: {}}}\n- {name: b, rewrite: {prefix: r.io}}",
            vec![],
        ),
        (
            "- {name: a, rewrite: {prefix: r.io, onUnavailable: next}}",
            vec!["no-next-target"],
        ),
        ("- {name: a, rewrite: {prefix: r.io, onUnavailable: keep}}", vec![]),
        ("- {name: a, rewrite: {onUnavailable: next}}", vec!["no-target"]),
        (
            "- {name: a, rewrite: {to: ['r.io/{registry}/{repository}', 's.io/{registry}/{repository}']}}",
            vec!["unused-target"],
        ),
        (
            "- {name: a, rewrite: {to: ['r.io/{registry}/{repository}', 's.io/{registry}/{repository}'], onUnavailable: keep}}",
            vec!["unused-target"],
        ),
        (
            "- {name: a, rewrite: {to: ['r.io/{registry}/{repository}', 's.io/{registry}/{repository}'], onUnavailable: next}}",
            vec![],
        ),
        ("- {name: a, replicate: {registry: r}}", vec!["replicates-everything"]),
        (
            "- {name: a, match: {namespaces: [x]}, rewrite: {prefix: r.io}, replicate: {registry: r}}",
            vec!["replicates-everything"],
        ),
        (
            "- {name: a, match: {image: ['q.io/**']}, replicate: {registry: r}}",
            vec!["unknown-key"],
        ),
        (
            "- {name: a, match: {images: ['q.io/**']}, replicate: {registry: r, when: firstUse, refresh: 90s, referrers: true}}",
            vec![],
        ),
        (
            "- {name: a, match: {images: ['q.io/**']}, keep: {}, replicate: {registry: r}}",
            vec![],
        ),
        (
            "- {name: a, match: {images: ['q.io/**']}, deny: {}, replicate: {registry: r}}",
            vec!["replicates-denied"],
        ),
        (
            "- {name: a, match: {images: ['q.io/**']}, replicate: {registry: r, refresh: soon}}",
            vec!["invalid-duration"],
        ),
        (
            "- {name: a, match: {images: ['q.io/**']}, replicate: {registry: r, refresh: 0s}}",
            vec!["invalid-duration"],
        ),
        (
            "- {name: a, match: {images: ['q.io/**']}, replicate: {registry: R.io, when: always}}",
            vec!["invalid-registry-id", "unknown-value"],
        ),
        (
            "- {name: a, match: {images: ['q.io/**']}, replicate: {registry: R.io}}",
            vec!["invalid-registry-id"],
        ),
        (
            "- {name: a, match: {images: ['q.io/**']}, replicate: {registry: r}}\n- {name: b, match: {images: ['q.io/x']}, replicate: {registry: s}}",
            vec!["shadowed-replicate"],
        ),
        (
            "- {name: a, mode: audit, match: {images: ['q.io/**']}, replicate: {registry: r}}\n- {name: b, match: {images: ['q.io/x']}, replicate: {registry: s}}",
            vec![],
        ),
        ("- {name: a, keep: {}}\n- {name: b, keep: {}}", vec!["shadowed-rule"]),
        (
            "- {name: a, match: {images: ['*/**']}, keep: {}}\n- {name: b, match: {images: ['a.io/x']}, keep: {}}",
            vec!["shadowed-rule"],
        ),
        (
            "- {name: a, match: {images: ['a.io/*']}, keep: {}}\n- {name: b, match: {images: ['a.io/**']}, keep: {}}",
            vec![],
        ),
        ("- {name: a, mode: audit, keep: {}}\n- {name: b, keep: {}}", vec![]),
        (
            "- {name: a, match: {namespaces: [x]}, keep: {}}\n- {name: b, keep: {}}",
            vec![],
        ),
        (
            "- {name: a, match: {namespaces: ['x*']}, keep: {}}\n- {name: b, match: {namespaces: [xy]}, keep: {}}",
            vec!["shadowed-rule"],
        ),
        ("- {name: a, pull: {secrets: [No]}, keep: {}}", vec!["invalid-name"]),
        (
            "- {name: a, match: {images: ['q.io/**', {regex: '(?<g>.*)'}]}, rewrite: {to: ['r.io/{g}'], sharedTarget: true}}",
            vec!["invalid-template"],
        ),
        (
            "- {name: a, match: {images: [{regex: '(?<name>.*)'}]}, keep: {}}",
            vec!["invalid-regex"],
        ),
        // What it matches is a target of another, or of its own.
        (
            "- {name: a, match: {images: ['q.io/**']}, rewrite: {prefix: r.io}}\n- {name: b, match: {images: ['r.io/x/**']}, rewrite: {prefix: s.io}}",
            vec!["under-target"],
        ),
        (
            "- {name: a, match: {images: ['r.io/x/**']}, rewrite: {prefix: r.io/x}}",
            vec!["under-target"],
        ),
        (
            "- {name: a, match: {images: ['r.io/**']}, rewrite: {prefix: r.io/x}}",
            vec![],
        ),
        (
            "- {name: a, mode: audit, match: {images: ['q.io/**']}, rewrite: {prefix: r.io}}\n- {name: b, match: {images: ['r.io/x/**']}, rewrite: {prefix: s.io}}",
            vec![],
        ),
        (
            "- {name: a, keep: {}}\n- {name: b, match: {images: ['q.io/**']}, replicate: {registry: r}}",
            vec![],
        ),
    ] {
        let mut found = codes(text);
        found.sort_unstable();
        let mut expected = expected;
        expected.sort_unstable();
        assert_eq!(
            found,
            expected,
            "{text}\n{}",
            render::text(&compiled(&rules(text)).diagnostics, false)
        );
    }
}

#[test]
fn what_is_replicated_where_no_rule_leads_is_warned_of() {
    for (route, text, expected) in [
        (true, "", vec![]),
        (false, "", vec!["never-pulled"]),
        (false, ", rewrite: {latestPush: {}}", vec![]),
        (false, ", rewrite: {latestPush: {registries: [s, r]}}", vec![]),
        (
            false,
            ", rewrite: {latestPush: {registries: [s]}}",
            vec!["never-pulled"],
        ),
    ] {
        let rule = format!("- {{name: a, match: {{images: ['q.io/**']}}, replicate: {{registry: r}}{text}}}");
        let compiled = compile(&Input {
            sources: vec![Source::new("policy.yaml", rules(&rule))],
            settings: Settings {
                route_pushes: route,
                ..Settings::default()
            },
            ..Input::default()
        });
        let codes: Vec<_> = compiled.diagnostics.iter().map(|found| found.code).collect();
        assert_eq!((codes, compiled.set.is_some()), (expected, true), "{route} {rule}");
    }
}

#[test]
fn a_template_that_can_send_two_images_to_one_name_is_refused() {
    for (text, refused) in [
        // Everything is kept.
        ("- {name: a, rewrite: {prefix: r.io}}", false),
        (
            "- {name: a, rewrite: {to: ['r.io/x/{registry}/{namespace}/{name}']}}",
            false,
        ),
        // Any number of rules may share such a template.
        (
            "- {name: a, match: {images: ['a.io/**']}, rewrite: {prefix: r.io}}\n- {name: b, rewrite: {prefix: r.io}}",
            false,
        ),
        // Without the registry, of one registry or of all.
        (
            "- {name: a, match: {images: ['docker.io/**']}, rewrite: {to: ['r.io/{repository}']}}",
            false,
        ),
        ("- {name: a, rewrite: {to: ['r.io/{repository}']}}", true),
        (
            "- {name: a, match: {images: ['*/x/**']}, rewrite: {to: ['r.io/{repository}']}}",
            true,
        ),
        (
            "- {name: a, match: {images: ['a.io/**', 'b.io/**']}, rewrite: {to: ['r.io/{repository}']}}",
            true,
        ),
        (
            "- {name: a, match: {images: ['a.io/x/**', 'b.io/y/**']}, rewrite: {to: ['r.io/{repository}']}}",
            false,
        ),
        (
            "- {name: a, rewrite: {to: ['r.io/{repository}'], sharedTarget: true}}",
            false,
        ),
        // Without a part of the repository.
        (
            "- {name: a, match: {images: ['docker.io/library/*']}, rewrite: {to: ['r.io/{name}']}}",
            false,
        ),
        (
            "- {name: a, match: {images: ['docker.io/**']}, rewrite: {to: ['r.io/{name}']}}",
            true,
        ),
        (
            "- {name: a, match: {images: ['docker.io/library/alpine']}, rewrite: {to: ['r.io/base']}}",
            false,
        ),
        (
            "- {name: a, match: {images: ['docker.io/library/alpine', 'docker.io/library/busybox']}, rewrite: {to: ['r.io/base']}}",
            true,
        ),
        // What is put in or taken along on the way.
        (
            "- {name: a, match: {images: ['a.io/**']}, rewrite: {to: ['docker.io/{repository}']}}",
            true,
        ),
        (
            "- {name: a, match: {images: ['a.io/*']}, rewrite: {to: ['docker.io/{name}']}}\n- {name: b, match: {images: ['b.io/*']}, rewrite: {to: ['docker.io/library/{name}']}}",
            true,
        ),
        (
            "- {name: a, match: {images: ['a.io/**']}, rewrite: {to: ['r.io/x/{namespace}/{name}']}}\n- {name: b, match: {images: ['b.io/c']}, rewrite: {to: ['r.io/x/{name}']}}",
            true,
        ),
        (
            "- {name: a, match: {images: ['a.io/**']}, rewrite: {to: ['r.io/{repository}-m']}}\n- {name: b, match: {images: ['b.io/x/y-m']}, rewrite: {to: ['r.io/{repository}']}}",
            true,
        ),
        // The second target of the one, the first of the other.
        (
            "- {name: a, match: {images: ['a.io/**']}, rewrite: {to: ['r.io/{repository}', 's.io/{repository}'], onUnavailable: next}}\n- {name: b, match: {images: ['b.io/**']}, rewrite: {to: ['s.io/{repository}']}}",
            true,
        ),
        (
            "- {name: a, match: {images: ['docker.io/x/**'], namespaces: [a]}, rewrite: {to: ['r.io/docker.io/{repository}']}}\n- {name: b, match: {images: ['docker.io/**']}, rewrite: {prefix: r.io}}",
            false,
        ),
        // Two rules.
        (
            "- {name: a, match: {images: ['a.io/**']}, rewrite: {to: ['r.io/x/{repository}']}}\n- {name: b, match: {images: ['b.io/**']}, rewrite: {to: ['r.io/x/{repository}']}}",
            true,
        ),
        (
            "- {name: a, match: {images: ['a.io/**']}, rewrite: {to: ['r.io/x/{repository}']}}\n- {name: b, match: {images: ['b.io/**']}, rewrite: {to: ['r.io/y/{repository}']}}",
            false,
        ),
        (
            "- {name: a, match: {images: ['a.io/x/**']}, rewrite: {to: ['r.io/{repository}']}}\n- {name: b, match: {images: ['a.io/**']}, rewrite: {to: ['r.io/{repository}']}}",
            false,
        ),
        (
            "- {name: a, match: {images: ['a.io/**']}, rewrite: {to: ['r.io/b.io/{repository}']}}\n- {name: b, rewrite: {prefix: r.io}}",
            true,
        ),
        (
            "- {name: a, match: {images: ['a.io/x/**']}, rewrite: {to: ['r.io/a.io/{repository}']}}\n- {name: b, rewrite: {prefix: r.io}}",
            false,
        ),
    ] {
        let found = codes(text);
        assert_eq!(
            found.contains(&"shared-target"),
            refused,
            "{text}\n{}",
            render::text(&compiled(&rules(text)).diagnostics, false)
        );
        assert_eq!(found.len(), usize::from(refused), "{text}: {found:?}");
    }
}

#[test]
fn presets_say_what_they_need() {
    let choose = |name: &str, values: &[(&str, &str)]| {
        let values = values
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let compiled = compile(&Input {
            presets: vec![PresetChoice {
                name: name.to_owned(),
                values,
            }],
            ..Input::default()
        });
        compiled
            .diagnostics
            .iter()
            .map(|d| format!("{} {}", d.message, d.hint.clone().unwrap_or_default()))
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert!(choose("cern-pul-through", &[]).contains("did you mean `cern-pull-through`?"));
    assert!(choose("harbor-proxy-projects", &[]).contains("needs the value `host`"));
    assert!(choose("harbor-proxy-projects", &[("hst", "h.io"), ("host", "h.io")]).contains("did you mean `host`?"));
    assert_eq!(choose("harbor-proxy-projects", &[("host", "h.io")]), "");
    assert!(choose("harbor-proxy-projects", &[("host", "h.io\n}")]).contains("without a"));
    assert!(choose("harbor-proxy-projects", &[("host", "h.io/\nx")]).contains("not valid"));
}

#[test]
fn mistakes_of_all_kinds_are_found_in_one_go() {
    let text = rules(
        "- {name: hub, match: {images: [alpine], namespace: [x]}, rewrite: {prefx: r.io}}
- {name: hub, match: {images: 'docker.io/**', namespaces: [NO]}, rewrite: {to: ['{registry}/x']}}
- {name: c, match: {images: [7, 'also/bad']}, keep: {}, mode: enforced}
- {match: {images: [bad]}, keep: {}}
- {name: d, match: {images: ['q.io/**']}, rewrite: {to: ['r.io/{repo}']}}",
    );
    let diagnostics = compiled(&text).diagnostics;
    let mut found: Vec<String> = diagnostics.iter().map(|d| format!("{} {}", d.path, d.code)).collect();
    found.sort();
    let expected = [
        "spec.rules[0].match.images[0] invalid-pattern",
        "spec.rules[0].match.namespace unknown-key",
        "spec.rules[0].rewrite.prefx unknown-key",
        "spec.rules[1].match.images wrong-type",
        "spec.rules[1].match.namespaces[0] invalid-namespace",
        "spec.rules[1].name duplicate-name",
        "spec.rules[1].rewrite.to[0] invalid-template",
        "spec.rules[2].match.images[0] wrong-type",
        "spec.rules[2].mode unknown-value",
        "spec.rules[3] missing-key",
        "spec.rules[4].rewrite.to[0] invalid-template",
    ];
    assert_eq!(found, expected, "{}", render::text(&diagnostics, false));
}
