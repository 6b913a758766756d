use proptest::prelude::*;

use super::*;
use crate::snapshot::NoLabels;

fn spec(yaml: serde_json::Value) -> RegistrySpec {
    serde_json::from_value(yaml).unwrap()
}

fn parse(json: serde_json::Value) -> Registry {
    Registry::parse("corp", &spec(json)).unwrap()
}

/// The paths and messages of what is wrong.
fn problems(json: serde_json::Value) -> Vec<String> {
    let problems = Registry::parse("corp", &spec(json)).unwrap_err();
    problems
        .into_iter()
        .map(|problem| format!("{}: {}", problem.path, problem.message))
        .collect()
}

#[test]
fn an_address_is_a_host_and_the_organization_behind_it() {
    for (url, host, organization, endpoint) in [
        (None, "docker.io", "", "https://registry-1.docker.io"),
        (
            Some("docker.io/myorg"),
            "docker.io",
            "myorg",
            "https://registry-1.docker.io",
        ),
        (
            Some("https://index.docker.io/v1/"),
            "docker.io",
            "",
            "https://registry-1.docker.io",
        ),
        (
            Some("registry.cern.ch"),
            "registry.cern.ch",
            "",
            "https://registry.cern.ch",
        ),
        (
            Some("https://Registry.CERN.ch/"),
            "registry.cern.ch",
            "",
            "https://registry.cern.ch",
        ),
        (Some("http://r.io:5000/a/b/"), "r.io:5000", "a/b", "http://r.io:5000"),
        (Some("localhost/x"), "localhost", "x", "https://localhost"),
        (
            Some("127.0.0.1:30500"),
            "127.0.0.1:30500",
            "",
            "https://127.0.0.1:30500",
        ),
        (Some("[::1]:5000/x"), "[::1]:5000", "x", "https://[::1]:5000"),
    ] {
        let registry = parse(serde_json::json!({ "url": url }));
        assert_eq!(
            (&*registry.address.host, &*registry.address.organization),
            (host, organization),
            "{url:?}"
        );
        assert_eq!(registry.endpoint.to_string(), endpoint, "{url:?}");
    }
}

#[test]
fn an_endpoint_is_another_address_for_waypost_alone() {
    let registry = parse(serde_json::json!({"url": "127.0.0.1:30500", "endpoint": "http://registry.default.svc:5000"}));
    assert_eq!(&*registry.address.host, "127.0.0.1:30500");
    assert_eq!(registry.endpoint.to_string(), "http://registry.default.svc:5000");
    assert_eq!(
        (registry.endpoint.host.name(), registry.endpoint.host.port()),
        ("registry.default.svc", Some(5000))
    );
    let registry = parse(serde_json::json!({"url": "[::1]:5000", "plainHttp": true}));
    assert_eq!(registry.endpoint.to_string(), "http://[::1]:5000");
    assert_eq!(
        (registry.endpoint.host.name(), registry.endpoint.host.port()),
        ("::1", Some(5000))
    );
    let registry = parse(serde_json::json!({"url": "r.io", "plainHttp": true, "endpoint": "r.svc"}));
    assert_eq!(
        (registry.endpoint.to_string(), registry.endpoint.host.port()),
        ("http://r.svc".to_owned(), None)
    );
}

#[test]
fn hosts_that_issue_tokens_are_in_lower_case_and_may_have_a_port() {
    let hosts = [
        "GitLab.CERN.ch",
        "gitlab.default.svc:8443",
        "gitlab",
        "127.0.0.1",
        "[::1]:8443",
        "[FD00::1]",
    ];
    let registry = parse(serde_json::json!({"url": "gitlab-registry.cern.ch", "tokenHosts": hosts}));
    let expected = hosts.map(str::to_ascii_lowercase);
    assert_eq!(registry.token_hosts, expected.map(String::into_boxed_str));
    assert!(
        parse(serde_json::json!({"url": "r.io", "tokenHosts": []}))
            .token_hosts
            .is_empty()
    );
    assert_eq!(
        serde_json::to_value(RegistrySpec::default()).unwrap().get("tokenHosts"),
        None
    );
}

#[test]
fn everything_that_is_wrong_is_said_at_once_and_no_password_is_repeated() {
    assert_eq!(
        problems(serde_json::json!({
            "url": "team",
            "endpoint": "http://r.svc/v2",
            "names": {"to": "{name}"},
            "namespaces": {"names": ["Team A", "b-*"], "selector": {"matchLabels": {"a b": "c"}}},
        })),
        [
            "url: nodes do not take `team` for a registry",
            "endpoint: the endpoint has a path: `/v2`",
            "names.to: the names `{name}` do not say which repository an image is of, so that two images could have one name",
            "namespaces.names[0]: no namespace can match `Team A`",
            "namespaces.selector.matchLabels[\"a b\"]: the label key `a b` is not valid: it may have letters, digits, - _ and . only, with \
             a letter or digit at each end",
        ]
    );
    for url in [
        "https://user:hunter2@r.io",
        "hunter2://r.io",
        "r.io/x@hunter2",
        "r.io/?p=hunter2",
        "user:hunter2@r.io/x",
    ] {
        let problems = problems(serde_json::json!({ "url": url }));
        assert!(problems.len() == 1 && !problems[0].contains("hunter2"), "{problems:?}");
    }
}

