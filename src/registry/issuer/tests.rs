use serde_json::{Value, json};

use super::*;
use crate::registry::Registry;

/// With the rest of what a location needs.
fn spec(location: &str, fields: Value) -> RegistrySpec {
    let mut spec = json!({ "location": location });
    spec.as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    serde_json::from_value(spec).unwrap()
}

fn ecr(fields: Value) -> RegistrySpec {
    let mut spec = spec("ecr", fields);
    spec.region.get_or_insert_with(|| "eu-central-1".to_owned());
    spec
}

/// What is wrong, once the account is known.
fn problems(spec: &RegistrySpec) -> Vec<String> {
    let problems = Registry::check("r", spec).err().unwrap_or_default();
    problems
        .into_iter()
        .map(|problem| format!("{}: {}", problem.path, problem.message))
        .collect()
}

const HOST: &str = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";

#[test]
fn a_registry_is_where_its_keys_say_it_is() {
    for (spec, address, endpoint) in [
        (ecr(json!({"registryId": "123456789012"})), HOST, HOST),
        (spec("ecr", json!({"url": HOST})), HOST, HOST),
        (
            spec(
                "ecr",
                json!({"url": format!("https://{}/Team", HOST.to_uppercase()).replace("Team", "team")}),
            ),
            &*format!("{HOST}/team"),
            HOST,
        ),
        (spec("ecr", json!({"hostname": HOST})), HOST, HOST),
        (
            ecr(json!({"registryId": "123456789012", "url": format!("{HOST}/a/b")})),
            &*format!("{HOST}/a/b"),
            HOST,
        ),
        (ecr(json!({"hostname": "ECR.corp.io"})), "ecr.corp.io", "ecr.corp.io"),
        (
            ecr(json!({"hostname": "ecr.corp.io:8443"})),
            "ecr.corp.io:8443",
            "ecr.corp.io:8443",
        ),
        (
            ecr(json!({"hostname": "ecr.corp.io", "url": "https://ECR.corp.io/team"})),
            "ecr.corp.io/team",
            "ecr.corp.io",
        ),
        (
            ecr(json!({"hostname": "127.0.0.1:5000", "endpoint": "https://proxy.svc"})),
            "127.0.0.1:5000",
            "proxy.svc",
        ),
        (
            spec("ecr", json!({"region": "cn-north-1", "registryId": "123456789012"})),
            "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn",
            "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn",
        ),
        (spec("gcr", json!({})), "gcr.io", "gcr.io"),
        (
            spec("gcr", json!({"url": "EU.gcr.io/project"})),
            "eu.gcr.io/project",
            "eu.gcr.io",
        ),
        (
            spec("gcr", json!({"url": "europe-west1-docker.pkg.dev/project/images"})),
            "europe-west1-docker.pkg.dev/project/images",
            "europe-west1-docker.pkg.dev",
        ),
        (
            spec("gcr", json!({"hostname": "us-docker.pkg.dev"})),
            "us-docker.pkg.dev",
            "us-docker.pkg.dev",
        ),
        (
            spec("gcr", json!({"hostname": "images.corp.io", "url": "images.corp.io/p"})),
            "images.corp.io/p",
            "images.corp.io",
        ),
    ] {
        let registry = Registry::parse("r", &spec).unwrap_or_else(|problems| panic!("{spec:?}: {problems:?}"));
        assert_eq!(registry.address.to_string(), address, "{spec:?}");
        assert_eq!(registry.endpoint.to_string(), format!("https://{endpoint}"), "{spec:?}");
        assert!(registry.issuer.is_some());
        // What is found out does not go before what is said.
        assert_eq!(Registry::parse_of("r", &spec, Some("999999999999")), Ok(registry));
        assert_eq!(problems(&spec), Vec::<String>::new());
    }
}

#[test]
fn the_account_of_the_identity_is_known_when_ecr_has_said_it() {
    let own = ecr(json!({}));
    let unknown = Registry::parse("r", &own).unwrap_err();
    assert_eq!(
        unknown
            .iter()
            .map(|problem| (problem.code, problem.path.to_string()))
            .collect::<Vec<_>>(),
        [(UNKNOWN_ACCOUNT, "registryId".to_owned())]
    );
    assert_eq!(own.address(), None);
    assert_eq!(Registry::check("r", &own), Ok(()));
    let registry = Registry::parse_of("r", &own, Some("123456789012")).unwrap();
    assert_eq!(&*registry.address.host, HOST);
    let Some(Issuer::Ecr(issuer)) = registry.issuer else {
        panic!()
    };
    // Asked for as long as nobody says it.
    assert_eq!((&*issuer.region, issuer.account), ("eu-central-1", None));
    let said = Registry::parse("r", &spec("ecr", json!({"url": HOST}))).unwrap();
    let Some(Issuer::Ecr(issuer)) = said.issuer else {
        panic!()
    };
    assert_eq!(
        (&*issuer.region, issuer.account.as_deref()),
        ("eu-central-1", Some("123456789012"))
    );
    // What is wrong besides is said at once.
    assert_eq!(
        problems(&ecr(json!({"endpoint": "x/y", "region": "mars"}))),
        [
            "region: `mars` is no region of AWS",
            "endpoint: the endpoint has a path: `/y`"
        ]
    );
}

