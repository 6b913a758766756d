use std::sync::atomic::{AtomicUsize, Ordering};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Method},
    response::{IntoResponse, Response},
};
use hyper::{
    StatusCode, Uri,
    header::{AUTHORIZATION, RETRY_AFTER, WWW_AUTHENTICATE},
};
use jiff::Timestamp;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::task::JoinHandle;

use super::*;
use crate::{
    metrics::{Metrics, Verification},
    oci::{Roots, testing::Served},
    pushes::{Event, Image, Origin, PushId, Record, Success, What},
    registry::{Credential, Login, Password},
    store::{Change, Draft, Embedded, Pushes},
};

const EVERY: Duration = Duration::from_millis(50);

/// Of what is at the tag, unless a test says otherwise.
const MANIFEST: &str = r#"{"schemaVersion": 2, "layers": []}"#;

struct Verifying {
    store: Embedded,
    metrics: Metrics,
    task: JoinHandle<Infallible>,
}

impl Verifying {
    /// A registry at this port with one push of what has this digest.
    async fn of(port: u16, pull: Change, digest: &str) -> Self {
        Self::every(EVERY, port, pull, digest, watch::Sender::default()).await
    }

    async fn every(every: Duration, port: u16, pull: Change, digest: &str, down: watch::Sender<Down>) -> Self {
        let (store, metrics) = (Embedded::in_memory().unwrap(), Metrics::new());
        let draft = Draft {
            spec: RegistrySpec {
                url: Some(format!("http://localhost:{port}/team")),
                ..RegistrySpec::default()
            },
            pull,
            push: Change::Keep,
            notify: Change::Keep,
        };
        store.create("corp", draft).await.unwrap();
        let (_, used) = watch::channel(Used::default());
        let client = Client::new(Roots::none());
        let (counted, kept) = (metrics.common().verifications(), Arc::new(store.clone()));
        let verifier = Verifier::new(kept, client, every, counted, down.subscribe(), used);
        let verifying = Self {
            store,
            metrics,
            task: tokio::spawn(verifier.run()),
        };
        verifying.pushed(port, "app:1", digest).await;
        verifying
    }

    async fn pushed(&self, port: u16, image: &str, digest: &str) {
        let target = format!("localhost:{port}/team/docker.io/library/{image}");
        let event = Event {
            image: Image::parse(image).unwrap(),
            registry: "corp".into(),
            at: Timestamp::now(),
            origin: Origin::Report,
            what: What::Succeeded {
                target: target.into(),
                digest: digest.into(),
            },
        };
        self.store.happened(vec![event]).await.unwrap();
    }

    async fn record(&self) -> Record {
        let id = PushId::new("corp", Image::parse("app:1").unwrap().key());
        self.store.push(&id).await.unwrap().unwrap()
    }

    fn count(&self, result: Verification) -> u64 {
        let text = self.metrics.common().render().unwrap();
        let series = format!(
            "waypost_push_verifications_total{{registry=\"corp\",result=\"{}\"}} ",
            result.as_str()
        );
        let found = text.lines().find_map(|line| line.strip_prefix(&series));
        found.map_or(0, |count| count.parse().unwrap())
    }

    async fn until(&self, result: Verification, count: u64) {
        self.when(async || self.count(result) >= count).await;
    }

