//! What others make of the OpenAPI document. The programs are installed by `tests/api/tools`, from PyPI.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use super::{ADMIN, Api, impatient};
use crate::support::program::{Directory, finish};

#[test]
fn the_document_is_openapi() {
    let api = Api::start(impatient());
    let directory = Directory::new();
    let validate = program(
        "openapi-spec-validator",
        &directory,
        &["--schema", "3.1", &document(&api, &directory)],
    );
    let validated = finish(validate, b"").exits(0);
    assert!(validated.out().contains("OK"), "{validated:?}");
}

#[test]
fn a_tester_that_is_driven_by_the_schema_finds_nothing() {
    let api = Api::start(impatient());
    let directory = Directory::new();
    let settings = Path::new(HERE).join("schemathesis.toml");
    let authority = api.authority();
    let (examples, seed) = (variable("EXAMPLES", "60"), variable("SEED", "20261121"));
    let mut test = program(
        "schemathesis",
        &directory,
        &[
            "--config-file",
            settings.to_str().unwrap(),
            "run",
            &format!("{}/v1/openapi.json", api.url()),
        ],
    );
    test.args([
        "--tls-verify",
        authority.to_str().unwrap(),
        "--max-examples",
        &examples,
        "--seed",
        &seed,
    ])
    .args(["--continue-on-failure", "--checks", "all", "--no-color"])
    .env("WAYPOST_TOKEN", ADMIN);
    let tested = finish(test, b"");
    assert_eq!(tested.code, Some(0), "{}\n{}", tested.out(), tested.stderr);
    println!("{}", tested.out());
}

#[test]
fn a_client_that_was_generated_registers_a_registry_and_reports_a_push() {
    let api = Api::start(impatient());
    let directory = Directory::new();
    let settings = directory.write("settings.yaml", "post_hooks: []\n");
    let generate = program(
        "openapi-python-client",
        &directory,
        &[
            "generate",
            "--path",
            &document(&api, &directory),
            "--config",
            settings.to_str().unwrap(),
        ],
    );
    let generated = finish(generate, b"").exits(0);
    assert!(!generated.out().contains("WARNING"), "{}", generated.out());
    let mut run = program(
        "python3",
        &directory,
        &[Path::new(HERE).join("client.py").to_str().unwrap()],
    );
    run.env("PYTHONPATH", directory.path().join("waypost-client"))
        .env("WAYPOST_URL", api.url())
        .env("WAYPOST_CA", api.authority())
        .env("WAYPOST_TOKEN", ADMIN);
    assert_eq!(
        finish(run, b"").exits(0).out(),
        "it was registered, changed, listed, pushed to and removed\n"
    );
}

/// The document, as the server shows it to anybody.
fn document(api: &Api, directory: &Directory) -> String {
    let reply = api.client().get(api.address, "/v1/openapi.json").unwrap();
    let path = directory.write("openapi.json", reply.body);
    path.to_str().unwrap().to_owned()
}

fn program(name: &str, directory: &Directory, args: &[&str]) -> Command {
    let tools = finish(Command::new(Path::new(HERE).join("tools")), b"").exits(0);
    let mut command = Command::new(PathBuf::from(tools.out().trim()).join(name));
    command.args(args).current_dir(directory.path());
    command
}

fn variable(name: &str, default: &str) -> String {
    std::env::var(format!("SCHEMATHESIS_{name}")).unwrap_or_else(|_| default.to_owned())
}

const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/api");
