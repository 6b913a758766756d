use std::time::Duration;

use super::{Config, Flags, LogFormat, LogLevel, Preset, PullPolicy, Setting, StoreKind};
use crate::document::check::Shape;
use crate::document::{Diagnostic, Source, render};

fn load(file: Option<&str>, variables: &[(&str, &str)], flags: &Flags) -> Result<Config, Vec<Diagnostic>> {
    let source = file.map(|text| Source::new("waypost.yaml", text));
    let environment = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned())));
    Config::from_layers(source.as_ref(), environment, flags)
}

fn from_file(text: &str) -> Result<Config, Vec<Diagnostic>> {
    load(Some(text), &[], &Flags::default())
}

fn from_variables(variables: &[(&str, &str)]) -> Result<Config, Vec<Diagnostic>> {
    load(None, variables, &Flags::default())
}

fn flag(flag: &'static str, key: &'static str, value: &str) -> Flags {
    Flags {
        settings: vec![Setting {
            flag,
            key,
            value: value.to_owned(),
        }],
        presets: Vec::new(),
    }
}

/// Everything of a configuration as lines, to compare with.
fn lines(config: &Config) -> Vec<String> {
    let Config {
        file: _,
        server,
        tls,
        policies,
        pushes,
        store,
        registries,
        issuers,
        pull,
        opt_out,
        cluster,
        controller,
        certificates,
        log,
    } = config;
    let presets: Vec<_> = policies
        .presets
        .iter()
        .map(|preset| format!("{}{:?}", preset.name, preset.values))
        .collect();
    vec![
        format!("server.webhook.listen {}", server.webhook.listen),
        format!("server.webhook.client_ca {:?}", server.webhook.client_ca),
        format!("server.webhook.drain {:?}", server.webhook.drain),
        format!("server.admin.listen {}", server.admin.listen),
        format!("server.api.listen {}", server.api.listen),
        format!("server.api.secret {:?}", server.api.secret),
        format!("tls.dir {}", tls.dir.display()),
        format!("policies.dir {}", policies.dir.display()),
        format!("policies.presets {}", presets.join(" ")),
        format!("pushes.route {}", pushes.route),
        format!("pushes.pin {}", pushes.pin),
        format!("pushes.verify {:?}", pushes.verify),
        format!("pushes.copies {}", pushes.copies),
        format!("store.kind {:?}", store.kind),
        format!("store.path {}", store.path.display()),
        format!("registries.dir {:?}", registries.dir),
        format!("registries.probe {:?}", registries.probe),
        format!("issuers.ambient_hosts {:?}", issuers.ambient_hosts),
        format!("issuers.google.iam_credentials {:?}", issuers.google.iam_credentials),
        format!("issuers.google.trusted {:?}", issuers.google.trusted),
        format!("pull.policy {:?}", pull.policy),
        format!("pull.secret {}", pull.secret),
        format!("pull.secrets {:?}", pull.secrets),
        format!("pull.inject {}", pull.inject),
        format!("opt_out.allowed {}", opt_out.allowed),
        format!("cluster.kubeconfig {:?}", cluster.kubeconfig),
        format!("cluster.namespace {:?}", cluster.namespace),
        format!("cluster.webhook_configuration {:?}", cluster.webhook_configuration),
        format!("controller.name {}", controller.name),
        format!("controller.lease {:?}", controller.lease),
        format!("certificates.secret {:?}", certificates.secret),
        format!("certificates.service {:?}", certificates.service),
        format!("certificates.api_service {:?}", certificates.api_service),
        format!(
            "certificates.webhook_configuration {:?}",
            certificates.webhook_configuration
        ),
        format!("certificates.leaf_lifetime {:?}", certificates.leaf_lifetime),
        format!("certificates.ca_lifetime {:?}", certificates.ca_lifetime),
        format!("log.level {:?}", log.level),
        format!("log.format {:?}", log.format),
    ]
}

