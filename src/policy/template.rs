//! Templates: the name that a rule's rewrite gives, such as `registry.cern.ch/{registry}/{repository}`.

mod inverse;

use std::{fmt, ops::Range};

use super::pattern::Segment;
use crate::reference::{self, Reference};

/// A template for the name of an image, without tag and digest, which are always carried over verbatim. Its registry is literal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: Box<str>,
    pieces: Box<[Piece]>,
}

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Literal(Box<str>),
    Variable(Variable),
}

/// What a template may name between braces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Variable {
    /// The source's registry.
    Registry,
    /// The source's whole repository.
    Repository,
    /// The repository without its last segment; may be empty, and then takes the slash behind it along.
    Namespace,
    /// The repository's last segment.
    Name,
    /// A named group of the rule's regular expression.
    Group(Box<str>),
}

/// Why a text is no template: the author's mistake, with what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TemplateError {
    /// What is wrong, naming the template.
    pub message: String,
    /// What to write instead.
    pub hint: String,
    /// Where in the template, in bytes.
    pub within: Range<usize>,
}

/// What the groups of a regular expression matched, by name.
pub(crate) trait Groups {
    /// The part of the name that the group matched; nothing where it took no part.
    fn group(&self, name: &str) -> Option<&str>;
}

/// No groups: for rules without a regular expression.
impl Groups for () {
    fn group(&self, _: &str) -> Option<&str> {
        None
    }
}

impl Template {
    /// Reads a template. `groups` are the names of regular-expression groups that it may use.
    ///
    /// # Errors
    ///
    /// When a brace is open, a variable is unknown, the registry is not literal or no registry, or a literal part could stand in no
    /// reference.
    pub fn parse(text: &str, groups: &[String]) -> Result<Self, TemplateError> {
        let error = |within: Range<usize>, message: String, hint: String| TemplateError { message, hint, within };
        let mut pieces = Vec::new();
        let mut at = 0;
        while at < text.len() {
            let rest = &text[at..];
            if let Some(inner) = rest.strip_prefix('{') {
                let Some(end) = inner.find('}') else {
                    return Err(error(
                        at..text.len(),
                        format!("the template `{text}` has a `{{` that is never closed"),
                        "close it with `}`".into(),
                    ));
                };
                let within = at..at + end + 2;
                pieces.push(Piece::Variable(Variable::parse(
                    text,
                    &inner[..end],
                    groups,
                    within.clone(),
                )?));
                at = within.end;
            } else {
                let end = rest.find('{').unwrap_or(rest.len());
                if let Some(brace) = rest[..end].find('}') {
                    return Err(error(
                        at + brace..at + brace + 1,
                        format!("the template `{text}` has a `}}` without a `{{`"),
                        "variables are written {registry}, {repository}, {namespace}, {name}".into(),
                    ));
                }
                pieces.push(Piece::Literal(rest[..end].into()));
                at += end;
            }
        }
        let template = Self {
            text: text.into(),
            pieces: pieces.into(),
        };
        template.check()?;
        Ok(template)
    }

    /// `prefix` is short for `prefix/{registry}/{repository}`.
    ///
    /// # Errors
    ///
    /// Those of [`Template::parse`]; also a prefix with variables, or one that ends in a slash.
    pub fn from_prefix(prefix: &str) -> Result<Self, TemplateError> {
        if let Some(brace) = prefix.find(['{', '}']) {
            return Err(TemplateError {
                message: format!("the prefix `{prefix}` has variables"),
                hint: "a prefix is literal; for variables write `to: [\"…\"]` instead".into(),
                within: brace..prefix.len(),
            });
        }
        if prefix.ends_with('/') {
            return Err(TemplateError {
                message: format!("the prefix `{prefix}` ends in a slash"),
                hint: format!("write `{}`: the slash is put in", prefix.trim_end_matches('/')),
                within: prefix.len() - 1..prefix.len(),
            });
        }
        Self::parse(&format!("{prefix}/{{registry}}/{{repository}}"), &[]).map_err(|mut error| {
            error.within = error.within.start.min(prefix.len())..error.within.end.min(prefix.len());
            error
        })
    }

    /// The same template for sources of one registry: with that for `{registry}`.
    pub(crate) fn of_registry(&self, registry: &str) -> Self {
        let mut pieces: Vec<Piece> = Vec::with_capacity(self.pieces.len());
        for piece in &self.pieces {
            let literal = match piece {
                Piece::Variable(Variable::Registry) => registry,
                Piece::Literal(literal) => literal,
                Piece::Variable(_) => {
                    pieces.push(piece.clone());
                    continue;
                }
            };
            match pieces.last_mut() {
                Some(Piece::Literal(before)) => *before = format!("{before}{literal}").into(),
                _ => pieces.push(Piece::Literal(literal.into())),
            }
        }
        Self {
            text: self.text.replace("{registry}", registry).into(),
            pieces: pieces.into(),
        }
    }

