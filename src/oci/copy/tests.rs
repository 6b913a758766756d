use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{Router, body::to_bytes, extract::Request, response::IntoResponse, response::Response};
use hyper::{
    Method, StatusCode,
    body::Bytes,
    header::{CONTENT_TYPE, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE},
};
use serde_json::{Value, json};

use super::*;
use crate::{
    oci::{
        Client, Roots,
        digest::{Hasher, is_of, sha256},
        testing::Served,
    },
    registry::{Login, Password, Registry, RegistrySpec},
};

/// A registry in memory, which does as it is told.
#[derive(Clone, Default)]
struct Memory {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    /// By repository and digest.
    blobs: BTreeMap<(String, String), Bytes>,
    /// By repository and tag or digest.
    manifests: BTreeMap<(String, String), (String, Bytes)>,
    sessions: BTreeMap<String, Vec<u8>>,
    /// What is answered instead, each once: to the method, and to paths in which the text is.
    instead: Vec<(Method, String, Answer)>,
    /// The same, and every time: before anything that comes along is read.
    always: Vec<(Method, String, Answer)>,
    /// Whether blobs are taken from other repositories.
    mounts: bool,
}

type Answer = Arc<dyn Fn() -> Response + Send + Sync>;

impl Memory {
    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    fn instead(&self, method: Method, path: &str, answer: impl Fn() -> Response + Send + Sync + 'static) {
        self.lock().instead.push((method, path.to_owned(), Arc::new(answer)));
    }

    fn always(&self, method: Method, path: &str, answer: impl Fn() -> Response + Send + Sync + 'static) {
        self.lock().always.push((method, path.to_owned(), Arc::new(answer)));
    }

    /// Has an image of these layers, and answers its digest.
    fn has(&self, repository: &str, tag: &str, layers: &[&[u8]]) -> String {
        let mut inner = self.lock();
        let config = json!({"os": "linux", "architecture": "amd64", "layers": layers.len()}).to_string();
        let mut blob = |content: &[u8]| {
            let digest = sha256(content);
            let key = (repository.to_owned(), digest.clone());
            inner.blobs.insert(key, Bytes::copy_from_slice(content));
            json!({"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": content.len()})
        };
        let mut named = blob(config.as_bytes());
        named["mediaType"] = "application/vnd.oci.image.config.v1+json".into();
        let layers: Vec<Value> = layers.iter().map(|layer| blob(layer)).collect();
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({"schemaVersion": 2, "mediaType": kind, "config": named, "layers": layers}).to_string();
        drop(inner);
        self.put(repository, tag, kind, manifest)
    }

    /// Has an index of these.
    fn has_index(&self, repository: &str, tag: &str, of: &[&str]) -> String {
        let kind = "application/vnd.oci.image.index.v1+json";
        let platform = json!({"os": "linux", "architecture": "amd64"});
        let named: Vec<Value> = of
            .iter()
            .map(|digest| {
                let kind = "application/vnd.oci.image.manifest.v1+json";
                json!({"mediaType": kind, "digest": digest, "size": 1, "platform": platform})
            })
            .collect();
        let index = json!({"schemaVersion": 2, "mediaType": kind, "manifests": named}).to_string();
        self.put(repository, tag, kind, index)
    }

    fn put(&self, repository: &str, tag: &str, kind: &str, manifest: String) -> String {
        let digest = sha256(manifest.as_bytes());
        let mut inner = self.lock();
        for reference in [tag, &digest] {
            let key = (repository.to_owned(), reference.to_owned());
            inner
                .manifests
                .insert(key, (kind.to_owned(), Bytes::from(manifest.clone())));
        }
        digest
    }

    async fn serve(&self) -> Served {
        let memory = self.clone();
        Served::plain(Router::new().fallback(move |request: Request| {
            let memory = memory.clone();
            async move { memory.answer(request).await }
        }))
        .await
    }

