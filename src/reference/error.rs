//! Why a text is not an image reference, in words that help its author.

use std::fmt;

/// A text that is not an image reference: an excerpt of it, what is wrong, and what to do about it.
///
/// The message is one line of bounded length whatever the input was, so that it can go into logs and responses as it is.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("image reference `{excerpt}`: {kind} ({}); {}", kind.as_str(), kind.hint())]
pub struct ParseError {
    excerpt: Box<str>,
    kind: ErrorKind,
}

impl ParseError {
    pub(super) fn new(input: &str, kind: ErrorKind) -> Self {
        Self {
            excerpt: excerpt(input),
            kind,
        }
    }

    /// What is wrong.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The offending input for people to recognise: 64 characters of it at most, then `…`; those that are not printable are
    /// escaped as in Rust, and so are backslashes.
    pub fn excerpt(&self) -> &str {
        &self.excerpt
    }

    /// What to do about it: [`ErrorKind::hint`].
    pub fn hint(&self) -> &'static str {
        self.kind.hint()
    }
}

/// What is wrong with a reference.
///
/// It is the fault of whoever wrote the reference, except where a variant says otherwise; never that of a registry or of
/// Waypost. `Display` says it in words, [`as_str`](Self::as_str) as a stable identifier.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Nothing at all.
    Empty,
    /// Bytes that are not UTF-8: the fault of what produced them. Only [`lines`](super::lines) meets such input.
    NotUtf8,
    /// `$IMAGE`, `$(IMAGE)`, `{{ .Values.image }}`: the fault of the tool that should have filled it in.
    UnexpandedVariable,
    /// White space, line breaks included. Nothing is trimmed, because the kubelet trims nothing.
    Whitespace,
    /// `https://…`, `docker://…`.
    UrlScheme,
    /// 64 hex digits alone: the ID of a local image, which no registry can be asked for.
    BareIdentifier,
    /// A registry that breaks the grammar.
    InvalidRegistry,
    /// A colon before the first slash with something other than digits after it.
    InvalidPort,
    /// A registry, tag or digest, but no repository.
    MissingRepository,
    /// A slash at the beginning, at the end, or after another one.
    EmptySegment,
    /// An upper-case letter in the repository.
    UpperCaseRepository,
    /// A repository that breaks the grammar.
    InvalidRepository,
    /// A repository of more than 255 bytes, an implied `library/` included.
    NameTooLong,
    /// A colon with no tag after it.
    TrailingColon,
    /// A tag that breaks the grammar.
    InvalidTag,
    /// A tag of more than 128 bytes.
    TagTooLong,
    /// `repo:sha256:…`.
    DigestAfterColon,
    /// `repo@sha256:…:tag`.
    TagAfterDigest,
    /// A digest that breaks the grammar.
    InvalidDigest,
    /// An upper-case letter in a digest.
    UpperCaseDigest,
    /// A digest algorithm that the nodes do not support.
    UnsupportedDigestAlgorithm,
    /// A digest with more or fewer digits than its algorithm has.
    WrongDigestLength,
}

