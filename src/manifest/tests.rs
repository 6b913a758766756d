use std::{collections::BTreeMap, sync::Arc};

use super::*;
use crate::{
    document::render,
    policy::{Input, Settings, compile},
    snapshot::NoLabels,
};

mod properties;
mod styles;

const RULES: &str = "\
- {name: refused, match: {images: ['evil.io/**']}, deny: {message: not here}}
- {name: blue, match: {images: ['docker.io/**'], podSelector: {matchLabels: {colour: blue}}}, rewrite: {prefix: blue.io}}
- {name: prod, match: {images: ['docker.io/**'], namespaces: [prod]}, rewrite: {prefix: prod.io}}
- {name: hub, match: {images: ['docker.io/**']}, rewrite: {prefix: r.io}, pull: {secrets: [regcred]}}
- {name: lazy, match: {images: ['quay.io/**']}, rewrite: {prefix: r.io}, pull: {policy: IfNotPresent}}
- {name: long, match: {images: ['long.io/**']}, rewrite: {to: ['r.io/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/{registry}/{repository}']}}
- {name: tags, match: {images: ['ghcr.io/**']}, keep: {}, warn: [mutableTag]}";

fn snapshot() -> Snapshot {
    let mut text =
        String::from("apiVersion: waypost.dev/v1alpha1\nkind: Policy\nmetadata: {name: p}\nspec:\n  rules:\n");
    for line in RULES.lines() {
        text.push_str(&format!("    {line}\n"));
    }
    let compiled = compile(&Input {
        sources: vec![Source::new("p", text)],
        presets: Vec::new(),
        settings: Settings::default(),
    });
    match compiled.set {
        Some(set) => Snapshot::new(Arc::new(set), 1),
        None => panic!("{}", render::text(&compiled.diagnostics, false)),
    }
}

const IMAGES: Options<'_> = Options {
    pull: false,
    namespace: "default",
    namespace_labels: &NoLabels,
};
const PULL: Options<'_> = Options { pull: true, ..IMAGES };

/// The text after a rewrite, and what was found: `code line:column message`.
fn with(options: &Options<'_>, text: &str) -> (String, Vec<String>) {
    let source = Source::new("m.yaml", text);
    let rewritten = rewrite(&snapshot(), &source, options)
        .unwrap_or_else(|problems| panic!("{}\n{text}", render::text(&problems, false)));
    let findings = rewritten.findings.iter().map(|finding| {
        let spot = finding.spot.as_ref().unwrap();
        format!("{} {}:{} {}", finding.code, spot.line, spot.column, finding.message)
    });
    (rewritten.text.clone().into_owned(), findings.collect())
}

/// The text after a rewrite that finds nothing, of which another one changes nothing.
fn quiet(options: &Options<'_>, text: &str) -> String {
    let (once, findings) = with(options, text);
    assert_eq!(findings, [""; 0], "{text}");
    let (twice, findings) = with(options, &once);
    assert_eq!(twice, once);
    assert_eq!(findings, [""; 0], "{once}");
    once
}

fn pod(containers: &str) -> String {
    format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec:\n  containers:\n{containers}")
}

