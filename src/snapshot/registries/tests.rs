use super::*;
use crate::{policy::Glob, snapshot::NoLabels};

fn registered(host: &str, organization: &str, available: bool) -> Registered {
    Registered {
        id: format!("{host}/{organization}").into(),
        address: Address {
            host: host.into(),
            organization: organization.into(),
        },
        namespaces: Admitted::default(),
        has_pull_credential: false,
        available,
    }
}

#[test]
fn a_credential_covers_what_lies_under_its_organization_for_its_namespaces() {
    let with_credential = Registered {
        namespaces: Admitted {
            names: Some(vec![Glob::new("a-*")]),
            selector: None,
        },
        has_pull_credential: true,
        ..registered("r.io", "team/x", true)
    };
    let registries = Registries::new(vec![with_credential, registered("s.io", "", true)]);
    for (image, namespace, expected) in [
        ("r.io/team/x/app", "a-1", true),
        ("R.io/team/x/app", "a-1", true),
        ("r.io/team/x/deep/app:1", "a-1", true),
        ("r.io/team/x", "a-1", false),
        ("r.io/team/xy/app", "a-1", false),
        ("r.io/team/app", "a-1", false),
        // Registered, and without a credential.
        ("s.io/team/x/app", "a-1", false),
        ("r.io/team/x/app", "b", false),
    ] {
        let image = Reference::parse(image).unwrap();
        assert_eq!(
            registries.covers(&image, namespace, &NoLabels),
            expected,
            "{image} in {namespace}"
        );
    }
    assert!(registries.any_credential() && !Registries::default().any_credential());
}

#[test]
fn what_is_down_is_what_lies_under_a_registry_that_is_down() {
    let registries = Registries::new(vec![
        registered("down.io", "", false),
        registered("down.io", "up", true),
        registered("down.io", "up/down", false),
        registered("Up.io:5000", "", true),
        registered("Up.io:5000", "a", false),
        registered("twice.io", "", false),
        registered("twice.io", "", true),
        registered("TWICE.io", "both", false),
        registered("twice.io", "both", false),
        registered("docker.io", "library", false),
        registered("localhost", "", false),
    ]);
    for (target, expected) in [
        ("down.io/x", true),
        ("down.io/x:1", true),
        ("down.io/up", true),
        ("down.io/up:1", true),
        ("down.io/upper/x", true),
        ("down.io/up/x", false),
        (
            "down.io/up/x@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            false,
        ),
        ("down.io/up/down", false),
        ("down.io/up/down/x", true),
        ("down.io/up/downer/x", false),
        ("up.io:5000/x", false),
        ("up.io:5000/a/x", true),
        ("up.io:5000/ab/x", false),
        ("up.io/a/x", false),
        ("twice.io/x", false),
        ("twice.io/both/x", true),
        ("docker.io/library/alpine:3", true),
        ("docker.io/org/app", false),
        ("localhost/x", true),
        ("localhost:5000/x", false),
        ("nobody.io/x", false),
    ] {
        assert_eq!(registries.is_unavailable(target), expected, "{target}");
    }
}

#[test]
fn where_nothing_is_down_nothing_is_unavailable() {
    for registries in [
        Registries::default(),
        Registries::new(vec![registered("r.io", "", true)]),
    ] {
        assert!(!registries.is_unavailable("r.io/x"));
    }
}

#[test]
fn they_are_listed_as_they_were_given() {
    let registries = Registries::new(vec![registered("s.io", "", true), registered("r.io", "x", false)]);
    assert_eq!(registries.ids().collect::<Vec<_>>(), ["s.io/", "r.io/x"]);
}

#[test]
fn a_registry_is_named_by_its_host_and_organization() {
    for (name, target) in [
        ("r.io", "r.io/x"),
        ("R.io:5000/a/b", "r.io:5000/a/b/x"),
        ("localhost", "localhost/x"),
        ("docker.io", "docker.io/library/alpine"),
        ("index.docker.io", "docker.io/library/alpine"),
    ] {
        let registries = Registries::new(vec![Registered::unavailable(name).unwrap()]);
        assert!(registries.is_unavailable(target), "{name}");
        assert_eq!(registries.ids().collect::<Vec<_>>(), [name]);
    }
    for name in ["", "team", "r.io/", "r.io/Team", "https://r.io", "r.io/x:1", "r io"] {
        let error = Registered::unavailable(name).unwrap_err();
        assert!(
            error.to_string().starts_with(&format!("`{name}` is no registry")),
            "{error}"
        );
    }
}
