//! Changes to a text, in the style that is there: nothing but what is changed moves.

mod scalars;

use std::{borrow::Cow, cmp::Reverse, ops::Range};

use granit_parser::ScalarStyle;

use self::scalars::{plain, scalar, secret_list};
use super::read::{Content, Document, Id};
use crate::document::quoted;

/// Other bytes for some of a text's.
#[derive(Debug)]
pub(super) struct Edit {
    range: Range<usize>,
    text: String,
    /// Of lines put in at one place, the deeper ones come first: they belong to what is above.
    depth: usize,
}

/// The text with the edits made.
pub(super) fn apply(text: &str, mut edits: Vec<Edit>) -> String {
    edits.sort_by_key(|edit| (edit.range.start, edit.range.end, Reverse(edit.depth)));
    let added: usize = edits.iter().map(|edit| edit.text.len()).sum();
    let mut out = String::with_capacity(text.len() + added);
    let mut done = 0;
    for edit in edits {
        // Each place is changed once.
        debug_assert!(edit.range.start >= done, "{edit:?}");
        out.push_str(text.get(done..edit.range.start).unwrap_or_default());
        out.push_str(&edit.text);
        done = edit.range.end;
    }
    out.push_str(text.get(done..).unwrap_or_default());
    out
}

/// Makes edits for a document. Each method gives none where there is no safe place in the style that is there.
pub(super) struct Writer<'d, 't> {
    pub(super) text: &'t str,
    pub(super) document: &'d Document<'t>,
}

impl Writer<'_, '_> {
    /// Another value for a scalar.
    pub(super) fn value(&self, id: Id, new: &str) -> Option<Edit> {
        let node = self.document.node(id);
        let Content::Scalar(old, style) = &node.content else {
            return None;
        };
        let (range, text) = match style {
            ScalarStyle::Literal | ScalarStyle::Folded => {
                // The lines below the header. More than one is no reference.
                if self.text.get(node.span.clone())?.trim() != &**old {
                    return None;
                }
                let start = node.span.end - old.len();
                (start..node.span.end, new.to_owned())
            }
            ScalarStyle::Plain if node.span.is_empty() => return self.unwritten(id, &plain(new)),
            style => (node.span.clone(), scalar(new, *style)),
        };
        Some(Edit { range, text, depth: 0 })
    }

    /// One more key with a scalar, after the one called `beside`.
    pub(super) fn key(&self, mapping: Id, beside: &str, key: &str, value: &str) -> Option<Edit> {
        let Content::Mapping(entries, is_flow) = &self.document.node(mapping).content else {
            return None;
        };
        let own = self.document.own_entry(mapping, beside);
        let (near_key, near) = own.or_else(|| entries.iter().copied().find(|(_, value)| self.is_on_a_line(*value)))?;
        let end = self.document.node(near).span.end;
        if *is_flow {
            self.begins_with(mapping, '{')?;
            let Flow { lead, colon } = self.flow(near_key, near)?;
            let style = self.style(near);
            let key = scalar(key, self.style(near_key));
            let value = scalar(value, style);
            return Some(Edit {
                range: end..end,
                text: format!(",{lead}{key}{colon}{value}"),
                depth: 0,
            });
        }
        let depth = entries.iter().find_map(|(key, _)| self.indentation(*key))?;
        Some(self.lines_after(end, depth, &[format!("{key}: {}", plain(value))]))
    }

    /// `imagePullSecrets`, where there is none.
    pub(super) fn secrets(&self, spec: Id, names: &[String]) -> Option<Edit> {
        let Content::Mapping(entries, is_flow) = &self.document.node(spec).content else {
            return None;
        };
        let (key, value) = self
            .document
            .own_entry(spec, "containers")
            .or_else(|| entries.first().copied())?;
        if *is_flow {
            self.begins_with(spec, '{')?;
            let Flow { lead, colon } = self.flow(key, value)?;
            let style = self.style(key);
            let start = self.document.node(key).span.start;
            let list = secret_list(names, style, &colon);
            let key = scalar(SECRETS, style);
            return Some(Edit {
                range: start..start,
                text: format!("{key}{colon}{list},{lead}"),
                depth: 0,
            });
        }
        let (start, depth) = std::iter::once(key)
            .chain(entries.iter().map(|(key, _)| *key))
            .find_map(|key| {
                let start = self.line_start(self.document.node(key).span.start);
                let depth = self.indentation(key)?;
                self.text[start..]
                    .starts_with(&" ".repeat(depth))
                    .then_some((start, depth))
            })?;
        // Lists are indented as the containers are.
        let inner = match self.document.node(value).content {
            Content::Sequence(_, false) => self.dash(value).map_or(2, |column| column.saturating_sub(depth)),
            _ => 2,
        };
        let mut lines = vec![format!("{SECRETS}:")];
        lines.extend(
            names
                .iter()
                .map(|name| format!("{}- name: {}", " ".repeat(inner), plain(name))),
        );
        Some(self.lines_before(self.above_comments(start, depth), depth, &lines))
    }