const DEFAULTS: [&str; 38] = [
    "server.webhook.listen 127.0.0.1:8443",
    "server.webhook.client_ca None",
    "server.webhook.drain 15s",
    "server.admin.listen 127.0.0.1:9090",
    "server.api.listen 127.0.0.1:8444",
    "server.api.secret None",
    "tls.dir certs/local",
    "policies.dir policies.d",
    "policies.presets exempt-operators{}",
    "pushes.route true",
    "pushes.pin false",
    "pushes.verify 600s",
    "pushes.copies 4",
    "store.kind Embedded",
    "store.path data/waypost.redb",
    "registries.dir None",
    "registries.probe 10s",
    "issuers.ambient_hosts []",
    "issuers.google.iam_credentials None",
    "issuers.google.trusted []",
    "pull.policy Always",
    "pull.secret waypost-pull",
    "pull.secrets []",
    "pull.inject true",
    "opt_out.allowed true",
    "cluster.kubeconfig None",
    "cluster.namespace None",
    "cluster.webhook_configuration None",
    "controller.name waypost-controller",
    "controller.lease 15s",
    "certificates.secret None",
    "certificates.service None",
    "certificates.api_service None",
    "certificates.webhook_configuration None",
    "certificates.leaf_lifetime 7776000s",
    "certificates.ca_lifetime 315360000s",
    "log.level Info",
    "log.format Auto",
];

