//! The definition of registries: what the API server takes, what it refuses and how it says so, what `kubectl` shows.

use std::time::Duration;

use serde_json::{Value, json};
use waypost::registry::{Registry, RegistrySpec};
use waypost::store::Store as _;

use super::{Home, REGISTRIES, answers, name, on_a_cluster_with_registries, registry};
use crate::support::eventually;

#[test]
fn what_is_wrong_with_an_object_is_said_when_it_is_written_and_never_more_than_the_program_would_say() {
    on_a_cluster_with_registries("refused", |case| {
        for (spec, expected) in [
            (
                json!({"url": "registry"}),
                "spec.url: Invalid value: \"registry\": a registry's address is a host with a dot or a port",
            ),
            (
                json!({"url": "Registry/team"}),
                "spec.url: Invalid value: \"Registry/team\": a registry's address",
            ),
            (
                json!({"url": "ftp://r.io"}),
                "spec.url: Invalid value: \"ftp://r.io\": a registry's address",
            ),
            (
                json!({"url": "r.io/a b"}),
                "spec.url: Invalid value: \"r.io/a b\": a registry's address",
            ),
            (
                json!({"url": "https://u:hunter2@r.io"}),
                "spec.url: Invalid value: an address has no username, password",
            ),
            (
                json!({"url": "r.io?x=hunter2"}),
                "spec.url: Invalid value: an address has no username, password",
            ),
            (
                json!({"endpoint": "https://u:hunter2@r.io"}),
                "spec.endpoint: Invalid value: an address has no username",
            ),
            (
                json!({"endpoint": "http://r.svc/v2"}),
                "spec.endpoint: Invalid value: \"http://r.svc/v2\": an endpoint is",
            ),
            (
                json!({"url": "https://r.io", "plainHttp": true}),
                "spec.plainHttp: Invalid value: plain HTTP is asked for",
            ),
            (
                json!({"url": "r.io", "endpoint": "HTTPS://r.svc", "plainHttp": true}),
                "spec.plainHttp: Invalid value: plain HTTP is asked for",
            ),
            (
                json!({"url": "r.io", "caBundle": "x"}),
                "spec.caBundle: Invalid value: a CA bundle is the text of a PEM file",
            ),
            (
                json!({"url": "r.io", "caBundle": format!("{PEM}-----BEGIN PRIVATE KEY-----hunter2")}),
                "spec.caBundle: Invalid value: there is a private key",
            ),
            (
                json!({"url": "r.io", "caBundle": PEM, "plainHttp": true}),
                "spec.caBundle: Invalid value: a CA bundle is given for a registry that is reached without TLS",
            ),
            (
                json!({"tokenHosts": ["a.io", "https://a.io"]}),
                "spec.tokenHosts[1]: Invalid value: \"https://a.io\": a host is meant",
            ),
            (
                json!({"tokenHosts": ["a.io/jwt/auth"]}),
                "spec.tokenHosts[0]: Invalid value: \"a.io/jwt/auth\": a host is meant",
            ),
            (
                json!({"tokenHosts": ["a.io:"]}),
                "spec.tokenHosts[0]: Invalid value: \"a.io:\": a host is meant",
            ),
            (
                json!({"tokenHosts": ["u:hunter2@a.io"]}),
                "spec.tokenHosts: Invalid value: a host has no username",
            ),
            (
                json!({"tokenHosts": vec!["a.io"; 9]}),
                "spec.tokenHosts: Too many: 9: must have at most 8 items",
            ),
            (
                json!({"names": {"to": "{registry}/x"}}),
                "spec.names.to: Invalid value: without {repository}",
            ),
            (
                json!({"names": {"to": "{repository}"}}),
                "spec.names.to: Invalid value: without {registry} in `to`",
            ),
            (
                json!({"names": {"to": "{registry}/{repository}", "from": "docker.io"}}),
                "spec.names.from: Invalid value: {registry} in `to` says",
            ),
            (json!({"names": {"from": "docker.io"}}), "spec.names.to: Required value"),
            (
                json!({"namespaces": {"names": []}}),
                "spec.namespaces.names: Invalid value: 0: spec.namespaces.names in body should have at least 1",
            ),
            (
                json!({"namespaces": {"names": ["A_b"]}}),
                "spec.namespaces.names[0]: Invalid value: \"A_b\"",
            ),
            (
                json!({"namespaces": {"names": vec!["x"; 501]}}),
                "spec.namespaces.names: Too many: 501: must have at most 500 items",
            ),
            (
                json!({"pullCredential": {"secretName": "No_name"}}),
                "spec.pullCredential.secretName: Invalid value: \"No_name\": no Secret can",
            ),
            (
                json!({"pushCredential": {}}),
                "spec.pushCredential.secretName: Required value",
            ),
            (
                json!({"notificationToken": {"secretName": "No_name"}}),
                "spec.notificationToken.secretName: Invalid value: \"No_name\": no Secret can",
            ),
            (
                json!({"location": "mars"}),
                "spec.location: Unsupported value: \"mars\": supported values: \"off-cluster\"",
            ),
            (
                json!({"region": "eu-central-1"}),
                "spec.region: Invalid value: the region is for the location ecr",
            ),
            (
                json!({"location": "gcr", "registryId": "123456789012"}),
                "spec.registryId: Invalid value: the id of an ECR registry is for the location ecr",
            ),
            (
                json!({"hostname": "r.io"}),
                "spec.hostname: Invalid value: the hostname is for the locations ecr and gcr",
            ),
            (
                json!({"pullRoleArn": "arn:aws:iam::123456789012:role/x"}),
                "spec.pullRoleArn: Invalid value: a role is for the location ecr",
            ),
            (
                json!({"location": "ecr", "region": "eu-central-1", "pullServiceAccount": "a@b.c"}),
                "spec.pullServiceAccount: Invalid value: a service account is for the location gcr",
            ),
            (
                json!({"location": "gcr", "repositories": {"create": true}}),
                "spec.repositories: Invalid value: only ECR has repositories made",
            ),
            (
                json!({"location": "ecr"}),
                "spec.region: Invalid value: ECR is one in each region",
            ),
            (
                json!({"location": "ecr", "region": "EU-central-1"}),
                "spec.region: Invalid value: \"EU-central-1\": no region of AWS is called so",
            ),
            (
                json!({"location": "ecr", "region": "eu-central-1", "registryId": "1234"}),
                "spec.registryId: Invalid value: \"1234\": the id of an ECR registry is",
            ),
            (
                json!({"location": "ecr", "region": "eu-central-1", "url": "r.io/team"}),
                "spec.url: Invalid value: this is no host of ECR's",
            ),
            (
                json!({"location": "ecr", "url": ECR, "region": "eu-west-1"}),
                "spec.region: Invalid value: `url` is of another region",
            ),
            (
                json!({"location": "ecr", "url": ECR, "registryId": "210987654321"}),
                "spec.registryId: Invalid value: `url` is of another account",
            ),
            (
                json!({"location": "gcr", "url": "r.io/project"}),
                "spec.url: Invalid value: this is no registry of Google's",
            ),
            (
                json!({"location": "gcr", "hostname": "registry"}),
                "spec.hostname: Invalid value: \"registry\": it is the host that references begin with",
            ),
            (
                json!({"location": "gcr", "hostname": "r.io/team"}),
                "spec.hostname: Invalid value: \"r.io/team\": it is the host that",
            ),
            (
                json!({"location": "gcr", "hostname": "u:hunter2@r.io"}),
                "spec.hostname: Invalid value: a host has no username",
            ),
            (
                json!({"location": "ecr", "region": "eu-central-1", "pullRoleArn": "waypost-pull"}),
                "spec.pullRoleArn: Invalid value: \"waypost-pull\": this is no ARN of a role",
            ),
            (
                json!({"location": "ecr", "region": "eu-central-1", "pullRoleExternalId": "xy"}),
                "spec.pullRoleExternalId: Invalid value: there is no role that",
            ),
            (
                json!({
                    "location": "ecr", "region": "eu-central-1", "pullRoleArn": "arn:aws:iam::123456789012:role/x",
                    "pullRoleExternalId": "hunter2 ",
                }),
                "spec.pullRoleExternalId: Invalid value: an external id has 2 to 1224",
            ),
            (
                json!({"location": "gcr", "pullServiceAccount": "waypost"}),
                "spec.pullServiceAccount: Invalid value: \"waypost\": a service account is an e-mail address",
            ),
            (
                json!({"location": "ecr", "region": "eu-central-1", "repositories": {"create": true, "tags": {"aws:x": "y"}}}),
                "spec.repositories.tags: Invalid value: the key of a tag has",
            ),
            (
                json!({"location": "ecr", "region": "eu-central-1", "repositories": {"create": true, "tags": {"x": "y".repeat(257)}}}),
                "spec.repositories.tags.x: Too long",
            ),
        ] {
            let refused = case.admin.post(REGISTRIES, &registry("bad", &spec)).unwrap_err();
            assert!(
                refused.message.contains(expected),
                "no {expected:?} in {}",
                refused.message
            );
            assert!(!refused.message.contains("hunter2"), "{}", refused.message);
            let understood = serde_json::from_value::<RegistrySpec>(spec.clone());
            let parsed = understood.map(|spec| Registry::check("bad", &spec).is_ok());
            // How many there may be is the API server's alone.
            let is_bound = expected.contains("Too many") || expected.contains("No_name");
            assert!(is_bound || !matches!(parsed, Ok(true)), "{spec}");
        }
        for (id, expected) in [("a.b", "and no dots"), (&*"a".repeat(64), "at most 63 characters")] {
            let refused = case.admin.post(REGISTRIES, &registry(id, &json!({}))).unwrap_err();
            assert!(refused.message.contains(expected), "{refused:?}");
        }
    });
}