#[test]
fn how_the_issuer_is_asked_is_what_the_keys_say() {
    let registry = Registry::parse(
        "r",
        &ecr(json!({
            "registryId": "123456789012", "pullRoleArn": "arn:aws:iam::210987654321:role/a/b", "pullRoleExternalId": "x:1",
            "repositories": {"create": true, "immutableTags": true, "tags": {"team": ""}},
        })),
    );
    assert_eq!(
        registry.unwrap().issuer,
        Some(Issuer::Ecr(EcrIssuer {
            region: "eu-central-1".into(),
            account: Some("123456789012".into()),
            pull_role: Some(PullRole {
                arn: "arn:aws:iam::210987654321:role/a/b".into(),
                external_id: Some("x:1".into()),
            }),
            repositories: Some(Repositories {
                immutable_tags: true,
                tags: BTreeMap::from([("team".to_owned(), String::new())]),
            }),
        }))
    );
    let not_made = Registry::parse(
        "r",
        &ecr(json!({"registryId": "123456789012", "repositories": {"immutableTags": true}})),
    );
    let Some(Issuer::Ecr(issuer)) = not_made.unwrap().issuer else {
        panic!()
    };
    assert_eq!(issuer.repositories, None);
    let google = Registry::parse(
        "r",
        &spec("gcr", json!({"pullServiceAccount": "a@p.iam.gserviceaccount.com"})),
    );
    assert_eq!(
        google.unwrap().issuer,
        Some(Issuer::Google(GoogleIssuer {
            pull_service_account: Some("a@p.iam.gserviceaccount.com".into())
        }))
    );
    assert_eq!(Registry::parse("r", &RegistrySpec::default()).unwrap().issuer, None);
}

#[test]
fn what_is_for_another_location_is_said() {
    let fields = [
        ("region", json!("eu-central-1"), true, false),
        ("registryId", json!("123456789012"), true, false),
        ("hostname", json!("r.io"), true, true),
        ("pullRoleArn", json!("arn:aws:iam::123456789012:role/x"), true, false),
        ("pullRoleExternalId", json!("xy"), false, false),
        ("pullServiceAccount", json!("a@b.c"), false, true),
        ("repositories", json!({"create": true}), true, false),
    ];
    for (field, value, of_ecr, of_gcr) in fields {
        for (location, fits) in [("off-cluster", false), ("ecr", of_ecr), ("gcr", of_gcr)] {
            let mut given = spec(location, json!({ field: value }));
            if location == "ecr" {
                given.region.get_or_insert_with(|| "eu-central-1".to_owned());
            }
            let said = problems(&given);
            if fits {
                assert_eq!(said, Vec::<String>::new(), "{location} {field}");
            } else {
                assert_eq!(said.len(), 1, "{location} {field}: {said:?}");
                assert!(said[0].starts_with(&format!("{field}: ")), "{said:?}");
            }
        }
    }
    let hints = Registry::check("r", &spec("off-cluster", json!({"region": "eu-central-1"}))).unwrap_err();
    assert_eq!(
        hints[0].message,
        "it is for the location `ecr`, and the location is `off-cluster`"
    );
    assert_eq!(hints[0].hint.as_deref(), Some("say `location`, or take `region` out"));
}

