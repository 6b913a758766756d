//! Tokens that are issued, in a real Kubernetes API: a Secret that is written again and again, and what is said of it beside.

use std::time::Duration;

use serde_json::{Value, json};
use waypost::registry::{Credential, Key, Keys, Location, Login, Password, RegistrySpec};
use waypost::store::{Change, Draft, Issuance, News, Store as _, StoreError, Token};

use super::{Home, REGISTRIES, name, on_a_cluster_with_registries, registry};
use crate::support::cluster::case::Case;
use crate::support::eventually;

#[test]
fn a_token_is_one_secret_and_a_status_that_every_replica_reads() {
    on_a_cluster_with_registries("issued", |case| {
        let home = Home::open(case);
        let replica = Home::with(case, false);
        let made = home.create("cern", draft()).unwrap();
        home.issue("cern", &token("first-token")).unwrap();
        let first = case.admin.get(&case.path("secrets/cern-token")).unwrap();
        let object = case.admin.get(&format!("{REGISTRIES}/cern")).unwrap();
        assert_eq!(first["type"], "kubernetes.io/basic-auth");
        assert_eq!(
            first["data"],
            json!({"username": "QVdT", "password": "Zmlyc3QtdG9rZW4="})
        );
        assert_eq!(first["metadata"]["labels"]["app.kubernetes.io/managed-by"], "waypost");
        assert_eq!(
            first["metadata"]["ownerReferences"][0]["uid"],
            object["metadata"]["uid"]
        );
        let said = &object["status"]["token"];
        assert_eq!(said["expiresAt"], "2026-11-21T22:00:00Z");
        assert_eq!(said["account"], "123456789012");
        assert!(!object.to_string().contains("first-token"), "{object}");
        let seen = eventually("the replica knows", || {
            replica.followed("cern").filter(|stored| stored.pull.is_some())
        });
        assert_eq!(seen.issuance, Some(token("").issuance));
        assert_eq!(
            &*seen.registry().unwrap().address.host,
            "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
        );
        assert!(matches!(replica.password("cern"), Err(StoreError::Unsupported(_))));

        // The next one is written over it, and has no account: nothing of the one before is left.
        let mut next = token("second-token");
        next.issuance.account = None;
        next.issuance.expires_at = "2026-11-22T22:00:00Z".parse().unwrap();
        home.issue("cern", &next).unwrap();
        let second = case.admin.get(&case.path("secrets/cern-token")).unwrap();
        assert_eq!(second["metadata"]["uid"], first["metadata"]["uid"]);
        assert_eq!(
            second["data"],
            json!({"username": "QVdT", "password": "c2Vjb25kLXRva2Vu"})
        );
        let again = eventually("the replica knows the next one", || {
            replica
                .followed("cern")
                .filter(|stored| stored.issuance == Some(next.issuance.clone()))
        });
        assert_eq!(again.pull, seen.pull, "what may not be read has no edition");
        assert_eq!(again.version, made.version);
        // And whoever starts then.
        drop(home);
        let home = Home::open(case);
        assert_eq!(home.password("cern"), Ok(Some("second-token".to_owned())));
        assert_eq!(home.followed("cern"), home.get("cern"));
        assert_eq!(home.get("cern").unwrap().issuance, Some(next.issuance));

        // Everything goes with it.
        home.delete("cern").unwrap();
        assert_eq!(tokens(case), [] as [&str; 0]);
    });
}

