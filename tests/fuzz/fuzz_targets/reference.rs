//! No text makes the parser panic, and what it accepts survives being written out and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use waypost::reference::{DEFAULT_REGISTRY, ErrorKind, Reference, is_registry_host, lines};

fuzz_target!(|input: &str| {
    let line = lines::json_line(input);
    assert!(!line.contains('\n'));

    let reference = match Reference::parse(input) {
        Ok(reference) => reference,
        Err(error) => {
            assert!(!error.to_string().contains(char::is_control));
            return;
        }
    };
    assert_eq!(reference.to_string(), input);

    let canonical = reference.canonical().to_string();
    let again = Reference::parse(&canonical).expect("a canonical reference is valid");
    assert_eq!(again.registry(), reference.registry());
    assert_eq!(again.repository(), reference.repository());
    assert_eq!(again.tag(), reference.tag());
    assert_eq!(again.digest(), reference.digest());
    assert_eq!(again.canonical().to_string(), canonical);
    assert_eq!(
        format!("{}{}", reference.canonical_name(), reference.suffix()),
        canonical
    );

    // The familiar form of a Docker Hub image may read as another registry, or as the ID of an image; else it leads back.
    let familiar = reference.familiar().to_string();
    let on_another_host = reference.registry() == DEFAULT_REGISTRY
        && familiar
            .split_once('/')
            .is_some_and(|(first, _)| is_registry_host(first));
    match Reference::parse(&familiar) {
        _ if on_another_host => {}
        Ok(again) => assert_eq!(again.canonical(), reference.canonical()),
        Err(error) => assert_eq!(error.kind(), ErrorKind::BareIdentifier),
    }
});
