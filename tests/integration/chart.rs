//! The chart, as Helm renders it: `charts/waypost`.
//!
//! `UPDATE_CHART=1 cargo test chart` writes what is made from the chart: its README's tables, the descriptions in its schema,
//! and the golden files. Helm is the one that `tests/cluster` pins, or that of `WAYPOST_HELM` (3 shows notes to clusters only).

mod documentation;
mod registries;

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;
use waypost::document::{Source, parse};

use crate::support::helm::helm;
use crate::support::program::{Directory, Finished};
use crate::support::serving::authority;

#[test]
fn helm_finds_nothing_to_complain_of() {
    helm(&["lint", "--strict", CHART]).exits(0);
}

#[test]
fn there_is_an_example_that_works_for_each_way_to_a_certificate() {
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/certs/examples");
    let mut modes = Vec::new();
    for example in fs::read_dir(examples).unwrap() {
        let path = example.unwrap().path().display().to_string();
        let args = [
            "--values",
            &path,
            "--set",
            "certificates.provided.caBundle=-----BEGIN CERTIFICATE-----",
        ]
        .map(str::to_owned);
        let rendered = template("waypost", &args).exits(0);
        assert!(rendered.out().contains("kind: MutatingWebhookConfiguration"), "{path}");
        let values = yaml(&path, &fs::read_to_string(&path).unwrap()).remove(0);
        modes.push(string(&values["certificates"]["mode"]));
    }
    modes.sort();
    assert_eq!(modes, ["certManager", "provided", "selfManaged"]);
}

#[test]
fn chart_and_program_have_one_version() {
    let chart = yaml("Chart.yaml", &read("Chart.yaml")).remove(0);
    assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
}

/// `make image` takes labels, user and entrypoint from the Dockerfile; its version and toolchain are said elsewhere, too.
#[test]
fn the_dockerfile_is_of_this_version() {
    let dockerfile = include_str!("../../Dockerfile");
    let toolchain = include_str!("../../rust-toolchain.toml");
    let channel = toolchain.split('"').nth(1).unwrap();
    for line in [
        &*format!("FROM rust:{channel}-bookworm AS build"),
        &*format!("ENV RUSTUP_TOOLCHAIN={channel}"),
        &*format!(
            "LABEL org.opencontainers.image.version=\"{}\"",
            env!("CARGO_PKG_VERSION")
        ),
        "USER 65532:65532",
        "ENTRYPOINT [\"/waypost\"]",
    ] {
        assert!(dockerfile.lines().any(|present| present == line), "no {line}");
    }
}

/// The defaults whole, of the others what differs from them: a value's effect is all that is in its file.
#[test]
fn what_is_rendered_is_what_it_was() {
    let defaults = documents(&render("defaults", &[]));
    for name in cases() {
        let mut shown = String::new();
        let rendered = documents(&render(&name, &[]));
        for (key, document) in &rendered {
            if name == "defaults" || defaults.get(key) != Some(document) {
                shown += &format!("---\n{document}");
            }
        }
        for (kind, object) in defaults.keys().filter(|key| !rendered.contains_key(*key)) {
            shown += &format!("# without the {kind} {object}\n");
        }
        documentation::assert_file(&format!("{FIXTURES}/golden/{name}.yaml"), &shown);
    }
}

