//! JSON Patch (RFC 6902), written straight as JSON.

use super::json::{write_inside, write_text};

/// A list of operations, as JSON text.
#[derive(Debug, Default)]
pub struct Patch {
    json: Vec<u8>,
}

/// A JSON Pointer (RFC 6901): steps, escaped when shown.
#[derive(Clone, Copy, Debug)]
pub enum Pointer<'p> {
    /// Steps that need no escape, as they stand: `/spec/imagePullSecrets`.
    Plain(&'p str),
    /// An element of a list below `spec`, and what follows: `/spec/containers/0/image`.
    Element(&'p str, usize, &'p str),
    /// A key of a mapping, which may have `/` and `~` in it.
    Key(&'p str, &'p str),
}

impl Patch {
    /// Whether there is no operation in it.
    pub fn is_empty(&self) -> bool {
        self.json.is_empty()
    }

    /// Sets the value, whether there is one or not.
    pub fn add(&mut self, path: Pointer<'_>, value: &str) {
        self.operation("add", path, Some(&|json| write_text(json, value)));
    }

    /// Sets a value that is no text.
    pub fn add_value(&mut self, path: Pointer<'_>, value: impl serde::Serialize) {
        // Texts in lists and objects, into memory: cannot fail.
        let write = |json: &mut Vec<u8>| drop(serde_json::to_writer(json, &value));
        self.operation("add", path, Some(&write));
    }

    /// Replaces the value that is there.
    pub fn replace(&mut self, path: Pointer<'_>, value: &str) {
        self.operation("replace", path, Some(&|json| write_text(json, value)));
    }

    /// Removes the value that is there.
    pub fn remove(&mut self, path: Pointer<'_>) {
        self.operation("remove", path, None);
    }

    /// The operations as a JSON list; nothing where there are none.
    pub fn into_json(mut self) -> Vec<u8> {
        if !self.json.is_empty() {
            self.json.push(b']');
        }
        self.json
    }

    fn operation(&mut self, op: &str, path: Pointer<'_>, value: Option<&WriteValue<'_>>) {
        let json = &mut self.json;
        if json.is_empty() {
            json.reserve(USUAL);
            json.push(b'[');
        } else {
            json.push(b',');
        }
        for part in [r#"{"op":""#, op, r#"","path":""#] {
            json.extend_from_slice(part.as_bytes());
        }
        path.write(json);
        json.push(b'"');
        if let Some(write) = value {
            json.extend_from_slice(br#","value":"#);
            write(json);
        }
        json.push(b'}');
    }
}

impl Pointer<'_> {
    /// As the inside of a JSON string.
    fn write(self, json: &mut Vec<u8>) {
        match self {
            Self::Plain(path) => json.extend_from_slice(path.as_bytes()),
            Self::Element(list, index, rest) => {
                for part in ["/spec/", list, "/"] {
                    json.extend_from_slice(part.as_bytes());
                }
                // Into memory: cannot fail.
                let _ = serde_json::to_writer(&mut *json, &index);
                json.extend_from_slice(rest.as_bytes());
            }
            Self::Key(path, key) => {
                json.extend_from_slice(path.as_bytes());
                json.push(b'/');
                for part in key.split_inclusive(['~', '/']) {
                    let (plain, escaped) = match part.as_bytes() {
                        [.., b'~'] => (&part[..part.len() - 1], "~0"),
                        [.., b'/'] => (&part[..part.len() - 1], "~1"),
                        _ => (part, ""),
                    };
                    write_inside(json, plain);
                    json.extend_from_slice(escaped.as_bytes());
                }
            }
        }
    }
}

/// Writes an operation's value.
type WriteValue<'v> = dyn Fn(&mut Vec<u8>) + 'v;

/// The bytes that a patch of a few images has.
const USUAL: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_escaped_as_rfc_6901_and_json_say() {
        let mut patch = Patch::default();
        patch.add(
            Pointer::Key("/metadata/annotations", "image.waypost.dev/a~b\"c"),
            "x\ny",
        );
        patch.replace(Pointer::Element("containers", 3, "/image"), "r.io/x");
        patch.remove(Pointer::Plain("/spec/imagePullSecrets"));
        let json: serde_json::Value = serde_json::from_slice(&patch.into_json()).unwrap();
        assert_eq!(
            json,
            serde_json::json!([
                {"op": "add", "path": "/metadata/annotations/image.waypost.dev~1a~0b\"c", "value": "x\ny"},
                {"op": "replace", "path": "/spec/containers/3/image", "value": "r.io/x"},
                {"op": "remove", "path": "/spec/imagePullSecrets"},
            ])
        );
    }

    #[test]
    fn no_operation_is_no_patch() {
        assert!(Patch::default().is_empty());
        assert!(Patch::default().into_json().is_empty());
    }
}