#[test]
fn what_cannot_be_is_said_and_no_password_repeated() {
    for (spec, expected) in [
        (
            spec("ecr", json!({})),
            "region: it is missing: ECR is one in each region",
        ),
        (
            ecr(json!({"region": "EU-central-1"})),
            "region: `EU-central-1` is no region of AWS",
        ),
        (
            ecr(json!({"registryId": "1234"})),
            "registryId: `1234` is no id of an ECR registry",
        ),
        (ecr(json!({"url": "r.io"})), "url: `r.io` is no host of ECR's"),
        (ecr(json!({"url": "docker.io"})), "url: `docker.io` is no host of ECR's"),
        (
            ecr(json!({"url": format!("{HOST}:443")})),
            "url: `123456789012.dkr.ecr.eu-central-1.amazonaws.com:443` is no host of ECR's",
        ),
        (
            ecr(json!({"url": HOST, "region": "eu-west-1"})),
            "region: `eu-west-1` is another region than that of `url`, `eu-central-1`",
        ),
        (
            ecr(json!({"hostname": HOST, "region": "eu-west-1"})),
            "region: `eu-west-1` is another region than that of `hostname`, `eu-central-1`",
        ),
        (
            ecr(json!({"url": HOST, "registryId": "210987654321"})),
            "registryId: `210987654321` is another registry than that of `url`, `123456789012`",
        ),
        (
            ecr(json!({"hostname": "r.io", "url": "s.io"})),
            "hostname: `url` has another host, `s.io`",
        ),
        (
            ecr(json!({"hostname": "r.io:1", "url": "r.io"})),
            "hostname: `url` has another host, `r.io`",
        ),
        (
            ecr(json!({"hostname": "registry"})),
            "hostname: `registry` is no host of a registry",
        ),
        (
            ecr(json!({"hostname": " r.io"})),
            "hostname: ` r.io` is no host of a registry",
        ),
        (
            ecr(json!({"hostname": "r.io:0"})),
            "hostname: `r.io:0` is no host of a registry",
        ),
        (
            ecr(json!({"hostname": "hub.docker.com"})),
            "hostname: `hub.docker.com` is no host of a registry",
        ),
        (
            ecr(json!({"hostname": "index.docker.io"})),
            "hostname: `index.docker.io` is Docker Hub",
        ),
        (
            ecr(json!({"hostname": "r.io/team"})),
            "hostname: it has more in it than a host",
        ),
        (
            ecr(json!({"hostname": "https://r.io"})),
            "hostname: it has more in it than a host",
        ),
        (
            ecr(json!({"hostname": "u:hunter2@r.io"})),
            "hostname: it has more in it than a host",
        ),
        (
            ecr(json!({"url": "u:hunter2@r.io"})),
            "url: the address has a username, a password or a digest in it",
        ),
        (
            ecr(json!({"pullRoleArn": "waypost-pull"})),
            "pullRoleArn: `waypost-pull` is no ARN of a role",
        ),
        (
            ecr(json!({"pullRoleArn": "arn:aws-cn:iam::123456789012:role/x"})),
            "pullRoleArn: the role is one of `aws-cn`, and the region is one of `aws`",
        ),
        (
            ecr(json!({"pullRoleExternalId": "xy"})),
            "pullRoleExternalId: there is no role that it could be of",
        ),
        (
            ecr(json!({"pullRoleArn": "arn:aws:iam::123456789012:role/x", "pullRoleExternalId": "hunter2 "})),
            "pullRoleExternalId: it is no external id",
        ),
        (
            ecr(json!({"repositories": {"tags": {"": "x"}}})),
            "repositories: a tag has no key",
        ),
        (
            ecr(json!({"repositories": {"tags": {"AWS:x": "x"}}})),
            "repositories: the tag `AWS:x` is one of AWS's own",
        ),
        (
            ecr(json!({"repositories": {"tags": {"k".repeat(129): "x"}}})),
            "repositories: the key of a tag has more than 128 characters",
        ),
        (
            ecr(json!({"repositories": {"tags": {"k": "x".repeat(257)}}})),
            "repositories: the value of the tag `k` has more than 256 characters",
        ),
        (
            ecr(json!({"repositories": {"tags": (0..51).map(|n| (n.to_string(), "x")).collect::<BTreeMap<_, _>>()}})),
            "repositories: there are 51 tags",
        ),
        (
            spec("gcr", json!({"url": "r.io"})),
            "url: `r.io` is no registry of Google's",
        ),
        (
            spec("gcr", json!({"url": "gcr.io:443"})),
            "url: `gcr.io:443` is no registry of Google's",
        ),
        (
            spec("gcr", json!({"url": "https://u:hunter2@gcr.io"})),
            "url: the address has a username",
        ),
        (
            spec("gcr", json!({"hostname": "u:hunter2@gcr.io"})),
            "hostname: it has more in it than a host",
        ),
        (
            spec("gcr", json!({"hostname": "r.io", "url": "gcr.io"})),
            "hostname: `url` has another host, `gcr.io`",
        ),
        (
            spec("gcr", json!({"pullServiceAccount": "waypost"})),
            "pullServiceAccount: `waypost` is no service account",
        ),
    ] {
        let said = problems(&spec);
        assert!(said.len() == 1 && said[0].starts_with(expected), "{expected}: {said:?}");
        assert!(!said[0].contains("hunter2"), "{said:?}");
    }
}

#[test]
fn a_token_is_at_home_at_the_hosts_of_its_issuer_alone() {
    let ecr = Registry::parse("r", &spec("ecr", json!({"url": HOST})))
        .unwrap()
        .issuer
        .unwrap();
    let google = Registry::parse("r", &spec("gcr", json!({}))).unwrap().issuer.unwrap();
    for (host, of_ecr, of_google) in [
        (HOST, true, false),
        ("999999999999.dkr-ecr.us-east-1.on.aws", true, false),
        ("gcr.io", false, true),
        ("eu-docker.pkg.dev", false, true),
        ("ecr.corp.io", false, false),
        ("docker.io", false, false),
        ("gcr.io.corp.io", false, false),
    ] {
        assert_eq!(
            (ecr.is_at_home_at(host), google.is_at_home_at(host)),
            (of_ecr, of_google),
            "{host}"
        );
    }
}
