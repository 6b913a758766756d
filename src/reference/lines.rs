//! `waypost reference` without its files: lines of references in, one JSON object for each out.

use std::{
    fmt::Display,
    io::{self, BufRead, Write},
};

use serde::{Serialize, Serializer};

use super::{Canonical, ErrorKind, Familiar, ParseError, Reference, Repository};

/// One line of `waypost reference`, without the line break.
///
/// `{"input","registry","repository","tag","digest","canonical","familiar"}` in this order, tag and digest only where they are
/// written, or `{"input","error":{"kind","message"}}`. `input` is given in full, all else is normalised.
pub fn json_line(input: &str) -> String {
    serde_json::to_string(&Line::new(input)).expect("a struct of strings always serialises")
}

/// Reads references, one to a line, and writes a JSON line for each, blank ones included.
///
/// A line ends at `\n` only and nothing is trimmed: a `\r` before it is part of the reference, and refused. A last line without
/// `\n` counts; nothing follows a final one. A line that is not UTF-8 is an error of kind `not_utf8`, with U+FFFD in `input` for
/// what could not be read. Memory grows with the longest line, not with their number; each is written before the next is read.
///
/// # Errors
///
/// Those of the reader and the writer. A refused reference is not an error here but a line, and counted.
pub fn run(mut reader: impl BufRead, mut writer: impl Write) -> io::Result<Summary> {
    let mut summary = Summary::default();
    let mut line = Vec::new();
    let mut json = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        summary.lines += 1;
        summary.refused += u64::from(!write_line(&mut json, text)?);
        json.push(b'\n');
        writer.write_all(&json)?;
        line.clear();
        json.clear();
    }
    writer.flush()?;
    Ok(summary)
}

/// What [`run`] has seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Lines read, and written.
    pub lines: u64,
    /// How many of them are not valid references.
    pub refused: u64,
}

/// Appends the JSON object for a raw line; whether it is a valid reference.
fn write_line(json: &mut Vec<u8>, line: &[u8]) -> io::Result<bool> {
    let lossy;
    let line = match str::from_utf8(line) {
        Ok(input) => Line::new(input),
        Err(_) => {
            lossy = String::from_utf8_lossy(line);
            Line::refused(&lossy, &ParseError::new(&lossy, ErrorKind::NotUtf8))
        }
    };
    serde_json::to_writer(json, &line)?;
    Ok(matches!(line, Line::Parsed { .. }))
}

/// The JSON object; the order of the fields is part of the format.
#[derive(Serialize)]
#[serde(untagged)]
enum Line<'a> {
    Parsed {
        input: &'a str,
        registry: &'a str,
        #[serde(serialize_with = "as_text")]
        repository: Repository<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        tag: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        digest: Option<&'a str>,
        #[serde(serialize_with = "as_text")]
        canonical: Canonical<'a>,
        #[serde(serialize_with = "as_text")]
        familiar: Familiar<'a>,
    },
    Refused {
        input: &'a str,
        error: Refusal,
    },
}

#[derive(Serialize)]
struct Refusal {
    kind: &'static str,
    message: String,
}

impl<'a> Line<'a> {
    fn new(input: &'a str) -> Self {
        match Reference::parse(input) {
            Ok(reference) => Self::Parsed {
                input,
                registry: reference.registry(),
                repository: reference.repository(),
                tag: reference.tag(),
                digest: reference.digest(),
                canonical: reference.canonical(),
                familiar: reference.familiar(),
            },
            Err(error) => Self::refused(input, &error),
        }
    }

    fn refused(input: &'a str, error: &ParseError) -> Self {
        Self::Refused {
            input,
            error: Refusal {
                kind: error.kind().as_str(),
                message: error.to_string(),
            },
        }
    }
}

fn as_text<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}
