//! The JSON lines of `waypost reference`.

use super::super::lines::{Summary, json_line, run};
use super::*;

/// The output for these bytes, as lines.
fn output(bytes: &[u8]) -> (Vec<String>, Summary) {
    let mut written = Vec::new();
    let summary = run(bytes, &mut written).unwrap();
    let written = String::from_utf8(written).unwrap();
    assert!(written.is_empty() || written.ends_with('\n'));
    (written.lines().map(str::to_owned).collect(), summary)
}

fn line_for(bytes: &[u8]) -> serde_json::Value {
    let (lines, _) = output(bytes);
    assert_eq!(lines.len(), 1);
    serde_json::from_str(&lines[0]).unwrap()
}

facts! {
    an_image_is_one_object_in_this_order: json_line("alpine") == r#"{"input":"alpine","registry":"docker.io","#.to_owned()
        + r#""repository":"library/alpine","canonical":"docker.io/library/alpine","familiar":"alpine"}"#;
    tag_and_digest_follow_the_repository: json_line(&format!("a_b.c/d:t@{SHA256}")) == format!(
        r#"{{"input":"a_b.c/d:t@{SHA256}","registry":"","repository":"a_b.c/d","tag":"t","digest":"{SHA256}","#)
        + &format!(r#""canonical":"a_b.c/d:t@{SHA256}","familiar":"a_b.c/d:t@{SHA256}"}}"#);
    a_refused_line_has_kind_and_message: json_line("") == r#"{"input":"","error":{"kind":"empty","message":"#.to_owned()
        + r#""image reference ``: it is empty (empty); write at least a repository, such as `alpine`"}}"#;
    the_input_of_a_refused_line_is_given_in_full: line_for(&[b'A'; 1000])["input"] == "A".repeat(1000);

    no_input_gives_no_line: output(b"") == (vec![], Summary { lines: 0, refused: 0 });
    a_blank_line_gives_a_line: output(b"\n").1 == Summary { lines: 1, refused: 1 };
    blank_lines_between_give_lines: output(b"a\n\nb\n").1 == Summary { lines: 3, refused: 1 };
    the_last_line_needs_no_line_break: output(b"a\nb") == output(b"a\nb\n");
    a_carriage_return_stays: line_for(b"alpine\r\n")["input"] == "alpine\r";
    a_carriage_return_is_refused: line_for(b"alpine\r\n")["error"]["kind"] == "whitespace";
    nothing_is_trimmed: line_for(b" a \t")["input"] == " a \t";
    bytes_that_are_not_utf8_are_refused: line_for(b"a\xff\n")["error"]["kind"] == "not_utf8";
    bytes_that_are_not_utf8_are_shown: line_for(b"a\xff\n")["input"] == "a\u{fffd}";
    bytes_that_are_not_utf8_do_not_end_the_run: output(b"\xff\nalpine\n").1 == Summary { lines: 2, refused: 1 };
    a_zero_byte_is_refused: line_for(b"a\0")["error"]["kind"] == "invalid_repository";
    a_line_of_megabytes_is_read: line_for(&[b"quay.io/".as_slice(), &[b'a'; 4 << 20]].concat())["error"]["kind"]
        == "name_too_long";
    a_json_line_is_one_line: !json_line("a\nb").contains('\n');
}