/// Each with the key that somebody mistyped, or the value that cannot be.
#[test]
fn mistakes_in_values_are_refused_by_name() {
    for (values, complaint) in [
        (&["pullthrough.registry=r.io"][..], "'pullthrough' not allowed"),
        (&["pullThrough.registy=r.io"], "'registy' not allowed"),
        (&["pullThrough.registry=https://r.io"], "'/pullThrough/registry'"),
        (&["pullThrough.registry=mirror"], "'/pullThrough/registry'"),
        (&["pullThrough.registry=r.io/"], "'/pullThrough/registry'"),
        (&["pullThrough.registry=r.io/mirror:1"], "'/pullThrough/registry'"),
        (&["pullThrough.upstreams[0]=docker.io/**"], "'/pullThrough/upstreams/0'"),
        (
            &["pullThrough.upstreams[0]=localhost:5000"],
            "'/pullThrough/upstreams/0'",
        ),
        (&["pullThrough.upstreams=[]"], "'/pullThrough/upstreams'"),
        (
            &["pullThrough.podSelector.matchLables.a=b"],
            "'matchLables' not allowed",
        ),
        (&["policies.mine.rule[0].name=a"], "'rule' not allowed"),
        (&["policies.mine.rules[0].nam=a"], "'nam' not allowed"),
        (
            &[
                "policies.mine.rules[0].name=a",
                "policies.mine.rules[0].rewrite.prefx=r.io",
            ],
            "'prefx' not allowed",
        ),
        (&["policies.Mine.rules[0].name=a"], "'Mine' not allowed"),
        (&["policies.my\\.test.rules[0].name=a"], "'my.test' not allowed"),
        (&["policies.pull-through.rules[0].name=a"], "'/policies/pull-through'"),
        (&["policies.waypost.rules[0].name=a"], "'/policies/waypost'"),
        (&["registries.Corp.url=r.io"], "'Corp' not allowed"),
        (&["registries.corp.adress=r.io"], "'adress' not allowed"),
        (&["registries.corp.url=team"], "'/registries/corp/url'"),
        (&["registries.corp.url=https://robot:pw@r.io"], "'/registries/corp/url'"),
        (&["presets[0]=cern"], "'/presets/0'"),
        (
            &["presets[0].name=local-registry", "presets[0].value.host=r.io"],
            "'value' not allowed",
        ),
        (&["pushes.rout=false"], "'rout' not allowed"),
        (&["inject.pullPolicy=always"], "'/inject/pullPolicy'"),
        (&["inject.pullSecret=a"], "'pullSecret' not allowed"),
        (&["optOut.allow=false"], "'allow' not allowed"),
        (&["webhook.failurePolicy=ignore"], "'/webhook/failurePolicy'"),
        (&["webhook.timeout=5"], "'timeout' not allowed"),
        (&["webhook.timeoutSeconds=31"], "'/webhook/timeoutSeconds'"),
        (&["webhook.timeoutSeconds=2s"], "'/webhook/timeoutSeconds'"),
        (&["webhook.namespaceSelector.a=b"], "'a' not allowed"),
        (&["webhook.replica=3"], "'replica' not allowed"),
        (&["webhook.resources.limit.cpu=1"], "'limit' not allowed"),
        (&["controller.replicas=x"], "'/controller/replicas'"),
        (&["certificates.mode=cert-manager"], "'/certificates/mode'"),
        (&["certificates.mode=provided"], "'/certificates/provided/secretName'"),
        (
            &["certificates.mode=provided", "certificates.provided.secretName=a"],
            "'/certificates/provided/caBundle'",
        ),
        (
            &["certificates.provided.caBundle=-----BEGIN PRIVATE KEY-----"],
            "'/certificates/provided/caBundle'",
        ),
        (&["certificates.certManager.issuer=a"], "'issuer' not allowed"),
        (&["image.name=a"], "'name' not allowed"),
        (&["image.digest=sha256:1"], "'/image/digest'"),
        (&["image.tag=a:b"], "'/image/tag'"),
        (&["log.level=warning"], "'/log/level'"),
        (&["logLevel=debug"], "'logLevel' not allowed"),
        (&["tolerations[0].efect=NoSchedule"], "'efect' not allowed"),
        (&["affinity.nodes=a"], "'nodes' not allowed"),
        (&["podSecurityContext.runAsUser=0"], "'/podSecurityContext/runAsUser'"),
        (&["podSecurityContext.runasuser=1"], "'runasuser' not allowed"),
        (&["networkPolicy.enable=false"], "'enable' not allowed"),
        (&["networkPolicy.metricsFrom[0].namespace=a"], "'namespace' not allowed"),
        (&["serviceMonitor.intervall=1m"], "'intervall' not allowed"),
        (&["serviceMonitor.enabled=true"], "needs networkPolicy.metricsFrom"),
        (&["prometheusRule.enabled=true"], "needs serviceMonitor.enabled"),
        (
            &["prometheusRule.certificateExpiryDays=0"],
            "'/prometheusRule/certificateExpiryDays'",
        ),
        (&["replicas=2"], "'replicas' not allowed"),
    ] {
        let finished = template("waypost", &sets(values));
        assert_ne!(finished.code, Some(0), "{values:?} was accepted");
        finished.complains(complaint);
    }
}