#[test]
fn somebody_elses_secret_is_not_taken_for_a_token_nor_overwritten() {
    on_a_cluster_with_registries("not-a-token", |case| {
        let home = Home::open(case);
        home.create("cern", draft()).unwrap();
        let mine = json!({"metadata": {"name": "cern-token"}, "stringData": {"username": "u", "password": "mine"}});
        let mine = case.create("secrets", &mine).unwrap();
        let path = case.path("secrets/cern-token");
        let refused = home.issue("cern", &token("t")).unwrap_err().to_string();
        assert!(
            refused.contains("is somebody else's") && refused.contains("give it another name"),
            "{refused}"
        );
        assert_eq!(case.admin.get(&path).unwrap()["data"], mine["data"]);
        assert_eq!(home.get("cern").unwrap().pull, None);
        assert_eq!(home.password("cern"), Ok(None));
        // Not even where the status says that there is one.
        let status = json!({"status": {"token": token("t").issuance}});
        let patched = format!("{REGISTRIES}/cern/status");
        case.admin.patch(&patched, &status).unwrap();
        let said = home.password("cern").unwrap_err().to_string();
        assert!(
            said.contains("which is the token of the Registry cern, is of another registry"),
            "{said}"
        );
        case.admin.delete(&path).unwrap();
        let said = home.password("cern").unwrap_err().to_string();
        assert!(
            said.ends_with("which is the token of the Registry cern, does not exist"),
            "{said}"
        );
        home.issue("cern", &token("t")).unwrap();
        assert_eq!(home.password("cern"), Ok(Some("t".to_owned())));

        // One of a registry that had the id before.
        let ours = case.admin.get(&path).unwrap();
        let mut owners = ours["metadata"]["ownerReferences"].clone();
        home.create("other", draft()).unwrap();
        let other = case.admin.get(&format!("{REGISTRIES}/other")).unwrap();
        owners[0]["name"] = json!("other");
        owners[0]["uid"] = other["metadata"]["uid"].clone();
        case.admin
            .patch(&path, &json!({"metadata": {"ownerReferences": owners}}))
            .unwrap();
        let said = home.password("cern").unwrap_err().to_string();
        assert!(said.ends_with("is of another registry"), "{said}");
        home.issue("cern", &token("u")).unwrap();
        assert_eq!(home.password("cern"), Ok(Some("u".to_owned())));
        let replaced = case.admin.get(&path).unwrap();
        assert_ne!(replaced["metadata"]["uid"], ours["metadata"]["uid"]);
    });
}

#[test]
fn a_token_is_tidied_away_where_nobody_issues_any_more_and_nowhere_else() {
    on_a_cluster_with_registries("tidied", |case| {
        let home = Home::open(case);
        for id in ["kept", "over", "strange"] {
            home.create(id, draft()).unwrap();
            home.issue(id, &token(id)).unwrap();
        }
        let users = json!({"metadata": {"name": "users-token", "labels": {"waypost.dev/token-of": "over"}}});
        case.create("secrets", &users).unwrap();
        assert_eq!(home.tidy(Duration::ZERO), 0);
        // By somebody else, so that nothing of it is done here.
        let edit = |id: &str, spec: Value| {
            case.admin
                .patch(&format!("{REGISTRIES}/{id}"), &json!({ "spec": spec }))
                .unwrap();
        };
        edit(
            "over",
            json!({"location": "off-cluster", "region": null, "url": "r.io"}),
        );
        eventually("it has no token at once", || {
            (home.followed("over")?.pull.is_none()).then_some(())
        });
        assert_eq!(home.password("over"), Ok(None));
        let unread = json!({"metadata": {"annotations": {"a": "b"}}, "spec": {"displayName": "S"}});
        case.admin.patch(&format!("{REGISTRIES}/strange"), &unread).unwrap();
        assert_eq!(home.tidy(Duration::ZERO), 1);
        assert_eq!(tokens(case), ["kept-token", "strange-token", "users-token"]);
        let over = case.admin.get(&format!("{REGISTRIES}/over")).unwrap();
        assert_eq!(over["status"]["token"], Value::Null);
        assert_eq!(home.tidy(Duration::ZERO), 0);
        // It is not believed to have one where its tokens are issued again.
        edit(
            "over",
            json!({"location": "ecr", "region": "eu-central-1", "url": null}),
        );
        eventually("it is followed", || {
            (home.followed("over")?.spec == draft().spec).then_some(())
        });
        let again = home.get("over").unwrap();
        assert_eq!((&again.pull, &again.issuance), (&None, &None));
        for id in ["kept", "strange"] {
            assert_eq!(home.password(id), Ok(Some(id.to_owned())));
        }
    });
}

