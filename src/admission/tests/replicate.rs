//! Images that Pods use and rules replicate.

use super::*;
use crate::{
    registry::{NamespacesSpec, RegistrySpec},
    snapshot::Trial,
};

const RULES: &str = "- {name: no, match: {images: ['docker.io/evil/**']}, deny: {}}
- {name: moved, match: {images: ['docker.io/moved/**']}, rewrite: {prefix: far.io}}
- {name: hub, match: {images: ['docker.io/**', 'src.io/**']}, replicate: {registry: a, refresh: 90s, referrers: true}}";

fn registered() -> Snapshot {
    let mut trial = Trial::default();
    let spec = |url: &str, namespaces: Option<&str>| RegistrySpec {
        url: Some(url.to_owned()),
        namespaces: namespaces.map(|name| NamespacesSpec {
            names: Some(vec![name.to_owned()]),
            selector: None,
        }),
        ..RegistrySpec::default()
    };
    trial.register("a", &spec("a.io/team", None)).unwrap();
    trial.register("all", &spec("src.io", None)).unwrap();
    trial.register("closed", &spec("src.io/closed", Some("other"))).unwrap();
    let mut snapshot = snapshot(RULES);
    trial.apply(&mut snapshot);
    snapshot
}

#[derive(Default)]
struct Uses(RefCell<Vec<String>>);

impl Observer for Uses {
    fn image(&self, _: &Snapshot, _: ImageEvent) {}
    fn review(&self, _: Operation, _: ReviewOutcome, _: Duration) {}
    fn first_use(&self, used: FirstUse<'_>) {
        let Replicate {
            registry,
            refresh,
            referrers,
        } = used.replicate;
        let told = format!(
            "{} into {registry} by {} ({refresh:?}, {referrers})",
            used.image,
            used.source.unwrap_or("nobody")
        );
        self.0.borrow_mut().push(told);
    }
}

fn uses(snapshot: &Snapshot, review: &Value) -> Vec<String> {
    let uses = Uses::default();
    respond(snapshot, &serde_json::to_vec(review).unwrap(), &uses).unwrap();
    uses.0.take()
}

#[test]
fn each_image_of_a_new_pod_is_told_of_as_it_is_written_and_by_whose_credential_it_may_be_read() {
    let review = create(pod(json!({
        "initContainers": [{"name": "i", "image": "moved/x:1"}],
        "containers": [{"name": "a", "image": "alpine"}, {"name": "b", "image": "quay.io/x"}, {"name": "c", "image": "src.io/x:1"},
            {"name": "d", "image": "src.io/closed/x:1"}, {"name": "e", "image": "busybox", "imagePullPolicy": "Never"}],
        "volumes": [{"name": "v", "image": {"reference": "myorg/data:2"}}]})));
    let mut found = uses(&registered(), &review);
    found.sort_unstable();
    assert_eq!(
        found,
        [
            "alpine into a by nobody (90s, true)",
            "moved/x:1 into a by nobody (90s, true)",
            "myorg/data:2 into a by nobody (90s, true)",
            // The one with the longer organization is over it, and not for this namespace.
            "src.io/closed/x:1 into a by nobody (90s, true)",
            "src.io/x:1 into a by all (90s, true)",
        ]
    );
    let answered = ask(&registered(), &review);
    assert_eq!(
        answered.image("/spec/containers/0/image"),
        "alpine",
        "the first Pod runs from the source"
    );
}

#[test]
fn nothing_is_told_of_pods_that_are_refused_tried_out_opted_out_mirrors_or_of_unknown_namespaces() {
    let snapshot = registered();
    let usual = create(one("alpine"));
    assert_eq!(uses(&snapshot, &usual).len(), 1);
    let with = |change: &dyn Fn(&mut Value)| {
        let mut review = usual.clone();
        change(&mut review["request"]);
        uses(&snapshot, &review)
    };
    let none: [String; 0] = [];
    assert_eq!(with(&|request| request["dryRun"] = json!(true)), none);
    assert_eq!(with(&|request| request["operation"] = json!("DELETE")), none);
    let refused = json!([{"name": "app", "image": "alpine"}, {"name": "evil", "image": "evil/x"}]);
    assert_eq!(
        with(&|request| request["object"]["spec"]["containers"] = refused.clone()),
        none
    );
    let disabled = json!({"waypost.dev/rewrite": "disabled"});
    assert_eq!(
        with(&|request| request["object"]["metadata"]["labels"] = disabled.clone()),
        none
    );
    let mirror = json!({"kubernetes.io/config.mirror": "x"});
    assert_eq!(
        with(&|request| request["object"]["metadata"]["annotations"] = mirror.clone()),
        none
    );
    let mut watched = snapshot.clone();
    watched.namespaces = crate::snapshot::Namespaces::watched();
    assert_eq!(uses(&watched, &usual), none);
}

#[test]
fn of_a_pod_that_exists_only_an_image_that_is_new_is_told_of() {
    let snapshot = registered();
    let (old, new) = (one("alpine:1"), one("alpine:2"));
    assert_eq!(
        uses(&snapshot, &update(old.clone(), new)),
        ["alpine:2 into a by nobody (90s, true)"]
    );
    let mut labelled = old.clone();
    labelled["metadata"]["labels"] = json!({"a": "b"});
    assert!(uses(&snapshot, &update(old, labelled)).is_empty());
    assert_eq!(
        uses(&snapshot, &fixture(EPHEMERAL_UPDATE)),
        ["alpine into a by nobody (90s, true)"]
    );
}