/// A chart that this one is a part of gives these to it.
#[test]
fn it_may_be_a_part_of_another_chart() {
    template("waypost", &sets(&["enabled=true", "global.storageClass=fast"])).exits(0);
}

/// `waypost webhook-config` and the chart say the same to the API server.
#[test]
fn the_webhook_configuration_is_that_of_the_program() {
    let directory = Directory::new();
    let ca = directory.write("ca.crt", authority());
    let printed = directory.run([
        "webhook-config",
        "--service=waypost/waypost",
        &format!("--ca-file={}", ca.display()),
    ]);
    let ours = yaml("webhook-config", printed.exits(0).out()).remove(0);
    let bundle = format!("certificates.provided.caBundle={}", ca.display());
    let mut args = sets(&["certificates.mode=provided", "certificates.provided.secretName=mine"]);
    args.extend(["--set-file".to_owned(), bundle]);
    let rendered = template("waypost", &args).exits(0);
    let mut chart = object(rendered.out(), "MutatingWebhookConfiguration", "waypost");
    chart["metadata"].as_object_mut().unwrap().remove("labels");
    assert_eq!(chart, ours);
}

/// Helm leaves alone what it has never said; what the controller or cert-manager wrote stays.
#[test]
fn the_authority_is_not_helms_where_somebody_else_looks_after_it() {
    for name in ["defaults", "cert-manager"] {
        let chart = object(&render(name, &[]), "MutatingWebhookConfiguration", "waypost");
        assert_eq!(chart["webhooks"][0]["clientConfig"].get("caBundle"), None, "{name}");
    }
}

/// The API server asks webhooks in the order of their configurations' names, and Istio's is to be asked first.
#[test]
fn whatever_the_release_is_called_it_comes_after_istio() {
    let long = "a".repeat(53);
    for (release, name) in [
        ("waypost", "waypost"),
        ("waypost-two", "waypost-two"),
        ("alpha", "waypost-alpha"),
        (&*long, &*format!("waypost-{}", "a".repeat(47))),
    ] {
        let rendered = template(
            release,
            &sets(&["serviceMonitor.enabled=true", "networkPolicy.enabled=false"]),
        )
        .exits(0);
        object(rendered.out(), "MutatingWebhookConfiguration", name);
        for (kind, object) in documents(rendered.out()).keys() {
            // A definition's name is said by what it defines.
            let fixed = kind == "CustomResourceDefinition";
            assert!(fixed || object.starts_with(name), "{kind} {object}");
            assert!(kind != "Service" || object.len() <= 63, "{object}");
        }
    }
    assert!("waypost" > "istio-sidecar-injector" && "waypost" > "istio-revision-tag-default");
}

/// An upgrade with another registry changes what running replicas read, and nothing that would restart them.
#[test]
fn policies_change_without_a_restart() {
    let before = render("pull-through", &[]);
    let after = render(
        "policies",
        &sets(&[
            "presets={exempt-operators}",
            "pushes.route=true",
            "inject.pullPolicy=Always",
            "inject.pullSecrets=[]",
            "optOut.allowed=true",
        ]),
    );
    for deployment in ["waypost-webhook", "waypost-controller"] {
        assert_eq!(
            object(&before, "Deployment", deployment),
            object(&after, "Deployment", deployment)
        );
    }
    let policies = |text| object(text, "ConfigMap", "waypost-policies")["data"].clone();
    assert_ne!(policies(&before), policies(&after));
}