    /// More entries for `imagePullSecrets`.
    pub(super) fn more_secrets(&self, list: Id, names: &[String]) -> Option<Edit> {
        let node = self.document.node(list);
        let Content::Sequence(items, is_flow) = &node.content else {
            return None;
        };
        if !is_flow {
            let last = self.document.node(*items.last()?);
            if last.span.is_empty() {
                return None;
            }
            let depth = self.dash(list)?;
            let lines: Vec<String> = names.iter().map(|name| format!("- name: {}", plain(name))).collect();
            return Some(self.lines_after(node.span.end, depth, &lines));
        }
        self.begins_with(list, '[')?;
        let Some(last) = items.last() else {
            let at = node.span.start + 1;
            let key = self.key_of(list);
            let style = key.map_or(ScalarStyle::Plain, |key| self.style(key));
            let colon = key
                .and_then(|key| self.flow(key, list))
                .map_or(": ".into(), |flow| flow.colon);
            let list = secret_list(names, style, &colon);
            let text = list[1..list.len() - 1].to_owned();
            return Some(Edit {
                range: at..at,
                text,
                depth: 0,
            });
        };
        let last = self.document.node(*last);
        let before = &self.text[node.span.start + 1..last.span.start];
        let lead = &before[before.trim_end().len()..];
        let lead = if items.len() == 1 && !lead.contains(['\n', '\r']) {
            " "
        } else {
            lead
        };
        let written = &self.text[last.span.clone()];
        let mut text = String::new();
        for name in names {
            // As the one before it, with another name.
            let item = match &last.content {
                Content::Mapping(entries, true) if entries.len() == 1 => {
                    let value = &self.document.node(entries[0].1).span;
                    let within = value.start - last.span.start..value.end - last.span.start;
                    let style = self.style(entries[0].1);
                    let mut item = written.to_owned();
                    item.replace_range(within, &scalar(name, style));
                    item
                }
                _ => format!("{{\"name\": {}}}", quoted(name)),
            };
            text.push_str(&format!(",{lead}{item}"));
        }
        Some(Edit {
            range: last.span.end..last.span.end,
            text,
            depth: 0,
        })
    }

    /// `imagePullSecrets`, where a null is written, or nothing.
    pub(super) fn secrets_for_null(&self, id: Id, names: &[String]) -> Option<Edit> {
        let node = self.document.node(id);
        let style = self.key_of(id).map_or(ScalarStyle::Plain, |key| self.style(key));
        let list = secret_list(names, style, ": ");
        if node.span.is_empty() {
            return self.unwritten(id, &list);
        }
        Some(Edit {
            range: node.span.clone(),
            text: list,
            depth: 0,
        })
    }

    /// A value where none is written behind the colon.
    fn unwritten(&self, id: Id, new: &str) -> Option<Edit> {
        let key = self.document.node(self.key_of(id)?).span.end;
        let rest = self.text.get(key..)?;
        let colon = key + rest.find(':').filter(|colon| rest[..*colon].trim().is_empty())? + 1;
        let behind = self.text[colon..].trim_start_matches([' ', '\t']);
        let is_free = behind.is_empty() || behind.starts_with(['\n', '\r', '#', ',', '}']);
        is_free.then(|| Edit {
            range: colon..colon,
            text: format!(" {new}"),
            depth: 0,
        })
    }

    fn key_of(&self, value: Id) -> Option<Id> {
        let holder = self.document.parent(value);
        let entry = self.document.own(holder).iter().find(|(_, other)| *other == value)?;
        Some(entry.0)
    }

    /// Whether its end is known to be on the line where it ends to the eye.
    fn is_on_a_line(&self, value: Id) -> bool {
        let node = self.document.node(value);
        match &node.content {
            Content::Scalar(_, style) => {
                !matches!(style, ScalarStyle::Literal | ScalarStyle::Folded) && !node.span.is_empty()
            }
            Content::Alias(_) | Content::Sequence(_, true) | Content::Mapping(_, true) => true,
            _ => false,
        }
    }

    /// A pair of an implicit mapping has no brace, and cannot get a neighbour.
    fn begins_with(&self, id: Id, bracket: char) -> Option<()> {
        self.text[self.document.node(id).span.start..]
            .starts_with(bracket)
            .then_some(())
    }