    async fn answer(&self, request: Request) -> Response {
        let (head, body) = request.into_parts();
        let path = head.uri.path().to_owned();
        let query = head.uri.query().unwrap_or_default().to_owned();
        let instead = {
            let mut inner = self.lock();
            let mut all = inner.instead.iter();
            let found = all.position(|(method, part, _)| *method == head.method && path.contains(&**part));
            let once = found.map(|at| inner.instead.remove(at).2);
            let mut all = inner.always.iter();
            let always = all.find(|(method, part, _)| *method == head.method && path.contains(&**part));
            once.or_else(|| always.map(|(_, _, answer)| answer.clone()))
        };
        if let Some(instead) = instead {
            return instead();
        }
        let body = match to_bytes(body, usize::MAX).await {
            Ok(body) => body,
            Err(_) => return StatusCode::BAD_REQUEST.into_response(),
        };
        let path = path.strip_prefix("/v2/").unwrap();
        let (repository, kind, name) = ["/manifests/", "/blobs/uploads/", "/blobs/", "/referrers/"]
            .iter()
            .find_map(|kind| {
                path.split_once(kind)
                    .map(|(repository, name)| (repository, *kind, name))
            })
            .unwrap_or((path, "", ""));
        let key = (repository.to_owned(), name.to_owned());
        let parameter = |name: &str| {
            let mut all = query.split('&').filter_map(|pair| pair.split_once('='));
            all.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
        };
        let mut inner = self.lock();
        match (&head.method, kind) {
            (&Method::HEAD | &Method::GET, "/manifests/") => match inner.manifests.get(&key) {
                Some((kind, json)) => {
                    let headers = [
                        (CONTENT_TYPE, kind.clone()),
                        (super::super::manifest::DIGEST, sha256(json)),
                    ];
                    (headers, json.clone()).into_response()
                }
                None => StatusCode::NOT_FOUND.into_response(),
            },
            (&Method::HEAD | &Method::GET, "/blobs/") => match inner.blobs.get(&key) {
                Some(blob) => blob.clone().into_response(),
                None => StatusCode::NOT_FOUND.into_response(),
            },
            (&Method::POST, "/blobs/uploads/") => {
                if let (Some(digest), Some(from), true) = (parameter("mount"), parameter("from"), inner.mounts)
                    && let Some(blob) = inner.blobs.get(&(from, digest.clone())).cloned()
                {
                    inner.blobs.insert((repository.to_owned(), digest), blob);
                    return StatusCode::CREATED.into_response();
                }
                let session = format!("s{}", inner.sessions.len());
                inner.sessions.insert(session.clone(), Vec::new());
                let location = format!("/v2/{repository}/blobs/uploads/{session}?state=x");
                (StatusCode::ACCEPTED, [(LOCATION, location)]).into_response()
            }
            (&Method::PATCH, "/blobs/uploads/") => match inner.sessions.get_mut(name) {
                Some(session) => {
                    session.extend(&body);
                    let location = format!("/v2/{path}?state=y");
                    (StatusCode::ACCEPTED, [(LOCATION, location)]).into_response()
                }
                None => StatusCode::NOT_FOUND.into_response(),
            },
            (&Method::GET, "/blobs/uploads/") => match inner.sessions.get(name) {
                Some(session) if !session.is_empty() => {
                    let range = format!("0-{}", session.len() - 1);
                    (StatusCode::NO_CONTENT, [("range", range)]).into_response()
                }
                _ => StatusCode::NOT_FOUND.into_response(),
            },
            (&Method::PUT, "/blobs/uploads/") => {
                let digest = parameter("digest").unwrap();
                let session = inner
                    .sessions
                    .remove(name)
                    .map(|session| [&session, &body[..]].concat());
                match session {
                    Some(session) if is_of(&digest, &session) => {
                        inner.blobs.insert((repository.to_owned(), digest), session.into());
                        StatusCode::CREATED.into_response()
                    }
                    _ => StatusCode::BAD_REQUEST.into_response(),
                }
            }
            (&Method::PUT, "/manifests/") => {
                let kind = head.headers[CONTENT_TYPE].to_str().unwrap().to_owned();
                let digest = sha256(&body);
                for reference in [name, &*digest] {
                    let key = (repository.to_owned(), reference.to_owned());
                    inner.manifests.insert(key, (kind.clone(), body.clone()));
                }
                StatusCode::CREATED.into_response()
            }
            _ => StatusCode::NOT_FOUND.into_response(),
        }
    }
}