/// Key, its value in YAML, its value in a variable, the line it makes.
const KEYS: [(&str, &str, &str, &str); 38] = [
    ("server.webhook.listen", "0.0.0.0:1", "0.0.0.0:1", "0.0.0.0:1"),
    ("server.webhook.client_ca", "ca.pem", "ca.pem", "Some(\"ca.pem\")"),
    ("server.webhook.drain", "1m 30s", "1m30s", "90s"),
    ("server.admin.listen", "'[::1]:2'", "[::1]:2", "[::1]:2"),
    ("server.api.listen", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"),
    ("server.api.secret", "s", "s", "Some(\"s\")"),
    ("tls.dir", "/tls", "/tls", "/tls"),
    ("policies.dir", "/p", "/p", "/p"),
    (
        "policies.presets",
        "[a, {name: b, values: {host: h}}]",
        "[a, {name: b, values: {host: h}}]",
        "a{} b{\"host\": \"h\"}",
    ),
    ("pushes.route", "false", "false", "false"),
    ("pushes.pin", "true", "true", "true"),
    ("pushes.verify", "0s", "0s", "0ns"),
    ("pushes.copies", "1", "1", "1"),
    ("store.kind", "kubernetes", "kubernetes", "Kubernetes"),
    ("store.path", "/s", "/s", "/s"),
    ("registries.dir", "/r", "/r", "Some(\"/r\")"),
    ("registries.probe", "0s", "0s", "0ns"),
    (
        "issuers.ambient_hosts",
        "[Registry.example.com, 'proxy:5000']",
        "registry.example.com,proxy:5000",
        "[\"registry.example.com\", \"proxy:5000\"]",
    ),
    (
        "issuers.google.iam_credentials",
        "http://127.0.0.1:1/",
        "http://127.0.0.1:1/",
        "Some(\"http://127.0.0.1:1/\")",
    ),
    (
        "issuers.google.trusted",
        "['https://oauth2.example.com']",
        "https://oauth2.example.com",
        "[\"https://oauth2.example.com\"]",
    ),
    ("pull.policy", "IfNotPresent", "IfNotPresent", "IfNotPresent"),
    ("pull.secret", "x.y-z", "x.y-z", "x.y-z"),
    ("pull.secrets", "[a, b]", "a, b", "[\"a\", \"b\"]"),
    ("pull.inject", "false", "false", "false"),
    ("opt_out.allowed", "false", "false", "false"),
    ("cluster.kubeconfig", "k", "k", "Some(\"k\")"),
    ("cluster.namespace", "n", "n", "Some(\"n\")"),
    ("cluster.webhook_configuration", "w", "w", "Some(\"w\")"),
    ("controller.name", "c", "c", "c"),
    ("controller.lease", "3s", "3s", "3s"),
    ("certificates.secret", "s.t", "s.t", "Some(\"s.t\")"),
    ("certificates.service", "s", "s", "Some(\"s\")"),
    ("certificates.api_service", "s", "s", "Some(\"s\")"),
    ("certificates.webhook_configuration", "w", "w", "Some(\"w\")"),
    ("certificates.leaf_lifetime", "90s", "90s", "90s"),
    ("certificates.ca_lifetime", "9000h", "9000h", "32400000s"),
    ("log.level", "trace", "trace", "Trace"),
    ("log.format", "json", "json", "Json"),
];

fn yaml(key: &str, value: &str) -> String {
    let mut text = String::new();
    for (depth, name) in key.split('.').enumerate() {
        text.push_str(&format!("\n{}{name}:", "  ".repeat(depth)));
    }
    format!("{text} {value}\n")
}

fn variable(key: &str) -> String {
    format!("WAYPOST_{}", key.to_uppercase().replace('.', "__"))
}

#[test]
fn without_anything_the_defaults_hold() {
    let config = from_file("").unwrap();
    assert_eq!(lines(&config), DEFAULTS);
    assert_eq!(lines(&from_file("# nothing\n").unwrap()), DEFAULTS);
    assert_eq!(lines(&from_file("{}").unwrap()), DEFAULTS);
    assert_eq!(lines(&from_file("---\n# nothing\n").unwrap()), DEFAULTS);
    assert_eq!(lines(&from_variables(&[]).unwrap()), DEFAULTS);
}

#[test]
fn the_keys_are_those_of_the_design() {
    let leaves: Vec<_> = Shape::of::<super::raw::Raw>()
        .leaves()
        .iter()
        .map(ToString::to_string)
        .collect();
    let mut keys: Vec<_> = KEYS.iter().map(|(key, ..)| (*key).to_owned()).collect();
    keys.sort();
    assert_eq!(leaves, keys);
}

#[test]
fn each_key_is_set_by_file_and_by_variable() {
    for (at, (key, written, value, line)) in KEYS.iter().enumerate() {
        let mut expected: Vec<_> = DEFAULTS.map(str::to_owned).to_vec();
        expected[at] = format!("{key} {line}");
        let config = from_file(&yaml(key, written)).unwrap_or_else(|problems| panic!("{key}: {problems:?}"));
        assert_eq!(lines(&config), expected);
        let name = variable(key);
        let config = from_variables(&[(&name, value)]).unwrap_or_else(|problems| panic!("{key}: {problems:?}"));
        assert_eq!(lines(&config), expected);
        assert!(
            documents(key).contains(&name),
            "the comment of {key} does not name {name}"
        );
    }
}

/// The description in the schema of a key.
fn documents(key: &str) -> String {
    let schema = schemars::schema_for!(super::raw::Raw).to_value();
    let resolve = |node: &serde_json::Value| match node.get("$ref").and_then(|reference| reference.as_str()) {
        Some(reference) => schema.pointer(&reference[1..]).unwrap().clone(),
        None => node.clone(),
    };
    let (parents, last) = key.rsplit_once('.').unwrap();
    let node = parents
        .split('.')
        .fold(schema.clone(), |node, name| resolve(&node["properties"][name]));
    node["properties"][last]["description"]
        .as_str()
        .unwrap()
        .replace('\n', " ")
}

#[test]
fn lists_in_variables_are_written_in_two_ways() {
    let rows: [(&str, &[&str]); 6] = [
        (
            "exempt-operators,cern-pull-through",
            &["exempt-operators", "cern-pull-through"],
        ),
        (" a , b ,", &["a", "b"]),
        ("[a, b]", &["a", "b"]),
        ("[]", &[]),
        ("", &[]),
        ("a", &["a"]),
    ];
    for (value, names) in rows {
        let config = from_variables(&[("WAYPOST_POLICIES__PRESETS", value)]).unwrap();
        let found: Vec<_> = config.policies.presets.iter().map(|preset| &*preset.name).collect();
        assert_eq!(found, names, "{value:?}");
    }
}

#[test]
fn flags_win_over_variables_and_those_over_the_file() {
    let file = "log: {level: warn, format: json}\ntls: {dir: file}\npull: {secrets: [a, b]}\n";
    let variables = [
        ("WAYPOST_LOG__LEVEL", "debug"),
        ("WAYPOST_TLS__DIR", "variable"),
        ("WAYPOST_PULL__SECRETS", "c"),
    ];
    let config = load(Some(file), &variables, &flag("--log-level", "log.level", "trace")).unwrap();
    assert_eq!(config.log.level, LogLevel::Trace);
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.tls.dir.to_str(), Some("variable"));
    assert_eq!(config.pull.secrets, ["c"], "a list is replaced, not added to");
    assert_eq!(config.pull.policy, PullPolicy::Always);
    assert_eq!(config.store.kind, StoreKind::Embedded);
    assert_eq!(config.server.webhook.drain, Duration::from_secs(15));
}

