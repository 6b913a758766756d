//! What changes, for people and for `patch`.

use similar::{ChangeTag, TextDiff};

use crate::document::Source;

/// A unified diff, with three lines around each change; nothing where nothing changes.
pub(super) fn unified(source: &Source, after: &str, colour: bool) -> String {
    let diff = TextDiff::from_lines(&*source.text, after);
    let hunks: Vec<_> = diff.grouped_ops(CONTEXT);
    if hunks.is_empty() {
        return String::new();
    }
    let paint = |style: &str, text: &str| {
        if colour {
            format!("{style}{text}{RESET}")
        } else {
            text.to_owned()
        }
    };
    let name = if source.name == "<stdin>" {
        "stdin"
    } else {
        &source.name
    };
    let mut out = paint(BOLD, &format!("--- {name}")) + "\n";
    out.push_str(&(paint(BOLD, &format!("+++ {name}")) + "\n"));
    for hunk in hunks {
        let header = similar::udiff::UnifiedHunkHeader::new(&hunk);
        out.push_str(&(paint(CYAN, &header.to_string()) + "\n"));
        for change in hunk.iter().flat_map(|part| diff.iter_changes(part)) {
            let (sign, style) = match change.tag() {
                ChangeTag::Delete => ("-", RED),
                ChangeTag::Insert => ("+", GREEN),
                ChangeTag::Equal => (" ", ""),
            };
            let line = change.value();
            let content = line.strip_suffix('\n').unwrap_or(line);
            // What a text says must not be able to steer a terminal.
            let content = if colour { escaped(content) } else { content.to_owned() };
            if style.is_empty() {
                out.push_str(&format!("{sign}{content}\n"));
            } else {
                out.push_str(&(paint(style, &format!("{sign}{content}")) + "\n"));
            }
            if !line.ends_with('\n') {
                out.push_str("\\ No newline at end of file\n");
            }
        }
    }
    out
}

fn escaped(line: &str) -> String {
    line.chars()
        .filter(|character| *character == '\t' || !character.is_control())
        .collect()
}

/// So many lines around each change.
const CONTEXT: usize = 3;

const BOLD: &str = "\x1b[1m";
const CYAN: &str = "\x1b[36m";
const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const RESET: &str = "\x1b[0m";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_is_what_patch_takes() {
        let source = Source::new("dir/m.yaml", "a\nb\nimage: x\nc\nd\ne\nf\nlast");
        assert_eq!(unified(&source, &source.text, true), "");
        assert_eq!(
            unified(&source, "a\nb\nimage: y\nc\nd\ne\nf\nend", false),
            "--- dir/m.yaml\n+++ dir/m.yaml\n@@ -1,8 +1,8 @@\n a\n b\n-image: x\n+image: y\n c\n d\n e\n f\n-last\n\\ No newline at end of file\n+end\n\\ No newline at end of file\n"
        );
    }

    #[test]
    fn colours_are_for_terminals() {
        let source = Source::new("<stdin>", "image: x\r\n");
        assert_eq!(
            unified(&source, "image: y\r\n", true),
            "\x1b[1m--- stdin\x1b[0m\n\x1b[1m+++ stdin\x1b[0m\n\x1b[36m@@ -1 +1 @@\x1b[0m\n\x1b[31m-image: x\x1b[0m\n\x1b[32m+image: y\x1b[0m\n"
        );
        assert!(unified(&source, "image: y\r\n", false).ends_with("+image: y\r\n"));
    }
}
