use proptest::prelude::*;

use super::*;

fn pattern(text: &str) -> Pattern {
    Pattern::parse(text).unwrap_or_else(|error| panic!("{error} ({})", error.hint))
}

#[test]
fn a_pattern_matches_what_its_parts_match() {
    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    for (text, image, expected) in [
        // The registry.
        ("docker.io/**", "alpine", true),
        ("docker.io/**", "quay.io/a", false),
        ("index.docker.io/**", "alpine", true),
        ("docker.io/**", "index.docker.io/alpine", true),
        ("quay.io/**", "Quay.IO/a", true),
        ("Quay.IO/**", "quay.io/a", true),
        ("Foo/**", "Foo/a", true),
        ("Foo/**", "foo/a", false),
        ("localhost:5000/**", "localhost:5000/a", true),
        ("localhost/**", "localhost:5000/a", false),
        ("[::1]:5000/**", "[::1]:5000/a", true),
        ("a_b.example.com/**", "a_b.example.com/x", true),
        ("*/**", "a_b.example.com/x", true),
        ("*.gcr.io/**", "eu.gcr.io/x", true),
        ("*.gcr.io/**", "gcr.io/x", false),
        ("*/a", "quay.io/a", true),
        ("*/a", "quay.io/b/a", false),
        // What normalisation makes of short names counts.
        ("*/alpine", "alpine", false),
        ("docker.io/alpine", "alpine", true),
        ("docker.io/library/*", "alpine", true),
        ("docker.io/library/*", "library/alpine", true),
        ("docker.io/my*/app", "myorg/app", true),
        // Segments.
        ("quay.io/a/*", "quay.io/a/b", true),
        ("quay.io/a/*", "quay.io/a/b/c", false),
        ("quay.io/a/*", "quay.io/a", false),
        ("quay.io/a/**", "quay.io/a/b/c", true),
        ("quay.io/a/**", "quay.io/a", false),
        ("quay.io/**/c", "quay.io/a/b/c", true),
        ("quay.io/**/c", "quay.io/c", false),
        ("quay.io/**/b/**", "quay.io/a/b/c", true),
        ("quay.io/**/b/**", "quay.io/b/c", false),
        ("quay.io/private-*", "quay.io/private-x", true),
        ("quay.io/private-*", "quay.io/private-x/y", false),
        ("gcr.io/**", "gcrxio/a", false),
        // `**` first: the registry and any path.
        ("**/alpine", "alpine", true),
        ("**/alpine", "quay.io/alpine", true),
        ("**/alpine", "quay.io/a/b/alpine", true),
        ("**/library/alpine", "alpine", true),
        // Tag and digest.
        ("docker.io/**:latest", "alpine", true),
        ("docker.io/**:latest", "alpine:latest", true),
        ("docker.io/**:latest", "alpine:3", false),
        ("docker.io/**:latest", &format!("alpine@{DIGEST}"), false),
        ("docker.io/**:3.*", "alpine:3.20", true),
        ("docker.io/**:*", &format!("alpine@{DIGEST}"), false),
        ("docker.io/**:*", "alpine", true),
        ("docker.io/**@*", &format!("alpine@{DIGEST}"), true),
        ("docker.io/**@*", "alpine", false),
        ("docker.io/**@sha256:*", &format!("alpine:3@{DIGEST}"), true),
        ("docker.io/**:3@sha512:*", &format!("alpine:3@{DIGEST}"), false),
        (&format!("docker.io/**@{DIGEST}"), &format!("alpine@{DIGEST}"), true),
        ("localhost:5000/a:1", "localhost:5000/a:1", true),
        ("localhost:5000/a:1", "localhost:5000/a:2", false),
    ] {
        assert_eq!(
            pattern(text).matches(&Reference::parse(image).unwrap()),
            expected,
            "{text} on {image}"
        );
    }
}