#[test]
fn what_can_be_used_is_taken_and_comes_back_whole() {
    on_a_cluster_with_registries("taken", |case| {
        let home = Home::open(case);
        for (number, spec) in [
            json!({}),
            json!({"url": "docker.io"}),
            json!({"url": "https://index.docker.io/v1/"}),
            json!({"url": "localhost/team"}),
            json!({"url": "Registry.Example.com:443/team"}),
            json!({"url": "[::1]:5000/a/b__c.d-e"}),
            json!({"url": "http://10.0.0.1:5000"}),
            json!({"url": "r.io", "tokenHosts": ["GitLab.r.io", "gitlab", "10.0.0.1:8443", "[fd00::1]", "[::1]:00443"]}),
            json!({"url": "https://r.io", "endpoint": "http://r.svc:5000/", "plainHttp": true}),
            json!({"url": "r.io", "endpoint": "[fd00::1]:5000", "caBundle": format!("# ours\n{PEM}")}),
            json!({"location": "ecr", "region": "eu-central-1"}),
            json!({"location": "ecr", "url": format!("HTTPS://{}/team", ECR.to_uppercase()), "region": "eu-central-1"}),
            json!({"location": "ecr", "url": "123456789012.dkr-ecr-fips.us-gov-west-1.on.aws", "registryId": "123456789012"}),
            json!({"location": "ecr", "hostname": ECR}),
            json!({"location": "ecr", "region": "cn-north-1", "hostname": "LocalHost", "url": "localhost/team"}),
            json!({
                "location": "ecr", "region": "us-gov-west-1", "registryId": "123456789012", "hostname": "[::1]:8443",
                "pullRoleArn": "arn:aws-us-gov:iam::123456789012:role/a/b+c", "pullRoleExternalId": "a:b/1",
                "repositories": {"create": true, "immutableTags": true, "tags": {"team": "", "ü": "ö"}},
                "pullCredential": {"secretName": "ecr-key"}, "pushCredential": {"secretName": "ecr-push-key"},
            }),
            json!({"location": "gcr"}),
            json!({"location": "gcr", "url": "https://EU.gcr.io/project"}),
            json!({"location": "gcr", "url": "europe-west1-docker.pkg.dev/project/images", "pullServiceAccount": "a-b@p.iam.gserviceaccount.com"}),
            json!({"location": "gcr", "hostname": "images.corp.io:5000", "url": "images.corp.io:5000/p"}),
            json!({
                "displayName": "CERN (prod) ü", "location": "off-cluster", "url": "registry.cern.ch/team",
                "endpoint": "https://registry.internal:8443", "plainHttp": false, "caBundle": PEM,
                "tokenHosts": ["gitlab.cern.ch"],
                "names": {"to": "mirror/{namespace}/{name}", "from": "docker.io"},
                "namespaces": {
                    "names": ["team-*", "x"],
                    "selector": {
                        "matchLabels": {"a": "b"},
                        "matchExpressions": [{"key": "c", "operator": "In", "values": ["d"]}, {"key": "e", "operator": "Exists"}],
                    },
                },
                "pullCredential": {"secretName": "pull.secret-1"}, "pushCredential": {"secretName": "push"},
                "notificationToken": {"secretName": "notify"},
            }),
        ]
        .iter()
        .enumerate()
        {
            let understood: RegistrySpec = serde_json::from_value(spec.clone()).unwrap();
            Registry::check("r", &understood).unwrap_or_else(|problems| panic!("{spec}: {problems:?}"));
            let id = format!("r{number}");
            let stored = case.admin.post(REGISTRIES, &registry(&id, spec)).unwrap();
            assert_eq!(&stored["spec"], spec);
            assert_eq!(home.get(&id).unwrap().spec, understood);
        }
    });
}

