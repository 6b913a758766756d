//! Registries whose tokens Amazon and Google issue, as values say them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use waypost::registry::{Registry, RegistrySpec, amazon, google};

use super::{documents, notes, object, render, string, template, yaml};
use crate::support::program::{Directory, Finished};

#[test]
fn what_does_not_go_together_is_refused_with_a_sentence() {
    let ecr = |more: Value| registry(&json!({"location": "ecr", "region": "eu-central-1"}), more);
    let gcr = |more: Value| registry(&json!({"location": "gcr"}), more);
    let off = |more: Value| registry(&json!({"url": "r.io"}), more);
    for (registry, complaint) in [
        (json!({"location": "acr"}), "'/registries/r/location'"),
        (
            json!({"location": "ecr"}),
            "registries.r.region is missing: ECR is one in each region",
        ),
        (
            json!({"location": "ecr", "hostname": "r.io"}),
            "registries.r.region is missing",
        ),
        (ecr(json!({"region": "Frankfurt"})), "'/registries/r/region'"),
        (
            ecr(json!({"pullRoleArn": "waypost-pull"})),
            "'/registries/r/pullRoleArn'",
        ),
        (ecr(json!({"hostname": "https://r.io"})), "'/registries/r/hostname'"),
        (
            ecr(json!({"repositories": {"tags": {"a": 1}}})),
            "'/registries/r/repositories/tags/a'",
        ),
        (
            ecr(json!({"pullRoleExternalId": "x1"})),
            "registries.r.pullRoleExternalId is that of a role: say which one in pullRoleArn",
        ),
        (
            ecr(json!({"url": "r.io/team"})),
            "registries.r.url has a host that is none of ECR's",
        ),
        (
            gcr(json!({"url": "r.io/team"})),
            "registries.r.url has a host that is none of Google's",
        ),
        (
            ecr(json!({"username": "robot", "password": "p"})),
            "is for the location off-cluster, and the location is ecr: there it is accessKeyId and secretAccessKey",
        ),
        (
            ecr(json!({"keyJson": "{}"})),
            "registries.r.keyJson is for the location gcr, and the location is ecr",
        ),
        (
            gcr(json!({"push": {"accessKeyId": "a"}})),
            "registries.r.push.accessKeyId is for the location ecr, and the location is gcr: there it is keyJson",
        ),
        (
            off(json!({"sessionToken": "a"})),
            "registries.r.sessionToken is for the location ecr, and the location is off-cluster: there it is username",
        ),
        (
            ecr(json!({"accessKeyId": "a"})),
            "registries.r has accessKeyId without secretAccessKey",
        ),
        (
            ecr(json!({"push": {"secretAccessKey": "a"}})),
            "registries.r.push has secretAccessKey without accessKeyId",
        ),
        (
            ecr(json!({"sessionToken": "a"})),
            "registries.r has sessionToken without accessKeyId",
        ),
        (
            off(json!({"username": "a"})),
            "registries.r has username without password",
        ),
        (
            ecr(json!({"accessKeyId": "a", "secretAccessKey": "b", "existingSecret": "c"})),
            "registries.r has both existingSecret and accessKeyId, secretAccessKey: leave one of the two out",
        ),
        (
            gcr(json!({"push": {"keyJson": "{}", "existingSecret": "c"}})),
            "registries.r.push has both existingSecret and keyJson: leave one of the two out",
        ),
        (
            gcr(json!({"region": "eu-central-1"})),
            "registries.r.region is for the location ecr, and the location is gcr",
        ),
        (
            off(json!({"repositories": {"create": true}})),
            "registries.r.repositories is for the location ecr, and the location is off-cluster",
        ),
        (
            ecr(json!({"pullServiceAccount": "a@b.iam.gserviceaccount.com"})),
            "registries.r.pullServiceAccount is for the location gcr, and the location is ecr",
        ),
        (
            off(json!({"hostname": "r.io"})),
            "the location is off-cluster: its host goes into url",
        ),
        (gcr(json!({"keyJson": 1})), "'/registries/r/keyJson'"),
        (
            off(
                json!({"url": "https://123456789012.dkr.ecr.eu-central-1.amazonaws.com:443/team", "username": "AWS", "password": "p"}),
            ),
            "registries.r.username is that of ECR's tokens: such a password ends after twelve hours. Say location: ecr",
        ),
        (
            off(json!({"url": "eu.gcr.io/project", "push": {"username": "oauth2accesstoken", "password": "p"}})),
            "registries.r.push.username is that of Google's tokens: such a password ends after an hour. Say location: gcr",
        ),
        (
            off(json!({"url": "Europe-docker.pkg.dev/project", "username": "_json_key", "password": "p"})),
            "registries.r.username goes with the key of a service account: one to pull with would reach every admitted",
        ),
        (
            off(json!({"url": "gcr.io", "username": "_json_key_base64", "password": "p"})),
            "namespace. Say location: gcr, and give keyJson",
        ),
    ] {
        let refused = with(&json!({"registries": {"r": registry}}));
        assert_eq!(refused.code, Some(1), "{registry} was accepted");
        refused.complains(complaint);
    }
}

