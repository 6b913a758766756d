//! `waypost reference`: one line in, one line of JSON out.

use serde_json::{Value, json};

use crate::support::program::Directory;

fn lines(stdin: &[u8]) -> Vec<Value> {
    let finished = Directory::new().feed(["reference"], stdin);
    assert_eq!(finished.stderr, "");
    let parsed = finished.out().lines().map(|line| serde_json::from_str(line).unwrap());
    let parsed: Vec<Value> = parsed.collect();
    let refused = parsed.iter().any(|line| !line["error"].is_null());
    assert_eq!(finished.code, Some(i32::from(refused)));
    parsed
}

fn kinds(stdin: &[u8]) -> Vec<String> {
    let kind = |line: Value| match line.pointer("/error/kind") {
        Some(kind) => kind.as_str().unwrap().to_owned(),
        None => line["canonical"].as_str().unwrap().to_owned(),
    };
    lines(stdin).into_iter().map(kind).collect()
}

#[test]
fn each_line_is_a_reference_and_nothing_is_trimmed_or_skipped() {
    let alpine = "docker.io/library/alpine";
    let rows: [(&[u8], &[&str]); 9] = [
        (b"", &[]),
        (b"alpine\n", &[alpine]),
        (b"alpine", &[alpine]),
        (b"alpine\n\nalpine\n", &[alpine, "empty", alpine]),
        (b"\n", &["empty"]),
        (
            b" alpine\nalpine \n\talpine\n",
            &["whitespace", "whitespace", "whitespace"],
        ),
        (b"alpine\r\n", &["whitespace"]),
        (b"\xff\xfe\nalpine", &["not_utf8", alpine]),
        (b"alpine\nUPPER", &[alpine, "upper_case_repository"]),
    ];
    for (stdin, expected) in rows {
        assert_eq!(kinds(stdin), expected, "{:?}", String::from_utf8_lossy(stdin));
    }
}

#[test]
fn a_line_says_every_part() {
    let digest = format!("sha256:{}", "0a".repeat(32));
    let reference = format!("index.docker.io/alpine:3.20@{digest}");
    assert_eq!(
        lines(reference.as_bytes()),
        [json!({
            "input": reference,
            "registry": "docker.io",
            "repository": "library/alpine",
            "tag": "3.20",
            "digest": digest,
            "canonical": format!("docker.io/library/alpine:3.20@{digest}"),
            "familiar": format!("alpine:3.20@{digest}"),
        })]
    );
}

#[test]
fn the_carriage_return_of_a_line_is_part_of_what_was_given() {
    assert_eq!(lines(b"alpine\r\n")[0]["input"], "alpine\r");
}

#[test]
fn arguments_are_references_as_well_and_a_dash_is_stdin() {
    let directory = Directory::new();
    let as_arguments = directory.run(["reference", "alpine", "quay.io/x:1"]).exits(0);
    let as_lines = directory.feed(["reference"], b"alpine\nquay.io/x:1\n").exits(0);
    let by_dash = directory.feed(["reference", "-"], b"alpine\nquay.io/x:1").exits(0);
    assert_eq!(as_arguments.out(), as_lines.out());
    assert_eq!(as_arguments.out(), by_dash.out());
}

#[test]
fn each_line_is_answered_before_the_next_is_read() {
    use std::io::{BufRead, BufReader, Write};
    use std::process::Stdio;

    let directory = Directory::new();
    let mut child = directory
        .command(["reference"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    for image in ["alpine", "busybox"] {
        writeln!(stdin, "{image}").unwrap();
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert!(line.contains(image), "{line}");
    }
    drop(stdin);
    assert!(child.wait().unwrap().success());
}
