use super::*;

/// An object with these rules, in YAML's flow style; the first created, the older.
fn object(name: &str, created: i64, generation: i64, rules: &str) -> Object {
    let text = format!(
        "{{apiVersion: waypost.dev/v1alpha1, kind: Policy, metadata: {{name: '{name}'}}, spec: {{rules: [{rules}]}}}}"
    );
    Object {
        name: name.into(),
        created: jiff::Timestamp::from_second(created).unwrap(),
        generation,
        text: text.into(),
    }
}

fn keep(registry: &str) -> String {
    format!("{{name: keep, match: {{images: [{registry}/**]}}, keep: {{}}}}")
}

fn through(registry: &str, template: &str) -> String {
    format!("{{name: through, match: {{images: [{registry}/**]}}, rewrite: {{to: ['{template}']}}}}")
}

fn base(files: &[&str]) -> Base {
    let file = |name: &&str| {
        let policy = name.trim_end_matches(".yaml");
        let rules = keep(&format!("{policy}.test"));
        Source::new(format!("policies.d/{name}"), &*object(policy, 0, 1, &rules).text)
    };
    Base {
        files: files.iter().map(file).collect(),
        presets: Vec::new(),
        settings: Settings {
            route_pushes: false,
            ..Settings::default()
        },
    }
}

fn policies(together: &Together) -> Vec<&str> {
    let set = together.set.as_ref().expect("a set");
    set.rules().iter().map(super::super::Rule::policy).collect()
}

fn states(together: &Together) -> Vec<(&str, State)> {
    let verdicts = together.verdicts.iter();
    verdicts.map(|verdict| (&*verdict.name, verdict.state)).collect()
}

#[test]
fn objects_and_files_decide_in_the_order_of_their_names_and_the_charts_pull_through_last() {
    let mut objects = Objects::default();
    for name in ["zz", "aa", "10-first", "99-z", "mm"] {
        assert!(objects.apply(object(name, 1, 1, &keep(&format!("{name}.test")))));
    }
    let together = objects.compile(&base(&["20-file.yaml", "50-bb.yaml", "99-pull-through.yaml"]));
    assert_eq!(
        policies(&together),
        [
            "10-first",
            "20-file",
            "aa",
            "50-bb",
            "mm",
            "zz",
            "99-pull-through",
            "99-z"
        ]
    );
    assert!(together.verdicts.iter().all(|verdict| verdict.state == State::InUse));
    assert_eq!(together.verdicts[0].rules, Some(1));
}

#[test]
fn a_broken_object_is_left_out_and_stops_nobody() {
    let mut objects = Objects::default();
    objects.apply(object("good", 1, 1, &keep("good.test")));
    objects.apply(object(
        "bad",
        1,
        1,
        "{name: bad, rewrite: {prefix: 'no spaces, please'}}",
    ));
    let together = objects.compile(&base(&["50-file.yaml"]));
    assert_eq!(policies(&together), ["50-file", "good"]);
    assert_eq!(states(&together), [("bad", State::LeftOut), ("good", State::InUse)]);
    assert!(together.diagnostics.is_empty(), "{:?}", together.diagnostics);
    let error = &together.verdicts[0].diagnostics[0];
    assert_eq!(
        (&*error.source, &*error.path.to_string(), &error.spot),
        ("policies.waypost.dev/bad", "spec.rules[0].rewrite.prefix", &None)
    );
}

#[test]
fn the_last_good_version_of_a_broken_object_goes_on_until_it_is_mended_or_deleted() {
    let mut objects = Objects::default();
    let base = base(&[]);
    objects.apply(object("p", 1, 1, &keep("one.test")));
    objects.compile(&base);
    assert!(objects.apply(object("p", 1, 2, "{name: keep}")));
    let together = objects.compile(&base);
    assert_eq!(policies(&together), ["p"]);
    assert_eq!(states(&together), [("p", State::Kept(1))]);
    assert!(together.verdicts[0].diagnostics[0].is_error());
    // And it is remembered however often others change.
    objects.apply(object("q", 2, 1, &keep("q.test")));
    assert_eq!(policies(&objects.compile(&base)), ["p", "q"]);

    objects.apply(object("p", 1, 3, &keep("three.test")));
    assert_eq!(states(&objects.compile(&base))[0], ("p", State::InUse));
    objects.apply(object("p", 1, 4, "{name: keep}"));
    assert_eq!(states(&objects.compile(&base))[0], ("p", State::Kept(3)));
    // Somebody who deletes it and makes it anew does not mean the old one.
    objects.apply(object("p", 9, 1, "{name: keep}"));
    assert_eq!(states(&objects.compile(&base))[0], ("p", State::LeftOut));
    assert!(objects.remove("p") && !objects.remove("p"));
    assert_eq!(policies(&objects.compile(&base)), ["q"]);
}

#[test]
fn of_objects_that_do_not_go_together_the_oldest_stays_whatever_their_names() {
    let mut objects = Objects::default();
    objects.apply(object("a-new", 3, 1, &through("docker.io", "r.test/{repository}")));
    objects.apply(object("z-old", 2, 1, &through("quay.io", "r.test/{repository}")));
    for other in ["b", "c", "d"] {
        objects.apply(object(other, 4, 1, &keep(&format!("{other}.test"))));
    }
    let together = objects.compile(&base(&[]));
    assert_eq!(policies(&together), ["b", "c", "d", "z-old"]);
    let refused = &together.verdicts[0];
    assert_eq!(
        (&*refused.name, refused.state, refused.rules),
        ("a-new", State::LeftOut, Some(1))
    );
    assert!(
        refused.diagnostics[0].message.contains("can give an image the name"),
        "{refused:?}"
    );
    // What it said before is better than nothing.
    objects.apply(object("a-new", 3, 2, &through("docker.io", "hub.test/{repository}")));
    assert_eq!(states(&objects.compile(&base(&[])))[0], ("a-new", State::InUse));
    objects.apply(object("a-new", 3, 3, &through("docker.io", "r.test/{repository}")));
    assert_eq!(states(&objects.compile(&base(&[])))[0], ("a-new", State::Kept(2)));
}

#[test]
fn files_win_over_objects_and_broken_files_make_no_set() {
    let mut objects = Objects::default();
    objects.apply(object("99-x", 1, 1, &keep("a.test")));
    let mut base = base(&["99-x.yaml"]);
    let together = objects.compile(&base);
    assert_eq!(policies(&together), ["99-x"]);
    assert_eq!(states(&together), [("99-x", State::LeftOut)]);
    assert!(
        together.verdicts[0].diagnostics[0]
            .message
            .contains("is in policies.d/99-x.yaml already"),
        "{:?}",
        together.verdicts
    );
    base.files.push(Source::new("policies.d/bad.yaml", "kind: Policy\n"));
    let together = objects.compile(&base);
    assert!(together.set.is_none());
    assert!(
        together
            .diagnostics
            .iter()
            .any(|error| error.source == "policies.d/bad.yaml")
    );
}

#[test]
fn only_what_an_object_says_is_news() {
    let mut objects = Objects::default();
    let one = object("p", 1, 1, &keep("a.test"));
    assert!(objects.replace(vec![one.clone()]));
    assert!(!objects.apply(one.clone()));
    assert!(!objects.replace(vec![one.clone()]));
    assert!(objects.apply(Object { generation: 2, ..one }));
    assert!(objects.replace(Vec::new()));
    assert!(objects.is_empty());
}
