//! Runs Helm.

use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use super::program::{Directory, Finished, finish};

/// Runs Helm, which finds none of its user's settings.
pub(crate) fn helm(args: &[&str]) -> Finished {
    let directory = Directory::new();
    let mut command = helm_in(&directory);
    command.args(args);
    finish(command, b"")
}

/// Helm, to be run, with its settings in this directory.
pub(crate) fn helm_in(home: &Directory) -> Command {
    let mut command = Command::new(&*HELM);
    command.env_clear().env("HOME", home.path());
    command
}

/// Built once, by the harness of the test clusters; a test that quietly did nothing without it would prove nothing.
static HELM: LazyLock<PathBuf> = LazyLock::new(|| {
    if let Some(path) = std::env::var_os("WAYPOST_HELM") {
        return path.into();
    }
    let mut build = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cluster/cluster"));
    build.args(["build", "helm"]);
    let built = finish(build, b"");
    assert_eq!(
        built.code,
        Some(0),
        "Helm is needed for this test, and Go to build it (tests/cluster/README.md):\n{}",
        built.stderr
    );
    PathBuf::from(built.out().trim()).join("helm")
});
