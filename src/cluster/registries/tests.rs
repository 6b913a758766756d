//! What is known, from whatever comes in whatever order, and what is read of objects. What the API server does is tested with one.

use k8s_openapi::api::core::v1::Secret;
use kube::core::{DynamicObject, PartialObjectMeta};
use serde_json::{Value, json};

use super::{
    super::{
        testing::{Answer, Server, settle, status},
        watch::Change,
    },
    known::Known,
    object::Object,
    *,
};
use crate::{
    registry::{Credential, Location, Login, Password, RegistrySpec},
    store::{self, DeclaredBy, Issuance},
};

fn object(id: &str, version: u64, url: &str) -> DynamicObject {
    from(json!({
        "metadata": {"name": id, "uid": format!("uid-{id}"), "resourceVersion": version.to_string(), "generation": 1},
        "spec": {"url": url, "pullCredential": {"secretName": "s"}},
    }))
}

fn from(value: Value) -> DynamicObject {
    serde_json::from_value(value).unwrap()
}

fn secret(name: &str, uid: &str, version: u64, labels: Value) -> PartialObjectMeta<Secret> {
    serde_json::from_value(json!({
        "metadata": {"name": name, "uid": uid, "resourceVersion": version.to_string(), "labels": labels},
    }))
    .unwrap()
}

fn urls(known: &Known) -> Vec<String> {
    let all = known.registries();
    all.iter().map(|stored| stored.spec.url.clone().unwrap()).collect()
}

#[test]
fn nothing_that_is_known_is_replaced_by_what_is_older() {
    let mut known = Known::new(true);
    known.list(&[object("a", 5, "five.io")]);
    // The answer to a write of one's own, before the watch tells of it and of what came before it.
    known.put(Object::read(&object("a", 9, "nine.io")));
    known.follow(&[Change::Applied(object("a", 7, "seven.io"))]);
    assert_eq!(urls(&known), ["nine.io"]);
    known.list(&[object("a", 8, "eight.io")]);
    assert_eq!(urls(&known), ["nine.io"]);
    known.follow(&[
        Change::Applied(object("a", 9, "nine.io")),
        Change::Applied(object("a", 10, "ten.io")),
    ]);
    assert_eq!(urls(&known), ["ten.io"]);
    known.list(&[]);
    assert_eq!(urls(&known), [] as [&str; 0]);
}

#[test]
fn what_was_written_or_deleted_here_while_everything_is_looked_for_stays_so() {
    let mut known = Known::new(true);
    known.list(&[object("old", 1, "old.io")]);
    known.wrote(Object::read(&object("before", 2, "before.io")));
    known.begin();
    known.begin_secrets();
    let labels = json!({"app.kubernetes.io/managed-by": "waypost", "waypost.dev/registry": "new"});
    known.wrote_secret(&secret("s", "u", 3, labels).metadata);
    known.wrote(Object::read(&object("new", 4, "new.io")));
    known.delete(&Object::read(&object("old", 1, "old.io")));
    // The list is of a moment before: what was written before it began, and is not in it, somebody else has deleted.
    known.list(&[object("old", 1, "old.io")]);
    known.list_secrets(&[]);
    assert_eq!(urls(&known), ["new.io"]);
    assert_eq!(known.registries()[0].pull, Some(store::Edition("s-u".to_owned())));
    // When everything is looked for again, what is not there is gone.
    known.begin();
    known.list(&[]);
    assert_eq!(urls(&known), [] as [&str; 0]);
}

