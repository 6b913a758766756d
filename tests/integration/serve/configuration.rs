//! File, environment and flags, in this order.

use std::net::SocketAddr;

use crate::support::program::{Directory, finish};
use crate::support::serving::Serving;

/// Listens on free ports.
const FILE: &str = "\
server:
  webhook: {listen: '127.0.0.1:0'}
  admin: {listen: '127.0.0.1:0'}
  api: {listen: '127.0.0.1:0'}
";

#[test]
fn the_file_in_the_working_directory_then_the_environment_then_flags() {
    let variable = Some(("WAYPOST_POLICIES__DIR", "by-variable"));
    let flag = Some("--policies=by-flag");
    let rows = [
        (None, None, "file"),
        (None, variable, "variable"),
        (flag, variable, "flag"),
    ];
    for (flag, variable, host) in rows {
        let directory = Directory::new();
        directory.write(
            "waypost.yaml",
            format!("{FILE}policies: {{dir: by-file}}\nlog: {{format: json}}\n"),
        );
        directory.write("by-file/a.yaml", super::through("file.example.org"));
        directory.write("by-variable/a.yaml", super::through("variable.example.org"));
        directory.write("by-flag/a.yaml", super::through("flag.example.org"));
        let mut command = directory.command(["serve"].into_iter().chain(flag));
        command.envs(variable);
        let serving = Serving::spawn(directory, command);
        assert_eq!(serving.image(), format!("{host}.example.org/docker.io/library/busybox"));
    }
}

#[test]
fn a_file_that_is_named_is_read_and_said_to_be() {
    let directory = Directory::new();
    directory.write(
        "etc/mine.yaml",
        format!("{FILE}policies: {{presets: [cern-pull-through]}}\n"),
    );
    let command = directory.command(["serve", "--config", "etc/mine.yaml"]);
    let mut serving = Serving::spawn(directory, command);
    serving.event("the configuration was read from etc/mine.yaml");
    assert_eq!(serving.image(), "registry.cern.ch/docker.io/library/busybox");
}

#[test]
fn variables_that_kubernetes_puts_into_every_pod_are_none_of_ours() {
    let directory = Directory::new();
    let mut command = directory.command(["check"]);
    command
        .env("WAYPOST_PORT_8443_TCP_ADDR", "10.0.0.1")
        .env("WAYPOST_SERVICE_HOST", "10.0.0.1");
    finish(command, b"").exits(0);
}

#[test]
fn all_mistakes_are_told_at_once_wherever_they_are() {
    let directory = Directory::new();
    directory.write("waypost.yaml", "servr: {}\ntls: {dir: 7}\n");
    let mut command = directory.command(["serve"]);
    command
        .env("WAYPOST_SERVER__ADMIN__LISTN", "x")
        .env("WAYPOST_PULL__POLICY", "Sometimes");
    finish(command, b"")
        .exits(2)
        .complains("waypost.yaml:1:1")
        .complains("did you mean `server`?")
        .complains("waypost.yaml:2:")
        .complains("did you mean WAYPOST_SERVER__ADMIN__LISTEN?")
        .complains("WAYPOST_PULL__POLICY");
}

#[test]
fn all_interfaces_are_printed_as_an_address_that_can_be_called() {
    let directory = Directory::new();
    let args = [
        "serve",
        "--webhook-listen",
        "0.0.0.0:0",
        "--admin-listen",
        "127.0.0.1:0",
        "--api-listen",
        "127.0.0.1:0",
    ];
    let command = directory.command(args);
    let mut serving = Serving::spawn(directory, command);
    let port = serving.webhook.port();
    serving.event(&format!("https://127.0.0.1:{port}/mutate"));
    serving.webhook = SocketAddr::from(([127, 0, 0, 1], port));
    assert_eq!(serving.image(), "busybox");
}
