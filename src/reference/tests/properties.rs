//! What holds of every input.

use proptest::prelude::*;

use super::*;

/// Pieces of the grammar, valid and nearly so, in the order of a reference more often than not.
fn near_reference() -> impl Strategy<Value = String> {
    let registry = prop_oneof![
        4 => Just(String::new()),
        2 => Just("docker.io/".to_owned()),
        1 => Just("index.docker.io/".to_owned()),
        4 => "[a-zA-Z0-9]{1,3}([._-]{1,2}[a-zA-Z0-9]{1,3}){0,2}(:[0-9]{0,3})?/",
        1 => r"\[[a-fA-F0-9:]{0,5}\](:[0-9]{1,2})?/",
        1 => Just("localhost/".to_owned()),
    ];
    let repository = prop_oneof![
        4 => "[a-z0-9]{1,3}([._-]{1,3}[a-z0-9]{1,3}){0,2}(/[a-z0-9]{1,3}){0,3}",
        1 => "library/[a-z]{1,3}(/[a-z])?",
        1 => "[a-z]{240,256}",
        1 => "[0-9a-f]{63,65}",
        1 => "[a-zA-Z0-9/._:-]{0,8}",
    ];
    let tag = prop_oneof![
        2 => Just(String::new()),
        3 => ":[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,5}",
        1 => ":[a-z.-]{0,2}",
        1 => ":[a-z]{127,129}",
    ];
    let digest = prop_oneof![
        3 => Just(String::new()),
        2 => "@sha256:[0-9a-f]{64}",
        1 => "@(sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128})",
        1 => "[@:]{1,2}[a-zA-Z0-9+]{0,7}:[0-9a-fA-F]{31,65}",
    ];
    (registry, repository, tag, digest).prop_map(|(a, b, c, d)| a + &b + &c + &d)
}

/// The same with a character put in somewhere, or taken out.
fn mutated() -> impl Strategy<Value = String> {
    let character = prop_oneof!["[-:/@._\\[\\]A-Z a-z0-9\n$%+]", any::<char>().prop_map(String::from)];
    let position = any::<prop::sample::Index>();
    (near_reference(), character, position, any::<bool>()).prop_map(|(text, character, position, put)| {
        let mut characters: Vec<char> = text.chars().collect();
        if put || characters.is_empty() {
            let at = position.index(characters.len() + 1);
            characters.splice(at..at, character.chars());
        } else {
            characters.remove(position.index(characters.len()));
        }
        characters.into_iter().collect()
    })
}

fn check(input: &str) -> Result<(), TestCaseError> {
    let Ok(reference) = Reference::parse(input) else {
        return Ok(());
    };
    prop_assert_eq!(reference.to_string(), input);

    let canonical = reference.canonical().to_string();
    let again = Reference::parse(&canonical)?;
    prop_assert_eq!(again.registry(), reference.registry());
    prop_assert_eq!(again.repository(), reference.repository());
    prop_assert_eq!(again.tag(), reference.tag());
    prop_assert_eq!(again.digest(), reference.digest());
    prop_assert_eq!(again.canonical(), reference.canonical());
    prop_assert_eq!(again.canonical().to_string(), canonical.as_str());

    let name = reference.canonical_name().to_string();
    prop_assert_eq!(&format!("{name}{}", reference.suffix()), &canonical);
    prop_assert!(input.ends_with(reference.suffix()));
    prop_assert_eq!(reference.segments().collect::<Vec<_>>().join("/"), name);

    let repository = reference.repository();
    let text = repository.to_string();
    prop_assert_eq!(repository, text.as_str());
    prop_assert_eq!(repository.len(), text.len());
    prop_assert_eq!(repository.segments().collect::<Vec<_>>().join("/"), text.as_str());
    prop_assert_eq!(Repository::written(&text), repository);
    let namespace = repository.namespace().map(|namespace| format!("{namespace}/"));
    prop_assert_eq!(namespace.unwrap_or_default() + repository.name(), text.as_str());

    // The parts satisfy the productions that policies are checked with.
    if !reference.registry().is_empty() {
        prop_assert_eq!(valid_registry(reference.registry()), Ok(()));
    }
    prop_assert_eq!(valid_repository(&text), Ok(()));
    prop_assert_eq!(reference.tag().map_or(Ok(()), valid_tag), Ok(()));
    prop_assert_eq!(reference.digest().map_or(Ok(()), valid_digest), Ok(()));

    // The familiar form loses `docker.io/`, and with it what keeps a first segment from counting as a registry, or a lone one
    // from being an identifier.
    let familiar = reference.familiar().to_string();
    let shown = familiar.strip_suffix(reference.suffix()).unwrap_or(&familiar);
    let misread = reference.registry() == DEFAULT_REGISTRY
        && (shown.split_once('/').is_some_and(|(first, _)| is_registry_host(first))
            || kind_of(&familiar) == Some(ErrorKind::BareIdentifier));
    if !misread {
        prop_assert_eq!(Reference::parse(&familiar)?.canonical(), reference.canonical());
    }
    Ok(())
}

fn kind_of(input: &str) -> Option<ErrorKind> {
    Reference::parse(input).err().map(|error| error.kind())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_text_parses_or_is_refused(input in any::<String>()) {
        check(&input)?;
    }

    #[test]
    fn the_parts_of_a_reference_make_it_up(input in near_reference()) {
        check(&input)?;
    }

    #[test]
    fn the_parts_of_a_mutated_reference_make_it_up(input in mutated()) {
        check(&input)?;
    }

    #[test]
    fn a_message_is_one_line_whatever_the_input(input in any::<String>()) {
        if let Err(error) = Reference::parse(&input) {
            prop_assert!(!error.to_string().contains(char::is_control));
        }
    }

    #[test]
    fn every_line_of_bytes_gives_one_line_of_json(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut written = Vec::new();
        let summary = super::super::lines::run(bytes.as_slice(), &mut written).unwrap();
        let written = String::from_utf8(written).unwrap();
        prop_assert_eq!(written.lines().count() as u64, summary.lines);
        for line in written.lines() {
            serde_json::from_str::<serde_json::Value>(line).unwrap();
        }
    }
}
