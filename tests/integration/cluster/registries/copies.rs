//! Copies in a real Kubernetes API: who asks for one, what becomes of the credential that comes with it, and who may.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use waypost::pushes::{Event, Image, Order, Origin, PushId, State, What};
use waypost::registry::{Login, Password};
use waypost::store::{Asked, Copy, PushQuery, Pushes as _, StoreError};

use super::super::controller::Release;
use super::pushes::{event, id, no_login, path, push, succeeded};
use super::{Followed, Home, PUSHES, draft, login, name, on_a_cluster_with_registries};
use crate::store::contract;
use crate::support::cluster::case::Case;
use crate::support::cluster::kubernetes::Kubernetes;
use crate::support::eventually;
use crate::support::helm::helm;
use crate::support::program::Directory;

impl Home {
    fn ask(&self, order: Order) -> Result<Asked, StoreError> {
        self.runtime.block_on(self.store.ask(order))
    }

    fn ask_from_aside(&self, order: Order) -> Result<(), StoreError> {
        self.runtime.block_on(self.store.ask_from_aside(order))
    }

    fn copy(&self, id: &PushId) -> Result<Option<Copy>, StoreError> {
        self.runtime.block_on(self.store.copy(id))
    }

    /// What is to be copied, the oldest first.
    fn copies(&self) -> Vec<PushId> {
        let copies = self.store.copies().borrow().clone();
        copies.iter().map(|wanted| wanted.id.clone()).collect()
    }

    fn copied(&self, image: &str, what: What) {
        let event = Event {
            origin: Origin::Copy,
            ..event(image, "prod", what)
        };
        self.tell(vec![event]).unwrap();
    }

    fn counted(&self) -> usize {
        let query = PushQuery {
            limit: 500,
            ..PushQuery::default()
        };
        self.runtime.block_on(self.store.pushes(&query)).unwrap().items.len()
    }

    fn ends(&self, image: &str) {
        self.copied(
            image,
            What::Failed {
                error: "the disk is full".into(),
            },
        );
    }
}

fn order(image: &str, password: Option<&str>) -> Order {
    Order {
        image: Image::parse(image).unwrap(),
        registry: "prod".into(),
        referrers: false,
        refresh: false,
        source: None,
        login: password.map(robot),
    }
}

fn robot(password: &str) -> Login {
    Login {
        username: "robot".to_owned(),
        password: Password::new(password.to_owned()),
    }
}

/// The Secrets of pushes in the test's namespace.
fn logins(case: &Case<'_>) -> Vec<Value> {
    let path = format!("{}?labelSelector=waypost.dev/push", case.path("secrets"));
    case.admin.get(&path).unwrap()["items"].as_array().unwrap().clone()
}

fn secret(case: &Case<'_>, name: &str, registry: &str, data: &Value) {
    let object = json!({"metadata": {"name": name, "labels": {"waypost.dev/push": registry}}, "stringData": data});
    case.create("secrets", &object).unwrap();
}

fn request(at: &str, credential: Option<&str>) -> Value {
    let credential = credential.map(|name| json!({ "name": name }));
    json!({"spec": {"copy": {"requestedAt": at, "credential": credential}}})
}

fn conditions(object: &Value) -> Vec<[&str; 3]> {
    let all = object["status"]["conditions"].as_array().unwrap().iter();
    all.map(|condition| ["status", "reason", "message"].map(|key| condition[key].as_str().unwrap()))
        .collect()
}