impl ErrorKind {
    /// A stable identifier in snake_case, for JSON and metrics.
    pub const fn as_str(self) -> &'static str {
        self.texts().0
    }

    /// What to do about it, in one clause.
    pub const fn hint(self) -> &'static str {
        self.texts().2
    }

    /// Identifier, what is wrong, what to do.
    const fn texts(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Empty => ("empty", "it is empty", "write at least a repository, such as `alpine`"),
            Self::NotUtf8 => (
                "not_utf8",
                "it is not UTF-8 text",
                "save the input as UTF-8; a reference itself is plain ASCII",
            ),
            Self::UnexpandedVariable => (
                "unexpanded_variable",
                "it holds a variable that nobody filled in",
                "run it through the template or shell that sets the variable",
            ),
            Self::Whitespace => (
                "whitespace",
                "it contains white space",
                "remove it: nothing is trimmed; look for a line break at the end, or two references in one",
            ),
            Self::UrlScheme => (
                "url_scheme",
                "it begins like a URL",
                "leave out everything up to `://`: a reference begins with the registry's host",
            ),
            Self::BareIdentifier => (
                "bare_identifier",
                "it is the ID of a local image, not a name",
                "write `repository@sha256:…` with the digest that the registry shows for it",
            ),
            Self::InvalidRegistry => (
                "invalid_registry",
                "what stands before the first `/` counts as a registry, but is not a host with an optional port",
                "write a DNS name, an IPv4 address or an IPv6 address in brackets; host names have no `_`",
            ),
            Self::InvalidPort => (
                "invalid_port",
                "before the first `/`, a colon is followed by something other than a port number",
                "write digits after it; a tag comes after the last segment",
            ),
            Self::MissingRepository => (
                "missing_repository",
                "it has no repository",
                "write `registry/repository`, and any tag or digest after that",
            ),
            Self::EmptySegment => (
                "empty_segment",
                "there is nothing between two slashes, or before or after one",
                "remove the slash, or fill in what is missing: often a variable that was empty",
            ),
            Self::UpperCaseRepository => (
                "upper_case_repository",
                "its repository has an upper-case letter",
                "write the repository in lower case; only registry and tag may have capitals",
            ),
            Self::InvalidRepository => (
                "invalid_repository",
                "its repository breaks the grammar",
                "use lower-case letters and digits, with single `.`, one or two `_`, or dashes between them",
            ),
            Self::NameTooLong => (
                "name_too_long",
                "its repository has more than 255 bytes",
                "shorten it; on Docker Hub an implied `library/` counts, the registry never does",
            ),
            Self::TrailingColon => (
                "trailing_colon",
                "there is no tag after the colon",
                "write a tag, or leave out the colon: often a variable that was empty",
            ),
            Self::InvalidTag => (
                "invalid_tag",
                "its tag breaks the grammar",
                "use ASCII letters, digits, `_`, `.` and `-`, with neither `.` nor `-` first",
            ),
            Self::TagTooLong => ("tag_too_long", "its tag has more than 128 bytes", "shorten the tag"),
            Self::DigestAfterColon => (
                "digest_after_colon",
                "a digest stands where a tag should",
                "join the digest by `@`, as in `repository@sha256:…`",
            ),
            Self::TagAfterDigest => (
                "tag_after_digest",
                "something follows the digest",
                "write the tag before the digest, as in `repository:tag@sha256:…`",
            ),
            Self::InvalidDigest => (
                "invalid_digest",
                "what follows `@` is not a digest",
                "write `@sha256:` and 64 hex digits; a tag is joined by `:`",
            ),
            Self::UpperCaseDigest => (
                "upper_case_digest",
                "its digest has an upper-case letter",
                "write algorithm and hex digits in lower case",
            ),
            Self::UnsupportedDigestAlgorithm => (
                "unsupported_digest_algorithm",
                "container runtimes do not know the algorithm of its digest",
                "use sha256, sha384 or sha512",
            ),
            Self::WrongDigestLength => (
                "wrong_digest_length",
                "its digest has the wrong number of digits",
                "copy all of it: sha256 has 64 hex digits, sha384 96, sha512 128",
            ),
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.texts().1)
    }
}

/// The beginning of an input in printable characters, so that no log line is broken, coloured or reordered by it.
fn excerpt(input: &str) -> Box<str> {
    let mut shown = String::new();
    let mut chars = input.chars();
    for c in chars.by_ref().take(EXCERPT_CHARS) {
        match c {
            // Harmless, and harder to read when escaped.
            '"' | '\'' => shown.push(c),
            _ => shown.extend(c.escape_debug()),
        }
    }
    if chars.next().is_some() {
        shown.push('…');
    }
    shown.into()
}

const EXCERPT_CHARS: usize = 64;
