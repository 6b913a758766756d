//! Waypost reads image references as the Go implementation does that the kubelet and containerd use.
//!
//! The program in `tests/conformance/reference` prints what Go makes of each line; every verdict and every part of it is
//! compared with ours. Where the two disagree, ours is wrong.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use waypost::reference::lines;

use crate::support::random::Random;

#[test]
fn the_fixtures_are_read_as_by_go() {
    compare("fixtures", include_str!("../fixtures/references.txt"));
}

#[test]
fn every_short_text_over_the_grammars_characters_is_read_as_by_go() {
    let mut inputs = String::new();
    let mut layer = vec![String::new()];
    for _ in 0..5 {
        layer = layer
            .iter()
            .flat_map(|text| "aA0.:/@_-[]".chars().map(move |c| format!("{text}{c}")))
            .collect();
        for text in &layer {
            inputs.push_str(text);
            inputs.push('\n');
        }
    }
    compare("short", &inputs);
}

#[test]
fn mutations_of_the_grammar_are_read_as_by_go() {
    let mut random = Random::new(0x5eed_0f7a_9057);
    let mut inputs = String::new();
    for _ in 0..200_000 {
        inputs.push_str(&random.mutated_reference());
        inputs.push('\n');
    }
    let accepted = compare("mutations", &inputs);
    // A generator that yields only one verdict would prove little.
    assert!((50_000..150_000).contains(&accepted), "{accepted} accepted");
}

/// Asserts that Go and Waypost say the same of every line; how many are valid references.
fn compare(name: &str, inputs: &str) -> usize {
    let mut ours = Vec::new();
    lines::run(inputs.as_bytes(), &mut ours).unwrap();
    let ours = String::from_utf8(ours).unwrap();
    let go = read_by_go(name, inputs);
    assert_eq!(go.lines().count(), inputs.lines().count(), "lines from Go");
    assert_eq!(go.lines().count(), ours.lines().count(), "lines from us");

    let mut accepted = 0;
    let mut differences = Vec::new();
    for (go, ours) in go.lines().zip(ours.lines()) {
        // An accepted reference is plain ASCII, of which both write the very same JSON.
        if go == ours {
            accepted += 1;
        } else if !(is_refused(go) && is_refused(ours)) {
            differences.push(format!("Go:      {go}\nWaypost: {ours}\n"));
        }
    }
    assert!(
        differences.is_empty(),
        "{} differences, among them\n{}",
        differences.len(),
        differences[..differences.len().min(20)].join("\n"),
    );
    accepted
}

fn is_refused(line: &str) -> bool {
    let object: serde_json::Value = serde_json::from_str(line).unwrap();
    object.get("error").is_some()
}