#[test]
fn an_access_key_that_cannot_be_one_is_refused_and_not_shown() {
    const ID: &str = "AKIAIOSFODNN7EXAMPLE";
    const SECRET: &str = "hunter2hunter2hunter2hunter2hunter2/unter";
    let secret = &SECRET[1..];
    let base64 = |text: &str| STANDARD.encode(text);
    let no_id = "accessKeyId is no id of an access key: those are 16 to 128 upper-case letters and digits";
    let id = "secretAccessKey is the id of an access key";
    for (given, other, complaint) in [
        (secret, ID, no_id),
        ("hunter2", secret, no_id),
        (&base64(ID), secret, "accessKeyId is in base64: give it as it is"),
        (
            &base64(&format!("{ID}\n")),
            secret,
            "accessKeyId is in base64: give it as it is",
        ),
        (ID, ID, id),
        (ID, "ASIAI44QH8DHBEXAMPLE", id),
        (ID, &base64(ID), "secretAccessKey is in base64: give it as it is"),
        (ID, &base64(secret), "secretAccessKey is in base64: give it as it is"),
        (ID, "hunter2 hunter2", "secretAccessKey has a space"),
    ] {
        let key = json!({"accessKeyId": given, "secretAccessKey": other});
        for (at, registry) in [
            ("registries.r.", key.clone()),
            ("registries.r.push.", json!({"push": key})),
        ] {
            let registry = self::registry(&json!({"location": "ecr", "region": "eu-central-1"}), registry);
            let refused = with(&json!({"registries": {"r": registry}}));
            assert_eq!(refused.code, Some(1), "{given} {other} was accepted");
            let refused = refused.complains(&format!("{at}{complaint}"));
            for shown in [given, other] {
                assert!(!refused.stderr.contains(shown), "{}", refused.stderr);
            }
        }
    }
    // With the line end of a file that --set-file takes.
    let key = json!({"accessKeyId": format!("{ID}\n"), "secretAccessKey": format!("{secret}\n")});
    let registry = registry(&json!({"location": "ecr", "region": "eu-central-1"}), key);
    with(&json!({"registries": {"r": registry}})).exits(0);
}