#[test]
fn a_change_takes_the_token_out_of_the_cluster() {
    on_a_cluster_with_registries("moved", |case| {
        let home = Home::open(case);
        home.create("cern", draft()).unwrap();
        home.issue("cern", &token("t")).unwrap();
        let mut elsewhere = draft();
        elsewhere.spec.region = Some("us-east-1".to_owned());
        home.replace("cern", elsewhere).unwrap();
        assert_eq!(tokens(case), [] as [&str; 0]);
        let object = case.admin.get(&format!("{REGISTRIES}/cern")).unwrap();
        assert_eq!(object["status"]["token"], Value::Null);
    });
}

#[test]
fn a_key_that_a_user_made_is_read_by_the_names_that_are_usual() {
    on_a_cluster_with_registries("user-keys", |case| {
        let home = Home::open(case);
        let place = json!({"secretName": "mine"});
        for spec in [
            json!({"location": "ecr", "region": "eu-central-1", "pullCredential": place}),
            json!({"location": "gcr", "pullCredential": place}),
        ] {
            let id = spec["location"].as_str().unwrap();
            case.admin.post(REGISTRIES, &registry(id, &spec)).unwrap();
            eventually("the registry is followed", || home.followed(id));
        }
        let password = |text: &str| Password::new(text.to_owned());
        let aws = |session: Option<&str>| Key::Aws {
            id: password("AKIA"),
            secret: password("SECRET"),
            session_token: session.map(password),
        };
        let no_key = "has no `accessKeyId` and `secretAccessKey`, by which AWS would issue tokens";
        let no_json = "has no `key.json`, which is the key of a Google service account";
        for (id, data, expected) in [
            (
                "ecr",
                json!({"accessKeyId": "AKIA", "secretAccessKey": "SECRET\n"}),
                Ok(aws(None)),
            ),
            (
                "ecr",
                json!({"AWS_ACCESS_KEY_ID": "AKIA\r\n", "AWS_SECRET_ACCESS_KEY": "SECRET", "AWS_SESSION_TOKEN": "S", "AWS_REGION": "x"}),
                Ok(aws(Some("S"))),
            ),
            ("ecr", json!({"accessKeyId": "AKIA"}), Err(no_key)),
            ("ecr", json!({"username": "u", "password": "SECRET"}), Err(no_key)),
            ("ecr", json!({"key.json": "SECRET"}), Err(no_key)),
            (
                "ecr",
                json!({"accessKeyId": "AKIA", "secretAccessKey": ""}),
                Err("has a `secretAccessKey` that is empty or no text"),
            ),
            ("gcr", json!({"key.json": "{}\n"}), Ok(Key::Google(password("{}")))),
            ("gcr", json!({"keyJson": "{}"}), Ok(Key::Google(password("{}")))),
            (
                "gcr",
                json!({"accessKeyId": "AKIA", "secretAccessKey": "SECRET"}),
                Err(no_json),
            ),
        ] {
            case.create("secrets", &json!({"metadata": {"name": "mine"}, "stringData": data}))
                .unwrap();
            match (home.keys(id), expected) {
                (Ok(keys), Ok(key)) => assert_eq!(
                    keys,
                    Keys {
                        pull: Some(key),
                        push: None
                    },
                    "{data}"
                ),
                (Err(error), Err(expected)) => {
                    let said = error.to_string();
                    assert!(said.ends_with(expected) && !said.contains("SECRET"), "{data}: {said}");
                }
                other => panic!("{data}: {other:?}"),
            }
            assert_eq!(home.password(id), Ok(None), "a key is no credential, whatever is in it");
            case.admin.delete(&case.path("secrets/mine")).unwrap();
        }
    });
}