    /// The text it was made from.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The registry that every name made by this template lies in.
    pub fn registry(&self) -> &str {
        self.text.split('/').next().unwrap_or_default()
    }

    /// What stands before the first variable: all names made by this template begin with it.
    pub fn literal_prefix(&self) -> &str {
        match self.pieces.first() {
            Some(Piece::Literal(literal)) => literal,
            _ => "",
        }
    }

    /// The names under the literal prefix, as patterns: any of them is a target already.
    pub(crate) fn prefix_patterns(&self) -> Vec<Vec<Segment>> {
        let prefix = self.literal_prefix();
        let mut patterns = self.patterns_under(prefix);
        // A name of one segment on Docker Hub has `library/` put before it.
        if let Some(first) = prefix
            .strip_prefix("docker.io/")
            .filter(|first| !first.is_empty() && !first.contains('/'))
        {
            patterns.extend(self.patterns_under(&format!("docker.io/library/{first}")));
        }
        patterns
    }

    fn patterns_under(&self, prefix: &str) -> Vec<Vec<Segment>> {
        let mut segments: Vec<Segment> = prefix.split('/').map(|part| Segment::Literal(part.into())).collect();
        if self.pieces.len() == 1 {
            return vec![segments];
        }
        let last = prefix.rsplit('/').next().unwrap_or_default();
        segments.pop();
        if last.is_empty() {
            segments.push(Segment::Deep);
            return vec![segments];
        }
        segments.push(Segment::parse(&format!("{last}*")));
        let mut deeper = segments.clone();
        deeper.push(Segment::Deep);
        vec![segments, deeper]
    }

    /// The name for this image, without tag and digest. May be no valid name: see [`Template::target`].
    pub(crate) fn render(&self, image: &Reference<'_>, groups: &dyn Groups) -> String {
        let mut name = String::with_capacity(self.text.len() + image.input().len() + 16);
        for piece in &self.pieces {
            match piece {
                // An empty {namespace} takes the slash behind it along.
                Piece::Literal(literal) if name.ends_with('/') => {
                    name.push_str(literal.strip_prefix('/').unwrap_or(literal))
                }
                Piece::Literal(literal) => name.push_str(literal),
                Piece::Variable(variable) => variable.render(image, groups, &mut name),
            }
        }
        name
    }

    /// The reference that this image is rewritten to: the name with the image's tag and digest. `None` where it is no valid reference
    /// (too long, or a part that cannot stand where the template puts it, such as a port inside the path).
    pub(crate) fn target(&self, image: &Reference<'_>, groups: &dyn Groups) -> Option<String> {
        // Where the grammar finds no registry, {registry} and {repository} would not say what they promise.
        if image.registry().is_empty() {
            return None;
        }
        let mut target = self.render(image, groups);
        target.push_str(image.suffix());
        let parsed = Reference::parse(&target).ok()?;
        // A port at the end of the path would read as a tag.
        if parsed.registry() != self.registry() || parsed.suffix() != image.suffix() {
            return None;
        }
        // `docker.io/alpine` is not its own normal form: what is written always is.
        if parsed.registry() == "docker.io" {
            let canonical = parsed.canonical().to_string();
            if canonical != target {
                return Some(canonical);
            }
        }
        Some(target)
    }

    /// Whether the source's registry can be read off every name it makes.
    pub(crate) fn keeps_registry(&self) -> bool {
        self.separates() && self.has(&Variable::Registry)
    }

    /// Whether the source's repository can be read off every name it makes.
    pub(crate) fn keeps_repository(&self) -> bool {
        self.separates()
            && (self.has(&Variable::Repository) || (self.has(&Variable::Namespace) && self.has(&Variable::Name)))
    }

    pub(crate) fn has(&self, variable: &Variable) -> bool {
        self.variables().any(|present| present == variable)
    }