#[test]
fn presets_of_flags_are_added() {
    let preset = |name: &str, values: &[(&str, &str)]| Preset {
        name: name.to_owned(),
        values: values
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
    };
    let flags = Flags {
        settings: Vec::new(),
        presets: vec![
            preset("b", &[("host", "new")]),
            preset("c", &[]),
            preset("exempt-operators", &[]),
        ],
    };
    let file = "policies: {presets: [exempt-operators, {name: b, values: {host: old, x: y}}]}";
    let config = load(Some(file), &[], &flags).unwrap();
    assert_eq!(
        config.policies.presets,
        [
            preset("exempt-operators", &[]),
            preset("b", &[("host", "new"), ("x", "y")]),
            preset("c", &[]),
        ]
    );
}

#[test]
fn variables_of_others_are_ignored() {
    let config = from_variables(&[
        ("WAYPOST_PORT", "tcp://10.0.0.1:443"),
        ("WAYPOST_PORT_8443_TCP_ADDR", "10.0.0.1"),
        ("WAYPOST_SERVICE_HOST", "10.0.0.1"),
        ("OTHER__KEY", "x"),
        ("PATH", "/bin"),
    ]);
    assert_eq!(lines(&config.unwrap()), DEFAULTS);
}

/// A file, code, line:column, parts of the message and the hint.
#[test]
fn mistakes_in_the_file_are_shown_where_they_are() {
    let rows = [
        (
            "sever: {}",
            "unknown-key",
            "1:1",
            "unknown key `sever`",
            "did you mean `server`?",
        ),
        (
            "server:\n  webhook:\n    lisen: x",
            "unknown-key",
            "3:5",
            "`lisen`",
            "`listen`",
        ),
        (
            "server:\n  listen: x",
            "unknown-key",
            "2:3",
            "`listen`",
            "belongs under `admin`",
        ),
        ("client_ca: x", "unknown-key", "1:1", "", ""),
        ("optOut: {}", "unknown-key", "1:1", "", "did you mean `opt_out`?"),
        (
            "server: {webhook: {listen: ':8443'}}",
            "invalid-value",
            "1:28",
            "`:8443` is no address",
            "`0.0.0.0:8443`",
        ),
        (
            "server: {webhook: {listen: 'localhost:1'}}",
            "invalid-value",
            "1:28",
            "",
            "`127.0.0.1:1`",
        ),
        (
            "server: {webhook: {listen: 127.0.0.1}}",
            "invalid-value",
            "1:28",
            "",
            "add the port",
        ),
        (
            "server: {webhook: {listen: 8443}}",
            "wrong-type",
            "1:28",
            "found the number `8443`",
            "`listen: 0.0.0.0:8443`",
        ),
        (
            "server: {webhook: {listen: '1.1.1.1:99999'}}",
            "invalid-value",
            "1:28",
            "",
            "0 to 65535",
        ),
        (
            "server: {webhook: {listen: 'example.org:1'}}",
            "invalid-value",
            "1:28",
            "",
            "not looked up",
        ),
        (
            "server: {api: {listen: '127.0.0.1:9090'}}",
            "invalid-value",
            "1:24",
            "taken by `server.admin.listen`",
            "a port of its own",
        ),
        (
            "server: {admin: {listen: '0.0.0.0:8443'}}",
            "invalid-value",
            "1:26",
            "taken by `server.webhook.listen`",
            "",
        ),
        (
            "server: {webhook: {drain: 15}}",
            "wrong-type",
            "1:27",
            "the number `15`",
            "`drain: 15s`",
        ),
        (
            "server: {webhook: {drain: '15'}}",
            "invalid-value",
            "1:27",
            "no unit",
            "`15s` for seconds",
        ),
        (
            "server: {webhook: {drain: soon}}",
            "invalid-value",
            "1:27",
            "no length of time",
            "`15s`",
        ),
        (
            "server: {webhook: {drain: -15s}}",
            "invalid-value",
            "1:27",
            "less than nothing",
            "",
        ),
        (
            "pushes: {verify: 0.5s}",
            "invalid-value",
            "1:18",
            "is too short",
            "`1s` or more",
        ),
        (
            "pushes: {copies: 0}",
            "out-of-range",
            "1:18",
            "not between 1 and 64",
            "",
        ),
        (
            "pushes: {route: yes}",
            "wrong-type",
            "1:17",
            "expected `true` or `false`",
            "`route: true`",
        ),
        (
            "issuers: {ambient_hosts: [a.b, 'https://corp']}",
            "invalid-value",
            "1:32",
            "`https://corp` is no host",
            "registry.example.com",
        ),
        (
            "issuers: {google: {trusted: [corp]}}",
            "invalid-value",
            "1:30",
            "`corp` says not where somebody is",
            "https://oauth2.example.com",
        ),
        (
            "issuers: {google: {iam_credentials: 'https://corp/path'}}",
            "invalid-value",
            "1:37",
            "`https://corp/path`",
            "scheme and host",
        ),
        ("tls: {dir: ''}", "invalid-value", "1:12", "empty path", ""),
        ("tls: {dir: }", "no-value", "1:7", "`dir` has no value", ""),
        ("tls:", "no-value", "1:1", "`tls` has no value", ""),
        (
            "log: {level: warning}",
            "unknown-value",
            "1:14",
            "`warning`",
            "`error`, `warn`, `info`, `debug` or `trace`",
        ),
        (
            "log: {level: INFO}",
            "unknown-value",
            "1:14",
            "",
            "did you mean `info`?",
        ),
        (
            "pull: {policy: always}",
            "unknown-value",
            "1:16",
            "",
            "did you mean `Always`?",
        ),
        (
            "pull: {secrets: regcred}",
            "wrong-type",
            "1:17",
            "a list of strings",
            "[\"regcred\"]",
        ),
        (
            "pull: {secrets: [a, B_c]}",
            "invalid-value",
            "1:21",
            "`B_c` cannot be the name of a Secret",
            "lower-case",
        ),
        ("pull: {secret: ''}", "invalid-value", "1:16", "", ""),
        (
            "cluster: {namespace: a.b}",
            "invalid-value",
            "1:22",
            "`a.b` cannot be the name of a namespace",
            "lower-case",
        ),
        (
            "controller: {lease: 1s}",
            "invalid-value",
            "1:21",
            "too short",
            "`3s` or more",
        ),
        (
            "certificates: {leaf_lifetime: 10h, ca_lifetime: 9h}",
            "invalid-value",
            "1:49",
            "an authority that ends before",
            "several times",
        ),
        ("store: {kind: redb}", "unknown-value", "1:15", "", "`embedded`"),
        (
            "policies: {presets: [a, a]}",
            "invalid-value",
            "1:25",
            "`a` is in the list twice",
            "keep one",
        ),
        ("policies: {presets: [{nam: a}]}", "missing-key", "1:22", "", ""),
        (
            "policies: {presets: [{name: a, values: {port: 5000}}]}",
            "wrong-type",
            "1:47",
            "",
            "`port: \"5000\"`",
        ),
        ("a: 1\n---\nb: 1", "unknown-key", "1:1", "", ""),
        (
            "{}\n---\n{}",
            "several-documents",
            "3:1",
            "second document",
            "remove the `---`",
        ),
        ("- a", "wrong-type", "1:1", "expected a mapping, found a list", ""),
        ("a: [", "syntax", "1:4", "", ""),
    ];
    for (file, code, place, message, hint) in rows {
        let problems = from_file(file).expect_err(file);
        let problem = &problems[0];
        let spot = problem.spot.as_ref().unwrap_or_else(|| panic!("{file}: {problem:?}"));
        let found = format!("{}:{}", spot.line, spot.column);
        assert_eq!((problem.code, &*found), (code, place), "{file}: {problem:?}");
        assert_eq!(problem.source, "waypost.yaml");
        assert!(problem.message.contains(message), "{file}: {problem:?}");
        assert!(
            problem.hint.as_deref().unwrap_or_default().contains(hint),
            "{file}: {problem:?}"
        );
    }
}

