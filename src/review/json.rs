//! Reading JSON that anybody may have written, of which most is passed over: a value of the wrong type is passed over as well, it
//! never fails the whole review. And writing texts as JSON.
//!
//! The API server decodes objects before it calls webhooks, but a null where a list may be is legal, and one odd label must not cost the
//! answer its uid (kube-rs/kube#1781 and the parse failures beside it).
//!
//! By hand, because a review is thousands of bytes of which a few hundred matter. A parser that checks what it passes over took
//! longer than deciding and answering together; here, the inside of a value that nobody reads has only to end where it should:
//! its strings are closed, and its brackets as many as were opened. What is read is as RFC 8259 has it.

use std::borrow::Cow;

use memchr::{memchr, memchr2};

/// A JSON text, read from its beginning to its end.
pub(super) struct Json<'a> {
    text: &'a [u8],
    at: usize,
}

/// The text is no JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotJson;

/// A value of an expected type, something else, or nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Lenient<T> {
    /// Null or absent.
    #[default]
    Absent,
    /// Of the expected type.
    Value(T),
    /// Of another type.
    Other,
}

impl<T> Lenient<T> {
    pub(super) fn value(self) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Other => None,
        }
    }

    pub(super) fn is_value(&self) -> bool {
        matches!(self, Self::Value(_))
    }
}

impl<'a> Json<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// Reads an object. `each` is given each key, without its escapes, and has to read or pass over one value.
    ///
    /// Of a key that comes twice the last counts, as in Go.
    pub(super) fn object(
        &mut self,
        mut each: impl FnMut(&mut Self, Cow<'a, [u8]>) -> Result<(), NotJson>,
    ) -> Result<Lenient<()>, NotJson> {
        if self.peek()? != b'{' {
            return self.other();
        }
        self.at += 1;
        if self.peek()? == b'}' {
            self.at += 1;
            return Ok(Lenient::Value(()));
        }
        loop {
            if self.peek()? != b'"' {
                return Err(NotJson);
            }
            let key = self.string()?;
            if self.peek()? != b':' {
                return Err(NotJson);
            }
            self.at += 1;
            each(self, key)?;
            if self.ends(b'}')? {
                return Ok(Lenient::Value(()));
            }
        }
    }

    /// Reads a list. `each` has to read or pass over one value.
    pub(super) fn list(
        &mut self,
        mut each: impl FnMut(&mut Self) -> Result<(), NotJson>,
    ) -> Result<Lenient<()>, NotJson> {
        if self.peek()? != b'[' {
            return self.other();
        }
        self.at += 1;
        if self.peek()? == b']' {
            self.at += 1;
            return Ok(Lenient::Value(()));
        }
        loop {
            each(self)?;
            if self.ends(b']')? {
                return Ok(Lenient::Value(()));
            }
        }
    }

    /// Reads a string: borrowed unless it has escapes.
    pub(super) fn text(&mut self) -> Result<Lenient<Cow<'a, str>>, NotJson> {
        if self.peek()? != b'"' {
            return self.other();
        }
        utf8(self.string()?).map(Lenient::Value)
    }

    /// Reads the bytes of a string: for one that is compared or counted, and no more.
    pub(super) fn bytes(&mut self) -> Result<Lenient<Cow<'a, [u8]>>, NotJson> {
        if self.peek()? != b'"' {
            return self.other();
        }
        self.string().map(Lenient::Value)
    }

    /// The bytes that a string has without its escapes; 0 for what is none. It is passed over.
    pub(super) fn length(&mut self) -> Result<usize, NotJson> {
        if self.peek()? != b'"' {
            return self.skip().map(|()| 0);
        }
        let start = self.at + 1;
        self.skip_string()?;
        let inside = &self.text[start..self.at - 1];
        let mut length = inside.len();
        let mut rest = inside;
        while let Some(at) = memchr(b'\\', rest) {
            // As it is written, and what it stands for.
            let (written, bytes) = match &rest[at + 1..] {
                [b'u', b'0', b'0', b'0'..=b'7', ..] => (6, 1),
                [b'u', b'0', b'0'..=b'7', ..] => (6, 2),
                // One half of a pair, which stands for four bytes.
                [b'u', b'd' | b'D', b'8'..=b'9' | b'a'..=b'f' | b'A'..=b'F', ..] => (6, 2),
                [b'u', ..] => (6, 3),
                _ => (2, 1),
            };
            length = (length + bytes).saturating_sub(written);
            rest = rest.get(at + written..).unwrap_or_default();
        }
        Ok(length)
    }

    /// Reads true or false.
    pub(super) fn boolean(&mut self) -> Result<Lenient<bool>, NotJson> {
        match self.peek()? {
            byte @ (b't' | b'f') => {
                self.scalar()?;
                Ok(Lenient::Value(byte == b't'))
            }
            _ => self.other(),
        }
    }

    /// Passes a value over.
    pub(super) fn skip(&mut self) -> Result<(), NotJson> {
        match self.peek()? {
            b'"' => return self.skip_string(),
            b'{' | b'[' => {}
            _ => return self.scalar(),
        }
        // By a counter instead of calls: there is no depth that is too much.
        let mut open = 0_usize;
        loop {
            match self.text.get(self.at).ok_or(NotJson)? {
                b'"' => {
                    self.skip_string()?;
                    continue;
                }
                b'{' | b'[' => open += 1,
                b'}' | b']' => open -= 1,
                _ => {}
            }
            self.at += 1;
            if open == 0 {
                return Ok(());
            }
        }
    }

    /// After the value: there is nothing more.
    pub(super) fn end(&mut self) -> Result<(), NotJson> {
        match self.peek() {
            Ok(_) => Err(NotJson),
            Err(NotJson) => Ok(()),
        }
    }

    /// Passes over a value of another type than is expected.
    fn other<T>(&mut self) -> Result<Lenient<T>, NotJson> {
        let null = self.peek()? == b'n';
        self.skip()?;
        Ok(if null { Lenient::Absent } else { Lenient::Other })
    }

    /// The first byte of what comes next, behind white space.
    fn peek(&mut self) -> Result<u8, NotJson> {
        loop {
            match self.text.get(self.at) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                Some(byte) => return Ok(*byte),
                None => return Err(NotJson),
            }
        }
    }

    /// After an entry: whether it was the last.
    fn ends(&mut self, bracket: u8) -> Result<bool, NotJson> {
        let next = self.peek()?;
        self.at += 1;
        match next {
            b',' => Ok(false),
            _ if next == bracket => Ok(true),
            _ => Err(NotJson),
        }
    }

    /// A string without its quotes and escapes.
    fn string(&mut self) -> Result<Cow<'a, [u8]>, NotJson> {
        let start = self.at;
        let inside = &self.text[start + 1..];
        let end = memchr2(b'"', b'\\', inside).ok_or(NotJson)?;
        if inside[end] == b'"' {
            self.at += end + 2;
            return Ok(Cow::Borrowed(&inside[..end]));
        }
        self.skip_string()?;
        let string: String = serde_json::from_slice(&self.text[start..self.at]).map_err(|_| NotJson)?;
        Ok(Cow::Owned(string.into_bytes()))
    }

    fn skip_string(&mut self) -> Result<(), NotJson> {
        self.at += 1;
        loop {
            let rest = self.text.get(self.at..).ok_or(NotJson)?;
            let end = memchr2(b'"', b'\\', rest).ok_or(NotJson)?;
            self.at += end + 1;
            if rest[end] == b'"' {
                return Ok(());
            }
            // Whatever is escaped, be it a quote.
            self.at += 1;
        }
    }

    /// A number, `true`, `false` or `null`.
    fn scalar(&mut self) -> Result<(), NotJson> {
        let rest = &self.text[self.at..];
        let words: [&[u8]; 3] = [b"true", b"false", b"null"];
        let length = match words.iter().find(|word| rest.starts_with(word)) {
            Some(word) => word.len(),
            None => {
                let is_of_number = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
                rest.iter().take_while(|byte| is_of_number(byte)).count()
            }
        };
        self.at += length;
        if length > 0 { Ok(()) } else { Err(NotJson) }
    }
}