    pub(crate) fn variables(&self) -> impl Iterator<Item = &Variable> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Variable(variable) => Some(variable),
            Piece::Literal(_) => None,
        })
    }

    pub(crate) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// Whether one can tell where each variable ends: a slash between any two, and one at most of several segments.
    pub(crate) fn separates(&self) -> bool {
        // `docker.io/x` becomes `docker.io/library/x`, so that a first segment may be the source's or not.
        let mut variables = self.variables();
        if self.literal_prefix() == "docker.io/" && variables.next().is_some_and(Variable::may_have_slashes) {
            return false;
        }
        let mut since_slash = true;
        let mut several = 0;
        for piece in &self.pieces {
            match piece {
                Piece::Literal(literal) => since_slash |= literal.contains('/'),
                Piece::Variable(variable) => {
                    if !since_slash {
                        return false;
                    }
                    since_slash = false;
                    several += usize::from(variable.may_have_slashes());
                }
            }
        }
        several <= 1
    }

    fn check(&self) -> Result<(), TemplateError> {
        let text = &*self.text;
        let error = |within: Range<usize>, message: String, hint: String| TemplateError { message, hint, within };
        let registry = self.registry();
        if text.is_empty() {
            return Err(error(0..0, "a template is empty".into(), EXAMPLE.into()));
        }
        if registry.contains('{') {
            return Err(error(
                0..registry.len(),
                format!("the template `{text}` has a registry that is not literal: `{registry}`"),
                format!("which registry images are pulled from is the policy's to say, not the image's: {EXAMPLE}"),
            ));
        }
        if !reference::is_registry_host(registry) {
            return Err(error(
                0..registry.len(),
                format!("the template `{text}` begins with `{registry}`, which nodes do not take for a registry"),
                format!("a registry has a dot, a port, or is localhost: {EXAMPLE}"),
            ));
        }
        if reference::valid_registry(registry).is_err() || registry == "index.docker.io" {
            return Err(error(
                0..registry.len(),
                format!("the template `{text}` has a registry that is not valid: `{registry}`"),
                "a registry is a host, with a port if need be, and no scheme: registry.example.com:5000".into(),
            ));
        }
        if registry.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(error(
                0..registry.len(),
                format!("the template `{text}` has a registry with capital letters"),
                format!(
                    "hosts are the same in any letter case: write {}",
                    registry.to_ascii_lowercase()
                ),
            ));
        }
        if registry.len() == text.len() {
            return Err(error(
                0..text.len(),
                format!("the template `{text}` has no repository"),
                format!("did you mean `prefix: {text}`, or `{text}/{{registry}}/{{repository}}`?"),
            ));
        }
        // Put something valid in for each variable, and see whether what is literal can stand in a reference.
        let mut sample = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(literal) => sample.push_str(literal),
                Piece::Variable(_) => sample.push('x'),
            }
        }
        let path = &sample[registry.len() + 1..];
        if let Some(colon) = path.find([':', '@']) {
            let start = text[registry.len()..]
                .find([':', '@'])
                .map_or(0, |found| found + registry.len());
            return Err(error(
                start..text.len(),
                format!("the template `{text}` has a tag or digest: `{}`", &path[colon..]),
                "leave it out: tag and digest are carried over from the image".into(),
            ));
        }
        if reference::valid_repository(path).is_err() {
            return Err(error(
                registry.len() + 1..text.len(),
                format!("the template `{text}` gives repositories that are not valid"),
                "a repository has lower-case letters and digits, with single . _ - between them, and no empty segment"
                    .into(),
            ));
        }
        Ok(())
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Variable {
    fn parse(text: &str, name: &str, groups: &[String], within: Range<usize>) -> Result<Self, TemplateError> {
        Ok(match name {
            "registry" => Self::Registry,
            "repository" => Self::Repository,
            "namespace" => Self::Namespace,
            "name" => Self::Name,
            _ if groups.iter().any(|group| group == name) => Self::Group(name.into()),
            _ => {
                let known = ["registry", "repository", "namespace", "name"]
                    .into_iter()
                    .chain(groups.iter().map(String::as_str));
                let hint = match crate::document::check::closest(name, known) {
                    Some(close) => format!("did you mean {{{close}}}?"),
                    None if name == "tag" || name == "digest" => "leave it out: tag and digest are carried over from the image".into(),
                    None => "there are {registry}, {repository}, {namespace} and {name} (of the repository), and the named groups that every entry of the rule's `images` has".into(),
                };
                return Err(TemplateError {
                    message: format!(
                        "the template `{text}` has an unknown variable `{{{}}}`",
                        name.escape_debug()
                    ),
                    hint,
                    within,
                });
            }
        })
    }

    /// Whether its text may be of several segments, or of none.
    fn may_have_slashes(&self) -> bool {
        matches!(self, Self::Repository | Self::Namespace | Self::Group(_))
    }

    fn render(&self, image: &Reference<'_>, groups: &dyn Groups, out: &mut String) {
        use fmt::Write;
        // Writing to a String cannot fail.
        let _ = match self {
            Self::Registry => out.write_str(image.registry()),
            Self::Repository => write!(out, "{}", image.repository()),
            Self::Namespace => match image.repository().namespace() {
                Some(namespace) => write!(out, "{namespace}"),
                None => Ok(()),
            },
            Self::Name => out.write_str(image.repository().name()),
            Self::Group(name) => out.write_str(groups.group(name).unwrap_or_default()),
        };
    }
}

const EXAMPLE: &str = "write for example registry.example.com/{registry}/{repository}";

#[cfg(test)]
mod tests;
