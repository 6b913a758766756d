//! Digests: of algorithms, those that the OCI specification registers are known.

use sha2::{Digest, Sha256, Sha512};

/// What a digest is made with, as far as it has come.
#[derive(Clone)]
pub(super) enum Hasher {
    Sha256(Sha256),
    Sha512(Box<Sha512>),
}

impl Hasher {
    /// For the algorithm of this digest; none where it is not known.
    pub(super) fn of(digest: &str) -> Option<Self> {
        match digest.split_once(':')?.0 {
            "sha256" => Some(Self::Sha256(Sha256::new())),
            "sha512" => Some(Self::Sha512(Box::default())),
            _ => None,
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    /// The digest of all that was given.
    pub(super) fn digest(self) -> String {
        let (algorithm, bytes): (_, Vec<u8>) = match self {
            Self::Sha256(hasher) => ("sha256", hasher.finalize().to_vec()),
            Self::Sha512(hasher) => ("sha512", hasher.finalize().to_vec()),
        };
        let mut digest = format!("{algorithm}:");
        for byte in bytes {
            digest.push_str(&format!("{byte:02x}"));
        }
        digest
    }
}

/// Whether the content has this digest.
pub(super) fn is_of(digest: &str, content: &[u8]) -> bool {
    Hasher::of(digest).is_some_and(|mut hasher| {
        hasher.update(content);
        hasher.digest() == digest
    })
}

/// The digest that registries name content by.
pub(super) fn sha256(content: &[u8]) -> String {
    let mut hasher = Hasher::Sha256(Sha256::new());
    hasher.update(content);
    hasher.digest()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_has_the_digest_that_it_has_whatever_pieces_it_comes_in() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert!(is_of(empty, b""));
        assert_eq!(sha256(b""), empty);
        for digest in [sha256(b"hello"), {
            let mut hasher = Hasher::of("sha512:").unwrap();
            hasher.update(b"hello");
            hasher.digest()
        }] {
            let mut pieces = Hasher::of(&digest).unwrap();
            pieces.update(b"he");
            let mut kept = pieces.clone();
            pieces.update(b"y");
            kept.update(b"llo");
            assert!(kept.digest() == digest && pieces.digest() != digest);
            assert!(!is_of(&digest.to_uppercase(), b"hello"));
        }
        assert!(!is_of("md5:x", b"") && !is_of("", b""));
    }
}
