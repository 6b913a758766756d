//! Where a registry's credential may be sent to for tokens.
//!
//! A registry says with every refusal where tokens are issued, and it could say anything. The credential goes to a host that is the
//! registry's own, that is known to issue its tokens, or that an admin names, and to no other; without TLS to nothing but the host that the
//! registry itself is reached at without TLS.

use hyper::Uri;

use crate::registry::{Address, Endpoint, Scheme};

/// Whom a registry's credential is for.
#[derive(Clone, Debug)]
pub(super) struct Realms {
    /// The host that it is reached at, without its port.
    endpoint: String,
    plain_http: bool,
    /// Others, without their ports.
    others: Vec<String>,
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
    pub(super) fn of(endpoint: &Endpoint, address: &Address, named: &[String]) -> Self {
        let own = endpoint.host.name().to_ascii_lowercase();
        let address = name_of(&address.host);
        let mut others: Vec<_> = named.iter().map(|host| name_of(host)).collect();
        for (registry, realm) in KNOWN {
            if *registry == own || *registry == address {
                others.push((*realm).to_owned());
            }
        }
        others.push(address);
        Self {
            endpoint: own,
            plain_http: endpoint.scheme == Scheme::Http,
            others,
        }
    }

    /// Any port of a host will do: GitLab's registry is at :5050 of the host whose :443 issues its tokens.
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
        match scheme {
            "https" if own || self.others.contains(&host) => Allowed::Credential,
            "https" => Allowed::Anonymous,
            "http" if own && self.plain_http => Allowed::Credential,
            "http" if self.plain_http => Allowed::Anonymous,
            _ => Allowed::Nothing,
        }
    }
}

/// A host without its port and brackets.
fn name_of(host: &str) -> String {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.to_ascii_lowercase()
}

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
    use crate::registry::{Registry, RegistrySpec};

    fn realms(url: Option<&str>, endpoint: Option<&str>, named: &[&str]) -> Realms {
        let spec = RegistrySpec {
            url: url.map(str::to_owned),
            endpoint: endpoint.map(str::to_owned),
            ..RegistrySpec::default()
        };
        let registry = Registry::parse("r", &spec).unwrap();
        let named: Vec<_> = named.iter().map(|host| (*host).to_owned()).collect();
        Realms::of(&registry.endpoint, &registry.address, &named)
    }

    #[test]
    fn a_credential_goes_to_the_registrys_own_host_and_to_those_known_to_belong_to_it() {
        use Allowed::{Anonymous, Credential, Nothing};
        let hub = realms(None, None, &[]);
        let own = realms(Some("r.io:5000"), None, &[]);
        let inside = realms(Some("r.io"), Some("http://registry.default.svc:5000"), &[]);
        let gitlab = realms(Some("registry.corp.io"), None, &["gitlab.corp.io"]);
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
            (&gitlab, "http://gitlab.corp.io/jwt/auth", Nothing),
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