#[test]
fn every_kind_with_a_pod_template_is_rewritten_and_no_other() {
    let spec = "{containers: [{name: c, image: nginx:1}]}";
    let template = format!("{{metadata: {{labels: {{colour: blue}}}}, spec: {spec}}}");
    let rows = [
        ("v1", "Pod", "spec", spec, "r.io/docker.io/library/"),
        ("v1", "PodTemplate", "template", &template, "blue.io/docker.io/library/"),
        (
            "v1",
            "ReplicationController",
            "spec",
            &format!("{{template: {template}}}"),
            "blue.io/docker.io/library/",
        ),
        (
            "apps/v1",
            "Deployment",
            "spec",
            &format!("{{template: {template}}}"),
            "blue.io/docker.io/library/",
        ),
        (
            "apps/v1",
            "StatefulSet",
            "spec",
            &format!("{{template: {template}}}"),
            "blue.io/docker.io/library/",
        ),
        (
            "apps/v1",
            "DaemonSet",
            "spec",
            &format!("{{template: {template}}}"),
            "blue.io/docker.io/library/",
        ),
        (
            "apps/v1",
            "ReplicaSet",
            "spec",
            &format!("{{template: {template}}}"),
            "blue.io/docker.io/library/",
        ),
        (
            "batch/v1",
            "Job",
            "spec",
            &format!("{{template: {template}}}"),
            "blue.io/docker.io/library/",
        ),
        (
            "batch/v1",
            "CronJob",
            "spec",
            &format!("{{jobTemplate: {{spec: {{template: {template}}}}}}}"),
            "blue.io/docker.io/library/",
        ),
        (
            "v1",
            "List",
            "items",
            &format!("[{{apiVersion: v1, kind: Pod, spec: {spec}}}]"),
            "r.io/docker.io/library/",
        ),
        (
            "apps/v1",
            "DeploymentList",
            "items",
            &format!("[{{spec: {{template: {template}}}}}]"),
            "blue.io/docker.io/library/",
        ),
        (
            "v1",
            "PodList",
            "items",
            &format!("[{{spec: {spec}}}]"),
            "r.io/docker.io/library/",
        ),
        (
            "argoproj.io/v1alpha1",
            "Rollout",
            "spec",
            &format!("{{template: {template}}}"),
            "",
        ),
        (
            "example.org/v1",
            "Deployment",
            "spec",
            &format!("{{template: {template}}}"),
            "",
        ),
        ("v1", "ConfigMap", "spec", spec, ""),
        ("v1", "pod", "spec", spec, ""),
    ];
    for (version, kind, key, value, prefix) in rows {
        let text = format!("apiVersion: {version}\nkind: {kind}\n{key}: {value}\n");
        assert_eq!(
            quiet(&IMAGES, &text),
            text.replace("nginx", &format!("{prefix}nginx")),
            "{kind}"
        );
    }
    for text in [
        "kind: Pod\nspec: {containers: [{image: nginx}]}\n",
        "- image: nginx\n",
        "nginx",
        "",
        "---\n",
        "# c",
    ] {
        assert_eq!(quiet(&PULL, text), text);
    }
}

#[test]
fn every_kind_of_image_in_a_pod_is_rewritten() {
    let text = "\
apiVersion: v1
kind: Pod
metadata: {name: p, namespace: default}
spec:
  initContainers: [{name: i, image: a}]
  containers:
  - {name: c, image: b}
  ephemeralContainers:
  - name: e
    image: c
  volumes:
  - name: v
    image: {reference: d, pullPolicy: IfNotPresent}
  - name: w
    image:
      reference: e:1
  - name: x
    emptyDir: {}
";
    let mut images = text.to_owned();
    for (short, long) in [
        ("image: a", "image: r.io/docker.io/library/a"),
        ("image: b", "image: r.io/docker.io/library/b"),
        ("image: c\n", "image: r.io/docker.io/library/c\n"),
        ("reference: d", "reference: r.io/docker.io/library/d"),
        ("reference: e", "reference: r.io/docker.io/library/e"),
    ] {
        images = images.replace(short, long);
    }
    assert_eq!(quiet(&IMAGES, text), images);
    let pull = images
        .replace("pullPolicy: IfNotPresent", "pullPolicy: Always")
        .replace("library/e:1\n", "library/e:1\n      pullPolicy: Always\n")
        .replace("  containers:", "  imagePullSecrets:\n  - name: regcred\n  containers:");
    assert_eq!(quiet(&PULL, text), pull);
}

#[test]
fn the_namespace_is_the_objects_or_the_one_given() {
    let text = |namespace: &str| {
        format!("apiVersion: v1\nkind: Pod\nmetadata: {{{namespace}}}\nspec: {{containers: [{{image: a/b}}]}}\n")
    };
    for (namespace, given, registry) in [
        ("", "default", "r.io"),
        ("", "prod", "prod.io"),
        ("namespace: prod", "default", "prod.io"),
        ("namespace: default", "prod", "r.io"),
        ("namespace: ''", "prod", "prod.io"),
    ] {
        let options = Options {
            namespace: given,
            ..IMAGES
        };
        let expected = text(namespace).replace("a/b", &format!("{registry}/docker.io/a/b"));
        assert_eq!(quiet(&options, &text(namespace)), expected);
    }
}

#[test]
fn pods_and_namespaces_may_opt_out_and_mirror_pods_are_left() {
    let containers = "spec: {containers: [{name: c, image: nginx}]}\n";
    let rows = [
        "metadata: {labels: {waypost.dev/rewrite: disabled}}\n",
        "metadata: {labels: {<<: {waypost.dev/rewrite: disabled}}}\n",
        "metadata: {annotations: {kubernetes.io/config.mirror: abc}}\n",
    ];
    for metadata in rows {
        let text = format!("apiVersion: v1\nkind: Pod\n{metadata}{containers}");
        assert_eq!(quiet(&PULL, &text), text);
    }
    let labels = BTreeMap::from([("waypost.dev/rewrite".to_owned(), "disabled".to_owned())]);
    let options = Options {
        namespace_labels: &labels,
        ..PULL
    };
    let text = format!("apiVersion: v1\nkind: Pod\n{containers}");
    assert_eq!(quiet(&options, &text), text);
}

