//! What it is like over a connection.

use std::{process::Command, time::Duration};

use super::{ADMIN, Api, PUSH, impatient};
use crate::support::{
    client::{Client, Protocol},
    eventually,
    program::{Directory, finish},
};

impl Api {
    pub(super) fn client(&self) -> Client {
        Client::new(&self.authority(), Protocol::Http1)
    }
}

#[test]
fn head_is_get_without_the_body_in_either_protocol() {
    let api = Api::start(impatient());
    let authorization = format!("Bearer {ADMIN}");
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let client = Client::new(&api.authority(), protocol);
        let ask = |method| {
            let headers = [("authorization", &*authorization)];
            client
                .request(api.address, method, "/v1/registries", &headers, "")
                .unwrap()
        };
        let (get, head) = (ask("GET"), ask("HEAD"));
        assert_eq!((get.status, head.status), (200, 200));
        assert_eq!(
            (get.text().as_str(), head.text().as_str()),
            ("{\"items\":[],\"next\":null}", "")
        );
        assert_eq!(head.headers["content-length"], "24");
    }
}

#[test]
fn the_commands_of_the_documentation_do_what_it_says() {
    let api = Api::start(impatient());
    let directory = Directory::new();
    directory.write("data/admin.token", format!("{ADMIN}\n"));
    directory.write("certs/local/ca.crt", std::fs::read(api.authority()).unwrap());
    let documentation = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/api.md")).unwrap();
    let mut script = String::new();
    for block in documentation.split("```sh\n").skip(1) {
        script.push_str(block.split("```").next().unwrap());
        script.push_str("\necho\n");
    }
    let commands = script.matches("curl --config").count();
    let mut shell = Command::new("sh");
    shell.arg("-eu").current_dir(directory.path());
    let script = script.replace("https://localhost:8444", &api.url());
    let finished = finish(shell, script.as_bytes()).exits(0);
    let answers: Vec<serde_json::Value> = serde_json::Deserializer::from_str(finished.out())
        .into_iter()
        .map(Result::unwrap)
        .collect();
    // Nothing is said of what is gone.
    assert_eq!((commands, answers.len()), (8, 7), "{finished:?}");
    let (pushes, registries): (Vec<_>, Vec<_>) = answers
        .iter()
        .map(|answer| {
            if answer["items"].is_array() {
                &answer["items"][0]
            } else {
                answer
            }
        })
        .partition(|answer| answer["registry_id"].is_string());
    for (registry, admitted) in registries.iter().zip(["null", "null", "null", "[\"reana-*\"]"]) {
        assert_eq!(registry["id"], "cern-prod");
        assert_eq!(
            (
                &registry["has_pull_credential"],
                registry["namespaces"]["names"].to_string()
            ),
            (&true.into(), admitted.to_owned())
        );
    }
    assert_eq!((registries.len(), pushes.len()), (4, 3));
    // Nobody copies here.
    let (copy, pushes) = pushes.split_first().unwrap();
    assert_eq!(
        (&copy["image"], &copy["last_attempt"]["state"]),
        (&"quay.io/prometheus/busybox:latest".into(), &"PENDING".into())
    );
    let shown = documentation
        .split("```json\n")
        .find(|block| block.starts_with("{\n  \"id\"") && block.contains("\"last_attempt\": {"))
        .unwrap();
    let shown: serde_json::Value = serde_json::from_str(shown.split("```").next().unwrap()).unwrap();
    assert!(pushes.iter().all(|push| **push == shown), "{pushes:?}");
}

#[test]
fn what_is_on_its_way_when_the_process_stops_is_answered() {
    let api = Api::start(impatient());
    let body = r#"{"name": "late"}"#;
    let mut stream = api.client().connect(api.address);
    let head = format!(
        "POST /v1/registries HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ADMIN}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    std::io::Write::write_all(&mut stream, head.as_bytes()).unwrap();
    std::io::Write::write_all(&mut stream, &body.as_bytes()[..4]).unwrap();
    api.lifecycle.stop();
    // Nobody new gets in.
    eventually("the end of the port", || {
        std::net::TcpStream::connect(api.address).err()
    });
    std::io::Write::write_all(&mut stream, &body.as_bytes()[4..]).unwrap();
    let mut reply = String::new();
    // The peer's end without a goodbye is none of the test's business.
    let _ = std::io::Read::read_to_string(&mut stream, &mut reply);
    assert!(reply.starts_with("HTTP/1.1 201 Created\r\n"), "{reply}");
    let stopped = api.runtime.block_on(api.stopped).unwrap();
    assert_eq!(stopped.cut, 0);
}

#[test]
fn who_guesses_waits_and_who_knows_does_not() {
    let mut limits = impatient();
    limits.patience.first = Duration::from_secs(3600);
    limits.patience.most = Duration::from_secs(3600);
    limits.deadline = Duration::from_secs(3600);
    let api = Api::start(limits);
    let ask = |token: &str| {
        let authorization = format!("Bearer {token}");
        let headers = [("authorization", &*authorization)];
        api.client()
            .request(api.address, "GET", "/v1/registries", &headers, "")
            .unwrap()
            .status
    };
    // As many as wait at once, from the same address.
    let mut guesses: Vec<_> = (0..64)
        .map(|_| {
            let mut stream = api.client().connect(api.address);
            let request = "GET /v1/registries HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer guess\r\n\r\n";
            std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
            stream
        })
        .collect();
    eventually("a refusal at once", || {
        // Until all of them wait, one more would wait as well.
        let mut stream = api.client().connect(api.address);
        stream.sock.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let request = "GET /v1/registries HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer guess\r\n\r\n";
        std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
        let mut begin = [0; 12];
        match std::io::Read::read_exact(&mut stream, &mut begin) {
            Ok(()) => {
                assert_eq!(&begin, b"HTTP/1.1 429");
                Some(())
            }
            Err(_) => {
                guesses.push(stream);
                None
            }
        }
    });
    assert_eq!((ask(ADMIN), ask(PUSH)), (200, 200));
    api.lifecycle.abort();
}
