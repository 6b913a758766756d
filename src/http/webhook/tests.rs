use std::sync::Mutex;

use axum::http::Method;
use http_body_util::Full;
use http_body_util::channel::Channel;
use hyper::body::Frame;
use tower::ServiceExt;

use super::*;

/// Answers with the length of the body, and refuses what says so.
struct Echo;

impl Reviewer for Echo {
    fn review<'a>(&'a self, body: &'a [u8]) -> Result<Reviewed<'a>, Rejection> {
        match body {
            b"no uid" => Err(Rejection::bad_request("no uid")),
            body => Ok(Reviewed::Now(body.to_vec())),
        }
    }
}

struct Webhook {
    router: Router,
    rejections: Arc<Mutex<Vec<RejectionKind>>>,
}

impl Webhook {
    fn new() -> Self {
        let rejections = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&rejections);
        let observer: Observer = Arc::new(move |rejection| seen.lock().unwrap().push(rejection.kind));
        let limits = Limits {
            body: 64,
            ..Limits::default()
        };
        Self {
            router: router(Arc::new(Echo), observer, limits),
            rejections,
        }
    }

    /// Status, headers and text of the answer; and what the observer was told meanwhile.
    async fn ask(&self, request: axum::http::request::Builder, body: Body) -> Answer {
        let response = self.router.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.into_body().collect().await.unwrap().to_bytes();
        let rejections = std::mem::take(&mut *self.rejections.lock().unwrap());
        Answer {
            status,
            headers,
            text: String::from_utf8(text.to_vec()).unwrap(),
            rejections,
        }
    }

    async fn post(&self, body: Body) -> Answer {
        self.ask(post_to("/mutate", "application/json"), body).await
    }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    text: String,
    rejections: Vec<RejectionKind>,
}

fn post_to(path: &str, content_type: &str) -> axum::http::request::Builder {
    Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(CONTENT_TYPE, content_type)
}

fn chunks(chunks: &'static [&'static str]) -> Body {
    let (mut sender, channel) = Channel::<Bytes, std::io::Error>::new(chunks.len().max(1));
    for chunk in chunks {
        sender
            .try_send(Frame::data(Bytes::from_static(chunk.as_bytes())))
            .unwrap();
    }
    drop(sender);
    Body::new(channel)
}

#[tokio::test]
async fn a_review_is_answered_with_json() {
    let answer = Webhook::new().post(Body::from("{}")).await;
    assert_eq!((answer.status, answer.text.as_str()), (200, "{}"));
    assert_eq!(answer.headers[CONTENT_TYPE], "application/json");
    assert_eq!(answer.rejections, []);
}

#[tokio::test]
async fn the_time_out_in_the_query_is_ignored() {
    let answer = Webhook::new()
        .ask(post_to("/mutate?timeout=2s", "application/json"), Body::from("{}"))
        .await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_media_type_is_compared_without_case_and_parameters() {
    let webhook = Webhook::new();
    for (content_type, expected) in [
        ("application/json", 200),
        ("Application/JSON", 200),
        ("application/json; charset=utf-8", 200),
        ("application/json ;charset=UTF-8", 200),
        ("application/jsonp", 415),
        ("application/json+x", 415),
        ("text/plain", 415),
        ("", 415),
    ] {
        let answer = webhook.ask(post_to("/mutate", content_type), Body::from("{}")).await;
        assert_eq!(answer.status, expected, "{content_type}");
        let rejections: &[_] = if expected == 415 {
            &[RejectionKind::UnsupportedMediaType]
        } else {
            &[]
        };
        assert_eq!(answer.rejections, rejections, "{content_type}");
    }
    let answer = webhook.ask(Request::post("/mutate"), Body::from("{}")).await;
    assert_eq!(
        (answer.status, answer.text.as_str()),
        (415, "no Content-Type, expected application/json\n")
    );
}

#[tokio::test]
async fn a_body_of_exactly_the_limit_is_read_and_one_byte_more_is_not() {
    let webhook = Webhook::new();
    assert_eq!(webhook.post(Body::from("x".repeat(64))).await.text.len(), 64);
    let answer = webhook.post(Body::from("x".repeat(65))).await;
    assert_eq!(
        (answer.status, answer.text.as_str()),
        (413, "the body is larger than 64 bytes\n")
    );
    assert_eq!(answer.rejections, [RejectionKind::BodyTooLarge]);
}

#[tokio::test]
async fn a_length_over_the_limit_is_refused_before_anything_is_read() {
    struct Announced;
    impl HttpBody for Announced {
        type Data = Bytes;
        type Error = std::io::Error;
        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            panic!("read")
        }
        fn size_hint(&self) -> hyper::body::SizeHint {
            hyper::body::SizeHint::with_exact(65)
        }
    }
    assert_eq!(Webhook::new().post(Body::new(Announced)).await.status, 413);
}