mod hostile;
mod referrers;

struct Case {
    source: Memory,
    target: Memory,
    from: Served,
    to: Served,
    client: Client,
    login: Option<Login>,
}

impl Case {
    async fn new() -> Self {
        let (source, target) = (Memory::default(), Memory::default());
        Self {
            from: source.serve().await,
            to: target.serve().await,
            source,
            target,
            client: Client::new(Roots::none()),
            login: None,
        }
    }

    fn place(&self, served: &Served, repository: &str) -> Place {
        let spec = RegistrySpec {
            url: Some(format!("http://127.0.0.1:{}", served.port())),
            ..RegistrySpec::default()
        };
        let registry = Registry::parse("r", &spec).unwrap();
        Place {
            remote: Arc::new(self.client.registry(&registry).unwrap()),
            repository: repository.into(),
            login: self.login.clone(),
        }
    }

    async fn copy(&self, to: &str) -> (Result<Copied, CopyError>, Arc<Progress>) {
        let progress = Arc::new(Progress::new());
        let copy = Copy {
            source: self.place(&self.from, "app"),
            target: self.place(&self.to, to),
            reference: "1".into(),
            tag: Some("1".into()),
            referrers: false,
        };
        (copy.run(progress.clone()).await, progress)
    }

    fn is_tagged(&self, repository: &str) -> bool {
        let key = (repository.to_owned(), "1".to_owned());
        self.target.lock().manifests.contains_key(&key)
    }
}

fn status(status: StatusCode) -> impl Fn() -> Response {
    move || status.into_response()
}

#[tokio::test]
async fn the_tag_is_written_after_everything_that_it_leads_to() {
    let case = Case::new().await;
    let one = case.source.has("app", "one", &[b"a", b"b"]);
    let two = case.source.has("app", "two", &[b"a", b"c"]);
    let index = case.source.has_index("app", "1", &[&one, &two]);
    let (copied, progress) = case.copy("mirror/app").await;
    let copied = copied.unwrap();
    assert_eq!((&*copied.digest, copied.was_there), (&*index, false));
    assert_eq!(copied.contents.unwrap().platforms.len(), 2);
    // One configuration, which both have, and three layers, each once.
    assert_eq!((progress.blobs().len(), progress.done()), (4, progress.total()));
    let puts: Vec<_> = case
        .to
        .asked()
        .into_iter()
        .map(|(what, _)| what)
        .filter(|what| what.starts_with("PUT"))
        .collect();
    assert_eq!(puts.len(), 7);
    assert!(puts[..4].iter().all(|put| put.contains("/blobs/")), "{puts:?}");
    assert!(
        puts[4].contains("/manifests/sha256:") && puts[5].contains("/manifests/sha256:"),
        "{puts:?}"
    );
    assert!(puts[6].ends_with("/manifests/1"), "{puts:?}");
    // One question is all that another one costs.
    let (copied, _) = case.copy("mirror/app").await;
    assert!(copied.unwrap().was_there);
    let asked: Vec<_> = case.to.asked().into_iter().map(|(what, _)| what).collect();
    assert_eq!(asked.len(), 1, "{asked:?}");
}

#[tokio::test]
async fn what_passes_is_waited_for_at_both_ends() {
    let case = Case::new().await;
    case.source.has("app", "1", &[b"a"]);
    for (method, path) in [(Method::HEAD, "/manifests/1"), (Method::GET, "/blobs/")] {
        case.source.instead(method, path, status(StatusCode::BAD_GATEWAY));
    }
    let limited = || (StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, "1")]).into_response();
    case.target.instead(Method::POST, "/blobs/uploads/", limited);
    case.target
        .instead(Method::PUT, "/manifests/1", status(StatusCode::SERVICE_UNAVAILABLE));
    let begun = tokio::time::Instant::now();
    case.copy("app").await.0.unwrap();
    assert!(case.is_tagged("app") && begun.elapsed().as_millis() >= 1_000);
}