#[test]
fn an_object_that_cannot_be_understood_stands_in_nobodys_way_and_says_so() {
    on_a_cluster_with_registries("strange", |case| {
        let home = Home::open(case);
        let write = |id: &str, spec: Value| case.admin.post(REGISTRIES, &registry(id, &spec)).unwrap();
        write("fine", json!({"url": "r.io"}));
        // A key with nothing behind it means neither Docker Hub nor every namespace.
        write("null-url", json!({"url": null}));
        write("null-names", json!({"url": "r.io", "namespaces": {"names": null}}));
        // Understood, and of no use: whoever uses registries says so.
        write("useless", json!({"url": "r.io/UPPER"}));
        let expected = ["fine", "useless"];
        let ids = |all: &[waypost::store::Stored]| all.iter().map(|stored| stored.id.clone()).collect::<Vec<_>>();
        assert_eq!(ids(&home.runtime.block_on(home.store.list()).unwrap()), expected);
        eventually("the others are followed", || {
            (ids(&home.store.registries().borrow()) == expected).then_some(())
        });
        let error = home.runtime.block_on(home.store.registry("null-url")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the Registry null-url cannot be understood: `url` in its spec has no value: give it one, or take the key out"
        );
        home.tidy(Duration::ZERO);
        home.tidy(Duration::ZERO);
        let object = case.admin.get(&format!("{REGISTRIES}/null-names")).unwrap();
        let conditions = &object["status"]["conditions"];
        assert_eq!(conditions[0]["reason"], "NotUnderstood", "{object}");
        assert_eq!(conditions.as_array().unwrap().len(), 1);
        // It can be put right here, too, or taken away.
        home.replace("null-url", super::draft("s.io", waypost::store::Change::Keep))
            .unwrap();
        assert_eq!(home.get("null-url").unwrap().spec.url.as_deref(), Some("s.io"));
        home.delete("null-names").unwrap();
        assert_eq!(name(&case.admin.get(&format!("{REGISTRIES}/fine")).unwrap()), "fine");
    });
}