#[tokio::test]
async fn chunks_are_put_together_and_counted() {
    let webhook = Webhook::new();
    assert_eq!(webhook.post(chunks(&[])).await.text, "");
    assert_eq!(webhook.post(chunks(&["ab"])).await.text, "ab");
    assert_eq!(webhook.post(chunks(&["ab", "", "cd", "e"])).await.text, "abcde");
    let answer = webhook
        .post(chunks(&[
            "0123456789012345678901234567890",
            "0123456789012345678901234567890",
            "012",
        ]))
        .await;
    assert_eq!(
        (answer.status, answer.rejections),
        (413, vec![RejectionKind::BodyTooLarge])
    );
}

#[tokio::test]
async fn a_single_frame_reaches_the_reviewer_uncopied() {
    struct At(usize);
    impl Reviewer for At {
        fn review<'a>(&'a self, body: &'a [u8]) -> Result<Reviewed<'a>, Rejection> {
            assert_eq!(body.as_ptr().addr(), self.0);
            Ok(Reviewed::Now(Vec::new()))
        }
    }
    let body = Bytes::from(vec![b'x'; 50]);
    let router = router(Arc::new(At(body.as_ptr().addr())), Arc::new(|_| ()), Limits::default());
    let request = post_to("/mutate", "application/json")
        .body(Body::new(Full::new(body)))
        .unwrap();
    assert_eq!(router.oneshot(request).await.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_is_given_up_on() {
    let (_kept_open, channel) = Channel::<Bytes, std::io::Error>::new(1);
    let answer = Webhook::new().post(Body::new(channel)).await;
    assert_eq!(
        (answer.status, answer.text.as_str()),
        (408, "the body did not arrive within 10 s\n")
    );
    assert_eq!(answer.rejections, [RejectionKind::BodyTimeout]);
}

#[tokio::test]
async fn a_body_that_is_cut_off_is_a_bad_request() {
    let (mut sender, channel) = Channel::<Bytes, std::io::Error>::new(1);
    sender.try_send(Frame::data(Bytes::from_static(b"{"))).unwrap();
    sender.abort(std::io::Error::other("reset"));
    let answer = Webhook::new().post(Body::new(channel)).await;
    assert_eq!(
        (answer.status, answer.text.as_str()),
        (400, "the body was cut off: reset\n")
    );
    assert_eq!(answer.rejections, [RejectionKind::BadRequest]);
}

#[tokio::test]
async fn what_the_reviewer_refuses_is_counted_once() {
    let answer = Webhook::new().post(Body::from("no uid")).await;
    assert_eq!((answer.status, answer.text.as_str()), (400, "no uid\n"));
    assert_eq!(answer.rejections, [RejectionKind::BadRequest]);
    assert!(answer.headers[CONTENT_TYPE].to_str().unwrap().starts_with("text/plain"));
}

#[tokio::test]
async fn other_methods_and_paths_are_told_where_reviews_go() {
    let webhook = Webhook::new();
    for method in [Method::GET, Method::PUT, Method::DELETE, Method::OPTIONS] {
        let answer = webhook
            .ask(Request::builder().method(method).uri("/mutate"), Body::empty())
            .await;
        assert_eq!(
            (answer.status, &answer.headers[ALLOW]),
            (405, &HeaderValue::from_static("POST"))
        );
        assert_eq!(answer.text, "reviews are sent with POST\n");
    }
    for path in ["/", "/mutate/", "/validate", "/readyz"] {
        let answer = webhook.ask(post_to(path, "application/json"), Body::from("{}")).await;
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(
            answer.text,
            format!("nothing at {path}: AdmissionReviews go to POST /mutate\n")
        );
        assert_eq!(answer.rejections, []);
    }
}

#[test]
fn a_reason_stays_on_its_line() {
    assert_eq!(line("a\r\nb\tc"), "a  b c\n");
}