/// What the program reads when it starts, on the other hand, starts it again.
#[test]
fn the_configuration_changes_with_a_restart() {
    let before = render("defaults", &[]);
    for change in [
        "log.level=debug",
        "inject.pullPolicy=IfNotPresent",
        "presets={cern-pull-through}",
        "optOut.allowed=false",
    ] {
        let after = render("defaults", &sets(&[change]));
        for deployment in ["waypost-webhook", "waypost-controller"] {
            let template = |text| object(text, "Deployment", deployment)["spec"]["template"].clone();
            assert_ne!(template(&before), template(&after), "{deployment} with {change}");
        }
    }
}

/// What is rendered is what `waypost` accepts: configuration and policies, without as much as a warning.
#[test]
fn policies_and_configuration_work() {
    for name in cases() {
        let rendered = render(&name, &[]);
        let directory = Directory::new();
        let configuration = object(&rendered, "ConfigMap", "waypost")["data"]["waypost.yaml"].clone();
        directory.write("waypost.yaml", configuration.as_str().unwrap());
        fs::create_dir(directory.path().join("policies")).unwrap();
        for (file, content) in policies(&rendered) {
            directory.write(&format!("policies/{file}"), content);
        }
        let checked = directory
            .run(["check", "policies", "--config", "waypost.yaml"])
            .exits(0);
        assert!(
            checked.out().starts_with("policies works: ") && checked.stderr.is_empty(),
            "{name}: {checked:?}"
        );
    }
}

#[test]
fn images_go_where_values_say() {
    let explain = |rendered: &str, image: &str, namespace: &str| {
        let directory = Directory::new();
        for (file, content) in policies(rendered) {
            directory.write(&format!("policies.d/{file}"), content);
        }
        let explained = directory.run(["explain", image, "--namespace", namespace]).exits(0);
        let line = explained
            .out()
            .lines()
            .find_map(|line| line.trim().strip_prefix("pulled from "));
        line.unwrap_or("where it says").to_owned()
    };
    let cern = render("pull-through", &[]);
    assert_eq!(
        explain(&cern, "alpine", "a"),
        "registry.cern.ch/docker.io/library/alpine"
    );
    assert_eq!(explain(&cern, "nvcr.io/nvidia/cuda:12", "a"), "where it says");
    let everything = sets(&[
        "pullThrough.registry=r.example.org:5000/mirror",
        "pullThrough.upstreams={*}",
    ]);
    let all = render("defaults", &everything);
    assert_eq!(
        explain(&all, "nvcr.io/a/b:1", "a"),
        "r.example.org:5000/mirror/nvcr.io/a/b:1"
    );
    assert_eq!(explain(&all, "r.example.org:5000/team/app", "a"), "where it says");
    let some = render(
        "defaults",
        &sets(&[
            "pullThrough.registry=r.example.org",
            "pullThrough.upstreams={quay.io/team}",
            "pullThrough.namespaces={user-*}",
        ]),
    );
    assert_eq!(
        explain(&some, "quay.io/team/app", "user-1"),
        "r.example.org/quay.io/team/app"
    );
    assert_eq!(explain(&some, "quay.io/team/app", "system"), "where it says");
    assert_eq!(explain(&some, "quay.io/other/app", "user-1"), "where it says");
}

/// Whatever users call their policies, the chart's own comes after them.
#[test]
fn pull_through_is_evaluated_last() {
    let rendered = render(
        "pull-through",
        &sets(&[
            "policies.zz.rules[0].name=hub",
            "policies.zz.rules[0].match.images[0]=docker.io/**",
            "policies.zz.rules[0].rewrite.prefix=zz.example.org",
            "policies.0.rules[0].name=private",
            "policies.0.rules[0].match.images[0]=docker.io/private/**",
            "policies.0.rules[0].deny.message=no",
        ]),
    );
    let files: Vec<String> = policies(&rendered).into_keys().collect();
    assert_eq!(files, ["50-0.yaml", "50-zz.yaml", "99-pull-through.yaml"]);
}

