//! The facts that the module rests on. What the Go implementation makes of the same inputs is compared by the integration test
//! `reference_conformance`; the tables here say what we believe it to be, one row, one test.

use super::*;

mod accepted;
mod lines;
mod productions;
mod properties;
mod refused;

/// One test for each row, so that a failure names the fact: `name: expression;`, true where the fact holds.
macro_rules! facts {
    ($($name:ident: $fact:expr;)+) => {
        $(#[test]
        fn $name() {
            assert!($fact);
        })+
    };
}
use facts;

fn parse(input: &str) -> Reference<'_> {
    Reference::parse(input).unwrap()
}

fn kind(input: &str) -> ErrorKind {
    Reference::parse(input).unwrap_err().kind()
}

fn hex(digits: usize) -> String {
    "0123456789abcdef".chars().cycle().take(digits).collect()
}

/// A repository of two segments and this length.
fn repository_of(bytes: usize) -> String {
    format!("a/{}", "b".repeat(bytes - 2))
}

const SHA256: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
