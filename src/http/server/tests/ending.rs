//! Draining, stopping and aborting.

use super::*;

#[tokio::test]
async fn draining_asks_http1_to_leave_after_its_next_answer() {
    let fixture = Fixture::start(Limits::default()).await;
    let mut old = fixture.http1().await;
    old.get("/").await;
    let lifecycle = fixture.lifecycle.clone();
    let drain = tokio::spawn(async move { lifecycle.drain().await });
    soon(fixture.lifecycle.reached(Phase::Draining)).await;
    assert_eq!(old.get("/").await, ok(Version::HTTP_11, true));
    old.closed().await;
    let mut new = fixture.http1().await;
    assert!(new.get("/missing").await.closes, "every answer, whatever it says");
    new.closed().await;
    drain.abort();
}

#[tokio::test]
async fn draining_tells_http2_to_go_away_and_serves_what_comes_new() {
    let fixture = Fixture::start(Limits::default()).await;
    let (mut idle, mut busy) = (fixture.http2().await, fixture.http2().await);
    idle.get("/").await;
    busy.get("/").await;
    let pending = busy.get("/wait");
    let draining = async {
        fixture.in_flight(1).await;
        let _ = tokio::time::timeout(Duration::ZERO, fixture.lifecycle.drain()).await;
        assert!(soon(idle.closed).await.unwrap());
        let mut new = fixture.http2().await;
        assert_eq!(new.get("/").await, ok(Version::HTTP_2, false));
        assert!(soon(new.closed).await.unwrap(), "after its first request");
        fixture.gate.add_permits(1);
    };
    let (answer, ()) = tokio::join!(pending, draining);
    assert_eq!(answer.text, "waited");
    assert!(soon(busy.closed).await.unwrap());
    assert_eq!(fixture.lifecycle.phase(), Phase::Draining);
}

#[tokio::test]
async fn after_a_drain_connections_are_accepted_until_the_process_stops() {
    let fixture = Fixture::start(Limits::default()).await;
    let lifecycle = Lifecycle::new(Duration::ZERO);
    let router = Router::new().route("/", get(async || "ok"));
    let server = Server::bind("test", "127.0.0.1:0".parse().unwrap(), router, Limits::default())
        .await
        .unwrap();
    let address = server.local_addr();
    let run = tokio::spawn(server.run(lifecycle.clone()));
    soon(lifecycle.drain()).await;
    let mut client = Http1::over(TcpStream::connect(address).await.unwrap()).await;
    assert_eq!(client.get("/").await, ok(Version::HTTP_11, true));
    lifecycle.stop();
    assert_eq!(soon(run).await.unwrap(), Stopped { cut: 0 });
    TcpStream::connect(address).await.unwrap_err();
    drop(fixture);
}

/// Limits under which a test that waited for them would fail.
fn patient() -> Limits {
    short(|limits| limits.stop = Duration::from_secs(600))
}

#[tokio::test]
async fn with_no_connection_open_the_end_comes_at_once() {
    let fixture = Fixture::start(patient()).await;
    let mut client = fixture.http1().await;
    client.get("/").await;
    drop(client);
    fixture.lifecycle.stop();
    assert_eq!(fixture.stopped().await, Stopped { cut: 0 });
}

#[tokio::test]
async fn an_idle_connection_is_answered_while_stopping_and_asked_to_leave() {
    let fixture = Fixture::start(patient()).await;
    let (mut idle, mut other) = (fixture.http1().await, fixture.http2().await);
    idle.get("/").await;
    other.get("/").await;
    fixture.lifecycle.stop();
    // HTTP/2 can be told without losing anything; and once it has been, nothing new is accepted any more.
    assert!(soon(other.closed).await.unwrap());
    soon(async { while TcpStream::connect(fixture.address).await.is_ok() {} }).await;
    assert!(!fixture.run.is_finished());
    assert_eq!(idle.get("/").await, ok(Version::HTTP_11, true));
    idle.closed().await;
    assert_eq!(fixture.stopped().await, Stopped { cut: 0 });
}

#[tokio::test]
async fn an_idle_connection_that_stays_idle_is_closed_before_the_time_is_up() {
    let fixture = Fixture::start(short(|limits| limits.stop = Duration::from_millis(400))).await;
    let mut idle = fixture.http1().await;
    idle.get("/").await;
    // Has no request to wait for yet, either.
    let unused = fixture.raw(H1).await;
    let handshaking = TcpStream::connect(fixture.address).await.unwrap();
    fixture.lifecycle.stop();
    idle.closed().await;
    end_of(unused).await;
    end_of(handshaking).await;
    assert_eq!(fixture.stopped().await, Stopped { cut: 0 });
}

#[tokio::test]
async fn a_request_in_flight_is_finished_before_the_end() {
    let fixture = Fixture::start(patient()).await;
    let (mut one, mut two) = (fixture.http1().await, fixture.http2().await);
    let stop = async {
        fixture.in_flight(2).await;
        fixture.lifecycle.stop();
        soon(async { while TcpStream::connect(fixture.address).await.is_ok() {} }).await;
        fixture.gate.add_permits(2);
    };
    let (one, two, ()) = tokio::join!(one.get("/wait"), two.get("/wait"), stop);
    assert_eq!((one.text.as_str(), one.closes), ("waited", true));
    assert_eq!((two.text.as_str(), two.closes), ("waited", false));
    assert_eq!(fixture.stopped().await, Stopped { cut: 0 });
}

#[tokio::test]
async fn a_request_that_never_ends_is_cut_when_the_time_is_up() {
    let fixture = Fixture::start(short(|limits| limits.stop = Duration::from_millis(200))).await;
    let (mut one, mut two) = (fixture.http1().await, fixture.http2().await);
    let requests = (request("/wait", Body::empty()), request("/wait", Body::empty()));
    let (one, two) = (one.sender.send_request(requests.0), two.sender.send_request(requests.1));
    let stop = async {
        fixture.in_flight(2).await;
        fixture.lifecycle.stop();
    };
    let (one, two, ()) = soon(async { tokio::join!(one, two, stop) }).await;
    one.unwrap_err();
    two.unwrap_err();
    assert_eq!(fixture.stopped().await, Stopped { cut: 2 });
}

#[tokio::test]
async fn aborting_cuts_everything_at_once() {
    let fixture = Fixture::start(patient()).await;
    let mut client = fixture.http1().await;
    let answer = client.sender.send_request(request("/wait", Body::empty()));
    let abort = async {
        fixture.in_flight(1).await;
        fixture.lifecycle.stop();
        fixture.lifecycle.abort();
    };
    let (answer, ()) = soon(async { tokio::join!(answer, abort) }).await;
    answer.unwrap_err();
    assert_eq!(fixture.stopped().await, Stopped { cut: 1 });
}

#[tokio::test]
async fn what_waits_in_the_backlog_is_served_before_the_port_closes() {
    let fixture = Fixture::start(patient()).await;
    // This test has the only thread, so the server has not accepted this one when it is told to stop.
    let stream = std::net::TcpStream::connect(fixture.address).unwrap();
    fixture.lifecycle.stop();
    stream.set_nonblocking(true).unwrap();
    let stream = TcpStream::from_std(stream).unwrap();
    let connector = TlsConnector::from(Arc::new(client(&fixture.authority.pem, None, H1)));
    let stream = soon(connector.connect(ServerName::try_from("localhost").unwrap(), stream))
        .await
        .unwrap();
    let mut client = Http1::over(stream).await;
    assert_eq!(client.get("/").await, ok(Version::HTTP_11, true));
    drop(client);
    assert_eq!(fixture.stopped().await, Stopped { cut: 0 });
}
