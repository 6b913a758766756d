//! Image patterns: `registry/repository[:tag][@digest]` with `*` and `**`.

mod segment;

use std::{borrow::Cow, fmt, ops::Range};

pub use self::segment::Segment;
pub(crate) use self::segment::segments_intersect;
use self::segment::{covers_segments, matches_segments};
use super::glob::Glob;
use crate::reference::{self, Reference};

/// A pattern of a rule's `images` or `exceptImages`, matched against the normalised reference.
///
/// `*` stands for any characters within one segment, `**` for one or more whole segments. An omitted tag or digest matches
/// anything; an image with neither is matched as if it had the tag `latest`. The letter case of the registry does not count,
/// since that of a host does not: `Quay.io/evil` is pulled from quay.io.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// The registry, then the segments of the repository.
    segments: Vec<Segment>,
    suffix: Option<Box<Suffix>>,
}

/// What a pattern says of tag and digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Suffix {
    tag: Option<Glob>,
    digest: Option<Glob>,
}

/// Why a text is no pattern: the author's mistake, with what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PatternError {
    /// What is wrong, naming the pattern.
    pub message: String,
    /// What to write instead.
    pub hint: String,
    /// Where in the pattern, in bytes.
    pub within: Range<usize>,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    ///
    /// When it has no registry, could never match, or has characters that no reference can have. Being refused beats never matching.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let error = |within: Range<usize>, message: String, hint: String| PatternError { message, hint, within };
        let (named, digest) = match text.split_once('@') {
            Some((named, digest)) => (named, Some(digest)),
            None => (text, None),
        };
        // A colon before the last slash is a port, or part of an IPv6 literal.
        let (name, tag) = match named.rfind(':') {
            Some(colon) if named.rfind('/').is_some_and(|slash| colon > slash) => {
                (&named[..colon], Some(&named[colon + 1..]))
            }
            _ => (named, None),
        };
        if name.is_empty() {
            return Err(error(
                0..text.len(),
                "an image pattern is empty".into(),
                "write registry/repository, such as docker.io/**".into(),
            ));
        }
        if let Some(scheme) = text.find("://") {
            return Err(error(
                0..scheme + 3,
                format!("the pattern `{}` begins with a scheme", text.escape_debug()),
                format!("image references have none: write {}", &text[scheme + 3..]),
            ));
        }
        let (first, rest) = match name.split_once('/') {
            Some((first, rest)) if may_be_registry(first) => (first, rest),
            _ => return Err(without_registry(text, name)),
        };
        let registry = match first.to_ascii_lowercase() {
            legacy if legacy == "index.docker.io" => "docker.io".to_owned(),
            registry => registry,
        };
        if let Some(bad) = registry.find(|c: char| !(c.is_ascii_alphanumeric() || ".-:[]*_".contains(c))) {
            let width = registry[bad..].chars().next().map_or(1, char::len_utf8);
            return Err(error(
                bad..bad + width,
                format!("the pattern `{text}` has a registry that no image can have: `{first}`"),
                REGISTRY_HINT.into(),
            ));
        }
        if first.contains("**") && first != "**" {
            return Err(within_a_segment(0..first.len(), text, first));
        }
        // A literal one: what stands in no reference would never match.
        if !first.contains('*') && Reference::parse(&format!("{first}/x")).is_err() {
            return Err(error(
                0..first.len(),
                format!("the pattern `{text}` has a registry that no image can have: `{first}`"),
                REGISTRY_HINT.into(),
            ));
        }
        let mut segments = vec![Segment::parse(&registry)];
        let mut offset = first.len() + 1;
        for part in rest.split('/') {
            let within = offset..offset + part.len();
            offset += part.len() + 1;
            if part.is_empty() {
                return Err(error(
                    within,
                    format!("the pattern `{text}` has an empty segment"),
                    "take the extra `/` out; for everything below, end in /**".into(),
                ));
            }
            if part.contains("**") && part != "**" {
                return Err(within_a_segment(within, text, part));
            }
            if let Some(bad) =
                part.find(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || "._-*".contains(c)))
            {
                let wrong = part[bad..].chars().next().unwrap_or_default();
                let hint = match wrong {
                    'A'..='Z' => "repositories are in lower case: write it so".to_owned(),
                    ':' => "a tag comes last, a port belongs to the registry, the first segment".to_owned(),
                    '?' | '[' | ']' | '{' | '}' | '(' | ')' | '|' | '+' | '^' | '$' | '\\' => {
                        "only `*` and `**` are special in a pattern; for a regular expression write {regex: '…'}"
                            .to_owned()
                    }
                    _ => "a repository has lower-case letters, digits and . _ - only".to_owned(),
                };
                let start = within.start + bad;
                return Err(error(
                    start..start + wrong.len_utf8(),
                    format!(
                        "the pattern `{text}` has the character `{}` in a repository: no image can have it",
                        wrong.escape_debug()
                    ),
                    hint,
                ));
            }
            if !part.contains('*') && reference::valid_repository_segment(part).is_err() {
                return Err(error(
                    within,
                    format!("the pattern `{text}` has the segment `{part}`, which no image can have"),
                    "a segment begins and ends with a letter or digit, with . _ __ or dashes between them".into(),
                ));
            }
            segments.push(Segment::parse(part));
        }
        if registry == "docker.io" && segments.len() == 2 {
            match &segments[1] {
                // `docker.io/alpine` means what it means everywhere: the official image.
                Segment::Literal(_) => segments.insert(1, Segment::Literal("library".into())),
                Segment::Deep => {}
                Segment::Any | Segment::Glob(_) => {
                    return Err(error(
                        first.len() + 1..name.len(),
                        format!(
                            "the pattern `{text}` matches nothing: a repository of Docker Hub has two segments at least, such as library/alpine"
                        ),
                        format!("write docker.io/library/{rest} for official images, docker.io/** for all"),
                    ));
                }
            }
        }
        let tag = tag
            .map(|tag| {
                let within = name.len() + 1..name.len() + 1 + tag.len();
                if tag.is_empty() || reference::valid_tag(&tag.replace("*", "x")).is_err() {
                    return Err(error(
                        within,
                        format!("the pattern `{text}` has a tag that no image can have: `{}`", tag.escape_debug()),
                        "a tag has letters, digits and _ . - (`*` stands for any of them), at most 128; without the colon every tag matches"
                            .into(),
                    ));
                }
                Ok(Glob::new(tag))
            })
            .transpose()?;
        let digest = digest
            .map(|digest| {
                let within = text.len() - digest.len()..text.len();
                let possible = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c) || c == '*';
                let fine = match digest.split_once(':') {
                    Some((algorithm, hex)) => {
                        !hex.is_empty()
                            && hex.chars().all(possible)
                            && (hex.contains('*') || reference::valid_digest(digest).is_ok())
                            && {
                                let algorithm = Glob::new(algorithm);
                                ["sha256", "sha384", "sha512"]
                                    .iter()
                                    .any(|known| algorithm.matches(known))
                            }
                    }
                    None => digest == "*",
                };
                if !fine {
                    return Err(error(
                        within,
                        format!(
                            "the pattern `{text}` has a digest that no image can have: `{}`",
                            digest.escape_debug()
                        ),
                        "write @sha256:<64 lower-case hex digits>, or @* for every image with a digest".into(),
                    ));
                }
                Ok(Glob::new(digest))
            })
            .transpose()?;
        let suffix = (tag.is_some() || digest.is_some()).then(|| Box::new(Suffix { tag, digest }));
        Ok(Self { segments, suffix })
    }

    /// The registry and the segments of the repository.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    pub(crate) fn suffix(&self) -> Option<&Suffix> {
        self.suffix.as_deref()
    }

    /// The registry, where the pattern names exactly one.
    pub fn literal_registry(&self) -> Option<&str> {
        match &self.segments[0] {
            Segment::Literal(registry) => Some(registry),
            _ => None,
        }
    }

    /// Whether the pattern matches, looked at alone. The index answers the same for all patterns of a set at once.
    pub fn matches(&self, image: &Reference<'_>) -> bool {
        let registry = registry_to_match(image);
        let segments: Vec<&str> = segments_to_match(image, &registry).collect();
        matches_segments(&self.segments, &segments) && self.suffix.as_ref().is_none_or(|suffix| suffix.matches(image))
    }

    /// Whether the pattern matches every image there is.
    pub(crate) fn matches_everything(&self) -> bool {
        self.suffix.is_none() && self.segments == [Segment::Any, Segment::Deep]
    }

    /// Whether everything that `other` matches, this one matches too. Never true where it is not so; may miss a case.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        let suffix = match (&self.suffix, &other.suffix) {
            (None, _) => true,
            (Some(own), Some(others)) => own == others,
            (Some(_), None) => false,
        };
        suffix && covers_segments(&self.segments, &other.segments)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, segment) in self.segments.iter().enumerate() {
            if index > 0 {
                f.write_str("/")?;
            }
            f.write_str(segment.as_str())?;
        }
        if let Some(suffix) = &self.suffix {
            if let Some(tag) = &suffix.tag {
                write!(f, ":{tag}")?;
            }
            if let Some(digest) = &suffix.digest {
                write!(f, "@{digest}")?;
            }
        }
        Ok(())
    }
}