/// A variable, its value, code, parts of the message and the hint.
#[test]
fn mistakes_in_variables_name_them() {
    let rows = [
        (
            "WAYPOST_SERVER__WEBHOOK__LISEN",
            "x",
            "unknown-variable",
            "is the variable of no key",
            "did you mean WAYPOST_SERVER__WEBHOOK__LISTEN?",
        ),
        (
            "WAYPOST_OPTOUT__ALLOWED",
            "x",
            "unknown-variable",
            "",
            "did you mean WAYPOST_OPT_OUT__ALLOWED?",
        ),
        (
            "WAYPOST_log__level",
            "x",
            "unknown-variable",
            "",
            "did you mean WAYPOST_LOG__LEVEL?",
        ),
        (
            "WAYPOST_X__Y",
            "x",
            "unknown-variable",
            "WAYPOST_X__Y",
            "named after keys",
        ),
        ("WAYPOST_SERVER__WEBHOOK", "x", "unknown-variable", "", ""),
        ("WAYPOST_LOG__LEVEL", "verbose", "unknown-value", "`verbose`", "`error`"),
        (
            "WAYPOST_PUSHES__ROUTE",
            "yes",
            "wrong-type",
            "expected `true` or `false`",
            "write `WAYPOST_PUSHES__ROUTE=true`",
        ),
        ("WAYPOST_PUSHES__ROUTE", "", "wrong-type", "", ""),
        ("WAYPOST_PULL__SECRETS", "[a", "syntax", "not closed", ""),
        ("WAYPOST_PULL__SECRETS", "[1]", "wrong-type", "", "quotes"),
        ("WAYPOST_PULL__SECRETS", "a,B", "invalid-value", "`B`", ""),
        (
            "WAYPOST_SERVER__WEBHOOK__DRAIN",
            "15",
            "invalid-value",
            "no unit",
            "`15s`",
        ),
        (
            "WAYPOST_SERVER__API__LISTEN",
            "8444",
            "invalid-value",
            "`8444`",
            "`127.0.0.1:8444`",
        ),
        ("WAYPOST_TLS__DIR", "", "invalid-value", "empty path", ""),
    ];
    for (name, value, code, message, hint) in rows {
        let problems = from_variables(&[(name, value)]).expect_err(name);
        let problem = &problems[0];
        assert_eq!(problem.code, code, "{problem:?}");
        assert_eq!(problem.source, format!("environment variable {name}"));
        assert!(problem.message.contains(message), "{problem:?}");
        assert!(
            problem.hint.as_deref().unwrap_or_default().contains(hint),
            "{problem:?}"
        );
    }
    let environment = [("WAYPOST_TLS__DIR".to_owned(), None)];
    let problems = Config::from_layers(None, environment, &Flags::default()).unwrap_err();
    assert_eq!(problems[0].code, "not-utf8");
}

