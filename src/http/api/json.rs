//! JSON that may have credentials in it: checked without repeating any of it, read without leaving copies behind.
//!
//! serde's own messages have the value in them that they are about. So a body is compared with its schema first, in words that name
//! fields and what is expected of them; decoding what has passed does not fail.

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};
use serde_json::{Value, value::RawValue};
use zeroize::Zeroizing;

use super::problem::FieldError;
use crate::document::{Path, check::closest};

/// A JSON Schema, as schemars makes it of a type, and what is known of fields that it does not have.
pub(super) struct Shape {
    schema: Value,
    /// Fields that answers have and requests do not.
    answered: &'static [&'static str],
    /// What is said besides of a field in which something is wrong.
    hints: Vec<(&'static str, &'static str)>,
    /// What outermost fields are called elsewhere, and here.
    called: Vec<(&'static str, &'static str)>,
}

impl Shape {
    pub(super) fn new(schema: Value, answered: &'static [&'static str]) -> Self {
        Self {
            schema,
            answered,
            hints: Vec::new(),
            called: Vec::new(),
        }
    }

    /// With something to be said besides where something is wrong with this field.
    pub(super) fn hint(mut self, field: &'static str, hint: &'static str) -> Self {
        self.hints.push((field, hint));
        self
    }

    /// With another name that an outermost field has elsewhere.
    pub(super) fn called(mut self, elsewhere: &'static str, here: &'static str) -> Self {
        self.called.push((elsewhere, here));
        self
    }

    /// Everything that is wrong with the structure of a text.
    pub(super) fn check(&self, json: &RawValue) -> Vec<FieldError> {
        let mut errors = Vec::new();
        self.walk(&self.schema, json.get(), Path::root(), &mut errors);
        errors.truncate(MOST_ERRORS);
        for error in &mut errors {
            let hint = self
                .hints
                .iter()
                .find(|(field, _)| error.field.as_deref() == Some(*field));
            if let Some((_, hint)) = hint {
                error.hint.get_or_insert_with(|| (*hint).to_owned());
            }
        }
        errors
    }

    fn walk(&self, schema: &Value, json: &str, path: Path, errors: &mut Vec<FieldError>) {
        if errors.len() >= MOST_ERRORS {
            return;
        }
        let kind = Kind::of(json);
        let Some(schema) = self.fitting(schema, kind) else {
            let expected = self.expected(schema).join(" or ");
            errors.push(FieldError::new(
                path.to_string(),
                format!("expected {expected}, found {}", kind.article()),
            ));
            return;
        };
        match kind {
            Kind::String => string(schema, json, &path, errors),
            Kind::Array => {
                let Some(items) = schema.get("items") else { return };
                // It has been read as JSON before.
                for (index, item) in serde_json::from_str::<Vec<&RawValue>>(json)
                    .unwrap_or_default()
                    .into_iter()
                    .enumerate()
                {
                    self.walk(items, item.get(), path.clone().index(index), errors);
                }
            }
            Kind::Object => self.object(schema, json, &path, errors),
            Kind::Null | Kind::Bool | Kind::Number => {}
        }
    }

    fn object(&self, schema: &Value, json: &str, path: &Path, errors: &mut Vec<FieldError>) {
        let Ok(Entries(entries)) = serde_json::from_str(json) else {
            errors.push(FieldError::new(path.to_string(), "it has a key that is no text"));
            return;
        };
        let properties = schema.get("properties").and_then(Value::as_object);
        let required = schema
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str);
        for name in required {
            if !entries.iter().any(|(key, _)| key == name) {
                errors.push(FieldError::new(path.clone().key(name).to_string(), "it is missing"));
            }
        }
        let mut seen = Vec::with_capacity(entries.len());
        for (key, value) in &entries {
            let at = path.clone().key(shortened(key));
            if seen.contains(&key) {
                errors.push(FieldError::new(at.to_string(), "it is there twice"));
                continue;
            }
            seen.push(key);
            let known = properties.and_then(|properties| properties.get(key));
            let rest = schema.get("additionalProperties");
            match (known, rest) {
                (Some(schema), _) => self.walk(schema, value.get(), at, errors),
                (None, Some(Value::Bool(false))) => {
                    let names = properties.into_iter().flatten().map(|(name, _)| &**name);
                    errors.push(self.unknown(key, &at, path.is_root(), names));
                }
                (None, Some(rest @ Value::Object(_))) => self.walk(rest, value.get(), at, errors),
                (None, _) => {}
            }
            if errors.len() >= MOST_ERRORS {
                return;
            }
        }
    }

    fn unknown<'a>(
        &self,
        key: &str,
        at: &Path,
        outermost: bool,
        names: impl Iterator<Item = &'a str> + Clone,
    ) -> FieldError {
        let error = FieldError::new(at.to_string(), "there is no such field");
        if outermost && self.answered.contains(&key) {
            return error.hint("it is Waypost's to say: leave it out");
        }
        let elsewhere = self.called.iter().find(|(name, _)| outermost && *name == key);
        match elsewhere.map(|(_, here)| *here).or_else(|| closest(key, names.clone())) {
            Some(name) => error.hint(format!("did you mean `{name}`?")),
            None => error.hint(format!("known here: {}", names.collect::<Vec<_>>().join(", "))),
        }
    }

    /// What the schema comes to for a value of this kind; none where it allows none.
    fn fitting<'s>(&'s self, schema: &'s Value, kind: Kind) -> Option<&'s Value> {
        if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
            let name = name.rsplit('/').next()?;
            return self.fitting(self.schema.get("$defs")?.get(name)?, kind);
        }
        if let Some(any) = schema.get("anyOf").and_then(Value::as_array) {
            return any.iter().find_map(|schema| self.fitting(schema, kind));
        }
        match schema.get("type") {
            Some(Value::String(name)) => (kind.name() == name).then_some(schema),
            Some(Value::Array(names)) => names.iter().any(|name| name == kind.name()).then_some(schema),
            _ => Some(schema),
        }
    }

    /// The kinds that a schema allows, in words.
    fn expected(&self, schema: &Value) -> Vec<&'static str> {
        let mut expected: Vec<_> = Kind::ALL
            .into_iter()
            .filter(|kind| self.fitting(schema, *kind).is_some())
            .map(Kind::article)
            .collect();
        if expected.len() > 1 {
            expected.retain(|article| *article != Kind::Null.article());
        }
        expected
    }
}