#[test]
fn each_mistake_is_named_with_what_to_write_instead() {
    for (text, message, hint) in [
        ("", "empty", "registry/repository"),
        ("*", "names no registry", "write */**"),
        ("**", "names no registry", "write */**"),
        ("alpine", "names no registry", "docker.io/library/alpine, or **/alpine"),
        (
            "alpine:3",
            "names no registry",
            "docker.io/library/alpine:3, for everything in a registry of that name alpine:3/**",
        ),
        ("myorg/app", "names no registry", "docker.io/myorg/app, or */myorg/app"),
        ("myorg/app:1", "names no registry", "docker.io/myorg/app:1"),
        ("docker.io", "names no registry", "write docker.io/**"),
        ("localhost:5000", "names no registry", "write localhost:5000/**"),
        ("r.io:5000", "names no registry", "write r.io:5000/**"),
        ("/library/alpine", "names no registry", "beginning"),
        ("https://quay.io/**", "scheme", "write quay.io/**"),
        ("quay.io/", "empty segment", "end in /**"),
        ("quay.io//a", "empty segment", "extra `/`"),
        ("quay.io/a**", "inside the segment `a**`", "whole segments"),
        ("**.io/a", "inside the segment `**.io`", "whole segments"),
        ("q_y!.io/a", "registry that no image can have", "a host"),
        ("quay..io/a", "registry that no image can have", "a host"),
        ("quay.io:port/a", "registry that no image can have", "a host"),
        ("quay.io/A", "the character `A`", "lower case"),
        ("quay.io/a:1/b", "the character `:`", "the first segment"),
        ("quay.io/a?", "the character `?`", "{regex: "),
        ("quay.io/(a|b)", "the character `(`", "{regex: "),
        ("quay.io/a b", "the character ` `", "lower-case letters"),
        ("quay.io/ä", "the character `ä`", "lower-case letters"),
        ("quay.io/-a", "the segment `-a`", "begins and ends"),
        ("quay.io/a..b", "the segment `a..b`", "begins and ends"),
        ("docker.io/*", "matches nothing", "docker.io/library/*"),
        ("docker.io/my*:1", "matches nothing", "docker.io/library/my*"),
        ("quay.io/a:", "tag that no image can have", "without the colon"),
        ("quay.io/a:-x", "tag that no image can have", "at most 128"),
        ("quay.io/a@", "digest that no image can have", "@*"),
        ("quay.io/a@sha256:abc", "digest that no image can have", "64"),
        ("quay.io/a@md5:*", "digest that no image can have", "64"),
        ("quay.io/a@sha256:ABC*", "digest that no image can have", "lower-case"),
    ] {
        let error = Pattern::parse(text).unwrap_err();
        assert!(error.message.contains(message), "{text}: {error}");
        assert!(error.hint.contains(hint), "{text}: {}", error.hint);
        assert!(text.get(error.within.clone()).is_some(), "{text}: {:?}", error.within);
    }
}

#[test]
fn what_a_hint_says_to_write_is_a_pattern() {
    for text in [
        "*",
        "alpine",
        "myorg/app:1",
        "docker.io",
        "r.io:5000",
        "https://quay.io/**",
    ] {
        let hint = Pattern::parse(text).unwrap_err().hint;
        let written = hint.split([' ', ',']).filter(|word| word.contains('/'));
        for word in written {
            assert!(Pattern::parse(word).is_ok(), "{text}: {word}");
        }
    }
}

fn any_pattern() -> impl Strategy<Value = Pattern> {
    let registry = prop::sample::select(vec!["a.io", "b.io", "*", "a*", "*.io", "**"]);
    let segment = prop::sample::select(vec!["x", "y", "xy", "*", "x*", "*y", "**"]);
    let suffix = prop::sample::select(vec!["", "", ":1", ":*"]);
    (registry, prop::collection::vec(segment, 1..4), suffix)
        .prop_map(|(registry, rest, suffix)| pattern(&format!("{registry}/{}{suffix}", rest.join("/"))))
}

fn any_image() -> impl Strategy<Value = String> {
    let registry = prop::sample::select(vec!["a.io", "b.io", "c.io"]);
    let segment = prop::sample::select(vec!["x", "y", "xy", "xyy", "z"]);
    let suffix = prop::sample::select(vec!["", ":1"]);
    (registry, prop::collection::vec(segment, 1..5), suffix)
        .prop_map(|(registry, rest, suffix)| format!("{registry}/{}{suffix}", rest.join("/")))
}

proptest! {
    #[test]
    fn a_pattern_matches_all_that_it_covers(general in any_pattern(), special in any_pattern(), image in any_image()) {
        let image = Reference::parse(&image).unwrap();
        if general.covers(&special) && special.matches(&image) {
            prop_assert!(general.matches(&image), "{general} {special}");
        }
    }

    #[test]
    fn two_patterns_that_match_one_image_intersect(left in any_pattern(), right in any_pattern(), image in any_image()) {
        let image = Reference::parse(&image).unwrap();
        if left.matches(&image) && right.matches(&image) {
            prop_assert!(segments_intersect(left.segments(), right.segments()), "{left} {right}");
        }
    }

    #[test]
    fn a_pattern_reads_back_as_itself(pattern in any_pattern()) {
        prop_assert_eq!(Pattern::parse(&pattern.to_string()).unwrap(), pattern);
    }

    #[test]
    fn no_text_makes_parsing_panic(text in ".{0,40}") {
        if let Err(error) = Pattern::parse(&text) {
            prop_assert!(text.get(error.within).is_some());
            prop_assert!(!error.hint.is_empty());
        }
    }
}
