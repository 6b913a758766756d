//! `waypost webhook-config`: what makes the API server ask.

use base64::Engine;

use crate::support::program::Directory;
use crate::support::serving::authority;

#[test]
fn the_configuration_has_the_authority_and_the_address_that_is_listened_on() {
    let directory = Directory::new();
    let pem = authority();
    directory.write("certs/local/ca.crt", &pem);
    let encoded = base64::engine::general_purpose::STANDARD.encode(&pem);
    let printed = directory.run(["webhook-config"]).exits(0);
    assert_eq!(printed.stderr, "");
    for text in [
        "kind: MutatingWebhookConfiguration",
        "url: https://127.0.0.1:8443/mutate",
        "failurePolicy: Ignore",
    ] {
        assert!(printed.out().contains(text), "no {text:?} in\n{}", printed.out());
    }
    let dense: String = printed.out().split_whitespace().collect();
    assert!(dense.contains(&encoded), "no authority in\n{}", printed.out());
}

#[test]
fn a_private_key_is_not_made_public() {
    let directory = Directory::new();
    directory.write("key.pem", rcgen::KeyPair::generate().unwrap().serialize_pem());
    directory
        .run(["webhook-config", "--ca-file", "key.pem"])
        .exits(2)
        .complains("holds a private key");
}