#[test]
fn what_was_deleted_here_does_not_come_back_by_what_the_watch_tells_of_before() {
    let mut known = Known::new(true);
    let old = object("a", 5, "r.io");
    known.list(std::slice::from_ref(&old));
    known.delete(&Object::read(&old));
    known.follow(&[Change::Applied(object("a", 6, "six.io"))]);
    assert_eq!(urls(&known), [] as [&str; 0]);
    // One of the same name that was made since is another.
    let mut new = object("a", 8, "new.io");
    new.metadata.uid = Some("another".to_owned());
    known.put(Object::read(&new));
    known.follow(&[Change::Deleted(object("a", 7, "six.io")), Change::Applied(new)]);
    assert_eq!(urls(&known), ["new.io"]);
    // Something is done yet before it is gone: it counts as gone.
    let mut ending = object("a", 9, "new.io");
    ending.metadata.uid = Some("another".to_owned());
    ending.metadata.deletion_timestamp = serde_json::from_value(json!("2026-11-21T10:00:00Z")).unwrap();
    known.follow(&[Change::Applied(ending.clone())]);
    assert_eq!(urls(&known), [] as [&str; 0]);
    known.list(&[ending]);
    assert_eq!(urls(&known), [] as [&str; 0]);
}

#[test]
fn an_edition_is_that_of_the_content_where_it_may_be_read() {
    let edition = |reads: bool, secrets: &[PartialObjectMeta<Secret>]| {
        let mut known = Known::with(reads, secrets);
        known.list(&[object("a", 5, "r.io")]);
        known.registries()[0].pull.clone().unwrap().0
    };
    let users = |uid: &str, version| secret("s", uid, version, json!({}));
    // What Waypost writes never changes.
    let own = |uid: &str, version| {
        let labels = json!({"app.kubernetes.io/managed-by": "waypost", "waypost.dev/registry": "a"});
        secret("s", uid, version, labels)
    };
    for (reads, secrets, expected) in [
        (true, vec![], "s"),
        (true, vec![users("u", 1)], "s-u-1"),
        (true, vec![users("u", 2)], "s-u-2"),
        (true, vec![own("u", 1)], "s-u"),
        (true, vec![own("u", 2)], "s-u"),
        (true, vec![own("v", 3)], "s-v"),
        (false, vec![users("u", 1)], "s"),
    ] {
        assert_eq!(edition(reads, &secrets), expected);
    }
    let mut known = Known::with(true, &[users("u", 3)]);
    known.follow_secrets(&[Change::Applied(users("u", 2)), Change::Deleted(users("u", 2))]);
    known.list(&[object("a", 5, "r.io")]);
    assert_eq!(known.registries()[0].pull, Some(store::Edition("s-u-3".to_owned())));
    known.follow_secrets(&[Change::Deleted(users("u", 4))]);
    assert_eq!(known.registries()[0].pull, Some(store::Edition("s".to_owned())));
}

fn ecr(token: Value) -> DynamicObject {
    from(json!({
        "metadata": {"name": "a", "uid": "uid-a", "resourceVersion": "5", "generation": 1},
        "spec": {"location": "ecr", "region": "eu-central-1", "pullCredential": {"secretName": "s"}},
        "status": {"token": token},
    }))
}

fn issuance() -> Issuance {
    let spec = RegistrySpec {
        location: Location::Ecr,
        region: Some("eu-central-1".to_owned()),
        ..RegistrySpec::default()
    };
    Issuance {
        issued_at: "2026-11-21T10:00:00.5Z".parse().unwrap(),
        expires_at: "2026-11-21T22:00:00Z".parse().unwrap(),
        account: Some("123456789012".to_owned()),
        place: Issuance::place(&spec),
        origin: "0123456789abcdef".to_owned(),
    }
}