fn string(schema: &Value, json: &str, path: &Path, errors: &mut Vec<FieldError>) {
    let Some(text) = unescaped(json) else {
        errors.push(FieldError::new(
            path.to_string(),
            "it is no text: half of a surrogate pair is in it",
        ));
        return;
    };
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        let values: Vec<_> = values.iter().filter_map(Value::as_str).collect();
        if !values.contains(&&**text) {
            errors.push(FieldError::new(
                path.to_string(),
                format!("expected {}", values.join(" or ")),
            ));
        }
    }
    let limit = |name: &str| schema.get(name).and_then(Value::as_u64);
    let length = text.chars().count() as u64;
    if length == 0 && limit("minLength") >= Some(1) {
        errors.push(FieldError::new(path.to_string(), "it is empty").hint("give it a value, or leave the field out"));
    }
    if let Some(most) = limit("maxLength").filter(|most| length > *most) {
        errors.push(FieldError::new(
            path.to_string(),
            format!("it has more than {most} characters"),
        ));
    }
}

/// A text that is wiped from memory when it goes, and was copied nowhere else.
pub(super) struct Secret(pub(super) Zeroizing<String>);

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        let text = Some(raw.get()).filter(|raw| raw.starts_with('"')).and_then(unescaped);
        text.map(Self).ok_or_else(|| D::Error::custom("expected a string"))
    }
}

impl schemars::JsonSchema for Secret {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "minLength": 1, "format": "password", "writeOnly": true})
    }
}

/// The text that a JSON string stands for; none where it stands for none. serde_json would leave a copy of one with escapes in a
/// buffer of its own.
pub(super) fn unescaped(json: &str) -> Option<Zeroizing<String>> {
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    // No escape is shorter than what it stands for, so that nothing is moved, and nothing left behind.
    let mut text = Zeroizing::new(String::with_capacity(inner.len()));
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        let escape = rest.as_bytes().get(at + 1)?;
        rest = &rest[at + 2..];
        text.push(match escape {
            b'n' => '\n',
            b't' => '\t',
            b'r' => '\r',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'u' => {
                let first = unit(&mut rest)?;
                if (0xD800..0xDC00).contains(&first) {
                    rest = rest.strip_prefix("\\u")?;
                    let second = unit(&mut rest).filter(|second| (0xDC00..0xE000).contains(second))?;
                    char::from_u32(0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00))?
                } else {
                    char::from_u32(first)?
                }
            }
            plain => char::from(*plain),
        });
    }
    text.push_str(rest);
    Some(text)
}

fn unit(rest: &mut &str) -> Option<u32> {
    let (digits, behind) = rest.split_at_checked(4)?;
    *rest = behind;
    u32::from_str_radix(digits, 16).ok()
}

/// The entries of an object, two of the same key included.
struct Entries<'j>(Vec<(String, &'j RawValue)>);

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(Reader)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    String,
    Bool,
    Number,
    Object,
    Array,
    Null,
}