#[test]
fn what_somebody_asks_for_is_kept_with_its_credential_until_it_ends() {
    on_a_cluster_with_registries("copies-asked", |case| {
        let (home, leader) = (Home::open(case), Home::open(case));
        assert_eq!(
            home.ask(order("org/app:1", Some("one"))),
            Err(StoreError::NotFound("prod".to_owned()))
        );
        home.create("prod", no_login("prod.io")).unwrap();
        let asked = home.ask(order("org/app:1", Some("one"))).unwrap();
        let push = asked.record.id();
        assert!(!asked.joined);
        assert_eq!(asked.record.last_attempt.as_ref().unwrap().state, State::Pending);
        // Whoever asked sees it at once.
        assert_eq!(
            (home.copies(), home.push(&push)),
            (vec![push.clone()], Ok(Some(asked.record.clone())))
        );
        eventually("the leader sees it", || {
            (leader.copies() == [push.clone()]).then_some(())
        });
        let object = case.admin.get(&path(&push)).unwrap();
        assert_eq!(object["metadata"]["annotations"]["waypost.dev/reported"], "true");
        let [kept] = &*logins(case) else {
            panic!("{:?}", logins(case))
        };
        assert_eq!(kept["metadata"]["ownerReferences"][0]["uid"], object["metadata"]["uid"]);
        assert_eq!(kept["metadata"]["labels"]["waypost.dev/push"], "prod");
        assert_eq!(object["status"]["copying"]["login"], kept["metadata"]["name"]);
        assert!(!object.to_string().contains("one\""), "{object}");
        let copy = leader.copy(&push).unwrap().unwrap();
        assert_eq!((&copy.login, &copy.record), (&Some(robot("one")), &asked.record));

        // Somebody else wants the same.
        let joined = leader.ask(order("org/app:1", Some("two"))).unwrap();
        assert_eq!(
            joined,
            Asked {
                record: asked.record,
                joined: true
            }
        );
        assert_eq!(logins(case).len(), 1);
        leader.copied("org/app:1", What::Begun);
        leader.copied(
            "org/app:1",
            What::Progress {
                total: 500_000_000,
                done: 12_345_678,
            },
        );
        let object = case.admin.get(&path(&push)).unwrap();
        assert_eq!(
            conditions(&object)[1],
            ["Unknown", "Running", "a push goes on: 12.3 of 500 MB"]
        );
        let shown = case.kubectl(&["get", "push", push.as_str(), "--output=wide"]).exits(0);
        assert!(shown.out().contains("12345678   500000000"), "{}", shown.out());
        // Told of by others meanwhile.
        leader.tell(vec![succeeded("org/app:1", "prod")]).unwrap();
        assert_eq!((leader.copies().len(), logins(case).len()), (1, 1));

        leader.ends("org/app:1");
        assert_eq!((leader.copies(), logins(case)), (vec![], vec![]));
        let object = case.admin.get(&path(&push)).unwrap();
        assert_eq!(
            (&object["status"]["copying"], &object["status"]["lastAttempt"]["state"]),
            (&Value::Null, &json!("FAILED"))
        );
        assert_eq!(leader.copy(&push), Ok(None));
        eventually("nobody waits any more", || home.copies().is_empty().then_some(()));
        // Again, without one of his own.
        let again = home.ask(order("org/app:1", None)).unwrap();
        assert_eq!((again.joined, again.record.last_attempt.unwrap().attempt), (false, 2));
        assert_eq!(leader.copy(&push).unwrap().unwrap().login, None);
        assert_eq!(logins(case), [] as [Value; 0]);
        // With the registry it goes.
        home.delete("prod").unwrap();
        assert_eq!(home.copies(), []);
        eventually("nobody makes it any more", || leader.copies().is_empty().then_some(()));
    });
}

#[test]
fn copies_outlive_their_process() {
    on_a_cluster_with_registries("copies-processes", |case| {
        super::runtime().block_on(contract::copies_outlive_their_process(async || {
            Followed::new(super::open(case, true).await)
        }));
    });
}

#[test]
fn two_who_ask_at_once_have_one_copy_and_one_credential() {
    on_a_cluster_with_registries("copies-race", |case| {
        let (one, other) = (Home::open(case), Home::open(case));
        one.create("prod", no_login("prod.io")).unwrap();
        for round in 0..5 {
            let image = format!("org/app:{round}");
            let (first, second) = one.runtime.block_on(async {
                tokio::join!(
                    one.store.ask(order(&image, Some("one"))),
                    other.store.ask(order(&image, Some("two"))),
                )
            });
            let (first, second) = (first.unwrap(), second.unwrap());
            assert_ne!(first.joined, second.joined, "{first:?} {second:?}");
            assert_eq!(first.record, second.record);
            let login = one.copy(&first.record.id()).unwrap().unwrap().login;
            assert_eq!(login, Some(robot(if first.joined { "two" } else { "one" })));
            assert_eq!(logins(case).len(), 1);
            other.ends(&image);
            assert_eq!(logins(case).len(), 0);
        }
    });
}