    async fn when(&self, mut is: impl AsyncFnMut() -> bool) {
        let waited = tokio::time::timeout(Duration::from_secs(60), async {
            while !is().await {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        if waited.await.is_err() {
            panic!("never: {:?}", self.metrics.common().render());
        }
    }
}

impl Drop for Verifying {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn digest_of(content: &str) -> String {
    let hex: String = Sha256::digest(content)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256:{hex}")
}

fn found(content: &str) -> Response {
    let digest = digest_of(content);
    Response::builder()
        .header("docker-content-digest", digest)
        .body(Body::from(content.to_owned()))
        .unwrap()
}

/// A registry that answers to `/v2/`, and to everything below it like this.
async fn registry<R: IntoResponse>(answer: impl Fn(Method, Uri) -> R + Clone + Send + Sync + 'static) -> Served {
    let answer = move |method: Method, uri: Uri| {
        let answered = (uri.path() != "/v2/").then(|| answer(method, uri).into_response());
        async move { answered.unwrap_or_else(|| StatusCode::OK.into_response()) }
    };
    Served::plain(Router::new().fallback(answer)).await
}

#[tokio::test]
async fn what_is_not_there_twice_is_withdrawn_and_what_is_there_is_not() {
    let served = registry(|_, _| StatusCode::NOT_FOUND).await;
    let verifying = Verifying::of(served.port(), Change::Keep, &digest_of(MANIFEST)).await;
    let began = Timestamp::now();
    verifying.until(Verification::Gone, 1).await;
    let record = verifying.record().await;
    assert_eq!(record.last_success, None);
    // By the moment of the first question.
    assert!(
        record.withdrawn_at.unwrap().duration_since(began).as_millis() < 1_000,
        "{record:?}"
    );
    let path = "/v2/team/docker.io/library/app/manifests/1";
    let asked: Vec<_> = served.asked().into_iter().map(|(what, _)| what).collect();
    assert_eq!(
        asked,
        [format!("HEAD {path}"), "GET /v2/".to_owned(), format!("HEAD {path}")]
    );

    let count = Arc::new(AtomicUsize::new(0));
    // It forgets once.
    let served = registry(move |method, _| match count.fetch_add(1, Ordering::Relaxed) {
        0 => StatusCode::NOT_FOUND.into_response(),
        _ if method == Method::HEAD => found(MANIFEST),
        _ => found(MANIFEST),
    })
    .await;
    let verifying = Verifying::of(served.port(), Change::Keep, &digest_of(MANIFEST)).await;
    verifying.until(Verification::Present, 2).await;
    assert_eq!(verifying.count(Verification::Gone), 0);
    assert_eq!(verifying.record().await.withdrawn_at, None);
}

#[tokio::test]
async fn nothing_else_withdraws_anything() {
    let html = Router::new().fallback(async || (StatusCode::NOT_FOUND, "<html>default backend</html>"));
    let nowhere = Served::plain(html).await;
    let refused = registry(|_, _| StatusCode::FORBIDDEN).await;
    let wanted = registry(|_, _| (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Basic realm=\"r\"")])).await;
    let broken = registry(|_, _| StatusCode::BAD_GATEWAY).await;
    let limited = registry(|_, _| (StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, "3")])).await;
    let moved = registry(|_, _| found("something else")).await;
    for (served, result) in [
        (&nowhere, Verification::Failed),
        (&refused, Verification::Rejected),
        (&wanted, Verification::Rejected),
        (&broken, Verification::Failed),
        (&limited, Verification::Limited),
        (&moved, Verification::Moved),
    ] {
        let verifying = Verifying::of(served.port(), Change::Keep, &digest_of(MANIFEST)).await;
        let before = verifying.record().await;
        verifying.until(result, 2).await;
        assert_eq!(verifying.record().await, before, "{result:?}");
        for other in Verification::ALL {
            assert!(other == result || verifying.count(other) == 0, "{result:?} {other:?}");
        }
    }
}

#[tokio::test]
async fn a_registry_that_is_asked_too_much_is_left_alone_as_long_as_it_wants() {
    let served = registry(|_, _| (StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, "2")])).await;
    let verifying = Verifying::of(served.port(), Change::Keep, &digest_of(MANIFEST)).await;
    for number in 0..20 {
        let image = format!("other-{number}:1");
        verifying.pushed(served.port(), &image, &digest_of(MANIFEST)).await;
    }
    verifying.until(Verification::Limited, 1).await;
    let began = Instant::now();
    served.asked();
    served.until_asked(1).await;
    assert!(began.elapsed() >= Duration::from_millis(1_500), "{:?}", began.elapsed());
}

#[tokio::test]
async fn one_that_does_not_answer_and_one_that_is_down_keep_their_pushes() {
    let silent = Router::new().fallback(async || std::future::pending::<StatusCode>().await);
    let silent = Served::plain(silent).await;
    let verifying = Verifying::of(silent.port(), Change::Keep, &digest_of(MANIFEST)).await;
    let before = verifying.record().await;
    verifying.until(Verification::Failed, 1).await;
    assert_eq!(verifying.record().await, before);

    let count = Arc::new(AtomicUsize::new(0));
    let down = watch::Sender::new(Down::default());
    // Before its second answer somebody else has found out that it is down.
    let (counted, told) = (count.clone(), down.clone());
    let served = registry(move |_, _| {
        if counted.fetch_add(1, Ordering::SeqCst) == 1 {
            told.send_replace(Arc::new(["corp".to_owned()].into()));
        }
        StatusCode::NOT_FOUND
    })
    .await;
    let verifying = Verifying::every(EVERY, served.port(), Change::Keep, &digest_of(MANIFEST), down.clone()).await;
    verifying.until(Verification::Failed, 1).await;
    assert_eq!(verifying.count(Verification::Gone), 0);
    assert!(verifying.record().await.last_success.is_some());
    assert_eq!(count.load(Ordering::SeqCst), 2, "it was left alone");
    down.send_replace(Down::default());
    verifying.until(Verification::Gone, 1).await;
}