    fn style(&self, id: Id) -> ScalarStyle {
        match &self.document.node(id).content {
            Content::Scalar(_, style @ (ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted)) => *style,
            _ => ScalarStyle::Plain,
        }
    }

    /// How the entries of a flow mapping are set apart, by the example of one.
    fn flow(&self, key: Id, value: Id) -> Option<Flow<'_>> {
        let (key, value) = (&self.document.node(key).span, &self.document.node(value).span);
        let before = &self.text[..key.start];
        let lead = &before[before.trim_end().len()..];
        let previous = before.trim_end().chars().next_back()?;
        if !matches!(previous, '{' | ',' | '[') {
            return None; // a comment, an anchor, a `?`
        }
        let colon = self.text.get(key.end..value.start).unwrap_or_default();
        let colon = if colon.trim() == ":" && !colon.contains(['\n', '\r']) {
            colon
        } else {
            ": "
        };
        let lead = if previous == '{' && lead.is_empty() && colon != ":" {
            " "
        } else {
            lead
        };
        Some(Flow {
            lead,
            colon: colon.into(),
        })
    }

    /// The column that the keys of a block mapping have, where this one shows it: in front of it are only spaces and dashes.
    fn indentation(&self, key: Id) -> Option<usize> {
        self.column(self.document.node(key).span.start)
    }

    /// The column that the dashes of a block list have, by its first entry: the parser places a list that is indented no more than its
    /// key behind its first dash.
    fn dash(&self, list: Id) -> Option<usize> {
        let start = self.document.node(list).span.start;
        if self.text[start..].starts_with('-') {
            return self.column(start);
        }
        let before = self.text[..start].trim_end().strip_suffix('-')?;
        self.column(before.len())
    }

    fn column(&self, at: usize) -> Option<usize> {
        let before = &self.text[self.line_start(at)..at];
        before
            .bytes()
            .all(|byte| matches!(byte, b' ' | b'-'))
            .then_some(before.len())
    }

    fn line_start(&self, at: usize) -> usize {
        self.text[..at].rfind(['\n', '\r']).map_or(0, |end| end + 1)
    }

    /// Lines of their own, below the one that holds the end of something.
    fn lines_after(&self, end: usize, depth: usize, lines: &[String]) -> Edit {
        match self.text[end..].find(['\n', '\r']) {
            Some(rest) => {
                let end = end + rest;
                self.lines_before(end + line_break(&self.text[end..]).len(), depth, lines)
            }
            None => {
                let indentation = " ".repeat(depth);
                let line_break = self
                    .text
                    .find(['\n', '\r'])
                    .map_or("\n", |at| line_break(&self.text[at..]));
                Edit {
                    range: self.text.len()..self.text.len(),
                    text: lines
                        .iter()
                        .map(|line| format!("{line_break}{indentation}{line}"))
                        .collect(),
                    depth,
                }
            }
        }
    }

    fn lines_before(&self, start: usize, depth: usize, lines: &[String]) -> Edit {
        let indentation = " ".repeat(depth);
        // The break of the line above.
        let line_break = self.text[..start].trim_end_matches(['\n', '\r']).len();
        let line_break = line_break_or(&self.text[line_break..start]);
        Edit {
            range: start..start,
            text: lines
                .iter()
                .map(|line| format!("{indentation}{line}{line_break}"))
                .collect(),
            depth,
        }
    }

    /// Where the comments begin that stand right above a line and are indented like it: they are about it.
    fn above_comments(&self, start: usize, depth: usize) -> usize {
        let mut at = start;
        loop {
            let above = self.text[..at].strip_suffix('\n').unwrap_or(&self.text[..at]);
            let above = above.strip_suffix('\r').unwrap_or(above);
            let line = above.rfind(['\n', '\r']).map_or(0, |end| end + 1);
            let content = above[line..].trim_start_matches(' ');
            if line >= at || above.len() - line - content.len() != depth || !content.starts_with('#') {
                return at;
            }
            at = line;
        }
    }
}

/// How entries of a flow collection are set apart.
struct Flow<'t> {
    /// What is between the comma and the next key.
    lead: &'t str,
    /// What is between a key and its value.
    colon: Cow<'t, str>,
}

fn line_break(at: &str) -> &str {
    if at.starts_with("\r\n") {
        &at[..2]
    } else {
        at.get(..1).unwrap_or("\n")
    }
}

fn line_break_or(breaks: &str) -> &str {
    if breaks.is_empty() { "\n" } else { line_break(breaks) }
}

const SECRETS: &str = "imagePullSecrets";