/// What the Go program prints for these lines. Through files: with pipes both sides could wait for each other.
fn read_by_go(name: &str, inputs: &str) -> String {
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let input = scratch.join(format!("references-{name}.txt"));
    fs::write(&input, inputs).unwrap();
    let output = Command::new(program())
        .stdin(File::open(&input).unwrap())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "the Go program failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Builds the Go program, once for all tests.
fn program() -> &'static Path {
    static PROGRAM: std::sync::LazyLock<PathBuf> = std::sync::LazyLock::new(|| {
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("reference-conformance");
        let output = Command::new("go")
            .args(["build", "-o"])
            .arg(&program)
            .arg(".")
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance/reference"))
            .output()
            .expect("`go` is needed for this test (1.24 or later, with a module proxy or a filled module cache)");
        assert!(
            output.status.success(),
            "`go build` in tests/conformance/reference failed:\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        program
    });
    &PROGRAM
}

/// Image references, whole and broken.
impl Random {
    pub(crate) fn mutated_reference(&mut self) -> String {
        let mut text = self.registry();
        text += &self.repository();
        text += &self.tag();
        text += &self.digest();
        // Half of them stay as the grammar made them.
        for _ in 0..[0, 0, 1, 2][self.below(4)] {
            text = self.mutate(&text);
        }
        text
    }

    fn registry(&mut self) -> String {
        match self.below(8) {
            0..3 => String::new(),
            3 => self.pick(&HOSTS).to_owned() + "/",
            4 => self.pick(&HOSTS).to_owned() + self.pick(&[":5000", ":0", ":", ":x"]) + "/",
            5 => {
                let length = self.below(6);
                format!("[{}]/", self.text("0123456789abcdefABCDEF::::", length))
            }
            _ => {
                let length = 1 + self.below(3);
                let mut host = self.text("abcXYZ019", length);
                for _ in 0..self.below(4) {
                    host += self.pick(&[".", ".", "-", "--", "_"]);
                    host += &self.text("abcX0", 1);
                }
                host + "/"
            }
        }
    }

    fn repository(&mut self) -> String {
        match self.below(12) {
            0 => self.pick(&WORDS).to_owned(),
            1 => {
                let digits = 63 + self.below(3);
                self.text("0123456789abcdef", digits)
            }
            2 => {
                // Around the limit of 255, with `library/` counted and not.
                let length = [245, 246, 247, 248, 249, 253, 254, 255, 256][self.below(9)];
                let mut text = self.text("abc", length);
                if self.one_in(2) {
                    text.replace_range(1..2, "/");
                }
                text
            }
            _ => {
                let mut text = self.segment();
                for _ in 0..self.below(4) {
                    text.push('/');
                    text += &self.segment();
                }
                text
            }
        }
    }

    fn segment(&mut self) -> String {
        let mut text = self.text("abcxyz019", 2);
        for _ in 0..[0, 0, 1, 2][self.below(4)] {
            text += self.pick(&[".", "_", "__", "-", "--", "-----"]);
            let length = 1 + self.below(2);
            text += &self.text("abcxyz019", length);
        }
        text
    }

    fn tag(&mut self) -> String {
        match self.below(8) {
            0..3 => String::new(),
            3 => {
                let length = 126 + self.below(4);
                format!(":{}", self.text("aZ0_.-", length))
            }
            _ => {
                let length = 1 + self.below(5);
                format!(":{}{}", self.text("aZ0_", 1), self.text("aZ0_.-", length - 1))
            }
        }
    }

    fn digest(&mut self) -> String {
        match self.below(8) {
            0..4 => String::new(),
            4 | 5 => format!("@sha256:{}", self.text("0123456789abcdef", 64)),
            6 => {
                let (algorithm, digits) = [("sha384", 96), ("sha512", 128)][self.below(2)];
                format!("@{algorithm}:{}", self.text("0123456789abcdef", digits))
            }
            _ => {
                let algorithm = self.pick(&[
                    "sha256",
                    "sha384",
                    "sha512",
                    "SHA256",
                    "md5",
                    "sha1",
                    "sha256+b64",
                    "multihash.x",
                    "9a",
                    "",
                ]);
                let digits = [31, 32, 40, 63, 64, 65, 95, 96, 97, 127, 128, 129][self.below(12)];
                let digest = self.text("0123456789abcdef", digits);
                let digest = if self.one_in(3) { digest.to_uppercase() } else { digest };
                format!("@{algorithm}:{digest}")
            }
        }
    }

    fn mutate(&mut self, text: &str) -> String {
        let mut characters: Vec<char> = text.chars().collect();
        let at = self.below(characters.len() + 1);
        let last = characters.len().saturating_sub(1);
        match self.below(7) {
            0 if !characters.is_empty() => {
                characters.remove(at.min(last));
            }
            1 if !characters.is_empty() => {
                let c = characters[at.min(last)];
                characters.insert(at, c);
            }
            2 if !characters.is_empty() => {
                let other = self.below(characters.len());
                characters.swap(at.min(last), other);
            }
            3 if !characters.is_empty() => {
                let c = &mut characters[at.min(last)];
                *c = c.to_ascii_uppercase();
            }
            4 => characters.truncate(at),
            _ => {
                let put = self.pick(&INSERTS);
                characters.splice(at..at, put.chars());
            }
        }
        characters.into_iter().collect()
    }
}

const HOSTS: [&str; 14] = [
    "docker.io",
    "index.docker.io",
    "Docker.io",
    "localhost",
    "LOCALHOST",
    "quay.io",
    "registry.cern.ch",
    "127.0.0.1",
    "[::1]",
    "[fd00::1]",
    "a_b.example.com",
    "a__b.c",
    "Foo",
    "registry",
];

const WORDS: [&str; 10] = [
    "alpine",
    "library",
    "library/alpine",
    "library/a/b",
    "docker.io/a",
    "localhost/a",
    "sha256",
    "localhost",
    "a.b/c",
    "index.docker.io/library/a",
];

/// What mutation puts in: the grammar's own characters, their neighbours in ASCII, and letters that change length or become
/// ASCII with their case.
const INSERTS: [&str; 36] = [
    "/", ":", "@", ".", "_", "-", "[", "]", "//", "::", "..", "__", "___", "--", "a", "A", "0", " ", "\t", "\r", "+",
    "%", "#", "$", "`", "{", "\0", "é", "K", "ſ", "İ", "タ", "\u{200b}", "\u{2028}", "sha256:", "library/",
];
