//! What is refused, why, and in which words.

use super::*;

/// One test for each row: the input, and the kind of its error.
macro_rules! refused {
    ($($name:ident: $input:expr => $kind:ident;)+) => {
        $(#[test]
        fn $name() {
            let input: String = $input.into();
            assert_eq!(kind(&input), ErrorKind::$kind);
        })+
    };
}

refused! {
    nothing_is_no_reference: "" => Empty;
    a_shell_variable_was_not_filled_in: "registry/$IMAGE" => UnexpandedVariable;
    a_helm_value_was_not_filled_in: "{{ .Values.image }}" => UnexpandedVariable;
    a_kubernetes_variable_was_not_filled_in: "a:$(TAG)" => UnexpandedVariable;
    a_line_break_at_the_end_is_not_trimmed: "alpine\n" => Whitespace;
    a_carriage_return_at_the_end_is_not_trimmed: "alpine\r" => Whitespace;
    a_blank_in_front_is_not_trimmed: " alpine" => Whitespace;
    two_references_are_not_one: "alpine busybox" => Whitespace;
    a_no_break_space_is_white_space: "alpine\u{a0}" => Whitespace;
    https_is_no_part_of_a_reference: "https://quay.io/a" => UrlScheme;
    docker_is_no_part_of_a_reference: "docker://alpine" => UrlScheme;
    an_identifier_alone_is_no_name: hex(64) => BareIdentifier;
    a_host_with_a_bad_label_is_no_registry: "-a.b/c" => InvalidRegistry;
    a_host_with_an_underscore_and_a_port_is_no_registry: "a_b:5000/c" => InvalidRegistry;
    a_user_is_no_registry: "me@quay.io/c" => InvalidRegistry;
    an_empty_host_is_no_registry: ":5000/c" => InvalidRegistry;
    a_tag_before_the_last_segment_is_no_port: "a:latest/b" => InvalidPort;
    a_colon_for_a_slash_is_no_port: "ghcr.io:org/app" => InvalidPort;
    a_port_left_out_is_no_port: "quay.io:/a" => InvalidPort;
    a_registry_alone_is_no_image: "quay.io/" => MissingRepository;
    docker_hub_alone_is_no_image: "docker.io/" => MissingRepository;
    a_registry_and_a_tag_are_no_image: "quay.io/:t" => MissingRepository;
    a_tag_alone_is_no_image: ":t" => MissingRepository;
    a_digest_alone_is_no_image: format!("@{SHA256}") => MissingRepository;
    a_slash_in_front_is_refused: "/a" => EmptySegment;
    a_slash_at_the_end_is_refused: "a/" => EmptySegment;
    a_slash_before_the_tag_is_refused: "quay.io/a/:t" => EmptySegment;
    two_slashes_are_refused: "a//b" => EmptySegment;
    a_capital_in_a_single_segment_is_refused: "Alpine" => UpperCaseRepository;
    a_capital_after_a_host_is_refused: "quay.io/Alpine:t" => UpperCaseRepository;
    a_capital_after_a_capital_host_is_refused: "Foo/Bar" => UpperCaseRepository;
    a_bad_separator_is_refused: "quay.io/a..b" => InvalidRepository;
    a_name_beyond_ascii_is_refused: "quay.io/größe" => InvalidRepository;
    brackets_without_a_colon_are_refused: "[abc]/x" => InvalidRepository;
    a_repository_of_256_bytes_is_refused: repository_of(256) => NameTooLong;
    a_colon_at_the_end_is_refused: "quay.io/a:" => TrailingColon;
    a_colon_before_the_digest_is_refused: format!("a:@{SHA256}") => TrailingColon;
    a_tag_beyond_ascii_is_refused: "alpine:タグ" => InvalidTag;
    two_tags_are_refused: "a:1:2" => InvalidTag;
    a_slash_after_the_tag_is_refused: "quay.io/a:1/b" => InvalidTag;
    a_tag_of_129_bytes_is_refused: format!("a:{}", "b".repeat(129)) => TagTooLong;
    a_digest_after_a_colon_is_refused: format!("a:{SHA256}") => DigestAfterColon;
    a_digest_after_tag_and_colon_is_refused: format!("quay.io/a:t:{SHA256}") => DigestAfterColon;
    a_short_digest_after_a_colon_is_refused: "a:sha256:abc" => DigestAfterColon;
    a_tag_after_the_digest_is_refused: format!("a@{SHA256}:t") => TagAfterDigest;
    an_empty_digest_is_refused: "a@" => InvalidDigest;
    an_empty_digest_after_a_tag_is_refused: "a:t@" => InvalidDigest;
    a_tag_after_an_at_is_refused: "a@latest" => InvalidDigest;
    two_digests_are_refused: format!("a@{SHA256}@{SHA256}") => InvalidDigest;
    capitals_in_a_digest_are_refused: format!("a@{}", SHA256.replace("abc", "ABC")) => UpperCaseDigest;
    capitals_in_an_algorithm_are_refused: format!("a@{}", SHA256.replace("sha", "SHA")) => UpperCaseDigest;
    a_digest_algorithm_that_nodes_do_not_know_is_refused: format!("a@md5:{}", hex(32)) => UnsupportedDigestAlgorithm;
    a_digest_cut_off_is_refused: "a@sha256:0123" => WrongDigestLength;
}

fn message(input: &str) -> String {
    Reference::parse(input).unwrap_err().to_string()
}

facts! {
    the_message_names_input_kind_and_remedy: message("quay.io/a:") == "image reference `quay.io/a:`: there is no tag after the \
        colon (trailing_colon); write a tag, or leave out the colon: often a variable that was empty";
    the_hint_is_part_of_the_message: message("a:sha256:00").ends_with("; join the digest by `@`, as in `repository@sha256:…`");
    an_input_of_64_characters_is_shown_in_full:
        Reference::parse(&"ü".repeat(64)).unwrap_err().excerpt() == "ü".repeat(64);
    an_input_of_65_characters_is_cut:
        Reference::parse(&"ü".repeat(65)).unwrap_err().excerpt() == format!("{}…", "ü".repeat(64));
    a_huge_input_has_a_short_message: message(&"\u{202e}".repeat(1 << 20)).len() < 1024;
    control_characters_cannot_break_a_line: Reference::parse("a\n\u{1b}[31m").unwrap_err().excerpt() == r"a\n\u{1b}[31m";
    separators_beyond_ascii_cannot_break_a_line: Reference::parse("a\u{2028}\u{85}").unwrap_err().excerpt() == r"a\u{2028}\u{85}";
    text_cannot_be_reordered: Reference::parse("a\u{202e}b").unwrap_err().excerpt() == r"a\u{202e}b";
    quotes_are_shown_as_they_are: Reference::parse("'a\"").unwrap_err().excerpt() == "'a\"";
    a_backslash_is_not_mistaken_for_an_escape: Reference::parse(r"a\n").unwrap_err().excerpt() == r"a\\n";
    errors_compare: Reference::parse("a:") == Reference::parse("a:") && Reference::parse("a:") != Reference::parse("b:");
}
