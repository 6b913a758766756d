use std::path::Path;

use clap::Parser;

use super::{Args, Service, authority, default_url, url, yaml};
use crate::config::{Config, Flags};
use crate::document::{Node, Path as DocumentPath, Source, parse};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

fn args(flags: &[&str]) -> Args {
    Line::try_parse_from(std::iter::once(&"waypost").chain(flags))
        .unwrap()
        .args
}

fn config(file: &str) -> Config {
    Config::from_layers(Some(&Source::new("waypost.yaml", file)), [], &Flags::default()).unwrap()
}

/// The manifest, read back.
fn manifest(flags: &[&str], file: &str) -> (String, Node) {
    let text = yaml(&args(flags), &config(file), b"-----BEGIN CERTIFICATE-----\n").unwrap();
    let (mut documents, problems) = parse(&Source::new("webhook.yaml", &*text));
    assert_eq!(problems, [], "{text}");
    assert_eq!(documents.len(), 1, "{text}");
    (text, documents.remove(0))
}

/// The first webhook of the manifest as JSON.
fn webhook(flags: &[&str]) -> serde_json::Value {
    let (_, node) = manifest(flags, "");
    node.get("webhooks").unwrap().items()[0].decode().unwrap()
}

#[test]
fn the_manifest_is_what_the_design_says() {
    let (text, node) = manifest(&[], "");
    assert_eq!(
        node.get("apiVersion").and_then(Node::as_str),
        Some("admissionregistration.k8s.io/v1")
    );
    assert_eq!(
        node.get("kind").and_then(Node::as_str),
        Some("MutatingWebhookConfiguration")
    );
    let name = node.at(&DocumentPath::root().key("metadata").key("name"));
    assert_eq!(name.and_then(Node::as_str), Some("waypost"));
    let mut webhook = webhook(&[]);
    let conditions = webhook["matchConditions"].take();
    assert_eq!(
        webhook,
        serde_json::json!({
            "name": "pods.waypost.dev",
            "clientConfig": {
                "url": "https://127.0.0.1:8443/mutate",
                "caBundle": "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg==",
            },
            "rules": [
                {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"], "scope": "Namespaced"},
                {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"],
                    "resources": ["pods", "pods/ephemeralcontainers"], "scope": "Namespaced"},
            ],
            "namespaceSelector": {
                "matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system"]}],
            },
            "matchPolicy": "Equivalent",
            "matchConditions": null,
            "failurePolicy": "Ignore",
            "timeoutSeconds": 2,
            "reinvocationPolicy": "IfNeeded",
            "sideEffects": "NoneOnDryRun",
            "admissionReviewVersions": ["v1"],
        })
    );
    let conditions = conditions.as_array().unwrap();
    assert_eq!(conditions[0]["name"], "no-mirror-pods");
    let expression = conditions[1]["expression"].as_str().unwrap();
    for part in [
        "containers",
        "initContainers",
        "imagePullSecrets",
        "volumes",
        "ephemeralContainers",
        "imagePullPolicy",
    ] {
        assert!(expression.contains(part), "{expression}");
    }
    assert!(text.starts_with("apiVersion: "), "{text}");
}

#[test]
fn a_service_is_called_and_left_alone() {
    let webhook = webhook(&[
        "--service",
        "images/waypost:8443",
        "--failure-policy",
        "Fail",
        "--timeout",
        "5",
    ]);
    assert_eq!(
        webhook["clientConfig"]["service"],
        serde_json::json!({"namespace": "images", "name": "waypost", "path": "/mutate", "port": 8443})
    );
    assert_eq!(webhook["clientConfig"].get("url"), None);
    let values = &webhook["namespaceSelector"]["matchExpressions"][0]["values"];
    assert_eq!(values, &serde_json::json!(["kube-system", "images"]));
    assert_eq!(
        (&webhook["failurePolicy"], &webhook["timeoutSeconds"]),
        (&"Fail".into(), &5.into())
    );
}

#[test]
fn services_are_read() {
    let service = |namespace: &str, name: &str, port| Service {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        port,
    };
    let rows = [
        ("a/b", Some(service("a", "b", 443))),
        ("a/b:8443", Some(service("a", "b", 8443))),
        ("b", None),
        ("a/b/c", None),
        ("/b", None),
        ("A/b", None),
        ("a/b:0", None),
        ("a/b:x", None),
    ];
    for (text, expected) in rows {
        assert_eq!(text.parse().ok(), expected, "{text}");
    }
}

#[test]
fn addresses_are_those_the_api_server_takes() {
    let rows = [
        ("https://h:1", Some("https://h:1/mutate")),
        ("https://h:1/", Some("https://h:1/mutate")),
        ("https://h/x", Some("https://h/x")),
        ("http://h", None),
        ("h:1", None),
        ("https://", None),
        ("https:///x", None),
        ("https://u@h", None),
        ("https://h/?x=y", None),
        ("https://h/#f", None),
    ];
    for (text, expected) in rows {
        assert_eq!(url(text).ok().as_deref(), expected, "{text}");
    }
    let rows = [
        ("0.0.0.0:8443", "https://127.0.0.1:8443/mutate"),
        ("'[::]:8443'", "https://[::1]:8443/mutate"),
        ("10.1.2.3:1", "https://10.1.2.3:1/mutate"),
    ];
    for (listen, expected) in rows {
        let config = config(&format!("server: {{webhook: {{listen: {listen}}}}}"));
        assert_eq!(default_url(&config), expected);
    }
}

#[test]
fn flags_that_cannot_be_are_refused() {
    let rows: [&[&str]; 6] = [
        &["--url", "https://h", "--service", "a/b"],
        &["--url", "http://h"],
        &["--timeout", "0"],
        &["--timeout", "31"],
        &["--failure-policy", "ignore"],
        &["--service", "b"],
    ];
    for flags in rows {
        assert!(
            Line::try_parse_from(std::iter::once(&"waypost").chain(flags)).is_err(),
            "{flags:?}"
        );
    }
}

#[test]
fn only_certificates_are_published() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca.crt");
    let write = |text: &str| std::fs::write(&path, text).unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    write(&made.cert.pem());
    assert_eq!(authority(&path).unwrap(), made.cert.pem().into_bytes());
    let rows = [
        (made.cert.pem() + &made.signing_key.serialize_pem(), "private key"),
        ("text".to_owned(), "no certificate"),
        ("-----BEGIN CERTIFICATE-----\n!!\n".to_owned(), "PEM"),
    ];
    for (text, message) in rows {
        write(&text);
        assert!(
            format!("{:#}", authority(&path).unwrap_err()).contains(message),
            "{text}"
        );
    }
    assert!(
        authority(Path::new("/absent/ca.crt"))
            .unwrap_err()
            .to_string()
            .contains("cannot be read")
    );
}
