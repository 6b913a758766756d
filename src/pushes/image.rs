//! What an image is called, whoever calls it: the identity that reports, notifications and Pods have in common.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    reference::{DEFAULT_REGISTRY, ParseError, Reference},
    registry::{Registry, id_problem},
};

/// The identity of an image: `registry/repository:tag`, normalised, the host in lower case and the tag `latest` written out. An image
/// that has a digest and no tag is `registry/repository@digest`; a digest beside a tag is no part of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Image(Box<str>);

/// Stands for an identity: the first 16 bytes of the SHA-256 of its text. No two are known to have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(pub [u8; 16]);

/// The id of a push record, which is its object's name: `<registry id>.<key of the image in hexadecimal digits>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PushId(Box<str>);

impl Image {
    /// The image that a reference is of.
    pub fn of(reference: &Reference<'_>) -> Self {
        let mut text = String::with_capacity(reference.input().len() + "docker.io/library/:latest".len());
        write(reference, |part| text.push_str(part));
        if let Some(host) = text.get_mut(..lowered(reference)) {
            host.make_ascii_lowercase();
        }
        Self(text.into())
    }

    /// What a reference with a digest means, which no tag beside it changes: the image of that digest. Without one as [`Image::of`].
    pub fn meant_by(reference: &Reference<'_>) -> Self {
        let Some(digest) = reference.digest().filter(|_| reference.tag().is_some()) else {
            return Self::of(reference);
        };
        let mut text = String::with_capacity(reference.input().len() + "docker.io/library/".len());
        write_name(reference, &mut |part| text.push_str(part));
        text.push('@');
        text.push_str(digest);
        if let Some(host) = text.get_mut(..lowered(reference)) {
            host.make_ascii_lowercase();
        }
        Self(text.into())
    }

    /// Whether it is called by a tag, which somebody may move, and not by its digest.
    pub fn tag_may_move(&self) -> bool {
        !self.0.contains('@')
    }

    /// Reads one, as somebody wrote it.
    ///
    /// # Errors
    ///
    /// When it is no reference.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        Reference::parse(text).map(|reference| Self::of(&reference))
    }

    /// What the image that lies in a registry under this name is called everywhere, by the registry's names; none where it lies elsewhere,
    /// or is an image in its own right.
    pub fn source_in(&self, registry: &Registry) -> Option<Self> {
        let name = Reference::parse(&self.0).ok()?;
        let source = registry.is_over(&name).then(|| registry.names.source(&name))?;
        Self::parse(&source?).ok()
    }

    /// What the image is called in a registry, by the registry's names, or why it can have no name there. It has the image's tag, or its
    /// digest where it has no tag.
    ///
    /// # Errors
    ///
    /// A sentence that says why not.
    pub fn target_in(&self, registry: &Registry) -> Result<Self, String> {
        let Ok(reference) = Reference::parse(&self.0) else {
            return Err("it can have no name in a registry".to_owned());
        };
        let target = registry.names.target(&reference);
        if let Some(target) = target.and_then(|target| Self::parse(&target).ok()) {
            return Ok(target);
        }
        Err(match registry.names.from() {
            Some(from) if !from.eq_ignore_ascii_case(reference.registry()) => format!(
                "by its `names` the registry has images of {from} alone, and this one is of {}",
                reference.registry()
            ),
            _ => format!(
                "`{}`, the registry's `names`, make no valid reference of it: it would be too long, or have a port in the middle",
                registry.names.template()
            ),
        })
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands for it.
    pub fn key(&self) -> Key {
        Key::of_text(&self.0)
    }
}

impl Key {
    /// Of the image that a reference is of. Allocates nothing.
    pub fn of(reference: &Reference<'_>) -> Self {
        let mut hasher = Hasher::new(reference);
        write(reference, |part| hasher.add(part));
        hasher.finish()
    }

    /// Of what has this digest among the images of the reference's name, whatever their tags: the identity of `registry/repository@digest`.
    /// Allocates nothing.
    pub fn of_digest(reference: &Reference<'_>, digest: &str) -> Self {
        let mut hasher = Hasher::new(reference);
        write_name(reference, &mut |part| hasher.add(part));
        hasher.add("@");
        hasher.add(digest);
        hasher.finish()
    }

    fn of_text(text: &str) -> Self {
        Self::first(&Sha256::digest(text.as_bytes()))
    }

    fn first(digest: &[u8]) -> Self {
        let mut key = [0; 16];
        key.copy_from_slice(&digest[..16]);
        Self(key)
    }
}

/// Hashes the parts of a name, of which the first is the host.
struct Hasher {
    hasher: Sha256,
    /// How many bytes are to come that are written in lower case.
    host: usize,
}

impl Hasher {
    fn new(reference: &Reference<'_>) -> Self {
        Self {
            hasher: Sha256::new(),
            host: lowered(reference),
        }
    }

    fn add(&mut self, part: &str) {
        let (host, rest) = part.as_bytes().split_at(self.host.min(part.len()));
        self.host -= host.len();
        let mut lower = [0; 64];
        for host in host.chunks(lower.len()) {
            let lower = &mut lower[..host.len()];
            lower.copy_from_slice(host);
            lower.make_ascii_lowercase();
            self.hasher.update(lower);
        }
        self.hasher.update(rest);
    }

    fn finish(self) -> Key {
        Key::first(&self.hasher.finalize())
    }
}

/// How many bytes of a name are written in lower case: those of its host, which is the same in any letter case. None where another image
/// would come of it: `HOST/app` is of a host, and `host/app`, without a dot or a port, of Docker Hub; `docker.io/app` is `library/app` there,
/// and `index.docker.io` is another name of it, which is so to a node in lower case alone.
pub(super) fn lowered(reference: &Reference<'_>) -> usize {
    let host = reference.registry();
    let is = |name: &str| host.eq_ignore_ascii_case(name);
    let is_host = host.contains(['.', ':']) || is("localhost");
    let in_library = is(DEFAULT_REGISTRY) && reference.repository().namespace().is_none();
    if is_host && !in_library && !is("index.docker.io") {
        host.len()
    } else {
        0
    }
}

/// The parts of an identity, in order; the host is the first, as it was written.
fn write(reference: &Reference<'_>, mut add: impl FnMut(&str)) {
    write_name(reference, &mut add);
    match (reference.matching_tag(), reference.digest()) {
        (Some(tag), _) => {
            add(":");
            add(tag);
        }
        (None, Some(digest)) => {
            add("@");
            add(digest);
        }
        (None, None) => {}
    }
}

fn write_name(reference: &Reference<'_>, add: &mut impl FnMut(&str)) {
    for (place, segment) in reference.segments().enumerate() {
        if place > 0 {
            add("/");
        }
        add(segment);
    }
}

impl PushId {
    /// That of the record of an image in a registry.
    pub fn new(registry: &str, key: Key) -> Self {
        Self(format!("{registry}.{key}").into())
    }

    /// Reads one: a registry's id, a dot, 32 hexadecimal digits in lower case.
    pub fn parse(text: &str) -> Option<Self> {
        let (registry, key) = text.split_once('.')?;
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let valid = id_problem(registry).is_none() && key.len() == 32 && key.bytes().all(digit);
        valid.then(|| Self(text.into()))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The registry's id.
    pub fn registry(&self) -> &str {
        self.0.split_once('.').map_or(&self.0, |(registry, _)| registry)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Display for PushId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
