//! Where a registry is: as references and nodes say it, and as Waypost itself reaches it.

use std::fmt;

use super::{issuer, spec::RegistrySpec};
use crate::{
    document::{Path, Problem},
    reference::{self, Reference},
};

/// What references to a registry's images begin with.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// The host, in lower case, with its port if there is one; `docker.io` for Docker Hub whatever it was called.
    pub host: Box<str>,
    /// The path below the host, without slashes around it; empty for all of the host.
    pub organization: Box<str>,
}

/// Where Waypost itself reaches a registry. Displayed as a URL without a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// With or without TLS.
    pub scheme: Scheme,
    /// Host and port.
    pub host: Host,
    /// PEM: authorities that its certificate may be of, besides those that everybody trusts.
    pub ca_bundle: Option<Box<str>>,
}

/// With or without TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Without.
    Http,
    /// With.
    Https,
}

/// A host name or address (an IPv6 address in brackets), with its port if one was given.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Host(Box<str>);

impl Address {
    /// Docker Hub.
    pub fn docker_hub() -> Self {
        Self {
            host: DOCKER_HUB.into(),
            organization: "".into(),
        }
    }

    /// Reads `[http://|https://]host[:port][/organization]`; nothing is Docker Hub. The scheme is the endpoint's.
    #[expect(clippy::result_large_err, reason = "once for each registry that is written")]
    pub(super) fn parse(url: Option<&str>) -> Result<(Self, Option<Scheme>), Problem> {
        let Some(url) = url else {
            return Ok((Self::docker_hub(), None));
        };
        let path = || Path::root().key("url");
        let Split { scheme, host, rest } = split(url.trim(), path())?;
        let lower = host.to_ascii_lowercase();
        let is_hub = DOCKER_HUB_HOSTS.contains(&&*lower);
        if !is_hub && !reference::is_registry_host(&lower) {
            return Err(Problem::error(
                "invalid-registry-host",
                path(),
                format!("nodes do not take `{}` for a registry", host.escape_debug()),
            )
            .hint(
                "a registry has a dot, a port, or is localhost: registry.example.com, or leave it out for Docker Hub",
            ));
        }
        if WEB_SITES.contains(&&*lower) {
            return Err(Problem::error(
                "invalid-registry-host",
                path(),
                format!("{lower} is Docker Hub's web site, and no registry"),
            )
            .hint("leave it out for Docker Hub, or write docker.io/team for what is below one organization"));
        }
        let organization = rest.trim_end_matches('/');
        // What `docker login` calls Docker Hub is `https://index.docker.io/v1/`.
        let organization = if is_hub && matches!(organization, "v1" | "v2") {
            ""
        } else {
            organization
        };
        if !organization.is_empty() && reference::valid_repository(organization).is_err() {
            return Err(Problem::error(
                "invalid-organization",
                path(),
                format!("the path `{}` cannot begin a repository", organization.escape_debug()),
            )
            .hint(
                "it is the organization or project that images lie under, of lower-case letters and digits with single . _ - between them: \
                 registry.example.com/team",
            ));
        }
        let host = if is_hub { DOCKER_HUB } else { &lower };
        Ok((
            Self {
                host: host.into(),
                organization: organization.into(),
            },
            scheme,
        ))
    }

    /// Whether it is Docker Hub, or a part of it.
    pub fn is_docker_hub(&self) -> bool {
        &*self.host == DOCKER_HUB
    }

    /// Whether the image lies under it, by whole segments: `r.io/team` is not over `r.io/teams/app`.
    pub fn is_over(&self, image: &Reference<'_>) -> bool {
        self.is_over_path(image.registry(), image.repository().segments())
    }

    /// The same for a host and the segments behind it.
    pub(crate) fn is_over_path<'s>(&self, host: &str, mut segments: impl Iterator<Item = &'s str>) -> bool {
        self.host.eq_ignore_ascii_case(host)
            && (self.organization.is_empty()
                || self.organization.split('/').all(|part| segments.next() == Some(part)) && segments.next().is_some())
    }

    /// Its key in the docker config of a node's pull secret. The kubelet compares raw prefixes, so that `r.io/team` would be for
    /// `r.io/teams/app`, too; and it knows Docker Hub by another name.
    pub fn kubelet_key(&self) -> String {
        match (&*self.host, &*self.organization) {
            (DOCKER_HUB, "") => "index.docker.io".to_owned(),
            (host, "") => host.to_owned(),
            (host, organization) => format!("{host}/{organization}/"),
        }
    }
}

