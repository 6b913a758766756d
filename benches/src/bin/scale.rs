//! What ten thousand rules cost, whatever they differ in: to read, to compile, and to decide by.
//!
//! `cargo run --release --manifest-path benches/Cargo.toml --bin scale`

use std::{collections::BTreeMap, time::Instant};

use waypost::{
    decide::decide,
    document::{self, Source},
    policy::{Context, Input, compile},
    reference::Reference,
    snapshot::Snapshot,
};

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

fn main() {
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
    let mut cases = cases;
    let policies: String = (0..RULES)
        .map(|n| {
            format!(
                "---\napiVersion: waypost.dev/v1alpha1\nkind: Policy\nmetadata: {{name: p{n}}}\nspec: {{rules: [{{name: r, match: {{images: ['docker.io/org-{n}/**']}}, keep: {{}}}}]}}\n"
            )
        })
        .collect();
    let sources = vec![Source::new("policies.yaml", policies)];
    cases.push((
        "policies",
        Input {
            sources,
            ..Input::default()
        },
    ));
    cases.push((
        "collisions",
        policy(|n| format!("match: {{images: ['docker.io/org-{n}/**']}}, rewrite: {{to: ['r.io/{{name}}']}}")),
    ));
    let same = "match: {images: ['docker.io/**']}, keep: {}".to_owned();
    cases.push(("the same rule", policy(move |_| same.clone())));
    let image = Reference::parse("docker.io/org-9999/app:1.2").expect("a reference");
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
            let (count, first) = (compiled.diagnostics.len(), &compiled.diagnostics[0].message);
            println!(
                "{name:<42} {:>9} {:>9.1} {count} problems: {first}",
                "",
                whole.as_secs_f64() * 1e3
            );
            continue;
        };
        let snapshot = Snapshot::new(set.into(), 1);
        let mut outcome = None;
        let rounds = 20_000;
        let start = Instant::now();
        for _ in 0..rounds {
            outcome = Some(decide(&snapshot, &context, std::hint::black_box(&image), None, false).outcome);
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
