//! What a client may cost.

use super::*;

#[tokio::test]
async fn a_connection_without_a_request_is_closed_and_an_idle_one_is_not() {
    let fixture = Fixture::start(short(|limits| limits.first_request = Duration::from_millis(300))).await;
    let (mut idle1, mut idle2) = (fixture.http1().await, fixture.http2().await);
    idle1.get("/").await;
    idle2.get("/").await;
    // All of these begin after the idle ones, and are closed for their silence while those are not.
    assert_eq!(end_of(fixture.raw(H1).await).await, b"");
    let mut dripping = fixture.raw(H1).await;
    dripping.write_all(b"GET / HTTP/1.1\r\nhost: loc").await.unwrap();
    assert_eq!(end_of(dripping).await, b"");
    // This one says hello and then no more: the server's settings are all it gets.
    let silent = fixture.http2().await;
    soon(silent.closed).await.unwrap();
    assert_eq!(idle1.get("/").await, ok(Version::HTTP_11, false));
    assert_eq!(idle2.get("/").await, ok(Version::HTTP_2, false));
}

#[tokio::test]
async fn an_idle_connection_is_closed_in_the_end() {
    let fixture = Fixture::start(short(|limits| limits.idle = Duration::from_millis(200))).await;
    let (mut one, mut two) = (fixture.http1().await, fixture.http2().await);
    one.get("/").await;
    two.get("/").await;
    one.closed().await;
    assert!(soon(two.closed).await.unwrap(), "with a GOAWAY");
}

#[tokio::test]
async fn a_request_in_flight_is_not_idle() {
    let fixture = Fixture::start(short(|limits| limits.idle = Duration::from_millis(50))).await;
    let mut busy = fixture.http1().await;
    let gate = Arc::clone(&fixture.gate);
    let other = async {
        fixture.in_flight(1).await;
        // Another one is closed for being idle meanwhile.
        let mut idle = fixture.http1().await;
        idle.get("/").await;
        idle.closed().await;
        gate.add_permits(1);
    };
    let (answer, ()) = tokio::join!(busy.get("/wait"), other);
    assert_eq!(answer.text, "waited");
}

#[tokio::test]
async fn a_handshake_that_does_not_come_is_given_up_on() {
    let fixture = Fixture::start(short(|limits| limits.handshake = Duration::from_millis(100))).await;
    assert_eq!(end_of(TcpStream::connect(fixture.address).await.unwrap()).await, b"");
}

#[tokio::test]
async fn a_head_over_the_limit_is_refused() {
    let fixture = Fixture::start(short(|limits| limits.head = 16 << 10)).await;
    let mut stream = fixture.raw(H1).await;
    let head = format!(
        "GET / HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n",
        "x".repeat(20 << 10)
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    assert!(end_of(stream).await.starts_with(b"HTTP/1.1 431 "));
}

#[tokio::test]
async fn an_answer_is_read_by_a_client_that_is_still_sending() {
    let fixture = Fixture::start(Limits::default()).await;
    for length in ["content-length: 20000000", "transfer-encoding: chunked"] {
        let (mut reader, mut writer) = tokio::io::split(fixture.raw(H1).await);
        let sending = async {
            let head = format!("POST /upload HTTP/1.1\r\nhost: localhost\r\n{length}\r\n\r\n");
            writer.write_all(head.as_bytes()).await?;
            writer.write_all(b"1312d00\r\n").await?;
            writer.write_all(&vec![b'x'; 20_000_000]).await
        };
        let receiving = async {
            let mut received = Vec::new();
            let _ = reader.read_to_end(&mut received).await;
            received
        };
        let (_, received) = soon(async { tokio::join!(sending, receiving) }).await;
        let received = String::from_utf8_lossy(&received);
        assert!(
            received.starts_with("HTTP/1.1 413 ") && received.ends_with("too large"),
            "{length}: {received:?}"
        );
    }
}

#[tokio::test]
async fn connections_over_the_limit_wait_for_their_turn() {
    let fixture = Fixture::start(short(|limits| limits.connections = 1)).await;
    let mut first = fixture.http1().await;
    let mut second = Box::pin(fixture.http1());
    for _ in 0..20 {
        tokio::select! {
            biased;
            _ = &mut second => panic!("there is room for one only"),
            answer = first.get("/") => assert_eq!(answer, ok(Version::HTTP_11, false)),
        }
    }
    drop(first);
    assert_eq!(soon(second).await.get("/").await, ok(Version::HTTP_11, false));
}

/// The real webhook behind the real server, on both versions.
#[tokio::test]
async fn a_chunked_body_over_the_limit_is_refused_on_the_wire() {
    use crate::http::webhook::{self, Rejection, Reviewed, Reviewer};
    struct Length;
    impl Reviewer for Length {
        fn review<'a>(&'a self, body: &'a [u8]) -> Result<Reviewed<'a>, Rejection> {
            Ok(Reviewed::Now(body.len().to_string().into_bytes()))
        }
    }
    let router = webhook::router(Arc::new(Length), Arc::new(|_| ()), webhook::Limits::default());
    let server = Server::bind("test", "127.0.0.1:0".parse().unwrap(), router, Limits::default())
        .await
        .unwrap();
    let (address, lifecycle) = (server.local_addr(), Lifecycle::new(Duration::ZERO));
    let run = tokio::spawn(server.run(lifecycle.clone()));
    let post = async |bytes: usize| {
        let (sender, channel) = http_body_util::channel::Channel::<Bytes, std::io::Error>::new(1);
        let feed = async move {
            let mut sender = sender;
            let mut left = bytes;
            while left > 0 {
                let chunk = left.min(100_000);
                // Nobody listens any more once it has been refused.
                if sender.send_data(Bytes::from(vec![b'x'; chunk])).await.is_err() {
                    break;
                }
                left -= chunk;
            }
        };
        let mut client = Http1::over(TcpStream::connect(address).await.unwrap()).await;
        let mut request = request("/mutate?timeout=2s", Body::new(channel));
        *request.method_mut() = axum::http::Method::POST;
        request
            .headers_mut()
            .insert("content-type", axum::http::HeaderValue::from_static("application/json"));
        let answer = client.sender.send_request(request);
        let (answer, ()) = soon(async { tokio::join!(answer, feed) }).await;
        let answer = Answer::of(answer.unwrap()).await;
        (answer.status, answer.text)
    };
    assert_eq!(post(8 << 20).await, (200, (8 << 20).to_string()));
    assert_eq!(
        post((8 << 20) + 1).await,
        (413, "the body is larger than 8388608 bytes\n".to_owned())
    );
    lifecycle.stop();
    soon(run).await.unwrap();
}
