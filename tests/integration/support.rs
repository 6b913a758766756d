//! What the modules share.

pub(crate) mod random;