#[tokio::test]
async fn a_push_that_is_new_is_asked_for_at_once() {
    let served = registry(|_, uri| match uri.path().contains("/other/") {
        true => StatusCode::NOT_FOUND.into_response(),
        false => found(MANIFEST),
    })
    .await;
    let long = Duration::from_secs(600);
    let verifying = Verifying::every(
        long,
        served.port(),
        Change::Keep,
        &digest_of(MANIFEST),
        watch::Sender::default(),
    )
    .await;
    verifying.until(Verification::Present, 1).await;
    let began = Instant::now();
    verifying.pushed(served.port(), "other:1", &digest_of(MANIFEST)).await;
    verifying.until(Verification::Gone, 1).await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test]
async fn what_is_in_an_image_is_looked_at_once_with_the_credential_and_an_index_without_its_parts_says_so() {
    let config = json!({"os": "linux", "architecture": "arm64", "variant": "v8"}).to_string();
    let image =
        json!({"config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest_of(&config)}})
            .to_string();
    let part = |content: &str, arch: &str| json!({"digest": digest_of(content), "platform": {"os": "linux", "architecture": arch}});
    let index = json!({"manifests": [part("a", "amd64"), part("b", "s390x"), part(&image, "arm64")]}).to_string();
    for (top, platforms, children) in [
        (image.clone(), vec!["linux/arm64/v8"], vec![]),
        (
            index,
            vec!["linux/amd64", "linux/arm64"],
            vec![digest_of("a"), digest_of(&image)],
        ),
    ] {
        let contents = [top.clone(), image.clone(), config.clone(), "a".to_owned()];
        let answer = move |headers: HeaderMap, uri: Uri| {
            let behind = uri.path().rsplit('/').next().unwrap_or_default();
            let at = contents
                .iter()
                .find(|content| digest_of(content) == behind || behind == "1");
            let answer = match (headers.get(AUTHORIZATION), at) {
                (None, _) => (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Basic realm=\"r\"")]).into_response(),
                (Some(_), Some(content)) => found(content),
                (Some(_), None) => StatusCode::NOT_FOUND.into_response(),
            };
            async move { answer }
        };
        let served = Served::plain(Router::new().fallback(answer)).await;
        let login = Change::Set(Credential::Login(Login {
            username: "u".to_owned(),
            password: Password::new("hunter2".to_owned()),
        }));
        let verifying = Verifying::of(served.port(), login, &digest_of(&top)).await;
        verifying
            .when(async || !verifying.record().await.last_success.unwrap().platforms.is_empty())
            .await;
        let Success {
            platforms: found,
            children: there,
            ..
        } = verifying.record().await.last_success.unwrap();
        assert_eq!(found, platforms.into_iter().map(Box::from).collect::<Vec<Box<str>>>());
        assert_eq!(there, children.into_iter().map(Box::from).collect::<Vec<Box<str>>>());
        served.asked();
        let present = verifying.count(Verification::Present);
        verifying.until(Verification::Present, present + 3).await;
        let again = served.asked();
        assert!(again.iter().all(|(what, _)| what.starts_with("HEAD ")), "{again:?}");
    }
}

#[tokio::test]
async fn what_says_nothing_of_itself_is_read_once() {
    let served = registry(|_, _| found(MANIFEST)).await;
    let verifying = Verifying::of(served.port(), Change::Keep, &digest_of(MANIFEST)).await;
    verifying.until(Verification::Present, 4).await;
    let read = served
        .asked()
        .iter()
        .filter(|(what, _)| what.starts_with("GET "))
        .count();
    assert_eq!(read, 1);
    assert!(verifying.record().await.last_success.unwrap().platforms.is_empty());
}

#[tokio::test]
async fn a_registry_is_asked_four_times_a_second_and_no_more() {
    let served = registry(|_, _| found(MANIFEST)).await;
    let verifying = Verifying::of(served.port(), Change::Keep, &digest_of(MANIFEST)).await;
    for number in 0..50 {
        let image = format!("other-{number}:1");
        verifying.pushed(served.port(), &image, &digest_of(MANIFEST)).await;
    }
    served.until_asked(1).await;
    let began = Instant::now();
    served.asked();
    served.until_asked(12).await;
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(2_700), "{took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
}
