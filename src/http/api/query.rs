//! Parameters of a query: those that an operation has, each once.

use super::problem::Problem;
use crate::document::check::closest;

/// The parameters of one request, by their names.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads `a=b&c=d`.
    pub(super) fn parse(query: Option<&str>, known: &[&str]) -> Result<Self, Problem> {
        let mut parameters: Vec<(String, String)> = Vec::new();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decoded = |text: &str| decoded(&text.replace('+', " "));
            let (Some(name), Some(value)) = (decoded(name), decoded(value)) else {
                return Err(Problem::parameter(
                    "",
                    "the query is no text",
                    "it is UTF-8, percent-encoded",
                ));
            };
            if !known.contains(&&*name) {
                let hint = match closest(&name, known.iter().copied()) {
                    Some(name) => format!("did you mean `{name}`?"),
                    None if known.is_empty() => "there are none here".to_owned(),
                    None => format!("known here: {}", known.join(", ")),
                };
                // Whatever it is may be a password in the wrong place.
                return Err(Problem::parameter("", "there is a parameter that is not known", hint));
            }
            if parameters.iter().any(|(other, _)| *other == name) {
                return Err(Problem::parameter(&name, "it is there twice", "give it once"));
            }
            parameters.push((name, value));
        }
        Ok(Self(parameters))
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| &**value)
    }

    /// False where it is not there.
    pub(super) fn flag(&self, name: &str) -> Result<bool, Problem> {
        match self.text(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Problem::parameter(
                name,
                "it is neither true nor false",
                format!("write {name}=true"),
            )),
        }
    }

    /// A number from 1 on.
    pub(super) fn number(&self, name: &str, most: usize) -> Result<Option<usize>, Problem> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let number = Some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        match number.and_then(|text| text.parse().ok()) {
            Some(number) if (1..=most).contains(&number) => Ok(Some(number)),
            _ => Err(Problem::parameter(
                name,
                format!("it is no number from 1 to {most}"),
                format!("write {name}={most} for as many as there can be"),
            )),
        }
    }
}

/// What a percent-encoded text stands for, where it stands for a text.
pub(super) fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, behind) = rest.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits)
            .ok()
            .filter(|digits| !digits.starts_with('+'))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = behind;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_has_what_is_known_and_nothing_twice() {
        let known = ["limit", "after", "force"];
        for (query, said) in [
            ("limit=5&after=a%2Db+c&", Ok(Some("a-b c"))),
            ("", Ok(None)),
            (
                "limits=5",
                Err("there is a parameter that is not known: did you mean `limit`?"),
            ),
            (
                "hunter2",
                Err("there is a parameter that is not known: known here: limit, after, force"),
            ),
            ("limit=5&limit=5", Err("limit: it is there twice: give it once")),
            ("after=%ff", Err("the query is no text: it is UTF-8, percent-encoded")),
            ("after=%+1", Err("the query is no text: it is UTF-8, percent-encoded")),
        ] {
            let read = Query::parse(Some(query), &known);
            let read = read
                .as_ref()
                .map(|query| query.text("after"))
                .map_err(|problem| &*problem.detail);
            assert_eq!(read, said, "{query}");
        }
    }

    #[test]
    fn numbers_and_flags_are_what_they_say() {
        for (query, number, flag) in [
            ("", Some(None), Some(false)),
            ("limit=1&force=true", Some(Some(1)), Some(true)),
            ("limit=500&force=false", Some(Some(500)), Some(false)),
            ("limit=501&force=", None, None),
            ("limit=0&force=1", None, None),
            ("limit=%2B1&force=True", None, None),
            ("limit=", None, Some(false)),
        ] {
            let query = Query::parse(Some(query), &["limit", "force"]).unwrap();
            assert_eq!(
                (query.number("limit", 500).ok(), query.flag("force").ok()),
                (number, flag)
            );
        }
    }
}
