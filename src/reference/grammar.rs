//! The productions of the grammar, one function each, as the doc comment of `reference.go` names them and the patterns of
//! `regexp.go` define them. By hand, over bytes: every accepted byte is ASCII.

use super::ErrorKind;

/// Whether normalisation takes the first of several segments for a registry rather than a part of a Docker Hub repository.
///
/// So it does when the segment is `localhost`, contains a `.` or a `:`, or has an upper-case letter (repositories have none):
/// `splitDockerDomain` of the Go implementation. A segment that counts as a host need not be a valid one. The rule is about
/// references with a slash: `localhost:5000` alone is the image `localhost` with tag `5000`.
pub fn is_registry_host(segment: &str) -> bool {
    segment == LOCALHOST
        || segment
            .bytes()
            .any(|b| matches!(b, b'.' | b':') || b.is_ascii_uppercase())
}

/// Production `domain`: a host name, an IPv4 address or a bracketed IPv6 address, and optionally a port.
///
/// As in the Go implementation neither the length nor the range of the port is limited, and any hex digits and colons
/// between brackets will do.
///
/// # Errors
///
/// [`ErrorKind::InvalidRegistry`], or [`ErrorKind::InvalidPort`] where only the part after the colon is at fault.
pub fn valid_registry(registry: &str) -> Result<(), ErrorKind> {
    let (host_is_valid, port) = match registry.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) = rest.split_once(']').ok_or(ErrorKind::InvalidRegistry)?;
            let port = match rest.strip_prefix(':') {
                Some(port) => Some(port),
                None if rest.is_empty() => None,
                None => return Err(ErrorKind::InvalidRegistry),
            };
            (is_ipv6_address(address), port)
        }
        None => match cut(registry, b':') {
            Some((host, port)) => (is_domain_name(host), Some(port)),
            None => (is_domain_name(registry), None),
        },
    };
    if !host_is_valid {
        return Err(ErrorKind::InvalidRegistry);
    }
    match port {
        Some(port) if port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) => Err(ErrorKind::InvalidPort),
        _ => Ok(()),
    }
}

/// Production `path` (also called `remote-name`): segments joined by `/`, [`MAX_REPOSITORY_BYTES`] in all.
///
/// The limit counts an implied `library/`, but not the registry.
///
/// # Errors
///
/// [`ErrorKind::MissingRepository`] for an empty one, [`ErrorKind::NameTooLong`], and those of [`valid_repository_segment`].
pub fn valid_repository(repository: &str) -> Result<(), ErrorKind> {
    if repository.is_empty() {
        return Err(ErrorKind::MissingRepository);
    }
    let mut rest = repository;
    while let Some((segment, after)) = cut(rest, b'/') {
        valid_repository_segment(segment)?;
        rest = after;
    }
    valid_repository_segment(rest)?;
    if repository.len() > MAX_REPOSITORY_BYTES {
        return Err(ErrorKind::NameTooLong);
    }
    Ok(())
}

/// Production `path-component`: runs of lower-case letters and digits, separated by `.`, `_`, `__` or any number of `-`.
///
/// # Errors
///
/// [`ErrorKind::EmptySegment`], [`ErrorKind::UpperCaseRepository`] or [`ErrorKind::InvalidRepository`].
pub fn valid_repository_segment(segment: &str) -> Result<(), ErrorKind> {
    if segment.is_empty() {
        return Err(ErrorKind::EmptySegment);
    }
    let mut rest = segment.as_bytes();
    loop {
        let (alphanumeric, after) = split_run(rest, is_lower_alphanumeric);
        if alphanumeric.is_empty() {
            break;
        }
        if after.is_empty() {
            return Ok(());
        }
        let (separator, after) = split_run(after, |b| matches!(b, b'.' | b'_' | b'-'));
        match separator {
            b"." | b"_" | b"__" => {}
            [b'-', dashes @ ..] if dashes.iter().all(|&b| b == b'-') => {}
            _ => break,
        }
        rest = after;
    }
    Err(if segment.bytes().any(|b| b.is_ascii_uppercase()) {
        ErrorKind::UpperCaseRepository
    } else {
        ErrorKind::InvalidRepository
    })
}

/// Production `tag`: a letter, digit or `_`, then letters, digits, `_`, `.` and `-`, [`MAX_TAG_BYTES`] in all.
///
/// # Errors
///
/// [`ErrorKind::TrailingColon`] for an empty one, [`ErrorKind::TagTooLong`], [`ErrorKind::DigestAfterColon`] for a digest in
/// its place, else [`ErrorKind::InvalidTag`].
pub fn valid_tag(tag: &str) -> Result<(), ErrorKind> {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    match tag.as_bytes() {
        [] => Err(ErrorKind::TrailingColon),
        [first, rest @ ..] if is_word(*first) && rest.iter().all(|&b| is_word(b) || matches!(b, b'.' | b'-')) => {
            if tag.len() > MAX_TAG_BYTES {
                Err(ErrorKind::TagTooLong)
            } else {
                Ok(())
            }
        }
        _ if ends_like_a_digest(tag) => Err(ErrorKind::DigestAfterColon),
        _ => Err(ErrorKind::InvalidTag),
    }
}

