//! Policies and certificates that change while it serves.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use super::through;
use crate::support::client::Protocol;
use crate::support::eventually;
use crate::support::program::Directory;
use crate::support::serving::Serving;

const FILE: &str = "policies.d/10-mine.yaml";

fn wait_for_image(serving: &Serving, host: &str) {
    let expected = format!("{host}/docker.io/library/busybox");
    eventually(&expected, || (serving.image() == expected).then_some(()));
}

#[test]
fn policies_are_picked_up_when_they_appear_change_and_go() {
    let serving = Serving::start(Directory::new(), &[]);
    assert_eq!(serving.image(), "busybox");
    let file = serving.directory().write(FILE, through("a.example.org"));
    wait_for_image(&serving, "a.example.org");
    fs::write(&file, through("b.example.org")).unwrap();
    wait_for_image(&serving, "b.example.org");
    assert_eq!(serving.metric("waypost_policy_generation"), 3.0);
    fs::remove_file(&file).unwrap();
    eventually("no rule", || (serving.image() == "busybox").then_some(()));
}

#[test]
fn a_broken_change_keeps_the_last_good_policies_and_says_so_until_it_is_repaired() {
    let directory = Directory::new();
    let file = directory.write(FILE, through("a.example.org"));
    let mut serving = Serving::start(directory, &[]);
    fs::write(&file, through("b.example.org").replace("images", "imags")).unwrap();

    let event = serving.event("the policies have changed and have errors; generation 1 is kept");
    assert_eq!(event["level"], "ERROR");
    assert!(
        event["message"].as_str().unwrap().contains("did you mean `images`?"),
        "{event}"
    );
    assert_eq!(serving.metric("waypost_policy_reload_failures_total"), 1.0);
    assert_eq!(serving.metric("waypost_policy_generation"), 1.0);
    assert_eq!(serving.image(), "a.example.org/docker.io/library/busybox");
    // Another Waypost would have the same policies: out of service, nothing would be better.
    assert_eq!(serving.admin("/readyz").status, 200);
    let detail = serving.admin("/readyz?verbose").text();
    assert!(detail.contains("[+]policies degraded since "), "{detail}");
    assert!(
        detail.contains(&format!("{FILE}:6:27: unknown key `imags`")),
        "{detail}"
    );

    fs::write(&file, through("c.example.org")).unwrap();
    wait_for_image(&serving, "c.example.org");
    assert_eq!(serving.metric("waypost_policy_generation"), 2.0);
    assert_eq!(serving.metric("waypost_policy_reload_failures_total"), 1.0);
    eventually("policies ok", || {
        let detail = serving.admin("/readyz?verbose").text();
        detail.contains("[+]policies ok").then_some(())
    });
}

#[test]
fn a_config_map_is_followed_through_the_swap_of_its_data_link() {
    let directory = Directory::new();
    let mount = directory.path().join("policies.d");
    let version = |number: u8, host: &str| {
        directory.write(&format!("policies.d/..2026_{number}/10-mine.yaml"), through(host));
        symlink(format!("..2026_{number}"), mount.join("..data_tmp")).unwrap();
        fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
    };
    version(1, "a.example.org");
    symlink("..data/10-mine.yaml", mount.join("10-mine.yaml")).unwrap();
    let args = ["--policies", mount.to_str().unwrap()];
    let serving = Serving::start(Directory::new(), &args);
    assert_eq!(serving.image(), "a.example.org/docker.io/library/busybox");
    // As the kubelet does it: a new directory, the link renamed over the old one, the old directory removed.
    version(2, "b.example.org");
    fs::remove_dir_all(mount.join("..2026_1")).unwrap();
    wait_for_image(&serving, "b.example.org");
    assert_eq!(serving.metric("waypost_policy_reload_failures_total"), 0.0);
}

#[test]
fn a_new_certificate_is_served_without_a_restart_and_half_of_one_is_not() {
    let mut serving = Serving::start(Directory::new(), &[]);
    let dir = serving.directory().path().join("certs/local");
    let made = certificate();
    let before = serving.review("{").certificate;
    let client = serving.client(Protocol::Http1);

    // The key alone: what is served is a pair still.
    replace(&dir.join("tls.key"), &made.key);
    serving.event("the certificate has changed and cannot be used, the last good one is kept");
    let detail = serving.admin("/readyz?verbose").text();
    assert!(detail.contains("[+]certificate degraded since "), "{detail}");
    assert_eq!(client.post(serving.webhook, Vec::new()).unwrap().certificate, before);

    replace(&dir.join("tls.crt"), &made.chain);
    replace(&dir.join("ca.crt"), &made.authority);
    serving.event("the certificate has changed: the new one is valid until");
    assert!(
        client.post(serving.webhook, Vec::new()).is_err(),
        "the old authority does not know it"
    );
    let after = serving.review("{").certificate;
    assert!(after.is_some() && after != before);
    eventually("certificate ok", || {
        let detail = serving.admin("/readyz?verbose").text();
        detail.contains("[+]certificate ok").then_some(())
    });
}

struct Made {
    authority: String,
    chain: String,
    key: String,
}

/// A certificate for 127.0.0.1 from an authority of its own.
fn certificate() -> Made {
    let authority_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(params, authority_key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    Made {
        authority: authority.pem(),
        chain: certificate.pem(),
        key: key.serialize_pem(),
    }
}

/// At once, as those do who write certificates.
fn replace(path: &Path, content: &str) {
    let next = path.with_extension("next");
    fs::write(&next, content).unwrap();
    fs::rename(&next, path).unwrap();
}