/// Those at which no region and no `hostname` has to be said.
#[test]
fn the_hosts_of_issuers_are_those_that_the_program_knows() {
    let at_home = [
        "123456789012.dkr.ecr.eu-central-1.amazonaws.com",
        "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn",
        "123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com",
        "123456789012.dkr.ecr.us-iso-east-1.c2s.ic.gov",
        "123456789012.dkr.ecr.us-isob-east-1.sc2s.sgov.gov",
        "123456789012.dkr.ecr.eu-isoe-west-1.cloud.adc-e.uk",
        "123456789012.dkr.ecr.us-isof-south-1.csp.hci.ic.gov",
        "123456789012.dkr.ecr.eusc-de-east-1.amazonaws.eu",
        "123456789012.dkr-ecr.eu-central-1.on.aws",
        "123456789012.dkr-ecr-fips.us-gov-west-1.on.aws",
        "123456789012.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn",
    ];
    let mut registries = serde_json::Map::new();
    for (at, host) in at_home.iter().enumerate() {
        assert!(amazon::of_host(host).is_some(), "{host}");
        registries.insert(
            format!("url-{at}"),
            json!({"location": "ecr", "url": format!("{host}/team")}),
        );
        registries.insert(format!("hostname-{at}"), json!({"location": "ecr", "hostname": host}));
    }
    for (at, host) in ["gcr.io", "eu.gcr.io", "docker.pkg.dev", "us-docker.pkg.dev"]
        .iter()
        .enumerate()
    {
        assert!(google::is_google_host(host), "{host}");
        registries.insert(
            format!("google-{at}"),
            json!({"location": "gcr", "url": format!("{host}/team")}),
        );
    }
    let rendered = with(&json!({"registries": registries})).exits(0);
    let configuration = object(rendered.out(), "ConfigMap", "waypost")["data"]["waypost.yaml"].clone();
    assert!(
        !configuration.as_str().unwrap().contains("ambient_hosts"),
        "{configuration}"
    );
    for id in registries.keys() {
        assert_eq!(Registry::check(id, &spec(rendered.out(), id)), Ok(()), "{id}");
    }
    for host in [
        "123456789012.dkr.ecr.eu-central-1.amazonaws.com.cn",
        "123456789012.dkr.ecr.cn-north-1.amazonaws.com",
        "123456789012.dkr.ecr.eu-central-1.on.aws",
        "123456789012.dkr-ecr.eu-central-1.amazonaws.com",
        "123456789012.dkr-ecr.us-iso-east-1.on.aws",
        "123456789012.dkr.ecr.eu-central.amazonaws.com",
        "12345678901.dkr.ecr.eu-central-1.amazonaws.com",
        "123456789012.dkr.ecr.eu-central-1.amazonaws.com.example.com",
    ] {
        assert_eq!(amazon::of_host(host), None, "{host}");
        with(&json!({"registries": {"r": {"location": "ecr", "url": host}}}))
            .complains("registries.r.region is missing");
        with(&json!({"registries": {"r": {"location": "ecr", "hostname": host}}}))
            .complains("registries.r.region is missing");
    }
    assert!(!google::is_google_host("-.gcr.io"));
    with(&json!({"registries": {"r": {"location": "gcr", "url": "-docker.pkg.dev"}}})).complains("registries.r.url");
}