#[test]
fn what_is_pulled_with_is_the_token_where_tokens_are_issued_and_the_credential_is_the_key() {
    let labels = |of: &str| json!({"app.kubernetes.io/managed-by": "waypost", of: "a"});
    let key = secret("s", "k", 1, labels("waypost.dev/registry"));
    let token = |version| secret("a-token", "t", version, labels("waypost.dev/token-of"));
    let said = || serde_json::to_value(issuance()).unwrap();
    let editions = |reads: bool, secrets: &[PartialObjectMeta<Secret>], status: Value| {
        let mut known = Known::with(reads, secrets);
        known.list(&[ecr(status)]);
        let stored = known.registries()[0].clone();
        let text = |edition: Option<store::Edition>| edition.map(|edition| edition.0);
        (text(stored.pull), text(stored.key), stored.issuance)
    };
    let found = |pull: &str, key: &str| (Some(pull.to_owned()), Some(key.to_owned()), Some(issuance()));
    let [first, second] = [1, 2].map(|version| [key.clone(), token(version)]);
    // Another token is another edition, for those who may read it.
    assert_eq!(editions(true, &first, said()), found("a-token-t-1", "s-k"));
    assert_eq!(editions(true, &second, said()), found("a-token-t-2", "s-k"));
    // One that somebody has deleted is one that cannot be read: what has it keeps it.
    assert_eq!(
        editions(true, std::slice::from_ref(&key), said()),
        found("a-token", "s-k")
    );
    // A replica of the webhook knows that there is one, and when it ends.
    assert_eq!(editions(false, &[], said()), found("a-token", "s"));
    let mut elsewhere = said();
    elsewhere["place"] = json!("fedcba9876543210");
    let mut half = said();
    half.as_object_mut().unwrap().remove("expiresAt");
    for nothing in [Value::Null, elsewhere, half, json!("strange")] {
        for reads in [true, false] {
            let (pull, key, issuance) = editions(reads, &first, nothing.clone());
            assert_eq!((pull, issuance), (None, None), "{nothing}");
            assert!(key.is_some());
        }
    }
}

#[test]
fn whose_account_it_is_is_known_by_the_token() {
    let read = |issuance: Value| {
        let mut known = Known::new(false);
        known.list(&[ecr(issuance)]);
        let registry = known.registries()[0].registry();
        registry.map(|registry| registry.address.host).ok()
    };
    let host = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";
    assert_eq!(read(serde_json::to_value(issuance()).unwrap()).as_deref(), Some(host));
    assert_eq!(read(Value::Null), None);
}

/// An object, and what the API server would answer where the Secret of its token is looked for.
fn issued() -> Value {
    let mut object = serde_json::to_value(ecr(Value::Null)).unwrap();
    object["metadata"]["resourceVersion"] = json!("5");
    object
}

fn a_token() -> store::Token {
    store::Token {
        login: Login {
            username: "AWS".to_owned(),
            password: Password::new("hunter2".to_owned()),
        },
        issuance: issuance(),
    }
}

