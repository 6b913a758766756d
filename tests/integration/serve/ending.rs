//! The end: what is under way is finished.

use std::fs;
use std::io::{Read, Write};

use serde_json::Value;

use super::PRESET;
use crate::support::client::{Protocol, applied};
use crate::support::fixture;
use crate::support::program::Directory;
use crate::support::serving::Serving;

#[test]
fn sigterm_and_sigint_end_it_well() {
    for signal in ["TERM", "INT"] {
        let mut serving = Serving::start(Directory::new(), &PRESET);
        assert_eq!(serving.image(), "registry.cern.ch/docker.io/library/busybox");
        serving.signal(signal);
        assert_eq!(serving.ended().code(), Some(0), "SIG{signal}");
        serving.event("stopped");
    }
}

#[test]
fn a_review_that_is_under_way_at_sigterm_is_answered() {
    let mut serving = Serving::start(Directory::new(), &PRESET);
    let body = fs::read(fixture("pod-create.json")).unwrap();
    let mut connection = serving.client(Protocol::Http1).connect(serving.webhook);
    let head = format!(
        "POST /mutate HTTP/1.1\r\nHost: waypost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Expect: 100-continue\r\n\r\n",
        body.len()
    );
    connection.write_all(head.as_bytes()).unwrap();
    // It says that it has read the head and waits for the body: the request is under way.
    let mut go_on = [0; b"HTTP/1.1 100 Continue\r\n\r\n".len()];
    connection.read_exact(&mut go_on).unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    let (first, rest) = body.split_at(body.len() / 2);
    connection.write_all(first).unwrap();
    connection.flush().unwrap();
    serving.signal("TERM");
    serving.event("stopping: open connections are finished first");
    connection.write_all(rest).unwrap();
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, answered) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.to_ascii_lowercase().contains("connection: close"), "{head}");
    let review: Value = serde_json::from_slice(&body).unwrap();
    assert!(applied(answered.as_bytes(), &review).0.is_some());
    assert_eq!(serving.ended().code(), Some(0));
}

#[test]
fn draining_goes_on_answering_and_asks_clients_to_leave() {
    let directory = Directory::new();
    directory.write("waypost.yaml", "server: {webhook: {drain: 50ms}}\n");
    let mut serving = Serving::start(directory, &PRESET);
    assert_eq!(serving.admin("/drain").text(), "drained\n");
    assert!(
        serving
            .admin("/readyz?verbose")
            .text()
            .starts_with("[+]shutdown draining")
    );
    assert_eq!(serving.image(), "registry.cern.ch/docker.io/library/busybox");
    let mut connection = serving.client(Protocol::Http1).connect(serving.webhook);
    connection
        .write_all(b"GET / HTTP/1.1\r\nHost: waypost\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    // It ends, although the client did not ask for that.
    connection.read_to_string(&mut answer).unwrap();
    assert!(answer.to_ascii_lowercase().contains("connection: close"), "{answer}");
    serving.signal("TERM");
    assert_eq!(serving.ended().code(), Some(0));
}
