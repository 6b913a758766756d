//! The start: what is printed to go on with, and what keeps it from starting.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::PRESET;
use crate::support::client::{Protocol, applied};
use crate::support::program::{Directory, finish};
use crate::support::serving::{PORTS, Serving, message};
use crate::support::{ALL_IMAGES, fixture};

/// A directory with the review that a checkout has.
fn checkout() -> Directory {
    let directory = Directory::new();
    let review = fs::read(fixture(ALL_IMAGES)).unwrap();
    directory.write(&format!("tests/fixtures/reviews/{ALL_IMAGES}"), review);
    directory
}

/// What comes after a text in the log.
fn printed(serving: &mut Serving, before: &str) -> String {
    let event = serving.event(before);
    message(&event).split_once(before).unwrap().1.to_owned()
}

#[test]
fn the_curl_command_that_is_printed_works_as_it_is() {
    let mut serving = Serving::start(checkout(), &PRESET);
    let command = printed(&mut serving, "try it: ");
    let here = serving.directory().path();
    let answer = if Command::new("curl").arg("--version").output().is_ok() {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{command} --silent --show-error --fail")]);
        shell.current_dir(here);
        finish(shell, b"").exits(0).stdout
    } else {
        as_curl(&serving, &command, here)
    };
    let review: Value = serde_json::from_slice(&fs::read(fixture(ALL_IMAGES)).unwrap()).unwrap();
    let (patch, _) = applied(&answer, &review);
    assert!(patch.is_some());
}

/// Where there is no curl: what it would do.
fn as_curl(serving: &Serving, command: &str, here: &Path) -> Vec<u8> {
    eprintln!("there is no curl on this machine: its arguments are read instead");
    let words: Vec<&str> = command.split(' ').collect();
    let url = format!("https://{}/mutate", serving.webhook);
    let [
        "curl",
        "--cacert",
        ca,
        "-H",
        "'Content-Type:",
        "application/json'",
        "--data",
        data,
        to,
    ] = words[..]
    else {
        panic!("{command}");
    };
    assert_eq!((ca, to), ("certs/local/ca.crt", &*url));
    let body = fs::read(here.join(data.strip_prefix('@').unwrap())).unwrap();
    serving
        .client(Protocol::Http1)
        .post(serving.webhook, body)
        .unwrap()
        .body
}

#[test]
fn the_kubectl_command_that_is_printed_registers_this_very_process() {
    let mut serving = Serving::start(Directory::new(), &[&PRESET[..], &["--tls-dir", "elsewhere"]].concat());
    let command = printed(&mut serving, "register it with the cluster of your kubeconfig: ");
    let directory = serving.directory();
    let stub = directory.write(
        "bin/kubectl",
        "#!/bin/sh\n[ \"$*\" = 'apply -f -' ] && cat > applied.yaml\n",
    );
    fs::set_permissions(&stub, fs::Permissions::from_mode(0o755)).unwrap();
    let mut shell = Command::new("sh");
    let path = format!(
        "{}:{}",
        stub.parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    shell
        .args(["-c", &command])
        .env("PATH", path)
        .current_dir(directory.path());
    finish(shell, b"").exits(0).silent();
    let applied = fs::read_to_string(directory.path().join("applied.yaml")).unwrap();
    assert!(applied.contains("kind: MutatingWebhookConfiguration"), "{applied}");
    assert!(
        applied.contains(&format!("url: https://{}/mutate", serving.webhook)),
        "{applied}"
    );
}

#[test]
fn a_second_start_uses_the_certificate_of_the_first() {
    let first = Serving::start(Directory::new(), &PRESET);
    let certs = first.directory().path().join("certs/local");
    let before = fs::read(certs.join("tls.crt")).unwrap();
    let mode = fs::metadata(certs.join("tls.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let directory = Directory::new();
    let certs = certs.display().to_string();
    let mut second = Serving::start(directory, &["--tls-dir", &certs]);
    second.event("using the certificate in");
    let served = first.client(Protocol::Http1).post(second.webhook, Vec::new()).unwrap();
    assert_eq!(served.status, 400);
    assert_eq!(fs::read(Path::new(&certs).join("tls.crt")).unwrap(), before);
}

#[test]
fn policies_with_mistakes_end_it_before_a_port_is_opened() {
    let directory = Directory::new();
    directory.write(
        "policies.d/a.yaml",
        super::through("r.io").replace("docker.io", "docker.io/*/*-{x}"),
    );
    directory.write("policies.d/b.yaml", super::through("r.io").replace("prefix", "prefx"));
    // Ports that are taken: opening them would be another complaint.
    let taken = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [webhook, admin] = taken.each_ref().map(|taken| taken.local_addr().unwrap().to_string());
    let ended = directory
        .run(["serve", "--webhook-listen", &webhook, "--admin-listen", &admin])
        .exits(2)
        .complains("policies.d/b.yaml:6:")
        .complains("did you mean `prefix`?");
    assert!(!ended.stderr.contains("cannot be opened"), "{}", ended.stderr);
    assert!(!directory.path().join("certs").exists());
    assert_eq!(ended.out(), "");
}

#[test]
fn a_port_that_is_taken_is_named_with_its_key() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (flag, key) in [
        ("--webhook-listen", "server.webhook.listen"),
        ("--admin-listen", "server.admin.listen"),
        ("--api-listen", "server.api.listen"),
    ] {
        let others = ["--webhook-listen", "--admin-listen", "--api-listen"]
            .into_iter()
            .filter(|other| *other != flag)
            .flat_map(|other| [other, "127.0.0.1:0"]);
        Directory::new()
            .run(["serve", flag, &address].into_iter().chain(others))
            .exits(2)
            .complains(&format!("port cannot be opened on {address}: Address already in use"))
            .complains(&format!("`{key}`"))
            .complains("is another process listening there?");
    }
}

#[test]
fn certificates_that_cannot_be_served_end_it() {
    let directory = Directory::new();
    directory.write("certs/local/tls.crt", "no certificate");
    let run = |directory: &Directory| directory.run(["serve"].iter().chain(&PORTS)).exits(2);
    run(&directory).complains("has tls.crt but no ca.crt and tls.key");
    directory.write("certs/local/tls.key", "no key");
    run(&directory).complains("certs/local/tls.crt");
}