impl Address {
    /// Its key in the docker config of the `docker` command, which knows hosts alone, and Docker Hub by its first API's address.
    pub fn docker_key(&self) -> String {
        match &*self.host {
            DOCKER_HUB => "https://index.docker.io/v1/".to_owned(),
            host => host.to_owned(),
        }
    }

    /// Its key in the docker config of podman, skopeo and their kin, which compare by whole segments (containers-auth.json(5)).
    pub fn podman_key(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        if !self.organization.is_empty() {
            write!(f, "/{}", self.organization)?;
        }
        Ok(())
    }
}

impl Endpoint {
    /// The one that a registry has unless somebody says another: TLS on its host.
    pub fn default_of(address: &Address) -> Self {
        Self {
            scheme: Scheme::Https,
            host: Host::of(address),
            ca_bundle: None,
        }
    }

    #[expect(clippy::result_large_err, reason = "once for each registry that is written")]
    pub(super) fn parse(
        address: &Address,
        scheme: Option<Scheme>,
        endpoint: Option<&str>,
        plain_http: bool,
        ca_bundle: Option<&str>,
    ) -> Result<Self, Problem> {
        let path = || Path::root().key("endpoint");
        let (scheme, host) = match endpoint {
            None => (scheme, Host::of(address)),
            Some(url) => {
                let split = split(url.trim(), path())?;
                if !split.rest.trim_end_matches('/').is_empty() {
                    return Err(Problem::error(
                        "endpoint-path",
                        path(),
                        format!("the endpoint has a path: `/{}`", split.rest.escape_debug()),
                    )
                    .hint("an endpoint is scheme, host and port: http://registry.default.svc:5000"));
                }
                let host = Host(split.host.to_ascii_lowercase().into());
                (split.scheme.or(scheme.filter(|_| plain_http)), host)
            }
        };
        let scheme = match (scheme, plain_http) {
            (Some(Scheme::Https), true) => {
                return Err(Problem::error(
                    "contradiction",
                    Path::root().key("plainHttp"),
                    "plain HTTP is asked for, and the address begins with https://",
                )
                .hint("take one of the two out"));
            }
            (_, true) => Scheme::Http,
            (scheme, false) => scheme.unwrap_or(Scheme::Https),
        };
        if let Some(bundle) = ca_bundle {
            let problem = |message: &str| Problem::error("invalid-ca-bundle", Path::root().key("caBundle"), message);
            if scheme == Scheme::Http {
                return Err(
                    problem("a CA bundle is given for a registry that is reached without TLS")
                        .hint("take the bundle out, or reach it by https"),
                );
            }
            if !bundle.contains("-----BEGIN CERTIFICATE-----") {
                return Err(problem("the CA bundle has no certificate in it")
                    .hint("it is the text of a PEM file: it begins with -----BEGIN CERTIFICATE-----"));
            }
            if bundle.contains("PRIVATE KEY-----") {
                return Err(problem("the CA bundle has a private key in it")
                    .hint("give the certificates alone, and keep the key"));
            }
        }
        Ok(Self {
            scheme,
            host,
            ca_bundle: ca_bundle.map(Into::into),
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        write!(f, "{scheme}://{}", self.host)
    }
}

impl Host {
    fn of(address: &Address) -> Self {
        // The name that references have is a web page's.
        Self(if address.is_docker_hub() {
            "registry-1.docker.io".into()
        } else {
            address.host.clone()
        })
    }

    /// The text: `registry.example.com`, `127.0.0.1:30500`, `[::1]:5000`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Without the port, and without brackets.
    pub fn name(&self) -> &str {
        if let Some(rest) = self.0.strip_prefix('[') {
            return rest.split(']').next().unwrap_or_default();
        }
        self.0.split(':').next().unwrap_or_default()
    }

    /// The port, where one was given.
    pub fn port(&self) -> Option<u16> {
        let behind = self.0.rsplit(']').next().unwrap_or_default();
        behind.rsplit_once(':').and_then(|(_, port)| port.parse().ok())
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl RegistrySpec {
    /// What references to its images begin with, where that can be told without asking anybody.
    pub fn address(&self) -> Option<Address> {
        let mut problems = Vec::new();
        let (_, url) = issuer::parse(self, None, &mut problems);
        if !problems.is_empty() {
            return None;
        }
        Address::parse(url.as_deref()).ok().map(|(address, _)| address)
    }
}

/// A URL in its parts.
struct Split<'u> {
    scheme: Option<Scheme>,
    host: &'u str,
    /// Behind the first slash.
    rest: &'u str,
}

#[expect(clippy::result_large_err, reason = "once for each registry that is written")]
fn split(url: &str, path: Path) -> Result<Split<'_>, Problem> {
    let problem = |message: String, hint: &str| Problem::error("invalid-url", path.clone(), message).hint(hint);
    let shape = "write host[:port][/organization]: registry.example.com/team";
    let (scheme, behind) = match url.split_once("://") {
        None => (None, url),
        Some((scheme, behind)) if scheme.eq_ignore_ascii_case("https") => (Some(Scheme::Https), behind),
        Some((scheme, behind)) if scheme.eq_ignore_ascii_case("http") => (Some(Scheme::Http), behind),
        // Whatever it is may be a password in the wrong place: it is not repeated.
        Some(_) => {
            return Err(problem(
                "the address has a scheme other than http and https".to_owned(),
                shape,
            ));
        }
    };
    if behind.contains('@') {
        return Err(problem(
            "the address has a username, a password or a digest in it".to_owned(),
            "credentials have fields of their own: they are kept apart, and never shown",
        ));
    }
    if behind.contains(['?', '#']) {
        return Err(problem("the address has a query or a fragment".to_owned(), shape));
    }
    let (host, rest) = behind.split_once('/').unwrap_or((behind, ""));
    if !is_host(host) {
        return Err(problem(format!("`{}` is no host", host.escape_debug()), shape));
    }
    Ok(Split { scheme, host, rest })
}

/// A name or an address, with a port if need be.
fn is_host(host: &str) -> bool {
    let behind = host.rsplit(']').next().unwrap_or_default();
    let port = behind.rsplit_once(':').map(|(_, port)| port);
    reference::valid_registry(host).is_ok() && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0))
}

