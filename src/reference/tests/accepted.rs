//! What a valid reference becomes.

use super::*;

/// One test for each row: input, then registry, repository, tag, digest and the familiar form.
macro_rules! accepted {
    ($($name:ident: $input:expr => $registry:expr, $repository:expr, $tag:expr, $digest:expr, $familiar:expr;)+) => {
        $(#[test]
        fn $name() {
            let input: String = $input.into();
            let reference = parse(&input);
            let (tag, digest): (Option<&str>, Option<&str>) = ($tag, $digest);
            assert_eq!(reference.registry(), $registry);
            assert_eq!(reference.repository().to_string(), $repository);
            assert_eq!(reference.repository(), $repository);
            assert_eq!(reference.repository().len(), $repository.len());
            assert_eq!(reference.tag(), tag);
            assert_eq!(reference.digest(), digest);
            assert_eq!(reference.familiar().to_string(), $familiar);
            assert_eq!(reference.input(), input);
            assert_eq!(reference.to_string(), input);
        })+
    };
}

accepted! {
    a_single_segment_lies_in_library_on_docker_hub:
        "alpine" => "docker.io", "library/alpine", None, None, "alpine";
    a_tag_is_kept:
        "alpine:3.23" => "docker.io", "library/alpine", Some("3.23"), None, "alpine:3.23";
    a_digest_is_kept:
        format!("alpine@{SHA256}") => "docker.io", "library/alpine", None, Some(SHA256), format!("alpine@{SHA256}");
    a_tag_beside_a_digest_is_kept:
        format!("alpine:3@{SHA256}") => "docker.io", "library/alpine", Some("3"), Some(SHA256), format!("alpine:3@{SHA256}");
    two_segments_without_a_host_lie_on_docker_hub:
        "rucio/rucio:1" => "docker.io", "rucio/rucio", Some("1"), None, "rucio/rucio:1";
    docker_io_written_out_gets_library_too:
        "docker.io/alpine" => "docker.io", "library/alpine", None, None, "alpine";
    index_docker_io_is_docker_io:
        "index.docker.io/alpine:3" => "docker.io", "library/alpine", Some("3"), None, "alpine:3";
    index_docker_io_with_two_segments_is_docker_io:
        "index.docker.io/a/b" => "docker.io", "a/b", None, None, "a/b";
    index_docker_io_with_a_port_is_another_registry:
        "index.docker.io:443/a" => "index.docker.io:443", "a", None, None, "index.docker.io:443/a";
    docker_io_in_capitals_is_another_registry:
        "Docker.io/alpine" => "Docker.io", "alpine", None, None, "Docker.io/alpine";
    an_upper_case_first_segment_is_a_registry:
        "Foo/bar" => "Foo", "bar", None, None, "Foo/bar";
    localhost_is_a_registry:
        "localhost/x" => "localhost", "x", None, None, "localhost/x";
    localhost_alone_is_an_image:
        "localhost" => "docker.io", "library/localhost", None, None, "localhost";
    a_host_with_a_port_alone_is_an_image_with_a_tag:
        "localhost:5000" => "docker.io", "library/localhost", Some("5000"), None, "localhost:5000";
    a_port_makes_a_registry:
        "registry:5000/x:t" => "registry:5000", "x", Some("t"), None, "registry:5000/x:t";
    a_node_port_registry_is_a_registry:
        "127.0.0.1:30000/x:tag" => "127.0.0.1:30000", "x", Some("tag"), None, "127.0.0.1:30000/x:tag";
    an_ipv6_registry_with_a_port:
        "[::1]:5000/x" => "[::1]:5000", "x", None, None, "[::1]:5000/x";
    an_ipv6_registry_without_a_port:
        "[fd00:1:2::3]/x/y:t" => "[fd00:1:2::3]", "x/y", Some("t"), None, "[fd00:1:2::3]/x/y:t";
    capitals_between_brackets_make_a_registry_without_any_colon:
        "[ABC]/x" => "[ABC]", "x", None, None, "[ABC]/x";
    a_host_with_an_underscore_becomes_part_of_the_repository:
        "a_b.example.com/x:t" => "", "a_b.example.com/x", Some("t"), None, "a_b.example.com/x:t";
    library_on_another_registry_stays_in_the_familiar_form:
        "quay.io/library/x" => "quay.io", "library/x", None, None, "quay.io/library/x";
    library_with_more_than_one_segment_stays_in_the_familiar_form:
        "library/a/b" => "docker.io", "library/a/b", None, None, "library/a/b";
    an_image_called_library_gets_library_too:
        "library" => "docker.io", "library/library", None, None, "library";
    a_host_may_follow_docker_io:
        "docker.io/localhost/x" => "docker.io", "localhost/x", None, None, "localhost/x";
    a_digest_without_a_name_is_an_image_called_sha256:
        SHA256 => "docker.io", "library/sha256", SHA256.split(':').nth(1), None, SHA256;
    an_identifier_under_a_registry_is_a_repository:
        format!("quay.io/{}", hex(64)) => "quay.io", hex(64).as_str(), None, None, format!("quay.io/{}", hex(64));
    the_case_of_a_tag_is_kept:
        "a/b:LATEST" => "docker.io", "a/b", Some("LATEST"), None, "a/b:LATEST";
}