#[tokio::test]
async fn an_upload_that_the_target_forgot_begins_again() {
    for (method, path, answer) in [
        (Method::PATCH, "/blobs/uploads/", StatusCode::NOT_FOUND),
        (Method::PUT, "/blobs/uploads/", StatusCode::NOT_FOUND),
        (Method::PUT, "/blobs/uploads/", StatusCode::INTERNAL_SERVER_ERROR),
        (Method::PATCH, "/blobs/uploads/", StatusCode::RANGE_NOT_SATISFIABLE),
    ] {
        let case = Case::new().await;
        case.source.has("app", "1", &[b"layer"]);
        case.target.instead(method.clone(), path, status(answer));
        let (copied, progress) = case.copy("app").await;
        copied.unwrap_or_else(|error| panic!("{method} {answer}: {error}"));
        assert_eq!(progress.done(), progress.total());
    }
}

#[tokio::test]
async fn a_mount_that_is_refused_is_sent_and_one_that_is_taken_is_not() {
    for (mounts, sent) in [(true, 0), (false, 5)] {
        let case = Case::new().await;
        case.source.has("app", "1", &[b"layer"]);
        case.copy("one").await.0.unwrap();
        case.target.lock().mounts = mounts;
        let (copied, progress) = case.copy("two").await;
        copied.unwrap();
        let states: Vec<_> = progress.blobs().iter().map(|blob| blob.state).collect();
        let expected = if mounts { BlobState::Mounted } else { BlobState::Sent };
        assert!(states.iter().all(|state| *state == expected), "{states:?}");
        assert!(progress.sent() >= sent);
    }
    let case = Case::new().await;
    case.source.has("app", "1", &[b"layer"]);
    case.copy("one").await.0.unwrap();
    for _ in 0..2 {
        case.target
            .instead(Method::POST, "/two/blobs/uploads/", status(StatusCode::FORBIDDEN));
    }
    case.copy("two").await.0.unwrap();
}

#[tokio::test]
async fn a_place_that_is_not_there_and_a_right_that_is_lacking_are_told_in_words() {
    let refused = |status: StatusCode, code: &'static str, message: &'static str| {
        move || {
            (
                status,
                json!({"errors": [{"code": code, "message": message}]}).to_string(),
            )
                .into_response()
        }
    };
    let case = Case::new().await;
    case.source.has("app", "1", &[b"layer"]);
    for (answer, expected) in [
        (
            refused(StatusCode::NOT_FOUND, "NOT_FOUND", "project mirror not found"),
            " has no place for mirror/app: project mirror not found; create the project `mirror` in Harbor",
        ),
        (
            refused(StatusCode::FORBIDDEN, "DENIED", "requested access is denied"),
            ": requested access is denied",
        ),
        (
            refused(StatusCode::BAD_REQUEST, "QUOTA", "quota exceeded"),
            "the target answers 400 Bad Request to 127.0.0.1:",
        ),
    ] {
        for _ in 0..2 {
            case.target.instead(Method::POST, "/blobs/uploads/", answer);
        }
        let error = case.copy("mirror/app").await.0.unwrap_err();
        assert!(error.to_string().contains(expected) && !error.may_pass(), "{error}");
    }
    let none = case.copy_of("none").await.unwrap_err();
    assert!(matches!(none, CopyError::Missing { side: Side::Source, .. }), "{none}");
    case.source
        .instead(Method::HEAD, "/manifests/1", status(StatusCode::UNAUTHORIZED));
    let denied = case.copy("app").await.0.unwrap_err();
    assert!(!denied.may_pass(), "{denied}");
}