#[test]
fn an_object_that_somebody_makes_is_copied_once_and_again_when_he_says_so() {
    on_a_cluster_with_registries("copies-object", |case| {
        let (home, leader) = (Home::open(case), Home::open(case));
        home.create("prod", no_login("prod.io")).unwrap();
        home.create("hub", no_login("docker.io")).unwrap();
        let push = id("org/app:1", "prod");
        case.admin.post(PUSHES, &self::push("org/app:1", "prod")).unwrap();
        eventually("it is to be copied", || {
            (leader.copies() == [push.clone()]).then_some(())
        });
        let copy = leader.copy(&push).unwrap().unwrap();
        let copying = copy.record.copying.clone().unwrap();
        // Everybody may use that registry.
        assert_eq!(
            (copying.source.as_deref(), copying.referrers, copy.login.clone()),
            (Some("hub"), false, None)
        );
        assert!(Timestamp::now().duration_since(copying.asked_at).as_secs() < 60);
        let object = case.admin.get(&path(&push)).unwrap();
        assert_eq!(object["metadata"]["ownerReferences"][0]["name"], "prod");
        assert_eq!(object["metadata"]["labels"]["waypost.dev/registry"], "prod");
        assert_eq!(
            (
                &object["status"]["lastAttempt"]["state"],
                &object["status"]["observedGeneration"]
            ),
            (&json!("PENDING"), &json!(1))
        );
        // After a restart it is the same one.
        assert_eq!(Home::open(case).copies(), std::slice::from_ref(&push));
        assert_eq!(leader.copy(&push), Ok(Some(copy)));
        leader.copied("org/app:1", What::Begun);
        leader.copied(
            "org/app:1",
            What::Succeeded {
                target: "prod.io/docker.io/org/app:1".into(),
                digest: DIGEST.into(),
            },
        );
        assert_eq!((leader.copies(), leader.copy(&push)), (vec![], Ok(None)));
        let wait = [
            "wait",
            &format!("push/{push}"),
            "--for=condition=Succeeded",
            "--timeout=30s",
        ];
        case.kubectl(&wait).exits(0);

        let patch = json!({"spec": {"copy": {"requestedAt": "again", "referrers": true, "source": "prod"}}});
        case.admin.patch(&path(&push), &patch).unwrap();
        // What was the case is not what he waits for.
        case.kubectl(&[wait[0], wait[1], wait[2], "--timeout=1s"]).exits(1);
        eventually("it is to be copied again", || {
            (leader.copies() == [push.clone()]).then_some(())
        });
        let copy = leader.copy(&push).unwrap().unwrap();
        let copying = copy.record.copying.unwrap();
        assert_eq!((copying.source.as_deref(), copying.referrers), (Some("prod"), true));
        assert_eq!(copy.record.last_attempt.unwrap().attempt, 2);
        // What is there is there still.
        assert!(copy.record.last_success.is_some());
        leader.ends("org/app:1");
        let object = case.admin.get(&path(&push)).unwrap();
        assert_eq!(
            (&object["status"]["request"], &object["status"]["observedGeneration"]),
            (&json!("again"), &json!(2))
        );
        assert_eq!(leader.copies(), []);
        // By REST, while he says so again: it is one.
        case.admin.patch(&path(&push), &request("once more", None)).unwrap();
        let joined = home.ask(order("org/app:1", None)).unwrap();
        assert_eq!((joined.joined, joined.record.last_attempt.unwrap().attempt), (true, 3));
        leader.ends("org/app:1");
        assert_eq!((leader.copies(), leader.copy(&push)), (vec![], Ok(None)));
        for spec in [json!({"image": "docker.io/org/app:2"}), json!({"registry": "hub"})] {
            let refused = case.admin.patch(&path(&push), &json!({ "spec": spec })).unwrap_err();
            assert!(refused.message.contains("stay what they are"), "{}", refused.message);
        }

        // What Waypost makes for those who tell of pushes is nobody's request.
        home.tell(vec![succeeded("org/told:1", "prod")]).unwrap();
        home.tell(vec![event("org/gone:1", "prod", What::Withdrawn { digest: None })])
            .unwrap();
        eventually("they are followed", || (leader.counted() == 3).then_some(()));
        assert_eq!(leader.copies(), []);
        assert_eq!(leader.copy(&id("org/gone:1", "prod")), Ok(None));
    });
}

