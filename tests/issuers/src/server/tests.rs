use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
};

use super::*;

struct Hello;

impl Answers for Hello {
    async fn answer(&self, _: Request<Incoming>) -> Response<Body> {
        text(StatusCode::OK, "text/plain", "hello")
    }
}

/// What one connection gets for one request; nothing where it ends before.
fn ask(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

#[test]
fn while_it_is_down_connections_are_refused_and_it_comes_back_to_the_same_port() {
    let server = Server::start(Ipv4Addr::LOCALHOST.into(), |_| Hello);
    let mut open = TcpStream::connect(server.address).unwrap();
    for _ in 0..3 {
        assert!(ask(server.address).ends_with("hello"));
        server.down();
        server.down();
        let refused = TcpStream::connect(server.address).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        server.up();
        server.up();
    }
    assert_eq!(open.read(&mut [0]).unwrap_or(0), 0, "what was open has ended");
    assert!(ask(server.address).ends_with("hello"));
    assert_eq!(server.calls(), (4, 0));
}

#[test]
fn half_of_its_calls_fail_when_they_are_to_in_either_way() {
    let server = Server::start(Ipv4Addr::LOCALHOST.into(), |_| Hello);
    server.fails(Fault::Half);
    let answers: Vec<_> = (0..400).map(|_| ask(server.address)).collect();
    let count = |holds: fn(&&String) -> bool| answers.iter().filter(holds).count();
    let [good, busy, lost] = [
        count(|answer| answer.ends_with("hello")),
        count(|answer| answer.starts_with("HTTP/1.1 503 ")),
        count(|answer| answer.is_empty()),
    ];
    assert_eq!(good + busy + lost, 400);
    // By chance it is otherwise once in a thousand million runs.
    assert!(
        (140..260).contains(&good) && busy > 40 && lost > 40,
        "{good} {busy} {lost}"
    );
    assert_eq!(server.calls(), (400, (busy + lost) as u64));
    server.fails(Fault::Status(500));
    assert!(ask(server.address).starts_with("HTTP/1.1 500 "));
}