#[test]
fn what_cannot_be_is_refused() {
    for (json, expected) in [
        (serde_json::json!({"url": "r.io:0"}), "url: `r.io:0` is no host"),
        (serde_json::json!({"url": "r.io:99999"}), "url: `r.io:99999` is no host"),
        (serde_json::json!({"url": ""}), "url: `` is no host"),
        (
            serde_json::json!({"url": "https://hub.docker.com/u/team"}),
            "url: hub.docker.com is Docker Hub's web site, and no registry",
        ),
        (
            serde_json::json!({"url": "r.io/Team"}),
            "url: the path `Team` cannot begin a repository",
        ),
        (
            serde_json::json!({"url": "https://r.io", "plainHttp": true}),
            "plainHttp: plain HTTP is asked for, and the address begins with https://",
        ),
        (
            serde_json::json!({"url": "http://r.io", "caBundle": "-----BEGIN CERTIFICATE-----"}),
            "caBundle: a CA bundle is given for a registry that is reached without TLS",
        ),
        (
            serde_json::json!({"url": "r.io", "caBundle": "MII"}),
            "caBundle: the CA bundle has no certificate in it",
        ),
        (
            serde_json::json!({"url": "r.io", "caBundle": "-----BEGIN CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----"}),
            "caBundle: the CA bundle has a private key in it",
        ),
        (
            serde_json::json!({"url": "r.io", "tokenHosts": ["a.io", "https://a.io"]}),
            "tokenHosts[1]: the host has a scheme, a path or a query around it",
        ),
        (
            serde_json::json!({"url": "r.io", "tokenHosts": ["a.io/jwt/auth"]}),
            "tokenHosts[0]: the host has a scheme, a path or a query around it",
        ),
        (
            serde_json::json!({"url": "r.io", "tokenHosts": ["u:hunter2@a.io"]}),
            "tokenHosts[0]: the host has a username or a password before it",
        ),
        (
            serde_json::json!({"url": "r.io", "tokenHosts": ["*.a.io"]}),
            "tokenHosts[0]: `*.a.io` is no host",
        ),
        (
            serde_json::json!({"url": "r.io", "tokenHosts": [""]}),
            "tokenHosts[0]: `` is no host",
        ),
        (
            serde_json::json!({"url": "r.io", "tokenHosts": [" a.io"]}),
            "tokenHosts[0]: ` a.io` is no host",
        ),
        (
            serde_json::json!({"url": "r.io", "tokenHosts": ["a.io:0"]}),
            "tokenHosts[0]: `a.io:0` is no host",
        ),
        (
            serde_json::json!({"url": "r.io", "tokenHosts": ["a.io:65536"]}),
            "tokenHosts[0]: `a.io:65536` is no host",
        ),
        (
            serde_json::json!({"url": "r.io", "tokenHosts": ["a.io:"]}),
            "tokenHosts[0]: `a.io:` is no host",
        ),
        (
            serde_json::json!({"url": "r.io", "tokenHosts": vec!["a.io"; 9]}),
            "tokenHosts: 9 hosts are more than 8",
        ),
        (
            serde_json::json!({"url": "r.io", "names": {"to": "{repository}"}}),
            "names.to: the names `{repository}` do not say which registry an image is of, so that two images could have one name",
        ),
        (
            serde_json::json!({"url": "r.io", "names": {"to": "{registry}/{repository}", "from": "docker.io"}}),
            "names.from: the names `{registry}/{repository}` say which registry an image is of, and so does `from`",
        ),
        (
            serde_json::json!({"url": "r.io", "names": {"to": "{repository}", "from": "docker.io/x"}}),
            "names.from: `docker.io/x` is no registry",
        ),
        (
            serde_json::json!({"url": "r.io", "namespaces": {"names": []}}),
            "namespaces.names: an empty list admits no namespace",
        ),
    ] {
        assert_eq!(problems(json), [expected]);
    }
}

