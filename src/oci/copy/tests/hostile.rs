//! Registries that send something else, too little or nothing, and those that take whatever comes.

use std::time::Duration;

use axum::body::Body;
use futures_util::stream;
use tokio::time::Instant;

use super::*;
use crate::oci::Fault;

/// A body that is these bytes, whose length is not said, and after them nothing: not even its end where it `hangs`.
fn piecemeal(bytes: &'static [u8], hangs: bool) -> impl Fn() -> Response {
    move || {
        let all = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(bytes))]);
        match hangs {
            true => Body::from_stream(all.chain(stream::pending())).into_response(),
            false => Body::from_stream(all).into_response(),
        }
    }
}

impl Case {
    /// That the blob is asked to be finished at the target, however that goes.
    fn is_finished(&self, digest: &str) -> bool {
        let asked = self.to.asked();
        let finishes = |what: &str| what.starts_with("PUT ") && what.ends_with(&format!("digest={digest}"));
        asked.iter().any(|(what, _)| finishes(what))
    }

    async fn copy_by(&self, reference: &str) -> Result<Copied, CopyError> {
        let copy = Copy {
            source: self.place(&self.from, "app"),
            target: self.place(&self.to, "app"),
            reference: reference.into(),
            tag: Some("1".into()),
            referrers: false,
        };
        copy.run(Arc::default()).await
    }
}

#[tokio::test]
async fn what_is_not_what_its_digest_says_is_never_finished_though_the_target_believes_everything() {
    for believes in [false, true] {
        for wrong in [&b"royal"[..], b"layers", b"lay"] {
            let case = Case::new().await;
            case.source.has("app", "1", &[b"layer"]);
            let digest = sha256(b"layer");
            let key = ("app".to_owned(), digest.clone());
            case.source.lock().blobs.insert(key.clone(), Bytes::from_static(wrong));
            if believes {
                case.target
                    .always(Method::PUT, "/blobs/uploads/", status(StatusCode::CREATED));
            }
            let error = case.copy("app").await.0.unwrap_err();
            assert_eq!(error, CopyError::OtherContent(digest.clone()));
            assert!(!case.is_tagged("app") && !case.is_finished(&digest));
            assert!(!case.target.lock().blobs.contains_key(&key));
            let asked = case.from.asked();
            let read = asked
                .iter()
                .filter(|(what, _)| *what == format!("GET /v2/app/blobs/{digest}"));
            assert_eq!(read.count(), 2, "{asked:?}");
        }
    }
}

#[tokio::test]
async fn what_somebody_put_together_wrongly_once_is_read_once_more() {
    let case = Case::new().await;
    case.source.has("app", "1", &[b"layer"]);
    let path = format!("/blobs/{}", sha256(b"layer"));
    case.source
        .instead(Method::GET, &path, || Bytes::from_static(b"royal").into_response());
    let (copied, progress) = case.copy("app").await;
    copied.unwrap();
    assert!(case.is_tagged("app") && progress.done() == progress.total());
}

#[tokio::test]
async fn a_blob_whose_end_never_comes_is_waited_for_and_not_finished() {
    for hangs in [false, true] {
        let case = Case::new().await;
        case.source.has("app", "1", &[b"layer"]);
        let digest = sha256(b"layer");
        case.source
            .always(Method::GET, &format!("/blobs/{digest}"), piecemeal(b"lay", hangs));
        case.target
            .always(Method::PUT, "/blobs/uploads/", status(StatusCode::CREATED));
        tokio::time::pause();
        let error = case.copy("app").await.0.unwrap_err();
        tokio::time::resume();
        match hangs {
            true => assert!(matches!(error, CopyError::Fault(Fault::TimedOut { .. })), "{error}"),
            false => assert!(matches!(error, CopyError::Fault(Fault::Closed { .. })), "{error}"),
        }
        assert!(!case.is_tagged("app") && !case.is_finished(&digest));
    }
}