impl Case {
    async fn copy_of(&self, repository: &str) -> Result<Copied, CopyError> {
        let copy = Copy {
            source: self.place(&self.from, repository),
            target: self.place(&self.to, "app"),
            reference: "1".into(),
            tag: None,
            referrers: false,
        };
        copy.run(Arc::default()).await
    }
}

#[tokio::test]
async fn a_credential_does_not_follow_an_upload_to_another_place() {
    let elsewhere = Memory::default();
    let other = elsewhere.serve().await;
    let case = Case {
        login: Some(Login {
            username: "u".to_owned(),
            password: Password::new("hunter2".to_owned()),
        }),
        ..Case::new().await
    };
    case.source.has("app", "1", &[b"layer"]);
    let basic = || (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Basic realm=\"r\"")]).into_response();
    case.target.instead(Method::HEAD, "/manifests/1", basic);
    for session in ["s0", "s1"] {
        elsewhere.lock().sessions.insert(session.to_owned(), Vec::new());
        let location = format!("http://127.0.0.1:{}/v2/app/blobs/uploads/{session}?x=y", other.port());
        case.target.instead(Method::POST, "/blobs/uploads/", move || {
            (StatusCode::ACCEPTED, [(LOCATION, location.clone())]).into_response()
        });
    }
    // It takes what comes there without a word of it to the registry, which has no blobs then.
    let _ = case.copy("app").await;
    let said = other.asked();
    assert!(said.iter().any(|(what, _)| what.starts_with("PATCH")), "{said:?}");
    assert!(
        said.iter().all(|(_, authorization)| authorization.is_none()),
        "{said:?}"
    );
    let own = case.to.asked();
    assert!(own.iter().any(|(_, authorization)| authorization.is_some()), "{own:?}");
}

#[tokio::test]
async fn a_project_that_harbor_does_not_have_is_told_though_it_refuses_without_a_challenge() {
    let case = Case {
        login: Some(Login {
            username: "u".to_owned(),
            password: Password::new("hunter2".to_owned()),
        }),
        ..Case::new().await
    };
    case.source.has("app", "1", &[b"layer"]);
    let basic = || (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Basic realm=\"harbor\"")]).into_response();
    case.target.instead(Method::HEAD, "/manifests/1", basic);
    let none = || {
        let said = json!({"errors": [{"code": "UNAUTHORIZED", "message": "project mirror not found"}]}).to_string();
        (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "")], said).into_response()
    };
    case.target.instead(Method::HEAD, "/manifests/1", none);
    case.target.instead(Method::GET, "/manifests/1", none);
    let error = case.copy("mirror/app").await.0.unwrap_err();
    let CopyError::NoRepository { repository, advice, .. } = error else {
        panic!("{error:?}")
    };
    assert_eq!(repository, "mirror/app");
    assert!(advice.contains("create the project `mirror` in Harbor"), "{advice}");
}

/// A realm that issues a token for each scope, and what is behind it asks for them.
fn with_tokens(memory: &Memory) -> Router {
    use axum::http::header::{AUTHORIZATION, HOST};
    let memory = memory.clone();
    Router::new().fallback(move |request: Request| {
        let memory = memory.clone();
        async move {
            if request.uri().path() == "/token" {
                return r#"{"token": "t", "expires_in": 300}"#.into_response();
            }
            if request.headers().contains_key(AUTHORIZATION) {
                return memory.answer(request).await;
            }
            let host = request.headers()[HOST].to_str().unwrap();
            let challenge = format!("Bearer realm=\"http://{host}/token\",service=\"s\"");
            (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, challenge)]).into_response()
        }
    })
}