#[tokio::test(start_paused = true)]
async fn somebody_elses_secret_is_not_written_and_what_to_do_is_said() {
    for labels in [
        json!({}),
        json!({"waypost.dev/token-of": "a"}),
        json!({"app.kubernetes.io/managed-by": "waypost", "waypost.dev/token-of": "b"}),
        json!({"app.kubernetes.io/managed-by": "waypost", "waypost.dev/registry": "a"}),
    ] {
        let server = Server::default();
        let store = store(&server).await;
        let theirs = serde_json::to_value(secret("a-token", "u", 3, labels)).unwrap();
        server.will([Answer::Json(200, issued()), Answer::Json(200, theirs)]);
        server.asked();
        let error = store.issued("a", a_token()).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "the Secret a-token in the namespace waypost is somebody else's, and the token of the Registry a would be kept there: give it another name"
        );
        assert_eq!(server.asked().len(), 2, "nothing is written");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_whose_status_is_always_changed_by_somebody_else_is_left_after_a_while() {
    let server = Server::default();
    let store = store(&server).await;
    let labels = json!({"app.kubernetes.io/managed-by": "waypost", "waypost.dev/token-of": "a"});
    let mut written = serde_json::to_value(secret("a-token", "u", 3, labels)).unwrap();
    written["kind"] = json!("Secret");
    written["apiVersion"] = json!("v1");
    server.will([
        Answer::Json(200, issued()),
        Answer::Json(404, status(404, "none")),
        Answer::Json(201, written),
    ]);
    for _ in 0..20 {
        server.will([Answer::Json(409, status(409, "changed")), Answer::Json(200, issued())]);
    }
    server.asked();
    let error = store.issued("a", a_token()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the Registry a is changed all the time by somebody else"
    );
    let writes = server.asked().iter().filter(|asked| asked.contains("secrets")).count();
    assert_eq!(writes, 2, "it is looked for and written once");
    assert!(!format!("{error:?}").contains("hunter2"));
}

#[tokio::test(start_paused = true)]
async fn a_token_of_a_registry_that_was_made_anew_meanwhile_is_nobodys() {
    let server = Server::default();
    let store = store(&server).await;
    let labels = json!({"app.kubernetes.io/managed-by": "waypost", "waypost.dev/token-of": "a"});
    let mut written = serde_json::to_value(secret("a-token", "u", 3, labels)).unwrap();
    written["kind"] = json!("Secret");
    written["apiVersion"] = json!("v1");
    let mut another = issued();
    another["metadata"]["uid"] = json!("another");
    server.will([
        Answer::Json(200, issued()),
        Answer::Json(404, status(404, "none")),
        Answer::Json(201, written),
        Answer::Json(409, status(409, "its uid is another")),
        Answer::Json(200, another),
    ]);
    let error = store.issued("a", a_token()).await.unwrap_err();
    assert_eq!(error, StoreError::NotFound("a".to_owned()));
}

#[test]
fn whatever_somebody_has_written_something_is_read_of_it() {
    for (spec, expected) in [
        (json!({"url": null}), "`url` in its spec has no value"),
        (
            json!({"namespaces": {"selector": {"matchLabels": null}}}),
            "`matchLabels` in its spec has no value",
        ),
        (json!({"colour": "red"}), "its spec: unknown field `colour`"),
        (json!({"plainHttp": "yes"}), "its spec: invalid type"),
        (json!({"location": "mars"}), "its spec: unknown variant `mars`"),
        (json!("text"), "its spec: invalid type"),
        (Value::Null, "its spec: "),
    ] {
        let mut spec = spec;
        if spec.is_object() {
            spec["pullCredential"] = json!({"secretName": "s"});
        }
        let object = Object::read(&from(
            json!({"metadata": {"name": "a"}, "spec": spec, "status": "fine"}),
        ));
        let why = object.spec.clone().unwrap_err();
        assert!(why.starts_with(expected), "{why}");
        // Whose Secret it names is known even so: nobody takes it away.
        assert_eq!(object.pull.as_deref(), spec.is_object().then_some("s"));
    }
    let strange = Object::read(&from(json!({"metadata": {"name": "a.b"}, "spec": {}})));
    assert_eq!(
        strange.spec.unwrap_err(),
        "its name is no id of a registry: it has characters other than lower-case letters, digits and `-`"
    );
}

#[test]
fn a_status_of_ours_and_of_others_is_no_change() {
    let read = |value: Value| Object::read(&from(value));
    let condition = |kind: &str| json!({"type": kind, "status": "True", "reason": "R", "message": "m", "lastTransitionTime": "2026-11-21T10:00:00Z"});
    let field = |subresource: &str, time: &str| json!({"manager": "m", "operation": "Update", "apiVersion": "waypost.dev/v1alpha1", "time": time, "subresource": subresource});
    let meta = json!({
        "name": "a", "uid": "u", "generation": 2, "creationTimestamp": "2026-11-21T10:00:00Z",
        "labels": {"app.kubernetes.io/managed-by": "Helm"},
        "managedFields": [field("", "2026-11-21T11:00:00Z"), field("status", "2026-11-21T13:00:00Z")],
    });
    let conditions = [
        condition("LongLived"),
        condition("Strange"),
        condition("Reachable"),
        json!("no condition"),
    ];
    let object =
        read(json!({"metadata": meta, "spec": {}, "status": {"conditions": conditions, "observedGeneration": 1}}));
    let kinds: Vec<_> = object
        .conditions
        .iter()
        .map(|condition| format!("{:?}", condition.kind))
        .collect();
    assert_eq!(kinds, ["Reachable", "LongLived"]);
    assert_eq!(object.updated_at.to_string(), "2026-11-21T11:00:00Z");
    assert_eq!(object.version().0, "u-2");
    assert_eq!(object.declared_by, DeclaredBy::Helm);
    let mut said = meta;
    said["annotations"] = json!({"waypost.dev/updated-at": "2026-11-21T12:00:00.25Z"});
    assert_eq!(
        read(json!({"metadata": said, "spec": {}})).updated_at.to_string(),
        "2026-11-21T12:00:00.25Z"
    );
    said["generation"] = json!(1);
    assert_eq!(
        read(json!({"metadata": said, "spec": {}})).updated_at.to_string(),
        "2026-11-21T10:00:00Z"
    );
}

async fn store(server: &Server) -> Kubernetes {
    let list = || Answer::Json(200, json!({"metadata": {"resourceVersion": "1"}, "items": []}));
    server.will([list(), list(), list()]);
    let server = server.clone();
    let connect = move || {
        let client = server.client();
        async move { Ok(client) }.boxed()
    };
    Kubernetes::open(Box::new(connect), "waypost".to_owned(), true)
        .await
        .unwrap()
}

fn draft() -> Draft {
    Draft {
        spec: crate::registry::RegistrySpec::default(),
        pull: store::Change::Set(Credential::Login(Login {
            username: "robot".to_owned(),
            password: Password::new("hunter2".to_owned()),
        })),
        push: store::Change::Keep,
        notify: store::Change::Keep,
    }
}

/// Answers for a Secret that is written, looked at and deleted.
fn made() -> Answer {
    Answer::Json(
        201,
        json!({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "a-pull-1", "uid": "u", "resourceVersion": "2",
            "labels": {"app.kubernetes.io/managed-by": "waypost", "waypost.dev/registry": "a"}}}),
    )
}