#[test]
fn notes_say_what_will_be_rewritten() {
    for (name, said) in [
        ("defaults", "NOTHING WILL BE REWRITTEN: pullThrough.registry is empty"),
        (
            "pull-through",
            "docker.io/library/alpine, for one, is pulled from registry.cern.ch/docker.io/library/alpine.",
        ),
        (
            "policies",
            "Before that: preset harbor-proxy-projects, policy guard, policy teams.",
        ),
    ] {
        let notes = notes(name, "waypost");
        assert!(notes.contains(said), "no {said:?} in\n{notes}");
        assert_eq!(notes.contains("NOTHING"), name == "defaults", "{notes}");
        assert!(!notes.contains("a namespace of its own"), "{notes}");
    }
    assert!(notes("pull-through", "tools").contains("give Waypost a namespace of its own"));
    // `helm install` without a namespace: Pods beside it are what it is for.
    assert!(
        notes("pull-through", "default").contains("Never asked for: namespaces kube-system, and Waypost's own Pods.\n")
    );
}

/// What Helm prints at the end of an installation with the values of a fixture.
fn notes(name: &str, namespace: &str) -> String {
    let values = values(name);
    let args = [
        "install",
        "waypost",
        CHART,
        "--dry-run=client",
        "--namespace",
        namespace,
        "--values",
        &values,
    ];
    let finished = helm(&args).exits(0);
    finished.out().split_once("NOTES:").unwrap().1.to_owned()
}

/// The policies' files.
fn policies(rendered: &str) -> BTreeMap<String, String> {
    let map = object(rendered, "ConfigMap", "waypost-policies");
    let files = map.get("data").and_then(Value::as_object);
    let files = files.into_iter().flatten();
    files
        .map(|(file, content)| (file.clone(), content.as_str().unwrap().to_owned()))
        .collect()
}

/// The fixtures: files of values.
fn cases() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(FIXTURES)
        .unwrap()
        .filter_map(|entry| Some(entry.unwrap().file_name().to_str()?.strip_suffix(".yaml")?.to_owned()))
        .collect();
    names.sort_unstable();
    assert!(names.len() >= 6, "{names:?}");
    names
}

/// What Helm makes of a fixture, and of further arguments.
fn render(name: &str, args: &[String]) -> String {
    let mut all = vec!["--values".to_owned(), values(name)];
    all.extend_from_slice(args);
    template("waypost", &all).exits(0).out().to_owned()
}

fn values(name: &str) -> String {
    format!("{FIXTURES}/{name}.yaml")
}

fn sets(values: &[&str]) -> Vec<String> {
    let flag = |value: &str| if value.ends_with("[]") { "--set-json" } else { "--set" };
    values
        .iter()
        .flat_map(|value| [flag(value).to_owned(), (*value).to_owned()])
        .collect()
}

fn template(release: &str, args: &[String]) -> Finished {
    let mut all = vec![
        "template",
        release,
        CHART,
        "--namespace=waypost",
        "--kube-version=1.36.3",
    ];
    all.extend(args.iter().map(String::as_str));
    helm(&all)
}

/// The documents by kind and name, without empty lines, of which Helm's versions write different numbers.
fn documents(rendered: &str) -> BTreeMap<(String, String), String> {
    let mut documents = BTreeMap::new();
    for text in rendered.split("---\n") {
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        let text: String = lines.flat_map(|line| [line.trim_end(), "\n"]).collect();
        for object in yaml("rendered", &text) {
            let key = (string(&object["kind"]), string(&object["metadata"]["name"]));
            assert!(documents.insert(key, text.clone()).is_none(), "twice:\n{text}");
        }
    }
    documents
}

#[track_caller]
fn object(rendered: &str, kind: &str, name: &str) -> Value {
    let documents = documents(rendered);
    let text = documents.get(&(kind.to_owned(), name.to_owned()));
    let text = text.unwrap_or_else(|| panic!("no {kind} {name} in {:?}", documents.keys()));
    yaml("rendered", text).remove(0)
}

fn string(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// The documents of a YAML text.
#[track_caller]
fn yaml(name: &str, text: &str) -> Vec<Value> {
    let (documents, problems) = parse(&Source::new(name, text));
    assert_eq!(problems, [], "{text}");
    documents.iter().map(|document| document.decode().unwrap()).collect()
}

fn read(name: &str) -> String {
    fs::read_to_string(format!("{CHART}/{name}")).unwrap()
}

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/waypost");
const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/chart");