facts! {
    the_canonical_form_names_registry_and_library: parse("alpine").canonical().to_string() == "docker.io/library/alpine";
    the_canonical_form_keeps_tag_and_digest:
        parse(&format!("a:t@{SHA256}")).canonical().to_string() == format!("docker.io/library/a:t@{SHA256}");
    the_canonical_form_without_a_registry_has_no_slash_in_front: parse("a_b.c/x").canonical().to_string() == "a_b.c/x";
    the_canonical_name_drops_tag_and_digest:
        parse(&format!("quay.io/a:t@{SHA256}")).canonical_name().to_string() == "quay.io/a";
    two_spellings_have_one_canonical_form: parse("alpine:3").canonical() == parse("index.docker.io/library/alpine:3").canonical();
    two_spellings_are_two_references: parse("alpine") != parse("docker.io/library/alpine");
    the_suffix_is_tag_and_digest: parse(&format!("a/b:t@{SHA256}")).suffix() == format!(":t@{SHA256}");
    the_suffix_of_a_digest_alone: parse(&format!("a/b@{SHA256}")).suffix() == format!("@{SHA256}");
    the_suffix_of_a_bare_name_is_empty: parse("registry:5000/b").suffix().is_empty();
    no_tag_matches_as_latest: parse("alpine").matching_tag() == Some("latest");
    a_digest_alone_matches_no_tag: parse(&format!("alpine@{SHA256}")).matching_tag().is_none();
    a_tag_beside_a_digest_matches: parse(&format!("alpine:3@{SHA256}")).matching_tag() == Some("3");
    segments_begin_with_the_registry: parse("alpine").segments().eq(["docker.io", "library", "alpine"]);
    segments_leave_out_an_empty_registry: parse("a_b.c/x").segments().eq(["a_b.c", "x"]);
    segments_go_both_ways: parse("quay.io/a/b").segments().rev().eq(["b", "a", "quay.io"]);
    an_implied_library_is_a_segment: parse("alpine").repository().segments().eq(["library", "alpine"]);
    an_implied_library_is_a_namespace: parse("alpine").repository().namespace() == Some("library");
    a_namespace_may_have_several_segments: parse("quay.io/a/b/c").repository().namespace() == Some("a/b");
    a_namespace_may_begin_with_library: parse("quay.io/library/b/c").repository().namespace() == Some("library/b");
    one_segment_has_no_namespace: parse("quay.io/a").repository().namespace().is_none();
    the_name_is_the_last_segment: parse("quay.io/a/b/c").repository().name() == "c";
    the_name_of_a_single_segment_is_all_of_it: parse("quay.io/a").repository().name() == "a";
    a_repository_is_not_equal_to_its_short_form: parse("alpine").repository() != "alpine";
    written_and_implied_library_are_one_repository:
        parse("alpine").repository() == parse("quay.io/library/alpine").repository();
    display_pads: format!("{:>8}", parse("alpine")) == "  alpine";
}