#[tokio::test(start_paused = true)]
async fn a_secret_goes_at_once_only_where_it_is_certain_that_no_object_names_it() {
    for (answer, expected, is_removed) in [
        (
            Answer::Json(422, status(422, "no")),
            "the Registry a: the API server answers 422: no",
            true,
        ),
        (
            Answer::Json(409, status(409, "there")),
            "there is a registry `a` already",
            true,
        ),
        (
            Answer::Json(403, status(403, "no right")),
            "the Registry a: the API server refuses it (403): no right; grant the right to create it",
            true,
        ),
        (
            Answer::Json(403, status(403, "exceeded quota: q")),
            "there is no room for it: the Registry a: the API server refuses it (403): exceeded quota: q",
            true,
        ),
        // It may have been done all the same.
        (
            Answer::Json(500, status(500, "etcdserver: request timed out")),
            "the Registry a: the API server answers 500: etcdserver: request timed out",
            false,
        ),
        (
            Answer::Refused,
            "the Registry a: the API server cannot be reached: connection refused",
            false,
        ),
    ] {
        let server = Server::default();
        let store = store(&server).await;
        server.will([Answer::Json(404, status(404, "none")), made(), answer]);
        server.will([
            made(),
            Answer::Json(200, json!({"kind": "Status", "status": "Success"})),
        ]);
        server.asked();
        let error = store.create("a", draft()).await.unwrap_err();
        assert_eq!(error.to_string(), expected);
        settle().await;
        // Looked for, the Secret, the object, and then perhaps the Secret twice.
        assert_eq!(server.asked().len(), if is_removed { 5 } else { 3 }, "{expected}");
        assert!(!format!("{error:?}").contains("hunter2"));
    }
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_silent_is_waited_for_so_long_and_no_longer() {
    let server = Server::default();
    let store = store(&server).await;
    let _silent = server.will_watch();
    let error = store.registry("a").await.unwrap_err();
    assert_eq!(
        error,
        StoreError::Unavailable("the Registry a: the API server has not answered within 10 s".to_owned())
    );
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_always_changed_by_somebody_else_is_left_after_a_while() {
    let server = Server::default();
    let store = store(&server).await;
    let present = || {
        Answer::Json(
            200,
            json!({"metadata": {"name": "a", "uid": "u", "resourceVersion": "5", "generation": 1}, "spec": {"url": "r.io"}}),
        )
    };
    server.will([present()]);
    for _ in 0..20 {
        server.will([Answer::Json(409, status(409, "changed")), present()]);
    }
    let change = Draft {
        pull: store::Change::Keep,
        ..draft()
    };
    let error = store.replace("a", change, None).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the Registry a is changed all the time by somebody else"
    );
}
