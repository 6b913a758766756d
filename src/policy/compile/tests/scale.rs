//! What ten thousand rules cost, in release: `cargo test --release --lib --no-default-features -- --ignored --nocapture scale`.

use std::time::Instant;

use super::*;
use crate::{decide::decide, policy::Context, reference::Reference};

const RULES: usize = 10_000;

fn policy(rule: impl Fn(usize) -> String) -> Input {
    let mut text =
        String::from("apiVersion: waypost.dev/v1alpha1\nkind: Policy\nmetadata: {name: p}\nspec:\n  rules:\n");
    for number in 0..RULES {
        text.push_str(&format!("    - {{name: r{number}, {}}}\n", rule(number)));
    }
    Input {
        sources: vec![Source::new("policy.yaml", text)],
        ..Input::default()
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "the numbers are for people")]
#[ignore = "measures; the numbers are for people"]
fn ten_thousand_rules() {
    let cases: Vec<(&str, Input)> = vec![
        (
            "literal prefixes, one template",
            policy(|n| format!("match: {{images: ['docker.io/org-{n}/**']}}, rewrite: {{prefix: r.io}}")),
        ),
        (
            "literal prefixes, a template each",
            policy(|n| {
                format!("match: {{images: ['docker.io/org-{n}/**']}}, rewrite: {{to: ['r.io/t-{n}/{{repository}}']}}")
            }),
        ),
        (
            "registries",
            policy(|n| format!("match: {{images: ['r{n}.example.com/**']}}, rewrite: {{prefix: r.io}}")),
        ),
        (
            "registries without {registry}",
            policy(|n| {
                format!("match: {{images: ['r{n}.example.com/**']}}, rewrite: {{to: ['r.io/m{n}/{{repository}}']}}")
            }),
        ),
        (
            "globs",
            policy(|n| format!("match: {{images: ['docker.io/*-{n}/**']}}, rewrite: {{prefix: r.io}}")),
        ),
        (
            "any registry",
            policy(|n| format!("match: {{images: ['*/org-{n}/**']}}, rewrite: {{prefix: r.io}}")),
        ),
        (
            "any registry, two templates",
            policy(|n| {
                format!(
                    "match: {{images: ['*/org-{n}/**']}}, rewrite: {{to: ['{}.io/{{registry}}/{{repository}}']}}",
                    ["r", "s"][n % 2]
                )
            }),
        ),
        (
            "templates that differ within a segment",
            policy(|n| {
                format!(
                    "match: {{namespaces: [team-{n}]}}, rewrite: {{to: ['r.io/team-{n}-{{registry}}/{{repository}}']}}"
                )
            }),
        ),
        (
            "templates that differ behind a variable",
            policy(|n| {
                format!("match: {{namespaces: [team-{n}]}}, rewrite: {{to: ['r.io/{{registry}}-{n}/{{repository}}']}}")
            }),
        ),
        (
            "namespaces",
            policy(|n| format!("match: {{images: ['*/**'], namespaces: [team-{n}]}}, rewrite: {{prefix: r.io}}")),
        ),
        (
            "namespaces, a template each",
            policy(|n| {
                format!("match: {{images: ['*/**'], namespaces: [team-{n}]}}, rewrite: {{prefix: r.io/team-{n}}}")
            }),
        ),
        (
            "namespaces with *",
            policy(|n| format!("match: {{images: ['*/**'], namespaces: ['team-{n}-*']}}, rewrite: {{prefix: r.io}}")),
        ),
        (
            "pod selectors",
            policy(|n| format!("match: {{podSelector: {{matchLabels: {{app: a{n}}}}}}}, rewrite: {{prefix: r.io}}")),
        ),
        (
            "exceptions",
            policy(|n| {
                format!("match: {{images: ['docker.io/org-{n}/**'], exceptImages: ['*/**/private-*']}}, keep: {{}}")
            }),
        ),
        (
            "deny",
            policy(|n| format!("match: {{images: ['docker.io/org-{n}/*:latest']}}, deny: {{}}")),
        ),
    ];
    let image = Reference::parse("docker.io/org-9999/app:1.2").unwrap();
    let none = BTreeMap::new();
    let labels = BTreeMap::from([("app".to_owned(), "a9999".to_owned())]);
    let context = Context {
        namespace: "team-9999",
        namespace_labels: &none,
        pod_labels: &labels,
    };
    println!(
        "{:<42} {:>9} {:>9} {:>12}  outcome",
        "ten thousand rules by", "parse ms", "whole ms", "decide ns"
    );
    for (name, input) in cases {
        let start = Instant::now();
        let parsed = document::parse(&input.sources[0]);
        let parsing = start.elapsed();
        drop(parsed);
        let start = Instant::now();
        let compiled = compile(&input);
        let whole = start.elapsed();
        let Some(set) = compiled.set else {
            println!("{name}: {}", compiled.diagnostics[0].message);
            continue;
        };
        let mut outcome = None;
        let rounds = 20_000;
        let start = Instant::now();
        for _ in 0..rounds {
            outcome = Some(decide(&set, &context, std::hint::black_box(&image), None, false).outcome);
        }
        let each = start.elapsed().as_nanos() / rounds;
        println!(
            "{name:<42} {:>9.1} {:>9.1} {each:>12}  {}",
            parsing.as_secs_f64() * 1e3,
            whole.as_secs_f64() * 1e3,
            outcome.map_or("", |outcome| outcome.as_str())
        );
    }
}
