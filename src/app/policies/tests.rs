use std::fs;

use super::*;
use crate::policy::Settings;

const POLICY: &str =
    "{apiVersion: waypost.dev/v1alpha1, kind: Policy, metadata: {name: 'NAME'}, spec: {rules: [RULES]}}";

fn keep(name: &str, rules: &[&str]) -> String {
    let rule = |rule: &&str| format!("{{name: {rule}, match: {{images: [{name}-{rule}.test/**]}}, keep: {{}}}}");
    let rules: Vec<_> = rules.iter().map(rule).collect();
    POLICY.replace("NAME", name).replace("RULES", &rules.join(", "))
}

fn object(name: &str, generation: i64, text: &str) -> Object {
    Object {
        name: name.into(),
        created: jiff::Timestamp::UNIX_EPOCH,
        generation,
        text: text.into(),
    }
}

struct Setup {
    dir: tempfile::TempDir,
    health: Health,
    metrics: Arc<Metrics>,
    policies: Policies,
}

fn setup(file: &str) -> Setup {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("50-file.yaml"), file).unwrap();
    let source = PolicySource {
        path: dir.path().to_owned(),
        may_be_absent: true,
        presets: Vec::new(),
        settings: Settings {
            route_pushes: false,
            ..Settings::default()
        },
    };
    let (health, metrics) = (Health::default(), Arc::new(Metrics::new()));
    let policies = Policies::load(source, true, metrics.clone(), &health).unwrap();
    Setup {
        dir,
        health,
        metrics,
        policies,
    }
}

impl Setup {
    fn rules(&self) -> (u64, Vec<String>) {
        let snapshot = self.policies.current.load();
        let rules = snapshot.policies.rules().iter();
        (snapshot.generation, rules.map(|rule| rule.id().to_owned()).collect())
    }

    fn objects(&self, objects: Vec<Object>) -> (u64, Vec<String>) {
        locked(&self.policies.loaded).objects_changed(objects);
        self.rules()
    }

    fn file(&self, text: &str) -> (u64, Vec<String>) {
        fs::write(self.dir.path().join("50-file.yaml"), text).unwrap();
        locked(&self.policies.loaded).files_changed();
        self.rules()
    }

    fn failures(&self) -> String {
        let metrics = self.metrics.common().render().unwrap();
        let line = metrics
            .lines()
            .find(|line| line.starts_with("waypost_policy_reload_failures_total "));
        line.unwrap().rsplit(' ').next().unwrap().to_owned()
    }

    #[track_caller]
    fn says(&self, text: &str) {
        let report = self.health.report();
        assert!(report.ready && report.text.contains(text), "{}", report.text);
    }
}

fn rules(generation: u64, ids: &[&str]) -> (u64, Vec<String>) {
    (generation, ids.iter().map(|id| (*id).to_owned()).collect())
}

#[test]
fn objects_come_and_go_beside_the_files() {
    let setup = setup(&keep("file", &["a"]));
    assert_eq!(setup.rules(), rules(1, &["file/a"]));
    let one = object("one", 1, &keep("one", &["a"]));
    assert_eq!(setup.objects(vec![one.clone()]), rules(2, &["file/a", "one/a"]));
    // No news.
    assert_eq!(setup.objects(vec![one.clone()]), rules(2, &["file/a", "one/a"]));
    assert_eq!(
        setup.file(&keep("file", &["a", "b"])),
        rules(3, &["file/a", "file/b", "one/a"])
    );
    // Made anew, it begins at the same generation.
    let anew = Object {
        created: jiff::Timestamp::from_second(9).unwrap(),
        ..object("one", 1, &keep("one", &["z"]))
    };
    assert_eq!(setup.objects(vec![anew]), rules(4, &["file/a", "file/b", "one/z"]));
    assert_eq!(setup.objects(vec![]), rules(5, &["file/a", "file/b"]));
    setup.says("[+]policies ok\n");
    assert_eq!(setup.failures(), "0");
}

#[test]
fn what_is_broken_is_counted_once_and_said_until_it_is_mended() {
    let setup = setup(&keep("file", &["a"]));
    let broken = object("bad", 1, &POLICY.replace("NAME", "bad").replace("RULES", "{name: x}"));
    let good = object("good", 1, &keep("good", &["a"]));
    // Nothing that is in use has changed.
    assert_eq!(setup.objects(vec![broken.clone()]), rules(1, &["file/a"]));
    setup.says("the Policy bad has errors, it is left out: policies.waypost.dev/bad, at spec.rules[0]");
    assert_eq!(setup.failures(), "1");
    assert_eq!(
        setup.objects(vec![broken.clone(), good.clone()]),
        rules(2, &["file/a", "good/a"])
    );
    assert_eq!(setup.failures(), "1");

    // Files that break do not keep objects from changing, and the other way around.
    assert_eq!(setup.file("kind: Policy\n"), rules(2, &["file/a", "good/a"]));
    assert_eq!(setup.failures(), "2");
    setup.says("the policies on disk have errors, generation 2 is kept: ");
    setup.says("the Policy bad has errors");
    let better = object("good", 2, &keep("good", &["a", "b"]));
    assert_eq!(
        setup.objects(vec![better.clone()]),
        rules(3, &["file/a", "good/a", "good/b"])
    );
    let worse = object("good", 3, "{kind: Policy}");
    assert_eq!(
        setup.objects(vec![worse.clone()]),
        rules(3, &["file/a", "good/a", "good/b"])
    );
    setup.says("the Policy good has errors, generation 2 of it is kept: ");
    assert_eq!(
        setup.file(&keep("file", &["c"])),
        rules(4, &["file/c", "good/a", "good/b"])
    );
    assert_eq!(setup.failures(), "3");
    assert_eq!(setup.objects(vec![better]), rules(4, &["file/c", "good/a", "good/b"]));
    setup.says("[+]policies ok\n");
}
