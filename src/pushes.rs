//! Pushes: which image went into which registry, and when.
//!
//! A [`Record`] is of one image in one registry, and what happens to it is an [`Event`]: somebody's report, a notification of the
//! registry, a look at what is there, a copy that Waypost makes. [`Record::after`] says what becomes of a record, whatever order events arrive in. The newest
//! [`Success`] of an image over all registries is its latest push, which an [`Index`] finds: that is where Pods pull it from.

mod copying;
mod event;
mod first_use;
mod image;
mod index;
pub mod notification;
mod object;
pub mod outdated;
mod record;
pub mod verification;

pub(crate) use self::index::normal;
pub use self::{
    copying::{Copies, Copying, MOST_COPIES, Order, Wanted},
    event::{Event, Origin, What},
    first_use::FirstUse,
    image::{Image, Key, PushId},
    index::{Found, Index, MOST_OF_A_DIGEST, Pushes, Source},
    object::{PushCopy, PushSpec, PushStatus},
    record::{Attempt, Record, State, Success},
};

#[cfg(test)]
mod tests;
