//! What an unquoted text means: the core schema of YAML 1.2 (section 10.3.2), in which `yes` and `010` are not surprises.

use super::node::Value;

/// How to write `text` in YAML or JSON so that it is read back as that string: in double quotes.
#[must_use]
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A text short enough to stand in a message.
pub(super) fn cut(text: &str) -> String {
    let mut short: String = text.chars().take(LONG).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// Whether a plain scalar is a text.
pub(crate) fn is_string(text: &str) -> bool {
    matches!(resolve(text), Value::String(_))
}

/// Whether a plain scalar is null.
pub(crate) fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// What a plain scalar is.
pub(super) fn resolve(text: &str) -> Value {
    match text {
        _ if is_null(text) => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ if is_number(text) => Value::Number(text.into()),
        _ => Value::String(text.into()),
    }
}

/// The value of a number's text if it is whole and fits.
pub(super) fn integer(text: &str) -> Option<i64> {
    if let Some(digits) = text.strip_prefix("0x") {
        return i64::from_str_radix(digits, 16).ok();
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return i64::from_str_radix(digits, 8).ok();
    }
    text.parse().ok()
}

/// The value of a number's text; not a number where it is none.
pub(super) fn float(text: &str) -> f64 {
    if let Some(value) = integer(text) {
        #[expect(clippy::cast_precision_loss, reason = "the caller asked for a double")]
        return value as f64;
    }
    let unsigned = text.trim_start_matches(['+', '-']);
    match unsigned {
        ".inf" | ".Inf" | ".INF" if text.starts_with('-') => f64::NEG_INFINITY,
        ".inf" | ".Inf" | ".INF" => f64::INFINITY,
        _ => match unsigned.strip_prefix("0x") {
            Some(digits) => radix(digits, 16.0),
            None => match unsigned.strip_prefix("0o") {
                Some(digits) => radix(digits, 8.0),
                None => text.parse().unwrap_or(f64::NAN),
            },
        },
    }
}

fn radix(digits: &str, base: f64) -> f64 {
    digits
        .chars()
        .filter_map(|digit| digit.to_digit(16))
        .fold(0.0, |value, digit| value * base + f64::from(digit))
}

fn is_number(text: &str) -> bool {
    let bytes = text.as_bytes();
    let all = |digits: &[u8], is: fn(&u8) -> bool| !digits.is_empty() && digits.iter().all(is);
    match bytes {
        [b'0', b'x', digits @ ..] => return all(digits, u8::is_ascii_hexdigit),
        [b'0', b'o', digits @ ..] => return all(digits, |byte| (b'0'..=b'7').contains(byte)),
        _ => {}
    }
    if matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return true;
    }
    // [-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], Some(&unsigned[at + 1..])),
        None => (unsigned, None),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent = exponent.is_none_or(|text| {
        let text = text.strip_prefix(['+', '-']).unwrap_or(text);
        !text.is_empty() && digits(text)
    });
    digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty()) && exponent
}

/// The longest text in a message, in characters.
pub(super) const LONG: usize = 60;

#[cfg(test)]
mod tests {
    use super::{Value, float, integer, quoted, resolve};

    #[test]
    fn plain_scalars_are_what_the_core_schema_says() {
        let rows = [
            ("", Value::Null),
            ("~", Value::Null),
            ("null", Value::Null),
            ("nUll", Value::String("nUll".into())),
            ("true", Value::Bool(true)),
            ("False", Value::Bool(false)),
            ("yes", Value::String("yes".into())),
            ("off", Value::String("off".into())),
            ("1", Value::Number("1".into())),
            ("-12", Value::Number("-12".into())),
            ("+1.20", Value::Number("+1.20".into())),
            ("1e3", Value::Number("1e3".into())),
            ("0x1F", Value::Number("0x1F".into())),
            ("0o17", Value::Number("0o17".into())),
            ("010", Value::Number("010".into())),
            (".5", Value::Number(".5".into())),
            ("5.", Value::Number("5.".into())),
            ("-.inf", Value::Number("-.inf".into())),
            (".nan", Value::Number(".nan".into())),
            ("1.2.3", Value::String("1.2.3".into())),
            ("1e", Value::String("1e".into())),
            (".", Value::String(".".into())),
            ("-", Value::String("-".into())),
            ("0x", Value::String("0x".into())),
            ("0o9", Value::String("0o9".into())),
            ("1_000", Value::String("1_000".into())),
            ("15s", Value::String("15s".into())),
            ("12:30", Value::String("12:30".into())),
            ("2026-11-21", Value::String("2026-11-21".into())),
        ];
        for (text, value) in rows {
            assert_eq!(resolve(text), value, "{text:?}");
        }
    }

    #[test]
    fn numbers_have_the_value_they_say() {
        let rows: [(&str, Option<i64>, f64); 7] = [
            ("010", Some(10), 10.0),
            ("0x10", Some(16), 16.0),
            ("0o10", Some(8), 8.0),
            ("-3", Some(-3), -3.0),
            ("1.5", None, 1.5),
            ("99999999999999999999", None, 1e20),
            ("-.inf", None, f64::NEG_INFINITY),
        ];
        for (text, whole, value) in rows {
            assert_eq!(integer(text), whole, "{text}");
            assert_eq!(float(text), value, "{text}");
        }
    }

    #[test]
    fn quoting_escapes_what_must_be() {
        assert_eq!(quoted("a\"b\n"), r#""a\"b\n""#);
    }
}