#[test]
fn whoever_makes_an_object_that_cannot_be_copied_is_told_why() {
    on_a_cluster_with_registries("copies-strange", |case| {
        let home = Home::open(case);
        let waiting = id("org/app:1", "prod");
        case.admin.post(PUSHES, &push("org/app:1", "prod")).unwrap();
        eventually("somebody waits", || (home.copies() == [waiting.clone()]).then_some(()));
        assert_eq!(home.copy(&waiting), Err(StoreError::NotFound("prod".to_owned())));
        let object = case.admin.get(&path(&waiting)).unwrap();
        let expected = "there is no registry `prod`: it is copied when somebody has registered one of this name";
        assert_eq!(conditions(&object), [["Unknown", "NoRegistry", expected]]);
        assert_eq!(home.copy(&waiting), Err(StoreError::NotFound("prod".to_owned())));
        home.create("prod", no_login("prod.io")).unwrap();
        let copy = home.copy(&waiting).unwrap().unwrap();
        assert_eq!(copy.record.last_attempt.unwrap().state, State::Pending);
        home.ends("org/app:1");

        // Of another image than its name says.
        let mut strange = push("org/app:2", "prod");
        strange["spec"]["image"] = json!("org/app:3");
        case.admin.post(PUSHES, &strange).unwrap();
        let misnamed = id("org/app:2", "prod");
        eventually("somebody waits", || (home.copies() == [misnamed.clone()]).then_some(()));
        assert_eq!(home.copy(&misnamed), Ok(None));
        assert_eq!(home.copies(), []);
        let object = case.admin.get(&path(&misnamed)).unwrap();
        let expected = format!(
            "its name is not that of docker.io/org/app:3 in prod, which is {}: delete it, and make one of that name",
            id("org/app:3", "prod")
        );
        assert_eq!(conditions(&object), [["False", "NotUnderstood", &*expected]]);
    });
}

#[test]
fn a_credential_that_a_user_gives_is_for_this_push_and_gone_after_it() {
    on_a_cluster_with_registries("copies-credential", |case| {
        let home = Home::open(case);
        home.create("prod", draft("prod.io", login("of the registry"))).unwrap();
        home.create("sandbox", no_login("sandbox.io")).unwrap();
        let push = id("org/app:1", "prod");
        secret(
            case,
            "theirs",
            "prod",
            &json!({"username": "robot", "password": "mine\n"}),
        );
        let mut object = self::push("org/app:1", "prod");
        object["spec"]["copy"] = json!({"credential": {"name": "theirs"}});
        case.admin.post(PUSHES, &object).unwrap();
        let copy = eventually("it is taken on", || home.copy(&push).unwrap());
        assert_eq!(copy.login, Some(robot("mine")));
        // If somebody is interrupted, it does not stay.
        let [kept] = &*logins(case) else {
            panic!("{:?}", logins(case))
        };
        assert_eq!(kept["metadata"]["ownerReferences"][0]["name"], push.as_str());
        home.ends("org/app:1");
        assert_eq!(logins(case), [] as [Value; 0]);

        // A docker config, as `kubectl create secret docker-registry` makes it.
        let config = json!({"auths": {"prod.io": {"username": "robot", "password": "of a file"}}}).to_string();
        let object = json!({"metadata": {"name": "config", "labels": {"waypost.dev/push": "prod"}},
            "type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": config}});
        case.create("secrets", &object).unwrap();
        case.admin
            .patch(&path(&push), &request("config", Some("config")))
            .unwrap();
        assert_eq!(home.copy(&push).unwrap().unwrap().login, Some(robot("of a file")));
        home.ends("org/app:1");

        // Each is told what to do about it.
        let of_registry = name(&super::secrets(case)[0]);
        let data = json!({"username": "robot", "password": "secret"});
        secret(case, "sandboxes", "sandbox", &data);
        secret(case, "empty", "prod", &json!({"password": "secret"}));
        let object = json!({"metadata": {"name": "plain"}, "stringData": data});
        case.create("secrets", &object).unwrap();
        let another = home.ask(order("org/app:9", Some("anothers"))).unwrap().record;
        let anothers = case.admin.get(&path(&another.id())).unwrap()["status"]["copying"]["login"].clone();
        let label = "is not for pushes into prod: if it is, label it with `waypost.dev/push: prod`";
        for (given, stays, expected) in [
            ("missing", false, "does not exist: make it"),
            ("No/Name", false, "does not exist: make it"),
            ("plain", true, label),
            ("sandboxes", true, label),
            (
                &*of_registry,
                true,
                "is a registry's own: give the push a Secret of its own",
            ),
            (
                anothers.as_str().unwrap(),
                true,
                "is another push's: give this one a Secret of its own",
            ),
            ("empty", false, "has no `username`: it needs `username` and `password`"),
        ] {
            case.admin.patch(&path(&push), &request(given, Some(given))).unwrap();
            assert_eq!(home.copy(&push), Ok(None), "{given}");
            let object = case.admin.get(&path(&push)).unwrap();
            let error = object["status"]["lastAttempt"]["error"].as_str().unwrap();
            assert_eq!(object["status"]["lastAttempt"]["state"], "FAILED");
            assert!(error.contains(expected), "{given}: {error}");
            assert!(
                error.contains(&format!("in the namespace {}", case.namespace)),
                "{error}"
            );
            assert!(
                error.ends_with("then give `spec.copy.requestedAt` of this Push another value"),
                "{error}"
            );
            assert!(!error.contains("secret\""), "{error}");
            let found = given != "No/Name" && case.admin.get(&format!("{}/{given}", case.path("secrets"))).is_ok();
            assert_eq!(found, stays, "{given}");
        }
        assert_eq!(
            home.copy(&another.id()).unwrap().unwrap().login,
            Some(robot("anothers"))
        );
    });
}

