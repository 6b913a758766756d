//! Where a registry's credential may be sent to for tokens.
//!
//! A registry says with every refusal where tokens are issued, and it could say anything. The credential goes to a host that is the
//! registry's own, that is known to issue its tokens, or that an admin names, and to no other; without TLS to nothing but the host that the
//! registry itself is reached at without TLS.

use hyper::Uri;

use crate::registry::{Registry, Scheme};

/// Whom a registry's credential is for.
#[derive(Clone, Debug)]
pub(super) struct Realms {
    /// The host that it is reached at, without its port.
    endpoint: String,
    plain_http: bool,
    /// Others, with the one port that is meant, where not all are.
    others: Vec<(String, Option<u16>)>,
}

/// What may be sent to where tokens are issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Allowed {
    /// The credential.
    Credential,
    /// A question without it.
    Anonymous,
    /// Nothing.
    Nothing,
}

impl Realms {
    pub(super) fn of(registry: &Registry) -> Self {
        let endpoint = &registry.endpoint;
        let own = endpoint.host.name().to_ascii_lowercase();
        let (address, _) = parts_of(&registry.address.host);
        let mut others: Vec<_> = registry.token_hosts.iter().map(|host| parts_of(host)).collect();
        for (registry, realm) in KNOWN {
            if *registry == own || *registry == address {
                others.push(((*realm).to_owned(), None));
            }
        }
        others.push((address, None));
        Self {
            endpoint: own,
            plain_http: endpoint.scheme == Scheme::Http,
            others,
        }
    }

    /// Any port of a host will do, unless an admin names one: GitLab's registry is at :5050 of the host whose :443 issues its tokens.
    pub(super) fn allows(&self, realm: &Uri) -> Allowed {
        let (Some(scheme), Some(host)) = (realm.scheme_str(), realm.host()) else {
            return Allowed::Nothing;
        };
        // Somebody who writes `https://registry@elsewhere/` wants to look like somebody else.
        if realm
            .authority()
            .is_some_and(|authority| authority.as_str().contains('@'))
        {
            return Allowed::Nothing;
        }
        let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let own = host == self.endpoint;
        let port = realm.port_u16().unwrap_or(HTTPS);
        let named = || {
            let mut others = self.others.iter();
            others.any(|(name, only)| *name == host && only.is_none_or(|only| only == port))
        };
        match scheme {
            "https" if own || named() => Allowed::Credential,
            "https" => Allowed::Anonymous,
            "http" if own && self.plain_http => Allowed::Credential,
            "http" if self.plain_http => Allowed::Anonymous,
            _ => Allowed::Nothing,
        }
    }
}

/// A host without brackets, and its port if it has one.
fn parts_of(host: &str) -> (String, Option<u16>) {
    let (name, behind) = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').unwrap_or((rest, "")),
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let port = behind.strip_prefix(':').and_then(|port| port.parse().ok());
    (name.to_ascii_lowercase(), port)
}

/// Where a realm says no port.
const HTTPS: u16 = 443;

/// Registries whose tokens another host issues, as their documentation says. Quay, GitHub, Harbor and most others issue their own.
const KNOWN: &[(&str, &str)] = &[
    ("registry-1.docker.io", "auth.docker.io"),
    ("docker.io", "auth.docker.io"),
    ("registry.gitlab.com", "gitlab.com"),
    ("registry.digitalocean.com", "api.digitalocean.com"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::RegistrySpec;

    fn realms(url: Option<&str>, endpoint: Option<&str>, named: &[&str]) -> Realms {
        let spec = RegistrySpec {
            url: url.map(str::to_owned),
            endpoint: endpoint.map(str::to_owned),
            token_hosts: named.iter().map(|host| (*host).to_owned()).collect(),
            ..RegistrySpec::default()
        };
        Realms::of(&Registry::parse("r", &spec).unwrap())
    }

    #[test]
    fn a_credential_goes_to_the_registrys_own_host_and_to_those_known_to_belong_to_it() {
        use Allowed::{Anonymous, Credential, Nothing};
        let hub = realms(None, None, &[]);
        let own = realms(Some("r.io:5000"), None, &[]);
        let inside = realms(Some("r.io"), Some("http://registry.default.svc:5000"), &[]);
        let gitlab = realms(Some("registry.corp.io"), None, &["GitLab.corp.io"]);
        let ports = realms(Some("r.io"), None, &["a.io:8443", "b.io:443", "[::1]:8443", "[::2]"]);
        let beside = realms(Some("http://r.io"), None, &["a.io"]);
        for (realms, realm, expected) in [
            (&hub, "https://auth.docker.io/token", Credential),
            (&hub, "https://AUTH.docker.io/token", Credential),
            (&hub, "http://auth.docker.io/token", Nothing),
            (&hub, "https://auth.docker.io.evil.io/token", Anonymous),
            (&hub, "https://evil.io/token", Anonymous),
            (&own, "https://r.io:5000/token", Credential),
            (&own, "https://r.io/token", Credential),
            (&own, "http://r.io:5000/token", Nothing),
            (&own, "https://auth.r.io/token", Anonymous),
            (&own, "https://auth.docker.io/token", Anonymous),
            (&own, "https://r.io@evil.io/token", Nothing),
            (&own, "https://u:p@r.io/token", Nothing),
            (&own, "/token", Nothing),
            (&own, "ftp://r.io/token", Nothing),
            (&inside, "http://registry.default.svc:5001/token", Credential),
            (&inside, "https://r.io/service/token", Credential),
            (&inside, "http://r.io/service/token", Anonymous),
            (&gitlab, "https://gitlab.corp.io/jwt/auth", Credential),
            (&gitlab, "https://gitlab.corp.io:8443/jwt/auth", Credential),
            (&gitlab, "https://registry.corp.io/jwt/auth", Credential),
            (&gitlab, "http://gitlab.corp.io/jwt/auth", Nothing),
            (&gitlab, "https://gitlab.corp.io@evil.io/jwt/auth", Nothing),
            (&gitlab, "https://x.gitlab.corp.io/jwt/auth", Anonymous),
            (&gitlab, "https://corp.io/jwt/auth", Anonymous),
            (&ports, "https://a.io:8443/token", Credential),
            (&ports, "https://a.io/token", Anonymous),
            (&ports, "https://b.io/token", Credential),
            (&ports, "https://b.io:443/token", Credential),
            (&ports, "https://b.io:8443/token", Anonymous),
            (&ports, "https://[::1]:8443/token", Credential),
            (&ports, "https://[::1]/token", Anonymous),
            (&ports, "https://[::2]:1/token", Credential),
            (&beside, "https://a.io/token", Credential),
            (&beside, "http://a.io/token", Anonymous),
            (
                &realms(Some("[::1]:5000"), None, &[]),
                "https://[::1]/token",
                Credential,
            ),
        ] {
            assert_eq!(realms.allows(&realm.parse().unwrap()), expected, "{realm} {realms:?}");
        }
    }
}
