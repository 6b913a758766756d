//! Notifications: what registries tell of pushes and deletes, in the formats that they have for it.
//!
//! Registries differ in what else they say, so that what is not needed is not looked at. What is needed is taken strictly: an event of
//! which a repository, a tag, a digest or the time is none counts as invalid, and nothing comes of it.

mod deletions;
mod distribution;
mod harbor;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

pub use self::deletions::Deletions;
use super::Image;
use crate::{
    reference::{Reference, valid_digest, valid_repository, valid_tag},
    registry::Registry,
};

/// How a registry writes its notifications.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// CNCF Distribution, and others that took its format over: `{"events": […]}`.
    Distribution,
    /// Harbor's webhooks, as its own format has them or as CloudEvents.
    Harbor,
}

/// What a registry tells in one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notification {
    /// What is of interest, in its order.
    pub notices: Vec<Notice>,
    /// How many events are of none: blobs, what was pushed without a tag, pulls, scans.
    pub irrelevant: usize,
    /// How many events say what cannot be.
    pub invalid: usize,
}

/// Something that happened in a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The repository, as the registry calls it: without a host.
    pub repository: Box<str>,
    /// When, by the registry's clock.
    pub at: Timestamp,
    /// What.
    pub what: Noticed,
}

/// What happened in a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Noticed {
    /// A tag was set.
    Pushed {
        /// The tag.
        tag: Box<str>,
        /// What it is of.
        digest: Box<str>,
    },
    /// Something is there no more.
    Deleted(Deleted),
}

/// What is there no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// A tag.
    Tag(Box<str>),
    /// What has this digest, whatever its tags.
    Digest(Box<str>),
    /// The repository.
    Repository,
}

/// Why a body is no notification. Says nothing of what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotificationError {
    /// It is no JSON.
    #[error("it is no JSON at line {line}, column {column}")]
    NoJson {
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
    /// It is JSON of another form.
    #[error("it is not of the form that {0}")]
    Unlike(&'static str),
    /// It has too many events.
    #[error("it has {0} events, and {MOST_EVENTS} at most are taken at once: send fewer")]
    TooMany(usize),
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 2] = [Self::Distribution, Self::Harbor];

    /// As paths have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Distribution => "distribution",
            Self::Harbor => "harbor",
        }
    }
}

impl Notification {
    /// Understands a body.
    ///
    /// # Errors
    ///
    /// When it is of another form, or has more than [`MOST_EVENTS`] events.
    pub fn read(format: Format, body: &[u8]) -> Result<Self, NotificationError> {
        match format {
            Format::Distribution => distribution::read(body),
            Format::Harbor => harbor::read(body),
        }
    }

    fn add(&mut self, found: Found) {
        match found {
            Found::Notice(notice) if notice.is_possible() => self.notices.push(notice),
            Found::Notice(_) | Found::Invalid => self.invalid += 1,
            Found::Irrelevant => self.irrelevant += 1,
        }
    }
}

/// What an event is.
enum Found {
    Notice(Notice),
    Irrelevant,
    Invalid,
}

impl Deleted {
    /// Since when there is nothing under a tag to which something was pushed at `pushed` that was deleted at `deleted`. What was deleted by its
    /// digest may have lost the tag to another before, of which nobody has told yet: no later push than this one is undone.
    pub fn withdraws(&self, pushed: Timestamp, deleted: Timestamp) -> Timestamp {
        match self {
            Self::Tag(_) | Self::Repository => deleted,
            Self::Digest(_) => pushed
                .checked_add(SignedDuration::from_nanos(1))
                .map_or(deleted, |after| after.min(deleted)),
        }
    }
}

impl Notice {
    /// What references to the repository are in a registry, without tag and digest, as they are normalised; none where that is not
    /// below the registry's organization.
    pub fn name(&self, registry: &Registry) -> Option<String> {
        let name = format!("{}/{}", registry.address.host, self.repository);
        let reference = Reference::parse(&name).ok()?;
        registry
            .is_over(&reference)
            .then(|| reference.canonical_name().to_string())
    }

    fn is_possible(&self) -> bool {
        valid_repository(&self.repository).is_ok()
            && match &self.what {
                Noticed::Pushed { tag, digest } => valid_tag(tag).is_ok() && valid_digest(digest).is_ok(),
                Noticed::Deleted(Deleted::Tag(tag)) => valid_tag(tag).is_ok(),
                Noticed::Deleted(Deleted::Digest(digest)) => valid_digest(digest).is_ok(),
                Noticed::Deleted(Deleted::Repository) => true,
            }
    }
}

/// The image that is in a registry under this name: its source, by the registry's names, or itself where it has none.
pub fn image(registry: &Registry, target: &Image) -> Image {
    let source = Reference::parse(target.as_str())
        .ok()
        .and_then(|target| registry.names.source(&target));
    source
        .and_then(|source| Image::parse(&source).ok())
        .unwrap_or_else(|| target.clone())
}

/// Whether the tag stands for something about an image rather than for one: signatures, attestations and lists of referrers are tagged
/// by the digest of what they are about.
fn is_about_another(tag: &str) -> bool {
    let Some((algorithm, rest)) = tag.split_once('-') else {
        return false;
    };
    let digits = rest.bytes().take_while(u8::is_ascii_hexdigit).count();
    let end = rest.get(digits..).unwrap_or_default();
    matches!((algorithm, digits), ("sha256", 64) | ("sha512", 128)) && (end.is_empty() || end.starts_with('.'))
}

fn json<'b, T: Deserialize<'b>>(body: &'b [u8], form: &'static str) -> Result<T, NotificationError> {
    serde_json::from_slice(body).map_err(|error| {
        if error.is_data() {
            NotificationError::Unlike(form)
        } else {
            NotificationError::NoJson {
                line: error.line(),
                column: error.column(),
            }
        }
    })
}

/// More than a registry sends at once: both send one.
pub const MOST_EVENTS: usize = 1000;

#[cfg(test)]
mod tests;