/// Reads the hosts that issue a registry's tokens.
pub(super) fn token_hosts(hosts: &[String], problems: &mut Vec<Problem>) -> Vec<Box<str>> {
    let path = || Path::root().key("tokenHosts");
    if hosts.len() > MOST_TOKEN_HOSTS {
        let message = format!("{} hosts are more than {MOST_TOKEN_HOSTS}", hosts.len());
        let problem = Problem::error("too-many-token-hosts", path(), message);
        problems.push(
            problem.hint("name those that issue this registry's tokens: its own host is one without being named"),
        );
        return Vec::new();
    }
    let shape = "write the host, and its port if only that one is meant: gitlab.example.com";
    for (index, host) in hosts.iter().enumerate() {
        let (message, hint) = if host.contains('@') {
            (
                "the host has a username or a password before it".to_owned(),
                "credentials have fields of their own: they are kept apart, and never shown",
            )
        } else if host.contains(['/', '?', '#']) {
            ("the host has a scheme, a path or a query around it".to_owned(), shape)
        } else if !is_host(host) {
            (format!("`{}` is no host", host.escape_debug()), shape)
        } else {
            continue;
        };
        problems.push(Problem::error("invalid-token-host", path().index(index), message).hint(hint));
    }
    hosts.iter().map(|host| host.to_ascii_lowercase().into()).collect()
}

/// Every one of them is one more that a credential may go to.
pub const MOST_TOKEN_HOSTS: usize = 8;

const DOCKER_HUB: &str = "docker.io";

/// What people have in their browsers when they look for it.
const WEB_SITES: [&str; 3] = ["hub.docker.com", "www.docker.com", "docker.com"];

/// As people and programs call it.
const DOCKER_HUB_HOSTS: [&str; 4] = [
    "docker.io",
    "index.docker.io",
    "registry-1.docker.io",
    "registry.hub.docker.com",
];