#[tokio::test]
async fn a_source_that_gives_a_byte_now_and_then_is_left_in_the_end() {
    let layer: &[u8] = &[7; 1_000];
    let digest = sha256(layer);
    let path = format!("/blobs/{digest}");
    let byte = || Ok::<_, std::io::Error>(Bytes::from_static(&[7]));
    // One that hangs up after each byte, and goes on where it was.
    let case = Case::new().await;
    case.source.has("app", "1", &[layer]);
    let asked = Arc::new(Mutex::new(0_usize));
    let count = asked.clone();
    case.source.always(Method::GET, &path, move || {
        let mut count = count.lock().unwrap();
        let at = *count;
        *count += 1;
        let body = Body::from_stream(stream::iter([byte()]));
        let range = [("content-range", format!("bytes {at}-999/1000"))];
        let status = if at == 0 {
            StatusCode::OK
        } else {
            StatusCode::PARTIAL_CONTENT
        };
        (status, range, body).into_response()
    });
    tokio::time::pause();
    let error = case.copy("app").await.0.unwrap_err();
    assert!(matches!(error, CopyError::Fault(Fault::Closed { .. })), "{error}");
    assert_eq!(*asked.lock().unwrap(), 6);
    tokio::time::resume();
    // One that gives another before anybody thinks that it has stopped.
    let case = Case::new().await;
    case.source.has("app", "1", &[layer]);
    case.source.always(Method::GET, &path, move || {
        let slow = stream::repeat(()).then(move |()| async move {
            tokio::time::sleep(Duration::from_secs(20)).await;
            byte()
        });
        Body::from_stream(slow.take(layer.len())).into_response()
    });
    tokio::time::pause();
    let error = case.copy("app").await.0.unwrap_err();
    assert!(
        matches!(error, CopyError::Fault(Fault::TimedOut { seconds: 60, .. })),
        "{error}"
    );
}

#[tokio::test]
async fn a_target_that_has_all_before_it_was_sent_is_not_believed() {
    let case = Case::new().await;
    case.source.has("app", "1", &[b"layer"]);
    let digest = sha256(b"layer");
    case.source
        .always(Method::GET, &format!("/blobs/{digest}"), piecemeal(b"lay", true));
    case.target
        .always(Method::PATCH, "/blobs/uploads/", status(StatusCode::ACCEPTED));
    case.target
        .always(Method::PUT, "/blobs/uploads/", status(StatusCode::CREATED));
    let error = case.copy("app").await.0.unwrap_err();
    assert!(error.to_string().contains("of which not all was sent to it"), "{error}");
    assert!(!case.is_tagged("app") && !case.is_finished(&digest));
}

