//! Each production and each limit, just inside and just outside.

use super::*;

fn registry(text: &str) -> bool {
    valid_registry(text).is_ok()
}

fn segment(text: &str) -> bool {
    valid_repository_segment(text).is_ok()
}

fn tag(text: &str) -> bool {
    valid_tag(text).is_ok()
}

fn digest(algorithm: &str, digits: usize) -> Result<(), ErrorKind> {
    valid_digest(&format!("{algorithm}:{}", hex(digits)))
}

facts! {
    a_dot_makes_a_host: is_registry_host("quay.io");
    a_colon_makes_a_host: is_registry_host("registry:5000");
    a_capital_makes_a_host: is_registry_host("Registry");
    localhost_is_a_host: is_registry_host("localhost");
    localhost_is_a_host_only_in_full: !is_registry_host("localhosts");
    a_plain_word_is_no_host: !is_registry_host("registry");
    brackets_alone_make_no_host: !is_registry_host("[abc]");
    an_empty_segment_is_no_host: !is_registry_host("");

    a_host_may_be_one_letter: registry("a");
    a_host_may_be_digits: registry("1");
    a_host_may_have_dashes_inside: registry("a--b.c-d");
    a_host_cannot_begin_with_a_dash: !registry("-a.b");
    a_host_cannot_end_with_a_dash: !registry("a-.b");
    a_host_cannot_begin_with_a_dot: !registry(".a");
    a_host_cannot_end_with_a_dot: !registry("a.");
    a_host_cannot_have_two_dots: !registry("a..b");
    a_host_cannot_have_an_underscore: valid_registry("a_b.c") == Err(ErrorKind::InvalidRegistry);
    a_host_cannot_be_empty: !registry("");
    a_host_cannot_be_non_ascii: !registry("é.fr");
    a_host_has_no_length_limit: registry(&"a".repeat(5000));
    a_port_is_digits: registry("a:1");
    a_port_has_no_range: registry("a:999999999999999999999999");
    a_port_may_begin_with_zeros: registry("a:00");
    a_port_cannot_be_empty: valid_registry("a:") == Err(ErrorKind::InvalidPort);
    a_port_cannot_be_a_word: valid_registry("a:http") == Err(ErrorKind::InvalidPort);
    a_port_needs_a_host: valid_registry(":5000") == Err(ErrorKind::InvalidRegistry);
    there_is_one_port: valid_registry("a:1:2") == Err(ErrorKind::InvalidPort);
    brackets_hold_hex_and_colons: registry("[2001:DB8::1]");
    brackets_hold_anything_that_looks_like_an_address: registry("[:::::]");
    brackets_may_have_a_port: registry("[::1]:1");
    brackets_cannot_have_an_empty_port: valid_registry("[::1]:") == Err(ErrorKind::InvalidPort);
    brackets_cannot_be_empty: !registry("[]");
    brackets_must_be_closed: !registry("[::1");
    brackets_must_be_opened: !registry("::1]");
    brackets_end_the_address: !registry("[::1]a");
    brackets_hold_no_zone: !registry("[fe80::1%25eth0]");
    brackets_hold_no_ipv4: !registry("[::ffff:1.2.3.4]");
    an_ipv6_address_needs_brackets: !registry("::1");

    a_segment_may_be_one_letter: segment("a");
    a_segment_may_be_one_digit: segment("0");
    a_segment_may_have_a_dot: segment("a.b");
    a_segment_may_have_an_underscore: segment("a_b");
    a_segment_may_have_two_underscores: segment("a__b");
    a_segment_cannot_have_three_underscores: !segment("a___b");
    a_segment_cannot_have_two_dots: !segment("a..b");
    a_segment_may_have_any_number_of_dashes: segment("a-----b");
    a_segment_cannot_mix_separators: !segment("a_-b");
    a_segment_cannot_mix_dashes_and_others: !segment("a-_b");
    a_segment_cannot_begin_with_a_separator: !segment("-a");
    a_segment_cannot_end_with_a_separator: !segment("a-");
    a_segment_cannot_have_capitals: valid_repository_segment("aB") == Err(ErrorKind::UpperCaseRepository);
    a_segment_cannot_be_non_ascii: valid_repository_segment("å") == Err(ErrorKind::InvalidRepository);
    a_segment_cannot_be_empty: valid_repository_segment("") == Err(ErrorKind::EmptySegment);
    a_segment_has_no_slash: !segment("a/b");

    a_repository_may_have_many_segments: valid_repository("a/b/c/d/e").is_ok();
    a_repository_cannot_be_empty: valid_repository("") == Err(ErrorKind::MissingRepository);
    a_repository_cannot_have_two_slashes: valid_repository("a//b") == Err(ErrorKind::EmptySegment);
    a_repository_of_254_bytes: valid_repository(&repository_of(254)).is_ok();
    a_repository_of_255_bytes: valid_repository(&repository_of(255)).is_ok();
    a_repository_of_256_bytes_is_too_long: valid_repository(&repository_of(256)) == Err(ErrorKind::NameTooLong);
    the_registry_does_not_count: parse(&format!("quay.io/{}", repository_of(255))).repository().len() == 255;
    one_byte_more_under_a_registry_is_too_long: kind(&format!("quay.io/{}", repository_of(256))) == ErrorKind::NameTooLong;
    an_implied_library_counts_246: parse(&"a".repeat(246)).repository().len() == 254;
    an_implied_library_counts_247: parse(&"a".repeat(247)).repository().len() == 255;
    an_implied_library_counts_248: kind(&"a".repeat(248)) == ErrorKind::NameTooLong;
    a_host_that_is_none_counts: kind(&format!("a_b.c/{}", "d".repeat(250))) == ErrorKind::NameTooLong;
    a_host_that_is_none_counts_up_to_the_limit: parse(&format!("a_b.c/{}", "d".repeat(249))).repository().len() == 255;

    a_tag_may_be_one_letter: tag("a");
    a_tag_may_begin_with_an_underscore: tag("_");
    a_tag_may_have_capitals_dots_and_dashes: tag("V1.0-rc.1_x-");
    a_tag_cannot_begin_with_a_dot: !tag(".a");
    a_tag_cannot_begin_with_a_dash: !tag("-a");
    a_tag_cannot_have_a_plus: !tag("1.0+x");
    a_tag_cannot_be_non_ascii: valid_tag("タグ") == Err(ErrorKind::InvalidTag);
    a_tag_cannot_be_empty: valid_tag("") == Err(ErrorKind::TrailingColon);
    a_tag_of_127_bytes: tag(&"a".repeat(127));
    a_tag_of_128_bytes: tag(&"a".repeat(128));
    a_tag_of_129_bytes_is_too_long: valid_tag(&"a".repeat(129)) == Err(ErrorKind::TagTooLong);

    a_sha256_has_64_digits: digest("sha256", 64) == Ok(());
    a_sha256_does_not_have_63_digits: digest("sha256", 63) == Err(ErrorKind::WrongDigestLength);
    a_sha256_does_not_have_65_digits: digest("sha256", 65) == Err(ErrorKind::WrongDigestLength);
    a_sha384_has_96_digits: digest("sha384", 96) == Ok(());
    a_sha384_does_not_have_95_digits: digest("sha384", 95) == Err(ErrorKind::WrongDigestLength);
    a_sha384_does_not_have_97_digits: digest("sha384", 97) == Err(ErrorKind::WrongDigestLength);
    a_sha512_has_128_digits: digest("sha512", 128) == Ok(());
    a_sha512_does_not_have_127_digits: digest("sha512", 127) == Err(ErrorKind::WrongDigestLength);
    a_sha512_does_not_have_129_digits: digest("sha512", 129) == Err(ErrorKind::WrongDigestLength);
    a_digest_cannot_be_empty: valid_digest("") == Err(ErrorKind::InvalidDigest);
    a_digest_needs_an_algorithm: valid_digest(&format!(":{}", hex(64))) == Err(ErrorKind::InvalidDigest);
    a_digest_needs_digits: valid_digest("sha256:") == Err(ErrorKind::WrongDigestLength);
    a_digest_is_hex: valid_digest(&format!("sha256:g{}", hex(63))) == Err(ErrorKind::InvalidDigest);
    md5_is_not_supported: digest("md5", 32) == Err(ErrorKind::UnsupportedDigestAlgorithm);
    sha1_is_not_supported: digest("sha1", 40) == Err(ErrorKind::UnsupportedDigestAlgorithm);
    a_compound_algorithm_is_not_supported: digest("sha256+b64", 64) == Err(ErrorKind::UnsupportedDigestAlgorithm);
    an_algorithm_cannot_begin_with_a_digit: digest("1sha", 64) == Err(ErrorKind::InvalidDigest);

    an_identifier_of_63_digits_is_a_name: parse(&hex(63)).repository().name() == hex(63);
    an_identifier_of_64_digits_is_refused: kind(&hex(64)) == ErrorKind::BareIdentifier;
    an_identifier_of_65_digits_is_a_name: parse(&hex(65)).repository().name() == hex(65);
    an_identifier_with_a_tag_is_a_name: parse(&format!("{}:t", hex(64))).tag() == Some("t");
}