#[test]
fn people_are_told_by_an_event_on_the_registry() {
    on_a_cluster_with_registries("told", |case| {
        let home = Home::open(case);
        home.create("cern", draft()).unwrap();
        let news = |warning, reason| News {
            warning,
            reason,
            note: "a sentence".to_owned(),
        };
        home.runtime.block_on(async {
            home.store.tell("cern", news(true, "TokenRefused")).await;
            home.store.tell("cern", news(false, "TokenIssued")).await;
            // Nobody looks at what is gone.
            home.store.tell("gone", news(true, "TokenRefused")).await;
        });
        let object = case.admin.get(&format!("{REGISTRIES}/cern")).unwrap();
        let events = case
            .admin
            .get("/apis/events.k8s.io/v1/namespaces/default/events")
            .unwrap();
        let mut found: Vec<_> = events["items"].as_array().unwrap().iter().collect();
        found.retain(|event| event["regarding"]["uid"] == object["metadata"]["uid"]);
        let mut told: Vec<_> = found
            .iter()
            .map(|event| {
                [
                    &event["type"],
                    &event["reason"],
                    &event["note"],
                    &event["regarding"]["name"],
                ]
            })
            .map(|said| said.map(|text| text.as_str().unwrap()))
            .collect();
        told.sort_unstable();
        let expected = [
            ["Normal", "TokenIssued", "a sentence", "cern"],
            ["Warning", "TokenRefused", "a sentence", "cern"],
        ];
        assert_eq!(told, expected);
        assert!(
            events["items"]
                .as_array()
                .unwrap()
                .iter()
                .all(|event| event["regarding"]["name"] != "gone")
        );
    });
}

impl Home {
    pub(super) fn issue(&self, id: &str, token: &Token) -> Result<(), StoreError> {
        self.runtime.block_on(self.store.issued(id, token.clone()))
    }

    fn keys(&self, id: &str) -> Result<Keys, StoreError> {
        self.runtime.block_on(self.store.keys(id))
    }
}

/// The names of the Secrets with tokens, and of those that look like them.
fn tokens(case: &Case<'_>) -> Vec<String> {
    let found = case
        .admin
        .get(&format!("{}?labelSelector=waypost.dev/token-of", case.path("secrets")));
    found.unwrap()["items"].as_array().unwrap().iter().map(name).collect()
}

/// A registry that needs no key.
pub(super) fn draft() -> Draft {
    Draft {
        spec: RegistrySpec {
            location: Location::Ecr,
            region: Some("eu-central-1".to_owned()),
            ..RegistrySpec::default()
        },
        pull: Change::Keep,
        push: Change::Keep,
        notify: Change::Keep,
    }
}

/// A token for that registry.
pub(super) fn token(text: &str) -> Token {
    Token {
        login: Login {
            username: "AWS".to_owned(),
            password: Password::new(text.to_owned()),
        },
        issuance: Issuance {
            issued_at: "2026-11-21T10:00:00.5Z".parse().unwrap(),
            expires_at: "2026-11-21T22:00:00Z".parse().unwrap(),
            account: Some("123456789012".to_owned()),
            place: Issuance::place(&draft().spec),
            origin: Issuance::origin(&draft().spec, None),
        },
    }
}

#[test]
fn a_secret_that_was_written_for_one_registry_is_no_others() {
    on_a_cluster_with_registries("no-others", |case| {
        let home = Home::open(case);
        home.create("cern", draft()).unwrap();
        home.issue("cern", &token("t")).unwrap();
        let login = Login {
            username: "u".to_owned(),
            password: Password::new("p".to_owned()),
        };
        let corp = Draft {
            spec: RegistrySpec {
                url: Some("corp.example.com".to_owned()),
                ..RegistrySpec::default()
            },
            pull: Change::Set(Credential::Login(login)),
            ..draft()
        };
        home.create("corp", corp).unwrap();
        let object = case.admin.get(&format!("{REGISTRIES}/corp")).unwrap();
        let written = object["spec"]["pullCredential"]["secretName"].as_str().unwrap();
        for (id, secret) in [("evil", "cern-token"), ("twin", written)] {
            let spec = json!({"url": "evil.example.com", "pullCredential": {"secretName": secret}});
            case.admin.post(REGISTRIES, &registry(id, &spec)).unwrap();
            let refused = home.password(id).unwrap_err().to_string();
            assert!(refused.contains("and is no other's"), "{refused}");
        }
        assert_eq!(home.password("cern"), Ok(Some("t".to_owned())));
        assert_eq!(home.password("corp"), Ok(Some("p".to_owned())));
    });
}
