//! Admission reviews on the wire: what is read of a request, and how an answer is written.
//!
//! Nothing is decoded into typed Pods: they would lose every field newer than the client library
//! (<https://github.com/Azure/azure-workload-identity/issues/1759>). Read are the few fields that matter, borrowed from the request's
//! bytes; written are JSON Patch operations on just those.

mod json;
mod owner;
mod patch;
mod pod;
mod wire;

pub(crate) use self::pod::{MIRROR, RULES};
pub use self::{
    owner::Owner,
    patch::{Patch, Pointer},
    pod::{Annotations, ImageSlot, PodView, PullSecrets, SlotKind, StrMap},
    wire::{Answer, BadReview, Operation, Review, parse, uid_of},
};