/// Whoever gives it in base64, as Kubernetes has Secrets, or the wrong file.
#[test]
fn what_is_no_key_of_a_service_account_is_refused_and_not_shown() {
    for key in [
        json!("hunter2"),
        json!(STANDARD.encode(json!({"type": "service_account", "private_key": "hunter2"}).to_string())),
        json!(r#"["hunter2"]"#),
        json!(r#"{"type": "authorized_user", "refresh_token": "hunter2"}"#),
        json!({"type": "external_account", "audience": "hunter2"}),
    ] {
        let refused = with(&json!({"registries": {"r": {"location": "gcr", "keyJson": key}}}));
        assert_eq!(refused.code, Some(1), "{key} was accepted");
        let refused = refused
            .complains("registries.r.keyJson is no key of a service account")
            .complains("--set-file registries.r.keyJson=key.json");
        assert!(!refused.stderr.contains("hunter2"), "{}", refused.stderr);
    }
}

/// YAML and `--set` make a number of it, which Helm writes as 1.23456789012e+11.
#[test]
fn the_id_of_an_ecr_registry_is_twelve_digits_or_refused() {
    let lost = "registries.r.registryId has not twelve digits: a number loses the zeros that it begins with";
    for (written, expected) in [
        ("123456789012", Ok("123456789012")),
        ("'012345678901'", Ok("012345678901")),
        ("''", Ok("")),
        ("012345678901", Err(lost)),
        // Octal.
        ("012345670123", Err(lost)),
        ("000000000000", Err(lost)),
        ("1234567890123", Err(lost)),
        (
            "'12345678901'",
            Err("registries.r.registryId is an AWS account's id, of twelve digits and nothing else"),
        ),
        ("123456789012.5", Err("'/registries/r/registryId'")),
        ("true", Err("'/registries/r/registryId'")),
    ] {
        let values = format!("registries: {{r: {{location: ecr, region: eu-central-1, registryId: {written}}}}}");
        assert_id(with_text(&values), written, expected);
    }
    for (flag, written, expected) in [
        ("--set", "123456789012", Ok("123456789012")),
        ("--set", "012345678901", Ok("012345678901")),
        ("--set-string", "012345678901", Ok("012345678901")),
        ("--set-json", "123456789012", Ok("123456789012")),
        ("--set", "1234", Err(lost)),
    ] {
        let args = [
            "--set",
            "registries.r.location=ecr,registries.r.region=eu-central-1",
            flag,
            &format!("registries.r.registryId={written}"),
        ];
        let finished = template("waypost", &args.map(str::to_owned));
        assert_id(finished, &format!("{flag} {written}"), expected);
    }
}

#[track_caller]
fn assert_id(finished: Finished, written: &str, expected: Result<&str, &str>) {
    match expected {
        Ok(digits) => {
            assert_eq!(finished.code, Some(0), "{written}: {}", finished.stderr);
            let spec = spec(finished.out(), "r");
            assert_eq!(spec.registry_id.unwrap_or_default(), digits, "{written}");
        }
        Err(complaint) => {
            assert_eq!(finished.code, Some(1), "{written} was accepted");
            finished.complains(complaint);
        }
    }
}

/// What the controller makes of them is what the program takes.
#[test]
fn declared_registries_are_ones_that_work() {
    for fixture in ["everything", "issued"] {
        let rendered = render(fixture, &[]);
        let declared = object(&rendered, "ConfigMap", "waypost-registries")["data"].clone();
        for file in declared.as_object().unwrap().keys() {
            let id = file.strip_suffix(".yaml").unwrap();
            assert_eq!(Registry::check(id, &spec(&rendered, id)), Ok(()), "{id}");
        }
    }
}

#[test]
fn keys_are_in_secrets_of_the_release_and_nowhere_else() {
    let rendered = render("issued", &[]);
    let secret = |name: &str| {
        let secret = object(&rendered, "Secret", name);
        assert_eq!(secret["type"], "Opaque", "{name}");
        let data = secret["data"].as_object().unwrap().clone();
        data.into_iter().map(|(key, value)| {
            let bytes = STANDARD.decode(value.as_str().unwrap()).unwrap();
            (key, String::from_utf8(bytes).unwrap())
        })
    };
    let pull: Vec<_> = secret("waypost-registry-keys-pull-ecr").collect();
    let expected = [
        ("accessKeyId", "AKIAIOSFODNN7EXAMPLE"),
        ("secretAccessKey", "hunter2"),
        ("sessionToken", "hunter3"),
    ];
    assert_eq!(pull, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    let push: Vec<_> = secret("waypost-registry-keys-push-ecr").collect();
    let expected = [("accessKeyId", "AKIAI44QH8DHBEXAMPLE"), ("secretAccessKey", "hunter4")];
    assert_eq!(push, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    // As a map and as text, it is the file.
    for (name, account, key) in [
        (
            "waypost-registry-google-pull-gcr",
            "waypost@project.iam.gserviceaccount.com",
            "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n",
        ),
        (
            "waypost-registry-google-push-gcr",
            "push@project.iam.gserviceaccount.com",
            "hunter2",
        ),
    ] {
        let [(file, content)] = &secret(name).collect::<Vec<_>>()[..] else {
            panic!("{name}")
        };
        let content: Value = serde_json::from_str(content).unwrap();
        assert_eq!(file, "key.json");
        assert_eq!(content["client_email"], account);
        assert_eq!(content["private_key"], key);
    }
    for ((kind, name), text) in documents(&rendered) {
        let has_one = ["hunter", "AKIA"].iter().any(|key| text.contains(key));
        assert!(!has_one, "{kind} {name}");
    }
    for (id, pull, push) in [
        ("ambient", None, Some("ecr-push")),
        (
            "google",
            Some("waypost-registry-google-pull-gcr"),
            Some("waypost-registry-google-push-gcr"),
        ),
        (
            "keys",
            Some("waypost-registry-keys-pull-ecr"),
            Some("waypost-registry-keys-push-ecr"),
        ),
        ("machine", None, None),
        ("named", Some("google-key"), None),
        ("renamed", None, None),
    ] {
        let spec = spec(&rendered, id);
        let [named_pull, named_push] =
            [spec.pull_credential, spec.push_credential].map(|source| source.map(|source| source.secret_name));
        assert_eq!((named_pull.as_deref(), named_push.as_deref()), (pull, push), "{id}");
    }
}

/// The API server lets nobody change the type of a Secret: an upgrade to another location would fail.
#[test]
fn a_secret_that_is_called_the_same_is_of_the_same_type() {
    let secrets = |registry: Value| {
        let rendered = with(&json!({"registries": {"r": registry}})).exits(0);
        documents(rendered.out())
            .into_iter()
            .filter(|((kind, _), _)| kind == "Secret")
            .map(|((_, name), text)| (name, string(&yaml("Secret", &text)[0]["type"])))
            .collect::<Vec<_>>()
    };
    let mut all = [
        json!({"url": "r.io", "username": "u", "password": "p"}),
        json!({"location": "ecr", "region": "eu-central-1", "accessKeyId": "AKIAIOSFODNN7EXAMPLE", "secretAccessKey": "b"}),
        json!({"location": "gcr", "keyJson": {"type": "service_account"}}),
    ]
    .map(secrets)
    .concat();
    assert_eq!(all.len(), 3);
    all.dedup_by(|one, other| one.0 == other.0);
    assert_eq!(all.len(), 3, "{all:?}");
}

/// Where a token of Waypost's own identity may go is said by whoever has the values, and not by whoever registers a registry.
#[test]
fn hosts_that_values_name_get_tokens_of_the_controllers_own_identity() {
    let configuration = |values: Value| {
        let rendered = with(&values).exits(0);
        let text = object(rendered.out(), "ConfigMap", "waypost")["data"]["waypost.yaml"].clone();
        yaml("waypost.yaml", text.as_str().unwrap()).remove(0)
    };
    let key = json!({"accessKeyId": "AKIAIOSFODNN7EXAMPLE", "secretAccessKey": "b"});
    let ecr = |id: &str, more: Value| {
        let registry = registry(&json!({"location": "ecr", "region": "eu-central-1"}), more);
        (id.to_owned(), registry)
    };
    let registries: serde_json::Map<String, Value> = [
        ecr("a", json!({"hostname": "Images.example.com"})),
        ecr(
            "b",
            json!({"hostname": "images.example.com", "url": "images.example.com/team"}),
        ),
        ecr(
            "c",
            json!({"hostname": "other.example.com:5000", "endpoint": "http://proxy.cache.svc:5000/"}),
        ),
        ecr("d", json!({"tokenHosts": ["tokens.example.com"]})),
        // These have keys of their own.
        ecr("e", registry(&json!({"hostname": "keys.example.com"}), key.clone())),
        ecr("f", json!({"hostname": "named.example.com", "existingSecret": "mine"})),
        // A key to push with alone is none to pull with.
        ecr("g", json!({"hostname": "push.example.com", "push": key})),
        // And these are at home.
        ecr("h", json!({"url": "123456789012.dkr.ecr.eu-central-1.amazonaws.com"})),
        (
            "i".to_owned(),
            json!({"location": "gcr", "hostname": "europe-west1-docker.pkg.dev"}),
        ),
        ("j".to_owned(), json!({"url": "off.example.com"})),
    ]
    .into_iter()
    .collect();
    let values =
        json!({"registries": registries, "issuers": {"ambientHosts": ["rest.example.com", "images.example.com"]}});
    assert_eq!(
        configuration(values)["issuers"],
        json!({"ambient_hosts": [
            "images.example.com",
            "other.example.com:5000",
            "proxy.cache.svc:5000",
            "push.example.com",
            "rest.example.com",
            "tokens.example.com",
        ]})
    );
    let google = json!({"iamCredentials": "https://door.p.googleapis.com", "trusted": ["https://sts.example.com"]});
    assert_eq!(
        configuration(json!({"issuers": {"google": google}}))["issuers"],
        json!({"google": {"iam_credentials": "https://door.p.googleapis.com", "trusted": ["https://sts.example.com"]}})
    );
    assert_eq!(configuration(json!({})).get("issuers"), None);
}

/// What an account is annotated with is read when a Pod is made.
#[test]
fn another_identity_restarts_the_controller_alone() {
    let arn = |role: &str| {
        let annotations = json!({"eks.amazonaws.com/role-arn": format!("arn:aws:iam::123456789012:role/{role}")});
        with(&json!({"controller": {"serviceAccount": {"annotations": annotations}}}))
    };
    let (one, other) = (arn("one").exits(0), arn("other").exits(0));
    for (deployment, stays) in [("waypost-webhook", true), ("waypost-controller", false)] {
        let of = |finished: &Finished| object(finished.out(), "Deployment", deployment);
        assert_eq!(of(&one) == of(&other), stays, "{deployment}");
    }
    let annotations = |account: &str| object(one.out(), "ServiceAccount", account)["metadata"]["annotations"].clone();
    assert_eq!(
        annotations("waypost-controller")["eks.amazonaws.com/role-arn"],
        "arn:aws:iam::123456789012:role/one"
    );
    assert_eq!(annotations("waypost-webhook"), Value::Null);
}

#[test]
fn what_the_chart_gives_the_controller_is_given_once() {
    for (controller, complaint) in [
        (
            json!({"env": [{"name": "AWS_REGION", "value": "a"}, {"name": "AWS_REGION", "value": "b"}]}),
            "controller.env has AWS_REGION twice",
        ),
        (
            json!({"env": [{"name": "WAYPOST_LOG__LEVEL", "value": "debug"}]}),
            "controller.env has WAYPOST_LOG__LEVEL, which would go before what the chart writes",
        ),
        (json!({"env": [{"name": "A", "value": 1}]}), "'/controller/env/0/value'"),
        (
            json!({"volumes": [{"name": "policies", "emptyDir": {}}]}),
            "controller.volumes has policies, and there is one of that name already",
        ),
        (
            json!({"volumeMounts": [{"name": "mine", "mountPath": "/mine"}]}),
            "controller.volumeMounts has mine, which controller.volumes has not",
        ),
        (
            json!({"volumes": [{"name": "mine"}], "volumeMounts": [{"name": "mine", "mountPath": "/registries/"}]}),
            "controller.volumeMounts has /registries/, and something is mounted there already",
        ),
    ] {
        let refused = with(&json!({"controller": controller}));
        assert_eq!(refused.code, Some(1), "{controller} was accepted");
        refused.complains(complaint);
    }
}

#[test]
fn the_controller_reaches_those_who_issue_tokens_and_the_webhook_does_not() {
    let egress = |policy: Value, name: &str| {
        let rendered = with(&json!({"networkPolicy": policy})).exits(0);
        object(rendered.out(), "NetworkPolicy", name)["spec"]
            .get("egress")
            .cloned()
    };
    let metadata = |rules: &Value| rules.to_string().contains("169.254.");
    let limited = json!({"apiServerPorts": [6443], "registryPorts": [5000]});
    let closed = json!({"apiServerPorts": [6443], "registryPorts": [5000], "tokenIssuers": false});
    let rules = egress(limited.clone(), "waypost-controller").unwrap();
    let anywhere = json!({"ports": [{"port": 443, "protocol": "TCP"}]});
    assert!(rules.as_array().unwrap().contains(&anywhere), "{rules}");
    assert!(metadata(&rules), "{rules}");
    let rules = egress(closed, "waypost-controller").unwrap();
    assert!(!rules.as_array().unwrap().contains(&anywhere), "{rules}");
    assert!(!metadata(&rules), "{rules}");
    assert!(!metadata(&egress(limited, "waypost-webhook").unwrap()));
    assert_eq!(egress(json!({}), "waypost-controller"), None);
}

#[test]
fn notes_say_how_to_see_a_token_and_whose_it_is() {
    let issued = notes("issued", "waypost");
    for said in [
        "issue tokens for ambient, google, keys, machine, named, renamed, and",
        "kubectl get registries --output wide",
        "Nobody gave a key for ambient, machine, renamed: tokens are issued to who the ServiceAccount waypost-controller is there.",
    ] {
        assert!(issued.contains(said), "no {said:?} in\n{issued}");
    }
    assert!(!notes("everything", "waypost").contains("tokens"));
}

/// What people copy out of it: values that Helm takes, objects that the program takes.
#[test]
fn the_examples_of_the_documentation_work() {
    let (mut charts, mut objects) = (0, 0);
    for document in [
        include_str!("../../../docs/ecr.md"),
        include_str!("../../../docs/gcr.md"),
        include_str!("../../../charts/waypost/README.md"),
    ] {
        let fences = ["```yaml\n", "kubectl apply --filename - <<'END'\n"];
        let examples = fences.iter().flat_map(|fence| document.split(fence).skip(1));
        for example in examples.map(|rest| rest.split("```").next().unwrap().trim_end_matches("END\n")) {
            let found = yaml("example", example);
            if found[0].get("apiVersion").is_none() {
                let rendered = with_text(example).exits(0);
                for id in found[0]["registries"]
                    .as_object()
                    .into_iter()
                    .flat_map(|all| all.keys())
                {
                    assert_eq!(Registry::check(id, &spec(rendered.out(), id)), Ok(()), "{example}");
                    charts += 1;
                }
            }
            for object in found.iter().filter(|object| object["kind"] == "Registry") {
                let spec: RegistrySpec = serde_json::from_value(object["spec"].clone()).unwrap();
                assert_eq!(Registry::check("images", &spec), Ok(()), "{example}");
                objects += 1;
            }
        }
    }
    assert_eq!((charts, objects), (7, 2));
}

/// One with more said of it.
fn registry(registry: &Value, more: Value) -> Value {
    let mut registry = registry.clone();
    let Value::Object(more) = more else { panic!("{more}") };
    registry.as_object_mut().unwrap().extend(more);
    registry
}

/// What Helm makes of values.
fn with(values: &Value) -> Finished {
    with_text(&values.to_string())
}

fn with_text(values: &str) -> Finished {
    let directory = Directory::new();
    let path = directory.write("values.yaml", values);
    template("waypost", &["--values".to_owned(), path.display().to_string()])
}

/// What is said of a registry in the file that the controller reads.
#[track_caller]
fn spec(rendered: &str, id: &str) -> RegistrySpec {
    let declared = object(rendered, "ConfigMap", "waypost-registries")["data"][format!("{id}.yaml")].clone();
    let object = yaml(id, declared.as_str().unwrap()).remove(0);
    serde_json::from_value(object["spec"].clone()).unwrap()
}