#[test]
fn the_pull_policy_is_decided_on_as_after_the_api_servers_defaults() {
    let rows = [
        // What is written, and what becomes of it: `lazy` wants IfNotPresent and lowers nothing.
        ("quay.io/a/b", "", ""),
        ("quay.io/a/b:1", "", ""),
        ("quay.io/a/b:latest", "", ""),
        ("quay.io/a/b", "Always", "Always"),
        ("docker.io/a/b:1", "", "Always"),
        ("docker.io/a/b:1", "IfNotPresent", "Always"),
        ("docker.io/a/b:1", "''", "'Always'"),
        ("docker.io/a/b:1", "null", "Always"),
        ("docker.io/a/b", "", ""),
    ];
    for (image, written, expected) in rows {
        let line = |policy: &str| match policy {
            "" => String::new(),
            policy => format!("    imagePullPolicy: {policy}\n"),
        };
        let text = pod(&format!("  - image: {image}\n{}", line(written)));
        let rewritten = quiet(&PULL, &text);
        let (_, tail) = rewritten.split_once("  - image: ").unwrap();
        assert_eq!(tail, format!("r.io/{image}\n{}", line(expected)), "{image} {written}");
    }
    // A preloaded image stays what it is.
    let text = pod("  - image: a/b\n    imagePullPolicy: Never\n");
    assert_eq!(quiet(&PULL, &text), text);
}

#[test]
fn what_is_denied_or_left_is_said_with_its_place() {
    let text = pod(
        "  - {name: a, image: evil.io/x}\n  - {name: b, image: b}\n  - {name: c, image: 'no image'}\n  - {name: d, image: ghcr.io/d}\n",
    );
    let (rewritten, findings) = with(&PULL, &text);
    assert!(
        rewritten.contains("image: evil.io/x}\n  - {name: b, image: r.io/docker.io/library/b}\n"),
        "{rewritten}"
    );
    let codes: Vec<_> = findings
        .iter()
        .map(|finding| finding.splitn(3, ' ').take(2).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(codes, ["denied 6:22", "unparsable 8:22", "image 9:22"]);
    assert_eq!(
        findings[0],
        "denied 6:22 Pod/p is refused: not here (container \"a\" (image \"evil.io/x\"), rule p/refused)"
    );
    let long = format!("long.io/{}", "x/".repeat(100) + "x");
    let text = pod(&format!("  - {{name: a, image: {long}}}\n"));
    let (rewritten, findings) = with(&PULL, &text);
    assert_eq!(rewritten, text);
    assert!(
        findings[0].starts_with("invalid-target 6:22 Pod/p: container \"a\""),
        "{findings:?}"
    );
}

#[test]
fn what_is_no_yaml_is_an_error_with_its_place() {
    let rows = [
        ("a: b\n c: d\n", "m.yaml:2:"),
        ("a: [\n", "m.yaml:1:"),
        ("a: *nowhere\n", "m.yaml:1:4"),
        ("a: \u{1}\n", "m.yaml:1:4"),
        ("a: b\n---\n{{ template }}: [\n", "m.yaml:3:"),
    ];
    for (text, place) in rows {
        let source = Source::new("m.yaml", text);
        let problems = rewrite(&snapshot(), &source, &IMAGES).unwrap_err();
        let shown = render::text(&problems, false);
        assert!(shown.contains(place), "{text:?}: {shown}");
    }
}

#[test]
fn a_few_lines_that_stand_for_millions_of_pods_are_refused() {
    let mut text = String::from("a0: &a0 {apiVersion: v1, kind: Pod, spec: {containers: [{image: a}]}}\n");
    for level in 1..9 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        text.push_str(&format!(
            "a{level}: &a{level} {{apiVersion: v1, kind: List, items: [{aliases}]}}\n"
        ));
    }
    text.push_str("apiVersion: v1\nkind: List\nitems: [*a8]\n");
    let problems = rewrite(&snapshot(), &Source::new("m", &*text), &IMAGES).unwrap_err();
    assert_eq!(problems[0].code, "too-many-aliases");
    // In circles, too.
    let circle = "&a\napiVersion: v1\nkind: List\nitems: [*a, *a]\n";
    assert!(rewrite(&snapshot(), &Source::new("m", circle), &IMAGES).is_err());
    let merged = "&a\n<<: *a\napiVersion: v1\nkind: Pod\n";
    assert_eq!(quiet(&IMAGES, merged), merged);
}
