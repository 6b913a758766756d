//! Image references: `[registry/]repository[:tag][@digest]`, their grammar and their normal form.
//!
//! The rules are those of the Go reference implementation, `github.com/distribution/reference` v0.6.0 with
//! `github.com/opencontainers/go-digest` v1.0.0: that is what the kubelet and containerd read references with, so that is
//! what decides where a node pulls from. Whatever `ParseNormalizedNamed` accepts is accepted here, with the same parts;
//! whatever it refuses is refused. `tests/integration/reference_conformance.rs` compares the two.
//!
//! A [`Reference`] borrows: parsing is one walk over the bytes and allocates nothing, since all that it hands out is slices
//! of the input and the two literals that normalisation adds (`docker.io`, `library`). Only a refused input costs an
//! allocation, the excerpt in its [`ParseError`].

use std::fmt;

mod error;
mod grammar;
pub mod lines;
mod parse;
#[cfg(test)]
mod tests;

pub use error::{ErrorKind, ParseError};
pub use grammar::{
    MAX_REPOSITORY_BYTES, MAX_TAG_BYTES, is_registry_host, valid_digest, valid_registry, valid_repository,
    valid_repository_segment, valid_tag,
};

/// A valid image reference in its normal form, which remembers how it was written.
///
/// `Display` gives back the spelling of the input, and equality compares it too: `alpine` and `docker.io/library/alpine` are
/// two references to one image. Compare [`canonical`](Self::canonical) or [`canonical_name`](Self::canonical_name) for the
/// image; neither allocates.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Reference<'a> {
    input: &'a str,
    name: Name<'a>,
    tag: Option<&'a str>,
    digest: Option<&'a str>,
}

impl<'a> Reference<'a> {
    /// Reads a reference and normalises it: `alpine` is repository `library/alpine` of registry `docker.io`.
    ///
    /// A tag is never invented, and a tag beside a digest is kept. Nothing is trimmed.
    ///
    /// # Errors
    ///
    /// [`ParseError`] where `ParseNormalizedNamed` of the Go implementation fails; its kind is our own, finer reading of why.
    pub fn parse(input: &'a str) -> Result<Self, ParseError> {
        parse::parse(input).map_err(|kind| ParseError::new(input, kind))
    }

    /// The reference as it was written.
    pub fn input(&self) -> &'a str {
        self.input
    }

    /// The registry, host and port, letter case as written; `docker.io` where the input names none.
    ///
    /// It is empty for a first segment that counts as a host but is not a valid one, as in `a_b.example.com/x`: the Go
    /// implementation then takes all of it for the repository.
    pub fn registry(&self) -> &'a str {
        self.name.registry
    }

    /// The repository, with `library/` where normalisation adds it.
    pub fn repository(&self) -> Repository<'a> {
        self.name.repository
    }

    /// The tag, where one is written.
    pub fn tag(&self) -> Option<&'a str> {
        self.tag
    }

    /// The digest, algorithm included (`sha256:…`), where one is written.
    pub fn digest(&self) -> Option<&'a str> {
        self.digest
    }

    /// The tag that a pattern is compared with: the written one, or `latest` where there is neither tag nor digest.
    ///
    /// It is for matching only and must not be written out: a Pod says `alpine` or `alpine:latest` for reasons of its own.
    pub fn matching_tag(&self) -> Option<&'a str> {
        match (self.tag, self.digest) {
            (None, None) => Some(DEFAULT_TAG),
            (tag, _) => tag,
        }
    }

    /// The normal form, `registry/repository[:tag][@digest]`, without an invented tag.
    pub fn canonical(&self) -> Canonical<'a> {
        Canonical {
            name: self.name,
            tag: self.tag,
            digest: self.digest,
        }
    }

    /// The normal form without tag and digest, `registry/repository`.
    pub fn canonical_name(&self) -> Name<'a> {
        self.name
    }

    /// The `[:tag][@digest]` of the input, to be carried over verbatim to another name; empty where there is neither.
    pub fn suffix(&self) -> &'a str {
        let joined = |part: Option<&str>| part.map_or(0, |part| 1 + part.len());
        &self.input[self.input.len() - joined(self.tag) - joined(self.digest)..]
    }

    /// The short form that people type, the Go implementation's `FamiliarString`: `alpine` for `docker.io/library/alpine`.
    ///
    /// For reading only. It does not always lead back to the same image: `docker.io/localhost/x` is `localhost/x` in this
    /// form, which names another registry.
    pub fn familiar(&self) -> Familiar<'a> {
        Familiar(self.canonical())
    }

    /// The segments of [`canonical_name`](Self::canonical_name): the registry, unless it is empty, then the repository's.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &'a str> + Clone + use<'a> {
        let registry = self.name.registry;
        (!registry.is_empty())
            .then_some(registry)
            .into_iter()
            .chain(self.name.repository.segments())
    }
}