#[test]
fn names_lead_there_and_back() {
    for (json, image, target) in [
        (
            serde_json::json!({"url": "r.io/team"}),
            "alpine:3",
            Some("r.io/team/docker.io/library/alpine:3"),
        ),
        (
            serde_json::json!({"url": "r.io"}),
            "quay.io/a/b",
            Some("r.io/quay.io/a/b"),
        ),
        (serde_json::json!({"url": "r.io"}), "localhost:5000/a", None),
        (
            serde_json::json!({"url": "r.io/t", "names": {"to": "{repository}", "from": "index.docker.io"}}),
            "alpine",
            Some("r.io/t/library/alpine"),
        ),
        (
            serde_json::json!({"url": "r.io/t", "names": {"to": "{repository}", "from": "docker.io"}}),
            "quay.io/a",
            None,
        ),
        (
            serde_json::json!({"url": "r.io", "names": {"to": "{registry}/x/{namespace}/{name}"}}),
            "gcr.io/a/b/c",
            Some("r.io/gcr.io/x/a/b/c"),
        ),
    ] {
        let names = parse(json.clone()).names;
        let image = Reference::parse(image).unwrap();
        assert_eq!(names.target(&image).as_deref(), target, "{json} {image}");
        if let Some(target) = target {
            let source = names.source(&Reference::parse(target).unwrap());
            assert_eq!(source, Some(image.canonical().to_string()), "{json} {target}");
        }
    }
    let names = parse(serde_json::json!({"url": "r.io/team"})).names;
    for foreign in ["r.io/teams/docker.io/a/b", "r.io/team/app", "s.io/team/docker.io/a/b"] {
        assert_eq!(names.source(&Reference::parse(foreign).unwrap()), None, "{foreign}");
    }
}