impl Suffix {
    /// Whether tag and digest of the image match. An image with neither has the tag `latest` here.
    pub(crate) fn matches(&self, image: &Reference<'_>) -> bool {
        self.tag
            .as_ref()
            .is_none_or(|glob| image.matching_tag().is_some_and(|tag| glob.matches(tag)))
            && self
                .digest
                .as_ref()
                .is_none_or(|glob| image.digest().is_some_and(|digest| glob.matches(digest)))
    }
}

/// The image's registry as patterns and regular expressions see it: in lower case.
pub(crate) fn registry_to_match<'a>(image: &Reference<'a>) -> Cow<'a, str> {
    let registry = image.registry();
    if registry.bytes().any(|byte| byte.is_ascii_uppercase()) {
        registry.to_ascii_lowercase().into()
    } else {
        registry.into()
    }
}

/// The image's segments as patterns see them; `registry` is [`registry_to_match`].
pub(crate) fn segments_to_match<'s>(
    image: &Reference<'s>,
    registry: &'s str,
) -> impl Iterator<Item = &'s str> + use<'s> {
    (!registry.is_empty())
        .then_some(registry)
        .into_iter()
        .chain(image.repository().segments())
}

/// Whether a first segment may stand for a registry: what normalisation takes for one, or a wildcard.
fn may_be_registry(segment: &str) -> bool {
    segment.contains('*') || reference::is_registry_host(segment)
}

