//! What the modules share.

pub(crate) mod client;
pub(crate) mod cluster;
pub(crate) mod distribution;
pub(crate) mod helm;
pub(crate) mod issuers;
pub(crate) mod leaks;
pub(crate) mod program;
pub(crate) mod random;
pub(crate) mod serving;

use std::time::{Duration, Instant};

/// Waits until `look` finds what it looks for; `what` says so where it never does.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "never within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Far more than anything takes, so that only what never comes fails on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A review of the repository's, by its file name.
pub(crate) fn fixture(name: &str) -> std::path::PathBuf {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/reviews")
        .join(name);
    assert!(path.is_file(), "there is no {}", path.display());
    path
}

/// The review with every kind of image.
pub(crate) const ALL_IMAGES: &str = "pod-create-all-images.json";