impl fmt::Display for Reference<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.input)
    }
}

/// The repository of a normalised reference: one or more segments, such as `library/alpine`.
///
/// Two of them are equal when their text is, whether `library/` was written or added.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Repository<'a> {
    /// Whether the text is `library/` and one more segment, written so or not: the one representation of that text, on
    /// which the derived equality and hash rely.
    in_library: bool,
    /// All of the text, or only its last segment when `in_library`.
    rest: &'a str,
}

#[expect(clippy::len_without_is_empty, reason = "a repository is never empty")]
impl<'a> Repository<'a> {
    fn implied(name: &'a str) -> Self {
        Self {
            in_library: true,
            rest: name,
        }
    }

    fn written(text: &'a str) -> Self {
        match text.strip_prefix(LIBRARY).and_then(|rest| rest.strip_prefix('/')) {
            Some(name) if !name.contains('/') => Self::implied(name),
            _ => Self {
                in_library: false,
                rest: text,
            },
        }
    }

    /// The segments between the slashes, `library` first where normalisation adds it.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &'a str> + Clone + use<'a> {
        self.in_library
            .then_some(LIBRARY)
            .into_iter()
            .chain(self.rest.split('/'))
    }

    /// All segments but the last, joined as written; `None` where there is only one.
    pub fn namespace(&self) -> Option<&'a str> {
        if self.in_library {
            return Some(LIBRARY);
        }
        self.rest.rsplit_once('/').map(|(namespace, _)| namespace)
    }

    /// The last segment.
    pub fn name(&self) -> &'a str {
        self.rest.rsplit_once('/').map_or(self.rest, |(_, name)| name)
    }

    /// The length of the text in bytes, at most [`MAX_REPOSITORY_BYTES`].
    pub fn len(&self) -> usize {
        let prefix = if self.in_library { LIBRARY.len() + 1 } else { 0 };
        prefix + self.rest.len()
    }
}

impl fmt::Display for Repository<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.in_library {
            write!(f, "{LIBRARY}/")?;
        }
        f.write_str(self.rest)
    }
}

impl PartialEq<str> for Repository<'_> {
    fn eq(&self, other: &str) -> bool {
        *self == Repository::written(other)
    }
}

impl PartialEq<&str> for Repository<'_> {
    fn eq(&self, other: &&str) -> bool {
        *self == **other
    }
}

/// The name of an image in its normal form: registry and repository, no tag, no digest. Equal when its text is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Name<'a> {
    registry: &'a str,
    repository: Repository<'a>,
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.registry.is_empty() {
            write!(f, "{}/", self.registry)?;
        }
        self.repository.fmt(f)
    }
}

/// A reference in its normal form, `registry/repository[:tag][@digest]`. Equal when its text is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Canonical<'a> {
    name: Name<'a>,
    tag: Option<&'a str>,
    digest: Option<&'a str>,
}

impl Canonical<'_> {
    fn fmt_suffix(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(tag) = self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Canonical<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)?;
        self.fmt_suffix(f)
    }
}

/// A reference in the short form that people type; see [`Reference::familiar`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Familiar<'a>(Canonical<'a>);

impl fmt::Display for Familiar<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Name { registry, repository } = self.0.name;
        // `library/` goes only where one segment follows it, as in `familiarizeName`: exactly what `in_library` says.
        if registry == DEFAULT_REGISTRY {
            f.write_str(repository.rest)?;
        } else {
            self.0.name.fmt(f)?;
        }
        self.0.fmt_suffix(f)
    }
}

/// The registry of a reference that names none: Docker Hub.
pub const DEFAULT_REGISTRY: &str = "docker.io";

/// Docker Hub's old name, which normalisation replaces by [`DEFAULT_REGISTRY`].
const LEGACY_DEFAULT_REGISTRY: &str = "index.docker.io";

/// The namespace that normalisation adds to a single segment on Docker Hub.
const LIBRARY: &str = "library";

const DEFAULT_TAG: &str = "latest";
