//! Texts, so written that every reader takes them for those texts.

use std::borrow::Cow;

use granit_parser::ScalarStyle;

use crate::document::quoted;

/// A list of references to Secrets, in flow style.
pub(super) fn secret_list(names: &[String], style: ScalarStyle, colon: &str) -> String {
    let key = scalar("name", style);
    let items: Vec<String> = names
        .iter()
        .map(|name| format!("{{{key}{colon}{}}}", scalar(name, style)))
        .collect();
    let comma = if colon == ":" { "," } else { ", " };
    format!("[{}]", items.join(comma))
}

/// In the quotes that are there.
pub(super) fn scalar(text: &str, style: ScalarStyle) -> String {
    match style {
        ScalarStyle::SingleQuoted => format!("'{}'", text.replace('\'', "''")),
        ScalarStyle::DoubleQuoted => quoted(text),
        _ => plain(text).into_owned(),
    }
}

/// Without quotes where every reader of YAML, 1.1 or 1.2, takes it for that text, in block and in flow style.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    let is_reference =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'/' | b':' | b'@' | b'-');
    let begins = |is: fn(&u8) -> bool| text.as_bytes().first().is_some_and(is);
    // A slash makes it neither a number nor a time, as `1e3` and `12:30` are.
    let is_text = if text.contains('/') {
        begins(u8::is_ascii_alphanumeric)
    } else {
        begins(u8::is_ascii_alphabetic) && !WORDS.iter().any(|word| word.eq_ignore_ascii_case(text))
    };
    if is_text && text.bytes().all(is_reference) && !text.ends_with(':') {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(quoted(text))
    }
}

/// What YAML 1.1 takes for something else than a text.
const WORDS: &[&str] = &[
    "y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_be_taken_for_something_else_is_quoted() {
        let rows = [
            ("r.io/library/nginx:1@sha256:ab", true),
            ("127.0.0.1:30500/a", true),
            ("[::1]:5000/a", false),
            ("waypost-pull", true),
            ("a.b", true),
            ("Always", true),
            ("Yes", false),
            ("null", false),
            ("1e3", false),
            ("12:30", false),
            ("0x1f", false),
            ("-a", false),
            ("a b/c", false),
            ("a/b:", false),
            ("", false),
        ];
        for (text, is_plain) in rows {
            let expected = if is_plain { text.to_owned() } else { quoted(text) };
            assert_eq!(plain(text), expected);
        }
        assert_eq!(scalar("it's", ScalarStyle::SingleQuoted), "'it''s'");
    }
}