#[test]
fn kubectl_shows_what_was_found_out_and_only_when_it_has_changed_is_it_written() {
    on_a_cluster_with_registries("columns", |case| {
        let home = Home::open(case);
        case.admin
            .post(REGISTRIES, &registry("cern", &json!({"url": "registry.cern.ch/team"})))
            .unwrap();
        let report = || {
            home.runtime
                .block_on(home.store.report("cern", vec![answers()]))
                .unwrap()
        };
        report();
        let path = format!("{REGISTRIES}/cern");
        let first = case.admin.get(&path).unwrap();
        assert_eq!(first["status"]["observedGeneration"], 1);
        report();
        assert_eq!(case.admin.get(&path).unwrap(), first);
        let shown = case.kubectl(&["get", "registries"]).exits(0);
        let lines: Vec<Vec<_>> = shown
            .out()
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(
            lines[0],
            ["NAME", "URL", "LOCATION", "REACHABLE", "AUTHENTICATED", "AGE"]
        );
        assert_eq!(lines[1][..3], ["cern", "registry.cern.ch/team", "True"]);
        let wide = case.kubectl(&["get", "waypost", "--output=wide"]).exits(0);
        println!("{}", wide.out());
        assert!(wide.out().contains("it answers within 12 ms"), "{}", wide.out());
        case.kubectl(&["wait", "registry/cern", "--for=condition=Reachable"])
            .exits(0);
        let explained = case.kubectl(&["explain", "registry.spec.names"]).exits(0);
        assert!(
            explained.out().contains("Under which names images are in it"),
            "{}",
            explained.out()
        );
        // It is said what it is about.
        case.admin
            .patch(&path, &json!({"spec": {"displayName": "CERN"}}))
            .unwrap();
        eventually("the change is followed", || home.followed("cern")?.spec.display_name);
        report();
        assert_eq!(case.admin.get(&path).unwrap()["status"]["observedGeneration"], 2);
    });
}

#[test]
fn the_example_of_the_documentation_works() {
    on_a_cluster_with_registries("example", |case| {
        let docs = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/registries.md"));
        let (_, below) = docs.split_once("\n## As an object\n").unwrap();
        let example = below.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
        let example = example.replace("namespace: waypost}", &format!("namespace: {}}}", case.namespace));
        case.kubectl_with(&["apply", "--filename=-"], &example).exits(0);
        let home = Home::open(case);
        let stored = home.get("cern").unwrap();
        Registry::parse("cern", &stored.spec).unwrap();
        assert_eq!(home.password("cern"), Ok(Some("change-me".to_owned())));
        case.kubectl_with(&["delete", "--filename=-"], &example).exits(0);
        eventually("nobody follows it", || home.followed("cern").is_none().then_some(()));
    });
}

const ECR: &str = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";
const PEM: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
