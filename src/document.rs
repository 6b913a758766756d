//! Documents people write: YAML (JSON is YAML too) with the place of everything in it.
//!
//! A file goes through four steps, each of which reports *all* it finds instead of stopping at the first mistake:
//!
//! 1. [`parse`] reads a [`Source`] into a tree of [`Node`]s, each with its place in the text;
//! 2. [`check::Shape`] compares a tree with the JSON Schema of a Rust type, so that types are written down once;
//! 3. serde decodes the checked tree: `&Node` is a [`serde::Deserializer`];
//! 4. [`locate`] turns what was found, here or by later checks, into [`Diagnostic`]s, and [`render`] prints them.
//!
//! ```
//! use waypost::document::{Source, locate, parse, render};
//!
//! let source = Source::new("demo.yaml", "images: [docker.io/*]\nimages: []\n");
//! let (documents, problems) = parse(&source);
//! assert_eq!(documents.len(), 1);
//! let found: Vec<_> = problems.iter().map(|problem| locate(problem, &source, documents.first())).collect();
//! assert!(render::text(&found, false).starts_with("error[duplicate-key]: the key `images` is written twice"));
//! ```

mod decode;
mod locate;
mod node;
mod path;
mod problem;
mod scalar;
mod source;
mod yaml;

pub mod check;
pub mod render;

pub use decode::DecodeError;
pub(crate) use locate::Lines;
pub use locate::{Diagnostic, RelatedSpot, Spot, locate};
pub use node::{Key, Kind, Node, Style, Value};
pub use path::{Path, Segment};
pub use problem::{Problem, Related, Severity, Target};
pub use scalar::quoted;
pub(crate) use scalar::{is_null, is_string};
pub use source::{MAX_BYTES, Source, Span};
pub use yaml::{MAX_DEPTH, MAX_PROBLEMS, parse};
pub(crate) use yaml::{syntax, unprintable};