#[test]
fn a_credential_that_nobody_names_any_more_goes() {
    on_a_cluster_with_registries("copies-orphans", |case| {
        let home = Home::open(case);
        home.create("prod", no_login("prod.io")).unwrap();
        let open = home.ask(order("org/app:1", Some("one"))).unwrap().record.id();
        let object = case.admin.get(&path(&open)).unwrap();
        let owner = json!({"apiVersion": "waypost.dev/v1alpha1", "kind": "Push", "name": open.as_str(), "uid": object["metadata"]["uid"]});
        let mut orphan = logins(case)[0].clone();
        orphan["metadata"] =
            json!({"name": "orphan", "labels": orphan["metadata"]["labels"], "ownerReferences": [owner]});
        case.create("secrets", &orphan).unwrap();
        // Of a user who has not made his Push yet.
        secret(
            case,
            "theirs",
            "prod",
            &json!({"username": "robot", "password": "mine"}),
        );
        let names = || {
            let mut names: Vec<_> = logins(case).iter().map(name).collect();
            names.sort();
            names
        };
        assert_eq!((names().len(), home.tidy(Duration::from_secs(600))), (3, 0));
        assert_eq!(home.tidy(Duration::from_secs(600)), 0);
        assert_eq!((home.tidy(Duration::ZERO), names().len()), (1, 2));
        assert!(!names().contains(&"orphan".to_owned()));
        assert!(home.copy(&open).unwrap().unwrap().login.is_some());
    });
}