/// Production `digest`, narrowed to what go-digest's `Validate` lets through: `sha256:`, `sha384:` or `sha512:` and exactly
/// 64, 96 or 128 lower-case hex digits.
///
/// # Errors
///
/// [`ErrorKind::UnsupportedDigestAlgorithm`], [`ErrorKind::WrongDigestLength`], [`ErrorKind::UpperCaseDigest`],
/// [`ErrorKind::TagAfterDigest`], else [`ErrorKind::InvalidDigest`].
pub fn valid_digest(digest: &str) -> Result<(), ErrorKind> {
    let (algorithm, encoded) = digest.split_once(':').ok_or(ErrorKind::InvalidDigest)?;
    let Some(digits) = hex_digits(algorithm) else {
        return Err(
            if ALGORITHMS.iter().any(|(name, _)| algorithm.eq_ignore_ascii_case(name)) {
                ErrorKind::UpperCaseDigest
            } else if is_algorithm(algorithm) {
                ErrorKind::UnsupportedDigestAlgorithm
            } else {
                ErrorKind::InvalidDigest
            },
        );
    };
    let (hex, rest) = split_run(encoded.as_bytes(), |b| b.is_ascii_hexdigit());
    match rest {
        [] if hex.len() != digits => Err(ErrorKind::WrongDigestLength),
        [] if hex.iter().any(u8::is_ascii_uppercase) => Err(ErrorKind::UpperCaseDigest),
        [] => Ok(()),
        [b':', ..] if hex.len() == digits => Err(ErrorKind::TagAfterDigest),
        _ => Err(ErrorKind::InvalidDigest),
    }
}

/// Production `identifier`: 64 lower-case hex digits, the ID of a local image.
pub(super) fn is_identifier(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Production `domain-name`.
fn is_domain_name(host: &str) -> bool {
    host.as_bytes().split(|&b| b == b'.').all(|bytes| {
        bytes.iter().all(|&b| b.is_ascii_alphanumeric() || b == b'-') && !matches!(bytes, [] | [b'-', ..] | [.., b'-'])
    })
}

/// What stands between the brackets of `ipv6address`; the Go implementation asks no more of it.
fn is_ipv6_address(address: &str) -> bool {
    !address.is_empty() && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':')
}

/// Production `digest-algorithm`.
fn is_algorithm(algorithm: &str) -> bool {
    algorithm.split(['+', '.', '-', '_']).all(|component| {
        component.starts_with(|c: char| c.is_ascii_alphabetic()) && component.bytes().all(|b| b.is_ascii_alphanumeric())
    })
}

/// How many hex digits a digest of this algorithm has; `None` for one that the nodes do not support.
fn hex_digits(algorithm: &str) -> Option<usize> {
    ALGORITHMS
        .iter()
        .find_map(|&(name, digits)| (name == algorithm).then_some(digits))
}

/// Whether somebody joined a digest by `:`, as in `repo:sha256:…`, or in `repo:tag:sha256:…`.
fn ends_like_a_digest(tag: &str) -> bool {
    let Some((before, _)) = tag.rsplit_once(':') else {
        return false;
    };
    let algorithm = before.rsplit_once(':').map_or(before, |(_, last)| last);
    hex_digits(algorithm).is_some()
}

/// The text before the first such byte, which is ASCII, and the text behind it. [`str::split_once`] is made for longer texts.
pub(super) fn cut(text: &str, byte: u8) -> Option<(&str, &str)> {
    let at = text.bytes().position(|b| b == byte)?;
    Some((&text[..at], &text[at + 1..]))
}

fn is_lower_alphanumeric(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit()
}

/// The longest prefix of bytes that belong, and the rest.
fn split_run(bytes: &[u8], belongs: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|&b| !belongs(b));
    bytes.split_at(end.unwrap_or(bytes.len()))
}

/// The longest repository in bytes, an implied `library/` included and the registry not: `RepositoryNameTotalLengthMax`.
pub const MAX_REPOSITORY_BYTES: usize = 255;

/// The longest tag in bytes.
pub const MAX_TAG_BYTES: usize = 128;

/// The digest algorithms that the nodes support, and how many hex digits each has.
const ALGORITHMS: [(&str, usize); 3] = [("sha256", 64), ("sha384", 96), ("sha512", 128)];

const LOCALHOST: &str = "localhost";