#[test]
fn mistakes_in_flags_name_them() {
    let rows = [
        ("--webhook-listen", "server.webhook.listen", ":1", "invalid-value"),
        ("--log-level", "log.level", "loud", "unknown-value"),
        ("--tls-dir", "tls.dir", "", "invalid-value"),
    ];
    for (name, key, value, code) in rows {
        let problems = load(
            Some("tls: {dir: x}"),
            &[("WAYPOST_TLS__DIR", "y")],
            &flag(name, key, value),
        )
        .unwrap_err();
        assert_eq!((problems[0].code, &*problems[0].source), (code, name));
    }
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let problems = load(
        Some("sever: {}\ntls: 1\n"),
        &[("WAYPOST_X__Y", ""), ("WAYPOST_LOG__LEVEL", "loud")],
        &flag("--log-format", "log.format", "xml"),
    )
    .unwrap_err();
    assert_eq!(problems.len(), 5);
    assert!(render::text(&problems, false).ends_with("5 errors\n"));
    let problems = load(
        Some("server: {webhook: {listen: x, drain: y}}"),
        &[("WAYPOST_PUSHES__VERIFY", "z")],
        &Flags::default(),
    )
    .unwrap_err();
    let sources: Vec<_> = problems.iter().map(|problem| &*problem.source).collect();
    assert_eq!(
        sources,
        [
            "waypost.yaml",
            "waypost.yaml",
            "environment variable WAYPOST_PUSHES__VERIFY"
        ]
    );
}

#[test]
fn a_file_that_is_named_must_be_there() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("absent.yaml");
    let problems = Config::load(Some(&path), &flag("--log-level", "log.level", "loud")).unwrap_err();
    assert_eq!(problems.len(), 2, "the flag is looked at all the same: {problems:?}");
    assert_eq!(problems[0].code, "unreadable-file");
    assert!(problems[0].hint.as_deref().unwrap().contains("--config"));
    std::fs::write(&path, "log: {level: debug}").unwrap();
    let config = Config::load(Some(&path), &Flags::default()).unwrap();
    assert_eq!((config.log.level, config.file), (LogLevel::Debug, Some(path.clone())));
    std::fs::write(&path, b"\xff").unwrap();
    assert_eq!(
        Config::load(Some(&path), &Flags::default()).unwrap_err()[0].code,
        "not-utf8"
    );
}
