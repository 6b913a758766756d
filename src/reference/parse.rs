//! Taking a reference apart: which piece is which, and what normalisation adds. The pieces themselves are `grammar`'s.

use super::{
    DEFAULT_REGISTRY, ErrorKind, LEGACY_DEFAULT_REGISTRY, MAX_REPOSITORY_BYTES, Name, Reference, Repository,
    grammar::{
        cut, is_identifier, is_registry_host, valid_digest, valid_registry, valid_repository, valid_repository_segment,
        valid_tag,
    },
};

/// Reads and normalises a reference as `ParseNormalizedNamed` does.
pub(super) fn parse(input: &str) -> Result<Reference<'_>, ErrorKind> {
    // Causes that people recognise are looked for in refused inputs only: the grammar refuses all of them anyway.
    take_apart(input).map_err(|kind| obvious_cause(input).unwrap_or(kind))
}

fn take_apart(input: &str) -> Result<Reference<'_>, ErrorKind> {
    if is_identifier(input) {
        return Err(ErrorKind::BareIdentifier);
    }
    let (host, rest) = match cut(input, b'/') {
        Some((first, rest)) if is_registry_host(first) => (Some(first), rest),
        _ => (None, input),
    };
    // Neither a repository nor a tag has a `:` or an `@` in it, so the first one of either ends the repository.
    let end = rest
        .bytes()
        .position(|byte| matches!(byte, b':' | b'@'))
        .unwrap_or(rest.len());
    let (path, suffix) = rest.split_at(end);
    let name = match host {
        None | Some(DEFAULT_REGISTRY | LEGACY_DEFAULT_REGISTRY) => docker_hub(path)?,
        Some(host) => on_host(host, path, &input[..input.len() - suffix.len()])?,
    };
    let (tag, digest) = tag_and_digest(suffix)?;
    Ok(Reference {
        input,
        name,
        tag,
        digest,
    })
}

/// A name on Docker Hub, where a single segment lies in `library`.
fn docker_hub(path: &str) -> Result<Name<'_>, ErrorKind> {
    valid_repository(path)?;
    let repository = if path.bytes().any(|byte| byte == b'/') {
        Repository::written(path)
    } else {
        Repository::implied(path)
    };
    if repository.len() > MAX_REPOSITORY_BYTES {
        return Err(ErrorKind::NameTooLong);
    }
    Ok(Name {
        registry: DEFAULT_REGISTRY,
        repository,
    })
}

/// A name whose first segment counts as a registry; `whole` is `host/path`.
fn on_host<'a>(host: &'a str, path: &'a str, whole: &'a str) -> Result<Name<'a>, ErrorKind> {
    let (registry, repository) = match valid_registry(host) {
        Ok(()) => (host, path),
        // The Go pattern has the registry optional, so a host that is not valid may yet be the repository's first segment.
        Err(_) if valid_repository_segment(host).is_ok() => ("", whole),
        Err(kind) => return Err(kind),
    };
    valid_repository(repository)?;
    Ok(Name {
        registry,
        repository: Repository::written(repository),
    })
}

/// Splits `[:tag][@digest]`.
fn tag_and_digest(suffix: &str) -> Result<(Option<&str>, Option<&str>), ErrorKind> {
    let (tag, digest) = match cut(suffix, b'@') {
        Some((tag, digest)) => (tag, Some(digest)),
        None => (suffix, None),
    };
    let tag = tag.strip_prefix(':');
    tag.map_or(Ok(()), valid_tag)?;
    digest.map_or(Ok(()), valid_digest)?;
    Ok((tag, digest))
}

/// What is wrong with a refused input as a whole, where that says more than the part that the grammar stumbled over.
fn obvious_cause(input: &str) -> Option<ErrorKind> {
    if input.is_empty() {
        Some(ErrorKind::Empty)
    } else if input.contains('$') || input.contains("{{") {
        Some(ErrorKind::UnexpandedVariable)
    } else if input.contains(char::is_whitespace) {
        Some(ErrorKind::Whitespace)
    } else if input.contains("://") {
        Some(ErrorKind::UrlScheme)
    } else {
        None
    }
}