#[tokio::test]
async fn a_second_copy_costs_a_question_at_either_end() {
    for tokens in [false, true] {
        let mut case = Case::new().await;
        if tokens {
            case.from = Served::plain(with_tokens(&case.source)).await;
            case.to = Served::plain(with_tokens(&case.target)).await;
        }
        case.source.has("app", "1", &[b"a", b"b"]);
        let first = case.copy("app").await.0.unwrap();
        assert_eq!(first.contents.as_ref().unwrap().platforms, [Box::from("linux/amd64")]);
        drop((case.from.asked(), case.to.asked()));
        let copied = case.copy("app").await.0.unwrap();
        assert!(copied.was_there && copied.contents == first.contents);
        for asked in [case.from.asked(), case.to.asked()] {
            // The places are new ones: they find out that there is a realm, and have a token for it already.
            let asked: Vec<_> = asked.into_iter().map(|(what, _)| what).collect();
            let questions = if tokens { 2 } else { 1 };
            assert_eq!(asked, vec!["HEAD /v2/app/manifests/1"; questions]);
        }
        // Of a process that knows nothing yet.
        case.client = Client::new(Roots::none());
        let copy = Copy {
            source: case.place(&case.from, "app"),
            target: case.place(&case.to, "app"),
            reference: "1".into(),
            tag: Some("1".into()),
            referrers: false,
        };
        let copied = copy.run_briefly(Arc::default()).await.unwrap();
        assert!(copied.was_there && copied.contents.is_none());
        for asked in [case.from.asked(), case.to.asked()] {
            let questions = asked
                .iter()
                .filter(|(what, _)| what == "HEAD /v2/app/manifests/1")
                .count();
            let issued = asked.iter().filter(|(what, _)| what.starts_with("GET /token?")).count();
            let expected = if tokens { (2, 1) } else { (1, 0) };
            assert_eq!(
                (questions, issued, asked.len()),
                (expected.0, expected.1, expected.0 + expected.1)
            );
        }
    }
}