/// The bytes of a string as the text that they have to be.
pub(super) fn utf8(bytes: Cow<'_, [u8]>) -> Result<Cow<'_, str>, NotJson> {
    match bytes {
        // Line breaks and the like have to be escaped.
        Cow::Borrowed(bytes) if bytes.iter().any(|byte| *byte < b' ') => Err(NotJson),
        Cow::Borrowed(bytes) => std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| NotJson),
        Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).map_err(|_| NotJson),
    }
}

/// Writes a text as a JSON string.
pub(super) fn write_text(json: &mut Vec<u8>, text: &str) {
    json.push(b'"');
    write_inside(json, text);
    json.push(b'"');
}

/// Writes the inside of a JSON string.
pub(super) fn write_inside(json: &mut Vec<u8>, text: &str) {
    // All bytes are looked at at once, where `any` would look at them one by one.
    if text.bytes().fold(false, |found, byte| found | (byte < b' ')) {
        let start = json.len();
        // Into memory: cannot fail.
        let _ = serde_json::to_writer(&mut *json, text);
        json.pop();
        json.remove(start);
        return;
    }
    let mut rest = text.as_bytes();
    while let Some(at) = memchr2(b'"', b'\\', rest) {
        json.extend_from_slice(&rest[..at]);
        json.extend_from_slice(&[b'\\', rest[at]]);
        rest = &rest[at + 1..];
    }
    json.extend_from_slice(rest);
}

#[cfg(test)]
mod tests;
