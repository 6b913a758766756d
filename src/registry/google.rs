//! Which hosts are Google's: those of Artifact Registry, and the older names `gcr.io`, which Artifact Registry answers too.

pub mod file;

/// The registry that is meant where nothing is said.
pub const DEFAULT_HOST: &str = "gcr.io";

/// Whether a host, without a port, is one at which Google's tokens are taken: `gcr.io` with its regions (`eu.gcr.io`), and
/// `europe-west1-docker.pkg.dev`, `docker.pkg.dev`.
pub fn is_google_host(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    let label = |label: &str| {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !label.is_empty() && label.chars().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    if host == DEFAULT_HOST || host == ARTIFACT_REGISTRY {
        return true;
    }
    if let Some(region) = host.strip_suffix(".gcr.io") {
        return label(region);
    }
    host.strip_suffix(ARTIFACT_REGISTRY)
        .and_then(|location| location.strip_suffix('-'))
        .is_some_and(label)
}

/// Whether it is the e-mail address of an account, and one that can be written into a path and into a sentence.
pub fn is_account(email: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let fine = |part: &str| !part.is_empty() && part.chars().all(inner);
    email
        .split_once('@')
        .is_some_and(|(name, domain)| fine(name) && fine(domain) && email.len() <= 254)
}

/// With a location and a hyphen before it, the host of that location.
const ARTIFACT_REGISTRY: &str = "docker.pkg.dev";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn googles_hosts_are_told_from_those_that_look_like_them() {
        for (host, expected) in [
            ("gcr.io", true),
            ("GCR.io", true),
            ("us.gcr.io", true),
            ("eu.gcr.io", true),
            ("asia.gcr.io", true),
            ("staging-k8s.gcr.io", true),
            ("docker.pkg.dev", true),
            ("us-docker.pkg.dev", true),
            ("europe-west1-docker.pkg.dev", true),
            ("gcrxio", false),
            ("xgcr.io", false),
            ("gcr.io.corp", false),
            ("a.b.gcr.io", false),
            ("-.gcr.io", false),
            (".gcr.io", false),
            ("gcr.io:443", false),
            ("europe-west1-npm.pkg.dev", false),
            ("europe-docker.pkg.dev.corp", false),
            ("evil.com/-docker.pkg.dev", false),
            ("a.b-docker.pkg.dev", false),
            ("-docker.pkg.dev", false),
            ("xdocker.pkg.dev", false),
            ("pkg.dev", false),
            ("", false),
        ] {
            assert_eq!(is_google_host(host), expected, "{host}");
        }
    }
}
