use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// Everything that a text says, read by what this module has.
fn whole(text: &[u8]) -> Result<Value, NotJson> {
    let mut json = Json::new(text);
    let value = value(&mut json)?;
    json.end()?;
    Ok(value)
}

fn value(json: &mut Json<'_>) -> Result<Value, NotJson> {
    Ok(match json.peek()? {
        b'{' => {
            let mut map = serde_json::Map::new();
            json.object(|json, key| {
                map.insert(utf8(key)?.into_owned(), value(json)?);
                Ok(())
            })?;
            map.into()
        }
        b'[' => {
            let mut list = Vec::new();
            json.list(|json| {
                list.push(value(json)?);
                Ok(())
            })?;
            list.into()
        }
        b'"' => json.text()?.value().unwrap().into(),
        b't' | b'f' => json.boolean()?.value().unwrap().into(),
        _ => {
            let start = json.at;
            json.skip()?;
            serde_json::from_slice(&json.text[start..json.at]).map_err(|_| NotJson)?
        }
    })
}

fn skipped(text: &[u8]) -> Result<(), NotJson> {
    let mut json = Json::new(text);
    json.skip()?;
    json.end()
}

fn any_json() -> impl Strategy<Value = Value> {
    let text = any::<String>();
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f32>().prop_map(Value::from),
        text.prop_map(Value::from),
        "[ \"\\\\{}\\[\\],:]{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..6).prop_map(Value::from_iter),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_json_is_read_as_it_is_and_passed_over_to_its_end(tree in any_json(), pretty: bool) {
        let text = if pretty { format!(" {tree:#}\r\n\t") } else { tree.to_string() };
        prop_assert_eq!(whole(text.as_bytes()), Ok(tree));
        prop_assert_eq!(skipped(text.as_bytes()), Ok(()));
    }

    #[test]
    fn what_is_cut_off_is_not_json(tree in any_json(), cut: prop::sample::Index) {
        let text = json!([tree]).to_string();
        let cut = &text.as_bytes()[..cut.index(text.len())];
        prop_assert_eq!(whole(cut), Err(NotJson));
        prop_assert_eq!(skipped(cut), Err(NotJson));
    }

    #[test]
    fn what_is_read_to_the_last_of_any_bytes_is_json(bytes in r#"[\[\]{}",:\\ntu0-9.e \u{1}é-]{0,12}"#) {
        if let Ok(read) = whole(bytes.as_bytes()) {
            prop_assert_eq!(serde_json::from_str::<Value>(&bytes).ok(), Some(read));
        }
    }
}

proptest! {
    #[test]
    fn a_string_has_the_length_that_it_has_without_escapes(text: String, ascii: bool) {
        let json = if ascii {
            let escaped = |unit| format!("\\u{unit:04x}");
            format!("\"{}\"", text.encode_utf16().map(escaped).collect::<String>())
        } else {
            serde_json::to_string(&text).unwrap()
        };
        prop_assert_eq!(Json::new(json.as_bytes()).length(), Ok(text.len()));
    }

    #[test]
    fn what_is_written_is_read_again(text: String) {
        let mut json = b"x".to_vec();
        write_text(&mut json, &text);
        prop_assert_eq!(serde_json::from_slice::<String>(&json[1..]).ok(), Some(text));
    }
}

#[test]
fn escapes_are_read_and_a_string_ends_where_it_ends() {
    for text in [
        r#""""#,
        r#""\"""#,
        r#""\\""#,
        r#""\\\"x""#,
        r#""\u00e9\n\/""#,
        r#""\ud83e\udd80""#,
        r#"{"\u006bey":"\\","a\"b":["]","}"]}"#,
    ] {
        assert_eq!(
            whole(text.as_bytes()),
            Ok(serde_json::from_str(text).unwrap()),
            "{text}"
        );
        assert_eq!(skipped(text.as_bytes()), Ok(()), "{text}");
    }
}

#[test]
fn what_is_read_is_as_the_grammar_has_it() {
    let texts: [&[u8]; 22] = [
        b"",
        b" ",
        b"\"",
        b"\"\\\"",
        b"\"\\",
        b"\"\\x\"",
        b"\"\\ud800\"",
        b"\"\n\"",
        b"\"\xff\"",
        b"{",
        b"{]",
        b"{,}",
        b"{\"a\"}",
        b"{\"a\":}",
        b"{\"a\":1,}",
        b"{a:1}",
        b"[1,]",
        b"[1 2]",
        b"[}",
        b"x",
        b"tru",
        b"1 1",
    ];
    for text in texts {
        assert_eq!(whole(text), Err(NotJson), "{}", String::from_utf8_lossy(text));
    }
}

#[test]
fn no_depth_is_too_much_to_be_passed_over() {
    let deep = "[".repeat(1 << 20) + &"]".repeat(1 << 20);
    assert_eq!(skipped(deep.as_bytes()), Ok(()));
    assert_eq!(skipped(&deep.as_bytes()[1..]), Err(NotJson));
}

#[test]
fn of_another_type_is_not_the_same_as_absent() {
    let mut json = Json::new(br#"[null, 1, "x", [], {}, true]"#);
    let mut read = Vec::new();
    json.list(|json| {
        read.push(json.object(|_, _| unreachable!("it is empty"))?);
        Ok(())
    })
    .unwrap();
    assert_eq!(
        read,
        [
            Lenient::Absent,
            Lenient::Other,
            Lenient::Other,
            Lenient::Other,
            Lenient::Value(()),
            Lenient::Other
        ]
    );
}