proptest! {
    #[test]
    fn what_a_name_stands_for_has_that_name(
        to in prop::sample::select(vec!["{registry}/{repository}", "{registry}/x/{namespace}/{name}", "m-{registry}/{repository}"]),
        organization in prop::sample::select(vec!["", "/team", "/a/b"]),
        registry in prop::sample::select(vec!["docker.io", "quay.io", "r.io", "ghcr.io"]),
        path in "[a-z]{1,3}(/[a-z]{1,3}){0,3}",
        suffix in prop::sample::select(vec!["", ":v1", "@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]),
    ) {
        let names = parse(serde_json::json!({"url": format!("r.io{organization}"), "names": {"to": to}})).names;
        let text = format!("{registry}/{path}{suffix}");
        let image = Reference::parse(&text).unwrap();
        if let Some(target) = names.target(&image) {
            let target = Reference::parse(&target).unwrap();
            prop_assert_eq!(names.source(&target), Some(image.canonical().to_string()));
        }
        if let Some(source) = names.source(&image) {
            let back = names.target(&Reference::parse(&source).unwrap());
            prop_assert_eq!(back, Some(image.canonical().to_string()));
        }
    }
}

#[test]
fn a_registry_is_over_what_lies_under_its_organization_by_whole_segments() {
    for (url, image, expected) in [
        ("r.io/team/x", "r.io/team/x/app", true),
        ("r.io/team/x", "R.io/team/x/deep/app:1", true),
        ("r.io/team/x", "r.io/team/x", false),
        ("r.io/team/x", "r.io/team/xy/app", false),
        ("r.io/team/x", "s.io/team/x/app", false),
        ("r.io", "r.io/a", true),
        ("docker.io", "alpine", true),
        ("docker.io/library", "alpine", true),
    ] {
        let registry = parse(serde_json::json!({ "url": url }));
        assert_eq!(
            registry.is_over(&Reference::parse(image).unwrap()),
            expected,
            "{url} {image}"
        );
    }
}

#[test]
fn both_names_and_labels_must_hold_where_both_are_given() {
    let labels = std::collections::BTreeMap::from([("team".to_owned(), "a".to_owned())]);
    for (namespaces, expected) in [
        (serde_json::json!(null), [true, true]),
        (serde_json::json!({"names": ["x-*"]}), [true, true]),
        (serde_json::json!({"names": ["y"]}), [false, false]),
        (
            serde_json::json!({"selector": {"matchLabels": {"team": "a"}}}),
            [true, false],
        ),
        (
            serde_json::json!({"names": ["y"], "selector": {"matchLabels": {"team": "a"}}}),
            [false, false],
        ),
        (
            serde_json::json!({"names": ["*"], "selector": {"matchLabels": {"team": "a"}}}),
            [true, false],
        ),
    ] {
        let admitted = parse(serde_json::json!({"url": "r.io", "namespaces": namespaces})).namespaces;
        assert_eq!(
            [admitted.admits("x-1", &labels), admitted.admits("x-1", &NoLabels)],
            expected,
            "{namespaces}"
        );
    }
}

#[test]
fn an_id_is_a_dns_label_made_of_the_name() {
    for (name, id) in [
        ("CERN Registry (prod)", Some("cern-registry-prod")),
        ("corp", Some("corp")),
        ("  --Ünïcode 9 ", Some("n-code-9")),
        ("日本", None),
        ("", None),
    ] {
        assert_eq!(id_of(name).as_deref(), id, "{name}");
        assert!(id.is_none_or(|id| id_problem(id).is_none()));
    }
    let long = id_of(&"ab ".repeat(40)).unwrap();
    assert!(id_problem(&long).is_none(), "{long}");
    for id in ["", "-a", "a-", "A", "a.b", &"a".repeat(64)] {
        assert!(id_problem(id).is_some(), "{id}");
    }
}

#[test]
fn a_kubelet_key_ends_in_a_slash_behind_an_organization() {
    for (url, key) in [
        (None, "index.docker.io"),
        (Some("docker.io/myorg"), "docker.io/myorg/"),
        (Some("r.io"), "r.io"),
        (Some("r.io:5000/a/b"), "r.io:5000/a/b/"),
    ] {
        assert_eq!(parse(serde_json::json!({ "url": url })).address.kubelet_key(), key);
    }
}

#[test]
fn a_docker_config_is_read_as_it_was_written_and_by_the_longest_key() {
    let login = |username: &str, password: &str| Login {
        username: username.to_owned(),
        password: Password::new(password.to_owned()),
    };
    let address = |url: &str| parse(serde_json::json!({ "url": url })).address;
    let (hub, team, all) = (login("u", "p:\"w\\"), login("t", "ü"), login("a", ""));
    let json = credential::docker_config([
        (address("docker.io").kubelet_key(), &hub),
        (address("r.io/team").kubelet_key(), &team),
        (address("r.io").kubelet_key(), &all),
    ]);
    for (url, expected) in [
        ("docker.io", &hub),
        ("r.io/team", &team),
        ("r.io/team/x", &team),
        ("r.io/teams", &all),
        ("r.io", &all),
    ] {
        assert_eq!(
            &Login::from_docker_config(&json, &address(url)).unwrap(),
            expected,
            "{url}"
        );
    }
    let auths = serde_json::from_slice::<serde_json::Value>(&json).unwrap();
    assert_eq!(auths["auths"]["r.io"]["auth"], "YTo=");
    assert_eq!(
        Login::from_docker_config(&json, &address("s.io"))
            .unwrap_err()
            .to_string(),
        "it has no entry for s.io: those it has are for index.docker.io, r.io, r.io/team/"
    );
    // As `docker login` writes it.
    let docker = br#"{"auths": {"https://index.docker.io/v1/": {"auth": "dTpwOncK"}, "r.io": {"identitytoken": "x"}}, "credsStore": "x"}"#;
    assert_eq!(
        Login::from_docker_config(docker, &address("docker.io/x")).unwrap(),
        login("u", "p:w\n")
    );
    assert!(
        Login::from_docker_config(docker, &address("r.io"))
            .unwrap_err()
            .to_string()
            .contains("identity token")
    );
    let broken = Login::from_docker_config(br#"{"auths": {"r.io": "hunter2"}}"#, &address("r.io")).unwrap_err();
    assert!(!broken.to_string().contains("hunter2"), "{broken}");
}

#[test]
fn a_password_is_not_shown() {
    let credentials = Credentials {
        pull: Some(Credential::Login(Login {
            username: "u".to_owned(),
            password: Password::new("hunter2".to_owned()),
        })),
        push: None,
    };
    let shown = format!("{credentials:?} {credentials:#?}");
    assert!(!shown.contains("hunter2") && shown.contains("[redacted]"), "{shown}");
}

#[test]
fn a_condition_keeps_the_time_of_a_status_that_stays() {
    let at = |second| jiff::Timestamp::from_second(second).unwrap();
    let mut conditions = Vec::new();
    let kind = ConditionKind::Authenticated;
    assert!(Condition::put(
        &mut conditions,
        at(1),
        kind,
        Status::True,
        "Accepted",
        "fine".to_owned()
    ));
    assert!(!Condition::put(
        &mut conditions,
        at(2),
        kind,
        Status::True,
        "Accepted",
        "fine".to_owned()
    ));
    assert!(Condition::put(
        &mut conditions,
        at(3),
        kind,
        Status::True,
        "Accepted",
        "still fine".to_owned()
    ));
    assert_eq!(conditions[0].last_transition_time, at(1));
    assert!(Condition::put(
        &mut conditions,
        at(4),
        kind,
        Status::False,
        "Refused",
        "wrong".to_owned()
    ));
    assert_eq!(conditions[0].last_transition_time, at(4));
    Condition::put(
        &mut conditions,
        at(5),
        ConditionKind::Reachable,
        Status::True,
        "Answers",
        String::new(),
    );
    let kinds: Vec<_> = conditions.iter().map(|condition| condition.kind).collect();
    assert_eq!(kinds, [ConditionKind::Reachable, ConditionKind::Authenticated]);
}
