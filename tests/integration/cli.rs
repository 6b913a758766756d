//! The command line as a shell sees it: what goes to stdout and stderr, and how it exits.

mod check;
mod docker_config;
mod explain;
mod reference;
mod review;
mod webhook_config;

use std::process::Stdio;

use clap::CommandFactory;
use waypost::cli::Cli;

use crate::support::program::{Directory, finish};

/// A policy with nothing wrong.
const GOOD: &str = "\
apiVersion: waypost.dev/v1alpha1
kind: Policy
metadata: {name: mine}
spec:
  rules:
    - {name: no-forbidden, match: {images: [forbidden.io/**]}, deny: {message: ask us first}}
    - {name: long, match: {images: [long.io/**]}, rewrite: {prefix: r.example.org/long}}
    - {name: quay, match: {images: [quay.io/**]}, rewrite: {prefix: registry.example.org}}
";

/// One with two mistakes.
const BAD: &str = "\
apiVersion: waypost.dev/v1alpha1
kind: Policy
metadata: {name: mine}
spec:
  rules:
    - {name: a, match: {image: [quay.io/**]}, rewrite: {prefix: registry.example.org}}
    - {name: b, match: {images: [docker.io/**]}, kep: {}}
";

fn with_policy(text: &str) -> Directory {
    let directory = Directory::new();
    directory.write("policies.d/10-mine.yaml", text);
    directory
}

#[test]
fn exit_status_0_is_fine_1_is_findings_2_is_usage_or_configuration() {
    let good = with_policy(GOOD);
    let bad = with_policy(BAD);
    let rows: [(&Directory, &str, i32, &str); 29] = [
        (&good, "--version", 0, ""),
        (&good, "--help", 0, ""),
        (&good, "check", 0, ""),
        (&good, "check policies.d", 0, ""),
        (&bad, "check", 1, ""),
        (&good, "check absent", 2, "there is no directory `absent`"),
        (&good, "check --format xml", 2, "possible values: text, json, github"),
        (&good, "explain alpine quay.io/x", 0, ""),
        (&good, "explain forbidden.io/x", 1, ""),
        (&good, "explain Upper/case:", 1, ""),
        (&good, "explain", 2, "<IMAGE>"),
        (&good, "explain alpine --pod-labels x", 2, "KEY=VALUE"),
        (&good, "explain alpine --unavailable https://r.io", 2, "is no registry"),
        (&good, "explain alpine --preset nothing", 2, "nothing"),
        (&good, "explain alpine --preset enterprise-registry", 2, "host"),
        (&bad, "explain alpine", 2, "unknown-key"),
        (&bad, "review", 2, "unknown-key"),
        (&good, "reference alpine", 0, ""),
        (&good, "reference alpine UPPER", 1, ""),
        (&good, "completions bash", 0, ""),
        (&good, "completions tcsh", 2, "tcsh"),
        (&good, "webhook-config", 2, "start `waypost serve` once"),
        (&good, "webhook-config --url http://x", 2, "https://"),
        (&good, "serve --webhook-listen nowhere", 2, "--webhook-listen"),
        (&good, "serve --log-level loud", 2, "loud"),
        (&good, "check --config absent.yaml", 2, "absent.yaml"),
        (&good, "nothing", 2, "unrecognized subcommand"),
        (&good, "", 2, "Usage: waypost"),
        (&good, "check --color sometimes", 2, "sometimes"),
    ];
    for (directory, line, code, complaint) in rows {
        let finished = directory.feed(line.split_whitespace(), b"");
        assert_eq!(finished.code, Some(code), "waypost {line}: {finished:?}");
        if code == 2 {
            assert_eq!(finished.out(), "", "waypost {line}: stdout is data");
        }
        finished.complains(complaint);
    }
}

#[test]
fn the_help_of_each_command_has_examples_and_every_example_is_understood() {
    let directory = Directory::new();
    let mut command = Cli::command();
    command.build();
    let names = command.get_subcommands().map(|sub| sub.get_name().to_owned());
    let names: Vec<String> = names.filter(|name| name != "help").collect();
    for name in names.iter().map(String::as_str) {
        let help = directory.run([name, "--help"]).exits(0);
        let (_, examples) = help
            .out()
            .split_once("\nExamples:\n")
            .unwrap_or_else(|| panic!("no examples in {}", help.out()));
        let examples = examples.replace("\\\n", " ");
        let mut understood = 0;
        for words in examples.lines().flat_map(|line| line.split('|')).map(words) {
            // After variables that are set for it; as an argument of another program it is none of ours.
            let start = words.iter().take_while(|word| word.contains('=')).count();
            if words.get(start).is_none_or(|word| word != "waypost") {
                continue;
            }
            Cli::command()
                .try_get_matches_from(&words[start..])
                .unwrap_or_else(|error| panic!("{words:?}: {error}"));
            understood += 1;
        }
        assert!(understood > 0, "no example in {examples}");
    }
    for line in directory.run(["--help"]).exits(0).out().lines() {
        assert!(line.chars().count() <= 100, "too wide: {line}");
    }
}

/// The words of a shell's command, up to a redirection.
fn words(line: &str) -> Vec<String> {
    line.split_whitespace()
        .take_while(|word| !matches!(*word, "<" | ">"))
        .map(|word| word.trim_matches('\'').to_owned())
        .collect()
}

#[test]
fn a_closed_pipe_ends_every_command_without_a_word() {
    let directory = with_policy(GOOD);
    directory.write("bad/a.yaml", BAD);
    directory.write("ca.crt", crate::support::serving::authority());
    let review = std::fs::read(crate::support::fixture("pod-create.json")).unwrap();
    let lines = "alpine\n".repeat(10_000);
    let rows: [(&str, &[u8]); 8] = [
        ("reference", lines.as_bytes()),
        ("reference alpine", b""),
        ("explain alpine", b""),
        ("check", b""),
        ("check bad", b""),
        ("review", &review),
        ("completions bash", b""),
        ("webhook-config --ca-file ca.crt", b""),
    ];
    for (line, stdin) in rows {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut child = directory
            .command(line.split(' '))
            .stdin(Stdio::piped())
            .stdout(writer)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pipe = child.stdin.take().unwrap();
        let output = std::thread::scope(|scope| {
            scope.spawn(move || std::io::Write::write_all(&mut pipe, stdin));
            child.wait_with_output().unwrap()
        });
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "waypost {line}");
        assert_eq!(output.status.code(), Some(0), "waypost {line}");
    }
}

#[test]
fn completions_are_there_for_each_shell() {
    let directory = Directory::new();
    for (shell, sign) in [
        ("bash", "complete -F _waypost"),
        ("zsh", "#compdef waypost"),
        ("fish", "complete -c waypost"),
        ("elvish", "edit:completion"),
        ("powershell", "Register-ArgumentCompleter"),
    ] {
        let script = directory.run(["completions", shell]).exits(0);
        assert!(script.out().contains(sign), "{shell}");
        assert!(script.out().contains("webhook-config"), "{shell}");
    }
}

#[test]
fn colours_are_where_they_are_asked_for_and_never_in_a_pipe_by_themselves() {
    let directory = with_policy(GOOD);
    directory.write("bad/a.yaml", BAD);
    for args in [["explain", "alpine"], ["check", "bad"], ["explain", "--policies=bad"]] {
        let coloured = |flag: Option<&str>, variable: Option<(&str, &str)>| {
            let last = (args[1] == "--policies=bad").then_some("alpine");
            let mut command = directory.command(args.into_iter().chain(last).chain(flag));
            command.envs(variable);
            let finished = finish(command, b"");
            finished.out().contains('\x1b') || finished.stderr.contains('\x1b')
        };
        assert!(!coloured(None, None), "{args:?} in a pipe");
        assert!(coloured(Some("--color=always"), None), "{args:?}");
        assert!(
            coloured(Some("--color=always"), Some(("NO_COLOR", "1"))),
            "{args:?}: a flag says more"
        );
        assert!(
            !coloured(Some("--color=never"), Some(("CLICOLOR_FORCE", "1"))),
            "{args:?}"
        );
        assert!(!coloured(None, Some(("NO_COLOR", "1"))), "{args:?}");
    }
}