#[test]
fn a_replica_of_the_webhook_asks_from_aside_with_its_rights() {
    on_a_cluster_with_registries("copies-aside", |case| {
        let release = Release::new(case);
        let (of_controller, of_webhook) = (Directory::new(), Directory::new());
        release.controller_kubeconfig(&of_controller);
        release.webhook_kubeconfig(&of_webhook);
        let leader = Home::of(case, &of_controller.path().join("kubeconfig"), true);
        let replica = Home::of(case, &of_webhook.path().join("kubeconfig"), false);
        let wanted = Order {
            referrers: true,
            refresh: false,
            source: Some("hub".into()),
            ..order("org/app:1", None)
        };
        assert_eq!(
            replica.ask_from_aside(wanted.clone()),
            Err(StoreError::NotFound("prod".to_owned()))
        );
        leader.create("prod", no_login("prod.io")).unwrap();
        eventually("the registry is known", || replica.followed("prod"));
        replica.ask_from_aside(wanted.clone()).unwrap();
        let push = id("org/app:1", "prod");
        assert_eq!(replica.copies(), std::slice::from_ref(&push));
        eventually("the leader sees it", || {
            (leader.copies() == [push.clone()]).then_some(())
        });
        // Nobody has taken it on yet, and then somebody has.
        let version = || case.admin.get(&path(&push)).unwrap()["metadata"]["resourceVersion"].clone();
        let before = version();
        replica.ask_from_aside(wanted.clone()).unwrap();
        assert_eq!(version(), before);
        let copy = leader.copy(&push).unwrap().unwrap();
        let copying = copy.record.copying.unwrap();
        assert_eq!(
            (copying.source.as_deref(), copying.referrers, copying.login),
            (Some("hub"), true, None)
        );
        let before = version();
        replica.ask_from_aside(wanted.clone()).unwrap();
        assert_eq!(version(), before);
        leader.ends("org/app:1");
        // A while later.
        replica.ask_from_aside(order("org/app:1", None)).unwrap();
        eventually("the leader sees it", || {
            (leader.copies() == [push.clone()]).then_some(())
        });
        let copy = leader.copy(&push).unwrap().unwrap();
        let copying = copy.record.copying.unwrap();
        assert_eq!((copying.source, copying.referrers), (None, false));
        assert_eq!(copy.record.last_attempt.unwrap().attempt, 2);
        // More than that it may not.
        let error = replica.ask(order("org/app:2", None)).unwrap_err().to_string();
        assert!(error.contains("grant the right to patch it"), "{error}");
        let error = replica.ask(order("org/app:3", Some("one"))).unwrap_err().to_string();
        assert!(
            error.contains("Secret") && error.contains("grant the right to create it"),
            "{error}"
        );
        assert_eq!(logins(case), [] as [Value; 0]);
    });
}

/// What of the chart concerns pushes and who may write them, for as long as it is not dropped.
struct Policies<'a> {
    case: &'a Case<'a>,
    release: String,
    rendered: String,
}

impl<'a> Policies<'a> {
    fn apply(case: &'a Case<'a>) -> Self {
        let release = format!("waypost-{}", case.namespace);
        let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/waypost");
        let rendered = helm(&["template", &release, chart, "--namespace", &case.namespace]).exits(0);
        let wanted = |document: &&str| {
            let kind = document.lines().find_map(|line| line.strip_prefix("kind: "));
            match kind {
                Some("ValidatingAdmissionPolicy" | "ValidatingAdmissionPolicyBinding") => {
                    document.contains(&format!("name: {release}-pushes"))
                }
                Some("ClusterRole" | "ClusterRoleBinding") => true,
                _ => false,
            }
        };
        let rendered: Vec<_> = rendered.out().split("\n---\n").filter(wanted).collect();
        let rendered = rendered.join("\n---\n");
        let policies = Self {
            case,
            release,
            rendered,
        };
        case.kubectl_with(&["apply", "--filename=-"], &policies.rendered)
            .exits(0);
        policies
    }