#[tokio::test]
async fn what_a_sick_source_has_begun_does_not_keep_a_healthy_one_for_ever() {
    let case = Case::new().await;
    let healthy = Memory::default();
    let from = healthy.serve().await;
    for source in [&case.source, &healthy] {
        source.has("app", "1", &[b"layer"]);
    }
    let path = format!("/blobs/{}", sha256(b"layer"));
    case.source.always(Method::GET, &path, piecemeal(b"l", true));
    tokio::time::pause();
    let begun = Instant::now();
    let mut sick = std::pin::pin!(case.copy("sick"));
    // It is first.
    let first = tokio::time::timeout(Duration::from_secs(1), &mut sick).await;
    assert!(first.is_err());
    let copy = Copy {
        source: case.place(&from, "app"),
        target: case.place(&case.to, "app"),
        reference: "1".into(),
        tag: Some("1".into()),
        referrers: false,
    };
    tokio::select! {
        (ended, _) = &mut sick => panic!("{ended:?}"),
        copied = copy.run(Arc::default()) => drop(copied.unwrap()),
    }
    assert!(case.is_tagged("app"));
    assert!((120..150).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn what_is_asked_for_by_its_digest_is_that_or_nothing() {
    let other = sha256(b"other");
    for (said, expected) in [(&*other, false), ("sha256:x", true), ("md5:0123", true), ("", true)] {
        let case = Case::new().await;
        let digest = case.source.has("app", "1", &[b"layer"]);
        let said = said.to_owned();
        case.source.instead(Method::HEAD, "/manifests/", move || {
            [(crate::oci::manifest::DIGEST, said.clone())].into_response()
        });
        let copied = case.copy_by(&digest).await;
        assert_eq!(case.is_tagged("app"), expected);
        match expected {
            true => assert_eq!(*copied.unwrap().digest, digest),
            false => assert_eq!(copied, Err(CopyError::OtherContent(digest))),
        }
    }
    // A tag is read where nothing is said of its digest that could be one.
    let case = Case::new().await;
    let digest = case.source.has("app", "1", &[b"layer"]);
    case.source.instead(Method::HEAD, "/manifests/", || {
        [(crate::oci::manifest::DIGEST, "sha256:../x")].into_response()
    });
    assert_eq!(*case.copy_by("1").await.unwrap().digest, digest);
}

#[tokio::test]
async fn an_image_whose_contents_cannot_be_read_is_there_all_the_same() {
    let mut case = Case::new().await;
    case.source.has("app", "1", &[b"layer"]);
    case.copy("app").await.0.unwrap();
    case.client = Client::new(Roots::none());
    case.target
        .always(Method::GET, "/manifests/", status(StatusCode::FORBIDDEN));
    let copied = case.copy("app").await.0.unwrap();
    assert!(copied.was_there && copied.contents.is_none());
    case.target
        .always(Method::GET, "/blobs/", status(StatusCode::FORBIDDEN));
    let copied = case.copy("other").await.0.unwrap();
    assert!(!copied.was_there && copied.contents.is_none());
}

#[tokio::test]
async fn a_token_whose_time_is_over_is_renewed_once_for_a_blob() {
    for often in [false, true] {
        let mut case = Case::new().await;
        case.to = Served::plain(with_tokens(&case.target)).await;
        case.source.has("app", "1", &[b"layer"]);
        let over = || (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Bearer realm=\"/\"")]).into_response();
        let path = "/blobs/uploads/";
        match often {
            true => case.target.always(Method::PATCH, path, over),
            false => case.target.instead(Method::PATCH, path, over),
        }
        let copied = case.copy("app").await.0;
        assert_eq!(copied.is_ok(), !often, "{copied:?}");
        if often {
            assert!(matches!(copied, Err(CopyError::Denied { .. })), "{copied:?}");
            continue;
        }
        let asked = case.to.asked();
        let issued = asked.iter().filter(|(what, _)| what.starts_with("GET /token?")).count();
        // For reading what it is of as well, which takes another one.
        let scopes: std::collections::BTreeSet<_> = asked
            .iter()
            .filter(|(what, _)| what.starts_with("GET /token?"))
            .collect();
        assert_eq!(issued, scopes.len() + 1, "{asked:?}");
    }
}

#[tokio::test]
async fn an_image_that_would_fill_the_memory_is_refused() {
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let great = |number: usize| {
        let pad = "x".repeat(4_000_000);
        json!({"schemaVersion": 2, "mediaType": kind, "layers": [], "annotations": {"pad": pad, "number": number}})
    };
    let many = |number: usize| {
        let layer = |at: usize| json!({"digest": sha256(format!("{number} {at}").as_bytes()), "size": 1});
        let layers: Vec<Value> = (0..1_999).map(layer).collect();
        json!({"schemaVersion": 2, "mediaType": kind, "layers": layers})
    };
    let greats: Vec<Value> = (0..9).map(great).collect();
    let manies: Vec<Value> = (0..6).map(many).collect();
    for (manifests, expected) in [(greats, "32 MiB"), (manies, "10000 blobs")] {
        let case = Case::new().await;
        let of: Vec<String> = manifests
            .iter()
            .map(|manifest| case.source.put("app", "unused", kind, manifest.to_string()))
            .collect();
        let of: Vec<&str> = of.iter().map(String::as_str).collect();
        case.source.has_index("app", "1", &of);
        let error = case.copy("app").await.0.unwrap_err();
        assert!(matches!(error, CopyError::Unsupported(_)), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
        let asked = case.to.asked();
        assert!(asked.iter().all(|(what, _)| what.starts_with("HEAD ")), "{asked:?}");
    }
}