impl Kind {
    const ALL: [Self; 6] = [
        Self::String,
        Self::Bool,
        Self::Number,
        Self::Object,
        Self::Array,
        Self::Null,
    ];

    /// Of a text that is JSON.
    fn of(json: &str) -> Self {
        match json.as_bytes().first() {
            Some(b'"') => Self::String,
            Some(b't' | b'f') => Self::Bool,
            Some(b'{') => Self::Object,
            Some(b'[') => Self::Array,
            Some(b'n') => Self::Null,
            _ => Self::Number,
        }
    }

    /// As JSON Schema has it.
    fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Bool => "boolean",
            Self::Number => "number",
            Self::Object => "object",
            Self::Array => "array",
            Self::Null => "null",
        }
    }

    fn article(self) -> &'static str {
        match self {
            Self::String => "a string",
            Self::Bool => "true or false",
            Self::Number => "a number",
            Self::Object => "an object",
            Self::Array => "a list",
            Self::Null => "null",
        }
    }
}

/// Somebody may have sent a password for a key.
fn shortened(key: &str) -> String {
    if key.chars().count() <= 64 {
        return key.to_owned();
    }
    let mut short: String = key.chars().take(63).collect();
    short.push('…');
    short
}

const MOST_ERRORS: usize = 50;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_string_is_read_as_serde_json_reads_it(text in any::<String>(), ascii in any::<bool>()) {
            let mut json = serde_json::to_string(&text).unwrap();
            if ascii {
                let units = |character: char| {
                    let mut buffer = [0; 2];
                    character.encode_utf16(&mut buffer).iter().map(|unit| format!("\\u{unit:04X}")).collect::<String>()
                };
                json = json.chars().map(|character| if character.is_ascii() { character.to_string() } else { units(character) }).collect();
            }
            prop_assert_eq!(unescaped(&json).map(|read| read.to_string()), Some(text));
        }
    }

    #[test]
    fn half_a_surrogate_pair_is_no_text() {
        for json in [r#""\ud800""#, r#""\udc00""#, r#""\ud800\u0041""#, r#""\ud800x""#] {
            assert_eq!(unescaped(json).map(|_| ()), None, "{json}");
        }
    }

    #[test]
    fn everything_that_is_wrong_is_said_and_no_value_repeated() {
        let schema = serde_json::json!({
            "type": "object",
            "properties": {
                "name": {"type": "string", "minLength": 1, "maxLength": 5},
                "secret": {"type": ["string", "null"]},
                "list": {"type": ["array", "null"], "items": {"$ref": "#/$defs/Place"}},
                "either": {"anyOf": [{"type": "string"}, {"type": "object", "additionalProperties": true}, {"type": "null"}]},
                "flag": {"type": "boolean"},
            },
            "required": ["name"],
            "additionalProperties": false,
            "$defs": {"Place": {"type": "string", "enum": ["here", "there"]}},
        });
        let shape = Shape::new(schema, &["created_at"]);
        for (json, expected) in [
            (
                r#"{"name": "n", "secret": null, "list": ["here"], "either": {"x": {}}, "flag": true}"#,
                vec![],
            ),
            ("{}", vec!["name: it is missing"]),
            ("[]", vec!["expected an object, found a list"]),
            (
                r#"{"name": "hunter2", "secret": 5, "list": ["hunter2", "there", 1], "either": [], "flag": "hunter2"}"#,
                vec![
                    "name: it has more than 5 characters",
                    "secret: expected a string, found a number",
                    "list[0]: expected here or there",
                    "list[2]: expected a string, found a number",
                    "either: expected a string or an object, found a list",
                    "flag: expected true or false, found a string",
                ],
            ),
            (
                r#"{"name": "", "nam": 1, "created_at": 1, "qqqqqqqqq": 1, "flag": null}"#,
                vec![
                    "name: it is empty: give it a value, or leave the field out",
                    "nam: there is no such field: did you mean `name`?",
                    "created_at: there is no such field: it is Waypost's to say: leave it out",
                    "qqqqqqqqq: there is no such field: known here: either, flag, list, name, secret",
                    "flag: expected true or false, found null",
                ],
            ),
            (r#"{"name": "n", "n\u0061me": "m"}"#, vec!["name: it is there twice"]),
            (
                r#"{"name": "\udc00"}"#,
                vec!["name: it is no text: half of a surrogate pair is in it"],
            ),
        ] {
            let raw: &RawValue = serde_json::from_str(json).unwrap();
            let said: Vec<_> = shape
                .check(raw)
                .into_iter()
                .map(|FieldError { field, message, hint }| {
                    [field, Some(message), hint]
                        .into_iter()
                        .flatten()
                        .collect::<Vec<_>>()
                        .join(": ")
                })
                .collect();
            assert_eq!(said, expected, "{json}");
        }
    }
}
