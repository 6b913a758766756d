//! The image, as `image/build` makes it of a program.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::program::{Directory, finish};

/// Where, when and by whom it is made is not in it.
#[test]
fn the_same_program_makes_the_same_image() {
    let (one, two) = (Directory::new(), Directory::new());
    let program = one.write("program", "it need not run");
    let digest = build(&one, &program);
    let copy = two.write("another-name", "it need not run");
    let old = Command::new("touch")
        .args(["-d", "2001-01-01"])
        .arg(&copy)
        .status()
        .unwrap();
    assert!(old.success());
    assert_eq!(build(&two, &copy), digest);
    let archive = |directory: &Directory| std::fs::read(directory.path().join("image.tar")).unwrap();
    assert!(archive(&one) == archive(&two));
}

#[test]
fn the_image_runs_the_program_as_nobody() {
    let directory = Directory::new();
    let digest = build(&directory, &directory.write("program", "it need not run"));
    let layout = directory.path().join("image");
    let json = |path: &Path| -> Value { serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap() };
    let blob = |descriptor: &Value| {
        let (kind, hash) = descriptor["digest"].as_str().unwrap().split_once(':').unwrap();
        let path = layout.join("blobs").join(kind).join(hash);
        assert_eq!(Some(path.metadata().unwrap().len()), descriptor["size"].as_u64());
        path
    };
    let manifest = &json(&layout.join("index.json"))["manifests"][0];
    assert_eq!(manifest["digest"], digest);
    let manifest = json(&blob(manifest));
    let configuration = json(&blob(&manifest["config"]));
    assert_eq!(configuration["config"]["User"], "65532:65532");
    assert_eq!(configuration["config"]["Entrypoint"], serde_json::json!(["/waypost"]));
    let labels = &configuration["config"]["Labels"];
    assert_eq!(labels["org.opencontainers.image.version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(labels.as_object().unwrap().len(), 4);

    let mut tar = Command::new("tar");
    tar.args(["--list", "--verbose", "--numeric-owner", "--utc", "--file"])
        .arg(blob(&manifest["layers"][0]));
    let listed = finish(tar, b"").exits(0);
    let words: Vec<&str> = listed.out().split_whitespace().collect();
    assert_eq!(words, ["-rwxr-xr-x", "0/0", "15", "1970-01-01", "00:00", "waypost"]);
}

/// The digest.
fn build(directory: &Directory, program: &Path) -> String {
    let mut build = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/image/build"));
    build.env("BINARY", program).env("OUT", directory.path().join("image"));
    for other in ["TARGET", "IMAGE", "PUSH"] {
        build.env_remove(other);
    }
    finish(build, b"").exits(0).out().trim().to_owned()
}