    /// With this role of the cluster.
    fn account(&self, name: &str, role: &str) -> Kubernetes {
        let Self { case, release, .. } = self;
        let account = case
            .admin
            .service_account(case.cluster.kubeconfig(), &case.namespace, name);
        let binding = json!({"metadata": {"name": format!("{release}-test-{name}")},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": case.namespace}]});
        case.admin
            .post(&format!("{RBAC}/clusterrolebindings"), &binding)
            .unwrap();
        account
    }

    /// The same with a role of his own.
    fn account_that_may(&self, name: &str, rules: &Value) -> Kubernetes {
        let role = format!("{}-test-{name}", self.release);
        let object = json!({"metadata": {"name": role}, "rules": rules});
        self.case.admin.post(&format!("{RBAC}/clusterroles"), &object).unwrap();
        self.account(name, &role)
    }
}

impl Drop for Policies<'_> {
    fn drop(&mut self) {
        let Self {
            case,
            release,
            rendered,
        } = self;
        let _ = case.kubectl_with(&["delete", "--ignore-not-found", "--filename=-"], rendered);
        for name in ["ci", "builder", "editor"] {
            for kind in ["clusterroles", "clusterrolebindings"] {
                let _ = case.admin.delete(&format!("{RBAC}/{kind}/{release}-test-{name}"));
            }
        }
    }
}

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

#[test]
fn whoever_makes_an_object_must_have_the_right_to_push_there() {
    on_a_cluster_with_registries("copies-policy", |case| {
        let policies = Policies::apply(case);
        let release = policies.release.clone();
        let pushes = |verbs: &Value| json!({"apiGroups": ["waypost.dev"], "resources": ["pushes"], "verbs": verbs});
        let ci = policies.account_that_may(
            "ci",
            &json!([
                {"apiGroups": ["waypost.dev"], "resources": ["registries"], "resourceNames": ["prod"], "verbs": ["push"]},
                pushes(&json!(["get", "create", "patch"])),
            ]),
        );
        let editor = policies.account_that_may("editor", &json!([pushes(&json!(["get", "create", "patch"]))]));
        let builder = policies.account("builder", &format!("{release}-push"));
        let webhook = case.admin.service_account(
            case.cluster.kubeconfig(),
            &case.namespace,
            &format!("{release}-webhook"),
        );
        let controller = case.admin.service_account(
            case.cluster.kubeconfig(),
            &case.namespace,
            &format!("{release}-controller"),
        );
        let with_source = |image: &str, source: &str| {
            let mut object = push(image, "prod");
            object["spec"]["copy"] = json!({ "source": source });
            object
        };
        let refused = |done: Result<Value, crate::support::cluster::kubernetes::Refused>, expected: &str| {
            let refused = done.unwrap_err();
            assert!(refused.code == 422 || refused.code == 403, "{refused:?}");
            assert!(
                refused.message.contains(expected),
                "no {expected:?} in {}",
                refused.message
            );
        };
        let prod = "editor may not push into the registry prod: it takes the verb push on registries of the group waypost.dev, as the ClusterRole";
        eventually("the policy is followed", || {
            let made = editor.post(PUSHES, &push("org/app:1", "prod"));
            let _ = case.admin.delete(&path(&id("org/app:1", "prod")));
            made.is_err().then_some(())
        });
        refused(editor.post(PUSHES, &push("org/app:1", "prod")), prod);
        ci.post(PUSHES, &push("org/app:1", "prod")).unwrap();
        refused(
            ci.post(PUSHES, &push("org/app:1", "sandbox")),
            "ci may not push into the registry sandbox",
        );
        let by_credential = "may not have anything read by the credential of the registry hub";
        refused(ci.post(PUSHES, &with_source("org/app:2", "hub")), by_credential);
        ci.post(PUSHES, &with_source("org/app:2", "prod")).unwrap();
        builder.post(PUSHES, &with_source("org/app:3", "hub")).unwrap();

        let first = path(&id("org/app:1", "prod"));
        ci.patch(&first, &request("again", Some("theirs"))).unwrap();
        ci.patch(&first, &json!({"spec": {"copy": null}})).unwrap();
        refused(
            ci.patch(&first, &json!({"spec": {"copy": {"source": "hub"}}})),
            by_credential,
        );
        refused(editor.patch(&first, &request("once more", None)), prod);
        // Whatever else is written on it asks for nothing.
        editor
            .patch(&first, &json!({"metadata": {"labels": {"mine": "yes"}}}))
            .unwrap();
        case.admin
            .patch(
                &first,
                &json!({"metadata": {"annotations": {"waypost.dev/reported": "true"}}}),
            )
            .unwrap();
        let unreported = json!({"metadata": {"annotations": {"waypost.dev/reported": null}}});
        refused(editor.patch(&first, &unreported), prod);

        // Those of the release.
        webhook.post(PUSHES, &with_source("org/app:4", "hub")).unwrap();
        let fourth = path(&id("org/app:4", "prod"));
        webhook.patch(&fourth, &request("again", None)).unwrap();
        refused(
            webhook.patch(&fourth, &request("again", Some("theirs"))),
            "The webhook names no credentials",
        );
        for metadata in [
            json!({"labels": {"a": "b"}}),
            json!({"annotations": {"a": "b"}}),
            json!({"finalizers": ["a.io/b"]}),
        ] {
            let patched = webhook.patch(&fourth, &json!({ "metadata": metadata }));
            refused(patched, "The webhook changes nothing of a push but spec.copy");
        }
        let status = json!({"status": {"request": "again"}});
        refused(webhook.patch(&format!("{fourth}/status"), &status), "pushes/status");
        controller.post(PUSHES, &with_source("org/app:5", "hub")).unwrap();
        controller.patch(&first, &request("by the controller", None)).unwrap();
    });
}

const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
