use std::hash::{DefaultHasher, Hash as _, Hasher};

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{policy::Requirement, registry::Registry};

type Of = BTreeMap<String, String>;

fn hash(parts: &[&[u8]]) -> Digest {
    let mut digest = [0; 16];
    for (half, seed) in digest.chunks_mut(8).zip([1, 2]) {
        let mut hasher = DefaultHasher::new();
        (seed, parts).hash(&mut hasher);
        half.copy_from_slice(&hasher.finish().to_le_bytes());
    }
    digest
}

fn login(password: &str) -> Option<Login> {
    Some(Login {
        username: "u".to_owned(),
        password: Password::new(password.to_owned()),
    })
}

fn source(id: &str, url: &str, namespaces: serde_json::Value, login: Option<Login>) -> Source {
    let spec = serde_json::from_value(json!({"url": url, "namespaces": namespaces})).unwrap();
    Source::of(&Registry::parse(id, &spec).unwrap(), login)
}

fn labels(pairs: &[(&str, &str)]) -> Of {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn text(plan: &mut Plan, namespace: &str, of: &Of, present: Option<&[u8]>) -> String {
    let due = plan.due(namespace, of);
    String::from_utf8(due.content(present).to_vec()).unwrap()
}

fn found(content: &[u8]) -> Found {
    Found {
        uid: "u".into(),
        version: "1".into(),
        ours: true,
        fits: true,
        immutable: false,
        deleting: false,
        content: Content::of(content, hash),
    }
}

#[test]
fn a_namespace_gets_the_entries_of_the_registries_that_admit_it() {
    let sources = vec![
        source("all", "all.io", json!(null), login("p-all")),
        source(
            "named",
            "named.io/team",
            json!({"names": ["team-*", "kube-*"]}),
            login("p-named"),
        ),
        source(
            "labelled",
            "labelled.io",
            json!({"selector": {"matchLabels": {"a": "b"}}}),
            login("p-labelled"),
        ),
        // The same key twice: the smaller id counts, where it admits the namespace.
        source("z-all", "all.io", json!({"names": ["*"]}), login("p-z")),
    ];
    let mut plan = Plan::new(sources, Served::All, hash);
    for (namespace, of, expected) in [
        ("x", &[][..], &["p-all"][..]),
        ("team-1", &[], &["p-all", "p-named"]),
        ("x", &[("a", "b")], &["p-all", "p-labelled"]),
        ("kube-system", &[], &["p-z", "p-named"]),
        // The opt-out is from rewriting.
        ("x", &[("waypost.dev/rewrite", "disabled")], &["p-all"]),
    ] {
        let text = text(&mut plan, namespace, &labels(of), None);
        for password in ["p-all", "p-named", "p-labelled", "p-z"] {
            assert_eq!(
                text.contains(&format!("\"{password}\"")),
                expected.contains(&password),
                "{namespace} {of:?} {password}"
            );
        }
        assert_eq!(
            text.contains("\"named.io/team/\""),
            expected.contains(&"p-named"),
            "{text}"
        );
    }
}

#[test]
fn a_registry_without_namespaces_is_for_those_that_the_webhook_serves() {
    let outside = LabelSelector {
        match_expressions: vec![Requirement {
            key: "kubernetes.io/metadata.name".to_owned(),
            operator: crate::policy::Operator::NotIn,
            values: vec!["kube-system".to_owned(), "waypost".to_owned()],
        }],
        ..LabelSelector::default()
    };
    let everything = LabelSelector::default();
    for (served, namespace, expected) in [
        (Served::All, "x", true),
        (Served::All, "kube-public", false),
        (Served::Selected(vec![outside.clone()]), "x", true),
        (Served::Selected(vec![outside.clone()]), "waypost", false),
        (Served::Selected(vec![outside, everything]), "waypost", true),
        (Served::Selected(vec![]), "x", false),
    ] {
        let mut plan = Plan::new(vec![source("a", "r.io", json!(null), login("p"))], served.clone(), hash);
        assert!(plan.is_decided());
        let due = plan.due(namespace, &labels(&[("kubernetes.io/metadata.name", namespace)]));
        assert_eq!(!due.is_nothing(), expected, "{served:?} {namespace}");
    }
    let undecided = |namespaces| Plan::new(vec![source("a", "r.io", namespaces, login("p"))], Served::Unknown, hash);
    assert!(!undecided(json!(null)).is_decided());
    assert!(undecided(json!({"names": ["*"]})).is_decided());
}

#[test]
fn every_state_has_its_step() {
    let mut plan = Plan::new(
        vec![source("a", "r.io", json!({"names": ["due"]}), login("p"))],
        Served::All,
        hash,
    );
    let none = Of::new();
    let (due, not_due) = (plan.due("due", &none), plan.due("not", &none));
    let right = found(&due.content(None));
    let empty = found(br#"{"auths":{}}"#);
    let wrong = found(b"{");
    let theirs = Found {
        ours: false,
        ..right.clone()
    };
    let unfit = Found {
        fits: false,
        ..right.clone()
    };
    let frozen = |found: &Found| Found {
        immutable: true,
        ..found.clone()
    };
    let going = |found: &Found| Found {
        deleting: true,
        ..found.clone()
    };
    for (what, found, if_due, if_not) in [
        ("none", None, Step::Create, Step::Nothing),
        ("right", Some(right.clone()), Step::Nothing, Step::Delete),
        ("empty", Some(empty.clone()), Step::Update, Step::Delete),
        ("wrong", Some(wrong.clone()), Step::Update, Step::Delete),
        ("theirs", Some(theirs), Step::Foreign, Step::Nothing),
        ("of another type", Some(unfit.clone()), Step::Delete, Step::Delete),
        ("immutable and right", Some(frozen(&right)), Step::Nothing, Step::Delete),
        ("immutable and wrong", Some(frozen(&wrong)), Step::Delete, Step::Delete),
        (
            "kept by a finalizer and right",
            Some(going(&right)),
            Step::Nothing,
            Step::Update,
        ),
        (
            "kept by a finalizer and wrong",
            Some(going(&wrong)),
            Step::Update,
            Step::Update,
        ),
        (
            "kept by a finalizer and empty",
            Some(going(&empty)),
            Step::Update,
            Step::Nothing,
        ),
        (
            "kept by a finalizer, of another type",
            Some(going(&unfit)),
            Step::Nothing,
            Step::Nothing,
        ),
    ] {
        assert_eq!(next(&due, found.as_ref(), false), if_due, "{what}, and due");
        assert_eq!(next(&not_due, found.as_ref(), false), if_not, "{what}, and not due");
        assert_eq!(
            next(&due, found.as_ref(), true),
            Step::Nothing,
            "{what}, and terminating"
        );
    }
}

#[test]
fn what_is_written_by_hand_into_ours_is_seen() {
    let mut plan = Plan::new(vec![source("a", "r.io", json!(null), login("p"))], Served::All, hash);
    let due = plan.due("x", &Of::new());
    let right = serde_json::from_slice::<serde_json::Value>(&due.content(None)).unwrap();
    let mut changed = vec![json!({}), json!({"auths": {}}), json!([])];
    for (pointer, value) in [
        ("/auths/r.io/auth", json!("eA==")),
        ("/auths/r.io/username", json!("v")),
        ("/auths/r.io/password", json!(null)),
        ("/auths/r.io/email", json!("a@b")),
        ("/auths/s.io", json!({"auth": "eA=="})),
        ("/credsStore", json!("x")),
    ] {
        let mut other = right.clone();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        // A pointer would split `r.io/…`, which is not here.
        other.pointer_mut(parent).unwrap()[key] = value;
        changed.push(other);
    }
    assert_eq!(
        next(&due, Some(&found(right.to_string().as_bytes())), false),
        Step::Nothing
    );
    // Whatever the spaces.
    let spaced = serde_json::to_string_pretty(&right).unwrap();
    assert_eq!(next(&due, Some(&found(spaced.as_bytes())), false), Step::Nothing);
    for content in changed {
        assert_eq!(
            next(&due, Some(&found(content.to_string().as_bytes())), false),
            Step::Update,
            "{content}"
        );
    }
}

#[test]
fn a_login_that_cannot_be_read_keeps_its_entry_while_others_change() {
    let with = |a: Option<Login>, b| {
        Plan::new(
            vec![
                source("a", "a.io", json!(null), a),
                source("b", "b.io", json!({"names": ["x"]}), b),
            ],
            Served::All,
            hash,
        )
    };
    let none = Of::new();
    let before = text(&mut with(login("a1"), login("b1")), "x", &none, None);
    let mut plan = with(None, login("b1"));
    assert_eq!(plan.unreadable().collect::<Vec<_>>(), ["a"]);
    let due = plan.due("x", &none);
    assert!(!due.is_complete());
    assert_eq!(next(&due, Some(&found(before.as_bytes())), false), Step::Nothing);
    // Another's password changes.
    let mut plan = with(None, login("b2"));
    let due = plan.due("x", &none);
    assert_eq!(next(&due, Some(&found(before.as_bytes())), false), Step::Update);
    let after = text(&mut plan, "x", &none, Some(before.as_bytes()));
    assert_eq!(after, text(&mut with(login("a1"), login("b2")), "x", &none, None));
    assert_eq!(next(&due, Some(&found(after.as_bytes())), false), Step::Nothing);
    // The namespace is no longer admitted by the other.
    let due = plan.due("y", &none);
    assert_eq!(next(&due, Some(&found(before.as_bytes())), false), Step::Update);
    let after = text(&mut plan, "y", &none, Some(before.as_bytes()));
    assert!(after.contains("a.io") && !after.contains("b.io"), "{after}");
    // Nothing is known: nothing is made, and what is there stays.
    assert_eq!(next(&due, None, false), Step::Nothing);
    assert_eq!(next(&due, Some(&found(after.as_bytes())), false), Step::Nothing);
}

#[test]
fn what_is_remembered_says_nothing_of_a_password() {
    let mut plan = Plan::new(
        vec![source("a", "r.io", json!(null), login("hunter2"))],
        Served::All,
        hash,
    );
    let due = plan.due("x", &Of::new());
    let content = due.content(None);
    let shown = format!("{due:?} {:?} {:?}", found(&content), plan.sources);
    assert!(!shown.contains("hunter2"), "{shown}");
}

/// A Secret as an API server has it.
#[derive(Clone, Debug)]
struct Secret {
    ours: bool,
    fits: bool,
    immutable: bool,
    kept: bool,
    deleting: bool,
    content: Vec<u8>,
}

impl Secret {
    fn seen(&self) -> Found {
        Found {
            ours: self.ours,
            fits: self.fits,
            immutable: self.immutable,
            deleting: self.deleting,
            ..found(&self.content)
        }
    }
}

fn take(due: &Due, step: Step, secret: &mut Option<Secret>) {
    match (step, &mut *secret) {
        (Step::Create, None) => {
            *secret = Some(Secret {
                ours: true,
                fits: true,
                immutable: false,
                kept: false,
                deleting: false,
                content: due.content(None).to_vec(),
            });
        }
        (Step::Update, Some(present)) if present.ours && present.fits && !present.immutable => {
            present.content = due.content(Some(&present.content)).to_vec();
        }
        (Step::Delete, Some(present)) if present.ours && present.kept => present.deleting = true,
        (Step::Delete, Some(present)) if present.ours => *secret = None,
        step => panic!("an API server would refuse {step:?}"),
    }
}

proptest! {
    #[test]
    fn whatever_was_there_the_right_entries_come_to_be_and_no_others(
        registries in prop::collection::vec(
            (0..3_usize, prop::option::of(0..3_usize), prop::option::weighted(0.8, "[ab]")), 0..5),
        namespace in 0..3_usize,
        secret in prop::option::of((any::<[bool; 4]>(), prop::sample::select(vec![
            "", "{", r#"{"auths":{}}"#, r#"{"auths":{"r1.io":{"username":"u","password":"old","auth":"x"}}}"#,
            r#"{"auths":{"r0.io":{"username":"u","password":"a","auth":"dTph"},"evil.io":{"auth":"x"}}}"#,
        ]))),
    ) {
        let sources: Vec<_> = registries.iter().enumerate().map(|(number, (host, admits, password))| {
            let names = admits.map(|admits| json!({"names": [format!("n{admits}")]}));
            source(&format!("s{number}"), &format!("r{host}.io"), json!(names), password.as_deref().and_then(login))
        }).collect();
        let mut secret = secret.map(|([ours, fits, immutable, kept], content)| Secret {
            ours, fits, immutable, kept, deleting: false, content: content.as_bytes().to_vec(),
        });
        let before = secret.clone();
        let mut plan = Plan::new(sources.clone(), Served::All, hash);
        let name = format!("n{namespace}");
        let due = plan.due(&name, &Of::new());
        let mut steps = 0;
        loop {
            let step = next(&due, secret.as_ref().map(Secret::seen).as_ref(), false);
            if matches!(step, Step::Nothing | Step::Foreign) {
                break;
            }
            take(&due, step, &mut secret);
            steps += 1;
            prop_assert!(steps <= 3, "{step:?} {secret:?}");
        }
        match (&before, &secret) {
            (Some(before), Some(after)) if !before.ours => prop_assert_eq!(&before.content, &after.content),
            // Nobody can do anything about it.
            (_, Some(after)) if after.deleting && !after.seen().is_changeable() => {}
            (_, None) => prop_assert!(!due.is_worth_making()),
            (_, Some(after)) => {
                let config: serde_json::Value = serde_json::from_slice(&after.content).unwrap();
                for (key, _) in config["auths"].as_object().unwrap() {
                    let by = sources.iter().find(|source| *source.key == **key && source.namespaces.admits(&name, &Of::new()));
                    prop_assert!(by.is_some(), "{key} in {name}");
                }
                for source in &sources {
                    let first = sources.iter().find(|other| other.key == source.key && other.namespaces.admits(&name, &Of::new()));
                    if let (Some(first), true) = (first, source.namespaces.admits(&name, &Of::new()))
                        && first.id == source.id
                        && let Some(login) = &source.login
                    {
                        prop_assert_eq!(config["auths"][&*source.key]["password"].as_str(), Some(login.password.expose()));
                    }
                }
            }
        }
    }
}