fn within_a_segment(within: Range<usize>, text: &str, part: &str) -> PatternError {
    PatternError {
        message: format!("the pattern `{text}` has `**` inside the segment `{part}`"),
        hint: "`**` stands for whole segments: put it between slashes, or use `*` within a segment".into(),
        within,
    }
}

fn without_registry(text: &str, name: &str) -> PatternError {
    let hint = match name.split_once(':') {
        _ if name == "*" || name == "**" => "write */** for every image".to_owned(),
        _ if name.starts_with('/') => "take the `/` at the beginning out".to_owned(),
        // As a reference it is an image with a tag, but it may be meant for a host with a port.
        Some((image, _)) if !name.contains('/') && !reference::is_registry_host(image) => {
            format!("for the image write docker.io/library/{text}, for everything in a registry of that name {name}/**")
        }
        _ if reference::is_registry_host(name) => format!("for everything in that registry write {name}/**"),
        _ if name.contains('/') => format!("write docker.io/{text}, or */{text} for any registry"),
        _ => format!("write docker.io/library/{text}, or **/{text} for any registry and path"),
    };
    PatternError {
        message: format!("the pattern `{}` names no registry", text.escape_debug()),
        hint,
        within: 0..text.len(),
    }
}

const REGISTRY_HINT: &str = "a registry is a host, with a port if need be: docker.io, localhost:5000, [::1]:5000";

#[cfg(test)]
mod tests;