#[tokio::test]
async fn a_copy_that_nobody_waits_for_any_more_leaves_no_tag() {
    let case = Case::new().await;
    case.source.has("app", "1", &[b"layer", b"other"]);
    // Nothing comes of it.
    let hangs = || {
        let body = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
        axum::body::Body::from_stream(body).into_response()
    };
    case.source
        .instead(Method::GET, &format!("/blobs/{}", sha256(b"layer")), hangs);
    {
        let mut copying = std::pin::pin!(case.copy("app"));
        // Everything else is there.
        let held = sha256(b"other");
        let there = async {
            while !case.target.lock().blobs.contains_key(&("app".to_owned(), held.clone())) {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            done = &mut copying => panic!("{:?}", done.0),
            () = there => {}
        }
    }
    assert!(!case.is_tagged("app") && case.target.lock().manifests.is_empty());
    case.copy("app").await.0.unwrap();
    assert!(case.is_tagged("app"));
}

#[tokio::test]
async fn blobs_of_every_size_and_digest_that_may_be_are_copied_and_no_others() {
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let sha512 = |content: &[u8]| {
        let mut hasher = Hasher::of("sha512:").unwrap();
        hasher.update(content);
        hasher.digest()
    };
    for (digest, content, size, copied) in [
        (sha256(b""), &b""[..], Some(0), true),
        (sha512(b"layer"), b"layer", Some(5), true),
        (sha256(b"layer"), b"layer", Some(0), false),
        (sha256(b"layer"), b"layer", Some(4), false),
        (sha256(b"layer"), b"layer", Some(6), false),
        (sha256(b"layer"), b"layer", None, false),
        (sha512(b"royal"), b"layer", Some(5), false),
    ] {
        let case = Case::new().await;
        let key = ("app".to_owned(), digest.clone());
        case.source
            .lock()
            .blobs
            .insert(key.clone(), Bytes::copy_from_slice(content));
        let mut layer = json!({"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest});
        if let Some(size) = size {
            layer["size"] = size.into();
        }
        let manifest = json!({"schemaVersion": 2, "mediaType": kind, "layers": [layer]}).to_string();
        case.source.put("app", "1", kind, manifest);
        let (done, _) = tokio::time::timeout(std::time::Duration::from_secs(20), case.copy("app"))
            .await
            .unwrap();
        assert_eq!(done.is_ok(), copied, "{digest} {size:?}: {done:?}");
        assert_eq!(
            (case.is_tagged("app"), case.target.lock().blobs.contains_key(&key)),
            (copied, copied)
        );
    }
}

#[tokio::test]
async fn a_layer_that_not_everybody_may_hand_out_comes_along_where_the_source_has_it() {
    let kind = "application/vnd.docker.distribution.manifest.v2+json";
    for has in [false, true] {
        let case = Case::new().await;
        let digest = sha256(b"windows");
        let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
        let layer = json!({"mediaType": foreign, "digest": digest, "size": 7, "urls": ["https://mcr.example/x"]});
        let manifest = json!({"schemaVersion": 2, "mediaType": kind, "layers": [layer]}).to_string();
        case.source.put("app", "1", kind, manifest);
        let key = ("app".to_owned(), digest);
        if has {
            case.source
                .lock()
                .blobs
                .insert(key.clone(), Bytes::from_static(b"windows"));
        }
        let (copied, progress) = case.copy("app").await;
        copied.unwrap();
        assert_eq!(case.target.lock().blobs.contains_key(&key), has);
        assert_eq!(progress.total(), if has { 7 } else { 0 });
    }
}

#[tokio::test]
async fn a_target_that_knows_no_streams_is_sent_each_blob_at_once() {
    for refusal in [StatusCode::METHOD_NOT_ALLOWED, StatusCode::NOT_IMPLEMENTED] {
        let case = Case::new().await;
        case.source.has("app", "1", &[b"layer"]);
        for _ in 0..2 {
            case.target.instead(Method::PATCH, "/blobs/uploads/", status(refusal));
        }
        let (copied, progress) = case.copy("app").await;
        copied.unwrap();
        assert_eq!(progress.done(), progress.total());
        let asked = case.to.asked();
        let count = |begin: &str| asked.iter().filter(|(what, _)| what.starts_with(begin)).count();
        assert_eq!(
            (count("PATCH"), count("PUT /v2/app/blobs/uploads/")),
            (2, 2),
            "{asked:?}"
        );
    }
}

#[tokio::test]
async fn a_registry_that_nobody_registered_is_not_dialled_at_a_private_address() {
    let case = Case::new().await;
    case.source.has("app", "1", &[b"layer"]);
    // The system's lookup reads such a number as an address, and the client does not.
    for host in ["127.0.0.1", "localhost", "2130706433", "[::1]"] {
        let spec = RegistrySpec {
            url: Some(format!("http://{host}:{}", case.from.port())),
            ..RegistrySpec::default()
        };
        let registry = Registry::parse("r", &spec).unwrap();
        let source = Place {
            remote: Arc::new(case.client.unregistered(&registry).unwrap()),
            ..case.place(&case.from, "app")
        };
        let copy = Copy {
            source,
            target: case.place(&case.to, "app"),
            reference: "1".into(),
            tag: None,
            referrers: false,
        };
        let error = copy.run(Arc::default()).await.unwrap_err();
        assert!(
            !error.may_pass() && error.to_string().contains("register it"),
            "{host}: {error}"
        );
    }
    assert!(case.from.asked().is_empty() && case.from.connections() == 0);
}

#[tokio::test]
async fn what_copies_have_in_common_is_sent_once_though_they_run_at_the_same_time() {
    let case = Case::new().await;
    case.source.has("app", "1", &[b"layer", b"another"]);
    case.target.lock().mounts = true;
    let names = ["one", "two", "three"];
    let copied = futures_util::future::join_all(names.map(|name| case.copy(name))).await;
    for (copied, progress) in copied {
        copied.unwrap();
        assert_eq!(progress.done(), progress.total());
    }
    let asked = case.to.asked();
    let sent = asked.iter().filter(|(what, _)| what.starts_with("PATCH")).count();
    // Two layers and the configuration.
    assert_eq!(sent, 3, "{asked:?}");
    assert!(names.iter().all(|name| case.is_tagged(name)));
}
